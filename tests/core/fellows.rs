//! A member whose fellows are played, and the frames of sessions that it and they send.

use std::collections::BTreeMap;

use crate::stage::{ME, PEER, Stage, THIRD, patient, view};
use crate::support::{Stream, pairs, tag_between};
use decurion::core::{Event, Input, Outbox, SessionAnswer, SessionOp, SessionRequest, Setup};
use decurion::types::{Code, Epoch, Incarnation, MemberTag, Seat, SessionId, millis};
use decurion::wire::Proposal;
use decurion::wire::batch::{Entries, Entry, HEADER_BYTES, Header, Level};
use decurion::wire::control::{Control, DirectAck, Purpose};
use decurion::wire::session::{Attributes, Copy, Frame, Give, Refused, Role};

/// What tests are about.
pub const ID: SessionId = SessionId(7);
/// Stands for a member that is in no view.
pub const NOBODY: MemberTag = MemberTag::NONE;

pub struct Fellows {
    pub stage: Stage,
    outbox: Outbox,
    requests: u64,
    /// The number of the last batch that was said by hand, from whom in which stream.
    said: BTreeMap<(Incarnation, Stream), u64>,
    /// The number of the last batch of frames to each.
    sent: BTreeMap<Incarnation, u64>,
    /// Frames that were not looked at yet.
    frames: Vec<(Incarnation, Frame)>,
}

pub fn tag(of: Incarnation) -> MemberTag {
    of.into()
}

/// The epoch in which a member owns a session.
pub fn epoch(view: u64, counter: u32, owner: Incarnation) -> Epoch {
    Epoch { view, counter, owner: tag(owner) }
}

pub fn visits(count: &str) -> Attributes {
    pairs(&[("visits", count.as_bytes())])
}

/// A copy of `ID` at version 5.
pub fn copy(epoch: Epoch) -> Copy {
    Copy { id: ID, epoch, follows: epoch, version: 5, ttl_s: 0, tokens: Vec::new(), attributes: visits("41") }
}

/// A change of the visits.
pub fn write(count: &str) -> SessionOp {
    SessionOp::Write { token: 0, if_version: 0, whole: false, sets: visits(count), removes: Attributes::default() }
}

pub fn create() -> SessionOp {
    SessionOp::Create { ttl_s: 0, attributes: visits("1") }
}

impl Fellows {
    /// In view 11 with these, the first of whom coordinates it; nobody is suspected.
    pub fn new(members: &[Incarnation]) -> Fellows {
        Fellows::with(members, |_| {})
    }

    pub fn with(members: &[Incarnation], change: impl Fn(&mut Setup)) -> Fellows {
        let stage = Stage::within(&view(11, members), |setup| {
            patient(setup);
            change(setup);
        });
        let mut fellows = Fellows {
            stage,
            outbox: Outbox::new(1 << 20, 1 << 20),
            requests: 0,
            said: BTreeMap::new(),
            sent: BTreeMap::new(),
            frames: Vec::new(),
        };
        fellows.pass(1);
        fellows
    }

    /// Between `PEER`, which coordinates, and `THIRD`.
    pub fn of_three() -> Fellows {
        Fellows::new(&[PEER, ME, THIRD])
    }

    /// Who this member is now.
    pub fn me(&self) -> Incarnation {
        self.stage.member.incarnation()
    }

    /// The next view is installed: these are in it, in this order; `ME` stands for whoever this member is.
    pub fn install(&mut self, number: u64, members: &[Incarnation]) {
        self.install_with(number, members, |_| {});
    }

    /// The next view is installed, and fenced: without a lease nobody acts in it.
    pub fn install_fenced(&mut self, number: u64, members: &[Incarnation]) {
        self.install_with(number, members, |proposal| proposal.fenced = true);
    }

    /// The others have removed this member: it is in the next view of these as another one, and was in none meanwhile.
    pub fn comes_back(&mut self, number: u64, members: &[Incarnation]) {
        self.is_removed(number - 1);
        self.install(number, members);
    }

    /// The others go on without this member in the view of this number.
    pub fn is_removed(&mut self, number: u64) {
        self.stage.install(PEER, &view(number, &[PEER]));
        assert_eq!(self.stage.view(), None);
        // Streams between it and the others begin anew.
        (self.said, self.sent, self.frames) = Default::default();
    }

    /// The next view is installed, of which this is changed.
    pub fn install_with(&mut self, number: u64, members: &[Incarnation], change: impl Fn(&mut Proposal)) {
        let mut proposal = view(number, members);
        change(&mut proposal);
        let me = self.me();
        proposal.members.iter_mut().filter(|m| m.incarnation == ME).for_each(|m| m.incarnation = me);
        for who in members.iter().filter(|who| **who != ME) {
            let open = self.stage.conns.get(who).is_some_and(|conn| !self.stage.closed.contains(conn));
            if !open {
                self.stage.connect(*who, Purpose::Link);
            }
        }
        let teller = *members.iter().find(|who| **who != ME).expect("somebody tells of it");
        self.stage.install(teller, &proposal);
        self.settle();
    }

    pub fn pass(&mut self, time: u64) {
        self.stage.pass(time);
        self.settle();
    }

    fn settle(&mut self) {
        self.stage.member.exchange(self.stage.now, &mut self.outbox);
        self.stage.settle();
        self.stage.tell(Input::Wake);
        for batch in std::mem::take(&mut self.stage.batches) {
            self.note(&batch);
        }
    }

    fn note(&mut self, batch: &[u8]) {
        let (header, area) = batch.split_first_chunk::<HEADER_BYTES>().expect("a whole batch");
        let header = Header::decode(header).expect("legal");
        let me = self.me();
        let to = |stream| {
            let others = self.stage.conns.keys().copied();
            others.into_iter().find(|who| header.tag == tag_between(stream, me, *who))
        };
        let objects = to(Stream::Objections);
        let Some(to) = objects.or_else(|| to(Stream::Frames)) else { return };
        if objects.is_none() {
            let last = self.sent.entry(to).or_default();
            // What is not acknowledged comes again.
            if header.batch <= *last {
                return;
            }
            *last = header.batch;
        }
        for entry in Entries::new(area, header.count) {
            let frame = Frame::decode(entry.expect("legal").payload).expect("no frame is longer than a batch");
            self.frames.push((to, frame));
        }
    }

    /// The frames that one of the others was sent since the last look, objections among them.
    pub fn heard(&mut self, who: Incarnation) -> Vec<Frame> {
        self.frames.extract_if(.., |(to, _)| *to == who).map(|(_, frame)| frame).collect()
    }

    /// The objections among them; all else is passed over.
    pub fn objections(&mut self, who: Incarnation) -> Vec<Refused> {
        let refused = |frame| match frame {
            Frame::Refused(refused) => Some(refused),
            _ => None,
        };
        self.heard(who).into_iter().filter_map(refused).collect()
    }

    /// The session that one of the others was given, among what it heard.
    pub fn given(&mut self, who: Incarnation) -> Option<Give> {
        self.heard(who).into_iter().find_map(|frame| match frame {
            Frame::Give(give) => Some(give),
            _ => None,
        })
    }

    pub fn say(&mut self, from: Incarnation, frame: &Frame) {
        self.say_in(Stream::Frames, from, frame);
    }

    pub fn object(&mut self, from: Incarnation, refused: Refused) {
        self.say_in(Stream::Objections, from, &Frame::Refused(refused));
    }

    /// What one of the others is asked about `ID`, among what it heard: the number of the question.
    pub fn asked(&mut self, who: Incarnation) -> Option<u64> {
        self.heard(who).into_iter().find_map(|frame| match frame {
            Frame::Where(question) if question.id == ID => Some(question.asked),
            _ => None,
        })
    }

    fn say_in(&mut self, stream: Stream, from: Incarnation, frame: &Frame) {
        let number = self.said.entry((from, stream)).or_default();
        *number += 1;
        let batch = *number;
        let me = self.me();
        let (view, _) = self.stage.member.view().expect("it is in a view");
        let seat = |who| view.index_of(who).map_or(Seat(1), |at| view.members[at].seat);
        let mut area = Vec::new();
        Entry { level: Level::Fifo, token: 0, fragment: None, payload: &frame.encode() }.put(&mut area);
        let header = Header {
            flags: 0,
            count: 1,
            length: area.len() as u32,
            tag: tag_between(stream, from, me),
            sender: seat(from),
            receiver: seat(me),
            batch,
            first_message: batch,
        };
        self.stage.say_bytes(self.stage.conns[&from], &[&header.encode()[..], &area].concat());
        self.settle();
    }

    /// The number of the last batch of frames to one of the others.
    pub fn sent(&self, who: Incarnation) -> u64 {
        self.sent.get(&who).copied().unwrap_or_default()
    }

    /// One of the others has taken all frames that it was sent, and said its objections to them before.
    pub fn agree(&mut self, who: Incarnation) {
        self.agree_to(who, self.sent(who));
    }

    /// The same of those up to this batch.
    pub fn agree_to(&mut self, who: Incarnation, batch: u64) {
        let after = self.said.get(&(who, Stream::Objections)).copied().unwrap_or_default();
        self.agree_after(who, batch, after);
    }

    /// The same, also if the objections up to that number have not come yet.
    pub fn agree_after(&mut self, who: Incarnation, batch: u64, after: u64) {
        let tag = tag_between(Stream::Frames, self.me(), who);
        self.stage.say(who, &Control::DirectAck(DirectAck { tag, receiver: who, batch, after }));
        self.settle();
    }

    /// The host asks for something of `ID`: the number of the request.
    pub fn ask(&mut self, op: SessionOp) -> u64 {
        self.ask_about(ID, [NOBODY; 2], op)
    }

    /// The same of another session, which these may hold.
    pub fn ask_about(&mut self, id: SessionId, holders: [MemberTag; 2], op: SessionOp) -> u64 {
        self.requests += 1;
        let request = SessionRequest { number: self.requests, id, holders, op };
        assert_eq!(self.outbox.ask(request), Code::Ok);
        self.settle();
        self.requests
    }

    /// Every answer to a request.
    pub fn answers(&self, number: u64) -> Vec<&SessionAnswer> {
        let answers = self.stage.events.iter().filter_map(|event| match event {
            Event::Session(answer) => Some(answer),
            _ => None,
        });
        answers.filter(|answer| answer.number == number).collect()
    }

    /// The only answer to a request, if there is one.
    pub fn answer(&self, number: u64) -> Option<&SessionAnswer> {
        let answers = self.answers(number);
        assert!(answers.len() <= 1, "answered twice: {answers:?}");
        answers.first().copied()
    }

    /// How a request was answered.
    pub fn code(&self, number: u64) -> Option<Code> {
        self.answer(number).map(|answer| answer.code)
    }

    /// What this member holds of `ID`.
    pub fn held(&self) -> Option<(Role, Epoch, u64)> {
        self.held_of(ID)
    }

    pub fn held_of(&self, id: SessionId) -> Option<(Role, Epoch, u64)> {
        let mut held = self.stage.member.sessions_held();
        held.find(|(held, ..)| *held == id).map(|(_, role, epoch, version)| (role, epoch, version))
    }

    pub fn role(&self) -> Option<Role> {
        self.held().map(|(role, ..)| role)
    }

    /// Whether the host was told that `ID` has expired.
    pub fn has_expired(&self) -> bool {
        self.stage.events.iter().any(|event| matches!(event, Event::SessionExpired { id: ID }))
    }

    /// `ID` is created here: its epoch, and who was chosen for the second copy, and has it.
    pub fn create(&mut self) -> (Epoch, Incarnation) {
        let number = self.ask(create());
        let partner = self.copied_to(ID).expect("somebody can hold the copy");
        self.agree(partner);
        assert_eq!(self.code(number), Some(Code::Ok));
        (self.held().expect("it was created").1, partner)
    }

    /// To whom a copy of a session was sent, among all that was heard.
    pub fn copied_to(&mut self, id: SessionId) -> Option<Incarnation> {
        let mut heard = std::mem::take(&mut self.frames).into_iter();
        heard.find_map(|(to, frame)| matches!(frame, Frame::Copy(copy) if copy.id == id).then_some(to))
    }

    /// `from` gives `ID`, the other copy of which `secondary` holds, in an epoch that follows this one.
    pub fn give(&mut self, from: Incarnation, follows: Epoch, secondary: MemberTag) -> Epoch {
        let number = self.stage.view().expect("it is in a view").number;
        let epoch = follows.next(number, self.me().into());
        let copy = Copy { follows, ..copy(epoch) };
        self.say(from, &Frame::Give(Give { asked: 0, view: number, copy, secondary }));
        epoch
    }
}

/// The other one of the two.
pub fn other(than: Incarnation) -> Incarnation {
    if than == PEER { THIRD } else { PEER }
}

/// So long nobody's request runs out.
pub const MOMENT: u64 = millis(60);
