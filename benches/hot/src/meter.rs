//! Where a piece says what of it is measured.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Part of the name of the function whose instructions are counted. Callgrind turns collecting on where it is entered and off where it is left.
pub const COUNTED: &str = "counted_from_here";

/// Measures parts of a round.
#[derive(Debug)]
pub struct Meter {
    how: How,
    /// Time spent inside.
    pub elapsed: Duration,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum How {
    Resting,
    Counting,
    Timing,
}

impl Meter {
    /// Measures nothing.
    pub const fn resting() -> Meter {
        Meter { how: How::Resting, elapsed: Duration::ZERO }
    }

    /// For a run under valgrind: the clock is not looked at.
    pub const fn counting() -> Meter {
        Meter { how: How::Counting, elapsed: Duration::ZERO }
    }

    /// Adds up time.
    pub const fn timing() -> Meter {
        Meter { how: How::Timing, elapsed: Duration::ZERO }
    }

    /// Does what is measured. Never within itself: it would turn the counting off.
    #[inline]
    pub fn inside<T>(&mut self, work: impl FnOnce() -> T) -> T {
        match self.how {
            How::Resting => work(),
            How::Counting => counted_from_here(work),
            How::Timing => {
                let began = Instant::now();
                let result = work();
                self.elapsed += began.elapsed();
                result
            }
        }
    }
}

impl decurion::sim::scale::Meter for Meter {
    #[inline]
    fn inside<T>(&mut self, work: impl FnOnce() -> T) -> T {
        Meter::inside(self, work)
    }
}

/// A function of its own, so that it has a name when the program is run.
#[inline(never)]
fn counted_from_here<T>(work: impl FnOnce() -> T) -> T {
    // Not the last thing that is done here, or a jump would take the place of the call and of the return.
    black_box(work())
}
