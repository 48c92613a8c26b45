//! Changing the view, as its coordinator: prepare, cut, propose, install (R16-R18).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::ballot::{Attempt, Part, Participant, Phase, place};
use super::io::Event;
use super::mark::Mark;
use super::member::Member;
use super::plant::Plant;
use super::quorum::{Quorum, Voter};
use crate::types::{Ballot, Incarnation, MemberInfo, Micros, Name, Seat, Tags, Time, ViewId, millis};
use crate::wire::control::{
    Control, Cut, Decided, Install, Prepare, Promise, Propose, ProposeChange, RefusalCode, Refuse, Reject, Vote,
};
use crate::wire::{Proposal, Sparse};

/// Unanswered requests of an attempt are repeated after this time.
const REPEAT: Micros = millis(100);
/// After so many repeats without an answer a joiner is left out, and a survivor is looked into.
const PATIENCE: u32 = 5;
/// The patience with an attempt is doubled so many times at most.
const MOST_DOUBLINGS: u32 = 3;
/// What cannot be decided now is tried again after this time.
const LATER: Micros = millis(500);

/// Members that have not confirmed the newest installation.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Laggards {
    pub(crate) whom: BTreeMap<Incarnation, u32>,
    pub(crate) at: Option<Time>,
}

impl Member {
    /// Begins a change that is due, and repeats what was not answered.
    pub(super) fn tick_views(&mut self) {
        if self.attempt.as_ref().is_some_and(|a| self.now >= a.repeat_at) {
            self.repeat_attempt();
        }
        self.repeat_install();
        if self.fanout.is_none() {
            self.changes.due = None;
        }
        if self.attempt.is_some() || self.now < self.attempt_after {
            return;
        }
        if self.changes.due.is_some_and(|due| self.now >= due) {
            self.changes.due = None;
            if self.is_acting() && self.something_to_change() {
                self.begin_attempt();
            }
        }
    }

    /// Begins an attempt at the next entry of the log, with everybody who shall take part in it.
    pub(super) fn begin_attempt(&mut self) {
        if self.fanout.is_some() && self.estimate() == Quorum::None {
            self.marks.reach(Mark::NoMajority);
            if !std::mem::replace(&mut self.changes.told_no_quorum, true) {
                self.note(2, "no majority of the voters is here: the view cannot change".to_owned());
            }
            // Who was silent may be heard again by the time a majority is: only proof is kept.
            let suspicion = &self.suspicion;
            self.changes.removals.retain(|i, _| suspicion.is_proven(*i));
            self.changes.moves.clear();
            self.attempt_after = self.now + LATER;
            self.changes.begin(self.now, LATER);
            self.resign();
            return self.look_at_voters_again();
        }
        self.changes.told_no_quorum = false;
        self.marks.reach_if(self.changes.stuck, Mark::StuckTakenOver);
        self.marks.reach(if self.fanout.is_some() { Mark::ChangePrepared } else { Mark::FirstViewPrepared });
        self.seen_round = self.seen_round.max(self.acceptor.highest_round()).saturating_add(1);
        let ballot = Ballot { round: self.seen_round, coordinator: self.incarnation };
        let previous = self.fanout.as_ref().map_or(ViewId::NONE, |f| f.view.id);
        // Who is in a view decides the entry that follows it, and no other: numbers are skipped only by those who begin a log.
        let number = match self.fanout.is_some() {
            true => previous.number + 1,
            false => self.acceptor.least_next().max(self.seen_number.saturating_add(1)),
        };
        let participants = self.participants();
        for (incarnation, participant) in &participants {
            let prepare = Prepare { number, ballot, previous, joins: participant.part == Part::Joiner };
            let prepare = Control::Prepare(prepare);
            self.send_to_participant(*incarnation, &participants, &prepare, prepare.encode());
        }
        self.attempt = Some(Attempt {
            number,
            ballot,
            previous,
            phase: Phase::Prepare,
            repeat_at: self.now + REPEAT,
            repeats: 0,
            participants,
            proposal: None,
            cut: vec![(0, Incarnation::NONE); self.fanout.as_ref().map_or(0, |f| f.view.len())],
        });
    }

    fn participants(&self) -> BTreeMap<Incarnation, Participant> {
        let mut all = BTreeMap::new();
        let participant = |name: &Name, address, part| Participant {
            name: name.clone(),
            address,
            part,
            unheard: Vec::new(),
            promise: None,
            promised_at: Time::ZERO,
            held: part == Part::Joiner,
            accepted: false,
        };
        if let Some(f) = &self.fanout {
            for m in f.view.members.iter().filter(|m| !self.changes.removals.contains_key(&m.incarnation)) {
                let leaves = self.changes.leavers.contains(&m.incarnation);
                let part = if leaves { Part::Leaver } else { Part::Survivor };
                all.insert(m.incarnation, participant(&m.name, m.address, part));
            }
        } else {
            all.insert(self.incarnation, participant(&self.setup.name, self.setup.advertise, Part::Joiner));
        }
        // Of newcomers of one name one is taken; the others are refused it when they ask again.
        let mut names: BTreeSet<Name> =
            all.values().filter(|p| p.part == Part::Joiner).map(|p| p.name.clone()).collect();
        for (incarnation, joiner) in self.changes.joiners.iter().filter(|(_, j)| self.name_is_free(&j.name)) {
            if !names.insert(joiner.name.clone()) {
                continue;
            }
            let mut p = participant(&joiner.name, joiner.address, Part::Joiner);
            p.unheard.clone_from(&joiner.unheard);
            all.entry(*incarnation).or_insert(p);
        }
        all
    }

    /// What it takes of `control` is `frame`, which was encoded for all that get it.
    fn send_to_participant(
        &mut self, to: Incarnation, all: &BTreeMap<Incarnation, Participant>, control: &Control, frame: Bytes,
    ) {
        if self.links.link(to).is_none() && self.via(to, false).is_none() && to != self.incarnation {
            let Some(address) = all.get(&to).map(|p| p.address) else { return };
            let conn = self
                .links
                .dialing(to)
                .unwrap_or_else(|| self.dial(address, crate::wire::control::Purpose::Link, Some(to)));
            return self.links.send_encoded(conn, control, frame);
        }
        self.send_encoded(to, control, frame);
    }

    /// Sends the current request to everybody who has not answered it.
    fn repeat_attempt(&mut self) {
        let Some(mut attempt) = self.attempt.take() else { return };
        attempt.repeats += 1;
        attempt.repeat_at = self.now + REPEAT;
        let waiting: Vec<Incarnation> = attempt.unanswered();
        let unreached = self.unreached(&attempt, &waiting);
        for whom in waiting {
            let joiner = attempt.participants.get(&whom).is_some_and(|p| p.part == Part::Joiner);
            if attempt.repeats >= PATIENCE && joiner && attempt.phase == Phase::Prepare && whom != self.incarnation {
                self.marks.reach(Mark::JoinerSilent);
                attempt.participants.remove(&whom);
                self.changes.joiners.remove(&whom);
                continue;
            }
            if attempt.repeats >= 2 && !joiner {
                self.marks.reach(Mark::SurvivorSilent);
                self.begin_check(whom, "it does not answer the coordinator");
            }
            // Others may hear it, or its datagrams come, but no change can be made with it (V8).
            let long = Micros::from(attempt.repeats) * REPEAT >= self.setup.silence * 2;
            let unheard = long && self.believed_gone(whom) && !self.is_heard(whom);
            if !joiner && whom != self.incarnation && (unheard || unreached.contains(&whom)) {
                self.marks.reach(Mark::SurvivorUnreached);
                self.remove(whom, "the coordinator does not reach it");
            }
            // Rarer and rarer: what goes over a slow connection is on its way already, and more of it only delays the answer.
            if !attempt.repeats.is_power_of_two() {
                continue;
            }
            let request = attempt.request_to(whom);
            if attempt.repeats.trailing_zeros().is_multiple_of(2) {
                self.send_dialed(whom, &request);
            } else {
                self.send_to_participant(whom, &attempt.participants, &request, request.encode());
            }
        }
        let hopeless = attempt.repeats > (PATIENCE * 10) << self.changes.hopeless.min(MOST_DOUBLINGS);
        let removed = attempt.participants.keys().any(|i| self.changes.removals.contains_key(i));
        self.attempt = Some(attempt);
        if removed || hopeless {
            self.marks.reach(if removed { Mark::ParticipantRemoved } else { Mark::AttemptHopeless });
            self.changes.hopeless += u32::from(hopeless);
            return self.give_up(0);
        }
        self.advance_attempt();
    }

    /// Ends the attempt; a new one begins after a pause that grows with chance, so that two coordinators do not block each other.
    pub(super) fn give_up(&mut self, pause: Micros) {
        self.attempt = None;
        self.attempt_after = self.now + pause;
        if self.fanout.is_some() {
            self.changes.begin(self.now, pause);
        }
    }

    pub(super) fn on_promise(&mut self, from: Incarnation, promise: Promise) {
        let now = self.now;
        let Some(attempt) = &mut self.attempt else { return };
        if (attempt.number, attempt.ballot) != (promise.number, promise.ballot) || attempt.phase != Phase::Prepare {
            return;
        }
        attempt.note_promise(from, promise, now);
        self.advance_attempt();
    }

    pub(super) fn on_held(&mut self, from: Incarnation, vote: &Vote) {
        let Some(attempt) = self.attempt.as_mut().filter(|a| (a.number, a.ballot) == (vote.number, vote.ballot)) else {
            return;
        };
        if let Some(participant) = attempt.participants.get_mut(&from) {
            participant.held = true;
        }
        self.advance_attempt();
    }

    pub(super) fn on_accepted(&mut self, from: Incarnation, vote: &Vote) {
        let Some(attempt) = self.attempt.as_mut().filter(|a| (a.number, a.ballot) == (vote.number, vote.ballot)) else {
            return;
        };
        if let Some(participant) = attempt.participants.get_mut(&from) {
            participant.accepted = true;
        }
        self.advance_attempt();
    }

    /// Somebody is ahead of us, behind us, or bound to another ballot.
    pub(super) fn on_reject(&mut self, from: Incarnation, reject: Reject) {
        self.seen_round = self.seen_round.max(reject.promised.round);
        self.seen_number = self.seen_number.max(reject.newest);
        let mine = self.fanout.as_ref().map_or(ViewId::NONE, |f| f.view.id);
        if let Some(proposal) = reject.proposal {
            let ahead = self.attempt.as_ref().is_some_and(|a| proposal.id.number >= a.number);
            if ahead || self.attempt.is_none() {
                self.marks.reach(Mark::InstalledByRejection);
                self.attempt = None;
                self.on_install(from, Install { proposal, hold_ms: (self.setup.lease / 1_000) as u32 });
            }
            return;
        }
        let member = self.view().is_some_and(|(view, _)| view.index_of(from).is_some());
        if member && reject.installed.number < mine.number {
            self.marks.reach(Mark::LaggardInRejection);
            return self.send_install(from);
        }
        let elsewhere = !member && reject.installed != ViewId::NONE;
        self.marks.reach_if(self.fanout.is_some() && elsewhere, Mark::JoinerElsewhere);
        match self.fanout.is_some() {
            // It asked for admission once, and got into another view: it would hold up every change here.
            true if elsewhere => drop(self.changes.joiners.remove(&from)),
            // No starter like us any more: its view is found by asking it anew.
            false if reject.installed != ViewId::NONE => self.on_starter_in_view(from),
            _ => {}
        }
        let ours = self.attempt.as_ref().is_some_and(|a| (a.number, a.ballot) == (reject.number, reject.ballot));
        if ours {
            self.marks.reach(Mark::Outbid);
            let pause = millis(50) + self.random() % millis(200);
            self.give_up(pause);
        } else if reject.installed == mine && self.attempt.is_none() {
            self.marks.reach(Mark::StuckHeard);
            self.changes.stuck = true;
            self.changes.begin(self.now, self.setup.gather);
        }
    }

    /// Goes on with the attempt as far as the answers allow.
    fn advance_attempt(&mut self) {
        let Some(attempt) = &self.attempt else { return };
        match attempt.phase {
            Phase::Prepare if attempt.all(|p| p.promise.is_some()) => self.end_prepare(),
            Phase::Cut if attempt.all(|p| p.held) => self.propose(),
            Phase::Propose if self.is_decided(attempt) => self.decide(),
            _ => {}
        }
    }

    fn voter_state(&self, attempt: &Attempt, name: &Name, counts: impl Fn(&Participant) -> bool) -> Voter {
        let votes = |(life, p): &(&Incarnation, &Participant)| {
            p.name == *name && counts(p) && self.may_vote(name, **life, p.address)
        };
        let present = attempt.participants.iter().find(votes);
        match present.and_then(|(_, p)| p.promise.as_ref().map(|promise| (p, promise))) {
            Some((_, promise)) if promise.memory => Voter::Here,
            Some((p, promise)) => Voter::Fresh(u64::from(promise.up_ms) * 1_000 + self.now.since(p.promised_at)),
            None if self.proven_dead(name) => Voter::ProvenDead,
            None => Voter::Absent,
        }
    }

    /// Everybody has promised: take up what was accepted before, or find the cut.
    fn end_prepare(&mut self) {
        let Some(attempt) = &self.attempt else { return };
        let quorum = self.rules.judge(|name| self.voter_state(attempt, name, |_| true));
        if quorum == Quorum::None {
            self.marks.reach(Mark::NoMajorityPromised);
            return self.give_up(LATER);
        }
        // A fenced one that those who are here cannot decide is left to its own voters: it must not keep them from serving (R21).
        let repeatable = |earlier: &Proposal| !(earlier.fenced && quorum == Quorum::Unfenced);
        if let Some(earlier) = attempt.highest_accepted().filter(repeatable) {
            self.marks.reach(Mark::EarlierTakenUp);
            let attempt = self.attempt.as_mut().expect("looked at above");
            attempt.proposal = Some(earlier);
            return self.start_propose();
        }
        self.marks.reach_if(attempt.has_accepted(), Mark::EarlierLeft);
        self.marks.reach(Mark::CutSent);
        let attempt = self.attempt.as_mut().expect("looked at above");
        attempt.phase = Phase::Cut;
        attempt.repeats = 0;
        let whom: Vec<Incarnation> =
            attempt.participants.iter().filter(|(_, p)| p.part != Part::Joiner).map(|(i, _)| *i).collect();
        let (number, ballot, upto) = (attempt.number, attempt.ballot, Sparse(attempt.cut.clone()));
        self.send_to_all(&whom, &Control::Cut(Cut { number, ballot, upto }));
        self.advance_attempt();
    }

    /// Every survivor holds the cut: propose the next view.
    fn propose(&mut self) {
        let Some(attempt) = &self.attempt else { return };
        let quorum = self.rules.judge(|name| self.voter_state(attempt, name, |_| true));
        if quorum == Quorum::None {
            self.marks.reach(Mark::NoMajorityProposed);
            return self.give_up(LATER);
        }
        self.marks.reach(Mark::Proposed);
        let (members, next_seat, unplaced) = self.next_members(attempt);
        let proposal = Proposal {
            id: ViewId { number: attempt.number, ballot: attempt.ballot },
            previous: attempt.previous,
            members,
            fenced: quorum == Quorum::Fenced,
            next_seat,
            cut: Sparse(attempt.cut.iter().map(|(batch, _)| *batch).collect()),
        };
        // A member that no group can take goes without another word: it is not in the view that is installed.
        for joiner in unplaced.into_iter().filter(|m| m.admitted == 0) {
            self.marks.reach(Mark::JoinerUnplaceable);
            self.changes.joiners.remove(&joiner.incarnation);
            let text = "no leader of the cluster is heard by both sides".to_owned();
            self.event(Event::RefusedJoiner { name: joiner.name.to_string(), from: joiner.address, why: text.clone() });
            let refuse = Control::Refuse(Refuse { code: RefusalCode::Unplaceable, text });
            self.send_to(joiner.incarnation, refuse);
        }
        self.attempt.as_mut().expect("looked at above").proposal = Some(proposal);
        self.start_propose();
    }

    fn next_members(&self, attempt: &Attempt) -> (Vec<MemberInfo>, u32, Vec<MemberInfo>) {
        let mut members: Vec<MemberInfo> = Vec::new();
        if let Some(f) = &self.fanout {
            let stays = |i: &Incarnation| attempt.participants.get(i).is_some_and(|p| p.part == Part::Survivor);
            members.extend(f.view.members.iter().filter(|m| stays(&m.incarnation)).cloned());
        }
        for member in &mut members {
            member.ready |= self.changes.ready.contains(&member.incarnation);
        }
        // Who moves is the youngest where it comes: it must not lead there.
        let moves = &self.changes.moves;
        let moved = members.extract_if(.., |m| moves.contains_key(&m.incarnation)).collect::<Vec<_>>();
        let moved = moved.into_iter().map(|m| {
            let unheard = moves[&m.incarnation].clone();
            let seat = if self.plants.has(Plant::MoveWithNewSeat) { Seat::EVERYBODY } else { m.seat };
            (MemberInfo { grouped: attempt.number, seat, ..m }, unheard)
        });
        let mut next_seat = self.installed.as_ref().map_or(1, |p| p.next_seat);
        let mut joiners: Vec<(&Incarnation, &Participant)> =
            attempt.participants.iter().filter(|(_, p)| p.part == Part::Joiner).collect();
        // By name, so that those who start together get seats that a person can follow.
        joiners.sort_by(|a, b| a.1.name.cmp(&b.1.name));
        let placed = joiners.into_iter().map(|(incarnation, p)| {
            let info = MemberInfo {
                name: p.name.clone(),
                incarnation: *incarnation,
                address: p.address,
                seat: Seat::EVERYBODY,
                admitted: 0,
                group: 0,
                grouped: attempt.number,
                ready: !p.promise.as_ref().is_some_and(|promise| promise.announces_ready),
                witness: p.promise.as_ref().is_some_and(|promise| promise.witness),
                tags: p.promise.as_ref().map_or_else(Tags::default, |promise| promise.tags.clone()),
            };
            (info, p.unheard.clone())
        });
        let unplaced = place(&mut members, moved.chain(placed).collect(), self.setup.group_size);
        for member in members.iter_mut().filter(|m| m.seat == Seat::EVERYBODY) {
            member.admitted = if member.admitted == 0 { attempt.number } else { member.admitted };
            member.seat = Seat(next_seat);
            next_seat += 1;
        }
        members.sort_by_key(|m| m.seat);
        (members, next_seat, unplaced)
    }

    /// Those who have the view that ends are told what changes; whoever comes, and whoever does not answer, is told the whole.
    fn start_propose(&mut self) {
        let Some(attempt) = &mut self.attempt else { return };
        attempt.phase = Phase::Propose;
        attempt.repeats = 0;
        let proposal = attempt.proposal.clone().expect("there is something to propose");
        let ballot = attempt.ballot;
        let successor = self.installed.as_ref().and_then(|previous| proposal.successor_of(previous));
        let knows = |p: &Participant| p.part != Part::Joiner && successor.is_some();
        let (know, others): (Vec<_>, Vec<_>) = attempt.participants.iter().partition(|(_, p)| knows(p));
        let [know, others] = [know, others].map(|whom| whom.into_iter().map(|(i, _)| *i).collect::<Vec<_>>());
        if let Some(successor) = successor {
            self.send_to_all(&know, &Control::ProposeChange(ProposeChange { ballot, successor }));
        }
        self.send_to_all(&others, &Control::Propose(Propose { ballot, proposal }));
    }

    /// Encoded once for all.
    fn send_to_all(&mut self, whom: &[Incarnation], control: &Control) {
        if whom.is_empty() {
            return;
        }
        let frame = control.encode();
        for to in whom {
            self.send_encoded(*to, control, frame.clone());
        }
    }

    fn is_decided(&self, attempt: &Attempt) -> bool {
        let Some(proposal) = &attempt.proposal else { return false };
        if proposal.fenced {
            return self.rules.judge(|name| self.voter_state(attempt, name, |p| p.accepted)) == Quorum::Fenced;
        }
        let present = |m: &MemberInfo| attempt.participants.get(&m.incarnation);
        proposal.members.iter().all(|m| present(m).is_none_or(|p| p.accepted))
    }

    /// A quorum accepted: everybody installs.
    fn decide(&mut self) {
        let Some(attempt) = self.attempt.take() else { return };
        let hold = self.hold_after(&attempt);
        let Some(proposal) = attempt.proposal else { return };
        self.marks.reach(if proposal.fenced { Mark::DecidedFenced } else { Mark::DecidedUnfenced });
        self.marks.reach_if(proposal.fenced && self.fanout.as_ref().is_some_and(|f| !f.view.fenced), Mark::FencedAgain);
        self.marks.reach_if(!proposal.fenced && self.view_fenced(), Mark::UnfencedAfterFenced);
        let hold_ms = (hold.since(self.now).div_ceil(1_000)) as u32;
        if proposal.members.iter().any(|m| m.admitted == attempt.number) {
            self.changes.grew_at = Some(self.now);
        }
        self.tell_decided(&attempt.participants, &proposal, hold_ms);
        let me = self.incarnation;
        self.laggards.whom =
            proposal.members.iter().map(|m| m.incarnation).filter(|i| *i != me).map(|i| (i, 0)).collect();
        self.laggards.at = Some(self.now + REPEAT);
        self.on_install(me, Install { proposal, hold_ms });
    }

    /// To whom it was proposed hears that it is decided. Others are told the whole view; so is whoever goes, since it is told once.
    fn tell_decided(&mut self, participants: &BTreeMap<Incarnation, Participant>, proposal: &Proposal, hold_ms: u32) {
        let me = self.incarnation;
        let goes = |p: &Participant| p.part == Part::Leaver;
        let decided = Control::Decided(Decided { id: proposal.id, hold_ms });
        let frame = decided.encode();
        for to in participants.iter().filter(|(to, p)| **to != me && !goes(p)).map(|(to, _)| *to) {
            self.send_to_participant(to, participants, &decided, frame.clone());
        }
        let leavers = participants.iter().filter(|(_, p)| goes(p)).map(|(to, _)| *to);
        let absent = proposal.members.iter().map(|m| m.incarnation).filter(|i| !participants.contains_key(i));
        let others: Vec<Incarnation> = leavers.chain(absent).filter(|to| *to != me).collect();
        self.send_to_all(&others, &Control::Install(Install { proposal: proposal.clone(), hold_ms }));
    }

    /// Until when the first lease of the new view waits (R22): nobody who is neither in it nor proven dead may hold an older one.
    fn hold_after(&self, attempt: &Attempt) -> Time {
        let known = self.hold_known(attempt);
        let promised = |name: &Name| matches!(self.voter_state(attempt, name, |_| true), Voter::Here | Voter::Fresh(_));
        let fenced = attempt.proposal.as_ref().is_some_and(|p| p.fenced);
        if !fenced || self.rules.are_half(promised) {
            return known;
        }
        // A lease rests on more than half of the voters. Those who have promised are too few to know of it: the dead may have answered
        // until a moment ago, to somebody who is cut off from here.
        self.marks.reach(Mark::HoldForTheDead);
        known.max(self.now + self.rules.lease)
    }

    /// The same, as far as those know who have promised.
    fn hold_known(&self, attempt: &Attempt) -> Time {
        let ms = |ms: u32| Micros::from(ms) * 1_000;
        let promises = || attempt.participants.values().filter_map(|p| Some((p, p.promised_at, p.promise.as_ref()?)));
        let newcomers_count = !self.is_last_decided(attempt);
        self.marks.reach_if(!newcomers_count, Mark::HoldWithoutNewcomers);
        let inherited = promises()
            .filter(|(p, ..)| newcomers_count || p.part != Part::Joiner)
            .map(|(_, at, p)| at + ms(p.hold_ms))
            .max()
            .unwrap_or(Time::ZERO);
        let Some(f) = &self.fanout else { return inherited };
        let absent: Vec<usize> = (0..f.view.len())
            .filter(|i| {
                let m = &f.view.members[*i];
                !attempt.participants.contains_key(&m.incarnation) && !self.suspicion.is_proven(m.incarnation)
            })
            .collect();
        if absent.is_empty() || !f.view.fenced {
            return inherited;
        }
        // The old coordinator knows to whom it granted; without it, what the voters answered bounds every grant.
        let old = f.view.members[f.view.coordinator()].incarnation;
        let granted =
            attempt.participants.get(&old).and_then(|p| Some((p.promised_at, &p.promise.as_ref()?.grants_ms)));
        self.marks.reach(if granted.is_some() { Mark::HoldByGrants } else { Mark::HoldByFences });
        let older = match granted {
            Some((at, grants)) => absent.iter().map(|i| at + ms(grants.get(*i).copied().unwrap_or(0))).max(),
            None => promises().map(|(_, at, p)| at + ms(p.fence_ms)).max(),
        };
        inherited.max(older.unwrap_or(Time::ZERO))
    }

    /// Whether the view that ends is certainly the last one that was decided: members of it, in the lives that it names, are half
    /// of the voters and have promised. Nothing was decided without one of them since, so what a newcomer's former life answered
    /// belongs to views whose leases these members know about, each by its own hold (R22).
    fn is_last_decided(&self, attempt: &Attempt) -> bool {
        let stayed = |p: &Participant| p.part != Part::Joiner;
        self.view_fenced() && self.rules.are_half(|name| matches!(self.voter_state(attempt, name, stayed), Voter::Here))
    }

    /// Tells a member the newest installed view once more.
    pub(super) fn send_install(&mut self, to: Incarnation) {
        let Some(proposal) = self.installed.clone() else { return };
        let hold_ms = (self.lease.hold.since(self.now).div_ceil(1_000)) as u32;
        self.send_to(to, Control::Install(Install { proposal, hold_ms }));
    }

    fn repeat_install(&mut self) {
        if self.laggards.at.is_none_or(|at| self.now < at) {
            return;
        }
        self.laggards.at = Some(self.now + REPEAT);
        let whom: Vec<Incarnation> = self.laggards.whom.keys().copied().collect();
        for to in whom {
            let tries = self.laggards.whom.entry(to).or_default();
            *tries += 1;
            let (send, over) = (tries.is_power_of_two(), *tries > 20);
            if over || self.believed_gone(to) {
                self.marks.reach(Mark::LaggardGivenUp);
                self.laggards.whom.remove(&to);
            } else if send {
                self.marks.reach(Mark::InstallRepeated);
                self.send_install(to);
            }
        }
        if self.laggards.whom.is_empty() {
            self.laggards.at = None;
        }
    }
}
