//! What a member holds of sessions: compact records, ordered by id, and how many of them have no second copy.
//!
//! A record is one block of memory: first what is known of the session, in as few bytes as it takes, then its tokens and
//! attributes. The map beside holds nothing but ids and blocks. A block is as long as what the allocator gives out for it anyway, so
//! that most changes are made in place, and what is counted is what it takes.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;

use super::map::SessionMap;
use crate::types::{Epoch, MemberTag, Micros, SessionId, limits};
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

/// One session as this member holds it, to be looked at; [`Store::update`] changes it.
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
    attributes: Cow<'a, [u8]>,
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

    fn standing(&self, block_bytes: usize) -> Standing {
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
    record: &'a Record,
    me: MemberTag,
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
struct Record(Box<[u8]>);

impl Record {
    fn new(session: &Session<'_>, me: MemberTag) -> Record {
        let mut record = Record::default();
        record.write(&Head::of(session, me), (0..0, 0), Some([&session.tokens, &session.attributes]));
        record
    }

    fn role(&self) -> Role {
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

    fn is_copied(&self) -> bool {
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

    fn session(&self, me: MemberTag) -> Session<'_> {
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
    fn change<T>(
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

/// How many sessions a member holds, and what for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[allow(missing_docs)] // the names say it
pub struct SessionCounts {
    /// Sessions that this member owns.
    pub primaries: u64,
    /// Sessions whose other copy it holds.
    pub secondaries: u64,
    /// Those without a second copy: owned ones, and those whose owner is gone.
    pub single: u64,
    /// Copies of another life, of which it is not known yet whether the others went on without them.
    pub orphans: u64,
    /// Memory that all of them take, in bytes.
    pub bytes: u64,
    /// Changes that were answered for and that no second member has yet: their bytes,
    pub lag_bytes: u64,
    /// and the age of the oldest.
    pub lag: Micros,
}

/// What a session counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Standing {
    role: Role,
    single: bool,
    /// Who has the other copy, if there is one.
    other: MemberTag,
    bytes: usize,
}

/// All sessions of a member.
#[derive(Clone, Hash, Default, Debug)]
pub(crate) struct Store {
    /// Whose it is.
    me: MemberTag,
    sessions: SessionMap<Record>,
    counts: SessionCounts,
    /// How many of them have their other copy at whom.
    others: BTreeMap<MemberTag, u64>,
    gone: Gone,
}

/// Sessions that were here and are not any more: the last ones.
#[derive(Clone, Hash, Default, Debug)]
struct Gone {
    /// In the order in which they went; one that came back and went again stands there more than once.
    order: VecDeque<SessionId>,
    /// The last epoch of each, and how often it stands in `order`.
    epochs: BTreeMap<SessionId, (Epoch, u32)>,
}

impl Gone {
    /// How many are remembered.
    const MOST: usize = 16_384;

    fn add(&mut self, id: SessionId, epoch: Epoch) {
        if self.order.len() == Gone::MOST
            && let Some(oldest) = self.order.pop_front()
            && let Some((_, times)) = self.epochs.get_mut(&oldest)
        {
            *times -= 1;
            if *times == 0 {
                self.epochs.remove(&oldest);
            }
        }
        self.order.push_back(id);
        let (last, times) = self.epochs.entry(id).or_default();
        (*last, *times) = (epoch.max(*last), *times + 1);
    }
}

impl Store {
    pub(crate) fn new(me: MemberTag) -> Store {
        Store { me, ..Store::default() }
    }

    /// What follows is about this session.
    pub(crate) fn turn_to(&mut self, id: SessionId) {
        self.sessions.turn_to(id);
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<Session<'_>> {
        self.sessions.get(&id).map(|record| record.session(self.me))
    }

    pub(crate) fn glance(&self, id: SessionId) -> Option<Glance<'_>> {
        self.sessions.get(&id).map(|record| Glance { record, me: self.me })
    }

    /// Whether a session is ours and nobody is known to have the newest version of it.
    pub(crate) fn is_single(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|record| record.role() == Role::Primary && !record.is_copied())
    }

    pub(crate) fn role(&self, id: SessionId) -> Role {
        self.sessions.get(&id).map_or(Role::None, Record::role)
    }

    /// Changes a session, if it is there.
    pub(crate) fn update<T>(&mut self, id: SessionId, change: impl FnOnce(&mut Session<'_>) -> T) -> Option<T> {
        self.change(id, None, change)
    }

    /// The same; from now on its attributes are these.
    pub(crate) fn rewrite(&mut self, id: SessionId, attributes: &[u8], change: impl FnOnce(&mut Session<'_>)) {
        self.change(id, Some(attributes), change);
    }

    fn change<T>(
        &mut self, id: SessionId, attributes: Option<&[u8]>, change: impl FnOnce(&mut Session<'_>) -> T,
    ) -> Option<T> {
        let (before, after, answer) = self.sessions.get_mut(&id)?.change(self.me, attributes, change);
        if before != after {
            self.count(&after);
            self.discount(&before);
        }
        Some(answer)
    }

    /// Puts a session in, in the place of an older one.
    pub(crate) fn insert(&mut self, id: SessionId, session: &Session<'_>) {
        let record = Record::new(session, self.me);
        self.count(&session.standing(record.0.len()));
        if let Some(before) = self.sessions.insert(id, record) {
            self.discount(&before.session(self.me).standing(before.0.len()));
        }
    }

    /// Takes a session out; answers who owned it since when, and its partner.
    pub(crate) fn remove(&mut self, id: SessionId) -> Option<(Epoch, MemberTag)> {
        let record = self.sessions.remove(&id)?;
        let session = record.session(self.me);
        let (epoch, partner) = (session.epoch, session.partner);
        self.discount(&session.standing(record.0.len()));
        self.gone.add(id, epoch);
        Some((epoch, partner))
    }

    /// The last epoch of a session that was here not long ago.
    pub(crate) fn had(&self, id: SessionId) -> Option<Epoch> {
        self.gone.epochs.get(&id).map(|(epoch, _)| *epoch)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// How many there are that are no copies of another life.
    pub(crate) fn live(&self) -> usize {
        self.sessions.len() - self.counts.orphans as usize
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// What is there, if the members are there for which `present` says so: where the other copy was with anybody else it is lost,
    /// also as long as nobody has looked at that session since.
    pub(crate) fn counts(&self, present: impl Fn(MemberTag) -> bool) -> SessionCounts {
        let lost: u64 = self.others.iter().filter(|(who, _)| !present(**who)).map(|(_, count)| count).sum();
        SessionCounts { single: self.counts.single + lost, ..self.counts }
    }

    /// The memory that all of them take.
    pub(crate) fn bytes(&self) -> usize {
        self.counts.bytes as usize
    }

    fn count(&mut self, session: &Standing) {
        self.counts.add(session);
        if session.other.is_some() {
            *self.others.entry(session.other).or_default() += 1;
        }
    }

    fn discount(&mut self, session: &Standing) {
        self.counts.take(session);
        if let Some(count) = self.others.get_mut(&session.other) {
            *count -= 1;
            if *count == 0 {
                self.others.remove(&session.other);
            }
        }
    }

    /// The next sessions after one, in order.
    pub(crate) fn after(&self, id: Option<SessionId>) -> impl Iterator<Item = (SessionId, Glance<'_>)> {
        self.sessions.after(id).map(|(id, record)| (id, Glance { record, me: self.me }))
    }

    /// The member begins another life as `me`: everything in it becomes a copy of the one before.
    pub(crate) fn orphan(&mut self, me: MemberTag) {
        let before = std::mem::replace(&mut self.me, me);
        self.counts = SessionCounts::default();
        self.others.clear();
        for record in self.sessions.values_mut() {
            let mut session = record.session(before);
            session.role = Role::Orphan;
            *record = Record::new(&session, me);
            self.counts.add(&record.session(me).standing(record.0.len()));
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SessionId, Session<'_>)> {
        self.sessions.iter().map(|(id, record)| (id, record.session(self.me)))
    }
}

impl SessionCounts {
    fn add(&mut self, session: &Standing) {
        self.primaries += u64::from(session.role == Role::Primary);
        self.secondaries += u64::from(session.role == Role::Secondary);
        self.single += u64::from(session.single);
        self.orphans += u64::from(session.role == Role::Orphan);
        self.bytes += session.bytes as u64;
    }

    fn take(&mut self, session: &Standing) {
        assert!(self.bytes >= session.bytes as u64, "a session goes that was not counted");
        self.primaries -= u64::from(session.role == Role::Primary);
        self.secondaries -= u64::from(session.role == Role::Secondary);
        self.single -= u64::from(session.single);
        self.orphans -= u64::from(session.role == Role::Orphan);
        self.bytes -= session.bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ME: MemberTag = MemberTag(77);
    const OTHER: MemberTag = MemberTag(u64::MAX);

    fn roles() -> impl Strategy<Value = Role> {
        prop::sample::select(vec![Role::Primary, Role::Secondary, Role::Given, Role::Claimant, Role::Orphan])
    }

    fn tags() -> impl Strategy<Value = MemberTag> {
        prop::sample::select(vec![MemberTag::NONE, ME, OTHER])
    }

    fn epochs() -> impl Strategy<Value = Epoch> {
        (any::<u64>(), any::<u32>(), tags()).prop_map(|(view, counter, owner)| Epoch {
            view: view >> (counter % 64),
            counter,
            owner,
        })
    }

    prop_compose! {
        fn sessions()(
            role in roles(), epoch in epochs(), version in any::<u64>(), partner in tags(),
            times in any::<(u32, u32)>(), copied in any::<bool>(),
            tokens in prop::collection::vec(any::<u64>(), 0..10), attributes in prop::collection::vec(any::<u8>(), 0..100),
        ) -> Session<'static> {
            let mut session = Session::new(role, epoch, version, times.0, &tokens, &[]);
            session.attributes = Cow::Owned(attributes);
            (session.partner, session.used_s, session.copied) = (partner, times.1, copied);
            session
        }
    }

    type Whole = (Epoch, u64, MemberTag, (u32, u32), Role, bool, Vec<u64>, Vec<u8>);

    fn whole(s: &Session<'_>) -> Whole {
        let (times, content) = ((s.used_s, s.ttl_s), s.attributes.to_vec());
        (s.epoch, s.version, s.partner, times, s.role, s.copied, s.tokens().collect(), content)
    }

    proptest! {
        #[test]
        fn what_is_put_in_comes_out_and_is_counted(all in prop::collection::vec((0_u128..8, sessions()), 1..30)) {
            let mut store = Store::new(ME);
            for (n, (id, session)) in all.iter().enumerate() {
                let id = SessionId(*id);
                if n % 3 == 0 || store.get(id).is_none() {
                    store.insert(id, session);
                } else {
                    store.update(id, |s| *s = session.clone());
                }
                prop_assert_eq!(whole(&store.get(id).expect("put in")), whole(session));
                let glance = store.glance(id).expect("put in");
                prop_assert_eq!((glance.role(), glance.is_copied()), (session.role, session.copied));
                prop_assert_eq!((glance.owner(), glance.partner()), (session.epoch.owner, session.partner));
                prop_assert_eq!(glance.expiry(u32::MAX), (session.ttl_s, u32::MAX - session.used_s));
                store.update(id, |s| (s.version, s.partner, s.epoch.owner) = (1, MemberTag::NONE, ME));
                let mut expected = session.clone();
                (expected.version, expected.partner, expected.epoch.owner) = (1, MemberTag::NONE, ME);
                prop_assert_eq!(whole(&store.get(id).expect("put in")), whole(&expected));
            }
            let mut counts = SessionCounts::default();
            store.iter().for_each(|(id, s)| counts.add(&s.standing(store.sessions.get(&id).expect("it is there").0.len())));
            prop_assert_eq!(store.counts(|_| true), counts);
            let without = |gone: MemberTag| {
                let held = |s: &Session<'_>| s.role == Role::Secondary && s.epoch.owner == gone;
                let shared = |s: &Session<'_>| s.role == Role::Primary && s.copied && s.partner == gone;
                store.iter().filter(|(_, s)| held(s) || shared(s)).count() as u64
            };
            prop_assert_eq!(store.counts(|who| who == ME).single, counts.single + without(OTHER));
            store.orphan(OTHER);
            prop_assert!(store.iter().all(|(_, s)| s.role == Role::Orphan && s.epoch.owner == ME));
            prop_assert_eq!(store.counts(|_| true).orphans as usize, store.sessions.len());
            let ids: Vec<SessionId> = store.sessions.ids().collect();
            ids.into_iter().for_each(|id| { store.remove(id); });
            prop_assert_eq!(store.counts(|_| false), SessionCounts::default());
        }

        #[test]
        fn a_change_that_fits_into_its_block_stays_there_and_leaves_no_trace(
            session in sessions(), used_s in any::<u32>(),
        ) {
            let mut store = Store::new(ME);
            store.insert(SessionId(1), &session);
            let at = store.sessions.get(&SessionId(1)).expect("it is there").0.as_ptr();
            store.update(SessionId(1), |s| s.used_s = used_s);
            prop_assert_eq!(store.sessions.get(&SessionId(1)).expect("it is there").0.as_ptr(), at);
            let mut expected = session.clone();
            expected.used_s = used_s;
            prop_assert_eq!(&store.sessions.get(&SessionId(1)).expect("it is there").0, &Record::new(&expected, ME).0);
        }
    }

    #[test]
    fn a_session_of_two_kibibytes_leaves_room_under_the_target() {
        let attributes = vec![0; 2_048];
        let epoch = Epoch { view: 300, counter: 300, owner: OTHER };
        let mut session = Session::new(Role::Secondary, epoch, 300, 86_400, &[], &attributes);
        session.used_s = u32::MAX;
        let mut store = Store::new(ME);
        store.insert(SessionId(1), &session);
        assert!(store.bytes() <= 2_160, "{}", store.bytes());
        assert!(store.bytes() <= session.bytes(), "what is asked for before is enough");
        let at = store.sessions.get(&SessionId(1)).expect("it is there").0.as_ptr();
        let tokens: Vec<u64> = (0..12).map(|n| 1_000_000 + n * 7).collect();
        for many in 1..=tokens.len() {
            store.rewrite(SessionId(1), &attributes, |s| s.add_token(tokens[many - 1]));
        }
        let after: Vec<u64> = store.get(SessionId(1)).expect("it is there").tokens().collect();
        assert_eq!(after, tokens[tokens.len() - limits::TOKENS..]);
        assert_eq!(
            store.sessions.get(&SessionId(1)).expect("it is there").0.as_ptr(),
            at,
            "changes leave it where it is"
        );
    }

    #[test]
    fn changes_set_and_remove_in_the_order_of_names() {
        let of = |pairs: &[&'static str]| {
            Attributes::new(pairs.iter().map(|pair| pair.split_at(1)).map(|(n, v)| (n, v.as_bytes())))
        };
        let before = of(&["b1", "d1", "f1"]);
        let session = Session::new(Role::Primary, Epoch::default(), 1, 0, &[], before.as_bytes());
        let mut raw = vec![7; 99];
        for (whole, sets, removes, after) in [
            (false, &[][..], &[][..], &["b1", "d1", "f1"][..]),
            (false, &["a2", "d2", "g2"], &[], &["a2", "b1", "d2", "f1", "g2"]),
            (false, &["c2"], &["a", "b", "e", "f", "z"], &["c2", "d1"]),
            (false, &["b2"], &["b", "d"], &["b2", "f1"]),
            (true, &["c2"], &["c"], &["c2"]),
            (true, &[], &[], &[]),
        ] {
            let changed = session.changed(whole, &of(sets), &of(removes), &mut raw).to_vec();
            assert_eq!(changed, of(after).as_bytes()[..], "{sets:?} {removes:?}");
        }
    }

    #[test]
    fn what_went_is_remembered_up_to_a_bound_and_found_without_looking_at_all_of_it() {
        let mut store = Store::new(ME);
        let epoch = |view| Epoch { view, counter: 1, owner: ME };
        let mut come_and_go = |id: u128, view| {
            store.insert(SessionId(id), &Session::new(Role::Primary, epoch(view), 1, 0, &[], &[]));
            store.remove(SessionId(id));
            store.had(SessionId(id))
        };
        assert_eq!(come_and_go(1, 5), Some(epoch(5)));
        assert_eq!(come_and_go(1, 4), Some(epoch(5)), "the greatest epoch counts");
        for id in 2..Gone::MOST as u128 {
            come_and_go(id, 1);
        }
        assert_eq!((store.had(SessionId(1)), store.gone.order.len()), (Some(epoch(5)), Gone::MOST));
        store.gone.add(SessionId(2), epoch(7));
        assert_eq!((store.had(SessionId(1)), store.had(SessionId(2))), (Some(epoch(5)), Some(epoch(7))));
        store.gone.add(SessionId(2), epoch(6));
        assert_eq!(
            (store.had(SessionId(1)), store.had(SessionId(2))),
            (None, Some(epoch(7))),
            "both times are forgotten"
        );
        assert_eq!(store.gone.order.len(), Gone::MOST);
        assert_eq!(store.gone.epochs.len(), Gone::MOST - 2);
    }
}
