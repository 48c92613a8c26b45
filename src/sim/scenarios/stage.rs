//! What scenarios have in common: a cluster at work, what hosts have seen, requests of a host and their answers, and the end.

use std::sync::Arc;

use super::super::check::Guarantee;
use super::super::drill::newest_view;
use super::super::load::Load;
use super::super::network::address_of;
use super::super::random::Random;
use super::super::world::{Settings, World};
use crate::core::{Event, SessionAnswer, SessionOp, SessionRequest, Setup, ViewChange};
use crate::types::{Code, MemberTag, Micros, SessionId, View, millis};
use crate::wire::session::{Attributes, Role};

/// A message every 20 ms: enough that every view ends with something under way.
pub(super) const LOAD: Load = Load { every_us: 20_000, ..Load::STEADY };
/// Within this time a view of all is there when nothing is in its way.
pub(super) const SOON: Micros = millis(10_000);

/// A world in which all of `settings.hosts` members vote.
pub(super) fn voters(settings: Settings) -> World {
    let count = settings.hosts;
    World::cluster(settings, count, count, |_, _| {})
}

/// The numbers of `count` nodes.
pub(super) fn nodes(count: usize) -> Vec<usize> {
    (0..count).collect()
}

/// All of `all` but `gone`.
pub(super) fn without(all: &[usize], gone: &[usize]) -> Vec<usize> {
    all.iter().copied().filter(|node| !gone.contains(node)).collect()
}

impl World {
    /// What a scenario expects, and the promise that this rests on.
    pub(super) fn expect(&mut self, guarantee: Guarantee, holds: bool, text: impl FnOnce() -> String) {
        self.ledger.checks.note(guarantee);
        if !holds {
            self.violate(guarantee, text());
        }
    }

    /// A time that the seed draws.
    pub(super) fn between_ms(&mut self, low: u64, high: u64) -> Micros {
        self.random.between(low * 1_000, high * 1_000)
    }

    /// Adds a process that is set up like `node`, name and all, on another host; it is not started.
    pub(super) fn twin_of(&mut self, node: usize, host: u16) -> usize {
        let setup = Setup { advertise: address_of(host), ..self.nodes[node].setup.clone() };
        self.add(setup, host)
    }

    /// Starts `nodes`, waits for their view, and lets them work for a while.
    pub(super) fn form(&mut self, nodes: &[usize]) {
        nodes.iter().for_each(|node| self.start(*node));
        self.expect_together(nodes, SOON);
        let more = self.between_ms(500, 2_000);
        self.run_for(more);
    }

    /// Gives all nodes the same load.
    pub(super) fn load_all(&mut self, load: Load) {
        (0..self.nodes.len()).for_each(|node| self.set_load(node, Some(load)));
    }

    /// Within `bound`, `nodes` are in one view that holds exactly them.
    pub(super) fn expect_together(&mut self, nodes: &[usize], bound: Micros) {
        let together = self.run_until(bound, |world| world.is_converged_among(nodes));
        let text = format!("{nodes:?} are not in one view after {} ms: {}", bound / 1_000, self.describe_views());
        self.expect(Guarantee::V4, together, || text);
    }

    /// Nobody sends any more, and within `bound` everything that was accepted is everywhere. Answers after how long.
    pub(super) fn expect_even(&mut self, bound: Micros) -> Micros {
        (0..self.nodes.len()).for_each(|node| self.set_load(node, None));
        let (since, processes) = (self.now, self.nodes.iter().map(|slot| slot.process).collect::<Vec<u16>>());
        while !self.ledger.is_even(&processes) && self.now - since < bound {
            self.run_for(millis(1));
        }
        let even = self.ledger.is_even(&processes);
        self.expect(Guarantee::D7, even, || format!("not everything is everywhere after {} ms", bound / 1_000));
        self.now - since
    }

    /// The node of the coordinator of the newest view.
    pub(super) fn coordinator(&self) -> usize {
        newest_view(self).map_or(0, |(view, nodes)| nodes[view.coordinator()])
    }

    /// The views that a node's host was shown since `since`.
    pub(super) fn views_since(&self, node: usize, since: u64) -> Vec<ViewChange> {
        let seen = self.nodes[node].seen.iter().filter(|(at, _)| *at >= since);
        let change = |event: &Event| if let Event::View(change) = event { Some(change.clone()) } else { None };
        seen.filter_map(|(_, event)| change(event)).collect()
    }

    /// Events of one kind that a node's host was shown since `since`.
    pub(super) fn count_since(&self, node: usize, since: u64, is: impl Fn(&Event) -> bool) -> usize {
        self.nodes[node].seen.iter().filter(|(at, event)| *at >= since && is(event)).count()
    }

    /// How often a node's host was told since `since` that its member was removed.
    pub(super) fn expelled_since(&self, node: usize, since: u64) -> usize {
        self.count_since(node, since, |event| matches!(event, Event::Expelled { .. }))
    }

    /// Everything is well from now on: all comes together, is delivered, and stays as it is.
    pub(super) fn finish(&mut self) {
        self.calm = true;
        self.mend_all();
        if self.converge(millis(30_000)) {
            self.rest(millis(2_000));
            self.end_visits();
        }
    }

    /// Visitors of all hosts, which check every answer that they get.
    pub(super) fn invite(&mut self, count: usize) {
        let mut random: Random = self.random.fork();
        self.add_visitors(count, &mut random);
    }

    /// A host asks its member about a session; the number of the request, if it was accepted.
    pub(super) fn request(&mut self, node: usize, id: SessionId, op: SessionOp) -> Result<u64, Code> {
        if self.nodes[node].member.is_none() {
            return Err(Code::Closed);
        }
        self.requests += 1;
        let number = self.requests;
        let holders = self.holders(id);
        self.trace.line(self.now, || format!("the host of n{node} asks ({number}): {op:?} of {id:?}"));
        let code = self.nodes[node].outbox.ask(SessionRequest { number, id, holders, op });
        self.settle(node);
        if code == Code::Ok { Ok(number) } else { Err(code) }
    }

    /// Who holds a session, as the newest answer of all says: what a cookie would say.
    fn holders(&self, id: SessionId) -> [MemberTag; 2] {
        let seen = self.nodes.iter().flat_map(|slot| &slot.seen);
        let named = seen.filter_map(|(at, event)| match event {
            Event::Session(answer) if answer.id == id && answer.holders[0].is_some() => Some((*at, answer.holders)),
            _ => None,
        });
        named.max_by_key(|(at, _)| *at).map_or([MemberTag::NONE; 2], |(_, holders)| holders)
    }

    /// The member of a node, as sessions name it.
    pub(super) fn tag(&self, node: usize) -> Option<MemberTag> {
        self.nodes[node].member().map(|member| member.incarnation().into())
    }

    /// The node that holds a session in this role; the one with the newest epoch, if there are several.
    pub(super) fn holder(&self, id: SessionId, role: Role) -> Option<usize> {
        let held = (0..self.nodes.len()).filter_map(|node| Some((self.held(node, id)?, node)));
        held.filter(|((is, ..), _)| *is == role).max_by_key(|((_, _, epoch), _)| *epoch).map(|(_, node)| node)
    }

    /// The role, version and epoch of a session at a node.
    pub(super) fn held(&self, node: usize, id: SessionId) -> Option<(Role, u64, crate::types::Epoch)> {
        let mut held = self.nodes[node].member()?.sessions_held();
        held.find(|(held, ..)| *held == id).map(|(_, role, epoch, version)| (role, version, epoch))
    }

    /// The answer to a request, once a node's host has got it.
    pub(super) fn answer(&self, node: usize, number: u64) -> Option<&SessionAnswer> {
        self.nodes[node].seen.iter().rev().find_map(|(_, event)| match event {
            Event::Session(answer) if answer.number == number => Some(answer),
            _ => None,
        })
    }

    /// Asks and waits for the answer. `Err`: it was refused at once, or not answered within `bound`.
    pub(super) fn ask_for(
        &mut self, node: usize, id: SessionId, op: SessionOp, bound: Micros,
    ) -> Result<SessionAnswer, Code> {
        let number = self.request(node, id, op)?;
        self.run_until(bound, |world| world.answer(node, number).is_some());
        self.answer(node, number).cloned().ok_or(Code::OutcomeUnknown)
    }

    /// A session that `owner` has made, with a second copy elsewhere.
    pub(super) fn make_session(&mut self, owner: usize) -> SessionId {
        let id = SessionId(self.random.wide());
        let made = self.ask_for(owner, id, create(), SOON).map(|answer| answer.code);
        self.expect(Guarantee::S1, made == Ok(Code::Ok), || format!("{id:?} cannot be made at n{owner}: {made:?}"));
        id
    }

    /// Every session that was made and cannot be lost is in use somewhere, and can be read everywhere.
    pub(super) fn expect_sessions_in_use(&mut self) {
        for id in self.ledger.sessions.living() {
            let owner = self.holder(id, Role::Primary);
            self.expect(Guarantee::S6, owner.is_some(), || format!("nobody uses {id:?} again"));
            if owner.is_none() {
                continue;
            }
            for node in 0..self.nodes.len() {
                let read = self.ask_for(node, id, SessionOp::Read, SOON).map(|answer| answer.code);
                self.expect(Guarantee::S1, read == Ok(Code::Ok), || format!("{id:?} at n{node}: {read:?}"));
            }
        }
    }

    /// Reads a session at `node`, and says which of the marks it has.
    pub(super) fn read_marks(&mut self, node: usize, id: SessionId, marks: &[u64]) -> Result<Vec<u64>, Code> {
        let answer = self.ask_for(node, id, SessionOp::Read, SOON)?;
        let attributes = answer.attributes.filter(|_| answer.code == Code::Ok).ok_or(answer.code)?;
        Ok(marks.iter().copied().filter(|mark| attributes.get(&format!("m{mark}")).is_some()).collect())
    }
}

pub(super) fn create() -> SessionOp {
    SessionOp::Create { ttl_s: 0, attributes: Attributes::new([("made", &b"yes"[..])]) }
}

/// A change that leaves a mark of its own, made once for its token.
pub(super) fn mark(mark: u64) -> SessionOp {
    let sets = Attributes::new([(format!("m{mark}").as_str(), &mark.to_le_bytes()[..])]);
    SessionOp::Write { token: mark, if_version: 0, whole: false, sets, removes: Attributes::default() }
}

/// The names in a view.
pub(super) fn names(view: &Arc<View>) -> Vec<String> {
    view.members.iter().map(|member| member.name.as_str().to_owned()).collect()
}
