//! The multicast group that an engine has joined: its socket, when it is ready, and what is thrown away on purpose.

use std::os::fd::{AsRawFd, RawFd};

use bytes::BytesMut;

use super::super::clock;
use super::super::launch::GroupSettings;
use super::open;
use super::{GroupOptions, GroupSocket, Outgoing, Received};
use crate::core::Casting;
use crate::types::{Result, limits, mix};

/// Longest datagram where the system does not tell the MTU.
const ETHERNET_BYTES: usize = 1_500 - open::HEADERS_V6;

/// Datagrams that were thrown away on purpose, and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Rehearsed {
    pub datagrams: u64,
    pub bytes: u64,
}

/// A group that has been joined.
#[derive(Debug)]
pub struct Joined {
    socket: GroupSocket,
    /// Datagrams may wait to be taken, and the system has not said "would block" since it last said "writable".
    pub readable: bool,
    pub writable: bool,
    /// Longest datagram that goes, and gets here, in one packet.
    datagram_bytes: usize,
    loss_per_mille: u64,
    drawn: u64,
    /// What was thrown away on purpose.
    rehearsed: Rehearsed,
}

impl Joined {
    /// Joins a group. Errors name it, the interface, and what to do.
    pub fn open(settings: &GroupSettings) -> Result<Joined> {
        let GroupSettings { group, interface, ttl, buffer_bytes, .. } = *settings;
        let mut socket = GroupSocket::open(&GroupOptions { group, interface, ttl, buffer_bytes })?;
        // The least that a network may have if the system does not tell: what Ethernet has.
        let whole = socket.packet_bytes().unwrap_or(ETHERNET_BYTES).max(limits::LEAST_CAST_BYTES);
        let datagram_bytes = settings.datagram_bytes.min(whole);
        socket.set_longest(datagram_bytes);
        let loss_per_mille = settings.loss_per_mille.into();
        let (drawn, rehearsed) = (clock::random_bits() as u64, Rehearsed::default());
        Ok(Joined { socket, readable: false, writable: true, datagram_bytes, loss_per_mille, drawn, rehearsed })
    }

    /// Bytes of datagrams that can wait, as the system granted them.
    pub fn receive_buffer_bytes(&self) -> usize {
        self.socket.receive_buffer_bytes()
    }

    /// Bytes of the longest datagram that goes, and gets here, in one packet.
    pub fn datagram_bytes(&self) -> usize {
        self.datagram_bytes
    }

    /// Where it is, and what it takes.
    pub fn describe(&self) -> String {
        let (group, bytes) = (self.socket.group(), self.datagram_bytes);
        let interface = self.socket.interface().unwrap_or("an interface that has no name");
        format!("multicast to {group} at {interface}: datagrams of at most {bytes} bytes")
    }

    /// What the operator should know of this system, with what to do about it.
    pub fn shortcomings(&self, settings: &GroupSettings) -> Vec<String> {
        let mut texts = Vec::new();
        let (asked, granted) = (settings.buffer_bytes, self.receive_buffer_bytes());
        if granted < asked {
            texts.push(format!(
                "the system gives {granted} bytes for datagrams that wait instead of multicast.buffer_bytes = {asked}, and all senders \
                 keep to that: `sysctl -w net.core.rmem_max={asked}` allows it"
            ));
        }
        if settings.loss_per_mille > 0 {
            texts.push(format!(
                "multicast.rehearse_loss = {}: so many of a thousand datagrams are thrown away on purpose",
                settings.loss_per_mille
            ));
        }
        texts
    }

    /// Sends datagrams; answers how many the system took.
    pub fn send<'a>(&mut self, datagrams: impl Iterator<Item = &'a Casting>) -> usize {
        let datagrams: Vec<Outgoing<'_>> = datagrams.map(|(head, body)| Outgoing { head, body }).collect();
        let taken = self.socket.send(&datagrams);
        self.writable = taken == datagrams.len();
        taken
    }

    /// Takes what has come, as many datagrams as make about so many bytes when they are long.
    pub fn receive(&mut self, bytes: usize, chunk: &mut dyn FnMut() -> BytesMut, out: &mut Vec<Received>) {
        if self.readable {
            let most = (bytes / self.datagram_bytes).max(1);
            self.readable = self.socket.receive(most, chunk, out);
            if self.loss_per_mille > 0 {
                out.retain(|datagram| !self.loses(datagram));
            }
        }
    }

    /// Whether this one is thrown away, which is counted.
    fn loses(&mut self, datagram: &Received) -> bool {
        self.drawn = self.drawn.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let lost = mix(self.drawn, 2) % 1_000 < self.loss_per_mille;
        if lost {
            self.rehearsed.datagrams += 1;
            self.rehearsed.bytes += datagram.bytes.len() as u64;
        }
        lost
    }

    /// What was thrown away on purpose.
    pub fn rehearsed(&self) -> Rehearsed {
        self.rehearsed
    }

    /// System calls so far.
    pub fn calls(&self) -> u64 {
        self.socket.calls()
    }
}

impl AsRawFd for Joined {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
