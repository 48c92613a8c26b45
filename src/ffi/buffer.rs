//! `dcn_buf_t`: a payload that the host keeps beyond its event, or memory of the host's that it hands over.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::engine::{dcn_engine_t, with_engine};
use super::event::dcn_event_t;
use super::guard::call;
use super::handle::{Kind, Table};
use super::input;
use super::shown::Kept;
use crate::runtime::lent;
use crate::types::{Code, Error, Result, limits};

/// Bytes that the host keeps, or hands over, counted; also when their engine is gone. All zero = no buffer.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct dcn_buf_t {
    /// Opaque.
    pub id: u64,
}

/// Keeps the payload of an event beyond the next poll, without a copy where that is cheaper than one.
///
/// Parameters: `event`, as the last poll of this engine (or the running handler) gave it, not changed; `buffer`, not NULL:
/// where the handle goes. An event may be retained more than once; each handle counts.
/// Ownership: the caller gives it back with `dcn_buf_release`.
/// Threads: any, until the next poll begins (or the handler returns). Blocking: never blocks.
/// Returns: `DCN_OK`; `DCN_ERR_HELD_LIMIT` when `memory.held_bytes` is reached (a small payload counts its length; one that
/// keeps a whole receive chunk alive counts that, 64 KiB): copy the bytes instead; `DCN_ERR_BAD_HANDLE` for an event
/// of an earlier poll or another engine; `DCN_ERR_INVALID_ARGUMENT` for an event without payload;
/// `DCN_ERR_FORKED`; `DCN_ERR_PANICKED`. Nothing is kept after an error.
///
/// # Safety
/// `event` is null or an event; `buffer` is null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_buf_retain(
    engine: dcn_engine_t, event: *const dcn_event_t, buffer: *mut dcn_buf_t,
) -> i32 {
    with_engine(engine, |member, _| {
        let event = input::place(event.cast_mut(), "event")?;
        let out = input::place(buffer, "buffer")?;
        // SAFETY: checked above; an event by the caller's promise.
        let kept = member.shown().payload(unsafe { &*event })?;
        let id = BUFFERS.insert(Retained::new(kept, member.budget())?)?;
        // SAFETY: checked above, writable by the caller's promise.
        unsafe { out.write(dcn_buf_t { id }) };
        Ok(Code::Ok)
    })
}

/// Takes memory back that was wrapped: `context`, `data` and `bytes` are as `dcn_buf_wrap` got them. It must not block, throw or longjmp. It
/// may call the library: on an engine's own thread timeouts count as 0, as in a handler.
pub type dcn_free_fn = Option<unsafe extern "C" fn(context: *mut c_void, data: *mut u8, bytes: usize)>;

/// Makes a buffer of the caller's memory, to be sent with `dcn_send_buf` without a copy at the call.
///
/// Parameters: `data`, `bytes`, where the memory lies and how long it is; NULL only if `bytes` is 0. `free_fn`, called when nobody needs
/// it any more; NULL: nothing is called, for memory that stays as long as the process. `context`, handed to it as it is. `buffer`, not NULL:
/// where the handle goes.
/// Ownership: the memory is lent until `free_fn` is called: it stays readable and does not change. That is exactly once, whether the
/// buffer was sent, refused, or never sent, and whatever has become of the engine: when the handle was released (`dcn_buf_release`) and no
/// message that was made of it needs it. It counts against no bound until it is sent, and then against that of its stream.
/// Threads: any. `free_fn` is called on the thread that let go last: one of the caller's that is inside a call of the library
/// (`dcn_buf_release` of a buffer that nothing needs any more, `dcn_engine_poll`, `dcn_engine_turn`, `dcn_engine_close`, ...), at the end of
/// that call; or the thread of an engine that it was sent by, between two turns. No lock of the library is held then. After
/// `dcn_engine_close` has returned it is not called on that engine's thread any more. In a forked child it is never called.
/// Blocking: never blocks.
/// Returns: `DCN_OK`; `DCN_ERR_INVALID_ARGUMENT`; `DCN_ERR_HELD_LIMIT` when there are some millions of buffers;
/// `DCN_ERR_PANICKED`. After an error the memory is the caller's, and `free_fn` is not called.
///
/// # Safety
/// `data` is null or points to `bytes` readable bytes that do not change before `free_fn` is called, which may be on any thread; `buffer` is null
/// or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_buf_wrap(
    data: *const u8, bytes: usize, free_fn: dcn_free_fn, context: *mut c_void, buffer: *mut dcn_buf_t,
) -> i32 {
    let body = || {
        let out = input::place(buffer, "buffer")?;
        // SAFETY: the caller's promise. Only the check is wanted.
        unsafe { input::bytes(data, bytes, "data")? };
        let lend = || Retained { payload: lent::lend(HostMemory { data, bytes, free_fn, context }), _charge: None };
        let id = BUFFERS.insert_with(lend)?;
        // SAFETY: checked above, writable by the caller's promise.
        unsafe { out.write(dcn_buf_t { id }) };
        Ok(Code::Ok)
    };
    // SAFETY: a null error is allowed.
    unsafe { call(ptr::null_mut(), body) }
}

/// Tells where the bytes of a buffer are.
///
/// Parameters: `data` and `bytes`, not NULL: where the address and the length go.
/// Ownership: the library's, or what was wrapped; valid until `dcn_buf_release` of this handle, also after the engine was closed.
/// Threads: any. Blocking: never blocks.
/// Returns: `DCN_OK`; `DCN_ERR_INVALID_ARGUMENT`; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`. Nothing is written after an error.
///
/// # Safety
/// `data` and `bytes` are null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_buf_data(buffer: dcn_buf_t, data: *mut *const u8, bytes: *mut usize) -> i32 {
    let body = || {
        let (data, bytes) = (input::place(data, "data")?, input::place(bytes, "bytes")?);
        let retained = BUFFERS.get(buffer.id)?;
        // SAFETY: checked above, writable by the caller's promise.
        unsafe {
            data.write(retained.payload.as_ptr());
            bytes.write(retained.payload.len());
        }
        Ok(Code::Ok)
    };
    // SAFETY: a null error is allowed.
    unsafe { call(ptr::null_mut(), body) }
}

/// Gives a buffer back. Messages that were made of it go on.
///
/// Threads: any, also after the engine was closed. Blocking: never blocks.
/// Returns: `DCN_OK`; `DCN_ERR_BAD_HANDLE`, also for a second release; `DCN_ERR_FORKED`.
#[unsafe(no_mangle)]
pub extern "C" fn dcn_buf_release(buffer: dcn_buf_t) -> i32 {
    // SAFETY: a null error is allowed.
    unsafe { call(ptr::null_mut(), || BUFFERS.remove(buffer.id).map(|_| Code::Ok)) }
}

/// Keeps bytes that are a block of their own.
pub(super) fn keep(payload: Bytes, budget: &Arc<Budget>) -> Result<dcn_buf_t> {
    let kept = Kept { at: 0, len: payload.len(), area: payload, in_chunk: false };
    Ok(dcn_buf_t { id: BUFFERS.insert(Retained::new(kept, budget)?)? })
}

/// The bytes of a buffer, to be sent.
pub(super) fn payload(buffer: dcn_buf_t) -> Result<Bytes> {
    BUFFERS.get(buffer.id).map(|retained| retained.payload.clone())
}

/// Memory that the host has lent.
struct HostMemory {
    data: *const u8,
    bytes: usize,
    free_fn: dcn_free_fn,
    context: *mut c_void,
}

// SAFETY: whoever wraps memory promises that it does not change and that its function may be called on any thread.
unsafe impl Send for HostMemory {}

impl AsRef<[u8]> for HostMemory {
    fn as_ref(&self) -> &[u8] {
        if self.bytes == 0 {
            return &[];
        }
        // SAFETY: not null; readable and unchanged until it is given back, by the promise of whoever wrapped it.
        unsafe { std::slice::from_raw_parts(self.data, self.bytes) }
    }
}

impl Drop for HostMemory {
    fn drop(&mut self) {
        if let Some(free) = self.free_fn {
            // SAFETY: the promise of whoever wrapped it; this runs once.
            unsafe { free(self.context, self.data.cast_mut(), self.bytes) };
        }
    }
}

static BUFFERS: Table<Retained> = Table::new(Kind::Buffer);

/// A payload below this share of a chunk is copied: it must not keep the chunk alive (R10).
const COPY_BELOW_BYTES: usize = limits::CHUNK_BYTES / 4;

/// How much the host holds, and may hold. It outlives the engine with the buffers that count against it.
#[derive(Debug)]
pub(super) struct Budget {
    limit_bytes: usize,
    held_bytes: AtomicUsize,
}

impl Budget {
    pub(super) fn new(limit_bytes: usize) -> Budget {
        Budget { limit_bytes, held_bytes: AtomicUsize::new(0) }
    }

    /// Bytes held now.
    pub(super) fn held(&self) -> usize {
        self.held_bytes.load(Ordering::Relaxed)
    }

    fn charge(self: &Arc<Budget>, bytes: usize) -> Result<Charge> {
        let add = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= self.limit_bytes);
        match self.held_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => Ok(Charge { budget: self.clone(), bytes }),
            Err(held) => Err(Error::new(
                Code::HeldLimit,
                format!(
                    "{held} bytes are held and {bytes} more would pass memory.held_bytes ({}): copy them, or release some",
                    self.limit_bytes
                ),
            )),
        }
    }
}

/// Bytes counted against a budget until this is dropped.
struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.held_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Retained {
    payload: Bytes,
    /// `None` for memory of the host's own.
    _charge: Option<Charge>,
}

impl Retained {
    fn new(kept: Kept, budget: &Arc<Budget>) -> Result<Retained> {
        let range = kept.at..kept.at + kept.len;
        if kept.in_chunk && kept.len >= COPY_BELOW_BYTES {
            let charge = budget.charge(limits::CHUNK_BYTES)?;
            return Ok(Retained { payload: kept.area.slice(range), _charge: Some(charge) });
        }
        let charge = budget.charge(kept.len)?;
        let payload = match kept.in_chunk {
            true => Bytes::copy_from_slice(&kept.area[range]),
            false => kept.area.slice(range),
        };
        Ok(Retained { payload, _charge: Some(charge) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(len: usize, in_chunk: bool) -> Kept {
        let area = Bytes::from((0..limits::BATCH_BYTES).map(|i| i as u8).collect::<Vec<u8>>());
        Kept { at: 1_000, len, area, in_chunk }
    }

    #[test]
    fn a_small_payload_is_copied_and_a_large_one_pins_its_chunk() {
        let budget = Arc::new(Budget::new(1 << 20));
        for (len, in_chunk, copied, counted) in [
            (100, true, true, 100),
            (COPY_BELOW_BYTES, true, false, limits::CHUNK_BYTES),
            (100, false, false, 100),
            (0, true, true, 0),
        ] {
            let kept = kept(len, in_chunk);
            let source = kept.area[kept.at..kept.at + len].to_vec();
            let inside = kept.area.as_ptr_range();
            let retained = Retained::new(kept, &budget).unwrap();
            assert_eq!(retained.payload, source);
            assert_eq!(!inside.contains(&retained.payload.as_ptr()), copied, "{len} bytes");
            assert_eq!(budget.held(), counted);
            drop(retained);
            assert_eq!(budget.held(), 0);
        }
    }

    #[test]
    fn the_cap_holds_and_frees_up_again() {
        let budget = Arc::new(Budget::new(250));
        let first = Retained::new(kept(100, true), &budget).unwrap();
        let second = Retained::new(kept(150, true), &budget).unwrap();
        let refused = Retained::new(kept(1, true), &budget).err().unwrap();
        assert_eq!(refused.code(), Code::HeldLimit);
        assert!(refused.text().contains("memory.held_bytes (250)"), "{}", refused.text());
        drop(first);
        drop(Retained::new(kept(1, true), &budget).unwrap());
        drop(second);
        assert_eq!(budget.held(), 0);
    }
}
