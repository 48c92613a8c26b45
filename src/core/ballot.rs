//! The log of views, as in Paxos with a fixed set of acceptors: what an acceptor remembers, and one coordinator's attempt at
//! the next entry (R16-R18).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::types::{Ballot, Incarnation, MemberInfo, Name, Time, ViewId};
use crate::wire::control::{Control, Cut, Prepare, Promise, Propose};
use crate::wire::{Proposal, Sparse};

/// Entries that are voted on at one time at most: a process without a view may be asked by several starters.
const ENTRIES: usize = 64;

/// What this process remembers of the log. It outlives an expulsion; only a restart loses it (R18).
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Acceptor {
    /// Entries that may still be decided.
    entries: BTreeMap<u64, Entry>,
    /// The newest entry that is known to be installed.
    pub(crate) newest: u64,
    /// Whether every promise that this process can have made is remembered: it took part in a fenced view.
    pub(crate) memory: bool,
}

/// What was promised and accepted for one entry. A promise for a later one says nothing about it.
#[derive(Clone, Hash, Debug)]
struct Entry {
    promised: Ballot,
    accepted: Option<(Ballot, Proposal)>,
}

impl Acceptor {
    /// Promises, unless a higher ballot was promised or the entry is installed.
    pub(crate) fn promise(&mut self, number: u64, ballot: Ballot) -> bool {
        let known = self.entries.contains_key(&number);
        if number <= self.newest || (!known && self.entries.len() >= ENTRIES) {
            return false;
        }
        let entry = self.entries.entry(number).or_insert(Entry { promised: ballot, accepted: None });
        let keeps_word = ballot >= entry.promised;
        if keeps_word {
            entry.promised = ballot;
        }
        keeps_word
    }

    /// What was promised for an entry.
    pub(crate) fn promised_for(&self, number: u64) -> Ballot {
        self.entries.get(&number).map_or(Ballot::default(), |entry| entry.promised)
    }

    /// The highest round of all promises.
    pub(crate) fn highest_round(&self) -> u64 {
        self.entries.values().map(|entry| entry.promised.round).max().unwrap_or(0)
    }

    /// The least entry such that nothing is known of a later one.
    pub(crate) fn least_next(&self) -> u64 {
        let promised = self.entries.last_key_value().map_or(0, |(number, _)| *number);
        promised.max(self.newest.saturating_add(1))
    }

    /// Accepts, unless a higher ballot was promised or the entry is installed.
    pub(crate) fn accept(&mut self, ballot: Ballot, proposal: &Proposal) -> bool {
        let promised = self.promise(proposal.id.number, ballot);
        if let Some(entry) = self.entries.get_mut(&proposal.id.number).filter(|_| promised) {
            entry.accepted = Some((ballot, proposal.clone()));
        }
        promised
    }

    /// The proposal accepted for the entry that follows `previous`. Starters, who follow nothing, take up any.
    pub(crate) fn accepted_for(&self, number: u64, previous: ViewId) -> Option<(Ballot, Proposal)> {
        let accepted = self.entries.get(&number)?.accepted.clone()?;
        (previous == ViewId::NONE || accepted.1.previous == previous).then_some(accepted)
    }

    /// The proposal with this identity, if it was accepted and can still be decided.
    pub(crate) fn accepted(&self, id: ViewId) -> Option<&Proposal> {
        let (_, proposal) = self.entries.get(&id.number)?.accepted.as_ref()?;
        Some(proposal).filter(|proposal| proposal.id == id)
    }

    /// An entry was installed.
    pub(crate) fn installed(&mut self, id: ViewId, fenced: bool) {
        self.memory |= fenced;
        self.pass(id.number);
    }

    /// An entry is decided: it can no longer be voted on.
    pub(crate) fn pass(&mut self, number: u64) {
        self.newest = self.newest.max(number);
        self.entries.retain(|number, _| *number > self.newest);
    }
}

/// How far an attempt is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Hash, Debug)]
pub(crate) enum Phase {
    /// Promises are gathered.
    Prepare,
    /// Survivors fetch what they lack of the cut.
    Cut,
    /// Acceptance is gathered.
    Propose,
}

/// What a participant is to the view being decided.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Part {
    /// Stays.
    Survivor,
    /// Takes part in the cut and goes.
    Leaver,
    /// Comes.
    Joiner,
}

/// One participant of an attempt.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Participant {
    pub(crate) name: Name,
    pub(crate) address: SocketAddr,
    pub(crate) part: Part,
    pub(crate) unheard: Vec<Incarnation>,
    pub(crate) promise: Option<Promise>,
    pub(crate) promised_at: Time,
    pub(crate) held: bool,
    pub(crate) accepted: bool,
}

/// One attempt at the next entry of the log.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Attempt {
    pub(crate) number: u64,
    pub(crate) ballot: Ballot,
    pub(crate) previous: ViewId,
    pub(crate) phase: Phase,
    /// When unanswered requests are repeated.
    pub(crate) repeat_at: Time,
    pub(crate) repeats: u32,
    pub(crate) participants: BTreeMap<Incarnation, Participant>,
    pub(crate) proposal: Option<Proposal>,
    /// For each member of the previous view: the last batch that anybody who has promised holds, and who holds it.
    pub(crate) cut: Vec<(u64, Incarnation)>,
}

impl Attempt {
    /// Whether every participant has answered the current phase, as far as it must.
    pub(crate) fn all(&self, done: impl Fn(&Participant) -> bool) -> bool {
        self.participants.values().all(done)
    }

    /// Who has not answered the current phase.
    pub(crate) fn unanswered(&self) -> Vec<Incarnation> {
        let waits = |p: &Participant| match self.phase {
            Phase::Prepare => p.promise.is_none(),
            Phase::Cut => !p.held,
            Phase::Propose => !p.accepted,
        };
        self.participants.iter().filter(|(_, p)| waits(p)).map(|(i, _)| *i).collect()
    }

    /// What a participant is asked in the current phase.
    pub(crate) fn request_to(&self, to: Incarnation) -> Control {
        let Attempt { number, ballot, previous, .. } = *self;
        match self.phase {
            Phase::Prepare => {
                let joins = self.participants.get(&to).is_some_and(|p| p.part == Part::Joiner);
                Control::Prepare(Prepare { number, ballot, previous, joins })
            }
            Phase::Cut => Control::Cut(Cut { number, ballot, upto: Sparse(self.cut.clone()) }),
            Phase::Propose => {
                let proposal = self.proposal.clone().expect("it is being proposed");
                Control::Propose(Propose { ballot, proposal })
            }
        }
    }

    /// The highest proposal that a participant accepted before: it must be proposed again, unchanged (R18).
    pub(crate) fn highest_accepted(&self) -> Option<Proposal> {
        let accepted = self.participants.values().filter_map(|p| p.promise.as_ref()?.accepted.as_ref());
        accepted.max_by_key(|(ballot, _)| *ballot).map(|(_, proposal)| proposal.clone())
    }

    /// Whether a participant has accepted a proposal before.
    pub(crate) fn has_accepted(&self) -> bool {
        self.participants.values().any(|p| p.promise.as_ref().is_some_and(|promise| promise.accepted.is_some()))
    }

    /// A participant has promised. What it holds is taken into the cut and not kept: a list from everybody of everybody would be long.
    pub(crate) fn note_promise(&mut self, from: Incarnation, mut promise: Promise, now: Time) {
        let Some(participant) = self.participants.get_mut(&from) else { return };
        let held = std::mem::take(&mut promise.have);
        for (upto, have) in self.cut.iter_mut().zip(held.iter().copied()) {
            if have > 0 && (have > upto.0 || (have == upto.0 && from < upto.1)) {
                *upto = (have, from);
            }
        }
        participant.promise = Some(promise);
        participant.promised_at = now;
    }
}

/// Puts joiners into groups (R13): the smallest group that has room and whose leader the joiner may hear; a new group when
/// all are full, but not for a witness, which takes no room. Of a leader that has got its place since the joiner looked, nobody knows: if the two are deaf to each other after
/// all, that is found out like any link that fails. Nobody else moves. Answers who could not be placed.
pub(crate) fn place(
    members: &mut Vec<MemberInfo>, joiners: Vec<(MemberInfo, Vec<Incarnation>)>, bound: usize,
) -> Vec<MemberInfo> {
    let mut refused = Vec::new();
    let total = members.iter().chain(joiners.iter().map(|(m, _)| m)).filter(|m| !m.witness).count();
    let bound = if bound > 0 { bound } else { 4.max((total as f64).sqrt().ceil() as usize) };
    // The first of a group leads it; who comes now is the last.
    members.sort_by_key(|m| m.grouped);
    for (mut joiner, unheard) in joiners {
        let hears_leader = |m: &MemberInfo| !unheard.contains(&m.incarnation);
        let mut groups: BTreeMap<u16, (usize, bool)> = BTreeMap::new();
        for member in members.iter().filter(|m| !m.witness) {
            let group = groups.entry(member.group).or_insert((0, hears_leader(member)));
            group.0 += 1;
        }
        let smallest = |room: bool| {
            let open = groups.iter().filter(|(_, (n, heard))| *heard && (!room || *n < bound));
            open.min_by_key(|(label, (n, _))| (*n, **label)).map(|(label, _)| *label)
        };
        let hears_all = groups.values().all(|(_, heard)| *heard);
        let fresh = (0..=u16::MAX).find(|label| !groups.contains_key(label)).unwrap_or(u16::MAX);
        match smallest(true) {
            Some(label) => joiner.group = label,
            None if hears_all && !(joiner.witness && !groups.is_empty()) => joiner.group = fresh,
            None => match smallest(false) {
                Some(label) => joiner.group = label,
                None => {
                    refused.push(joiner);
                    continue;
                }
            },
        }
        members.push(joiner);
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Seat;

    fn member(n: u32, group: u16) -> MemberInfo {
        MemberInfo {
            name: Name::new(&format!("m{n}")),
            incarnation: Incarnation(u128::from(n)),
            address: ([127, 0, 0, 1], n as u16).into(),
            seat: Seat(n),
            admitted: 1,
            group,
            grouped: 1,
            ready: true,
            witness: false,
            tags: Default::default(),
        }
    }

    fn ballot(round: u64) -> Ballot {
        Ballot { round, coordinator: Incarnation(1) }
    }

    fn proposal(number: u64, round: u64) -> Proposal {
        let id = |number| ViewId { number, ballot: ballot(round) };
        Proposal {
            id: id(number),
            previous: id(number - 1),
            members: vec![member(1, 0)],
            fenced: false,
            next_seat: 2,
            cut: Sparse(Vec::new()),
        }
    }

    fn promise(accepted: Option<(Ballot, Proposal)>) -> Promise {
        Promise {
            number: 5,
            ballot: ballot(9),
            have: Sparse(Vec::new()),
            memory: true,
            announces_ready: false,
            witness: false,
            tags: Default::default(),
            up_ms: 0,
            fence_ms: 0,
            hold_ms: 0,
            grants_ms: Vec::new(),
            newest: 4,
            accepted,
        }
    }

    /// An attempt with so many participants that have said nothing yet.
    fn attempt(count: u32) -> Attempt {
        let participant = |n| Participant {
            name: Name::new(&format!("m{n}")),
            address: ([127, 0, 0, 1], n as u16).into(),
            part: Part::Survivor,
            unheard: Vec::new(),
            promise: None,
            promised_at: Time::ZERO,
            held: false,
            accepted: false,
        };
        Attempt {
            number: 5,
            ballot: ballot(9),
            previous: ViewId { number: 4, ballot: ballot(4) },
            phase: Phase::Prepare,
            repeat_at: Time::ZERO,
            repeats: 0,
            participants: (1..=count).map(|n| (Incarnation(u128::from(n)), participant(n))).collect(),
            proposal: None,
            cut: Vec::new(),
        }
    }

    #[test]
    fn a_new_group_opens_when_others_have_as_many_as_those_who_carry_allow() {
        let mut members = Vec::new();
        let carriers = (1..=20).map(|n| member(n, 99));
        // With the witnesses there would be room for six in a group.
        let witnesses = (21..=29).map(|n| MemberInfo { witness: true, ..member(n, 99) });
        assert!(place(&mut members, carriers.chain(witnesses).map(|m| (m, vec![])).collect(), 0).is_empty());
        let sizes = (0..=4).map(|label| members.iter().filter(|m| !m.witness && m.group == label).count());
        assert_eq!(sizes.collect::<Vec<_>>(), [5, 5, 5, 5, 0]);
    }

    #[test]
    fn an_acceptor_knows_the_highest_round_of_all_its_promises() {
        let mut acceptor = Acceptor::default();
        assert_eq!(acceptor.highest_round(), 0);
        assert!(acceptor.promise(5, ballot(7)));
        assert!(acceptor.promise(6, ballot(3)));
        assert_eq!(acceptor.highest_round(), 7, "of all entries");
    }

    #[test]
    fn what_was_accepted_is_told_to_who_follows_the_same_view_and_to_starters() {
        let mut acceptor = Acceptor::default();
        assert!(acceptor.accept(ballot(3), &proposal(5, 3)));
        let accepted = Some((ballot(3), proposal(5, 3)));
        assert_eq!(acceptor.accepted_for(5, proposal(5, 3).previous), accepted);
        assert_eq!(acceptor.accepted_for(5, ViewId::NONE), accepted);
        assert_eq!(acceptor.accepted_for(5, ViewId { number: 4, ballot: ballot(2) }), None, "of another log");
        assert_eq!(acceptor.accepted_for(6, ViewId::NONE), None, "of another entry");
    }

    #[test]
    fn the_proposal_of_the_highest_ballot_is_taken_up() {
        let mut attempt = attempt(4);
        let mut told = |n: u32, accepted| attempt.note_promise(Incarnation(u128::from(n)), promise(accepted), Time(1));
        told(1, None);
        told(2, Some((ballot(6), proposal(5, 2))));
        told(3, Some((ballot(4), proposal(5, 4))));
        // It was first proposed in a lower ballot than the other one, and again in a higher one.
        assert_eq!(attempt.highest_accepted(), Some(proposal(5, 2)));
        assert!(attempt.has_accepted());
    }

    #[test]
    fn where_nobody_accepted_anything_nothing_is_taken_up() {
        let mut attempt = attempt(2);
        assert!(!attempt.has_accepted());
        attempt.note_promise(Incarnation(1), promise(None), Time(1));
        assert_eq!(attempt.highest_accepted(), None);
        assert!(!attempt.has_accepted());
    }

    #[test]
    fn the_cut_is_the_most_that_anybody_holds_and_names_who_holds_it() {
        let mut attempt = attempt(3);
        attempt.cut = vec![(0, Incarnation::NONE); 3];
        for (n, have) in [(2, [3, 0, 5]), (1, [4, 0, 5]), (3, [1, 0, 5])] {
            attempt.note_promise(Incarnation(n), Promise { have: Sparse(have.to_vec()), ..promise(None) }, Time(1));
        }
        let nobody = Incarnation::NONE;
        assert_eq!(
            attempt.cut,
            [(4, Incarnation(1)), (0, nobody), (5, Incarnation(1))],
            "of those who hold as much, always the same one"
        );
        let kept = attempt.participants.values().filter_map(|p| p.promise.as_ref()).any(|p| !p.have.is_empty());
        assert!(!kept, "what everybody holds of everybody is not kept");
    }

    #[test]
    fn those_are_asked_again_who_have_not_answered_what_is_asked_now() {
        let mut attempt = attempt(4);
        attempt.note_promise(Incarnation(1), promise(None), Time(1));
        attempt.participants.get_mut(&Incarnation(2)).expect("one of them").held = true;
        attempt.participants.get_mut(&Incarnation(3)).expect("one of them").accepted = true;
        for (phase, answered) in [(Phase::Prepare, 1), (Phase::Cut, 2), (Phase::Propose, 3)] {
            attempt.phase = phase;
            let waiting = (1..=4).filter(|n| *n != answered).map(Incarnation);
            assert_eq!(attempt.unanswered(), waiting.collect::<Vec<_>>(), "{phase:?}");
        }
    }

    #[test]
    fn groups_fill_evenly_and_nobody_moves() {
        let mut members = Vec::new();
        for n in 1..=12 {
            let before = members.clone();
            assert!(place(&mut members, vec![(member(n, 99), vec![])], 4).is_empty());
            assert_eq!(members[..before.len()], before[..]);
        }
        for label in 0..3 {
            assert_eq!(members.iter().filter(|m| m.group == label).count(), 4);
        }
    }

    #[test]
    fn a_witness_takes_no_room_and_opens_no_group() {
        let witness = |n| MemberInfo { witness: true, ..member(n, 99) };
        let mut members = Vec::new();
        assert!(
            place(&mut members, vec![(witness(1), vec![]), (member(2, 99), vec![]), (member(3, 99), vec![])], 2)
                .is_empty()
        );
        assert!(place(&mut members, vec![(witness(4), vec![])], 2).is_empty());
        assert!(members.iter().all(|m| m.group == members[1].group), "{members:?}");
        assert!(place(&mut members, vec![(member(5, 99), vec![])], 2).is_empty());
        assert_ne!(members[4].group, members[1].group, "two carriers fill a group");
    }

    #[test]
    fn a_joiner_goes_where_it_hears_the_leader() {
        let mut members = vec![member(1, 0), member(2, 0), member(3, 1)];
        let refused = place(
            &mut members,
            vec![(member(4, 9), vec![Incarnation(3)]), (member(5, 9), vec![Incarnation(1), Incarnation(3)])],
            4,
        );
        assert_eq!(members[3].group, 0);
        assert_eq!(refused.len(), 1);
    }

    #[test]
    fn of_a_group_that_got_a_new_leader_that_one_is_to_be_heard() {
        // The first came to the group after the second.
        let mut members = vec![MemberInfo { grouped: 2, ..member(1, 0) }, member(2, 0)];
        let joiner = |n, unheard| (MemberInfo { grouped: 3, ..member(n, 9) }, vec![Incarnation(unheard)]);
        assert_eq!(place(&mut members, vec![joiner(3, 1)], 4).len(), 0);
        assert_eq!(place(&mut members, vec![joiner(4, 2)], 4).len(), 1);
    }

    #[test]
    fn an_acceptor_keeps_its_word() {
        let mut acceptor = Acceptor::default();
        assert!(acceptor.promise(5, ballot(3)));
        assert!(!acceptor.promise(5, ballot(2)));
        assert!(acceptor.promise(5, ballot(3)), "the same again");
        assert!(acceptor.promise(4, ballot(1)), "an entry of its own");
        acceptor.installed(ViewId { number: 5, ballot: ballot(3) }, true);
        assert!(!acceptor.promise(5, ballot(9)));
        assert!(!acceptor.promise(4, ballot(9)));
        assert!((0..200).filter(|n| acceptor.promise(100 + n, ballot(9))).count() == ENTRIES, "bounded");
    }
}
