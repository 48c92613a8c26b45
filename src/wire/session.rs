//! Frames of sessions. They travel as messages in a stream of their own between two members, many in a batch.

use bytes::Bytes;

use super::codec::{wire_enum, wire_struct};
use super::{Malformed, Reader, Wire};
use crate::types::{Epoch, MemberTag, SessionId, limits};

/// Named values in the order of their names, in one piece of memory: for each a name (16-bit length, UTF-8) and a value
/// (32-bit length).
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub struct Attributes(Bytes);

impl Attributes {
    /// From pairs in any order; of two with one name the later one counts.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Attributes {
        let pairs: Vec<(&str, &[u8])> = pairs.into_iter().collect();
        if pairs.is_sorted_by(|(name, _), (next, _)| name < next) {
            return Attributes::in_order(&pairs);
        }
        let sorted: std::collections::BTreeMap<&str, &[u8]> = pairs.into_iter().collect();
        Attributes::in_order(&Vec::from_iter(sorted))
    }

    /// From pairs in the order of their names, each of which comes once.
    fn in_order(pairs: &[(&str, &[u8])]) -> Attributes {
        let mut raw = Vec::with_capacity(pairs.iter().map(|(n, v)| n.len() + v.len() + 6).sum());
        for (name, value) in pairs {
            put_pair(name, value, &mut raw);
        }
        Attributes(raw.into())
    }

    /// Checks bytes that came from elsewhere.
    pub fn checked(raw: Bytes) -> Result<Attributes, Malformed> {
        Attributes::check(&raw)?;
        Ok(Attributes(raw))
    }

    /// Whether bytes are attributes.
    pub(crate) fn check(raw: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(raw);
        let mut last = "";
        while reader.remaining() > 0 {
            let (name, _) = take_pair(&mut reader)?;
            if name.is_empty() || name.len() > limits::ATTRIBUTE_NAME_BYTES {
                return Err(Malformed("an attribute's name is empty or too long"));
            }
            if name <= last {
                return Err(Malformed("attributes are not in the order of their names"));
            }
            last = name;
        }
        Ok(())
    }

    /// Bytes that were checked before.
    pub(crate) fn from_trusted(raw: Bytes) -> Attributes {
        Attributes(raw)
    }

    /// Over bytes that were checked before.
    pub(crate) fn trusted(raw: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
        let mut reader = Reader::new(raw);
        std::iter::from_fn(move || take_pair(&mut reader).ok())
    }

    /// The same in memory of their own, for whoever keeps them.
    pub(crate) fn detached(&self) -> Attributes {
        Attributes(Bytes::copy_from_slice(&self.0))
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        Attributes::trusted(&self.0)
    }

    /// The value of one.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The names of attributes, which were checked before, and beside each all bytes of the attribute.
pub(crate) fn pairs(raw: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = raw;
    std::iter::from_fn(move || {
        let (len, behind) = rest.split_first_chunk::<2>()?;
        let (name, behind) = behind.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
        let (len, behind) = behind.split_first_chunk::<4>()?;
        let behind = behind.get(u32::from_le_bytes(*len) as usize..)?;
        let pair = &rest[..rest.len() - behind.len()];
        rest = behind;
        Some((name, pair))
    })
}

fn put_pair(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(name.len() as u16).to_le_bytes());
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    out.extend_from_slice(value);
}

fn take_pair<'a>(from: &mut Reader<'a>) -> Result<(&'a str, &'a [u8]), Malformed> {
    let len = usize::from(u16::take(from)?);
    let name = std::str::from_utf8(from.bytes(len)?).map_err(|_| Malformed("an attribute's name is not UTF-8"))?;
    let len = u32::take(from)? as usize;
    Ok((name, from.bytes(len)?))
}

impl Wire for Attributes {
    const MIN_BYTES: usize = Bytes::MIN_BYTES;
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Attributes::checked(Bytes::take(from)?)
    }
}

/// The state of a session as one member gives it to another.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Copy {
    /// Which session.
    pub id: SessionId,
    /// Its owner.
    pub epoch: Epoch,
    /// The epoch before: a holder that is in neither of the two refuses.
    pub follows: Epoch,
    /// Grows with every change.
    pub version: u64,
    /// Seconds after its last use at which it expires; 0 = never.
    pub ttl_s: u32,
    /// Tokens of the last changes, the newest last.
    pub tokens: Vec<u64>,
    /// Its attributes.
    pub attributes: Attributes,
}

/// A change of a session: what its secondary copy lacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Which session.
    pub id: SessionId,
    /// Its owner.
    pub epoch: Epoch,
    /// The version that it makes; the copy must be at the one before.
    pub version: u64,
    /// The host's token, 0 = none.
    pub token: u64,
    /// Whether all other attributes go.
    pub whole: bool,
    /// Attributes that are set.
    pub sets: Attributes,
    /// Attributes that go; their values are empty.
    pub removes: Attributes,
}

/// The owner asks the holder of a copy to follow it from now on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Adopt {
    /// Which session.
    pub id: SessionId,
    /// The new owner.
    pub epoch: Epoch,
    /// The epoch in which the holder must be.
    pub follows: Epoch,
    /// The version that it must hold.
    pub version: u64,
}

/// About a copy of one epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct About {
    /// Which session.
    pub id: SessionId,
    /// Of which epoch.
    pub epoch: Epoch,
}

/// Why a frame was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Objection {
    /// The holder's copy is of another epoch.
    Epoch = 1,
    /// It has no copy, or one of another version.
    Missing = 2,
    /// It has no memory left for it.
    Full = 3,
}

/// A frame was not obeyed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Which session.
    pub id: SessionId,
    /// The epoch of the refused frame.
    pub epoch: Epoch,
    /// Its version; 0 if it names none.
    pub version: u64,
    /// The epoch of the copy that is held there; the first of all if there is none.
    pub held: Epoch,
    /// Why.
    pub why: Objection,
}

/// A question about a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// Which session.
    pub id: SessionId,
    /// Comes back with the answer.
    pub asked: u64,
}

/// A whole session, and who holds the other copy. Given, it is the receiver's as soon as whoever else has a claim has agreed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Give {
    /// Answers this question; 0 = nobody asked.
    pub asked: u64,
    /// Number of the view that the giver is in: who holds the other copy is a member of that.
    pub view: u64,
    /// The state: given, in the epoch of the receiver; shown, in that of the owner.
    pub copy: Copy,
    /// Who holds the other copy.
    pub secondary: MemberTag,
}

/// What a member knows of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Here {
    /// Which session.
    pub id: SessionId,
    /// The question.
    pub asked: u64,
    /// Whether there is a copy, and what for.
    pub role: Role,
    /// Its epoch; where there is no copy, that of the last one here.
    pub epoch: Epoch,
    /// Its version. Where there is none and none is remembered: the last view of which this member may have forgotten what it had.
    pub version: u64,
    /// Who owns it, as far as this member knows.
    pub owner: MemberTag,
    /// Of a copy from another life: who this member was. Where there is none: this member, if it had one not long ago.
    pub was: MemberTag,
    /// Of a copy from another life: who else had one, or could claim it, when that life ended.
    pub others: (MemberTag, MemberTag),
    /// Who this member was in its other lives, the last ones: it remembers what it had in them.
    pub lives: Vec<MemberTag>,
}

/// A copy in the place of one that another member holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Move {
    /// The state.
    pub copy: Copy,
    /// Who holds a copy of the same epoch until it is told to let go.
    pub beside: MemberTag,
}

/// Members that are gone, and the view in which each one was no longer there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Departed {
    /// Who, and the number of the view.
    pub members: Vec<(MemberTag, u64)>,
}

/// What a member is to a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Role {
    /// It has no copy.
    None = 0,
    /// It owns it.
    Primary = 1,
    /// It holds the other copy.
    Secondary = 2,
    /// It has handed it over, and keeps its copy until the new owner says so.
    Given = 3,
    /// It takes it over, and waits for those who must agree.
    Claimant = 4,
    /// It has a copy from another life, which nobody has looked for.
    Orphan = 5,
}

impl Wire for SessionId {
    const MIN_BYTES: usize = 16;
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        u128::take(from).map(SessionId)
    }
}

impl Wire for MemberTag {
    const MIN_BYTES: usize = 8;
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        u64::take(from).map(MemberTag)
    }
}

wire_enum! {
    Objection { Epoch, Missing, Full }
    Role { None, Primary, Secondary, Given, Claimant, Orphan }
}

wire_struct! {
    Epoch { view: u64, counter: u32, owner: MemberTag }
    Copy { id: SessionId, epoch: Epoch, follows: Epoch, version: u64, ttl_s: u32, tokens: Vec<u64>, attributes: Attributes }
    Change { id: SessionId, epoch: Epoch, version: u64, token: u64, whole: bool, sets: Attributes, removes: Attributes }
    Adopt { id: SessionId, epoch: Epoch, follows: Epoch, version: u64 }
    About { id: SessionId, epoch: Epoch }
    Refused { id: SessionId, epoch: Epoch, version: u64, held: Epoch, why: Objection }
    Question { id: SessionId, asked: u64 }
    Give { asked: u64, view: u64, copy: Copy, secondary: MemberTag }
    Move { copy: Copy, beside: MemberTag }
    Departed { members: Vec<(MemberTag, u64)> }
    Here { id: SessionId, asked: u64, role: Role, epoch: Epoch, version: u64, owner: MemberTag, was: MemberTag, others: (MemberTag, MemberTag), lives: Vec<MemberTag> }
}

macro_rules! frames {
    ($($(#[$doc:meta])* $v:ident($t:ty) = $n:literal,)*) => {
        /// One frame between two members about a session.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum Frame { $($(#[$doc])* $v($t),)* }

        impl Frame {
            /// The types that this version knows, with their names.
            pub const TYPES: &'static [(u8, &'static str)] = &[$(($n, stringify!($v)),)*];

            /// The whole frame: its type, then its body.
            pub fn encode(&self) -> Bytes {
                let mut out = Vec::new();
                self.put(&mut out);
                out.into()
            }

            /// The same, behind what `out` holds.
            pub(crate) fn put(&self, out: &mut Vec<u8>) {
                match self { $(Frame::$v(body) => { out.push($n); body.put(out); })* }
            }

            /// Checks and reads a whole frame.
            pub fn decode(bytes: &[u8]) -> Result<Frame, Malformed> {
                Frame::take(Reader::new(bytes))
            }

            /// The same; attributes share the memory of `chunk`, in which the frame lies, as long as they are kept.
            pub(crate) fn decode_sharing(bytes: &[u8], chunk: &Bytes) -> Result<Frame, Malformed> {
                Frame::take(Reader::sharing(bytes, chunk))
            }

            fn take(mut reader: Reader<'_>) -> Result<Frame, Malformed> {
                let frame = match u8::take(&mut reader)? {
                    $($n => Frame::$v(Wire::take(&mut reader)?),)*
                    _ => return Err(Malformed("unknown type of session frame")),
                };
                reader.end()?;
                Ok(frame)
            }
        }
    };
}

frames! {
    /// Hold this.
    Copy(Copy) = 1,
    /// Change what you hold.
    Change(Change) = 2,
    /// Follow me.
    Adopt(Adopt) = 3,
    /// Your copy is not needed any more.
    Release(About) = 4,
    /// The session has ended.
    End(About) = 5,
    /// I do not.
    Refused(Refused) = 6,
    /// Hand it over to me.
    Want(Question) = 7,
    /// It is yours.
    Give(Give) = 8,
    /// Do you have it?
    Where(Question) = 9,
    /// What I have.
    Here(Here) = 10,
    /// Who is gone since when.
    Departed(Departed) = 11,
    /// Hold this, in the place of another.
    Move(Move) = 12,
    /// The owner is gone: have you let go of the copy that mine was to replace?
    Outlive(About) = 13,
    /// What you hold a copy of is yours.
    Inherit(Adopt) = 14,
    /// I am about to leave.
    Retiring(()) = 15,
    /// Show it to me.
    Fetch(Question) = 16,
    /// This is what it is; it stays mine.
    Shown(Give) = 17,
}
