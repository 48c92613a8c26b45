//! Everybody hears a member that hears nobody, as behind a firewall rule or a broken receiver.
//!
//! Where silence alone counts as death (heartbeats that are only sent, as in WebLogic's and Tribes' multicast), such a member stays
//! in everybody's view: what is sent to it is lost, and if it coordinates nothing is decided any more. Here a link counts only when both ends
//! hear each other: the deaf one goes, nobody goes in its place, and if it coordinated another one does.

use super::super::check::Guarantee;
use super::super::world::World;
use super::Scenario;
use super::stage::{LOAD, SOON, nodes, voters, without};
use crate::core::Plant;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "deaf-member",
    about: "a member that hears nobody goes, also if it coordinates, and nobody in its place",
    seeds: 3,
    shows: &[Plant::TrustOneWayLink],
    hosts: 5,
    build: voters,
    play,
};

fn play(world: &mut World) {
    world.load_all(LOAD);
    world.form(&nodes(5));
    for round in 0..4 {
        let coordinator = world.coordinator();
        let others = without(&nodes(5), &[coordinator]);
        let deaf = if round % 2 == 0 { others[round] } else { coordinator };
        let rest = without(&nodes(5), &[deaf]);
        let since = world.now_us();
        rest.iter().for_each(|node| world.cut(*node, deaf));
        world.expect_together(&rest, SOON);
        for node in &rest {
            let removed = world.expelled_since(*node, since);
            world.expect(Guarantee::V7, removed == 0, || format!("n{node} was removed, and n{deaf} is deaf"));
        }
        rest.iter().for_each(|node| world.mend(*node, deaf));
        world.expect_together(&nodes(5), SOON);
        let more = world.between_ms(200, 1_500);
        world.run_for(more);
    }
    world.finish();
}
