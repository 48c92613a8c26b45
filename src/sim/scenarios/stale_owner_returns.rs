//! The owner of a session makes changes that nobody else gets, stands still, and comes back with a higher version than the others.
//!
//! Where the higher version wins, the returning owner's changes, for which it answered to nobody, replaced those that the others had
//! answered for meanwhile. Here the epoch decides before the version: what was answered for stays, everybody reads the same, and the
//! owner's hosts were never told OK.

use super::super::check::Guarantee;
use super::super::world::World;
use super::Scenario;
use super::stage::{SOON, mark, nodes, voters, without};
use crate::core::Plant;
use crate::types::{Code, SessionId, millis};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "stale-owner-returns",
    about: "an owner that comes back with a higher version does not replace what others answered for meanwhile",
    seeds: 6,
    shows: &[Plant::IgnoreLease, Plant::AcknowledgeOutside, Plant::AnswerBeforeCopy],
    hosts: 4,
    build: voters,
    play,
};

fn play(world: &mut World) {
    world.form(&nodes(4));
    world.invite(3);
    for owner in nodes(4) {
        come_back(world, owner);
    }
    world.finish();
}

fn come_back(world: &mut World, owner: usize) {
    let others = without(&nodes(4), &[owner]);
    let id = world.make_session(owner);
    let first = world.ask_for(owner, id, mark(1), SOON).map(|answer| answer.code);
    world.expect(Guarantee::S1, first == Ok(Code::Ok), || format!("{id:?} cannot be changed: {first:?}"));
    world.split(&[&[owner], &others]);
    let asked: Vec<u64> = (2..6).filter_map(|token| world.request(owner, id, mark(token)).ok()).collect();
    let before = world.between_ms(0, 900);
    world.run_for(before);
    let version = world.held(owner, id).map_or(0, |(_, version, _)| version);
    world.expect(Guarantee::S4, version > 3, || format!("the owner of {id:?} is at version {version} only"));
    world.pause(owner);
    world.expect_together(&others, SOON);
    let taken = world.ask_for(others[0], id, mark(9), SOON).map(|answer| answer.code);
    world.expect(Guarantee::S5, taken == Ok(Code::Ok), || format!("{id:?} is not taken over: {taken:?}"));
    let longer = world.between_ms(0, 2_000);
    world.run_for(longer);
    if world.random.chance(500) {
        world.resume(owner);
        let apart = world.between_ms(0, 1_500);
        world.run_for(apart);
    }
    world.heal(&[&[owner], &others]);
    world.resume(owner);
    world.expect_together(&nodes(4), SOON);
    let told = asked.iter().filter(|number| world.answer(owner, **number).is_some_and(|a| a.code == Code::Ok)).count();
    world
        .expect(Guarantee::S1, told == 0, || format!("{told} changes of {id:?} that nobody else had were answered OK"));
    expect_same_everywhere(world, id);
}

/// Everybody reads what was answered for, and nothing of what was not.
fn expect_same_everywhere(world: &mut World, id: SessionId) {
    world.run_for(millis(1_000));
    for node in nodes(4) {
        let marks = world.read_marks(node, id, &[1, 2, 3, 4, 5, 9]);
        world.expect(Guarantee::S3, marks == Ok(vec![1, 9]), || format!("n{node} reads {marks:?} in {id:?}"));
    }
}
