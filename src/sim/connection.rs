//! A connection at the level of bytes: each direction has a bounded send buffer that is freed by acknowledgements, segments
//! under way, and a bounded receive buffer that only the reading process empties.

use std::collections::VecDeque;

use bytes::BytesMut;

use super::network::retry_after;
use crate::types::ConnId;

/// What the kernel of a reader holds for a process that does not read.
const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;

/// How far one end is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Being dialled, or waiting for the process to accept.
    Opening,
    /// The process has it.
    Open,
    /// The process or its kernel has forgotten it.
    Gone,
}

/// One end: whose it is, and what that process calls it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub node: u16,
    pub life: u32,
    pub host: u16,
    pub id: ConnId,
    pub phase: Phase,
}

/// A connection: `ways[i]` carries what `ends[i]` writes.
#[derive(Debug)]
pub(crate) struct Connection {
    pub ends: [End; 2],
    pub ways: [Way; 2],
    pub dialled_at: u64,
    pub tries: u8,
    /// After this long without an acknowledgement an end gives up.
    pub patience_us: u64,
}

/// Something that has arrived at the front of a way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Front {
    /// Nothing is under way.
    Nothing,
    /// The next segment is due at this time.
    Due(u64),
    /// The reader's kernel has no room for it.
    NoRoom,
    /// The segment is the end of the stream.
    Fin,
    /// The segment holds this many bytes.
    Bytes(usize),
}

/// One direction of a connection.
#[derive(Debug)]
pub(crate) struct Way {
    /// Written and not read yet, from `head` on; the first `unread` of them have arrived.
    bytes: Vec<u8>,
    head: usize,
    unread: usize,
    segments: VecDeque<(u64, usize)>,
    latest_at: u64,
    /// Written and not acknowledged.
    held: usize,
    pub capacity: usize,
    acks: VecDeque<(u64, usize)>,
    /// Arrived, but the acknowledgement could not travel.
    pub owed: usize,
    /// The writer was told that there is no room, and waits.
    pub wanted: bool,
    /// An `Arrive` event is in the queue.
    pub arrive_scheduled: bool,
    /// A `Room` event is in the queue.
    pub room_scheduled: bool,
    pub tries: u8,
    /// Since when the front segment does not get through.
    pub stuck_since: Option<u64>,
    /// The end of the stream has arrived and the process has not been told yet.
    pub fin_arrived: bool,
    fin_sent: bool,
}

/// Marks the segment that ends a stream.
const FIN: usize = usize::MAX;

impl Way {
    pub fn new(capacity: usize) -> Way {
        Way {
            bytes: Vec::new(),
            head: 0,
            unread: 0,
            segments: VecDeque::new(),
            latest_at: 0,
            held: 0,
            capacity,
            acks: VecDeque::new(),
            owed: 0,
            wanted: false,
            arrive_scheduled: false,
            room_scheduled: false,
            tries: 0,
            stuck_since: None,
            fin_arrived: false,
            fin_sent: false,
        }
    }

    /// Free space in the send buffer, counting the acknowledgements that have come by `now`.
    pub fn room(&mut self, now: u64) -> usize {
        while let Some(&(at, len)) = self.acks.front() {
            if at > now {
                break;
            }
            self.acks.pop_front();
            self.held -= len;
        }
        self.capacity.saturating_sub(self.held)
    }

    /// When the next acknowledgement comes that is on its way.
    pub fn next_ack(&self) -> Option<u64> {
        self.acks.front().map(|(at, _)| *at)
    }

    /// An acknowledgement for all that arrived will reach the writer at `at`.
    pub fn acknowledge(&mut self, at: u64) {
        if self.owed > 0 {
            let at = self.acks.back().map_or(at, |(last, _)| at.max(*last));
            self.acks.push_back((at, std::mem::take(&mut self.owed)));
        }
    }

    /// Takes up to `room` of the slices' bytes into the send buffer; says how many.
    pub fn write(&mut self, slices: &[&[u8]], room: usize) -> usize {
        let mut left = room;
        for slice in slices {
            let taken = left.min(slice.len());
            self.bytes.extend_from_slice(&slice[..taken]);
            left -= taken;
            if left == 0 {
                break;
            }
        }
        self.held += room - left;
        room - left
    }

    /// Sends `len` bytes that were written, to arrive at `at` or after what was sent before.
    pub fn send(&mut self, at: u64, len: usize) {
        self.latest_at = self.latest_at.max(at);
        self.segments.push_back((self.latest_at, len));
    }

    /// Sends the end of the stream, once.
    pub fn send_fin(&mut self, at: u64) {
        if !self.fin_sent {
            self.fin_sent = true;
            self.send(at, FIN);
        }
    }

    /// The wire has changed: what is under way arrives at `at` at the latest. Says whether that moved anything.
    pub fn arrive_by(&mut self, at: u64) -> bool {
        let moved = self.latest_at > at;
        self.segments.iter_mut().for_each(|segment| segment.0 = segment.0.min(at));
        self.latest_at = self.latest_at.min(at);
        moved && !self.segments.is_empty()
    }

    /// The wire back has changed: acknowledgements under way come at `at` at the latest. Says whether a writer that waits has to be told.
    pub fn acknowledged_by(&mut self, at: u64) -> bool {
        let moved = self.next_ack().is_some_and(|next| next > at);
        self.acks.iter_mut().for_each(|ack| ack.0 = ack.0.min(at));
        moved && self.wanted
    }

    /// What is sent from now on arrives at `at` or later.
    pub fn not_before(&mut self, at: u64) {
        self.latest_at = self.latest_at.max(at);
    }

    /// What is at the front at `now`.
    pub fn front(&self, now: u64) -> Front {
        match self.segments.front() {
            None => Front::Nothing,
            Some(&(at, _)) if at > now => Front::Due(at),
            Some(&(_, FIN)) => Front::Fin,
            Some(&(_, len)) if self.unread > 0 && self.unread + len > RECEIVE_BUFFER_BYTES => Front::NoRoom,
            Some(&(_, len)) => Front::Bytes(len),
        }
    }

    /// The front segment did not get through: it is tried again later. Says when.
    pub fn postpone(&mut self, now: u64) -> u64 {
        let at = now + retry_after(self.tries);
        self.tries = self.tries.saturating_add(1);
        self.stuck_since.get_or_insert(now);
        if let Some(front) = self.segments.front_mut() {
            front.0 = at;
        }
        at
    }

    /// The front segment is in the reader's kernel.
    pub fn take_front(&mut self) {
        self.tries = 0;
        self.stuck_since = None;
        match self.segments.pop_front() {
            Some((_, FIN)) => self.fin_arrived = true,
            Some((_, len)) => {
                self.unread += len;
                self.owed += len;
            }
            None => {}
        }
    }

    /// Bytes that the process can read.
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// Moves up to `limit` readable bytes into the spare capacity of `space`; says how many.
    pub fn read(&mut self, space: &mut BytesMut, limit: usize) -> usize {
        let len = self.unread.min(limit).min(space.capacity() - space.len());
        space.extend_from_slice(&self.bytes[self.head..self.head + len]);
        self.head += len;
        self.unread -= len;
        if self.head == self.bytes.len() {
            self.bytes.clear();
            self.head = 0;
        } else if self.head > RECEIVE_BUFFER_BYTES && self.head * 2 > self.bytes.len() {
            self.bytes.drain(..self.head);
            self.head = 0;
        }
        len
    }

    /// Forgets what is under way, and all that was not read: the reader is gone or the connection broke.
    pub fn drop_all(&mut self) {
        self.segments.clear();
        self.bytes.clear();
        self.head = 0;
        self.unread = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(way: &mut Way, limit: usize) -> Vec<u8> {
        let mut space = BytesMut::with_capacity(limit);
        let mut all = Vec::new();
        while way.read(&mut space, limit) > 0 {
            all.extend_from_slice(&space);
            space.clear();
        }
        all
    }

    #[test]
    fn bytes_come_out_in_order_whatever_the_chunks() {
        let data: Vec<u8> = (0..10_000u32).map(|n| n as u8).collect();
        let mut way = Way::new(64 * 1024);
        let mut written = 0;
        for len in [1, 7, 4_000, 992, 5_000] {
            assert_eq!(way.write(&[&data[written..written + len]], len), len);
            way.send(written as u64, len);
            written += len;
        }
        let mut got = Vec::new();
        while let Front::Bytes(_) = way.front(10_000) {
            way.take_front();
            got.extend(read(&mut way, 333));
        }
        assert_eq!(got, data);
        assert_eq!(way.front(u64::MAX), Front::Nothing);
    }

    #[test]
    fn the_send_buffer_is_freed_by_acknowledgements_only() {
        let mut way = Way::new(100);
        assert_eq!(way.write(&[&[0; 60], &[1; 60]], 100), 100);
        way.send(0, 100);
        assert_eq!(way.room(0), 0);
        way.take_front();
        assert_eq!(read(&mut way, 100).len(), 100);
        assert_eq!(way.room(1_000), 0, "read, but the acknowledgement has not travelled");
        way.acknowledge(50);
        assert_eq!(way.room(49), 0);
        assert_eq!(way.room(50), 100);
    }

    #[test]
    fn a_reader_that_does_not_read_stops_the_writer() {
        let mut way = Way::new(256 * 1024);
        let data = vec![0; 40 * 1024];
        for _ in 0..2 {
            way.write(&[&data], data.len());
            way.send(0, data.len());
        }
        assert_eq!(way.front(0), Front::Bytes(data.len()));
        way.take_front();
        assert_eq!(way.front(0), Front::NoRoom);
        read(&mut way, data.len());
        assert_eq!(way.front(0), Front::Bytes(data.len()));
    }

    #[test]
    fn the_end_comes_after_the_bytes_and_once() {
        let mut way = Way::new(100);
        way.write(&[b"last words"], 10);
        way.send(5, 10);
        way.send_fin(1);
        way.send_fin(2);
        assert_eq!(way.front(4), Front::Due(5));
        assert_eq!(way.front(5), Front::Bytes(10));
        way.take_front();
        assert_eq!(way.front(5), Front::Fin);
        way.take_front();
        assert!(way.fin_arrived);
        assert_eq!(way.front(u64::MAX), Front::Nothing);
    }

    #[test]
    fn a_segment_that_does_not_get_through_is_tried_again_ever_later() {
        let mut way = Way::new(100);
        way.write(&[b"x"], 1);
        way.send(0, 1);
        let first = way.postpone(0);
        assert_eq!(way.front(first - 1), Front::Due(first));
        let second = way.postpone(first);
        assert!(second - first > first, "{first} then {second}");
        assert_eq!(way.stuck_since, Some(0));
    }
}
