//! The core's one door in ([`Input`]) and one door out ([`Output`], [`Event`]).

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::messages::Messages;
use super::sessions::SessionAnswer;
use crate::types::{ConnId, Epoch, Incarnation, MemberInfo, Name, Seat, SessionId, Time, View, ViewId};

/// A datagram that came to the multicast group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// Who sent it, IPv4 as IPv4.
    pub from: SocketAddr,
    /// Its bytes, where they were received.
    pub bytes: Bytes,
}

/// What happened outside.
#[derive(Debug)]
#[allow(missing_docs)] // each variant's text speaks of its fields
pub enum Input<'a> {
    /// The deadline that [`super::Member::deadline`] named has come (or the driver just came by).
    Wake,
    /// A dialled connection is up.
    Connected(ConnId),
    /// Bytes were appended to the connection's receive space.
    Received(ConnId),
    /// A connection is gone, or could not be made. The driver has forgotten it.
    Closed(ConnId, CloseCause),
    /// A datagram came in.
    Datagram { from: SocketAddr, bytes: &'a [u8] },
    /// Datagrams came to the multicast group; what is kept of them shares their memory.
    Casts(&'a [Received]),
    /// A name that [`Output::Resolve`] asked for; empty when it does not resolve now.
    Resolved { host: String, addresses: Vec<SocketAddr> },
    /// The host has taken message events worth this many bytes ([`Event::cost`]).
    Consumed { bytes: usize },
    /// Events worth this many bytes went past the host's queue, or are not wanted any more: they do not count, and it has taken nothing.
    Released { bytes: usize },
    /// The host says that it is ready (only with `join.ready = host`).
    HostReady,
    /// The host wants to leave in order.
    Leave,
}

/// Why a connection ended, as far as the operating system says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseCause {
    /// The other host answered that nobody listens there: proof that no process owns the port (R19).
    Refused,
    /// The other end closed or reset it.
    Peer,
    /// No route, no answer, or any other failure.
    Failed,
}

/// What the driver must do.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // each variant's text speaks of its fields
pub enum Output {
    /// Open a connection; answer with `Connected` or `Closed`.
    Dial { conn: ConnId, to: SocketAddr },
    /// The connection has bytes to write: pull them with `to_write`, report with `wrote`.
    Transmit(ConnId),
    /// Write what `to_write` still shows if it can be written at once, then close and forget the connection. No `Closed` follows.
    Close(ConnId),
    /// Send one datagram.
    Datagram { to: SocketAddr, bytes: Bytes },
    /// Datagrams wait for the multicast group: pull them with `casts`, report with `sent_casts`. Said when the first one waits.
    Multicast,
    /// Look a name up off the loop; answer with `Resolved`.
    Resolve { host: String, port: u16 },
    /// Hand this to the host, in order.
    Event(Event),
}

/// What the host sees. Messages and views come from one queue, in order (D7).
#[derive(Clone, Debug)]
#[allow(missing_docs)] // each variant's text speaks of its fields
pub enum Event {
    /// A run of messages of one sender.
    Messages(Messages),
    /// The view is ending: what follows until the next `View` is delivered to those who go on together (D3).
    Transition { view: ViewId },
    /// A view was installed.
    View(ViewChange),
    /// This member is ready: it counts for stability and windows from this view on (V5).
    Ready { view: ViewId },
    /// A member is under suspicion; the check has begun (V7).
    Suspected { member: MemberRef, why: &'static str },
    /// A member alone holds up senders; it is removed when it still does after `slow_ms` (D5).
    Slow { member: MemberRef, lag_bytes: u64 },
    /// All remaining members hold our own messages to everybody up to this number (opt-in: `events.stable`).
    Stable { view: ViewId, number: u64 },
    /// A message that was accepted could not be sent in any view (D7), or its receiver is gone.
    Returned { to: Option<MemberRef>, token: u64, payload: Bytes, why: &'static str },
    /// A send that was answered with `Again` may be tried once more.
    Writable,
    /// The lease came or went: whether this member acts in the primary view (R22).
    Primary { view: ViewId, primary: bool },
    /// This incarnation was removed by others; the same process joins again as a new one (V6, R23).
    Expelled { view: ViewId, why: String },
    /// Somebody sent what it must not; the connection was closed (R4).
    Fault { member: Option<MemberRef>, from: Option<SocketAddr>, what: String },
    /// Somebody who wanted to join was refused, with the reason that it was told.
    RefusedJoiner { name: String, from: SocketAddr, why: String },
    /// A request about a session was answered.
    Session(SessionAnswer),
    /// A session that this member owned has not been used for its time, and is gone.
    SessionExpired { id: SessionId },
    /// A copy of a session from another life of this member was newer than the session that the others went on with: that one is
    /// kept. Epoch and version of both.
    SessionConflict { id: SessionId, kept: (Epoch, u64), dropped: (Epoch, u64) },
    /// After a loss, all sessions that this member owns have two copies again; so many were made anew (S6).
    RedundancyRestored { view: ViewId, sessions: u64 },
    /// Something the operator should read. Level 1 = error, 2 = warning, 3 = information.
    Note { level: u8, text: String },
    /// The member has ended, for this reason. Nothing follows.
    Closed { reason: Ended },
}

impl Event {
    /// What this event counts against `receive.queue_bytes` until the host has taken it; 0 for all but messages and answers.
    pub fn cost(&self) -> usize {
        match self {
            Event::Messages(run) => run.cost(),
            Event::Session(answer) => answer.cost(),
            _ => 0,
        }
    }
}

/// Why a member has ended.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Ended {
    /// The host asked, and the cluster knows.
    Left,
    /// The host asked, and nobody could be told in time.
    LeftUnheard,
    /// The cluster refused it, with the reason and who gave it.
    Refused(String),
    /// The host did not take events for `slow_ms` (D5).
    HostNotPolling,
    /// `join.timeout_ms` passed without a view.
    JoinTimeout(String),
    /// The runtime caught a bug of the library, or the system failed it. The core never says so.
    Failed(String),
}

impl Ended {
    /// The same, where the others did not agree before.
    pub(crate) fn unheard(self) -> Ended {
        if self == Ended::Left { Ended::LeftUnheard } else { self }
    }
}

/// Names a member in an event.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MemberRef {
    /// Its configured name.
    pub name: Name,
    /// This life of it.
    pub incarnation: Incarnation,
    /// Its seat.
    pub seat: Seat,
}

impl From<&MemberInfo> for MemberRef {
    fn from(m: &MemberInfo) -> MemberRef {
        MemberRef { name: m.name.clone(), incarnation: m.incarnation, seat: m.seat }
    }
}

/// An installed view, and how it differs from the one before.
#[derive(Clone, Debug)]
pub struct ViewChange {
    /// The view.
    pub view: Arc<View>,
    /// Our own position in it.
    pub me: usize,
    /// Who is new.
    pub joined: Vec<MemberRef>,
    /// Who is gone.
    pub left: Vec<MemberRef>,
    /// If we came over from the losing part of a merge: the view that this process was in before (V4).
    pub merged_from: Option<ViewId>,
}

/// One line of `decurion members`: a link as this member sees it.
#[derive(Clone, Debug)]
pub struct LinkReport {
    /// Who is at the other end.
    pub peer: Name,
    /// "up", "connecting", or "silent".
    pub state: &'static str,
    /// Bytes waiting to be written.
    pub queued_bytes: u64,
    /// Unstable bytes that this peer has not taken yet, as far as it is known here.
    pub unstable_bytes: u64,
    /// Smoothed round trip of heartbeats in microseconds; 0 = not known yet.
    pub rtt_us: u64,
    /// When a byte was last received on it, over either transport.
    pub heard: Time,
}
