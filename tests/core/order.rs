//! Members that say a wrong order, or mix levels: a fault that names them, and nothing is delivered out of its place.

use crate::support::{Cluster, Stream, pairs};
use decurion::core::Event;
use decurion::types::{Code, SessionId, millis};
use decurion::wire::batch::{Entry, Level, Notice, Place};

fn places(places: &[(u32, u64)]) -> Vec<u8> {
    let mut area = Vec::new();
    Notice::Order(places.iter().map(|(stream, upto)| Place { stream: *stream, upto: *upto }).collect()).put(&mut area);
    area
}

fn messages(levels: &[Level]) -> Vec<u8> {
    let mut area = Vec::new();
    levels.iter().for_each(|level| Entry { level: *level, token: 0, fragment: None, payload: b"said" }.put(&mut area));
    area
}

/// What a member reports of another one that says this in its stream to everybody; both are neighbours.
fn fault(from: usize, to: usize, area: &[u8], count: u16) -> Option<(String, String)> {
    let mut cluster = Cluster::new(3, |_, _| {});
    cluster.events(to);
    cluster.say_to_everybody(from, (from, to), area, count);
    cluster.faults(to).into_iter().next()
}

#[test]
fn who_does_not_coordinate_says_no_order() {
    let (who, what) = fault(1, 0, &places(&[(0, 1)]), 1).expect("a fault");
    assert_eq!((who.as_str(), what.as_str()), ("m1", "an order by one that does not coordinate"));
}

#[test]
fn places_that_make_no_sense_are_faults_of_the_coordinator() {
    for (wrong, text) in [
        (places(&[(3, 1)]), "a place in the order for nobody's stream"),
        (places(&[(u32::MAX, 1)]), "a place in the order for nobody's stream"),
        (places(&[(1, 0)]), "places in the order that do not follow"),
        (places(&[(1, 5), (2, 1), (1, 5)]), "places in the order that do not follow"),
    ] {
        let (who, what) = fault(0, 1, &wrong, 1).expect("a fault");
        assert_eq!((who.as_str(), what.as_str()), ("m0", text));
    }
    assert_eq!(fault(0, 1, &places(&[(1, 5), (2, 1), (1, u64::MAX)]), 1), None, "these follow");
}

#[test]
fn a_batch_of_two_levels_is_a_fault() {
    let (who, what) = fault(1, 0, &messages(&[Level::Agreed, Level::Fifo]), 2).expect("a fault");
    assert_eq!((who.as_str(), what.as_str()), ("m1", "messages of different levels in one batch"));
}

#[test]
fn a_level_of_all_in_a_stream_to_one_is_a_fault() {
    let mut cluster = Cluster::new(3, |_, _| {});
    cluster.level = Level::Agreed;
    cluster.events(0);
    cluster.say_raw(Stream::Frames, 1, 0, b"anything");
    let (who, what) = cluster.faults(0).into_iter().next().expect("a fault");
    assert_eq!((who.as_str(), what.as_str()), ("m1", "a level that a stream to one member does not have"));
}

#[test]
fn what_has_no_place_yet_is_not_delivered_and_holds_up_nothing_else() {
    let mut cluster = Cluster::new(3, |_, _| {});
    // As if the leader, which coordinates too, passed on what it never had.
    cluster.say_to_everybody(1, (0, 2), &messages(&[Level::Agreed]), 1);
    cluster.pass(millis(1_000));
    let events = cluster.events(2);
    assert!(!events.iter().any(|event| matches!(event, Event::Messages(_) | Event::Fault { .. })), "{events:?}");
    let answer = cluster.create(2, SessionId(1), &pairs(&[("a", b"b")]));
    assert_eq!(answer.code, Code::Ok, "other streams go on");
}
