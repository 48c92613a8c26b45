//! `dcn_engine_t`: a member of a cluster, from open to close.

use std::ffi::{c_char, c_void};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, TryLockError};

use parking_lot::{Mutex, MutexGuard};

use super::buffer::Budget;
use super::config::{self, dcn_config_t};
use super::event::{DCN_EVENT_CLOSED, Places, dcn_event_t};
use super::guard::{call, dcn_error_t, panicked};
use super::handle::{Kind, Table};
use super::input;
use super::shown::Shown;
use crate::api::{Engine, Mode};
use crate::core::Event;
use crate::types::{Code, Error, Result};

/// A member of a cluster. All zero = no engine.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct dcn_engine_t {
    /// Opaque.
    pub id: u64,
}

/// Takes one event on the engine's own thread. `event` is valid until it returns. It must not block (the engine stands still
/// meanwhile, and others would take it for dead), throw or longjmp. It may call the library; timeouts count as 0 there.
pub type dcn_event_fn =
    Option<unsafe extern "C" fn(context: *mut c_void, engine: dcn_engine_t, event: *const dcn_event_t)>;

/// A timeout that does not pass in practice (49 days).
pub const DCN_NO_LIMIT_MS: u32 = u32::MAX;

/// Opens a member: it listens, looks for its cluster, and joins it or forms it. All this goes on after the call returns;
/// events tell how it went.
///
/// Parameters: `config`, read during the call only. `handler`: if not NULL, it is called on the engine's thread with
/// every event; the first may come before this call returns, but `engine` is written by then. If NULL, the host polls
/// (`dcn_engine_fd`, `dcn_engine_poll`). Either way the engine has a thread of its own; see `dcn_engine_open_in_loop`
/// for one that has none.
/// `context`, handed to the handler as it is. `engine`, not NULL: where the handle goes. `error`, NULL or a struct
/// with its size set.
/// Ownership: the caller closes it with `dcn_engine_close`. `context` stays the caller's and must live until then.
/// Threads: any. Blocking: bounded (it opens sockets and starts threads).
/// Returns: `DCN_OK`; `DCN_ERR_CONFIG` when settings do not fit together; `DCN_ERR_SYSTEM` when the port is taken or the
/// address is not local; `DCN_ERR_UNSUPPORTED`; `DCN_ERR_INVALID_ARGUMENT`; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_BUSY` when
/// another thread is using the configuration; `DCN_ERR_FORKED`. Nothing is left open after an error.
///
/// # Safety
/// `handler` may be called with `context` from another thread until the engine is closed; `engine` is null or
/// writable; `error` is null or a struct with its size set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_engine_open(
    config: dcn_config_t, handler: dcn_event_fn, context: *mut c_void, engine: *mut dcn_engine_t,
    error: *mut dcn_error_t,
) -> i32 {
    let body = || {
        let out = input::place(engine, "engine")?;
        let mode = |handle, member: &Arc<Member>| match handler {
            Some(function) => Handler::mode(function, context, handle, member.clone()),
            None => Mode::Poll,
        };
        // SAFETY: checked above, writable by the caller's promise.
        unsafe { open(config, out, handler.is_some(), mode) }
    };
    // SAFETY: the caller's promise.
    unsafe { call(error, body) }
}

/// Opens an engine under a handle of its own, in the mode that is made for that handle.
///
/// # Safety
/// `out` is writable.
pub(super) unsafe fn open(
    config: dcn_config_t, out: *mut dcn_engine_t, has_handler: bool,
    mode: impl FnOnce(dcn_engine_t, &Arc<Member>) -> Mode,
) -> Result<Code> {
    let config = config::copy(config)?;
    let member = Arc::new(Member::new(config.resolve()?.held_bytes, has_handler));
    let handle = dcn_engine_t { id: ENGINES.insert(member.clone())? };
    match Engine::open(&config, mode(handle, &member)) {
        Ok(engine) => {
            // SAFETY: the caller's promise. Written before the first event can come.
            unsafe { out.write(handle) };
            member.opened(Some(engine));
            Ok(Code::Ok)
        }
        Err(failure) => {
            member.opened(None);
            drop(ENGINES.remove(handle.id));
            Err(failure)
        }
    }
}

/// Closes an engine at once, without telling the cluster (call `dcn_engine_leave` first for that), and ends the handle.
///
/// When it returns, no callback of this engine is running or will run, and its descriptors are closed. Calls of other
/// threads on it end with `DCN_ERR_CLOSED`. Inside a handler or a log callback, of this engine or another one, it does not
/// wait: it takes effect on the engine's thread after the running callback, and one last event `DCN_EVENT_CLOSED` tells the
/// handler of the closed engine. Buffers and views that the host holds stay valid.
/// Without a thread (`dcn_engine_open_in_loop`) it waits for a turn that is under way on another thread; in a log callback
/// inside of a turn it takes effect at the end of that turn, and no event tells it.
/// Threads: any. Blocking: bounded (waits for the engine's thread or turn, and so for a callback that is running).
/// Returns: `DCN_OK`; `DCN_ERR_BAD_HANDLE`, also for a second close; `DCN_ERR_FORKED`.
#[unsafe(no_mangle)]
pub extern "C" fn dcn_engine_close(engine: dcn_engine_t) -> i32 {
    let body = || {
        let member = ENGINES.remove(engine.id)?;
        member.closing.store(true, Ordering::SeqCst);
        if let Some(engine) = member.open() {
            engine.close();
        }
        Ok(Code::Ok)
    };
    // SAFETY: a null error is allowed.
    unsafe { call(ptr::null_mut(), body) }
}

/// Leaves the cluster in order: the others install a view without this member, and `DCN_EVENT_CLOSED` ends the events.
/// The handle stays until `dcn_engine_close`.
///
/// Parameters: `timeout_ms`, how long to wait for the end; 0 = begin to leave and do not wait. Inside a handler, and without
/// a thread, it counts as 0.
/// Threads: any. Blocking: blocks up to timeout.
/// Returns: `DCN_OK`: the member has left (or had already), or has begun to with a timeout of 0; `DCN_ERR_TIMEOUT`: it is
/// still leaving; `DCN_ERR_CLOSED`: another thread has closed it meanwhile; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`;
/// `DCN_ERR_PANICKED`.
#[unsafe(no_mangle)]
pub extern "C" fn dcn_engine_leave(engine: dcn_engine_t, timeout_ms: u32) -> i32 {
    with_engine(engine, |_, engine| engine.leave(input::timeout(timeout_ms)).map(|()| Code::Ok))
}

/// Says that the host holds the state it needs: with `join.ready` = "host" the member becomes ready. Harmless otherwise.
///
/// Threads: any. Blocking: never blocks.
/// Returns: `DCN_OK` (the event `DCN_EVENT_READY` follows); `DCN_ERR_CLOSED`; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`; `DCN_ERR_PANICKED`.
#[unsafe(no_mangle)]
pub extern "C" fn dcn_engine_ready(engine: dcn_engine_t) -> i32 {
    with_engine(engine, |_, engine| engine.ready().map(|()| Code::Ok))
}

/// Tells the descriptor that is readable while events wait, for the host's own poll, epoll or select. Level-triggered:
/// it stays readable until `dcn_engine_poll` has taken everything.
///
/// Without a thread (`dcn_engine_open_in_loop`) it is readable also while there is something to turn for, until
/// `dcn_engine_turn` has done it. It is an epoll instance then, and nests in others up to three levels deep.
/// Once the engine has ended it stays readable.
///
/// Parameters: `fd`, not NULL: where the descriptor goes.
/// Ownership: the library's: do not read, write or close it. It is closed by `dcn_engine_close`: take it out of the host's
/// loop before.
/// Threads: any. Blocking: never blocks.
/// Returns: `DCN_OK`; `DCN_ERR_UNSUPPORTED` for an engine with a handler; `DCN_ERR_INVALID_ARGUMENT`; `DCN_ERR_BAD_HANDLE`;
/// `DCN_ERR_FORKED`; `DCN_ERR_PANICKED`. Nothing is written after an error.
///
/// # Safety
/// `fd` is null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_engine_fd(engine: dcn_engine_t, fd: *mut i32) -> i32 {
    with_engine(engine, |member, engine| {
        let out = input::place(fd, "fd")?;
        member.must_poll()?;
        // SAFETY: checked above, writable by the caller's promise.
        unsafe { out.write(engine.fd().as_raw_fd()) };
        Ok(Code::Ok)
    })
}

/// Takes events, in order. What the call before gave (payloads, names, texts) is invalid from its begin on; `dcn_buf_retain`
/// keeps a payload longer.
///
/// Parameters: `events`, an array of `capacity` (1 or more) structs, `stride_bytes` = `sizeof *events` each; they need not be
/// initialised, and what a library does not know of them is zeroed. `timeout_ms`, how long to wait for the first event; 0 = not
/// at all. Inside a handler or log callback, and without a thread, it counts as 0. `count`, not NULL: how many were written.
/// Threads: one at a time per engine, else `DCN_ERR_BUSY`. Blocking: blocks up to timeout, only while there is nothing.
/// Returns: `DCN_OK`: at least one event; `DCN_AGAIN`: none in time (`count` is 0); `DCN_ERR_CLOSED`, or `DCN_ERR_PANICKED` for an
/// engine that has failed: none will come any more;
/// `DCN_ERR_UNSUPPORTED` for an engine with a handler; `DCN_ERR_INVALID_ARGUMENT`; `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`.
/// Nothing was taken after an error.
///
/// # Safety
/// `events` is null or points to `capacity` writable elements of `stride_bytes`; `count` is null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_engine_poll(
    engine: dcn_engine_t, events: *mut dcn_event_t, stride_bytes: usize, capacity: usize, timeout_ms: u32,
    count: *mut usize,
) -> i32 {
    with_any_engine(engine, |member, engine| {
        let count = input::place(count, "count")?;
        // SAFETY: the caller's promise.
        let mut places = unsafe { Places::new(events, stride_bytes, capacity)? };
        member.must_poll()?;
        let answer = member.poll(engine, &mut places, timeout_ms)?;
        // SAFETY: checked above, writable by the caller's promise.
        unsafe { count.write(places.written()) };
        Ok(answer)
    })
}

/// Tells where the member listens, with the port that was taken if none was configured ("127.0.0.1:40123").
///
/// Parameters: `address`, where the NUL-terminated text goes, with room for `capacity_bytes` (`DCN_ADDRESS_BYTES` always
/// suffices); NULL to ask for the length only. `length_bytes`, where the length goes, without the NUL; NULL if it is not
/// wanted (then `address` is not NULL).
/// Threads: any. Blocking: never blocks.
/// Returns: `DCN_OK`; `DCN_ERR_INVALID_ARGUMENT`, also when it does not fit (nothing is written then);
/// `DCN_ERR_BAD_HANDLE`; `DCN_ERR_FORKED`; `DCN_ERR_PANICKED`.
///
/// # Safety
/// `address` is null or has room for `capacity_bytes`; `length_bytes` is null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dcn_engine_local_address(
    engine: dcn_engine_t, address: *mut c_char, capacity_bytes: usize, length_bytes: *mut usize,
) -> i32 {
    with_engine(engine, |_, engine| {
        let text = engine.local_address().to_string();
        // SAFETY: the caller's promise.
        unsafe { input::write_text(&text, address, capacity_bytes, length_bytes)? };
        Ok(Code::Ok)
    })
}

static ENGINES: Table<Arc<Member>> = Table::new(Kind::Engine);

/// Runs the body of an export on an open engine that has not failed.
pub(super) fn with_engine(engine: dcn_engine_t, body: impl FnOnce(&Member, &Engine) -> Result<Code>) -> i32 {
    with_any_engine(engine, |member, engine| {
        if engine.has_failed() {
            return Err(failed());
        }
        body(member, engine)
    })
}

/// Runs the body of an export on an open engine, which may have failed: its events are left, and it has to end. A panic in the
/// body fails it for good.
pub(super) fn with_any_engine(engine: dcn_engine_t, body: impl FnOnce(&Member, &Engine) -> Result<Code>) -> i32 {
    let guarded = || {
        let member = ENGINES.get(engine.id)?;
        let engine = member.open().ok_or_else(|| Error::new(Code::Closed, "the engine is not open"))?;
        member.guard(|| body(&member, engine))
    };
    // SAFETY: a null error is allowed.
    unsafe { call(ptr::null_mut(), guarded) }
}

/// Runs what concerns an engine that may be closed by now: not if it has failed, and a panic fails it.
pub(super) fn for_engine(engine: dcn_engine_t, body: impl FnOnce() -> Result<Code>) -> Result<Code> {
    match ENGINES.get(engine.id) {
        Ok(member) if member.open().is_some_and(Engine::has_failed) => Err(failed()),
        Ok(member) => member.guard(body),
        Err(_) => body(),
    }
}

fn failed() -> Error {
    Error::new(Code::Panicked, "the engine has met a bug and ended: close it")
}

/// What an engine's handle holds.
pub(super) struct Member {
    /// Set once, when opening is over: `None` if it failed.
    engine: OnceLock<Option<Engine>>,
    shown: Mutex<Shown>,
    /// Held while a thread polls; keeps the space between two polls. A panic in a poll poisons it: what that was about to show is lost,
    /// and no event may follow a gap.
    poller: std::sync::Mutex<Vec<Event>>,
    has_handler: bool,
    closing: AtomicBool,
    budget: Arc<Budget>,
}

impl Member {
    fn new(held_bytes: usize, has_handler: bool) -> Member {
        Member {
            engine: OnceLock::new(),
            shown: Mutex::new(Shown::new()),
            poller: std::sync::Mutex::default(),
            has_handler,
            closing: AtomicBool::new(false),
            budget: Arc::new(Budget::new(held_bytes)),
        }
    }

    fn opened(&self, engine: Option<Engine>) {
        let first = self.engine.set(engine).is_ok();
        debug_assert!(first, "an engine is opened once");
    }

    /// The engine, if opening it is over and has not failed.
    fn open(&self) -> Option<&Engine> {
        self.engine.get()?.as_ref()
    }

    pub(super) fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock()
    }

    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Runs a call. A panic fails the engine for good.
    fn guard(&self, body: impl FnOnce() -> Result<Code>) -> Result<Code> {
        catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
            let error = panicked(panic.as_ref());
            if let Some(engine) = self.open() {
                engine.fail(error.text());
            }
            Err(error)
        })
    }

    fn must_poll(&self) -> Result<()> {
        if self.has_handler {
            return Err(Error::new(Code::Unsupported, "this engine has a handler: its events go there"));
        }
        Ok(())
    }

    fn poll(&self, engine: &Engine, places: &mut Places, timeout_ms: u32) -> Result<Code> {
        let mut fresh = self.poller.try_lock().map_err(|why| match why {
            TryLockError::WouldBlock => Error::new(Code::Busy, "another thread is polling this engine"),
            TryLockError::Poisoned(_) => failed(),
        })?;
        {
            let mut shown = self.shown();
            shown.retire();
            shown.show(places);
        }
        while places.room() > 0 {
            let timeout = if places.written() == 0 { timeout_ms } else { 0 };
            match engine.poll(&mut fresh, 1, input::timeout(timeout)) {
                Ok(0) => break,
                Ok(_) => {}
                Err(_) if places.written() > 0 => break,
                Err(failure) => return Err(failure),
            }
            let mut shown = self.shown();
            fresh.drain(..).for_each(|event| shown.push(event));
            shown.show(places);
        }
        if self.shown().has_rest() {
            // The engine's queue may be empty, but there is more to poll.
            engine.keep_readable();
        }
        Ok(if places.written() > 0 { Code::Ok } else { Code::Again })
    }
}

/// How many events are prepared at once for a handler.
const HANDLER_EVENTS: usize = 32;

/// The host's handler, as the engine's thread calls it.
struct Handler {
    function: unsafe extern "C" fn(*mut c_void, dcn_engine_t, *const dcn_event_t),
    context: *mut c_void,
    engine: dcn_engine_t,
    member: Arc<Member>,
    events: Vec<dcn_event_t>,
}

// SAFETY: whoever opens the engine promises that the handler may be called with its context on the engine's thread;
// the prepared events are used by that thread only.
unsafe impl Send for Handler {}

impl Handler {
    fn mode(
        function: unsafe extern "C" fn(*mut c_void, dcn_engine_t, *const dcn_event_t), context: *mut c_void,
        engine: dcn_engine_t, member: Arc<Member>,
    ) -> Mode {
        let events = vec![dcn_event_t::new(0, 0); HANDLER_EVENTS];
        let mut handler = Handler { function, context, engine, member, events };
        Mode::Handler(Box::new(move |event| handler.handle(event)))
    }

    fn handle(&mut self, event: &Event) {
        // The host must know the handle before it is called with it.
        self.member.engine.wait();
        {
            let mut shown = self.member.shown();
            shown.retire();
            shown.push(event.clone());
        }
        loop {
            // SAFETY: the vector is as long as said and nobody else uses it.
            let places = unsafe { Places::new(self.events.as_mut_ptr(), size_of::<dcn_event_t>(), self.events.len()) };
            let mut places = places.expect("a vector with room");
            self.member.shown().show(&mut places);
            for event in &self.events[..places.written()] {
                if event.kind == DCN_EVENT_CLOSED || !self.member.closing.load(Ordering::SeqCst) {
                    // SAFETY: the promise of whoever opened the engine.
                    unsafe { (self.function)(self.context, self.engine, event) };
                }
            }
            if places.written() < self.events.len() {
                break;
            }
        }
        // The handler has returned: nothing is kept for it until the next event, which may be long in coming.
        self.member.shown().retire();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    use super::*;
    use crate::ffi::event::{DCN_ENDED_FAILED, DCN_EVENT_PRIMARY};
    use crate::ffi::send::{DCN_LEVEL_AGREED, DCN_LEVEL_FIFO, DCN_TO_ALL, dcn_send};
    use crate::runtime::readable;

    const PATIENCE_MS: u32 = 30_000;

    fn open(handler: dcn_event_fn, context: *mut c_void) -> dcn_engine_t {
        let (mut config, mut engine) = (dcn_config_t { id: 0 }, dcn_engine_t { id: 0 });
        let null = ptr::null_mut();
        // SAFETY: all pointers lead to live values, texts are terminated, the context outlives the engine.
        unsafe {
            assert_eq!(config::dcn_config_new(&mut config), 0);
            assert_eq!(config::dcn_config_set(config, c"node.bind".as_ptr(), c"127.0.0.1:0".as_ptr(), null), 0);
            assert_eq!(dcn_engine_open(config, handler, context, &mut engine, null), 0);
        }
        assert_eq!(config::dcn_config_free(config), 0);
        engine
    }

    fn send(engine: dcn_engine_t, level: u32) -> i32 {
        // SAFETY: no payload.
        unsafe { dcn_send(engine, DCN_TO_ALL, level, 0, ptr::null(), 0, 0) }
    }

    /// The next event's kind and detail, or the status.
    fn poll(engine: dcn_engine_t, timeout_ms: u32) -> std::result::Result<(u32, u32), i32> {
        let (mut event, mut count) = (dcn_event_t::new(0, 0), 0);
        // SAFETY: one live element, one live count.
        let code = unsafe { dcn_engine_poll(engine, &mut event, size_of::<dcn_event_t>(), 1, timeout_ms, &mut count) };
        if code == 0 { Ok((event.kind, event.detail)) } else { Err(code) }
    }

    fn plant_panic(engine: dcn_engine_t) {
        let planted = with_engine(engine, |_, engine| {
            engine.plant_panic();
            Ok(Code::Ok)
        });
        assert_eq!(planted, 0);
    }

    #[test]
    fn a_panic_fails_the_engine_and_nothing_else() {
        let (broken, sound) = (open(None, ptr::null_mut()), open(None, ptr::null_mut()));
        assert_eq!(with_engine(broken, |_, _| panic!("planted")), Code::Panicked as i32);
        assert_eq!(send(broken, DCN_LEVEL_FIFO), Code::Panicked as i32);
        assert_eq!(dcn_engine_ready(broken), Code::Panicked as i32);
        assert!([Code::Ok as i32, Code::NotReady as i32].contains(&send(sound, DCN_LEVEL_FIFO)));
        assert_eq!(dcn_engine_close(broken), 0);
        assert_eq!(dcn_engine_close(sound), 0);
        assert_eq!(send(broken, DCN_LEVEL_FIFO), Code::BadHandle as i32);
    }

    /// Takes what is left: the kinds and details of all events, and the status behind them.
    fn take_all(engine: dcn_engine_t) -> (Vec<(u32, u32)>, i32) {
        let mut events = Vec::new();
        loop {
            match poll(engine, PATIENCE_MS) {
                Ok(event) => events.push(event),
                Err(code) => return (events, code),
            }
        }
    }

    #[test]
    fn a_panic_in_a_call_ends_the_engine_and_its_events_are_left() {
        let engine = open(None, ptr::null_mut());
        let mut fd = -1;
        // SAFETY: a live number.
        assert_eq!(unsafe { dcn_engine_fd(engine, &mut fd) }, 0);
        while poll(engine, PATIENCE_MS).unwrap().0 != DCN_EVENT_PRIMARY {}
        while poll(engine, 0).is_ok() {}
        assert_eq!(send(engine, DCN_LEVEL_AGREED), 0);
        assert!(readable(fd, PATIENCE_MS as i32), "the sender gets it too");
        assert_eq!(with_engine(engine, |_, _| panic!("planted")), Code::Panicked as i32);
        let (events, code) = take_all(engine);
        assert_eq!(code, Code::Panicked as i32);
        assert!(events.len() > 1, "{events:?}");
        assert_eq!(events.last(), Some(&(DCN_EVENT_CLOSED, DCN_ENDED_FAILED)));
        assert_eq!(dcn_engine_close(engine), 0);
    }

    #[test]
    fn after_a_panic_in_a_poll_no_event_follows_those_that_were_lost_in_it() {
        let engine = open(None, ptr::null_mut());
        let planted = with_engine(engine, |member, _| {
            let _polls = member.poller.lock();
            panic!("planted")
        });
        assert_eq!(planted, Code::Panicked as i32);
        assert_eq!(take_all(engine), (Vec::new(), Code::Panicked as i32));
        assert_eq!(dcn_engine_close(engine), 0);
    }

    #[test]
    fn a_panic_on_the_engines_thread_ends_the_events_with_its_reason() {
        let engine = open(None, ptr::null_mut());
        plant_panic(engine);
        let (events, code) = take_all(engine);
        assert_eq!(events.last(), Some(&(DCN_EVENT_CLOSED, DCN_ENDED_FAILED)));
        assert_eq!(code, Code::Panicked as i32);
        let mut view = crate::ffi::view::dcn_view_t { id: 7 };
        // SAFETY: a live handle.
        assert_eq!(unsafe { crate::ffi::view::dcn_engine_view(engine, &mut view) }, Code::Panicked as i32);
        assert_eq!(send(engine, DCN_LEVEL_FIFO), Code::Panicked as i32);
        assert_eq!(dcn_engine_leave(engine, PATIENCE_MS), Code::Panicked as i32);
        assert_eq!(dcn_engine_close(engine), 0);
    }

    unsafe extern "C" fn tell(context: *mut c_void, _: dcn_engine_t, event: *const dcn_event_t) {
        // SAFETY: the context is the sender of the test, the event is one.
        let (give, event) = unsafe { (&*context.cast::<Sender<(u32, u32)>>(), &*event) };
        give.send((event.kind, event.detail)).expect("the test listens");
    }

    #[test]
    fn a_panic_on_the_engines_thread_or_in_a_call_is_told_to_the_handler() {
        let in_call = |engine| assert_eq!(with_engine(engine, |_, _| panic!("planted")), Code::Panicked as i32);
        for plant in [plant_panic, in_call] {
            let (mut give, events) = channel::<(u32, u32)>();
            let engine = open(Some(tell), ptr::from_mut(&mut give).cast());
            plant(engine);
            loop {
                let next = events.recv_timeout(Duration::from_millis(PATIENCE_MS.into()));
                let (kind, detail) = next.expect("CLOSED comes");
                if kind == DCN_EVENT_CLOSED {
                    assert_eq!(detail, DCN_ENDED_FAILED);
                    break;
                }
            }
            assert_eq!(dcn_engine_leave(engine, PATIENCE_MS), Code::Panicked as i32);
            assert_eq!(dcn_engine_close(engine), 0);
            assert!(events.try_recv().is_err(), "nothing follows");
        }
    }
}
