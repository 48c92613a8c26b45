//! How long nobody acts as primary while the view changes without a reason to wait: virtual time, a quiet local network.

use decurion::sim::{Settings, World};
use decurion::types::millis;

const SEEDS: u64 = 20;
/// Gathering what changes takes 10 ms, a round trip 0.4 ms at most: far less than a heartbeat's 250 ms.
const SOON: u64 = millis(50);

/// A world of `count` voters, of which all but the last `apart` have been in one view for a while.
fn settled(seed: u64, count: usize, apart: usize) -> World {
    let mut world = World::cluster(Settings::new(seed, count), count, count, |_, _| {});
    let first: Vec<usize> = (0..count - apart).collect();
    first.iter().for_each(|node| world.start(*node));
    assert!(world.run_until(millis(10_000), |world| world.is_converged_among(&first)), "{}", world.describe_views());
    // Not always at the same moment of a heartbeat.
    world.run_for(millis(5_000) + seed * 13_331);
    assert!(world.is_converged_among(&first), "{}", world.describe_views());
    world
}

/// From the moment at which `before` are not all primary in a view of their own until `after` are.
fn gap_us(world: &mut World, before: &[usize], after: &[usize]) -> u64 {
    assert!(world.run_until(millis(10_000), |world| !world.is_converged_among(before)), "the view changes");
    let since = world.now_us();
    assert!(world.run_until(millis(10_000), |world| world.is_converged_among(after)), "{}", world.describe_views());
    assert_eq!(world.violations(), []);
    world.now_us() - since
}

#[test]
fn a_join_does_not_stop_the_primary_for_a_lease() {
    let mut longest = 0;
    for (seed, count) in (0..SEEDS).flat_map(|seed| [2, 3, 5].map(|count| (seed, count))) {
        let mut world = settled(seed, count, 1);
        let before: Vec<usize> = (0..count - 1).collect();
        let after: Vec<usize> = (0..count).collect();
        world.start(count - 1);
        let gap = gap_us(&mut world, &before, &after);
        longest = longest.max(gap);
        // Nor does what it brought with it hold up the next change. The last of two voters needs a proof that the other is gone.
        if count == 2 {
            continue;
        }
        world.leave(0);
        let gap = gap_us(&mut world, &after, &after[1..]);
        longest = longest.max(gap);
    }
    println!("at most {longest} us without a primary");
    assert!(longest < SOON, "{longest} us without a primary");
}

#[test]
fn the_first_lease_after_a_removal_does_not_wait_for_a_heartbeat() {
    let mut longest = 0;
    for (seed, count) in (0..SEEDS).flat_map(|seed| [3, 5, 16].map(|count| (seed, count))) {
        for gone in [0, count - 1] {
            let mut world = settled(seed, count, 0);
            let before: Vec<usize> = (0..count).collect();
            let after: Vec<usize> = (0..count).filter(|node| *node != gone).collect();
            let sent: u64 = after.iter().map(|node| datagrams(&world, *node)).sum();
            world.crash(gone);
            longest = longest.max(gap_us(&mut world, &before, &after));
            // Two rounds for all, the heartbeats along links, and what a few who come late cost.
            let sent = after.iter().map(|node| datagrams(&world, *node)).sum::<u64>() - sent;
            assert!(sent < 20 * count as u64 + 40, "{sent} datagrams among {count}");
        }
    }
    println!("at most {longest} us without a primary");
    assert!(longest < SOON, "{longest} us without a primary");
}

fn datagrams(world: &World, node: usize) -> u64 {
    world.node(node).member().expect("it runs").stats().datagrams_sent
}

#[test]
fn a_member_that_is_started_again_at_once_is_soon_in_a_view() {
    let mut longest = 0;
    let starts = (0..SEEDS).flat_map(|seed| [0, 1, 2, 5, 9, 11, 15, 20, 30, 50].map(|ms| (seed, ms)));
    for ((seed, ms), node) in starts.flat_map(|start| [(start, 0), (start, 1), (start, 2)]) {
        let mut world = settled(seed, 3, 0);
        world.crash(node);
        world.run_for(millis(ms));
        world.start(node);
        let since = world.now_us();
        world.run_until(millis(10_000), |world| world.view(node).is_some());
        let took = world.now_us() - since;
        longest = longest.max(took);
    }
    println!("at most {longest} us without a view");
    assert!(longest < millis(200), "{longest} us without a view");
}
