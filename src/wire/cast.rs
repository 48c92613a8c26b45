//! Datagrams to a multicast group: beacons, by which members find and hear each other, and the batches of streams to everybody.
//!
//! Sixteen bytes come first: a mark, a checksum over all that follows it (R4), and what stands for the cluster's name, so that
//! several clusters can use one group. What follows begins with a byte that says what it is.

use std::net::SocketAddr;

use bytes::Bytes;

use super::batch::{self, Header};
use super::codec::wire_struct;
use super::{BATCH_TYPE, Malformed, Reader, Wire};
use crate::types::{Incarnation, Seat};

/// "DCNm".
const MAGIC: u32 = 0x6d4e_4344;
/// Bytes before the content.
pub const HEAD_BYTES: usize = 16;
const BEACON_TYPE: u8 = 2;
const LOOSE_TYPE: u8 = 3;
/// Bytes of a message of its own before its payload, after the sixteen.
pub const LOOSE_BYTES: usize = 1 + LooseHead::MIN_BYTES;
/// What a datagram needs beside the messages of a batch.
pub const OVERHEAD_BYTES: usize = HEAD_BYTES + batch::HEADER_BYTES;

/// "I am here": every heartbeat, to whoever listens (R30).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beacon {
    /// Which life of whom speaks.
    pub from: Incarnation,
    /// Where it takes connections.
    pub address: SocketAddr,
    /// Tag of the view that it is in; 0 = it looks for one.
    pub view_tag: u64,
    /// The last batch of its own stream to everybody.
    pub newest: u64,
    /// Bytes of datagrams that can wait at it until it takes them: nobody has more under way than the least of all.
    pub room: u32,
    /// Bytes of the longest datagram that gets to it whole: nobody sends longer ones than the least of all.
    pub longest: u32,
}

/// A message outside of all streams, which may be lost (D4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LooseHead {
    /// Which life of whom speaks.
    pub from: Incarnation,
    /// To which life it speaks; none = everybody.
    pub to: Incarnation,
    /// Tag of the view that it is in.
    pub view_tag: u64,
    /// Grows with each of that life's messages of this kind: none is taken twice.
    pub number: u64,
    /// The sender's token, 0 = none.
    pub token: u64,
}

wire_struct! {
    Beacon { from: Incarnation, address: SocketAddr, view_tag: u64, newest: u64, room: u32, longest: u32 }
    LooseHead { from: Incarnation, to: Incarnation, view_tag: u64, number: u64, token: u64 }
}

/// Whether a datagram is of this kind, to whomever it came.
pub fn is_cast(datagram: &[u8]) -> bool {
    datagram.starts_with(&MAGIC.to_le_bytes())
}

/// What a datagram to the group says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cast {
    /// A sign of life.
    Beacon(Beacon),
    /// The frame of a batch, header included.
    Batch(Header, Bytes),
    /// A message of its own.
    Loose(LooseHead, Bytes),
}

/// What there is of a datagram that is not for us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unread {
    /// Another cluster's.
    Foreign,
    /// Not one of ours, or damaged on the way.
    Malformed(Malformed),
}

impl From<Malformed> for Unread {
    fn from(bad: Malformed) -> Unread {
        Unread::Malformed(bad)
    }
}

/// Whose batch a datagram seems to be: the tag and the seat in its header, nothing of it checked. Enough to leave one's own aside.
pub fn claims_to_be_of(datagram: &[u8]) -> Option<(u64, Seat)> {
    let header = datagram.get(HEAD_BYTES..)?.first_chunk::<{ batch::HEADER_BYTES }>()?;
    let tag = u64::from_le_bytes(*header[8..].first_chunk()?);
    let seat = Seat(u32::from_le_bytes(*header[16..].first_chunk()?));
    (header[0] == BATCH_TYPE).then_some((tag, seat))
}

/// The bytes that go before `content`.
pub fn head(cluster: u64, content: &[u8]) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&MAGIC.to_le_bytes());
    head[8..].copy_from_slice(&cluster.to_le_bytes());
    let crc = checksum(&head[8..], content);
    head[4..8].copy_from_slice(&crc.to_le_bytes());
    head
}

impl Beacon {
    /// The content of a beacon.
    pub fn encode(&self) -> Bytes {
        let mut out = vec![BEACON_TYPE];
        self.put(&mut out);
        Bytes::from(out)
    }
}

impl LooseHead {
    /// The content of a message of its own.
    pub fn encode(&self, payload: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(LOOSE_BYTES + payload.len());
        out.push(LOOSE_TYPE);
        self.put(&mut out);
        out.extend_from_slice(payload);
        Bytes::from(out)
    }
}

/// Checks and reads a whole datagram; a batch or a payload stays where it is.
pub fn decode(cluster: u64, datagram: &Bytes) -> Result<Cast, Unread> {
    let (head, content) = datagram.split_first_chunk::<HEAD_BYTES>().ok_or(Malformed("a datagram is cut"))?;
    if head[..4] != MAGIC.to_le_bytes() {
        return Err(Malformed("not one of our datagrams").into());
    }
    if head[8..] != cluster.to_le_bytes() {
        return Err(Unread::Foreign);
    }
    if head[4..8] != checksum(&head[8..], content).to_le_bytes() {
        return Err(Malformed("checksum of a datagram").into());
    }
    Ok(read(datagram.slice(HEAD_BYTES..))?)
}

fn read(content: Bytes) -> Result<Cast, Malformed> {
    match content.first() {
        Some(&BATCH_TYPE) => {
            let raw = content.first_chunk().ok_or(Malformed("a batch header is cut"))?;
            let header = Header::decode(raw)?;
            if content.len() != batch::HEADER_BYTES + header.length as usize {
                return Err(Malformed("length of a batch in a datagram"));
            }
            Ok(Cast::Batch(header, content))
        }
        Some(&BEACON_TYPE) => {
            let mut reader = Reader::new(&content[1..]);
            let beacon = Beacon::take(&mut reader)?;
            reader.end()?;
            Ok(Cast::Beacon(beacon))
        }
        Some(&LOOSE_TYPE) => {
            let head = content.get(1..LOOSE_BYTES).ok_or(Malformed("a message of its own is cut"))?;
            let head = LooseHead::take(&mut Reader::new(head))?;
            Ok(Cast::Loose(head, content.slice(LOOSE_BYTES..)))
        }
        _ => Err(Malformed("unknown kind of datagram")),
    }
}

fn checksum(cluster: &[u8], content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(cluster);
    hasher.update(content);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    const CLUSTER: u64 = 7;

    fn datagram(content: &[u8]) -> Bytes {
        [&head(CLUSTER, content)[..], content].concat().into()
    }

    fn frame() -> Bytes {
        let header = Header {
            flags: 0,
            count: 1,
            length: 12,
            tag: 9,
            sender: Seat(1),
            receiver: Seat::EVERYBODY,
            batch: 3,
            first_message: 5,
        };
        [&header.encode()[..], &[0; 12]].concat().into()
    }

    #[test]
    fn each_kind_comes_back_as_it_went() {
        let (from, address) = (Incarnation(5), ([10, 0, 0, 1], 7100).into());
        let beacon = Beacon { from, address, view_tag: 9, newest: 4, room: 1, longest: 1_472 };
        assert_eq!(decode(CLUSTER, &datagram(&beacon.encode())), Ok(Cast::Beacon(beacon)));
        let Ok(Cast::Batch(header, whole)) = decode(CLUSTER, &datagram(&frame())) else { panic!("it is a batch") };
        assert_eq!((header.batch, whole), (3, frame()));
        assert_eq!(claims_to_be_of(&datagram(&frame())), Some((9, Seat(1))));
        assert_eq!(claims_to_be_of(&datagram(&beacon.encode())), None);
        let loose = LooseHead { from: Incarnation(5), to: Incarnation::NONE, view_tag: 9, number: 1, token: 6 };
        let read = decode(CLUSTER, &datagram(&loose.encode(b"tick")));
        assert_eq!(read, Ok(Cast::Loose(loose, Bytes::from_static(b"tick"))));
    }

    #[test]
    fn another_cluster_is_told_from_damage_and_no_flipped_bit_passes() {
        let good = datagram(&frame());
        assert_eq!(decode(CLUSTER + 1, &good), Err(Unread::Foreign));
        for bit in 0..good.len() * 8 {
            let mut bad = good.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(CLUSTER, &bad.into()).is_err(), "bit {bit}");
        }
        for cut in 0..good.len() {
            assert!(decode(CLUSTER, &good.slice(..cut)).is_err(), "{cut} bytes");
        }
    }
}
