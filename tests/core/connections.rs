//! Connections as a member keeps them: how many strangers it bears, how long their frames may be, what was not written yet, what is
//! copied, and what it tells of them (M1, R4, R10).

use std::net::SocketAddr;

use crate::last_words::waiting;
use crate::stage::{ME, NOW, PEER, Stage, address, entry, patient, view};
use crate::support::hello;
use decurion::core::{CloseCause, Input, Outbox, Output, Payload, To};
use decurion::types::{Code, ConnId, Incarnation, Micros, limits, millis};
use decurion::wire::Proposal;
use decurion::wire::batch::Level;
use decurion::wire::control::{Control, Install, Purpose};
use decurion::wire::datagram::Datagram;

/// A member that nobody has to fear for, between the driver's turns.
fn pair() -> Stage {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    stage.pass(millis(1_000));
    stage
}

/// A frame comes over a connection, and the driver has not done yet what the member wants.
fn bring(stage: &mut Stage, conn: ConnId, control: &Control) {
    stage.member.receive_space(conn).expect("it is open").extend_from_slice(&control.encode());
    stage.member.handle(stage.now, Input::Received(conn));
}

// Strangers.

#[test]
fn strangers_of_one_host_leave_room_for_others_and_all_together_are_bounded() {
    let mut stage = Stage::new(|_| {});
    let mut taken = |host: u8, count: u16| {
        let from = (0..count).map(|port| SocketAddr::from(([10, 0, 0, host], 20_000 + port)));
        from.filter(|from| stage.member.accept(NOW, *from).is_some()).count()
    };
    assert_eq!(taken(1, 100), 64);
    assert_eq!(taken(2, 63), 63);
    assert_eq!(taken(3, 2), 1, "128 in all");
    assert_eq!(taken(2, 1), 0);
}

#[test]
fn who_has_introduced_itself_is_no_stranger() {
    let mut stage = pair();
    for who in (100..200).map(Incarnation) {
        let conn = stage.member.accept(stage.now, address(who)).expect("all others have said who they are");
        stage.say_over(conn, &Control::Hello(hello("test", "guest", (who, address(who)), Purpose::Link)));
    }
}

/// The view is told to a junior by a link that the junior has dialled, and may be large.
#[test]
fn a_member_that_has_dialled_us_may_say_more_than_a_stranger() {
    let mut stage = pair();
    let mut next = view(12, &[ME, PEER]);
    next.members.extend((100..300).map(|n| entry(&format!("m{n}"), Incarnation(n), n as u32)));
    let next = Proposal { next_seat: 300, ..next };
    let install = Control::Install(Install { proposal: next.clone(), hold_ms: 0 });
    assert!(install.encode().len() > limits::GREETING_BYTES);
    stage.say(PEER, &install);
    assert_eq!(stage.view(), Some(next.id));
}

// Links.

#[test]
fn a_link_that_is_being_dialled_is_not_dialled_again() {
    let mut stage = Stage::within(&view(11, &[PEER, ME]), patient);
    stage.pass(millis(1_000));
    stage.tell(Input::Closed(stage.conns[&PEER], CloseCause::Peer));
    // Less than a connection that does not come up is waited for.
    stage.pass(millis(2_500));
    let dials = stage.dials.iter().filter(|(_, to)| *to == address(PEER)).count();
    assert_eq!(dials, 2, "the link, and to look whether the member lives");
}

/// The other member is heard by datagrams, but says nothing over its connection.
fn heard_beside(stage: &mut Stage, time: Micros) {
    let until = stage.now + time;
    while stage.now < until {
        stage.send(PEER, &Datagram::Heartbeat(stage.heartbeat()));
        stage.pass(millis(50));
    }
}

#[test]
fn a_connection_over_which_messages_go_and_nothing_comes_is_asked_for_a_word_and_then_given_up() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), |_| {});
    let conn = stage.conns[&PEER];
    heard_beside(&mut stage, millis(1_000));
    stage.say(PEER, &Control::Pong(0));
    heard_beside(&mut stage, millis(3_000));
    assert!(!stage.closed.contains(&conn), "nothing has to be answered");
    stage.words.clear();
    let mut outbox = Outbox::new(1 << 20, 1 << 20);
    stage.member.exchange(stage.now, &mut outbox);
    assert_eq!(outbox.push(To::Everybody, Level::Fifo, 0, Payload::Borrowed(b"something")), Code::Ok);
    stage.member.exchange(stage.now, &mut outbox);
    stage.settle();
    assert_eq!((stage.batches.len(), stage.words.len()), (1, 0), "only the message");
    heard_beside(&mut stage, millis(900));
    assert!(matches!(stage.heard(PEER)[..], [Control::Ping(_)]));
    heard_beside(&mut stage, millis(1_700));
    assert!(stage.closed.contains(&conn));
}

#[test]
fn what_waits_for_a_link_is_told() {
    let mut stage = pair();
    let conn = stage.conns[&PEER];
    let queued = |stage: &Stage| stage.member.links(stage.now)[0].queued_bytes;
    bring(&mut stage, conn, &Control::Ping(7));
    let bytes = waiting(&stage.member, conn).len();
    assert!(bytes > 0);
    assert_eq!(queued(&stage), bytes as u64);
    stage.settle();
    assert_eq!(queued(&stage), 0);
}

#[test]
fn a_last_word_goes_on_where_the_system_took_no_more_of_it() {
    let mut stage = pair();
    let stranger = Incarnation(100);
    let conn = stage.member.accept(stage.now, address(stranger)).expect("a stranger is welcome");
    let hello = hello("elsewhere", "guest", (stranger, address(stranger)), Purpose::Join);
    bring(&mut stage, conn, &Control::Hello(hello));
    while stage.member.poll().is_some_and(|output| !matches!(output, Output::Close(closed) if closed == conn)) {}
    let words = waiting(&stage.member, conn);
    assert!(matches!(Control::decode(&words), Ok(Control::Refuse(_))));
    stage.member.wrote(stage.now, conn, 10);
    assert_eq!(waiting(&stage.member, conn), words[10..]);
}

// Memory.

#[test]
fn what_covers_little_of_a_chunk_is_copied_out_of_it_and_what_covers_a_quarter_is_not() {
    let mut stage = pair();
    // Nothing has to be done for it.
    let frame = Control::Ask(ME).encode();
    let mut copied = |frames: usize| {
        let before = stage.member.copied_bytes();
        stage.say_bytes(stage.conns[&PEER], &frame.repeat(frames));
        stage.member.copied_bytes() - before
    };
    let quarter = limits::CHUNK_BYTES / 4 / frame.len();
    assert_eq!(limits::CHUNK_BYTES / 4 % frame.len(), 0);
    assert_eq!(copied(quarter), 0);
    assert_eq!(copied(quarter - 1), ((quarter - 1) * frame.len()) as u64);
}

#[test]
fn messages_that_are_copied_into_batches_are_counted() {
    for to in [To::Everybody, To::Member(PEER)] {
        let mut stage = pair();
        let mut outbox = Outbox::new(1 << 20, 1 << 20);
        stage.member.exchange(stage.now, &mut outbox);
        let before = stage.member.copied_bytes();
        assert_eq!(outbox.push(to, Level::Fifo, 0, Payload::Borrowed(&[7; 1_000])), Code::Ok);
        stage.member.exchange(stage.now, &mut outbox);
        let copied = stage.member.copied_bytes() - before;
        assert!((1_000..1_200).contains(&copied), "{copied} to {to:?}");
    }
}

#[test]
fn a_member_at_rest_gives_its_receive_chunks_back() {
    let mut stage = pair();
    stage.say(PEER, &Control::Pong(0));
    assert_ne!(stage.member.stats().chunks_pinned, 0);
    stage.pass(millis(2_500));
    assert_eq!(stage.member.stats().chunks_pinned, 0);
}
