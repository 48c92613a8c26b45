//! Tells a host by a descriptor that something waits for it, and costs no system call until it asks for the descriptor.

use std::os::fd::{AsFd, BorrowedFd};

use super::atomic::{AtomicBool, Ordering};
use super::eventfd::EventFd;
use super::fork::AfterFork;

/// One host that waits, any number of threads that have something for it.
#[derive(Debug)]
pub struct Signal {
    fd: EventFd,
    /// Set when the host first asks for the descriptor; until then it costs no system call.
    wanted: AtomicBool,
    raised: AtomicBool,
}

impl Signal {
    /// Not readable, and not asked for.
    pub fn new() -> std::io::Result<Signal> {
        let fd = EventFd::new(AfterFork::Replace)?;
        Ok(Signal { fd, wanted: AtomicBool::new(false), raised: AtomicBool::new(false) })
    }

    /// Something waits from now on; it must have been stored before.
    pub fn raise(&self) {
        if self.wanted.load(Ordering::SeqCst) && !self.raised.swap(true, Ordering::SeqCst) {
            self.fd.raise();
        }
    }

    /// The host has found nothing: the descriptor goes down, unless `more` finds that something has come in between. One host at
    /// a time.
    ///
    /// It goes down whatever the flag says: whoever raised the flag may make the descriptor readable only after the host took what
    /// it was for, and the host would find it readable, and nothing in it, again and again. Nor does the flag stay up where nothing
    /// was readable: a host may have read the descriptor itself, and would not be woken any more.
    pub fn lower(&self, more: impl FnOnce() -> bool) {
        if self.wanted.load(Ordering::SeqCst) {
            self.fd.lower();
            // In this order: who comes after the flag is down raises it again, and what came before is found below.
            self.raised.swap(false, Ordering::SeqCst);
        }
        if more() {
            self.raise();
        }
    }

    /// Calls of the system that it has made so far.
    pub fn calls(&self) -> u64 {
        self.fd.calls()
    }

    /// Whether the descriptor is readable, if anybody has asked for it.
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::SeqCst)
    }

    /// The descriptor, from now on kept up to date.
    pub fn fd(&self) -> BorrowedFd<'_> {
        if !self.wanted.swap(true, Ordering::SeqCst) {
            // Something may have come before anybody asked. One spurious wake-up is harmless.
            self.raise();
        }
        self.fd.as_fd()
    }
}
