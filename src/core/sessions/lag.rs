//! Asynchronous mode (S2): a change is answered before the second copy has it, and travels with others. What a crash of the owner can
//! lose is bounded twice: so many bytes, and changes made within one span of time. A change that would go beyond waits for its
//! acknowledgement, as in synchronous mode.

use std::collections::BTreeSet;

use super::transport::Outlet;
use super::{Begun, SessionOp, SessionRequest, Sessions};
use crate::core::mark::Mark;
use crate::core::plant::Plant;
use crate::types::{Code, Incarnation, Micros, SessionId, Time};

/// The bounds of asynchronous mode.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Asynchronous {
    /// Bytes of changes that were answered for and that no second member has yet, at most.
    pub window_bytes: usize,
    /// While the oldest of them is older than this, no other is answered for.
    pub window: Micros,
    /// Changes for one member are sent once there are so many bytes of them,
    pub batch_bytes: usize,
    /// or once the oldest has waited for so long.
    pub batch: Micros,
}

/// What was answered for early and is not with a second member yet.
#[derive(Clone, Hash, Default, Debug)]
pub(super) struct Lag {
    bytes: usize,
    open: BTreeSet<(Time, u64)>,
}

/// When a change was answered for early, and what it counts.
#[derive(Clone, Copy, Hash, Debug)]
pub(super) struct Early {
    since: Time,
    bytes: usize,
}

impl Lag {
    fn admits(&self, now: Time, bytes: usize, bounds: &Asynchronous) -> bool {
        let fresh = self.open.first().is_none_or(|(since, _)| now.since(*since) < bounds.window);
        fresh && self.bytes + bytes <= bounds.window_bytes
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// For how long the oldest has waited.
    pub(super) fn age(&self, now: Time) -> Micros {
        self.open.first().map_or(0, |(since, _)| now.since(*since))
    }

    pub(super) fn close(&mut self, begun: &Begun) {
        if let Some(early) = begun.early {
            self.bytes = self.bytes.checked_sub(early.bytes).expect("what was answered for early was counted");
            self.open.remove(&(early.since, begun.number));
        }
    }
}

impl Outlet {
    /// Whether its frames wait for more of their kind.
    pub(super) fn is_corked(&self, now: Time, bounds: Option<&Asynchronous>) -> bool {
        self.corked.is_some_and(|until| now < until) && bounds.is_some_and(|b| self.queue.bytes() < b.batch_bytes)
    }
}

impl Sessions {
    /// Whether a change of so many bytes can be answered for before a second member has it.
    pub(super) fn admits_early(&self, bytes: usize) -> bool {
        let bounds = self.rules.asynchronous.as_ref();
        let boundless = self.plants.has(Plant::LagWithoutBound);
        let admits = bounds.is_some_and(|bounds| boundless || self.lag.admits(self.now, bytes, bounds));
        self.marks.reach_if(bounds.is_some() && !admits, Mark::SessionEarlyRefused);
        admits
    }

    /// Answers for a change that was just begun and is on its way to a second member.
    pub(super) fn answer_early(&mut self, id: SessionId, number: u64, bytes: usize) {
        let now = self.now;
        let Some(active) = self.active.get_mut(&id).filter(|_| self.primary) else { return };
        let in_order = active.begun.iter().all(|begun| begun.early.is_some() || begun.number == number);
        let Some(begun) = active.begun.iter_mut().find(|begun| begun.number == number).filter(|_| in_order) else {
            return;
        };
        let told = begun.clone();
        begun.early = Some(Early { since: now, bytes });
        self.lag.open.insert((now, number));
        self.lag.bytes += bytes;
        self.marks.reach(Mark::SessionAnsweredEarly);
        self.answer_begun(id, &told, Code::Ok);
    }

    /// Frames for this member may wait for more, from now on.
    pub(super) fn cork(&mut self, to: Incarnation) {
        let Some(bounds) = self.rules.asynchronous else { return };
        let outlet = self.outlets.entry(to).or_default();
        if outlet.queue.bytes() == 0 {
            self.marks.reach(Mark::SessionCorked);
            outlet.corked = Some(self.now + bounds.batch);
        }
    }

    /// What waits for a session's partner goes out now.
    pub(super) fn uncork(&mut self, id: SessionId) {
        if self.rules.asynchronous.is_none() {
            return;
        }
        let partner = self.store.glance(id).and_then(|s| self.present(s.partner()));
        if let Some(outlet) = partner.and_then(|who| self.outlets.get_mut(&who)) {
            outlet.corked = None;
        }
    }

    pub(super) fn uncork_all(&mut self) {
        self.outlets.values_mut().for_each(|outlet| outlet.corked = None);
    }

    pub(super) fn uncork_at(&self) -> Time {
        let corked = self.outbound.iter().filter_map(|to| self.outlets.get(to)?.corked);
        corked.min().unwrap_or(Time::NEVER)
    }
}

/// What a change counts in the window.
pub(super) fn weight(request: &SessionRequest) -> usize {
    match &request.op {
        SessionOp::Create { .. } | SessionOp::Write { .. } => request.bytes(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::millis;

    const BOUNDS: Asynchronous =
        Asynchronous { window_bytes: 1_000, window: millis(50), batch_bytes: 100, batch: millis(10) };

    fn at(ms: u64) -> Time {
        Time::ZERO + millis(ms)
    }

    fn answered(lag: &mut Lag, number: u64, since: Time, bytes: usize) -> Begun {
        lag.bytes += bytes;
        lag.open.insert((since, number));
        let early = Some(Early { since, bytes });
        Begun { number, version: 1, until: Time::NEVER, done: false, given_up: false, early }
    }

    #[test]
    fn the_window_is_bounded_in_bytes_and_in_time_and_opens_again() {
        let mut lag = Lag::default();
        assert!(lag.admits(at(0), 1_000, &BOUNDS) && !lag.admits(at(0), 1_001, &BOUNDS));
        let first = answered(&mut lag, 1, at(0), 600);
        let second = answered(&mut lag, 2, at(30), 400);
        assert_eq!((lag.bytes(), lag.age(at(40))), (1_000, millis(40)));
        assert!(!lag.admits(at(40), 1, &BOUNDS), "no bytes are left");
        lag.close(&second);
        assert!(lag.admits(at(49), 400, &BOUNDS) && !lag.admits(at(50), 1, &BOUNDS), "the oldest is too old");
        lag.close(&first);
        assert_eq!((lag.bytes(), lag.age(at(90))), (0, 0));
        assert!(lag.admits(at(90), 1_000, &BOUNDS));
    }

    #[test]
    fn frames_wait_for_more_until_there_are_enough_or_it_is_time() {
        let mut outlet = Outlet { corked: Some(at(10)), ..Outlet::default() };
        assert!(outlet.is_corked(at(9), Some(&BOUNDS)) && !outlet.is_corked(at(10), Some(&BOUNDS)));
        outlet.queue.push(crate::core::outbox::Pending {
            level: crate::wire::batch::Level::Fifo,
            token: 0,
            payload: vec![0; 100].into(),
        });
        assert!(!outlet.is_corked(at(9), Some(&BOUNDS)));
        let bounds = |batch_bytes| Asynchronous { batch_bytes, ..BOUNDS };
        let there = outlet.queue.bytes();
        assert!(outlet.is_corked(at(9), Some(&bounds(there + 1))) && !outlet.is_corked(at(9), Some(&bounds(there))));
    }

    #[test]
    fn changes_weigh_what_their_requests_do_and_nothing_else_weighs_anything() {
        let sets = crate::wire::session::Attributes::new([("a", &b"12345"[..])]);
        let removes = crate::wire::session::Attributes::default();
        let length = sets.as_bytes().len();
        let of = |op| weight(&SessionRequest { number: 1, id: SessionId(1), holders: Default::default(), op });
        assert_eq!(of(SessionOp::Create { ttl_s: 0, attributes: sets.clone() }), 128 + length);
        assert_eq!(of(SessionOp::Write { token: 0, if_version: 0, whole: false, sets, removes }), 128 + length);
        assert_eq!([SessionOp::Read, SessionOp::Touch, SessionOp::Remove].map(of), [0; 3]);
    }
}
