//! A member that holds sessions, in a view with one that lies to it about them: whatever that one says, and whatever hosts ask
//! meanwhile, nothing panics, memory keeps to its bound, and every request is answered in time.

use std::sync::LazyLock;

use decurion::core::{Asynchronous, SessionOp};
use decurion::types::{Code, Epoch, MemberTag, Micros, SessionId, millis};
use decurion::wire::session::{
    About, Adopt, Attributes, Change, Copy, Departed, Frame, Give, Here, Move, Objection, Question, Refused, Role,
};

use super::Script;
use super::core_support::{Cluster, Stream, incarnation, pairs, tag};

/// Who is lied to, and who lies.
const TARGET: usize = 0;
const LIAR: usize = 1;
/// Longer than any request may take.
const REQUEST: Micros = millis(500);
/// Memory for sessions: so little that it is used up.
const MEMORY_BYTES: usize = 16 * 1024;
/// A member that never was.
const GHOST: MemberTag = MemberTag(0xdead);
/// Sessions with names up to this one are spoken of.
const SESSIONS: u128 = 5;
/// More would make a run too long to find anything.
const STEPS: usize = 200;

/// What a run begins with: two or three members, of which the target owns session 1 and has a copy of session 2.
static BEGINNINGS: LazyLock<Vec<Cluster>> = LazyLock::new(|| {
    let kinds = [(2, false, false), (3, false, false), (3, true, false), (2, false, true)];
    kinds.into_iter().map(|(count, asynchronous, poor)| beginning(count, asynchronous, poor)).collect()
});

fn beginning(count: usize, asynchronous: bool, poor: bool) -> Cluster {
    let mut cluster = Cluster::new(count, |_, setup| {
        setup.sessions.timeout = REQUEST;
        if asynchronous {
            let (window_bytes, batch_bytes) = (4_096, 512);
            let (window, batch) = (millis(500), millis(50));
            setup.sessions.asynchronous = Some(Asynchronous { window_bytes, window, batch_bytes, batch });
        }
        if poor {
            setup.sessions.memory_bytes = MEMORY_BYTES;
        }
    });
    let first = SessionId(1);
    assert_eq!(cluster.create(TARGET, first, &value()).code, Code::Ok);
    cluster.mute = Some((LIAR, TARGET));
    let epoch = Epoch { view: 2, counter: 1, owner: tag(LIAR) };
    let copy =
        Copy { id: SessionId(2), epoch, follows: epoch, version: 5, ttl_s: 0, tokens: vec![1], attributes: value() };
    cluster.say(LIAR, TARGET, &Frame::Copy(copy));
    assert!(cluster.held(TARGET, SessionId(2)).is_some(), "a copy like any other");
    cluster
}

fn value() -> Attributes {
    pairs(&[("visits", b"41")])
}

/// Frames of sessions in the name of another member, true and false ones, between requests of hosts, deaths and leaves.
pub fn member_sessions(data: &[u8]) {
    let mut script = Script { rest: data };
    let kind = usize::from(script.byte()) % BEGINNINGS.len();
    let mut play = Play { cluster: BEGINNINGS[kind].clone(), asked: Vec::new() };
    let before = play.cluster.member(TARGET).session_counts().bytes;
    for _ in 0..STEPS {
        if script.rest.is_empty() {
            break;
        }
        play.step(&mut script);
        let bytes = play.cluster.member(TARGET).session_counts().bytes;
        assert!(kind < 3 || bytes <= (MEMORY_BYTES as u64).max(before), "{bytes} bytes of sessions");
        play.cluster.member(TARGET).check().expect("no invariant is broken");
    }
    play.end();
}

struct Play {
    cluster: Cluster,
    /// Requests that the target's host has made.
    asked: Vec<u64>,
}

impl Play {
    fn step(&mut self, script: &mut Script<'_>) {
        let what = script.byte();
        match what % 8 {
            0 => {
                let length = usize::from(script.byte());
                let stream = if what & 8 == 0 { Stream::Frames } else { Stream::Objections };
                self.cluster.say_raw(stream, LIAR, TARGET, script.take(length));
            }
            1..=3 => {
                let frame = self.frame(script);
                // Objections travel in a stream of their own; now and then in the wrong one.
                match (matches!(frame, Frame::Refused(_)), what >> 4) {
                    (true, 1..) | (false, 0) => self.cluster.object(LIAR, TARGET, &frame),
                    _ => self.cluster.say(LIAR, TARGET, &frame),
                }
            }
            4 | 5 => self.ask(script),
            6 => self.cluster.pass(u64::from(script.byte()) * millis(if what & 8 == 0 { 1 } else { 20 })),
            _ => match script.byte() {
                choice @ 0..=127 => self.cluster.acknowledge(LIAR, TARGET, u64::from(choice)),
                128..=159 => self.cluster.kill(LIAR),
                160..=191 if self.cluster.len() > 2 => self.cluster.kill(2),
                192..=207 => self.cluster.leave(LIAR),
                208..=223 if self.cluster.len() > 2 => self.cluster.leave(2),
                224..=231 => self.cluster.leave(TARGET),
                _ => self.cluster.mute = None,
            },
        }
    }

    /// A host asks for something.
    fn ask(&mut self, script: &mut Script<'_>) {
        let [what, who, id] = [script.byte(), script.byte(), script.byte()];
        let id = SessionId(u128::from(id) % SESSIONS + u128::from(what & 0x80) * 1_000 * u128::from(id));
        let sets = attributes(script);
        let op = match what % 8 {
            0 => SessionOp::Create { ttl_s: u32::from(what >> 6), attributes: sets },
            1 => SessionOp::Read,
            2 => SessionOp::Peek,
            3 => SessionOp::Touch,
            4 => SessionOp::Remove,
            _ => SessionOp::Write {
                token: u64::from(what >> 4),
                if_version: u64::from(who >> 6),
                whole: what & 8 != 0,
                sets,
                removes: if what & 16 == 0 { Attributes::default() } else { pairs(&[("visits", b"")]) },
            },
        };
        let node = if who & 3 == 3 && self.cluster.len() > 2 { 2 } else { TARGET };
        if let Ok(number) = self.cluster.try_begin(node, id, op)
            && node == TARGET
        {
            self.asked.push(number);
        }
    }

    /// A frame that fits to what the target holds, or nearly.
    fn frame(&self, script: &mut Script<'_>) -> Frame {
        let (what, id) = (script.byte(), script.byte());
        let id = SessionId(u128::from(id) % SESSIONS);
        let (epoch, follows) = (self.epoch(id, script), self.epoch(id, script));
        let version = self.version(id, script);
        let asked = u64::from(script.byte());
        let who = self.who(script);
        let copy = |script: &mut Script<'_>| Copy {
            id,
            epoch,
            follows,
            version,
            ttl_s: u32::from(asked as u8 >> 6),
            tokens: (1..=asked % 10).collect(),
            attributes: attributes(script),
        };
        match what % 18 {
            0 | 1 => Frame::Copy(copy(script)),
            2 => {
                let sets = attributes(script);
                let whole = asked & 1 != 0;
                Frame::Change(Change {
                    id,
                    epoch,
                    version,
                    token: asked >> 1,
                    whole,
                    sets,
                    removes: Attributes::default(),
                })
            }
            3 => Frame::Adopt(Adopt { id, epoch, follows, version }),
            4 => Frame::Release(About { id, epoch }),
            5 => Frame::End(About { id, epoch }),
            6 => {
                let why = [Objection::Epoch, Objection::Missing, Objection::Full][asked as usize % 3];
                Frame::Refused(Refused { id, epoch, version, held: follows, why })
            }
            7 => Frame::Want(Question { id, asked }),
            8 => Frame::Give(Give { asked, view: asked % 9, copy: copy(script), secondary: who }),
            9 => Frame::Where(Question { id, asked }),
            10 => {
                use Role::{Claimant, Given, None, Orphan, Primary, Secondary};
                let role = [None, Primary, Secondary, Given, Claimant, Orphan][asked as usize % 6];
                let (was, others) = (self.who(script), (self.who(script), who));
                let lives = vec![self.who(script); usize::from(script.byte()) % 4];
                Frame::Here(Here { id, asked, role, epoch, version, owner: who, was, others, lives })
            }
            11 => Frame::Departed(Departed { members: vec![(who, asked); usize::from(script.byte()) % 4] }),
            12 => Frame::Move(Move { copy: copy(script), beside: who }),
            13 => Frame::Outlive(About { id, epoch }),
            14 => Frame::Inherit(Adopt { id, epoch, follows, version }),
            15 => Frame::Retiring(()),
            16 => Frame::Fetch(Question { id, asked }),
            _ => Frame::Shown(Give { asked, view: asked % 9, copy: copy(script), secondary: who }),
        }
    }

    fn who(&self, script: &mut Script<'_>) -> MemberTag {
        match script.byte() % 5 {
            0 => MemberTag::NONE,
            1 => GHOST,
            n => incarnation(usize::from(n) - 2).into(),
        }
    }

    /// The epoch that the target holds a session in, or one before or after it.
    fn epoch(&self, id: SessionId, script: &mut Script<'_>) -> Epoch {
        let choice = script.byte();
        let held = self.cluster.held(TARGET, id).map_or(Epoch { view: 2, counter: 1, owner: tag(LIAR) }, |held| held.1);
        let owner = if choice & 0x10 == 0 { held.owner } else { self.who(script) };
        match choice % 5 {
            0 | 1 => Epoch { owner, ..held },
            2 => held.next(held.view, owner),
            3 => Epoch { view: held.view.wrapping_add(u64::from(choice >> 5)), owner, ..held },
            _ => Epoch { view: held.view, counter: held.counter.wrapping_sub(u32::from(choice >> 5)), owner },
        }
    }

    fn version(&self, id: SessionId, script: &mut Script<'_>) -> u64 {
        let held = self.cluster.held(TARGET, id).map_or(5, |held| held.2);
        match script.byte() % 8 {
            0..=2 => held,
            3..=5 => held.wrapping_add(1),
            6 => held.wrapping_sub(1),
            _ => u64::MAX,
        }
    }

    /// Every request is answered before its time is over, unless the member has ended.
    fn end(mut self) {
        self.cluster.pass(REQUEST + millis(1_000));
        self.cluster.member(TARGET).check().expect("no invariant is broken");
        if self.cluster.has_ended(TARGET) {
            return;
        }
        for number in self.asked {
            assert!(self.cluster.answer(TARGET, number).is_some(), "request {number} was never answered");
        }
    }
}

fn attributes(script: &mut Script<'_>) -> Attributes {
    let (name, length) = (script.byte(), usize::from(script.byte()));
    let value = vec![name; length * usize::from(name % 9)];
    match name % 4 {
        0 => Attributes::default(),
        1 => pairs(&[("visits", &value)]),
        2 => pairs(&[("cart", &value), ("visits", b"42")]),
        _ => pairs(&[("cart", b""), ("name", &value[..value.len().min(5)])]),
    }
}
