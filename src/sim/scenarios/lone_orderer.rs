//! Whoever says the order of all messages is cut off, and goes on saying it to itself.
//!
//! With a fixed sequencer, one that does not know yet that it is alone can number messages and deliver them to its own host, while the
//! others settle another order without it. What is *agreed* promises no more than that to those who do not go on together. What is *safe*
//! does: nobody is given it before everybody holds it and its place, so a coordinator that is alone gives its host nothing.

use super::super::check::Guarantee;
use super::super::load::{Levels, Load};
use super::super::world::{Settings, World};
use super::Scenario;
use super::stage::{SOON, nodes, without};
use crate::core::{Event, Plant};
use crate::wire::batch::Level;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "lone-orderer",
    about: "a coordinator that is cut off gives its host nothing that is safe, and the others go on with one order",
    seeds: 4,
    shows: &[Plant::SafeAtOnce, Plant::AgreedAtOnce, Plant::OwnFirstAtTheEnd, Plant::KeepOwnBack],
    hosts: 5,
    build,
    play,
};

fn build(mut settings: Settings) -> World {
    let agreed = if settings.seed.is_multiple_of(2) { 300 } else { 0 };
    settings.levels = Levels { agreed, safe: 600, unreliable: 0 };
    World::cluster(settings, 5, 5, |_, _| {})
}

fn play(world: &mut World) {
    world.load_all(Load { every_us: 5_000, direct: 0, ..Load::STEADY });
    world.form(&nodes(5));
    for _ in 0..4 {
        let coordinator = world.coordinator();
        let others = without(&nodes(5), &[coordinator]);
        world.split(&[&[coordinator], &others]);
        // What was held by all before is given to it for a moment.
        let on_its_way = world.between_ms(20, 40);
        world.run_for(on_its_way);
        let since = world.now_us();
        world.expect_together(&others, SOON);
        let given = world.count_since(
            coordinator,
            since,
            |event| matches!(event, Event::Messages(run) if run.level == Level::Safe),
        );
        world.expect(Guarantee::D4, given == 0, || format!("n{coordinator} is alone and was given {given} safe runs"));
        world.heal(&[&[coordinator], &others]);
        world.expect_together(&nodes(5), SOON);
        let more = world.between_ms(200, 800);
        world.run_for(more);
    }
    world.finish();
}
