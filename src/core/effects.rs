//! What a piece of the core wants done, collected during one step and carried out by the member at its end.

use bytes::Bytes;

use super::io::Event;
use crate::types::Index;
use crate::wire::batch::StreamId;
use crate::wire::control::Control;

/// Wishes of the streams of one view. Positions are those of the view.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effects {
    /// Slices of whole batches for the link to a member.
    pub(crate) data: Vec<(Index, Bytes)>,
    /// Batches of our own for the multicast group.
    pub(crate) casts: Vec<Bytes>,
    /// Control frames for the link to a member.
    pub(crate) control: Vec<(Index, Control)>,
    /// Events for the host, in order.
    pub(crate) events: Vec<Event>,
    run: Option<Run>,
    /// Batches that were passed on.
    pub(crate) relayed: u64,
    /// Bytes that were copied: into our own batches, and of long messages out of theirs.
    pub(crate) copied: usize,
}

/// Consecutive accepted batches of one chunk and one stream that go the same way: one slice, one reference count (R9).
#[derive(Clone, Debug)]
struct Run {
    stream: StreamId,
    chunk: Bytes,
    start: usize,
    end: usize,
    targets: Vec<Index>,
}

impl Effects {
    /// Passes a frame of a chunk on; joins it to the run before it where they touch and are of one stream.
    pub(crate) fn relay(&mut self, stream: StreamId, chunk: &Bytes, start: usize, end: usize, targets: &[Index]) {
        self.relayed += u64::from(!targets.is_empty());
        if let Some(run) = &mut self.run {
            let touches = run.end == start && run.chunk.as_ptr() == chunk.as_ptr();
            if touches && run.stream == stream && run.targets == targets {
                run.end = end;
                return;
            }
        }
        self.end_run();
        self.run = Some(Run { stream, chunk: chunk.clone(), start, end, targets: targets.to_vec() });
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.run = None;
        self.data.clear();
        self.casts.clear();
        self.control.clear();
        self.events.clear();
    }

    /// Closes the run under way, before anything else is queued behind it.
    pub(crate) fn end_run(&mut self) {
        if let Some(run) = self.run.take() {
            let slice = run.chunk.slice(run.start..run.end);
            self.data.extend(run.targets.into_iter().map(|to| (to, slice.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Seat;
    use crate::wire::batch::Header;

    #[test]
    fn batches_that_touch_are_one_slice_if_they_are_of_one_stream_and_go_the_same_way() {
        let stream = |sender| {
            let (flags, count, length, receiver) = (0, 1, 8, Seat::EVERYBODY);
            Header { flags, count, length, tag: 5, sender: Seat(sender), receiver, batch: 1, first_message: 1 }.stream()
        };
        let chunk = Bytes::from_static(b"aabbccddee");
        let mut fx = Effects::default();
        for (at, sender, targets) in [(0, 1, &[7][..]), (2, 1, &[7]), (4, 2, &[7]), (6, 2, &[7, 8]), (8, 2, &[7, 8])] {
            fx.relay(stream(sender), &chunk, at, at + 2, targets);
        }
        fx.end_run();
        let of = |(to, slice): &(Index, Bytes)| (*to, slice.to_vec());
        let slices: Vec<(Index, Vec<u8>)> = fx.data.iter().map(of).collect();
        let expected = [(7, "aabb"), (7, "cc"), (7, "ddee"), (8, "ddee")];
        assert_eq!(slices, expected.map(|(to, bytes)| (to, bytes.as_bytes().to_vec())));
        assert_eq!(fx.relayed, 5);
    }

    #[test]
    fn batches_that_do_not_touch_are_passed_on_without_what_lies_between_them() {
        let header = Header {
            flags: 0,
            count: 1,
            length: 8,
            tag: 5,
            sender: Seat(1),
            receiver: Seat::EVERYBODY,
            batch: 1,
            first_message: 1,
        };
        let (one, other) = (Bytes::from_static(b"aabbcc"), Bytes::from_static(b"ddeeff"));
        let mut fx = Effects::default();
        for (chunk, start) in [(&one, 0), (&one, 4), (&other, 0), (&one, 2), (&other, 4)] {
            fx.relay(header.stream(), chunk, start, start + 2, &[7]);
        }
        fx.end_run();
        let slices: Vec<&[u8]> = fx.data.iter().map(|(_, slice)| &slice[..]).collect();
        assert_eq!(slices, [b"aa", b"cc", b"dd", b"bb", b"ff"]);
    }
}
