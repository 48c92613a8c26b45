//! What waits to be sent: what is taken, what is answered with `Again`, and when a host is told to try again.

use decurion::core::{Event, Input, Outbox, Payload, SessionOp, SessionRequest, To};
use decurion::types::{Code, MemberTag, SessionId, millis};
use decurion::wire::batch::Level;

use crate::air::multicast;
use crate::stage::{ME, PEER, Stage, THIRD, patient, view};

/// Bytes that wait at most, and of the longest message.
const BOUND: usize = 10_000;

struct Host {
    stage: Stage,
    outbox: Outbox,
}

impl Host {
    fn new() -> Host {
        let stage = Stage::within(&view(11, &[ME, PEER, THIRD]), |setup| {
            patient(setup);
            setup.multicast = Some(multicast());
        });
        let mut host = Host { stage, outbox: Outbox::new(BOUND, BOUND) };
        host.turn();
        host
    }

    /// The member takes what it can; how often it tells the host that it may try again.
    fn turn(&mut self) -> usize {
        self.stage.events.clear();
        self.stage.member.exchange(self.stage.now, &mut self.outbox);
        self.stage.tell(Input::Wake);
        self.stage.member.sent_casts(usize::MAX);
        self.stage.events.iter().filter(|event| matches!(event, Event::Writable)).count()
    }

    fn push(&mut self, level: Level, length: usize) -> Code {
        self.outbox.push(To::Everybody, level, 0, Payload::Borrowed(&vec![7; length]))
    }

    fn ask(&mut self, number: u64) -> Code {
        let (id, holders, op) = (SessionId(number as u128), [MemberTag::NONE; 2], SessionOp::Read);
        self.outbox.ask(SessionRequest { number, id, holders, op })
    }
}

#[test]
fn messages_that_may_be_lost_have_a_bound_of_their_own_and_who_exceeds_it_is_told_once_when_they_are_gone() {
    let mut host = Host::new();
    let longest = host.outbox.loose_bound();
    assert!((1_300..1_472).contains(&longest), "{longest}: one datagram");
    assert_eq!(host.push(Level::Unreliable, longest + 1), Code::TooLarge);
    assert!(host.outbox.is_empty() && host.outbox.is_idle(To::Everybody, Level::Unreliable));
    for _ in 0..10 {
        assert_eq!(host.push(Level::Unreliable, 1_000 - 64), Code::Ok);
    }
    assert_eq!(host.push(Level::Unreliable, 0), Code::Again, "it is full to the byte");
    assert!(!host.outbox.is_empty() && !host.outbox.is_idle(To::Everybody, Level::Unreliable));
    assert!(host.outbox.is_idle(To::Everybody, Level::Fifo), "nothing waits there");
    assert_eq!((host.outbox.bytes(), host.push(Level::Fifo, 100)), (0, Code::Ok));
    assert_eq!((host.turn(), host.turn()), (1, 0));
    assert!(host.outbox.is_empty());
    assert_eq!(host.push(Level::Unreliable, longest), Code::Ok);
    assert_eq!(host.turn(), 0, "nobody was refused");
    assert!(host.stage.member.stats().messages_sent >= 12);
}

#[test]
fn requests_have_a_bound_of_their_own_and_who_exceeds_it_is_told_once_when_they_are_taken() {
    let mut host = Host::new();
    let taken = (1..).take_while(|number| host.ask(*number) == Code::Ok).count();
    assert!((BOUND / 1_000..BOUND / 16).contains(&taken), "{taken}");
    assert_eq!((host.outbox.session_requests(), host.outbox.is_empty()), (taken, false));
    assert_eq!((host.turn(), host.turn()), (1, 0));
    assert_eq!((host.outbox.session_requests(), host.outbox.is_empty()), (0, true));
    assert_eq!((1..).take_while(|number| host.ask(1_000 + *number) == Code::Ok).count(), taken);
}

#[test]
fn a_message_has_room_to_the_byte_and_may_be_as_long_as_is_legal() {
    let mut host = Host::new();
    assert_eq!(host.outbox.answer(To::Everybody, Level::Fifo, BOUND), Code::Ok);
    assert_eq!(host.outbox.answer(To::Everybody, Level::Fifo, BOUND + 1), Code::TooLarge);
    assert_eq!(host.push(Level::Fifo, BOUND / 2), Code::Ok);
    assert_eq!(host.outbox.bytes(), BOUND / 2 + 64);
    assert_eq!(host.push(Level::Fifo, BOUND / 2 - 2 * 64 + 1), Code::Again);
    assert_eq!(host.push(Level::Fifo, BOUND / 2 - 2 * 64), Code::Ok);
    assert_eq!(host.outbox.bytes(), BOUND);
    assert_eq!(host.outbox.answer(To::Member(PEER), Level::Fifo, BOUND), Code::Ok, "another stream");
    host.stage.pass(millis(1));
    let told = (0..20).map(|_| host.turn()).sum::<usize>();
    assert_eq!((told, host.outbox.bytes()), (1, 0));
}

#[test]
fn what_is_handed_back_was_not_sent() {
    let mut host = Host::new();
    host.stage.member.handle(host.stage.now, Input::Leave);
    host.turn();
    assert_eq!(host.push(Level::Fifo, 1), Code::Closed);
    assert_eq!(host.push(Level::Unreliable, 1), Code::Closed);
    assert_eq!(host.ask(1), Code::Closed);
    assert!(host.outbox.is_empty());
}
