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
    let before: Vec<Said> = holders.iter_mut().map(|h| h.ask("stats", PATIENCE)).collect();
    let made = holders[0].ask(&format!("create {SESSIONS} {CONTENT_BYTES} 64"), PATIENCE);
    assert_eq!(made.number("ok"), SESSIONS, "{made:?}");
    for (holder, before) in holders.iter_mut().zip(before) {
        let copied = |s: &Said| s.number("primary") + s.number("secondary") == SESSIONS && s.number("single") == 0;
        let after = wait_idle(holder, copied);
        let each = |key: &str| (after.number(key) - before.number(key)) / SESSIONS;
        assert!((CONTENT_BYTES..=HEAP_BYTES).contains(&each("heap")), "{}: {after:?} {before:?}", holder.name);
        assert!((CONTENT_BYTES..=RESIDENT_BYTES).contains(&each("rss")), "{}: {after:?} {before:?}", holder.name);
        let accounted = after.number("accounted") / SESSIONS;
        assert!(accounted >= each("heap"), "session.memory_bytes bounds less than it takes: {after:?}");
        assert!(accounted <= each("heap") * 11 / 10, "and not much more: {after:?}");
    }
}
