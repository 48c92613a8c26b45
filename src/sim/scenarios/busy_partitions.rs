//! Visitors who come every few milliseconds, wherever they like, many of them two to a session; and one partition after the other.
//!
//! Where sessions change hands hundreds of times a second each cut falls into the middle of something, and the next one into what is
//! left of that. Nobody's process ends, so every change that was answered for must be there in the end.

use super::super::world::World;
use super::Scenario;
use super::stage::{SOON, nodes, voters, without};
use crate::core::Plant;
use crate::types::millis;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "busy-partitions",
    about: "however fast sessions change hands while members are cut off and come back, no change is lost",
    seeds: 3,
    shows: &[Plant::AcknowledgeOutside],
    hosts: 5,
    build: voters,
    play,
};

fn play(world: &mut World) {
    world.form(&nodes(5));
    world.hurry_visitors();
    world.invite(12);
    world.run_for(millis(5_000));
    for _ in 0..6 {
        let minority = draw_minority(world);
        cut_off(world, &minority);
        let heals_soon = world.random.chance(500);
        let cut_for = world.between_ms(0, if heals_soon { 60 } else { 1_500 });
        world.run_for(cut_for);
        world.mend_all();
        world.expect_together(&nodes(5), SOON);
        let cut_soon = world.random.chance(600);
        let whole_for = world.between_ms(0, if cut_soon { 40 } else { 300 });
        world.run_for(whole_for);
    }
    world.finish();
    world.expect_sessions_in_use();
}

/// One of five, or two.
fn draw_minority(world: &mut World) -> Vec<usize> {
    let first = world.random.below(5) as usize;
    let second = (first + 1 + world.random.below(4) as usize) % 5;
    if world.random.chance(250) { vec![first] } else { vec![first, second] }
}

/// Nothing comes from them, or to them, or neither, until the others have gone on without them.
fn cut_off(world: &mut World, minority: &[usize]) {
    let majority = without(&nodes(5), minority);
    let kind = world.random.below(3);
    for (a, b) in minority.iter().flat_map(|a| majority.iter().map(move |b| (*a, *b))) {
        if kind != 1 {
            world.cut(a, b);
        }
        if kind != 2 {
            world.cut(b, a);
        }
    }
    world.expect_together(&majority, SOON);
}
