//! Sessions of a member at rest: what goes out, to whom, and when, though nothing else happens.

use crate::fellows::{Fellows, ID, MOMENT, create, write};
use crate::stage::{FRESH, ME, PEER, THIRD, address, in_groups};
use crate::support::pairs;
use decurion::core::{Asynchronous, CloseCause, Input, SessionOp};
use decurion::types::millis;
use decurion::wire::datagram::{Datagram, LeaseRound};
use decurion::wire::session::Attributes;

/// A way through leaders is longer, and ends with them.
#[test]
fn whoever_holds_copies_of_our_sessions_is_dialled_when_one_changes_though_no_role_needs_a_connection() {
    let mut fellows = Fellows::with(&[PEER, THIRD, FRESH, ME], |setup| setup.sessions.partners = 1);
    let (_, partner) = fellows.create();
    let [leader, stranger] = [PEER, THIRD, FRESH].into_iter().filter(|who| *who != partner).collect::<Vec<_>>()[..]
    else {
        panic!("there are three others")
    };
    fellows.install_with(12, &[leader, ME, stranger, partner], |proposal| {
        *proposal = in_groups(proposal.clone(), &[0, 0, 1, 1])
    });
    for who in [stranger, partner] {
        fellows.stage.tell(Input::Closed(fellows.stage.conns[&who], CloseCause::Peer));
    }
    let dialled = |fellows: &Fellows, who| fellows.stage.dials.iter().any(|(_, to)| *to == address(who));
    fellows.pass(millis(2_000));
    assert!(!dialled(&fellows, partner));
    fellows.ask(write("2"));
    fellows.pass(millis(1_000));
    assert!(dialled(&fellows, partner) && !dialled(&fellows, stranger));
}

#[test]
fn what_waits_for_a_lease_goes_on_as_soon_as_there_is_one() {
    let mut fellows = Fellows::of_three();
    fellows.install_fenced(12, &[PEER, ME, THIRD]);
    fellows.ask(create());
    fellows.pass(MOMENT);
    assert_eq!(fellows.copied_to(ID), None);
    let view_tag = fellows.stage.heartbeat().view_tag;
    for (round, base_us, granted) in [(1, fellows.stage.now.0, 0), (2, 0, 1)] {
        fellows.stage.send(PEER, &Datagram::LeaseRound(LeaseRound { view_tag, round, base_us, granted }));
    }
    fellows.pass(millis(1));
    assert!(fellows.copied_to(ID).is_some());
}

/// A member that is woken again and again meanwhile fails here.
#[test]
fn changes_that_have_waited_for_each_other_and_find_the_window_full_go_when_there_is_room() {
    let bounds =
        Asynchronous { window_bytes: 1 << 20, window: millis(60_000), batch_bytes: 1 << 20, batch: millis(10) };
    let mut fellows = Fellows::with(&[PEER, ME], |setup| {
        (setup.sessions.asynchronous, setup.direct_window_bytes) = (Some(bounds), 16 * 1024);
    });
    fellows.create();
    let (long, removes) = (pairs(&[("long", &[7; 5_000])]), Attributes::default());
    for _ in 0..8 {
        let sets = long.clone();
        fellows.ask(SessionOp::Write { token: 0, if_version: 0, whole: false, sets, removes: removes.clone() });
    }
    assert_eq!(fellows.heard(PEER), []);
    let mut sent = Vec::new();
    while sent.iter().sum::<usize>() < 8 {
        fellows.pass(millis(20));
        sent.push(fellows.heard(PEER).len());
        fellows.agree(PEER);
    }
    assert!(sent.len() > 1 && sent.iter().all(|frames| *frames > 0), "{sent:?}");
}
