//! A whole member under attack: it forms a view of its own, then whatever the input says comes in over connections and
//! as datagrams. It must not panic, must come to rest after each turn, and must keep to its bounds.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use decurion::core::{CloseCause, Event, Input, Member, Outbox, Output, Payload, Setup, To};
use decurion::types::{ConnId, Incarnation, Micros, Name, Seat, Time, ViewId, millis};
use decurion::wire::Sparse;
use decurion::wire::batch::{Entry, FLAG_FRAGMENTS, Fragment, Header, Level};
use decurion::wire::control::{self, Control, Hello, Join, MAGIC, Observation, Promise, Purpose, Sight, Vote, Welcome};
use decurion::wire::datagram::{Datagram, Envelope, Heartbeat};

use super::Script;

/// More outputs in one turn than any turn can need: beyond it the member does not come to rest.
const OUTPUTS_PER_TURN: usize = 10_000;
/// Frames that wait for an answer.
const UNANSWERED: usize = 64;
/// How many strangers there are.
const STRANGERS: u8 = 7;
/// Turns in a row that may ask to be repeated at once.
const TURNS_AT_ONCE: usize = 100;

/// Bytes as they come on one accepted connection. Each piece is a length, a
/// type, and a body, sent as a sealed frame; type 0 stands for bytes as they are.
pub fn member_stream(data: &[u8]) {
    let mut attack = Attack::new();
    let mut script = Script { rest: data };
    attack.accept();
    if script.byte() & 1 == 1 {
        let hello = attack.hello(Purpose::Link, 2);
        attack.feed(0, &hello.encode());
    }
    while !script.rest.is_empty() {
        let length = usize::from(script.byte()) | usize::from(script.byte() & 3) << 8;
        let bytes = match script.byte() {
            0 => script.take(length).to_vec(),
            frame_type => super::sealed_control(frame_type, script.take(length)),
        };
        attack.feed(0, &bytes);
        if attack.conns.is_empty() {
            attack.accept();
        }
    }
}

/// Datagrams, one after the other: a length, who it says it comes from, and a body behind a true checksum.
pub fn member_datagram(data: &[u8]) {
    let mut attack = Attack::new();
    let mut script = Script { rest: data };
    while !script.rest.is_empty() {
        let length = usize::from(script.byte());
        let bytes = match script.byte() {
            0 => script.take(length).to_vec(),
            _ => super::sealed_datagram(script.take(length)),
        };
        attack.datagram(&bytes);
        attack.pass(u64::from(script.byte()) * 1_000);
    }
}

/// A script of steps that know the protocol: strangers greet, join, answer ballots truly or not, send batches and
/// heartbeats, fall silent and come back.
pub fn member_script(data: &[u8]) {
    let mut attack = Attack::new();
    let mut script = Script { rest: data };
    for _ in 0..400 {
        if script.rest.is_empty() {
            break;
        }
        attack.step(&mut script);
    }
}

/// Port of the first stranger; the others have the next ones.
const FIRST_PORT: u16 = 7_001;

fn incarnation(who: u8) -> Incarnation {
    Incarnation(2 + u128::from(who % STRANGERS))
}

/// A member, and what its attacker knows.
struct Attack {
    member: Member,
    outbox: Outbox,
    now: Time,
    /// Open connections, with what the member has written to each and the attacker has not read yet.
    conns: BTreeMap<ConnId, Vec<u8>>,
    /// Connections that the member dials.
    dialled: Vec<(ConnId, SocketAddr)>,
    /// Who the attacker is on each connection.
    who: BTreeMap<ConnId, u8>,
    /// The newest frame of each type that the member sent, for answers that fit.
    seen: BTreeMap<u8, Control>,
    /// Frames that nobody has answered, oldest first.
    unanswered: VecDeque<(ConnId, Control)>,
    /// What stands for the cluster in datagrams, once the member has sent one.
    cluster: u64,
    peers: u16,
}

impl Attack {
    /// A member that has formed a view of its own.
    fn new() -> Attack {
        let address = SocketAddr::from(([127, 0, 0, 1], 7_000));
        // It forms its view at once: a run is over sooner, and more of them fit into an hour.
        let setup = Setup { form_wait: 1_000, ..Setup::new("fuzz", "target", Incarnation(1), address) };
        let outbox = Outbox::new(setup.send_queue_bytes, setup.message_bytes);
        let now = Time(1_000_000);
        let member = Member::new(setup, now);
        let mut attack = Attack {
            member,
            outbox,
            now,
            conns: BTreeMap::new(),
            dialled: Vec::new(),
            who: BTreeMap::new(),
            seen: BTreeMap::new(),
            unanswered: VecDeque::new(),
            cluster: 0,
            peers: 0,
        };
        attack.settle();
        attack.pass(millis(50));
        assert!(attack.member.view().is_some(), "a member alone forms a view");
        attack
    }

    fn step(&mut self, script: &mut Script<'_>) {
        let (what, choice) = (script.byte(), script.byte());
        match what % 16 {
            0 => self.accept(),
            1 => self.pass(u64::from(choice) * millis(2)),
            2 => self.pass(u64::from(choice) * millis(10)),
            3 => self.close(choice),
            4 => self.answer_dial(choice),
            5 => {
                let length = usize::from(script.byte());
                let bytes = script.take(length).to_vec();
                self.feed(choice, &bytes);
            }
            6 => {
                let (frame_type, length) = (script.byte(), usize::from(script.byte()));
                let frame = super::sealed_control(frame_type, script.take(length));
                self.feed(choice, &frame);
            }
            7 => {
                let purpose = [Purpose::Link, Purpose::Join, Purpose::Probe, Purpose::Inspect][usize::from(choice) % 4];
                let (who, conn) = (script.byte() % STRANGERS, script.byte());
                if let Some(conn) = self.conn(conn) {
                    self.who.insert(conn, who);
                }
                let hello = self.hello(purpose, who);
                self.feed(conn, &hello.encode());
            }
            8 => {
                let join = Control::Join(self.join(choice));
                self.feed(script.byte(), &join.encode());
            }
            9 => self.answer(choice, script),
            10 => self.cooperate(choice % 32),
            11 => self.batch(choice, script),
            12 => self.heartbeat(choice, script),
            13 => self.damaged(choice, script),
            14 => self.send(choice, script.byte()),
            _ => {
                let length = usize::from(script.byte());
                self.datagram(&super::sealed_datagram(script.take(length)));
            }
        }
    }

    /// A stranger connects.
    fn accept(&mut self) {
        self.peers = self.peers.wrapping_add(1);
        let peer = SocketAddr::from(([127, 0, 0, 1], 20_000 + self.peers % 1_000));
        if let Some(conn) = self.member.accept(self.now, peer) {
            assert!(self.conns.insert(conn, Vec::new()).is_none(), "{conn:?} is given twice");
        }
        self.settle();
    }

    fn conn(&self, choice: u8) -> Option<ConnId> {
        self.conns.keys().nth(usize::from(choice) % self.conns.len().max(1)).copied()
    }

    /// Bytes arrive on a connection, in as many pieces as the receive space asks for.
    fn feed(&mut self, choice: u8, bytes: &[u8]) {
        if let Some(conn) = self.conn(choice) {
            self.feed_conn(conn, bytes);
        }
    }

    fn feed_conn(&mut self, conn: ConnId, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Some(space) = self.member.receive_space(conn) else { return };
            let room = space.capacity() - space.len();
            assert!(room > 0, "no room to receive into");
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            space.extend_from_slice(now);
            bytes = later;
            self.turn(Input::Received(conn));
            if !self.conns.contains_key(&conn) {
                return;
            }
        }
    }

    fn datagram(&mut self, bytes: &[u8]) {
        let from = SocketAddr::from(([127, 0, 0, 1], 20_001));
        self.turn(Input::Datagram { from, bytes });
    }

    fn close(&mut self, choice: u8) {
        if let Some(conn) = self.conn(choice) {
            self.conns.remove(&conn);
            self.turn(Input::Closed(conn, CloseCause::Peer));
        }
    }

    /// What the member dialled is up, or is not.
    fn answer_dial(&mut self, choice: u8) {
        let Some((conn, to)) = self.dialled.pop() else { return };
        let cause = [CloseCause::Refused, CloseCause::Peer, CloseCause::Failed];
        match usize::from(choice) % 4 {
            3 => {
                self.conns.insert(conn, Vec::new());
                self.who.insert(conn, to.port().wrapping_sub(FIRST_PORT) as u8 % STRANGERS);
                self.turn(Input::Connected(conn));
            }
            n => self.turn(Input::Closed(conn, cause[n])),
        }
    }

    /// A greeting that the member cannot object to.
    fn hello(&self, purpose: Purpose, who: u8) -> Control {
        let join = self.join(who);
        Control::Hello(Hello {
            magic: MAGIC,
            version_min: decurion::wire::VERSION,
            version_max: decurion::wire::VERSION,
            cluster: "fuzz".to_owned(),
            purpose,
            name: join.name,
            incarnation: join.incarnation,
            address: join.address,
            expects: Incarnation::NONE,
            settings: Vec::new(),
            view: None,
        })
    }

    /// One of the strangers, each with a name and an address of its own.
    fn join(&self, who: u8) -> Join {
        let who = who % STRANGERS;
        Join {
            name: Name::new(&format!("stranger-{who}")),
            incarnation: incarnation(who),
            address: SocketAddr::from(([127, 0, 0, 1], FIRST_PORT + u16::from(who))),
            unheard: Vec::new(),
        }
    }

    /// Answers the newest frame of some type as a true member would, or with a number changed.
    fn answer(&mut self, choice: u8, script: &mut Script<'_>) {
        let (conn, change) = (script.byte(), script.byte());
        let Some(asked) = self.seen.values().nth(usize::from(choice) % self.seen.len().max(1)).cloned() else {
            return;
        };
        let who = self.conn(conn).and_then(|conn| self.who.get(&conn).copied()).unwrap_or(0);
        let answer = self.answer_to(asked, who, change);
        self.feed(conn, &answer.encode());
    }

    /// What a true member would answer if `change` is zero, and something near it otherwise.
    fn answer_to(&self, asked: Control, who: u8, change: u8) -> Control {
        let small = u64::from(change);
        match asked {
            Control::Hello(_) => self.welcome(who),
            Control::Prepare(p) => Control::Promise(Promise {
                number: p.number,
                ballot: p.ballot,
                have: Sparse(vec![small; self.holds(who)]),
                memory: change & 1 == 0,
                announces_ready: change & 2 != 0,
                witness: change & 8 != 0,
                tags: Default::default(),
                up_ms: u32::from(change) * 100,
                fence_ms: 0,
                hold_ms: u32::from(change >> 4),
                grants_ms: Vec::new(),
                newest: p.number.wrapping_sub(1 + small / 64),
                accepted: None,
            }),
            Control::Cut(cut) => Control::Held(Vote { number: cut.number, ballot: cut.ballot }),
            Control::Propose(p) => {
                Control::Accepted(Vote { number: p.proposal.id.number.wrapping_add(small / 128), ballot: p.ballot })
            }
            Control::ProposeChange(p) => {
                Control::Accepted(Vote { number: p.successor.id.number.wrapping_add(small / 128), ballot: p.ballot })
            }
            Control::Install(install) => Control::Installed(install.proposal.id),
            Control::Decided(decided) => Control::Installed(decided.id),
            Control::Ask(subject) => {
                let sight = [Sight::Alive, Sight::Silent, Sight::Dead, Sight::Slow, Sight::Faulty];
                let observer = incarnation(who);
                let sight = sight[usize::from(change) % 5];
                Control::Observe(Observation { subject, observer, sight, amount: small })
            }
            Control::Ping(number) => Control::Pong(number),
            echoed => echoed,
        }
    }

    /// How many streams a member reports in a promise: those of the view, or none while it joins.
    fn holds(&self, who: u8) -> usize {
        let view = self.member.view().map(|(view, _)| view);
        view.filter(|view| view.index_of(incarnation(who)).is_some()).map_or(0, |view| view.len())
    }

    fn welcome(&self, who: u8) -> Control {
        let Join { name, incarnation, address, .. } = self.join(who);
        Control::Welcome(Welcome { name, incarnation, address, view: None, member: true })
    }

    /// For some rounds all strangers do what true members do: take dials, answer what is asked, and show signs of life.
    fn cooperate(&mut self, rounds: u8) {
        for _ in 0..rounds {
            self.answer_dial(3);
            while let Some((conn, asked)) = self.unanswered.pop_front() {
                let who = self.who.get(&conn).copied().unwrap_or(0);
                let answer = self.answer_to(asked, who, 0);
                self.feed_conn(conn, &answer.encode());
            }
            for who in 0..STRANGERS {
                if self.holds(who) > 0 {
                    self.heartbeat(who, &mut Script { rest: &[] });
                }
            }
            self.pass(millis(20));
        }
    }

    /// A batch behind a true checksum, of the current view or of none.
    fn batch(&mut self, choice: u8, script: &mut Script<'_>) {
        let [sender, receiver, batch, length] = [script.byte(), script.byte(), script.byte(), script.byte()];
        let mut area = Vec::new();
        let payload = script.take(usize::from(length));
        let part = payload.len() as u32;
        // The first or the second of three parts of equal length.
        let fragment = (choice & 2 != 0).then(|| Fragment { total: part * 3, offset: part * u32::from(choice >> 7) });
        Entry { level: Level::Fifo, token: u64::from(choice >> 4 & 1), fragment, payload }.put(&mut area);
        let view = self.member.view().map_or(ViewId::NONE, |(view, _)| view.id);
        let header = Header {
            flags: if fragment.is_some() { FLAG_FRAGMENTS } else { 0 },
            count: 1 + u16::from(choice & 8 != 0),
            length: area.len() as u32,
            tag: if choice & 4 == 0 { view.tag() } else { u64::from(choice) },
            sender: Seat(u32::from(sender)),
            receiver: Seat(u32::from(receiver) / 64),
            batch: u64::from(batch),
            first_message: u64::from(batch),
        };
        let bytes = [header.encode().as_slice(), area.as_slice()].concat();
        self.feed(choice, &bytes);
    }

    fn heartbeat(&mut self, choice: u8, script: &mut Script<'_>) {
        let view = self.member.view().map_or(ViewId::NONE, |(view, _)| view.id);
        let heartbeat = Heartbeat {
            view_number: view.number.wrapping_add(u64::from(script.byte() / 128)),
            view_tag: view.tag(),
            sent_us: self.now.0,
            echo_us: self.now.0.wrapping_sub(u64::from(script.byte()) << 12),
            echo_age_us: u64::from(script.byte()),
            heard_ms: u32::from(script.byte()),
            late_ms: u32::from(script.byte()),
        };
        let from = incarnation(choice);
        let envelope = Envelope { cluster: self.cluster, from, to: self.member.incarnation() };
        self.datagram(&Datagram::Heartbeat(heartbeat).encode(&envelope));
    }

    /// The newest frame of some type comes back with one byte changed and a true checksum.
    fn damaged(&mut self, choice: u8, script: &mut Script<'_>) {
        let (conn, at, byte) = (script.byte(), usize::from(script.byte()), script.byte());
        let Some(frame) = self.seen.values().nth(usize::from(choice) % self.seen.len().max(1)) else { return };
        let frame = frame.encode();
        let mut body = frame[control::HEADER_BYTES..].to_vec();
        if !body.is_empty() {
            let at = at % body.len();
            body[at] = byte;
        }
        self.feed(conn, &super::sealed_control(frame[0], &body));
    }

    /// The member's own host sends.
    fn send(&mut self, choice: u8, length: u8) {
        let to = if choice & 1 == 0 { To::Everybody } else { To::Member(incarnation(choice)) };
        let payload = vec![choice; usize::from(length) << (choice % 9)];
        self.outbox.push(to, Level::Fifo, 0, Payload::Borrowed(&payload));
        self.settle();
    }

    /// Time passes, and the member wakes whenever it wants to.
    fn pass(&mut self, length: Micros) {
        let end = self.now + length;
        let mut at_once = 0;
        loop {
            let next = self.member.deadline().min(end);
            at_once = if next <= self.now { at_once + 1 } else { 0 };
            assert!(at_once < TURNS_AT_ONCE, "the member does not come to rest at {:?}", self.now);
            self.now = self.now.max(next);
            self.turn(Input::Wake);
            if self.now >= end && self.member.deadline() > self.now {
                break;
            }
        }
    }

    fn turn(&mut self, input: Input<'_>) {
        self.member.handle(self.now, input);
        self.settle();
    }

    /// Does what the member says until it says nothing more.
    fn settle(&mut self) {
        self.member.exchange(self.now, &mut self.outbox);
        for _ in 0..OUTPUTS_PER_TURN {
            match self.member.poll() {
                None => return,
                Some(Output::Dial { conn, to }) => self.dialled.push((conn, to)),
                Some(Output::Transmit(conn)) => self.transmit(conn),
                Some(Output::Close(conn)) => {
                    self.conns.remove(&conn);
                    self.dialled.retain(|(dialled, _)| *dialled != conn);
                }
                Some(Output::Resolve { host, .. }) => {
                    self.member.handle(self.now, Input::Resolved { host, addresses: Vec::new() });
                }
                Some(Output::Event(event)) => self.event(&event),
                Some(Output::Multicast) => panic!("a member without a group sends to one"),
                Some(Output::Datagram { bytes, .. }) => {
                    self.cluster = Datagram::decode(&bytes).expect("a member sends legal datagrams").0.cluster;
                }
            }
        }
        panic!("the member has more than {OUTPUTS_PER_TURN} outputs in one turn");
    }

    fn event(&mut self, event: &Event) {
        if let Event::Messages(run) = event {
            assert_eq!(run.iter().count(), run.len(), "a run that was delivered can be walked");
        }
        match event.cost() {
            0 => {}
            bytes => self.member.handle(self.now, Input::Consumed { bytes }),
        }
    }

    fn transmit(&mut self, conn: ConnId) {
        let mut slices = Vec::new();
        self.member.to_write(conn, 1 << 20, &mut slices);
        let bytes = slices.concat();
        self.member.wrote(self.now, conn, bytes.len());
        if let Some(unread) = self.conns.get_mut(&conn) {
            unread.extend_from_slice(&bytes);
            for control in read_frames(unread) {
                self.seen.insert(control.frame_type(), control.clone());
                if self.unanswered.len() < UNANSWERED && wants_answer(&control) {
                    self.unanswered.push_back((conn, control));
                }
            }
        }
    }
}

/// Whether a true member answers a frame.
fn wants_answer(control: &Control) -> bool {
    use Control::{Ask, Cut, Decided, Hello, Install, Ping, Prepare, Propose, ProposeChange};
    let ballot = matches!(control, Prepare(_) | Cut(_) | Propose(_) | ProposeChange(_) | Install(_) | Decided(_));
    ballot || matches!(control, Hello(_) | Ask(_) | Ping(_))
}

/// Takes the whole control frames from the front; what the member writes must be legal.
fn read_frames(unread: &mut Vec<u8>) -> Vec<Control> {
    let mut frames = Vec::new();
    while let Some(header) = unread.first_chunk::<{ control::HEADER_BYTES }>() {
        let body = control::body_length(header);
        let batch = header[0] == decurion::wire::BATCH_TYPE;
        let length = body + if batch { decurion::wire::batch::HEADER_BYTES } else { control::HEADER_BYTES };
        if unread.len() < length {
            break;
        }
        let frame: Vec<u8> = unread.drain(..length).collect();
        if !batch {
            frames.push(Control::decode(&frame).expect("a member writes legal frames"));
        }
    }
    frames
}
