//! Who turns an engine: a thread of its own, or the host's loop.
//!
//! Without a thread one descriptor tells when to turn: an epoll instance that nests in the host's. It watches mio's, which is
//! readable while it knows of something that no turn has asked for, and the event queue's, which is readable while events
//! wait. What a turn leaves undone mio does not tell again, so the turn rings its own bell behind itself
//! ([`Reactor::settle`]).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::epoll::Epoll;
use super::events::EventSource;
use super::fork::{self, AfterFork};
use super::lent;
use super::reactor::{Reactor, Turn};
use super::shared::{Life, Shared};
use super::thread;
use crate::types::{Code, Error, Result};

/// Who turns an engine.
#[derive(Debug)]
pub enum Runs {
    /// A thread of its own, until somebody has waited for its end.
    Thread(Mutex<Option<JoinHandle<()>>>),
    /// The host's loop.
    Hosted(Box<Hosted>),
}

impl Runs {
    /// Gives a reactor a thread of its own.
    pub fn on_thread(name: &str, reactor: Reactor, shared: Arc<Shared>) -> io::Result<Runs> {
        let thread = thread::spawn(name, move || run(reactor, &shared))?;
        Ok(Runs::Thread(Mutex::new(Some(thread))))
    }

    /// The engine that the host's loop turns, if it is one.
    pub fn hosted(&self) -> Option<&Hosted> {
        match self {
            Runs::Thread(_) => None,
            Runs::Hosted(hosted) => Some(hosted),
        }
    }

    /// Waits until the engine is over; it was told to end ([`Shared::close`]). On a thread of the library it does not wait.
    pub fn wind_up(&self) {
        match self {
            Runs::Hosted(hosted) => hosted.wind_up(),
            Runs::Thread(_) if thread::is_ours() => {}
            Runs::Thread(thread) => {
                // Held while joining, so that a second caller returns no earlier than the first.
                let mut thread = thread.lock();
                if let Some(thread) = thread.take() {
                    // The thread catches its own panics.
                    let _ = thread.join();
                }
            }
        }
    }
}

/// An engine without a thread: it does nothing between two turns, and never waits in one.
#[derive(Debug)]
pub struct Hosted {
    /// `None` once it has ended. Locked while somebody is inside.
    reactor: Mutex<Option<Reactor>>,
    shared: Arc<Shared>,
    epoll: Epoll,
    generation: u32,
}

impl Hosted {
    /// Around a reactor that was just made; its first turn is due at once.
    pub fn new(reactor: Reactor, shared: Arc<Shared>, events: &EventSource) -> io::Result<Hosted> {
        let epoll = Epoll::new(AfterFork::Replace)?;
        epoll.watch(reactor.as_raw_fd())?;
        epoll.watch(events.fd().as_raw_fd())?;
        reactor.settle();
        Ok(Hosted { reactor: Mutex::new(Some(reactor)), shared, epoll, generation: fork::generation() })
    }

    /// Readable while there is something to turn for or an event to take, and for good once the engine has ended.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// One turn; `false` if the engine had ended before.
    ///
    /// # Errors
    /// `Busy` while another turn is under way: on another thread, or around the callback that makes this call.
    pub fn turn(&self) -> Result<bool> {
        self.enter(|reactor| {
            let runs = reactor.is_some();
            self.step(reactor);
            runs
        })
    }

    /// How long the host may wait for the descriptor before the next turn is due (`None`: as long as it takes). If that is
    /// zero, the descriptor is readable.
    ///
    /// # Errors
    /// As [`Hosted::turn`].
    pub fn next_timeout(&self, events: &EventSource) -> Result<Option<Duration>> {
        self.enter(|reactor| match reactor {
            Some(reactor) if !events.is_readable() => {
                let timeout = reactor.next_timeout(None);
                if timeout == Some(Duration::ZERO) {
                    // It may be that nothing but a deadline is due, of which no descriptor tells.
                    self.shared.bell.ring();
                }
                timeout
            }
            _ => Some(Duration::ZERO),
        })
    }

    /// Publishes counters and links as they are; `false` if somebody is inside and it was not possible.
    pub fn publish_report(&self) -> bool {
        let publish = |reactor: &mut Option<Reactor>| reactor.iter().for_each(Reactor::publish_report);
        self.enter(publish).is_ok()
    }

    /// The host has closed the engine: one last turn, which sees that. On a thread of the library, or in a callback of a
    /// turn, it does not wait for a turn that is under way: that one ends the engine.
    fn wind_up(&self) {
        if !thread::is_ours() {
            return self.step(&mut self.reactor.lock());
        }
        fence(Ordering::SeqCst);
        let _ = self.enter(|_| ());
    }

    /// Lets one caller at a time in. Whoever finds it occupied and does not wait may have closed it before: so everybody
    /// looks for that after going out. One of the two sees the other, by the fences here and in [`Hosted::wind_up`].
    fn enter<T>(&self, work: impl FnOnce(&mut Option<Reactor>) -> T) -> Result<T> {
        let mut reactor = self.reactor.try_lock().ok_or_else(|| {
            Error::new(Code::Busy, "another thread is turning this engine, or this call comes from inside its turn")
        })?;
        let answer = work(&mut reactor);
        drop(reactor);
        fence(Ordering::SeqCst);
        if self.shared.closing()
            && let Some(mut reactor) = self.reactor.try_lock()
        {
            self.step(&mut reactor);
        }
        Ok(answer)
    }

    fn step(&self, slot: &mut Option<Reactor>) {
        let _inside = thread::borrow();
        let Some(reactor) = slot else { return };
        match turn(reactor, Some(Duration::ZERO)) {
            None => reactor.settle(),
            Some(life) => {
                let reactor = slot.take().expect("it has just turned");
                end(reactor, &self.shared, life);
            }
        }
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        if self.generation != fork::generation() {
            // A forked child's copy may have been in the middle of a turn, and what it shares with the resolver's thread
            // be locked by it.
            std::mem::forget(self.reactor.get_mut().take());
        }
    }
}

/// The engine's thread.
fn run(mut reactor: Reactor, shared: &Shared) {
    let life = loop {
        if let Some(life) = lent::inside(|| turn(&mut reactor, None)) {
            break life;
        }
    };
    lent::inside(|| end(reactor, shared, life));
}

/// One turn; says what the engine has come to if it was the last one. A panic ends this engine, and the process goes on.
fn turn(reactor: &mut Reactor, timeout: Option<Duration>) -> Option<Life> {
    match catch_unwind(AssertUnwindSafe(|| reactor.turn(timeout))) {
        Ok(Ok(Turn::Goes)) => None,
        Ok(Ok(Turn::Ended(reason))) => Some(Life::Ended(reason)),
        Ok(Err(error)) => Some(Life::Failed(format!("waiting for sockets failed: {error}"))),
        Err(panic) => Some(Life::Failed(panic_text(&*panic))),
    }
}

/// After the last turn: all its sockets are closed before anybody is told that the engine has ended.
fn end(mut reactor: Reactor, shared: &Shared, life: Life) {
    let last = || {
        if let Life::Failed(why) = &life {
            reactor.fail(why);
        }
        drop(reactor);
    };
    // What is broken may panic once more.
    let _ = catch_unwind(AssertUnwindSafe(last));
    shared.end(life);
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    format!("a panic was caught inside the engine: {}", text.unwrap_or("no text"))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::eventfd::readable;
    use super::super::launch::{Launched, Parts, launch};
    use super::super::shared::REQUEST_LEAVE;
    use super::super::socket::Buffers;
    use super::*;
    use crate::core::Setup;
    use crate::types::Incarnation;

    fn launched() -> Launched {
        let loopback = "127.0.0.1:0".parse().unwrap();
        let parts = Parts {
            setup: Setup::new("test", "hosted", Incarnation(1), loopback),
            bind: loopback,
            buffers: Buffers { bytes: 0, unsent_bytes: 0 },
            group: None,
            max_connections: 64,
            own_thread: false,
            thread_name: "test".to_owned(),
            handler: None,
            log: None,
        };
        launch(parts).unwrap()
    }

    /// Says that there is something to do, by both signs.
    fn has_work(engine: &Launched) -> bool {
        let hosted = engine.runs.hosted().unwrap();
        let at_once = hosted.next_timeout(&engine.events).unwrap() == Some(Duration::ZERO);
        assert!(!at_once || readable(hosted.fd().as_raw_fd(), 0), "there is work, and the descriptor does not tell");
        at_once
    }

    fn take_all(engine: &Launched) {
        while engine.events.poll(&mut Vec::new(), 64, Duration::ZERO).unwrap().count > 0 {}
    }

    #[test]
    fn the_first_turn_is_due_at_once_and_whatever_is_asked_makes_another_one_due() {
        let engine = launched();
        let hosted = engine.runs.hosted().unwrap();
        take_all(&engine);
        assert!(has_work(&engine));
        let quiet = |engine: &Launched| {
            let deadline = Instant::now() + Duration::from_secs(30);
            while has_work(engine) {
                assert!(hosted.turn().unwrap() && Instant::now() < deadline);
                take_all(engine);
            }
        };
        quiet(&engine);
        engine.shared.request(REQUEST_LEAVE);
        assert!(has_work(&engine), "between two turns");
        quiet(&engine);
        // Somebody asks while a turn is under way and no longer looks.
        hosted
            .enter(|reactor| {
                hosted.step(reactor);
                engine.events.poll(&mut Vec::new(), 64, Duration::ZERO).unwrap();
                engine.shared.bell.wake();
                engine.shared.bell.ring();
                reactor.as_ref().unwrap().settle();
            })
            .unwrap();
        assert!(has_work(&engine), "inside of a turn");
    }

    #[test]
    fn a_deadline_that_is_due_makes_the_descriptor_readable_too() {
        let engine = launched();
        let hosted = engine.runs.hosted().unwrap();
        let came_in_time = || {
            assert!(hosted.turn().unwrap());
            take_all(&engine);
            let timeout =
                hosted.next_timeout(&engine.events).unwrap().expect("a member that forms a view has deadlines");
            readable(hosted.fd().as_raw_fd(), timeout.as_nanos().div_ceil(1_000_000) as i32)
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while came_in_time() {
            assert!(Instant::now() < deadline);
        }
        assert!(has_work(&engine));
    }

    #[test]
    fn who_closes_without_waiting_is_seen_by_who_is_inside() {
        let engine = launched();
        let hosted = engine.runs.hosted().unwrap();
        let is_over = || engine.shared.wait_over(Some(Instant::now()));
        hosted
            .enter(|_| {
                let _inside = thread::borrow();
                engine.shared.close();
                engine.runs.wind_up();
                assert!(!is_over() && hosted.turn().is_err_and(|e| e.code() == Code::Busy));
            })
            .unwrap();
        assert!(is_over() && !hosted.turn().unwrap());
        engine.runs.wind_up();
        assert_eq!(hosted.next_timeout(&engine.events).unwrap(), Some(Duration::ZERO));
        assert!(readable(hosted.fd().as_raw_fd(), 0), "the end is to be seen");
    }
}
