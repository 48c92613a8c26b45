//! One member whose fellows are played, and what came out of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::support::{WAKES_AT_ONCE, hello, mix};
use decurion::core::{CloseCause, Event, Input, Member, Output, Seed, Setup};
use decurion::types::{Ballot, ConnId, Incarnation, MemberInfo, Micros, Name, Seat, Tags, Time, ViewId, millis};
use decurion::wire::batch;
use decurion::wire::control::{
    Control, HEADER_BYTES, Install, Join, Observation, Prepare, Promise, Purpose, Sight, ViewSummary, Vote, Welcome,
    body_length,
};
use decurion::wire::datagram::{Datagram, Envelope, Heartbeat};
use decurion::wire::{BATCH_TYPE, Proposal, Sparse};

pub const NOW: Time = Time(1_000_000_000);
pub const ME: Incarnation = Incarnation(1);
pub const PEER: Incarnation = Incarnation(2);
pub const THIRD: Incarnation = Incarnation(3);
pub const FRESH: Incarnation = Incarnation(4);
pub const FIFTH: Incarnation = Incarnation(5);

pub fn address(of: Incarnation) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7_000 + of.0 as u16))
}

pub fn name(of: Incarnation) -> &'static str {
    ["me", "peer", "third", "fresh", "fifth"][of.0 as usize - 1]
}

/// Where the only seed is, at which nobody is in the beginning.
pub fn seed() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7_100))
}

/// What a view says of a member that is ready, in the first group, and was there before.
pub fn entry(name: &str, incarnation: Incarnation, seat: u32) -> MemberInfo {
    MemberInfo {
        name: Name::new(name),
        incarnation,
        address: address(incarnation),
        seat: Seat(seat),
        admitted: 1,
        group: 0,
        grouped: 1,
        ready: true,
        witness: false,
        tags: Tags::default(),
    }
}

/// All frames among what was written on a connection: batches, and others.
fn frames(written: &[u8]) -> (Vec<Vec<u8>>, Vec<Control>) {
    let (mut rest, mut batches, mut controls) = (written, Vec::new(), Vec::new());
    while let Some(header) = rest.first_chunk::<HEADER_BYTES>() {
        let head = if header[0] == BATCH_TYPE { batch::HEADER_BYTES } else { HEADER_BYTES };
        let (frame, others) = rest.split_at(head + body_length(header));
        match header[0] {
            BATCH_TYPE => batches.push(frame.to_vec()),
            _ => controls.push(Control::decode(frame).expect("legal")),
        }
        rest = others;
    }
    (batches, controls)
}

/// All control frames among what was written on a connection.
pub fn controls(written: &[u8]) -> Vec<Control> {
    frames(written).1
}

pub fn ballot(round: u64) -> Ballot {
    Ballot { round, coordinator: PEER }
}

/// An unfenced view of these, the first of whom coordinates it.
pub fn view(number: u64, members: &[Incarnation]) -> Proposal {
    let id = |number| ViewId { number, ballot: ballot(number) };
    let members = members.iter().zip(1..).map(|(who, seat)| entry(name(*who), *who, seat)).collect();
    Proposal { id: id(number), previous: id(number - 1), members, fenced: false, next_seat: 9, cut: Sparse(Vec::new()) }
}

/// The same view, with its members in these groups: the first of each leads it.
pub fn in_groups(view: Proposal, groups: &[u16]) -> Proposal {
    let members = view.members.into_iter().zip(groups).map(|(member, group)| MemberInfo { group: *group, ..member });
    Proposal { members: members.collect(), ..view }
}

/// The same view, decided by a majority.
pub fn fenced(view: Proposal) -> Proposal {
    Proposal { fenced: true, ..view }
}

/// What somebody says of its view when it greets, without a lease of it.
pub fn summary(of: &Proposal) -> ViewSummary {
    let first = of.members[0].incarnation;
    ViewSummary {
        id: of.id,
        fenced: of.fenced,
        primary: !of.fenced,
        members: of.members.len() as u32,
        coordinator: first,
        address: address(first),
        leaders: Vec::new(),
    }
}

/// Nobody is suspected, however long a test takes.
pub fn patient(setup: &mut Setup) {
    setup.silence = millis(600_000);
}

/// A member, and what came out of it.
pub struct Stage {
    pub member: Member,
    pub now: Time,
    pub conns: BTreeMap<Incarnation, ConnId>,
    pub dials: Vec<(ConnId, SocketAddr)>,
    /// Names that were to be looked up.
    pub names: Vec<String>,
    pub closed: Vec<ConnId>,
    pub events: Vec<Event>,
    pub words: Vec<(ConnId, Control)>,
    pub datagrams: Vec<(Incarnation, Datagram)>,
    /// Everything that it has sent in streams.
    pub batches: Vec<Vec<u8>>,
}

impl Stage {
    pub fn new(change: impl Fn(&mut Setup)) -> Stage {
        let mut setup = Setup::new("test", "me", ME, address(ME));
        setup.seeds = vec![Seed { name: None, host: seed().ip().to_string(), port: seed().port() }];
        change(&mut setup);
        Stage {
            member: Member::new(setup, NOW),
            now: NOW,
            conns: BTreeMap::new(),
            dials: Vec::new(),
            names: Vec::new(),
            closed: Vec::new(),
            events: Vec::new(),
            words: Vec::new(),
            datagrams: Vec::new(),
            batches: Vec::new(),
        }
    }

    /// In a view of these, all others of whom are connected with it.
    pub fn within(first: &Proposal, change: impl Fn(&mut Setup)) -> Stage {
        let mut stage = Stage::new(change);
        let others: Vec<Incarnation> = first.members.iter().map(|m| m.incarnation).filter(|i| *i != ME).collect();
        others.iter().for_each(|other| stage.connect(*other, Purpose::Link));
        stage.install(others[0], first);
        assert_eq!(stage.view(), Some(first.id));
        stage
    }

    /// In a change of this view that was begun just now: the next member, `PEER`, has become ready.
    pub fn changing(mut first: Proposal, change: impl Fn(&mut Setup)) -> Stage {
        first.members[1].ready = false;
        let mut stage = Stage::within(&first, change);
        stage.say(PEER, &Control::Ready(PEER));
        stage.pass(millis(10));
        stage
    }

    pub fn view(&self) -> Option<ViewId> {
        self.member.view().map(|(view, _)| view.id)
    }

    pub fn connect(&mut self, who: Incarnation, purpose: Purpose) {
        let conn = self.member.accept(self.now, address(who)).expect("a stranger is welcome");
        self.conns.insert(who, conn);
        self.say(who, &Control::Hello(hello("test", name(who), (who, address(who)), purpose)));
    }

    /// The link to one of the others breaks, and comes up again.
    pub fn renew_link(&mut self, who: Incarnation) {
        if !self.closed.contains(&self.conns[&who]) {
            self.tell(Input::Closed(self.conns[&who], CloseCause::Peer));
        }
        self.connect(who, Purpose::Link);
    }

    /// A newcomer asks for admission that hears all leaders but these.
    pub fn wish(&mut self, who: Incarnation, unheard: &[Incarnation]) {
        self.connect(who, Purpose::Join);
        let (name, address, unheard) = (Name::new(name(who)), address(who), unheard.to_vec());
        self.say(who, &Control::Join(Join { name, incarnation: who, address, unheard }));
    }

    pub fn install(&mut self, from: Incarnation, proposal: &Proposal) {
        self.say(from, &Control::Install(Install { proposal: proposal.clone(), hold_ms: 0 }));
    }

    pub fn say(&mut self, from: Incarnation, control: &Control) {
        self.say_over(self.conns[&from], control);
    }

    pub fn say_over(&mut self, conn: ConnId, control: &Control) {
        self.say_bytes(conn, &control.encode());
    }

    pub fn say_bytes(&mut self, conn: ConnId, bytes: &[u8]) {
        self.member.receive_space(conn).expect("it is open").extend_from_slice(bytes);
        self.tell(Input::Received(conn));
    }

    /// The newest dial to an address comes up, and somebody answers, in a view that has a place for this member or not.
    pub fn answer(&mut self, at: SocketAddr, who: Incarnation, view: Option<ViewSummary>, member: bool) -> ConnId {
        let (conn, _) = *self.dials.iter().rfind(|(_, to)| *to == at).expect("nobody looks there");
        self.tell(Input::Connected(conn));
        let (name, address) = (Name::new(name(who)), address(who));
        self.say_over(conn, &Control::Welcome(Welcome { name, incarnation: who, address, view, member }));
        conn
    }

    /// What one of the others says of another one; for how many milliseconds it has missed it.
    pub fn observe(&mut self, observer: Incarnation, subject: Incarnation, sight: Sight, amount: u64) {
        self.say(observer, &Control::Observe(Observation { subject, observer, sight, amount }));
    }

    /// What stands before a datagram from one of the others.
    pub fn envelope(&self, from: Incarnation) -> Envelope {
        let cluster = "test".bytes().fold(0x636c_7573, |tag, byte| mix(tag, u64::from(byte)));
        Envelope { cluster, from, to: self.member.incarnation() }
    }

    /// A datagram from one of the others.
    pub fn send(&mut self, who: Incarnation, datagram: &Datagram) {
        self.deliver(&self.envelope(who), datagram);
    }

    pub fn deliver(&mut self, envelope: &Envelope, datagram: &Datagram) {
        let bytes = datagram.encode(envelope);
        self.tell(Input::Datagram { from: address(envelope.from), bytes: &bytes });
    }

    /// A heartbeat of one of the others in the view of this member, which it heard just now.
    pub fn heartbeat(&self) -> Heartbeat {
        let (view, _) = self.member.view().expect("in a view");
        Heartbeat {
            view_number: view.id.number,
            view_tag: view.tag(),
            sent_us: self.now.0,
            echo_us: 0,
            echo_age_us: 0,
            heard_ms: 0,
            late_ms: 0,
        }
    }

    /// Signs of life of one of the others, which hears this member.
    pub fn beat(&mut self, who: Incarnation) {
        let beat = self.heartbeat();
        self.send(who, &Datagram::Heartbeat(beat));
        self.say(who, &Control::Pong(0));
    }

    pub fn tell(&mut self, input: Input<'_>) {
        self.member.handle(self.now, input);
        self.settle();
    }

    /// Does what the member wants done.
    pub fn settle(&mut self) {
        while let Some(output) = self.member.poll() {
            match output {
                Output::Dial { conn, to } => self.dials.push((conn, to)),
                Output::Resolve { host, .. } => self.names.push(host),
                Output::Transmit(conn) => self.read(conn),
                Output::Close(conn) => {
                    self.read(conn);
                    self.closed.push(conn);
                }
                Output::Event(event) => self.events.push(event),
                Output::Datagram { bytes, .. } => {
                    let (envelope, datagram) = Datagram::decode(&bytes).expect("legal");
                    self.datagrams.push((envelope.to, datagram));
                }
                Output::Multicast => {}
            }
        }
    }

    pub fn read(&mut self, conn: ConnId) {
        let mut slices = Vec::new();
        self.member.to_write(conn, usize::MAX, &mut slices);
        let words = slices.concat();
        self.member.wrote(self.now, conn, words.len());
        let (batches, controls) = frames(&words);
        self.batches.extend(batches);
        self.words.extend(controls.into_iter().map(|control| (conn, control)));
    }

    pub fn pass(&mut self, time: Micros) {
        let until = self.now + time;
        let mut at_once = 0;
        while self.member.deadline() <= until && self.member.ended().is_none() {
            at_once = if self.member.deadline() <= self.now { at_once + 1 } else { 0 };
            assert!(at_once < WAKES_AT_ONCE, "a member does not come to rest at {:?}", self.now);
            self.now = self.now.max(self.member.deadline());
            self.tell(Input::Wake);
        }
        self.now = until;
    }

    /// What one of the others was told since the last look.
    pub fn heard(&mut self, who: Incarnation) -> Vec<Control> {
        let conn = self.conns[&who];
        self.words.extract_if(.., |(to, _)| *to == conn).map(|(_, control)| control).collect()
    }

    /// Whether one of the others was asked since the last look to promise, and as what.
    pub fn prepared(&mut self, who: Incarnation) -> Option<Prepare> {
        self.heard(who).into_iter().find_map(|control| match control {
            Control::Prepare(prepare) => Some(prepare),
            _ => None,
        })
    }

    /// Plays one of the others in a change until it has to accept; what it has to accept.
    pub fn go_along(&mut self, who: Incarnation) -> Vote {
        self.all_go_along(&[who], |_, promise| promise)
    }

    /// Plays all of the others in a change until they have to accept; each promises what `promised` makes of it.
    pub fn all_go_along(&mut self, all: &[Incarnation], promised: impl Fn(Incarnation, Promise) -> Promise) -> Vote {
        let asked: Vec<_> = all.iter().map(|who| (*who, self.prepared(*who).expect("a change has begun"))).collect();
        for (who, prepare) in &asked {
            self.say(*who, &Control::Promise(promised(*who, promise(prepare))));
        }
        let Prepare { number, ballot, .. } = asked[0].1;
        for (who, _) in asked.iter().filter(|(_, prepare)| !prepare.joins) {
            assert!(self.heard(*who).iter().any(|control| matches!(control, Control::Cut(_))));
            self.say(*who, &Control::Held(Vote { number, ballot }));
        }
        let proposed = |c: &Control| matches!(c, Control::Propose(_) | Control::ProposeChange(_));
        all.iter().for_each(|who| assert!(self.heard(*who).iter().any(proposed)));
        Vote { number, ballot }
    }
}

pub fn promise(prepare: &Prepare) -> Promise {
    Promise {
        number: prepare.number,
        ballot: prepare.ballot,
        have: Sparse(Vec::new()),
        memory: true,
        announces_ready: false,
        witness: false,
        tags: Tags::default(),
        up_ms: 60_000,
        fence_ms: 0,
        hold_ms: 0,
        grants_ms: Vec::new(),
        newest: prepare.number - 1,
        accepted: None,
    }
}
