//! One member process of the bench: an engine, hosted in one of the three ways, that sends what it is told to and holds what
//! comes against what was sent.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use decurion::api::{Event, Messages, ViewChange};
use decurion::core::PACKED_BYTES;
use decurion::types::Code;
use decurion::{Config, Engine, Mode};
use parking_lot::Mutex;

use super::burst::{self, Burst};
use super::child::{self, Orders, say, trouble};
use super::pace::{Pace, Schedule};
use super::payload::{Checks, Source};
use super::protocol::{self, Count, Order, Said, Spec, ViewSaid};
use super::writer::Writer;
use crate::clock::monotonic_ns;
use crate::output::{Exit, Failure, Outcome};

/// Events that are taken in one poll.
const EVENTS: usize = 256;
/// How long a sender waits for room before it looks again.
const PATIENCE: Duration = Duration::from_millis(500);
/// Turns of a busy loop between two looks at stdin.
const TURNS: u32 = 64;

/// Runs the hidden verb.
pub fn run(text: &str) -> Outcome {
    let spec = child::spec(text)?;
    let mut config = Config::new();
    for (key, value) in &spec.settings {
        config.set(key, value)?;
    }
    match spec.mode {
        protocol::Mode::Handler => with_handler(&spec, &config),
        protocol::Mode::Poll => with_poll(&spec, &config),
        protocol::Mode::Loop => with_loop(&spec, &config),
    }
}

/// What a host does with what it is told.
#[derive(Debug, Default)]
struct Host {
    checks: Checks,
    writer: Writer,
    watching: bool,
    /// Bytes of messages that came since it was asked how long it takes for them.
    bytes: u64,
    /// So many it takes in a second; 0: as many as there are.
    bytes_per_s: u64,
}

impl Host {
    fn take(&mut self, event: &Event, engine: Option<&Engine>) {
        match event {
            Event::Messages(run) => self.messages(run),
            Event::View(change) => say(&Said::View(view_said(change))),
            Event::Session(answer) => self.writer.answered(answer, engine),
            Event::Suspected { member, why } => {
                let ms = monotonic_ns() / 1_000_000;
                trouble(format!("suspects {} at {}.{:03} s: {why}", member.name, ms / 1_000, ms % 1_000));
            }
            Event::Slow { member, lag_bytes } => {
                let (member, at_ns) = (member.name.to_string(), monotonic_ns());
                say(&Said::Slow { member, lag_bytes: *lag_bytes, at_ns });
            }
            Event::Expelled { view, why } => trouble(format!("expelled after view {}: {why}", view.number)),
            Event::Fault { what, .. } => trouble(format!("a fault: {what}")),
            Event::Returned { why, .. } => trouble(format!("a message came back: {why}")),
            Event::Closed { reason } => trouble(format!("the engine has ended: {reason:?}")),
            _ => {}
        }
    }

    fn messages(&mut self, run: &Messages) {
        if self.watching {
            self.checks.came();
        }
        for message in run {
            self.bytes += message.payload.len() as u64;
            if let Some(received) = self.checks.take(message.payload) {
                if std::mem::take(&mut self.watching) {
                    say(&Said::Watched { gap_ns: self.checks.gap_ns() });
                }
                say(&Said::Received(received));
            }
        }
    }

    /// How long a host that takes slowly is busy with what came last.
    fn busy(&mut self) -> Option<Duration> {
        let bytes = std::mem::take(&mut self.bytes);
        (self.bytes_per_s > 0).then(|| Duration::from_secs_f64(bytes as f64 / self.bytes_per_s as f64))
    }

    fn watch(&mut self) {
        self.checks.watch();
        self.watching = true;
    }
}

fn view_said(change: &ViewChange) -> ViewSaid {
    let view = &change.view;
    // The bench names its members by their numbers.
    let number =
        |index: &usize| view.members[*index].name.as_str().trim_start_matches('m').parse().unwrap_or(usize::MAX);
    ViewSaid {
        at_ns: monotonic_ns(),
        number: view.id.number,
        ready: view.members.iter().all(|member| member.ready),
        incarnations: (0..view.members.len())
            .map(|at| (number(&at), view.members[at].incarnation.to_string()))
            .collect(),
        groups: view.groups.iter().map(|group| group.members.iter().map(number).collect()).collect(),
    }
}

fn open(config: &Config, mode: Mode) -> Result<Engine, Failure> {
    let engine = Engine::open(config, mode)?;
    say(&Said::Open { address: engine.local_address() });
    Ok(engine)
}

fn with_handler(spec: &Spec, config: &Config) -> Outcome {
    let host = Arc::new(Mutex::new(Host::default()));
    // The handler calls the engine for sessions, and is there before it.
    let back = Arc::new(std::sync::OnceLock::<Engine>::new());
    let (inner, engine) = (host.clone(), back.clone());
    let handler = move |event: &Event| inner.lock().take(event, engine.get());
    let engine = open(config, Mode::Handler(Box::new(handler)))?;
    let _ = back.set(engine.clone());
    let mut sender = Sender::new(spec, engine);
    child::obey_all(|order| sender.obey(order, &host))
}

fn with_poll(spec: &Spec, config: &Config) -> Outcome {
    let host = Arc::new(Mutex::new(Host::default()));
    let engine = open(config, Mode::Poll)?;
    let (inner, polled) = (host.clone(), engine.clone());
    let poll = move || {
        let mut events = Vec::with_capacity(EVENTS);
        // Who takes slowly takes little at a time.
        let mut most = EVENTS;
        // Ends with the process; an engine that ends tells it before.
        while polled.poll(&mut events, most, Duration::from_secs(60)).is_ok() {
            let busy = {
                let mut host = inner.lock();
                events.drain(..).for_each(|event| host.take(&event, Some(&polled)));
                host.busy()
            };
            if let Some(time) = busy {
                most = 1;
                thread::sleep(time);
            }
        }
    };
    thread::Builder::new()
        .name("host".to_owned())
        .spawn(poll)
        .map_err(|error| Failure::new(Exit::Environment, format!("cannot start a thread: {error}")))?;
    let mut sender = Sender::new(spec, engine);
    child::obey_all(|order| sender.obey(order, &host))
}

/// The thread that reads orders and sends, beside the one that delivers.
struct Sender {
    number: u8,
    bytes: usize,
    one_by_one: bool,
    engine: Engine,
    copied_bytes: u64,
}

impl Sender {
    fn new(spec: &Spec, engine: Engine) -> Sender {
        Sender { number: spec.number, bytes: spec.bytes, one_by_one: spec.one_by_one, engine, copied_bytes: 0 }
    }

    fn obey(&mut self, order: Order, host: &Mutex<Host>) {
        match order {
            Order::Stream { ms, pace } => self.stream(self.bytes, ms, pace),
            Order::Transfer { ms, bytes } => self.stream(bytes, ms, None),
            Order::Sessions(changes) => host.lock().writer.begin(&changes, &self.engine),
            Order::Watch => host.lock().watch(),
            Order::Take { bytes_per_s } => host.lock().bytes_per_s = bytes_per_s,
            Order::Count => say_count(host.lock().checks.messages(), &self.engine),
            Order::Mark => say_mark(&self.engine, self.copied_bytes, 0),
            Order::Link { .. } => trouble("members link by themselves"),
        }
    }

    fn stream(&mut self, bytes: usize, ms: u64, pace: Option<Pace>) {
        let mut source = Source::new(self.number, bytes, ms, pace.is_some());
        let mut burst = Burst::new(bytes, self.one_by_one);
        let mut schedule = pace.map(|pace| Schedule::new(pace, monotonic_ns()));
        while !source.ended() {
            if let Some(schedule) = &schedule {
                let early = schedule.due_ns().saturating_sub(monotonic_ns());
                if early > 0 {
                    child::wait([], Some(early));
                }
            }
            burst.fill(&mut source, schedule.as_mut());
            while !burst.is_taken() {
                match burst.send(&self.engine, PATIENCE) {
                    Ok(Code::Ok | Code::Again) => {}
                    // Between two views there is nothing to wait on: ask again soon.
                    Ok(_) => _ = child::wait([], Some(1_000_000)),
                    Err(error) => return trouble(format!("cannot send: {}", error.text())),
                }
            }
        }
        self.copied_bytes += source.sent().messages * copied_by_send(bytes);
        say(&Said::Sent(source.sent()));
    }
}

/// What `Engine::send` copies of a message beside the copy into its batch: a short one goes straight there.
fn copied_by_send(bytes: usize) -> u64 {
    if bytes > PACKED_BYTES { bytes as u64 } else { 0 }
}

/// What `Engine::send` copies is known from the calls; the rest is counted in the engine.
fn say_mark(engine: &Engine, copied_bytes: u64, calls: u64) {
    let effort = engine.effort();
    say(&Said::Mark(child::mark(effort.system_calls + calls, effort.copied_bytes + copied_bytes)));
}

fn say_count(messages: u64, engine: &Engine) {
    let stats = engine.stats();
    say(&Said::Count(Count {
        at_ns: monotonic_ns(),
        messages,
        unstable_bytes: stats.unstable_bytes,
        queued_bytes: stats.delivery_queue_bytes,
        sent_bytes: stats.bytes_sent,
        sessions_primary: stats.sessions_primary,
        sessions_single: stats.sessions_single,
    }));
}

/// One thread for everything: the host's loop.
fn with_loop(spec: &Spec, config: &Config) -> Outcome {
    let cannot = |error: std::io::Error| Failure::new(Exit::Environment, format!("cannot read orders: {error}"));
    let orders = Orders::new().map_err(cannot)?;
    let engine = open(config, Mode::Loop)?;
    let (number, bytes, one_by_one) = (spec.number, spec.bytes, spec.one_by_one);
    let host = Host::default();
    Looped { number, bytes, one_by_one, engine, orders, host, sending: None, copied: 0, calls: 0 }.run()
}

struct Looped {
    number: u8,
    bytes: usize,
    one_by_one: bool,
    engine: Engine,
    orders: Orders,
    host: Host,
    sending: Option<Sending>,
    copied: u64,
    calls: u64,
}

struct Sending {
    source: Source,
    burst: Burst,
    schedule: Option<Schedule>,
}

impl Looped {
    fn run(mut self) -> ! {
        use std::os::fd::AsRawFd;
        let fds = [self.engine.fd().as_raw_fd(), self.orders.fd()];
        let mut events = Vec::with_capacity(EVENTS);
        let mut turns = 0;
        loop {
            let wait_ns = self.send();
            if let Err(error) = self.engine.turn() {
                trouble(format!("the engine has ended: {}", error.text()));
                child::obey_all(|_| ());
            }
            while self.engine.poll(&mut events, EVENTS, Duration::ZERO).is_ok_and(|count| count > 0) {
                let (host, engine) = (&mut self.host, &self.engine);
                events.drain(..).for_each(|event| host.take(&event, Some(engine)));
            }
            let engine_ns = self.engine.next_timeout().ok().flatten().map(|left| left.as_nanos() as u64);
            let wait_ns = wait_ns.into_iter().chain(engine_ns).min();
            turns += 1;
            if wait_ns != Some(0) || turns >= TURNS {
                turns = 0;
                self.calls += 1;
                if child::wait(fds, wait_ns) {
                    self.obey();
                }
            }
        }
    }

    fn obey(&mut self) {
        self.calls += 1;
        for order in self.orders.take() {
            match order {
                Order::Stream { ms, pace } => self.begin(self.bytes, ms, pace),
                Order::Transfer { ms, bytes } => self.begin(bytes, ms, None),
                Order::Sessions(changes) => self.host.writer.begin(&changes, &self.engine),
                Order::Watch => self.host.watch(),
                Order::Take { .. } => trouble("a loop takes all that there is"),
                Order::Count => say_count(self.host.checks.messages(), &self.engine),
                Order::Mark => say_mark(&self.engine, self.copied, self.calls),
                Order::Link { .. } => trouble("members link by themselves"),
            }
        }
    }

    fn begin(&mut self, bytes: usize, ms: u64, pace: Option<Pace>) {
        let source = Source::new(self.number, bytes, ms, pace.is_some());
        let burst = Burst::new(bytes, self.one_by_one);
        let schedule = pace.map(|pace| Schedule::new(pace, monotonic_ns()));
        self.sending = Some(Sending { source, burst, schedule });
    }

    /// Sends what is handed in between two turns; answers how long the loop may wait for its sake.
    fn send(&mut self) -> Option<u64> {
        let Sending { source, burst, schedule } = self.sending.as_mut()?;
        let mut handed_in = 0;
        while handed_in < burst::BYTES {
            if burst.is_taken() {
                if source.ended() {
                    self.copied += source.sent().messages * copied_by_send(burst.long());
                    say(&Said::Sent(source.sent()));
                    self.sending = None;
                    return None;
                }
                if let Some(schedule) = schedule {
                    let early = schedule.due_ns().saturating_sub(monotonic_ns());
                    if early > 0 {
                        return Some(early);
                    }
                }
                burst.fill(source, schedule.as_mut());
            }
            handed_in += burst.waiting();
            match burst.send(&self.engine, Duration::ZERO) {
                Ok(Code::Ok) => {}
                // Room is told by an event; of a new view nothing is told that could be waited for here.
                Ok(code) => return (code != Code::Again).then_some(1_000_000),
                Err(error) => {
                    trouble(format!("cannot send: {}", error.text()));
                    self.sending = None;
                    return None;
                }
            }
        }
        Some(0)
    }
}
