//! The protocol as one state machine: `(now, input) -> outputs`. No socket, thread, clock or random source.
//!
//! A driver (the runtime, or the simulator) owns one [`Member`] and, in turns:
//! 1. tells it what happened with [`Member::handle`] (received bytes go into [`Member::receive_space`] first),
//! 2. lets it take accepted sends with [`Member::exchange`],
//! 3. drains [`Member::poll`] until it answers `None`, doing what each output says,
//! 4. writes what [`Member::to_write`] shows for the connections that `Transmit` named, and reports with [`Member::wrote`],
//! 5. comes back at [`Member::deadline`] at the latest.

mod io;
mod messages;
mod outbox;
mod plant;
mod setup;

pub use io::{CloseCause, Ended, Event, Input, LinkReport, MemberRef, Output, ViewChange};
pub use messages::{Message, MessageIter, Messages};
pub use outbox::{Gate, Outbox, PENDING_OVERHEAD, Pending, To};
pub use plant::Plant;
pub use setup::{MinorityPolicy, ReadyPolicy, Seed, Setup};

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;

use crate::types::{ConnId, Incarnation, Index, Time, View};

/// Counters of one member since it started. Plain numbers, cheap to copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it; the configuration page explains each
pub struct Stats {
    pub messages_sent: u64,
    pub messages_delivered: u64,
    pub batches_sent: u64,
    pub batches_received: u64,
    pub batches_relayed: u64,
    pub batches_repeated: u64,
    pub batches_refused: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub datagrams_sent: u64,
    pub datagrams_received: u64,
    pub datagrams_refused: u64,
    pub views_installed: u64,
    pub suspicions: u64,
    pub faults: u64,
    pub unstable_bytes: u64,
    pub delivery_queue_bytes: u64,
    pub credit_bytes: u64,
    pub connections: u64,
    pub chunks_pinned: u64,
}

/// One member of a cluster.
#[derive(Debug)]
pub struct Member {
    stats: Stats,
}

#[allow(unused_variables, clippy::unused_self)]
impl Member {
    /// A member that begins to join at once.
    pub fn new(setup: Setup, now: Time) -> Member {
        Member { stats: Stats::default() }
    }

    /// A connection was accepted from `peer`. `None` when the bound on strangers is reached: close it.
    pub fn accept(&mut self, now: Time, peer: SocketAddr) -> Option<ConnId> {
        None
    }

    /// Tells the member what happened. `now` never goes back.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {}

    /// Takes accepted sends from the host's outbox and tells it what to answer from now on.
    pub fn exchange(&mut self, now: Time, outbox: &mut Outbox) {}

    /// The next thing the driver must do; `None` when all is done for this turn.
    pub fn poll(&mut self) -> Option<Output> {
        None
    }

    /// When to come back at the latest; [`Time::NEVER`] if nothing is due.
    pub fn deadline(&self) -> Time {
        Time::NEVER
    }

    /// Where to read a connection's bytes into: append to its spare capacity (at least one byte), then say `Received`.
    /// `None` if the connection is not known.
    pub fn receive_space(&mut self, conn: ConnId) -> Option<&mut BytesMut> {
        None
    }

    /// Shows what a connection has to write, as slices in order, up to about `max_bytes`.
    pub fn to_write<'a>(&'a self, conn: ConnId, max_bytes: usize, slices: &mut Vec<&'a [u8]>) {}

    /// Reports that the first `bytes` of what `to_write` showed are written.
    pub fn wrote(&mut self, now: Time, conn: ConnId, bytes: usize) {}

    /// The installed view and our position in it.
    pub fn view(&self) -> Option<(&Arc<View>, Index)> {
        None
    }

    /// This life's incarnation; it changes when the member joins again after having been removed.
    pub fn incarnation(&self) -> Incarnation {
        Incarnation::NONE
    }

    /// Whether this member may act in the primary view at `now` (R22).
    pub fn is_primary(&self, now: Time) -> bool {
        false
    }

    /// Why the member has ended, if it has.
    pub fn ended(&self) -> Option<&Ended> {
        None
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The links as this member sees them.
    pub fn links(&self, now: Time) -> Vec<LinkReport> {
        Vec::new()
    }
}
