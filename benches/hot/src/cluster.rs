//! Members in one process, without sockets: bytes move from one's queue to the other's receive space, at once and without loss.

use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;
use std::net::SocketAddr;

use bytes::Bytes;
use decurion::core::{
    CloseCause, Event, Input, Member, Messages, Outbox, Output, Payload, Seed, SessionRequest, Setup, To,
};
use decurion::types::{Code, ConnId, Incarnation, Time, millis};
use decurion::wire::batch::Level;

use crate::meter::Meter;

/// The longest gathered write.
const WRITE_BYTES: usize = 256 * 1024;

/// A cluster of members. Only what one of them does is measured.
pub struct Cluster {
    members: Vec<Member>,
    outboxes: Vec<Outbox>,
    now: Time,
    /// The other end of each connection.
    ends: BTreeMap<(usize, ConnId), (usize, ConnId)>,
    /// Who has something to do, so that nobody's turn nests in another's.
    work: VecDeque<(usize, Work)>,
    /// Messages that hosts have got.
    pub delivered: usize,
    /// Requests about sessions that were answered well.
    pub answered: usize,
    /// Whose work is measured.
    pub measured: usize,
    /// Whether what a host does to read its messages is measured, too.
    pub reads: bool,
    pub meter: Meter,
}

/// Tells a member what happened.
type Tell = Box<dyn FnOnce(&mut Member, Time)>;

enum Work {
    Input(Tell),
    Transmit(ConnId),
}

fn address(member: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7_100 + member as u16))
}

impl Cluster {
    /// So many members in one group that have come together. Nobody is measured yet.
    pub fn new(count: usize) -> Cluster {
        let seed = |i: usize| Seed { name: None, host: "127.0.0.1".to_owned(), port: address(i).port() };
        let setups: Vec<Setup> = (0..count)
            .map(|i| Setup {
                seeds: (0..count).map(seed).collect(),
                group_size: count,
                ..Setup::new("bench", &format!("m{i}"), Incarnation(1 + i as u128), address(i))
            })
            .collect();
        let now = Time(1_000_000);
        let mut cluster = Cluster {
            outboxes: setups.iter().map(|s| Outbox::new(s.send_queue_bytes, s.message_bytes)).collect(),
            members: setups.into_iter().map(|setup| Member::new(setup, now)).collect(),
            now,
            ends: BTreeMap::new(),
            work: VecDeque::new(),
            delivered: 0,
            answered: 0,
            measured: usize::MAX,
            reads: false,
            meter: Meter::resting(),
        };
        while !cluster.is_together() {
            assert!(cluster.now < Time(60_000_000), "the cluster does not come together");
            cluster.pass(millis(10));
        }
        cluster
    }

    fn is_together(&self) -> bool {
        self.members.iter().all(|m| m.view().is_some_and(|(view, _)| view.len() == self.members.len()))
    }

    /// Who leads the group.
    pub fn leader(&self) -> usize {
        (0..self.members.len())
            .find(|i| self.members[*i].view().is_some_and(|(view, me)| view.is_leader(me)))
            .expect("a view has a leader")
    }

    /// Time goes on, and everybody does what there is to do.
    pub fn pass(&mut self, micros: u64) {
        self.now = self.now + micros;
        for i in 0..self.members.len() {
            self.work.push_back((i, Work::Input(Box::new(|member, now| member.handle(now, Input::Wake)))));
        }
        self.run();
    }

    /// Sends a burst to everybody and lets it reach everybody.
    pub fn send(&mut self, sender: usize, payload: &Bytes, burst: usize) {
        let wanted = self.delivered + burst * (self.members.len() - 1);
        let mut left = burst;
        while left > 0 {
            left -= self.inside(sender, |_, outbox, _| {
                let offer = || outbox.push(To::Everybody, Level::Fifo, 0, Payload::Borrowed(payload)) == Code::Ok;
                std::iter::repeat_with(offer).take(left).take_while(|taken| *taken).count()
            });
            self.pass(1_000);
        }
        while self.delivered < wanted {
            self.pass(1_000);
        }
    }

    /// Asks for things about sessions and lets all of them be answered.
    pub fn ask(&mut self, member: usize, requests: Vec<SessionRequest>) {
        let wanted = self.answered + requests.len();
        let taken = self.inside(member, |_, outbox, _| requests.into_iter().all(|r| outbox.ask(r) == Code::Ok));
        assert!(taken, "there is room for all requests");
        let patience = self.now + millis(10_000);
        while self.answered < wanted {
            assert!(self.now < patience, "requests are not answered");
            self.pass(1_000);
        }
    }

    /// Does one piece of work, measured if it is that member's.
    fn inside<T>(&mut self, i: usize, work: impl FnOnce(&mut Member, &mut Outbox, Time) -> T) -> T {
        let (member, outbox, now) = (&mut self.members[i], &mut self.outboxes[i], self.now);
        if i == self.measured { self.meter.inside(|| work(member, outbox, now)) } else { work(member, outbox, now) }
    }

    fn run(&mut self) {
        while let Some((i, work)) = self.work.pop_front() {
            match work {
                Work::Input(input) => self.inside(i, |member, _, now| input(member, now)),
                Work::Transmit(conn) => self.transmit(i, conn),
            }
            self.drain(i);
        }
    }

    fn drain(&mut self, i: usize) {
        self.inside(i, |member, outbox, now| member.exchange(now, outbox));
        while let Some(output) = self.inside(i, |member, _, _| member.poll()) {
            match output {
                Output::Dial { conn, to } => self.connect(i, conn, to),
                Output::Transmit(conn) => self.work.push_back((i, Work::Transmit(conn))),
                Output::Close(conn) => self.disconnect(i, conn),
                Output::Datagram { to, bytes } => self.datagram(i, to, bytes),
                Output::Resolve { .. } | Output::Multicast => {
                    unreachable!("all seeds are addresses, and there is no group")
                }
                Output::Event(event) => self.event(i, event),
            }
        }
    }

    fn who_is_at(&self, at: SocketAddr) -> Option<usize> {
        (0..self.members.len()).find(|i| address(*i) == at)
    }

    fn connect(&mut self, i: usize, conn: ConnId, to: SocketAddr) {
        let Some(other) = self.who_is_at(to) else { return };
        let Some(accepted) = self.members[other].accept(self.now, address(i)) else { return };
        self.ends.insert((i, conn), (other, accepted));
        self.ends.insert((other, accepted), (i, conn));
        self.work.push_back((i, Work::Input(Box::new(move |m, now| m.handle(now, Input::Connected(conn))))));
    }

    fn disconnect(&mut self, i: usize, conn: ConnId) {
        let Some((other, end)) = self.ends.remove(&(i, conn)) else { return };
        self.ends.remove(&(other, end));
        let closed = move |m: &mut Member, now| m.handle(now, Input::Closed(end, CloseCause::Peer));
        self.work.push_back((other, Work::Input(Box::new(closed))));
    }

    fn datagram(&mut self, i: usize, to: SocketAddr, bytes: Bytes) {
        let Some(other) = self.who_is_at(to) else { return };
        let from = address(i);
        let arrives = move |m: &mut Member, now| m.handle(now, Input::Datagram { from, bytes: &bytes });
        self.work.push_back((other, Work::Input(Box::new(arrives))));
    }

    fn event(&mut self, i: usize, event: Event) {
        let bytes = event.cost();
        match event {
            Event::Messages(run) => {
                self.delivered += run.len();
                match self.reads {
                    true => self.inside(i, |_, _, _| read(run)),
                    false => read(run),
                }
            }
            Event::Session(answer) => {
                assert_eq!(answer.code, Code::Ok, "{answer:?}");
                self.answered += 1;
            }
            _ => {}
        }
        if bytes > 0 {
            self.inside(i, |member, _, now| member.handle(now, Input::Consumed { bytes }));
        }
    }

    /// What a gathered write would be handed, copied out as the kernel would; the copy is not the member's cost.
    fn take_written(&mut self, i: usize, conn: ConnId) -> Vec<u8> {
        let mut slices = Vec::new();
        let member = &self.members[i];
        match i == self.measured {
            true => self.meter.inside(|| member.to_write(conn, WRITE_BYTES, &mut slices)),
            false => member.to_write(conn, WRITE_BYTES, &mut slices),
        }
        let bytes = slices.concat();
        self.inside(i, |member, _, now| member.wrote(now, conn, bytes.len()));
        bytes
    }

    /// Moves what a connection has waiting, as the kernel would: in pieces that fit the receiver's chunk.
    fn transmit(&mut self, i: usize, conn: ConnId) {
        let Some((other, end)) = self.ends.get(&(i, conn)).copied() else { return };
        loop {
            let bytes = self.take_written(i, conn);
            if bytes.is_empty() {
                return;
            }
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                // The copy into it is the kernel's.
                let room = self.inside(other, |member, _, _| {
                    member.receive_space(end).map(|space| space.capacity() - space.len())
                });
                let Some(room) = room else { return };
                let (now, later) = rest.split_at(room.min(rest.len()));
                self.members[other].receive_space(end).expect("it was there").extend_from_slice(now);
                rest = later;
                self.inside(other, |member, _, now| member.handle(now, Input::Received(end)));
                self.drain(other);
            }
        }
    }
}

/// A host that looks at each message.
fn read(run: Messages) {
    for message in &run {
        black_box(message);
    }
}
