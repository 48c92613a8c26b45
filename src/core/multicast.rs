//! The multicast group: beacons by which members find and hear each other, and who has streams over connections instead (R30).
//!
//! A stream is taken by multicast once its sender has been heard so, and over connections while it is not. Batches are the same on
//! either way (R1), so nothing is lost or doubled where a member changes from one to the other.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;

use super::effects::Effects;
use super::fanout::{Fanout, Verdict};
use super::io::{Output, Received};
use super::mark::Mark;
use super::member::Member;
use super::plant::Plant;
use super::reception::{Counts, Reception};
use super::setup::Multicast;
use crate::types::{Incarnation, Index, Micros, Time, View, limits, millis};
use crate::wire::batch::Header;
use crate::wire::cast::{self, Beacon, Cast, HEAD_BYTES, OVERHEAD_BYTES, Unread};
use crate::wire::control::{Control, Expelled, Progress, Repair};

/// The longest time between two beacons of a member, however seldom heartbeats are: streams must not stand still for long where a
/// network stops to pass them. In large views it is longer, so that nobody hears more than some hundred a second.
const PERIOD: Micros = millis(500);
const LARGE: u64 = 64;
/// Periods without a sign of a member by multicast after which its stream is wanted over connections.
const DEAF: u64 = 4;
/// Members, and strangers, that have been heard by multicast: more are not remembered.
const HEARD: usize = 2 * limits::MEMBERS;
/// Members of other parts that are remembered, and how many of them are asked at one time.
const MET: usize = 64;
pub(super) const MET_AT_ONCE: usize = 8;
/// Addresses from which datagrams of others came: more are counted together.
const SOURCES: usize = 64;
/// A member that has to ask for more than a part of what comes, for so many looks in a row, takes everything over connections for a while.
const LOSSY_PART: u64 = 4;
const LOSSY_LOOKS: u32 = 8;
const LOSSY_BATCHES: u64 = 8;
const AWAY: Micros = millis(10_000);

/// What one member may have under way however little can wait at another.
const LEAST_UNDER_WAY: usize = 32 * 1024;

/// A datagram for the group, to be sent as one: what goes first, and the rest.
pub type Casting = ([u8; HEAD_BYTES], Bytes);

/// What a member can take of what is sent to the group, as it says itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Limits {
    /// Bytes of datagrams that can wait.
    room: u32,
    /// Bytes of the longest one.
    longest: u32,
}

/// What a member knows of its multicast group.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Group {
    /// When the next beacon goes out, and it is looked who is heard.
    pub(crate) beacon_at: Time,
    /// Datagrams that wait for the driver.
    queue: VecDeque<Casting>,
    /// When each was last heard by multicast.
    heard: BTreeMap<Incarnation, Time>,
    /// What each can take.
    limits: BTreeMap<Incarnation, Limits>,
    /// Bytes of the longest datagrams that all members can take, once that is less than our own.
    narrowed: Option<usize>,
    /// Where members of other parts were heard, and when.
    met: BTreeMap<SocketAddr, Time>,
    /// Whether it has been said that nobody is heard.
    silent: bool,
    /// Too much is lost: nothing is taken by multicast until then.
    away_until: Time,
    lossy: u32,
    seen: Counts,
    /// Datagrams that were not for us, by their source.
    foreign: BTreeMap<SocketAddr, u64>,
}

impl Group {
    /// A group that is used or not. Its first beacon goes out at once.
    pub(crate) fn new(now: Time, used: bool) -> Group {
        Group { beacon_at: if used { now } else { Time::NEVER }, ..Group::default() }
    }

    /// Where members of other parts were heard.
    pub(crate) fn met(&self) -> impl Iterator<Item = SocketAddr> {
        self.met.keys().copied()
    }

    /// Datagrams that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Whether all that was for the group has gone out.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }
}

/// Bytes of messages in a batch that goes in one datagram of so many bytes.
pub(super) fn batch_bytes(datagram: usize) -> usize {
    (datagram - OVERHEAD_BYTES).min(limits::BATCH_BYTES)
}

impl Member {
    /// Shows up to `most` datagrams that wait for the group; report with [`Member::sent_casts`].
    pub fn casts(&self, most: usize) -> impl Iterator<Item = &Casting> {
        self.group.queue.iter().take(most)
    }

    /// The first `count` datagrams of those that [`Member::casts`] showed are sent, or lost.
    pub fn sent_casts(&mut self, count: usize) {
        let count = count.min(self.group.queue.len());
        self.stats.casts_sent += count as u64;
        self.stats.bytes_sent +=
            self.group.queue.drain(..count).map(|(_, content)| (HEAD_BYTES + content.len()) as u64).sum::<u64>();
        self.hurry |= self.backlog && self.group.queue.is_empty();
    }

    /// Bytes that one batch to everybody may have.
    pub(super) fn batch_bytes(&self) -> usize {
        self.builder.bound()
    }

    /// A view's streams, which come by multicast if that is agreed.
    pub(super) fn with_multicast(&self, fanout: Fanout) -> Fanout {
        let Some(multicast) = self.setup.multicast.as_ref().filter(|m| m.carries) else { return fanout };
        let (streams, me) = (fanout.view.len(), fanout.me);
        let (bound, rate) = (fanout.bound, multicast.repair_bytes_per_s);
        fanout.by_multicast(Reception::new(streams, me, bound, rate, self.now))
    }

    pub(super) fn cast(&mut self, content: Bytes) {
        if self.group.queue.is_empty() {
            self.output(Output::Multicast);
        }
        self.group.queue.push_back((cast::head(self.cluster_tag, &content), content));
    }

    /// Batches of our own.
    pub(super) fn cast_all(&mut self, batches: impl Iterator<Item = Bytes>) {
        batches.for_each(|frame| self.cast(frame));
    }

    /// A view ends: what was counted in it is kept.
    pub(super) fn keep_counts(&mut self, view: Option<&Fanout>) {
        if let Some(cast) = view.and_then(|f| f.cast.as_ref()) {
            self.stats.repairs_asked += cast.counts.asked;
            self.stats.repair_bytes_sent += cast.counts.repair_bytes;
        }
    }

    /// Says where we are, in which view, and how far our stream has got.
    pub(super) fn send_beacon(&mut self) {
        if self.leaving.as_ref().is_some_and(|leaving| leaving.released) {
            return;
        }
        let (view_tag, newest) = self.fanout.as_ref().map_or((0, 0), |f| (f.view.tag(), f.streams[f.me].accepted));
        let Some(multicast) = &self.setup.multicast else { return };
        let (room, longest) = (multicast.receive_bytes.min(u32::MAX as usize) as u32, multicast.datagram_bytes as u32);
        let beacon = Beacon { from: self.incarnation, address: self.setup.advertise, view_tag, newest, room, longest };
        self.cast(beacon.encode());
    }

    /// The number of our newest batch is told again while it may be that nobody has heard it.
    pub(super) fn tell_tail(&mut self) {
        if self.fanout.as_mut().is_some_and(|f| f.tail_is_due(self.now)) {
            self.send_beacon();
        }
    }

    /// Datagrams came to the group.
    pub(super) fn on_casts(&mut self, datagrams: &[Received]) {
        if self.setup.multicast.is_none() {
            return;
        }
        self.stats.casts_received += datagrams.len() as u64;
        let mut fx = std::mem::take(&mut self.spare_effects);
        // Most of them come in runs of one sender.
        let mut speaker = None;
        // What a member sends comes back to it as well, and need not be looked at.
        let own = self.fanout.as_ref().map(|f| (f.view.tag(), f.view.members[f.me].seat));
        for Received { from, bytes } in datagrams {
            if own.is_some() && cast::claims_to_be_of(bytes) == own {
                continue;
            }
            match cast::decode(self.cluster_tag, bytes) {
                Ok(Cast::Batch(header, frame)) if !self.setup.witness => {
                    if let Some(sender) = self.on_cast_batch(&header, &frame, &mut fx).filter(|s| speaker != Some(*s)) {
                        speaker = Some(sender);
                        self.heard_cast(sender);
                        self.detector.heard(self.now, sender);
                    }
                }
                other => self.on_other_cast(*from, other),
            }
        }
        self.apply_and_keep(fx);
    }

    /// What comes to the group beside batches.
    fn on_other_cast(&mut self, from: SocketAddr, read: Result<Cast, Unread>) {
        match read {
            Ok(Cast::Beacon(beacon)) if beacon.from != self.incarnation => self.on_beacon(&beacon),
            Ok(Cast::Loose(head, payload)) if !self.setup.witness => {
                self.heard_cast(head.from);
                self.on_loose(&head, payload);
            }
            Ok(_) => {}
            Err(unread) => self.on_unread_cast(from, unread),
        }
    }

    /// Not ours, or damaged: counted for each source, and said at its first one and whenever it has sent twice as many as a thousand or more.
    fn on_unread_cast(&mut self, from: SocketAddr, unread: Unread) {
        let known = self.group.foreign.contains_key(&from);
        match unread {
            Unread::Foreign => self.stats.casts_foreign += 1,
            Unread::Malformed(_) => self.stats.casts_refused += 1,
        }
        if !known && self.group.foreign.len() >= SOURCES {
            return;
        }
        let count = self.group.foreign.entry(from).or_default();
        *count += 1;
        let count = *count;
        let told = count == 1 || (count >= 1_024 && count.is_power_of_two());
        let Some(group) = self.setup.multicast.as_ref().map(|m| m.group).filter(|_| told) else { return };
        let what = match unread {
            Unread::Foreign => "another cluster".to_owned(),
            Unread::Malformed(bad) => format!("not a member of this version ({})", bad.0),
        };
        self.note(3, format!("{from} sends to the multicast group {group}, and is {what}: left aside, {count} so far"));
    }

    fn on_beacon(&mut self, beacon: &Beacon) {
        self.heard_cast(beacon.from);
        let ours = self.fanout.as_ref().map(|f| (f.view.index_of(beacon.from), f.view.tag()));
        match ours {
            Some((Some(s), tag)) => {
                self.detector.heard(self.now, beacon.from);
                let limits = Limits { room: beacon.room, longest: beacon.longest };
                if self.group.limits.insert(beacon.from, limits) != Some(limits) {
                    self.keep_to_limits();
                }
                if let Some(f) = self.fanout.as_mut().filter(|_| tag == beacon.view_tag) {
                    f.on_newest(s, beacon.newest);
                }
            }
            // A starter finds us as we find it, and comes by itself.
            Some((None, _)) if beacon.view_tag == 0 => {}
            Some((None, _)) => self.meet_by_multicast(beacon.address),
            None => self.on_view_heard(beacon.address),
        }
    }

    /// Nobody has more under way than can wait at any member (less some, for there may be other senders), and sends longer datagrams than get to
    /// every member.
    fn keep_to_limits(&mut self) {
        let (Some(f), Some(multicast)) = (&mut self.fanout, &self.setup.multicast) else { return };
        let told = || f.view.members.iter().filter_map(|m| self.group.limits.get(&m.incarnation));
        let room = told().map(|limits| limits.room).min().map_or(usize::MAX, |room| room as usize / 4 * 3);
        let longest =
            told().map(|limits| limits.longest as usize).min().unwrap_or(usize::MAX).max(limits::LEAST_CAST_BYTES);
        let Some(cast) = &mut f.cast else { return };
        cast.cap = room.max(LEAST_UNDER_WAY);
        let (own, group) = (multicast.datagram_bytes, multicast.group);
        let narrowed = (longest < own).then_some(longest);
        if narrowed == self.group.narrowed {
            return;
        }
        self.group.narrowed = narrowed;
        self.builder.set_bound(batch_bytes(narrowed.unwrap_or(own)));
        self.marks.reach_if(narrowed.is_some(), Mark::MulticastNarrowed);
        let length = narrowed.unwrap_or(own);
        self.note(
            3,
            format!("multicast to {group}: datagrams have {length} bytes at most, which every member can take"),
        );
    }

    /// Bytes of the longest datagram that every member can take, as far as that is known.
    pub(super) fn longest_cast(&self, multicast: &Multicast) -> usize {
        self.group.narrowed.unwrap_or(multicast.datagram_bytes)
    }

    /// A member of another part lives there: whoever acts asks it.
    fn meet_by_multicast(&mut self, address: SocketAddr) {
        self.marks.reach(Mark::MulticastMet);
        let met = &mut self.group.met;
        if met.len() < MET || met.contains_key(&address) {
            met.insert(address, self.now);
        }
    }

    fn heard_cast(&mut self, whom: Incarnation) {
        if self.group.heard.len() < HEARD || self.group.heard.contains_key(&whom) {
            self.group.heard.insert(whom, self.now);
        }
    }

    /// Answers who sent it, if that is another member of our view.
    fn on_cast_batch(&mut self, header: &Header, frame: &Bytes, fx: &mut Effects) -> Option<Incarnation> {
        let f = self.fanout.as_mut().filter(|f| f.cast.is_some() && f.view.tag() == header.tag)?;
        let s = f.view.index_of_seat(header.sender).filter(|s| *s != f.me)?;
        let sender = f.view.members[s].incarnation;
        self.stats.batches_received += 1;
        match f.accept_cast(s, header, frame, fx) {
            Verdict::Repeat => self.stats.batches_repeated += 1,
            Verdict::Bad(what) => self.bad_content(header.sender, what),
            Verdict::Accepted | Verdict::Gap => {}
            Verdict::Dropped | Verdict::Misrouted => self.stats.batches_refused += 1,
        }
        Some(sender)
    }

    /// Time between two beacons.
    fn beacon_period(&self) -> Micros {
        let members = self.fanout.as_ref().map_or(1, |f| f.view.len() as u64);
        self.setup.heartbeat.min(PERIOD) * (1 + members / LARGE)
    }

    /// Says that we are here, and looks who else is heard by multicast: other streams are taken over connections.
    pub(super) fn tick_multicast(&mut self) {
        let Some(group) = self.setup.multicast.as_ref().map(|m| m.group).filter(|_| self.now >= self.group.beacon_at)
        else {
            return;
        };
        let period = self.beacon_period();
        self.group.beacon_at = self.now + period;
        self.send_beacon();
        let (now, forget) = (self.now, (period * DEAF * 4).max(self.setup.silence));
        self.group.heard.retain(|_, at| now.since(*at) < forget);
        self.group.met.retain(|_, at| now.since(*at) < forget);
        let Some((view, me)) = self.view().map(|(view, me)| (view.clone(), me)) else { return };
        self.say_if_silent(&view, group, period);
        self.mark_repair();
        self.look_for_loss();
        self.choose_ways(me);
    }

    /// Says once that nobody is heard, and once that somebody is again.
    fn say_if_silent(&mut self, view: &View, group: SocketAddr, period: Micros) {
        let fresh = |m: &Member, i: Incarnation| m.heard_lately(i, DEAF * 2 * period);
        let heard = view.members.iter().any(|m| m.incarnation != self.incarnation && fresh(self, m.incarnation));
        let silent = view.len() > 1 && !heard && self.now.since(self.installed_at) > period * DEAF;
        if silent != self.group.silent && (silent || heard) {
            self.group.silent = silent;
            self.marks.reach(if silent { Mark::MulticastSilent } else { Mark::MulticastHeard });
            let (level, text) = match silent {
                true => (
                    2,
                    format!(
                        "nobody is heard by multicast to {group}: this member goes on over connections, and takes it up again when it works. `decurion mcast-test` shows who hears whom"
                    ),
                ),
                false => (3, format!("multicast to {group} is heard again")),
            };
            self.note(level, text);
        }
    }

    fn heard_lately(&self, whom: Incarnation, span: Micros) -> bool {
        self.group.heard.get(&whom).is_some_and(|at| self.now.since(*at) < span)
    }

    /// What became of what others asked us for.
    fn mark_repair(&mut self) {
        let Some(cast) = self.fanout.as_mut().and_then(|f| f.cast.as_mut()) else { return };
        let take = std::mem::take::<bool>;
        let (capped, late, full) = (take(&mut cast.capped), take(&mut cast.late), take(&mut cast.full));
        self.marks.reach_if(full, Mark::MulticastFull);
        self.marks.reach_if(capped, Mark::RepairCapped);
        self.marks.reach_if(late, Mark::RepairLate);
        self.marks.reach_if(cast.counts.repair_bytes > self.group.seen.repair_bytes, Mark::RepairServed);
    }

    /// Where too much has to be asked for, connections are the better way.
    fn look_for_loss(&mut self) {
        let Some(counts) = self.fanout.as_ref().and_then(|f| f.cast.as_ref()).map(|cast| cast.counts) else { return };
        let before = std::mem::replace(&mut self.group.seen, counts);
        let came = counts.batches.saturating_sub(before.batches);
        let lossy = came >= LOSSY_BATCHES && counts.repaired.saturating_sub(before.repaired) > came / LOSSY_PART;
        self.group.lossy = if lossy {
            self.group.lossy + 1
        } else if came >= LOSSY_BATCHES {
            0
        } else {
            self.group.lossy
        };
        if self.group.lossy >= LOSSY_LOOKS {
            self.marks.reach(Mark::MulticastGivenUp);
            (self.group.lossy, self.group.away_until) = (0, self.now + AWAY);
            let text = format!(
                "more than a quarter of what comes by multicast is lost on its way to this member: it takes messages over connections for {} s",
                AWAY / 1_000_000
            );
            self.note(2, text);
        }
    }

    /// Each stream is taken by multicast while its sender is heard so, else over a connection.
    fn choose_ways(&mut self, me: Index) {
        let (now, period) = (self.now, self.beacon_period());
        let away = now < self.group.away_until;
        let Some(f) = self.fanout.as_mut().filter(|f| !f.frozen) else { return };
        let (Some(cast), view) = (&mut f.cast, &f.view) else { return };
        let mut changed: Vec<Index> = Vec::new();
        for (s, stream) in f.streams.iter().enumerate().filter(|(s, _)| *s != me && !view.members[*s].witness) {
            let Some(upstream) = stream.upstream.filter(|_| !view.members[me].witness) else { continue };
            let borne = if cast.unicast.contains(s) { period * 3 / 2 } else { period * DEAF };
            let heard = self.group.heard.get(&view.members[s].incarnation);
            let unicast = away || heard.is_none_or(|at| now.since(*at) >= borne);
            if unicast != cast.unicast.contains(s) {
                self.marks.reach(if unicast { Mark::CarriageAsked } else { Mark::CarriageEnded });
                cast.unicast.set(s, unicast);
                changed.push(upstream);
            }
        }
        changed.sort_unstable();
        changed.dedup();
        changed.into_iter().for_each(|upstream| self.tell_ways(upstream));
    }

    /// Tells a neighbour which streams we want from it over the connection.
    pub(super) fn tell_ways(&mut self, upstream: Index) {
        let Some(f) = &self.fanout else { return };
        let Some(cast) = &f.cast else { return };
        let carried = cast.unicast.ones().filter(|s| f.streams[*s].upstream == Some(upstream));
        let entries = carried.map(|s| (s as u32, f.streams[s].accepted)).collect();
        let carry = Control::Carry(Progress { tag: f.view.tag(), entries });
        if let Some(conn) = self.links.link(f.view.members[upstream].incarnation) {
            self.links.send_control(conn, &carry);
        }
    }

    /// A view is new: nobody has been asked for anything yet.
    pub(super) fn begin_ways(&mut self, me: Index) {
        if let Some(f) = &self.fanout {
            self.group.limits.retain(|whom, _| f.view.index_of(*whom).is_some());
        }
        self.keep_to_limits();
        self.group.seen = Counts::default();
        self.choose_ways(me);
    }

    pub(super) fn on_carry(&mut self, from: Incarnation, wanted: &Progress) {
        let Some(index) = self.in_view(from, wanted.tag) else { return };
        let Some(f) = self.fanout.as_mut().filter(|f| f.cast.is_some() && !f.frozen) else { return };
        let mut fx = Effects::default();
        f.carry(index, &wanted.entries, &mut fx);
        self.apply(&mut fx);
    }

    pub(super) fn on_repair(&mut self, from: Incarnation, repair: &Repair) {
        let Some(index) = self.in_view(from, repair.tag) else { return };
        let Some(f) = self.fanout.as_mut().filter(|f| !f.frozen && !f.plants.has(Plant::RepairNothing)) else { return };
        self.marks.reach(Mark::RepairAsked);
        let whole = f.owe(index, &repair.gaps);
        let unready = !f.view.members[index].ready;
        if let (false, true, Some(by)) = (whole, unready, self.summary()) {
            let why = "it lacks messages that the others have forgotten".to_owned();
            self.send_to(from, Control::Expelled(Expelled { incarnation: from, by, why }));
        }
    }
}
