//! The lease (R22): until when this member may act in the primary view, and, for a coordinator, to whom it was granted.
//!
//! A lease counts from a moment that lies before the coordinator sent the round: a member tells its clock with every
//! answer, the coordinator sends the newest one back with the next round, and the member counts from there. No two
//! clocks are ever compared.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};

use super::mark::{Mark, Marks};
use super::plant::{Plant, Plants};
use crate::types::{Incarnation, Micros, Time};
use crate::wire::datagram::{LeaseAnswer, LeaseRound};

/// Rounds that are remembered: more than fit into one lease.
const ROUNDS: usize = 32;
/// Rounds between two heartbeats cost so many datagrams in a heartbeat's time at most.
const DATAGRAMS_PER_HEARTBEAT: u64 = 1_000;
/// When so many rounds are not complete, the next heartbeat's is waited for.
const OPEN_ROUNDS: usize = 8;

/// One member's share in the leases of the current view.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    length: Micros,
    /// This member acts as primary before this moment.
    pub(crate) expiry: Time,
    /// When the last lease ran out or was given up.
    over: Time,
    /// No lease that rests on our answers is alive anywhere after this moment.
    pub(crate) fence: Time,
    /// The first lease of the view waits for this moment.
    pub(crate) hold: Time,
    /// Own clock values that came back with rounds.
    bases: VecDeque<(u64, Time)>,
    round: u64,
    sent: VecDeque<(u64, Time)>,
    answers: BTreeMap<Incarnation, (u64, u64)>,
    complete: u64,
    granted_at: BTreeMap<Incarnation, Time>,
    /// The first round that brought a member a clock value of its own: what it can count from.
    based: BTreeMap<Incarnation, u64>,
    /// Members that have told their clock and wait for such a round.
    waiting: BTreeSet<Incarnation>,
    /// When the next round begins, if it does not wait for a heartbeat.
    pub(crate) due: Time,
    not_before: Time,
    plants: Plants,
    marks: Marks,
}

/// Rounds count by how far they are from the newest complete one, not by their numbers: how many there were before makes no difference.
impl Hash for Lease {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Lease { length: _, expiry, over, fence, hold, bases, sent, answers, complete, granted_at, .. } = self;
        let place = |number: u64| number.wrapping_sub(*complete);
        (expiry, over, fence, hold, granted_at, place(self.round)).hash(state);
        let newest = bases.back().map_or(0, |(number, _)| *number);
        bases.iter().for_each(|(number, base)| (newest.wrapping_sub(*number), base).hash(state));
        sent.iter().for_each(|(number, at)| (place(*number), at).hash(state));
        answers.iter().for_each(|(who, (number, clock))| (who, place(*number), clock).hash(state));
        for (who, first) in &self.based {
            let answered = answers.get(who).map_or(0, |(number, _)| *number);
            (who, if *first <= answered.min(*complete) { 0 } else { place(*first) }).hash(state);
        }
        (&self.waiting, self.due, self.not_before).hash(state);
    }
}

impl Lease {
    /// Before any view. Nothing is known of what this process did before it started: for the length of a lease it
    /// takes for possible that somebody still holds one.
    pub(crate) fn new(now: Time, length: Micros, plants: Plants, marks: Marks) -> Lease {
        Lease {
            length,
            expiry: Time::ZERO,
            over: Time::ZERO,
            fence: now + length,
            hold: now + length,
            bases: VecDeque::new(),
            round: 0,
            sent: VecDeque::new(),
            answers: BTreeMap::new(),
            complete: 0,
            granted_at: BTreeMap::new(),
            based: BTreeMap::new(),
            waiting: BTreeSet::new(),
            due: Time::NEVER,
            not_before: Time::ZERO,
            plants,
            marks,
        }
    }

    /// The process counts as just started: somebody may hold a lease that rests on answers it has forgotten.
    pub(crate) fn forget(&mut self, now: Time) {
        self.fence = self.fence.max(now + self.length);
        self.hold = self.hold.max(now + self.length);
    }

    /// A view was installed; its first lease waits until `hold`. For a newcomer to the log nothing else counts any more: whoever
    /// decided the view knew what it had to say, and its start must not hold up the views that follow.
    pub(crate) fn begin_view(&mut self, now: Time, hold: Time, newcomer: bool) {
        self.drop_it(now);
        self.marks.reach_if(hold > now, Mark::HoldBegun);
        self.marks.reach_if(newcomer && self.hold > hold.max(now), Mark::HoldSetAside);
        self.marks.reach_if(!newcomer && self.hold > hold.max(now), Mark::HoldKept);
        self.hold = if newcomer { hold } else { self.hold.max(hold) };
        self.bases.clear();
        self.sent.clear();
        self.answers.clear();
        self.complete = 0;
        self.granted_at.clear();
        self.based.clear();
        self.waiting.clear();
        (self.due, self.not_before) = (Time::NEVER, Time::ZERO);
    }

    fn is_past_hold(&self, now: Time) -> bool {
        now >= self.hold || self.plants.has(Plant::LeaseWithoutHold)
    }

    /// When a lease that counts from `base` runs out.
    fn end_of(&self, base: Time) -> Time {
        if self.plants.has(Plant::IgnoreLease) { Time::NEVER } else { base + self.length }
    }

    /// The lease lasts until then at least. Others wait for the fence before they take for certain that it is over.
    fn extend(&mut self, end: Time) {
        self.expiry = self.expiry.max(end);
        let within = self.expiry <= self.fence || self.plants.has(Plant::IgnoreLease);
        assert!(within, "a lease outlasts what is told of it");
    }

    /// A promise or an expulsion: this member no longer acts in the view (R16).
    pub(crate) fn drop_it(&mut self, now: Time) {
        self.marks.reach_if(self.expiry > now, Mark::LeaseGivenUp);
        self.over = self.over.max(self.expiry.min(now));
        self.expiry = Time::ZERO;
    }

    /// Since when this member has had no lease, or until when it has one.
    pub(crate) fn last(&self) -> Time {
        self.over.max(self.expiry)
    }

    /// A round came in: answers it, and takes what it grants.
    pub(crate) fn on_round(&mut self, now: Time, round: &LeaseRound) -> LeaseAnswer {
        self.fence = self.fence.max(now + self.length);
        if round.base_us > 0 && round.base_us <= now.0 {
            remember(&mut self.bases, (round.round, Time(round.base_us)));
        }
        if let Some((_, base)) = self.bases.iter().find(|(r, _)| *r == round.granted) {
            self.marks.reach(match (self.expiry > now, self.end_of(*base) > now) {
                (true, _) => Mark::LeaseRenewed,
                (false, true) => Mark::LeaseGranted,
                (false, false) => Mark::LeaseTooLate,
            });
            let end = self.end_of(*base);
            self.extend(end);
            // No older round will be granted any more, or it would grant less.
            self.bases.retain(|(number, _)| *number >= round.granted);
        }
        LeaseAnswer { view_tag: round.view_tag, round: round.round, clock_us: now.0 }
    }

    /// A member that has just installed its view tells its clock before it is asked, as an answer to no round: the next one can
    /// bring it back.
    pub(crate) fn ask(&self, now: Time, view_tag: u64) -> LeaseAnswer {
        self.marks.reach(Mark::LeaseAsked);
        LeaseAnswer { view_tag, round: 0, clock_us: now.0 }
    }

    /// Coordinator: begins a round. The first one that can grant anything does not wait for a heartbeat.
    pub(crate) fn begin_round(&mut self, now: Time) {
        self.round += 1;
        self.due = if now < self.hold { self.hold } else { Time::NEVER };
        remember(&mut self.sent, (self.round, now));
        self.fence = self.fence.max(now + self.length);
    }

    /// Coordinator: what to send to a member when a round begins. Between rounds, when only a grant is told, the
    /// base is left out: it could be younger than the round.
    pub(crate) fn round_for(&mut self, now: Time, to: Incarnation, view_tag: u64, begins: bool) -> LeaseRound {
        let (answered, clock) = self.answers.get(&to).copied().unwrap_or((0, 0));
        let clock = if begins { clock } else { 0 };
        if clock > 0 {
            self.based.entry(to).or_insert(self.round);
            self.waiting.remove(&to);
        }
        // Whoever answered a later round than an older one upholds that too: all up to the newest complete one are complete.
        let granted = answered.min(self.complete);
        let can_count = self.based.get(&to).is_some_and(|first| *first <= granted);
        self.marks.reach_if(granted > 0 && !can_count, Mark::LeaseBaseless);
        let granted = if self.is_past_hold(now) && can_count { granted } else { 0 };
        if granted > 0 {
            self.granted_at.insert(to, now);
        }
        LeaseRound { view_tag, round: self.round, base_us: clock, granted }
    }

    /// Coordinator: an answer came in.
    pub(crate) fn on_answer(&mut self, from: Incarnation, answer: &LeaseAnswer) {
        let known = self.answers.entry(from).or_default();
        if answer.round <= self.round && answer.round >= known.0 {
            *known = (answer.round, answer.clock_us);
        }
    }

    /// Coordinator: looks for the newest round, sent at its time, that `enough` members answered. True when a newer one is complete.
    pub(crate) fn complete(&mut self, now: Time, enough: impl Fn(Time, &dyn Fn(Incarnation) -> bool) -> bool) -> bool {
        let before = self.complete;
        for (round, sent) in self.sent.iter().rev() {
            if *round <= before {
                break;
            }
            let answered = |who: Incarnation| self.answers.get(&who).is_some_and(|(r, _)| *r >= *round);
            if enough(*sent, &answered) || self.plants.has(Plant::GrantAlone) {
                self.complete = *round;
                self.marks.reach(if self.is_past_hold(now) { Mark::LeaseUpheld } else { Mark::HoldWaited });
                let end = self.end_of(*sent);
                if self.is_past_hold(now) {
                    self.extend(end);
                }
                break;
            }
        }
        self.sent.retain(|(round, _)| *round >= self.complete);
        self.complete > before
    }

    /// Coordinator: whether a member is to be told what it was granted: with each round that it has upheld, and the first time.
    pub(crate) fn is_news(&self, to: Incarnation) -> bool {
        let answered = self.answers.get(&to).map_or(0, |(round, _)| *round);
        answered > 0 && (answered >= self.complete || !self.granted_at.contains_key(&to))
    }

    /// Coordinator: whether a member has been granted nothing in this view yet.
    pub(crate) fn lacks_grant(&self, member: Incarnation) -> bool {
        !self.granted_at.contains_key(&member)
    }

    /// Coordinator: a member has told its clock. If no round has brought it one back, one does as soon as may be.
    pub(crate) fn want_round(&mut self, now: Time, member: Incarnation) {
        if !self.based.contains_key(&member) {
            self.marks.reach(Mark::LeaseWanted);
            self.waiting.insert(member);
            self.due = self.due.min(now.max(self.not_before).max(self.hold));
        }
    }

    /// Coordinator: whether a member waits for the round that does not wait for a heartbeat.
    pub(crate) fn is_waiting(&self, member: Incarnation) -> bool {
        self.waiting.contains(&member)
    }

    /// Coordinator: a round was sent between two heartbeats. The next one waits for as long as its datagrams are worth.
    pub(crate) fn pace(&mut self, now: Time, datagrams: u64, heartbeat: Micros) {
        let open = self.sent.iter().filter(|(round, _)| *round > self.complete).count();
        let wait = if open < OPEN_ROUNDS { heartbeat * datagrams / DATAGRAMS_PER_HEARTBEAT } else { heartbeat };
        self.not_before = now + wait;
    }

    /// Coordinator: whether a round that is not complete began after this moment.
    pub(crate) fn is_open_since(&self, at: Time) -> bool {
        self.sent.back().is_some_and(|(round, sent)| *round > self.complete && *sent > at)
    }

    /// Coordinator: the hold has run out meanwhile; the newest complete round counts for ourselves too.
    pub(crate) fn after_hold(&mut self, now: Time) {
        if self.is_past_hold(now)
            && let Some((_, sent)) = self.sent.iter().find(|(r, _)| *r == self.complete)
        {
            self.marks.reach_if(self.end_of(*sent) > self.expiry, Mark::HoldOver);
            let end = self.end_of(*sent);
            self.extend(end);
        }
    }

    /// Coordinator: how long a lease that was granted to a member can still be alive.
    pub(crate) fn granted_for(&self, now: Time, member: Incarnation) -> Micros {
        self.granted_at.get(&member).map_or(0, |at| (*at + self.length).since(now))
    }
}

fn remember<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() == ROUNDS {
        list.pop_front();
    }
    list.push_back(item);
}

#[cfg(test)]
mod tests {
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
}
