//! `decurion node`: one member, its events as lines, a file or stdin sent to everybody, what comes stored or shown.

mod lines;
mod send;
mod store;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use decurion::api::{Code, Ended, Event, Messages};
use decurion::{Engine, Mode};
use serde_json::json;
use signal_hook::consts::SIGUSR1;

use crate::arguments::NodeArguments;
use crate::output::{Exit, Failure, Outcome, Output};
use crate::signals;
use store::Store;

/// After a signal the process is gone within five seconds: this is for the leave.
const LEAVE_PATIENCE: Duration = Duration::from_millis(4_500);
/// And this for closing and the last lines too.
const END_PATIENCE: Duration = Duration::from_millis(4_700);
/// How long a poll waits; nothing depends on it, since every event wakes it.
const POLL_WAIT: Duration = Duration::from_secs(1);

/// Runs the verb.
pub fn run(arguments: &NodeArguments, output: &Output) -> Outcome {
    let config = crate::config::read(&arguments.settings)?;
    write_log();
    let store = arguments.receive.as_deref().map(|to| Store::open(to, output)).transpose()?;
    let piece_bytes = send::piece_bytes(&config)?;
    let source = arguments.send.as_deref().map(|from| send::Source::open(from, piece_bytes)).transpose()?;
    let engine = Engine::open(&config, Mode::Poll)?;
    // Before the first line, which may find a stdout that takes nothing.
    let asked = watch_signals(&engine, output)?;
    let address = engine.local_address().to_string();
    output.say(&format!("{} listens at {address}", engine.name()));
    output.line("open", json!({ "name": engine.name().as_str(), "address": address }));
    let sending = source.map(|source| send::start(source, &engine, output)).transpose()?;
    let (begin, unsent) = sending.unzip();
    let (members, received) = (arguments.members, (0, 0));
    let mut node = Node { engine, output, store, begin, unsent, members, asked, received, broken: None };
    let ended = node.serve()?;
    node.finish(&ended)
}

struct Node<'a> {
    engine: Engine,
    output: &'a Output,
    store: Option<Store>,
    /// Told once there are enough members to send to.
    begin: Option<Sender<()>>,
    /// Has why it could not send, if it could not.
    unsent: Option<Receiver<Failure>>,
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
        let failure = self.failure(ended, &reason);
        let mut fields = json!({
            "reason": reason,
            "received_messages": self.received.0,
            "received_bytes": self.received.1,
            "stats": lines::stats(&self.engine.stats()),
        });
        match &failure {
            Some(failure) => fields["error"] = json!(failure.text),
            None if !self.asked.load(Ordering::Relaxed) => self.output.say("decurion: left without having been asked"),
            None => {}
        }
        self.output.summary(failure.is_none(), fields);
        Ok(failure.map_or(Exit::Fine, |failure| failure.exit))
    }

    /// What went wrong: in storing, in the cluster, or in sending.
    fn failure(&mut self, ended: &Ended, reason: &str) -> Option<Failure> {
        if self.broken.is_some() {
            return self.broken.take();
        }
        let exit = match ended {
            Ended::Left | Ended::LeftUnheard => return self.unsent.take()?.try_recv().ok(),
            Ended::Refused(_) => Exit::Usage,
            Ended::HostNotPolling | Ended::Failed(_) => Exit::Broken,
            Ended::JoinTimeout(_) => Exit::Deadline,
        };
        self.output.say(&format!("decurion: {reason}"));
        Some(Failure::new(exit, reason))
    }
}

/// SIGTERM, SIGINT and SIGHUP leave in order; a second one closes at once. SIGUSR1 prints the counters.
fn watch_signals(engine: &Engine, output: &Output) -> Result<Arc<AtomicBool>, Failure> {
    let asked = Arc::new(AtomicBool::new(false));
    let (engine, flag, counters) = (engine.clone(), asked.clone(), print_counters(engine, output)?);
    let heard = move |signal| {
        if signal == SIGUSR1 {
            // One that waits to be printed will be as new as this one.
            let _ = counters.try_send(());
            return;
        }
        if flag.swap(true, Ordering::Relaxed) {
            engine.close();
            return;
        }
        let engine = engine.clone();
        // Beside the watch, so that a second signal is heard meanwhile.
        let leave = move || {
            if engine.leave(LEAVE_PATIENCE).is_err() {
                engine.close();
            }
        };
        drop(spawn("end", end_in_time));
        drop(spawn("leave", leave));
    };
    signals::watch(&[SIGUSR1], heard)?;
    Ok(asked)
}

/// Prints the counters whenever it is told to, beside the watch for signals: stdout may take nothing.
fn print_counters(engine: &Engine, output: &Output) -> Result<Sender<()>, Failure> {
    let (wanted, wants) = crossbeam_channel::bounded(1);
    let (engine, output) = (engine.clone(), Output::new(output.is_json()));
    let work = move || {
        for () in wants {
            let stats = lines::stats(&engine.stats());
            if !output.is_json() {
                output.say(&format!("counters: {stats}"));
            }
            output.line("stats", stats);
        }
    };
    spawn("counters", work)?;
    Ok(wanted)
}

/// Ends the process if it is still there when its time is over. Who reads its stdout may have stopped, and then the main thread waits in
/// a write for ever, with what would end the process in order behind it.
fn end_in_time() {
    thread::sleep(END_PATIENCE);
    // SAFETY: the call takes no pointer and does not come back. It runs nothing at exit, which could wait for stdout as well.
    unsafe { libc::_exit(Exit::Fine as i32) };
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map(drop).map_err(|error| Failure::new(Exit::Environment, format!("cannot start a thread: {error}")))
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
