//! Control frames: everything on a connection that is not a batch.
//!
//! A sixteen-byte header (type, zero flags, zero, length, zero, checksum over header and body) and a body in the
//! encoding of the `codec` module.

use std::net::SocketAddr;

use bytes::Bytes;

use super::codec::{wire_enum, wire_struct};
use super::{BATCH_TYPE, Malformed, Proposal, Reader, Sparse, Successor, Wire};
use crate::types::{Ballot, Incarnation, MemberInfo, Name, Seat, Tags, ViewId};

/// Bytes of a control header.
pub const HEADER_BYTES: usize = 16;
/// First field of a greeting: "DCN1".
pub const MAGIC: u32 = 0x314e_4344;

/// Why a connection was opened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Purpose {
    /// A link between members.
    Link = 1,
    /// A starter that looks for a cluster.
    Join = 2,
    /// Only to see whether the process answers (V7).
    Probe = 3,
    /// A tool that asks for a report.
    Inspect = 4,
}

/// Why somebody is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum RefusalCode {
    /// Another cluster name.
    Cluster = 1,
    /// No common wire version.
    Version = 2,
    /// A setting that must agree differs.
    Settings = 3,
    /// The name belongs to a living member.
    NameTaken = 4,
    /// Not on the static list.
    NotListed = 5,
    /// Hears none of the leaders.
    Unplaceable = 6,
    /// The member is leaving or not able to answer now.
    Busy = 7,
    /// Others cannot reach the address that it names.
    Address = 8,
}

impl RefusalCode {
    /// Whether trying again cannot help.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Cluster | Self::Version | Self::Settings | Self::NotListed | Self::Address)
    }
}

/// What somebody saw of a suspect.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Sight {
    /// It was heard, or its process answered a dial.
    Alive = 1,
    /// Neither heard nor answering.
    Silent = 2,
    /// Its own host refused its port, or another incarnation answers there: proof of death (R19).
    Dead = 3,
    /// It holds up senders (R27).
    Slow = 4,
    /// It sent what it must not, twice (R4).
    Faulty = 5,
}

wire_enum! {
    Purpose { Link, Join, Probe, Inspect }
    RefusalCode { Cluster, Version, Settings, NameTaken, NotListed, Unplaceable, Busy, Address }
    Sight { Alive, Silent, Dead, Slow, Faulty }
}

/// A view in short, as greetings and merges tell it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ViewSummary {
    /// Its id.
    pub id: ViewId,
    /// Whether it is fenced.
    pub fenced: bool,
    /// Whether the teller acts in it as primary.
    pub primary: bool,
    /// How many members it has.
    pub members: u32,
    /// Who coordinates.
    pub coordinator: Incarnation,
    /// Where.
    pub address: SocketAddr,
    /// Leaders of its groups, the coordinator first, at most 64.
    pub leaders: Vec<(Incarnation, SocketAddr)>,
}

/// First frame of whoever dials.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: u32,
    /// Oldest wire version spoken.
    pub version_min: u16,
    /// Newest wire version spoken.
    pub version_max: u16,
    /// Name of the cluster.
    pub cluster: String,
    /// Why.
    pub purpose: Purpose,
    /// Who.
    pub name: Name,
    /// Which life.
    pub incarnation: Incarnation,
    /// Where it is reached.
    pub address: SocketAddr,
    /// Which life it looks for at the other end; [`Incarnation::NONE`] = whoever is there.
    pub expects: Incarnation,
    /// Settings that must agree, as key and value.
    pub settings: Vec<(String, String)>,
    /// The view it is in.
    pub view: Option<ViewSummary>,
}

/// Answer to a greeting that is welcome.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// Who answers.
    pub name: Name,
    /// Which life.
    pub incarnation: Incarnation,
    /// Where it is reached.
    pub address: SocketAddr,
    /// The view it is in; none while it is looking for one.
    pub view: Option<ViewSummary>,
    /// Whether the dialler is a member of that view.
    pub member: bool,
}

/// Answer to a greeting or a request that is not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refuse {
    /// Why.
    pub code: RefusalCode,
    /// In words.
    pub text: String,
}

/// A starter asks the coordinator for admission.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Join {
    /// Who.
    pub name: Name,
    /// Which life.
    pub incarnation: Incarnation,
    /// Where it is reached.
    pub address: SocketAddr,
    /// Leaders that it dialled and that did not answer.
    pub unheard: Vec<Incarnation>,
}

/// Phase one of a ballot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prepare {
    /// Which view is being decided.
    pub number: u64,
    /// By whom, which attempt.
    pub ballot: Ballot,
    /// The view it follows.
    pub previous: ViewId,
    /// Whether the receiver is asked as one who joins; otherwise it must have installed `previous` first.
    pub joins: bool,
}

/// Answer to [`Prepare`]: no lower ballot is taken from now on, and numbering has stopped (R16).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Promise {
    /// Echoed.
    pub number: u64,
    /// Echoed.
    pub ballot: Ballot,
    /// Last batch held of each member of the previous view; empty from a joiner.
    pub have: Sparse<u64>,
    /// Whether this process remembers every promise it can have made (R20).
    pub memory: bool,
    /// Whether a joiner says itself when it is ready (R24).
    pub announces_ready: bool,
    /// Whether it votes only, and carries no messages.
    pub witness: bool,
    /// What its operator says of it.
    pub tags: Tags,
    /// How long the process has been up.
    pub up_ms: u32,
    /// How long a lease can still be alive somewhere, as far as this process answered heartbeats (R22).
    pub fence_ms: u32,
    /// What is left of a hold that it knows of.
    pub hold_ms: u32,
    /// If it was the coordinator: what is left of the lease granted to each member of the previous view.
    pub grants_ms: Vec<u32>,
    /// The newest number it knows to be installed.
    pub newest: u64,
    /// The highest proposal it accepted for this number.
    pub accepted: Option<(Ballot, Proposal)>,
}

/// Answer to a frame of a ballot that came too late.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reject {
    /// Echoed.
    pub number: u64,
    /// Echoed.
    pub ballot: Ballot,
    /// The ballot that was promised.
    pub promised: Ballot,
    /// The newest view installed here.
    pub installed: ViewId,
    /// What is decided next must have a number beyond this one: it is installed, or bound by a promise.
    pub newest: u64,
    /// That view, when the asker is behind.
    pub proposal: Option<Proposal>,
}

/// What every survivor must hold, and who has it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Cut {
    /// Echoed.
    pub number: u64,
    /// Echoed.
    pub ballot: Ballot,
    /// For each member of the previous view: last batch, and a survivor that holds it.
    pub upto: Sparse<(u64, Incarnation)>,
}

/// Asks a holder for batches of the cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fetch {
    /// Tag of the view.
    pub tag: u64,
    /// Who asks.
    pub from: Incarnation,
    /// Whose batches.
    pub sender: Seat,
    /// First one.
    pub first: u64,
    /// Last one.
    pub last: u64,
}

/// Batches of one stream that are missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missing {
    /// Position of the stream's sender in the view.
    pub stream: u32,
    /// First one.
    pub first: u64,
    /// Last one.
    pub last: u64,
}

/// Asks for batches that were lost on their way by multicast.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Repair {
    /// Tag of the view.
    pub tag: u64,
    /// What is missing.
    pub gaps: Vec<Missing>,
}

/// One batch of the cut, exactly as its sender made it; empty when the holder has forgotten it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetched {
    /// Tag of the view.
    pub tag: u64,
    /// The whole frame.
    pub frame: Bytes,
}

/// "I hold the cut" and "I accept the proposal".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vote {
    /// Echoed.
    pub number: u64,
    /// Echoed.
    pub ballot: Ballot,
}

/// Phase two of a ballot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Propose {
    /// The ballot that proposes now; the proposal may be older.
    pub ballot: Ballot,
    /// What.
    pub proposal: Proposal,
}

/// Phase two of a ballot, for those who have the view that ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProposeChange {
    /// The ballot that proposes now.
    pub ballot: Ballot,
    /// What, as a change of the view that ends.
    pub successor: Successor,
}

/// A proposal has been decided: for those to whom it was proposed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decided {
    /// Which.
    pub id: ViewId,
    /// How long the first lease waits.
    pub hold_ms: u32,
}

/// A proposal has been decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Install {
    /// What.
    pub proposal: Proposal,
    /// How long the first lease waits.
    pub hold_ms: u32,
}

/// A member was removed, and by which view.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expelled {
    /// Which life of it.
    pub incarnation: Incarnation,
    /// The view that goes on.
    pub by: ViewSummary,
    /// Why.
    pub why: String,
}

/// What an observer tells the coordinator of a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Observation {
    /// Of whom.
    pub subject: Incarnation,
    /// By whom.
    pub observer: Incarnation,
    /// What.
    pub sight: Sight,
    /// How long it has been silent, or how far it lags in bytes when slow.
    pub amount: u64,
}

/// How far streams have got: pairs of a position in the view and a batch number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Tag of the view.
    pub tag: u64,
    /// Whose stream, and the last batch.
    pub entries: Vec<(u32, u64)>,
}

/// Amounts of window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Credit {
    /// Tag of the view.
    pub tag: u64,
    /// Bytes.
    pub bytes: u64,
}

/// How far a stream to one member has been taken, told to its sender.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DirectAck {
    /// Tag of the stream.
    pub tag: u64,
    /// Who took it.
    pub receiver: Incarnation,
    /// Last batch taken.
    pub batch: u64,
    /// It counts once the receiver of this frame has taken so many batches of the stream in the other direction: what was said
    /// there came before. 0 where streams do not answer each other.
    pub after: u64,
}

/// A frame on its way to a member without a link to its sender.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Routed {
    /// From whom.
    pub from: Incarnation,
    /// For whom.
    pub to: Incarnation,
    /// A whole control frame.
    pub frame: Bytes,
}

/// One member in a report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReportLink {
    /// At the other end.
    pub peer: Name,
    /// "up", "connecting", "silent".
    pub state: String,
    /// Waiting to be written.
    pub queued_bytes: u64,
    /// Round trip of heartbeats.
    pub rtt_us: u64,
    /// Unstable bytes that this peer has not reported yet.
    pub unstable_bytes: u64,
}

/// What a tool is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Who answers.
    pub name: Name,
    /// The view, if there is one.
    pub view: Option<ViewId>,
    /// Whether it is fenced.
    pub fenced: bool,
    /// Whether this member acts as primary.
    pub primary: bool,
    /// Whether this member is ready.
    pub ready: bool,
    /// Who is there.
    pub members: Vec<MemberInfo>,
    /// Links of the member that answers.
    pub links: Vec<ReportLink>,
    /// Sessions that the member that answers owns.
    pub sessions_primary: u64,
    /// Sessions whose second copy it holds.
    pub sessions_secondary: u64,
    /// Of those that it owns: without a second copy, as far as it has looked.
    pub sessions_single: u64,
    /// Memory that all of them take.
    pub session_bytes: u64,
}

wire_struct! {
    ViewSummary { id: ViewId, fenced: bool, primary: bool, members: u32, coordinator: Incarnation, address: SocketAddr, leaders: Vec<(Incarnation, SocketAddr)> }
    Hello { magic: u32, version_min: u16, version_max: u16, cluster: String, purpose: Purpose, name: Name,
        incarnation: Incarnation, address: SocketAddr, expects: Incarnation, settings: Vec<(String, String)>, view: Option<ViewSummary> }
    Welcome { name: Name, incarnation: Incarnation, address: SocketAddr, view: Option<ViewSummary>, member: bool }
    Refuse { code: RefusalCode, text: String }
    Join { name: Name, incarnation: Incarnation, address: SocketAddr, unheard: Vec<Incarnation> }
    Prepare { number: u64, ballot: Ballot, previous: ViewId, joins: bool }
    Promise { number: u64, ballot: Ballot, have: Sparse<u64>, memory: bool, announces_ready: bool, witness: bool, tags: Tags, up_ms: u32, fence_ms: u32, hold_ms: u32,
        grants_ms: Vec<u32>, newest: u64, accepted: Option<(Ballot, Proposal)> }
    Reject { number: u64, ballot: Ballot, promised: Ballot, installed: ViewId, newest: u64, proposal: Option<Proposal> }
    Cut { number: u64, ballot: Ballot, upto: Sparse<(u64, Incarnation)> }
    Fetch { tag: u64, from: Incarnation, sender: Seat, first: u64, last: u64 }
    Fetched { tag: u64, frame: Bytes }
    Vote { number: u64, ballot: Ballot }
    Propose { ballot: Ballot, proposal: Proposal }
    ProposeChange { ballot: Ballot, successor: Successor }
    Decided { id: ViewId, hold_ms: u32 }
    Install { proposal: Proposal, hold_ms: u32 }
    Expelled { incarnation: Incarnation, by: ViewSummary, why: String }
    Observation { subject: Incarnation, observer: Incarnation, sight: Sight, amount: u64 }
    Progress { tag: u64, entries: Vec<(u32, u64)> }
    Missing { stream: u32, first: u64, last: u64 }
    Repair { tag: u64, gaps: Vec<Missing> }
    Credit { tag: u64, bytes: u64 }
    DirectAck { tag: u64, receiver: Incarnation, batch: u64, after: u64 }
    Routed { from: Incarnation, to: Incarnation, frame: Bytes }
    ReportLink { peer: Name, state: String, queued_bytes: u64, rtt_us: u64, unstable_bytes: u64 }
    Report { name: Name, view: Option<ViewId>, fenced: bool, primary: bool, ready: bool, members: Vec<MemberInfo>, links: Vec<ReportLink>,
        sessions_primary: u64, sessions_secondary: u64, sessions_single: u64, session_bytes: u64 }
}

macro_rules! control {
    ($($(#[$doc:meta])* $v:ident($t:ty) = $n:literal,)*) => {
        /// A control frame.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum Control { $($(#[$doc])* $v($t),)* }

        impl Control {
            /// Its type on the wire.
            pub fn frame_type(&self) -> u8 {
                match self { $(Control::$v(_) => $n,)* }
            }

            /// The types that this version knows, with their names.
            pub const TYPES: &'static [(u8, &'static str)] = &[$(($n, stringify!($v)),)*];

            fn put_body(&self, out: &mut Vec<u8>) {
                match self { $(Control::$v(body) => body.put(out),)* }
            }

            fn take_body(frame_type: u8, from: &mut Reader<'_>) -> Result<Control, Malformed> {
                match frame_type {
                    $($n => Ok(Control::$v(Wire::take(from)?)),)*
                    _ => Err(Malformed("unknown type of frame")),
                }
            }
        }
    };
}

control! {
    /// A dialler introduces itself.
    Hello(Hello) = 16,
    /// It may stay.
    Welcome(Welcome) = 17,
    /// It may not.
    Refuse(Refuse) = 18,
    /// Admission wanted.
    Join(Join) = 19,
    /// The member leaves.
    Leave(Incarnation) = 20,
    /// The member is ready (R24).
    Ready(Incarnation) = 21,
    /// The member was removed.
    Expelled(Expelled) = 22,
    /// Ballot, phase one.
    Prepare(Prepare) = 32,
    /// Its answer.
    Promise(Promise) = 33,
    /// Its refusal.
    Reject(Reject) = 34,
    /// What to hold.
    Cut(Cut) = 35,
    /// Held.
    Held(Vote) = 36,
    /// Ballot, phase two.
    Propose(Propose) = 37,
    /// Its answer.
    Accepted(Vote) = 38,
    /// Decided.
    Install(Install) = 39,
    /// Done.
    Installed(ViewId) = 40,
    /// Batches of the cut wanted.
    Fetch(Fetch) = 41,
    /// One of them.
    Fetched(Fetched) = 42,
    /// Ballot, phase two, to those who have the view that ends.
    ProposeChange(ProposeChange) = 43,
    /// Decided is what was proposed.
    Decided(Decided) = 44,
    /// An observer's word about a member.
    Observe(Observation) = 48,
    /// Asks for one.
    Ask(Incarnation) = 49,
    /// Sign of life wanted.
    Ping(u64) = 50,
    /// Sign of life.
    Pong(u64) = 51,
    /// A member is slow: told to everybody.
    SlowNotice(Observation) = 52,
    /// What the peer holds: replay what follows (R7).
    Sync(Progress) = 64,
    /// What the peer (or its group) has taken (R26).
    Progress(Progress) = 65,
    /// What everybody has taken.
    Stable(Progress) = 66,
    /// Window wanted.
    CreditWant(Credit) = 67,
    /// Window given.
    CreditGrant(Credit) = 68,
    /// Window given back.
    CreditReturn(Credit) = 69,
    /// Window asked back.
    CreditRecall(Credit) = 70,
    /// A stream to one member was taken so far.
    DirectAck(DirectAck) = 71,
    /// What the peer (or its group) holds, while something must be held by all before it is delivered (R29).
    Holding(Progress) = 72,
    /// What everybody holds.
    AllHold(Progress) = 73,
    /// Streams that the peer wants over this connection, because it does not hear their senders by multicast, and what it holds of them.
    Carry(Progress) = 74,
    /// What the peer has lost of what came by multicast.
    Repair(Repair) = 75,
    /// To be passed on.
    Routed(Routed) = 80,
    /// A tool asks.
    Inspect(u8) = 96,
    /// And is told.
    Report(Report) = 97,
}

impl Control {
    /// The whole frame.
    pub fn encode(&self) -> Bytes {
        let mut out = vec![0; HEADER_BYTES];
        self.put_body(&mut out);
        let length = (out.len() - HEADER_BYTES) as u32;
        out[0] = self.frame_type();
        out[4..8].copy_from_slice(&length.to_le_bytes());
        let crc = checksum(&out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        Bytes::from(out)
    }

    /// Checks and reads a whole frame.
    pub fn decode(frame: &[u8]) -> Result<Control, Malformed> {
        let header: &[u8; HEADER_BYTES] = frame.first_chunk().ok_or(Malformed("a control header is cut"))?;
        if header[1..4] != [0; 3] || header[8..12] != [0; 4] {
            return Err(Malformed("reserved bits of a control header"));
        }
        if frame.len() - HEADER_BYTES != body_length(header) {
            return Err(Malformed("length of a control frame"));
        }
        if u32::from_le_bytes([header[12], header[13], header[14], header[15]]) != checksum(frame) {
            return Err(Malformed("checksum of a control frame"));
        }
        let mut reader = Reader::new(&frame[HEADER_BYTES..]);
        let control = Control::take_body(header[0], &mut reader)?;
        reader.end()?;
        Ok(control)
    }
}

/// Length of the body that a header announces.
pub fn body_length(header: &[u8; HEADER_BYTES]) -> usize {
    u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize
}

fn checksum(frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[..12]);
    hasher.update(&frame[HEADER_BYTES..]);
    hasher.finalize()
}

const _: () = assert!(BATCH_TYPE < 16);
