//! `decurion simulate`: whole clusters on a virtual clock, from seeds, under faults, with every promise checked.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use decurion::core::Plant;
use decurion::sim::{Finding, Options, Outcome as SeedOutcome, Summary, run_seeds, trace_seed};
use serde_json::{Map, Value, json};

use super::arguments::SimulateArguments;
use super::output::{Exit, Failure, Outcome, Output};

/// Violations that are written out for people; the summary has them all.
const MOST_SHOWN: usize = 20;

/// Runs the verb.
pub fn run(arguments: &SimulateArguments, output: &Output) -> Outcome {
    let plant = match arguments.plant.as_deref() {
        Some("list") => return Ok(list_plants(output)),
        Some(name) => Some(plant_of(name)?),
        None => None,
    };
    match (arguments.seed, &arguments.trace) {
        (Some(seed), Some(file)) => trace(seed, plant, file, output),
        (Some(seed), None) => many(seed..seed + 1, plant, arguments.jobs, output),
        (None, Some(_)) => Err(Failure::new(Exit::Usage, "--trace needs one seed: --seed S --trace FILE")),
        (None, None) => many(range(&arguments.seeds)?, plant, arguments.jobs, output),
    }
}

/// `N` is the first N seeds; `A..B` begins at A and ends before B.
fn range(text: &str) -> Result<Range<u64>, Failure> {
    let range = match text.split_once("..") {
        Some((from, to)) => from.trim().parse().ok().zip(to.trim().parse().ok()).map(|(from, to)| from..to),
        None => text.trim().parse().ok().map(|count| 0..count),
    };
    let wrong =
        || Failure::new(Exit::Usage, format!("--seeds {text}: write a number of seeds, or A..B with A below B"));
    range.filter(|seeds: &Range<u64>| !seeds.is_empty()).ok_or_else(wrong)
}

fn plant_of(name: &str) -> Result<Plant, Failure> {
    Plant::by_name(name).ok_or_else(|| {
        let names: Vec<&str> = Plant::ALL.iter().map(|(_, name, _)| *name).collect();
        let text = format!("--plant {name}: there is no such bug to plant; there are: {}", names.join(", "));
        Failure::new(Exit::Usage, text)
    })
}

/// The promise that a planted bug is expected to break first.
fn guarantee_of(plant: Plant) -> &'static str {
    match plant {
        Plant::DeliverBeyondCut => "D3",
        Plant::ForgetBeforeStable | Plant::RelayOverGap | Plant::ReplayTwice => "D1",
        Plant::ForgetAcceptedProposal => "V1",
        Plant::IgnoreLease | Plant::RelyOnStaleProof | Plant::LeaseWithoutHold => "V3",
        Plant::CountUnreadyJoiner => "V5",
        Plant::LeakCredit => "D5",
        Plant::TrustOneWayLink => "V8",
        Plant::DropAtViewEnd => "D7",
        Plant::OneObserverKills => "V7",
        Plant::KeepIdentityAfterRestart => "V2",
    }
}

fn list_plants(output: &Output) -> Exit {
    let width = Plant::ALL.iter().map(|(_, name, _)| name.len()).max().unwrap_or(0);
    for (plant, name, about) in Plant::ALL {
        output.table(&format!("{name:width$}  {}  {about}", guarantee_of(*plant)));
    }
    let fields = |(plant, name, about): &(Plant, &str, &str)| json!({ "name": name, "guarantee": guarantee_of(*plant), "about": about });
    output.summary(true, json!({ "plants": Plant::ALL.iter().map(fields).collect::<Vec<_>>() }));
    Exit::Fine
}

fn trace(seed: u64, plant: Option<Plant>, file: &Path, output: &Output) -> Outcome {
    let (outcome, trace) = trace_seed(seed, plant);
    std::fs::write(file, trace).map_err(|error| {
        Failure::new(Exit::Environment, format!("--trace {}: cannot write it: {error}", file.display()))
    })?;
    output.say(&format!("{} steps of seed {seed} are in {}", outcome.steps, file.display()));
    Ok(conclude(&Summary::of(&[outcome]), plant, output))
}

fn many(seeds: Range<u64>, plant: Option<Plant>, jobs: usize, output: &Output) -> Outcome {
    let jobs = if jobs == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { jobs };
    let (total, began) = (seeds.end - seeds.start, Instant::now());
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
    let summary = run_seeds(seeds, &Options { plant, jobs }, &done);
    Ok(conclude(&summary, plant, output))
}

fn conclude(summary: &Summary, plant: Option<Plant>, output: &Output) -> Exit {
    for finding in summary.violations.iter().take(MOST_SHOWN) {
        let Finding { seed, guarantee, at_ms, text, .. } = finding;
        output.say(&format!("seed {seed} at {at_ms} ms: {guarantee} is broken: {text}"));
        output.say(&format!("    {}", replay(finding, plant)));
    }
    let counts = |all: &mut dyn Iterator<Item = (&'static str, u64)>| -> Map<String, Value> {
        all.map(|(name, count)| (name.to_owned(), json!(count))).collect()
    };
    let (faults, checks) = (counts(&mut summary.faults.iter()), counts(&mut summary.checks.iter()));
    output.table(&format!(
        "{} seeds, {:.2} cluster-hours, {} messages delivered, {} seeds with a view change under load",
        summary.seeds, summary.cluster_hours, summary.delivered, summary.seeds_with_change_under_load
    ));
    let words = |map: &Map<String, Value>| map.iter().map(|(k, v)| format!("{k} {v}")).collect::<Vec<_>>().join(", ");
    output.table(&format!("faults: {}", words(&faults)));
    output.table(&format!("checks: {}", words(&checks)));
    let (broken, apart) = (summary.violations.len(), summary.not_converged);
    let hash = format!("{:016x}", summary.trace_hash);
    output.table(&format!("trace hash {hash}; {broken} violations; {apart} seeds did not converge"));
    let fine = broken == 0 && apart == 0;
    let fields = json!({
        "seeds": summary.seeds,
        "cluster_hours": summary.cluster_hours,
        "trace_hash": hash,
        "faults": faults,
        "checks": checks,
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
    let name = plant.and_then(|plant| Plant::ALL.iter().find(|(p, ..)| *p == plant)).map(|(_, name, _)| name);
    name.map_or_else(|| finding.replay.clone(), |name| format!("{} --plant {name}", finding.replay))
}
