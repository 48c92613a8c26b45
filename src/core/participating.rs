//! Changing the view, as one who takes part: promise, hold the cut, accept, install (R16-R18). And the table of all
//! control frames.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::ballot::Acceptor;
use super::effects::Effects;
use super::fanout::{Fanout, Verdict};
use super::io::{Event, MemberRef, ViewChange};
use super::mark::Mark;
use super::member::{Member, neighbours};
use super::plant::Plant;
use super::window::{Pool, Window, most_kept, split};
use crate::types::{Ballot, ConnId, Incarnation, Index, Micros, Time, View, ViewId, millis};
use crate::wire::batch::{HEADER_BYTES, Header};
use crate::wire::control::{
    Control, Cut, Decided, Fetch, Fetched, Install, Prepare, Promise, Propose, ProposeChange, Reject, Vote,
};
use crate::wire::{Proposal, Sparse};

/// What is to be held before the view ends, and over which connection each holder was asked for it.
#[derive(Clone, Hash, Debug)]
pub(crate) struct WantedCut {
    cut: Cut,
    asked: BTreeMap<Incarnation, ConnId>,
}

/// A member that has left keeps its connections for so long, until the others have installed the view without it.
const GOODBYE: Micros = millis(30);

impl Member {
    /// A control frame from a member, however it came.
    pub(super) fn on_control(&mut self, from: Incarnation, control: Control) {
        match control {
            Control::Join(join) => self.on_join(from, join),
            Control::Leave(who) if who == from => self.on_leave(who),
            Control::Ready(who) if who == from => self.on_ready(who),
            Control::Expelled(expelled) => self.on_expelled(expelled),
            Control::Prepare(prepare) => self.on_prepare(from, &prepare),
            Control::Promise(promise) => self.on_promise(from, promise),
            Control::Reject(reject) => self.on_reject(from, reject),
            Control::Cut(cut) => self.on_cut(from, cut),
            Control::Held(vote) => self.on_held(from, &vote),
            Control::Propose(propose) => self.on_propose(from, &propose),
            Control::ProposeChange(change) => self.on_propose_change(from, &change),
            Control::Accepted(vote) => self.on_accepted(from, &vote),
            Control::Install(install) => self.on_install(from, install),
            Control::Decided(decided) => self.on_decided(from, decided),
            Control::Installed(id) => self.on_installed(from, id),
            Control::Fetch(fetch) => self.on_fetch(from, &fetch),
            Control::Fetched(fetched) => self.on_fetched(fetched),
            Control::Observe(seen) if seen.observer == from => self.on_seen(seen),
            Control::Ask(whom) => self.on_ask(from, whom),
            Control::SlowNotice(seen) => self.on_slow_notice(from, seen),
            Control::Ping(n) => self.on_ping(from, n),
            Control::Pong(_) => {}
            Control::Sync(progress) => self.on_sync(from, &progress),
            Control::Progress(progress) => self.on_progress(from, &progress),
            Control::Stable(progress) => self.on_stable(from, &progress),
            Control::Holding(progress) => self.on_holding(from, &progress),
            Control::AllHold(progress) => self.on_all_hold(from, &progress),
            Control::Carry(wanted) => self.on_carry(from, &wanted),
            Control::Repair(repair) => self.on_repair(from, &repair),
            Control::CreditWant(credit) => self.on_credit_want(from, credit),
            Control::CreditGrant(credit) => self.on_credit_grant(from, credit),
            Control::CreditReturn(credit) => self.on_credit_return(from, credit),
            Control::CreditRecall(credit) => self.on_credit_recall(from, credit),
            Control::DirectAck(ack) if ack.receiver == from => self.on_direct_ack(&ack),
            Control::Refuse(refuse) => self.on_refused_by_member(&refuse),
            _ => self.stats.faults += 1,
        }
    }

    fn on_prepare(&mut self, from: Incarnation, prepare: &Prepare) {
        self.seen_round = self.seen_round.max(prepare.ballot.round);
        let reject = |m: &Member, proposal| {
            let installed = m.fanout.as_ref().map_or(ViewId::NONE, |f| f.view.id);
            let (promised, newest) = (m.acceptor.promised_for(prepare.number), m.acceptor.least_next() - 1);
            Control::Reject(Reject {
                number: prepare.number,
                ballot: prepare.ballot,
                promised,
                installed,
                newest,
                proposal,
            })
        };
        if let Some(view) = self.fanout.as_ref().map(|f| f.view.id)
            && prepare.previous != view
        {
            if let Some(expelled) = self.expelled_by_us_at(from, prepare.previous) {
                self.marks.reach(Mark::PrepareOfRemoved);
                return self.send_to(from, expelled);
            }
            let ahead = view.number >= prepare.number;
            self.marks.reach(if ahead { Mark::PrepareBehind } else { Mark::PrepareOtherView });
            let answer = reject(self, self.installed.clone().filter(|_| ahead));
            return self.send_to(from, answer);
        }
        if self.fanout.is_none() && !prepare.joins {
            // The installation of the view that ends has not come yet: asked as its member, we could report nothing.
            self.marks.reach(Mark::PrepareBeforeInstall);
            let answer = reject(self, None);
            return self.send_to(from, answer);
        }
        if self.fanout.is_none() && prepare.previous != ViewId::NONE && prepare.number <= self.acceptor.newest {
            self.marks.reach(Mark::LogForgotten);
            self.forget_log();
        }
        if !self.acceptor.promise(prepare.number, prepare.ballot) {
            self.marks.reach(Mark::PromiseRefused);
            let answer = reject(self, None);
            return self.send_to(from, answer);
        }
        self.marks.reach(if self.fanout.is_some() { Mark::Promised } else { Mark::PromisedAsJoiner });
        self.marks.reach_if(self.fanout.as_ref().is_some_and(|f| f.frozen), Mark::PromisedAgain);
        self.freeze();
        // What is on its way for an earlier attempt would make us hold more than this promise says.
        self.wanted_cut = None;
        let promise = self.promise(prepare);
        self.send_to(from, Control::Promise(promise));
    }

    /// Admitted to a log that is behind the one we remember: what we remember is of another log. From now on this process
    /// counts as one that has just started, with all that follows for its vote and for leases (R20, R22).
    fn forget_log(&mut self) {
        self.acceptor = Acceptor::default();
        self.remembers_since = self.now;
        self.lease.forget(self.now);
    }

    /// Numbering stops, and this member no longer acts in the view that ends (R16).
    fn freeze(&mut self) {
        let Some(f) = &mut self.fanout else { return };
        if !f.frozen {
            f.freeze();
            self.slow.freeze(self.now);
            let view = f.view.id;
            if !self.plants.has(Plant::NoTransition) {
                self.event(Event::Transition { view });
            }
        }
        self.lease.drop_it(self.now);
    }

    fn promise(&self, prepare: &Prepare) -> Promise {
        let left = |until: Time| (until.since(self.now).div_ceil(1_000)) as u32;
        let view = self.fanout.as_ref().map(|f| &f.view);
        let coordinates = view.is_some_and(|v| v.members[v.coordinator()].incarnation == self.incarnation);
        let grants = view.filter(|_| coordinates).map(|v| {
            v.members.iter().map(|m| (self.lease.granted_for(self.now, m.incarnation).div_ceil(1_000)) as u32).collect()
        });
        let forgets = self.plants.has(Plant::ForgetAcceptedProposal);
        Promise {
            number: prepare.number,
            ballot: prepare.ballot,
            have: Sparse(self.fanout.as_ref().map(Fanout::holds).unwrap_or_default()),
            memory: self.acceptor.memory,
            announces_ready: self.setup.ready == super::ReadyPolicy::Host && !self.host_ready && !self.setup.witness,
            witness: self.setup.witness,
            tags: self.setup.tags.clone(),
            up_ms: (self.now.since(self.remembers_since) / 1_000).min(u64::from(u32::MAX)) as u32,
            fence_ms: left(self.lease.fence),
            hold_ms: left(self.lease.hold),
            grants_ms: grants.unwrap_or_default(),
            newest: self.acceptor.newest,
            accepted: self.acceptor.accepted_for(prepare.number, prepare.previous).filter(|_| !forgets),
        }
    }

    fn on_cut(&mut self, from: Incarnation, cut: Cut) {
        if self.acceptor.promised_for(cut.number) != cut.ballot || cut.ballot.coordinator != from {
            return;
        }
        let known = self.wanted_cut.take_if(|wanted| wanted.cut.ballot == cut.ballot);
        let again = known.is_some();
        self.wanted_cut = Some(known.unwrap_or_else(|| WantedCut { cut, asked: BTreeMap::new() }));
        self.pursue_cut(again);
    }

    /// Asks for what is missing of the cut; says so when nothing is (R17). What was asked for in vain is asked for over
    /// connections of our own: the leaders between may be gone. A connection loses nothing while it lives: over a slow one all of it comes
    /// as well, and to ask again would only put as much behind it once more.
    fn pursue_cut(&mut self, again: bool) {
        let Some(WantedCut { cut, asked }) = &self.wanted_cut else { return };
        let Some(f) = &self.fanout else { return };
        let missing = f.missing(cut.upto.iter().map(|(batch, _)| *batch));
        let (number, ballot) = (cut.number, cut.ballot);
        if missing.is_empty() {
            self.marks.reach(Mark::CutHeld);
            self.wanted_cut = None;
            return self.send_to(ballot.coordinator, Control::Held(Vote { number, ballot }));
        }
        let (tag, from) = (f.view.tag(), self.incarnation);
        let comes = |holder: &Incarnation| asked.get(holder).is_some_and(|conn| self.links.get(*conn).is_some());
        let requests: Vec<(Incarnation, Fetch)> = missing
            .into_iter()
            .map(|(s, first, last)| (cut.upto[s].1, Fetch { tag, from, sender: f.view.members[s].seat, first, last }))
            .filter(|(holder, _)| !comes(holder))
            .collect();
        for (holder, fetch) in requests {
            self.marks.reach(if again { Mark::CutFetchedDirectly } else { Mark::CutFetched });
            match again {
                true => self.send_dialed(holder, &Control::Fetch(fetch)),
                false => self.send_to(holder, Control::Fetch(fetch)),
            }
            let over = self.links.link(holder).or_else(|| self.links.dialing(holder).filter(|_| again));
            let Some(wanted) = &mut self.wanted_cut else { continue };
            match over.filter(|conn| self.links.takes_control(*conn)) {
                Some(conn) => wanted.asked.insert(holder, conn),
                None => wanted.asked.remove(&holder),
            };
        }
    }

    fn on_fetch(&mut self, from: Incarnation, fetch: &Fetch) {
        let Some(f) = self.fanout.as_ref().filter(|f| f.view.tag() == fetch.tag) else { return };
        let Some(s) = f.view.index_of_seat(fetch.sender) else { return };
        let tag = fetch.tag;
        let frames = f.kept(s, fetch.first, fetch.last).unwrap_or_else(|| vec![Bytes::new()]);
        self.marks.reach(if frames.iter().any(Bytes::is_empty) { Mark::FetchForgotten } else { Mark::FetchServed });
        for frame in frames {
            self.send_to(from, Control::Fetched(Fetched { tag, frame }));
        }
    }

    fn on_fetched(&mut self, fetched: Fetched) {
        let Some(WantedCut { cut, .. }) = &self.wanted_cut else { return };
        let Some(f) = self.fanout.as_mut().filter(|f| f.view.tag() == fetched.tag && f.frozen) else { return };
        if fetched.frame.is_empty() {
            // Forgotten: only a member that did not count for stability can lack it. It alone starts again (R24).
            self.marks.reach(Mark::CutUnavailable);
            let address = self.summary().map(|s| s.address);
            return self.restart("it lacks messages that the others have forgotten", address);
        }
        let Some(Ok(header)) = fetched.frame.first_chunk().map(Header::decode) else { return };
        if fetched.frame.len() != HEADER_BYTES + header.length as usize {
            return;
        }
        let wanted = f.view.index_of_seat(header.sender).and_then(|s| cut.upto.get(s));
        if wanted.is_none_or(|(upto, _)| header.batch > *upto) {
            return;
        }
        if f.accept_fetched(&header, fetched.frame) == Verdict::Accepted
            && f.missing(cut.upto.iter().map(|(batch, _)| *batch)).is_empty()
        {
            self.pursue_cut(false);
        }
    }

    fn on_propose(&mut self, from: Incarnation, propose: &Propose) {
        self.consider(from, propose.ballot, propose.proposal.id, Some(&propose.proposal));
    }

    /// The proposal is what the changes make of the view that is installed here. Of another one they make nothing: it was installed
    /// since, or not yet, and the refusal says which one it is.
    fn on_propose_change(&mut self, from: Incarnation, change: &ProposeChange) {
        let successor = &change.successor;
        let proposal = self.installed.as_ref().and_then(|previous| successor.applied_to(previous).ok());
        self.consider(from, change.ballot, successor.id, proposal.as_ref());
    }

    /// Accepts a proposal, or says why not.
    fn consider(&mut self, from: Incarnation, ballot: Ballot, id: ViewId, proposal: Option<&Proposal>) {
        let number = id.number;
        if proposal.is_some_and(|proposal| self.acceptor.accept(ballot, proposal)) {
            self.marks.reach(Mark::Accepted);
            return self.send_to(from, Control::Accepted(Vote { number, ballot }));
        }
        let installed = self.fanout.as_ref().map_or(ViewId::NONE, |f| f.view.id);
        if installed == id {
            self.marks.reach(Mark::AcceptedInstalled);
            return self.send_to(from, Control::Accepted(Vote { number, ballot }));
        }
        self.marks.reach(Mark::AcceptRefused);
        let (promised, newest) = (self.acceptor.promised_for(number), self.acceptor.least_next() - 1);
        let proposal = self.installed.clone().filter(|p| p.id.number >= number);
        self.send_to(from, Control::Reject(Reject { number, ballot, promised, installed, newest, proposal }));
    }

    fn on_installed(&mut self, from: Incarnation, id: ViewId) {
        if self.fanout.as_ref().is_some_and(|f| f.view.id == id) {
            self.laggards.whom.remove(&from);
        }
    }

    /// What was proposed here is decided. Whoever did not accept it, and does not have it, asks for it by a refusal.
    fn on_decided(&mut self, from: Incarnation, decided: Decided) {
        let Decided { id, hold_ms } = decided;
        let installed = self.fanout.as_ref().map_or(ViewId::NONE, |f| f.view.id);
        if id == installed {
            self.marks.reach(Mark::InstallKnown);
            return self.send_to(from, Control::Installed(installed));
        }
        if let Some(proposal) = self.acceptor.accepted(id).cloned() {
            return self.on_install(from, Install { proposal, hold_ms });
        }
        self.marks.reach(Mark::DecidedUnknown);
        let (number, ballot) = (id.number, id.ballot);
        let (promised, newest) = (self.acceptor.promised_for(number), self.acceptor.least_next() - 1);
        self.send_to(from, Control::Reject(Reject { number, ballot, promised, installed, newest, proposal: None }));
    }

    /// A view was decided.
    pub(super) fn on_install(&mut self, from: Incarnation, install: Install) {
        let Install { proposal, hold_ms } = install;
        let hold = self.now + Micros::from(hold_ms) * 1_000;
        let current = self.fanout.as_ref().map_or(ViewId::NONE, |f| f.view.id);
        if proposal.id == current {
            self.marks.reach(Mark::InstallKnown);
            return self.send_to(from, Control::Installed(current));
        }
        let chosen = proposal.members.iter().any(|m| m.incarnation == self.incarnation);
        let follows = proposal.previous == current;
        self.marks.reach_if(self.fanout.is_none() && !chosen, Mark::DecidedWithout);
        self.marks.reach_if(self.fanout.is_some() && !follows, Mark::InstallElsewhere);
        match (self.fanout.is_some(), chosen) {
            (true, true) if follows => {
                let missing = self.fanout.as_ref().map(|f| f.missing(proposal.cut.iter().copied()));
                if missing.is_some_and(|m| !m.is_empty()) {
                    // No mark: who is proposed has said before that it holds the cut. Only a coordinator that breaks the rules is here.
                    return self.restart("it does not hold the messages of the view that ended", None);
                }
                self.install(proposal, hold);
            }
            (true, false) if follows => {
                if let Some(leaving) = &mut self.leaving {
                    self.marks.reach(Mark::LeaverReleased);
                    leaving.released = true;
                    leaving.next = self.now + GOODBYE;
                    return;
                }
                self.marks.reach(Mark::RemovedByView);
                let address = proposal.members.first().map(|m| m.address);
                self.restart("the others removed it", address);
            }
            (false, true) => self.install(proposal, hold),
            // An entry of the log that was decided without us: what starters form together comes after it.
            (false, false) => return self.acceptor.pass(proposal.id.number),
            _ => return,
        }
        if let Some(view) = self.fanout.as_ref().map(|f| f.view.id).filter(|id| *id != current) {
            self.send_to(from, Control::Installed(view));
        }
    }

    fn install(&mut self, proposal: Proposal, hold: Time) {
        let view = Arc::new(View::new(proposal.id, proposal.members.clone(), proposal.fenced));
        let Some(me) = view.index_of(self.incarnation) else { return };
        self.finish_old_view(&proposal.cut);
        let before = self.fanout.take();
        self.keep_counts(before.as_ref());
        self.marks.reach(if before.is_some() { Mark::Installed } else { Mark::InstalledFirst });
        let (reserved, pool) = split(&view, self.setup.window_bytes, self.setup.window_reserved_bytes);
        let mut fanout = Fanout::new(Arc::clone(&view), me, Window::new(reserved), self.plants)
            .with_large(self.setup.large)
            .bounded(most_kept(&view, self.setup.window_bytes));
        if let Some(before) = &before {
            fanout.continue_from(before);
        }
        let fanout = self.with_multicast(fanout);
        self.pool = view.is_leader(me).then(|| Pool::new(pool, self.plants));
        self.fanout = Some(fanout);
        self.builder.restart(self.plants);
        if before.is_none() && self.acceptor.newest > view.id.number {
            // Told of another log's views since it accepted this one: with those in mind it would refuse what follows here for ever.
            self.marks.reach(Mark::LogForgotten);
            self.forget_log();
        }
        self.acceptor.installed(view.id, view.fenced);
        self.lease.begin_view(self.now, hold, before.is_none() && view.fenced);
        self.installed = Some(proposal);
        self.installed_at = self.now;
        self.wanted_cut = None;
        self.attempt = None;
        self.seeking = None;
        self.stats.views_installed += 1;
        let peers = neighbours(&view, me);
        let watched = peers.iter().map(|p| (view.members[*p].incarnation, view.members[*p].address));
        self.detector.watch(self.now, watched.collect::<Vec<_>>().into_iter());
        self.slow.restart(&view, self.now);
        self.forget_absent(&view, before.as_ref().map(|b| &b.view));
        self.announce(&view, me, before.as_ref());
        self.direct.retry_now(self.now);
        self.sessions.installed(self.now, &view, me);
        self.begin_ways(me);
        if before.is_none() && self.setup.multicast.is_some() {
            // The others do not know yet what this member can take.
            self.group.beacon_at = self.now;
        }
        for peer in peers {
            self.on_link_up(view.members[peer].incarnation);
        }
        self.maintain_links();
        self.begin_leases();
    }

    /// Delivers what belongs to the view that ends, whatever room the host's queue has (R17).
    fn finish_old_view(&mut self, cut: &[u64]) {
        let Some(mut f) = self.fanout.take() else { return };
        assert!(f.missing(cut.iter().copied()).is_empty(), "a view ends before all of its cut is here");
        let mut fx = Effects::default();
        f.finish(cut, &mut self.budget, &mut fx);
        self.fanout = Some(f);
        self.apply(&mut fx);
    }

    /// Drops what concerned members that are gone.
    fn forget_absent(&mut self, view: &Arc<View>, before: Option<&Arc<View>>) {
        let present = |i: Incarnation| view.index_of(i).is_some();
        let left: Vec<Incarnation> = match before {
            Some(before) => before.members.iter().map(|m| m.incarnation).filter(|i| !present(*i)).collect(),
            // Starters that we were connected with and that are not in this view: they look for it when we are gone.
            None => {
                self.links.iter().filter_map(|(_, c)| Some(c.peer()?.incarnation)).filter(|i| !present(*i)).collect()
            }
        };
        if before.is_none() {
            self.changes.joiners.clear();
        }
        if let Some(before) = before {
            let leavers = self.changes.leavers.clone();
            self.history.follow(before, view, |i| leavers.contains(&i), self.now);
        }
        self.loose.keep_only(view);
        self.suspicion.keep_only(view);
        self.changes.joiners.retain(|i, _| !present(*i));
        self.changes.leavers.retain(|i| present(*i));
        self.changes.removals.retain(|i, _| present(*i));
        self.changes.ready.retain(|i| view.index_of(*i).is_some_and(|at| !view.members[at].ready));
        self.changes.moves.clear();
        self.changes.stuck = false;
        self.changes.hopeless = 0;
        self.faults.retain(|i, _| present(*i));
        for (to, token, payload) in self.direct.keep_only(present) {
            if self.plants.has(Plant::ReturnNothing) {
                continue;
            }
            let to = before.and_then(|b| b.index_of(to).map(|i| MemberRef::from(&b.members[i])));
            let why = "its receiver left the view before it acknowledged the message";
            self.event(Event::Returned { to, token, payload, why });
        }
        let gone: Vec<ConnId> = self
            .links
            .iter()
            .filter(|(_, c)| c.peer().is_some_and(|p| left.contains(&p.incarnation)))
            .map(|(id, _)| id)
            .collect();
        for conn in gone {
            let peer = self.links.get(conn).and_then(|c| c.peer().map(|p| p.incarnation));
            let goodbye = peer.zip(before).and_then(|(peer, before)| self.expelled_by_us_at(peer, before.id));
            if let Some(goodbye) = goodbye {
                self.links.push_before_open(conn, &goodbye);
            }
            self.close(conn);
        }
    }

    fn announce(&mut self, view: &Arc<View>, me: Index, before: Option<&Fanout>) {
        let was = |i: Incarnation| before.is_some_and(|b| b.view.index_of(i).is_some());
        let joined = view.members.iter().filter(|m| !was(m.incarnation)).map(MemberRef::from).collect();
        let left = before
            .map(|b| {
                b.view.members.iter().filter(|m| view.index_of(m.incarnation).is_none()).map(MemberRef::from).collect()
            })
            .unwrap_or_default();
        let merged_from = self.merged_from.take();
        self.event(Event::View(ViewChange { view: Arc::clone(view), me, joined, left, merged_from }));
        let was_ready = before.is_some_and(|b| b.view.members[b.me].ready);
        if view.members[me].ready && !was_ready {
            self.event(Event::Ready { view: view.id });
        }
        if !view.fenced && before.is_none_or(|b| b.view.fenced) {
            let why = if self.setup.voters.is_empty() { "no voters are configured" } else { "too few voters are here" };
            self.note(
                2,
                format!("this view is unfenced, because {why}: two parts of the cluster can be active at once"),
            );
        }
    }
}
