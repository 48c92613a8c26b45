//! What has room beside what waits, to the byte; what becomes of it when a claim ends, or the engine; and who is told of room (D5, D7).

use decurion::core::{Event, Outbox, Payload, SessionOp, SessionRequest, Space, To};
use decurion::types::{Code, MemberTag, SessionId};
use decurion::wire::batch::Level;

use crate::air::multicast;
use crate::sender::Sender;
use crate::stage::{ME, PEER, THIRD, patient, view};
use crate::support::pairs;

/// Bytes that wait at most in one stream.
const BOUND: usize = 10_000;
/// What each message costs beside its payload.
const COST: usize = decurion::core::PENDING_OVERHEAD;
const ONE: To = To::Member(PEER);

/// What waits for one member goes out as far as 8 KiB are not acknowledged.
fn sender() -> Sender {
    let mut sender = Sender::within(&view(11, &[ME, PEER, THIRD]), |setup| {
        patient(setup);
        setup.multicast = Some(multicast());
        setup.direct_window_bytes = 8_192;
    });
    sender.outbox = Outbox::new(BOUND, BOUND);
    sender.turn();
    sender
}

/// Asks for something that costs so many bytes while it waits.
fn ask(outbox: &mut Outbox, cost: usize) -> Code {
    let request = |value: usize| {
        let attributes = pairs(&[("value", &vec![7; value])]);
        let op = SessionOp::Create { ttl_s: 0, attributes };
        SessionRequest { number: 9, id: SessionId(7), holders: [MemberTag::NONE; 2], op }
    };
    let request = request(cost - request(0).bytes());
    assert_eq!(request.bytes(), cost);
    outbox.ask(request)
}

fn push(outbox: &mut Outbox, level: Level, bytes: usize) -> Code {
    outbox.push(To::Everybody, level, 0, Payload::Borrowed(&vec![7; bytes]))
}

fn claim(outbox: &mut Outbox, bytes: usize) -> Space {
    outbox.claim(ONE, Level::Fifo, 0, bytes).expect("there is room")
}

/// How often the host was told since the last look that it may try again.
fn told(sender: &mut Sender) -> usize {
    sender.stage.events.drain(..).filter(|event| matches!(event, Event::Writable)).count()
}

#[test]
fn a_request_may_be_longer_than_the_bound_where_none_waits_and_has_room_to_the_byte_beside_others() {
    let mut sender = sender();
    assert_eq!(ask(&mut sender.outbox, BOUND + 5_000), Code::Ok);
    assert_eq!(ask(&mut sender.outbox, 200), Code::Again);
    sender.turn();
    assert_eq!(told(&mut sender), 1);
    assert_eq!(ask(&mut sender.outbox, BOUND - 4_000), Code::Ok);
    assert_eq!(ask(&mut sender.outbox, 4_001), Code::Again);
    assert_eq!(ask(&mut sender.outbox, 4_000), Code::Ok);
}

#[test]
fn what_may_be_lost_has_room_to_the_byte_again_and_again() {
    let mut sender = sender();
    for _ in 0..3 {
        for _ in 0..9 {
            assert_eq!(push(&mut sender.outbox, Level::Unreliable, 1_000 - COST), Code::Ok);
        }
        assert_eq!(push(&mut sender.outbox, Level::Unreliable, 1_000 - COST + 1), Code::Again);
        assert_eq!(push(&mut sender.outbox, Level::Unreliable, 1_000 - COST), Code::Ok);
        sender.turn();
        assert!(sender.outbox.is_empty());
    }
}

#[test]
fn who_was_refused_is_told_as_soon_as_half_of_the_room_is_free() {
    let mut sender = sender();
    for token in [1, 2] {
        assert_eq!(sender.offer(ONE, token, BOUND / 2 - COST), Code::Ok);
    }
    assert_eq!(sender.offer(ONE, 3, 100), Code::Again);
    sender.turn();
    assert_eq!((sender.sent().len(), sender.outbox.bytes()), (1, BOUND / 2), "one of them does not fit the window");
    assert_eq!(told(&mut sender), 1);
}

#[test]
fn whose_request_was_refused_is_told_as_soon_as_half_of_the_room_is_free() {
    // More than is taken in one turn.
    const LONG: usize = 1 << 20;
    let mut sender = sender();
    sender.outbox = Outbox::new(2 * LONG, LONG);
    sender.turn();
    for _ in 0..2 {
        assert_eq!(ask(&mut sender.outbox, LONG), Code::Ok);
    }
    assert_eq!(ask(&mut sender.outbox, 200), Code::Again);
    sender.stage.member.exchange(sender.stage.now, &mut sender.outbox);
    assert_eq!(sender.outbox.session_requests(), 1);
    sender.stage.settle();
    assert_eq!(told(&mut sender), 1);
}

#[test]
fn what_waits_beside_a_claim_is_sent_when_the_claim_is_given_back() {
    let mut sender = sender();
    assert_eq!(sender.offer(ONE, 1, 100), Code::Ok);
    let space = claim(&mut sender.outbox, 100);
    sender.outbox.abort(&space);
    assert!(!sender.outbox.is_idle(ONE, Level::Fifo));
    sender.turn();
    assert_eq!(sender.sent().len(), 1);
}

#[test]
fn what_one_claim_has_reserved_stays_when_another_one_is_given_back() {
    let mut sender = sender();
    let (first, second) = (claim(&mut sender.outbox, 5_000), claim(&mut sender.outbox, 4_000));
    sender.outbox.abort(&first);
    let left = BOUND - (4_000 + COST) - COST;
    assert_eq!(sender.offer(ONE, 1, left + 1), Code::Again);
    assert_eq!(sender.offer(ONE, 1, left), Code::Ok);
    sender.outbox.abort(&second);
    assert_eq!(sender.outbox.bytes(), left + COST);
}

/// The engine has ended: what it has not taken is the caller's, and nothing of it is counted any more.
#[test]
fn nothing_waits_where_all_was_taken_out() {
    let mut sender = sender();
    let space = claim(&mut sender.outbox, 1_000);
    assert_eq!(sender.offer(ONE, 1, 2_000), Code::Ok);
    assert_eq!(push(&mut sender.outbox, Level::Fifo, BOUND - COST), Code::Ok);
    assert_eq!(push(&mut sender.outbox, Level::Unreliable, 100), Code::Ok);
    drop(sender.outbox.drain());
    assert_eq!((sender.outbox.bytes(), sender.outbox.is_empty()), (0, true));
    assert_eq!(push(&mut sender.outbox, Level::Fifo, BOUND - COST), Code::Ok);
    assert_eq!(sender.offer(ONE, 1, BOUND - 1_000 - COST), Code::Again, "the claim has not ended");
    sender.outbox.abort(&space);
    assert_eq!(sender.offer(ONE, 1, BOUND - 1_000 - COST), Code::Ok);
}
