//! Lost datagrams do not make a member look silent that is there, and who has heard it lately speaks for it.

use crate::support::Cluster;
use decurion::core::Event;
use decurion::types::{Micros, millis};

/// A group of four, `lan`: 250 ms between heartbeats, 1.5 s of silence. Its leader coordinates and its deputy listens to everybody.
fn four() -> Cluster {
    let mut c = Cluster::new(4, |_, setup| setup.refusal_proves_death = false);
    c.pass(millis(2_000));
    (0..4).for_each(|node| drop(c.events(node)));
    c
}

fn suspects(c: &mut Cluster, node: usize) -> bool {
    c.events(node).iter().any(|event| matches!(event, Event::Suspected { .. }))
}

/// Lets a member stand still for so long, from the moment on when the leader has not got its datagrams for `unheard`.
fn stand_still(c: &mut Cluster, node: usize, unheard: Micros, pause: Micros) {
    let before = c.member(0).stats().datagrams_received;
    c.until(|c| c.member(0).stats().datagrams_received > before + 2);
    c.lose.insert((node, 0), usize::MAX);
    c.pass(unheard);
    c.stand_still(node, true);
    c.lose.clear();
    c.pass(pause);
    c.stand_still(node, false);
}

#[test]
fn a_heartbeat_that_was_lost_is_asked_for() {
    let mut c = four();
    c.lose.insert((2, 0), 1);
    c.until(|c| c.lose[&(2, 0)] == 0);
    // The next one would come 250 ms later, and with it half a second of silence.
    c.pass(millis(100));
    c.stand_still(2, true);
    c.pass(millis(800));
    c.stand_still(2, false);
    assert!(!suspects(&mut c, 0), "it was heard 100 ms before its pause");
}

#[test]
fn who_listens_and_has_heard_a_member_lately_is_waited_for() {
    let mut c = four();
    let view = |c: &Cluster| c.member(0).view().expect("in a view").0.id;
    let before = view(&c);
    stand_still(&mut c, 2, millis(400), millis(1_250));
    assert!(suspects(&mut c, 0), "nobody noticed anything");
    c.pass(millis(5_000));
    assert_eq!(view(&c), before, "the deputy had heard it 1.25 s ago");
}

#[test]
fn a_listener_that_stands_still_is_not_waited_for_for_long() {
    let mut c = four();
    let since = c.now;
    c.stand_still(2, true);
    // The deputy is not silent for long enough to be given up itself when its word is waited for.
    c.pass(millis(700));
    c.stand_still(1, true);
    // Without the deputy the view does not change, but the change begins.
    while !c.events(0).iter().any(|event| matches!(event, Event::Transition { .. })) {
        c.pass(millis(5));
        let took = c.now.since(since);
        assert!(took <= millis(1_900), "its deputy is waited for for too long: {took} us");
    }
    assert!(c.now.since(since) >= millis(1_250), "{:?}", c.now.since(since));
}
