//! What waits to be written on one connection: control first, and of data each stream in its turn.
//!
//! No order holds between streams, so none of them waits for another one's window of long messages: of what waits, each writes a batch's
//! worth and makes way for the next (deficit round robin: Shreedhar and Varghese, 1995).

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use bytes::{Buf, Bytes};

use crate::types::limits;
use crate::wire::batch::StreamId;

/// A stream's turn is over when it has written so many bytes.
const TURN_BYTES: usize = limits::BATCH_BYTES;
/// Empty lanes that are kept for their memory.
const SPARE: usize = 8;

/// What waits to be written. Control overtakes data at the boundaries of slices (R5).
#[derive(Clone, Debug, Default)]
pub(super) struct SendQueue {
    /// The rest of a slice that is partly written.
    begun: Option<Bytes>,
    control: VecDeque<Bytes>,
    /// Streams of which something waits, in the order of their turns.
    lanes: VecDeque<Lane>,
    /// What the first of them has written since its turn began. A turn that is over ends when there is another one to have the next.
    turn: usize,
    spare: Vec<VecDeque<Bytes>>,
    bytes: usize,
    /// Of these, in `control`.
    control_bytes: usize,
}

/// What waits of one stream, in order: slices of whole batches.
#[derive(Clone, Hash, Debug)]
struct Lane {
    stream: StreamId,
    slices: VecDeque<Bytes>,
}

impl Hash for SendQueue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.begun, &self.control, &self.lanes, self.turn).hash(state);
    }
}

impl SendQueue {
    /// What waits, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Of these, control frames that nothing has been written of.
    pub(super) fn control_bytes(&self) -> usize {
        self.control_bytes
    }

    pub(super) fn push_control(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.control_bytes += frame.len();
        self.control.push_back(frame);
    }

    /// Queues a slice of whole batches of one stream.
    pub(super) fn push_data(&mut self, slice: Bytes) {
        self.bytes += slice.len();
        let stream = StreamId::of(&slice);
        match self.lanes.iter_mut().find(|lane| lane.stream == stream) {
            Some(lane) => lane.slices.push_back(slice),
            None => {
                let mut slices = self.spare.pop().unwrap_or_default();
                slices.push_back(slice);
                self.lanes.push_back(Lane { stream, slices });
            }
        }
    }

    /// Shows what is to be written next, until `max_bytes` are reached or every stream has had its turn.
    pub(super) fn show<'a>(&'a self, max_bytes: usize, out: &mut Vec<&'a [u8]>) {
        let alone = self.lanes.len() == 1;
        let turns = self.lanes.iter().enumerate().flat_map(|(at, lane)| {
            let mut written = if at == 0 { self.turn } else { 0 };
            lane.slices.iter().take_while(move |slice| {
                let before = written;
                written += slice.len();
                alone || before < TURN_BYTES
            })
        });
        let mut shown = 0;
        for slice in self.begun.iter().chain(&self.control).chain(turns) {
            if shown >= max_bytes {
                return;
            }
            shown += slice.len();
            out.push(slice);
        }
    }

    /// So many bytes of what was shown are written.
    pub(super) fn wrote(&mut self, mut bytes: usize) {
        self.bytes -= bytes.min(self.bytes);
        while bytes > 0
            && let Some(mut slice) = self.next()
        {
            if slice.len() > bytes {
                // It goes first next time, whatever comes in meanwhile.
                slice.advance(bytes);
                self.begun = Some(slice);
                return;
            }
            bytes -= slice.len();
        }
    }

    fn next(&mut self) -> Option<Bytes> {
        if let Some(rest) = self.begun.take() {
            return Some(rest);
        }
        if let Some(frame) = self.control.pop_front() {
            self.control_bytes -= frame.len();
            return Some(frame);
        }
        if self.turn >= TURN_BYTES && self.lanes.len() > 1 {
            self.end_turn();
        }
        let lane = self.lanes.front_mut()?;
        let slice = lane.slices.pop_front()?;
        self.turn += slice.len();
        if lane.slices.is_empty() {
            self.end_turn();
        }
        Some(slice)
    }

    fn end_turn(&mut self) {
        self.turn = 0;
        let Some(lane) = self.lanes.pop_front() else { return };
        if !lane.slices.is_empty() {
            self.lanes.push_back(lane);
        } else if self.spare.len() < SPARE {
            self.spare.push(lane.slices);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::Seat;
    use crate::wire::batch::{HEADER_BYTES, Header};

    /// A batch of a stream: nothing of it but its header is looked at.
    fn batch(stream: u32, batch: u64, length: usize) -> Bytes {
        let header = Header {
            flags: 0,
            count: 1,
            length: length as u32,
            tag: 5,
            sender: Seat(stream),
            receiver: Seat::EVERYBODY,
            batch,
            first_message: batch,
        };
        let mut frame = header.encode().to_vec();
        frame.resize(HEADER_BYTES + length, 0);
        frame.into()
    }

    /// Writes so much of what is shown, as a socket does that takes no more.
    fn write(queue: &mut SendQueue, most: usize) -> Vec<u8> {
        let mut slices = Vec::new();
        queue.show(usize::MAX, &mut slices);
        let mut all = slices.concat();
        all.truncate(most);
        queue.wrote(all.len());
        all
    }

    #[test]
    fn control_overtakes_data_only_between_slices() {
        let mut queue = SendQueue::default();
        let (first, second) = (batch(1, 1, 8), batch(1, 2, 8));
        queue.push_data(first.clone());
        queue.push_data(second.clone());
        assert_eq!(write(&mut queue, 20), first[..20]);
        queue.push_control(Bytes::from_static(b"CC"));
        assert_eq!(queue.control_bytes(), 2);
        assert_eq!(write(&mut queue, 37), [&first[20..], b"C"].concat());
        assert_eq!(write(&mut queue, 99), [b"C", &second[..]].concat());
        assert_eq!((queue.bytes(), queue.control_bytes()), (0, 0));
    }

    #[test]
    fn a_short_message_waits_for_a_turn_of_a_long_stream_and_not_for_all_of_it() {
        let mut queue = SendQueue::default();
        let long = |n| batch(1, n, TURN_BYTES);
        (1..=40).for_each(|n| queue.push_data(long(n)));
        assert_eq!(write(&mut queue, 10).len(), 10, "its turn has begun");
        let short = batch(2, 1, 64);
        queue.push_data(short.clone());
        let mut expected = long(1).to_vec();
        expected.drain(..10);
        assert_eq!(write(&mut queue, usize::MAX), [&expected[..], &short].concat());
        assert_eq!(write(&mut queue, usize::MAX).len(), 39 * long(2).len(), "alone it needs no turns");
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn a_turn_ends_with_the_byte_that_fills_it_in_what_is_shown_and_in_what_is_written() {
        let mut queue = SendQueue::default();
        let (half, short) = (TURN_BYTES / 2 - HEADER_BYTES, 64);
        let first = [1, 2, 3].map(|n| batch(1, n, half));
        first.iter().for_each(|slice| queue.push_data(slice.clone()));
        let other = batch(2, 1, short);
        queue.push_data(other.clone());
        assert_eq!(write(&mut queue, usize::MAX), [&first[0][..], &first[1], &other].concat());
        assert_eq!(write(&mut queue, usize::MAX), first[2]);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn no_more_is_shown_than_is_asked_for_and_the_slice_that_reaches_it() {
        let mut queue = SendQueue::default();
        (1..4).for_each(|n| queue.push_data(batch(1, n, 100 - HEADER_BYTES)));
        let shown = |most| {
            let mut slices = Vec::new();
            queue.show(most, &mut slices);
            slices.len()
        };
        assert_eq!([0, 1, 100, 101, 200, 201, 999].map(shown), [0, 1, 1, 2, 2, 3, 3]);
    }

    proptest! {
        /// Whatever comes while whatever is written: each stream in order, whole slices, nothing lost.
        #[test]
        fn each_stream_keeps_its_order(
            steps in prop::collection::vec((0_u32..4, 8_usize..40_000, 0_usize..90_000), 1..60),
        ) {
            let (mut queue, mut written, mut sent) = (SendQueue::default(), Vec::new(), [0_u64; 4]);
            for (stream, length, most) in steps {
                sent[stream as usize] += 1;
                queue.push_data(batch(stream + 1, sent[stream as usize], length));
                written.extend(write(&mut queue, most));
            }
            while queue.bytes() > 0 {
                written.extend(write(&mut queue, usize::MAX));
            }
            let (mut rest, mut came) = (&written[..], [0_u64; 4]);
            while !rest.is_empty() {
                let header = Header::decode(rest.first_chunk().expect("a whole header")).expect("a batch");
                came[header.sender.0 as usize - 1] += 1;
                prop_assert_eq!(header.batch, came[header.sender.0 as usize - 1]);
                rest = &rest[HEADER_BYTES + header.length as usize..];
            }
            prop_assert_eq!(came, sent);
        }
    }
}
