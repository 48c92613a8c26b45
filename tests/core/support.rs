//! Members of the core without sockets, clocks or threads: bytes go from one to the other at once, and time passes when nothing else
//! is left to do. Whoever uses it can speak in the name of one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::Bytes;
use decurion::core::{
    CloseCause, Event, Input, Member, Outbox, Output, Payload, Received, Seed, SessionAnswer, SessionOp,
    SessionRequest, Setup, To,
};
use decurion::types::{Code, ConnId, Epoch, Incarnation, MemberTag, Micros, Name, Seat, SessionId, Time, millis};
use decurion::wire::VERSION;
use decurion::wire::batch::{self, Entry, FLAG_FRAGMENTS, Fragment, Header, Level};
use decurion::wire::control::{self, Control, DirectAck, Hello, MAGIC, Purpose};
use decurion::wire::session::{Attributes, Frame};

/// Longer than anything here may take.
const PATIENCE: Micros = millis(30_000);

/// Whoever is woken so often at one time does not come to rest.
pub const WAKES_AT_ONCE: usize = 10_000;

/// A longer payload goes in parts.
const PART_BYTES: usize = 48 * 1024;

/// The streams between two members.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    Frames,
    Objections,
    /// What hosts send.
    Messages,
}

#[derive(Clone)]
struct Node {
    member: Member,
    outbox: Outbox,
    events: Vec<Event>,
    alive: bool,
}

/// Some members, which know each other.
#[derive(Clone)]
pub struct Cluster {
    pub now: Time,
    nodes: Vec<Node>,
    /// Who is at the other end of a connection.
    ends: BTreeMap<(usize, ConnId), (usize, ConnId)>,
    requests: u64,
    /// What came over connections to members that stand still; `None`: the connection was closed.
    untaken: Vec<(usize, ConnId, Option<Vec<u8>>)>,
    /// What was sent by hand: the number of the last batch, and of the last message, from whom to whom.
    by_hand: BTreeMap<(usize, usize, Stream), (u64, u64)>,
    /// At which level messages are said by hand.
    pub level: Level,
    /// Between these two no batches travel, from the first to the second.
    pub mute: Option<(usize, usize)>,
    /// Who does not hear by multicast whom: (sender, receiver).
    pub deaf: BTreeSet<(usize, usize)>,
    /// So many datagrams from one member to another are lost next.
    pub lose: BTreeMap<(usize, usize), usize>,
    /// Who never gets an answer when it dials whom, not even a refusal: (who, whom).
    pub unanswered: BTreeSet<(usize, usize)>,
    /// The host of this member takes no messages.
    pub idle_host: Option<usize>,
    /// Everything that went to the multicast group, and by whom, where it is kept.
    pub casts: Option<Vec<(usize, Bytes)>>,
    /// Questions for what was lost, wishes for streams over connections, and first requests of attempts at a view: when, from whom
    /// and to whom, where they are kept.
    pub asked: Option<Vec<(Time, usize, usize, Control)>>,
    /// What all members wanted done so far.
    pub outputs: usize,
}

fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7_000 + node as u16))
}

pub fn incarnation(node: usize) -> Incarnation {
    Incarnation(node as u128 + 1)
}

pub fn tag(node: usize) -> MemberTag {
    incarnation(node).into()
}

/// As the library does it.
pub fn mix(state: u64, word: u64) -> u64 {
    let mut z = state.rotate_left(23) ^ word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn stream_tag(stream: Stream, from: usize, to: usize) -> u64 {
    tag_between(stream, incarnation(from), incarnation(to))
}

/// The tag of a stream from one to another.
pub fn tag_between(stream: Stream, Incarnation(from): Incarnation, Incarnation(to): Incarnation) -> u64 {
    let words = [from as u64, (from >> 64) as u64, to as u64, (to >> 64) as u64];
    let pair = words.into_iter().fold(0x006f_6e65, mix);
    match stream {
        Stream::Frames => mix(pair, 0x7365_7373),
        Stream::Objections => mix(pair, 0x6f62_6a65),
        Stream::Messages => pair,
    }
}

/// The flags of a batch with this area.
fn flags_of(area: &[u8]) -> u8 {
    if area[6] & 2 != 0 { FLAG_FRAGMENTS } else { 0 }
}

pub fn pairs(pairs: &[(&str, &[u8])]) -> Attributes {
    Attributes::new(pairs.iter().copied())
}

/// What somebody says first who is in no view, or does not say which.
pub fn hello(cluster: &str, name: &str, (incarnation, address): (Incarnation, SocketAddr), purpose: Purpose) -> Hello {
    Hello {
        magic: MAGIC,
        version_min: VERSION,
        version_max: VERSION,
        cluster: cluster.to_owned(),
        purpose,
        expects: Incarnation::NONE,
        name: Name::new(name),
        incarnation,
        address,
        settings: Vec::new(),
        view: None,
    }
}

impl Cluster {
    /// So many members in one view.
    pub fn new(count: usize, change: impl Fn(usize, &mut Setup)) -> Cluster {
        let now = Time(1_000_000_000);
        let mut nodes = Vec::new();
        for node in 0..count {
            let mut setup = Setup::new("core", &format!("m{node}"), incarnation(node), address(node));
            setup.seeds = vec![Seed { name: None, host: "127.0.0.1".to_owned(), port: 7_000 }];
            change(node, &mut setup);
            let outbox = Outbox::new(setup.send_queue_bytes, setup.message_bytes);
            nodes.push(Node { member: Member::new(setup, now), outbox, events: Vec::new(), alive: true });
        }
        let mut cluster = Cluster {
            now,
            nodes,
            ends: BTreeMap::new(),
            requests: 0,
            untaken: Vec::new(),
            by_hand: BTreeMap::new(),
            level: Level::Fifo,
            mute: None,
            deaf: BTreeSet::new(),
            lose: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            idle_host: None,
            casts: None,
            asked: None,
            outputs: 0,
        };
        cluster.until(|c| (0..count).all(|node| c.members_of(node) == count));
        cluster
    }

    pub fn member(&self, node: usize) -> &Member {
        &self.nodes[node].member
    }

    /// How many members there were at first.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether a member has told its host that it has ended.
    pub fn has_ended(&self, node: usize) -> bool {
        self.nodes[node].events.iter().any(|event| matches!(event, Event::Closed { .. }))
    }

    pub fn members_of(&self, node: usize) -> usize {
        self.member(node).view().map_or(0, |(view, _)| view.members.len())
    }

    /// Everything that a member told its host since the last look.
    pub fn events(&mut self, node: usize) -> Vec<Event> {
        std::mem::take(&mut self.nodes[node].events)
    }

    /// Faults that a member reported: who, and what.
    pub fn faults(&mut self, node: usize) -> Vec<(String, String)> {
        let events = self.events(node);
        let faults = events.into_iter().filter_map(|event| match event {
            Event::Fault { member, what, .. } => Some((member.map_or_else(String::new, |m| m.name.to_string()), what)),
            _ => None,
        });
        faults.collect()
    }

    /// The process is gone, and the others' connections to it with it.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].alive = false;
        let ends: Vec<_> =
            self.ends.iter().filter(|((n, _), _)| *n == node).map(|(mine, theirs)| (*mine, *theirs)).collect();
        for (mine, (other, conn)) in ends {
            self.ends.remove(&mine);
            self.ends.remove(&(other, conn));
            self.nodes[other].member.handle(self.now, Input::Closed(conn, CloseCause::Peer));
        }
    }

    /// The host of a member wants to leave in order.
    pub fn leave(&mut self, node: usize) {
        if self.nodes[node].alive {
            self.nodes[node].member.handle(self.now, Input::Leave);
        }
    }

    /// Lets time pass until something holds.
    pub fn until(&mut self, holds: impl Fn(&Cluster) -> bool) {
        let deadline = self.now + PATIENCE;
        while !holds(self) {
            assert!(self.now < deadline, "it never held");
            self.pass(millis(1));
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Micros) {
        let until = self.now + time;
        let mut at_once = 0;
        loop {
            self.settle();
            let alive = self.nodes.iter().filter(|node| node.alive);
            let next = alive.map(|node| node.member.deadline()).min().unwrap_or(Time::NEVER);
            if next > until {
                self.now = until;
                return;
            }
            at_once = if next <= self.now { at_once + 1 } else { 0 };
            assert!(at_once < WAKES_AT_ONCE, "a member does not come to rest at {:?}", self.now);
            self.now = self.now.max(next);
            for node in self.nodes.iter_mut().filter(|node| node.alive && node.member.deadline() <= self.now) {
                node.member.handle(self.now, Input::Wake);
            }
        }
    }

    /// Does whatever the members want done now.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for node in 0..self.nodes.len() {
                let Node { member, outbox, alive, .. } = &mut self.nodes[node];
                if *alive {
                    member.exchange(self.now, outbox);
                }
                while let Some(output) = self.nodes[node].member.poll() {
                    quiet = false;
                    if self.nodes[node].alive {
                        self.obey(node, output);
                    }
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn at(&self, to: SocketAddr) -> Option<usize> {
        (0..self.nodes.len()).find(|node| address(*node) == to && self.nodes[*node].alive)
    }

    fn obey(&mut self, node: usize, output: Output) {
        let now = self.now;
        self.outputs += 1;
        match output {
            Output::Multicast => self.deliver_casts(node),
            Output::Dial { to, .. } if self.at(to).is_some_and(|other| self.unanswered.contains(&(node, other))) => {}
            Output::Dial { conn, to } => {
                let end =
                    self.at(to).and_then(|other| Some((other, self.nodes[other].member.accept(now, address(node))?)));
                let Some((other, theirs)) = end else {
                    return self.nodes[node].member.handle(now, Input::Closed(conn, CloseCause::Refused));
                };
                self.ends.insert((node, conn), (other, theirs));
                self.ends.insert((other, theirs), (node, conn));
                self.nodes[node].member.handle(now, Input::Connected(conn));
            }
            Output::Transmit(conn) => self.transmit(node, conn),
            Output::Close(conn) => {
                self.transmit(node, conn);
                if let Some((other, theirs)) = self.ends.remove(&(node, conn)) {
                    self.ends.remove(&(other, theirs));
                    self.bring(other, theirs, None);
                }
            }
            Output::Datagram { to, bytes } => {
                if let Some(other) = self.at(to).filter(|other| !self.is_lost(node, *other)) {
                    self.nodes[other].member.handle(now, Input::Datagram { from: address(node), bytes: &bytes });
                }
            }
            Output::Resolve { host, port } => {
                let addresses = vec![SocketAddr::from(([127, 0, 0, 1], port))];
                self.nodes[node].member.handle(now, Input::Resolved { host, addresses });
            }
            Output::Event(event) => {
                let bytes = event.cost();
                self.nodes[node].events.push(event);
                if bytes > 0 && self.idle_host != Some(node) {
                    self.nodes[node].member.handle(now, Input::Consumed { bytes });
                }
            }
        }
    }

    /// Whether the next datagram from one member to another is lost.
    fn is_lost(&mut self, from: usize, to: usize) -> bool {
        let left = self.lose.get_mut(&(from, to)).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    }

    fn transmit(&mut self, node: usize, conn: ConnId) {
        let mut slices = Vec::new();
        self.nodes[node].member.to_write(conn, usize::MAX, &mut slices);
        let frames: Vec<Vec<u8>> = slices.iter().map(|slice| slice.to_vec()).collect();
        let written = frames.iter().map(Vec::len).sum();
        self.nodes[node].member.wrote(self.now, conn, written);
        let Some((other, theirs)) = self.ends.get(&(node, conn)).copied() else { return };
        self.note_asked(node, other, &frames.concat());
        let muted = self.mute == Some((node, other));
        for frame in frames.iter().filter(|frame| !muted || frame[0] != decurion::wire::BATCH_TYPE) {
            self.bring(other, theirs, Some(frame.clone()));
        }
    }

    /// Something comes over a connection: at once, or when the member goes on.
    fn bring(&mut self, node: usize, conn: ConnId, what: Option<Vec<u8>>) {
        match what {
            what if !self.nodes[node].alive => self.untaken.push((node, conn, what)),
            Some(bytes) => self.feed(node, conn, &bytes),
            None => self.nodes[node].member.handle(self.now, Input::Closed(conn, CloseCause::Peer)),
        }
    }

    /// What waits for the multicast group goes to all who hear the sender.
    fn deliver_casts(&mut self, node: usize) {
        let sender = &mut self.nodes[node].member;
        let whole = |(head, content): &decurion::core::Casting| Bytes::from([&head[..], content].concat());
        let casts: Vec<Bytes> = sender.casts(usize::MAX).map(whole).collect();
        sender.sent_casts(casts.len());
        if let Some(kept) = &mut self.casts {
            kept.extend(casts.iter().map(|cast| (node, cast.clone())));
        }
        let from = address(node);
        let received: Vec<Received> = casts.into_iter().map(|bytes| Received { from, bytes }).collect();
        for other in (0..self.nodes.len()).filter(|other| *other != node && !self.deaf.contains(&(node, *other))) {
            if self.nodes[other].alive {
                self.nodes[other].member.handle(self.now, Input::Casts(&received));
            }
        }
    }

    /// Datagrams of the multicast group come to one member.
    pub fn say_casts(&mut self, to: usize, casts: &[Received]) {
        if self.nodes[to].alive {
            self.nodes[to].member.handle(self.now, Input::Casts(casts));
        }
        self.settle();
    }

    /// Keeps what is asked in `bytes`, which go from one member to another; whatever a member writes is legal.
    fn note_asked(&mut self, from: usize, to: usize, mut bytes: &[u8]) {
        let Some(kept) = self.asked.as_mut() else { return };
        while let Some(header) = bytes.first_chunk() {
            let head =
                if header[0] == decurion::wire::BATCH_TYPE { batch::HEADER_BYTES } else { control::HEADER_BYTES };
            let (frame, rest) = bytes.split_at(head + control::body_length(header));
            bytes = rest;
            if header[0] != decurion::wire::BATCH_TYPE
                && let control @ (Control::Repair(_) | Control::Carry(_) | Control::Prepare(_)) =
                    Control::decode(frame).expect("a legal frame")
            {
                kept.push((self.now, from, to, control));
            }
        }
    }

    /// The host of a member sends to everybody, and is answered.
    pub fn send(&mut self, node: usize, level: Level, payload: &[u8]) -> Code {
        let code = self.nodes[node].outbox.push(To::Everybody, level, 0, Payload::Borrowed(payload));
        self.settle();
        code
    }

    /// The host of a member sends to another member, and is answered.
    pub fn send_to(&mut self, node: usize, to: usize, payload: &[u8]) -> Code {
        let to = To::Member(incarnation(to));
        let code = self.nodes[node].outbox.push(to, Level::Fifo, 0, Payload::Borrowed(payload));
        self.settle();
        code
    }

    /// The messages that a member's host was given since the last look: whose, and what.
    pub fn messages(&mut self, node: usize) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        for event in self.events(node) {
            if let Event::Messages(messages) = event {
                let sender = messages.sender.name.to_string();
                all.extend(messages.iter().map(|message| (sender.clone(), message.payload.to_vec())));
            }
        }
        all
    }

    /// The host of a member takes what it has not taken yet.
    pub fn consume(&mut self, node: usize) {
        let bytes = self.member(node).stats().delivery_queue_bytes as usize;
        self.take(node, bytes);
    }

    /// The host of a member looks for events, and takes so many bytes of them.
    pub fn take(&mut self, node: usize, bytes: usize) {
        self.nodes[node].member.handle(self.now, Input::Consumed { bytes });
        self.settle();
    }

    /// The connection between two members breaks.
    pub fn cut(&mut self, one: usize, other: usize) {
        let between = |((n, _), (m, _)): &(&(usize, ConnId), &(usize, ConnId))| (*n, *m) == (one, other);
        let Some((mine, theirs)) = self.ends.iter().find(between).map(|(mine, theirs)| (*mine, *theirs)) else {
            return;
        };
        for (node, conn) in [mine, theirs] {
            self.ends.remove(&(node, conn));
            self.nodes[node].member.handle(self.now, Input::Closed(conn, CloseCause::Peer));
        }
        self.settle();
    }

    fn feed(&mut self, node: usize, conn: ConnId, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Some(space) = self.nodes[node].member.receive_space(conn) else { return };
            let (first, rest) = bytes.split_at((space.capacity() - space.len()).min(bytes.len()));
            space.extend_from_slice(first);
            bytes = rest;
            self.nodes[node].member.handle(self.now, Input::Received(conn));
        }
    }

    /// Bytes from one member to another, as if the first had sent them.
    fn say_bytes(&mut self, from: usize, to: usize, bytes: &[u8]) {
        self.settle();
        let end = self.ends.iter().find(|((node, _), (other, _))| *node == to && *other == from).map(|(mine, _)| *mine);
        // A link may have been closed for what was said before.
        if let Some((node, conn)) = end {
            self.feed(node, conn, bytes);
        }
        self.settle();
    }

    /// Batches with this payload in a stream of sessions, in the name of `from`, which must not use that stream itself.
    pub fn say_raw(&mut self, stream: Stream, from: usize, to: usize, payload: &[u8]) {
        let parts: Vec<&[u8]> = if payload.is_empty() { vec![payload] } else { payload.chunks(PART_BYTES).collect() };
        for (at, part) in parts.iter().enumerate() {
            let fragment =
                (parts.len() > 1).then_some(Fragment { total: payload.len() as u32, offset: (at * PART_BYTES) as u32 });
            let mut area = Vec::new();
            Entry { level: self.level, token: 0, fragment, payload: part }.put(&mut area);
            self.say_area(stream, (from, to), &area, u64::from(at + 1 == parts.len()));
        }
    }

    /// One batch with this area, in which so many messages end, likewise.
    pub fn say_area(&mut self, stream: Stream, (from, to): (usize, usize), area: &[u8], ended: u64) {
        let number = self.by_hand.entry((from, to, stream)).or_insert((0, 1));
        number.0 += 1;
        let (batch, first_message) = *number;
        number.1 += ended;
        let Some((view, _)) = self.nodes[to].member.view() else { return };
        let Some(sender) = view.index_of(incarnation(from)) else { return };
        let receiver = view.index_of(incarnation(to)).expect("its own view");
        let header = Header {
            flags: flags_of(area),
            count: 1,
            length: area.len() as u32,
            tag: stream_tag(stream, from, to),
            sender: view.members[sender].seat,
            receiver: view.members[receiver].seat,
            batch,
            first_message,
        };
        self.say_bytes(from, to, &[&header.encode()[..], area].concat());
    }

    /// A batch with this area in the stream of `sender` to everybody, which must not use it itself: its first one, as it comes to one of
    /// them from another.
    pub fn say_to_everybody(&mut self, sender: usize, (from, to): (usize, usize), area: &[u8], count: u16) {
        let Some((view, _)) = self.nodes[to].member.view() else { return };
        let sender = view.index_of(incarnation(sender)).expect("in the view");
        let header = Header {
            flags: flags_of(area),
            count,
            length: area.len() as u32,
            tag: view.tag(),
            sender: view.members[sender].seat,
            receiver: Seat::EVERYBODY,
            batch: 1,
            first_message: 1,
        };
        self.say_bytes(from, to, &[&header.encode()[..], area].concat());
    }

    pub fn say(&mut self, from: usize, to: usize, frame: &Frame) {
        self.say_raw(Stream::Frames, from, to, &frame.encode());
    }

    pub fn object(&mut self, from: usize, to: usize, frame: &Frame) {
        self.say_raw(Stream::Objections, from, to, &frame.encode());
    }

    /// `from` says that it has taken so many batches of frames from `to`.
    pub fn acknowledge(&mut self, from: usize, to: usize, batch: u64) {
        let ack = DirectAck { tag: stream_tag(Stream::Frames, to, from), receiver: incarnation(from), batch, after: 0 };
        self.say_bytes(from, to, &Control::DirectAck(ack).encode());
    }

    /// `from` says this to another member.
    pub fn say_control(&mut self, from: usize, to: usize, control: &Control) {
        self.say_bytes(from, to, &control.encode());
    }

    /// The process of a member stands still, and takes nothing; or goes on.
    pub fn stand_still(&mut self, node: usize, still: bool) {
        self.nodes[node].alive = !still;
        if !still {
            for (_, conn, what) in self.untaken.extract_if(.., |(of, ..)| *of == node).collect::<Vec<_>>() {
                self.bring(node, conn, what);
            }
        }
    }

    /// The host of a member says that it is ready.
    pub fn host_ready(&mut self, node: usize) {
        self.nodes[node].member.handle(self.now, Input::HostReady);
        self.settle();
    }

    /// Asks a member for something; its number.
    pub fn begin(&mut self, node: usize, id: SessionId, op: SessionOp) -> u64 {
        self.try_begin(node, id, op).expect("it takes requests")
    }

    /// Asks a member for something, if it takes requests now.
    pub fn try_begin(&mut self, node: usize, id: SessionId, op: SessionOp) -> Result<u64, Code> {
        self.requests += 1;
        let request = SessionRequest { number: self.requests, id, holders: [MemberTag::NONE; 2], op };
        match self.nodes[node].outbox.ask(request) {
            Code::Ok => Ok(self.requests),
            code => Err(code),
        }
    }

    /// Requests that the member has not taken yet.
    pub fn waiting_requests(&self, node: usize) -> usize {
        self.nodes[node].outbox.session_requests()
    }

    /// The member takes once of what its host wants; what it does then is left for later.
    pub fn exchange(&mut self, node: usize) {
        let Node { member, outbox, .. } = &mut self.nodes[node];
        member.exchange(self.now, outbox);
    }

    pub fn answer(&self, node: usize, number: u64) -> Option<&SessionAnswer> {
        self.nodes[node].events.iter().find_map(|event| match event {
            Event::Session(answer) if answer.number == number => Some(answer),
            _ => None,
        })
    }

    /// Asks a member for something, and waits for the answer.
    pub fn ask(&mut self, node: usize, id: SessionId, op: SessionOp) -> SessionAnswer {
        let number = self.begin(node, id, op);
        self.until(|c| c.answer(node, number).is_some());
        self.answer(node, number).expect("waited for").clone()
    }

    pub fn create(&mut self, node: usize, id: SessionId, attributes: &Attributes) -> SessionAnswer {
        self.ask(node, id, SessionOp::Create { ttl_s: 0, attributes: attributes.clone() })
    }

    pub fn write(&mut self, node: usize, id: SessionId, sets: &Attributes) -> SessionAnswer {
        let removes = Attributes::default();
        self.ask(node, id, SessionOp::Write { token: 0, if_version: 0, whole: false, sets: sets.clone(), removes })
    }

    /// What a member holds of a session.
    pub fn held(&self, node: usize, id: SessionId) -> Option<(decurion::wire::session::Role, Epoch, u64)> {
        self.member(node)
            .sessions_held()
            .find(|(held, ..)| *held == id)
            .map(|(_, role, epoch, version)| (role, epoch, version))
    }
}
