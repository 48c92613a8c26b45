//! Credit for windows on its way between a sender and its leader (R25).

use super::member::Member;
use crate::types::{Incarnation, Index};
use crate::wire::control::{Control, Credit};

impl Member {
    /// The window is full and something waits: asks the leader for credit (R25).
    pub(super) fn want_credit(&mut self) {
        let Some(f) = &mut self.fanout else { return };
        let Some(bytes) = f.window.want() else { return };
        let (tag, leader) = (f.view.tag(), f.view.members[f.view.leader_of(f.me)].incarnation);
        self.send_to(leader, Control::CreditWant(Credit { tag, bytes }));
    }

    pub(super) fn on_credit_want(&mut self, from: Incarnation, credit: Credit) {
        if let (Some(index), Some(pool)) = (self.in_view(from, credit.tag), &mut self.pool) {
            pool.want(index);
            self.serve_credit();
        }
    }

    pub(super) fn on_credit_return(&mut self, from: Incarnation, credit: Credit) {
        if let (Some(index), Some(pool)) = (self.in_view(from, credit.tag), &mut self.pool) {
            pool.returned(index, credit.bytes);
            self.serve_credit();
        }
    }

    fn serve_credit(&mut self) {
        let (Some(f), Some(pool)) = (&self.fanout, &mut self.pool) else { return };
        let tag = f.view.tag();
        let mut told = Vec::new();
        while let Some((member, bytes)) = pool.grant() {
            told.push((f.view.members[member].incarnation, Control::CreditGrant(Credit { tag, bytes })));
        }
        if let Some(member) = pool.recall() {
            told.push((f.view.members[member].incarnation, Control::CreditRecall(Credit { tag, bytes: 0 })));
        }
        for (to, control) in told {
            self.send_to(to, control);
        }
    }

    pub(super) fn on_credit_grant(&mut self, from: Incarnation, credit: Credit) {
        let Some(index) = self.in_view(from, credit.tag) else { return };
        if let Some(f) = self.fanout.as_mut().filter(|f| f.view.leader_of(f.me) == index) {
            f.window.granted(credit.bytes, self.setup.window_bytes as u64);
            self.hurry = true;
        }
    }

    pub(super) fn on_credit_recall(&mut self, from: Incarnation, credit: Credit) {
        if self.in_view(from, credit.tag).is_some() {
            if let Some(f) = &mut self.fanout {
                f.window.recalled();
            }
            self.give_credit_back(false);
        }
    }

    /// Credit that is not needed goes back to the leader's pool.
    pub(super) fn tick_window(&mut self) {
        let idle = self.fanout.as_ref().is_some_and(|f| f.streams[f.me].retained_bytes() == 0) && !self.backlog;
        self.give_credit_back(idle);
        self.serve_credit();
    }

    fn give_credit_back(&mut self, idle: bool) {
        let Some(f) = &mut self.fanout else { return };
        let unstable = f.streams[f.me].retained_bytes();
        if f.window.give_back(unstable, idle) > 0 {
            let (tag, bytes) = (f.view.tag(), f.window.returned());
            let leader = f.view.members[f.view.leader_of(f.me)].incarnation;
            self.send_to(leader, Control::CreditReturn(Credit { tag, bytes }));
        }
    }

    /// The link between a leader and a member of its group is new: what was granted, or given back, over the one before may be lost.
    pub(super) fn tell_credit(&mut self, peer: Index) {
        let Some(f) = &self.fanout else { return };
        let (tag, whom) = (f.view.tag(), f.view.members[peer].incarnation);
        let (bytes, word): (u64, fn(Credit) -> Control) = match &self.pool {
            Some(pool) => (pool.granted_to(peer), Control::CreditGrant),
            None => (f.window.returned(), Control::CreditReturn),
        };
        if bytes > 0 {
            self.send_to(whom, word(Credit { tag, bytes }));
        }
    }
}
