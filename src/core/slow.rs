//! A slow receiver is named at once and borne for a stated time (R27). A member whose own host takes nothing notices it itself.

use std::collections::BTreeMap;

use super::fanout::Fanout;
use super::io::{Ended, Event};
use super::member::Member;
use crate::types::{Incarnation, Index, Micros, Time, View};
use crate::wire::control::{Control, Observation, Sight};

/// Who holds up senders, and since when.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct SlowWatch {
    since: BTreeMap<Incarnation, Time>,
    /// Since when something waits for our own host to take events.
    host_full: Option<Time>,
}

impl SlowWatch {
    pub(crate) fn restart(&mut self, view: &View) {
        self.since.retain(|i, _| view.index_of(*i).is_some());
    }

    pub(crate) fn host_polled(&mut self, now: Time) {
        self.host_full = self.host_full.map(|_| now);
    }

    /// Our own process stood still: nobody was slow meanwhile.
    pub(crate) fn forgive(&mut self, pause: Micros) {
        self.since.values_mut().for_each(|at| *at = *at + pause);
        self.host_full = self.host_full.map(|at| at + pause);
    }
}

impl Fanout {
    /// Bytes that a member (for a leader of another group: its group) has not taken yet, of the stream that lags most.
    pub(crate) fn lag_of(&self, member: Index) -> u64 {
        (0..self.streams.len()).filter(|s| *s != member).map(|s| self.lag(member, s)).max().unwrap_or(0)
    }

    fn lag(&self, member: Index, s: Index) -> u64 {
        let stream = &self.streams[s];
        let taken = if member == self.me {
            stream.taken
        } else if self.view.group_at(member) == self.view.group_at(self.me) {
            self.stability.taken_by(member, s).unwrap_or(stream.accepted)
        } else {
            self.stability.taken_by_group(self.view.group_at(member), s)
        };
        stream.bytes_after(taken.min(stream.accepted))
    }

    /// Whom a leader can judge: itself, the members of its group, and other groups by their leaders.
    fn judged(&self) -> Vec<Index> {
        let group = self.view.group(self.me).members.iter().copied();
        let leaders = self.view.groups.iter().map(|g| g.leader()).filter(|l| *l != self.view.leader_of(self.me));
        group.chain(leaders).filter(|m| self.view.members[*m].counts()).collect()
    }

    /// Members that alone hold up a full window of some sender, while the median of the others lags under half of it.
    fn slow(&self) -> Vec<(Index, u64)> {
        let window = self.window.reserved();
        let judged = self.judged();
        let mut slow = BTreeMap::new();
        for s in 0..self.streams.len() {
            let lags: Vec<(Index, u64)> = judged.iter().filter(|m| **m != s).map(|m| (*m, self.lag(*m, s))).collect();
            for (member, lag) in &lags {
                let mut others: Vec<u64> = lags.iter().filter(|(m, _)| m != member).map(|(_, l)| *l).collect();
                others.sort_unstable();
                let alone = others.get(others.len() / 2).is_some_and(|median| *median < window / 2);
                if *lag >= window / 4 * 3 && alone {
                    let most: &mut u64 = slow.entry(*member).or_default();
                    *most = (*most).max(*lag);
                }
            }
        }
        slow.into_iter().collect()
    }
}

impl Member {
    pub(super) fn tick_slow(&mut self) {
        if self.plants.has(super::Plant::BearTheSlow) {
            return;
        }
        self.watch_own_host();
        let Some(f) = self.fanout.as_ref().filter(|f| f.view.is_leader(f.me) && !f.frozen) else { return };
        let (view, me) = (f.view.clone(), f.me);
        let slow = f.slow();
        let named: Vec<Incarnation> = slow.iter().map(|(i, _)| view.members[*i].incarnation).collect();
        self.slow.since.retain(|i, _| named.contains(i));
        for (index, lag) in slow {
            let member = view.members[index].incarnation;
            let first = !self.slow.since.contains_key(&member);
            let since = *self.slow.since.entry(member).or_insert(self.now);
            if first {
                self.tell_slow(member, lag);
            }
            // Another group's leader names its own member first.
            let near = view.group_at(index) == view.group_at(me);
            let borne = self.setup.slow + if near { self.setup.heartbeat } else { self.setup.slow / 4 };
            if self.now.since(since) >= borne {
                if index == me {
                    return self.begin_leave(Ended::HostNotPolling);
                }
                self.observe(member, Sight::Slow, lag);
            }
        }
    }

    /// A host that takes no events for `slow_ms` while some wait: the member leaves, and says why (D5).
    fn watch_own_host(&mut self) {
        let waits = self.fanout.as_ref().is_some_and(Fanout::held_back) || self.direct.held_back();
        if !waits {
            self.slow.host_full = None;
            return;
        }
        let since = *self.slow.host_full.get_or_insert(self.now);
        if self.now.since(since) >= self.setup.slow {
            self.begin_leave(Ended::HostNotPolling);
        }
    }

    /// Warns everybody by name.
    fn tell_slow(&mut self, subject: Incarnation, amount: u64) {
        let seen = Observation { subject, observer: self.incarnation, sight: Sight::Slow, amount };
        self.emit_slow(&seen);
        let Some((view, me)) = self.view().map(|(v, me)| (v.clone(), me)) else { return };
        for peer in super::member::neighbours(&view, me) {
            self.send_to(view.members[peer].incarnation, Control::SlowNotice(seen));
        }
    }

    fn emit_slow(&mut self, seen: &Observation) {
        if let Some(member) = self.member_ref(seen.subject) {
            self.event(Event::Slow { member, lag_bytes: seen.amount });
        }
    }

    /// A leader passes the warning on to its group.
    pub(super) fn on_slow_notice(&mut self, from: Incarnation, seen: Observation) {
        self.emit_slow(&seen);
        let Some((view, me)) = self.view().map(|(v, me)| (v.clone(), me)) else { return };
        let Some(from) = view.index_of(from) else { return };
        if view.is_leader(me) && view.group_at(from) != view.group_at(me) {
            for member in view.group(me).members.iter().filter(|m| **m != me) {
                self.send_to(view.members[*member].incarnation, Control::SlowNotice(seen));
            }
        }
    }

    /// What an observer tells the coordinator.
    pub(super) fn on_seen(&mut self, seen: Observation) {
        if seen.sight != Sight::Slow {
            return self.on_observation(seen);
        }
        let Some((view, _)) = self.view().map(|(v, me)| (v.clone(), me)) else { return };
        if self.is_acting() && self.may_remove_slow(&view) && !self.changes.removals.contains_key(&seen.subject) {
            self.remove(seen.subject, "it holds up the senders");
        }
    }
}
