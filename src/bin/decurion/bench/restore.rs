//! Many sessions, and a member of theirs that dies: how long until each has two copies again, how late changes are meanwhile, and
//! what a small change of a long session takes on the wire.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::figures::{Latency, median};
use super::fleet::{Fleet, Stage};
use super::measure::{Measured, bystander, senders};
use super::plan::{PATIENCE, Plan};
use super::protocol::{Changes, Count, Order, Said, Written};
use super::report::{Target, conclude, ratio, shape};
use crate::clock::monotonic_ns;
use crate::output::{Exit, Failure, Outcome, Output};

/// The long session, and how much of it a change sets.
const LONG_BYTES: usize = 64 * 1_024;
const DELTA_BYTES: usize = 200;
/// For so long small changes are made, one after the other.
const DELTA_MS: u64 = 1_000;
/// Changes under way while sessions are made, at each member.
const MAKING: usize = 64;
/// How often it is looked whether all have two copies again; changes go on all the while.
const LOOK_MS: u64 = 250;
/// How long that may take.
const RESTORED_MS: u64 = 30_000;

/// What a death came to.
struct Loss {
    delta_wire_bytes: f64,
    restored_ms: f64,
    before: Latency,
    meanwhile: Latency,
    /// Sessions that nobody owns any more.
    sessions_lost: u64,
    /// Changes that were not acknowledged by two.
    failed: u64,
    sessions: u64,
    rss_peak: u64,
    measured: Measured,
}

/// Once for each pair: nothing raw stands beside it.
pub fn run(stage: &Stage, output: &Output) -> Outcome {
    let plan = &stage.plan;
    output.say(&format!(
        "restore: {} sessions of {} bytes on {} processes in {} group(s); one is killed; {} time(s)",
        plan.sessions, plan.bytes, plan.members, plan.groups, plan.pairs
    ));
    if plan.sessions < plan.sessions_asked {
        output.say(&format!("{} sessions do not fit into the memory that this machine has left", plan.sessions_asked));
    }
    output.say(
        "wire bytes of a change | two copies again ms | p99 us before   meanwhile | RssAnon MB, most | lost, failed",
    );
    let mut losses = Vec::new();
    for number in 0..plan.pairs as u32 {
        let loss = one(stage, number)?;
        let quantile = |latency: &Latency| latency.quantile(0.99).unwrap_or(0);
        output.say(&format!(
            "{:>22.1} | {:>19.0} | {:>13} {:>11} | {:>16.1} | {}, {}",
            loss.delta_wire_bytes,
            loss.restored_ms,
            quantile(&loss.before),
            quantile(&loss.meanwhile),
            loss.rss_peak as f64 / 1e6,
            loss.sessions_lost,
            loss.failed
        ));
        losses.push(loss);
    }
    finish(plan, output, &losses)
}

fn one(stage: &Stage, number: u32) -> Result<Loss, Failure> {
    let plan = &stage.plan;
    let mut fleet = Fleet::ours(stage, number)?;
    let groups = fleet.groups.clone();
    let writer = senders(plan, &groups)[0];
    let victim = bystander(plan, &groups, writer);
    let all: Vec<usize> = (0..plan.members).collect();
    let mut failed = 0;
    let delta_wire_bytes = deltas(&mut fleet, writer, &all)?;
    let each = plan.sessions.div_ceil(plan.members);
    let make = Changes { ms: 1, window: MAKING.min(each), sessions: each, bytes: plan.bytes, delta: None };
    all.iter().for_each(|at| fleet.tell(*at, &Order::Sessions(make)));
    for _ in &all {
        failed += written(&mut fleet, plan.bound())?.failed;
    }
    let owned = |counts: &BTreeMap<usize, Count>| counts.values().map(|one| one.sessions_primary).sum::<u64>();
    let sessions = owned(&fleet.counts(&all)?);
    let live = Changes { ms: plan.ms, window: 1, ..make };
    fleet.tell(writer, &Order::Sessions(live));
    let before = written(&mut fleet, PATIENCE + Duration::from_millis(plan.ms))?;
    let since_ns = monotonic_ns();
    fleet.signal(victim, libc::SIGKILL);
    let survivors: Vec<usize> = all.into_iter().filter(|at| *at != victim).collect();
    let mut meanwhile = Latency::default();
    let counts = loop {
        fleet.tell(writer, &Order::Sessions(Changes { ms: LOOK_MS, ..live }));
        let now = written(&mut fleet, PATIENCE)?;
        failed += now.failed;
        meanwhile.add(&now.latency);
        let counts = fleet.counts(&survivors)?;
        let twice = |one: &Count| one.sessions_single == 0;
        let late = monotonic_ns().saturating_sub(since_ns) > 2 * RESTORED_MS * 1_000_000;
        if late || counts.values().all(twice) && owned(&counts) >= sessions {
            break counts;
        }
    };
    let restored_ms = monotonic_ns().saturating_sub(since_ns) as f64 / 1e6;
    let sessions_lost = sessions.saturating_sub(owned(&counts));
    let measured = Measured { pids: fleet.pids(), groups, ..Measured::default() };
    let (failed, before, rss_peak) = (failed + before.failed, before.latency, fleet.rss_peak);
    Ok(Loss { delta_wire_bytes, restored_ms, before, meanwhile, sessions_lost, failed, sessions, rss_peak, measured })
}

/// Bytes on connections, of all members and in both directions, for one small change of a long session.
fn deltas(fleet: &mut Fleet<'_>, writer: usize, all: &[usize]) -> Result<f64, Failure> {
    let changes = Changes { ms: 1, window: 1, sessions: 1, bytes: LONG_BYTES, delta: Some(DELTA_BYTES) };
    // The first time makes it.
    fleet.tell(writer, &Order::Sessions(changes));
    written(fleet, PATIENCE)?;
    let sent = |counts: BTreeMap<usize, Count>| counts.values().map(|one| one.sent_bytes).sum::<u64>();
    let before = sent(fleet.counts(all)?);
    fleet.tell(writer, &Order::Sessions(Changes { ms: DELTA_MS, ..changes }));
    let writes = written(fleet, PATIENCE)?.writes;
    let sent = sent(fleet.counts(all)?).saturating_sub(before);
    Ok(sent as f64 / writes.max(1) as f64)
}

fn written(fleet: &mut Fleet<'_>, patience: Duration) -> Result<Written, Failure> {
    loop {
        if let Said::Written(written) = fleet.next(patience, "the last changes of sessions")?.1 {
            return Ok(written);
        }
    }
}

fn finish(plan: &Plan, output: &Output, losses: &[Loss]) -> Outcome {
    let Some(first) = losses.first() else { return Err(Failure::new(Exit::Usage, "nothing was measured")) };
    let middle = |what: &dyn Fn(&Loss) -> f64| median(&losses.iter().map(what).collect::<Vec<_>>()).unwrap_or(0.0);
    let most = |what: &dyn Fn(&Loss) -> f64| losses.iter().map(what).fold(0.0, f64::max);
    let sum = |what: fn(&Loss) -> u64| losses.iter().map(what).sum::<u64>();
    let p99 = |latency: &Latency| latency.quantile(0.99).unwrap_or(0) as f64;
    let slower = |loss: &Loss| ratio(p99(&loss.meanwhile), p99(&loss.before));
    let (delta, restored) = (most(&|loss| loss.delta_wire_bytes), most(&|loss| loss.restored_ms));
    let (lost, failed) = (sum(|loss| loss.sessions_lost), sum(|loss| loss.failed));
    let (stream_links, group_sizes) = shape(plan, &first.measured.groups);
    let each: Vec<Value> = losses
        .iter()
        .map(|loss| {
            json!({ "delta_wire_bytes": loss.delta_wire_bytes, "restored_ms": loss.restored_ms, "p99_us": p99(&loss.before),
                "restore_p99_us": p99(&loss.meanwhile), "rss_anon_peak_bytes": loss.rss_peak, "sessions_lost": loss.sessions_lost })
        })
        .collect();
    let fields = json!({
        "sessions": first.sessions, "sessions_asked": plan.sessions_asked, "deaths": each, "delta_wire_bytes": delta,
        "restored_ms": middle(&|loss| loss.restored_ms), "p99_us": middle(&|loss| p99(&loss.before)),
        "restore_p99_us": middle(&|loss| p99(&loss.meanwhile)), "ratio_p99": middle(&slower),
        "rss_anon_peak_bytes": losses.iter().map(|loss| loss.rss_peak).max(),
        "sessions_lost": lost, "changes_failed": failed, "stream_links": stream_links, "group_sizes": group_sizes,
        "pids": losses.iter().flat_map(|loss| loss.measured.pids.clone()).collect::<Vec<_>>(),
    });
    let targets = [
        Target::at_most("bytes on the wire for 200 of a session of 64 KiB", 400.0, delta),
        Target::at_most("ms until all have two copies again", RESTORED_MS as f64, restored),
        Target::at_most("p99 of changes meanwhile against before", 2.0, middle(&slower)),
        Target::at_most("sessions lost", 0.0, lost as f64),
    ];
    Ok(conclude(plan, output, fields, &targets, lost + failed))
}
