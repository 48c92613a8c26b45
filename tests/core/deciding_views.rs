//! Whom a coordinator asks for the next view, for how long it waits for whom, whose answers count, and what is decided.

use crate::newcomers::wish;
use crate::stage::{FRESH, ME, NOW, PEER, Stage, THIRD, address, ballot, fenced, patient, promise, view};
use decurion::core::{CloseCause, Event, Input, MinorityPolicy, Setup};
use decurion::types::{Incarnation, Micros, Name, ViewId, millis};
use decurion::wire::control::{
    Control, Observation, Prepare, Promise, Purpose, RefusalCode, Refuse, Reject, Sight, Vote, Welcome,
};
use decurion::wire::datagram::Datagram;

/// Unanswered requests are repeated after this time.
const REPEAT: Micros = millis(100);
/// What cannot be decided now is tried again after this time.
const LATER: Micros = millis(500);
const MOMENT: Micros = millis(1);

fn voting(names: &[&str]) -> impl Fn(&mut Setup) {
    move |setup| {
        patient(setup);
        setup.voters = names.iter().map(|name| Name::new(name)).collect();
    }
}

/// All that one of the others was asked to promise since the last look.
fn asked(stage: &mut Stage, who: Incarnation) -> Vec<Prepare> {
    let prepare = |control| match control {
        Control::Prepare(prepare) => Some(prepare),
        _ => None,
    };
    stage.heard(who).into_iter().filter_map(prepare).collect()
}

/// Whether one of the others was told of a cut since the last look.
fn cut(stage: &mut Stage, who: Incarnation) -> bool {
    stage.heard(who).iter().any(|control| matches!(control, Control::Cut(_)))
}

/// What one of the others was asked to accept since the last look: which view, and whether it is fenced.
fn proposed(stage: &mut Stage, who: Incarnation) -> Option<(ViewId, bool)> {
    stage.heard(who).into_iter().find_map(|control| match control {
        Control::Propose(propose) => Some((propose.proposal.id, propose.proposal.fenced)),
        Control::ProposeChange(change) => Some((change.successor.id, change.successor.fenced)),
        _ => None,
    })
}

/// Refuses to promise, as one that is in this view and has promised this.
fn refusal(prepare: &Prepare, promised: u64, installed: ViewId) -> Reject {
    let Prepare { number, ballot: asked, .. } = *prepare;
    Reject { number, ballot: asked, promised: ballot(promised), installed, newest: number - 1, proposal: None }
}

fn accept(stage: &mut Stage, who: &[Incarnation], vote: Vote) {
    who.iter().for_each(|who| stage.say(*who, &Control::Accepted(vote)));
}

fn number(stage: &Stage) -> u64 {
    stage.view().expect("in a view").number
}

// Whether a change begins.

#[test]
fn only_who_coordinates_begins_a_change_and_only_if_there_is_one() {
    let mut stage = Stage::within(&view(11, &[PEER, ME, THIRD]), patient);
    stage.say(THIRD, &Control::Leave(THIRD));
    stage.pass(millis(50));
    assert_eq!(asked(&mut stage, PEER), [], "another one coordinates");
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    stage.say(PEER, &Control::Ready(PEER));
    stage.pass(millis(50));
    assert_eq!(asked(&mut stage, PEER), [], "it was ready before");
}

#[test]
fn who_hears_that_another_one_is_stuck_in_its_own_view_changes_it() {
    let first = view(11, &[ME, PEER]);
    for (installed, changes) in [(first.id, true), (view(12, &[ME, PEER]).id, false)] {
        let mut stage = Stage::within(&first, patient);
        // Whether there is anything to change is looked at now and then, too: not in the time that counts.
        stage.pass(millis(300));
        let nothing = Prepare { number: 12, ballot: Default::default(), previous: first.id, joins: false };
        stage.say(PEER, &Control::Reject(refusal(&nothing, 12, installed)));
        stage.pass(millis(11));
        assert_eq!(stage.prepared(PEER).is_some(), changes);
    }
}

/// How often the coordinator has told one of the others since the last look that it cannot decide anything.
fn resigned(stage: &mut Stage, to: Incarnation) -> usize {
    let of_itself = |seen: &Observation| (seen.subject, seen.observer, seen.sight) == (ME, ME, Sight::Silent);
    stage.heard(to).iter().filter(|control| matches!(control, Control::Observe(seen) if of_itself(seen))).count()
}

/// How often the host was told that the view cannot change.
fn complaints(stage: &Stage) -> usize {
    let complains = |event: &&Event| matches!(event, Event::Note { level: 2, text } if text.contains("no majority"));
    stage.events.iter().filter(complains).count()
}

#[test]
fn who_has_no_majority_tells_its_host_once_and_the_others_again_and_again_that_it_steps_back() {
    for hurry in [false, true] {
        let mut stage = Stage::within(&view(11, &[ME, PEER]), voting(&["me", "third", "fresh"]));
        stage.pass(millis(300));
        stage.say(PEER, &Control::Leave(PEER));
        stage.pass(millis(10));
        assert_eq!((resigned(&mut stage, PEER), complaints(&stage)), (1, 1));
        if hurry {
            stage.say(PEER, &Control::Leave(PEER));
        }
        stage.pass(LATER - MOMENT);
        assert_eq!(resigned(&mut stage, PEER), 0, "nothing can have become of it yet");
        stage.pass(MOMENT);
        assert_eq!((resigned(&mut stage, PEER), complaints(&stage)), (1, 1));
        assert_eq!(asked(&mut stage, PEER), []);
    }
}

#[test]
fn a_majority_that_was_there_meanwhile_is_missed_anew() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), voting(&["me", "third", "fresh"]));
    stage.say(PEER, &Control::Leave(PEER));
    stage.pass(millis(10));
    assert_eq!(complaints(&stage), 1);
    stage.wish(FRESH, &[]);
    stage.pass(LATER);
    assert!(stage.prepared(FRESH).is_some());
    let prepare = stage.prepared(PEER).expect("it takes part");
    stage.say(PEER, &Control::Promise(promise(&prepare)));
    let conn = stage.conns[&FRESH];
    stage.tell(Input::Closed(conn, CloseCause::Peer));
    stage.pass(LATER * 3);
    assert_eq!(complaints(&stage), 2);
}

/// Who was believed gone, or faulty, may be heard again by the time a majority is there.
#[test]
fn who_was_to_go_when_no_majority_was_there_is_asked_as_before() {
    let mut stage = Stage::within(&view(11, &[ME, PEER, THIRD]), voting(&["me", "third", "fresh"]));
    let seen = Observation { subject: THIRD, observer: PEER, sight: Sight::Faulty, amount: 0 };
    stage.say(PEER, &Control::Observe(seen));
    stage.pass(millis(10));
    assert_eq!(complaints(&stage), 1, "without it there is no majority");
    stage.pass(LATER);
    assert!(stage.prepared(THIRD).is_some_and(|prepare| !prepare.joins));
}

/// One that has lost its leader comes to another one (R15), unless no majority is there when it is time.
#[test]
fn who_was_to_move_when_no_majority_was_there_stays_until_it_is_missed_again() {
    let mut first = fenced(view(11, &[ME, PEER, THIRD]));
    first.members[1..].iter_mut().for_each(|member| member.group = 1);
    let seen = |subject, observer, sight| Control::Observe(Observation { subject, observer, sight, amount: 1_500 });
    for majority in [true, false] {
        let names = ["me", "peer", "fresh"].map(Name::new);
        let mut stage = Stage::within(&first, |setup| setup.voters = names.to_vec());
        for _ in 0..7 {
            stage.pass(millis(250));
            [PEER, THIRD].iter().for_each(|who| stage.beat(*who));
            stage.say(PEER, &seen(THIRD, PEER, Sight::Silent));
            let dials: Vec<_> = stage.dials.drain(..).filter(|(_, to)| *to == address(THIRD)).collect();
            for (dial, to) in dials {
                stage.tell(Input::Connected(dial));
                let (name, incarnation) = (Name::new("third"), THIRD);
                let welcome = Welcome { name, incarnation, address: to, view: None, member: true };
                stage.say_over(dial, &Control::Welcome(welcome));
            }
            assert_eq!(stage.prepared(THIRD), None, "they may hear each other again");
        }
        if !majority {
            stage.say(THIRD, &seen(PEER, THIRD, Sight::Faulty));
        }
        stage.pass(millis(10));
        assert_eq!((stage.prepared(THIRD).is_some(), complaints(&stage)), (majority, usize::from(!majority)));
        stage.pass(LATER);
        assert!(majority || stage.prepared(THIRD).is_none());
    }
}

// Who is waited for.

#[test]
fn a_newcomer_that_does_not_promise_is_left_out_after_half_a_second() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    stage.wish(FRESH, &[]);
    stage.pass(millis(10));
    assert!(stage.prepared(FRESH).is_some());
    let prepare = stage.prepared(PEER).expect("it stays");
    stage.say(PEER, &Control::Promise(promise(&prepare)));
    stage.pass(REPEAT * 5 - MOMENT);
    assert!(!cut(&mut stage, PEER), "it may still answer");
    stage.pass(MOMENT);
    assert!(cut(&mut stage, PEER), "it holds up all others");
    let Prepare { number, ballot, .. } = prepare;
    stage.say(PEER, &Control::Held(Vote { number, ballot }));
    accept(&mut stage, &[PEER], Vote { number, ballot });
    assert_eq!(stage.member.view().map(|(view, _)| (view.id.number, view.len())), Some((12, 2)));
    stage.heard(FRESH);
    stage.pass(millis(2_000));
    assert_eq!(asked(&mut stage, FRESH), [], "it must ask again");
}

#[test]
fn a_newcomer_that_has_promised_is_not_left_out() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    stage.wish(FRESH, &[]);
    stage.pass(millis(10));
    let vote = stage.all_go_along(&[PEER, FRESH], |_, promise| promise);
    accept(&mut stage, &[PEER], vote);
    stage.pass(REPEAT * 10);
    assert_eq!(number(&stage), 11, "it has not accepted");
    accept(&mut stage, &[FRESH], vote);
    assert_eq!(stage.member.view().map(|(view, _)| (view.id.number, view.len())), Some((12, 3)));
}

#[test]
fn who_does_not_answer_is_asked_more_and_more_rarely_and_looked_at_after_the_second_time() {
    let mut stage = Stage::changing(view(11, &[ME, PEER]), patient);
    let (mut times, mut suspected) = (Vec::new(), None);
    for time in 0..20 {
        if stage.prepared(PEER).is_some() {
            times.push(time);
        }
        let suspects = |event: &Event| matches!(event, Event::Suspected { why, .. } if why.contains("coordinator"));
        if stage.events.iter().any(suspects) {
            suspected = suspected.or(Some(time));
        }
        stage.pass(REPEAT);
    }
    assert_eq!((times, suspected), (vec![0, 1, 2, 4, 8, 16], Some(2)));
}

#[test]
fn each_request_is_repeated_by_a_count_of_its_own() {
    let mut stage = Stage::changing(view(11, &[ME, PEER]), patient);
    let prepare = stage.prepared(PEER).expect("a change has begun");
    stage.pass(REPEAT / 2 * 5);
    stage.say(PEER, &Control::Promise(promise(&prepare)));
    assert!(cut(&mut stage, PEER));
    stage.pass(REPEAT / 2);
    for repeated in [true, true, false, true] {
        assert_eq!(cut(&mut stage, PEER), repeated);
        stage.pass(REPEAT);
    }
}

#[test]
fn an_attempt_without_an_answer_gives_way_to_another_one_after_fifty_repeats() {
    let mut stage = Stage::changing(view(11, &[ME, PEER]), patient);
    let first = stage.prepared(PEER).expect("a change has begun").ballot.round;
    let later = |stage: &mut Stage| asked(stage, PEER).iter().any(|prepare| prepare.ballot.round > first);
    stage.pass(REPEAT * 51 - MOMENT);
    assert!(!later(&mut stage));
    stage.pass(MOMENT);
    assert!(later(&mut stage));
}

/// Its datagrams come, but it takes no connection, and nobody passes anything on to it (V4, V8); unless a dial is answered now and then.
#[test]
fn who_is_heard_and_cannot_be_reached_for_long_goes() {
    for answers in [false, true] {
        let mut stage = Stage::changing(view(11, &[ME, PEER, THIRD]), |_| {});
        let first = stage.prepared(PEER).expect("a change has begun");
        stage.say(PEER, &Control::Promise(promise(&first)));
        let begun = stage.now;
        stage.tell(Input::Closed(stage.conns[&THIRD], CloseCause::Peer));
        let mut others = None;
        while others.is_none() && stage.now < begun + millis(10_000) {
            let beat = Datagram::Heartbeat(stage.heartbeat());
            stage.send(THIRD, &beat);
            stage.beat(PEER);
            stage.pass(REPEAT);
            if answers && stage.now == begun + millis(4_000) {
                let conn = stage.answer(address(THIRD), THIRD, None, true);
                stage.tell(Input::Closed(conn, CloseCause::Peer));
            }
            for prepare in asked(&mut stage, PEER) {
                stage.say(PEER, &Control::Promise(promise(&prepare)));
            }
            others = cut(&mut stage, PEER).then(|| stage.now.since(begun));
        }
        let gone = others.is_some_and(|after| (millis(7_500)..millis(8_500)).contains(&after));
        assert_eq!((gone, others.is_some()), (!answers, !answers), "{others:?}");
    }
}

/// Another one may hear it, and does not accuse it: no change could be made with it (V8).
#[test]
fn whom_the_coordinator_alone_does_not_reach_goes_when_it_has_not_answered_for_twice_the_bearable_silence() {
    let mut stage = Stage::changing(view(11, &[ME, PEER, THIRD]), |_| {});
    let silence = Setup::new("test", "me", ME, address(ME)).silence;
    let first = stage.prepared(THIRD).expect("a change has begun");
    stage.say(THIRD, &Control::Promise(promise(&first)));
    let begun = stage.now;
    let again = |stage: &mut Stage| asked(stage, THIRD).iter().any(|prepare| prepare.ballot.round > first.ballot.round);
    while stage.now < begun + silence * 2 - REPEAT {
        stage.beat(THIRD);
        stage.pass(REPEAT);
    }
    stage.beat(THIRD);
    stage.pass(REPEAT - MOMENT);
    assert!(!again(&mut stage), "it may still answer");
    stage.heard(PEER);
    stage.pass(MOMENT);
    assert!(again(&mut stage), "it holds up all others");
    assert_eq!(asked(&mut stage, PEER), []);
}

#[test]
fn who_speaks_to_the_coordinator_and_does_not_answer_stays() {
    let mut stage = Stage::changing(view(11, &[ME, PEER, THIRD]), |_| {});
    let first = stage.prepared(THIRD).expect("a change has begun");
    stage.say(THIRD, &Control::Promise(promise(&first)));
    for _ in 0..35 {
        stage.beat(THIRD);
        stage.say(PEER, &Control::Pong(0));
        stage.pass(REPEAT);
    }
    assert_eq!(asked(&mut stage, THIRD), []);
}

// Whose promises count.

#[test]
fn a_promise_of_another_ballot_or_entry_does_not_count() {
    let mut stage = Stage::changing(view(11, &[ME, PEER]), patient);
    let prepare = stage.prepared(PEER).expect("a change has begun");
    stage.say(PEER, &Control::Promise(Promise { ballot: ballot(99), ..promise(&prepare) }));
    stage.say(PEER, &Control::Promise(Promise { number: 13, ..promise(&prepare) }));
    assert!(!cut(&mut stage, PEER));
    stage.say(PEER, &Control::Promise(promise(&prepare)));
    assert!(cut(&mut stage, PEER));
}

/// A majority was expected: one that has been here for long, and one that comes. The one that comes does not promise.
#[test]
fn nobody_promises_for_a_voter_of_another_name() {
    let first = fenced(view(11, &[ME, PEER]));
    let mut stage = Stage::within(&first, voting(&["me", "third", "fresh"]));
    stage.wish(FRESH, &[]);
    stage.pass(millis(10));
    let prepare = stage.prepared(PEER).expect("a change has begun");
    stage.say(PEER, &Control::Promise(promise(&prepare)));
    stage.pass(REPEAT * 5);
    assert!(!cut(&mut stage, PEER), "one of three voters has promised");
}

/// It may live on behind a partition, and be one of a majority there (V3).
#[test]
fn nobody_stands_for_a_voter_of_the_view_that_is_not_proven_dead() {
    for dead in [false, true] {
        let mut stage = Stage::within(&fenced(view(11, &[ME, PEER])), |setup| {
            voting(&["me", "peer", "third"])(setup);
            setup.silence = millis(1_500);
        });
        stage.tell(Input::Closed(stage.conns[&PEER], CloseCause::Peer));
        let mut asked = false;
        while stage.now < NOW + millis(5_000) && !asked {
            for (dial, _) in stage.dials.extract_if(.., |(_, to)| *to == address(PEER)).collect::<Vec<_>>() {
                stage.tell(Input::Closed(dial, if dead { CloseCause::Refused } else { CloseCause::Failed }));
            }
            wish(&mut stage, FRESH, "peer");
            stage.pass(REPEAT);
            asked = stage.prepared(FRESH).is_some();
        }
        assert_eq!((asked, complaints(&stage) > 0), (dead, !dead));
    }
}

#[test]
fn a_voter_that_leaves_votes_itself_on_the_view_in_which_another_one_takes_its_name() {
    let mut stage = Stage::within(&fenced(view(11, &[ME, PEER])), voting(&["me", "peer", "third"]));
    stage.say(PEER, &Control::Leave(PEER));
    wish(&mut stage, FRESH, "peer");
    stage.pass(millis(20));
    let vote = stage.all_go_along(&[PEER, FRESH], |_, promise| promise);
    accept(&mut stage, &[FRESH], vote);
    assert_eq!(number(&stage), 11, "it may have said something else before");
    accept(&mut stage, &[PEER], vote);
    assert_eq!(number(&stage), 12);
}

#[test]
fn who_gets_no_majority_of_promises_asks_again_after_a_while() {
    for hurry in [false, true] {
        let mut stage = Stage::within(&view(11, &[ME, PEER]), voting(&["me", "peer", "third"]));
        while stage.now < NOW + millis(300) {
            stage.pass(MOMENT);
            if let Some(prepare) = stage.prepared(PEER) {
                // It has just started, as this one has: who forgets what it promised does not count yet.
                stage.say(PEER, &Control::Promise(Promise { memory: false, up_ms: 0, ..promise(&prepare) }));
                break;
            }
        }
        assert!(!cut(&mut stage, PEER));
        if hurry {
            stage.say(PEER, &Control::Ready(PEER));
        }
        stage.pass(LATER - MOMENT);
        assert_eq!(asked(&mut stage, PEER), []);
        stage.pass(MOMENT);
        assert_eq!(asked(&mut stage, PEER).len(), 1);
    }
}

#[test]
fn who_promised_as_one_that_had_just_started_is_older_when_the_view_is_proposed() {
    for (wait, whole) in [(0, false), (150, true)] {
        let change = |setup: &mut Setup| {
            voting(&["me", "peer", "third"])(setup);
            setup.minority = MinorityPolicy::Serve;
        };
        let mut stage = Stage::changing(fenced(view(11, &[ME, PEER])), change);
        let prepare = stage.prepared(PEER).expect("a change has begun");
        // A lease and a quarter of it is 1.5 s.
        stage.say(PEER, &Control::Promise(Promise { memory: false, up_ms: 1_400, ..promise(&prepare) }));
        assert!(cut(&mut stage, PEER));
        stage.pass(millis(wait));
        let Prepare { number, ballot, .. } = prepare;
        stage.say(PEER, &Control::Held(Vote { number, ballot }));
        assert_eq!(proposed(&mut stage, PEER), Some((ViewId { number, ballot }, whole)));
    }
}

/// Whatever was accepted may be decided (R18); a fenced view only by a majority, so that a minority leaves it alone (R21).
#[test]
fn a_majority_takes_up_a_fenced_view_that_was_accepted_and_a_minority_leaves_it_alone() {
    let earlier = fenced(view(12, &[ME, PEER]));
    for memory in [true, false] {
        let change = |setup: &mut Setup| {
            voting(&["me", "peer", "third"])(setup);
            setup.minority = MinorityPolicy::Serve;
        };
        let mut stage = Stage::changing(fenced(view(11, &[ME, PEER])), change);
        let prepare = stage.prepared(PEER).expect("a change has begun");
        let accepted = Some((ballot(12), earlier.clone()));
        stage.say(PEER, &Control::Promise(Promise { memory, up_ms: 0, accepted, ..promise(&prepare) }));
        let expected = memory.then_some((earlier.id, true));
        assert_eq!(proposed(&mut stage, PEER), expected);
    }
}

// What a refusal says.

#[test]
fn who_is_outbid_waits_for_a_moment_and_asks_in_a_higher_round() {
    let first = view(11, &[ME, PEER]);
    let mut stage = Stage::changing(first.clone(), patient);
    let prepare = stage.prepared(PEER).expect("a change has begun");
    stage.say(PEER, &Control::Reject(refusal(&prepare, 100, first.id)));
    stage.pass(millis(49));
    assert_eq!(stage.heard(PEER), [], "it is in this view, and another one may be at work");
    stage.pass(millis(201));
    let mut rounds: Vec<u64> = asked(&mut stage, PEER).iter().map(|prepare| prepare.ballot.round).collect();
    rounds.dedup();
    assert_eq!(rounds, [101]);
}

#[test]
fn a_member_that_refuses_as_one_of_an_older_view_is_told_the_one_that_it_lacks() {
    let first = view(11, &[ME, PEER]);
    let mut stage = Stage::changing(first.clone(), patient);
    let prepare = stage.prepared(PEER).expect("a change has begun");
    stage.say(PEER, &Control::Reject(refusal(&prepare, 10, view(10, &[ME, PEER]).id)));
    let told = |control: &Control| matches!(control, Control::Install(install) if install.proposal.id == first.id);
    assert!(stage.heard(PEER).iter().any(told), "it can never promise");
}

#[test]
fn who_is_refused_with_the_view_that_it_tries_to_decide_installs_it() {
    let mut stage = Stage::changing(view(11, &[ME, PEER]), patient);
    let prepare = stage.prepared(PEER).expect("a change has begun");
    let second = view(12, &[ME, PEER]);
    let reject = refusal(&prepare, 12, second.id);
    stage.say(PEER, &Control::Reject(Reject { newest: 12, proposal: Some(second.clone()), ..reject }));
    assert_eq!(stage.view(), Some(second.id));
}

#[test]
fn a_newcomer_that_has_got_into_another_view_is_not_asked_again_and_one_that_has_promised_somebody_is() {
    for (installed, asked) in [(ViewId::NONE, true), (view(50, &[THIRD]).id, false)] {
        let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
        stage.wish(FRESH, &[]);
        stage.pass(millis(10));
        let prepare = stage.prepared(FRESH).expect("a change has begun");
        stage.say(FRESH, &Control::Reject(refusal(&prepare, 100, installed)));
        stage.heard(FRESH);
        stage.pass(millis(300));
        assert_eq!(stage.prepared(FRESH).is_some(), asked);
        assert!(stage.prepared(PEER).is_some());
    }
}

/// Without seeds, and so at once about to form a view with another one that looks for others.
fn forming() -> (Stage, Prepare) {
    let mut stage = Stage::new(|setup| setup.seeds.clear());
    stage.connect(PEER, Purpose::Join);
    let prepare = stage.prepared(PEER).expect("nobody else is to be waited for");
    assert!(prepare.joins);
    (stage, prepare)
}

#[test]
fn a_starter_that_is_refused_goes_on_above_all_that_the_other_one_knows() {
    let (mut stage, prepare) = forming();
    let reject = Reject { newest: 41, ..refusal(&prepare, 100, ViewId::NONE) };
    stage.say(PEER, &Control::Reject(reject));
    stage.pass(millis(400));
    let next = stage.prepared(PEER).expect("it tries again");
    assert_eq!((next.number, next.ballot.round), (42, 101));
    let conn = stage.conns[&PEER];
    assert!(!stage.closed.contains(&conn), "it is a starter still");
}

#[test]
fn a_starter_that_has_got_into_a_view_is_greeted_anew() {
    let (mut stage, prepare) = forming();
    stage.say(PEER, &Control::Reject(refusal(&prepare, 100, view(41, &[PEER]).id)));
    assert!(stage.closed.contains(&stage.conns[&PEER]));
}

#[test]
fn a_starter_that_hears_of_a_view_without_it_begins_above_that_one() {
    let (mut stage, prepare) = forming();
    let other = view(41, &[THIRD]);
    let reject = refusal(&prepare, 41, ViewId::NONE);
    stage.say(PEER, &Control::Reject(Reject { newest: 41, proposal: Some(other), ..reject }));
    stage.pass(millis(100));
    assert_eq!(stage.prepared(PEER).map(|prepare| prepare.number), Some(42));
}

// What is decided.

#[test]
fn an_unfenced_view_is_decided_when_all_that_are_in_it_have_accepted() {
    let mut stage = Stage::changing(view(11, &[ME, PEER, THIRD]), patient);
    let vote = stage.all_go_along(&[PEER, THIRD], |_, promise| promise);
    accept(&mut stage, &[PEER], vote);
    stage.pass(REPEAT * 3);
    assert_eq!(number(&stage), 11);
    accept(&mut stage, &[THIRD], vote);
    assert_eq!(number(&stage), 12);
}

#[test]
fn a_fenced_view_is_decided_when_a_majority_of_the_voters_has_accepted() {
    let first = fenced(view(11, &[ME, PEER, THIRD]));
    for (third, counts) in [("peer", false), ("fresh", true)] {
        // Either both of the others vote, or only one of them.
        let mut stage = Stage::changing(first.clone(), voting(&["me", "third", third]));
        let vote = stage.all_go_along(&[PEER, THIRD], |_, promise| promise);
        stage.pass(REPEAT * 3);
        assert_eq!(number(&stage), 11, "nobody but this one has accepted");
        accept(&mut stage, &[PEER], vote);
        assert_eq!(number(&stage), if counts { 11 } else { 12 });
        accept(&mut stage, &[THIRD], vote);
        assert_eq!(number(&stage), 12);
    }
}

#[test]
fn a_newcomer_that_hears_no_leader_is_refused_and_the_view_is_decided_without_it() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    stage.wish(FRESH, &[ME]);
    stage.pass(millis(10));
    let prepare = stage.prepared(FRESH).expect("a change has begun");
    stage.say(FRESH, &Control::Promise(promise(&prepare)));
    let vote = stage.go_along(PEER);
    let refused = |c: &Control| matches!(c, Control::Refuse(Refuse { code: RefusalCode::Unplaceable, .. }));
    assert!(stage.heard(FRESH).iter().any(refused));
    let told = |event: &Event| matches!(event, Event::RefusedJoiner { name, .. } if name == "fresh");
    assert!(stage.events.iter().any(told));
    accept(&mut stage, &[PEER], vote);
    let second = stage.member.view().map(|(view, _)| (view.id, view.len())).expect("in a view");
    assert_eq!((second.0.number, second.1), (12, 2));
    stage.say(PEER, &Control::Installed(second.0));
    stage.pass(millis(2_000));
    assert_eq!(asked(&mut stage, FRESH), [], "it must ask again");
}
