//! The calls that send.

use std::time::{Duration, Instant};

use decurion::{Code, Config, Engine, Event, Level, Mode, To};

use super::{How, Piece, Work};

/// Messages of a round: they fit the queue.
const BURST: u64 = 4_000;
const PAYLOAD: [u8; 64] = [7; 64];
/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Messages of one call.
const TOGETHER: usize = 100;

pub const PIECES: &[Piece] = &[
    Piece::new("send_call_64", "call", BURST, 4, send_call),
    Piece::new("send_many_64", "message", BURST, 4, send_many),
];

fn send_call(how: How) -> Work {
    beside_an_engine(how, |engine| (0..BURST).for_each(|_| send(engine)))
}

fn send_many(how: How) -> Work {
    let messages = [&PAYLOAD[..]; TOGETHER];
    beside_an_engine(how, move |engine| {
        for _ in 0..BURST as usize / TOGETHER {
            let (accepted, answer) = engine.send_many(To::Everybody, Level::Fifo, 0, &messages, Duration::ZERO);
            assert!(accepted == TOGETHER && answer.is_ok(), "a burst fits the queue");
        }
    })
}

/// Sends while the engine is awake: one message that is not measured wakes it. A thread of its own takes what is sent when the call is
/// timed; when instructions are counted that would make them differ from run to run, so the engine is turned between rounds.
fn beside_an_engine(how: How, burst: impl Fn(&Engine) + 'static) -> Work {
    let mut config = Config::new();
    for (key, value) in [("node.bind", "127.0.0.1:0"), ("cluster.name", "bench"), ("node.name", "alone")] {
        config.set(key, value).expect("a setting");
    }
    let mode = if how == How::Counted { Mode::Loop } else { Mode::Poll };
    let mut host = Host { engine: Engine::open(&config, mode).expect("a port on loopback"), how, sent: 0 };
    host.until("a view", |_, events| events.iter().any(|event| matches!(event, Event::Ready { .. })));
    Box::new(move |meter| {
        host.until("an empty queue", |host, _| host.engine.stats().messages_sent == host.sent);
        send(&host.engine);
        meter.inside(|| burst(&host.engine));
        host.sent += BURST + 1;
    })
}

fn send(engine: &Engine) {
    let code = engine.send(To::Everybody, Level::Fifo, 0, &PAYLOAD, Duration::ZERO);
    assert_eq!(code.expect("the engine is open"), Code::Ok, "a burst fits the queue");
}

struct Host {
    engine: Engine,
    how: How,
    sent: u64,
}

impl Host {
    /// Takes events until there is what is waited for.
    fn until(&mut self, what: &str, mut done: impl FnMut(&Host, &[Event]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut events = Vec::new();
        while !done(self, &events) {
            assert!(Instant::now() < deadline, "waited in vain for {what}");
            if self.how == How::Counted {
                self.engine.turn().expect("the engine is open");
            }
            events.clear();
            self.engine.poll(&mut events, 64, Duration::from_millis(1)).expect("the engine is open");
        }
    }
}
