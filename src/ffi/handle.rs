//! Handles: 64-bit ids that are checked without a lock, so that a stale, foreign or closed one is an error and not a crash.
//!
//! An id is `slot | generation | kind | tag`. A slot's generation moves on whenever its value is dropped and never comes
//! back (an exhausted slot is retired), so an id names one object for the life of the process. The tag differs between
//! loaded copies of the library. Using an object counts it as busy: closing hides it at once, and whoever uses it
//! last drops it. Slots live in segments that are never moved or freed, which is what makes the check safe without a lock.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ptr;

use crate::runtime::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use crate::runtime::fork;
use crate::types::{Code, Error, Result};

pub(super) const SLOT_BITS: u32 = 22;
const GENERATION_BITS: u32 = 28;
const KIND_BITS: u32 = 3;
const TAG_BITS: u32 = 64 - SLOT_BITS - GENERATION_BITS - KIND_BITS;

const FIRST_SEGMENT: u32 = if cfg!(loom) { 2 } else { 64 };
const SEGMENTS: usize = (SLOT_BITS - FIRST_SEGMENT.trailing_zeros()) as usize;
/// How many objects of one kind a table can hold, retired slots included.
const CAPACITY: u32 = FIRST_SEGMENT * ((1 << SEGMENTS) - 1);
const NONE: u32 = u32::MAX;
/// The engine's thread does not exist in a forked child, and locks may be held there by threads that are gone.
const FORKED: &str = "this process was forked from the one that made the handle: make a new one here, or exec first";

/// What an id stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub(super) enum Kind {
    Config = 1,
    Engine = 2,
    View = 3,
    Buffer = 4,
    Claim = 5,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Config => "a configuration",
            Kind::Engine => "an engine",
            Kind::View => "a view",
            Kind::Buffer => "a buffer",
            Kind::Claim => "a claim",
        }
    }
}

/// All living objects of one kind.
pub(super) struct Table<T> {
    kind: Kind,
    /// How many slots were ever handed out.
    used: AtomicU32,
    /// Top of the stack of free slots (low half) and a count of changes (high half) against reuse between two looks.
    free: AtomicU64,
    segments: [AtomicPtr<Slot<T>>; SEGMENTS],
}

struct Slot<T> {
    /// `generation << 32 | OPEN | users`.
    state: AtomicU64,
    next_free: AtomicU32,
    /// In which process (counted by forks) the value was made.
    process: AtomicU32,
    value: UnsafeCell<MaybeUninit<T>>,
}

const OPEN: u64 = 1 << 31;
const USERS: u64 = OPEN - 1;

// SAFETY: a slot's value is reached through `Use` only, which hands out shared references while the slot counts a
// user; it is written and dropped by exactly one thread, when the slot is neither open nor used.
unsafe impl<T: Send + Sync> Sync for Table<T> {}

/// A counted use of an object: it stays alive until this is dropped, even if it is closed meanwhile.
pub(super) struct Use<'a, T> {
    table: &'a Table<T>,
    slot: &'a Slot<T>,
    index: u32,
}

impl<T> Table<T> {
    #[cfg(not(loom))]
    pub(super) const fn new(kind: Kind) -> Table<T> {
        Table {
            kind,
            used: AtomicU32::new(0),
            free: AtomicU64::new(NONE as u64),
            segments: [const { AtomicPtr::new(ptr::null_mut()) }; SEGMENTS],
        }
    }

    /// For the models in `loom/`: their atomics are not made before a model runs.
    #[cfg(loom)]
    pub(super) fn modelled(kind: Kind) -> Table<T> {
        Table {
            kind,
            used: AtomicU32::new(0),
            free: AtomicU64::new(NONE as u64),
            segments: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
        }
    }

    /// Takes an object in and answers with its id.
    pub(super) fn insert(&self, value: T) -> Result<u64> {
        self.insert_with(|| value)
    }

    /// The same with an object that is made only once it has a place.
    pub(super) fn insert_with(&self, make: impl FnOnce() -> T) -> Result<u64> {
        fork::install_handlers();
        let index = match self.pop_free() {
            Some(index) => index,
            None => self.take_fresh()?,
        };
        let slot = self.slot(index).expect("a slot that was handed out exists");
        let value = make();
        // SAFETY: the slot came off the free stack or is fresh: it is not open and nobody else can open it.
        unsafe { (*slot.value.get()).write(value) };
        slot.process.store(fork::generation(), Ordering::Relaxed);
        let generation = slot.state.load(Ordering::Relaxed) >> 32;
        slot.state.store(generation << 32 | OPEN, Ordering::Release);
        Ok(self.id(index, generation))
    }

    /// Uses the object that an id names.
    pub(super) fn get(&self, id: u64) -> Result<Use<'_, T>> {
        self.enter(id, OPEN)
    }

    /// Closes an id: from now on it names nothing. The object is dropped when its last use ends.
    pub(super) fn remove(&self, id: u64) -> Result<Use<'_, T>> {
        self.enter(id, 0)
    }

    /// Counts a user of an open slot, leaving it open or not.
    fn enter(&self, id: u64, open_after: u64) -> Result<Use<'_, T>> {
        let (index, generation) = self.parse(id)?;
        let slot = self.slot(index).ok_or_else(|| self.bad("names nothing"))?;
        let mut state = slot.state.load(Ordering::Relaxed);
        loop {
            if state >> 32 != generation || state & OPEN == 0 {
                return Err(self.bad("was closed"));
            }
            // Asked before the state changes, so that a forked child changes nothing that it shares in meaning.
            if slot.process.load(Ordering::Relaxed) != fork::generation() {
                return Err(Error::new(Code::Forked, FORKED));
            }
            if state & USERS == USERS {
                return Err(Error::new(Code::Busy, "more calls at once on one handle than can be counted"));
            }
            let next = (state & !OPEN | open_after) + 1;
            match slot.state.compare_exchange_weak(state, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Ok(Use { table: self, slot, index }),
                Err(now) => state = now,
            }
        }
    }

    fn parse(&self, id: u64) -> Result<(u32, u64)> {
        if id == 0 {
            return Err(self.bad("is empty (all zero)"));
        }
        if id >> (64 - TAG_BITS) != tag() {
            return Err(self.bad("comes from somewhere else"));
        }
        if id >> (SLOT_BITS + GENERATION_BITS) & ((1 << KIND_BITS) - 1) != self.kind as u64 {
            return Err(self.bad("is of another kind"));
        }
        Ok((id as u32 & ((1 << SLOT_BITS) - 1), id >> SLOT_BITS & ((1 << GENERATION_BITS) - 1)))
    }

    fn id(&self, index: u32, generation: u64) -> u64 {
        tag() << (64 - TAG_BITS)
            | (self.kind as u64) << (SLOT_BITS + GENERATION_BITS)
            | generation << SLOT_BITS
            | u64::from(index)
    }

    fn bad(&self, what: &str) -> Error {
        Error::new(Code::BadHandle, format!("the handle {what}: {} was expected", self.kind.name()))
    }

    fn slot(&self, index: u32) -> Option<&Slot<T>> {
        if index >= CAPACITY {
            return None;
        }
        let (segment, offset) = place(index);
        let base = self.segments[segment].load(Ordering::Acquire);
        // SAFETY: a segment that is set holds `FIRST_SEGMENT << segment` slots and is never freed.
        (!base.is_null()).then(|| unsafe { &*base.add(offset) })
    }

    fn take_fresh(&self) -> Result<u32> {
        let index = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| (used < CAPACITY).then_some(used + 1))
            .map_err(|_| Error::new(Code::HeldLimit, format!("{} more: the table is full", self.kind.name())))?;
        let (segment, _) = place(index);
        if self.segments[segment].load(Ordering::Acquire).is_null() {
            self.add_segment(segment);
        }
        Ok(index)
    }

    fn add_segment(&self, segment: usize) {
        let slots: Box<[Slot<T>]> = (0..FIRST_SEGMENT << segment).map(|_| Slot::new()).collect();
        let base = Box::into_raw(slots).cast::<Slot<T>>();
        let set = self.segments[segment].compare_exchange(ptr::null_mut(), base, Ordering::AcqRel, Ordering::Acquire);
        if set.is_err() {
            let slots = ptr::slice_from_raw_parts_mut(base, (FIRST_SEGMENT << segment) as usize);
            // SAFETY: made above, and another thread's segment was taken instead: nobody has seen this one.
            drop(unsafe { Box::from_raw(slots) });
        }
    }

    fn pop_free(&self) -> Option<u32> {
        let mut top = self.free.load(Ordering::Acquire);
        loop {
            let index = top as u32;
            if index == NONE {
                return None;
            }
            let next = self.slot(index)?.next_free.load(Ordering::Relaxed);
            match self.free.compare_exchange_weak(top, restack(top, next), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(index),
                Err(now) => top = now,
            }
        }
    }

    fn push_free(&self, index: u32, slot: &Slot<T>) {
        let mut top = self.free.load(Ordering::Relaxed);
        loop {
            slot.next_free.store(top as u32, Ordering::Relaxed);
            match self.free.compare_exchange_weak(top, restack(top, index), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    /// Drops the value of a slot that is closed and unused.
    fn dispose(&self, index: u32, slot: &Slot<T>) {
        // SAFETY: the caller is the one that took the count of a closed slot to zero; nobody can enter it any more.
        unsafe { (*slot.value.get()).assume_init_drop() };
        let generation = (slot.state.load(Ordering::Relaxed) >> 32) + 1;
        slot.state.store(generation << 32, Ordering::Release);
        if generation >> GENERATION_BITS == 0 {
            self.push_free(index, slot);
        }
    }
}

impl<T> Slot<T> {
    fn new() -> Slot<T> {
        Slot {
            state: AtomicU64::new(1 << 32),
            next_free: AtomicU32::new(NONE),
            process: AtomicU32::new(0),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }
}

impl<T> Deref for Use<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the slot counts this use, so its value is initialised and stays.
        unsafe { (*self.slot.value.get()).assume_init_ref() }
    }
}

impl<T> Drop for Use<'_, T> {
    fn drop(&mut self) {
        let before = self.slot.state.fetch_sub(1, Ordering::AcqRel);
        if before & (OPEN | USERS) == 1 {
            self.table.dispose(self.index, self.slot);
        }
    }
}

/// Segment and offset of a slot: each segment is twice as long as the one before.
fn place(index: u32) -> (usize, usize) {
    let at = index + FIRST_SEGMENT;
    let segment = at.ilog2() - FIRST_SEGMENT.ilog2();
    (segment as usize, (at - (FIRST_SEGMENT << segment)) as usize)
}

fn restack(top: u64, index: u32) -> u64 {
    ((top >> 32) + 1) << 32 | u64::from(index)
}

/// Where this copy of the library is loaded, folded into the few bits that mark its handles.
fn tag() -> u64 {
    static HERE: u8 = 0;
    let address = ptr::from_ref(&HERE) as u64 >> 4;
    (address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - TAG_BITS)) | 1
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    struct Counted(Arc<AtomicUsize>, usize);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn slots_are_laid_out_without_a_gap() {
        let mut expected = (0, 0);
        for index in 0..10_000 {
            assert_eq!(place(index), expected);
            expected.1 += 1;
            if expected.1 == (FIRST_SEGMENT << expected.0) as usize {
                expected = (expected.0 + 1, 0);
            }
        }
        assert_eq!(place(CAPACITY - 1).0, SEGMENTS - 1);
    }

    #[test]
    fn a_closed_handle_is_told_from_the_one_that_took_its_slot() {
        let table: Table<u32> = Table::new(Kind::View);
        let first = table.insert(7).unwrap();
        assert_eq!(*table.get(first).unwrap(), 7);
        drop(table.remove(first).unwrap());
        let second = table.insert(8).unwrap();
        assert_eq!(first as u32 & ((1 << SLOT_BITS) - 1), second as u32 & ((1 << SLOT_BITS) - 1), "the slot is reused");
        assert_eq!(table.get(first).err().unwrap().code(), Code::BadHandle);
        assert_eq!(table.remove(first).err().unwrap().code(), Code::BadHandle);
        assert_eq!(*table.get(second).unwrap(), 8);
    }

    #[test]
    fn what_was_never_given_out_is_refused() {
        let views: Table<u32> = Table::new(Kind::View);
        let buffers: Table<u32> = Table::new(Kind::Buffer);
        let id = views.insert(1).unwrap();
        for wrong in [0, u64::MAX, id ^ 1 << 63, id ^ 1, id + (1 << SLOT_BITS), 1, id >> 1] {
            assert_eq!(views.get(wrong).err().unwrap().code(), Code::BadHandle, "{wrong:#x}");
        }
        assert_eq!(buffers.get(id).err().unwrap().code(), Code::BadHandle);
    }

    #[test]
    fn an_object_lives_until_its_last_use_ends() {
        let drops = Arc::new(AtomicUsize::new(0));
        let table = Table::new(Kind::Engine);
        let id = table.insert(Counted(drops.clone(), 3)).unwrap();
        let using = table.get(id).unwrap();
        drop(table.remove(id).unwrap());
        assert_eq!(drops.load(Ordering::SeqCst), 0);
        assert_eq!(using.1, 3);
        drop(using);
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn an_exhausted_slot_is_retired() {
        let table: Table<u32> = Table::new(Kind::View);
        let id = table.insert(1).unwrap();
        let (index, _) = table.parse(id).unwrap();
        drop(table.remove(id).unwrap());
        let last = (1 << GENERATION_BITS) - 1;
        table.slot(index).unwrap().state.store(last << 32, Ordering::SeqCst);
        let id = table.insert(2).unwrap();
        assert_eq!(table.parse(id).unwrap(), (index, last));
        drop(table.remove(id).unwrap());
        let next = table.insert(3).unwrap();
        assert_ne!(table.parse(next).unwrap().0, index);
    }

    #[test]
    fn what_has_no_place_is_not_made() {
        let table: Table<u32> = Table::new(Kind::Buffer);
        table.used.store(CAPACITY, Ordering::SeqCst);
        let refused = table.insert_with(|| panic!("it was made")).err().unwrap();
        assert_eq!(refused.code(), Code::HeldLimit);
    }

    #[test]
    fn threads_that_open_use_and_close_the_same_handles_drop_each_object_once() {
        const ROUNDS: usize = 2_000;
        let drops = Arc::new(AtomicUsize::new(0));
        let table: Arc<Table<Counted>> = Arc::new(Table::new(Kind::Buffer));
        let shared: Arc<Vec<AtomicU64>> = Arc::new((0..8).map(|_| AtomicU64::new(0)).collect());
        let threads: Vec<_> = (0..4)
            .map(|me| {
                let (table, shared, drops) = (table.clone(), shared.clone(), drops.clone());
                std::thread::spawn(move || {
                    for round in 0..ROUNDS {
                        let id = table.insert(Counted(drops.clone(), round)).unwrap();
                        let other = shared[(round + me) % 8].swap(id, Ordering::SeqCst);
                        if let Ok(using) = table.get(shared[round % 8].load(Ordering::SeqCst)) {
                            assert!(using.1 < ROUNDS);
                        }
                        if other != 0 {
                            drop(table.remove(other).unwrap());
                            assert!(table.remove(other).is_err());
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        let left = shared.iter().filter(|id| table.remove(id.load(Ordering::SeqCst)).is_ok()).count();
        assert!(left > 0);
        assert_eq!(drops.load(Ordering::SeqCst), 4 * ROUNDS);
        assert!(table.used.load(Ordering::SeqCst) <= 64, "slots are reused");
    }
}
