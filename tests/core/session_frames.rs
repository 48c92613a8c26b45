//! A member that lies about sessions, or speaks nonsense: the answer is clear, what the others hold stays, and nobody pays for it.
//!
//! `0` is asked and told; `1` is a member whose batches do not arrive, and in whose name the tests speak.

use crate::support::{Cluster, Stream, pairs, tag};
use decurion::core::{SessionOp, Setup};
use decurion::types::{Code, Epoch, MemberTag, SessionId, limits, millis};
use decurion::wire::session::{
    About, Adopt, Attributes, Change, Copy, Departed, Frame, Give, Here, Move, Objection, Question, Refused, Role,
};

const MINE: SessionId = SessionId(1);
const THEIRS: SessionId = SessionId(2);
const UNKNOWN: SessionId = SessionId(3);
/// A member that never was.
const GHOST: MemberTag = MemberTag(0xdead);

fn epoch(view: u64, counter: u32, owner: MemberTag) -> Epoch {
    Epoch { view, counter, owner }
}

fn value() -> Attributes {
    pairs(&[("visits", b"41")])
}

/// `0` owns MINE, of which `1` has the copy, and has a copy of THEIRS, which `1` owns.
fn lied_to() -> Cluster {
    let mut cluster = Cluster::new(2, |_, _| {});
    assert_eq!(cluster.create(0, MINE, &value()).code, Code::Ok);
    cluster.mute = Some((1, 0));
    cluster.say(1, 0, &Frame::Copy(copy(THEIRS, epoch(2, 1, tag(1)))));
    assert_eq!(cluster.held(0, THEIRS), Some((Role::Secondary, epoch(2, 1, tag(1)), 5)));
    assert_eq!(cluster.faults(0), []);
    cluster
}

fn copy(id: SessionId, epoch: Epoch) -> Copy {
    Copy { id, epoch, follows: epoch, version: 5, ttl_s: 0, tokens: vec![1, 2], attributes: value() }
}

fn change(id: SessionId, epoch: Epoch, version: u64) -> Change {
    let sets = pairs(&[("visits", b"0")]);
    Change { id, epoch, version, token: 3, whole: true, sets, removes: Attributes::default() }
}

/// What is there is what was there, and serves: MINE can be read and changed.
fn unharmed(cluster: &mut Cluster, about: &str) {
    let read = cluster.ask(0, MINE, SessionOp::Read);
    assert_eq!((read.code, read.attributes), (Code::Ok, Some(value())), "{about}");
    assert_eq!(cluster.write(0, MINE, &value()).code, Code::Ok, "{about}");
    assert_eq!(cluster.members_of(0), 2, "{about}");
}

#[test]
fn who_claims_what_is_not_its_own_is_named_and_changes_nothing() {
    let (first, next) = (epoch(2, 1, tag(1)), epoch(2, 2, tag(1)));
    let (other, ghost) = (epoch(2, 2, tag(0)), epoch(9, 9, GHOST));
    let adopt = |epoch, follows| Adopt { id: THEIRS, epoch, follows, version: 5 };
    let give = |epoch, follows| {
        Frame::Give(Give {
            asked: 0,
            view: 0,
            copy: Copy { follows, ..copy(THEIRS, epoch) },
            secondary: MemberTag::NONE,
        })
    };
    let lies = [
        ("a change in somebody else's epoch", Frame::Change(change(THEIRS, ghost, 6))),
        ("a change in the receiver's epoch", Frame::Change(change(MINE, other, 2))),
        ("a copy in somebody else's epoch", Frame::Copy(copy(THEIRS, ghost))),
        ("a copy in the receiver's epoch", Frame::Copy(copy(MINE, other))),
        (
            "a copy beside another's in somebody else's epoch",
            Frame::Move(Move { copy: copy(THEIRS, ghost), beside: GHOST }),
        ),
        ("a claim for somebody else", Frame::Adopt(adopt(ghost, first))),
        ("a claim that does not follow", Frame::Adopt(adopt(first, first))),
        ("a claim that goes back", Frame::Adopt(adopt(first, next))),
        ("a session given to somebody else", give(ghost, first)),
        ("a session given in an epoch that does not follow", give(epoch(2, 1, tag(0)), epoch(2, 1, tag(0)))),
        ("a session left to somebody else", Frame::Inherit(adopt(ghost, first))),
        ("a session left in an epoch that does not follow", Frame::Inherit(adopt(epoch(1, 1, tag(0)), first))),
        ("a session left in an epoch that is the one before", Frame::Inherit(adopt(other, other))),
        (
            "more tokens than a session remembers",
            Frame::Copy(Copy { tokens: vec![7; limits::TOKENS + 1], ..copy(THEIRS, first) }),
        ),
    ];
    for (about, lie) in lies {
        let mut cluster = lied_to();
        let held = cluster.held(0, THEIRS);
        cluster.say(1, 0, &lie);
        let faults = cluster.faults(0);
        assert_eq!(faults.iter().map(|(who, _)| who.as_str()).collect::<Vec<_>>(), ["m1"], "{about}: {faults:?}");
        assert_eq!(cluster.held(0, THEIRS), held, "{about}");
        unharmed(&mut cluster, about);
    }
}

#[test]
fn what_does_not_fit_to_what_is_held_is_objected_to_and_changes_nothing() {
    let (first, next) = (epoch(2, 1, tag(1)), epoch(2, 2, tag(1)));
    let misfits = [
        (
            "a claim with a version that the copy has not",
            Frame::Adopt(Adopt { id: THEIRS, epoch: next, follows: first, version: 9 }),
        ),
        (
            "a claim after an epoch that never was",
            Frame::Adopt(Adopt { id: THEIRS, epoch: epoch(9, 9, tag(1)), follows: epoch(8, 8, GHOST), version: 5 }),
        ),
        (
            "a claim of a session that is ours",
            Frame::Adopt(Adopt { id: MINE, epoch: epoch(9, 9, tag(1)), follows: first, version: 1 }),
        ),
        (
            "a claim of a session that is not here",
            Frame::Adopt(Adopt { id: UNKNOWN, epoch: next, follows: first, version: 1 }),
        ),
        ("a change that leaves versions out", Frame::Change(change(THEIRS, first, 9))),
        ("a change in an epoch that never was", Frame::Change(change(THEIRS, epoch(7, 7, tag(1)), 6))),
        ("a change of a session that is ours", Frame::Change(change(MINE, epoch(9, 9, tag(1)), 2))),
        ("a copy of a session that is ours", Frame::Copy(copy(MINE, epoch(9, 9, tag(1))))),
        ("an older copy", Frame::Copy(Copy { version: 4, ..copy(THEIRS, first) })),
        (
            "a copy that follows nothing",
            Frame::Copy(Copy { follows: epoch(8, 8, GHOST), ..copy(THEIRS, epoch(9, 9, tag(1))) }),
        ),
        (
            "a session given that is ours",
            Frame::Give(Give {
                asked: 0,
                view: 0,
                copy: Copy { follows: first, ..copy(MINE, epoch(9, 9, tag(0))) },
                secondary: GHOST,
            }),
        ),
        (
            "a session left that is ours",
            Frame::Inherit(Adopt { id: MINE, epoch: epoch(9, 9, tag(0)), follows: first, version: 1 }),
        ),
        ("the end of a session that is ours", Frame::End(About { id: MINE, epoch: epoch(9, 9, tag(1)) })),
        ("the end of an epoch that never was", Frame::End(About { id: THEIRS, epoch: epoch(9, 9, tag(1)) })),
        ("the end of what is not here", Frame::End(About { id: UNKNOWN, epoch: first })),
        ("the release of a session that is ours", Frame::Release(About { id: MINE, epoch: epoch(9, 9, tag(1)) })),
        ("the release of an epoch that never was", Frame::Release(About { id: THEIRS, epoch: epoch(9, 9, tag(1)) })),
        ("the release of what is not here", Frame::Release(About { id: UNKNOWN, epoch: first })),
        ("to outlive the owner of a session that is ours", Frame::Outlive(About { id: MINE, epoch: first })),
        ("to outlive an epoch that never was", Frame::Outlive(About { id: THEIRS, epoch: epoch(9, 9, tag(1)) })),
        ("to outlive what is not here", Frame::Outlive(About { id: UNKNOWN, epoch: first })),
        (
            "an answer that nobody asked for",
            Frame::Here(Here {
                id: MINE,
                asked: 77,
                role: Role::Primary,
                epoch: epoch(9, 9, GHOST),
                version: 99,
                owner: GHOST,
                was: GHOST,
                others: (GHOST, GHOST),
                lives: vec![GHOST],
            }),
        ),
    ];
    for (about, misfit) in misfits {
        let mut cluster = lied_to();
        let held = (cluster.held(0, THEIRS), cluster.held(0, UNKNOWN));
        cluster.say(1, 0, &misfit);
        assert_eq!(cluster.faults(0), [], "{about}");
        assert_eq!((cluster.held(0, THEIRS), cluster.held(0, UNKNOWN)), held, "{about}");
        unharmed(&mut cluster, about);
    }
}

#[test]
fn the_last_version_of_all_is_followed_by_the_first() {
    let first = epoch(2, 1, tag(1));
    let mut cluster = lied_to();
    cluster.say(1, 0, &Frame::Copy(Copy { version: u64::MAX, ..copy(UNKNOWN, first) }));
    cluster.say(1, 0, &Frame::Change(change(UNKNOWN, first, 0)));
    assert_eq!(cluster.held(0, UNKNOWN), Some((Role::Secondary, first, 0)));
    assert_eq!(cluster.faults(0), []);
    unharmed(&mut cluster, "a version that goes round");
}

#[test]
fn objections_to_what_never_was_change_nothing() {
    let held = cluster_epoch();
    let refused = |id, epoch, version, held, why| Frame::Refused(Refused { id, epoch, version, held, why });
    let lies = [
        ("of an epoch that never was", refused(MINE, epoch(9, 9, tag(0)), 1, epoch(9, 9, GHOST), Objection::Epoch)),
        ("of somebody else's epoch", refused(MINE, epoch(2, 1, GHOST), 1, epoch(9, 9, GHOST), Objection::Full)),
        ("to a copy that is not ours", refused(THEIRS, epoch(2, 1, tag(1)), 5, held, Objection::Missing)),
        ("about what is not here", refused(UNKNOWN, held, 5, held, Objection::Epoch)),
    ];
    for (about, lie) in lies {
        let mut cluster = lied_to();
        cluster.object(1, 0, &lie);
        assert_eq!(cluster.faults(0), [], "{about}");
        unharmed(&mut cluster, about);
    }
    // One that is plausible costs a copy, which is made anew.
    for why in [Objection::Missing, Objection::Full, Objection::Epoch] {
        let mut cluster = lied_to();
        cluster.object(1, 0, &refused(MINE, held, 1, Epoch::default(), why));
        let read = cluster.ask(0, MINE, SessionOp::Read);
        assert_eq!((read.code, read.attributes), (Code::Ok, Some(value())), "{why:?}");
        cluster.until(|c| c.member(0).session_counts().single == 0);
        unharmed(&mut cluster, "a plausible objection");
    }
}

/// The epoch in which `0` owns MINE.
fn cluster_epoch() -> Epoch {
    lied_to().held(0, MINE).expect("it owns it").1
}

#[test]
fn what_is_in_the_wrong_stream_is_a_fault() {
    let mut cluster = lied_to();
    cluster.object(1, 0, &Frame::Where(Question { id: MINE, asked: 1 }));
    let [(who, what)] = &cluster.faults(0)[..] else { panic!("one fault") };
    assert!(who == "m1" && what.contains("no objection"), "{what}");
    unharmed(&mut cluster, "a frame among the objections");
    let mut cluster = lied_to();
    let held = cluster_epoch();
    cluster.say(1, 0, &Frame::Refused(Refused { id: MINE, epoch: held, version: 1, held, why: Objection::Full }));
    let [(who, what)] = &cluster.faults(0)[..] else { panic!("one fault") };
    assert!(who == "m1" && what.contains("an objection among other frames"), "{what}");
    unharmed(&mut cluster, "an objection among the frames");
}

/// A copy whose attributes are these bytes, whatever they are.
fn copy_of_raw(attributes: &[u8]) -> Vec<u8> {
    let empty = Frame::Copy(Copy { attributes: Attributes::default(), ..copy(UNKNOWN, epoch(2, 1, tag(1))) }).encode();
    let mut raw = empty[..empty.len() - 4].to_vec();
    raw.extend_from_slice(&(attributes.len() as u32).to_le_bytes());
    raw.extend_from_slice(attributes);
    raw
}

fn pair(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&(name.len() as u16).to_le_bytes()[..], name, &(value.len() as u32).to_le_bytes(), value].concat()
}

#[test]
fn what_is_no_frame_is_a_fault_with_the_reason() {
    let longest = [b'n'; limits::ATTRIBUTE_NAME_BYTES + 1];
    let mut cut = copy_of_raw(&pair(b"name", b"value"));
    cut.truncate(cut.len() - 1);
    let mut huge = copy_of_raw(&[]);
    let end = huge.len();
    huge[end - 4..].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut long_value = pair(b"name", b"");
    long_value[6..].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut tokens =
        Frame::Copy(Copy { tokens: vec![], attributes: Attributes::default(), ..copy(UNKNOWN, epoch(2, 1, tag(1))) })
            .encode()
            .to_vec();
    let at = tokens.len() - 8;
    tokens[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let nonsense = [
        ("nothing", Vec::new(), None),
        ("an unknown type", vec![200, 1, 2, 3], Some("unknown type")),
        ("a type alone", vec![1], None),
        ("names out of order", copy_of_raw(&[pair(b"b", b"1"), pair(b"a", b"2")].concat()), Some("order")),
        ("one name twice", copy_of_raw(&[pair(b"a", b"1"), pair(b"a", b"2")].concat()), Some("order")),
        ("an empty name", copy_of_raw(&pair(b"", b"1")), Some("empty")),
        ("a name that is too long", copy_of_raw(&pair(&longest, b"1")), Some("too long")),
        ("a name that is not UTF-8", copy_of_raw(&pair(&[0xff, 0xfe], b"1")), Some("UTF-8")),
        ("a value longer than the frame", copy_of_raw(&long_value), None),
        ("attributes longer than the frame", huge, None),
        ("more tokens than the frame has bytes", tokens, None),
        ("a frame that is cut", cut, None),
        ("bytes after a frame", [&Frame::Retiring(()).encode()[..], &[0]].concat(), None),
    ];
    for (about, raw, reason) in nonsense {
        let mut cluster = lied_to();
        cluster.say_raw(Stream::Frames, 1, 0, &raw);
        let faults = cluster.faults(0);
        let [(who, what)] = &faults[..] else { panic!("{about}: {faults:?}") };
        assert!(who == "m1" && reason.is_none_or(|reason| what.contains(reason)), "{about}: {what}");
        assert_eq!(cluster.held(0, UNKNOWN), None, "{about}");
        unharmed(&mut cluster, about);
    }
}

#[test]
fn members_that_are_gone_are_remembered_up_to_a_bound() {
    let departed =
        |count: u64| Frame::Departed(Departed { members: (0..count).map(|n| (MemberTag(n + 1), n)).collect() });
    let mut cluster = lied_to();
    cluster.say(1, 0, &departed(60_000));
    assert_eq!(cluster.faults(0), []);
    unharmed(&mut cluster, "as many as a frame can name");
    // More do not fit into a message.
    cluster.say(1, 0, &departed(100_000));
    let faults = cluster.faults(0);
    assert!(faults.iter().any(|(who, _)| who == "m1"), "{faults:?}");
    let read = cluster.ask(0, MINE, SessionOp::Read);
    assert_eq!((read.code, read.attributes), (Code::Ok, Some(value())));
}

#[test]
fn a_copy_beside_nobody_is_a_copy() {
    let mut cluster = lied_to();
    cluster.say(1, 0, &Frame::Move(Move { copy: copy(UNKNOWN, epoch(2, 1, tag(1))), beside: GHOST }));
    assert_eq!(cluster.faults(0), []);
    cluster.kill(1);
    cluster.until(|c| c.members_of(0) == 1);
    for id in [MINE, THEIRS, UNKNOWN] {
        let read = cluster.ask(0, id, SessionOp::Read);
        assert_eq!((read.code, read.attributes), (Code::Ok, Some(value())), "{id}");
    }
}

#[test]
fn where_a_member_invents_owners_the_host_gets_a_clear_answer() {
    for role in [Role::Primary, Role::Secondary, Role::Given, Role::Claimant, Role::Orphan, Role::None] {
        for owner in [tag(1), tag(0), GHOST] {
            let mut cluster = lied_to();
            let number = cluster.begin(0, UNKNOWN, SessionOp::Read);
            cluster.pass(millis(1));
            for asked in 1..200 {
                let here = Here {
                    id: UNKNOWN,
                    asked,
                    role,
                    epoch: epoch(99, 99, owner),
                    version: 99,
                    owner,
                    was: GHOST,
                    others: (GHOST, owner),
                    lives: vec![GHOST; 99],
                };
                cluster.say(1, 0, &Frame::Here(here));
            }
            cluster.until(|c| c.answer(0, number).is_some());
            let code = cluster.answer(0, number).expect("waited for").code;
            let clear = [Code::NoSuchSession, Code::HoldersUnreachable, Code::Timeout];
            assert!(clear.contains(&code), "{role:?} {owner:?}: {code:?}");
            assert_eq!(cluster.faults(0), []);
            unharmed(&mut cluster, "an owner that was invented");
        }
    }
}

#[test]
fn who_acknowledges_what_it_has_not_is_believed_and_harms_no_read() {
    let mut cluster = lied_to();
    cluster.mute = Some((0, 1));
    let more = pairs(&[("more", b"1")]);
    let removes = Attributes::default();
    let number =
        cluster.begin(0, MINE, SessionOp::Write { token: 9, if_version: 0, whole: false, sets: more, removes });
    cluster.pass(millis(1));
    assert!(cluster.answer(0, number).is_none(), "nobody has it");
    cluster.acknowledge(1, 0, u64::MAX);
    assert_eq!(cluster.answer(0, number).map(|a| a.code), Some(Code::Ok));
    let read = cluster.ask(0, MINE, SessionOp::Read);
    assert_eq!((read.code, read.version), (Code::Ok, 2));
    // Whoever then admits that it has nothing gets a copy; until it says that it has that one, the session counts as single.
    let held = cluster.held(0, MINE).expect("it owns it").1;
    let admission = Refused { id: MINE, epoch: held, version: 2, held: Epoch::default(), why: Objection::Missing };
    cluster.object(1, 0, &Frame::Refused(admission));
    assert_eq!(cluster.member(0).session_counts().single, 1);
    cluster.acknowledge(1, 0, u64::MAX);
    assert_eq!(cluster.member(0).session_counts().single, 0);
    assert_eq!(cluster.ask(0, MINE, SessionOp::Read).version, 2);
}

#[test]
fn a_full_holder_costs_the_second_copy_until_it_has_room_and_nothing_else() {
    let room = 40 * 1024;
    let full = |node: usize, setup: &mut Setup| {
        if node == 1 {
            setup.sessions.memory_bytes = room;
        }
    };
    let mut cluster = Cluster::new(2, full);
    let big = pairs(&[("big", &[1; 4_000])]);
    let codes: Vec<Code> = (10..30).map(|n| cluster.create(0, SessionId(n), &big).code).collect();
    let copied = codes.iter().take_while(|code| **code == Code::Ok).count();
    assert!((5..10).contains(&copied), "{codes:?}");
    assert!(codes[copied..].iter().all(|code| *code == Code::Unreplicated), "{codes:?}");
    assert!(cluster.member(1).session_counts().bytes <= room as u64);
    // A change that does not fit there any more costs that copy.
    let bigger = pairs(&[("bigger", &[2; 8_000])]);
    assert_eq!(cluster.write(0, SessionId(10), &bigger).code, Code::Unreplicated);
    for n in 10..30 {
        let read = cluster.ask(0, SessionId(n), SessionOp::Read);
        let attributes = read.attributes.expect("it can be read");
        assert_eq!((read.code, attributes.get("big").map(<[u8]>::len)), (Code::Ok, Some(4_000)));
        assert_eq!(attributes.get("bigger").is_some(), n == 10);
    }
    assert!(cluster.member(0).session_counts().single >= 10);
    for n in 13..30 {
        assert_eq!(cluster.ask(0, SessionId(n), SessionOp::Remove).code, Code::Ok);
    }
    cluster.until(|c| c.member(0).session_counts().single == 0);
    assert_eq!(cluster.member(1).session_counts().secondaries, 3);
    assert_eq!(cluster.write(0, SessionId(10), &value()).code, Code::Ok);
    // Whoever owns a session is bounded by its own memory.
    let mut last = Code::Ok;
    for n in 100..120 {
        last = cluster.create(1, SessionId(n), &big).code;
    }
    assert_eq!(last, Code::Full);
    let before = cluster.ask(1, SessionId(100), SessionOp::Read).attributes;
    let huge = pairs(&[("huge", &[3; 40_000])]);
    assert_eq!(cluster.write(1, SessionId(100), &huge).code, Code::Full);
    assert_eq!(cluster.ask(1, SessionId(100), SessionOp::Read).attributes, before, "it stays as it was");
    assert!(cluster.member(1).session_counts().bytes <= room as u64);
}
