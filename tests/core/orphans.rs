//! A member that was removed and comes back knows what it held, and finds out whether the others went on without it: a session is
//! used again only if nobody can have (S5), and what is not is never shown as if it were.

use crate::fellows::{Fellows, ID, MOMENT, NOBODY, copy, create, epoch, tag, visits, write};
use crate::stage::{FIFTH, FRESH, ME, PEER, THIRD};
use decurion::core::{Event, SessionOp};
use decurion::types::{Code, Epoch, Incarnation, MemberTag, SessionId, millis};
use decurion::wire::session::{Copy, Departed, Frame, Give, Here, Move, Question, Role};

/// Where this member was before it was removed; it comes back in view 13.
fn mine() -> Epoch {
    epoch(9, 1, THIRD)
}

fn departed(members: &[(Incarnation, u64)]) -> Frame {
    Frame::Departed(Departed { members: members.iter().map(|(who, view)| (tag(*who), *view)).collect() })
}

fn here(role: Role, epoch: Epoch, version: u64, was: MemberTag) -> Here {
    let (others, lives) = ((NOBODY, NOBODY), Vec::new());
    Here { id: ID, asked: 0, role, epoch, version, owner: epoch.owner, was, others, lives }
}

/// It has a copy from when it was this one, beside which these could have gone on.
fn kin(epoch: Epoch, version: u64, was: Incarnation, others: (MemberTag, MemberTag)) -> Here {
    Here { others, lives: vec![tag(was)], ..here(Role::Orphan, epoch, version, tag(was)) }
}

/// It has nothing, and never had.
fn nothing() -> Here {
    here(Role::None, Epoch::default(), 0, NOBODY)
}

fn answer(fellows: &mut Fellows, who: Incarnation, answer: &Here) {
    let asked = fellows.asked(who).expect("all are asked");
    fellows.say(who, &Frame::Here(Here { asked, ..answer.clone() }));
}

/// Held the copy of a session that `THIRD` owned, and has come back.
fn orphaned(members: &[Incarnation]) -> Fellows {
    let mut fellows = Fellows::of_three();
    fellows.say(THIRD, &Frame::Copy(copy(mine())));
    fellows.comes_back(13, members);
    assert_eq!(fellows.held(), Some((Role::Orphan, mine(), 5)));
    fellows
}

/// Whether it uses the copy again, when `gone` left in these views and the others answer so.
fn revives(gone: &[(Incarnation, u64)], answers: &[(Incarnation, Here)]) -> bool {
    let mut members = vec![PEER, ME];
    members.extend(answers.iter().map(|(who, _)| *who).filter(|who| *who != PEER));
    let mut fellows = orphaned(&members);
    fellows.say(PEER, &departed(gone));
    for (who, said) in answers {
        answer(&mut fellows, *who, said);
    }
    let revived = fellows.role() == Some(Role::Primary);
    assert!(revived || fellows.role() == Some(Role::Orphan));
    revived
}

#[test]
fn a_copy_is_the_session_again_if_whoever_else_had_it_left_no_later_or_never_went_on() {
    let had = |epoch, who| here(Role::None, epoch, 0, tag(who));
    let kin = |epoch, version| kin(epoch, version, THIRD, (NOBODY, NOBODY));
    let (older, newer) = (epoch(8, 1, THIRD), epoch(9, 2, THIRD));
    let alone = [(PEER, nothing())];
    let with = |who, said| [(PEER, nothing()), (who, said)];
    assert!(revives(&[(ME, 12), (THIRD, 12)], &alone), "both left by the same view");
    assert!(revives(&[(ME, 12), (THIRD, 11)], &alone), "the owner left before");
    assert!(!revives(&[(ME, 12), (THIRD, 13)], &alone), "the owner was there for longer");
    assert!(!revives(&[(ME, 12)], &alone), "nobody knows when the owner left");
    assert!(!revives(&[(THIRD, 12)], &alone), "nobody knows when this member was removed");
    assert!(!revives(&[], &alone));
    assert!(revives(&[(ME, 12)], &with(THIRD, nothing())), "it is there, and has never had it");
    assert!(revives(&[(ME, 12)], &with(THIRD, had(older, THIRD))), "it has not had it since");
    assert!(!revives(&[(ME, 12)], &with(THIRD, had(mine(), THIRD))), "it had it, and ended it");
    assert!(!revives(&[(ME, 12)], &with(THIRD, had(newer, THIRD))), "it went on");
    let both = [(ME, 12), (THIRD, 12)];
    assert!(!revives(&both, &with(FRESH, had(newer, FRESH))), "somebody went on from a copy that came back");
    assert!(revives(&both, &with(FRESH, had(mine(), FRESH))), "nobody had it after that");
    let third = [(PEER, had(newer, PEER)), (THIRD, nothing())];
    assert!(!revives(&[(ME, 12)], &third), "whoever it was that went on");
    for view in [11, 12, 13] {
        let why = "the owner was removed as well, and is back";
        assert!(revives(&[(ME, 12), (THIRD, view)], &with(FRESH, kin(mine(), 4))), "{why}");
    }
    assert!(revives(&[], &with(FRESH, kin(mine(), 4))), "whenever that was");
    assert!(revives(&[(ME, 12)], &with(FRESH, kin(older, 9))), "it never got this one");
    assert!(!revives(&[(ME, 12), (THIRD, 12)], &with(FRESH, kin(mine(), 6))), "somebody has a newer copy");
    assert!(!revives(&[(ME, 12), (THIRD, 12)], &with(FRESH, kin(newer, 1))), "somebody has a later one");
}

/// Two were removed with the copies of a session. One came back, made its copy the session again and went on, and was removed again
/// before the other one looked whether anybody had: acknowledged changes were lost.
#[test]
fn while_anybody_is_away_who_was_there_since_somebody_may_have_gone_on() {
    let both = [(ME, 12), (THIRD, 12)];
    let later = [(ME, 12), (THIRD, 12), (FRESH, 13)];
    assert!(revives(&both, &[(PEER, nothing())]));
    assert!(!revives(&later, &[(PEER, nothing())]), "it may have been the owner, in its next life");
    // Who is here would know.
    let back = |role: Role, epoch, who| Here { lives: vec![tag(THIRD)], ..here(role, epoch, 0, who) };
    let after = |said| [(PEER, nothing()), (FIFTH, said)];
    assert!(
        revives(&later, &after(back(Role::None, Epoch::default(), NOBODY))),
        "the owner is back, and had nothing since"
    );
    assert!(revives(&later, &after(back(Role::None, epoch(8, 1, THIRD), tag(FIFTH)))));
    assert!(!revives(&later, &after(back(Role::None, mine(), tag(FIFTH)))), "it has ended it, or handed it over");
    assert!(revives(&later, &after(kin(mine(), 4, THIRD, (NOBODY, NOBODY)))), "it still has its copy");
    let nothing_since = Here { lives: vec![tag(FRESH)], ..nothing() };
    assert!(revives(&later, &after(nothing_since)), "whoever left later is back, and the owner is not");
}

#[test]
fn that_this_member_itself_was_removed_again_does_not_matter() {
    let mut fellows = orphaned(&[PEER, ME]);
    let second = fellows.me();
    fellows.comes_back(15, &[PEER, ME]);
    fellows.say(PEER, &departed(&[(ME, 12), (THIRD, 12), (second, 14)]));
    answer(&mut fellows, PEER, &nothing());
    assert_eq!(fellows.role(), Some(Role::Primary));
}

#[test]
fn whoever_may_have_forgotten_what_it_had_is_not_relied_on_while_anybody_is_away() {
    let forgot = |view| here(Role::None, Epoch::default(), view, NOBODY);
    let at = |who, said| [(PEER, nothing()), (who, said)];
    let later = [(ME, 12), (FRESH, 13)];
    assert!(revives(&[(ME, 12)], &at(THIRD, forgot(11))), "it remembers all since this member was removed");
    for view in [12, 13] {
        assert!(!revives(&[(ME, 12)], &at(THIRD, forgot(view))), "it may have ended the session since");
    }
    assert!(!revives(&later, &at(THIRD, forgot(12))));
    assert!(!revives(&later, &at(THIRD, forgot(13))));
    assert!(revives(&later, &at(THIRD, forgot(11))), "it remembers all since this member was removed");
    assert!(!revives(&[(FRESH, 13)], &at(THIRD, forgot(1))), "nobody knows when that was");
    assert!(revives(&[(FRESH, 13)], &at(THIRD, forgot(0))), "it has forgotten nothing");
}

/// Whoever was removed later may have given the second copy to somebody else meanwhile, and whoever was about to get the session
/// knows from whom.
#[test]
fn whoever_else_has_a_copy_knows_of_others_that_may_have_gone_on() {
    for (gone, others, used) in [
        (&[(ME, 12), (THIRD, 12)][..], (FRESH, PEER), false),
        (&[(ME, 12), (THIRD, 12), (FRESH, 12)], (FRESH, PEER), true),
        (&[(ME, 12), (THIRD, 13), (FRESH, 13)], (PEER, FRESH), true),
        (&[(ME, 12), (THIRD, 13), (FRESH, 14)], (PEER, FRESH), false),
        (&[(ME, 12), (THIRD, 12)], (PEER, ME), true),
        (&[(ME, 12), (THIRD, 12), (FRESH, 13)], (PEER, ME), true),
        (&[(ME, 12), (THIRD, 12), (FRESH, 13)], (PEER, FRESH), false),
    ] {
        let said = kin(mine(), 4, THIRD, (tag(others.0), tag(others.1)));
        assert_eq!(revives(gone, &[(PEER, nothing()), (FIFTH, said)]), used, "{gone:?}, {others:?}");
    }
}

#[test]
fn of_two_equal_copies_that_of_the_greater_member_becomes_the_session() {
    for holder in [FRESH, FIFTH] {
        let mut fellows = orphaned(&[PEER, ME, holder]);
        answer(&mut fellows, PEER, &nothing());
        answer(&mut fellows, holder, &kin(mine(), 5, THIRD, (NOBODY, NOBODY)));
        let greater = tag(fellows.me()) > tag(holder);
        assert_eq!(fellows.role() == Some(Role::Primary), greater, "{holder:?}");
    }
}

#[test]
fn who_this_member_was_and_who_else_had_the_session_is_told() {
    let mut fellows = orphaned(&[PEER, ME]);
    fellows.comes_back(15, &[PEER, ME]);
    let second = tag(fellows.me());
    let told = |fellows: &mut Fellows, asked| {
        fellows.say(PEER, &Frame::Where(Question { id: ID, asked }));
        fellows.heard(PEER).into_iter().find_map(|frame| match frame {
            Frame::Here(here) if here.asked == asked => Some(here),
            _ => None,
        })
    };
    let here = told(&mut fellows, 7).expect("it answers");
    assert_eq!((here.role, here.was, here.others), (Role::Orphan, tag(ME), (tag(THIRD), NOBODY)));
    assert_eq!((here.lives.len(), here.lives[0]), (2, tag(ME)));
    for number in (17..57).step_by(2) {
        fellows.comes_back(number, &[PEER, ME]);
    }
    let here = told(&mut fellows, 8).expect("it answers");
    assert_eq!((here.was, here.lives.len()), (tag(ME), 16), "the last ones");
    assert!(!here.lives.contains(&tag(ME)) && !here.lives.contains(&second));
    assert!(!here.lives.contains(&tag(fellows.me())), "this is not one of the others");
}

#[test]
fn a_session_that_is_used_again_is_owned_in_a_new_epoch_and_copied() {
    let mut fellows = orphaned(&[PEER, ME]);
    fellows.say(PEER, &departed(&[(ME, 12), (THIRD, 12)]));
    answer(&mut fellows, PEER, &nothing());
    let me = fellows.me();
    let next = Epoch { view: 13, counter: mine().counter + 1, owner: tag(me) };
    assert_eq!(fellows.held(), Some((Role::Primary, next, 5)));
    let number = fellows.ask(SessionOp::Read);
    assert_eq!(fellows.answer(number).and_then(|a| a.attributes.clone()), Some(visits("41")));
    fellows.pass(millis(600));
    assert_eq!(fellows.copied_to(ID), Some(PEER));
    fellows.agree(PEER);
    fellows.pass(millis(1_100));
    let restored = |event: &&Event| matches!(event, Event::RedundancyRestored { sessions: 1, .. });
    assert_eq!(fellows.stage.events.iter().filter(restored).count(), 1);
}

#[test]
fn a_session_that_its_host_wants_back_meanwhile_is_like_any_other_afterwards() {
    let mut fellows = orphaned(&[PEER, ME, FRESH]);
    fellows.say(PEER, &departed(&[(ME, 12), (THIRD, 12)]));
    let number = fellows.ask(SessionOp::Read);
    answer(&mut fellows, PEER, &nothing());
    answer(&mut fellows, FRESH, &nothing());
    assert_eq!(fellows.code(number), Some(Code::Ok));
    let partner = fellows.copied_to(ID).expect("there are others");
    fellows.agree(partner);
    fellows.say(partner, &Frame::Retiring(()));
    fellows.pass(millis(30));
    let rest = if partner == PEER { FRESH } else { PEER };
    assert!(fellows.heard(rest).iter().any(|frame| matches!(frame, Frame::Move(_))), "nothing is under way with it");
}

#[test]
fn a_session_that_only_this_member_had_is_used_again() {
    let mut fellows = Fellows::of_three();
    let number = fellows.ask(create());
    let partner = fellows.copied_to(ID).expect("there are others");
    for full in [partner, crate::fellows::other(partner)] {
        let epoch = fellows.held().expect("it was created").1;
        fellows.object(
            full,
            decurion::wire::session::Refused {
                id: ID,
                epoch,
                version: 1,
                held: Epoch::default(),
                why: decurion::wire::session::Objection::Full,
            },
        );
    }
    assert_eq!(fellows.code(number), Some(Code::Unreplicated));
    fellows.comes_back(13, &[PEER, ME]);
    answer(&mut fellows, PEER, &nothing());
    assert_eq!(fellows.role(), Some(Role::Primary));
}

/// The copy was to replace one that another member held.
#[test]
fn whoever_held_a_copy_of_the_same_epoch_may_have_gone_on() {
    for (left, used) in [(12, true), (13, false)] {
        let mut fellows = Fellows::new(&[PEER, ME, THIRD, FRESH]);
        fellows.say(THIRD, &Frame::Move(Move { copy: copy(mine()), beside: tag(FRESH) }));
        fellows.comes_back(13, &[PEER, ME]);
        fellows.say(PEER, &departed(&[(ME, 12), (THIRD, 12), (FRESH, left)]));
        answer(&mut fellows, PEER, &nothing());
        assert_eq!(fellows.role() == Some(Role::Primary), used, "{left}");
    }
}

// Others have gone on.

#[test]
fn a_session_that_others_have_stays_theirs_and_what_they_lack_is_reported() {
    // Whether theirs is of a later epoch or not: a copy in use comes before any of another life.
    for theirs in [epoch(8, 1, PEER), epoch(12, 2, PEER)] {
        for version in [4, 5, 6] {
            let mut fellows = orphaned(&[PEER, ME, FRESH]);
            fellows.say(PEER, &departed(&[(ME, 12), (THIRD, 12)]));
            answer(&mut fellows, PEER, &here(Role::Primary, theirs, version, NOBODY));
            assert_eq!(fellows.role(), Some(Role::Orphan), "not all have answered");
            answer(&mut fellows, FRESH, &here(Role::Orphan, epoch(12, 9, THIRD), 9, tag(THIRD)));
            assert_eq!(fellows.held(), None);
            let conflicts = fellows.stage.events.iter().filter_map(|event| match event {
                Event::SessionConflict { id: ID, kept, dropped } => Some((*kept, *dropped)),
                _ => None,
            });
            let expected = (version < 5).then_some(((theirs, version), (mine(), 5)));
            assert_eq!(conflicts.collect::<Vec<_>>(), Vec::from_iter(expected), "{version}");
        }
    }
}

#[test]
fn what_may_have_gone_on_elsewhere_is_not_shown_and_its_holders_are_said_to_be_away() {
    let mut fellows = orphaned(&[PEER, ME]);
    answer(&mut fellows, PEER, &nothing());
    let number = fellows.ask(SessionOp::Read);
    answer(&mut fellows, PEER, &nothing());
    let answered = fellows.answer(number).expect("all have answered");
    assert_eq!((answered.code, answered.version, answered.attributes.clone()), (Code::HoldersUnreachable, 0, None));
    assert_eq!(fellows.role(), Some(Role::Orphan), "they may come back");
}

#[test]
fn nobody_uses_a_copy_again_outside_of_the_primary_view() {
    let mut fellows = Fellows::of_three();
    fellows.say(THIRD, &Frame::Copy(copy(mine())));
    fellows.is_removed(12);
    fellows.install_fenced(13, &[PEER, ME]);
    fellows.pass(MOMENT);
    assert_eq!(fellows.asked(PEER), None, "it does not look into its past there");
    fellows.say(PEER, &departed(&[(ME, 12), (THIRD, 12)]));
    // Its host wants it: it is looked for, and nobody has it.
    let number = fellows.ask(write("42"));
    answer(&mut fellows, PEER, &nothing());
    assert_eq!((fellows.role(), fellows.code(number)), (Some(Role::Orphan), Some(Code::HoldersUnreachable)));
    fellows.install(14, &[PEER, ME]);
    answer(&mut fellows, PEER, &nothing());
    assert_eq!(fellows.role(), Some(Role::Primary));
}

// How long copies are kept, and in which order they are looked at.

#[test]
fn a_copy_is_kept_for_as_long_as_its_session_would_have_lived() {
    for ttl_s in [0, 3] {
        let mut fellows = Fellows::of_three();
        fellows.say(THIRD, &Frame::Copy(Copy { ttl_s, ..copy(mine()) }));
        fellows.comes_back(13, &[PEER, ME]);
        answer(&mut fellows, PEER, &nothing());
        for _ in 0..3 {
            fellows.pass(millis(700));
            assert_eq!(fellows.role(), Some(Role::Orphan), "{ttl_s}");
        }
        fellows.pass(millis(2_500));
        assert_eq!(fellows.held().is_none(), ttl_s > 0, "{ttl_s}");
    }
}

/// Its owner may have used it all the while: uses are not told to who holds the second copy.
#[test]
fn a_copy_is_kept_for_that_long_after_the_end_of_the_life_in_which_it_was_got() {
    let mut fellows = Fellows::of_three();
    fellows.say(THIRD, &Frame::Copy(Copy { ttl_s: 3, ..copy(mine()) }));
    fellows.pass(millis(10_000));
    assert_eq!(fellows.role(), Some(Role::Secondary));
    fellows.comes_back(13, &[PEER, ME]);
    fellows.say(PEER, &departed(&[(ME, 12), (THIRD, 12)]));
    answer(&mut fellows, PEER, &nothing());
    assert_eq!(fellows.role(), Some(Role::Primary));
}

/// An answer is not given to whom too much is on its way already.
#[test]
fn who_is_not_answered_asks_again() {
    let mut fellows = orphaned(&[PEER, ME]);
    fellows.say(PEER, &departed(&[(ME, 12), (THIRD, 12)]));
    assert!(fellows.asked(PEER).is_some());
    fellows.pass(millis(1_900));
    assert_eq!(fellows.asked(PEER), None);
    fellows.pass(millis(700));
    answer(&mut fellows, PEER, &nothing());
    assert_eq!(fellows.role(), Some(Role::Primary));
}

/// The owner's copy, or the session itself, may come before anybody is asked.
#[test]
fn what_is_newer_here_than_what_takes_its_place_is_reported() {
    let newer = epoch(13, 1, PEER);
    for (version, reported) in [(4, true), (5, false)] {
        let taken = Copy { version, ..copy(newer) };
        let mine = newer.next(13, tag(FIFTH));
        for given in [false, true] {
            let mut fellows = orphaned(&[PEER, ME]);
            let frame = if given {
                let mine = Epoch { owner: tag(fellows.me()), ..mine };
                let copy = Copy { epoch: mine, follows: newer, ..taken.clone() };
                Frame::Give(Give { asked: 0, view: 13, copy, secondary: NOBODY })
            } else {
                Frame::Copy(taken.clone())
            };
            fellows.say(PEER, &frame);
            assert_eq!(fellows.role(), Some(if given { Role::Claimant } else { Role::Secondary }));
            let told =
                |event: &Event| matches!(event, Event::SessionConflict { id: ID, dropped, .. } if dropped.1 == 5);
            assert_eq!(fellows.stage.events.iter().any(told), reported, "{version} {given}");
        }
    }
}

/// It was given the session a moment before it was removed.
#[test]
fn a_copy_that_was_on_its_way_is_kept_as_long_as_any_other() {
    let mut fellows = Fellows::of_three();
    let mine = epoch(9, 1, PEER).next(11, tag(ME));
    let copy = Copy { follows: epoch(9, 1, PEER), ttl_s: 60, ..copy(mine) };
    let give = decurion::wire::session::Give { asked: 0, view: 11, copy, secondary: tag(THIRD) };
    fellows.say(PEER, &Frame::Give(give));
    fellows.comes_back(13, &[PEER, ME]);
    fellows.pass(millis(2_000));
    assert_eq!(fellows.held(), Some((Role::Orphan, mine, 5)));
}

#[test]
fn those_of_which_nothing_can_be_known_do_not_keep_others_from_being_looked_at() {
    const SESSIONS: u128 = 150;
    let mut fellows = Fellows::of_three();
    let copy_of = |id| Copy { id: SessionId(id), ..copy(mine()) };
    (1..=SESSIONS).for_each(|id| fellows.say(THIRD, &Frame::Copy(copy_of(id))));
    fellows.comes_back(13, &[PEER, ME]);
    let mut asked = std::collections::BTreeSet::new();
    for _ in 0..6 {
        fellows.pass(millis(600));
        for frame in fellows.heard(PEER) {
            if let Frame::Where(question) = frame {
                asked.insert(question.id);
                let here = Here { id: question.id, asked: question.asked, ..nothing() };
                fellows.say(PEER, &Frame::Here(here));
            }
        }
    }
    assert_eq!(asked.len(), SESSIONS as usize);
}

// Who is gone since when.

fn told_of_departed(fellows: &mut Fellows, who: Incarnation) -> Option<Vec<(MemberTag, u64)>> {
    fellows.heard(who).into_iter().find_map(|frame| match frame {
        Frame::Departed(departed) => Some(departed.members),
        _ => None,
    })
}

#[test]
fn newcomers_are_told_who_is_gone_since_when_by_the_most_senior_of_those_who_stay() {
    let mut fellows = Fellows::new(&[ME, PEER, THIRD]);
    fellows.install(12, &[ME, PEER]);
    fellows.install(13, &[ME, PEER, FRESH]);
    assert_eq!(told_of_departed(&mut fellows, FRESH), Some(vec![(tag(THIRD), 12)]));
    assert_eq!(told_of_departed(&mut fellows, PEER), None);
    let mut fellows = Fellows::of_three();
    fellows.install(12, &[PEER, ME, FRESH]);
    assert_eq!(told_of_departed(&mut fellows, FRESH), None, "another one tells it");
    // A witness holds no sessions, and does not.
    let mut fellows = Fellows::of_three();
    let with_witness = |members: &[Incarnation], number, fellows: &mut Fellows| {
        fellows.install_with(number, members, |proposal| proposal.members[0].witness = true);
    };
    with_witness(&[PEER, ME, THIRD], 12, &mut fellows);
    with_witness(&[PEER, ME], 13, &mut fellows);
    with_witness(&[PEER, ME, FRESH], 14, &mut fellows);
    assert_eq!(told_of_departed(&mut fellows, FRESH), Some(vec![(tag(THIRD), 13)]));
    // Who was told passes it on.
    let mut fellows = Fellows::new(&[PEER, ME]);
    fellows.say(PEER, &departed(&[(THIRD, 7)]));
    fellows.install(12, &[ME, FRESH]);
    let mut all = [(tag(PEER), 12), (tag(THIRD), 7)];
    all.sort_unstable();
    assert_eq!(told_of_departed(&mut fellows, FRESH), Some(all.to_vec()));
}

#[test]
fn of_those_who_are_gone_the_ones_that_went_first_are_forgotten_first() {
    const REMEMBERED: u64 = 4_096;
    let half = |from: u64| {
        let members = (from..from + REMEMBERED / 2).map(|n| (MemberTag(n + 1), 100 + n)).collect();
        Frame::Departed(Departed { members })
    };
    let mut fellows = orphaned(&[PEER, ME]);
    fellows.say(PEER, &departed(&[(ME, 12), (THIRD, 11)]));
    fellows.say(PEER, &half(0));
    fellows.say(PEER, &half(REMEMBERED / 2));
    answer(&mut fellows, PEER, &nothing());
    assert_eq!(fellows.role(), Some(Role::Orphan), "nobody knows any more when the owner left");
}
