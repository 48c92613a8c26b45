//! A part of the servers is cut off in traffic, both ways or one way, and comes back: the part that is no majority acknowledges
//! nothing once its lease is over, and no acknowledged visit is lost or given twice (V3, V4, S1, S3, S5).

mod command_support;
mod network_support;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use network_support::cluster::{Cluster, World};
use network_support::history::{Cut, Visit};
use network_support::link::{Conditions, Random};
use network_support::{Network, seed, wanted};

const SERVERS: usize = 5;
const SESSIONS: usize = 6;
/// Acknowledged visits while a part is cut off, and between two cuts.
const TRAFFIC: u64 = 40;
const SEED: usize = 55;
/// For how long who is cut off may go on: `detector.lease_ms` of the profile `lan`, and what is on the wire at the cut.
const LEASE: Duration = Duration::from_millis(1_200 + 10);

/// How a part of the members is cut off.
#[derive(Clone, Copy, Debug)]
enum Kind {
    BothWays,
    /// It hears the others, and is not heard.
    NotHeard,
    /// It is heard, and hears nothing of the others.
    Deaf,
}

#[derive(Debug)]
struct Partition {
    kind: Kind,
    /// One of five, or two.
    minority: Vec<usize>,
}

impl Partition {
    /// The kinds take turns; who is cut off is drawn.
    fn draw(number: usize, random: &mut Random) -> Partition {
        let kind = [Kind::BothWays, Kind::NotHeard, Kind::Deaf][number % 3];
        let first = random.below(SERVERS);
        let second = (first + 1 + random.below(SERVERS - 1)) % SERVERS;
        let minority = if number % 4 == 3 { vec![first] } else { vec![first, second] };
        Partition { kind, minority }
    }

    fn majority(&self) -> Vec<usize> {
        (0..SERVERS).filter(|host| !self.minority.contains(host)).collect()
    }

    fn cuts(&self, from: usize, to: usize) -> bool {
        let (out, into) = (self.minority.contains(&from), self.minority.contains(&to));
        match self.kind {
            Kind::BothWays => out != into,
            Kind::NotHeard => out && !into,
            Kind::Deaf => into && !out,
        }
    }
}

#[test]
fn a_part_that_is_cut_off_acknowledges_nothing_and_comes_back() {
    let Some(network) = Network::new(SERVERS, seed(SEED)) else { return };
    let partitions = wanted("DECURION_PARTITIONS", 5);
    let begun = Instant::now();
    network.set_all(Conditions { delay_us: 200, jitter_us: 300, ..Conditions::default() });
    let cluster = Cluster::start(network);
    let mut view = cluster.await_all(0);
    let world = World::new(&cluster, SESSIONS);
    let mut cuts = Vec::new();
    // Where half of the visitors may not go, as a mask: they keep the majority at work.
    let away = AtomicU64::new(0);
    let choose = |visitor: usize, random: &mut Random| {
        let away = if visitor < SESSIONS { 0 } else { away.load(SeqCst) };
        let there: Vec<usize> = (0..SERVERS).filter(|host| away & (1 << host) == 0).collect();
        there[random.below(there.len())]
    };
    let mut random = Random(seed(SEED));
    let (history, finals) = world.in_traffic(2 * SESSIONS, choose, || {
        for number in 0..partitions {
            world.await_visits(TRAFFIC);
            if world.is_over() {
                break; // A visitor has met a fault.
            }
            let partition = Partition::draw(number, &mut random);
            let (cut, again) = cut_and_heal(&partition, &world, &away, view);
            cuts.push(cut);
            view = again;
        }
        world.await_visits(TRAFFIC);
    });
    let within = |visit: &Visit| cuts.iter().any(|cut: &Cut| cut.forbids(visit));
    let in_vain = history.visits.iter().filter(|visit| !visit.is_acknowledged() && within(visit)).count();
    println!(
        "{partitions} partitions, {} of {} visits acknowledged, {in_vain} asked in vain of who was cut off, {} by old cookies, \
         slowest {} ms, {:?}, {:.1} s",
        history.acknowledged(),
        history.visits.len(),
        history.denied(),
        history.slowest().as_millis(),
        cluster.network.counts(),
        begun.elapsed().as_secs_f64()
    );
    let faults = history.faults(&finals, &cuts);
    assert!(faults.is_empty(), "{}\n{}", faults.join("\n"), history.story(&cuts));
    assert!(in_vain >= partitions, "those that were cut off were asked: {in_vain}");
    cluster.end();
}

/// Cuts a part off until the others have gone on without it and it has answered visits; answers the view in which all are again.
fn cut_and_heal(partition: &Partition, world: &World, away: &AtomicU64, view: u64) -> (Cut, u64) {
    let cluster = world.cluster;
    away.store(partition.minority.iter().map(|host| 1 << host).sum(), SeqCst);
    let begun = Instant::now();
    cluster.network.cut(|from, to| partition.cuts(from, to));
    let lease_over = Instant::now() + LEASE;
    let without = cluster.await_members(&partition.majority(), view);
    let removed = begun.elapsed();
    world.await_visits(TRAFFIC);
    world.await_answers(&partition.minority, lease_over);
    let healed = Instant::now();
    cluster.network.heal();
    away.store(0, SeqCst);
    let again = cluster.await_all(without);
    let whole = Instant::now();
    println!("{partition:?}: removed after {removed:.1?}, whole {:.1?} after the end", whole - healed);
    (Cut { servers: partition.minority.clone(), begun, lease_over, healed, whole }, again)
}
