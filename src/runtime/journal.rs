//! What the operator reads: lines through the `log` facade and, if the host gave one, its own callback.

use std::fmt;

use log::Level;

use crate::core::{Ended, Event};
use crate::types::{Micros, Time, millis, one_line};

/// The host's callback: level, target, message. Called on the engine's thread, or on the one that turns it (and once or twice
/// on the opening one); it must not block and must not call back into the engine.
pub type LogSink = Box<dyn Fn(Level, &str, &str) + Send + Sync>;

/// What strangers can cause is written at most so many times in a period; the rest is counted.
const LINES: u32 = 20;
const PERIOD: Micros = millis(10_000);
const TARGET: &str = "decurion";

/// Writes the journal of one engine.
pub struct Journal {
    sink: Option<LogSink>,
    name: String,
    period_began: Time,
    lines: u32,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Journal {
    /// A journal for the member `name`.
    pub fn new(name: &str, sink: Option<LogSink>) -> Journal {
        Journal { sink, name: name.to_owned(), period_began: Time::ZERO, lines: 0 }
    }

    /// Writes one line, whatever is in a text that came from others.
    pub fn write(&self, level: Level, text: &str) {
        let text = one_line(text);
        log::log!(target: TARGET, level, "{}: {text}", self.name);
        if let Some(sink) = &self.sink {
            sink(level, TARGET, &text);
        }
    }

    /// Writes what an event means to an operator; messages and window updates mean nothing to one.
    pub fn event(&mut self, now: Time, event: &Event) {
        match event {
            Event::View(change) => {
                let names = |list: &[crate::core::MemberRef]| {
                    list.iter().map(|m| m.name.as_str()).collect::<Vec<_>>().join(" ")
                };
                let fenced = if change.view.fenced { "" } else { ", unfenced" };
                let (joined, left) = (names(&change.joined), names(&change.left));
                let text = format!(
                    "view {} of {} members in {} groups{fenced}; joined: [{joined}] left: [{left}]",
                    change.view.id.number,
                    change.view.len(),
                    change.view.groups.len()
                );
                self.write(Level::Info, &text);
            }
            Event::Suspected { member, why } => {
                self.write(Level::Warn, &format!("{} is suspected: {why}", member.name))
            }
            Event::Slow { member, lag_bytes } => {
                self.write(Level::Warn, &format!("{} is slow, {lag_bytes} bytes behind", member.name));
            }
            Event::Primary { primary, .. } => {
                let text = if *primary { "in the primary view" } else { "not in the primary view" };
                self.write(Level::Info, text);
            }
            Event::Expelled { why, .. } => self.write(Level::Warn, &format!("removed by the others: {why}")),
            Event::Fault { member, from, what } => {
                let who = member.as_ref().map(|m| m.name.to_string()).or(from.map(|a| a.to_string()));
                self.bounded(now, &format!("{} sent what it must not: {what}", who.as_deref().unwrap_or("somebody")));
            }
            Event::RefusedJoiner { name, from, why } => self.bounded(now, &format!("refused {name} at {from}: {why}")),
            Event::Note { level, text } => {
                let level = match level {
                    1 => Level::Error,
                    2 => Level::Warn,
                    _ => Level::Info,
                };
                self.write(level, text);
            }
            Event::Closed { reason } => {
                let level = if matches!(reason, Ended::Failed(_)) { Level::Error } else { Level::Info };
                self.write(level, &ended_text(reason));
            }
            Event::RedundancyRestored { sessions, .. } => {
                self.write(Level::Info, &format!("all sessions have two copies again; {sessions} were made anew"));
            }
            Event::SessionConflict { id, kept, dropped } => {
                let text = format!(
                    "session {id}: version {} of a former life is dropped, version {} of the others is kept",
                    dropped.1, kept.1
                );
                self.bounded(now, &text);
            }
            Event::Messages(_)
            | Event::Session(_)
            | Event::SessionExpired { .. }
            | Event::Transition { .. }
            | Event::Ready { .. }
            | Event::Stable { .. }
            | Event::Returned { .. }
            | Event::Writable => {}
        }
    }

    /// A line that a stranger can cause: a flood of them must not fill the operator's disk.
    fn bounded(&mut self, now: Time, text: &str) {
        if now.since(self.period_began) >= PERIOD {
            if self.lines > LINES {
                self.write(Level::Warn, &format!("{} more lines of this kind were left out", self.lines - LINES));
            }
            self.period_began = now;
            self.lines = 0;
        }
        self.lines = self.lines.saturating_add(1);
        if self.lines <= LINES {
            self.write(Level::Warn, text);
        }
    }
}

/// Why a member has ended, for people.
pub fn ended_text(reason: &Ended) -> String {
    match reason {
        Ended::Left => "left the cluster".to_owned(),
        Ended::LeftUnheard => "closed, and nobody could be told".to_owned(),
        Ended::Refused(why) => format!("refused by the cluster: {why}"),
        Ended::HostNotPolling => "left the cluster because the host does not take its events".to_owned(),
        Ended::JoinTimeout(what) => format!("join.timeout_ms passed without a view: {what}"),
        Ended::Failed(what) => format!("failed: {what}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A refusal repeats what a stranger calls its cluster.
    #[test]
    fn a_text_from_outside_stays_one_line() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let written = lines.clone();
        let sink: LogSink = Box::new(move |_, _, text| written.lock().unwrap().push(text.to_owned()));
        let why = "this is cluster \"a\", not \"b\n12:00 ERROR all is lost\x1b[2J\"".to_owned();
        let event = Event::RefusedJoiner { name: "x".into(), from: ([10, 0, 0, 1], 7).into(), why };
        Journal::new("a", Some(sink)).event(Time(PERIOD), &event);
        let told =
            "refused x at 10.0.0.1:7: this is cluster \"a\", not \"b\u{fffd}12:00 ERROR all is lost\u{fffd}[2J\"";
        assert_eq!(*lines.lock().unwrap(), [told]);
    }

    #[test]
    fn a_flood_caused_by_strangers_is_cut_and_counted() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let written = lines.clone();
        let sink: LogSink = Box::new(move |_, _, text| written.lock().unwrap().push(text.to_owned()));
        let mut journal = Journal::new("a", Some(sink));
        let fault = Event::Fault { member: None, from: None, what: "garbage".into() };
        let start = Time(PERIOD);
        for _ in 0..1_000 {
            journal.event(start, &fault);
        }
        assert_eq!(lines.lock().unwrap().len(), LINES as usize);
        journal.event(start + PERIOD, &fault);
        let lines = lines.lock().unwrap();
        assert_eq!(lines[LINES as usize], "980 more lines of this kind were left out");
        assert_eq!(lines.len(), LINES as usize + 2);
    }
}
