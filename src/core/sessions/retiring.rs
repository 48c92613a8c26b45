//! A member that is about to leave hands everything over first, so that no session is ever without its second copy: what it owns
//! goes to whoever holds the other copy, and the owners of what it holds move that copy to somebody else.
//!
//! While a copy moves there are three, and the two that are not the owner's are of one epoch. So the new holder knows beside whom it
//! holds the copy: when the owner is lost, it takes over only if the old one has let go, and lets it have the session otherwise.

use super::handover::Claim;
use super::{Sessions, Step};
use crate::core::mark::Mark;
use crate::core::plant::Plant;
use crate::types::{Incarnation, MemberTag, SessionId, View};
use crate::wire::session::{About, Adopt, Frame, Move, Objection, Role};

/// The second copy of a session of ours is on its way to another holder. No change begins meanwhile.
#[derive(Clone, Copy, Hash, Debug)]
pub(super) struct Moving {
    /// Who gets it; nobody any more, if that member was lost.
    to: Option<Incarnation>,
    /// It is there, and the old holder was asked to let go.
    releasing: bool,
    /// The old holder has no room for the newest version, and keeps the one before.
    behind: bool,
}

impl Moving {
    /// Who gets the copy.
    pub(super) fn to(&self) -> MemberTag {
        self.to.map_or(MemberTag::NONE, Into::into)
    }
}

impl Sessions {
    /// This member is about to leave.
    pub(crate) fn retire(&mut self) {
        if self.retired || self.plants.has(Plant::LeaveWithSessions) {
            return;
        }
        self.marks.reach(Mark::SessionRetired);
        (self.retired, self.touched) = (true, true);
        self.uncork_all();
        let me = self.incarnation;
        let others: Vec<Incarnation> = self.present.values().copied().filter(|who| *who != me).collect();
        others.into_iter().for_each(|who| self.send(who, &Frame::Retiring(()), None));
        self.restoring.hurry(self.now);
    }

    /// Those who came later are told, too.
    pub(super) fn tell_newcomers(&mut self, before: Option<&View>, view: &View) {
        let Some(before) = before.filter(|_| self.retired) else { return };
        let holds = |who: &Incarnation| self.present((*who).into()).is_some();
        let new = view.members.iter().map(|m| m.incarnation).filter(|i| holds(i) && before.index_of(*i).is_none());
        for who in new.collect::<Vec<_>>() {
            self.marks.reach(Mark::SessionRetiringToldLater);
            self.send(who, &Frame::Retiring(()), None);
        }
    }

    /// Nothing is left here that somebody else could take, and nothing is on its way here.
    pub(crate) fn handed_over(&self) -> bool {
        let quiet = || self.active.iter().all(|(_, active)| active.waiting.is_empty() && active.ending.is_empty());
        !self.retired || self.partners.is_empty() || (self.store.live() == 0 && quiet())
    }

    /// Somebody is about to leave.
    pub(super) fn on_retiring(&mut self, from: Incarnation) {
        self.marks.reach(Mark::SessionRetiringHeard);
        self.retiring.insert(from);
        self.rank_partners();
        self.restoring.hurry(self.now);
    }

    /// One step towards having nothing here and at members that leave: the bytes that it sends.
    pub(super) fn evacuate(&mut self, id: SessionId) -> usize {
        let Some(session) = self.store.get(id).filter(|s| s.role == Role::Primary && s.copied) else { return 0 };
        let Some(partner) = self.present(session.partner) else { return 0 };
        let bytes = session.bytes();
        if self.active.get(&id).is_some_and(|active| !active.is_idle()) {
            return 0;
        }
        if self.retiring.contains(&partner) {
            return if self.begin_move(id, false) { bytes } else { 0 };
        }
        if self.retired {
            self.bequeath(id, partner);
        }
        0
    }

    /// Hands a session over to the holder of its other copy, which has everything already.
    fn bequeath(&mut self, id: SessionId, heir: Incarnation) {
        let Some((follows, version)) = self.store.get(id).map(|s| (s.epoch, s.version)) else { return };
        let epoch = follows.next(self.view_number(), heir.into());
        self.active.enter(id).given = Some((heir, epoch));
        self.store.update(id, |s| s.role = Role::Given);
        self.send(heir, &Frame::Inherit(Adopt { id, epoch, follows, version }), None);
        self.marks.reach(Mark::SessionBequeathed);
        self.restoring.busy = true;
        self.turn_away(id);
    }

    /// The owner of a session whose other copy we hold leaves it to us.
    pub(super) fn on_inherit(&mut self, from: Incarnation, will: &Adopt) {
        if will.epoch.owner != self.tag || will.epoch <= will.follows {
            return self.faulty.push((from, "a session left in an epoch that is not its receiver's"));
        }
        let id = will.id;
        self.settle(id);
        let (held, now) = (self.store.get(id).map(|s| (s.role, s.epoch, s.version)), self.seconds());
        if held != Some((Role::Secondary, will.follows, will.version)) {
            self.marks.reach(Mark::SessionInheritRefused);
            return self.object(from, id, (will.epoch, will.version), Objection::Epoch);
        }
        self.store.update(id, |s| {
            (s.role, s.epoch, s.used_s) = (Role::Claimant, will.epoch, now);
            (s.partner, s.copied) = (MemberTag::NONE, false);
        });
        self.marks.reach(Mark::SessionInherited);
        self.active.enter(id).search = None;
        let giver = self.present(from.into());
        self.claim(id, will.follows, giver, giver);
    }

    /// Sends the second copy of a session of ours to another member than the one that has it; whether there is one.
    fn begin_move(&mut self, id: SessionId, behind: bool) -> bool {
        let Some(session) = self.store.get(id) else { return false };
        let Some(to) = self.choose(id, session.partner) else { return false };
        let (copy, beside) = (self.copy_of(id, &session), session.partner);
        let active = self.active.enter(id);
        active.moving = Some(Moving { to: Some(to), releasing: false, behind });
        if behind {
            // The old holder objects to all that was sent to it before.
            active.copy_sent = copy.version;
        }
        let step = Step::Beside(id, copy.version);
        self.send(to, &Frame::Move(Move { copy, beside }), Some(step));
        self.marks.reach(Mark::SessionMoveBegun);
        self.restoring.busy = true;
        true
    }

    /// The holder of the other copy has no room for what was written since. The version that it has was answered for: it is kept
    /// until another member has the newest one, or none takes it and the host can be told so (S1). It is waited for until it has let go: if we
    /// went before, it would go on with what it has.
    pub(super) fn replace_holder(&mut self, id: SessionId) {
        self.store.update(id, |s| s.copied = false);
        if self.begin_move(id, true) {
            return;
        }
        let releasing = self.primary;
        self.active.enter(id).moving = Some(Moving { to: None, releasing, behind: true });
        let Some((epoch, old)) = self.store.get(id).map(|s| (s.epoch, self.present(s.partner))) else { return };
        match old {
            Some(old) if releasing => self.send(old, &Frame::Release(About { id, epoch }), Some(Step::Moved(id))),
            Some(_) => {}
            None => self.moved(id),
        }
    }

    pub(super) fn moving(&self, id: SessionId) -> Option<Moving> {
        self.active.get(&id).and_then(|active| active.moving)
    }

    /// The new holder has the copy: the old one is asked to let go.
    pub(super) fn copied_beside(&mut self, peer: Incarnation, id: SessionId, version: u64) {
        let Some(session) = self.store.get(id).filter(|s| s.role == Role::Primary) else { return };
        let (epoch, old) = (session.epoch, self.present(session.partner));
        match (self.moving(id), old) {
            (Some(moving), Some(old)) if moving.to == Some(peer) && !moving.releasing => {
                self.set_moving(id, Some(Moving { releasing: true, ..moving }));
                self.marks.reach(Mark::SessionMoveReleasing);
                let early = self.plants.has(Plant::MoveWithoutRelease);
                self.send(old, &Frame::Release(About { id, epoch }), Some(Step::Moved(id)));
                if early {
                    self.moved(id);
                }
            }
            _ => {
                let holds = session.partner == peer.into();
                self.store.update(id, |s| s.copied |= holds);
                if holds {
                    self.written(id, version);
                }
            }
        }
    }

    /// The old holder has let go, or is gone: the new one is the holder now.
    pub(super) fn moved(&mut self, id: SessionId) {
        let Some(moving) = self.moving(id) else { return };
        self.set_moving(id, None);
        let to = moving.to.filter(|who| self.present((*who).into()).is_some());
        self.marks.reach_if(to.is_some(), Mark::SessionMoved);
        let (partner, copied) = (to.map_or(MemberTag::NONE, Into::into), to.is_some() && moving.releasing);
        let version = self.store.update(id, |s| {
            (s.partner, s.copied) = (partner, copied);
            s.version
        });
        // Nothing was begun since the copy went out.
        if let Some(version) = version.filter(|_| copied) {
            self.written(id, version);
        }
    }

    /// Brings a move up to date with the view. Whoever was asked to let go is waited for, also if there is nobody else any more: it
    /// holds a copy until then.
    pub(super) fn settle_move(&mut self, id: SessionId) {
        let Some(moving) = self.moving(id) else { return };
        let old = self.store.get(id).and_then(|s| self.present(s.partner));
        let to = moving.to.filter(|who| self.present((*who).into()).is_some());
        if old.is_none() {
            self.moved(id);
        } else if to.is_none() {
            self.marks.reach_if(moving.to.is_some(), Mark::SessionMoveLost);
            self.move_failed(id, moving);
        }
    }

    /// The new holder does not take the copy.
    pub(super) fn move_refused(&mut self, id: SessionId, moving: Moving) {
        self.marks.reach(Mark::SessionMoveRefused);
        self.move_failed(id, moving);
    }

    fn move_failed(&mut self, id: SessionId, moving: Moving) {
        self.set_moving(id, moving.releasing.then_some(Moving { to: None, ..moving }));
        if moving.behind && !moving.releasing {
            self.replace_holder(id);
        }
    }

    /// Our session is somebody else's: the copy that was on its way is of no use.
    pub(super) fn call_off_move(&mut self, id: SessionId) {
        let (moving, epoch) = (self.moving(id), self.store.get(id).map(|s| s.epoch));
        if let (Some(to), Some(epoch)) = (moving.and_then(|moving| moving.to), epoch) {
            self.marks.reach(Mark::SessionMoveCalledOff);
            self.send(to, &Frame::Release(About { id, epoch }), None);
        }
        self.set_moving(id, None);
    }

    pub(super) fn moves_to(&self, id: SessionId, who: Incarnation) -> Option<Moving> {
        self.moving(id).filter(|moving| moving.to == Some(who))
    }

    fn set_moving(&mut self, id: SessionId, moving: Option<Moving>) {
        if let Some(active) = self.active.get_mut(&id) {
            active.moving = moving;
        }
    }

    /// Our copy was to replace that of a member which is there, and the owner is gone: the session is that member's unless it has
    /// let go.
    pub(super) fn outlive(&mut self, id: SessionId, other: Incarnation) {
        let (view, me) = (self.view_number(), self.tag);
        let Some(follows) = self.store.get(id).map(|s| s.epoch) else { return };
        self.store.update(id, |s| {
            s.epoch = follows.next(view, me);
            (s.role, s.partner, s.copied) = (Role::Claimant, MemberTag::NONE, false);
        });
        let epoch = self.store.get(id).map_or(follows, |s| s.epoch);
        self.active.enter(id).claim = Some(Claim::outliving(follows, other));
        self.marks.reach(Mark::SessionOutliveAsked);
        self.send(other, &Frame::Outlive(About { id, epoch: follows }), Some(Step::Claimed(id, epoch)));
    }

    /// Another copy was to replace ours, and its holder has lost the owner.
    pub(super) fn on_outlive(&mut self, from: Incarnation, about: &About) {
        let held = self.store.get(about.id).map(|s| (s.role, s.epoch));
        match held {
            // It let go, and has not had the session since.
            None if self.store.had(about.id) == Some(about.epoch) => {}
            Some((Role::Secondary, epoch)) if epoch == about.epoch => {
                self.marks.reach(Mark::SessionOutliveGranted);
                self.forget(about.id);
                self.advance(about.id);
            }
            _ => {
                self.marks.reach(Mark::SessionOutliveDenied);
                self.object(from, about.id, (about.epoch, 0), Objection::Epoch);
            }
        }
    }
}
