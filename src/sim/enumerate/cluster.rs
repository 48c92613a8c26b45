//! A small cluster that can be copied: its members, what is under way between them, and what may still happen to them.
//!
//! It does for [`Member`] what the world does, with whole frames instead of bytes and with choices instead of chance.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;

use super::carrier::{Datagram, End, Pipe, Unit};
use super::cases::{Case, Trigger};
use super::choice::Todo;
use super::sessions::Visits;
use crate::core::{CloseCause, Ended, Event, Input, Member, Outbox, Output, Payload, Plant, Setup, To, ViewChange};
use crate::sim::check::{Guarantee, Ledger};
use crate::sim::network::{address_of, host_of};
use crate::sim::payload::payload;
use crate::sim::random::fold;
use crate::sim::world::seed_of;
use crate::types::{Code, ConnId, Incarnation, Name, Time, View};
use crate::wire::batch::Level;

/// Members of a small cluster.
pub(super) const NODES: usize = 3;
/// Rounds of outputs in one turn after which a member is said not to come to rest.
const ROUNDS: usize = 1_000;
/// What hosts send.
const MESSAGE_BYTES: usize = 16;

/// A member, its host, and what they know of connections.
#[derive(Clone)]
pub(super) struct Node {
    pub member: Option<Box<Member>>,
    pub outbox: Outbox,
    /// Its number in the ledger.
    process: u16,
    unconsumed: usize,
    fingerprint: u64,
}

/// What a step touched. What is done from outside to anything else could have been done before that step as well.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Touched {
    pub nodes: [bool; NODES],
    pub all: bool,
}

/// All there is at one moment. Copies share what does not differ.
#[derive(Clone)]
pub(super) struct Cluster {
    pub now: u64,
    pub nodes: Vec<Arc<Node>>,
    pub pipes: Vec<Pipe>,
    pub datagrams: VecDeque<Datagram>,
    pub ledger: Arc<Ledger>,
    /// Processes that have ended.
    gone: usize,
    /// What hosts do with a session, if the case is about one.
    pub visits: Option<Visits>,
    /// At which level hosts send.
    pub level: Level,
    /// What may still be done to it.
    pub todo: Todo,
    /// What the last step touched: nodes, and connections.
    pub touched: Touched,
    /// A line for each thing that happens, if somebody wants to read it.
    pub story: Option<Vec<String>>,
    setups: Arc<Vec<Setup>>,
}

impl Cluster {
    /// Three configured members that know each other and vote; no process runs.
    pub fn new(plant: Option<Plant>, adjust: impl Fn(&mut Setup)) -> Cluster {
        let seeds: Vec<_> = (0..NODES).map(|node| seed_of(&name_of(node), node as u16)).collect();
        let setup = |node: usize| {
            // Incarnations that differ in what is printed of them.
            let incarnation = Incarnation((node as u128 + 1) << 96);
            let mut setup = Setup::new("small", &name_of(node), incarnation, address_of(node as u16));
            setup.seeds = seeds.clone();
            setup.voters = (0..NODES).map(|node| Name::new(&name_of(node))).collect();
            setup.random = node as u64;
            setup.join_timeout = 0;
            setup.gather = 0;
            setup.stable_events = true;
            setup.plant = plant;
            adjust(&mut setup);
            setup
        };
        let setups: Vec<Setup> = (0..NODES).map(setup).collect();
        let node = |setup: &Setup| Node {
            member: None,
            outbox: Outbox::new(setup.send_queue_bytes, setup.message_bytes),
            process: u16::MAX,
            unconsumed: 0,
            fingerprint: 0,
        };
        Cluster {
            now: 1_000_000,
            nodes: setups.iter().map(|setup| Arc::new(node(setup))).collect(),
            pipes: Vec::new(),
            datagrams: VecDeque::new(),
            ledger: Arc::default(),
            gone: 0,
            visits: None,
            level: Level::Fifo,
            todo: Todo::default(),
            touched: Touched::default(),
            story: None,
            setups: Arc::new(setups),
        }
    }

    pub fn node(&mut self, at: usize) -> &mut Node {
        self.touched.nodes[at] = true;
        Arc::make_mut(&mut self.nodes[at])
    }

    pub fn ledger(&mut self) -> &mut Ledger {
        let ledger = Arc::make_mut(&mut self.ledger);
        ledger.now = self.now;
        ledger
    }

    pub fn member(&self, at: usize) -> Option<&Member> {
        self.nodes[at].member.as_deref()
    }

    pub fn violate(&mut self, guarantee: Guarantee, text: String) {
        self.ledger().violate(guarantee, text);
    }

    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(format!("{:>10.3} ms    {}", self.now as f64 / 1_000.0, line()));
        }
    }

    /// Starts the process of a node.
    pub fn start(&mut self, at: usize) {
        let (setup, now) = (self.setups[at].clone(), self.now);
        let process = self.ledger().start(at as u16);
        let node = self.node(at);
        node.process = process;
        node.member = Some(Box::new(Member::new(setup, Time(now))));
        self.settle(at);
    }

    /// The process ends. Its kernel still delivers what was written, then tells the others.
    pub fn crash(&mut self, at: usize) {
        self.note_lost_sessions(at);
        self.node(at).member = None;
        self.gone += 1;
        if self.gone * 2 > NODES {
            self.ledger().forgotten();
        }
        for pipe in &mut self.pipes {
            for end in [0, 1] {
                if pipe.ends[end].open && pipe.ends[end].node == at {
                    pipe.forget(end);
                    pipe.push(1 - end, Unit::Gone(CloseCause::Peer));
                }
            }
        }
        self.pipes.retain(|pipe| !pipe.is_over());
        self.after_turn(at);
    }

    /// A host sends a message to everybody. Says whether it was accepted.
    pub fn send(&mut self, at: usize) -> bool {
        let process = self.nodes[at].process;
        let token = self.ledger().next_token(process, To::Everybody);
        let level = self.level;
        let payload = payload(token, MESSAGE_BYTES);
        let code = self.node(at).outbox.push(To::Everybody, level, token.pack(), Payload::Borrowed(&payload));
        if code == Code::Ok {
            self.ledger().accepted(token, level, MESSAGE_BYTES);
        }
        self.tell(|| format!("n{at} sends {token}: {code:?}"));
        self.settle(at);
        code == Code::Ok
    }

    /// Tells a member what happened, and does all that it wants done.
    pub fn input(&mut self, at: usize, input: Input<'_>) {
        let now = Time(self.now);
        if let Some(member) = &mut self.node(at).member {
            member.handle(now, input);
        }
        self.settle(at);
    }

    /// The next unit of a way reaches its end.
    pub fn deliver(&mut self, pipe: usize, end: usize) {
        let End { node: at, conn, .. } = self.pipes[pipe].ends[end];
        let Some(unit) = self.pipes[pipe].take(end) else { return };
        let from = self.pipes[pipe].ends[1 - end].node;
        self.tell(|| format!("n{at} gets from n{from}: {}", super::choice::describe(&unit)));
        match unit {
            Unit::Connected => self.input(at, Input::Connected(conn)),
            Unit::Gone(cause) => {
                self.pipes[pipe].forget(end);
                self.pipes.retain(|pipe| !pipe.is_over());
                self.input(at, Input::Closed(conn, cause));
            }
            Unit::Frame(bytes) => {
                let space = self.node(at).member.as_mut().and_then(|member| member.receive_space(conn));
                if let Some(space) = space {
                    space.extend_from_slice(&bytes);
                    self.input(at, Input::Received(conn));
                }
            }
        }
    }

    /// The datagram that was sent first reaches its member, if that still runs.
    pub fn deliver_datagram(&mut self) {
        let Some(Datagram { from, to, bytes }) = self.datagrams.pop_front() else { return };
        if self.nodes[to].member.is_some() {
            self.input(to, Input::Datagram { from: address_of(from as u16), bytes: &bytes });
        }
    }

    /// When the next member wants to be woken, and which.
    pub fn next_deadline(&self) -> Option<(Time, usize)> {
        let deadlines = (0..NODES).filter_map(|at| Some((self.member(at)?.deadline(), at)));
        deadlines.min().filter(|(deadline, _)| *deadline != Time::NEVER)
    }

    /// Time passes until somebody's deadline.
    pub fn pass_time(&mut self) {
        let Some((deadline, at)) = self.next_deadline() else { return };
        self.now = self.now.max(deadline.0);
        self.touched.all = true;
        self.tell(|| format!("n{at} wakes"));
        self.input(at, Input::Wake);
    }

    pub fn settle(&mut self, at: usize) {
        for round in 0.. {
            let now = Time(self.now);
            let node = self.node(at);
            let Some(member) = &mut node.member else { return };
            member.exchange(now, &mut node.outbox);
            let mut busy = false;
            let mut transmit = Vec::new();
            while let Some(output) = self.node(at).member.as_mut().and_then(|member| member.poll()) {
                busy = true;
                self.perform(at, output, &mut transmit);
            }
            transmit.into_iter().for_each(|conn| self.pump(at, conn));
            let node = self.node(at);
            if node.unconsumed > 0 {
                let bytes = std::mem::take(&mut node.unconsumed);
                busy = true;
                if let Some(member) = &mut node.member {
                    member.handle(now, Input::Consumed { bytes });
                }
            }
            if !busy {
                break;
            }
            if round == ROUNDS {
                self.violate(Guarantee::V4, format!("n{at} does not come to rest"));
                break;
            }
        }
        self.after_turn(at);
    }

    fn perform(&mut self, at: usize, output: Output, transmit: &mut Vec<ConnId>) {
        match output {
            Output::Dial { conn, to } => self.dial(at, conn, host_of(to).map(usize::from)),
            Output::Transmit(conn) => transmit.push(conn),
            Output::Close(conn) => self.close(at, conn),
            Output::Datagram { to, bytes } => {
                if let Some(to) = host_of(to).map(usize::from).filter(|to| *to < NODES) {
                    self.datagrams.push_back(Datagram { from: at, to, bytes });
                }
            }
            // The seeds are addresses: nothing is looked up. There is no multicast.
            Output::Resolve { .. } | Output::Multicast => {}
            Output::Event(event) => self.host_event(at, &event),
        }
    }

    /// The host that is dialled accepts at once; the dialler learns of it later, or that nobody listens.
    fn dial(&mut self, at: usize, conn: ConnId, to: Option<usize>) {
        let Some(to) = to.filter(|to| *to < NODES) else { return };
        let now = Time(self.now);
        self.tell(|| format!("n{at} dials n{to}"));
        let dialler = End { node: at, conn, open: true };
        let listens = self.nodes[to].member.is_some();
        let accepted = self.node(to).member.as_mut().and_then(|member| member.accept(now, address_of(at as u16)));
        let other = End { node: to, conn: accepted.unwrap_or(ConnId(0)), open: accepted.is_some() };
        let first = match (listens, accepted) {
            (_, Some(_)) => Unit::Connected,
            (true, None) => Unit::Gone(CloseCause::Peer),
            (false, None) => Unit::Gone(CloseCause::Refused),
        };
        let ways = [VecDeque::from([first]), VecDeque::new()];
        self.pipes.push(Pipe { ends: [dialler, other], ways, touched: true, slow: [false; 2] });
        self.take_fingerprint(to);
    }

    fn find(&self, at: usize, conn: ConnId) -> Option<(usize, usize)> {
        let is_it = |end: &End| end.open && end.node == at && end.conn == conn;
        self.pipes.iter().enumerate().find_map(|(pipe, p)| Some((pipe, p.ends.iter().position(is_it)?)))
    }

    /// Writes everything that a connection has waiting, frame by frame.
    fn pump(&mut self, at: usize, conn: ConnId) {
        let Some((pipe, end)) = self.find(at, conn) else { return };
        let Some(member) = self.nodes[at].member.as_deref() else { return };
        let mut slices = Vec::new();
        member.to_write(conn, usize::MAX, &mut slices);
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        let frames: Vec<Bytes> = slices.into_iter().map(Bytes::copy_from_slice).collect();
        frames.into_iter().for_each(|frame| self.pipes[pipe].push(1 - end, Unit::Frame(frame)));
        let now = Time(self.now);
        if let Some(member) = &mut self.node(at).member {
            member.wrote(now, conn, bytes);
        }
    }

    fn close(&mut self, at: usize, conn: ConnId) {
        self.pump(at, conn);
        let Some((pipe, end)) = self.find(at, conn) else { return };
        self.pipes[pipe].forget(end);
        self.pipes[pipe].push(1 - end, Unit::Gone(CloseCause::Peer));
        self.pipes.retain(|pipe| !pipe.is_over());
    }

    fn host_event(&mut self, at: usize, event: &Event) {
        self.tell(|| format!("n{at}: {}", super::choice::describe_event(event)));
        self.node(at).unconsumed += event.cost();
        let process = self.nodes[at].process;
        match event {
            Event::View(change) => self.check_view(at, change),
            Event::Session(answer) => self.answered(at, answer),
            Event::Expelled { view, why } if !self.leaves(at) => {
                self.violate(Guarantee::V7, format!("n{at} is removed from {view:?} though it lives: {why}"));
            }
            Event::Fault { what, .. } => {
                self.violate(Guarantee::D1, format!("n{at} is sent what it must not be: {what}"))
            }
            _ => {}
        }
        if matches!(
            event,
            Event::Messages(_)
                | Event::Transition { .. }
                | Event::View(_)
                | Event::Returned { .. }
                | Event::Stable { .. }
                | Event::Expelled { .. }
        ) {
            self.ledger().event(process, event);
        }
    }

    /// Nobody is left out who is well.
    fn check_view(&mut self, at: usize, change: &ViewChange) {
        let view = &change.view;
        for left in &change.left {
            let lives = |other: &usize| self.member(*other).is_some_and(|m| m.incarnation() == left.incarnation);
            if let Some(well) = (0..NODES).filter(|other| !self.leaves(*other)).find(lives) {
                self.violate(Guarantee::V7, format!("n{at} installs {:?} without n{well}", view.id));
            }
        }
    }

    /// Whether this is the node that was asked to leave.
    fn leaves(&self, at: usize) -> bool {
        self.todo.left == Some(at)
    }

    fn after_turn(&mut self, at: usize) {
        if let Some(reason) = self.member(at).and_then(Member::ended).cloned() {
            if !(self.leaves(at) && matches!(reason, Ended::Left | Ended::LeftUnheard)) {
                self.violate(Guarantee::V7, format!("n{at} has ended: {reason:?}"));
            }
            return self.crash(at);
        }
        if let Some(Err(text)) = self.member(at).map(Member::check) {
            self.violate(Guarantee::D5, format!("n{at}: {text}"));
        }
        self.check_primary();
        self.take_fingerprint(at);
    }

    /// Members that act as primary in fenced views are all in the same one.
    fn check_primary(&mut self) {
        let now = Time(self.now);
        let acting = (0..NODES).filter_map(|at| {
            let member = self.member(at)?;
            let (view, _) = member.view()?;
            (view.fenced && member.is_primary(now)).then_some(view.id)
        });
        let mut ids: Vec<_> = acting.collect();
        ids.dedup();
        if ids.len() > 1 {
            self.violate(Guarantee::V3, format!("{ids:?} are primary at once"));
        }
    }

    /// The view of all that run, if they are in the same one and it holds nobody else.
    pub fn common_view(&self) -> Option<Arc<View>> {
        let mut living = (0..NODES).filter_map(|at| self.member(at));
        let (view, _) = living.next()?.view()?;
        let same = living.clone().all(|member| member.view().is_some_and(|(other, _)| other.id == view.id));
        (same && view.len() == living.count() + 1).then(|| view.clone())
    }

    /// Whether all that run are in one view of them, ready and primary.
    pub fn is_converged(&self) -> bool {
        let Some(view) = self.common_view() else { return false };
        let now = Time(self.now);
        view.members.iter().all(|member| member.ready)
            && (0..NODES).filter_map(|at| self.member(at)).all(|member| !view.fenced || member.is_primary(now))
    }

    /// Whether nothing is under way.
    pub fn is_silent(&self) -> bool {
        self.datagrams.is_empty() && self.pipes.iter().all(|pipe| pipe.ways.iter().all(VecDeque::is_empty))
    }

    /// Numbers in the ledger of the processes that run.
    pub fn processes(&self) -> Vec<u16> {
        self.nodes.iter().filter(|node| node.member.is_some()).map(|node| node.process).collect()
    }

    fn take_fingerprint(&mut self, at: usize) {
        let node = self.node(at);
        node.fingerprint = node.member.as_ref().map_or(0, |member| {
            let mut state = Fold::default();
            node.outbox.hash(&mut state);
            fold(state.finish(), member.fingerprint::<Fold>())
        });
    }

    /// A number for everything that may make a difference from here on.
    pub fn fingerprint(&self) -> u64 {
        let mut state = Fold::default();
        self.now.hash(&mut state);
        self.nodes.iter().for_each(|node| state.write_u64(node.fingerprint));
        // Connections have no order that means anything.
        state.write_u64(self.pipes.iter().fold(0, |sum, pipe| sum.wrapping_add(self.fingerprint_of(pipe))));
        self.datagrams.hash(&mut state);
        (&self.ledger, self.gone).hash(&mut state);
        (&self.todo, &self.visits).hash(&mut state);
        state.finish()
    }

    fn fingerprint_of(&self, pipe: &Pipe) -> u64 {
        let mut state = Fold::default();
        pipe.slow.hash(&mut state);
        for (end, way) in pipe.ends.iter().zip(&pipe.ways) {
            let known = self.member(end.node).filter(|_| end.open);
            let conn = known.map_or(0, |member| member.connection_fingerprint::<Fold>(end.conn));
            (end.node, end.open, conn, way).hash(&mut state);
        }
        state.finish()
    }
}

/// Begins what a case is about.
pub(super) fn begin(cluster: &mut Cluster, case: &Case) {
    match case.trigger {
        Trigger::Join(at) => cluster.start(at),
        Trigger::Leave(at) => {
            cluster.todo.left = Some(at);
            cluster.tell(|| format!("n{at} leaves"));
            cluster.input(at, Input::Leave);
        }
        Trigger::Crash(at) => {
            cluster.tell(|| format!("n{at} crashes"));
            cluster.crash(at);
        }
        Trigger::Form => (0..NODES).for_each(|at| cluster.start(at)),
        Trigger::Visit(at) => cluster.visit(at),
    }
}

fn name_of(node: usize) -> String {
    format!("n{node}")
}

/// Hashes words with the simulator's fold, so that fingerprints are the same on every machine and in every run.
#[derive(Default)]
pub(super) struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.0 = fold(self.0, u64::from_le_bytes(word.try_into().expect("eight bytes")));
        }
        let rest = words.remainder();
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.0 = fold(self.0, u64::from_le_bytes(word) ^ (rest.len() as u64) << 56);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = fold(self.0, word);
    }
}
