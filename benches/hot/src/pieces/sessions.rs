//! A change of a session: by its owner, and by whoever holds the other copy.

use decurion::core::{SessionOp, SessionRequest};
use decurion::types::{MemberTag, SessionId};
use decurion::wire::session::Attributes;

use super::{Piece, Work};
use crate::cluster::Cluster;

/// Sessions that are changed in turn, all at once under way.
const SESSIONS: u64 = 64;
const CONTENT_BYTES: usize = 2_048;

pub const PIECES: &[Piece] = &[
    Piece::new("session_put", "change", SESSIONS, 20, |_| changes(true)),
    Piece::new("session_copy", "change", SESSIONS, 20, |_| changes(false)),
];

fn changes(of_owner: bool) -> Work {
    let mut cluster = Cluster::new(2);
    let content = [7; CONTENT_BYTES];
    let attributes = Attributes::new([("content", &content[..])]);
    let request = |number: u64, op: SessionOp| {
        let id = SessionId(u128::from(number + 1) << 64);
        SessionRequest { number, id, holders: [MemberTag::NONE; 2], op }
    };
    let create = SessionOp::Create { ttl_s: 0, attributes: attributes.clone() };
    cluster.ask(0, (0..SESSIONS).map(|number| request(number, create.clone())).collect());
    cluster.measured = usize::from(!of_owner);
    let removes = Attributes::default();
    let write = SessionOp::Write { token: 0, if_version: 0, whole: false, sets: attributes, removes };
    Box::new(move |meter| {
        let requests = (0..SESSIONS).map(|number| request(number, write.clone())).collect();
        std::mem::swap(&mut cluster.meter, meter);
        cluster.ask(0, requests);
        std::mem::swap(&mut cluster.meter, meter);
    })
}
