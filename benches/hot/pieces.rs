//! Times the pieces with criterion, and holds the medians to `baseline.tsv`: `BASELINE=compare` prints piece, baseline, now and ratio, and
//! fails where a piece is slower than the bound; `BASELINE=bless` makes the table anew. Of what a filter leaves out nothing is said.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use decurion_hot::table::{Table, Verdict};
use decurion_hot::{How, Meter, Piece};

const GROUP: &str = "hot";
const TABLE: &str = "baseline.tsv";
/// How much slower a piece may be than in the table: the same code differs by a third from hour to hour where others share the processors.
/// `BASELINE_BOUND` sets another one.
const BOUND: f64 = 0.5;

fn main() -> ExitCode {
    let mut criterion = Criterion::default().configure_from_args();
    let mut ran = Vec::new();
    let mut group = criterion.benchmark_group(GROUP);
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for piece in Piece::all() {
        group.throughput(Throughput::Elements(piece.units));
        group.bench_function(piece.name, |b| {
            ran.push(piece);
            let mut work = (piece.prepare)(How::Timed);
            b.iter_custom(|rounds| {
                let mut meter = Meter::timing();
                (0..rounds).for_each(|_| work(&mut meter));
                meter.elapsed
            });
        });
    }
    group.finish();
    criterion.final_summary();
    ran.dedup_by_key(|piece| piece.name);
    match std::env::var("BASELINE").as_deref() {
        Ok("compare") => compare(&ran),
        Ok("bless") => bless(&ran),
        Ok(other) => panic!("BASELINE is compare or bless, not {other}"),
        Err(_) => ExitCode::SUCCESS,
    }
}

/// Nanoseconds for one unit of a piece: the median that criterion has just written down.
fn median(piece: &Piece) -> f64 {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
        |folder| Path::new(&folder).to_owned(),
    );
    let path = target.join("criterion").join(GROUP).join(piece.name).join("new/estimates.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let estimates: serde_json::Value = serde_json::from_str(&text).expect("criterion writes JSON");
    estimates["median"]["point_estimate"].as_f64().expect("a median") / piece.units as f64
}

fn compare(ran: &[&Piece]) -> ExitCode {
    let bound = std::env::var("BASELINE_BOUND").map_or(BOUND, |text| text.parse().expect("BASELINE_BOUND is a number"));
    let table = Table::read(TABLE);
    println!("Baseline of {}, now {}.\n{}", table.about, machine(), Table::head("ns"));
    let mut slower = Vec::new();
    for piece in ran {
        let now = median(piece);
        println!("{}", table.line(piece.name, piece.of, now, bound));
        if matches!(table.judge(piece.name, now, bound), Verdict::Worse | Verdict::Unknown) {
            slower.push(piece.name);
        }
    }
    if slower.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("slower than the baseline by over {bound}, or not in it: {}", slower.join(", "));
    ExitCode::FAILURE
}

fn bless(ran: &[&Piece]) -> ExitCode {
    let mut table = Table::read(TABLE);
    let figures: BTreeMap<String, f64> = ran.iter().map(|piece| (piece.name.to_owned(), median(piece))).collect();
    table.about = machine();
    table.figures.extend(figures);
    table.figures.retain(|name, _| Piece::named(name).is_some());
    table.write(TABLE);
    println!("wrote {}", Table::path(TABLE).display());
    ExitCode::SUCCESS
}

/// The processors, and how busy they are.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, m)| m);
    let load = read("/proc/loadavg");
    let kernel = read("/proc/sys/kernel/osrelease");
    let kernel: Vec<&str> = kernel.trim().split(['.', '-']).take(2).collect();
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let load = load.split_whitespace().next().unwrap_or("?");
    format!("{count} processors ({model}), Linux {}, load average {load}", kernel.join("."))
}
