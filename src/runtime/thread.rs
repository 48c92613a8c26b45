//! Threads of the library: named, with a stack of their own size, deaf to the host's signals.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::thread::{Builder, JoinHandle};

/// Stack of each thread: a host's handlers run on it.
pub const STACK_BYTES: usize = 2 * 1024 * 1024;

/// Signals that a thread raises against itself, and the profiler's: these stay deliverable.
const DELIVERABLE: [libc::c_int; 7] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS, libc::SIGPROF];

thread_local! {
    static OURS: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is one of the library's, or one that turns an engine: the host is inside a handler or a log
/// callback there. Waiting for an engine on such a thread, its own or another one, could wait for ever.
pub fn is_ours() -> bool {
    OURS.try_with(Cell::get).unwrap_or(false)
}

/// Makes the host's thread one of the library's for as long as the answer lives: while it turns an engine.
pub fn borrow() -> Borrowed {
    Borrowed { before: OURS.try_with(|ours| ours.replace(true)).unwrap_or(true) }
}

/// See [`borrow`].
#[derive(Debug)]
pub struct Borrowed {
    before: bool,
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        // A thread that is ending has nothing to be put back.
        let _ = OURS.try_with(|ours| ours.set(self.before));
    }
}

/// In a forked child, on its only thread: it may have been forked inside a callback, which does not return there.
pub fn start_anew() {
    let _ = OURS.try_with(|ours| ours.set(false));
}

/// Starts a thread that takes no signal meant for the process.
///
/// The mask is set before the thread exists and is put back after, so there is no moment in which it could take one.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let before = block_signals();
    let work = || {
        OURS.set(true);
        work();
    };
    let started = Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(work);
    // SAFETY: `before` is the mask that `block_signals` was given by the system.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    started
}

fn block_signals() -> libc::sigset_t {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: sigfillset makes `all` a valid set before the others read it, and pthread_sigmask fills in `before`.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        for signal in DELIVERABLE {
            libc::sigdelset(all.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        before.assume_init()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked(signal: libc::c_int) -> bool {
        let mut mask = MaybeUninit::uninit();
        // SAFETY: with a null set the call only fills in the current mask.
        unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), mask.as_mut_ptr());
            libc::sigismember(mask.as_ptr(), signal) == 1
        }
    }

    #[test]
    fn the_hosts_signals_do_not_reach_the_threads_of_the_library() {
        let before = blocked(libc::SIGTERM);
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let inside = seen.clone();
        let thread = spawn("dcn-test", move || {
            let mut seen = inside.lock().unwrap();
            seen.extend([libc::SIGTERM, libc::SIGINT, libc::SIGCHLD, libc::SIGUSR1].map(|s| (s, blocked(s), true)));
            seen.extend([libc::SIGSEGV, libc::SIGBUS, libc::SIGPROF].map(|s| (s, blocked(s), false)));
            assert_eq!(std::thread::current().name(), Some("dcn-test"));
            assert!(is_ours());
        });
        thread.unwrap().join().unwrap();
        assert!(!is_ours());
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 7);
        assert!(seen.iter().all(|(_, is, should)| is == should), "{seen:?}");
        assert_eq!(blocked(libc::SIGTERM), before, "the starting thread's mask is as it was");
    }
}
