//! What somebody has accepted may be decided: whoever coordinates next proposes it again, unchanged (R18).

use crate::support::{Cluster, incarnation};
use decurion::core::Event;
use decurion::types::{Ballot, ViewId, millis};
use decurion::wire::control::{Control, Prepare, Propose};
use decurion::wire::{Proposal, Sparse};

#[test]
fn what_one_has_accepted_of_a_coordinator_that_died_is_what_the_next_one_decides() {
    let mut c = Cluster::new(3, |_, setup| setup.refusal_proves_death = true);
    c.pass(millis(2_000));
    let (view, _) = c.member(1).view().expect("in a view");
    let (number, previous, members) = (view.id.number + 1, view.id, view.members.clone());
    let ballot = Ballot { round: 100, coordinator: incarnation(0) };
    let cut = Sparse(vec![0; members.len()]);
    let id = ViewId { number, ballot };
    let proposal = Proposal { id, previous, members: members.to_vec(), fenced: false, next_seat: 9, cut };
    // The next coordinator has accepted it, and nobody else has heard of it.
    c.say_control(0, 1, &Control::Prepare(Prepare { number, ballot, previous, joins: false }));
    c.say_control(0, 1, &Control::Propose(Propose { ballot, proposal }));
    c.kill(0);
    (1..3).for_each(|node| drop(c.events(node)));
    c.until(|c| (1..3).all(|node| c.members_of(node) == 2));
    for node in 1..3 {
        let views = c.events(node).into_iter().filter_map(|event| match event {
            Event::View(change) => Some(change.view.id),
            _ => None,
        });
        assert_eq!(views.collect::<Vec<_>>().first(), Some(&id), "at {node}");
    }
}
