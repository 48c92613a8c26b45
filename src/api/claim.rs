//! Messages that the host writes where they leave from.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::BufMut;

use super::engine::{Engine, Level, built, check_generation, check_receiver, refused};
use crate::core::{Space, To};
use crate::runtime::{Shared, fork};
use crate::types::{Code, Error, Result};

/// Room in a stream, and private memory for one message: write into [`Claim::room`], then [`Claim::commit`]. Dropping it gives the room back.
///
/// It belongs to no thread and keeps no engine open: when its engine is closed a commit answers `Closed`.
#[derive(Debug)]
pub struct Claim {
    engine: Weak<Shared>,
    /// `None` once it was committed.
    space: Option<Space>,
    generation: u32,
}

impl Engine {
    /// Reserves room for a message of at most `length` bytes and gives memory to write it into, so that a message longer than 16 KiB and no
    /// longer than a batch (60 KiB; less by multicast where packets are short) is not copied any more on its way out. Shorter ones are copied
    /// into a batch when they are committed, longer ones when they are cut into batches, once each.
    ///
    /// Nothing is ordered before the commit, and nothing, no view either, waits for it. Until it is committed or dropped, a claim counts
    /// against `send.queue_bytes` of its stream as a message of `length` bytes that waits: when that is full, sends and claims are answered
    /// with `Again` also if nothing was committed. The inner error is the answer that [`Engine::send`] gives as `Ok`: `Again`,
    /// `NotReady`, `NotPrimary`.
    ///
    /// # Errors
    /// As [`Engine::send`]; `Unsupported` also for `Level::Unreliable`, of which a message is too short for it. Nothing is reserved.
    pub fn claim(
        &self, to: To, level: Level, token: u64, length: usize, timeout: Duration,
    ) -> Result<std::result::Result<Claim, Code>> {
        self.check_fork()?;
        if level == Level::Unreliable {
            let text = "what may be lost is one short datagram, which is copied in any case: send it without a claim";
            return Err(Error::new(Code::Unsupported, text));
        }
        let level = built(level, to)?;
        let shared = self.shared();
        if let To::Member(incarnation) = to {
            shared.with_view(|view| check_receiver(view, incarnation))?;
        }
        let patience = if !timeout.is_zero() && self.may_wait() { timeout } else { Duration::ZERO };
        match shared.claim(to, level, token, length, patience) {
            Ok(space) => {
                let generation = fork::generation();
                Ok(Ok(Claim { engine: Arc::downgrade(shared), space: Some(space), generation }))
            }
            Err(Code::TooLarge) => Err(self.too_large(length)),
            Err(code) => refused(shared, code).map(Err),
        }
    }
}

impl Claim {
    /// Where the message is written: what is put there first is its beginning. It takes as many bytes as are left of those that were claimed.
    pub fn room(&mut self) -> impl BufMut + '_ {
        self.space.as_mut().expect("present until it is committed").room()
    }

    /// Bytes that were claimed.
    pub fn length(&self) -> usize {
        self.space.as_ref().map_or(0, Space::length)
    }

    /// Sends what was written, which may be less than was claimed. Answers `Ok` when the message is accepted in order, in the place of this
    /// call and not of the claim. There is room for it: `Again` is no answer. `NotReady` and `NotPrimary` as [`Engine::send`]. Never blocks.
    ///
    /// # Errors
    /// `NoSuchMember` when the receiver is not in the view any more; `Unsupported`, `Closed`, `Panicked`, `Forked`. Whatever it
    /// is, the claim has ended, and what was written is gone unless it is `Ok`.
    pub fn commit(mut self) -> Result<Code> {
        check_generation(self.generation)?;
        let shared = self.engine.upgrade().ok_or_else(|| Error::new(Code::Closed, "the engine is closed"))?;
        if let Some(To::Member(incarnation)) = self.space.as_ref().map(Space::to) {
            shared.with_view(|view| check_receiver(view, incarnation))?;
        }
        let space = self.space.take().expect("present until it is committed");
        match shared.commit(space) {
            Ok(()) => Ok(Code::Ok),
            Err(code) => refused(&shared, code),
        }
    }

    /// Gives the room back without sending anything, as dropping it does. Never blocks.
    pub fn abort(self) {}
}

impl Drop for Claim {
    fn drop(&mut self) {
        // A forked child's copy of the lock may be held by a thread that it does not have.
        if self.generation == fork::generation()
            && let (Some(space), Some(shared)) = (self.space.take(), self.engine.upgrade())
        {
            shared.abort(space);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::api::{Config, Mode};
    use crate::core::Event;

    const PATIENCE: Duration = Duration::from_secs(30);
    const QUEUE: usize = 64 * 1024;

    /// A member that is alone: what it sends in the order of all comes to itself.
    fn alone() -> Engine {
        let mut config = Config::new();
        config.set("node.bind", "127.0.0.1:0").unwrap();
        config.set("send.queue_bytes", &QUEUE.to_string()).unwrap();
        let engine = Engine::open(&config, Mode::Poll).unwrap();
        until(&engine, |event| matches!(event, Event::View(_)).then_some(()));
        engine
    }

    fn until<T>(engine: &Engine, mut found: impl FnMut(&Event) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut events = Vec::new();
            engine.poll(&mut events, 1, PATIENCE).unwrap();
            if let Some(answer) = events.iter().find_map(&mut found) {
                return answer;
            }
            assert!(Instant::now() < deadline);
        }
    }

    fn claim(engine: &Engine, length: usize) -> std::result::Result<Claim, Code> {
        engine.claim(To::Everybody, Level::Agreed, 7, length, Duration::ZERO).unwrap()
    }

    fn code_of<T>(result: Result<T>) -> Option<Code> {
        result.err().map(|error| error.code())
    }

    #[test]
    fn what_was_written_is_sent_and_what_is_dropped_gives_its_room_back() {
        let engine = alone();
        for length in [0, 100, 40_000] {
            let mut claimed = claim(&engine, length).unwrap();
            assert_eq!((claimed.length(), claimed.room().remaining_mut()), (length, length));
            claimed.room().put_bytes(5, length / 2);
            assert_eq!(claimed.room().remaining_mut(), length - length / 2);
            assert_eq!(claimed.commit().unwrap(), Code::Ok);
            let (token, payload) = until(&engine, |event| match event {
                Event::Messages(run) => run.iter().next().map(|message| (message.token, message.payload.to_vec())),
                _ => None,
            });
            assert_eq!((token, payload), (7, vec![5; length / 2]));
        }
        let full = claim(&engine, QUEUE - 64).unwrap();
        assert_eq!(claim(&engine, 1).err(), Some(Code::Again));
        drop(full);
        until(&engine, |event| matches!(event, Event::Writable).then_some(()));
        claim(&engine, QUEUE - 64).unwrap().abort();
        assert!(claim(&engine, QUEUE - 64).is_ok());
    }

    #[test]
    fn what_cannot_be_claimed_is_an_error_and_so_is_a_commit_without_an_engine() {
        let engine = alone();
        let refused = |to, level, length| code_of(engine.claim(to, level, 0, length, Duration::ZERO));
        assert_eq!(refused(To::Everybody, Level::Unreliable, 1), Some(Code::Unsupported));
        assert_eq!(refused(To::Everybody, Level::Fifo, 1 << 30), Some(Code::TooLarge));
        let nobody = To::Member(crate::types::Incarnation(1));
        assert_eq!(refused(nobody, Level::Fifo, 1), Some(Code::NoSuchMember));
        let (first, second, third) = (claim(&engine, 9), claim(&engine, 40_000), claim(&engine, 9));
        engine.close();
        assert_eq!(code_of(first.unwrap().commit()), Some(Code::Closed));
        drop(engine);
        assert_eq!(code_of(second.unwrap().commit()), Some(Code::Closed));
        third.unwrap().abort();
    }
}
