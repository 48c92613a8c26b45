//! The signals that ask a verb to end.

use std::ffi::c_int;
use std::io;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::output::{Exit, Failure};

/// Calls `heard` on a thread of its own for SIGTERM, SIGINT, SIGHUP and these others. SIGINT and SIGHUP that were ignored when the
/// process began, by `nohup` or a shell's background, stay ignored.
pub fn watch(others: &[c_int], heard: impl FnMut(c_int) + Send + 'static) -> Result<(), Failure> {
    let cannot = |error: io::Error| Failure::new(Exit::Environment, format!("cannot watch for signals: {error}"));
    let wanted = [SIGINT, SIGHUP].into_iter().filter(|signal| !is_ignored(*signal));
    let mut signals = Signals::new(wanted.chain([SIGTERM]).chain(others.iter().copied())).map_err(cannot)?;
    let work = move || signals.forever().for_each(heard);
    thread::Builder::new().name("signals".to_owned()).spawn(work).map(drop).map_err(cannot)
}

fn is_ignored(signal: c_int) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call only writes the present one into memory of our own, all of whose bits may be zero.
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}
