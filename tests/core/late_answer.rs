//! Whoever does not answer once is not taken for gone for ever by those who do not watch it.

use crate::support::{Cluster, incarnation};
use decurion::core::ReadyPolicy;
use decurion::types::millis;
use decurion::wire::control::Control;

/// In groups of two: the coordinator, a leader, and a member of each. What the last one says to whoever coordinates must get there.
#[test]
fn who_does_not_answer_once_is_believed_again() {
    let mut c = Cluster::new(4, |node, setup| {
        (setup.group_size, setup.refusal_proves_death) = (2, false);
        setup.ready = if node == 3 { ReadyPolicy::Host } else { ReadyPolicy::OnAdmission };
    });
    c.pass(millis(2_000));
    let (view, _) = c.member(3).view().expect("in a view");
    let leader = view.members[view.leader_of(view.index_of(incarnation(3)).expect("in it"))].incarnation;
    let leader = (0..4).find(|node| incarnation(*node) == leader).expect("one of them");
    assert_ne!(leader, 0, "it does not watch the coordinator");
    c.stand_still(0, true);
    c.say_control(leader, 3, &Control::Ask(incarnation(0)));
    c.pass(millis(1));
    c.stand_still(0, false);
    c.pass(millis(10_000));
    assert_eq!(c.members_of(3), 4, "nobody was removed for it");
    c.host_ready(3);
    let ready = |c: &Cluster, node| {
        let (view, _) = c.member(node).view().expect("in a view");
        view.members[view.index_of(incarnation(3)).expect("in it")].ready
    };
    c.until(|c| (0..4).all(|node| ready(c, node)));
}
