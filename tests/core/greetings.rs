//! Connections: who is let in, which of two stays, and when one is asked, given up or closed (R2, R14).

use crate::stage::{
    FIFTH, FRESH, ME, NOW, PEER, Stage, THIRD, address, fenced, in_groups, patient, seed, summary, view,
};
use crate::support::hello;
use decurion::core::{CloseCause, Event, Input, Seed};
use decurion::types::{ConnId, Incarnation, Micros, Name, millis};
use decurion::wire::control::{Control, Purpose, RefusalCode, Refuse};
use decurion::wire::datagram::{Datagram, Heartbeat};

/// Between two looks at connections.
const LOOK: Micros = millis(125);
const SILENCE: Micros = millis(1_500);

/// Whether the host was told that a member is suspected.
fn suspected(stage: &Stage, who: &str) -> bool {
    stage.events.iter().any(|event| matches!(event, Event::Suspected { member, .. } if member.name.as_str() == who))
}

// Who is let in.

#[test]
fn who_is_refused_hears_why_and_only_one_that_wanted_in_is_told_to_the_host() {
    for (purpose, told) in [(Purpose::Join, true), (Purpose::Link, true), (Purpose::Probe, false)] {
        let mut stage = Stage::new(patient);
        let conn = stage.member.accept(stage.now, address(PEER)).expect("a stranger is welcome");
        stage.say_over(conn, &Control::Hello(hello("another", "peer", (PEER, address(PEER)), purpose)));
        let refused = |(to, word): &(ConnId, Control)| {
            *to == conn && matches!(word, Control::Refuse(Refuse { code: RefusalCode::Cluster, .. }))
        };
        assert!(stage.words.iter().any(refused));
        assert!(stage.closed.contains(&conn));
        let event = |event: &Event| matches!(event, Event::RefusedJoiner { name, .. } if name == "peer");
        assert_eq!(stage.events.iter().any(event), told);
    }
}

#[test]
fn with_a_static_list_only_those_on_it_are_let_in() {
    let let_in = |name: Option<&str>, host: &str| {
        let mut stage = Stage::new(|setup| {
            setup.seeds_only = true;
            let name = name.map(Name::new);
            setup.seeds = vec![Seed { name, host: host.to_owned(), port: 7_100 }];
        });
        stage.connect(PEER, Purpose::Join);
        !stage.closed.contains(&stage.conns[&PEER])
    };
    assert!(let_in(Some("peer"), "127.0.0.9"));
    assert!(!let_in(Some("third"), "127.0.0.1"));
    assert!(let_in(None, "127.0.0.1"));
    assert!(!let_in(None, "127.0.0.9"));
}

// Which of two connections stays.

/// Both ends must come to keep the same one: that which the smaller incarnation dialled.
#[test]
fn of_two_connections_that_crossed_the_one_stays_that_the_smaller_incarnation_dialled() {
    for (me, mine_stays) in [(ME, true), (Incarnation(9), false)] {
        for mine_first in [true, false] {
            let mut stage = Stage::new(|setup| setup.incarnation = me);
            stage.tell(Input::Wake);
            let mut mine = None;
            if mine_first {
                mine = Some(stage.answer(seed(), PEER, None, false));
            }
            stage.connect(PEER, Purpose::Join);
            let mine = mine.unwrap_or_else(|| stage.answer(seed(), PEER, None, false));
            let gone = if mine_stays { stage.conns[&PEER] } else { mine };
            assert_eq!(stage.closed, [gone], "{mine_first}");
        }
    }
}

#[test]
fn of_two_connections_that_the_other_end_dialled_the_newer_one_stays_and_is_used() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    let old = stage.conns[&PEER];
    stage.connect(PEER, Purpose::Link);
    assert_eq!(stage.closed, [old]);
    stage.heard(PEER);
    stage.say(PEER, &Control::Ping(7));
    assert!(stage.heard(PEER).contains(&Control::Pong(7)));
}

#[test]
fn what_waited_for_a_connection_that_does_not_stay_goes_over_the_other_one() {
    let mut stage = Stage::new(|setup| setup.incarnation = Incarnation(9));
    stage.tell(Input::Wake);
    stage.answer(seed(), THIRD, Some(summary(&view(11, &[PEER]))), false);
    assert!(stage.dials.iter().any(|(_, to)| *to == address(PEER)), "it is asked for admission");
    stage.connect(PEER, Purpose::Link);
    let mine = stage.answer(address(PEER), PEER, Some(summary(&view(11, &[PEER]))), false);
    assert!(stage.closed.contains(&mine));
    assert!(stage.heard(PEER).iter().any(|word| matches!(word, Control::Join(_))));
}

// When one is given up.

#[test]
fn a_connection_that_closes_is_a_reason_to_look_unless_its_member_leaves_or_we_closed_it() {
    let first = view(11, &[ME, PEER, THIRD]);
    let mut stage = Stage::within(&first, patient);
    stage.tell(Input::Closed(stage.conns[&PEER], CloseCause::Peer));
    assert!(suspected(&stage, "peer"));
    assert!(stage.dials.iter().any(|(_, to)| *to == address(PEER)));

    let mut stage = Stage::within(&first, patient);
    stage.say(PEER, &Control::Leave(PEER));
    stage.tell(Input::Closed(stage.conns[&PEER], CloseCause::Peer));
    assert!(!suspected(&stage, "peer"));

    let mut stage = Stage::within(&first, patient);
    stage.say(PEER, &Control::Hello(hello("test", "peer", (PEER, address(PEER)), Purpose::Link)));
    assert!(stage.closed.contains(&stage.conns[&PEER]), "a second greeting is a fault");
    assert!(!suspected(&stage, "peer"));
}

#[test]
fn a_dial_that_does_not_come_up_is_given_up_after_three_seconds() {
    let mut stage = Stage::new(patient);
    stage.tell(Input::Wake);
    let (dial, _) = stage.dials[0];
    stage.pass(millis(3_000));
    assert!(!stage.closed.contains(&dial));
    stage.pass(LOOK);
    assert!(stage.closed.contains(&dial));
    assert!(stage.dials.len() > 1, "it may come up now");
}

/// Heartbeats speak for members, not for connections: the way of the connection alone may be cut.
#[test]
fn a_connection_over_which_no_answer_comes_is_asked_once_and_given_up() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), |_| {});
    let conn = stage.conns[&PEER];
    let (mut asked, mut closed) = (Vec::new(), None);
    while closed.is_none() && stage.now < NOW + millis(5_000) {
        let beat = stage.heartbeat();
        stage.send(PEER, &Datagram::Heartbeat(beat));
        stage.pass(LOOK);
        let time = stage.now.since(NOW);
        asked.extend(stage.heard(PEER).iter().filter(|word| matches!(word, Control::Ping(_))).map(|_| time));
        closed = stage.closed.contains(&conn).then_some(time);
    }
    assert_eq!((asked, closed), (vec![SILENCE / 2], Some(SILENCE / 2 + SILENCE)));
    assert!(!suspected(&stage, "peer"), "it is heard");
}

#[test]
fn a_connection_that_no_role_needs_is_closed_when_nothing_went_over_it_for_five_seconds() {
    let first = in_groups(view(11, &[ME, PEER, THIRD]), &[0, 1, 1]);
    let idle = |word: bool| {
        let mut stage = Stage::within(&first, patient);
        stage.pass(millis(4_900));
        if word {
            // The change that it wants is told to all.
            stage.wish(FRESH, &[]);
        }
        stage.pass(millis(300));
        assert!(!stage.closed.contains(&stage.conns[&PEER]), "it leads the other group");
        stage.closed.contains(&stage.conns[&THIRD])
    };
    assert!(idle(false));
    assert!(!idle(true));
}

#[test]
fn the_connection_of_a_newcomer_stays_while_its_wish_waits() {
    let first = fenced(view(11, &[ME, PEER]));
    let mut stage = Stage::within(&first, |setup| {
        patient(setup);
        setup.voters = ["me", "third", "fifth"].map(Name::new).into();
    });
    stage.connect(THIRD, Purpose::Link);
    stage.wish(FRESH, &[]);
    stage.pass(millis(6_000));
    assert!(stage.closed.contains(&stage.conns[&THIRD]), "that one wants nothing");
    assert!(!stage.closed.contains(&stage.conns[&FRESH]));
}

// Signs of life.

#[test]
fn what_comes_over_a_connection_is_counted_and_tells_the_other_end_that_it_is_heard() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    stage.pass(millis(2_000));
    let before = stage.member.stats().bytes_received;
    stage.say(PEER, &Control::Pong(0));
    assert_eq!(stage.member.stats().bytes_received - before, Control::Pong(0).encode().len() as u64);
    stage.datagrams.clear();
    stage.pass(millis(250));
    let heard: Vec<u32> = stage
        .datagrams
        .iter()
        .filter_map(|(to, datagram)| match datagram {
            Datagram::Heartbeat(beat) if *to == PEER => Some(beat.heard_ms),
            _ => None,
        })
        .collect();
    assert!(!heard.is_empty() && heard.iter().all(|ms| *ms <= 250), "{heard:?}");
}

/// This member does not listen to the one that coordinates, and went by a dial alone.
#[test]
fn who_was_given_up_and_says_something_is_believed_in_again() {
    let believed = |word: bool| {
        let mut stage = Stage::within(&in_groups(view(11, &[THIRD, PEER, ME, FRESH]), &[0, 1, 1, 1]), |setup| {
            setup.refusal_proves_death = false;
        });
        stage.say(PEER, &Control::Ask(THIRD));
        for _ in 0..4 {
            stage.beat(PEER);
            stage.beat(FRESH);
            stage.pass(millis(250));
        }
        if word {
            stage.say(THIRD, &Control::Pong(0));
        }
        stage.words.clear();
        stage.wish(FIFTH, &[]);
        stage.heard(THIRD).iter().any(|word| matches!(word, Control::Join(_)))
    };
    assert!(!believed(false));
    assert!(believed(true));
}

/// What comes from it says nothing of what gets there (V8).
#[test]
fn who_is_heard_and_does_not_hear_this_member_is_not_believed_in() {
    for hears in [true, false] {
        let mut stage = Stage::within(&view(11, &[PEER, ME, THIRD]), |setup| setup.refusal_proves_death = false);
        let beat = |stage: &mut Stage| {
            let heard_ms = if hears { 0 } else { 2_000 + stage.now.since(NOW) as u32 / 1_000 };
            let beat = Heartbeat { heard_ms, ..stage.heartbeat() };
            stage.send(PEER, &Datagram::Heartbeat(beat));
        };
        for _ in 0..8 {
            beat(&mut stage);
            stage.beat(THIRD);
            stage.pass(millis(250));
        }
        beat(&mut stage);
        stage.heard(PEER);
        stage.wish(FRESH, &[]);
        let asked = stage.heard(PEER).iter().any(|word| matches!(word, Control::Join(_)));
        assert_eq!(asked, hears, "of two that may coordinate");
    }
}
