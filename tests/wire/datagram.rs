//! Datagrams: each kind is read back as written, no damaged one is believed, and each fits.

use decurion::types::{Incarnation, limits};
use decurion::wire::datagram::{Datagram, Envelope, Heartbeat, LeaseAnswer, LeaseRound};
use proptest::prelude::*;

fn envelope() -> impl Strategy<Value = Envelope> {
    any::<(u64, u128, u128)>().prop_map(|(cluster, from, to)| Envelope {
        cluster,
        from: Incarnation(from),
        to: Incarnation(to),
    })
}

fn datagram() -> impl Strategy<Value = Datagram> {
    let heartbeat = any::<(u64, u64, u64, u64, u64, u32, u32)>().prop_map(
        |(view_number, view_tag, sent_us, echo_us, echo_age_us, heard_ms, late_ms)| {
            Datagram::Heartbeat(Heartbeat { view_number, view_tag, sent_us, echo_us, echo_age_us, heard_ms, late_ms })
        },
    );
    let round = any::<(u64, u64, u64, u64)>().prop_map(|(view_tag, round, base_us, granted)| {
        Datagram::LeaseRound(LeaseRound { view_tag, round, base_us, granted })
    });
    let answer = any::<(u64, u64, u64)>()
        .prop_map(|(view_tag, round, clock_us)| Datagram::LeaseAnswer(LeaseAnswer { view_tag, round, clock_us }));
    prop_oneof![heartbeat, round, answer, Just(Datagram::NotMember)]
}

proptest! {
    #[test]
    fn round_trip(envelope in envelope(), datagram in datagram()) {
        let bytes = datagram.encode(&envelope);
        prop_assert!(bytes.len() <= limits::DATAGRAM_BYTES);
        prop_assert_eq!(Datagram::decode(&bytes), Ok((envelope, datagram)));
    }

    /// CRC32 finds up to three flipped bits at this length; all single and double ones are tried.
    #[test]
    fn every_cut_and_every_flip_is_found(envelope in envelope(), datagram in datagram()) {
        let good = datagram.encode(&envelope);
        for end in 0..good.len() {
            prop_assert!(Datagram::decode(&good[..end]).is_err(), "{} of {} bytes passed", end, good.len());
        }
        let mut bad = good.to_vec();
        for first in 0..good.len() * 8 {
            bad[first / 8] ^= 1 << (first % 8);
            prop_assert!(Datagram::decode(&bad).is_err(), "bit {} flipped unseen", first);
            for second in (first + 1..good.len() * 8).step_by(7) {
                bad[second / 8] ^= 1 << (second % 8);
                prop_assert!(Datagram::decode(&bad).is_err(), "bits {} and {} flipped unseen", first, second);
                bad[second / 8] ^= 1 << (second % 8);
            }
            bad[first / 8] ^= 1 << (first % 8);
        }
    }

    #[test]
    fn any_sealed_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..160), kind in 0..6u8) {
        let mut bytes = b"DCNd".to_vec();
        bytes.push(kind);
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        if let Ok((envelope, datagram)) = Datagram::decode(&bytes) {
            prop_assert_eq!(&datagram.encode(&envelope)[..], &bytes[..], "a legal datagram has one encoding");
        }
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..1_500)) {
        prop_assert!(Datagram::decode(&bytes).is_err());
    }
}
