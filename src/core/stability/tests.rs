//! What is told of progress, to whom, and when.

use super::*;
use crate::core::stream::tests::hold;
use crate::core::tree::tests::view;
use crate::types::ViewId;

const NOW: Time = Time(1_000_000);
/// What is reported at once with the smallest windows.
const ENOUGH: usize = LEAST_REPORT_BYTES;

/// What a member knows of progress in a view of these groups, and its streams.
struct Scene {
    view: View,
    stability: Stability,
    streams: Vec<Stream>,
    now: Time,
}

/// What was told to whom: of what kind, and how far which streams are.
type Told = Vec<(Index, &'static str, Vec<(u32, u64)>)>;

impl Scene {
    fn new(view: View, me: Index, measure: Measure) -> Scene {
        let streams = (0..view.len()).map(|s| Stream::new(&view, me, s, Plants::default())).collect();
        let stability = Stability::new(&view, me, measure, Plants::default());
        Scene { stability, streams, view, now: NOW }
    }

    fn taking(groups: &[u16], me: Index) -> Scene {
        Scene::new(view(groups), me, Measure::Taken)
    }

    /// The host takes a batch of a stream, which is held since just now.
    fn take(&mut self, s: Index, bytes: usize) {
        hold(&mut self.streams[s], bytes);
        self.streams[s].taken += 1;
        self.stability.touched(s, bytes);
    }

    fn hear(&mut self, from: Index, entries: &[(u32, u64)]) {
        self.stability.reported(from, entries, &self.streams);
    }

    fn told(&self, fx: &mut Effects) -> Told {
        let of = |(to, control): (Index, Control)| {
            let (kind, progress) = match control {
                Control::Progress(progress) => ("taken", progress),
                Control::Holding(progress) => ("held", progress),
                Control::Stable(progress) => ("stable", progress),
                Control::AllHold(progress) => ("all hold", progress),
                _ => panic!("no progress"),
            };
            assert_eq!(progress.tag, self.view.tag());
            (to, kind, progress.entries)
        };
        fx.control.drain(..).map(of).collect()
    }

    /// What is told now, and what is stable since.
    fn flush(&mut self) -> (Told, Vec<(Index, u64)>) {
        let mut fx = Effects::default();
        let stable = self.stability.flush(self.now, &self.streams, &mut fx);
        (self.told(&mut fx), stable)
    }

    fn says(&mut self) -> Told {
        self.flush().0
    }

    fn stable(&mut self) -> Vec<(Index, u64)> {
        self.now = self.now + LEADER_PAUSE;
        self.flush().1
    }

    fn again(&mut self, peer: Index) -> Told {
        let mut fx = Effects::default();
        self.stability.tell_again(peer, &self.streams, &mut fx);
        self.told(&mut fx)
    }
}

fn none() -> Told {
    Vec::new()
}

#[test]
fn a_member_tells_its_leader_the_first_at_once_and_what_follows_after_a_pause() {
    let mut at = Scene::taking(&[0, 0, 0], 1);
    assert!(!at.stability.is_due(at.now), "nothing moved");
    at.take(2, 10);
    assert!(at.stability.is_due(at.now));
    assert_eq!(at.says(), [(0, "taken", vec![(2, 1)])]);
    assert_eq!((at.says(), at.stability.deadline()), (none(), Time::NEVER));
    at.now = at.now + 1;
    at.take(2, 10);
    at.take(0, 10);
    assert!(at.stability.is_due(at.now), "when is not known yet");
    assert_eq!((at.says(), at.stability.deadline()), (none(), NOW + MEMBER_PAUSE));
    at.now = NOW + MEMBER_PAUSE - 1;
    assert!(!at.stability.is_due(at.now));
    assert_eq!(at.says(), none());
    at.now = NOW + MEMBER_PAUSE;
    assert!(at.stability.is_due(at.now));
    assert_eq!(at.says(), [(0, "taken", vec![(0, 1), (2, 2)])]);
    at.now = at.now + MEMBER_PAUSE;
    at.stability.touched(2, 10);
    assert_eq!(at.says(), none(), "no more of it than was told");
}

#[test]
fn what_is_held_is_told_at_once_each_time() {
    let mut at = Scene::new(view(&[0, 0]), 1, Measure::Held);
    for batch in 1..4 {
        hold(&mut at.streams[0], 10);
        at.stability.touched(0, 10);
        assert_eq!(at.says(), [(0, "held", vec![(0, batch)])]);
    }
    let mut leader = Scene::new(view(&[0, 0, 1]), 0, Measure::Held);
    hold(&mut leader.streams[2], 10);
    leader.stability.touched(2, 10);
    leader.hear(1, &[(2, 1)]);
    assert_eq!(leader.says(), [(2, "held", vec![(2, 1)]), (1, "all hold", vec![(2, 1)])]);
}

#[test]
fn much_that_was_taken_is_told_at_once_and_counted_anew_after_each_report() {
    let mut at = Scene::taking(&[0, 0], 1);
    at.take(0, 10);
    at.says();
    for batch in [3, 5] {
        at.take(0, ENOUGH - 1);
        assert_eq!(at.says(), none(), "a byte less");
        at.take(0, 1);
        assert!(at.stability.is_due(at.now));
        assert_eq!(at.says(), [(0, "taken", vec![(0, batch)])]);
    }
    at.stability = at.stability.for_window(3 * ENOUGH as u64);
    at.take(0, ENOUGH);
    assert_eq!(at.says(), none(), "of a larger window that is not half");
    at.take(0, ENOUGH / 2);
    assert_eq!(at.says(), [(0, "taken", vec![(0, 7)])]);
}

#[test]
fn a_leader_tells_the_others_the_least_of_its_group_and_its_group_the_least_of_all() {
    let mut at = Scene::taking(&[0, 0, 0, 1, 1], 0);
    (0..5).for_each(|_| at.take(4, 10));
    assert_eq!(at.flush(), (none(), vec![(4, 0)]), "nobody else has taken anything");
    at.hear(1, &[(4, 4)]);
    at.hear(2, &[(4, 9)]);
    assert_eq!((at.stability.taken_by(1, 4), at.stability.taken_by(2, 4)), (Some(4), Some(9)));
    assert_eq!((at.stability.taken_by(3, 4), at.stability.taken_by_group(1, 4)), (None, Some(0)));
    at.now = at.now + LEADER_PAUSE;
    assert_eq!(at.flush(), (vec![(3, "taken", vec![(4, 4)])], vec![(4, 0)]));
    assert_eq!(at.stability.taken_by_group(0, 4), Some(4));
    at.hear(3, &[(4, 3)]);
    at.now = at.now + LEADER_PAUSE - 1;
    assert_eq!(at.says(), none(), "a leader pauses too");
    at.now = at.now + 1;
    let stable = vec![(4, 3)];
    assert_eq!(at.flush(), (vec![(1, "stable", vec![(4, 3)]), (2, "stable", vec![(4, 3)])], stable));
    at.hear(3, &[(4, 7)]);
    at.hear(1, &[(4, 7)]);
    at.now = at.now + LEADER_PAUSE;
    let fifth = || vec![(4, 5)];
    assert_eq!(at.says(), [(3, "taken", fifth()), (1, "stable", fifth()), (2, "stable", fifth())], "we have it not");
}

#[test]
fn a_sender_needs_not_have_taken_its_own_but_everybody_else_has_to() {
    let mut at = Scene::taking(&[0, 0, 0], 0);
    at.take(1, 10);
    assert_eq!(at.stable(), [(1, 0)]);
    at.hear(2, &[(1, 1)]);
    assert_eq!(at.stable(), [(1, 1)]);
    at.take(0, 10);
    at.hear(1, &[(0, 1)]);
    assert_eq!(at.stable(), [(0, 0)]);
    at.hear(2, &[(0, 1)]);
    assert_eq!(at.stable(), [(0, 1)]);
}

#[test]
fn who_is_not_ready_or_a_witness_holds_nothing_up_and_a_witness_is_told_nothing() {
    let mut members = view(&[0, 0, 0]).members;
    members[1].ready = false;
    members[2].witness = true;
    let mut at = Scene::new(View::new(ViewId::NONE, members, true), 0, Measure::Taken);
    at.take(0, 10);
    assert_eq!(at.flush(), (vec![(1, "stable", vec![(0, 1)])], vec![(0, 1)]));
}

#[test]
fn a_group_in_which_nobody_counts_holds_nothing_up() {
    // A sender is alone in its group: there it needs not be told, here it has nobody to wait for.
    let mut at = Scene::taking(&[0, 1], 0);
    at.take(1, 10);
    assert_eq!(at.flush(), (vec![(1, "taken", vec![(1, 1)])], vec![(1, 1)]));
    at.take(0, 10);
    at.now = at.now + LEADER_PAUSE;
    assert_eq!(at.flush(), (none(), vec![(0, 0)]), "the other group counts for ours");
    at.hear(1, &[(0, 1)]);
    assert_eq!(at.stable(), [(0, 1)]);
}

#[test]
fn what_is_reported_never_falls_and_counts_only_from_who_reports_to_us() {
    let mut at = Scene::taking(&[0, 0, 1, 1], 0);
    (0..3).for_each(|_| at.take(2, 10));
    at.hear(3, &[(2, 3)]);
    assert_eq!((at.stability.taken_by(1, 2), at.stability.taken_by_group(1, 2)), (Some(0), Some(0)));
    at.hear(1, &[(2, 2), (9, 4)]);
    at.hear(1, &[(2, 1)]);
    assert_eq!(at.stability.taken_by(1, 2), Some(2));
    let mut member = Scene::taking(&[0, 0, 0], 1);
    member.hear(2, &[(0, 7)]);
    assert_eq!((member.stability.taken_by(2, 0), member.says()), (None, none()));
    assert!(!member.stability.is_due(member.now));
}

#[test]
fn what_a_sender_may_wait_for_is_told_at_once_when_the_last_report_makes_it_enough() {
    let mut at = Scene::taking(&[0, 0, 0], 0);
    at.hear(1, &[(2, 0)]);
    at.says();
    (0..4).for_each(|_| at.take(2, ENOUGH / 4));
    assert!(at.stability.is_due(at.now), "it may be enough");
    assert_eq!(at.says(), none(), "but the other one has taken nothing");
    assert!(!at.stability.is_due(at.now));
    at.hear(1, &[(2, 1)]);
    assert_eq!(at.says(), none(), "a quarter");
    at.hear(1, &[(2, 2)]);
    assert!(at.stability.is_due(at.now));
    assert_eq!(at.says(), [(1, "stable", vec![(2, 2)]), (2, "stable", vec![(2, 2)])]);
    at.hear(1, &[(2, 3)]);
    assert_eq!(at.says(), none(), "a quarter since then");
}

#[test]
fn a_leader_that_takes_last_tells_at_once_and_nobody_waits_for_its_own() {
    let mut at = Scene::taking(&[0, 0, 0], 0);
    at.hear(1, &[(2, 4)]);
    at.says();
    at.take(0, 9 * ENOUGH);
    at.says();
    assert!(!at.stability.is_due(at.now), "nobody waits for what it has taken of its own");
    (0..3).for_each(|_| at.take(2, ENOUGH / 4));
    assert_eq!(at.says(), none());
    at.take(2, ENOUGH / 4);
    assert!(at.stability.is_due(at.now));
    assert_eq!(at.says(), [(1, "stable", vec![(2, 4)]), (2, "stable", vec![(2, 4)])]);
}

#[test]
fn the_other_leaders_are_told_at_once_too() {
    let mut at = Scene::taking(&[0, 0, 1, 1], 0);
    at.hear(1, &[(3, 0)]);
    at.says();
    (0..2).for_each(|_| at.take(3, ENOUGH / 4));
    at.hear(1, &[(3, 2)]);
    assert_eq!(at.says(), [(2, "taken", vec![(3, 2)])]);
}

#[test]
fn over_a_new_link_everything_is_told_again_that_was_told_over_the_old_one() {
    let mut at = Scene::taking(&[0, 0, 1, 1], 0);
    (0..2).for_each(|_| at.take(3, 10));
    at.hear(1, &[(3, 2)]);
    at.hear(2, &[(3, 1)]);
    assert_eq!(at.says(), [(2, "taken", vec![(3, 2)]), (1, "stable", vec![(3, 1)])]);
    assert_eq!(at.again(2), [(2, "taken", vec![(3, 2)])]);
    assert_eq!(at.again(1), [(1, "stable", vec![(3, 1)])]);
}

#[test]
fn a_member_tells_a_leader_again_all_that_it_has_taken_and_not_twice() {
    let mut at = Scene::taking(&[0, 0, 0], 1);
    at.take(2, 10);
    at.says();
    at.take(2, 10);
    at.take(0, 10);
    assert_eq!(at.again(0), [(0, "taken", vec![(0, 1), (2, 2)])]);
    assert_eq!(at.again(2), none(), "that one does not lead us");
    at.now = at.now + MEMBER_PAUSE;
    assert_eq!(at.says(), none(), "it is told already");
}
