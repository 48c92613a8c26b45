//! The coordinator leaves, and the view in which it is not any more reaches nobody, or only some.
//!
//! In systems whose coordinator announces its own leave (JGroups among them) the others waited for it, or kept it in their view,
//! when that last message was lost. Here the others notice its silence like anybody's, decide what it had decided, and go on
//! without a hole in what was sent.

use super::super::check::Guarantee;
use super::super::drill::isolate;
use super::super::world::World;
use super::Scenario;
use super::stage::{LOAD, SOON, nodes, voters, without};
use crate::core::Plant;
use crate::types::millis;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "lost-last-view",
    about: "a coordinator leaves and nobody hears of it: the others go on without it, in one view",
    seeds: 6,
    shows: &[Plant::ForgetAcceptedProposal, Plant::DropAtViewEnd],
    hosts: 5,
    build: voters,
    play,
};

fn play(world: &mut World) {
    world.load_all(LOAD);
    world.form(&nodes(5));
    world.invite(3);
    for round in 0..4 {
        let coordinator = world.coordinator();
        let others = without(&nodes(5), &[coordinator]);
        match round % 2 {
            // Whoever installs the next view first, nobody else hears of it from there.
            0 => world.ambush = Some(Box::new(isolate)),
            // The coordinator is cut off from some of the others, somewhere in the middle.
            _ => {
                let at = world.between_ms(0, 15);
                let deaf = others[..round].to_vec();
                world.after(at, move |world| deaf.iter().for_each(|node| world.cut(coordinator, *node)));
            }
        }
        world.leave(coordinator);
        world.expect_gone(coordinator);
        world.ambush = None;
        world.run_for(millis(8_000));
        world.mend_all();
        world.expect_together(&others, SOON);
        world.start(coordinator);
        world.expect_together(&nodes(5), SOON);
    }
    world.finish();
}

impl World {
    /// A member that leaves ends in time, and says whether anybody knows.
    fn expect_gone(&mut self, node: usize) {
        let gone = self.run_until(millis(6_000), |world| !world.node(node).is_running());
        self.expect(Guarantee::V4, gone, || format!("n{node} was told to leave and is still there"));
    }
}
