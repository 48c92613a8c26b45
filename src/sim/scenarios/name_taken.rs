//! A configuration is copied to another machine, and the name in it is forgotten.
//!
//! Where a name stands for a member (WebLogic's servers, Akka's and Hazelcast's fixed addresses), two processes of one name can push each
//! other out in turns, or both stay in and answer for each other. Here the second one, at another address, is refused as long as the
//! first one lives; the first one notices nothing. When the first one is dead the name is free.

use super::super::check::Guarantee;
use super::super::world::{Settings, World};
use super::Scenario;
use super::stage::{LOAD, SOON, nodes};
use crate::core::{Ended, Plant};
use crate::types::millis;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "name-taken",
    about: "a second process of a name is refused while the first one lives, which goes on undisturbed",
    seeds: 3,
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
    world.form(&nodes(4));
    let since = world.now_us();
    let twin = 1 + world.between_ms(0, 2) as usize / 1_000;
    let second = world.twin_of(twin, 5);
    world.start(second);
    let refused = world.run_until(millis(20_000), |world| !world.node(second).is_running());
    let how = world.node(second).ended().cloned();
    world.expect(Guarantee::V2, refused && matches!(how, Some(Ended::Refused(_))), || {
        format!("the second n{twin} ended: {refused}, {how:?}")
    });
    for node in nodes(4) {
        let removed = world.expelled_since(node, since);
        world.expect(Guarantee::V7, removed == 0, || format!("n{node} was removed because of the second n{twin}"));
    }
    world.expect_together(&nodes(4), SOON);
    world.crash(twin);
    world.start(second);
    let three: Vec<usize> = nodes(4).into_iter().filter(|node| *node != twin).chain([second]).collect();
    world.expect_together(&three, SOON);
    world.finish();
}
