//! A member whose fellows are played, and whose host sends.

use crate::stage::Stage;
use crate::support::{Stream, tag_between};
use decurion::core::{Event, Input, Outbox, Payload, Setup, To};
use decurion::types::{Code, Incarnation, Seat};
use decurion::wire::Proposal;
use decurion::wire::batch::{Entry, HEADER_BYTES, Header, Level};
use decurion::wire::control::Progress;

pub struct Sender {
    pub stage: Stage,
    pub outbox: Outbox,
}

impl Sender {
    pub fn within(first: &Proposal, change: impl Fn(&mut Setup)) -> Sender {
        let mut sender = Sender { stage: Stage::within(first, change), outbox: Outbox::new(1 << 20, 1 << 20) };
        sender.turn();
        sender
    }

    /// The member takes what its host has sent, until it wants no more of it, and what it says is written.
    pub fn turn(&mut self) {
        self.stage.member.exchange(self.stage.now, &mut self.outbox);
        self.stage.tell(Input::Wake);
        while self.stage.member.ended().is_none() && self.stage.member.deadline() <= self.stage.now {
            self.stage.member.exchange(self.stage.now, &mut self.outbox);
            self.stage.tell(Input::Wake);
        }
    }

    /// The host sends, and the member has not come by yet.
    pub fn offer(&mut self, to: To, token: u64, bytes: usize) -> Code {
        self.outbox.push(to, Level::Fifo, token, Payload::Borrowed(&vec![7; bytes]))
    }

    /// The host sends, and the member has taken what it could of it.
    pub fn send(&mut self, to: To, token: u64, bytes: usize) {
        assert_eq!(self.offer(to, token, bytes), Code::Ok);
        self.turn();
    }

    /// Headers of the batches that it has sent since the last look.
    pub fn sent(&mut self) -> Vec<Header> {
        let header = |batch: Vec<u8>| Header::decode(batch.first_chunk().expect("a whole batch")).expect("legal");
        std::mem::take(&mut self.stage.batches).into_iter().map(header).collect()
    }

    /// What its host was given back since the last look: for whom it was, and its token.
    pub fn returned(&mut self) -> Vec<(Option<Incarnation>, u64, &'static str)> {
        let back = |event| match event {
            Event::Returned { to, token, why, .. } => Some((to.map(|to| to.incarnation), token, why)),
            _ => None,
        };
        self.stage.events.drain(..).filter_map(back).collect()
    }

    pub fn view_tag(&self) -> u64 {
        self.stage.member.view().expect("in a view").0.tag()
    }

    pub fn place_of(&self, who: Incarnation) -> usize {
        self.stage.member.view().expect("in a view").0.index_of(who).expect("in the view")
    }

    fn seat_of(&self, who: Incarnation) -> Seat {
        self.stage.member.view().expect("in a view").0.members[self.place_of(who)].seat
    }

    /// Up to this batch of a stream to everybody.
    pub fn up_to(&self, sender: Incarnation, batch: u64) -> Progress {
        Progress { tag: self.view_tag(), entries: vec![(self.place_of(sender) as u32, batch)] }
    }

    /// A batch of `sender` with one message, for everybody or for one of them.
    pub fn batch(&self, sender: Incarnation, to: Option<Incarnation>, number: u64) -> Vec<u8> {
        let mut area = Vec::new();
        Entry { level: Level::Fifo, token: 0, fragment: None, payload: b"said" }.put(&mut area);
        self.batch_of(sender, to, number, &area)
    }

    /// The same with this area.
    pub fn batch_of(&self, sender: Incarnation, to: Option<Incarnation>, number: u64, area: &[u8]) -> Vec<u8> {
        let header = Header {
            flags: 0,
            count: 1,
            length: area.len() as u32,
            tag: to.map_or(self.view_tag(), |to| tag_between(Stream::Messages, sender, to)),
            sender: self.seat_of(sender),
            receiver: to.map_or(Seat::EVERYBODY, |to| self.seat_of(to)),
            batch: number,
            first_message: number,
        };
        [&header.encode()[..], area].concat()
    }

    /// The same, with content that no member may send.
    pub fn bad_batch(&self, sender: Incarnation, to: Option<Incarnation>, number: u64) -> Vec<u8> {
        let mut batch = self.batch(sender, to, number);
        // No level of delivery is 0.
        batch[HEADER_BYTES..].iter_mut().for_each(|byte| *byte = 0);
        batch
    }

    pub fn bring(&mut self, over: Incarnation, batch: &[u8]) {
        self.stage.say_bytes(self.stage.conns[&over], batch);
    }

    /// The link to one of the others breaks, and comes up again.
    pub fn renew_link(&mut self, who: Incarnation) {
        self.stage.renew_link(who);
    }
}
