//! Deaths and stops under load: how long until everybody who goes on is in a view without the one, and how long nothing arrived.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::figures::{median, nearest_rank};
use super::fleet::{Fleet, Stage};
use super::measure::{Measured, senders, streamed};
use super::plan::{PATIENCE, Plan, WARM_UP_MS};
use super::protocol::{Order, Said};
use super::report::{Target, conclude, shape};
use crate::clock::monotonic_ns;
use crate::output::{Failure, Outcome, Output};

/// What happens to whom.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Case {
    /// "kill": the system closes its sockets; "stop": it keeps them, and stands still.
    kind: &'static str,
    /// "leader": it relays the stream; "member": it only receives.
    role: &'static str,
}

const CASES: [Case; 4] = [
    Case { kind: "kill", role: "leader" },
    Case { kind: "kill", role: "member" },
    Case { kind: "stop", role: "leader" },
    Case { kind: "stop", role: "member" },
];

impl Case {
    fn is_wanted(self, plan: &Plan) -> bool {
        plan.faults.is_empty() || plan.faults.contains(&format!("{}-{}", self.kind, self.role))
    }

    fn signal(self) -> i32 {
        if self.kind == "kill" { libc::SIGKILL } else { libc::SIGSTOP }
    }

    /// In the sender's group, so that it matters.
    fn victim(self, groups: &[Vec<usize>], sender: usize) -> usize {
        let group = groups.iter().find(|group| group.contains(&sender)).expect("everybody has a group");
        match self.role {
            "leader" => group[0],
            _ => group.iter().skip(1).rfind(|at| **at != sender).copied().unwrap_or(group[0]),
        }
    }
}

/// A killed process that is noticed later than this: then what the members say is shown.
const LATE_MS: f64 = 500.0;

/// What one death came to.
struct Death {
    noticed_ms: f64,
    gap_ms: f64,
    measured: Measured,
}

/// Every case once, and again.
pub fn run(stage: &Stage, output: &Output) -> Outcome {
    let plan = &stage.plan;
    output.say(&format!(
        "failover: {} processes in {} group(s), one sends {} bytes as fast as it can; {} time(s) each",
        plan.members, plan.groups, plan.bytes, plan.pairs
    ));
    output.say("fault          out of every view ms   nothing delivered ms   deliveries/s   raw: closed everywhere ms");
    let mut deaths: BTreeMap<Case, Vec<Death>> = BTreeMap::new();
    let mut raw: Vec<f64> = Vec::new();
    let mut number = 0;
    for _ in 0..plan.pairs {
        for case in CASES.into_iter().filter(|case| case.is_wanted(plan)) {
            let (death, groups) = one(stage, number, case, output)?;
            // Nothing tells plain sockets that a process stands still.
            if case == CASES[0] {
                raw.push(closed(stage, number + 1, case, &groups)?);
            }
            number += 2;
            let closed =
                raw.last().filter(|_| case == CASES[0]).map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
            if case.kind == "kill" && death.noticed_ms > LATE_MS {
                death.measured.words.iter().for_each(|word| output.say(&format!("  {word}")));
            }
            output.say(&format!(
                "{:<5}{:<10} {:>20.1} {:>22.1} {:>14.0} {closed:>27}",
                case.kind,
                case.role,
                death.noticed_ms,
                death.gap_ms,
                death.measured.rate()
            ));
            deaths.entry(case).or_default().push(death);
        }
    }
    finish(plan, output, &deaths, &raw)
}

fn one(stage: &Stage, number: u32, case: Case, output: &Output) -> Result<(Death, Vec<Vec<usize>>), Failure> {
    let plan = &stage.plan;
    let mut fleet = Fleet::ours(stage, number)?;
    let groups = fleet.groups.clone();
    let sender = senders(plan, &groups)[0];
    let victim = case.victim(&groups, sender);
    fleet.tell(sender, &Order::Stream { ms: WARM_UP_MS + plan.ms, pace: None });
    fleet.rest(Duration::from_millis(WARM_UP_MS))?;
    let receivers: Vec<usize> = (0..plan.members).filter(|at| *at != sender && *at != victim).collect();
    receivers.iter().for_each(|at| fleet.tell(*at, &Order::Watch));
    let at_ns = monotonic_ns();
    fleet.signal(victim, case.signal());
    let (mut noticed, mut gaps, mut received, mut sent) = (BTreeMap::new(), Vec::new(), Vec::new(), Vec::new());
    let patience = PATIENCE + Duration::from_millis(plan.ms);
    while noticed.len() <= receivers.len()
        || gaps.len() < receivers.len()
        || received.len() < receivers.len()
        || sent.is_empty()
    {
        let (process, said) = fleet.next(patience, "everybody going on without the one")?;
        match said {
            Said::View(view) if process != victim && !view.groups.iter().flatten().any(|at| *at == victim) => {
                noticed.entry(process).or_insert(view.at_ns.saturating_sub(at_ns));
            }
            Said::Watched { gap_ns } if process != victim => gaps.push(gap_ns),
            Said::Received(one) if process != victim => received.push(one),
            Said::Sent(one) => sent.push(one),
            _ => {}
        }
    }
    let ms = |ns: Option<u64>| ns.unwrap_or(0) as f64 / 1e6;
    let measured = Measured {
        pids: fleet.pids(),
        groups: groups.clone(),
        rss_peak: fleet.rss_peak,
        words: std::mem::take(&mut fleet.words),
        ..streamed(plan, &sent, &received)
    };
    let by_member: BTreeMap<String, f64> = noticed.iter().map(|(at, ns)| (at.to_string(), ms(Some(*ns)))).collect();
    let death = Death { noticed_ms: ms(noticed.values().max().copied()), gap_ms: ms(gaps.into_iter().max()), measured };
    output.line(
        "fault",
        json!({
            "kind": case.kind, "role": case.role, "pid": death.measured.pids[victim], "noticed_all_ms": death.noticed_ms,
            "noticed_ms": by_member, "delivery_gap_ms": death.gap_ms, "lost": death.measured.lost, "duplicated": death.measured.duplicated,
            "out_of_order": death.measured.out_of_order, "pids": death.measured.pids,
        }),
    );
    Ok((death, groups))
}

/// How long it takes until everybody on a raw link of a killed process is told by the system: what nobody can be faster than.
fn closed(stage: &Stage, number: u32, case: Case, groups: &[Vec<usize>]) -> Result<f64, Failure> {
    let plan = &stage.plan;
    let mut fleet = Fleet::raw(stage, number, groups)?;
    let sender = senders(plan, groups)[0];
    let victim = case.victim(groups, sender);
    fleet.tell(sender, &Order::Stream { ms: WARM_UP_MS + plan.ms, pace: None });
    fleet.rest(Duration::from_millis(WARM_UP_MS))?;
    let at_ns = monotonic_ns();
    fleet.signal(victim, case.signal());
    let peers = groups.iter().find(|group| group[0] == victim).map_or(0, |group| group.len() - 1) + groups.len() - 1;
    let mut all: Vec<u64> = Vec::new();
    while all.len() < peers {
        if let Said::Closed { at_ns: closed_ns } = fleet.next(PATIENCE, "the ends of raw links")?.1 {
            all.push(closed_ns.saturating_sub(at_ns));
        }
    }
    Ok(all.into_iter().max().unwrap_or(0) as f64 / 1e6)
}

fn finish(plan: &Plan, output: &Output, deaths: &BTreeMap<Case, Vec<Death>>, raw: &[f64]) -> Outcome {
    let spread = |values: &[f64]| json!({ "p50": median(values), "p99": nearest_rank(values, 0.99), "max": nearest_rank(values, 1.0) });
    let (mut told, mut targets): (Vec<Value>, Vec<Target>) = (Vec::new(), Vec::new());
    for (case, deaths) in deaths {
        let of = |what: fn(&Death) -> f64| deaths.iter().map(what).collect::<Vec<f64>>();
        let (noticed, gaps) = (of(|death| death.noticed_ms), of(|death| death.gap_ms));
        let p99 = |values: &[f64]| nearest_rank(values, 0.99).unwrap_or(f64::MAX);
        output.say(&format!(
            "{:<5}{:<10} p50 {:.1}, p99 {:.1} ms out of every view; p50 {:.1}, p99 {:.1} ms nothing delivered",
            case.kind,
            case.role,
            median(&noticed).unwrap_or(0.0),
            p99(&noticed),
            median(&gaps).unwrap_or(0.0),
            p99(&gaps)
        ));
        told.push(json!({ "kind": case.kind, "role": case.role, "count": deaths.len(), "noticed_all_ms": spread(&noticed), "delivery_gap_ms": spread(&gaps) }));
        if case.kind == "kill" {
            targets.push(Target::at_most("p99 in ms until a killed one is out of every view", 100.0, p99(&noticed)));
            targets.push(Target::at_most("ms without a delivery when one is killed", 150.0, p99(&gaps)));
        } else {
            targets.push(Target::at_most("p99 in ms until a stopped one is out of every view", 2_000.0, p99(&noticed)));
            // Where the one that stands still is the only way, nothing arrives until it is out.
            let beyond = deaths.iter().map(|death| death.gap_ms - death.noticed_ms).fold(0.0, f64::max);
            targets.push(Target::at_most("ms without a delivery beyond the detection of a stop", 150.0, beyond));
        }
    }
    let all: Vec<&Measured> = deaths.values().flatten().map(|death| &death.measured).collect();
    let sum = |what: fn(&Measured) -> u64| all.iter().map(|one| what(one)).sum::<u64>();
    let (lost, duplicated, disordered) = (sum(|m| m.lost), sum(|m| m.duplicated), sum(|m| m.out_of_order));
    let (stream_links, group_sizes) = all.first().map_or((0, Vec::new()), |one| shape(plan, &one.groups));
    let fields = json!({
        "deaths": told, "raw_closed_ms": spread(raw), "stream_links": stream_links, "group_sizes": group_sizes,
        "deliveries_per_s": median(&all.iter().map(|one| one.rate()).collect::<Vec<_>>()),
        "rss_anon_peak_bytes": all.iter().map(|one| one.rss_peak).max(),
        "lost": lost, "duplicated": duplicated, "out_of_order": disordered,
        "pids": all.iter().flat_map(|one| one.pids.clone()).collect::<Vec<_>>(),
    });
    Ok(conclude(plan, output, fields, &targets, lost + duplicated + disordered))
}
