//! The end of the demo: what everybody received, what the deaths cost, and whether a promise was broken.

use serde_json::{Value, json};

use super::connections;
use super::multicast;
use super::picture::counted;
use super::plan::{Plan, sum_from};
use super::protocol::StreamSaid;
use super::sessions::{Counted, Sessions};
use super::story::Story;
use crate::output::Output;

/// More of what was broken is only counted.
const MOST_SHOWN: usize = 20;
/// A death must be noticed by all within this time.
pub const NOTICED_WITHIN_MS: u64 = 2_000;

/// The result of a run.
#[derive(Debug)]
pub struct Verdict {
    /// Every promise that was broken; empty when all is well.
    pub broken: Vec<String>,
    connections: Vec<(String, Option<usize>)>,
    /// What came of the sessions, if there were any.
    sessions: Option<Counted>,
}

impl Verdict {
    /// Judges a run. The members must still be running: their connections are counted.
    pub fn new(plan: &Plan, story: &Story, sessions: &Sessions) -> Verdict {
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
        let sessions = sessions.wanted().then(|| sessions.result());
        // Held open, a run may end before all are made.
        broken.extend(sessions.iter().flat_map(|counted| counted.broken(!plan.hold)));
        Verdict { broken, connections, sessions }
    }

    /// The tables, for people.
    pub fn print(&self, plan: &Plan, story: &Story, multicast: Option<&multicast::Total>, output: &Output) {
        let print = |text: String| if output.is_json() { output.say(&text) } else { output.table(&text) };
        print(String::new());
        print(format!("file     {} of {} bytes", plan.file.display(), plan.file_bytes));
        print(format!("SHA-256  {}", plan.sha256));
        print(String::new());
        stream_table(plan, story).into_iter().for_each(&print);
        if !story.deaths.is_empty() {
            print(String::new());
            death_table(story).into_iter().for_each(&print);
        }
        print(String::new());
        let connections: Vec<String> =
            self.connections.iter().map(|(name, count)| connection_text(name, *count)).collect();
        for (at, some) in connections.chunks(8).enumerate() {
            let head = if at == 0 { "connections" } else { "" };
            print(format!("{head:11}  {}", some.join("  ")));
        }
        if let Some(total) = multicast {
            print(total.line());
        }
        if let Some(counted) = &self.sessions {
            print(counted.line());
        }
        let noise = noise(story);
        if !noise.is_empty() {
            print("on the way, without breaking a promise:".to_owned());
        }
        noise.into_iter().for_each(&print);
        print(String::new());
        for what in self.broken.iter().take(MOST_SHOWN) {
            print(format!("BROKEN: {what}"));
        }
        if self.broken.len() > MOST_SHOWN {
            print(format!("BROKEN: and {} more", self.broken.len() - MOST_SHOWN));
        }
        if self.broken.is_empty() {
            print("nothing lost, nothing double, nothing out of order; every sum is the file's".to_owned());
            if self.sessions.is_some() {
                print("every session is as it was acknowledged last, read on members that live".to_owned());
            }
            if !story.deaths.is_empty() {
                let deaths = counted(story.deaths.len(), "death");
                print(format!("{deaths} noticed by all within {NOTICED_WITHIN_MS} ms"));
            }
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
        let mut fields = json!({
            "file": plan.file.display().to_string(),
            "file_bytes": plan.file_bytes,
            "file_sha256": plan.sha256,
            "receivers": receivers,
            "deaths": deaths.collect::<Vec<_>>(),
            "connections": self.connections.iter().map(|(name, count)| json!({ "name": name, "count": count }))
                .collect::<Vec<_>>(),
            "broken": self.broken,
            "elapsed_ms": elapsed_ms,
        });
        if let Some(counted) = &self.sessions {
            fields["sessions"] = counted.field();
        }
        fields
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
    if let Err(why) = judge_rest(plan, stream) {
        complain(why);
    }
    // Held open, a run may end before a late receiver saw a whole pass.
    if stream.passes == 0 && !plan.hold {
        complain("no whole pass of the file".to_owned());
    }
}

/// Of who came in the middle of a pass, what it has of that pass must be the rest of the file.
fn judge_rest(plan: &Plan, stream: &StreamSaid) -> Result<(), String> {
    let Some(sum) = &stream.rest_sha256 else { return Ok(()) };
    let rest = sum_from(&plan.file, stream.first_offset)
        .map_err(|error| format!("cannot read {} again: {error}", plan.file.display()))?;
    if rest.1 == *sum {
        Ok(())
    } else {
        Err("its first bytes have another SHA-256 than the rest of the file".to_owned())
    }
}

/// Messages that should be there and are not: holes, the front (except for one that came back), and the end.
fn lost(story: &Story, receiver: usize, sender: usize) -> u64 {
    let Some(stream) = story.stream(receiver, sender) else { return 0 };
    let front = if story.seen[receiver].returned { 0 } else { stream.first.saturating_sub(1) };
    stream.lost + front + story.last_of(sender).saturating_sub(stream.last)
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
    let mut lines = vec![
        "               bytes of the file          whole                           out of".to_owned(),
        "to   from     before    between      after passes  SHA-256    lost double order".to_owned(),
    ];
    let mut back = Vec::new();
    for (receiver, sender) in story.pairs() {
        let empty = StreamSaid::default();
        let stream = story.stream(receiver, sender).unwrap_or(&empty);
        let (to, from) = (&story.seen[receiver].name, &story.seen[sender].name);
        let equal = |fine: bool| if fine { "=" } else { "≠" };
        let sum = match &stream.sha256 {
            Some(sum) => format!("{} {}", &sum[..8], equal(*sum == plan.sha256 && stream.unequal_passes == 0)),
            None => "-".to_owned(),
        };
        let [before, between, after] = stream.bytes_by_phase;
        let (passes, lost) = (stream.passes, lost(story, receiver, sender));
        let (double, disorder) = (stream.duplicated, stream.out_of_order);
        lines.push(format!(
            "{to:4} {from:4} {before:>10} {between:>10} {after:>10} {passes:>6}  {sum:10} {lost:>4} {double:>6} {disorder:>5}"
        ));
        if let Some(rest) = &stream.rest_sha256 {
            let (at, sum, equal) = (stream.first_offset, &rest[..8], equal(judge_rest(plan, stream).is_ok()));
            back.push(format!("{to} from {from}: came at byte {at} of the file; SHA-256 of the rest {sum} {equal}"));
        }
    }
    lines.extend(back);
    lines
}

fn death_table(story: &Story) -> Vec<String> {
    let or_never = |us: Option<u64>| us.map_or_else(|| "never".to_owned(), |us| format!("{} ms", ms(us)));
    let mut lines = vec!["died role        pid      noticed by    after  longest time without delivery".to_owned()];
    lines.extend(story.deaths.iter().map(|death| {
        let (seen, role, survivors) = (&story.seen[death.process], &death.role, death.survivors.len());
        let (noticed, gap) = (or_never(death.noticed_by_all_us()), or_never(delivery_gap_us(story, death.phase)));
        format!("{:4} {role:11} {:<8} all {survivors:<4} {noticed:>10}  {gap}", seen.name, seen.pid)
    }));
    lines
}

fn connection_text(name: &str, count: Option<usize>) -> String {
    count.map_or_else(|| format!("{name} -"), |count| format!("{name} {count}"))
}

/// What was unusual without breaking a promise, counted by kind.
fn noise(story: &Story) -> Vec<String> {
    let mut kinds: std::collections::BTreeMap<&str, (usize, String)> = std::collections::BTreeMap::new();
    for (process, kind, text) in &story.troubles {
        let entry = kinds.entry(kind).or_insert_with(|| (0, format!("{} of {text}", story.seen[*process].name)));
        entry.0 += 1;
    }
    kinds.into_iter().map(|(kind, (count, first))| format!("  {kind}: {count} times; first, {first}")).collect()
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
        "from_offset": stream.first_offset,
        "rest_sha256": stream.rest_sha256,
        "lost": lost(story, receiver, sender),
        "duplicated": stream.duplicated,
        "out_of_order": stream.out_of_order,
    })
}
