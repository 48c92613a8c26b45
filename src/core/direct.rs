//! Streams to one member: numbered per pair of incarnations, acknowledged end to end, alive across views (R1). One set of them
//! carries what hosts send, others the frames of sessions and what is said against those: none waits for another.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::builder::{Builder, Content, Reassembly, Source, UnderWay, check_area, cost_of, entries_of};
use super::fanout::{Budget, Verdict};
use super::grants::Room;
use super::io::{Event, MemberRef};
use super::outbox::{Pending, Queue};
use super::plant::{Plant, Plants};
use super::setup::LargeRules;
use crate::types::{Incarnation, Micros, Seat, Time, ViewId, millis, mix, pair_tag};
use crate::wire::batch::{HEADER_BYTES, Header, Level, Notice};
use crate::wire::control::DirectAck;

/// First wait for an acknowledgement before everything unacknowledged is sent again; doubled each time.
const FIRST_RETRY: Micros = millis(300);
const LAST_RETRY: Micros = millis(2_400);

/// What a set of streams carries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Kind {
    /// What hosts send to one member.
    Messages,
    /// Frames of sessions.
    Sessions,
    /// What is said against frames of sessions.
    Objections,
}

impl Kind {
    /// The tag in the headers of the stream from one member to another.
    pub(crate) fn tag(self, from: Incarnation, to: Incarnation) -> u64 {
        let tag = pair_tag(from, to);
        match self {
            Kind::Messages => tag,
            Kind::Sessions => mix(tag, 0x7365_7373),
            Kind::Objections => mix(tag, 0x6f62_6a65),
        }
    }
}

#[derive(Clone, Hash, Debug)]
struct Outgoing {
    builder: Builder,
    tag: u64,
    /// Batches that were not acknowledged, with the number of the last message that each one ends.
    unacked: VecDeque<(Header, Bytes, u64)>,
    unacked_bytes: usize,
    /// Long messages until their last batch is acknowledged (R28), with its number.
    long: VecDeque<(u64, Pending)>,
    /// The batch that asked for room for a long message, until it is acknowledged (R28).
    asked: Option<u64>,
    /// The last message that was acknowledged.
    acked: u64,
    /// An acknowledgement that counts once we have taken what the receiver sent us before it.
    early: Option<DirectAck>,
    /// The last batch when all was sent again, until that is acknowledged; else 0. What was sent twice is acknowledged twice.
    mended: u64,
    retry: Micros,
    retry_at: Time,
}

#[derive(Clone, Hash, Debug)]
struct Incoming {
    sender: Arc<MemberRef>,
    accepted: u64,
    taken: u64,
    next_message: u64,
    at: UnderWay,
    waiting: VecDeque<(Header, Bytes)>,
    waiting_bytes: usize,
    reassembly: Reassembly,
    acknowledge: bool,
}

/// All streams between this member and single others.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Direct {
    kind: Kind,
    me: Incarnation,
    window: usize,
    outgoing: BTreeMap<Incarnation, Outgoing>,
    incoming: BTreeMap<Incarnation, Incoming>,
    /// To whom something is not acknowledged yet, or not all sent.
    unsettled: BTreeSet<Incarnation>,
    /// Whose batches wait for the host, or for an acknowledgement by us.
    unanswered: BTreeSet<Incarnation>,
    room: Room,
    pub(crate) delivered: u64,
    plants: Plants,
}

impl Direct {
    pub(crate) fn new(kind: Kind, me: Incarnation, window: usize, plants: Plants) -> Direct {
        Direct {
            kind,
            me,
            window,
            outgoing: BTreeMap::new(),
            incoming: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            unanswered: BTreeSet::new(),
            room: Room::new(LargeRules::default()),
            delivered: 0,
            plants,
        }
    }

    /// With these rules for long messages.
    pub(crate) fn with_large(self, rules: LargeRules) -> Direct {
        Direct { room: Room::new(rules), ..self }
    }

    /// Numbers one batch for a member; the caller sends it on its way.
    pub(crate) fn send(
        &mut self, now: Time, to: Incarnation, seats: (Seat, Seat), queue: Option<&mut Queue>,
    ) -> Option<Bytes> {
        let waits = queue.as_ref().is_some_and(|queue| !queue.is_empty()) || self.has_unfinished(to);
        if !waits {
            return None;
        }
        let tag = self.kind.tag(self.me, to);
        let out = self.outgoing.entry(to).or_insert_with(|| Outgoing {
            builder: Builder::new(1).asking_above(self.room.rules.unasked_bytes),
            tag,
            unacked: VecDeque::new(),
            unacked_bytes: 0,
            long: VecDeque::new(),
            asked: None,
            acked: 0,
            early: None,
            mended: 0,
            retry: FIRST_RETRY,
            retry_at: Time::NEVER,
        });
        let room = self.window.saturating_sub(out.unacked_bytes);
        if room < 4096.min(self.window) {
            return None;
        }
        let built = match out.builder.lacks_grant(queue.as_deref()) {
            Some(_) if out.asked.is_some() => return None,
            Some(bytes) => {
                out.asked = Some(out.builder.next_batch);
                out.builder.build_notice(Notice::Want(bytes as u32), out.tag, seats)
            }
            None => out.builder.build(queue, room, out.tag, seats.0, seats.1)?,
        };
        if out.unacked.is_empty() {
            out.retry_at = now + out.retry;
        }
        out.long.extend(out.builder.finished.drain(..).map(|pending| (built.header.batch, pending)));
        out.unacked_bytes += built.frame.len();
        out.unacked.push_back((built.header, built.frame.clone(), out.builder.next_message - 1));
        self.unsettled.insert(to);
        Some(built.frame)
    }

    /// Members for whom part of a long message waits beyond its batch.
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = Incarnation> {
        self.unsettled.iter().copied().filter(|to| self.has_unfinished(*to))
    }

    /// Whether part of a long message for this member waits beyond its batch.
    pub(crate) fn has_unfinished(&self, to: Incarnation) -> bool {
        self.outgoing.get(&to).is_some_and(|out| out.builder.has_large())
    }

    /// Batches sent to a member so far.
    pub(crate) fn sent(&self, to: Incarnation) -> u64 {
        self.outgoing.get(&to).map_or(0, |out| out.builder.next_batch - 1)
    }

    /// Batches of a member's that were taken so far.
    pub(crate) fn taken(&self, from: Incarnation) -> u64 {
        self.incoming.get(&from).map_or(0, |i| i.taken)
    }

    /// Whether everything sent was acknowledged.
    pub(crate) fn is_settled(&self) -> bool {
        self.unsettled.is_empty()
    }

    /// A batch for us came in.
    pub(crate) fn accept(&mut self, sender: &MemberRef, header: &Header, frame: Bytes) -> Verdict {
        if header.tag != self.kind.tag(sender.incarnation, self.me) {
            return Verdict::Dropped;
        }
        let incoming = self.incoming.entry(sender.incarnation).or_insert_with(|| Incoming {
            sender: Arc::new(sender.clone()),
            accepted: 0,
            taken: 0,
            next_message: 1,
            at: UnderWay::default(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            reassembly: Reassembly::default(),
            acknowledge: false,
        });
        if self.plants.has(Plant::DirectRepeat) && header.batch == incoming.accepted && incoming.at.reached == 0 {
            incoming.waiting_bytes += frame.len();
            incoming.waiting.push_back((*header, frame));
            self.unanswered.insert(sender.incarnation);
            return Verdict::Accepted;
        }
        if header.batch != incoming.accepted + 1 {
            incoming.acknowledge = true;
            self.unanswered.insert(sender.incarnation);
            return if header.batch <= incoming.accepted { Verdict::Repeat } else { Verdict::Gap };
        }
        // A sender keeps to its window; one that does not is not given more memory.
        if incoming.waiting_bytes > 0 && incoming.waiting_bytes + frame.len() > 2 * self.window {
            return Verdict::Dropped;
        }
        if header.first_message != incoming.next_message {
            return Verdict::Bad("the numbers of its messages do not follow");
        }
        let area = match check_area(header, &frame[HEADER_BYTES..], incoming.at) {
            Ok(area) => area,
            Err(bad) => return Verdict::Bad(bad.0),
        };
        match area.content {
            Content::Messages(Level::Fifo) if self.room.admits(sender.incarnation, area.begins) => {}
            Content::Messages(Level::Fifo) => return Verdict::Bad("a long message without room for it"),
            Content::Notice(Notice::Want(bytes)) if self.kind == Kind::Messages && incoming.at.reached == 0 => {
                if bytes as usize > self.room.rules.room_bytes {
                    return Verdict::Bad("more room is wanted than there is");
                }
            }
            _ => return Verdict::Bad("a level that a stream to one member does not have"),
        }
        incoming.accepted = header.batch;
        incoming.next_message += area.ended;
        incoming.at = area.at;
        incoming.waiting_bytes += frame.len();
        incoming.waiting.push_back((*header, frame));
        self.unanswered.insert(sender.incarnation);
        Verdict::Accepted
    }

    /// Moves accepted batches into the host's queue as far as its bound admits.
    pub(crate) fn take(&mut self, view: ViewId, budget: &mut Budget, events: &mut Vec<Event>) {
        for from in &self.unanswered {
            let Some(incoming) = self.incoming.get_mut(from) else { continue };
            while let Some((header, frame)) = incoming.waiting.front() {
                if !budget.admits(cost_of(frame.len())) {
                    break;
                }
                if let Some(bytes) = wanted(frame) {
                    if !self.room.give(*from, bytes) {
                        break;
                    }
                } else {
                    let source = Source { sender: &incoming.sender, view, direct: true, level: Level::Fifo };
                    let before = (events.len(), incoming.reassembly.total());
                    self.delivered += incoming.reassembly.deliver(&source, header, frame, &mut budget.pool, events);
                    if before.1 > incoming.reassembly.total() {
                        self.room.free(*from);
                    }
                    budget.outstanding += events[before.0..].iter().map(Event::cost).sum::<usize>();
                }
                incoming.taken = header.batch;
                incoming.acknowledge = true;
                incoming.waiting_bytes -= frame.len();
                incoming.waiting.pop_front();
            }
        }
    }

    /// Whether nothing came, and nothing is due.
    pub(crate) fn is_at_rest(&self, now: Time) -> bool {
        self.unanswered.is_empty() && now < self.deadline()
    }

    /// Whether somebody's batches wait to be taken, or to be acknowledged.
    pub(crate) fn has_arrivals(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// Whether something waits that the host's queue has no room for. Who wants room for a long message waits for others.
    pub(crate) fn held_back(&self) -> bool {
        let next = |from| self.incoming.get(from)?.waiting.front();
        self.unanswered.iter().filter_map(next).any(|(_, frame)| wanted(frame).is_none())
    }

    /// Acknowledgements that are due, and for whom. `before` says how many batches of another stream to that member belong before its
    /// acknowledgement; none: it has to wait.
    pub(crate) fn acknowledgements(
        &mut self, before: impl Fn(Incarnation) -> Option<u64>,
    ) -> Vec<(Incarnation, DirectAck)> {
        let Direct { kind, me, incoming, .. } = self;
        let mut due = Vec::new();
        self.unanswered.retain(|from| {
            let Some(i) = incoming.get_mut(from) else { return false };
            if let Some(after) = before(*from).filter(|_| i.acknowledge) {
                i.acknowledge = false;
                due.push((*from, DirectAck { tag: kind.tag(*from, *me), receiver: *me, batch: i.taken, after }));
            }
            i.acknowledge || !i.waiting.is_empty()
        });
        due
    }

    /// Unacknowledged bytes to one member, at most.
    pub(crate) fn window(&self) -> usize {
        self.window
    }

    /// Whether a stream of this set has that tag.
    pub(crate) fn is_ours(&self, ack: &DirectAck) -> bool {
        ack.tag == self.kind.tag(self.me, ack.receiver)
    }

    /// A receiver has taken our stream so far. What it sent us before it said so, in another stream of which `taken` batches are here,
    /// belongs before that: the acknowledgement waits until we have taken it.
    pub(crate) fn acknowledged(&mut self, now: Time, ack: &DirectAck, taken: u64) {
        let Some(out) = self.outgoing.get_mut(&ack.receiver) else { return };
        if ack.tag != out.tag {
            return;
        }
        if ack.after > taken {
            out.early = Some(*ack).filter(|_| !out.unacked.is_empty());
            return;
        }
        let before = out.unacked.len();
        while out.unacked.front().is_some_and(|(header, ..)| header.batch <= ack.batch) {
            if let Some((_, frame, last)) = out.unacked.pop_front() {
                out.unacked_bytes -= frame.len();
                out.acked = last;
            }
        }
        while out.long.front().is_some_and(|(batch, _)| *batch <= ack.batch) {
            out.long.pop_front();
        }
        if out.asked.is_some_and(|batch| batch <= ack.batch) {
            out.asked = None;
            out.builder.grant();
        }
        if out.mended <= ack.batch {
            out.mended = 0;
        }
        if out.unacked.len() < before {
            out.retry = FIRST_RETRY;
            out.retry_at = if out.unacked.is_empty() { Time::NEVER } else { now + out.retry };
        } else if out.mended == 0 && !out.unacked.is_empty() {
            // It got something, and not what comes next: on another way, perhaps, which was the faster one. Asked for once; then it
            // is waited for, and not longer for all that comes behind it.
            out.retry_at = now;
        }
        if out.unacked.is_empty() && !out.builder.has_large() {
            self.unsettled.remove(&ack.receiver);
        }
    }

    /// Looks again at acknowledgements that came too early.
    pub(crate) fn recall_early(&mut self, now: Time, taken: impl Fn(Incarnation) -> u64) {
        let Direct { unsettled, outgoing, .. } = self;
        let early = unsettled.iter().filter_map(|to| outgoing.get_mut(to)?.early.take());
        let early: Vec<DirectAck> = early.collect();
        for ack in early {
            self.acknowledged(now, &ack, taken(ack.receiver));
        }
    }

    /// The last message of our stream to a member that it has acknowledged.
    pub(crate) fn acked(&self, to: Incarnation) -> u64 {
        self.outgoing.get(&to).map_or(0, |out| out.acked)
    }

    /// What must be sent again because no acknowledgement came, and for whom.
    pub(crate) fn retries(&mut self, now: Time) -> Vec<(Incarnation, Bytes)> {
        let mut again = Vec::new();
        for to in &self.unsettled {
            let Some(out) = self.outgoing.get_mut(to) else { continue };
            if now >= out.retry_at && !out.unacked.is_empty() {
                out.retry = (out.retry * 2).min(LAST_RETRY);
                (out.retry_at, out.mended) = (now + out.retry, out.builder.next_batch - 1);
                again.extend(out.unacked.iter().map(|(_, frame, _)| (*to, frame.clone())));
            }
        }
        again
    }

    /// The way to others has changed: what is unacknowledged is sent again at once.
    pub(crate) fn retry_now(&mut self, now: Time) {
        for to in &self.unsettled {
            if let Some(out) = self.outgoing.get_mut(to).filter(|out| !out.unacked.is_empty()) {
                (out.retry, out.retry_at) = (FIRST_RETRY, now);
            }
        }
    }

    pub(crate) fn deadline(&self) -> Time {
        let due = self.unsettled.iter().filter_map(|to| Some(self.outgoing.get(to)?.retry_at));
        due.min().unwrap_or(Time::NEVER)
    }

    /// Forgets everybody who is not among `present`; answers what they have not acknowledged, in the order in which it was sent.
    pub(crate) fn keep_only(&mut self, present: impl Fn(Incarnation) -> bool) -> Vec<(Incarnation, u64, Bytes)> {
        self.incoming.keys().filter(|from| !present(**from)).for_each(|from| self.room.free(*from));
        self.incoming.retain(|from, _| present(*from));
        self.unanswered.retain(|from| present(*from));
        self.unsettled.retain(|to| present(*to));
        let gone: Vec<Incarnation> = self.outgoing.keys().copied().filter(|to| !present(*to)).collect();
        let mut returned = Vec::new();
        for to in gone {
            let Some(mut out) = self.outgoing.remove(&to) else { continue };
            let mut long = out.long.drain(..).peekable();
            for (header, frame, _) in &out.unacked {
                // What a long message ends with is at the front of its batch.
                while let Some((_, pending)) = long.next_if(|(batch, _)| *batch <= header.batch) {
                    returned.push((to, pending.token, pending.payload));
                }
                returned.extend(entries_of(header, frame).into_iter().map(|(token, payload)| (to, token, payload)));
            }
            let begun = long.map(|(_, pending)| pending).chain(out.builder.take_large());
            returned.extend(begun.map(|pending| (to, pending.token, pending.payload)));
        }
        returned
    }

    /// Bytes that wait for acknowledgement or for the host.
    pub(crate) fn bytes(&self) -> u64 {
        let out: usize = self.outgoing.values().map(|o| o.unacked_bytes).sum();
        let waiting: usize = self.incoming.values().map(|i| i.waiting_bytes + i.reassembly.bytes()).sum();
        (out + waiting) as u64
    }
}

/// For how much room an accepted batch asks, if it does.
fn wanted(frame: &Bytes) -> Option<usize> {
    match Notice::of(&frame[HEADER_BYTES..], 1) {
        Some(Ok(Notice::Want(bytes))) => Some(bytes as usize),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
