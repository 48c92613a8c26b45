//! One member process of the demo: it receives, counts and sums what comes, streams a file when told to, and says on
//! stdout what it sees.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use decurion::api::{Ended, Event, Messages, To};
use decurion::types::{Code, View};
use decurion::{Cookie, Engine, Level, Mode, SessionAnswer, SessionChange, SessionOp};

use super::multicast::Counted;
use super::payload::{HEADER_BYTES, PIECE_BYTES, Piece, Tracker};
use super::protocol::{MemberSaid, Order, Said, SessionAsk, SessionTold, SessionWant, ViewSaid};
use super::sessions;
use crate::arguments::Settings;
use crate::clock::monotonic_us;
use crate::output::{Exit, Failure, Outcome};

/// How often a member says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(150);
/// How far a sender that was held up may run ahead of its rate to make up for it.
const CATCH_UP: Duration = Duration::from_millis(250);

/// Runs the hidden verb.
pub fn run(settings: &Settings) -> Outcome {
    let config = crate::config::read(settings)?;
    let engine = Arc::new(Engine::open(&config, Mode::Poll)?);
    say(&Said::Open { address: engine.local_address().to_string() });
    let shared = Arc::new(Shared::default());
    listen(&engine, &shared)?;
    let mut member = Receiving { shared, trackers: BTreeMap::new() };
    let ended = member.receive(&engine)?;
    engine.close();
    let in_order = ended == Ended::Left;
    say(&Said::Ended { reason: format!("{ended:?}"), in_order });
    Ok(if in_order { Exit::Fine } else { Exit::Broken })
}

/// What the threads of a member share.
#[derive(Debug, Default)]
struct Shared {
    phase: AtomicUsize,
    stop: AtomicBool,
    sent_bytes: AtomicU64,
    sent_messages: AtomicU64,
}

fn say(said: &Said) {
    let line = serde_json::to_string(said).expect("plain data");
    let mut stdout = std::io::stdout().lock();
    // When the demo has gone, so does this process: the end of stdin says so.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

fn trouble(kind: &str, text: impl Into<String>) {
    say(&Said::Trouble { kind: kind.to_owned(), text: text.into() });
}

struct Receiving {
    shared: Arc<Shared>,
    trackers: BTreeMap<String, Tracker>,
}

impl Receiving {
    fn receive(&mut self, engine: &Engine) -> Result<Ended, Failure> {
        let mut events = Vec::with_capacity(256);
        let mut due = Instant::now() + PROGRESS_EVERY;
        loop {
            engine.poll(&mut events, 256, due.saturating_duration_since(Instant::now()))?;
            for event in events.drain(..) {
                if let Some(ended) = self.take(event) {
                    self.progress(engine);
                    return Ok(ended);
                }
            }
            if Instant::now() >= due {
                self.progress(engine);
                due = Instant::now() + PROGRESS_EVERY;
            }
        }
    }

    fn take(&mut self, event: Event) -> Option<Ended> {
        match event {
            Event::Messages(run) => self.messages(&run),
            Event::View(change) => say(&Said::View(view_said(&change.view))),
            Event::Session(answer) => say(&Said::Session(session_told(&answer))),
            Event::RedundancyRestored { view, .. } => say(&Said::Restored { number: view.number }),
            Event::Suspected { member, why } => trouble("suspected", format!("{}: {why}", member.name)),
            Event::Slow { member, lag_bytes } => trouble("slow", format!("{}, {lag_bytes} bytes behind", member.name)),
            Event::Expelled { view, why } => trouble("expelled", format!("after view {}: {why}", view.number)),
            Event::Fault { what, .. } => trouble("fault", what),
            Event::Returned { why, .. } => trouble("returned", why),
            Event::Note { level, text } if level <= 2 => trouble("note", text),
            Event::Closed { reason } => return Some(reason),
            _ => {}
        }
        None
    }

    fn messages(&mut self, run: &Messages) {
        let now_us = monotonic_us();
        let phase = self.shared.phase.load(Ordering::Relaxed).min(2);
        let sender = run.sender.name.as_str();
        if !self.trackers.contains_key(sender) {
            self.trackers.insert(sender.to_owned(), Tracker::new(sender));
        }
        let tracker = self.trackers.get_mut(sender).expect("it is there now");
        for message in run {
            match Piece::decode(message.payload) {
                Some((piece, data)) => tracker.take(piece, data, phase, now_us),
                None => trouble("fault", format!("message {} of {sender} is not one of the demo", message.number)),
            }
        }
    }

    fn progress(&self, engine: &Engine) {
        let stats = engine.stats();
        say(&Said::Progress {
            streams: self.trackers.values().map(|t| t.said().clone()).collect(),
            sent_bytes: self.shared.sent_bytes.load(Ordering::Relaxed),
            sent_messages: self.shared.sent_messages.load(Ordering::Relaxed),
            sessions: stats.sessions_primary + stats.sessions_secondary,
        });
        if let Some(counted) = Counted::of(engine) {
            say(&Said::Multicast(counted));
        }
    }
}

fn view_said(view: &View) -> ViewSaid {
    let member = |(at, info): (usize, &decurion::types::MemberInfo)| MemberSaid {
        name: info.name.to_string(),
        incarnation: info.incarnation.to_string(),
        group: info.group,
        role: view.role_of(at).to_owned(),
        ready: info.ready,
    };
    ViewSaid {
        at_us: monotonic_us(),
        id: view.id.to_string(),
        number: view.id.number,
        fenced: view.fenced,
        coordinator: view.members[view.coordinator()].name.to_string(),
        members: view.members.iter().enumerate().map(member).collect(),
    }
}

/// Reads orders on a thread of its own. The end of stdin means that the demo is gone: so must this process be.
fn listen(engine: &Arc<Engine>, shared: &Arc<Shared>) -> Result<(), Failure> {
    let (engine, shared) = (engine.clone(), shared.clone());
    let work = move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            match serde_json::from_str(&line) {
                Ok(order) => obey(order, &engine, &shared),
                Err(error) => trouble("fault", format!("an order that is none: {error}")),
            }
        }
        std::process::exit(Exit::Broken as i32);
    };
    spawn("orders", work)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map(drop).map_err(|error| Failure::new(Exit::Environment, format!("cannot start a thread: {error}")))
}

fn obey(order: Order, engine: &Arc<Engine>, shared: &Arc<Shared>) {
    match order {
        Order::Phase { phase } => shared.phase.store(phase, Ordering::Relaxed),
        Order::Session(ask) => {
            let code = ask_session(engine, &ask).unwrap_or_else(|error| error.code());
            if code != Code::Ok {
                say(&Said::Session(SessionTold::refused(ask.request, code)));
            }
        }
        Order::Stop => shared.stop.store(true, Ordering::Relaxed),
        Order::Leave => {
            shared.stop.store(true, Ordering::Relaxed);
            if let Err(error) = engine.leave(Duration::from_secs(4)) {
                trouble("leave", error.text());
            }
        }
        Order::Send { file, bytes_per_s, passes } => {
            let (engine, shared) = (engine.clone(), shared.clone());
            let work = move || {
                if let Err(why) = stream(&engine, &shared, &file, bytes_per_s, passes) {
                    trouble("send", why);
                }
            };
            if let Err(failure) = spawn("sender", work) {
                trouble("send", failure.text);
            }
        }
    }
}

/// Hands a request in; after `Ok` an event has the answer.
fn ask_session(engine: &Engine, ask: &SessionAsk) -> decurion::Result<Code> {
    let cookie = if ask.cookie.is_empty() { None } else { Some(ask.cookie.parse::<Cookie>()?) };
    let content = || sessions::content(ask.session, ask.change);
    let op = match ask.want {
        SessionWant::Create => SessionOp::Create { ttl_s: 0, attributes: content()? },
        SessionWant::Change => {
            SessionChange { token: ask.change, whole: true, sets: content()?, ..SessionChange::default() }.into()
        }
        SessionWant::Read => SessionOp::Read,
    };
    engine.session_request(ask.request, cookie.as_ref(), op)
}

fn session_told(answer: &SessionAnswer) -> SessionTold {
    let text = |name| std::str::from_utf8(answer.attributes.as_ref()?.get(name)?).ok();
    SessionTold {
        cookie: Cookie::from(answer).to_string(),
        version: answer.version,
        change: text("change").and_then(|change| change.parse().ok()),
        sum: answer.attributes.as_ref().map(sessions::sum),
        ..SessionTold::refused(answer.number, answer.code)
    }
}

/// Sends the file again and again, not faster than `bytes_per_s`.
fn stream(engine: &Engine, shared: &Shared, file: &Path, bytes_per_s: u64, passes: u64) -> Result<(), String> {
    let cannot = |error: std::io::Error| format!("cannot read {}: {error}", file.display());
    let length = std::fs::metadata(file).map_err(cannot)?.len();
    let mut pace = Pace { due: Instant::now(), bytes_per_s };
    let mut message = vec![0; HEADER_BYTES + PIECE_BYTES];
    let mut whole = 0;
    let stopped = || shared.stop.load(Ordering::Relaxed);
    while (passes == 0 || whole < passes) && !stopped() {
        let mut source = File::open(file).map_err(cannot)?;
        let mut offset = 0;
        while offset < length && !stopped() {
            let wanted = PIECE_BYTES.min((length - offset) as usize);
            source.read_exact(&mut message[HEADER_BYTES..HEADER_BYTES + wanted]).map_err(cannot)?;
            let number = shared.sent_messages.load(Ordering::Relaxed) + 1;
            let last = offset + wanted as u64 == length;
            message[..HEADER_BYTES].copy_from_slice(&Piece { number, offset, last }.encode());
            pace.wait(wanted);
            if !send(engine, &message[..HEADER_BYTES + wanted], &stopped)? {
                break;
            }
            offset += wanted as u64;
            shared.sent_messages.store(number, Ordering::Relaxed);
            shared.sent_bytes.fetch_add(wanted as u64, Ordering::Relaxed);
        }
        whole += u64::from(offset == length);
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    say(&Said::Sent { messages: count(&shared.sent_messages), passes: whole, bytes: count(&shared.sent_bytes) });
    Ok(())
}

/// Sends one message, however long the window is full; `false` when told to stop first.
fn send(engine: &Engine, message: &[u8], stopped: &impl Fn() -> bool) -> Result<bool, String> {
    loop {
        match engine.send(To::Everybody, Level::Fifo, 0, message, Duration::from_millis(500)) {
            Ok(Code::Ok) => return Ok(true),
            Ok(Code::Again) if stopped() => return Ok(false),
            Ok(Code::Again) => {}
            // Between two views and without a lease there is nothing to wait on: ask again soon.
            Ok(_) if stopped() => return Ok(false),
            Ok(_) => thread::sleep(Duration::from_millis(5)),
            Err(error) => return Err(error.text().to_owned()),
        }
    }
}

/// Spreads what is sent evenly over time.
struct Pace {
    due: Instant,
    bytes_per_s: u64,
}

impl Pace {
    fn wait(&mut self, bytes: usize) {
        let now = Instant::now();
        if let Some(early) = self.due.checked_duration_since(now) {
            thread::sleep(early);
        } else if now - self.due > CATCH_UP {
            self.due = now - CATCH_UP;
        }
        self.due += Duration::from_secs_f64(bytes as f64 / self.bytes_per_s as f64);
    }
}
