//! Datagrams: heartbeats along links, and lease rounds between the coordinator and everybody (R22, R30).

use std::net::SocketAddr;
use std::sync::Arc;

use super::io::Output;
use super::mark::Mark;
use super::member::Member;
use crate::types::{Incarnation, Time, View};
use crate::wire::cast;
use crate::wire::control::Purpose;
use crate::wire::datagram::{Datagram, Envelope, LeaseAnswer};

impl Member {
    fn datagram(&mut self, to: Incarnation, address: SocketAddr, datagram: &Datagram) {
        let envelope = Envelope { cluster: self.cluster_tag, from: self.incarnation, to };
        self.stats.datagrams_sent += 1;
        self.output(Output::Datagram { to: address, bytes: datagram.encode(&envelope) });
    }

    pub(super) fn send_heartbeats(&mut self) {
        let watched: Vec<(Incarnation, SocketAddr)> =
            self.detector.watched.iter().map(|(i, w)| (*i, w.address)).collect();
        for (to, address) in watched {
            self.send_heartbeat(to, address);
        }
        self.begin_lease_round(false);
    }

    fn send_heartbeat(&mut self, to: Incarnation, address: SocketAddr) {
        let Some(view) = self.view().map(|(v, _)| (v.id.number, v.tag())) else { return };
        if let Some(beat) = self.detector.heartbeat_for(self.now, to, view, self.late) {
            self.datagram(to, address, &Datagram::Heartbeat(beat));
        }
    }

    /// Between two heartbeats: those whose own is overdue are asked for it by one that says for how long they were not heard. So a few
    /// that are lost do not look like the beginning of a silence.
    pub(super) fn ask_overdue(&mut self) {
        for (whom, address) in self.detector.overdue(self.now) {
            self.marks.reach(Mark::HeartbeatAsked);
            self.send_heartbeat(whom, address);
        }
    }

    /// A fenced view was installed: its first lease does not wait for a heartbeat. The coordinator begins a round, and whoever installs
    /// the view later than that comes asks for one.
    pub(super) fn begin_leases(&mut self) {
        let Some((view, me)) = self.view().filter(|(view, _)| view.fenced) else { return };
        let coordinator = &view.members[view.coordinator()];
        let (tag, to, address, mine) =
            (view.tag(), coordinator.incarnation, coordinator.address, me == view.coordinator());
        match mine {
            true => self.begin_lease_round(false),
            false => self.datagram(to, address, &Datagram::LeaseAnswer(self.lease.ask(self.now, tag))),
        }
    }

    /// Between two heartbeats: a round for members that have no lease of this view yet, upheld by the voters.
    pub(super) fn tick_leases(&mut self) {
        if self.now >= self.lease.due {
            self.lease.due = Time::NEVER;
            self.marks.reach(Mark::LeaseRoundBetween);
            self.begin_lease_round(true);
        }
    }

    fn begin_lease_round(&mut self, between: bool) {
        let Some(view) = self.coordinated_view() else { return };
        self.keep_proofs_fresh();
        self.lease.begin_round(self.now);
        let me = self.incarnation;
        let mut sent = 0;
        for member in view.members.iter().filter(|m| m.incarnation != me) {
            if !between || self.rules.is_voter(&member.name) || self.lease.is_waiting(member.incarnation) {
                let round = self.lease.round_for(self.now, member.incarnation, view.tag(), true);
                self.datagram(member.incarnation, member.address, &Datagram::LeaseRound(round));
                sent += 1;
            }
        }
        if between {
            self.lease.pace(self.now, sent, self.setup.heartbeat);
        }
        self.complete_round();
    }

    /// The fenced view in which this member grants leases.
    fn coordinated_view(&self) -> Option<Arc<View>> {
        let f = self.fanout.as_ref().filter(|f| f.view.fenced && !f.frozen && f.me == f.view.coordinator())?;
        Some(Arc::clone(&f.view))
    }

    /// A dial that began at `dialed` was refused: that may complete a round, or be too old for one that began meanwhile.
    pub(super) fn on_proof(&mut self, dialed: Time) {
        self.complete_round();
        if self.coordinated_view().is_some() && self.lease.is_open_since(dialed) {
            self.marks.reach(Mark::ProofOutdated);
            self.keep_proofs_fresh();
        }
    }

    /// Voters that are absent and proven dead are asked again, so that a lease never rests on an old proof (R19).
    fn keep_proofs_fresh(&mut self) {
        let Some((view, _)) = self.view() else { return };
        let absent: Vec<SocketAddr> =
            self.listed_of_voters(|name| view.index_of_name(name.as_str()).is_none()).collect();
        for address in absent {
            let busy = self.links.iter().any(|(_, c)| c.dialed && c.remote == address);
            if !busy {
                self.marks.reach(Mark::ProofAsked);
                self.dial(address, Purpose::Probe, None);
            }
        }
    }

    /// Looks whether a round is complete: more than half of the voters answered, or all that are here while every other one
    /// has proved dead since the round began (R22): a lease counts from there, and whoever starts again later waits for longer
    /// than a lease before it decides anything. Tells the grants at once.
    pub(super) fn complete_round(&mut self) {
        let Some(view) = self.fanout.as_ref().filter(|f| !f.frozen).map(|f| f.view.clone()) else { return };
        let voters = &self.setup.voters;
        let place = |name: &crate::types::Name| {
            let member = &view.members[view.index_of_name(name.as_str())?];
            self.votes_from(name, member.address).then_some(member.incarnation)
        };
        let dead: Vec<_> =
            voters.iter().filter(|n| place(n).is_none()).filter_map(|n| self.proof_of_death(n)).collect();
        let me = self.incarnation;
        let here: Vec<Incarnation> = voters.iter().filter_map(place).collect();
        let enough = |sent: Time, answered: &dyn Fn(Incarnation) -> bool| {
            let n = here.iter().filter(|i| **i == me || answered(**i)).count();
            let dead = dead.iter().filter(|at| **at >= sent).count();
            let proven = n == here.len() && n + dead == voters.len();
            self.marks.reach_if(proven && n * 2 <= voters.len(), Mark::ProofGood);
            n * 2 > voters.len() || proven
        };
        let complete = self.lease.complete(self.now, enough);
        self.lease.after_hold(self.now);
        if complete {
            for member in view.members.iter().filter(|m| m.incarnation != me) {
                if self.lease.is_news(member.incarnation) {
                    self.tell_grant(&view, member.incarnation, member.address);
                }
            }
        }
    }

    fn tell_grant(&mut self, view: &View, to: Incarnation, address: SocketAddr) {
        let round = self.lease.round_for(self.now, to, view.tag(), false);
        if round.granted > 0 {
            self.datagram(to, address, &Datagram::LeaseRound(round));
        }
    }

    /// A member answered: what that completes is told, and it itself does not wait for a heartbeat to get its first lease.
    fn on_lease_answer(&mut self, from: Incarnation, address: SocketAddr, answer: &LeaseAnswer) {
        let Some(view) = self.coordinated_view() else { return };
        self.lease.on_answer(from, answer);
        self.complete_round();
        if self.lease.lacks_grant(from) {
            self.tell_grant(&view, from, address);
            self.lease.want_round(self.now, from);
        }
    }

    pub(super) fn on_datagram(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.stats.datagrams_received += 1;
        if cast::is_cast(bytes) {
            return self.on_loose_datagram(bytes);
        }
        let Ok((envelope, datagram)) = Datagram::decode(bytes) else {
            self.stats.datagrams_refused += 1;
            return;
        };
        if envelope.cluster != self.cluster_tag || envelope.to != self.incarnation {
            self.stats.datagrams_refused += 1;
            return;
        }
        let sender = envelope.from;
        let Some((view, _)) = self.view() else { return };
        let (tag, number, known) = (view.tag(), view.id.number, view.index_of(sender).is_some());
        if !known {
            if !matches!(datagram, Datagram::NotMember) {
                self.datagram(sender, from, &Datagram::NotMember);
            }
            return;
        }
        match datagram {
            Datagram::Heartbeat(beat) => {
                self.detector.on_heartbeat(self.now, sender, &beat);
                self.believe_in(sender);
                // To where it listens, whatever the datagram says of where it comes from.
                if let Some(address) = self.detector.asked_by(self.now, sender, &beat) {
                    self.marks.reach(Mark::HeartbeatAnswered);
                    self.send_heartbeat(sender, address);
                }
                if beat.view_number < number {
                    self.send_install(sender);
                }
            }
            Datagram::LeaseRound(round) if round.view_tag == tag => {
                let coordinator = self.view().is_some_and(|(v, _)| v.members[v.coordinator()].incarnation == sender);
                let frozen = self.fanout.as_ref().is_none_or(|f| f.frozen);
                if coordinator && !frozen {
                    let answer = self.lease.on_round(self.now, &round);
                    self.datagram(sender, from, &Datagram::LeaseAnswer(answer));
                }
            }
            Datagram::LeaseAnswer(answer) if answer.view_tag == tag => {
                self.on_lease_answer(sender, from, &answer);
            }
            Datagram::NotMember => self.on_not_member(sender),
            _ => {}
        }
    }

    /// A member of our view does not know us: asks it over a connection, where it can say more.
    fn on_not_member(&mut self, who: Incarnation) {
        let recently = self.last_dial(who);
        if self.now.since(recently) >= self.setup.heartbeat {
            self.suspicion.note_dial(who, self.now);
            if let Some(address) = self.address_of(who) {
                self.dial(address, Purpose::Probe, Some(who));
            }
        }
    }
}
