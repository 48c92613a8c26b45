//! One real member in a large view; all others are played. They greet, answer heartbeats, lease rounds and ballots, and say nothing
//! else. So what one member does in a view of a thousand can be measured without the other 999.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;
use decurion::core::{CloseCause, Input, Member, Outbox, Output, Seed, Setup};
use decurion::types::{Ballot, ConnId, Incarnation, MemberInfo, Name, Seat, Tags, Time, ViewId, millis};
use decurion::wire::control::{
    Control, Cut, Decided, HEADER_BYTES, Hello, Install, MAGIC, Prepare, Promise, ProposeChange, Purpose, Routed,
    ViewSummary, Vote, Welcome, body_length,
};
use decurion::wire::datagram::{Datagram, Envelope, Heartbeat, LeaseAnswer, LeaseRound};
use decurion::wire::{Proposal, Reader, Sparse, VERSION, Wire};

use crate::meter::Meter;

/// Whose names decide views: the first so many members.
const VOTERS: usize = 5;
const CLUSTER: &str = "bench";

/// What comes to the member from outside.
#[derive(Clone, Debug)]
enum Arrival {
    Connected(ConnId),
    Refused(ConnId),
    Bytes(ConnId, Bytes),
    Datagram(SocketAddr, Bytes),
}

/// A member, and what is played around it.
#[derive(Clone)]
pub struct Alone {
    member: Member,
    outbox: Outbox,
    me: usize,
    now: Time,
    view: Proposal,
    /// Whom each connection leads to.
    peers: BTreeMap<ConnId, usize>,
    arrivals: VecDeque<Arrival>,
    /// The attempt at the next view that was begun last.
    ballot: Ballot,
    /// The lease rounds of the coordinator, where it is played: the newest one, when the next one is due, and what the member's clock said.
    round: u64,
    round_at: Time,
    clock: u64,
    /// Stands for the cluster's name in datagrams.
    cluster: u64,
    /// Whose host refuses its port.
    dead: Option<usize>,
}

fn address(member: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (member >> 8) as u8, member as u8], 7_100))
}

fn incarnation(member: usize) -> Incarnation {
    Incarnation(1 + member as u128)
}

fn name(member: usize) -> Name {
    Name::new(&format!("m{member}"))
}

/// The first view of so many members, in as many groups as the library would make.
fn first_view(count: usize) -> Proposal {
    let groups = count.div_ceil((count as f64).sqrt().ceil() as usize);
    let member = |at: usize| MemberInfo {
        name: name(at),
        incarnation: incarnation(at),
        address: address(at),
        seat: Seat(1 + at as u32),
        admitted: 1,
        group: (at % groups) as u16,
        grouped: 1,
        ready: true,
        witness: false,
        tags: Tags::default(),
    };
    Proposal {
        id: ViewId { number: 1, ballot: Ballot { round: 1, coordinator: incarnation(0) } },
        previous: ViewId::NONE,
        members: (0..count).map(member).collect(),
        fenced: true,
        next_seat: 1 + count as u32,
        cut: Sparse::default(),
    }
}

impl Alone {
    /// The member at this place of a view of `count`; the first one coordinates.
    pub fn new(count: usize, me: usize) -> Alone {
        let now = Time(10_000_000);
        let view = first_view(count);
        let seed = usize::from(me == 0);
        let setup = Setup {
            seeds: vec![Seed { name: None, host: address(seed).ip().to_string(), port: address(seed).port() }],
            voters: (0..VOTERS).map(name).collect(),
            ..Setup::new(CLUSTER, name(me).as_str(), incarnation(me), address(me))
        };
        let outbox = Outbox::new(setup.send_queue_bytes, setup.message_bytes);
        let mut alone = Alone {
            member: Member::new(setup, now),
            outbox,
            me,
            now,
            view,
            peers: BTreeMap::new(),
            arrivals: VecDeque::new(),
            ballot: Ballot::default(),
            round: 0,
            round_at: if me == 0 { Time::NEVER } else { now },
            clock: 0,
            cluster: 0,
            dead: None,
        };
        alone.join(seed);
        alone
    }

    /// A peer tells the member of the view that it is in, and whoever has a link with it dials it.
    fn join(&mut self, seed: usize) {
        let mut meter = Meter::resting();
        self.wake(&mut meter);
        let conn = *self.peers.keys().next().expect("the seed was dialled");
        let install = Control::Install(Install { proposal: self.view.clone(), hold_ms: 0 });
        self.arrivals.push_back(Arrival::Bytes(conn, install.encode()));
        self.settle(&mut meter);
        for peer in self.neighbours().into_iter().filter(|peer| *peer > self.me && *peer != seed) {
            let conn = self.member.accept(self.now, address(peer)).expect("there is room");
            self.peers.insert(conn, peer);
            self.arrivals.push_back(Arrival::Bytes(conn, self.hello(peer).encode()));
        }
        self.settle(&mut meter);
        // Until links are up, round trips are known, and every lease was granted.
        self.pass(millis(600), &mut meter);
        assert_eq!(self.members(), self.view.members.len(), "the member is in the view");
        assert!(self.member.is_primary(self.now), "it has its lease");
    }

    /// How many members its view has.
    pub fn members(&self) -> usize {
        self.member.view().map_or(0, |(view, _)| view.len())
    }

    /// Whom a member has links with, as far as the ways through groups need it.
    fn neighbours(&self) -> Vec<usize> {
        let (view, me) = self.member.view().expect("it is in the view");
        if !view.is_leader(me) {
            return vec![view.leader_of(me)];
        }
        let leaders = view.groups.iter().map(|group| group.leader());
        leaders.chain(view.group(me).members.iter().copied()).filter(|peer| *peer != me).collect()
    }

    fn hello(&self, peer: usize) -> Control {
        Control::Hello(Hello {
            magic: MAGIC,
            version_min: VERSION,
            version_max: VERSION,
            cluster: CLUSTER.to_owned(),
            purpose: Purpose::Link,
            name: name(peer),
            incarnation: incarnation(peer),
            address: address(peer),
            expects: incarnation(self.me),
            settings: Vec::new(),
            view: Some(self.summary()),
        })
    }

    fn summary(&self) -> ViewSummary {
        ViewSummary {
            id: self.view.id,
            fenced: true,
            primary: true,
            members: self.view.members.len() as u32,
            coordinator: incarnation(0),
            address: address(0),
            leaders: Vec::new(),
        }
    }

    /// Time goes on for so long; whatever is due is done.
    pub fn pass(&mut self, micros: u64, meter: &mut Meter) {
        let until = self.now + micros;
        while self.now < until {
            self.now = self.member.deadline().clamp(self.now, until.min(self.round_at.max(self.now)));
            if self.me != 0 && self.now >= self.round_at {
                self.begin_lease_round();
            }
            self.wake(meter);
        }
    }

    /// The coordinator that is played upholds the member's lease.
    fn begin_lease_round(&mut self) {
        self.round_at = self.now + millis(250);
        self.round += 1;
        let Some((view, _)) = self.member.view() else { return };
        let (round, granted) = (self.round, if self.clock > 0 { self.round - 1 } else { 0 });
        let round = LeaseRound { view_tag: view.tag(), round, base_us: self.clock, granted };
        let envelope = Envelope { cluster: self.cluster, from: incarnation(0), to: incarnation(self.me) };
        self.arrivals.push_back(Arrival::Datagram(address(0), Datagram::LeaseRound(round).encode(&envelope)));
    }

    /// The last member of its own group dies: until there is a view without it, everywhere.
    pub fn lose_one(&mut self, meter: &mut Meter) {
        let (view, me) = self.member.view().expect("it is in the view");
        let (victim, wanted) = (*view.group(me).members.last().expect("a group has members"), view.len() - 1);
        let conn = *self.peers.iter().find(|(_, peer)| **peer == victim).expect("there is a link").0;
        self.dead = Some(victim);
        self.peers.remove(&conn);
        let (member, now) = (&mut self.member, self.now);
        meter.inside(|| member.handle(now, Input::Closed(conn, CloseCause::Peer)));
        self.settle(meter);
        let patience = self.now + millis(5_000);
        while self.members() != wanted {
            assert!(self.now < patience, "the view does not change");
            self.pass(millis(1), meter);
        }
    }

    /// The coordinator, which is played, takes the last member out of the view: all frames of the ballot, until it is installed.
    pub fn follow_one_out(&mut self, meter: &mut Meter) {
        let ballot = Ballot { round: 2, coordinator: incarnation(0) };
        let mut next = self.view.clone();
        next.members.pop();
        (next.id, next.previous) = (ViewId { number: self.view.id.number + 1, ballot }, self.view.id);
        next.cut = Sparse(vec![0; self.view.members.len()]);
        let (id, number) = (next.id, next.id.number);
        let upto = Sparse(vec![(0, Incarnation::NONE); self.view.members.len()]);
        let successor = next.successor_of(&self.view).expect("it follows");
        let wanted = next.members.len();
        let frames = [
            Control::Prepare(Prepare { number, ballot, previous: self.view.id, joins: false }),
            Control::Cut(Cut { number, ballot, upto }),
            Control::ProposeChange(ProposeChange { ballot, successor }),
            Control::Decided(Decided { id, hold_ms: 0 }),
        ];
        for frame in frames {
            self.say(0, &frame);
            self.settle(meter);
        }
        assert_eq!(self.members(), wanted, "the view has changed");
    }

    /// A played member says something to the real one: over a link, or through the leader of either.
    fn say(&mut self, from: usize, control: &Control) {
        let link = |peer: usize| self.peers.iter().find(|(_, p)| **p == peer).map(|(conn, _)| *conn);
        let (view, me) = self.member.view().expect("it is in the view");
        let via = if view.is_leader(me) { view.leader_of(from.min(view.len() - 1)) } else { view.leader_of(me) };
        let arrival = match (link(from), link(via)) {
            (Some(conn), _) => Arrival::Bytes(conn, control.encode()),
            (None, Some(conn)) => {
                let routed = Routed { from: incarnation(from), to: incarnation(self.me), frame: control.encode() };
                Arrival::Bytes(conn, Control::Routed(routed).encode())
            }
            (None, None) => panic!("no way from {from} over {via}"),
        };
        self.arrivals.push_back(arrival);
    }

    fn wake(&mut self, meter: &mut Meter) {
        let (member, now) = (&mut self.member, self.now);
        meter.inside(|| member.handle(now, Input::Wake));
        self.settle(meter);
    }

    /// Until nothing is under way any more. What has come until now is taken in one turn, as by a reactor.
    fn settle(&mut self, meter: &mut Meter) {
        loop {
            self.drain(meter);
            if self.arrivals.is_empty() {
                return;
            }
            for arrival in std::mem::take(&mut self.arrivals) {
                self.arrive(arrival, meter);
            }
        }
    }

    fn arrive(&mut self, arrival: Arrival, meter: &mut Meter) {
        let (member, now) = (&mut self.member, self.now);
        match arrival {
            Arrival::Connected(conn) => meter.inside(|| member.handle(now, Input::Connected(conn))),
            Arrival::Refused(conn) => meter.inside(|| member.handle(now, Input::Closed(conn, CloseCause::Refused))),
            Arrival::Datagram(from, bytes) => {
                meter.inside(|| member.handle(now, Input::Datagram { from, bytes: &bytes }));
            }
            Arrival::Bytes(conn, bytes) => {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let Some(space) = meter.inside(|| member.receive_space(conn)) else { return };
                    let (comes_now, later) = rest.split_at((space.capacity() - space.len()).min(rest.len()));
                    space.extend_from_slice(comes_now);
                    rest = later;
                    meter.inside(|| member.handle(now, Input::Received(conn)));
                }
            }
        }
    }

    fn drain(&mut self, meter: &mut Meter) {
        let (member, outbox, now) = (&mut self.member, &mut self.outbox, self.now);
        meter.inside(|| member.exchange(now, outbox));
        loop {
            let member = &mut self.member;
            let Some(output) = meter.inside(|| member.poll()) else { return };
            match output {
                Output::Dial { conn, to } => {
                    let peer = (0..self.view.members.len()).find(|peer| address(*peer) == to).expect("a member");
                    self.arrivals.push_back(match self.dead == Some(peer) {
                        true => Arrival::Refused(conn),
                        false => Arrival::Connected(conn),
                    });
                    self.peers.insert(conn, peer);
                }
                Output::Transmit(conn) => self.transmit(conn, meter),
                Output::Close(conn) => drop(self.peers.remove(&conn)),
                Output::Datagram { bytes, .. } => self.answer_datagram(&bytes),
                Output::Resolve { .. } | Output::Multicast | Output::Event(_) => {}
            }
        }
    }

    fn transmit(&mut self, conn: ConnId, meter: &mut Meter) {
        let mut written = Vec::new();
        loop {
            let (member, now) = (&mut self.member, self.now);
            let mut slices = Vec::new();
            meter.inside(|| member.to_write(conn, usize::MAX, &mut slices));
            let bytes = slices.concat();
            if bytes.is_empty() {
                break;
            }
            written.extend_from_slice(&bytes);
            meter.inside(|| member.wrote(now, conn, bytes.len()));
        }
        let Some(peer) = self.peers.get(&conn).copied() else { return };
        let mut rest = &written[..];
        while let Some(header) = rest.first_chunk::<HEADER_BYTES>() {
            let (frame, later) = rest.split_at(HEADER_BYTES + body_length(header));
            self.answer(conn, peer, frame);
            rest = later;
        }
    }

    /// What somebody says to a frame. Long ones are known by their types: to check them would take longer than what is measured.
    fn answer(&mut self, conn: ConnId, peer: usize, frame: &[u8]) {
        let name_of = |kind: u8| Control::TYPES.iter().find(|(number, _)| *number == kind).map(|(_, name)| *name);
        match name_of(frame[0]).expect("a frame of our own") {
            "Routed" => {
                let mut reader = Reader::new(&frame[HEADER_BYTES..]);
                let mut whom = || Incarnation::take(&mut reader).expect("a frame of our own");
                let (_, to) = (whom(), whom());
                let inner = frame.len() - reader.remaining() + size_of::<u32>();
                self.answer(conn, to.0 as usize - 1, &frame[inner..]);
            }
            "Propose" | "ProposeChange" => {
                let vote = Vote { number: self.view.id.number + 1, ballot: self.ballot };
                self.say(peer, &Control::Accepted(vote));
            }
            "Install" | "Decided" => {
                let id = ViewId { number: self.view.id.number + 1, ballot: self.ballot };
                self.say(peer, &Control::Installed(id));
            }
            _ => self.answer_short(conn, peer, &Control::decode(frame).expect("a frame of our own")),
        }
    }

    fn answer_short(&mut self, conn: ConnId, peer: usize, control: &Control) {
        match control {
            Control::Hello(_) => {
                let view = Some(self.summary());
                let (name, incarnation, address) = (name(peer), incarnation(peer), address(peer));
                let member = self.member.view().is_some();
                let welcome = Control::Welcome(Welcome { name, incarnation, address, view, member });
                self.arrivals.push_back(Arrival::Bytes(conn, welcome.encode()));
            }
            Control::Prepare(prepare) => {
                self.ballot = prepare.ballot;
                let promise = self.promise(prepare);
                self.say(peer, &Control::Promise(promise));
            }
            Control::Cut(cut) => {
                self.say(peer, &Control::Held(Vote { number: cut.number, ballot: cut.ballot }));
            }
            Control::Ping(n) => self.say(peer, &Control::Pong(*n)),
            _ => {}
        }
    }

    fn promise(&self, prepare: &Prepare) -> Promise {
        Promise {
            number: prepare.number,
            ballot: prepare.ballot,
            have: Sparse(vec![0; self.view.members.len()]),
            memory: true,
            announces_ready: false,
            witness: false,
            tags: Tags::default(),
            up_ms: 100_000,
            fence_ms: 0,
            hold_ms: 0,
            grants_ms: Vec::new(),
            newest: self.view.id.number,
            accepted: None,
        }
    }

    /// Heartbeats are answered by heartbeats, lease rounds by leave.
    fn answer_datagram(&mut self, bytes: &[u8]) {
        let (envelope, datagram) = Datagram::decode(bytes).expect("a datagram of our own");
        let peer = envelope.to.0 as usize - 1;
        self.cluster = envelope.cluster;
        let back = Envelope { cluster: envelope.cluster, from: envelope.to, to: envelope.from };
        let answer = match datagram {
            Datagram::Heartbeat(beat) => Datagram::Heartbeat(Heartbeat {
                sent_us: self.now.0,
                echo_us: beat.sent_us,
                echo_age_us: 0,
                heard_ms: 0,
                late_ms: 0,
                ..beat
            }),
            Datagram::LeaseRound(round) => Datagram::LeaseAnswer(LeaseAnswer {
                view_tag: round.view_tag,
                round: round.round,
                clock_us: self.now.0,
            }),
            Datagram::LeaseAnswer(answer) => {
                self.clock = answer.clock_us;
                return;
            }
            Datagram::NotMember => panic!("a played member is taken for a stranger"),
        };
        if self.dead != Some(peer) {
            self.arrivals.push_back(Arrival::Datagram(address(peer), answer.encode(&back)));
        }
    }
}
