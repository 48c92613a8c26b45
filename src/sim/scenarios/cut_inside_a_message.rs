//! Views end in the middle of messages that travel in many parts.
//!
//! A message that was half received when its view ended must neither be joined with the parts that its sender sends again in the next one, nor
//! be delivered in the old view at some members and in the new one at others. Here what is incomplete at the cut is dropped
//! everywhere, and its sender sends it whole in the next view.

use super::super::load::Load;
use super::super::world::{Settings, World};
use super::Scenario;
use super::stage::{SOON, nodes, without};
use crate::core::Plant;
use crate::types::millis;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "cut-inside-a-message",
    about: "views end inside of long messages: each arrives whole, once, and in one view",
    seeds: 4,
    shows: &[Plant::GoOnInside],
    hosts: 4,
    build,
    play,
};

/// So narrow that a long message takes many turns.
fn build(mut settings: Settings) -> World {
    settings.send_buffer_bytes = (2_048, 8_192);
    World::cluster(settings, 4, 4, |_, setup| {
        setup.window_bytes = 512 * 1024;
        setup.window_reserved_bytes = 16 * 1024;
    })
}

fn play(world: &mut World) {
    world.load_all(Load { every_us: 40_000, large: 700, large_bytes: 200_000, direct: 0, ..Load::STEADY });
    world.form(&nodes(4));
    for round in 0..6 {
        let gone = if round % 2 == 0 { 3 } else { world.coordinator() };
        let others = without(&nodes(4), &[gone]);
        world.crash(gone);
        world.expect_together(&others, SOON);
        world.run_for(millis(300));
        world.start(gone);
        world.expect_together(&nodes(4), SOON);
        let more = world.between_ms(50, 400);
        world.run_for(more);
    }
    world.finish();
}
