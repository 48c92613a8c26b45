//! Receive chunks, and the frames that are cut out of them without copying.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::types::limits;
use crate::wire::{BATCH_TYPE, Malformed, batch, control};

/// A pool of chunks, the last one that came back before the others (R9).
///
/// The pool keeps an empty handle to every chunk it has given out. When the last slice of a chunk is dropped, on any
/// thread, the chunk can be reclaimed through that handle; nothing has to be sent back, and slices outlive the pool.
#[derive(Debug)]
pub(crate) struct ChunkPool {
    /// Chunks that were given out, the oldest first.
    out: VecDeque<BytesMut>,
    /// Chunks that are found to have come back, the last one at the end: what was written last is likeliest to be in the cache, and those at
    /// the front are touched only if there is need of them.
    free: Vec<BytesMut>,
    bound: usize,
    /// Bytes that were copied so as not to pin a chunk, or to make a frame whole.
    copied: u64,
}

impl Clone for ChunkPool {
    /// A pool of its own: what the other one has given out comes back to that one only.
    fn clone(&self) -> ChunkPool {
        ChunkPool::new(self.bound)
    }
}

impl std::hash::Hash for ChunkPool {
    /// Memory that may be used again says nothing of what its owner has to do.
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

/// How many handles are looked at on either side: the newest ones, which have come back at once where nothing is kept; and the oldest ones, which
/// are the first to come back where what comes is kept until it is stable. Some may stay out for long.
const LOOK_BACK: usize = 4;

impl ChunkPool {
    /// A pool that remembers at most `bound` chunks.
    pub(crate) fn new(bound: usize) -> ChunkPool {
        ChunkPool { out: VecDeque::new(), free: Vec::new(), bound, copied: 0 }
    }

    /// An empty chunk with at least [`limits::CHUNK_BYTES`] of room.
    pub(crate) fn take(&mut self) -> BytesMut {
        let mut anchor = self.newest().unwrap_or_else(|| {
            self.collect_oldest();
            self.free.pop().unwrap_or_else(|| BytesMut::with_capacity(limits::CHUNK_BYTES))
        });
        let chunk = anchor.split_off(0);
        if self.remembered() >= self.bound {
            // The coldest one of those that wait, or the one that has been out for longest.
            let forgotten = if self.free.is_empty() { self.out.pop_front() } else { Some(self.free.remove(0)) };
            drop(forgotten);
        }
        self.out.push_back(anchor);
        chunk
    }

    /// Memory for so many bytes: a chunk if they fill half of it or more, unless this pool keeps none. Shorter ones would keep memory that
    /// others want.
    pub(crate) fn memory(&mut self, bytes: usize) -> BytesMut {
        let fills = (limits::CHUNK_BYTES / 2..=limits::CHUNK_BYTES).contains(&bytes);
        if fills && self.bound > 0 { self.take() } else { BytesMut::with_capacity(bytes) }
    }

    /// One of the chunks that were given out last, if it has come back.
    fn newest(&mut self) -> Option<BytesMut> {
        let count = self.out.len();
        let back = |at: &usize| self.out[*at].try_reclaim(limits::CHUNK_BYTES);
        let at = (count.saturating_sub(LOOK_BACK)..count).rev().find(back)?;
        self.out.remove(at)
    }

    /// Collects those of the oldest chunks that have come back.
    fn collect_oldest(&mut self) {
        let mut at = 0;
        while at < self.out.len().min(LOOK_BACK) {
            match self.out[at].try_reclaim(limits::CHUNK_BYTES) {
                true => self.free.extend(self.out.remove(at)),
                false => at += 1,
            }
        }
    }

    /// Forgets chunks that nobody uses, so that an idle member gives its memory back.
    pub(crate) fn trim(&mut self) {
        self.free = Vec::new();
        self.out.retain_mut(|anchor| !anchor.try_reclaim(limits::CHUNK_BYTES));
    }

    /// Notes that so many bytes were copied.
    pub(crate) fn note_copy(&mut self, bytes: usize) {
        self.copied += bytes as u64;
    }

    /// Bytes that were copied so far.
    pub(crate) fn copied(&self) -> u64 {
        self.copied
    }

    /// Chunks that are out, or wait to be used again.
    pub(crate) fn remembered(&self) -> usize {
        self.out.len() + self.free.len()
    }
}

/// One frame inside a chunk.
#[derive(Clone, Debug)]
pub(crate) enum Frame {
    /// A batch: its header, and where the whole frame lies in the chunk.
    Batch { header: batch::Header, start: usize, end: usize },
    /// A control frame.
    Control { start: usize, end: usize },
}

/// Cuts the byte stream of one connection into whole frames.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Assembler {
    space: Option<BytesMut>,
    /// Bytes that the frame at the front needs in all, once its header is known.
    wanted: usize,
}

/// Smallest read worth a system call: below it, a new chunk is begun.
const LEAST_ROOM: usize = 4 * 1024;

/// Two of these do not fit a chunk.
const LONG_FRAME: usize = limits::CHUNK_BYTES / 2;

impl Assembler {
    /// Room to read into. An idle connection owns no chunk until it is asked for one.
    pub(crate) fn space(&mut self, pool: &mut ChunkPool) -> &mut BytesMut {
        let space = self.space.get_or_insert_with(|| pool.take());
        let room = space.capacity() - space.len();
        let lacking = self.wanted.saturating_sub(space.len());
        if room < LEAST_ROOM.max(lacking.min(limits::CHUNK_BYTES)) {
            // What is left of a frame moves to the front of a fresh chunk: at most one batch per chunk is copied.
            let mut fresh =
                if self.wanted > limits::CHUNK_BYTES { BytesMut::with_capacity(self.wanted) } else { pool.take() };
            fresh.extend_from_slice(space);
            pool.note_copy(space.len());
            *space = fresh;
        }
        space
    }

    /// Most bytes to read next: of a long frame no more than is lacking, and the header of the next one. What came behind it would have to move to
    /// another chunk.
    pub(crate) fn most(&self) -> usize {
        let has = self.space.as_ref().map_or(0, BytesMut::len);
        if self.wanted < LONG_FRAME { usize::MAX } else { self.wanted.saturating_sub(has) + batch::HEADER_BYTES }
    }

    /// Takes all whole frames that have come, as one chunk and the places of the frames in it. `bound` is the longest
    /// control frame that the peer may send now.
    pub(crate) fn frames(&mut self, bound: usize, out: &mut Vec<Frame>) -> Result<Bytes, Malformed> {
        let Some(space) = &mut self.space else { return Ok(Bytes::new()) };
        let mut at = 0;
        self.wanted = 0;
        while at < space.len() {
            match next_frame(space, at, bound)? {
                Next::Whole(frame, end) => {
                    out.push(frame);
                    at = end;
                }
                Next::Partial(wanted) => {
                    self.wanted = wanted;
                    break;
                }
            }
        }
        let chunk = space.split_to(at).freeze();
        if space.is_empty() {
            self.space = None;
        }
        Ok(chunk)
    }
}

enum Next {
    Whole(Frame, usize),
    Partial(usize),
}

fn next_frame(bytes: &[u8], start: usize, bound: usize) -> Result<Next, Malformed> {
    let rest = &bytes[start..];
    if rest[0] == BATCH_TYPE {
        let Some(raw) = rest.first_chunk::<{ batch::HEADER_BYTES }>() else {
            return Ok(Next::Partial(batch::HEADER_BYTES));
        };
        let header = batch::Header::decode(raw)?;
        let whole = batch::HEADER_BYTES + header.length as usize;
        let end = start + whole;
        return Ok(if rest.len() < whole {
            Next::Partial(whole)
        } else {
            Next::Whole(Frame::Batch { header, start, end }, end)
        });
    }
    let Some(raw) = rest.first_chunk::<{ control::HEADER_BYTES }>() else {
        return Ok(Next::Partial(control::HEADER_BYTES));
    };
    if !control::Control::TYPES.iter().any(|(t, _)| *t == raw[0]) {
        return Err(Malformed("unknown type of frame"));
    }
    let length = control::body_length(raw);
    if length > bound {
        return Err(Malformed("a control frame is longer than this peer may send"));
    }
    let whole = control::HEADER_BYTES + length;
    let end = start + whole;
    Ok(if rest.len() < whole { Next::Partial(whole) } else { Next::Whole(Frame::Control { start, end }, end) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::wire::control::Control;

    #[test]
    fn a_chunk_comes_back_when_its_last_slice_is_dropped() {
        let mut pool = ChunkPool::new(16);
        let mut chunk = pool.take();
        chunk.extend_from_slice(b"abc");
        let address = chunk.as_ptr();
        let slice = chunk.split_to(3).freeze();
        drop(chunk);
        assert_ne!(pool.take().as_ptr(), address, "a slice still holds the chunk");
        drop(slice);
        assert!((0..2).any(|_| {
            let c = pool.take();
            let same = c.as_ptr() == address;
            std::mem::forget(c);
            same
        }));
    }

    /// Chunks that were in use, by where they lie.
    fn addresses(chunks: impl Iterator<Item = BytesMut>) -> BTreeSet<usize> {
        chunks.map(|chunk| chunk.as_ptr() as usize).collect()
    }

    #[test]
    fn memory_is_used_again_in_any_order_in_which_it_comes_back() {
        let mut pool = ChunkPool::new(16);
        let mut kept: VecDeque<BytesMut> = (0..8).map(|_| pool.take()).collect();
        let at_once = addresses((0..100).map(|_| pool.take()));
        assert_eq!(at_once.len(), 1, "the newest comes back at once");
        let in_turn = addresses((0..100).map(|_| {
            kept.push_back(pool.take());
            kept.pop_front().expect("eight are kept")
        }));
        assert!(in_turn.len() <= 10, "the oldest comes back first: {} chunks", in_turn.len());
    }

    #[test]
    fn a_pool_remembers_no_more_than_its_bound() {
        let mut pool = ChunkPool::new(4);
        let kept: Vec<BytesMut> = (0..20).map(|_| pool.take()).collect();
        assert_eq!(pool.remembered(), 4);
        drop(kept);
        let again: Vec<BytesMut> = (0..20).map(|_| pool.take()).collect();
        assert_eq!((pool.remembered(), again.len()), (4, 20));
    }

    #[test]
    fn an_idle_pool_gives_back_what_nobody_uses_and_no_more() {
        let mut pool = ChunkPool::new(16);
        let kept = pool.take();
        drop((0..6).map(|_| pool.take()).collect::<Vec<_>>());
        pool.take();
        pool.trim();
        assert_eq!(pool.remembered(), 1, "one is in use");
        let address = kept.as_ptr();
        drop(kept);
        assert_eq!(pool.take().as_ptr(), address);
    }

    #[test]
    fn an_idle_pool_gives_back_also_what_waits_to_be_used_again() {
        let mut pool = ChunkPool::new(16);
        let old: Vec<BytesMut> = (0..2).map(|_| pool.take()).collect();
        let mut kept: Vec<BytesMut> = (0..5).map(|_| pool.take()).collect();
        drop(old);
        kept.push(pool.take());
        assert_eq!(pool.remembered(), 7, "one of the old ones waits");
        pool.trim();
        assert_eq!(pool.remembered(), kept.len());
    }

    #[test]
    fn only_what_fills_half_of_a_chunk_gets_one() {
        let bytes = [limits::CHUNK_BYTES / 2 - 1, limits::CHUNK_BYTES / 2, limits::CHUNK_BYTES];
        let chunks = |bound| bytes.map(|bytes| ChunkPool::new(bound).memory(bytes).capacity() >= limits::CHUNK_BYTES);
        assert_eq!(chunks(4), [false, true, true]);
        assert_eq!(chunks(0), [false, false, true], "none is used again, so nothing longer than what is wanted");
    }

    #[test]
    fn a_connection_at_rest_keeps_no_memory() {
        let (mut pool, mut assembler) = (ChunkPool::new(4), Assembler::default());
        assembler.space(&mut pool).extend_from_slice(&Control::Ping(1).encode());
        let chunk = assembler.frames(100, &mut Vec::new()).expect("a legal frame");
        let address = chunk.as_ptr();
        drop(chunk);
        assert_eq!(pool.take().as_ptr(), address);
    }

    #[test]
    fn a_frame_of_an_unknown_type_is_refused_before_it_is_whole() {
        let (mut pool, mut assembler) = (ChunkPool::new(4), Assembler::default());
        let mut frame = Control::Ping(1).encode().to_vec();
        (frame[0], frame[4]) = (0xee, 90);
        assembler.space(&mut pool).extend_from_slice(&frame);
        assert!(assembler.frames(100, &mut Vec::new()).is_err());
    }

    #[test]
    fn frames_are_cut_at_any_split() {
        let mut wire = Vec::new();
        for n in 0..5 {
            wire.extend_from_slice(&Control::Ping(n).encode());
        }
        for step in 1..wire.len() {
            let mut pool = ChunkPool::new(4);
            let mut assembler = Assembler::default();
            let mut seen = 0;
            for part in wire.chunks(step) {
                assembler.space(&mut pool).extend_from_slice(part);
                let mut frames = Vec::new();
                let chunk = assembler.frames(100, &mut frames).expect("legal frames");
                for frame in frames {
                    let Frame::Control { start, end } = frame else { panic!("a batch") };
                    assert_eq!(Control::decode(&chunk[start..end]), Ok(Control::Ping(seen)));
                    seen += 1;
                }
            }
            assert_eq!(seen, 5);
        }
    }

    /// A stream of batches of so many bytes, read as far as is asked for, or as far as there is room; how many bytes were copied.
    fn copied(bytes: usize, batches: usize, bounded: bool) -> u64 {
        let length = (bytes - batch::HEADER_BYTES) as u32;
        let (tag, sender, receiver) = (5, crate::types::Seat(1), crate::types::Seat::EVERYBODY);
        let header = batch::Header { flags: 0, count: 1, length, tag, sender, receiver, batch: 1, first_message: 1 };
        let wire = [&header.encode()[..], &vec![7; length as usize]].concat().repeat(batches);
        let (mut pool, mut assembler) = (ChunkPool::new(4), Assembler::default());
        let (mut rest, mut whole) = (&wire[..], 0);
        while !rest.is_empty() {
            let most = if bounded { assembler.most() } else { usize::MAX };
            let space = assembler.space(&mut pool);
            let (now, later) = rest.split_at((space.capacity() - space.len()).min(most).min(rest.len()));
            space.extend_from_slice(now);
            rest = later;
            let mut frames = Vec::new();
            assembler.frames(100, &mut frames).expect("legal frames");
            whole += frames.len();
        }
        assert_eq!((whole, assembler.most()), (batches, usize::MAX), "nothing is lacking");
        pool.copied()
    }

    #[test]
    fn of_long_batches_only_headers_move_to_the_next_chunk() {
        for bytes in [limits::CHUNK_BYTES / 2 + 1, 43_000, batch::HEADER_BYTES + limits::BATCH_BYTES] {
            let first = (limits::CHUNK_BYTES - bytes) as u64;
            assert!(copied(bytes, 20, true) <= first + 20 * batch::HEADER_BYTES as u64, "{bytes}");
            assert!(copied(bytes, 20, false) > copied(bytes, 20, true), "{bytes}");
        }
        assert_eq!(copied(5_000, 200, true), copied(5_000, 200, false), "of short ones many fit a chunk");
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_it_costs_anything() {
        let mut pool = ChunkPool::new(4);
        let mut assembler = Assembler::default();
        let mut frame = Control::Ping(1).encode().to_vec();
        frame[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assembler.space(&mut pool).extend_from_slice(&frame);
        assert!(assembler.frames(4096, &mut Vec::new()).is_err());
    }

    #[test]
    fn a_frame_as_long_as_the_bound_is_none_too_long() {
        let frame = Control::Ping(1).encode();
        let body = frame.len() - control::HEADER_BYTES;
        for (bound, legal) in [(body, true), (body - 1, false)] {
            let (mut pool, mut assembler) = (ChunkPool::new(4), Assembler::default());
            assembler.space(&mut pool).extend_from_slice(&frame);
            assert_eq!(assembler.frames(bound, &mut Vec::new()).is_ok(), legal);
        }
    }
}
