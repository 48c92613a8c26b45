//! Messages outside of all streams, datagram by datagram: whom they go to, who takes them, and what is counted (D4).

use std::net::SocketAddr;

use bytes::Bytes;
use decurion::core::{Event, Input, Multicast, Outbox, Output, Payload, Setup, To};
use decurion::types::{Code, Incarnation};
use decurion::wire::batch::Level;
use decurion::wire::cast::{self, Cast, HEAD_BYTES, LOOSE_BYTES, LooseHead};
use decurion::wire::control::{Control, Prepare};

use crate::stage::{FIFTH, FRESH, ME, PEER, Stage, THIRD, address, ballot, entry, in_groups, patient, view};

const LOOSE: Level = Level::Unreliable;

/// Datagrams with messages that a member wants sent, each to where.
type Sent = Vec<(SocketAddr, LooseHead, Bytes)>;

/// Reads a datagram with such a message.
fn read(stage: &Stage, bytes: &Bytes) -> (LooseHead, Bytes) {
    match cast::decode(stage.envelope(ME).cluster, bytes) {
        Ok(Cast::Loose(head, payload)) => (head, payload),
        other => panic!("{other:?}"),
    }
}

/// What a member wants sent to one address each; all else that it wants is passed over.
fn sent(stage: &mut Stage) -> Sent {
    let mut sent = Vec::new();
    while let Some(output) = stage.member.poll() {
        match output {
            Output::Datagram { to, bytes } if cast::is_cast(&bytes) => {
                let (head, payload) = read(stage, &bytes);
                sent.push((to, head, payload));
            }
            Output::Event(event) => stage.events.push(event),
            _ => {}
        }
    }
    sent
}

/// What a member wants sent to the group.
fn group(stage: &mut Stage) -> Vec<(LooseHead, Bytes)> {
    let casts: Vec<Bytes> =
        stage.member.casts(usize::MAX).map(|(head, rest)| [&head[..], rest].concat().into()).collect();
    stage.member.sent_casts(casts.len());
    let loose = casts.iter().filter_map(|bytes| match cast::decode(stage.envelope(ME).cluster, bytes) {
        Ok(Cast::Loose(head, payload)) => Some((head, payload)),
        _ => None,
    });
    loose.collect()
}

/// The host sends these; what is to be done then is left.
fn send(stage: &mut Stage, messages: &[(To, &[u8])]) {
    let mut outbox = Outbox::new(1 << 30, 1 << 20);
    stage.member.exchange(stage.now, &mut outbox);
    for (to, payload) in messages {
        assert_eq!(outbox.push(*to, LOOSE, 5, Payload::Borrowed(payload)), Code::Ok);
    }
    stage.member.exchange(stage.now, &mut outbox);
}

/// A message of one of the others, to this member or to everybody.
fn head(stage: &Stage, from: Incarnation, to: Incarnation, number: u64) -> LooseHead {
    LooseHead { from, to, view_tag: stage.heartbeat().view_tag, number, token: 6 }
}

/// It comes in a datagram to this member alone.
fn say(stage: &mut Stage, head: &LooseHead, payload: &[u8]) {
    let content = head.encode(payload);
    let bytes = [&cast::head(stage.envelope(ME).cluster, &content)[..], &content].concat();
    stage.member.handle(stage.now, Input::Datagram { from: address(PEER), bytes: &bytes });
}

/// What the host was given since the last look: whose, whether to it alone, the token, and what.
fn given(stage: &mut Stage) -> Vec<(Incarnation, bool, u64, Vec<u8>)> {
    drop(sent(stage));
    let runs = stage.events.drain(..).filter_map(|event| match event {
        Event::Messages(run) => Some(run),
        _ => None,
    });
    let mut all = Vec::new();
    for run in runs {
        assert_eq!(run.level, LOOSE);
        let (who, direct) = (run.sender.incarnation, run.direct);
        all.extend(run.iter().map(|message| (who, direct, message.token, message.payload.to_vec())));
    }
    all
}

fn multicast(datagram_bytes: usize) -> impl Fn(&mut Setup) {
    move |setup| {
        patient(setup);
        setup.multicast = Some(Multicast {
            group: SocketAddr::from(([239, 192, 0, 1], 7_777)),
            carries: true,
            datagram_bytes,
            receive_bytes: 1 << 20,
            repair_bytes_per_s: 1_000_000,
        });
    }
}

// What goes out.

#[test]
fn a_message_to_one_member_goes_there_alone_and_one_to_everybody_down_the_way_of_the_stream() {
    // This member leads `FRESH`; the others lead theirs.
    let first = in_groups(view(11, &[THIRD, ME, PEER, FRESH, FIFTH]), &[0, 1, 2, 1, 2]);
    let mut stage = Stage::within(&first, patient);
    let before = stage.member.stats();
    send(&mut stage, &[(To::Member(FIFTH), b"one"), (To::Everybody, b"all")]);
    let to = |to: Incarnation, number| LooseHead { token: 5, ..head(&stage, ME, to, number) };
    let (one, all) = (to(FIFTH, 1), to(Incarnation::NONE, 2));
    let mut expected: Sent = vec![(address(FIFTH), one, Bytes::from_static(b"one"))];
    expected.extend([FRESH, THIRD, PEER].map(|who| (address(who), all, Bytes::from_static(b"all"))));
    assert_eq!(sent(&mut stage), expected);
    let stats = stage.member.stats();
    assert_eq!(stats.messages_sent - before.messages_sent, 2);
    assert_eq!(stats.datagrams_sent - before.datagrams_sent, 4);
}

#[test]
fn what_is_for_a_member_that_is_gone_goes_nowhere() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    send(&mut stage, &[(To::Member(THIRD), b"one")]);
    assert_eq!(sent(&mut stage), []);
}

#[test]
fn the_longest_message_is_a_datagram_and_no_more() {
    let longest = |change: &dyn Fn(&mut Setup)| {
        let mut stage = Stage::within(&view(11, &[ME, PEER]), change);
        let mut outbox = Outbox::new(1 << 20, 1 << 20);
        stage.member.exchange(stage.now, &mut outbox);
        let bound = outbox.loose_bound();
        let mut push = |len: usize| outbox.push(To::Everybody, LOOSE, 0, Payload::Borrowed(&vec![7; len]));
        assert_eq!((push(bound + 1), push(bound)), (Code::TooLarge, Code::Ok));
        HEAD_BYTES + LOOSE_BYTES + bound
    };
    assert_eq!(longest(&patient), 1_400);
    assert_eq!(longest(&multicast(700)), 700);
    assert_eq!(longest(&multicast(9_000)), 1_400);
}

/// Whoever is not known to hear it gets it from the leader as well.
#[test]
fn to_the_group_goes_what_this_member_says_to_everybody_and_nothing_else() {
    let mut stage = Stage::within(&view(11, &[ME, PEER, THIRD]), multicast(1_472));
    group(&mut stage);
    send(&mut stage, &[(To::Everybody, b"all"), (To::Member(PEER), b"one")]);
    let all = LooseHead { token: 5, ..head(&stage, ME, Incarnation::NONE, 1) };
    assert_eq!(group(&mut stage), [(all, Bytes::from_static(b"all"))]);
    assert_eq!(sent(&mut stage).iter().filter(|(_, head, _)| head.to == PEER).count(), 1);
    // What another one says it has said there itself.
    let theirs = head(&stage, PEER, Incarnation::NONE, 1);
    say(&mut stage, &theirs, b"theirs");
    assert_eq!(group(&mut stage), []);

    let mut stage = Stage::within(&view(11, &[ME, PEER, THIRD]), patient);
    send(&mut stage, &[(To::Everybody, b"all")]);
    assert_eq!(group(&mut stage), [], "there is none");
}

#[test]
fn what_the_group_does_not_take_in_time_is_lost_and_does_not_fill_the_memory() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), multicast(1_472));
    group(&mut stage);
    let messages = vec![(To::Everybody, &b"tick"[..]); 5_000];
    send(&mut stage, &messages);
    let waited = group(&mut stage).len();
    assert!((1_000..5_000).contains(&waited), "{waited}");
    send(&mut stage, &messages[..1]);
    assert_eq!(group(&mut stage).len(), 1, "the next one finds room");
}

// What comes in.

#[test]
fn what_comes_is_given_to_the_host_and_counted() {
    let mut stage = Stage::within(&view(11, &[PEER, ME, THIRD]), patient);
    let before = stage.member.stats();
    let (one, all) = (head(&stage, THIRD, ME, 1), head(&stage, THIRD, Incarnation::NONE, 2));
    say(&mut stage, &one, b"one");
    say(&mut stage, &all, b"all");
    assert_eq!(given(&mut stage), [(THIRD, true, 6, b"one".to_vec()), (THIRD, false, 6, b"all".to_vec())]);
    assert_eq!(stage.member.stats().messages_delivered - before.messages_delivered, 2);
}

#[test]
fn what_is_for_others_is_not_given_to_the_host() {
    let mut stage = Stage::within(&view(11, &[PEER, ME, THIRD]), patient);
    let here = head(&stage, PEER, ME, 1);
    let others = [
        LooseHead { to: THIRD, ..here },
        LooseHead { from: ME, ..here },
        LooseHead { from: FRESH, ..here },
        LooseHead { view_tag: here.view_tag ^ 1, ..here },
    ];
    for other in &others {
        say(&mut stage, other, b"theirs");
        assert_eq!(given(&mut stage), [], "{other:?}");
    }
    // None of them has used the number up.
    say(&mut stage, &here, b"ours");
    assert_eq!(given(&mut stage).len(), 1);
}

#[test]
fn nothing_is_given_to_the_host_while_the_view_ends() {
    let first = view(11, &[PEER, ME, THIRD]);
    let mut stage = Stage::within(&first, patient);
    let prepare = Prepare { number: 12, ballot: ballot(13), previous: first.id, joins: false };
    stage.say(PEER, &Control::Prepare(prepare));
    assert!(stage.events.iter().any(|event| matches!(event, Event::Transition { .. })));
    let late = head(&stage, THIRD, ME, 1);
    say(&mut stage, &late, b"late");
    assert_eq!(given(&mut stage), []);
}

#[test]
fn a_witness_takes_none() {
    let mut first = view(11, &[PEER, ME, THIRD]);
    first.members[1].witness = true;
    let mut stage = Stage::within(&first, |setup| {
        patient(setup);
        setup.witness = true;
    });
    let one = head(&stage, THIRD, ME, 1);
    say(&mut stage, &one, b"one");
    assert_eq!(given(&mut stage), []);
}

#[test]
fn a_damaged_one_is_counted_and_passed_over() {
    let mut stage = Stage::within(&view(11, &[PEER, ME]), patient);
    let content = head(&stage, PEER, ME, 1).encode(b"tick");
    let mut bytes = [&cast::head(stage.envelope(ME).cluster, &content)[..], &content].concat();
    *bytes.last_mut().expect("there are some") ^= 1;
    let before = stage.member.stats().datagrams_refused;
    stage.member.handle(stage.now, Input::Datagram { from: address(PEER), bytes: &bytes });
    assert_eq!(stage.member.stats().datagrams_refused - before, 1);
    assert_eq!(given(&mut stage), []);
}

#[test]
fn a_leader_passes_on_what_is_for_everybody_to_those_it_leads_once() {
    let first = in_groups(view(11, &[THIRD, ME, PEER, FRESH, FIFTH]), &[0, 1, 2, 1, 2]);
    let mut stage = Stage::within(&first, patient);
    let (all, one) = (head(&stage, THIRD, Incarnation::NONE, 7), head(&stage, THIRD, ME, 8));
    for _ in 0..2 {
        say(&mut stage, &all, b"all");
        say(&mut stage, &one, b"one");
    }
    assert_eq!(sent(&mut stage), [(address(FRESH), all, Bytes::from_static(b"all"))]);
    // What one of its own says goes to all other leaders, too.
    let own = head(&stage, FRESH, Incarnation::NONE, 1);
    say(&mut stage, &own, b"own");
    let to: Vec<SocketAddr> = sent(&mut stage).iter().map(|(to, ..)| *to).collect();
    assert_eq!(to, [THIRD, PEER].map(address));
}

/// One that comes late is taken if it is among the 64 before the last one.
#[test]
fn a_late_one_comes_once_and_only_if_it_is_not_too_late() {
    for (late, taken) in [(36, true), (35, false), (99, true), (100, false)] {
        let mut stage = Stage::within(&view(11, &[PEER, ME]), patient);
        for number in [100, late] {
            let head = head(&stage, PEER, ME, number);
            say(&mut stage, &head, b"tick");
        }
        assert_eq!(given(&mut stage).len(), 1 + usize::from(taken), "{late}");
    }
    for numbers in [[36, 100, 36], [100, 36, 36]] {
        let mut stage = Stage::within(&view(11, &[PEER, ME]), patient);
        for number in numbers {
            let head = head(&stage, PEER, ME, number);
            say(&mut stage, &head, b"tick");
        }
        assert_eq!(given(&mut stage).len(), 2, "it has come before: {numbers:?}");
    }
}

#[test]
fn one_for_which_the_host_has_no_room_is_lost_and_what_it_takes_makes_room() {
    let mut stage = Stage::within(&view(11, &[PEER, ME]), |setup| {
        patient(setup);
        setup.receive_queue_bytes = 3_000;
    });
    for number in 1..=10 {
        let head = head(&stage, PEER, ME, number);
        say(&mut stage, &head, &[7; 1_000]);
    }
    assert_eq!(given(&mut stage).len(), 2);
    let waiting = stage.member.stats().delivery_queue_bytes as usize;
    assert!((2_000..3_000).contains(&waiting), "{waiting}");
    stage.tell(Input::Consumed { bytes: waiting });
    assert_eq!(stage.member.stats().delivery_queue_bytes, 0);
    let next = head(&stage, PEER, ME, 11);
    say(&mut stage, &next, &[7; 1_000]);
    assert_eq!(given(&mut stage).len(), 1);
}

/// It is in the next view as it was in this one, and its numbers go on.
#[test]
fn what_came_in_the_view_before_does_not_come_again_in_the_next_one() {
    let mut stage = Stage::within(&view(11, &[PEER, ME, THIRD]), patient);
    let first = head(&stage, PEER, ME, 7);
    say(&mut stage, &first, b"tick");
    stage.install(PEER, &view(12, &[PEER, ME, THIRD]));
    let again = head(&stage, PEER, ME, 7);
    say(&mut stage, &again, b"tick");
    assert_eq!(given(&mut stage).len(), 1);
}

/// Members come and go for as long as this one lives.
#[test]
fn nothing_is_remembered_of_who_is_gone() {
    let guest = Incarnation(0xfeed_beef << 96);
    let mut stage = Stage::within(&view(10, &[PEER, ME]), patient);
    let mut next = view(11, &[PEER, ME]);
    next.members.push(entry("guest", guest, 8));
    stage.install(PEER, &next);
    let head = head(&stage, guest, ME, 1);
    say(&mut stage, &head, b"tick");
    assert_eq!(given(&mut stage).len(), 1);
    let known = |stage: &Stage| format!("{:?}", stage.member).contains(&format!("{guest:?}"));
    assert!(known(&stage));
    stage.install(PEER, &view(12, &[PEER, ME]));
    assert!(!known(&stage));
}
