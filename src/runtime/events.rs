//! Events on their way from the engine's thread to a host that polls: one queue, in order, and a descriptor that is
//! readable while something waits in it.
//!
//! Messages are bounded by the core, which counts them until the host has taken them. The rest is bounded here.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, unbounded};
use parking_lot::Mutex;

use super::signal::Signal;
use crate::core::Event;
use crate::types::{Code, Error, Result};

/// From so many events that carry no message on, those that only inform are dropped.
const INFORMING: usize = 1_024;
/// From so many expired sessions on, further ones are not told: many may expire at one moment, which is no fault of the host's.
const EXPIRED: usize = 65_536;
/// From so many of all others on the host counts as one that does not poll.
const TOO_MANY: usize = 8_192;

/// A queue's two ends. The events of a turn travel together: one hand-over, whatever their number.
pub fn event_queue() -> std::io::Result<(EventSink, EventSource)> {
    let (sender, receiver) = unbounded();
    let (small, expired) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let common = Arc::new(Common { signal: Signal::new()?, small, expired });
    let sink = EventSink { sender: Some(sender), common: common.clone(), dropped: 0 };
    Ok((sink, EventSource { receiver, common, taken: Mutex::new(VecDeque::new()) }))
}

/// What both ends share.
#[derive(Debug)]
struct Common {
    signal: Signal,
    /// Events in the queue that neither the core counts nor one of the other two.
    small: AtomicUsize,
    /// Sessions in the queue that have expired.
    expired: AtomicUsize,
}

/// The engine's end. Dropping it ends the queue, and the descriptor stays readable for good.
#[derive(Debug)]
pub struct EventSink {
    sender: Option<Sender<Vec<Event>>>,
    common: Arc<Common>,
    dropped: usize,
}

/// Whether the host keeps up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keeps {
    /// It does, or nearly.
    Up,
    /// It has not taken events for so long that they no longer have room.
    Not,
}

impl EventSink {
    /// Hands the events of a turn over and leaves `events` empty.
    pub fn push(&mut self, events: &mut Vec<Event>) -> Keeps {
        let (small_before, expired_before) =
            (self.common.small.load(Ordering::Relaxed), self.common.expired.load(Ordering::Relaxed));
        let (mut small, mut expired) = (small_before, expired_before);
        events.retain(|event| {
            if is_bounded(event) {
                return true;
            }
            let (kind, keep) = match event {
                Event::SessionExpired { .. } => (&mut expired, expired_before < EXPIRED),
                event => {
                    let keep = small < INFORMING || !only_informs(event);
                    (&mut small, keep)
                }
            };
            *kind += usize::from(keep);
            self.dropped += usize::from(!keep);
            keep
        });
        let mut added = small - small_before;
        if self.dropped > 0 && small < INFORMING / 2 && expired < EXPIRED / 2 {
            let text = format!("{} events were dropped while the host did not poll", self.dropped);
            // Behind the last event nothing may follow.
            events.insert(0, Event::Note { level: 2, text });
            self.dropped = 0;
            added += 1;
        }
        if !events.is_empty() {
            self.common.small.fetch_add(added, Ordering::Relaxed);
            self.common.expired.fetch_add(expired - expired_before, Ordering::Relaxed);
            if let Some(sender) = &self.sender {
                // The other end lives as long as the engine; if it is gone nobody is left to tell.
                let _ = sender.send(std::mem::take(events));
            }
            self.common.signal.raise();
        }
        if small < TOO_MANY { Keeps::Up } else { Keeps::Not }
    }
}

/// What cannot become more than windows and queues allow: the core counts it, or it is a message of the host's that comes back, perhaps
/// thousands at one moment, which is no fault of the host's.
fn is_bounded(event: &Event) -> bool {
    event.cost() > 0 || matches!(event, Event::Returned { .. })
}

/// What a host can miss without losing track.
fn only_informs(event: &Event) -> bool {
    matches!(
        event,
        Event::Suspected { .. }
            | Event::Slow { .. }
            | Event::Fault { .. }
            | Event::RefusedJoiner { .. }
            | Event::Note { .. }
    )
}

impl Drop for EventSink {
    fn drop(&mut self) {
        self.sender = None;
        self.common.signal.raise();
    }
}

/// The host's end: polled by one thread at a time.
#[derive(Debug)]
pub struct EventSource {
    receiver: Receiver<Vec<Event>>,
    common: Arc<Common>,
    /// What was handed over and not taken yet; its lock is what "one thread at a time" means.
    taken: Mutex<VecDeque<Event>>,
}

/// What one poll took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// How many events.
    pub count: usize,
    /// What they count against the core's bound.
    pub cost: usize,
    /// Whether the queue has ended: nothing will come any more.
    pub ended: bool,
}

impl EventSource {
    /// Appends up to `capacity` events, waiting up to `timeout` for the first.
    ///
    /// # Errors
    /// `Busy` when another thread polls.
    pub fn poll(&self, events: &mut Vec<Event>, capacity: usize, timeout: Duration) -> Result<Taken> {
        let Some(mut taken) = self.taken.try_lock() else {
            return Err(Error::new(Code::Busy, "another thread is polling this engine"));
        };
        let mut ended = false;
        if taken.is_empty() {
            ended = self.refill(&mut taken, timeout);
        }
        let mut result = Taken { count: 0, cost: 0, ended: false };
        let (mut small, mut expired) = (0, 0);
        while result.count < capacity {
            if taken.is_empty() {
                ended = self.refill(&mut taken, Duration::ZERO);
            }
            let Some(event) = taken.pop_front() else { break };
            result.count += 1;
            result.cost += event.cost();
            match event {
                Event::SessionExpired { .. } => expired += 1,
                _ => small += usize::from(!is_bounded(&event)),
            }
            events.push(event);
        }
        self.common.small.fetch_sub(small, Ordering::Relaxed);
        self.common.expired.fetch_sub(expired, Ordering::Relaxed);
        if taken.is_empty() && !ended {
            self.lower(&mut taken);
        }
        result.ended = ended && result.count == 0;
        Ok(result)
    }

    /// Takes the next hand-over; says whether the queue has ended.
    fn refill(&self, taken: &mut VecDeque<Event>, timeout: Duration) -> bool {
        let next = match self.receiver.try_recv() {
            Err(TryRecvError::Empty) if !timeout.is_zero() => match Instant::now().checked_add(timeout) {
                Some(deadline) => self.receiver.recv_deadline(deadline),
                None => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            },
            Err(TryRecvError::Empty) => Err(RecvTimeoutError::Timeout),
            Err(TryRecvError::Disconnected) => Err(RecvTimeoutError::Disconnected),
            Ok(events) => Ok(events),
        };
        match next {
            Ok(events) => {
                taken.extend(events);
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        }
    }

    /// Nothing is left: the descriptor goes down, unless something has come in between.
    fn lower(&self, taken: &mut VecDeque<Event>) {
        self.common.signal.lower(|| match self.receiver.try_recv() {
            Err(TryRecvError::Empty) => false,
            Err(TryRecvError::Disconnected) => true,
            Ok(events) => {
                taken.extend(events);
                true
            }
        });
    }

    /// Makes the descriptor readable although the queue may be empty: its taker still holds a part of an event. The next
    /// poll that finds nothing lowers it again.
    pub fn keep_readable(&self) {
        self.common.signal.raise();
    }

    /// Whether the descriptor is readable, if anybody has asked for it.
    pub fn is_readable(&self) -> bool {
        self.common.signal.is_raised()
    }

    /// Calls of the system that its descriptor has cost so far.
    pub fn calls(&self) -> u64 {
        self.common.signal.calls()
    }

    /// Readable while events wait, and for good once the queue has ended.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.common.signal.fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;

    use super::super::eventfd::readable;
    use super::*;

    fn note(number: usize) -> Event {
        Event::Note { level: 3, text: number.to_string() }
    }

    fn numbers(events: &[Event]) -> Vec<usize> {
        let text = |e: &Event| match e {
            Event::Note { text, .. } => text.parse().unwrap(),
            other => panic!("{other:?}"),
        };
        events.iter().map(text).collect()
    }

    #[test]
    fn the_descriptor_is_readable_exactly_while_events_wait() {
        let (mut sink, source) = event_queue().unwrap();
        sink.push(&mut vec![note(1), note(2), note(3)]);
        let fd = source.fd().as_raw_fd();
        assert!(readable(fd, 0), "events came before the descriptor was asked for");
        let mut events = Vec::new();
        assert_eq!(source.poll(&mut events, 2, Duration::ZERO).unwrap().count, 2);
        assert!(readable(fd, 0), "one is left");
        assert_eq!(source.poll(&mut events, 9, Duration::ZERO).unwrap().count, 1);
        assert!(!readable(fd, 0));
        assert_eq!(source.poll(&mut events, 9, Duration::ZERO).unwrap(), Taken { count: 0, cost: 0, ended: false });
        sink.push(&mut vec![note(4)]);
        assert!(readable(fd, 0));
        source.poll(&mut events, 9, Duration::ZERO).unwrap();
        assert_eq!(numbers(&events), [1, 2, 3, 4]);
        drop(sink);
        assert!(readable(fd, 0), "the end is to be seen");
        assert!(source.poll(&mut events, 9, Duration::MAX).unwrap().ended);
        assert!(readable(fd, 0));
    }

    #[test]
    fn a_host_that_reads_the_descriptor_itself_is_woken_again() {
        let (mut sink, source) = event_queue().unwrap();
        let fd = source.fd().as_raw_fd();
        let mut events = Vec::new();
        for number in 1..4 {
            sink.push(&mut vec![note(number)]);
            assert!(readable(fd, 0), "{number}");
            let mut own = std::fs::File::from(source.fd().try_clone_to_owned().unwrap());
            assert_eq!(own.read(&mut [0; 8]).unwrap(), 8, "as one does with an event counter");
            assert_eq!(source.poll(&mut events, 9, Duration::ZERO).unwrap().count, 1);
        }
    }

    #[test]
    fn no_wake_up_is_lost_between_threads() {
        let (mut sink, source) = event_queue().unwrap();
        let fd = source.fd().as_raw_fd();
        const EVENTS: usize = 50_000;
        let pusher = std::thread::spawn(move || {
            for number in 0..EVENTS {
                let kept = sink.push(&mut vec![Event::Writable, note(number)]);
                assert!(kept != Keeps::Not && sink.dropped == 0, "the host keeps up in this test");
                while sink.common.small.load(Ordering::Relaxed) > INFORMING / 2 {
                    std::thread::yield_now();
                }
            }
        });
        let mut events = Vec::new();
        loop {
            assert!(readable(fd, 10_000), "nothing became readable after {} events", events.len());
            if source.poll(&mut events, 7, Duration::ZERO).unwrap().ended {
                break;
            }
        }
        pusher.join().unwrap();
        events.retain(|e| !matches!(e, Event::Writable));
        assert_eq!(numbers(&events), (0..EVENTS).collect::<Vec<_>>());
    }

    #[test]
    fn a_second_poller_is_told_that_it_is_busy() {
        let (_sink, source) = event_queue().unwrap();
        let held = source.taken.lock();
        let error = source.poll(&mut Vec::new(), 1, Duration::MAX).unwrap_err();
        assert_eq!(error.code(), Code::Busy);
        drop(held);
        assert_eq!(source.poll(&mut Vec::new(), 1, Duration::ZERO).unwrap().count, 0);
    }

    #[test]
    fn what_only_informs_is_dropped_when_nobody_polls_and_the_rest_is_not() {
        let (mut sink, source) = event_queue().unwrap();
        for number in 0..2 * INFORMING {
            assert_eq!(sink.push(&mut vec![note(number)]), Keeps::Up);
        }
        sink.push(&mut vec![Event::Writable]);
        let mut events = Vec::new();
        let taken = source.poll(&mut events, usize::MAX, Duration::ZERO).unwrap();
        assert_eq!(taken.count, INFORMING + 1);
        assert!(matches!(events.pop(), Some(Event::Writable)));
        sink.push(&mut vec![Event::Writable]);
        source.poll(&mut events, usize::MAX, Duration::ZERO).unwrap();
        let told = |e: &Event| matches!(e, Event::Note { text, .. } if text.contains(&format!("{INFORMING} events")));
        assert!(events.iter().any(told), "the host is told how many it missed");
    }

    #[test]
    fn the_note_that_events_were_dropped_goes_before_the_last_event() {
        let (mut sink, source) = event_queue().unwrap();
        for number in 0..=INFORMING {
            sink.push(&mut vec![note(number)]);
        }
        source.poll(&mut Vec::new(), usize::MAX, Duration::ZERO).unwrap();
        sink.push(&mut vec![Event::Writable, Event::Closed { reason: crate::core::Ended::Left }]);
        let mut events = Vec::new();
        source.poll(&mut events, usize::MAX, Duration::ZERO).unwrap();
        assert!(matches!(events[..], [Event::Note { .. }, Event::Writable, Event::Closed { .. }]), "{events:?}");
    }

    #[test]
    fn sessions_that_expire_all_at_once_are_no_fault_of_the_hosts() {
        let (mut sink, source) = event_queue().unwrap();
        let id = crate::types::SessionId(1);
        for _ in 0..=EXPIRED / 1_024 {
            assert_eq!(sink.push(&mut vec![Event::SessionExpired { id }; 1_024]), Keeps::Up);
        }
        let mut events = Vec::new();
        source.poll(&mut events, usize::MAX, Duration::ZERO).unwrap();
        assert_eq!(events.len(), EXPIRED);
        sink.push(&mut vec![Event::Writable]);
        source.poll(&mut events, usize::MAX, Duration::ZERO).unwrap();
        let told = |e: &Event| matches!(e, Event::Note { text, .. } if text.contains("1024 events"));
        assert!(events.iter().any(told), "the host is told how many it missed");
        assert_eq!(sink.push(&mut vec![Event::SessionExpired { id }]), Keeps::Up);
        assert_eq!(source.poll(&mut events, usize::MAX, Duration::ZERO).unwrap().count, 1);
    }

    #[test]
    fn messages_that_come_back_all_at_once_are_no_fault_of_the_hosts_and_none_is_dropped() {
        let (mut sink, source) = event_queue().unwrap();
        let back = Event::Returned { to: None, token: 1, payload: bytes::Bytes::new(), why: "its receiver is gone" };
        assert_eq!(sink.push(&mut vec![back; TOO_MANY + 1]), Keeps::Up);
        assert_eq!(sink.push(&mut vec![Event::Writable]), Keeps::Up);
        let mut events = Vec::new();
        source.poll(&mut events, usize::MAX, Duration::ZERO).unwrap();
        assert_eq!(events.len(), TOO_MANY + 2);
        let kept = (0..TOO_MANY + 1).take_while(|_| sink.push(&mut vec![Event::Writable]) == Keeps::Up).count();
        assert_eq!(kept, TOO_MANY - 1, "as many of the others as before");
    }

    #[test]
    fn a_host_that_never_polls_is_noticed() {
        let (mut sink, _source) = event_queue().unwrap();
        let kept = (0..TOO_MANY + 1).take_while(|_| sink.push(&mut vec![Event::Writable]) == Keeps::Up).count();
        assert_eq!(kept, TOO_MANY - 1);
    }
}
