//! Batches out of messages, and messages out of batches.

use super::*;
use crate::core::outbox::{Gate, Outbox, Payload, To};

/// Too long to be packed with others.
const LONG: usize = crate::core::packing::PACKED_BYTES + 1_000;

#[test]
fn messages_of_two_levels_make_two_batches() {
    let mut outbox = Outbox::new(1 << 20, 1 << 20);
    outbox.set_gate(Gate::Open);
    for level in [Level::Agreed, Level::Agreed, Level::Fifo, Level::Safe] {
        outbox.push(To::Everybody, level, 0, Payload::Borrowed(&[7; 8]));
    }
    let mut builder = Builder::new(1);
    let mut built = Vec::new();
    while let Some(next) = builder.build(outbox.queue(To::Everybody), 1_000, 5, Seat(1), Seat::EVERYBODY) {
        let area = check_area(&next.header, &next.frame[HEADER_BYTES..], UnderWay::default()).expect("it is legal");
        assert_eq!(area.content, next.content);
        built.push((next.header.first_message, next.header.count, next.content));
    }
    let batch = |first, count, level| (first, count, Content::Messages(level));
    assert_eq!(built, [batch(1, 2, Level::Agreed), batch(3, 1, Level::Fifo), batch(4, 1, Level::Safe)]);
    let order =
        builder.build_notice(Notice::Order(vec![batch::Place { stream: 3, upto: 9 }]), 5, (Seat(1), Seat::EVERYBODY));
    assert_eq!((order.header.batch, order.header.first_message), (4, 5));
    let between = UnderWay { reached: 77, total: 100 };
    let area = check_area(&order.header, &order.frame[HEADER_BYTES..], between).expect("it is legal");
    assert_eq!((area.ended, area.at), (0, between), "it may come between two parts of a message");
    assert_eq!(area.content, order.content);
}

#[test]
fn the_short_look_at_an_area_says_what_the_long_one_does() {
    let entry = |level, token, payload: &'static [u8]| Entry { level, token, fragment: None, payload };
    let area_of = |entries: &[Entry<'_>]| {
        let mut area = Vec::new();
        entries.iter().for_each(|entry| entry.put(&mut area));
        area
    };
    let plain = area_of(&[entry(Level::Safe, 0, b"a"), entry(Level::Safe, 0, b""), entry(Level::Safe, 0, b"ccc")]);
    assert_eq!(batch::plain_level(&plain, 3), Some(Level::Safe));
    for count in [1, 2, 4] {
        assert_eq!(batch::plain_level(&plain, count), None, "{count} messages");
    }
    for cut in 0..plain.len() {
        assert_eq!(batch::plain_level(&plain[..cut], 3), None, "{cut} bytes");
    }
    for at in 0..plain.len() {
        for bit in 0..8 {
            let mut bad = plain.clone();
            bad[at] ^= 1 << bit;
            let whole: Result<Vec<Level>, _> = Entries::new(&bad, 3).map(|e| e.map(|e| e.level)).collect();
            let one = whole.ok().filter(|l| l.windows(2).all(|w| w[0] == w[1])).map(|l| l[0]);
            assert_eq!(batch::plain_level(&bad, 3), one, "bit {bit} of byte {at}");
        }
    }
    assert_eq!(batch::plain_level(&area_of(&[entry(Level::Fifo, 7, b"x")]), 1), None, "a token");
    let both = area_of(&[entry(Level::Fifo, 0, b"xy"), entry(Level::Agreed, 9, b"z")]);
    assert_eq!(batch::Walk::new(&both).collect::<Vec<_>>(), [(0, &b"xy"[..]), (9, b"z")]);
}

#[test]
fn a_short_message_waits_for_room_and_a_long_one_goes_in_parts() {
    let mut outbox = Outbox::new(1 << 20, 1 << 20);
    outbox.set_gate(Gate::Open);
    for (token, len) in [(1, 0), (2, 200), (3, 3_000)] {
        outbox.push(To::Everybody, Level::Fifo, token, Payload::Borrowed(&vec![7; len]));
    }
    let mut builder = Builder::new(1);
    let mut build = |room| builder.build(outbox.queue(To::Everybody), room, 5, Seat(1), Seat::EVERYBODY);
    assert!(build(4).is_none(), "not even the empty one fits");
    let first = build(100).expect("the empty one fits");
    assert_eq!(entries_of(&first.header, &first.frame), [(1, Bytes::new())]);
    assert!(build(100).is_none(), "200 bytes are not cut");
    let second = build(1_024).expect("a whole one and a part");
    assert_eq!((second.header.first_message, second.header.count), (2, 1));
    let parts: Vec<u16> = (0..4).filter_map(|_| build(1_024)).map(|built| built.header.count).collect();
    assert_eq!(parts, [1, 1, 1]);
}

/// What a removed member had begun to send goes out whole in its next life (D7).
#[test]
fn a_new_incarnation_begins_a_long_message_again() {
    let mut outbox = Outbox::new(1 << 20, 1 << 20);
    outbox.set_gate(Gate::Open);
    outbox.push(To::Everybody, Level::Fifo, 3, Payload::Borrowed(&[7; 3_000]));
    let mut builder = Builder::new(1);
    let mut parts = |builder: &mut Builder, most| -> Vec<usize> {
        let build = || builder.build(outbox.queue(To::Everybody), 1_024, 5, Seat(1), Seat::EVERYBODY);
        std::iter::from_fn(build).take(most).map(|built| built.frame.len()).collect()
    };
    let begun = parts(&mut builder, 2);
    let mut anew = builder.for_new_incarnation();
    let all = parts(&mut anew, 9);
    assert_eq!((begun.len(), all.len(), &all[..2]), (2, 3, &begun[..]));
    assert!(parts(&mut builder, 9).is_empty(), "the old one has nothing left");
}

/// Messages that are too long to be packed, of these levels, each with its own number in it.
fn unpacked(levels: &[Level]) -> Outbox {
    let mut outbox = Outbox::new(1 << 20, 1 << 20);
    outbox.set_gate(Gate::Open);
    for (level, number) in levels.iter().zip(1..) {
        outbox.push(To::Everybody, *level, 0, Payload::Borrowed(&[number; LONG]));
    }
    outbox
}

fn next(builder: &mut Builder, outbox: &mut Outbox, room: usize) -> Option<Built> {
    builder.build(outbox.queue(To::Everybody), room, 5, Seat(1), Seat::EVERYBODY)
}

/// The numbers of the messages that a batch ends, and what is in them.
fn put_together(reassembly: &mut Reassembly, built: &Built) -> Vec<(u64, Vec<u8>)> {
    let name = crate::types::Name::new("m");
    let sender = Arc::new(MemberRef { name, incarnation: crate::types::Incarnation(1), seat: Seat(1) });
    let source = Source { sender: &sender, view: ViewId::NONE, direct: false, level: Level::Fifo };
    let (mut pool, mut events) = (ChunkPool::new(0), Vec::new());
    let count = reassembly.deliver(&source, &built.header, &built.frame, &mut pool, &mut events);
    let of = |event: &Event| match event {
        Event::Messages(messages) => messages.iter().map(|m| (m.number, m.payload.to_vec())).collect::<Vec<_>>(),
        _ => panic!("nothing else comes of it"),
    };
    let messages: Vec<_> = events.iter().flat_map(of).collect();
    assert_eq!(messages.len() as u64, count);
    messages
}

#[test]
fn what_is_not_packed_goes_whole_where_it_fits_and_with_its_own_level() {
    let mut outbox = unpacked(&[Level::Fifo, Level::Fifo, Level::Agreed]);
    let mut builder = Builder::new(1);
    assert_eq!(next(&mut builder.clone(), &mut outbox.clone(), LONG + 100).map(|b| b.header.count), Some(1));
    for (count, level) in [(2, Level::Fifo), (1, Level::Agreed)] {
        let built = next(&mut builder, &mut outbox, limits::BATCH_BYTES).expect("something waits");
        let area = check_area(&built.header, &built.frame[HEADER_BYTES..], UnderWay::default()).expect("it is legal");
        assert_eq!((built.header.count, built.header.flags, area.content), (count, 0, Content::Messages(level)));
        assert_eq!(built.content, Content::Messages(level));
    }
    assert!(next(&mut builder, &mut outbox, limits::BATCH_BYTES).is_none());
}

#[test]
fn what_does_not_fit_waits_behind_another_one_and_goes_in_parts_where_it_is_first() {
    let mut outbox = unpacked(&[Level::Fifo, Level::Fifo]);
    let mut builder = Builder::new(1);
    let first = next(&mut builder, &mut outbox, LONG + LONG / 2).expect("one fits");
    assert_eq!((first.header.count, first.header.flags), (1, 0), "no part of the second one");
    let part = next(&mut builder, &mut outbox, LONG / 2).expect("a part fits");
    let entry = Entries::new(&part.frame[HEADER_BYTES..], 1).next().expect("one").expect("legal");
    let sent = entry.payload.len();
    assert_eq!(builder.large_bytes(), LONG - sent + PENDING_OVERHEAD);
    assert_eq!(builder.under_way(), UnderWay { reached: sent as u32, total: LONG as u32 });
    let least = Entry::encoded_len(LEAST_PART, 0, true);
    assert!(next(&mut builder, &mut outbox, least - 1).is_none(), "that is not worth it");
    assert!(next(&mut builder, &mut outbox, least).is_some());
    assert!(next(&mut builder, &mut outbox, LONG).is_some() && builder.large_bytes() == 0);
    assert_eq!(builder.finished.len(), 1);
    assert!(next(&mut builder, &mut outbox, LONG).is_none() && builder.finished.is_empty());
}

#[test]
fn messages_keep_their_numbers_where_parts_and_whole_ones_share_a_batch() {
    let mut outbox = unpacked(&[Level::Fifo; 3]);
    let (mut builder, mut reassembly) = (Builder::new(4), Reassembly::default());
    let part = next(&mut builder, &mut outbox, LONG / 2).expect("a part fits");
    assert_eq!((put_together(&mut reassembly, &part), reassembly.total()), (vec![], LONG));
    let rest = next(&mut builder, &mut outbox, 3 * LONG).expect("all of it");
    let expected = [(4, vec![1; LONG]), (5, vec![2; LONG]), (6, vec![3; LONG])];
    assert_eq!(put_together(&mut reassembly, &rest), expected[..rest.header.count.into()]);
    assert_eq!((rest.header.count > 1, reassembly.total(), reassembly.bytes()), (true, 0, 0));
}

#[test]
fn what_is_incomplete_at_a_views_end_is_dropped_and_comes_whole_in_the_next() {
    let mut outbox = unpacked(&[Level::Fifo]);
    let (mut builder, mut reassembly) = (Builder::new(1), Reassembly::default());
    let part = next(&mut builder, &mut outbox, LONG / 2).expect("a part fits");
    assert_eq!(put_together(&mut reassembly, &part), []);
    assert!(reassembly.bytes() > 0);
    reassembly.clear();
    assert_eq!((reassembly.bytes(), reassembly.total()), (0, 0));
    builder.restart(Plants::default());
    assert_eq!(builder.under_way(), UnderWay::default());
    let all = next(&mut builder, &mut outbox, limits::BATCH_BYTES).expect("it fits");
    assert_eq!((all.header.batch, put_together(&mut reassembly, &all)), (1, vec![(1, vec![1; LONG])]));
}
