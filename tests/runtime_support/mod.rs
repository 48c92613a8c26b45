//! Real engines on loopback, and what their hosts have seen of them.
#![allow(dead_code)] // each test file uses a part of it

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use decurion::{Code, Config, Ended, Engine, Event, Incarnation, Level, Mode, Result, To, View};

/// Longer than anything here may take; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A member in this process that the test polls.
pub struct Node {
    pub engine: Engine,
    pub seen: Seen,
}

/// What a host has taken, in order.
#[derive(Default)]
pub struct Seen {
    pub views: Vec<std::sync::Arc<View>>,
    /// Payloads by sender's name; each stream is checked for gaps and repeats on the way.
    pub messages: BTreeMap<String, Vec<Vec<u8>>>,
    /// What has its place in one order of all: who sent it, and the payload.
    pub ordered: Vec<(String, Vec<u8>)>,
    last: BTreeMap<(Incarnation, bool), u64>,
    me: Option<Incarnation>,
    pub others: Vec<Event>,
    pub closed: Option<Ended>,
}

impl Seen {
    pub fn take(&mut self, event: Event) {
        assert!(self.closed.is_none(), "nothing follows Closed, but {event:?} did");
        match event {
            Event::Messages(run) => {
                let me = self.me;
                let last = self.last.entry((run.sender.incarnation, run.direct)).or_insert(run.first - 1);
                for message in &run {
                    // Of one's own, only what has its place in the order comes.
                    let own = me == Some(run.sender.incarnation) && !run.direct;
                    let follows = if own { message.number > *last } else { message.number == *last + 1 };
                    assert!(follows, "{} after {last} from {}", message.number, run.sender.name);
                    *last = message.number;
                    if run.level != decurion::wire::batch::Level::Fifo {
                        self.ordered.push((run.sender.name.to_string(), message.payload.to_vec()));
                    }
                    let from = self.messages.entry(run.sender.name.to_string()).or_default();
                    from.push(message.payload.to_vec());
                }
            }
            Event::View(change) => {
                self.me = Some(change.view.members[change.me].incarnation);
                self.views.push(change.view);
            }
            Event::Closed { reason } => self.closed = Some(reason),
            other => self.others.push(other),
        }
    }

    pub fn from(&self, sender: &str) -> &[Vec<u8>] {
        self.messages.get(sender).map_or(&[], |m| &m[..])
    }

    pub fn members(&self) -> usize {
        self.views.last().map_or(0, |v| v.len())
    }
}

/// Settings of a member on loopback with the detector of the `lan` profile.
pub fn settings(name: &str, port: u16, seeds: &[SocketAddr]) -> Config {
    let mut config = Config::new();
    let seeds: Vec<String> = seeds.iter().map(SocketAddr::to_string).collect();
    let pairs = [
        ("node.name", name),
        ("node.bind", &format!("127.0.0.1:{port}")),
        ("cluster.seeds", &seeds.join(",")),
        ("cluster.name", "runtime-test"),
    ];
    for (key, value) in pairs {
        config.set(key, value).unwrap();
    }
    config
}

impl Node {
    pub fn open(name: &str, seeds: &[SocketAddr]) -> Node {
        Node::with(&settings(name, 0, seeds)).unwrap()
    }

    pub fn with(config: &Config) -> Result<Node> {
        Ok(Node { engine: Engine::open(config, Mode::Poll)?, seen: Seen::default() })
    }

    pub fn address(&self) -> SocketAddr {
        self.engine.local_address()
    }

    pub fn name(&self) -> String {
        self.engine.name().to_string()
    }

    /// Takes what is there, waiting `timeout` for the first event.
    pub fn pump(&mut self, timeout: Duration) {
        if self.seen.closed.is_some() {
            return;
        }
        let mut events = Vec::new();
        self.engine.poll(&mut events, 256, timeout).unwrap();
        events.drain(..).for_each(|event| self.seen.take(event));
    }

    /// Sends to everybody, waiting for room.
    pub fn send(&self, payload: &[u8]) {
        let code = self.engine.send(To::Everybody, Level::Fifo, 0, payload, PATIENCE).unwrap();
        assert_eq!(code, Code::Ok);
    }

    /// Sends to everybody if there is room.
    pub fn offer(&self, payload: &[u8]) -> bool {
        match self.engine.send(To::Everybody, Level::Fifo, 0, payload, Duration::ZERO).unwrap() {
            Code::Ok => true,
            Code::Again => false,
            other => panic!("{}: {other:?}", self.name()),
        }
    }

    pub fn incarnation(&self) -> Incarnation {
        let snapshot = self.engine.view().expect("in a view");
        snapshot.view.members[snapshot.me].incarnation
    }
}

/// Polls all nodes until `done`.
pub fn wait_until(nodes: &mut [&mut Node], what: &str, mut done: impl FnMut(&[&mut Node]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for node in nodes.iter_mut() {
            node.pump(Duration::ZERO);
        }
        if done(nodes) {
            return;
        }
        if Instant::now() >= deadline {
            let states: Vec<_> = nodes.iter().map(|n| (n.name(), n.seen.members(), n.seen.closed.clone())).collect();
            panic!("waited in vain for: {what}; views and ends: {states:?}");
        }
        // Waits for the first node's next event, or a moment for the others'.
        nodes[0].pump(Duration::from_millis(1));
    }
}

/// Waits until all of `nodes` are in one view of exactly `members` members.
pub fn wait_view(nodes: &mut [&mut Node], members: usize) {
    wait_until(nodes, &format!("one view of {members}"), |nodes| {
        let first = nodes[0].seen.views.last().map(|v| v.id);
        nodes.iter().all(|n| n.seen.members() == members && n.seen.views.last().map(|v| v.id) == first)
    });
}

/// So many members named m0, m1, …, in one view. All but the first join at the first.
pub fn cluster(count: usize) -> Vec<Node> {
    let mut nodes = vec![Node::open("m0", &[])];
    let seed = nodes[0].address();
    nodes.extend((1..count).map(|i| Node::open(&format!("m{i}"), &[seed])));
    wait_view(&mut nodes.iter_mut().collect::<Vec<_>>(), count);
    nodes
}

/// A port that was free for both transports a moment ago.
pub fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
