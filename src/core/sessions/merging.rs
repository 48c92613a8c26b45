//! Copies from another life: a member that was removed keeps them, and finds out whether the others went on without them (S5). So does
//! one whose claim to a session may be outdated ([`Sessions::set_aside`]).
//!
//! The others can have gone on only through somebody else who held the session. Whoever did is here, in whatever life, and has not
//! had it since; or it left the cluster's line of views no later than those who still have a copy, and nobody who left after that is
//! away, so that whoever went on would be here. Where that holds for all of them, the newest copy that is left is the session.
//! Otherwise it stays where it is, and whoever asks for it is told that its holders are away.

use std::collections::BTreeMap;

use super::Sessions;
use crate::core::io::Event;
use crate::core::mark::Mark;
use crate::core::plant::Plant;
use crate::types::{Epoch, Incarnation, MemberTag, SessionId, View};
use crate::wire::session::{Departed, Frame, Here, Role};

/// Members that are remembered as gone.
const REMEMBERED: usize = 4_096;
/// Lives of one process that are remembered.
const LIVES: usize = 16;
/// Copies of other lives looked into at one time.
const AT_ONCE: usize = 64;

/// A copy from another life.
#[derive(Clone, Hash, Debug)]
pub(super) struct Orphan {
    /// Who this member was.
    me: MemberTag,
    /// Who else held the session, or could claim it.
    others: [MemberTag; 2],
}

/// What became of members, and of our own copies of other lives.
#[derive(Clone, Hash, Default, Debug)]
pub(super) struct Past {
    /// In which view each one was no longer there.
    departed: BTreeMap<MemberTag, u64>,
    /// Who this member was.
    lives: Vec<MemberTag>,
    orphans: BTreeMap<SessionId, Orphan>,
    cursor: Option<SessionId>,
}

/// A copy of another life that a member has told of.
#[derive(Clone, Hash, Debug)]
struct Kin {
    epoch: Epoch,
    version: u64,
    holder: MemberTag,
    of: Orphan,
}

/// What all members have told of a session.
#[derive(Clone, Hash, Default, Debug)]
pub(super) struct Found {
    /// Epoch and version of the newest copy in use.
    live: Option<(Epoch, u64)>,
    kin: Vec<Kin>,
    /// Who had it, and has it no more; and in which epoch.
    had: Vec<(MemberTag, Epoch)>,
    /// Who remembers nothing of it, and the last view of which that member may have forgotten it.
    forgotten: Vec<(MemberTag, u64)>,
    /// Who is here was also this one.
    lives: BTreeMap<MemberTag, MemberTag>,
}

impl Found {
    /// One member's answer.
    pub(super) fn add(&mut self, from: MemberTag, here: &Here) {
        let Here { role, epoch, version, was, others, .. } = *here;
        self.lives.extend(here.lives.iter().take(LIVES).map(|life| (*life, from)));
        match role {
            Role::None if was.is_some() => self.had.push((from, epoch)),
            Role::None => self.forgotten.push((from, version)),
            Role::Orphan => {
                self.kin.push(Kin { epoch, version, holder: from, of: Orphan { me: was, others: others.into() } })
            }
            _ => self.live = self.live.max(Some((epoch, version))),
        }
    }

    /// Somebody has a copy in use.
    pub(super) fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// Somebody has a copy of another life.
    pub(super) fn has_kin(&self) -> bool {
        !self.kin.is_empty()
    }
}

impl Kin {
    /// The newest copy is the session; of equal ones that of the greatest member.
    fn rank(&self) -> (Epoch, u64, MemberTag) {
        (self.epoch, self.version, self.holder)
    }
}

impl Past {
    /// Another life begins: everything that `sessions` holds becomes a copy of the one before.
    pub(super) fn of(sessions: &Sessions) -> Past {
        let mut orphans = sessions.past.orphans.clone();
        for (id, session) in sessions.store.iter() {
            if session.role == Role::Orphan {
                continue;
            }
            let active = sessions.active.get(&id);
            let given = active.and_then(|a| a.given).map_or(MemberTag::NONE, |(to, _)| to.into());
            let claim = active.and_then(|a| a.claim.as_ref()).map_or([MemberTag::NONE; 2], |claim| claim.others());
            let others = match session.role {
                Role::Secondary => [session.epoch.owner, session.partner],
                Role::Given => [given, session.partner],
                Role::Claimant if session.partner.is_some() => [claim[0], session.partner],
                Role::Claimant => claim,
                _ => [session.partner, sessions.moving(id).map_or(MemberTag::NONE, |moving| moving.to())],
            };
            orphans.insert(id, Orphan { me: sessions.tag, others });
        }
        let mut lives = sessions.past.lives.clone();
        lives.push(sessions.tag);
        let surplus = lives.len().saturating_sub(LIVES);
        lives.drain(..surplus);
        Past { lives, orphans, ..Past::default() }
    }

    /// Our copy of another life of a session: who this member was, and who else had one.
    pub(super) fn orphan(&self, id: SessionId) -> (MemberTag, (MemberTag, MemberTag)) {
        self.orphans.get(&id).map_or_else(Default::default, |orphan| (orphan.me, orphan.others.into()))
    }

    /// Who this member was in its other lives.
    pub(super) fn lives(&self) -> Vec<MemberTag> {
        self.lives.clone()
    }

    fn note(&mut self, who: MemberTag, view: u64) {
        self.departed.entry(who).or_insert(view);
        while self.departed.len() > REMEMBERED {
            let oldest = self.departed.iter().min_by_key(|(_, view)| **view).map(|(who, _)| *who);
            oldest.map(|who| self.departed.remove(&who));
        }
    }
}

impl Sessions {
    /// Notes who is gone, and tells newcomers of all who are.
    pub(super) fn follow_departures(&mut self, before: Option<&View>, view: &View) {
        let Some(before) = before else { return };
        for member in before.members.iter().filter(|m| view.index_of(m.incarnation).is_none()) {
            self.past.note(member.incarnation.into(), view.id.number);
        }
        // The most senior of those who stay speaks for all.
        let holds = |who: Incarnation| self.present(who.into()).is_some();
        let speaks = view.members.iter().find(|m| holds(m.incarnation) && before.index_of(m.incarnation).is_some());
        if speaks.is_none_or(|m| m.incarnation != self.incarnation) {
            return;
        }
        let departed: Vec<(MemberTag, u64)> = self.past.departed.iter().map(|(who, view)| (*who, *view)).collect();
        let new: Vec<Incarnation> =
            view.members.iter().map(|m| m.incarnation).filter(|i| holds(*i) && before.index_of(*i).is_none()).collect();
        for to in new {
            self.marks.reach(Mark::SessionDepartedTold);
            self.send(to, &Frame::Departed(Departed { members: departed.clone() }), None);
        }
    }

    /// Somebody who was here before us says who was, too.
    pub(super) fn on_departed(&mut self, departed: &Departed) {
        for (who, view) in departed.members.iter().take(REMEMBERED) {
            self.past.note(*who, *view);
        }
    }

    /// Whether nobody can have gone on with a session after the epoch of these copies of other lives, which are all of that epoch that
    /// are here. Whoever else had it then, or could claim it, must be here and must not have had it since; or have left no later than
    /// the last of these lives, and of those who left after that nobody may be away: whoever went on would be here.
    fn are_last(&self, copies: &[&Kin], found: &Found) -> bool {
        let epoch = copies[0].epoch;
        let others: Vec<MemberTag> =
            copies.iter().flat_map(|copy| copy.of.others).filter(|who| who.is_some()).collect();
        let trusts = self.plants.has(Plant::TrustDepartures);
        let left = |copy: &&Kin| self.past.departed.get(&copy.of.me).copied();
        // `None`: of one of them it is not known any more. The first view is number 1.
        let until = copies.iter().map(left).collect::<Option<Vec<u64>>>().and_then(|views| views.into_iter().max());
        let is_away = |who: &MemberTag| self.process_of(*who, found).is_none();
        let left_since = |until| self.past.departed.iter().any(|(who, view)| *view > until && is_away(who));
        let all_here = trusts || until.is_some_and(|until| !left_since(until));
        let stood_still = |who: &MemberTag| match self.process_of(*who, found) {
            Some(now) => {
                let had = found.had.iter().any(|(had, since)| *had == now && *since >= epoch);
                // It may have ended the session since: then nobody has it.
                let forgot = |until| found.forgotten.iter().any(|(who, view)| *who == now && *view >= until);
                !had && (trusts || !until.is_some_and(forgot))
            }
            None => all_here && self.past.departed.get(who).is_some_and(|left| Some(*left) <= until),
        };
        let went_on = found.had.iter().any(|(_, since)| *since > epoch);
        // Of a claim that was set aside in this life: whoever got a copy meanwhile is asked with all others, but for who has left since.
        if copies.iter().any(|copy| self.present(copy.of.me).is_some()) {
            return !went_on;
        }
        let forgotten = !all_here && found.forgotten.iter().any(|(_, view)| *view >= until.unwrap_or(1));
        others.is_empty() || (others.iter().all(stood_still) && (trusts || !(went_on || forgotten)))
    }

    /// Who is here of the process that was this member.
    fn process_of(&self, who: MemberTag, found: &Found) -> Option<MemberTag> {
        if who == self.tag || self.past.lives.contains(&who) {
            return Some(self.tag);
        }
        self.present(who).map_or_else(|| found.lives.get(&who).copied(), |_| Some(who))
    }

    /// Whether somebody was in the view before this one, and is in this one no more.
    pub(super) fn has_just_left(&self, who: MemberTag) -> bool {
        self.past.departed.get(&who) == Some(&self.view_number())
    }

    /// Whether of two members that are gone the second one was in a view without the first, or may have been.
    pub(super) fn has_outlived(&self, first: MemberTag, second: MemberTag) -> bool {
        let left = |who| self.past.departed.get(&who);
        left(second).is_none() || left(first).is_none_or(|view| left(second) > Some(view))
    }

    /// A copy of this life becomes one like those of another: these could have gone on with theirs.
    pub(super) fn set_aside(&mut self, id: SessionId, others: [MemberTag; 2]) {
        let now = self.seconds();
        self.marks.reach(Mark::SessionSetAside);
        self.past.orphans.insert(id, Orphan { me: self.tag, others });
        self.store.update(id, |s| {
            (s.role, s.partner, s.copied, s.used_s) = (Role::Orphan, MemberTag::NONE, false, now);
        });
        self.search_again(id);
        self.restoring.hurry(self.now);
    }

    /// Looks into some of the copies of another life.
    pub(super) fn look_into_past(&mut self) {
        if !self.primary || self.past.orphans.is_empty() {
            return;
        }
        let from = self.past.cursor.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let next = self.past.orphans.range((from, std::ops::Bound::Unbounded)).take(AT_ONCE);
        let ids: Vec<SessionId> = next.map(|(id, _)| *id).collect();
        self.past.cursor = ids.last().copied();
        for id in ids {
            if self.store.role(id) != Role::Orphan {
                self.past.orphans.remove(&id);
            } else if self.is_stale(id) {
                self.marks.reach(Mark::SessionOrphanStale);
                self.forget(id);
            } else if !self.is_searched(id) {
                self.search_for_kin(id);
            }
        }
    }

    /// Nobody has come back for a copy of another life while its session would have lived: uses are not told to who holds the second
    /// copy, so that counts from the end of that life.
    fn is_stale(&self, id: SessionId) -> bool {
        self.store.get(id).is_some_and(|s| s.ttl_s > 0 && self.seconds().saturating_sub(s.used_s) >= s.ttl_s)
    }

    /// All members have said what they have of a session of which we hold a copy of another life.
    pub(super) fn judge_orphan(&mut self, id: SessionId, found: &Found) {
        let Some((epoch, version)) = self.store.get(id).map(|s| (s.epoch, s.version)) else { return };
        if let Some(kept) = found.live {
            return self.drop_orphan(id, kept);
        }
        let Some(orphan) = self.past.orphans.get(&id) else { return };
        let mine = Kin { epoch, version, holder: self.tag, of: orphan.clone() };
        if found.kin.iter().any(|kin| kin.rank() > mine.rank()) {
            return self.marks.reach(Mark::SessionOrphanYields);
        }
        let copies: Vec<&Kin> = found.kin.iter().filter(|kin| kin.epoch == epoch).chain([&mine]).collect();
        let last = self.are_last(&copies, found);
        self.marks.reach_if(!last, Mark::SessionOrphanKept);
        if last && self.primary {
            self.revive(id);
        }
    }

    /// The others went on: their session stays, and what ours has that theirs has not is reported.
    fn drop_orphan(&mut self, id: SessionId, kept: (Epoch, u64)) {
        self.report_conflict(id, kept);
        self.marks.reach(Mark::SessionOrphanDropped);
        self.forget(id);
    }

    /// Where we hold a copy of another life that goes: says so if it has what the kept one has not.
    pub(super) fn report_conflict(&mut self, id: SessionId, kept: (Epoch, u64)) {
        let orphan = self.store.get(id).filter(|s| s.role == Role::Orphan).map(|s| (s.epoch, s.version));
        if let Some(dropped) = orphan.filter(|dropped| dropped.1 > kept.1) {
            self.marks.reach(Mark::SessionConflict);
            self.events.push(Event::SessionConflict { id, kept, dropped });
        }
    }

    /// Nobody went on: this copy is the session.
    fn revive(&mut self, id: SessionId) {
        let (view, me, now) = (self.view_number(), self.tag, self.seconds());
        self.store.update(id, |s| {
            s.epoch = s.epoch.next(view, me);
            (s.role, s.partner, s.copied, s.used_s) = (Role::Primary, MemberTag::NONE, false, now);
        });
        self.past.orphans.remove(&id);
        self.marks.reach(Mark::SessionRevived);
        self.restoring.lost();
    }
}
