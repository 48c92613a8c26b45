//! What a piece of the core wants done, collected during one step and carried out by the member at its end.

use bytes::Bytes;

use super::io::Event;
use crate::types::Index;
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

/// Consecutive accepted batches of one chunk that go the same way: one slice, one reference count (R9).
#[derive(Clone, Debug)]
struct Run {
    chunk: Bytes,
    start: usize,
    end: usize,
    targets: Vec<Index>,
}

impl Effects {
    /// Passes a frame of a chunk on; joins it to the run before it where they touch and go the same way.
    pub(crate) fn relay(&mut self, chunk: &Bytes, start: usize, end: usize, targets: &[Index]) {
        self.relayed += 1;
        if let Some(run) = &mut self.run {
            let touches = run.end == start && run.chunk.as_ptr() == chunk.as_ptr();
            if touches && run.targets == targets {
                run.end = end;
                return;
            }
        }
        self.end_run();
        self.run = Some(Run { chunk: chunk.clone(), start, end, targets: targets.to_vec() });
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
