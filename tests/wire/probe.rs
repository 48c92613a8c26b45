//! Probes of `mcast-test`: read back as written at any length, no damaged one is believed, and no bytes panic.

use decurion::types::{Name, limits};
use decurion::wire::probe::{LONGEST, Probe, SHORTEST, Sighting};
use proptest::prelude::*;

fn name() -> impl Strategy<Value = Name> {
    (1..=limits::NAME_BYTES).prop_map(|length| Name::new(&"n".repeat(length)))
}

fn sighting() -> impl Strategy<Value = Sighting> {
    (name(), any::<(u64, u64, u64, u64, u64, u32)>(), any::<(u64, u64, u64)>()).prop_map(
        |(name, (tester, received, lost, disordered, duplicated, largest), (rtt_us, echo_us, echo_age_us))| Sighting {
            tester,
            name,
            received,
            lost,
            disordered,
            duplicated,
            largest,
            rtt_us,
            echo_us,
            echo_age_us,
        },
    )
}

fn probe() -> impl Strategy<Value = Probe> {
    (name(), any::<(u64, u64, u32)>(), 1..=u64::MAX, prop::collection::vec(sighting(), 0..6)).prop_map(
        |(name, (tester, sent_us, largest), number, sightings)| Probe {
            tester,
            name,
            number,
            sent_us,
            largest,
            sightings,
        },
    )
}

proptest! {
    #[test]
    fn round_trip(probe in probe(), length in 0..3_000usize) {
        let bytes = probe.encode(length);
        prop_assert!(bytes.len() >= length);
        prop_assert_eq!(Probe::decode(&bytes), Ok(probe));
    }

    /// What a probe is filled with fits the length that it was filled for, and one fits always.
    #[test]
    fn a_filled_probe_has_its_length(
        mut probe in probe(), length in SHORTEST..2_000, more in prop::collection::vec(sighting(), 1..30)
    ) {
        probe.sightings.clear();
        let count = probe.fill(length, more.iter().cloned());
        prop_assert!(count >= 1);
        prop_assert_eq!(&probe.sightings[..], &more[..count]);
        prop_assert_eq!(probe.encode(length).len(), length);
        if let Some(next) = more.get(count) {
            probe.sightings.push(next.clone());
            prop_assert!(probe.encode(length).len() > length, "there was room for one more");
        }
    }

    #[test]
    fn every_cut_and_every_flip_is_found(probe in probe()) {
        let good = probe.encode(0);
        for end in 0..good.len() {
            prop_assert!(Probe::decode(&good[..end]).is_err(), "{} of {} bytes passed", end, good.len());
        }
        let mut bad = good.to_vec();
        for bit in 0..good.len() * 8 {
            bad[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Probe::decode(&bad).is_err(), "bit {} flipped unseen", bit);
            bad[bit / 8] ^= 1 << (bit % 8);
        }
    }

    /// A sealed frame of anything: read as a value with one encoding, or refused.
    #[test]
    fn any_sealed_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = b"DCNp".to_vec();
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        if let Ok(probe) = Probe::decode(&bytes) {
            prop_assert_eq!(&probe.encode(bytes.len())[..], &bytes[..]);
        }
    }

    /// As above, from good probes of which a few bytes are others: further in than noise comes.
    #[test]
    fn sealed_changes_never_panic(probe in probe(), changes in prop::collection::vec(any::<(usize, u8)>(), 1..8)) {
        let mut bytes = probe.encode(0).to_vec();
        let body = bytes.len() - 4;
        for (at, byte) in changes {
            bytes[4 + at % (body - 4)] = byte;
        }
        let crc = crc32fast::hash(&bytes[..body]);
        bytes[body..].copy_from_slice(&crc.to_le_bytes());
        if let Ok(probe) = Probe::decode(&bytes) {
            prop_assert_eq!(&probe.encode(bytes.len())[..], &bytes[..]);
        }
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..1_500)) {
        prop_assert!(Probe::decode(&bytes).is_err());
    }
}

#[test]
fn what_is_longer_than_any_probe_is_refused() {
    let probe = Probe { tester: 1, name: Name::new("a"), number: 1, sent_us: 1, largest: 1, sightings: Vec::new() };
    assert_eq!(Probe::decode(&probe.encode(LONGEST)), Ok(probe.clone()));
    assert!(Probe::decode(&probe.encode(LONGEST + 1)).is_err());
    let zero = Probe { number: 0, ..probe };
    assert!(Probe::decode(&zero.encode(100)).is_err());
}
