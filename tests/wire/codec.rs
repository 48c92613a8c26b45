//! The values that control frames and datagrams are made of: one encoding each, every cut found, no count believed.

use std::fmt::Debug;
use std::net::SocketAddr;

use bytes::Bytes;
use decurion::types::{Ballot, Incarnation, Name, Seat, ViewId, limits};
use decurion::wire::{Reader, Wire};
use proptest::prelude::*;

fn encode<T: Wire>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    value.put(&mut out);
    out
}

fn decode<T: Wire>(bytes: &[u8]) -> Option<T> {
    let mut reader = Reader::new(bytes);
    let value = T::take(&mut reader).ok()?;
    reader.end().ok().map(|()| value)
}

/// Round trip, the promised least size, and an error for every shorter or longer input.
fn is_sound<T: Wire + PartialEq + Debug>(value: &T) {
    let bytes = encode(value);
    assert!(bytes.len() >= T::MIN_BYTES, "{value:?} takes {} bytes, less than promised", bytes.len());
    assert_eq!(decode::<T>(&bytes).as_ref(), Some(value));
    for end in 0..bytes.len() {
        assert_eq!(decode::<T>(&bytes[..end]), None, "{end} of {} bytes passed", bytes.len());
    }
    assert_eq!(decode::<T>(&[bytes.as_slice(), &[0]].concat()), None, "a byte too many passed");
}

fn view_id() -> impl Strategy<Value = ViewId> {
    (any::<u64>(), any::<u64>(), any::<u128>()).prop_map(|(number, round, coordinator)| ViewId {
        number,
        ballot: Ballot { round, coordinator: Incarnation(coordinator) },
    })
}

fn name() -> impl Strategy<Value = Name> {
    "[^\\pC\\pZ,@]{1,16}".prop_map(|text| Name::new(&text))
}

/// Any address; scope and flow label of IPv6 stay at home, as they mean nothing to others.
fn address() -> impl Strategy<Value = SocketAddr> {
    let v4 = (any::<[u8; 4]>(), any::<u16>()).prop_map(SocketAddr::from);
    let v6 = (any::<[u16; 8]>(), any::<u16>()).prop_map(SocketAddr::from);
    prop_oneof![v4, v6]
}

proptest! {
    #[test]
    fn numbers(a in any::<u8>(), b in any::<u16>(), c in any::<u32>(), d in any::<u64>(), e in any::<u128>()) {
        is_sound(&a);
        is_sound(&b);
        is_sound(&c);
        is_sound(&d);
        is_sound(&e);
        is_sound(&Seat(c));
        is_sound(&Incarnation(e));
        is_sound(&(a > 100));
    }

    #[test]
    fn composed(
        view in view_id(),
        option in prop::option::of(any::<u64>()),
        pairs in prop::collection::vec((any::<u32>(), any::<u64>()), 0..12),
        names in prop::collection::vec(name(), 0..6),
        address in address(),
        bytes in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        is_sound(&view);
        is_sound(&option);
        is_sound(&pairs.iter().map(|(a, b)| (Seat(*a), *b)).collect::<Vec<_>>());
        is_sound(&names);
        is_sound(&address);
        is_sound(&Bytes::from(bytes));
    }

    #[test]
    fn texts(text in "\\PC{0,40}") {
        is_sound(&text);
    }

    /// A text over its bound is cut at a character when written, so that a refusal always fits.
    #[test]
    fn long_texts_are_cut(text in "\\PC{200,900}") {
        let back: String = decode(&encode(&text)).expect("what we write is legal");
        prop_assert!(text.starts_with(&back));
        prop_assert!(back.len() <= limits::REASON_BYTES);
        prop_assert!(back.len() + 4 > limits::REASON_BYTES || back == text);
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode::<Vec<(Seat, u64)>>(&bytes);
        let _ = decode::<Vec<Vec<Option<Name>>>>(&bytes);
        let _ = decode::<(SocketAddr, String)>(&bytes);
        let _ = decode::<(ViewId, Option<Bytes>)>(&bytes);
        if let Some(value) = decode::<(SocketAddr, Vec<bool>)>(&bytes) {
            prop_assert_eq!(encode(&value), bytes, "a legal value has one encoding");
        }
    }
}

#[test]
fn single_rules() {
    assert_eq!(decode::<bool>(&[2]), None, "a flag of two");
    assert_eq!(decode::<Option<u8>>(&[7, 1]), None, "an option of seven");
    assert_eq!(decode::<Name>(&[0, 0]), None, "an empty name");
    assert_eq!(decode::<Name>(&[1, 0, 0xff]), None, "a name that is not UTF-8");
    let long = [encode(&65u16), vec![b'a'; 65]].concat();
    assert_eq!(decode::<Name>(&long), None, "a name over its bound");
    assert_eq!(decode::<String>(&[encode(&513u16), vec![b'a'; 513]].concat()), None, "a text over its bound");
    assert_eq!(decode::<SocketAddr>(&[5, 127, 0, 0, 1, 1, 1]), None, "an address of an unknown family");
    assert_eq!(decode::<Vec<u8>>(&[255, 255, 255, 255, 1]), None, "a count that nothing backs");
}

/// A stranger's name goes into lists, logs and terminals like a configured one.
#[test]
fn names_are_what_a_configuration_takes_for_one() {
    let name = |text: &str| decode::<Name>(&encode(&text.to_owned()));
    for legal in ["a", "größer-7100", "n_1.x:[y]"] {
        assert_eq!(name(legal), Some(Name::new(legal)));
    }
    for wrong in ["a b", " a", "a,b", "a@b", "a\nb", "a\u{1b}[2J", "a\u{a0}b", "a\u{2028}b", "\0"] {
        assert_eq!(name(wrong), None, "{wrong:?}");
    }
}

/// Seniority and quorum rest on the order of these.
#[test]
fn order_of_ballots_and_views() {
    let ballot = |round, c| Ballot { round, coordinator: Incarnation(c) };
    assert!(ballot(2, 0) > ballot(1, u128::MAX));
    assert!(ballot(2, 2) > ballot(2, 1));
    let view = |number, round| ViewId { number, ballot: ballot(round, 1) };
    assert!(view(2, 1) > view(1, 9));
    assert_ne!(view(2, 1).tag(), view(1, 2).tag());
}
