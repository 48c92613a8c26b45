//! A member joins, and dies while the others take it in.
//!
//! In corosync (pull request #828) what a process had said of itself outlived it when it died in the round that took it in: a dead
//! member stayed in the group for good, and all who waited for its state hung. Here a member that dies at any moment of its join
//! leaves nothing behind: soon the others are in a view without it, and what they send becomes stable.

use super::super::check::Guarantee;
use super::super::faults::FaultKind;
use super::super::world::World;
use super::Scenario;
use super::stage::{LOAD, SOON, nodes, without};
use crate::core::{Event, Plant, Setup};
use crate::types::{Code, millis};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "death-during-join",
    about: "a member that dies while it is taken in is in no view any more, and holds up nobody",
    seeds: 4,
    shows: &[Plant::KeepIdentityAfterRestart],
    hosts: 6,
    build,
    play,
};

const JOINER: usize = 5;

fn build(settings: super::Settings) -> World {
    World::cluster(settings, 6, 3, |_, setup: &mut Setup| setup.stable_events = true)
}

fn play(world: &mut World) {
    let others = nodes(5);
    world.form(&others);
    for round in 0..10 {
        world.faults.note(FaultKind::Join);
        if round % 2 == 0 {
            // At the moment at which the first of them has it in its view.
            world.ambush = Some(Box::new(|world, _| world.crash(JOINER)));
            world.start(JOINER);
        } else {
            world.start(JOINER);
            let soon = world.between_ms(0, 25);
            world.run_for(soon);
            world.crash(JOINER);
        }
        let gone = world.run_until(SOON, |world| {
            !world.node(JOINER).is_running() && world.ambush.is_none() && world.is_converged_among(&others)
        });
        let text = world.describe_views();
        world.expect(Guarantee::V4, gone, || format!("round {round}: the joiner is dead, and: {text}"));
        expect_stable(world, &others);
        // Sometimes it is there again before the others have noticed; its load then finds the same name anew.
        let pause = world.between_ms(0, 2_000);
        world.run_for(pause);
    }
    world.load_all(LOAD);
    world.start(JOINER);
    world.expect_together(&nodes(6), SOON);
    world.finish();
}

/// What each of `senders` sends is soon held by all.
fn expect_stable(world: &mut World, senders: &[usize]) {
    let since = world.now_us();
    for node in without(senders, &[]) {
        let code = world.send(node, None, 100);
        world.expect(Guarantee::D7, code == Code::Ok, || format!("n{node} cannot send: {code:?}"));
    }
    let told = |world: &World, node| world.count_since(node, since, |event| matches!(event, Event::Stable { .. })) > 0;
    let all = world.run_until(millis(3_000), |world| senders.iter().all(|node| told(world, *node)));
    let behind: Vec<usize> = senders.iter().copied().filter(|node| !told(world, *node)).collect();
    world.expect(Guarantee::V5, all, || format!("what {behind:?} sent does not become stable"));
}
