//! One receiver that takes little, while everybody else takes all there is: what it holds up, what members keep for it meanwhile,
//! when it is out, and how soon the others go on as before.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::figures::median;
use super::fleet::{Fleet, Stage};
use super::measure::{Measured, bystander, senders, streamed};
use super::plan::{PATIENCE, Plan, WARM_UP_MS};
use super::protocol::{Count, Order, Received, Said, Sent, ViewSaid};
use super::report::{Target, conclude, ratio, shape};
use crate::clock::monotonic_ns;
use crate::output::{Exit, Failure, Outcome, Output};

/// What the slow one takes in a second.
const BYTES_PER_S: u64 = 1_000_000;
/// How often it is looked at what came and what is held.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// So much of the rate before is as good as before.
const FULL: f64 = 0.9;
/// Within this time everybody is in a view without the slow one, beyond the time for which it is borne: until its queues are full, and
/// the view.
const REMOVAL_MS: u64 = 2_000;

/// What one slow receiver came to.
#[derive(Debug, Default)]
struct Drag {
    /// Deliveries to the others in a second: before, while they are held up, and after the slow one was out.
    full: f64,
    held_up: f64,
    after: f64,
    /// From its becoming slow until somebody names it, and until everybody is in a view without it.
    named_ms: Option<f64>,
    removed_ms: f64,
    /// From then until the rate was full again.
    recovered_ms: Option<f64>,
    /// From then until the slow one was in a view again: its host is as slow as before.
    returned_ms: Option<f64>,
    /// The most that a member held for others, and had waiting for its host.
    unstable_bytes: u64,
    queued_bytes: u64,
    measured: Measured,
}

/// Once for each pair, with nothing raw beside it: without a protocol nobody is removed.
pub fn run(stage: &Stage, output: &Output) -> Outcome {
    let plan = &stage.plan;
    output.say(&format!(
        "slow: {} processes in {} group(s), one sends {} bytes as fast as it can, one takes 1 MB/s after {} s; {} time(s)",
        plan.members, plan.groups, plan.bytes, plan.ms as f64 / 1e3, plan.pairs
    ));
    output.say("to the others/s: before    held up      after | named ms removed ms full rate again ms back ms | RssAnon MB unstable MB queued MB");
    let mut drags = Vec::new();
    for number in 0..plan.pairs as u32 {
        let drag = one(stage, number)?;
        tell(number, &drag, output);
        drags.push(drag);
    }
    finish(plan, output, &drags)
}

fn one(stage: &Stage, number: u32) -> Result<Drag, Failure> {
    let plan = &stage.plan;
    let mut fleet = Fleet::ours(stage, number)?;
    let groups = fleet.groups.clone();
    let sender = senders(plan, &groups)[0];
    let slow = bystander(plan, &groups, sender);
    let others = (0..plan.members).filter(|at| *at != sender && *at != slow).collect();
    // So long that a removal which comes late is still seen.
    let ms = WARM_UP_MS + 2 * plan.ms + 2 * plan.slow_ms + REMOVAL_MS;
    fleet.tell(sender, &Order::Stream { ms, pace: None });
    fleet.rest(Duration::from_millis(WARM_UP_MS))?;
    let incarnation = fleet.views[sender].as_ref().and_then(|view| view.incarnation_of(slow).cloned());
    let mut watch = Watch { fleet: &mut fleet, slow, others, heard: Heard { incarnation, ..Heard::default() } };
    let mut drag = Drag { full: watch.before(plan)?, ..Drag::default() };
    let gone_ns = watch.until_removed(plan, &mut drag)?;
    watch.after(plan, gone_ns, &mut drag)?;
    watch.until_all_came(Duration::from_millis(ms))?;
    let Heard { sent, received, unstable_bytes, queued_bytes, .. } = watch.heard;
    let measured = Measured {
        pids: fleet.pids(),
        groups,
        rss_peak: fleet.rss_peak,
        removed: fleet.removed.len(),
        ..streamed(plan, &sent, &received)
    };
    Ok(Drag { unstable_bytes, queued_bytes, measured, ..drag })
}

/// Looks at all but the sender, who is busy.
struct Watch<'a, 'b> {
    fleet: &'a mut Fleet<'b>,
    slow: usize,
    others: Vec<usize>,
    heard: Heard,
}

/// What was said.
#[derive(Default)]
struct Heard {
    /// The incarnation of the slow one, and in whose view that is not any more, since when.
    incarnation: Option<String>,
    gone: BTreeMap<usize, u64>,
    /// When somebody had it in a view again, as another incarnation.
    returned_ns: Option<u64>,
    named_ns: Option<u64>,
    counts: BTreeMap<usize, Count>,
    unstable_bytes: u64,
    queued_bytes: u64,
    sent: Vec<Sent>,
    received: Vec<Received>,
}

impl Heard {
    fn take(&mut self, slow: usize, process: usize, said: Said) {
        match said {
            Said::View(view) if process != slow => self.take_view(slow, process, &view),
            Said::Slow { member, at_ns, .. } if member == format!("m{slow}") => {
                self.named_ns.get_or_insert(at_ns);
            }
            Said::Count(count) => {
                self.unstable_bytes = self.unstable_bytes.max(count.unstable_bytes);
                self.queued_bytes = self.queued_bytes.max(count.queued_bytes);
                self.counts.insert(process, count);
            }
            Said::Sent(sent) => self.sent.push(sent),
            Said::Received(received) if process != slow => self.received.push(received),
            _ => {}
        }
    }

    fn take_view(&mut self, slow: usize, process: usize, view: &ViewSaid) {
        let now = view.incarnation_of(slow);
        if now.is_none() || now != self.incarnation.as_ref() {
            self.gone.entry(process).or_insert(view.at_ns);
        }
        if now.is_some() && now != self.incarnation.as_ref() {
            self.returned_ns.get_or_insert(view.at_ns);
        }
    }
}

impl Watch<'_, '_> {
    /// Deliveries to the others in a second while nobody is slow.
    fn before(&mut self, plan: &Plan) -> Result<f64, Failure> {
        let first = self.count()?;
        self.rest(Duration::from_millis(plan.ms))?;
        Ok(rate(&first, &self.count()?))
    }

    /// Lets the one be slow until everybody is in a view without it; answers since when.
    fn until_removed(&mut self, plan: &Plan, drag: &mut Drag) -> Result<u64, Failure> {
        let first = self.count()?;
        let since_ns = monotonic_ns();
        // It may end by itself.
        self.fleet.doomed.push(self.slow);
        self.fleet.tell(self.slow, &Order::Take { bytes_per_s: BYTES_PER_S });
        let until = Instant::now() + Duration::from_millis(2 * plan.slow_ms) + PATIENCE;
        let mut last = first.clone();
        while self.heard.gone.len() <= self.others.len() {
            if Instant::now() >= until {
                return Err(self.fleet.failure(Exit::Deadline, "the slow one is still in a view"));
            }
            self.rest(LOOK_EVERY)?;
            if self.heard.gone.is_empty() {
                last = self.count()?;
            }
        }
        let gone_ns = self.heard.gone.values().max().copied().unwrap_or(since_ns);
        drag.named_ms = self.heard.named_ns.map(|at_ns| ms_between(since_ns, at_ns));
        (drag.removed_ms, drag.held_up) = (ms_between(since_ns, gone_ns), rate(&first, &last));
        Ok(gone_ns)
    }

    /// Looks whether the others go on as before.
    fn after(&mut self, plan: &Plan, gone_ns: u64, drag: &mut Drag) -> Result<(), Failure> {
        let end = Instant::now() + Duration::from_millis(plan.ms);
        let first = self.count()?;
        let mut last = first.clone();
        while Instant::now() < end {
            self.rest(LOOK_EVERY)?;
            let now = self.count()?;
            if rate(&last, &now) >= FULL * drag.full {
                let since_ns = last.values().map(|count| count.at_ns).max().unwrap_or(gone_ns);
                drag.recovered_ms.get_or_insert(ms_between(gone_ns, since_ns));
            }
            last = now;
        }
        drag.after = rate(&first, &last);
        drag.returned_ms = self.heard.returned_ns.map(|at_ns| ms_between(gone_ns, at_ns));
        Ok(())
    }

    fn until_all_came(&mut self, patience: Duration) -> Result<(), Failure> {
        while self.heard.sent.is_empty() || self.heard.received.len() < self.others.len() {
            let (process, said) = self.fleet.next(PATIENCE + patience, "the last messages")?;
            self.heard.take(self.slow, process, said);
        }
        Ok(())
    }

    fn rest(&mut self, time: Duration) -> Result<(), Failure> {
        let (slow, heard) = (self.slow, &mut self.heard);
        self.fleet.listen(time, &mut |process, said| heard.take(slow, process, said))
    }

    /// What came to each of the others.
    fn count(&mut self) -> Result<BTreeMap<usize, Count>, Failure> {
        let asked: Vec<usize> = self.others.iter().copied().chain([self.slow]).collect();
        self.heard.counts.clear();
        asked.iter().for_each(|at| self.fleet.tell(*at, &Order::Count));
        while self.heard.counts.len() < asked.len() {
            let (process, said) = self.fleet.next(PATIENCE, "what came to each member")?;
            self.heard.take(self.slow, process, said);
        }
        let mut counts = std::mem::take(&mut self.heard.counts);
        counts.remove(&self.slow);
        Ok(counts)
    }
}

/// Deliveries in a second, over all, from one count to the next.
fn rate(from: &BTreeMap<usize, Count>, to: &BTreeMap<usize, Count>) -> f64 {
    let one = |(at, to): (&usize, &Count)| {
        let from = from[at];
        to.messages.saturating_sub(from.messages) as f64 / (to.at_ns.saturating_sub(from.at_ns).max(1) as f64 / 1e9)
    };
    to.iter().map(one).sum()
}

fn ms_between(from_ns: u64, to_ns: u64) -> f64 {
    to_ns.saturating_sub(from_ns) as f64 / 1e6
}

impl Drag {
    fn fields(&self) -> Value {
        json!({
            "deliveries_per_s": self.full, "held_up_deliveries_per_s": self.held_up, "after_deliveries_per_s": self.after,
            "ratio_after": ratio(self.after, self.full), "named_ms": self.named_ms, "removed_ms": self.removed_ms,
            "recovered_ms": self.recovered_ms, "returned_ms": self.returned_ms, "rss_anon_peak_bytes": self.measured.rss_peak,
            "unstable_peak_bytes": self.unstable_bytes, "queued_peak_bytes": self.queued_bytes,
        })
    }
}

fn tell(number: u32, drag: &Drag, output: &Output) {
    let mut fields = drag.fields();
    let Measured { lost, duplicated, out_of_order, removed, .. } = drag.measured;
    fields["lost"] = json!(lost);
    fields["duplicated"] = json!(duplicated);
    fields["out_of_order"] = json!(out_of_order);
    fields["others_removed"] = json!(removed);
    fields["pids"] = json!(drag.measured.pids);
    output.line("slow", fields);
    let ms = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0}"));
    output.say(&format!(
        "{:<12} {:>11.0} {:>10.0} {:>10.0} | {:>8} {:>10.0} {:>18} {:>7} | {:>10.1} {:>11.2} {:>9.2}",
        number + 1,
        drag.full,
        drag.held_up,
        drag.after,
        ms(drag.named_ms),
        drag.removed_ms,
        ms(drag.recovered_ms),
        ms(drag.returned_ms),
        drag.measured.rss_peak as f64 / 1e6,
        drag.unstable_bytes as f64 / 1e6,
        drag.queued_bytes as f64 / 1e6
    ));
}

fn finish(plan: &Plan, output: &Output, drags: &[Drag]) -> Outcome {
    let all: Vec<Value> = drags.iter().map(Drag::fields).collect();
    let values = |key: &str| all.iter().filter_map(|one| one[key].as_f64()).collect::<Vec<_>>();
    let most = |key: &str| values(key).into_iter().fold(0.0, f64::max);
    let sum = |what: fn(&Measured) -> u64| drags.iter().map(|one| what(&one.measured)).sum::<u64>();
    let (lost, duplicated, disordered) = (sum(|m| m.lost), sum(|m| m.duplicated), sum(|m| m.out_of_order));
    let (stream_links, group_sizes) = drags.first().map_or((0, Vec::new()), |one| shape(plan, &one.measured.groups));
    let mut fields = json!({
        "stream_links": stream_links, "group_sizes": group_sizes, "lost": lost, "duplicated": duplicated, "out_of_order": disordered,
        "others_removed": sum(|m| m.removed as u64), "slow_ms": plan.slow_ms, "memory_cap_bytes": plan.memory_cap,
        "pids": drags.iter().flat_map(|one| one.measured.pids.clone()).collect::<Vec<_>>(),
    });
    for key in [
        "deliveries_per_s",
        "held_up_deliveries_per_s",
        "after_deliveries_per_s",
        "ratio_after",
        "named_ms",
        "removed_ms",
        "recovered_ms",
        "returned_ms",
    ] {
        fields[key] = json!(median(&values(key)));
    }
    for key in ["rss_anon_peak_bytes", "unstable_peak_bytes", "queued_peak_bytes"] {
        fields[key] = json!(most(key) as u64);
    }
    let never = if values("recovered_ms").len() < drags.len() { f64::INFINITY } else { 0.0 };
    let targets = [
        Target::at_most("RssAnon of any member in MB", plan.memory_cap as f64 / 1e6, most("rss_anon_peak_bytes") / 1e6),
        Target::at_most(
            "ms until everybody is without the slow one",
            (plan.slow_ms + REMOVAL_MS) as f64,
            most("removed_ms"),
        ),
        Target::at_most(
            "ms from then until the others have 0.9 of the rate before",
            1_000.0,
            most("recovered_ms").max(never),
        ),
        Target::at_most("others removed", 0.0, sum(|m| m.removed as u64) as f64),
    ];
    Ok(conclude(plan, output, fields, &targets, lost + duplicated + disordered))
}
