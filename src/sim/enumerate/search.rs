//! Goes through all states of a case: depth first, each state once.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::cases::Case;
use super::choice::Choice;
use super::cluster::Cluster;
use crate::core::Plant;
use crate::sim::check::Guarantee;

/// Virtual time in which everything comes together once nothing is done to it any more.
const CONVERGE_US: u64 = 10_000_000;
/// Virtual time in which a case ends, whatever was done to it.
const OVER_US: u64 = 30_000_000;

impl Report {
    /// Whether there are no other states: nothing that a case allows was left out.
    pub fn is_complete(&self) -> bool {
        self.deviations.is_none() && !self.stopped
    }
}

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// A bug that every member carries.
    pub plant: Option<Plant>,
    /// Deviations from the fixed order in one run, in place of the case's own; `None` within: any number.
    pub deviations: Option<Option<u8>>,
    /// States after which a case is given up, and said to be bounded.
    pub most_states: usize,
    /// Broken promises after which a case is given up.
    pub most_findings: usize,
}

/// A broken promise, and what leads to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Name of the promise.
    pub guarantee: &'static str,
    /// What was seen.
    pub text: String,
    /// The choices that lead there.
    pub script: String,
}

/// What was found in one case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Its name.
    pub case: &'static str,
    /// Different states.
    pub states: u64,
    /// Steps from one to another.
    pub transitions: u64,
    /// States in which the case was over.
    pub terminal_states: u64,
    /// The longest way.
    pub depth: u64,
    /// Deviations from the fixed order that one run may have; none: any number.
    pub deviations: Option<u8>,
    /// Whether the search was given up at a bound of states or findings.
    pub stopped: bool,
    /// Broken promises.
    pub findings: Vec<Broken>,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { plant: None, deviations: None, most_states: 20_000_000, most_findings: 3 }
    }
}

impl Cluster {
    /// Lets things happen in one fixed order until `done`, or until a moment.
    pub fn run_until(&mut self, end: u64, mut done: impl FnMut(&Cluster) -> bool) -> bool {
        loop {
            if done(self) {
                return true;
            }
            let way = self.pipes.iter().enumerate().find_map(|(pipe, p)| {
                let end = p.ways.iter().position(|way| !way.is_empty())?;
                Some((pipe, end))
            });
            if !self.datagrams.is_empty() {
                self.deliver_datagram();
            } else if let Some((pipe, end)) = way {
                self.deliver(pipe, end);
            } else if self.next_deadline().is_some_and(|(at, _)| at.0 <= end) {
                self.pass_time();
            } else {
                self.now = self.now.max(end);
                return done(self);
            }
        }
    }

    /// The case is over: left alone, all come together, and everything that was accepted reaches its receivers.
    fn finish(&mut self) {
        let end = self.now + CONVERGE_US;
        if self.processes().is_empty() {
            return;
        }
        if !self.run_until(end, Cluster::is_converged) {
            return self.violate(Guarantee::V4, "there is no primary view of all that run".to_owned());
        }
        let living: Vec<usize> = (0..self.nodes.len()).filter(|at| self.member(*at).is_some()).collect();
        let refused = living.iter().filter(|at| !self.send(**at)).count();
        if refused > 0 {
            return self.violate(Guarantee::V4, format!("{refused} members cannot send in the last view"));
        }
        let processes = self.processes();
        self.run_until(end, |cluster| cluster.is_even(&processes));
        Arc::make_mut(&mut self.ledger).finish(&processes);
        self.check_session_at_rest();
    }

    fn is_even(&self, processes: &[u16]) -> bool {
        self.is_silent() && (*self.ledger).clone().is_even(processes)
    }
}

struct Search<'a> {
    case: &'a Case,
    /// Whether deviations from the fixed order are counted.
    counted: bool,
    /// Deviations that were left when a state was seen.
    seen: HashMap<u64, u8>,
    /// How each state was reached first.
    parents: Vec<(u32, Choice)>,
    report: Report,
}

struct Open {
    cluster: Cluster,
    choices: Vec<Choice>,
    at: u32,
    depth: u64,
    deviations: u8,
}

const ROOT: u32 = u32::MAX;

/// Goes through one case.
pub(super) fn explore(case: &Case, bounds: &Bounds) -> Report {
    let deviations = bounds.deviations.unwrap_or(case.deviations);
    let report = Report {
        case: case.name,
        states: 0,
        transitions: 0,
        terminal_states: 0,
        depth: 0,
        deviations,
        stopped: false,
        findings: Vec::new(),
    };
    let mut search = Search { case, counted: deviations.is_some(), seen: HashMap::new(), parents: Vec::new(), report };
    let cluster = case.start(bounds.plant);
    let choices = cluster.choices();
    let mut open = vec![Open { cluster, choices, at: ROOT, depth: 0, deviations: deviations.unwrap_or(0) }];
    while let Some(next) = open.pop() {
        if search.report.states as usize >= bounds.most_states || search.report.findings.len() >= bounds.most_findings {
            search.report.stopped = true;
            break;
        }
        search.expand(&next, &mut open);
    }
    search.report
}

impl Search<'_> {
    fn expand(&mut self, from: &Open, open: &mut Vec<Open>) {
        if from.choices.is_empty() {
            self.report.terminal_states += 1;
            let mut last = from.cluster.clone();
            let result = catch_unwind(AssertUnwindSafe(|| last.finish()));
            self.look(&last, result, from.at);
            return;
        }
        for (rank, choice) in from.choices.iter().enumerate().rev() {
            let deviates = rank > 0 && self.counted && matches!(choice, Choice::Deliver { .. });
            let Some(deviations) = from.deviations.checked_sub(deviates.into()) else { continue };
            self.parents.push((from.at, *choice));
            let at = self.parents.len() as u32 - 1;
            let mut cluster = from.cluster.clone();
            if deviates {
                cluster.slow_down(&from.choices[..rank]);
            }
            let Some((steps, choices)) = self.step(&mut cluster, *choice, at) else { continue };
            let fingerprint = cluster.fingerprint();
            let known = self.seen.get(&fingerprint).copied();
            if known.is_some_and(|left| left >= deviations) {
                self.parents.pop();
                continue;
            }
            self.seen.insert(fingerprint, deviations);
            self.report.states += u64::from(known.is_none());
            let depth = from.depth + steps;
            self.report.depth = self.report.depth.max(depth);
            open.push(Open { cluster, choices, at, depth, deviations });
        }
    }

    /// Makes one choice, and everything that must follow because there is no other. `None` if a promise was broken.
    fn step(&mut self, cluster: &mut Cluster, choice: Choice, at: u32) -> Option<(u64, Vec<Choice>)> {
        let mut next = choice;
        for steps in 1.. {
            let result = catch_unwind(AssertUnwindSafe(|| cluster.apply(self.case, next)));
            self.report.transitions += 1;
            if self.look(cluster, result, at) {
                return None;
            }
            let choices = cluster.choices();
            match choices[..] {
                [only] => next = only,
                _ => return Some((steps, choices)),
            }
            if cluster.now > OVER_US {
                self.found(Guarantee::V4, "the case does not come to its end".to_owned(), at);
                return None;
            }
        }
        None
    }

    /// Whether a promise was broken on the way here.
    fn look(&mut self, cluster: &Cluster, result: std::thread::Result<()>, at: u32) -> bool {
        if let Err(panic) = result {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            self.found(Guarantee::A2, text.unwrap_or_else(|| "a member panicked".to_owned()), at);
            return true;
        }
        let Some(violation) = cluster.ledger.violations.first() else { return false };
        self.found(violation.guarantee, violation.text.clone(), at);
        true
    }

    fn found(&mut self, guarantee: Guarantee, text: String, mut at: u32) {
        let mut script = Vec::new();
        while at != ROOT {
            let (parent, choice) = self.parents[at as usize];
            script.push(choice.to_string());
            at = parent;
        }
        script.reverse();
        let finding = Broken { guarantee: guarantee.name(), text, script: script.join(" ") };
        self.report.findings.push(finding);
    }
}

/// Follows a script through a case, and tells what happens.
pub(super) fn follow(case: &Case, script: &str, plant: Option<Plant>) -> Result<Vec<String>, String> {
    let mut cluster = case.start(plant);
    cluster.story = Some(Vec::new());
    let mut words = script.split_whitespace();
    loop {
        let choices = cluster.choices();
        let choice = match choices[..] {
            [] => {
                cluster.tell(|| "-- left alone".to_owned());
                cluster.finish();
                break;
            }
            [only] => only,
            _ => {
                let Some(word) = words.next() else { break };
                cluster.tell(|| format!("-- {word}"));
                *choices.iter().find(|choice| choice.to_string() == word).ok_or_else(|| {
                    let names: Vec<String> = choices.iter().map(Choice::to_string).collect();
                    format!("\"{word}\" cannot happen here; what can: {}", names.join(" "))
                })?
            }
        };
        cluster.apply(case, choice);
        if !cluster.ledger.violations.is_empty() || cluster.now > OVER_US {
            break;
        }
    }
    for violation in cluster.ledger.violations.clone() {
        cluster.tell(|| format!("BROKEN {}: {}", violation.guarantee, violation.text));
    }
    Ok(cluster.story.unwrap_or_default())
}
