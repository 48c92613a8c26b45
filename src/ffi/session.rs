//! `dcn_session_*`: state that a host keeps for its users, with a copy on a second member.

use std::ffi::c_char;
use std::time::Duration;

use super::attribute::{self, dcn_attribute_t};
use super::buffer::{self, dcn_buf_t};
use super::engine::{Member, dcn_engine_t, with_engine};
use super::input;
use crate::api::{Attributes, Cookie, Engine, Session, SessionChange, SessionOp};
use crate::types::{Code, Result};

/// Bytes that suffice for the text of any cookie, its NUL included.
pub const DCN_COOKIE_BYTES: usize = 72;
/// A change of a session. Set all of it to zero, then `struct_size`, then what is wanted.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dcn_session_change_t {
    /// In: `sizeof(dcn_session_change_t)`, set by the caller.
    pub struct_size: usize,
    /// Makes the change once, however often it is asked for with this number, on whichever members. The numbers of one session
    /// grow; the last 8 are remembered. 0 = it may be made twice when it is repeated.
    pub repeat: u64,
    /// Only if the session is at this version; 0 = at any.
    pub if_version: u64,
    /// Attributes to set, `set_count` of them; NULL if that is 0.
    pub sets: *const dcn_attribute_t,
    /// How many are set.
    pub set_count: usize,
    /// Attributes to remove, `remove_count` of them; NULL if that is 0. Only their names matter.
    pub removes: *const dcn_attribute_t,
    /// How many are removed. To remove one that is not there is fine.
    pub remove_count: usize,
    /// `sizeof(dcn_attribute_t)`.
    pub stride_bytes: usize,
    /// 1: all attributes that are not set here go; 0: they stay.
    pub whole: u32,
    /// Zero.
    pub reserved: u32,
}

/// A session as it was when a request about it was answered. Set `struct_size` to `sizeof(dcn_session_t)` before the call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dcn_session_t {
    /// In: `sizeof(dcn_session_t)`, set by the caller.
    pub struct_size: usize,
    /// Grows with every change.
    pub version: u64,
    /// What the user's cookie should say from now on (`id!primary!secondary`), NUL-terminated ASCII. After a remove it names a
    /// session that is not there.
    pub cookie: [c_char; DCN_COOKIE_BYTES],
}

// ---- with an event as the answer

/// Asks for a new session. Its name is drawn by the library and cannot be guessed.
///
/// Parameters: `token`, any number, comes back with the event; `ttl_s`, seconds after its last use at which it expires
/// (`DCN_EVENT_SESSION_EXPIRED`), 0 = never; `attributes`, an array of `count` (0 to `DCN_ATTRIBUTES_MAX`) structs of
/// `stride_bytes` = `sizeof *attributes` each, NULL if there are none; of two with one name the later one counts. All together
/// they have at most `session.max_bytes`, with their names and 6 bytes for each.
/// Ownership: everything is copied before the call returns.
/// Threads: any. Blocking: never blocks.
/// Returns: `DCN_OK`: one event `DCN_EVENT_SESSION` with this token follows, unless the engine is closed or fails before;
/// `DCN_AGAIN`: too much is under way, or answers wait to be taken (try after the next `DCN_EVENT_SESSION` or
/// `DCN_EVENT_WRITABLE`); `DCN_NOT_READY`: no view yet; `DCN_NOT_PRIMARY`: a minority; `DCN_ERR_TOO_LARGE`;
/// `DCN_ERR_INVALID_ARGUMENT`, also for a name that is empty, too long, or not UTF-8; `DCN_ERR_CLOSED`; `DCN_ERR_BAD_HANDLE`;
/// `DCN_ERR_FORKED`; `DCN_ERR_PANICKED`. Nothing was taken unless it is `DCN_OK`.
/// The event's status (`detail`): `DCN_OK`: two members hold it; `DCN_UNREPLICATED`: this member alone holds it, as no other one
/// can; `DCN_NOT_PRIMARY`, `DCN_ERR_TIMEOUT`, `DCN_ERR_FULL`, `DCN_ERR_CLOSED`: there is none; `DCN_ERR_OUTCOME_UNKNOWN`: it may be
/// there or not, and nobody knows its name but, if there is one, the event's cookie.
///
/// # Safety
/// `attributes` is null or points to `count` elements of `stride_bytes`, each with readable names and values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_session_create(
    engine: dcn_engine_t, token: u64, ttl_s: u32, attributes: *const dcn_attribute_t, stride_bytes: usize, count: usize,
) -> i32 {
    with_engine(engine, |_, engine| {
        // SAFETY: the caller's promise.
        let attributes = unsafe { attribute::read(attributes, stride_bytes, count, "attributes")? };
        engine.session_request(token, None, SessionOp::Create { ttl_s, attributes })
    })
}

/// Asks for the attributes of a session. Whichever member is asked finds it, and owns it from then on. A read is a use.
///
/// Parameters: `token`, any number, comes back with the event; `cookie`, as the user sent it: it is checked here, and its
/// holders are only where to look first.
/// Threads: any. Blocking: never blocks.
/// Returns: as `dcn_session_create`; `DCN_ERR_INVALID_ARGUMENT` for a cookie that is malformed (the text says how).
/// The event's status: `DCN_OK`: `data` are the attributes (see `dcn_attribute_get`), valid as any payload; `DCN_AGAIN`: the
/// answers that wait to be taken leave no room for this one, read again; `DCN_ERR_NO_SUCH_SESSION`;
/// `DCN_ERR_HOLDERS_UNREACHABLE`: who may hold it is not in the view now; `DCN_NOT_PRIMARY`; `DCN_ERR_TIMEOUT`;
/// `DCN_ERR_CLOSED`. Nothing is changed by any of them.
///
/// # Safety
/// `cookie` is null or a NUL-terminated text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_session_read(engine: dcn_engine_t, token: u64, cookie: *const c_char) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { request(engine, token, cookie, SessionOp::Read) }
}

/// Asks for a look at a session: its attributes, and in the cookie who holds it. Its owner stays the same, and it is no use.
/// A balancer that cannot see a visitor's cookie asks so who serves it.
///
/// Parameters: as for `dcn_session_read`.
/// Threads: any. Blocking: never blocks.
/// Returns: as `dcn_session_read`, and so is the event's status.
///
/// # Safety
/// `cookie` is null or a NUL-terminated text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_session_peek(engine: dcn_engine_t, token: u64, cookie: *const c_char) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { request(engine, token, cookie, SessionOp::Peek) }
}

/// Asks for a change of a session.
///
/// Parameters: `token`, any number, comes back with the event; `cookie`, as for `dcn_session_read`; `change`, not NULL, with its
/// `struct_size` set, read during the call only.
/// Ownership: everything is copied before the call returns.
/// Threads: any. Blocking: never blocks.
/// Returns: as `dcn_session_create`.
/// The event's status: `DCN_OK`: two members hold the change, `number` is the new version; `DCN_UNREPLICATED`: it is made, and
/// this member alone holds it; `DCN_ERR_VERSION_CONFLICT`, `DCN_ERR_TOKEN_EXPIRED` (`repeat` is older than those that are
/// remembered), `DCN_ERR_TOO_LARGE`, `DCN_ERR_FULL`, `DCN_ERR_NO_SUCH_SESSION`, `DCN_ERR_HOLDERS_UNREACHABLE`, `DCN_NOT_PRIMARY`,
/// `DCN_ERR_TIMEOUT`, `DCN_ERR_CLOSED`: nothing was changed; `DCN_ERR_OUTCOME_UNKNOWN`: it is made or not: ask again with the
/// same `repeat`.
///
/// # Safety
/// `cookie` is null or a NUL-terminated text; `change` is null or a struct with its size set, whose arrays are as for
/// [`dcn_session_create`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_session_write(
    engine: dcn_engine_t, token: u64, cookie: *const c_char, change: *const dcn_session_change_t,
) -> i32 {
    with_engine(engine, |_, engine| {
        // SAFETY: the caller's promises.
        let (cookie, change) = unsafe { (read_cookie(cookie)?, read_change(change)?) };
        engine.session_request(token, Some(&cookie), change.into())
    })
}

/// Asks that a session be used without a change, so that it does not expire.
///
/// Parameters: `token`, any number, comes back with the event; `cookie`, as for `dcn_session_read`.
/// Threads: any. Blocking: never blocks.
/// Returns: as `dcn_session_read`, and so is the event's status, without `data`.
///
/// # Safety
/// `cookie` is null or a NUL-terminated text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_session_touch(engine: dcn_engine_t, token: u64, cookie: *const c_char) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { request(engine, token, cookie, SessionOp::Touch) }
}

/// Asks for the end of a session.
///
/// Parameters: `token`, any number, comes back with the event; `cookie`, as for `dcn_session_read`.
/// Threads: any. Blocking: never blocks.
/// Returns: as `dcn_session_read`.
/// The event's status: as `dcn_session_read`, without `data`; `DCN_ERR_OUTCOME_UNKNOWN`: it has ended or not: ask again, or read.
///
/// # Safety
/// `cookie` is null or a NUL-terminated text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_session_remove(engine: dcn_engine_t, token: u64, cookie: *const c_char) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { request(engine, token, cookie, SessionOp::Remove) }
}

// ---- waiting for the answer

/// As `dcn_session_create`, and waits for the answer, of which no event tells.
///
/// Parameters: as for `dcn_session_create`; `timeout_ms`, how long to wait, more than 0; `session`, NULL or a struct with its size
/// set: where version and cookie go when the answer is `DCN_OK` or `DCN_UNREPLICATED`.
/// Threads: any that may wait: on a thread of the library (a handler), and without a thread, it is `DCN_ERR_WOULD_DEADLOCK`.
/// Blocking: blocks up to timeout.
/// Returns: what `dcn_session_create` returns, or the status of its event. `DCN_ERR_OUTCOME_UNKNOWN` also when the time is over, or
/// the engine is closed, before the answer; `DCN_ERR_TIMEOUT` for a timeout of 0.
///
/// # Safety
/// As for [`dcn_session_create`]; `session` is null or a struct with its size set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_session_create_wait(
    engine: dcn_engine_t, ttl_s: u32, attributes: *const dcn_attribute_t, stride_bytes: usize, count: usize,
    timeout_ms: u32, session: *mut dcn_session_t,
) -> i32 {
    with_engine(engine, |_, engine| {
        // SAFETY: the caller's promises.
        unsafe {
            let attributes = attribute::read(attributes, stride_bytes, count, "attributes")?;
            tell(session, || engine.session_create(ttl_s, attributes, input::timeout(timeout_ms)))
        }
    })
}

/// As `dcn_session_read`, and waits for the answer, of which no event tells.
///
/// Parameters: as for `dcn_session_read` and `dcn_session_create_wait`; `attributes`, NULL or where a buffer goes that holds the
/// attributes (see `dcn_attribute_get`).
/// Ownership: the caller gives the buffer back with `dcn_buf_release`.
/// Threads: any that may wait (`dcn_session_create_wait`), else `DCN_ERR_WOULD_DEADLOCK`. Blocking: blocks up to timeout.
/// Returns: what `dcn_session_read` returns, or the status of its event; `DCN_ERR_TIMEOUT` also when the time is over before the
/// answer; `DCN_ERR_HELD_LIMIT`: there is no room for the buffer. Nothing is written unless it is `DCN_OK`.
///
/// # Safety
/// `cookie` is null or a NUL-terminated text; `session` is null or a struct with its size set; `attributes` is null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_session_read_wait(
    engine: dcn_engine_t, cookie: *const c_char, timeout_ms: u32, session: *mut dcn_session_t,
    attributes: *mut dcn_buf_t,
) -> i32 {
    let read = |engine: &Engine, cookie: &Cookie| engine.session_read(cookie, input::timeout(timeout_ms));
    // SAFETY: the caller's promises.
    unsafe { seen(engine, cookie, session, attributes, read) }
}

/// As `dcn_session_peek`, and waits for the answer, of which no event tells.
///
/// Parameters: as for `dcn_session_read_wait`.
/// Ownership: the caller gives the buffer back with `dcn_buf_release`.
/// Threads: any that may wait (`dcn_session_create_wait`), else `DCN_ERR_WOULD_DEADLOCK`. Blocking: blocks up to timeout.
/// Returns: as `dcn_session_read_wait`.
///
/// # Safety
/// As for [`dcn_session_read_wait`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_session_peek_wait(
    engine: dcn_engine_t, cookie: *const c_char, timeout_ms: u32, session: *mut dcn_session_t,
    attributes: *mut dcn_buf_t,
) -> i32 {
    let read = |engine: &Engine, cookie: &Cookie| engine.session_peek(cookie, input::timeout(timeout_ms));
    // SAFETY: the caller's promises.
    unsafe { seen(engine, cookie, session, attributes, read) }
}

/// Tells what a session is, by one of the ways to read it.
///
/// # Safety
/// As for [`dcn_session_read_wait`].
unsafe fn seen(
    engine: dcn_engine_t, cookie: *const c_char, session: *mut dcn_session_t, attributes: *mut dcn_buf_t,
    read: impl FnOnce(&Engine, &Cookie) -> Result<Session>,
) -> i32 {
    with_engine(engine, |member, engine| {
        // SAFETY: the caller's promises.
        unsafe {
            let cookie = read_cookie(cookie)?;
            check_session(session)?;
            let read = read(engine, &cookie)?;
            if !attributes.is_null() {
                keep(member, &read.attributes, input::place(attributes, "attributes")?)?;
            }
            tell(session, || Ok(read))
        }
    })
}

/// As `dcn_session_write`, and waits for the answer, of which no event tells.
///
/// Parameters: as for `dcn_session_write` and `dcn_session_create_wait`.
/// Threads: any that may wait (`dcn_session_create_wait`), else `DCN_ERR_WOULD_DEADLOCK`. Blocking: blocks up to timeout.
/// Returns: what `dcn_session_write` returns, or the status of its event. `DCN_ERR_OUTCOME_UNKNOWN` also when the time is over, or
/// the engine is closed, before the answer; `DCN_ERR_TIMEOUT` for a timeout of 0.
///
/// # Safety
/// As for [`dcn_session_write`]; `session` is null or a struct with its size set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_session_write_wait(
    engine: dcn_engine_t, cookie: *const c_char, change: *const dcn_session_change_t, timeout_ms: u32,
    session: *mut dcn_session_t,
) -> i32 {
    with_engine(engine, |_, engine| {
        // SAFETY: the caller's promises.
        unsafe {
            let (cookie, change) = (read_cookie(cookie)?, read_change(change)?);
            tell(session, || engine.session_write(&cookie, change, input::timeout(timeout_ms)))
        }
    })
}

/// As `dcn_session_touch`, and waits for the answer, of which no event tells.
///
/// Parameters: as for `dcn_session_touch` and `dcn_session_create_wait`.
/// Threads: any that may wait (`dcn_session_create_wait`), else `DCN_ERR_WOULD_DEADLOCK`. Blocking: blocks up to timeout.
/// Returns: as `dcn_session_read_wait`.
///
/// # Safety
/// `cookie` is null or a NUL-terminated text; `session` is null or a struct with its size set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_session_touch_wait(
    engine: dcn_engine_t, cookie: *const c_char, timeout_ms: u32, session: *mut dcn_session_t,
) -> i32 {
    // SAFETY: the caller's promises.
    unsafe { wait(engine, cookie, timeout_ms, session, Engine::session_touch) }
}

/// As `dcn_session_remove`, and waits for the answer, of which no event tells.
///
/// Parameters: as for `dcn_session_remove` and `dcn_session_create_wait`.
/// Threads: any that may wait (`dcn_session_create_wait`), else `DCN_ERR_WOULD_DEADLOCK`. Blocking: blocks up to timeout.
/// Returns: what `dcn_session_remove` returns, or the status of its event. `DCN_ERR_OUTCOME_UNKNOWN` also when the time is over, or
/// the engine is closed, before the answer; `DCN_ERR_TIMEOUT` for a timeout of 0.
///
/// # Safety
/// `cookie` is null or a NUL-terminated text; `session` is null or a struct with its size set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_session_remove_wait(
    engine: dcn_engine_t, cookie: *const c_char, timeout_ms: u32, session: *mut dcn_session_t,
) -> i32 {
    // SAFETY: the caller's promises.
    unsafe { wait(engine, cookie, timeout_ms, session, Engine::session_remove) }
}

// ---- what comes from and goes to the caller

/// # Safety
/// `cookie` is null or a NUL-terminated text.
unsafe fn request(engine: dcn_engine_t, token: u64, cookie: *const c_char, op: SessionOp) -> i32 {
    with_engine(engine, |_, engine| {
        // SAFETY: the caller's promise.
        let cookie = unsafe { read_cookie(cookie)? };
        engine.session_request(token, Some(&cookie), op)
    })
}

/// # Safety
/// `cookie` is null or a NUL-terminated text; `session` is null or a struct with its size set.
unsafe fn wait(
    engine: dcn_engine_t, cookie: *const c_char, timeout_ms: u32, session: *mut dcn_session_t,
    ask: impl FnOnce(&Engine, &Cookie, Duration) -> Result<Session>,
) -> i32 {
    with_engine(engine, |_, engine| {
        // SAFETY: the caller's promises.
        unsafe {
            let cookie = read_cookie(cookie)?;
            tell(session, || ask(engine, &cookie, input::timeout(timeout_ms)))
        }
    })
}

/// Asks, and writes what was answered where the caller wants it, which is looked at before anything is asked.
///
/// # Safety
/// `session` is null or a struct with its size set.
unsafe fn tell(session: *mut dcn_session_t, ask: impl FnOnce() -> Result<Session>) -> Result<Code> {
    // SAFETY: the caller's promise.
    unsafe { check_session(session)? };
    let answer = ask()?;
    if !session.is_null() {
        let mut out = dcn_session_t { struct_size: 0, version: answer.version, cookie: [0; DCN_COOKIE_BYTES] };
        input::copy_text(&answer.cookie.to_string(), &mut out.cookie);
        // SAFETY: the caller's promise.
        unsafe { input::fill(session, out)? };
    }
    Ok(answer.code)
}

/// # Safety
/// `session` is null or a struct with its size set.
unsafe fn check_session(session: *mut dcn_session_t) -> Result<()> {
    if session.is_null() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    unsafe { input::size_of_struct(session, "session").map(drop) }
}

/// # Safety
/// `out` is writable.
unsafe fn keep(member: &Member, attributes: &Attributes, out: *mut dcn_buf_t) -> Result<()> {
    let buffer = buffer::keep(attributes.as_bytes().clone(), member.budget())?;
    // SAFETY: the caller's promise.
    unsafe { out.write(buffer) };
    Ok(())
}

/// # Safety
/// `cookie` is null or a NUL-terminated text.
unsafe fn read_cookie(cookie: *const c_char) -> Result<Cookie> {
    // SAFETY: the caller's promise.
    unsafe { input::text(cookie, "cookie")? }.parse()
}

/// # Safety
/// `change` is null or a struct with its size set; its arrays are as it says.
unsafe fn read_change(change: *const dcn_session_change_t) -> Result<SessionChange> {
    // SAFETY: the caller's promise; zeros are a legal change.
    let change = unsafe { input::take(change, "change")? };
    let whole = match change.whole {
        0 => false,
        1 => true,
        other => return Err(input::invalid(format!("whole is {other}: it must be 0 or 1"))),
    };
    let stride = change.stride_bytes;
    Ok(SessionChange {
        token: change.repeat,
        if_version: change.if_version,
        whole,
        // SAFETY: the caller's promise.
        sets: unsafe { attribute::read(change.sets, stride, change.set_count, "sets")? },
        // SAFETY: the caller's promise.
        removes: unsafe { attribute::read_names(change.removes, stride, change.remove_count)? },
    })
}
