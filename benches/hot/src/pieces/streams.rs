//! A message to everybody: packed and numbered by its sender, relayed by its leader, delivered by a receiver.

use bytes::Bytes;

use super::{How, Piece, Work};
use crate::cluster::Cluster;

/// Members of the one group: the leader, one sender, and receivers.
const MEMBERS: usize = 4;
/// What the sender hands in before the bytes are moved.
const BURST_BYTES: u64 = 240 * 1024;
const LONG_BYTES: u64 = 60 * 1024;

pub const PIECES: &[Piece] = &[
    of("batch_build_64", 64, 10, |_| burst(Whose::Sender, 64)),
    of("batch_build_1024", 1_024, 40, |_| burst(Whose::Sender, 1_024)),
    of("relay_64", 64, 40, |_| burst(Whose::Leader, 64)),
    of("relay_1024", 1_024, 40, |_| burst(Whose::Leader, 1_024)),
    of("relay_61440", LONG_BYTES, 40, |_| burst(Whose::Leader, LONG_BYTES)),
    of("delivery_64", 64, 20, |_| burst(Whose::Receiver, 64)),
    of("delivery_1024", 1_024, 40, |_| burst(Whose::Receiver, 1_024)),
    of("delivery_61440", LONG_BYTES, 40, |_| burst(Whose::Receiver, LONG_BYTES)),
];

const fn of(name: &'static str, size: u64, rounds: u64, prepare: fn(How) -> Work) -> Piece {
    Piece::new(name, "message", BURST_BYTES / size, rounds, prepare)
}

/// Whose part is measured.
#[derive(Clone, Copy)]
enum Whose {
    /// From taking the messages to showing batches to the kernel, and what comes back about them.
    Sender,
    /// From the bytes of a chunk to those that are shown to the kernel for each peer. It delivers as well, but its host does not read.
    Leader,
    /// From the bytes of a chunk to the host, which looks at each message.
    Receiver,
}

fn burst(whose: Whose, size: u64) -> Work {
    let payload = Bytes::from(vec![7; size as usize]);
    let mut cluster = Cluster::new(MEMBERS);
    let leader = cluster.leader();
    let sender = (leader + 1) % MEMBERS;
    cluster.measured = match whose {
        Whose::Sender => sender,
        Whose::Leader => leader,
        Whose::Receiver => (leader + 2) % MEMBERS,
    };
    cluster.reads = matches!(whose, Whose::Receiver);
    Box::new(move |meter| {
        std::mem::swap(&mut cluster.meter, meter);
        cluster.send(sender, &payload, (BURST_BYTES / size) as usize);
        std::mem::swap(&mut cluster.meter, meter);
    })
}
