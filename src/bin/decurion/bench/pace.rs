//! When the messages of a sender that does not send as fast as it can are due: one each millisecond, or bursts.

use serde::{Deserialize, Serialize};

/// One message in so long, where latency is measured at low load.
const EVERY_US: u64 = 1_000;
/// A burst comes so often.
const BURST_EVERY_US: u64 = 100_000;
/// Its parts: one is due with each millisecond.
pub const BURST_SLICES: u64 = 10;

/// So many messages at once, so many times in a row, and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pace {
    /// Messages that are due at the same moment: a slice.
    at_once: u64,
    /// Slices in a row, one each millisecond.
    slices: u64,
    /// From the begin of one row to that of the next.
    every_us: u64,
}

impl Pace {
    /// One message each millisecond.
    pub fn steady() -> Pace {
        Pace { at_once: 1, slices: 1, every_us: EVERY_US }
    }

    /// So many messages within ten milliseconds, ten times a second.
    pub fn bursts(messages: usize) -> Pace {
        Pace { at_once: messages as u64 / BURST_SLICES, slices: BURST_SLICES, every_us: BURST_EVERY_US }
    }
}

/// Goes through the messages of one phase.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    pace: Pace,
    begun_ns: u64,
    slice: u64,
    /// Messages of this slice that have been taken.
    taken: u64,
}

impl Schedule {
    /// From this moment on.
    pub fn new(pace: Pace, begun_ns: u64) -> Schedule {
        Schedule { pace, begun_ns, slice: 0, taken: 0 }
    }

    /// Messages that are due at the same moment as the next one, itself among them.
    pub fn due_together(&self) -> usize {
        (self.pace.at_once - self.taken) as usize
    }

    /// When the next message is due.
    pub fn due_ns(&self) -> u64 {
        let (row, at) = (self.slice / self.pace.slices, self.slice % self.pace.slices);
        self.begun_ns + (row * self.pace.every_us + at * EVERY_US) * 1_000
    }

    /// The time that the next message tells, if it is not the one of its making. In a burst it is when it was due: who is slow to take
    /// the first ones makes the others late.
    pub fn told_ns(&self) -> Option<u64> {
        (self.pace.at_once > 1).then(|| self.due_ns())
    }

    /// So many messages have been made.
    pub fn take(&mut self, messages: usize) {
        self.taken += messages as u64;
        self.slice += self.taken / self.pace.at_once;
        self.taken %= self.pace.at_once;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_ms(pace: Pace, messages: usize) -> Vec<u64> {
        let mut schedule = Schedule::new(pace, 0);
        let due = |_| {
            let due = schedule.due_ns() / 1_000_000;
            schedule.take(1);
            due
        };
        (0..messages).map(due).collect()
    }

    #[test]
    fn one_is_due_each_millisecond_or_a_tenth_of_a_burst_in_each_of_ten() {
        assert_eq!(due_ms(Pace::steady(), 4), [0, 1, 2, 3]);
        let bursts = due_ms(Pace::bursts(20), 42);
        assert_eq!(bursts[..4], [0, 0, 1, 1]);
        assert_eq!(bursts[18..22], [9, 9, 100, 100]);
        assert_eq!(bursts[38..], [109, 109, 200, 200]);
    }
}
