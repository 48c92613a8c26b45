//! A partition heals, and hosts must not be shown memberships that never were.
//!
//! In corosync (issue #351) members reported differing memberships for a while after a partition had healed. Here the part that kept
//! the majority only grows from the heal on, nobody that was in it goes, and whoever comes over sees all of that part in its
//! first view. That one id stands for one membership everywhere is checked with every view (V1).

use super::super::check::Guarantee;
use super::super::world::World;
use super::Scenario;
use super::stage::{LOAD, SOON, names, nodes, voters, without};
use crate::core::Plant;
use crate::types::millis;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "inconsistent-after-heal",
    about: "after a heal the majority's views only grow, and who comes over sees all of it at once",
    seeds: 4,
    shows: &[Plant::IgnoreLease, Plant::ReplayTwice],
    hosts: 7,
    build: voters,
    play,
};

fn play(world: &mut World) {
    world.load_all(LOAD);
    world.form(&nodes(7));
    world.invite(4);
    for round in 0..4 {
        let coordinator = world.coordinator();
        let others = without(&nodes(7), &[coordinator]);
        // The coordinator alone, with others, or in the majority.
        let minority = match round {
            0 => vec![coordinator],
            1 => vec![coordinator, others[0], others[3]],
            2 => vec![others[1], others[4]],
            _ => vec![others[0], others[2], others[5]],
        };
        part_and_heal(world, &minority);
    }
    world.finish();
}

fn part_and_heal(world: &mut World, minority: &[usize]) {
    let majority = without(&nodes(7), minority);
    world.split(&[minority, &majority]);
    world.expect_together(&majority, SOON);
    let longer = world.between_ms(500, 6_000);
    world.run_for(longer);
    let healed_at = world.now_us();
    world.heal(&[minority, &majority]);
    world.expect_together(&nodes(7), SOON);
    world.run_for(millis(1_000));
    for node in &majority {
        let left: Vec<String> = world
            .views_since(*node, healed_at)
            .iter()
            .flat_map(|change| change.left.iter().map(|member| member.name.as_str().to_owned()))
            .collect();
        world.expect(Guarantee::V4, left.is_empty(), || format!("n{node} loses {left:?} after the heal"));
    }
    for node in minority {
        let views = world.views_since(*node, healed_at);
        let first = views.first().map(|change| names(&change.view)).unwrap_or_default();
        let missing = without(&majority, &[]).into_iter().filter(|other| !first.contains(&format!("n{other}")));
        let missing: Vec<usize> = missing.collect();
        let text = format!("the first view of n{node} after the heal is {first:?}");
        world.expect(Guarantee::V4, missing.is_empty(), || text);
    }
}
