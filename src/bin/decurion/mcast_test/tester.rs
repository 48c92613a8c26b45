//! One tester at work: sends at its rate, and listens between.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use decurion::runtime::multicast::{GroupSocket, Outgoing};
use decurion::types::limits;
use decurion::wire::probe::Probe;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::super::output::{Exit, Failure, Output};
use super::Plan;
use super::matrix::Matrix;

/// After a pause, no more than what was due in this time is sent at once.
const CATCH_UP: Duration = Duration::from_millis(50);
/// Datagrams that are taken before the next probe has its turn.
const TURN: usize = 256;

/// A tester and all that it has learnt.
#[derive(Debug)]
pub struct Tester {
    pub plan: Plan,
    pub socket: GroupSocket,
    pub matrix: Matrix,
    /// Probes that the system took, and those for which it had no room.
    pub sent: u64,
    pub unsent: u64,
    pub ran: Duration,
    poll: Poll,
    begun: Instant,
    over: Arc<AtomicBool>,
}

impl Tester {
    pub fn new(plan: Plan, socket: GroupSocket) -> Result<Tester, Failure> {
        let environment = |error: io::Error| Failure::new(Exit::Environment, format!("cannot wait: {error}"));
        let poll = Poll::new().map_err(environment)?;
        let registry = poll.registry();
        registry.register(&mut SourceFd(&socket.as_raw_fd()), Token(0), Interest::READABLE).map_err(environment)?;
        let over = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, over.clone()).map_err(environment)?;
        }
        let (matrix, begun) = (Matrix::new(plan.id, plan.rate), Instant::now());
        Ok(Tester { plan, socket, matrix, sent: 0, unsent: 0, ran: Duration::ZERO, poll, begun, over })
    }

    /// Tests for as long as it was told to, or until a signal comes.
    pub fn run(&mut self, output: &Output) -> Result<(), Failure> {
        let (period, end) = (Duration::from_secs(1) / self.plan.rate, self.begun + self.plan.lasts);
        let (mut next, mut events, mut more) = (self.begun, Events::with_capacity(4), false);
        loop {
            let now = Instant::now();
            if now >= end || self.over.load(Ordering::Relaxed) {
                break;
            }
            next = next.max(now.checked_sub(CATCH_UP).unwrap_or(now));
            while next <= now {
                self.send();
                next += period;
            }
            let wait = if more { Duration::ZERO } else { next.min(end).saturating_duration_since(Instant::now()) };
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(Failure::new(Exit::Environment, format!("cannot wait: {error}")));
                }
                _ => {}
            }
            if more || !events.is_empty() {
                more = self.receive(output);
            }
        }
        // What is still in the socket was heard in time.
        self.receive(output);
        self.ran = self.begun.elapsed();
        Ok(())
    }

    fn now_us(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    fn send(&mut self) {
        let (number, now_us) = (self.sent + 1, self.now_us());
        let length = self.plan.length(number);
        let mut probe = Probe {
            tester: self.plan.id,
            name: self.plan.name.clone(),
            number,
            sent_us: now_us,
            largest: self.plan.bytes as u32,
            sightings: Vec::new(),
        };
        self.matrix.tell(&mut probe, length, now_us);
        match self.socket.send(&[Outgoing { head: &probe.encode(length), body: &[] }]) {
            0 => self.unsent += 1,
            _ => self.sent = number,
        }
    }

    /// Takes what waits; answers whether more may.
    fn receive(&mut self, output: &Output) -> bool {
        let mut received = Vec::new();
        let more = self.socket.receive(TURN, &mut || BytesMut::with_capacity(limits::CHUNK_BYTES), &mut received);
        let at_us = self.now_us();
        for datagram in received {
            if let Some(first) = self.matrix.take(datagram.from, &datagram.bytes, at_us) {
                self.say_heard(first, output);
            }
        }
        more
    }

    fn say_heard(&self, tester: u64, output: &Output) {
        let Some(known) = self.matrix.testers.get(&tester) else { return };
        let Some(heard) = &known.heard else { return };
        let name = known.name.as_str();
        let own = if tester == self.plan.id { " (this one)" } else { "" };
        output.say(&format!("heard {name}{own} from {}", heard.from));
        output.line(
            "heard",
            json!({
                "name": known.name.as_str(),
                "tester": format!("{tester:016x}"),
                "from": heard.from.to_string(),
                "at_ms": self.begun.elapsed().as_millis() as u64,
            }),
        );
    }
}
