//! What is going to happen, in order of virtual time; ties in the order in which they were scheduled.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A scheduled happening. Small, because tens of thousands pass through the heap for every virtual minute.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Event {
    /// A member's deadline.
    Wake { node: u16, life: u32 },
    /// A datagram reaches its host; an index into the network's store.
    Datagram { index: u32 },
    /// The first segment under way in one direction of a connection reaches the other host.
    Arrive { conn: u32, way: u8 },
    /// Space for datagrams to the multicast group may have become free.
    Casts { node: u16, life: u32 },
    /// Space in a full send buffer may have become free.
    Room { conn: u32, way: u8 },
    /// A dial reaches the host that it is for.
    Syn { conn: u32 },
    /// The dialler learns that its connection is up.
    Connected { conn: u32 },
    /// The kernel of the dialled host hands the connection to its process.
    Accept { conn: u32 },
    /// One end learns that the connection is gone.
    Gone { conn: u32, end: u8, cause: Gone },
    /// A name is resolved; an index into the world's store.
    Resolved { index: u32 },
    /// A host looks after its member: sends what its load says.
    Load { node: u16, life: u32 },
    /// A host takes its events.
    Consume { node: u16, life: u32 },
    /// A scheduled action of the scenario; an index into the world's plan.
    Act { index: u32 },
}

/// Why an end learns that its connection is gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Gone {
    Refused,
    Peer,
    Failed,
}

/// The heap of all that is scheduled.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sequence: u64,
    ties: Vec<(u64, Event)>,
}

impl Queue {
    /// Schedules `event` at `at` microseconds.
    pub fn push(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.heap.push(Reverse((at, self.sequence, event)));
    }

    /// The time of the next event.
    pub fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes the next event.
    pub fn pop(&mut self) -> Option<(u64, Event)> {
        self.heap.pop().map(|Reverse((at, _, event))| (at, event))
    }

    /// Takes one of the events that share the earliest time: `choose` is given their number (at least two).
    pub fn pop_chosen(&mut self, mut choose: impl FnMut(&[(u64, Event)]) -> usize) -> Option<(u64, Event)> {
        let Reverse((at, sequence, event)) = self.heap.pop()?;
        let mut ties = std::mem::take(&mut self.ties);
        ties.push((sequence, event));
        while self.next_at() == Some(at) {
            let Reverse((_, sequence, event)) = self.heap.pop().expect("just seen");
            ties.push((sequence, event));
        }
        let chosen = if ties.len() > 1 { choose(&ties) } else { 0 };
        let (_, event) = ties.swap_remove(chosen);
        self.heap.extend(ties.drain(..).map(|(sequence, event)| Reverse((at, sequence, event))));
        self.ties = ties;
        Some((at, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_scheduled() {
        let mut queue = Queue::default();
        for (at, index) in [(5, 0), (3, 1), (5, 2), (3, 3)] {
            queue.push(at, Event::Act { index });
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        let index = |n: usize| match order[n].1 {
            Event::Act { index } => index,
            _ => unreachable!("only acts were pushed"),
        };
        assert_eq!([index(0), index(1), index(2), index(3)], [1, 3, 0, 2]);
    }

    #[test]
    fn a_tie_can_be_chosen_and_the_others_keep_their_order() {
        let mut queue = Queue::default();
        (0..4).for_each(|index| queue.push(9, Event::Act { index }));
        assert_eq!(queue.pop_chosen(|ties| ties.len() - 2), Some((9, Event::Act { index: 2 })));
        assert_eq!(queue.pop(), Some((9, Event::Act { index: 0 })));
        assert_eq!(queue.pop(), Some((9, Event::Act { index: 1 })));
    }
}
