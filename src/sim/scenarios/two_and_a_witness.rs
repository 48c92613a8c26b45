//! Two members and a witness: whichever member is lost, the other goes on.
//!
//! Two members alone cannot tell a dead partner from a cut between them: systems that let both go on anyway had two primaries, and those
//! that let neither stood still. A third vote settles it. It need not carry anything: it takes no messages, holds no copy, leads nobody,
//! and with it alone nothing is served.

use super::super::check::Guarantee;
use super::super::world::{Settings, World};
use super::Scenario;
use super::stage::{LOAD, SOON, create, mark, nodes, without};
use crate::core::Plant;
use crate::types::{Code, SessionId, millis};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "two-and-a-witness",
    about: "of two members and a witness either member goes on alone, fenced, and the witness carries nothing",
    seeds: 6,
    shows: &[Plant::IgnoreLease, Plant::CountWitness, Plant::CarryToWitness, Plant::CopyToWitness],
    hosts: 3,
    build,
    play,
};

/// Any of the three is the witness, also the one whose name would make it the most senior.
fn witness(seed: u64) -> usize {
    (seed % 3) as usize
}

fn build(settings: Settings) -> World {
    let witness = witness(settings.seed);
    World::cluster(settings, 3, 3, |node, setup| {
        setup.witness = node == witness;
        setup.stable_events = true;
    })
}

fn play(world: &mut World) {
    let witness = witness(world.settings.seed);
    let members = without(&nodes(3), &[witness]);
    world.load_all(LOAD);
    world.form(&nodes(3));
    world.invite(3);
    expect_witness(world, witness, members[0]);
    for round in 0..6 {
        let (gone, stays) = (members[round % 2], members[(round + 1) % 2]);
        let id = world.make_session(gone);
        lose(world, gone, round);
        world.expect_together(&without(&nodes(3), &[gone]), SOON);
        expect_service(world, stays, id);
        come_back(world, gone);
    }
    // Without the witness the two have the majority.
    lose(world, witness, 0);
    world.expect_together(&members, SOON);
    come_back(world, witness);
    expect_nothing_of_witness_alone(world, witness, &members);
    world.finish();
}

/// A member dies with its host, dies while its host lives, or is cut off.
fn lose(world: &mut World, node: usize, how: usize) {
    match how % 3 {
        0 => world.power_off(node),
        1 => world.crash(node),
        _ => world.split(&[&[node], &without(&nodes(3), &[node])]),
    }
}

fn come_back(world: &mut World, node: usize) {
    world.mend_all();
    world.power_on(node);
    world.start(node);
    world.expect_together(&nodes(3), SOON);
    let more = world.between_ms(500, 1_500);
    world.run_for(more);
}

/// The witness is in the view, leads nobody, refuses what its host sends, and what is sent to it comes back.
fn expect_witness(world: &mut World, witness: usize, member: usize) {
    let coordinator = world.coordinator();
    world.expect(Guarantee::V8, coordinator != witness, || format!("n{witness}, a witness, coordinates"));
    let code = world.send(witness, None, 16);
    world.expect(Guarantee::D7, code == Code::Unsupported, || format!("a witness answers a send with {code:?}"));
    let code = world.request(witness, SessionId(7), create());
    world.expect(Guarantee::S1, code == Err(Code::Unsupported), || format!("a witness makes a session: {code:?}"));
    // Accepted by one who does not know yet; the ledger sees that it is given back.
    world.send(member, Some(witness), 16);
}

/// The member that is left is in a fenced view and primary, sends, and answers for the session that the other one owned.
fn expect_service(world: &mut World, node: usize, id: SessionId) {
    let fenced = world.view(node).is_some_and(|view| view.fenced);
    world.expect(Guarantee::V3, fenced, || format!("n{node} goes on in a view without fence"));
    let code = world.send(node, None, 16);
    let taken = matches!(code, Code::Ok | Code::Again);
    world.expect(Guarantee::D7, taken, || format!("n{node} goes on, and answers a send with {code:?}"));
    let token = world.now_us();
    let answer = world.ask_for(node, id, mark(token), SOON).map(|answer| answer.code);
    world.expect(Guarantee::S1, answer == Ok(Code::Unreplicated), || format!("{id:?} at n{node}: {answer:?}"));
}

/// Both members are gone, and nobody knows whether they are dead: one vote of three is no majority, whoever has it.
fn expect_nothing_of_witness_alone(world: &mut World, witness: usize, members: &[usize]) {
    members.iter().for_each(|node| world.power_off(*node));
    let patience = world.nodes[witness].setup.silence * 3;
    world.run_for(patience);
    let slot = &world.nodes[witness];
    let primary = slot.member().is_some_and(|member| member.is_primary(slot.clock(world.now)));
    world.expect(Guarantee::V3, !primary, || format!("n{witness}, one vote of three, is primary"));
    members.iter().for_each(|node| world.power_on(*node));
    members.iter().for_each(|node| world.start(*node));
    world.expect_together(&nodes(3), millis(20_000));
}
