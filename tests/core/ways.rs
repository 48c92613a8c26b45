//! Which way a word takes to who has no connection with this member, and what is passed on for others (R1, R14).

use crate::fellows::{Fellows, NOBODY, create};
use crate::stage::{FIFTH, FRESH, ME, PEER, Stage, THIRD, address, in_groups, patient, summary, view};
use decurion::core::{CloseCause, Event, Input};
use decurion::types::{ConnId, Incarnation, Seat, SessionId, millis};
use decurion::wire::Proposal;
use decurion::wire::batch::{Entry, Header, Level};
use decurion::wire::control::{Control, Install, Routed, Sight};

/// The connection with one of the others is gone.
fn cut(stage: &mut Stage, who: Incarnation) {
    stage.tell(Input::Closed(stage.conns[&who], CloseCause::Peer));
    stage.dials.clear();
}

fn is_dialled(stage: &Stage, who: Incarnation) -> bool {
    stage.dials.iter().any(|(_, to)| *to == address(who))
}

// What this member says itself.

/// `THIRD` coordinates, `PEER` leads this member and `FRESH`.
fn led_view() -> Proposal {
    in_groups(view(11, &[THIRD, PEER, ME, FRESH]), &[0, 1, 1, 1])
}

fn led() -> Stage {
    Stage::within(&led_view(), |setup| setup.refusal_proves_death = false)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Leader,
    Dialled,
}

/// Which way a wish goes to whoever coordinates, with whom this member has no connection.
fn way(stage: &mut Stage) -> Way {
    cut(stage, THIRD);
    stage.wish(FIFTH, &[]);
    let routed = |word: &Control| matches!(word, Control::Routed(Routed { from: ME, to: THIRD, .. }));
    let by_leader = stage.heard(PEER).iter().any(routed);
    assert_ne!(by_leader, is_dialled(stage, THIRD), "one way");
    if by_leader { Way::Leader } else { Way::Dialled }
}

#[test]
fn what_is_for_another_group_goes_to_the_leader_unless_that_one_cannot_pass_it_on() {
    assert_eq!(way(&mut led()), Way::Leader);
    for (observer, subject) in [(PEER, THIRD), (THIRD, PEER)] {
        let mut stage = led();
        stage.observe(observer, subject, Sight::Silent, 100);
        assert_eq!(way(&mut stage), Way::Dialled, "these two do not hear each other");
    }
}

#[test]
fn what_is_for_another_group_does_not_go_to_a_leader_that_is_believed_gone() {
    let mut stage = led();
    for _ in 0..8 {
        stage.beat(FRESH);
        // Nothing but its datagrams is missed: the connection is up.
        stage.say(THIRD, &Control::Pong(0));
        stage.pass(millis(250));
    }
    assert!(!stage.closed.contains(&stage.conns[&PEER]));
    assert_eq!(way(&mut stage), Way::Dialled);
}

/// It coordinates, and this member neither leads a group nor listens to it.
#[test]
fn who_closes_a_connection_that_no_role_needs_is_not_suspected() {
    let mut stage = led();
    [THIRD, PEER].iter().for_each(|who| cut(&mut stage, *who));
    stage.wish(FIFTH, &[]);
    let conn = stage.answer(address(THIRD), THIRD, Some(summary(&led_view())), true);
    assert!(stage.words.iter().any(|(to, word)| *to == conn && matches!(word, Control::Join(_))));
    stage.dials.clear();
    stage.tell(Input::Closed(conn, CloseCause::Peer));
    let suspected = |event: &Event| matches!(event, Event::Suspected { member, .. } if member.incarnation == THIRD);
    assert!(!stage.events.iter().any(suspected));
    assert!(!is_dialled(&stage, THIRD));
}

/// Whoever holds copies of sessions has one of its own, but a dial that fails is not repeated at once.
#[test]
fn a_partner_that_cannot_be_reached_is_dialled_again_after_300_ms() {
    let mut fellows = Fellows::new(&[PEER, THIRD, ME, FRESH]);
    cut(&mut fellows.stage, FRESH);
    // Some of them have their second copy there.
    for id in 1..=20 {
        fellows.ask_about(SessionId(id), [NOBODY; 2], create());
    }
    let (from, mut dialled) = (fellows.stage.now, Vec::new());
    while fellows.stage.now.since(from) < millis(2_000) {
        let here = |(_, to): &mut (ConnId, _)| *to == address(FRESH);
        for (conn, _) in fellows.stage.dials.extract_if(.., here).collect::<Vec<_>>() {
            dialled.push(fellows.stage.now.since(from));
            fellows.stage.tell(Input::Closed(conn, CloseCause::Failed));
        }
        fellows.pass(millis(5));
    }
    assert!(dialled.len() >= 5, "{dialled:?}");
    assert!(dialled.windows(2).all(|pair| pair[1] - pair[0] >= millis(300)), "{dialled:?}");
}

// What is passed on.

/// `THIRD` coordinates; this member leads `FRESH`, and `PEER` leads `FIFTH`.
fn leading() -> Stage {
    Stage::within(&in_groups(view(11, &[THIRD, ME, PEER, FRESH, FIFTH]), &[0, 1, 2, 1, 2]), patient)
}

/// A word of one of the others for another one, which comes over the first one's connection.
fn pass(stage: &mut Stage, from: Incarnation, to: Incarnation) -> Control {
    let routed = Control::Routed(Routed { from, to, frame: Control::Pong(7).encode() });
    stage.say(from, &routed);
    routed
}

#[test]
fn a_leader_passes_on_what_its_members_have_for_other_groups() {
    let mut stage = leading();
    cut(&mut stage, FIFTH);
    let word = pass(&mut stage, FRESH, FIFTH);
    assert!(stage.heard(PEER).contains(&word));
    assert!(!is_dialled(&stage, FIFTH));
}

/// Until the view says who leads it.
#[test]
fn a_leader_dials_for_its_members_where_the_leader_of_another_group_is_gone() {
    let mut stage = leading();
    [FIFTH, PEER].iter().for_each(|who| cut(&mut stage, *who));
    let word = pass(&mut stage, FRESH, FIFTH);
    let conn = stage.answer(address(FIFTH), FIFTH, Some(summary(&view(11, &[THIRD]))), true);
    assert!(stage.words.contains(&(conn, word)));
}

/// Otherwise it would travel in circles while views differ.
#[test]
fn what_came_from_another_group_goes_to_its_receiver_or_nowhere() {
    let mut stage = leading();
    let word = pass(&mut stage, THIRD, FRESH);
    assert!(stage.heard(FRESH).contains(&word));
    for to in [FIFTH, FRESH] {
        cut(&mut stage, to);
        stage.heard(PEER);
        let word = pass(&mut stage, THIRD, to);
        assert!(!stage.heard(PEER).contains(&word), "{to:?}");
        assert!(!is_dialled(&stage, to), "{to:?}");
    }
}

#[test]
fn who_leads_nobody_passes_nothing_on() {
    let mut stage = led();
    [THIRD, PEER].iter().for_each(|who| cut(&mut stage, *who));
    pass(&mut stage, FRESH, THIRD);
    assert!(!is_dialled(&stage, THIRD));
}

/// Both in one piece: positions of members are others in the next view.
#[test]
fn what_comes_before_an_installation_is_passed_on_in_the_view_before() {
    let mut stage = Stage::within(&in_groups(view(11, &[THIRD, ME, FRESH]), &[0, 1, 1]), patient);
    let mut area = Vec::new();
    Entry { level: Level::Fifo, token: 0, fragment: None, payload: b"tick" }.put(&mut area);
    let (length, tag) = (area.len() as u32, stage.heartbeat().view_tag);
    let (sender, receiver) = (Seat(1), Seat::EVERYBODY);
    let header = Header { flags: 0, count: 1, length, tag, sender, receiver, batch: 1, first_message: 1 };
    let batch = [&header.encode()[..], &area].concat();
    let second = in_groups(view(12, &[THIRD, ME]), &[0, 1]);
    let install = Control::Install(Install { proposal: second.clone(), hold_ms: 0 });
    stage.say_bytes(stage.conns[&THIRD], &[&batch[..], &install.encode()].concat());
    assert_eq!(stage.view(), Some(second.id));
    assert_eq!(stage.batches, [batch]);
}
