//! Forming the first view: starters that find no view form one together, once they are as many as it takes (R20).

use std::net::SocketAddr;

use super::changes::Joiner;
use super::mark::Mark;
use super::member::Member;
use super::quorum::{Quorum, Voter};
use crate::types::{Incarnation, Name};

impl Member {
    /// Forms the first view, if it is on us to do so: the smallest name among those that are entitled to.
    pub(super) fn consider_forming(&mut self) {
        let Some(seeking) = &self.seeking else { return };
        if seeking.entrance.is_some()
            || self.attempt.is_some()
            || self.now < self.attempt_after
            || !self.may_form(&self.setup.name, self.setup.advertise)
        {
            return;
        }
        let starters: Vec<(Incarnation, Name, SocketAddr)> = seeking
            .starters
            .iter()
            .filter_map(|i| self.links.link_conn(*i)?.peer().map(|p| (*i, p.name.clone(), p.address)))
            .collect();
        let up = self.now.since(self.remembers_since);
        let quorum = self.rules.judge(|name| {
            let here = *name == self.setup.name && self.votes_from(name, self.setup.advertise);
            match (here, starters.iter().any(|(_, n, a)| n == name && self.votes_from(n, *a)), self.proven_dead(name)) {
                (true, ..) if self.acceptor.memory => Voter::Here,
                (true, ..) => Voter::Fresh(up),
                (_, true, _) => Voter::Fresh(up),
                (.., true) => Voter::ProvenDead,
                _ => Voter::Absent,
            }
        });
        let waited = self.now.since(seeking.since);
        let all_known = seeking.unresolved.is_empty() && seeking.contacts.values().all(|c| c.settled || c.myself);
        let lonely =
            self.setup.seeds.is_empty() && self.setup.multicast.is_none() && self.history.addresses().next().is_none();
        let long_enough = if self.rules.voters.is_empty() {
            lonely || (waited >= self.setup.form_wait && all_known) || waited >= self.setup.form_wait * 4
        } else {
            waited >= self.setup.form_wait + self.setup.lease + self.setup.lease / 4
        };
        match quorum {
            // Whoever may be alive is asked first, so that no cluster is formed beside a living one.
            Quorum::Fenced if all_known || waited >= self.setup.form_wait => {}
            Quorum::Unfenced if long_enough => {}
            _ => return,
        }
        if self.is_left_to_others(&starters) {
            self.marks.reach(Mark::FormingLeft);
            return;
        }
        for (incarnation, name, address) in starters {
            let joiner = Joiner { name, address, unheard: Vec::new() };
            self.changes.joiners.insert(incarnation, joiner);
        }
        self.begin_attempt();
    }

    /// Whether a starter of a smaller name forms the view. Each is given as long as it may need to find a majority that has rested (R20);
    /// after that, the next one that could have formed one does: the links of the smaller ones may not do.
    fn is_left_to_others(&mut self, starters: &[(Incarnation, Name, SocketAddr)]) -> bool {
        let smaller = |(_, name, address): &(Incarnation, Name, SocketAddr)| {
            *name < self.setup.name && self.may_form(name, *address)
        };
        let smaller = starters.iter().filter(|starter| smaller(starter)).count() as u64;
        let (now, patience) = (self.now, (self.setup.form_wait + self.setup.lease + self.setup.lease / 4) * 2);
        let Some(seeking) = &mut self.seeking else { return false };
        seeking.left_at = seeking.left_at.filter(|_| smaller > 0);
        smaller > 0 && now.since(*seeking.left_at.get_or_insert(now)) < patience * smaller
    }

    /// Whether a starter may form a cluster: it is one of the addresses at which others look for it, or a voter. Who was
    /// removed knows its own for one of these, from its last view: so it comes up again when nobody else of that does.
    fn may_form(&self, name: &Name, address: SocketAddr) -> bool {
        let seeds = &self.setup.seeds;
        let named = seeds.iter().any(|s| s.name.as_ref() == Some(name));
        seeds.is_empty()
            || named
            || self.rules.is_voter(name)
            || self.hints.contains(&address)
            || self.seeds.iter().flatten().any(|at| *at == address)
            || (address == self.setup.advertise
                && self.seeking.as_ref().is_some_and(|s| s.contacts.values().any(|c| c.myself)))
    }
}
