//! Every bug that can be planted is seen by the seeds that are named for it, or by a named scenario (`tests/sim_scenarios.rs`). The seeds are
//! among those that `make simulate` shows to be clean without it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use decurion::core::Plant;
use decurion::sim::{Guarantee, Scenario, run_seed, seeds_that_catch};

/// A plant that no scenario shows and with fewer seeds than this is not said to be caught. The rarest is `lease-without-hold`: whoever is cut off
/// loses its lease before it can be removed in nearly all cases, and the hold is for the others.
const LEAST_SEEDS: usize = 2;
/// So many plants there are at least.
const LEAST_PLANTS: usize = 50;
/// Below it `make simulate` runs every seed without a plant.
const SEEDS_SEEN_CLEAN: u64 = 2_000;

#[test]
fn every_plant_is_named_with_its_promise_and_its_seeds() {
    for (plant, name, guarantee, about) in Plant::ALL {
        assert_eq!((Plant::by_name(name), plant.name(), plant.guarantee()), (Some(*plant), *name, *guarantee));
        assert!(Guarantee::ALL.iter().any(|(_, known, _)| known == guarantee), "{name}: {guarantee} is not checked");
        assert!(!about.is_empty());
        let seeds = seeds_that_catch(*plant);
        let shown = Scenario::that_show(*plant).next().is_some();
        assert!(shown || seeds.len() >= LEAST_SEEDS, "{name} has the seeds {seeds:?} only: run .ci/plants");
        for seed in seeds.into_iter().filter(|seed| *seed >= SEEDS_SEEN_CLEAN) {
            assert!(run_seed(seed, None).findings.is_empty(), "{name}: seed {seed} breaks a promise without it");
        }
    }
    assert!(Plant::ALL.len() >= LEAST_PLANTS);
}

/// What became of the seeds of one plant.
#[derive(Default)]
struct Seen {
    caught: Vec<u64>,
    missed: Vec<u64>,
}

/// A change of the protocol shifts what happens in a seed, so not every seed need go on showing its bug: half of them must.
#[test]
fn the_named_seeds_catch_each_plant() {
    let runs: Vec<(usize, u64)> = (0..Plant::ALL.len())
        .flat_map(|plant| seeds_that_catch(Plant::ALL[plant].0).into_iter().map(move |seed| (plant, seed)))
        .collect();
    let next = AtomicUsize::new(0);
    let seen: Mutex<Vec<Seen>> = Mutex::new(Plant::ALL.iter().map(|_| Seen::default()).collect());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((at, seed)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let plant = Plant::ALL[*at].0;
                    let findings = run_seed(*seed, Some(plant)).findings;
                    let caught = findings.iter().any(|finding| finding.guarantee == plant.guarantee());
                    let seen = &mut seen.lock().expect("no thread panics while it holds the list")[*at];
                    if caught { seen.caught.push(*seed) } else { seen.missed.push(*seed) }
                }
            });
        }
    });
    let mut outdated = Vec::new();
    for ((_, name, guarantee, _), seen) in Plant::ALL.iter().zip(seen.into_inner().expect("all threads have ended")) {
        let Seen { caught, missed } = seen;
        println!("{name}: {guarantee} is broken in {caught:?}, not in {missed:?}");
        if caught.len() < missed.len() {
            outdated.push(format!("{name}: {missed:?} do not break {guarantee}"));
        }
    }
    assert!(outdated.is_empty(), "{outdated:#?}: run .ci/plants");
}
