//! A member whose host takes less than others send goes when its time is over, and does not come back before its host has caught up.

use crate::support::Cluster;
use decurion::core::Event;
use decurion::types::{Code, Micros, millis};
use decurion::wire::batch::Level;

/// For so long a slow member is borne.
const BORNE: Micros = millis(2_000);
const QUEUE: usize = 512 * 1024;
const SLOW: usize = 2;

fn cluster() -> Cluster {
    let mut c = Cluster::new(3, |_, setup| {
        (setup.window_bytes, setup.window_reserved_bytes) = (256 * 1024, 64 * 1024);
        (setup.receive_queue_bytes, setup.send_queue_bytes, setup.slow) = (QUEUE, 1 << 20, BORNE);
    });
    c.pass(millis(1_000));
    c.idle_host = Some(SLOW);
    c
}

/// One sends as much as it may, the slow one takes a little; until nobody waits for it any more.
fn until_removed(c: &mut Cluster) -> Micros {
    let since = c.now;
    while c.members_of(0) == 3 {
        assert!(c.now.since(since) < BORNE * 2, "it is still there");
        while c.send(0, Level::Fifo, &[7; 8 * 1024]) == Code::Ok {}
        c.take(SLOW, 4 * 1024);
        c.pass(millis(10));
    }
    c.now.since(since)
}

#[test]
fn it_goes_when_its_time_is_over() {
    let mut c = cluster();
    let took = until_removed(&mut c);
    assert!((BORNE..BORNE / 4 * 5).contains(&took), "{took} us");
}

#[test]
fn it_comes_back_when_its_host_has_caught_up_and_says_why_not_before() {
    let mut c = cluster();
    until_removed(&mut c);
    for _ in 0..500 {
        c.take(SLOW, 0);
        c.pass(millis(10));
    }
    assert_eq!(c.members_of(0), 2, "it came back with a host that is behind");
    let waiting = c.member(SLOW).stats().delivery_queue_bytes as usize;
    assert!(waiting > QUEUE / 2, "{waiting}");
    let events = c.events(SLOW);
    let notes =
        events.iter().filter(|event| matches!(event, Event::Note { text, .. } if text.contains("joins no view")));
    assert_eq!(notes.count(), 1, "it must say so once");
    c.consume(SLOW);
    c.until(|c| c.members_of(0) == 3);
}
