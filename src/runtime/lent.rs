//! Memory that a host has lent: its owner is dropped, which may call the host, when nobody refers to it any more and no lock of the library
//! is held.
//!
//! The last reference may go anywhere: in the middle of a turn, under the lock of the outbox, with events that are thrown away. So a thread
//! that is inside the library keeps such owners until it is about to leave it.

use std::cell::{Cell, RefCell};
use std::fmt;

use bytes::Bytes;

/// Somebody who owns lent bytes.
pub trait Owner: AsRef<[u8]> + Send + 'static {}

impl<T: AsRef<[u8]> + Send + 'static> Owner for T {}

thread_local! {
    /// How many calls into the library this thread is in, one inside the other, and whether an owner waits for the end of the outermost one.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static WAITS: Cell<bool> = const { Cell::new(false) };
    /// Whether it is dropping those that waited.
    static DROPS: Cell<bool> = const { Cell::new(false) };
    static WAITING: RefCell<Vec<Box<dyn Owner>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes of somebody else's memory, which is his again when all slices of them are dropped.
pub fn lend(owner: impl Owner) -> Bytes {
    Bytes::from_owner(Lent(Some(Box::new(owner))))
}

/// Does something inside the library; owners whose bytes nobody refers to any more are dropped at the end of the outermost one. The work does
/// not unwind.
#[inline]
pub fn inside<T>(work: impl FnOnce() -> T) -> T {
    let outermost = DEPTH.replace(DEPTH.get() + 1) == 0;
    let answer = work();
    DEPTH.set(DEPTH.get().saturating_sub(1));
    if outermost && WAITS.get() {
        drop_waiting();
    }
    answer
}

/// Whether this thread is inside the library.
pub fn is_inside() -> bool {
    DEPTH.get() > 0
}

/// One by one: the host may call the library meanwhile, and so add to them. Such a call leaves them to the loop that it comes from:
/// however many there are, they do not fill the stack.
#[cold]
fn drop_waiting() {
    if DROPS.replace(true) {
        return;
    }
    let _over = Over;
    while let Ok(Some(owner)) = WAITING.try_with(|waiting| waiting.borrow_mut().pop()) {
        drop(owner);
    }
    WAITS.set(false);
}

/// Ends the loop of [`drop_waiting`], also where an owner panics.
struct Over;

impl Drop for Over {
    fn drop(&mut self) {
        DROPS.set(false);
    }
}

/// In a forked child, on its only thread: it may have been forked inside a callback, which does not return there. What waits is its parent's.
pub fn start_anew() {
    DEPTH.set(0);
    DROPS.set(false);
    if WAITS.replace(false) {
        let _ = WAITING.try_with(|waiting| std::mem::forget(waiting.take()));
    }
}

struct Lent(Option<Box<dyn Owner>>);

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lent")
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |owner| (**owner).as_ref())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut owner = self.0.take();
        if !is_inside() {
            return drop(owner);
        }
        // A thread that is ending keeps nothing for later.
        if WAITING.try_with(|waiting| waiting.borrow_mut().extend(owner.take())).is_ok() {
            WAITS.set(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Mine(Arc<AtomicUsize>, Vec<u8>);

    impl AsRef<[u8]> for Mine {
        fn as_ref(&self) -> &[u8] {
            &self.1
        }
    }

    impl Drop for Mine {
        fn drop(&mut self) {
            assert_eq!(DEPTH.get(), 0, "nothing of the library is under way");
            // Dropping one may end another one.
            inside(|| self.0.fetch_add(1, Ordering::SeqCst));
        }
    }

    /// Calls the library while it is dropped, and notes how many are being dropped at once at most.
    struct Caller(Arc<AtomicUsize>, Arc<AtomicUsize>);

    impl AsRef<[u8]> for Caller {
        fn as_ref(&self) -> &[u8] {
            &[7]
        }
    }

    impl Drop for Caller {
        fn drop(&mut self) {
            let at_once = self.0.fetch_add(1, Ordering::SeqCst) + 1;
            self.1.fetch_max(at_once, Ordering::SeqCst);
            inside(|| ());
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    struct Panics;

    impl AsRef<[u8]> for Panics {
        fn as_ref(&self) -> &[u8] {
            &[7]
        }
    }

    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("planted");
        }
    }

    fn lent(dropped: &Arc<AtomicUsize>) -> Bytes {
        lend(Mine(dropped.clone(), vec![7; 100]))
    }

    #[test]
    fn an_owner_is_dropped_at_the_end_of_the_outermost_call_and_at_once_outside_of_all() {
        let dropped = Arc::new(AtomicUsize::new(0));
        let count = || dropped.load(Ordering::SeqCst);
        let (first, second) = (lent(&dropped), lent(&dropped));
        assert_eq!((&first[..], first.as_ptr()), (&[7; 100][..], first.slice(..1).as_ptr()));
        inside(|| {
            inside(|| drop(first));
            drop(second);
            assert_eq!(count(), 0, "inside");
        });
        assert_eq!(count(), 2);
        let third = lent(&dropped);
        let part = third.slice(10..20);
        drop(third);
        assert_eq!(count(), 2, "a part is left");
        drop(part);
        assert_eq!(count(), 3);
    }

    #[test]
    fn a_thread_that_ends_leaves_nothing_behind() {
        let dropped = Arc::new(AtomicUsize::new(0));
        let last = lent(&dropped);
        std::thread::spawn(move || inside(|| drop(last))).join().unwrap();
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn an_owner_that_calls_the_library_is_dropped_before_the_next_one() {
        let (under_way, at_once) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let all: Vec<Bytes> = (0..100).map(|_| lend(Caller(under_way.clone(), at_once.clone()))).collect();
        inside(|| drop(all));
        assert_eq!(at_once.load(Ordering::SeqCst), 1, "one by one");
        assert_eq!(Arc::strong_count(&at_once), 1, "all of them");
    }

    #[test]
    fn an_owner_that_panics_keeps_nobody_from_being_dropped_later() {
        let broken = lend(Panics);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| inside(|| drop(broken)))).is_err());
        let dropped = Arc::new(AtomicUsize::new(0));
        let sound = lent(&dropped);
        inside(|| drop(sound));
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    }
}
