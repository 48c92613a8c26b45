//! Streams to everybody in one view: numbering, acceptance, relaying, retention, and the cut at the view's end.

use std::sync::Arc;

use bytes::Bytes;
use fixedbitset::FixedBitSet;

use super::buffers::ChunkPool;
use super::builder::{Area, Builder, Built, Content, Source, check_area, cost_of};
use super::effects::Effects;
use super::grants::Grants;
use super::order::Order;
use super::outbox::Queue;
use super::plant::{Plant, Plants};
use super::reception::Reception;
use super::setup::LargeRules;
use super::stability::{Measure, Stability};
use super::stream::Stream;
use super::window::Window;
use crate::types::{Index, Seat, Time, View};
use crate::wire::batch::{self, HEADER_BYTES, Header, Level, Notice};

/// What the host has not taken yet, against its bound (D5).
#[derive(Clone, Hash, Debug)]
pub(crate) struct Budget {
    pub(crate) outstanding: usize,
    bound: usize,
    /// Memory of messages that are put together.
    pub(crate) pool: ChunkPool,
}

impl Budget {
    /// With memory for so many messages of about a chunk that is used again; 0: each has its own.
    pub(crate) fn new(bound: usize, chunks: usize) -> Budget {
        Budget { outstanding: 0, bound, pool: ChunkPool::new(chunks) }
    }

    /// Whether another run fits. An empty queue takes any legal run.
    pub(crate) fn admits(&self, cost: usize) -> bool {
        self.outstanding == 0 || self.outstanding + cost <= self.bound
    }

    /// Whether the host has much of it still to take.
    pub(crate) fn is_half_full(&self) -> bool {
        self.outstanding > self.bound / 2
    }
}

/// What became of a batch that came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Accepted,
    /// Had it already.
    Repeat,
    /// Not the next one: progress must be compared (R7).
    Gap,
    /// Of another view, or while this one ends (R16).
    Dropped,
    /// Not the way this sender's batches come.
    Misrouted,
    /// A good header around bad content (R4).
    Bad(&'static str),
}

/// All streams to everybody of one view, as one member sees them.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Fanout {
    pub(crate) view: Arc<View>,
    pub(crate) me: Index,
    /// Set by a promise: this view takes nothing new (R16).
    pub(crate) frozen: bool,
    pub(crate) streams: Vec<Stream>,
    /// Bytes of all that they keep for others, and how many that may be where nobody waits for us.
    pub(super) kept: u64,
    pub(super) bound: u64,
    /// Streams of which something waits to be taken that may be.
    behind: FixedBitSet,
    /// Who says what comes next in the order of all members.
    pub(crate) coordinator: Index,
    pub(crate) order: Order,
    pub(super) grants: Grants,
    pub(crate) stability: Stability,
    /// The same of what is held, while somebody sends what must be held by all first.
    pub(super) holding: Option<Stability>,
    pub(crate) window: Window,
    /// What is known of streams that come by multicast, where they do.
    pub(crate) cast: Option<Reception>,
    /// The host's queue had no room for something when it was last tried.
    refused: bool,
    pub(super) plants: Plants,
    /// Messages put into events since the last look.
    pub(crate) delivered: u64,
}

impl Fanout {
    pub(crate) fn new(view: Arc<View>, me: Index, window: Window, plants: Plants) -> Fanout {
        let streams = (0..view.len()).map(|s| Stream::new(&view, me, s, plants)).collect();
        Fanout {
            behind: FixedBitSet::with_capacity(view.len()),
            me,
            frozen: false,
            kept: 0,
            bound: u64::MAX,
            coordinator: view.coordinator(),
            order: Order::new(view.len()),
            grants: Grants::new(LargeRules::default()),
            stability: Stability::new(&view, me, Measure::Taken, plants).for_window(window.reserved()),
            holding: None,
            view,
            streams,
            window,
            cast: None,
            refused: false,
            plants,
            delivered: 0,
        }
    }

    /// Keeps at most so many bytes, where nobody waits for us.
    pub(crate) fn bounded(self, bound: u64) -> Fanout {
        Fanout { bound, ..self }
    }

    /// Streams come by multicast: over connections go only those that somebody asks for.
    pub(crate) fn by_multicast(self, reception: Reception) -> Fanout {
        let streams = self.streams.into_iter().map(Stream::by_multicast);
        Fanout { streams: streams.collect(), cast: Some(reception), ..self }
    }

    /// The view ends: it takes nothing new. What is fetched for a cut from now on waits for the installation: the cut that
    /// is decided in the end may be an earlier one, which somebody had accepted (R18).
    pub(crate) fn freeze(&mut self) {
        self.frozen = true;
        if let Some(cast) = &mut self.cast {
            cast.clear();
        }
        if !self.plants.has(Plant::DeliverBeyondCut) {
            self.streams.iter_mut().for_each(|s| s.bound = s.bound.min(s.accepted));
            (0..self.streams.len()).for_each(|s| self.note_behind(s));
        }
    }

    /// Takes what the decided cut still owes, whatever room the host's queue has (R17), and nothing beyond.
    pub(crate) fn finish(&mut self, cut: &[u64], budget: &mut Budget, fx: &mut Effects) {
        self.frozen = true;
        for (stream, upto) in self.streams.iter_mut().zip(cut) {
            stream.bound = *upto;
        }
        (0..self.streams.len()).for_each(|s| self.note_behind(s));
        self.take(budget, true, fx);
        if self.plants.has(Plant::OwnFirstAtTheEnd) {
            while self.take_next(self.me, budget, true, fx) {}
        }
        // What has no place in the order comes after what has one.
        for s in 0..self.streams.len() {
            while self.take_next(s, budget, true, fx) {}
        }
        // What is incomplete is sent again by its sender (D6).
        self.streams.iter_mut().for_each(|s| s.reassembly.clear());
    }

    /// Carries over what continues from the view before: numbers of messages of members that stay.
    pub(crate) fn continue_from(&mut self, before: &Fanout) {
        for (s, stream) in self.streams.iter_mut().enumerate() {
            let incarnation = self.view.members[s].incarnation;
            if let Some(old) = before.view.index_of(incarnation) {
                stream.next_message = before.streams[old].next_message;
            }
        }
    }

    /// A batch came in over the link to `from`.
    pub(crate) fn accept(
        &mut self, from: Index, header: &Header, chunk: &Bytes, start: usize, end: usize, fx: &mut Effects,
    ) -> Verdict {
        let frozen = self.frozen && !self.plants.has(Plant::DeliverBeyondCut);
        if header.tag != self.view.tag() || frozen {
            return Verdict::Dropped;
        }
        let Some(s) = self.view.index_of_seat(header.sender) else { return Verdict::Misrouted };
        if self.streams[s].upstream != Some(from) {
            return Verdict::Misrouted;
        }
        if self.cast.is_some() {
            return self.receive(s, header, (chunk, start, end), fx);
        }
        let verdict = self.hold(s, header, chunk.slice(start..end));
        if verdict == Verdict::Accepted {
            fx.relay(header.stream(), chunk, start, end, &self.streams[s].targets);
        }
        verdict
    }

    /// A batch that was fetched for the cut (R17); not relayed.
    pub(crate) fn accept_fetched(&mut self, header: &Header, frame: Bytes) -> Verdict {
        match self.view.index_of_seat(header.sender) {
            Some(s) if header.tag == self.view.tag() => self.hold(s, header, frame),
            _ => Verdict::Dropped,
        }
    }

    pub(super) fn hold(&mut self, s: Index, header: &Header, frame: Bytes) -> Verdict {
        let stream = &mut self.streams[s];
        if header.batch <= stream.accepted {
            let again = self.plants.has(Plant::ReplayTwice) && header.batch == stream.accepted;
            if !again {
                return Verdict::Repeat;
            }
            stream.take_back(header);
        } else if header.batch > stream.accepted + 1 && !self.plants.has(Plant::RelayOverGap) {
            return Verdict::Gap;
        } else if header.batch > stream.accepted + 1 {
            stream.jump_to(header);
        }
        if stream.next_message.is_some_and(|next| next != header.first_message) {
            return Verdict::Bad("the numbers of its messages do not follow");
        }
        match check_area(header, &frame[HEADER_BYTES..], stream.at) {
            Ok(area) if self.grants.concerns(area.begins) && !self.has_room_for(area.begins) => {
                Verdict::Bad("a long message without a grant")
            }
            Ok(area) => self.keep(s, *header, area, frame),
            Err(bad) => Verdict::Bad(bad.0),
        }
    }

    /// Keeps a batch that is the next one of its stream, and reads what concerns the order of all members.
    fn keep(&mut self, s: Index, header: Header, area: Area, frame: Bytes) -> Verdict {
        let level = match area.content {
            Content::Notice(notice) => match self.note(s, header.batch, notice) {
                Ok(()) => Level::Fifo,
                Err(bad) => return Verdict::Bad(bad),
            },
            Content::Messages(level) => level,
        };
        if level == Level::Safe {
            self.look_at_holding();
        }
        if level != Level::Fifo && self.me == self.coordinator && !self.frozen {
            self.order.arrived(s, header.batch);
        }
        let bytes = frame.len();
        self.kept += bytes as u64;
        self.streams[s].keep(header, level, frame, area.ended, area.at);
        self.grants.passed(s, header.batch, area.at);
        self.note_behind(s);
        if let Some(holding) = &mut self.holding {
            holding.touched(s, bytes);
        }
        Verdict::Accepted
    }

    /// What the library itself says in a stream.
    fn note(&mut self, s: Index, batch: u64, notice: Notice) -> Result<(), &'static str> {
        let coordinates = s == self.coordinator;
        match notice {
            Notice::Order(places) if coordinates => self.order.learn(batch, &places),
            Notice::Grant(to) if coordinates => {
                if to as usize == self.me {
                    self.grants.granted();
                }
                Ok(())
            }
            Notice::Want(_) if self.streams[s].at.reached > 0 => Err("room is wanted inside a message"),
            Notice::Want(bytes) if self.me == self.coordinator => self.grants.wanted(s, bytes),
            Notice::Want(_) => Ok(()),
            Notice::Order(_) => Err("an order by one that does not coordinate"),
            Notice::Grant(_) => Err("a grant by one that does not coordinate"),
        }
    }

    /// Numbers one batch of our own and sends it on its way. False when nothing waits, the window is full, or a long message has to wait for
    /// its turn.
    pub(crate) fn send(&mut self, builder: &mut Builder, queue: Option<&mut Queue>, fx: &mut Effects) -> bool {
        if let Some(bytes) = builder.lacks_grant(queue.as_deref())
            && (self.frozen || !self.has_grant(bytes, builder, fx))
        {
            return false;
        }
        let unstable = self.streams[self.me].retained_bytes();
        let cap = self.cast.as_ref().map_or(usize::MAX, |cast| cast.cap);
        let waiting = builder.large_bytes() + queue.as_ref().map_or(0, |queue| queue.bytes());
        let room = self.window.room(unstable, cap, waiting);
        if self.frozen || room == 0 {
            return false;
        }
        let seat = self.view.members[self.me].seat;
        let Some(built) = builder.build(queue, room, self.view.tag(), seat, Seat::EVERYBODY) else { return false };
        // All of them is in batches now: what a host has lent is not kept until there is a next one.
        builder.finished.clear();
        self.keep_own(builder, built, fx);
        true
    }

    /// Says something of the library's own in our stream. Does not wait for the window: what is in it may wait for this.
    pub(super) fn say(&mut self, notice: Notice, builder: &mut Builder, fx: &mut Effects) {
        let seats = (self.view.members[self.me].seat, Seat::EVERYBODY);
        let built = builder.build_notice(notice, self.view.tag(), seats);
        self.keep_own(builder, built, fx);
    }

    /// Keeps a batch of our own, and sends it on its way.
    pub(super) fn keep_own(&mut self, builder: &Builder, built: Built, fx: &mut Effects) {
        let Built { header, content, frame, copied } = built;
        let ended = builder.next_message - header.first_message;
        let area = Area { ended, at: builder.under_way(), begins: 0, content };
        self.keep(self.me, header, area, frame.clone());
        fx.copied += copied;
        fx.end_run();
        fx.data.extend(self.streams[self.me].targets.iter().map(|to| (*to, frame.clone())));
        if let Some(cast) = &mut self.cast {
            cast.sent();
            fx.casts.push(frame.clone());
        }
        self.pass_own(frame.len());
    }

    /// What we sent is nothing for our own host, unless its place among that of others counts.
    fn pass_own(&mut self, bytes: usize) {
        let own = &mut self.streams[self.me];
        if own.taken + 1 == own.accepted && own.next_level() == Some(Level::Fifo) {
            own.taken = own.accepted;
            self.behind.remove(self.me);
            self.stability.touched(self.me, bytes);
        }
    }

    /// Moves accepted batches into the host's queue as far as its bound admits (R26); past it when the view ends.
    pub(crate) fn take(&mut self, budget: &mut Budget, ending: bool, fx: &mut Effects) {
        self.refused = false;
        // Most turns take nothing: those do not walk over all members.
        let streams = if self.behind.is_clear() { 0 } else { self.streams.len() };
        for s in 0..streams {
            if self.behind.contains(s) {
                self.take_unplaced(s, budget, ending, fx);
            }
        }
        self.take_placed(budget, ending, fx);
    }

    fn note_behind(&mut self, s: Index) {
        self.behind.set(s, self.streams[s].is_behind());
    }

    /// Takes from a stream what needs no place in the order of all members.
    pub(super) fn take_unplaced(&mut self, s: Index, budget: &mut Budget, ending: bool, fx: &mut Effects) {
        let free = |f: &Fanout| match f.streams[s].next_level() {
            Some(Level::Fifo) => true,
            Some(_) => f.plants.has(Plant::AgreedAtOnce),
            None => false,
        };
        while free(self) && self.take_next(s, budget, ending, fx) {}
    }

    /// Takes what is next in a stream. False if nothing is, or the host has no room.
    pub(super) fn take_next(&mut self, s: Index, budget: &mut Budget, ending: bool, fx: &mut Effects) -> bool {
        let stream = &mut self.streams[s];
        let Some(next) = stream.next() else { return false };
        let (header, level, frame) = (next.header, next.level, next.frame.clone());
        let (own, messages) = (s == self.me, batch::has_messages(&frame[HEADER_BYTES..]));
        if messages && !(own && (level == Level::Fifo || self.plants.has(Plant::KeepOwnBack))) {
            let admitted = budget.admits(cost_of(frame.len())) || self.plants.has(Plant::QueueWithoutBound);
            if !ending && !admitted {
                self.refused = true;
                return false;
            }
            let sender = Arc::clone(&stream.sender);
            let source = Source { sender: &sender, view: self.view.id, direct: false, level };
            let before = fx.events.len();
            self.delivered += stream.reassembly.deliver(&source, &header, &frame, &mut budget.pool, &mut fx.events);
            fx.copied += if header.flags & batch::FLAG_FRAGMENTS == 0 { 0 } else { frame.len() };
            budget.outstanding += fx.events[before..].iter().map(super::Event::cost).sum::<usize>();
        }
        stream.taken = header.batch;
        let mut forgotten = stream.forget_stable();
        if self.plants.has(Plant::ForgetBeforeStable) {
            forgotten += stream.forget_up_to(header.batch);
        }
        self.kept = self.kept.saturating_sub(forgotten);
        self.stability.touched(s, frame.len());
        self.note_behind(s);
        true
    }

    /// Whether nothing came that is to be taken or told now.
    pub(crate) fn is_at_rest(&self, now: Time) -> bool {
        let taken = self.behind.is_clear() && !self.refused && !self.order.is_waiting() && !self.grants.is_waiting();
        let cast = self.cast.as_ref().is_none_or(|cast| self.frozen || cast.is_at_rest(now));
        taken && cast && self.holding.is_none() && !self.stability.is_due(now)
    }

    /// Whether we keep more than we may. Only a member that is not ready can: others do not wait for it (R24).
    pub(crate) fn overflows(&self) -> bool {
        self.kept >= self.bound && !self.view.members[self.me].ready && !self.frozen
    }

    /// Whether something waits that the host's queue has no room for.
    pub(crate) fn held_back(&self) -> bool {
        self.refused
    }

    /// When something must be told at the latest.
    pub(crate) fn deadline(&self) -> Time {
        let holding = self.holding.as_ref().map_or(Time::NEVER, Stability::deadline);
        let cast = self.cast.as_ref().filter(|_| !self.frozen).map_or(Time::NEVER, Reception::deadline);
        self.stability.deadline().min(holding).min(cast)
    }

    /// Drops what everybody has taken.
    pub(crate) fn release(&mut self, s: Index, stable: u64) {
        let stream = &mut self.streams[s];
        stream.told_stable = stream.told_stable.max(stable);
        self.kept = self.kept.saturating_sub(stream.forget_stable());
    }

    /// What we hold of each stream: for the cut, and for a peer that must replay the rest.
    pub(crate) fn holds(&self) -> Vec<u64> {
        self.streams.iter().map(|s| s.accepted).collect()
    }

    /// What is missing up to a cut: sender, first and last batch. A witness is to hold nothing, so it misses nothing.
    pub(crate) fn missing(&self, cut: impl Iterator<Item = u64>) -> Vec<(Index, u64, u64)> {
        if self.view.members[self.me].witness {
            return Vec::new();
        }
        cut.zip(&self.streams)
            .enumerate()
            .filter(|(_, (upto, stream))| *upto > stream.accepted)
            .map(|(s, (upto, stream))| (s, stream.accepted + 1, upto))
            .collect()
    }

    /// Frames `first..=last` of a stream, as they are kept. `None` if some are forgotten or never came.
    pub(crate) fn kept(&self, s: Index, first: u64, last: u64) -> Option<Vec<Bytes>> {
        let stream = self.streams.get(s)?;
        if first < stream.oldest() || last > stream.accepted {
            return None;
        }
        Some(stream.frames_from(first).take((last + 1).saturating_sub(first) as usize).cloned().collect())
    }

    /// A peer says what it holds: sends it everything that it lacks and that it gets from us (R7). False if some of it
    /// is forgotten: the peer is not ready and must start again (R24).
    pub(crate) fn replay(&mut self, to: Index, holds: &[(u32, u64)], fx: &mut Effects) -> bool {
        fx.end_run();
        let mut whole = true;
        for stream in &self.streams {
            if !stream.targets.contains(&to) {
                continue;
            }
            let s = self.view.index_of_seat(stream.sender.seat).expect("a stream's sender is in the view") as u32;
            let held = holds.iter().find(|(at, _)| *at == s).map_or(0, |(_, batch)| *batch);
            whole &= held.saturating_add(1) >= stream.oldest();
            fx.data.extend(stream.frames_from(held.saturating_add(1)).map(|frame| (to, frame.clone())));
        }
        whole
    }

    /// Tells a neighbour how far everybody is, as far as it is to know that from us.
    pub(crate) fn tell_again(&mut self, to: Index, fx: &mut Effects) {
        self.stability.tell_again(to, &self.streams, fx);
        if let Some(holding) = &mut self.holding {
            holding.tell_again(to, &self.streams, fx);
        }
    }

    /// Number of our last message that every ready member has taken.
    pub(crate) fn stable_messages(&self) -> u64 {
        let own = &self.streams[self.me];
        let next = own.next_message.unwrap_or(1);
        if self.plants.has(Plant::StableWhenSent) {
            return next - 1;
        }
        own.first_kept_message().unwrap_or(next) - 1
    }

    /// Bytes that are kept for others, and bytes of incomplete messages.
    pub(crate) fn retained_bytes(&self) -> u64 {
        let ahead = self.cast.as_ref().map_or(0, Reception::ahead_bytes);
        ahead + self.streams.iter().map(|s| s.retained_bytes() + s.reassembly.bytes() as u64).sum::<u64>()
    }
}

#[cfg(test)]
pub(crate) mod tests;
