//! The table of handles: objects are dropped once, when nobody uses them, and no handle names what it was not given for.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::handle::{Kind, SLOT_BITS, Table};
use crate::runtime::explore;

/// An object whose every use loom checks against its drop.
struct Object {
    number: UnsafeCell<usize>,
    drops: Arc<AtomicUsize>,
}

impl Object {
    fn new(number: usize, drops: &Arc<AtomicUsize>) -> Object {
        Object { number: UnsafeCell::new(number), drops: drops.clone() }
    }

    fn number(&self) -> usize {
        // SAFETY: loom reports a use that is not ordered with the drop.
        self.number.with(|number| unsafe { *number })
    }
}

// SAFETY: shared uses only read; the one writer is the drop, and loom checks that it is alone.
unsafe impl Sync for Object {}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: loom reports a use that is not ordered with this.
        self.number.with_mut(|number| unsafe { *number = usize::MAX });
        self.drops.fetch_add(1, Ordering::Relaxed);
    }
}

fn table() -> (Arc<Table<Object>>, Arc<AtomicUsize>) {
    (Arc::new(Table::modelled(Kind::Buffer)), Arc::new(AtomicUsize::new(0)))
}

/// Two use a handle that a third one closes.
pub fn lives_until_its_last_use_ends() {
    explore(3, || {
        let (table, drops) = table();
        let id = table.insert(Object::new(7, &drops)).expect("there is room");
        let users: Vec<_> = (0..2)
            .map(|_| {
                let table = table.clone();
                thread::spawn(move || {
                    if let Ok(using) = table.get(id) {
                        assert_eq!(using.number(), 7);
                    }
                })
            })
            .collect();
        assert!(table.remove(id).is_ok());
        users.into_iter().for_each(|user| user.join().expect("no panic"));
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    });
}

/// Three close one handle.
pub fn closed_once() {
    explore(3, || {
        let (table, drops) = table();
        let id = table.insert(Object::new(7, &drops)).expect("there is room");
        let closers: Vec<_> = (0..2)
            .map(|_| {
                let table = table.clone();
                thread::spawn(move || usize::from(table.remove(id).is_ok()))
            })
            .collect();
        let mine = usize::from(table.remove(id).is_ok());
        let closed: usize = closers.into_iter().map(|closer| closer.join().expect("no panic")).sum::<usize>() + mine;
        assert_eq!((closed, drops.load(Ordering::Relaxed)), (1, 1));
    });
}

/// One closes a handle and makes another one, in the same slot if that is free; two still have the old one.
pub fn old_never_names_new() {
    explore(3, || {
        let (table, drops) = table();
        let old = table.insert(Object::new(7, &drops)).expect("there is room");
        let users: Vec<_> = (0..2)
            .map(|_| {
                let table = table.clone();
                thread::spawn(move || match table.get(old) {
                    Ok(using) => assert_eq!(using.number(), 7),
                    Err(error) => assert_eq!(error.code(), crate::types::Code::BadHandle),
                })
            })
            .collect();
        assert!(table.remove(old).is_ok());
        let new = table.insert(Object::new(8, &drops)).expect("there is room");
        assert_eq!(table.get(new).expect("it is open").number(), 8);
        users.into_iter().for_each(|user| user.join().expect("no panic"));
        assert!(table.remove(new).is_ok());
        assert_eq!(drops.load(Ordering::Relaxed), 2);
    });
}

/// One makes an object while another one guesses its handle, which is not hard: it sees nothing, or all of it.
pub fn a_guess_sees_nothing_or_all() {
    explore(3, || {
        let (table, drops) = table();
        let before = table.insert(Object::new(7, &drops)).expect("there is room");
        assert!(table.remove(before).is_ok());
        let guess = before + (1 << SLOT_BITS);
        let guesser = {
            let table = table.clone();
            thread::spawn(move || {
                if let Ok(using) = table.get(guess) {
                    assert_eq!(using.number(), 8);
                }
            })
        };
        assert_eq!(table.insert(Object::new(8, &drops)).expect("there is room"), guess, "the next life of the slot");
        guesser.join().expect("no panic");
        assert!(table.remove(guess).is_ok());
    });
}

/// Two take slots from the stack of free ones, and one gives some back meanwhile: what it was when one of them looked, it is not
/// any more when that one takes it.
pub fn slots_are_given_to_one_at_a_time() {
    explore(3, || {
        let (table, drops) = table();
        let first = [1, 2].map(|number| table.insert(Object::new(number, &drops)).expect("there is room"));
        first.iter().for_each(|id| assert!(table.remove(*id).is_ok()));
        let other = {
            let (table, drops) = (table.clone(), drops.clone());
            thread::spawn(move || {
                let [given, kept] =
                    [3, 4].map(|number| table.insert(Object::new(number, &drops)).expect("there is room"));
                assert!(table.remove(given).is_ok());
                kept
            })
        };
        let mine = [5, 6].map(|number| table.insert(Object::new(number, &drops)).expect("there is room"));
        let kept = other.join().expect("no panic");
        for (id, number) in [(mine[0], 5), (mine[1], 6), (kept, 4)] {
            assert_eq!(table.get(id).expect("it is open").number(), number);
            assert!(table.remove(id).is_ok());
        }
        assert_eq!(drops.load(Ordering::Relaxed), 6);
    });
}
