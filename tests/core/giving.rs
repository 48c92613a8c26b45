//! A session is given away, and who gave it follows its new owner, or takes it back (S3).

use crate::fellows::{Fellows, ID, MOMENT, NOBODY, copy, create, epoch, other, tag, visits, write};
use crate::stage::{FRESH, ME, PEER, THIRD};
use decurion::core::SessionOp;
use decurion::types::{Code, Incarnation, millis};
use decurion::wire::session::{About, Adopt, Frame, Here, Move, Objection, Question, Refused, Role};

const ALL: [Incarnation; 4] = [PEER, ME, THIRD, FRESH];

fn want(asked: u64) -> Frame {
    Frame::Want(Question { id: ID, asked })
}

/// What one of the others was told of the session.
fn told(fellows: &mut Fellows, who: Incarnation) -> Vec<Here> {
    let here = |frame| match frame {
        Frame::Here(here) => Some(here),
        _ => None,
    };
    fellows.heard(who).into_iter().filter_map(here).collect()
}

/// Where one of the others hears that the session is, when it asks.
fn whereabouts(fellows: &mut Fellows, asker: Incarnation) -> Here {
    fellows.say(asker, &Frame::Where(Question { id: ID, asked: 77 }));
    told(fellows, asker).into_iter().find(|here| here.asked == 77).expect("it is told")
}

/// Those who neither own the session nor hold a copy of it.
fn strangers(partner: Incarnation) -> [Incarnation; 2] {
    let rest: Vec<Incarnation> = ALL.into_iter().filter(|who| *who != ME && *who != partner).collect();
    [rest[0], rest[1]]
}

/// Created here, and given to another member than the one with the other copy: the epoch before, who holds the other copy, and who
/// was given it.
fn given() -> (Fellows, decurion::types::Epoch, Incarnation, Incarnation) {
    let mut fellows = Fellows::of_three();
    let (first, partner) = fellows.create();
    let taker = other(partner);
    fellows.say(taker, &want(5));
    assert_eq!(fellows.role(), Some(Role::Given));
    (fellows, first, partner, taker)
}

// Who is given it.

#[test]
fn who_wants_a_session_is_given_all_of_it_in_an_epoch_that_follows_the_last() {
    let mut fellows = Fellows::of_three();
    let (first, partner) = fellows.create();
    let taker = other(partner);
    fellows.say(taker, &want(5));
    let give = fellows.given(taker).expect("nothing is under way with it");
    assert_eq!((give.asked, give.view, give.secondary), (5, 11, tag(partner)));
    let next = epoch(11, first.counter + 1, taker);
    let whole = copy(next);
    let whole = decurion::wire::session::Copy { follows: first, version: 1, attributes: visits("1"), ..whole };
    assert_eq!(give.copy, whole);
    assert_eq!(fellows.role(), Some(Role::Given), "it keeps its copy until the new owner says so");
}

#[test]
fn those_who_want_it_at_one_time_are_served_in_their_order_and_each_is_told_once() {
    let mut fellows = Fellows::new(&ALL);
    let (_, partner) = fellows.create();
    let [one, two] = strangers(partner);
    let number = fellows.ask(write("2"));
    // What was written is not with the other copy yet. One of them has given up its first question.
    fellows.say(one, &want(1));
    fellows.say(two, &want(2));
    fellows.say(one, &want(3));
    fellows.say(partner, &Frame::Fetch(Question { id: ID, asked: 4 }));
    assert_eq!((fellows.given(one), fellows.given(two)), (None, None));
    fellows.agree(partner);
    assert_eq!(fellows.code(number), Some(Code::Ok));
    let give = fellows.given(two).expect("it asked before the last question of the other one");
    assert_eq!((give.asked, give.copy.version), (2, 2));
    let [here] = &told(&mut fellows, one)[..] else { panic!("one answer") };
    assert_eq!((here.asked, here.role, here.owner), (3, Role::Given, tag(two)));
    let shown = |frame: &Frame| matches!(frame, Frame::Shown(shown) if shown.asked == 4 && shown.copy.version == 2);
    assert!(fellows.heard(partner).iter().any(shown), "who only looks is shown it before");
}

#[test]
fn a_session_whose_second_copy_is_on_its_way_is_not_given_away_before_it_is_there() {
    let mut fellows = Fellows::of_three();
    let (_, partner) = fellows.create();
    let next = other(partner);
    fellows.install(12, &[ME, next]);
    assert_eq!(fellows.copied_to(ID), Some(next));
    fellows.say(next, &want(5));
    assert_eq!(fellows.given(next), None);
    fellows.agree(next);
    assert_eq!(fellows.given(next).map(|give| give.secondary), Some(tag(next)));
}

#[test]
fn the_only_copy_of_a_session_is_given_to_who_wants_it() {
    let mut fellows = Fellows::new(&[PEER, ME]);
    let number = fellows.ask(create());
    let first = fellows.held().expect("it was created").1;
    assert_eq!(fellows.copied_to(ID), Some(PEER));
    let full = Refused { id: ID, epoch: first, version: 1, held: Default::default(), why: Objection::Full };
    fellows.object(PEER, full.clone());
    assert_eq!(fellows.code(number), Some(Code::Unreplicated));
    fellows.say(PEER, &want(5));
    assert_eq!(fellows.given(PEER).map(|give| give.secondary), Some(NOBODY));
    // If it cannot be taken it is this member's again, and serves.
    let number = fellows.ask(SessionOp::Read);
    assert_eq!(fellows.code(number), None);
    let next = epoch(11, first.counter + 1, PEER);
    fellows.object(PEER, Refused { epoch: next, ..full });
    assert_eq!(fellows.code(number), Some(Code::Ok));
}

/// Its first sight of the session is the wish: it looks into few at a time.
#[test]
fn who_wants_a_session_whose_owner_has_just_gone_is_given_it_by_the_holder_of_the_other_copy() {
    let mut fellows = Fellows::with(&ALL, |setup| setup.sessions.restore_bytes_per_s = 1);
    for id in [1, 2, 7] {
        let copy = decurion::wire::session::Copy { id: decurion::types::SessionId(id), ..copy(epoch(9, 1, PEER)) };
        fellows.say(PEER, &Frame::Copy(copy));
    }
    fellows.install(12, &[ME, THIRD, FRESH]);
    assert_eq!(fellows.role(), Some(Role::Secondary), "it was not looked at yet");
    fellows.say(THIRD, &want(5));
    let here = told(&mut fellows, THIRD);
    assert_eq!(here.len(), 0, "it need not ask again");
    assert_eq!(fellows.role(), Some(Role::Primary));
}

// Until the new owner says that it has it.

#[test]
fn the_new_owner_says_when_the_copy_that_it_was_made_of_can_go() {
    let (mut fellows, first, partner, taker) = given();
    let next = epoch(11, first.counter + 1, taker);
    for not_it in [first, epoch(11, 9, taker), epoch(11, first.counter + 1, partner)] {
        fellows.say(taker, &Frame::Release(About { id: ID, epoch: not_it }));
        assert_eq!(fellows.role(), Some(Role::Given), "{not_it:?}");
    }
    fellows.say(taker, &Frame::Release(About { id: ID, epoch: next }));
    assert_eq!(fellows.held(), None);
}

#[test]
fn who_gave_a_session_holds_its_other_copy_if_the_new_owner_asks_it_to() {
    let (mut fellows, first, partner, taker) = given();
    let next = epoch(11, first.counter + 1, taker);
    let number = fellows.ask(SessionOp::Read);
    let adopt = |epoch| Frame::Adopt(Adopt { id: ID, epoch, follows: first, version: 1 });
    // Nobody but the one to whom it was given, and in no other epoch.
    fellows.say(taker, &adopt(epoch(11, first.counter + 2, taker)));
    fellows.say(partner, &adopt(epoch(11, first.counter + 1, partner)));
    assert_eq!((fellows.objections(taker).len(), fellows.objections(partner).len()), (1, 1));
    assert_eq!(fellows.held(), Some((Role::Given, first, 1)));
    fellows.say(taker, &adopt(next));
    assert_eq!(fellows.held(), Some((Role::Secondary, next, 1)));
    let wants = |frame: &Frame| matches!(frame, Frame::Want(_));
    assert!(fellows.heard(taker).iter().any(wants), "the host of this member wants it back");
    assert_eq!(fellows.code(number), None);
    // It belongs to nobody but this member once that one is gone.
    fellows.install(12, &[ME, partner]);
    assert_eq!(fellows.role(), Some(Role::Primary));
    let here = whereabouts(&mut fellows, partner);
    assert_eq!((here.role, here.owner), (Role::Primary, tag(ME)));
}

#[test]
fn a_session_that_cannot_be_taken_is_taken_back_if_whoever_holds_the_other_copy_agrees() {
    let (mut fellows, first, partner, taker) = given();
    let next = epoch(11, first.counter + 1, taker);
    let why = |epoch| Refused { id: ID, epoch, version: 1, held: Default::default(), why: Objection::Full };
    fellows.object(partner, why(next));
    fellows.object(taker, why(first));
    assert_eq!(fellows.role(), Some(Role::Given), "not those words");
    fellows.heard(partner);
    fellows.object(taker, why(next));
    let mine = epoch(11, next.counter + 1, ME);
    assert_eq!(fellows.held(), Some((Role::Claimant, mine, 1)));
    let asked = Frame::Adopt(Adopt { id: ID, epoch: mine, follows: first, version: 1 });
    assert_eq!(fellows.heard(partner), [asked]);
    let number = fellows.ask(SessionOp::Read);
    assert_eq!(fellows.code(number), None, "that one may follow somebody else");
    fellows.agree(partner);
    assert_eq!(fellows.held(), Some((Role::Primary, mine, 1)));
    assert_eq!(fellows.answer(number).map(|a| (a.code, a.holders)), Some((Code::Ok, [tag(ME), tag(partner)])));
}

#[test]
fn a_session_is_taken_back_from_who_is_gone_if_whoever_holds_the_other_copy_agrees() {
    let (mut fellows, first, partner, _) = given();
    fellows.heard(partner);
    fellows.install(12, &[ME, partner]);
    let mine = epoch(12, first.counter + 2, ME);
    assert_eq!(fellows.held(), Some((Role::Claimant, mine, 1)));
    let asked = Frame::Adopt(Adopt { id: ID, epoch: mine, follows: first, version: 1 });
    assert!(fellows.heard(partner).contains(&asked));
    // It had adopted the one who is gone before.
    let other = epoch(11, first.counter + 1, FRESH);
    fellows.object(partner, Refused { id: ID, epoch: mine, version: 1, held: other, why: Objection::Epoch });
    assert_eq!(fellows.held(), None, "the session went another way");
}

#[test]
fn a_session_is_taken_back_without_a_word_when_all_who_could_have_it_are_gone() {
    let (mut fellows, first, ..) = given();
    fellows.install(12, &[ME, FRESH]);
    assert_eq!(fellows.held(), Some((Role::Primary, epoch(12, first.counter + 2, ME), 1)));
    assert_eq!(fellows.copied_to(ID), Some(FRESH));
}

// Who holds the other copy.

#[test]
fn who_holds_the_other_copy_follows_an_owner_that_follows_its_own_and_has_its_version() {
    let (first, next) = (epoch(9, 1, PEER), epoch(11, 2, THIRD));
    let adopt = |epoch, follows, version| Frame::Adopt(Adopt { id: ID, epoch, follows, version });
    for (about, frame, follows) in [
        ("the next one", adopt(next, first, 5), true),
        ("another version", adopt(next, first, 6), false),
        ("another epoch", adopt(next, epoch(9, 1, FRESH), 5), false),
    ] {
        let mut fellows = Fellows::new(&ALL);
        fellows.say(PEER, &Frame::Copy(copy(first)));
        fellows.say(THIRD, &frame);
        let expected = if follows { next } else { first };
        assert_eq!(fellows.held(), Some((Role::Secondary, expected, 5)), "{about}");
        assert_eq!(fellows.objections(THIRD).len(), usize::from(!follows), "{about}");
    }
    // It is asked again by one that it follows already, whatever its version is by now.
    let mut fellows = Fellows::new(&ALL);
    fellows.say(PEER, &Frame::Copy(copy(first)));
    fellows.say(PEER, &adopt(first, epoch(8, 1, THIRD), 4));
    assert_eq!(fellows.objections(PEER), []);
    assert_eq!(fellows.held(), Some((Role::Secondary, first, 5)));
}

/// A copy that moves is held beside another one, until somebody else owns the session.
#[test]
fn who_follows_another_owner_holds_its_copy_beside_nobody_elses() {
    let (first, next) = (epoch(9, 1, PEER), epoch(11, 2, THIRD));
    let mut fellows = Fellows::new(&ALL);
    fellows.say(PEER, &Frame::Move(Move { copy: copy(first), beside: tag(FRESH) }));
    fellows.say(THIRD, &Frame::Adopt(Adopt { id: ID, epoch: next, follows: first, version: 5 }));
    fellows.install(12, &[PEER, ME, FRESH]);
    fellows.pass(MOMENT);
    assert_eq!(fellows.role(), Some(Role::Primary), "nobody else can have it");
}

#[test]
fn who_adopts_another_owner_looks_for_what_its_own_host_wants_there() {
    let (first, next) = (epoch(9, 1, PEER), epoch(11, 2, THIRD));
    let mut fellows = Fellows::new(&ALL);
    fellows.say(PEER, &Frame::Copy(copy(first)));
    let number = fellows.ask(SessionOp::Read);
    assert!(fellows.heard(PEER).iter().any(|frame| matches!(frame, Frame::Want(_))));
    fellows.say(THIRD, &Frame::Adopt(Adopt { id: ID, epoch: next, follows: first, version: 5 }));
    assert!(fellows.heard(THIRD).iter().any(|frame| matches!(frame, Frame::Want(_))), "at once");
    fellows.pass(millis(10_100));
    assert_eq!(fellows.code(number), Some(Code::Timeout), "nobody has answered");
}
