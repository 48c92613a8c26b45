//! Drives one [`Member`] over real sockets, clock and threads: what its outputs say and nothing more.
//!
//! A turn waits, takes a bounded amount of what has come, lets the core work, writes, and hands events over. Whatever
//! is left over makes the next turn's wait zero.

use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use super::clock;
use super::events::{EventSink, Keeps};
use super::journal::Journal;
use super::resolver::Resolver;
use super::shared::{Effort, Life, REQUEST_LEAVE, REQUEST_READY, REQUEST_REPORT, Shared, ViewSnapshot};
use super::transport::{Dialled, Read, SLICES, Transport};
use crate::core::{Ended, Event, Input, Member, Output, Received, SessionAnswer};
use crate::types::{ConnId, Time, limits};

/// Most bytes read from one connection in one turn, and from the multicast group, so that a busy one does not starve the others, and what
/// was read is delivered while it is in the processor's cache.
const READ_BYTES: usize = 256 * 1024;
/// Most bytes written to one connection in one turn.
const WRITE_BYTES: usize = 1024 * 1024;
/// Most bytes shown for one gathered write.
const GATHER_BYTES: usize = 256 * 1024;
/// Most datagrams taken in one turn.
const DATAGRAMS: usize = 256;
/// Most datagrams to the multicast group that are sent in one turn's step.
const CASTS: usize = 1_024;
/// Most connections accepted in one turn.
const ACCEPTS: usize = 64;
/// How often outputs and writes alternate within one turn; what is left goes into the next.
const ROUNDS: usize = 4;
/// Lots of what the host wants that are taken in one turn.
const LOTS: usize = 64;

/// The host's handler: called on the engine's thread, one event at a time.
pub type Handler = Box<dyn FnMut(&Event) + Send>;

/// Where events go: to the handler if there is one, on the thread that turns, else to the queue that the host polls.
pub struct Delivery {
    /// The queue's near end. It ends with the engine, whoever gets the events.
    pub sink: EventSink,
    /// The host's handler.
    pub handler: Option<Handler>,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.handler.is_some() { "Handler" } else { "Queue" })
    }
}

/// Whether there will be another turn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Yes.
    Goes,
    /// No: the member has ended, or the host has closed the engine (`None`).
    Ended(Option<Ended>),
}

/// A member, its sockets, and its way to the host.
#[derive(Debug)]
pub struct Reactor {
    // In this order: the port closes last, and the member is gone before it (R19).
    member: Member,
    resolver: Resolver,
    transport: Transport,
    shared: Arc<Shared>,
    delivery: Delivery,
    journal: Journal,
    events: Vec<Event>,
    casts: Vec<Received>,
    /// Kept for its allocation: empty between turns.
    slices: Vec<&'static [u8]>,
    now: Time,
    published: Option<ViewSnapshot>,
    /// Outputs or writes were left over.
    unfinished: bool,
    /// The host has been handed `Event::Closed`: nothing may follow.
    told_closed: bool,
}

impl Reactor {
    /// Around a member that was just made.
    pub fn new(
        member: Member, resolver: Resolver, transport: Transport, shared: Arc<Shared>, delivery: Delivery,
        journal: Journal,
    ) -> Reactor {
        Reactor {
            member,
            resolver,
            transport,
            shared,
            delivery,
            journal,
            events: Vec::new(),
            casts: Vec::new(),
            slices: Vec::with_capacity(SLICES),
            now: clock::now(),
            published: None,
            unfinished: true,
            told_closed: false,
        }
    }

    /// One turn; waits at most `timeout` (`None`: until something happens).
    ///
    /// # Errors
    /// When the system's poll fails, which it does only out of memory.
    pub fn turn(&mut self, timeout: Option<Duration>) -> std::io::Result<Turn> {
        let timeout = self.next_timeout(timeout);
        let asleep = timeout != Some(Duration::ZERO) && self.shared.bell.sleep();
        self.transport.wait(if asleep { timeout } else { Some(Duration::ZERO) })?;
        self.shared.bell.wake();
        self.tick();
        if self.shared.has_failed()
            && let Life::Failed(why) = self.shared.life()
        {
            // In a call of the host: what its threads share with the core may be broken.
            return Ok(self.end(Some(Ended::Failed(why))));
        }

        let requests = self.take_requests();
        self.take_answers();
        self.accept();
        self.take_dialled();
        self.take_datagrams();
        // Connections first: what is said to be stable there gives back memory that datagrams want.
        self.read();
        self.take_casts();
        self.transport.end_lingering(self.now);
        if self.member.deadline() <= self.now {
            self.member.handle(self.now, Input::Wake);
        }
        self.exchange();
        self.publish(requests);
        let keeps = self.deliver();

        if self.shared.closing() {
            return Ok(self.end(None));
        }
        if keeps == Keeps::Not {
            return Ok(self.end(Some(Ended::HostNotPolling)));
        }
        match self.member.ended() {
            Some(ended) if !self.unfinished => Ok(self.end(Some(ended.clone()))),
            _ => Ok(Turn::Goes),
        }
    }

    /// How long the next wait may be: zero while work remains.
    pub fn next_timeout(&self, most: Option<Duration>) -> Option<Duration> {
        if self.has_work() || self.shared.bell.has_rung() {
            return Some(Duration::ZERO);
        }
        let deadline = self.member.deadline().min(self.transport.deadline());
        if deadline == Time::NEVER {
            return most;
        }
        let left = Duration::from_micros(deadline.since(clock::now()));
        Some(most.map_or(left, |most| most.min(left)))
    }

    /// After a turn, for a host that waits by [`Reactor::as_raw_fd`]: what is left over, or has come meanwhile, makes that
    /// readable at once. Otherwise whoever rings next does.
    pub fn settle(&self) {
        if self.has_work() || !self.shared.bell.sleep() {
            self.shared.bell.remind();
        }
    }

    fn has_work(&self) -> bool {
        self.unfinished || self.transport.has_ready() || self.resolver.has_answer()
    }

    /// Time for the core never goes back, whatever the system says.
    fn tick(&mut self) {
        self.now = self.now.max(clock::now());
    }

    fn take_requests(&mut self) -> u32 {
        let consumed = self.shared.take_consumed();
        if consumed > 0 {
            self.member.handle(self.now, Input::Consumed { bytes: consumed });
        }
        let requests = self.shared.take_requests();
        #[cfg(test)]
        assert_eq!(requests & super::shared::REQUEST_PANIC, 0, "a planted bug");
        if requests & REQUEST_READY != 0 {
            self.member.handle(self.now, Input::HostReady);
        }
        if requests & REQUEST_LEAVE != 0 {
            self.member.handle(self.now, Input::Leave);
        }
        requests
    }

    fn take_answers(&mut self) {
        while let Some(answer) = self.resolver.answer() {
            let addresses = answer.addresses.unwrap_or_else(|why| {
                log::debug!(target: "decurion::runtime", "{} does not resolve now: {why}", answer.host);
                Vec::new()
            });
            self.member.handle(self.now, Input::Resolved { host: answer.host, addresses });
        }
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS {
            let Some((socket, peer)) = self.transport.accept() else { return };
            let Some(conn) = self.member.accept(self.now, peer) else { continue };
            if let Err(error) = self.transport.admit(conn, socket) {
                self.journal.write(log::Level::Warn, &format!("connection from {peer} dropped: {error}"));
                self.member.handle(self.now, Input::Closed(conn, crate::core::CloseCause::Failed));
            }
        }
    }

    fn take_dialled(&mut self) {
        while let Some(dialled) = self.transport.next_dialled() {
            let input = match dialled {
                Dialled::Up(conn) => Input::Connected(conn),
                Dialled::Failed(conn, cause) => Input::Closed(conn, cause),
            };
            self.member.handle(self.now, input);
        }
    }

    fn take_datagrams(&mut self) {
        // One byte more than is legal, so that the core sees that a datagram is too long.
        let mut buffer = [MaybeUninit::uninit(); limits::DATAGRAM_BYTES + 1];
        for _ in 0..DATAGRAMS {
            let Some((bytes, from)) = self.transport.receive(&mut buffer) else { return };
            self.member.handle(self.now, Input::Datagram { from, bytes });
        }
    }

    fn take_casts(&mut self) {
        let Some(group) = self.transport.group() else { return };
        let mut casts = std::mem::take(&mut self.casts);
        group.receive(READ_BYTES, &mut || self.member.chunk(), &mut casts);
        if !casts.is_empty() {
            self.member.handle(self.now, Input::Casts(&casts));
            casts.clear();
        }
        self.casts = casts;
    }

    /// Sends what waits for the multicast group, as far as the system takes it; says whether anything was sent.
    fn cast(&mut self) -> bool {
        let Some(group) = self.transport.group().filter(|group| group.writable) else { return false };
        let sent = group.send(self.member.casts(CASTS));
        self.member.sent_casts(sent);
        sent > 0
    }

    fn read(&mut self) {
        for _ in 0..self.transport.readable_len() {
            let Some(conn) = self.transport.next_readable() else { return };
            self.read_connection(conn);
            self.tick();
        }
    }

    fn read_connection(&mut self, conn: ConnId) {
        let mut total = 0;
        let silent = !self.member.has_to_write(conn);
        while total < READ_BYTES {
            // The core has given it up; its `Close` is on the way.
            let most = self.member.read_most(conn);
            let Some(space) = self.member.receive_space(conn) else { return };
            let read = self.transport.read(conn, space, most);
            match read {
                Read::More(0) => {}
                Read::Drained(0) => return,
                Read::More(bytes) | Read::Drained(bytes) => {
                    self.member.handle(self.now, Input::Received(conn));
                    if matches!(read, Read::Drained(_)) {
                        return;
                    }
                    if silent && self.member.has_to_write(conn) {
                        // Who waits for this answer goes on with it while the rest is read.
                        self.obey();
                        self.write_connection(conn);
                    }
                    total += bytes;
                }
                Read::Ended(cause) => return self.member.handle(self.now, Input::Closed(conn, cause)),
            }
        }
        self.transport.read_later(conn);
    }

    /// Lets the core take what the host wants, a lot at a time, and does what follows.
    fn exchange(&mut self) {
        for _ in 0..LOTS {
            let more = self.shared.exchange(|outbox| {
                self.member.exchange(self.now, outbox);
                outbox.session_requests() > 0
            });
            self.work();
            if !more {
                return;
            }
        }
    }

    /// Does what the core says and writes what it has, in turns, until neither has more or the rounds are over.
    fn work(&mut self) {
        for _ in 0..ROUNDS {
            let did = self.obey();
            let wrote = self.write() | self.cast();
            if !did && !wrote {
                self.unfinished = false;
                return;
            }
        }
        self.unfinished = true;
    }

    /// Drains the core's outputs; says whether there was one.
    fn obey(&mut self) -> bool {
        let mut any = false;
        while let Some(output) = self.member.poll() {
            any = true;
            match output {
                Output::Dial { conn, to } => self.transport.dial(conn, to),
                Output::Transmit(conn) => self.transport.write_soon(conn),
                Output::Close(conn) => {
                    self.write_connection(conn);
                    self.transport.close(conn, self.now);
                }
                Output::Datagram { to, bytes } => self.transport.send(to, &bytes),
                Output::Multicast => {}
                Output::Resolve { host, port } => self.resolver.ask(host, port),
                Output::Event(event) => self.take_event(event),
            }
        }
        any
    }

    fn take_event(&mut self, event: Event) {
        self.journal.event(self.now, &event);
        match event {
            Event::Session(answer) => self.take_session_answer(answer),
            Event::Writable => {
                self.shared.writable_again();
                self.events.push(Event::Writable);
            }
            event => self.events.push(event),
        }
    }

    /// An answer goes to whoever asked. What of it does not become an event is off the core's books at once.
    fn take_session_answer(&mut self, answer: SessionAnswer) {
        let cost = answer.cost();
        let event = self.shared.desk.answered(answer).map(Event::Session);
        let bytes = cost - event.as_ref().map_or(0, Event::cost);
        self.events.extend(event);
        if bytes > 0 {
            self.member.handle(self.now, Input::Released { bytes });
        }
    }

    /// Writes to every connection that has something and takes it; says whether anything was written.
    fn write(&mut self) -> bool {
        let mut any = false;
        for _ in 0..self.transport.writable_len() {
            let Some(conn) = self.transport.next_writable() else { break };
            any |= self.write_connection(conn);
        }
        any
    }

    fn write_connection(&mut self, conn: ConnId) -> bool {
        let mut total = 0;
        while self.transport.can_write(conn) {
            let mut slices = reuse(std::mem::take(&mut self.slices));
            self.member.to_write(conn, GATHER_BYTES, &mut slices);
            let empty = slices.iter().all(|s| s.is_empty());
            let wrote = if empty { 0 } else { self.transport.write(conn, &slices) };
            self.slices = reuse(slices);
            if empty {
                self.transport.written_all(conn);
                break;
            }
            if wrote > 0 {
                self.member.wrote(self.now, conn, wrote);
                total += wrote;
            }
            if total >= WRITE_BYTES {
                self.transport.write_later(conn);
                break;
            }
        }
        total > 0
    }

    fn publish(&mut self, requests: u32) {
        let primary = self.member.is_primary(self.now);
        let view = self.member.view();
        let same = match (&self.published, view) {
            (None, None) => true,
            (Some(p), Some((view, me))) => Arc::ptr_eq(&p.view, view) && p.me == me && p.primary == primary,
            _ => false,
        };
        if !same {
            self.published = view.map(|(view, me)| ViewSnapshot { view: view.clone(), me, primary });
            self.shared.publish_view(self.published.clone());
        }
        if requests & REQUEST_REPORT != 0 {
            self.publish_report();
        }
    }

    /// Publishes counters and links as they are.
    pub fn publish_report(&self) {
        let rehearsed = self.transport.rehearsed();
        let effort = Effort {
            system_calls: self.transport.calls() + self.shared.bell.calls(),
            copied_bytes: self.member.copied_bytes(),
            rehearsed_losses: rehearsed.datagrams,
            rehearsed_loss_bytes: rehearsed.bytes,
        };
        self.shared.publish_report(self.member.stats(), self.member.links(self.now), effort);
    }

    /// Hands the turn's events to the host.
    fn deliver(&mut self) -> Keeps {
        if self.events.is_empty() {
            return Keeps::Up;
        }
        if let Some(Event::Closed { reason }) = self.events.last() {
            self.shared.announce(Life::Ended(Some(reason.clone())));
        }
        // Taken out, so that a handler that panics is not called again.
        let Some(mut handler) = self.delivery.handler.take() else {
            self.told_closed |= self.events.iter().any(|e| matches!(e, Event::Closed { .. }));
            return self.delivery.sink.push(&mut self.events);
        };
        let mut events = std::mem::take(&mut self.events);
        let mut consumed = 0;
        for event in events.drain(..) {
            handler(&event);
            if let Event::Session(answer) = &event {
                self.shared.desk.taken(1, answer.cost());
            }
            self.told_closed |= matches!(event, Event::Closed { .. });
            consumed += event.cost();
            if self.shared.closing() {
                break;
            }
        }
        self.events = events;
        self.delivery.handler = Some(handler);
        if consumed > 0 {
            self.tick();
            self.member.handle(self.now, Input::Consumed { bytes: consumed });
            // What there was no room for before may have come free, and what the handler wants goes out now.
            match self.shared.bell.has_rung() {
                true => self.exchange(),
                false => self.work(),
            }
            self.unfinished |= !self.events.is_empty();
        }
        Keeps::Up
    }

    /// The last act on the sockets and towards the host.
    fn end(&mut self, reason: Option<Ended>) -> Turn {
        self.publish_report();
        self.transport.finish();
        self.shared.announce(Life::Ended(reason.clone()));
        // A host that closes from outside hears no more.
        if reason.is_some() || self.delivery.handler.is_none() || self.shared.closed_inside() {
            self.say_closed(reason.clone().unwrap_or(Ended::LeftUnheard));
        }
        Turn::Ended(reason)
    }

    /// The last word of an engine that met a bug: of its state nothing is used but the way to the host.
    pub fn fail(&mut self, why: &str) {
        self.shared.announce(Life::Failed(why.to_owned()));
        self.say_closed(Ended::Failed(why.to_owned()));
    }

    /// Says the last word, unless the host has heard one.
    fn say_closed(&mut self, reason: Ended) {
        if std::mem::replace(&mut self.told_closed, true) {
            return;
        }
        let last = Event::Closed { reason };
        self.journal.event(self.now, &last);
        match self.delivery.handler.take() {
            Some(mut handler) => handler(&last),
            None => {
                self.delivery.sink.push(&mut vec![last]);
            }
        }
    }
}

impl AsRawFd for Reactor {
    fn as_raw_fd(&self) -> RawFd {
        self.transport.poll_fd()
    }
}

/// Gives an empty vector's allocation to slices of another lifetime.
fn reuse<'a>(mut slices: Vec<&[u8]>) -> Vec<&'a [u8]> {
    slices.clear();
    slices.into_iter().map(|_| unreachable!("the vector is empty")).collect()
}
