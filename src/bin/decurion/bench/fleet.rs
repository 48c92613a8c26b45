//! All processes of one measurement, ours or raw: started, brought together, told what to do and heard.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::plan::{PATIENCE, Plan};
use super::process::{Heard, Process};
use super::protocol::{Blast, Count, Mark, Order, Said, Spec, ViewSaid};
use super::veth::{self, Networks};
use crate::arguments::{Transport, Workload};
use crate::demo::multicast::own_group;
use crate::demo::plan::Ports;
use crate::output::{Exit, Failure};

/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Most lines that are kept to say what went wrong.
const WORDS: usize = 20;

/// What all measurements of a run share.
#[derive(Debug)]
pub struct Stage {
    /// What is to be done.
    pub plan: Plan,
    /// Where processes are heard.
    pub heard: Receiver<Heard>,
    /// Their end of it.
    pub to_bench: Sender<Heard>,
    /// When the run must be over.
    pub deadline: Instant,
    /// The networks of the processes, if they have some of their own.
    pub networks: Option<Networks>,
}

/// The processes of a measurement. Dropping it ends them.
#[derive(Debug)]
pub struct Fleet<'a> {
    stage: &'a Stage,
    number: u32,
    processes: Vec<Process>,
    /// The newest view of each member.
    pub views: Vec<Option<ViewSaid>>,
    /// The groups as they were in the beginning, by process, each with its leader first.
    pub groups: Vec<Vec<usize>>,
    addresses: Vec<Option<SocketAddr>>,
    /// Whom a view of more than half has been without since then, and who was not to end.
    pub removed: BTreeSet<usize>,
    /// Who may end without that being a failure.
    pub doomed: Vec<usize>,
    /// What went wrong, or was written for people.
    pub words: Vec<String>,
    /// The most anonymous memory that one process had while somebody looked.
    pub rss_peak: u64,
    look_at: Instant,
    _ports: Option<Ports>,
}

impl<'a> Fleet<'a> {
    /// Starts members and waits until they are one cluster.
    pub fn ours(stage: &'a Stage, number: u32) -> Result<Fleet<'a>, Failure> {
        let plan = &stage.plan;
        let ports = Ports::take(plan.members).map_err(no_ports)?;
        let mut addresses = ports.addresses.clone();
        if stage.networks.is_some() {
            // Ports that are free here are so there as well.
            addresses.iter_mut().enumerate().for_each(|(at, address)| address.set_ip(veth::address(at).into()));
        }
        let seeds = addresses.iter().enumerate().map(|(at, address)| format!("m{at}@{address}"));
        let seeds = seeds.collect::<Vec<_>>().join(",");
        let settings = |at: usize| {
            let mut settings = vec![
                ("cluster.name".to_owned(), format!("bench-{}", std::process::id())),
                ("cluster.seeds".to_owned(), seeds.clone()),
                ("node.name".to_owned(), format!("m{at}")),
                ("node.bind".to_owned(), addresses[at].to_string()),
                ("group.size".to_owned(), plan.group_size.to_string()),
                ("message.max_bytes".to_owned(), plan.bytes.max(1 << 20).to_string()),
            ];
            if plan.transport == Transport::Multicast {
                settings.push(("multicast.group".to_owned(), own_group(ports.addresses[0]).to_string()));
            }
            settings.extend(plan.settings.iter().cloned());
            settings
        };
        let mut fleet = Fleet::start(stage, number, "bench-member", None, settings)?;
        fleet._ports = Some(ports);
        while !fleet.is_together() {
            fleet.next(PATIENCE, "all members in one view")?;
        }
        let groups = fleet.views[0].as_ref().map_or_else(Vec::new, |view| view.groups.clone());
        if groups.len() != plan.groups {
            let text = format!("the members made {} groups where {} were asked for", groups.len(), plan.groups);
            return Err(Failure::new(Exit::Broken, text));
        }
        fleet.groups = groups;
        Ok(fleet)
    }

    /// Starts raw processes with links of this shape: groups, each with its leader first.
    pub fn raw(stage: &'a Stage, number: u32, groups: &[Vec<usize>]) -> Result<Fleet<'a>, Failure> {
        let blasts = stage.plan.raw_transport() == Transport::Multicast;
        let ports = if blasts { Some(Ports::take(1).map_err(no_ports)?) } else { None };
        let datagram_bytes = stage.plan.datagram_bytes;
        let blast = ports.as_ref().map(|ports| Blast { group: own_group(ports.addresses[0]), datagram_bytes });
        let mut fleet = Fleet::start(stage, number, "bench-raw", blast, |_| Vec::new())?;
        fleet._ports = ports;
        let address = |at: usize| fleet.addresses[at].expect("it listens");
        let mut orders: Vec<(Vec<(SocketAddr, bool)>, usize)> = vec![(Vec::new(), 0); stage.plan.members];
        // Of a blast everybody gives credit to the sender itself.
        let star = [groups.concat()];
        let groups_linked = if blasts { &star[..] } else { groups };
        let leaders: Vec<usize> = groups_linked.iter().map(|group| group[0]).collect();
        let between = leaders.iter().enumerate().flat_map(|(at, a)| leaders[..at].iter().map(|b| (*a, *b, true)));
        let inside = groups_linked.iter().flat_map(|group| group[1..].iter().map(|member| (*member, group[0], false)));
        for (from, to, is_between) in between.chain(inside) {
            orders[from].0.push((address(to), is_between));
            orders[to].1 += 1;
        }
        for (process, (dial, accept)) in fleet.processes.iter_mut().zip(orders) {
            process.tell(&Order::Link { dial, accept, mixed: stage.plan.mixed() });
        }
        fleet.groups = groups.to_vec();
        let mut linked = 0;
        while linked < stage.plan.members {
            linked += usize::from(matches!(fleet.next(PATIENCE, "all raw links")?.1, Said::Linked));
        }
        Ok(fleet)
    }

    fn start(
        stage: &'a Stage, number: u32, verb: &str, blast: Option<Blast>,
        settings: impl Fn(usize) -> Vec<(String, String)>,
    ) -> Result<Fleet<'a>, Failure> {
        let plan = &stage.plan;
        let mut fleet = Fleet {
            stage,
            number,
            processes: Vec::new(),
            views: vec![None; plan.members],
            groups: Vec::new(),
            addresses: vec![None; plan.members],
            removed: BTreeSet::new(),
            doomed: Vec::new(),
            words: Vec::new(),
            rss_peak: 0,
            look_at: Instant::now(),
            _ports: None,
        };
        for at in 0..plan.members {
            let echo = plan.workload == Workload::Sessions;
            let (bytes, one_by_one, mode, tuning) = (plan.bytes, plan.one_by_one, plan.mode, plan.tuning);
            let (network, host) = match &stage.networks {
                Some(networks) => (Some(networks.of(at)), veth::address(at)),
                None => (None, Ipv4Addr::LOCALHOST),
            };
            let settings = settings(at);
            let spec = Spec { number: at as u8, bytes, one_by_one, mode, settings, echo, blast, host, tuning };
            let process = Process::start(verb, &spec, number, at, network, &stage.to_bench);
            let cannot = |error| Failure::new(Exit::Environment, format!("cannot start a process: {error}"));
            fleet.processes.push(process.map_err(cannot)?);
        }
        while fleet.addresses.iter().any(Option::is_none) {
            fleet.next(PATIENCE, "all processes listening")?;
        }
        Ok(fleet)
    }

    fn is_together(&self) -> bool {
        let whole =
            |view: &ViewSaid| view.ready && view.groups.iter().map(Vec::len).sum::<usize>() == self.processes.len();
        let number = |view: &Option<ViewSaid>| view.as_ref().filter(|view| whole(view)).map(|view| view.number);
        self.views.iter().all(|view| number(view).is_some() && number(view) == number(&self.views[0]))
    }

    /// The process ids.
    pub fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(|process| process.pid).collect()
    }

    /// Tells one process something.
    pub fn tell(&mut self, process: usize, order: &Order) {
        self.processes[process].tell(order);
    }

    /// Sends one process a signal.
    pub fn signal(&mut self, process: usize, signal: i32) {
        self.doomed.push(process);
        self.processes[process].signal(signal);
    }

    /// The next thing that a process says.
    pub fn next(&mut self, patience: Duration, what: &str) -> Result<(usize, Said), Failure> {
        let until = (Instant::now() + patience).min(self.stage.deadline);
        loop {
            if Instant::now() >= self.look_at {
                self.look();
            }
            match self.stage.heard.recv_deadline(until.min(self.look_at)) {
                Ok(heard) => {
                    if let Some(said) = self.take(heard, what)? {
                        return Ok(said);
                    }
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < until => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.failure(Exit::Deadline, &format!("waited too long for {what}")));
                }
                Err(RecvTimeoutError::Disconnected) => unreachable!("the stage holds a sender itself"),
            }
        }
    }

    fn take(&mut self, heard: Heard, what: &str) -> Result<Option<(usize, Said)>, Failure> {
        match heard {
            Heard::Signal => return Err(self.failure(Exit::Broken, &format!("interrupted; waited for {what}"))),
            Heard::Gone { fleet, process } if fleet == self.number && !self.doomed.contains(&process) => {
                return Err(self.failure(Exit::Broken, &format!("process {process} ended by itself")));
            }
            Heard::Line { fleet, process, line } if fleet == self.number => self.note(process, &line),
            Heard::Said { fleet, process, said } if fleet == self.number => {
                match &*said {
                    Said::Open { address } => self.addresses[process] = Some(*address),
                    Said::View(view) => {
                        self.note_removed(view);
                        self.views[process] = Some(view.clone());
                    }
                    Said::Slow { member, lag_bytes, .. } => {
                        self.note(process, &format!("{member} is {lag_bytes} bytes behind"));
                    }
                    Said::Trouble { text } => self.note(process, text),
                    _ => {}
                }
                return Ok(Some((process, *said)));
            }
            // Of a fleet that is over, or of somebody who was to end.
            _ => {}
        }
        Ok(None)
    }

    fn note_removed(&mut self, view: &ViewSaid) {
        let inside: Vec<usize> = view.groups.concat();
        let counts = !self.groups.is_empty() && inside.len() * 2 > self.processes.len();
        let outside = (0..self.processes.len()).filter(|at| counts && !inside.contains(at));
        self.removed.extend(outside.filter(|at| !self.doomed.contains(at)));
    }

    fn note(&mut self, process: usize, text: &str) {
        if self.words.len() < WORDS {
            self.words.push(format!("process {process}: {text}"));
        }
    }

    /// What has gone wrong, with what the processes said about it.
    pub fn failure(&self, exit: Exit, text: &str) -> Failure {
        let words: String = self.words.iter().map(|word| format!("\n  {word}")).collect();
        Failure::new(exit, format!("{text}{words}"))
    }

    /// Notes how much memory the processes have now.
    fn look(&mut self) {
        self.look_at = Instant::now() + LOOK_EVERY;
        let most = self.processes.iter().filter_map(|process| rss_anon(process.pid)).max();
        self.rss_peak = self.rss_peak.max(most.unwrap_or(0));
    }

    /// Waits for so long, and hears nothing but troubles.
    pub fn rest(&mut self, time: Duration) -> Result<(), Failure> {
        self.listen(time, &mut |_, _| ())
    }

    /// Waits for so long, and hands on what is said meanwhile.
    pub fn listen(&mut self, time: Duration, hear: &mut dyn FnMut(usize, Said)) -> Result<(), Failure> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            match self.next(end.saturating_duration_since(Instant::now()), "the end of a rest") {
                Err(failure) if failure.exit == Exit::Deadline && Instant::now() < self.stage.deadline => {}
                other => {
                    let (process, said) = other?;
                    hear(process, said);
                }
            }
        }
        Ok(())
    }

    /// What came to these members, and what they hold.
    pub fn counts(&mut self, of: &[usize]) -> Result<BTreeMap<usize, Count>, Failure> {
        let mut counts = BTreeMap::new();
        of.iter().for_each(|at| self.tell(*at, &Order::Count));
        while counts.len() < of.len() {
            if let (process, Said::Count(count)) = self.next(PATIENCE, "what the members hold")? {
                counts.insert(process, count);
            }
        }
        Ok(counts)
    }

    /// What each process has used so far.
    pub fn marks(&mut self) -> Result<Vec<Mark>, Failure> {
        let mut marks: Vec<Option<Mark>> = vec![None; self.processes.len()];
        let living: Vec<usize> = (0..marks.len()).filter(|at| !self.doomed.contains(at)).collect();
        living.iter().for_each(|at| self.processes[*at].tell(&Order::Mark));
        while living.iter().any(|at| marks[*at].is_none()) {
            if let (process, Said::Mark(mark)) = self.next(PATIENCE, "what the processes have used")? {
                marks[process] = Some(mark);
            }
        }
        Ok(marks.into_iter().map(Option::unwrap_or_default).collect())
    }
}

fn no_ports(error: std::io::Error) -> Failure {
    Failure::new(Exit::Environment, format!("cannot take ports on 127.0.0.1: {error}"))
}

/// Anonymous memory of a process in bytes.
pub fn rss_anon(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1_024)
}
