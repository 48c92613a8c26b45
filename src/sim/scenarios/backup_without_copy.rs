//! A cookie lists a backup, and the backup never got its copy.
//!
//! Where the second holder is written down when it is chosen, and not when it has the copy, a failed replication goes unnoticed until the
//! owner dies. Here an answer of OK means that both members that it lists have this very version at this moment, and a change that
//! nobody else could take is answered with UNREPLICATED.

use super::super::check::{Guarantee, holds};
use super::super::world::World;
use super::Scenario;
use super::stage::{SOON, mark, nodes, voters, without};
use crate::core::{Plant, SessionAnswer};
use crate::types::{Code, SessionId, millis};
use crate::wire::session::Role;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "backup-without-copy",
    about: "OK lists two members that both have the version; what only one has is said to be unreplicated",
    seeds: 5,
    shows: &[Plant::AnswerBeforeCopy, Plant::LeaveWithSessions],
    hosts: 4,
    build: voters,
    play,
};

fn play(world: &mut World) {
    world.form(&nodes(4));
    world.invite(3);
    let mut token = 0;
    for round in 0..8 {
        let id = world.make_session(round % 4);
        for _ in 0..4 {
            token += 1;
            change(world, id, token, round);
        }
    }
    alone(world, token);
    world.finish();
}

/// One change while something happens to whoever holds the second copy.
fn change(world: &mut World, id: SessionId, token: u64, round: usize) {
    let (Some(owner), Some(second)) = (world.holder(id, Role::Primary), world.holder(id, Role::Secondary)) else {
        return;
    };
    let at = world.between_ms(0, 3);
    match round % 4 {
        0 => world.after(at, move |world| world.crash(second)),
        1 => world.after(at, move |world| world.pause(second)),
        2 => world.after(at, move |world| world.cut(owner, second)),
        _ => world.after(at, move |world| world.leave(second)),
    }
    let answer = world.request(owner, id, mark(token));
    if let Ok(number) = answer {
        world.run_until(millis(12_000), |world| world.answer(owner, number).is_some());
        let answer = world.answer(owner, number).cloned();
        world.expect(Guarantee::S4, answer.is_some(), || format!("{id:?}: change {token} is not answered"));
        if let Some(answer) = answer {
            expect_true(world, &answer);
        }
    }
    let longer = world.between_ms(0, 2_000);
    world.run_for(longer);
    world.mend_all();
    world.resume(second);
    world.run_until(SOON, |world| world.nodes[second].leaving.is_none());
    world.start(second);
    world.expect_together(&nodes(4), SOON);
    // Both copies are back before the next one is taken away.
    let two = |world: &World| world.holder(id, Role::Primary).is_some() && world.holder(id, Role::Secondary).is_some();
    let restored = world.run_until(SOON, two);
    world.expect(Guarantee::S6, restored, || format!("{id:?} does not get its second copy back"));
}

/// What an answer lists is so at this moment.
fn expect_true(world: &mut World, answer: &SessionAnswer) {
    let SessionAnswer { id, code, version, epoch, holders, .. } = *answer;
    let has = |tag: &crate::types::MemberTag| {
        let node = nodes(4).into_iter().find(|node| world.tag(*node) == Some(*tag));
        node.and_then(|node| world.node(node).member()).is_some_and(|member| holds(member, id, version, epoch))
    };
    let listed = [has(&holders[0]), has(&holders[1])];
    // The second one may have crashed since it said that it has it.
    let gone = nodes(4).iter().any(|node| !world.node(*node).is_running());
    let fine = match code {
        Code::Ok => listed[0] && (listed[1] || gone),
        Code::Unreplicated => listed[0],
        _ => true,
    };
    let text = format!("{id:?} at {version}: {code:?} lists {holders:?}, of which have it: {listed:?}");
    world.expect(Guarantee::S1, fine, || text);
}

/// Nobody else is there: the answer says so, and the second copy comes with the first member that does.
fn alone(world: &mut World, last: u64) {
    let id = world.make_session(0);
    without(&nodes(4), &[0]).into_iter().for_each(|node| world.crash(node));
    world.expect_together(&[0], millis(20_000));
    let code = world.ask_for(0, id, mark(last + 1), SOON).map(|answer| (answer.code, answer.holders[1].is_some()));
    let fine = code == Ok((Code::Unreplicated, false));
    world.expect(Guarantee::S1, fine, || format!("one member alone answers {code:?} for {id:?}"));
    (0..4).for_each(|node| world.start(node));
    world.expect_together(&nodes(4), SOON);
    let code = world.ask_for(0, id, mark(last + 2), SOON).map(|answer| (answer.code, answer.holders[1].is_some()));
    world.expect(Guarantee::S6, code == Ok((Code::Ok, true)), || format!("among four: {code:?} for {id:?}"));
}
