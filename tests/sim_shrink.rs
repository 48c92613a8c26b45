//! A run that breaks a promise is made much smaller and still breaks the same one, and what is left can be shown again.

use std::sync::atomic::{AtomicUsize, Ordering};

use decurion::core::Plant;
use decurion::sim::{Shrunk, Trim, run_seed, run_trimmed, seeds_that_catch, shrink};

/// Runs that are tried for one seed.
const TRIES: usize = 60;
/// A person reads no more lines.
const MOST_LINES: usize = 60;

/// A seed of many members and faults that shows the plant, by those that are named for it.
fn seed_of(plant: Plant) -> u64 {
    let shows =
        |seed: &u64| run_seed(*seed, Some(plant)).findings.first().is_some_and(|f| f.guarantee == plant.guarantee());
    seeds_that_catch(plant).into_iter().find(shows).expect("a seed is named that shows it")
}

fn is_shrunk(plant: Plant) {
    let (seed, tries) = (seed_of(plant), AtomicUsize::new(0));
    let go_on = || tries.fetch_add(1, Ordering::Relaxed) < TRIES * 2;
    let Shrunk { guarantee, trim, before, after, tries, story, .. } =
        shrink(seed, Some(plant), &go_on).expect("the seed breaks a promise");
    let sizes = format!("{}: seed {seed}, {before:?}, {after:?} after {tries} tries, {trim}", plant.name());
    assert_eq!(guarantee, plant.guarantee(), "{sizes}");
    assert!(after.members * 2 <= before.members, "{sizes}");
    assert!(after.faults * 3 <= before.faults, "{sizes}");
    assert!(after.steps * 3 <= before.steps, "{sizes}");
    assert!((4..=MOST_LINES).contains(&story.len()), "{sizes}\n{}", story.join("\n"));
    assert!(story.last().is_some_and(|line| line.contains(&format!("{guarantee} is broken"))), "{story:?}");
    // By the text that names it, the same again.
    let read: Trim = trim.to_string().parse().expect("its own text");
    let again = run_trimmed(seed, Some(plant), &read, Some(guarantee));
    assert_eq!((again.size, again.story), (after, story), "{sizes}");
    assert!(again.outcome.findings.iter().any(|finding| finding.guarantee == guarantee), "{sizes}");
    // It is the plant that breaks it.
    let without = run_trimmed(seed, None, &read, Some(guarantee));
    assert!(without.outcome.findings.iter().all(|finding| finding.guarantee != guarantee), "{sizes}");
}

#[test]
fn a_repeated_batch_is_shrunk() {
    is_shrunk(Plant::ReplayTwice);
}

#[test]
fn what_was_forgotten_too_early_is_shrunk() {
    is_shrunk(Plant::ForgetBeforeStable);
}

#[test]
fn a_forgotten_proposal_is_shrunk() {
    is_shrunk(Plant::ForgetAcceptedProposal);
}

#[test]
fn nothing_left_out_is_the_seed_itself_and_a_clean_seed_is_not_shrunk() {
    let whole = run_trimmed(3, None, &Trim::default(), None).outcome;
    assert_eq!(whole.trace_hash, run_seed(3, None).trace_hash);
    assert!(whole.is_clean() && shrink(3, None, &|| true).is_none());
}
