//! Probes of `decurion mcast-test`: numbered datagrams that also carry what their sender has heard of the others.
//!
//! They have a mark of their own: members of a cluster on the same group count them as foreign, and drop them.

use bytes::Bytes;

use super::codec::wire_struct;
use super::{Malformed, Reader, Wire};
use crate::types::{Name, limits};

/// "DCNp".
const MAGIC: u32 = 0x704e_4344;
/// Mark and checksum.
const FRAME_BYTES: usize = 4 + 4;

/// Longest probe: it fits a packet of any kind, in fragments.
pub const LONGEST: usize = 60_000;
/// The shortest probe that is sent: the longest name fits, and a word about one other tester with such a name.
pub const SHORTEST: usize = FRAME_BYTES + Probe::MIN_BYTES + Sighting::MIN_BYTES + 2 * limits::NAME_BYTES;
const _: () = assert!(SHORTEST < 300);

/// A numbered datagram of a tester.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    /// Drawn when the tester starts: two of one name are told apart.
    pub tester: u64,
    /// What the administrator calls it.
    pub name: Name,
    /// 1 for its first probe, then one more each.
    pub number: u64,
    /// The sender's clock.
    pub sent_us: u64,
    /// Longest probe that it sends, in bytes.
    pub largest: u32,
    /// What it has heard of testers, itself among them: as many as this probe has room for, the others in the next ones.
    pub sightings: Vec<Sighting>,
}

/// What one tester has heard of another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sighting {
    /// The other one.
    pub tester: u64,
    /// Its name.
    pub name: Name,
    /// Probes that were heard, each counted once.
    pub received: u64,
    /// Probes between the first and the newest that were not.
    pub lost: u64,
    /// Probes that came after one that was sent later.
    pub disordered: u64,
    /// Probes that had been heard before.
    pub duplicated: u64,
    /// Longest probe that was heard, in bytes.
    pub largest: u32,
    /// How long a probe and its echo took in the mean; 0 = not known yet.
    pub rtt_us: u64,
    /// `sent_us` of the newest probe that was heard.
    pub echo_us: u64,
    /// How long ago that was heard.
    pub echo_age_us: u64,
}

wire_struct! {
    Probe { tester: u64, name: Name, number: u64, sent_us: u64, largest: u32, sightings: Vec<Sighting> }
    Sighting { tester: u64, name: Name, received: u64, lost: u64, disordered: u64, duplicated: u64, largest: u32, rtt_us: u64, echo_us: u64, echo_age_us: u64 }
}

impl Sighting {
    fn len(&self) -> usize {
        // The least bytes count one byte of a name.
        Sighting::MIN_BYTES - 1 + self.name.as_str().len()
    }
}

impl Probe {
    /// Adds what there is room for in a probe of `length` bytes, and answers how many that were.
    pub fn fill(&mut self, length: usize, sightings: impl Iterator<Item = Sighting>) -> usize {
        let mut room = length.saturating_sub(FRAME_BYTES + Probe::MIN_BYTES - 1 + self.name.as_str().len());
        room = room.saturating_sub(self.sightings.iter().map(Sighting::len).sum());
        let before = self.sightings.len();
        for sighting in sightings {
            let Some(rest) = room.checked_sub(sighting.len()) else { break };
            room = rest;
            self.sightings.push(sighting);
        }
        self.sightings.len() - before
    }

    /// The whole datagram, with zeros up to this length; longer if its content is.
    pub fn encode(&self, length: usize) -> Bytes {
        let mut out = Vec::with_capacity(length.max(SHORTEST));
        MAGIC.put(&mut out);
        self.put(&mut out);
        out.resize(out.len().max(length.saturating_sub(4)), 0);
        crc32fast::hash(&out).put(&mut out);
        Bytes::from(out)
    }

    /// Checks and reads a whole datagram.
    pub fn decode(bytes: &[u8]) -> Result<Probe, Malformed> {
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(Malformed("a datagram is cut"))?;
        let mut reader = Reader::new(body);
        if u32::take(&mut reader)? != MAGIC {
            return Err(Malformed("not a probe"));
        }
        if bytes.len() > LONGEST {
            return Err(Malformed("a probe is too long"));
        }
        if u32::from_le_bytes(*crc) != crc32fast::hash(body) {
            return Err(Malformed("checksum of a datagram"));
        }
        let probe = Probe::take(&mut reader)?;
        if probe.number == 0 {
            return Err(Malformed("probes are numbered from 1"));
        }
        let rest = reader.remaining();
        if reader.bytes(rest)?.iter().any(|byte| *byte != 0) {
            return Err(Malformed("a probe ends with something else than zeros"));
        }
        Ok(probe)
    }
}
