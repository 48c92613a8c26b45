//! `decurion simulate --shrink` and `--only`: a failing seed made smaller, and told as a person would tell it.

use std::time::{Duration, Instant};

use decurion::core::Plant;
use decurion::sim::{Shrunk, Size, Summary, Told, Trim, run_trimmed, shrink};
use serde_json::{Value, json};

use super::output::{Exit, Failure, Outcome, Output};
use super::simulate::conclude;

/// For how long a seed is shrunk that was found among many, and one that was asked for.
pub const AMONG_MANY: Duration = Duration::from_secs(30);
pub const ASKED_FOR: Duration = Duration::from_secs(120);

/// Shrinks the first broken promise of a seed, and tells what is left.
pub fn tell_smaller(seed: u64, plant: Option<Plant>, bound: Duration, output: &Output) {
    let end = Instant::now() + bound;
    let Some(shrunk) = shrink(seed, plant, &|| Instant::now() < end) else { return };
    let Shrunk { guarantee, trim, before, after, tries, story, .. } = &shrunk;
    output.say(&format!("seed {seed} breaks {guarantee}; smaller after {tries} runs: {}", sizes(before, after)));
    story.iter().for_each(|line| output.say(line));
    let replay = replay(seed, trim, plant);
    output.say(&format!("    {replay}"));
    let fields = json!({
        "seed": seed, "guarantee": guarantee, "only": trim.to_string(), "replay": replay, "tries": tries,
        "before": fields(before), "after": fields(after), "story": story,
    });
    output.line("shrunk", fields);
}

/// Runs what is left of a seed, and tells it.
pub fn tell_trimmed(seed: u64, trim: &str, plant: Option<Plant>, output: &Output) -> Outcome {
    let trim: Trim = trim.parse().map_err(|text| Failure::new(Exit::Usage, format!("--only {trim}: {text}")))?;
    let Told { outcome, mut story, .. } = run_trimmed(seed, plant, &trim, None);
    // A story ends where the promise is broken.
    if let Some(finding) = outcome.findings.first() {
        story = run_trimmed(seed, plant, &trim, Some(finding.guarantee)).story;
    }
    story.iter().for_each(|line| output.say(line));
    Ok(conclude(&Summary::of(&[outcome]), plant, false, output))
}

fn replay(seed: u64, trim: &Trim, plant: Option<Plant>) -> String {
    let plant = plant.map_or_else(String::new, |plant| format!(" --plant {}", plant.name()));
    format!("decurion simulate --seed {seed} --only {trim}{plant}")
}

fn sizes(before: &Size, after: &Size) -> String {
    format!(
        "{} of {} members, {} of {} faults, {} of {} visitors, {} of {} steps",
        after.members,
        before.members,
        after.faults,
        before.faults,
        after.visitors,
        before.visitors,
        after.steps,
        before.steps
    )
}

fn fields(size: &Size) -> Value {
    let Size { members, faults, visitors, steps, ms } = size;
    json!({ "members": members, "faults": faults, "visitors": visitors, "steps": steps, "ms": ms })
}
