//! What an idle session takes on each of its holders, by the bench of it, and that it is accounted for.
//!
//! A binary of its own, because it counts what the global allocator hands out.

#[allow(dead_code)] // the bench uses all of it
#[path = "../benches/session_memory/cluster.rs"]
mod cluster;
#[path = "../benches/session_memory/holder.rs"]
mod holder;

use std::process::Command;
use std::time::{Duration, Instant};

use cluster::{Process, Said, cluster};

/// Longer than anything here may take; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const SESSIONS: u64 = 20_000;
/// Of these, those that are there before anything is measured: with them the buffers for what is under way.
const FIRST: u64 = 1_000;
const CONTENT_BYTES: u64 = 2_048;
/// What may be allocated for each.
const HEAP_BYTES: u64 = 2_170;
/// What the process may grow by for each, with what the allocator keeps: some of that is there for any number of sessions.
const RESIDENT_BYTES: u64 = 2_500;

/// One holder: this very test program, which runs this test only.
#[test]
fn a_holder_of_the_test_below() {
    if let Ok(settings) = std::env::var(holder::SETTINGS) {
        holder::run(&settings);
    }
}

fn wait_idle(process: &mut Process, done: impl Fn(&Said) -> bool) -> Said {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = process.ask("stats", PATIENCE);
        if done(&said) {
            return said;
        }
        assert!(Instant::now() < deadline, "{said:?}");
    }
}

#[test]
fn an_idle_session_takes_little_beside_its_content_and_is_accounted_for() {
    let command = || {
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        command.args(["a_holder_of_the_test_below", "--exact", "--nocapture"]);
        command
    };
    let mut holders = cluster(2, command, &[], PATIENCE);
    holders[0].ask(&format!("room {SESSIONS}"), PATIENCE);
    let mut made = 0;
    let mut make = |holders: &mut [Process], count: u64| {
        let said = holders[0].ask(&format!("create {count} {CONTENT_BYTES} 64"), PATIENCE);
        assert_eq!(said.number("ok"), count, "{said:?}");
        made += count;
        let copied = |s: &Said| s.number("primary") + s.number("secondary") == made && s.number("single") == 0;
        holders.iter_mut().map(|holder| wait_idle(holder, copied)).collect::<Vec<Said>>()
    };
    let before = make(&mut holders, FIRST);
    let after = make(&mut holders, SESSIONS - FIRST);
    for ((holder, before), after) in holders.iter().zip(before).zip(after) {
        let each = |key: &str| (after.number(key) - before.number(key)) / (SESSIONS - FIRST);
        assert!((CONTENT_BYTES..=HEAP_BYTES).contains(&each("heap")), "{}: {after:?} {before:?}", holder.name);
        assert!((CONTENT_BYTES..=RESIDENT_BYTES).contains(&each("rss")), "{}: {after:?} {before:?}", holder.name);
        let accounted = each("accounted");
        assert!(accounted >= each("heap"), "session.memory_bytes bounds less than it takes: {after:?}");
        assert!(accounted <= each("heap") * 11 / 10, "and not much more: {after:?}");
    }
}
