//! How a member answers who has lost something of what came by multicast: once, at its rate, and from what it keeps.

use decurion::types::{Incarnation, Seat, millis};
use decurion::wire::batch::{HEADER_BYTES, Level, PREFIX_BYTES};
use decurion::wire::control::{Control, Progress};

use crate::air::Air;
use crate::stage::{FIFTH, FRESH, ME, PEER, THIRD, view};

/// Of a batch whose message has so many bytes.
const FRAME: usize = 1_000;
const PAYLOAD: [u8; FRAME - HEADER_BYTES - PREFIX_BYTES] = [7; FRAME - HEADER_BYTES - PREFIX_BYTES];
/// So many of them a millisecond, and at once when nothing was asked for lately.
const RATE: u64 = 1_000_000;
const AT_ONCE: usize = 50;

fn sender(batches: usize) -> Air {
    sender_at(RATE, batches)
}

/// It leads the others, answers at most so many bytes a second, and has sent so many batches that nobody has taken yet.
fn sender_at(rate: u64, batches: usize) -> Air {
    let mut air = Air::new(&[ME, PEER, THIRD], |setup| {
        setup.multicast.as_mut().expect("it is used").repair_bytes_per_s = rate;
        (setup.window_bytes, setup.window_reserved_bytes) = (4 << 20, 1 << 19);
    });
    (0..batches).for_each(|_| air.send(Level::Fifo, &PAYLOAD));
    assert_eq!(air.stage.member.stats().batches_sent as usize, batches);
    assert_eq!(air.carried(), [], "they go by multicast");
    air
}

/// The numbers of the batches that went over connections since the last look.
fn numbers(air: &mut Air) -> Vec<u64> {
    air.carried().into_iter().map(|(_, number)| number).collect()
}

fn repaired(air: &Air) -> u64 {
    air.stage.member.stats().repair_bytes_sent
}

/// One of the others compares what it holds: its connection is new to it.
fn compare(air: &mut Air, who: Incarnation) {
    let tag = air.tag();
    air.say(who, &Control::Sync(Progress { tag, entries: Vec::new() }));
}

#[test]
fn who_asks_is_answered_once() {
    let mut air = sender(5);
    air.ask(THIRD, ME, &[(2, 3), (5, 5)]);
    assert_eq!(numbers(&mut air), [2, 3, 5]);
    assert_eq!(repaired(&air), 3 * FRAME as u64);
    air.pass(millis(1_000));
    assert_eq!(numbers(&mut air), []);
    air.ask(THIRD, ME, &[(3, 3)]);
    air.ask(PEER, ME, &[(3, 3)]);
    assert_eq!(numbers(&mut air), [3, 3], "it was lost once more, and by another one");
}

#[test]
fn answers_take_no_more_than_their_rate_and_what_gathers_in_fifty_milliseconds() {
    let mut air = sender(150);
    air.ask(THIRD, ME, &[(1, 150)]);
    let mut came = numbers(&mut air);
    assert_eq!(came.len(), AT_ONCE);
    air.still(millis(10));
    came.extend(numbers(&mut air));
    assert_eq!(came.len(), AT_ONCE + 10);
    // What is asked for twice, and not answered yet, is owed once.
    air.ask(THIRD, ME, &[(61, 150)]);
    air.pass(millis(500));
    came.extend(numbers(&mut air));
    assert_eq!(came, (1..=150).collect::<Vec<_>>());

    air.ask(THIRD, ME, &[(1, 150)]);
    assert_eq!(numbers(&mut air).len(), AT_ONCE, "no more, however long there was silence");
    air.still(millis(100));
    assert_eq!(numbers(&mut air).len(), 100);
    air.still(millis(20));
    air.ask(THIRD, ME, &[(1, 150)]);
    assert_eq!(numbers(&mut air).len(), 20);
}

#[test]
fn a_batch_that_takes_longer_than_a_look_is_paid_for_before_the_next_one() {
    let mut air = sender_at(RATE / 10, 150);
    air.ask(THIRD, ME, &[(1, 150)]);
    assert_eq!(numbers(&mut air).len(), AT_ONCE / 10);
    air.still(millis(1_000));
    let came = numbers(&mut air).len();
    assert!((99..=100).contains(&came), "a hundred in a second: {came}");
}

#[test]
fn who_compares_anew_is_owed_nothing_until_it_asks() {
    let mut air = sender(100);
    air.ask(THIRD, ME, &[(1, 100)]);
    air.ask(PEER, ME, &[(1, 10)]);
    assert_eq!(numbers(&mut air).len(), AT_ONCE);
    compare(&mut air, THIRD);
    air.still(millis(100));
    assert_eq!(numbers(&mut air), (1..=10).collect::<Vec<_>>(), "the other one is still owed that");
    air.ask(THIRD, ME, &[(91, 100)]);
    air.still(millis(100));
    assert_eq!(numbers(&mut air), (91..=100).collect::<Vec<_>>());
}

#[test]
fn what_it_lacks_itself_it_sends_on_when_that_comes() {
    let mut air = Air::new(&[ME, PEER, THIRD, FRESH, FIFTH], |_| {});
    let third = |numbers: &[u64]| numbers.iter().map(|number| (Seat(3), *number)).collect::<Vec<_>>();
    air.hear(THIRD, 4, &PAYLOAD);
    for who in [PEER, FRESH, FIFTH, PEER] {
        air.ask(who, THIRD, &[(1, 5)]);
    }
    assert_eq!(air.carried(), third(&[4; 4]), "it is held, if before its turn");
    air.hear(THIRD, 3, &PAYLOAD);
    assert_eq!(air.carried(), third(&[3; 3]), "once for each");
    air.bring(THIRD, THIRD, 1, &PAYLOAD);
    assert_eq!(air.carried(), third(&[1; 3]));
    assert_eq!(repaired(&air), 10 * FRAME as u64);
    compare(&mut air, FRESH);
    air.hear(THIRD, 2, &PAYLOAD);
    assert_eq!(air.carried(), third(&[2; 2]), "who compares anew asks again for what it lacks");
    compare(&mut air, PEER);
    air.ask(FRESH, THIRD, &[(5, 5)]);
    air.hear(THIRD, 5, &PAYLOAD);
    assert_eq!(air.carried(), third(&[5; 2]));
    assert_eq!(repaired(&air), 14 * FRAME as u64);
}

#[test]
fn nobody_is_answered_for_what_does_not_come_from_here() {
    let mut air = Air::new(&[PEER, ME, THIRD], |_| {});
    air.hear(PEER, 1, &PAYLOAD);
    air.hear(THIRD, 1, &PAYLOAD);
    air.ask(THIRD, PEER, &[(1, 2)]);
    air.ask(PEER, THIRD, &[(1, 2)]);
    air.hear(THIRD, 2, &PAYLOAD);
    assert_eq!(air.carried(), []);
}

#[test]
fn who_is_not_ready_and_lacks_what_all_have_forgotten_is_sent_away() {
    for ready in [true, false] {
        let mut first = view(11, &[ME, PEER, THIRD]);
        first.members[2].ready = ready;
        let mut air = Air::within(&first, |_| {});
        (0..3).for_each(|_| air.send(Level::Fifo, &PAYLOAD));
        let others = if ready { vec![PEER, THIRD] } else { vec![PEER] };
        others.iter().for_each(|who| air.taken(*who, ME, 2));
        air.pass(millis(50));
        assert_eq!(air.stage.member.stats().unstable_bytes, FRAME as u64);
        let expelled = |air: &mut Air, who| air.stage.heard(who).iter().any(|c| matches!(c, Control::Expelled(_)));
        air.ask(THIRD, ME, &[(3, 3)]);
        assert_eq!((numbers(&mut air), expelled(&mut air, THIRD)), (vec![3], false));
        air.ask(THIRD, ME, &[(2, 3)]);
        assert_eq!((numbers(&mut air), expelled(&mut air, THIRD)), (vec![3], !ready));
    }
}

#[test]
fn who_wants_a_stream_over_its_connection_has_it_from_what_it_holds_on() {
    let mut air = sender(3);
    air.carry(THIRD, &[(ME, 1)]);
    assert_eq!(numbers(&mut air), [2, 3]);
    air.send(Level::Fifo, &PAYLOAD);
    air.carry(THIRD, &[(ME, 1)]);
    assert_eq!(numbers(&mut air), [4], "the rest is under way");
    air.hear(PEER, 1, &PAYLOAD);
    assert_eq!(numbers(&mut air), [], "it wants one stream");
    air.carry(THIRD, &[(PEER, 0)]);
    assert_eq!(air.carried(), [(Seat(2), 1)]);
    air.send(Level::Fifo, &PAYLOAD);
    assert_eq!(numbers(&mut air), [], "it hears that one again");
    // What comes before its turn is passed on in its turn.
    air.hear(PEER, 3, &PAYLOAD);
    air.hear(PEER, 4, &PAYLOAD);
    assert_eq!(air.carried(), []);
    air.hear(PEER, 2, &PAYLOAD);
    assert_eq!(numbers(&mut air), [2, 3, 4]);
    air.carry(THIRD, &[]);
    air.hear(PEER, 5, &PAYLOAD);
    assert_eq!(numbers(&mut air), []);
    assert_eq!(air.stage.member.stats().batches_relayed, 3);
}
