//! The messages of a bench: what a sender puts into each, and what a receiver holds against it. Ours and raw carry the same.

use std::collections::BTreeSet;

use super::protocol::{Received, Sent};
use crate::clock::monotonic_ns;

/// Number and time of a message, at its front.
pub const HEADER_BYTES: usize = 16;
/// A message that tells its time comes about every so many bytes: telling it costs a look at the clock.
const STAMP_EVERY_BYTES: usize = 64 * 1_024;
/// Most missing messages that are remembered one by one.
const MISSING: usize = 1 << 20;

/// Second word: the last one of its phase, who sends, and the time in nanoseconds (0: not told).
const LAST: u64 = 1 << 63;
const SENDER_SHIFT: u32 = 55;
const STAMP: u64 = (1 << SENDER_SHIFT) - 1;

/// Makes the messages of one sender in one phase, until its time is over.
#[derive(Debug)]
pub struct Source {
    sender: u64,
    bytes: usize,
    next: u64,
    stamp_every: u64,
    until_ns: u64,
    first_ns: u64,
    /// What the next messages tell in place of the time.
    due_ns: Option<u64>,
    ended: bool,
}

impl Source {
    /// For so long from now on.
    pub fn new(sender: u8, bytes: usize, ms: u64, stamp_all: bool) -> Source {
        let first_ns = monotonic_ns();
        let stamp_every = if stamp_all { 1 } else { (STAMP_EVERY_BYTES / bytes).max(1) as u64 };
        let until_ns = first_ns + ms * 1_000_000;
        Source {
            sender: u64::from(sender),
            bytes,
            next: 0,
            stamp_every,
            until_ns,
            first_ns,
            due_ns: None,
            ended: false,
        }
    }

    /// Lets the next messages tell this moment, if there is one, and not that of their making.
    pub fn tell(&mut self, due_ns: Option<u64>) {
        self.due_ns = due_ns;
    }

    /// Writes the next message's header to the front of it. Not to be called once it has ended.
    pub fn fill(&mut self, message: &mut [u8]) {
        let mut word = self.sender << SENDER_SHIFT;
        if self.next.is_multiple_of(self.stamp_every) {
            let now = self.due_ns.unwrap_or_else(monotonic_ns);
            self.ended = now >= self.until_ns;
            word |= (now & STAMP) | if self.ended { LAST } else { 0 };
        }
        message[..8].copy_from_slice(&self.next.to_le_bytes());
        message[8..HEADER_BYTES].copy_from_slice(&word.to_le_bytes());
        self.next += 1;
    }

    /// The same for all messages that fit into `chunk`; answers how many bytes of it they take.
    pub fn fill_all(&mut self, chunk: &mut [u8]) -> usize {
        let mut filled = 0;
        for message in chunk.chunks_exact_mut(self.bytes) {
            if self.ended {
                break;
            }
            self.fill(message);
            filled += self.bytes;
        }
        filled
    }

    /// Whether the last message has been made.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// What was sent.
    pub fn sent(&self) -> Sent {
        Sent { messages: self.next, first_ns: self.first_ns }
    }
}

/// Holds what comes against what was sent: every message once, in order.
#[derive(Debug, Default)]
pub struct Checks {
    senders: Vec<Check>,
    /// When something came last, and the longest time before that.
    came_ns: u64,
    gap_ns: u64,
}

#[derive(Debug, Default)]
struct Check {
    next: u64,
    missing: BTreeSet<u64>,
    received: Received,
}

impl Checks {
    /// Takes one message. Answers what came of a sender when this was its last message.
    pub fn take(&mut self, message: &[u8]) -> Option<Received> {
        let (header, _) = message.split_at_checked(HEADER_BYTES)?;
        let number = u64::from_le_bytes(header[..8].try_into().expect("eight bytes"));
        let word = u64::from_le_bytes(header[8..].try_into().expect("eight bytes"));
        let sender = ((word & !LAST) >> SENDER_SHIFT) as usize;
        if self.senders.len() <= sender {
            self.senders.resize_with(sender + 1, Check::default);
        }
        let check = &mut self.senders[sender];
        check.received.messages += 1;
        if number == check.next {
            check.next += 1;
        } else {
            check.strange(number);
        }
        if word & (LAST | STAMP) == 0 {
            return None;
        }
        let now = monotonic_ns();
        if word & STAMP != 0 {
            check.received.latency.note((now & STAMP).saturating_sub(word & STAMP));
        }
        (word & LAST != 0).then(|| {
            let check = std::mem::take(check);
            let lost = check.received.lost + check.missing.len() as u64;
            Received { sender: sender as u8, last_ns: now, lost, ..check.received }
        })
    }

    /// Whether of every sender all has come, once and in order, up to what came last.
    pub fn is_whole(&self) -> bool {
        let whole = |check: &Check| {
            let Received { lost, duplicated, out_of_order, .. } = check.received;
            check.missing.is_empty() && lost + duplicated + out_of_order == 0
        };
        self.senders.iter().all(whole)
    }

    /// Messages that came in this phase.
    pub fn messages(&self) -> u64 {
        self.senders.iter().map(|check| check.received.messages).sum()
    }

    /// Something has come, for [`Checks::gap_ns`].
    pub fn came(&mut self) {
        let now = monotonic_ns();
        if self.came_ns > 0 {
            self.gap_ns = self.gap_ns.max(now.saturating_sub(self.came_ns));
        }
        self.came_ns = now;
    }

    /// Begins to watch for the longest time without a delivery.
    pub fn watch(&mut self) {
        (self.came_ns, self.gap_ns) = (monotonic_ns(), 0);
    }

    /// The longest time without a delivery since [`Checks::watch`].
    pub fn gap_ns(&self) -> u64 {
        self.gap_ns
    }
}

impl Check {
    fn strange(&mut self, number: u64) {
        if number < self.next {
            let late = self.missing.remove(&number);
            self.received.out_of_order += u64::from(late);
            self.received.duplicated += u64::from(!late);
            return;
        }
        let gap = number - self.next;
        if gap as usize <= MISSING.saturating_sub(self.missing.len()) {
            self.missing.extend(self.next..number);
        } else {
            self.received.lost += gap;
        }
        self.next = number + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of a source that ends with its fourth.
    fn messages() -> Vec<[u8; 24]> {
        let mut source = Source::new(3, 24, 1_000_000, false);
        let mut all = vec![[0; 24]; 4];
        for (at, message) in all.iter_mut().enumerate() {
            if at == 3 {
                (source.stamp_every, source.until_ns) = (1, 0);
            }
            source.fill(message);
        }
        assert!(source.ended() && source.sent().messages == 4);
        all
    }

    #[test]
    fn what_is_whole_is_whole_and_the_next_phase_counts_anew() {
        let mut checks = Checks::default();
        for _ in 0..2 {
            let mut came = Vec::new();
            came.extend(messages().iter().filter_map(|message| checks.take(message)));
            let [r] = &came[..] else { panic!("{came:?}") };
            assert_eq!((r.sender, r.messages, r.lost, r.duplicated, r.out_of_order), (3, 4, 0, 0, 0));
            assert_eq!(r.latency.len(), 2, "the first and the last tell their time");
        }
    }

    #[test]
    fn each_kind_of_fault_is_counted_as_itself() {
        let all = messages();
        let of = |order: &[usize]| {
            let mut checks = Checks::default();
            let mut whole = true;
            let mut take = |at: &usize| {
                let last = checks.take(&all[*at]);
                whole &= checks.is_whole();
                last
            };
            let r = order.iter().filter_map(&mut take).next().expect("the last one came");
            // After its last message a sender begins anew: what was missing before it stands in the answer alone.
            assert_eq!(whole, [&[0, 1, 2, 3][..], &[3]].contains(&order), "{order:?}");
            (r.messages, r.lost, r.duplicated, r.out_of_order)
        };
        assert_eq!(of(&[0, 1, 2, 3]), (4, 0, 0, 0));
        assert_eq!(of(&[0, 2, 3]), (3, 1, 0, 0));
        assert_eq!(of(&[0, 1, 1, 2, 3]), (5, 0, 1, 0));
        assert_eq!(of(&[0, 2, 1, 3]), (4, 0, 0, 1));
        assert_eq!(of(&[3]), (1, 3, 0, 0));
        assert_eq!(of(&[2, 0, 0, 3]), (4, 1, 1, 1));
    }
}
