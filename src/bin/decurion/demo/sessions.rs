//! The demo as a client of sessions: makes them through all members, changes each on another member every time, repeats what was
//! cut off with its token, and in the end reads all of them back. What was acknowledged is written down here, in no member.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use decurion::types::Code;
use decurion::{Attributes, Result, attributes};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::payload::hex;
use super::protocol::{SessionAsk, SessionTold, SessionWant};

/// Requests under way at one time, over all members.
const FLIGHT: usize = 64;
/// How often requests are given out, and how long one that was turned away waits.
const TURN_EVERY: Duration = Duration::from_millis(10);
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// All sessions are made in this part of the stream's time, and changed so often in the whole of it.
const MADE_WITHIN: f64 = 1.0 / 9.0;
const CHANGES: f64 = 6.0;
/// A held up client may catch up by so many requests.
const BURST: f64 = 64.0;
/// Bytes of a session beside its numbers.
const BODY_BYTES: usize = 1_024;

/// What is in a session after a change; the first content is change 0.
pub fn content(session: usize, change: u64) -> Result<Attributes> {
    let seed = Sha256::digest([(session as u64).to_le_bytes(), change.to_le_bytes()].concat());
    let body = seed.repeat(BODY_BYTES / seed.len());
    let (session, change) = (session.to_string(), change.to_string());
    attributes([("session", session.as_bytes()), ("change", change.as_bytes()), ("body", &body[..])])
}

/// A sum over all that is in a session.
pub fn sum(attributes: &Attributes) -> String {
    hex(&Sha256::digest(attributes.as_bytes()))
}

/// One session as its user knows it.
#[derive(Debug, Default)]
struct Entry {
    /// What to carry to the next member; empty before it is made.
    cookie: String,
    /// The newest change that was acknowledged.
    acked: Option<u64>,
    /// The newest change that was asked for.
    asked: u64,
    /// Who was asked last, by process number.
    asked_of: Option<usize>,
    /// A member said that it is not there.
    gone: Option<String>,
    /// What it was when it was read back: the change, and whether all that belongs to it was there.
    seen: Option<(u64, bool)>,
    /// An acknowledged change was there more than once: the version says so.
    doubled: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Make,
    Change,
    /// Nothing new; what is under way comes to its end.
    Settle,
    Read,
}

#[derive(Debug)]
struct Under {
    session: usize,
    process: usize,
    want: SessionWant,
}

/// See the module.
#[derive(Debug)]
pub struct Sessions {
    entries: Vec<Entry>,
    stage: Stage,
    /// Requests under way, by number.
    under: BTreeMap<u64, Under>,
    /// Sessions with nothing under way, in the order in which they are served next.
    ready: VecDeque<usize>,
    /// Turned away or cut off: to be asked again, not before the time.
    again: VecDeque<(Instant, usize, SessionWant)>,
    last_request: u64,
    /// Who is asked next.
    turn: usize,
    made_per_s: f64,
    changed_per_s: f64,
    may: f64,
    turned: Instant,
    due: Instant,
    writes: u64,
    repeated: u64,
}

impl Sessions {
    /// None made yet; `seconds` is how long the stream lasts.
    pub fn new(count: usize, seconds: u64) -> Sessions {
        let now = Instant::now();
        let seconds = seconds as f64;
        Sessions {
            entries: (0..count).map(|_| Entry::default()).collect(),
            stage: Stage::Settle,
            under: BTreeMap::new(),
            ready: (0..count).collect(),
            again: VecDeque::new(),
            last_request: 0,
            turn: 0,
            made_per_s: count as f64 / (seconds * MADE_WITHIN),
            changed_per_s: count as f64 * CHANGES / seconds,
            may: 0.0,
            turned: now,
            due: now,
            writes: 0,
            repeated: 0,
        }
    }

    /// Whether there are any in this run.
    pub fn wanted(&self) -> bool {
        !self.entries.is_empty()
    }

    /// How many there shall be.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// When to take a turn; `None`: there is nothing to do.
    pub fn due(&self) -> Option<Instant> {
        (self.wanted() && !self.is_settled()).then_some(self.due)
    }

    /// Begins to make them, and then to change them.
    pub fn begin(&mut self) {
        (self.stage, self.turned) = (Stage::Make, Instant::now());
    }

    /// Begins nothing new.
    pub fn stop(&mut self) {
        self.stage = Stage::Settle;
    }

    /// Reads all back that were acknowledged.
    pub fn read_back(&mut self) {
        self.stage = Stage::Read;
        // What was turned away to the end was not acknowledged; it may be there or not.
        self.again.clear();
        let acked = |at: &usize| self.entries[*at].acked.is_some() && self.entries[*at].gone.is_none();
        self.ready = (0..self.entries.len()).filter(acked).collect();
    }

    /// Whether it has come to that.
    pub fn is_reading(&self) -> bool {
        self.stage == Stage::Read
    }

    /// Whether all are made.
    pub fn is_made(&self) -> bool {
        self.entries.iter().all(|e| e.acked.is_some())
    }

    /// Whether nothing is under way, and nothing is to be begun.
    pub fn is_settled(&self) -> bool {
        let begins = !matches!(self.stage, Stage::Settle) && !self.ready.is_empty();
        self.under.is_empty() && self.again.is_empty() && !begins
    }

    /// What to ask of whom now: (process, request). `living` are the processes that can be asked.
    pub fn turn(&mut self, living: &[usize]) -> Vec<(usize, SessionAsk)> {
        let now = Instant::now();
        if now < self.due || living.is_empty() {
            return Vec::new();
        }
        self.due = now + TURN_EVERY;
        self.take_back(now, living);
        if self.stage == Stage::Make && self.is_made() {
            self.stage = Stage::Change;
        }
        let rate = match self.stage {
            Stage::Make => self.made_per_s,
            Stage::Change => self.changed_per_s,
            Stage::Settle => 0.0,
            Stage::Read => f64::INFINITY,
        };
        let since = now.saturating_duration_since(std::mem::replace(&mut self.turned, now)).as_secs_f64();
        self.may = (self.may + rate * since).min(BURST.max(rate * TURN_EVERY.as_secs_f64()));
        let mut asks = Vec::new();
        while self.under.len() < FLIGHT {
            if self.again.front().is_some_and(|(at, ..)| *at <= now) {
                let (_, session, want) = self.again.pop_front().expect("looked at above");
                asks.push(self.ask(session, want, living));
                continue;
            }
            if self.stage == Stage::Settle || self.may < 1.0 {
                break;
            }
            let Some(session) = self.ready.pop_front() else { break };
            self.may -= 1.0;
            let want = self.next_of(session);
            asks.push(self.ask(session, want, living));
        }
        asks
    }

    fn next_of(&mut self, session: usize) -> SessionWant {
        let entry = &mut self.entries[session];
        match (self.stage, entry.acked) {
            (Stage::Read, _) => SessionWant::Read,
            (_, None) => SessionWant::Create,
            (_, Some(acked)) => {
                entry.asked = acked + 1;
                SessionWant::Change
            }
        }
    }

    /// Never who was asked last, if there is another: the session has to move.
    fn ask(&mut self, session: usize, want: SessionWant, living: &[usize]) -> (usize, SessionAsk) {
        let entry = &mut self.entries[session];
        self.turn += 1;
        let mut process = living[self.turn % living.len()];
        if Some(process) == entry.asked_of {
            self.turn += 1;
            process = living[self.turn % living.len()];
        }
        entry.asked_of = Some(process);
        self.last_request += 1;
        let request = self.last_request;
        self.under.insert(request, Under { session, process, want });
        (process, SessionAsk { request, session, want, change: entry.asked, cookie: entry.cookie.clone() })
    }

    /// What was under way at who is gone is asked again elsewhere: with the same token, so that it is made once.
    fn take_back(&mut self, now: Instant, living: &[usize]) {
        let lost: Vec<u64> =
            self.under.iter().filter(|(_, u)| !living.contains(&u.process)).map(|(request, _)| *request).collect();
        for request in lost {
            let Under { session, want, .. } = self.under.remove(&request).expect("found above");
            self.repeated += u64::from(want == SessionWant::Change);
            self.again.push_front((now, session, want));
        }
    }

    /// An answer, from whoever was asked.
    pub fn told(&mut self, told: &SessionTold) {
        // Who was given up may have answered before it went: it has been asked again.
        let Some(Under { session, want, .. }) = self.under.remove(&told.request) else { return };
        let entry = &mut self.entries[session];
        match told.code() {
            // With one member left there is no second copy to wait for; then its death is the end of all anyway.
            Some(Code::Ok | Code::Unreplicated) => {
                entry.cookie.clone_from(&told.cookie);
                match want {
                    SessionWant::Create => entry.acked = Some(0),
                    SessionWant::Change => entry.acked = Some(entry.asked),
                    SessionWant::Read => {
                        let change = told.change.unwrap_or(0);
                        let whole = content(session, change).is_ok_and(|expected| told.sum == Some(sum(&expected)));
                        entry.seen = Some((change, whole));
                    }
                }
                // Made at version 1, and each change makes one more.
                let newest = entry.seen.map_or(entry.acked.unwrap_or(0), |(change, _)| change);
                entry.doubled |= told.version != newest + 1;
                if want != SessionWant::Read {
                    self.writes += 1;
                    self.ready.push_back(session);
                }
            }
            Some(Code::NoSuchSession | Code::HoldersUnreachable) if entry.acked.is_some() => {
                entry.gone = Some(told.code.clone());
            }
            _ => {
                let unknown = told.code() == Some(Code::OutcomeUnknown);
                self.repeated += u64::from(unknown && want == SessionWant::Change);
                self.again.push_back((Instant::now() + AGAIN_AFTER, session, want));
            }
        }
    }

    /// What came of them.
    pub fn result(&self) -> Counted {
        let acked = || self.entries.iter().filter(|e| e.acked.is_some());
        let count = |is: fn(&Entry) -> bool| acked().filter(|e| is(e)).count();
        Counted {
            wanted: self.entries.len(),
            acked: acked().count(),
            read: count(Entry::is_read),
            lost: count(|e| e.seen.is_none()),
            stale: count(Entry::is_stale),
            garbled: count(|e| e.seen.is_some_and(|(_, whole)| !whole)),
            doubled: count(|e| e.doubled),
            gone: acked().find_map(|e| e.gone.clone()),
            writes: self.writes,
            repeated: self.repeated,
        }
    }
}

impl Entry {
    /// Read back as it was acknowledged, or with the change whose outcome is not known.
    fn is_read(&self) -> bool {
        let range = self.acked.unwrap_or(0)..=self.asked.max(self.acked.unwrap_or(0));
        self.seen.is_some_and(|(change, whole)| whole && range.contains(&change))
    }

    fn is_stale(&self) -> bool {
        self.seen.is_some_and(|(change, _)| Some(change) < self.acked)
    }
}

/// What came of the sessions of a run.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Counted {
    /// How many there should be.
    pub wanted: usize,
    /// Those of which a write was acknowledged.
    pub acked: usize,
    /// Of these: read back with what was acknowledged last, or newer where the outcome of the last write is not known.
    pub read: usize,
    /// Of these: not there any more, or not to be reached.
    pub lost: usize,
    /// Of these: older than acknowledged.
    pub stale: usize,
    /// Of these: with a content that was never written.
    pub garbled: usize,
    /// Of these: a change was made more than once.
    pub doubled: usize,
    /// What was said of one that is not there.
    pub gone: Option<String>,
    /// Acknowledged writes.
    pub writes: u64,
    /// Changes that were cut off and repeated on another member.
    pub repeated: u64,
}

impl Counted {
    /// The field of the summary.
    pub fn field(&self) -> Value {
        json!({
            "acked": self.acked,
            "read": self.read,
            "lost": self.lost,
            "stale": self.stale,
            "garbled": self.garbled,
            "made_twice": self.doubled,
            "writes": self.writes,
            "repeated": self.repeated,
        })
    }

    /// The line for people.
    pub fn line(&self) -> String {
        let Counted { acked, read, lost, stale, writes, repeated, .. } = self;
        format!(
            "sessions     {acked} acknowledged, {read} read back, {lost} lost, {stale} stale; \
             {writes} writes, {repeated} cut off and repeated"
        )
    }

    /// Every promise that was broken. `all`: every session should have been made.
    pub fn broken(&self, all: bool) -> Vec<String> {
        let mut broken = Vec::new();
        let mut complain = |count: usize, what: &str| {
            if count > 0 {
                broken.push(format!("{count} of {} acknowledged sessions {what}", self.acked));
            }
        };
        let gone = self.gone.as_deref().unwrap_or("no answer in time");
        complain(self.lost, &format!("are lost ({gone})"));
        complain(self.stale, "are older than acknowledged");
        complain(self.garbled, "have a content that was never written");
        complain(self.doubled, "have a change that was made more than once");
        if broken.is_empty() && self.read != self.acked {
            broken.push(format!("{} of {} acknowledged sessions were read back", self.read, self.acked));
        }
        if all && self.acked < self.wanted {
            broken.push(format!("{} of {} sessions were never made", self.wanted - self.acked, self.wanted));
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(ask: &SessionAsk, code: Code, change: u64) -> SessionTold {
        SessionTold {
            request: ask.request,
            code: code.name().to_owned(),
            cookie: "cookie".to_owned(),
            version: change + 1,
            change: Some(change),
            sum: Some(sum(&content(ask.session, change).expect("legal"))),
        }
    }

    /// The next requests; time passes.
    fn turn(sessions: &mut Sessions, living: &[usize]) -> Vec<(usize, SessionAsk)> {
        (sessions.due, sessions.may) = (Instant::now(), BURST);
        sessions.again.iter_mut().for_each(|(at, ..)| *at = Instant::now());
        sessions.turn(living)
    }

    /// One session that is made and changed once.
    fn changed() -> Sessions {
        let mut sessions = Sessions::new(1, 1);
        sessions.begin();
        for change in 0..2 {
            let asked = turn(&mut sessions, &[0, 1]);
            assert_eq!(asked.len(), 1);
            sessions.told(&told(&asked[0].1, Code::Ok, change));
        }
        sessions
    }

    fn read(sessions: &mut Sessions, code: Code, change: u64) -> Counted {
        sessions.read_back();
        let asked = turn(sessions, &[0, 1]);
        assert_eq!(asked[0].1.want, SessionWant::Read);
        sessions.told(&told(&asked[0].1, code, change));
        assert!(sessions.is_settled());
        sessions.result()
    }

    #[test]
    fn what_was_acknowledged_and_is_read_back_is_fine() {
        let counted = read(&mut changed(), Code::Ok, 1);
        assert_eq!((counted.acked, counted.read, counted.lost, counted.stale, counted.writes), (1, 1, 0, 0, 2));
        assert_eq!(counted.broken(true), [""; 0]);
    }

    #[test]
    fn what_is_gone_old_garbled_or_made_twice_is_seen() {
        let lost = read(&mut changed(), Code::NoSuchSession, 0);
        assert_eq!((lost.lost, lost.read, lost.broken(true).len()), (1, 0, 1));
        let stale = read(&mut changed(), Code::Ok, 0);
        assert_eq!((stale.stale, stale.read, stale.broken(true).len()), (1, 0, 1));
        let never = read(&mut changed(), Code::Ok, 7);
        assert_eq!((never.read, never.lost, never.stale, never.broken(true).len()), (0, 0, 0, 1));
        let mut sessions = changed();
        sessions.read_back();
        let asked = turn(&mut sessions, &[0]);
        sessions.told(&SessionTold { version: 3, sum: Some(String::new()), ..told(&asked[0].1, Code::Ok, 1) });
        let counted = sessions.result();
        assert_eq!((counted.doubled, counted.garbled, counted.broken(true).len()), (1, 1, 2));
    }

    #[test]
    fn what_was_cut_off_is_repeated_elsewhere_and_may_be_newer() {
        let mut sessions = changed();
        let asked = turn(&mut sessions, &[0, 1]);
        let (process, first) = &asked[0];
        let living = [1 - process];
        let again = turn(&mut sessions, &living);
        assert_eq!((again[0].0, again[0].1.change, again[0].1.want), (living[0], first.change, first.want));
        assert_ne!(again[0].1.request, first.request);
        sessions.told(&told(first, Code::Ok, 2));
        assert!(!sessions.is_settled(), "an answer of who is gone counts for nothing");
        sessions.told(&told(&again[0].1, Code::OutcomeUnknown, 0));
        sessions.stop();
        assert_eq!((sessions.result().repeated, sessions.is_settled()), (2, false));
        let counted = read(&mut sessions, Code::Ok, 2);
        assert_eq!((counted.acked, counted.read, counted.broken(true).len()), (1, 1, 0));
    }

    #[test]
    fn a_session_never_made_is_missed_and_each_request_goes_to_another_member() {
        let mut sessions = Sessions::new(2, 1);
        sessions.begin();
        let asked = turn(&mut sessions, &[0, 1, 2]);
        assert_ne!(asked[0].0, asked[1].0);
        sessions.told(&told(&asked[0].1, Code::Ok, 0));
        sessions.told(&told(&asked[1].1, Code::Timeout, 0));
        let again = turn(&mut sessions, &[0, 1, 2]);
        assert_ne!((again[0].0, again[0].1.want), (asked[1].0, SessionWant::Read));
        let counted = sessions.result();
        assert_eq!((counted.acked, counted.lost, sessions.is_made()), (1, 1, false));
        assert!(counted.broken(true).iter().any(|b| b.contains("never made")));
    }
}
