//! A view of a thousand members: what passes between two heartbeats, and a change of the view, for who coordinates it and for others.

use decurion::sim::scale::Alone;

use super::{Piece, Work};

const MEMBERS: usize = 1_000;
/// Not a leader, nor a deputy.
const ORDINARY: usize = 500;
const HEARTBEAT_US: u64 = 250_000;

pub const PIECES: &[Piece] = &[
    Piece::new("tick_1000_member", "heartbeat", 1, 4, |_| tick(ORDINARY)),
    Piece::new("tick_1000_coordinator", "heartbeat", 1, 1, |_| tick(0)),
    Piece { fresh: true, ..Piece::new("view_1000_member", "change", 1, 1, |_| follow()) },
    Piece { fresh: true, ..Piece::new("view_1000_coordinator", "change", 1, 1, |_| lose_one()) },
];

/// One period of heartbeats: all that is sent, and all answers to it. The coordinator leads a group and renews everybody's lease.
fn tick(me: usize) -> Work {
    let mut alone = Alone::new(MEMBERS, me);
    Box::new(move |meter| alone.pass(HEARTBEAT_US, meter))
}

/// From the closed connection of a member that has died to the view without it, confirmed by all.
fn lose_one() -> Work {
    let alone = Alone::new(MEMBERS, 0);
    Box::new(move |meter| assert!(alone.clone().lose_one(meter), "the view does not change"))
}

/// From the first frame of a ballot to the view that it decides.
fn follow() -> Work {
    let alone = Alone::new(MEMBERS, ORDINARY);
    Box::new(move |meter| assert!(alone.clone().follow_one_out(meter), "the view does not change"))
}
