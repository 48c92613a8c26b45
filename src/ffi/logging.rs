//! The library prints nothing: what it has to say goes to the host's callback.

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::Once;
use std::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};
use parking_lot::RwLock;

use super::guard::call;
use super::input;
use crate::types::{Code, Error};

/// No log at all.
pub const DCN_LOG_OFF: u32 = 0;
/// Something failed that needs the operator.
pub const DCN_LOG_ERROR: u32 = 1;
/// Something that may need the operator.
pub const DCN_LOG_WARN: u32 = 2;
/// What an operator wants to read afterwards: views, joins, leaves.
pub const DCN_LOG_INFO: u32 = 3;
/// What a developer wants to read.
pub const DCN_LOG_DEBUG: u32 = 4;
/// Everything.
pub const DCN_LOG_TRACE: u32 = 5;

/// Takes one line of the log: `level` (`DCN_LOG_*`), `target` (the part of the library) and `message`, both
/// NUL-terminated UTF-8 and valid until it returns. It is called from any thread, also from several at once, and must
/// not block, throw or longjmp. It may call the library; what is logged meanwhile by its own thread is dropped.
pub type dcn_log_fn =
    Option<unsafe extern "C" fn(context: *mut c_void, level: u32, target: *const c_char, message: *const c_char)>;

/// Sets where the log of all engines of this process goes; without a call it goes nowhere.
///
/// Parameters: `callback`, NULL for no log; `context`, handed to it as it is; `max_level`, `DCN_LOG_OFF` to `DCN_LOG_TRACE`:
/// lines above it are not made.
/// Ownership: `context` stays the caller's and must live until the callback is replaced: when this returns `DCN_OK`, the one
/// set before is not running and will not be called again.
/// Threads: any. Blocking: bounded (waits up to 5 s for a callback that is running).
/// Returns: `DCN_OK`; `DCN_ERR_INVALID_ARGUMENT` for a level that does not exist; `DCN_ERR_WOULD_DEADLOCK` from inside a
/// log callback; `DCN_ERR_BUSY` when a running callback does not return (the old one stays set);
/// `DCN_ERR_UNSUPPORTED` in a Rust program that has set a logger of its own.
///
/// # Safety
/// `callback` may be called with `context` from any thread until it is replaced.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_log_set(callback: dcn_log_fn, context: *mut c_void, max_level: u32) -> i32 {
    let body = || {
        let filter = filter(max_level)?;
        if TALKING.with(Cell::get) {
            return Err(Error::new(Code::WouldDeadlock, "dcn_log_set was called from inside the log callback"));
        }
        install()?;
        let mut sink = SINK
            .try_write_for(WAIT)
            .ok_or_else(|| Error::new(Code::Busy, "a log callback has been running for more than 5 s"))?;
        *sink = callback.map(|function| Sink { function, context });
        log::set_max_level(if sink.is_some() { filter } else { LevelFilter::Off });
        Ok(Code::Ok)
    };
    // SAFETY: a null error is allowed.
    unsafe { call(ptr::null_mut(), body) }
}

const WAIT: Duration = Duration::from_secs(5);

struct Sink {
    function: unsafe extern "C" fn(*mut c_void, u32, *const c_char, *const c_char),
    context: *mut c_void,
}

// SAFETY: whoever sets the callback promises that it may be called with its context from any thread.
unsafe impl Send for Sink {}
// SAFETY: as above, also from several at once.
unsafe impl Sync for Sink {}

static SINK: RwLock<Option<Sink>> = RwLock::new(None);

thread_local! {
    static TALKING: Cell<bool> = const { Cell::new(false) };
}

struct Forward;

impl Log for Forward {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // A thread that is ending, or that is inside the callback, logs nothing.
        if TALKING.try_with(|talking| talking.replace(true)).unwrap_or(true) {
            return;
        }
        let target = input::c_string(record.target());
        let message = input::c_string(&record.args().to_string());
        if let Some(sink) = SINK.read().as_ref() {
            // SAFETY: the promise of whoever set it; the lock keeps it set while it runs.
            unsafe { (sink.function)(sink.context, record.level() as u32, target.as_ptr(), message.as_ptr()) };
        }
        TALKING.set(false);
    }

    fn flush(&self) {}
}

fn filter(level: u32) -> Result<LevelFilter, Error> {
    LevelFilter::iter()
        .nth(level as usize)
        .ok_or_else(|| input::invalid(format!("max_level is {level}: DCN_LOG_OFF (0) to DCN_LOG_TRACE (5)")))
}

fn install() -> Result<(), Error> {
    static ONCE: Once = Once::new();
    static FORWARD: Forward = Forward;
    ONCE.call_once(|| {
        // It fails only when a Rust host was first; that is asked below.
        let _ = log::set_logger(&FORWARD);
    });
    if ptr::addr_eq(ptr::from_ref(log::logger()), ptr::from_ref(&FORWARD)) {
        return Ok(());
    }
    Err(Error::new(Code::Unsupported, "this Rust program has a logger already: the library's log goes there"))
}
