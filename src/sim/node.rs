//! A node: a configured member with its host, its process (if it runs), and the model of the application in it.

use std::collections::{BTreeMap, VecDeque};

use super::load::Load;
use super::network::Packet;
use super::queue;
use super::survey::Traffic;
use crate::core::{Ended, Event, Member, Outbox, Setup};
use crate::types::{ConnId, Time};

/// Whether a node's process runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// There is no process.
    Down,
    /// It runs.
    Running,
    /// It stands still; its kernel goes on.
    Paused,
}

/// A configured member. At most one process of it runs at a time.
#[derive(Debug)]
pub struct Node {
    pub(crate) setup: Setup,
    pub(crate) host: u16,
    /// It is left out of this run: its process never starts.
    pub(crate) absent: bool,
    /// The node's clock is ahead of virtual time by this much.
    pub(crate) clock_offset_us: u64,
    pub(crate) state: State,
    /// Counts the processes of this node: what was meant for an earlier one is void.
    pub(crate) life: u32,
    pub(crate) process: u16,
    pub(crate) member: Option<Box<Member>>,
    pub(crate) outbox: Outbox,
    pub(crate) connections: BTreeMap<ConnId, (u32, u8)>,
    /// Connections that have something to write.
    pub(crate) transmit: Vec<ConnId>,
    /// The earliest `Wake` in the queue; the end of time if there is none.
    pub(crate) wake_at: u64,
    /// What happened while the process stood still.
    pub(crate) deferred: Vec<queue::Event>,
    pub(crate) backlog: VecDeque<Packet>,
    /// When it last ran again after a pause.
    pub(crate) resumed_at: Option<u64>,
    /// Since when it leaves, as its host has asked it to.
    pub(crate) leaving: Option<u64>,
    pub(crate) ended: Option<Ended>,
    /// When something last happened to this node that may explain its removal; see the check of V7.
    pub(crate) disturbed_at: u64,
    /// The same for its process and its host alone, whatever became of its links.
    pub(crate) troubled_at: u64,
    /// What all ready members had taken of its stream and was not said to be stable, and since when.
    pub(crate) held_up: Option<(u64, u64)>,
    /// When its member installed its view.
    pub(crate) view_at: u64,
    /// When it was last seen to act in a view, fenced or not.
    pub(crate) acted_at: Option<u64>,
    /// When it was last seen to act as primary in a fenced view.
    pub(crate) primary_at: Option<u64>,
    /// A supervisor starts the process again this long after it ended by itself.
    pub(crate) restart_after_us: Option<u64>,

    /// Whether the host takes events.
    pub(crate) polling: bool,
    pub(crate) stopped_polling_at: Option<u64>,
    /// When its host took events again that had stood still for so long that its member had decided to go.
    pub(crate) stalled_until: Option<u64>,
    /// How long it lets them lie, in microseconds; 0 = takes them at once.
    pub(crate) lag_us: u64,
    /// Bytes of events that it has not taken.
    pub(crate) unconsumed: usize,
    pub(crate) consume_scheduled: bool,
    /// When it says that it is ready, with `ReadyPolicy::Host`.
    pub(crate) ready_after_us: Option<u64>,
    pub(crate) load: Option<Load>,
    pub(crate) load_scheduled: bool,
    /// Since when every send to everybody is answered with `Again`.
    pub(crate) starved_since: Option<u64>,
    pub(crate) delivered: u64,
    pub(crate) accepted: u64,
    /// What its processes have put on the network.
    pub(crate) traffic: Traffic,
    /// Events other than messages, with the time at which they came; kept for scenarios.
    pub(crate) seen: Vec<(u64, Event)>,
}

impl Node {
    pub(crate) fn new(setup: Setup, host: u16, clock_offset_us: u64) -> Node {
        let outbox = Outbox::new(setup.send_queue_bytes, setup.message_bytes);
        Node {
            setup,
            host,
            absent: false,
            clock_offset_us,
            state: State::Down,
            life: 0,
            process: 0,
            member: None,
            outbox,
            connections: BTreeMap::new(),
            transmit: Vec::new(),
            wake_at: u64::MAX,
            deferred: Vec::new(),
            backlog: VecDeque::new(),
            resumed_at: None,
            leaving: None,
            ended: None,
            disturbed_at: 0,
            troubled_at: 0,
            held_up: None,
            view_at: 0,
            acted_at: None,
            primary_at: None,
            restart_after_us: None,
            polling: true,
            stopped_polling_at: None,
            stalled_until: None,
            lag_us: 0,
            unconsumed: 0,
            consume_scheduled: false,
            ready_after_us: None,
            load: None,
            load_scheduled: false,
            starved_since: None,
            delivered: 0,
            accepted: 0,
            traffic: Traffic::default(),
            seen: Vec::new(),
        }
    }

    /// Forgets everything of the process before.
    pub(crate) fn clear(&mut self) {
        self.member = None;
        self.outbox = Outbox::new(self.setup.send_queue_bytes, self.setup.message_bytes);
        self.connections.clear();
        self.transmit.clear();
        self.wake_at = u64::MAX;
        self.deferred.clear();
        self.backlog.clear();
        self.resumed_at = None;
        self.primary_at = None;
        self.acted_at = None;
        self.leaving = None;
        self.polling = true;
        self.stopped_polling_at = None;
        self.stalled_until = None;
        self.unconsumed = 0;
        self.consume_scheduled = false;
        self.load_scheduled = false;
        self.starved_since = None;
        self.held_up = None;
    }

    /// Virtual time on this node's clock.
    pub(crate) fn clock(&self, now: u64) -> Time {
        Time(now + self.clock_offset_us)
    }

    /// Whether its process exists and does what it is told.
    pub fn is_running(&self) -> bool {
        self.state == State::Running
    }

    /// How its last process ended, if it ended by itself.
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// The member that the node's process drives.
    pub fn member(&self) -> Option<&Member> {
        self.member.as_deref()
    }

    /// Messages that its hosts got, over all its lives.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Messages that its members accepted, over all its lives.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Events other than messages, with the virtual time at which they came. Kept only if the world was told to.
    pub fn seen(&self) -> &[(u64, Event)] {
        &self.seen
    }
}
