//! Receiving into chunks without copying: whole super-datagrams, which are cut into datagrams, or many single datagrams a
//! call where the network delivers them one by one.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use bytes::{Bytes, BytesMut};
use socket2::{SockAddr, SockAddrStorage};

use super::super::socket::canonical;
use super::{DATAGRAM_BYTES, GroupSocket, Received};

/// Most single datagrams of one call.
const SLOTS: usize = 32;
/// So many that came by themselves in a row, and the next call looks for several. Fewer would be drawn in by the beacons
/// between super-datagrams.
const ALONE: usize = 8;
/// Less room than this at the end of a chunk is not used.
const LEAST_ROOM: usize = 4 * 1024;

/// What came of receiving once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Got {
    /// Something, and there may be more.
    More,
    /// Nothing waits.
    Nothing,
    /// The system is out of memory, say: the caller's next turn looks again.
    Failed,
}

/// Where the next datagrams go: the rest of a chunk, and for what does not fit there the beginning of the next.
#[derive(Debug, Default)]
pub(super) struct Space {
    now: BytesMut,
    next: BytesMut,
    /// Longest datagram so far. So much room is left, or a new chunk is begun: then only a super-datagram reaches across,
    /// and only one datagram of it is copied.
    longest: usize,
}

impl Space {
    /// Has room for the longest thing that can come.
    fn prepare(&mut self, chunk: &mut dyn FnMut() -> BytesMut) {
        debug_assert!(self.now.is_empty() && self.next.is_empty(), "what was received has been taken out");
        if self.now.capacity() < self.longest.max(LEAST_ROOM) {
            self.now = std::mem::take(&mut self.next);
        }
        for part in [&mut self.now, &mut self.next] {
            if part.capacity() == 0 {
                *part = chunk();
            }
        }
        debug_assert!(self.next.capacity() >= DATAGRAM_BYTES, "a chunk holds any datagram");
    }

    /// Takes out the first `length` bytes, which the system has just written, in slices of at most `segment` bytes.
    fn take(&mut self, length: usize, segment: usize, mut each: impl FnMut(Bytes)) {
        let here = length.min(self.now.capacity());
        let (mut first, mut second) = (written(&mut self.now, here), written(&mut self.next, length - here));
        while first.len() >= segment {
            each(first.split_to(segment));
        }
        if !first.is_empty() {
            let rest = second.split_to(second.len().min(segment - first.len()));
            each(if rest.is_empty() { first } else { [first, rest].concat().into() });
        }
        while !second.is_empty() {
            each(second.split_to(second.len().min(segment)));
        }
        if self.now.capacity() == 0 {
            self.now = std::mem::take(&mut self.next);
        }
    }
}

/// How single datagrams are received.
#[derive(Debug, Default)]
pub(super) struct Singles {
    /// Datagrams in a row that were no part of a super-datagram.
    alone: usize,
    /// Where a super-datagram that comes in spite of that goes beyond its slot.
    beyond: Vec<u8>,
}

/// Takes the first bytes of the spare room out, which the system has written.
fn written(space: &mut BytesMut, length: usize) -> Bytes {
    if length == 0 {
        return Bytes::new();
    }
    let mut bytes = split_room(space, length);
    // SAFETY: the caller has had the system write so many bytes from the start of the room, which has them: it was cut
    // off at exactly that length.
    unsafe { bytes.set_len(length) };
    bytes.freeze()
}

/// Room for the control message that tells how long the segments are.
#[derive(Clone, Copy)]
#[repr(C)]
union Control {
    bytes: [u8; 64],
    align: libc::cmsghdr,
}

impl GroupSocket {
    /// Receives once: a super-datagram, or several datagrams where they come one by one.
    pub(super) fn receive_some(
        &mut self, most: usize, chunk: &mut dyn FnMut() -> BytesMut, out: &mut Vec<Received>,
    ) -> Got {
        self.space.prepare(chunk);
        let slots = SLOTS.min(most).min(self.space.now.capacity() / self.longest);
        let coalesced = self.coalesces && self.singles.alone < ALONE;
        if coalesced || slots < 2 { self.receive_one(out) } else { self.receive_several(slots, out) }
    }

    fn receive_one(&mut self, out: &mut Vec<Received>) -> Got {
        let mut slices = [&mut self.space.now, &mut self.space.next].map(|part| slice(part.spare_capacity_mut()));
        let (mut from, mut control) = (SockAddrStorage::zeroed(), Control { bytes: [0; 64] });
        // SAFETY: a structure of plain numbers and pointers, for which zero is a value.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = slices.as_mut_ptr();
        message.msg_iovlen = slices.len() as _;
        message.msg_name = (&raw mut from).cast();
        message.msg_namelen = from.size_of();
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = size_of::<Control>() as _;
        self.calls += 1;
        // SAFETY: the message points to two live and separate pieces of room, an address and control messages, all
        // with their lengths.
        let length = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0) };
        let Ok(length) = usize::try_from(length) else { return not_received() };
        let segment = segment_of(&message);
        self.singles.alone = if segment.is_some() { 0 } else { self.singles.alone + 1 };
        let segment = segment.unwrap_or(length).max(1);
        let sender = address(from, message.msg_namelen);
        let cut = message.msg_flags & libc::MSG_TRUNC != 0;
        let Self { space, longest, too_long, .. } = self;
        let mut heard = space.longest;
        let mut one = |bytes: Bytes| match sender {
            Some(from) if bytes.len() <= *longest && !cut => {
                heard = heard.max(bytes.len());
                out.push(Received { from, bytes });
            }
            _ => *too_long += 1,
        };
        if length == 0 {
            one(Bytes::new())
        } else {
            space.take(length, segment, one)
        }
        self.space.longest = heard;
        Got::More
    }

    /// Receives up to so many datagrams, each into a slot of the chunk that holds the longest. What is longer is a
    /// super-datagram after all, and is copied: from then on they are looked for again.
    fn receive_several(&mut self, slots: usize, out: &mut Vec<Received>) -> Got {
        let Self { space, singles, longest, .. } = self;
        if singles.beyond.is_empty() {
            // Zeroed by the system, page by page as they are touched, which is hardly ever.
            singles.beyond = vec![0; SLOTS * DATAGRAM_BYTES];
        }
        let mut room = space.now.spare_capacity_mut().chunks_exact_mut(*longest);
        let mut beyond = singles.beyond.chunks_exact_mut(DATAGRAM_BYTES);
        let mut slices: [[libc::iovec; 2]; SLOTS] = std::array::from_fn(|_| {
            let beyond = beyond.next().unwrap_or_default();
            [
                slice(room.next().unwrap_or_default()),
                libc::iovec { iov_base: beyond.as_mut_ptr().cast(), iov_len: beyond.len() },
            ]
        });
        let mut from: [SockAddrStorage; SLOTS] = std::array::from_fn(|_| SockAddrStorage::zeroed());
        let mut controls = [Control { bytes: [0; 64] }; SLOTS];
        // SAFETY: structures of plain numbers and pointers, for which zero is a value.
        let mut messages: [libc::mmsghdr; SLOTS] = unsafe { std::mem::zeroed() };
        for (at, message) in messages.iter_mut().enumerate() {
            let header = &mut message.msg_hdr;
            header.msg_iov = slices[at].as_mut_ptr();
            header.msg_iovlen = slices[at].len() as _;
            header.msg_name = (&raw mut from[at]).cast();
            header.msg_namelen = from[at].size_of();
            header.msg_control = (&raw mut controls[at]).cast();
            header.msg_controllen = size_of::<Control>() as _;
        }
        self.calls += 1;
        // SAFETY: the first `slots` messages point each to a slot of its own of the chunk's room, to a piece of its own of
        // `beyond`, to an address and to control messages, all with their lengths; there are so many slots.
        let count = unsafe {
            let no_time = std::ptr::null_mut();
            libc::recvmmsg(self.socket.as_raw_fd(), messages.as_mut_ptr(), slots as libc::c_uint, 0, no_time)
        };
        let Ok(count) = usize::try_from(count) else { return not_received() };
        let before = out.len();
        for (at, (message, from)) in messages.iter().zip(from).take(count).enumerate() {
            let (header, length) = (&message.msg_hdr, message.msg_len as usize);
            // The last one leaves the rest of its slot to the next call.
            let slot = if at + 1 == count { length.min(self.longest) } else { self.longest };
            let mut slot = split_room(&mut self.space.now, slot);
            let mut bytes = written(&mut slot, length.min(self.longest));
            if length > self.longest {
                let beyond = &self.singles.beyond[at * DATAGRAM_BYTES..][..length - self.longest];
                bytes = [&bytes[..], beyond].concat().into();
            }
            let segment = segment_of(header);
            if segment.is_some() {
                self.singles.alone = 0;
            }
            let cut = header.msg_flags & libc::MSG_TRUNC != 0;
            self.keep(address(from, header.msg_namelen).filter(|_| !cut), bytes, segment, out);
        }
        gather(&mut out[before..], self.longest);
        Got::More
    }

    /// Keeps what came at once, cut into its datagrams; what is too long, or from nobody, is counted.
    fn keep(&mut self, from: Option<SocketAddr>, mut bytes: Bytes, segment: Option<usize>, out: &mut Vec<Received>) {
        loop {
            let one = bytes.split_to(segment.unwrap_or(bytes.len()).min(bytes.len()));
            match from {
                Some(from) if one.len() <= self.longest => out.push(Received { from, bytes: one }),
                _ => self.too_long += 1,
            }
            if bytes.is_empty() {
                return;
            }
        }
    }
}

/// What fills less than a quarter of its slot would keep all of it: several of these are copied to one block (R10).
fn gather(received: &mut [Received], slot: usize) {
    let short = |one: &&mut Received| one.bytes.len() < slot / 4;
    let lengths: Vec<usize> = received.iter_mut().filter(short).map(|one| one.bytes.len()).collect();
    if lengths.len() < 2 {
        return;
    }
    let mut block = BytesMut::with_capacity(lengths.iter().sum());
    received.iter_mut().filter(short).for_each(|one| block.extend_from_slice(&one.bytes));
    for (one, length) in received.iter_mut().filter(short).zip(lengths) {
        one.bytes = block.split_to(length).freeze();
    }
}

/// A piece of room as the system takes it.
fn slice(room: &mut [MaybeUninit<u8>]) -> libc::iovec {
    libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() }
}

/// Takes the first bytes of the spare room.
fn split_room(space: &mut BytesMut, length: usize) -> BytesMut {
    let rest = space.split_off(length);
    std::mem::replace(space, rest)
}

fn not_received() -> Got {
    match io::Error::last_os_error().kind() {
        io::ErrorKind::WouldBlock => Got::Nothing,
        io::ErrorKind::Interrupted => Got::More,
        _ => Got::Failed,
    }
}

fn address(storage: SockAddrStorage, length: libc::socklen_t) -> Option<SocketAddr> {
    // SAFETY: the system has written an address of this length, or none, and then the family is that of no protocol.
    let address = unsafe { SockAddr::new(storage, length) };
    address.as_socket().map(canonical)
}

/// How long the segments are, if it is a super-datagram that was received.
fn segment_of(message: &libc::msghdr) -> Option<usize> {
    // SAFETY: the system has filled in the message's control messages and their length; the macros stay within it.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(control) = header.as_ref() {
            if control.cmsg_level == libc::SOL_UDP && control.cmsg_type == libc::UDP_GRO {
                let length = libc::CMSG_DATA(control).cast::<libc::c_int>().read_unaligned();
                return usize::try_from(length).ok().filter(|length| *length > 0);
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    None
}
