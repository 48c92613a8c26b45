//! Connections: who is at the other end, what waits to be written, and which of them is the link to a member.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};

use super::buffers::{Assembler, ChunkPool, Frame};
use super::send_queue::SendQueue;
use crate::types::{ConnId, Incarnation, Name, Time, ViewId, limits};
use crate::wire::Malformed;
use crate::wire::control::{Control, Purpose};

/// Connections that have not introduced themselves: in all, and from one address.
const STRANGERS: usize = 128;
const STRANGERS_PER_SOURCE: usize = 64;
/// Control frames that wait for a connection to come up.
const WAITING_FRAMES: usize = 64;
/// Relayed batches to one member wait in a link's queue up to this; what is beyond is dropped and sent again by its sender.
const DIRECT_QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// Who is at the other end, as it said.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Peer {
    pub(crate) name: Name,
    pub(crate) incarnation: Incarnation,
    pub(crate) address: SocketAddr,
}

/// How far a connection is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum State {
    /// Dialled, not up.
    Dialing,
    /// Up; the greeting or its answer is awaited.
    Greeting,
    /// Both ends know each other.
    Open(Peer),
}

/// One connection.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Conn {
    pub(crate) state: State,
    pub(crate) dialed: bool,
    pub(crate) purpose: Purpose,
    pub(crate) remote: SocketAddr,
    /// Whom the dialler expects there.
    pub(crate) expects: Option<Incarnation>,
    /// The view that the dialler was in when it greeted.
    pub(crate) asked_in: ViewId,
    pub(crate) since: Time,
    pub(crate) used: Time,
    pub(crate) received: Time,
    /// When the peer was last asked whether it is there.
    pub(crate) asked: Time,
    /// Something was sent to which nothing has come back yet; to ask and to answer that does not count.
    pub(crate) unanswered: bool,
    waiting: Vec<Bytes>,
    queue: SendQueue,
    assembler: Assembler,
}

impl Conn {
    pub(crate) fn peer(&self) -> Option<&Peer> {
        match &self.state {
            State::Open(peer) => Some(peer),
            _ => None,
        }
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// Of these, batches.
    pub(crate) fn queued_data(&self) -> u64 {
        (self.queue.bytes() - self.queue.control_bytes()) as u64
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.queue.bytes() == 0
    }
}

/// All connections of a member.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    conns: BTreeMap<ConnId, Conn>,
    /// What connections still have to say that the driver is being told to close.
    closing: BTreeMap<ConnId, SendQueue>,
    /// The connection that is the link to a member.
    current: BTreeMap<Incarnation, ConnId>,
    next: u64,
    pool: ChunkPool,
    /// Control that waits for one peer. Twice what it can lack of a cut, and more: beyond it, it asks without reading.
    control_bound: usize,
    /// Connections with something new to write.
    pub(crate) transmit: Vec<ConnId>,
}

impl Links {
    pub(crate) fn new(pool_chunks: usize) -> Links {
        Links {
            conns: BTreeMap::new(),
            closing: BTreeMap::new(),
            current: BTreeMap::new(),
            next: 1,
            pool: ChunkPool::new(pool_chunks),
            control_bound: 2 * pool_chunks * limits::CHUNK_BYTES,
            transmit: Vec::new(),
        }
    }

    fn add(&mut self, now: Time, remote: SocketAddr, dialed: bool, purpose: Purpose, state: State) -> ConnId {
        let id = ConnId(self.next);
        self.next += 1;
        let conn = Conn {
            state,
            dialed,
            purpose,
            remote,
            expects: None,
            asked_in: ViewId::NONE,
            since: now,
            used: now,
            received: now,
            asked: Time::ZERO,
            unanswered: false,
            waiting: Vec::new(),
            queue: SendQueue::default(),
            assembler: Assembler::default(),
        };
        self.conns.insert(id, conn);
        id
    }

    /// Notes an accepted connection, unless there are too many strangers already.
    pub(crate) fn accepted(&mut self, now: Time, remote: SocketAddr) -> Option<ConnId> {
        let strangers = || self.conns.values().filter(|c| !c.dialed && c.peer().is_none());
        let same = strangers().filter(|c| c.remote.ip() == remote.ip()).count();
        if strangers().count() >= STRANGERS || same >= STRANGERS_PER_SOURCE {
            return None;
        }
        Some(self.add(now, remote, false, Purpose::Link, State::Greeting))
    }

    /// Notes a connection that the driver is asked to open.
    pub(crate) fn dial(&mut self, now: Time, to: SocketAddr, purpose: Purpose, expects: Option<Incarnation>) -> ConnId {
        let id = self.add(now, to, true, purpose, State::Dialing);
        self.conns.get_mut(&id).expect("just added").expects = expects;
        id
    }

    pub(crate) fn get(&self, id: ConnId) -> Option<&Conn> {
        self.conns.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &Conn)> {
        self.conns.iter().map(|(id, conn)| (*id, conn))
    }

    pub(crate) fn len(&self) -> usize {
        self.conns.len()
    }

    /// The link to a member, if one is up.
    pub(crate) fn link(&self, to: Incarnation) -> Option<ConnId> {
        self.current.get(&to).copied()
    }

    pub(crate) fn link_conn(&self, to: Incarnation) -> Option<&Conn> {
        self.link(to).and_then(|id| self.get(id))
    }

    /// A link that is being dialled.
    pub(crate) fn dialing(&self, to: Incarnation) -> Option<ConnId> {
        let wanted = |c: &Conn| c.dialed && c.purpose != Purpose::Probe && c.expects == Some(to) && c.peer().is_none();
        self.conns.iter().find(|(_, c)| wanted(c)).map(|(id, _)| *id)
    }

    /// Both ends know each other: makes this the link to the peer, unless another one stays. Answers which connection
    /// has to go. Of two, both ends keep the one that the smaller incarnation dialled; of two dialled by the same end, the newer.
    pub(crate) fn open(&mut self, id: ConnId, me: Incarnation, peer: Peer) -> Option<ConnId> {
        let incarnation = peer.incarnation;
        let conn = self.conns.get_mut(&id)?;
        conn.state = State::Open(peer);
        let waiting = std::mem::take(&mut conn.waiting);
        let dialer = |dialed: bool| if dialed { me } else { incarnation };
        let mine = dialer(conn.dialed);
        let loser = match self.current.get(&incarnation).and_then(|old| Some((*old, self.conns.get(old)?))) {
            Some((old, other)) if old != id && dialer(other.dialed) < mine => Some(id),
            Some((old, _)) if old != id => Some(old),
            _ => None,
        };
        if loser != Some(id) {
            self.current.insert(incarnation, id);
        }
        let keep = if loser == Some(id) { self.current[&incarnation] } else { id };
        for frame in waiting {
            self.push_control(keep, frame);
        }
        loser
    }

    /// Forgets a connection. Answers the member whose link it was.
    pub(crate) fn remove(&mut self, id: ConnId) -> Option<(Conn, bool)> {
        let mut conn = self.conns.remove(&id)?;
        if conn.queue.bytes() > 0 {
            self.closing.insert(id, std::mem::take(&mut conn.queue));
        }
        let incarnation = conn.peer().map(|p| p.incarnation);
        let was_link = incarnation.is_some_and(|i| self.current.get(&i) == Some(&id));
        if let (true, Some(incarnation)) = (was_link, incarnation) {
            self.current.remove(&incarnation);
        }
        Some((conn, was_link))
    }

    /// Queues a control frame; before the connection is open it waits, within a bound.
    pub(crate) fn send_control(&mut self, id: ConnId, control: &Control) {
        if self.conns.contains_key(&id) {
            self.send_encoded(id, control, control.encode());
        }
    }

    /// Whether one more control frame would be said there, or wait.
    pub(crate) fn takes_control(&self, id: ConnId) -> bool {
        self.get(id).is_some_and(|conn| conn.peer().is_some() || conn.waiting.len() < WAITING_FRAMES)
    }

    /// The same of a frame that many get, and that was encoded for all of them.
    pub(crate) fn send_encoded(&mut self, id: ConnId, control: &Control, frame: Bytes) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let greeting =
            matches!(control, Control::Hello(_) | Control::Welcome(_) | Control::Refuse(_) | Control::Report(_));
        conn.unanswered |= !matches!(control, Control::Ping(_) | Control::Pong(_));
        if conn.peer().is_some() || greeting {
            self.push_control(id, frame);
        } else if conn.waiting.len() < WAITING_FRAMES {
            conn.waiting.push(frame);
        }
    }

    /// Queues a last word on a connection that will not be opened.
    pub(crate) fn push_before_open(&mut self, id: ConnId, control: &Control) {
        self.push_control(id, control.encode());
    }

    fn push_control(&mut self, id: ConnId, frame: Bytes) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.queue.bytes() == 0 {
            self.transmit.push(id);
        }
        conn.queue.push_control(frame);
    }

    /// Queues a slice of whole batches of one stream on the link to a member. Without a link it is dropped: progress is compared when
    /// the link comes up, and the rest is replayed (R7).
    pub(crate) fn send_data(&mut self, to: Incarnation, slice: Bytes) {
        let Some(id) = self.link(to) else { return };
        let conn = self.conns.get_mut(&id).expect("links are connections");
        if conn.queue.bytes() == 0 {
            self.transmit.push(id);
        }
        conn.unanswered = true;
        conn.queue.push_data(slice);
    }

    /// Queues a batch of a stream to one member, if the link's queue has room.
    pub(crate) fn send_direct(&mut self, to: Incarnation, slice: Bytes) {
        if self.link_conn(to).is_some_and(|c| c.queue.bytes() < DIRECT_QUEUE_BYTES) {
            self.send_data(to, slice);
        }
    }

    pub(crate) fn space(&mut self, id: ConnId) -> Option<&mut BytesMut> {
        Some(self.conns.get_mut(&id)?.assembler.space(&mut self.pool))
    }

    /// Most bytes to read next.
    pub(crate) fn read_most(&self, id: ConnId) -> usize {
        self.conns.get(&id).map_or(usize::MAX, |conn| conn.assembler.most())
    }

    /// Whole frames that have come in, within the bound that the peer has earned.
    pub(crate) fn frames(&mut self, now: Time, id: ConnId, out: &mut Vec<Frame>) -> Result<Bytes, Malformed> {
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(Bytes::new()) };
        if conn.queue.control_bytes() > self.control_bound {
            return Err(Malformed("asks for more than it reads"));
        }
        conn.received = now;
        conn.unanswered = false;
        let bound = if conn.peer().is_some() || conn.dialed { limits::CONTROL_BYTES } else { limits::GREETING_BYTES };
        let chunk = conn.assembler.frames(bound, out)?;
        // What outlives the turn and covers little of its chunk is copied, so that it does not pin the chunk (R10).
        if chunk.len() >= limits::CHUNK_BYTES / 4 {
            return Ok(chunk);
        }
        self.pool.note_copy(chunk.len());
        Ok(Bytes::copy_from_slice(&chunk))
    }

    pub(crate) fn show<'a>(&'a self, id: ConnId, max_bytes: usize, out: &mut Vec<&'a [u8]>) {
        let queue = self.conns.get(&id).map(|c| &c.queue).or_else(|| self.closing.get(&id));
        if let Some(queue) = queue {
            queue.show(max_bytes, out);
        }
    }

    pub(crate) fn wrote(&mut self, now: Time, id: ConnId, bytes: usize) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.queue.wrote(bytes);
            conn.used = now;
        } else if let Some(queue) = self.closing.get_mut(&id) {
            queue.wrote(bytes);
        }
    }

    /// The driver has written what this connection still had to say, or could not.
    pub(crate) fn forget_closed(&mut self, id: ConnId) {
        self.closing.remove(&id);
    }

    pub(crate) fn chunk(&mut self) -> BytesMut {
        self.pool.take()
    }

    pub(crate) fn trim(&mut self) {
        self.pool.trim();
    }

    pub(crate) fn chunks(&self) -> usize {
        self.pool.remembered()
    }

    /// Notes that so many bytes of messages were copied.
    pub(crate) fn note_copy(&mut self, bytes: usize) {
        self.pool.note_copy(bytes);
    }

    pub(crate) fn copied(&self) -> u64 {
        self.pool.copied()
    }
}
