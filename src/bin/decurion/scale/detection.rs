//! How long it takes until a death is noticed: distributions over many seeds, and the same of real processes.

use std::ops::Range;
use std::sync::Mutex;

use decurion::sim::scale::{Death, Noticed, notice};
use serde_json::json;

use super::each_seed;
use super::figure::{Figure, grouped, ms, quantile};
use super::plot::{Axis, Series, svg};

/// Members of the simulated cluster.
const MEMBERS: usize = 12;
/// What both tables ask for at 99 of 100 deaths, in microseconds.
const TARGETS: [(Death, u64, &str); 2] =
    [(Death::ClosedSocket, 100_000, "100 ms"), (Death::SilentStop, 2_000_000, "2 s")];

/// On the simulator.
pub fn simulated(first: u64, seeds: u64, jobs: usize) -> Figure {
    let mut figure = Figure {
        name: "detection",
        command: format!("decurion scale detection --first-seed {first} --seeds {seeds}"),
        about: format!(
            "{MEMBERS} simulated members, profile `lan`, a network that takes 0.1 to 0.2 ms and loses nothing; each of {} seeds \
             draws who dies, and when.",
            grouped(seeds as i64)
        ),
        ..Figure::default()
    };
    let measured = TARGETS.map(|(death, ..)| (death, many(first..first + seeds, jobs, death)));
    fill(&mut figure, &measured.map(|(death, noticed)| (death, noticed, seeds)));
    figure
}

/// The death of each seed, on several threads.
fn many(seeds: Range<u64>, jobs: usize, death: Death) -> Vec<Noticed> {
    let all = Mutex::new(Vec::new());
    each_seed(seeds, jobs, |seed| {
        let noticed = notice(seed, MEMBERS, death);
        all.lock().expect("no thread panics while it holds the list").extend(noticed);
    });
    all.into_inner().expect("all threads have ended")
}

/// The rows, the plot and the targets of what was noticed; each with how many deaths there were.
pub fn fill(figure: &mut Figure, measured: &[(Death, Vec<Noticed>, u64)]) {
    figure.columns = vec!["death", "noticed", "deaths", "p50 ms", "p90 ms", "p99 ms", "max ms"];
    let mut lines = Vec::new();
    for (death, noticed, deaths) in measured {
        let (name, key) = match death {
            Death::ClosedSocket => ("killed: closed sockets", "closed_socket"),
            Death::SilentStop => ("stopped: silence", "silent_stop"),
        };
        let sorted = |of: fn(&Noticed) -> u64| {
            let mut all: Vec<u64> = noticed.iter().map(of).collect();
            all.sort_unstable();
            all
        };
        let kinds =
            [("suspected by the first", sorted(|n| n.first_us)), ("out of the view everywhere", sorted(|n| n.all_us))];
        for ((what, sorted), word) in kinds.iter().zip(["first", "all"]) {
            let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|part| quantile(sorted, part));
            let cells = [p50, p90, p99, max].map(ms);
            let head = [name.to_owned(), (*what).to_owned(), format!("{} of {}", sorted.len(), deaths)];
            figure.row(
                head.into_iter().chain(cells).collect(),
                json!({ "death": key, "noticed": word, "deaths": deaths, "counted": sorted.len(),
                        "p50_us": p50, "p90_us": p90, "p99_us": p99, "max_us": max }),
            );
            let count = sorted.len() as f64;
            let points =
                (0..=100).map(|part| (quantile(sorted, f64::from(part) / 100.0) as f64 / 1e3, f64::from(part) / 100.0));
            lines.push(Series::line(format!("{name}, {what}"), points.filter(|_| count > 0.0).collect()));
        }
        let (_, bound, text) = TARGETS.iter().find(|target| target.0 == *death).expect("both have one");
        let p99 = quantile(&kinds[1].1, 0.99);
        let complete = noticed.len() as u64 == *deaths;
        figure.target(
            &format!("{name}: 99 of 100 within {text}"),
            format!("{} ms", ms(p99)),
            complete && p99 <= *bound,
        );
    }
    let across = Axis { text: "milliseconds after the death", logarithmic: true };
    figure.plot = Some(svg(&across, &Axis { text: "part of the deaths", logarithmic: false }, &lines));
}
