//! `dcn_stats_t`: counters of one engine.

use super::engine::{dcn_engine_t, with_engine};
use super::input;
use crate::api::Stats;
use crate::types::Code;

/// Counters of one engine since it was opened. Set `struct_size` to `sizeof(dcn_stats_t)` before the call.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct dcn_stats_t {
    /// In: `sizeof(dcn_stats_t)`, set by the caller.
    pub struct_size: usize,
    /// Messages of this member that were put into batches.
    pub messages_sent: u64,
    /// Messages that were delivered to the host.
    pub messages_delivered: u64,
    /// Batches of this member.
    pub batches_sent: u64,
    /// Batches of others that were accepted.
    pub batches_received: u64,
    /// Batches of others that were passed on.
    pub batches_relayed: u64,
    /// Batches that came a second time and were dropped.
    pub batches_repeated: u64,
    /// Batches that did not follow the one before, or belong to another view, and were dropped.
    pub batches_refused: u64,
    /// Bytes written to connections.
    pub bytes_sent: u64,
    /// Bytes read from connections.
    pub bytes_received: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Datagrams accepted.
    pub datagrams_received: u64,
    /// Datagrams that were malformed or foreign.
    pub datagrams_refused: u64,
    /// Views installed.
    pub views_installed: u64,
    /// Suspicions raised by this member.
    pub suspicions: u64,
    /// Wrong content inside a good header.
    pub faults: u64,
    /// Now: bytes of this member that not all have yet.
    pub unstable_bytes: u64,
    /// Now: bytes of events that the host has not taken yet.
    pub delivery_queue_bytes: u64,
    /// Now: bytes that this member may send before it must wait.
    pub credit_bytes: u64,
    /// Now: connections.
    pub connections: u64,
    /// Now: receive chunks that something pins.
    pub chunks_pinned: u64,
    /// Now: bytes that the host holds by `dcn_buf_t`, as they count against `memory.held_bytes`.
    pub held_bytes: u64,
    /// Now: sessions that this member owns.
    pub sessions_primary: u64,
    /// Now: sessions whose second copy it holds.
    pub sessions_secondary: u64,
    /// Now: of the owned ones, those without a second copy.
    pub sessions_single: u64,
    /// Now: memory that all of them take.
    pub session_bytes: u64,
    /// Now, in asynchronous mode: bytes of changes that were answered for and that no second member has yet.
    pub session_lag_bytes: u64,
    /// Now: the age of the oldest of them, in microseconds.
    pub session_lag_us: u64,
    /// Datagrams sent to the multicast group, the batches of this member among them.
    pub casts_sent: u64,
    /// Datagrams that came to the multicast group.
    pub casts_received: u64,
    /// Of these, damaged ones and such that no member of this version sends.
    pub casts_refused: u64,
    /// Of these, those of other clusters.
    pub casts_foreign: u64,
    /// Batches that this member had lost and asked others for.
    pub repairs_asked: u64,
    /// Bytes that this member sent to others because they had lost them.
    pub repair_bytes_sent: u64,
}

/// Reads the counters of an engine.
///
/// Parameters: `stats`, not NULL, its `struct_size` set.
/// Threads: any. Blocking: bounded (asks the engine's thread; after 250 ms, or in a handler, its last answer is
/// taken: all zero if nobody had asked before. Without a thread nothing is asked: they are as of now).
/// Returns: `DCN_OK`; `DCN_ERR_INVALID_ARGUMENT`; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`; `DCN_ERR_PANICKED`.
/// Nothing is written after an error.
///
/// # Safety
/// `stats` is null or a struct with its size set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_engine_stats(engine: dcn_engine_t, stats: *mut dcn_stats_t) -> i32 {
    with_engine(engine, |member, engine| {
        let answer = dcn_stats_t { held_bytes: member.budget().held() as u64, ..engine.stats().into() };
        // SAFETY: the caller's promise.
        unsafe { input::fill(stats, answer)? };
        Ok(Code::Ok)
    })
}

impl From<Stats> for dcn_stats_t {
    fn from(stats: Stats) -> dcn_stats_t {
        // Taken apart without `..`, so that a counter that the core gains is not forgotten here.
        let Stats {
            messages_sent,
            messages_delivered,
            batches_sent,
            batches_received,
            batches_relayed,
            batches_repeated,
            batches_refused,
            bytes_sent,
            bytes_received,
            datagrams_sent,
            datagrams_received,
            datagrams_refused,
            views_installed,
            suspicions,
            faults,
            unstable_bytes,
            delivery_queue_bytes,
            credit_bytes,
            connections,
            chunks_pinned,
            sessions_primary,
            sessions_secondary,
            sessions_single,
            session_bytes,
            session_lag_bytes,
            session_lag_us,
            casts_sent,
            casts_received,
            casts_refused,
            casts_foreign,
            repairs_asked,
            repair_bytes_sent,
        } = stats;
        dcn_stats_t {
            struct_size: 0,
            messages_sent,
            messages_delivered,
            batches_sent,
            batches_received,
            batches_relayed,
            batches_repeated,
            batches_refused,
            bytes_sent,
            bytes_received,
            datagrams_sent,
            datagrams_received,
            datagrams_refused,
            views_installed,
            suspicions,
            faults,
            unstable_bytes,
            delivery_queue_bytes,
            credit_bytes,
            connections,
            chunks_pinned,
            held_bytes: 0,
            sessions_primary,
            sessions_secondary,
            sessions_single,
            session_bytes,
            session_lag_bytes,
            session_lag_us,
            casts_sent,
            casts_received,
            casts_refused,
            casts_foreign,
            repairs_asked,
            repair_bytes_sent,
        }
    }
}
