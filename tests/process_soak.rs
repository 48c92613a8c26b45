//! Real processes under faults that take turns: killed and started anew, stopped for a moment or for too long, ended in order.
//! After each fault all of them are together again and messages arrive; memory and descriptors of those that live on stay flat.
//!
//! `SOAK_SECONDS=600 cargo test --release --test process_soak -- --nocapture` goes on for ten minutes and prints what it
//! measured; without the variable each kind of fault comes once. (Nodes take variables that begin with `DECURION_` for settings.)

mod command_support;

use std::fs;
use std::time::{Duration, Instant};

use command_support::{PATIENCE, Process, nodes};

const SETTINGS: &[(&str, &str)] = &[("detector.silence_ms", "800"), ("detector.heartbeat_ms", "100")];
const MEMBERS: usize = 4;
/// Messages to everybody after each fault, and how long each is.
const MESSAGES: u64 = 100;
const MESSAGE_BYTES: usize = 1_000;
/// Descriptors that a member may have more than after the first round: connections that are just being replaced.
const MORE_DESCRIPTORS: usize = 2;
/// What a process may grow by, from the end of its first quarter to the end: caches that fill late.
const GROWTH_KB: u64 = 4 * 1024;

/// What happens to one member.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// SIGKILL, and a new process of that name.
    Kill,
    /// SIGTERM, and a new process of that name.
    Leave,
    /// SIGSTOP and at once SIGCONT: nobody notices.
    Blink,
    /// SIGSTOP until the others have removed it, then SIGCONT.
    Pause,
}

/// Which member each fault meets. `0` sends and lives through all, `2` is never replaced either.
const FAULTS: &[(Fault, usize)] =
    &[(Fault::Kill, 1), (Fault::Pause, 2), (Fault::Blink, 0), (Fault::Leave, 3), (Fault::Pause, 0), (Fault::Blink, 2)];

/// One look at a process.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Duration,
    memory_kb: u64,
    descriptors: usize,
}

#[test]
fn under_faults_that_take_turns_memory_and_descriptors_stay_flat() {
    let seconds = std::env::var("SOAK_SECONDS").map_or(0, |text| text.parse().expect("a number of seconds"));
    let began = Instant::now();
    let mut cluster = Soak::new();
    for round in 0.. {
        if round >= FAULTS.len() && began.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
        let (fault, at) = FAULTS[round % FAULTS.len()];
        cluster.meet(fault, at);
        cluster.messages_arrive();
        cluster.look(began.elapsed());
    }
    cluster.judge();
}

struct Soak {
    nodes: Vec<Process>,
    /// What was seen of each process that lives now, and what of those before it.
    looks: Vec<Vec<Look>>,
    past: Vec<(usize, Vec<Look>)>,
    /// Descriptors of each after the first round.
    descriptors: Option<Vec<usize>>,
    sent: usize,
}

impl Soak {
    fn new() -> Soak {
        let mut nodes = nodes(MEMBERS - 1, SETTINGS);
        // The one that sends reads its messages from stdin, and so is started by hand; it is the youngest, and goes first.
        let seed = nodes[0].address().to_string();
        let settings = [&[("cluster.seeds", seed.as_str())], SETTINGS].concat();
        nodes.insert(0, Process::node("sender", &settings, &["--send", "-", "--members", "4"]));
        nodes.iter().for_each(|node| drop(node.wait_members(MEMBERS)));
        Soak { nodes, looks: vec![Vec::new(); MEMBERS], past: Vec::new(), descriptors: None, sent: 0 }
    }

    fn meet(&mut self, fault: Fault, at: usize) {
        let witness = (at + 1) % MEMBERS;
        match fault {
            Fault::Kill | Fault::Leave => {
                let name = self.nodes[at].name.clone();
                let seed = self.nodes[witness].address().to_string();
                let signal = if matches!(fault, Fault::Kill) { libc::SIGKILL } else { libc::SIGTERM };
                self.nodes[at].signal(signal);
                self.nodes[witness].wait_members(MEMBERS - 1);
                let settings = [&[("cluster.seeds", seed.as_str())], SETTINGS].concat();
                let before = std::mem::replace(&mut self.nodes[at], Process::node(&name, &settings, &[]));
                let ended = before.end();
                assert!(matches!((fault, ended.code), (Fault::Kill, None) | (Fault::Leave, Some(0))), "{ended:?}");
                self.past.push((at, std::mem::take(&mut self.looks[at])));
            }
            Fault::Blink => {
                self.nodes[at].signal(libc::SIGSTOP);
                self.nodes[at].signal(libc::SIGCONT);
            }
            Fault::Pause => {
                let before = self.nodes[at].lines("expelled").len();
                self.nodes[at].signal(libc::SIGSTOP);
                self.nodes[witness].wait_members(MEMBERS - 1);
                self.nodes[at].signal(libc::SIGCONT);
                let expelled = |lines: &[serde_json::Value]| {
                    lines.iter().filter(|l| l["type"] == "expelled").nth(before).map(drop)
                };
                self.nodes[at].wait_lines("that it was removed", expelled);
            }
        }
        self.together();
    }

    /// All members are in one view of all.
    fn together(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let views: Vec<_> = self.nodes.iter().map(|node| node.wait_members(MEMBERS)["view_id"].clone()).collect();
            if views.iter().all(|view| *view == views[0]) {
                return;
            }
            assert!(Instant::now() < deadline, "they do not come together: {views:?}");
            // Whoever is behind hears of the newest view in a moment: until then, what it says is taken.
            self.nodes.iter().for_each(|node| drop(node.stats()));
        }
    }

    /// What the first one sends reaches all others.
    fn messages_arrive(&mut self) {
        let before = self.delivered();
        let text: String = (0..MESSAGES).map(|_| "m".repeat(MESSAGE_BYTES - 1) + "\n").collect();
        self.nodes[0].write(&text);
        self.sent += MESSAGES as usize;
        let deadline = Instant::now() + PATIENCE;
        while self.delivered().iter().zip(&before).any(|(now, before)| now - before < MESSAGES) {
            assert!(Instant::now() < deadline, "messages do not arrive: {before:?} {:?}", self.delivered());
        }
    }

    /// Messages that each but the sender has delivered in its life.
    fn delivered(&self) -> Vec<u64> {
        let count = |node: &Process| node.stats()["messages_delivered"].as_u64().expect("a number");
        self.nodes[1..].iter().map(count).collect()
    }

    /// Writes down what each takes, once connections that nobody needs any more are gone.
    fn look(&mut self, at: Duration) {
        let first = self.descriptors.get_or_insert_with(|| self.nodes.iter().map(descriptors).collect()).clone();
        for (index, node) in self.nodes.iter().enumerate() {
            let descriptors = node.wait_world("descriptors as at first", || {
                let now = descriptors(node);
                (now <= first[index] + MORE_DESCRIPTORS).then_some(now)
            });
            self.looks[index].push(Look { at, memory_kb: node.memory_kb(), descriptors });
        }
    }

    /// Whoever lived long enough has not grown.
    fn judge(self) {
        let lives = self.past.into_iter().chain(self.looks.into_iter().enumerate());
        let long: Vec<_> = lives.filter(|(_, looks)| looks.len() >= 2).collect();
        println!(
            "{} messages; member: rounds, seconds, KiB at the first quarter and at last, KiB/h, descriptors",
            self.sent
        );
        let longest = long.iter().map(|(_, looks)| looks.len()).max().unwrap_or(0);
        for (index, looks) in &long {
            let settled = &looks[looks.len() / 4..];
            let (from, to) = (settled[0], settled[settled.len() - 1]);
            let lived = to.at - looks[0].at;
            let descriptors: Vec<usize> = looks.iter().map(|look| look.descriptors).collect();
            let (least, most) = (descriptors.iter().min().unwrap_or(&0), descriptors.iter().max().unwrap_or(&0));
            // Those that were replaced again and again would be hundreds of lines.
            if looks.len() * 2 >= longest {
                let (rounds, seconds, slope) = (looks.len(), lived.as_secs(), slope_kb_per_hour(settled));
                let (before, after) = (from.memory_kb, to.memory_kb);
                println!("{index}: {rounds}, {seconds}, {before} and {after}, {slope:.0}, {least} to {most}");
            }
            let grown = to.memory_kb.saturating_sub(from.memory_kb);
            assert!(grown <= GROWTH_KB, "{index} has grown by {grown} KiB: {looks:?}");
        }
        assert!(long.iter().any(|(index, _)| *index == 0) && long.iter().any(|(index, _)| *index == 2));
    }
}

/// The line that fits best, by least squares.
fn slope_kb_per_hour(looks: &[Look]) -> f64 {
    let count = looks.len() as f64;
    let points = || looks.iter().map(|look| (look.at.as_secs_f64() / 3_600.0, look.memory_kb as f64));
    let (x, y) = points().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let (over, under) = points().fold((0.0, f64::EPSILON), |(over, under), point| {
        (over + (point.0 - x) * (point.1 - y), under + (point.0 - x) * (point.0 - x))
    });
    over / under
}

fn descriptors(node: &Process) -> usize {
    fs::read_dir(format!("/proc/{}/fd", node.pid())).expect("it runs").count()
}
