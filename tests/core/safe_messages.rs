//! What is safe is delivered as soon as all hold it and its place, in whatever order they came to hold them (D4).

use crate::air::multicast;
use crate::support::Cluster;
use decurion::types::{Code, millis};
use decurion::wire::batch::Level;

/// Who leads the one group and coordinates, who else holds what is sent, and who sends it.
const LEADER: usize = 0;
const MEMBER: usize = 1;
const SENDER: usize = 2;

/// Whether all hosts get the only safe message that is ever sent if this member does not hear it and has to ask for it.
fn is_delivered(deaf: usize) -> bool {
    let mut cluster = Cluster::new(3, |_, setup| setup.multicast = Some(multicast()));
    // Until everybody hears everybody, and nothing comes over connections any more.
    cluster.pass(millis(2_000));
    (0..3).for_each(|node| drop(cluster.messages(node)));
    cluster.deaf.insert((SENDER, deaf));
    assert_eq!(cluster.send(SENDER, Level::Safe, b"safe"), Code::Ok);
    cluster.deaf.clear();
    cluster.pass(millis(500));
    (0..3).all(|node| cluster.messages(node) == [("m2".to_owned(), b"safe".to_vec())])
}

#[test]
fn what_is_safe_is_delivered_where_its_place_comes_before_it() {
    assert!(is_delivered(MEMBER));
}

#[test]
fn what_is_safe_is_delivered_where_others_tell_the_leader_that_they_hold_it_before_it_does_itself() {
    assert!(is_delivered(LEADER));
}
