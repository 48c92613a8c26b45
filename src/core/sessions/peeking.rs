//! Looking at a session without becoming its owner: whoever owns it answers, and nothing moves. A balancer that cannot see a cookie
//! asks so who serves it; a third member reads so what is not its own.

use super::{SessionOp, Sessions};
use crate::core::mark::Mark;
use crate::types::{Code, Incarnation, MemberTag, SessionId};
use crate::wire::session::{Attributes, Frame, Give, Question, Role};

/// Members that wait for a look at one session.
const LOOKERS: usize = 1_024;

impl Sessions {
    /// Whether what waits first for a session needs no ownership of it.
    pub(super) fn only_looks(&self, id: SessionId) -> bool {
        self.front_of(id).is_some_and(|request| request.op == SessionOp::Peek)
    }

    /// Somebody wants a look.
    pub(super) fn on_fetch(&mut self, from: Incarnation, question: &Question) {
        let id = question.id;
        self.settle(id);
        if !matches!(self.store.role(id), Role::Primary | Role::Claimant) {
            return self.tell(from, question);
        }
        let lookers = &mut self.active.enter(id).lookers;
        lookers.retain(|(who, _)| *who != from);
        if lookers.len() < LOOKERS {
            lookers.push_back((from, question.asked));
        }
        self.advance(id);
    }

    /// Shows a session of ours to those who wait for that, if it is certain now: nothing that was not answered for is shown.
    pub(super) fn show(&mut self, id: SessionId) {
        let Some(active) = self.active.get_mut(&id).filter(|_| self.primary) else { return };
        if active.begun.iter().any(|begun| begun.early.is_none()) {
            return;
        }
        let lookers = std::mem::take(&mut active.lookers);
        for (who, asked) in lookers {
            let Some(session) = self.store.get(id) else { return };
            let (copy, secondary) = (self.copy_of(id, &session), session.partner);
            self.marks.reach(Mark::SessionPeekAsked);
            self.send(who, &Frame::Shown(Give { asked, view: self.view_number(), copy, secondary }), None);
        }
    }

    /// Whoever waits for a look at a session that is not ours is told who has it.
    pub(super) fn turn_lookers_away(&mut self, id: SessionId) {
        let lookers = self.active.get_mut(&id).map(|a| std::mem::take(&mut a.lookers)).unwrap_or_default();
        self.marks.reach_if(!lookers.is_empty(), Mark::SessionLookerSentOn);
        lookers.into_iter().for_each(|(who, asked)| self.tell(who, &Question { id, asked }));
    }

    /// The owner has shown a session.
    pub(super) fn on_shown(&mut self, from: Incarnation, shown: Give) {
        let Give { asked, copy, secondary, .. } = shown;
        let id = copy.id;
        if !self.was_asked(id, from, asked) {
            return;
        }
        self.search_again(id);
        if self.only_looks(id)
            && let Some(waiting) = self.active.get_mut(&id).and_then(|a| a.waiting.pop_front())
        {
            self.marks.reach(Mark::SessionPeekShown);
            let holders: [MemberTag; 2] = [copy.epoch.owner, secondary];
            let attributes: Option<Attributes> = Some(copy.attributes.detached());
            let number = waiting.request.number;
            self.push_answer(super::SessionAnswer {
                number,
                id,
                code: Code::Ok,
                epoch: copy.epoch,
                version: copy.version,
                holders,
                attributes,
            });
        }
        self.advance(id);
    }
}
