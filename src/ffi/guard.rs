//! The boundary: every export runs inside `call`, which keeps panics inside, `errno` as it was, and the error's text.

use std::any::Any;
use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::{CStr, c_char};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use super::{input, status};
use crate::runtime::{lent, thread};
use crate::types::{Code, Error, Result};

/// Bytes of the text in a `dcn_error_t`, its NUL included.
pub const DCN_ERROR_TEXT_BYTES: usize = 496;

/// Why a call failed. Set `struct_size` to `sizeof(dcn_error_t)` before the first use; the rest is written by calls
/// that fail, and left alone by those that do not.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dcn_error_t {
    /// In: `sizeof(dcn_error_t)`, set by the caller.
    pub struct_size: usize,
    /// Out: the status that the call returned.
    pub code: i32,
    /// Out: zero.
    pub reserved: u32,
    /// Out: what went wrong, where, and what to do, with its cause; NUL-terminated UTF-8, cut if it is too long.
    pub text: [c_char; DCN_ERROR_TEXT_BYTES],
}

thread_local! {
    static LAST: RefCell<Cow<'static, CStr>> = const { RefCell::new(Cow::Borrowed(c"")) };
}

/// Runs the body of an export. `error` may be null.
///
/// # Safety
/// `error` is null or points to a `dcn_error_t` whose `struct_size` is set.
pub(super) unsafe fn call(error: *mut dcn_error_t, body: impl FnOnce() -> Result<Code>) -> i32 {
    let errno = Errno::keep();
    quiet_panics();
    let caught = || panic::catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
    // What the host has lent is given back before the text of this call is remembered: its function may call the library.
    let answer = lent::inside(caught);
    let code = match answer {
        Ok(Code::Ok) => Code::Ok as i32,
        Ok(outcome) => {
            remember(Cow::Borrowed(status::words(outcome as i32)));
            outcome as i32
        }
        Err(failure) => {
            remember(Cow::Owned(input::c_string(failure.text())));
            // SAFETY: the caller's promise.
            unsafe { report(error, &failure) };
            failure.code() as i32
        }
    };
    errno.restore();
    code
}

/// What a caught panic is answered with.
pub(super) fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without words".to_owned());
    Error::new(Code::Panicked, format!("a bug inside the library was caught, please report it: {text}"))
}

/// The text of this thread's last failure.
pub(super) fn last_text() -> *const c_char {
    // A thread that is ending has no text any more.
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

fn remember(text: Cow<'static, CStr>) {
    // Nothing to remember it in when the thread is ending.
    let _ = LAST.try_with(|last| last.replace(text));
}

/// Writes a failure where the caller asked for it, as far as its struct reaches.
///
/// # Safety
/// As for [`call`].
unsafe fn report(error: *mut dcn_error_t, failure: &Error) {
    if error.is_null() {
        return;
    }
    let mut out =
        dcn_error_t { struct_size: 0, code: failure.code() as i32, reserved: 0, text: [0; DCN_ERROR_TEXT_BYTES] };
    input::copy_text(failure.text(), &mut out.text);
    // A struct too small for this version's first form cannot take it; the status still tells.
    // SAFETY: the caller's promise.
    let _ = unsafe { input::fill(error, out) };
}

/// The library prints nothing: a panic inside a guarded call or on a thread of the library goes to the log instead of the
/// standard error output.
fn quiet_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if lent::is_inside() || thread::is_ours() {
                log::error!("caught: {info}");
            } else {
                before(info);
            }
        }));
    });
}

/// The caller's `errno`, put back when the call is done.
struct Errno(i32);

impl Errno {
    fn keep() -> Errno {
        // SAFETY: the location of the calling thread's errno is always valid.
        Errno(unsafe { *libc::__errno_location() })
    }

    fn restore(self) {
        // SAFETY: as above.
        unsafe { *libc::__errno_location() = self.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last() -> String {
        // SAFETY: the text belongs to this thread and is copied at once.
        unsafe { CStr::from_ptr(last_text()) }.to_str().expect("UTF-8").to_owned()
    }

    #[test]
    fn a_panic_becomes_a_code_and_a_text() {
        let mut error = dcn_error_t {
            struct_size: size_of::<dcn_error_t>(),
            code: 0,
            reserved: 9,
            text: [1; DCN_ERROR_TEXT_BYTES],
        };
        // SAFETY: `error` is a whole struct with its size set.
        let code = unsafe { call(&mut error, || panic!("a planted {}", "bug")) };
        assert_eq!(code, Code::Panicked as i32);
        assert!(last().contains("a planted bug"), "{}", last());
        assert_eq!((error.code, error.reserved, error.struct_size), (code, 0, size_of::<dcn_error_t>()));
        // SAFETY: the library has written a terminated text.
        let text = unsafe { CStr::from_ptr(error.text.as_ptr()) };
        assert_eq!(text.to_str().unwrap(), last());
    }

    #[test]
    fn an_expected_outcome_has_its_words_too() {
        // SAFETY: a null error is allowed.
        let code = unsafe { call(std::ptr::null_mut(), || Ok(Code::Again)) };
        assert_eq!((code, last().as_str()), (Code::Again as i32, "not now: full, or nothing there; try again"));
        // SAFETY: as above.
        unsafe { call(std::ptr::null_mut(), || Ok(Code::Ok)) };
        assert!(last().starts_with("not now"), "a success leaves it alone");
    }

    #[test]
    fn errno_is_as_it_was() {
        // SAFETY: this thread's own errno; a null error is allowed.
        unsafe {
            *libc::__errno_location() = libc::EXDEV;
            call(std::ptr::null_mut(), || {
                libc::close(-1);
                Ok(Code::Ok)
            });
            assert_eq!(*libc::__errno_location(), libc::EXDEV);
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut error = dcn_error_t {
            struct_size: size_of::<dcn_error_t>(),
            code: 0,
            reserved: 0,
            text: [1; DCN_ERROR_TEXT_BYTES],
        };
        let long = "ü".repeat(DCN_ERROR_TEXT_BYTES);
        // SAFETY: `error` is a whole struct with its size set.
        unsafe { call(&mut error, || Err(Error::new(Code::Config, long.clone()))) };
        // SAFETY: the library has written a terminated text.
        let text = unsafe { CStr::from_ptr(error.text.as_ptr()) };
        assert_eq!(text.to_str().unwrap(), "ü".repeat((DCN_ERROR_TEXT_BYTES - 1) / 2));
        assert_eq!(last(), long);
    }
}
