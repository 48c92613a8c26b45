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
mod tests;
