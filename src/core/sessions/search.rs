//! Looking for the owner of a session: where a cookie says, then where whoever was asked says, then everywhere.

use std::collections::BTreeSet;

use super::Sessions;
use super::merging::Found;
use crate::core::mark::Mark;
use crate::core::plant::Plant;
use crate::types::{Code, Incarnation, MemberTag, Micros, SessionId, Time, millis};
use crate::wire::session::{Frame, Here, Question, Role};

/// How long to wait before looking again for a session that is on its way from one member to another.
const AGAIN: Micros = millis(20);
/// How long answers are waited for before all is asked anew: a member has not answered that has too much on its way to who asks.
const PATIENCE: Micros = millis(2_000);

/// A search under way.
#[derive(Clone, Hash, Debug)]
pub(super) struct Search {
    asked: u64,
    since: Time,
    /// Members that were asked to hand it over, and do not have it.
    vain: BTreeSet<Incarnation>,
    stage: Stage,
}

#[derive(Clone, Hash, Debug)]
enum Stage {
    /// This member was asked to hand it over.
    Wanted(Incarnation),
    /// All were asked what they have; these have not answered.
    Everywhere { left: BTreeSet<Incarnation>, found: Found },
    /// It is somewhere on its way.
    Pause(Time),
}

impl Sessions {
    /// Looks for a session that is not ours, if something waits for it.
    pub(super) fn look_for(&mut self, id: SessionId) {
        if self.front_of(id).is_none() && self.store.role(id) != Role::Orphan {
            self.search_again(id);
        }
        if self.view.is_none() || self.front_of(id).is_none() || self.create(id) {
            return;
        }
        if self.active.get(&id).is_some() && !self.is_searched(id) {
            let vain = BTreeSet::new();
            self.search_from(id, vain);
        }
    }

    /// Whether an answer may still come that says where a session is.
    pub(super) fn is_searched(&self, id: SessionId) -> bool {
        let search = self.active.get(&id).and_then(|a| a.search.as_ref());
        search.is_some_and(|search| match search.stage {
            Stage::Pause(until) => self.now < until,
            _ => self.now < search.since + PATIENCE,
        })
    }

    /// The view has changed, or what was found was of no use: looks anew.
    pub(super) fn search_again(&mut self, id: SessionId) {
        if let Some(active) = self.active.get_mut(&id) {
            active.search = None;
        }
    }

    /// Asks the next member that may own it.
    fn search_from(&mut self, id: SessionId, vain: BTreeSet<Incarnation>) {
        let Some(request) = self.front_of(id) else { return };
        let held = self.store.get(id).map(|s| s.epoch.owner);
        let given = self.active.get(&id).and_then(|a| a.given).map(|(to, _)| to.into());
        let hints = given.into_iter().chain(held).chain(request.holders);
        let next = hints
            .filter_map(|tag: MemberTag| self.present(tag))
            .find(|who| *who != self.incarnation && !vain.contains(who));
        match next {
            Some(whom) => self.want(id, whom, vain),
            None => self.ask_everywhere(id, vain),
        }
    }

    fn ask(&mut self, id: SessionId, vain: BTreeSet<Incarnation>, stage: Stage) -> Question {
        self.questions += 1;
        let asked = self.questions;
        self.active.enter(id).search = Some(Search { asked, since: self.now, vain, stage });
        Question { id, asked }
    }

    fn want(&mut self, id: SessionId, whom: Incarnation, vain: BTreeSet<Incarnation>) {
        self.marks.reach(Mark::SessionWanted);
        let looks = self.only_looks(id);
        let question = self.ask(id, vain, Stage::Wanted(whom));
        let frame = if looks { Frame::Fetch(question) } else { Frame::Want(question) };
        self.send(whom, &frame, None);
    }

    /// Asks all members what they have of a session of which we hold a copy of another life.
    pub(super) fn search_for_kin(&mut self, id: SessionId) {
        self.ask_everywhere(id, BTreeSet::new());
    }

    fn ask_everywhere(&mut self, id: SessionId, vain: BTreeSet<Incarnation>) {
        self.marks.reach(Mark::SessionSoughtEverywhere);
        let me = self.incarnation;
        let others: BTreeSet<Incarnation> = self.present.values().copied().filter(|who| *who != me).collect();
        let question = self.ask(id, vain, Stage::Everywhere { left: others.clone(), found: Found::default() });
        for who in &others {
            self.send(*who, &Frame::Where(question.clone()), None);
        }
        if others.is_empty() {
            self.searched_everywhere(id, &Found::default());
        }
    }

    /// An answer.
    pub(super) fn found(&mut self, from: Incarnation, here: &Here) {
        let id = here.id;
        let Some(search) = self.active.get_mut(&id).and_then(|a| a.search.as_mut()).filter(|s| s.asked == here.asked)
        else {
            return;
        };
        match &mut search.stage {
            Stage::Wanted(whom) if *whom == from => {
                search.vain.insert(from);
                let vain = search.vain.clone();
                let owner = self.present(here.owner).filter(|who| here.role != Role::None && *who != self.incarnation);
                self.marks.reach_if(owner.is_some_and(|owner| !vain.contains(&owner)), Mark::SessionRedirected);
                match owner {
                    // Who was asked before may have got it since, or gets it soon: asked at once, they could go on saying so.
                    Some(owner) if vain.contains(&owner) => self.pause(id),
                    Some(owner) => self.want(id, owner, vain),
                    None => self.search_from(id, vain),
                }
            }
            Stage::Everywhere { left, found } => {
                left.remove(&from);
                found.add(from.into(), here);
                let (over, found, vain) = (left.is_empty(), found.clone(), search.vain.clone());
                if matches!(here.role, Role::Primary | Role::Claimant) && self.front_of(id).is_some() {
                    self.marks.reach(Mark::SessionFoundEverywhere);
                    self.want(id, from, vain);
                } else if over {
                    self.searched_everywhere(id, &found);
                }
            }
            _ => {}
        }
    }

    /// Whether this member was asked for a session in the question of that number.
    pub(super) fn was_asked(&self, id: SessionId, whom: Incarnation, asked: u64) -> bool {
        let search = self.active.get(&id).and_then(|a| a.search.as_ref());
        search.is_some_and(|s| s.asked == asked && matches!(s.stage, Stage::Wanted(who) if who == whom))
    }

    fn pause(&mut self, id: SessionId) {
        self.marks.reach(Mark::SessionSearchPaused);
        let until = self.now + AGAIN;
        self.review_at = self.review_at.min(until);
        let _ = self.ask(id, BTreeSet::new(), Stage::Pause(until));
    }

    /// Who holds a session, as the cookies say of those that wait for it.
    fn holders_that_wait(&self, id: SessionId) -> impl Iterator<Item = MemberTag> {
        self.active.get(&id).into_iter().flat_map(|active| &active.waiting).flat_map(|waiting| waiting.request.holders)
    }

    /// All have answered, and nobody was asked to hand it over.
    fn searched_everywhere(&mut self, id: SessionId, found: &Found) {
        self.search_again(id);
        if self.store.role(id) == Role::Orphan {
            self.judge_orphan(id, found);
        }
        if self.front_of(id).is_none() || self.store.role(id) == Role::Primary {
            return;
        }
        // Whoever holds a copy speaks up when its owner is gone; until then it is on its way.
        let orphan = self.store.role(id) == Role::Orphan || found.has_kin();
        if found.is_live() || !matches!(self.store.role(id), Role::None | Role::Orphan) {
            return self.pause(id);
        }
        // The newest cookie of those that wait may be any one's.
        let away = orphan || self.holders_that_wait(id).any(|tag| tag.is_some() && self.present(tag).is_none());
        let forgets = self.plants.has(Plant::NewInsteadOfUnreachable);
        let code = if away && !forgets { Code::HoldersUnreachable } else { Code::NoSuchSession };
        self.marks.reach(if away { Mark::SessionUnreachable } else { Mark::SessionAbsent });
        self.answer_waiting(id, code);
    }
}
