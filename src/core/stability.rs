//! How far everybody has got (R26): each member tells its leader what it has taken, leaders tell each other the least of
//! their groups, and the least of all goes down again. Only streams that moved are told.

use fixedbitset::FixedBitSet;

use super::effects::Effects;
use super::plant::{Plant, Plants};
use super::stream::Stream;
use crate::types::{Index, Micros, Time, View, millis};
use crate::wire::control::{Control, Progress};

/// When little has been taken a member lets so much time pass between two reports: nobody waits for them, and each one wakes its leader,
/// and what the leader makes of it everybody. The first goes out at once: whoever turns seldom would lose a turn by each that waits.
const MEMBER_PAUSE: Micros = millis(25);
/// The same for a leader, whose members have paused already.
const LEADER_PAUSE: Micros = millis(5);
/// So much taken is reported at once, whatever windows are.
const LEAST_REPORT_BYTES: usize = 16 * 1024;

/// What counts as progress.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Measure {
    /// What went into the host's queue: windows move on with it.
    Taken,
    /// What is held: what is safe waits for it.
    Held,
}

impl Measure {
    fn of(self, stream: &Stream) -> u64 {
        match self {
            Measure::Taken => stream.taken,
            Measure::Held => stream.accepted,
        }
    }

    fn up(self, progress: Progress) -> Control {
        match self {
            Measure::Taken => Control::Progress(progress),
            Measure::Held => Control::Holding(progress),
        }
    }

    fn down(self, progress: Progress) -> Control {
        match self {
            Measure::Taken => Control::Stable(progress),
            Measure::Held => Control::AllHold(progress),
        }
    }

    /// The least time between two reports. Somebody waits for what is held; what is taken only moves windows.
    fn pause(self, leader: bool) -> Micros {
        match self {
            Measure::Taken if leader => LEADER_PAUSE,
            Measure::Taken => MEMBER_PAUSE,
            Measure::Held => 0,
        }
    }
}

/// Progress of all streams of one view, as one member knows it.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Stability {
    measure: Measure,
    me: Index,
    tag: u64,
    leader: bool,
    /// The members of my group, and what each has taken of each stream. Only a leader has them: they are a number for each pair of members.
    members: Vec<(Index, bool, Vec<u64>)>,
    /// The least of each group. Only a leader has them.
    groups: Vec<Vec<u64>>,
    my_group: usize,
    leaders: Vec<Index>,
    /// What was told upwards (or to the other leaders), and downwards.
    told_up: Vec<u64>,
    told_down: Vec<u64>,
    /// Streams that moved since the last report.
    moved: FixedBitSet,
    moved_bytes: usize,
    /// So much taken is reported at once: half of what every sender may have under way, so that none has to wait. A leader passes on half of
    /// that: a sender waits for both.
    report_bytes: usize,
    /// Enough has moved: it is told at once.
    hurry: bool,
    /// A leader has taken so much that it may be enough.
    look: bool,
    due: Time,
    /// When the last report was made.
    told_at: Time,
}

impl Stability {
    pub(crate) fn new(view: &View, me: Index, measure: Measure, plants: Plants) -> Stability {
        let (streams, leader) = (view.len(), view.is_leader(me));
        let my_group = view.group_at(me);
        let witness = |m: Index| view.members[m].witness && !plants.has(Plant::CountWitness);
        let counts = |m: Index| (view.members[m].ready || plants.has(Plant::CountUnreadyJoiner)) && !witness(m);
        let others = view.group(me).members.iter().filter(|m| **m != me && !witness(**m));
        let members = others.map(|m| (*m, counts(*m), vec![0; streams])).chain([(me, counts(me), Vec::new())]);
        // A group in which nobody counts for a stream never holds it up.
        let floor = |group: &crate::types::Group, s: Index| {
            if group.members.iter().any(|m| *m != s && counts(*m)) { 0 } else { u64::MAX }
        };
        let floors = view.groups.iter().map(|g| (0..streams).map(|s| floor(g, s)).collect());
        Stability {
            measure,
            me,
            tag: view.tag(),
            leader,
            hurry: false,
            look: false,
            members: if leader { members.collect() } else { Vec::new() },
            groups: if leader { floors.collect() } else { Vec::new() },
            my_group,
            leaders: view.groups.iter().map(|g| g.leader()).collect(),
            told_up: vec![0; streams],
            told_down: vec![0; streams],
            moved: FixedBitSet::with_capacity(streams),
            moved_bytes: 0,
            report_bytes: LEAST_REPORT_BYTES,
            due: Time::NEVER,
            told_at: Time::ZERO,
        }
    }

    /// Reports for windows of so many bytes.
    pub(crate) fn for_window(self, reserved: u64) -> Stability {
        Stability { report_bytes: LEAST_REPORT_BYTES.max(reserved as usize / 2), ..self }
    }

    /// A stream moved by so many bytes at this member.
    pub(crate) fn touched(&mut self, s: Index, bytes: usize) {
        self.moved.insert(s);
        // Nobody waits for what a leader has taken of its own stream.
        self.moved_bytes += if self.leader && s == self.me { 0 } else { bytes };
        let enough = self.moved_bytes >= self.report_bytes;
        if self.leader {
            self.look |= enough;
        } else {
            self.hurry |= enough;
        }
    }

    /// A member of my group, or another leader for its group, reports.
    pub(crate) fn reported(&mut self, from: Index, entries: &[(u32, u64)], streams: &[Stream]) {
        let known = match self.leaders.iter().position(|l| *l == from) {
            Some(group) if group != self.my_group => self.groups.get_mut(group),
            _ => self.members.iter_mut().find(|(m, ..)| *m == from && from != self.me).map(|(_, _, taken)| taken),
        };
        let Some(known) = known else { return };
        for (s, batch) in entries {
            if let Some(k) = known.get_mut(*s as usize) {
                *k = (*k).max(*batch);
                self.moved.insert(*s as usize);
            }
        }
        self.hurry |= entries.iter().any(|(s, _)| self.has_risen(*s as usize, streams));
    }

    /// Whether so much more of a stream is taken by a leader's group, or by all, than was told that a sender may be waiting for it.
    fn has_risen(&self, s: Index, streams: &[Stream]) -> bool {
        let Some(stream) = streams.get(s).filter(|_| self.leader && self.measure == Measure::Taken) else {
            return false;
        };
        let mine = self.measure.of(stream);
        let group = self.least(s, mine);
        let others = self.groups.iter().enumerate().filter(|(g, _)| *g != self.my_group).map(|(_, known)| known[s]);
        let all = others.min().unwrap_or(u64::MAX).min(group).min(mine);
        let risen = |told: u64, now: u64| now > told && stream.bytes_between(told, now) >= self.report_bytes as u64 / 2;
        risen(self.told_down[s], all) || (self.leaders.len() > 1 && risen(self.told_up[s], group.min(stream.accepted)))
    }

    /// Tells what has moved, if it is time; answers what is stable now.
    pub(crate) fn flush(&mut self, now: Time, streams: &[Stream], fx: &mut Effects) -> Vec<(Index, u64)> {
        if self.moved.is_clear() {
            return Vec::new();
        }
        if self.due == Time::NEVER {
            self.due = now.max(self.told_at + self.measure.pause(self.leader));
        }
        if std::mem::take(&mut self.look) {
            self.moved_bytes = 0;
            self.hurry |= self.moved.ones().any(|s| self.has_risen(s, streams));
        }
        if !self.is_due(now) {
            return Vec::new();
        }
        (self.due, self.told_at) = (Time::NEVER, now);
        (self.moved_bytes, self.hurry) = (0, false);
        let moved: Vec<Index> = self.moved.ones().collect();
        self.moved.clear();
        if self.leader { self.flush_leader(&moved, streams, fx) } else { self.flush_member(&moved, streams, fx) }
    }

    fn flush_member(&mut self, moved: &[Index], streams: &[Stream], fx: &mut Effects) -> Vec<(Index, u64)> {
        let entries = rising(moved, &mut self.told_up, |s| self.measure.of(&streams[s]));
        if !entries.is_empty() {
            let leader = self.leaders[self.my_group];
            fx.control.push((leader, self.measure.up(Progress { tag: self.tag, entries })));
        }
        Vec::new()
    }

    fn flush_leader(&mut self, moved: &[Index], streams: &[Stream], fx: &mut Effects) -> Vec<(Index, u64)> {
        for s in moved {
            let least = self.least(*s, self.measure.of(&streams[*s]));
            self.groups[self.my_group][*s] = least;
        }
        let mine = &self.groups[self.my_group];
        let up = rising(moved, &mut self.told_up, |s| if mine[s] == u64::MAX { 0 } else { mine[s] });
        let stable: Vec<(Index, u64)> = moved
            .iter()
            .map(|s| (*s, self.groups.iter().map(|g| g[*s]).min().unwrap_or(0).min(self.measure.of(&streams[*s]))))
            .collect();
        let down = rising(moved, &mut self.told_down, |s| stable.iter().find(|(at, _)| *at == s).map_or(0, |x| x.1));
        if !up.is_empty() {
            let progress = Progress { tag: self.tag, entries: up };
            let others = self.leaders.iter().filter(|l| **l != self.me);
            fx.control.extend(others.map(|l| (*l, self.measure.up(progress.clone()))));
        }
        if !down.is_empty() {
            let progress = Progress { tag: self.tag, entries: down };
            let others = self.members.iter().filter(|(m, ..)| *m != self.me);
            fx.control.extend(others.map(|(m, ..)| (*m, self.measure.down(progress.clone()))));
        }
        stable
    }

    /// The least that the ready members of my group have taken of a stream, its sender left out.
    fn least(&self, s: Index, mine: u64) -> u64 {
        self.members
            .iter()
            .filter(|(m, counts, _)| *m != s && *counts)
            .map(|(m, _, taken)| if *m == self.me { mine } else { taken[s] })
            .min()
            .unwrap_or(u64::MAX)
    }

    /// The link to a peer is new: what was told over the old one may be lost, so all of it is told again.
    pub(crate) fn tell_again(&mut self, peer: Index, streams: &[Stream], fx: &mut Effects) {
        let tag = self.tag;
        let all = |of: &dyn Fn(Index) -> u64| -> Progress {
            let entries = (0..streams.len()).map(|s| (s as u32, of(s))).filter(|(_, batch)| *batch > 0).collect();
            Progress { tag, entries }
        };
        let is_peer_leader = self.leaders.contains(&peer);
        if self.leader && is_peer_leader {
            fx.control.push((peer, self.measure.up(all(&|s| self.told_up[s]))));
        } else if self.leader {
            fx.control.push((peer, self.measure.down(all(&|s| self.told_down[s]))));
        } else if peer == self.leaders[self.my_group] {
            let measure = self.measure;
            self.told_up.iter_mut().zip(streams).for_each(|(told, s)| *told = measure.of(s));
            fx.control.push((peer, measure.up(all(&|s| measure.of(&streams[s])))));
        }
    }

    /// Whether something has moved of which it is not known yet when to tell it, or which is to be told now.
    pub(crate) fn is_due(&self, now: Time) -> bool {
        let told = self.due == Time::NEVER || now >= self.due || self.hurry || self.look;
        told && !self.moved.is_clear()
    }

    /// When something must be told at the latest.
    pub(crate) fn deadline(&self) -> Time {
        self.due
    }

    /// What a member of my group has taken of a stream, where I lead it.
    pub(crate) fn taken_by(&self, member: Index, s: Index) -> Option<u64> {
        self.members.iter().find(|(m, ..)| *m == member).and_then(|(_, _, taken)| taken.get(s)).copied()
    }

    /// The least that a group has taken of a stream, where we lead one.
    pub(crate) fn taken_by_group(&self, group: usize, s: Index) -> Option<u64> {
        Some(self.groups.get(group)?[s])
    }
}

/// Entries for the streams whose value has risen above what was told; notes them as told.
fn rising(moved: &[Index], told: &mut [u64], value: impl Fn(Index) -> u64) -> Vec<(u32, u64)> {
    let mut entries = Vec::new();
    for s in moved {
        let now = value(*s);
        if now > told[*s] {
            told[*s] = now;
            entries.push((*s as u32, now));
        }
    }
    entries
}

#[cfg(test)]
mod tests;
