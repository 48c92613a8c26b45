use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use super::*;
use crate::types::{Code, limits};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A port that was free just now; each test has a group of its own besides.
fn free_port() -> u16 {
    UdpSocket::bind((LOOPBACK, 0)).unwrap().local_addr().unwrap().port()
}

/// Only this machine hears it.
fn options(last: u8) -> GroupOptions {
    let group = SocketAddr::from(([239, 192, 77, last], free_port()));
    GroupOptions { group, interface: Some(LOOPBACK), ttl: 0, buffer_bytes: 1 << 20 }
}

fn open(options: &GroupOptions) -> GroupSocket {
    GroupSocket::open(options).unwrap()
}

fn chunk() -> BytesMut {
    BytesMut::with_capacity(limits::CHUNK_BYTES)
}

/// Waits for so many datagrams, and sees that no more come with them.
fn receive(socket: &mut GroupSocket, count: usize) -> Vec<Received> {
    let (mut out, end) = (Vec::new(), Instant::now() + Duration::from_secs(10));
    while socket.receive(1_000, &mut chunk, &mut out) || out.len() < count {
        assert!(Instant::now() < end, "{} of {count} datagrams came", out.len());
        let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the pointer is to one live structure.
        unsafe { libc::poll(&raw mut poll, 1, 100) };
    }
    assert_eq!(out.len(), count);
    out
}

/// Bytes that tell which datagram they are of, and where in it they stand.
fn datagram(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (number * 31 + at * 7 + at / 256) as u8).collect()
}

/// Sends datagrams of these lengths, in two parts each, and answers them whole.
fn send(socket: &mut GroupSocket, lengths: &[usize]) -> Vec<Vec<u8>> {
    let whole: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(n, length)| datagram(n, *length)).collect();
    let parts: Vec<Outgoing> = whole
        .iter()
        .map(|bytes| bytes.split_at(bytes.len().min(20)))
        .map(|(head, body)| Outgoing { head, body })
        .collect();
    assert_eq!(socket.send(&parts), parts.len());
    whole
}

fn assert_same(received: &[Received], sent: &[Vec<u8>]) {
    let lengths: Vec<[usize; 2]> = received.iter().zip(sent).map(|(r, s)| [r.bytes.len(), s.len()]).collect();
    assert!(received.iter().map(|r| &r.bytes[..]).eq(sent.iter().map(|s| &s[..])), "{lengths:?}");
}

#[test]
fn two_sockets_hear_each_other_and_themselves() {
    let options = options(1);
    let mut both = [open(&options), open(&options)];
    for sender in 0..2 {
        let sent = send(&mut both[sender], &[100]);
        for socket in &mut both {
            let received = receive(socket, 1);
            assert_same(&received, &sent);
            assert_eq!(received[0].from, SocketAddr::new(LOOPBACK, options.group.port()));
            assert_eq!(received[0].from, socket.local());
        }
    }
    assert_eq!(both[0].interface(), Some("lo"));
    assert!(both[0].mtu().is_some_and(|mtu| mtu >= 1_280), "{:?}", both[0].mtu());
}

#[test]
fn another_group_on_the_same_port_is_not_heard() {
    let one = options(2);
    let other = GroupOptions { group: SocketAddr::from(([239, 192, 77, 3], one.group.port())), ..one.clone() };
    let (mut here, mut there) = (open(&one), open(&other));
    send(&mut there, &[50]);
    assert_eq!(receive(&mut there, 1).len(), 1, "it was sent");
    let sent = send(&mut here, &[60]);
    assert_same(&receive(&mut here, 1), &sent);
}

#[test]
fn datagrams_of_one_length_go_together_and_come_apart() {
    let options = options(4);
    let (mut from, mut to) = (open(&options), open(&options));
    assert!(from.segments() && to.coalesces(), "Linux 5.0 and later have both");
    let lengths = [vec![1_400; 45], vec![700]].concat();
    let sent = send(&mut from, &lengths);
    assert_eq!(from.calls(), 1);
    assert_same(&receive(&mut to, 46), &sent);
    assert_eq!(to.calls(), 2, "one for the super-datagram, one that finds nothing more");
}

/// More than a super-datagram, than a call, and than a chunk hold.
#[test]
fn any_lengths_arrive_whole_and_in_order() {
    let options = options(5);
    let (mut from, mut to) = (open(&options), open(&options));
    let runs: [(usize, usize); 9] =
        [(1_000, 130), (1, 70), (0, 3), (1_400, 3), (9_000, 8), (1, 1), (60_000, 3), (1_399, 100), (20, 2)];
    let lengths: Vec<usize> = runs.iter().flat_map(|(length, times)| vec![*length; *times]).collect();
    for part in lengths.chunks(110) {
        let sent = send(&mut from, part);
        assert_same(&receive(&mut to, part.len()), &sent);
    }
    assert!(from.segments(), "nothing was tried that the interface cannot do");
}

#[test]
fn without_help_of_the_kernel_the_same_arrives() {
    let options = options(6);
    let (mut from, mut to) = (open(&options), open(&options));
    from.segments = false;
    open::coalesce(&to.socket, false);
    to.coalesces = false;
    to.set_longest(1_500);
    let lengths = [vec![1_400; 40], vec![10], vec![1_500, 0, 1_501, 1]].concat();
    let mut sent = send(&mut from, &lengths);
    assert_eq!(from.calls(), 2, "32 messages a call");
    sent.remove(43);
    assert_same(&receive(&mut to, 44), &sent);
    assert_eq!(to.too_long(), 1);
    assert!(to.calls() <= 5, "{} calls for 45 datagrams", to.calls());
}

/// As over a network whose drivers coalesce nothing, and then one that does: a bridge may have both behind it.
#[test]
fn what_comes_one_by_one_is_taken_many_at_once_and_super_datagrams_among_it_stay_whole() {
    let options = options(16);
    let (mut from, mut to) = (open(&options), open(&options));
    to.set_longest(1_472);
    let mut calls = |segments: bool, lengths: &[usize]| {
        from.segments = segments;
        let (sent, before) = (send(&mut from, lengths), to.calls());
        assert_same(&receive(&mut to, lengths.len()), &sent);
        to.calls() - before
    };
    let singles = vec![1_472; 100];
    assert!(calls(false, &singles) >= 10, "the first ones are taken for what comes between super-datagrams");
    assert!(calls(false, &singles) <= 6, "32 a call");
    let mixed = [vec![1_472; 40], vec![700; 3], vec![90; 20], vec![10, 0, 1_471]].concat();
    assert!(calls(true, &mixed) <= 6, "all wait in the socket, and the first call that looks for singles takes them");
    assert_eq!(calls(true, &[1_472; 44]), 2, "one for the super-datagram, one that finds nothing more");
    assert_eq!(to.too_long(), 0);
}

#[test]
fn what_is_too_long_is_dropped_and_counted() {
    let options = options(7);
    let (mut from, mut to) = (open(&options), open(&options));
    to.set_longest(500);
    send(&mut from, &[501, 501, 500]);
    let received = receive(&mut to, 1);
    assert_eq!(received[0].bytes, datagram(2, 500));
    assert_eq!(to.too_long(), 2);
}

/// Small datagrams share a chunk: an idle group does not hold 64 KiB for each heartbeat.
#[test]
fn a_chunk_is_used_to_its_end() {
    let options = options(8);
    let (mut from, mut to) = (open(&options), open(&options));
    let (mut chunks, mut out) = (0, Vec::new());
    for round in 0..100 {
        send(&mut from, &[1_000]);
        let end = Instant::now() + Duration::from_secs(10);
        while out.len() == round {
            assert!(Instant::now() < end);
            to.receive(
                10,
                &mut || {
                    chunks += 1;
                    chunk()
                },
                &mut out,
            );
        }
    }
    assert!(out.iter().all(|r| r.bytes == datagram(0, 1_000)));
    assert!(chunks <= 3, "{chunks} chunks for 100,000 bytes, of which one waits");
}

/// They may be kept for long, where one member holds up the others.
#[test]
fn short_datagrams_lie_together_and_keep_no_slots() {
    let options = options(17);
    let (mut from, mut to) = (open(&options), open(&options));
    to.set_longest(8_900);
    from.segments = false;
    let sent = send(&mut from, &[100; 70]);
    let received = receive(&mut to, 70);
    assert_same(&received, &sent);
    let follows = |pair: &[Received]| pair[0].bytes.as_ptr_range().end == pair[1].bytes.as_ptr();
    let together = received.windows(2).filter(|pair| follows(pair)).count();
    assert!(together >= 45, "{together} lie behind the one before; those of two calls need not");
}

/// The caller has other sockets: what waits beyond `most` is told, and kept.
#[test]
fn no_more_is_taken_than_was_asked_for() {
    let options = options(9);
    let (mut from, mut to) = (open(&options), open(&options));
    from.segments = false;
    let sent = send(&mut from, &[30, 40, 50]);
    let (mut out, end) = (Vec::new(), Instant::now() + Duration::from_secs(10));
    while out.len() < 2 {
        assert!(Instant::now() < end);
        let more = to.receive(2 - out.len(), &mut chunk, &mut out);
        assert!(more || out.len() < 2);
    }
    assert_same(&out, &sent[..2]);
    assert_same(&receive(&mut to, 1), &sent[2..]);
}

/// An interface that cannot do what was probed says so when something is sent: nothing is lost by it.
#[test]
fn segmentation_that_is_refused_is_given_up_and_all_is_sent() {
    let options = options(10);
    let (mut from, mut to) = (open(&options), open(&options));
    let error = std::io::Error::from_raw_os_error(libc::EIO);
    assert_eq!(from.not_sent(&error, 1), Some(1), "one by itself is lost, and nothing else follows");
    assert!(from.segments());
    assert_eq!(from.not_sent(&error, 7), Some(0), "they are sent again");
    assert!(!from.segments());
    let sent = send(&mut from, &[900; 7]);
    assert_same(&receive(&mut to, 7), &sent);
}

#[test]
fn no_room_is_no_loss() {
    let mut socket = open(&options(11));
    let no_room = std::io::Error::from_raw_os_error(libc::EAGAIN);
    assert_eq!(socket.not_sent(&no_room, 7), None);
    assert!(socket.segments());
}

#[test]
fn granted_buffers_are_told_as_they_were_asked_for() {
    let asked = GroupOptions { buffer_bytes: 100_000, ..options(12) };
    assert_eq!(open(&asked).receive_buffer_bytes(), 100_000);
    let too_much = GroupOptions { buffer_bytes: 1 << 30, ..asked };
    let most: usize = std::fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap().trim().parse().unwrap();
    assert_eq!(open(&too_much).receive_buffer_bytes(), most.min(1 << 30));
}

fn refused(options: &GroupOptions) -> (Code, String) {
    let error = GroupSocket::open(options).unwrap_err();
    (error.code(), error.text().to_owned())
}

#[test]
fn what_cannot_be_a_group_is_refused_by_name() {
    let good = options(13);
    let port = good.group.port();
    let (code, text) = refused(&GroupOptions { group: SocketAddr::from(([10, 1, 2, 3], port)), ..good.clone() });
    assert_eq!(code, Code::InvalidArgument);
    assert!(text.contains("10.1.2.3 is not a multicast address") && text.contains("239.192.0.0"), "{text}");
    let (_, text) = refused(&GroupOptions { group: SocketAddr::new(good.group.ip(), 0), ..good.clone() });
    assert!(text.contains("239.192.77.13:0") && text.contains("needs a port"), "{text}");
    let (_, text) = refused(&GroupOptions { interface: Some("::1".parse().unwrap()), ..good.clone() });
    assert!(text.contains("name an IPv4 address"), "{text}");
    let (_, text) = refused(&GroupOptions { ttl: 256, ..good });
    assert!(text.contains("a TTL of 256"), "{text}");
}

#[test]
fn an_interface_of_another_machine_is_refused_by_name() {
    let (code, text) = refused(&GroupOptions { interface: Some("203.0.113.9".parse().unwrap()), ..options(14) });
    assert_eq!(code, Code::System);
    assert!(text.contains("203.0.113.9 is not an address of this machine"), "{text}");
    assert!(text.contains("239.192.77.14") && text.contains("ip -brief address"), "{text}");
}

#[test]
fn a_port_that_somebody_does_not_share_says_so() {
    let options = options(15);
    let _other = UdpSocket::bind(("0.0.0.0", options.group.port())).unwrap();
    let (code, text) = refused(&options);
    assert_eq!(code, Code::System);
    assert!(text.contains(&format!("port {} is taken", options.group.port())) && text.contains("ss -lnup"), "{text}");
}

/// Needs IPv6 (an address ::1), and a route for multicast at `lo`, which Linux makes only for real interfaces:
/// `ip -6 route add multicast ff00::/8 dev lo table local`. Without either, the error must say just that. Datagrams of
/// IPv6 over a real interface are in `tests/process_mcast_test.rs`.
#[test]
fn a_group_of_ipv6_works_or_says_what_it_lacks() {
    let group = SocketAddr::new("ff15::4d:10".parse().unwrap(), free_port());
    let options = GroupOptions { group, interface: Some("::1".parse().unwrap()), ttl: 0, buffer_bytes: 0 };
    let has_ipv6 = UdpSocket::bind("[::1]:0").is_ok();
    match GroupSocket::open(&options) {
        Ok(mut from) => {
            assert!(has_ipv6);
            let mut to = open(&options);
            let sent = send(&mut from, &[1_200, 1_200, 1_100, 9]);
            let received = receive(&mut to, 4);
            assert_same(&received, &sent);
            assert_eq!(received[0].from, from.local());
        }
        Err(error) if has_ipv6 => {
            assert!(error.text().contains("ip -6 route add multicast ff00::/8 dev lo table local"), "{error}");
            assert!(error.text().contains("ff15::4d:10") && error.text().contains("::1"), "{error}");
        }
        Err(error) => assert!(error.text().contains("IPv6"), "{error}"),
    }
}
