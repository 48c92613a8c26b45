//! Datagrams: heartbeats and lease rounds. A checksum covers the whole datagram (R4).

use bytes::Bytes;

use super::codec::wire_struct;
use super::{Malformed, Reader, Wire};
use crate::types::{Incarnation, limits};

/// "DCNd".
const MAGIC: u32 = 0x644e_4344;

/// Fields of every datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// Stands for the cluster's name: strangers on one port do not disturb each other.
    pub cluster: u64,
    /// Which life of whom speaks.
    pub from: Incarnation,
    /// To which life it speaks.
    pub to: Incarnation,
}

/// A sign of life along a link (R30).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// Number of the view that the sender is in.
    pub view_number: u64,
    /// Tag of that view.
    pub view_tag: u64,
    /// The sender's clock.
    pub sent_us: u64,
    /// The newest `sent_us` heard from the receiver; 0 = none.
    pub echo_us: u64,
    /// How long ago that was heard.
    pub echo_age_us: u64,
    /// How long ago anything was heard from the receiver, over either transport.
    pub heard_ms: u32,
    /// How late the sender's own loop was lately: its word about others weighs less (V6).
    pub late_ms: u32,
}

/// The coordinator asks for a lease round, and tells which one a majority has answered (R22).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaseRound {
    /// Tag of the view.
    pub view_tag: u64,
    /// Number of this round.
    pub round: u64,
    /// The newest clock value that the receiver told in an answer; 0 = none. The lease counts from it.
    pub base_us: u64,
    /// The newest round that enough voters answered in time, and that the receiver answered; 0 = none.
    pub granted: u64,
}

/// The answer to a lease round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaseAnswer {
    /// Tag of the view.
    pub view_tag: u64,
    /// Echoed.
    pub round: u64,
    /// The answering member's clock.
    pub clock_us: u64,
}

/// What a datagram says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Datagram {
    /// Along every link.
    Heartbeat(Heartbeat),
    /// From the coordinator.
    LeaseRound(LeaseRound),
    /// To the coordinator.
    LeaseAnswer(LeaseAnswer),
    /// "The incarnation that you are is not in my view": a hint to ask over a connection.
    NotMember,
}

wire_struct! {
    Envelope { cluster: u64, from: Incarnation, to: Incarnation }
    Heartbeat { view_number: u64, view_tag: u64, sent_us: u64, echo_us: u64, echo_age_us: u64, heard_ms: u32, late_ms: u32 }
    LeaseRound { view_tag: u64, round: u64, base_us: u64, granted: u64 }
    LeaseAnswer { view_tag: u64, round: u64, clock_us: u64 }
}

/// Bytes of the longest datagram: mark, kind, envelope, a heartbeat, checksum. Every field has a fixed size, so the least
/// bytes of a value are all its bytes.
const LONGEST: usize = 4 + 1 + Envelope::MIN_BYTES + Heartbeat::MIN_BYTES + 4;
const _: () = assert!(Envelope::MIN_BYTES == 40 && Heartbeat::MIN_BYTES == 48);
const _: () = assert!(LeaseRound::MIN_BYTES == 32 && LeaseAnswer::MIN_BYTES == 24);
const _: () = assert!(LONGEST <= limits::DATAGRAM_BYTES);

impl Datagram {
    /// The whole datagram.
    pub fn encode(&self, envelope: &Envelope) -> Bytes {
        let mut out = Vec::with_capacity(LONGEST);
        MAGIC.put(&mut out);
        out.push(match self {
            Datagram::Heartbeat(_) => 1,
            Datagram::LeaseRound(_) => 2,
            Datagram::LeaseAnswer(_) => 3,
            Datagram::NotMember => 4,
        });
        envelope.put(&mut out);
        match self {
            Datagram::Heartbeat(body) => body.put(&mut out),
            Datagram::LeaseRound(body) => body.put(&mut out),
            Datagram::LeaseAnswer(body) => body.put(&mut out),
            Datagram::NotMember => {}
        }
        crc32fast::hash(&out).put(&mut out);
        Bytes::from(out)
    }

    /// Checks and reads a whole datagram.
    pub fn decode(bytes: &[u8]) -> Result<(Envelope, Datagram), Malformed> {
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(Malformed("a datagram is cut"))?;
        let mut reader = Reader::new(body);
        if u32::take(&mut reader)? != MAGIC {
            return Err(Malformed("not one of our datagrams"));
        }
        if u32::from_le_bytes(*crc) != crc32fast::hash(body) {
            return Err(Malformed("checksum of a datagram"));
        }
        let kind = u8::take(&mut reader)?;
        let envelope = Envelope::take(&mut reader)?;
        let datagram = match kind {
            1 => Datagram::Heartbeat(Wire::take(&mut reader)?),
            2 => Datagram::LeaseRound(Wire::take(&mut reader)?),
            3 => Datagram::LeaseAnswer(Wire::take(&mut reader)?),
            4 => Datagram::NotMember,
            _ => return Err(Malformed("unknown kind of datagram")),
        };
        reader.end()?;
        Ok((envelope, datagram))
    }
}
