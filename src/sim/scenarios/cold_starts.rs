//! All members of a cluster start at the same moment: the power is back.
//!
//! Where a starter that hears nobody in time makes a cluster of its own, one in some hundred simultaneous starts ends in two
//! clusters that never find each other. Here all are in one view in the end, whatever the order; with voters there is never a second
//! beginning: one first view, and never two that are primary.

use super::super::check::Guarantee;
use super::super::network::Conditions;
use super::super::random::Random;
use super::super::world::World;
use super::stage::SOON;
use super::{Scenario, Settings};
use crate::core::{Event, Plant};
use crate::types::{Micros, ViewId, millis};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "cold-starts",
    about: "two hundred times all start at once: one view in the end, and with voters one beginning",
    seeds: 200,
    shows: &[Plant::ReplayTwice],
    hosts: 7,
    build,
    play,
};

/// Longest time between the first start and the last.
const SPREADS: [Micros; 4] = [0, 2_000, 50_000, 700_000];

fn build(mut settings: Settings) -> World {
    let mut random = Random::new(settings.seed ^ 0xc01d);
    let count = random.between(2, 7) as usize;
    let voters = *random.pick(&[count, count, 3.min(count), 0]);
    settings.conditions.loss = *random.pick(&[0, 0, 50, 200]);
    settings.conditions.jitter_us = *random.pick(&[0, 100, 5_000]);
    World::cluster(settings, count, voters, |_, _| {})
}

fn play(world: &mut World) {
    let spread = world.random.below(4) as usize;
    for node in 0..world.nodes.len() {
        let at = world.random.between(0, SPREADS[spread]);
        world.after(at, move |world| world.start(node));
    }
    world.run_for(SPREADS[spread]);
    // While packets are lost, some may try for long; what must not be is two that never find each other.
    world.run_until(millis(15_000), World::is_converged);
    world.set_all_conditions(Conditions::LAN);
    world.converge(SOON);
    expect_one_beginning(world);
}

/// Of the fenced views with the least number in which somebody acted as primary there is one. Who found that nobody else runs yet may
/// have made a view before, alone, in which it never acted.
fn expect_one_beginning(world: &mut World) {
    let acted_in = |(_, event): &(u64, Event)| match event {
        Event::Primary { view, primary: true } => Some(*view),
        _ => None,
    };
    let fenced = !world.nodes[0].setup.voters.is_empty();
    let acted: Vec<ViewId> = world.nodes.iter().flat_map(|slot| slot.seen.iter().filter_map(acted_in)).collect();
    let least = acted.iter().map(|id| id.number).min();
    let mut first: Vec<ViewId> = acted.into_iter().filter(|id| fenced && Some(id.number) == least).collect();
    first.sort_unstable();
    first.dedup();
    world.expect(Guarantee::V1, first.len() == usize::from(fenced), || {
        format!("there are several beginnings: {first:?}")
    });
}
