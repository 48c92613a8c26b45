//! `decurion simulate`: whole clusters on a virtual clock, from seeds, under faults, with every promise checked.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use decurion::core::{Mark, Plant};
use decurion::sim::{
    FaultKind, Finding, Options, Outcome as SeedOutcome, Scenario, Summary, run_seeds, search, seeds_that_catch,
    trace_seed,
};
use serde_json::{Map, Value, json};

use super::arguments::SimulateArguments;
use super::output::{Exit, Failure, Outcome, Output};
use super::{enumerate, scenario, shrink};

/// Violations that are written out for people; the summary has them all.
const MOST_SHOWN: usize = 20;
/// Seeds that are run where none are named.
const SEEDS: RangeInclusive<u64> = 0..=99;
/// In a run of so many seeds every transition must be reached.
const ENOUGH_SEEDS: u64 = 1_000;
/// Seeds that are looked for to catch each planted bug.
const SEEDS_NAMED: usize = 4;

/// Runs the verb.
pub fn run(arguments: &SimulateArguments, output: &Output) -> Outcome {
    let plant = match arguments.plant.as_deref() {
        Some("list") => return Ok(list_plants(output)),
        Some("all") => return search_plants(arguments, output),
        Some(name) => Some(plant_of(name)?),
        None => None,
    };
    if let Some(case) = arguments.enumerate.as_deref() {
        return enumerate::run(case, plant, arguments, output);
    }
    if let Some(name) = arguments.scenario.as_deref() {
        return scenario::run(name, plant, arguments, output);
    }
    match (arguments.seed, &arguments.trace) {
        (Some(seed), None) if arguments.only.is_some() => {
            shrink::tell_trimmed(seed, arguments.only.as_deref().unwrap_or_default(), plant, output)
        }
        (Some(seed), Some(file)) => trace(seed, plant, file, output),
        (Some(seed), None) => many(seed..=seed, plant, arguments, output),
        (None, Some(_)) => Err(Failure::new(Exit::Usage, "--trace needs one seed: --seed S --trace FILE")),
        (None, None) => many(seeds(arguments)?, plant, arguments, output),
    }
}

fn jobs(arguments: &SimulateArguments) -> usize {
    match arguments.jobs {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        jobs => jobs,
    }
}

fn seeds(arguments: &SimulateArguments) -> Result<RangeInclusive<u64>, Failure> {
    arguments.seeds.as_deref().map_or(Ok(SEEDS), range)
}

/// `N` is the first N seeds; `A..B` begins at A and ends before B.
pub(super) fn range(text: &str) -> Result<RangeInclusive<u64>, Failure> {
    let (from, to) = text.split_once("..").unwrap_or(("0", text));
    let ends = from.trim().parse().ok().zip(to.trim().parse().ok());
    let wrong =
        || Failure::new(Exit::Usage, format!("--seeds {text}: write a number of seeds, or A..B with A below B"));
    let (from, to): (u64, u64) = ends.filter(|(from, to)| from < to).ok_or_else(wrong)?;
    Ok(from..=to - 1)
}

fn plant_of(name: &str) -> Result<Plant, Failure> {
    Plant::by_name(name).ok_or_else(|| {
        let names: Vec<&str> = Plant::ALL.iter().map(|(_, name, ..)| *name).collect();
        let text = format!("--plant {name}: there is no such bug to plant; there are: {}", names.join(", "));
        Failure::new(Exit::Usage, text)
    })
}

fn list_plants(output: &Output) -> Exit {
    let width = Plant::ALL.iter().map(|(_, name, ..)| name.len()).max().unwrap_or(0);
    let mut listed = Vec::new();
    for (plant, name, guarantee, about) in Plant::ALL {
        let seeds = seeds_that_catch(*plant);
        let scenarios: Vec<&str> = Scenario::that_show(*plant).map(|scenario| scenario.name).collect();
        let after = seeds.first().map(|first| first + 1);
        let by_seeds = after.map(|after| format!("its check after {after} seeds, again in {}", words(&seeds[1..])));
        let by_scenarios = (!scenarios.is_empty()).then(|| format!("scenario {}", scenarios.join(", ")));
        let caught: Vec<String> = by_seeds.into_iter().chain(by_scenarios).collect();
        output.table(&format!("{name:width$}  {guarantee}  {about}; caught by {}", caught.join("; ")));
        listed.push(json!({
            "name": name, "guarantee": guarantee, "about": about, "seeds": seeds, "after_seeds": after, "scenarios": scenarios,
        }));
    }
    output.summary(true, json!({ "plants": listed }));
    Exit::Fine
}

/// Plants each bug in turn and looks for seeds that catch it. The lines are the table that `--plant list` knows.
fn search_plants(arguments: &SimulateArguments, output: &Output) -> Outcome {
    let (seeds, jobs) = (seeds(arguments)?, jobs(arguments));
    let mut found = Vec::new();
    for (plant, name, guarantee, _) in Plant::ALL {
        let caught = search(*plant, seeds.clone(), SEEDS_NAMED, jobs);
        output.table(&format!("{name} {guarantee} {}", words(&caught)));
        found.push(json!({ "name": name, "guarantee": guarantee, "seeds": caught }));
    }
    let named = |plant: &Value| plant["seeds"].as_array().is_some_and(|seeds| !seeds.is_empty());
    let shown = |plant: &Plant| Scenario::that_show(*plant).next().is_some();
    let fine = Plant::ALL.iter().zip(&found).all(|((plant, ..), found)| named(found) || shown(plant));
    output.summary(fine, json!({ "plants": found }));
    Ok(if fine { Exit::Fine } else { Exit::Broken })
}

fn words(seeds: &[u64]) -> String {
    seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}

fn trace(seed: u64, plant: Option<Plant>, file: &Path, output: &Output) -> Outcome {
    let (outcome, trace) = trace_seed(seed, plant);
    write_trace(file, &trace)?;
    output.say(&format!("{} steps of seed {seed} are in {}", outcome.steps, file.display()));
    Ok(conclude(&Summary::of(&[outcome]), plant, false, output))
}

pub(super) fn write_trace(file: &Path, trace: &str) -> Result<(), Failure> {
    let wrong =
        |error| Failure::new(Exit::Environment, format!("--trace {}: cannot write it: {error}", file.display()));
    std::fs::write(file, trace).map_err(wrong)
}

fn many(seeds: RangeInclusive<u64>, plant: Option<Plant>, arguments: &SimulateArguments, output: &Output) -> Outcome {
    // Never all that there are: `range` ends before the last one.
    let (total, began) = (seeds.end() - seeds.start() + 1, Instant::now());
    let count = AtomicU64::new(0);
    let done = |outcome: &SeedOutcome| {
        if !outcome.findings.is_empty() {
            output.line("seed", json!({ "seed": outcome.seed, "violations": violations(&outcome.findings, plant) }));
        }
        // Ten words on the way are enough.
        let count = count.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_multiple_of(total.div_ceil(10)) {
            output.say(&format!("{count} of {total} seeds after {} s", began.elapsed().as_secs()));
        }
    };
    let summary = run_seeds(seeds, &Options { plant, jobs: jobs(arguments) }, &done);
    // A planted bug is known: its seeds are shrunk only if somebody asks for that.
    if let Some(first) = summary.violations.first().filter(|_| arguments.shrink || plant.is_none()) {
        let bound = if total == 1 { shrink::ASKED_FOR } else { shrink::AMONG_MANY };
        shrink::tell_smaller(first.seed, plant, bound, output);
    }
    // A planted bug keeps members from much that they would do without it.
    let all_marks = arguments.marks.is_some() || (total >= ENOUGH_SEEDS && plant.is_none());
    Ok(conclude(&summary, plant, all_marks, output))
}

/// Writes what was done and found. With `all_marks`, a transition that was never reached is a failure.
pub(super) fn conclude(summary: &Summary, plant: Option<Plant>, all_marks: bool, output: &Output) -> Exit {
    for finding in summary.violations.iter().take(MOST_SHOWN) {
        let Finding { seed, guarantee, at_ms, text, .. } = finding;
        output.say(&format!("seed {seed} at {at_ms} ms: {guarantee} is broken: {text}"));
        output.say(&format!("    {}", replay(finding, plant)));
    }
    let counts = |all: &mut dyn Iterator<Item = (&'static str, u64)>| -> Map<String, Value> {
        all.map(|(name, count)| (name.to_owned(), json!(count))).collect()
    };
    let marks = counts(&mut summary.marks().map(|(mark, times)| (mark.name(), times)));
    let (faults, checks) = (counts(&mut summary.faults.iter()), counts(&mut summary.checks.iter()));
    let names = FaultKind::ALL.iter().map(|(_, name, _)| *name);
    let fault_seeds = counts(&mut names.zip(summary.seeds_with_fault.iter().copied()));
    output.table(&format!(
        "{} seeds, {:.2} cluster-hours, {} messages delivered, {} seeds with a view change under load",
        summary.seeds, summary.cluster_hours, summary.delivered, summary.seeds_with_change_under_load
    ));
    let words = |map: &Map<String, Value>| map.iter().map(|(k, v)| format!("{k} {v}")).collect::<Vec<_>>().join(", ");
    output.table(&format!("faults: {}", words(&faults)));
    output.table(&format!("seeds with them: {}", words(&fault_seeds)));
    output.table(&format!("checks: {}", words(&checks)));
    let missed: Vec<&str> = summary.marks_missed().map(Mark::name).collect();
    let reached = marks.iter().filter(|(_, times)| **times != json!(0)).map(|(k, v)| format!("{k} {v}"));
    output.table(&format!("transitions: {}", reached.collect::<Vec<_>>().join(", ")));
    output.table(&format!(
        "{} of {} transitions reached; never: {}",
        marks.len() - missed.len(),
        marks.len(),
        missed.join(", ")
    ));
    let unmarked = all_marks && !missed.is_empty();
    if unmarked {
        output.say(&format!("never reached in {} seeds: {}", summary.seeds, missed.join(", ")));
    }
    let (broken, apart) = (summary.violations.len(), summary.not_converged);
    let hash = format!("{:016x}", summary.trace_hash);
    output.table(&format!("trace hash {hash}; {broken} violations; {apart} seeds did not converge"));
    let fine = broken == 0 && apart == 0 && !unmarked;
    let fields = json!({
        "seeds": summary.seeds,
        "cluster_hours": summary.cluster_hours,
        "trace_hash": hash,
        "faults": faults,
        "fault_seeds": fault_seeds,
        "checks": checks,
        "marks": marks,
        "marks_missed": missed,
        "delivered": summary.delivered,
        "seeds_with_change_under_load": summary.seeds_with_change_under_load,
        "not_converged": apart,
        "violations": violations(&summary.violations, plant),
    });
    output.summary(fine, fields);
    if fine { Exit::Fine } else { Exit::Broken }
}

fn violations(findings: &[Finding], plant: Option<Plant>) -> Vec<Value> {
    let fields = |finding: &Finding| {
        json!({
            "seed": finding.seed,
            "guarantee": finding.guarantee,
            "at_ms": finding.at_ms,
            "text": finding.text,
            "replay": replay(finding, plant),
        })
    };
    findings.iter().map(fields).collect()
}

/// The command that shows a finding again, its planted bug included.
fn replay(finding: &Finding, plant: Option<Plant>) -> String {
    plant.map_or_else(|| finding.replay.clone(), |plant| format!("{} --plant {}", finding.replay, plant.name()))
}
