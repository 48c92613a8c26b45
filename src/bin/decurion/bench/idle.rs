//! What members cost that have nothing to do: processor time, memory and connections of each; beside them, raw processes of the
//! same program that hold the same links and say nothing.

use std::time::Duration;

use serde_json::{Value, json};

use super::figures::median;
use super::fleet::{Fleet, Stage, rss_anon};
use super::plan::Plan;
use super::report::{Target, conclude, ratio, shape};
use crate::demo::connections;
use crate::output::{Failure, Outcome, Output};

/// What one process cost in one rest.
pub struct Cost {
    pid: u32,
    /// Of one core, in percent.
    pub cpu_percent: f64,
    /// System calls.
    pub calls_per_s: f64,
    /// Anonymous memory.
    pub rss_bytes: u64,
    /// Connections that it holds.
    pub connections: usize,
}

/// Ours, raw, and the groups of ours.
pub type Pair = (Vec<Cost>, Vec<Cost>, Vec<Vec<usize>>);

/// Lets ours rest, and then raw processes with the same links.
pub fn pair(stage: &Stage, number: u32) -> Result<Pair, Failure> {
    let plan = &stage.plan;
    let mut fleet = Fleet::ours(stage, 2 * number)?;
    let groups = fleet.groups.clone();
    // Forming a view is work: what follows is not.
    fleet.rest(Duration::from_secs(1))?;
    let ours = rest(plan, &mut fleet)?;
    drop(fleet);
    let raw = rest(plan, &mut Fleet::raw(stage, 2 * number + 1, &groups)?)?;
    Ok((ours, raw, groups))
}

/// Ours and raw in turn.
pub fn run(stage: &Stage, output: &Output) -> Outcome {
    let plan = &stage.plan;
    let seconds = plan.ms as f64 / 1e3;
    output.say(&format!(
        "idle: {} processes in {} group(s), {seconds} s, {} pair(s)",
        plan.members, plan.groups, plan.pairs
    ));
    output.say("pair   CPU % of a core, mean   most | calls/s, mean | RssAnon MB, most | connections, most |  raw: CPU %, RssAnon MB");
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    let mut groups = Vec::new();
    for number in 0..plan.pairs as u32 {
        let (rested, raw_rested, formed) = pair(stage, number)?;
        let pair = (rested, raw_rested);
        groups = formed;
        let told = |cost: &Cost| {
            json!({ "pid": cost.pid, "cpu_percent": cost.cpu_percent, "syscalls_per_s": cost.calls_per_s,
                "rss_anon_bytes": cost.rss_bytes, "connections": cost.connections })
        };
        let members: (Vec<Value>, Vec<Value>) = (pair.0.iter().map(told).collect(), pair.1.iter().map(told).collect());
        output.line("pair", json!({ "pair": number + 1, "ours": members.0, "raw": members.1 }));
        let most_connections = pair.0.iter().map(|cost| cost.connections).max().unwrap_or(0);
        output.say(&format!(
            "{:<6} {:>21.4} {:>6.4} | {:>13.1} | {:>16.2} | {most_connections:>17} | {:>10.4} {:>11.2}",
            number + 1,
            mean(&pair.0, |cost| cost.cpu_percent),
            most(&pair.0, |cost| cost.cpu_percent),
            mean(&pair.0, |cost| cost.calls_per_s),
            most(&pair.0, |cost| cost.rss_bytes as f64) / 1e6,
            mean(&pair.1, |cost| cost.cpu_percent),
            most(&pair.1, |cost| cost.rss_bytes as f64) / 1e6,
        ));
        ours.push(pair.0);
        raw.push(pair.1);
    }
    let of = |all: &[Vec<Cost>], what: &dyn Fn(&Vec<Cost>) -> f64| {
        median(&all.iter().map(what).collect::<Vec<_>>()).unwrap_or(0.0)
    };
    let cpu = of(&ours, &|pair| mean(pair, |cost| cost.cpu_percent));
    let rss = of(&ours, &|pair| most(pair, |cost| cost.rss_bytes as f64));
    let (raw_cpu, raw_rss) = (
        of(&raw, &|pair| mean(pair, |cost| cost.cpu_percent)),
        of(&raw, &|pair| most(pair, |cost| cost.rss_bytes as f64)),
    );
    let (stream_links, group_sizes) = shape(plan, &groups);
    let fields = json!({
        "cpu_percent_per_member": cpu, "cpu_percent_most": of(&ours, &|pair| most(pair, |cost| cost.cpu_percent)),
        "syscalls_per_s_per_member": of(&ours, &|pair| mean(pair, |cost| cost.calls_per_s)),
        "rss_anon_peak_bytes": rss, "connections_most": of(&ours, &|pair| most(pair, |cost| cost.connections as f64)),
        "connections_mean": of(&ours, &|pair| mean(pair, |cost| cost.connections as f64)),
        "raw_cpu_percent_per_member": raw_cpu, "raw_rss_anon_peak_bytes": raw_rss, "ratio_rss": ratio(rss, raw_rss),
        "stream_links": stream_links, "group_sizes": group_sizes,
        "pids": ours.iter().flatten().map(|cost| cost.pid).collect::<Vec<_>>(),
    });
    let targets = [
        Target::at_most("CPU of an idle member in % of a core", 0.1, cpu),
        Target::at_most("RssAnon of an idle member in MB", 8.0, rss / 1e6),
    ];
    Ok(conclude(plan, output, fields, &targets, 0))
}

fn rest(plan: &Plan, fleet: &mut Fleet<'_>) -> Result<Vec<Cost>, Failure> {
    let before = fleet.marks()?;
    fleet.rest(Duration::from_millis(plan.ms))?;
    let after = fleet.marks()?;
    let seconds = plan.ms as f64 / 1e3;
    let costs = fleet.pids().into_iter().zip(after.iter().zip(&before)).map(|(pid, (after, before))| {
        let used = after.since(before);
        Cost {
            pid,
            cpu_percent: used.cpu_us as f64 / 1e4 / seconds,
            calls_per_s: used.system_calls as f64 / seconds,
            rss_bytes: rss_anon(pid).unwrap_or(0),
            connections: connections::count(pid).unwrap_or(0),
        }
    });
    Ok(costs.collect())
}

/// The mean over all processes.
pub fn mean(costs: &[Cost], what: fn(&Cost) -> f64) -> f64 {
    costs.iter().map(what).sum::<f64>() / costs.len().max(1) as f64
}

/// The most of any process.
pub fn most(costs: &[Cost], what: fn(&Cost) -> f64) -> f64 {
    costs.iter().map(what).fold(0.0, f64::max)
}
