//! A slow receiver is named at once and borne for a stated time (R27). A member whose own host takes nothing notices it itself.
//!
//! From afar a slow leader and its slow member look alike: the group has not taken what was sent. So whoever is near speaks first. A
//! leader names the member that lags, and says so again as long as it does; it names itself if most of its members lag and do not
//! say that their own hosts hold them up, since what is common to them is the way through it. Leaders of other groups name a
//! leader only if it says nothing, and two of them must agree before it goes.

use std::collections::{BTreeMap, BTreeSet};

use super::fanout::Fanout;
use super::io::{Ended, Event};
use super::member::Member;
use super::stream::Stream;
use crate::types::{Incarnation, Index, Micros, Time, View};
use crate::wire::control::{Control, Observation, Sight};

/// What was said counts for so many heartbeats.
const FRESH: u64 = 4;
/// So many heartbeats a leader has to say who it is, before others name it.
const HEARING: u64 = 3;
/// For so many heartbeats a leader waits whether others of its group lag, too.
const LOOKING: u64 = 1;

/// Who holds up senders, and since when.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct SlowWatch {
    /// Whom this leader sees lag.
    since: BTreeMap<Incarnation, Time>,
    told: BTreeSet<Incarnation>,
    /// Whom leaders have named: which leader, and when.
    named: BTreeMap<Incarnation, (Incarnation, Time)>,
    /// Members of our group that say that their own hosts hold them up.
    admitted: BTreeMap<Incarnation, Time>,
    /// Coordinator: leaders that want another leader to go.
    reports: BTreeMap<Incarnation, BTreeMap<Incarnation, Time>>,
    /// Since when something waits for our own host to take events.
    host_full: Option<Time>,
    /// Since when the view is about to end: nobody sends.
    frozen: Option<Time>,
}

impl SlowWatch {
    /// The view is about to end.
    pub(crate) fn freeze(&mut self, now: Time) {
        self.frozen = Some(now);
    }

    /// There is a view again. Whoever lagged before it holds up senders again, but did not while nobody sent.
    pub(crate) fn restart(&mut self, view: &View, now: Time) {
        if let Some(at) = self.frozen.take() {
            let stood = now.since(at);
            self.since.values_mut().for_each(|since| *since = (*since + stood).min(now));
        }
        let present = |i: &Incarnation| view.index_of(*i).is_some();
        self.since.retain(|i, _| present(i));
        self.told.retain(present);
        self.named.retain(|i, _| present(i));
        self.admitted.clear();
        self.reports.clear();
    }

    pub(crate) fn host_polled(&mut self, now: Time) {
        self.host_full = self.host_full.map(|_| now);
    }

    /// Our own process stood still: nobody was slow meanwhile.
    pub(crate) fn forgive(&mut self, pause: Micros) {
        self.since.values_mut().for_each(|at| *at = *at + pause);
        self.named.values_mut().for_each(|(_, at)| *at = *at + pause);
        self.host_full = self.host_full.map(|at| at + pause);
        // Of what is forgiven now, nothing is forgiven once more when there is a view again.
        self.frozen = self.frozen.map(|at| at + pause);
    }

    /// Whether a leader says that it is a member of its group that lags.
    fn excuses(&self, view: &View, leader: Index, now: Time, fresh: Micros) -> bool {
        let who = view.members[leader].incarnation;
        let near = |subject: Incarnation| view.index_of(subject).is_some_and(|at| view.leader_of(at) == leader);
        self.named
            .iter()
            .any(|(subject, (by, at))| *subject != who && *by == who && near(*subject) && now.since(*at) <= fresh)
    }

    fn is_named(&self, subject: Incarnation, now: Time, fresh: Micros) -> bool {
        self.named.get(&subject).is_some_and(|(_, at)| now.since(*at) <= fresh)
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
            self.stability.taken_by_group(self.view.group_at(member), s).unwrap_or(stream.accepted)
        };
        stream.bytes_after(taken.min(stream.accepted))
    }

    /// Whom a leader can judge: itself, the members of its group, and other groups by their leaders.
    fn judged(&self) -> Vec<Index> {
        let group = self.view.group(self.me).members.iter().copied();
        let leaders = self.view.groups.iter().map(|g| g.leader()).filter(|l| *l != self.view.leader_of(self.me));
        group.chain(leaders).filter(|m| self.view.members[*m].counts()).collect()
    }

    /// What holds up a sender: most of its window. Of whoever does so already half is enough: a window opens by a quarter at a time, so
    /// that a sender which waits for one member stands now a little above that, now a little below.
    fn full(&self, already: bool) -> u64 {
        self.window.reserved() / 4 * if already { 2 } else { 3 }
    }

    /// Members that alone hold up a full window of some sender, while the median of the others lags under half of it. `admits`:
    /// whose own hosts hold them up, as they say themselves; `already`: who was seen so before.
    fn slow(&self, admits: impl Fn(Index) -> bool, already: impl Fn(Index) -> bool) -> Vec<(Index, u64)> {
        let least = self.full(true);
        if self.streams.iter().all(|s| s.retained_bytes() < least) {
            return Vec::new();
        }
        let judged = self.judged();
        let common = self.lag_in_common(&judged, self.full(already(self.me)), &admits);
        let passed_over = |m: Index| common.is_some() && self.is_led(m) && !admits(m);
        let mut slow: BTreeMap<Index, u64> = common.into_iter().map(|lag| (self.me, lag)).collect();
        for (s, kept) in self.streams.iter().map(Stream::retained_bytes).enumerate().filter(|(_, kept)| *kept >= least)
        {
            let lags: Vec<(Index, u64)> = judged.iter().filter(|m| **m != s).map(|m| (*m, self.lag(*m, s))).collect();
            let holds_up = |m: Index, lag: u64| kept.min(lag) >= self.full(already(m));
            for (member, lag) in lags.iter().filter(|(m, lag)| holds_up(*m, *lag) && !passed_over(*m)) {
                let others = lags.iter().filter(|(m, _)| m != member).map(|(_, l)| *l);
                // What has just gone out lies before all of them: of whom is seen again it is enough that it has twice as much before it.
                let bound = (self.window.reserved() / 2).max(if already(*member) { *lag / 2 } else { 0 });
                if median(others).is_some_and(|median| median < bound) {
                    let most = slow.entry(*member).or_default();
                    *most = (*most).max(*lag);
                }
            }
        }
        slow.into_iter().collect()
    }

    /// Most members of our group lag, other groups do not, and it is not their hosts: what they have in common is their leader.
    fn lag_in_common(&self, judged: &[Index], full: u64, admits: impl Fn(Index) -> bool) -> Option<u64> {
        let (led, others): (Vec<Index>, Vec<Index>) =
            judged.iter().filter(|m| **m != self.me).partition(|m| self.is_led(**m));
        let held = led.iter().filter(|m| !admits(**m)).map(|m| self.lag_of(*m)).filter(|lag| *lag >= full);
        let held: Vec<u64> = held.collect();
        let elsewhere = median(others.iter().map(|m| self.lag_of(*m))).is_some_and(|median| median < full);
        (led.len() > 1 && held.len() * 2 > led.len() && elsewhere).then(|| held.into_iter().max().unwrap_or(0))
    }

    /// Whether a member is another one of our group.
    fn is_led(&self, member: Index) -> bool {
        member != self.me && self.view.group_at(member) == self.view.group_at(self.me)
    }
}

fn median(all: impl Iterator<Item = u64>) -> Option<u64> {
    let mut all: Vec<u64> = all.collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

impl Member {
    pub(super) fn tick_slow(&mut self) {
        if self.plants.has(super::Plant::BearTheSlow) {
            return;
        }
        let waits = self.watch_own_host();
        let Some(f) = self.fanout.as_ref().filter(|f| !f.frozen) else { return };
        let (view, me) = (f.view.clone(), f.me);
        if !view.is_leader(me) {
            return if waits {
                self.admit(&view, me)
            };
        }
        let (now, fresh) = (self.now, self.setup.heartbeat * FRESH);
        let watch = &self.slow;
        let admits =
            |m: Index| watch.admitted.get(&view.members[m].incarnation).is_some_and(|at| now.since(*at) <= fresh);
        let near = |m: Index| view.group_at(m) == view.group_at(me);
        let mut slow = f.slow(admits, |m| watch.since.contains_key(&view.members[m].incarnation));
        slow.retain(|(m, _)| near(*m) || !watch.excuses(&view, *m, now, fresh));
        let seen: Vec<Incarnation> = slow.iter().map(|(i, _)| view.members[*i].incarnation).collect();
        self.slow.since.retain(|i, _| seen.contains(i));
        self.slow.told.retain(|i| seen.contains(i));
        for (index, lag) in slow {
            self.judge_slow(&view, index, lag, near(index));
        }
    }

    /// A leader sees somebody lag: names it, in its time, and wants it to go when it was borne for long enough.
    fn judge_slow(&mut self, view: &View, index: Index, lag: u64, near: bool) {
        let member = view.members[index].incarnation;
        let since = *self.slow.since.entry(member).or_insert(self.now);
        let waited = self.now.since(since);
        let hearing = if near { LOOKING } else { HEARING };
        if waited >= self.setup.heartbeat * hearing {
            if self.slow.told.insert(member) {
                self.tell_slow(member, lag);
            } else if near {
                self.tell_leaders(view, member, lag);
            }
        }
        let borne = self.setup.slow + if near { self.setup.heartbeat } else { self.setup.slow / 4 };
        if waited < borne {
            return;
        }
        if member == self.incarnation && self.fanout.as_ref().is_some_and(Fanout::held_back) {
            return self.begin_leave(Ended::HostNotPolling);
        }
        let seen = Observation { subject: member, observer: self.incarnation, sight: Sight::Slow, amount: lag };
        match self.acting() {
            Some(acting) if acting == self.incarnation => self.on_seen(seen),
            Some(acting) => self.send_to(acting, Control::Observe(seen)),
            None => {}
        }
    }

    /// Whether something waits that the host's queue has no room for.
    pub(super) fn is_held_back(&self) -> bool {
        self.fanout.as_ref().is_some_and(Fanout::held_back) || self.direct.held_back()
    }

    /// A host that takes no events for `slow_ms` while some wait: the member leaves, and says why (D5). Answers whether some wait.
    fn watch_own_host(&mut self) -> bool {
        if !self.is_held_back() {
            self.slow.host_full = None;
            return false;
        }
        let since = *self.slow.host_full.get_or_insert(self.now);
        if self.now.since(since) >= self.setup.slow {
            self.begin_leave(Ended::HostNotPolling);
        }
        true
    }

    /// Our own host holds us up: our leader is not to take it for its link's fault, or its own.
    fn admit(&mut self, view: &View, me: Index) {
        let amount = self.fanout.as_ref().map_or(0, |f| f.lag_of(me));
        let seen = Observation { subject: self.incarnation, observer: self.incarnation, sight: Sight::Slow, amount };
        self.send_to(view.members[view.leader_of(me)].incarnation, Control::SlowNotice(seen));
    }

    /// Warns everybody by name, unless somebody has just done so.
    fn tell_slow(&mut self, subject: Incarnation, amount: u64) {
        let fresh = self.setup.heartbeat * FRESH;
        if self.slow.is_named(subject, self.now, fresh) {
            return;
        }
        let seen = Observation { subject, observer: self.incarnation, sight: Sight::Slow, amount };
        self.emit_slow(&seen);
        let Some((view, me)) = self.view().map(|(v, me)| (v.clone(), me)) else { return };
        for peer in super::member::neighbours(&view, me) {
            self.send_to(view.members[peer].incarnation, Control::SlowNotice(seen));
        }
    }

    /// It still lags: so long it is nobody else's fault.
    fn tell_leaders(&mut self, view: &View, subject: Incarnation, amount: u64) {
        let seen = Observation { subject, observer: self.incarnation, sight: Sight::Slow, amount };
        let me = self.incarnation;
        for leader in view.groups.iter().map(|g| view.members[g.leader()].incarnation).filter(|leader| *leader != me) {
            self.send_to(leader, Control::SlowNotice(seen));
        }
    }

    fn emit_slow(&mut self, seen: &Observation) {
        if let Some(member) = self.member_ref(seen.subject) {
            self.event(Event::Slow { member, lag_bytes: seen.amount });
        }
    }

    /// Somebody is named. A leader passes the warning on to its group.
    pub(super) fn on_slow_notice(&mut self, from: Incarnation, seen: Observation) {
        let Some((view, me)) = self.view().map(|(v, me)| (v.clone(), me)) else { return };
        let Some(at) = view.index_of(from) else { return };
        let leads = view.is_leader(me);
        if leads && view.leader_of(at) == me {
            if seen.subject == from && at != me {
                self.slow.admitted.insert(from, self.now);
            }
            return;
        }
        let news = !self.slow.is_named(seen.subject, self.now, self.setup.heartbeat * FRESH);
        self.slow.named.insert(seen.subject, (seen.observer, self.now));
        if !news {
            return;
        }
        self.emit_slow(&seen);
        if leads {
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
        let known = |who: Incarnation| view.index_of(who).filter(|at| view.members[*at].counts());
        let (Some(subject), Some(observer)) = (known(seen.subject), known(seen.observer)) else { return };
        let agreed = view.leader_of(subject) == observer || self.leaders_agree(&view, subject, seen.observer);
        let free = self.is_acting() && self.may_remove_slow(&view);
        if agreed && free && !self.changes.removals.contains_key(&seen.subject) {
            self.remove(seen.subject, "it holds up the senders");
        }
    }

    /// Whether a view's settings allow so many members to be removed as slow: never more than a minority (R27).
    fn may_remove_slow(&self, view: &View) -> bool {
        let going = self.changes.removals.len() + 1;
        going * 2 < view.carriers()
    }

    /// A leader of another group wants a leader to go: so must a second one, where there is a second one.
    fn leaders_agree(&mut self, view: &View, subject: Index, observer: Incarnation) -> bool {
        let (now, fresh) = (self.now, self.setup.heartbeat * FRESH);
        let reports = self.slow.reports.entry(view.members[subject].incarnation).or_default();
        reports.insert(observer, now);
        reports.retain(|_, at| now.since(*at) <= fresh);
        reports.len() >= (view.groups.len() - 1).min(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::millis;

    #[test]
    fn nobody_is_slow_while_nobody_sends() {
        let view = crate::core::tree::tests::view(&[0]);
        let slow = view.members[0].incarnation;
        let at = |ms| Time(millis(ms));
        let mut watch = SlowWatch::default();
        watch.since.insert(slow, at(1_000));
        watch.freeze(at(3_000));
        watch.restart(&view, at(8_000));
        assert_eq!(watch.since[&slow], at(6_000));
        watch.restart(&view, at(9_000));
        assert_eq!(watch.since[&slow], at(6_000), "once");
        watch.freeze(at(9_000));
        watch.forgive(millis(1_000));
        watch.restart(&view, at(12_000));
        assert_eq!(watch.since[&slow], at(9_000), "our own pause, and the rest of the time in which the view ended");
    }
}
