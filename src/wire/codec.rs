//! Little-endian encoding of control values, with a bound on everything that has a length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use crate::types::{Ballot, Incarnation, Name, Seat, Tags, ViewId, limits};

/// The bytes are not a legal value; the text says which rule they break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed(pub &'static str);

/// Takes values from the front of a slice.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// What the bytes lie in, if what is read may share it.
    shared: Option<&'a Bytes>,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes, shared: None }
    }

    /// The same, where long values share the memory of `chunk`, in which `bytes` lie, and keep it.
    pub(crate) fn sharing(bytes: &'a [u8], chunk: &'a Bytes) -> Reader<'a> {
        Reader { rest: bytes, shared: Some(chunk) }
    }

    /// The next `n` bytes.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(Malformed("truncated"))?;
        self.rest = rest;
        Ok(head)
    }

    /// How much is left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Fails unless everything was read.
    pub fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed("bytes after the end")) }
    }
}

/// A value with one encoding.
pub trait Wire: Sized {
    /// The least number of bytes that a value takes: bounds what a count can make us allocate.
    const MIN_BYTES: usize;
    /// Appends the encoding.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes a value, checking every rule.
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed>;
}

macro_rules! integer {
    ($($t:ty),*) => {$(
        impl Wire for $t {
            const MIN_BYTES: usize = size_of::<$t>();
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                let mut raw = [0; size_of::<$t>()];
                raw.copy_from_slice(from.bytes(size_of::<$t>())?);
                Ok(<$t>::from_le_bytes(raw))
            }
        }
    )*};
}
integer!(u8, u16, u32, u64, u128);

impl Wire for () {
    const MIN_BYTES: usize = 0;
    fn put(&self, _: &mut Vec<u8>) {}
    fn take(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(())
    }
}

impl Wire for bool {
    const MIN_BYTES: usize = 1;
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag is neither 0 nor 1")),
        }
    }
}

impl<T: Wire> Wire for Option<T> {
    const MIN_BYTES: usize = 1;
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        if bool::take(from)? { Ok(Some(T::take(from)?)) } else { Ok(None) }
    }
}

impl<T: Wire> Wire for Vec<T> {
    const MIN_BYTES: usize = 4;
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u32).put(out);
        for value in self {
            value.put(out);
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = u32::take(from)? as usize;
        if count > from.remaining() / T::MIN_BYTES.max(1) {
            return Err(Malformed("a count is larger than the bytes that follow"));
        }
        (0..count).map(|_| T::take(from)).collect()
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    const MIN_BYTES: usize = A::MIN_BYTES + B::MIN_BYTES;
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((A::take(from)?, B::take(from)?))
    }
}

/// A list with a place for each member of a view, of which most hold what an empty one holds: only the others are written, each
/// with its place. In memory it is a list like any other.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Sparse<T>(pub Vec<T>);

impl<T> std::ops::Deref for Sparse<T> {
    type Target = Vec<T>;
    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T: Wire + Clone + Default + PartialEq> Wire for Sparse<T> {
    const MIN_BYTES: usize = 4 + Vec::<(u32, T)>::MIN_BYTES;
    fn put(&self, out: &mut Vec<u8>) {
        let filled = || self.0.iter().enumerate().filter(|(_, value)| **value != T::default());
        (self.0.len() as u32).put(out);
        (filled().count() as u32).put(out);
        for (place, value) in filled() {
            (place as u32).put(out);
            value.put(out);
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let length = u32::take(from)? as usize;
        if length > limits::MEMBERS {
            return Err(Malformed("a list has more places than a view can have members"));
        }
        let filled: Vec<(u32, T)> = Wire::take(from)?;
        if filled.windows(2).any(|w| w[0].0 >= w[1].0) || filled.last().is_some_and(|last| last.0 as usize >= length) {
            return Err(Malformed("places of a list are not in their order"));
        }
        let mut list = vec![T::default(); length];
        for (place, value) in filled {
            if value == T::default() {
                return Err(Malformed("an empty place of a list is written"));
            }
            list[place as usize] = value;
        }
        Ok(Sparse(list))
    }
}

fn put_text(text: &str, bound: usize, out: &mut Vec<u8>) {
    let mut end = text.len().min(bound);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (end as u16).put(out);
    out.extend_from_slice(&text.as_bytes()[..end]);
}

fn take_text<'a>(from: &mut Reader<'a>, bound: usize) -> Result<&'a str, Malformed> {
    let len = usize::from(u16::take(from)?);
    if len > bound {
        return Err(Malformed("a text is longer than its bound"));
    }
    std::str::from_utf8(from.bytes(len)?).map_err(|_| Malformed("a text is not UTF-8"))
}

/// Text of at most [`limits::REASON_BYTES`]; longer text is cut when it is written.
impl Wire for String {
    const MIN_BYTES: usize = 2;
    fn put(&self, out: &mut Vec<u8>) {
        put_text(self, limits::REASON_BYTES, out);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        take_text(from, limits::REASON_BYTES).map(str::to_owned)
    }
}

impl Wire for Name {
    const MIN_BYTES: usize = 3;
    fn put(&self, out: &mut Vec<u8>) {
        put_text(self.as_str(), limits::NAME_BYTES, out);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        match take_text(from, limits::NAME_BYTES)? {
            "" => Err(Malformed("a name is empty")),
            name if !name.chars().all(Name::allows) => Err(Malformed("a name has a character that no name has")),
            name => Ok(Name::new(name)),
        }
    }
}

/// Text in its canonical form, of at most [`limits::TAGS_BYTES`].
impl Wire for Tags {
    const MIN_BYTES: usize = 2;
    fn put(&self, out: &mut Vec<u8>) {
        put_text(self.as_str(), limits::TAGS_BYTES, out);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let text = take_text(from, limits::TAGS_BYTES)?;
        let tags = Tags::parse(text).ok().filter(|tags| tags.as_str() == text);
        tags.ok_or(Malformed("tags are no name=value pairs in order"))
    }
}

/// Opaque bytes with a 32-bit length.
impl Wire for Bytes {
    const MIN_BYTES: usize = 4;
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u32).put(out);
        out.extend_from_slice(self);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let len = u32::take(from)? as usize;
        let (bytes, shared) = (from.bytes(len)?, from.shared);
        Ok(shared.map_or_else(|| Bytes::copy_from_slice(bytes), |chunk| chunk.slice_ref(bytes)))
    }
}

impl Wire for SocketAddr {
    const MIN_BYTES: usize = 7;
    fn put(&self, out: &mut Vec<u8>) {
        match self.ip() {
            IpAddr::V4(ip) => {
                out.push(4);
                out.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                out.push(6);
                out.extend_from_slice(&ip.octets());
            }
        }
        self.port().put(out);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let ip = match u8::take(from)? {
            4 => IpAddr::V4(Ipv4Addr::from(u32::from_be_bytes(from.bytes(4)?.try_into().expect("four bytes")))),
            6 => IpAddr::V6(Ipv6Addr::from(u128::from_be_bytes(from.bytes(16)?.try_into().expect("sixteen bytes")))),
            _ => return Err(Malformed("an address is neither IPv4 nor IPv6")),
        };
        Ok(SocketAddr::new(ip, u16::take(from)?))
    }
}

/// Implements [`Wire`] for enumerations whose variants have a number of one byte.
macro_rules! wire_enum {
    ($($t:ident { $($v:ident),* $(,)? })*) => {$(
        impl $crate::wire::Wire for $t {
            const MIN_BYTES: usize = 1;
            fn put(&self, out: &mut Vec<u8>) {
                out.push(*self as u8);
            }
            fn take(from: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::wire::Malformed> {
                let raw = <u8 as $crate::wire::Wire>::take(from)?;
                $(if raw == $t::$v as u8 { return Ok($t::$v); })*
                Err($crate::wire::Malformed(concat!("unknown ", stringify!($t))))
            }
        }
    )*};
}
pub(crate) use wire_enum;

/// Implements [`Wire`] for structs, field by field in the order given. Where `=> check` stands behind one, that method has the
/// last word on what was read.
macro_rules! wire_struct {
    ($($t:ident { $($f:ident : $ft:ty),* $(,)? } $(=> $check:ident)?)*) => {$(
        impl $crate::wire::Wire for $t {
            const MIN_BYTES: usize = 0 $(+ <$ft as $crate::wire::Wire>::MIN_BYTES)*;
            fn put(&self, out: &mut Vec<u8>) {
                let _ = &out;
                $($crate::wire::Wire::put(&self.$f, out);)*
            }
            fn take(from: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::wire::Malformed> {
                let _ = &from;
                let value = $t { $($f: $crate::wire::Wire::take(from)?),* };
                $(let value = value.$check()?;)?
                Ok(value)
            }
        }
    )*};
}
pub(crate) use wire_struct;

wire_struct! {
    Ballot { round: u64, coordinator: Incarnation }
    ViewId { number: u64, ballot: Ballot }
}

impl Wire for Incarnation {
    const MIN_BYTES: usize = 16;
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        u128::take(from).map(Incarnation)
    }
}

impl Wire for Seat {
    const MIN_BYTES: usize = 4;
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        u32::take(from).map(Seat)
    }
}
