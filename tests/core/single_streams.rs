//! Messages to one member: what a small window holds up, and what becomes of them when one of the two goes.

use crate::sender::Sender;
use crate::stage::{ME, PEER, THIRD, patient, view};
use crate::support::{Cluster, Stream, tag_between};
use decurion::core::{Event, To};
use decurion::types::Incarnation;
use decurion::wire::batch::{Entry, Fragment, Level};
use decurion::wire::control::{Control, DirectAck};

/// More than fits into one batch.
const LONG: usize = 100_000;

/// Led by `PEER`, with a window of so many bytes to each of the others.
fn with_window(bytes: usize) -> Sender {
    Sender::within(&view(11, &[PEER, ME, THIRD]), |setup| {
        patient(setup);
        setup.direct_window_bytes = bytes;
    })
}

/// What came back because its receiver is gone: for whom it was, its token and its length.
fn returned(sender: &mut Sender) -> Vec<(Option<Incarnation>, u64, usize)> {
    let back = |event| match event {
        Event::Returned { to, token, payload, why } => {
            assert_eq!(why, "its receiver left the view before it acknowledged the message");
            Some((to.map(|to| to.incarnation), token, payload.len()))
        }
        _ => None,
    };
    sender.stage.events.drain(..).filter_map(back).collect()
}

#[test]
fn however_small_a_window_is_a_message_goes_out() {
    for window in [4_096, 1_000, 200] {
        let mut sender = with_window(window);
        sender.send(To::Member(PEER), 1, 100);
        assert_eq!(sender.sent().len(), 1, "through a window of {window} bytes");
    }
}

/// Others may have a larger one, and what is refused comes again and again.
#[test]
fn however_small_its_own_window_is_a_member_takes_what_is_legal() {
    let mut sender = with_window(8_192);
    let mut area = Vec::new();
    Entry { level: Level::Fifo, token: 0, fragment: None, payload: &[7; 50_000] }.put(&mut area);
    let batch = sender.batch_of(THIRD, Some(ME), 1, &area);
    sender.bring(THIRD, &batch);
    let came = |event: &Event| matches!(event, Event::Messages(run) if run.iter().any(|m| m.payload.len() == 50_000));
    assert!(sender.stage.events.iter().any(came));
}

/// Sends three long messages to `THIRD`, short ones between them; the window holds up the last half way. Answers in which batch
/// the first long one ends.
fn sends_three() -> (Sender, u64) {
    let mut sender = with_window(5 * LONG / 2);
    let mut last = Vec::new();
    for token in 1..=3 {
        sender.send(To::Member(THIRD), token, LONG);
        last.push(sender.sent().last().expect("some of it goes out").batch);
        if token < 3 {
            sender.send(To::Member(THIRD), token + 10, 10);
        }
    }
    assert_eq!(returned(&mut sender), []);
    (sender, last[0])
}

fn acknowledge(sender: &mut Sender, batch: u64) {
    let tag = tag_between(Stream::Messages, ME, THIRD);
    sender.stage.say(THIRD, &Control::DirectAck(DirectAck { tag, receiver: THIRD, batch, after: 0 }));
}

#[test]
fn what_its_receiver_has_not_acknowledged_to_the_end_comes_back_whole_and_in_order() {
    let (mut sender, end) = sends_three();
    assert_eq!(end, 2);
    acknowledge(&mut sender, end - 1);
    sender.stage.install(PEER, &view(12, &[PEER, ME]));
    let all = [(1, LONG), (11, 10), (2, LONG), (12, 10), (3, LONG)];
    assert_eq!(returned(&mut sender), all.map(|(token, bytes)| (Some(THIRD), token, bytes)));
}

#[test]
fn a_long_message_that_its_receiver_has_acknowledged_does_not_come_back() {
    let (mut sender, end) = sends_three();
    acknowledge(&mut sender, end);
    sender.stage.install(PEER, &view(12, &[PEER, ME]));
    let others = [(11, 10), (2, LONG), (12, 10), (3, LONG)];
    assert_eq!(returned(&mut sender), others.map(|(token, bytes)| (Some(THIRD), token, bytes)));
}

#[test]
fn what_is_incomplete_of_a_member_that_is_gone_takes_up_no_memory() {
    let mut c = Cluster::new(3, |_, _| {});
    let kept = |c: &Cluster| c.member(0).stats().unstable_bytes;
    let before = kept(&c);
    let mut area = Vec::new();
    let fragment = Some(Fragment { total: 2_000, offset: 0 });
    Entry { level: Level::Fifo, token: 0, fragment, payload: &[7; 1_000] }.put(&mut area);
    c.say_area(Stream::Messages, (2, 0), &area, 0);
    assert_eq!(kept(&c), before + 1_000);
    c.kill(2);
    c.until(|c| c.members_of(0) == 2);
    assert_eq!(kept(&c), before);
}
