//! Messages outside of all streams, each in one datagram: they may be lost, and come once at most and undamaged (D4).
//!
//! To everybody they go to the multicast group where it carries streams, and otherwise down the way of the sender's stream, from member
//! to member as datagrams; those who do not hear the sender by multicast get them so as well. Nothing is kept and nothing repeated.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::builder::cost_of;
use super::io::{Event, MemberRef, Output};
use super::mark::Mark;
use super::member::Member;
use super::messages::{Body, Messages};
use super::outbox::{Loose, Outbox, To};
use super::plant::Plant;
use crate::types::{Incarnation, Index, View, limits};
use crate::wire::batch::Level;
use crate::wire::cast::{self, Cast, HEAD_BYTES, LOOSE_BYTES, LooseHead};

/// Datagrams to the group beyond which further messages of this kind are lost here.
const WAITING: usize = 4_096;

/// Which numbers of a sender have come: the highest, and which of those before it.
#[derive(Clone, Copy, Hash, Debug, Default)]
struct Seen {
    highest: u64,
    before: u64,
}

impl Seen {
    /// Notes a number; false if it has come before, or may have.
    fn take(&mut self, number: u64) -> bool {
        if number > self.highest {
            let by = number - self.highest;
            // The highest itself takes the first place among those before.
            self.before = if by > 64 { 0 } else { (self.before.checked_shl(by as u32).unwrap_or(0)) | 1 << (by - 1) };
            self.highest = number;
            return true;
        }
        let behind = self.highest - number;
        let bit = if (1..=64).contains(&behind) { 1 << (behind - 1) } else { 0 };
        let new = bit != 0 && self.before & bit == 0;
        self.before |= bit;
        new
    }
}

/// What a member knows of messages outside of streams.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct LooseEnds {
    sent: u64,
    seen: BTreeMap<Incarnation, Seen>,
}

impl LooseEnds {
    /// Who is not in the view is heard no more.
    pub(crate) fn keep_only(&mut self, view: &View) {
        self.seen.retain(|whom, _| view.index_of(*whom).is_some());
    }
}

impl Member {
    /// Bytes of the longest of these messages.
    pub(super) fn loose_bound(&self) -> usize {
        let multicast = self.setup.multicast.as_ref().filter(|m| m.carries);
        let datagram = multicast.map_or(limits::DATAGRAM_BYTES, |m| self.longest_cast(m).min(limits::DATAGRAM_BYTES));
        datagram - HEAD_BYTES - LOOSE_BYTES
    }

    /// Sends what waits; what cannot be sent now is lost.
    pub(super) fn send_loose(&mut self, outbox: &mut Outbox) {
        let waiting = outbox.take_loose();
        let Some((view, me)) = self.view().map(|(view, me)| (view.clone(), me)) else { return };
        for Loose { to, token, payload } in waiting {
            self.loose.sent += 1;
            let to_one = if let To::Member(member) = to { member } else { Incarnation::NONE };
            let (from, view_tag, number) = (self.incarnation, view.tag(), self.loose.sent);
            let content = LooseHead { from, to: to_one, view_tag, number, token }.encode(&payload);
            self.stats.messages_sent += 1;
            match to {
                To::Everybody => self.spread(&view, me, me, &content),
                To::Member(member) => self.send_loose_to(&view, view.index_of(member), &content),
            }
        }
    }

    /// Sends a message to the group if it is our own, and to those who get the sender's stream from us over connections.
    fn spread(&mut self, view: &View, me: Index, sender: Index, content: &Bytes) {
        let Some(f) = &self.fanout else { return };
        let (by_multicast, targets) = (f.cast.is_some(), f.streams[sender].targets.clone());
        if by_multicast && sender == me && self.group.waiting() < WAITING {
            self.cast(content.clone());
        }
        targets.into_iter().for_each(|target| self.send_loose_to(view, Some(target), content));
    }

    fn send_loose_to(&mut self, view: &View, to: Option<Index>, content: &Bytes) {
        let Some(to) = to.map(|to| view.members[to].address) else { return };
        let bytes = [&cast::head(self.cluster_tag, content)[..], content].concat().into();
        self.stats.datagrams_sent += 1;
        self.output(Output::Datagram { to, bytes });
    }

    /// Such a message came as a datagram to us alone.
    pub(super) fn on_loose_datagram(&mut self, bytes: &[u8]) {
        match cast::decode(self.cluster_tag, &Bytes::copy_from_slice(bytes)) {
            Ok(Cast::Loose(head, payload)) if !self.setup.witness => self.on_loose(&head, payload),
            Ok(_) => {}
            Err(_) => self.stats.datagrams_refused += 1,
        }
    }

    pub(super) fn on_loose(&mut self, head: &LooseHead, payload: Bytes) {
        let Some(f) = self.fanout.as_ref().filter(|f| !f.frozen && f.view.tag() == head.view_tag) else { return };
        let (view, me, for_us) = (f.view.clone(), f.me, head.to == self.incarnation);
        let Some(s) = view.index_of(head.from).filter(|s| *s != me) else { return };
        if !for_us && head.to != Incarnation::NONE {
            return;
        }
        let new = self.loose.seen.entry(head.from).or_default().take(head.number);
        if !new && !self.plants.has(Plant::LooseTwice) {
            return self.marks.reach(Mark::LooseRepeated);
        }
        self.marks.reach(Mark::LooseTaken);
        if !for_us {
            self.spread(&view, me, s, &head.encode(&payload));
        }
        let cost = cost_of(payload.len());
        if !self.budget.admits(cost) {
            return;
        }
        self.budget.outstanding += cost;
        self.stats.messages_delivered += 1;
        let (sender, first) = (Arc::new(MemberRef::from(&view.members[s])), head.number);
        let body = Body::Single { payload, token: head.token };
        let run = Messages { sender, view: view.id, direct: for_us, level: Level::Unreliable, first, body, cost };
        self.event(Event::Messages(run));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_taken_twice_and_late_ones_are_taken_within_reason() {
        let mut seen = Seen::default();
        let taken: Vec<u64> = [1, 2, 2, 5, 4, 4, 1, 3, 70, 6, 5, 69, 200, 136, 135, 137, 200, 201]
            .into_iter()
            .filter(|number| seen.take(*number))
            .collect();
        assert_eq!(taken, [1, 2, 5, 4, 3, 70, 6, 69, 200, 136, 137, 201]);
    }
}
