//! Processes are stopped and continued (SIGSTOP, SIGCONT), as a debugger, a snapshot or a full host does it.
//!
//! In corosync (issue #663) a process that was stopped and continued could go on with a membership that the others had left
//! behind, and the sides did not agree on who was there. Here whoever was stopped for longer than the bearable silence is removed,
//! acts as primary no more when it continues, is told, and comes back as a new member; nobody else is accused or removed.

use super::super::check::Guarantee;
use super::super::world::World;
use super::Scenario;
use super::stage::{LOAD, SOON, nodes, voters, without};
use crate::core::Plant;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "stop-and-continue",
    about: "who is stopped and continued is told that it was removed and comes back as new; nobody else goes",
    seeds: 4,
    shows: &[Plant::IgnoreLease, Plant::ForgetBeforeStable],
    hosts: 5,
    build: voters,
    play,
};

fn play(world: &mut World) {
    world.load_all(LOAD);
    world.form(&nodes(5));
    world.invite(3);
    for round in 0..4 {
        // The coordinator first, then two at once, which leaves a bare majority.
        let coordinator = world.coordinator();
        let others = without(&nodes(5), &[coordinator]);
        let stopped = match round % 2 {
            0 => vec![coordinator],
            _ => vec![others[round % 4], others[(round + 1) % 4]],
        };
        stop(world, &stopped);
    }
    world.finish();
}

fn stop(world: &mut World, stopped: &[usize]) {
    let since = world.now_us();
    let rest = without(&nodes(5), stopped);
    for node in stopped {
        world.pause(*node);
        // Not all at the same moment.
        let apart = world.between_ms(0, 30);
        world.run_for(apart);
    }
    world.expect_together(&rest, SOON);
    let longer = world.between_ms(0, 4_000);
    world.run_for(longer);
    for node in stopped {
        world.resume(*node);
        let apart = world.between_ms(0, 30);
        world.run_for(apart);
    }
    world.expect_together(&nodes(5), SOON);
    for node in stopped {
        let told = world.expelled_since(*node, since);
        world.expect(Guarantee::V6, told == 1, || format!("n{node} was stopped, and was told {told} times"));
    }
    for node in rest {
        let removed = world.expelled_since(node, since);
        world.expect(Guarantee::V7, removed == 0, || format!("n{node} ran all the time and was removed"));
    }
}
