//! V1, V2, V5, V6 and the comparison behind D3: what each view id means, and what those who go on together have delivered.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use crate::core::ViewChange;
use crate::sim::random::fold;
use crate::types::{View, ViewId};

use super::{Guarantee, Ledger};

/// What those who went from one view to the next delivered of each sender in the first: the digest, and who said so first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Passage {
    senders: BTreeMap<u32, ((u64, u64, u64), u32)>,
}

impl Hash for Passage {
    /// Who said so first is for people: it decides nothing.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.senders.iter().for_each(|(sender, (digest, _))| (sender, digest).hash(state));
    }
}

impl Ledger {
    /// A view is ending at a process.
    pub(super) fn transition(&mut self, process: u16, view: ViewId) {
        let node = self.process(process).node;
        let Some(life) = self.process(process).life else {
            return self.violate(Guarantee::D3, format!("n{node} leaves {view:?} without having been in it"));
        };
        let current = self.life(life).view.as_ref().map(|view| view.id);
        self.check(Guarantee::D3, current == Some(view), || format!("n{node} in {current:?} leaves {view:?}"));
        self.lives[life as usize].transition = true;
    }

    /// Whether the view that a process is in is ending.
    pub fn is_leaving_view(&self, process: u16) -> bool {
        self.process(process).life.is_some_and(|life| self.life(life).transition)
    }

    /// The life of a process has ended, by the decision of others.
    pub(super) fn expelled(&mut self, process: u16, view: ViewId) {
        let node = self.process(process).node;
        let Some(life) = self.process(process).life else {
            return self.violate(Guarantee::V6, format!("n{node} is expelled from {view:?} without having been in it"));
        };
        self.lives[life as usize].ended = true;
        self.forgot_at = Some(self.now);
        self.processes[usize::from(process)].expelled = true;
    }

    /// A process installs a view.
    pub(super) fn installed(&mut self, process: u16, change: &ViewChange) {
        let view = &change.view;
        let node = self.process(process).node;
        self.check_membership(view);
        let Some(me) = view.members.get(change.me) else {
            return self.violate(Guarantee::V1, format!("n{node} is not in its own view {:?}", view.id));
        };
        let life = self.life_of(me.incarnation);
        let newest = self.life(life).view.as_ref().map_or(ViewId::NONE, |view| view.id);
        self.check(Guarantee::V1, view.id > newest && view.id.number > newest.number, || {
            format!("n{node} installs {:?} after {newest:?}", view.id)
        });
        self.check_life(process, life, view);
        let members: Vec<u32> = view.members.iter().map(|member| self.life_of(member.incarnation)).collect();
        if self.process(process).life == Some(life) {
            self.pass(life, view, &members);
            self.check_owed(life, view.id);
        }
        let record = &mut self.lives[life as usize];
        record.process = Some(process);
        record.view = Some(view.clone());
        record.members = members;
        record.transition = false;
        let record = &mut self.processes[usize::from(process)];
        record.life = Some(life);
        record.expelled = false;
    }

    /// One id, one membership; one name, one member.
    fn check_membership(&mut self, view: &View) {
        let hash = view.members.iter().fold(u64::from(view.fenced), |hash, member| {
            let words =
                [member.incarnation.0 as u64, u64::from(member.seat.0), u64::from(member.group), member.grouped];
            words
                .into_iter()
                .chain([u64::from(member.ready), u64::from(member.witness), member.admitted])
                .fold(hash, fold)
        });
        let (known, _) = *self.memberships.entry(view.id).or_insert((hash, self.now));
        self.check(Guarantee::V1, known == hash, || format!("{:?} has two memberships", view.id));
        for member in &view.members {
            self.check(Guarantee::V2, (1..=view.id.number).contains(&member.admitted), || {
                format!("{:?} says that view {} admitted {}", view.id, member.admitted, member.name)
            });
        }
        let led = view.groups.iter().any(|group| view.members[group.leader()].witness);
        self.check(Guarantee::V8, !led || view.carriers() == 0, || format!("a witness leads in {:?}", view.id));
        let mut names: Vec<&str> = view.members.iter().map(|member| member.name.as_str()).collect();
        names.sort_unstable();
        let twice = names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
        self.check(Guarantee::V2, twice.is_none(), || format!("{} is twice in {:?}", twice.unwrap_or(""), view.id));
    }

    /// A life belongs to one process, and begins after the host was told of the end of the one before.
    fn check_life(&mut self, process: u16, life: u32, view: &View) {
        let node = self.process(process).node;
        let owner = self.life(life).process;
        let text = self.name(life);
        self.check(Guarantee::V2, owner.is_none_or(|owner| owner == process), || {
            format!("n{node} installs {:?} as {text}, which was another process", view.id)
        });
        let before = self.process(process).life;
        if before.is_some() && before != Some(life) {
            let told = self.process(process).expelled;
            self.check(Guarantee::V6, told, || format!("n{node} comes back in {:?} and was not told why", view.id));
        }
    }

    /// The same life goes from one view to the next: the same was delivered by all who do.
    fn pass(&mut self, life: u32, view: &View, members: &[u32]) {
        let record = &self.lives[life as usize];
        let Some(from) = record.view.clone() else { return };
        let transition = record.transition;
        let senders = record.members.clone();
        let text = self.name(life);
        self.check(Guarantee::D3, transition, || format!("{text} goes from {:?} on without a transition", from.id));
        self.check_successor(&from, view);
        let leader_lost = from.groups.iter().any(|group| !members.contains(&senders[group.leader()]));
        if leader_lost {
            self.checks.note(Guarantee::D2);
        }
        if self.is_witness(life) {
            return;
        }
        let mut passage = self.passages.remove(&(from.id, view.id)).unwrap_or_default();
        for sender in senders.into_iter().filter(|sender| *sender != life) {
            let mine = self.lives[life as usize].received.get(sender as usize).map_or((0, 0, 0), |r| r.digest());
            let (theirs, other) = *passage.senders.entry(sender).or_insert((mine, life));
            self.checks.note(Guarantee::D3);
            if mine != theirs {
                let (a, b, of) = (self.name(other), self.name(life), self.name(sender));
                let text = format!("of {of} in {:?}: {a} has {theirs:?}, {b} has {mine:?}", from.id);
                self.violate(Guarantee::D3, text);
            }
        }
        self.passages.insert((from.id, view.id), passage);
        let ready = from.members.iter().any(|m| m.incarnation == self.life(life).incarnation && m.ready);
        self.pass_order(life, from.id, view.id, ready);
        self.lives[life as usize].received.iter_mut().for_each(|received| received.enter_view(leader_lost));
    }

    /// The fenced views are one log: after each comes one other, the same for all. Only processes that have forgotten what they
    /// accepted may decide a second one.
    fn check_successor(&mut self, from: &View, view: &View) {
        if !from.fenced || !view.fenced {
            return;
        }
        let known = *self.successors.entry(from.id).or_insert(view.id);
        let since = self.memberships.get(&from.id).map_or(0, |(_, since)| *since);
        let forgotten = self.forgot_at.is_some_and(|at| at >= since);
        self.check(Guarantee::V1, known == view.id || forgotten, || {
            format!("after {:?} comes {known:?} for some and {:?} for others", from.id, view.id)
        });
    }
}
