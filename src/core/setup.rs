//! What a member is told when it starts: identity, addresses, rules and bounds. Fixed for its life.

use std::net::SocketAddr;

use crate::types::{Incarnation, Micros, Name, Tags, limits, millis};

/// A well-known or listed address, as configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seed {
    /// The member's name, where the operator gave one (`name@host:port`).
    pub name: Option<Name>,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// What a minority does (R21).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MinorityPolicy {
    /// Stay in the old view, answer sends with NOT_PRIMARY.
    ReadOnly,
    /// Form an unfenced view of those who are there, and say so.
    Serve,
}

/// Whether a joiner waits for its host (R24).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadyPolicy {
    /// Ready on admission: there is no state to fetch.
    OnAdmission,
    /// Ready when the host says so ([`super::Input::HostReady`]).
    Host,
}

/// What a multicast group is used for, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Multicast {
    /// Its address and port, for texts: the driver sends and receives.
    pub group: SocketAddr,
    /// Whether it carries the streams to everybody; otherwise members only find and hear each other by it.
    pub carries: bool,
    /// Bytes of the longest datagram that this member sends, and that gets to it whole, 600 or more: all members keep to the least of theirs.
    pub datagram_bytes: usize,
    /// Bytes of datagrams that can wait here until they are taken; the driver knows what the system gives.
    pub receive_bytes: usize,
    /// Bytes a second at most that a member sends others for what they have lost.
    pub repair_bytes_per_s: u64,
}

/// How long messages come (R28).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LargeRules {
    /// Whoever sends a longer message asks first. At least [`limits::BATCH_BYTES`].
    pub unasked_bytes: usize,
    /// Bytes of such messages that one member may have to put together at a time; at least the longest message.
    pub room_bytes: usize,
}

impl Default for LargeRules {
    fn default() -> LargeRules {
        LargeRules { unasked_bytes: limits::UNASKED_BYTES, room_bytes: limits::MESSAGE_BYTES }
    }
}

/// Everything a [`super::Member`] is told.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Name of the cluster.
    pub cluster: String,
    /// This member's name.
    pub name: Name,
    /// 128 random bits for this life.
    pub incarnation: Incarnation,
    /// Seed for jitter, ballots' back-off and later incarnations: all the randomness the core gets.
    pub random: u64,
    /// Where others reach this member.
    pub advertise: SocketAddr,
    /// Addresses to join at.
    pub seeds: Vec<Seed>,
    /// Whether only the names in `seeds` may be members.
    pub seeds_only: bool,
    /// Names whose majority decides views; empty = unfenced.
    pub voters: Vec<Name>,
    /// Policy of a minority.
    pub minority: MinorityPolicy,
    /// Two voters and no witness: whether one alone may serve, unfenced (`two_members = serve`).
    pub two_members_serve: bool,
    /// Whether a refused port proves death (R19).
    pub refusal_proves_death: bool,
    /// When a joiner is ready.
    pub ready: ReadyPolicy,
    /// What its operator says of this member.
    pub tags: Tags,
    /// Whether it votes only, and carries no messages.
    pub witness: bool,
    /// Bound of a group; 0 = grows like the square root of the cluster (R13).
    pub group_size: usize,
    /// The multicast group, if there is one.
    pub multicast: Option<Multicast>,
    /// Period of heartbeats.
    pub heartbeat: Micros,
    /// Silence after which a link is suspected; a member is never removed earlier (R31).
    pub silence: Micros,
    /// Length of a lease (R22).
    pub lease: Micros,
    /// How long a starter without voters listens before it forms a view of its own.
    pub form_wait: Micros,
    /// How long changes are gathered before a view change begins, unless somebody has died.
    pub gather: Micros,
    /// How long a joiner tries before it gives up; 0 = for ever.
    pub join_timeout: Micros,
    /// How long an orderly leave may take.
    pub leave_timeout: Micros,
    /// How long a slow member is borne (D5).
    pub slow: Micros,
    /// Unstable bytes to everybody in the whole cluster (R25).
    pub window_bytes: usize,
    /// What each sender may always have unstable.
    pub window_reserved_bytes: usize,
    /// Unacknowledged bytes to one member.
    pub direct_window_bytes: usize,
    /// Events that the host has not taken yet.
    pub receive_queue_bytes: usize,
    /// Accepted sends that have no batch yet.
    pub send_queue_bytes: usize,
    /// Longest message.
    pub message_bytes: usize,
    /// Room for the longest ones.
    pub large: LargeRules,
    /// Whether `Stable` events are wanted.
    pub stable_events: bool,
    /// What holds for sessions.
    pub sessions: super::SessionRules,
    /// Settings that must agree, as (key, value) in the order of the table: a joiner that differs is refused with the key's name (R3).
    pub agreed_settings: Vec<(String, String)>,
    /// A bug to show on purpose. Simulator only.
    #[cfg(feature = "sim")]
    pub plant: Option<super::Plant>,
    /// Where transitions are counted; clones count together.
    #[cfg(feature = "sim")]
    pub marks: super::Marks,
}

impl Setup {
    /// A setup with the `lan` profile and the shipped bounds.
    pub fn new(cluster: &str, name: &str, incarnation: Incarnation, advertise: SocketAddr) -> Setup {
        Setup {
            cluster: cluster.to_owned(),
            name: Name::new(name),
            incarnation,
            random: incarnation.0 as u64,
            advertise,
            seeds: Vec::new(),
            seeds_only: false,
            voters: Vec::new(),
            minority: MinorityPolicy::ReadOnly,
            two_members_serve: true,
            refusal_proves_death: true,
            ready: ReadyPolicy::OnAdmission,
            tags: Tags::default(),
            witness: false,
            group_size: 0,
            multicast: None,
            heartbeat: millis(250),
            silence: millis(1_500),
            lease: millis(1_200),
            form_wait: millis(500),
            gather: millis(10),
            join_timeout: millis(60_000),
            leave_timeout: millis(4_000),
            slow: millis(10_000),
            window_bytes: 4 * 1024 * 1024,
            window_reserved_bytes: 128 * 1024,
            direct_window_bytes: 1024 * 1024,
            receive_queue_bytes: 8 * 1024 * 1024,
            send_queue_bytes: 1024 * 1024,
            message_bytes: 1024 * 1024,
            large: LargeRules::default(),
            stable_events: false,
            sessions: super::SessionRules::default(),
            agreed_settings: Vec::new(),
            #[cfg(feature = "sim")]
            plant: None,
            #[cfg(feature = "sim")]
            marks: super::Marks::default(),
        }
    }
}
