//! What the demo and its member processes tell each other: one JSON object a line, over the members' stdin and stdout.

use std::path::PathBuf;

use decurion::types::Code;
use serde::{Deserialize, Serialize};

use super::multicast::Counted;

/// What the demo tells a member.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Order {
    /// Stream the file to everybody, again and again.
    Send {
        /// Which file.
        file: PathBuf,
        /// Not faster than this.
        bytes_per_s: u64,
        /// How often; 0 = until told to stop.
        passes: u64,
    },
    /// A new phase begins: count what follows for it.
    Phase {
        /// 0 before, 1 between, 2 after the kills.
        phase: usize,
    },
    /// Ask for something about a session; the answer is a [`Said::Session`].
    Session(SessionAsk),
    /// Send no more.
    Stop,
    /// Leave the cluster in order, and end.
    Leave,
}

/// What a member tells the demo.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Said {
    /// The engine is open.
    Open {
        /// Where it listens.
        address: String,
    },
    /// A view was installed.
    View(ViewSaid),
    /// What it has received and sent so far.
    Progress {
        /// One entry for each sender it has heard.
        streams: Vec<StreamSaid>,
        /// What it has sent of the file itself.
        sent_bytes: u64,
        /// In so many messages.
        sent_messages: u64,
        /// Sessions of which it holds a copy.
        sessions: u64,
    },
    /// What it has counted of multicast so far.
    Multicast(Counted),
    /// What became of a request about a session.
    Session(SessionTold),
    /// Every session that it owns has two copies again.
    Restored {
        /// In the view of this number.
        number: u64,
    },
    /// It will send no more.
    Sent {
        /// All of its messages.
        messages: u64,
        /// Whole passes of the file.
        passes: u64,
        /// Bytes of the file.
        bytes: u64,
    },
    /// Something that a quiet run does not have.
    Trouble {
        /// In one word.
        kind: String,
        /// In full.
        text: String,
    },
    /// The member has ended.
    Ended {
        /// Why.
        reason: String,
        /// Whether it was asked to.
        in_order: bool,
    },
}

/// What is wanted of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionWant {
    /// A new one.
    Create,
    /// Another content.
    Change,
    /// What is in it.
    Read,
}

/// A request about a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionAsk {
    /// Comes back with the answer.
    pub request: u64,
    /// The demo's number of it.
    pub session: usize,
    /// What to do.
    pub want: SessionWant,
    /// Which change it is: its token, and what decides its content.
    pub change: u64,
    /// What its user carries; empty for a new one.
    pub cookie: String,
}

/// The answer to one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionTold {
    /// Which request.
    pub request: u64,
    /// The name of the code.
    pub code: String,
    /// What its user should carry now.
    pub cookie: String,
    /// The session's version.
    pub version: u64,
    /// Of a read: the change that is in it.
    pub change: Option<u64>,
    /// Of a read: a sum over all that is in it.
    pub sum: Option<String>,
}

impl SessionTold {
    /// That nothing was found out, for this reason.
    pub fn refused(request: u64, code: Code) -> SessionTold {
        SessionTold {
            request,
            code: code.name().to_owned(),
            cookie: String::new(),
            version: 0,
            change: None,
            sum: None,
        }
    }

    /// The code, of those that a client tells apart.
    pub fn code(&self) -> Option<Code> {
        use Code::{HoldersUnreachable, NoSuchSession, Ok, OutcomeUnknown, Unreplicated};
        [Ok, Unreplicated, NoSuchSession, HoldersUnreachable, OutcomeUnknown]
            .into_iter()
            .find(|code| code.name() == self.code)
    }
}

/// A view, as a member saw it installed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ViewSaid {
    /// When, on the monotonic clock that all processes of a machine share.
    pub at_us: u64,
    /// Its id.
    pub id: String,
    /// Its number.
    pub number: u64,
    /// Whether it is fenced.
    pub fenced: bool,
    /// Who coordinates.
    pub coordinator: String,
    /// Who is in it, in the order of admission.
    pub members: Vec<MemberSaid>,
}

/// One member of a view.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemberSaid {
    /// Its name.
    pub name: String,
    /// This life of it.
    pub incarnation: String,
    /// The label of its group.
    pub group: u16,
    /// "leader", "deputy" or "member".
    pub role: String,
    /// Whether it is ready.
    pub ready: bool,
}

/// What one receiver has of one sender.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StreamSaid {
    /// Who sends.
    pub sender: String,
    /// Bytes of the file, in all.
    pub bytes: u64,
    /// The same by phase.
    pub bytes_by_phase: [u64; 3],
    /// Longest time between two deliveries that ended in each phase.
    pub gap_us_by_phase: [u64; 3],
    /// Whole passes of the file.
    pub passes: u64,
    /// SHA-256 of the first whole pass, as the receiver computed it.
    pub sha256: Option<String>,
    /// Whole passes whose sum is another one.
    pub unequal_passes: u64,
    /// Number of the first message received.
    pub first: u64,
    /// Where in the file that one stood.
    pub first_offset: u64,
    /// SHA-256 from there to the end of the file, of who came in the middle of a pass.
    pub rest_sha256: Option<String>,
    /// Number of the newest message received.
    pub last: u64,
    /// Messages between the first and the newest that never came.
    pub lost: u64,
    /// Messages that came twice.
    pub duplicated: u64,
    /// Messages that came after a later one.
    pub out_of_order: u64,
}
