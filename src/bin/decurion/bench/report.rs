//! What the pairs of a run come to: a line for each, the summary, and a table for people.

use serde_json::{Value, json};

use super::figures::{Latency, interval_of_median, median};
use super::measure::Measured;
use super::plan::Plan;
use super::protocol::Mode;
use crate::arguments::{Transport, Workload};
use crate::output::{Exit, Output};

/// Most lines about trouble that are shown of one pair.
const WORDS: usize = 3;

/// Collects pairs, and tells of each when it comes.
#[derive(Debug)]
pub struct Report<'a> {
    plan: &'a Plan,
    output: &'a Output,
    ours: Vec<Measured>,
    raw: Vec<Measured>,
}

/// A target of the design, and what was measured.
#[derive(Debug)]
pub struct Target {
    /// What it is about.
    pub what: &'static str,
    /// What is wanted.
    pub wanted: String,
    /// What was measured.
    pub measured: f64,
    /// Whether it was reached.
    pub met: bool,
}

impl Target {
    /// Wants so much or more.
    pub fn at_least(what: &'static str, wanted: f64, measured: f64) -> Target {
        Target { what, wanted: format!("{wanted} or more"), measured, met: measured >= wanted }
    }

    /// Wants so much or less.
    pub fn at_most(what: &'static str, wanted: f64, measured: f64) -> Target {
        Target { what, wanted: format!("{wanted} or less"), measured, met: measured <= wanted }
    }
}

/// Says how the targets stand, and how the command ends.
pub fn conclude(plan: &Plan, output: &Output, mut fields: Value, targets: &[Target], broken: u64) -> Exit {
    for target in targets {
        let met = if target.met { "met" } else { "missed" };
        output.say(&format!("target: {}: {}: {:.3}: {met}", target.what, target.wanted, target.measured));
    }
    if broken > 0 {
        output.say(&format!("{broken} messages were lost, duplicated or out of order"));
    }
    let told = |t: &Target| json!({ "target": t.what, "wanted": t.wanted, "measured": t.measured, "met": t.met });
    fields["targets"] = targets.iter().map(told).collect();
    fields["config"] = plan.config();
    let exit = exit_of(targets, broken, plan.check);
    output.summary(exit == Exit::Fine, fields);
    exit
}

/// What was broken fails every run; a target that was missed, only one that was told to check them.
fn exit_of(targets: &[Target], broken: u64, check: bool) -> Exit {
    let missed = check && targets.iter().any(|target| !target.met);
    if broken > 0 || missed { Exit::Broken } else { Exit::Fine }
}

/// How many links a stream to everybody uses, and how many members each group has.
pub fn shape(plan: &Plan, groups: &[Vec<usize>]) -> (usize, Vec<usize>) {
    let sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
    let members: usize = sizes.iter().sum();
    // Of many senders each uses the links between its own leader and the others.
    let between =
        if plan.workload == Workload::AllToAll { sizes.len() * (sizes.len() - 1) / 2 } else { sizes.len() - 1 };
    (members - sizes.len() + between, sizes)
}

impl<'a> Report<'a> {
    /// Nothing measured yet.
    pub fn new(plan: &'a Plan, output: &'a Output) -> Report<'a> {
        let (workload, members, groups) = (plan.workload.name(), plan.members, plan.groups);
        output.say(&format!(
            "{workload}: {members} processes in {groups} group(s), {} bytes, {} s, {} pair(s) of ours and {}",
            plan.bytes,
            plan.ms as f64 / 1e3,
            plan.pairs,
            if plan.beside.is_some() { "ours without the transfer, which stands for raw below" } else { "raw" }
        ));
        output.say("pair         ours/s          raw/s   rate |  ours CPU s/M   raw CPU s/M    CPU |  ours p50   p99 us |  raw p50   p99 us");
        Report { plan, output, ours: Vec::new(), raw: Vec::new() }
    }

    /// Takes a pair.
    pub fn add(&mut self, ours: Measured, raw: Measured) {
        let number = self.ours.len() + 1;
        let words: Vec<&String> = ours.words.iter().chain(&raw.words).collect();
        words.iter().take(WORDS).for_each(|word| self.output.say(&format!("  {word}")));
        if words.len() > WORDS {
            self.output.say(&format!("  and {} lines more of that kind", words.len() - WORDS));
        }
        let (rate, cpu) = (ratio(ours.rate(), raw.rate()), ratio(ours.cpu_per_million(), raw.cpu_per_million()));
        self.output.line(
            "pair",
            json!({ "pair": number, "ours": ours.fields(), "raw": raw.fields(), "ratio_rate": rate, "ratio_cpu": cpu }),
        );
        self.row(
            &number.to_string(),
            [ours.rate(), raw.rate(), rate, ours.cpu_per_million(), raw.cpu_per_million(), cpu],
            [&ours.latency, &raw.latency],
        );
        self.ours.push(ours);
        self.raw.push(raw);
    }

    fn row(&self, name: &str, figures: [f64; 6], latencies: [&Latency; 2]) {
        let [ours, raw, rate, ours_cpu, raw_cpu, cpu] = figures;
        let us = |latency: &Latency, part| latency.quantile(part).map_or_else(|| "-".to_owned(), |us| us.to_string());
        let [ours_latency, raw_latency] = latencies;
        self.output.say(&format!(
            "{name:<6} {ours:>12.0} {raw:>14.0} {rate:>6.3} | {ours_cpu:>13.4} {raw_cpu:>13.4} {cpu:>6.3} | {:>9} {:>8} | {:>8} {:>8}",
            us(ours_latency, 0.5), us(ours_latency, 0.99), us(raw_latency, 0.5), us(raw_latency, 0.99)
        ));
    }

    /// Says what all pairs come to.
    pub fn finish(self) -> Exit {
        let of = |all: &[Measured], what: fn(&Measured) -> f64| all.iter().map(what).collect::<Vec<f64>>();
        let middle = |all: &[Measured], what: fn(&Measured) -> f64| median(&of(all, what)).unwrap_or(0.0);
        let pairs = |what: fn(&Measured) -> f64| -> Vec<f64> {
            self.ours.iter().zip(&self.raw).map(|(ours, raw)| ratio(what(ours), what(raw))).collect()
        };
        let (rates, cpus) = (pairs(Measured::rate), pairs(Measured::cpu_per_million));
        let (rate, cpu) = (median(&rates).unwrap_or(0.0), median(&cpus).unwrap_or(0.0));
        let pooled = |all: &[Measured]| {
            let mut pool = Latency::default();
            all.iter().for_each(|one| pool.add(&one.latency));
            pool
        };
        let (ours_latency, raw_latency) = (pooled(&self.ours), pooled(&self.raw));
        self.row(
            "median",
            [
                middle(&self.ours, Measured::rate),
                middle(&self.raw, Measured::rate),
                rate,
                middle(&self.ours, Measured::cpu_per_million),
                middle(&self.raw, Measured::cpu_per_million),
                cpu,
            ],
            [&ours_latency, &raw_latency],
        );
        let interval = interval_of_median(&rates).unwrap_or_default();
        self.output.say(&format!("rate ratio {rate:.3}, 95 % interval {:.3} to {:.3}", interval[0], interval[1]));
        let field = |all: &[Measured], key: &str| {
            median(&all.iter().filter_map(|one| one.fields()[key].as_f64()).collect::<Vec<_>>())
        };
        let (stream_links, group_sizes) = self.ours.last().map_or((0, Vec::new()), |one| shape(self.plan, &one.groups));
        let sum = |what: fn(&Measured) -> u64| self.ours.iter().map(what).sum::<u64>();
        let (lost, duplicated, disordered) = (sum(|m| m.lost), sum(|m| m.duplicated), sum(|m| m.out_of_order));
        let raw_wrong: u64 = self.raw.iter().map(|m| m.lost + m.duplicated + m.out_of_order).sum();
        let mut fields = json!({
            "ratio_rate": rate, "ratio_rate_ci95": interval, "ratio_cpu": cpu, "ratio_cpu_ci95": interval_of_median(&cpus),
            "raw_transport": self.plan.raw_transport().name(),
            "stream_links": stream_links, "group_sizes": group_sizes,
            "rss_anon_peak_bytes": self.ours.iter().map(|one| one.rss_peak).max(),
            "lost": lost, "duplicated": duplicated, "out_of_order": disordered, "raw_wrong": raw_wrong,
            "removed": self.ours.iter().map(|one| one.removed).max(),
            "pids": self.ours.iter().flat_map(|one| one.pids.clone()).collect::<Vec<_>>(),
        });
        for key in [
            "deliveries_per_s",
            "cpu_s_per_million",
            "syscalls_per_1000",
            "copied_bytes_per_byte",
            "allocations_per_million",
        ] {
            fields[key] = json!(field(&self.ours, key));
            fields[format!("raw_{key}")] = json!(field(&self.raw, key));
        }
        for (key, part) in [("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999)] {
            fields[key] = json!(ours_latency.quantile(part));
            fields[format!("raw_{key}")] = json!(raw_latency.quantile(part));
        }
        let ratios = [(0.5, "ratio_p50"), (0.99, "ratio_p99"), (0.999, "ratio_p999")].map(|(part, key)| {
            let of = |latency: &Latency| latency.quantile(part).unwrap_or(0) as f64;
            let ratio = ratio(of(&ours_latency), of(&raw_latency));
            fields[key] = json!(ratio);
            ratio
        });
        if self.plan.leader_cpu.is_some() {
            fields["leader_throttled_ms"] = json!(field(&self.ours, "leader_throttled_ms"));
            fields["memory_cap_bytes"] = json!(self.plan.memory_cap);
        }
        let targets = match self.plan.leader_cpu {
            Some(_) => self.starved(),
            None => targets(self.plan, rate, cpu, ratios),
        };
        conclude(self.plan, self.output, fields, &targets, lost + duplicated + disordered + raw_wrong)
    }
}

impl Report<'_> {
    /// What holds where a leader has too little of a processor.
    fn starved(&self) -> Vec<Target> {
        let most = |what: fn(&Measured) -> u64| self.ours.iter().map(what).max().unwrap_or(0) as f64;
        let cap = self.plan.memory_cap as f64 / 1e6;
        vec![
            Target::at_most("members removed", 0.0, most(|one| one.removed as u64)),
            Target::at_most("messages lost", 0.0, most(|one| one.lost)),
            Target::at_most("RssAnon of any member in MB", cap, most(|one| one.rss_peak) / 1e6),
        ]
    }
}

/// The lines of the target table that a run of this kind is held to.
fn targets(plan: &Plan, rate: f64, cpu: f64, [p50, p99, p999]: [f64; 3]) -> Vec<Target> {
    let poll = plan.mode == Mode::Poll;
    let both = |least: f64, most: f64| {
        vec![Target::at_least("rate against raw", least, rate), Target::at_most("CPU against raw", most, cpu)]
    };
    match (plan.workload, plan.bytes) {
        (Workload::Fanout, 64) if plan.transport == Transport::Multicast => {
            vec![Target::at_least("rate against raw", 0.5, rate)]
        }
        (Workload::Fanout, 1_024 | 65_536) if plan.transport == Transport::Multicast => {
            vec![Target::at_least("rate against raw", 0.6, rate)]
        }
        (Workload::Relay, 64) if poll => vec![Target::at_least("rate against raw", 0.75, rate)],
        (Workload::Relay, 64 | 65_536) => both(0.9, 1.2),
        (Workload::Relay, 1_024) => both(0.95, 1.15),
        (Workload::Latency, _) if plan.beside.is_some() => vec![Target::at_most("p99 against that alone", 3.0, p99)],
        (Workload::Latency, _) if plan.burst.is_some() => vec![Target::at_most("p99.9 against raw", 3.0, p999)],
        (Workload::Latency, _) => {
            vec![Target::at_most("p50 against raw", 1.15, p50), Target::at_most("p99 against raw", 1.5, p99)]
        }
        (Workload::Sessions, 2_048) if plan.window == 1 => vec![Target::at_least("rate against raw", 0.95, rate)],
        (Workload::Sessions, 2_048) if plan.window == 64 => vec![Target::at_least("rate against raw", 0.85, rate)],
        (Workload::AllToAll, _) => vec![Target::at_least("rate against raw", 0.7, rate)],
        _ => Vec::new(),
    }
}

/// One by the other; 0 where there is nothing to compare with.
pub fn ratio(ours: f64, raw: f64) -> f64 {
    if raw > 0.0 { ours / raw } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_fails_every_run_and_a_missed_target_one_that_checks() {
        let missed = [Target::at_least("rate against raw", 0.9, 0.5)];
        assert_eq!(exit_of(&[], 1, false), Exit::Broken);
        assert_eq!(exit_of(&[], 1, true), Exit::Broken);
        assert_eq!(exit_of(&missed, 0, true), Exit::Broken);
        assert_eq!(exit_of(&missed, 0, false), Exit::Fine, "it is said, and no more");
        assert_eq!(exit_of(&[], 0, true), Exit::Fine);
    }
}
