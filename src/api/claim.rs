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
