//! Proposed views: the rules of a whole one, and one told as what it changes.

use std::net::SocketAddr;

use decurion::types::{Ballot, Incarnation, MemberInfo, Name, Seat, ViewId};
use decurion::wire::{Proposal, Reader, Sparse, Successor, Wire};
use proptest::prelude::*;

use super::control::proposal;

fn sound_proposal() -> Proposal {
    let member = |seat| MemberInfo {
        name: Name::new("a"),
        incarnation: Incarnation(u128::from(seat)),
        address: SocketAddr::from(([127, 0, 0, 1], 7_000)),
        seat: Seat(seat),
        admitted: 1,
        group: 0,
        grouped: 1,
        ready: true,
        witness: false,
        tags: Default::default(),
    };
    let id = |number| ViewId { number, ballot: Ballot { round: 1, coordinator: Incarnation(1) } };
    Proposal {
        id: id(2),
        previous: id(1),
        members: vec![member(1), member(2)],
        fenced: true,
        next_seat: 3,
        cut: Sparse(vec![0, 4]),
    }
}

/// Every rule of a proposal by itself: positions in it are used without further checks.
#[test]
fn proposal_rules() {
    let passes = |proposal: &Proposal| {
        let mut bytes = Vec::new();
        proposal.put(&mut bytes);
        Proposal::take(&mut Reader::new(&bytes)).is_ok()
    };
    let sound = sound_proposal();
    assert!(passes(&sound));
    let spoil = |change: fn(&mut Proposal)| {
        let mut proposal = sound.clone();
        change(&mut proposal);
        proposal
    };
    assert!(!passes(&spoil(|p| p.members.clear())), "a view without members");
    assert!(!passes(&spoil(|p| p.members.swap(0, 1))), "members out of order");
    assert!(!passes(&spoil(|p| p.members[1].seat = Seat(1))), "a seat given twice");
    assert!(!passes(&spoil(|p| p.members[0].seat = Seat::EVERYBODY)), "the seat of everybody");
    assert!(!passes(&spoil(|p| p.next_seat = 2)), "a seat that was not given yet");
    assert!(!passes(&spoil(|p| p.id.number = 1)), "a view that follows itself");
}

/// Changes are used with a view that whoever reads them has: they are told for no other one, and make the same of it.
fn follows(previous: &Proposal, next: &Proposal) -> Successor {
    let successor = next.successor_of(previous).expect("it follows");
    assert_eq!(successor.applied_to(previous).as_ref(), Ok(next));
    successor
}

proptest! {
    #[test]
    fn changes_make_the_whole(previous in proposal(), mut next in proposal()) {
        next.previous = previous.id;
        next.id.number = previous.id.number.saturating_add(1);
        prop_assume!(next.id.number > previous.id.number);
        follows(&previous, &next);
        // Most members of the one are in the other as well.
        let mut kept = Proposal { members: previous.members.clone(), next_seat: previous.next_seat + 1, ..next.clone() };
        kept.members.push(MemberInfo { seat: Seat(previous.next_seat), ..next.members[0].clone() });
        kept.members[0].ready ^= true;
        if kept.members.len() > 2 {
            kept.members.remove(1);
        }
        follows(&previous, &kept);
    }
}

#[test]
fn what_stays_is_not_told() {
    let previous = sound_proposal();
    let id = ViewId { number: 3, ..previous.id };
    let mut next = Proposal { id, previous: previous.id, cut: Sparse(vec![0; 2]), ..previous.clone() };
    next.members.remove(0);
    let successor = follows(&previous, &next);
    assert_eq!((successor.gone.as_slice(), successor.changed.len()), (&[Seat(1)][..], 0));
    next.members[0].group = 7;
    let successor = follows(&previous, &next);
    assert_eq!((successor.gone.len(), successor.changed.as_slice()), (1, &next.members[..]));
}

#[test]
fn changes_of_another_view_make_nothing() {
    let previous = sound_proposal();
    let next = Proposal { id: ViewId { number: 3, ..previous.id }, previous: previous.id, ..previous.clone() };
    let other = Proposal { id: ViewId { number: 9, ..previous.id }, ..previous.clone() };
    assert!(next.successor_of(&other).is_none());
    let successor = follows(&previous, &next);
    assert!(successor.applied_to(&other).is_err());
    let spoil = |change: fn(&mut Successor)| {
        let mut successor = successor.clone();
        change(&mut successor);
        successor.applied_to(&previous)
    };
    assert!(spoil(|s| s.gone = vec![Seat(1), Seat(2)]).is_err(), "nobody is left");
    assert!(spoil(|s| s.next_seat = 2).is_err(), "a seat that was not given yet");
    assert!(spoil(|s| s.gone = vec![Seat(9)]).is_ok(), "nobody had that seat");
}

/// What a list costs to read is bounded by what a view can have, and its places are written once each, in order.
#[test]
fn sparse_lists() {
    let take = |bytes: &[u8]| <Sparse<u64> as Wire>::take(&mut Reader::new(bytes));
    let written = |length: u32, filled: &[(u32, u64)]| {
        let mut bytes = Vec::new();
        length.put(&mut bytes);
        filled.to_vec().put(&mut bytes);
        bytes
    };
    let list = Sparse(vec![0, 7, 0, 9]);
    let mut bytes = Vec::new();
    list.put(&mut bytes);
    assert_eq!((bytes.as_slice(), take(&bytes)), (&written(4, &[(1, 7), (3, 9)])[..], Ok(list)));
    assert_eq!(take(&written(10_000, &[])).map(|list| list.len()), Ok(10_000));
    assert!(take(&written(10_001, &[])).is_err(), "longer than a view");
    assert!(take(&written(4, &[(4, 7)])).is_err(), "a place after the end");
    assert!(take(&written(4, &[(1, 7), (1, 8)])).is_err(), "a place twice");
    assert!(take(&written(4, &[(1, 0)])).is_err(), "an empty place");
}
