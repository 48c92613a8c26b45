//! Where members belong by the links that work (R15, V8): who moves to another leader, who goes, and who steps back for somebody
//! that has more links.

use std::collections::BTreeSet;

use super::ballot::{Attempt, Phase};
use super::mark::Mark;
use super::member::{Member, neighbours};
use super::suspicion::Report;
use crate::types::{Incarnation, Index, Micros, View, millis};
use crate::wire::control::{Control, Observation, Sight};

/// A member that no connection leads to for so long, which is enough for several dials, goes.
const UNREACHED: Micros = millis(7_500);

impl Member {
    /// Members that live but do not hear whom they must hear (V8): of each two, who is cut off from more others goes, the junior where
    /// it is even. The coordinator goes only if most are cut off from it.
    pub(super) fn review_links(&mut self, view: &View) {
        let lasting = self.setup.silence;
        let required = |a: Index, b: Index| {
            view.leader_of(a) == b || view.leader_of(b) == a || (view.is_leader(a) && view.is_leader(b))
        };
        let gone = view.members.iter().filter(|m| self.believed_gone(m.incarnation)).count();
        if gone * 2 > view.len() {
            self.marks.reach(Mark::JudgeCutOff);
            return; // It is us who are cut off.
        }
        let mut ends: BTreeSet<Index> = BTreeSet::new();
        for ((a, b), (first, last)) in &self.suspicion.deaf {
            let (Some(x), Some(y)) = (view.index_of(*a), view.index_of(*b)) else { continue };
            let going = [a, b].into_iter().any(|i| self.changes.removals.contains_key(i));
            if !going && required(x, y) && last.since(*first) >= lasting {
                ends.extend([x, y]);
            }
        }
        let kept = |i: &Index| {
            let whom = view.members[*i].incarnation;
            let heeded = !self.is_cut_off(view, whom) && !self.has_resigned(whom);
            whom == self.incarnation || (*i == view.coordinator() && heeded)
        };
        let worst = ends.into_iter().filter(|i| !kept(i)).max_by_key(|i| (self.missing_links(view, *i), *i));
        if let Some(index) = worst {
            self.place_anew(view, index);
        }
    }

    /// A member comes to the smallest group whose leader it hears, and that hears it; it goes if there is none (R15). A leader may stay
    /// in its group under its deputy, if that one hears all other leaders.
    fn place_anew(&mut self, view: &View, whom: Index) {
        let heard = |a: Index, b: Index| self.is_linked(view, a, b);
        let deputy = view.group(whom).deputy().filter(|_| view.is_leader(whom));
        let leads = |d: Index| view.groups.iter().map(|g| g.leader()).all(|l| l == whom || heard(d, l));
        let may_lead = |x: &Index| {
            let leader = if deputy == Some(*x) { leads(*x) } else { view.is_leader(*x) };
            leader && *x != whom && heard(whom, *x)
        };
        let member = view.members[whom].incarnation;
        // It must hear of it from us.
        let reached = view.index_of(self.incarnation).is_some_and(|me| heard(me, whom));
        if !reached || !(0..view.len()).any(|x| may_lead(&x)) {
            self.marks.reach(Mark::RemovalUnlinked);
            return self.remove(member, "it and its leader do not hear each other");
        }
        let others = (0..view.len()).filter(|x| !may_lead(x)).map(|x| view.members[x].incarnation).collect();
        self.marks.reach(Mark::MemberMoved);
        self.changes.moves.insert(member, others);
        self.changes.begin(self.now, self.setup.gather);
    }

    /// Whether two members hear each other, by what they told lately; those that watch each other would have told if they did not.
    fn is_linked(&self, view: &View, a: Index, b: Index) -> bool {
        let told = |by: Index, of: Index| {
            let (by, of) = (view.members[by].incarnation, view.members[of].incarnation);
            let report = self.suspicion.reports.get(&of)?.get(&by)?;
            (self.now.since(report.at) < self.setup.silence).then_some(report.sight)
        };
        let told = [told(a, b), told(b, a)];
        let well = || neighbours(view, a).contains(&b) || neighbours(view, b).contains(&a);
        !told.contains(&Some(Sight::Silent)) && (told.contains(&Some(Sight::Alive)) || well())
    }

    /// Two leaders do not hear each other: whoever may lead in place of the junior one is asked whether it hears the senior one.
    pub(super) fn ask_deputy(&mut self, view: &View, a: Index, b: Index) {
        let (senior, junior) = (a.min(b), a.max(b));
        if let Some(deputy) = view.group(junior).deputy() {
            self.send_to(view.members[deputy].incarnation, Control::Ask(view.members[senior].incarnation));
        }
    }

    /// With how many others that stay a member has no link, by all that was told lately.
    fn missing_links(&self, view: &View, of: Index) -> usize {
        let whom = view.members[of].incarnation;
        let missed = |by, whom| self.is_missed(by, whom);
        let others = view.members.iter().map(|m| m.incarnation);
        let stays = |i: &Incarnation| *i != whom && !self.changes.removals.contains_key(i);
        others.filter(stays).filter(|i| missed(*i, whom) || missed(whom, *i)).count()
    }

    /// Whether `by` has lately told that it does not hear `whom`, or is not heard by it.
    pub(super) fn is_missed(&self, by: Incarnation, whom: Incarnation) -> bool {
        let told = self.suspicion.reports.get(&whom).and_then(|reports| reports.get(&by));
        told.is_some_and(|r| r.sight == Sight::Silent && self.now.since(r.at) < self.setup.silence)
    }

    /// Whether half of the members, or more, have lately said for long that they and this one do not hear each other.
    pub(super) fn is_cut_off(&self, view: &View, whom: Incarnation) -> bool {
        let (now, silence) = (self.now, self.setup.silence);
        let Some(reports) = self.suspicion.reports.get(&whom) else { return false };
        let long = |r: &&Report| r.missed_for() >= Some(silence) && now.since(r.at) < silence;
        reports.values().filter(long).count() * 2 >= view.len()
    }

    /// Those to whom there has been no connection for long, of our own or through a leader, and who have answered no dial either. If they
    /// are most of all, it is us who reach nobody.
    pub(super) fn unreached(&mut self, attempt: &Attempt, waiting: &[Incarnation]) -> Vec<Incarnation> {
        let now = self.now;
        let there = |m: &Member, whom| m.links.link(whom).is_some() || m.via(whom, false).is_some();
        let asked = attempt.phase == Phase::Prepare;
        let apart = waiting.iter().filter(|whom| asked && **whom != self.incarnation && !there(self, **whom));
        let apart: BTreeSet<Incarnation> = apart.copied().collect();
        self.changes.apart.retain(|whom, _| apart.contains(whom));
        for whom in apart {
            self.changes.apart.entry(whom).or_insert(now);
        }
        let bearable = UNREACHED.max(self.setup.silence * 2);
        let long = self.changes.apart.iter().filter(|(_, since)| now.since(**since) >= bearable);
        let unreached: Vec<Incarnation> = long.map(|(whom, _)| *whom).collect();
        if unreached.len() * 2 <= attempt.participants.len() {
            return unreached;
        }
        if attempt.repeats.is_power_of_two() {
            self.resign();
        }
        Vec::new()
    }

    /// We act, and have no majority: somebody who has a link with us may have one, and takes our place for a while.
    pub(super) fn resign(&mut self) {
        let Some((view, me)) = self.view().map(|(v, me)| (v.clone(), me)) else { return };
        self.marks.reach(Mark::ActingResigned);
        let word =
            Observation { subject: self.incarnation, observer: self.incarnation, sight: Sight::Silent, amount: 0 };
        for (_, member) in view.members.iter().enumerate().filter(|(i, _)| *i != me) {
            if !self.believed_gone(member.incarnation) {
                self.send_to(member.incarnation, Control::Observe(word));
            }
        }
    }

    pub(super) fn has_resigned(&self, whom: Incarnation) -> bool {
        self.suspicion.resigned.get(&whom).is_some_and(|at| self.now.since(*at) < self.setup.silence)
    }
}
