//! An engine in the host's own loop: opening it so, and turning it.

use std::time::Duration;

use super::config::dcn_config_t;
use super::engine::{dcn_engine_t, open, with_any_engine};
use super::guard::{call, dcn_error_t};
use super::input;
use crate::api::Mode;
use crate::types::Code;

/// Opens a member that has no thread and runs in the host's own loop. Otherwise as `dcn_engine_open` without a handler.
///
/// Whenever the descriptor of `dcn_engine_fd` is readable, or the time of `dcn_engine_next_timeout_ms` has passed, the host
/// calls `dcn_engine_turn`, and then `dcn_engine_poll` until it answers `DCN_AGAIN` (or less: what it leaves keeps the
/// descriptor readable). Between two turns the engine does nothing. A loop that is held up for `detector.silence_ms` costs the
/// member its place: the others remove it, and it joins again by itself when the loop goes on. A loop that is often late makes
/// late what this member passes on to others.
///
/// No call on such an engine waits, on whichever thread: every timeout counts as 0. Messages may be sent from any thread; each
/// wakes the loop by the descriptor. Only names are looked up on a helper thread, which is started with the first seed that is
/// not an address.
///
/// Parameters: `config`, read during the call only. `engine`, not NULL: where the handle goes. `error`, NULL or a struct
/// with its size set.
/// Ownership: the caller closes it with `dcn_engine_close`.
/// Threads: any. Blocking: bounded (it opens sockets).
/// Returns: as `dcn_engine_open`. Nothing is left open after an error.
///
/// # Safety
/// `engine` is null or writable; `error` is null or a struct with its size set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_engine_open_in_loop(
    config: dcn_config_t, engine: *mut dcn_engine_t, error: *mut dcn_error_t,
) -> i32 {
    let body = || {
        let out = input::place(engine, "engine")?;
        // SAFETY: checked above, writable by the caller's promise.
        unsafe { open(config, out, false, |_, _| Mode::Loop) }
    };
    // SAFETY: the caller's promise.
    unsafe { call(error, body) }
}

/// Does what there is to do: takes in what has come, lets time pass, writes, and queues events for `dcn_engine_poll`; of all
/// that a bounded piece. What is left over keeps the descriptor readable. A call too many is harmless.
///
/// Log callbacks run inside of it, on this thread. It needs less than 128 KiB of stack.
/// Threads: one at a time per engine, not always the same one. Blocking: never blocks.
/// Returns: `DCN_OK`, also for the turn in which the engine ends; `DCN_ERR_BUSY` while another turn is under way, also for a
/// log callback inside of it; `DCN_ERR_CLOSED` when the engine had ended before: `dcn_engine_poll` has its last events;
/// `DCN_ERR_PANICKED` when it has failed, in this turn or before; `DCN_ERR_UNSUPPORTED` for an engine with a thread of its own;
/// `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`. Nothing is changed by a call that answers an error, but by the turn with
/// which an engine ends that has failed.
#[unsafe(no_mangle)]
pub extern "C" fn dcn_engine_turn(engine: dcn_engine_t) -> i32 {
    with_any_engine(engine, |_, engine| engine.turn().map(|()| Code::Ok))
}

/// Tells how long the host may wait for the descriptor of `dcn_engine_fd` before it must call `dcn_engine_turn`, in the form that
/// `epoll_wait` and `poll` take. Ask right before waiting: every turn, and every call that takes or sends something, changes it.
///
/// Parameters: `timeout_ms`, not NULL: where it goes. 0 while there is something to do: a turn, because of work or because its
/// time has come, events to take, or the end to be noticed (the descriptor is readable then, too); -1 = as long as it takes;
/// else rounded up, so that the time has come when it is over.
/// Threads: any, but not while a turn is under way. Blocking: never blocks.
/// Returns: `DCN_OK`; `DCN_ERR_BUSY` while a turn is under way; `DCN_ERR_UNSUPPORTED` for an engine with a thread of its own;
/// `DCN_ERR_INVALID_ARGUMENT`; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`; `DCN_ERR_PANICKED`. Nothing is written after an error.
///
/// # Safety
/// `timeout_ms` is null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_engine_next_timeout_ms(engine: dcn_engine_t, timeout_ms: *mut i32) -> i32 {
    with_any_engine(engine, |_, engine| {
        let out = input::place(timeout_ms, "timeout_ms")?;
        let timeout = engine.next_timeout()?;
        // SAFETY: checked above, writable by the caller's promise.
        unsafe { out.write(timeout.map_or(-1, whole_ms)) };
        Ok(Code::Ok)
    })
}

/// Rounded up: a wait that ends before the deadline would be followed by one of 0 ms, and another one.
fn whole_ms(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;
    use crate::ffi::config::{dcn_config_free, dcn_config_new, dcn_config_set};
    use crate::ffi::engine::{dcn_engine_close, dcn_engine_poll, with_engine};
    use crate::ffi::event::{DCN_ENDED_FAILED, DCN_EVENT_CLOSED, dcn_event_t};

    fn open_one() -> dcn_engine_t {
        let (mut config, mut engine) = (dcn_config_t { id: 0 }, dcn_engine_t { id: 0 });
        let null = ptr::null_mut();
        // SAFETY: all pointers lead to live values, texts are terminated.
        unsafe {
            assert_eq!(dcn_config_new(&mut config), 0);
            assert_eq!(dcn_config_set(config, c"node.bind".as_ptr(), c"127.0.0.1:0".as_ptr(), null), 0);
            assert_eq!(dcn_engine_open_in_loop(config, &mut engine, null), 0);
        }
        assert_eq!(dcn_config_free(config), 0);
        engine
    }

    /// Whether its events end with CLOSED, failed.
    fn ends_failed(engine: dcn_engine_t) -> bool {
        let (mut event, mut count) = (dcn_event_t::new(0, 0), 0);
        // SAFETY: one live element, one live count.
        let mut poll = || unsafe { dcn_engine_poll(engine, &mut event, size_of::<dcn_event_t>(), 1, 0, &mut count) };
        let code = std::iter::repeat_with(&mut poll).find(|code| *code != 0);
        code == Some(Code::Panicked as i32) && (event.kind, event.detail) == (DCN_EVENT_CLOSED, DCN_ENDED_FAILED)
    }

    #[test]
    fn after_a_panic_in_a_call_the_next_turn_ends_the_events_with_its_reason() {
        let engine = open_one();
        assert_eq!(dcn_engine_turn(engine), 0);
        assert_eq!(with_engine(engine, |_, _| panic!("planted")), Code::Panicked as i32);
        let mut timeout_ms = 7;
        // SAFETY: a live number.
        assert_eq!(unsafe { dcn_engine_next_timeout_ms(engine, &mut timeout_ms) }, 0);
        assert_eq!(timeout_ms, 0, "a turn is due");
        assert_eq!(dcn_engine_turn(engine), Code::Panicked as i32);
        assert!(ends_failed(engine));
        assert_eq!(dcn_engine_close(engine), 0);
    }

    #[test]
    fn a_panic_inside_of_a_turn_is_caught_and_ends_the_events_with_its_reason() {
        let engine = open_one();
        assert_eq!(dcn_engine_turn(engine), 0);
        let planted = with_engine(engine, |_, engine| {
            engine.plant_panic();
            Ok(Code::Ok)
        });
        assert_eq!(planted, 0);
        assert_eq!(dcn_engine_turn(engine), Code::Panicked as i32);
        assert_eq!(dcn_engine_turn(engine), Code::Panicked as i32);
        let mut timeout_ms = 7;
        // SAFETY: a live number.
        assert_eq!(unsafe { dcn_engine_next_timeout_ms(engine, &mut timeout_ms) }, 0);
        assert_eq!(timeout_ms, 0, "the end is to be noticed");
        assert!(ends_failed(engine));
        assert_eq!(dcn_engine_close(engine), 0);
    }

    #[test]
    fn a_timeout_is_never_shorter_than_the_deadline_and_always_positive() {
        let shown = [0, 1, 999_999, 1_000_000, 1_000_001].map(|ns| whole_ms(Duration::from_nanos(ns)));
        assert_eq!(shown, [0, 1, 1, 1, 2]);
        assert_eq!(whole_ms(Duration::MAX), i32::MAX);
    }
}
