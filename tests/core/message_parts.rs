//! Parts of long messages: which may follow which, who asks before the first one, and what is put together at once (R4, R28).

use decurion::core::{LargeRules, ReadyPolicy, To};
use decurion::wire::batch::{Entry, Fragment, Level};

use crate::sender::Sender;
use crate::stage::{ME, PEER, THIRD, patient, view};
use crate::support::{Cluster, Stream};

const UNASKED: usize = 64 * 1024;
const ROOM: usize = 500_000;
const PART: usize = 1_000;

fn cluster() -> Cluster {
    Cluster::new(4, |_, setup| setup.large = LargeRules { unasked_bytes: UNASKED, room_bytes: ROOM })
}

fn entry(fragment: Option<Fragment>) -> Vec<u8> {
    let mut area = Vec::new();
    Entry { level: Level::Fifo, token: 0, fragment, payload: &[7; PART] }.put(&mut area);
    area
}

/// A part of a message of so many bytes.
fn part(total: usize, offset: usize) -> Vec<u8> {
    entry(Some(Fragment { total: total as u32, offset: offset as u32 }))
}

/// What the first of all members finds first, and in whom.
fn first_fault(c: &mut Cluster, node: usize) -> String {
    c.faults(node).first().map_or_else(String::new, |(who, what)| format!("{who}: {what}"))
}

#[test]
fn whose_parts_do_not_follow_each_other_is_named() {
    let c = cluster();
    // The last of each ends a message.
    let fault = |areas: &[Vec<u8>]| {
        let mut c = c.clone();
        c.faults(0);
        for (area, at) in areas.iter().zip(1..) {
            c.say_area(Stream::Messages, (2, 0), area, u64::from(at == areas.len()));
        }
        first_fault(&mut c, 0)
    };
    let (first, second, whole) = (part(3 * PART, 0), part(3 * PART, PART), entry(None));
    let wrong = "m2: fragments of a message do not follow each other";
    assert_eq!(fault(&[part(2 * PART, PART)]), wrong, "nothing has begun");
    assert_eq!(fault(&[first.clone(), first.clone()]), wrong, "it begins again");
    assert_eq!(fault(&[first.clone(), part(3 * PART, 2 * PART)]), wrong, "one is left out");
    assert_eq!(fault(&[first.clone(), second.clone(), second.clone()]), wrong, "one comes twice");
    assert_eq!(fault(&[first.clone(), part(2 * PART, PART)]), wrong, "that is of another message");
    assert_eq!(fault(&[first.clone(), whole.clone()]), wrong, "the other one has not ended");
    assert_eq!(fault(&[first, second, part(3 * PART, 2 * PART)]), "");
    assert_eq!(fault(&[whole]), "");
}

#[test]
fn who_sends_asks_for_room_from_the_first_byte_beyond_what_needs_none() {
    for to in [To::Everybody, To::Member(PEER)] {
        for (bytes, asks) in [(UNASKED, false), (UNASKED + 1, true)] {
            let mut sender = Sender::within(&view(11, &[PEER, ME, THIRD]), |setup| {
                patient(setup);
                setup.large.unasked_bytes = UNASKED;
            });
            sender.send(to, 1, bytes);
            let first = sender.sent().first().expect("it says something").length;
            assert_eq!(first < 100, asks, "{first} bytes of {bytes} come first");
        }
    }
}

/// Their senders have asked nobody, so whoever has been given all of the room has it beside them.
#[test]
fn what_needs_no_room_takes_none_from_a_long_message() {
    let c = cluster();
    let fault = |beside: usize| {
        let mut c = c.clone();
        c.faults(1);
        for (sender, total) in [(3, beside), (2, ROOM)] {
            // All come over the member that leads and coordinates.
            c.say_to_everybody(sender, (0, 1), &part(total, 0), 1);
        }
        first_fault(&mut c, 1)
    };
    assert_eq!(fault(UNASKED), "");
    assert_eq!(fault(UNASKED + 1), "m2: a long message without a grant");
}

/// Nobody waits for who is not ready (R24): there a long message may begin before the one before it has ended.
#[test]
fn who_is_not_ready_puts_together_what_comes_however_much_that_is() {
    for (ready, expected) in [(ReadyPolicy::Host, ""), (ReadyPolicy::OnAdmission, "m3: a long message without a grant")]
    {
        let mut c = Cluster::new(4, |node, setup| {
            setup.large = LargeRules { unasked_bytes: UNASKED, room_bytes: ROOM };
            setup.ready = if node == 1 { ready } else { ReadyPolicy::OnAdmission };
        });
        c.faults(1);
        for sender in [2, 3] {
            c.say_to_everybody(sender, (0, 1), &part(ROOM, 0), 1);
        }
        assert_eq!((&*first_fault(&mut c, 1), c.member(1).check()), (expected, Ok(())));
    }
}
