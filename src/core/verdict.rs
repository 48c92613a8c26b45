//! What the coordinator concludes from all that was told of a member: whether it must go (V7).

use std::collections::BTreeMap;

use super::mark::Mark;
use super::member::{Member, neighbours};
use super::plant::Plant;
use super::suspicion::{Report, SILENT};
use crate::types::{Incarnation, Index, Time, View};
use crate::wire::control::Sight;

impl Member {
    /// Decides, as coordinator, who must go.
    pub(super) fn review(&mut self) {
        if !self.is_acting() || self.has_said_goodbye() {
            return;
        }
        let Some((view, me)) = self.view().map(|(v, me)| (v.clone(), me)) else { return };
        let (now, silence) = (self.now, self.setup.silence);
        self.forget_reports(&view);
        self.suspicion.deaf.retain(|_, (_, last)| now.since(*last) < silence);
        for (index, member) in view.members.iter().enumerate() {
            if index == me || self.changes.removals.contains_key(&member.incarnation) {
                continue;
            }
            if let Some(why) = self.verdict(&view, member.incarnation) {
                self.remove(member.incarnation, why);
            }
        }
        self.review_links(&view);
    }

    /// What was told counts for as long as silence is borne. Who listens to a member would take its word for it back by itself: where
    /// somebody accuses the member, that word lasts for as long as the listener is there. Dials are lost more often than all heartbeats.
    fn forget_reports(&mut self, view: &View) {
        let (now, silence) = (self.now, self.setup.silence);
        let mut reports = std::mem::take(&mut self.suspicion.reports);
        for (subject, told) in &mut reports {
            let fresh = |report: &Report| now.since(report.at) < silence;
            let accused = told.values().any(|report| fresh(report) && report.sight != Sight::Alive);
            let stands = |observer| accused && listens(view, observer, *subject) && !self.believed_gone(observer);
            told.retain(|observer, report| fresh(report) || (report.sight == Sight::Alive && stands(*observer)));
        }
        self.suspicion.reports = reports;
    }

    /// Why a member must go, if it must.
    fn verdict(&mut self, view: &View, subject: Incarnation) -> Option<&'static str> {
        if self.suspicion.is_proven(subject) {
            self.marks.reach(Mark::RemovalProven);
            return Some("this life of it has ended");
        }
        let reports = self.suspicion.reports.get(&subject)?;
        // Who is heard and hears nobody is no better than one that is silent: only a link in both directions speaks for it.
        let linked = self.detector.unlinked_for(self.now, subject).is_some_and(|t| t < self.setup.silence / 2);
        let alive = linked || reports.values().any(|r| r.sight == Sight::Alive);
        if let Some(given_up) = self.given_up(view, subject, reports, alive) {
            match self.patience(view, subject, reports) {
                Some(until) => {
                    self.marks.reach(Mark::RemovalPutOff);
                    self.suspicion.review_at = Some(self.suspicion.review_at.map_or(until, |at| at.min(until)));
                }
                None => {
                    self.marks.reach(given_up);
                    return Some(SILENT);
                }
            }
        }
        let reports = self.suspicion.reports.get(&subject)?;
        if alive {
            let borne = self.setup.silence;
            for (accuser, report) in reports.iter().filter(|(_, r)| r.missed_for() >= Some(borne)) {
                self.marks.reach(Mark::PairDeaf);
                self.suspicion.deaf.entry((*accuser, subject)).or_insert((report.at, report.at)).1 = report.at;
            }
        }
        reports.values().any(|r| r.sight == Sight::Faulty).then_some("it sent what it must not")
    }

    /// Whether so many miss a member as are needed, and one of them for as long as is borne.
    fn given_up(
        &self, view: &View, subject: Incarnation, reports: &BTreeMap<Incarnation, Report>, alive: bool,
    ) -> Option<Mark> {
        let (now, borne) = (self.now, self.setup.silence);
        let misses = |r: &Report| matches!(r.sight, Sight::Silent | Sight::Dead);
        let firm = |(o, r): &(&Incarnation, &Report)| misses(r) && !self.waits(view, **o, subject, r);
        let silent = reports.iter().filter(firm).count();
        // Two that do not hear may accuse one that is well: we look for ourselves before anybody goes.
        let looked = reports.get(&self.incarnation).is_some_and(misses);
        let long = reports.values().any(|r| r.missed_for() >= Some(borne));
        let others = view.members.iter().filter(|m| m.incarnation != subject && !self.believed_gone(m.incarnation));
        let rash = self.plants.has(Plant::OneObserverKills);
        let needed = if rash { 1 } else { others.count().clamp(1, 2) };
        let enough = silent >= needed && (looked || rash) && long;
        // Whoever has just said so can be heard, whatever is believed of it: we may have been the one that was cut off.
        let spoken_for = reports.values().any(|r| r.sight == Sight::Alive && now.since(r.at) < borne / 2);
        let given_up = enough && (!alive || (needed == 1 && !spoken_for));
        given_up.then_some(if needed == 1 { Mark::RemovalByOne } else { Mark::RemovalSilent })
    }

    /// Until when somebody is waited for who listens to a member and has not given it up: it has heard it more lately than those who
    /// have. Not for longer than a quarter of what is borne, as it may be silent itself.
    fn patience(&self, view: &View, subject: Incarnation, reports: &BTreeMap<Incarnation, Report>) -> Option<Time> {
        let borne = self.setup.silence;
        let until = reports.values().filter_map(|r| Some(r.at + borne / 4 * 5 - r.missed_for()?)).min()?;
        let patient = |listener: &Index| {
            let listener = view.members[*listener].incarnation;
            let gave_up = reports.get(&listener).is_some_and(|r| !self.waits(view, listener, subject, r));
            !gave_up && !self.believed_gone(listener)
        };
        let rash = self.plants.has(Plant::OneObserverKills);
        let waited = self.now < until && !rash && neighbours(view, view.index_of(subject)?).iter().any(patient);
        waited.then_some(until)
    }

    /// Whether an observer listens to a member and has not waited for as long as is borne: it may still hear it. Who does not listen
    /// goes by dials alone.
    fn waits(&self, view: &View, observer: Incarnation, subject: Incarnation, report: &Report) -> bool {
        report.missed_for().is_some_and(|missed| missed < self.setup.silence) && listens(view, observer, subject)
    }

    /// Takes a member into the next change as one that goes.
    pub(super) fn remove(&mut self, whom: Incarnation, why: &'static str) {
        self.changes.removals.insert(whom, why);
        self.changes.begin(self.now, self.setup.gather);
    }
}

/// Whether one member of a view watches the heartbeats of another.
fn listens(view: &View, observer: Incarnation, subject: Incarnation) -> bool {
    let both = view.index_of(observer).zip(view.index_of(subject));
    both.is_some_and(|(observer, subject)| neighbours(view, observer).contains(&subject))
}
