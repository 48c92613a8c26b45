//! The raw counterpart of a fan-out by multicast: one process blasts datagrams to a group, the others take them, check them, and
//! say over a link how many bytes they have taken. The datagrams hold messages and nothing else; nothing is sent twice.
//!
//! What is under way stays within what the sockets were granted, so the loopback device loses nothing. Should it, the run fails.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use decurion::runtime::multicast::{GroupOptions, GroupSocket, Outgoing, Received};
use decurion::types::limits::CHUNK_BYTES;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

use super::links::{Link, Read};
use super::receiving::{Deliver, GAP, Handed, Receiving, end_for_loss};
use crate::bench::child::{self, Orders, say, trouble};
use crate::bench::payload::Source;
use crate::bench::protocol::{Blast, Order, Said, Spec};
use crate::clock::monotonic_ns;
use crate::output::{Exit, Failure};

const ORDERS: Token = Token(usize::MAX - 1);
const GROUP: Token = Token(usize::MAX - 2);
/// Asked of the system for datagrams that wait: as much as our members ask for.
const BUFFER_BYTES: usize = 4 << 20;
/// Most segments, and bytes, of one super-datagram: what [`GroupSocket`] sends at once.
const SEGMENTS: usize = 64;
const SUPER_BYTES: usize = 65_000;
/// Messages that are longer than a datagram are filled in so many bytes at once: less is lost at the end, where a datagram is short.
const LONG_BYTES: usize = 256 * 1_024;
/// Length of a credit: how many bytes have been taken since the beginning.
const CREDIT_BYTES: usize = 8;
/// What has been taken for so long without a credit is credited, however little it is.
const CREDIT_AFTER: Duration = Duration::from_millis(5);
/// A receiver that takes nothing of what is under way for so long has lost it.
const LOST_AFTER_NS: u64 = 10_000_000_000;
/// Times that a receiver receives before it looks at its orders and its link again.
const TURN: usize = 16;
/// Chunks that are used again.
const CHUNKS: usize = 8;

/// What both ends have.
struct End {
    poll: Poll,
    events: Events,
    socket: GroupSocket,
    links: Vec<Link>,
    orders: Orders,
    /// Most bytes under way.
    window: usize,
    calls: u64,
}

impl End {
    fn new(spec: &Spec, blast: &Blast, links: Vec<Link>, orders: Orders) -> Result<End, Failure> {
        let interface = Some(IpAddr::V4(spec.host));
        let options = GroupOptions { group: blast.group, interface, ttl: 1, buffer_bytes: BUFFER_BYTES };
        let mut socket = GroupSocket::open(&options)?;
        socket.set_longest(blast.datagram_bytes);
        // A quarter is left to what the system keeps beside the bytes. All processes are granted the same.
        let window = spec.tuning.window_bytes.min(socket.receive_buffer_bytes() / 4 * 3);
        let poll = Poll::new().map_err(environment)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        let named = links.iter().enumerate().map(|(at, link)| (link.socket.as_raw_fd(), Token(at)));
        for (fd, token) in named.chain([(socket.as_raw_fd(), GROUP), (orders.fd(), ORDERS)]) {
            let interest = if token == ORDERS { Interest::READABLE } else { both };
            poll.registry().register(&mut SourceFd(&fd), token, interest).map_err(environment)?;
        }
        Ok(End { poll, events: Events::with_capacity(64), socket, links, orders, window, calls: 0 })
    }

    /// Waits, and notes what links are ready for. Answers whether the group's socket is, and what was ordered.
    fn wait(&mut self, timeout: Option<Duration>) -> Result<(bool, Vec<Order>), Failure> {
        self.calls += 1;
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(environment(error)),
            _ => {}
        }
        let (mut group, mut ordered) = (false, Vec::new());
        for event in &self.events {
            let Token(at) = event.token();
            match (event.token(), self.links.get_mut(at)) {
                (ORDERS, _) => {
                    self.calls += 1;
                    ordered.append(&mut self.orders.take());
                }
                (GROUP, _) => group = true,
                (_, Some(link)) => {
                    link.finished |= event.is_read_closed() || event.is_error();
                    link.readable |= event.is_readable() || link.finished;
                    if event.is_writable() {
                        link.writable_again();
                    }
                }
                _ => {}
            }
        }
        Ok((group, ordered))
    }

    fn mark(&self) {
        say(&Said::Mark(child::mark(self.calls + self.socket.calls(), 0)));
    }
}

fn environment(error: std::io::Error) -> Failure {
    Failure::new(Exit::Environment, format!("a raw process: {error}"))
}

/// The sender: all links lead to receivers.
pub fn send(spec: &Spec, blast: &Blast, links: Vec<Link>, orders: Orders) -> Result<Infallible, Failure> {
    let end = End::new(spec, blast, links, orders)?;
    if !spec.host.is_loopback() {
        stay_on_this_processor().map_err(environment)?;
    }
    // It need not hear itself.
    SockRef::from(&end.socket.as_fd()).leave_multicast_v4(&ipv4(blast)?, &spec.host).map_err(environment)?;
    let (datagram_bytes, chunk_bytes) = lengths(spec.bytes, blast.datagram_bytes, spec.tuning.read_bytes);
    let credits = vec![0; end.links.len()];
    let (now, chunk) = (monotonic_ns(), vec![0x5a; chunk_bytes]);
    let sender = Sender {
        end,
        source: None,
        chunk,
        datagram_bytes,
        filled: 0,
        next: 0,
        sent: 0,
        credits,
        taken: 0,
        moved_ns: now,
    };
    say(&Said::Linked);
    sender.run(spec)
}

/// A virtual Ethernet device has a queue on each processor, so a sender that moves to another one overtakes itself: that is not loss, but raw has
/// no numbers by which to put it right.
fn stay_on_this_processor() -> std::io::Result<()> {
    // SAFETY: the set is plain bits, for which zero is a value; the calls read and write nothing else, and the processor is one that exists.
    let answer = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu().max(0) as usize, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if answer == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

fn ipv4(blast: &Blast) -> Result<Ipv4Addr, Failure> {
    match blast.group.ip() {
        IpAddr::V4(group) => Ok(group),
        IpAddr::V6(group) => Err(Failure::new(Exit::Usage, format!("{group}: the raw blast is of IPv4"))),
    }
}

/// How long a datagram is, and how many bytes are filled at once: messages are whole in one datagram if they fit, and datagrams fill
/// super-datagrams.
fn lengths(bytes: usize, most: usize, fill: usize) -> (usize, usize) {
    if bytes > most {
        return (most, (LONG_BYTES / bytes).max(1) * bytes);
    }
    let datagram = most - most % bytes;
    let whole = SEGMENTS.min(SUPER_BYTES / datagram).max(1) * datagram;
    (datagram, whole * (fill / whole).max(1))
}

struct Sender {
    end: End,
    /// What is being sent.
    source: Option<Source>,
    /// Messages, of which those from `next` to `filled` wait to be sent. The memory is used again at once.
    chunk: Vec<u8>,
    datagram_bytes: usize,
    filled: usize,
    next: usize,
    /// Bytes sent since the beginning.
    sent: u64,
    /// What each receiver has taken of it, and the least of that.
    credits: Vec<u64>,
    taken: u64,
    /// When something was last sent or taken by all.
    moved_ns: u64,
}

impl Sender {
    fn run(mut self, spec: &Spec) -> Result<Infallible, Failure> {
        loop {
            self.send();
            let lost_after = Duration::from_nanos(LOST_AFTER_NS);
            let (_, ordered) = self.end.wait((self.sent > self.taken).then_some(lost_after))?;
            for order in ordered {
                self.obey(&order, spec);
            }
            self.hear();
            if self.sent > self.taken && monotonic_ns().saturating_sub(self.moved_ns) > LOST_AFTER_NS {
                let missing = self.sent - self.taken;
                end_for_loss(&format!(
                    "{missing} bytes of the raw blast were not taken by all: the system lost datagrams"
                ));
            }
        }
    }

    fn obey(&mut self, order: &Order, spec: &Spec) {
        match order {
            Order::Stream { ms, pace: None } => {
                self.source = Some(Source::new(spec.number, spec.bytes, *ms, false));
            }
            Order::Mark => self.end.mark(),
            Order::Watch => {}
            _ => trouble("a raw blast only streams, as fast as it can"),
        }
    }

    /// Sends as long as the window and the system have room.
    fn send(&mut self) {
        loop {
            if self.next == self.filled && !self.fill() {
                return;
            }
            let under_way = (self.sent - self.taken) as usize;
            let waits = self.filled - self.next;
            // A whole super-datagram, unless less is left, or the window holds none.
            let least = waits.min(SUPER_BYTES / self.datagram_bytes.min(SUPER_BYTES) * self.datagram_bytes);
            let room = self.end.window.saturating_sub(under_way);
            if room < least && under_way > 0 {
                return;
            }
            let bytes = waits.min((room - room % self.datagram_bytes).max(least));
            let datagrams: Vec<Outgoing<'_>> = self.chunk[self.next..self.next + bytes]
                .chunks(self.datagram_bytes)
                .map(|body| Outgoing { head: &[], body })
                .collect();
            let taken = self.end.socket.send(&datagrams);
            let sent = bytes.min(taken * self.datagram_bytes);
            (self.next, self.sent) = (self.next + sent, self.sent + sent as u64);
            self.moved_ns = monotonic_ns();
            if sent < bytes {
                // Its being writable again ends the wait.
                return;
            }
        }
    }

    /// Fills the chunk anew; `false` if there is nothing to send.
    fn fill(&mut self) -> bool {
        let Some(source) = &mut self.source else { return false };
        (self.next, self.filled) = (0, source.fill_all(&mut self.chunk));
        if source.ended() {
            say(&Said::Sent(source.sent()));
            self.source = None;
        }
        true
    }

    /// Takes what the receivers say they have taken.
    fn hear(&mut self) {
        for (link, credit) in self.end.links.iter_mut().zip(&mut self.credits) {
            while link.readable {
                self.end.calls += 1;
                match link.read(CHUNK_BYTES) {
                    Read::Bytes => {}
                    Read::Nothing => break,
                    Read::Ended => {
                        if link.close() {
                            say(&Said::Closed { at_ns: monotonic_ns() });
                        }
                        break;
                    }
                }
            }
            let whole = link.read_bytes().len() / CREDIT_BYTES * CREDIT_BYTES;
            if whole > 0
                && let Some(last) = link.take(whole).last_chunk()
            {
                *credit = u64::from_le_bytes(*last);
            }
        }
        let least = self.credits.iter().copied().min().unwrap_or(self.sent);
        if least > self.taken {
            (self.taken, self.moved_ns) = (least, monotonic_ns());
        }
    }
}

/// A receiver: its link leads to the sender.
pub fn receive(spec: &Spec, blast: &Blast, links: Vec<Link>, orders: Orders) -> Result<Infallible, Failure> {
    let end = End::new(spec, blast, links, orders)?;
    let deliver = Deliver::new(spec.mode, Receiving::new(spec.bytes, 1)).map_err(environment)?;
    let step = (end.window / 4) as u64;
    let at_once = (CHUNK_BYTES / blast.datagram_bytes).max(1);
    let mut receiver = Receiver { end, deliver, chunks: Chunks::default(), at_once, taken: 0, credited: 0, step };
    say(&Said::Linked);
    let mut more = true;
    loop {
        let timeout = match (more, receiver.taken > receiver.credited) {
            (true, _) => Some(Duration::ZERO),
            (false, true) => Some(CREDIT_AFTER),
            (false, false) => None,
        };
        let (came, ordered) = receiver.end.wait(timeout)?;
        if !more && !came {
            receiver.credit();
        }
        ordered.iter().for_each(|order| receiver.obey(order));
        more = (more || came) && receiver.take();
        receiver.read_link();
    }
}

struct Receiver {
    end: End,
    deliver: Deliver,
    chunks: Chunks,
    /// Most datagrams that are received before they are checked: what a chunk holds, so it is still in the cache.
    at_once: usize,
    /// Bytes taken since the beginning, and how many of them the sender has been told of.
    taken: u64,
    credited: u64,
    /// So many bytes make a credit.
    step: u64,
}

impl Receiver {
    fn obey(&mut self, order: &Order) {
        match order {
            Order::Watch => self.deliver.watch(),
            Order::Mark => self.end.mark(),
            _ => trouble("a receiver of a raw blast only listens"),
        }
    }

    /// Takes what waits, one chunk after the other; answers whether more may wait.
    fn take(&mut self) -> bool {
        let mut datagrams: Vec<Received> = Vec::with_capacity(SEGMENTS);
        for _ in 0..TURN {
            let more = self.end.socket.receive(self.at_once, &mut || self.chunks.take(), &mut datagrams);
            self.taken += datagrams.iter().map(|datagram| datagram.bytes.len() as u64).sum::<u64>();
            match &mut self.deliver {
                Deliver::Here(receiving) => {
                    if !receiving.take_datagrams(&datagrams) {
                        end_for_loss(GAP);
                    }
                    datagrams.clear();
                }
                // Waits when the thread does not keep up: no credit is given then.
                Deliver::Thread(to) if !datagrams.is_empty() => {
                    let _ = to.send(Handed::Datagrams(std::mem::take(&mut datagrams)));
                }
                Deliver::Thread(_) => {}
            }
            if self.taken - self.credited >= self.step {
                self.credit();
            }
            if !more {
                return false;
            }
        }
        true
    }

    /// Tells the sender how much has been taken.
    fn credit(&mut self) {
        if self.taken > self.credited {
            self.credited = self.taken;
            for link in &mut self.end.links {
                link.push(Bytes::copy_from_slice(&self.taken.to_le_bytes()));
                self.end.calls += link.flush();
            }
        }
    }

    /// Nothing comes over the link but its end. What it did not take before goes out.
    fn read_link(&mut self) {
        for link in &mut self.end.links {
            self.end.calls += link.flush();
            while link.readable {
                self.end.calls += 1;
                match link.read(CHUNK_BYTES) {
                    Read::Bytes => link.clear(),
                    Read::Nothing => break,
                    Read::Ended => {
                        if link.close() {
                            say(&Said::Closed { at_ns: monotonic_ns() });
                        }
                        break;
                    }
                }
            }
        }
    }
}

/// Room to receive into, used again once nobody has a part of it: the newest first, which is the likeliest to be in the cache.
#[derive(Default)]
struct Chunks {
    given: VecDeque<BytesMut>,
}

impl Chunks {
    fn take(&mut self) -> BytesMut {
        let free = self.given.iter_mut().rposition(|chunk| chunk.try_reclaim(CHUNK_BYTES));
        let chunk = free.and_then(|at| self.given.remove(at));
        let mut kept = chunk.unwrap_or_else(|| BytesMut::with_capacity(CHUNK_BYTES));
        let chunk = kept.split_off(0);
        if self.given.len() == CHUNKS {
            self.given.pop_front();
        }
        self.given.push_back(kept);
        chunk
    }
}
