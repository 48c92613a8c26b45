//! The turn of the sessions within a member: what is counted, and that all is answered that was accepted.

use crate::fellows::{Fellows, ID, NOBODY, create};
use crate::stage::{ME, PEER, THIRD};
use crate::support::pairs;
use decurion::core::{Event, Input, Outbox, SessionOp, SessionRequest, Setup};
use decurion::types::{Code, Name, millis};

#[test]
fn what_sessions_send_and_what_is_copied_for_it_is_counted() {
    let mut fellows = Fellows::of_three();
    let sent = |fellows: &Fellows| fellows.sent(PEER) + fellows.sent(THIRD);
    let (stats, before, copied) = (fellows.stage.member.stats(), sent(&fellows), fellows.stage.member.copied_bytes());
    fellows.ask(SessionOp::Create { ttl_s: 0, attributes: pairs(&[("text", &[7; 10_000])]) });
    let batches = sent(&fellows) - before;
    assert!(batches > 0);
    assert_eq!(fellows.stage.member.stats().batches_sent - stats.batches_sent, batches);
    let copied = fellows.stage.member.copied_bytes() - copied;
    assert!((10_000..11_000).contains(&copied), "{copied}");
}

/// They take memory, and a host that is behind with them joins no other view.
#[test]
fn answers_count_until_the_host_has_taken_them() {
    let mut fellows = Fellows::of_three();
    fellows.create();
    fellows.ask(create());
    let answers = fellows.stage.events.iter().filter(|event| matches!(event, Event::Session(_)));
    let (count, bytes) = answers.fold((0, 0), |(count, bytes), answer| (count + 1, bytes + answer.cost()));
    assert_eq!(count, 2);
    let waiting = |fellows: &Fellows| fellows.stage.member.stats().delivery_queue_bytes as usize;
    assert!(bytes > 0);
    assert_eq!(waiting(&fellows), bytes);
    fellows.stage.tell(Input::Consumed { bytes });
    assert_eq!(waiting(&fellows), 0);
}

/// The member had not taken the request yet, and is in no view now.
#[test]
fn a_request_that_was_accepted_is_answered_also_where_no_view_follows() {
    let others_vote = |setup: &mut Setup| setup.voters = ["peer", "third", "fresh"].map(Name::new).into();
    let mut fellows = Fellows::with(&[PEER, ME], others_vote);
    let mut outbox = Outbox::new(1 << 20, 1 << 20);
    fellows.stage.member.exchange(fellows.stage.now, &mut outbox);
    let request = SessionRequest { number: 7, id: ID, holders: [NOBODY; 2], op: create() };
    assert_eq!(outbox.ask(request), Code::Ok);
    fellows.is_removed(12);
    fellows.stage.member.exchange(fellows.stage.now, &mut outbox);
    fellows.pass(millis(20_000));
    assert_eq!(fellows.stage.view(), None);
    assert_eq!(fellows.code(7), Some(Code::Timeout));
}
