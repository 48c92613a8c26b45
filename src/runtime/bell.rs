//! Wakes the engine's thread, at most once per sleep: a sender that finds it awake pays one atomic swap.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use super::atomic::{AtomicU8, Ordering};
use super::eventfd::EventFd;
use super::fork::AfterFork;

/// Awake, and nothing new since it last looked.
const AWAKE: u8 = 0;
/// Something new is there to look at.
const RUNG: u8 = 1;
/// Asleep, or about to be: whoever rings must wake it.
const ASLEEP: u8 = 2;

/// One sleeper, any number of ringers.
#[derive(Debug)]
pub struct Bell {
    state: AtomicU8,
    event: EventFd,
}

impl Bell {
    /// A silent bell, its sleeper awake.
    pub fn new() -> io::Result<Bell> {
        Ok(Bell { state: AtomicU8::new(AWAKE), event: EventFd::new(AfterFork::Close)? })
    }

    /// Says that there is something new. What it is must have been stored before.
    pub fn ring(&self) {
        if self.state.swap(RUNG, Ordering::SeqCst) == ASLEEP {
            self.event.raise();
        }
    }

    /// The sleeper asks to sleep; `false` if the bell has rung since [`Bell::wake`].
    pub fn sleep(&self) -> bool {
        self.state.compare_exchange(AWAKE, ASLEEP, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// The sleeper is awake and is about to look at everything; rings from now on count as new.
    pub fn wake(&self) {
        self.state.store(AWAKE, Ordering::SeqCst);
    }

    /// The sleeper stays awake but waits by its descriptor: makes it readable once more.
    pub fn remind(&self) {
        self.event.raise();
    }

    /// Calls of the system that it has made so far.
    pub fn calls(&self) -> u64 {
        self.event.calls()
    }

    /// Whether it has rung since [`Bell::wake`].
    pub fn has_rung(&self) -> bool {
        self.state.load(Ordering::SeqCst) == RUNG
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::super::eventfd::readable;
    use super::*;

    #[test]
    fn only_a_sleeper_is_woken() {
        let bell = Bell::new().unwrap();
        bell.ring();
        assert!(!readable(bell.as_raw_fd(), 0), "awake: no system call");
        assert!(!bell.sleep(), "it must look first");
        bell.wake();
        assert!(bell.sleep());
        bell.ring();
        bell.ring();
        assert!(readable(bell.as_raw_fd(), 0));
    }

    #[test]
    fn no_ring_is_lost_between_threads() {
        let bell = std::sync::Arc::new(Bell::new().unwrap());
        let work = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let (ringing, worked) = (bell.clone(), work.clone());
        const ROUNDS: u64 = 20_000;
        let ringer = std::thread::spawn(move || {
            for _ in 0..ROUNDS {
                worked.fetch_add(1, Ordering::SeqCst);
                ringing.ring();
            }
        });
        let mut seen = 0;
        while seen < ROUNDS {
            if bell.sleep() {
                assert!(readable(bell.as_raw_fd(), 10_000), "slept through a ring at {seen}");
                bell.event.lower();
            }
            bell.wake();
            seen = work.load(Ordering::SeqCst);
        }
        ringer.join().unwrap();
    }
}
