//! Monotonic time as the core sees it: an argument, never a clock that it reads.

use std::fmt;
use std::ops::{Add, Sub};

/// A length of time in microseconds.
pub type Micros = u64;

/// Converts milliseconds to [`Micros`].
pub const fn millis(ms: u64) -> Micros {
    ms * 1_000
}

/// A moment on a member's own monotonic clock, in microseconds from an arbitrary start.
///
/// The clock counts time in which the machine was suspended (`CLOCK_BOOTTIME`), so that a pause is
/// seen as a pause. Moments of two members are never compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// The earliest moment: before everything.
    pub const ZERO: Time = Time(0);
    /// A moment that never comes.
    pub const NEVER: Time = Time(u64::MAX);

    /// How long `earlier` lies back; zero if it lies ahead.
    pub fn since(self, earlier: Time) -> Micros {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Micros> for Time {
    type Output = Time;
    fn add(self, rhs: Micros) -> Time {
        Time(self.0.saturating_add(rhs))
    }
}

impl Sub<Micros> for Time {
    type Output = Time;
    fn sub(self, rhs: Micros) -> Time {
        Time(self.0.saturating_sub(rhs))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}
