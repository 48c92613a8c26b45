//! A session changes hands, and with it its epoch, while a change is on its way to the second copy; and somebody dies meanwhile.
//!
//! Where a session's identity changes at its hand-over, a change under way was applied to the old one, twice, or to nothing. Here each
//! change is made once: repeated with its token until it is answered for, the version counts exactly the changes, and all are there.

use super::super::check::Guarantee;
use super::super::network::Conditions;
use super::super::world::World;
use super::Scenario;
use super::stage::{SOON, mark, nodes, voters, without};
use crate::core::Plant;
use crate::types::{Code, SessionId, millis};
use crate::wire::session::Role;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "hand-over-in-flight",
    about: "changes under way while a session changes hands are made once each, whoever dies",
    seeds: 6,
    shows: &[
        Plant::ForgetTokens,
        Plant::CopyWithoutTokens,
        Plant::SkipRelease,
        Plant::SkipAdoption,
        Plant::TakeBackUnasked,
    ],
    hosts: 5,
    build: voters,
    play,
};

/// How often a host repeats what it does not know to be done.
const TRIES: usize = 30;

fn play(world: &mut World) {
    world.form(&nodes(5));
    world.invite(4);
    for round in 0..8 {
        let owner = world.random.below(5) as usize;
        let id = world.make_session(owner);
        let second = world.holder(id, Role::Secondary).unwrap_or(owner);
        slow(world, owner, second, 30_000);
        let others = without(&nodes(5), &[owner, second]);
        let asked = [(1, owner), (2, others[0]), (3, second), (4, owner), (5, others[1])];
        let victim = [owner, second, others[0], usize::MAX][round % 4];
        let dies = world.between_ms(0, 150);
        if victim != usize::MAX {
            world.after(dies, move |world| world.crash(victim));
        }
        let mut pending = Vec::new();
        for (token, node) in asked {
            pending.push((token, node, world.request(node, id, mark(token))));
            let pause = world.between_ms(0, 40);
            world.run_for(pause);
        }
        world.run_for(millis(200));
        slow(world, owner, second, Conditions::LAN.latency_us);
        let open = still_open(world, &pending);
        repeat(world, id, open);
        expect_each_once(world, id, asked.len() as u64);
        (0..5).for_each(|node| world.start(node));
        world.expect_together(&nodes(5), SOON);
    }
    world.finish();
}

fn slow(world: &mut World, a: usize, b: usize, latency_us: u64) {
    for (from, to) in [(a, b), (b, a)] {
        world.set_conditions(from, to, Conditions { latency_us, ..Conditions::LAN });
    }
}

/// Changes for which there was no final answer in time.
fn still_open(world: &mut World, pending: &[(u64, usize, Result<u64, Code>)]) -> Vec<u64> {
    let answered = |world: &World, node: usize, number: u64| {
        !world.node(node).is_running() || world.answer(node, number).is_some()
    };
    let all = |world: &World| {
        pending.iter().all(|(_, node, number)| number.as_ref().is_err() || answered(world, *node, number.unwrap()))
    };
    world.run_until(millis(12_000), all);
    let done = |(_, node, number): &&(u64, usize, Result<u64, Code>)| {
        let code = number.ok().and_then(|number| world.answer(*node, number)).map(|answer| answer.code);
        !matches!(code, Some(Code::Ok | Code::Unreplicated))
    };
    pending.iter().filter(done).map(|(token, ..)| *token).collect()
}

/// Hosts repeat a change with its token, wherever somebody lives, until it is answered for.
fn repeat(world: &mut World, id: SessionId, tokens: Vec<u64>) {
    for token in tokens {
        let mut last = None;
        for _ in 0..TRIES {
            let running: Vec<usize> = nodes(5).into_iter().filter(|node| world.node(*node).is_running()).collect();
            let node = *world.random.pick(&running);
            let answer = world.ask_for(node, id, mark(token), millis(11_000)).map(|answer| answer.code);
            last = Some((node, answer));
            if matches!(answer, Ok(Code::Ok | Code::Unreplicated)) {
                break;
            }
            world.run_for(millis(300));
        }
        let done = matches!(last, Some((_, Ok(Code::Ok | Code::Unreplicated))));
        world.expect(Guarantee::S4, done, || format!("{id:?}: change {token} is never made; last {last:?}"));
    }
}

/// All changes are there, and the version counts each of them once.
fn expect_each_once(world: &mut World, id: SessionId, changes: u64) {
    let marks: Vec<u64> = (1..=changes).collect();
    let running: Vec<usize> = nodes(5).into_iter().filter(|node| world.node(*node).is_running()).collect();
    for node in running {
        let read = world.read_marks(node, id, &marks);
        world.expect(Guarantee::S1, read.as_ref() == Ok(&marks), || format!("n{node} reads {read:?} in {id:?}"));
        let version = world.held(node, id).map(|(_, version, _)| version);
        let once = version == Some(1 + changes);
        world.expect(Guarantee::S4, once, || format!("{id:?} is at {version:?} after {changes} changes"));
    }
}
