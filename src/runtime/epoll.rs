//! An epoll instance that nests: the one descriptor that an engine without a thread hands to the host's loop.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::fork::{AfterFork, Tracked};

/// Readable while one of the descriptors is that it watches.
#[derive(Debug)]
pub struct Epoll(Tracked<OwnedFd>);

impl Epoll {
    /// Watches nothing, close-on-exec.
    pub fn new(after: AfterFork) -> io::Result<Epoll> {
        Tracked::open(after, || {
            // SAFETY: the call takes no pointer.
            let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the descriptor was opened one line above and has no other owner.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        })
        .map(Epoll)
    }

    /// Watches one descriptor more, level-triggered, until it is closed.
    pub fn watch(&self, fd: RawFd) -> io::Result<()> {
        let mut readable = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
        // SAFETY: the pointer is to a live event, which the system copies.
        match unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut readable) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::super::eventfd::{EventFd, readable};
    use super::*;

    #[test]
    fn it_is_readable_exactly_while_something_in_it_is() {
        let [one, other] = [(); 2].map(|()| EventFd::new(AfterFork::Close).unwrap());
        let (inner, outer) = (Epoll::new(AfterFork::Close).unwrap(), Epoll::new(AfterFork::Replace).unwrap());
        inner.watch(one.as_raw_fd()).unwrap();
        outer.watch(inner.as_fd().as_raw_fd()).unwrap();
        outer.watch(other.as_raw_fd()).unwrap();
        let fd = outer.as_fd().as_raw_fd();
        assert!(!readable(fd, 0));
        for raised in [&one, &other] {
            raised.raise();
            assert!(readable(fd, 0) && readable(fd, 0), "level-triggered: looking does not clear it");
            raised.lower();
            assert!(!readable(fd, 0));
        }
        one.raise();
        drop(inner);
        assert!(!readable(fd, 0), "what was closed is not watched any more");
        assert!(outer.watch(-1).is_err());
    }
}
