//! How frames of sessions travel: in a stream for each member, acknowledged as a whole, many in a batch. What a frame brings about
//! happens when it is acknowledged.
//!
//! What is said against frames has streams of its own, and an acknowledgement names the objections that belong before it. So
//! they never wait for room behind other frames, and two members that have much to say to each other cannot stop one another.

use std::collections::VecDeque;
use std::ops::Bound;

use bytes::Bytes;

use super::{Sessions, Step};
use crate::core::buffers::ChunkPool;
use crate::core::direct::{Direct, Kind};
use crate::core::fanout::{Budget, Verdict};
use crate::core::io::{Event, MemberRef};
use crate::core::messages::Messages;
use crate::core::outbox::{Pending, Queue};
use crate::core::packing::PACKED_BYTES;
use crate::types::{Incarnation, MemberTag, Time, ViewId};
use crate::wire::batch::{Header, Level};
use crate::wire::control::DirectAck;
use crate::wire::session::{Frame, Refused};

/// What is on its way to one member.
#[derive(Clone, Hash, Default, Debug)]
pub(super) struct Outlet {
    pub(super) queue: Queue,
    pub(super) objections: Queue,
    /// Frames put in so far: the number of the last one in its stream.
    pub(super) sent: u64,
    pub(super) steps: VecDeque<(u64, Step)>,
    /// Until when what is in it waits for more: changes that were answered for already.
    pub(super) corked: Option<Time>,
}

impl Outlet {
    fn has_something(&self) -> bool {
        self.objections.bytes() + self.queue.bytes() > 0
    }
}

/// Packs frames as they come into chunks that return when everybody has them, and are used again. In memory of its own each frame would
/// leave a gap between sessions that stay, a little longer than one of them.
#[derive(Clone, Debug)]
pub(super) struct Encoder {
    pool: ChunkPool,
    scratch: Vec<u8>,
}

impl Encoder {
    /// Chunks that are looked after.
    const CHUNKS: usize = 64;

    pub(super) fn new() -> Encoder {
        Encoder { pool: ChunkPool::new(Encoder::CHUNKS), scratch: Vec::new() }
    }

    fn put(&mut self, frame: &Frame, queue: &mut Queue) {
        self.scratch.clear();
        frame.put(&mut self.scratch);
        match self.scratch.len() {
            0..=PACKED_BYTES => queue.pack_densely(&self.scratch, &mut self.pool),
            _ => {
                queue.push(Pending { level: Level::Fifo, token: 0, payload: std::mem::take(&mut self.scratch).into() })
            }
        }
    }
}

impl Sessions {
    /// Sends a frame; what it brings about happens when it is acknowledged.
    pub(super) fn send(&mut self, to: Incarnation, frame: &Frame, step: Option<Step>) {
        let outlet = self.outlets.entry(to).or_default();
        if !matches!(frame, Frame::Change(_)) {
            outlet.corked = None;
        }
        self.encoder.put(frame, &mut outlet.queue);
        outlet.sent += 1;
        self.outbound.insert(to);
        if let Some(step) = step {
            outlet.steps.push_back((outlet.sent, step));
            self.busy.insert(to);
        }
    }

    /// Says something against a frame.
    pub(super) fn send_objection(&mut self, to: Incarnation, refused: Refused) {
        let outlet = self.outlets.entry(to).or_default();
        self.encoder.put(&Frame::Refused(refused), &mut outlet.objections);
        self.outbound.insert(to);
    }

    /// A batch of one of the streams came in.
    pub(crate) fn accept(&mut self, sender: &MemberRef, header: &Header, frame: Bytes) -> Verdict {
        let objects = header.tag == Kind::Objections.tag(sender.incarnation, self.incarnation);
        let streams = if objects { &mut self.objections } else { &mut self.frames };
        streams.accept(sender, header, frame)
    }

    /// A receiver has taken one of our streams so far.
    pub(crate) fn acknowledged(&mut self, now: Time, ack: &DirectAck) {
        self.touched = true;
        if self.objections.is_ours(ack) {
            return self.objections.acknowledged(now, ack, 0);
        }
        self.frames.acknowledged(now, ack, self.objections.taken(ack.receiver));
    }

    /// Takes what has come in.
    pub(super) fn receive(&mut self) {
        self.receive_objections();
        self.receive_frames();
        let Sessions { frames, objections, now, .. } = self;
        frames.recall_early(*now, |who| objections.taken(who));
        self.take_acknowledged();
    }

    fn receive_objections(&mut self) {
        for run in take(&mut self.objections) {
            let from = run.sender.incarnation;
            for message in &run {
                match Frame::decode(message.payload) {
                    Ok(Frame::Refused(refused)) => self.on_refused(from, &refused),
                    Ok(_) => self.faulty.push((from, "a frame of sessions that is no objection, among those")),
                    Err(bad) => self.faulty.push((from, bad.0)),
                }
            }
        }
    }

    /// One at a time: what is read of a frame is gone when the next one is read. Memory of many, freed between what stays, would
    /// leave gaps in which nothing fits.
    fn receive_frames(&mut self) {
        for run in take(&mut self.frames) {
            let from = run.sender.incarnation;
            for message in &run {
                match Frame::decode_sharing(message.payload, message.chunk()) {
                    Ok(frame) => self.on_frame(from, frame),
                    Err(bad) => self.faulty.push((from, bad.0)),
                }
            }
        }
    }

    fn on_frame(&mut self, from: Incarnation, frame: Frame) {
        match frame {
            Frame::Copy(copy) => self.on_copy(from, &copy, MemberTag::NONE),
            Frame::Change(change) => self.on_change(from, &change),
            Frame::Adopt(adopt) => self.on_adopt(from, &adopt),
            Frame::Release(about) => self.on_release(about),
            Frame::End(about) => self.on_end(from, about),
            Frame::Refused(_) => self.faulty.push((from, "an objection among other frames of sessions")),
            Frame::Want(question) => self.on_want(from, &question),
            Frame::Give(give) => self.on_give(from, give),
            Frame::Where(question) => self.tell(from, &question),
            Frame::Here(here) => self.on_here(from, &here),
            Frame::Departed(departed) => self.on_departed(&departed),
            Frame::Move(it) => self.on_copy(from, &it.copy, it.beside),
            Frame::Outlive(about) => self.on_outlive(from, &about),
            Frame::Inherit(will) => self.on_inherit(from, &will),
            Frame::Retiring(()) => self.on_retiring(from),
            Frame::Fetch(question) => self.on_fetch(from, &question),
            Frame::Shown(shown) => self.on_shown(from, shown),
        }
    }

    fn take_acknowledged(&mut self) {
        let mut next = self.busy.first().copied();
        while let Some(peer) = next {
            let acked = self.frames.acked(peer);
            while let Some(outlet) = self.outlets.get_mut(&peer)
                && outlet.steps.front().is_some_and(|(number, _)| *number <= acked)
            {
                let Some((_, step)) = outlet.steps.pop_front() else { break };
                self.step_done(peer, step);
            }
            if self.outlets.get(&peer).is_none_or(|outlet| outlet.steps.is_empty()) {
                self.busy.remove(&peer);
            }
            next = self.busy.range((Bound::Excluded(peer), Bound::Unbounded)).next().copied();
        }
    }

    /// Batches that can go out now, at most so many of each stream, and for whom.
    pub(crate) fn batches(&mut self, most: usize) -> Vec<(Incarnation, Bytes)> {
        if self.outbound.is_empty() {
            return Vec::new();
        }
        let Some(view) = self.view.clone() else { return Vec::new() };
        let mut out = Vec::new();
        let Sessions { now, me, frames, objections, outlets, outbound, rules, .. } = self;
        outbound.retain(|to| {
            let Some(outlet) = outlets.get_mut(to) else { return false };
            let Some(index) = view.index_of(*to) else { return true };
            let seats = (view.members[*me].seat, view.members[index].seat);
            let mut drain = |streams: &mut Direct, queue: &mut Queue| {
                let batch = || streams.send(*now, *to, seats, Some(&mut *queue));
                out.extend(std::iter::from_fn(batch).take(most).map(|frame| (*to, frame)));
            };
            drain(objections, &mut outlet.objections);
            if !outlet.is_corked(*now, rules.asynchronous.as_ref()) {
                outlet.corked = None;
                drain(frames, &mut outlet.queue);
            }
            outlet.has_something() || frames.has_unfinished(*to)
        });
        out
    }

    /// Acknowledgements that are due, and for whom. What is said against frames goes before what acknowledges them.
    pub(crate) fn acknowledgements(&mut self) -> Vec<(Incarnation, DirectAck)> {
        let Sessions { frames, objections, outlets, .. } = self;
        let said = |to| outlets.get(&to).is_none_or(|outlet| outlet.objections.bytes() == 0);
        let mut due = frames.acknowledgements(|to| said(to).then(|| objections.sent(to)));
        due.extend(objections.acknowledgements(|_| Some(0)));
        due
    }

    /// What must be sent again because no acknowledgement came, and for whom.
    pub(crate) fn retries(&mut self, now: Time) -> Vec<(Incarnation, Bytes)> {
        let mut again = self.objections.retries(now);
        again.extend(self.frames.retries(now));
        again
    }

    /// When something must be sent, or sent again.
    pub(super) fn next_transmission(&self) -> Time {
        self.frames.deadline().min(self.objections.deadline()).min(self.uncork_at())
    }

    /// Members with whom something is under way.
    pub(crate) fn busy_with(&self) -> impl Iterator<Item = Incarnation> {
        self.busy.iter().copied()
    }

    /// Those of them that hold copies of our sessions.
    pub(crate) fn busy_partners(&self) -> impl Iterator<Item = Incarnation> {
        self.busy_with().filter(|who| self.partners.iter().any(|(_, partner)| partner == who))
    }

    /// Whether a stream has that tag.
    pub(crate) fn carries(tag: u64, from: Incarnation, to: Incarnation) -> bool {
        [Kind::Sessions, Kind::Objections].iter().any(|kind| tag == kind.tag(from, to))
    }
}

/// What has come in, in the order of each sender.
fn take(streams: &mut Direct) -> Vec<Messages> {
    if !streams.has_arrivals() {
        return Vec::new();
    }
    let mut events = Vec::new();
    // Its bound is the window of each sender.
    let mut budget = Budget::new(usize::MAX, 0);
    streams.take(ViewId::NONE, &mut budget, &mut events);
    let runs = events.into_iter().filter_map(|event| match event {
        Event::Messages(run) => Some(run),
        _ => None,
    });
    runs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_something_to_be_sent_has_frames_or_objections_or_both() {
        let put = |queue: &mut Queue| {
            queue.push(Pending { level: Level::Fifo, token: 0, payload: vec![0; 9].into() });
        };
        let mut outlet = Outlet::default();
        assert!(!outlet.has_something());
        put(&mut outlet.queue);
        assert!(outlet.has_something());
        put(&mut outlet.objections);
        assert!(outlet.has_something());
    }

    #[test]
    fn the_streams_of_sessions_are_known_by_their_tags() {
        let (one, other) = (Incarnation(1), Incarnation(2));
        for kind in [Kind::Sessions, Kind::Objections] {
            assert!(Sessions::carries(kind.tag(one, other), one, other));
            assert!(!Sessions::carries(kind.tag(other, one), one, other));
        }
        assert!(!Sessions::carries(Kind::Messages.tag(one, other), one, other));
    }
}
