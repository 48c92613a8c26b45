//! What visitors of one session were told by which server and when, and what cannot all be true of it.
//!
//! A session counts its visits, and each visit leaves a text that no other one leaves. So an acknowledged visit has a number that is
//! its own. Two owners at one time would give one number twice, and a write that was acknowledged and lost gives its number again.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

/// So long before and after a fault the visits to its session are told.
const AROUND: Duration = Duration::from_millis(150);

/// One request of a visitor, and what came of it.
#[derive(Clone, Debug)]
pub struct Visit {
    pub session: usize,
    pub server: usize,
    /// Of this visit alone.
    pub text: String,
    pub begun: Instant,
    pub ended: Instant,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Acknowledged as the visit of this number, by this owner.
    Counted { number: u64, owner: String },
    /// Acknowledged, and others had come after it when the answer was made: its number is this one or a smaller one.
    CountedBefore { number: u64 },
    /// Nothing was promised: no answer, or one that says so. It may have been counted.
    Open { why: String },
    /// The server knew no such session, and began another one.
    Denied,
    /// What no server may answer.
    Wrong { what: String },
}

/// All visits of all sessions.
#[derive(Debug, Default)]
pub struct History {
    pub visits: Vec<Visit>,
}

/// A part of the servers that was cut off, until it had come back.
#[derive(Clone, Debug)]
pub struct Cut {
    pub servers: Vec<usize>,
    pub begun: Instant,
    /// From then on, and until it is healed, none of them may acknowledge a visit.
    pub lease_over: Instant,
    pub healed: Instant,
    /// All are in one view again.
    pub whole: Instant,
}

impl Cut {
    /// Whether this is a visit that must not be acknowledged.
    pub fn forbids(&self, visit: &Visit) -> bool {
        self.servers.contains(&visit.server) && visit.begun >= self.lease_over && visit.ended <= self.healed
    }

    /// Whether both copies of a session may have been out of reach. A cookie that is older than they are cannot name them (S5), and
    /// then nobody can tell such a session from one that never was.
    fn excuses(&self, visit: &Visit) -> bool {
        self.servers.len() > 1 && visit.ended >= self.begun && visit.begun <= self.whole
    }
}

impl History {
    /// Everything that cannot be, in words. `finals` are the numbers that were read in the end, by session.
    pub fn faults(&self, finals: &[u64], cuts: &[Cut]) -> Vec<String> {
        let mut faults: Vec<String> = self.visits.iter().filter_map(wrong).collect();
        for (session, last) in finals.iter().enumerate() {
            let visits: Vec<&Visit> = self.visits.iter().filter(|visit| visit.session == session).collect();
            faults.extend(given_twice(&visits));
            faults.extend(gone_back(&visits));
            faults.extend(badly_counted(session, &visits, *last));
        }
        for visit in &self.visits {
            if visit.outcome == Outcome::Denied && !cuts.iter().any(|cut| cut.excuses(visit)) {
                faults.push(format!("denied though a copy was in reach: {visit}"));
            }
            if visit.is_acknowledged() && cuts.iter().any(|cut| cut.forbids(visit)) {
                faults.push(format!("acknowledged by one that was cut off: {visit}"));
            }
        }
        faults
    }

    /// What the visitors of each session with a fault were told around its faults, and when what was cut off: in milliseconds since the first visit.
    pub fn story(&self, cuts: &[Cut]) -> String {
        let Some(first) = self.visits.iter().map(|visit| visit.begun).min() else { return String::new() };
        let ms = |at: Instant| at.saturating_duration_since(first).as_secs_f64() * 1e3;
        let mut lines: Vec<String> = cuts
            .iter()
            .map(|cut| {
                let [begun, healed, whole] = [cut.begun, cut.healed, cut.whole].map(ms);
                format!("cut off: {:?}, {begun:.1} to {healed:.1}, whole at {whole:.1}", cut.servers)
            })
            .collect();
        let sessions = self.visits.iter().map(|visit| visit.session).max().map_or(0, |last| last + 1);
        for session in 0..sessions {
            let mut visits: Vec<&Visit> = self.visits.iter().filter(|visit| visit.session == session).collect();
            visits.sort_unstable_by_key(|visit| visit.ended);
            let numbered = visits.iter().filter_map(|visit| match visit.outcome {
                Outcome::Counted { number, .. } => Some((number, visit.ended)),
                _ => None,
            });
            let mut times: HashMap<u64, Vec<Instant>> = HashMap::new();
            numbered.for_each(|(number, ended)| times.entry(number).or_default().push(ended));
            let twice: Vec<Instant> = times.into_values().filter(|times| times.len() > 1).flatten().collect();
            let (Some(from), Some(to)) = (twice.iter().min(), twice.iter().max()) else { continue };
            let near = |at: Instant| at + AROUND >= *from && at <= *to + AROUND;
            lines.extend(visits.into_iter().filter(|visit| near(visit.ended)).map(|visit| {
                let Visit { session, server, text, begun, ended, outcome } = visit;
                format!(
                    "{:.1} to {:.1}: session {session}, server {server}, '{text}': {outcome:?}",
                    ms(*begun),
                    ms(*ended)
                )
            }));
        }
        lines.join("\n")
    }

    pub fn denied(&self) -> usize {
        self.visits.iter().filter(|visit| visit.outcome == Outcome::Denied).count()
    }

    pub fn acknowledged(&self) -> usize {
        self.visits.iter().filter(|visit| visit.is_acknowledged()).count()
    }

    /// How often another server than before was the owner.
    pub fn changes_of_owner(&self) -> usize {
        let mut owners: HashMap<usize, Vec<(u64, &str)>> = HashMap::new();
        for visit in &self.visits {
            if let Outcome::Counted { number, owner } = &visit.outcome {
                owners.entry(visit.session).or_default().push((*number, owner));
            }
        }
        let changes = |mut all: Vec<(u64, &str)>| {
            all.sort_unstable();
            all.windows(2).filter(|pair| pair[0].1 != pair[1].1).count()
        };
        owners.into_values().map(changes).sum()
    }

    /// The longest that a visitor waited for an acknowledged visit.
    pub fn slowest(&self) -> Duration {
        let acknowledged = self.visits.iter().filter(|visit| visit.is_acknowledged());
        acknowledged.map(|visit| visit.ended - visit.begun).max().unwrap_or_default()
    }
}

impl Visit {
    pub fn is_acknowledged(&self) -> bool {
        matches!(self.outcome, Outcome::Counted { .. } | Outcome::CountedBefore { .. })
    }
}

impl fmt::Display for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Visit { session, server, text, begun, ended, outcome } = self;
        write!(f, "session {session}, server {server}, '{text}', {begun:?} to {ended:?}: {outcome:?}")
    }
}

fn wrong(visit: &Visit) -> Option<String> {
    matches!(visit.outcome, Outcome::Wrong { .. }).then(|| format!("answered wrongly: {visit}"))
}

fn given_twice(visits: &[&Visit]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut given: HashMap<u64, &Visit> = HashMap::new();
    for visit in visits {
        if let Outcome::Counted { number, .. } = visit.outcome
            && let Some(other) = given.insert(number, visit)
        {
            faults.push(format!("number {number} was given twice: {other}; and {visit}"));
        }
    }
    faults
}

/// Whoever asks after an acknowledgement has come gets a higher number.
fn gone_back(visits: &[&Visit]) -> Vec<String> {
    let mut ends: Vec<(Instant, u64, &Visit)> = visits
        .iter()
        .filter_map(|visit| match visit.outcome {
            Outcome::Counted { number, .. } => Some((visit.ended, number, *visit)),
            _ => None,
        })
        .collect();
    ends.sort_unstable_by_key(|(ended, ..)| *ended);
    let mut begins: Vec<&Visit> = visits.iter().filter(|visit| visit.is_acknowledged()).copied().collect();
    begins.sort_unstable_by_key(|visit| visit.begun);
    let mut faults = Vec::new();
    let mut before = ends.into_iter().peekable();
    let mut highest: Option<(u64, &Visit)> = None;
    for visit in begins {
        while let Some((_, number, earlier)) = before.next_if(|(ended, ..)| *ended <= visit.begun) {
            if highest.is_none_or(|(most, _)| number > most) {
                highest = Some((number, earlier));
            }
        }
        let (Outcome::Counted { number, .. } | Outcome::CountedBefore { number }) = visit.outcome else { continue };
        if let Some((most, earlier)) = highest
            && number <= most
        {
            faults.push(format!("the count went back: {earlier}; and later {visit}"));
        }
    }
    faults
}

/// In the end all that was acknowledged has been counted, and nothing that nobody asked for.
fn badly_counted(session: usize, visits: &[&Visit], last: u64) -> Option<String> {
    let acknowledged = visits.iter().filter(|visit| visit.is_acknowledged()).count() as u64;
    let open = visits.iter().filter(|visit| matches!(visit.outcome, Outcome::Open { .. })).count() as u64;
    let possible = acknowledged..=acknowledged + open;
    (!possible.contains(&last)).then(|| {
        format!("session {session} ends with {last} visits; {acknowledged} were acknowledged, {open} are open")
    })
}
