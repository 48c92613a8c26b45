//! The socket of a multicast group: many datagrams in few system calls, as far as this kernel can.
//!
//! Datagrams of one length leave as one segmented super-datagram (UDP_SEGMENT), and super-datagrams come in whole
//! (UDP_GRO). Either is probed when the socket is opened, and done without where it does not work.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use bytes::BytesMut;
use socket2::{SockAddr, Socket};

use super::fork::Tracked;
pub use crate::core::Received;
use crate::types::Result;

mod incoming;
pub(super) mod joined;
mod open;
mod outgoing;

/// The longest datagram that UDP can carry, rounded up to what its length field can say.
const DATAGRAM_BYTES: usize = 65_535;

/// What a group's socket is opened with.
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// A multicast address, IPv4 or IPv6, and the port; it may not be 0.
    pub group: SocketAddr,
    /// The address of this machine whose interface is used, of the group's family. `None`: the one to which the
    /// system's route leads when the socket is opened.
    pub interface: Option<IpAddr>,
    /// How many routers a datagram may pass and one: 1 stays in the local network, 0 on this machine. Up to 255.
    pub ttl: u32,
    /// Asked of the system for sending and for receiving; 0 leaves what it gives by itself.
    pub buffer_bytes: usize,
}

/// A datagram to send: what `head` and `body` are together.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The first part.
    pub head: &'a [u8],
    /// The second part.
    pub body: &'a [u8],
}

impl Outgoing<'_> {
    fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// Hears what is sent to one group at one interface, its own datagrams included, and sends to it.
///
/// It is non-blocking, and wants the same care as any socket behind an edge-triggered poll: receive until
/// [`GroupSocket::receive`] answers that no more waits, and after a short [`GroupSocket::send`] wait until it is writable.
#[derive(Debug)]
pub struct GroupSocket {
    socket: Tracked<Socket>,
    group: SocketAddr,
    /// The group as the system takes it.
    to: SockAddr,
    local: IpAddr,
    /// Name of the interface, if it has been told.
    interface: Option<String>,
    segments: bool,
    /// Longest datagram that may be part of a super-datagram: the system refuses to cut one that is over the MTU.
    segment_bytes: usize,
    coalesces: bool,
    space: incoming::Space,
    singles: incoming::Singles,
    longest: usize,
    too_long: u64,
    calls: u64,
}

impl GroupSocket {
    /// Joins the group and binds to its address, so that other groups on the same port are not heard. Any number of
    /// sockets of one machine may do so, and each gets a copy.
    ///
    /// Errors ([`InvalidArgument`](crate::types::Code::InvalidArgument), [`System`](crate::types::Code::System)) name the
    /// group, the interface, and what to do.
    pub fn open(options: &GroupOptions) -> Result<GroupSocket> {
        let opened = open::open(options)?;
        let mut group = GroupSocket {
            socket: opened.socket,
            group: options.group,
            to: opened.to.into(),
            local: opened.local,
            interface: opened.interface,
            segments: opened.segments,
            segment_bytes: DATAGRAM_BYTES,
            coalesces: opened.coalesces,
            space: incoming::Space::default(),
            singles: incoming::Singles::default(),
            longest: DATAGRAM_BYTES,
            too_long: 0,
            calls: 0,
        };
        group.segment_bytes = group.packet_bytes().unwrap_or(DATAGRAM_BYTES);
        Ok(group)
    }

    /// The group and port.
    pub fn group(&self) -> SocketAddr {
        self.group
    }

    /// Where this socket's own datagrams come from.
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local, self.group.port())
    }

    /// Name of the interface, if it can be told.
    pub fn interface(&self) -> Option<&str> {
        self.interface.as_deref()
    }

    /// MTU of the interface, if it can be told: a longer packet, with its headers, is sent in fragments.
    pub fn mtu(&self) -> Option<usize> {
        open::mtu_of(&self.socket, self.interface.as_deref()?)
    }

    /// Bytes of the longest datagram that the interface sends in one packet, if that can be told.
    pub fn packet_bytes(&self) -> Option<usize> {
        let headers = if self.group.is_ipv4() { open::HEADERS_V4 } else { open::HEADERS_V6 };
        self.mtu().map(|mtu| mtu.saturating_sub(headers).min(DATAGRAM_BYTES - headers))
    }

    /// How much may wait to be received, as the system granted it. It is asked for like any buffer and cut by
    /// net.core.rmem_max.
    pub fn receive_buffer_bytes(&self) -> usize {
        // The kernel doubles what it is asked for, to pay for its own bookkeeping, and tells the double.
        self.socket.recv_buffer_size().unwrap_or(0) / 2
    }

    /// Whether datagrams of one length leave together, as one segmented super-datagram.
    pub fn segments(&self) -> bool {
        self.segments
    }

    /// Whether super-datagrams come in whole.
    pub fn coalesces(&self) -> bool {
        self.coalesces
    }

    /// System calls so far that sent or received.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Drops what comes in longer than this, in bytes; 65,535 until it is said, which is everything.
    pub fn set_longest(&mut self, longest: usize) {
        self.longest = longest.clamp(1, DATAGRAM_BYTES);
    }

    /// Datagrams that were dropped because they were longer.
    pub fn too_long(&self) -> u64 {
        self.too_long
    }

    /// Sends datagrams to the group and answers how many were taken: fewer than given when the system has no room now. What it
    /// refuses for another reason counts as taken, and is lost: that is what datagrams do.
    pub fn send(&mut self, datagrams: &[Outgoing<'_>]) -> usize {
        let mut taken = 0;
        while taken < datagrams.len() {
            match self.send_some(&datagrams[taken..]) {
                Some(more) => taken += more,
                None => break,
            }
        }
        taken
    }

    /// Appends what has come to `out`, until nothing more waits or there are `most` new ones: a super-datagram, of 64
    /// datagrams mostly, is not divided. Answers whether more may be waiting.
    ///
    /// `chunk` gives empty buffers with at least 64 KiB of room. Datagrams are slices of them; what is copied is at most
    /// the one datagram that lies across the end of a chunk. The socket holds up to two chunks while it waits.
    pub fn receive(&mut self, most: usize, chunk: &mut dyn FnMut() -> BytesMut, out: &mut Vec<Received>) -> bool {
        let end = out.len() + most;
        // What is dropped counts as well: nobody keeps the caller here.
        for _ in 0..most {
            if out.len() >= end {
                break;
            }
            match self.receive_some(end - out.len(), chunk, out) {
                incoming::Got::More => {}
                incoming::Got::Nothing => return false,
                incoming::Got::Failed => break,
            }
        }
        true
    }
}

impl AsRawFd for GroupSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for GroupSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests;
