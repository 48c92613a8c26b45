//! Streams from one member to another, both ends of them.

use super::*;
use crate::core::fanout::tests::waiting;
use crate::core::outbox::{Outbox, To};

const NOW: Time = Time(1_000_000);
const HERE: Incarnation = Incarnation(1);
const THERE: Incarnation = Incarnation(2);
const THIRD: Incarnation = Incarnation(3);
const WINDOW: usize = 8 * 1024;
const LARGE: LargeRules = LargeRules { unasked_bytes: 10_000, room_bytes: 100_000 };

fn direct(me: Incarnation) -> Direct {
    Direct::new(Kind::Messages, me, WINDOW, Plants::default()).with_large(LARGE)
}

fn member(who: Incarnation) -> MemberRef {
    MemberRef { name: crate::types::Name::new("m"), incarnation: who, seat: Seat(who.0 as u32) }
}

/// A batch of what waits here for another one.
fn send_from(from: &mut Direct, now: Time, to: Incarnation, outbox: &mut Outbox) -> Option<Bytes> {
    let seats = (Seat(from.me.0 as u32), Seat(to.0 as u32));
    from.send(now, to, seats, outbox.queue(To::Everybody))
}

fn send(from: &mut Direct, bytes: usize) -> Option<Bytes> {
    send_from(from, NOW, THERE, &mut waiting(Level::Fifo, bytes))
}

fn come(to: &mut Direct, from: Incarnation, frame: &Bytes) -> Verdict {
    let header = Header::decode(frame.first_chunk().expect("a header")).expect("a batch");
    to.accept(&member(from), &header, frame.clone())
}

/// How many events the host is given.
fn take(at: &mut Direct, room: usize) -> usize {
    let (mut budget, mut events) = (Budget::new(room, 0), Vec::new());
    budget.outstanding = usize::from(room == 0);
    at.take(ViewId::NONE, &mut budget, &mut events);
    events.len()
}

/// What is acknowledged now: whose batches, up to which.
fn acks(at: &mut Direct) -> Vec<(Incarnation, u64)> {
    at.acknowledgements(|_| Some(0)).into_iter().map(|(to, ack)| (to, ack.batch)).collect()
}

fn acknowledge(at: &mut Direct, now: Time, batch: u64, after: u64, taken: u64) {
    let ack = DirectAck { tag: Kind::Messages.tag(HERE, THERE), receiver: THERE, batch, after };
    at.acknowledged(now, &ack, taken);
}

#[test]
fn what_is_not_next_is_not_taken_and_answered_with_how_far_it_is() {
    let (mut here, mut there) = (direct(HERE), direct(THERE));
    let frames = [1, 2, 3].map(|_| send(&mut here, 100).expect("there is room"));
    assert_eq!(come(&mut there, HERE, &frames[1]), Verdict::Gap);
    assert_eq!((take(&mut there, 9_999), acks(&mut there)), (0, vec![(HERE, 0)]));
    assert_eq!(come(&mut there, HERE, &frames[0]), Verdict::Accepted);
    assert_eq!(come(&mut there, HERE, &frames[0]), Verdict::Repeat);
    assert_eq!((take(&mut there, 9_999), acks(&mut there), acks(&mut there)), (1, vec![(HERE, 1)], vec![]));
    assert!(there.is_at_rest(NOW));
    assert_eq!(come(&mut there, HERE, &frames[0]), Verdict::Repeat, "its acknowledgement was lost");
    assert_eq!((take(&mut there, 9_999), acks(&mut there)), (0, vec![(HERE, 1)]));
    assert_eq!((there.taken(HERE), here.sent(THERE)), (1, 3));
}

#[test]
fn what_the_host_has_no_room_for_is_not_forgotten_nor_acknowledged() {
    let (mut here, mut there) = (direct(HERE), direct(THERE));
    let frame = send(&mut here, 100).expect("there is room");
    come(&mut there, HERE, &frame);
    assert_eq!((take(&mut there, 0), acks(&mut there), there.held_back()), (0, vec![], true));
    assert_eq!(there.bytes(), frame.len() as u64);
    assert_eq!((take(&mut there, 9_999), there.held_back()), (1, false));
    assert_eq!(there.acknowledgements(|_| None), [], "what belongs before it is still to come");
    assert_eq!((acks(&mut there), there.bytes()), (vec![(HERE, 1)], 0));
}

#[test]
fn who_does_not_keep_to_the_window_is_given_no_more_memory() {
    let (mut here, mut there) = (Direct { window: 1 << 20, ..direct(HERE) }, direct(THERE));
    assert_eq!((there.window(), here.window()), (WINDOW, 1 << 20));
    let half = WINDOW - HEADER_BYTES - 8;
    let frames = [half, half, 8].map(|bytes| send(&mut here, bytes).expect("there is room"));
    let came = [0, 1, 2].map(|at| come(&mut there, HERE, &frames[at]));
    assert_eq!(came, [Verdict::Accepted, Verdict::Accepted, Verdict::Dropped], "twice the window is borne");
    take(&mut there, 99_999);
    assert_eq!(come(&mut there, HERE, &frames[2]), Verdict::Accepted);
}

#[test]
fn what_is_not_acknowledged_is_sent_again_after_ever_longer_pauses() {
    let mut here = direct(HERE);
    assert!(here.is_settled() && here.deadline() == Time::NEVER);
    let frames = [1, 2].map(|_| send(&mut here, 100).expect("there is room"));
    let mut at = NOW;
    for pause in [300, 600, 1_200, 2_400, 2_400] {
        assert_eq!((here.deadline(), here.retries(here.deadline() - 1)), (at + millis(pause), vec![]));
        at = here.deadline();
        assert_eq!(here.retries(at), frames.clone().map(|frame| (THERE, frame)));
    }
    here.retry_now(at + 5);
    assert_eq!(here.deadline(), at + 5, "the way is another one");
    assert_eq!((here.retries(at + 5).len(), here.deadline()), (2, at + 5 + millis(600)));
    acknowledge(&mut here, at + 9, 1, 0, 0);
    assert_eq!((here.deadline(), here.acked(THERE), here.is_settled()), (at + 9 + millis(300), 1, false));
    acknowledge(&mut here, at + 10, 2, 0, 0);
    assert_eq!((here.deadline(), here.acked(THERE), here.is_settled()), (Time::NEVER, 2, true));
}

#[test]
fn who_says_that_it_lacks_something_is_sent_it_at_once_and_only_once() {
    let mut here = direct(HERE);
    (0..3).for_each(|_| assert!(send(&mut here, 100).is_some()));
    acknowledge(&mut here, NOW + 10, 0, 0, 0);
    assert_eq!((here.deadline(), here.retries(NOW + 10).len()), (NOW + 10, 3));
    acknowledge(&mut here, NOW + 15, 0, 0, 0);
    assert_eq!(here.retries(NOW + 15), []);
    acknowledge(&mut here, NOW + 20, 1, 0, 0);
    acknowledge(&mut here, NOW + 21, 1, 0, 0);
    assert_eq!(here.retries(NOW + 21), [], "what was sent twice is acknowledged twice");
    let last = send(&mut here, 100).expect("there is room");
    acknowledge(&mut here, NOW + 30, 3, 0, 0);
    assert_eq!(here.retries(NOW + 30), [], "it took something: what follows may be on its way");
    acknowledge(&mut here, NOW + 31, 3, 0, 0);
    assert_eq!(here.retries(NOW + 31), [(THERE, last)], "this one was sent once");
}

/// Each batch behind one that was lost is answered with how far the receiver is.
#[test]
fn who_goes_on_sending_sends_again_what_was_lost_as_early_as_who_does_not() {
    let mut here = direct(HERE);
    assert!(send(&mut here, 100).is_some());
    acknowledge(&mut here, NOW + 10, 0, 0, 0);
    assert_eq!(here.retries(NOW + 10).len(), 1);
    let due = here.deadline();
    let mut at = NOW + 10;
    while at < due {
        assert_eq!((here.retries(at), here.deadline()), (vec![], due));
        assert!(send(&mut here, 100).is_some());
        at = at + millis(50);
        acknowledge(&mut here, at, 0, 0, 0);
    }
    assert!(here.retries(due).len() > 10);
}

#[test]
fn an_acknowledgement_counts_once_we_have_taken_what_was_said_before_it() {
    let mut here = direct(HERE);
    send(&mut here, 100);
    acknowledge(&mut here, NOW, 1, 4, 3);
    here.recall_early(NOW, |_| 3);
    assert!(!here.is_settled());
    here.recall_early(NOW, |_| 4);
    assert!(here.is_settled());
}

#[test]
fn who_wants_room_waits_until_the_message_before_is_whole() {
    let (mut here, mut third, mut there) = (direct(HERE), direct(THIRD), direct(THERE));
    let (mut long, mut other) = (waiting(Level::Fifo, 60_000), waiting(Level::Fifo, 50_000));
    let wish = send_from(&mut here, NOW, THERE, &mut long).expect("it asks");
    assert_eq!(send_from(&mut here, NOW, THERE, &mut long), None, "once");
    come(&mut there, HERE, &wish);
    assert_eq!((take(&mut there, 1 << 20), acks(&mut there)), (0, vec![(HERE, 1)]));
    let wish = send_from(&mut third, NOW, THERE, &mut other).expect("it asks");
    come(&mut there, THIRD, &wish);
    let mut parts = 0;
    acknowledge(&mut here, NOW, 1, 0, 0);
    while let Some(part) = send_from(&mut here, NOW, THERE, &mut long) {
        assert_eq!((take(&mut there, 1 << 20), acks(&mut there)), (0, vec![]), "there is no room for both");
        assert!(!there.held_back(), "nor does it wait for the host");
        assert_eq!(come(&mut there, HERE, &part), Verdict::Accepted);
        parts += 1;
        let whole = !here.has_unfinished(THERE);
        let (given, next) = (take(&mut there, 1 << 20), whole.then_some((THIRD, 1)));
        let answered: Vec<_> = [(HERE, parts + 1)].into_iter().chain(next).collect();
        assert_eq!((given, acks(&mut there)), (usize::from(whole), answered));
        acknowledge(&mut here, NOW, parts + 1, 0, 0);
    }
    assert!(parts > 1 && !here.has_unfinished(THERE));
}

#[test]
fn who_is_gone_holds_no_room_and_gives_back_what_it_has_not_acknowledged() {
    let (mut here, mut third, mut there) = (direct(HERE), direct(THIRD), direct(THERE));
    for (from, who) in [(&mut here, HERE), (&mut third, THIRD)] {
        let wish = send_from(from, NOW, THERE, &mut waiting(Level::Fifo, 60_000)).expect("it asks");
        come(&mut there, who, &wish);
    }
    take(&mut there, 1 << 20);
    assert_eq!(acks(&mut there), [(HERE, 1)]);
    there.keep_only(|who| who != HERE);
    take(&mut there, 1 << 20);
    assert_eq!(acks(&mut there), [(THIRD, 1)]);
    let mut here = direct(HERE);
    send(&mut here, 100);
    assert_eq!((here.bytes() > 100, here.keep_only(|who| who == THERE)), (true, vec![]));
    let back = here.keep_only(|who| who != THERE);
    assert_eq!(back.iter().map(|(to, _, payload)| (*to, payload.len())).collect::<Vec<_>>(), [(THERE, 100)]);
    assert!(here.is_settled() && here.bytes() == 0);
}

#[test]
fn who_is_gone_is_not_waited_for() {
    let (mut here, mut there) = (direct(HERE), direct(THERE));
    let frame = send(&mut here, 100).expect("there is room");
    come(&mut there, HERE, &frame);
    assert!(there.has_arrivals() && !there.is_at_rest(NOW));
    there.keep_only(|who| who != HERE);
    assert!(!there.has_arrivals() && there.is_at_rest(NOW));
    assert_eq!(there.bytes(), 0);
}
