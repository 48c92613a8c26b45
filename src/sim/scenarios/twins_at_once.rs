//! Two machines are set up from one image, name and all, and switched on together.
//!
//! Neither finds a member of its name, so a look at the members alone lets both in: two that answer to one name for as long as both live.
//! Here one of them is taken, and the other one is refused like any later one, whether a cluster is there already or is just being formed.

use super::super::check::Guarantee;
use super::super::world::{Settings, World};
use super::Scenario;
use super::stage::{LOAD, SOON, nodes};
use crate::core::{Ended, Plant};
use crate::types::millis;

/// Whose name the other one has.
const TWIN: usize = 3;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "twins-at-once",
    about: "of two processes of one name that start together one is taken and the other one refused, and nobody else notices",
    seeds: 6,
    shows: &[Plant::TakeAnyName],
    hosts: 6,
    build,
    play,
};

fn build(settings: Settings) -> World {
    World::cluster(settings, 4, 4, |_, _| {})
}

fn play(world: &mut World) {
    world.load_all(LOAD);
    let twins = [TWIN, world.twin_of(TWIN, 5)];
    let is_there_before = world.between_ms(0, 2) < millis(1);
    if is_there_before {
        world.form(&nodes(3));
    } else {
        nodes(3).into_iter().for_each(|node| world.start(node));
    }
    let since = world.now_us();
    twins.into_iter().for_each(|twin| world.start(twin));
    let refused = |world: &World| twins.into_iter().find(|twin| !world.node(*twin).is_running());
    world.run_until(millis(20_000), |world| refused(world).is_some());
    let out = refused(world);
    let how = out.and_then(|twin| world.node(twin).ended().cloned());
    world.expect(Guarantee::V2, matches!(how, Some(Ended::Refused(_))), || format!("{out:?} ended: {how:?}"));
    let rest: Vec<usize> = nodes(3).into_iter().chain(twins).filter(|node| Some(*node) != out).collect();
    for node in &rest {
        let removed = world.expelled_since(*node, since);
        world.expect(Guarantee::V7, removed == 0, || format!("n{node} was removed because of the twins"));
    }
    world.expect_together(&rest, SOON);
    world.finish();
}
