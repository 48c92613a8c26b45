//! Every bug that can be planted is seen by the seeds that are named for it, and those seeds are clean without it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use decurion::core::Plant;
use decurion::sim::{Guarantee, run_seed, seeds_that_catch};

/// A plant with fewer seeds than this is not said to be caught.
const LEAST_SEEDS: usize = 4;

#[test]
fn every_plant_is_named_with_its_promise_and_its_seeds() {
    for (plant, name, guarantee, about) in Plant::ALL {
        assert_eq!((Plant::by_name(name), plant.name(), plant.guarantee()), (Some(*plant), *name, *guarantee));
        assert!(Guarantee::ALL.iter().any(|(_, known, _)| known == guarantee), "{name}: {guarantee} is not checked");
        assert!(!about.is_empty());
        let seeds = seeds_that_catch(*plant);
        assert!(seeds.len() >= LEAST_SEEDS, "{name} has the seeds {seeds:?} only: run .ci/plants");
    }
}

/// What became of the seeds of one plant.
#[derive(Default)]
struct Seen {
    caught: Vec<u64>,
    missed: Vec<u64>,
    unclean: Vec<u64>,
}

/// A change of the protocol shifts what happens in a seed, so not every seed need go on showing its bug: half of them must.
#[test]
fn the_named_seeds_catch_each_plant_and_are_clean_without_it() {
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
                    let clean = run_seed(*seed, None).is_clean();
                    let seen = &mut seen.lock().expect("no thread panics while it holds the list")[*at];
                    if caught {
                        seen.caught.push(*seed)
                    } else {
                        seen.missed.push(*seed)
                    }
                    if !clean {
                        seen.unclean.push(*seed);
                    }
                }
            });
        }
    });
    for ((_, name, guarantee, _), seen) in Plant::ALL.iter().zip(seen.into_inner().expect("all threads have ended")) {
        let Seen { caught, missed, unclean } = seen;
        println!("{name}: {guarantee} is broken in {caught:?}, not in {missed:?}");
        assert!(unclean.is_empty(), "{name}: {unclean:?} break a promise without it; once mended, run .ci/plants");
        assert!(caught.len() >= missed.len().max(1), "{name}: {missed:?} do not break {guarantee}: run .ci/plants");
    }
}
