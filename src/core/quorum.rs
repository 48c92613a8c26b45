//! Who may decide a view (R20, R21). Pure rules over what is known of the voters.

use super::mark::{Mark, Marks};
use super::plant::{Plant, Plants};
use crate::types::{Micros, Name};

/// What a deciding member knows of one voter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Voter {
    /// Takes part, and remembers every promise that it can have made.
    Here,
    /// Takes part, but has started anew this long ago.
    Fresh(Micros),
    /// Does not take part, and is dead for certain, as seen just now.
    ProvenDead,
    /// Does not take part, and nobody knows why.
    Absent,
}

/// Rules of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) voters: Vec<Name>,
    /// A minority forms an unfenced view.
    pub(crate) minority_serves: bool,
    /// One of two voters goes on alone, unfenced.
    pub(crate) two_serve: bool,
    pub(crate) lease: Micros,
    pub(crate) plants: Plants,
    pub(crate) marks: Marks,
}

/// What may be decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Quorum {
    /// A fenced view, by the voters.
    Fenced,
    /// An unfenced view, by the consent of all that are present.
    Unfenced,
    /// Nothing now.
    None,
}

impl Rules {
    /// Judges with what is known of each voter.
    pub(crate) fn judge(&self, state: impl Fn(&Name) -> Voter) -> Quorum {
        if self.voters.is_empty() {
            self.marks.reach(Mark::QuorumVoterless);
            return Quorum::Unfenced;
        }
        let states: Vec<Voter> = self.voters.iter().map(state).collect();
        if self.fenced(&states) {
            return Quorum::Fenced;
        }
        let two = states.len() == 2 && self.two_serve;
        self.marks.reach_if(two, Mark::QuorumOfTwo);
        self.marks.reach_if(!two && self.minority_serves, Mark::QuorumMinority);
        if two || self.minority_serves { Quorum::Unfenced } else { Quorum::None }
    }

    fn fenced(&self, states: &[Voter]) -> bool {
        let all = states.len();
        let remembering = states.iter().filter(|s| **s == Voter::Here).count();
        let fresh = states.iter().filter(|s| matches!(s, Voter::Fresh(_))).count();
        let rested = |s: &&Voter| matches!(s, Voter::Fresh(up) if *up >= self.lease + self.lease / 4);
        let settled = states.iter().filter(rested).count();
        let majority_remembers =
            remembering * 2 > all || (remembering * 2 == all && self.plants.has(Plant::HalfDecides));
        let everybody_known = !states.contains(&Voter::Absent) && remembering + fresh > 0;
        // Who has started just now does not count yet, and holds up nobody: where many start again and again there would always be one.
        let majority_rested = (remembering + settled) * 2 > all;
        self.marks.reach(match (majority_remembers, everybody_known) {
            (true, _) => Mark::QuorumRemembers,
            (_, true) => Mark::QuorumComplete,
            _ if majority_rested => Mark::QuorumRested,
            _ => Mark::QuorumMissing,
        });
        majority_remembers || everybody_known || majority_rested
    }

    /// Whether those that count are half of the voters at least: no others can then have decided anything, or renewed a lease,
    /// without one of them.
    pub(crate) fn are_half(&self, counts: impl Fn(&Name) -> bool) -> bool {
        !self.voters.is_empty() && self.voters.iter().filter(|name| counts(name)).count() * 2 >= self.voters.len()
    }

    pub(crate) fn is_voter(&self, name: &Name) -> bool {
        self.voters.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(states: &[Voter], serve: bool) -> Quorum {
        let voters: Vec<Name> = (0..states.len()).map(|i| Name::new(&i.to_string())).collect();
        let rules = Rules {
            voters,
            minority_serves: serve,
            two_serve: true,
            lease: 1000,
            plants: Plants::default(),
            marks: Marks::default(),
        };
        rules.judge(|name| states[name.as_str().parse::<usize>().unwrap()])
    }

    #[test]
    fn half_of_the_voters_cannot_be_passed_by() {
        let half = |present: &[usize], all: usize| {
            let voters: Vec<Name> = (0..all).map(|i| Name::new(&i.to_string())).collect();
            let rules = Rules {
                voters,
                minority_serves: false,
                two_serve: true,
                lease: 1000,
                plants: Plants::default(),
                marks: Marks::default(),
            };
            rules.are_half(|name| present.contains(&name.as_str().parse::<usize>().unwrap()))
        };
        assert!(half(&[0, 2], 3) && half(&[1], 2) && half(&[0, 3], 4));
        assert!(!half(&[2], 3) && !half(&[], 2) && !half(&[0, 1], 5) && !half(&[], 0));
    }

    #[test]
    fn the_three_ways_to_a_fenced_view() {
        use Voter::{Absent, Fresh, Here, ProvenDead};
        assert_eq!(judge(&[Here, Here, Absent], false), Quorum::Fenced);
        assert_eq!(judge(&[Here, Fresh(0), ProvenDead], false), Quorum::Fenced);
        assert_eq!(judge(&[Here, ProvenDead], false), Quorum::Fenced);
        assert_eq!(judge(&[Fresh(1250), Fresh(1300), Absent], false), Quorum::Fenced);
        assert_eq!(judge(&[Fresh(1249), Fresh(1300), Absent], false), Quorum::None);
        assert_eq!(judge(&[Fresh(0), Fresh(1300), Here, Absent, Absent], false), Quorum::None);
        assert_eq!(judge(&[Fresh(0), Fresh(1300), Here, Here, Absent, Absent, Absent], true), Quorum::Unfenced);
        assert_eq!(judge(&[Fresh(0), Fresh(1300), Here, Here, Absent], false), Quorum::Fenced);
        assert_eq!(judge(&[Here, Absent, Absent], false), Quorum::None);
        assert_eq!(judge(&[Here, Absent, Absent], true), Quorum::Unfenced);
        assert_eq!(judge(&[Here, Absent], false), Quorum::Unfenced);
        assert_eq!(judge(&[ProvenDead, ProvenDead], false), Quorum::Unfenced);
        assert_eq!(judge(&[], false), Quorum::Unfenced);
    }
}
