//! The second copy: what counts as being there (S1), who gives way to whom (S3), and how copies are made anew after a loss (S6).

use crate::fellows::{Fellows, ID, MOMENT, NOBODY, copy, create, epoch, other, tag, visits, write};
use crate::stage::{FRESH, ME, PEER, THIRD};
use crate::support::pairs;
use decurion::core::{Event, SessionOp};
use decurion::types::{Code, Epoch, Incarnation, SessionId, Tags, limits, millis};
use decurion::wire::session::{About, Change, Copy, Frame, Move, Objection, Question, Refused, Role};

const ALL: [Incarnation; 4] = [PEER, ME, THIRD, FRESH];

fn refused(epoch: Epoch, version: u64, held: Epoch, why: Objection) -> Refused {
    Refused { id: ID, epoch, version, held, why }
}

fn copies(frames: &[Frame]) -> Vec<u64> {
    let version = |frame: &Frame| match frame {
        Frame::Copy(copy) => Some(copy.version),
        _ => None,
    };
    frames.iter().filter_map(version).collect()
}

fn single(fellows: &Fellows) -> u64 {
    fellows.stage.member.session_counts().single
}

// What is certain.

#[test]
fn a_change_is_answered_for_when_the_other_copy_has_it_and_not_with_an_earlier_one() {
    let mut fellows = Fellows::of_three();
    let (_, partner) = fellows.create();
    let one = fellows.ask(write("2"));
    let first = fellows.sent(partner);
    let two = fellows.ask(write("3"));
    let read = fellows.ask(SessionOp::Read);
    fellows.agree_to(partner, first);
    assert_eq!([one, two, read].map(|n| fellows.code(n)), [Some(Code::Ok), None, None]);
    fellows.agree(partner);
    assert_eq!(fellows.answer(read).map(|a| (a.code, a.version)), Some((Code::Ok, 3)));
    assert_eq!(fellows.answer(two).map(|a| (a.code, a.version)), Some((Code::Ok, 3)));
}

#[test]
fn who_objects_to_a_change_does_not_have_it_although_it_took_the_frame() {
    let mut fellows = Fellows::of_three();
    let (first, partner) = fellows.create();
    let number = fellows.ask(write("2"));
    let change = fellows.sent(partner);
    fellows.heard(partner);
    fellows.object(partner, refused(first, 2, first, Objection::Missing));
    fellows.agree_to(partner, change);
    assert_eq!((fellows.code(number), single(&fellows)), (None, 1));
    assert_eq!(copies(&fellows.heard(partner)), [2]);
    fellows.agree(partner);
    assert_eq!((fellows.code(number), single(&fellows)), (Some(Code::Ok), 0));
}

#[test]
fn an_objection_to_what_was_sent_before_a_whole_copy_is_out_of_date() {
    let mut fellows = Fellows::of_three();
    let (first, partner) = fellows.create();
    for visits in ["2", "3", "4"] {
        fellows.ask(write(visits));
    }
    fellows.heard(partner);
    fellows.object(partner, refused(first, 2, first, Objection::Missing));
    assert_eq!(copies(&fellows.heard(partner)), [4]);
    fellows.object(partner, refused(first, 3, first, Objection::Missing));
    assert_eq!(copies(&fellows.heard(partner)), []);
    // Not so when it has no room for any.
    fellows.object(partner, refused(first, 3, Epoch::default(), Objection::Full));
    assert_eq!(copies(&fellows.heard(partner)), []);
    assert_eq!(copies(&fellows.heard(other(partner))), [4]);
}

#[test]
fn a_member_without_room_is_not_asked_again_for_some_time() {
    let mut fellows = Fellows::new(&[PEER, ME]);
    fellows.ask(create());
    let first = fellows.held().expect("it was created").1;
    fellows.heard(PEER);
    fellows.object(PEER, refused(first, 1, Epoch::default(), Objection::Full));
    fellows.pass(millis(1_900));
    assert_eq!(copies(&fellows.heard(PEER)), []);
    fellows.pass(millis(1_100));
    assert_eq!(copies(&fellows.heard(PEER)), [1]);
}

/// Its copy moves away, and where it was to go there is no room.
#[test]
fn a_copy_that_was_not_taken_moves_later() {
    let mut fellows = Fellows::of_three();
    let (first, old) = fellows.create();
    let new = other(old);
    let moves = |frames: Vec<Frame>| frames.iter().filter(|f| matches!(f, Frame::Move(_))).count();
    fellows.say(old, &Frame::Retiring(()));
    fellows.pass(millis(30));
    assert_eq!(moves(fellows.heard(new)), 1);
    fellows.object(new, refused(first, 1, Epoch::default(), Objection::Full));
    fellows.pass(millis(1_900));
    assert_eq!(moves(fellows.heard(new)), 0);
    fellows.pass(millis(1_100));
    assert_eq!(moves(fellows.heard(new)), 1);
}

#[test]
fn who_follows_somebody_else_ends_the_ownership_and_nothing_is_known_of_what_was_begun() {
    let mut fellows = Fellows::of_three();
    let (first, partner) = fellows.create();
    let begun = fellows.ask(write("2"));
    let waiting = fellows.ask(SessionOp::Read);
    let newer = epoch(11, first.counter + 1, partner);
    fellows.object(partner, refused(first, 2, first, Objection::Missing));
    assert_eq!(fellows.role(), Some(Role::Primary), "that one follows nobody else");
    fellows.object(partner, refused(first, 2, newer, Objection::Epoch));
    assert_eq!(fellows.held(), None);
    assert_eq!((fellows.code(begun), fellows.code(waiting)), (Some(Code::OutcomeUnknown), None));
    let seeks = |f: &Frame| matches!(f, Frame::Where(_) | Frame::Want(_));
    assert!(fellows.heard(partner).iter().any(seeks), "what waits looks for it");
}

#[test]
fn what_two_have_is_answered_for_only_in_the_primary_view() {
    let mut fellows = Fellows::of_three();
    let (_, partner) = fellows.create();
    let number = fellows.ask(write("2"));
    fellows.install_fenced(12, &[PEER, ME, THIRD]);
    fellows.agree(partner);
    fellows.pass(MOMENT);
    assert_eq!(fellows.code(number), None, "it has no lease");
    fellows.install(13, &[PEER, ME, THIRD]);
    assert_eq!(fellows.answer(number).map(|a| (a.code, a.version)), Some((Code::Ok, 2)));
}

// What a holder takes.

#[test]
fn a_holder_takes_as_many_tokens_as_are_remembered_and_the_same_copy_again() {
    let mut fellows = Fellows::of_three();
    let full = Copy { tokens: (1..=limits::TOKENS as u64).collect(), ..copy(epoch(9, 1, PEER)) };
    fellows.say(PEER, &Frame::Copy(full.clone()));
    fellows.say(PEER, &Frame::Copy(full));
    assert_eq!(fellows.objections(PEER), []);
    assert_eq!(fellows.role(), Some(Role::Secondary));
}

/// The version before was answered for, and another member may have to go on with it.
#[test]
fn a_holder_without_room_for_a_change_keeps_the_version_before_and_its_owner_is_told() {
    let mut fellows = Fellows::with(&[PEER, ME], |setup| setup.sessions.memory_bytes = 1_000);
    let first = epoch(9, 1, PEER);
    fellows.say(PEER, &Frame::Copy(copy(first)));
    let sets = pairs(&[("big", &[1; 2_000])]);
    let change = Change { id: ID, epoch: first, version: 6, token: 0, whole: false, sets, removes: visits("") };
    fellows.say(PEER, &Frame::Change(change));
    let told = |r: &Refused| (r.version, r.held, r.why);
    assert_eq!(fellows.objections(PEER).iter().map(told).collect::<Vec<_>>(), [(6, first, Objection::Full)]);
    assert_eq!(fellows.held(), Some((Role::Secondary, first, 5)));
    fellows.install(12, &[ME, THIRD]);
    assert_eq!(fellows.held().map(|(role, _, version)| (role, version)), Some((Role::Primary, 5)));
}

/// What the host was told of the newest change, and of one after it, when the holder had no room for it; `taken` says of whoever is
/// asked instead whether it takes the copy.
fn outgrown(taken: bool) -> (Fellows, [u64; 2], Incarnation) {
    let mut fellows = Fellows::of_three();
    let (first, old) = fellows.create();
    let new = other(old);
    let numbers = ["2", "3"].map(|visits| fellows.ask(write(visits)));
    fellows.heard(old);
    fellows.object(old, refused(first, 2, first, Objection::Full));
    fellows.object(old, refused(first, 3, first, Objection::Missing));
    let moves = |frames: Vec<Frame>| -> Vec<_> {
        let to = |frame| if let Frame::Move(to) = frame { Some((to.copy.version, to.beside)) } else { None };
        frames.into_iter().filter_map(to).collect()
    };
    assert_eq!((moves(fellows.heard(new)), fellows.heard(old)), (vec![(3, tag(old))], vec![]));
    if !taken {
        fellows.object(new, refused(first, 3, Epoch::default(), Objection::Full));
    }
    (fellows, numbers, old)
}

fn lets_go(frames: &[Frame]) -> bool {
    frames.iter().any(|frame| matches!(frame, Frame::Release(_)))
}

#[test]
fn a_holder_without_room_is_let_go_when_another_one_has_the_newest_version() {
    let (mut fellows, numbers, old) = outgrown(true);
    assert_eq!((single(&fellows), lets_go(&fellows.heard(old))), (1, false));
    fellows.agree(other(old));
    assert!(lets_go(&fellows.heard(old)));
    assert_eq!(numbers.map(|n| fellows.code(n)), [None, None], "the old one would go on without them");
    fellows.agree(old);
    assert_eq!(numbers.map(|n| fellows.code(n)), [Some(Code::Ok); 2]);
    assert_eq!(single(&fellows), 0);
    let number = fellows.ask(write("4"));
    fellows.agree(other(old));
    assert_eq!(fellows.code(number), Some(Code::Ok));
}

#[test]
fn a_holder_without_room_that_is_lost_meanwhile_is_not_waited_for() {
    let (mut fellows, numbers, old) = outgrown(true);
    fellows.install(12, &[ME, other(old)]);
    assert_eq!(numbers.map(|n| fellows.code(n)), [None, None]);
    fellows.agree(other(old));
    assert_eq!(numbers.map(|n| fellows.code(n)), [Some(Code::Ok); 2]);
}

#[test]
fn a_holder_without_room_is_let_go_when_nobody_takes_the_newest_version_and_the_host_is_told() {
    let (mut fellows, numbers, old) = outgrown(false);
    assert!(lets_go(&fellows.heard(old)));
    let new = other(old);
    fellows.say(new, &Frame::Want(Question { id: ID, asked: 3 }));
    assert_eq!(numbers.map(|n| fellows.code(n)), [None, None], "it would go on with the version before");
    assert_eq!(fellows.given(new), None);
    fellows.agree(old);
    assert_eq!(numbers.map(|n| fellows.code(n)), [Some(Code::Unreplicated); 2]);
    assert!(fellows.given(new).is_some());
}

/// The host cannot be told there that only one member has what it wrote.
#[test]
fn a_holder_without_room_keeps_its_copy_outside_of_the_primary_view() {
    let (mut fellows, numbers, old) = outgrown(true);
    fellows.install_fenced(12, &[PEER, ME, THIRD]);
    let version = 3;
    let first = fellows.held().expect("it is ours").1;
    fellows.object(other(old), refused(first, version, Epoch::default(), Objection::Full));
    fellows.pass(millis(1_000));
    assert!(!lets_go(&fellows.heard(old)));
    fellows.install(13, &[PEER, ME, THIRD]);
    fellows.pass(MOMENT);
    assert!(lets_go(&fellows.heard(old)));
    fellows.agree(old);
    assert_eq!(numbers.map(|n| fellows.code(n)), [Some(Code::Unreplicated); 2]);
}

/// Nothing is said beside whom it holds its copy any more: who was there has let go.
#[test]
fn who_holds_a_copy_in_the_place_of_another_and_is_sent_a_change_asks_nobody_when_the_owner_is_lost() {
    let mut fellows = Fellows::of_three();
    let first = epoch(9, 1, PEER);
    fellows.say(PEER, &Frame::Move(Move { copy: copy(first), beside: tag(THIRD) }));
    let change =
        Change { id: ID, epoch: first, version: 6, token: 0, whole: false, sets: visits("6"), removes: visits("") };
    fellows.say(PEER, &Frame::Change(change));
    fellows.install(12, &[ME, THIRD]);
    fellows.pass(MOMENT);
    assert_eq!(fellows.held().map(|(role, _, version)| (role, version)), Some((Role::Primary, 6)));
}

#[test]
fn a_copy_that_does_not_fit_costs_the_older_one() {
    let mut fellows = Fellows::with(&[PEER, ME], |setup| setup.sessions.memory_bytes = 1_000);
    let first = epoch(9, 1, PEER);
    fellows.say(PEER, &Frame::Copy(copy(first)));
    let attributes = pairs(&[("big", &[1; 2_000])]);
    fellows.say(PEER, &Frame::Copy(Copy { version: 6, attributes, ..copy(first) }));
    assert_eq!(fellows.objections(PEER).iter().map(|r| (r.version, r.why)).collect::<Vec<_>>(), [(6, Objection::Full)]);
    assert_eq!(fellows.held(), None);
}

#[test]
fn the_end_of_a_session_is_answered_for_also_when_the_other_holder_is_lost() {
    let mut fellows = Fellows::of_three();
    let (_, partner) = fellows.create();
    let number = fellows.ask(SessionOp::Remove);
    assert_eq!(fellows.code(number), None);
    fellows.install(12, &[ME, other(partner)]);
    assert!(fellows.code(number).is_some());
    assert_eq!(fellows.held(), None);
}

#[test]
fn the_end_of_a_session_is_answered_for_in_time_also_when_the_other_holder_says_nothing() {
    let mut fellows = Fellows::of_three();
    let (_, partner) = fellows.create();
    let number = fellows.ask(SessionOp::Remove);
    fellows.pass(millis(9_900));
    assert_eq!(fellows.code(number), None);
    fellows.pass(millis(200));
    assert_eq!(fellows.code(number), Some(Code::OutcomeUnknown));
    fellows.agree(partner);
    fellows.pass(millis(200));
    assert_eq!(fellows.code(number), Some(Code::OutcomeUnknown), "and that was it");
}

#[test]
fn each_end_of_a_session_that_is_made_anew_meanwhile_is_answered_for() {
    let mut fellows = Fellows::of_three();
    let (_, slow) = fellows.create();
    let first = fellows.ask(SessionOp::Remove);
    let again = fellows.ask(create());
    let made = fellows.held().expect("it is there at once").1;
    fellows.object(slow, refused(made, 1, Epoch::default(), Objection::Full));
    let quick = other(slow);
    fellows.agree(quick);
    let second = fellows.ask(SessionOp::Remove);
    assert_eq!([first, again, second].map(|n| fellows.code(n)), [None, Some(Code::Ok), None]);
    fellows.agree(quick);
    assert_eq!([first, second].map(|n| fellows.code(n)), [None, Some(Code::Ok)]);
    fellows.agree(slow);
    assert_eq!(fellows.code(first), Some(Code::Ok));
}

#[test]
fn a_change_is_a_use() {
    let mut fellows = Fellows::of_three();
    fellows.ask(create_for(3));
    let partner = fellows.copied_to(ID).expect("there are others");
    fellows.agree(partner);
    fellows.pass(millis(2_000));
    fellows.ask(write("2"));
    fellows.agree(partner);
    fellows.pass(millis(2_000));
    assert_eq!(fellows.role(), Some(Role::Primary));
}

#[test]
fn the_end_of_another_epoch_is_refused_and_that_of_its_own_obeyed() {
    let (first, later) = (epoch(9, 1, PEER), epoch(9, 2, PEER));
    let mut fellows = Fellows::of_three();
    fellows.say(PEER, &Frame::Copy(copy(first)));
    fellows.say(PEER, &Frame::End(About { id: ID, epoch: later }));
    assert_eq!(fellows.objections(PEER).iter().map(|r| (r.epoch, r.held)).collect::<Vec<_>>(), [(later, first)]);
    fellows.say(PEER, &Frame::End(About { id: ID, epoch: first }));
    assert_eq!((fellows.objections(PEER), fellows.held()), (Vec::new(), None));
}

#[test]
fn who_claims_a_session_gives_way_to_its_owner() {
    let mut fellows = Fellows::new(&ALL);
    let mine = fellows.give(PEER, epoch(9, 1, PEER), tag(THIRD));
    fellows.say(FRESH, &Frame::Want(Question { id: ID, asked: 3 }));
    fellows.heard(FRESH);
    let theirs = epoch(11, 5, THIRD);
    assert!(theirs > mine);
    fellows.say(THIRD, &Frame::Copy(copy(theirs)));
    assert_eq!(fellows.held(), Some((Role::Secondary, theirs, 5)));
    let told = |f: &Frame| matches!(f, Frame::Here(here) if here.asked == 3 && here.owner == tag(THIRD));
    assert!(fellows.heard(FRESH).iter().any(told), "who waits for it here is told whose it is");
    fellows.agree(THIRD);
    assert_eq!(fellows.held(), Some((Role::Secondary, theirs, 5)), "what was asked before is over");
    // Nothing is left of the claim when the session comes here after all.
    fellows.install(12, &[PEER, ME, FRESH]);
    let partner = fellows.copied_to(ID).expect("it is this member's");
    fellows.agree(partner);
    fellows.say(partner, &Frame::Retiring(()));
    fellows.pass(millis(30));
    let rest = if partner == PEER { FRESH } else { PEER };
    assert!(fellows.heard(rest).iter().any(|f| matches!(f, Frame::Move(_))));
}

#[test]
fn who_gets_a_copy_of_what_its_host_wants_asks_the_owner_for_it() {
    let mut fellows = Fellows::of_three();
    let number = fellows.ask_about(ID, [tag(PEER), NOBODY], SessionOp::Read);
    fellows.heard(THIRD);
    fellows.say(THIRD, &Frame::Copy(copy(epoch(9, 1, THIRD))));
    assert!(fellows.heard(THIRD).iter().any(|f| matches!(f, Frame::Want(_))));
    assert_eq!(fellows.code(number), None);
}

// After a loss.

/// In which views the host was told that all have two copies again, and how many were made anew.
fn restored(fellows: &Fellows) -> Vec<(u64, u64)> {
    let made = fellows.stage.events.iter().filter_map(|event| match event {
        Event::RedundancyRestored { sessions, view } => Some((view.number, *sessions)),
        _ => None,
    });
    made.collect()
}

#[test]
fn after_a_loss_the_host_is_told_once_when_all_have_two_copies_again() {
    let mut fellows = Fellows::new(&[PEER, ME]);
    fellows.create();
    for id in 10..13 {
        fellows.ask_about(SessionId(id), [NOBODY; 2], create());
    }
    fellows.agree(PEER);
    fellows.pass(millis(2_000));
    assert_eq!(restored(&fellows), [], "nothing was lost");
    fellows.install(12, &[ME, THIRD]);
    fellows.pass(millis(2_000));
    assert_eq!((restored(&fellows), single(&fellows)), (Vec::new(), 4));
    fellows.agree(THIRD);
    fellows.pass(millis(2_000));
    assert_eq!(restored(&fellows), [(12, 4)]);
    fellows.install(13, &[ME, FRESH]);
    fellows.agree(FRESH);
    fellows.pass(millis(4_000));
    assert_eq!(restored(&fellows), [(12, 4), (13, 4)]);
}

#[test]
fn where_nobody_was_lost_nothing_is_restored() {
    let mut fellows = Fellows::of_three();
    fellows.create();
    fellows.install(12, &[PEER, ME, THIRD, FRESH]);
    fellows.pass(millis(2_000));
    assert_eq!((restored(&fellows), single(&fellows)), (Vec::new(), 0));
}

/// How many copies of 15 KB were made anew in each of thirty steps of 20 ms, at most so many bytes a second, while `meanwhile`.
fn restored_in_steps(bytes_per_s: usize, mut meanwhile: impl FnMut(&mut Fellows)) -> Vec<u64> {
    const SESSIONS: u128 = 40;
    let mut fellows = Fellows::with(&[PEER, ME], |setup| setup.sessions.restore_bytes_per_s = bytes_per_s);
    let big = || SessionOp::Create { ttl_s: 0, attributes: pairs(&[("big", &[1; 15_000])]) };
    for id in 1..=SESSIONS {
        fellows.ask_about(SessionId(id), [NOBODY; 2], big());
    }
    (0..10).for_each(|_| fellows.agree(PEER));
    fellows.pass(millis(1_000));
    assert_eq!(single(&fellows), 0);
    fellows.install(12, &[ME, THIRD]);
    let mut made = 0;
    let mut steps = Vec::new();
    for _ in 0..30 {
        fellows.agree(THIRD);
        let now = SESSIONS as u64 - single(&fellows);
        steps.push(now - made);
        made = now;
        meanwhile(&mut fellows);
        fellows.pass(millis(20));
    }
    assert_eq!(made, SESSIONS as u64, "{steps:?}");
    steps
}

#[test]
fn copies_are_made_anew_at_the_rate_that_is_allowed() {
    // In 20 ms 20 KB: one is begun as long as any of that is left.
    let steps = restored_in_steps(1_000_000, |_| ());
    assert!(steps.iter().all(|step| *step <= 2), "{steps:?}");
}

#[test]
fn copies_are_made_anew_at_a_part_of_the_rate_while_the_host_wants_something() {
    let idle = restored_in_steps(5_000_000, |_| ());
    assert!(idle.iter().any(|step| *step > 4), "{idle:?}");
    let used = restored_in_steps(5_000_000, |fellows| {
        fellows.ask_about(SessionId(1), [NOBODY; 2], SessionOp::Touch);
    });
    // But for what is begun at once in the new view.
    assert!(used[2..].iter().all(|step| *step <= 2), "{used:?}");
}

#[test]
fn a_round_reaches_all_sessions_however_many_need_nothing() {
    const REST: u128 = 2_048;
    let mut fellows = Fellows::of_three();
    let copy_of = |id, owner| Frame::Copy(Copy { id: SessionId(id), ..copy(epoch(9, 1, owner)) });
    (1..=REST).for_each(|id| fellows.say(PEER, &copy_of(id, PEER)));
    (REST + 1..=REST + 5).for_each(|id| fellows.say(THIRD, &copy_of(id, THIRD)));
    fellows.install(12, &[PEER, ME]);
    fellows.pass(millis(3_000));
    assert_eq!(fellows.stage.member.session_counts().primaries, 5);
}

/// Whoever the lot falls on else.
fn are_kept_where(tags: &str, preferred_group: Option<&str>) {
    for (preferred, id) in ALL.into_iter().filter(|who| *who != ME).flat_map(|who| (1..6).map(move |id| (who, id))) {
        let mut fellows = Fellows::with(&ALL, |setup| {
            setup.sessions.partners = 1;
            setup.sessions.preferred_group = preferred_group.map(str::to_owned);
        });
        fellows.install_with(12, &ALL, |proposal| {
            let member = proposal.members.iter_mut().find(|m| m.incarnation == preferred).expect("it is there");
            member.tags = Tags::parse(tags).expect("legal");
        });
        fellows.ask_about(SessionId(id), [NOBODY; 2], create());
        assert_eq!(fellows.copied_to(SessionId(id)), Some(preferred));
    }
}

#[test]
fn second_copies_are_kept_in_the_preferred_group_whoever_is_the_more_senior() {
    are_kept_where("replication_group=west", Some("west"));
}

#[test]
fn second_copies_are_kept_on_another_machine() {
    are_kept_where("machine=another", None);
}

// What nobody uses any more.

fn create_for(ttl_s: u32) -> SessionOp {
    SessionOp::Create { ttl_s, attributes: visits("1") }
}

#[test]
fn a_session_expires_when_nobody_has_used_it_for_its_time_and_not_before() {
    let mut fellows = Fellows::of_three();
    fellows.ask(create_for(3));
    let partner = fellows.copied_to(ID).expect("there are others");
    fellows.agree(partner);
    for _ in 0..3 {
        fellows.pass(millis(2_000));
        assert_eq!(fellows.role(), Some(Role::Primary));
        fellows.ask(SessionOp::Touch);
    }
    // A look is no use.
    fellows.pass(millis(2_000));
    fellows.ask(SessionOp::Peek);
    fellows.pass(millis(1_600));
    assert!(fellows.has_expired());
    assert_eq!(fellows.held(), None);
    assert!(fellows.heard(partner).iter().any(|frame| matches!(frame, Frame::End(_))));
}

#[test]
fn a_session_does_not_expire_while_a_change_is_under_way_or_outside_of_the_primary_view() {
    let mut fellows = Fellows::of_three();
    fellows.ask(create_for(2));
    fellows.pass(millis(4_000));
    assert_eq!(fellows.role(), Some(Role::Primary), "the other copy is not there yet");
    let partner = fellows.copied_to(ID).expect("there are others");
    fellows.install_fenced(12, &[PEER, ME, THIRD]);
    fellows.agree(partner);
    fellows.pass(millis(4_000));
    assert_eq!(fellows.role(), Some(Role::Primary), "somebody else may own it");
    assert!(!fellows.has_expired());
    fellows.install(13, &[PEER, ME, THIRD]);
    fellows.pass(millis(600));
    assert!(fellows.has_expired());
}

/// Wherever the round is then.
#[test]
fn what_has_expired_is_not_served_any_more() {
    for late in 0..10 {
        let mut fellows = Fellows::of_three();
        fellows.ask(create_for(1));
        let partner = fellows.copied_to(ID).expect("there are others");
        fellows.agree(partner);
        fellows.pass(millis(900));
        fellows.stage.now = fellows.stage.now + millis(100 + 50 * late);
        let number = fellows.ask(SessionOp::Read);
        assert_eq!((fellows.held(), fellows.code(number)), (None, None), "{late}");
    }
}
