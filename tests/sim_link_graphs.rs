//! Who is in the view when not every link works, in the simulator: members that hear nobody, parts that are cut off, and parts that do
//! not know of each other's coordinator (V4, V7, V8).

use decurion::core::Event;
use decurion::sim::{Settings, World};
use decurion::types::{Micros, View};

const SECOND: Micros = 1_000_000;

/// A formed cluster of `count` members that all vote, or none of them.
fn formed(seed: u64, count: usize, votes: bool, group_size: usize) -> World {
    let mut world = World::cluster(Settings::new(seed, count), count, if votes { count } else { 0 }, |_, setup| {
        setup.group_size = group_size;
    });
    world.start_all();
    assert!(world.run_until(20 * SECOND, World::is_converged), "seed {seed}: {}", world.describe_views());
    world.run_for(2 * SECOND);
    world
}

fn without(count: usize, gone: &[usize]) -> Vec<usize> {
    (0..count).filter(|node| !gone.contains(node)).collect()
}

/// The node of a position in the view that `node` has installed.
fn node_at(world: &World, view: &View, index: usize) -> usize {
    let count = world.nodes().len();
    let is = |node: &usize| {
        world.node(*node).member().is_some_and(|member| member.incarnation() == view.members[index].incarnation)
    };
    (0..count).find(is).expect("every member of the view runs")
}

fn coordinator(world: &World) -> usize {
    let view = world.view(0).expect("it has formed").clone();
    node_at(world, &view, view.coordinator())
}

fn was_removed(world: &World, node: usize) -> bool {
    world.node(node).seen().iter().any(|(_, event)| matches!(event, Event::Expelled { .. }))
}

/// Nothing arrives at `node` any more; what it sends does.
fn deafen(world: &mut World, node: usize) {
    for other in without(world.nodes().len(), &[node]) {
        world.cut(other, node);
    }
}

#[test]
fn who_hears_nobody_goes_at_once_and_nobody_in_its_place() {
    let mut slowest = 0;
    for count in 3..=9 {
        for deaf in 0..count {
            let group_size = [0, 2, 3][(count + deaf) % 3];
            let mut world = formed((count * 10 + deaf) as u64, count, true, group_size);
            let others = without(count, &[deaf]);
            let (cut_at, leads) = (world.now_us(), coordinator(&world) == deaf);
            deafen(&mut world, deaf);
            let on = world.run_until(6 * SECOND, |world| world.is_converged_among(&others));
            let what = format!("n{deaf} of {count} in groups of {group_size} is deaf (coordinator: {leads})");
            assert!(on, "{what}: {}", world.describe_views());
            slowest = slowest.max(world.now_us() - cut_at);
            world.run_for(5 * SECOND);
            assert!(world.is_converged_among(&others), "{what}, and then: {}", world.describe_views());
            for other in others {
                assert!(!was_removed(&world, other), "{what}: n{other} went in its place");
            }
            world.mend_all();
            assert!(world.run_until(10 * SECOND, World::is_converged), "{what}, heard: {}", world.describe_views());
            assert!(world.violations().is_empty(), "{what}: {:?}", world.violations());
        }
    }
    println!("the others are in a primary view after {} ms at the latest", slowest / 1_000);
}

#[test]
fn two_that_are_cut_off_from_sixteen_seniors_soon_have_a_view() {
    const COUNT: usize = 18;
    for seed in 0..4 {
        let mut world = formed(seed, COUNT, false, 0);
        let view = world.view(0).expect("it has formed").clone();
        let last: Vec<usize> = [COUNT - 2, COUNT - 1].map(|index| node_at(&world, &view, index)).to_vec();
        world.split(&[&without(COUNT, &last), &last]);
        let cut_at = world.now_us();
        let on = world.run_until(10 * SECOND, |world| world.is_converged_among(&last));
        assert!(on, "seed {seed}: {last:?}: {}", world.describe_views());
        println!("seed {seed}: a view of {last:?} after {} ms", (world.now_us() - cut_at) / 1_000);
        assert!(world.violations().is_empty(), "seed {seed}: {:?}", world.violations());
    }
}

fn await_view(world: &mut World, nodes: &[usize]) {
    let there = world.run_until(20 * SECOND, |world| world.is_converged_among(nodes));
    assert!(there, "{nodes:?}: {}", world.describe_views());
}

#[test]
fn parts_merge_that_know_only_an_ordinary_member_of_each_other() {
    for seed in 0..8 {
        // Everybody knows the address of n0 and no other.
        let mut world = World::cluster(Settings::new(seed, 5), 5, 0, |_, setup| setup.seeds.truncate(1));
        [0, 1, 2, 4].into_iter().for_each(|node| world.start(node));
        await_view(&mut world, &[0, 1, 2, 4]);
        world.leave(0);
        await_view(&mut world, &[1, 2, 4]);
        world.run_for(SECOND);
        world.split(&[&[1, 2, 4], &[0, 3]]);
        [0, 3].into_iter().for_each(|node| world.start(node));
        await_view(&mut world, &[0, 3]);
        world.crash(0);
        await_view(&mut world, &[3]);
        world.start(0);
        // From here on n3 coordinates, which nobody of the others has ever heard of.
        await_view(&mut world, &[0, 3]);
        assert_eq!(coordinator(&world), 3);
        world.mend_all();
        let merged = world.run_until(10 * SECOND, World::is_converged);
        assert!(merged, "seed {seed}: {}", world.describe_views());
        assert!(world.violations().is_empty(), "seed {seed}: {:?}", world.violations());
    }
}
