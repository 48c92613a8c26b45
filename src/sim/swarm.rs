//! The swarm: each seed draws a cluster of its own, a mixture of faults of its own, and runs both a phase in which anything may
//! happen and one in which faults have stopped and everything must come together.

use super::drill::{self, Drill};
use super::faults::FaultKind;
use super::guests;
use super::load::{Levels, Load};
use super::mischief::Mischief;
use super::multicast;
use super::network::{Conditions, address_of};
use super::node::State;
use super::random::Random;
use super::trim::Trim;
use super::world::{Settings, World};
use crate::core::{Asynchronous, LargeRules, MinorityPolicy, Plant, ReadyPolicy, Seed, Setup};
use crate::types::{Incarnation, Micros, Name, limits, millis};

/// Each run lasts at least this long, in microseconds of virtual time.
const DURATION: Micros = millis(60_000);
/// In a cluster of more members than this each sends less.
const QUIETER_BEYOND: usize = 24;
/// Keeps the draw of very small and of large clusters apart.
const EXTREME_SALT: u64 = 0x31_2064;
/// Keeps the draw of witnesses apart.
const WITNESS_SALT: u64 = 0x0077_6974_6e65;
/// Keeps the draw of who votes apart.
const ELECTORATE_SALT: u64 = 0x65_6c65_6374;
/// Keeps the draw of how fast copies are made anew apart.
const RESTORE_SALT: u64 = 0x0072_6573_746f;
/// Keeps the draw of messages outside of streams apart.
const LOOSE_SALT: u64 = 0x006c_6f6f_7365;
/// Keeps the draw of the time that starters have apart.
const JOIN_TIMEOUT_SALT: u64 = 0x6a6f_696e;
/// Keeps the draw of visitors in a hurry apart.
const HURRY_SALT: u64 = 0x6875_7272;
/// Keeps the draw of the room for long messages apart.
const LARGE_SALT: u64 = 0x6c_6172_6765;
/// When faults stop there is this long for everything to come together, with the `lan` profile.
const CONVERGENCE: Micros = millis(30_000);

/// A detector's periods, as one word of the configuration sets them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Profile {
    /// Its name.
    pub name: &'static str,
    /// Period of heartbeats, in microseconds.
    pub heartbeat: Micros,
    /// Silence that raises suspicion, in microseconds.
    pub silence: Micros,
}

/// The profiles of the configuration; the first is the default.
pub const PROFILES: [Profile; 4] = [
    Profile { name: "lan", heartbeat: millis(250), silence: millis(1_500) },
    Profile { name: "wan", heartbeat: millis(1_000), silence: millis(6_000) },
    Profile { name: "tribes", heartbeat: millis(500), silence: millis(3_000) },
    Profile { name: "weblogic", heartbeat: millis(10_000), silence: millis(30_000) },
];

impl Profile {
    /// Puts the periods, and the lease that follows from them, into a setup.
    pub fn apply(&self, setup: &mut Setup) {
        setup.heartbeat = self.heartbeat;
        setup.silence = self.silence;
        setup.lease = self.silence / 10 * 8;
    }

    fn convergence(&self) -> Micros {
        CONVERGENCE.max(self.silence * 20)
    }
}

/// A world drawn from a seed, ready to run.
#[derive(Debug)]
pub struct Swarm {
    world: World,
    profile: Profile,
    drill: Option<Drill>,
    faults_stop_at: Micros,
    /// The number of each fault, and when it strikes.
    faults: Vec<(u32, Micros)>,
}

impl AsMut<World> for Swarm {
    fn as_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

impl Swarm {
    /// Draws the cluster and the faults of one seed.
    pub fn draw(seed: u64, plant: Option<Plant>) -> Swarm {
        Swarm::draw_trimmed(seed, plant, &Trim::default())
    }

    /// The same, with something left out.
    pub fn draw_trimmed(seed: u64, plant: Option<Plant>, trim: &Trim) -> Swarm {
        let mut random = Random::new(seed ^ 0x5eed);
        let members = *random.pick(&[3, 3, 4, 4, 5, 5, 5, 6, 6, 7, 8, 9, 10, 12, 14, 18, 24]);
        let profile = *random.pick(&[PROFILES[0]; 9]);
        let profile = if random.chance(100) { PROFILES[1 + random.below(3) as usize] } else { profile };
        let drill = Drill::of(seed, &profile);
        let members = draw_extreme(seed).filter(|_| drill.is_none()).unwrap_or(members);
        let members = drill.map_or(members, |drill| members.max(drill.least_members()));
        let mut template = draw_template(&mut random, members, &profile);
        if let Some(drill) = drill {
            drill.adjust(&mut template);
        } else {
            draw_electorate(&mut template, members, seed);
        }
        let mut settings = Settings::new(seed, members + 2);
        settings.plant = plant;
        settings.keep_events = false;
        settings.send_buffer_bytes =
            *random.pick(&[(16_384, 262_144), (16_384, 262_144), (2_048, 16_384), (65_536, 65_536)]);
        settings.conditions = draw_conditions(&mut random);
        if let Some(drill) = drill {
            drill.adjust_conditions(&mut settings.conditions);
        }
        settings.conditions = trim.conditions(settings.conditions);
        let mut world = World::new(settings);
        for host in 0..members as u16 {
            let mut setup = template.clone();
            setup.name = Name::new(&format!("n{host}"));
            add_node(&mut world, &mut random, setup, host);
        }
        let faults_stop_at = millis(random.between(38_000, 50_000)).max(profile.silence * 4);
        let quiet_until = drill.map_or(0, |_| drill::END);
        let count = members - usize::from(drill.is_some_and(Drill::starts_last));
        if members > QUIETER_BEYOND {
            let loads = world.nodes.iter_mut().filter_map(|slot| slot.load.as_mut());
            loads.for_each(|load| load.every_us *= 10);
        }
        if drill.is_none() {
            draw_witnesses(&mut world, seed);
        }
        draw_large(&mut world, seed);
        start_nodes(&mut world, &mut random, count, quiet_until, faults_stop_at);
        world.settings.levels = draw_levels(seed);
        draw_visitors(&mut world, seed, trim.visitors);
        if trim.visitors != Some(0) {
            guests::draw(&mut world, seed);
        }
        draw_join_timeout(&mut world, seed);
        multicast::draw(&mut world, seed, faults_stop_at);
        let mischief = Mischief::draw(&mut random, members, faults_stop_at, profile.silence);
        let mischief = [mischief, Mischief::draw_apart(seed, faults_stop_at)];
        let mischief = mischief.map(|faults| faults.not_before(quiet_until).only(trim));
        let faults = mischief.iter().flat_map(Mischief::numbers).collect();
        mischief.into_iter().for_each(|faults| faults.unleash(&mut world));
        trim.apply(&mut world);
        if let Some(drill) = drill.filter(|_| !trim.no_drill) {
            drill.unleash(&mut world);
        }
        let faults_stop_at = trim.stop_at.map_or(faults_stop_at, |at| at.min(faults_stop_at));
        Swarm { world, profile, drill, faults_stop_at, faults }
    }

    /// The world, to look at or to keep its trace.
    pub fn world(&mut self) -> &mut World {
        &mut self.world
    }

    /// The number of each fault, and when it strikes.
    pub fn faults(&self) -> &[(u32, Micros)] {
        &self.faults
    }

    /// What was drawn, for the head of a trace.
    pub fn describe(&self) -> String {
        let slots = &self.world.nodes;
        let setup = &slots[0].setup;
        let witnesses: Vec<usize> = (0..slots.len()).filter(|node| slots[*node].setup.witness).collect();
        let waiting: Vec<usize> = (0..slots.len()).filter(|node| slots[*node].ready_after_us.is_some()).collect();
        format!(
            "{} nodes, {} voters (witnesses: {witnesses:?}), {}, groups of {}, {} seeds (only: {}), {:?}, two serve: {}, refusal proves: {}, {:?}, hosts say ready: \
             {waiting:?}, window {}+{}, receive queue {}, {:?}, multicast: {:?}, drill: {:?}, faults stop at {} ms",
            slots.len(),
            setup.voters.len(),
            self.profile.name,
            setup.group_size,
            setup.seeds.len(),
            setup.seeds_only,
            setup.minority,
            setup.two_members_serve,
            setup.refusal_proves_death,
            setup.large,
            setup.window_bytes,
            setup.window_reserved_bytes,
            setup.receive_queue_bytes,
            self.world.settings.conditions,
            setup.multicast.as_ref().map(|m| (m.carries, m.datagram_bytes, self.world.reach.lost_to_all)),
            self.drill,
            self.faults_stop_at / 1_000,
        )
    }

    /// Runs both phases. Says whether everything came together.
    pub fn run(&mut self) -> bool {
        let world = &mut self.world;
        world.run_for(self.faults_stop_at);
        if world.is_over() {
            return false;
        }
        calm(world);
        let converged = world.converge(self.profile.convergence());
        if converged {
            let rest = DURATION.saturating_sub(world.now_us()).max(millis(2_000));
            world.rest(rest);
            world.end_visits();
        }
        converged
    }
}

/// A few clusters are very small; and fewer, for the time that they take, are large. Drawn apart from all else.
fn draw_extreme(seed: u64) -> Option<usize> {
    let mut random = Random::new(seed ^ EXTREME_SALT);
    match random.below(1_000) {
        0..20 => Some(random.between(1, 2) as usize),
        20..24 => Some(random.between(32, 64) as usize),
        _ => None,
    }
}

/// Rules and bounds that all members of a cluster share.
fn draw_template(random: &mut Random, members: usize, profile: &Profile) -> Setup {
    let mut setup = Setup::new("sim", "template", Incarnation::NONE, address_of(0));
    profile.apply(&mut setup);
    let listed = if random.chance(300) { members.min(3) } else { members };
    let by_name = random.chance(500);
    setup.seeds = (0..listed as u16).map(|host| seed(host, by_name)).collect();
    setup.seeds_only = listed == members && random.chance(200);
    let voters = match random.below(20) {
        0..3 => 0,
        3 => 1,
        4 => 2,
        5..11 => 3,
        11..15 => members.min(5),
        _ => members,
    };
    setup.voters = (0..voters.min(members)).map(|n| Name::new(&format!("n{n}"))).collect();
    setup.minority = if random.chance(120) { MinorityPolicy::Serve } else { MinorityPolicy::ReadOnly };
    setup.two_members_serve = random.chance(800);
    setup.refusal_proves_death = random.chance(850);
    setup.group_size = *random.pick(&[0, 0, 0, 2, 3, 4, 5, 8]);
    setup.stable_events = random.chance(500);
    setup.join_timeout = 0;
    setup.window_bytes = *random.pick(&[512 * 1024, 1024 * 1024, 4 * 1024 * 1024]);
    setup.window_reserved_bytes =
        *random.pick(&[8 * 1024, 32 * 1024, 128 * 1024]).min(&(setup.window_bytes / members / 2));
    setup.direct_window_bytes = *random.pick(&[64 * 1024, 256 * 1024, 1024 * 1024]);
    setup.receive_queue_bytes = *random.pick(&[256 * 1024, 1024 * 1024, 8 * 1024 * 1024]);
    setup.send_queue_bytes = *random.pick(&[32 * 1024, 256 * 1024, 1024 * 1024]);
    setup
}

fn seed(host: u16, by_name: bool) -> Seed {
    let address = address_of(host);
    let host_name = if by_name { format!("node-{host}") } else { address.ip().to_string() };
    Seed { name: Some(Name::new(&format!("n{host}"))), host: host_name, port: address.port() }
}

fn draw_conditions(random: &mut Random) -> Conditions {
    let mut conditions = Conditions { latency_us: random.between(30, 2_000), ..Conditions::LAN };
    conditions.jitter_us = random.between(0, conditions.latency_us * 2);
    match random.below(10) {
        0..4 => {}
        4..8 => conditions.loss = random.between(1, 50) as u32,
        _ => conditions.loss = random.between(50, 300) as u32,
    }
    if random.chance(300) {
        conditions.duplicate = random.between(1, 500) as u32;
    }
    if random.chance(300) {
        conditions.late = random.between(1, 200) as u32;
    }
    conditions
}

fn add_node(world: &mut World, random: &mut Random, mut setup: Setup, host: u16) {
    let waits = random.chance(150);
    if waits {
        setup.ready = ReadyPolicy::Host;
    }
    let node = world.add(setup, host);
    let slot = &mut world.nodes[node];
    slot.restart_after_us = Some(random.between(500_000, 3_000_000));
    slot.ready_after_us = waits.then(|| random.between(10_000, 4_000_000));
    if random.chance(60) {
        slot.lag_us = random.between(1_000, 300_000);
    }
    let busy = random.chance(500);
    slot.load = Some(Load {
        every_us: if busy { random.between(20_000, 200_000) } else { random.between(200_000, 3_000_000) },
        burst: *random.pick(&[0, 10, 30]),
        burst_messages: random.between(10, 60) as u32,
        direct: *random.pick(&[0, 100, 500]),
        large: *random.pick(&[0, 0, 2, 5]),
        large_bytes: *random.pick(&[70_000, 120_000, 200_000]),
    });
}

/// In some seeds part of what is sent has its place in one order of all. Drawn apart from all else.
fn draw_levels(seed: u64) -> Levels {
    let mut random = Random::new(seed ^ 0x006f_7264_6572);
    let unreliable = *Random::new(seed ^ LOOSE_SALT).pick(&[0, 0, 0, 100, 600]);
    let (agreed, safe) = match random.below(5) {
        0 => (*random.pick(&[50, 400, 1_000]), 0),
        1 => (*random.pick(&[0, 50, 400]), *random.pick(&[20, 200, 600])),
        _ => (0, 0),
    };
    Levels { agreed, safe, unreliable }
}

/// In some seeds long messages are frequent and ask for room, of which there is little. Drawn apart from all else.
fn draw_large(world: &mut World, seed: u64) {
    let mut random = Random::new(seed ^ LARGE_SALT);
    if !random.chance(250) {
        return;
    }
    let room_bytes = *random.pick(&[200_000, 300_000, 600_000]);
    for slot in &mut world.nodes {
        slot.setup.large = LargeRules { unasked_bytes: limits::BATCH_BYTES, room_bytes };
        if let Some(load) = &mut slot.load {
            load.large += 20;
        }
    }
}

/// In some seeds those vote whom the others look up to in nothing: who coordinates is none of them. Drawn apart from all else.
fn draw_electorate(template: &mut Setup, members: usize, seed: u64) {
    if Random::new(seed ^ ELECTORATE_SALT).chance(200) {
        let voters = template.voters.len();
        template.voters = (members - voters..members).map(|n| Name::new(&format!("n{n}"))).collect();
    }
}

/// In some seeds one or two of the voters carry no messages. Drawn apart from all else.
fn draw_witnesses(world: &mut World, seed: u64) {
    let mut random = Random::new(seed ^ WITNESS_SALT);
    let voters: Vec<usize> = (0..world.nodes.len()).filter(|node| votes(world, *node)).collect();
    if voters.len() < 2 || !random.chance(150) {
        return;
    }
    let count = if voters.len() > 3 && random.chance(300) { 2 } else { 1 };
    for _ in 0..count {
        world.nodes[*random.pick(&voters)].setup.witness = true;
    }
}

/// In some seeds starters do not look for a cluster for ever. Drawn apart from all else.
fn draw_join_timeout(world: &mut World, seed: u64) {
    let mut random = Random::new(seed ^ JOIN_TIMEOUT_SALT);
    if random.chance(100) {
        let timeout = millis(random.between(4_000, 20_000));
        world.nodes.iter_mut().for_each(|slot| slot.setup.join_timeout = timeout);
    }
}

/// In most seeds some visitors come to the hosts. Drawn apart from all else.
fn draw_visitors(world: &mut World, seed: u64, at_most: Option<usize>) {
    let mut random = Random::new(seed ^ 0x7669_7369);
    if random.chance(600) {
        let count = random.between(1, 10) as usize;
        // So small that not every member has room for every copy.
        if random.chance(200) {
            let bytes = random.between(6_000, 20_000) as usize;
            world.nodes.iter_mut().for_each(|slot| slot.setup.sessions.memory_bytes = bytes);
        }
        // So slowly that a member comes to look at a session only when much has happened since.
        let mut restore = Random::new(seed ^ RESTORE_SALT);
        if restore.chance(200) {
            let bytes_per_s = *restore.pick(&[5_000, 20_000, 100_000]);
            world.nodes.iter_mut().for_each(|slot| slot.setup.sessions.restore_bytes_per_s = bytes_per_s);
        }
        if random.chance(250) {
            let bounds = Asynchronous {
                window_bytes: random.between(500, 8_000) as usize,
                window: millis(random.between(20, 1_000)),
                batch_bytes: random.between(1, 3_000) as usize,
                batch: millis(random.between(0, 300)),
            };
            world.nodes.iter_mut().for_each(|slot| slot.setup.sessions.asynchronous = Some(bounds));
        }
        // With some seeds they come so fast that every fault falls into the middle of a hand-over.
        if Random::new(seed ^ HURRY_SALT).chance(60) {
            world.hurry_visitors();
        }
        world.add_visitors(at_most.map_or(count, |most| most.min(count)), &mut random);
    }
}

/// Most nodes start at once or nearly so; some join later, while the others are at work.
fn start_nodes(world: &mut World, random: &mut Random, count: usize, quiet_until: Micros, faults_stop_at: Micros) {
    let together = random.chance(500);
    for node in 0..count {
        let late = node >= 2 && random.chance(200);
        let delay = match (late, together) {
            (true, _) => random.between(quiet_until.max(4_000_000), faults_stop_at - 5_000_000),
            (false, true) => 0,
            (false, false) => random.between(0, 3_000_000),
        };
        world.after(delay, move |world| {
            if late && world.nodes[node].life == 0 {
                world.faults.note(FaultKind::Join);
            }
            world.start(node);
        });
    }
}

fn votes(world: &World, node: usize) -> bool {
    let setup = &world.nodes[node].setup;
    setup.voters.contains(&setup.name)
}

/// Faults stop: links are whole, hosts are up and poll, processes run. Who is down comes back if it votes, and by chance otherwise.
fn calm(world: &mut World) {
    world.calm = true;
    world.tell(|| "faults stop".to_owned());
    world.mend_all();
    world.mend_multicast();
    world.set_all_conditions(Conditions::LAN);
    world.names_fail_until = 0;
    for node in 0..world.nodes.len() {
        world.power_on(node);
        world.set_lag(node, 0);
        world.resume(node);
        world.poll_again(node);
        if votes(world, node) || world.random.chance(500) {
            world.start(node);
        }
    }
    // Who has moved away from where it is listed, and parts that know nobody else, need one that is where it is listed.
    let listed = world.nodes[0].setup.seeds.len();
    let in_place = |world: &World, node: usize| usize::from(world.nodes[node].host) == node;
    if !(0..listed).any(|node| in_place(world, node) && world.nodes[node].state != State::Down) {
        (0..listed).filter(|node| in_place(world, *node)).collect::<Vec<_>>().into_iter().for_each(|n| world.start(n));
    }
}
