//! Which change of the core is made in this process. `decurion-mutants` puts this file into its copy of the sources.
//!
//! `DECURION_MUTANT=N` makes change N, `DECURION_MUTANT=all` makes none and notes each that is passed. What is passed is
//! written to the file that `DECURION_MUTANT_REACHED` names, a number a line.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

const UNREAD: u32 = u32::MAX;
const ALL: u32 = u32::MAX - 1;
const MOST: usize = 65_536;

static CHOSEN: AtomicU32 = AtomicU32::new(UNREAD);
static PASSED: [AtomicBool; MOST] = [const { AtomicBool::new(false) }; MOST];

/// Whether change `number` is to be made here.
#[inline]
pub fn is(number: u32) -> bool {
    let chosen = CHOSEN.load(Ordering::Relaxed);
    if chosen != number && chosen < ALL {
        return false;
    }
    passed(number)
}

/// Whether change `number` is to be made here, where what it answers can be compared with the original: it is passed only
/// if the two differ.
#[inline]
pub fn is_where(number: u32, differ: impl FnOnce() -> bool) -> bool {
    let chosen = CHOSEN.load(Ordering::Relaxed);
    if chosen != number && chosen < ALL {
        return false;
    }
    let noting = chosen == ALL && !PASSED[number as usize].load(Ordering::Relaxed);
    (chosen != ALL || (noting && differ())) && passed(number)
}

#[cold]
#[inline(never)]
fn passed(number: u32) -> bool {
    if CHOSEN.load(Ordering::Relaxed) == UNREAD {
        CHOSEN.store(read(), Ordering::Relaxed);
    }
    let chosen = CHOSEN.load(Ordering::Relaxed);
    if chosen != number && chosen != ALL {
        return false;
    }
    if !PASSED[number as usize].swap(true, Ordering::Relaxed) {
        note(number);
    }
    chosen == number
}

fn read() -> u32 {
    match std::env::var("DECURION_MUTANT").as_deref() {
        Ok("all") => ALL,
        Ok(number) => number.parse().expect("DECURION_MUTANT is a number or `all`"),
        // No change has this number.
        Err(_) => 0,
    }
}

fn note(number: u32) {
    static FILE: OnceLock<Option<Mutex<File>>> = OnceLock::new();
    let open = || {
        let path = std::env::var_os("DECURION_MUTANT_REACHED")?;
        Some(Mutex::new(OpenOptions::new().append(true).create(true).open(path).expect("a file that can be written")))
    };
    if let Some(file) = FILE.get_or_init(open) {
        writeln!(file.lock().expect("no writer panics"), "{number}").expect("a line is written");
    }
}
