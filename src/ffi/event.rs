//! `dcn_event_t`: what a host sees, one struct for all kinds.

use std::ffi::c_char;
use std::mem::offset_of;
use std::ptr;

use super::input;
use crate::types::Result;

/// A message. `member` sent it, `data` is its payload, `number` its place in the sender's stream, `token` what the
/// sender gave, `view` the view it belongs to; `detail` is 1 if it was sent to this member alone; if to all, 0, or the level that
/// gives it its place in one order (`DCN_LEVEL_AGREED`, `DCN_LEVEL_SAFE`: also what this member sent itself). What was sent as `DCN_LEVEL_UNRELIABLE` has
/// `DCN_MESSAGE_UNRELIABLE` in `detail` besides, and a `number` of its sender's messages of that level alone, of which some may be missing.
pub const DCN_EVENT_MESSAGE: u32 = 1;
/// In the `detail` of a message: it was sent as `DCN_LEVEL_UNRELIABLE`.
pub const DCN_MESSAGE_UNRELIABLE: u32 = 256;
/// The view `view` is ending: messages until the next `DCN_EVENT_VIEW` reach those who go on together.
pub const DCN_EVENT_TRANSITION: u32 = 2;
/// The view `view` was installed; `detail` is its number of members. `dcn_event_view` gives the members, and who came and went.
pub const DCN_EVENT_VIEW: u32 = 3;
/// From the view `view` on this member is ready: it counts for stability and windows.
pub const DCN_EVENT_READY: u32 = 4;
/// `member` is under suspicion, for the reason in `text`; the check has begun.
pub const DCN_EVENT_SUSPECTED: u32 = 5;
/// `member` alone holds up senders, by `number` bytes; it is removed if it still does after `window.slow_ms`.
pub const DCN_EVENT_SLOW: u32 = 6;
/// All members of the view `view` hold our messages to everybody up to `number` (only with `events.stable`).
pub const DCN_EVENT_STABLE: u32 = 7;
/// An accepted message could not be sent in any view, for the reason in `text`: `data` is its payload, `token` its token,
/// `member` and `seat` whom it was for (NULL and 0: everybody, or a member that is not known any more).
pub const DCN_EVENT_RETURNED: u32 = 8;
/// A send that was answered with `DCN_AGAIN` may be tried once more.
pub const DCN_EVENT_WRITABLE: u32 = 9;
/// `detail` is 1 if this member acts in the primary view from now on, 0 if no longer. `view` is the view.
pub const DCN_EVENT_PRIMARY: u32 = 10;
/// Others removed this member, for the reason in `text`; it joins again by itself as a new incarnation.
pub const DCN_EVENT_EXPELLED: u32 = 11;
/// Somebody (`member`, or NULL for a stranger) sent what it must not; the connection was closed. `text` says what and
/// from which address.
pub const DCN_EVENT_FAULT: u32 = 12;
/// `member` (a name; it has no seat) wanted to join and was refused; `text` says why and from which address.
pub const DCN_EVENT_REFUSED_JOINER: u32 = 13;
/// Something the operator should read, in `text`. `detail` is `DCN_LOG_ERROR`, `DCN_LOG_WARN` or `DCN_LOG_INFO`.
pub const DCN_EVENT_NOTE: u32 = 14;
/// The member has ended. `detail` is the reason (`DCN_ENDED_*`), `text` says more. Nothing follows.
pub const DCN_EVENT_CLOSED: u32 = 15;
/// A request about a session was answered: `token` is its token, `detail` the status (`(int32_t)detail` is `DCN_OK`, ...; the
/// `dcn_session_*` functions list theirs), `number` the session's version, `text` what its cookie should say from now on (NULL
/// if there is no session, or none that is known here), `data` the attributes, if it was a read (`dcn_attribute_get`).
pub const DCN_EVENT_SESSION: u32 = 16;
/// A session that this member owned has not been used for its time, and is gone. `text` is the first part of its
/// cookie. While 65,536 of these wait to be polled, further ones are left out, and a `DCN_EVENT_NOTE` says how many.
pub const DCN_EVENT_SESSION_EXPIRED: u32 = 17;
/// This member, which had been removed, held a newer version of a session than the one that the others went on with. That one, at
/// version `number`, is kept; the other one, at version `token`, is dropped. `text` is the session's name.
pub const DCN_EVENT_SESSION_CONFLICT: u32 = 19;
/// After a loss, all sessions that this member owns have two copies again; `number` of them were made anew. `view` is the view.
pub const DCN_EVENT_REDUNDANCY_RESTORED: u32 = 18;

/// The host asked for it, and the cluster knows.
pub const DCN_ENDED_LEFT: u32 = 1;
/// The host asked for it, and nobody could be told in time.
pub const DCN_ENDED_LEFT_UNHEARD: u32 = 2;
/// The cluster refused this member; the text has the reason and who gave it.
pub const DCN_ENDED_REFUSED: u32 = 3;
/// The host did not take events for `window.slow_ms`.
pub const DCN_ENDED_HOST_NOT_POLLING: u32 = 4;
/// `join.timeout_ms` passed without a view.
pub const DCN_ENDED_JOIN_TIMEOUT: u32 = 5;
/// The library met a bug of its own, or the system failed it; the text says what. Calls answer `DCN_ERR_PANICKED`.
pub const DCN_ENDED_FAILED: u32 = 6;

/// Something that happened. All kinds share one struct; a field that a kind does not name is zero or NULL.
///
/// Every pointer in it belongs to the library. It is valid until the next `dcn_engine_poll` on that engine, in a handler
/// until the handler returns, and in both cases no longer than until `dcn_engine_close`. Nothing needs to be freed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dcn_event_t {
    /// Bytes of this struct that the library has written.
    pub struct_size: usize,
    /// What happened: `DCN_EVENT_*`. Skip a kind that is not known: newer libraries may have more.
    pub kind: u32,
    /// A small number; the kind says what it means.
    pub detail: u32,
    /// Number of the view that it belongs to; 0 = none.
    pub view: u64,
    /// Stands for the whole id of that view: two views are one exactly if number and tag are equal.
    pub view_tag: u64,
    /// A number or a length in bytes; the kind says which.
    pub number: u64,
    /// The token that was given to the send or the request; 0 = none.
    pub token: u64,
    /// Payload; not NULL for a message, even if it is empty.
    pub data: *const u8,
    /// Bytes of the payload.
    pub data_bytes: usize,
    /// Name of the member that it is about, NUL-terminated UTF-8; NULL = none.
    pub member: *const c_char,
    /// Words for a person, NUL-terminated UTF-8; NULL = none.
    pub text: *const c_char,
    /// Seat of the member that it is about; 0 = none. Seats are never given twice.
    pub seat: u32,
    /// Zero.
    pub reserved: u32,
    /// Opaque: what `dcn_buf_retain` and `dcn_event_view` find the event by.
    pub ticket: u64,
}

impl dcn_event_t {
    /// An event of a kind with nothing in it yet.
    pub(super) fn new(kind: u32, ticket: u64) -> dcn_event_t {
        dcn_event_t {
            struct_size: size_of::<dcn_event_t>(),
            kind,
            detail: 0,
            view: 0,
            view_tag: 0,
            number: 0,
            token: 0,
            data: ptr::null(),
            data_bytes: 0,
            member: ptr::null(),
            text: ptr::null(),
            seat: 0,
            reserved: 0,
            ticket,
        }
    }
}

/// The caller's array of events.
pub(super) struct Places {
    first: *mut u8,
    stride_bytes: usize,
    capacity: usize,
    written: usize,
}

/// The struct as its first version had it: nobody has a shorter one.
const FIRST_VERSION_BYTES: usize = offset_of!(dcn_event_t, ticket) + size_of::<u64>();
/// Longest element that is believed.
const STRIDE_BYTES_MAX: usize = 1 << 16;

impl Places {
    /// Wraps a caller's array.
    ///
    /// # Safety
    /// `first` is null or points to `capacity` elements of `stride_bytes` each, writable while this lives.
    pub(super) unsafe fn new(first: *mut dcn_event_t, stride_bytes: usize, capacity: usize) -> Result<Places> {
        let first = input::place(first, "events")?.cast();
        let fits = (FIRST_VERSION_BYTES..=STRIDE_BYTES_MAX).contains(&stride_bytes);
        if !fits || !stride_bytes.is_multiple_of(align_of::<dcn_event_t>()) {
            return Err(input::invalid(format!("stride_bytes is {stride_bytes}: pass the size of one element")));
        }
        if capacity == 0 {
            return Err(input::invalid("capacity is 0: there must be room for one event"));
        }
        Ok(Places { first, stride_bytes, capacity, written: 0 })
    }

    pub(super) fn written(&self) -> usize {
        self.written
    }

    pub(super) fn room(&self) -> usize {
        self.capacity - self.written
    }

    /// Writes the next event. There must be room.
    pub(super) fn put(&mut self, mut event: dcn_event_t) {
        assert!(self.written < self.capacity, "more events than the caller has room for");
        event.struct_size = self.stride_bytes.min(size_of::<dcn_event_t>());
        // SAFETY: inside the caller's array, and not over the end of its element. A newer caller finds zeros behind ours.
        unsafe {
            let place = self.first.add(self.written * self.stride_bytes);
            ptr::copy_nonoverlapping(ptr::from_ref(&event).cast::<u8>(), place, event.struct_size);
            ptr::write_bytes(place.add(event.struct_size), 0, self.stride_bytes - event.struct_size);
        }
        self.written += 1;
    }
}
