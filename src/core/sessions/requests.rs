//! What hosts ask for: in order for each session, answered when it is certain (S1, S4).

use super::active::Ending;
use super::copies::{apply, size_of};
use super::lag::weight;
use super::record::Session;
use super::{Begun, REVIEW, SessionAnswer, SessionOp, SessionRequest, Sessions, Waiting};
use crate::core::io::Event;
use crate::core::mark::Mark;
use crate::core::plant::Plant;
use crate::types::{Code, Epoch, MemberTag, SessionId, Time, limits};
use crate::wire::session::{Attributes, Change, Role};

impl Sessions {
    /// A host asks for something.
    pub(crate) fn request(&mut self, now: Time, primary: bool, request: SessionRequest) {
        (self.now, self.primary, self.touched) = (now, self.primary && primary, true);
        let (id, until) = (request.id, now + self.rules.timeout);
        self.active.enter(id).waiting.push_back(Waiting { request, until });
        self.review_at = self.review_at.min(now + REVIEW);
        self.restoring.live = true;
        self.advance(id);
    }

    /// Serves what waits for a session that is ours.
    pub(super) fn serve(&mut self, id: SessionId) {
        self.answer_done(id);
        if self.moving(id).is_some() {
            return;
        }
        if self.primary && self.is_over(id) {
            self.expire(id);
            self.turn_away(id);
            return self.look_for(id);
        }
        if self.active.get(&id).is_none_or(|a| a.is_idle()) {
            // Most have just been acknowledged, and nothing more is wanted of them.
            return self.ensure_copy(id);
        }
        while self.primary {
            let Some(active) = self.active.get(&id) else { break };
            let Some(front) = active.waiting.front() else { break };
            // What is read is certain: nothing that was not answered for is shown.
            let barrier = match &front.request.op {
                SessionOp::Write { token, .. } => *token != 0 && self.has_token(id, *token),
                _ => true,
            };
            if barrier && active.begun.iter().any(|begun| begun.early.is_none()) {
                self.marks.reach(Mark::SessionRequestWaits);
                break;
            }
            let Some(Waiting { request, until }) = self.active.get_mut(&id).and_then(|a| a.waiting.pop_front()) else {
                break;
            };
            match self.carry_out(id, request, until) {
                Role::Primary => {}
                _ => return self.look_for(id),
            }
        }
        self.ensure_copy(id);
        self.show(id);
        let at_rest = self.active.get(&id).is_some_and(|a| a.begun.is_empty() && !a.wanted.is_empty());
        if at_rest {
            self.give(id);
        }
    }

    /// Whether a session of ours has not been used for its time, and nothing waits that began before that.
    fn is_over(&self, id: SessionId) -> bool {
        let begun = self.active.get(&id).is_some_and(|a| !a.begun.is_empty());
        let (ttl_s, unused_s) = self.store.glance(id).map_or((0, 0), |s| s.expiry(self.seconds()));
        ttl_s > 0 && !begun && unused_s >= ttl_s
    }

    fn has_token(&self, id: SessionId, token: u64) -> bool {
        self.store.get(id).is_some_and(|s| s.tokens().any(|t| t == token)) && !self.plants.has(Plant::ForgetTokens)
    }

    /// Does one thing; answers what the session is to us afterwards.
    fn carry_out(&mut self, id: SessionId, request: SessionRequest, until: Time) -> Role {
        let (number, weight) = (request.number, weight(&request));
        let now = self.seconds();
        match request.op {
            SessionOp::Create { .. } => {
                self.marks.reach(Mark::SessionCreatedTwice);
                self.answer(number, id, Code::InvalidArgument);
            }
            SessionOp::Peek => {
                self.marks.reach(Mark::SessionPeekedHere);
                let shown = self.store.get(id).map(|s| s.attributes());
                self.answer_with(number, id, Code::Ok, shown);
            }
            SessionOp::Read | SessionOp::Touch => {
                self.marks.reach(Mark::SessionRead);
                self.store.update(id, |s| s.used_s = now);
                let shown =
                    (request.op == SessionOp::Read).then(|| self.store.get(id).map(|s| s.attributes())).flatten();
                self.answer_with(number, id, Code::Ok, shown);
            }
            SessionOp::Write { token, if_version, whole, sets, removes } => {
                let change = Change { id, epoch: Epoch::default(), version: if_version, token, whole, sets, removes };
                let early = self.admits_early(weight);
                match self.write(number, change, until, early) {
                    Ok(()) if early => self.answer_early(id, number, weight),
                    Ok(()) => {}
                    Err(code) => self.answer(number, id, code),
                }
            }
            SessionOp::Remove => {
                self.marks.reach(Mark::SessionEnded);
                self.end_session(id, Some(Ending { number, until }));
            }
        }
        self.store.role(id)
    }

    /// Makes a change; `change.version` is the version at which the session must be, 0 = any; `early`: nothing waits for the second
    /// copy. `Err` is the answer at once.
    fn write(&mut self, number: u64, mut change: Change, until: Time, early: bool) -> Result<(), Code> {
        let id = change.id;
        let mut merged = std::mem::take(&mut self.merged);
        let session = self.store.get(id).ok_or(Code::NoSuchSession)?;
        if change.token != 0 {
            if self.has_token(id, change.token) {
                self.marks.reach(if session.copied { Mark::SessionTokenRepeated } else { Mark::SessionTokenSingle });
                return Err(if session.copied { Code::Ok } else { Code::Unreplicated });
            }
            let oldest = session.tokens().min().unwrap_or(0);
            if session.tokens().count() == limits::TOKENS && change.token < oldest {
                self.marks.reach(Mark::SessionTokenForgotten);
                return Err(Code::TokenExpired);
            }
        }
        if change.version != 0 && change.version != session.version {
            self.marks.reach(Mark::SessionWriteConflicts);
            return Err(Code::VersionConflict);
        }
        let attributes = session.changed(change.whole, &change.sets, &change.removes, &mut merged);
        if attributes.len() > self.rules.session_bytes {
            self.marks.reach(Mark::SessionWriteTooLarge);
            return Err(Code::TooLarge);
        }
        if !self.has_room(session.growth(attributes.len())) {
            self.marks.reach(Mark::SessionWriteFull);
            return Err(Code::Full);
        }
        // Who gave us the session may have said that it is at the last version of all.
        (change.epoch, change.version) = (session.epoch, session.version.wrapping_add(1));
        let partner = session.partner;
        let now = self.seconds();
        self.store.rewrite(id, attributes, |s| apply(s, &change, now));
        self.merged = merged;
        self.marks.reach(Mark::SessionWritten);
        self.begin(id, number, change.version, until);
        self.replicate(change, partner, early);
        Ok(())
    }

    /// A change was made here; it is answered for once a second member has it.
    fn begin(&mut self, id: SessionId, number: u64, version: u64, until: Time) {
        if self.plants.has(Plant::AnswerBeforeCopy) {
            return self.answer(number, id, Code::Ok);
        }
        self.active.enter(id).begun.push_back(Begun {
            number,
            version,
            until,
            done: false,
            given_up: false,
            early: None,
        });
    }

    /// Makes a new session, if that is what is asked for one that we do not have.
    pub(super) fn create(&mut self, id: SessionId) -> bool {
        let Some(front) = self.active.get(&id).and_then(|a| a.waiting.front()) else { return false };
        let SessionOp::Create { ttl_s, attributes } = front.request.op.clone() else { return false };
        if !self.primary {
            self.marks.reach(Mark::SessionCreateWaits);
            return true;
        }
        let (number, until, weight) = (front.request.number, front.until, weight(&front.request));
        if let Some(active) = self.active.get_mut(&id) {
            active.waiting.pop_front();
        }
        let session = {
            let epoch = Epoch::default().next(self.view_number(), self.tag);
            let mut session = Session::new(Role::Primary, epoch, 1, ttl_s, &[], attributes.as_bytes());
            session.used_s = self.seconds();
            session
        };
        let refused = if size_of(&attributes) > self.rules.session_bytes {
            Some(Code::TooLarge)
        } else if !self.has_room(session.bytes()) {
            Some(Code::Full)
        } else {
            None
        };
        self.marks.reach_if(refused == Some(Code::TooLarge), Mark::SessionCreateTooLarge);
        self.marks.reach_if(refused == Some(Code::Full), Mark::SessionCreateFull);
        self.marks.reach_if(refused.is_none(), Mark::SessionCreated);
        match refused {
            Some(code) => self.answer(number, id, code),
            None => {
                self.store.insert(id, &session);
                self.begin(id, number, 1, until);
                self.ensure_copy(id);
                if self.admits_early(weight) {
                    self.answer_early(id, number, weight);
                }
                self.advance(id);
            }
        }
        true
    }

    /// Answers a request without attributes.
    pub(super) fn answer(&mut self, number: u64, id: SessionId, code: Code) {
        self.answer_with(number, id, code, None);
    }

    fn answer_with(&mut self, number: u64, id: SessionId, code: Code, attributes: Option<Attributes>) {
        // Where a copy of another life says that the session is, it is not.
        let held = self.store.get(id).filter(|s| s.role != Role::Orphan);
        let (epoch, version, partner) = held.map_or_else(Default::default, |s| (s.epoch, s.version, s.partner));
        self.push_answer(SessionAnswer {
            number,
            id,
            code,
            epoch,
            version,
            holders: [epoch.owner, partner],
            attributes,
        });
    }

    /// Answers a change that was begun, with the version that it made.
    pub(super) fn answer_begun(&mut self, id: SessionId, begun: &Begun, code: Code) {
        self.lag.close(begun);
        if begun.given_up || begun.early.is_some() {
            return;
        }
        let (epoch, partner) = self.store.get(id).map_or_else(Default::default, |s| (s.epoch, s.partner));
        let holders: [MemberTag; 2] = [epoch.owner, partner];
        let (number, version) = (begun.number, begun.version);
        self.push_answer(SessionAnswer { number, id, code, epoch, version, holders, attributes: None });
    }

    pub(super) fn push_answer(&mut self, answer: SessionAnswer) {
        self.events.push(Event::Session(answer));
    }

    /// Answers what has waited too long, or waits in vain outside the primary view.
    pub(super) fn review(&mut self, lapsed: bool) {
        self.review_at = if self.active.is_empty() { Time::NEVER } else { self.now + REVIEW };
        let ids: Vec<SessionId> = self.active.ids().collect();
        for id in ids {
            self.give_up_late(id, lapsed);
            self.advance(id);
        }
    }

    fn give_up_late(&mut self, id: SessionId, lapsed: bool) {
        let now = self.now;
        let Some(active) = self.active.get_mut(&id) else { return };
        let mut answers = Vec::new();
        let why_waiting = if lapsed { Code::NotPrimary } else { Code::Timeout };
        active.waiting.retain(|w| {
            let late = lapsed || now >= w.until;
            if late {
                self.marks.reach(if lapsed { Mark::SessionRequestLapsed } else { Mark::SessionRequestTimedOut });
                answers.push((w.request.number, why_waiting));
            }
            !late
        });
        active.ending.retain(|ending| {
            let late = lapsed || now >= ending.until;
            if late {
                self.marks.reach(Mark::SessionEndUnknown);
                answers.push((ending.number, Code::OutcomeUnknown));
            }
            !late
        });
        for begun in active.begun.iter_mut().filter(|b| !b.given_up && b.early.is_none() && (lapsed || now >= b.until))
        {
            self.marks.reach(Mark::SessionOutcomeUnknown);
            begun.given_up = true;
            answers.push((begun.number, Code::OutcomeUnknown));
        }
        for (number, code) in answers {
            self.answer(number, id, code);
        }
    }

    /// What is under way with a session.
    pub(super) fn front_of(&self, id: SessionId) -> Option<&SessionRequest> {
        self.active.get(&id).and_then(|a| a.waiting.front()).map(|w| &w.request)
    }

    /// Answers everything that waits for a session that is not there.
    pub(super) fn answer_waiting(&mut self, id: SessionId, code: Code) {
        let waiting = self.active.get_mut(&id).map(|a| std::mem::take(&mut a.waiting)).unwrap_or_default();
        for w in waiting {
            self.answer(w.request.number, id, code);
        }
    }
}
