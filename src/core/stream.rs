//! One sender's stream to everybody: what of it is held, taken and kept for others.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::builder::{Reassembly, UnderWay};
use super::io::MemberRef;
use super::plant::{Plant, Plants};
use super::tree;
use crate::types::{Index, View};
use crate::wire::batch::{Header, Level};

/// One sender's stream as this member holds it.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Stream {
    pub(crate) sender: Arc<MemberRef>,
    /// Last batch held, without a gap.
    pub(crate) accepted: u64,
    /// Last batch that went into the host's queue.
    pub(crate) taken: u64,
    /// Last batch that every ready member has taken, and we, too.
    pub(crate) stable: u64,
    /// The same without us: it may be said before we take what has a place in the order of all, or are ready.
    pub(super) told_stable: u64,
    /// Last batch that every ready member holds, as far as that is looked at.
    pub(crate) held_by_all: u64,
    /// Last batch that may be taken: while the view ends, nothing beyond what was held at the first promise.
    pub(crate) bound: u64,
    /// Number of the first message of the next batch; unknown until the first batch a joiner gets.
    pub(super) next_message: Option<u64>,
    /// How far a message under way has come, at the end of `accepted`.
    pub(super) at: UnderWay,
    retained: VecDeque<Retained>,
    /// Bytes of the whole stream up to `accepted`.
    pub(super) bytes: u64,
    pub(super) reassembly: Reassembly,
    /// The next hops of its batches from us, and who gives them to us (R6).
    pub(crate) hops: Vec<Index>,
    pub(crate) upstream: Option<Index>,
    /// Who must have the batches from us: all next hops, or by multicast those that do not hear the sender.
    pub(crate) targets: Vec<Index>,
}

#[derive(Clone, Hash, Debug)]
pub(super) struct Retained {
    pub(super) header: Header,
    pub(super) level: Level,
    pub(super) frame: Bytes,
    /// Bytes of the stream up to and with this batch.
    end: u64,
}

impl Stream {
    /// Nothing of it has come yet.
    pub(super) fn new(view: &View, me: Index, s: Index, plants: Plants) -> Stream {
        let hops = if plants.has(Plant::CarryToWitness) { tree::all(view, me, s) } else { tree::targets(view, me, s) };
        Stream {
            sender: Arc::new(MemberRef::from(&view.members[s])),
            accepted: 0,
            taken: 0,
            stable: 0,
            told_stable: 0,
            held_by_all: 0,
            bound: u64::MAX,
            next_message: None,
            at: UnderWay::default(),
            retained: VecDeque::new(),
            bytes: 0,
            reassembly: Reassembly::default(),
            targets: hops.clone(),
            hops,
            upstream: tree::upstream(view, me, s),
        }
    }

    /// Nobody needs its batches from us any more: they come by multicast.
    pub(super) fn by_multicast(self) -> Stream {
        Stream { targets: Vec::new(), ..self }
    }

    /// Bytes of the stream that lie after `batch`.
    pub(crate) fn bytes_after(&self, batch: u64) -> u64 {
        let Some(front) = self.retained.front() else { return 0 };
        let before_front = front.end - front.frame.len() as u64;
        match batch.checked_sub(front.header.batch) {
            None => self.bytes - before_front,
            Some(at) => self.retained.get(at as usize).map_or(0, |r| self.bytes - r.end),
        }
    }

    /// Bytes of the stream after one batch up to and with another, as far as they are kept.
    pub(crate) fn bytes_between(&self, after: u64, upto: u64) -> u64 {
        self.bytes_after(after).saturating_sub(self.bytes_after(upto))
    }

    /// Whether something waits to be taken that may be.
    pub(crate) fn is_behind(&self) -> bool {
        self.taken < self.accepted.min(self.bound)
    }

    /// What is to be taken next, if something is.
    pub(super) fn next(&self) -> Option<&Retained> {
        let front = self.retained.front().filter(|_| self.is_behind())?;
        self.retained.get((self.taken + 1).saturating_sub(front.header.batch) as usize)
    }

    /// The level of what is to be taken next.
    pub(crate) fn next_level(&self) -> Option<Level> {
        self.next().map(|next| next.level)
    }

    /// Length of the message that is under way at the end of what is held, and of the one that is being put together; 0: none.
    pub(crate) fn under_way(&self) -> usize {
        self.at.total as usize
    }

    pub(crate) fn reassembly_total(&self) -> usize {
        self.reassembly.total()
    }

    pub(crate) fn retained_bytes(&self) -> u64 {
        self.retained.front().map_or(0, |front| self.bytes - (front.end - front.frame.len() as u64))
    }

    pub(super) fn keep(&mut self, header: Header, level: Level, frame: Bytes, ended: u64, at: UnderWay) {
        // Batches are found by how far they are from the first one that is kept.
        let follows = self.retained.back().is_none_or(|last| last.header.batch + 1 == header.batch);
        assert!(follows, "a batch is kept that does not follow the one before");
        self.bytes += frame.len() as u64;
        self.accepted = header.batch;
        self.next_message = Some(header.first_message + ended);
        self.at = at;
        self.retained.push_back(Retained { header, level, frame, end: self.bytes });
    }

    /// Drops what everybody has taken, and we. Answers how many bytes that were.
    pub(super) fn forget_stable(&mut self) -> u64 {
        let stable = self.told_stable.min(self.taken);
        if stable <= self.stable {
            return 0;
        }
        self.stable = stable;
        self.forget_up_to(stable)
    }

    pub(super) fn forget_up_to(&mut self, batch: u64) -> u64 {
        let mut bytes = 0;
        while self.retained.front().is_some_and(|r| r.header.batch <= batch) {
            bytes += self.retained.pop_front().map_or(0, |r| r.frame.len() as u64);
        }
        bytes
    }

    /// The oldest batch that is kept, or the next one.
    pub(crate) fn oldest(&self) -> u64 {
        self.retained.front().map_or(self.accepted + 1, |r| r.header.batch)
    }

    /// A batch that is kept.
    pub(crate) fn frame(&self, batch: u64) -> Option<&Bytes> {
        let at = batch.checked_sub(self.oldest())?;
        self.retained.get(at as usize).map(|r| &r.frame)
    }

    pub(crate) fn frames_from(&self, batch: u64) -> impl Iterator<Item = &Bytes> {
        self.retained.iter().skip_while(move |r| r.header.batch < batch).map(|r| &r.frame)
    }

    /// The first message of the oldest batch that is kept.
    pub(super) fn first_kept_message(&self) -> Option<u64> {
        self.retained.front().map(|r| r.header.first_message)
    }

    /// A planted bug: takes the last batch once more.
    pub(super) fn take_back(&mut self, header: &Header) {
        self.taken = self.taken.min(header.batch - 1);
        self.next_message = Some(header.first_message);
        self.retained.pop_back();
        self.at = UnderWay::default();
    }

    /// A planted bug: goes on with a batch that is not the next one.
    pub(crate) fn jump_to(&mut self, header: &Header) {
        self.accepted = header.batch - 1;
        self.taken = self.taken.max(self.accepted);
        self.next_message = None;
        self.retained.clear();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::core::tree::tests::view;
    use crate::types::Seat;

    /// A stream holds one batch more, with one message in it.
    pub(crate) fn hold(stream: &mut Stream, bytes: usize) {
        let (flags, count, length, tag, batch) = (0, 1, bytes as u32, 7, stream.accepted + 1);
        let (sender, receiver) = (stream.sender.seat, Seat::EVERYBODY);
        let header = Header { flags, count, length, tag, sender, receiver, batch, first_message: batch };
        stream.keep(header, Level::Fifo, Bytes::from(vec![batch as u8; bytes]), 1, UnderWay::default());
    }

    /// The stream of another member, of which these batches are held.
    fn holding(batches: &[usize]) -> Stream {
        let mut stream = Stream::new(&view(&[0, 0]), 0, 1, Plants::default());
        batches.iter().for_each(|bytes| hold(&mut stream, *bytes));
        stream
    }

    #[test]
    fn what_lies_behind_a_batch_is_counted_also_where_the_rest_is_forgotten() {
        let mut stream = holding(&[]);
        assert_eq!((stream.bytes_after(0), stream.retained_bytes()), (0, 0));
        stream = holding(&[100, 20, 3]);
        assert_eq!([0, 1, 2, 3].map(|batch| stream.bytes_after(batch)), [123, 23, 3, 0]);
        assert_eq!((stream.bytes_between(0, 2), stream.bytes_between(1, 2), stream.bytes_between(2, 1)), (120, 20, 0));
        assert_eq!(stream.forget_up_to(2), 120);
        assert_eq!([0, 1, 2, 3].map(|batch| stream.bytes_after(batch)), [3, 3, 3, 0]);
        assert_eq!(stream.retained_bytes(), 3);
    }

    #[test]
    fn what_is_kept_is_found_by_its_number_also_where_the_rest_is_forgotten() {
        let first_bytes = |frames: Vec<&Bytes>| frames.iter().map(|frame| frame[0]).collect::<Vec<u8>>();
        let mut stream = holding(&[]);
        assert_eq!((stream.oldest(), stream.first_kept_message(), stream.frame(1)), (1, None, None));
        stream = holding(&[9; 5]);
        stream.forget_up_to(2);
        assert_eq!((stream.oldest(), stream.first_kept_message()), (3, Some(3)));
        let found = [2, 3, 5, 6].map(|batch| stream.frame(batch).map(|frame| frame[0]));
        assert_eq!(found, [None, Some(3), Some(5), None]);
        assert_eq!(first_bytes(stream.frames_from(4).collect()), [4, 5]);
        assert_eq!(first_bytes(stream.frames_from(1).collect()), [3, 4, 5], "what is left of it");
        stream.forget_up_to(9);
        assert_eq!((stream.oldest(), stream.retained_bytes()), (6, 0));
    }

    #[test]
    fn what_is_next_follows_what_was_taken_and_lies_within_the_bound() {
        let mut stream = holding(&[9; 3]);
        let next = |stream: &Stream| stream.next().map(|next| next.header.batch);
        assert_eq!((stream.is_behind(), next(&stream)), (true, Some(1)));
        stream.taken = 1;
        assert_eq!((next(&stream), stream.next_level()), (Some(2), Some(Level::Fifo)));
        stream.bound = 2;
        assert_eq!((stream.is_behind(), next(&stream)), (true, Some(2)), "up to the bound");
        stream.taken = 2;
        assert_eq!((stream.is_behind(), next(&stream), stream.next_level()), (false, None, None), "not beyond it");
        stream.bound = u64::MAX;
        stream.taken = 3;
        assert_eq!((stream.is_behind(), next(&stream)), (false, None));
    }

    #[test]
    fn what_all_have_taken_is_forgotten_once_we_have_too() {
        let mut stream = holding(&[100, 20, 3]);
        stream.told_stable = 2;
        assert_eq!((stream.forget_stable(), stream.stable), (0, 0));
        stream.taken = 1;
        assert_eq!((stream.forget_stable(), stream.stable), (100, 1));
        assert_eq!(stream.forget_stable(), 0, "once");
        stream.taken = 3;
        assert_eq!((stream.forget_stable(), stream.stable, stream.retained_bytes()), (20, 2, 3));
    }
}
