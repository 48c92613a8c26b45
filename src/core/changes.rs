//! What the next view must change: who comes, leaves, goes, moves or is ready, gathered by whoever coordinates until it is time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::io::Event;
use super::mark::Mark;
use super::member::Member;
use super::quorum::{Quorum, Voter};
use crate::types::{Ballot, Incarnation, MemberInfo, Micros, Name, Time, View};
use crate::wire::control::{Control, Join, RefusalCode, Refuse, Reject};

/// Joiners that wait at one time.
const JOINERS: usize = 1024;
/// While newcomers keep coming they are gathered for longer, by one more share for so many members of the view...
const MEMBERS_PER_SHARE: usize = 4;
/// ...and at least and at most by so many.
const LEAST_SHARES: u64 = 2;
const MOST_SHARES: u64 = 20;

/// Somebody who wants in.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Joiner {
    pub(crate) name: Name,
    pub(crate) address: SocketAddr,
    pub(crate) unheard: Vec<Incarnation>,
}

impl Joiner {
    /// What it says of strangers is not kept, and what it says twice only once.
    fn new(join: Join, view: &View) -> Joiner {
        let Join { name, address, mut unheard, .. } = join;
        unheard.sort_unstable();
        unheard.dedup();
        unheard.retain(|leader| view.index_of(*leader).is_some());
        Joiner { name, address, unheard }
    }
}

/// What the next view must change.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) joiners: BTreeMap<Incarnation, Joiner>,
    pub(crate) leavers: BTreeSet<Incarnation>,
    pub(crate) ready: BTreeSet<Incarnation>,
    pub(crate) removals: BTreeMap<Incarnation, &'static str>,
    /// Members that are placed anew, each with those that may not lead it (R15).
    pub(crate) moves: BTreeMap<Incarnation, Vec<Incarnation>>,
    /// A member is frozen by an attempt that nobody finishes: the view must change even if nothing else does.
    pub(crate) stuck: bool,
    /// When the change begins: others may join it until then.
    pub(crate) due: Option<Time>,
    /// When we last decided a view that takes somebody in.
    pub(crate) grew_at: Option<Time>,
    /// Members that have not promised and to whom there is no way, since when.
    pub(crate) apart: BTreeMap<Incarnation, Time>,
    pub(crate) told_no_quorum: bool,
    /// Attempts at the next view that were given up as hopeless: each one after them waits twice as long, since answers over a bad
    /// connection may need more time than the last one gave them.
    pub(crate) hopeless: u32,
}

impl Changes {
    pub(crate) fn begin(&mut self, now: Time, gather: Micros) {
        self.due = Some(self.due.map_or(now + gather, |due| due.min(now + gather)));
    }

    pub(crate) fn deadline(&self, not_before: Time) -> Time {
        self.due.map_or(Time::NEVER, |due| due.max(not_before))
    }
}

impl Member {
    pub(super) fn something_to_change(&self) -> bool {
        let Some(f) = &self.fanout else { return true };
        let present = |i: &Incarnation| f.view.index_of(*i).is_some();
        let unready = |i: &Incarnation| f.view.index_of(*i).is_some_and(|at| !f.view.members[at].ready);
        !self.changes.removals.is_empty()
            || !self.changes.moves.is_empty()
            || self.changes.joiners.values().any(|j| self.name_is_free(&j.name))
            || self.changes.leavers.iter().any(present)
            || self.changes.ready.iter().any(unready)
            || self.changes.stuck
            || f.frozen
            || (!f.view.fenced && self.could_be_fenced())
    }

    /// Asked now and then: whether an unfenced view can be followed by a fenced one (R21), and whether an attempt was left lying.
    pub(super) fn look_for_change(&mut self) {
        self.tell_ready();
        if self.attempt.is_none() && self.changes.due.is_none() && self.is_acting() && self.something_to_change() {
            self.changes.begin(self.now, self.setup.gather);
        } else if self.fanout.as_ref().is_some_and(|f| f.frozen) && !self.is_acting() {
            self.tell_stuck();
        }
    }

    /// Frozen for long by an attempt that nobody finishes: tells whoever coordinates now.
    fn tell_stuck(&mut self) {
        let Some(installed) = self.fanout.as_ref().map(|f| f.view.id) else { return };
        let number = installed.number + 1;
        let promised = self.acceptor.promised_for(number);
        let Some(acting) = self.acting() else { return };
        let newest = self.acceptor.least_next() - 1;
        self.marks.reach(Mark::StuckTold);
        let reject = Reject { number, ballot: Ballot::default(), promised, installed, newest, proposal: None };
        self.send_to(acting, Control::Reject(reject));
    }

    fn could_be_fenced(&self) -> bool {
        !self.rules.voters.is_empty() && self.estimate() == Quorum::Fenced
    }

    /// Whether a change could be decided, by what is known before anybody is asked.
    pub(super) fn estimate(&self) -> Quorum {
        let Some(f) = &self.fanout else { return Quorum::None };
        self.rules.judge(|name| {
            let member = f.view.index_of_name(name.as_str()).map(|i| &f.view.members[i]);
            let stays = member.filter(|m| self.votes_from(name, m.address)).is_some_and(|m| {
                !self.changes.removals.contains_key(&m.incarnation) && !self.believed_gone(m.incarnation)
            });
            let votes = |(life, j): (&Incarnation, &Joiner)| j.name == *name && self.may_vote(name, *life, j.address);
            let comes = self.changes.joiners.iter().any(votes);
            match (stays, comes, self.proven_dead(name)) {
                (true, ..) => Voter::Here,
                (_, true, _) => Voter::Fresh(Micros::MAX),
                (.., true) => Voter::ProvenDead,
                _ => Voter::Absent,
            }
        })
    }

    /// Whether nobody who stays has this name.
    pub(super) fn name_is_free(&self, name: &Name) -> bool {
        let Some(f) = self.fanout.as_ref().filter(|_| !self.plants.has(super::Plant::TakeAnyName)) else { return true };
        f.view.index_of_name(name.as_str()).is_none_or(|i| {
            let holder = f.view.members[i].incarnation;
            self.changes.removals.contains_key(&holder) || self.changes.leavers.contains(&holder)
        })
    }

    /// A starter wants in.
    pub(super) fn on_join(&mut self, from: Incarnation, join: Join) {
        let Some((view, me)) = self.view().map(|(v, me)| (v.clone(), me)) else { return };
        if view.index_of(join.incarnation).is_some() {
            // It was admitted and has not heard of it. Whoever it asks tells it: it may be the one that all wait for to coordinate.
            self.marks.reach(Mark::JoinerToldAgain);
            return self.send_install(join.incarnation);
        }
        if !self.is_acting() {
            return self.pass_join_on(from, join, &view);
        }
        let known = view.index_of_name(join.name.as_str()).filter(|_| !self.plants.has(super::Plant::TakeAnyName));
        if let Some(holder) = known {
            let holder = view.members[holder].clone();
            if holder.seat == view.members[me].seat || !self.replaces(&holder, &join) {
                return self.refuse_name(&holder, &join);
            }
        }
        if self.changes.joiners.len() >= JOINERS {
            return;
        }
        self.marks.reach(Mark::JoinHeard);
        self.changes.joiners.insert(join.incarnation, Joiner::new(join, &view));
        self.changes.begin(self.now, self.joiners_gather());
    }

    /// How long newcomers are gathered. What a change costs grows with the square of the members, as each is told of all: a cluster
    /// that is just being started takes in many at a time, the more the larger it is. Whoever comes alone waits for nobody.
    fn joiners_gather(&self) -> Micros {
        let members = self.fanout.as_ref().map_or(0, |f| f.view.len());
        let longer = self.setup.gather * ((members / MEMBERS_PER_SHARE) as u64).clamp(LEAST_SHARES, MOST_SHARES);
        let growing = self.changes.grew_at.is_some_and(|at| self.now.since(at) <= longer * 2);
        self.marks.reach_if(growing, Mark::JoinersGatheredLonger);
        if growing { longer } else { self.setup.gather }
    }

    /// A request for whoever coordinates. If that is a former life of the joiner nobody is there to take it: we look into that, and
    /// remember the request in case it is us who goes on.
    fn pass_join_on(&mut self, from: Incarnation, join: Join, view: &View) {
        let Some(acting) = self.acting().filter(|a| *a != from) else { return };
        if self.address_of(acting) != Some(join.address) {
            self.marks.reach(Mark::JoinPassedOn);
            return self.send_to(acting, Control::Join(join));
        }
        self.marks.reach(Mark::JoinerIsCoordinator);
        self.begin_check(acting, "a newcomer has its address");
        if self.changes.joiners.len() < JOINERS {
            self.changes.joiners.insert(join.incarnation, Joiner::new(join, view));
        }
    }

    /// The name belongs to a member of the view: the newcomer takes its place if that one is dead (V2).
    fn replaces(&mut self, holder: &MemberInfo, join: &Join) -> bool {
        let gone = self.changes.removals.contains_key(&holder.incarnation)
            || self.changes.leavers.contains(&holder.incarnation)
            || self.suspicion.is_proven(holder.incarnation);
        if !gone {
            self.begin_check(holder.incarnation, "a newcomer has its name");
        }
        self.marks.reach_if(gone, Mark::JoinerReplaces);
        // At the same address the dial will be answered by the newcomer, which proves the old one dead.
        gone || holder.address == join.address
    }

    fn refuse_name(&mut self, holder: &MemberInfo, join: &Join) {
        let text = format!("the name \"{}\" belongs to the living member at {}", join.name, holder.address);
        self.marks.reach(Mark::JoinerNameTaken);
        let from = join.address;
        self.event(Event::RefusedJoiner { name: join.name.to_string(), from, why: text.clone() });
        let refuse = Control::Refuse(Refuse { code: RefusalCode::NameTaken, text });
        if let Some(conn) = self.links.link(join.incarnation) {
            self.links.send_control(conn, &refuse);
            self.close(conn);
        }
    }

    /// Whether somebody is in the view, or is about to be: nobody else has a word in it.
    fn concerns(&self, who: Incarnation) -> bool {
        self.changes.joiners.contains_key(&who) || self.view().is_some_and(|(view, _)| view.index_of(who).is_some())
    }

    pub(super) fn on_leave(&mut self, who: Incarnation) {
        if !self.concerns(who) {
            return;
        }
        self.changes.leavers.insert(who);
        self.changes.begin(self.now, self.setup.gather);
    }

    pub(super) fn on_ready(&mut self, who: Incarnation) {
        if !self.concerns(who) {
            return;
        }
        self.marks.reach(Mark::ReadyHeard);
        self.changes.ready.insert(who);
        self.changes.begin(self.now, self.setup.gather);
    }
}
