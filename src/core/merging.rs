//! Members that were cut off: who was removed is told, and parts of a cluster find each other again (V4, R23).

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::mark::Mark;
use super::member::Member;
use crate::types::{Incarnation, Micros, Time, View, ViewId, millis};
use crate::wire::control::{Control, Expelled, Purpose, Sight, ViewSummary};

/// Views that are remembered as ours.
const ANCESTORS: usize = 64;
/// Removed members that are looked for.
const LOST: usize = 64;
/// How often each of them is looked for.
const LOOK: Micros = millis(1_000);
/// How long they are looked for: a machine that comes back later finds us through its seeds.
const FORGET: Micros = millis(600_000);
/// How long a view must have stood before its coordinator gives it up for another one.
const SETTLED: Micros = millis(1_000);

/// What came before the current view.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct History {
    ancestors: VecDeque<ViewId>,
    lost: Vec<Lost>,
    look_at: Time,
}

#[derive(Clone, Hash, Debug)]
struct Lost {
    address: SocketAddr,
    since: Time,
}

impl History {
    /// `after` follows `before`: notes who was lost on the way.
    pub(crate) fn follow(&mut self, before: &View, after: &View, left: impl Fn(Incarnation) -> bool, now: Time) {
        if self.ancestors.len() == ANCESTORS {
            self.ancestors.pop_front();
        }
        self.ancestors.push_back(before.id);
        let gone = before.members.iter().filter(|m| after.index_of(m.incarnation).is_none());
        for member in gone.filter(|m| !left(m.incarnation)) {
            if !self.lost.iter().any(|l| l.address == member.address) {
                self.lost.push(Lost { address: member.address, since: now });
            }
        }
        self.lost.retain(|l| now.since(l.since) < FORGET && !after.members.iter().any(|m| m.address == l.address));
        let surplus = self.lost.len().saturating_sub(LOST);
        self.lost.drain(..surplus);
    }

    /// A new incarnation knows nothing of views yet; the addresses at which those of the last one are looked for are worth
    /// keeping, and its own is one of them: the others look there.
    pub(crate) fn restart(&mut self, view: &View, now: Time) {
        self.ancestors.clear();
        self.lost = view.members.iter().map(|m| Lost { address: m.address, since: now }).collect();
    }

    /// Where to look for a cluster beside the seeds.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.lost.iter().map(|l| l.address)
    }

    fn is_ancestor(&self, id: ViewId) -> bool {
        self.ancestors.contains(&id)
    }
}

impl Member {
    /// If a member's view is one that ours has left behind without it: what to tell it.
    pub(super) fn expelled_by_us(&self, whom: Incarnation, theirs: &ViewSummary) -> Option<Control> {
        self.expelled_by_us_at(whom, theirs.id)
    }

    pub(super) fn expelled_by_us_at(&self, whom: Incarnation, view: ViewId) -> Option<Control> {
        let (ours, _) = self.view()?;
        if ours.index_of(whom).is_some() || !self.history.is_ancestor(view) {
            return None;
        }
        self.marks.reach(Mark::RemovedTold);
        let by = self.summary()?;
        Some(Control::Expelled(Expelled { incarnation: whom, by, why: "the others removed it".to_owned() }))
    }

    pub(super) fn on_expelled(&mut self, expelled: Expelled) {
        let Some((view, me)) = self.view() else { return };
        // A word of our own view is for who is not ready and lacks messages that the others have forgotten: it starts again (R24).
        // Of an earlier one it comes late.
        let vain = match view.id == expelled.by.id {
            true => view.members[me].ready,
            false => !self.is_foreign(&expelled.by),
        };
        if expelled.incarnation != self.incarnation || vain {
            return;
        }
        self.marks.reach(Mark::Expelled);
        self.restart(&expelled.why, Some(expelled.by.address));
    }

    /// Looks for members that were lost, and for seeds that are not in the view: they may live in another part.
    pub(super) fn tick_merging(&mut self) {
        if self.fanout.is_none() || self.now < self.history.look_at {
            return;
        }
        self.history.look_at = self.now + LOOK;
        self.look_for_change();
        if !self.is_acting() || self.plants.has(super::Plant::NeverMerge) {
            return;
        }
        self.look_up_names();
        let Some((view, _)) = self.view() else { return };
        let known = self.hints.iter().chain(self.seeds.iter().flatten()).copied();
        let mut wanted: Vec<SocketAddr> = self.history.addresses().chain(known).collect();
        wanted.extend(self.listed_of_missing_voters(view));
        wanted.extend(self.group.met().take(super::multicast::MET_AT_ONCE));
        wanted.retain(|a| !view.members.iter().any(|m| m.address == *a) && *a != self.setup.advertise);
        wanted.sort_unstable();
        wanted.dedup();
        for address in wanted {
            let busy = self.links.iter().any(|(_, c)| c.dialed && c.remote == address);
            if !busy {
                self.marks.reach(Mark::LostLookedFor);
                self.dial(address, Purpose::Probe, None);
            }
        }
    }

    /// Whether a view is neither ours nor one that came before it.
    pub(super) fn is_foreign(&self, theirs: &ViewSummary) -> bool {
        // Who joined with our view does not remember the one before, in which others may still be.
        let previous = self.installed.as_ref().is_some_and(|p| p.previous == theirs.id);
        self.view().is_some_and(|(ours, _)| ours.id != theirs.id) && !previous && !self.history.is_ancestor(theirs.id)
    }

    /// A member of our view is in one that has no place for us: it missed our installation and went another way. It can
    /// never come into ours in this life.
    pub(super) fn on_gone_over(&mut self, whom: Incarnation) {
        self.marks.reach(Mark::GoneOver);
        // It may be the one who coordinates ours: to this view it is dead, whoever acts next.
        self.end_check(whom, Sight::Dead);
        self.suspicion.gone_over.insert(whom);
    }

    /// Somebody of another view lives there: worth asking.
    pub(super) fn look_at(&mut self, address: SocketAddr) {
        if self.hints.len() >= LOST && !self.hints.contains(&address) {
            self.hints.pop_first();
        }
        self.hints.insert(address);
    }

    /// `who` is in another view. Answers whether we stay in ours.
    pub(super) fn meet_view(&mut self, who: Incarnation, theirs: &ViewSummary, member: bool) -> bool {
        let Some((ours, _)) = self.view().map(|(v, me)| (v.clone(), me)) else { return true };
        let previous = self.installed.as_ref().map(|proposal| proposal.previous);
        if ours.index_of(who).is_some() && previous == Some(theirs.id) {
            self.marks.reach(Mark::LaggardMet);
            // It lags behind, and whoever should have told it may be gone.
            self.send_install(who);
            return true;
        }
        // Who is in a view has promised in the one before: nobody lags by more than one.
        let lagging = member && theirs.id.number == ours.id.number + 1;
        if lagging || !self.is_foreign(theirs) {
            return true;
        }
        let primary = self.is_primary(self.now);
        let cut_off = theirs.fenced && theirs.primary && ours.fenced && !primary;
        if cut_off {
            self.marks.reach(Mark::CutOffMet);
            self.restart("it was cut off, and the others went on", Some(theirs.address));
            return false;
        }
        self.marks.reach(Mark::PartMet);
        let settled =
            self.now.since(self.installed_at) >= SETTLED && self.attempt.is_none() && self.late < self.setup.heartbeat;
        if !self.is_acting() || !settled || !self.loses_to(theirs) {
            self.marks.reach_if(self.is_acting() && settled, Mark::MergeWon);
            // We may have come upon any of its members: its coordinator, who may have to give way, must come to know of us.
            self.look_at(theirs.address);
            return true;
        }
        self.marks.reach(match ours.carriers() as u32 == theirs.members {
            _ if theirs.fenced => Mark::MergeToFenced,
            true => Mark::MergeToEqual,
            false => Mark::MergeToLarger,
        });
        self.note(
            2,
            format!("this part of the cluster ({} members) gives way to one of {} members", ours.len(), theirs.members),
        );
        // Those behind a leader first: the leader must pass it on before it hears it for itself.
        let mut others: Vec<_> = ours.members.iter().filter(|m| m.incarnation != self.incarnation).collect();
        others.sort_by_key(|m| self.links.link(m.incarnation).is_some());
        for member in others {
            let why = "its part of the cluster gave way in a merge".to_owned();
            let expelled = Expelled { incarnation: member.incarnation, by: theirs.clone(), why };
            self.send_to(member.incarnation, Control::Expelled(expelled));
        }
        self.restart("its part of the cluster gave way in a merge", Some(theirs.address));
        false
    }

    /// Which of two parts gives way: the one that is not fenced; of two fenced ones that cannot act the older; of two unfenced ones the
    /// smaller, then the one with the higher id (V4).
    fn loses_to(&self, theirs: &ViewSummary) -> bool {
        let Some((ours, _)) = self.view() else { return false };
        match (ours.fenced, theirs.fenced) {
            // Both may have formed upon one proof of death each, of voters that came back and joined the other one: neither gets a lease.
            (true, true) => !theirs.primary && self.lapsed() && ours.id < theirs.id,
            (true, false) => false,
            (false, true) => true,
            (false, false) => {
                let (mine, other) = (ours.carriers() as u32, theirs.members);
                mine < other || (mine == other && ours.id > theirs.id)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::tree;
    use crate::types::{Ballot, MemberInfo};

    const NOW: Time = Time(1_000_000_000);

    fn id(number: u64) -> ViewId {
        ViewId { number, ballot: Ballot { round: number, coordinator: Incarnation(1) } }
    }

    /// A member with this incarnation, on a host.
    fn member(incarnation: u16, host: u16) -> MemberInfo {
        MemberInfo {
            address: SocketAddr::from(([127, 0, 0, 1], host)),
            ..tree::tests::member(usize::from(incarnation) - 1, 0)
        }
    }

    fn view(number: u64, members: &[u16]) -> View {
        View::new(id(number), members.iter().map(|m| member(*m, *m)).collect(), false)
    }

    fn hosts(history: &History) -> Vec<u16> {
        history.addresses().map(|at| at.port()).collect()
    }

    #[test]
    fn the_last_sixty_four_views_are_known_as_ours() {
        let mut history = History::default();
        for number in 1..=100 {
            history.follow(&view(number, &[1]), &view(number + 1, &[1]), |_| false, NOW);
        }
        let known: Vec<u64> = (0..=101).filter(|number| history.is_ancestor(id(*number))).collect();
        assert_eq!(known, (37..=100).collect::<Vec<u64>>());
    }

    #[test]
    fn who_was_removed_is_looked_for_and_who_left_or_whose_host_is_back_is_not() {
        let mut history = History::default();
        let left = |who| who == Incarnation(3);
        history.follow(&view(1, &[1, 2, 3, 4]), &view(2, &[1, 4]), left, NOW);
        assert_eq!(hosts(&history), [2]);
        // Another life on that host, which is lost too: one host is looked for once.
        let again = View::new(id(3), vec![member(1, 1), member(4, 4), member(5, 2), member(6, 2)], false);
        history.follow(&again, &view(4, &[1]), left, NOW);
        assert_eq!(hosts(&history), [2, 4]);
        history.follow(&view(4, &[1]), &View::new(id(5), vec![member(1, 1), member(7, 2)], false), left, NOW);
        assert_eq!(hosts(&history), [4]);
    }

    #[test]
    fn who_was_lost_is_looked_for_ten_minutes_long() {
        let mut history = History::default();
        history.follow(&view(1, &[1, 2, 3]), &view(2, &[1, 3]), |_| false, NOW);
        history.follow(&view(2, &[1, 3]), &view(3, &[1]), |_| false, NOW + FORGET / 2);
        let mut look = |number, at| {
            history.follow(&view(number, &[1]), &view(number + 1, &[1]), |_| false, at);
            hosts(&history)
        };
        assert_eq!(look(3, NOW + FORGET - 1), [2, 3]);
        assert_eq!(look(4, NOW + FORGET), [3]);
    }

    #[test]
    fn of_many_that_were_lost_the_last_are_looked_for() {
        let mut history = History::default();
        history.follow(&view(1, &(1..=51).collect::<Vec<_>>()), &view(2, &[1]), |_| false, NOW);
        assert_eq!(hosts(&history).len(), 50);
        history.follow(&view(2, &(101..=120).collect::<Vec<_>>()), &view(3, &[1]), |_| false, NOW);
        assert_eq!(hosts(&history), (8..=51).chain(101..=120).collect::<Vec<u16>>());
    }

    /// The views of before are none of the new life's, in which it would take others for removed.
    #[test]
    fn a_new_life_looks_where_all_of_its_last_view_were_and_knows_no_views() {
        let mut history = History::default();
        history.follow(&view(1, &[1, 2, 3, 9]), &view(2, &[1, 2, 3]), |_| false, NOW);
        history.restart(&view(2, &[1, 2, 3]), NOW + FORGET);
        assert_eq!(hosts(&history), [1, 2, 3]);
        assert!(!history.is_ancestor(id(1)));
        let alone = View::new(id(3), vec![member(4, 2)], false);
        history.follow(
            &alone,
            &View::new(id(4), vec![member(4, 2), member(5, 5)], false),
            |_| false,
            NOW + FORGET * 2 - 1,
        );
        assert_eq!(hosts(&history), [1, 3], "for ten minutes from then on, also when a view of its own follows");
    }
}
