//! The clock and the source of randomness: what the core is handed and never reads itself.

use crate::types::Time;

/// Now, on the monotonic clock that goes on while the machine sleeps.
pub fn now() -> Time {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec, which the call fills in; CLOCK_BOOTTIME exists on every Linux
    // since 2.6.39, so it cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut t) };
    Time(t.tv_sec as u64 * 1_000_000 + t.tv_nsec as u64 / 1_000)
}

/// 128 random bits from the system.
pub fn random_bits() -> u128 {
    let mut bits = [0u8; 16];
    let mut filled = 0;
    while filled < bits.len() {
        // SAFETY: the pointer and the length name the unfilled rest of `bits`.
        let n = unsafe { libc::getrandom(bits[filled..].as_mut_ptr().cast(), bits.len() - filled, 0) };
        if n > 0 {
            filled += n as usize;
        } else if std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted {
            // A kernel without getrandom, or a filter that forbids it: the standard library's own seed is random too.
            use std::hash::{BuildHasher, RandomState};
            let halves = [RandomState::new().hash_one(now().0), RandomState::new().hash_one(std::process::id())];
            return u128::from(halves[0]) << 64 | u128::from(halves[1]);
        }
    }
    u128::from_le_bytes(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_never_goes_back() {
        let mut last = now();
        for _ in 0..10_000 {
            let next = now();
            assert!(next >= last);
            last = next;
        }
        assert!(last > Time::ZERO);
    }

    #[test]
    fn two_draws_differ() {
        assert_ne!(random_bits(), random_bits());
    }
}
