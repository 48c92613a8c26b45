//! What waits to be sent: room, who is told of it, and the memory in which it lies.

use super::*;

const BOUND: usize = 1_000;

fn offer(outbox: &mut Outbox, to: To) -> Code {
    let payload = [7; 100];
    outbox.push(to, Level::Fifo, 0, Payload::Borrowed(&payload))
}

fn full(outbox: &mut Outbox, to: To) {
    while offer(outbox, to) == Code::Ok {}
}

fn drain(outbox: &mut Outbox, to: To) {
    while outbox.queue(to).and_then(Queue::pop).is_some() {}
}

#[test]
fn a_stream_that_has_room_again_is_told_although_another_one_stays_full() {
    let stuck = To::Member(Incarnation(9));
    let mut outbox = Outbox::new(BOUND, BOUND);
    outbox.set_gate(Gate::Open);
    full(&mut outbox, stuck);
    full(&mut outbox, To::Everybody);
    assert!(!outbox.take_writable(), "both are full");
    drain(&mut outbox, To::Everybody);
    assert!(outbox.take_writable());
    assert!(!outbox.take_writable(), "told once");
    assert_eq!(offer(&mut outbox, stuck), Code::Again);
    drain(&mut outbox, stuck);
    assert!(outbox.take_writable());
}

#[test]
fn whoever_waits_for_a_stream_that_goes_away_is_told() {
    let gone = To::Member(Incarnation(9));
    let mut outbox = Outbox::new(BOUND, BOUND);
    outbox.set_gate(Gate::Open);
    full(&mut outbox, gone);
    assert!(!outbox.withdraw(gone).is_empty());
    assert!(outbox.queue(gone).is_none(), "members come and go");
    assert!(outbox.take_writable());
    assert!(!outbox.take_writable());
}

#[test]
fn an_empty_queue_takes_a_message_above_the_bound_and_none_above_the_longest() {
    let mut outbox = Outbox::new(10, 100);
    assert_eq!(offer(&mut outbox, To::Everybody), Code::NotReady);
    outbox.set_gate(Gate::Open);
    assert_eq!(offer(&mut outbox, To::Everybody), Code::Ok);
    assert_eq!(offer(&mut outbox, To::Everybody), Code::Again);
    assert_eq!(outbox.answer(To::Everybody, Level::Fifo, 101), Code::TooLarge);
    assert_eq!(outbox.bytes(), 100 + PENDING_OVERHEAD);
}

#[test]
fn an_idle_member_gives_back_the_memory_in_which_what_it_sent_lay() {
    let mut outbox = Outbox::new(1 << 20, 1 << 20);
    let (queue, pool) = outbox.queue_and_pool(To::Everybody);
    queue.pack_densely(&[7; 100], pool);
    assert!(queue.take_block(limits::BATCH_BYTES).is_some());
    assert_eq!(outbox.pool.remembered(), 1, "it lay in a chunk");
    outbox.trim();
    assert_eq!(outbox.pool.remembered(), 0);
}

#[test]
fn what_waits_lies_at_once_in_as_much_memory_as_was_needed_last() {
    let mut outbox = Outbox::new(1 << 20, 1 << 20);
    // How many chunks there are when one more message waits behind a block of so many.
    let mut chunks = |messages: usize| {
        let (queue, pool) = outbox.queue_and_pool(To::Everybody);
        (0..messages).for_each(|_| queue.pack(Level::Fifo, 0, &[7; 1_000], pool));
        assert!(queue.take_block(limits::BATCH_BYTES).is_some());
        queue.pack(Level::Fifo, 0, &[7; 1_000], pool);
        assert!(queue.pop().is_some());
        outbox.pool.remembered()
    };
    assert_eq!((chunks(1), chunks(40)), (0, 1), "short blocks need none");
}

#[test]
fn what_is_packed_becomes_no_longer_than_a_batch_and_what_is_longer_than_half_of_one_stays_as_it_is() {
    let mut outbox = Outbox::new(1 << 20, 1 << 20);
    outbox.set_gate(Gate::Open);
    outbox.bound_batches(4_000, 1_000);
    for (bytes, packed) in [(2_000, true), (2_001, false)] {
        assert_eq!(outbox.push(To::Everybody, Level::Fifo, 0, Payload::Borrowed(&vec![7; bytes])), Code::Ok);
        let queue = outbox.queue(To::Everybody).expect("it is always there");
        assert_eq!(matches!(queue.front(), Some(Part::Packed(_))), packed, "{bytes} bytes");
        assert!(queue.pop().is_some());
    }
    for _ in 0..10 {
        assert_eq!(outbox.push(To::Everybody, Level::Fifo, 0, Payload::Borrowed(&[7; 1_000])), Code::Ok);
    }
    let next = || outbox.queue(To::Everybody)?.take_block(limits::BATCH_BYTES);
    assert_eq!(std::iter::from_fn(next).map(|block| block.count).collect::<Vec<_>>(), [3, 3, 3, 1]);
}

#[test]
fn who_was_sent_something_once_is_forgotten_when_the_member_idles() {
    let once = To::Member(Incarnation(9));
    let mut outbox = Outbox::new(BOUND, BOUND);
    outbox.set_gate(Gate::Open);
    assert_eq!(offer(&mut outbox, once), Code::Ok);
    outbox.trim();
    assert!(!outbox.is_idle(once, Level::Fifo), "it waits");
    drain(&mut outbox, once);
    outbox.trim();
    assert!(outbox.queue(once).is_none(), "members come and go");
}
