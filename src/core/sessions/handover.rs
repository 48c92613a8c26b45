//! Ownership on its way from one member to another (S3).

use super::record::Session;
use super::{Sessions, Step};
use crate::core::mark::Mark;
use crate::core::plant::Plant;
use crate::types::{Code, Epoch, Incarnation, MemberTag, SessionId, limits};
use crate::wire::session::{About, Adopt, Frame, Give, Here, Objection, Question, Role};

/// Members that want the same session at one time.
const WANTED: usize = 1_024;

/// Sessions that are kept until the view is installed in which they were given.
const EARLY: usize = 256;

/// What a claimant waits for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Stage {
    /// That this member follows its epoch.
    Adopt(Incarnation),
    /// That this member, which gave the session, lets go of its copy.
    Release(Incarnation),
}

/// A claim under way.
#[derive(Clone, Hash, Debug)]
pub(super) struct Claim {
    /// The epoch before.
    follows: Epoch,
    /// Who gave it.
    giver: Option<Incarnation>,
    pub(super) stage: Stage,
}

impl Claim {
    /// A claim that depends on one member only, which must have let go.
    pub(super) fn outliving(follows: Epoch, other: Incarnation) -> Claim {
        Claim { follows, giver: None, stage: Stage::Release(other) }
    }

    fn outlives(&self) -> bool {
        self.giver.is_none() && matches!(self.stage, Stage::Release(_))
    }

    /// Whether an objection of this member to that epoch is one to the claim.
    pub(super) fn is_denied(&self, by: Incarnation, epoch: Epoch) -> bool {
        self.stage == Stage::Release(by) && self.follows == epoch
    }

    /// Members that hold a copy which may have gone another way: who gave it, and who was asked to agree.
    pub(super) fn others(&self) -> [MemberTag; 2] {
        let (Stage::Adopt(asked) | Stage::Release(asked)) = self.stage;
        [self.giver.map_or(MemberTag::NONE, Into::into), asked.into()]
    }
}

impl Sessions {
    /// Somebody wants a session.
    pub(super) fn on_want(&mut self, from: Incarnation, question: &Question) {
        let id = question.id;
        self.settle(id);
        if !matches!(self.store.role(id), Role::Primary | Role::Claimant) {
            return self.tell(from, question);
        }
        let wanted = &mut self.active.enter(id).wanted;
        wanted.retain(|(who, _)| *who != from);
        if wanted.len() < WANTED {
            wanted.push_back((from, question.asked));
        }
        self.uncork(id);
        self.advance(id);
    }

    /// Hands a session over to the first that wants it: nothing is under way with it any more.
    pub(super) fn give(&mut self, id: SessionId) {
        let Some(session) = self.store.get(id) else { return };
        let settled = session.partner == MemberTag::NONE || session.copied;
        let Some(active) = self.active.get_mut(&id).filter(|_| settled) else { return };
        let Some((to, asked)) = active.wanted.pop_front() else { return };
        let secondary = session.partner;
        let epoch = session.epoch.next(self.view.as_ref().map_or(0, |v| v.id.number), to.into());
        active.given = Some((to, epoch));
        let mut copy = self.copy_of(id, &self.store.get(id).expect("looked at above"));
        copy.follows = copy.epoch;
        copy.epoch = epoch;
        self.marks.reach(Mark::SessionGiven);
        self.send(to, &Frame::Give(Give { asked, view: self.view_number(), copy, secondary }), None);
        self.store.update(id, |s| s.role = Role::Given);
        self.turn_away(id);
    }

    /// Whoever else wants a session that is not ours any more is told where it went.
    pub(super) fn turn_away(&mut self, id: SessionId) {
        self.turn_lookers_away(id);
        let wanted = self.active.get_mut(&id).map(|a| std::mem::take(&mut a.wanted)).unwrap_or_default();
        for (who, asked) in wanted {
            self.marks.reach(Mark::SessionSentOn);
            self.tell(who, &Question { id, asked });
        }
    }

    /// A session was handed over to us.
    pub(super) fn on_give(&mut self, from: Incarnation, give: Give) {
        let Give { asked, view, copy, secondary } = give;
        let id = copy.id;
        if copy.epoch.owner != self.tag || copy.tokens.len() > limits::TOKENS || copy.epoch <= copy.follows {
            return self.faulty.push((from, "a session given in an epoch that is not its receiver's"));
        }
        if view > self.view_number() {
            // Who holds the other copy may have come with that view: until we know it we cannot ask it to follow.
            self.marks.reach(Mark::SessionGiveEarly);
            return match self.early.len() < EARLY {
                true => self.early.push((from, Give { asked, view, copy, secondary })),
                false => self.object(from, id, (copy.epoch, copy.version), Objection::Epoch),
            };
        }
        self.settle(id);
        let about = (copy.epoch, copy.version);
        let yields = match self.store.get(id) {
            None => true,
            Some(held) => match held.role {
                Role::Secondary => held.epoch == copy.follows,
                Role::Given | Role::Claimant => true,
                Role::Orphan => true,
                _ => false,
            },
        };
        if !yields {
            self.marks.reach(Mark::SessionGiveRefused);
            return self.object(from, id, about, Objection::Epoch);
        }
        self.report_conflict(id, (copy.epoch, copy.version));
        let mut session = Session::new(
            Role::Claimant,
            copy.epoch,
            copy.version,
            copy.ttl_s,
            &copy.tokens,
            copy.attributes.as_bytes(),
        );
        let held = self.store.get(id).map_or(0, |s| s.bytes());
        if !self.has_room(session.bytes().saturating_sub(held)) {
            self.marks.reach(Mark::SessionGiveFull);
            self.object(from, id, about, Objection::Full);
            self.search_again(id);
            return self.answer_waiting(id, Code::Full);
        }
        self.marks.reach(Mark::SessionGiveTaken);
        session.used_s = self.seconds();
        self.forget(id);
        self.store.insert(id, &session);
        self.active.enter(id).search = None;
        // Whoever holds the other copy must follow; if that is us, the giver takes our place.
        let other = self.present(secondary).filter(|who| *who != self.incarnation);
        let voice = other.or(self.present(from.into())).filter(|_| !self.plants.has(Plant::SkipAdoption));
        self.claim(id, copy.follows, Some(from), voice);
    }

    /// What was given to us in a view before we had installed it.
    pub(super) fn take_early_gifts(&mut self) {
        for (from, give) in std::mem::take(&mut self.early) {
            if self.present(from.into()).is_some() {
                self.on_give(from, give);
            }
        }
    }

    /// Begins to claim a session: `voice` must agree first.
    pub(super) fn claim(
        &mut self, id: SessionId, follows: Epoch, giver: Option<Incarnation>, voice: Option<Incarnation>,
    ) {
        self.marks.reach(if voice.is_some() { Mark::SessionClaimMade } else { Mark::SessionClaimUnasked });
        match voice {
            Some(voice) => {
                self.active.enter(id).claim = Some(Claim { follows, giver, stage: Stage::Adopt(voice) });
                self.ask_to_adopt(id, voice, follows);
            }
            None => self.establish(id),
        }
        self.advance(id);
    }

    fn ask_to_adopt(&mut self, id: SessionId, voice: Incarnation, follows: Epoch) {
        let Some((epoch, version)) = self.store.get(id).map(|s| (s.epoch, s.version)) else { return };
        let adopt = Adopt { id, epoch, follows, version };
        self.send(voice, &Frame::Adopt(adopt), Some(Step::Claimed(id, epoch)));
    }

    /// Whoever was asked has agreed.
    pub(super) fn claim_agreed(&mut self, peer: Incarnation, id: SessionId, epoch: Epoch) {
        if !self.claim_waits_for(id, peer) || self.store.get(id).is_none_or(|s| s.epoch != epoch) {
            return;
        }
        let Some(claim) = self.active.get_mut(&id).and_then(|a| a.claim.as_mut()) else { return };
        let skips = self.plants.has(Plant::SkipRelease);
        let giver = claim.giver.filter(|giver| *giver != peer && !skips);
        match (claim.stage, giver) {
            (Stage::Adopt(voice), giver) => {
                self.store.update(id, |s| (s.partner, s.copied) = (voice.into(), true));
                match giver.filter(|g| self.present((*g).into()).is_some()) {
                    Some(giver) => self.ask_to_release(id, giver, epoch),
                    None => self.establish(id),
                }
            }
            (Stage::Release(_), _) => self.establish(id),
        }
    }

    fn ask_to_release(&mut self, id: SessionId, giver: Incarnation, epoch: Epoch) {
        if let Some(claim) = self.active.get_mut(&id).and_then(|a| a.claim.as_mut()) {
            claim.stage = Stage::Release(giver);
        }
        self.marks.reach(Mark::SessionReleaseAsked);
        self.send(giver, &Frame::Release(About { id, epoch }), Some(Step::Claimed(id, epoch)));
    }

    /// Whoever was asked is gone: what it could have claimed went with it.
    pub(super) fn claim_lost_voice(&mut self, peer: Incarnation, id: SessionId, epoch: Epoch) {
        if !self.claim_waits_for(id, peer) || self.store.get(id).is_none_or(|s| s.epoch != epoch) {
            return;
        }
        let Some(claim) = self.active.get_mut(&id).and_then(|a| a.claim.as_mut()) else { return };
        let (follows, stage) = (claim.follows, claim.stage);
        let giver = claim.giver.filter(|giver| *giver != peer).filter(|g| self.present.contains_key(&(*g).into()));
        self.marks.reach(if matches!((stage, giver), (Stage::Adopt(_), Some(_))) {
            Mark::SessionClaimVoiceReplaced
        } else {
            Mark::SessionClaimVoiceLost
        });
        match (stage, giver) {
            (Stage::Adopt(_), Some(giver)) => {
                let claim = self.active.get_mut(&id).and_then(|a| a.claim.as_mut()).expect("looked at above");
                claim.stage = Stage::Adopt(giver);
                self.ask_to_adopt(id, giver, follows);
            }
            _ if self.may_have_gone_on(id, peer) => self.doubt(id),
            _ => self.establish(id),
        }
    }

    /// Whether this member, which was asked and is gone, may have gone on with its copy: it has been in a view without the session's
    /// owner. There it was the owner, and others may have a copy from it.
    fn may_have_gone_on(&self, id: SessionId, peer: Incarnation) -> bool {
        let Some(claim) = self.active.get(&id).and_then(|a| a.claim.as_ref()) else { return false };
        match claim.giver {
            // What it gave it does not take back while we are there.
            Some(giver) if giver == peer => false,
            // Gone in one view, they have gone together.
            Some(giver) => !self.has_just_left(giver.into()),
            // It was asked because the owner was gone.
            None => true,
        }
    }

    /// Our claim is no better than a copy of another life: it counts again once nobody who is here has anything newer.
    pub(super) fn doubt(&mut self, id: SessionId) {
        let Some(claim) = self.active.get_mut(&id).and_then(|a| a.claim.take()) else { return };
        if claim.outlives() {
            // Nobody has given us an epoch of our own.
            self.store.update(id, |s| s.epoch = claim.follows);
        }
        self.set_aside(id, claim.others());
        self.turn_away(id);
    }

    /// Nobody else can claim it: it is ours.
    fn establish(&mut self, id: SessionId) {
        if let Some(active) = self.active.get_mut(&id) {
            active.claim = None;
        }
        self.marks.reach(Mark::SessionEstablished);
        let now = self.seconds();
        self.store.update(id, |s| (s.role, s.used_s) = (Role::Primary, now));
        self.restoring.hurry_if(self.retired || !self.retiring.is_empty(), self.now);
        self.settle(id);
    }

    /// Whoever was asked follows somebody else: the session went another way.
    pub(super) fn claim_refused(&mut self, id: SessionId) {
        let giver = self.active.get(&id).and_then(|a| a.claim.as_ref()).and_then(|c| c.giver);
        let about = self.store.get(id).map(|s| (s.epoch, s.version));
        if let (Some(giver), Some(about)) = (giver.filter(|g| self.present.contains_key(&(*g).into())), about) {
            self.object(giver, id, about, Objection::Epoch);
        }
        self.marks.reach(Mark::SessionClaimRefused);
        self.forget(id);
        self.turn_away(id);
        self.search_again(id);
        self.advance(id);
    }

    /// The one to whom we gave a session is not in the view any more.
    pub(super) fn take_back_if_alone(&mut self, id: SessionId) {
        let given = self.active.get(&id).and_then(|a| a.given);
        if given.is_none_or(|(to, _)| self.present(to.into()).is_none()) {
            self.take_back(id);
        }
    }

    /// Takes a session back that we gave: whoever holds the other copy says whether it has gone on without us.
    pub(super) fn take_back(&mut self, id: SessionId) {
        let (view, me) = (self.view_number(), self.tag);
        let given = self.active.get_mut(&id).and_then(|a| a.given.take());
        let Some(session) = self.store.get(id) else { return };
        self.marks.reach(Mark::SessionTakenBack);
        let (follows, partner) = (session.epoch, self.present(session.partner));
        let newest = given.map_or(follows, |(_, epoch)| epoch);
        self.store.update(id, |s| {
            s.epoch = newest.next(view, me);
            (s.role, s.partner, s.copied) = (Role::Claimant, MemberTag::NONE, false);
        });
        self.active.enter(id);
        self.claim(id, follows, None, partner.filter(|_| !self.plants.has(Plant::TakeBackUnasked)));
    }

    /// Somebody claims a session whose other copy we hold, or that we gave away.
    pub(super) fn on_adopt(&mut self, from: Incarnation, adopt: &Adopt) {
        if adopt.epoch.owner != from.into() || adopt.epoch <= adopt.follows {
            return self.faulty.push((from, "a claim that is not the sender's"));
        }
        let id = adopt.id;
        let given = self.active.get(&id).and_then(|a| a.given);
        let agrees = self.store.get(id).is_some_and(|held| match held.role {
            Role::Secondary => {
                (held.epoch == adopt.follows && held.version == adopt.version) || held.epoch == adopt.epoch
            }
            Role::Given => given == Some((from, adopt.epoch)),
            _ => false,
        });
        if !agrees && !self.plants.has(Plant::AdoptAnything) {
            self.marks.reach(Mark::SessionAdoptRefused);
            return self.object(from, id, (adopt.epoch, adopt.version), Objection::Epoch);
        }
        self.marks.reach(if given.is_some() { Mark::SessionAdoptedByGiver } else { Mark::SessionAdopted });
        let epoch = adopt.epoch;
        if let Some(active) = self.active.get_mut(&id) {
            active.given = None;
        }
        self.store.update(id, |s| {
            (s.role, s.epoch, s.partner, s.copied) = (Role::Secondary, epoch, MemberTag::NONE, false);
        });
        self.search_again(id);
        self.advance(id);
    }

    /// An answer to a question of ours that says who has a session.
    pub(super) fn on_here(&mut self, from: Incarnation, here: &Here) {
        self.found(from, here);
        self.advance(here.id);
    }
}
