//! A switch between the Ethernet devices of the hosts: one thread that reads frames and hands them on, as the links allow.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::link::{Conditions, Counts, Link};

/// The longest Ethernet frame of our devices, and room beside.
const FRAME_BYTES: usize = 2_048;
/// What may be under way in all links together: far more than the tests need, and a bound.
const FLYING_BYTES: usize = 64 << 20;
/// Frames of one device before the next has its turn.
const TURN_FRAMES: usize = 64;
/// How soon the thread notices that it shall end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A frame goes over its sender's cable, and from the switch over one link to each host that it is for.
pub struct Links {
    /// By sender, then receiver.
    pub between: Vec<Vec<Link>>,
    /// By sender: what is lost here reaches nobody.
    pub cables: Vec<Link>,
}

/// Dropping it ends the thread.
pub struct Switch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    links: Mutex<Links>,
    over: AtomicBool,
}

/// The address of a host's device: the switch knows from it where the device is.
pub fn mac(host: usize) -> [u8; 6] {
    let [high, low] = (host as u16).to_be_bytes();
    // Locally administered, and no group's.
    [0x02, 0xDC, 0, 0, high, low]
}

/// Where a frame goes, if it comes from this host.
#[derive(Debug, PartialEq)]
pub enum Destination {
    Everybody,
    Host(usize),
    Nobody,
}

pub fn destination(frame: &[u8], hosts: usize) -> Destination {
    match frame {
        // The group bit: broadcast and multicast.
        [first, ..] if frame.len() >= 14 && first & 1 == 1 => Destination::Everybody,
        [0x02, 0xDC, 0, 0, high, low, ..] if frame.len() >= 14 => {
            let host = usize::from(u16::from_be_bytes([*high, *low]));
            if host < hosts { Destination::Host(host) } else { Destination::Nobody }
        }
        _ => Destination::Nobody,
    }
}

/// Whether it is for a multicast group: not for one host, and not for every host.
pub fn is_of_group(frame: &[u8]) -> bool {
    frame.len() >= 14 && frame[0] & 1 == 1 && frame[..6] != [0xFF; 6]
}

impl Switch {
    pub fn start(devices: Vec<File>, seed: u64) -> Switch {
        let hosts = devices.len();
        let link = |from, to| Link::new(Conditions::default(), seed, from, to);
        let between = (0..hosts).map(|from| (0..hosts).map(|to| link(from, to)).collect()).collect();
        // A cable leads to the switch, which is no host.
        let links = Links { between, cables: (0..hosts).map(|from| link(from, hosts)).collect() };
        let shared = Arc::new(Shared { links: Mutex::new(links), over: AtomicBool::new(false) });
        let (shared_too, begun) = (shared.clone(), Instant::now());
        let run = move || {
            // Made here: frames are counted without atomics, and so belong to one thread.
            let flying = BinaryHeap::new();
            Work { devices, shared: shared_too, begun, flying, flying_bytes: 0, flights: 0 }.run();
        };
        let thread = thread::Builder::new().name("switch".to_owned()).spawn(run).expect("a thread");
        Switch { shared, thread: Some(thread) }
    }

    /// All links. The switch stands still as long as they are held.
    pub fn links(&self) -> MutexGuard<'_, Links> {
        self.shared.links()
    }

    /// What the links to hosts did, together.
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.links().between.iter().flatten().for_each(|link| sum.add(&link.counts));
        sum
    }

    /// What the cables of senders did, together.
    pub fn cable_counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.links().cables.iter().for_each(|link| sum.add(&link.counts));
        sum
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn links(&self) -> MutexGuard<'_, Links> {
        // A test that failed while it held them must not make the switch fail as well.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Work {
    devices: Vec<File>,
    shared: Arc<Shared>,
    begun: Instant,
    /// By time of arrival, then in the order of their coming.
    flying: BinaryHeap<Reverse<Flight>>,
    flying_bytes: usize,
    flights: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    arrival_us: u64,
    number: u64,
    to: usize,
    frame: Rc<[u8]>,
}

impl Work {
    fn run(&mut self) {
        let mut polled: Vec<libc::pollfd> = self
            .devices
            .iter()
            .map(|device| libc::pollfd { fd: device.as_raw_fd(), events: libc::POLLIN, revents: 0 })
            .collect();
        while !self.shared.over.load(Ordering::Relaxed) {
            self.deliver();
            let next = self.flying.peek().map(|Reverse(flight)| flight.arrival_us.saturating_sub(self.now_us()));
            let wait = next.map_or(LOOK_EVERY, Duration::from_micros).min(LOOK_EVERY);
            if wait_for(&mut polled, wait).is_err() {
                continue;
            }
            for (from, device) in polled.iter().enumerate() {
                if device.revents != 0 {
                    self.take(from);
                }
            }
        }
    }

    fn now_us(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    fn take(&mut self, from: usize) {
        let mut buffer = [0; FRAME_BYTES];
        for _ in 0..TURN_FRAMES {
            let Ok(count) = self.devices[from].read(&mut buffer) else { return };
            self.send(from, &buffer[..count]);
        }
    }

    fn send(&mut self, from: usize, frame: &[u8]) {
        let hosts = self.devices.len();
        let to = match destination(frame, hosts) {
            Destination::Everybody => 0..hosts,
            Destination::Host(host) => host..host + 1,
            Destination::Nobody => return,
        };
        let (now_us, of_group, frame) = (self.now_us(), is_of_group(frame), Rc::<[u8]>::from(frame));
        let shared = self.shared.clone();
        let mut links = shared.links();
        for at_switch_us in links.cables[from].carry_frame(now_us, frame.len(), of_group) {
            for to in to.clone().filter(|to| *to != from) {
                let link = &mut links.between[from][to];
                for arrival_us in link.carry_frame(at_switch_us, frame.len(), of_group) {
                    let taken = self.fly(Flight { arrival_us, number: self.flights, to, frame: frame.clone() });
                    link.counts.overflowed += u64::from(!taken);
                }
            }
        }
        drop(links);
        self.deliver();
    }

    /// Takes a frame on its way, if there is room.
    fn fly(&mut self, flight: Flight) -> bool {
        let fits = self.flying_bytes + flight.frame.len() <= FLYING_BYTES;
        if fits {
            self.flying_bytes += flight.frame.len();
            self.flights += 1;
            self.flying.push(Reverse(flight));
        }
        fits
    }

    fn deliver(&mut self) {
        while let Some(Reverse(flight)) = self.flying.peek() {
            if flight.arrival_us > self.now_us() {
                return;
            }
            let Reverse(flight) = self.flying.pop().expect("it was there");
            self.flying_bytes -= flight.frame.len();
            // A device that takes no frame now loses it, as a real one does.
            let _ = self.devices[flight.to].write(&flight.frame);
        }
    }
}

fn wait_for(polled: &mut [libc::pollfd], wait: Duration) -> io::Result<()> {
    let wait = libc::timespec { tv_sec: wait.as_secs() as _, tv_nsec: wait.subsec_nanos() as _ };
    // SAFETY: the array and the time outlive the call; no mask of signals is given.
    let ready = unsafe { libc::ppoll(polled.as_mut_ptr(), polled.len() as _, &wait, std::ptr::null()) };
    if ready < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
