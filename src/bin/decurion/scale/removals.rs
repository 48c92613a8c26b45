//! How often somebody is removed who lives, over thousands of simulated member-hours.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Mutex;

use decurion::sim::scale::{Endured, Hardship, endure};
use serde_json::json;

use super::each_seed;
use super::figure::{Figure, digits, grouped, poisson_bounds};
use super::plot::{Axis, Series, svg};
use crate::arguments::ScaleArguments;
use crate::output::Output;

const MEMBERS: usize = 12;
const PAUSE_US: u64 = 1_000_000;
const EVERY_US: u64 = 30_000_000;
/// What one seed lasts.
const SEED_US: u64 = 300_000_000;
/// Of the seeds with a removal, the first so many are told.
const SEEDS_TOLD: usize = 32;

/// Runs so many member-hours at each loss.
pub fn simulated(arguments: &ScaleArguments, jobs: usize, output: &Output) -> Figure {
    let ScaleArguments { member_hours, first_seed, losses, .. } = arguments;
    let words: Vec<String> = losses.iter().map(u32::to_string).collect();
    let words = words.join(",");
    let mut figure = Figure {
        name: "removals",
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
        let hardship = Hardship { members: MEMBERS, loss: percent * 10, pause: PAUSE_US, every: EVERY_US };
        let count = (member_hours * 3_600_000_000).div_ceil(SEED_US * MEMBERS as u64);
        let seeds = *first_seed..first_seed + count;
        let before = super::cpu_seconds();
        let (sum, told) = many(seeds.clone(), jobs, &hardship);
        let (hours, cpu) = (sum.member_us as f64 / 3.6e9, super::cpu_seconds() - before);
        let (low, high) = poisson_bounds(sum.removals);
        // Hours pass until all of them are there.
        output.say(&format!("{percent} % lost: {} false removals in {hours:.0} member-hours", sum.removals));
        if let Some(seed) = told.first() {
            output.say(&format!("first in seed {seed}: --losses {percent} --first-seed {seed} --member-hours 1"));
        }
        let [rate, low, high] = [sum.removals as f64, low, high].map(|count| count / hours.max(f64::MIN_POSITIVE));
        figure.row(
            vec![
                format!("{percent} %"),
                grouped(hours as i64),
                grouped(sum.pauses as i64),
                grouped(sum.removals as i64),
                digits(rate),
                format!("{} to {}", digits(low), digits(high)),
                grouped(sum.views as i64),
                digits(cpu),
            ],
            json!({ "first_seed": first_seed, "next_seed": seeds.end, "loss_percent": percent, "member_hours": hours, "pauses": sum.pauses, "removals": sum.removals,
                    "removal_seeds": told, "per_member_hour": rate, "ci95": [low, high], "views": sum.views, "ended": sum.ended,
                    "not_formed": sum.not_formed, "steps": sum.steps, "cpu_s": cpu }),
        );
        points.push((f64::from(*percent), rate));
        bars.push((f64::from(*percent), low, high));
        if *percent == 5 {
            let text = "0 false removals in 100,000 member-hours at 5 % loss with 1-s pauses";
            let measured = format!("{} in {}", grouped(sum.removals as i64), grouped(hours as i64));
            figure.target(text, measured, sum.removals == 0 && hours >= 100_000.0);
        }
    }
    let series = Series { name: "false removals".to_owned(), points, bars };
    let up = Axis { text: "removals in a member-hour", logarithmic: true };
    figure.plot = Some(svg(&Axis { text: "loss in %", logarithmic: false }, &up, &[series]));
    figure
}

/// What came of all of them, and the first seeds with a removal, which can be looked at alone.
fn many(seeds: Range<u64>, jobs: usize, hardship: &Hardship) -> (Endured, BTreeSet<u64>) {
    let sum = Mutex::new((Endured::default(), BTreeSet::new()));
    each_seed(seeds, jobs, |seed| {
        let endured = endure(seed, hardship, SEED_US);
        let mut sum = sum.lock().expect("no thread panics while it holds the sum");
        sum.0.add(&endured);
        if endured.removals > 0 {
            sum.1.insert(seed);
            if sum.1.len() > SEEDS_TOLD {
                sum.1.pop_last();
            }
        }
    });
    sum.into_inner().expect("all threads have ended")
}
