//! A session is given to a member: before it answers for it, whoever else could claim it has agreed or let go (S3, S5).

use crate::fellows::{Fellows, ID, MOMENT, NOBODY, copy, epoch, tag, visits, write};
use crate::stage::{FRESH, ME, PEER, THIRD};
use decurion::core::{Input, SessionOp};
use decurion::types::{Code, Epoch, Incarnation, SessionId, millis};
use decurion::wire::session::{About, Adopt, Copy, Frame, Give, Here, Objection, Question, Refused, Role};

const ALL: [Incarnation; 4] = [PEER, ME, THIRD, FRESH];

fn first() -> Epoch {
    epoch(9, 1, PEER)
}

fn adopt(epoch: Epoch, follows: Epoch) -> Frame {
    Frame::Adopt(Adopt { id: ID, epoch, follows, version: 5 })
}

fn release(epoch: Epoch) -> Frame {
    Frame::Release(About { id: ID, epoch })
}

/// What somebody has of the session.
pub fn here(asked: u64, role: Role, epoch: Epoch, version: u64) -> Frame {
    let (owner, was, others, lives) = (epoch.owner, NOBODY, (NOBODY, NOBODY), Vec::new());
    Frame::Here(Here { id: ID, asked, role, epoch, version, owner, was, others, lives })
}

fn wanted(frames: &[Frame]) -> bool {
    frames.iter().any(|frame| matches!(frame, Frame::Want(_)))
}

/// Its host wants a session that `PEER` owns, and `PEER` gives it; `THIRD` holds the other copy. The epoch, and the request.
fn asked_and_given(members: &[Incarnation]) -> (Fellows, Epoch, u64) {
    let mut fellows = Fellows::new(members);
    let number = fellows.ask_about(ID, [tag(PEER), NOBODY], SessionOp::Read);
    assert!(wanted(&fellows.heard(PEER)));
    let mine = fellows.give(PEER, first(), tag(THIRD));
    assert_eq!(fellows.held(), Some((Role::Claimant, mine, 5)));
    (fellows, mine, number)
}

// Who has to agree.

#[test]
fn a_session_is_served_once_the_other_holder_follows_and_the_giver_has_let_go() {
    let (mut fellows, mine, number) = asked_and_given(&[PEER, ME, THIRD]);
    assert_eq!(fellows.heard(THIRD), [adopt(mine, first())]);
    assert_eq!(fellows.heard(PEER), []);
    fellows.agree(PEER);
    assert_eq!(fellows.role(), Some(Role::Claimant), "that was not the one that was asked");
    fellows.agree(THIRD);
    assert_eq!(fellows.heard(PEER), [release(mine)]);
    assert_eq!((fellows.role(), fellows.code(number)), (Some(Role::Claimant), None));
    fellows.agree(PEER);
    let answer = fellows.answer(number).expect("it is this member's");
    assert_eq!((answer.code, answer.holders), (Code::Ok, [tag(ME), tag(THIRD)]));
    assert_eq!(answer.attributes, Some(visits("41")));
    assert_eq!(fellows.stage.member.session_counts().single, 0, "the other copy needs not be made again");
}

#[test]
fn who_holds_the_other_copy_itself_asks_the_giver_alone() {
    let mut fellows = Fellows::of_three();
    fellows.say(PEER, &Frame::Copy(copy(first())));
    let number = fellows.ask(SessionOp::Read);
    fellows.heard(PEER);
    let mine = fellows.give(PEER, first(), tag(ME));
    assert_eq!(fellows.heard(PEER), [adopt(mine, first())]);
    assert_eq!(fellows.code(number), None);
    fellows.agree(PEER);
    assert_eq!(fellows.heard(PEER), [], "it keeps its copy, which is the other one now");
    assert_eq!(fellows.answer(number).map(|a| (a.code, a.holders)), Some((Code::Ok, [tag(ME), tag(PEER)])));
}

#[test]
fn where_the_other_holder_is_gone_the_giver_is_asked_in_its_place() {
    for agrees in [true, false] {
        let (mut fellows, mine, number) = asked_and_given(&[PEER, ME, THIRD]);
        fellows.install(12, &[PEER, ME]);
        assert_eq!(fellows.heard(PEER), [adopt(mine, first())]);
        assert_eq!(fellows.role(), Some(Role::Claimant));
        if agrees {
            fellows.agree(PEER);
            assert_eq!(fellows.answer(number).map(|a| a.holders), Some([tag(ME), tag(PEER)]));
        } else {
            fellows.object(PEER, refused(mine));
            assert_eq!(fellows.held(), None);
        }
    }
}

#[test]
fn where_the_giver_is_gone_the_other_holder_is_enough() {
    // Before it has agreed, and after.
    for agreed in [false, true] {
        let (mut fellows, mine, number) = asked_and_given(&[PEER, ME, THIRD]);
        if agreed {
            fellows.agree(THIRD);
        }
        fellows.install(12, &[ME, THIRD]);
        assert_eq!(fellows.role(), Some(if agreed { Role::Primary } else { Role::Claimant }), "{agreed}");
        fellows.agree(THIRD);
        assert_eq!(fellows.held(), Some((Role::Primary, mine, 5)));
        assert_eq!(fellows.answer(number).map(|a| a.holders), Some([tag(ME), tag(THIRD)]));
    }
}

#[test]
fn where_all_who_could_claim_it_are_gone_it_is_served_at_once() {
    let (mut fellows, mine, number) = asked_and_given(&[PEER, ME, THIRD]);
    fellows.install(12, &[ME, FRESH]);
    assert_eq!(fellows.held(), Some((Role::Primary, mine, 5)));
    assert_eq!(fellows.answer(number).map(|a| (a.code, a.holders[0])), Some((Code::Ok, tag(ME))));
    assert_eq!(fellows.copied_to(ID), Some(FRESH));
}

#[test]
fn where_all_who_could_claim_it_are_gone_nobody_is_served_without_a_lease_of_the_view_in_which_they_are() {
    let (mut fellows, mine, number) = asked_and_given(&[PEER, ME, THIRD]);
    fellows.install_fenced(12, &[ME, FRESH]);
    assert_eq!((fellows.held(), fellows.code(number)), (Some((Role::Primary, mine, 5)), None));
}

/// The giver is gone in one view, and who was asked in the next one. The epoch, the request, and the number of the question to `FRESH`.
fn set_aside() -> (Fellows, Epoch, u64, u64) {
    let (mut fellows, mine, number) = asked_and_given(&ALL);
    fellows.install(12, &[ME, THIRD, FRESH]);
    fellows.install(13, &[ME, FRESH]);
    fellows.pass(MOMENT);
    assert_eq!((fellows.held(), fellows.code(number)), (Some((Role::Orphan, mine, 5)), None));
    let asked = fellows.asked(FRESH).expect("others are asked what they have");
    (fellows, mine, number, asked)
}

/// Who holds the other copy of a session whose owner is gone goes on with it, and may have given somebody a copy before it went too.
#[test]
fn who_was_asked_and_was_in_a_view_without_the_giver_may_have_gone_on() {
    let (mut fellows, _, number, asked) = set_aside();
    fellows.say(FRESH, &here(asked, Role::Primary, epoch(13, 3, FRESH), 6));
    assert!(wanted(&fellows.heard(FRESH)), "it is asked for the session");
    assert_eq!((fellows.role(), fellows.code(number)), (Some(Role::Orphan), None));
}

/// Nobody who is here has anything newer.
#[test]
fn a_claim_that_may_be_outdated_is_served_once_all_have_said_that_they_have_nothing() {
    let (mut fellows, mine, number, asked) = set_aside();
    fellows.say(FRESH, &here(asked, Role::None, Epoch::default(), 0));
    fellows.pass(MOMENT);
    assert_eq!(fellows.held(), Some((Role::Primary, mine.next(13, tag(ME)), 5)));
    assert_eq!(fellows.code(number), Some(Code::Ok));
}

/// Two have given it, one after the other. What was asked for the first is over.
#[test]
fn the_loss_of_who_was_asked_counts_for_the_claim_for_which_it_was_asked() {
    let (mut fellows, mine, _) = asked_and_given(&ALL);
    let second = Epoch { owner: tag(FRESH), ..mine };
    let mine = fellows.give(FRESH, second, tag(THIRD));
    fellows.heard(FRESH);
    fellows.install(12, &[PEER, ME, FRESH]);
    assert_eq!(fellows.heard(FRESH), [adopt(mine, second)], "once");
    assert_eq!(fellows.heard(PEER), []);
    assert_eq!(fellows.held(), Some((Role::Claimant, mine, 5)));
}

/// The second claim asks the same member as the first.
#[test]
fn a_word_about_one_claim_is_none_about_the_next() {
    let (mut fellows, mine, _) = asked_and_given(&ALL);
    let earlier = fellows.sent(THIRD);
    let second = Epoch { owner: tag(FRESH), ..mine };
    let mine = fellows.give(FRESH, second, tag(THIRD));
    fellows.agree_to(THIRD, earlier);
    fellows.agree(FRESH);
    assert_eq!((fellows.heard(PEER), fellows.heard(FRESH)), (Vec::new(), Vec::new()));
    assert_eq!(fellows.held(), Some((Role::Claimant, mine, 5)));
    fellows.agree(THIRD);
    assert_eq!(fellows.heard(FRESH), [release(mine)]);
}

// Who objects.

fn refused(epoch: Epoch) -> Refused {
    Refused { id: ID, epoch, version: 5, held: Epoch::default(), why: Objection::Epoch }
}

#[test]
fn a_claim_that_the_other_holder_refuses_is_given_up_the_giver_is_told_and_the_session_is_looked_for() {
    let (mut fellows, mine, number) = asked_and_given(&ALL);
    fellows.say(FRESH, &Frame::Want(Question { id: ID, asked: 3 }));
    fellows.say(FRESH, &Frame::Fetch(Question { id: ID, asked: 4 }));
    fellows.object(THIRD, refused(Epoch { counter: 99, ..mine }));
    assert_eq!(fellows.role(), Some(Role::Claimant), "that was said of another claim");
    assert_eq!(fellows.heard(FRESH), []);
    fellows.object(THIRD, refused(mine));
    assert_eq!(fellows.held(), None);
    let heard = fellows.heard(PEER);
    assert!(heard.iter().any(|f| matches!(f, Frame::Refused(r) if r.epoch == mine && r.why == Objection::Epoch)));
    assert!(wanted(&heard), "it is looked for where it came from");
    let told = |frame| match frame {
        Frame::Here(here) => Some((here.asked, here.role)),
        _ => None,
    };
    let mut told: Vec<_> = fellows.heard(FRESH).into_iter().filter_map(told).collect();
    told.sort_unstable_by_key(|(asked, _)| *asked);
    assert_eq!(told, [(3, Role::None), (4, Role::None)], "who waits for it here is told that it is not here");
    assert_eq!(fellows.code(number), None);
    // The agreement of before is of no use any more.
    fellows.agree(THIRD);
    assert_eq!(fellows.held(), None);
}

// What is not taken.

#[test]
fn a_session_that_does_not_fit_is_refused_and_who_waits_for_it_is_told_and_may_ask_again() {
    let mut fellows = Fellows::with(&[PEER, ME, THIRD], |setup| setup.sessions.memory_bytes = 1_000);
    let number = fellows.ask_about(ID, [tag(PEER), NOBODY], SessionOp::Read);
    fellows.heard(PEER);
    let mine = first().next(11, tag(ME));
    let big = crate::support::pairs(&[("big", &[1; 2_000])]);
    let copy = Copy { follows: first(), attributes: big, ..copy(mine) };
    fellows.say(PEER, &Frame::Give(Give { asked: 1, view: 11, copy, secondary: tag(THIRD) }));
    assert_eq!(fellows.code(number), Some(Code::Full));
    let objections = fellows.objections(PEER);
    assert_eq!(
        objections.iter().map(|r| (r.epoch, r.version, r.why)).collect::<Vec<_>>(),
        [(mine, 5, Objection::Full)]
    );
    assert_eq!(fellows.held(), None);
    fellows.ask_about(ID, [tag(PEER), NOBODY], SessionOp::Read);
    assert!(wanted(&fellows.heard(PEER)), "what was found before is forgotten");
}

#[test]
fn a_session_that_was_given_here_is_taken_again_from_who_had_it_meanwhile() {
    let mut fellows = Fellows::of_three();
    let (first, partner) = fellows.create();
    let taker = crate::fellows::other(partner);
    fellows.say(taker, &Frame::Want(Question { id: ID, asked: 1 }));
    let theirs = fellows.given(taker).expect("it was asked for").copy.epoch;
    assert_eq!(theirs.counter, first.counter + 1);
    let mine = fellows.give(taker, theirs, tag(partner));
    assert_eq!(fellows.held(), Some((Role::Claimant, mine, 5)));
    fellows.agree(partner);
    fellows.agree(taker);
    assert_eq!(fellows.role(), Some(Role::Primary));
    fellows.say(partner, &Frame::Where(Question { id: ID, asked: 2 }));
    let owner = fellows.heard(partner).into_iter().find_map(|frame| match frame {
        Frame::Here(here) => Some(here.owner),
        _ => None,
    });
    assert_eq!(owner, Some(tag(ME)), "and not to whom it was given before");
}

// What was asked for and came is an ordinary session afterwards.

#[test]
fn a_session_that_was_asked_for_and_came_expires_like_any_other() {
    let mut fellows = Fellows::of_three();
    fellows.ask_about(ID, [tag(PEER), NOBODY], SessionOp::Read);
    let mine = first().next(11, tag(ME));
    let copy = Copy { follows: first(), ttl_s: 2, ..copy(mine) };
    fellows.say(PEER, &Frame::Give(Give { asked: 1, view: 11, copy, secondary: tag(THIRD) }));
    fellows.agree(THIRD);
    fellows.agree(PEER);
    assert_eq!(fellows.role(), Some(Role::Primary));
    fellows.pass(millis(1_500));
    assert_eq!(fellows.role(), Some(Role::Primary));
    fellows.pass(millis(3_000));
    assert_eq!(fellows.held(), None);
    assert!(fellows.has_expired());
}

#[test]
fn a_session_that_came_while_somebody_leaves_is_handed_on_at_once() {
    // The holder of its other copy leaves.
    let (mut fellows, ..) = asked_and_given(&ALL);
    fellows.say(THIRD, &Frame::Retiring(()));
    fellows.pass(millis(1_000));
    fellows.agree(THIRD);
    fellows.agree(PEER);
    assert_eq!(fellows.role(), Some(Role::Primary));
    fellows.pass(millis(30));
    let moves = |frame: &Frame| matches!(frame, Frame::Move(_));
    let heard = [fellows.heard(PEER), fellows.heard(FRESH)].concat();
    assert!(heard.iter().any(moves));
    // This member leaves.
    let (mut fellows, ..) = asked_and_given(&ALL);
    fellows.stage.tell(Input::Leave);
    fellows.pass(millis(1_000));
    fellows.agree(THIRD);
    fellows.agree(PEER);
    assert_eq!(fellows.role(), Some(Role::Primary));
    fellows.pass(millis(30));
    assert_eq!(fellows.role(), Some(Role::Given));
}

// Views that one has before the other.

/// A session given in the view of this number, in which `FRESH` has come, and holds the other copy.
fn early(view: u64, id: SessionId) -> Frame {
    let copy = Copy { id, follows: first(), ..copy(first().next(view, tag(ME))) };
    Frame::Give(Give { asked: 0, view, copy, secondary: tag(FRESH) })
}

#[test]
fn a_session_given_in_a_view_that_is_not_installed_yet_is_claimed_in_that_view() {
    let mut fellows = Fellows::of_three();
    fellows.say(PEER, &early(12, ID));
    fellows.pass(MOMENT);
    assert_eq!((fellows.held(), fellows.heard(PEER)), (None, Vec::new()));
    fellows.install(12, &ALL);
    let mine = first().next(12, tag(ME));
    assert_eq!(fellows.held(), Some((Role::Claimant, mine, 5)));
    assert!(fellows.heard(FRESH).contains(&adopt(mine, first())));
    assert_eq!(fellows.objections(PEER), []);
    // Nobody is left of whom it could be known what became of it.
    let mut fellows = Fellows::of_three();
    fellows.say(PEER, &early(12, ID));
    fellows.install(12, &[ME, THIRD, FRESH]);
    assert_eq!(fellows.held(), None);
}

#[test]
fn no_more_than_so_many_sessions_are_kept_for_a_view_to_come() {
    const EARLY: u128 = 256;
    let mut fellows = Fellows::of_three();
    (0..EARLY).for_each(|id| fellows.say(PEER, &early(12, SessionId(id + 100))));
    assert_eq!(fellows.objections(PEER), []);
    fellows.say(PEER, &early(12, SessionId(99)));
    assert_eq!(fellows.objections(PEER).len(), 1, "who gave it takes it back");
    fellows.install(12, &ALL);
    assert!((0..EARLY).all(|id| fellows.held_of(SessionId(id + 100)).is_some()));
    assert_eq!(fellows.held_of(SessionId(99)), None);
}

#[test]
fn who_claims_a_session_writes_nothing_before_it_is_its_own() {
    let (mut fellows, mine, _) = asked_and_given(&[PEER, ME, THIRD]);
    let number = fellows.ask(write("42"));
    fellows.agree(THIRD);
    assert_eq!((fellows.code(number), fellows.held()), (None, Some((Role::Claimant, mine, 5))));
    fellows.agree(PEER);
    assert_eq!((fellows.code(number), fellows.held()), (None, Some((Role::Primary, mine, 6))));
    fellows.agree(THIRD);
    assert_eq!(fellows.code(number), Some(Code::Ok));
}
