//! One member's clock jumps ahead by thirty seconds while no time passes for anybody.
//!
//! Systems that time their detector by the wall clock removed everybody when it was set. The core knows no wall clock (M2): there is
//! nothing of it to jump. What it is given is a monotonic clock, and one that leaps ahead looks like a pause of the own process: so
//! here nobody is accused or removed, the one that leapt stays, and its lease, which ran out by its clock, is soon renewed.
//!
//! What is not played: a leap at a moment at which a lease of somebody who was cut off runs. Leases rest on clocks that run equally fast.

use super::super::check::Guarantee;
use super::super::world::World;
use super::Scenario;
use super::stage::{LOAD, SOON, nodes, voters};
use crate::core::{Event, Plant};
use crate::types::millis;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "clock-jump",
    about: "a clock that leaps ahead by thirty seconds accuses and removes nobody",
    seeds: 4,
    shows: &[Plant::LeakCredit],
    hosts: 5,
    build: voters,
    play,
};

fn play(world: &mut World) {
    world.load_all(LOAD);
    world.form(&nodes(5));
    world.invite(4);
    let before = world.view(0).expect("it has formed").id;
    let since = world.now_us();
    for node in nodes(5) {
        let at = world.between_ms(500, 3_000);
        world.run_for(at);
        world.leap(node, millis(30_000));
        world.expect_together(&nodes(5), SOON);
    }
    world.run_for(millis(5_000));
    for node in nodes(5) {
        let changed = world.views_since(node, since).len();
        let (now, removed) = (world.view(node).map(|view| view.id), world.expelled_since(node, since));
        let same = now == Some(before) && removed == 0;
        world.expect(Guarantee::V7, same, || format!("n{node} saw {changed} changes and is in {now:?}"));
        let accused = world.count_since(node, since, |event| matches!(event, Event::Suspected { .. }));
        world.expect(Guarantee::V6, accused == 0, || format!("n{node} accuses {accused} others"));
    }
    world.finish();
}
