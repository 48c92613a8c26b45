//! The named scenarios: each keeps every promise in all its seeds, and shows the planted bugs that it names.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use decurion::core::Plant;
use decurion::sim::{Outcome, SCENARIOS, Scenario};

/// Does `work` for every item on all processors, in any order.
fn on_all_processors<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item);
                }
            });
        }
    });
}

fn first_finding(scenario: &Scenario, outcome: &Outcome) -> String {
    let seed = outcome.seed;
    let first = outcome
        .findings
        .first()
        .map(|finding| format!("{} at {} ms: {}; {}", finding.guarantee, finding.at_ms, finding.text, finding.replay));
    format!("{}, seed {seed}: {}", scenario.name, first.unwrap_or_else(|| "not one view at the end".to_owned()))
}

#[test]
fn every_scenario_keeps_every_promise() {
    let runs: Vec<(&Scenario, u64)> =
        SCENARIOS.into_iter().flat_map(|scenario| (0..scenario.seeds).map(move |seed| (scenario, seed))).collect();
    let broken = Mutex::new(Vec::new());
    on_all_processors(&runs, |(scenario, seed)| {
        let outcome = scenario.run(*seed, None);
        assert!(outcome.checks.iter().map(|(_, count)| count).sum::<u64>() > 0, "{} checks nothing", scenario.name);
        if !outcome.is_clean() {
            broken.lock().expect("nobody panics with it").push(first_finding(scenario, &outcome));
        }
    });
    let broken = broken.into_inner().expect("all threads have ended");
    assert!(broken.is_empty(), "{} seeds break a promise:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn every_scenario_shows_the_bugs_that_it_names() {
    let pairs: Vec<(&Scenario, Plant)> =
        SCENARIOS.into_iter().flat_map(|scenario| scenario.shows.iter().map(move |plant| (scenario, *plant))).collect();
    assert!(SCENARIOS.iter().all(|scenario| !scenario.shows.is_empty()), "each scenario can fail");
    let missed = Mutex::new(Vec::new());
    on_all_processors(&pairs, |(scenario, plant)| {
        let shown = (0..scenario.seeds).any(|seed| !scenario.run(seed, Some(*plant)).is_clean());
        if !shown {
            missed.lock().expect("nobody panics with it").push(format!("{} in {}", plant.name(), scenario.name));
        }
    });
    let missed = missed.into_inner().expect("all threads have ended");
    assert!(missed.is_empty(), "not seen: {missed:?}");
}

#[test]
fn names_are_unique_and_a_seed_is_the_same_each_time() {
    let names: BTreeSet<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
    assert_eq!(names.len(), SCENARIOS.len());
    for scenario in SCENARIOS {
        assert_eq!(Scenario::by_name(scenario.name).map(|found| found.name), Some(scenario.name));
    }
    let scenario = Scenario::by_name("hand-over-in-flight").expect("there is one");
    assert_eq!(scenario.run(3, None), scenario.run(3, None));
    assert_ne!(scenario.run(3, None).trace_hash, scenario.run(4, None).trace_hash);
}
