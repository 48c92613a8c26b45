//! Whose word counts when a member is missed, how many must say it, and for how long it counts (V7).

use crate::support::{Cluster, incarnation};
use decurion::core::Event;
use decurion::types::{Incarnation, Micros, Time, millis};
use decurion::wire::control::{Control, Observation, Sight};

/// So many members in one group, `lan`: 250 ms between heartbeats, 1.5 s of silence. A refused port proves nothing.
fn group(count: usize) -> Cluster {
    let mut c = Cluster::new(count, |_, setup| setup.refusal_proves_death = false);
    c.pass(millis(2_000));
    (0..count).for_each(|node| drop(c.events(node)));
    c
}

/// What `observer` says of another member.
fn seen(observer: usize, subject: usize, sight: Sight, amount: u64) -> Control {
    let (subject, observer) = (incarnation(subject), incarnation(observer));
    Control::Observe(Observation { subject, observer, sight, amount })
}

/// Whether a change of the view has begun at a member since the last look.
fn changes(c: &mut Cluster, node: usize) -> bool {
    c.events(node).iter().any(|event| matches!(event, Event::Transition { .. }))
}

fn until_it_changes(c: &mut Cluster, node: usize) -> Time {
    let deadline = c.now + millis(30_000);
    while !changes(c, node) {
        assert!(c.now < deadline, "it never changes");
        c.pass(millis(1));
    }
    c.now
}

#[test]
fn who_has_not_missed_a_member_for_long_is_none_of_the_two_that_must() {
    let mut c = group(3);
    // The coordinator has not got its datagrams for so long when it stands still, the deputy has: at most one heartbeat before.
    let before = c.member(0).stats().datagrams_received;
    c.until(|c| c.member(0).stats().datagrams_received > before + 2);
    c.lose.insert((2, 0), usize::MAX);
    c.pass(millis(740));
    c.stand_still(2, true);
    c.lose.clear();
    // Longer than the deputy is waited for by one that has missed it for as long as is borne, but there is only one such.
    c.pass(millis(1_240));
    let events = c.events(0);
    assert!(events.iter().any(|event| matches!(event, Event::Suspected { .. })), "nobody noticed anything");
    assert!(!events.iter().any(|event| matches!(event, Event::Transition { .. })), "{events:?}");
    c.stand_still(2, false);
    c.pass(millis(3_000));
    assert!(!changes(&mut c, 0), "it is back");
}

#[test]
fn nobody_is_waited_for_who_has_given_a_member_up() {
    let mut c = group(4);
    let since = c.now;
    c.stand_still(2, true);
    let took = until_it_changes(&mut c, 0).since(since);
    assert!(took <= millis(1_550), "all that listen have missed it for 1.5 s: {took} us");
}

#[test]
fn a_word_for_a_member_counts_for_half_the_silence_where_all_others_are_gone() {
    let mut c = group(3);
    let since = c.now;
    c.stand_still(1, true);
    c.stand_still(2, true);
    c.pass(millis(1_200));
    // The last that is heard of the one is that the other lives.
    c.say_control(1, 0, &seen(1, 2, Sight::Alive, 0));
    c.until(|c| c.members_of(0) == 1);
    let took = c.now.since(since);
    assert!(took >= millis(1_200 + 750), "it was spoken for: {took} us");
    assert!(took <= millis(1_200 + 750 + 300), "nobody is left whose word is needed: {took} us");
}

/// Three groups of three, `lan`. Answers who leads the group of a member that neither leads one nor is its deputy, the deputy, that
/// member, and two of the third group; 0 coordinates and is in none of the two.
fn three_groups() -> (Cluster, [usize; 5]) {
    let mut c = Cluster::new(9, |_, setup| (setup.group_size, setup.refusal_proves_death) = (3, false));
    c.pass(millis(2_000));
    let (view, _) = c.member(0).view().expect("in a view");
    let node =
        |index: &usize| (0..9).find(|n| incarnation(*n) == view.members[*index].incarnation).expect("it is there");
    let groups: Vec<Vec<usize>> = view.groups.iter().map(|group| group.members.iter().map(node).collect()).collect();
    let others: Vec<&Vec<usize>> = groups.iter().filter(|group| group[0] != 0).collect();
    let [one, other] = others[..] else { panic!("{groups:?}") };
    let roles = [one[0], one[1], one[2], other[0], other[1]];
    drop(c.events(0));
    (c, roles)
}

#[test]
fn the_word_of_who_listens_to_a_member_lasts_longer_than_accusations_of_who_only_dialled() {
    let (mut c, [_, _, whom, accuser, _]) = three_groups();
    c.unanswered.insert((0, whom));
    // Whoever is asked dials and finds the member well; the coordinator's own dial is lost.
    c.say_control(accuser, 0, &seen(accuser, whom, Sight::Silent, 0));
    c.pass(millis(800));
    c.say_control(accuser, 0, &seen(accuser, whom, Sight::Silent, 1_600));
    c.pass(millis(750));
    // By now those words are old, and those who gave them have not been asked again.
    c.say_control(accuser, 0, &seen(accuser, whom, Sight::Silent, 2_400));
    c.pass(millis(5_000));
    assert!(!changes(&mut c, 0), "it was heard all the time");
}

/// How long it takes until a member is out that dies together with the two that listen to it, which were asked about it just before, or not.
fn until_three_are_out(asked: bool) -> Micros {
    let (mut c, [leader, deputy, whom, accuser, _]) = three_groups();
    if asked {
        c.say_control(accuser, 0, &seen(accuser, whom, Sight::Silent, 0));
    }
    c.pass(millis(100));
    let since = c.now;
    [leader, deputy, whom].into_iter().for_each(|node| c.stand_still(node, true));
    c.until(|c| c.members_of(0) == 6);
    c.now.since(since)
}

#[test]
fn the_word_of_who_listened_ends_with_the_listener() {
    let [asked, not_asked] = [true, false].map(until_three_are_out);
    assert!(asked <= not_asked + millis(100), "{asked} us, and {not_asked} us where nobody had spoken for it");
}

/// How long it takes until a member is out that falls silent 1.6 s after somebody who does not listen to it spoke for it, or nobody did.
fn until_one_is_out(spoken_for: bool) -> Micros {
    let (mut c, [.., whom, accuser, other]) = three_groups();
    if spoken_for {
        c.say_control(other, 0, &seen(other, whom, Sight::Alive, 0));
    }
    c.pass(millis(1_600));
    let since = c.now;
    c.stand_still(whom, true);
    c.say_control(accuser, 0, &seen(accuser, whom, Sight::Silent, 0));
    c.until(|c| c.members_of(0) == 8);
    c.now.since(since)
}

#[test]
fn the_word_of_who_does_not_listen_to_a_member_counts_for_as_long_as_silence_is_borne() {
    let [spoken_for, not] = [true, false].map(until_one_is_out);
    assert_eq!(spoken_for, not);
}

#[test]
fn what_was_told_long_ago_of_a_member_is_nothing_to_who_comes_to_coordinate() {
    let mut c = Cluster::new(4, |_, setup| setup.refusal_proves_death = true);
    c.pass(millis(2_000));
    // To one that does not coordinate, and thus judges nobody.
    c.say_control(2, 1, &seen(2, 3, Sight::Faulty, 0));
    c.pass(millis(5_000));
    c.kill(0);
    c.until(|c| c.members_of(1) != 4);
    let (view, _) = c.member(1).view().expect("in a view");
    let members: Vec<_> = view.members.iter().map(|m| m.incarnation).collect();
    assert_eq!(members, [incarnation(1), incarnation(2), incarnation(3)]);
}

#[test]
fn a_link_that_was_missed_twice_was_not_missed_all_the_time_between() {
    // In groups of two: the coordinator, and two other leaders.
    let mut c = Cluster::new(6, |_, setup| (setup.group_size, setup.refusal_proves_death) = (2, false));
    c.pass(millis(2_000));
    let (view, _) = c.member(0).view().expect("in a view");
    let leads = |node: &usize| view.is_leader(view.index_of(incarnation(*node)).expect("in it"));
    let leaders: Vec<usize> = (0..6).filter(leads).collect();
    let [0, one, other] = leaders[..] else { panic!("{leaders:?}") };
    drop(c.events(0));
    let missed = seen(one, other, Sight::Silent, 2_000);
    for _ in 0..2 {
        c.say_control(one, 0, &missed);
        c.pass(millis(10_000));
        assert!(!changes(&mut c, 0), "it was missed for a moment only");
    }
    for _ in 0..10 {
        c.say_control(one, 0, &missed);
        c.pass(millis(250));
    }
    assert!(changes(&mut c, 0), "it was missed again and again");
}

/// Who leads the group of a member, by the view of the first.
fn leader(c: &Cluster, of: usize) -> Incarnation {
    let (view, _) = c.member(0).view().expect("in a view");
    view.members[view.leader_of(view.index_of(incarnation(of)).expect("in it"))].incarnation
}

#[test]
fn who_does_not_hear_its_leader_moves_once() {
    let mut c = Cluster::new(6, |_, setup| (setup.group_size, setup.refusal_proves_death) = (2, false));
    c.pass(millis(2_000));
    let led_by_another = |node: &usize| ![incarnation(0), incarnation(*node)].contains(&leader(&c, *node));
    let whom = (1..6).find(led_by_another).expect("there are three groups");
    let its = (1..6).find(|node| incarnation(*node) == leader(&c, whom)).expect("it is there");
    drop(c.events(0));
    for _ in 0..20 {
        c.say_control(its, 0, &seen(its, whom, Sight::Silent, 2_000));
        c.pass(millis(100));
    }
    c.pass(millis(10_000));
    let begun = c.events(0).iter().filter(|event| matches!(event, Event::Transition { .. })).count();
    assert_eq!((begun, c.members_of(0)), (1, 6));
    assert_ne!(leader(&c, whom), incarnation(its));
}
