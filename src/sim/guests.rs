//! Guests: short sessions that come and go, all over the members and without rules. Some end, some expire, some are made twice, or are
//! too large, or ask for what is out of date: what visitors, whose sessions are watched step by step, never do.

use super::node::State;
use super::random::Random;
use super::world::World;
use crate::core::{SessionOp, SessionRequest};
use crate::types::{MemberTag, Micros, SessionId, millis};
use crate::wire::session::Attributes;

/// Keeps the draw apart from all others of the seed.
const SALT: u64 = 0x6775_6573_7473;
/// Worlds of a thousand without visitors that have guests.
const SHARE: u32 = 300;
/// Their requests are numbered from here: visitors wait for none of them.
const FIRST_NUMBER: u64 = 1 << 48;
/// For how long a member is away that leaves while there are guests.
const AWAY: Micros = millis(6_000);
/// Tokens of which one session remembers fewer.
const TOKENS: u64 = 40;

/// Guests that share some sessions.
#[derive(Clone, Debug)]
struct Guests {
    random: Random,
    sessions: Vec<SessionId>,
    /// Members that they go to.
    nodes: Vec<usize>,
    every_us: Micros,
    session_bytes: usize,
    asked: u64,
}

/// In some worlds without visitors guests come to the hosts. Drawn apart from all else.
pub(super) fn draw(world: &mut World, seed: u64) {
    let mut random = Random::new(seed ^ SALT);
    if !world.visitors.is_empty() || !random.chance(SHARE) {
        return;
    }
    let session_bytes = random.between(2_000, 6_000) as usize;
    let memory_bytes = if random.chance(500) { session_bytes * 3 } else { session_bytes * 1_000 };
    for slot in &mut world.nodes {
        slot.setup.sessions.session_bytes = session_bytes;
        slot.setup.sessions.memory_bytes = memory_bytes;
    }
    let sessions = (0..random.between(3, 12)).map(|_| SessionId(random.wide())).collect();
    let every_us = random.between(5_000, 200_000);
    let nodes = (0..world.nodes.len()).collect();
    for _ in 0..random.between(1, 4) {
        let (at, node) = (millis(random.between(8_000, 32_000)), random.below(world.nodes.len() as u64) as usize);
        world.after(at, move |world| leave_for_a_while(world, node));
    }
    let guests = Guests { random, sessions, nodes, every_us, session_bytes, asked: FIRST_NUMBER };
    world.after(millis(3_000), move |world| come(world, guests));
}

/// Much that can happen to a session happens only while it is handed over by a member that leaves.
fn leave_for_a_while(world: &mut World, node: usize) {
    if !world.calm {
        world.leave(node);
        world.after(AWAY, move |world| {
            if !world.calm {
                world.start(node);
            }
        });
    }
}

/// One of them asks for some things, and so on until faults stop.
fn come(world: &mut World, mut guests: Guests) {
    if world.calm {
        return;
    }
    let (node, id) = (*guests.random.pick(&guests.nodes), *guests.random.pick(&guests.sessions));
    // Several at once, so that changes of one session overtake what is said against the ones before.
    let requests: Vec<SessionRequest> = (0..guests.random.between(1, 6)).map(|_| guests.request(id)).collect();
    if world.nodes[node].state == State::Running {
        for request in requests {
            let _ = world.nodes[node].outbox.ask(request);
            world.settle(node);
        }
    }
    let pause = guests.random.between(guests.every_us / 4, guests.every_us * 2);
    world.after(pause, move |world| come(world, guests));
}

impl Guests {
    fn request(&mut self, id: SessionId) -> SessionRequest {
        self.asked += 1;
        let op = match self.random.below(20) {
            0..5 => SessionOp::Create { ttl_s: self.random.below(6) as u32, attributes: self.attributes() },
            5..12 => self.write(),
            12..15 => SessionOp::Read,
            15 => SessionOp::Touch,
            16..18 => SessionOp::Peek,
            _ => SessionOp::Remove,
        };
        SessionRequest { number: self.asked, id, holders: [MemberTag::NONE; 2], op }
    }

    fn write(&mut self) -> SessionOp {
        let token = if self.random.chance(500) { self.random.between(1, TOKENS) } else { 0 };
        let if_version = if self.random.chance(100) { self.random.between(1, 30) } else { 0 };
        let (whole, sets) = (self.random.chance(300), self.attributes());
        SessionOp::Write { token, if_version, whole, sets, removes: Attributes::default() }
    }

    /// Mostly small, now and then more than a session may have.
    fn attributes(&mut self) -> Attributes {
        let bound = if self.random.chance(50) { self.session_bytes * 2 } else { self.session_bytes / 2 };
        let bytes = vec![1; self.random.below(bound as u64) as usize];
        Attributes::new([(*self.random.pick(&["a", "b", "c"]), &bytes[..])])
    }
}
