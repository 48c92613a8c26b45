//! Changes sessions, a window of them at a time, and holds what comes back against what was asked.

use decurion::types::Code;
use decurion::{Cookie, Engine, SessionAnswer, SessionChange, SessionOp, attributes};

use super::child::{say, trouble};
use super::protocol::{Changes, Said, Written};
use crate::clock::monotonic_ns;

/// The attribute that each change sets, and the one that none does.
const NAME: &str = "data";
const REST: &str = "rest";

/// One session, and its change that is under way.
#[derive(Debug)]
struct Slot {
    cookie: Option<Cookie>,
    version: u64,
    asked_ns: u64,
}

/// Keeps a window of changes under way until its time is over. Each answer asks for the next change.
#[derive(Debug, Default)]
pub struct Writer {
    slots: Vec<Slot>,
    next: usize,
    under_way: usize,
    window: usize,
    /// How long the changes last once all sessions are there.
    ns: u64,
    /// Until when; 0 while sessions are made.
    until_ns: u64,
    changes: u64,
    data: Vec<u8>,
    /// What no change sets.
    rest: Vec<u8>,
    written: Written,
}

impl Writer {
    /// Makes the sessions that are not there yet, and then changes all for so long.
    pub fn begin(&mut self, changes: &Changes, engine: &Engine) {
        let Changes { ms, window, sessions, bytes, delta } = *changes;
        let set = delta.unwrap_or(bytes);
        (self.data, self.rest) = (vec![0x5a; set], vec![0xa5; bytes - set]);
        (self.window, self.ns, self.until_ns, self.next) = (window, ms * 1_000_000, 0, 0);
        self.written = Written::default();
        if self.slots.len() < sessions.max(window) {
            self.changes = 0;
            self.slots.resize_with(sessions.max(window), || Slot { cookie: None, version: 0, asked_ns: 0 });
        }
        let wanting = self.slots.iter().filter(|slot| slot.cookie.is_none()).count();
        if wanting == 0 {
            return self.start(engine);
        }
        while self.under_way < window {
            self.change_next(engine, monotonic_ns());
        }
    }

    fn start(&mut self, engine: &Engine) {
        let now = monotonic_ns();
        (self.written.first_ns, self.until_ns) = (now, now + self.ns);
        while self.under_way < self.window {
            self.change_next(engine, now);
        }
    }

    fn change_next(&mut self, engine: &Engine, now: u64) {
        let at = self.next;
        self.next = (at + 1) % self.slots.len();
        self.ask(at, engine, now);
    }

    fn ask(&mut self, at: usize, engine: &Engine, now: u64) {
        self.changes += 1;
        self.data[..8].copy_from_slice(&self.changes.to_le_bytes());
        let whole = self.rest.is_empty();
        let slot = &mut self.slots[at];
        let (set, rest) = ((NAME, &self.data[..]), (REST, &self.rest[..]));
        let makes = slot.cookie.is_none();
        let content = if makes && !whole { attributes([set, rest]) } else { attributes([set]) }.expect("legal names");
        let op = if makes {
            SessionOp::Create { ttl_s: 0, attributes: content }
        } else {
            SessionChange { whole, sets: content, ..SessionChange::default() }.into()
        };
        slot.asked_ns = now;
        match engine.session_request(at as u64, slot.cookie.as_ref(), op) {
            Ok(Code::Ok) => self.under_way += 1,
            other => trouble(format!("a change of a session was not taken: {other:?}")),
        }
    }

    /// Takes an answer.
    pub fn answered(&mut self, answer: &SessionAnswer, engine: Option<&Engine>) {
        let Some(engine) = engine else { return trouble("an answer came before the engine") };
        let now = monotonic_ns();
        self.under_way -= 1;
        let slot = &mut self.slots[answer.number as usize];
        let follows = answer.version == slot.version + 1 || slot.cookie.is_none();
        let good = answer.code == Code::Ok && follows;
        (slot.cookie, slot.version) = (Some(answer.into()), answer.version);
        if !good {
            self.written.failed += 1;
            trouble(format!("a session was answered with {:?}, version {}", answer.code, answer.version));
        }
        if self.until_ns == 0 {
            // Once round: each of them has been asked for.
            if self.changes < self.slots.len() as u64 {
                self.change_next(engine, now);
            } else if self.under_way == 0 {
                self.start(engine);
            }
            return;
        }
        self.written.writes += 1;
        self.written.latency.note(now.saturating_sub(slot.asked_ns));
        if now < self.until_ns {
            self.change_next(engine, now);
        } else if self.under_way == 0 {
            self.written.last_ns = now;
            say(&Said::Written(std::mem::take(&mut self.written)));
        }
    }
}
