//! Leaders whose groups hold up senders: whom they name, who is excused, and who goes for it (D5, R27).

use crate::slow_members::{BEAT, BORNE, fill, named, setup, take, warned};
use crate::stage::{FIFTH, FRESH, ME, PEER, Stage, THIRD, in_groups, view};
use decurion::core::{CloseCause, Input};
use decurion::types::{Incarnation, Micros, millis};
use decurion::wire::control::{Control, Observation, Sight};

/// Whom this member wants to go, as it has told whoever coordinates since the last look.
fn accused(stage: &mut Stage, to: Incarnation) -> Vec<Incarnation> {
    let accused = stage.heard(to).into_iter().filter_map(|word| match word {
        Control::Observe(seen) if seen.sight == Sight::Slow && seen.observer == ME => Some(seen.subject),
        _ => None,
    });
    accused.collect()
}

/// One of the others names a member.
fn name(stage: &mut Stage, observer: Incarnation, subject: Incarnation) {
    let seen = Observation { subject, observer, sight: Sight::Slow, amount: 100_000 };
    stage.say(observer, &Control::SlowNotice(seen));
}

// Who is named.

/// `THIRD` coordinates, and `PEER` leads `FIFTH`; this member leads `FRESH`.
fn among_leaders() -> Stage {
    Stage::within(&in_groups(view(11, &[THIRD, ME, PEER, FRESH, FIFTH]), &[0, 1, 2, 1, 2]), setup)
}

/// From afar the two look alike: so the others know that it is not this leader.
#[test]
fn a_leader_names_its_member_to_other_leaders_as_long_as_it_lags_and_wants_it_to_go_in_the_end() {
    let mut stage = among_leaders();
    let batch = fill(&mut stage);
    take(&mut stage, &[THIRD, PEER], batch);
    stage.pass(BEAT * 2);
    [PEER, FRESH, THIRD].iter().for_each(|to| assert!(named(&mut stage, *to).contains(&FRESH)));
    stage.pass(BEAT * 8);
    assert!(named(&mut stage, PEER).len() >= 8);
    assert!(named(&mut stage, THIRD).len() >= 8);
    assert_eq!(named(&mut stage, FRESH), []);
    stage.pass(BORNE - BEAT * 10);
    assert_eq!(accused(&mut stage, THIRD), [], "it is borne for {BORNE} us, and for as long as it was looked at");
    stage.pass(BEAT * 2);
    assert!(accused(&mut stage, THIRD).contains(&FRESH));
    assert_eq!(accused(&mut stage, PEER), [], "that one decides nothing");
}

#[test]
fn a_leader_of_another_group_is_named_later_and_borne_for_longer() {
    let mut stage = among_leaders();
    let batch = fill(&mut stage);
    take(&mut stage, &[THIRD, FRESH], batch);
    stage.pass(BEAT * 3);
    assert_eq!(named(&mut stage, THIRD), [], "it has three heartbeats to say who it is");
    stage.pass(BEAT);
    assert_eq!(named(&mut stage, THIRD), [PEER]);
    assert_eq!(warned(&mut stage).len(), 1);
    stage.pass(BORNE / 4 * 5 - BEAT * 4);
    assert_eq!(accused(&mut stage, THIRD), []);
    stage.pass(BEAT);
    assert!(accused(&mut stage, THIRD).contains(&PEER));
}

#[test]
fn a_leader_of_another_group_is_excused_while_it_names_one_of_its_own() {
    let excused = |observer: Incarnation, subject: Incarnation, every: Micros| {
        let mut stage = among_leaders();
        let batch = fill(&mut stage);
        take(&mut stage, &[THIRD, FRESH], batch);
        let from = stage.now;
        while stage.now.since(from) < BORNE * 2 {
            name(&mut stage, observer, subject);
            stage.pass(every);
        }
        let warned = warned(&mut stage).iter().any(|(who, _)| *who == PEER);
        let accused = accused(&mut stage, THIRD).contains(&PEER);
        assert_eq!(warned, accused || subject == PEER);
        !accused
    };
    assert!(excused(PEER, FIFTH, BEAT * 4));
    assert!(!excused(PEER, FIFTH, BORNE * 2), "it does not say so any more");
    assert!(!excused(PEER, FRESH, BEAT * 4), "that one is not led by it");
    assert!(!excused(PEER, PEER, BEAT * 4), "it says that it is slow itself");
    assert!(!excused(THIRD, FIFTH, BEAT * 4), "another one says so");
}

/// `THIRD` coordinates, and `PEER` leads nobody else; this member leads `FRESH` and `FIFTH`.
fn leading_two() -> Stage {
    Stage::within(&in_groups(view(11, &[THIRD, ME, PEER, FRESH, FIFTH]), &[0, 1, 2, 1, 1]), setup)
}

/// What they have in common is the way through it.
#[test]
fn a_leader_most_of_whose_members_lag_names_itself_unless_their_hosts_hold_them_up() {
    let blamed = |words: &[(Incarnation, Incarnation)], take_it: &[Incarnation]| {
        let mut stage = leading_two();
        let batch = fill(&mut stage);
        take(&mut stage, take_it, batch);
        let from = stage.now;
        while stage.now.since(from) < BORNE + BEAT * 2 {
            words.iter().for_each(|(observer, subject)| name(&mut stage, *observer, *subject));
            stage.pass(BEAT);
        }
        assert_eq!(stage.member.ended(), None);
        let mut warned: Vec<Incarnation> = warned(&mut stage).iter().map(|(who, _)| *who).collect();
        let mut accused = accused(&mut stage, THIRD);
        [&mut warned, &mut accused].iter_mut().for_each(|all| all.sort_unstable());
        accused.dedup();
        assert_eq!(warned, accused);
        accused
    };
    let (one, other) = ((FRESH, FRESH), (FIFTH, FIFTH));
    assert_eq!(blamed(&[], &[THIRD, PEER]), [ME]);
    assert_eq!(blamed(&[one, other], &[THIRD, PEER]), [FRESH, FIFTH]);
    assert_eq!(blamed(&[one], &[THIRD, PEER]), [FRESH, FIFTH], "one of two is not most of them");
    assert_eq!(blamed(&[(FRESH, FIFTH), (FIFTH, FRESH)], &[THIRD, PEER]), [ME], "each speaks for its own host alone");
    assert_eq!(blamed(&[], &[THIRD, PEER, FRESH]), [FIFTH]);
    assert_eq!(blamed(&[], &[]), [], "the other groups have not taken it either");
    assert_eq!(blamed(&[one, other], &[]), [], "nor is it these two alone");
}

#[test]
fn what_a_member_says_of_its_own_host_counts_for_four_heartbeats() {
    let blamed = |every: Micros| {
        let mut stage = leading_two();
        let batch = fill(&mut stage);
        take(&mut stage, &[THIRD, PEER], batch);
        let from = stage.now;
        while stage.now.since(from) < BEAT * 14 {
            [FRESH, FIFTH].iter().for_each(|who| name(&mut stage, *who, *who));
            stage.pass(every);
        }
        warned(&mut stage).iter().any(|(who, _)| *who == ME)
    };
    assert!(!blamed(BEAT * 4));
    assert!(blamed(BEAT * 7));
}

// What is passed on.

#[test]
fn a_leader_passes_a_warning_on_to_those_it_leads() {
    let mut stage = leading_two();
    name(&mut stage, THIRD, PEER);
    assert_eq!(warned(&mut stage), [(PEER, 100_000)]);
    let notice = Observation { subject: PEER, observer: THIRD, sight: Sight::Slow, amount: 100_000 };
    for (to, told) in [(FRESH, true), (FIFTH, true), (PEER, false), (THIRD, false)] {
        assert_eq!(stage.heard(to).contains(&Control::SlowNotice(notice)), told, "{to:?}");
    }
    stage.pass(BEAT * 2);
    name(&mut stage, THIRD, PEER);
    assert_eq!((warned(&mut stage).len(), stage.heard(FRESH).len()), (0, 0), "that is known");
}

/// It says so again and again, to whom it concerns: nobody is warned of it before its leader sees it lag.
#[test]
fn what_a_member_says_to_its_leader_of_slow_ones_is_no_warning() {
    let mut stage = leading_two();
    for subject in [FRESH, FIFTH, PEER] {
        name(&mut stage, FRESH, subject);
        assert_eq!(warned(&mut stage), [], "{subject:?}");
        assert!(!stage.heard(FIFTH).iter().any(|word| matches!(word, Control::SlowNotice(_))), "{subject:?}");
    }
}

#[test]
fn of_who_is_named_before_and_after_a_pause_of_this_process_the_host_is_warned_once() {
    let mut stage = Stage::within(&view(11, &[PEER, ME, THIRD]), setup);
    name(&mut stage, PEER, THIRD);
    stage.pass(BEAT * 2);
    stage.now = stage.now + millis(5_000);
    stage.tell(Input::Wake);
    name(&mut stage, PEER, THIRD);
    assert_eq!(warned(&mut stage), [(THIRD, 100_000)]);
}

// Who goes.

/// In a view of these groups that this member coordinates: who is not wanted to promise the next one, if there is to be
/// one, after words of these about those, each so much later than the one before.
fn goes(groups: &[u16], words: &[(Incarnation, Incarnation, Micros)]) -> Vec<Incarnation> {
    let members = &[ME, PEER, THIRD, FRESH, FIFTH][..groups.len()];
    let mut stage = Stage::within(&in_groups(view(11, members), groups), setup);
    for (observer, subject, later) in words {
        stage.pass(*later);
        stage.observe(*observer, *subject, Sight::Slow, 100_000);
    }
    stage.pass(millis(20));
    let (asked, gone): (Vec<Incarnation>, _) = members[1..].iter().partition(|who| stage.prepared(**who).is_some());
    if asked.is_empty() { Vec::new() } else { gone }
}

#[test]
fn a_member_goes_when_its_leader_wants_it_to_and_a_leader_when_two_others_do() {
    // `PEER` leads `FIFTH`.
    let groups = [0, 1, 2, 3, 1];
    assert_eq!(goes(&groups, &[(PEER, FIFTH, 0)]), [FIFTH]);
    assert_eq!(goes(&groups, &[(THIRD, FIFTH, 0)]), []);
    assert_eq!(goes(&groups, &[(THIRD, PEER, 0)]), []);
    assert_eq!(goes(&groups, &[(THIRD, PEER, 0), (THIRD, PEER, BEAT)]), [], "it is one that wants it");
    assert_eq!(goes(&groups, &[(THIRD, PEER, 0), (FRESH, PEER, BEAT * 4)]), [PEER]);
    assert_eq!(goes(&groups, &[(THIRD, PEER, 0), (FRESH, PEER, BEAT * 5)]), [], "the first one does not any more");
}

#[test]
fn of_two_leaders_the_one_is_enough() {
    let mut stage = Stage::within(&in_groups(view(11, &[ME, PEER, THIRD]), &[0, 0, 1]), setup);
    let batch = fill(&mut stage);
    take(&mut stage, &[PEER], batch);
    stage.pass(BORNE);
    assert_eq!(stage.prepared(PEER), None);
    stage.pass(BORNE / 2);
    assert!(stage.prepared(PEER).is_some());
}

#[test]
fn never_more_than_a_minority_goes_for_being_slow() {
    let words = [(PEER, THIRD, 0), (PEER, FRESH, 0), (PEER, FIFTH, 0)];
    assert_eq!(goes(&[0, 1, 1, 1, 1], &words), [THIRD, FRESH], "of five");
    assert_eq!(goes(&[0, 1, 1, 1], &words[..2]), [THIRD], "of four");
}

/// It was told so while another one coordinated, which did not want it.
#[test]
fn who_does_not_coordinate_removes_nobody_for_being_slow_also_not_later() {
    let mut stage = Stage::within(&in_groups(view(11, &[PEER, ME, THIRD, FRESH]), &[0, 1, 2, 2]), setup);
    stage.observe(THIRD, FRESH, Sight::Slow, 100_000);
    stage.dials.clear();
    stage.tell(Input::Closed(stage.conns[&PEER], CloseCause::Peer));
    let (conn, _) = *stage.dials.last().expect("it is looked at");
    stage.tell(Input::Closed(conn, CloseCause::Refused));
    stage.pass(millis(20));
    assert!(stage.prepared(FRESH).is_some());
}
