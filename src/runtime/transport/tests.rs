//! Two transports on loopback, without a core: a plain table of received bytes stands in for it.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;

use super::*;
use crate::runtime::clock;

const PATIENCE: Duration = Duration::from_secs(20);

/// A transport and what it has seen.
struct Side {
    transport: Transport,
    bell: Arc<Bell>,
    received: BTreeMap<ConnId, BytesMut>,
    accepted: Vec<ConnId>,
    up: Vec<ConnId>,
    over: Vec<(ConnId, CloseCause)>,
    next: u64,
}

impl Side {
    fn new() -> Side {
        Side::bounded(1_024)
    }

    fn bounded(max_connections: usize) -> Side {
        let port = socket::bind_port("127.0.0.1:0".parse().unwrap(), 0).unwrap();
        let bell = Arc::new(Bell::new().unwrap());
        let transport = Transport::new(port, &bell, max_connections, Buffers { bytes: 0, unsent_bytes: 0 }).unwrap();
        Side {
            transport,
            bell,
            received: BTreeMap::new(),
            accepted: Vec::new(),
            up: Vec::new(),
            over: Vec::new(),
            next: 1,
        }
    }

    fn dial(&mut self, to: SocketAddr) -> ConnId {
        let conn = ConnId(self.next);
        self.next += 1;
        self.transport.dial(conn, to);
        conn
    }

    /// One round of what the reactor does, reading at most `pieces` times per connection.
    fn turn(&mut self, pieces: usize) {
        let timeout = if self.transport.has_ready() { Duration::ZERO } else { Duration::from_millis(1) };
        self.transport.wait(Some(timeout)).unwrap();
        while let Some((socket, _)) = self.transport.accept() {
            let conn = ConnId(self.next);
            self.next += 1;
            self.transport.admit(conn, socket).unwrap();
            self.accepted.push(conn);
        }
        while let Some(dialled) = self.transport.next_dialled() {
            match dialled {
                Dialled::Up(conn) => self.up.push(conn),
                Dialled::Failed(conn, cause) => self.over.push((conn, cause)),
            }
        }
        for _ in 0..self.transport.readable_len() {
            let Some(conn) = self.transport.next_readable() else { break };
            self.read(conn, pieces);
        }
        self.transport.end_lingering(clock::now());
    }

    fn read(&mut self, conn: ConnId, pieces: usize) {
        let space = self.received.entry(conn).or_default();
        for _ in 0..pieces {
            space.reserve(4_096);
            match self.transport.read(conn, space, usize::MAX) {
                Read::More(_) => {}
                Read::Drained(_) => return,
                Read::Ended(cause) => return self.over.push((conn, cause)),
            }
        }
        self.transport.read_later(conn);
    }

    fn got(&self, conn: ConnId) -> &[u8] {
        self.received.get(&conn).map_or(&[], |b| &b[..])
    }
}

/// Turns both sides until `done`.
fn turn_until(sides: &mut [&mut Side], what: &str, mut done: impl FnMut(&mut [&mut Side]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done(sides) {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        sides.iter_mut().for_each(|side| side.turn(2));
    }
}

/// A connection from `a` to `b`, as each of them numbers it.
fn connect(a: &mut Side, b: &mut Side) -> (ConnId, ConnId) {
    let dialled = a.dial(b.transport.local());
    turn_until(&mut [a, b], "a connection", |s| !s[0].up.is_empty() && !s[1].accepted.is_empty());
    assert_eq!(a.up.pop(), Some(dialled));
    (dialled, b.accepted.pop().unwrap())
}

#[test]
fn many_bytes_cross_both_ways_through_full_buffers() {
    let (mut a, mut b) = (Side::new(), Side::new());
    let (ab, ba) = connect(&mut a, &mut b);
    let data: Vec<u8> = (0..8_000_000u32).map(|i| (i ^ (i >> 9)) as u8).collect();
    let (mut sent_a, mut sent_b) = (0, 0);
    a.transport.write_soon(ab);
    b.transport.write_soon(ba);
    turn_until(&mut [&mut a, &mut b], "all bytes", |s| {
        for (side, conn, sent) in [(0, ab, &mut sent_a), (1, ba, &mut sent_b)] {
            while s[side].transport.can_write(conn) && *sent < data.len() {
                let (left, right) = data[*sent..].split_at((data.len() - *sent) / 3);
                *sent += s[side].transport.write(conn, &[left, &[], right]);
            }
        }
        s[0].got(ab).len() == data.len() && s[1].got(ba).len() == data.len()
    });
    assert!(a.got(ab) == &data[..] && b.got(ba) == &data[..]);
}

#[test]
fn a_refused_dial_is_told_as_refused() {
    let mut a = Side::new();
    let free = socket::bind_port("127.0.0.1:0".parse().unwrap(), 0).unwrap().local;
    let conn = a.dial(free);
    turn_until(&mut [&mut a], "the refusal", |s| !s[0].over.is_empty());
    assert_eq!(a.over, [(conn, CloseCause::Refused)]);
    assert_eq!(a.transport.len(), 0);
}

#[test]
fn a_closed_connection_is_told_once_and_after_its_last_bytes() {
    let (mut a, mut b) = (Side::new(), Side::new());
    let (ab, ba) = connect(&mut a, &mut b);
    assert_eq!(b.transport.write(ba, &[b"refused: ", b"wrong cluster"]), 22);
    b.transport.close(ba, clock::now());
    turn_until(&mut [&mut a, &mut b], "the end", |s| !s[0].over.is_empty());
    assert_eq!(a.got(ab), b"refused: wrong cluster");
    assert_eq!(a.over, [(ab, CloseCause::Peer)]);
    turn_until(&mut [&mut a, &mut b], "the lingering one's end", |s| s[1].transport.len() == 0);
    assert!(b.over.is_empty(), "the closing side forgot it by itself");
}

#[test]
fn last_words_arrive_although_the_other_end_was_not_read() {
    let (mut a, mut b) = (Side::new(), Side::new());
    let (ab, ba) = connect(&mut a, &mut b);
    let unread = vec![7; 40_000];
    assert_eq!(a.transport.write(ab, &[&unread]), unread.len());
    assert_eq!(b.transport.write(ba, &[b"no"]), 2);
    b.transport.close(ba, clock::now());
    turn_until(&mut [&mut a, &mut b], "the end", |s| !s[0].over.is_empty());
    assert_eq!(a.got(ab), b"no");
}

#[test]
fn a_connection_that_is_reset_ends_for_the_writer_too() {
    let (mut a, mut b) = (Side::new(), Side::new());
    let (ab, ba) = connect(&mut a, &mut b);
    let stream = &b.transport.connections[&ba].socket;
    stream.set_linger(Some(Duration::ZERO)).unwrap();
    b.transport.forget(ba);
    turn_until(&mut [&mut a], "the reset", |s| {
        s[0].transport.write(ab, &[b"x"]);
        !s[0].over.is_empty()
    });
    assert_eq!(a.over, [(ab, CloseCause::Peer)]);
}

#[test]
fn a_busy_connection_does_not_keep_another_one_waiting() {
    let mut a = Side::new();
    let mut busy = TcpStream::connect(a.transport.local()).unwrap();
    let mut quiet = TcpStream::connect(a.transport.local()).unwrap();
    turn_until(&mut [&mut a], "both", |s| s[0].accepted.len() == 2);
    busy.write_all(&vec![1; 200_000]).unwrap();
    quiet.write_all(b"here").unwrap();
    let [first, second] = a.accepted[..] else { panic!("two") };
    turn_until(&mut [&mut a], "the quiet one", |s| s[0].got(second) == b"here");
    assert!(a.got(first).len() < 200_000, "the busy one has bytes left: {}", a.got(first).len());
    turn_until(&mut [&mut a], "the rest of the busy one", |s| s[0].got(first).len() == 200_000);
}

#[test]
fn strangers_cannot_use_up_the_room_for_our_own_dials() {
    let (mut a, mut b) = (Side::bounded(16), Side::new());
    let strangers: Vec<_> = (0..40).map(|_| TcpStream::connect(a.transport.local()).unwrap()).collect();
    turn_until(&mut [&mut a], "the accepted ones", |s| s[0].transport.len() == 14);
    let (ab, _) = connect(&mut a, &mut b);
    assert_eq!(a.transport.len(), 15);
    let (_, second) = (connect(&mut a, &mut b), a.dial(b.transport.local()));
    turn_until(&mut [&mut a], "the bound", |s| !s[0].over.is_empty());
    assert_eq!(a.over, [(second, CloseCause::Failed)], "the bound holds for dials as well");
    assert!(a.transport.can_write(ab));
    drop(strangers);
}

#[test]
fn datagrams_come_whole_and_a_long_one_is_cut() {
    let (mut a, mut b) = (Side::new(), Side::new());
    b.transport.send(a.transport.local(), b"heartbeat");
    b.transport.send(a.transport.local(), &[9; 2_000]);
    let mut buffer = [MaybeUninit::uninit(); 1_401];
    let mut seen = Vec::new();
    turn_until(&mut [&mut a], "two datagrams", |s| {
        while let Some((bytes, from)) = s[0].transport.receive(&mut buffer) {
            seen.push((bytes.to_vec(), from));
        }
        seen.len() == 2
    });
    assert_eq!(seen[0], (b"heartbeat".to_vec(), b.transport.local()));
    assert_eq!(seen[1].0.len(), 1_401);
}

#[test]
fn the_bell_ends_a_wait_that_has_no_end() {
    let mut a = Side::new();
    assert!(a.bell.sleep());
    let bell = a.bell.clone();
    let ringer = std::thread::spawn(move || bell.ring());
    a.transport.wait(None).unwrap();
    ringer.join().unwrap();
}
