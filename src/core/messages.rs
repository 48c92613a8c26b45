//! A run of delivered messages: the payload stays in the receive chunk, an iterator walks it (R12).

use std::sync::Arc;

use bytes::Bytes;

use super::io::MemberRef;
use crate::types::ViewId;
use crate::wire::batch::{Level, Walk};

/// Messages of one sender that came in one batch, or one message that came in fragments.
#[derive(Clone, Debug)]
pub struct Messages {
    /// Who sent them.
    pub sender: Arc<MemberRef>,
    /// The view they belong to (D7); for a stream to one member, the view in which they were delivered.
    pub view: ViewId,
    /// Whether they were sent to this member alone.
    pub direct: bool,
    /// How they were sent. What is `Agreed` or `Safe` comes at every member in the same place among all of those levels, and also to
    /// its sender (D4).
    pub level: Level,
    /// Number of the first message in its stream; the next ones follow without a gap (D1).
    pub first: u64,
    pub(crate) body: Body,
    pub(crate) cost: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// The message area of a batch without fragments, checked when it was accepted.
    Batch { area: Bytes, count: u16 },
    /// One message, whole.
    Single { payload: Bytes, token: u64 },
}

/// One delivered message, as long as its run is there.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its number in the sender's stream, from 1, over all views.
    pub number: u64,
    /// The sender's token; 0 if it gave none.
    pub token: u64,
    /// Its bytes, where they were received.
    pub payload: &'a [u8],
    chunk: &'a Bytes,
}

impl Message<'_> {
    /// What its bytes lie in.
    pub(crate) fn chunk(&self) -> &Bytes {
        self.chunk
    }

    /// Its bytes, to be kept: they share the receive chunk, and it is kept with them.
    pub fn to_bytes(&self) -> Bytes {
        self.chunk.slice_ref(self.payload)
    }
}

impl Messages {
    /// One message, for tests of what runs are handed to.
    #[cfg(test)]
    pub(crate) fn single(
        sender: Arc<MemberRef>, view: ViewId, direct: bool, number: u64, token: u64, payload: Bytes, cost: usize,
    ) -> Messages {
        let body = Body::Single { payload, token };
        Messages { sender, view, direct, level: Level::Fifo, first: number, body, cost }
    }

    /// The same with the messages of a batch.
    #[cfg(test)]
    pub(crate) fn batch(
        sender: Arc<MemberRef>, view: ViewId, direct: bool, first: u64, area: Bytes, count: u16, cost: usize,
    ) -> Messages {
        Messages { sender, view, direct, level: Level::Fifo, first, body: Body::Batch { area, count }, cost }
    }

    /// How many messages the run holds.
    pub fn len(&self) -> usize {
        match &self.body {
            Body::Batch { count, .. } => usize::from(*count),
            Body::Single { .. } => 1,
        }
    }

    /// Never: a run holds at least one message.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the run counts against `receive.queue_bytes`.
    pub fn cost(&self) -> usize {
        self.cost
    }

    /// Takes the run apart, for a face that walks it in its own way: the message area of a batch with its count, or
    /// (without a count) one payload with its token.
    pub(crate) fn into_parts(self) -> (Bytes, Option<u16>, u64) {
        match self.body {
            Body::Batch { area, count } => (area, Some(count), 0),
            Body::Single { payload, token } => (payload, None, token),
        }
    }

    /// The messages, in the order sent.
    pub fn iter(&self) -> MessageIter<'_> {
        let (rest, chunk) = match &self.body {
            Body::Batch { area, .. } => (Rest::Batch(Walk::new(area)), area),
            Body::Single { payload, token } => (Rest::Single(Some(*token)), payload),
        };
        MessageIter { number: self.first, chunk, rest }
    }
}

impl<'a> IntoIterator for &'a Messages {
    type Item = Message<'a>;
    type IntoIter = MessageIter<'a>;
    fn into_iter(self) -> MessageIter<'a> {
        self.iter()
    }
}

/// Walks a run.
#[derive(Clone, Debug)]
pub struct MessageIter<'a> {
    /// Of the next one.
    number: u64,
    chunk: &'a Bytes,
    rest: Rest<'a>,
}

#[derive(Clone, Debug)]
enum Rest<'a> {
    Batch(Walk<'a>),
    Single(Option<u64>),
}

impl<'a> Iterator for MessageIter<'a> {
    type Item = Message<'a>;

    #[inline]
    fn next(&mut self) -> Option<Message<'a>> {
        let (token, payload) = match &mut self.rest {
            Rest::Batch(walk) => walk.next()?,
            Rest::Single(token) => (token.take()?, &self.chunk[..]),
        };
        let number = self.number;
        self.number += 1;
        Some(Message { number, token, payload, chunk: self.chunk })
    }
}
