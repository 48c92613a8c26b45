//! What a run that measures notes in place of the checkers: views, suspicions, and what each node puts on the network.
//!
//! The checkers know every stream of every member, which grows with the square of the cluster; figures about thousands of members need
//! only what hosts are told.

use std::collections::{BTreeSet, HashMap};

use crate::core::Event;
use crate::types::{Incarnation, ViewId};

/// What a node has put on the network since the world began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// How often something was written to a connection: frames that leave together count once.
    pub writes: u64,
    /// Bytes written to connections.
    pub stream_bytes: u64,
    /// Datagrams sent.
    pub datagrams: u64,
    /// Bytes of datagrams sent.
    pub datagram_bytes: u64,
}

impl Traffic {
    pub(crate) fn write(&mut self, bytes: usize) {
        self.writes += 1;
        self.stream_bytes += bytes as u64;
    }

    pub(crate) fn datagram(&mut self, bytes: usize) {
        self.datagrams += 1;
        self.datagram_bytes += bytes as u64;
    }

    /// Writes and datagrams together.
    pub fn messages(&self) -> u64 {
        self.writes + self.datagrams
    }

    /// Bytes of both kinds, without what the network's own headers need.
    pub fn bytes(&self) -> u64 {
        self.stream_bytes + self.datagram_bytes
    }

    /// What was added since `before`.
    pub fn since(&self, before: &Traffic) -> Traffic {
        Traffic {
            writes: self.writes - before.writes,
            stream_bytes: self.stream_bytes - before.stream_bytes,
            datagrams: self.datagrams - before.datagrams,
            datagram_bytes: self.datagram_bytes - before.datagram_bytes,
        }
    }

    /// The sum of several nodes.
    pub fn sum<'a>(all: impl Iterator<Item = &'a Traffic>) -> Traffic {
        all.fold(Traffic::default(), |sum, one| Traffic {
            writes: sum.writes + one.writes,
            stream_bytes: sum.stream_bytes + one.stream_bytes,
            datagrams: sum.datagrams + one.datagrams,
            datagram_bytes: sum.datagram_bytes + one.datagram_bytes,
        })
    }
}

/// A view that a host was shown.
#[derive(Clone, Debug)]
pub(crate) struct Sighting {
    pub at: u64,
    pub view: ViewId,
    pub members: u32,
    /// Who is gone, of those whom that host knew.
    pub left: Vec<Incarnation>,
}

/// Everything that hosts were told, as far as figures need it.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub sightings: Vec<Sighting>,
    /// When a host was told that a member is under suspicion, and which.
    pub suspicions: Vec<(u64, Incarnation)>,
    /// Incarnations that some view left out.
    pub removed: BTreeSet<Incarnation>,
    /// Members that ended by themselves.
    pub ended: u64,
    owners: HashMap<Incarnation, u16>,
}

impl Survey {
    /// A host was told something.
    pub fn note(&mut self, now: u64, node: u16, event: &Event) {
        match event {
            Event::View(change) => {
                self.owners.insert(change.view.members[change.me].incarnation, node);
                let left: Vec<Incarnation> = change.left.iter().map(|member| member.incarnation).collect();
                self.removed.extend(&left);
                let (view, members) = (change.view.id, change.view.len() as u32);
                self.sightings.push(Sighting { at: now, view, members, left });
            }
            Event::Suspected { member, .. } => self.suspicions.push((now, member.incarnation)),
            Event::Closed { .. } => self.ended += 1,
            _ => {}
        }
    }

    /// Forgets what was told so far, but not who is who.
    pub fn begin_again(&mut self) {
        self.sightings.clear();
        self.suspicions.clear();
        self.removed.clear();
    }

    /// The node whose life this is or was.
    pub fn owner(&self, incarnation: Incarnation) -> Option<usize> {
        self.owners.get(&incarnation).map(|node| usize::from(*node))
    }

    /// How many different views were shown to anybody.
    pub fn views(&self) -> u64 {
        self.sightings.iter().map(|seen| seen.view).collect::<BTreeSet<_>>().len() as u64
    }

    /// How many different sizes the views had that were shown to anybody.
    pub fn sizes(&self) -> Vec<u32> {
        self.sightings.iter().map(|seen| seen.members).collect::<BTreeSet<_>>().into_iter().collect()
    }
}
