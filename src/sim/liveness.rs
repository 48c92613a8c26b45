//! The last phase: faults have stopped, and everything must come together (V4), be delivered (D7), and then stay as it is (V7).

use super::check::Guarantee;
use super::node::State;
use super::world::World;
use crate::types::{Code, Micros, millis};

/// How often the last phase looks whether everything has been delivered.
const LOOK_EVERY: Micros = millis(20);

impl World {
    /// Whether all living members are in one view that holds exactly them, all ready, and primary if it is fenced.
    pub fn is_converged(&self) -> bool {
        let living: Vec<usize> = (0..self.nodes.len()).filter(|node| self.nodes[*node].state != State::Down).collect();
        self.is_converged_among(&living)
    }

    /// Whether `nodes` are in one view that holds exactly them, all ready, and primary if it is fenced.
    pub fn is_converged_among(&self, nodes: &[usize]) -> bool {
        let Some(view) = nodes.first().and_then(|node| self.view(*node)) else { return nodes.is_empty() };
        view.len() == nodes.len()
            && nodes.iter().all(|node| {
                let slot = &self.nodes[*node];
                slot.state == State::Running
                    && slot.leaving.is_none()
                    && slot.member().is_some_and(|member| {
                        let primary = !view.fenced || member.is_primary(slot.clock(self.now));
                        member.view().is_some_and(|(theirs, me)| theirs.id == view.id && theirs.members[me].ready)
                            && primary
                    })
            })
    }

    /// Whether a node's member acts in a primary view by its own clock.
    pub fn is_primary(&self, node: usize) -> bool {
        let slot = &self.nodes[node];
        slot.state == State::Running && slot.member().is_some_and(|member| member.is_primary(slot.clock(self.now)))
    }

    /// What keeps the living members from having converged, for people.
    pub fn describe_views(&self) -> String {
        let living = self.nodes.iter().enumerate().filter(|(_, slot)| slot.state != State::Down);
        let views: Vec<String> = living
            .map(|(node, slot)| match slot.member().and_then(|member| member.view()) {
                Some((view, me)) => {
                    let primary = slot.member().is_some_and(|member| member.is_primary(slot.clock(self.now)));
                    let ready = view.members[me].ready;
                    format!(
                        "n{node}: {:?} of {}, primary {primary}, ready {ready}, {:?}",
                        view.id,
                        view.len(),
                        slot.state
                    )
                }
                None => format!("n{node}: no view, {:?}", slot.state),
            })
            .collect();
        views.join("; ")
    }

    /// The liveness phase, after faults have stopped: within `bound` there is one view of all living members, and everything
    /// that they accepted reaches its receivers. Says whether that came true; what did not is a broken promise.
    pub fn converge(&mut self, bound: Micros) -> bool {
        let end = self.now + bound;
        let converged = self.run_until(bound, World::is_converged);
        if !converged {
            let text = format!("not one view of all after {} ms: {}", bound / 1_000, self.describe_views());
            self.ledger.checks.note(Guarantee::V4);
            self.violate(Guarantee::V4, text);
            return false;
        }
        self.ledger.checks.note(Guarantee::V4);
        self.deliver_all(end)
    }

    /// With everything well, nothing may change any more for `duration`; but what was reported before the faults stopped may still
    /// be acted on for as long as reports count.
    pub fn rest(&mut self, duration: Micros) {
        let silence = self.nodes.iter().map(|slot| slot.setup.silence).max().unwrap_or(0);
        self.run_for(silence);
        self.run_until(silence, World::is_converged);
        let before = self.nodes.iter().find_map(|slot| slot.member().and_then(|m| m.view()).map(|(view, _)| view.id));
        self.run_for(duration);
        // A lease that counts from an answer before the faults stopped may lapse once more: the next round renews it.
        let same = self.run_until(silence, World::is_converged)
            && self.nodes.iter().all(|slot| {
                slot.state == State::Down || slot.member().and_then(|m| m.view()).map(|(view, _)| view.id) == before
            });
        self.ledger.checks.note(Guarantee::V7);
        if !same {
            self.violate(Guarantee::V7, format!("the view {before:?} did not last: {}", self.describe_views()));
        }
    }

    /// Every member sends a last message to everybody; when all have come everywhere, the ledger must be even. A view that
    /// changes meanwhile (a removal that was decided before the faults stopped) has members that are owed another one.
    fn deliver_all(&mut self, end: u64) -> bool {
        let living: Vec<usize> =
            (0..self.nodes.len()).filter(|node| self.nodes[*node].state == State::Running).collect();
        living.iter().for_each(|node| self.nodes[*node].load = None);
        // The last messages are to arrive.
        self.settings.levels.unreliable = 0;
        if living.is_empty() {
            return true;
        }
        let mut waiting = Vec::new();
        let mut sent_in = None;
        loop {
            let view = self.is_converged().then(|| self.view(living[0]).expect("it has converged").id);
            if view.is_some() && view != sent_in {
                sent_in = view;
                waiting = living.iter().copied().filter(|node| !self.nodes[*node].setup.witness).collect();
            }
            waiting.retain(|node| self.send(*node, None, 16) != Code::Ok);
            let processes: Vec<u16> = living.iter().map(|node| self.nodes[*node].process).collect();
            let complete = view.is_some() && waiting.is_empty() && self.ledger.is_even(&processes);
            if complete || self.now >= end {
                if view.is_none() || !waiting.is_empty() {
                    let views = self.describe_views();
                    self.violate(Guarantee::V4, format!("{waiting:?} cannot send in the last view: {views}"));
                }
                self.ledger.finish(&processes);
                return complete;
            }
            self.run_for(LOOK_EVERY);
        }
    }
}
