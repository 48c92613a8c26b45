//! What a lease is held to, each rule by itself.

use super::*;

#[test]
fn a_lease_counts_from_before_the_round_was_sent() {
    let (me, other) = (Incarnation(1), Incarnation(2));
    let mut coordinator = Lease::new(Time(0), 1000, Plants::default(), Marks::default());
    let mut member = Lease::new(Time(0), 1000, Plants::default(), Marks::default());
    coordinator.begin_view(Time(0), Time(0), true);
    let both = |_, answered: &dyn Fn(Incarnation) -> bool| answered(other);
    for (round, at) in [(1, 5_000), (2, 5_250)] {
        coordinator.begin_round(Time(at));
        let sent = coordinator.round_for(Time(at), other, 7, true);
        assert_eq!(sent.round, round);
        let answer = member.on_round(Time(at + 900_000), &sent);
        coordinator.on_answer(other, &answer);
        assert!(coordinator.complete(Time(at + 10), both));
    }
    assert_eq!(coordinator.expiry, Time(6_250));
    let grant = coordinator.round_for(Time(5_300), other, 7, false);
    assert_eq!(grant.granted, 2);
    member.on_round(Time(905_300), &grant);
    assert_eq!(member.expiry, Time(905_000 + 1000), "from the clock told in the answer before");
    assert_eq!(coordinator.granted_for(Time(5_300), other), 1000);
    assert_eq!(coordinator.granted_for(Time(5_300), me), 0);
}

/// Whoever started knows nothing of a lease that was granted before, and waits for as long as it could run.
#[test]
fn a_new_process_takes_a_lease_of_before_for_possible() {
    let mut lease = Lease::new(Time(5_000), 1_000, Plants::default(), Marks::default());
    assert!(!lease.is_past_hold(Time(5_999)) && lease.is_past_hold(Time(6_000)));
    lease.begin_view(Time(5_100), Time(5_200), false);
    assert!(!lease.is_past_hold(Time(5_999)), "a view that nobody fenced knows no more");
    lease.forget(Time(7_000));
    assert!(!lease.is_past_hold(Time(7_999)) && lease.is_past_hold(Time(8_000)));
}

const ME: Incarnation = Incarnation(1);
const OTHER: Incarnation = Incarnation(2);

fn lease(now: u64) -> Lease {
    Lease::new(Time(now), 1_000, Plants::default(), Marks::default())
}

fn round(round: u64, base_us: u64, granted: u64) -> LeaseRound {
    LeaseRound { view_tag: 7, round, base_us, granted }
}

fn answer(round: u64, clock_us: u64) -> LeaseAnswer {
    LeaseAnswer { view_tag: 7, round, clock_us }
}

fn by_other(_: Time, answered: &dyn Fn(Incarnation) -> bool) -> bool {
    answered(OTHER)
}

/// A coordinator of a view whose first lease waits until `hold`.
fn coordinator(now: u64, hold: u64) -> Lease {
    let mut lease = lease(0);
    lease.begin_view(Time(now), Time(hold), true);
    lease
}

#[test]
fn what_a_new_process_tells_of_older_leases_covers_all_of_their_length() {
    let mut lease = lease(5_000);
    assert_eq!(lease.fence, Time(6_000));
    lease.forget(Time(7_000));
    assert_eq!(lease.fence, Time(8_000));
}

#[test]
fn a_view_waits_for_the_later_hold_and_a_newcomer_for_what_it_is_told() {
    let mut stays = lease(5_000);
    stays.begin_view(Time(5_100), Time(7_000), false);
    assert_eq!(stays.hold, Time(7_000));
    let mut newcomer = lease(5_000);
    newcomer.begin_view(Time(5_100), Time(5_200), true);
    assert_eq!(newcomer.hold, Time(5_200));
}

#[test]
fn a_new_view_ends_the_lease_of_the_one_before() {
    let mut lease = lease(0);
    lease.on_round(Time(5_000), &round(1, 4_900, 0));
    lease.on_round(Time(5_100), &round(1, 0, 1));
    assert_eq!((lease.expiry, lease.last()), (Time(5_900), Time(5_900)));
    lease.begin_view(Time(5_200), Time(5_200), false);
    assert_eq!((lease.expiry, lease.last()), (Time::ZERO, Time(5_200)));
}

/// Rounds of another coordinator have numbers of their own.
#[test]
fn a_member_counts_from_no_clock_of_the_view_before() {
    let mut lease = lease(0);
    lease.on_round(Time(5_000), &round(3, 4_900, 0));
    lease.begin_view(Time(6_000), Time(6_000), false);
    lease.on_round(Time(6_500), &round(3, 0, 3));
    assert_eq!(lease.expiry, Time::ZERO);
    lease.on_round(Time(6_600), &round(3, 6_400, 0));
    lease.on_round(Time(6_700), &round(4, 0, 3));
    assert_eq!(lease.expiry, Time(7_400));
}

#[test]
fn a_coordinator_takes_nothing_from_the_rounds_of_the_view_before() {
    let mut lease = coordinator(5_000, 5_000);
    lease.begin_round(Time(5_000));
    lease.on_answer(OTHER, &answer(1, 77));
    lease.want_round(Time(5_000), OTHER);
    lease.pace(Time(5_000), 1_000, 400);
    lease.begin_view(Time(5_100), Time(5_100), false);
    assert!(!lease.is_waiting(OTHER) && lease.due == Time::NEVER);
    assert!(!lease.complete(Time(5_100), |_, _| true), "no round of this view was sent");
    lease.begin_round(Time(5_200));
    assert_eq!(lease.round_for(Time(5_200), OTHER, 7, true), round(2, 0, 0), "a clock told in the view before");
    lease.want_round(Time(5_200), OTHER);
    assert_eq!(lease.due, Time(5_200), "the rounds before cost this view nothing");
}

#[test]
fn a_member_counts_from_no_clock_that_it_cannot_have_told() {
    let mut lease = lease(0);
    lease.on_round(Time(5_000), &round(1, 5_001, 0));
    lease.on_round(Time(5_002), &round(1, 0, 1));
    assert_eq!(lease.expiry, Time::ZERO, "it lies ahead");
    lease.on_round(Time(5_003), &round(2, 5_003, 0));
    lease.on_round(Time(5_003), &round(2, 0, 2));
    assert_eq!(lease.expiry, Time(6_003), "told in this moment");
}

#[test]
fn rounds_without_a_clock_do_not_displace_those_with_one() {
    let mut lease = lease(0);
    lease.on_round(Time(5_000), &round(1, 4_900, 0));
    for number in 2..50 {
        lease.on_round(Time(5_000), &round(number, 0, 0));
    }
    lease.on_round(Time(5_100), &round(50, 0, 1));
    assert_eq!(lease.expiry, Time(5_900));
}

#[test]
fn a_round_that_is_granted_late_leaves_the_next_one_to_be_granted() {
    let mut lease = lease(0);
    lease.on_round(Time(5_000), &round(1, 4_900, 0));
    lease.on_round(Time(5_100), &round(2, 5_050, 0));
    lease.on_round(Time(5_200), &round(2, 0, 1));
    assert_eq!(lease.expiry, Time(5_900));
    lease.on_round(Time(5_300), &round(2, 0, 2));
    assert_eq!(lease.expiry, Time(6_050));
}

#[test]
fn no_more_rounds_are_kept_than_fit_into_a_lease() {
    let mut lease = coordinator(5_000, 5_000);
    (0..100).for_each(|at| lease.begin_round(Time(5_000 + at)));
    assert_eq!((lease.sent.len(), lease.sent.back()), (ROUNDS, Some(&(100, Time(5_099)))));
}

#[test]
fn an_answer_counts_unless_a_later_one_came_or_its_round_was_never_sent() {
    let mut lease = coordinator(5_000, 5_000);
    lease.on_answer(OTHER, &answer(0, 70));
    lease.begin_round(Time(5_000));
    assert_eq!(lease.round_for(Time(5_000), OTHER, 7, true).base_us, 70, "told before it was asked");
    lease.begin_round(Time(5_100));
    lease.on_answer(OTHER, &answer(3, 90));
    assert!(!lease.complete(Time(5_100), by_other), "it upholds what it has not heard of");
    lease.on_answer(OTHER, &answer(2, 80));
    lease.on_answer(OTHER, &answer(1, 75));
    assert!(lease.complete(Time(5_200), by_other));
    assert_eq!(lease.expiry, Time(6_100));
    assert_eq!(lease.round_for(Time(5_200), OTHER, 7, true), round(2, 80, 2));
}

#[test]
fn what_is_upheld_in_the_hold_counts_when_it_is_over() {
    let mut lease = coordinator(5_000, 5_300);
    lease.begin_round(Time(5_000));
    assert_eq!(lease.due, Time(5_300), "the first round that grants anything does not wait");
    lease.on_answer(OTHER, &answer(1, 70));
    assert!(lease.complete(Time(5_100), by_other));
    lease.after_hold(Time(5_299));
    assert_eq!(lease.expiry, Time::ZERO);
    assert_eq!(lease.round_for(Time(5_299), OTHER, 7, true).granted, 0);
    lease.after_hold(Time(5_300));
    assert_eq!(lease.expiry, Time(6_000));
    lease.begin_round(Time(5_300));
    assert_eq!(lease.due, Time::NEVER, "the next one waits for a heartbeat");
}

#[test]
fn a_grant_is_news_to_who_has_upheld_the_newest_round_or_has_none_yet() {
    let mut lease = coordinator(5_000, 5_000);
    lease.begin_round(Time(5_000));
    assert!(!lease.is_news(OTHER), "it has upheld nothing");
    lease.on_answer(OTHER, &answer(0, 70));
    lease.begin_round(Time(5_100));
    lease.round_for(Time(5_100), OTHER, 7, true);
    lease.on_answer(OTHER, &answer(2, 80));
    lease.begin_round(Time(5_200));
    assert!(lease.complete(Time(5_200), by_other) && lease.is_news(OTHER) && lease.lacks_grant(OTHER));
    assert_eq!(lease.round_for(Time(5_200), OTHER, 7, false).granted, 2);
    assert!(lease.is_news(OTHER) && !lease.lacks_grant(OTHER), "it has upheld the newest one");
    lease.on_answer(ME, &answer(3, 10));
    assert!(lease.complete(Time(5_250), |_, answered| answered(ME)));
    assert!(!lease.is_news(OTHER), "it has been told of all that it has upheld");
    lease.on_answer(Incarnation(3), &answer(1, 90));
    assert!(lease.is_news(Incarnation(3)), "it has been told of nothing");
}

#[test]
fn who_has_told_its_clock_waits_for_a_round_that_brings_it_back() {
    let mut lease = coordinator(5_000, 5_000);
    lease.begin_round(Time(5_000));
    lease.on_answer(OTHER, &answer(0, 70));
    lease.want_round(Time(5_010), OTHER);
    assert!(lease.is_waiting(OTHER) && !lease.is_waiting(ME) && lease.due == Time(5_010));
    lease.begin_round(Time(5_010));
    lease.round_for(Time(5_010), OTHER, 7, true);
    assert!(!lease.is_waiting(OTHER) && lease.due == Time::NEVER);
}

#[test]
fn rounds_between_heartbeats_wait_for_what_they_cost_and_for_a_heartbeat_when_none_is_complete() {
    let mut lease = coordinator(5_000, 5_000);
    lease.begin_round(Time(5_000));
    lease.on_answer(OTHER, &answer(1, 70));
    assert!(lease.complete(Time(5_000), by_other));
    (1..OPEN_ROUNDS).for_each(|_| lease.begin_round(Time(5_000)));
    let next = |lease: &mut Lease| {
        lease.due = Time::NEVER;
        lease.pace(Time(5_000), 10, 400);
        lease.want_round(Time(5_000), OTHER);
        lease.due
    };
    assert_eq!(next(&mut lease), Time(5_004));
    lease.begin_round(Time(5_000));
    assert_eq!(next(&mut lease), Time(5_400));
}

/// A proof of death is too old for a round that began after it.
#[test]
fn a_round_is_open_since_a_moment_before_it_began_until_it_is_complete() {
    let mut lease = coordinator(5_000, 5_000);
    lease.begin_round(Time(5_000));
    assert!(lease.is_open_since(Time(4_999)) && !lease.is_open_since(Time(5_000)));
    lease.on_answer(OTHER, &answer(1, 70));
    assert!(lease.complete(Time(5_010), by_other) && !lease.is_open_since(Time(4_999)));
}

/// All that is hashed.
#[derive(Default)]
struct Kept(Vec<u8>);

impl Hasher for Kept {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

fn fingerprint(lease: &Lease) -> Vec<u8> {
    let mut kept = Kept::default();
    lease.hash(&mut kept);
    kept.0
}

/// A coordinator that had so many rounds before three more, of which two are complete.
fn after_rounds(before: u64) -> Lease {
    let mut lease = coordinator(5_000, 5_000);
    lease.round = before;
    (0..3).for_each(|at| lease.begin_round(Time(5_000 + at)));
    lease.on_answer(OTHER, &answer(before + 1, 70));
    lease.on_answer(ME, &answer(before + 2, 70));
    assert!(lease.complete(Time(5_010), |_, answered| answered(ME)));
    lease.based.insert(OTHER, before + 1);
    lease.on_round(Time(5_010), &round(before + 3, 4_000, 0));
    lease
}

#[test]
fn how_many_rounds_there_were_before_makes_no_difference() {
    let kept = fingerprint(&after_rounds(9));
    assert_eq!(kept, fingerprint(&after_rounds(4)));
    let mut earlier = after_rounds(9);
    earlier.based.insert(OTHER, 3);
    assert_eq!(kept, fingerprint(&earlier), "since when it can count what it has upheld");
}

#[test]
fn what_a_lease_does_next_makes_a_difference() {
    let differs = |change: fn(&mut Lease)| {
        let mut lease = after_rounds(9);
        lease.based.insert(OTHER, 14);
        let before = fingerprint(&lease);
        change(&mut lease);
        before != fingerprint(&lease)
    };
    let changes: [fn(&mut Lease); 13] = [
        |lease| lease.expiry = Time(1),
        |lease| lease.over = Time(1),
        |lease| lease.fence = Time(1),
        |lease| lease.hold = Time(1),
        |lease| lease.granted_at.extend([(OTHER, Time(1))]),
        |lease| lease.round += 1,
        |lease| lease.bases.clear(),
        |lease| lease.sent.clear(),
        |lease| lease.answers.clear(),
        |lease| *lease.based.entry(OTHER).or_default() += 1,
        |lease| lease.waiting.extend([OTHER]),
        |lease| lease.due = Time(1),
        |lease| lease.not_before = Time(1),
    ];
    let same: Vec<usize> = (0..changes.len()).filter(|at| !differs(changes[*at])).collect();
    assert!(same.is_empty(), "{same:?}");
}
