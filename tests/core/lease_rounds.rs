//! Rounds of leases: how often they come, and what a round that is under way is worth (R19, R22, V3).

use crate::leases::{answer, voting};
use crate::stage::{FRESH, ME, PEER, Stage, THIRD, address, ballot, fenced, view};
use decurion::core::{CloseCause, Input};
use decurion::types::{ConnId, Incarnation, Micros, millis};
use decurion::wire::control::{Control, Install, Prepare, Purpose};
use decurion::wire::datagram::{Datagram, LeaseRound};

const BEAT: Micros = millis(250);
const MOMENT: Micros = millis(1);

/// One that coordinates a fenced view, and waits for no lease of before.
fn coordinating(members: &[Incarnation], voters: &'static [&'static str]) -> Stage {
    let mut stage = Stage::within(&fenced(view(11, members)), voting(voters));
    stage.pass(millis(5_010));
    stage.datagrams.clear();
    stage
}

/// The rounds that one of the others was told of since the last look.
fn rounds(stage: &mut Stage, to: Incarnation) -> Vec<LeaseRound> {
    let told = stage.datagrams.extract_if(.., |(whom, _)| *whom == to);
    let round = |(_, datagram)| if let Datagram::LeaseRound(round) = datagram { Some(round) } else { None };
    told.filter_map(round).collect()
}

/// Dials to an address that nobody listens at, since the last look.
fn dialled(stage: &mut Stage, at: Incarnation) -> Vec<ConnId> {
    stage.dials.extract_if(.., |(_, to)| *to == address(at)).map(|(conn, _)| conn).collect()
}

fn refuse(stage: &mut Stage, at: Incarnation) {
    // A refusal may be too old, and asked for again.
    while let Some(conn) = dialled(stage, at).pop() {
        stage.tell(Input::Closed(conn, CloseCause::Refused));
    }
}

/// A large view in which all tell their clocks at one time must not be a storm.
#[test]
fn rounds_between_two_heartbeats_cost_no_more_than_a_thousand_datagrams_in_the_time_of_a_heartbeat() {
    let mut stage = coordinating(&[ME, PEER, THIRD], &["me"]);
    answer(&mut stage, PEER, 0);
    assert_eq!(rounds(&mut stage, PEER).len(), 1, "it does not wait for a heartbeat");
    answer(&mut stage, THIRD, 0);
    let next = BEAT / 1_000;
    stage.pass(next - 1);
    assert_eq!(rounds(&mut stage, THIRD), []);
    stage.pass(1);
    assert_eq!(rounds(&mut stage, THIRD).len(), 1);
}

#[test]
fn with_each_round_absent_voters_are_dialled_at_once_that_are_not_being_dialled() {
    let mut stage = coordinating(&[ME, PEER], &["me", "third", "fresh"]);
    let until_it_begins = |stage: &mut Stage| {
        while rounds(stage, PEER).is_empty() {
            stage.pass(MOMENT);
        }
    };
    until_it_begins(&mut stage);
    // One of them refuses at once from now on, the other one does not answer.
    for _ in 0..4 {
        refuse(&mut stage, THIRD);
        dialled(&mut stage, FRESH);
        until_it_begins(&mut stage);
        let dials = [THIRD, FRESH].map(|who| stage.dials.iter().filter(|(_, to)| *to == address(who)).count());
        assert_eq!(dials, [1, 0]);
    }
}

#[test]
fn a_refusal_that_is_older_than_the_round_is_asked_for_again_at_once() {
    let mut stage = coordinating(&[ME, PEER], &["me", "third"]);
    refuse(&mut stage, THIRD);
    let mut dials = Vec::new();
    while dials.is_empty() {
        stage.pass(MOMENT);
        dials = dialled(&mut stage, THIRD);
    }
    // The next round begins while the host of that address takes its time.
    stage.pass(BEAT + MOMENT);
    assert_eq!(dialled(&mut stage, THIRD), []);
    stage.tell(Input::Closed(dials[0], CloseCause::Refused));
    assert_eq!(dialled(&mut stage, THIRD).len(), 1);
}

#[test]
fn a_round_that_was_answered_while_a_lease_of_before_was_possible_counts_when_it_is_over() {
    let mut stage = Stage::new(voting(&["me", "peer", "third"]));
    stage.connect(PEER, Purpose::Link);
    let proposal = fenced(view(11, &[ME, PEER]));
    stage.say(PEER, &Control::Install(Install { proposal, hold_ms: 1_000 }));
    let over = stage.now + millis(1_000);
    while stage.now + millis(10) < over {
        for round in rounds(&mut stage, PEER) {
            answer(&mut stage, PEER, round.round);
        }
        stage.pass(MOMENT);
    }
    stage.pass(over.since(stage.now) - 1);
    assert!(!stage.member.is_primary(stage.now));
    // The answers to what begins now may be lost.
    stage.pass(1);
    assert!(stage.member.is_primary(stage.now));
}

/// Whoever has promised the next view upholds no lease of this one any more, and nobody but its coordinator grants any.
#[test]
fn rounds_are_answered_to_who_coordinates_until_the_next_view_is_promised() {
    let first = fenced(view(11, &[PEER, ME, THIRD]));
    let mut stage = Stage::within(&first, voting(&["peer", "me", "third"]));
    let round = LeaseRound { view_tag: stage.heartbeat().view_tag, round: 7, base_us: 0, granted: 0 };
    let answered = |stage: &mut Stage, who: Incarnation| {
        stage.datagrams.clear();
        stage.send(who, &Datagram::LeaseRound(round));
        stage.datagrams.iter().filter(|(_, datagram)| matches!(datagram, Datagram::LeaseAnswer(_))).count()
    };
    assert_eq!(answered(&mut stage, PEER), 1);
    assert_eq!(answered(&mut stage, THIRD), 0);
    let prepare = Prepare { number: 12, ballot: ballot(12), previous: first.id, joins: false };
    stage.say(PEER, &Control::Prepare(prepare));
    assert!(stage.heard(PEER).iter().any(|control| matches!(control, Control::Promise(_))));
    assert_eq!(answered(&mut stage, PEER), 0);
}
