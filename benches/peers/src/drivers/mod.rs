//! One process of a peer: it receives, or it does what lines on its stdin tell it. Every driver sends the same messages, checks them
//! by the same code and says the same lines.

mod aeron;
mod credit;
mod memcached;
mod nats;
mod redis;
mod text;
mod zmq;

use std::io::{self, BufRead, Write};
use std::thread;
use std::time::{Duration, Instant};

pub use credit::PAGE_BYTES;
use credit::{Slot, Window};

use crate::clock::monotonic_ns;
use crate::shared::payload::{Checks, Source};
use crate::shared::protocol::{Said, Sent, Written};

/// What a process is told when it starts.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// Which peer.
    pub peer: String,
    /// `send`, `receive`, `relay` or `write`.
    pub role: String,
    /// Its number: 0 sends.
    pub number: usize,
    /// How many processes of drivers there are.
    pub members: usize,
    /// Length of a message.
    pub bytes: usize,
    /// Ports that nobody else uses; a server listens on the first.
    pub ports: Vec<u16>,
    /// Where the shared page is, if there is to be a window.
    pub credit: Option<String>,
    /// A directory that is removed after the run.
    pub dir: String,
}

impl Job {
    /// Of words `key=value`.
    pub fn parse(peer: &str, role: &str, words: &[String]) -> io::Result<Job> {
        let mut job = Job { peer: peer.to_owned(), role: role.to_owned(), ..Job::default() };
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| invalid(word))?;
            let number = || value.parse::<usize>().map_err(|_| invalid(word));
            match key {
                "number" => job.number = number()?,
                "members" => job.members = number()?,
                "bytes" => job.bytes = number()?,
                "ports" => {
                    let ports = value.split(',').map(|port| port.parse::<u16>().map_err(|_| invalid(word)));
                    job.ports = ports.collect::<io::Result<_>>()?;
                }
                "credit" => job.credit = Some(value.to_owned()),
                "dir" => job.dir = value.to_owned(),
                _ => return Err(invalid(word)),
            }
        }
        Ok(job)
    }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("not understood: {text}"))
}

/// Runs until stdin ends, or for ever: whoever started it ends it.
pub fn run(job: &Job) -> io::Result<()> {
    match (job.peer.as_str(), job.role.as_str()) {
        ("nats", "send") => send(job, nats::publisher(job)?),
        ("nats", "receive") => nats::receive(job),
        ("redis", "send") => send(job, redis::publisher(job)?),
        ("redis", "receive") => redis::receive(job),
        ("redis", "write") => redis::write(job),
        ("memcached", "write") => memcached::write(job),
        (peer, role) if peer.starts_with("zmq") => zmq::run(job, role),
        (peer, role) if peer.starts_with("aeron") => aeron::run(job, role),
        (peer, role) => Err(invalid(&format!("{peer} {role}"))),
    }
}

/// Where messages go.
trait Publish {
    /// Hands one over; it may wait in a batch.
    fn publish(&mut self, message: &[u8]) -> io::Result<()>;
    /// Sends what waits.
    fn flush(&mut self) -> io::Result<()>;
}

/// Says that it is ready, and sends as it is told: `stream BYTES MS EVERY_US WINDOW_BYTES`.
fn send(job: &Job, mut to: impl Publish) -> io::Result<()> {
    let mut window = job.credit.as_deref().map(|path| Window::open(path, 1..job.members)).transpose()?;
    say(&Said::Linked)?;
    for order in orders() {
        match &order?.split(' ').map(|word| word.parse::<u64>().unwrap_or(0)).collect::<Vec<_>>()[..] {
            [_, bytes, ms, every_us, window_bytes] => {
                let order =
                    Stream { bytes: *bytes as usize, ms: *ms, every_us: *every_us, window_bytes: *window_bytes };
                let sent = stream(&mut to, window.as_mut(), &order)?;
                say(&Said::Sent(sent))?;
            }
            other => return Err(invalid(&format!("{other:?}"))),
        }
    }
    Ok(())
}

fn orders() -> impl Iterator<Item = io::Result<String>> {
    io::stdin().lock().lines()
}

struct Stream {
    bytes: usize,
    ms: u64,
    every_us: u64,
    window_bytes: u64,
}

fn stream(to: &mut impl Publish, mut window: Option<&mut Window>, order: &Stream) -> io::Result<Sent> {
    let size = (order.window_bytes / order.bytes as u64).max(16);
    let mut message = vec![0x5a; order.bytes];
    let mut source = Source::new(0, order.bytes, order.ms, order.every_us > 0);
    let mut due = Instant::now();
    while !source.ended() {
        if order.every_us > 0 {
            due += Duration::from_micros(order.every_us);
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        source.fill(&mut message);
        to.publish(&message)?;
        let is_free = window.as_mut().is_none_or(|window| window.take(size));
        if order.every_us > 0 || !is_free {
            to.flush()?;
        }
        if let Some(window) = window.as_mut().filter(|_| !is_free) {
            window.wait(size);
        }
    }
    to.flush()?;
    Ok(source.sent())
}

/// What a receiver does with messages.
struct Sink {
    checks: Checks,
    slot: Slot,
    count: u64,
}

impl Sink {
    fn new(job: &Job) -> io::Result<Sink> {
        Ok(Sink { checks: Checks::default(), slot: Slot::open(job.credit.as_deref(), job.number)?, count: 0 })
    }

    /// Checks one, and says what came when it was the last one.
    fn take(&mut self, message: &[u8]) -> io::Result<()> {
        self.count += 1;
        match self.checks.take(message) {
            Some(received) => {
                // Nobody waits for more before the window says so.
                self.tell();
                say(&Said::Received(received))
            }
            None => Ok(()),
        }
    }

    /// Opens the sender's window again for what has come.
    fn tell(&self) {
        self.slot.tell(self.count);
    }
}

/// Keeps a window of writes under way: `put` hands one over (key, value), `exchange` sends them and answers how many were
/// acknowledged since. Acknowledgements come in order.
fn write_loop<C>(
    client: &mut C, put: fn(&mut C, usize, &[u8]) -> io::Result<()>, exchange: fn(&mut C) -> io::Result<usize>,
) -> io::Result<()> {
    say(&Said::Linked)?;
    for order in orders() {
        let words: Vec<u64> = order?.split(' ').map(|word| word.parse().unwrap_or(0)).collect();
        let [_, bytes, ms, window] = words[..] else { return Err(invalid(&format!("{words:?}"))) };
        let mut value = vec![0x5a; bytes as usize];
        let mut asked = std::collections::VecDeque::new();
        let mut written = Written { first_ns: monotonic_ns(), ..Written::default() };
        let until = written.first_ns + ms * 1_000_000;
        let (mut next, mut now) = (0, written.first_ns);
        while now < until || !asked.is_empty() {
            while now < until && asked.len() < window as usize {
                value[..8].copy_from_slice(&u64::to_le_bytes(next));
                asked.push_back(monotonic_ns());
                put(client, (next % KEYS) as usize, &value)?;
                next += 1;
            }
            let done = exchange(client)?;
            now = monotonic_ns();
            for _ in 0..done {
                let at = asked.pop_front().ok_or_else(|| io::Error::other("more answers than questions"))?;
                written.latency.note(now.saturating_sub(at));
                written.writes += 1;
            }
        }
        written.last_ns = now;
        say(&Said::Written(written))?;
    }
    Ok(())
}

/// So many keys are written in turn, as many as our bench changes sessions in turn.
const KEYS: u64 = 64;

/// One line to whoever started it.
fn say(said: &Said) -> io::Result<()> {
    let mut line = serde_json::to_string(said)?;
    line.push('\n');
    io::stdout().write_all(line.as_bytes())
}
