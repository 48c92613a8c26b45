//! One member of twenty-one stands still for a minute, and comes back with an old clock and a full inbox.
//!
//! Elsewhere one pause of sixty seconds (a collection of garbage, a migrated machine) cut off twenty others: the one that came back
//! found that it had heard nobody for a minute, suspected all of them, and as a leader was believed. Here it alone is removed, it
//! accuses nobody, and the others see two changes of the view in all: without it, and with it again.

use super::super::check::Guarantee;
use super::super::load::Load;
use super::super::world::World;
use super::Scenario;
use super::stage::{SOON, nodes, voters, without};
use crate::core::{Event, Plant};
use crate::types::millis;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "long-pause",
    about: "one of twenty-one stands still for a minute: it alone is removed, and accuses nobody when it is back",
    seeds: 2,
    shows: &[Plant::IgnoreLease],
    hosts: COUNT,
    build: voters,
    play,
};

const COUNT: usize = 21;

fn play(world: &mut World) {
    world.load_all(Load { every_us: 500_000, large: 0, ..Load::STEADY });
    world.form(&nodes(COUNT));
    let victim = if world.settings.seed.is_multiple_of(2) { world.coordinator() } else { leader(world) };
    let others = without(&nodes(COUNT), &[victim]);
    let paused_at = world.now_us();
    world.pause(victim);
    world.expect_together(&others, SOON);
    world.run_for(millis(60_000).saturating_sub(world.now_us() - paused_at));
    world.expect_together(&others, 0);
    let resumed_at = world.now_us();
    world.resume(victim);
    world.expect_together(&nodes(COUNT), SOON);
    world.run_for(millis(5_000));
    for node in others {
        let views = world.views_since(node, paused_at).len();
        world.expect(Guarantee::V7, views == 2, || format!("n{node} saw {views} changes of the view"));
        let removed = world.expelled_since(node, paused_at);
        world.expect(Guarantee::V7, removed == 0, || format!("n{node} was removed"));
    }
    let accused = world.count_since(victim, resumed_at, |event| matches!(event, Event::Suspected { .. }));
    world.expect(Guarantee::V6, accused == 0, || format!("n{victim} accuses {accused} others"));
    world.finish();
}

/// A leader that is not the coordinator.
fn leader(world: &World) -> usize {
    let coordinator = world.coordinator();
    let leads = |node: &usize| {
        let (view, me) = world.node(*node).member().and_then(|member| member.view()).expect("it has a view");
        view.is_leader(me) && *node != coordinator
    };
    nodes(COUNT).into_iter().find(leads).expect("twenty-one members have several groups")
}
