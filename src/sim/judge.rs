//! The checks that need the truth about the network, the clocks and the processes: D5, V3, V4, V6, V7 and V8.

use super::check::Guarantee;
use super::node::State;
use super::world::World;
use crate::core::{self, Ended, ViewChange};
use crate::types::{Code, Micros, View, ViewId, millis};

/// A link may be missing between a member and its leader for this many silences before the view must have changed.
const PLACEMENT_SILENCES: u64 = 10;
/// After this many silences without any trouble nobody may be removed.
const QUIET_SILENCES: u64 = 14;
/// How often the last phase looks whether everything has been delivered.
const LOOK_EVERY: Micros = millis(20);

impl World {
    /// After every turn of a member.
    pub(super) fn check_turn(&mut self, node: usize) {
        self.check_primary(node);
        let slot = &self.nodes[node];
        let Some(member) = &slot.member else { return };
        let (setup, stats) = (&slot.setup, member.stats());
        // One cut with its events has room beside the queue, so that no host's polling holds up an installation.
        let queued_bound = setup.receive_queue_bytes + setup.window_bytes + setup.message_bytes;
        let (queued, unstable) = (slot.unconsumed, stats.unstable_bytes);
        let unstable_bound = (setup.window_bytes + setup.message_bytes) as u64;
        self.ledger.check(Guarantee::D5, queued <= queued_bound && unstable <= unstable_bound, || {
            format!("n{node} holds {queued} bytes for its host (bound {queued_bound}), {unstable} unstable ({unstable_bound})")
        });
    }

    /// A member that acts as primary in a fenced view must be alone with that view.
    pub(super) fn check_primary(&mut self, node: usize) {
        let Some(mine) = self.acts_as_primary(node) else { return };
        self.ledger.checks.note(Guarantee::V3);
        if !self.primaries.see(mine) {
            return;
        }
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            if let Some(theirs) = self.acts_as_primary(other).filter(|theirs| *theirs != mine) {
                self.violate(Guarantee::V3, format!("n{node} is primary in {mine:?} while n{other} is in {theirs:?}"));
            }
        }
    }

    /// The fenced view in which a running member acts as primary by its own clock.
    fn acts_as_primary(&self, node: usize) -> Option<ViewId> {
        let slot = &self.nodes[node];
        let member = slot.member.as_deref().filter(|_| slot.state == State::Running)?;
        let (view, _) = member.view()?;
        (view.fenced && member.is_primary(slot.clock(self.now))).then_some(view.id)
    }

    /// An event other than messages came to a host.
    pub(super) fn check_event(&mut self, node: usize, event: &core::Event) {
        let core::Event::Suspected { member, why } = event else { return };
        // What lies in its kernel must be looked at before anybody is accused of silence who has been well all the time.
        let just_resumed = self.nodes[node].resumed_at == Some(self.now);
        let accused = self.node_of(member.incarnation);
        let well =
            accused.is_some_and(|accused| self.is_well(accused, 4) && self.nodes[accused].state == State::Running);
        self.ledger.check(Guarantee::V6, !(just_resumed && well && why.contains("silen")), || {
            format!("n{node} accuses {} ({why}) on the clock of its own pause", member.name)
        });
    }

    /// Nobody is removed who has been well, and well connected, for long.
    pub(super) fn check_removals(&mut self, node: usize, change: &ViewChange) {
        for left in &change.left {
            let well = (0..self.nodes.len()).find(|other| {
                let slot = &self.nodes[*other];
                slot.state == State::Running
                    && slot.member.as_ref().is_some_and(|member| member.incarnation() == left.incarnation)
                    && !slot.leaving
                    && self.is_well(*other, QUIET_SILENCES)
            });
            self.ledger.check(Guarantee::V7, well.is_none(), || {
                format!("n{node} installs {:?} without {}, which is well", change.view.id, left.name)
            });
        }
    }

    /// Whether nothing has troubled a node for so many times the detector's silence.
    fn is_well(&self, node: usize, silences: u64) -> bool {
        let slot = &self.nodes[node];
        let quiet = slot.setup.silence * silences;
        if self.now < slot.disturbed_at + quiet || !slot.polling || slot.lag_us > 0 {
            return false;
        }
        (0..self.nodes.len()).all(|other| {
            [(slot.host, self.nodes[other].host), (self.nodes[other].host, slot.host)].into_iter().all(|(from, to)| {
                let conditions = self.network.conditions(from, to);
                self.network.reaches(from, to) && conditions.loss <= 100 && conditions.bytes_per_ms == 0
            })
        })
    }

    /// A process has ended by itself: only for a reason that it has.
    pub(super) fn check_end_of_process(&mut self, node: usize, reason: &Ended) {
        let slot = &self.nodes[node];
        let text = format!("n{node} ended: {reason:?}");
        match reason {
            Ended::HostNotPolling => {
                let since = slot.stopped_polling_at.filter(|_| !slot.polling);
                let long = since.is_some_and(|since| self.now - since >= slot.setup.slow);
                let holds = long || slot.lag_us > 0;
                self.ledger.check(Guarantee::D5, holds, || format!("{text}, though its host polls"));
            }
            Ended::Left | Ended::LeftUnheard => {
                let holds = slot.leaving;
                self.ledger.check(Guarantee::D7, holds, || format!("{text}, and was not asked to"));
            }
            Ended::JoinTimeout(_) => {
                let holds = slot.setup.join_timeout > 0;
                self.ledger.check(Guarantee::V4, holds, || format!("{text}, and was told to try for ever"));
            }
            Ended::Refused(_) => {}
            Ended::Failed(_) => unreachable!("only the runtime says so"),
        }
    }

    /// Once a virtual second: links that have been missing for long are not used by any view that serves, and no sender starves.
    pub(super) fn check_placement(&mut self) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].state != State::Running {
                continue;
            }
            self.check_starvation(node);
            let Some(view) = self.serving_view(node) else { continue };
            let Some(me) = self.position(node, &view) else { continue };
            let leader = view.leader_of(me);
            let partners: Vec<usize> = if leader == me {
                view.groups.iter().map(|group| group.leader()).filter(|other| *other != me).collect()
            } else {
                vec![leader]
            };
            for partner in partners {
                self.check_link(node, partner, &view);
            }
        }
    }

    fn check_link(&mut self, node: usize, partner: usize, view: &View) {
        let name = &view.members[partner];
        let Some(other) = self.node_of(name.incarnation).filter(|other| self.position(*other, view).is_some()) else {
            return;
        };
        let bound = self.nodes[node].setup.silence * PLACEMENT_SILENCES;
        let (a, b) = (self.nodes[node].host, self.nodes[other].host);
        let missing = [(a, b), (b, a)]
            .into_iter()
            .any(|(from, to)| !self.network.reaches(from, to) && self.now > self.network.changed_at(from, to) + bound);
        let settled = self.now > self.nodes[node].view_at.max(self.nodes[other].view_at) + bound;
        self.ledger.check(Guarantee::V8, !(missing && settled), || {
            format!("n{node} and n{other} do not hear each other, and serve as leader and member in {:?}", view.id)
        });
    }

    /// A sender of a serving view whose sends are refused for much longer than a slow member may be borne.
    fn check_starvation(&mut self, node: usize) {
        let slot = &self.nodes[node];
        let Some(since) = slot.starved_since else { return };
        let bound = slot.setup.slow * 2 + slot.setup.silence * PLACEMENT_SILENCES;
        // While a view ends nobody is to blame for a full window: how long that may take is V4's matter.
        let settled = self.now > slot.view_at + bound && !self.ledger.is_leaving_view(slot.process);
        let starved = self.now > since + bound && settled && self.serving_view(node).is_some();
        self.ledger.check(Guarantee::D5, !starved, || {
            format!("n{node} is answered AGAIN since {} ms", (self.now - since) / 1_000)
        });
    }

    /// The view of a member, if it may act in it: primary, or said to be without fence.
    fn serving_view(&self, node: usize) -> Option<std::sync::Arc<View>> {
        let slot = &self.nodes[node];
        let member = slot.member.as_deref().filter(|_| slot.state == State::Running)?;
        let (view, _) = member.view()?;
        (!view.fenced || member.is_primary(slot.clock(self.now))).then(|| view.clone())
    }

    fn node_of(&self, incarnation: crate::types::Incarnation) -> Option<usize> {
        self.nodes.iter().position(|slot| {
            slot.state == State::Running
                && slot.member.as_ref().is_some_and(|member| member.incarnation() == incarnation)
        })
    }

    /// A node's position in `view`, if that is the one it has installed.
    fn position(&self, node: usize, view: &View) -> Option<usize> {
        let (installed, me) = self.nodes[node].member()?.view()?;
        (installed.id == view.id).then_some(me)
    }

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
                    && !slot.leaving
                    && slot.member().is_some_and(|member| {
                        let primary = !view.fenced || member.is_primary(slot.clock(self.now));
                        member.view().is_some_and(|(theirs, me)| theirs.id == view.id && theirs.members[me].ready)
                            && primary
                    })
            })
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

    /// With everything well, nothing may change any more for `duration`.
    pub fn rest(&mut self, duration: Micros) {
        let before = self.nodes.iter().find_map(|slot| slot.member().and_then(|m| m.view()).map(|(view, _)| view.id));
        self.run_for(duration);
        let same = self.is_converged()
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
        if living.is_empty() {
            return true;
        }
        let mut waiting = Vec::new();
        let mut sent_in = None;
        loop {
            let view = self.is_converged().then(|| self.view(living[0]).expect("it has converged").id);
            if view.is_some() && view != sent_in {
                sent_in = view;
                waiting.clone_from(&living);
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
