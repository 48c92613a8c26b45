//! The bell: whoever stores something and rings is heard, although the sleeper was just falling asleep.

use loom::sync::{Arc, Mutex};
use loom::thread;

use super::bell::Bell;
use super::{eventfd, explore};

/// Threads that ring, beside the one that sleeps.
const RINGERS: usize = 2;

/// What is there to look at, as the outbox has it: under a lock.
type Work = Arc<Mutex<usize>>;

fn ringers(bell: &Arc<Bell>, work: &Work) -> Vec<thread::JoinHandle<()>> {
    let ringer = |_| {
        let (bell, work) = (bell.clone(), work.clone());
        thread::spawn(move || {
            *work.lock().expect("no panic") += 1;
            bell.ring();
        })
    };
    (0..RINGERS).map(ringer).collect()
}

/// As an engine with a thread of its own turns: it sleeps when it may, then looks at everything.
pub fn no_ring_is_lost() {
    explore(3, || {
        let bell = Arc::new(Bell::new().expect("it is made"));
        let event = eventfd::newest();
        let work: Work = Arc::default();
        let threads = ringers(&bell, &work);
        let mut seen = 0;
        while seen < RINGERS {
            if !bell.has_rung() && bell.sleep() {
                event.wait();
                event.lower();
            }
            bell.wake();
            seen = *work.lock().expect("no panic");
        }
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    });
}

/// As an engine in the host's own loop turns: the host waits for the descriptor, and the end of each turn settles it.
pub fn no_ring_is_lost_in_a_loop() {
    explore(3, || {
        let bell = Arc::new(Bell::new().expect("it is made"));
        let event = eventfd::newest();
        let work: Work = Arc::default();
        assert!(bell.sleep());
        let threads = ringers(&bell, &work);
        let mut seen = 0;
        while seen < RINGERS {
            event.wait();
            event.lower();
            bell.wake();
            seen = *work.lock().expect("no panic");
            if !bell.sleep() {
                bell.remind();
            }
        }
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    });
}
