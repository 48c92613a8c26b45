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
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

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
    /// Locked for a moment only: a turn takes the reactor out.
    place: Mutex<Place>,
    /// A turn is over.
    turned: Condvar,
    shared: Arc<Shared>,
    epoll: Epoll,
    generation: u32,
}

/// Where the reactor of a hosted engine is.
#[derive(Debug)]
enum Place {
    Here(Box<Reactor>),
    /// With whoever makes a turn.
    Turning,
    /// It has ended.
    Gone,
}

impl Place {
    /// Takes the reactor for a turn, if it is here.
    fn take(&mut self) -> Option<Box<Reactor>> {
        match std::mem::replace(self, Place::Turning) {
            Place::Here(reactor) => Some(reactor),
            other => {
                *self = other;
                None
            }
        }
    }
}

impl Hosted {
    /// Around a reactor that was just made; its first turn is due at once.
    pub fn new(reactor: Reactor, shared: Arc<Shared>, events: &EventSource) -> io::Result<Hosted> {
        let epoll = Epoll::new(AfterFork::Replace)?;
        epoll.watch(reactor.as_raw_fd())?;
        epoll.watch(events.fd().as_raw_fd())?;
        reactor.settle();
        let place = Mutex::new(Place::Here(Box::new(reactor)));
        Ok(Hosted { place, turned: Condvar::new(), shared, epoll, generation: fork::generation() })
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
        let mut place = self.place.lock();
        if let Some(reactor) = place.take() {
            drop(place);
            self.step(reactor);
            return Ok(true);
        }
        if matches!(*place, Place::Turning) { Err(busy()) } else { Ok(false) }
    }

    /// How long the host may wait for the descriptor before the next turn is due (`None`: as long as it takes). If that is
    /// zero, the descriptor is readable.
    ///
    /// # Errors
    /// As [`Hosted::turn`].
    pub fn next_timeout(&self, events: &EventSource) -> Result<Option<Duration>> {
        match &*self.place.lock() {
            Place::Turning => Err(busy()),
            Place::Here(reactor) if !events.is_readable() => {
                let timeout = reactor.next_timeout(None);
                if timeout == Some(Duration::ZERO) {
                    // It may be that nothing but a deadline is due, of which no descriptor tells.
                    self.shared.bell.ring();
                }
                Ok(timeout)
            }
            _ => Ok(Some(Duration::ZERO)),
        }
    }

    /// Publishes counters and links as they are; `false` if a turn is under way and it was not possible.
    pub fn publish_report(&self) -> bool {
        let place = self.place.lock();
        if let Place::Here(reactor) = &*place {
            reactor.publish_report();
        }
        !matches!(*place, Place::Turning)
    }

    /// The host has closed the engine: one last turn, which sees that. On a thread of the library, or in a callback of a
    /// turn, it does not wait for a turn that is under way: that one ends the engine.
    fn wind_up(&self) {
        let mut place = self.place.lock();
        while matches!(*place, Place::Turning) && !thread::is_ours() {
            self.turned.wait(&mut place);
        }
        if let Some(reactor) = place.take() {
            drop(place);
            self.step(reactor);
        }
    }

    /// Turns the reactor that was taken out and puts it back. Who closes meanwhile without waiting finds it gone, and leaves the end to this
    /// thread, which looks for that under the lock.
    fn step(&self, mut reactor: Box<Reactor>) {
        let _inside = thread::borrow();
        loop {
            if let Some(life) = turn(&mut reactor, Some(Duration::ZERO)) {
                end(*reactor, &self.shared, life);
                *self.place.lock() = Place::Gone;
                break;
            }
            reactor.settle();
            let mut place = self.place.lock();
            if !self.shared.closing() {
                *place = Place::Here(reactor);
                break;
            }
        }
        self.turned.notify_all();
    }
}

fn busy() -> Error {
    Error::new(Code::Busy, "another thread is turning this engine, or this call comes from inside its turn")
}

impl Drop for Hosted {
    fn drop(&mut self) {
        if self.generation != fork::generation() {
            // A forked child's copy may have been in the middle of a turn, and what it shares with the resolver's thread
            // be locked by it.
            std::mem::forget(self.place.get_mut().take());
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
        let reactor = hosted.place.lock().take().unwrap();
        hosted.step(reactor);
        engine.events.poll(&mut Vec::new(), 64, Duration::ZERO).unwrap();
        engine.shared.bell.wake();
        engine.shared.bell.ring();
        match &*hosted.place.lock() {
            Place::Here(reactor) => reactor.settle(),
            other => panic!("{other:?}"),
        }
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
    fn who_asks_for_counters_or_for_the_timeout_keeps_nobody_from_a_turn() {
        let engine = launched();
        let hosted = engine.runs.hosted().unwrap();
        let ask = || {
            for _ in 0..20_000 {
                hosted.publish_report();
                let _ = hosted.next_timeout(&engine.events);
            }
        };
        std::thread::scope(|scope| {
            let asks = scope.spawn(ask);
            while !asks.is_finished() {
                assert!(hosted.turn().unwrap());
                hosted.next_timeout(&engine.events).unwrap();
                take_all(&engine);
            }
        });
    }

    #[test]
    fn who_closes_without_waiting_is_seen_by_who_is_inside() {
        let engine = launched();
        let hosted = engine.runs.hosted().unwrap();
        let is_over = || engine.shared.wait_over(Some(Instant::now()));
        let reactor = hosted.place.lock().take().unwrap();
        {
            let _inside = thread::borrow();
            engine.shared.close();
            engine.runs.wind_up();
            assert!(!is_over() && hosted.turn().is_err_and(|e| e.code() == Code::Busy));
        }
        hosted.step(reactor);
        assert!(is_over() && !hosted.turn().unwrap());
        engine.runs.wind_up();
        assert_eq!(hosted.next_timeout(&engine.events).unwrap(), Some(Duration::ZERO));
        assert!(readable(hosted.fd().as_raw_fd(), 0), "the end is to be seen");
    }
}
