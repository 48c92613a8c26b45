//! A node of a tree of raw links: what it reads from one link goes out on the others, and is delivered here as well.

use std::collections::VecDeque;
use std::os::fd::AsRawFd;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::links::{Link, Read};
use super::receiving::{Deliver, Handed, Receiving};
use crate::bench::child::{self, Orders, say, trouble};
use crate::bench::pace::Schedule;
use crate::bench::payload::Source;
use crate::bench::protocol::{Order, Said, Spec, Tuning};
use crate::clock::monotonic_ns;
use crate::output::Outcome;

const ORDERS: Token = Token(usize::MAX - 1);
/// Chunks that a sender fills in turn: as many as wait on its links, and no more, so that they stay in the cache.
const CHUNKS: usize = 8;

/// A node, its links, and the thread that it hands over to, if it does.
pub struct Node {
    poll: Poll,
    links: Vec<Link>,
    orders: Orders,
    bytes: usize,
    number: u8,
    /// Messages of several senders come over one link, and are passed on whole.
    mixed: bool,
    /// The link that is read first, modulo their number.
    first: usize,
    tuning: Tuning,
    deliver: Deliver,
    sending: Option<Sending>,
    calls: u64,
}

struct Sending {
    source: Source,
    schedule: Option<Schedule>,
    chunks: VecDeque<Bytes>,
    bytes: usize,
    /// Messages of a chunk.
    most: usize,
}

impl Node {
    /// With all links up.
    pub fn new(spec: &Spec, links: Vec<Link>, mixed: bool, orders: Orders) -> std::io::Result<Node> {
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&orders.fd()), ORDERS, Interest::READABLE)?;
        for (at, link) in links.iter().enumerate() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut SourceFd(&link.socket.as_raw_fd()), Token(at), interest)?;
        }
        let deliver = Deliver::new(spec.mode, Receiving::new(spec.bytes, links.len()))?;
        let (number, bytes, tuning) = (spec.number, spec.bytes, spec.tuning);
        Ok(Node { poll, links, orders, bytes, number, mixed, first: 0, tuning, deliver, sending: None, calls: 0 })
    }

    /// Goes on until the bench is gone.
    pub fn run(mut self) -> Outcome {
        let mut events = Events::with_capacity(64);
        loop {
            let wait_ns = self.send();
            self.flush();
            let busy = self.links.iter().any(|link| link.readable) && self.has_room();
            let timeout = if busy { Some(0) } else { wait_ns }.map(Duration::from_nanos);
            self.calls += 1;
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => trouble(format!("epoll: {error}")),
                _ => {}
            }
            for event in &events {
                let Token(at) = event.token();
                if event.token() == ORDERS {
                    self.obey();
                } else if let Some(link) = self.links.get_mut(at) {
                    link.finished |= event.is_read_closed() || event.is_error();
                    link.readable |= event.is_readable() || link.finished;
                    if event.is_writable() {
                        link.writable_again();
                    }
                }
            }
            self.flush();
            self.read();
        }
    }

    fn obey(&mut self) {
        self.calls += 1;
        for order in self.orders.take() {
            match order {
                Order::Stream { ms, pace } => {
                    let source = Source::new(self.number, self.bytes, ms, pace.is_some());
                    let schedule = pace.map(|pace| Schedule::new(pace, monotonic_ns()));
                    // Whole messages, as many as one read takes.
                    let most = (self.tuning.read_bytes / self.bytes).max(1);
                    self.sending = Some(Sending { source, schedule, chunks: VecDeque::new(), bytes: self.bytes, most });
                }
                Order::Watch => self.deliver.watch(),
                Order::Mark => say(&Said::Mark(child::mark(self.calls, 0))),
                _ => trouble("a raw node only streams"),
            }
        }
    }

    /// Puts new messages on all links, as long as each has room; answers how long the loop may wait for their sake.
    fn send(&mut self) -> Option<u64> {
        if self.links.iter().all(|link| link.gone) {
            self.sending = None;
        }
        let sending = self.sending.as_mut()?;
        // Half of the room is left to what is passed on.
        let bound = (self.tuning.queue_bytes / 2).max(1);
        loop {
            if self.links.iter().map(Link::queued).max().unwrap_or(0) >= bound {
                return None;
            }
            if let Some(schedule) = &sending.schedule {
                let early = schedule.due_ns().saturating_sub(monotonic_ns());
                if early > 0 {
                    return Some(early);
                }
            }
            let chunk = sending.chunk();
            self.links.iter_mut().for_each(|link| link.push(chunk.clone()));
            // Written at once, while it is in the cache.
            self.calls += self.links.iter_mut().map(Link::flush).sum::<u64>();
            sending.chunks.push_back(chunk);
            if sending.source.ended() {
                say(&Said::Sent(sending.source.sent()));
                self.sending = None;
                return None;
            }
        }
    }

    fn flush(&mut self) {
        self.calls += self.links.iter_mut().map(Link::flush).sum::<u64>();
    }

    /// Whether every link has room for what another one brings.
    fn has_room(&self) -> bool {
        self.links.iter().all(|link| link.queued() < self.tuning.queue_bytes)
    }

    /// Reads once from each link, as long as there is room, and passes it on.
    fn read(&mut self) {
        // Another one is first each time: who comes last may find no room.
        let (first, count) = (self.first, self.links.len());
        self.first += 1;
        for at in (0..count).map(|at| (at + first) % count) {
            if self.links[at].readable && self.has_room() {
                self.calls += 1;
                let most = if self.mixed {
                    self.whole(self.tuning.read_bytes).max(self.bytes)
                } else {
                    self.tuning.read_bytes
                };
                match self.links[at].read(most) {
                    Read::Bytes => self.take(at),
                    Read::Nothing => {}
                    Read::Ended => {
                        if self.links[at].close() {
                            say(&Said::Closed { at_ns: monotonic_ns() });
                        }
                    }
                }
            }
        }
    }

    fn whole(&self, bytes: usize) -> usize {
        bytes - bytes % self.bytes
    }

    fn take(&mut self, at: usize) {
        // From a leader to the members; from a member to everybody else.
        let from_leader = self.links[at].leaders;
        let goes_to = |to: usize, link: &Link| to != at && !(from_leader && link.leaders);
        let alone = !self.links.iter().enumerate().any(|(to, link)| goes_to(to, link));
        if let (true, Deliver::Here(receiving)) = (alone, &mut self.deliver) {
            receiving.take(at, self.links[at].read_bytes());
            return self.links[at].clear();
        }
        let read = self.links[at].read_bytes().len();
        let whole = if self.mixed { self.whole(read) } else { read };
        let taken = self.links[at].take(whole);
        if taken.is_empty() {
            return;
        }
        for (to, link) in self.links.iter_mut().enumerate() {
            if goes_to(to, link) {
                link.push(taken.clone());
                self.calls += link.flush();
            }
        }
        match &mut self.deliver {
            Deliver::Here(receiving) => receiving.take(at, &taken),
            // Waits when the thread does not keep up: so do those who send, then.
            Deliver::Thread(to) => drop(to.send(Handed::Bytes(at, taken))),
        }
    }
}

impl Sending {
    /// The next messages, in memory that all links have written before if there is some.
    fn chunk(&mut self) -> Bytes {
        let old = if self.chunks.len() >= CHUNKS { self.chunks.pop_front() } else { None };
        let mut chunk = match old.map(Bytes::try_into_mut) {
            Some(Ok(chunk)) => chunk,
            _ => BytesMut::new(),
        };
        // Of a paced sender what is due at once, and no more.
        let due = self.schedule.as_ref().map_or(usize::MAX, Schedule::due_together);
        let messages = due.min(self.most);
        chunk.resize(messages * self.bytes, 0x5a);
        if let Some(schedule) = &mut self.schedule {
            self.source.tell(schedule.told_ns());
            schedule.take(messages);
        }
        let filled = self.source.fill_all(&mut chunk);
        chunk.truncate(filled);
        chunk.freeze()
    }
}
