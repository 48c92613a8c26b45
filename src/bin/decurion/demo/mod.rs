//! `decurion demo`: twelve member processes in three groups, a file that streams from two of them to all, a group
//! leader and then the coordinator killed, one brought back, sessions that are changed on all of them meanwhile; and a table that
//! shows what it cost.

pub mod connections;
pub mod member;
pub mod multicast;
mod payload;
mod picture;
pub mod plan;
pub mod process;
mod protocol;
mod sessions;
mod story;
mod verdict;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use serde_json::{Value, json};

use crate::arguments::DemoArguments;
use crate::clock::monotonic_us;
use crate::output::{Exit, Failure, Outcome, Output};
use crate::signals;
use picture::Picture;
use plan::{Plan, Ports};
use process::{Heard, Process};
use protocol::{Order, Said};
use sessions::Sessions;
use story::Story;
use verdict::Verdict;

/// How long the members may take to form, and later to notice a death, before the demo gives up on them.
const FORM_PATIENCE: Duration = Duration::from_secs(20);
const NOTICE_PATIENCE: Duration = Duration::from_secs(10);
const ARRIVE_PATIENCE: Duration = Duration::from_secs(10);
const SETTLE_PATIENCE: Duration = Duration::from_secs(15);
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);

/// Runs the verb.
pub fn run(arguments: &DemoArguments, output: &Output) -> Outcome {
    let plan = Plan::new(arguments)?;
    let mut demo = Demo::new(plan, output)?;
    demo.start()?;
    demo.stream()?;
    if demo.plan.hold {
        demo.hold()?;
    }
    demo.finish()
}

struct Demo<'a> {
    plan: Plan,
    output: &'a Output,
    program: PathBuf,
    ports: Ports,
    heard: Receiver<Heard>,
    to_demo: Sender<Heard>,
    processes: Vec<Process>,
    story: Story,
    /// The client of sessions: its journal is here, where nobody is killed.
    sessions: Sessions,
    picture: Picture,
    faults: Vec<Value>,
    /// The members as they began: name, pid, group, role.
    cast: Vec<Value>,
    /// Whether a member that ends by itself is an event of the run and not its failure.
    held: bool,
}

impl<'a> Demo<'a> {
    fn new(plan: Plan, output: &'a Output) -> Result<Demo<'a>, Failure> {
        let environment =
            |what: &str, error: std::io::Error| Failure::new(Exit::Environment, format!("{what}: {error}"));
        let (to_demo, heard) = crossbeam_channel::unbounded();
        let to = to_demo.clone();
        signals::watch(&[], move |_| drop(to.send(Heard::Signal)))?;
        let ports = Ports::take(plan.members).map_err(|e| environment("cannot take ports on 127.0.0.1", e))?;
        let program = std::env::current_exe().map_err(|e| environment("cannot find the command itself", e))?;
        let sessions = Sessions::new(plan.sessions, plan.seconds);
        Ok(Demo {
            plan,
            output,
            program,
            ports,
            heard,
            to_demo,
            processes: Vec::new(),
            story: Story::default(),
            sessions,
            picture: Picture::new(),
            faults: Vec::new(),
            cast: Vec::new(),
            held: false,
        })
    }

    /// Starts the members and waits until they are one cluster.
    fn start(&mut self) -> Result<(), Failure> {
        let (members, groups) = (self.plan.members, self.plan.groups);
        self.picture.tell(&format!("starting {members} member processes for {groups} groups on 127.0.0.1"));
        if let Some(multicast) = self.plan.multicast {
            let (group, part) = (self.group(), f64::from(multicast.loss_per_mille) / 10.0);
            let lost =
                if part > 0.0 { format!(", and each throws away {part} % of what comes") } else { String::new() };
            self.picture.tell(&format!("messages to everybody go by multicast to {group}{lost}"));
        }
        for at in 0..members {
            self.start_member(at, false)?;
        }
        self.wait("all members in one view", FORM_PATIENCE, Story::agreed)?;
        let view = self.story.newest_view().expect("they agreed on one");
        let mut labels: Vec<u16> = view.members.iter().map(|m| m.group).collect();
        labels.sort_unstable();
        labels.dedup();
        if labels.len() != groups {
            let text = format!("the members made {} groups where {groups} were asked for", labels.len());
            return Err(Failure::new(Exit::Broken, text));
        }
        self.cast = view
            .members
            .iter()
            .map(|m| {
                let pid = self.story.by_name(&m.name).map(|p| self.story.seen[p].pid);
                json!({ "name": m.name, "pid": pid, "group": m.group.to_string(), "role": self.story.role(&m.name) })
            })
            .collect();
        self.held = self.plan.hold;
        if self.held {
            self.picture.tell("kill any of these whenever you like, and watch:");
            self.tell_pids();
        }
        Ok(())
    }

    fn start_member(&mut self, at: usize, returned: bool) -> Result<(), Failure> {
        let name = |at: usize| format!("m{:02}", at + 1);
        let seeds = self.ports.addresses.iter().enumerate().map(|(at, address)| format!("{}@{address}", name(at)));
        let settings = [
            ("cluster.name", format!("demo-{}", std::process::id())),
            ("cluster.seeds", seeds.collect::<Vec<_>>().join(",")),
            ("node.name", name(at)),
            ("node.bind", self.ports.addresses[at].to_string()),
            ("group.size", self.plan.group_size.to_string()),
        ];
        let multicast = self.multicast_settings();
        let settings = [&settings[..], &multicast].concat();
        let number = self.processes.len();
        let process = Process::start(number, &name(at), &self.program, &settings, &self.to_demo).map_err(|error| {
            Failure::new(Exit::Environment, format!("cannot start member process {}: {error}", name(at)))
        })?;
        self.story.add(&process.name, process.pid, returned);
        self.output.line("member", json!({ "name": process.name, "pid": process.pid, "returned": returned }));
        self.processes.push(process);
        Ok(())
    }

    /// What makes multicast of it, if that is wanted.
    fn multicast_settings(&self) -> Vec<(&'static str, String)> {
        let Some(multicast) = self.plan.multicast else { return Vec::new() };
        vec![
            ("multicast.use", "messages".to_owned()),
            ("multicast.group", self.group().to_string()),
            ("multicast.rehearse_loss", multicast.loss_per_mille.to_string()),
        ]
    }

    fn group(&self) -> SocketAddr {
        multicast::own_group(self.ports.addresses[0])
    }

    /// Streams the file, with the kills in between.
    fn stream(&mut self) -> Result<(), Failure> {
        let stream_bytes = self.plan.stream_bytes();
        self.story.senders = senders(&self.story);
        let names: Vec<&str> = self.story.senders.iter().map(|s| self.story.seen[*s].name.as_str()).collect();
        let (file, size) = (self.plan.file.display(), self.plan.file_bytes);
        let passes = self.plan.passes;
        let times = if self.plan.hold { "again and again".to_owned() } else { format!("{passes} times each") };
        let rate = self.plan.bytes_per_s as f64 / 1e6;
        self.picture.tell(&format!("{} stream to everybody, {times}, {rate:.1} MB/s each:", names.join(" and ")));
        self.picture.tell(&format!("  {file} ({size} bytes)"));
        let passes = if self.plan.hold { 0 } else { self.plan.passes };
        let order = Order::Send { file: self.plan.file.clone(), bytes_per_s: self.plan.bytes_per_s, passes };
        for sender in self.story.senders.clone() {
            self.processes[sender].tell(&order);
        }
        self.sessions.begin();
        let patience = self.plan.patience();
        if self.sessions.wanted() && !self.plan.hold {
            self.make_sessions()?;
        }
        if self.plan.faults {
            self.wait("a third of the file sent", patience, |s| s.sent_part(stream_bytes) >= 1.0 / 3.0)?;
            let leader = self.victim("leader")?;
            self.kill(leader, "leader", 1)?;
            self.bring_back(leader)?;
            self.wait("two thirds of the file sent", patience, |s| s.sent_part(stream_bytes) >= 2.0 / 3.0)?;
            self.wait("the member that came back in everybody's view", NOTICE_PATIENCE, Story::agreed)?;
            // Two deaths may take both copies of a session, unless those that the first took are made anew in between.
            self.wait("two copies of each session", NOTICE_PATIENCE, Story::is_restored)?;
            let coordinator = self.victim("coordinator")?;
            self.kill(coordinator, "coordinator", 2)?;
        }
        self.wait("the whole file sent", patience, |s| s.sent_part(stream_bytes) >= 1.0)
    }

    /// Waits until every session is there, so that each death meets all of them.
    fn make_sessions(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + self.plan.patience();
        while !self.sessions.is_made() {
            self.step(Some(deadline), "all sessions")?;
        }
        let count = self.sessions.count();
        self.picture.tell(&format!("{count} sessions made on all members; each is changed on another one every time"));
        Ok(())
    }

    /// The client begins nothing new; then it reads everything back from whoever lives.
    fn read_sessions(&mut self) -> Result<(), Failure> {
        if !self.sessions.wanted() {
            return Ok(());
        }
        self.sessions.stop();
        for stage in ["the last changes of sessions", "all sessions read back"] {
            let deadline = Instant::now() + SETTLE_PATIENCE;
            while !self.sessions.is_settled() {
                match self.step(Some(deadline), stage) {
                    // What has no answer by then counts as lost, or as not acknowledged.
                    Err(failure) if failure.exit == Exit::Deadline => break,
                    other => other?,
                }
            }
            if !self.sessions.is_reading() {
                self.sessions.read_back();
            }
        }
        Ok(())
    }

    /// The first living process of a role that does not send.
    fn victim(&self, role: &str) -> Result<usize, Failure> {
        let fits = |p: &usize| self.story.role(&self.story.seen[*p].name) == role && !self.story.senders.contains(p);
        let text = || Failure::new(Exit::Broken, format!("there is no {role} that does not send"));
        self.story.living().find(fits).ok_or_else(text)
    }

    fn kill(&mut self, process: usize, role: &str, phase: usize) -> Result<(), Failure> {
        for other in self.story.living().collect::<Vec<_>>() {
            self.processes[other].tell(&Order::Phase { phase });
        }
        self.story.kill(process, role, phase, monotonic_us());
        self.processes[process].kill();
        let (name, pid) = (self.processes[process].name.clone(), self.processes[process].pid);
        let at_ms = self.picture.elapsed_ms();
        self.fault(json!({ "kind": "kill", "name": name, "pid": pid, "role": role, "at_ms": at_ms }));
        self.picture
            .tell(&format!("SIGKILL to {name}, the {role}{}, pid {pid}", if phase == 1 { " of a group" } else { "" }));
        let death = self.story.deaths.len() - 1;
        let noticed = move |s: &Story| s.deaths[death].noticed_by_all_us().is_some();
        self.wait(&format!("everybody in a view without {name}"), NOTICE_PATIENCE, noticed)?;
        let took_us = self.story.deaths[death].noticed_by_all_us().unwrap_or(0);
        self.picture.tell(&format!("all have noticed after {} ms", took_us.div_ceil(1_000)));
        Ok(())
    }

    fn bring_back(&mut self, killed: usize) -> Result<(), Failure> {
        // The first processes are numbered like their names and ports.
        self.start_member(killed, true)?;
        let process = self.processes.last_mut().expect("just started");
        process.tell(&Order::Phase { phase: 1 });
        let (name, pid) = (process.name.clone(), process.pid);
        let at_ms = self.picture.elapsed_ms();
        self.fault(json!({ "kind": "restart", "name": name, "pid": pid, "role": "leader", "at_ms": at_ms }));
        self.picture.tell(&format!("{name} is started again, same name and port, pid {pid}"));
        Ok(())
    }

    fn fault(&mut self, fault: Value) {
        self.output.line("fault", fault.clone());
        self.faults.push(fault);
    }

    /// Goes on until told to end. A member that somebody kills is shown, not fatal.
    fn hold(&mut self) -> Result<(), Failure> {
        self.picture.tell("held open: kill any of these and watch; Ctrl-C ends it");
        let living = self.tell_pids();
        self.output.line("hold", json!({ "members": living }));
        while let Some(heard) = self.hear(None) {
            match heard {
                Heard::Signal => return Ok(()),
                other => self.take(other),
            }
            self.note_deaths_by_hand();
        }
        Ok(())
    }

    /// A line for each group, with names and process ids. Answers the same as fields.
    fn tell_pids(&mut self) -> Vec<Value> {
        let Some(view) = self.story.newest_view() else { return Vec::new() };
        let (mut groups, mut fields) = (std::collections::BTreeMap::<u16, Vec<String>>::new(), Vec::new());
        for member in &view.members {
            let Some(process) = self.story.by_name(&member.name) else { continue };
            let (role, pid) = (self.story.role(&member.name), self.story.seen[process].pid);
            groups.entry(member.group).or_default().push(self.describe(process));
            fields.push(json!({ "name": member.name, "pid": pid, "group": member.group.to_string(), "role": role }));
        }
        for (label, members) in groups {
            self.picture.tell(&format!("  group {label}: {}", members.join(", ")));
        }
        fields
    }

    fn describe(&self, process: usize) -> String {
        let seen = &self.story.seen[process];
        format!("{} pid {} ({})", seen.name, seen.pid, self.story.role(&seen.name))
    }

    fn note_deaths_by_hand(&mut self) {
        while let Some(process) = self.story.unexpected_end() {
            let text = self.describe(process);
            let role = self.story.role(&self.story.seen[process].name).to_owned();
            self.story.kill(process, &role, 2, monotonic_us());
            self.fault(json!({ "kind": "by-hand", "pid": self.story.seen[process].pid, "role": role,
                "name": self.story.seen[process].name, "at_ms": self.picture.elapsed_ms() }));
            self.picture.tell(&format!("{text} is gone"));
        }
    }

    /// Lets the last messages arrive, judges, and ends the members in order.
    fn finish(mut self) -> Outcome {
        for sender in self.story.senders.clone() {
            self.processes[sender].tell(&Order::Stop);
        }
        let sent = |s: &Story| s.senders.iter().all(|p| !s.seen[*p].expected || s.seen[*p].sent_messages.is_some());
        self.wait("the senders finished", self.plan.patience(), sent)?;
        // What has not arrived or been noticed by then never will be, which the verdict says.
        let noticed = |s: &Story| s.deaths.iter().all(|d| d.noticed_by_all_us().is_some());
        for done in [Story::all_received, noticed] {
            match self.wait("the last messages and views everywhere", ARRIVE_PATIENCE, done) {
                Err(failure) if failure.exit != Exit::Deadline => return Err(failure),
                _ => {}
            }
        }
        self.read_sessions()?;
        self.picture.finish(&self.plan, &self.story);
        let verdict = Verdict::new(&self.plan, &self.story, &self.sessions);
        self.leave();
        let elapsed_ms = self.picture.elapsed_ms();
        let multicast = self.plan.multicast.map(|_| {
            let counted = self.story.seen.iter().filter_map(|seen| seen.multicast);
            multicast::Total::new(self.group(), counted)
        });
        verdict.print(&self.plan, &self.story, multicast.as_ref(), self.output);
        let mut fields = verdict.fields(&self.plan, &self.story, elapsed_ms);
        if let Some(total) = multicast {
            fields["multicast"] = total.field();
        }
        fields["members"] = json!(self.cast);
        fields["faults"] = json!(self.faults);
        let fine = verdict.broken.is_empty();
        self.output.summary(fine, fields);
        Ok(if fine { Exit::Fine } else { Exit::Broken })
    }

    /// Ends the members; who does not go in time is killed when its handle drops.
    fn leave(&mut self) {
        let leaving: Vec<usize> = self.story.living().collect();
        for process in &leaving {
            self.processes[*process].tell(&Order::Leave);
        }
        let deadline = Instant::now() + LEAVE_PATIENCE;
        while leaving.iter().any(|p| !self.story.seen[*p].gone) {
            match self.hear(Some(deadline)) {
                Some(Heard::Signal) | None => return,
                Some(heard) => self.take(heard),
            }
        }
    }

    /// Takes what is heard until `done`, within a bound.
    fn wait(&mut self, what: &str, patience: Duration, done: impl Fn(&Story) -> bool) -> Result<(), Failure> {
        let deadline = Instant::now() + patience;
        while !done(&self.story) {
            self.step(Some(deadline), what)?;
        }
        Ok(())
    }

    /// Takes the next thing heard, on the way to `what`.
    fn step(&mut self, deadline: Option<Instant>, what: &str) -> Result<(), Failure> {
        match self.hear(deadline) {
            None => return Err(self.failure(Exit::Deadline, &format!("waited too long for {what}"))),
            Some(Heard::Signal) => {
                return Err(self.failure(Exit::Broken, &format!("interrupted; waited for {what}")));
            }
            Some(heard) => self.take(heard),
        }
        if self.held {
            self.note_deaths_by_hand();
        } else if let Some(process) = self.story.unexpected_end() {
            return Err(self.ended_by_itself(process));
        }
        Ok(())
    }

    fn ended_by_itself(&mut self, process: usize) -> Failure {
        let who = self.describe(process);
        let seen = &self.story.seen[process];
        let mut why: Vec<String> = seen.ended.iter().cloned().collect();
        why.extend(seen.words.iter().cloned());
        let why = if why.is_empty() { "without a word".to_owned() } else { why.join("; ") };
        self.failure(Exit::Broken, &format!("{who} ended by itself: {why}"))
    }

    fn failure(&mut self, exit: Exit, text: &str) -> Failure {
        let views: Vec<String> = self
            .story
            .living()
            .map(|p| &self.story.seen[p])
            .map(|s| {
                format!("{} {}", s.name, s.view.as_ref().map_or_else(|| "none".to_owned(), |v| v.number.to_string()))
            })
            .collect();
        for (process, kind, text) in self.story.troubles.iter().rev().take(10).rev() {
            self.output.say(&format!("  {} {kind}: {text}", self.story.seen[*process].name));
        }
        let mut failure = Failure::new(exit, format!("{text} (newest views: {})", views.join(", ")));
        let elapsed_ms = self.picture.elapsed_ms();
        failure.fields = json!({ "members": self.cast, "faults": self.faults, "elapsed_ms": elapsed_ms });
        failure
    }

    /// The next thing heard, drawing meanwhile; `None` at the deadline.
    fn hear(&mut self, deadline: Option<Instant>) -> Option<Heard> {
        loop {
            self.picture.show(&self.plan, &self.story);
            self.ask_sessions();
            let dues = [Some(self.picture.due()), self.sessions.due(), deadline];
            let until = dues.into_iter().flatten().min().expect("the picture is always due");
            match self.heard.recv_deadline(until) {
                Ok(heard) => return Some(heard),
                Err(RecvTimeoutError::Timeout) if deadline.is_some_and(|d| Instant::now() >= d) => return None,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("the demo holds a sender itself"),
            }
        }
    }

    /// Gives out the requests about sessions that are due.
    fn ask_sessions(&mut self) {
        if self.sessions.due().is_none_or(|due| Instant::now() < due) {
            return;
        }
        let able = |p: &usize| self.story.seen[*p].view.is_some() && !self.story.seen[*p].gone;
        let living: Vec<usize> = self.story.living().filter(able).collect();
        for (process, ask) in self.sessions.turn(&living) {
            self.processes[process].tell(&Order::Session(ask));
        }
    }

    fn take(&mut self, heard: Heard) {
        match heard {
            Heard::Said { said: Said::Session(told), .. } => self.sessions.told(&told),
            Heard::Said { process, said } => self.story.take(process, said),
            Heard::Stderr { process, line } => self.story.hear(process, line),
            Heard::Gone { process } => self.story.seen[process].gone = true,
            Heard::Signal => {}
        }
    }
}

/// Two members that are neither leaders nor, if there are enough others, deputies; in different groups if possible.
fn senders(story: &Story) -> Vec<usize> {
    let Some(view) = story.newest_view() else { return Vec::new() };
    let rank = |role: &str| ["member", "deputy", "leader"].iter().position(|r| *r == role);
    // The juniors first: they are in the last groups.
    let mut candidates: Vec<_> = view.members.iter().rev().filter(|m| rank(&m.role) < Some(2)).collect();
    candidates.sort_by_key(|m| rank(&m.role));
    let Some(first) = candidates.first().copied() else { return Vec::new() };
    let other_group = candidates.iter().find(|m| m.group != first.group && m.role == first.role);
    let second = other_group.or_else(|| candidates.get(1)).copied();
    [Some(first), second].into_iter().flatten().filter_map(|m| story.by_name(&m.name)).collect()
}
