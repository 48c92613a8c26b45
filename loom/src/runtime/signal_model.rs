//! The signal of the event queue: as long as something waits for the host, its descriptor is readable.

use std::collections::VecDeque;

use loom::sync::{Arc, Mutex};
use loom::thread;

use super::signal::Signal;
use super::{eventfd, explore};

const EVENTS: usize = 2;

/// The queue, as a channel: under a lock.
type Queue = Arc<Mutex<VecDeque<usize>>>;

fn take(queue: &Queue) -> Option<usize> {
    queue.lock().expect("no panic").pop_front()
}

fn sender(signal: &Arc<Signal>, queue: &Queue) -> thread::JoinHandle<()> {
    let (signal, queue) = (signal.clone(), queue.clone());
    thread::spawn(move || {
        for event in 0..EVENTS {
            queue.lock().expect("no panic").push_back(event);
            signal.raise();
        }
    })
}

/// The host polls until nothing is left, and waits again; what `lower` finds in between is taken as well.
fn take_all(signal: &Signal, event: &eventfd::State, queue: &Queue) {
    let mut taken = Vec::new();
    while taken.len() < EVENTS {
        event.wait();
        taken.extend(std::iter::from_fn(|| take(queue)));
        signal.lower(|| {
            let more = take(queue);
            taken.extend(more);
            more.is_some()
        });
    }
    assert_eq!(taken, (0..EVENTS).collect::<Vec<_>>());
    // It looks once more without having been woken, as one does that has other things to wait for.
    signal.lower(|| false);
}

/// A host that looks once more and finds nothing is not woken again, or it would turn for nothing until the next event.
fn goes_down(signal: &Signal, event: &eventfd::State) {
    signal.lower(|| false);
    assert!(!event.is_readable(), "nothing waits, and the descriptor is readable");
}

/// A host that has asked for the descriptor misses nothing, or it would wait for ever.
pub fn no_event_is_left_behind() {
    explore(3, || {
        let signal = Arc::new(Signal::new().expect("it is made"));
        let event = eventfd::newest();
        let queue = Queue::default();
        let _ = signal.fd();
        let thread = sender(&signal, &queue);
        take_all(&signal, &event, &queue);
        thread.join().expect("no panic");
        goes_down(&signal, &event);
    });
}

/// So does one that asks while events are coming in.
pub fn asked_for_late() {
    explore(3, || {
        let signal = Arc::new(Signal::new().expect("it is made"));
        let event = eventfd::newest();
        let queue = Queue::default();
        let thread = sender(&signal, &queue);
        let _ = signal.fd();
        take_all(&signal, &event, &queue);
        thread.join().expect("no panic");
        goes_down(&signal, &event);
    });
}
