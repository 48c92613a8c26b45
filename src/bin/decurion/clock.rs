//! The clocks of the system that the command measures by.

/// Nanoseconds on the clock that all processes of a machine share.
pub fn monotonic_ns() -> u64 {
    nanoseconds(libc::CLOCK_MONOTONIC)
}

/// The same in microseconds.
pub fn monotonic_us() -> u64 {
    monotonic_ns() / 1_000
}

/// Nanoseconds that this thread has been on a processor.
pub fn thread_ns() -> u64 {
    nanoseconds(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn nanoseconds(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of our own, which the call fills in.
    let answer = unsafe { libc::clock_gettime(clock, &raw mut now) };
    assert_eq!(answer, 0, "these clocks can always be read");
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
