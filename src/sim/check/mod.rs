//! The checkers: a ledger of everything that was accepted, delivered, returned and installed anywhere, and what it must satisfy.
//!
//! The ledger sees what hosts see (events and answers), never the inside of a member, so a bug cannot hide behind its own
//! bookkeeping. [`delivery`] checks D1-D3 and D7, [`order`] D4, [`views`] checks V1, V2, V5 and V6; the world adds what needs the network's
//! or the clock's truth: D5, V3, V4, V7, V8.

mod delivery;
mod loose;
mod order;
mod primary;
mod sessions;
#[cfg(test)]
mod tests;
mod views;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::core::{Event, To};
use crate::types::{Incarnation, View, ViewId};

pub(crate) use delivery::{Received, Stream};
pub(crate) use primary::Primaries;
pub(crate) use sessions::{Before, Circumstances, holds};
use views::Passage;

/// A promise that is checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)] // `Guarantee::ALL` says what each one is
#[repr(usize)]
pub enum Guarantee {
    D1,
    D2,
    D3,
    D4,
    D5,
    D7,
    V1,
    V2,
    V3,
    V4,
    V5,
    V6,
    V7,
    V8,
    S1,
    S2,
    S3,
    S4,
    S5,
    S6,
    A2,
}

impl Guarantee {
    /// Every checked promise, its name, and its words.
    #[rustfmt::skip]
    pub const ALL: [(Guarantee, &'static str, &'static str); 21] = [
        (Guarantee::D1, "D1", "a stream is delivered in the order sent, once, without a gap, unaltered"),
        (Guarantee::D2, "D2", "that holds while leaders die"),
        (Guarantee::D3, "D3", "who goes on together has delivered the same, with a transition before what comes at the end"),
        (Guarantee::D4, "D4", "what is agreed has one order, at its sender too, and what is safe has its place at all"),
        (Guarantee::D5, "D5", "queues stay under their bounds, and a slow member is named and removed"),
        (Guarantee::D7, "D7", "what was accepted is delivered or returned, in the view that it names"),
        (Guarantee::V1, "V1", "ids of views grow at a member, and one id has one membership"),
        (Guarantee::V2, "V2", "a restarted process is a new member, and a name is in a view once"),
        (Guarantee::V3, "V3", "there are never two primary views at once"),
        (Guarantee::V4, "V4", "when faults stop there is one view of all, in time"),
        (Guarantee::V5, "V5", "a joiner gets everything from its cut on, and slows nobody before it is ready"),
        (Guarantee::V6, "V6", "who was removed is told before it comes back as somebody new"),
        (Guarantee::V7, "V7", "nobody is removed who is well and well connected"),
        (Guarantee::V8, "V8", "a leader and its members, and all leaders, hear each other"),
        (Guarantee::S1, "S1", "what was answered OK is held by two members, and is what is read from then on"),
        (Guarantee::S2, "S2", "in asynchronous mode what is answered for early stays in its window"),
        (Guarantee::S3, "S3", "epochs of a session grow from answer to answer"),
        (Guarantee::S4, "S4", "a change is made once, however often it is repeated with its token, and every request is answered"),
        (Guarantee::S5, "S5", "a session has one owner at a time, and is not said to be gone while somebody may hold it"),
        (Guarantee::S6, "S6", "when all is quiet a session has one owner and one other holder"),
        (Guarantee::A2, "A2", "a member never panics"),
    ];

    /// The promise's name.
    pub fn name(self) -> &'static str {
        Guarantee::ALL[self as usize].1
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often each promise was checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checks([u64; Guarantee::ALL.len()]);

impl Checks {
    /// How often `guarantee` was checked.
    pub fn count(&self, guarantee: Guarantee) -> u64 {
        self.0[guarantee as usize]
    }

    /// Names and counts, in the order of [`Guarantee::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Guarantee::ALL.iter().map(|(guarantee, name, _)| (*name, self.count(*guarantee)))
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Checks) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }

    pub(crate) fn note(&mut self, guarantee: Guarantee) {
        self.0[guarantee as usize] += 1;
    }
}

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which one.
    pub guarantee: Guarantee,
    /// When it was seen, in microseconds of virtual time.
    pub at_us: u64,
    /// What was seen.
    pub text: String,
}

/// A run reports at most this many broken promises: the first ones tell.
const VIOLATIONS_KEPT: usize = 16;

/// One incarnation, as far as anybody has heard of it.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Life {
    pub incarnation: Incarnation,
    /// The process that leads this life, once it has shown itself.
    pub process: Option<u16>,
    pub view: Option<Arc<View>>,
    /// Lives of the members of `view`, in its order.
    pub members: Vec<u32>,
    pub transition: bool,
    /// What was delivered of each life's stream to everybody.
    pub received: Vec<Received>,
    /// What was delivered in the order of all.
    pub ordered: order::Ordered,
    /// What was delivered of each life's stream to this one.
    pub direct: Vec<Received>,
    /// What senders were told that this one holds, in views that it has not installed yet: view, sender, number.
    pub owed: Vec<(ViewId, u32, u64)>,
    /// The number up to which its messages are said to be stable.
    pub stable: u64,
    /// What came to it outside of streams.
    pub loose: loose::LooseTaken,
    pub ended: bool,
}

/// One process: a life follows the other in it.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Process {
    pub node: u16,
    pub life: Option<u32>,
    /// The host was told that the life before was removed.
    pub expelled: bool,
    pub streams: Vec<Stream>,
    pub by_receiver: BTreeMap<To, u16>,
    /// What it sent outside of streams.
    pub loose: loose::LooseSent,
}

/// Everything that was seen, and what was wrong with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub checks: Checks,
    pub violations: Vec<Violation>,
    pub now: u64,
    processes: Vec<Process>,
    lives: Vec<Life>,
    by_incarnation: HashMap<Incarnation, u32>,
    /// Of each view id: the hash of its membership, and when it was first installed.
    memberships: BTreeMap<ViewId, (u64, u64)>,
    /// The fenced view that followed a fenced view, where it was seen first.
    successors: BTreeMap<ViewId, ViewId>,
    /// When a process last lost what it remembered of the log of views: it started again, or was removed.
    forgot_at: Option<u64>,
    /// What those who went on together delivered.
    passages: BTreeMap<(ViewId, ViewId), Passage>,
    /// The order of all, of each view.
    bindings: BTreeMap<ViewId, order::Binding>,
    /// The first number of each stream to everybody in each view.
    starts: BTreeMap<(ViewId, u32), u64>,
    /// What visitors were told about their sessions.
    pub sessions: sessions::Histories,
}

impl Hash for Ledger {
    /// Everything that a later check can depend on.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Ledger { checks: _, violations: _, now: _, by_incarnation: _, .. } = self;
        (&self.processes, &self.lives, &self.successors).hash(state);
        // That something happened counts, not when.
        self.memberships.iter().for_each(|(id, (members, _))| (id, members).hash(state));
        self.forgot_at.is_some().hash(state);
        (&self.passages, &self.bindings, &self.starts, &self.sessions).hash(state);
    }
}

impl Ledger {
    /// A process starts on `node`; its number goes into the tokens of its messages.
    pub fn start(&mut self, node: u16) -> u16 {
        if self.processes.iter().any(|process| process.node == node) {
            self.forgot_at = Some(self.now);
        }
        self.processes.push(Process {
            node,
            life: None,
            expelled: false,
            streams: Vec::new(),
            by_receiver: BTreeMap::new(),
            loose: loose::LooseSent::default(),
        });
        (self.processes.len() - 1) as u16
    }

    /// So many processes are gone that what they decided may be forgotten.
    pub fn forgotten(&mut self) {
        self.forgot_at = Some(self.now);
    }

    /// A host took or was shown an event.
    pub fn event(&mut self, process: u16, event: &Event) {
        match event {
            Event::Messages(run) => self.delivered(process, run),
            Event::Transition { view } => self.transition(process, *view),
            Event::View(change) => self.installed(process, change),
            Event::Returned { to, token, payload, .. } => {
                self.returned(process, to.as_ref().map(|member| member.incarnation), *token, payload);
            }
            Event::Stable { view, number } => self.stable(process, *view, *number),
            Event::Expelled { view, .. } => self.expelled(process, *view),
            _ => {}
        }
    }

    /// Records a broken promise.
    pub fn violate(&mut self, guarantee: Guarantee, text: impl Into<String>) {
        if self.violations.len() < VIOLATIONS_KEPT {
            self.violations.push(Violation { guarantee, at_us: self.now, text: text.into() });
        }
    }

    /// Counts one check, and records a broken promise unless `holds`.
    pub fn check(&mut self, guarantee: Guarantee, holds: bool, text: impl FnOnce() -> String) {
        self.checks.note(guarantee);
        if !holds {
            self.violate(guarantee, text());
        }
    }

    /// The number of an incarnation.
    pub fn life_of(&mut self, incarnation: Incarnation) -> u32 {
        let lives = &mut self.lives;
        *self.by_incarnation.entry(incarnation).or_insert_with(|| {
            lives.push(Life {
                incarnation,
                process: None,
                view: None,
                members: Vec::new(),
                transition: false,
                received: Vec::new(),
                ordered: order::Ordered::default(),
                direct: Vec::new(),
                owed: Vec::new(),
                stable: 0,
                loose: loose::LooseTaken::default(),
                ended: false,
            });
            lives.len() as u32 - 1
        })
    }

    pub fn process(&self, process: u16) -> &Process {
        &self.processes[usize::from(process)]
    }

    pub fn life(&self, life: u32) -> &Life {
        &self.lives[life as usize]
    }

    /// "node/incarnation", for people.
    pub fn name(&self, life: u32) -> String {
        let Life { incarnation, process, .. } = self.life(life);
        match process {
            Some(process) => format!("n{}/{incarnation:?}", self.process(*process).node),
            None => format!("?/{incarnation:?}"),
        }
    }
}
