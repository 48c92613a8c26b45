//! The checks that need the truth about the network, the clocks and the processes: D5, V3, V5-V8.

use super::check::Guarantee;
use super::node::State;
use super::world::World;
use crate::core::{self, Ended, Member, ViewChange};
use crate::types::{MemberInfo, Micros, Time, View, ViewId};

#[cfg(test)]
mod tests;

/// A link may be missing between a member and its leader for this many silences before the view must have changed.
const PLACEMENT_SILENCES: u64 = 10;
/// Where more of a thousand segments are lost, a connection stands still for seconds, and so do the attempts that need its answers.
const HEAVY_LOSS: u32 = 200;
/// After this many silences without any trouble nobody may be removed.
const QUIET_SILENCES: u64 = 14;
/// A joiner that is not ready must not hold up stability for this part of a silence.
const HELD_UP_PART: u64 = 3;
/// After so many silences connections have mended what was lost before.
const MENDED_SILENCES: u64 = 2;
/// Trouble that lies further back than so many silences has no part in a removal for silence.
const CALM_SILENCES: u64 = 3;
/// Of a cut so young, in quarters of a silence, a single observer alone may not make the view change.
const PATIENT_QUARTERS: u64 = 7;

impl World {
    /// After every turn of a member.
    pub(super) fn check_turn(&mut self, node: usize) {
        self.check_primary(node);
        let slot = &mut self.nodes[node];
        if slot.member.as_ref().is_some_and(|member| member.is_primary(Time(self.now + slot.clock_offset_us))) {
            slot.acted_at = Some(self.now);
        }
        let Some(member) = &slot.member else { return };
        let (setup, stats) = (&slot.setup, member.stats());
        // One cut with its events has room beside the queue, so that no host's polling holds up an installation.
        let queued_bound = setup.receive_queue_bytes + setup.window_bytes + setup.message_bytes;
        let (queued, unstable) = (slot.unconsumed, stats.unstable_bytes);
        // To everybody, and to and from each of the others.
        let others = member.view().map_or(0, |(view, _)| view.len() - 1);
        let direct = 2 * others * setup.direct_window_bytes;
        let unstable_bound = (setup.window_bytes + setup.message_bytes + direct) as u64;
        self.ledger.check(Guarantee::D5, queued <= queued_bound && unstable <= unstable_bound, || {
            format!("n{node} holds {queued} bytes for its host (bound {queued_bound}), {unstable} unstable ({unstable_bound})")
        });
        if self.nodes[node].setup.witness {
            self.check_witness(node);
        }
        if let Some(Err(wrong)) = self.nodes[node].member().map(Member::check) {
            self.violate(Guarantee::D5, format!("n{node}: {wrong}"));
        }
    }

    /// A witness has nothing of what the others send each other, and no sessions.
    fn check_witness(&mut self, node: usize) {
        let Some(member) = self.nodes[node].member() else { return };
        let (unstable, sessions) = (member.stats().unstable_bytes, member.sessions_held().count());
        self.ledger.check(Guarantee::D5, unstable == 0, || format!("n{node}, a witness, holds {unstable} bytes"));
        self.ledger.check(Guarantee::S1, sessions == 0, || format!("n{node}, a witness, holds {sessions} sessions"));
    }

    /// A member that acts as primary in a fenced view must be alone with that view.
    pub(super) fn check_primary(&mut self, node: usize) {
        let Some(mine) = self.acts_as_primary(node) else { return };
        self.nodes[node].primary_at = Some(self.now);
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

    /// A host was refused a send for want of a primary view: its member must have been out of one for at least a lease. A view that
    /// changes is no reason.
    pub(super) fn check_refused(&mut self, node: usize) {
        let slot = &self.nodes[node];
        let since = slot.primary_at.map_or(u64::MAX, |at| self.now - at);
        let out = since >= slot.setup.lease;
        self.ledger
            .check(Guarantee::D7, out, || format!("n{node} answers NOT_PRIMARY {since} us after it was primary"));
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

    /// Nobody is removed who has been well, and well connected, for long; nor because a single other one does not hear it.
    pub(super) fn check_removals(&mut self, node: usize, change: &ViewChange) {
        let me = change.view.members[change.me].incarnation;
        // Who is in another view by now has gone there, and is not removed here.
        let together = |other: &usize| self.view(*other).is_some_and(|view| view.index_of(me).is_some());
        let removed = change.left.iter().map(|left| (left, self.node_of(left.incarnation).filter(together)));
        let removed: Vec<(&core::MemberRef, Option<usize>)> = removed.collect();
        let gone: Vec<usize> = removed.iter().filter_map(|(_, node)| *node).collect();
        for (left, other) in removed {
            let here = other.filter(|other| self.nodes[*other].leaving.is_none());
            let well = here.is_some_and(|other| self.is_well(other, QUIET_SILENCES));
            self.ledger.check(Guarantee::V7, !well, || {
                format!("n{node} installs {:?} without {}, which is well", change.view.id, left.name)
            });
            if let Some(accuser) = here.and_then(|other| self.only_one_deaf_to(other, change, &gone)) {
                let text = format!("{} goes from {:?}: only n{accuser} does not hear it", left.name, change.view.id);
                self.violate(Guarantee::V7, text);
            }
        }
    }

    /// The one of those who stay that has just been cut off from a node, if all else has been well among them and those who go. Where others go as well
    /// because they are cut off, the view has come apart, and nobody is removed for one that does not hear it. Who stays alone has nobody to ask.
    fn only_one_deaf_to(&self, node: usize, change: &ViewChange, gone: &[usize]) -> Option<usize> {
        let silence = self.nodes[node].setup.silence;
        let stays = |member: &&MemberInfo| !change.joined.iter().any(|new| new.incarnation == member.incarnation);
        let view = &change.view;
        let members: Vec<usize> = view.members.iter().filter_map(|member| self.node_of(member.incarnation)).collect();
        let all: Vec<usize> = members.iter().chain(gone).copied().collect();
        let calm = all.iter().all(|other| self.is_calm(*other, silence * CALM_SILENCES));
        if view.members.iter().filter(stays).count() < 2 || members.len() != view.len() || !calm {
            return None;
        }
        let mut deaf = all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b))).filter(|(a, b)| {
            let (from, to) = (self.nodes[*a].host, self.nodes[*b].host);
            a != b && !self.network.is_clear(self.now, from, to, silence * CALM_SILENCES)
        });
        let (a, b) = deaf.next()?;
        let accuser = if a == node { b } else { a };
        let pair = |(x, y): (usize, usize)| (x, y) == (a, b) || (y, x) == (a, b);
        let (from, to) = (self.nodes[a].host, self.nodes[b].host);
        let recently = |from, to| self.network.cut_for(self.now, from, to, silence * CALM_SILENCES);
        let cut = recently(from, to).into_iter().chain(recently(to, from)).max();
        let hasty = cut.is_some_and(|cut| cut < silence / 4 * PATIENT_QUARTERS);
        (hasty && (a == node || b == node) && deaf.all(pair)).then_some(accuser)
    }

    /// Whether a process has run, with a host that polls, for so long.
    fn is_calm(&self, node: usize, span: Micros) -> bool {
        let slot = &self.nodes[node];
        slot.state == State::Running && slot.polling && slot.lag_us == 0 && self.now >= slot.troubled_at + span
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
                // Who has decided to go goes, though its host comes back meanwhile, or its process stands still.
                let stood = slot.resumed_at.unwrap_or_default();
                let just =
                    slot.stalled_until.is_some_and(|until| self.now - until.max(stood) <= slot.setup.leave_timeout);
                let holds = long || just || slot.lag_us > 0;
                self.ledger.check(Guarantee::D5, holds, || format!("{text}, though its host polls"));
            }
            Ended::Left | Ended::LeftUnheard => {
                let holds = slot.leaving.is_some();
                self.ledger.check(Guarantee::D7, holds, || format!("{text}, and was not asked to"));
                if *reason == Ended::Left {
                    self.check_handed_over(node);
                }
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
                let leaders = view.groups.iter().map(|group| group.leader());
                view.group(me).members.iter().copied().chain(leaders).filter(|other| *other != me).collect()
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
        let (a, b) = (self.nodes[node].host, self.nodes[other].host);
        let heavy = self.network.conditions(a, b).loss > HEAVY_LOSS;
        let bound = self.nodes[node].setup.silence * PLACEMENT_SILENCES * if heavy { 3 } else { 1 };
        let missing = [(a, b), (b, a)]
            .into_iter()
            .any(|(from, to)| !self.network.reaches(from, to) && self.now > self.network.changed_at(from, to) + bound);
        let settled = self.now > self.nodes[node].view_at.max(self.nodes[other].view_at) + bound;
        self.ledger.check(Guarantee::V8, !(missing && settled), || {
            format!("n{node} and n{other} do not hear each other, and serve as leader and member in {:?}", view.id)
        });
    }

    /// Often: what all ready members have taken is soon said to be stable, however far a joiner is that is not ready.
    pub(super) fn check_held_up(&mut self) {
        for node in 0..self.nodes.len() {
            let slot = &self.nodes[node];
            let bound = slot.setup.silence / HELD_UP_PART;
            // While a view ends nothing is numbered, and who has gone may be waited for. Who is in none is told nothing.
            let tells = slot.state == State::Running && slot.setup.stable_events && self.view(node).is_some();
            let tells = tells && !self.ledger.is_leaving_view(slot.process);
            let Some((taken, told)) = tells.then(|| self.ledger.held_up(slot.process)).flatten() else {
                self.nodes[node].held_up = None;
                continue;
            };
            let (number, since) = slot.held_up.filter(|(number, _)| told < *number).unwrap_or((taken, self.now));
            self.nodes[node].held_up = Some((number, since));
            if self.now >= since + bound && self.ready_are_well(node) {
                self.nodes[node].held_up = None;
                let text = format!(
                    "n{node}: every ready member has {number}, {told} is said to be stable, since {} ms",
                    (self.now - since) / 1_000
                );
                self.violate(Guarantee::V5, text);
            } else {
                self.ledger.checks.note(Guarantee::V5);
            }
        }
    }

    /// Whether a node, the ready members of its view, and the leaders between them have heard each other well for so long that
    /// no connection is still mending what was lost.
    fn ready_are_well(&self, node: usize) -> bool {
        let Some((view, me)) = self.nodes[node].member().and_then(Member::view) else { return false };
        let span = self.nodes[node].setup.silence * MENDED_SILENCES;
        let concerned = (0..view.len()).filter(|at| *at == me || view.members[*at].counts() || view.is_leader(*at));
        let nodes: Option<Vec<usize>> = concerned.map(|at| self.node_of(view.members[at].incarnation)).collect();
        let Some(nodes) = nodes else { return false };
        let hosts = || nodes.iter().map(|node| self.nodes[*node].host);
        nodes.iter().all(|node| self.is_calm(*node, span) && self.position(*node, view).is_some())
            && hosts().all(|from| hosts().all(|to| self.network.is_clear(self.now, from, to, span)))
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

    pub(super) fn node_of(&self, incarnation: crate::types::Incarnation) -> Option<usize> {
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
}
