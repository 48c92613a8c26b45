//! A network that has multicast, more or less: what is sent to the group reaches each host for itself, or is lost to all of them at
//! once, or does not get to some hosts at all.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;

use super::faults::FaultKind;
use super::network::Packet;
use super::node::State;
use super::queue::Event;
use super::random::Random;
use super::world::World;
use crate::core::Multicast;
use crate::types::{Micros, millis};

/// Keeps all draws of multicast apart from all others.
const SALT: u64 = 0x006d_6361_7374;
/// Keeps the draw of small windows apart.
const NARROW_SALT: u64 = 0x6e61_7272_6f77;
const NARROW_BYTES: usize = 8 * 1024;
/// Among more members all that traffic takes too long.
const NARROW_MEMBERS: usize = 8;
/// A full socket has room again after this time.
const ROOM: (Micros, Micros) = (50, 3_000);
/// Longest datagrams that an interface may pass.
const LENGTHS: [usize; 5] = [600, 1_400, 1_472, 8_900, 60_000];

/// What becomes of datagrams to the group, beside what the links do to any datagram.
#[derive(Debug)]
pub(crate) struct Reach {
    random: Random,
    /// Datagrams of a thousand that nobody gets.
    pub(crate) lost_to_all: u32,
    /// Times of a thousand at which the socket takes no more than a few.
    pub(crate) full: u32,
    /// How often each direction between two hosts does not carry them.
    deaf: BTreeMap<(u16, u16), u32>,
}

impl Reach {
    pub(crate) fn new(seed: u64) -> Reach {
        Reach { random: Random::new(seed ^ SALT ^ 1), lost_to_all: 0, full: 0, deaf: BTreeMap::new() }
    }

    fn deafen(&mut self, pairs: &[(u16, u16)]) {
        pairs.iter().for_each(|pair| *self.deaf.entry(*pair).or_default() += 1);
    }

    fn mend(&mut self, pairs: &[(u16, u16)]) {
        for pair in pairs {
            if let Some(times) = self.deaf.get_mut(pair) {
                *times -= 1;
                if *times == 0 {
                    self.deaf.remove(pair);
                }
            }
        }
    }
}

/// A group that carries messages in datagrams of so many bytes.
pub(super) fn messages_by_multicast(datagram_bytes: usize) -> Multicast {
    let group: SocketAddr = ([239, 192, 0, 0], 7_001).into();
    let (receive_bytes, repair_bytes_per_s) = (4 * 1024 * 1024, 32 * 1024 * 1024);
    Multicast { group, carries: true, datagram_bytes, receive_bytes, repair_bytes_per_s }
}

impl World {
    /// Datagrams to the group do not pass between these hosts any more, in these directions; cuts add up.
    pub fn deafen(&mut self, pairs: &[(u16, u16)]) {
        self.faults.note(FaultKind::Deaf);
        self.reach.deafen(pairs);
    }

    /// They pass again.
    pub fn hear_again(&mut self, pairs: &[(u16, u16)]) {
        self.reach.mend(pairs);
    }

    /// Whether a datagram to the group would pass from one node's host to another's.
    pub fn hears_multicast(&self, from: usize, to: usize) -> bool {
        !self.reach.deaf.contains_key(&(self.nodes[from].host, self.nodes[to].host))
    }

    /// Multicast works everywhere, and loses nothing of its own.
    pub(crate) fn mend_multicast(&mut self) {
        self.reach.deaf.clear();
        (self.reach.lost_to_all, self.reach.full) = (0, 0);
    }

    /// Sends what waits for the group, as far as the socket takes it.
    pub(super) fn cast(&mut self, node: usize) {
        let slot = &mut self.nodes[node];
        let Some(member) = &mut slot.member else { return };
        let full = self.reach.full > 0 && self.reach.random.chance(self.reach.full);
        let most = if full { self.reach.random.below(4) as usize } else { usize::MAX };
        let datagrams: Vec<Bytes> = member.casts(most).map(|(head, rest)| [&head[..], rest].concat().into()).collect();
        member.sent_casts(datagrams.len());
        let (host, life) = (slot.host, slot.life);
        if full {
            self.faults.note(FaultKind::FullBuffer);
            let at = self.now + self.reach.random.between(ROOM.0, ROOM.1);
            self.queue.push(at, Event::Casts { node: node as u16, life });
        }
        datagrams.into_iter().for_each(|bytes| self.cast_one(node, host, bytes));
    }

    fn cast_one(&mut self, node: usize, from: u16, bytes: Bytes) {
        self.trace.word(bytes.len() as u64);
        self.nodes[node].traffic.datagram(bytes.len());
        if self.reach.lost_to_all > 0 && self.reach.random.chance(self.reach.lost_to_all) {
            self.faults.note(FaultKind::LostToAll);
            return;
        }
        for to in 0..self.network.hosts() as u16 {
            let Some(hearer) = self.listening[usize::from(to)] else { continue };
            let longest = self.nodes[usize::from(hearer)].setup.multicast.as_ref().map_or(0, |m| m.datagram_bytes);
            if bytes.len() > longest || self.reach.deaf.contains_key(&(from, to)) {
                continue;
            }
            let queue = &mut self.queue;
            let packet = Packet { from, to, cast: true, bytes: bytes.clone() };
            self.network
                .send(self.now, packet, &mut self.faults, |at, index| queue.push(at, Event::Datagram { index }));
        }
    }

    /// The socket has room again.
    pub(super) fn cast_again(&mut self, node: usize, life: u32) {
        let slot = &self.nodes[node];
        if slot.life != life || slot.state == State::Down {
            return;
        }
        if slot.state == State::Paused {
            self.defer(node as u16, Event::Casts { node: node as u16, life });
            return;
        }
        self.cast(node);
        self.settle(node);
    }
}

/// In some seeds there is multicast, with faults of its own.
pub(super) fn draw(world: &mut World, seed: u64, faults_stop_at: Micros) {
    let mut random = Random::new(seed ^ SALT);
    if !random.chance(300) {
        return;
    }
    let multicast = Multicast { carries: random.chance(850), ..messages_by_multicast(*random.pick(&LENGTHS)) };
    let multicast = Multicast {
        receive_bytes: *random.pick(&[32 * 1024, 256 * 1024, 4 * 1024 * 1024]),
        repair_bytes_per_s: *random.pick(&[256 * 1024, 1024 * 1024, 32 * 1024 * 1024]),
        ..multicast
    };
    // Found by multicast alone.
    let alone = random.chance(250) && !world.nodes[0].setup.seeds_only;
    for slot in &mut world.nodes {
        slot.setup.multicast = Some(multicast.clone());
        if alone {
            slot.setup.seeds.clear();
        }
    }
    if random.chance(300) {
        for multicast in world.nodes.iter_mut().filter_map(|slot| slot.setup.multicast.as_mut()) {
            multicast.datagram_bytes = *random.pick(&LENGTHS);
        }
    }
    draw_narrow(world, seed);
    world.reach.lost_to_all = *random.pick(&[0, 0, 20, 100, 250]);
    world.reach.full = *random.pick(&[0, 0, 100, 500]);
    let hosts = world.network.hosts() as u16;
    for _ in 0..*random.pick(&[0, 0, 1, 2, 4]) {
        let pairs = draw_pairs(&mut random, hosts);
        let at = if random.chance(300) { 0 } else { random.between(1_000_000, faults_stop_at - 2_000_000) };
        let until = if random.chance(300) { faults_stop_at } else { at + millis(random.between(200, 15_000)) };
        world.after(at, move |world| {
            if !world.calm {
                world.deafen(&pairs);
                world.after(until - at, move |world| world.hear_again(&pairs));
            }
        });
    }
}

/// In some of them windows are small and everybody fills them: what comes before the news of what all have taken has no place. Drawn apart.
fn draw_narrow(world: &mut World, seed: u64) {
    let members = world.nodes.len();
    if members > NARROW_MEMBERS || !Random::new(seed ^ NARROW_SALT).chance(250) {
        return;
    }
    for slot in &mut world.nodes {
        slot.setup.window_bytes = members * NARROW_BYTES;
        slot.setup.window_reserved_bytes = NARROW_BYTES;
        if let Some(load) = &mut slot.load {
            (load.burst, load.burst_messages) = (100, 60);
        }
    }
}

/// Directions in which nothing passes: to one host, from one host, between two parts, between any two, or everywhere.
fn draw_pairs(random: &mut Random, hosts: u16) -> Vec<(u16, u16)> {
    let (one, kind) = (random.below(u64::from(hosts)) as u16, random.below(5));
    let part: Vec<bool> = (0..hosts).map(|_| random.chance(500)).collect();
    let all = (0..hosts).flat_map(|from| (0..hosts).map(move |to| (from, to))).filter(|(from, to)| from != to);
    let cut = |(from, to): &(u16, u16)| match kind {
        0 => *to == one,
        1 => *from == one,
        2 => part[usize::from(*from)] != part[usize::from(*to)],
        3 => true,
        _ => *from == one && part[usize::from(*to)],
    };
    all.filter(cut).collect()
}
