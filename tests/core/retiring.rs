//! Who leaves has nothing that would go with it, and what others have at it moves away; at no moment is a copy counted that is not
//! there, or are there two that could both take over (S1, S3, S6).

use crate::claiming::here;
use crate::fellows::{Fellows, ID, MOMENT, copy, epoch, other, tag, write};
use crate::stage::{FRESH, ME, PEER, THIRD};
use decurion::core::{Input, SessionOp};
use decurion::types::{Code, Epoch, Incarnation, SessionId, millis};
use decurion::wire::control::Control;
use decurion::wire::session::{About, Adopt, Copy, Frame, Move, Objection, Question, Refused, Role};

const ALL: [Incarnation; 4] = [PEER, ME, THIRD, FRESH];

fn leaving(members: &[Incarnation]) -> Fellows {
    Fellows::with(members, |setup| setup.leave_timeout = millis(60_000))
}

fn leave(fellows: &mut Fellows) {
    fellows.stage.tell(Input::Leave);
    fellows.pass(millis(30));
}

fn has_left(fellows: &mut Fellows) -> bool {
    fellows.pass(MOMENT);
    fellows.stage.heard(PEER).contains(&Control::Leave(ME))
}

fn inherits(frames: &[Frame]) -> Option<Adopt> {
    frames.iter().find_map(|frame| match frame {
        Frame::Inherit(adopt) => Some(adopt.clone()),
        _ => None,
    })
}

fn moves(frames: &[Frame]) -> Option<Move> {
    frames.iter().find_map(|frame| match frame {
        Frame::Move(it) => Some(it.clone()),
        _ => None,
    })
}

fn wrote(frames: &[Frame]) -> bool {
    frames.iter().any(|frame| matches!(frame, Frame::Change(_)))
}

// This member leaves.

#[test]
fn who_leaves_leaves_its_sessions_to_the_holders_of_their_other_copies_at_once() {
    let mut fellows = leaving(&[PEER, ME, THIRD]);
    let (first, partner) = fellows.create();
    leave(&mut fellows);
    let next = epoch(11, first.counter + 1, partner);
    let will = Adopt { id: ID, epoch: next, follows: first, version: 1 };
    assert_eq!(inherits(&fellows.heard(partner)), Some(will));
    assert_eq!(fellows.role(), Some(Role::Given));
    assert!(!has_left(&mut fellows), "it holds the other copy until the heir says so");
    fellows.say(partner, &Frame::Adopt(Adopt { id: ID, epoch: next, follows: first, version: 1 }));
    assert_eq!(fellows.role(), Some(Role::Secondary));
    fellows.say(partner, &Frame::Release(About { id: ID, epoch: next }));
    assert_eq!(fellows.held(), None);
    assert!(has_left(&mut fellows));
}

#[test]
fn who_leaves_leaves_nothing_to_whom_it_does_not_know_to_have_it() {
    let mut fellows = leaving(&[PEER, ME, THIRD]);
    let (_, partner) = fellows.create();
    let next = other(partner);
    fellows.install(12, &[ME, next]);
    assert_eq!(fellows.copied_to(ID), Some(next));
    leave(&mut fellows);
    assert_eq!((inherits(&fellows.heard(next)), fellows.role()), (None, Some(Role::Primary)));
    fellows.agree(next);
    fellows.pass(millis(30));
    assert!(inherits(&fellows.heard(next)).is_some());
}

#[test]
fn who_leaves_takes_no_more_copies_and_tells_all_of_it_and_those_who_come_later() {
    let mut fellows = leaving(&[PEER, ME, THIRD]);
    // Something is under way here, which keeps it.
    fellows.ask_about(ID, [tag(PEER); 2], SessionOp::Read);
    fellows.heard(PEER);
    leave(&mut fellows);
    assert_eq!(fellows.heard(PEER), [Frame::Retiring(())]);
    assert_eq!(fellows.heard(THIRD), [Frame::Retiring(())]);
    fellows.say(THIRD, &Frame::Copy(copy(epoch(9, 1, THIRD))));
    assert_eq!(fellows.objections(THIRD).iter().map(|r| r.why).collect::<Vec<_>>(), [Objection::Full]);
    assert_eq!(fellows.held(), None);
    fellows.install(12, &ALL);
    let retiring = |frame: &&Frame| **frame == Frame::Retiring(());
    let counts = [PEER, THIRD, FRESH].map(|who| fellows.heard(who).iter().filter(retiring).count());
    assert_eq!(counts, [0, 0, 1]);
}

#[test]
fn who_leaves_goes_only_when_what_its_host_asked_for_is_answered() {
    // Something that is looked for, and the end of a session that the other holder has not confirmed.
    for ends in [false, true] {
        let mut fellows = leaving(&[PEER, ME, THIRD]);
        let mut partner = PEER;
        let number = match ends {
            false => fellows.ask_about(ID, [tag(PEER); 2], SessionOp::Read),
            true => {
                partner = fellows.create().1;
                fellows.ask(SessionOp::Remove)
            }
        };
        leave(&mut fellows);
        assert!(!has_left(&mut fellows), "{ends}");
        if ends {
            fellows.agree(partner);
            assert_eq!(fellows.code(number), Some(Code::Ok));
        } else {
            fellows.pass(millis(10_000));
            assert_eq!(fellows.code(number), Some(Code::Timeout));
        }
        assert!(has_left(&mut fellows), "{ends}");
    }
}

#[test]
fn who_leaves_goes_at_once_when_nobody_is_left_who_stays() {
    let mut fellows = leaving(&[PEER, ME]);
    fellows.create();
    fellows.say(PEER, &Frame::Retiring(()));
    leave(&mut fellows);
    assert!(has_left(&mut fellows));
    assert_eq!(fellows.role(), Some(Role::Primary));
}

// The holder of a copy leaves.

/// The holder of the other copy of a session leaves, and the copy is on its way to another: the epoch, the old holder, and the new.
fn moving() -> (Fellows, Epoch, Incarnation, Incarnation) {
    let mut fellows = Fellows::of_three();
    let (first, old) = fellows.create();
    let new = other(old);
    fellows.say(old, &Frame::Retiring(()));
    fellows.pass(millis(30));
    let it = moves(&fellows.heard(new)).expect("somebody else can hold it");
    assert_eq!((it.copy.epoch, it.copy.follows, it.copy.version, it.beside), (first, first, 1, tag(old)));
    (fellows, first, old, new)
}

fn single(fellows: &Fellows) -> u64 {
    fellows.stage.member.session_counts().single
}

#[test]
fn a_copy_moves_away_from_who_leaves_and_only_then_the_old_one_goes() {
    let (mut fellows, first, old, new) = moving();
    let number = fellows.ask(write("2"));
    fellows.heard(old);
    assert_eq!(fellows.held(), Some((Role::Primary, first, 1)), "no change begins meanwhile");
    fellows.agree(new);
    assert_eq!(fellows.heard(old), [Frame::Release(About { id: ID, epoch: first })]);
    assert_eq!(fellows.held(), Some((Role::Primary, first, 1)));
    fellows.agree(old);
    assert_eq!(fellows.held(), Some((Role::Primary, first, 2)));
    assert!(wrote(&fellows.heard(new)) && !wrote(&fellows.heard(old)), "the new one has it");
    fellows.agree(new);
    assert_eq!(fellows.answer(number).map(|a| (a.code, a.holders)), Some((Code::Ok, [tag(ME), tag(new)])));
    assert_eq!(single(&fellows), 0);
}

#[test]
fn a_new_holder_that_does_not_take_the_copy_is_no_holder_and_the_old_one_stays() {
    let (mut fellows, first, old, _) = moving();
    fellows.ask(write("2"));
    fellows.object(old, Refused { id: ID, epoch: first, version: 1, held: first, why: Objection::Missing });
    assert_eq!(fellows.held(), Some((Role::Primary, first, 2)), "what is said of the old one counts as always");
    let (mut fellows, first, old, new) = moving();
    fellows.object(new, Refused { id: ID, epoch: first, version: 1, held: Epoch::default(), why: Objection::Full });
    fellows.agree(new);
    let number = fellows.ask(write("2"));
    assert_eq!(fellows.held(), Some((Role::Primary, first, 2)));
    assert!(wrote(&fellows.heard(old)) && !wrote(&fellows.heard(new)));
    fellows.agree(old);
    assert_eq!(fellows.answer(number).map(|a| (a.code, a.holders)), Some((Code::Ok, [tag(ME), tag(old)])));
}

#[test]
fn where_the_new_holder_is_lost_the_old_one_stays_unless_it_was_asked_to_let_go() {
    for asked in [false, true] {
        let (mut fellows, first, old, new) = moving();
        if asked {
            fellows.agree(new);
        }
        let number = fellows.ask(write("2"));
        fellows.install(12, &[old, ME, FRESH]);
        fellows.heard(old);
        fellows.pass(MOMENT);
        if asked {
            assert_eq!(fellows.held(), Some((Role::Primary, first, 1)), "it may hold its copy still");
            fellows.agree(old);
            assert_eq!(fellows.held(), Some((Role::Primary, first, 2)));
            assert_eq!((fellows.code(number), single(&fellows)), (None, 1));
            assert_eq!(fellows.copied_to(ID), Some(FRESH), "it is copied anew");
        } else {
            assert_eq!(fellows.held(), Some((Role::Primary, first, 2)));
            fellows.agree(old);
            assert_eq!(fellows.answer(number).map(|a| (a.code, a.holders[1])), Some((Code::Ok, tag(old))));
        }
    }
}

#[test]
fn where_the_old_holder_is_lost_the_new_one_counts_once_it_says_that_it_has_it() {
    let (mut fellows, first, _, new) = moving();
    fellows.install(12, &[ME, new]);
    assert_eq!((fellows.role(), single(&fellows)), (Some(Role::Primary), 1));
    fellows.agree(new);
    assert_eq!(single(&fellows), 0);
    let number = fellows.ask(write("2"));
    assert_eq!(fellows.held(), Some((Role::Primary, first, 2)));
    fellows.agree(new);
    assert_eq!(fellows.answer(number).map(|a| (a.code, a.holders[1])), Some((Code::Ok, tag(new))));
    // It had it already, and the old one was asked to let go.
    let (mut fellows, _, _, new) = moving();
    fellows.agree(new);
    fellows.install(12, &[ME, new]);
    assert_eq!(single(&fellows), 0);
}

#[test]
fn a_copy_that_was_on_its_way_is_called_back_when_the_session_is_somebody_elses() {
    let (mut fellows, first, old, new) = moving();
    let newer = epoch(11, first.counter + 1, old);
    fellows.object(old, Refused { id: ID, epoch: first, version: 1, held: newer, why: Objection::Epoch });
    assert_eq!(fellows.held(), None);
    assert_eq!(fellows.heard(new), [Frame::Release(About { id: ID, epoch: first })]);
    // The new holder may be the one that says so.
    let (mut fellows, first, _, new) = moving();
    fellows.object(new, Refused { id: ID, epoch: first, version: 1, held: newer, why: Objection::Epoch });
    assert_eq!(fellows.held(), None);
}

// A copy that this member holds is left to it.

fn inherit(follows: Epoch, version: u64) -> Frame {
    Frame::Inherit(Adopt { id: ID, epoch: follows.next(11, tag(ME)), follows, version })
}

#[test]
fn an_heir_serves_once_the_owner_has_agreed_that_it_is_one() {
    let first = epoch(9, 1, PEER);
    let mut fellows = Fellows::of_three();
    fellows.say(PEER, &Frame::Copy(copy(first)));
    let number = fellows.ask(SessionOp::Read);
    fellows.say(PEER, &inherit(first, 4));
    assert_eq!(fellows.objections(PEER).len(), 1, "it has another version");
    assert_eq!(fellows.role(), Some(Role::Secondary));
    fellows.say(PEER, &inherit(first, 5));
    let mine = first.next(11, tag(ME));
    let asked = Frame::Adopt(Adopt { id: ID, epoch: mine, follows: first, version: 5 });
    assert_eq!(fellows.heard(PEER), [asked]);
    assert_eq!((fellows.role(), fellows.code(number)), (Some(Role::Claimant), None));
    fellows.agree(PEER);
    assert_eq!(fellows.answer(number).map(|a| (a.code, a.holders)), Some((Code::Ok, [tag(ME), tag(PEER)])));
    // From now on it is like any other: its other copy moves when its holder leaves.
    fellows.say(PEER, &Frame::Retiring(()));
    fellows.pass(millis(30));
    assert!(moves(&fellows.heard(THIRD)).is_some());
}

/// The copy came here in the place of another, whose holder is still there.
#[test]
fn an_heir_whose_giver_is_lost_has_no_other_copy_and_makes_one() {
    let first = epoch(9, 1, PEER);
    let mut fellows = Fellows::new(&ALL);
    fellows.say(PEER, &Frame::Move(Move { copy: copy(first), beside: tag(FRESH) }));
    fellows.say(PEER, &inherit(first, 5));
    fellows.install(12, &[ME, THIRD, FRESH]);
    assert_eq!(fellows.role(), Some(Role::Primary));
    let partner = fellows.copied_to(ID).expect("the second copy is made anew");
    assert_eq!(single(&fellows), 1);
    fellows.agree(partner);
    assert_eq!(single(&fellows), 0);
}

// Two hold copies of one epoch, and the owner is lost.

/// A copy came here in the place of that of `THIRD`, and the owner is gone: the epoch before, and ours.
fn outliving() -> (Fellows, Epoch, Epoch) {
    let first = epoch(9, 1, PEER);
    let mut fellows = Fellows::new(&ALL);
    fellows.say(PEER, &Frame::Move(Move { copy: copy(first), beside: tag(THIRD) }));
    fellows.install(12, &[ME, THIRD, FRESH]);
    let mine = first.next(12, tag(ME));
    assert_eq!(fellows.held(), Some((Role::Claimant, mine, 5)));
    let asked = Frame::Outlive(About { id: ID, epoch: first });
    assert!(fellows.heard(THIRD).contains(&asked));
    (fellows, first, mine)
}

#[test]
fn who_holds_a_copy_in_the_place_of_another_owns_the_session_if_that_one_has_let_go() {
    let (mut fellows, _, mine) = outliving();
    let number = fellows.ask(SessionOp::Read);
    fellows.agree(FRESH);
    assert_eq!(fellows.code(number), None);
    fellows.agree(THIRD);
    assert_eq!(fellows.held(), Some((Role::Primary, mine, 5)));
    assert_eq!(fellows.answer(number).map(|a| (a.code, a.holders[0])), Some((Code::Ok, tag(ME))));
}

#[test]
fn who_holds_a_copy_in_the_place_of_another_leaves_the_session_to_that_one_if_it_has_not_let_go() {
    let refused = |epoch| Refused { id: ID, epoch, version: 0, held: epoch, why: Objection::Epoch };
    let (mut fellows, first, mine) = outliving();
    let number = fellows.ask(SessionOp::Read);
    fellows.object(FRESH, refused(first));
    fellows.object(THIRD, refused(epoch(9, 9, PEER)));
    assert_eq!(fellows.held(), Some((Role::Claimant, mine, 5)), "neither is about this claim");
    fellows.object(THIRD, refused(first));
    fellows.agree(THIRD);
    assert_eq!((fellows.held(), fellows.code(number)), (Some((Role::Orphan, first, 5)), None));
    let asked = fellows.asked(FRESH).expect("it looks for it");
    fellows.say(FRESH, &here(asked, Role::None, Epoch::default(), 0));
    fellows.say(THIRD, &here(asked, Role::Primary, epoch(12, 3, THIRD), 6));
    assert!(fellows.heard(THIRD).iter().any(|frame| matches!(frame, Frame::Want(_))), "that one has it");
    assert_eq!((fellows.role(), fellows.code(number)), (Some(Role::Orphan), None));
}

/// Each was refused by the other: what one was asked for came too late, say.
#[test]
fn who_must_leave_the_session_to_another_that_has_nothing_goes_on_once_all_have_said_so() {
    let (mut fellows, first, _) = outliving();
    let number = fellows.ask(SessionOp::Read);
    fellows.object(THIRD, Refused { id: ID, epoch: first, version: 0, held: first, why: Objection::Epoch });
    fellows.agree(THIRD);
    let asked = fellows.asked(FRESH).expect("it looks for it");
    for who in [FRESH, THIRD] {
        fellows.say(who, &here(asked, Role::None, Epoch::default(), 0));
    }
    assert_eq!((fellows.role(), fellows.code(number)), (Some(Role::Primary), Some(Code::Ok)));
}

/// A copy came here beside that of `THIRD`, and is looked at only when `PEER` has gone in view 12 and `THIRD` in this one.
fn late(gone: u64) -> Fellows {
    let first = epoch(9, 1, PEER);
    let mut fellows = Fellows::with(&ALL, |setup| setup.sessions.restore_bytes_per_s = 1);
    fellows.say(PEER, &Frame::Copy(Copy { id: SessionId(1), ..copy(first) }));
    fellows.say(PEER, &Frame::Move(Move { copy: copy(first), beside: tag(THIRD) }));
    for view in 12..=13 {
        fellows.install(view, if view < gone { &[THIRD, ME, FRESH] } else { &[ME, FRESH] });
    }
    assert_eq!(fellows.held(), Some((Role::Secondary, first, 5)), "another one was looked at first");
    fellows.pass(MOMENT);
    fellows
}

/// It took the session over when the owner was lost, and may have given it to somebody before it left.
#[test]
fn a_copy_beside_one_that_was_there_without_the_owner_is_used_once_nobody_has_anything_newer() {
    let mut fellows = late(13);
    assert_eq!(fellows.role(), Some(Role::Orphan));
    let asked = fellows.asked(FRESH).expect("all are asked");
    fellows.say(FRESH, &here(asked, Role::Primary, epoch(12, 3, FRESH), 6));
    assert_eq!(fellows.held(), None);

    let mut fellows = late(13);
    let asked = fellows.asked(FRESH).expect("all are asked");
    fellows.say(FRESH, &here(asked, Role::None, Epoch::default(), 0));
    assert_eq!(fellows.role(), Some(Role::Primary));

    assert_eq!(late(12).role(), Some(Role::Primary), "they have gone together");
}

#[test]
fn who_has_no_copy_any_more_says_that_it_let_go_unless_it_had_the_session_since() {
    let first = epoch(9, 1, PEER);
    let outlive = Frame::Outlive(About { id: ID, epoch: first });
    for since in [false, true] {
        let mut fellows = Fellows::of_three();
        fellows.say(PEER, &Frame::Copy(copy(first)));
        if since {
            fellows.install(12, &[ME, THIRD]);
            let number = fellows.ask(SessionOp::Remove);
            fellows.agree(THIRD);
            assert_eq!(fellows.code(number), Some(Code::Ok));
        } else {
            fellows.say(PEER, &Frame::Release(About { id: ID, epoch: first }));
        }
        assert_eq!(fellows.held(), None);
        fellows.objections(THIRD);
        fellows.say(THIRD, &outlive);
        assert_eq!(fellows.objections(THIRD).len(), usize::from(since));
    }
}

#[test]
fn who_was_to_let_go_of_its_copy_does_so_if_it_has_not_taken_over() {
    let first = epoch(9, 1, PEER);
    let outlive = |epoch| Frame::Outlive(About { id: ID, epoch });
    let mut fellows = Fellows::of_three();
    fellows.say(PEER, &Frame::Copy(copy(first)));
    fellows.say(THIRD, &outlive(epoch(9, 9, PEER)));
    assert_eq!(fellows.objections(THIRD).len(), 1);
    assert_eq!(fellows.role(), Some(Role::Secondary));
    fellows.say(THIRD, &outlive(first));
    assert_eq!((fellows.held(), fellows.objections(THIRD).len()), (None, 0));
    // It knew before that the owner is gone.
    let mut fellows = Fellows::of_three();
    fellows.say(PEER, &Frame::Copy(copy(first)));
    fellows.install(12, &[ME, THIRD]);
    fellows.objections(THIRD);
    fellows.say(THIRD, &outlive(first));
    assert_eq!(fellows.objections(THIRD).iter().map(|r| r.epoch).collect::<Vec<_>>(), [first]);
    assert_eq!(fellows.role(), Some(Role::Primary));
}

#[test]
fn who_wants_a_session_whose_copy_moves_is_given_it_afterwards() {
    let (mut fellows, _, old, new) = moving();
    fellows.say(new, &Frame::Want(Question { id: ID, asked: 3 }));
    assert_eq!(fellows.given(new), None);
    fellows.agree(new);
    fellows.agree(old);
    assert_eq!(fellows.given(new).map(|give| give.secondary), Some(tag(new)));
}
