//! An event counter of the system: readable while it is not zero.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use super::fork::{AfterFork, Tracked};

/// A descriptor that one thread makes readable and another one makes unreadable again.
#[derive(Debug)]
pub struct EventFd {
    fd: Tracked<OwnedFd>,
    /// How often the system was called for it.
    calls: AtomicU64,
}

impl EventFd {
    /// Not readable, close-on-exec.
    pub fn new(after: AfterFork) -> io::Result<EventFd> {
        Tracked::open(after, || {
            // SAFETY: the call takes no pointer.
            let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the descriptor was opened one line above and has no other owner.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        })
        .map(|fd| EventFd { fd, calls: AtomicU64::new(0) })
    }

    /// Makes it readable. Cannot fail but for a counter at its top, and then it is readable.
    pub fn raise(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let one = 1u64;
        // SAFETY: eight live bytes, as an event counter wants them.
        unsafe { libc::write(self.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    /// Makes it unreadable. Cannot fail but for a counter at zero, and then it is unreadable.
    pub fn lower(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut count = 0u64;
        // SAFETY: eight live bytes, which the call fills in.
        unsafe { libc::read(self.as_raw_fd(), (&raw mut count).cast(), 8) };
    }

    /// How often it was raised or lowered: each is one call of the system.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Waits until a descriptor is readable, for tests and hosts without a loop of their own. `false` when the time is over.
#[cfg(test)]
pub(crate) fn readable(fd: RawFd, timeout_ms: i32) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one live pollfd.
    unsafe { libc::poll(&mut poll, 1, timeout_ms) > 0 && poll.revents & libc::POLLIN != 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_readable_from_raise_to_lower() {
        let event = EventFd::new(AfterFork::Replace).unwrap();
        assert!(!readable(event.as_raw_fd(), 0));
        event.raise();
        event.raise();
        assert!(readable(event.as_raw_fd(), 0));
        assert!(readable(event.as_raw_fd(), 0), "level-triggered: looking does not clear it");
        event.lower();
        assert!(!readable(event.as_raw_fd(), 0));
    }

    #[test]
    fn it_is_closed_on_exec() {
        let event = EventFd::new(AfterFork::Close).unwrap();
        // SAFETY: the call takes no pointer.
        let flags = unsafe { libc::fcntl(event.as_raw_fd(), libc::F_GETFD) };
        assert_ne!(flags & libc::FD_CLOEXEC, 0);
    }
}
