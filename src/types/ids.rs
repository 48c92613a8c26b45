//! Identifiers: names, incarnations, seats, ballots and view ids.

use std::fmt;
use std::sync::Arc;

/// A member's configured name, unique among the living members of a cluster (1 to 64 bytes of UTF-8).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Wraps a name that the caller has checked against [`super::limits::NAME_BYTES`] and [`Name::allows`].
    pub fn new(name: &str) -> Name {
        Name(Arc::from(name))
    }

    /// Whether a name may have this in it: lists are written with ',' and '@', and lines of a log with the others.
    pub fn allows(c: char) -> bool {
        !(c.is_control() || c.is_whitespace() || matches!(c, ',' | '@'))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One life of a member: 128 random bits drawn when it starts, and again when it joins after having been removed.
///
/// A restarted process is a new member, whatever its name and address (V2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Incarnation(pub u128);

impl Incarnation {
    /// No incarnation: "any" where one is expected.
    pub const NONE: Incarnation = Incarnation(0);
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", (self.0 >> 96) as u32)
    }
}

/// A member's place in the order of admission to the log of views; it grows and is never given twice.
///
/// Smaller is more senior. Seat 0 stands for "everybody" on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Seat(pub u32);

impl Seat {
    /// The receiver of a stream to everybody.
    pub const EVERYBODY: Seat = Seat(0);
}

/// A coordinator's attempt at deciding a view. Totally ordered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ballot {
    /// Grows with every attempt.
    pub round: u64,
    /// Who attempts.
    pub coordinator: Incarnation,
}

impl fmt::Debug for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:?}", self.round, self.coordinator)
    }
}

/// The identity of a view: its number in the log, and the ballot (with its coordinator) that proposed it (V1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ViewId {
    /// Position in the log of views; 0 is "no view yet".
    pub number: u64,
    /// The ballot under which this value was first proposed.
    pub ballot: Ballot,
}

impl ViewId {
    /// Before any view.
    pub const NONE: ViewId = ViewId { number: 0, ballot: Ballot { round: 0, coordinator: Incarnation::NONE } };

    /// 64 bits that stand for this id in the headers of batches (R2).
    pub fn tag(&self) -> u64 {
        let c = self.ballot.coordinator.0;
        mix(mix(mix(self.number, self.ballot.round), c as u64), (c >> 64) as u64)
    }
}

impl fmt::Display for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{:032x}", self.number, self.ballot.round, self.ballot.coordinator.0)
    }
}

impl fmt::Debug for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}/{:?}", self.number, self.ballot)
    }
}

/// Mixes one word into another (the finalizer of SplitMix64), for tags; not a cryptographic hash.
pub(crate) fn mix(state: u64, word: u64) -> u64 {
    let mut z = state.rotate_left(23) ^ word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The tag of a stream from one incarnation to another (R1, R2).
pub(crate) fn pair_tag(from: Incarnation, to: Incarnation) -> u64 {
    let words = [from.0 as u64, (from.0 >> 64) as u64, to.0 as u64, (to.0 >> 64) as u64];
    words.into_iter().fold(0x006f_6e65, mix)
}

/// A transport connection, numbered by the core; never given twice in the life of an engine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub u64);
