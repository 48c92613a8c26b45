//! From silence to removal (R31): a suspect is dialled, others are asked, and more than one opinion is needed where
//! there is more than one to be had (V7).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::detector::Finding;
use super::io::{CloseCause, Event};
use super::links::Conn;
use super::mark::Mark;
use super::member::{Member, neighbours};
use super::plant::Plant;
use crate::types::{ConnId, Incarnation, Index, Micros, Name, Time, View};
use crate::wire::control::{Control, Observation, Purpose, Sight};

/// Why a member is removed whom nobody hears: taken back when it is heard before the view has changed.
pub(super) const SILENT: &str = "it is silent";

/// How many others the coordinator asks about a suspect.
const ASKED: usize = 3;
/// Who may coordinate next, or lead us, is looked at by so many at one time: a part that is cut off from many seniors must not give
/// them up one after the other.
const LOOKED_AT: usize = 8;

/// A check whose dial came up and was closed unanswered dials so many times again: whoever dies takes connections until its port is closed.
const REDIALS: u8 = 3;

/// A check under way: the suspect is dialled, and whoever asked is told.
#[derive(Clone, Debug)]
struct Check {
    conn: Option<ConnId>,
    until: Time,
    redials: u8,
    askers: BTreeSet<Incarnation>,
}

impl std::hash::Hash for Check {
    /// Connections are numbered as they come: which number one got says nothing.
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.conn.is_some(), self.until, self.redials, &self.askers).hash(state);
    }
}

/// What this member saw last of another one.
#[derive(Clone, Copy, Hash, Debug)]
struct Opinion {
    sight: Sight,
    at: Time,
}

/// What was told of a subject by one observer.
#[derive(Clone, Copy, Hash, Debug)]
pub(super) struct Report {
    pub(super) sight: Sight,
    pub(super) amount: u64,
    pub(super) at: Time,
}

impl Report {
    /// For how long the observer has missed the subject. Whatever came over the network is taken: it may say anything.
    pub(super) fn missed_for(&self) -> Option<Micros> {
        (self.sight == Sight::Silent).then(|| self.amount.saturating_mul(1_000))
    }
}

/// Everything about suspects.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Suspicion {
    checks: BTreeMap<Incarnation, Check>,
    opinions: BTreeMap<Incarnation, Opinion>,
    pub(super) reports: BTreeMap<Incarnation, BTreeMap<Incarnation, Report>>,
    /// Addresses whose host refused the port, and when the dial began that it refused (R19).
    refused: BTreeMap<SocketAddr, Time>,
    /// Pairs of living members that do not hear each other, since when.
    pub(super) deaf: BTreeMap<(Incarnation, Incarnation), (Time, Time)>,
    /// Members of our view that are in another one that has no place for us: to ours they are dead, and they live.
    pub(super) gone_over: BTreeSet<Incarnation>,
    /// Members that have lately said that they cannot decide anything.
    pub(super) resigned: BTreeMap<Incarnation, Time>,
    dialed: BTreeMap<Incarnation, Time>,
    /// Since when a member has not answered our dials, and when it last did not: all there is to say of one that we do not
    /// listen to.
    unanswered: BTreeMap<Incarnation, (Time, Time)>,
    /// When the host was last told of a suspicion: once in the bearable silence is enough.
    told: BTreeMap<Incarnation, Time>,
    pub(super) review_at: Option<Time>,
}

impl Suspicion {
    pub(crate) fn dialed_at(&self, whom: Incarnation) -> Time {
        self.dialed.get(&whom).copied().unwrap_or(Time::ZERO)
    }

    pub(crate) fn note_dial(&mut self, whom: Incarnation, now: Time) {
        self.dialed.insert(whom, now);
    }

    /// Our process stood still: checks begun before say nothing.
    pub(crate) fn forgive(&mut self, now: Time) {
        self.reports.clear();
        self.deaf.clear();
        self.unanswered.clear();
        self.opinions.retain(|_, o| o.sight == Sight::Dead);
        for check in self.checks.values_mut() {
            check.until = check.until.max(now + 1_000);
        }
    }

    /// A sign of life takes back what `me` thought of the member, and told. Whoever watches it must know besides that it is heard.
    pub(crate) fn heard(&mut self, me: Incarnation, whom: Incarnation) {
        self.unanswered.remove(&whom);
        if self.opinions.get(&whom).is_some_and(|o| o.sight == Sight::Silent) {
            self.opinions.remove(&whom);
            if let Some(reports) = self.reports.get_mut(&whom) {
                reports.remove(&me);
            }
        }
    }

    /// A dial to a member was answered, or not: for how long none was, one after the other.
    fn note_unanswered(&mut self, whom: Incarnation, silent: bool, now: Time, silence: Micros) -> Micros {
        if !silent {
            self.unanswered.remove(&whom);
            return 0;
        }
        let (since, last) = self.unanswered.entry(whom).or_insert((now, now));
        if now.since(*last) > silence {
            *since = now;
        }
        *last = now;
        now.since(*since)
    }

    pub(crate) fn deadline(&self) -> Time {
        let checks = self.checks.values().map(|c| c.until).min();
        checks.into_iter().chain(self.review_at).min().unwrap_or(Time::NEVER)
    }

    /// A dial that began at `dialed` was refused by the host: nobody owned the port at some time since.
    pub(crate) fn note_refused(&mut self, address: SocketAddr, dialed: Time) {
        self.refused.insert(address, dialed);
    }

    /// A process answered there.
    pub(crate) fn note_answered(&mut self, address: SocketAddr) {
        self.refused.remove(&address);
    }

    pub(crate) fn is_proven(&self, whom: Incarnation) -> bool {
        self.opinions.get(&whom).is_some_and(|o| o.sight == Sight::Dead)
    }

    /// Forgets everybody who is not in the view.
    pub(crate) fn keep_only(&mut self, view: &View) {
        let present = |i: &Incarnation| view.index_of(*i).is_some();
        self.opinions.retain(|i, _| present(i));
        self.reports.retain(|i, _| present(i));
        self.deaf.retain(|(a, b), _| present(a) && present(b));
        self.gone_over.retain(present);
        self.resigned.clear();
        self.dialed.retain(|i, _| present(i));
        self.unanswered.retain(|i, _| present(i));
        self.told.retain(|i, _| present(i));
        self.reports.values_mut().for_each(|r| r.retain(|i, _| present(i)));
    }
}

impl Member {
    /// Looks at what the detector found, and at checks that have come to their end.
    pub(super) fn tick_suspicion(&mut self) {
        if self.now >= self.detector.deadline() {
            for finding in self.detector.findings(self.now) {
                match finding {
                    Finding::Check(whom, silent) => {
                        self.marks.reach(Mark::SilenceNoticed);
                        self.begin_check(whom, "it is silent");
                        self.observe(whom, Sight::Silent, silent / 1_000);
                    }
                    Finding::Silent(whom, silent) => {
                        // Again and again while it lasts: opinions grow old, and whoever lives may just not hear us (V8).
                        let asked = self.suspicion.opinions.get(&whom).filter(|o| o.sight != Sight::Alive);
                        if asked.is_none_or(|o| self.now.since(o.at) >= self.setup.silence / 2) {
                            self.marks.reach(Mark::SilenceUnbearable);
                            self.begin_check(whom, "it is silent");
                        }
                        self.observe(whom, Sight::Silent, silent / 1_000);
                    }
                }
            }
        }
        let over: Vec<Incarnation> =
            self.suspicion.checks.iter().filter(|(_, c)| self.now >= c.until).map(|(who, _)| *who).collect();
        for whom in over {
            self.end_check(whom, Sight::Silent);
        }
        if self.suspicion.review_at.is_some_and(|at| self.now >= at) {
            self.suspicion.review_at = None;
            self.review();
        }
    }

    /// Begins to check a member: its process must answer a dial.
    pub(super) fn begin_check(&mut self, whom: Incarnation, why: &'static str) {
        self.check_for(whom, None, why);
    }

    /// A majority is missing: voters that did not answer when they were suspected may do so now, and nobody else may ask again.
    pub(super) fn look_at_voters_again(&mut self) {
        let Some((view, me)) = self.view().map(|(v, me)| (v.clone(), me)) else { return };
        let voters = view.members.iter().filter(|m| self.rules.is_voter(&m.name) && self.believed_gone(m.incarnation));
        for voter in voters.map(|m| m.incarnation).collect::<Vec<_>>() {
            self.marks.reach(Mark::VoterCheckedAgain);
            self.check_for(voter, Some(view.members[me].incarnation), "it is missing for a majority");
        }
    }

    fn check_for(&mut self, whom: Incarnation, asker: Option<Incarnation>, why: &'static str) {
        let Some((view, _)) = self.view() else { return };
        let Some(index) = view.index_of(whom).filter(|_| whom != self.incarnation) else { return };
        let member = view.members[index].clone();
        if let Some(check) = self.suspicion.checks.get_mut(&whom) {
            check.askers.extend(asker);
            return;
        }
        let conn = self.dial(member.address, Purpose::Probe, Some(whom));
        let until = self.now + self.setup.silence / 2;
        self.suspicion
            .checks
            .insert(whom, Check { conn: Some(conn), until, redials: 0, askers: asker.into_iter().collect() });
        if asker.is_none() {
            self.stats.suspicions += 1;
            let told = self.suspicion.told.get(&whom).is_some_and(|at| self.now.since(*at) < self.setup.silence);
            if !told {
                self.suspicion.told.insert(whom, self.now);
                self.event(Event::Suspected { member: (&member).into(), why });
            }
            if self.is_acting() {
                self.ask_others(whom);
            }
        }
    }

    fn ask_others(&mut self, whom: Incarnation) {
        let Some((view, me)) = self.view().map(|(v, me)| (v.clone(), me)) else { return };
        let Some(suspect) = view.index_of(whom) else { return };
        let near = neighbours(&view, suspect).into_iter().chain(0..view.len());
        let mut asked: Vec<Index> = Vec::new();
        for index in near {
            let incarnation = view.members[index].incarnation;
            let useless = index == me || index == suspect || self.believed_gone(incarnation);
            if !useless && !asked.contains(&index) && asked.len() < ASKED {
                asked.push(index);
                self.marks.reach(Mark::OthersAsked);
                self.send_to(incarnation, Control::Ask(whom));
            }
        }
    }

    /// A probe was answered: by the process we meant, or by another one in its place, which proves that it is dead.
    pub(super) fn on_answered(&mut self, conn: ConnId, whom: Incarnation, dead: bool) {
        if dead {
            self.marks.reach(Mark::AnsweredByAnother);
            self.end_check(whom, Sight::Dead);
        } else if self.suspicion.checks.get(&whom).is_some_and(|c| c.conn == Some(conn)) {
            self.end_check(whom, Sight::Alive);
        }
    }

    /// A dial did not come up.
    pub(super) fn on_dial_failed(&mut self, id: ConnId, conn: &Conn, cause: CloseCause) {
        let refused = cause == CloseCause::Refused && self.setup.refusal_proves_death;
        if let Some(whom) = conn.expects {
            let checked = self.suspicion.checks.get(&whom).is_some_and(|c| c.conn == Some(id));
            if refused {
                self.marks.reach(Mark::PortRefused);
                self.end_check(whom, Sight::Dead);
            } else if checked {
                let again = cause == CloseCause::Peer && self.redial(whom, conn.remote);
                if !again {
                    self.end_check(whom, Sight::Silent);
                }
            } else if self.acting() == Some(whom) {
                // Perhaps nobody is left who watches it: whoever has something to tell it must notice.
                self.begin_check(whom, "it cannot be reached");
            }
        }
        if refused {
            self.suspicion.note_refused(conn.remote, conn.since);
            self.on_proof(conn.since);
        }
        self.on_seed_failed(conn.remote);
    }

    /// Dials once more for a check, unless it did so too often.
    fn redial(&mut self, whom: Incarnation, address: SocketAddr) -> bool {
        let again = self.suspicion.checks.get(&whom).is_some_and(|c| c.redials < REDIALS);
        if again {
            self.marks.reach(Mark::CheckRepeated);
            let conn = self.dial(address, Purpose::Probe, Some(whom));
            let check = self.suspicion.checks.get_mut(&whom).expect("just seen");
            check.conn = Some(conn);
            check.redials += 1;
        }
        again
    }

    pub(super) fn end_check(&mut self, whom: Incarnation, sight: Sight) {
        let check = self.suspicion.checks.remove(&whom);
        let Some((view, _)) = self.view() else { return };
        if view.index_of(whom).is_none() {
            return;
        }
        let now = self.now;
        let unlinked = self.detector.unlinked_for(now, whom);
        // It did not answer the dial, but each end has heard the other one just now. Who is only heard does not hear us (V8).
        let linked = unlinked.is_some_and(|unlinked| unlinked < self.setup.silence / 2);
        self.marks.reach_if(sight == Sight::Silent && linked, Mark::SilentButLinked);
        let sight = if sight == Sight::Silent && linked { Sight::Alive } else { sight };
        self.marks.reach(match sight {
            Sight::Alive => Mark::CheckedAlive,
            Sight::Dead => Mark::CheckedDead,
            _ => Mark::CheckedSilent,
        });
        self.suspicion.opinions.insert(whom, Opinion { sight, at: now });
        let unanswered = self.suspicion.note_unanswered(whom, sight == Sight::Silent, now, self.setup.silence);
        let unheard = unlinked.unwrap_or(0).max(unanswered) / 1_000;
        if let Some(conn) = check.as_ref().and_then(|c| c.conn) {
            self.close(conn);
        }
        for asker in check.into_iter().flat_map(|c| c.askers) {
            let observer = self.incarnation;
            self.send_to(asker, Control::Observe(Observation { subject: whom, observer, sight, amount: unheard }));
        }
        self.observe(whom, sight, unheard);
        if sight != Sight::Alive {
            self.look_ahead(whom);
        } else {
            self.heal_link(whom);
            if self.attempt.is_none() && self.changes.removals.get(&whom) == Some(&SILENT) {
                self.marks.reach(Mark::RemovalTakenBack);
                self.changes.removals.remove(&whom);
            }
        }
    }

    /// Whoever coordinated or led us is out of reach: those who may come next are dialled at once, all together.
    fn look_ahead(&mut self, lost: Incarnation) {
        let Some((view, me)) = self.view().map(|(v, me)| (v.clone(), me)) else { return };
        let leader = view.members[view.leader_of(me)].incarnation == lost;
        let order: Vec<Incarnation> = view.by_seniority().map(|i| view.members[i].incarnation).collect();
        let place = |whom: Incarnation| order.iter().position(|i| *i == whom);
        let before = self.acting().and_then(place) > place(lost);
        if !leader && !before {
            return;
        }
        let ahead = order.into_iter().take_while(|i| *i != self.incarnation).filter(|i| !self.believed_gone(*i));
        let unknown = |i: &Incarnation| {
            let linked = self.detector.is_up(self.now, *i);
            let seen = self.suspicion.opinions.get(i).is_some_and(|o| self.now.since(o.at) < self.setup.silence / 2);
            !linked && !seen
        };
        for whom in ahead.take(LOOKED_AT).filter(unknown).collect::<Vec<_>>() {
            self.marks.reach(Mark::NextChecked);
            self.check_for(whom, Some(self.incarnation), "it is next to coordinate");
        }
    }

    /// Whether anything has come from a member over its connection within the bearable silence.
    pub(super) fn is_heard(&self, whom: Incarnation) -> bool {
        let link = self.links.link(whom).and_then(|id| self.links.get(id));
        link.is_some_and(|link| self.now.since(link.received) < self.setup.silence)
    }

    /// The process answers although its link is silent: the link itself is broken, and is made anew.
    fn heal_link(&mut self, whom: Incarnation) {
        let Some(id) = self.links.link(whom) else { return };
        let stuck =
            self.links.get(id).is_some_and(|c| self.now.since(c.received) >= self.setup.silence / 2 && !c.is_idle());
        if stuck {
            self.marks.reach(Mark::LinkMadeAnew);
            self.close(id);
        }
    }

    /// Tells the coordinator what we saw of somebody.
    pub(super) fn observe(&mut self, subject: Incarnation, sight: Sight, amount: u64) {
        let observation = Observation { subject, observer: self.incarnation, sight, amount };
        let Some(acting) = self.acting() else { return };
        if acting == self.incarnation {
            self.on_observation(observation);
        } else if acting != subject {
            self.send_to(acting, Control::Observe(observation));
        }
    }

    /// Somebody asks what we see of a member.
    pub(super) fn on_ask(&mut self, asker: Incarnation, whom: Incarnation) {
        if whom != self.incarnation && self.view().is_some_and(|(view, _)| view.index_of(asker).is_some()) {
            self.marks.reach(Mark::AskedByAnother);
            self.check_for(whom, Some(asker), "others suspect it");
        }
    }

    /// The coordinator hears of a member.
    pub(super) fn on_observation(&mut self, seen: Observation) {
        let Some((view, _)) = self.view().map(|(v, me)| (v.clone(), me)) else { return };
        let known = |i: Incarnation| view.index_of(i).is_some();
        if seen.observer == seen.subject && seen.sight == Sight::Silent && known(seen.observer) {
            // What it would be for others it is for itself: nobody who can decide.
            self.suspicion.resigned.insert(seen.observer, self.now);
            return;
        }
        if !known(seen.subject)
            || !known(seen.observer)
            || seen.subject == self.incarnation
            || seen.observer == seen.subject
        {
            return;
        }
        let report = Report { sight: seen.sight, amount: seen.amount, at: self.now };
        self.suspicion.reports.entry(seen.subject).or_default().insert(seen.observer, report);
        let own = self.suspicion.opinions.get(&seen.subject);
        let stale = own.is_none_or(|o| self.now.since(o.at) > self.setup.silence / 2);
        if seen.observer != self.incarnation && stale && matches!(seen.sight, Sight::Silent | Sight::Dead) {
            self.begin_check(seen.subject, "another member reports it");
        }
        let both = view.index_of(seen.observer).zip(view.index_of(seen.subject));
        if let Some((a, b)) = both.filter(|(a, b)| view.is_leader(*a) && view.is_leader(*b))
            && seen.sight == Sight::Silent
            && self.is_acting()
        {
            self.ask_deputy(&view, a, b);
        }
        self.review();
    }

    /// Who coordinates, as far as this member can tell: the most senior leader with which it has a link, or may have one, and from
    /// which not half of the members are cut off; then the most senior of the others, a witness last.
    pub(super) fn acting(&self) -> Option<Incarnation> {
        let (view, _) = self.view()?;
        view.by_seniority().map(|i| view.members[i].incarnation).find(|i| {
            !self.believed_gone(*i)
                && (*i == self.incarnation || !(self.is_cut_off(view, *i) || self.has_resigned(*i)))
                && !self.changes.leavers.contains(i)
                && !(self.has_said_goodbye() && *i == self.incarnation && view.len() > 1)
        })
    }

    pub(super) fn is_acting(&self) -> bool {
        self.acting() == Some(self.incarnation)
    }

    /// Whether this member takes another for dead or gone, or for one that does not hear it, by what it saw itself.
    pub(super) fn believed_gone(&self, whom: Incarnation) -> bool {
        let silence = self.setup.silence;
        // Nothing takes back by itself what is thought of somebody whom this member does not watch; who does watch it asks again while
        // it is silent.
        let lasts = |at: Time| match self.detector.unlinked_for(self.now, whom) {
            Some(unlinked) => unlinked >= silence,
            None => self.now.since(at) < silence * 2,
        };
        self.suspicion.opinions.get(&whom).is_some_and(|o| match o.sight {
            Sight::Dead => true,
            Sight::Silent => lasts(o.at),
            _ => false,
        })
    }

    /// Whether a voter is dead for certain: every address at which it is listed has refused its port lately. A proof is
    /// good for one lease (R19). A voter without a listed address cannot be proven dead.
    pub(super) fn proven_dead(&self, name: &Name) -> bool {
        self.proof_of_death(name).is_some_and(|at| self.now.since(at) < self.setup.lease)
    }

    /// Addresses at which voters are listed, now or before.
    pub(super) fn listed_of_voters(&self, which: impl Fn(&Name) -> bool) -> impl Iterator<Item = SocketAddr> {
        let voters = self.setup.voters.iter().filter(move |name| which(name));
        voters.filter_map(|name| self.listed.get(name)).flatten().copied()
    }

    /// Where voters have been that are missing: a proof of death is wanted of each such place.
    pub(super) fn listed_of_missing_voters(&self, view: &View) -> Vec<SocketAddr> {
        let gone = |name: &Name| {
            let member = view.index_of_name(name.as_str()).map(|at| view.members[at].incarnation);
            member.is_none_or(|member| self.believed_gone(member))
        };
        self.listed_of_voters(gone).collect()
    }

    /// A voter was certainly dead at this moment or later: the oldest of the proofs at the addresses where it is listed.
    pub(super) fn proof_of_death(&self, name: &Name) -> Option<Time> {
        let proofs = self.listed.get(name)?.iter().map(|address| self.suspicion.refused.get(address).copied());
        let oldest = proofs.collect::<Option<Vec<Time>>>()?.into_iter().min()?;
        Some(if self.plants.has(Plant::RelyOnStaleProof) { self.now } else { oldest })
    }

    /// Whether a process may vote under this name: from an address at which the name is listed, if it is listed at all.
    /// Otherwise somebody who finds the listed port refused would take a living voter for dead.
    pub(super) fn votes_from(&self, name: &Name, address: SocketAddr) -> bool {
        self.listed.get(name).is_none_or(|at| at.contains(&address))
    }

    /// Whether this life of a voter may have a say about the view that follows ours: there is no other one of its name, or that
    /// one is dead for certain. It may be behind a partition, and be counted there.
    pub(super) fn may_vote(&self, name: &Name, life: Incarnation, address: SocketAddr) -> bool {
        let holder =
            self.view().and_then(|(view, _)| Some(view.members[view.index_of_name(name.as_str())?].incarnation));
        let dead = |who| self.suspicion.is_proven(who) && !self.suspicion.gone_over.contains(&who);
        let only = holder.is_none_or(|holder| holder == life || dead(holder));
        only && self.votes_from(name, address)
    }
}

#[cfg(test)]
mod tests;
