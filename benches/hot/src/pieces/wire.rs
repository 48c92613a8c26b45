//! Headers of batches, as a leader looks at them.

use std::hint::black_box;

use decurion::types::Seat;
use decurion::wire::batch::{HEADER_BYTES, Header};

use super::{Piece, Work};

const BATCHES: u64 = 100;
/// Of batches that were closed early.
const AREA_BYTES: usize = 512;

pub const PIECES: &[Piece] = &[Piece::new("header_walk", "batch", BATCHES, 1_000, |_| header_walk(0))];
pub const PLANTED: Piece = Piece::new("planted", "batch", BATCHES, 1_000, |_| header_walk(BATCHES / 10));

/// Walks the headers of a chunk, each checked, without a look at the messages; then so many of them once more.
fn header_walk(again: u64) -> Work {
    let mut chunk = Vec::new();
    for batch in 1..=BATCHES {
        let header = Header {
            flags: 0,
            count: 1,
            length: AREA_BYTES as u32,
            tag: 7,
            sender: Seat(3),
            receiver: Seat::EVERYBODY,
            batch,
            first_message: batch,
        };
        chunk.extend_from_slice(&header.encode());
        chunk.resize(chunk.len() + AREA_BYTES, 0);
    }
    let part = (HEADER_BYTES + AREA_BYTES) * again as usize;
    Box::new(move |meter| {
        black_box(meter.inside(|| walk(black_box(&chunk)) + walk(black_box(&chunk[..part]))));
    })
}

fn walk(mut chunk: &[u8]) -> u64 {
    let mut last = 0;
    while let Some((raw, rest)) = chunk.split_first_chunk::<HEADER_BYTES>() {
        let header = Header::decode(raw).expect("a header of our own");
        last = header.batch;
        chunk = &rest[header.length as usize..];
    }
    last
}
