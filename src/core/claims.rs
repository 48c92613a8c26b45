//! Messages that their host writes where they leave from: a claim reserves room in a stream and gives memory, a commit makes a message of
//! what was written (R12).
//!
//! A claim has no place in its stream before it is committed, so nothing waits for one. What it has reserved counts against the bound of the
//! stream like a message that waits: so a commit always has room, and nobody can claim without end.

use bytes::{Buf, BufMut, BytesMut};

use super::outbox::{Outbox, Pending, To};
use super::packing::Block;
use crate::types::{Code, limits};
use crate::wire::batch::{Entry, HEADER_BYTES, Level};

/// Room in a stream, and memory for one message. It is given back by [`Outbox::commit`] or [`Outbox::abort`].
#[derive(Debug)]
pub struct Space {
    to: To,
    level: Level,
    token: u64,
    /// Most bytes of the message.
    length: usize,
    /// Bytes before the message: room for a header and its prefix if the memory is to become a batch, else none.
    head: usize,
    /// The head, then what has been written.
    memory: BytesMut,
}

/// Where a message begins in memory is a multiple of this.
pub const SPACE_ALIGN: usize = 8;

impl Space {
    fn prepare(&mut self) {
        if self.memory.capacity() == 0 {
            self.lay_out(BytesMut::with_capacity(self.head + self.length + SPACE_ALIGN));
        }
    }

    fn lay_out(&mut self, mut memory: BytesMut) {
        // Allocators give more than they are asked for, but need not; the head is a multiple of it.
        let odd = memory.as_ptr().align_offset(SPACE_ALIGN);
        memory.put_bytes(0, odd + self.head);
        memory.advance(odd);
        self.memory = memory;
    }

    /// Where the message is written, from its start on: as many bytes as are left of what was claimed. It does not move. The first look makes
    /// it, so that this need not be done under a lock.
    pub fn room(&mut self) -> impl BufMut + '_ {
        self.prepare();
        let left = self.length - self.written();
        (&mut self.memory).limit(left)
    }

    /// Bytes that were written: the message, if it were committed now.
    pub fn written(&self) -> usize {
        self.memory.len().saturating_sub(self.head)
    }

    /// Bytes that were claimed.
    pub fn length(&self) -> usize {
        self.length
    }

    /// For whom it is.
    pub fn to(&self) -> To {
        self.to
    }

    /// How it will be delivered.
    pub fn level(&self) -> Level {
        self.level
    }

    fn into_block(mut self, bound: usize) -> Block {
        let (head, payload) = self.memory.split_at_mut(self.head);
        let written = payload.len();
        Entry { level: self.level, token: self.token, fragment: None, payload }
            .put_prefix(&mut &mut head[HEADER_BYTES..]);
        Block::written(self.level, self.memory, written, bound)
    }

    fn into_pending(mut self) -> Pending {
        self.memory.advance(self.head);
        // What is left of a long claim does not keep all of its memory (R10).
        let pins = self.memory.len() < self.length / 4;
        let memory = if pins { BytesMut::from(&self.memory[..]) } else { self.memory };
        Pending { level: self.level, token: self.token, payload: memory.freeze() }
    }
}

impl Outbox {
    /// Reserves room for a message of at most `length` bytes, or answers what a send of it would be answered with. After `Again` a
    /// `Writable` event is due. Not for what may be lost: it is no part of a stream, and answered with `Unsupported`.
    ///
    /// # Errors
    /// The answer, other than `Ok`. Nothing is reserved.
    pub fn claim(&mut self, to: To, level: Level, token: u64, length: usize) -> Result<Space, Code> {
        let answer = if level == Level::Unreliable { Code::Unsupported } else { self.answer(to, level, length) };
        if answer != Code::Ok {
            return Err(answer);
        }
        let (queue, pool) = self.queue_and_pool(to);
        queue.reserve(length);
        let (block_bytes, packed_bytes) = queue.block_bounds();
        let entry = Entry::encoded_len(length, token, false);
        let becomes_batch = length > packed_bytes && entry <= block_bytes;
        let head = if becomes_batch { HEADER_BYTES + entry - length } else { 0 };
        let mut space = Space { to, level, token, length, head, memory: BytesMut::new() };
        if becomes_batch && entry > limits::BATCH_BYTES / 2 {
            space.lay_out(pool.take());
        }
        Ok(space)
    }

    /// Accepts what was written as a message: its place in the stream is after all that was accepted before. There is room for it.
    ///
    /// # Errors
    /// What a send would be answered with while none is accepted, and the claim, of which nothing has changed.
    pub fn commit(&mut self, space: Space) -> Result<(), (Code, Space)> {
        let answer = self.gate().answer();
        if answer != Code::Ok {
            return Err((answer, space));
        }
        let bound = self.bound();
        let (queue, pool) = self.queue_and_pool(space.to);
        queue.release(space.length, bound);
        let (block_bytes, packed_bytes) = queue.block_bounds();
        let written = space.written();
        if written <= packed_bytes {
            queue.pack(space.level, space.token, &space.memory[space.memory.len() - written..], pool);
        } else if space.head > 0 && Entry::encoded_len(written, space.token, false) <= block_bytes {
            // Batches may have become shorter since the claim.
            queue.push_block(space.into_block(block_bytes));
        } else {
            queue.push(space.into_pending());
        }
        Ok(())
    }

    /// Gives back what was reserved. Answers whether a `Writable` event is due by that, of which the core must be told.
    pub fn abort(&mut self, space: &Space) -> bool {
        let bound = self.bound();
        let due = self.queue_and_pool(space.to).0.release(space.length, bound);
        self.forget_unused(space.to);
        due
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::builder::{Builder, UnderWay, check_area, entries_of};
    use crate::core::outbox::{Gate, PENDING_OVERHEAD, Payload, Queue};
    use crate::core::packing::PACKED_BYTES;
    use crate::types::{Incarnation, Seat};
    use crate::wire::batch::Entries;

    const BOUND: usize = 1_000;
    const ONE: To = To::Member(Incarnation(9));

    fn open(bound: usize) -> Outbox {
        let mut outbox = Outbox::new(bound, 1 << 20);
        outbox.set_gate(Gate::Open);
        outbox
    }

    fn claim(outbox: &mut Outbox, length: usize) -> Result<Space, Code> {
        outbox.claim(To::Everybody, Level::Fifo, 0, length)
    }

    /// Claims all that there is.
    fn claim_all(outbox: &mut Outbox, to: To) -> Vec<Space> {
        let spaces: Vec<Space> = std::iter::from_fn(|| outbox.claim(to, Level::Fifo, 0, 100).ok()).collect();
        assert_eq!(spaces.len(), BOUND / (100 + PENDING_OVERHEAD));
        spaces
    }

    fn send(outbox: &mut Outbox, payload: &[u8]) -> Code {
        outbox.push(To::Everybody, Level::Fifo, 0, Payload::Borrowed(payload))
    }

    fn commit(outbox: &mut Outbox, mut space: Space, message: &[u8]) {
        space.room().put_slice(message);
        assert!(outbox.commit(space).is_ok());
    }

    fn abort_all(outbox: &mut Outbox, spaces: Vec<Space>) {
        spaces.iter().for_each(|space| {
            outbox.abort(space);
        });
    }

    fn drain(outbox: &mut Outbox, to: To) -> Vec<Vec<u8>> {
        let pop = || outbox.queue(to).and_then(Queue::pop).map(|pending| pending.payload.to_vec());
        std::iter::from_fn(pop).collect()
    }

    #[test]
    fn claims_fill_a_stream_and_what_is_given_back_is_told() {
        let mut outbox = open(BOUND);
        let mut spaces = claim_all(&mut outbox, To::Everybody);
        assert!(!outbox.take_writable(), "it is full");
        assert_eq!(send(&mut outbox, &[7; 100]), Code::Again, "for sends as well");
        assert!(!outbox.take_writable(), "nothing has changed: who tries again at once would do so for ever");
        assert!(outbox.abort(&spaces.pop().expect("there are some")), "the engine is to be woken");
        assert!(outbox.take_writable());
        assert!(!outbox.take_writable(), "told once");
        spaces.push(claim(&mut outbox, 100).expect("there is room again"));
        spaces.iter().for_each(|space| assert!(!outbox.abort(space), "nobody waits"));
        assert_eq!(outbox.bytes(), 0);
        claim_all(&mut outbox, To::Everybody);
        assert_eq!(claim(&mut outbox, (1 << 20) + 1).err(), Some(Code::TooLarge));
        claim_all(&mut outbox, ONE);
    }

    #[test]
    fn the_first_claim_may_be_longer_than_the_bound_and_nothing_is_told_before_it_ends() {
        let mut outbox = open(BOUND);
        let long = claim(&mut outbox, 5_000).expect("nothing else is there");
        assert_eq!(send(&mut outbox, b""), Code::Again);
        assert!(!outbox.take_writable());
        commit(&mut outbox, long, &[7; 5_000]);
        assert!(!outbox.take_writable(), "now it waits itself");
        assert_eq!(drain(&mut outbox, To::Everybody), [[7; 5_000]]);
        assert!(outbox.take_writable());
    }

    #[test]
    fn a_message_has_the_place_of_its_commit() {
        let mut outbox = open(BOUND);
        let (first, second) = (claim(&mut outbox, 10).unwrap(), claim(&mut outbox, 10).unwrap());
        assert_eq!(send(&mut outbox, b"sent"), Code::Ok);
        commit(&mut outbox, second, b"second");
        commit(&mut outbox, first, b"first");
        assert!(!outbox.is_empty());
        assert_eq!(drain(&mut outbox, To::Everybody), [&b"sent"[..], b"second", b"first"]);
    }

    #[test]
    fn while_nothing_is_accepted_a_commit_gives_the_claim_back_and_what_was_reserved_stays_until_it_ends() {
        let mut outbox = open(BOUND);
        let mut spaces = claim_all(&mut outbox, To::Everybody);
        for (gate, code) in [
            (Gate::NotReady, Code::NotReady),
            (Gate::NotPrimary, Code::NotPrimary),
            (Gate::Closed, Code::Closed),
            (Gate::Witness, Code::Unsupported),
        ] {
            outbox.set_gate(gate);
            let (answer, space) = outbox.commit(spaces.pop().expect("enough")).expect_err("it is refused");
            assert_eq!((answer, claim(&mut outbox, 1).err()), (code, Some(code)));
            spaces.push(space);
        }
        outbox.set_gate(Gate::Open);
        assert!(outbox.is_empty(), "a claim is nothing that a view or a leave would wait for");
        assert_eq!(send(&mut outbox, &[7; 100]), Code::Again);
        abort_all(&mut outbox, spaces);
        claim_all(&mut outbox, To::Everybody);
        assert_eq!(outbox.claim(To::Everybody, Level::Unreliable, 0, 1).err(), Some(Code::Unsupported));
    }

    #[test]
    fn what_is_reserved_outlives_a_stream_that_is_withdrawn() {
        for to in [To::Everybody, ONE] {
            let mut outbox = open(BOUND);
            let mut spaces = claim_all(&mut outbox, to);
            commit(&mut outbox, spaces.pop().expect("there are some"), &[7; 100]);
            assert_eq!(outbox.withdraw(to).len(), 1);
            spaces.push(outbox.claim(to, Level::Fifo, 0, 100).expect("the room of the one that was withdrawn"));
            assert_eq!(outbox.claim(to, Level::Fifo, 0, 100).err(), Some(Code::Again));
            abort_all(&mut outbox, spaces);
            claim_all(&mut outbox, to);
        }
    }

    /// The batch that a claim of so many bytes becomes when so many were written, and whether they lie in it where they were written.
    fn batch_of(claimed: usize, written: usize, token: u64) -> (Vec<u8>, bool) {
        let mut outbox = open(1 << 20);
        let mut space = outbox.claim(To::Everybody, Level::Agreed, token, claimed).expect("there is room");
        let address = space.room().chunk_mut().as_mut_ptr().cast_const();
        assert_eq!(address.align_offset(SPACE_ALIGN), 0);
        space.room().put_bytes(7, written);
        let left = space.room().remaining_mut();
        assert_eq!((space.written(), left, space.length()), (written, claimed - written, claimed));
        assert!(outbox.commit(space).is_ok());
        assert_eq!(outbox.bytes(), written + PENDING_OVERHEAD);
        let mut builder = Builder::new(1);
        let built =
            builder.build(outbox.queue(To::Everybody), 60 * 1024, 5, Seat(1), Seat::EVERYBODY).expect("a batch");
        assert!(check_area(&built.header, &built.frame[HEADER_BYTES..], UnderWay::default()).is_ok());
        assert_eq!((builder.next_message, outbox.bytes(), outbox.is_empty()), (2, 0, true));
        let copied = if built.copied == built.frame.len() { written } else { 0 };
        assert_eq!(built.copied, built.frame.len() - written + copied);
        let (got, payload) = entries_of(&built.header, &built.frame).pop_front().expect("one message");
        assert_eq!(got, token);
        assert_eq!(payload.as_ptr() == address, copied == 0 && written > 0, "what is counted is what was done");
        (payload.to_vec(), payload.as_ptr() == address)
    }

    #[test]
    fn what_is_longer_than_packed_ones_and_fits_a_batch_leaves_from_where_it_was_written() {
        let most = limits::BATCH_BYTES - 8;
        for (claimed, written, token, in_place) in [
            (0, 0, 0, false),
            (64, 64, 7, false),
            (PACKED_BYTES, PACKED_BYTES, 0, false),
            (PACKED_BYTES + 1, PACKED_BYTES + 1, 0, true),
            (20_000, 20_000, 7, true),
            (40_000, 40_000, 0, true),
            (40_000, 20_000, 7, true),
            (40_000, 10, 7, false),
            (40_000, 0, 0, false),
            (most, most, 0, true),
            (most, most - 8, 7, false),
        ] {
            let (payload, stayed) = batch_of(claimed, written, token);
            assert!(payload.len() == written && payload.iter().all(|byte| *byte == 7));
            assert_eq!(stayed, in_place, "{written} of {claimed} bytes, token {token}");
        }
    }

    #[test]
    fn what_follows_a_message_in_its_batch_does_not_move_it() {
        let mut outbox = open(1 << 20);
        for length in [20_000, 40_000] {
            let mut space = claim(&mut outbox, length).expect("there is room");
            let address = space.room().chunk_mut().as_mut_ptr().cast_const();
            space.room().put_bytes(7, length);
            assert!(outbox.commit(space).is_ok());
            for _ in 0..100 {
                assert_eq!(send(&mut outbox, &[5; 100]), Code::Ok);
            }
            let block = outbox.queue(To::Everybody).and_then(|q| q.take_block(1 << 20)).expect("a block");
            assert_eq!(block.front().map(|first| first.payload.as_ptr()), Some(address));
            assert_eq!(block.in_place, length);
            let rest = drain(&mut outbox, To::Everybody);
            assert_eq!(usize::from(block.count) - 1 + rest.len(), 100);
            assert!(rest.iter().all(|payload| *payload == [5; 100]));
        }
    }

    #[test]
    fn a_block_that_is_cut_behind_such_a_message_counts_it_once() {
        let mut outbox = open(1 << 20);
        let space = claim(&mut outbox, 40_000).expect("there is room");
        commit(&mut outbox, space, &[7; 40_000]);
        assert_eq!(send(&mut outbox, &[5; 100]), Code::Ok);
        let mut builder = Builder::new(1);
        let mut build = || builder.build(outbox.queue(To::Everybody), 40_008, 5, Seat(1), Seat::EVERYBODY);
        let (first, second) = (build().expect("the long one fits"), build().expect("the other one is left"));
        assert_eq!((first.header.count, second.header.count), (1, 1));
        assert_eq!((first.copied, second.copied), (first.frame.len(), second.frame.len()));
    }

    #[test]
    fn where_batches_have_become_shorter_meanwhile_it_goes_in_parts() {
        let mut outbox = open(1 << 20);
        let space = claim(&mut outbox, 20_000).expect("there is room");
        outbox.bound_batches(4_000, 1_000);
        commit(&mut outbox, space, &[7; 20_000]);
        let mut builder = Builder::new(1).bounded(4_000);
        let mut build = || builder.build(outbox.queue(To::Everybody), 60 * 1024, 5, Seat(1), Seat::EVERYBODY);
        let built: Vec<_> = std::iter::from_fn(&mut build).collect();
        let lengths: Vec<u32> = built.iter().map(|built| built.header.length).collect();
        assert_eq!((lengths.len(), lengths.iter().all(|length| *length <= 4_000)), (6, true), "{lengths:?}");
        let parts = built.iter().flat_map(|built| Entries::new(&built.frame[HEADER_BYTES..], built.header.count));
        let message: Vec<u8> = parts.flat_map(|part| part.expect("a legal entry").payload.to_vec()).collect();
        assert!(message == [7; 20_000], "nothing but the message: {} bytes", message.len());
    }

    #[test]
    fn a_claim_is_one_piece_of_memory_however_long_it_is() {
        let mut outbox = open(1 << 22);
        for length in [1, 1_000, 20_000, 40_000, limits::BATCH_BYTES, 100_000, 1 << 20] {
            let mut space = claim(&mut outbox, length).expect("there is room");
            assert_eq!(space.room().chunk_mut().len(), length);
            outbox.abort(&space);
        }
    }

    #[test]
    fn a_message_is_aligned_whatever_memory_it_is_given() {
        let mut outbox = open(1 << 20);
        let mut space = claim(&mut outbox, 20_000).expect("there is room");
        let mut memory = BytesMut::zeroed(30_001);
        memory.advance(1);
        memory.clear();
        space.lay_out(memory);
        assert_eq!(space.room().chunk_mut().as_mut_ptr().cast_const().align_offset(SPACE_ALIGN), 0);
        commit(&mut outbox, space, &[7; 20_000]);
        let block = outbox.queue(To::Everybody).and_then(|q| q.take_block(1 << 20)).expect("a block");
        assert!(block.front().is_some_and(|first| first.payload == &[7; 20_000][..]));
    }

    #[test]
    fn a_message_that_is_much_shorter_than_its_claim_does_not_keep_all_of_its_memory() {
        for (written, in_place) in [(100_000, false), (300_000, true)] {
            let mut outbox = open(1 << 22);
            let mut space = claim(&mut outbox, 1_000_000).expect("there is room");
            let address = space.room().chunk_mut().as_mut_ptr().cast_const();
            commit(&mut outbox, space, &vec![7; written]);
            let message = outbox.queue(To::Everybody).and_then(Queue::pop).expect("it waits").payload;
            assert_eq!((message.len(), message.as_ptr() == address), (written, in_place));
        }
    }

    #[test]
    fn who_was_only_claimed_for_is_forgotten() {
        let mut outbox = open(BOUND);
        let space = outbox.claim(ONE, Level::Fifo, 0, 100).expect("there is room");
        assert!(outbox.queue(ONE).is_some());
        outbox.abort(&space);
        assert!(outbox.queue(ONE).is_none(), "members come and go");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Claim(usize),
        Commit(usize, usize),
        Abort(usize),
        Send(usize),
        Take,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let length = prop_oneof![0..300_usize, 16_000..70_000_usize];
        let step = prop_oneof![
            3 => length.clone().prop_map(Step::Claim),
            3 => (any::<usize>(), length.clone()).prop_map(|(which, most)| Step::Commit(which, most)),
            1 => any::<usize>().prop_map(Step::Abort),
            2 => length.prop_map(Step::Send),
            1 => Just(Step::Take),
        ];
        prop::collection::vec(step, 1..60)
    }

    proptest! {
        /// Whatever is claimed, committed, given back and sent between: what is held is counted exactly, and messages come in the order in
        /// which they were accepted.
        #[test]
        fn any_steps_keep_the_bound_and_the_order(steps in steps()) {
            const BOUND: usize = 100_000;
            let mut outbox = open(BOUND);
            let mut spaces: Vec<Space> = Vec::new();
            let mut waiting: Vec<Vec<u8>> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                let cost = |len: usize| len + PENDING_OVERHEAD;
                let held = spaces.iter().map(|s| cost(s.length())).chain(waiting.iter().map(|w| cost(w.len()))).sum::<usize>();
                let expected = |len| if held == 0 || held + cost(len) <= BOUND { Code::Ok } else { Code::Again };
                let message = |len: usize| vec![number as u8; len];
                match step {
                    Step::Claim(len) => match claim(&mut outbox, len) {
                        Ok(space) => {
                            prop_assert_eq!(expected(len), Code::Ok);
                            spaces.push(space);
                        }
                        Err(code) => prop_assert_eq!(code, expected(len)),
                    },
                    Step::Send(len) => {
                        let code = send(&mut outbox, &message(len));
                        prop_assert_eq!(code, expected(len));
                        waiting.extend((code == Code::Ok).then(|| message(len)));
                    }
                    Step::Commit(which, most) if !spaces.is_empty() => {
                        let space = spaces.swap_remove(which % spaces.len());
                        let message = message(most.min(space.length()));
                        commit(&mut outbox, space, &message);
                        waiting.push(message);
                    }
                    Step::Abort(which) if !spaces.is_empty() => {
                        let space = spaces.swap_remove(which % spaces.len());
                        outbox.abort(&space);
                    }
                    Step::Take => prop_assert_eq!(drain(&mut outbox, To::Everybody), std::mem::take(&mut waiting)),
                    Step::Commit(..) | Step::Abort(_) => {}
                }
                prop_assert_eq!(outbox.bytes(), waiting.iter().map(|w| cost(w.len())).sum::<usize>());
            }
        }
    }
}
