//! One measurement: a fleet that streams, or changes sessions, and what it came to.

use serde_json::{Value, json};

use super::figures::Latency;
use super::fleet::{Fleet, Stage};
use super::plan::{PATIENCE, Plan, WARM_UP_MS};
use super::protocol::{Changes, Mark, Order, Received, Said, Sent, Written};
use super::share::Share;
use crate::arguments::Workload;
use crate::output::Failure;

/// What a measurement came to.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Messages that arrived, over all receivers; of sessions, acknowledged changes.
    pub deliveries: u64,
    /// From the first send until the last receiver had the last message.
    pub ns: u64,
    /// What all processes used for it.
    pub used: Mark,
    /// Never came; of sessions, not acknowledged by two.
    pub lost: u64,
    /// Came twice.
    pub duplicated: u64,
    /// Came after a later one.
    pub out_of_order: u64,
    /// One-way; of sessions, until the acknowledgement.
    pub latency: Latency,
    /// Bytes that were sent, each message once.
    pub sent_bytes: u64,
    /// Members that others went on without.
    pub removed: usize,
    /// For how long a leader that is held to a share of a processor wanted to run and might not, its threads together.
    pub throttled_ms: u64,
    /// The most anonymous memory that one process had.
    pub rss_peak: u64,
    /// The processes.
    pub pids: Vec<u32>,
    /// The groups, by process, each with its leader first.
    pub groups: Vec<Vec<usize>>,
    /// What a quiet run does not say.
    pub words: Vec<String>,
}

impl Measured {
    /// Deliveries in a second.
    pub fn rate(&self) -> f64 {
        self.deliveries as f64 / (self.ns.max(1) as f64 / 1e9)
    }

    /// User and system time of all processes for a million deliveries.
    pub fn cpu_per_million(&self) -> f64 {
        self.per(self.used.cpu_us as f64 / 1e6, 1e6)
    }

    fn per(&self, what: f64, deliveries: f64) -> f64 {
        what / self.deliveries.max(1) as f64 * deliveries
    }

    /// As fields of a line.
    pub fn fields(&self) -> Value {
        let quantile = |part| self.latency.quantile(part);
        json!({
            "deliveries": self.deliveries,
            "seconds": self.ns as f64 / 1e9,
            "deliveries_per_s": self.rate(),
            "cpu_s_per_million": self.cpu_per_million(),
            "syscalls_per_1000": self.per(self.used.system_calls as f64, 1e3),
            "copied_bytes_per_byte": self.used.copied_bytes as f64 / self.sent_bytes.max(1) as f64,
            "allocations_per_million": self.per(self.used.allocations as f64, 1e6),
            "rss_anon_peak_bytes": self.rss_peak,
            "p50_us": quantile(0.5), "p99_us": quantile(0.99), "p999_us": quantile(0.999),
            "lost": self.lost, "duplicated": self.duplicated, "out_of_order": self.out_of_order,
            "removed": self.removed, "leader_throttled_ms": self.throttled_ms,
            "pids": self.pids,
        })
    }
}

/// Measures ours, and then raw with links of the same shape; or ours beside a transfer, and then without one.
pub fn pair(stage: &Stage, number: usize) -> Result<(Measured, Measured), Failure> {
    let numbers = [2 * number as u32, 2 * number as u32 + 1];
    let ours = one(stage, Fleet::ours(stage, numbers[0])?, stage.plan.beside)?;
    let other = match stage.plan.beside {
        Some(_) => Fleet::ours(stage, numbers[1])?,
        None => Fleet::raw(stage, numbers[1], &ours.groups)?,
    };
    let other = one(stage, other, None)?;
    Ok((ours, other))
}

fn one(stage: &Stage, mut fleet: Fleet<'_>, beside: Option<usize>) -> Result<Measured, Failure> {
    let plan = &stage.plan;
    let senders = senders(plan, &fleet.groups);
    let run = |fleet: &mut Fleet<'_>, ms| match plan.workload {
        Workload::Sessions => write_sessions(plan, fleet, ms),
        _ => stream(plan, fleet, &senders, beside, ms),
    };
    run(&mut fleet, WARM_UP_MS)?;
    let leader = fleet.pids()[fleet.groups[0][0]];
    let share = plan.leader_cpu.map(|part| Share::of(leader, part)).transpose()?;
    fleet.rss_peak = 0;
    let before = fleet.marks()?;
    let measured = run(&mut fleet, plan.ms)?;
    let after = fleet.marks()?;
    let used = after.iter().zip(&before).fold(Mark::default(), |sum, (after, before)| sum.plus(&after.since(before)));
    let throttled_ms = share.map_or(0, |share| share.throttled().as_millis() as u64);
    let removed = fleet.removed.len();
    let (rss_peak, pids, words) = (fleet.rss_peak, fleet.pids(), std::mem::take(&mut fleet.words));
    let groups = std::mem::take(&mut fleet.groups);
    Ok(Measured { used, rss_peak, pids, groups, words, removed, throttled_ms, ..measured })
}

/// Who sends: everybody, a leader, or one that neither leads nor is a deputy if there is one.
pub fn senders(plan: &Plan, groups: &[Vec<usize>]) -> Vec<usize> {
    match plan.workload {
        Workload::AllToAll => (0..plan.members).collect(),
        _ if plan.direct => vec![groups[0][0]],
        _ => groups.last().and_then(|group| group.last()).copied().into_iter().collect(),
    }
}

/// Somebody who neither sends nor leads: to be slow, or to die.
pub fn bystander(plan: &Plan, groups: &[Vec<usize>], sender: usize) -> usize {
    let leads = |at: &usize| groups.iter().any(|group| group[0] == *at);
    (0..plan.members).rev().find(|at| *at != sender && !leads(at)).expect("a plan has enough members")
}

/// Lets the senders send, and waits until everybody else has everything. What somebody else transfers beside them does not count.
fn stream(
    plan: &Plan, fleet: &mut Fleet<'_>, senders: &[usize], beside: Option<usize>, ms: u64,
) -> Result<Measured, Failure> {
    for sender in senders {
        fleet.tell(*sender, &Order::Stream { ms, pace: plan.pace() });
    }
    let leads = |at: &usize| fleet.groups.iter().any(|group| group[0] == *at);
    let transfers = (0..plan.members).rev().find(|at| !senders.contains(at) && !leads(at));
    let transfer = beside.zip(transfers);
    if let Some((bytes, by)) = transfer {
        fleet.tell(by, &Order::Transfer { ms, bytes });
    }
    let sending = senders.len() + usize::from(transfer.is_some());
    let (mut sent, mut received): (Vec<(usize, Sent)>, Vec<Received>) = (Vec::new(), Vec::new());
    let patience = PATIENCE + std::time::Duration::from_millis(ms);
    while sent.len() < sending || received.len() < sending * (plan.members - 1) {
        match fleet.next(patience, "the last messages")? {
            (by, Said::Sent(one)) => sent.push((by, one)),
            (_, Said::Received(one)) => received.push(one),
            _ => {}
        }
    }
    received.retain(|one| senders.contains(&usize::from(one.sender)));
    let sent: Vec<Sent> = sent.into_iter().filter(|(by, _)| senders.contains(by)).map(|(_, one)| one).collect();
    Ok(streamed(plan, &sent, &received))
}

/// Adds up what was sent and received.
pub fn streamed(plan: &Plan, sent: &[Sent], received: &[Received]) -> Measured {
    let first = sent.iter().map(|one| one.first_ns).min().unwrap_or(0);
    let mut measured = Measured::default();
    for one in received {
        measured.deliveries += one.messages - one.duplicated;
        measured.ns = measured.ns.max(one.last_ns.saturating_sub(first));
        measured.lost += one.lost;
        measured.duplicated += one.duplicated;
        measured.out_of_order += one.out_of_order;
        measured.latency.add(&one.latency);
    }
    measured.sent_bytes = sent.iter().map(|one| one.messages * plan.bytes as u64).sum();
    measured
}

/// Lets one member change sessions.
fn write_sessions(plan: &Plan, fleet: &mut Fleet<'_>, ms: u64) -> Result<Measured, Failure> {
    let Plan { window, sessions, bytes, .. } = *plan;
    fleet.tell(0, &Order::Sessions(Changes { ms, window, sessions, bytes, delta: None }));
    let patience = PATIENCE + std::time::Duration::from_millis(ms);
    loop {
        if let Said::Written(Written { writes, failed, first_ns, last_ns, latency }) =
            fleet.next(patience, "the last changes of sessions")?.1
        {
            let (ns, sent_bytes) = (last_ns.saturating_sub(first_ns), writes * plan.bytes as u64);
            return Ok(Measured { deliveries: writes, ns, lost: failed, latency, sent_bytes, ..Measured::default() });
        }
    }
}
