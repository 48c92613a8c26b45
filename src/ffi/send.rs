//! `dcn_send`, `dcn_sendv`, `dcn_send_buf`: messages out.

use std::io::IoSlice;

use super::buffer::{self, dcn_buf_t};
use super::engine::{dcn_engine_t, with_engine};
use super::input;
use crate::api::{Engine, Level, To};
use crate::types::{Code, Error, Result, Seat};

/// `to` of a send: every other member of the view.
pub const DCN_TO_ALL: u32 = 0;

/// In one datagram: may be lost and come out of order, never doubled or corrupted. What is longer than 1,327 bytes (by
/// multicast 73 less than the longest datagram that every member takes, where that is shorter) is refused: `DCN_ERR_TOO_LARGE`.
pub const DCN_LEVEL_UNRELIABLE: u32 = 0;
/// In the order sent, once, without a gap.
pub const DCN_LEVEL_FIFO: u32 = 1;
/// All members that go on together deliver in one order, among everything that is agreed or safe; the sender gets it too, in that
/// place. Only to `DCN_TO_ALL`.
pub const DCN_LEVEL_AGREED: u32 = 2;
/// In the same order, and delivered only once every ready member of the view holds it and knows its place; after a transition event,
/// once all who go on together do. Only to `DCN_TO_ALL`.
pub const DCN_LEVEL_SAFE: u32 = 3;

/// Most parts of one `dcn_sendv`.
pub const DCN_PARTS_MAX: usize = 1024;

/// Most messages of one `dcn_send_many`.
pub const DCN_MESSAGES_MAX: usize = 1024;

/// A range of the caller's memory. This struct never changes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dcn_slice_t {
    /// Where it begins; may be NULL if `bytes` is 0.
    pub data: *const u8,
    /// How long it is.
    pub bytes: usize,
}

/// Sends one message to all other members, or to one.
///
/// Parameters: `to`, `DCN_TO_ALL` or the seat of another member of the current view; `level`, `DCN_LEVEL_*`; `token`, any
/// number, comes with the message (0 = none); `data`, `bytes` of payload, 0 to `message.max_bytes`; `timeout_ms`, how long
/// to wait for room, 0 = not at all. Inside a handler, and without a thread, it counts as 0.
/// Ownership: the payload is copied before the call returns.
/// Threads: any. What one thread sends to the same receiver is delivered in that order.
/// Blocking: blocks up to timeout.
/// Returns: `DCN_OK`: accepted in order; `DCN_AGAIN`: no room in time (the event `DCN_EVENT_WRITABLE` says when to try again);
/// `DCN_NOT_READY`: no view yet; `DCN_NOT_PRIMARY`: a minority; `DCN_ERR_NO_SUCH_MEMBER`; `DCN_ERR_TOO_LARGE`;
/// `DCN_ERR_UNSUPPORTED` where this member or the receiver is a witness; `DCN_ERR_CLOSED`; `DCN_ERR_INVALID_ARGUMENT`, also for a level that only
/// goes to everybody; `DCN_ERR_BAD_HANDLE`;
/// `DCN_ERR_FORKED`; `DCN_ERR_PANICKED`. Nothing was taken unless it is `DCN_OK`.
///
/// # Safety
/// `data` is null or points to `bytes` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_send(
    engine: dcn_engine_t, to: u32, level: u32, token: u64, data: *const u8, bytes: usize, timeout_ms: u32,
) -> i32 {
    with_engine(engine, |_, engine| {
        // SAFETY: the caller's promise.
        let payload = unsafe { input::bytes(data, bytes, "data")? };
        engine.send(receiver(engine, to)?, self::level(level)?, token, payload, input::timeout(timeout_ms))
    })
}

/// Sends one message that lies in several places, as if they were joined.
///
/// Parameters: `parts`, an array of `count` ranges (0 to `DCN_PARTS_MAX`; NULL if 0); all others as for `dcn_send`.
/// Ownership: the payload is copied before the call returns.
/// Threads: any. Blocking: blocks up to timeout.
/// Returns: as `dcn_send`.
///
/// # Safety
/// `parts` is null or points to `count` ranges, each of readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_sendv(
    engine: dcn_engine_t, to: u32, level: u32, token: u64, parts: *const dcn_slice_t, count: usize, timeout_ms: u32,
) -> i32 {
    with_engine(engine, |_, engine| {
        // SAFETY: the caller's promise.
        let parts = unsafe { gather(parts, count)? };
        engine.send_vectored(receiver(engine, to)?, self::level(level)?, token, &parts, input::timeout(timeout_ms))
    })
}

/// Sends several messages in the order given, each as `dcn_send` does. What a call checks, locks and wakes it does once for all of them, so
/// that a short message costs a quarter of what it costs with a call of its own.
///
/// Parameters: `messages`, an array of `count` ranges, one for each message (0 to `DCN_MESSAGES_MAX`; NULL if 0); `token` comes with
/// each of them; `timeout_ms` is for all of them; `accepted`, set to how many were accepted, from the first on; all others as for `dcn_send`.
/// Ownership: the payloads are copied before the call returns.
/// Threads: any. What one thread sends to the same receiver is delivered in that order. Blocking: blocks up to timeout.
/// Returns: `DCN_OK`: all were accepted; else what `dcn_send` returns for the first one that was not, or `DCN_ERR_INVALID_ARGUMENT` about the array
/// or for `accepted` = NULL, and then nothing was taken. The first `*accepted` were accepted whatever is returned, and are not to be sent
/// again; a message that cannot be sent (`DCN_ERR_TOO_LARGE`) keeps back those behind it.
///
/// # Safety
/// `messages` is null or points to `count` ranges, each of readable bytes; `accepted` is null or points to a `size_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_send_many(
    engine: dcn_engine_t, to: u32, level: u32, token: u64, messages: *const dcn_slice_t, count: usize, timeout_ms: u32,
    accepted: *mut usize,
) -> i32 {
    let place = input::place(accepted, "accepted");
    if let Ok(place) = place {
        // SAFETY: not null and aligned; the caller's promise.
        unsafe { place.write(0) };
    }
    with_engine(engine, |_, engine| {
        let place = place?;
        if count > DCN_MESSAGES_MAX {
            return Err(input::invalid(format!("{count} messages: one call takes at most {DCN_MESSAGES_MAX}")));
        }
        // SAFETY: the caller's promise.
        let messages = unsafe { slices(messages, count, "messages")? };
        // SAFETY: the caller's promise.
        let bytes = |message: &dcn_slice_t| unsafe { input::bytes(message.data, message.bytes, "a message") };
        let payloads = messages.iter().map(bytes).collect::<Result<Vec<&[u8]>>>()?;
        let (to, level, timeout) = (receiver(engine, to)?, self::level(level)?, input::timeout(timeout_ms));
        let (taken, answer) = engine.send_many(to, level, token, &payloads, timeout);
        // SAFETY: as above.
        unsafe { place.write(taken) };
        answer
    })
}

/// Sends the bytes of a buffer, wrapped (`dcn_buf_wrap`) or retained (`dcn_buf_retain`).
///
/// What is longer than 16 KiB is not copied at the call; the engine copies it once, into batches (`dcn_send` copies it twice). Shorter ones are copied at
/// the call, which is cheaper.
///
/// Parameters: `buffer`, of whatever engine; all others as for `dcn_send`.
/// Ownership: the handle stays the caller's, to be released as without this call, at once or later, and may be sent again. The bytes are
/// kept, and must not change, until the engine needs them no more; what is kept so does not count against `memory.held_bytes`.
/// Threads: any. What one thread sends to the same receiver is delivered in that order.
/// Blocking: blocks up to timeout.
/// Returns: as `dcn_send`; `DCN_ERR_BAD_HANDLE` also for the buffer. Nothing was taken unless it is `DCN_OK`.
#[unsafe(no_mangle)]
pub extern "C" fn dcn_send_buf(
    engine: dcn_engine_t, to: u32, level: u32, token: u64, buffer: dcn_buf_t, timeout_ms: u32,
) -> i32 {
    with_engine(engine, |_, engine| {
        let payload = buffer::payload(buffer)?;
        engine.send_bytes(receiver(engine, to)?, self::level(level)?, token, payload, input::timeout(timeout_ms))
    })
}

/// # Safety
/// As for [`dcn_sendv`].
unsafe fn gather<'a>(parts: *const dcn_slice_t, count: usize) -> Result<Vec<IoSlice<'a>>> {
    if count > DCN_PARTS_MAX {
        return Err(input::invalid(format!("{count} parts: at most {DCN_PARTS_MAX} make one message")));
    }
    // SAFETY: the caller's promise.
    let parts = unsafe { slices(parts, count, "parts")? };
    // SAFETY: the caller's promise.
    parts.iter().map(|part| Ok(IoSlice::new(unsafe { input::bytes(part.data, part.bytes, "a part")? }))).collect()
}

/// An array of ranges of the caller's.
///
/// # Safety
/// It is null or has so many.
unsafe fn slices<'a>(first: *const dcn_slice_t, count: usize, what: &str) -> Result<&'a [dcn_slice_t]> {
    if count == 0 {
        return Ok(&[]);
    }
    if first.is_null() || !first.is_aligned() {
        return Err(input::invalid(format!("{what} is NULL or not aligned: {count} ranges were expected")));
    }
    // SAFETY: not null and aligned; as long as the caller promises.
    Ok(unsafe { std::slice::from_raw_parts(first, count) })
}

pub(super) fn receiver(engine: &Engine, to: u32) -> Result<To> {
    if to == DCN_TO_ALL {
        return Ok(To::Everybody);
    }
    let now = engine.view().ok_or_else(|| engine.no_view())?;
    match now.view.index_of_seat(Seat(to)) {
        Some(at) if at != now.me => Ok(To::Member(now.view.members[at].incarnation)),
        Some(_) => Err(Error::new(Code::NoSuchMember, format!("seat {to} is this member itself"))),
        None => Err(Error::new(Code::NoSuchMember, format!("no member has seat {to} in view {}", now.view.id.number))),
    }
}

pub(super) fn level(level: u32) -> Result<Level> {
    match level {
        DCN_LEVEL_UNRELIABLE => Ok(Level::Unreliable),
        DCN_LEVEL_FIFO => Ok(Level::Fifo),
        DCN_LEVEL_AGREED => Ok(Level::Agreed),
        DCN_LEVEL_SAFE => Ok(Level::Safe),
        _ => Err(input::invalid(format!("level is {level}: pass one of DCN_LEVEL_*"))),
    }
}
