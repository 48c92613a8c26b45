//! A multicast group's socket between two hosts: super-datagrams leave in one call, cross an Ethernet in single frames, and arrive whole.

mod command_support;
mod network_support;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use decurion::runtime::multicast::{GroupOptions, GroupSocket, Outgoing, Received};
use decurion::types::limits;
use network_support::{Network, address, seed};

const SEED: usize = 11;

/// A socket lives in the network that it was opened in, whoever uses it.
fn open(network: &Network, host: usize, group: SocketAddr) -> GroupSocket {
    let interface = Some(IpAddr::V4(address(host)));
    let work = || {
        network.hosts[host].enter().expect("a namespace of our own");
        GroupSocket::open(&GroupOptions { group, interface, ttl: 1, buffer_bytes: 1 << 20 }).expect("a group")
    };
    thread::scope(|scope| scope.spawn(work).join().expect("a socket"))
}

/// Bytes that tell which datagram they are of.
fn datagram(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (number * 31 + at * 7 + at / 256) as u8).collect()
}

/// Sends datagrams of these lengths, and sees that the other host gets them as they were.
fn cross(from: &mut GroupSocket, to: &mut GroupSocket, lengths: &[usize]) {
    let whole: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(number, length)| datagram(number, *length)).collect();
    let parts: Vec<Outgoing> = whole
        .iter()
        .map(|bytes| bytes.split_at(48.min(bytes.len())))
        .map(|(head, body)| Outgoing { head, body })
        .collect();
    assert_eq!(from.send(&parts), parts.len());
    let (mut out, end) = (Vec::<Received>::new(), Instant::now() + Duration::from_secs(10));
    while out.len() < whole.len() {
        assert!(Instant::now() < end, "{} of {} datagrams came", out.len(), whole.len());
        to.receive(1_000, &mut || BytesMut::with_capacity(limits::CHUNK_BYTES), &mut out);
        let mut poll = libc::pollfd { fd: to.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the pointer is to one live structure.
        unsafe { libc::poll(&raw mut poll, 1, 20) };
    }
    assert!(out.iter().map(|received| &received.bytes[..]).eq(whole.iter().map(|sent| &sent[..])));
    assert!(out.iter().all(|received| received.from == from.local()), "{}", out[0].from);
}

#[test]
fn super_datagrams_cross_a_network_of_1500_bytes() {
    let Some(network) = Network::new(2, seed(SEED)) else { return };
    let group: SocketAddr = "239.192.79.1:7001".parse().expect("an address");
    let (mut from, mut to) = (open(&network, 0, group), open(&network, 1, group));
    assert_eq!((from.interface(), from.mtu(), from.segments()), (Some("eth0"), Some(1_500), true));
    cross(&mut from, &mut to, &[vec![1_472; 40], vec![700]].concat());
    assert_eq!(from.calls(), 1);
    assert!(network.counts().frames >= 41, "{:?}", network.counts());
    // Too long for a frame: fragments, which are no segments.
    cross(&mut from, &mut to, &[1_473, 1_473, 1_473, 9_000, 100, 100]);
    assert!(from.segments(), "nothing was tried that the interface cannot do");
}

/// The system refuses segments that are longer than the interface's packets now: it is not asked again, and nothing is lost by it.
#[test]
fn an_mtu_that_shrinks_ends_segmentation_and_loses_nothing() {
    let Some(network) = Network::new(2, seed(SEED)) else { return };
    let group: SocketAddr = "239.192.79.2:7001".parse().expect("an address");
    let (mut from, mut to) = (open(&network, 0, group), open(&network, 1, group));
    cross(&mut from, &mut to, &[1_400; 30]);
    assert!(from.segments());
    network.hosts[0].set_mtu(1_000).expect("a device of our own");
    assert_eq!(from.mtu(), Some(1_000));
    cross(&mut from, &mut to, &[1_400; 30]);
    assert!(!from.segments());
    cross(&mut from, &mut to, &[900; 30]);
}
