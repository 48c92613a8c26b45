//! Batch headers and the entries of a batch: what is written is read back, and nothing else is believed.

use decurion::types::{Seat, limits};
use decurion::wire::batch::{
    Entries, Entry, FLAG_FRAGMENTS, FRAGMENT_BYTES, Fragment, HEADER_BYTES, Header, Level, Notice, PREFIX_BYTES, Place,
    TOKEN_BYTES,
};
use proptest::prelude::*;

fn header() -> impl Strategy<Value = Header> {
    let length = (1..=limits::BATCH_BYTES as u32)
        .prop_filter("room for one prefix", |length| *length as usize >= PREFIX_BYTES)
        .prop_flat_map(|length| (1..=(length as usize / PREFIX_BYTES) as u16).prop_map(move |count| (length, count)));
    let flags = prop::sample::select(vec![0, FLAG_FRAGMENTS]);
    (length, flags, any::<u64>(), 1..=u32::MAX, any::<u32>(), 1..=u64::MAX, 1..=u64::MAX >> 1).prop_map(
        |((length, count), flags, tag, sender, receiver, batch, first_message)| Header {
            flags,
            count,
            length,
            tag,
            sender: Seat(sender),
            receiver: Seat(receiver),
            batch,
            first_message,
        },
    )
}

/// An entry that owns its payload, so that a strategy can make it.
#[derive(Clone, Debug)]
struct Owned {
    level: Level,
    token: u64,
    fragment: Option<Fragment>,
    payload: Vec<u8>,
}

impl Owned {
    fn entry(&self) -> Entry<'_> {
        Entry { level: self.level, token: self.token, fragment: self.fragment, payload: &self.payload }
    }
}

fn owned() -> impl Strategy<Value = Owned> {
    let token = prop_oneof![Just(0), any::<u64>()];
    let payload = prop::collection::vec(any::<u8>(), 0..200);
    let part = prop_oneof![Just(None), (0..500_000u32, 0..500_000u32).prop_map(Some)];
    let level = prop::sample::select(vec![Level::Fifo, Level::Agreed, Level::Safe]);
    (level, token, payload, part).prop_map(|(level, token, payload, part)| {
        let fragment = part
            .filter(|_| !payload.is_empty())
            .map(|(offset, after)| Fragment { total: offset + payload.len() as u32 + after, offset });
        Owned { level, token, fragment, payload }
    })
}

fn area(entries: &[Owned]) -> Vec<u8> {
    let mut out = Vec::new();
    entries.iter().for_each(|owned| owned.entry().put(&mut out));
    out
}

/// Walks an area to its end, within a bound that a correct walk cannot reach; how many entries, and whether all were good.
fn walk(area: &[u8], count: u16) -> (usize, bool) {
    let mut entries = Entries::new(area, count);
    let (mut good, mut steps) = (0, 0);
    let mut sound = true;
    for entry in entries.by_ref() {
        steps += 1;
        assert!(steps <= usize::from(count) + 1, "the walk goes on after {steps} steps for {count} entries");
        match entry {
            Ok(entry) => {
                assert!(sound, "an entry after an error");
                let within = area.as_ptr_range();
                let payload = entry.payload.as_ptr_range();
                assert!(within.start <= payload.start && payload.end <= within.end, "a payload was copied");
                good += 1;
            }
            Err(_) => sound = false,
        }
    }
    assert!(entries.next().is_none(), "the walk does not stay ended");
    (good, sound)
}

proptest! {
    #[test]
    fn header_round_trip(header in header()) {
        prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
    }

    /// CRC32 finds every error of up to three bits in a header's length; all single and double ones are tried.
    #[test]
    fn header_flips_are_found(header in header()) {
        let good = header.encode();
        for first in 0..HEADER_BYTES * 8 {
            for second in first..HEADER_BYTES * 8 {
                let mut bad = good;
                bad[first / 8] ^= 1 << (first % 8);
                if second != first {
                    bad[second / 8] ^= 1 << (second % 8);
                }
                prop_assert!(Header::decode(&bad).is_err(), "bits {} and {} flipped unseen", first, second);
            }
        }
    }

    #[test]
    fn any_header_bytes_are_checked(bytes in prop::array::uniform32(any::<u8>()), rest in prop::array::uniform16(any::<u8>())) {
        let mut raw = [0; HEADER_BYTES];
        raw[..32].copy_from_slice(&bytes);
        raw[32..].copy_from_slice(&rest);
        // Random bytes have no checksum; with a true one, only the rules of the header stand between them and us.
        prop_assert!(Header::decode(&raw).is_err());
        raw[0] = 1;
        let crc = crc32fast::hash(&raw[..HEADER_BYTES - 4]);
        raw[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        if let Ok(header) = Header::decode(&raw) {
            prop_assert_eq!(header.encode(), raw, "a legal header has one encoding");
        }
    }

    #[test]
    fn entries_round_trip(entries in prop::collection::vec(owned(), 1..40)) {
        let area = area(&entries);
        let expected: usize = entries
            .iter()
            .map(|e| Entry::encoded_len(e.payload.len(), e.token, e.fragment.is_some()))
            .sum();
        prop_assert_eq!(area.len(), expected);
        let back: Vec<Entry<'_>> = Entries::new(&area, entries.len() as u16).collect::<Result<_, _>>().unwrap();
        let sent: Vec<Entry<'_>> = entries.iter().map(Owned::entry).collect();
        prop_assert_eq!(back, sent);
    }

    #[test]
    fn every_truncation_is_an_error(entries in prop::collection::vec(owned(), 1..12)) {
        let whole = area(&entries);
        for end in 0..whole.len() {
            let (_, sound) = walk(&whole[..end], entries.len() as u16);
            prop_assert!(!sound, "{} of {} bytes passed for all", end, whole.len());
        }
    }

    #[test]
    fn a_wrong_count_is_an_error(entries in prop::collection::vec(owned(), 1..12), count in any::<u16>()) {
        let whole = area(&entries);
        let (good, sound) = walk(&whole, count);
        prop_assert_eq!(sound, usize::from(count) == entries.len());
        prop_assert!(good <= entries.len());
    }

    #[test]
    fn flipped_entries_never_panic(
        entries in prop::collection::vec(owned(), 1..12),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u8), 1..6),
    ) {
        let mut bytes = area(&entries);
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        walk(&bytes, entries.len() as u16);
    }

    #[test]
    fn any_entry_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), count in any::<u16>()) {
        walk(&bytes, count);
    }
}

fn sound_header() -> Header {
    Header {
        flags: 0,
        count: 2,
        length: 64,
        tag: 9,
        sender: Seat(1),
        receiver: Seat::EVERYBODY,
        batch: 1,
        first_message: 1,
    }
}

/// Every rule of a header by itself, behind a true checksum.
#[test]
fn header_rules() {
    assert!(Header::decode(&sound_header().encode()).is_ok());
    let bad: &[(&str, Header)] = &[
        ("no messages", Header { count: 0, ..sound_header() }),
        ("longer than a batch may be", Header { length: limits::BATCH_BYTES as u32 + 1, ..sound_header() }),
        ("more messages than their prefixes fit", Header { count: 9, ..sound_header() }),
        ("sealed without a key", Header { flags: 1, ..sound_header() }),
        ("an unknown flag", Header { flags: 4, ..sound_header() }),
        ("sent by everybody", Header { sender: Seat::EVERYBODY, ..sound_header() }),
        ("batch number zero", Header { batch: 0, ..sound_header() }),
        ("message number zero", Header { first_message: 0, ..sound_header() }),
        ("message numbers that go round", Header { first_message: u64::MAX - 1, ..sound_header() }),
    ];
    for (what, header) in bad {
        assert!(Header::decode(&header.encode()).is_err(), "{what} passed");
    }
    let mut other_type = sound_header().encode();
    other_type[0] = 2;
    let crc = crc32fast::hash(&other_type[..HEADER_BYTES - 4]);
    other_type[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    assert!(Header::decode(&other_type).is_err(), "another type passed for a batch");
}

/// Every rule of an entry by itself.
#[test]
fn entry_rules() {
    let part = |total: u32, offset: u32| [total.to_le_bytes(), offset.to_le_bytes()].concat();
    let prefix = |len: u32, rest: [u8; 4]| [len.to_le_bytes(), rest].concat();
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("a level that is not built", prefix(0, [4, 0, 0, 0])),
        ("level zero", prefix(0, [0, 0, 0, 0])),
        ("an unknown kind", prefix(0, [1, 4, 0, 0])),
        ("room for a long message among messages", prefix(0, [1, 2, 0, 0])),
        ("a place in the order among messages", prefix(0, [1, 1, 0, 0])),
        ("an unknown flag", prefix(0, [1, 0, 4, 0])),
        ("a reserved byte", prefix(0, [1, 0, 0, 1])),
        ("a token of zero", [prefix(0, [1, 0, 1, 0]), vec![0; TOKEN_BYTES]].concat()),
        ("an empty fragment", [prefix(0, [1, 0, 2, 0]), part(10, 0)].concat()),
        ("a fragment past its message", [prefix(1, [1, 0, 2, 0]), part(10, 10), vec![7]].concat()),
        ("a fragment whose offset overflows", [prefix(1, [1, 0, 2, 0]), part(10, u32::MAX), vec![7]].concat()),
        ("a message over the bound", {
            [prefix(1, [1, 0, 2, 0]), part(limits::MESSAGE_BYTES as u32 + 1, 0), vec![7]].concat()
        }),
        ("a length past the area", prefix(u32::MAX, [1, 0, 0, 0])),
    ];
    for (what, bytes) in bad {
        assert_eq!(walk(&bytes, 1), (0, false), "{what}");
    }
    assert_eq!(walk(&[prefix(1, [1, 0, 2, 0]), part(10, 9), vec![7]].concat(), 1), (1, true));
    assert_eq!(FRAGMENT_BYTES, part(0, 0).len());
}

/// An entry of the order of all members stands alone, and every rule of it by itself.
#[test]
fn order_rules() {
    let places = [Place { stream: 3, upto: 9 }, Place { stream: 0, upto: u64::MAX }];
    let mut area = Vec::new();
    Notice::Order(places.to_vec()).put(&mut area);
    assert_eq!(Notice::of(&area, 1), Some(Ok(Notice::Order(places.to_vec()))));
    let refused = |area: &[u8], count| matches!(Notice::of(area, count), Some(Err(_)));
    assert!(refused(&area, 2) && refused(&area, 0), "alone in its batch");
    assert!((PREFIX_BYTES..area.len()).all(|cut| refused(&area[..cut], 1)), "cut anywhere");
    assert!(refused(&[&area[..], &[0]].concat(), 1), "something behind it");
    for (at, byte) in [(0, 23), (4, 2), (4, 0), (6, 1), (7, 1)] {
        let mut bad = area.clone();
        bad[at] = byte;
        assert!(refused(&bad, 1), "byte {at}");
    }
    let mut empty = Vec::new();
    Notice::Order(Vec::new()).put(&mut empty);
    assert!(refused(&empty, 1), "no place");
    let entry = Entry { level: Level::Safe, token: 0, fragment: None, payload: b"x" };
    let mut message = Vec::new();
    entry.put(&mut message);
    assert_eq!(Notice::of(&message, 1), None, "a message is none");
    assert_eq!(Notice::of(&message[..5], 1), None);
}

/// What is said about room for long messages, likewise.
#[test]
fn room_rules() {
    for notice in [Notice::Want(70_000), Notice::Grant(u32::MAX)] {
        let mut area = Vec::new();
        notice.put(&mut area);
        assert_eq!((area.len(), Notice::of(&area, 1)), (PREFIX_BYTES + 4, Some(Ok(notice.clone()))));
        let refused = |area: &[u8], count| matches!(Notice::of(area, count), Some(Err(_)));
        assert!(refused(&area, 2) && (PREFIX_BYTES..area.len()).all(|cut| refused(&area[..cut], 1)), "{notice:?}");
        assert!(refused(&[&area[..], &[0]].concat(), 1), "something behind it");
        for (at, byte) in [(0, 3), (4, 2), (6, 1), (7, 1)] {
            let mut bad = area.clone();
            bad[at] = byte;
            assert!(refused(&bad, 1), "byte {at} of {notice:?}");
        }
    }
}

#[test]
fn the_last_part_ends_a_message() {
    let entry = |fragment, payload| Entry { level: Level::Fifo, token: 0, fragment, payload };
    assert!(entry(None, b"abc").ends_message());
    assert!(!entry(Some(Fragment { total: 7, offset: 0 }), b"abc").ends_message());
    assert!(entry(Some(Fragment { total: 7, offset: 4 }), b"abc").ends_message());
}
