//! What the seeds of the simulator are made of: sizes, length, faults, load, and every checker at work.

use std::thread::available_parallelism;

use decurion::sim::{FaultKind, Guarantee, Options, Outcome, run_seeds};
use std::sync::Mutex;

const SEEDS: u64 = 150;
/// Each run lasts at least this long, in microseconds of virtual time.
const LEAST_US: u64 = 60_000_000;

#[test]
fn the_swarm_makes_every_fault_and_runs_every_checker() {
    let runs = Mutex::new(Vec::new());
    let note = |outcome: &Outcome| {
        let run = (outcome.seed, outcome.members, outcome.virtual_us, outcome.converged);
        runs.lock().expect("nobody panics with it").push(run);
    };
    let jobs = available_parallelism().map_or(1, usize::from);
    let summary = run_seeds(0..SEEDS, &Options { plant: None, jobs }, &note);
    let runs = runs.into_inner().expect("all threads have ended");
    for (seed, members, virtual_us, converged) in &runs {
        assert!((1..=64).contains(members), "seed {seed} has {members} members");
        assert!(*virtual_us >= LEAST_US || !converged, "seed {seed} lasts {virtual_us} us");
    }
    let sizes = |from, to| runs.iter().filter(|(_, members, ..)| (from..=to).contains(members)).count();
    assert!(sizes(1, 2) > 0 && sizes(32, 64) > 0, "very small and large ones");
    assert!(sizes(3, 4) > 0 && sizes(5, 12) > 0 && sizes(13, 24) > 0, "small, middling and large clusters");
    for ((_, name, _), seeds) in FaultKind::ALL.iter().zip(&summary.seeds_with_fault) {
        assert!(*seeds * 20 >= SEEDS, "{name} is made in {seeds} of {SEEDS} seeds: under a twentieth");
    }
    let under_load = summary.seeds_with_change_under_load;
    assert!(under_load * 2 >= SEEDS, "a view changes under load in {under_load} of {SEEDS} seeds: under a half");
    for (guarantee, name, _) in Guarantee::ALL.iter().filter(|(guarantee, ..)| *guarantee != Guarantee::A2) {
        assert!(summary.checks.count(*guarantee) > 0, "{name} was never checked");
    }
}

#[test]
fn the_trace_does_not_depend_on_the_number_of_threads() {
    let run = |jobs| run_seeds(0..12, &Options { plant: None, jobs }, &|_| ());
    assert_eq!(run(1), run(3));
}
