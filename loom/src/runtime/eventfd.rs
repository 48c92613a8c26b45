//! In the place of the system's event counter: readable or not, under a lock, as the kernel has it. Whoever waits for one that
//! nobody makes readable is a deadlock, which loom reports.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use loom::sync::{Arc, Condvar, Mutex};

use super::fork::AfterFork;

thread_local! {
    /// The one that was made last. All threads of a model are one thread of the system.
    static NEWEST: RefCell<Option<Arc<State>>> = const { RefCell::new(None) };
}

#[derive(Debug)]
pub struct EventFd(Arc<State>);

#[derive(Debug)]
pub struct State {
    readable: Mutex<bool>,
    changed: Condvar,
}

/// Takes what stands behind the descriptor that was made last.
pub fn newest() -> Arc<State> {
    NEWEST.take().expect("one was made")
}

impl State {
    /// Waits as `epoll_wait` does: level-triggered, nothing is taken.
    pub fn wait(&self) {
        let mut readable = self.readable.lock().expect("no panic");
        while !*readable {
            readable = self.changed.wait(readable).expect("no panic");
        }
    }

    pub fn is_readable(&self) -> bool {
        *self.readable.lock().expect("no panic")
    }

    fn set(&self, readable: bool) {
        *self.readable.lock().expect("no panic") = readable;
        self.changed.notify_all();
    }

    pub fn lower(&self) {
        self.set(false);
    }
}

impl EventFd {
    pub fn new(_: AfterFork) -> io::Result<EventFd> {
        let state = Arc::new(State { readable: Mutex::new(false), changed: Condvar::new() });
        NEWEST.set(Some(state.clone()));
        Ok(EventFd(state))
    }

    pub fn raise(&self) {
        self.0.set(true);
    }

    pub fn lower(&self) {
        self.0.lower();
    }

    /// Not counted here: loom would take a counter for a place where threads meet.
    pub fn calls(&self) -> u64 {
        0
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the number is never used; descriptor 0 is open as long as the process.
        unsafe { BorrowedFd::borrow_raw(0) }
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        0
    }
}
