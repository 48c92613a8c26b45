//! A partition, and users of one session on both sides of it.
//!
//! Session managers that promote a backup whenever its primary is silent let both halves own one session: each answered for changes,
//! and the heal threw some of them away. Here the minority answers no more once its lease is over, the majority goes on if it has
//! a copy and says that the holders are unreachable if it has none, and after the heal every change that was answered for is there.

use super::super::check::Guarantee;
use super::super::world::World;
use super::Scenario;
use super::stage::{SOON, mark, nodes, voters, without};
use crate::core::Plant;
use crate::types::{Code, SessionId, millis};
use crate::wire::session::Role;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "both-halves-own",
    about: "of two halves only one answers for a session, nothing answered is lost, and nobody says that it is gone",
    seeds: 5,
    shows: &[Plant::AcknowledgeOutside, Plant::NewInsteadOfUnreachable],
    hosts: 5,
    build: voters,
    play,
};

fn play(world: &mut World) {
    world.form(&nodes(5));
    world.invite(4);
    for round in 0..4 {
        let owner = world.random.below(5) as usize;
        let id = world.make_session(owner);
        let Some(second) = world.holder(id, Role::Secondary) else { continue };
        let rest = without(&nodes(5), &[owner, second]);
        // Both copies are in the minority, or one is on either side.
        let minority = if round % 2 == 0 { vec![owner, second] } else { vec![owner, rest[0]] };
        use_in_both(world, id, &minority);
    }
    world.finish();
}

fn use_in_both(world: &mut World, id: SessionId, minority: &[usize]) {
    let majority = without(&nodes(5), minority);
    let split_at = world.now_us();
    world.split(&[minority, &majority]);
    let mut asked: Vec<(u64, usize, u64)> = Vec::new();
    for token in 1..30 {
        let side = if token % 2 == 0 { minority } else { &majority };
        let node = *world.random.pick(side);
        if let Ok(number) = world.request(node, id, mark(token)) {
            asked.push((token, node, number));
        }
        let pause = world.between_ms(50, 450);
        world.run_for(pause);
    }
    world.run_for(millis(500));
    expect_one_side(world, id, minority, split_at, &asked);
    world.heal(&[minority, &majority]);
    world.expect_together(&nodes(5), SOON);
    world.run_for(millis(12_000));
    let done: Vec<u64> = asked.iter().filter(|(_, node, number)| is_ok(world, *node, *number)).map(|a| a.0).collect();
    for node in nodes(5) {
        let marks = world.read_marks(node, id, &done);
        let whole = marks.as_ref() == Ok(&done);
        world.expect(Guarantee::S1, whole, || format!("{id:?}: {done:?} were answered OK, n{node} reads {marks:?}"));
    }
}

fn is_ok(world: &World, node: usize, number: u64) -> bool {
    world.answer(node, number).is_some_and(|answer| answer.code == Code::Ok)
}

/// No answer of the minority after its lease; none of the majority says that there is no such session.
fn expect_one_side(world: &mut World, id: SessionId, minority: &[usize], split_at: u64, asked: &[(u64, usize, u64)]) {
    let lease = world.nodes[0].setup.lease;
    let seen: Vec<(usize, u64, Code)> = (0..5)
        .flat_map(|node| world.nodes[node].seen.iter().map(move |(at, event)| (node, *at, event)))
        .filter_map(|(node, at, event)| match event {
            crate::core::Event::Session(answer) if asked.iter().any(|a| a.2 == answer.number) => {
                Some((node, at, answer.code))
            }
            _ => None,
        })
        .collect();
    let late = seen
        .iter()
        .find(|(node, at, code)| *code == Code::Ok && minority.contains(node) && *at > split_at + lease + millis(100));
    let late = late.copied();
    world.expect(Guarantee::S5, late.is_none(), || format!("{id:?}: the minority still answers OK: {late:?}"));
    let denied = seen.iter().find(|(.., code)| *code == Code::NoSuchSession).copied();
    world.expect(Guarantee::S5, denied.is_none(), || format!("{id:?} is said not to exist: {denied:?}"));
}
