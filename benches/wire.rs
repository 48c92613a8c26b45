//! The hot paths of the wire: walking the headers of a chunk as a leader does, reading a batch's messages as a receiver
//! does, and building a batch as a sender does. Per message they must stay far below the kernel's copy of it.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use decurion::types::{Seat, limits};
use decurion::wire::batch::{Entries, Entry, HEADER_BYTES, Header, Level};

/// Message sizes of the tables: a counter, a small record, and the largest that a batch holds once.
const PAYLOADS: [usize; 3] = [64, 1_024, 60 * 1024 - 8];

/// Fills one batch with messages of this size: the area and their count.
fn fill(payload: &[u8], area: &mut Vec<u8>) -> u16 {
    area.clear();
    let mut count = 0;
    while area.len() + Entry::encoded_len(payload.len(), 0, false) <= limits::BATCH_BYTES {
        Entry { level: Level::Fifo, token: 0, fragment: None, payload }.put(area);
        count += 1;
    }
    count
}

fn header(batch: u64, first_message: u64, count: u16, length: usize) -> Header {
    Header {
        flags: 0,
        count,
        length: length as u32,
        tag: 7,
        sender: Seat(3),
        receiver: Seat::EVERYBODY,
        batch,
        first_message,
    }
}

/// A leader walks the headers of what it received, without a look at the messages.
fn walk_headers(c: &mut Criterion) {
    let mut group = c.benchmark_group("header_walk");
    for batches in [1u64, 100] {
        // A chunk of one full batch, or of many that each closed early.
        let length = if batches == 1 { limits::BATCH_BYTES } else { 512 };
        let mut chunk = Vec::new();
        for batch in 1..=batches {
            chunk.extend_from_slice(&header(batch, batch, 1, length).encode());
            chunk.resize(chunk.len() + length, 0);
        }
        group.throughput(Throughput::Elements(batches));
        group.bench_function(BenchmarkId::new("batches", batches), |b| b.iter(|| walk(black_box(&chunk))));
    }
    group.finish();
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

/// A receiver walks the messages of one full batch.
fn read_messages(c: &mut Criterion) {
    let mut group = c.benchmark_group("message_walk");
    for size in PAYLOADS {
        let mut area = Vec::new();
        let count = fill(&vec![7; size], &mut area);
        group.throughput(Throughput::Elements(u64::from(count)));
        group.bench_function(BenchmarkId::new("payload_bytes", size), |b| {
            b.iter(|| {
                Entries::new(black_box(&area), count)
                    .map(|e| e.expect("an entry of our own").payload.len())
                    .sum::<usize>()
            });
        });
    }
    group.finish();
}

/// A sender fills a batch and writes its header.
fn build_batch(c: &mut Criterion) {
    let mut group = c.benchmark_group("batch_building");
    for size in PAYLOADS {
        let payload = vec![7; size];
        let mut area = Vec::with_capacity(limits::BATCH_BYTES);
        let count = fill(&payload, &mut area);
        group.throughput(Throughput::Elements(u64::from(count)));
        group.bench_function(BenchmarkId::new("payload_bytes", size), |b| {
            b.iter(|| {
                let count = fill(black_box(&payload), &mut area);
                black_box(header(1, 1, count, area.len()).encode())
            });
        });
    }
    group.finish();
}

criterion_group!(wire, walk_headers, read_messages, build_batch);
criterion_main!(wire);
