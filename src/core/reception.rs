//! Streams that come by multicast, in one view: what came before what it follows is kept, and what is lost is asked for.
//!
//! A member asks its own leader, a leader the leader of the sender's group, and that one the sender: the way that batches take where
//! there is no multicast, so a loss costs its group one question. Whoever is asked answers once, from what it keeps until it is stable, over the
//! connection, and no faster than its bucket fills; what it lacks itself it sends on once it has it. So what was asked for comes, if slowly,
//! and asking again is for what is out of the ordinary: a connection that is new, or a neighbour that owes too much already.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use fixedbitset::FixedBitSet;

use super::effects::Effects;
use super::fanout::{Fanout, Verdict};
use super::plant::Plant;
use super::stream::Stream;
use crate::types::{Index, Micros, Time, millis, mix};
use crate::wire::batch::{HEADER_BYTES, Header, PREFIX_BYTES};
use crate::wire::control::{Control, Missing, Repair};

/// What comes out of order closes most gaps by itself: so long is waited at least before something is asked for, and up to as long again,
/// so that not all ask at once.
const PATIENCE: Micros = 500;
/// What was asked for in vain is asked for again after this time, and after twice as long each time.
const ASK_AGAIN: Micros = millis(400);
const ASK_SELDOM: Micros = millis(3_200);
/// What did not fit into one question is asked for in another one so soon.
const ASK_ON: Micros = millis(2);
/// Gaps in one question.
const GAPS: usize = 128;
/// No batch is smaller: more of them than fit into what windows allow are not under way.
const LEAST_BATCH: u64 = (HEADER_BYTES + PREFIX_BYTES) as u64;
/// After the last batch of a while its number is told, soon at first: nothing that follows shows its loss.
const TAIL: Micros = millis(10);
const TAIL_SELDOM: Micros = millis(250);
/// Batches that somebody waits for who asked us before we had them, and answers that wait for the bucket.
const WANTED: usize = 4_096;
const OWED: usize = 16_384;
/// How often the bucket is looked at while answers wait for it.
const DRIP: Micros = millis(1);

/// What one member knows of the streams of one view beyond what it holds without a gap.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Reception {
    streams: Vec<Ahead>,
    /// Streams of which something is missing.
    lacking: FixedBitSet,
    /// Something is missing that has not been thought about.
    fresh: bool,
    /// When what is newly missing is asked for, and what was asked for before is asked for again.
    ask_at: Time,
    again_at: Time,
    draws: u64,
    /// Bytes of all that is kept beyond gaps, and the bound of this with what is kept without gaps.
    bytes: usize,
    bound: u64,
    /// Who waits for what we lack ourselves.
    wanted: BTreeMap<(Index, u64), Vec<Index>>,
    /// Who is owed which batch of which stream, in the order in which they asked, and the same to look up.
    owed: VecDeque<(Index, Index, u64)>,
    owed_all: BTreeSet<(Index, Index, u64)>,
    pay_at: Time,
    bucket: Bucket,
    /// Streams that we want over connections, because we do not hear their senders.
    pub(crate) unicast: FixedBitSet,
    /// We sent something since the last look; when its number is told again, and after how long.
    sent: bool,
    /// Bytes of our own that may be under way.
    pub(crate) cap: usize,
    tail_at: Time,
    tail_pause: Micros,
    pub(crate) counts: Counts,
    /// Since the last look: the bucket was empty; no more was taken; somebody got late what it had asked for.
    pub(crate) capped: bool,
    pub(crate) full: bool,
    pub(crate) late: bool,
}

/// What is counted of repair.
#[derive(Clone, Copy, Hash, Debug, Default)]
pub(crate) struct Counts {
    /// Batches that came, and those that had been asked for.
    pub(crate) batches: u64,
    pub(crate) repaired: u64,
    /// Batches asked for, and what was sent because others asked.
    pub(crate) asked: u64,
    pub(crate) repair_bytes: u64,
}

#[derive(Clone, Hash, Debug)]
struct Ahead {
    frames: BTreeMap<u64, (Header, Bytes)>,
    /// The last batch that is known to exist.
    newest: u64,
    /// Everything missing up to this one has been asked for.
    asked: u64,
    asked_at: Time,
    pause: Micros,
}

/// Bytes that repair may take: so many a second, and what has gathered in a moment without any.
#[derive(Clone, Hash, Debug)]
struct Bucket {
    bytes_per_s: u64,
    /// Below zero: what a batch took beyond what there was, and later gains pay first.
    level: i64,
    at: Time,
}

impl Bucket {
    /// For how long it fills up.
    const DEPTH: Micros = millis(50);

    fn take(&mut self, now: Time, bytes: usize) -> bool {
        let gained_in = |time: Micros| (self.bytes_per_s.saturating_mul(time) / 1_000_000) as i64;
        let (most, gained) = (gained_in(Bucket::DEPTH), gained_in(now.since(self.at).min(Bucket::DEPTH)));
        if gained > 0 {
            (self.level, self.at) = ((self.level + gained).min(most), now);
        }
        // A bucket that is not empty gives any one batch.
        let some = self.level > 0;
        if some {
            self.level -= bytes as i64;
        }
        some
    }
}

impl Reception {
    /// Takes nothing more while `bound` bytes are kept; answers others with at most so many bytes a second.
    pub(crate) fn new(streams: usize, me: Index, bound: u64, bytes_per_s: u64, now: Time) -> Reception {
        let ahead = Ahead { frames: BTreeMap::new(), newest: 0, asked: 0, asked_at: Time::ZERO, pause: ASK_AGAIN };
        Reception {
            streams: vec![ahead; streams],
            lacking: FixedBitSet::with_capacity(streams),
            fresh: false,
            ask_at: Time::NEVER,
            again_at: Time::NEVER,
            draws: me as u64,
            bytes: 0,
            bound,
            wanted: BTreeMap::new(),
            owed: VecDeque::new(),
            owed_all: BTreeSet::new(),
            pay_at: Time::NEVER,
            bucket: Bucket { bytes_per_s, level: (bytes_per_s / 20) as i64, at: now },
            unicast: FixedBitSet::with_capacity(streams),
            sent: false,
            cap: usize::MAX,
            tail_at: Time::NEVER,
            tail_pause: TAIL,
            counts: Counts::default(),
            capped: false,
            full: false,
            late: false,
        }
    }

    pub(crate) fn ahead_bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// Nothing of its frames is needed any more.
    pub(crate) fn clear(&mut self) {
        self.streams.iter_mut().for_each(|ahead| ahead.frames.clear());
        self.wanted.clear();
        self.owed.clear();
        self.owed_all.clear();
        self.pay_at = Time::NEVER;
        self.lacking.clear();
        self.bytes = 0;
    }

    /// A batch of our own went out.
    pub(crate) fn sent(&mut self) {
        self.sent = true;
    }

    /// The last batch that may be under way in a stream that is held up to `accepted`.
    fn horizon(&self, accepted: u64) -> u64 {
        accepted + self.bound / LEAST_BATCH
    }

    /// A batch is known to exist, of a stream that is held up to `accepted`. What lies beyond the horizon is not believed yet.
    fn learn(&mut self, s: Index, newest: u64, accepted: u64) {
        let newest = newest.min(self.horizon(accepted));
        let ahead = &mut self.streams[s];
        if newest > ahead.newest {
            ahead.newest = newest;
            if newest > accepted {
                self.lacking.insert(s);
                self.fresh = true;
            }
        }
    }

    /// Whether nothing has come to be thought about, or to be done now.
    pub(crate) fn is_at_rest(&self, now: Time) -> bool {
        !self.fresh && !self.sent && now < self.deadline()
    }

    pub(crate) fn deadline(&self) -> Time {
        let ask = if self.lacking.is_clear() { Time::NEVER } else { self.ask_at.min(self.again_at) };
        ask.min(self.tail_at).min(self.pay_at)
    }

    /// Takes the part of a stream out that follows `accepted`.
    fn next(&mut self, s: Index, accepted: u64) -> Option<(Header, Bytes)> {
        let ahead = &mut self.streams[s];
        let next = ahead.frames.remove(&(accepted + 1));
        if let Some((_, frame)) = &next {
            self.bytes -= frame.len();
        } else if ahead.newest <= accepted {
            self.lacking.remove(s);
        }
        next
    }

    /// Drops what lies further ahead of its stream than `lead`, the furthest first, until there is room beside `kept`; it is asked for
    /// again. False if there is none.
    fn make_room(&mut self, lead: u64, kept: u64, streams: &[Stream]) -> bool {
        while kept + self.bytes as u64 >= self.bound {
            let lead_of = |(s, ahead): (Index, &Ahead)| {
                let (last, _) = ahead.frames.last_key_value()?;
                Some((last.saturating_sub(streams[s].accepted), s))
            };
            let furthest = self.streams.iter().enumerate().filter_map(lead_of).max();
            let Some((_, s)) = furthest.filter(|(furthest, _)| *furthest > lead) else { return false };
            let ahead = &mut self.streams[s];
            if let Some((batch, (_, frame))) = ahead.frames.pop_last() {
                self.bytes -= frame.len();
                ahead.asked = ahead.asked.min(batch - 1);
            }
        }
        true
    }

    fn draw(&mut self) -> u64 {
        self.draws = self.draws.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.draws, 1)
    }
}

impl Ahead {
    /// What is missing between `from` and the newest, as far as `room` goes; notes it as asked for.
    fn gaps(&mut self, s: Index, from: u64, room: &mut usize, gaps: &mut Vec<Missing>) {
        let stream = s as u32;
        let mut first = from;
        let ends = self.frames.range(from..).map(|(batch, _)| *batch).chain([self.newest + 1]);
        for end in ends {
            if *room == 0 {
                break;
            }
            if end > first {
                gaps.push(Missing { stream, first, last: end - 1 });
                *room -= 1;
            }
            first = end + 1;
            self.asked = self.asked.max(end - 1);
        }
    }
}

impl Fanout {
    /// A batch of this view came by multicast, from somebody else.
    pub(crate) fn accept_cast(&mut self, s: Index, header: &Header, frame: &Bytes, fx: &mut Effects) -> Verdict {
        if self.frozen { Verdict::Dropped } else { self.receive(s, header, (frame, 0, frame.len()), fx) }
    }

    /// A batch of a stream that comes by multicast, whichever way it came. It lies in a chunk, from one place to another.
    pub(crate) fn receive(
        &mut self, s: Index, header: &Header, place: (&Bytes, usize, usize), fx: &mut Effects,
    ) -> Verdict {
        let (chunk, start, end) = place;
        let frame = chunk.slice(start..end);
        if self.is_full(s, header.batch) {
            return Verdict::Dropped;
        }
        if header.batch > self.streams[s].accepted + 1 && !self.plants.has(Plant::CastOverGap) {
            return self.put_ahead(s, *header, frame, fx);
        }
        self.skip_gap(s, header);
        let verdict = self.hold(s, header, frame);
        if verdict == Verdict::Accepted {
            if !self.streams[s].targets.is_empty() {
                fx.relay(header.stream(), chunk, start, end, &self.streams[s].targets);
            }
            self.arrived(s, header.batch, &chunk.slice(start..end), fx);
            return self.close_gap(s, fx);
        }
        self.note_bad(s, verdict);
        verdict
    }

    /// Content that does not fit to what is held will not fit the next time either: nothing of this stream is asked for until its sender
    /// says again how far it has got. Otherwise one that lies, or has been lied about, is asked as fast as connections are made.
    fn note_bad(&mut self, s: Index, verdict: Verdict) {
        let (Verdict::Bad(_), Some(cast)) = (verdict, &mut self.cast) else { return };
        let ahead = &mut cast.streams[s];
        cast.bytes -= ahead.frames.values().map(|(_, frame)| frame.len()).sum::<usize>();
        ahead.frames.clear();
        (ahead.newest, ahead.asked) = (self.streams[s].accepted, 0);
        cast.lacking.remove(s);
    }

    /// What comes by multicast comes whether or not the news has come of what all have taken. Beyond a bound it is left, and asked for when
    /// that is known: so memory stays within what windows allow. What is needed sooner takes the place of what lies further ahead, or
    /// nothing would ever close the gap before it.
    fn is_full(&mut self, s: Index, batch: u64) -> bool {
        let accepted = self.streams[s].accepted;
        let Some(cast) = self.cast.as_mut().filter(|cast| self.kept + cast.bytes as u64 >= cast.bound) else {
            return false;
        };
        cast.full = true;
        cast.learn(s, batch, accepted);
        batch > accepted && !cast.make_room(batch - accepted, self.kept, &self.streams)
    }

    /// A planted bug: what was lost is left out.
    fn skip_gap(&mut self, s: Index, header: &Header) {
        if header.batch > self.streams[s].accepted + 1 {
            self.streams[s].jump_to(header);
        }
    }

    /// Keeps what comes before what it follows.
    fn put_ahead(&mut self, s: Index, header: Header, frame: Bytes, fx: &mut Effects) -> Verdict {
        let accepted = self.streams[s].accepted;
        let Some(cast) = &mut self.cast else { return Verdict::Dropped };
        if cast.streams[s].frames.contains_key(&header.batch) {
            return Verdict::Repeat;
        }
        cast.learn(s, header.batch, accepted);
        if header.batch > cast.horizon(accepted) {
            return Verdict::Dropped;
        }
        cast.bytes += frame.len();
        // It may stay for a while, and would keep its chunk (R10).
        let frame =
            if frame.len() < crate::types::limits::CHUNK_BYTES / 4 { Bytes::copy_from_slice(&frame) } else { frame };
        cast.streams[s].frames.insert(header.batch, (header, frame.clone()));
        self.arrived(s, header.batch, &frame, fx);
        Verdict::Accepted
    }

    /// What follows what has just come.
    fn close_gap(&mut self, s: Index, fx: &mut Effects) -> Verdict {
        while let Some((header, frame)) = self.cast.as_mut().and_then(|cast| cast.next(s, self.streams[s].accepted)) {
            match self.hold(s, &header, frame.clone()) {
                Verdict::Accepted if self.streams[s].targets.is_empty() => {}
                Verdict::Accepted => fx.relay(header.stream(), &frame, 0, frame.len(), &self.streams[s].targets),
                other => {
                    self.note_bad(s, other);
                    return other;
                }
            }
        }
        Verdict::Accepted
    }

    /// A batch came: counts it, and sends it to those who asked us for it before.
    fn arrived(&mut self, s: Index, batch: u64, frame: &Bytes, fx: &mut Effects) {
        let Some(cast) = &mut self.cast else { return };
        cast.counts.batches += 1;
        cast.counts.repaired += u64::from(batch <= cast.streams[s].asked);
        if cast.wanted.is_empty() {
            return;
        }
        if let Some(whom) = cast.wanted.remove(&(s, batch)) {
            cast.counts.repair_bytes += (frame.len() * whom.len()) as u64;
            cast.late = true;
            fx.end_run();
            fx.data.extend(whom.into_iter().map(|to| (to, frame.clone())));
        }
    }

    /// A member says which batch of its own is the newest.
    pub(crate) fn on_newest(&mut self, s: Index, newest: u64) {
        let accepted = self.streams[s].accepted;
        if let Some(cast) = self.cast.as_mut().filter(|_| !self.frozen) {
            cast.learn(s, newest, accepted);
        }
    }

    /// Asks for what is missing, if it is time.
    pub(crate) fn ask_repair(&mut self, now: Time, fx: &mut Effects) {
        let Some(cast) = self.cast.as_mut().filter(|_| !self.frozen) else { return };
        if std::mem::take(&mut cast.fresh) && cast.ask_at == Time::NEVER {
            cast.ask_at = now + PATIENCE + cast.draw() % PATIENCE;
        }
        if cast.lacking.is_clear() || now < cast.ask_at.min(cast.again_at) {
            return;
        }
        let (fast, mut again_at, mut left) = (now >= cast.ask_at, Time::NEVER, false);
        let mut questions: BTreeMap<Index, (usize, Vec<Missing>)> = BTreeMap::new();
        for s in cast.lacking.ones() {
            let (accepted, ahead) = (self.streams[s].accepted, &mut cast.streams[s]);
            let Some(upstream) = self.streams[s].upstream else { continue };
            let (room, gaps) = questions.entry(upstream).or_insert_with(|| (GAPS, Vec::new()));
            if ahead.asked > accepted && now >= ahead.asked_at + ahead.pause {
                (ahead.asked_at, ahead.pause) = (now, (ahead.pause * 2).min(ASK_SELDOM));
                ahead.asked = accepted;
                ahead.gaps(s, accepted + 1, room, gaps);
            } else if fast && ahead.newest > ahead.asked.max(accepted) {
                if ahead.asked <= accepted {
                    (ahead.asked_at, ahead.pause) = (now, ASK_AGAIN);
                }
                ahead.gaps(s, ahead.asked.max(accepted) + 1, room, gaps);
            }
            if ahead.asked > accepted {
                again_at = again_at.min(ahead.asked_at + ahead.pause);
            }
            left |= ahead.newest > ahead.asked.max(accepted);
        }
        cast.again_at = again_at;
        // What had no room in this question is the next one's.
        cast.ask_at = if left { now + ASK_ON } else { Time::NEVER };
        let tag = self.view.tag();
        for (upstream, (_, gaps)) in questions.into_iter().filter(|(_, (_, gaps))| !gaps.is_empty()) {
            cast.counts.asked += gaps.iter().map(|gap| gap.last - gap.first + 1).sum::<u64>();
            fx.control.push((upstream, Control::Repair(Repair { tag, gaps })));
        }
    }

    /// A peer misses something: it is owed what we have of it, and what we lack as well once it comes. False if some of it is forgotten: then
    /// the peer is one that did not count for stability (R24).
    pub(crate) fn owe(&mut self, to: Index, gaps: &[Missing]) -> bool {
        let Some(cast) = &mut self.cast else { return true };
        let mut whole = true;
        for gap in gaps.iter().take(GAPS) {
            let s = gap.stream as usize;
            let Some(stream) = self.streams.get(s).filter(|stream| stream.hops.contains(&to)) else { continue };
            whole &= gap.first >= stream.oldest();
            // The peer may have taken what still waits in our socket: it knows of batches that we do not know yet.
            for batch in gap.first.max(stream.oldest())..=gap.last.min(cast.horizon(stream.accepted)) {
                match stream.frame(batch).is_some() || cast.streams[s].frames.contains_key(&batch) {
                    true if cast.owed.len() < OWED => {
                        if cast.owed_all.insert((to, s, batch)) {
                            cast.owed.push_back((to, s, batch));
                            cast.pay_at = Time::ZERO;
                        }
                    }
                    false if cast.wanted.len() < WANTED => {
                        let whom = cast.wanted.entry((s, batch)).or_default();
                        if !whom.contains(&to) {
                            whom.push(to);
                        }
                    }
                    // It asks again.
                    _ => return whole,
                }
            }
        }
        whole
    }

    /// Sends what is owed, as far as the bucket gives.
    pub(crate) fn pay(&mut self, now: Time, fx: &mut Effects) {
        let Some(cast) = self.cast.as_mut().filter(|cast| now >= cast.pay_at) else { return };
        fx.end_run();
        cast.pay_at = Time::NEVER;
        while let Some((to, s, batch)) = cast.owed.front().copied() {
            let ahead = || cast.streams[s].frames.get(&batch).map(|(_, frame)| frame);
            if let Some(frame) = self.streams[s].frame(batch).or_else(ahead) {
                if !cast.bucket.take(now, frame.len()) {
                    (cast.capped, cast.pay_at) = (true, now + DRIP);
                    return;
                }
                cast.counts.repair_bytes += frame.len() as u64;
                fx.data.push((to, frame.clone()));
            }
            cast.owed.pop_front();
            cast.owed_all.remove(&(to, s, batch));
        }
    }

    /// The connection to a peer is new: what is owed to it is asked for anew, and what it owes us.
    pub(crate) fn begin_with(&mut self, peer: Index) {
        let Some(cast) = &mut self.cast else { return };
        cast.owed.retain(|(to, ..)| *to != peer);
        cast.owed_all.retain(|(to, ..)| *to != peer);
        cast.wanted.values_mut().for_each(|whom| whom.retain(|to| *to != peer));
        cast.wanted.retain(|_, whom| !whom.is_empty());
        for (ahead, stream) in cast.streams.iter_mut().zip(&self.streams).filter(|(_, s)| s.upstream == Some(peer)) {
            ahead.asked = 0;
            cast.fresh |= ahead.newest > stream.accepted;
        }
    }

    /// A peer says which streams it wants over its connection, and what it holds of them.
    pub(crate) fn carry(&mut self, to: Index, entries: &[(u32, u64)], fx: &mut Effects) {
        fx.end_run();
        for (s, stream) in self.streams.iter_mut().enumerate().filter(|(_, stream)| stream.hops.contains(&to)) {
            let wanted = entries.iter().find(|(at, _)| *at as usize == s);
            let carried = stream.targets.contains(&to);
            match wanted {
                None if carried => stream.targets.retain(|target| *target != to),
                Some((_, held)) if !carried => {
                    stream.targets.push(to);
                    fx.data.extend(stream.frames_from(held.saturating_add(1)).map(|frame| (to, frame.clone())));
                }
                _ => {}
            }
        }
    }

    /// Whether the number of our newest batch is to be told now, because nobody may have heard the last ones.
    pub(crate) fn tail_is_due(&mut self, now: Time) -> bool {
        let unstable = self.streams[self.me].retained_bytes() > 0 && !self.frozen;
        let Some(cast) = &mut self.cast else { return false };
        if std::mem::take(&mut cast.sent) {
            (cast.tail_pause, cast.tail_at) = (TAIL, now + TAIL);
        } else if !unstable {
            cast.tail_at = Time::NEVER;
        }
        if now < cast.tail_at {
            return false;
        }
        cast.tail_pause = (cast.tail_pause * 2).min(TAIL_SELDOM);
        cast.tail_at = now + cast.tail_pause;
        true
    }
}
