//! What a search for a view makes of starters, of former lives, and of more addresses than it can try (R20).

use std::net::SocketAddr;

use crate::seeking::{FORM_WAIT, MOMENT, STEP, at, dialled, of};
use crate::stage::{FRESH, ME, NOW, PEER, Stage, THIRD, address, patient, seed};
use decurion::core::{CloseCause, Input};
use decurion::types::{Micros, Name, millis};
use decurion::wire::control::{Control, Purpose, ViewSummary, Welcome};

/// When it begins to form a view, counted from the start; alone or with `PEER`.
fn begun(mut stage: Stage) -> Option<Micros> {
    while stage.now < NOW + FORM_WAIT * 5 {
        if stage.view().is_some() || (stage.conns.contains_key(&PEER) && stage.prepared(PEER).is_some()) {
            return Some(stage.now.since(NOW));
        }
        stage.pass(MOMENT);
    }
    None
}

/// One at whose address others look, and what has come of its search so far.
fn starter(then: impl Fn(&mut Stage)) -> Stage {
    let mut stage = Stage::new(|setup| {
        patient(setup);
        setup.seeds = [address(ME), seed()].map(|address| at(address, None)).into();
    });
    stage.tell(Input::Wake);
    then(&mut stage);
    stage
}

#[test]
fn a_seed_at_which_another_starter_has_answered_is_waited_for_no_longer() {
    let answered = starter(|stage| {
        let conn = stage.answer(seed(), PEER, None, false);
        stage.conns.insert(PEER, conn);
    });
    assert_eq!(begun(answered), Some(FORM_WAIT));
    assert_eq!(begun(starter(|_| {})), Some(FORM_WAIT * 4), "it may still answer");
}

/// Only one of them is let in afterwards, but nobody is if both leave it to the other one.
#[test]
fn of_two_starters_of_one_name_none_leaves_it_to_the_other_one_to_form_a_view() {
    let stage = starter(|stage| {
        let (conn, address) = stage.dials[0];
        stage.tell(Input::Connected(conn));
        let (name, incarnation) = (Name::new("me"), PEER);
        stage.say_over(conn, &Control::Welcome(Welcome { name, incarnation, address, view: None, member: false }));
        stage.conns.insert(PEER, conn);
    });
    assert_eq!(begun(stage), Some(FORM_WAIT));
}

/// Nor are both in it.
#[test]
fn who_forms_a_view_leaves_out_another_starter_of_its_own_name() {
    let mut stage = starter(|stage| {
        let (conn, address) = stage.dials[0];
        stage.tell(Input::Connected(conn));
        let (name, incarnation) = (Name::new("me"), PEER);
        stage.say_over(conn, &Control::Welcome(Welcome { name, incarnation, address, view: None, member: false }));
    });
    stage.pass(FORM_WAIT);
    let (view, _) = stage.member.view().expect("it has formed one, alone");
    assert_eq!(view.len(), 1);
}

/// It was a starter when it was greeted first, and is in a view now.
#[test]
fn who_was_a_starter_and_is_in_a_view_now_is_greeted_anew_when_the_one_that_was_asked_is_gone() {
    let mut stage = Stage::new(patient);
    stage.connect(PEER, Purpose::Link);
    let first = stage.answer(seed(), THIRD, None, false);
    stage.tell(Input::Closed(first, CloseCause::Peer));
    stage.pass(millis(300));
    let second = stage.answer(seed(), THIRD, Some(of(PEER)), false);
    stage.tell(Input::Closed(stage.conns[&PEER], CloseCause::Peer));
    stage.pass(STEP);
    assert!(stage.closed.contains(&second), "it cannot say whom to ask now");
}

#[test]
fn a_former_life_of_its_own_among_the_leaders_is_not_waited_for() {
    let mut stage = Stage::new(patient);
    stage.connect(PEER, Purpose::Link);
    let leaders = [(PEER, address(PEER)), (FRESH, address(ME))].into();
    stage.answer(seed(), PEER, Some(ViewSummary { leaders, ..of(PEER) }), false);
    stage.pass(STEP);
    assert!(!dialled(&stage, address(ME)));
    let unheard = stage.words.iter().find_map(|(_, word)| match word {
        Control::Join(join) => Some(join.unheard.clone()),
        _ => None,
    });
    assert_eq!(unheard, Some(Vec::new()), "all others have answered");
}

#[test]
fn of_more_than_a_thousand_and_some_seeds_so_many_are_tried_at_one_time() {
    let mut stage = Stage::new(|setup| {
        patient(setup);
        setup.seeds = (0..1_100).map(|n| at(SocketAddr::from(([127, 0, 0, 2], 7_000 + n)), None)).collect();
    });
    stage.tell(Input::Wake);
    assert_eq!(stage.dials.len(), 1_024);
    stage.pass(FORM_WAIT);
    assert!(stage.dials.iter().all(|(_, to)| to.port() < 7_000 + 1_024));
}

/// Who has just started counts as a voter when it can have forgotten no lease any more; this search takes longer.
#[test]
fn a_majority_forms_a_view_as_soon_as_all_seeds_are_known_or_have_had_their_time() {
    let begins = |then: fn(&mut Stage)| {
        let mut stage = Stage::new(|setup| {
            patient(setup);
            setup.form_wait = millis(2_000);
            setup.seeds = vec![at(seed(), None)];
            setup.voters = ["me", "peer", "third"].into_iter().map(Name::new).collect();
        });
        stage.connect(PEER, Purpose::Join);
        stage.tell(Input::Wake);
        then(&mut stage);
        begun(stage)
    };
    assert_eq!(begins(|stage| stage.tell(Input::Closed(stage.dials[0].0, CloseCause::Failed))), Some(millis(1_500)));
    assert_eq!(begins(|_| {}), Some(millis(2_000)));
}
