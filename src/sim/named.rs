//! Which seeds catch which planted bug: the table beside, and the search that makes it.

use super::run::{Options, run_seed, run_seeds};
use crate::core::Plant;

/// For each bug that can be planted: its name, the promise that it breaks, and seeds that show it. Made by `.ci/plants`.
const TABLE: &str = include_str!("plants.txt");
/// Seeds that are looked at together.
const AT_ONCE: usize = 32;

/// The seeds that are named for a planted bug.
pub fn seeds_that_catch(plant: Plant) -> Vec<u64> {
    let words = |line: &'static str| line.split_whitespace();
    let line = TABLE.lines().find(|line| words(line).next() == Some(plant.name()));
    line.into_iter().flat_map(|line| words(line).skip(2)).filter_map(|word| word.parse().ok()).collect()
}

/// Looks for the first `wanted` of `seeds` that are clean, and that break the promise of `plant` when it is planted.
pub fn search(plant: Plant, mut seeds: impl Iterator<Item = u64>, wanted: usize, jobs: usize) -> Vec<u64> {
    let mut found = Vec::new();
    while found.len() < wanted {
        let some: Vec<u64> = seeds.by_ref().take(AT_ONCE).collect();
        if some.is_empty() {
            break;
        }
        let summary = run_seeds(some.into_iter(), &Options { plant: Some(plant), jobs }, &|_| ());
        let broken = summary.violations.iter().filter(|finding| finding.guarantee == plant.guarantee());
        let mut broken: Vec<u64> = broken.map(|finding| finding.seed).collect();
        broken.dedup();
        found.extend(broken.into_iter().filter(|seed| run_seed(*seed, None).is_clean()));
    }
    found.truncate(wanted);
    found
}
