//! What it costs a leader to relay: a chunk of batches comes in from one member and goes out to the others, through the
//! real [`Member`], without sockets. Only the time inside the leader counts.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use decurion::core::{Event, Input, Member, Outbox, Output, Payload, Seed, Setup, To};
use decurion::types::{Code, ConnId, Incarnation, Time, millis};
use decurion::wire::batch::Level;

/// Members of the one group: the leader, and one sender among the rest.
const MEMBERS: usize = 4;
/// What the sender hands in before the bytes are moved.
const BURST_BYTES: usize = 240 * 1024;

/// Members in one process: bytes move from one's queue to the other's receive space, at once and without loss.
struct Cluster {
    members: Vec<Member>,
    outboxes: Vec<Outbox>,
    now: Time,
    /// The other end of each connection.
    ends: BTreeMap<(usize, ConnId), (usize, ConnId)>,
    /// Who has something to do, so that nobody's turn nests in another's.
    work: VecDeque<(usize, Work)>,
    delivered: usize,
    /// Time spent inside the member whose cost is wanted.
    inside: Duration,
    measured: usize,
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
    /// A cluster that has come together.
    fn new() -> Cluster {
        let seed = |i: usize| Seed { name: None, host: "127.0.0.1".to_owned(), port: address(i).port() };
        let setups: Vec<Setup> = (0..MEMBERS)
            .map(|i| Setup {
                seeds: (0..MEMBERS).map(seed).collect(),
                group_size: MEMBERS,
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
            inside: Duration::ZERO,
            measured: usize::MAX,
        };
        while !cluster.is_together() {
            assert!(cluster.now < Time(60_000_000), "the cluster does not come together");
            cluster.pass(millis(10));
        }
        cluster
    }

    fn is_together(&self) -> bool {
        self.members.iter().all(|m| m.view().is_some_and(|(view, _)| view.len() == MEMBERS))
    }

    fn leader(&self) -> usize {
        (0..MEMBERS)
            .find(|i| self.members[*i].view().is_some_and(|(view, me)| view.is_leader(me)))
            .expect("a view has a leader")
    }

    fn pass(&mut self, micros: u64) {
        self.now = self.now + micros;
        for i in 0..MEMBERS {
            self.work.push_back((i, Work::Input(Box::new(|member, now| member.handle(now, Input::Wake)))));
        }
        self.run();
    }

    /// Does one piece of work, and counts its time if it is the measured member's.
    fn inside<T>(&mut self, member: usize, work: impl FnOnce(&mut Member, &mut Outbox, Time) -> T) -> T {
        let began = (member == self.measured).then(Instant::now);
        let result = work(&mut self.members[member], &mut self.outboxes[member], self.now);
        if let Some(began) = began {
            self.inside += began.elapsed();
        }
        result
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
                Output::Resolve { host, port } => self.resolve(i, host, port),
                Output::Event(event) => self.event(i, &event),
            }
        }
    }

    fn connect(&mut self, i: usize, conn: ConnId, to: SocketAddr) {
        let Some(other) = (0..MEMBERS).find(|o| address(*o) == to) else { return };
        let Some(accepted) = self.members[other].accept(self.now, address(i)) else { return };
        self.ends.insert((i, conn), (other, accepted));
        self.ends.insert((other, accepted), (i, conn));
        self.work.push_back((i, Work::Input(Box::new(move |m, now| m.handle(now, Input::Connected(conn))))));
    }

    fn disconnect(&mut self, i: usize, conn: ConnId) {
        let Some((other, end)) = self.ends.remove(&(i, conn)) else { return };
        self.ends.remove(&(other, end));
        let closed = move |m: &mut Member, now| m.handle(now, Input::Closed(end, decurion::core::CloseCause::Peer));
        self.work.push_back((other, Work::Input(Box::new(closed))));
    }

    fn datagram(&mut self, i: usize, to: SocketAddr, bytes: Bytes) {
        let Some(other) = (0..MEMBERS).find(|o| address(*o) == to) else { return };
        let from = address(i);
        let arrives = move |m: &mut Member, now| m.handle(now, Input::Datagram { from, bytes: &bytes });
        self.work.push_back((other, Work::Input(Box::new(arrives))));
    }

    fn resolve(&mut self, i: usize, host: String, port: u16) {
        let addresses = vec![SocketAddr::from(([127, 0, 0, 1], port))];
        let answer = move |m: &mut Member, now| m.handle(now, Input::Resolved { host, addresses });
        self.work.push_back((i, Work::Input(Box::new(answer))));
    }

    fn event(&mut self, i: usize, event: &Event) {
        if let Event::Messages(run) = event {
            self.delivered += run.len();
            let bytes = event.cost();
            self.inside(i, |member, _, now| member.handle(now, Input::Consumed { bytes }));
        }
    }

    /// What a gather-write would be handed, copied out as the kernel would; the copy is not the member's cost.
    fn take_written(&mut self, i: usize, conn: ConnId) -> Vec<u8> {
        let mut slices = Vec::new();
        let began = Instant::now();
        self.members[i].to_write(conn, 256 * 1024, &mut slices);
        let showing = began.elapsed();
        let bytes = slices.concat();
        if i == self.measured {
            self.inside += showing;
        }
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
                let Some(space) = self.members[other].receive_space(end) else { return };
                let (now, later) = rest.split_at((space.capacity() - space.len()).min(rest.len()));
                space.extend_from_slice(now);
                rest = later;
                self.inside(other, |member, _, now| member.handle(now, Input::Received(end)));
                self.drain(other);
            }
        }
    }
}

fn relay(c: &mut Criterion) {
    let mut group = c.benchmark_group("relay_of_a_run");
    for size in [64usize, 1_024, 60 * 1024] {
        let payload = Bytes::from(vec![7; size]);
        let burst = (BURST_BYTES / size).max(1);
        group.throughput(Throughput::Bytes((burst * size * (MEMBERS - 1)) as u64));
        group.bench_function(BenchmarkId::new("payload_bytes", size), |b| {
            let mut cluster = Cluster::new();
            cluster.measured = cluster.leader();
            let sender = (cluster.measured + 1) % MEMBERS;
            b.iter_custom(|rounds| {
                cluster.inside = Duration::ZERO;
                for _ in 0..rounds {
                    send(&mut cluster, sender, &payload, burst);
                }
                cluster.inside
            });
        });
    }
    group.finish();
}

/// Sends a burst and lets it reach everybody.
fn send(cluster: &mut Cluster, sender: usize, payload: &Bytes, burst: usize) {
    let wanted = cluster.delivered + burst * (MEMBERS - 1);
    for _ in 0..burst {
        while cluster.outboxes[sender].push(To::Everybody, Level::Fifo, 0, Payload::Borrowed(payload)) != Code::Ok {
            cluster.pass(1_000);
        }
    }
    while cluster.delivered < wanted {
        cluster.pass(1_000);
    }
}

criterion_group!(benches, relay);
criterion_main!(benches);
