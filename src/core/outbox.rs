//! Accepted sends that have no batch yet. The host's side of the hand-over fills it, the core empties it.
//!
//! What it decides (bounds, "again", order) is decided here, so that the simulator sees it; the runtime only
//! puts a lock around it. Each stream has a queue and a bound of its own: a member that takes nothing
//! cannot keep messages to everybody from being sent.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::buffers::ChunkPool;
use super::packing::{Block, PACKED_BYTES};
use super::sessions::SessionRequest;
use crate::types::{Code, Incarnation, limits};
use crate::wire::batch::{HEADER_BYTES, Level};

/// For whom a message is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum To {
    /// Every other member of the view.
    Everybody,
    /// One member of the current view.
    Member(Incarnation),
}

/// One accepted send.
#[derive(Clone, Hash, Debug)]
pub struct Pending {
    /// How (D4).
    pub level: Level,
    /// The host's token, 0 = none.
    pub token: u64,
    /// What.
    pub payload: Bytes,
}

/// What a send is answered with now.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Gate {
    /// Sends are accepted.
    Open,
    /// No view yet.
    NotReady,
    /// A minority.
    NotPrimary,
    /// The member has ended or is leaving.
    Closed,
    /// It is a witness.
    Witness,
}

impl Gate {
    /// What a send is answered with.
    pub(super) fn answer(self) -> Code {
        match self {
            Gate::Open => Code::Ok,
            Gate::NotReady => Code::NotReady,
            Gate::NotPrimary => Code::NotPrimary,
            Gate::Closed => Code::Closed,
            Gate::Witness => Code::Unsupported,
        }
    }
}

/// Bounded queues of accepted sends, one per stream, each in order.
#[derive(Clone, Hash, Debug)]
pub struct Outbox {
    everybody: Queue,
    members: BTreeMap<Incarnation, Queue>,
    /// Where long blocks lie.
    pool: ChunkPool,
    bound: usize,
    message_bound: usize,
    gate: Gate,
    /// A stream in which a send was answered with `Again` is gone: a `Writable` event is due.
    starved_gone: bool,
    /// Messages that may be lost, their bytes, and those of the longest.
    loose: VecDeque<Loose>,
    loose_bytes: usize,
    loose_bound: usize,
    loose_starved: bool,
    /// What hosts want of sessions.
    requests: VecDeque<SessionRequest>,
    request_bytes: usize,
    /// A request was answered with `Again`.
    requests_starved: bool,
}

/// A message in a datagram of its own.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Loose {
    pub(crate) to: To,
    pub(crate) token: u64,
    pub(crate) payload: Bytes,
}

/// The queue of one stream.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Queue {
    sends: VecDeque<Part>,
    bytes: usize,
    /// Most bytes of a block, and of a message that goes into one.
    block_bytes: usize,
    packed_bytes: usize,
    /// How long the next block becomes, probably: as the last one, or half as long as was expected of that.
    usual: usize,
    /// What claims have reserved: their lengths, each with what a message costs beside its payload.
    reserved: usize,
    /// The shortest message that was answered with `Again`: a `Writable` event is due once this stream has room for it, whatever others have.
    starved: Option<usize>,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue {
            sends: VecDeque::new(),
            bytes: 0,
            block_bytes: limits::BATCH_BYTES,
            packed_bytes: PACKED_BYTES,
            usual: 0,
            reserved: 0,
            starved: None,
        }
    }
}

/// Some of what waits in a queue.
#[derive(Clone, Hash, Debug)]
pub(crate) enum Part {
    /// Messages that are packed already.
    Packed(Block),
    /// One message as it was handed over.
    Whole(Pending),
}

/// A payload that is offered.
#[derive(Clone, Debug)]
pub enum Payload<'a> {
    /// To be copied.
    Borrowed(&'a [u8]),
    /// To be kept as it is if it is long, else copied.
    Owned(Bytes),
}

impl Payload<'_> {
    /// Its bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Payload::Borrowed(bytes) => bytes,
            Payload::Owned(bytes) => bytes,
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Payload::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Payload::Owned(bytes) => bytes,
        }
    }
}

/// Long blocks whose return is waited for.
const POOL_CHUNKS: usize = 64;

/// What an accepted send costs beside its payload.
pub const PENDING_OVERHEAD: usize = 64;

impl Outbox {
    /// An empty outbox, closed until the first view. `bound` is in bytes per stream.
    pub fn new(bound: usize, message_bound: usize) -> Outbox {
        Outbox {
            everybody: Queue::default(),
            members: BTreeMap::new(),
            pool: ChunkPool::new(POOL_CHUNKS),
            bound,
            message_bound,
            gate: Gate::NotReady,
            starved_gone: false,
            loose: VecDeque::new(),
            loose_bytes: 0,
            loose_bound: 0,
            loose_starved: false,
            requests: VecDeque::new(),
            request_bytes: 0,
            requests_starved: false,
        }
    }

    /// Accepts a request about a session, or says why not. `Code::Ok`: an answer will come.
    pub fn ask(&mut self, request: SessionRequest) -> Code {
        if self.gate != Gate::Open {
            return self.gate.answer();
        }
        if self.request_bytes > 0 && self.request_bytes + request.bytes() > self.bound {
            self.requests_starved = true;
            return Code::Again;
        }
        self.request_bytes += request.bytes();
        self.requests.push_back(request);
        Code::Ok
    }

    /// The next thing that hosts want of sessions.
    pub(crate) fn take_session_request(&mut self) -> Option<SessionRequest> {
        let request = self.requests.pop_front()?;
        self.request_bytes -= request.bytes();
        Some(request)
    }

    /// How many things hosts want of sessions that were not taken yet.
    pub fn session_requests(&self) -> usize {
        self.requests.len()
    }

    /// What a message is answered with now, before anything of it is copied. After `Again` a `Writable` event is due.
    #[inline(always)]
    pub fn answer(&mut self, to: To, level: Level, len: usize) -> Code {
        if self.gate != Gate::Open {
            return self.gate.answer();
        }
        if level == Level::Unreliable { self.answer_loose(len) } else { self.answer_stream(to, len) }
    }

    #[inline]
    fn answer_stream(&mut self, to: To, len: usize) -> Code {
        if len > self.message_bound {
            return Code::TooLarge;
        }
        let bound = self.bound;
        match self.queue(to) {
            Some(queue) if !queue.has_room(len, bound) => {
                queue.starved = Some(queue.starved.map_or(len, |least| least.min(len)));
                Code::Again
            }
            _ => Code::Ok,
        }
    }

    /// Accepts a message, or says why not. `Code::Ok` means accepted in order (D7); otherwise nothing was taken.
    #[inline(always)]
    pub fn push(&mut self, to: To, level: Level, token: u64, payload: Payload<'_>) -> Code {
        let answer = self.answer(to, level, payload.as_slice().len());
        if answer == Code::Ok {
            if level == Level::Unreliable {
                self.push_loose(to, token, payload);
                return answer;
            }
            let (queue, pool) = self.queue_and_pool(to);
            match payload.as_slice().len() <= queue.packed_bytes {
                true => queue.pack(level, token, payload.as_slice(), pool),
                false => queue.push(Pending { level, token, payload: payload.into_bytes() }),
            }
        }
        answer
    }

    /// The queue of a stream, also of one in which nothing was ever sent, and where long blocks lie.
    #[inline]
    pub(super) fn queue_and_pool(&mut self, to: To) -> (&mut Queue, &mut ChunkPool) {
        let queue = match to {
            To::Everybody => &mut self.everybody,
            To::Member(member) => self.members.entry(member).or_default(),
        };
        (queue, &mut self.pool)
    }

    #[cold]
    fn push_loose(&mut self, to: To, token: u64, payload: Payload<'_>) {
        self.loose_bytes += payload.as_slice().len() + PENDING_OVERHEAD;
        self.loose.push_back(Loose { to, token, payload: payload.into_bytes() });
    }

    /// What may be lost waits only until the next turn; it is not taken beyond the bound all the same.
    #[cold]
    fn answer_loose(&mut self, len: usize) -> Code {
        if len > self.loose_bound {
            return Code::TooLarge;
        }
        let room = self.loose.is_empty() || self.loose_bytes + len + PENDING_OVERHEAD <= self.bound;
        self.loose_starved |= !room;
        if room { Code::Ok } else { Code::Again }
    }

    /// Bytes of the longest message that may be sent in a datagram of its own.
    pub fn loose_bound(&self) -> usize {
        self.loose_bound
    }

    /// Takes the messages that may be lost.
    pub(crate) fn take_loose(&mut self) -> VecDeque<Loose> {
        self.loose_bytes = 0;
        std::mem::take(&mut self.loose)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.loose.is_empty() && self.queues().all(Queue::is_empty) && self.requests.is_empty()
    }

    /// Bytes that wait in all streams, overhead included.
    pub fn bytes(&self) -> usize {
        self.queues().map(|q| q.bytes).sum()
    }

    fn queues(&self) -> impl Iterator<Item = &Queue> {
        std::iter::once(&self.everybody).chain(self.members.values())
    }

    /// Gives memory back that nothing is in any more.
    pub(crate) fn trim(&mut self) {
        self.pool.trim();
        self.members.retain(|_, queue| !queue.is_unused());
    }

    /// Whether nothing waits in a stream: who offers the first message wakes the member.
    #[inline]
    pub fn is_idle(&self, to: To, level: Level) -> bool {
        match to {
            _ if level == Level::Unreliable => self.loose.is_empty(),
            To::Everybody => self.everybody.is_empty(),
            To::Member(member) => self.members.get(&member).is_none_or(Queue::is_empty),
        }
    }

    /// What sends are answered with now.
    pub fn gate(&self) -> Gate {
        self.gate
    }

    /// Bytes that may wait in one stream.
    pub(super) fn bound(&self) -> usize {
        self.bound
    }

    pub(crate) fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
    }

    /// What goes to everybody is packed for batches of at most so many bytes; a message in a datagram of its own has no more than so many.
    pub(crate) fn bound_batches(&mut self, bytes: usize, loose: usize) {
        (self.everybody.block_bytes, self.everybody.packed_bytes) = (bytes, PACKED_BYTES.min(bytes / 2));
        self.loose_bound = loose;
    }

    pub(crate) fn queue(&mut self, to: To) -> Option<&mut Queue> {
        match to {
            To::Everybody => Some(&mut self.everybody),
            To::Member(member) => self.members.get_mut(&member),
        }
    }

    /// Streams in which something waits.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = To> {
        let everybody = (!self.everybody.is_empty()).then_some(To::Everybody);
        let members = self.members.iter().filter(|(_, q)| !q.is_empty()).map(|(to, _)| To::Member(*to));
        everybody.into_iter().chain(members)
    }

    /// Takes everything of a stream, to hand it back to the host. What claims have reserved stays until they end.
    pub(crate) fn withdraw(&mut self, to: To) -> VecDeque<Pending> {
        let mut gone = match to {
            To::Everybody => {
                let Queue { block_bytes, packed_bytes, reserved, .. } = self.everybody;
                let rest = Queue { block_bytes, packed_bytes, reserved, ..Queue::default() };
                std::mem::replace(&mut self.everybody, rest)
            }
            To::Member(member) => {
                let gone = self.members.remove(&member).unwrap_or_default();
                if gone.reserved > 0 {
                    self.members.insert(member, Queue { reserved: gone.reserved, ..Queue::default() });
                }
                gone
            }
        };
        self.starved_gone |= gone.starved.is_some();
        std::iter::from_fn(|| gone.pop()).collect()
    }

    /// Takes out what nobody will send any more, for the caller to drop. What claims have reserved stays until they end.
    pub fn drain(&mut self) -> impl Sized + use<> {
        let queues = std::iter::once(&mut self.everybody).chain(self.members.values_mut());
        let parts = |queue: &mut Queue| {
            queue.bytes = 0;
            std::mem::take(&mut queue.sends)
        };
        (queues.map(parts).collect::<Vec<_>>(), self.take_loose())
    }

    /// Forgets the queue of a member in which nothing is.
    pub(super) fn forget_unused(&mut self, to: To) {
        if let To::Member(member) = to
            && self.members.get(&member).is_some_and(Queue::is_unused)
        {
            self.members.remove(&member);
        }
    }

    /// Whether a starved sender can be told to try again: what it wanted has room in its queue, which is no more than half full (of what
    /// claims have left), or gone.
    pub(crate) fn take_writable(&mut self) -> bool {
        if self.gate != Gate::Open {
            return false;
        }
        let mut writable = std::mem::take(&mut self.starved_gone);
        if self.loose_starved && self.loose.is_empty() {
            self.loose_starved = false;
            writable = true;
        }
        if self.requests_starved && self.request_bytes <= self.bound / 2 {
            self.requests_starved = false;
            writable = true;
        }
        let queues = std::iter::once(&mut self.everybody).chain(self.members.values_mut());
        for queue in queues.filter(|q| q.is_writable_due(self.bound)) {
            queue.starved = None;
            writable = true;
        }
        writable
    }
}

impl Queue {
    /// Whether it can be forgotten.
    fn is_unused(&self) -> bool {
        self.is_empty() && self.reserved == 0 && self.starved.is_none()
    }

    /// Accepts a message as it is.
    pub(crate) fn push(&mut self, pending: Pending) {
        self.bytes += pending.payload.len() + PENDING_OVERHEAD;
        self.sends.push_back(Part::Whole(pending));
    }

    /// Whether a message has room. An empty queue takes any legal one, so that one larger than the bound can be sent at all.
    #[inline]
    fn has_room(&self, len: usize, bound: usize) -> bool {
        let held = self.bytes + self.reserved;
        held == 0 || held + len + PENDING_OVERHEAD <= bound
    }

    fn is_writable_due(&self, bound: usize) -> bool {
        let half = bound.saturating_sub(self.reserved) / 2;
        self.starved.is_some_and(|least| self.bytes <= half && self.has_room(least, bound))
    }

    /// Counts a message that is still to be written.
    pub(super) fn reserve(&mut self, len: usize) {
        self.reserved += len + PENDING_OVERHEAD;
    }

    /// Ends that. Answers whether somebody who was told `Again` has room by it.
    pub(super) fn release(&mut self, len: usize, bound: usize) -> bool {
        self.reserved -= len + PENDING_OVERHEAD;
        self.is_writable_due(bound)
    }

    /// Accepts a block that was made elsewhere.
    pub(super) fn push_block(&mut self, block: Block) {
        self.bytes += block.payload_bytes + usize::from(block.count) * PENDING_OVERHEAD;
        self.sends.push_back(Part::Packed(block));
    }

    /// Most bytes of a block, and of a message that is packed into one.
    pub(super) fn block_bounds(&self) -> (usize, usize) {
        (self.block_bytes, self.packed_bytes)
    }

    /// Accepts a message of at most [`PACKED_BYTES`] as part of a batch to be.
    #[inline]
    pub(super) fn pack(&mut self, level: Level, token: u64, payload: &[u8], pool: &mut ChunkPool) {
        self.bytes += payload.len() + PENDING_OVERHEAD;
        if let Some(Part::Packed(block)) = self.sends.back_mut()
            && block.push(level, token, payload)
        {
            return;
        }
        self.pack_anew(level, token, payload, self.usual, pool);
    }

    /// The same with what is not to leave gaps in the heap: what waits lies in chunks of the pool.
    pub(crate) fn pack_densely(&mut self, payload: &[u8], pool: &mut ChunkPool) {
        self.usual = limits::BATCH_BYTES;
        self.pack(Level::Fifo, 0, payload, pool);
    }

    #[cold]
    fn pack_anew(&mut self, level: Level, token: u64, payload: &[u8], probably: usize, pool: &mut ChunkPool) {
        let mut block = Block::new(level, self.block_bytes, probably, pool);
        let fits = block.push(level, token, payload);
        assert!(fits, "a packed message fits an empty block");
        self.sends.push_back(Part::Packed(block));
    }

    /// What the messages that wait count, each with what it costs beside its payload.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sends.is_empty()
    }

    pub(crate) fn front(&self) -> Option<&Part> {
        self.sends.front()
    }

    /// Takes the first message out.
    pub(crate) fn pop(&mut self) -> Option<Pending> {
        let pending = match self.sends.front_mut()? {
            Part::Whole(_) => match self.sends.pop_front() {
                Some(Part::Whole(pending)) => pending,
                _ => return None,
            },
            Part::Packed(block) => {
                let pending = block.pop()?;
                if block.count == 0 {
                    self.sends.pop_front();
                }
                pending
            }
        };
        self.bytes -= pending.payload.len() + PENDING_OVERHEAD;
        Some(pending)
    }

    /// Takes the first block, or as many of its messages as fit into `room`. `None` if not even one does, or no block comes first.
    pub(crate) fn take_block(&mut self, room: usize) -> Option<Block> {
        let Some(Part::Packed(block)) = self.sends.front_mut() else { return None };
        let taken = if block.bytes() <= room {
            let Some(Part::Packed(whole)) = self.sends.pop_front() else { return None };
            // A short one among long ones does not make the next ones grow again, which copies them.
            self.usual = (HEADER_BYTES + whole.bytes()).max(self.usual / 2);
            whole
        } else {
            block.split(room)?
        };
        self.bytes -= taken.payload_bytes + usize::from(taken.count) * PENDING_OVERHEAD;
        Some(taken)
    }
}

#[cfg(test)]
mod tests;
