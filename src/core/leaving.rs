//! Leaving in order: what was accepted goes out first, the others agree, then the process may end.

use super::io::Ended;
use super::member::Member;
use crate::types::{Micros, Time, millis};
use crate::wire::control::Control;

/// How often the wish to leave is repeated.
const REPEAT: Micros = millis(200);

/// A leave under way.
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(crate) reason: Ended,
    since: Time,
    pub(crate) next: Time,
    /// Nothing waits to be sent any more.
    pub(crate) drained: bool,
}

impl Member {
    pub(super) fn begin_leave(&mut self, reason: Ended) {
        if self.leaving.is_some() || self.ended.is_some() {
            return;
        }
        if self.fanout.is_none() {
            return self.end(reason);
        }
        self.leaving = Some(Leaving { reason, since: self.now, next: self.now, drained: false });
    }

    pub(super) fn tick_leaving(&mut self) {
        let Some(leaving) = &mut self.leaving else { return };
        if self.now < leaving.next {
            return;
        }
        leaving.next = self.now + REPEAT;
        let waited = self.now.since(leaving.since);
        let alone = self.fanout.as_ref().is_none_or(|f| f.view.len() == 1);
        let stable = self.fanout.as_ref().is_none_or(|f| f.streams[f.me].stable == f.streams[f.me].accepted);
        let settled = leaving.drained && stable && self.direct.is_settled();
        // The host's wish is bounded: half of the time for what it has sent, the rest for the agreement.
        let ask = settled || waited >= self.setup.leave_timeout / 2 || leaving.reason == Ended::HostNotPolling;
        if alone && settled || alone && ask {
            let reason = leaving.reason.clone();
            return self.end(reason);
        }
        if waited >= self.setup.leave_timeout {
            let reason = if leaving.reason == Ended::Left { Ended::LeftUnheard } else { leaving.reason.clone() };
            return self.end(reason);
        }
        if ask && let Some(acting) = self.acting().filter(|a| *a != self.incarnation) {
            let me = self.incarnation;
            self.send_to(acting, Control::Leave(me));
        }
    }
}
