//! Offering messages: the host's memory is fetched before the lock is taken, and a message is copied once, to where it leaves from.

use std::cell::RefCell;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};

use super::shared::Shared;
use crate::core::{PACKED_BYTES, PENDING_OVERHEAD, Payload, Space, To};
use crate::types::{Code, limits};
use crate::wire::batch::Level;

/// Where a message lies that is offered.
#[derive(Debug)]
pub enum Source<'a> {
    /// In one place of the host's memory.
    Slice(&'a [u8]),
    /// In several ones.
    Parts(&'a [IoSlice<'a>]),
    /// In memory that is handed over.
    Shared(Bytes),
}

impl Source<'_> {
    /// How long it is. Whatever parts claim, a sum does not wrap around into a legal length.
    pub fn length(&self) -> usize {
        match self {
            Source::Slice(bytes) => bytes.len(),
            Source::Parts(parts) => parts.iter().fold(0, |sum: usize, part| sum.saturating_add(part.len())),
            Source::Shared(bytes) => bytes.len(),
        }
    }

    fn copy_to(&self, mut append: impl FnMut(&[u8])) {
        match self {
            Source::Slice(bytes) => append(bytes),
            Source::Parts(parts) => parts.iter().for_each(|part| append(part)),
            Source::Shared(bytes) => append(bytes),
        }
    }

    fn to_bytes(&self) -> Bytes {
        if let Source::Shared(bytes) = self {
            return bytes.clone();
        }
        let mut whole = BytesMut::with_capacity(self.length());
        self.copy_to(|part| whole.extend_from_slice(part));
        whole.freeze()
    }
}

thread_local! {
    /// Where the parts of a short message are joined.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What is offered under one lock, as it counts in the outbox: others want that lock too.
const LOT_BYTES: usize = 2 * limits::BATCH_BYTES;

/// The least that a system fetches at once.
const PAGE_BYTES: usize = 4096;

/// Reads a byte of each page of a message: the host's memory may have to be fetched from a disk, and nobody may wait for that behind the
/// lock.
#[inline]
fn fetch(bytes: &[u8]) {
    let firsts = bytes.iter().step_by(PAGE_BYTES);
    firsts.chain(bytes.last()).for_each(|byte| {
        std::hint::black_box(*byte);
    });
}

impl Shared {
    /// Offers a message; waits for `patience` (zero: not at all) while the answer is `Again`.
    pub fn send(&self, to: To, level: Level, token: u64, source: &Source<'_>, patience: Duration) -> Code {
        let whole: &[u8] = match source {
            _ if source.length() > PACKED_BYTES => return self.send_long(to, level, token, source, patience),
            Source::Slice(bytes) => bytes,
            Source::Shared(bytes) => bytes,
            Source::Parts(_) => return self.send_joined(to, level, token, source, patience),
        };
        fetch(whole);
        match self.offer(to, level, token, Payload::Borrowed(whole)) {
            Code::Again if !patience.is_zero() => self.offer_again(to, level, token, whole, patience),
            code => code,
        }
    }

    /// Out of the way of those that are taken at once.
    #[cold]
    fn offer_again(&self, to: To, level: Level, token: u64, whole: &[u8], patience: Duration) -> Code {
        self.insist(patience, || self.offer(to, level, token, Payload::Borrowed(whole)))
    }

    /// Offers one message after the other, many under one lock; waits for `patience` in all while the answer is `Again`. Tells how many
    /// were accepted, and what the one behind them was answered with.
    pub fn send_many(&self, to: To, level: Level, token: u64, messages: &[&[u8]], patience: Duration) -> (usize, Code) {
        let mut accepted = 0;
        let code = self.insist(patience, || {
            while let Some(next) = messages.get(accepted) {
                let (count, code) = match lot(&messages[accepted..]) {
                    [] => match self.send_long(to, level, token, &Source::Slice(next), Duration::ZERO) {
                        Code::Ok => (1, Code::Ok),
                        code => (0, code),
                    },
                    lot => self.offer_lot(to, level, token, lot),
                };
                accepted += count;
                if code != Code::Ok {
                    return code;
                }
            }
            Code::Ok
        });
        (accepted, code)
    }

    /// As [`Shared::offer`], with one message after the other until one is not taken.
    fn offer_lot(&self, to: To, level: Level, token: u64, lot: &[&[u8]]) -> (usize, Code) {
        lot.iter().for_each(|message| fetch(message));
        let mut outbox = self.outbox();
        let idle = outbox.is_idle(to, level);
        let mut answers =
            lot.iter().map(|message| outbox.push(to, level, token, Payload::Borrowed(message))).enumerate();
        let refused = answers.find(|(_, code)| *code != Code::Ok);
        let (accepted, code) = refused.unwrap_or((lot.len(), Code::Ok));
        drop(outbox);
        if accepted > 0 && idle {
            self.bell.ring();
        }
        (accepted, code)
    }

    /// The parts are joined outside of the lock.
    fn send_joined(&self, to: To, level: Level, token: u64, source: &Source<'_>, patience: Duration) -> Code {
        let sent = SCRATCH.try_with(|scratch| {
            let mut scratch = scratch.try_borrow_mut().ok()?;
            scratch.clear();
            source.copy_to(|part| scratch.extend_from_slice(part));
            Some(self.insist(patience, || self.offer(to, level, token, Payload::Borrowed(&scratch))))
        });
        // A thread that is ending has no scratch memory any more.
        sent.ok().flatten().unwrap_or_else(|| self.send_long(to, level, token, source, patience))
    }

    /// Room is claimed, and written outside of the lock: what is no longer than a batch is copied here and nowhere else.
    fn send_long(&self, to: To, level: Level, token: u64, source: &Source<'_>, patience: Duration) -> Code {
        if level == Level::Unreliable || matches!(source, Source::Shared(_)) {
            return self.send_whole(to, level, token, source, patience);
        }
        let mut space = match self.claim(to, level, token, source.length(), patience) {
            Ok(space) => space,
            Err(code) => return code,
        };
        source.copy_to(|part| space.room().put_slice(part));
        self.commit(space).map_or_else(|code| code, |()| Code::Ok)
    }

    /// The payload is made once, and only if there is room for it.
    fn send_whole(&self, to: To, level: Level, token: u64, source: &Source<'_>, patience: Duration) -> Code {
        let mut made: Option<Bytes> = None;
        self.insist(patience, || {
            if made.is_none() {
                let answer = self.outbox().answer(to, level, source.length());
                if answer != Code::Ok {
                    return answer;
                }
            }
            self.offer(to, level, token, Payload::Owned(made.get_or_insert_with(|| source.to_bytes()).clone()))
        })
    }

    /// Whoever offers the first message of a stream wakes the engine. With one that waits already it is awake, or will be woken by what that
    /// one waits for: a link that drains, or room in the window.
    #[inline(always)]
    fn offer(&self, to: To, level: Level, token: u64, payload: Payload<'_>) -> Code {
        let mut outbox = self.outbox();
        let idle = outbox.is_idle(to, level);
        let code = outbox.push(to, level, token, payload);
        drop(outbox);
        if code == Code::Ok && idle {
            self.bell.ring();
        }
        code
    }

    /// Reserves room for a message and gives memory to write it into; waits for `patience` while the answer is `Again`.
    ///
    /// # Errors
    /// The answer, other than `Ok`. Nothing is reserved.
    pub fn claim(&self, to: To, level: Level, token: u64, length: usize, patience: Duration) -> Result<Space, Code> {
        let mut claimed = None;
        let code = self.insist(patience, || match self.outbox().claim(to, level, token, length) {
            Ok(space) => {
                claimed = Some(space);
                Code::Ok
            }
            Err(code) => code,
        });
        claimed.ok_or(code)
    }

    /// Makes a message of what was written. Who commits the first message of a stream wakes the engine, as with [`Shared::send`].
    ///
    /// # Errors
    /// What a send would be answered with now. Nothing was taken, and the claim has ended.
    pub fn commit(&self, space: Space) -> Result<(), Code> {
        let mut outbox = self.outbox();
        let idle = outbox.is_idle(space.to(), space.level());
        let refused = outbox.commit(space);
        drop(outbox);
        match refused {
            Ok(()) if idle => self.bell.ring(),
            Ok(()) => {}
            Err((code, space)) => {
                self.abort(space);
                return Err(code);
            }
        }
        Ok(())
    }

    /// Gives back what was claimed. Whoever waits for that room is told by the engine.
    pub fn abort(&self, space: Space) {
        let due = self.outbox().abort(&space);
        if due {
            self.bell.ring();
        }
    }

    /// Tries again whenever there is room, for so long.
    #[inline]
    fn insist(&self, patience: Duration, mut attempt: impl FnMut() -> Code) -> Code {
        let first = attempt();
        if first != Code::Again || patience.is_zero() {
            return first;
        }
        let deadline = deadline_after(patience);
        loop {
            // Read before the attempt, so that room made right after it is not missed.
            let seen = self.writable_seen();
            let code = attempt();
            if code != Code::Again || !self.wait_writable(seen, deadline) {
                return code;
            }
        }
    }
}

/// The first ones that are short, as many as make a lot.
fn lot<'a>(messages: &'a [&'a [u8]]) -> &'a [&'a [u8]] {
    let mut bytes = 0;
    let fits = |message: &&&[u8]| {
        bytes += message.len() + PENDING_OVERHEAD;
        message.len() <= PACKED_BYTES && bytes <= LOT_BYTES
    };
    let count = messages.iter().take_while(fits).count();
    &messages[..count]
}

/// When a timeout is over. One so long that no clock can show its end is as good as a century.
pub fn deadline_after(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + Duration::from_secs(100 * 365 * 24 * 3_600))
}
