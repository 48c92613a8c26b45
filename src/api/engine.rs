//! A member of a cluster, as a host holds it.

use std::fmt;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Config, Resolved};
use crate::core::{Event, LinkReport, Stats, To};
use crate::runtime::{
    self, Buffers, Effort, EventSource, Handler, Hosted, Life, LogSink, Parts, Runs, Shared, Source, ViewSnapshot,
    deadline_after, fork, thread,
};
use crate::types::{Code, Error, Name, Result};
use crate::wire::batch;

/// How long a question to the engine's thread waits before it takes the last answer instead.
const REPORT_PATIENCE: Duration = Duration::from_millis(250);

/// How a message is delivered (D4). Chosen at each send.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Level {
    /// In one datagram: may be lost and come out of order, never doubled or corrupted. What is longer than 1,327 bytes
    /// (by multicast 73 less than the longest datagram that every member takes, where that is shorter) is refused.
    Unreliable,
    /// In the order sent, once, without a gap.
    Fifo,
    /// All members that go on together deliver it in one order, among everything that is agreed or safe; its sender gets it as well,
    /// in that place. The coordinator of the view says the order, which takes one more way than `Fifo`. Only to everybody.
    Agreed,
    /// As `Agreed`, and delivered only once every ready member holds it and knows its place, or, after a transition event, once all who
    /// go on together do: who gets it before a transition knows that nobody who goes on will be without it. Only to everybody.
    Safe,
}

/// Who runs the engine, and how the host is told what happens.
pub enum Mode {
    /// On a thread of its own. The host calls [`Engine::poll`], when it likes or when [`Engine::fd`] is readable.
    Poll,
    /// On a thread of its own, on which the handler is called with each event. It must not block: while it runs, this
    /// member sends no heartbeat, and after `detector.silence_ms` the others remove it. It may call the engine back; if
    /// it keeps a clone of it for that, only [`Engine::close`] closes the engine. A handler that panics ends its engine
    /// and is not called again.
    Handler(Handler),
    /// In the host's own loop, without a thread. Whenever [`Engine::fd`] is readable or [`Engine::next_timeout`] has passed, the
    /// host calls [`Engine::turn`], which does what there is to do and never waits, and then takes the events with
    /// [`Engine::poll`]. Between two turns the engine does nothing: a loop that is held up for `detector.silence_ms` has
    /// its member removed by the others, as with a handler that blocks, and a loop that is often late makes everything late
    /// that this member relays as a leader.
    ///
    /// No call waits, on whichever thread: every timeout counts as 0. Only names are looked up on a helper thread, which is
    /// started with the first seed that is not an address.
    Loop,
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Poll => "Poll",
            Mode::Handler(_) => "Handler",
            Mode::Loop => "Loop",
        })
    }
}

/// A member of a cluster. Cheap to clone; all clones are one engine, which closes when the last one is dropped.
///
/// Every call may be made from any thread, also from a handler: on a thread of the library, whichever engine's it is, and
/// in a callback inside of [`Engine::turn`] no call waits. In a process that was forked from the one that opened
/// it, every call that can answer an error answers `Forked`, and dropping it does nothing.
#[derive(Clone, Debug)]
pub struct Engine {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    events: EventSource,
    has_handler: bool,
    runs: Runs,
    name: Name,
    message_bytes: usize,
    held_bytes: usize,
    session_bytes: usize,
    generation: u32,
}

impl Engine {
    /// Opens an engine: binds the port, starts the engine's thread unless the host's loop is to run it, and begins to join.
    /// Does not wait for a view.
    ///
    /// # Errors
    /// `Config` or `Unsupported` when the settings do not go together or ask for what is not built; else as
    /// [`Engine::open_resolved`]. Nothing is left open.
    pub fn open(config: &Config, mode: Mode) -> Result<Engine> {
        Engine::open_resolved(config.resolve()?, mode, None)
    }

    /// As [`Engine::open`], with a resolved configuration. `log` is called with each line of the journal, beside the `log` facade.
    ///
    /// # Errors
    /// `System` when the port cannot be had (the text says what to do) or the system has no descriptor or thread left.
    /// Nothing is left open.
    pub fn open_resolved(resolved: Resolved, mode: Mode, log: Option<LogSink>) -> Result<Engine> {
        let message_bytes = resolved.setup.message_bytes;
        let session_bytes = resolved.setup.sessions.session_bytes;
        let own_thread = !matches!(mode, Mode::Loop);
        let handler = match mode {
            Mode::Poll | Mode::Loop => None,
            Mode::Handler(handler) => Some(handler),
        };
        let has_handler = handler.is_some();
        let launched = runtime::launch(Parts {
            setup: resolved.setup,
            bind: resolved.bind,
            buffers: Buffers { bytes: resolved.socket_buffer_bytes, unsent_bytes: resolved.unsent_bytes },
            group: resolved.group,
            max_connections: resolved.max_connections,
            own_thread,
            thread_name: resolved.thread_name,
            handler,
            log,
        })?;
        let handle = Handle {
            shared: launched.shared,
            events: launched.events,
            has_handler,
            runs: launched.runs,
            name: launched.name,
            message_bytes,
            held_bytes: resolved.held_bytes,
            session_bytes,
            generation: fork::generation(),
        };
        Ok(Engine { handle: Arc::new(handle) })
    }

    /// Appends up to `capacity` events, in order, and answers how many. Waits up to `timeout` for the first one;
    /// zero, any call on a thread of the library, and any call with [`Mode::Loop`] take what is there.
    ///
    /// After the last event (`Event::Closed`) has been taken, every call fails with `Closed`.
    ///
    /// # Errors
    /// `Busy` when another thread is polling; `Unsupported` when the engine was opened with a handler; `Closed` when
    /// the engine has ended and nothing is left to take; `Panicked` when it has failed; `Forked`. Nothing is taken.
    pub fn poll(&self, events: &mut Vec<Event>, capacity: usize, timeout: Duration) -> Result<usize> {
        self.check_fork()?;
        if self.handle.has_handler {
            let text = "the engine was opened with a handler, which gets all events: do not poll";
            return Err(Error::new(Code::Unsupported, text));
        }
        let waits = self.may_wait();
        let before = events.len();
        let taken = self.handle.events.poll(events, capacity, if waits { timeout } else { Duration::ZERO })?;
        self.handle.shared.consume(taken.cost);
        self.note_answers(&events[before..]);
        if taken.ended {
            // The queue ends an instant before the engine's thread does.
            if waits {
                self.handle.shared.wait_over(None);
            }
            return Err(self.ended_error());
        }
        Ok(taken.count)
    }

    /// A descriptor that is readable while events wait, and for good once the engine has ended. Level-triggered: it
    /// can be watched in any loop, and waking up for nothing is harmless. Do not read, write or close it.
    ///
    /// With a handler it is never readable before the engine has ended. With [`Mode::Loop`] it is readable also while there is
    /// something to turn for; it is an epoll instance, so it can be watched by poll, select and another epoll instance, and
    /// nests there up to three levels deep.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.handle.runs.hosted().map_or_else(|| self.handle.events.fd(), Hosted::fd)
    }

    /// With [`Mode::Loop`]: does what there is to do, a bounded piece of it, and never waits. What is left over makes
    /// [`Engine::fd`] readable and [`Engine::next_timeout`] zero. A turn too many is harmless.
    ///
    /// Log callbacks run inside of it, on this thread, and it needs less than 128 KiB of stack. One thread at a time; not
    /// always the same one.
    ///
    /// # Errors
    /// `Busy` while another turn is under way, also for a log callback inside of it; `Closed` when the engine had ended before:
    /// [`Engine::poll`] has its last events; `Panicked` when it has failed, in this turn or before; `Unsupported` when it has a
    /// thread of its own; `Forked`. Nothing is changed, but by a turn that fails.
    pub fn turn(&self) -> Result<()> {
        self.check_fork()?;
        if self.hosted()?.turn()? && !self.has_failed() { Ok(()) } else { Err(self.ended_error()) }
    }

    /// With [`Mode::Loop`]: how long to wait for [`Engine::fd`] at most before the next [`Engine::turn`]; `None`: as long as it
    /// takes. Zero while there is something to do: a turn, because of work or because its time has come, events to take, or
    /// the end to be noticed; [`Engine::fd`] is readable then, too. Ask right before waiting: every turn, and every call that
    /// takes or sends something, changes it.
    ///
    /// # Errors
    /// `Busy` while a turn is under way; `Unsupported` when the engine has a thread of its own; `Forked`.
    pub fn next_timeout(&self) -> Result<Option<Duration>> {
        self.check_fork()?;
        self.hosted()?.next_timeout(&self.handle.events)
    }

    fn hosted(&self) -> Result<&Hosted> {
        let text = "the engine has a thread of its own, which turns it: open it for the host's loop instead";
        self.handle.runs.hosted().ok_or_else(|| Error::new(Code::Unsupported, text))
    }

    /// Whether a call may wait for the engine, or for room: not where that would keep an engine from running.
    pub(super) fn may_wait(&self) -> bool {
        self.handle.runs.hosted().is_none() && !thread::is_ours()
    }

    /// For a face that hands an event out in parts: keeps [`Engine::fd`] readable until a poll finds nothing.
    pub(crate) fn keep_readable(&self) {
        self.handle.events.keep_readable();
    }

    /// Sends a copy of `payload`. Answers `Ok` when the message is accepted in order, `Again` when the queue stayed
    /// full for `timeout` (zero, any call from a handler or with [`Mode::Loop`]: answers at once), `NotReady` before the first view,
    /// `NotPrimary` in a minority. `token` comes back with the message and in `Event::Returned`; 0 is none.
    ///
    /// # Errors
    /// `Unsupported` where this member or the receiver is a witness; `TooLarge` above `message.max_bytes`, or for what may be lost above a datagram; `NoSuchMember` when the
    /// receiver is not in the current view; `InvalidArgument` when it is this member, or the level is one for everybody; `Closed`,
    /// `Panicked`, `Forked`.
    /// Nothing is taken.
    pub fn send(&self, to: To, level: Level, token: u64, payload: &[u8], timeout: Duration) -> Result<Code> {
        self.offer(to, level, token, &Source::Slice(payload), timeout)
    }

    /// As [`Engine::send`], with the message in several parts.
    ///
    /// # Errors
    /// As [`Engine::send`].
    pub fn send_vectored(
        &self, to: To, level: Level, token: u64, parts: &[IoSlice<'_>], timeout: Duration,
    ) -> Result<Code> {
        self.offer(to, level, token, &Source::Parts(parts), timeout)
    }

    /// As [`Engine::send`], handing the bytes over: above 16 KiB the call copies nothing, and the engine copies them once, into batches; below it
    /// is cheaper to copy.
    ///
    /// The engine drops its reference on its own thread, inside of a turn: an owner that acts when it is dropped
    /// ([`Bytes::from_owner`]) must not call the engine then, nor block.
    ///
    /// # Errors
    /// As [`Engine::send`].
    pub fn send_bytes(&self, to: To, level: Level, token: u64, payload: Bytes, timeout: Duration) -> Result<Code> {
        self.offer(to, level, token, &Source::Shared(payload), timeout)
    }

    /// Sends copies of several messages in this order, each as [`Engine::send`] does. What a call checks, locks and wakes it does once for all
    /// of them, so that a short message costs half of what it costs with a call of its own, or less. `timeout` is for all of them; `token` comes with each.
    ///
    /// Tells how many were accepted, from the first on, and what the one behind them is answered with; `Ok` if there is none. What was
    /// accepted is not to be sent again. A message that cannot be sent keeps back those behind it.
    ///
    /// # Errors
    /// As [`Engine::send`], for the first message that was not accepted. Those before it were.
    pub fn send_many(
        &self, to: To, level: Level, token: u64, payloads: &[&[u8]], timeout: Duration,
    ) -> (usize, Result<Code>) {
        let level = match self.admit(to, level) {
            Ok(level) => level,
            Err(error) => return (0, Err(error)),
        };
        let (accepted, code) = self.handle.shared.send_many(to, level, token, payloads, self.patience(timeout));
        let length = payloads.get(accepted).map_or(0, |payload| payload.len());
        (accepted, self.answer(code, level, length))
    }

    fn offer(&self, to: To, level: Level, token: u64, source: &Source<'_>, timeout: Duration) -> Result<Code> {
        let level = self.admit(to, level)?;
        let code = self.handle.shared.send(to, level, token, source, self.patience(timeout));
        self.answer(code, level, source.length())
    }

    /// Whether such a message can be sent at all.
    #[inline(always)]
    fn admit(&self, to: To, level: Level) -> Result<batch::Level> {
        self.check_fork()?;
        let level = built(level, to)?;
        if let To::Member(incarnation) = to {
            self.handle.shared.with_view(|view| check_receiver(view, incarnation))?;
        }
        Ok(level)
    }

    #[inline(always)]
    fn patience(&self, timeout: Duration) -> Duration {
        if !timeout.is_zero() && self.may_wait() { timeout } else { Duration::ZERO }
    }

    /// In words what a message of this length was answered with, if that is an error.
    #[inline(always)]
    fn answer(&self, code: Code, level: batch::Level, length: usize) -> Result<Code> {
        if code == Code::Ok { Ok(code) } else { self.answer_in_words(code, level, length) }
    }

    #[cold]
    fn answer_in_words(&self, code: Code, level: batch::Level, length: usize) -> Result<Code> {
        let shared = &self.handle.shared;
        match code {
            Code::TooLarge if level == batch::Level::Unreliable => {
                let bound = shared.loose_bound();
                let text =
                    format!("{length} bytes are too long for one datagram, which takes {bound}: send it as Fifo");
                Err(Error::new(Code::TooLarge, text))
            }
            Code::TooLarge => Err(self.too_large(length)),
            code => refused(shared, code),
        }
    }

    pub(super) fn too_large(&self, length: usize) -> Error {
        let bound = self.handle.message_bytes;
        Error::new(Code::TooLarge, format!("a message of {length} bytes is over message.max_bytes = {bound}"))
    }

    /// The installed view, our place in it, and whether it is primary here; `None` before the first one.
    pub fn view(&self) -> Option<ViewSnapshot> {
        if self.check_fork().is_err() { None } else { self.handle.shared.view() }
    }

    /// The counters. Asks the engine's thread, which answers within a turn; from a handler, or when a handler does not
    /// come back, they are as of the last answer (and the next one is under way). With [`Mode::Loop`] they are as of now, or, while
    /// a turn is under way, as of the last answer.
    pub fn stats(&self) -> Stats {
        self.report().stats
    }

    /// The links to other members. As fresh as [`Engine::stats`].
    pub fn links(&self) -> Vec<LinkReport> {
        self.report().links
    }

    /// What the engine has done so far that costs time. As fresh as [`Engine::stats`].
    pub fn effort(&self) -> Effort {
        let effort = self.report().effort;
        Effort { system_calls: effort.system_calls + self.handle.events.calls(), ..effort }
    }

    fn report(&self) -> runtime::Report {
        if self.check_fork().is_err() {
            return runtime::Report::default();
        }
        let shared = &self.handle.shared;
        match self.handle.runs.hosted() {
            Some(hosted) if hosted.publish_report() => shared.last_report(),
            _ => shared.report(if self.may_wait() { REPORT_PATIENCE } else { Duration::ZERO }),
        }
    }

    /// The member's name, as configured or as made from host name and port.
    pub fn name(&self) -> &Name {
        &self.handle.name
    }

    /// Where the port is bound, TCP and UDP.
    pub fn local_address(&self) -> SocketAddr {
        self.handle.shared.local
    }

    /// `memory.held_bytes`: what the host may keep of delivered messages. `dcn_buf_retain` holds C hosts to it; a Rust host
    /// that keeps payloads beyond their event sees to it itself.
    pub fn held_bytes(&self) -> usize {
        self.handle.held_bytes
    }

    /// Says that the host holds the state it needs (`join.ready = "host"`). Never blocks; harmless otherwise.
    ///
    /// # Errors
    /// `Closed`, `Panicked`, `Forked`.
    pub fn ready(&self) -> Result<()> {
        self.check_fork()?;
        match self.handle.shared.life() {
            Life::Running => {
                self.handle.shared.request(runtime::REQUEST_READY);
                Ok(())
            }
            _ => Err(self.ended_error()),
        }
    }

    /// Leaves the cluster in order, then closes. Waits until that is done, at most for `timeout`; zero, and any call
    /// from a handler or with [`Mode::Loop`], only begins it: `Event::Closed` tells the end.
    ///
    /// # Errors
    /// `Timeout` when it is not done in time; it goes on. `Closed` when the engine was closed and so could not leave.
    /// `Panicked`, `Forked`. Leaving twice is fine.
    pub fn leave(&self, timeout: Duration) -> Result<()> {
        self.check_fork()?;
        let shared = &self.handle.shared;
        shared.request(runtime::REQUEST_LEAVE);
        let wait = !timeout.is_zero() && self.may_wait();
        if wait && !shared.wait_over(Some(deadline_after(timeout))) {
            return Err(Error::new(Code::Timeout, format!("leaving takes longer than {} ms", timeout.as_millis())));
        }
        match shared.life() {
            Life::Running | Life::Ended(Some(_)) => Ok(()),
            Life::Failed(_) | Life::Ended(None) => Err(self.ended_error()),
        }
    }

    /// Closes at once, without a word to the others, who notice the closed connections. After it returns no handler
    /// and no log callback runs and the port is free. On a thread of the library (in a handler of any engine) it does not
    /// wait: it takes effect when the handler returns, and the closed engine's handler is called once more, with
    /// `Event::Closed`. With [`Mode::Loop`] it waits for a turn that is under way on another thread, and takes effect at the
    /// end of the turn when a callback of that turn closes. Closing twice is fine.
    pub fn close(&self) {
        self.handle.close();
    }

    /// Why [`Engine::view`] has answered `None`: not yet, or never.
    pub(crate) fn no_view(&self) -> Error {
        match self.handle.shared.life() {
            Life::Running => Error::new(Code::NotReady, "no view yet: wait for the first view event"),
            _ => self.ended_error(),
        }
    }

    pub(super) fn ended_error(&self) -> Error {
        ended_error(&self.handle.shared)
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// `session.max_bytes`: the longest session, names and values of its attributes together.
    pub fn session_bytes(&self) -> usize {
        self.handle.session_bytes
    }

    /// Whether a bug has ended the engine.
    pub(crate) fn has_failed(&self) -> bool {
        self.handle.shared.has_failed()
    }

    /// A panic was caught in a call on this engine: it ends, and tells why.
    pub(crate) fn fail(&self, why: &str) {
        self.handle.shared.fail(why);
    }

    #[cfg(test)]
    pub(crate) fn plant_panic(&self) {
        self.handle.shared.request(runtime::REQUEST_PANIC);
    }

    pub(super) fn check_fork(&self) -> Result<()> {
        check_generation(self.handle.generation)
    }
}

impl Handle {
    fn close(&self) {
        if self.generation != fork::generation() {
            return;
        }
        self.shared.close();
        self.runs.wind_up();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

/// What an outcome of a send or a commit is to its caller: some are expected, the others errors.
pub(super) fn refused(shared: &Shared, code: Code) -> Result<Code> {
    match code {
        Code::Ok | Code::Again | Code::NotReady | Code::NotPrimary => Ok(code),
        Code::Unsupported => Err(a_witness()),
        _ => Err(ended_error(shared)),
    }
}

fn ended_error(shared: &Shared) -> Error {
    match shared.life() {
        Life::Failed(text) => Error::new(Code::Panicked, text),
        Life::Ended(Some(reason)) => {
            Error::new(Code::Closed, format!("the engine has ended: it {}", runtime::ended_text(&reason)))
        }
        Life::Ended(None) => Error::new(Code::Closed, "the engine is closed"),
        Life::Running => Error::new(Code::Closed, "the engine is leaving"),
    }
}

/// Refuses what was made in the process that this one was forked from.
pub(super) fn check_generation(generation: u32) -> Result<()> {
    if generation == fork::generation() {
        return Ok(());
    }
    Err(Error::new(Code::Forked, "this process was forked from the one that opened the engine: open one here"))
}

/// What a host of a witness is told that wants more of it.
pub(super) fn a_witness() -> Error {
    let text = "this member is a witness (node.witness = true): it votes, and neither sends messages nor holds sessions; \
                use another member";
    Error::new(Code::Unsupported, text)
}

pub(super) fn built(level: Level, to: To) -> Result<batch::Level> {
    match level {
        Level::Fifo => Ok(batch::Level::Fifo),
        Level::Agreed if to == To::Everybody => Ok(batch::Level::Agreed),
        Level::Safe if to == To::Everybody => Ok(batch::Level::Safe),
        Level::Agreed | Level::Safe => {
            let text = format!("{level:?} is an order of all members: send it to everybody, or use Fifo");
            Err(Error::new(Code::InvalidArgument, text))
        }
        Level::Unreliable => Ok(batch::Level::Unreliable),
    }
}

pub(super) fn check_receiver(view: Option<&ViewSnapshot>, to: crate::types::Incarnation) -> Result<()> {
    // Before the first view the answer is `NotReady`, which the outbox gives.
    let Some(snapshot) = view else { return Ok(()) };
    match snapshot.view.index_of(to) {
        Some(index) if index == snapshot.me => {
            Err(Error::new(Code::InvalidArgument, "a member does not send to itself"))
        }
        Some(index) if snapshot.view.members[index].witness => {
            let text = format!("{} is a witness, which votes and takes no messages", snapshot.view.members[index].name);
            Err(Error::new(Code::Unsupported, text))
        }
        Some(_) => Ok(()),
        None => Err(Error::new(Code::NoSuchMember, format!("no member {to} in view {}", snapshot.view.id.number))),
    }
}
