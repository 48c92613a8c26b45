//! The same deaths among real processes: `decurion node` on the loopback address, killed and stopped by signals.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use decurion::sim::scale::{Death, Noticed};
use serde_json::Value;

use super::detection;
use super::figure::Figure;
use crate::demo::process::spawn;
use crate::output::{Exit, Failure, Output};

const MEMBERS: usize = 6;
/// Whatever is waited for comes within this time, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(30);

/// A line of a process, when it was read, and under which number the process was started.
struct Line {
    life: usize,
    at: Instant,
    value: Value,
}

struct Process {
    life: usize,
    name: String,
    child: Child,
    address: Option<String>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processes of one cluster, and what they say.
struct Cluster {
    program: PathBuf,
    name: String,
    processes: Vec<Process>,
    lives: usize,
    to: Sender<Line>,
    lines: Receiver<Line>,
    /// The newest view that each process has shown: it may come before a line that somebody waits for.
    views: RefCell<BTreeMap<usize, Value>>,
}

/// Kills `deaths` processes, stops as many, and measures on this process's clock until the others say that they noticed.
pub fn measured(deaths: u64, output: &Output) -> Result<Figure, Failure> {
    let mut figure = Figure {
        name: "processes",
        command: format!("decurion scale processes --deaths {deaths}"),
        about: format!(
            "{MEMBERS} processes of `decurion node` on the loopback address, profile `lan`; they take turns in dying, by SIGKILL and by \
             SIGSTOP, and are started again. From the signal until their last lines were read, on one clock."
        ),
        ..Figure::default()
    };
    let mut cluster = Cluster::start()?;
    let mut measured = Vec::new();
    for death in [Death::ClosedSocket, Death::SilentStop] {
        let mut noticed = Vec::new();
        for number in 0..deaths {
            noticed.push(cluster.notice(number as usize % MEMBERS, death)?);
            if (number + 1).is_multiple_of(deaths.div_ceil(5)) {
                output.say(&format!("{} of {deaths} deaths of kind {death:?}", number + 1));
            }
        }
        measured.push((death, noticed, deaths));
    }
    detection::fill(&mut figure, &measured);
    Ok(figure)
}

impl Cluster {
    fn start() -> Result<Cluster, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::new(Exit::Environment, format!("cannot tell where this program is: {error}")))?;
        let (to, lines) = unbounded();
        let name = format!("scale-{}", std::process::id());
        let mut cluster =
            Cluster { program, name, processes: Vec::new(), lives: 0, to, lines, views: RefCell::default() };
        for number in 0..MEMBERS {
            cluster.launch(&format!("n{number}"))?;
        }
        cluster.await_together()?;
        Ok(cluster)
    }

    /// Starts a process that joins at those that run, and waits until it has its address.
    fn launch(&mut self, name: &str) -> Result<(), Failure> {
        let seeds: Vec<&str> = self.processes.iter().filter_map(|process| process.address.as_deref()).collect();
        let voters: Vec<String> = (0..MEMBERS).map(|number| format!("n{number}")).collect();
        let mut command = Command::new(&self.program);
        command.args(["node", "--json"]);
        for (key, value) in [
            ("node.name", name),
            ("node.bind", "127.0.0.1:0"),
            ("cluster.name", &self.name),
            ("cluster.seeds", &seeds.join(",")),
            ("cluster.voters", &voters.join(",")),
        ] {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        let cannot = |error| Failure::new(Exit::Environment, format!("cannot start a member process: {error}"));
        let mut child = spawn(command).map_err(cannot)?;
        let (life, stdout, stderr) = (self.lives, child.stdout.take(), child.stderr.take());
        self.lives += 1;
        self.processes.push(Process { life, name: name.to_owned(), child, address: None });
        let to = self.to.clone();
        let follow = move || {
            for line in BufReader::new(stdout.expect("piped")).lines().map_while(Result::ok) {
                let at = Instant::now();
                if let Ok(value) = serde_json::from_str(&line) {
                    let _ = to.send(Line { life, at, value });
                }
            }
        };
        thread::Builder::new().name("hear".to_owned()).spawn(follow).map_err(cannot)?;
        // Read, so that its pipe never fills; what it says there is for people.
        let drain = move || BufReader::new(stderr.expect("piped")).lines().map_while(Result::ok).for_each(drop);
        thread::Builder::new().name("hear".to_owned()).spawn(drain).map_err(cannot)?;
        let line = self
            .await_line(&format!("{name} has an address"), |line| line.life == life && line.value["type"] == "open")?;
        let address = line.value["address"].as_str().map(str::to_owned);
        self.processes.last_mut().expect("just started").address = address;
        Ok(())
    }

    /// Waits for a line that fits; of the others the newest views are kept.
    fn await_line(&self, what: &str, fits: impl Fn(&Line) -> bool) -> Result<Line, Failure> {
        let end = Instant::now() + PATIENCE;
        loop {
            let Ok(line) = self.lines.recv_deadline(end) else { return Err(self.in_vain(what)) };
            self.note(&line);
            if fits(&line) {
                return Ok(line);
            }
        }
    }

    fn note(&self, line: &Line) {
        if line.value["type"] == "view" {
            self.views.borrow_mut().insert(line.life, line.value.clone());
        }
    }

    fn in_vain(&self, what: &str) -> Failure {
        let views = self.views.borrow();
        let newest = |process: &Process| {
            let view = views.get(&process.life).map_or_else(|| "no view".to_owned(), Value::to_string);
            format!("\n  {}: {view}", process.name)
        };
        let all: String = self.processes.iter().map(newest).collect();
        Failure::new(Exit::Deadline, format!("waited in vain until {what}; their newest views:{all}"))
    }

    /// Waits until every process shows a view of all members, all ready.
    fn await_together(&self) -> Result<(), Failure> {
        while !self.are_together() {
            self.await_line("all are in one view", |line| line.value["type"] == "view")?;
        }
        Ok(())
    }

    fn are_together(&self) -> bool {
        let views = self.views.borrow();
        let ready = |view: &Value| {
            let members = view["members"].as_array().map_or(&[][..], Vec::as_slice);
            members.iter().filter(|member| member["state"] == "ready").count()
        };
        self.processes.iter().all(|process| views.get(&process.life).is_some_and(|view| ready(view) == MEMBERS))
    }

    /// Lets a process die, measures, and brings it back.
    fn notice(&mut self, victim: usize, death: Death) -> Result<Noticed, Failure> {
        let name = format!("n{victim}");
        let at = self.processes.iter().position(|process| process.name == name).expect("all run between deaths");
        let mut gone = self.processes.remove(at);
        // What they said before is no news of this death.
        self.lines.try_iter().for_each(|line| self.note(&line));
        let died = Instant::now();
        match death {
            Death::ClosedSocket => {
                gone.child.kill().map_err(|error| Failure::new(Exit::Environment, error.to_string()))?
            }
            Death::SilentStop => stop(&gone.child),
        }
        let noticed = self.await_noticed(&name, died)?;
        drop(gone);
        self.launch(&name)?;
        self.await_together()?;
        Ok(noticed)
    }

    fn await_noticed(&self, name: &str, died: Instant) -> Result<Noticed, Failure> {
        let mut missing: Vec<usize> = self.processes.iter().map(|process| process.life).collect();
        let (mut first, mut last) = (None, died);
        while !missing.is_empty() {
            let suspects = |line: &Line| line.value["type"] == "suspect" && line.value["member"] == name;
            let left = |line: &Line| {
                let left = line.value["left"].as_array().map_or(&[][..], Vec::as_slice);
                line.value["type"] == "view" && left.iter().any(|left| left == name)
            };
            let line =
                self.await_line(&format!("the death of {name} is noticed"), |line| suspects(line) || left(line))?;
            first.get_or_insert(line.at);
            if left(&line) {
                missing.retain(|life| *life != line.life);
                last = line.at;
            }
        }
        let after = |at: Instant| at.saturating_duration_since(died).as_micros() as u64;
        Ok(Noticed { first_us: after(first.unwrap_or(last)), all_us: after(last) })
    }
}

fn stop(child: &Child) {
    // SAFETY: the process is our own child and not collected yet, so the number is still its.
    unsafe { libc::kill(child.id() as i32, libc::SIGSTOP) };
}
