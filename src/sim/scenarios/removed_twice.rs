//! Both holders of a session are cut off and come back; one of them makes its copy the session again; and before the other one has
//! looked, whoever has the session by then is cut off in turn.
//!
//! Of the copy that is left it is true that all who had one left no later than its holder. Where that was taken for proof that
//! nobody has gone on, acknowledged changes were lost, once in some sixty runs of `process_network_partitions`. Here the session is
//! out of reach until its holders are back, and then all changes are there.

use super::super::check::Guarantee;
use super::super::world::World;
use super::Scenario;
use super::stage::{SOON, mark, nodes, voters, without};
use crate::core::Plant;
use crate::types::{Code, Epoch, SessionId, millis};
use crate::wire::session::Role;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "removed-twice",
    about: "a copy that was left behind when others went on is not used, also while they are away",
    seeds: 5,
    shows: &[Plant::TrustDepartures],
    hosts: 5,
    build: voters,
    play,
};

fn play(world: &mut World) {
    world.form(&nodes(5));
    for _ in 0..6 {
        let owner = world.random.below(5) as usize;
        let id = world.make_session(owner);
        let (Some(second), Some((.., epoch))) = (world.holder(id, Role::Secondary), world.held(owner, id)) else {
            continue;
        };
        cut_off(world, &[owner, second]);
        world.mend_all();
        if let Some(behind) = await_left_behind(world, id, epoch) {
            go_on_and_be_cut_off(world, id, behind);
        }
        world.mend_all();
        world.expect_together(&nodes(5), SOON);
        world.run_for(millis(2_000));
    }
    world.finish();
    world.expect_sessions_in_use();
}

/// The others go on without these.
fn cut_off(world: &mut World, minority: &[usize]) {
    let majority = without(&nodes(5), minority);
    world.split(&[minority, &majority]);
    world.expect_together(&majority, SOON);
}

/// Waits until a session is in use in a later epoch; who still has a copy of another life then, if somebody does.
fn await_left_behind(world: &mut World, id: SessionId, before: Epoch) -> Option<usize> {
    let in_use = |world: &World| {
        let owner = world.holder(id, Role::Primary);
        owner.and_then(|owner| world.held(owner, id)).is_some_and(|(.., epoch)| epoch > before)
    };
    world.run_until(SOON, in_use);
    world.holder(id, Role::Orphan)
}

/// Somebody else changes the session. Then its holders are cut off, and the others asked for it.
fn go_on_and_be_cut_off(world: &mut World, id: SessionId, behind: usize) {
    let node = *world.random.pick(&without(&nodes(5), &[behind]));
    let done = world.ask_for(node, id, mark(1), SOON).map(|answer| answer.code) == Ok(Code::Ok);
    let (owner, second) = (world.holder(id, Role::Primary), world.holder(id, Role::Secondary));
    let left = world.holder(id, Role::Orphan) == Some(behind);
    let (true, true, Some(owner), Some(second)) = (done, left, owner, second) else { return };
    cut_off(world, &[owner, second]);
    world.run_for(millis(1_500));
    for node in without(&nodes(5), &[owner, second]) {
        let read = world.read_marks(node, id, &[1]);
        let away = read == Err(Code::HoldersUnreachable);
        world.expect(Guarantee::S1, away, || format!("n{owner} and n{second} have {id:?}, n{node} reads {read:?}"));
    }
    world.mend_all();
    world.expect_together(&nodes(5), SOON);
    world.run_for(millis(2_000));
    for node in nodes(5) {
        let read = world.read_marks(node, id, &[1]);
        world.expect(Guarantee::S1, read == Ok(vec![1]), || format!("n{node} reads {read:?} in {id:?}"));
    }
}
