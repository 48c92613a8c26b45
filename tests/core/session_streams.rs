//! How frames of sessions travel: acknowledged as a whole, objections before what acknowledges, and over a connection of their own.

use crate::fellows::{Fellows, NOBODY, create, write};
use crate::stage::{ME, PEER, THIRD, address};
use crate::support::{Stream, tag_between};
use decurion::core::{CloseCause, Input, SessionOp};
use decurion::types::{Code, Epoch, SessionId, millis};
use decurion::wire::control::{Control, DirectAck};
use decurion::wire::session::{Objection, Refused};

/// Says something against a session that is not here.
fn about_nothing() -> Refused {
    Refused { id: SessionId(99), epoch: Epoch::default(), version: 1, held: Epoch::default(), why: Objection::Missing }
}

#[test]
fn objections_are_acknowledged() {
    let mut fellows = Fellows::new(&[PEER, ME]);
    fellows.object(PEER, about_nothing());
    fellows.pass(millis(100));
    let tag = tag_between(Stream::Objections, PEER, ME);
    let ack = Control::DirectAck(DirectAck { tag, receiver: ME, batch: 1, after: 0 });
    assert!(fellows.stage.heard(PEER).contains(&ack));
}

#[test]
fn an_acknowledgement_counts_only_with_the_objections_that_it_names_and_then_at_once() {
    let mut fellows = Fellows::new(&[PEER, ME]);
    fellows.create();
    let number = fellows.ask(write("2"));
    let change = fellows.sent(PEER);
    fellows.agree_after(PEER, change, 1);
    assert_eq!(fellows.code(number), None, "it may be what is objected to");
    fellows.object(PEER, about_nothing());
    assert_eq!(fellows.code(number), Some(Code::Ok));
}

#[test]
fn whoever_holds_copies_is_dialled_while_something_goes_there_and_not_otherwise() {
    let mut fellows = Fellows::of_three();
    let id = (1..).map(SessionId).find(|id| {
        fellows.ask_about(*id, [NOBODY; 2], create());
        fellows.copied_to(*id) == Some(THIRD)
    });
    let id = id.expect("the lot falls on each");
    [PEER, THIRD].into_iter().for_each(|who| fellows.agree(who));
    fellows.stage.tell(Input::Closed(fellows.stage.conns[&THIRD], CloseCause::Peer));
    let dials = |fellows: &Fellows| fellows.stage.dials.iter().filter(|(_, to)| *to == address(THIRD)).count();
    fellows.pass(millis(5_000));
    let before = dials(&fellows);
    fellows.pass(millis(5_000));
    assert_eq!(dials(&fellows), before);
    fellows.ask_about(id, [NOBODY; 2], SessionOp::Remove);
    fellows.pass(millis(5_000));
    assert!(dials(&fellows) > before);
}
