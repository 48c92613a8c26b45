//! Sessions: their names, and the order of those who owned them.

use std::fmt;

use super::ids::{Incarnation, mix};

/// The name of a session: 128 bits that nobody can guess, drawn when it is made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId(pub u128);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{:08x}", (self.0 >> 96) as u32)
    }
}

/// One life of a member in 64 bits, as sessions and their cookies name it. Zero is nobody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MemberTag(pub u64);

impl MemberTag {
    /// Nobody.
    pub const NONE: MemberTag = MemberTag(0);

    /// Whether it names somebody.
    pub fn is_some(self) -> bool {
        self != MemberTag::NONE
    }
}

impl From<Incarnation> for MemberTag {
    fn from(who: Incarnation) -> MemberTag {
        MemberTag(mix(mix(0x7365_7373, who.0 as u64), (who.0 >> 64) as u64).max(1))
    }
}

impl fmt::Display for MemberTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for MemberTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", (self.0 >> 32) as u32)
    }
}

/// Who owns a session since when. Totally ordered (S3): by the view in which ownership was taken, then by how often it was
/// taken there, then by who took it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch {
    /// Number of the view.
    pub view: u64,
    /// Counts the owners.
    pub counter: u32,
    /// The owner.
    pub owner: MemberTag,
}

impl Epoch {
    /// The epoch that follows this one when `owner` takes over in the view with this number.
    pub fn next(self, view: u64, owner: MemberTag) -> Epoch {
        Epoch { view: view.max(self.view), counter: self.counter.wrapping_add(1), owner }
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}.{}@{:?}", self.view, self.counter, self.owner)
    }
}
