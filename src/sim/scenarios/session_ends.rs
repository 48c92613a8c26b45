//! Sessions end: by a host, or because nobody used them; and not before, and not at one member only.
//!
//! Where the two copies of a session end by themselves (Hazelcast's backups once did, as do caches with a clock of their own at each holder), one
//! comes back from the copy that was forgotten, or is gone while somebody uses it elsewhere. Here the owner alone ends a session, at both
//! holders; a use anywhere counts; and what was removed is found nowhere, also after its owner's death.

use super::super::check::Guarantee;
use super::super::world::World;
use super::Scenario;
use super::stage::{LOAD, SOON, nodes, voters, without};
use crate::core::{Plant, SessionOp};
use crate::types::{Code, SessionId, millis};
use crate::wire::session::{Attributes, Role};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "session-ends",
    about: "a session ends when it is removed or was not used for its time, at both holders, and not before",
    seeds: 3,
    shows: &[Plant::EndHalf, Plant::ExpireEarly],
    hosts: 4,
    build: voters,
    play,
};

/// After so many seconds without a use it ends; and so late at most, since all are looked at in rounds.
const TTL_S: u32 = 15;
const LATE_S: u64 = 12;

fn play(world: &mut World) {
    world.load_all(LOAD);
    world.form(&nodes(4));
    let owner = world.between_ms(0, 3) as usize / 1_000;
    let [used, unused] = [0; 2].map(|_| make(world, owner, TTL_S));
    let removed = make(world, owner, 0);
    let somebody = without(&nodes(4), &[owner])[1];
    let answer = world.ask_for(somebody, removed, SessionOp::Remove, SOON).map(|answer| answer.code);
    world.expect(Guarantee::S4, answer == Ok(Code::Ok), || format!("removing a session: {answer:?}"));
    let left = nodes(4).into_iter().filter(|node| world.held(*node, removed).is_some()).count();
    world.expect(Guarantee::S5, left == 0, || format!("{left} members still hold a session that was removed"));
    // Used at one member after the other.
    for second in (3..u64::from(TTL_S) - 1).step_by(4) {
        world.run_for(millis(4_000));
        let there = nodes(4).into_iter().any(|node| world.held(node, unused).is_some());
        world.expect(Guarantee::S5, there, || format!("a session of {TTL_S} s is gone after {second} s"));
        let touched = world.ask_for((second as usize) % 4, used, SessionOp::Touch, SOON).map(|answer| answer.code);
        world.expect(Guarantee::S5, touched == Ok(Code::Ok), || format!("a session in use: {touched:?}"));
    }
    let gone = |world: &World, id| nodes(4).into_iter().all(|node| world.held(node, id).is_none());
    let ended = world.run_until(millis(1_000 * (LATE_S + 4)), |world| gone(world, unused));
    world.expect(Guarantee::S6, ended, || "a session that nobody used is still there".to_owned());
    world.expect(Guarantee::S5, !gone(world, used), || "a session in use has ended with it".to_owned());
    // Nobody brings back what was removed.
    let owner = world.holder(used, Role::Primary).unwrap_or(0);
    world.crash(owner);
    let rest = without(&nodes(4), &[owner]);
    world.expect_together(&rest, SOON);
    let read = world.ask_for(rest[0], used, SessionOp::Read, SOON).map(|answer| answer.code);
    world.expect(Guarantee::S1, read == Ok(Code::Ok), || format!("what was in use is read with {read:?}"));
    // Who knows of it is dead: nobody can say that it was removed, and nobody says that it is there.
    let read = world.ask_for(rest[0], removed, SessionOp::Read, SOON).map(|answer| answer.code);
    let gone = matches!(read, Ok(Code::NoSuchSession | Code::HoldersUnreachable));
    world.expect(Guarantee::S5, gone, || format!("what was removed is read with {read:?}"));
    world.finish();
}

fn make(world: &mut World, owner: usize, ttl_s: u32) -> SessionId {
    let attributes = Attributes::new([("made", &b"yes"[..])]);
    let id = SessionId(world.random.wide());
    let made = world.ask_for(owner, id, SessionOp::Create { ttl_s, attributes }, SOON).map(|answer| answer.code);
    world.expect(Guarantee::S1, made == Ok(Code::Ok), || format!("{id:?} cannot be made at n{owner}: {made:?}"));
    id
}
