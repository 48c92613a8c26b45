//! Control frames: each type is read back as written, and no damaged one is read as another.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use bytes::Bytes;
use decurion::types::{Ballot, Incarnation, MemberInfo, Name, Seat, Tags, ViewId};
use decurion::wire::control::{
    Control, Credit, Cut, Decided, DirectAck, Expelled, Fetch, Fetched, HEADER_BYTES, Hello, Install, Join, MAGIC,
    Missing, Observation, Prepare, Progress, Promise, Propose, ProposeChange, Purpose, RefusalCode, Refuse, Reject,
    Repair, Report, ReportLink, Routed, Sight, ViewSummary, Vote, Welcome,
};
use decurion::wire::{Proposal, Sparse};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;

fn name() -> BoxedStrategy<Name> {
    "[^\\pC\\pZ,@]{1,16}".prop_map(|text| Name::new(&text)).boxed()
}

fn text() -> BoxedStrategy<String> {
    "\\PC{0,24}".boxed()
}

fn incarnation() -> BoxedStrategy<Incarnation> {
    any::<u128>().prop_map(Incarnation).boxed()
}

fn address() -> BoxedStrategy<SocketAddr> {
    let v4 = (any::<[u8; 4]>(), any::<u16>()).prop_map(SocketAddr::from);
    let v6 = (any::<[u16; 8]>(), any::<u16>()).prop_map(SocketAddr::from);
    prop_oneof![v4, v6].boxed()
}

fn ballot() -> BoxedStrategy<Ballot> {
    (any::<u64>(), incarnation()).prop_map(|(round, coordinator)| Ballot { round, coordinator }).boxed()
}

fn view_id() -> BoxedStrategy<ViewId> {
    (any::<u64>(), ballot()).prop_map(|(number, ballot)| ViewId { number, ballot }).boxed()
}

fn summary() -> BoxedStrategy<ViewSummary> {
    let leaders = prop::collection::vec((incarnation(), address()), 0..5);
    (view_id(), any::<(bool, bool)>(), any::<u32>(), incarnation(), address(), leaders)
        .prop_map(|(id, (fenced, primary), members, coordinator, address, leaders)| ViewSummary {
            id,
            fenced,
            primary,
            members,
            coordinator,
            address,
            leaders,
        })
        .boxed()
}

fn tags() -> BoxedStrategy<Tags> {
    select(vec!["", "machine=m1", "machine=m-2,replication_group=eu:1/b"])
        .prop_map(|text| Tags::parse(text).unwrap())
        .boxed()
}

/// Members in the order of their seats, as a proposal must have them.
pub(crate) fn members(fewest: usize) -> BoxedStrategy<Vec<MemberInfo>> {
    let one = (
        name(),
        incarnation(),
        address(),
        1..50u32,
        any::<u64>(),
        (any::<u16>(), any::<u64>()),
        any::<(bool, bool)>(),
        tags(),
    );
    prop::collection::vec(one, fewest..6)
        .prop_map(|members| {
            let mut seat = 0;
            let place = |(name, incarnation, address, gap, admitted, (group, grouped), (ready, witness), tags)| {
                seat += gap;
                MemberInfo {
                    name,
                    incarnation,
                    address,
                    seat: Seat(seat),
                    admitted,
                    group,
                    grouped,
                    ready,
                    witness,
                    tags,
                }
            };
            members.into_iter().map(place).collect()
        })
        .boxed()
}

pub(crate) fn proposal() -> BoxedStrategy<Proposal> {
    let cut = prop::collection::vec(any::<u64>(), 0..6);
    (members(1), view_id(), view_id(), 1..9u64, any::<bool>(), 1..9u32, cut)
        .prop_map(|(members, mut id, mut previous, further, fenced, room, cut)| {
            previous.number /= 2;
            id.number = previous.number + further;
            let next_seat = members.last().map_or(0, |m| m.seat.0) + room;
            Proposal { id, previous, members, fenced, next_seat, cut: Sparse(cut) }
        })
        .boxed()
}

fn hello() -> BoxedStrategy<Control> {
    let purpose = select(vec![Purpose::Link, Purpose::Join, Purpose::Probe, Purpose::Inspect]);
    let settings = prop::collection::vec((text(), text()), 0..4);
    let who = (text(), name(), incarnation(), address());
    (any::<(u16, u16)>(), who, purpose, incarnation(), settings, prop::option::of(summary()))
        .prop_map(
            |((version_min, version_max), (cluster, name, incarnation, address), purpose, expects, settings, view)| {
                Control::Hello(Hello {
                    magic: MAGIC,
                    version_min,
                    version_max,
                    cluster,
                    purpose,
                    name,
                    incarnation,
                    address,
                    expects,
                    settings,
                    view,
                })
            },
        )
        .boxed()
}

fn welcome() -> BoxedStrategy<Control> {
    (name(), incarnation(), address(), prop::option::of(summary()), any::<bool>())
        .prop_map(|(name, incarnation, address, view, member)| {
            Control::Welcome(Welcome { name, incarnation, address, view, member })
        })
        .boxed()
}

fn refuse() -> BoxedStrategy<Control> {
    use RefusalCode::{Address, Busy, Cluster, NameTaken, NotListed, Settings, Unplaceable, Version};
    let code = select(vec![Cluster, Version, Settings, NameTaken, NotListed, Unplaceable, Busy, Address]);
    (code, text()).prop_map(|(code, text)| Control::Refuse(Refuse { code, text })).boxed()
}

fn join() -> BoxedStrategy<Control> {
    (name(), incarnation(), address(), prop::collection::vec(incarnation(), 0..5))
        .prop_map(|(name, incarnation, address, unheard)| Control::Join(Join { name, incarnation, address, unheard }))
        .boxed()
}

fn promise() -> BoxedStrategy<Control> {
    let vote = (any::<u64>(), ballot(), tags());
    let held = (prop::collection::vec(any::<u64>(), 0..6), prop::collection::vec(any::<u32>(), 0..6));
    let times = any::<(bool, bool, bool, u32, u32, u32, u64)>();
    (vote, held, times, prop::option::of((ballot(), proposal())))
        .prop_map(
            |(
                (number, ballot, tags),
                (have, grants_ms),
                (memory, announces_ready, witness, up_ms, fence_ms, hold_ms, newest),
                accepted,
            )| {
                Control::Promise(Promise {
                    number,
                    ballot,
                    have: Sparse(have),
                    memory,
                    announces_ready,
                    witness,
                    tags,
                    up_ms,
                    fence_ms,
                    hold_ms,
                    grants_ms,
                    newest,
                    accepted,
                })
            },
        )
        .boxed()
}

fn reject() -> BoxedStrategy<Control> {
    (any::<u64>(), ballot(), ballot(), view_id(), any::<u64>(), prop::option::of(proposal()))
        .prop_map(|(number, ballot, promised, installed, newest, proposal)| {
            Control::Reject(Reject { number, ballot, promised, installed, newest, proposal })
        })
        .boxed()
}

fn observation() -> BoxedStrategy<Observation> {
    let sight = select(vec![Sight::Alive, Sight::Silent, Sight::Dead, Sight::Slow, Sight::Faulty]);
    (incarnation(), incarnation(), sight, any::<u64>())
        .prop_map(|(subject, observer, sight, amount)| Observation { subject, observer, sight, amount })
        .boxed()
}

fn vote() -> BoxedStrategy<Vote> {
    (any::<u64>(), ballot()).prop_map(|(number, ballot)| Vote { number, ballot }).boxed()
}

fn progress() -> BoxedStrategy<Progress> {
    (any::<u64>(), prop::collection::vec(any::<(u32, u64)>(), 0..8))
        .prop_map(|(tag, entries)| Progress { tag, entries })
        .boxed()
}

fn repair() -> BoxedStrategy<Repair> {
    let gap = any::<(u32, u64, u64)>().prop_map(|(stream, first, last)| Missing { stream, first, last });
    (any::<u64>(), prop::collection::vec(gap, 0..8)).prop_map(|(tag, gaps)| Repair { tag, gaps }).boxed()
}

fn credit() -> BoxedStrategy<Credit> {
    any::<(u64, u64)>().prop_map(|(tag, bytes)| Credit { tag, bytes }).boxed()
}

fn bytes() -> BoxedStrategy<Bytes> {
    prop::collection::vec(any::<u8>(), 0..120).prop_map(Bytes::from).boxed()
}

fn report() -> BoxedStrategy<Control> {
    let link =
        (name(), text(), any::<(u64, u64, u64)>()).prop_map(|(peer, state, (queued_bytes, rtt_us, unstable_bytes))| {
            ReportLink { peer, state, queued_bytes, rtt_us, unstable_bytes }
        });
    let flags = any::<(bool, bool, bool)>();
    let sessions = any::<(u64, u64, u64, u64)>();
    (name(), prop::option::of(view_id()), flags, members(0), prop::collection::vec(link, 0..4), sessions)
        .prop_map(|(name, view, (fenced, primary, ready), members, links, sessions)| {
            let (sessions_primary, sessions_secondary, sessions_single, session_bytes) = sessions;
            Control::Report(Report {
                name,
                view,
                fenced,
                primary,
                ready,
                members,
                links,
                sessions_primary,
                sessions_secondary,
                sessions_single,
                session_bytes,
            })
        })
        .boxed()
}

/// One strategy for each type of frame.
fn each() -> Vec<BoxedStrategy<Control>> {
    let prepare = (any::<u64>(), ballot(), view_id(), any::<bool>());
    let cut = (any::<u64>(), ballot(), prop::collection::vec((any::<u64>(), incarnation()), 0..6));
    let fetch = (any::<u64>(), incarnation(), any::<u32>(), any::<(u64, u64)>());
    vec![
        hello(),
        welcome(),
        refuse(),
        join(),
        incarnation().prop_map(Control::Leave).boxed(),
        incarnation().prop_map(Control::Ready).boxed(),
        (incarnation(), summary(), text())
            .prop_map(|(incarnation, by, why)| Control::Expelled(Expelled { incarnation, by, why }))
            .boxed(),
        prepare
            .prop_map(|(number, ballot, previous, joins)| Control::Prepare(Prepare { number, ballot, previous, joins }))
            .boxed(),
        promise(),
        reject(),
        cut.prop_map(|(number, ballot, upto)| Control::Cut(Cut { number, ballot, upto: Sparse(upto) })).boxed(),
        vote().prop_map(Control::Held).boxed(),
        (ballot(), proposal()).prop_map(|(ballot, proposal)| Control::Propose(Propose { ballot, proposal })).boxed(),
        vote().prop_map(Control::Accepted).boxed(),
        (proposal(), any::<u32>())
            .prop_map(|(proposal, hold_ms)| Control::Install(Install { proposal, hold_ms }))
            .boxed(),
        view_id().prop_map(Control::Installed).boxed(),
        (ballot(), proposal(), proposal())
            .prop_map(|(ballot, previous, mut next)| {
                next.previous = previous.id;
                let successor = next.successor_of(&previous).expect("it follows");
                Control::ProposeChange(ProposeChange { ballot, successor })
            })
            .boxed(),
        (view_id(), any::<u32>()).prop_map(|(id, hold_ms)| Control::Decided(Decided { id, hold_ms })).boxed(),
        fetch
            .prop_map(|(tag, from, sender, (first, last))| {
                Control::Fetch(Fetch { tag, from, sender: Seat(sender), first, last })
            })
            .boxed(),
        (any::<u64>(), bytes()).prop_map(|(tag, frame)| Control::Fetched(Fetched { tag, frame })).boxed(),
        observation().prop_map(Control::Observe).boxed(),
        incarnation().prop_map(Control::Ask).boxed(),
        any::<u64>().prop_map(Control::Ping).boxed(),
        any::<u64>().prop_map(Control::Pong).boxed(),
        observation().prop_map(Control::SlowNotice).boxed(),
        progress().prop_map(Control::Sync).boxed(),
        progress().prop_map(Control::Progress).boxed(),
        progress().prop_map(Control::Stable).boxed(),
        progress().prop_map(Control::Holding).boxed(),
        progress().prop_map(Control::AllHold).boxed(),
        progress().prop_map(Control::Carry).boxed(),
        repair().prop_map(Control::Repair).boxed(),
        credit().prop_map(Control::CreditWant).boxed(),
        credit().prop_map(Control::CreditGrant).boxed(),
        credit().prop_map(Control::CreditReturn).boxed(),
        credit().prop_map(Control::CreditRecall).boxed(),
        (any::<u64>(), incarnation(), any::<u64>(), any::<u64>())
            .prop_map(|(tag, receiver, batch, after)| Control::DirectAck(DirectAck { tag, receiver, batch, after }))
            .boxed(),
        (incarnation(), incarnation(), bytes())
            .prop_map(|(from, to, frame)| Control::Routed(Routed { from, to, frame }))
            .boxed(),
        any::<u8>().prop_map(Control::Inspect).boxed(),
        report(),
    ]
}

fn control() -> impl Strategy<Value = Control> {
    Union::new(each())
}

/// Writes the checksum that a frame with these bytes would have.
fn seal(frame: &mut [u8]) {
    let crc = crc32fast::hash(&[&frame[..12], &frame[HEADER_BYTES..]].concat());
    frame[12..16].copy_from_slice(&crc.to_le_bytes());
}

/// A list of strategies that misses a type would leave its decoder untested.
#[test]
fn every_type_is_generated() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let made: BTreeSet<u8> =
        each().iter().map(|strategy| strategy.new_tree(&mut runner).expect("a frame").current().frame_type()).collect();
    let known: BTreeSet<u8> = Control::TYPES.iter().map(|(number, _)| *number).collect();
    assert_eq!(made, known);
    assert_eq!(known.len(), Control::TYPES.len(), "a number is used twice");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn round_trip(control in control()) {
        let frame = control.encode();
        prop_assert_eq!(Control::decode(&frame), Ok(control));
    }

    #[test]
    fn every_cut_and_every_flip_is_found(control in control()) {
        let frame = control.encode();
        for end in 0..frame.len() {
            prop_assert!(Control::decode(&frame[..end]).is_err(), "{} of {} bytes passed", end, frame.len());
        }
        for bit in 0..frame.len() * 8 {
            let mut bad = frame.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Control::decode(&bad).is_err(), "bit {} flipped unseen", bit);
        }
        prop_assert!(Control::decode(&[&frame[..], &[0]].concat()).is_err(), "a byte too many passed");
    }

    /// A sender's bug has a true checksum: what then passes for legal is legal, and has one encoding.
    #[test]
    fn sealed_damage_is_refused_or_legal(
        control in control(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut frame = control.encode().to_vec();
        for (at, byte) in damage {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        seal(&mut frame);
        if let Ok(other) = Control::decode(&frame) {
            prop_assert_eq!(&other.encode()[..], &frame[..]);
        }
    }

    #[test]
    fn any_sealed_bytes_never_panic(
        number in select(Control::TYPES.iter().map(|(number, _)| *number).collect::<Vec<_>>()),
        body in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(4), any::<u8>()], 0..300),
    ) {
        let mut frame = vec![0; HEADER_BYTES];
        frame[0] = number;
        frame[4..8].copy_from_slice(&(body.len() as u32).to_le_bytes());
        frame.extend_from_slice(&body);
        seal(&mut frame);
        if let Ok(control) = Control::decode(&frame) {
            prop_assert_eq!(&control.encode()[..], &frame[..]);
        }
    }
}

/// Reserved fields are zero until a version gives them a meaning.
#[test]
fn header_rules() {
    let frame = Control::Ping(7).encode();
    for at in [1, 2, 3, 8, 9, 10, 11] {
        let mut bad = frame.to_vec();
        bad[at] = 1;
        seal(&mut bad);
        assert!(Control::decode(&bad).is_err(), "reserved byte {at} passed");
    }
    let mut unknown = frame.to_vec();
    unknown[0] = 99;
    seal(&mut unknown);
    assert!(Control::decode(&unknown).is_err(), "an unknown type passed");
}
