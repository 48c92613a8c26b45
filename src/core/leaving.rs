//! Leaving in order: what was accepted goes out first and sessions are handed over, the others agree, then the process may end.

use super::io::Ended;
use super::mark::Mark;
use super::member::Member;
use crate::types::{Incarnation, Micros, Time, millis};
use crate::wire::control::Control;

/// How often the wish to leave is repeated, and how often it is looked before whether all is ready for it.
const REPEAT: Micros = millis(200);
const LOOK: Micros = millis(20);

/// A leave under way.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Leaving {
    pub(crate) reason: Ended,
    since: Time,
    pub(crate) next: Time,
    /// Nothing waits to be sent any more.
    pub(crate) drained: bool,
    /// The others were told.
    pub(crate) said: bool,
    /// The others have agreed; they get a moment to install that before our connections close.
    pub(crate) released: bool,
}

impl Member {
    pub(super) fn begin_leave(&mut self, reason: Ended) {
        if self.leaving.is_some() || self.ended.is_some() {
            return;
        }
        if self.fanout.is_none() {
            self.marks.reach(Mark::LeftWithoutView);
            return self.end(reason);
        }
        self.marks.reach(Mark::LeaveBegun);
        self.sessions.retire();
        self.leaving =
            Some(Leaving { reason, since: self.now, next: self.now, drained: false, said: false, released: false });
    }

    pub(super) fn tick_leaving(&mut self) {
        let Some(leaving) = self.leaving.as_mut().filter(|l| self.now >= l.next) else { return };
        let (released, drained, reason) = (leaving.released, leaving.drained, leaving.reason.clone());
        let waited = self.now.since(leaving.since);
        if released {
            self.marks.reach(Mark::LeaverGone);
            return self.end(reason);
        }
        let stable = self.fanout.as_ref().is_none_or(|f| f.streams[f.me].stable == f.streams[f.me].accepted);
        let settled = drained && stable && self.direct.is_settled() && self.sessions.handed_over();
        // The host's wish is bounded: half of the time for what it has sent and holds, the rest for the agreement.
        let ask = settled || waited >= self.setup.leave_timeout / 2 || reason == Ended::HostNotPolling;
        if ask && self.nobody_stays() {
            self.marks.reach(Mark::LeftLast);
            return self.end(reason);
        }
        if waited >= self.setup.leave_timeout {
            self.marks.reach(Mark::LeftUnheard);
            return self.end(reason.unheard());
        }
        let next = self.now + if ask { REPEAT } else { LOOK };
        self.leaving.iter_mut().for_each(|leaving| (leaving.next, leaving.said) = (next, leaving.said || ask));
        if ask {
            self.marks.reach(if settled { Mark::GoodbyeSettled } else { Mark::GoodbyeLate });
            self.say_goodbye();
        }
    }

    /// Whether the others were told. Until then this member does all that it did before.
    pub(super) fn has_said_goodbye(&self) -> bool {
        self.leaving.as_ref().is_some_and(|leaving| leaving.said)
    }

    /// Whether all others leave as well, or are gone: then nobody is left who could agree.
    fn nobody_stays(&self) -> bool {
        let goes = |i: Incarnation| i == self.incarnation || self.changes.leavers.contains(&i) || self.believed_gone(i);
        self.fanout.as_ref().is_none_or(|f| f.view.members.iter().all(|m| goes(m.incarnation)))
    }

    /// Tells everybody: whoever coordinates now or next must know, and those who leave too must know of each other.
    fn say_goodbye(&mut self) {
        let Some((view, _)) = self.view().map(|(v, me)| (v.clone(), me)) else { return };
        let me = self.incarnation;
        for member in view.members.iter().filter(|m| m.incarnation != me) {
            self.send_to(member.incarnation, Control::Leave(me));
        }
    }
}
