//! What the bench and its processes say to each other, a line of JSON each.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::figures::Latency;
use super::pace::Pace;

/// How a member process hosts its engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The engine's thread calls the host.
    Handler,
    /// A thread of the host polls.
    Poll,
    /// One thread: the host's loop turns the engine.
    Loop,
}

/// What a process is told when it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Which member it is: the sender's number in its messages.
    pub number: u8,
    /// Length of a message in bytes.
    pub bytes: usize,
    /// Whether a member hands in one message a call.
    pub one_by_one: bool,
    /// Who hosts it. The raw process hands over to a thread with [`Mode::Poll`] and else has one thread.
    pub mode: Mode,
    /// Settings of the engine; of a raw process, none.
    pub settings: Vec<(String, String)>,
    /// Whether the raw process is one end of an echo: number 0 asks.
    pub echo: bool,
    /// The group to which the raw process blasts, or which it hears; `None`: all goes over links.
    pub blast: Option<Blast>,
    /// Where the raw process listens, and by which interface it blasts.
    pub host: Ipv4Addr,
    /// How the raw process is tuned.
    pub tuning: Tuning,
}

/// What a raw process needs to know of a multicast group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Blast {
    /// The group.
    pub group: SocketAddr,
    /// Most bytes of a datagram.
    pub datagram_bytes: usize,
}

/// What the raw baseline can be tuned by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tuning {
    /// Send and receive buffer of each socket.
    pub socket_bytes: usize,
    /// Most bytes of one read.
    pub read_bytes: usize,
    /// Bytes that wait for the slowest link before nothing more is read.
    pub queue_bytes: usize,
    /// Most bytes that are under way in datagrams: sent, and not yet taken by the slowest receiver.
    pub window_bytes: usize,
}

/// What the bench tells a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Order {
    /// To a raw process: make these links.
    Link {
        /// Whom to dial, and whether both ends lead a group.
        dial: Vec<(SocketAddr, bool)>,
        /// How many others will dial.
        accept: usize,
        /// Whether messages of several senders come over one link: they may then be passed on only whole.
        mixed: bool,
    },
    /// Send for so long.
    Stream {
        /// For how long.
        ms: u64,
        /// When messages are due, and then every one tells the time; `None`: as fast as possible, and a sample of them does.
        pace: Option<Pace>,
    },
    /// To a member: send messages of so many bytes as fast as possible, for so long.
    Transfer {
        /// For how long.
        ms: u64,
        /// Length of each.
        bytes: usize,
    },
    /// Change sessions for so long.
    Sessions(Changes),
    /// To a member that polls: take so many bytes a second and no more.
    Take {
        /// So many.
        bytes_per_s: u64,
    },
    /// Say what came and what is held.
    Count,
    /// Note the longest time without a delivery anew.
    Watch,
    /// Say what was used so far.
    Mark,
}

/// What a process says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Said {
    /// It listens.
    Open {
        /// Where.
        address: SocketAddr,
    },
    /// A view was installed.
    View(ViewSaid),
    /// A raw process has all its links.
    Linked,
    /// It has sent what it was told to.
    Sent(Sent),
    /// It has the last message of a sender.
    Received(Received),
    /// It has changed sessions.
    Written(Written),
    /// What it has used.
    Mark(Mark),
    /// What came and what is held.
    Count(Count),
    /// A member is named as slow.
    Slow {
        /// By its name.
        member: String,
        /// What it has not taken.
        lag_bytes: u64,
        /// When.
        at_ns: u64,
    },
    /// The longest time without a delivery since it was told to watch, as of the last message.
    Watched {
        /// That time.
        gap_ns: u64,
    },
    /// A raw process: the other end of a link is gone.
    Closed {
        /// When.
        at_ns: u64,
    },
    /// Something that a quiet run does not have.
    Trouble {
        /// In full.
        text: String,
    },
}

/// A view, as a member saw it installed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ViewSaid {
    /// When, on the clock that all processes of a machine share.
    pub at_ns: u64,
    /// Its number.
    pub number: u64,
    /// Whether all are ready.
    pub ready: bool,
    /// The groups, by numbers of members, each with its leader first and its deputy second.
    pub groups: Vec<Vec<usize>>,
    /// Each member's incarnation.
    pub incarnations: Vec<(usize, String)>,
}

impl ViewSaid {
    /// The incarnation of a member, if it is in it.
    pub fn incarnation_of(&self, member: usize) -> Option<&String> {
        self.incarnations.iter().find(|(at, _)| *at == member).map(|(_, incarnation)| incarnation)
    }
}

/// Changes of sessions that a member is to make.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Changes {
    /// For how long.
    pub ms: u64,
    /// So many under way.
    pub window: usize,
    /// So many sessions in turn; at least as many as are changed at a time.
    pub sessions: usize,
    /// Length of a session.
    pub bytes: usize,
    /// What of it a change sets; `None`: all.
    pub delta: Option<usize>,
}

/// What came to a member so far, and what it holds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Count {
    /// When.
    pub at_ns: u64,
    /// Messages that came in this phase.
    pub messages: u64,
    /// Messages that are not yet held by all, as the engine counts them.
    pub unstable_bytes: u64,
    /// Those that its host has not taken.
    pub queued_bytes: u64,
    /// What it has written to connections.
    pub sent_bytes: u64,
    /// Sessions that it owns.
    pub sessions_primary: u64,
    /// Those of them without a second copy.
    pub sessions_single: u64,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sent {
    /// How many messages.
    pub messages: u64,
    /// When the first one was handed in.
    pub first_ns: u64,
}

/// What came from one sender.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Received {
    /// Who sent it.
    pub sender: u8,
    /// How many messages.
    pub messages: u64,
    /// Never came.
    pub lost: u64,
    /// Came twice.
    pub duplicated: u64,
    /// Came after a later one.
    pub out_of_order: u64,
    /// When the last one came.
    pub last_ns: u64,
    /// One-way, of the messages that told their time.
    pub latency: Latency,
}

/// Changes of sessions, all acknowledged.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Written {
    /// How many.
    pub writes: u64,
    /// Not acknowledged, or by this member alone.
    pub failed: u64,
    /// When the first one was asked for.
    pub first_ns: u64,
    /// When the last one was acknowledged.
    pub last_ns: u64,
    /// From asking to the acknowledgement.
    pub latency: Latency,
}

/// What a process has used since it started.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Mark {
    /// User and system time.
    pub cpu_us: u64,
    /// Calls of the system that the engine, or the raw process, made.
    pub system_calls: u64,
    /// Payload that was copied in the process.
    pub copied_bytes: u64,
    /// Allocations of the whole process.
    pub allocations: u64,
}

impl Mark {
    /// What was used since `before`.
    pub fn since(&self, before: &Mark) -> Mark {
        Mark {
            cpu_us: self.cpu_us.saturating_sub(before.cpu_us),
            system_calls: self.system_calls.saturating_sub(before.system_calls),
            copied_bytes: self.copied_bytes.saturating_sub(before.copied_bytes),
            allocations: self.allocations.saturating_sub(before.allocations),
        }
    }

    /// Both together.
    pub fn plus(&self, other: &Mark) -> Mark {
        Mark {
            cpu_us: self.cpu_us + other.cpu_us,
            system_calls: self.system_calls + other.system_calls,
            copied_bytes: self.copied_bytes + other.copied_bytes,
            allocations: self.allocations + other.allocations,
        }
    }
}
