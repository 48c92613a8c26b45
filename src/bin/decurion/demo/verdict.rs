//! The end of the demo: what everybody received, what the deaths cost, and whether a promise was broken.

use serde_json::{Value, json};

use super::connections;
use super::plan::Plan;
use super::protocol::StreamSaid;
use super::story::Story;
use crate::output::Output;

/// A death must be noticed by all within this time.
pub const NOTICED_WITHIN_MS: u64 = 2_000;

/// The result of a run.
#[derive(Debug)]
pub struct Verdict {
    /// Every promise that was broken; empty when all is well.
    pub broken: Vec<String>,
    connections: Vec<(String, Option<usize>)>,
}

impl Verdict {
    /// Judges a run. The members must still be running: their connections are counted.
    pub fn new(plan: &Plan, story: &Story) -> Verdict {
        let living = story.living().map(|p| &story.seen[p]);
        let connections = living.map(|seen| (seen.name.clone(), connections::count(seen.pid))).collect();
        let mut broken = Vec::new();
        for (receiver, sender) in story.pairs() {
            judge_stream(plan, story, receiver, sender, &mut broken);
        }
        judge_deaths(story, &mut broken);
        for (process, kind, text) in &story.troubles {
            if matches!(kind.as_str(), "expelled" | "fault" | "returned" | "send") {
                broken.push(format!("{}: {kind}: {text}", story.seen[*process].name));
            }
        }
        Verdict { broken, connections }
    }

    /// The tables, for people.
    pub fn print(&self, plan: &Plan, story: &Story, output: &Output) {
        let print = |text: String| if output.is_json() { output.say(&text) } else { output.table(&text) };
        print(String::new());
        print(format!("file {} of {} bytes, SHA-256 {}", plan.file.display(), plan.file_bytes, plan.sha256));
        print(String::new());
        stream_table(plan, story).into_iter().for_each(&print);
        print(String::new());
        death_table(story).into_iter().for_each(&print);
        let counted: Vec<String> = self.connections.iter().map(|(name, count)| connection_text(name, *count)).collect();
        print(format!("connections: {}", counted.join("  ")));
        for line in noise(story) {
            print(line);
        }
        for what in self.broken.iter().take(20) {
            print(format!("BROKEN: {what}"));
        }
        if self.broken.is_empty() {
            print("nothing lost, nothing double, nothing out of order; every sum is the file's".to_owned());
        }
    }

    /// The fields of the summary.
    pub fn fields(&self, plan: &Plan, story: &Story, elapsed_ms: u64) -> Value {
        let receivers: Vec<Value> =
            story.pairs().into_iter().map(|(receiver, sender)| stream_fields(story, receiver, sender)).collect();
        let deaths = story.deaths.iter().map(|death| {
            json!({
                "pid": story.seen[death.process].pid,
                "name": story.seen[death.process].name,
                "role": death.role,
                "noticed_all_ms": death.noticed_by_all_us().map(ms),
                "delivery_gap_ms": delivery_gap_us(story, death.phase).map(ms),
            })
        });
        json!({
            "file": plan.file.display().to_string(),
            "file_bytes": plan.file_bytes,
            "file_sha256": plan.sha256,
            "receivers": receivers,
            "deaths": deaths.collect::<Vec<_>>(),
            "connections": self.connections.iter().map(|(name, count)| json!({ "name": name, "count": count }))
                .collect::<Vec<_>>(),
            "broken": self.broken,
            "elapsed_ms": elapsed_ms,
        })
    }
}

fn judge_stream(plan: &Plan, story: &Story, receiver: usize, sender: usize, broken: &mut Vec<String>) {
    let (to, from) = (&story.seen[receiver], &story.seen[sender]);
    let Some(stream) = story.stream(receiver, sender) else {
        return broken.push(format!("{} received nothing of {}", to.name, from.name));
    };
    let mut complain = |what: String| broken.push(format!("{} from {}: {what}", to.name, from.name));
    if lost(story, receiver, sender) + stream.duplicated + stream.out_of_order > 0 {
        let lost = lost(story, receiver, sender);
        complain(format!("{lost} lost, {} duplicated, {} out of order", stream.duplicated, stream.out_of_order));
    }
    if stream.unequal_passes > 0 || stream.sha256.as_ref().is_some_and(|sum| *sum != plan.sha256) {
        complain("a whole pass has another SHA-256 than the file".to_owned());
    }
    // Held open, a run may end before a late receiver saw a whole pass.
    if stream.passes == 0 && !plan.hold {
        complain("no whole pass of the file".to_owned());
    }
}

/// Messages that should be there and are not: holes, the front (except for one that came back), and the end.
fn lost(story: &Story, receiver: usize, sender: usize) -> u64 {
    let Some(stream) = story.stream(receiver, sender) else { return 0 };
    let front = if story.seen[receiver].returned { 0 } else { stream.first.saturating_sub(1) };
    let end = story.seen[sender].sent_messages.map_or(0, |sent| sent.saturating_sub(stream.last));
    stream.lost + front + end
}

fn judge_deaths(story: &Story, broken: &mut Vec<String>) {
    for death in &story.deaths {
        let seen = &story.seen[death.process];
        let who = format!("the death of {} ({}, pid {})", seen.name, death.role, seen.pid);
        match death.noticed_by_all_us() {
            None => broken.push(format!("{who} was not noticed by all")),
            Some(us) if us > NOTICED_WITHIN_MS * 1_000 => {
                broken.push(format!("{who} was noticed by all after {} ms, allowed {NOTICED_WITHIN_MS}", ms(us)));
            }
            Some(_) => {}
        }
    }
}

/// The longest time that any receiver went without a delivery of any sender, in the phase that a death began.
fn delivery_gap_us(story: &Story, phase: usize) -> Option<u64> {
    let streams = story.pairs().into_iter().filter_map(|(receiver, sender)| story.stream(receiver, sender));
    streams.map(|stream| stream.gap_us_by_phase[phase.min(2)]).max()
}

fn ms(us: u64) -> u64 {
    us.div_ceil(1_000)
}

fn stream_table(plan: &Plan, story: &Story) -> Vec<String> {
    let head =
        "receiver  sender       before     between       after  passes  SHA-256           lost  double  disorder";
    let mut lines = vec![head.to_owned()];
    for (receiver, sender) in story.pairs() {
        let empty = StreamSaid::default();
        let stream = story.stream(receiver, sender).unwrap_or(&empty);
        let sum = match &stream.sha256 {
            Some(sum) if *sum == plan.sha256 && stream.unequal_passes == 0 => format!("{} =", &sum[..12]),
            Some(sum) => format!("{} ≠", &sum[..12]),
            None => "-".to_owned(),
        };
        let [before, between, after] = stream.bytes_by_phase;
        let (to, from) = (&story.seen[receiver], &story.seen[sender]);
        let back = if to.returned { "  came back" } else { "" };
        lines.push(format!(
            "{:8}  {:6}  {before:>11} {between:>11} {after:>11}  {:>6}  {sum:14}  {:>6}  {:>6}  {:>8}{back}",
            to.name,
            from.name,
            stream.passes,
            lost(story, receiver, sender),
            stream.duplicated,
            stream.out_of_order,
        ));
    }
    lines
}

fn death_table(story: &Story) -> Vec<String> {
    let or_never = |us: Option<u64>| us.map_or_else(|| "never".to_owned(), |us| format!("{} ms", ms(us)));
    let line = |death: &super::story::Death| {
        let seen = &story.seen[death.process];
        format!(
            "death of {} ({}, pid {}): noticed by all {} after {}, longest time without delivery {}",
            seen.name,
            death.role,
            seen.pid,
            death.survivors.len(),
            or_never(death.noticed_by_all_us()),
            or_never(delivery_gap_us(story, death.phase)),
        )
    };
    story.deaths.iter().map(line).collect()
}

fn connection_text(name: &str, count: Option<usize>) -> String {
    count.map_or_else(|| format!("{name} -"), |count| format!("{name} {count}"))
}

/// What was unusual without breaking a promise, counted by kind.
fn noise(story: &Story) -> Vec<String> {
    let mut kinds: std::collections::BTreeMap<&str, (usize, String)> = std::collections::BTreeMap::new();
    for (process, kind, text) in &story.troubles {
        let entry = kinds.entry(kind).or_insert_with(|| (0, format!("{}: {text}", story.seen[*process].name)));
        entry.0 += 1;
    }
    kinds.into_iter().map(|(kind, (count, first))| format!("{kind}: {count} times, first by {first}")).collect()
}

fn stream_fields(story: &Story, receiver: usize, sender: usize) -> Value {
    let empty = StreamSaid::default();
    let stream = story.stream(receiver, sender).unwrap_or(&empty);
    json!({
        "name": story.seen[receiver].name,
        "sender": story.seen[sender].name,
        "returned": story.seen[receiver].returned,
        "bytes": stream.bytes,
        "bytes_by_phase": stream.bytes_by_phase,
        "passes": stream.passes,
        "sha256": stream.sha256,
        "lost": lost(story, receiver, sender),
        "duplicated": stream.duplicated,
        "out_of_order": stream.out_of_order,
    })
}
