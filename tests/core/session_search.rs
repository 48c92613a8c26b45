//! What a host asks for is answered when it is certain, in time, and once; what is not here is looked for where it may be (S4, S5).

use crate::fellows::{Fellows, ID, MOMENT, NOBODY, copy, create, epoch, tag, visits, write};
use crate::stage::{FRESH, ME, PEER, THIRD};
use crate::support::Cluster;
use decurion::core::{Asynchronous, Input, SessionOp, SessionRequest};
use decurion::types::{Code, Epoch, Incarnation, MemberTag, SessionId, millis};
use decurion::wire::session::{Attributes, Copy, Frame, Give, Here, Question, Role};

const ALL: [Incarnation; 4] = [PEER, ME, THIRD, FRESH];

/// What one of the others is asked to hand over, or to show: the number of the question.
fn wanted(fellows: &mut Fellows, who: Incarnation) -> Option<u64> {
    fellows.heard(who).into_iter().find_map(|frame| match frame {
        Frame::Want(question) | Frame::Fetch(question) if question.id == ID => Some(question.asked),
        _ => None,
    })
}

fn here(asked: u64, role: Role, owner: MemberTag) -> Frame {
    let epoch = if role == Role::None { Epoch::default() } else { Epoch { owner, ..epoch(9, 1, PEER) } };
    Frame::Here(Here {
        id: ID,
        asked,
        role,
        epoch,
        version: 5,
        owner,
        was: NOBODY,
        others: (NOBODY, NOBODY),
        lives: vec![],
    })
}

/// Answers a wish: it is not here, or another one has it.
fn sends_on(fellows: &mut Fellows, who: Incarnation, role: Role, owner: MemberTag) {
    let asked = wanted(fellows, who).expect("it is asked");
    fellows.say(who, &here(asked, role, owner));
}

fn answers(fellows: &mut Fellows, who: Incarnation, role: Role, owner: MemberTag) {
    let asked = fellows.asked(who).expect("all are asked");
    fellows.say(who, &here(asked, role, owner));
}

fn write_with(token: u64) -> SessionOp {
    SessionOp::Write { token, if_version: 0, whole: false, sets: visits("9"), removes: Attributes::default() }
}

// When.

#[test]
fn a_change_waits_for_no_other_and_a_repeated_one_for_the_first() {
    let mut fellows = Fellows::of_three();
    let (first, partner) = fellows.create();
    let (one, two) = (fellows.ask(write_with(8)), fellows.ask(write_with(9)));
    fellows.ask(write("10"));
    assert_eq!(fellows.held(), Some((Role::Primary, first, 4)), "all are on their way");
    let again = fellows.ask(write_with(9));
    assert_eq!([one, two, again].map(|n| fellows.code(n)), [None; 3]);
    fellows.agree(partner);
    assert_eq!([one, two, again].map(|n| fellows.code(n)), [Some(Code::Ok); 3]);
    assert_eq!(fellows.held(), Some((Role::Primary, first, 4)), "it was made once");
}

#[test]
fn what_waits_too_long_is_answered_once_and_what_was_begun_with_an_unknown_outcome() {
    let mut fellows = Fellows::of_three();
    let (_, partner) = fellows.create();
    let begun = fellows.ask(write("2"));
    let waiting = fellows.ask(SessionOp::Read);
    fellows.pass(millis(9_900));
    assert_eq!((fellows.code(begun), fellows.code(waiting)), (None, None));
    fellows.pass(millis(200));
    assert_eq!((fellows.code(begun), fellows.code(waiting)), (Some(Code::OutcomeUnknown), Some(Code::Timeout)));
    fellows.pass(millis(1_000));
    let read = fellows.ask(SessionOp::Read);
    assert_eq!(fellows.code(read), None, "nobody is told what became of it before it is known");
    fellows.agree(partner);
    assert_eq!(fellows.code(read), Some(Code::Ok));
    assert_eq!(fellows.code(begun), Some(Code::OutcomeUnknown));
}

#[test]
fn who_never_gets_a_lease_says_so_to_who_waits() {
    let mut fellows = Fellows::of_three();
    let (_, partner) = fellows.create();
    let begun = fellows.ask(write("2"));
    fellows.install_fenced(12, &[PEER, ME, THIRD]);
    let waiting = fellows.ask(SessionOp::Read);
    for _ in 0..40 {
        fellows.pass(millis(100));
    }
    assert_eq!((fellows.code(begun), fellows.code(waiting)), (Some(Code::OutcomeUnknown), Some(Code::NotPrimary)));
    fellows.agree(partner);
    fellows.pass(MOMENT);
    assert_eq!(fellows.code(begun), Some(Code::OutcomeUnknown));
}

#[test]
fn in_asynchronous_mode_a_change_is_answered_first_and_counts_until_the_other_copy_has_it() {
    let bounds = Asynchronous { window_bytes: 1 << 16, window: millis(500), batch_bytes: 1, batch: millis(10) };
    let mut fellows = Fellows::with(&[PEER, ME], |setup| setup.sessions.asynchronous = Some(bounds));
    let counts = |fellows: &Fellows| fellows.stage.member.session_counts();
    let created = fellows.ask(create());
    assert_eq!(fellows.code(created), Some(Code::Ok));
    let number = fellows.ask(write("2"));
    assert_eq!(fellows.code(number), Some(Code::Ok));
    assert!(counts(&fellows).lag_bytes > 0);
    fellows.pass(millis(100));
    assert_eq!(counts(&fellows).lag, millis(100));
    // What is shown is what was answered for.
    let read = fellows.ask(SessionOp::Read);
    assert_eq!(fellows.answer(read).and_then(|a| a.attributes.clone()), Some(visits("2")));
    fellows.agree(PEER);
    assert_eq!((counts(&fellows).lag_bytes, counts(&fellows).lag), (0, 0));
    assert_eq!(fellows.code(number), Some(Code::Ok));
    // Beyond the time of the window a change waits.
    fellows.ask(write("3"));
    fellows.pass(millis(600));
    let late = fellows.ask(write("4"));
    assert_eq!(fellows.code(late), None);
    fellows.pass(millis(10_100));
    assert_eq!(fellows.code(late), Some(Code::OutcomeUnknown));
}

#[test]
fn a_session_is_created_once_and_may_be_as_long_as_is_allowed() {
    let longest = visits("123").as_bytes().len();
    let mut fellows = Fellows::with(&[PEER, ME], |setup| setup.sessions.session_bytes = longest);
    let create = |visits: Attributes| SessionOp::Create { ttl_s: 0, attributes: visits };
    let numbers = [create(visits("1234")), create(visits("123")), create(visits("1"))].map(|op| fellows.ask(op));
    fellows.agree(PEER);
    let codes = numbers.map(|number| fellows.code(number));
    assert_eq!(codes, [Some(Code::TooLarge), Some(Code::Ok), Some(Code::InvalidArgument)]);
    let numbers = [write("1234"), write("321")].map(|op| fellows.ask(op));
    fellows.agree(PEER);
    assert_eq!(numbers.map(|number| fellows.code(number)), [Some(Code::TooLarge), Some(Code::Ok)]);
}

#[test]
fn a_request_weighs_all_that_it_carries() {
    let weight = |sets: &str, removes: &str| {
        let (sets, removes) = (visits(sets), visits(removes));
        let op = SessionOp::Write { token: 0, if_version: 0, whole: false, sets, removes };
        SessionRequest { number: 1, id: ID, holders: [NOBODY; 2], op }.bytes()
    };
    assert_eq!(weight("12345", "") - weight("", ""), 5);
    assert_eq!(weight("12345", "123") - weight("12345", ""), 3);
}

// The end.

/// One change that was begun, one that waits, the end of a session, and one that is looked for.
fn all_kinds() -> (Fellows, [u64; 4]) {
    let mut fellows = Fellows::with(&[PEER, ME, THIRD], |setup| setup.leave_timeout = millis(100));
    fellows.create();
    let (begun, waiting) = (fellows.ask(write("2")), fellows.ask(SessionOp::Read));
    fellows.ask_about(SessionId(8), [NOBODY; 2], create());
    fellows.agree(PEER);
    fellows.agree(THIRD);
    let begun = if fellows.code(begun).is_some() { fellows.ask(write("3")) } else { begun };
    let waiting = if fellows.code(waiting).is_some() { fellows.ask(SessionOp::Read) } else { waiting };
    let ending = fellows.ask_about(SessionId(8), [NOBODY; 2], SessionOp::Remove);
    let sought = fellows.ask_about(SessionId(9), [NOBODY; 2], SessionOp::Read);
    assert_eq!([begun, waiting, ending, sought].map(|number| fellows.code(number)), [None; 4]);
    (fellows, [begun, waiting, ending, sought])
}

#[test]
fn who_is_removed_or_ends_answers_for_everything_that_was_asked_for() {
    let (mut fellows, numbers) = all_kinds();
    fellows.is_removed(12);
    let (unknown, not_primary, closed) = (Code::OutcomeUnknown, Code::NotPrimary, Code::Closed);
    let codes = numbers.map(|number| fellows.code(number));
    assert_eq!(codes, [unknown, not_primary, unknown, not_primary].map(Some));
    let (mut fellows, numbers) = all_kinds();
    fellows.stage.tell(Input::Leave);
    fellows.pass(millis(1_000));
    assert!(fellows.stage.member.ended().is_some());
    let codes = numbers.map(|number| fellows.code(number));
    assert_eq!(codes, [unknown, closed, unknown, closed].map(Some));
}

// Where.

#[test]
fn a_session_is_looked_for_where_the_cookie_says_and_then_at_all_and_nobody_is_asked_twice() {
    for (holders, code) in [
        ([tag(PEER), tag(THIRD)], Code::NoSuchSession),
        ([tag(THIRD), NOBODY], Code::NoSuchSession),
        ([NOBODY; 2], Code::NoSuchSession),
        ([tag(PEER), MemberTag(0xdead)], Code::HoldersUnreachable),
    ] {
        let mut fellows = Fellows::of_three();
        let number = fellows.ask_about(ID, holders, SessionOp::Read);
        for whom in holders.into_iter().filter_map(|h| [PEER, THIRD].into_iter().find(|who| tag(*who) == h)) {
            sends_on(&mut fellows, whom, Role::None, NOBODY);
        }
        answers(&mut fellows, PEER, Role::None, NOBODY);
        assert_eq!(fellows.code(number), None);
        answers(&mut fellows, THIRD, Role::None, NOBODY);
        assert_eq!(fellows.code(number), Some(code), "{holders:?}");
    }
}

#[test]
fn whoever_was_asked_says_where_it_went_and_a_session_on_its_way_is_asked_for_again_a_moment_later() {
    let mut fellows = Fellows::of_three();
    let number = fellows.ask_about(ID, [tag(PEER), NOBODY], SessionOp::Read);
    sends_on(&mut fellows, PEER, Role::Given, tag(THIRD));
    sends_on(&mut fellows, THIRD, Role::Secondary, tag(PEER));
    assert_eq!((wanted(&mut fellows, PEER), wanted(&mut fellows, THIRD)), (None, None), "it is between them");
    fellows.pass(millis(19));
    assert_eq!(wanted(&mut fellows, PEER), None);
    fellows.pass(millis(2));
    // A member that says that it is here has not got it yet.
    sends_on(&mut fellows, PEER, Role::Given, tag(ME));
    answers(&mut fellows, PEER, Role::Given, tag(THIRD));
    answers(&mut fellows, THIRD, Role::Secondary, tag(FRESH));
    assert_eq!(fellows.code(number), None, "somebody holds a copy");
    fellows.pass(millis(21));
    assert!(wanted(&mut fellows, PEER).is_some());
}

#[test]
fn who_has_it_is_asked_for_it_before_all_have_answered() {
    for role in [Role::Primary, Role::Claimant] {
        let mut fellows = Fellows::new(&ALL);
        fellows.ask(SessionOp::Read);
        answers(&mut fellows, THIRD, role, tag(THIRD));
        assert!(wanted(&mut fellows, THIRD).is_some());
    }
    // Who holds a copy whose owner is gone is not asked: it is about to own it.
    let mut fellows = Fellows::new(&ALL);
    let number = fellows.ask(SessionOp::Read);
    answers(&mut fellows, THIRD, Role::Secondary, MemberTag(0xdead));
    answers(&mut fellows, PEER, Role::None, NOBODY);
    answers(&mut fellows, FRESH, Role::None, NOBODY);
    assert_eq!((wanted(&mut fellows, THIRD), fellows.code(number)), (None, None));
    fellows.pass(millis(21));
    assert!(fellows.asked(THIRD).is_some(), "they are all asked again");
}

#[test]
fn an_answer_to_an_earlier_question_is_none_to_this_one() {
    let mut fellows = Fellows::of_three();
    let number = fellows.ask_about(ID, [tag(PEER), tag(THIRD)], SessionOp::Read);
    let first = wanted(&mut fellows, PEER).expect("it is asked");
    fellows.say(THIRD, &here(first, Role::None, NOBODY));
    fellows.say(PEER, &here(first + 1, Role::None, NOBODY));
    assert_eq!(wanted(&mut fellows, THIRD), None, "another one was asked, and something else");
    fellows.say(PEER, &here(first, Role::None, NOBODY));
    let second = wanted(&mut fellows, THIRD).expect("the next one is asked");
    assert_ne!(first, second);
    fellows.say(THIRD, &here(first, Role::None, NOBODY));
    assert_eq!((fellows.asked(PEER), fellows.code(number)), (None, None));
}

#[test]
fn a_search_for_which_nobody_waits_any_more_does_not_keep_the_next_one_waiting() {
    let mut fellows = Fellows::of_three();
    let number = fellows.ask_about(ID, [tag(PEER), NOBODY], SessionOp::Read);
    assert!(wanted(&mut fellows, PEER).is_some());
    fellows.pass(millis(10_100));
    assert_eq!(fellows.code(number), Some(Code::Timeout));
    fellows.ask_about(ID, [tag(PEER), NOBODY], SessionOp::Read);
    assert!(wanted(&mut fellows, PEER).is_some());
}

#[test]
fn a_session_of_which_somebody_has_a_copy_of_another_life_is_not_said_to_be_none() {
    let mut fellows = Fellows::of_three();
    let number = fellows.ask(SessionOp::Read);
    answers(&mut fellows, PEER, Role::Orphan, tag(FRESH));
    answers(&mut fellows, THIRD, Role::None, NOBODY);
    assert_eq!(fellows.code(number), Some(Code::HoldersUnreachable));
}

/// Two windows of one browser: the one that waits already has a cookie that is out of date.
#[test]
fn whose_cookie_is_newest_counts_for_all_who_wait() {
    let mut fellows = Fellows::of_three();
    let numbers = [[tag(PEER), tag(THIRD)], [tag(PEER), MemberTag(0xdead)], [tag(THIRD), NOBODY]]
        .map(|holders| fellows.ask_about(ID, holders, SessionOp::Read));
    sends_on(&mut fellows, PEER, Role::None, NOBODY);
    sends_on(&mut fellows, THIRD, Role::None, NOBODY);
    answers(&mut fellows, PEER, Role::None, NOBODY);
    answers(&mut fellows, THIRD, Role::None, NOBODY);
    assert_eq!(numbers.map(|number| fellows.code(number)), [Some(Code::HoldersUnreachable); 3]);
}

#[test]
fn who_is_alone_knows_at_once_that_nobody_has_it() {
    let mut cluster = Cluster::new(2, |_, _| {});
    cluster.kill(1);
    cluster.until(|c| c.members_of(0) == 1);
    let number = cluster.begin(0, ID, SessionOp::Read);
    cluster.pass(millis(10));
    assert_eq!(cluster.answer(0, number).map(|a| a.code), Some(Code::NoSuchSession));
}

#[test]
fn where_who_was_asked_is_gone_the_next_one_is_asked() {
    let mut fellows = Fellows::of_three();
    fellows.ask_about(ID, [tag(PEER), tag(THIRD)], SessionOp::Read);
    assert!(wanted(&mut fellows, PEER).is_some());
    fellows.install(12, &[ME, THIRD]);
    assert!(wanted(&mut fellows, THIRD).is_some());
}

#[test]
fn who_wanted_a_session_and_is_gone_is_not_given_it() {
    let mut fellows = Fellows::new(&ALL);
    let (first, partner) = fellows.create();
    let gone = ALL.into_iter().find(|who| *who != ME && *who != partner).expect("there are three others");
    fellows.ask(write("2"));
    fellows.say(gone, &Frame::Want(Question { id: ID, asked: 1 }));
    fellows.say(gone, &Frame::Fetch(Question { id: ID, asked: 2 }));
    let rest: Vec<Incarnation> = ALL.into_iter().filter(|who| *who != gone).collect();
    fellows.install(12, &rest);
    fellows.agree(partner);
    assert_eq!(fellows.held(), Some((Role::Primary, first, 2)));
}

/// It looks into few of those that it holds at a time.
#[test]
fn whoever_asks_for_a_session_whose_owner_has_just_gone_is_told_the_new_one() {
    let mut fellows = Fellows::with(&ALL, |setup| setup.sessions.restore_bytes_per_s = 1);
    for id in [1, 2, 7] {
        fellows.say(PEER, &Frame::Copy(Copy { id: SessionId(id), ..copy(epoch(9, 1, PEER)) }));
    }
    fellows.install(12, &[ME, THIRD, FRESH]);
    fellows.say(THIRD, &Frame::Where(Question { id: ID, asked: 5 }));
    let told = |f: &Frame| matches!(f, Frame::Here(here) if here.role == Role::Primary && here.owner == tag(ME));
    assert!(fellows.heard(THIRD).iter().any(told));
}

// Looks.

fn shown(asked: u64) -> Frame {
    Frame::Shown(Give { asked, view: 11, copy: copy(epoch(9, 1, PEER)), secondary: tag(THIRD) })
}

#[test]
fn a_look_is_answered_by_whom_it_was_asked_and_what_waits_behind_it_is_asked_for_at_once() {
    let mut fellows = Fellows::of_three();
    let look = fellows.ask_about(ID, [tag(PEER), NOBODY], SessionOp::Peek);
    let read = fellows.ask_about(ID, [tag(PEER), NOBODY], SessionOp::Read);
    let asked = wanted(&mut fellows, PEER).expect("it is asked");
    for (from, asked) in [(THIRD, asked), (PEER, asked + 1)] {
        fellows.say(from, &shown(asked));
        assert_eq!(fellows.code(look), None);
    }
    fellows.say(PEER, &shown(asked));
    let answer = fellows.answer(look).expect("it is shown");
    assert_eq!((answer.code, answer.version, answer.holders), (Code::Ok, 5, [tag(PEER), tag(THIRD)]));
    assert_eq!(fellows.code(read), None);
    assert!(fellows.heard(PEER).iter().any(|f| matches!(f, Frame::Want(_))));
}

#[test]
fn whoever_looks_is_shown_what_was_answered_for_and_once() {
    let mut fellows = Fellows::new(&ALL);
    let (_, partner) = fellows.create();
    let shown = |fellows: &mut Fellows, who| {
        let shown = |frame| match frame {
            Frame::Shown(give) => Some((give.asked, give.copy.version)),
            _ => None,
        };
        fellows.heard(who).into_iter().filter_map(shown).collect::<Vec<_>>()
    };
    let [one, two] = [0, 1].map(|n| ALL.into_iter().filter(|who| *who != ME && *who != partner).nth(n).expect("three"));
    fellows.say(one, &Frame::Fetch(Question { id: ID, asked: 1 }));
    assert_eq!(shown(&mut fellows, one), [(1, 1)], "at once");
    fellows.ask(write("2"));
    fellows.say(one, &Frame::Fetch(Question { id: ID, asked: 2 }));
    fellows.say(two, &Frame::Fetch(Question { id: ID, asked: 3 }));
    fellows.say(one, &Frame::Fetch(Question { id: ID, asked: 4 }));
    assert_eq!((shown(&mut fellows, one), shown(&mut fellows, two)), (Vec::new(), Vec::new()));
    fellows.agree(partner);
    assert_eq!((shown(&mut fellows, one), shown(&mut fellows, two)), (vec![(4, 2)], vec![(3, 2)]));
}

#[test]
fn what_is_asked_for_in_no_view_waits_for_one() {
    let mut fellows = Fellows::of_three();
    fellows.is_removed(12);
    let number = fellows.ask_about(ID, [tag(PEER), NOBODY], SessionOp::Read);
    assert_eq!(fellows.code(number), None, "nobody can say whether there is such a session");
    fellows.install(13, &[PEER, ME]);
    assert_eq!(fellows.code(number), None);
    assert!(fellows.heard(PEER).iter().any(|f| matches!(f, Frame::Want(_))));
}
