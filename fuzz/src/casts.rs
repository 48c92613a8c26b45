//! A member in a view whose streams come by multicast, and a liar who sends to the group: batches in the names of others, beacons of
//! members and strangers, messages of their own, what was sent before. Nothing panics, everybody comes to rest, memory and what a member
//! asks for keep to their bounds; and as long as the liar forges no content, messages come through.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::LazyLock;

use bytes::Bytes;
use decurion::core::{Event, Multicast, Received};
use decurion::types::{Code, Incarnation, Seat, ViewId, millis};
use decurion::wire::batch::{Entry, FLAG_FRAGMENTS, Fragment, Header, Level};
use decurion::wire::cast::{self, Beacon, Cast, HEAD_BYTES, LooseHead, OVERHEAD_BYTES};
use decurion::wire::control::Control;

use super::Script;
use super::core_support::{Cluster, incarnation};

/// More would make a run too long to find anything.
const STEPS: usize = 120;
/// Bounds so small that they are reached.
const WINDOW_BYTES: usize = 64 * 1024;
const QUEUE_BYTES: usize = 64 * 1024;
const DATAGRAM_BYTES: usize = 1_472;
/// What all members together may want done after one word of the liar.
const OUTPUTS_PER_STEP: usize = 20_000;
/// How often one member may ask in a second for what does not exist, once the liar is silent.
const QUESTIONS_PER_S: usize = 600;
/// Gaps in one question.
const GAPS: usize = 128;
/// What the liar remembers of what it heard.
const HEARD: usize = 32;
/// What is not forged in a run that has to end well.
const LAST_WORDS: &[u8] = b"heard after all the lies";

/// What a run begins with: members in one group or in two, or a group that carries no streams.
static BEGINNINGS: LazyLock<Vec<Play>> =
    LazyLock::new(|| [(3, 0, true), (4, 2, true), (3, 0, false)].into_iter().map(beginning).collect());

fn beginning((count, group_size, carries): (usize, usize, bool)) -> Play {
    let mut cluster = Cluster::new(count, |_, setup| {
        setup.group_size = group_size;
        setup.window_bytes = WINDOW_BYTES;
        setup.window_reserved_bytes = 4 * 1024;
        setup.receive_queue_bytes = QUEUE_BYTES;
        setup.multicast = Some(Multicast {
            group: SocketAddr::from(([239, 192, 0, 1], 7_777)),
            carries,
            datagram_bytes: DATAGRAM_BYTES,
            receive_bytes: 256 * 1024,
            repair_bytes_per_s: 1_000_000,
        });
    });
    (cluster.casts, cluster.asked) = (Some(Vec::new()), Some(Vec::new()));
    let mut play =
        Play { cluster, target: 0, heard: VecDeque::new(), newest: BTreeMap::new(), forged: false, fewer: false };
    for node in 0..count {
        assert_eq!(play.cluster.send(node, Level::Fifo, b"a true message"), Code::Ok);
    }
    play.cluster.pass(millis(600));
    play.listen();
    assert!(!play.heard.is_empty(), "beacons are heard");
    play
}

/// Datagrams of a liar to the multicast group, and what else happens between them.
pub fn member_casts(data: &[u8]) {
    let mut script = Script { rest: data };
    let kind = usize::from(script.byte());
    let mut play = BEGINNINGS[kind % BEGINNINGS.len()].clone();
    play.target = kind / BEGINNINGS.len() % play.cluster.len();
    for _ in 0..STEPS {
        if script.rest.is_empty() {
            break;
        }
        play.step(&mut script);
        play.check();
    }
    play.end();
}

#[derive(Clone)]
struct Play {
    cluster: Cluster,
    /// Who is lied to; the others hear it as well, if the script says so.
    target: usize,
    /// What the liar has heard lately.
    heard: VecDeque<Bytes>,
    /// The newest batch of each member that it heard of.
    newest: BTreeMap<Seat, u64>,
    /// Content was forged in the name of a member.
    forged: bool,
    /// A member was killed or has left.
    fewer: bool,
}

impl Play {
    fn step(&mut self, script: &mut Script<'_>) {
        let (what, choice) = (script.byte(), script.byte());
        let everybody = what & 0x10 != 0;
        match what % 10 {
            0 => {
                let length = usize::from(script.byte());
                let content = script.take(length).to_vec();
                self.say(everybody, vec![self.sealed(choice, &content)]);
            }
            1..=3 => self.batches(everybody, choice, script),
            4 | 5 => self.beacons(everybody, choice, script),
            6 => self.loose(everybody, choice, script),
            7 => self.again(everybody, choice, script),
            8 => self.cluster.pass(u64::from(choice) * if everybody { millis(10) } else { 100 }),
            _ => self.happen(what >> 4, choice, script),
        }
        self.listen();
    }

    /// A datagram of this content, of the right cluster but for some.
    fn sealed(&self, choice: u8, content: &[u8]) -> Bytes {
        let foreign = u64::from(choice > 240);
        let mut whole = cast::head(self.tag() ^ foreign, content).to_vec();
        whole.extend_from_slice(content);
        Bytes::from(whole)
    }

    /// What stands for the cluster, as everybody on the network can hear it.
    fn tag(&self) -> u64 {
        let heard = self.heard.back().expect("beacons were heard");
        u64::from_le_bytes(heard[8..HEAD_BYTES].try_into().expect("eight bytes"))
    }

    fn say(&mut self, everybody: bool, datagrams: Vec<Bytes>) {
        let from = SocketAddr::from(([192, 0, 2, datagrams.len() as u8], 9_999));
        let casts: Vec<Received> = datagrams.into_iter().map(|bytes| Received { from, bytes }).collect();
        for node in (0..self.cluster.len()).filter(|node| everybody || *node == self.target) {
            let before = self.cluster.outputs;
            self.cluster.say_casts(node, &casts);
            let outputs = self.cluster.outputs - before;
            assert!(outputs <= OUTPUTS_PER_STEP, "{outputs} outputs for {} datagrams", casts.len());
        }
    }

    /// A row of batches in the name of a member, near what it has sent or far beyond it.
    fn batches(&mut self, everybody: bool, choice: u8, script: &mut Script<'_>) {
        let [flags, count, step, length] = [script.byte(), script.byte(), script.byte(), script.byte()];
        let Some((view, _)) = self.cluster.member(self.target).view() else { return };
        let (tag, seat) = (view.tag(), view.members[usize::from(choice) % view.len()].seat);
        let newest = self.newest.get(&seat).copied().unwrap_or(0);
        let first = number(flags, newest, script);
        let size = (usize::from(length) * 8).min(DATAGRAM_BYTES - OVERHEAD_BYTES - 32);
        let area = area(flags, size, script);
        let row = (0..u64::from(count)).map(|at| {
            let batch = first.wrapping_add(at.wrapping_mul(1 + u64::from(step % 4)));
            let header = Header {
                flags: if flags & 4 != 0 { FLAG_FRAGMENTS } else { 0 },
                count: 1 + u16::from(flags & 2),
                length: area.len() as u32,
                tag: if flags & 1 == 0 { tag } else { tag ^ 1 },
                sender: seat,
                receiver: Seat(u32::from(step > 250)),
                batch,
                first_message: if step & 0x40 == 0 { batch } else { u64::MAX - at },
            };
            self.sealed(choice, &[&header.encode()[..], &area].concat())
        });
        let row = row.collect();
        self.forged |= flags & 1 == 0;
        self.say(everybody, row);
    }

    /// Signs of life, of members and of strangers.
    fn beacons(&mut self, everybody: bool, choice: u8, script: &mut Script<'_>) {
        let [who, count, kind, room] = [script.byte(), script.byte(), script.byte(), script.byte()];
        let Some((view, _)) = self.cluster.member(self.target).view() else { return };
        let index = usize::from(who) % (view.len() + 1);
        let member = view.members.get(index);
        let newest = member.and_then(|m| self.newest.get(&m.seat)).copied().unwrap_or(0);
        let newest = number(kind, newest, script);
        let row = (0..=u32::from(count)).map(|at| {
            let stranger = Incarnation(0xbad_0000 + (u128::from(who) << 8) + u128::from(at));
            let port = if kind & 8 == 0 { 7_000 + u16::from(room % 8) } else { 30_000 + at as u16 };
            let beacon = Beacon {
                from: member.map_or(stranger, |m| m.incarnation),
                address: SocketAddr::from(([127, 0, 0, 1], port)),
                view_tag: [view.tag(), 0, 77, u64::MAX][usize::from(kind) % 4],
                newest,
                room: u32::from(room) * u32::from(room) * 257,
                longest: u32::from(room) * 300,
            };
            self.sealed(choice, &beacon.encode())
        });
        let row = row.collect();
        self.say(everybody, row);
    }

    /// Messages outside of all streams.
    fn loose(&mut self, everybody: bool, choice: u8, script: &mut Script<'_>) {
        let [from, to, count, length] = [script.byte(), script.byte(), script.byte(), script.byte()];
        let view = self.cluster.member(self.target).view().map_or(ViewId::NONE, |(view, _)| view.id);
        let first = number(count, u64::from(choice), script);
        let payload = script.take(usize::from(length)).to_vec();
        let row = (0..u64::from(count)).map(|at| {
            let head = LooseHead {
                from: incarnation(usize::from(from) % 5),
                to: if to < 128 { Incarnation::NONE } else { incarnation(usize::from(to) % 5) },
                view_tag: if from & 0x80 == 0 { view.tag() } else { u64::from(from) },
                number: first.wrapping_add(at * u64::from(to % 3)),
                token: u64::from(to),
            };
            self.sealed(choice, &head.encode(&payload))
        });
        let row = row.collect();
        self.say(everybody, row);
    }

    /// What was heard comes again, as it was or with one byte changed behind a true checksum.
    fn again(&mut self, everybody: bool, choice: u8, script: &mut Script<'_>) {
        let (at, byte) = (script.byte(), script.byte());
        let heard = self.heard[usize::from(choice) % self.heard.len()].clone();
        let mut content = heard[HEAD_BYTES..].to_vec();
        let at = usize::from(at) * 5 % content.len();
        if byte & 1 != 0 {
            content[at] ^= byte;
            self.forged = true;
        }
        self.say(everybody, vec![self.sealed(0, &content)]);
    }

    /// What happens beside the lies.
    fn happen(&mut self, what: u8, choice: u8, script: &mut Script<'_>) {
        let (one, other) = (usize::from(choice) % self.cluster.len(), usize::from(choice >> 4) % self.cluster.len());
        match what {
            0..=5 => {
                let level = [Level::Fifo, Level::Fifo, Level::Agreed, Level::Safe, Level::Unreliable, Level::Fifo];
                let length = usize::from(script.byte()) * if what == 5 { 64 } else { 4 };
                self.cluster.send(one, level[usize::from(what)], &vec![choice; length]);
            }
            6 | 7 => drop(self.cluster.deaf.insert((one, other))),
            8 | 9 => self.cluster.deaf.clear(),
            10 => self.cluster.cut(one, other),
            11 => self.cluster.idle_host = Some(self.target),
            12 | 13 => self.take_all(),
            14 => {
                self.fewer = true;
                self.cluster.kill(one);
            }
            _ => {
                self.fewer = true;
                self.cluster.leave(one);
            }
        }
        // What came of it is done at once, as the driver of a member does it.
        self.cluster.pass(0);
    }

    /// The target's host takes messages again.
    fn take_all(&mut self) {
        if self.cluster.idle_host.take().is_some() {
            self.cluster.consume(self.target);
        }
    }

    /// The liar hears what goes to the group.
    fn listen(&mut self) {
        let casts = self.cluster.casts.replace(Vec::new()).expect("they are kept");
        for (_, datagram) in casts {
            let tag = u64::from_le_bytes(datagram[8..HEAD_BYTES].try_into().expect("eight bytes"));
            if let Cast::Batch(header, _) = cast::decode(tag, &datagram).expect("a member sends legal datagrams") {
                self.newest.insert(header.sender, header.batch);
            }
            assert!(datagram.len() <= DATAGRAM_BYTES, "a datagram of {} bytes", datagram.len());
            self.heard.push_back(datagram);
        }
        self.heard.drain(..self.heard.len().saturating_sub(HEARD));
    }

    /// What holds at any time.
    fn check(&mut self) {
        for node in 0..self.cluster.len() {
            let member = self.cluster.member(node);
            member.check().expect("no invariant is broken");
            let stats = member.stats();
            let unstable = stats.unstable_bytes as usize;
            assert!(unstable <= 2 * WINDOW_BYTES + QUEUE_BYTES, "{unstable} bytes are kept");
            // What a view that ended still owed comes beyond the bound.
            let queue = stats.delivery_queue_bytes as usize;
            assert!(queue <= QUEUE_BYTES + 3 * WINDOW_BYTES, "{queue} bytes wait for the host");
            assert!(member.casts(usize::MAX).next().is_none(), "datagrams for the group wait");
        }
        for (_, _, _, control) in self.cluster.asked.replace(Vec::new()).expect("they are kept") {
            match control {
                Control::Repair(repair) => {
                    assert!(!repair.gaps.is_empty() && repair.gaps.len() <= GAPS, "{} gaps", repair.gaps.len());
                    assert!(repair.gaps.iter().all(|gap| 0 < gap.first && gap.first <= gap.last), "{:?}", repair.gaps);
                }
                Control::Carry(wanted) => assert!(wanted.entries.len() < self.cluster.len(), "{:?}", wanted.entries),
                _ => {}
            }
        }
    }

    /// The liar is silent: nobody asks without end, and where nothing was forged, all goes on.
    fn end(mut self) {
        self.take_all();
        self.cluster.deaf.clear();
        self.cluster.pass(millis(1_000));
        let questions = self.cluster.asked.replace(Vec::new()).expect("they are kept");
        for node in 0..self.cluster.len() {
            let asked = questions.iter().filter(|(_, from, _, _)| *from == node).count();
            assert!(asked <= QUESTIONS_PER_S, "{asked} questions in a second of silence");
        }
        self.check();
        if self.forged || self.fewer {
            return;
        }
        self.cluster.pass(millis(4_000));
        for node in 0..self.cluster.len() {
            self.cluster.events(node);
        }
        assert_eq!(self.cluster.send((self.target + 1) % self.cluster.len(), Level::Fifo, LAST_WORDS), Code::Ok);
        self.cluster.pass(millis(4_000));
        let came = self.cluster.events(self.target).into_iter().any(|event| match event {
            Event::Messages(run) => run.iter().any(|message| message.payload == LAST_WORDS),
            _ => false,
        });
        assert!(came, "the target does not hear the others any more");
    }
}

/// A number near what is true, or far from it.
fn number(kind: u8, near: u64, script: &mut Script<'_>) -> u64 {
    let by = u64::from(script.byte());
    match kind >> 5 {
        0..=3 => near.wrapping_add(by),
        4 => near.wrapping_sub(by),
        5 => near.wrapping_add(by << 16),
        6 => near.wrapping_add(by << 40),
        _ => u64::MAX - by,
    }
}

/// A message area: one message or a part of one, or bytes as they are.
fn area(flags: u8, size: usize, script: &mut Script<'_>) -> Vec<u8> {
    if flags & 0x10 != 0 {
        return script.take(size.clamp(8, 200)).to_vec();
    }
    let payload = vec![flags; size];
    let fragment = (flags & 4 != 0).then(|| Fragment { total: 3 * size as u32 + 1, offset: 0 });
    let level = if flags & 8 == 0 { Level::Fifo } else { Level::Agreed };
    let mut area = Vec::new();
    for _ in 0..=flags & 2 {
        Entry { level, token: 0, fragment, payload: &payload[..size / 3] }.put(&mut area);
    }
    area
}
