//! What a simulated application sends: how often, to whom, at which level, and how much at once.

use super::payload::Token;
use super::random::{Random, fold};
use crate::wire::batch::Level;

/// How much of what goes to everybody has its place in one order of all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Levels {
    /// Messages of a thousand that are agreed.
    pub agreed: u32,
    /// Messages of a thousand that are safe.
    pub safe: u32,
    /// Sends of a thousand, to everybody and to one, that go outside of all streams.
    pub unreliable: u32,
}

impl Levels {
    /// The level of a message: it follows from its token, so that it costs no chance.
    pub(crate) fn of(self, token: Token) -> Level {
        let drawn = (fold(0x1e_7e15, token.pack()) % 1_000) as u32;
        match drawn {
            _ if drawn < self.agreed => Level::Agreed,
            _ if drawn < self.agreed + self.safe => Level::Safe,
            _ => Level::Fifo,
        }
    }
}

/// The load that one host puts on its member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// Mean time between two sends, in microseconds.
    pub every_us: u64,
    /// Sends of a thousand that are a burst.
    pub burst: u32,
    /// Messages in a burst.
    pub burst_messages: u32,
    /// Messages of a thousand that go to one member.
    pub direct: u32,
    /// Messages of a thousand that are longer than a batch and travel in fragments.
    pub large: u32,
    /// Longest of those, in bytes.
    pub large_bytes: usize,
}

impl Load {
    /// Twenty small messages a second, now and then to one member, seldom a large one.
    pub const STEADY: Load =
        Load { every_us: 50_000, burst: 10, burst_messages: 40, direct: 100, large: 2, large_bytes: 150_000 };

    /// How long until the next send.
    pub(crate) fn pause(&self, random: &mut Random) -> u64 {
        1 + random.below(self.every_us * 2)
    }

    /// How many messages it sends at once.
    pub(crate) fn count(&self, random: &mut Random) -> u32 {
        if random.chance(self.burst) { self.burst_messages } else { 1 }
    }

    /// How long the next message is.
    pub(crate) fn len(&self, random: &mut Random) -> usize {
        if random.chance(self.large) {
            return random.between(60_000, self.large_bytes.max(60_000) as u64) as usize;
        }
        let longest = *random.pick(&[8, 64, 64, 64, 300, 2_000]);
        random.below(longest) as usize
    }
}
