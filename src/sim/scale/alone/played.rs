//! Who is played around one member, and what they say.

use std::net::SocketAddr;

use super::{Alone, Arrival, CLUSTER};
use crate::types::{Ballot, ConnId, Incarnation, MemberInfo, Name, Seat, Tags, ViewId, limits};
use crate::wire::control::{
    Control, Cut, Decided, HEADER_BYTES, Hello, MAGIC, Prepare, Promise, ProposeChange, Purpose, ViewSummary, Vote,
    Welcome, body_length,
};
use crate::wire::datagram::{Datagram, Envelope, Heartbeat, LeaseAnswer};
use crate::wire::{Proposal, Reader, Sparse, VERSION, Wire};

/// Whose names decide views: the first so many members.
pub(super) const VOTERS: usize = 5;

pub(super) fn address(member: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (member >> 8) as u8, member as u8], 7_100))
}

pub(super) fn incarnation(member: usize) -> Incarnation {
    Incarnation(1 + member as u128)
}

pub(super) fn name(member: usize) -> Name {
    Name::new(&format!("m{member}"))
}

/// As many groups as the library would make of so many members. The first members lead them.
pub(super) fn groups(count: usize) -> usize {
    count.div_ceil((count as f64).sqrt().ceil() as usize)
}

/// The first view of so many members.
pub(super) fn first_view(count: usize) -> Proposal {
    let groups = groups(count);
    let member = |at: usize| MemberInfo {
        name: name(at),
        incarnation: incarnation(at),
        address: address(at),
        seat: Seat(1 + at as u32),
        admitted: 1,
        group: (at % groups) as u16,
        grouped: 1,
        ready: true,
        witness: false,
        tags: Tags::default(),
    };
    Proposal {
        id: ViewId { number: 1, ballot: Ballot { round: 1, coordinator: incarnation(0) } },
        previous: ViewId::NONE,
        members: (0..count).map(member).collect(),
        fenced: true,
        next_seat: 1 + count as u32,
        cut: Sparse::default(),
    }
}

/// The beginning of a frame, or all of a short one: nobody reads more of it.
pub(super) type Head = Vec<u8>;
/// A greeting is the longest frame that is read to its end.
const HEAD_BYTES: usize = limits::GREETING_BYTES;

/// The heads of all frames in a slice of what a member writes: it holds whole ones, as always everything is written.
pub(super) fn heads(slice: &[u8], out: &mut Vec<Head>) {
    let mut rest = slice;
    while let Some(header) = rest.first_chunk::<HEADER_BYTES>() {
        let (frame, later) = rest.split_at(HEADER_BYTES + body_length(header));
        out.push(frame[..frame.len().min(HEAD_BYTES)].to_vec());
        rest = later;
    }
}

/// From whom and for whom a frame is that is passed on, and the head of that frame.
fn routed(head: &[u8]) -> (usize, usize, &[u8]) {
    let mut reader = Reader::new(&head[HEADER_BYTES..]);
    let mut whom = || Incarnation::take(&mut reader).expect("a frame of our own").0 as usize - 1;
    let (from, to) = (whom(), whom());
    let inner = head.len() - reader.remaining() + size_of::<u32>();
    (from, to, &head[inner..])
}

impl Alone {
    pub(super) fn hello(&self, peer: usize) -> Control {
        Control::Hello(Hello {
            magic: MAGIC,
            version_min: VERSION,
            version_max: VERSION,
            cluster: CLUSTER.to_owned(),
            purpose: Purpose::Link,
            name: name(peer),
            incarnation: incarnation(peer),
            address: address(peer),
            expects: incarnation(self.me),
            settings: Vec::new(),
            view: Some(self.summary()),
        })
    }

    fn welcome(&self, peer: usize) -> Control {
        let view = Some(self.summary());
        let (name, incarnation, address) = (name(peer), incarnation(peer), address(peer));
        let member = self.member.view().is_some();
        Control::Welcome(Welcome { name, incarnation, address, view, member })
    }

    fn summary(&self) -> ViewSummary {
        ViewSummary {
            id: self.view.id,
            fenced: true,
            primary: true,
            members: self.view.members.len() as u32,
            coordinator: incarnation(0),
            address: address(0),
            leaders: Vec::new(),
        }
    }

    /// What a coordinator that is played says to each, step by step, to take the last member out of the view.
    pub(super) fn ballot_without_the_last(&self) -> [Control; 4] {
        let ballot = Ballot { round: 2, coordinator: incarnation(0) };
        let mut next = self.view.clone();
        next.members.pop();
        (next.id, next.previous) = (ViewId { number: self.view.id.number + 1, ballot }, self.view.id);
        next.cut = Sparse(vec![0; self.view.members.len()]);
        let (id, number) = (next.id, next.id.number);
        let upto = Sparse(vec![(0, Incarnation::NONE); self.view.members.len()]);
        let successor = next.successor_of(&self.view).expect("it follows");
        [
            Control::Prepare(Prepare { number, ballot, previous: self.view.id, joins: false }),
            Control::Cut(Cut { number, ballot, upto }),
            Control::ProposeChange(ProposeChange { ballot, successor }),
            Control::Decided(Decided { id, hold_ms: 0 }),
        ]
    }

    /// What a played member says to a frame that `from` has sent to it. Long frames are known by their types: to check them would take
    /// longer than what is measured.
    pub(super) fn answer(&mut self, conn: ConnId, from: usize, to: usize, head: &[u8]) {
        let kind = Control::TYPES.iter().find(|(number, _)| *number == head[0]);
        let (number, ballot) = (self.view.id.number + 1, self.ballot);
        let answer = match kind.expect("a frame of our own").1 {
            "Routed" => {
                let (from, to, inner) = routed(head);
                return self.answer(conn, from, to, inner);
            }
            "Hello" => return self.arrivals.push_back(Arrival::Frame(conn, None, self.welcome(to).encode())),
            "Prepare" | "Ping" => return self.answer_short(from, to, &Control::decode(head).expect("a whole frame")),
            "Cut" => Control::Held(Vote { number, ballot }),
            "Propose" | "ProposeChange" => Control::Accepted(Vote { number, ballot }),
            "Install" | "Decided" => Control::Installed(ViewId { number, ballot }),
            _ => return,
        };
        self.say(to, from, answer.encode());
    }

    fn answer_short(&mut self, from: usize, to: usize, control: &Control) {
        match control {
            Control::Prepare(prepare) => {
                if self.promise.is_empty() || self.ballot != prepare.ballot {
                    self.ballot = prepare.ballot;
                    self.promise = Control::Promise(self.promise(prepare)).encode();
                }
                self.say(to, from, self.promise.clone());
            }
            Control::Ping(n) => self.say(to, from, Control::Pong(*n).encode()),
            _ => {}
        }
    }

    fn promise(&self, prepare: &Prepare) -> Promise {
        Promise {
            number: prepare.number,
            ballot: prepare.ballot,
            have: Sparse(vec![0; self.view.members.len()]),
            memory: true,
            announces_ready: false,
            witness: false,
            tags: Tags::default(),
            up_ms: 100_000,
            fence_ms: 0,
            hold_ms: 0,
            grants_ms: Vec::new(),
            newest: self.view.id.number,
            accepted: None,
        }
    }

    /// Heartbeats are answered by heartbeats, lease rounds by leave.
    pub(super) fn answer_datagram(&mut self, bytes: &[u8]) {
        let (envelope, datagram) = Datagram::decode(bytes).expect("a datagram of our own");
        let peer = envelope.to.0 as usize - 1;
        self.cluster = envelope.cluster;
        let back = Envelope { cluster: envelope.cluster, from: envelope.to, to: envelope.from };
        let answer = match datagram {
            Datagram::Heartbeat(beat) => Datagram::Heartbeat(Heartbeat {
                sent_us: self.now.0,
                echo_us: beat.sent_us,
                echo_age_us: 0,
                heard_ms: 0,
                late_ms: 0,
                ..beat
            }),
            Datagram::LeaseRound(round) => Datagram::LeaseAnswer(LeaseAnswer {
                view_tag: round.view_tag,
                round: round.round,
                clock_us: self.now.0,
            }),
            Datagram::LeaseAnswer(answer) => {
                self.clock = answer.clock_us;
                return;
            }
            Datagram::NotMember => panic!("a played member is taken for a stranger"),
        };
        if self.dead != Some(peer) {
            self.arrivals.push_back(Arrival::Datagram(address(peer), answer.encode(&back)));
        }
    }
}
