//! What a forked child must not inherit: it closes every descriptor of every engine, and its calls fail.
//!
//! All descriptors of the library are opened and closed under one lock. The fork handlers hold that lock across the
//! fork, so the child sees a complete list and can close it without allocating.

use std::cell::Cell;
use std::ops::Deref;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use super::{lent, thread};

/// Counts the forks between the process that loaded the library and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);
/// The standard library's lock, because releasing it in the child is one store and one system call at most; a lock
/// with a table of waiters could find that table locked by a thread that the child does not have.
static DESCRIPTORS: Mutex<Descriptors> = Mutex::new(Vec::new());

type Descriptors = Vec<(RawFd, AfterFork)>;

thread_local! {
    /// The lock, while this thread forks.
    static HELD: Cell<Option<MutexGuard<'static, Descriptors>>> = const { Cell::new(None) };
}

fn descriptors() -> MutexGuard<'static, Descriptors> {
    DESCRIPTORS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the child does with a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterFork {
    /// Closes it.
    Close,
    /// Puts one that is never readable in its place, because the host may still hold the number.
    Replace,
}

/// This process's place in a line of forks; an engine remembers the one that it was opened in.
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Installs the fork handlers, once in the life of the process.
pub fn install_handlers() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: the three functions live as long as the process (the library is never unloaded) and the child's
        // one makes only calls that are allowed between fork and exec.
        let failed = unsafe { libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child)) };
        if failed != 0 {
            log::warn!(target: "decurion::runtime", "fork handlers could not be installed (out of memory)");
        }
    });
}

extern "C" fn before_fork() {
    HELD.set(Some(descriptors()));
}

extern "C" fn in_parent() {
    drop(HELD.take());
}

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    lent::start_anew();
    thread::start_anew();
    let Some(mut list) = HELD.take() else { return };
    for (fd, after) in list.iter() {
        // SAFETY: the descriptors are the library's own and open, and nobody in the child uses them: engine calls
        // fail there, and `Tracked` forgets instead of closing.
        unsafe {
            match after {
                AfterFork::Close => libc::close(*fd),
                AfterFork::Replace => match libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) {
                    // Without a descriptor to put in its place: better none than the parent's.
                    silent if silent < 0 => libc::close(*fd),
                    silent => {
                        libc::dup3(silent, *fd, libc::O_CLOEXEC);
                        libc::close(silent)
                    }
                },
            };
        }
    }
    list.clear();
}

/// Owns something with a descriptor; a forked child closes that descriptor.
#[derive(Debug)]
pub struct Tracked<T: AsRawFd> {
    /// `None` only while it is dropped.
    inner: Option<T>,
    generation: u32,
}

impl<T: AsRawFd> Tracked<T> {
    /// Opens with `open` and remembers the descriptor. `open` must not block: forks wait for it.
    pub fn open<E>(after: AfterFork, open: impl FnOnce() -> Result<T, E>) -> Result<Tracked<T>, E> {
        Tracked::open_with(after, || Ok((open()?, ()))).map(|(tracked, ())| tracked)
    }

    /// As [`Tracked::open`], with something that comes along.
    pub fn open_with<A, E>(after: AfterFork, open: impl FnOnce() -> Result<(T, A), E>) -> Result<(Tracked<T>, A), E> {
        let mut list = descriptors();
        let (inner, along) = open()?;
        list.push((inner.as_raw_fd(), after));
        Ok((Tracked { inner: Some(inner), generation: generation() }, along))
    }
}

impl<T: AsRawFd> Tracked<T> {
    /// For calls that need it exclusively.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect("present until dropped")
    }
}

impl<T: AsRawFd> Deref for Tracked<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.inner.as_ref().expect("present until dropped")
    }
}

impl<T: AsRawFd> Drop for Tracked<T> {
    fn drop(&mut self) {
        if self.generation != generation() {
            // The child has closed the descriptor already; its number may belong to somebody else by now.
            std::mem::forget(self.inner.take());
            return;
        }
        let mut list = descriptors();
        let fd = self.as_raw_fd();
        if let Some(at) = list.iter().position(|(f, _)| *f == fd) {
            list.swap_remove(at);
        }
        drop(self.inner.take());
    }
}
