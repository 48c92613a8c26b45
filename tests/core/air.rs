//! One member that takes streams by multicast, and whose fellows are played.

use std::net::SocketAddr;

use bytes::Bytes;
use decurion::core::{Casting, Event, Input, Multicast, Outbox, Payload, Received, Setup, To};
use decurion::types::{Code, Incarnation, Micros, Seat, Time, millis};
use decurion::wire::Proposal;
use decurion::wire::batch::{Entry, FLAG_FRAGMENTS, HEADER_BYTES, Header, Level};
use decurion::wire::cast::{self, Beacon, Cast, LooseHead};
use decurion::wire::control::{Control, Missing, Progress, Purpose, Repair};

use crate::stage::{ME, Stage, address, patient, view};

/// Everybody is heard more often than that.
const HUM: Micros = millis(200);

pub struct Air {
    pub stage: Stage,
    outbox: Outbox,
    /// Everything that it has sent to the group since the last look, and when.
    pub casts: Vec<(Time, Bytes)>,
    /// Who is heard again and again while time passes.
    pub heard: Vec<Incarnation>,
    /// Messages in each stream before this view.
    pub before: u64,
}

pub fn multicast() -> Multicast {
    Multicast {
        group: SocketAddr::from(([239, 192, 0, 1], 7_777)),
        carries: true,
        datagram_bytes: 1_472,
        receive_bytes: 1 << 20,
        repair_bytes_per_s: 100_000_000,
    }
}

impl Air {
    /// In a view of these, the first of whom leads and coordinates; everybody is heard.
    pub fn new(members: &[Incarnation], change: impl Fn(&mut Setup)) -> Air {
        Air::within(&view(11, members), change)
    }

    pub fn within(first: &Proposal, change: impl Fn(&mut Setup)) -> Air {
        let others: Vec<_> = first.members.iter().map(|m| m.incarnation).filter(|who| *who != ME).collect();
        Air::of(first, &others, change)
    }

    /// In a view in which only these are connected with it, and heard.
    pub fn of(first: &Proposal, heard: &[Incarnation], change: impl Fn(&mut Setup)) -> Air {
        let mut stage = Stage::new(|setup| {
            patient(setup);
            setup.multicast = Some(multicast());
            change(setup);
        });
        heard.iter().for_each(|who| stage.connect(*who, Purpose::Link));
        stage.install(heard[0], first);
        assert_eq!(stage.view(), Some(first.id));
        let outbox = Outbox::new(1 << 20, 1 << 20);
        let mut air = Air { stage, outbox, casts: Vec::new(), heard: heard.to_vec(), before: 0 };
        // Until nothing comes over connections any more.
        air.pass(millis(600));
        air.forget();
        air
    }

    /// Forgets what was said so far.
    pub fn forget(&mut self) {
        self.stage.words.clear();
        self.stage.batches.clear();
        self.stage.events.clear();
        self.casts.clear();
    }

    /// Lets time pass in which everybody is heard.
    pub fn pass(&mut self, time: Micros) {
        let until = self.stage.now + time;
        while self.stage.now < until {
            for who in self.heard.clone() {
                self.beacon(who, 0);
            }
            let step = until.since(self.stage.now).min(HUM);
            self.still(step);
        }
    }

    /// Lets time pass in which nobody is heard.
    pub fn still(&mut self, time: Micros) {
        let until = self.stage.now + time;
        while self.stage.now < until {
            let next = self.stage.member.deadline().max(self.stage.now + 1).min(until);
            self.stage.pass(next.since(self.stage.now));
            self.settle();
        }
    }

    pub fn settle(&mut self) {
        self.turn();
        let now = self.stage.now;
        let whole = |(head, content): &Casting| (now, Bytes::from([&head[..], content].concat()));
        self.casts.extend(self.stage.member.casts(usize::MAX).map(whole));
        self.stage.member.sent_casts(usize::MAX);
    }

    /// The next view is installed.
    pub fn install(&mut self, number: u64, members: &[Incarnation]) {
        let teller = *members.iter().find(|who| **who != ME).expect("somebody tells of it");
        self.heard.retain(|who| members.contains(who));
        self.stage.install(teller, &view(number, members));
        assert_eq!(self.stage.view(), Some(view(number, members).id));
        self.settle();
    }

    pub fn tag(&self) -> u64 {
        self.stage.member.view().expect("in a view").0.tag()
    }

    fn seat(&self, who: Incarnation) -> Seat {
        let (view, _) = self.stage.member.view().expect("in a view");
        view.members[view.index_of(who).expect("a member")].seat
    }

    fn index(&self, who: Incarnation) -> u32 {
        self.stage.member.view().expect("in a view").0.index_of(who).expect("a member") as u32
    }

    /// This comes to the group from one of the others.
    pub fn cast(&mut self, from: Incarnation, content: &[u8]) {
        let head = cast::head(self.stage.envelope(from).cluster, content);
        let bytes = Bytes::from([&head[..], content].concat());
        self.stage.tell(Input::Casts(&[Received { from: address(from), bytes }]));
        self.settle();
    }

    /// A sign of life of one of the others, whose last batch is this one.
    pub fn beacon(&mut self, from: Incarnation, newest: u64) {
        let view_tag = self.tag();
        let beacon = Beacon { from, address: address(from), view_tag, newest, room: u32::MAX, longest: 1_472 };
        self.cast(from, &beacon.encode());
    }

    /// A message of its own of one of the others.
    pub fn loose(&mut self, from: Incarnation, number: u64) {
        let (to, view_tag) = (Incarnation::NONE, self.tag());
        self.cast(from, &LooseHead { from, to, view_tag, number, token: 0 }.encode(b"loose"));
    }

    /// A batch of one of the others, with one message.
    pub fn batch(&self, of: Incarnation, batch: u64, payload: &[u8]) -> Vec<u8> {
        let mut area = Vec::new();
        Entry { level: Level::Fifo, token: 0, fragment: None, payload }.put(&mut area);
        let header = Header {
            flags: 0,
            count: 1,
            length: area.len() as u32,
            tag: self.tag(),
            sender: self.seat(of),
            receiver: Seat::EVERYBODY,
            batch,
            first_message: self.before + batch,
        };
        [&header.encode()[..], &area].concat()
    }

    /// A batch of one of the others that says that there are parts of messages in it, which there are not.
    pub fn wrong(&self, of: Incarnation, batch: u64) -> Vec<u8> {
        self.changed(of, batch, |header| header.flags = FLAG_FRAGMENTS)
    }

    /// A batch of one of the others of whose header this is changed.
    pub fn changed(&self, of: Incarnation, batch: u64, change: impl Fn(&mut Header)) -> Vec<u8> {
        let batch = self.batch(of, batch, b"changed");
        let (header, area) = batch.split_first_chunk::<HEADER_BYTES>().expect("a whole batch");
        let mut header = Header::decode(header).expect("legal");
        change(&mut header);
        [&header.encode()[..], area].concat()
    }

    /// It comes by multicast.
    pub fn hear(&mut self, of: Incarnation, batch: u64, payload: &[u8]) {
        let bytes = self.batch(of, batch, payload);
        self.cast(of, &bytes);
    }

    /// It comes over the connection to one of the others.
    pub fn bring(&mut self, from: Incarnation, of: Incarnation, batch: u64, payload: &[u8]) {
        let bytes = self.batch(of, batch, payload);
        self.stage.say_bytes(self.stage.conns[&from], &bytes);
        self.settle();
    }

    pub fn say(&mut self, from: Incarnation, control: &Control) {
        self.stage.say(from, control);
        self.settle();
    }

    /// One of the others lacks batches of a stream.
    pub fn ask(&mut self, from: Incarnation, of: Incarnation, gaps: &[(u64, u64)]) {
        let stream = self.index(of);
        let gaps = gaps.iter().map(|(first, last)| Missing { stream, first: *first, last: *last }).collect();
        self.say(from, &Control::Repair(Repair { tag: self.tag(), gaps }));
    }

    /// One of the others wants these streams over its connection, and holds so much of them.
    pub fn carry(&mut self, to: Incarnation, wanted: &[(Incarnation, u64)]) {
        let entries = wanted.iter().map(|(of, held)| (self.index(*of), *held)).collect();
        self.say(to, &Control::Carry(Progress { tag: self.tag(), entries }));
    }

    /// The host sends to everybody.
    pub fn send(&mut self, level: Level, payload: &[u8]) {
        self.queue(level, payload);
        self.settle();
    }

    /// The same, but nothing is done yet.
    pub fn queue(&mut self, level: Level, payload: &[u8]) {
        assert_eq!(self.outbox.push(To::Everybody, level, 0, Payload::Borrowed(payload)), Code::Ok);
    }

    /// Does what is to be done, but nothing leaves for the group.
    pub fn turn(&mut self) {
        self.stage.member.exchange(self.stage.now, &mut self.outbox);
        self.stage.settle();
    }

    /// One of the others has taken so much of the stream of one of them.
    pub fn taken(&mut self, by: Incarnation, of: Incarnation, batch: u64) {
        let entries = vec![(self.index(of), batch)];
        self.say(by, &Control::Progress(Progress { tag: self.tag(), entries }));
    }

    /// Everybody has taken so much of the stream of one of them, says the leader.
    pub fn stable(&mut self, leader: Incarnation, of: Incarnation, batch: u64) {
        let entries = vec![(self.index(of), batch)];
        self.say(leader, &Control::Stable(Progress { tag: self.tag(), entries }));
    }

    /// What one of the others was asked for since the last look.
    pub fn questions(&mut self, who: Incarnation) -> Vec<Vec<(u32, u64, u64)>> {
        let repairs = self.stage.heard(who).into_iter().filter_map(|control| match control {
            Control::Repair(repair) => Some(repair),
            _ => None,
        });
        repairs.map(|repair| repair.gaps.iter().map(|gap| (gap.stream, gap.first, gap.last)).collect()).collect()
    }

    /// Batches that went over connections since the last look: whose, and their numbers.
    pub fn carried(&mut self) -> Vec<(Seat, u64)> {
        let batches = std::mem::take(&mut self.stage.batches);
        let header =
            |batch: &Vec<u8>| Header::decode(batch.first_chunk::<HEADER_BYTES>().expect("whole")).expect("legal");
        batches.iter().map(header).map(|header| (header.sender, header.batch)).collect()
    }

    /// The streams that one of the others was asked for over its connection since the last look, and how much is held.
    pub fn ways(&mut self, who: Incarnation) -> Vec<Vec<(u32, u64)>> {
        let wishes = self.stage.heard(who).into_iter().filter_map(|control| match control {
            Control::Carry(wish) => Some(wish.entries),
            _ => None,
        });
        wishes.collect()
    }

    /// What the host was told since the last look about something.
    pub fn notes(&mut self, about: &str) -> usize {
        let noted = |event: &Event| matches!(event, Event::Note { text, .. } if text.contains(about));
        self.stage.events.drain(..).filter(noted).count()
    }

    /// Beacons since the last look: when, and of which newest batch they tell.
    pub fn beacons(&mut self) -> Vec<(Time, u64)> {
        let cluster = self.stage.envelope(ME).cluster;
        let casts = std::mem::take(&mut self.casts);
        let beacons = casts.into_iter().filter_map(|(at, bytes)| match cast::decode(cluster, &bytes) {
            Ok(Cast::Beacon(beacon)) => Some((at, beacon.newest)),
            _ => None,
        });
        beacons.collect()
    }

    /// Payloads that the host got since the last look.
    pub fn delivered(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for event in self.stage.events.drain(..) {
            if let Event::Messages(run) = event {
                all.extend(run.iter().map(|message| message.payload.to_vec()));
            }
        }
        all
    }
}
