//! A sender whose window is small goes on as soon as everybody has taken what is in it: no pause of those who report stands in its way.

use crate::support::Cluster;
use decurion::types::{Code, Micros, millis};
use decurion::wire::batch::Level;

const MEMBERS: usize = 5;
const MESSAGES: u64 = 200;
const BYTES: usize = 8 * 1024;
const WINDOW: usize = 32 * 1024;

/// How long it takes until everybody else has all that one member sends, where bytes need no time at all.
fn time_for(sender: usize, group_size: usize) -> Micros {
    let mut cluster = Cluster::new(MEMBERS, |_, setup| {
        (setup.window_bytes, setup.window_reserved_bytes) = (MEMBERS * WINDOW, WINDOW);
        (setup.send_queue_bytes, setup.group_size) = (4 << 20, group_size);
    });
    cluster.pass(millis(1_000));
    let begun = cluster.now;
    for _ in 0..MESSAGES {
        assert_eq!(cluster.send(sender, Level::Fifo, &[7; BYTES]), Code::Ok);
    }
    let has_all = |c: &Cluster, node: usize| c.member(node).stats().messages_delivered == MESSAGES;
    cluster.until(|c| (0..MEMBERS).all(|node| node == sender || has_all(c, node)));
    cluster.now.since(begun)
}

#[test]
fn a_full_window_is_given_back_at_once() {
    // Fifty windows: a pause of five milliseconds in each would be a quarter of a second.
    for (sender, group_size) in [(0, MEMBERS), (1, MEMBERS), (0, 2), (1, 2), (4, 2)] {
        let time = time_for(sender, group_size);
        assert!(time < millis(20), "member {sender} in groups of {group_size}: {time} us");
    }
}
