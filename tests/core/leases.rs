//! Rounds of leases as a coordinator holds them, and what other datagrams are taken for (R19, R22, V3).

use std::net::SocketAddr;

use crate::stage::{FIFTH, FRESH, ME, PEER, Stage, THIRD, address, fenced, name, patient, view};
use decurion::core::{CloseCause, Input, Seed, Setup};
use decurion::types::{Incarnation, Micros, Name, millis};
use decurion::wire::Proposal;
use decurion::wire::control::{Control, Purpose};
use decurion::wire::datagram::{Datagram, Envelope, LeaseAnswer, LeaseRound};

const BEAT: Micros = millis(250);
const MOMENT: Micros = millis(1);
/// The tests begin so late that nothing is waited for.
const BEGUN: Micros = millis(5_000);

/// Voters, of whom those who are not in the view are listed at their addresses.
pub fn voting(names: &'static [&'static str]) -> impl Fn(&mut Setup) {
    move |setup| {
        patient(setup);
        setup.voters = names.iter().map(|name| Name::new(name)).collect();
        let listed = |who: Incarnation| {
            let at = address(who);
            Seed { name: Some(Name::new(name(who))), host: at.ip().to_string(), port: at.port() }
        };
        setup.seeds = [ME, PEER, THIRD, FRESH].map(listed).into();
    }
}

/// One that coordinates a fenced pair.
fn pair(names: &'static [&'static str]) -> Stage {
    Stage::within(&fenced(view(11, &[ME, PEER])), voting(names))
}

/// What went out in rounds since the last look, to one of the others.
fn rounds(stage: &mut Stage, to: Incarnation) -> Vec<LeaseRound> {
    let round = |(whom, datagram)| match datagram {
        Datagram::LeaseRound(round) if whom == to => Some(round),
        _ => None,
    };
    stage.datagrams.drain(..).filter_map(round).collect()
}

/// One of the others answers a round, or none yet.
pub fn answer(stage: &mut Stage, who: Incarnation, round: u64) {
    let answer = LeaseAnswer { view_tag: stage.heartbeat().view_tag, round, clock_us: stage.now.0 };
    stage.send(who, &Datagram::LeaseAnswer(answer));
}

/// All dials to addresses that nobody listens at are refused.
fn refuse(stage: &mut Stage, dead: &[SocketAddr]) -> usize {
    let dials: Vec<_> = stage.dials.extract_if(.., |(_, to)| dead.contains(to)).collect();
    dials.iter().for_each(|(conn, _)| stage.tell(Input::Closed(*conn, CloseCause::Refused)));
    dials.len()
}

/// Lets time pass while some addresses refuse every dial, and one of the others answers each round or not; whether the coordinator is
/// primary in the end.
fn primary(stage: &mut Stage, dead: &[SocketAddr], answers: bool, time: Micros) -> bool {
    let until = stage.now + time;
    while stage.now < until {
        stage.pass(MOMENT);
        for round in rounds(stage, PEER) {
            if answers {
                answer(stage, PEER, round.round);
            }
        }
        refuse(stage, dead);
    }
    stage.member.is_primary(stage.now)
}

// What upholds a lease.

#[test]
fn a_lease_is_upheld_by_more_than_half_of_the_voters() {
    let upheld = |names, answers| primary(&mut pair(names), &[], answers, BEGUN);
    assert!(upheld(&["me"], false), "its own voice is enough");
    assert!(!upheld(&["me", "peer"], false), "half is not");
    assert!(upheld(&["me", "peer"], true));
    assert!(!upheld(&["me", "peer", "third"], false));
    assert!(upheld(&["me", "peer", "third"], true));
    assert!(!upheld(&["me", "third", "fresh"], true), "one of three voters is there");
    assert!(!upheld(&["me", "peer", "third", "fresh"], true), "half is not");
}

#[test]
fn voters_that_are_all_proven_dead_again_and_again_do_not_keep_the_others_from_a_lease() {
    let dead = [address(THIRD), address(FRESH)];
    let mut stage = pair(&["me", "third", "fresh"]);
    assert!(primary(&mut stage, &dead, false, BEGUN));
    assert!(!primary(&mut stage, &dead[..1], false, BEGUN), "one of them may be back");
    assert!(primary(&mut stage, &dead, false, BEGUN));

    let mut stage = pair(&["me", "peer", "third", "fresh"]);
    assert!(!primary(&mut stage, &dead, false, BEGUN), "one that is here does not answer");
    assert!(primary(&mut stage, &dead, true, BEGUN));
}

#[test]
fn the_last_proof_that_was_missing_gives_a_lease_at_once() {
    let mut stage = pair(&["me", "third", "fresh"]);
    refuse(&mut stage, &[address(THIRD)]);
    assert!(!stage.member.is_primary(stage.now));
    refuse(&mut stage, &[address(FRESH)]);
    assert!(stage.member.is_primary(stage.now));
}

/// A lease must not rest on an old proof: whoever is back counts again.
#[test]
fn absent_voters_are_dialled_with_every_round() {
    let mut stage = pair(&["me", "third", "fresh"]);
    stage.pass(BEGUN);
    let dead = [address(THIRD), address(FRESH)];
    refuse(&mut stage, &dead);
    let mut dialled = 0;
    for _ in 0..BEAT * 8 / MOMENT {
        stage.pass(MOMENT);
        dialled += refuse(&mut stage, &dead);
    }
    assert!(dialled >= 2 * 8, "{dialled}");
}

/// Those who have died may have answered somebody who is cut off from here until they did. Without half of the voters nobody had a lease.
#[test]
fn where_fewer_than_half_of_the_voters_live_the_next_view_waits_for_as_long_as_the_dead_may_have_upheld_a_lease() {
    let waits = |voters| {
        let mut stage = pair(voters);
        stage.pass(BEGUN);
        stage.wish(FIFTH, &[]);
        for _ in 0..10 {
            refuse(&mut stage, &[address(THIRD), address(FRESH)]);
            stage.pass(MOMENT);
        }
        let vote = stage.all_go_along(&[PEER, FIFTH], |_, promise| promise);
        stage.say(PEER, &Control::Accepted(vote));
        assert!(stage.member.view().is_some_and(|(view, _)| view.fenced && view.id.number == vote.number));
        let begun = stage.now;
        while !stage.member.is_primary(stage.now) && stage.now < begun + BEGUN {
            refuse(&mut stage, &[address(THIRD), address(FRESH)]);
            let newest = rounds(&mut stage, PEER).last().map(|round| round.round);
            newest.into_iter().for_each(|round| answer(&mut stage, PEER, round));
            stage.pass(MOMENT);
        }
        stage.now.since(begun)
    };
    let lease = millis(1_200);
    assert!((lease..lease + 2 * BEAT).contains(&waits(&["me", "third", "fresh"])));
    assert!(waits(&["me", "peer", "third", "fresh"]) < 2 * BEAT);
    assert!(waits(&["me", "third"]) < 2 * BEAT);
}

#[test]
fn rounds_begin_in_fenced_views_only_and_not_while_the_view_ends() {
    let begun = |first: Proposal| {
        let mut stage = Stage::within(&first, voting(&["me"]));
        let before = !rounds(&mut stage, PEER).is_empty();
        stage.connect(FRESH, Purpose::Join);
        stage.wish(FRESH, &[]);
        stage.pass(millis(10));
        assert!(stage.prepared(PEER).is_some());
        rounds(&mut stage, PEER);
        stage.pass(BEAT * 2);
        (before, !rounds(&mut stage, PEER).is_empty())
    };
    assert_eq!(begun(fenced(view(11, &[ME, PEER]))), (true, false));
    // No majority can fence it.
    let first = view(11, &[ME, PEER]);
    assert_eq!(begun(first), (false, false));
}

#[test]
fn who_has_told_its_clock_gets_its_lease_between_two_heartbeats() {
    let mut stage = pair(&["me"]);
    stage.pass(BEGUN + MOMENT * 10);
    rounds(&mut stage, PEER);
    answer(&mut stage, PEER, 0);
    let asked = rounds(&mut stage, PEER);
    let base: Vec<_> = asked.iter().map(|round| (round.base_us, round.granted)).collect();
    assert_eq!(base, [(stage.now.0, 0)], "it can count from there");
    stage.pass(MOMENT);
    answer(&mut stage, PEER, asked[0].round);
    let granted: Vec<_> = rounds(&mut stage, PEER).iter().map(|round| round.granted).collect();
    assert_eq!(granted, [asked[0].round]);
}

// Whom a datagram is meant for.

#[test]
fn a_datagram_for_another_life_or_cluster_is_refused() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    let beat = Datagram::Heartbeat(stage.heartbeat());
    let here = stage.envelope(PEER);
    let refused = |stage: &mut Stage, envelope: Envelope| {
        let before = stage.member.stats().datagrams_refused;
        stage.deliver(&envelope, &beat);
        stage.member.stats().datagrams_refused - before
    };
    assert_eq!(refused(&mut stage, Envelope { ..here }), 0);
    assert_eq!(refused(&mut stage, Envelope { to: FRESH, ..here }), 1);
    assert_eq!(refused(&mut stage, Envelope { cluster: here.cluster + 1, ..here }), 1);
    assert_eq!(refused(&mut stage, Envelope { to: FRESH, cluster: here.cluster + 1, ..here }), 1);
}

/// It is in another view, perhaps, and says which over a connection.
#[test]
fn a_member_that_does_not_know_us_is_dialled_once_in_the_time_of_a_heartbeat() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    stage.pass(millis(1_000));
    let mut dialled = |wait: Micros| {
        stage.pass(wait);
        stage.dials.clear();
        stage.send(PEER, &Datagram::NotMember);
        stage.dials.iter().filter(|(_, to)| *to == address(PEER)).count()
    };
    assert_eq!(dialled(0), 1);
    assert_eq!(dialled(BEAT - MOMENT), 0);
    assert_eq!(dialled(MOMENT), 1);
}

#[test]
fn datagrams_are_counted() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    stage.pass(BEGUN);
    stage.send(PEER, &Datagram::Heartbeat(stage.heartbeat()));
    let stats = stage.member.stats();
    assert!(stats.datagrams_sent >= 20);
    assert_eq!((stats.datagrams_sent, stats.datagrams_received), (stage.datagrams.len() as u64, 1));
}
