//! The second copy: who holds it, how it follows, and how it is made anew when its holder is gone (S1, S6).

use super::active::Ending;
use super::handover::Stage;
use super::record::{Glance, Session};
use super::{Begun, Sessions, Step};
use crate::core::io::Event;
use crate::core::mark::Mark;
use crate::core::plant::Plant;
use crate::types::{Code, Incarnation, MemberInfo, MemberTag, Micros, SessionId, Time, limits, millis, mix};
use crate::wire::session::{About, Attributes, Change, Copy, Frame, Objection, Refused, Role};

/// How often copies are made anew while some are missing, and how often all sessions are looked at otherwise.
const RESTORE: Micros = millis(20);
const LOOK: Micros = millis(500);
/// While hosts use sessions, copies are made anew at this part of the rate that is allowed.
const YIELDED: usize = 5;
/// Sessions looked at in one go, unless there are so many that a whole round would take longer than `ROUND`.
const AT_ONCE: usize = 2_048;
/// How long a whole round takes at most while nothing is missing: so late a session may expire.
const ROUND: Micros = millis(8_000);
/// How long a member that has no memory for a copy is not asked again.
const FULL: Micros = millis(2_000);

/// The round through all sessions: whoever was lost is replaced, and what has expired goes.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Restoring {
    at: Time,
    /// The last session that was looked at.
    cursor: Option<SessionId>,
    /// How many are looked at in one go of this round, and how long to wait then.
    pace: (usize, Micros),
    /// Members were lost, and it has not been said yet that all sessions have two copies again.
    pending: bool,
    /// Copies made anew since the loss.
    made: u64,
    /// Something was begun in this round.
    pub(super) busy: bool,
    /// The host has asked for something since we last went on: it is not to wait for this.
    pub(super) live: bool,
}

impl Default for Restoring {
    fn default() -> Restoring {
        let (at, pace) = (Time::NEVER, (AT_ONCE, LOOK));
        Restoring { at, cursor: None, pace, pending: false, made: 0, busy: false, live: false }
    }
}

impl Restoring {
    pub(crate) fn view_changed(&mut self, now: Time, lost: bool) {
        self.at = now;
        self.cursor = None;
        self.busy = true;
        if lost && !self.pending {
            self.pending = true;
            self.made = 0;
        }
    }

    pub(crate) fn deadline(&self) -> Time {
        self.at
    }

    /// Second copies are missing.
    pub(crate) fn lost(&mut self) {
        self.pending = true;
    }

    /// There is something to do.
    pub(crate) fn hurry(&mut self, now: Time) {
        self.busy = true;
        self.at = self.at.min(now + RESTORE);
    }

    pub(crate) fn hurry_if(&mut self, wanted: bool, now: Time) {
        if wanted {
            self.hurry(now);
        }
    }

    /// There are sessions again to look at.
    pub(crate) fn begin(&mut self, now: Time) {
        self.at = self.at.min(now + LOOK);
    }
}

/// How many of so many sessions are looked at in one go, and how long to wait then. Rather more often than more at once: others wait
/// meanwhile.
fn pace(sessions: usize) -> (usize, Micros) {
    let most = AT_ONCE.max(sessions.div_ceil((ROUND / RESTORE) as usize));
    let share = ROUND * most as Micros / sessions.max(1) as Micros;
    (most, share.clamp(RESTORE, LOOK))
}

impl Sessions {
    /// Brings a session up to date with the view: who is gone owns nothing and holds nothing.
    pub(super) fn settle(&mut self, id: SessionId) {
        self.store.turn_to(id);
        let Some(session) = self.store.glance(id) else { return };
        let partner = session.partner();
        match session.role() {
            Role::Secondary if self.present(session.owner()).is_none() || self.promotes_early(id) => {
                let owner = session.owner();
                match self.present(partner) {
                    Some(beside) => self.outlive(id, beside),
                    // It may have gone on with its copy, before we came to look at ours.
                    None if partner.is_some() && self.has_outlived(owner, partner) => {
                        self.set_aside(id, [owner, partner]);
                    }
                    None => self.promote(id),
                }
            }
            Role::Primary if self.moving(id).is_some() => self.settle_move(id),
            Role::Primary if partner.is_some() && self.present(partner).is_none() => {
                self.marks.reach(Mark::SessionHolderLost);
                self.store.update(id, |s| (s.partner, s.copied) = (MemberTag::NONE, false));
            }
            Role::Given => self.take_back_if_alone(id),
            _ => {}
        }
    }

    fn promotes_early(&self, id: SessionId) -> bool {
        self.plants.has(Plant::PromoteEarly) && self.front_of(id).is_some()
    }

    /// The owner has left the view: whoever holds the other copy owns the session now.
    fn promote(&mut self, id: SessionId) {
        let (view, me, now) = (self.view_number(), self.tag, self.seconds());
        let in_place = self.plants.has(Plant::PromoteInPlace);
        self.store.update(id, |s| {
            s.epoch = if in_place { crate::types::Epoch { owner: me, ..s.epoch } } else { s.epoch.next(view, me) };
            (s.role, s.partner, s.copied, s.used_s) = (Role::Primary, MemberTag::NONE, false, now);
        });
        self.marks.reach(Mark::SessionPromoted);
        self.restoring.lost();
    }

    /// Sees to it that a session that we own has a second copy; answers for what waited for one if nobody can take it.
    pub(super) fn ensure_copy(&mut self, id: SessionId) {
        if !self.store.is_single(id) {
            return;
        }
        let Some(session) = self.store.get(id).filter(|s| !s.partner.is_some()) else { return };
        let Some(partner) = self.choose(id, MemberTag::NONE) else { return self.answer_single(id) };
        let copy = self.copy_of(id, &session);
        let version = session.version;
        self.store.update(id, |s| s.partner = partner.into());
        self.marks.reach(Mark::SessionCopySent);
        self.send(partner, &Frame::Copy(copy), Some(Step::Copied(id, version)));
        self.restoring.made += 1;
        self.restoring.busy = true;
        if let Some(active) = self.active.get_mut(&id) {
            active.copy_sent = version;
        }
    }

    pub(super) fn copy_of(&self, id: SessionId, session: &Session) -> Copy {
        let (epoch, version, ttl_s) = (session.epoch, session.version, session.ttl_s);
        let without = self.plants.has(Plant::CopyWithoutTokens);
        let tokens = if without { Vec::new() } else { session.tokens().collect() };
        Copy { id, epoch, follows: epoch, version, ttl_s, tokens, attributes: session.attributes() }
    }

    /// Nobody can hold a second copy now: in the primary view the only one is answered for, and said to be the only one.
    fn answer_single(&mut self, id: SessionId) {
        if !self.primary {
            return;
        }
        let lies = self.plants.has(Plant::SingleIsOk);
        let Some(active) = self.active.get_mut(&id) else { return };
        self.marks.reach_if(!active.begun.is_empty(), Mark::SessionAnsweredSingle);
        for begun in std::mem::take(&mut active.begun) {
            self.answer_begun(id, &begun, if begun.done || lies { Code::Ok } else { Code::Unreplicated });
        }
    }

    /// Among the members that are next to us in preference, but for one: the one on which this session's lot falls.
    pub(super) fn choose(&self, id: SessionId, but: MemberTag) -> Option<Incarnation> {
        let able = |who: Incarnation| but != who.into() && self.full.get(&who).is_none_or(|until| self.now >= *until);
        let lot = |who: Incarnation| mix(mix(id.0 as u64, (id.0 >> 64) as u64), MemberTag::from(who).0);
        let partners = &self.partners;
        let best = partners.iter().filter(|(_, who)| able(*who)).map(|(rank, _)| *rank).min()?;
        let same = partners.iter().filter(|(rank, who)| *rank == best && able(*who)).map(|(_, who)| *who);
        same.max_by_key(|who| lot(*who))
    }

    /// The members that hold copies of our sessions: at most so many as configured, the best ones first.
    pub(super) fn rank_partners(&mut self) {
        let Some(view) = self.view.clone() else { return };
        let me = &view.members[self.me];
        let stays = |m: &&MemberInfo| {
            let holds = self.present.contains_key(&m.incarnation.into());
            holds && m.incarnation != self.incarnation && !self.retiring.contains(&m.incarnation)
        };
        let lot = |m: &MemberInfo| mix(self.tag.0, MemberTag::from(m.incarnation).0);
        let others = view.members.iter().filter(stays);
        let mut ranked: Vec<(u8, u64, Incarnation)> =
            others.map(|m| (rank(me, m, self.rules.preferred_group.as_deref()), lot(m), m.incarnation)).collect();
        ranked.sort_unstable();
        self.partners = ranked.into_iter().take(self.rules.partners).map(|(rank, _, who)| (rank, who)).collect();
    }

    /// Sends a change to whoever holds the other copy, if somebody does.
    pub(super) fn replicate(&mut self, change: Change, partner: MemberTag, early: bool) {
        let (id, version) = (change.id, change.version);
        match self.present(partner) {
            Some(partner) => {
                if early {
                    self.cork(partner);
                } else {
                    self.uncork(id);
                }
                self.send(partner, &Frame::Change(change), Some(Step::Written(id, version)));
            }
            None => self.ensure_copy(id),
        }
    }

    /// Whether so many bytes more fit.
    pub(super) fn has_room(&self, more: usize) -> bool {
        self.store.bytes() + more <= self.rules.memory_bytes
    }

    pub(super) fn object(&mut self, to: Incarnation, id: SessionId, about: (crate::types::Epoch, u64), why: Objection) {
        let (epoch, version) = about;
        let held = self.store.get(id).map_or_else(Default::default, |s| s.epoch);
        self.send_objection(to, Refused { id, epoch, version, held, why });
    }

    /// Somebody who owns a session wants us to hold the other copy; `beside` holds one until it is told to let go.
    pub(super) fn on_copy(&mut self, from: Incarnation, copy: &Copy, beside: MemberTag) {
        if copy.epoch.owner != from.into() || copy.tokens.len() > limits::TOKENS {
            return self.faulty.push((from, "a copy of a session that is not the sender's"));
        }
        let id = copy.id;
        self.settle(id);
        let about = (copy.epoch, copy.version);
        let welcome = match self.store.get(id) {
            None => true,
            Some(held) => match held.role {
                Role::Secondary if held.epoch == copy.epoch => held.version <= copy.version,
                Role::Secondary => held.epoch == copy.follows,
                // What was not agreed to yet gives way to an owner, whose epoch was: whichever of the two is greater.
                Role::Given | Role::Claimant => true,
                Role::Orphan => true,
                _ => false,
            },
        };
        if !welcome {
            self.marks.reach(Mark::SessionCopyRefused);
            return self.object(from, id, about, Objection::Epoch);
        }
        let held = self.store.get(id).map_or(0, |s| s.bytes());
        let mut session = Session::new(
            Role::Secondary,
            copy.epoch,
            copy.version,
            copy.ttl_s,
            &copy.tokens,
            copy.attributes.as_bytes(),
        );
        if self.retired || !self.has_room(session.bytes().saturating_sub(held)) {
            self.marks.reach(if self.retired { Mark::SessionCopyLeaving } else { Mark::SessionCopyFull });
            // Without the newest version an older copy is worth nothing, and could be taken for it.
            self.forget(id);
            return self.object(from, id, about, Objection::Full);
        }
        self.report_conflict(id, (copy.epoch, copy.version));
        self.marks.reach(Mark::SessionCopyTaken);
        (session.partner, session.used_s) = (beside, self.seconds());
        self.forget(id);
        self.store.insert(id, &session);
        self.search_again(id);
        self.advance(id);
    }

    /// Drops a copy; whoever waits for something here goes on elsewhere.
    pub(super) fn forget(&mut self, id: SessionId) {
        self.store.remove(id);
        if let Some(active) = self.active.get_mut(&id) {
            (active.claim, active.given, active.moving) = (None, None, None);
        }
    }

    /// The owner has changed a session whose copy we hold.
    pub(super) fn on_change(&mut self, from: Incarnation, change: &Change) {
        self.store.turn_to(change.id);
        let about = (change.epoch, change.version);
        let why = match self.store.get(change.id) {
            Some(s) if s.role == Role::Secondary && s.epoch == change.epoch => {
                (s.version.wrapping_add(1) != change.version).then_some(Objection::Missing)
            }
            Some(_) => Some(Objection::Epoch),
            None => Some(Objection::Missing),
        };
        if change.epoch.owner != from.into() {
            return self.faulty.push((from, "a change of a session that is not the sender's"));
        }
        if let Some(why) = why {
            self.marks.reach(Mark::SessionChangeRefused);
            return self.object(from, change.id, about, why);
        }
        let mut merged = std::mem::take(&mut self.merged);
        let Some(session) = self.store.get(change.id) else { return };
        let kept = self.plants.has(Plant::KeepOldContent).then(|| session.attributes());
        let (whole, sets) = kept.as_ref().map_or((change.whole, &change.sets), |kept| (true, kept));
        let attributes = session.changed(whole, sets, &change.removes, &mut merged);
        if !self.has_room(session.growth(attributes.len())) {
            // The owner is told that the version before is still here, and has it until it knows of another holder.
            self.marks.reach(Mark::SessionChangeFull);
            return self.object(from, change.id, about, Objection::Full);
        }
        let now = self.seconds();
        self.marks.reach(Mark::SessionChangeTaken);
        self.store.rewrite(change.id, attributes, |s| {
            apply(s, change, now);
            // An owner begins a change only when nobody holds a copy beside ours any more.
            s.partner = MemberTag::NONE;
        });
        self.merged = merged;
    }

    /// The holder of the other copy does not follow.
    pub(super) fn on_refused(&mut self, from: Incarnation, refused: &Refused) {
        let Refused { id, epoch, version, held, why } = *refused;
        let Some(session) = self.store.get(id) else { return };
        let given = self.active.get(&id).and_then(|a| a.given);
        match session.role {
            Role::Claimant if session.epoch == epoch => self.claim_refused(id),
            Role::Claimant if self.outlives_in_vain(id, from, epoch) => self.doubt(id),
            Role::Given if given == Some((from, epoch)) => self.take_back(id),
            Role::Primary if session.epoch == epoch && self.moves_to(id, from).is_some() => {
                self.full.insert(from, self.now + FULL);
                self.drop_steps(from, id);
                if held > epoch {
                    return self.lose(id);
                }
                self.moves_to(id, from).into_iter().for_each(|moving| self.move_refused(id, moving));
                self.advance(id);
            }
            Role::Primary if session.epoch == epoch && session.partner == from.into() => {
                let late = self.active.get(&id).is_some_and(|a| version <= a.copy_sent);
                if late && why == Objection::Missing {
                    return;
                }
                if why != Objection::Missing {
                    self.full.insert(from, self.now + FULL);
                }
                self.drop_steps(from, id);
                if held > epoch {
                    return self.lose(id);
                }
                if why == Objection::Full && held == epoch {
                    self.marks.reach(Mark::SessionHolderFull);
                    if self.moving(id).is_none() {
                        self.replace_holder(id);
                    }
                    return self.advance(id);
                }
                self.marks.reach(Mark::SessionHolderObjected);
                self.store.update(id, |s| (s.partner, s.copied) = (MemberTag::NONE, false));
                self.moved(id);
                self.ensure_copy(id);
                self.advance(id);
            }
            _ => {}
        }
    }

    /// Somebody else owns a session that we took for ours.
    fn lose(&mut self, id: SessionId) {
        self.marks.reach(Mark::SessionOwnerSuperseded);
        self.call_off_move(id);
        self.forget(id);
        let begun = self.active.get_mut(&id).map(|a| std::mem::take(&mut a.begun)).unwrap_or_default();
        begun.iter().for_each(|begun| self.answer_begun(id, begun, Code::OutcomeUnknown));
        self.search_again(id);
        self.advance(id);
    }

    /// What was sent to a member about a session brings nothing about any more, but for letting go of it, and for the end of one of that
    /// name before.
    fn drop_steps(&mut self, peer: Incarnation, id: SessionId) {
        if let Some(outlet) = self.outlets.get_mut(&peer) {
            outlet.steps.retain(|(_, step)| step.id() != id || matches!(step, Step::Ended(..) | Step::Moved(_)));
            if outlet.steps.is_empty() {
                self.busy.remove(&peer);
            }
        }
    }

    /// The copy that we held is not needed any more: the session has another holder.
    pub(super) fn on_release(&mut self, about: About) {
        let given = self.active.get(&about.id).and_then(|a| a.given);
        let released = match self.store.role(about.id) {
            Role::Given => given.is_some_and(|(_, epoch)| epoch == about.epoch),
            Role::Secondary => self.store.get(about.id).is_some_and(|s| s.epoch == about.epoch),
            _ => false,
        };
        if released {
            self.marks.reach(Mark::SessionReleased);
            self.forget(about.id);
            self.advance(about.id);
        }
    }

    /// The session has ended.
    pub(super) fn on_end(&mut self, from: Incarnation, about: About) {
        let held = self.store.get(about.id).map(|s| (s.role, s.epoch));
        match held {
            None => {}
            Some((Role::Secondary, epoch)) if epoch == about.epoch => {
                self.marks.reach(Mark::SessionEndedAtHolder);
                self.forget(about.id);
            }
            Some(_) => {
                self.marks.reach(Mark::SessionEndRefused);
                self.object(from, about.id, (about.epoch, 0), Objection::Epoch);
            }
        }
    }

    /// A frame was obeyed, as far as nothing was said against it.
    pub(super) fn step_done(&mut self, peer: Incarnation, step: Step) {
        let id = step.id();
        self.store.turn_to(id);
        match step {
            Step::Written(_, version) => self.written(id, version),
            Step::Copied(_, version) => {
                let held = self.store.update(id, |s| {
                    let holds = s.role == Role::Primary && s.partner == peer.into();
                    s.copied |= holds;
                    holds
                });
                let over = self.restoring.pending && self.counts().single == 0;
                self.restoring.hurry_if(over || self.retired, self.now);
                if held == Some(true) {
                    self.marks.reach(Mark::SessionCopyConfirmed);
                    self.written(id, version);
                }
            }
            Step::Beside(_, version) => self.copied_beside(peer, id, version),
            Step::Moved(_) => self.moved(id),
            Step::Claimed(_, epoch) => self.claim_agreed(peer, id, epoch),
            Step::Ended(_, number) => self.ended(id, number),
        }
        self.advance(id);
    }

    /// A frame's receiver is gone.
    pub(super) fn step_lost(&mut self, peer: Incarnation, step: Step) {
        let id = step.id();
        match step {
            Step::Written(_, version) if self.plants.has(Plant::CountLostCopy) => self.written(id, version),
            Step::Written(..) | Step::Copied(..) | Step::Beside(..) | Step::Moved(_) => {}
            Step::Claimed(_, epoch) => self.claim_lost_voice(peer, id, epoch),
            Step::Ended(_, number) => self.ended(id, number),
        }
        self.settle(id);
        if self.store.role(id) == Role::Primary {
            self.ensure_copy(id);
        }
    }

    /// The other copy is at this version: what made it so is done.
    pub(super) fn written(&mut self, id: SessionId, version: u64) {
        let primary = self.primary || self.plants.has(Plant::AcknowledgeOutside);
        let Some(active) = self.active.get_mut(&id) else { return };
        active.begun.iter_mut().for_each(|begun| begun.done |= begun.version <= version);
        let answered = |begun: &Begun| begun.done && (primary || begun.early.is_some());
        while let Some(active) = self.active.get_mut(&id)
            && let Some(at) = active.begun.iter().position(answered)
            && let Some(begun) = active.begun.remove(at)
        {
            self.marks.reach(Mark::SessionAnsweredCopied);
            self.answer_begun(id, &begun, Code::Ok);
        }
    }

    /// This member acts in the primary view again: what two members have is answered.
    pub(super) fn answer_done(&mut self, id: SessionId) {
        if self.primary && self.active.get(&id).is_some_and(|a| a.begun.iter().any(|b| b.done)) {
            self.marks.reach(Mark::SessionAnsweredLate);
            self.written(id, 0);
        }
    }

    /// Looks at some more sessions: replaces lost holders, within the rate, and ends what has expired.
    pub(super) fn restore(&mut self) {
        if self.view.is_none() || self.now < self.restoring.at {
            return;
        }
        if self.store.is_empty() {
            self.restoring = Restoring::default();
            return;
        }
        if self.restoring.cursor.is_none() {
            // For the whole round, however many go meanwhile.
            self.restoring.pace = pace(self.store.len());
        }
        let (most, pause) = self.restoring.pace;
        self.restoring.at = self.now + if self.restoring.busy { RESTORE } else { pause };
        // Who leaves has no time to lose.
        let yields = std::mem::take(&mut self.restoring.live) && !self.retired;
        let rate = self.rules.restore_bytes_per_s / if yields { YIELDED } else { 1 };
        let mut quota = rate * (RESTORE as usize) / 1_000_000;
        let (mut looked, mut end, mut due) = (0, None, Vec::new());
        for (id, session) in self.store.after(self.restoring.cursor).take(most) {
            (looked, end) = (looked + 1, Some(id));
            due.extend(self.is_due(session).then_some(id));
        }
        for id in due {
            self.settle(id);
            if self.has_expired(id) {
                self.expire(id);
            }
            quota = quota.saturating_sub(self.make_copy(id) + self.evacuate(id));
            self.restoring.cursor = Some(id);
            if quota == 0 {
                return;
            }
        }
        self.restoring.cursor = end;
        if looked < most {
            self.end_round();
            self.look_into_past();
        }
    }

    /// Whether the round has something to do for a session. Most need nothing, and are passed over quickly.
    fn is_due(&self, session: Glance<'_>) -> bool {
        match session.role() {
            Role::Secondary => self.present(session.owner()).is_none(),
            Role::Primary => {
                let stays = |who: Incarnation| !self.retiring.contains(&who);
                let rests = session.is_copied() && !self.retired && self.present(session.partner()).is_some_and(stays);
                !rests || self.is_unused(session)
            }
            _ => true,
        }
    }

    /// Whether nobody has used a session for its time.
    fn is_unused(&self, session: Glance<'_>) -> bool {
        let (ttl_s, unused_s) = session.expiry(self.seconds());
        let ttl_s = if self.plants.has(Plant::ExpireEarly) { ttl_s.div_ceil(10) } else { ttl_s };
        ttl_s > 0 && unused_s >= ttl_s
    }

    /// Makes the second copy of a session that has none, if anybody can take it: the bytes that it sends.
    fn make_copy(&mut self, id: SessionId) -> usize {
        let lacks = |s: &Session| s.role == Role::Primary && s.partner == MemberTag::NONE;
        let Some(bytes) = self.store.get(id).filter(lacks).map(|s| s.bytes()) else { return 0 };
        self.ensure_copy(id);
        let made = self.store.get(id).is_some_and(|s| s.partner.is_some());
        self.advance(id);
        if made { bytes } else { 0 }
    }

    fn end_round(&mut self) {
        self.restoring.cursor = None;
        // What was begun may show more to do once it is done. Otherwise the next round has time, until the view changes.
        if !std::mem::take(&mut self.restoring.busy) {
            self.restoring.at = self.now + LOOK;
        }
        if self.restoring.pending && self.counts().single == 0 {
            self.marks.reach(Mark::SessionRedundancyRestored);
            self.restoring.pending = false;
            let sessions = std::mem::take(&mut self.restoring.made);
            let view = self.view.as_ref().expect("there is one").id;
            self.events.push(Event::RedundancyRestored { view, sessions });
        }
    }

    fn has_expired(&self, id: SessionId) -> bool {
        let busy = self.active.get(&id).is_some_and(|a| !a.is_idle());
        !busy && self.store.glance(id).is_some_and(|s| s.role() == Role::Primary && self.is_unused(s))
    }

    /// Ends a session that nobody has used for its time. Only its owner does, and only in the primary view.
    pub(super) fn expire(&mut self, id: SessionId) {
        if !self.primary {
            return;
        }
        self.marks.reach(Mark::SessionExpired);
        self.end_session(id, None);
        self.events.push(Event::SessionExpired { id });
    }

    /// Ends a session here and at whoever holds the other copy; the request is answered when both have done it.
    pub(super) fn end_session(&mut self, id: SessionId, request: Option<Ending>) {
        let Some((epoch, partner)) = self.store.remove(id) else { return };
        let partner = self.present(partner).filter(|_| !self.plants.has(Plant::EndHalf));
        let about = About { id, epoch };
        // What was answered for early, and nobody else has yet, has ended with it.
        let begun = self.active.get_mut(&id).map(|a| std::mem::take(&mut a.begun)).unwrap_or_default();
        begun.iter().for_each(|begun| self.answer_begun(id, begun, Code::OutcomeUnknown));
        let number = request.as_ref().map(|ending| ending.number);
        if let Some(ending) = request {
            self.active.enter(id).ending.push(ending);
        }
        match (partner, number) {
            (Some(partner), _) => self.send(partner, &Frame::End(about), number.map(|n| Step::Ended(id, n))),
            (None, Some(number)) => self.ended(id, number),
            (None, None) => {}
        }
    }

    /// Nobody has the session any more that this request has ended.
    fn ended(&mut self, id: SessionId, number: u64) {
        let Some(ending) = self.active.get_mut(&id).map(|a| &mut a.ending) else { return };
        if let Some(at) = ending.iter().position(|e| e.number == number) {
            ending.remove(at);
            let code = if self.primary { Code::Ok } else { Code::OutcomeUnknown };
            self.answer(number, id, code);
        }
    }

    /// Whether this member has not let go of a copy beside which we hold ours.
    fn outlives_in_vain(&self, id: SessionId, other: Incarnation, epoch: crate::types::Epoch) -> bool {
        self.active.get(&id).and_then(|a| a.claim.as_ref()).is_some_and(|claim| claim.is_denied(other, epoch))
    }

    /// Whether a claim waits for this member.
    pub(super) fn claim_waits_for(&self, id: SessionId, peer: Incarnation) -> bool {
        let stage = self.active.get(&id).and_then(|a| a.claim.as_ref()).map(|c| c.stage);
        matches!(stage, Some(Stage::Adopt(who) | Stage::Release(who)) if who == peer)
    }
}

/// How far down another member is in preference: the preferred group counts more than another machine.
fn rank(me: &MemberInfo, other: &MemberInfo, group: Option<&str>) -> u8 {
    let machine = |m: &MemberInfo| m.tags.get("machine").map_or_else(|| m.address.ip().to_string(), str::to_owned);
    let elsewhere = group.is_some_and(|group| other.tags.get("replication_group") != Some(group));
    2 * u8::from(elsewhere) + u8::from(machine(me) == machine(other))
}

/// Makes a change on a record.
pub(super) fn apply(session: &mut Session, change: &Change, now_s: u32) {
    if change.token != 0 {
        session.add_token(change.token);
    }
    session.version = change.version;
    session.used_s = now_s;
}

/// What attributes cost, names and values together.
pub(super) fn size_of(attributes: &Attributes) -> usize {
    attributes.as_bytes().len()
}
