//! A session as it lies in memory: one block, first what is known of it, in as few bytes as it takes, then its tokens and attributes.
//!
//! A block is as long as what the allocator gives out for it anyway, so that most changes are made in place, and what is counted is
//! what it takes.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use crate::types::{Epoch, MemberTag, limits};
use crate::wire::session::{Attributes, Role, pairs};

/// A record's share of the map: 16 bytes in a chunk, and in the tree nodes for eleven entries of 20 bytes, two thirds full, as they are
/// after ids in random order.
const SHARE_BYTES: usize = 60;
/// What the allocator puts in front of a block, and what it rounds both up to: as glibc's does. Others waste about as much.
const BLOCK_HEAD_BYTES: usize = 8;
const BLOCK_ROUND_BYTES: usize = 16;
/// From here on blocks are whole pages.
const PAGES_FROM_BYTES: usize = 128 * 1024;
const PAGE_BYTES: usize = 4_096;

/// One session as this member holds it, to be looked at; `Store::update` changes it.
#[derive(Clone, Debug)]
pub(crate) struct Session<'a> {
    pub(crate) epoch: Epoch,
    pub(crate) version: u64,
    /// Of a primary: who holds the other copy, or shall. A secondary's primary is the owner in its epoch.
    pub(crate) partner: MemberTag,
    /// Second of the member's clock at which it was last used.
    pub(crate) used_s: u32,
    /// Seconds after which it expires; 0 = never.
    pub(crate) ttl_s: u32,
    pub(crate) role: Role,
    /// Of a primary: the partner holds the newest version, or gets it in order.
    pub(crate) copied: bool,
    /// Of the last changes, the newest last: each as a number behind the one before, which is small.
    tokens: Cow<'a, [u8]>,
    pub(super) attributes: Cow<'a, [u8]>,
    /// Tokens and attributes are others than those in the store.
    fresh: bool,
}

impl<'a> Session<'a> {
    /// With this content; the rest is for the caller to say.
    pub(crate) fn new(
        role: Role, epoch: Epoch, version: u64, ttl_s: u32, tokens: &[u64], attributes: &'a [u8],
    ) -> Session<'a> {
        Session {
            epoch,
            version,
            partner: MemberTag::NONE,
            used_s: 0,
            ttl_s,
            role,
            copied: false,
            tokens: Cow::Owned(newest(tokens)),
            attributes: Cow::Borrowed(attributes),
            fresh: true,
        }
    }

    /// Adds the token of a change.
    pub(crate) fn add_token(&mut self, token: u64) {
        let tokens: Vec<u64> = self.tokens().chain([token]).collect();
        self.tokens = Cow::Owned(newest(&tokens));
        self.fresh = true;
    }

    /// Tokens of the last changes, the newest last.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = u64> {
        let (mut rest, mut last) = (HeadReader { rest: &self.tokens }, 0_u64);
        let next = move || {
            last = last.wrapping_add(rest.number());
            last
        };
        std::iter::repeat_with(next).take(count_of(&self.tokens))
    }

    /// A copy of its attributes.
    pub(crate) fn attributes(&self) -> Attributes {
        Attributes::from_trusted(Bytes::copy_from_slice(&self.attributes))
    }

    /// Its attributes after a change, in `raw` unless they are what is set. All three lists are in the order of their names.
    pub(crate) fn changed<'s>(
        &self, whole: bool, sets: &'s Attributes, removes: &Attributes, raw: &'s mut Vec<u8>,
    ) -> &'s [u8] {
        let set = sets.as_bytes();
        if whole {
            return set;
        }
        raw.clear();
        let (mut sets, mut removes) = (pairs(set).peekable(), pairs(removes.as_bytes()).peekable());
        // Bytes of what is set that come before the attribute looked at, and those of them that are in `raw`.
        let (mut before, mut put) = (0, 0);
        for (name, pair) in pairs(&self.attributes) {
            while let Some((_, pair)) = sets.next_if(|(other, _)| *other < name) {
                before += pair.len();
            }
            while removes.next_if(|(other, _)| *other < name).is_some() {}
            if ![sets.peek(), removes.peek()].into_iter().flatten().any(|(other, _)| *other == name) {
                raw.extend_from_slice(&set[put..before]);
                raw.extend_from_slice(pair);
                put = before;
            }
        }
        if raw.is_empty() {
            // Nothing stays of what was there.
            return set;
        }
        raw.extend_from_slice(&set[put..]);
        raw
    }

    /// What it costs.
    pub(crate) fn bytes(&self) -> usize {
        cost_of(self.tokens.len(), self.attributes.len())
    }

    fn content_bytes(&self) -> usize {
        self.tokens.len() + self.attributes.len()
    }

    /// How much more it costs after a change that makes its attributes so long.
    pub(crate) fn growth(&self, attributes: usize) -> usize {
        let tokens = (self.tokens.len() + NUMBER_BYTES).min(NUMBER_BYTES * limits::TOKENS);
        cost_of(tokens, attributes).saturating_sub(self.bytes())
    }

    pub(super) fn standing(&self, block_bytes: usize) -> Standing {
        let other = match self.role {
            Role::Primary if self.copied => self.partner,
            Role::Secondary => self.epoch.owner,
            _ => MemberTag::NONE,
        };
        let bytes = SHARE_BYTES + taken_by(block_bytes);
        Standing { role: self.role, single: self.role == Role::Primary && !self.copied, other, bytes }
    }
}

fn newest(tokens: &[u64]) -> Vec<u8> {
    let (mut encoded, mut last) = (Vec::new(), 0_u64);
    for token in &tokens[tokens.len().saturating_sub(limits::TOKENS)..] {
        encode_number(token.wrapping_sub(last), |byte| encoded.push(byte));
        last = *token;
    }
    encoded
}

/// How many numbers that is.
fn count_of(encoded: &[u8]) -> usize {
    encoded.iter().filter(|byte| **byte < 0x80).count()
}

/// Seven bits in a byte, the lowest first.
fn encode_number(mut number: u64, mut put: impl FnMut(u8)) {
    while number >= 0x80 {
        put(number as u8 | 0x80);
        number >>= 7;
    }
    put(number as u8);
}

/// What a session with so many bytes of tokens and attributes costs, at most.
fn cost_of(tokens: usize, attributes: usize) -> usize {
    SHARE_BYTES + taken_by(block_of(USUAL_HEAD_BYTES + tokens, attributes))
}

/// The length of the block for so many bytes of head and tokens, and of attributes: what the allocator would keep for them anyway.
fn block_of(head: usize, attributes: usize) -> usize {
    let bytes = head.max(USUAL_HEAD_BYTES + USUAL_TOKENS_BYTES) + attributes;
    (bytes + BLOCK_HEAD_BYTES).next_multiple_of(BLOCK_ROUND_BYTES).max(2 * BLOCK_ROUND_BYTES) - BLOCK_HEAD_BYTES
}

/// The memory that a block takes.
fn taken_by(block: usize) -> usize {
    let rounded = block + BLOCK_HEAD_BYTES;
    if block < PAGES_FROM_BYTES { rounded } else { (rounded + BLOCK_HEAD_BYTES).next_multiple_of(PAGE_BYTES) }
}

/// The head of a record: flags and small numbers, in the order in which they stand.
struct Head {
    bytes: [u8; Head::MOST_BYTES],
    length: usize,
}

/// The head of most records: one of the two members is this one or nobody, and the other numbers are small.
const USUAL_HEAD_BYTES: usize = 24;
/// Room for the tokens of most records, and for numbers that grow: a change that leaves the attributes as long as they were stays in
/// its block.
const USUAL_TOKENS_BYTES: usize = 16;
/// The longest number.
const NUMBER_BYTES: usize = 10;

/// In the second byte: the number of tokens; the owner is this member; there is no partner.
const TOKENS: u8 = 0xf;
const OWN: u8 = 1 << 4;
const NO_PARTNER: u8 = 1 << 5;
/// In the first byte, beside the role: the partner holds the newest version.
const COPIED: u8 = 1 << 3;
/// Where the head says how many bytes of the block are unused.
const SLACK_AT: usize = 2;

impl Head {
    const MOST_BYTES: usize = 57;

    fn of(session: &Session<'_>, me: MemberTag) -> Head {
        let mut head = Head { bytes: [0; Head::MOST_BYTES], length: 3 };
        head.bytes[0] = session.role as u8 | if session.copied { COPIED } else { 0 };
        head.bytes[1] = count_of(&session.tokens) as u8;
        head.put(&session.used_s.to_le_bytes());
        if session.epoch.owner == me {
            head.bytes[1] |= OWN;
        } else {
            head.put(&session.epoch.owner.0.to_le_bytes());
        }
        if session.partner == MemberTag::NONE {
            head.bytes[1] |= NO_PARTNER;
        } else {
            head.put(&session.partner.0.to_le_bytes());
        }
        head.put_number(u64::from(session.ttl_s));
        head.put_number(session.epoch.view);
        head.put_number(u64::from(session.epoch.counter));
        head.put_number(session.version);
        head
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn put_number(&mut self, number: u64) {
        encode_number(number, |byte| self.put(&[byte]));
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Reads what [`Head`] wrote.
struct HeadReader<'a> {
    rest: &'a [u8],
}

impl HeadReader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.rest.split_first_chunk::<N>().expect("a record has a whole head");
        self.rest = rest;
        *taken
    }

    #[inline]
    fn number(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let [byte] = self.take();
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return number;
            }
            shift += 7;
        }
    }

    fn tag(&mut self) -> MemberTag {
        MemberTag(u64::from_le_bytes(self.take()))
    }
}

/// One session, of which only what is asked for is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glance<'a> {
    pub(super) record: &'a Record,
    pub(super) me: MemberTag,
}

impl Glance<'_> {
    pub(crate) fn role(&self) -> Role {
        self.record.role()
    }

    pub(crate) fn is_copied(&self) -> bool {
        self.record.is_copied()
    }

    pub(crate) fn owner(&self) -> MemberTag {
        self.members().0
    }

    pub(crate) fn partner(&self) -> MemberTag {
        self.members().1
    }

    fn members(&self) -> (MemberTag, MemberTag) {
        let mut head = self.record.reader();
        let _used_s: [u8; 4] = head.take();
        self.record.members(self.me, &mut head)
    }

    /// Seconds after which it expires, and for how long nobody has used it.
    pub(crate) fn expiry(&self, now_s: u32) -> (u32, u32) {
        let mut head = self.record.reader();
        let used_s = u32::from_le_bytes(head.take());
        self.record.members(self.me, &mut head);
        (head.number() as u32, now_s.saturating_sub(used_s))
    }
}

/// A session in one block of memory.
#[derive(Clone, Hash, Default, Debug)]
pub(super) struct Record(pub(super) Box<[u8]>);

impl Record {
    pub(super) fn new(session: &Session<'_>, me: MemberTag) -> Record {
        let mut record = Record::default();
        record.write(&Head::of(session, me), (0..0, 0), Some([&session.tokens, &session.attributes]));
        record
    }

    pub(super) fn role(&self) -> Role {
        match self.0[0] & 7 {
            1 => Role::Primary,
            2 => Role::Secondary,
            3 => Role::Given,
            4 => Role::Claimant,
            5 => Role::Orphan,
            _ => Role::None,
        }
    }

    fn slack(&self) -> usize {
        usize::from(self.0[SLACK_AT])
    }

    pub(super) fn is_copied(&self) -> bool {
        self.0[0] & COPIED != 0
    }

    /// Reads on from behind the flags, at the time of the last use.
    fn reader(&self) -> HeadReader<'_> {
        HeadReader { rest: &self.0[SLACK_AT + 1..self.0.len() - self.slack()] }
    }

    /// The owner and the partner, from behind that.
    fn members(&self, me: MemberTag, head: &mut HeadReader<'_>) -> (MemberTag, MemberTag) {
        let owner = if self.0[1] & OWN != 0 { me } else { head.tag() };
        let partner = if self.0[1] & NO_PARTNER != 0 { MemberTag::NONE } else { head.tag() };
        (owner, partner)
    }

    pub(super) fn session(&self, me: MemberTag) -> Session<'_> {
        let mut head = self.reader();
        let used_s = u32::from_le_bytes(head.take());
        let (owner, partner) = self.members(me, &mut head);
        let (ttl_s, view) = (head.number() as u32, head.number());
        let (counter, version) = (head.number() as u32, head.number());
        let content = head.rest;
        for _ in 0..self.0[1] & TOKENS {
            head.number();
        }
        let (tokens, attributes) = content.split_at(content.len() - head.rest.len());
        Session {
            epoch: Epoch { view, counter, owner },
            version,
            partner,
            used_s,
            ttl_s,
            role: self.role(),
            copied: self.is_copied(),
            tokens: Cow::Borrowed(tokens),
            attributes: Cow::Borrowed(attributes),
            fresh: false,
        }
    }

    /// Writes a head, and tokens and attributes if they are others; `present` is where the present ones stand, with how many bytes
    /// of tokens they begin.
    fn write(&mut self, head: &Head, present: (Range<usize>, usize), other: Option<[&[u8]; 2]>) {
        let (content, tokens) = present;
        let (tokens, attributes) = other.map_or((tokens, content.len() - tokens), |[t, a]| (t.len(), a.len()));
        let used = head.length + tokens + attributes;
        let block = block_of(head.length + tokens, attributes);
        if block == self.0.len() {
            match other {
                Some([tokens, attributes]) => {
                    let (first, second) = self.0[head.length..used].split_at_mut(tokens.len());
                    first.copy_from_slice(tokens);
                    second.copy_from_slice(attributes);
                }
                None if content.start != head.length => self.0.copy_within(content, head.length),
                None => {}
            }
            self.0[..head.length].copy_from_slice(head.as_bytes());
            // Equal sessions are equal blocks.
            self.0[used..].fill(0);
        } else {
            let mut fresh = Vec::with_capacity(block);
            fresh.extend_from_slice(head.as_bytes());
            other.unwrap_or([&self.0[content], &[]]).into_iter().for_each(|part| fresh.extend_from_slice(part));
            fresh.resize(block, 0);
            self.0 = fresh.into();
        }
        self.0[SLACK_AT] = (block - used) as u8;
    }

    /// Changes the session in it, and its attributes if others are given; answers how it stood before and how it stands now.
    pub(super) fn change<T>(
        &mut self, me: MemberTag, attributes: Option<&[u8]>, change: impl FnOnce(&mut Session<'_>) -> T,
    ) -> (Standing, Standing, T) {
        let (block, used) = (self.0.len(), self.0.len() - self.slack());
        let mut session = self.session(me);
        let before = session.standing(block);
        let present = (used - session.content_bytes()..used, session.tokens.len());
        let answer = change(&mut session);
        let (head, mut after) = (Head::of(&session, me), session.standing(block));
        let fresh = session.fresh || attributes.is_some();
        // What stays is copied, as it is in the way of what is written; tokens are short.
        let tokens = if fresh { session.tokens.into_owned() } else { Vec::new() };
        let kept = if fresh && attributes.is_none() { session.attributes.into_owned() } else { Vec::new() };
        self.write(&head, present, fresh.then(|| [&tokens[..], attributes.unwrap_or(&kept)]));
        after.bytes = SHARE_BYTES + taken_by(self.0.len());
        (before, after, answer)
    }
}

/// What a session counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Standing {
    pub(super) role: Role,
    pub(super) single: bool,
    /// Who has the other copy, if there is one.
    pub(super) other: MemberTag,
    pub(super) bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: MemberTag = MemberTag(77);

    fn session<'a>(tokens: &[u64], attributes: &'a [u8]) -> Session<'a> {
        Session::new(Role::Primary, Epoch { view: 3, counter: 1, owner: ME }, 1, 0, tokens, attributes)
    }

    fn counted(record: &Record) -> usize {
        record.session(ME).standing(record.0.len()).bytes
    }

    #[test]
    fn numbers_of_every_length_come_out_as_they_were_put_in() {
        for number in (0..64).map(|bit| 1_u64 << bit).flat_map(|power| [power - 1, power, power + 1, u64::MAX - power])
        {
            let mut before = session(&[number, 3, number], &[1, 2]);
            (before.epoch.view, before.version) = (number, number);
            (before.epoch.counter, before.ttl_s) = (number as u32, number as u32);
            let record = Record::new(&before, ME);
            let after = record.session(ME);
            assert_eq!((after.epoch, after.version, after.ttl_s), (before.epoch, before.version, before.ttl_s));
            assert_eq!(after.tokens().collect::<Vec<_>>(), [number, 3, number]);
            assert_eq!(after.attributes[..], [1, 2]);
        }
    }

    #[test]
    fn a_token_is_added_also_where_the_attributes_stay() {
        let mut record = Record::new(&session(&[5], &[1; 20]), ME);
        record.change(ME, None, |s| s.add_token(1_000));
        let after = record.session(ME);
        assert_eq!(after.tokens().collect::<Vec<_>>(), [5, 1_000]);
        assert_eq!(after.attributes[..], [1; 20]);
    }

    #[test]
    fn equal_sessions_are_equal_blocks_whatever_was_there_before() {
        let mut long = session(&[u64::MAX], &[9; 30]);
        long.version = u64::MAX;
        let mut record = Record::new(&long, ME);
        let block = record.0.len();
        record.change(ME, Some(&[9; 26]), |s| s.version = 1);
        assert_eq!(record.0.len(), block, "it was changed in place");
        assert_eq!(record.0, Record::new(&session(&[u64::MAX], &[9; 26]), ME).0);
    }

    #[test]
    fn what_is_asked_for_before_a_change_is_enough_for_it_and_not_much_more() {
        let mut record = Record::new(&session(&[], &[]), ME);
        for step in 1..40 {
            let (asked, present) = (record.session(ME).growth(50 * step), record.session(ME).bytes());
            let token = (step as u64 * 7_919).wrapping_mul(u64::MAX / 3);
            record.change(ME, Some(&vec![step as u8; 50 * step]), |s| s.add_token(token));
            let after = record.session(ME).bytes();
            assert!((after..=after + 80).contains(&(present + asked)), "{after} {present} {asked}");
            assert!((counted(&record)..=counted(&record) + 48).contains(&after), "{after} {}", counted(&record));
        }
    }

    #[test]
    fn what_is_counted_is_what_the_allocator_takes() {
        let pages = 40 * PAGE_BYTES;
        let empty = USUAL_HEAD_BYTES + USUAL_TOKENS_BYTES;
        for (block, taken) in [
            (120, 128),
            (PAGES_FROM_BYTES - 8, PAGES_FROM_BYTES),
            // What is in front of whole pages takes twice as much.
            (pages - 24, pages),
            (pages - 8, pages + PAGE_BYTES),
            (pages + 8, pages + PAGE_BYTES),
        ] {
            let attributes = vec![0; block - empty];
            let record = Record::new(&session(&[], &attributes), ME);
            assert_eq!((record.0.len(), counted(&record)), (block, SHARE_BYTES + taken));
        }
    }
}
