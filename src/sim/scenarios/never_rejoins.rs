//! One member's links come and go, and each time it must find back.
//!
//! In several systems a member that was cut off at an unlucky moment of a merge never came back until somebody restarted it. Here it is
//! in the view again soon after every heal, whatever was cut, for how long, and however soon it was cut again.

use super::super::check::Guarantee;
use super::super::faults::FaultKind;
use super::super::world::World;
use super::Scenario;
use super::stage::{LOAD, SOON, nodes, voters, without};
use crate::core::Plant;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "never-rejoins",
    about: "a member whose links come and go is in the view again soon after each time",
    seeds: 4,
    shows: &[Plant::IgnoreLease, Plant::ForgetBeforeStable, Plant::RelayOverGap],
    hosts: 4,
    build: voters,
    play,
};

fn play(world: &mut World) {
    world.load_all(LOAD);
    world.form(&nodes(4));
    world.invite(3);
    for round in 0..12 {
        let node = if round % 3 == 0 { world.coordinator() } else { round % 4 };
        let since = world.now_us();
        flap(world, node, round);
        world.mend_all();
        world.expect_together(&nodes(4), SOON);
        for other in without(&nodes(4), &[node]) {
            let removed = world.expelled_since(other, since);
            let text = format!("n{other} was removed, though it was n{node} that was cut off");
            world.expect(Guarantee::V7, removed == 0 || round % 3 == 2, || text);
        }
    }
    world.finish();
}

/// Cuts a node off, both ways or one, once or several times in a row.
fn flap(world: &mut World, node: usize, round: usize) {
    let others = without(&nodes(4), &[node]);
    for _ in 0..world.random.between(1, 3) {
        match round % 3 {
            0 | 1 => world.split(&[&[node], &others]),
            _ => {
                world.faults.note(FaultKind::OneWay);
                others.iter().for_each(|other| world.cut(*other, node));
            }
        }
        let apart = world.between_ms(100, 5_000);
        world.run_for(apart);
        world.mend_all();
        let between = world.between_ms(0, 700);
        world.run_for(between);
    }
}
