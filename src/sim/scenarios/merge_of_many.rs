//! A cluster without voters falls into many parts, each of which serves; then all of them see each other at once.
//!
//! Where parts merge two by two, or each coordinator invites the others (JGroups has had many such reports), merges of many
//! parts cross each other, are given up, and begin anew, for minutes. Here all parts are one view soon, with every process alive:
//! who was in the part that the others come over to is not removed, and nobody is taken over twice.

use super::super::check::Guarantee;
use super::super::load::Load;
use super::super::world::World;
use super::stage::{LOAD, nodes};
use super::{Scenario, Settings};
use crate::core::Plant;
use crate::types::millis;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "merge-of-many",
    about: "eight parts that served see each other at once: soon they are one view, and no process has ended",
    seeds: 3,
    shows: &[Plant::ReplayTwice, Plant::LeakCredit],
    hosts: COUNT,
    build: |settings: Settings| World::cluster(settings, COUNT, 0, |_, _| {}),
    play,
};

const COUNT: usize = 16;
const PARTS: usize = 8;

fn play(world: &mut World) {
    world.form(&nodes(COUNT));
    world.load_all(Load { every_us: 200_000, ..LOAD });
    for at_once in [true, false] {
        let mut shuffled = nodes(COUNT);
        let mut random = world.random.fork();
        random.shuffle(&mut shuffled);
        let parts: Vec<&[usize]> = shuffled.chunks(COUNT / PARTS).collect();
        world.split(&parts);
        // Long: who could lead in place of those that are cut off is given up one after the other.
        let apart = world.run_until(millis(75_000), |world| parts.iter().all(|part| world.is_converged_among(part)));
        let text = world.describe_views();
        world.expect(Guarantee::V4, apart, || format!("not every part is a view of its own: {text}"));
        let healed_at = world.now_us();
        if at_once {
            world.mend_all();
        } else {
            // One pair of parts after the other, in an order that the seed draws.
            heal_piecemeal(world, &parts);
        }
        world.expect_together(&nodes(COUNT), millis(20_000));
        let removed: Vec<usize> = nodes(COUNT).iter().map(|node| world.expelled_since(*node, healed_at)).collect();
        // Each time that one comes over it is to a part that comes before its own: not more often than there are others.
        let fine = removed.iter().all(|times| *times < PARTS) && removed.contains(&0);
        world.expect(Guarantee::V4, fine, || format!("times that each came over: {removed:?}"));
        world.run_for(millis(2_000));
    }
    world.finish();
}

fn heal_piecemeal(world: &mut World, parts: &[&[usize]]) {
    let mut pairs: Vec<(usize, usize)> = (0..parts.len()).flat_map(|a| (0..a).map(move |b| (a, b))).collect();
    let mut random = world.random.fork();
    random.shuffle(&mut pairs);
    for (a, b) in pairs {
        world.heal(&[parts[a], parts[b]]);
        world.run_for(millis(random.between(0, 200)));
    }
}
