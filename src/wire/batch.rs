//! The batch: one fixed header and a sender's messages back to back, each with a short prefix (R2).

use bytes::BufMut;

use super::{BATCH_TYPE, Malformed};
use crate::types::{Seat, limits};

/// Bytes of a batch header.
pub const HEADER_BYTES: usize = 48;
/// Bytes of a message's prefix, without its optional parts.
pub const PREFIX_BYTES: usize = 8;
/// Bytes of the optional token.
pub const TOKEN_BYTES: usize = 8;
/// Bytes of the optional fragment part: total length and offset.
pub const FRAGMENT_BYTES: usize = 8;
/// Room for the two tags of a sealed batch, after the header, when [`FLAG_SEALED`] is set.
pub const SEAL_BYTES: usize = 32;

/// The batch is sealed: two 16-byte tags follow the header. Reserved; refused until sealing exists.
pub const FLAG_SEALED: u8 = 1;
/// At least one message of the batch is a fragment.
pub const FLAG_FRAGMENTS: u8 = 2;

const PREFIX_TOKEN: u8 = 1;
const PREFIX_FRAGMENT: u8 = 2;

const _: () = assert!(HEADER_BYTES + SEAL_BYTES + limits::BATCH_BYTES <= limits::CHUNK_BYTES);
const _: () = assert!(limits::BATCH_BYTES / PREFIX_BYTES <= u16::MAX as usize);

/// How a message is delivered (D4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Level {
    /// In the order sent, once, without a gap (D1).
    Fifo = 1,
    /// In one order at all members, the sender among them.
    Agreed = 2,
    /// In that order, and not before every ready member holds it.
    Safe = 3,
    /// In a datagram of its own: never in a batch.
    Unreliable = 4,
}

impl Level {
    fn of(byte: u8) -> Result<Level, Malformed> {
        match byte {
            1 => Ok(Level::Fifo),
            2 => Ok(Level::Agreed),
            3 => Ok(Level::Safe),
            _ => Err(Malformed("a level of delivery that this version does not know")),
        }
    }
}

/// Names a stream: the tag of its batches, and who numbers them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StreamId(u64, Seat);

impl StreamId {
    /// The stream of whole batches that are our own, or were checked.
    pub fn of(batches: &[u8]) -> StreamId {
        let word = |at: usize| u64::from_le_bytes(batches[at..at + 8].try_into().expect("eight bytes"));
        StreamId(word(8), Seat(word(16) as u32))
    }
}

/// The fixed header of a batch, checked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Header {
    /// `FLAG_…`.
    pub flags: u8,
    /// How many messages (or fragments) it carries; at least one.
    pub count: u16,
    /// Bytes of the message area that follows the header.
    pub length: u32,
    /// Stands for the view (stream to everybody) or for the two incarnations (stream to one).
    pub tag: u64,
    /// Who numbered it.
    pub sender: Seat,
    /// For whom; [`Seat::EVERYBODY`] or one member.
    pub receiver: Seat,
    /// Its number in the stream, from 1.
    pub batch: u64,
    /// The number of its first message in the sender's stream, from 1.
    pub first_message: u64,
}

impl Header {
    /// The encoding, with its checksum (R4).
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut h = [0; HEADER_BYTES];
        h[0] = BATCH_TYPE;
        h[1] = self.flags;
        h[2..4].copy_from_slice(&self.count.to_le_bytes());
        h[4..8].copy_from_slice(&self.length.to_le_bytes());
        h[8..16].copy_from_slice(&self.tag.to_le_bytes());
        h[16..20].copy_from_slice(&self.sender.0.to_le_bytes());
        h[20..24].copy_from_slice(&self.receiver.0.to_le_bytes());
        h[24..32].copy_from_slice(&self.batch.to_le_bytes());
        h[32..40].copy_from_slice(&self.first_message.to_le_bytes());
        let crc = crc32fast::hash(&h[..HEADER_BYTES - 4]);
        h[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        h
    }

    /// What tells its stream from all others: no order holds between two of them.
    pub fn stream(&self) -> StreamId {
        StreamId(self.tag, self.sender)
    }

    /// Checks everything a header alone can tell.
    pub fn decode(h: &[u8; HEADER_BYTES]) -> Result<Header, Malformed> {
        let word = |at: usize| u64::from_le_bytes(h[at..at + 8].try_into().expect("eight bytes"));
        let half = |at: usize| u32::from_le_bytes(h[at..at + 4].try_into().expect("four bytes"));
        if h[0] != BATCH_TYPE {
            return Err(Malformed("not a batch"));
        }
        if half(HEADER_BYTES - 4) != crc32fast::hash(&h[..HEADER_BYTES - 4]) {
            return Err(Malformed("checksum of a batch header"));
        }
        let header = Header {
            flags: h[1],
            count: u16::from_le_bytes([h[2], h[3]]),
            length: half(4),
            tag: word(8),
            sender: Seat(half(16)),
            receiver: Seat(half(20)),
            batch: word(24),
            first_message: word(32),
        };
        header.check(half(40))?;
        Ok(header)
    }

    fn check(&self, reserved: u32) -> Result<(), Malformed> {
        let length = self.length as usize;
        if self.flags & FLAG_SEALED != 0 {
            return Err(Malformed("a sealed batch without a key"));
        }
        if self.flags & !FLAG_FRAGMENTS != 0 || reserved != 0 {
            return Err(Malformed("reserved bits of a batch header"));
        }
        if length > limits::BATCH_BYTES || length < usize::from(self.count) * PREFIX_BYTES || self.count == 0 {
            return Err(Malformed("length and count of a batch do not fit"));
        }
        if self.sender == Seat::EVERYBODY || self.batch == 0 || self.first_message == 0 {
            return Err(Malformed("a number of a batch header is zero"));
        }
        if self.first_message.checked_add(u64::from(self.count)).is_none() {
            return Err(Malformed("the numbers of a batch's messages go round"));
        }
        Ok(())
    }
}

/// Where a fragment lies in its message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// Length of the whole message.
    pub total: u32,
    /// Where this part begins.
    pub offset: u32,
}

/// One entry of a batch: a message, or a fragment of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// How it is delivered.
    pub level: Level,
    /// The sender's token, 0 = none.
    pub token: u64,
    /// Present when it is a part of a longer message.
    pub fragment: Option<Fragment>,
    /// The bytes.
    pub payload: &'a [u8],
}

impl Entry<'_> {
    /// Whether a message ends with this entry.
    pub fn ends_message(&self) -> bool {
        self.fragment.is_none_or(|f| f.offset as usize + self.payload.len() == f.total as usize)
    }

    /// Bytes that the entry takes in a batch.
    #[inline]
    pub fn encoded_len(payload: usize, token: u64, fragment: bool) -> usize {
        PREFIX_BYTES + if token != 0 { TOKEN_BYTES } else { 0 } + if fragment { FRAGMENT_BYTES } else { 0 } + payload
    }

    /// Appends the entry to a message area.
    #[inline]
    pub fn put(&self, out: &mut impl BufMut) {
        self.put_prefix(out);
        out.put_slice(self.payload);
    }

    /// Appends all of the entry but its payload.
    #[inline]
    pub fn put_prefix(&self, out: &mut impl BufMut) {
        let flags =
            if self.token != 0 { PREFIX_TOKEN } else { 0 } | if self.fragment.is_some() { PREFIX_FRAGMENT } else { 0 };
        let kind = u32::from_le_bytes([self.level as u8, KIND_MESSAGE, flags, 0]);
        out.put_u64_le(self.payload.len() as u64 | u64::from(kind) << 32);
        if self.token != 0 {
            out.put_slice(&self.token.to_le_bytes());
        }
        if let Some(fragment) = self.fragment {
            out.put_slice(&fragment.total.to_le_bytes());
            out.put_slice(&fragment.offset.to_le_bytes());
        }
    }
}

/// The kind of a host's message; others are kept for the library's own use of streams.
pub const KIND_MESSAGE: u8 = 0;
/// The kind of an entry that says what comes next in the order (R29): alone in its batch, and no message.
pub const KIND_ORDER: u8 = 1;
/// The kind of an entry that asks for room for a long message (R28), likewise.
pub const KIND_WANT: u8 = 2;
/// The kind of an entry that says whose turn it is to send one, likewise.
pub const KIND_GRANT: u8 = 3;
/// Bytes of one place in the order.
pub const PLACE_BYTES: usize = 12;

/// A place in the order of all members: next come the batches of one stream up to this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The sender of the stream, by its position in the view.
    pub stream: u32,
    /// The number of its last batch that belongs here.
    pub upto: u64,
}

/// What the library itself says in a stream, in a batch of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// What comes next in the order of all members.
    Order(Vec<Place>),
    /// Its sender wants to send a message of so many bytes.
    Want(u32),
    /// It is the turn of the member at this position of the view.
    Grant(u32),
}

impl Notice {
    fn kind_and_bytes(&self) -> (u8, usize) {
        match self {
            Notice::Order(places) => (KIND_ORDER, places.len() * PLACE_BYTES),
            Notice::Want(_) => (KIND_WANT, 4),
            Notice::Grant(_) => (KIND_GRANT, 4),
        }
    }

    /// Bytes of its entry.
    pub(crate) fn encoded_len(&self) -> usize {
        PREFIX_BYTES + self.kind_and_bytes().1
    }

    /// Appends its entry.
    pub fn put(&self, out: &mut impl BufMut) {
        let (kind, bytes) = self.kind_and_bytes();
        out.put_slice(&(bytes as u32).to_le_bytes());
        out.put_slice(&[Level::Fifo as u8, kind, 0, 0]);
        match self {
            Notice::Want(number) | Notice::Grant(number) => out.put_slice(&number.to_le_bytes()),
            Notice::Order(places) => places.iter().for_each(|place| {
                out.put_slice(&place.stream.to_le_bytes());
                out.put_slice(&place.upto.to_le_bytes());
            }),
        }
    }

    /// What a message area says, if it is no messages.
    pub fn of(area: &[u8], count: u16) -> Option<Result<Notice, Malformed>> {
        let (prefix, rest) = area.split_first_chunk::<PREFIX_BYTES>()?;
        let kind = prefix[5];
        if !matches!(kind, KIND_ORDER | KIND_WANT | KIND_GRANT) {
            return None;
        }
        let len = u32::from_le_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]) as usize;
        let legal = count == 1 && prefix[4] == Level::Fifo as u8 && prefix[6..] == [0, 0] && len == rest.len();
        let notice = match (kind, rest.try_into()) {
            _ if !legal => None,
            (KIND_ORDER, _) => places(rest).map(Notice::Order),
            (KIND_WANT, Ok(number)) => Some(Notice::Want(u32::from_le_bytes(number))),
            (_, Ok(number)) => Some(Notice::Grant(u32::from_le_bytes(number))),
            _ => None,
        };
        Some(notice.ok_or(Malformed("an entry of the library's own")))
    }
}

fn places(bytes: &[u8]) -> Option<Vec<Place>> {
    let (places, odd) = bytes.as_chunks::<PLACE_BYTES>();
    let place = |p: &[u8; PLACE_BYTES]| Place {
        stream: u32::from_le_bytes([p[0], p[1], p[2], p[3]]),
        upto: u64::from_le_bytes([p[4], p[5], p[6], p[7], p[8], p[9], p[10], p[11]]),
    };
    (odd.is_empty() && !places.is_empty()).then(|| places.iter().map(place).collect())
}

/// Whether a checked message area holds messages.
pub(crate) fn has_messages(area: &[u8]) -> bool {
    area.get(5) == Some(&KIND_MESSAGE)
}

/// The level of an area of exactly `count` whole messages of one level, none of them with a token, as nearly all are: one look at each prefix. `None`:
/// it is another one, or none at all, which [`Entries`] finds out.
pub(crate) fn plain_level(area: &[u8], count: u16) -> Option<Level> {
    let kind = (word_of(area.first_chunk()?) >> 32) as u32;
    let level = Level::of(u8::try_from(kind).ok()?).ok()?;
    let mut rest = area;
    let mut length = Guess::default();
    for _ in 0..count {
        let (prefix, after) = rest.split_first_chunk()?;
        let word = word_of(prefix);
        if (word >> 32) as u32 != kind {
            return None;
        }
        rest = after.get(length.of(word)..)?;
    }
    rest.is_empty().then_some(level)
}

/// Guesses that a message is as long as the one before it, as most are. So a processor goes on to the next prefix before it has read this
/// one: without a guess each waits for the memory of the one before.
#[derive(Clone, Copy, Default, Debug)]
struct Guess {
    word: u64,
    length: usize,
}

impl Guess {
    #[inline]
    fn of(&mut self, word: u64) -> usize {
        if word != self.word {
            self.learn(word);
        }
        self.length
    }

    /// Out of line, so that it stays a branch, which is predicted.
    #[cold]
    #[inline(never)]
    fn learn(&mut self, word: u64) {
        (self.word, self.length) = (word, word as u32 as usize);
    }
}

#[inline]
fn word_of(prefix: &[u8; PREFIX_BYTES]) -> u64 {
    u64::from_le_bytes(*prefix)
}

/// Walks the whole messages of an area that was checked: token and payload of each.
#[derive(Clone, Debug)]
pub(crate) struct Walk<'a> {
    rest: &'a [u8],
    length: Guess,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(area: &'a [u8]) -> Walk<'a> {
        Walk { rest: area, length: Guess::default() }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = (u64, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<(u64, &'a [u8])> {
        let (prefix, mut rest) = self.rest.split_first_chunk()?;
        let word = word_of(prefix);
        let flags = (word >> 48) as u8;
        let mut token = 0;
        if flags != 0 {
            (token, rest) = take_token(rest, flags).ok()?;
        }
        let (payload, rest) = rest.split_at_checked(self.length.of(word))?;
        self.rest = rest;
        Some((token, payload))
    }
}

/// Walks the entries of a message area, checking each. After an error it ends.
#[derive(Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
    left: u16,
}

impl<'a> Entries<'a> {
    /// Walks `area`, which must hold exactly `count` entries.
    pub fn new(area: &'a [u8], count: u16) -> Entries<'a> {
        Entries { rest: area, left: count }
    }

    fn step(&mut self) -> Result<Entry<'a>, Malformed> {
        let (prefix, rest) =
            self.rest.split_first_chunk::<PREFIX_BYTES>().ok_or(Malformed("a message prefix is cut"))?;
        let len = u32::from_le_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]) as usize;
        let [level, kind, flags, reserved] = [prefix[4], prefix[5], prefix[6], prefix[7]];
        let level = Level::of(level)?;
        if kind != KIND_MESSAGE || reserved != 0 || flags & !(PREFIX_TOKEN | PREFIX_FRAGMENT) != 0 {
            return Err(Malformed("reserved bits of a message prefix"));
        }
        let (token, rest) = take_token(rest, flags)?;
        let (fragment, rest) = take_fragment(rest, flags, len)?;
        let (payload, rest) = rest.split_at_checked(len).ok_or(Malformed("a message is longer than its batch"))?;
        self.rest = rest;
        Ok(Entry { level, token, fragment, payload })
    }
}

fn take_token(rest: &[u8], flags: u8) -> Result<(u64, &[u8]), Malformed> {
    if flags & PREFIX_TOKEN == 0 {
        return Ok((0, rest));
    }
    let (token, rest) = rest.split_first_chunk().ok_or(Malformed("a token is cut"))?;
    match u64::from_le_bytes(*token) {
        0 => Err(Malformed("a token is present and zero")),
        token => Ok((token, rest)),
    }
}

fn take_fragment(rest: &[u8], flags: u8, len: usize) -> Result<(Option<Fragment>, &[u8]), Malformed> {
    if flags & PREFIX_FRAGMENT == 0 {
        return Ok((None, rest));
    }
    let (part, rest) = rest.split_first_chunk::<FRAGMENT_BYTES>().ok_or(Malformed("a fragment part is cut"))?;
    let total = u32::from_le_bytes([part[0], part[1], part[2], part[3]]);
    let offset = u32::from_le_bytes([part[4], part[5], part[6], part[7]]);
    if total as usize > limits::MESSAGE_BYTES || len == 0 || (offset as usize).saturating_add(len) > total as usize {
        return Err(Malformed("a fragment lies outside its message"));
    }
    Ok((Some(Fragment { total, offset }), rest))
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            if self.rest.is_empty() {
                return None;
            }
            self.rest = &[];
            return Some(Err(Malformed("bytes after the last message of a batch")));
        }
        self.left -= 1;
        let entry = self.step();
        if entry.is_err() {
            self.left = 0;
            self.rest = &[];
        }
        Some(entry)
    }
}
