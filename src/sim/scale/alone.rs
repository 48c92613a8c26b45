//! One real member in a large view; all others are played. They greet, answer heartbeats, lease rounds and ballots, and say nothing
//! else. So what one member does in a view of thousands can be measured without the others.

mod played;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;

use self::played::{Head, VOTERS, address, first_view, groups, heads, incarnation, name};
use super::super::random::Random;
use super::super::survey::Traffic;
use super::super::transport::WRITE_BYTES;
use super::large::{Change, SETTLE};
use crate::core::{CloseCause, Event, Input, Member, Outbox, Output, Seed, Setup};
use crate::types::{Ballot, ConnId, Micros, Time, millis};
use crate::wire::Proposal;
use crate::wire::control::{Control, Install, Routed};
use crate::wire::datagram::{Datagram, Envelope, LeaseRound};

const CLUSTER: &str = "bench";
/// The member has so long to agree with the others on a change.
const PATIENCE: Micros = millis(5_000);
/// Connections that are accepted before they greet: a member bears only so many strangers.
const GREET_AT_ONCE: usize = 64;

/// Measures what the member does, and not what is played around it. The unit measures nothing.
pub trait Meter {
    /// Does a part of what is measured. Never called within itself.
    fn inside<T>(&mut self, work: impl FnOnce() -> T) -> T;
}

impl Meter for () {
    fn inside<T>(&mut self, work: impl FnOnce() -> T) -> T {
        work()
    }
}

/// What a member is in its view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It decides with the others on views, grants leases, and leads the first group.
    Coordinator,
    /// It leads another group, and passes on what goes to and from it.
    Leader,
    /// Neither leads nor would take over: nearly all of a large view.
    Ordinary,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 3] = [Role::Coordinator, Role::Leader, Role::Ordinary];

    /// As a table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Coordinator => "coordinator",
            Role::Leader => "another leader",
            Role::Ordinary => "ordinary member",
        }
    }

    /// Who has this role in a view of `count`: a leader that does not vote, and somebody from the middle of its group.
    fn place(self, count: usize) -> usize {
        let groups = groups(count);
        let leader = groups / 2;
        match self {
            Role::Coordinator => 0,
            Role::Leader => leader,
            Role::Ordinary => leader + groups * (count / groups / 2),
        }
    }
}

/// What one member has and sends while nothing happens.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rest {
    /// Open connections.
    pub connections: u64,
    /// Bytes that it sends in a second.
    pub bytes_per_s: f64,
    /// Its writes and datagrams in a second.
    pub messages_per_s: f64,
}

/// What comes to the member from outside.
#[derive(Clone, Debug)]
enum Arrival {
    Connected(ConnId),
    Refused(ConnId),
    /// A control frame; from whom and for whom, if it is passed on by whoever is at the other end.
    Frame(ConnId, Option<(usize, usize)>, Bytes),
    Datagram(SocketAddr, Bytes),
}

/// A member, and what is played around it.
#[derive(Clone, Debug)]
pub struct Alone {
    member: Member,
    outbox: Outbox,
    me: usize,
    now: Time,
    view: Proposal,
    /// Whom each connection leads to.
    peers: BTreeMap<ConnId, usize>,
    arrivals: VecDeque<Arrival>,
    /// Where everything comes at a moment of its own: draws which of the datagrams that are under way comes first.
    one_by_one: Option<Random>,
    /// The attempt at the next view that was begun last, and what everybody promises in it.
    ballot: Ballot,
    promise: Bytes,
    /// The lease rounds of the coordinator, where it is played: the newest one, when the next one is due, and what the member's clock said.
    round: u64,
    round_at: Time,
    clock: u64,
    /// Stands for the cluster's name in datagrams.
    cluster: u64,
    /// Whose host refuses its port.
    dead: Option<usize>,
    traffic: Traffic,
    /// The most that has waited for one connection.
    most_waiting: usize,
    /// Messages and bytes that it sends in a second when nothing happens, once that was measured.
    rest_per_s: (f64, f64),
    /// Why the member has closed a connection, the first time that it blamed the other end.
    fault: Option<String>,
}

impl Alone {
    /// The member at this place of a view of `count`; the first one coordinates. What has come by the time it looks is taken in one turn,
    /// as by a reactor that is busy.
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
            one_by_one: None,
            ballot: Ballot::default(),
            promise: Bytes::new(),
            round: 0,
            round_at: if me == 0 { Time::NEVER } else { now },
            clock: 0,
            cluster: 0,
            dead: None,
            traffic: Traffic::default(),
            most_waiting: 0,
            rest_per_s: (0.0, 0.0),
            fault: None,
        };
        alone.join(seed);
        alone
    }

    /// A member with this role, to which everything comes at a moment of its own, as in the simulated network: what it sends at one moment
    /// leaves together, and counts as one message.
    pub fn in_role(count: usize, role: Role) -> Alone {
        let mut alone = Alone::new(count, role.place(count));
        alone.one_by_one = Some(Random::new(1));
        alone
    }

    /// A peer tells the member of the view that it is in, and whoever has a link with it dials it.
    fn join(&mut self, seed: usize) {
        self.wake(&mut ());
        let conn = *self.peers.keys().next().expect("the seed was dialled");
        let install = Control::Install(Install { proposal: self.view.clone(), hold_ms: 0 });
        self.arrivals.push_back(Arrival::Frame(conn, None, install.encode()));
        self.settle(&mut ());
        let dial: Vec<usize> = self.neighbours().into_iter().filter(|peer| *peer > self.me && *peer != seed).collect();
        for peers in dial.chunks(GREET_AT_ONCE) {
            for peer in peers {
                let conn = self.member.accept(self.now, address(*peer)).expect("there is room");
                self.peers.insert(conn, *peer);
                self.arrivals.push_back(Arrival::Frame(conn, None, self.hello(*peer).encode()));
            }
            self.settle(&mut ());
        }
        // Until links are up, round trips are known, and every lease was granted.
        self.pass(millis(600), &mut ());
        assert_eq!(self.members(), self.view.members.len(), "the member is in the view");
        assert!(self.member.is_primary(self.now), "it has its lease");
    }

    /// How many members its view has.
    pub fn members(&self) -> usize {
        self.member.view().map_or(0, |(view, _)| view.len())
    }

    /// What it has put on the network so far.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// The most bytes that have waited for one connection. A member closes one over which it is told something while more than twice the
    /// window and the host's queue wait there.
    pub fn most_waiting(&self) -> usize {
        self.most_waiting
    }

    /// Why it has closed a connection, the first time that it blamed the other end.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// The member without what is around it, for whoever counts memory before and after its end.
    pub fn into_member(self) -> Member {
        self.member
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

    /// Time goes on for so long; whatever is due is done.
    pub fn pass(&mut self, micros: Micros, meter: &mut impl Meter) {
        let until = self.now + micros;
        while self.now < until {
            self.now = self.member.deadline().clamp(self.now, until.min(self.round_at.max(self.now)));
            if self.me != 0 && self.now >= self.round_at {
                self.begin_lease_round();
            }
            self.wake(meter);
        }
    }

    /// Lets `duration` pass in which nothing happens, and measures it.
    pub fn rest(&mut self, duration: Micros) -> Rest {
        self.pass(SETTLE, &mut ());
        let before = self.traffic;
        self.pass(duration, &mut ());
        let (spent, seconds) = (self.traffic.since(&before), duration as f64 / 1e6);
        self.rest_per_s = (spent.messages() as f64 / seconds, spent.bytes() as f64 / seconds);
        let (messages_per_s, bytes_per_s) = self.rest_per_s;
        Rest { connections: self.peers.len() as u64, bytes_per_s, messages_per_s }
    }

    /// Somebody dies: what that makes the member send, until it has the view without the one and all have confirmed it. Once in its life.
    pub fn lose(&mut self, meter: &mut impl Meter) -> Change {
        let (before, at) = (self.traffic, self.now);
        let changed = if self.me == 0 { self.lose_one(meter) } else { self.follow_one_out(meter) };
        let (spent, virtual_us) = (self.traffic.since(&before), self.now.since(at));
        let (messages, bytes) = self.rest_per_s;
        let anyway = |per_s: f64| per_s * virtual_us as f64 / 1e6;
        Change {
            // With a link closed, those behind it have not heard of the view.
            done: changed && self.fault.is_none(),
            virtual_us,
            views: 1,
            messages: (spent.messages() as f64 - anyway(messages)).max(0.0),
            bytes: (spent.bytes() as f64 - anyway(bytes)).max(0.0),
        }
    }

    /// The last member of its own group dies: until there is a view without it, everywhere. Says whether there is.
    pub fn lose_one(&mut self, meter: &mut impl Meter) -> bool {
        let (view, me) = self.member.view().expect("it is in the view");
        let (victim, wanted) = (*view.group(me).members.last().expect("a group has members"), view.len() - 1);
        let conn = self.link(victim).expect("there is a link");
        self.dead = Some(victim);
        self.peers.remove(&conn);
        let (member, now) = (&mut self.member, self.now);
        meter.inside(|| member.handle(now, Input::Closed(conn, CloseCause::Peer)));
        self.settle(meter);
        let patience = self.now + PATIENCE;
        while self.members() != wanted && self.now < patience {
            self.pass(millis(1), meter);
        }
        self.members() == wanted
    }

    /// The coordinator, which is played, takes the last member out of the view: all frames of the ballot, until it is installed. A leader
    /// passes those on that are for its group. Says whether the view has changed.
    pub fn follow_one_out(&mut self, meter: &mut impl Meter) -> bool {
        let wanted = self.view.members.len() - 1;
        let (view, me) = self.member.view().expect("it is in the view");
        let behind = if view.is_leader(me) { &view.group(me).members[..] } else { &[me] };
        let whom: Vec<usize> = behind.iter().copied().filter(|to| *to < wanted).collect();
        for frame in self.ballot_without_the_last() {
            let frame = frame.encode();
            for to in &whom {
                self.say(0, *to, frame.clone());
            }
            self.settle(meter);
        }
        self.members() == wanted
    }

    fn link(&self, peer: usize) -> Option<ConnId> {
        self.peers.iter().find(|(_, other)| **other == peer).map(|(conn, _)| *conn)
    }

    /// A played member says something to the real one, or through it to another one: over a link, or through the leader of either. What
    /// has no way any more, because the member has closed it, is lost.
    fn say(&mut self, from: usize, to: usize, frame: Bytes) {
        if let Some(conn) = self.link(from) {
            let route = (to != self.me).then_some((from, to));
            return self.arrivals.push_back(Arrival::Frame(conn, route, frame));
        }
        let Some((view, me)) = self.member.view() else { return };
        let via = if view.is_leader(me) { view.leader_of(from.min(view.len() - 1)) } else { view.leader_of(me) };
        if let Some(conn) = self.link(via) {
            self.arrivals.push_back(Arrival::Frame(conn, Some((from, to)), frame));
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

    fn wake(&mut self, meter: &mut impl Meter) {
        let (member, now) = (&mut self.member, self.now);
        meter.inside(|| member.handle(now, Input::Wake));
        self.settle(meter);
    }

    /// Until nothing is under way any more.
    fn settle(&mut self, meter: &mut impl Meter) {
        loop {
            self.drain(meter);
            if self.arrivals.is_empty() {
                return;
            }
            let taken = match &mut self.one_by_one {
                Some(random) => first_of(&mut self.arrivals, random),
                None => std::mem::take(&mut self.arrivals),
            };
            for arrival in taken {
                self.arrive(arrival, meter);
            }
        }
    }

    fn arrive(&mut self, arrival: Arrival, meter: &mut impl Meter) {
        let (member, now) = (&mut self.member, self.now);
        match arrival {
            Arrival::Connected(conn) => meter.inside(|| member.handle(now, Input::Connected(conn))),
            Arrival::Refused(conn) => meter.inside(|| member.handle(now, Input::Closed(conn, CloseCause::Refused))),
            Arrival::Datagram(from, bytes) => {
                meter.inside(|| member.handle(now, Input::Datagram { from, bytes: &bytes }));
            }
            Arrival::Frame(conn, route, frame) => {
                // Made only now: thousands of these wait, and share what is passed on.
                let pass_on =
                    |(from, to)| Routed { from: incarnation(from), to: incarnation(to), frame: frame.clone() };
                let bytes = route.map_or_else(|| frame.clone(), |route| Control::Routed(pass_on(route)).encode());
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

    fn drain(&mut self, meter: &mut impl Meter) {
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
                Output::Datagram { bytes, .. } => {
                    self.traffic.datagram(bytes.len());
                    self.answer_datagram(&bytes);
                }
                Output::Event(Event::Fault { what, .. }) => drop(self.fault.get_or_insert(what)),
                Output::Resolve { .. } | Output::Multicast | Output::Event(_) => {}
            }
        }
    }

    /// Takes all that the member has to write to a connection. What is written is looked at where it lies, and never kept: to thousands of
    /// members it can be gigabytes.
    fn transmit(&mut self, conn: ConnId, meter: &mut impl Meter) {
        let (mut heard, mut waiting) = (Vec::<Head>::new(), 0);
        let at_once = if self.one_by_one.is_some() { WRITE_BYTES } else { usize::MAX };
        loop {
            let mut slices = Vec::new();
            let member = &self.member;
            meter.inside(|| member.to_write(conn, at_once, &mut slices));
            let bytes = slices.iter().map(|slice| slice.len()).sum();
            if bytes == 0 {
                break;
            }
            slices.iter().for_each(|slice| heads(slice, &mut heard));
            let (member, now) = (&mut self.member, self.now);
            meter.inside(|| member.wrote(now, conn, bytes));
            self.traffic.write(bytes);
            waiting += bytes;
        }
        self.most_waiting = self.most_waiting.max(waiting);
        let Some(peer) = self.peers.get(&conn).copied() else { return };
        for head in heard {
            self.answer(conn, self.me, peer, &head);
        }
    }
}

/// The arrival that comes first. Datagrams overtake each other, what a connection carries does not.
fn first_of(arrivals: &mut VecDeque<Arrival>, random: &mut Random) -> VecDeque<Arrival> {
    let other = random.below(arrivals.len() as u64) as usize;
    if let (Arrival::Datagram(..), Arrival::Datagram(..)) = (&arrivals[0], &arrivals[other]) {
        arrivals.swap(0, other);
    }
    arrivals.drain(..1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In this role of a view of a hundred: at rest, and for a death.
    fn measured(role: Role) -> (Alone, Rest, Change) {
        let mut alone = Alone::in_role(100, role);
        let rest = alone.rest(millis(10_000));
        let change = alone.lose(&mut ());
        assert!(change.done && alone.members() == 99 && alone.fault().is_none(), "{role:?}: {change:?}");
        (alone, rest, change)
    }

    #[test]
    fn each_role_is_measured_and_costs_what_it_does() {
        let [(first, coordinator, most), (_, leader, more), (_, ordinary, least)] = Role::ALL.map(measured);
        // Ten groups of ten: nine other leaders and nine members; or a leader and its deputy.
        assert_eq!([coordinator, leader, ordinary].map(|rest| rest.connections), [18, 18, 2]);
        assert!(coordinator.bytes_per_s > leader.bytes_per_s && leader.bytes_per_s > ordinary.bytes_per_s);
        assert!(ordinary.messages_per_s > 4.0, "{ordinary:?}");
        // Promise, held, accepted, installed.
        assert!(least.messages >= 4.0 && least.messages < 10.0, "{least:?}");
        // Four frames to each member of its group, and their answers to the coordinator.
        assert!(more.messages >= 72.0 && more.bytes > 9.0 * least.bytes, "{more:?}");
        // What is proposed to all ten members of a group waits for the link to their leader.
        assert!(most.bytes > more.bytes && first.most_waiting() > 10 * 100, "{most:?}, {}", first.most_waiting());
    }

    #[test]
    fn what_comes_together_is_answered_together() {
        let mut together = Alone::new(100, Role::Leader.place(100));
        let change = together.lose(&mut ());
        let (_, _, one_by_one) = measured(Role::Leader);
        assert!(change.done && change.messages < one_by_one.messages, "{change:?}, {one_by_one:?}");
    }

    #[test]
    fn only_what_the_member_does_is_measured() {
        struct Count(usize);
        impl Meter for Count {
            fn inside<T>(&mut self, work: impl FnOnce() -> T) -> T {
                self.0 += 1;
                work()
            }
        }
        let mut alone = Alone::in_role(30, Role::Ordinary);
        let mut count = Count(0);
        assert!(alone.lose(&mut count).done);
        assert!((20..200).contains(&count.0), "{}", count.0);
    }
}
