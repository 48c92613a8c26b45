//! What a sender hands in with one call.

use std::ops::Range;
use std::time::Duration;

use decurion::api::To;
use decurion::types::{Code, Result};
use decurion::{Engine, Level};

use super::pace::Schedule;
use super::payload::Source;

/// Short messages are handed in so many bytes at a time.
pub const BYTES: usize = 64 * 1_024;

/// Messages that were made together, and wait until they are taken.
#[derive(Debug)]
pub struct Burst {
    /// Length of a message.
    long: usize,
    memory: Vec<u8>,
    waiting: Range<usize>,
}

impl Burst {
    /// Of messages of so many bytes: one, or as many as are handed in at a time.
    pub fn new(long: usize, one: bool) -> Burst {
        let count = if one { 1 } else { (BYTES / long).max(1) };
        Burst { long, memory: vec![0x5a; count * long], waiting: 0..0 }
    }

    /// Length of a message.
    pub fn long(&self) -> usize {
        self.long
    }

    /// Bytes that were made and not yet taken.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether all that was made is taken.
    pub fn is_taken(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Makes the next ones; of a paced sender what is due at once, and no more. Not to be called before all is taken, nor once the source has ended.
    pub fn fill(&mut self, source: &mut Source, schedule: Option<&mut Schedule>) {
        let mut bytes = self.memory.len();
        if let Some(schedule) = schedule {
            let count = schedule.due_together().min(bytes / self.long);
            source.tell(schedule.told_ns());
            schedule.take(count);
            bytes = count * self.long;
        }
        let filled = if bytes == self.long {
            source.fill(&mut self.memory);
            bytes
        } else {
            source.fill_all(&mut self.memory[..bytes])
        };
        self.waiting = 0..filled;
    }

    /// Hands in what waits; `Ok` if all of it was taken.
    #[inline(always)]
    pub fn send(&mut self, engine: &Engine, patience: Duration) -> Result<Code> {
        if self.waiting.len() > self.long {
            return self.send_many(engine, patience);
        }
        let answer = engine.send(To::Everybody, Level::Fifo, 0, &self.memory[self.waiting.clone()], patience);
        if matches!(answer, Ok(Code::Ok)) {
            self.waiting.start = self.waiting.end;
        }
        answer
    }

    fn send_many(&mut self, engine: &Engine, patience: Duration) -> Result<Code> {
        let messages: Vec<&[u8]> = self.memory[self.waiting.clone()].chunks_exact(self.long).collect();
        let (taken, answer) = engine.send_many(To::Everybody, Level::Fifo, 0, &messages, patience);
        self.waiting.start += taken * self.long;
        answer
    }
}
