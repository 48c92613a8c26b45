//! What the engine's thread and the host's threads share: the outbox, requests, and what is published.
//!
//! No lock here is held across a system call, a call of the host, or a look at its memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};

use super::bell::Bell;
use super::desk::Desk;
use super::thread;
use crate::core::{Ended, Gate, LinkReport, Outbox, Stats};
use crate::types::{Index, View};

/// The host is ready ([`crate::core::Input::HostReady`]).
pub const REQUEST_READY: u32 = 1;
/// The host wants to leave ([`crate::core::Input::Leave`]).
pub const REQUEST_LEAVE: u32 = 2;
/// The host wants fresh counters and links.
pub const REQUEST_REPORT: u32 = 4;

/// A test wants the engine's thread to panic.
#[cfg(test)]
pub const REQUEST_PANIC: u32 = 8;

const OPEN: u8 = 0;
const CLOSED_OUTSIDE: u8 = 1;
const CLOSED_INSIDE: u8 = 2;

/// The installed view, and where in it this member stands.
#[derive(Clone, Debug)]
pub struct ViewSnapshot {
    /// The view.
    pub view: Arc<View>,
    /// Our own position in it.
    pub me: Index,
    /// Whether this member could act in the primary view when the engine last looked.
    pub primary: bool,
}

/// What an engine has come to.
#[derive(Clone, Debug)]
pub enum Life {
    /// It runs.
    Running,
    /// It has ended, for this reason (`None`: the host closed it).
    Ended(Option<Ended>),
    /// A panic was caught, with its text.
    Failed(String),
}

/// What an engine has done so far that costs time, whatever it was for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Effort {
    /// Calls of the system to wait, to read and write sockets, to accept, and to wake a thread by a descriptor. Not counted: opening and
    /// closing, and the futexes of locks.
    pub system_calls: u64,
    /// Bytes of messages that the engine has copied from memory to memory. Not counted: what [`crate::Engine::send`] copies at the call, and
    /// what sessions keep.
    pub copied_bytes: u64,
    /// Datagrams to the multicast group that were thrown away on purpose (`multicast.rehearse_loss`), the member's own that came back to
    /// it among them, and their bytes.
    pub rehearsed_losses: u64,
    /// See there.
    pub rehearsed_loss_bytes: u64,
}

/// Counters and links as of one moment.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The counters.
    pub stats: Stats,
    /// The links.
    pub links: Vec<LinkReport>,
    /// What it took.
    pub effort: Effort,
    number: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Shared {
    /// Wakes the engine.
    pub bell: Arc<Bell>,
    /// Where the port is bound.
    pub local: SocketAddr,
    /// Requests about sessions that are under way.
    pub desk: Desk,
    outbox: Mutex<Outbox>,
    /// Grows whenever a send that was answered with `Again` may be answered otherwise.
    writable: Mutex<u64>,
    writable_changed: Condvar,
    consumed: AtomicUsize,
    /// Taken events worth so much wake the engine; less waits for its next turn.
    consumed_step: usize,
    requests: AtomicU32,
    closing: AtomicU8,
    view: RwLock<Option<ViewSnapshot>>,
    report: Mutex<Report>,
    report_changed: Condvar,
    failed: AtomicBool,
    /// What the host has been told, or will be told next.
    life: Mutex<Life>,
    /// Whether the engine's thread is done and its sockets are closed: a moment later.
    over: Mutex<bool>,
    over_changed: Condvar,
}

impl Shared {
    /// For an engine that is about to start.
    pub fn new(bell: Arc<Bell>, local: SocketAddr, outbox: Outbox, receive_queue_bytes: usize) -> Shared {
        Shared {
            bell,
            local,
            desk: Desk::new(receive_queue_bytes),
            outbox: Mutex::new(outbox),
            writable: Mutex::new(0),
            writable_changed: Condvar::new(),
            consumed: AtomicUsize::new(0),
            consumed_step: receive_queue_bytes / 8,
            requests: AtomicU32::new(0),
            closing: AtomicU8::new(OPEN),
            view: RwLock::new(None),
            report: Mutex::new(Report::default()),
            report_changed: Condvar::new(),
            failed: AtomicBool::new(false),
            life: Mutex::new(Life::Running),
            over: Mutex::new(false),
            over_changed: Condvar::new(),
        }
    }

    // ---- the host's side

    pub(super) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock()
    }

    /// Bytes of the longest message that fits a datagram of its own; 0 before the first view.
    pub fn loose_bound(&self) -> usize {
        self.outbox().loose_bound()
    }

    pub(super) fn writable_seen(&self) -> u64 {
        *self.writable.lock()
    }

    pub(super) fn wait_writable(&self, seen: u64, deadline: Instant) -> bool {
        let mut now = self.writable.lock();
        while *now == seen {
            if self.writable_changed.wait_until(&mut now, deadline).timed_out() {
                return *now != seen;
            }
        }
        true
    }

    /// Notes that the host has taken events.
    pub fn consume(&self, bytes: usize) {
        if bytes > 0 && self.consumed.fetch_add(bytes, Ordering::SeqCst) + bytes >= self.consumed_step {
            self.bell.ring();
        }
    }

    /// Asks the engine for something (`REQUEST_…`).
    pub fn request(&self, what: u32) {
        self.requests.fetch_or(what, Ordering::SeqCst);
        self.bell.ring();
    }

    /// The host wants the engine gone now. Where the first caller stood decides who hears of it.
    pub fn close(&self) {
        let who = if thread::is_ours() { CLOSED_INSIDE } else { CLOSED_OUTSIDE };
        let _ = self.closing.compare_exchange(OPEN, who, Ordering::SeqCst, Ordering::SeqCst);
        self.bell.ring();
    }

    /// The view as last published.
    pub fn view(&self) -> Option<ViewSnapshot> {
        self.view.read().clone()
    }

    /// Runs `look` on the view as last published, without taking a reference.
    pub fn with_view<T>(&self, look: impl FnOnce(Option<&ViewSnapshot>) -> T) -> T {
        look(self.view.read().as_ref())
    }

    /// Counters and links as they were published last.
    pub fn last_report(&self) -> Report {
        self.report.lock().clone()
    }

    /// Counters and links, made fresh by the engine. If it does not come by within `patience`, or that is zero, they are
    /// those that were asked for last.
    pub fn report(&self, patience: Duration) -> Report {
        let before = self.report.lock().number;
        self.request(REQUEST_REPORT);
        let deadline = Instant::now() + patience;
        let mut report = self.report.lock();
        while !patience.is_zero() && report.number == before && !*self.over.lock() {
            if self.report_changed.wait_until(&mut report, deadline).timed_out() {
                break;
            }
        }
        report.clone()
    }

    /// A panic was caught in a call of the host: calls answer so from now on, and the engine ends with its next turn.
    pub fn fail(&self, why: &str) {
        self.announce(Life::Failed(why.to_owned()));
        self.bell.ring();
    }

    /// Whether a panic has ended it, or is about to.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// What the engine has come to. It is known before the host gets the last event.
    pub fn life(&self) -> Life {
        self.life.lock().clone()
    }

    /// Waits until the engine's thread is done and its sockets are closed; `false` when the time is over first.
    pub fn wait_over(&self, deadline: Option<Instant>) -> bool {
        let mut over = self.over.lock();
        while !*over {
            match deadline {
                None => self.over_changed.wait(&mut over),
                Some(deadline) => {
                    if self.over_changed.wait_until(&mut over, deadline).timed_out() {
                        return *over;
                    }
                }
            }
        }
        true
    }

    // ---- the engine's side

    /// Whether the host wants the engine gone.
    pub fn closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst) != OPEN
    }

    /// Whether it said so on a thread of the library, and so does not wait: then one more call tells it that the end
    /// has come.
    pub fn closed_inside(&self) -> bool {
        self.closing.load(Ordering::SeqCst) == CLOSED_INSIDE
    }

    /// What the host has asked for since the last time.
    pub fn take_requests(&self) -> u32 {
        self.requests.swap(0, Ordering::SeqCst)
    }

    /// What the host has taken since the last time, in bytes.
    pub fn take_consumed(&self) -> usize {
        self.consumed.swap(0, Ordering::SeqCst)
    }

    /// Lets the core take the accepted sends; whoever waits for room is woken when the answer to sends has changed.
    pub fn exchange<T>(&self, exchange: impl FnOnce(&mut Outbox) -> T) -> T {
        let (before, after, answer) = {
            let mut outbox = self.outbox.lock();
            let before = outbox.gate();
            let answer = exchange(&mut outbox);
            (before, outbox.gate(), answer)
        };
        if before != after {
            self.writable_again();
        }
        answer
    }

    /// Wakes whoever waits for room.
    pub fn writable_again(&self) {
        *self.writable.lock() += 1;
        self.writable_changed.notify_all();
    }

    /// Publishes the view.
    pub fn publish_view(&self, snapshot: Option<ViewSnapshot>) {
        *self.view.write() = snapshot;
    }

    /// Publishes counters and links.
    pub fn publish_report(&self, stats: Stats, links: Vec<LinkReport>, effort: Effort) {
        let mut report = self.report.lock();
        *report = Report { stats, links, effort, number: report.number + 1 };
        self.report_changed.notify_all();
    }

    /// The engine has come to this, and the host is about to be told: from now on calls answer so. The first word counts.
    pub fn announce(&self, life: Life) {
        self.outbox.lock().set_gate(Gate::Closed);
        let mut now = self.life.lock();
        if matches!(*now, Life::Running) {
            self.failed.store(matches!(life, Life::Failed(_)), Ordering::SeqCst);
            *now = life;
        }
    }

    /// The engine's thread is done and its sockets are closed: everybody who waits for something is woken.
    pub fn end(&self, life: Life) {
        self.announce(life);
        // A claim or a call may keep this alive; what was accepted is dropped now, and not under the lock.
        let left = self.outbox.lock().drain();
        drop(left);
        if let Some(snapshot) = self.view.write().as_mut() {
            snapshot.primary = false;
        }
        self.desk.end();
        *self.over.lock() = true;
        self.over_changed.notify_all();
        self.writable_again();
        let _report = self.report.lock();
        self.report_changed.notify_all();
    }
}
