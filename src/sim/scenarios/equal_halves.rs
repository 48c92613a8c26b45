//! A cluster with an even number of voters is cut into two equal halves.
//!
//! Where half of the votes is enough, or each side counts those it has lost as gone, both halves go on and each is the cluster (two-node clusters
//! without a third vote are the classic case). Here neither half acts: half is no majority. Both serve again, together, when the cut is healed.

use super::super::check::Guarantee;
use super::super::world::World;
use super::Scenario;
use super::stage::{LOAD, SOON, nodes, voters};
use crate::core::Plant;
use crate::types::millis;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "equal-halves",
    about: "of two equal halves neither acts as primary while they are apart",
    seeds: 2,
    shows: &[Plant::HalfDecides],
    hosts: 4,
    build: voters,
    play,
};

fn play(world: &mut World) {
    world.load_all(LOAD);
    world.form(&nodes(4));
    world.invite(2);
    for _ in 0..2 {
        world.split(&[&[0, 1], &[2, 3]]);
        world.run_for(millis(5_000));
        let acting = nodes(4).into_iter().filter(|node| {
            let slot = world.node(*node);
            slot.member().is_some_and(|member| member.is_primary(slot.clock(world.now)))
        });
        let acting: Vec<usize> = acting.collect();
        world.expect(Guarantee::V3, acting.is_empty(), || format!("{acting:?} act, and half is no majority"));
        world.heal(&[&[0, 1], &[2, 3]]);
        world.expect_together(&nodes(4), SOON);
        let more = world.between_ms(200, 1_500);
        world.run_for(more);
    }
    world.finish();
}
