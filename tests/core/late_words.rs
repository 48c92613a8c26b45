//! What a member says of others and of its own batches in time, and what it does not say any more.

use crate::air::Air;
use crate::fellows::Fellows;
use crate::stage::{FRESH, ME, PEER, THIRD};
use decurion::types::{Incarnation, Micros, millis};
use decurion::wire::batch::Level;
use decurion::wire::control::Control;
use decurion::wire::datagram::Datagram;

/// For how long a member that says only this for two seconds, and only by multicast, was not heard, as it is told.
fn missed(says: impl Fn(&mut Air, u64)) -> Micros {
    let mut air = Air::new(&[PEER, ME, THIRD], |_| {});
    (1..=10).for_each(|number| {
        says(&mut air, number);
        air.still(millis(200));
    });
    let mut told = air.stage.datagrams.iter().filter_map(|(to, datagram)| match datagram {
        Datagram::Heartbeat(beat) if *to == PEER => Some(millis(u64::from(beat.heard_ms))),
        _ => None,
    });
    told.next_back().expect("it is sent heartbeats")
}

/// Otherwise it would take itself for cut off, where only its heartbeats are lost.
#[test]
fn who_is_heard_by_multicast_alone_is_told_that_it_is_heard() {
    let by_batches = missed(|air, number| air.hear(PEER, number, b"here"));
    let by_beacons = missed(|air, _| air.beacon(PEER, 0));
    assert!(by_batches <= millis(200) && by_beacons <= millis(200), "{by_batches} us, {by_beacons} us");
}

/// What one of the others was told that this member has seen of another one.
fn observed(fellows: &mut Fellows, of: Incarnation) -> usize {
    let words = fellows.stage.heard(PEER).into_iter();
    words.filter(|word| matches!(word, Control::Observe(seen) if seen.subject == of)).count()
}

#[test]
fn who_comes_back_accuses_nobody_of_what_it_had_asked_before_it_was_removed() {
    let mut fellows = Fellows::new(&[PEER, THIRD, ME, FRESH]);
    fellows.stage.say(PEER, &Control::Ask(FRESH));
    fellows.comes_back(13, &[PEER, THIRD, ME, FRESH]);
    observed(&mut fellows, FRESH);
    fellows.pass(millis(400_000));
    assert_eq!(observed(&mut fellows, FRESH), 0, "its dial ended with the life in which it began");
}

/// A batch that nobody heard is not missed by anybody until its number is told.
#[test]
fn the_number_of_the_last_batch_is_told_ten_milliseconds_after_it_however_many_went_just_before() {
    let mut air = Air::new(&[PEER, ME, THIRD], |_| {});
    while air.beacons().is_empty() {
        air.still(millis(1));
    }
    for _ in 0..3 {
        air.send(Level::Fifo, b"another one");
        air.still(millis(4));
    }
    let since = air.stage.now;
    air.send(Level::Fifo, b"the last");
    air.still(millis(15));
    assert_eq!(air.beacons(), [(since + millis(10), 4)]);
}
