//! Accepted sends that have no batch yet. The host's side of the hand-over fills it, the core empties it.
//!
//! What it decides (bounds, "again", order) is decided here, so that the simulator sees it; the runtime only
//! puts a lock around it. Each stream has a queue and a bound of its own: a member that takes nothing
//! cannot keep messages to everybody from being sent.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::types::{Code, Incarnation};
use crate::wire::batch::Level;

/// For whom a message is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum To {
    /// Every other member of the view.
    Everybody,
    /// One member of the current view.
    Member(Incarnation),
}

/// One accepted send.
#[derive(Clone, Debug)]
pub struct Pending {
    /// How (D4).
    pub level: Level,
    /// The host's token, 0 = none.
    pub token: u64,
    /// What.
    pub payload: Bytes,
}

/// What a send is answered with now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gate {
    /// Sends are accepted.
    Open,
    /// No view yet.
    NotReady,
    /// A minority.
    NotPrimary,
    /// The member has ended or is leaving.
    Closed,
}

/// Bounded queues of accepted sends, one per stream, each in order.
#[derive(Debug)]
pub struct Outbox {
    streams: BTreeMap<To, Queue>,
    bound: usize,
    message_bound: usize,
    gate: Gate,
    /// Set when a send was answered with `Again`: a `Writable` event is due once there is room.
    starved: bool,
}

/// The queue of one stream.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    sends: VecDeque<Pending>,
    bytes: usize,
}

/// What an accepted send costs beside its payload.
pub const PENDING_OVERHEAD: usize = 64;

impl Outbox {
    /// An empty outbox, closed until the first view. `bound` is in bytes per stream.
    pub fn new(bound: usize, message_bound: usize) -> Outbox {
        Outbox { streams: BTreeMap::new(), bound, message_bound, gate: Gate::NotReady, starved: false }
    }

    /// Accepts a message, or says why not. `Code::Ok` means accepted in order (D7); otherwise nothing was taken.
    /// `payload` is called only when the message is accepted.
    pub fn push(&mut self, to: To, level: Level, token: u64, len: usize, payload: impl FnOnce() -> Bytes) -> Code {
        match self.gate {
            Gate::Open => {}
            Gate::NotReady => return Code::NotReady,
            Gate::NotPrimary => return Code::NotPrimary,
            Gate::Closed => return Code::Closed,
        }
        if len > self.message_bound {
            return Code::TooLarge;
        }
        let queue = self.streams.entry(to).or_default();
        // An empty queue takes any legal message, so that one larger than the bound can be sent at all.
        if queue.bytes > 0 && queue.bytes + len + PENDING_OVERHEAD > self.bound {
            self.starved = true;
            return Code::Again;
        }
        queue.bytes += len + PENDING_OVERHEAD;
        queue.sends.push_back(Pending { level, token, payload: payload() });
        Code::Ok
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.streams.values().all(|q| q.sends.is_empty())
    }

    /// Bytes that wait in all streams, overhead included.
    pub fn bytes(&self) -> usize {
        self.streams.values().map(|q| q.bytes).sum()
    }

    /// What sends are answered with now.
    pub fn gate(&self) -> Gate {
        self.gate
    }

    pub(crate) fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
    }

    pub(crate) fn queue(&mut self, to: To) -> Option<&mut Queue> {
        self.streams.get_mut(&to)
    }

    /// Streams in which something waits.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = To> {
        self.streams.iter().filter(|(_, q)| !q.sends.is_empty()).map(|(to, _)| *to)
    }

    /// Takes everything of a stream, to hand it back to the host.
    pub(crate) fn withdraw(&mut self, to: To) -> VecDeque<Pending> {
        self.streams.remove(&to).map(|q| q.sends).unwrap_or_default()
    }

    /// Whether a starved sender can be told to try again: no queue is more than half full.
    pub(crate) fn take_writable(&mut self) -> bool {
        let writable =
            self.starved && self.gate == Gate::Open && self.streams.values().all(|q| q.bytes <= self.bound / 2);
        if writable {
            self.starved = false;
        }
        writable
    }
}

impl Queue {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn front(&self) -> Option<&Pending> {
        self.sends.front()
    }

    pub(crate) fn pop(&mut self) -> Option<Pending> {
        let pending = self.sends.pop_front()?;
        self.bytes -= pending.payload.len() + PENDING_OVERHEAD;
        Some(pending)
    }
}
