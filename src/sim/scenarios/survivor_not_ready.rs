//! Members that fetch their state first are not ready for a while; those who would see to it that they become so are lost.
//!
//! Elsewhere a member whose "ready" was on its way to a coordinator that died stayed not ready for good, or the last survivors, none of
//! which was ready, waited for each other. Here whoever's host has said that it is ready is so in the next view, whoever died.

use super::super::check::Guarantee;
use super::super::node::State;
use super::super::world::World;
use super::stage::{LOAD, SOON, nodes, without};
use super::{Scenario, Settings};
use crate::core::{Plant, ReadyPolicy, Setup};
use crate::types::millis;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "survivor-not-ready",
    about: "whoever's host says that it is ready becomes so, though the coordinator dies at that moment",
    seeds: 6,
    shows: &[Plant::CountUnreadyJoiner],
    hosts: 5,
    build,
    play,
};

fn build(settings: Settings) -> World {
    World::cluster(settings, 5, 5, |_, setup: &mut Setup| {
        setup.ready = ReadyPolicy::Host;
        setup.stable_events = true;
    })
}

fn play(world: &mut World) {
    for node in 0..5 {
        world.nodes[node].ready_after_us = Some(millis(100));
    }
    world.load_all(LOAD);
    world.form(&nodes(5));
    for round in 0..4 {
        let coordinator = world.coordinator();
        let joiner = without(&nodes(5), &[coordinator])[round % 4];
        world.crash(joiner);
        world.expect_together(&without(&nodes(5), &[joiner]), SOON);
        // It stands still in the middle, which must hold up nobody; then its word and the coordinator's death cross.
        world.nodes[joiner].ready_after_us = Some(millis(4_000));
        world.start(joiner);
        let dies = millis(4_000) - 5_000 + world.random.between(0, 20_000);
        world.after(dies, move |world| {
            let coordinator = world.coordinator();
            if coordinator != joiner {
                world.crash(coordinator);
            }
        });
        world.run_for(millis(1_500));
        world.pause(joiner);
        world.run_for(millis(1_300));
        world.resume(joiner);
        world.run_for(millis(1_700));
        let living: Vec<usize> = nodes(5).into_iter().filter(|node| world.nodes[*node].state != State::Down).collect();
        world.expect(Guarantee::V5, living.len() == 4, || format!("{living:?} live"));
        world.expect_together(&living, SOON);
        (0..5).for_each(|node| world.start(node));
        world.expect_together(&nodes(5), SOON);
    }
    none_ready(world);
    world.finish();
}

/// All but those that are not ready are lost: with the other voters proven dead, the rest become ready and serve.
fn none_ready(world: &mut World) {
    for node in [3, 4] {
        world.crash(node);
    }
    world.expect_together(&[0, 1, 2], SOON);
    for node in [3, 4] {
        world.nodes[node].ready_after_us = Some(millis(8_000));
        world.start(node);
    }
    let there = world.run_until(SOON, |world| (0..5).all(|n| world.view(n).is_some_and(|view| view.len() == 5)));
    world.expect(Guarantee::V4, there, || "two that are not ready are not in the view".to_owned());
    for node in [0, 1, 2] {
        world.crash(node);
    }
    world.expect_together(&[3, 4], millis(20_000));
    (0..5).for_each(|node| world.start(node));
    world.expect_together(&nodes(5), SOON);
}
