//! Datagrams to a multicast group: each kind is read back as written, no damaged one is believed, payload stays where it is, and what a
//! datagram claims costs nothing.
//!
//! A binary of its own, because it counts what the global allocator hands out.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;

use bytes::Bytes;
use decurion::types::{Incarnation, Seat, limits};
use decurion::wire::batch::{self, FLAG_FRAGMENTS, Header, PREFIX_BYTES};
use decurion::wire::cast::{Beacon, Cast, HEAD_BYTES, LOOSE_BYTES, LooseHead, Unread, decode, head, is_cast};
use proptest::prelude::*;

struct Counting;

thread_local! {
    static ALLOCATED_BYTES: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Fails only while a thread is torn down; what is allocated then is not ours to count.
        let _ = ALLOCATED_BYTES.try_with(|total| total.set(total.get() + layout.size()));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What may be allocated to read any datagram: where it lies shared, a note of that.
const READING_BYTES: usize = 64;

fn datagram(cluster: u64, content: &[u8]) -> Bytes {
    [&head(cluster, content)[..], content].concat().into()
}

fn address() -> impl Strategy<Value = SocketAddr> {
    let v4 = (any::<[u8; 4]>(), any::<u16>()).prop_map(SocketAddr::from);
    let v6 = (any::<[u16; 8]>(), any::<u16>()).prop_map(SocketAddr::from);
    prop_oneof![v4, v6]
}

fn beacon() -> impl Strategy<Value = Beacon> {
    (any::<u128>(), address(), any::<(u64, u64, u32, u32)>()).prop_map(
        |(from, address, (view_tag, newest, room, longest))| Beacon {
            from: Incarnation(from),
            address,
            view_tag,
            newest,
            room,
            longest,
        },
    )
}

fn loose() -> impl Strategy<Value = (LooseHead, Vec<u8>)> {
    (any::<(u128, u128, u64, u64, u64)>(), prop::collection::vec(any::<u8>(), 0..200)).prop_map(
        |((from, to, view_tag, number, token), payload)| {
            (LooseHead { from: Incarnation(from), to: Incarnation(to), view_tag, number, token }, payload)
        },
    )
}

/// A header, and an area of the length that it tells.
fn frame() -> impl Strategy<Value = (Header, Bytes)> {
    let numbers = (any::<u64>(), 1..u32::MAX, any::<u32>(), 1..u64::MAX / 2, 1..u64::MAX / 2);
    (any::<bool>(), 1..8u16, prop::collection::vec(any::<u8>(), 8 * PREFIX_BYTES..200), numbers).prop_map(
        |(fragments, count, area, (tag, sender, receiver, batch, first_message))| {
            let header = Header {
                flags: if fragments { FLAG_FRAGMENTS } else { 0 },
                count,
                length: area.len() as u32,
                tag,
                sender: Seat(sender),
                receiver: Seat(receiver),
                batch,
                first_message,
            };
            (header, Bytes::from([&header.encode()[..], &area].concat()))
        },
    )
}

/// The content of a datagram of any kind.
fn content() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        beacon().prop_map(|beacon| beacon.encode()),
        loose().prop_map(|(head, payload)| head.encode(&payload)),
        frame().prop_map(|(_, frame)| frame),
    ]
}

proptest! {
    #[test]
    fn beacons_come_back(cluster in any::<u64>(), beacon in beacon()) {
        let bytes = datagram(cluster, &beacon.encode());
        prop_assert!(is_cast(&bytes) && bytes.len() <= limits::DATAGRAM_BYTES);
        prop_assert_eq!(decode(cluster, &bytes), Ok(Cast::Beacon(beacon)));
    }

    #[test]
    fn batches_come_back_where_they_lie(cluster in any::<u64>(), (header, frame) in frame()) {
        let bytes = datagram(cluster, &frame);
        let Ok(Cast::Batch(read, place)) = decode(cluster, &bytes) else { panic!("it is a batch") };
        prop_assert_eq!((read, &place), (header, &frame));
        prop_assert_eq!(place.as_ptr(), bytes[HEAD_BYTES..].as_ptr(), "it was copied");
    }

    #[test]
    fn messages_of_their_own_come_back_where_they_lie(cluster in any::<u64>(), (head, payload) in loose()) {
        let bytes = datagram(cluster, &head.encode(&payload));
        let Ok(Cast::Loose(read, place)) = decode(cluster, &bytes) else { panic!("it is a message of its own") };
        prop_assert_eq!((read, &place[..]), (head, &payload[..]));
        prop_assert_eq!(place.as_ptr(), bytes[HEAD_BYTES + LOOSE_BYTES..].as_ptr(), "it was copied");
    }

    /// CRC32 finds up to three flipped bits at this length; all single and some double ones are tried.
    #[test]
    fn every_cut_and_every_flip_is_found(cluster in any::<u64>(), content in content()) {
        let good = datagram(cluster, &content);
        for end in 0..good.len() {
            prop_assert!(decode(cluster, &good.slice(..end)).is_err(), "{} of {} bytes passed", end, good.len());
        }
        let longer = Bytes::from([&good[..], &[0]].concat());
        prop_assert!(decode(cluster, &longer).is_err(), "a byte too many passed");
        let bits = good.len() * 8;
        for first in 0..bits {
            for second in [first, (first * 7 + 13) % bits, (first + 1) % bits] {
                let mut bad = good.to_vec();
                bad[first / 8] ^= 1 << (first % 8);
                if second != first {
                    bad[second / 8] ^= 1 << (second % 8);
                }
                prop_assert!(decode(cluster, &bad.into()).is_err(), "bits {} and {} flipped unseen", first, second);
            }
        }
    }

    #[test]
    fn another_cluster_is_told_from_damage(cluster in any::<u64>(), by in 1..u64::MAX, content in content()) {
        prop_assert_eq!(decode(cluster ^ by, &datagram(cluster, &content)), Err(Unread::Foreign));
    }

    /// A liar's datagrams have true checksums: what then passes for legal is legal, and has one encoding.
    #[test]
    fn any_sealed_bytes_are_refused_or_legal(kind in 0..5u8, body in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut content = vec![kind];
        content.extend_from_slice(&body);
        check_legal(&content)?;
    }

    #[test]
    fn sealed_damage_is_refused_or_legal(
        content in content(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut content = content.to_vec();
        for (at, byte) in damage {
            let at = at.index(content.len());
            content[at] = byte;
        }
        if let Some(raw) = content.first_chunk_mut::<{ batch::HEADER_BYTES }>().filter(|raw| raw[0] == 1) {
            let crc = crc32fast::hash(&raw[..batch::HEADER_BYTES - 4]);
            raw[batch::HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        }
        check_legal(&content)?;
    }

    #[test]
    fn any_bytes_are_refused(cluster in any::<u64>(), bytes in prop::collection::vec(any::<u8>(), 0..1_500)) {
        prop_assert!(decode(cluster, &bytes.into()).is_err());
    }

    /// Whatever it claims, nothing is allocated for a datagram but the note that its memory is shared.
    #[test]
    fn reading_costs_nothing(
        content in prop_oneof![content(), prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)],
    ) {
        let bytes = datagram(7, &content);
        let before = ALLOCATED_BYTES.get();
        let read = decode(7, &bytes);
        let cost = ALLOCATED_BYTES.get() - before;
        prop_assert!(cost <= READING_BYTES, "{} bytes to read {:?}", cost, read);
    }
}

fn check_legal(content: &[u8]) -> Result<(), TestCaseError> {
    let back = match decode(7, &datagram(7, content)) {
        Ok(Cast::Beacon(beacon)) => beacon.encode(),
        Ok(Cast::Loose(head, payload)) => head.encode(&payload),
        Ok(Cast::Batch(header, frame)) => {
            prop_assert!(header.count > 0 && header.batch > 0 && header.first_message > 0);
            prop_assert_eq!(&header.encode()[..], &frame[..batch::HEADER_BYTES]);
            frame
        }
        Err(_) => return Ok(()),
    };
    prop_assert_eq!(&back[..], content, "a legal datagram has one encoding");
    Ok(())
}

#[test]
fn the_counter_counts() {
    let before = ALLOCATED_BYTES.get();
    drop(std::hint::black_box(vec![0u8; 10_000]));
    assert!(ALLOCATED_BYTES.get() - before >= 10_000);
}
