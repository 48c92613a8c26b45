//! What a member holds of sessions: compact records, ordered by id, and how many of them have no second copy.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;

use crate::types::{Epoch, MemberTag, Micros, SessionId, limits};
use crate::wire::session::{Attributes, Role, put_pair};

/// What a record costs beside its content, with its share of the map.
pub(crate) const RECORD_BYTES: usize = 144;

/// One session as this member holds it.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Session {
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
    tokens: u8,
    /// Tokens, then attributes.
    content: Box<[u8]>,
}

impl Session {
    /// With this content; the rest is for the caller to say.
    pub(crate) fn new(
        role: Role, epoch: Epoch, version: u64, ttl_s: u32, tokens: &[u64], attributes: &[u8],
    ) -> Session {
        let mut session = Session {
            epoch,
            version,
            partner: MemberTag::NONE,
            used_s: 0,
            ttl_s,
            role,
            copied: false,
            tokens: 0,
            content: Box::default(),
        };
        session.set_content(tokens, attributes);
        session
    }

    pub(crate) fn set_content(&mut self, tokens: &[u64], attributes: &[u8]) {
        let newest = &tokens[tokens.len().saturating_sub(limits::TOKENS)..];
        let mut raw = Vec::with_capacity(newest.len() * 8 + attributes.len());
        newest.iter().for_each(|token| raw.extend_from_slice(&token.to_le_bytes()));
        raw.extend_from_slice(attributes);
        self.tokens = newest.len() as u8;
        self.content = raw.into();
    }

    /// Tokens of the last changes, the newest last.
    pub(crate) fn tokens(&self) -> Vec<u64> {
        let raw = self.content[..usize::from(self.tokens) * 8].as_chunks::<8>().0;
        raw.iter().map(|word| u64::from_le_bytes(*word)).collect()
    }

    fn raw_attributes(&self) -> &[u8] {
        &self.content[usize::from(self.tokens) * 8..]
    }

    /// A copy of its attributes.
    pub(crate) fn attributes(&self) -> Attributes {
        Attributes::from_trusted(Bytes::copy_from_slice(self.raw_attributes()))
    }

    /// Its attributes after a change.
    pub(crate) fn changed(&self, whole: bool, sets: &Attributes, removes: &Attributes) -> Vec<u8> {
        let mut merged: BTreeMap<&str, &[u8]> = BTreeMap::new();
        if !whole {
            merged.extend(Attributes::trusted(self.raw_attributes()));
        }
        for (name, _) in removes.iter() {
            merged.remove(name);
        }
        merged.extend(sets.iter());
        let mut raw = Vec::with_capacity(self.raw_attributes().len() + sets.as_bytes().len());
        merged.into_iter().for_each(|(name, value)| put_pair(name, value, &mut raw));
        raw
    }

    /// What it costs.
    pub(crate) fn bytes(&self) -> usize {
        RECORD_BYTES + self.content.len()
    }

    fn is_single(&self) -> bool {
        self.role == Role::Primary && !self.copied
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
    /// Of the owned ones: those without a second copy.
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

/// All sessions of a member.
#[derive(Clone, Hash, Default, Debug)]
pub(crate) struct Store {
    sessions: BTreeMap<SessionId, Session>,
    counts: SessionCounts,
    /// Sessions that were here and are not any more: the last ones, in the order in which they went.
    gone: VecDeque<(SessionId, Epoch)>,
}

/// How many sessions that went are remembered.
const GONE: usize = 16_384;

impl Store {
    pub(crate) fn get(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    pub(crate) fn role(&self, id: SessionId) -> Role {
        self.sessions.get(&id).map_or(Role::None, |s| s.role)
    }

    /// Changes a session, if it is there.
    pub(crate) fn update<T>(&mut self, id: SessionId, change: impl FnOnce(&mut Session) -> T) -> Option<T> {
        let session = self.sessions.get_mut(&id)?;
        self.counts.take(session);
        let answer = change(session);
        self.counts.add(session);
        Some(answer)
    }

    /// Puts a session in, in the place of an older one.
    pub(crate) fn insert(&mut self, id: SessionId, session: Session) {
        self.counts.add(&session);
        if let Some(before) = self.sessions.insert(id, session) {
            self.counts.take(&before);
        }
    }

    pub(crate) fn remove(&mut self, id: SessionId) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        self.counts.take(&session);
        if self.gone.len() == GONE {
            self.gone.pop_front();
        }
        self.gone.push_back((id, session.epoch));
        Some(session)
    }

    /// The last epoch of a session that was here not long ago.
    pub(crate) fn had(&self, id: SessionId) -> Option<Epoch> {
        self.gone.iter().filter(|(gone, _)| *gone == id).map(|(_, epoch)| *epoch).max()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// How many there are that are no copies of another life.
    pub(crate) fn live(&self) -> usize {
        self.sessions.len() - self.counts.orphans as usize
    }

    pub(crate) fn counts(&self) -> SessionCounts {
        self.counts
    }

    /// The next ids after one, in order.
    pub(crate) fn after(&self, id: Option<SessionId>, most: usize) -> Vec<SessionId> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.sessions.range((from, Bound::Unbounded)).take(most).map(|(id, _)| *id).collect()
    }

    /// Everything in it becomes a copy of another life.
    pub(crate) fn orphan(&mut self) {
        self.sessions.values_mut().for_each(|session| session.role = Role::Orphan);
        let (orphans, bytes) = (self.sessions.len() as u64, self.counts.bytes);
        self.counts = SessionCounts { orphans, bytes, ..SessionCounts::default() };
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter().map(|(id, session)| (*id, session))
    }
}

impl SessionCounts {
    fn add(&mut self, session: &Session) {
        self.primaries += u64::from(session.role == Role::Primary);
        self.secondaries += u64::from(session.role == Role::Secondary);
        self.single += u64::from(session.is_single());
        self.orphans += u64::from(session.role == Role::Orphan);
        self.bytes += session.bytes() as u64;
    }

    fn take(&mut self, session: &Session) {
        self.primaries -= u64::from(session.role == Role::Primary);
        self.secondaries -= u64::from(session.role == Role::Secondary);
        self.single -= u64::from(session.is_single());
        self.orphans -= u64::from(session.role == Role::Orphan);
        self.bytes -= session.bytes() as u64;
    }
}
