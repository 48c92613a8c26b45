//! Copies from another life: a member that was removed keeps them, and finds out whether the others went on without them (S5).
//!
//! The others can have gone on only through somebody else who held the session. So if all who did left the cluster's line of views
//! no later than this member, nobody went on, and the newest copy that is left is the session. Otherwise it stays where it is, and
//! whoever asks for it is told that its holders are away.

use std::collections::BTreeMap;

use super::Sessions;
use crate::core::io::Event;
use crate::core::mark::Mark;
use crate::types::{Epoch, Incarnation, MemberTag, SessionId, View};
use crate::wire::session::{Departed, Frame, Here, Role};

/// Members that are remembered as gone.
const REMEMBERED: usize = 4_096;
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
    orphans: BTreeMap<SessionId, Orphan>,
    cursor: Option<SessionId>,
}

/// The best copy that others have told of: its role, epoch and version, and who has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Best {
    pub(super) role: Role,
    pub(super) epoch: Epoch,
    pub(super) version: u64,
    pub(super) holder: MemberTag,
}

/// What all members have told of a session.
#[derive(Clone, Hash, Default, Debug)]
pub(super) struct Found {
    /// The best of their copies.
    pub(super) best: Option<Best>,
    /// Who held it in another life: who that was, and in which epoch.
    kin: Vec<(MemberTag, Epoch)>,
    /// Who had it in this life, and has it no more; and in which epoch.
    had: Vec<(MemberTag, Epoch)>,
}

impl Found {
    /// One member's answer.
    pub(super) fn add(&mut self, from: MemberTag, here: &Here) {
        let Here { role, epoch, version, was, .. } = *here;
        if role == Role::None {
            return self.had.extend(was.is_some().then_some((from, epoch)));
        }
        if role == Role::Orphan {
            self.kin.push((was, epoch));
        }
        let best = Best { role, epoch, version, holder: from };
        if self.best.is_none_or(|before| before.rank() < best.rank()) {
            self.best = Some(best);
        }
    }
}

impl Best {
    /// A copy in use before any of another life; of two the newer one; of two equal ones that of the greater member.
    pub(super) fn rank(&self) -> (bool, Epoch, u64, MemberTag) {
        (self.role != Role::Orphan, self.epoch, self.version, self.holder)
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
        Past { departed: BTreeMap::new(), orphans, cursor: None }
    }

    /// Who this member was when it held a session.
    pub(super) fn was(&self, id: SessionId) -> MemberTag {
        self.orphans.get(&id).map_or(MemberTag::NONE, |orphan| orphan.me)
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

    /// Whether nobody can have gone on with a session after the life from which we have a copy. Who has one of the same epoch from
    /// another life has not, nor has anybody who is here and never had it since, or who left the line of views no later than we did.
    fn is_last(&self, orphan: &Orphan, epoch: Epoch, found: &Found) -> bool {
        let mine = self.past.departed.get(&orphan.me);
        let here = |who: &MemberTag| self.present(*who).is_some();
        let had = |who: &MemberTag| found.had.iter().any(|(had, since)| had == who && *since >= epoch);
        let stood_still = |who: &MemberTag| {
            let left_first = self.past.departed.get(who).zip(mine).is_some_and(|(theirs, mine)| theirs <= mine);
            found.kin.contains(&(*who, epoch)) || (here(who) && !had(who)) || left_first
        };
        orphan.others.iter().filter(|who| who.is_some() && **who != orphan.me).all(stood_still)
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
            } else if self.active.get(&id).is_none_or(|a| a.search.is_none()) {
                self.search_for_kin(id);
            }
        }
    }

    /// Nobody has come back for a copy of another life while its session would have lived.
    fn is_stale(&self, id: SessionId) -> bool {
        self.store.get(id).is_some_and(|s| s.ttl_s > 0 && self.seconds().saturating_sub(s.used_s) >= s.ttl_s)
    }

    /// All members have said what they have of a session of which we hold a copy of another life.
    pub(super) fn judge_orphan(&mut self, id: SessionId, found: &Found) {
        let Some((epoch, version)) = self.store.get(id).map(|s| (s.epoch, s.version)) else { return };
        let mine = Best { role: Role::Orphan, epoch, version, holder: self.tag };
        let better = found.best.filter(|best| best.rank() > mine.rank());
        self.marks.reach_if(better.is_some_and(|best| best.role == Role::Orphan), Mark::SessionOrphanYields);
        match better {
            Some(best) if best.role != Role::Orphan => self.drop_orphan(id, (epoch, version), best),
            Some(_) => {}
            None => {
                let last = self.past.orphans.get(&id).is_some_and(|orphan| self.is_last(orphan, epoch, found));
                self.marks.reach_if(!last, Mark::SessionOrphanKept);
                if last && self.primary {
                    self.revive(id);
                }
            }
        }
    }

    /// The others went on: their session stays, and what ours has that theirs has not is reported.
    fn drop_orphan(&mut self, id: SessionId, dropped: (Epoch, u64), kept: Best) {
        if dropped.1 > kept.version {
            self.marks.reach(Mark::SessionConflict);
            self.events.push(Event::SessionConflict { id, kept: (kept.epoch, kept.version), dropped });
        }
        self.marks.reach(Mark::SessionOrphanDropped);
        self.forget(id);
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
