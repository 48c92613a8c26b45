//! What the network claims to send costs nothing until it is there: allocation is bounded by the bytes received.
//!
//! A binary of its own, because it counts what the global allocator hands out.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use decurion::types::{Incarnation, Name, Seat};
use decurion::wire::control::{Control, HEADER_BYTES};
use decurion::wire::{Reader, Wire};

struct Counting;

thread_local! {
    static ALLOCATED_BYTES: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    // Fails only while a thread is torn down; what is allocated then is not ours to count.
    let _ = ALLOCATED_BYTES.try_with(|total| total.set(total.get() + bytes));
}

// SAFETY: every call is passed on to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes allocated, in all, while `work` runs on this thread.
fn allocated_by(work: impl FnOnce()) -> usize {
    let before = ALLOCATED_BYTES.get();
    work();
    ALLOCATED_BYTES.get() - before
}

/// The most that a decoder may allocate for an input: growth by doubling of values that are larger in memory than on
/// the wire. A believed count would be millions of times over it.
fn bound(input: &[u8]) -> usize {
    4 * 1024 + 64 * input.len()
}

fn bomb<T: Wire>(what: &str) {
    for filler in [0u8, 1, 4, 255] {
        for length in [0usize, 1, 16, 64, 4_096] {
            for count in [u32::MAX, u32::MAX / 2, 0x0100_0000, length as u32, length as u32 + 1] {
                let input = [count.to_le_bytes().to_vec(), vec![filler; length]].concat();
                let cost = allocated_by(|| {
                    let _ = T::take(&mut Reader::new(&input));
                });
                assert!(cost <= bound(&input), "{what}: {cost} bytes for {} received, count {count}", input.len());
            }
        }
    }
}

#[test]
fn the_counter_counts() {
    assert!(allocated_by(|| drop(std::hint::black_box(vec![0u8; 10_000]))) >= 10_000);
}

#[test]
fn counts_do_not_allocate() {
    bomb::<Vec<u8>>("bytes as values");
    bomb::<Vec<u128>>("numbers");
    bomb::<Vec<(Seat, u64)>>("pairs");
    bomb::<Vec<Vec<Vec<u32>>>>("lists of lists");
    bomb::<Vec<Option<Incarnation>>>("options");
    bomb::<Vec<Name>>("names");
    bomb::<Bytes>("opaque bytes");
}

/// Sealed frames of every type whose body is one byte over and over: whatever they claim, they cost what they weigh.
#[test]
fn frames_do_not_allocate_more_than_they_weigh() {
    for (number, name) in Control::TYPES {
        for filler in [0u8, 1, 4, 6, 127, 255] {
            for length in [0usize, 64, 200, 4_096] {
                let mut frame = vec![0; HEADER_BYTES];
                frame[0] = *number;
                frame[4..8].copy_from_slice(&(length as u32).to_le_bytes());
                frame.resize(HEADER_BYTES + length, filler);
                let crc = crc32fast::hash(&[&frame[..12], &frame[HEADER_BYTES..]].concat());
                frame[12..16].copy_from_slice(&crc.to_le_bytes());
                let cost = allocated_by(|| drop(Control::decode(&frame)));
                assert!(cost <= bound(&frame), "{name}: {cost} bytes for a frame of {}", frame.len());
            }
        }
    }
}
