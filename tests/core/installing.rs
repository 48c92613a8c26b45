//! Who is told that a view is decided, how often, and for how long its first lease waits.

use crate::stage::{FRESH, ME, PEER, Stage, THIRD, ballot, patient, promise, view};
use decurion::core::Input;
use decurion::types::{Incarnation, Micros, Name, millis};
use decurion::wire::Proposal;
use decurion::wire::control::{Control, Promise, Purpose, Vote};

/// An installation that nobody confirms is repeated after this time.
const REPEAT: Micros = millis(100);

fn accept(stage: &mut Stage, who: &[Incarnation], vote: Vote) {
    who.iter().for_each(|who| stage.say(*who, &Control::Accepted(vote)));
    assert_eq!(stage.view().map(|view| view.number), Some(vote.number));
}

/// How often one of the others was told since the last look that the view is decided, and how often the whole view.
fn told(stage: &mut Stage, who: Incarnation) -> (usize, usize) {
    let words = stage.heard(who);
    let count = |wanted: fn(&Control) -> bool| words.iter().filter(|control| wanted(control)).count();
    (count(|c| matches!(c, Control::Decided(_))), count(|c| matches!(c, Control::Install(_))))
}

// Who is told.

#[test]
fn who_stays_hears_that_the_view_is_decided_and_who_leaves_is_told_the_whole_once() {
    let mut stage = Stage::within(&view(11, &[ME, PEER, THIRD]), patient);
    stage.say(THIRD, &Control::Leave(THIRD));
    stage.pass(millis(10));
    let vote = stage.all_go_along(&[PEER, THIRD], |_, promise| promise);
    accept(&mut stage, &[PEER], vote);
    assert_eq!(told(&mut stage, PEER), (1, 0));
    assert_eq!(told(&mut stage, THIRD), (0, 1));
}

/// It was in an attempt that another one began, and is not asked in this one.
#[test]
fn who_is_in_a_view_that_was_taken_up_is_told_the_whole_of_it() {
    let mut stage = Stage::changing(view(11, &[ME, PEER]), patient);
    stage.connect(FRESH, Purpose::Link);
    let earlier = view(12, &[ME, PEER, FRESH]);
    let prepare = stage.prepared(PEER).expect("a change has begun");
    let accepted = Some((ballot(12), earlier.clone()));
    stage.say(PEER, &Control::Promise(Promise { accepted, ..promise(&prepare) }));
    stage.heard(PEER);
    accept(&mut stage, &[PEER], Vote { number: prepare.number, ballot: prepare.ballot });
    assert_eq!(stage.view(), Some(earlier.id));
    assert_eq!((told(&mut stage, PEER), told(&mut stage, FRESH)), ((1, 0), (0, 1)));
}

#[test]
fn who_does_not_confirm_a_view_is_told_it_more_and_more_rarely_and_not_for_ever() {
    let mut stage = Stage::changing(view(11, &[ME, PEER]), patient);
    let vote = stage.go_along(PEER);
    accept(&mut stage, &[PEER], vote);
    assert_eq!(told(&mut stage, PEER), (1, 0));
    let mut times = Vec::new();
    for time in 1..40 {
        // Whenever this member is woken for anything else.
        stage.pass(REPEAT / 2);
        stage.tell(Input::Wake);
        stage.pass(REPEAT / 2 - 1);
        stage.tell(Input::Wake);
        assert_eq!(told(&mut stage, PEER).1, 0, "before {time}");
        stage.pass(1);
        stage.tell(Input::Wake);
        if told(&mut stage, PEER).1 > 0 {
            times.push(time);
        }
    }
    assert_eq!(times, [1, 2, 4, 8, 16]);
}

// What follows.

#[test]
fn newcomers_are_gathered_for_longer_after_a_view_that_took_somebody_in() {
    for grows in [true, false] {
        let mut stage = if grows {
            let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
            stage.wish(FRESH, &[]);
            stage.pass(millis(10));
            stage
        } else {
            Stage::changing(view(11, &[ME, PEER]), patient)
        };
        let all: &[Incarnation] = if grows { &[PEER, FRESH] } else { &[PEER] };
        let vote = stage.all_go_along(all, |_, promise| promise);
        accept(&mut stage, all, vote);
        stage.wish(THIRD, &[]);
        stage.heard(PEER);
        stage.pass(millis(9));
        assert_eq!(stage.prepared(PEER), None);
        stage.pass(millis(1));
        assert_eq!(stage.prepared(PEER).is_some(), !grows);
        stage.pass(millis(10));
        assert_eq!(stage.prepared(PEER).is_some(), grows);
    }
}

/// For how long the first lease of the next view waits, when the member that stays tells of a lease that ends in 3 s, and a
/// newcomer of one in 5 s.
fn hold_ms(first: Proposal, voters: &[&str]) -> u32 {
    let mut stage = Stage::within(&first, |setup| {
        patient(setup);
        setup.voters = voters.iter().map(|name| Name::new(name)).collect();
    });
    stage.wish(FRESH, &[]);
    stage.pass(millis(10));
    let hold_ms = |who| if who == FRESH { 5_000 } else { 3_000 };
    let vote = stage.all_go_along(&[PEER, FRESH], |who, promise| Promise { hold_ms: hold_ms(who), ..promise });
    accept(&mut stage, &[PEER, FRESH], vote);
    let decided = stage.heard(PEER).into_iter().find_map(|control| match control {
        Control::Decided(decided) => Some(decided.hold_ms),
        _ => None,
    });
    decided.expect("it is told")
}

/// What a newcomer's former life answered counts unless half of the voters have stayed: they know of every later view (R22).
#[test]
fn the_hold_of_a_newcomer_counts_unless_half_of_the_voters_stay_in_a_fenced_view() {
    let first = view(11, &[ME, PEER]);
    let fenced = Proposal { fenced: true, ..first.clone() };
    assert_eq!(hold_ms(fenced.clone(), &["me", "peer"]), 3_000);
    assert_eq!(hold_ms(fenced, &["me", "third", "fresh"]), 5_000, "one of three stays");
    assert_eq!(hold_ms(first, &["me", "peer"]), 5_000, "nobody has fenced it");
}
