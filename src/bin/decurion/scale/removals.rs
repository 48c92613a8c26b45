//! How often somebody is removed who lives, over thousands of simulated member-hours.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use decurion::sim::scale::{Endured, Hardship, endure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::each_seed;
use super::figure::{Figure, digits, grouped, poisson_bounds};
use super::plot::{Axis, Series, svg};
use crate::arguments::ScaleArguments;
use crate::output::{Exit, Failure, Output};

const MEMBERS: usize = 12;
const PAUSE_US: u64 = 1_000_000;
const EVERY_US: u64 = 30_000_000;
/// What one seed lasts.
const SEED_US: u64 = 300_000_000;
/// Of the seeds with a removal, the first so many are told.
const SEEDS_TOLD: usize = 32;
/// The name of this figure, and of its lines.
const NAME: &str = "removals";

/// What a row of seeds came to at one loss, as `--json` prints it and `--resume` reads it.
#[derive(Default, Debug, Serialize, Deserialize)]
struct Run {
    loss_percent: u32,
    first_seed: u64,
    next_seed: u64,
    member_hours: f64,
    pauses: u64,
    removals: u64,
    removal_seeds: BTreeSet<u64>,
    views: u64,
    ended: u64,
    not_formed: u64,
    steps: u64,
    cpu_s: f64,
}

impl Run {
    /// One without seeds.
    fn new(loss_percent: u32, first_seed: u64) -> Run {
        Run { loss_percent, first_seed, next_seed: first_seed, ..Run::default() }
    }

    /// Simulates the seeds after its last one, up to this one.
    fn go_on(&mut self, to: u64, jobs: usize) {
        let seeds = self.next_seed..to.max(self.next_seed);
        let hardship = Hardship { members: MEMBERS, loss: self.loss_percent * 10, pause: PAUSE_US, every: EVERY_US };
        let before = super::cpu_seconds();
        let sum = Mutex::new((Endured::default(), BTreeSet::new()));
        each_seed(seeds.clone(), jobs, |seed| {
            let endured = endure(seed, &hardship, SEED_US);
            let (sum, with_removals) = &mut *sum.lock().expect("no thread panics while it holds the sum");
            sum.add(&endured);
            if endured.removals > 0 {
                with_removals.insert(seed);
            }
        });
        let (sum, removal_seeds) = sum.into_inner().expect("all threads have ended");
        let Endured { member_us, pauses, removals, views, ended, not_formed, steps } = sum;
        let (member_hours, cpu_s) = (member_us as f64 / 3.6e9, super::cpu_seconds() - before);
        let more = Run::new(self.loss_percent, seeds.end);
        self.add(Run { member_hours, pauses, removals, removal_seeds, views, ended, not_formed, steps, cpu_s, ..more });
    }

    /// Adds what came of the seeds after its own.
    fn add(&mut self, other: Run) {
        self.next_seed = other.next_seed;
        self.member_hours += other.member_hours;
        self.pauses += other.pauses;
        self.removals += other.removals;
        self.removal_seeds.extend(other.removal_seeds);
        self.removal_seeds = std::mem::take(&mut self.removal_seeds).into_iter().take(SEEDS_TOLD).collect();
        self.views += other.views;
        self.ended += other.ended;
        self.not_formed += other.not_formed;
        self.steps += other.steps;
        self.cpu_s += other.cpu_s;
    }

    /// Removals in an hour of a member, and what they are at least and at most with 95 %.
    fn rates(&self) -> [f64; 3] {
        let (low, high) = poisson_bounds(self.removals);
        [self.removals as f64, low, high].map(|count| count / self.member_hours.max(f64::MIN_POSITIVE))
    }

    fn cells(&self) -> Vec<String> {
        let [rate, low, high] = self.rates();
        vec![
            format!("{} %", self.loss_percent),
            grouped(self.member_hours as i64),
            grouped(self.pauses as i64),
            grouped(self.removals as i64),
            digits(rate),
            format!("{} to {}", digits(low), digits(high)),
            grouped(self.views as i64),
            digits(self.cpu_s),
        ]
    }

    fn values(&self) -> Value {
        let [rate, low, high] = self.rates();
        let mut values = json!(self);
        values["per_member_hour"] = json!(rate);
        values["ci95"] = json!([low, high]);
        values
    }
}

/// Runs so many member-hours at each loss, but for those that an earlier run has had.
pub fn simulated(arguments: &ScaleArguments, jobs: usize, output: &Output) -> Result<Figure, Failure> {
    let ScaleArguments { member_hours, first_seed, losses, resume, .. } = arguments;
    let mut earlier = resume.as_deref().map(read).transpose()?.unwrap_or_default();
    let words: Vec<String> = losses.iter().map(u32::to_string).collect();
    let words = words.join(",");
    let mut figure = Figure {
        name: NAME,
        command: format!(
            "decurion scale removals --losses {words} --first-seed {first_seed} --member-hours {member_hours}"
        ),
        about: format!(
            "{MEMBERS} simulated members, profile `lan`; every member stands still for 1 s, every 30 s in the mean; datagrams and \
             segments of connections are lost, and a lost segment comes 0.2 s later or more. Nobody dies: whoever goes is removed \
             falsely. Who gives up joining is started again after 1 s. Exact 95 % bounds, as if removals were independent."
        ),
        columns: vec![
            "loss",
            "member-hours",
            "pauses",
            "false removals",
            "per member-hour",
            "95 % bounds",
            "views",
            "CPU s",
        ],
        ..Figure::default()
    };
    let (mut points, mut bars) = (Vec::new(), Vec::new());
    for percent in losses {
        let count = (member_hours * 3_600_000_000).div_ceil(SEED_US * MEMBERS as u64);
        let mut run = resumed(&mut earlier, *percent, *first_seed)?;
        run.go_on(first_seed + count, jobs);
        // Hours pass until all of them are there.
        let (removals, hours) = (run.removals, run.member_hours);
        output.say(&format!("{percent} % lost: {removals} false removals in {hours:.0} member-hours"));
        if let Some(seed) = run.removal_seeds.first() {
            output.say(&format!("first in seed {seed}: --losses {percent} --first-seed {seed} --member-hours 1"));
        }
        figure.row(run.cells(), run.values());
        let [rate, low, high] = run.rates();
        points.push((f64::from(*percent), rate));
        bars.push((f64::from(*percent), low, high));
        if *percent == 5 {
            let text = "0 false removals in 100,000 member-hours at 5 % loss with 1-s pauses";
            let measured = format!("{} in {}", grouped(removals as i64), grouped(hours as i64));
            figure.target(text, measured, removals == 0 && hours >= 100_000.0);
        }
    }
    let series = Series { name: "false removals".to_owned(), points, bars };
    let up = Axis { text: "removals in a member-hour", logarithmic: true };
    figure.plot = Some(svg(&Axis { text: "loss in %", logarithmic: false }, &up, &[series]));
    Ok(figure)
}

/// The runs of which a file has lines, by their first seeds. Lines about anything else are left aside.
fn read(path: &Path) -> Result<Vec<Run>, Failure> {
    let usage = |text: String| Failure::new(Exit::Usage, format!("{}: {text}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| usage(error.to_string()))?;
    let mut runs = Vec::new();
    for (line, at) in text.lines().zip(1..) {
        let value: Value =
            serde_json::from_str(line).map_err(|error| usage(format!("line {at} is no JSON: {error}")))?;
        if value["figure"] == NAME {
            runs.push(Run::deserialize(value).map_err(|error| usage(format!("line {at}: {error}")))?);
        }
    }
    if runs.is_empty() {
        return Err(usage("no line of `decurion scale removals --json` is in it".to_owned()));
    }
    runs.sort_by_key(|run: &Run| run.first_seed);
    Ok(runs)
}

/// What earlier runs came to at this loss. Their seeds must follow each other: none may count twice or be missing in the middle.
fn resumed(earlier: &mut Vec<Run>, percent: u32, first_seed: u64) -> Result<Run, Failure> {
    let mut sum = Run::new(percent, first_seed);
    for run in earlier.extract_if(.., |run| run.loss_percent == percent) {
        if run.first_seed != sum.next_seed || run.next_seed < run.first_seed {
            let (from, to, next) = (run.first_seed, run.next_seed, sum.next_seed);
            let text = format!(
                "--resume: seeds {from} to {to} at {percent} % loss do not begin at {next}, where those before end"
            );
            return Err(Failure::new(Exit::Usage, text));
        }
        sum.add(run);
    }
    Ok(sum)
}
