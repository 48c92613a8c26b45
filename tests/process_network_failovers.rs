//! Owners of sessions are killed with SIGKILL in traffic, again and again, on a network that loses, doubles and reorders: no
//! acknowledged visit is lost, and none is given twice (S1, S4, S5).

mod command_support;
mod network_support;

use std::time::Instant;

use network_support::cluster::{Cluster, World};
use network_support::link::Conditions;
use network_support::{Network, is_full, seed, wanted};

const SERVERS: usize = 3;
const SESSIONS: usize = 4;
/// At each session: so that two owners would be asked at the same time.
const VISITORS: usize = 2;
/// Acknowledged visits between two kills.
const TRAFFIC: u64 = 60;
const SEED: usize = 5;

#[test]
fn owners_are_killed_in_traffic_and_no_acknowledged_visit_is_lost_or_given_twice() {
    let Some(network) = Network::new(SERVERS, seed(SEED)) else { return };
    let kills = wanted("DECURION_FAILOVERS", 30);
    let begun = Instant::now();
    let percent = if is_full() { 5.0 } else { 1.0 };
    network.set_all(Conditions {
        loss: percent,
        duplication: percent,
        reordering: 2.0 * percent,
        delay_us: 200,
        jitter_us: 300,
        ..Conditions::default()
    });
    let cluster = Cluster::start(network);
    let mut view = cluster.await_all(0);
    let world = World::new(&cluster, SESSIONS);
    let (history, finals) = world.in_traffic(
        SESSIONS * VISITORS,
        |_, random| random.below(SERVERS),
        || {
            for killed in 0..kills {
                world.await_visits(TRAFFIC);
                if world.is_over() {
                    break; // A visitor has met a fault.
                }
                let victim = cluster.owner_of_most();
                cluster.kill(victim);
                if killed % 3 == 0 {
                    let others: Vec<usize> = cluster.hosts().filter(|host| *host != victim).collect();
                    cluster.await_whole(&others, view);
                    world.await_visits(TRAFFIC / 2);
                }
                cluster.launch(victim);
                view = cluster.await_all(view);
            }
            world.await_visits(TRAFFIC);
        },
    );
    println!(
        "{kills} kills, {} of {} visits acknowledged, {} changes of owner, slowest {} ms, {:?}, {:.1} s",
        history.acknowledged(),
        history.visits.len(),
        history.changes_of_owner(),
        history.slowest().as_millis(),
        cluster.network.counts(),
        begun.elapsed().as_secs_f64()
    );
    let faults = history.faults(&finals, &[]);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(history.changes_of_owner() >= kills, "the owners were killed, and their sessions have moved");
    let counts = cluster.network.counts();
    assert!(counts.lost > 0 && counts.duplicated > 0 && counts.reordered > 0, "the network was bad: {counts:?}");
    cluster.end();
}
