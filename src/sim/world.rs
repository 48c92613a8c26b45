//! The simulated world: a virtual clock, hosts, a network, and the members on them. One seed fixes everything that happens.
//!
//! Scenarios build a world, add nodes, start them, make faults by hand, and let time pass until something is true. The
//! checkers run after every step; [`World::violations`] holds what they found.

use std::net::SocketAddr;
use std::sync::Arc;

use super::check::{Checks, Guarantee, Ledger, Primaries, Violation};
use super::connection::Connection;
use super::faults::{FaultKind, Faults};
use super::load::Levels;
use super::lurking::Lurking;
use super::multicast::Reach;
use super::network::{Conditions, Network, address_of, host_of};
use super::node::{Node, State};
use super::queue::{Event, Queue};
use super::random::Random;
use super::story::Story;
use super::survey::Survey;
use super::trace::Trace;
use super::visitors::Visitor;
use crate::core::{Ended, Input, Marks, Member, Plant, Seed, Setup};
use crate::types::{Code, ConnId, Incarnation, Micros, Name, View, millis};

/// What a world is made of. Same settings, same run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// How many hosts there are; nodes take them in order, the rest are spare.
    pub hosts: usize,
    /// The network, until a scenario changes it.
    pub conditions: Conditions,
    /// How much of what hosts send to everybody is agreed or safe.
    pub levels: Levels,
    /// Least and greatest size of a connection's send buffer, in bytes.
    pub send_buffer_bytes: (usize, usize),
    /// A bug that every member carries.
    pub plant: Option<Plant>,
    /// Whether [`Node::seen`] keeps events.
    pub keep_events: bool,
    /// Whether all clocks start at the same moment, and the members' own draws are the same in every run.
    pub plain_clocks: bool,
}

impl Settings {
    /// A quiet local network with room for `hosts` hosts; events are kept.
    pub fn new(seed: u64, hosts: usize) -> Settings {
        Settings {
            seed,
            hosts,
            conditions: Conditions::LAN,
            levels: Levels::default(),
            send_buffer_bytes: (16 * 1024, 256 * 1024),
            plant: None,
            keep_events: true,
            plain_clocks: false,
        }
    }
}

/// Events at one moment of virtual time after which a run is given up: somebody does not come to rest.
const STEPS_AT_ONCE: u64 = 100_000;

/// Something that a scenario has scheduled.
pub(crate) type Action = Box<dyn FnOnce(&mut World) + Send>;

/// A simulated world.
pub struct World {
    pub(crate) now: u64,
    pub(crate) settings: Settings,
    pub(crate) queue: Queue,
    pub(crate) network: Network,
    pub(crate) reach: Reach,
    pub(crate) connections: Vec<Option<Box<Connection>>>,
    pub(crate) nodes: Vec<Node>,
    /// The node whose process listens on each host.
    pub(crate) listening: Vec<Option<u16>>,
    pub(crate) random: Random,
    /// Draws of the network's transport, apart from the scenario's.
    pub(crate) transport_random: Random,
    pub(crate) load_random: Random,
    /// Draws which messages go outside of streams.
    pub(crate) loose_random: Random,
    pub(crate) ledger: Ledger,
    pub(crate) primaries: Primaries,
    pub(crate) faults: Faults,
    /// Transitions of all members.
    pub(crate) marks: Marks,
    pub(crate) trace: Trace,
    pub(crate) story: Story,
    /// The run ends when this promise is broken.
    pub(crate) until_broken: Option<&'static str>,
    pub(crate) plan: Vec<Option<Action>>,
    pub(crate) lookups: Vec<Option<(u16, u32, String, u16)>>,
    pub(crate) names_fail_until: u64,
    pub(crate) steps: u64,
    /// Events since virtual time last moved; beyond a bound the world stands still for good.
    pub(crate) steps_at_once: u64,
    pub(crate) stands_still: bool,
    /// Views installed while somebody sent.
    pub(crate) views_under_load: u64,
    /// Faults have stopped: what a fault would still undo or begin later is left out.
    pub(crate) calm: bool,
    pub(crate) chooser: Option<Chooser>,
    /// Waits for the next installation of a view by any node.
    pub(crate) ambush: Option<Ambush>,
    /// A crash that waits for its moment.
    pub(crate) lurking: Option<Lurking>,
    pub(crate) visitors: Vec<Visitor>,
    /// Visitors ask for nothing new.
    pub(crate) visitors_gone: bool,
    /// Visitors come as fast as they can.
    pub(crate) visitors_hurry: bool,
    /// Requests and tokens that visitors have used.
    pub(crate) requests: u64,
    pub(crate) tokens: u64,
    pub(crate) settled_check_at: u64,
    pub(crate) held_up_check_at: u64,
    /// Takes the place of the checkers in runs that measure.
    pub(crate) survey: Option<Survey>,
}

/// Chooses among events that happen at the same time; for enumerations.
pub(crate) type Chooser = Box<dyn FnMut(&[(u64, Event)]) -> usize + Send>;

/// What happens to a node at the moment at which it installs a view, before a word of that has left it.
pub(crate) type Ambush = Box<dyn FnOnce(&mut World, usize) + Send>;

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("now_us", &self.now).field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

impl AsMut<World> for World {
    fn as_mut(&mut self) -> &mut World {
        self
    }
}

impl World {
    /// An empty world at time zero.
    pub fn new(settings: Settings) -> World {
        let mut random = Random::new(settings.seed);
        World {
            now: 0,
            queue: Queue::default(),
            reach: Reach::new(settings.seed),
            network: Network::new(settings.hosts, settings.conditions, random.fork()),
            connections: Vec::new(),
            nodes: Vec::new(),
            listening: vec![None; settings.hosts],
            loose_random: Random::new(settings.seed ^ 0x6c6f_6f73_6532),
            transport_random: random.fork(),
            load_random: random.fork(),
            random,
            ledger: Ledger::default(),
            primaries: Primaries::default(),
            faults: Faults::default(),
            marks: Marks::default(),
            trace: Trace::default(),
            story: Story::default(),
            until_broken: None,
            plan: Vec::new(),
            lookups: Vec::new(),
            names_fail_until: 0,
            steps: 0,
            steps_at_once: 0,
            stands_still: false,
            views_under_load: 0,
            calm: false,
            chooser: None,
            ambush: None,
            lurking: None,
            visitors: Vec::new(),
            visitors_gone: false,
            visitors_hurry: false,
            requests: 0,
            tokens: 0,
            settled_check_at: 0,
            held_up_check_at: 0,
            survey: None,
            settings,
        }
    }

    /// A world with `count` nodes `n0`, `n1`, … that know each other; the first `voters` of them vote. None is started.
    pub fn cluster(settings: Settings, count: usize, voters: usize, adjust: impl Fn(usize, &mut Setup)) -> World {
        let mut world = World::new(settings);
        let seeds: Vec<Seed> = (0..count).map(|host| seed_of(&format!("n{host}"), host as u16)).collect();
        let voters: Vec<Name> = (0..voters).map(|n| Name::new(&format!("n{n}"))).collect();
        for host in 0..count {
            let mut setup = Setup::new("sim", &format!("n{host}"), Incarnation::NONE, address_of(host as u16));
            setup.seeds = seeds.clone();
            setup.voters = voters.clone();
            adjust(host, &mut setup);
            world.add(setup, host as u16);
        }
        world
    }

    /// Adds a node on `host`, not started. Name, seeds and rules come from `setup`; what belongs to one life is drawn at start.
    pub fn add(&mut self, setup: Setup, host: u16) -> usize {
        let ahead = self.random.below(1_000_000_000);
        let ahead = if self.settings.plain_clocks { 0 } else { ahead };
        self.nodes.push(Node::new(setup, host, ahead));
        self.nodes.len() - 1
    }

    /// The nodes, in the order added.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    pub fn node(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    /// Virtual time, in microseconds.
    pub fn now_us(&self) -> u64 {
        self.now
    }

    /// Events that have happened.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Faults made so far.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Transitions of all members so far.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Checks made so far.
    pub fn checks(&self) -> &Checks {
        &self.ledger.checks
    }

    /// Broken promises, in the order seen; the first few are kept.
    pub fn violations(&self) -> &[Violation] {
        &self.ledger.violations
    }

    /// The hash over every step so far.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// Keeps a line of text for each step from now on.
    pub fn keep_trace(&mut self) {
        self.trace.keep_lines();
    }

    /// The lines that were kept.
    pub fn trace(&self) -> &str {
        self.trace.lines()
    }

    /// The view that a node's member has installed.
    pub fn view(&self, node: usize) -> Option<&Arc<View>> {
        self.nodes[node].member()?.view().map(|(view, _)| view)
    }

    /// Starts a node's process, if there is none and its host lives. It counts as a restart if there was one before.
    pub fn start(&mut self, node: usize) {
        let host = self.nodes[node].host;
        if self.nodes[node].absent || self.nodes[node].state != State::Down || !self.network.is_alive(host) {
            return;
        }
        if self.listening[usize::from(host)].is_some() {
            return;
        }
        if self.nodes[node].life > 0 {
            self.faults.note(FaultKind::Restart);
        }
        let keeps_identity = self.settings.plant == Some(Plant::KeepIdentityAfterRestart);
        let (incarnation, random) = (Incarnation(self.random.wide()), self.random.word());
        let slot = &mut self.nodes[node];
        slot.clear();
        slot.life += 1;
        slot.ended = None;
        slot.state = State::Running;
        slot.process = self.ledger.start(node as u16);
        if slot.life == 1 || !keeps_identity {
            slot.setup.incarnation = incarnation;
        }
        slot.setup.random = random;
        slot.setup.advertise = address_of(host);
        slot.setup.plant = self.settings.plant;
        slot.setup.marks = self.marks.clone();
        slot.member = Some(Box::new(Member::new(slot.setup.clone(), slot.clock(self.now))));
        self.listening[usize::from(host)] = Some(node as u16);
        self.tell(|| format!("n{node} starts on host {host} as {incarnation:?}"));
        self.trace.word(node as u64);
        self.disturb(node);
        self.schedule_load(node);
        self.become_ready_later(node);
        self.settle(node);
    }

    /// A host that says itself when it is ready does so after its time; again when its member begins a new incarnation.
    pub(super) fn become_ready_later(&mut self, node: usize) {
        if let Some(after) = self.nodes[node].ready_after_us {
            let life = self.nodes[node].life;
            self.after(after, move |world| {
                if world.nodes[node].life != life {
                    return;
                }
                match world.nodes[node].state {
                    State::Paused => world.become_ready_later(node),
                    _ => world.host_ready(node),
                }
            });
        }
    }

    /// Starts all nodes.
    pub fn start_all(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.start(node));
    }

    /// Does something at `delay` from now.
    pub fn after(&mut self, delay: Micros, action: impl FnOnce(&mut World) + Send + 'static) {
        self.plan.push(Some(Box::new(action)));
        self.queue.push(self.now + delay, Event::Act { index: self.plan.len() as u32 - 1 });
    }

    /// Lets `duration` pass.
    pub fn run_for(&mut self, duration: Micros) {
        let end = self.now + duration;
        while !self.stands_still && self.queue.next_at().is_some_and(|at| at <= end) {
            self.step();
        }
        if self.is_over() {
            return;
        }
        self.now = end;
        self.ledger.now = end;
    }

    /// Lets time pass until `condition` holds, for at most `bound`. Says whether it does.
    pub fn run_until(&mut self, bound: Micros, mut condition: impl FnMut(&World) -> bool) -> bool {
        let end = self.now + bound;
        loop {
            if condition(self) {
                return true;
            }
            if self.stands_still || self.queue.next_at().is_none_or(|at| at > end) {
                self.now = end;
                self.ledger.now = end;
                return condition(self);
            }
            self.step();
        }
    }

    /// Lets the next event happen. Says whether there was one.
    pub fn step(&mut self) -> bool {
        let next = match &mut self.chooser {
            Some(chooser) => self.queue.pop_chosen(chooser),
            None => self.queue.pop(),
        };
        let Some((at, event)) = next else { return false };
        self.steps_at_once = if at == self.now { self.steps_at_once + 1 } else { 0 };
        if self.steps_at_once == STEPS_AT_ONCE {
            self.violate(Guarantee::V4, format!("time does not pass any more; next would be {event:?}"));
            self.stands_still = true;
        }
        self.now = at;
        self.ledger.now = at;
        self.steps += 1;
        self.trace.word(at);
        self.dispatch(event);
        if let Some(promise) = self.until_broken {
            self.stands_still |= self.ledger.violations.iter().any(|seen| seen.guarantee.name() == promise);
        }
        if self.survey.is_some() {
            return true;
        }
        if at >= self.settled_check_at {
            self.settled_check_at = at + millis(1_000);
            self.check_placement();
        }
        if at >= self.held_up_check_at {
            self.held_up_check_at = at + millis(200);
            self.check_held_up();
        }
        true
    }

    /// A host sends a message of `len` bytes to everybody, or to one node's present incarnation.
    pub fn send(&mut self, node: usize, to: Option<usize>, len: usize) -> Code {
        let code = self.push(node, to, len);
        self.settle(node);
        code
    }

    /// The host says that it is ready.
    pub fn host_ready(&mut self, node: usize) {
        if self.nodes[node].state == State::Running {
            self.input(node, Input::HostReady);
            self.settle(node);
        }
    }

    /// The host asks its member to leave.
    pub fn leave(&mut self, node: usize) {
        if self.nodes[node].state == State::Running && self.nodes[node].leaving.is_none() {
            self.faults.note(FaultKind::Leave);
            self.nodes[node].leaving = Some(self.now);
            self.tell(|| format!("n{node} leaves"));
            self.disturb(node);
            self.input(node, Input::Leave);
            self.settle(node);
        }
    }

    /// The process ends at once; its host's kernel closes its connections and refuses its port.
    pub fn crash(&mut self, node: usize) {
        if self.nodes[node].state != State::Down {
            self.faults.note(FaultKind::Crash);
            self.tell(|| format!("n{node} crashes"));
            self.end_process(node, true);
        }
    }

    /// The host goes dark with its process: nothing is said to anybody.
    pub fn power_off(&mut self, node: usize) {
        let host = self.nodes[node].host;
        if self.network.is_alive(host) {
            self.faults.note(FaultKind::PowerOff);
            self.tell(|| format!("n{node} and its host {host} lose power"));
            self.network.set_alive(host, false);
            if self.nodes[node].state != State::Down {
                self.end_process(node, false);
            }
        }
    }

    /// The host is there again, without its process.
    pub fn power_on(&mut self, node: usize) {
        self.network.set_alive(self.nodes[node].host, true);
    }

    /// Moves a node without a process to another host.
    pub fn move_to(&mut self, node: usize, host: u16) {
        assert_eq!(self.nodes[node].state, State::Down, "only a node without a process can move");
        self.faults.note(FaultKind::Move);
        self.nodes[node].host = host;
        self.tell(|| format!("n{node} moves to host {host}"));
    }

    /// The process stands still until [`World::resume`].
    pub fn pause(&mut self, node: usize) {
        if self.nodes[node].state == State::Running {
            self.faults.note(FaultKind::Pause);
            self.tell(|| format!("n{node} is paused"));
            self.nodes[node].state = State::Paused;
            self.disturb(node);
        }
    }

    /// The clock of a node leaps ahead, while no time passes.
    pub fn leap(&mut self, node: usize, by: Micros) {
        self.tell(|| format!("the clock of n{node} leaps ahead by {} ms", by / 1_000));
        let slot = &mut self.nodes[node];
        slot.clock_offset_us += by;
        // A lease is over by the clock of whoever has it.
        slot.primary_at = slot.primary_at.map(|at| at.saturating_sub(by));
    }

    /// The host takes no events any more.
    pub fn stop_polling(&mut self, node: usize) {
        if self.nodes[node].polling {
            self.faults.note(FaultKind::HostNotPolling);
            self.tell(|| format!("the host of n{node} stops polling"));
            self.nodes[node].polling = false;
            self.nodes[node].stopped_polling_at = Some(self.now);
            self.disturb(node);
        }
    }

    /// The host takes events so much later than they come.
    pub(crate) fn set_lag(&mut self, node: usize, lag_us: u64) {
        self.nodes[node].lag_us = lag_us;
        self.disturb(node);
    }

    /// The host takes everything that lies there, and goes on.
    pub fn poll_again(&mut self, node: usize) {
        if !self.nodes[node].polling {
            self.tell(|| format!("the host of n{node} polls again"));
            let (now, slot) = (self.now, &mut self.nodes[node]);
            slot.polling = true;
            let long = slot.stopped_polling_at.take().is_some_and(|since| now - since >= slot.setup.slow);
            slot.stalled_until = long.then_some(now);
            self.disturb(node);
            if self.nodes[node].state == State::Running {
                self.settle(node);
            }
        }
    }

    /// Cuts what goes from one node's host to another's.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.disturb_links(from);
        self.disturb_links(to);
        self.trace.line(self.now, || format!("cut from n{from} to n{to}"));
        if !self.nodes[from].absent && !self.nodes[to].absent {
            self.story.cut(self.now, from, to);
        }
        self.network.cut(self.now, self.nodes[from].host, self.nodes[to].host);
    }

    /// Mends one cut of that direction.
    pub fn mend(&mut self, from: usize, to: usize) {
        self.disturb_links(from);
        self.disturb_links(to);
        self.trace.line(self.now, || format!("mended from n{from} to n{to}"));
        if !self.nodes[from].absent && !self.nodes[to].absent {
            self.story.mended(self.now, from, to);
        }
        self.network.mend(self.now, self.nodes[from].host, self.nodes[to].host);
    }

    /// Cuts both directions between every two nodes of different parts.
    pub fn split(&mut self, parts: &[&[usize]]) {
        self.faults.note(FaultKind::Partition);
        self.each_crossing(parts, |world, a, b| world.cut(a, b));
    }

    /// Takes a split back.
    pub fn heal(&mut self, parts: &[&[usize]]) {
        self.each_crossing(parts, |world, a, b| world.mend(a, b));
    }

    fn each_crossing(&mut self, parts: &[&[usize]], mut act: impl FnMut(&mut World, usize, usize)) {
        for (at, part) in parts.iter().enumerate() {
            for (_, other) in parts.iter().enumerate().filter(|(other, _)| *other != at) {
                part.iter().for_each(|a| other.iter().for_each(|b| act(self, *a, *b)));
            }
        }
    }

    /// Mends every cut.
    pub fn mend_all(&mut self) {
        self.tell(|| "every link is mended".to_owned());
        (0..self.nodes.len()).for_each(|node| self.disturb_links(node));
        self.network.mend_all(self.now);
    }

    /// Gives one direction between two nodes' hosts other conditions.
    pub fn set_conditions(&mut self, from: usize, to: usize, conditions: Conditions) {
        self.disturb_links(from);
        self.disturb_links(to);
        let (from, to) = (self.nodes[from].host, self.nodes[to].host);
        self.network.set_conditions(self.now, from, to, conditions);
        self.retime(from, to);
    }

    /// Gives every direction between any two hosts the same conditions.
    pub fn set_all_conditions(&mut self, conditions: Conditions) {
        (0..self.nodes.len()).for_each(|node| self.disturb_links(node));
        for from in 0..self.network.hosts() as u16 {
            for to in 0..self.network.hosts() as u16 {
                self.network.set_conditions(self.now, from, to, conditions);
                self.retime(from, to);
            }
        }
    }

    /// The conditions in one direction between two nodes' hosts.
    pub fn conditions(&self, from: usize, to: usize) -> Conditions {
        self.network.conditions(self.nodes[from].host, self.nodes[to].host)
    }

    /// Breaks every connection between two nodes, with what was under way. Says how many there were.
    pub fn reset_between(&mut self, a: usize, b: usize) -> usize {
        let between: Vec<u32> = (0..self.connections.len() as u32)
            .filter(|conn| {
                self.connections[*conn as usize].as_ref().is_some_and(|connection| {
                    let nodes = connection.ends.map(|end| usize::from(end.node));
                    nodes == [a, b] || nodes == [b, a]
                })
            })
            .collect();
        between.iter().for_each(|conn| self.reset(*conn));
        between.len()
    }

    /// Marks that something happened to a node that may explain its removal.
    pub(crate) fn disturb(&mut self, node: usize) {
        self.nodes[node].disturbed_at = self.now;
        self.nodes[node].troubled_at = self.now;
    }

    /// The same, but only its links are concerned, not its process or its host.
    fn disturb_links(&mut self, node: usize) {
        self.nodes[node].disturbed_at = self.now;
    }

    /// A process ends by itself or is ended; `tells` says whether its kernel tells the others.
    pub(crate) fn end_process(&mut self, node: usize, tells: bool) {
        self.disturb(node);
        self.note_lost_sessions(node);
        self.drop_connections(node, tells);
        let slot = &mut self.nodes[node];
        slot.clear();
        slot.state = State::Down;
        let host = usize::from(slot.host);
        if self.listening[host] == Some(node as u16) {
            self.listening[host] = None;
        }
    }

    /// The process has ended by itself: its member said why.
    pub(crate) fn exit(&mut self, node: usize, reason: Ended) {
        self.tell(|| format!("n{node} has ended: {reason:?}"));
        self.check_end_of_process(node, &reason);
        let left = matches!(reason, Ended::Left | Ended::LeftUnheard);
        self.nodes[node].ended = Some(reason);
        self.end_process(node, true);
        let Node { setup, restart_after_us, .. } = &self.nodes[node];
        let after = match left {
            // Nobody is missing while the cluster comes together for the last time.
            false => restart_after_us.map(|after| if self.calm { 0 } else { after }),
            // Who was leaving when the faults stopped comes back at once if it votes: without it there may be no majority.
            true => (self.calm && setup.voters.contains(&setup.name)).then_some(0),
        };
        if let Some(after) = after {
            self.after(after, move |world| world.start(node));
        }
    }

    pub(crate) fn host_at(&self, to: SocketAddr) -> Option<u16> {
        host_of(to).filter(|host| usize::from(*host) < self.network.hosts())
    }

    /// Whether the run has ended early, at the broken promise that was waited for.
    pub(crate) fn is_over(&self) -> bool {
        self.stands_still && self.until_broken.is_some()
    }

    /// Something that a person who reads the story of a run wants to know.
    pub(crate) fn tell(&mut self, text: impl Fn() -> String) {
        self.trace.line(self.now, &text);
        self.story.say(self.now, text);
    }

    /// Records a broken promise that the network's or the clock's truth shows.
    pub(crate) fn violate(&mut self, guarantee: Guarantee, text: String) {
        self.trace.line(self.now, || format!("BROKEN {guarantee}: {text}"));
        self.ledger.violate(guarantee, text);
    }

    pub(crate) fn connection_of(&self, node: usize, id: ConnId) -> Option<(u32, u8)> {
        self.nodes[node].connections.get(&id).copied()
    }
}

/// A seed entry for the member `name` on `host`.
pub fn seed_of(name: &str, host: u16) -> Seed {
    let address = address_of(host);
    Seed { name: Some(Name::new(name)), host: address.ip().to_string(), port: address.port() }
}
