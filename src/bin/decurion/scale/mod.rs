//! `decurion scale`: how deaths are noticed, who is removed falsely, and what large clusters cost, as tables and pictures.

mod alone;
mod detection;
mod figure;
mod growth;
mod page;
mod plot;
mod processes;
mod removals;
mod size;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::arguments::ScaleArguments;
use super::output::{Exit, Outcome, Output};
use figure::Figure;

/// Does something for each seed, on so many threads.
fn each_seed(seeds: Range<u64>, jobs: usize, work: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(seeds.start);
    let draw = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds.end);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| std::iter::from_fn(draw).for_each(&work));
        }
    });
}

/// Runs the verb.
pub fn run(arguments: &ScaleArguments, output: &Output) -> Outcome {
    let wanted = |name: &str| arguments.figures == "all" || arguments.figures == name;
    let jobs = match arguments.jobs {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        jobs => jobs,
    };
    let mut figures = Vec::new();
    let mut take = |figure: Figure| -> Result<(), super::output::Failure> {
        show(&figure, output);
        if let Some(page) = &arguments.write {
            page::write(page, &figure)?;
        }
        figures.push(figure);
        Ok(())
    };
    if wanted("detection") {
        take(detection::simulated(arguments.first_seed, arguments.seeds, jobs))?;
    }
    if wanted("processes") {
        take(processes::measured(arguments.deaths, output)?)?;
    }
    if wanted("removals") {
        take(removals::simulated(arguments, jobs, output)?)?;
    }
    if wanted("boot") {
        take(size::boot(arguments.members))?;
    }
    if wanted("cost") {
        take(size::cost(&arguments.sizes))?;
        take(alone::cost(&arguments.alone))?;
    }
    if wanted("growth") {
        take(growth::fanout(arguments, output)?)?;
        take(growth::sessions(arguments, output)?)?;
        take(growth::idle(arguments, output)?)?;
    }
    Ok(conclude(&figures, output))
}

/// The rows as lines of JSON, or as a table.
fn show(figure: &Figure, output: &Output) {
    for value in &figure.values {
        let mut value = value.clone();
        value["figure"] = json!(figure.name);
        output.line("figure", value);
    }
    output.table(&format!("{}\n", figure.about));
    output.table(&figure.columns.join(" | "));
    figure.rows.iter().for_each(|row| output.table(&row.join(" | ")));
    output.table("");
}

fn conclude(figures: &[Figure], output: &Output) -> Exit {
    for target in figures.iter().flat_map(|figure| &figure.targets) {
        let met = if target.met { "met" } else { "NOT MET" };
        output.table(&format!("{met}: {}: {}", target.text, target.measured));
    }
    let targets: Vec<Value> = figures.iter().flat_map(Figure::target_values).collect();
    let fine = figures.iter().flat_map(|figure| &figure.targets).all(|target| target.met);
    let names: Vec<&str> = figures.iter().map(|figure| figure.name).collect();
    output.summary(fine, json!({ "figures": names, "targets": targets }));
    if fine { Exit::Fine } else { Exit::Broken }
}

/// Processor time that this process has used, all its threads together; hundredths of a second are enough here.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold anything; user and system time are the 12th and 13th field after it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Bytes of the heap in use, where the C library can tell.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn heap_bytes() -> Option<usize> {
    // SAFETY: mallinfo2 has no preconditions and answers by value.
    let heap = unsafe { libc::mallinfo2() };
    Some(heap.uordblks + heap.hblkhd)
}

/// Bytes of the heap in use, where the C library can tell.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn heap_bytes() -> Option<usize> {
    None
}
