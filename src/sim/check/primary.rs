//! V3: at any moment, the members that act as primary in fenced views are all in the same one.

use crate::types::ViewId;

/// The view of the last member that was seen to act as primary: only a member in another one makes a full look necessary.
///
/// A member can begin to act as primary only in a turn of its own, so looking after every turn misses nothing.
#[derive(Debug, Default)]
pub(crate) struct Primaries {
    latest: ViewId,
}

impl Primaries {
    /// A member acts as primary in `view`. Whether that differs from what was seen last, so that all must be looked at.
    pub fn see(&mut self, view: ViewId) -> bool {
        let differs = self.latest != view;
        self.latest = view;
        differs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Ballot, Incarnation};

    #[test]
    fn only_another_view_makes_a_full_look_necessary() {
        let view = |number| ViewId { number, ballot: Ballot { round: 1, coordinator: Incarnation(1) } };
        let mut primaries = Primaries::default();
        assert!(primaries.see(view(1)));
        assert!(!primaries.see(view(1)));
        assert!(primaries.see(view(2)));
        assert!(primaries.see(view(1)), "back in the first: both are there");
    }
}
