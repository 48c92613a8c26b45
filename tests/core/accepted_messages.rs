//! What a member has accepted goes out, or comes back to its host with a reason (D7).

use crate::sender::Sender;
use crate::stage::{FRESH, ME, PEER, THIRD, fenced, patient, view};
use decurion::core::{Event, Gate, Input, SessionOp, SessionRequest, To};
use decurion::types::{Code, MemberTag, SessionId, millis};
use decurion::wire::control::Control;
use decurion::wire::session::Attributes;

const RESERVED: usize = 20_000;

/// Led by `PEER`, with small windows.
fn sender() -> Sender {
    Sender::within(&view(11, &[PEER, ME, THIRD]), |setup| {
        patient(setup);
        (setup.window_bytes, setup.window_reserved_bytes) = (300_000, RESERVED);
        setup.direct_window_bytes = 8_192;
        setup.large.unasked_bytes = 64 * 1024;
    })
}

fn said_goodbye(sender: &mut Sender) -> bool {
    sender.stage.heard(PEER).iter().any(|control| matches!(control, Control::Leave(ME)))
}

#[test]
fn who_ends_gives_back_all_that_was_not_sent_or_not_acknowledged_and_then_says_so() {
    let mut sender = sender();
    sender.send(To::Member(PEER), 1, 6_000);
    sender.send(To::Member(PEER), 2, 6_000);
    sender.send(To::Everybody, 3, 60_000);
    sender.send(To::Everybody, 4, 100);
    assert_eq!(sender.returned(), []);
    sender.stage.tell(Input::Leave);
    sender.stage.pass(millis(4_000));
    sender.turn();
    assert!(matches!(sender.stage.events.last(), Some(Event::Closed { .. })), "nothing follows");
    let (never, unanswered) =
        ("the member ended before it could be sent", "the member ended before it was acknowledged");
    let mut returned = sender.returned();
    returned.sort_by_key(|(_, token, _)| *token);
    assert_eq!(returned, [(Some(PEER), 1, unanswered), (Some(PEER), 2, never), (None, 3, never), (None, 4, never)]);
    sender.turn();
    assert!(sender.stage.events.is_empty(), "it says so once");
    assert_eq!(sender.offer(To::Everybody, 5, 100), Code::Closed);
}

#[test]
fn a_request_that_nobody_has_taken_when_the_member_ends_is_answered() {
    let mut sender = sender();
    let op = SessionOp::Create { ttl_s: 0, attributes: Attributes::default() };
    let request = SessionRequest { number: 9, id: SessionId(7), holders: [MemberTag::NONE; 2], op };
    assert_eq!(sender.outbox.ask(request), Code::Ok);
    sender.stage.tell(Input::Leave);
    sender.stage.pass(millis(4_000));
    sender.turn();
    let answers = sender.stage.events.iter().filter_map(|event| match event {
        Event::Session(answer) => Some((answer.number, answer.code)),
        _ => None,
    });
    assert_eq!(answers.collect::<Vec<_>>(), [(9, Code::Closed)]);
}

#[test]
fn who_leaves_takes_no_more() {
    let mut sender = sender();
    assert_eq!(sender.outbox.gate(), Gate::Open);
    sender.stage.tell(Input::Leave);
    sender.turn();
    assert_eq!(sender.offer(To::Everybody, 1, 100), Code::Closed);
}

#[test]
fn who_leaves_and_has_nothing_to_send_says_goodbye_at_once() {
    let mut sender = sender();
    sender.stage.tell(Input::Leave);
    sender.turn();
    sender.stage.pass(millis(100));
    assert!(said_goodbye(&mut sender));
}

#[test]
fn who_leaves_waits_for_the_turn_of_its_long_message() {
    let mut sender = sender();
    sender.stage.tell(Input::Leave);
    assert_eq!(sender.offer(To::Everybody, 1, 100_000), Code::Ok);
    sender.turn();
    let question = sender.sent();
    assert!(question.iter().all(|header| header.length < 100), "it has asked for its turn only: {question:?}");
    let asked = sender.up_to(ME, 1);
    sender.stage.say(PEER, &Control::Stable(asked));
    sender.stage.pass(millis(1_000));
    assert!(!said_goodbye(&mut sender));
}

#[test]
fn who_leaves_sends_the_rest_of_what_it_has_begun_first() {
    let mut sender = sender();
    sender.stage.tell(Input::Leave);
    assert_eq!(sender.offer(To::Everybody, 1, 60_000), Code::Ok);
    sender.turn();
    let begun = sender.sent().last().expect("as much as the window takes").batch;
    // All of that is taken, and the member gets no turn in which it could go on.
    let taken = sender.up_to(ME, begun);
    sender.stage.say(PEER, &Control::Stable(taken));
    sender.stage.pass(millis(1_000));
    assert!(!said_goodbye(&mut sender));
}

#[test]
fn what_is_for_somebody_who_is_in_no_view_comes_back() {
    let mut sender = sender();
    sender.send(To::Member(FRESH), 1, 100);
    assert_eq!(sender.returned(), [(None, 1, "its receiver is not in the view any more")]);
    assert_eq!(sender.sent(), []);
}

#[test]
fn who_is_removed_gives_back_what_the_receiver_may_not_have() {
    let mut sender = sender();
    sender.send(To::Member(THIRD), 1, 100);
    sender.send(To::Everybody, 2, 100);
    sender.stage.install(PEER, &view(12, &[PEER, THIRD]));
    sender.turn();
    let expelled = |event: &Event| matches!(event, Event::Expelled { view, .. } if view.number == 11);
    assert!(sender.stage.events.iter().any(expelled));
    let why = "this member was removed before it was acknowledged";
    assert_eq!(sender.returned(), [(Some(THIRD), 1, why)]);
}

#[test]
fn who_lost_its_lease_sends_nothing_more_in_that_view() {
    let mut sender = Sender::within(&fenced(view(11, &[PEER, ME, THIRD])), patient);
    assert_eq!(sender.offer(To::Everybody, 1, 100), Code::Ok);
    assert_eq!(sender.offer(To::Member(PEER), 2, 100), Code::Ok);
    sender.stage.pass(millis(10_000));
    sender.turn();
    assert_eq!(sender.offer(To::Everybody, 3, 100), Code::NotPrimary);
    assert_eq!(sender.sent(), []);
    assert_eq!(sender.returned(), [], "it waits for the next view");
}
