//! What a member process of the bench and a raw one have in common: how they hear and speak, and what they have used.

use std::io::{BufRead, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

use super::protocol::{Mark, Order, Said};
use super::{allocations, protocol};
use crate::output::{Exit, Failure};

/// Reads what the process was told when it was started.
pub fn spec(text: &str) -> Result<protocol::Spec, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::new(Exit::Usage, format!("not from the bench: {error}")))
}

/// Says something to the bench.
pub fn say(said: &Said) {
    let line = serde_json::to_string(said).expect("plain data");
    let mut stdout = std::io::stdout().lock();
    // When the bench has gone, so does this process: the end of stdin says so.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Says that something went wrong.
pub fn trouble(text: impl Into<String>) {
    say(&Said::Trouble { text: text.into() });
}

/// Obeys each order on the calling thread. The end of stdin means that the bench is gone: so must this process be.
pub fn obey_all(mut obey: impl FnMut(Order)) -> ! {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match serde_json::from_str(&line) {
            Ok(order) => obey(order),
            Err(error) => trouble(format!("an order that is none: {error}")),
        }
    }
    std::process::exit(Exit::Broken as i32)
}

/// Orders for a process with one thread: read when stdin is readable.
#[derive(Debug)]
pub struct Orders {
    stdin: std::io::Stdin,
    bytes: Vec<u8>,
}

impl Orders {
    /// Reads from stdin, and no longer waits for it.
    pub fn new() -> std::io::Result<Orders> {
        let stdin = std::io::stdin();
        // SAFETY: the descriptor is open, and the calls take no pointer. Nobody else has this end of the pipe.
        let set = unsafe {
            let flags = libc::fcntl(stdin.as_raw_fd(), libc::F_GETFL);
            libc::fcntl(stdin.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK)
        };
        if set < 0 { Err(std::io::Error::last_os_error()) } else { Ok(Orders { stdin, bytes: Vec::new() }) }
    }

    /// The descriptor to watch.
    pub fn fd(&self) -> i32 {
        self.stdin.as_raw_fd()
    }

    /// Waits for the first order.
    pub fn next(&mut self) -> Vec<Order> {
        loop {
            let orders = self.take();
            if !orders.is_empty() {
                return orders;
            }
            wait([self.fd()], None);
        }
    }

    /// The orders that have come. At the end of stdin the process ends.
    pub fn take(&mut self) -> Vec<Order> {
        let mut block = [0; 16 * 1_024];
        loop {
            match self.stdin.lock().read(&mut block) {
                Ok(0) => std::process::exit(Exit::Broken as i32),
                Ok(read) => self.bytes.extend_from_slice(&block[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let end = self.bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.bytes.drain(..end).collect();
        let orders = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        orders
            .filter_map(|line| serde_json::from_slice(line).map_err(|e| trouble(format!("no order: {e}"))).ok())
            .collect()
    }
}

/// Waits until one of the descriptors is readable, at most so many nanoseconds (`None`: as long as it takes); says whether the last
/// one is.
pub fn wait<const COUNT: usize>(fds: [i32; COUNT], ns: Option<u64>) -> bool {
    let mut polled = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    let time =
        ns.map(|ns| libc::timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: as many live entries as are said; the time is null or a live timespec.
    let found = unsafe { libc::ppoll(polled.as_mut_ptr(), COUNT as libc::nfds_t, time, std::ptr::null()) };
    found > 0 && polled.last().is_some_and(|last| last.revents != 0)
}

/// What this process has used so far.
pub fn mark(system_calls: u64, copied_bytes: u64) -> Mark {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a live rusage, which the call fills in.
    let failed = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    assert_eq!(failed, 0, "a process can always be asked about itself");
    // SAFETY: filled in, and all zero before.
    let usage = unsafe { usage.assume_init() };
    let us = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    let cpu_us = us(usage.ru_utime) + us(usage.ru_stime);
    Mark { cpu_us, system_calls, copied_bytes, allocations: allocations::count() }
}
