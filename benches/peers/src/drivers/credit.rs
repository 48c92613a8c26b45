//! A window between the sender and the receivers of a peer that would else drop, or keep without bound, what is sent too fast: a
//! page that all processes share, with a count for each receiver. It takes no message and no call of the system.

use std::fs::OpenOptions;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use memmap2::MmapRaw;

/// Most receivers; each has a cache line of its own.
const SLOTS: usize = 64;
const SLOT_BYTES: usize = 64;
/// How large the page is.
pub const PAGE_BYTES: u64 = (SLOTS * SLOT_BYTES) as u64;
/// How long the sender rests when the window is full.
const REST: Duration = Duration::from_micros(50);

/// The page.
#[derive(Debug)]
struct Page(MmapRaw);

impl Page {
    fn open(path: &str) -> io::Result<Page> {
        let page = MmapRaw::map_raw(&OpenOptions::new().read(true).write(true).open(path)?)?;
        if page.len() < SLOTS * SLOT_BYTES { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Page(page)) }
    }

    fn slot(&self, number: usize) -> &AtomicU64 {
        assert!(number < SLOTS, "there are {SLOTS} slots");
        // SAFETY: the place lies within the mapping, which lives as long as the page, and is aligned to a cache line; all
        // processes touch it by atomic operations only.
        unsafe { AtomicU64::from_ptr(self.0.as_mut_ptr().add(number * SLOT_BYTES).cast()) }
    }
}

/// The sender's side.
#[derive(Debug)]
pub struct Window {
    page: Page,
    receivers: Vec<usize>,
    sent: u64,
    /// What all receivers had when it was last looked at.
    seen: u64,
}

impl Window {
    /// Of receivers with these numbers.
    pub fn open(path: &str, receivers: impl Iterator<Item = usize>) -> io::Result<Window> {
        Ok(Window { page: Page::open(path)?, receivers: receivers.collect(), sent: 0, seen: 0 })
    }

    /// Counts one more message. Answers whether fewer than `size` are then under way.
    pub fn take(&mut self, size: u64) -> bool {
        self.sent += 1;
        if self.sent - self.seen >= size {
            self.look();
        }
        self.sent - self.seen < size
    }

    /// Waits until fewer than `size` are under way.
    pub fn wait(&mut self, size: u64) {
        while self.sent - self.seen >= size {
            thread::sleep(REST);
            self.look();
        }
    }

    fn look(&mut self) {
        let counts = self.receivers.iter().map(|number| self.page.slot(*number).load(Ordering::Acquire));
        self.seen = counts.min().unwrap_or(self.sent);
    }
}

/// A receiver's side.
#[derive(Debug)]
pub struct Slot {
    page: Option<Page>,
    number: usize,
}

impl Slot {
    /// The place of the receiver with this number; without a path, none.
    pub fn open(path: Option<&str>, number: usize) -> io::Result<Slot> {
        Ok(Slot { page: path.map(Page::open).transpose()?, number })
    }

    /// Tells how many messages it has had.
    pub fn tell(&self, count: u64) {
        if let Some(page) = &self.page {
            page.slot(self.number).store(count, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_receiver_holds_the_sender() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(PAGE_BYTES).expect("its length");
        let path = file.path().to_str().expect("a path");
        let mut window = Window::open(path, [1, 2].into_iter()).expect("it is there");
        let slots = [1, 2].map(|number| Slot::open(Some(path), number).expect("it is there"));
        assert!(window.take(3) && window.take(3));
        assert!(!window.take(3), "three are under way");
        slots[0].tell(3);
        window.look();
        assert_eq!(window.seen, 0, "one has none");
        slots[1].tell(2);
        window.wait(3);
        assert_eq!((window.sent, window.seen), (3, 2));
        assert!(window.take(3) && !window.take(3));
    }
}
