//! The sockets of one engine behind mio: which are ready, reading and writing them, opening and closing.
//!
//! mio reports each readiness once. So it is remembered here until the system says "would block", and whoever drives
//! this does a bounded piece of work per socket and comes back: [`Transport::has_ready`] says that there is more.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::Socket;

use super::bell::Bell;
use super::fork::{AfterFork, Tracked};
use super::multicast::joined::{Joined, Rehearsed};
use super::socket::{self, Buffers, Port};
use crate::core::CloseCause;
use crate::types::{ConnId, Micros, Time, millis};

const BELL: Token = Token(usize::MAX - 1);
const LISTENER: Token = Token(usize::MAX - 2);
const DATAGRAMS: Token = Token(usize::MAX - 3);
const GROUP: Token = Token(usize::MAX - 4);

/// Most slices of one gathered write; the system takes up to 1024.
pub const SLICES: usize = 128;
/// So many are shown when little is under way: no need to lay out a list for all.
const FEW: usize = 4;
/// How long a closed connection waits for the other end to have read what was written last.
const LINGER: Micros = millis(1_000);
/// Most connections that linger; one more ends the oldest.
const LINGERING: usize = 64;

/// What came of reading once.
#[derive(Debug)]
pub enum Read {
    /// So many bytes were appended, and there may be more.
    More(usize),
    /// So many bytes were appended (possibly none), and no more are there now.
    Drained(usize),
    /// The connection is over.
    Ended(CloseCause),
}

/// What became of a dialled connection.
#[derive(Debug)]
pub enum Dialled {
    /// It can be used.
    Up(ConnId),
    /// It could not be made, and is forgotten.
    Failed(ConnId, CloseCause),
}

#[derive(Debug)]
struct Connection {
    socket: Tracked<Socket>,
    phase: Phase,
    /// The system has not said "would block" since it last said "writable".
    writable: bool,
    /// Nothing can be written any more; what was received before can still be read.
    broken: bool,
    /// The other end will send no more: a short read does not mean that nothing is left.
    finished: bool,
    in_readable: bool,
    in_writable: bool,
    /// There is something to write.
    has_output: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Dialling,
    Open,
    /// Closed for the core; kept so that the last bytes written are not destroyed by a reset.
    Lingering {
        until: Time,
    },
}

/// All sockets of an engine. Dropping it closes the connections first and the port last (R19).
#[derive(Debug)]
pub struct Transport {
    connections: Table,
    lingering: VecDeque<ConnId>,
    readable: VecDeque<ConnId>,
    writable: VecDeque<ConnId>,
    dialled: Vec<Dialled>,
    accepts: bool,
    receives: bool,
    events: Events,
    poll: Tracked<Poll>,
    /// How often there was none left for a connection.
    refused: u64,
    /// Given up for a moment to refuse a connection when the process has no descriptor left.
    spare: Option<Tracked<std::fs::File>>,
    max_connections: usize,
    buffers: Buffers,
    /// Waits, reads, writes and accepts so far: what the system is called for over and over.
    calls: u64,
    group: Option<Joined>,
    port: Port,
}

type Table = HashMap<ConnId, Connection, BuildHasherDefault<ById>>;

/// Connections are numbered by the core, not by strangers: the number itself, spread out, is a good hash.
#[derive(Default, Debug)]
struct ById(u64);

impl Hasher for ById {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("a connection's number is one word")
    }
    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Transport {
    /// Starts to listen. `bell` wakes [`Transport::wait`].
    pub fn new(port: Port, bell: &Arc<Bell>, max_connections: usize, buffers: Buffers) -> io::Result<Transport> {
        let poll = Tracked::open(AfterFork::Close, Poll::new)?;
        let registry = poll.registry();
        registry.register(&mut SourceFd(&bell.as_raw_fd()), BELL, Interest::READABLE)?;
        registry.register(&mut SourceFd(&port.listener.as_raw_fd()), LISTENER, Interest::READABLE)?;
        registry.register(&mut SourceFd(&port.datagrams.as_raw_fd()), DATAGRAMS, Interest::READABLE)?;
        Ok(Transport {
            connections: Table::default(),
            lingering: VecDeque::new(),
            readable: VecDeque::new(),
            writable: VecDeque::new(),
            dialled: Vec::new(),
            accepts: false,
            receives: false,
            events: Events::with_capacity(256),
            poll,
            refused: 0,
            spare: open_spare(),
            max_connections,
            buffers,
            calls: 0,
            group: None,
            port,
        })
    }

    /// The descriptor that is readable while [`Transport::wait`] would find something.
    pub fn poll_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// Where the port is bound.
    pub fn local(&self) -> SocketAddr {
        self.port.local
    }

    /// How often the system was called to wait, to read, to write and to accept.
    pub fn calls(&self) -> u64 {
        self.calls + self.group.as_ref().map_or(0, Joined::calls)
    }

    /// How many connections there are, those that linger included.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether a socket has work that was put off: the next wait must not wait.
    pub fn has_ready(&self) -> bool {
        self.accepts
            || self.receives
            || self.group.as_ref().is_some_and(|group| group.readable)
            || !self.readable.is_empty()
            || !self.writable.is_empty()
            || !self.dialled.is_empty()
    }

    /// When a lingering connection must be ended; [`Time::NEVER`] if there is none.
    pub fn deadline(&self) -> Time {
        let first = self.lingering.front().and_then(|conn| self.connections.get(conn));
        first.map_or(Time::NEVER, |c| match c.phase {
            Phase::Lingering { until } => until,
            _ => Time::NEVER,
        })
    }

    /// Waits until a socket is ready, the bell rings, or the time is over (`None`: for ever), and takes down what is ready.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.calls += 1;
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let polled = match self.poll.get_mut().poll(&mut events, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other,
        };
        for event in &events {
            match event.token() {
                BELL => {}
                LISTENER => self.accepts = true,
                DATAGRAMS => self.receives = true,
                GROUP => self.note_group(event),
                Token(id) => self.note_readiness(ConnId(id as u64), event),
            }
        }
        events.clear();
        self.events = events;
        polled
    }

    /// Takes a multicast group's socket in.
    pub fn join(&mut self, group: Joined) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut SourceFd(&group.as_raw_fd()), GROUP, interest)?;
        self.group = Some(group);
        Ok(())
    }

    /// What of the group was thrown away on purpose.
    pub fn rehearsed(&self) -> Rehearsed {
        self.group.as_ref().map_or_else(Rehearsed::default, Joined::rehearsed)
    }

    /// The multicast group, if there is one.
    pub fn group(&mut self) -> Option<&mut Joined> {
        self.group.as_mut()
    }

    fn note_group(&mut self, event: &mio::event::Event) {
        if let Some(group) = &mut self.group {
            group.readable |= event.is_readable() || event.is_error();
            group.writable |= event.is_writable();
        }
    }

    fn note_readiness(&mut self, conn: ConnId, event: &mio::event::Event) {
        let Some(c) = self.connections.get_mut(&conn) else { return };
        if c.phase == Phase::Dialling {
            match socket::dialled(&c.socket) {
                Ok(false) => return,
                Ok(true) => {
                    c.phase = Phase::Open;
                    self.dialled.push(Dialled::Up(conn));
                }
                Err(error) => {
                    self.forget(conn);
                    self.dialled.push(Dialled::Failed(conn, socket::cause_of(&error)));
                    return;
                }
            }
        }
        let c = self.connections.get_mut(&conn).expect("looked up above");
        c.finished |= event.is_read_closed() || event.is_error();
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            enqueue(&mut self.readable, &mut c.in_readable, conn);
        }
        if event.is_writable() {
            c.writable = true;
            if c.has_output {
                enqueue(&mut self.writable, &mut c.in_writable, conn);
            }
        }
    }

    /// The next dialled connection that is up or has failed.
    pub fn next_dialled(&mut self) -> Option<Dialled> {
        self.dialled.pop()
    }

    /// Starts a connection under the core's number. What becomes of it is told by [`Transport::next_dialled`].
    pub fn dial(&mut self, conn: ConnId, to: SocketAddr) {
        let made = if self.connections.len() < self.max_connections {
            socket::dial(to, self.buffers).and_then(|socket| self.insert(conn, socket, Phase::Dialling))
        } else {
            Err(io::Error::other("net.max_connections is reached"))
        };
        if let Err(error) = made {
            log::debug!(target: "decurion::runtime", "cannot dial {to}: {error}");
            self.dialled.push(Dialled::Failed(conn, socket::cause_of(&error)));
        }
    }

    /// The next connection that waits to be accepted, unless there are too many: those are closed at once.
    pub fn accept(&mut self) -> Option<(Tracked<Socket>, SocketAddr)> {
        if !self.accepts {
            return None;
        }
        self.calls += 1;
        match socket::accept(&self.port.listener, self.buffers) {
            // Strangers must not use up what our own dials need.
            Ok(_) if self.connections.len() >= self.max_connections - self.max_connections / 8 => None,
            Ok(accepted) => Some(accepted),
            Err(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                self.refuse_without_descriptor();
                None
            }
            Err(e) => {
                self.accepts = e.kind() != io::ErrorKind::WouldBlock;
                None
            }
        }
    }

    /// Whether connections wait to be accepted.
    pub fn accepts(&self) -> bool {
        self.accepts
    }

    /// No descriptor is left: use the spare one to take the connection and close it, so that it does not wait for ever.
    fn refuse_without_descriptor(&mut self) {
        self.refused += 1;
        // Strangers can cause this as often as they like: ever rarer lines.
        if self.refused.is_power_of_two() {
            let text =
                format!("no file descriptor left for a connection ({} times now): raise ulimit -n", self.refused);
            log::warn!(target: "decurion::runtime", "{text}");
        }
        let had_spare = self.spare.take().is_some();
        if !had_spare || socket::accept(&self.port.listener, self.buffers).is_err() {
            self.accepts = false;
        }
        self.spare = open_spare();
    }

    /// Takes an accepted connection in under the core's number.
    pub fn admit(&mut self, conn: ConnId, socket: Tracked<Socket>) -> io::Result<()> {
        self.insert(conn, socket, Phase::Open)
    }

    fn insert(&mut self, conn: ConnId, socket: Tracked<Socket>, phase: Phase) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(conn.0 as usize), interest)?;
        let connection = Connection {
            socket,
            phase,
            writable: phase == Phase::Open,
            broken: false,
            finished: false,
            in_readable: false,
            in_writable: false,
            has_output: false,
        };
        self.connections.insert(conn, connection);
        Ok(())
    }

    /// Takes the next connection with something to read from the queue.
    pub fn next_readable(&mut self) -> Option<ConnId> {
        for _ in 0..self.readable.len() {
            let conn = self.readable.pop_front()?;
            let Some(c) = self.connections.get_mut(&conn) else { continue };
            c.in_readable = false;
            if !matches!(c.phase, Phase::Lingering { .. }) {
                return Some(conn);
            }
            self.discard(conn);
        }
        None
    }

    /// How many connections wait to be read.
    pub fn readable_len(&self) -> usize {
        self.readable.len()
    }

    /// Reads once into the spare capacity of `space`, at most so many bytes. After [`Read::Ended`] the connection is forgotten.
    pub fn read(&mut self, conn: ConnId, space: &mut BytesMut, most: usize) -> Read {
        let Some(c) = self.connections.get_mut(&conn) else { return Read::Drained(0) };
        if space.capacity() == space.len() {
            space.reserve(1);
        }
        let spare = space.spare_capacity_mut();
        let room = spare.len().min(most);
        let spare = &mut spare[..room];
        self.calls += 1;
        match c.socket.recv(spare) {
            Ok(0) => self.ended(conn, CloseCause::Peer),
            Ok(bytes) => {
                // SAFETY: the system has just written `bytes` bytes into the spare capacity, from its start.
                unsafe { space.set_len(space.len() + bytes) };
                if bytes == room || c.finished { Read::More(bytes) } else { Read::Drained(bytes) }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && c.broken => self.ended(conn, CloseCause::Peer),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                c.finished = false;
                Read::Drained(0)
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Read::More(0),
            Err(e) => self.ended(conn, socket::cause_of(&e)),
        }
    }

    fn ended(&mut self, conn: ConnId, cause: CloseCause) -> Read {
        self.forget(conn);
        // Nobody refuses a connection that was up.
        Read::Ended(if cause == CloseCause::Refused { CloseCause::Failed } else { cause })
    }

    /// Puts a connection back that was not read to its end.
    pub fn read_later(&mut self, conn: ConnId) {
        if let Some(c) = self.connections.get_mut(&conn) {
            enqueue(&mut self.readable, &mut c.in_readable, conn);
        }
    }

    /// Notes that a connection has something to write.
    pub fn write_soon(&mut self, conn: ConnId) {
        if let Some(c) = self.connections.get_mut(&conn) {
            c.has_output = true;
            if c.writable && !c.broken {
                enqueue(&mut self.writable, &mut c.in_writable, conn);
            }
        }
    }

    /// Takes the next connection that can be written and has something to write.
    pub fn next_writable(&mut self) -> Option<ConnId> {
        loop {
            let conn = self.writable.pop_front()?;
            let Some(c) = self.connections.get_mut(&conn) else { continue };
            c.in_writable = false;
            if c.phase == Phase::Open && c.writable && !c.broken {
                return Some(conn);
            }
        }
    }

    /// How many connections wait to be written.
    pub fn writable_len(&self) -> usize {
        self.writable.len()
    }

    /// Notes that a connection has nothing left to write.
    pub fn written_all(&mut self, conn: ConnId) {
        if let Some(c) = self.connections.get_mut(&conn) {
            c.has_output = false;
        }
    }

    /// Writes the slices, at most [`SLICES`] of them, in one call; answers how many bytes the system took.
    /// Fewer than there are: it comes back by itself when there is room.
    pub fn write(&mut self, conn: ConnId, slices: &[&[u8]]) -> usize {
        let Some(c) = self.connections.get_mut(&conn) else { return 0 };
        let slices = &slices[..slices.len().min(SLICES)];
        let sent = loop {
            self.calls += 1;
            let sent = match slices.len() {
                ..=FEW => send::<FEW>(&c.socket, slices),
                _ => send::<SLICES>(&c.socket, slices),
            };
            match sent {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        match sent {
            Ok(bytes) => {
                c.writable = bytes == slices.iter().map(|slice| slice.len()).sum::<usize>();
                bytes
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                c.writable = false;
                0
            }
            Err(_) => {
                // What the other end said before it went (a refusal, say) is still to be read: reading ends it.
                c.writable = false;
                c.broken = true;
                enqueue(&mut self.readable, &mut c.in_readable, conn);
                0
            }
        }
    }

    /// Whether writing would not block, as far as is known.
    pub fn can_write(&self, conn: ConnId) -> bool {
        self.connections.get(&conn).is_some_and(|c| c.phase == Phase::Open && c.writable && !c.broken)
    }

    /// Puts a connection back that can be written further.
    pub fn write_later(&mut self, conn: ConnId) {
        self.write_soon(conn);
    }

    /// Closes a connection of which the core knows no more. It lingers for a moment, unread: a close with bytes
    /// unread would reset it, and the other end might lose what was written last.
    pub fn close(&mut self, conn: ConnId, now: Time) {
        let Some(c) = self.connections.get_mut(&conn) else { return };
        if c.phase != Phase::Open || c.broken || c.socket.shutdown(Shutdown::Write).is_err() {
            self.forget(conn);
            return;
        }
        c.phase = Phase::Lingering { until: now + LINGER };
        c.has_output = false;
        self.lingering.push_back(conn);
        if self.lingering.len() > LINGERING {
            self.end_oldest_lingering();
        }
        self.discard(conn);
    }

    /// Reads what nobody wants; ends the connection when the other end has closed its side.
    fn discard(&mut self, conn: ConnId) {
        let Some(c) = self.connections.get_mut(&conn) else { return };
        let mut waste = [MaybeUninit::uninit(); 16 * 1024];
        match c.socket.recv(&mut waste) {
            Ok(0) => self.forget(conn),
            Ok(bytes) if bytes == waste.len() || c.finished => {
                enqueue(&mut self.readable, &mut c.in_readable, conn);
            }
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.forget(conn),
        }
    }

    /// Ends the connections that have lingered long enough.
    pub fn end_lingering(&mut self, now: Time) {
        while self.deadline() <= now {
            self.end_oldest_lingering();
        }
    }

    fn end_oldest_lingering(&mut self) {
        if let Some(conn) = self.lingering.front().copied() {
            self.forget(conn);
        }
    }

    /// The last act: says on every connection that nothing follows, so that what was written still arrives.
    pub fn finish(&mut self) {
        let mut waste = [MaybeUninit::uninit(); 16 * 1024];
        for c in self.connections.values() {
            let _ = c.socket.shutdown(Shutdown::Write);
            // Bytes left unread would turn the close into a reset; a peer that never stops is not waited for.
            for _ in 0..16 {
                if !c.socket.recv(&mut waste).is_ok_and(|bytes| bytes == waste.len()) {
                    break;
                }
            }
        }
    }

    fn forget(&mut self, conn: ConnId) {
        let Some(c) = self.connections.remove(&conn) else { return };
        // Closing would take it off epoll by itself, but not if a forked child holds the same socket.
        let _ = self.poll.registry().deregister(&mut SourceFd(&c.socket.as_raw_fd()));
        if matches!(c.phase, Phase::Lingering { .. }) {
            self.lingering.retain(|l| *l != conn);
        }
    }

    /// The next datagram, into `buffer`; a longer one is cut to it.
    pub fn receive<'a>(&mut self, buffer: &'a mut [MaybeUninit<u8>]) -> Option<(&'a [u8], SocketAddr)> {
        while self.receives {
            self.calls += 1;
            match self.port.datagrams.recv_from(buffer) {
                Ok((bytes, from)) => {
                    let Some(from) = from.as_socket() else { continue };
                    // SAFETY: the system has just written `bytes` bytes from the buffer's start.
                    let received = unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), bytes) };
                    return Some((received, socket::canonical(from)));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.receives = false,
                // An answer to an earlier datagram, told once; or the system is out of memory: the next turn looks again.
                Err(_) => return None,
            }
        }
        None
    }

    /// Sends a datagram, or loses it when the system has no room: that is what datagrams do.
    pub fn send(&mut self, to: SocketAddr, bytes: &[u8]) {
        self.calls += 1;
        let to = socket::for_family(to, self.port.local);
        if let Err(error) = self.port.datagrams.send_to_with_flags(bytes, &to.into(), libc::MSG_NOSIGNAL) {
            log::trace!(target: "decurion::runtime", "a datagram to {to} was lost here: {error}");
        }
    }
}

fn send<const MOST: usize>(socket: &Socket, slices: &[&[u8]]) -> io::Result<usize> {
    let mut gathered = [IoSlice::new(&[]); MOST];
    gathered.iter_mut().zip(slices).for_each(|(to, from)| *to = IoSlice::new(from));
    socket.send_vectored_with_flags(&gathered[..slices.len()], libc::MSG_NOSIGNAL)
}

fn enqueue(queue: &mut VecDeque<ConnId>, queued: &mut bool, conn: ConnId) {
    if !*queued {
        *queued = true;
        queue.push_back(conn);
    }
}

fn open_spare() -> Option<Tracked<std::fs::File>> {
    Tracked::open(AfterFork::Close, || std::fs::File::open("/dev/null")).ok()
}

#[cfg(test)]
mod tests;
