//! `dcn_claim`, `dcn_commit`, `dcn_abort`: messages that the host writes where they leave from.

use bytes::BufMut;
use parking_lot::Mutex;

use super::engine::{dcn_engine_t, for_engine, with_engine};
use super::guard::call;
use super::handle::{Kind, Table};
use super::input;
use super::send::{level, receiver};
use crate::api::Claim;
use crate::types::{Code, Error, Result};

/// Room for one message, and memory to write it into. All zero = no claim.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct dcn_claim_t {
    /// Opaque.
    pub id: u64,
}

/// Where the memory of a claim begins is a multiple of so many bytes.
pub const DCN_CLAIM_ALIGN_BYTES: usize = 8;
const _: () = assert!(DCN_CLAIM_ALIGN_BYTES == crate::core::SPACE_ALIGN);

/// Reserves room for a message and gives memory to write it into. `dcn_commit` sends it, `dcn_abort` does not.
///
/// What a claim saves: a message longer than 16 KiB and no longer than a batch (60 KiB with what comes before it; by multicast less, where
/// packets are short) is not copied any more on its way out. A shorter one is copied into a batch when it is committed, a longer one by the
/// engine when it is cut into batches: once each, as `dcn_send` copies a short one; a long one `dcn_send` copies twice.
/// For a short message two calls and memory of its own cost more than the one copy of `dcn_send`, which then is the better choice unless the bytes
/// would have to be put together for it first.
///
/// A claim has no place in the order of messages before it is committed, and nothing waits for it: no other message, no view, no leave. Until
/// it is ended it counts against `send.queue_bytes` like a message of this length that waits to the same receiver: when that is full, sends and
/// claims are answered with `DCN_AGAIN`, however long the host keeps its claims.
///
/// Parameters: `to`, `level`, `token`, `timeout_ms`, as for `dcn_send`, but no `DCN_LEVEL_UNRELIABLE`; `bytes`, how long the message is
/// at most, 0 to `message.max_bytes`; `claim` and `data`, not NULL: where the handle and the address of the memory go.
/// Ownership: `*data` has room for `bytes` bytes, aligned to `DCN_CLAIM_ALIGN_BYTES`. It is the caller's alone, to write and read, until it
/// ends the claim, also when the engine is closed meanwhile; what is in it at first is not defined. The caller ends every claim with
/// `dcn_commit` or `dcn_abort`, also after the engine was closed.
/// Threads: any; the claim may be ended on another thread. Blocking: blocks up to timeout.
/// Returns: as `dcn_send`; `DCN_ERR_UNSUPPORTED` also for `DCN_LEVEL_UNRELIABLE`; `DCN_ERR_HELD_LIMIT` when there are some millions
/// of claims. Nothing is reserved or written unless it is `DCN_OK`.
///
/// # Safety
/// `claim` and `data` are null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_claim(
    engine: dcn_engine_t, to: u32, level: u32, token: u64, bytes: usize, timeout_ms: u32, claim: *mut dcn_claim_t,
    data: *mut *mut u8,
) -> i32 {
    with_engine(engine, |_, open| {
        let (out, data) = (input::place(claim, "claim")?, input::place(data, "data")?);
        let (to, level) = (receiver(open, to)?, self::level(level)?);
        let mut claimed = match open.claim(to, level, token, bytes, input::timeout(timeout_ms))? {
            Ok(claimed) => claimed,
            Err(code) => return Ok(code),
        };
        let memory = claimed.room().chunk_mut().as_mut_ptr();
        let id = CLAIMS.insert(Kept { engine, length: bytes, claim: Mutex::new(Some(claimed)) })?;
        // SAFETY: checked above, writable by the caller's promise.
        unsafe {
            out.write(dcn_claim_t { id });
            data.write(memory);
        }
        Ok(Code::Ok)
    })
}

/// Sends what was written into a claim, and ends it. The message's place among others is that of this call.
///
/// Parameters: `bytes`, how long the message is: the first so many bytes of the claimed memory, all of them written; 0 to what was
/// claimed. If it is less, the rest of the room is given back.
/// Ownership: the memory is the library's from the begin of this call on: nobody writes there or reads there any more. Only after
/// `DCN_ERR_INVALID_ARGUMENT` it is the caller's as before.
/// Threads: any. What one thread sends and commits to the same receiver is delivered in that order. Blocking: never blocks.
/// Returns: `DCN_OK`: accepted in order; for lack of room it is never refused. What has changed since the claim is answered as by `dcn_send`:
/// `DCN_NOT_READY`; `DCN_NOT_PRIMARY`; `DCN_ERR_NO_SUCH_MEMBER`; `DCN_ERR_UNSUPPORTED`; `DCN_ERR_CLOSED`, also where the engine was
/// closed; `DCN_ERR_PANICKED`: the claim is ended then all the same, and the message is gone. `DCN_ERR_INVALID_ARGUMENT` for more bytes than were claimed:
/// the claim goes on. `DCN_ERR_BAD_HANDLE`, also for a claim that was ended; `DCN_ERR_FORKED`.
///
/// # Safety
/// The first `bytes` bytes of the claim's memory were written, and no other thread uses them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_commit(claim: dcn_claim_t, bytes: usize) -> i32 {
    let body = || {
        let length = CLAIMS.get(claim.id)?.length;
        if bytes > length {
            return Err(input::invalid(format!("{bytes} bytes: {length} were claimed")));
        }
        let (engine, mut claimed) = end(claim)?;
        for_engine(engine, move || {
            // SAFETY: there is room for what was claimed, and that much of it was written by the caller's promise.
            unsafe { claimed.room().advance_mut(bytes) };
            claimed.commit()
        })
    };
    // SAFETY: a null error is allowed.
    unsafe { call(std::ptr::null_mut(), body) }
}

/// Ends a claim without sending anything: its room is given back, which `DCN_EVENT_WRITABLE` tells to whoever was refused for lack of it.
///
/// Ownership: the memory is the library's from the begin of this call on.
/// Threads: any, also after the engine was closed. Blocking: never blocks.
/// Returns: `DCN_OK`, also when the engine is closed; `DCN_ERR_BAD_HANDLE`, also for a claim that was committed or aborted;
/// `DCN_ERR_FORKED`.
#[unsafe(no_mangle)]
pub extern "C" fn dcn_abort(claim: dcn_claim_t) -> i32 {
    let body = || {
        let (engine, claimed) = end(claim)?;
        for_engine(engine, move || {
            claimed.abort();
            Ok(Code::Ok)
        })
    };
    // SAFETY: a null error is allowed.
    unsafe { call(std::ptr::null_mut(), body) }
}

static CLAIMS: Table<Kept> = Table::new(Kind::Claim);

struct Kept {
    engine: dcn_engine_t,
    length: usize,
    /// Taken out by whoever ends it.
    claim: Mutex<Option<Claim>>,
}

/// Takes a claim from its handle. Of several callers one gets it.
fn end(claim: dcn_claim_t) -> Result<(dcn_engine_t, Claim)> {
    let kept = CLAIMS.remove(claim.id)?;
    let claimed = kept.claim.lock().take();
    claimed.map(|claimed| (kept.engine, claimed)).ok_or_else(|| Error::new(Code::BadHandle, "the claim was ended"))
}
