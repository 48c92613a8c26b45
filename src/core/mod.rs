//! The protocol as one state machine: `(now, input) -> outputs`. No socket, thread, clock or random source.
//!
//! A driver (the runtime, or the simulator) owns one [`Member`] and, in turns:
//! 1. tells it what happened with [`Member::handle`] (received bytes go into [`Member::receive_space`] first),
//! 2. lets it take accepted sends with [`Member::exchange`],
//! 3. drains [`Member::poll`] until it answers `None`, doing what each output says,
//! 4. writes what [`Member::to_write`] shows for the connections that `Transmit` named, and reports with [`Member::wrote`],
//! 5. comes back at [`Member::deadline`] at the latest.

mod ballot;
mod buffers;
mod builder;
mod changes;
mod claims;
mod credit;
mod detector;
mod direct;
mod effects;
mod fanout;
#[cfg(feature = "sim")]
mod fingerprint;
mod flow;
mod forming;
mod grants;
mod greeting;
mod heartbeat;
mod io;
mod joining;
mod lease;
mod leaving;
mod links;
mod loose;
mod mark;
mod member;
mod merging;
mod messages;
mod multicast;
mod order;
mod outbox;
mod packing;
mod participating;
mod placement;
mod plant;
mod quorum;
mod reception;
mod send_queue;
mod serving;
mod sessions;
mod setup;
mod slow;
mod stability;
mod stream;
mod suspicion;
mod tree;
mod verdict;
mod views;
mod window;

pub use claims::{SPACE_ALIGN, Space};
pub use io::{CloseCause, Ended, Event, Input, LinkReport, MemberRef, Output, Received, ViewChange};
pub use mark::{Mark, Marks};
pub use member::Member;
pub use messages::{Message, MessageIter, Messages};
pub use multicast::Casting;
pub use outbox::{Gate, Outbox, PENDING_OVERHEAD, Payload, Pending, To};
pub use packing::PACKED_BYTES;
pub use plant::Plant;
pub use sessions::{Asynchronous, SessionAnswer, SessionCounts, SessionOp, SessionRequest, SessionRules};
pub use setup::{LargeRules, MinorityPolicy, Multicast, ReadyPolicy, Seed, Setup};

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
    pub casts_sent: u64,
    pub casts_received: u64,
    pub casts_refused: u64,
    pub casts_foreign: u64,
    pub repairs_asked: u64,
    pub repair_bytes_sent: u64,
    pub views_installed: u64,
    pub suspicions: u64,
    pub faults: u64,
    pub unstable_bytes: u64,
    pub delivery_queue_bytes: u64,
    pub credit_bytes: u64,
    pub connections: u64,
    pub chunks_pinned: u64,
    pub sessions_primary: u64,
    pub sessions_secondary: u64,
    pub sessions_single: u64,
    pub session_bytes: u64,
    pub session_lag_bytes: u64,
    pub session_lag_us: u64,
}
