//! Making batches out of accepted sends, and messages out of delivered batches. Streams to everybody and to one
//! member use the same two pieces.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::buffers::ChunkPool;
use super::io::{Event, MemberRef};
use super::messages::{Body, Messages};
use super::outbox::{PENDING_OVERHEAD, Part, Pending, Queue};
use super::packing::Block;
use super::plant::{Plant, Plants};
use crate::types::{Seat, ViewId, limits};
use crate::wire::Malformed;
use crate::wire::batch::{self, Entries, Entry, FLAG_FRAGMENTS, Fragment, HEADER_BYTES, Header, Level, Notice};

/// Numbers one stream's batches and messages (R1).
#[derive(Clone, Hash, Debug)]
pub(crate) struct Builder {
    pub(crate) next_batch: u64,
    pub(crate) next_message: u64,
    /// A message that is longer than a batch, and how much of it has been numbered.
    large: Option<(Pending, usize)>,
    /// Most bytes of messages in one batch (R3).
    bound: usize,
    /// A longer message needs a grant before it begins (R28), and whether the next one has it.
    unasked: usize,
    granted: bool,
    /// Long messages whose last part is in the batch just built.
    pub(crate) finished: Vec<Pending>,
}

/// A finished batch.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) header: Header,
    pub(crate) content: Content,
    pub(crate) frame: Bytes,
    /// Bytes of it that the library has copied there.
    pub(crate) copied: usize,
}

impl Builder {
    pub(crate) fn new(next_message: u64) -> Builder {
        let (bound, unasked) = (limits::BATCH_BYTES, limits::UNASKED_BYTES);
        Builder { next_batch: 1, next_message, large: None, bound, unasked, granted: false, finished: Vec::new() }
    }

    /// The same where messages over so many bytes need a grant.
    pub(crate) fn asking_above(self, bytes: usize) -> Builder {
        Builder { unasked: bytes, ..self }
    }

    /// The same with batches of at most so many bytes.
    pub(crate) fn bounded(self, bytes: usize) -> Builder {
        Builder { bound: bytes.min(limits::BATCH_BYTES), ..self }
    }

    /// From now on batches have at most so many bytes; those that are built stay as they are.
    pub(crate) fn set_bound(&mut self, bytes: usize) {
        self.bound = bytes.min(limits::BATCH_BYTES);
    }

    /// Most bytes of messages in one batch.
    pub(crate) fn bound(&self) -> usize {
        self.bound
    }

    /// A new view begins: batches count from one again, and a message that was cut in two is sent again from its start (D6).
    pub(crate) fn restart(&mut self, plants: Plants) {
        (self.next_batch, self.granted) = (1, false);
        if let Some((_, sent)) = self.large.as_mut().filter(|_| !plants.has(Plant::GoOnInside)) {
            *sent = 0;
        }
    }

    /// A new incarnation numbers from one; what was under way is sent whole in its first view (D7).
    pub(crate) fn for_new_incarnation(&mut self) -> Builder {
        let mut builder = Builder::new(1).bounded(self.bound).asking_above(self.unasked);
        builder.large = self.large.take().map(|(pending, _)| (pending, 0));
        builder
    }

    /// Gives back the message that was under way, to be returned to the host.
    pub(crate) fn take_large(&mut self) -> Option<Pending> {
        self.large.take().map(|(pending, _)| pending)
    }

    /// Whether part of a long message waits.
    pub(crate) fn has_large(&self) -> bool {
        self.large.is_some()
    }

    /// Length of the message that comes next, if it needs a grant and has none.
    pub(crate) fn lacks_grant(&self, queue: Option<&Queue>) -> Option<usize> {
        let next = match (&self.large, queue.and_then(Queue::front)) {
            (Some((pending, 0)), _) | (None, Some(Part::Whole(pending))) => pending.payload.len(),
            _ => return None,
        };
        (next > self.unasked && !self.granted).then_some(next)
    }

    /// The long message that comes next may begin.
    pub(crate) fn grant(&mut self) {
        self.granted = true;
    }

    /// How much has been numbered of a long message that is under way.
    pub(crate) fn under_way(&self) -> UnderWay {
        let of = |(pending, sent): &(Pending, usize)| UnderWay {
            reached: *sent as u32,
            total: if *sent > 0 { pending.payload.len() as u32 } else { 0 },
        };
        self.large.as_ref().map(of).unwrap_or_default()
    }

    /// What has not been numbered of a long message that is under way.
    pub(crate) fn large_bytes(&self) -> usize {
        self.large.as_ref().map_or(0, |(pending, sent)| pending.payload.len() - sent + PENDING_OVERHEAD)
    }

    /// Builds one batch of at most `room` bytes of messages (R3). `None` if nothing waits or nothing fits.
    pub(crate) fn build(
        &mut self, queue: Option<&mut Queue>, room: usize, tag: u64, sender: Seat, receiver: Seat,
    ) -> Option<Built> {
        let room = room.min(self.bound);
        self.finished.clear();
        let mut queue = queue;
        if self.large.is_none()
            && let Some(block) = self.take_block(queue.as_deref_mut(), room)
        {
            return Some(self.close_block(block, tag, (sender, receiver)));
        }
        // At once as long as it can get: one that grows leaves gaps of every size behind, among what stays.
        let waiting = self.large_bytes() + queue.as_ref().map_or(0, |queue| queue.bytes());
        let mut area = BytesMut::with_capacity(HEADER_BYTES + room.min(waiting));
        area.put_bytes(0, HEADER_BYTES);
        let mut packer = Packer { area, room, count: 0, ended: 0, fragments: false, level: None };
        self.fill(queue, &mut packer);
        if packer.count == 0 {
            return None;
        }
        let content = Content::Messages(packer.level.unwrap_or(Level::Fifo));
        let flags = if packer.fragments { FLAG_FRAGMENTS } else { 0 };
        let built = self.close(packer.area, content, (flags, packer.count), tag, (sender, receiver));
        self.next_message += packer.ended;
        Some(built)
    }

    /// Takes messages that are packed already. If the window is smaller than the first of them, that one goes in parts; a short one waits
    /// until it fits whole.
    fn take_block(&mut self, queue: Option<&mut Queue>, room: usize) -> Option<Block> {
        let queue = queue?;
        let block = queue.take_block(room);
        if block.is_none()
            && let Some(Part::Packed(first)) = queue.front()
            && first.front().is_some_and(|entry| entry.payload.len() > LEAST_PART)
        {
            self.large = queue.pop().map(|pending| (pending, 0));
        }
        block
    }

    fn close_block(&mut self, block: Block, tag: u64, seats: (Seat, Seat)) -> Built {
        let (count, content, in_place) = (block.count, Content::Messages(block.level), block.in_place);
        let mut built = self.close(block.into_frame(), content, (0, count), tag, seats);
        built.copied -= in_place;
        self.next_message += u64::from(count);
        built
    }

    /// Builds a batch that says what the library itself has to say.
    pub(crate) fn build_notice(&mut self, notice: Notice, tag: u64, seats: (Seat, Seat)) -> Built {
        let mut area = BytesMut::with_capacity(HEADER_BYTES + notice.encoded_len());
        area.put_bytes(0, HEADER_BYTES);
        notice.put(&mut area);
        self.close(area, Content::Notice(notice), (0, 1), tag, seats)
    }

    fn close(
        &mut self, mut frame: BytesMut, content: Content, (flags, count): (u8, u16), tag: u64, seats: (Seat, Seat),
    ) -> Built {
        let header = Header {
            flags,
            count,
            length: (frame.len() - HEADER_BYTES) as u32,
            tag,
            sender: seats.0,
            receiver: seats.1,
            batch: self.next_batch,
            first_message: self.next_message,
        };
        self.next_batch += 1;
        frame[..HEADER_BYTES].copy_from_slice(&header.encode());
        Built { header, content, copied: frame.len(), frame: frame.freeze() }
    }

    fn fill(&mut self, mut queue: Option<&mut Queue>, packer: &mut Packer) {
        while self.lacks_grant(queue.as_deref()).is_none() {
            if let Some((pending, sent)) = &mut self.large {
                *sent += packer.part(pending, *sent);
                if *sent < pending.payload.len() {
                    return;
                }
                self.granted &= pending.payload.len() <= self.unasked;
                self.finished.extend(self.large.take().map(|(pending, _)| pending));
            }
            let Some(queue) = queue.as_deref_mut() else { return };
            let Some(Part::Whole(front)) = queue.front() else { return };
            // The messages of a batch are delivered together.
            if packer.level.is_some_and(|level| level != front.level) {
                return;
            }
            let whole = Entry::encoded_len(front.payload.len(), front.token, false);
            if whole > self.bound {
                self.large = queue.pop().map(|pending| (pending, 0));
            } else if packer.fits(whole) {
                let pending = queue.pop().expect("there is a front");
                packer.whole(&pending);
            } else if packer.count == 0 && front.payload.len() > LEAST_PART {
                // The window is smaller than the message: it goes in parts. A short one waits until it fits whole.
                self.large = queue.pop().map(|pending| (pending, 0));
            } else {
                return;
            }
        }
    }
}

struct Packer {
    area: BytesMut,
    room: usize,
    count: u16,
    /// Messages that end in this batch.
    ended: u64,
    fragments: bool,
    /// The level of all messages in it.
    level: Option<Level>,
}

/// A part smaller than this is not worth a batch entry, unless it is the last one.
const LEAST_PART: usize = 256;

impl Packer {
    fn used(&self) -> usize {
        self.area.len() - HEADER_BYTES
    }

    fn fits(&self, entry: usize) -> bool {
        self.used() + entry <= self.room
    }

    fn put(&mut self, entry: &Entry<'_>) {
        entry.put(&mut self.area);
        self.level = Some(entry.level);
        self.count += 1;
        self.ended += u64::from(entry.ends_message());
    }

    fn whole(&mut self, pending: &Pending) {
        self.put(&Entry { level: pending.level, token: pending.token, fragment: None, payload: &pending.payload });
    }

    /// Adds the next part of a long message; answers how many bytes of it went in.
    fn part(&mut self, pending: &Pending, sent: usize) -> usize {
        let left = pending.payload.len() - sent;
        let overhead = Entry::encoded_len(0, pending.token, true);
        let room = self.room.saturating_sub(self.used() + overhead);
        let len = left.min(room);
        if len == 0 || (len < left && len < LEAST_PART) {
            return 0;
        }
        let fragment = Fragment { total: pending.payload.len() as u32, offset: sent as u32 };
        let payload = &pending.payload[sent..sent + len];
        self.put(&Entry { level: pending.level, token: pending.token, fragment: Some(fragment), payload });
        self.fragments = true;
        len
    }
}

/// Puts the parts of one stream's long message together. At most one is under way per stream.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Reassembly {
    parts: Option<BytesMut>,
    total: usize,
}

/// How far a long message has come at the end of a batch: nothing of one, or so many of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct UnderWay {
    pub(crate) reached: u32,
    pub(crate) total: u32,
}

/// Where a run comes from, for the events made of it.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) sender: &'a Arc<MemberRef>,
    pub(crate) view: ViewId,
    pub(crate) direct: bool,
    pub(crate) level: Level,
}

/// What a delivered run costs beside its bytes.
const RUN_OVERHEAD: usize = 128;

/// What a batch counts against the bound of the delivery queue.
pub(crate) fn cost_of(length: usize) -> usize {
    length + RUN_OVERHEAD
}

impl Reassembly {
    /// Turns an accepted batch into message events. Answers how many messages they hold.
    pub(crate) fn deliver(
        &mut self, source: &Source<'_>, header: &Header, frame: &Bytes, pool: &mut ChunkPool, events: &mut Vec<Event>,
    ) -> u64 {
        let area = frame.slice(HEADER_BYTES..);
        let cost = cost_of(area.len());
        let Source { sender, view, direct, level } = *source;
        let run = |first, body, cost| {
            let sender = Arc::clone(sender);
            Event::Messages(Messages { sender, view, direct, level, first, body, cost })
        };
        if header.flags & FLAG_FRAGMENTS == 0 {
            events.push(run(header.first_message, Body::Batch { area, count: header.count }, cost));
            return u64::from(header.count);
        }
        let mut number = header.first_message;
        for entry in Entries::new(&area, header.count).flatten() {
            let payload = match entry.fragment {
                None => Some(area.slice_ref(entry.payload)),
                Some(fragment) => self.add(fragment, entry.payload, pool),
            };
            if let Some(payload) = payload {
                let cost = cost_of(payload.len());
                events.push(run(number, Body::Single { payload, token: entry.token }, cost));
                number += 1;
            }
        }
        number - header.first_message
    }

    fn add(&mut self, fragment: Fragment, part: &[u8], pool: &mut ChunkPool) -> Option<Bytes> {
        self.total = fragment.total as usize;
        let whole = self.parts.get_or_insert_with(|| pool.memory(self.total));
        whole.extend_from_slice(part);
        if whole.len() < self.total { None } else { self.parts.take().map(BytesMut::freeze) }
    }

    /// Length of the message that is being put together; 0: none is.
    pub(crate) fn total(&self) -> usize {
        if self.parts.is_some() { self.total } else { 0 }
    }

    /// Drops what is incomplete: its sender sends it again in the next view (D6).
    pub(crate) fn clear(&mut self) {
        self.parts = None;
    }

    /// Bytes of the incomplete message.
    pub(crate) fn bytes(&self) -> usize {
        self.parts.as_ref().map_or(0, BytesMut::len)
    }
}

/// What a batch carries: messages of one level, or what the library itself has to say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    Messages(Level),
    Notice(Notice),
}

/// What the check of a batch finds out.
#[derive(Debug)]
pub(crate) struct Area {
    /// Messages that end in it.
    pub(crate) ended: u64,
    /// How far a message under way is at its end.
    pub(crate) at: UnderWay,
    /// Length of the longest message of which the first part, and not all, is in it.
    pub(crate) begins: u32,
    pub(crate) content: Content,
}

/// Checks the messages of a batch before it is accepted: every entry legal, and fragments following each other from where a message
/// under way has come.
pub(crate) fn check_area(header: &Header, area: &[u8], mut at: UnderWay) -> Result<Area, Malformed> {
    let mut begins = 0;
    let whole = at.reached == 0 && header.flags & FLAG_FRAGMENTS == 0;
    if whole && let Some(level) = batch::plain_level(area, header.count) {
        return Ok(Area { ended: header.count.into(), at, begins, content: Content::Messages(level) });
    }
    let mut ended = 0;
    let mut fragments = false;
    let mut level = None;
    if let Some(notice) = Notice::of(area, header.count) {
        return Ok(Area { ended, at, begins, content: Content::Notice(notice?) });
    }
    for entry in Entries::new(area, header.count) {
        let entry = entry?;
        match entry.fragment {
            Some(part) if part.offset == at.reached && (part.offset == 0 || part.total == at.total) => {
                fragments = true;
                begins = begins.max(if part.offset == 0 { part.total } else { 0 });
                let reached = part.offset + entry.payload.len() as u32;
                at = if entry.ends_message() { UnderWay::default() } else { UnderWay { reached, total: part.total } };
            }
            None if at.reached == 0 => {}
            _ => return Err(Malformed("fragments of a message do not follow each other")),
        }
        if *level.get_or_insert(entry.level) != entry.level {
            return Err(Malformed("messages of different levels in one batch"));
        }
        ended += u64::from(entry.ends_message());
    }
    if fragments != (header.flags & FLAG_FRAGMENTS != 0) {
        return Err(Malformed("the fragment flag of a batch is wrong"));
    }
    Ok(Area { ended, at, begins, content: Content::Messages(level.unwrap_or(Level::Fifo)) })
}

/// The messages of a frame of ours, to hand them back to the host.
pub(crate) fn entries_of(header: &Header, frame: &Bytes) -> VecDeque<(u64, Bytes)> {
    let area = frame.slice(batch::HEADER_BYTES..);
    Entries::new(&area, header.count)
        .flatten()
        .filter(|e| e.fragment.is_none())
        .map(|e| (e.token, area.slice_ref(e.payload)))
        .collect()
}

#[cfg(test)]
mod tests;
