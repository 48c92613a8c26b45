//! Status codes: what calls answer. The numbers are those of [`Code`] and never move.

use std::ffi::{CStr, c_char};

use super::guard;
use crate::types::Code;

/// Version of this interface: `major << 16 | minor`. The major grows when something a host uses changes or goes; the
/// minor when something is added. Compare with what `dcn_abi_version` answers: same major, and the library's minor
/// not below the header's.
pub const DCN_ABI_VERSION: u32 = 1;

/// Done.
pub const DCN_OK: i32 = 0;
/// Not now: the queue or window is full, or there is nothing to take. Try again later. Nothing was taken.
pub const DCN_AGAIN: i32 = 1;
/// This member has not joined a view yet. Nothing was taken.
pub const DCN_NOT_READY: i32 = 2;
/// This member is not in the primary view: a minority takes no messages. Nothing was taken.
pub const DCN_NOT_PRIMARY: i32 = 3;
/// The change is made, and this member holds the only copy: no other member can take one now.
pub const DCN_UNREPLICATED: i32 = 4;
/// An argument is NULL or outside its range. Nothing was changed.
pub const DCN_ERR_INVALID_ARGUMENT: i32 = -1;
/// A configuration key or value is wrong; the text names it and what is allowed. Nothing was changed.
pub const DCN_ERR_CONFIG: i32 = -2;
/// The handle is empty, closed, of another kind, or from somewhere else. Nothing was changed.
pub const DCN_ERR_BAD_HANDLE: i32 = -3;
/// The engine is closed, or its member has left or ended. Nothing was taken.
pub const DCN_ERR_CLOSED: i32 = -4;
/// Another thread is inside a call that one thread makes at a time. Nothing was changed.
pub const DCN_ERR_BUSY: i32 = -5;
/// The call would wait for the very thread that makes it. Nothing was changed.
pub const DCN_ERR_WOULD_DEADLOCK: i32 = -6;
/// The process was forked from the one that made the handle. Nothing was changed.
pub const DCN_ERR_FORKED: i32 = -7;
/// The message is longer than `message.max_bytes`, or the session than `session.max_bytes`. Nothing was taken.
pub const DCN_ERR_TOO_LARGE: i32 = -8;
/// No other member of that seat in the current view. Nothing was taken.
pub const DCN_ERR_NO_SUCH_MEMBER: i32 = -9;
/// This version cannot do it; the text says what. Nothing was changed.
pub const DCN_ERR_UNSUPPORTED: i32 = -10;
/// The operating system refused; the text has its words and what to do. Nothing is left open.
pub const DCN_ERR_SYSTEM: i32 = -11;
/// The cluster refused this member; the text has the reason and who gave it.
pub const DCN_ERR_REFUSED: i32 = -12;
/// A bug inside the library was caught. The engine has failed: every later call says so, but `dcn_engine_close`, and
/// `dcn_engine_poll` while there are events left.
pub const DCN_ERR_PANICKED: i32 = -13;
/// What the host holds has reached `memory.held_bytes`: copy the bytes instead, or release some first.
pub const DCN_ERR_HELD_LIMIT: i32 = -14;
/// The deadline passed first. The state is as if the call had not been made.
pub const DCN_ERR_TIMEOUT: i32 = -15;

/// No such session: it was removed, has expired, or never was. Nothing was changed.
pub const DCN_ERR_NO_SUCH_SESSION: i32 = -16;
/// Whoever may hold the session is not in the view now. Nothing was changed.
pub const DCN_ERR_HOLDERS_UNREACHABLE: i32 = -17;
/// The change was cut off: it is made once, or not at all. Repeat it with the same `repeat`.
pub const DCN_ERR_OUTCOME_UNKNOWN: i32 = -18;
/// The `repeat` of a change is older than those that the session remembers. Nothing was changed.
pub const DCN_ERR_TOKEN_EXPIRED: i32 = -19;
/// The session is at another version than the caller said. Nothing was changed.
pub const DCN_ERR_VERSION_CONFLICT: i32 = -20;
/// `session.memory_bytes` is used up. Nothing was changed.
pub const DCN_ERR_FULL: i32 = -21;

const TABLE: [(i32, Code, &CStr); 26] = [
    (DCN_OK, Code::Ok, c"done"),
    (DCN_AGAIN, Code::Again, c"not now: full, or nothing there; try again"),
    (DCN_NOT_READY, Code::NotReady, c"this member has not joined a view yet"),
    (DCN_NOT_PRIMARY, Code::NotPrimary, c"this member is not in the primary view"),
    (DCN_ERR_INVALID_ARGUMENT, Code::InvalidArgument, c"an argument is NULL or outside its range"),
    (DCN_ERR_CONFIG, Code::Config, c"a configuration key or value is wrong"),
    (DCN_ERR_BAD_HANDLE, Code::BadHandle, c"the handle is empty, closed, of another kind, or from somewhere else"),
    (DCN_ERR_CLOSED, Code::Closed, c"the engine is closed or its member has ended"),
    (DCN_ERR_BUSY, Code::Busy, c"another thread is inside a call that one thread makes at a time"),
    (DCN_ERR_WOULD_DEADLOCK, Code::WouldDeadlock, c"the call would wait for the thread that makes it"),
    (DCN_ERR_FORKED, Code::Forked, c"the handle belongs to the process that this one was forked from"),
    (DCN_ERR_TOO_LARGE, Code::TooLarge, c"the message or session is longer than the configuration allows"),
    (DCN_ERR_NO_SUCH_MEMBER, Code::NoSuchMember, c"no such member in the current view"),
    (DCN_ERR_UNSUPPORTED, Code::Unsupported, c"this version cannot do it"),
    (DCN_ERR_SYSTEM, Code::System, c"the operating system refused"),
    (DCN_ERR_REFUSED, Code::Refused, c"the cluster refused this member"),
    (DCN_ERR_PANICKED, Code::Panicked, c"a bug inside the library was caught; the engine is failed"),
    (DCN_ERR_HELD_LIMIT, Code::HeldLimit, c"the host holds as many bytes as memory.held_bytes allows"),
    (DCN_ERR_TIMEOUT, Code::Timeout, c"the deadline passed first"),
    (DCN_UNREPLICATED, Code::Unreplicated, c"done, and this member holds the only copy"),
    (DCN_ERR_NO_SUCH_SESSION, Code::NoSuchSession, c"no such session: removed, expired, or never there"),
    (DCN_ERR_HOLDERS_UNREACHABLE, Code::HoldersUnreachable, c"the holders of the session are not in the view"),
    (DCN_ERR_OUTCOME_UNKNOWN, Code::OutcomeUnknown, c"the change was made once or not at all: repeat it"),
    (DCN_ERR_TOKEN_EXPIRED, Code::TokenExpired, c"the change is older than those that the session remembers"),
    (DCN_ERR_VERSION_CONFLICT, Code::VersionConflict, c"the session is at another version"),
    (DCN_ERR_FULL, Code::Full, c"the memory for sessions is used up"),
];

/// Tells the version of the interface that the loaded library offers, in the form of `DCN_ABI_VERSION`.
///
/// Threads: any. Blocking: never blocks.
/// Returns: the version; it cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn dcn_abi_version() -> u32 {
    DCN_ABI_VERSION
}

/// Says in a few English words what a status code means.
///
/// Parameters: `code`, any number.
/// Ownership: the text is static and NUL-terminated; it is never NULL and must not be freed.
/// Threads: any. Blocking: never blocks.
/// Returns: the text; "unknown status code" for a number that this version does not know. It cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn dcn_status_str(code: i32) -> *const c_char {
    words(code).as_ptr()
}

/// As [`dcn_status_str`], for the library itself.
pub(super) fn words(code: i32) -> &'static CStr {
    let known = TABLE.iter().find(|(number, ..)| *number == code);
    known.map_or(c"unknown status code", |(.., text)| text)
}

/// The text of the last call of this thread that did not answer `DCN_OK`, with its cause.
///
/// A convenience for C programs. Where calls may move between threads (virtual threads), use the `dcn_error_t`
/// parameter instead.
///
/// Ownership: the library's; valid until the next call of this thread that does not answer `DCN_OK`, or the thread's end.
/// Threads: any; each has its own text. Blocking: never blocks.
/// Returns: NUL-terminated UTF-8, empty if there was no such call; never NULL. It cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn dcn_last_error() -> *const c_char {
    guard::last_text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_codes_and_each_has_its_words() {
        for (number, code, text) in TABLE {
            assert_eq!(number, code as i32, "{}", code.name());
            // SAFETY: the function answers with static text.
            assert_eq!(unsafe { CStr::from_ptr(dcn_status_str(number)) }, text);
        }
        let listed = TABLE.map(|(number, ..)| number);
        assert!((-21..=4).all(|number| listed.contains(&number)), "every number has an entry");
        // SAFETY: as above.
        assert_eq!(unsafe { CStr::from_ptr(dcn_status_str(1_000)) }, c"unknown status code");
    }
}
