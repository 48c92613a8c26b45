//! The rounds of a run: all are measured once in turn, and then again, so that a slow minute of the machine meets everybody.

use std::io;
use std::process::{Command, ExitCode};
use std::thread;

use serde::Serialize;
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::RunArguments;
use crate::fleet::{Fleet, MEMBERS, Stage, Streamed};
use crate::ours;
use crate::peer::{Host, Needs, PEERS, Peer, Way};
use crate::process::Heard;
use crate::report::{Report, Row};
use crate::shared::figures::Latency;
use crate::shared::protocol::Written;

/// One message in so long, where latency is measured at low load.
const PACE_US: u64 = 1_000;
/// Length of a message there.
const PACED_BYTES: usize = 64;
/// Length of a write.
pub const WRITE_BYTES: usize = 2_048;
/// Writes under way.
pub const WINDOWS: [usize; 2] = [1, 64];
/// What is sent before anything is measured: as in our own bench, and longer where code is compiled as it runs.
const WARM_UP_MS: u64 = 300;
const JAVA_WARM_UP_MS: u64 = 2_000;
/// The same of a virtual machine that has just started.
const JAVA_FIRST_MS: u64 = 8_000;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub enum Work {
    /// One sender as fast as it can, nine receivers.
    Stream(usize),
    /// One message each millisecond.
    Latency,
    /// Acknowledged writes, so many under way.
    Write(usize),
}

/// What one measurement came to.
#[derive(Clone, Copy, Default, Debug, Serialize)]
pub struct Figure {
    /// Deliveries, or acknowledged writes, in a second.
    pub per_s: f64,
    /// Processor time of all processes for a million of them.
    pub cpu_s_per_million: f64,
    /// Latencies in microseconds.
    pub p50_us: f64,
    /// The same.
    pub p99_us: f64,
    /// The same.
    pub p999_us: f64,
}

impl Figure {
    fn new(count: u64, ns: u64, cpu_ns: u64, latency: &Latency) -> Figure {
        let quantile = |part| latency.quantile(part).unwrap_or(0) as f64;
        Figure {
            per_s: count as f64 * 1e9 / ns.max(1) as f64,
            cpu_s_per_million: cpu_ns as f64 / 1e3 / count.max(1) as f64,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
        }
    }

    /// Processors that were busy in the mean.
    pub fn processors(&self) -> f64 {
        self.cpu_s_per_million * self.per_s / 1e6
    }
}

/// Runs the verb.
pub fn run(arguments: &RunArguments) -> io::Result<ExitCode> {
    let (to_run, heard) = crossbeam_channel::unbounded();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let to = to_run.clone();
    thread::spawn(move || signals.forever().for_each(|_| drop(to.send(Heard::Signal))));
    // In memory, where Aeron wants its files.
    let dir = tempfile::Builder::new().prefix("decurion-peers-").tempdir_in("/dev/shm")?;
    let stage = Stage { arguments: arguments.clone(), heard, to_run, dir, interrupted: false.into() };
    let wanted = |name: &str| arguments.peers.is_empty() || arguments.peers.iter().any(|peer| peer == name);
    let mut report = Report::default();
    let mut present = Vec::new();
    for peer in PEERS.iter().filter(|peer| wanted(peer.name) && !works(arguments, peer.way).is_empty()) {
        match missing(arguments, peer) {
            None => present.push(*peer),
            Some(why) => {
                eprintln!("{}: not measured: {why}", peer.title);
                report.missing.push((peer.title, why));
            }
        }
    }
    if present.is_empty() && !report.missing.is_empty() {
        eprintln!("peers: none of them could be installed");
        return Ok(ExitCode::from(3));
    }
    let mut fleets = 0;
    for round in 0..arguments.rounds {
        if wanted("decurion") {
            ours::measure(&stage, &mut fleets, |row, work, outcome| add(&mut report, round, row, work, outcome))?;
        }
        for peer in &present {
            measure(&stage, &mut fleets, peer, |work, outcome| add(&mut report, round, Row::from(peer), work, outcome));
            if stage.interrupted.get() {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
    }
    report.finish(arguments, &present)
}

/// What is measured of those whose messages go this way.
pub fn works(arguments: &RunArguments, way: Way) -> Vec<Work> {
    let wants = |name: &str| arguments.workloads.iter().any(|workload| workload == name);
    if way == Way::Written {
        return WINDOWS.into_iter().filter(|_| wants("writes")).map(Work::Write).collect();
    }
    let streams = arguments.sizes.iter().filter(|_| wants("relay")).map(|bytes| Work::Stream(*bytes));
    streams.chain(wants("latency").then_some(Work::Latency)).collect()
}

fn add(report: &mut Report, round: u32, row: Row, work: Work, outcome: Result<Figure, String>) {
    match &outcome {
        Ok(figure) => {
            let line = json!({ "round": round + 1, "name": row.title, "way": format!("{:?}", row.way), "work": work, "figure": figure });
            println!("{line}");
            eprintln!(
                "{:>2} {:<32} {:<18} {:>12.0}/s {:>10.4} CPU s/M {:>8.0} p50 {:>8.0} p99 us",
                round + 1,
                row.title,
                format!("{work:?}"),
                figure.per_s,
                figure.cpu_s_per_million,
                figure.p50_us,
                figure.p99_us
            );
        }
        Err(why) => {
            println!("{}", json!({ "round": round + 1, "name": row.title, "work": work, "failed": why }));
            eprintln!("{:>2} {:<32} {:<18} failed: {why}", round + 1, row.title, format!("{work:?}"));
        }
    }
    report.add(round, row, work, outcome);
}

/// Why a peer cannot be measured here.
fn missing(arguments: &RunArguments, peer: &Peer) -> Option<String> {
    let told = |name: &str| {
        let text = std::fs::read_to_string(arguments.missing.as_ref()?.join(name)).ok()?;
        Some(text.trim().to_owned())
    };
    let (is_there, name) = match peer.needs {
        Needs::Program(name) => (in_path(name), name),
        Needs::Feature("aeron") => (cfg!(feature = "aeron"), "aeron"),
        Needs::Feature(name) => (cfg!(feature = "zmq"), name),
        Needs::Java => (in_path("java") && arguments.java.join("classes/peers/Main.class").exists(), "java"),
    };
    (!is_there).then(|| told(name).unwrap_or_else(|| format!("{name} is not installed")))
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn measure(stage: &Stage, fleets: &mut u32, peer: &Peer, mut take: impl FnMut(Work, Result<Figure, String>)) {
    let works = works(&stage.arguments, peer.way);
    match peer.host {
        Host::Native => works.iter().for_each(|work| take(*work, in_own_fleet(stage, fleets, peer, *work))),
        Host::Java => {
            let mut fleet = None;
            for work in works {
                if fleet.is_none() {
                    *fleets += 1;
                    match Fleet::start(stage, *fleets, peer, 0).and_then(|fleet| warm(fleet, work)) {
                        Ok(started) => fleet = Some(started),
                        Err(error) => {
                            take(work, Err(error.to_string()));
                            continue;
                        }
                    }
                }
                let outcome = fleet.as_mut().map(|fleet| once(fleet, work, JAVA_WARM_UP_MS, stage.arguments.seconds));
                let Some(outcome) = outcome else { continue };
                // Whoever failed once may be in any state: others get a new one.
                fleet = fleet.filter(|_| outcome.is_ok());
                take(work, outcome.map_err(|error| error.to_string()));
            }
        }
    }
}

fn in_own_fleet(stage: &Stage, fleets: &mut u32, peer: &Peer, work: Work) -> Result<Figure, String> {
    *fleets += 1;
    let bytes = match work {
        Work::Stream(bytes) => bytes,
        Work::Latency => PACED_BYTES,
        Work::Write(_) => WRITE_BYTES,
    };
    Fleet::start(stage, *fleets, peer, bytes)
        .and_then(|mut fleet| once(&mut fleet, work, WARM_UP_MS, stage.arguments.seconds))
        .map_err(|error| error.to_string())
}

/// Lets a fleet of virtual machines compile what it needs.
fn warm(mut fleet: Fleet<'_>, work: Work) -> io::Result<Fleet<'_>> {
    phase(&mut fleet, work, JAVA_FIRST_MS)?;
    Ok(fleet)
}

fn once(fleet: &mut Fleet<'_>, work: Work, warm_up_ms: u64, seconds: f64) -> io::Result<Figure> {
    phase(fleet, work, warm_up_ms)?;
    phase(fleet, work, (seconds * 1e3) as u64)
}

fn phase(fleet: &mut Fleet<'_>, work: Work, ms: u64) -> io::Result<Figure> {
    let before = fleet.cpu_ns()?;
    let done = match work {
        Work::Stream(bytes) => streamed(&fleet.stream(bytes, ms, 0)?),
        Work::Latency => streamed(&fleet.stream(PACED_BYTES, ms, PACE_US)?),
        Work::Write(window) => written(fleet.write(WRITE_BYTES, ms, window)?),
    };
    let (count, ns, latency) = done.map_err(io::Error::other)?;
    Ok(Figure::new(count, ns, fleet.cpu_ns()? - before, &latency))
}

/// Deliveries, how long they took, and their latencies; or what was wrong with them.
pub fn streamed(streamed: &Streamed) -> Result<(u64, u64, Latency), String> {
    let (mut count, mut last, mut latency) = (0, 0, Latency::default());
    if streamed.received.len() != MEMBERS - 1 {
        return Err(format!("{} of 9 receivers were heard", streamed.received.len()));
    }
    for one in &streamed.received {
        if one.lost + one.duplicated + one.out_of_order > 0 {
            let (lost, twice, disordered) = (one.lost, one.duplicated, one.out_of_order);
            return Err(format!("a receiver lost {lost}, had {twice} twice and {disordered} out of order"));
        }
        if one.messages != streamed.sent.messages {
            return Err(format!("a receiver had {} of {} messages", one.messages, streamed.sent.messages));
        }
        count += one.messages;
        last = last.max(one.last_ns);
        latency.add(&one.latency);
    }
    Ok((count, last.saturating_sub(streamed.sent.first_ns), latency))
}

fn written(written: Written) -> Result<(u64, u64, Latency), String> {
    match written.failed {
        0 => Ok((written.writes, written.last_ns.saturating_sub(written.first_ns), written.latency)),
        failed => Err(format!("{failed} writes were not acknowledged")),
    }
}

/// The first line that a command says about its version.
pub fn version(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = words.next().and_then(|program| Command::new(program).args(words).output().ok());
    output
        .and_then(|output| {
            let text = [output.stdout, output.stderr].concat();
            let line = String::from_utf8_lossy(&text).lines().next()?.to_owned();
            // Redis goes on with the hash of its build.
            Some(line.split(" sha=").next().unwrap_or_default().to_owned())
        })
        .unwrap_or_else(|| format!("`{command}` says nothing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::protocol::{Received, Sent};

    fn received(messages: u64) -> Received {
        Received { messages, last_ns: 2_000_000_000, ..Received::default() }
    }

    #[test]
    fn a_rate_counts_what_all_receivers_have() {
        let sent = Sent { messages: 100, first_ns: 1_000_000_000 };
        let mut all = Streamed { sent, received: vec![received(100); 9] };
        all.received[3].last_ns = 2_500_000_000;
        let (count, ns, _) = streamed(&all).expect("it is whole");
        assert_eq!((count, ns), (900, 1_500_000_000));
        let figure = Figure::new(count, ns, 3_000_000_000, &Latency::default());
        assert!((figure.per_s - 600.0).abs() < 1e-9 && (figure.cpu_s_per_million - 3_333.333).abs() < 1e-2);
        assert!((figure.processors() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_not_whole_is_no_figure() {
        let sent = Sent { messages: 100, first_ns: 0 };
        let of = |change: fn(&mut Vec<Received>)| {
            let mut all = Streamed { sent, received: vec![received(100); 9] };
            change(&mut all.received);
            streamed(&all).is_ok()
        };
        assert!(of(|_| ()));
        assert!(!of(|all| all[0].lost = 1));
        assert!(!of(|all| all[0].duplicated = 1));
        assert!(!of(|all| all[8].out_of_order = 1));
        assert!(!of(|all| all[8].messages = 99));
        assert!(!of(|all| drop(all.pop())));
    }
}
