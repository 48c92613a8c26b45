//! What is under way between small members: whole frames in order on connections, and datagrams.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use bytes::Bytes;

use crate::core::CloseCause;
use crate::types::ConnId;

/// One thing that a connection brings to one of its ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    /// What was dialled is up.
    Connected,
    /// A control frame, or a run of batches that was written as one.
    Frame(Bytes),
    /// The connection is gone; nothing follows.
    Gone(CloseCause),
}

impl Hash for Unit {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Unit::Connected => state.write_u8(1),
            Unit::Frame(bytes) => bytes.hash(state),
            Unit::Gone(cause) => state.write_u8(2 + *cause as u8),
        }
    }
}

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub node: usize,
    pub conn: ConnId,
    /// The process knows it.
    pub open: bool,
}

/// A connection: `ways[i]` brings units to `ends[i]`, in order.
#[derive(Clone, Debug)]
pub(super) struct Pipe {
    pub ends: [End; 2],
    pub ways: [VecDeque<Unit>; 2],
    /// Whether the last step took from it or put into it.
    pub touched: bool,
    /// Ways that are slow: others go first, until there is nothing left on them.
    pub slow: [bool; 2],
}

impl Pipe {
    /// Says something to one end, if it is there to hear it.
    pub fn push(&mut self, end: usize, unit: Unit) {
        if self.ends[end].open {
            self.touched = true;
            self.ways[end].push_back(unit);
        }
    }

    /// One end forgets the connection: nothing reaches it any more.
    pub fn forget(&mut self, end: usize) {
        self.ends[end].open = false;
        self.ways[end].clear();
        self.slow[end] = false;
    }

    /// Takes what is next on a way.
    pub fn take(&mut self, end: usize) -> Option<Unit> {
        self.touched = true;
        let unit = self.ways[end].pop_front();
        self.slow[end] &= !self.ways[end].is_empty();
        unit
    }

    /// The connection breaks: what was under way is lost, and both ends are told.
    pub fn cut(&mut self) {
        for end in [0, 1] {
            self.ways[end].clear();
            self.push(end, Unit::Gone(CloseCause::Failed));
        }
    }

    /// Whether anything but the news of its end is under way.
    pub fn carries(&self) -> bool {
        self.ways.iter().any(|way| way.front().is_some_and(|unit| !matches!(unit, Unit::Gone(_))))
    }

    /// Whether no process knows it.
    pub fn is_over(&self) -> bool {
        self.ends.iter().all(|end| !end.open)
    }
}

/// A datagram under way.
#[derive(Clone, Hash, Debug)]
pub(super) struct Datagram {
    pub from: usize,
    pub to: usize,
    pub bytes: Bytes,
}
