//! Runs many seeds on several threads and adds up what they did, saw and broke.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use super::check::Checks;
use super::faults::Faults;
use super::random::fold;
use super::shrink::{Size, Told};
use super::swarm::Swarm;
use super::trim::Trim;
use super::world::World;
use crate::core::{Mark, Plant};

/// How to run seeds.
#[derive(Clone, Debug)]
pub struct Options {
    /// A bug that every member carries.
    pub plant: Option<Plant>,
    /// Threads; at least one is used.
    pub jobs: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { plant: None, jobs: 1 }
    }
}

/// A broken promise, and how to see it again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The seed that shows it.
    pub seed: u64,
    /// Name of the promise.
    pub guarantee: &'static str,
    /// Virtual time at which it was seen, in milliseconds.
    pub at_ms: u64,
    /// What was seen.
    pub text: String,
    /// A command that runs the seed again and writes its trace.
    pub replay: String,
}

/// What one seed did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Hash over every step.
    pub trace_hash: u64,
    /// Virtual time, in microseconds.
    pub virtual_us: u64,
    /// Events that happened.
    pub steps: u64,
    /// Members of the cluster.
    pub members: u64,
    /// Faults made.
    pub faults: Faults,
    /// How often each transition was reached, in the order of [`Mark::ALL`].
    pub marks: Vec<u64>,
    /// Checks made.
    pub checks: Checks,
    /// Views that were installed while messages were being sent.
    pub views_under_load: u64,
    /// Messages delivered to hosts.
    pub delivered: u64,
    /// Whether everything came together after faults had stopped.
    pub converged: bool,
    /// Broken promises, in the order seen.
    pub findings: Vec<Finding>,
}

impl Outcome {
    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.converged
    }
}

/// What many seeds did.
#[derive(Clone, PartialEq, Debug)]
pub struct Summary {
    /// How many seeds ran.
    pub seeds: u64,
    /// Virtual time of all clusters, in hours.
    pub cluster_hours: f64,
    /// Hash over the trace hashes of all seeds, in order.
    pub trace_hash: u64,
    /// Faults made.
    pub faults: Faults,
    /// For each kind of fault, in the order of [`super::FaultKind::ALL`]: seeds in which it was made.
    pub seeds_with_fault: Vec<u64>,
    /// How often each transition was reached, in the order of [`Mark::ALL`].
    pub marks: Vec<u64>,
    /// Checks made.
    pub checks: Checks,
    /// Seeds in which a view changed while messages were being sent.
    pub seeds_with_change_under_load: u64,
    /// Messages delivered to hosts.
    pub delivered: u64,
    /// Seeds in which not everything came together after faults had stopped.
    pub not_converged: u64,
    /// Broken promises, by seed.
    pub violations: Vec<Finding>,
}

/// Runs one seed.
pub fn run_seed(seed: u64, plant: Option<Plant>) -> Outcome {
    run_swarm(seed, plant, false).0
}

/// Runs one seed and keeps a line of text for every step.
pub fn trace_seed(seed: u64, plant: Option<Plant>) -> (Outcome, String) {
    run_swarm(seed, plant, true)
}

/// Runs one seed with something left out, until `promise` is broken if one is named, and tells what happens.
pub fn run_trimmed(seed: u64, plant: Option<Plant>, trim: &Trim, promise: Option<&'static str>) -> Told {
    let mut swarm = Swarm::draw_trimmed(seed, plant, trim);
    let (faults, head) = (swarm.faults().to_vec(), swarm.describe());
    let world = swarm.world();
    world.story.keep();
    world.until_broken = promise;
    let replay = format!("decurion simulate --seed {seed} --only {trim}");
    let outcome = watch(seed, &mut swarm, &replay, Swarm::run);
    let world = swarm.world();
    let present: Vec<String> =
        (0..world.nodes().len()).filter(|n| trim.has_node(*n)).map(|n| format!("n{n}")).collect();
    let mut story = vec![format!("Members: {}. Drawn: {head}.", present.join(", "))];
    story.extend(world.story.lines());
    let told = |f: &&Finding| promise.is_none_or(|promise| promise == f.guarantee);
    let seen = outcome.findings.iter().find(told);
    story.extend(seen.map(|f| format!("{:>8.3} s  {} is broken: {}.", f.at_ms as f64 / 1e3, f.guarantee, f.text)));
    let (steps, ms) = (outcome.steps, seen.map_or(outcome.virtual_us / 1_000, |f| f.at_ms));
    let size = Size { members: present.len(), faults: faults.len(), visitors: world.visitors.len(), steps, ms };
    Told { outcome, size, faults, story }
}

fn run_swarm(seed: u64, plant: Option<Plant>, traced: bool) -> (Outcome, String) {
    let mut swarm = Swarm::draw(seed, plant);
    if traced {
        let head = swarm.describe();
        swarm.world().keep_trace();
        swarm.world().trace.line(0, || head);
    }
    let replay = format!("decurion simulate --seed {seed} --trace seed-{seed}.txt");
    let outcome = watch(seed, &mut swarm, &replay, Swarm::run);
    (outcome, swarm.world().trace().to_owned())
}

/// Runs what a seed stands for and says what became of it. `run` says whether everything came together.
pub(super) fn watch<W: AsMut<World>>(seed: u64, of: &mut W, replay: &str, run: impl FnOnce(&mut W) -> bool) -> Outcome {
    let result = catch_unwind(AssertUnwindSafe(|| run(of)));
    let world = of.as_mut();
    let finding = |guarantee, at_us: u64, text: &str| Finding {
        seed,
        guarantee,
        at_ms: at_us / 1_000,
        text: text.to_owned(),
        replay: replay.to_owned(),
    };
    let violations = world.violations().iter();
    let mut findings: Vec<Finding> =
        violations.map(|seen| finding(seen.guarantee.name(), seen.at_us, &seen.text)).collect();
    if let Err(panic) = &result {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        findings.push(finding("A2", world.now_us(), text.unwrap_or("a member panicked")));
    }
    Outcome {
        seed,
        trace_hash: world.trace_hash(),
        virtual_us: world.now_us(),
        steps: world.steps(),
        members: world.nodes().len() as u64,
        faults: *world.faults(),
        marks: world.marks().counts(),
        checks: *world.checks(),
        views_under_load: world.views_under_load,
        delivered: world.nodes().iter().map(|node| node.delivered()).sum(),
        converged: result.is_ok_and(|converged| converged),
        findings,
    }
}

/// Runs all `seeds`. The summary does not depend on the number of threads. `done` is called after each seed, from any thread.
pub fn run_seeds(
    seeds: impl Iterator<Item = u64> + Send, options: &Options, done: &(dyn Fn(&Outcome) + Sync),
) -> Summary {
    let seeds = Mutex::new(seeds);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                let draw = || seeds.lock().expect("no thread panics while it draws").next();
                while let Some(seed) = draw() {
                    let outcome = run_seed(seed, options.plant);
                    done(&outcome);
                    outcomes.lock().expect("no thread panics while it holds the list").push(outcome);
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().expect("all threads have ended");
    outcomes.sort_by_key(|outcome| outcome.seed);
    Summary::of(&outcomes)
}

impl Summary {
    /// Adds up outcomes, which must be in the order of their seeds.
    pub fn of(outcomes: &[Outcome]) -> Summary {
        let kinds = super::FaultKind::ALL.len();
        let mut sum = Summary {
            seeds: outcomes.len() as u64,
            cluster_hours: 0.0,
            trace_hash: 0,
            faults: Faults::default(),
            seeds_with_fault: vec![0; kinds],
            marks: vec![0; Mark::ALL.len()],
            checks: Checks::default(),
            seeds_with_change_under_load: 0,
            delivered: 0,
            not_converged: 0,
            violations: Vec::new(),
        };
        for outcome in outcomes {
            sum.cluster_hours += outcome.virtual_us as f64 / 3.6e9;
            sum.trace_hash = fold(sum.trace_hash, outcome.trace_hash);
            sum.faults.add(&outcome.faults);
            let with = outcome.faults.iter().map(|(_, count)| u64::from(count > 0));
            sum.seeds_with_fault.iter_mut().zip(with).for_each(|(seeds, one)| *seeds += one);
            sum.marks.iter_mut().zip(&outcome.marks).for_each(|(sum, one)| *sum += one);
            sum.checks.add(&outcome.checks);
            sum.seeds_with_change_under_load += u64::from(outcome.views_under_load > 0);
            sum.delivered += outcome.delivered;
            sum.not_converged += u64::from(!outcome.converged);
            sum.violations.extend(outcome.findings.iter().cloned());
        }
        sum
    }

    /// Each transition, and how often it was reached.
    pub fn marks(&self) -> impl Iterator<Item = (Mark, u64)> {
        Mark::ALL.iter().zip(&self.marks).map(|((mark, ..), times)| (*mark, *times))
    }

    /// Transitions that were never reached.
    pub fn marks_missed(&self) -> impl Iterator<Item = Mark> {
        self.marks().filter(|(_, times)| *times == 0).map(|(mark, _)| mark)
    }
}
