//! Small cases, gone through state by state: three of the very [`crate::core::Member`] that run elsewhere, and every order in which
//! what is under way can arrive, with a frame lost or a process ended at any step.
//!
//! A state is three members, what is under way between them, and the ledger of the checkers. States are told apart by their
//! fingerprint, and each is expanded once. Time passes only when nothing is under way: a frame is lost or late against other
//! frames, never against a timer.

mod carrier;
mod cases;
mod choice;
mod cluster;
mod search;
mod sessions;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use search::{Bounds, Broken, Report};

use crate::core::Plant;
use cases::CASES;

/// The names of all cases, and what each is about.
pub fn cases() -> impl Iterator<Item = (&'static str, String)> {
    CASES.iter().map(|case| (case.name, case.about()))
}

/// Goes through one case. `None` if there is none of that name.
pub fn explore(name: &str, bounds: &Bounds) -> Option<Report> {
    CASES.iter().find(|case| case.name == name).map(|case| search::explore(case, bounds))
}

/// Goes through several cases on `jobs` threads; `done` is called after each, from any thread. Answers in the order of the table.
pub fn explore_all(names: &[&str], bounds: &Bounds, jobs: usize, done: &(dyn Fn(&Report) + Sync)) -> Vec<Report> {
    let next = AtomicUsize::new(0);
    let reports = Mutex::new(Vec::new());
    let work = || {
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Some(report) = explore(name, bounds) {
                done(&report);
                reports.lock().expect("no thread panics while it holds the list").push(report);
            }
        }
    };
    std::thread::scope(|scope| (0..jobs.max(1)).for_each(|_| drop(scope.spawn(work))));
    let mut reports = reports.into_inner().expect("all threads have ended");
    reports.sort_by_key(|report| names.iter().position(|name| *name == report.case));
    reports
}

/// Follows a script through a case: a line for each thing that happens. Where only one thing can happen, the script is silent.
pub fn follow(name: &str, script: &str, plant: Option<Plant>) -> Result<Vec<String>, String> {
    let case = CASES.iter().find(|case| case.name == name).ok_or_else(|| format!("there is no case \"{name}\""))?;
    search::follow(case, script, plant)
}
