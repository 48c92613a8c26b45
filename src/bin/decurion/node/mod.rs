//! `decurion node`: one member, its events as lines, a file or stdin sent to everybody, what comes stored or shown.

mod lines;
mod send;
mod store;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::Sender;
use decurion::api::{Code, Ended, Event, Messages};
use decurion::{Engine, Mode};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::arguments::NodeArguments;
use crate::output::{Exit, Failure, Outcome, Output};
use store::Store;

/// After a signal the process is gone within five seconds: this is for the leave, the rest for closing.
const LEAVE_PATIENCE: Duration = Duration::from_millis(4_500);
/// How long a poll waits; nothing depends on it, since every event wakes it.
const POLL_WAIT: Duration = Duration::from_secs(1);

/// Runs the verb.
pub fn run(arguments: &NodeArguments, output: &Output) -> Outcome {
    let config = crate::config::read(&arguments.settings)?;
    write_log();
    let store = arguments.receive.as_deref().map(|to| Store::open(to, output)).transpose()?;
    let source = arguments.send.as_deref().map(send::Source::open).transpose()?;
    let engine = Engine::open(&config, Mode::Poll)?;
    let address = engine.local_address().to_string();
    output.say(&format!("{} listens at {address}", engine.name()));
    output.line("open", json!({ "name": engine.name().as_str(), "address": address }));
    let asked = watch_signals(&engine, output)?;
    let begin = match source {
        Some(source) => Some(send::start(source, &engine, output)?),
        None => None,
    };
    let mut node =
        Node { engine, output, store, begin, members: arguments.members, asked, received: (0, 0), broken: None };
    let ended = node.serve()?;
    node.finish(&ended)
}

struct Node<'a> {
    engine: Engine,
    output: &'a Output,
    store: Option<Store>,
    /// Told once there are enough members to send to.
    begin: Option<Sender<()>>,
    members: usize,
    /// Whether somebody asked this member to leave.
    asked: Arc<AtomicBool>,
    /// Messages and bytes.
    received: (u64, u64),
    /// Why it has to end, if it has to.
    broken: Option<Failure>,
}

impl Node<'_> {
    fn serve(&mut self) -> Result<Ended, Failure> {
        let mut events = Vec::with_capacity(256);
        loop {
            match self.engine.poll(&mut events, 256, POLL_WAIT) {
                Ok(_) => {}
                // Closed by the second signal, or because the leave took too long.
                Err(error) if error.code() == Code::Closed => return Ok(Ended::LeftUnheard),
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                if let Event::Closed { reason } = event {
                    return Ok(reason);
                }
                self.take(&event);
            }
        }
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Messages(run) => return self.messages(run),
            Event::View(change) => {
                // The state of this host is empty, so it is ready as soon as it is in a view.
                let _ = self.engine.ready();
                if change.view.len() >= self.members
                    && let Some(begin) = self.begin.take()
                {
                    let _ = begin.send(());
                }
            }
            _ => {}
        }
        if let Some((kind, fields)) = lines::of(event, &self.engine) {
            self.output.line(kind, fields);
        }
    }

    fn messages(&mut self, run: &Messages) {
        for message in run {
            self.received.0 += 1;
            self.received.1 += message.payload.len() as u64;
            if self.output.is_json() {
                let text = self.store.as_ref().is_some_and(Store::is_stdout);
                self.output.line("message", lines::message(run, &message, text));
            }
        }
        // After a failure nothing more is stored: what is there stays without a hole.
        let Some(store) = self.store.as_mut().filter(|_| self.broken.is_none()) else { return };
        if let Err(failure) = store.write(run) {
            self.output.say(&format!("decurion: {}; leaving", failure.text));
            self.broken = Some(failure);
            let _ = self.engine.leave(Duration::ZERO);
        }
    }

    fn finish(mut self, ended: &Ended) -> Outcome {
        self.engine.close();
        if let Some(failure) = self.store.as_mut().and_then(|store| store.finish().err()) {
            self.broken.get_or_insert(failure);
        }
        let reason = lines::ended(ended);
        self.output.line("left", json!({ "reason": reason }));
        let exit = match ended {
            _ if self.broken.is_some() => Exit::Environment,
            Ended::Left | Ended::LeftUnheard => Exit::Fine,
            Ended::Refused(_) => Exit::Usage,
            Ended::HostNotPolling | Ended::Failed(_) => Exit::Broken,
            Ended::JoinTimeout(_) => Exit::Deadline,
        };
        let mut fields = json!({
            "reason": reason,
            "received_messages": self.received.0,
            "received_bytes": self.received.1,
            "stats": lines::stats(&self.engine.stats()),
        });
        match self.broken {
            Some(failure) => fields["error"] = json!(failure.text),
            None if exit != Exit::Fine => {
                self.output.say(&format!("decurion: {reason}"));
                fields["error"] = json!(reason);
            }
            None if !self.asked.load(Ordering::Relaxed) => self.output.say("decurion: left without having been asked"),
            None => {}
        }
        self.output.summary(exit == Exit::Fine, fields);
        Ok(exit)
    }
}

/// SIGTERM, SIGINT and SIGHUP leave in order; a second one closes at once. SIGUSR1 prints the counters.
fn watch_signals(engine: &Engine, output: &Output) -> Result<Arc<AtomicBool>, Failure> {
    let environment =
        |error: std::io::Error| Failure::new(Exit::Environment, format!("cannot watch for signals: {error}"));
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1]).map_err(environment)?;
    let asked = Arc::new(AtomicBool::new(false));
    let (engine, flag, output) = (engine.clone(), asked.clone(), Output::new(output.is_json()));
    let watch = move || {
        for signal in signals.forever() {
            if signal == SIGUSR1 {
                let stats = lines::stats(&engine.stats());
                if !output.is_json() {
                    output.say(&format!("counters: {stats}"));
                }
                output.line("stats", stats);
                continue;
            }
            if flag.swap(true, Ordering::Relaxed) {
                engine.close();
                continue;
            }
            let engine = engine.clone();
            // Beside the watch, so that a second signal is heard meanwhile.
            let leave = move || {
                if engine.leave(LEAVE_PATIENCE).is_err() {
                    engine.close();
                }
            };
            drop(thread::Builder::new().name("leave".to_owned()).spawn(leave));
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watch).map_err(environment)?;
    Ok(asked)
}

/// The engine's journal goes to stderr.
fn write_log() {
    struct Stderr;
    impl log::Log for Stderr {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            let level = record.level().as_str().to_ascii_lowercase();
            let _ = writeln!(std::io::stderr(), "{level}: {}", record.args());
        }
        fn flush(&self) {}
    }
    static LOG: Stderr = Stderr;
    if log::set_logger(&LOG).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
}
