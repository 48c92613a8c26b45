//! Faults drawn at random and made at random times: which kinds, how often, to whom, and when each one ends.

use super::faults::FaultKind;
use super::lurking;
use super::network::Conditions;
use super::node::State;
use super::random::Random;
use super::trim::Trim;
use super::world::World;
use crate::core::To;
use crate::types::{Code, Micros, millis};

/// The faults of one run: each at its time.
#[derive(Debug)]
pub(crate) struct Mischief {
    faults: Vec<Fault>,
}

/// One fault. What it does follows from its own draw: leaving out another one changes nothing of that.
#[derive(Clone, Copy, Debug)]
struct Fault {
    number: u32,
    at: Micros,
    kind: FaultKind,
    draw: u64,
}

/// Faults that are drawn apart are numbered from here.
const APART_FROM: u32 = 1_000;

/// The kinds that are drawn as single faults; loss, duplicates and reordering are conditions of the network.
const DRAWN: [FaultKind; 15] = [
    FaultKind::Crash,
    FaultKind::PowerOff,
    FaultKind::Move,
    FaultKind::Leave,
    FaultKind::Pause,
    FaultKind::Partition,
    FaultKind::OneWay,
    FaultKind::MissingLink,
    FaultKind::SlowLink,
    FaultKind::Loss,
    FaultKind::Reset,
    FaultKind::FullBuffer,
    FaultKind::HostNotPolling,
    FaultKind::SlowHost,
    FaultKind::NameLookup,
];

/// Kinds that are drawn apart, each in so many seeds of a thousand: what else a seed draws does not depend on them.
const DRAWN_APART: [(FaultKind, u32); 3] =
    [(FaultKind::Suspend, 100), (FaultKind::Flood, 100), (FaultKind::CrashInChange, 140)];
/// Keeps those draws apart from all others of the seed.
const SALT: u64 = 0xf100d;

impl Mischief {
    /// Draws which kinds this run has, how dense they are, and when each one strikes.
    pub fn draw(random: &mut Random, members: usize, end: Micros, silence: Micros) -> Mischief {
        let share = *random.pick(&[100, 250, 400]);
        let mut kinds: Vec<FaultKind> = DRAWN.into_iter().filter(|_| random.chance(share)).collect();
        if kinds.is_empty() {
            kinds.push(*random.pick(&DRAWN));
        }
        let pause = *random.pick(&[silence / 2, silence * 2, silence * 4]);
        let mut at = Vec::new();
        let mut time = millis(random.between(500, 5_000));
        while time < end && at.len() < 10 + members * 2 {
            at.push((time, *random.pick(&kinds), random.word()));
            time += random.between(pause / 4, pause * 2);
        }
        Mischief::numbered(at, 0)
    }

    /// Draws the kinds that are drawn apart, and when each strikes.
    pub fn draw_apart(seed: u64, end: Micros) -> Mischief {
        let mut random = Random::new(seed ^ SALT);
        let mut at = Vec::new();
        for (kind, share) in DRAWN_APART {
            let count = if random.chance(share) { random.between(2, 5) } else { 0 };
            at.extend((0..count).map(|_| (random.between(4_000_000, end - 2_000_000), kind, random.word())));
        }
        Mischief::numbered(at, APART_FROM)
    }

    fn numbered(drawn: Vec<(Micros, FaultKind, u64)>, from: u32) -> Mischief {
        let fault = |(number, (at, kind, draw))| Fault { number, at, kind, draw };
        Mischief { faults: (from..).zip(drawn).map(fault).collect() }
    }

    /// Leaves out what would strike before `begin`.
    pub fn not_before(mut self, begin: Micros) -> Mischief {
        self.faults.retain(|fault| fault.at >= begin);
        self
    }

    /// Leaves out what is not wanted. The numbers stay what they are.
    pub fn only(mut self, trim: &Trim) -> Mischief {
        self.faults.retain(|fault| trim.has_fault(fault.number));
        self
    }

    /// The number of each fault, and when it strikes.
    pub fn numbers(&self) -> impl Iterator<Item = (u32, Micros)> {
        self.faults.iter().map(|fault| (fault.number, fault.at))
    }

    /// Schedules all of it.
    pub fn unleash(self, world: &mut World) {
        for Fault { number, at, kind, draw } in self.faults {
            world.after(at, move |world| {
                if !world.calm {
                    world.story.say(world.now, || format!("Fault {number} strikes: {}", kind.name().replace('_', " ")));
                    strike(world, kind, &mut Random::new(draw));
                }
            });
        }
    }
}

/// Some running node.
pub(super) fn victim(world: &World, random: &mut Random) -> Option<usize> {
    let running: Vec<usize> = (0..world.nodes().len()).filter(|node| world.node(*node).is_running()).collect();
    // Leaders and the coordinator are the interesting ones: every second time one of them is taken.
    let leads = |node: &usize| {
        world.node(*node).member().and_then(|member| member.view()).is_some_and(|(view, me)| view.is_leader(me))
    };
    let leaders: Vec<usize> = running.iter().copied().filter(leads).collect();
    let among = if random.chance(500) && !leaders.is_empty() { &leaders } else { &running };
    (!among.is_empty()).then(|| *random.pick(among))
}

pub(super) fn later(world: &mut World, delay: Micros, action: impl FnOnce(&mut World) + Send + 'static) {
    world.after(delay, move |world| {
        if !world.calm {
            action(world);
        }
    });
}

fn strike(world: &mut World, kind: FaultKind, random: &mut Random) {
    let Some(node) = victim(world, random) else { return };
    match kind {
        FaultKind::Crash => crash(world, random, node),
        FaultKind::PowerOff => power_off(world, random, node),
        FaultKind::Move => move_away(world, random, node),
        FaultKind::Leave => leave(world, random, node),
        FaultKind::Pause => pause(world, random, node),
        FaultKind::Partition => partition(world, random),
        FaultKind::OneWay | FaultKind::MissingLink => cut_links(world, random, kind, node),
        FaultKind::SlowLink | FaultKind::Loss | FaultKind::FullBuffer => worsen(world, random, kind, node),
        FaultKind::HostNotPolling => {
            world.stop_polling(node);
            let life = world.nodes[node].life;
            let back = millis(random.between(200, 14_000));
            later(world, back, move |world| {
                if world.nodes[node].life == life {
                    world.poll_again(node);
                }
            });
        }
        FaultKind::SlowHost => {
            world.set_lag(node, random.between(5_000, 1_500_000));
            later(world, millis(random.between(500, 10_000)), move |world| world.set_lag(node, 0));
        }
        FaultKind::Reset => {
            let other = random.below(world.nodes().len() as u64) as usize;
            let peers: Vec<usize> = (0..world.nodes().len()).filter(|peer| *peer != node).collect();
            let peers = if random.chance(500) { peers } else { vec![other] };
            peers.into_iter().for_each(|peer| {
                world.reset_between(node, peer);
            });
        }
        FaultKind::Suspend => suspend(world, random, node),
        FaultKind::Flood => flood(world, random, node),
        FaultKind::CrashInChange => lurking::lurk(world, random),
        FaultKind::NameLookup => world.fail_names_for(millis(random.between(1_000, 8_000))),
        _ => {}
    }
}

/// How long until it comes back: soon, after it has been removed, or not before faults stop.
pub(super) fn absence(random: &mut Random) -> Micros {
    match random.below(4) {
        0 => random.between(1_000, 500_000),
        1 => random.between(500_000, 3_000_000),
        2 => random.between(3_000_000, 12_000_000),
        _ => millis(1_000_000),
    }
}

fn crash(world: &mut World, random: &mut Random, node: usize) {
    let mut victims = vec![node];
    if random.chance(250) {
        // Several at once: for example a leader and its deputy.
        victims.extend(victim(world, random).filter(|other| *other != node));
    }
    let back = absence(random);
    for node in victims {
        world.crash(node);
        later(world, back, move |world| world.start(node));
    }
}

fn power_off(world: &mut World, random: &mut Random, node: usize) {
    world.power_off(node);
    later(world, absence(random), move |world| {
        world.power_on(node);
        world.start(node);
    });
}

/// The name comes back on another host; sometimes its old process still lives for a moment.
fn move_away(world: &mut World, random: &mut Random, node: usize) {
    let spare: Vec<u16> = (0..world.listening.len() as u16)
        .filter(|host| {
            world.listening[usize::from(*host)].is_none() && world.nodes.iter().all(|slot| slot.host != *host)
        })
        .collect();
    // A voter that moves without its listing does not vote any more: an operator lists it anew first.
    let votes = world.nodes[node].setup.voters.contains(&world.nodes[node].setup.name);
    if spare.is_empty() || votes || world.nodes[node].state == State::Down {
        return;
    }
    let host = *random.pick(&spare);
    world.crash(node);
    later(world, random.between(1_000, 4_000_000), move |world| {
        let free = world.nodes.iter().all(|slot| slot.host != host);
        if world.nodes[node].state == State::Down && free {
            world.move_to(node, host);
            world.start(node);
        }
    });
}

fn leave(world: &mut World, random: &mut Random, node: usize) {
    world.leave(node);
    later(world, millis(5_000) + absence(random), move |world| world.start(node));
}

fn pause(world: &mut World, random: &mut Random, node: usize) {
    world.pause(node);
    let life = world.nodes[node].life;
    let span = match random.below(4) {
        0 => random.between(10_000, 1_000_000),
        1 => random.between(1_000_000, 2_500_000),
        2 => random.between(2_500_000, 8_000_000),
        _ => random.between(8_000_000, 30_000_000),
    };
    later(world, span, move |world| {
        if world.nodes[node].life == life {
            world.resume(node);
        }
    });
}

/// Nothing arrives at a host that stands still, and nothing is kept for it.
fn suspend(world: &mut World, random: &mut Random, node: usize) {
    world.faults.note(FaultKind::Suspend);
    world.pause(node);
    let links: Vec<(usize, usize)> = (0..world.nodes().len())
        .filter(|other| *other != node)
        .flat_map(|other| [(node, other), (other, node)])
        .collect();
    links.iter().for_each(|(from, to)| world.cut(*from, *to));
    let life = world.nodes[node].life;
    let span = *random.pick(&[300_000, 1_400_000, 4_000_000, 30_000_000]);
    later(world, random.between(span / 3, span), move |world| {
        links.iter().for_each(|(from, to)| world.mend(*from, *to));
        if world.nodes[node].life == life {
            world.resume(node);
        }
    });
}

/// What is left of a flood.
#[derive(Clone, Copy)]
struct Flood {
    node: usize,
    life: u32,
    len: usize,
    pause: Micros,
    messages: u64,
}

/// Messages of a flood to everybody, counted at all receivers.
const FLOOD_DELIVERIES: u64 = 20_000;

fn flood(world: &mut World, random: &mut Random, node: usize) {
    world.faults.note(FaultKind::Flood);
    let messages = FLOOD_DELIVERIES / world.nodes().len() as u64;
    let (len, pause) = (random.between(10, 8_000) as usize, random.between(500, 20_000));
    go_on(world, Flood { node, life: world.nodes[node].life, len, pause, messages });
}

/// Sends until it is not accepted any more, again and again.
fn go_on(world: &mut World, mut flood: Flood) {
    let Flood { node, life, len, pause, .. } = flood;
    if world.nodes[node].life != life || !world.node(node).is_running() {
        return;
    }
    let mut code = Code::Ok;
    while flood.messages > 0 && code == Code::Ok {
        code = world.push_to(node, To::Everybody, len);
        flood.messages -= 1;
    }
    world.settle(node);
    if flood.messages > 0 {
        later(world, pause, move |world| go_on(world, flood));
    }
}

fn partition(world: &mut World, random: &mut Random) {
    let mut nodes: Vec<usize> = (0..world.nodes().len()).collect();
    if nodes.len() < 2 {
        return;
    }
    random.shuffle(&mut nodes);
    let at = random.between(1, nodes.len() as u64 - 1) as usize;
    let (left, right) = (nodes[..at].to_vec(), nodes[at..].to_vec());
    world.split(&[&left, &right]);
    let span = random.between(200_000, 12_000_000);
    later(world, span, move |world| world.heal(&[&left, &right]));
}

fn cut_links(world: &mut World, random: &mut Random, kind: FaultKind, node: usize) {
    let count = world.nodes().len() as u64;
    let mut pairs = Vec::new();
    for _ in 0..random.between(1, 3) {
        let other = random.below(count) as usize;
        if other == node {
            continue;
        }
        match (kind, random.chance(500)) {
            (FaultKind::MissingLink, _) => pairs.extend([(node, other), (other, node)]),
            (_, true) => pairs.push((node, other)),
            (_, false) => pairs.push((other, node)),
        }
    }
    if pairs.is_empty() {
        return;
    }
    world.faults.note(kind);
    pairs.iter().for_each(|(from, to)| world.cut(*from, *to));
    let span = random.between(200_000, 20_000_000);
    later(world, span, move |world| pairs.iter().for_each(|(from, to)| world.mend(*from, *to)));
}

/// Some links become slow, lossy, or so narrow that send buffers fill up.
fn worsen(world: &mut World, random: &mut Random, kind: FaultKind, node: usize) {
    let mut changed = Vec::new();
    for other in 0..world.nodes().len() {
        if other == node || !random.chance(600) {
            continue;
        }
        for (from, to) in [(node, other), (other, node)] {
            let before = world.conditions(from, to);
            let mut conditions = before;
            match kind {
                FaultKind::SlowLink => {
                    conditions.latency_us = random.between(5_000, 150_000);
                    conditions.bytes_per_ms = random.between(20, 2_000);
                    world.faults.note(FaultKind::SlowLink);
                }
                FaultKind::Loss => conditions.loss = random.between(100, 900) as u32,
                _ => conditions.bytes_per_ms = random.between(5, 50),
            }
            world.set_conditions(from, to, conditions);
            changed.push((from, to, before));
        }
    }
    let span = random.between(500_000, 10_000_000);
    later(world, span, move |world: &mut World| {
        changed.iter().for_each(|(from, to, before): &(usize, usize, Conditions)| {
            world.set_conditions(*from, *to, *before);
        });
    });
}
