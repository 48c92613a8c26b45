//! Messages packed as they are accepted: a block is the message area of a batch to be, with room for its header before it (R2, R12).
//!
//! So a message costs no allocation of its own, and nothing is copied when the batch is made.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::buffers::ChunkPool;
use super::outbox::Pending;
use crate::types::limits;
use crate::wire::batch::{Entries, Entry, HEADER_BYTES, Level};

/// Longer messages are kept as they are, and copied once more into their batches: what is saved by packing them is less than what is lost
/// where they do not fit.
pub const PACKED_BYTES: usize = 16 * 1024;
/// The shortest block.
const LEAST_BYTES: usize = 256;

/// Accepted messages of one level, in order.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Block {
    /// Room for a header, then the entries.
    frame: BytesMut,
    pub(crate) count: u16,
    /// Bytes of their payloads.
    pub(crate) payload_bytes: usize,
    pub(crate) level: Level,
    /// Bytes of a full one.
    most: usize,
    /// Bytes of a message that its host has written here.
    pub(crate) in_place: usize,
}

impl Block {
    /// An empty block for at most `bound` bytes that will probably become so long; a long one lies in a chunk of the pool.
    pub(crate) fn new(level: Level, bound: usize, probably: usize, pool: &mut ChunkPool) -> Block {
        let (most, probably) = (HEADER_BYTES + bound, probably.min(HEADER_BYTES + bound));
        let mut frame = if probably > limits::BATCH_BYTES / 2 {
            pool.take()
        } else {
            BytesMut::with_capacity(probably.max(LEAST_BYTES))
        };
        frame.put_bytes(0, HEADER_BYTES);
        Block { frame, count: 0, payload_bytes: 0, level, most, in_place: 0 }
    }

    /// A block of one message that was written where it lies, behind room for a header and its prefix. It takes further ones only as far as
    /// its memory reaches, so that this one is never copied.
    pub(crate) fn written(level: Level, frame: BytesMut, payload_bytes: usize, bound: usize) -> Block {
        let most = frame.capacity().min(HEADER_BYTES + bound);
        Block { frame, count: 1, payload_bytes, level, most, in_place: payload_bytes }
    }

    /// Appends a message, unless it has no place here.
    #[inline]
    pub(crate) fn push(&mut self, level: Level, token: u64, payload: &[u8]) -> bool {
        let long = Entry::encoded_len(payload.len(), token, false);
        if level != self.level || self.frame.len() + long > self.most || self.count == u16::MAX {
            return false;
        }
        if self.frame.capacity() - self.frame.len() < long {
            self.grow(long);
        }
        Entry { level, token, fragment: None, payload }.put(&mut self.frame);
        self.count += 1;
        self.payload_bytes += payload.len();
        true
    }

    /// Twice as long, and never longer than a full one: it stays until everybody has it.
    #[cold]
    fn grow(&mut self, lacking: usize) {
        let wanted = (self.frame.capacity() * 2).max(self.frame.len() + lacking).min(self.most);
        let mut frame = BytesMut::with_capacity(wanted);
        frame.extend_from_slice(&self.frame);
        self.frame = frame;
    }

    /// Bytes of its entries.
    pub(crate) fn bytes(&self) -> usize {
        self.frame.len() - HEADER_BYTES
    }

    /// The whole block as the frame of a batch, its header to be written. What covers under a quarter of a chunk does not pin it until
    /// everybody has it (R10).
    pub(crate) fn into_frame(self) -> BytesMut {
        let pins = self.frame.capacity() >= limits::CHUNK_BYTES && self.frame.len() < limits::CHUNK_BYTES / 4;
        if pins { BytesMut::from(&self.frame[..]) } else { self.frame }
    }

    /// Cuts as many messages from the front as fit into `room`, as a block of their own; `None` if not even the first one does.
    pub(crate) fn split(&mut self, room: usize) -> Option<Block> {
        let (mut used, mut count, mut payload_bytes) = (0, 0, 0);
        for entry in self.entries() {
            let long = Entry::encoded_len(entry.payload.len(), entry.token, false);
            if used + long > room {
                break;
            }
            used += long;
            count += 1;
            payload_bytes += entry.payload.len();
        }
        if count == 0 {
            return None;
        }
        let mut frame = BytesMut::with_capacity(HEADER_BYTES + used);
        frame.extend_from_slice(&self.frame[..HEADER_BYTES + used]);
        self.drop_front(used, count, payload_bytes);
        Some(Block { frame, count, payload_bytes, level: self.level, most: self.most, in_place: 0 })
    }

    /// Takes the first message out.
    pub(crate) fn pop(&mut self) -> Option<Pending> {
        let entry = self.entries().next()?;
        let used = Entry::encoded_len(entry.payload.len(), entry.token, false);
        let (level, token, len) = (entry.level, entry.token, entry.payload.len());
        let payload = if self.count == 1 && len > PACKED_BYTES {
            // Nothing else is in its memory.
            let frame = std::mem::take(&mut self.frame).freeze();
            (self.count, self.payload_bytes) = (0, 0);
            frame.slice(frame.len() - len..)
        } else {
            let payload = Bytes::copy_from_slice(entry.payload);
            self.drop_front(used, 1, len);
            payload
        };
        Some(Pending { level, token, payload })
    }

    /// What was cut off leaves the room for the next header.
    fn drop_front(&mut self, used: usize, count: u16, payload_bytes: usize) {
        self.frame.advance(used);
        self.frame[..HEADER_BYTES].fill(0);
        self.count -= count;
        self.payload_bytes -= payload_bytes;
        // It was the first one.
        self.in_place = 0;
    }

    /// The first message.
    pub(crate) fn front(&self) -> Option<Entry<'_>> {
        self.entries().next()
    }

    /// All messages.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        Entries::new(&self.frame[HEADER_BYTES..], self.count).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payloads(block: &Block) -> Vec<&[u8]> {
        block.entries().map(|entry| entry.payload).collect()
    }

    #[test]
    fn a_block_takes_what_fits_a_batch_and_is_cut_between_messages() {
        let mut block = Block::new(Level::Fifo, limits::BATCH_BYTES, 0, &mut ChunkPool::new(1));
        assert!(!block.push(Level::Safe, 0, b"of another level"));
        assert!(
            block.push(Level::Fifo, 0, b"one") && block.push(Level::Fifo, 7, b"two") && block.push(Level::Fifo, 0, b"")
        );
        assert_eq!(block.bytes(), 8 + 3 + 16 + 3 + 8);
        assert!(block.split(10).is_none(), "not even the first one fits");
        let first = block.split(29).expect("the first one fits, the second lacks a byte");
        assert_eq!((payloads(&first), payloads(&block)), (vec![&b"one"[..]], vec![&b"two"[..], b""]));
        assert_eq!((block.front().map(|e| e.token), block.count, first.count), (Some(7), 2, 1));
        let two = block.pop().expect("there is one");
        assert_eq!((two.token, &two.payload[..], payloads(&block)), (7, &b"two"[..], vec![&b""[..]]));
        assert_eq!(block.into_frame(), [&[0; HEADER_BYTES][..], &[0, 0, 0, 0, 1, 0, 0, 0]].concat());
    }

    #[test]
    fn a_short_block_does_not_pin_a_chunk() {
        let mut pool = ChunkPool::new(1);
        let mut frame_of = |messages: usize| {
            let mut block = Block::new(Level::Fifo, limits::BATCH_BYTES, limits::BATCH_BYTES, &mut pool);
            (0..messages).for_each(|_| assert!(block.push(Level::Fifo, 0, &[5; 1_000])));
            block.into_frame()
        };
        let short = frame_of(3);
        assert_eq!(short.len(), HEADER_BYTES + 3 * 1_008);
        assert!(short.capacity() < limits::CHUNK_BYTES / 4 && short[HEADER_BYTES + 8..][..1_000] == [5; 1_000]);
        assert!(frame_of(20).capacity() >= limits::CHUNK_BYTES);
    }

    #[test]
    fn a_block_grows_to_a_full_batch_and_no_further() {
        let mut block = Block::new(Level::Agreed, limits::BATCH_BYTES, 0, &mut ChunkPool::new(1));
        while block.push(Level::Agreed, 0, &[5; 100]) {}
        assert_eq!(usize::from(block.count), limits::BATCH_BYTES / 108);
        assert!(block.frame.capacity() <= HEADER_BYTES + limits::BATCH_BYTES, "{}", block.frame.capacity());
        assert!(payloads(&block).iter().all(|payload| *payload == [5; 100]));
    }

    #[test]
    fn a_block_takes_what_fits_to_the_byte_wherever_its_first_message_was_written() {
        let bound = 3 * (8 + 100);
        let empty = Block::new(Level::Fifo, bound, 0, &mut ChunkPool::new(1));
        // Written where it lies, in memory that reaches further than a batch.
        let mut memory = BytesMut::with_capacity(HEADER_BYTES + 2 * bound);
        memory.put_bytes(0, HEADER_BYTES);
        Entry { level: Level::Fifo, token: 0, fragment: None, payload: &[5; 100] }.put(&mut memory);
        for (mut block, further) in [(empty, 3), (Block::written(Level::Fifo, memory, 100, bound), 2)] {
            (0..further).for_each(|_| assert!(block.push(Level::Fifo, 0, &[5; 100])));
            assert_eq!(block.bytes(), bound);
            assert!(!block.push(Level::Fifo, 0, b""), "it is full");
        }
    }

    #[test]
    fn what_is_cut_off_a_block_takes_its_bytes_along() {
        let mut block = Block::new(Level::Fifo, limits::BATCH_BYTES, 0, &mut ChunkPool::new(1));
        (1..=4).for_each(|number| assert!(block.push(Level::Fifo, 0, &vec![5; 10 * number])));
        let first = block.split(8 + 10 + 8 + 20).expect("two fit to the byte");
        assert_eq!((first.count, first.payload_bytes), (2, 10 + 20));
        assert_eq!((block.count, block.payload_bytes), (2, 30 + 40));
    }

    #[test]
    fn a_long_message_that_has_its_memory_for_itself_leaves_it_without_a_copy() {
        let lies_at = |length: usize| {
            let mut block = Block::new(Level::Fifo, limits::BATCH_BYTES, 0, &mut ChunkPool::new(1));
            assert!(block.push(Level::Fifo, 0, &vec![5; length]));
            let there = block.front().expect("it was put there").payload.as_ptr();
            (there, block.pop().expect("it is still there").payload.as_ptr())
        };
        let (before, after) = lies_at(PACKED_BYTES + 1);
        assert_eq!(before, after);
        let (before, after) = lies_at(PACKED_BYTES);
        assert_ne!(before, after, "a short one would keep memory for a whole block alive");
    }
}
