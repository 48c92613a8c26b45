//! Heartbeats and other datagrams: whom they are answered to, what silence is, and what takes it back (R30, R31, V6, V7).

use crate::stage::{FRESH, ME, PEER, Stage, THIRD, address, patient, view};
use decurion::core::{Event, Input};
use decurion::types::{Incarnation, Micros, millis};
use decurion::wire::control::{Control, Observation, Sight};
use decurion::wire::datagram::{Datagram, Heartbeat};

const BEAT: Micros = millis(250);
/// So long a link may be silent.
const SILENCE: Micros = millis(1_500);

/// Time passes in which these are heard, and hear this member.
fn beating(stage: &mut Stage, who: &[Incarnation], time: Micros) {
    let until = stage.now + time;
    while stage.now < until {
        who.iter().for_each(|who| stage.beat(*who));
        stage.pass(millis(50));
    }
}

/// How many heartbeats one of the others was sent since the last look.
fn heartbeats(stage: &mut Stage, to: Incarnation) -> usize {
    let is_one = |sent: &(Incarnation, Datagram)| sent.0 == to && matches!(sent.1, Datagram::Heartbeat(_));
    stage.datagrams.drain(..).filter(is_one).count()
}

// What a datagram is answered with.

#[test]
fn who_is_none_of_the_view_is_told_so_and_two_that_do_not_know_each_other_do_not_go_on_telling_it() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    let beat = stage.heartbeat();
    let mut told = |datagram: Datagram| {
        stage.datagrams.clear();
        stage.send(THIRD, &datagram);
        stage.datagrams.clone()
    };
    assert_eq!(told(Datagram::Heartbeat(beat)), [(THIRD, Datagram::NotMember)]);
    assert_eq!(told(Datagram::NotMember), []);
}

#[test]
fn what_is_no_datagram_is_refused_and_counted() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    stage.datagrams.clear();
    stage.tell(Input::Datagram { from: address(PEER), bytes: b"anything" });
    let stats = stage.member.stats();
    assert_eq!((stats.datagrams_received, stats.datagrams_refused, stage.datagrams.len()), (1, 1, 0));
}

#[test]
fn who_says_that_it_is_in_an_older_view_is_told_the_newest_one() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    let mut told = |number: u64| {
        stage.words.clear();
        stage.send(PEER, &Datagram::Heartbeat(Heartbeat { view_number: number, ..stage.heartbeat() }));
        stage.heard(PEER).iter().any(|control| matches!(control, Control::Install(i) if i.proposal.id.number == 11))
    };
    assert_eq!([10, 11, 12].map(&mut told), [true, false, false]);
}

#[test]
fn who_has_never_got_a_heartbeat_of_ours_gets_one_when_it_says_so() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    let mut answered = |heard_ms: u32| {
        stage.datagrams.clear();
        stage.send(PEER, &Datagram::Heartbeat(Heartbeat { heard_ms, ..stage.heartbeat() }));
        heartbeats(&mut stage, PEER)
    };
    assert_eq!(answered(0), 0, "it has heard us just now");
    assert_eq!(answered(400), 1);
}

#[test]
fn who_lacks_our_heartbeats_is_answered_four_times_in_a_period() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    let mut answered = |wait: Micros| {
        stage.pass(wait);
        stage.datagrams.clear();
        stage.send(PEER, &Datagram::Heartbeat(Heartbeat { heard_ms: 400, ..stage.heartbeat() }));
        heartbeats(&mut stage, PEER)
    };
    assert_eq!([1, BEAT / 4, BEAT / 4 - 1, 1].map(&mut answered), [1, 1, 0, 1]);
}

#[test]
fn the_time_to_a_member_and_back_is_told_and_who_has_heard_nothing_yet_says_nothing_of_it() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    let now = stage.now.0;
    let mut after = |echo_us: u64| {
        stage.send(PEER, &Datagram::Heartbeat(Heartbeat { echo_us, ..stage.heartbeat() }));
        stage.member.links(stage.now)[0].rtt_us
    };
    assert_eq!(after(now - 8_000), 8_000);
    assert_eq!(after(0), 8_000);
    assert_eq!(after(now), 7_000, "an eighth of what is new");
}

// Silence.

#[test]
fn a_link_is_silent_when_all_is_over_that_is_borne() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), |_| {});
    let state = |stage: &Stage| stage.member.links(stage.now)[0].state;
    stage.beat(PEER);
    stage.pass(SILENCE - 1);
    assert_eq!(state(&stage), "up");
    stage.pass(1);
    assert_eq!(state(&stage), "silent");
}

#[test]
fn who_has_missed_us_for_two_thirds_of_what_is_borne_is_not_taken_for_one_that_hears_us() {
    let looked_at = |heard_ms: u32| {
        let mut stage = Stage::within(&view(11, &[ME, PEER]), |_| {});
        stage.beat(PEER);
        stage.pass(millis(900));
        stage.send(PEER, &Datagram::Heartbeat(Heartbeat { heard_ms, ..stage.heartbeat() }));
        stage.pass(millis(100));
        stage.member.stats().suspicions > 0
    };
    assert!(!looked_at(999));
    assert!(looked_at(1_000));
}

#[test]
fn who_is_heard_again_is_missed_anew_before_it_goes() {
    let mut stage = Stage::within(&view(11, &[ME, PEER, THIRD]), |setup| setup.refusal_proves_death = false);
    beating(&mut stage, &[PEER, THIRD], millis(2_000));
    let begins = |stage: &Stage| stage.events.iter().any(|event| matches!(event, Event::Transition { .. }));
    stage.events.clear();
    // Nobody else misses it yet.
    beating(&mut stage, &[THIRD], millis(1_900));
    assert!(stage.events.iter().any(|event| matches!(event, Event::Suspected { .. })));
    stage.send(PEER, &Datagram::Heartbeat(stage.heartbeat()));
    beating(&mut stage, &[THIRD], millis(900));
    stage.observe(THIRD, PEER, Sight::Silent, 2_800);
    stage.pass(millis(20));
    assert!(!begins(&stage), "it was heard 900 ms ago");
    beating(&mut stage, &[THIRD], millis(700));
    assert!(begins(&stage), "now both miss it");
}

#[test]
fn a_silence_is_said_once_before_it_is_unbearable_whatever_is_found_of_others() {
    let mut stage = Stage::within(&view(11, &[PEER, ME, THIRD, FRESH]), |setup| setup.refusal_proves_death = false);
    beating(&mut stage, &[PEER, THIRD, FRESH], millis(2_000));
    beating(&mut stage, &[PEER, FRESH], millis(200));
    stage.words.clear();
    beating(&mut stage, &[PEER], SILENCE - millis(300));
    let told = stage.heard(PEER);
    let silent = told.iter().filter_map(|control| match control {
        Control::Observe(Observation { subject, sight: Sight::Silent, .. }) => Some(*subject),
        _ => None,
    });
    let count = |whom| silent.clone().filter(|subject| *subject == whom).count();
    assert_eq!((count(THIRD), count(FRESH)), (1, 1));
}

#[test]
fn a_silence_is_looked_into_when_two_thirds_of_it_are_over_and_the_next_one_too() {
    let mut stage = Stage::within(&view(11, &[ME, PEER, THIRD]), |setup| setup.refusal_proves_death = false);
    let mut suspected = |whom: Incarnation, other: Incarnation| {
        beating(&mut stage, &[PEER, THIRD], millis(3_000));
        let before = stage.member.stats().suspicions;
        beating(&mut stage, &[other], SILENCE / 3 * 2 - millis(100));
        assert_eq!(stage.member.stats().suspicions, before, "{whom:?}");
        beating(&mut stage, &[other], millis(150));
        assert_eq!(stage.member.stats().suspicions, before + 1, "{whom:?}");
    };
    suspected(PEER, THIRD);
    suspected(THIRD, PEER);
    suspected(PEER, THIRD);
}

#[test]
fn after_a_pause_of_our_own_nobody_is_asked_for_a_heartbeat_that_may_have_come_meanwhile() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    beating(&mut stage, &[PEER], millis(1_000));
    for pause in [millis(500), millis(1_000), millis(2_000)] {
        heartbeats(&mut stage, PEER);
        stage.now = stage.now + pause;
        stage.tell(Input::Wake);
        assert!(heartbeats(&mut stage, PEER) <= 1, "one is due, perhaps");
        beating(&mut stage, &[PEER], millis(1_000));
    }
}

/// An idle member costs nothing but its timers.
#[test]
fn who_hears_the_others_is_woken_for_its_timer_only() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    beating(&mut stage, &[PEER], millis(2_000));
    let mut woken = 0;
    for _ in 0..8 {
        stage.beat(PEER);
        let next = stage.now + BEAT;
        while stage.member.deadline() <= next {
            stage.now = stage.now.max(stage.member.deadline());
            stage.tell(Input::Wake);
            woken += 1;
        }
        stage.now = next;
    }
    assert!(woken <= 2 * 8 + 2, "{woken}");
}
