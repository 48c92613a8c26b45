//! Messages on their way: from the host's outbox into batches, over links, into the host's queue, and back as progress.

use bytes::Bytes;

use super::direct::Kind;
use super::effects::Effects;
use super::fanout::{Fanout, Verdict};
use super::io::{Event, MemberRef};
use super::member::Member;
use super::outbox::{Gate, Outbox, To};
use super::sessions::Sessions;
use crate::types::{ConnId, Incarnation, Index, Seat, Time, limits};
use crate::wire::Malformed;
use crate::wire::batch::Header;
use crate::wire::control::{Control, Expelled, Progress, Sight};

/// Batches numbered in one turn: control and other links get their turn between.
const BATCHES_PER_TURN: usize = 16;

impl Member {
    /// Takes accepted sends from the host's outbox and tells it what to answer from now on.
    pub fn exchange(&mut self, now: Time, outbox: &mut Outbox) {
        if self.ended.is_none() {
            self.advance(now);
        }
        self.hurry = false;
        self.backlog = false;
        outbox.set_gate(self.gate());
        outbox.bound_batches(self.batch_bytes(), self.loose_bound());
        if std::mem::take(&mut self.trims) {
            outbox.trim();
        }
        if self.ended.is_some() {
            return self.hand_back(outbox);
        }
        // Whatever else happened was settled when it did.
        let sends = !outbox.is_empty() || self.builder.has_large() || !self.direct.is_settled();
        self.take_session_requests(outbox);
        if sends && (outbox.gate() == Gate::Open || self.leaving.is_some()) {
            self.send_loose(outbox);
            self.send_to_everybody(outbox);
            self.send_to_single(outbox);
        }
        if let Some(leaving) = &mut self.leaving {
            leaving.drained = outbox.is_empty() && !self.builder.has_large();
        }
        if outbox.take_writable() {
            self.event(Event::Writable);
        }
        if sends {
            self.settle();
        }
    }

    fn gate(&self) -> Gate {
        if self.ended.is_some() || self.leaving.is_some() {
            return Gate::Closed;
        }
        match &self.fanout {
            _ if self.setup.witness => Gate::Witness,
            None => Gate::NotReady,
            Some(f) if f.view.fenced && self.lapsed() => Gate::NotPrimary,
            Some(_) => Gate::Open,
        }
    }

    /// Whether this member had every chance to get a lease, and has none: it is cut off, or a minority. A lease given up
    /// for a view change is none that was lost: what is sent meanwhile goes into the next view (D7).
    pub(super) fn lapsed(&self) -> bool {
        let grace = self.setup.lease * 2;
        let due = self.installed_at.max(self.lease.hold).max(self.lease.last()) + grace;
        self.now >= due
    }

    /// The member has ended: what was accepted and never sent goes back to the host, then the last event.
    fn hand_back(&mut self, outbox: &mut Outbox) {
        if std::mem::replace(&mut self.told_ended, true) {
            return;
        }
        let why = "the member ended before it could be sent";
        if let Some(pending) = self.builder.take_large() {
            self.event(Event::Returned { to: None, token: pending.token, payload: pending.payload, why });
        }
        let unacknowledged = self.direct.keep_only(|_| false);
        for (to, token, payload) in unacknowledged {
            let to = self.member_ref(to);
            self.event(Event::Returned { to, token, payload, why: "the member ended before it was acknowledged" });
        }
        while let Some(request) = outbox.take_session_request() {
            self.sessions.request(self.now, false, request);
        }
        self.sessions.end();
        self.pass_session_events();
        for to in outbox.waiting().collect::<Vec<_>>() {
            let member = if let To::Member(i) = to { self.member_ref(i) } else { None };
            for pending in outbox.withdraw(to) {
                let (token, payload) = (pending.token, pending.payload);
                self.event(Event::Returned { to: member.clone(), token, payload, why });
            }
        }
        let reason = self.ended.clone().expect("it has ended");
        self.event(Event::Closed { reason });
    }

    fn send_to_everybody(&mut self, outbox: &mut Outbox) {
        if self.plants.has(super::Plant::DropAtViewEnd) && self.fanout.as_ref().is_some_and(|f| f.frozen) {
            outbox.withdraw(To::Everybody);
        }
        let Some(f) = self.fanout.as_mut().filter(|f| !f.frozen) else { return };
        let mut fx = std::mem::take(&mut self.spare_effects);
        let (bound, casts_idle) = (self.builder.bound(), self.group.is_idle());
        let by_multicast = f.cast.is_some();
        // Of short batches more: a quarter of the bytes that long ones have.
        let most = BATCHES_PER_TURN.max(BATCHES_PER_TURN * limits::BATCH_BYTES / bound / 4);
        let mut blocked = false;
        for turn in 0.. {
            let queue = outbox.queue(To::Everybody);
            let waiting = queue.as_deref().map_or(0, |q| q.bytes());
            if waiting == 0 && !self.builder.has_large() {
                break;
            }
            // A batch closes when it is full, or when some link of its stream has nothing else to do (R3).
            let links = &self.links;
            let view = &f.view;
            let targets = &f.streams[f.me].targets;
            let idle = (if by_multicast { casts_idle } else { targets.is_empty() })
                || targets.iter().any(|t| links.link_conn(view.members[*t].incarnation).is_some_and(|c| c.is_idle()));
            let full = waiting >= bound;
            if turn >= most || !(full || (idle && fx.data.is_empty() && fx.casts.is_empty())) {
                self.backlog = true;
                break;
            }
            let before = self.builder.next_message;
            if !f.send(&mut self.builder, queue, &mut fx) {
                blocked = !f.waits_for_grant();
                break;
            }
            self.stats.messages_sent += self.builder.next_message - before;
            self.stats.batches_sent += 1;
        }
        if blocked {
            self.want_credit();
        }
        self.apply_and_keep(fx);
    }

    fn send_to_single(&mut self, outbox: &mut Outbox) {
        let Some((view, me)) = self.view().map(|(v, me)| (v.clone(), me)) else { return };
        let mut receivers: Vec<Incarnation> = outbox
            .waiting()
            .filter_map(|to| if let To::Member(i) = to { Some(i) } else { None })
            .chain(self.direct.unfinished())
            .collect();
        receivers.sort_unstable();
        receivers.dedup();
        for to in receivers {
            let Some(index) = view.index_of(to) else {
                let why = "its receiver is not in the view any more";
                for pending in outbox.withdraw(To::Member(to)) {
                    let (token, payload) = (pending.token, pending.payload);
                    self.event(Event::Returned { to: None, token, payload, why });
                }
                continue;
            };
            if view.members[index].witness {
                self.withdraw_from_witness(outbox, MemberRef::from(&view.members[index]));
                continue;
            }
            let seats = (view.members[me].seat, view.members[index].seat);
            for _ in 0..BATCHES_PER_TURN {
                let Some(frame) = self.direct.send(self.now, to, seats, outbox.queue(To::Member(to))) else { break };
                self.stats.batches_sent += 1;
                self.links.note_copy(frame.len());
                self.route_direct(to, frame, false);
            }
        }
    }

    /// A message to a witness, which takes none: whoever sends it through an engine is told so at once.
    fn withdraw_from_witness(&mut self, outbox: &mut Outbox, to: MemberRef) {
        for pending in outbox.withdraw(To::Member(to.incarnation)) {
            let (token, payload) = (pending.token, pending.payload);
            let why = "its receiver is a witness, which carries no messages";
            self.event(Event::Returned { to: Some(to.clone()), token, payload, why });
        }
    }

    /// Sends a batch for one member on: over its own link, or through leaders (R1).
    pub(super) fn route_direct(&mut self, to: Incarnation, frame: Bytes, from_leader: bool) {
        let hop = if self.links.link(to).is_some() { Some(to) } else { self.via(to, from_leader) };
        if let Some(hop) = hop {
            self.links.send_direct(hop, frame);
        }
    }

    /// A batch came over a connection.
    pub(super) fn on_batch(
        &mut self, conn: ConnId, header: &Header, chunk: &Bytes, start: usize, end: usize, fx: &mut Effects,
    ) -> Result<(), Malformed> {
        let Some(peer) = self.links.get(conn).and_then(|c| c.peer()).map(|p| p.incarnation) else {
            return Err(Malformed("a batch before the greeting"));
        };
        self.stats.batches_received += 1;
        let Some(f) = &mut self.fanout else { return Ok(()) };
        let Some(from) = f.view.index_of(peer) else { return Ok(()) };
        if header.receiver != Seat::EVERYBODY {
            return self.on_direct_batch(from, header, chunk.slice(start..end));
        }
        match f.accept(from, header, chunk, start, end, fx) {
            Verdict::Accepted => {}
            Verdict::Repeat => self.stats.batches_repeated += 1,
            Verdict::Dropped => self.stats.batches_refused += 1,
            Verdict::Gap => {
                self.stats.batches_refused += 1;
                self.ask_replay(peer);
            }
            Verdict::Misrouted => return Err(Malformed("a batch that does not come this way")),
            Verdict::Bad(what) => {
                self.bad_content(header.sender, what);
                return Err(Malformed(what));
            }
        }
        Ok(())
    }

    /// Bad content inside a good header: the sender is named; the second time it is accused (R4).
    pub(super) fn bad_content(&mut self, sender: Seat, what: &'static str) {
        let Some((view, _)) = self.view() else { return };
        let Some(member) = view.index_of_seat(sender).map(|i| MemberRef::from(&view.members[i])) else { return };
        let times = self.faults.entry(member.incarnation).or_default();
        *times += 1;
        let accuse = *times >= 2;
        let subject = member.incarnation;
        self.event(Event::Fault { member: Some(member), from: None, what: what.to_owned() });
        if accuse {
            self.observe(subject, Sight::Faulty, 0);
        }
    }

    fn on_direct_batch(&mut self, from: Index, header: &Header, frame: Bytes) -> Result<(), Malformed> {
        let Some((view, me)) = self.view().map(|(v, me)| (v.clone(), me)) else { return Ok(()) };
        let Some(sender) = view.index_of_seat(header.sender) else { return Ok(()) };
        let Some(to) = view.index_of_seat(header.receiver).map(|i| view.members[i].incarnation) else { return Ok(()) };
        let sender_ref = MemberRef::from(&view.members[sender]);
        if to != self.incarnation {
            let sender = sender_ref.incarnation;
            let known = header.tag == Kind::Messages.tag(sender, to) || Sessions::carries(header.tag, sender, to);
            if known && view.is_leader(me) {
                self.stats.batches_relayed += 1;
                self.route_direct(to, frame, view.group_at(from) != view.group_at(me));
            }
            return Ok(());
        }
        let verdict = match header.tag == Kind::Messages.tag(sender_ref.incarnation, to) {
            true => self.direct.accept(&sender_ref, header, frame),
            false => self.sessions.accept(&sender_ref, header, frame),
        };
        match verdict {
            Verdict::Bad(what) => {
                self.bad_content(header.sender, what);
                return Err(Malformed(what));
            }
            Verdict::Repeat => self.stats.batches_repeated += 1,
            Verdict::Accepted => {}
            _ => self.stats.batches_refused += 1,
        }
        Ok(())
    }

    /// A batch is missing: tells the peer what we hold, so that it sends the rest (R7).
    fn ask_replay(&mut self, peer: Incarnation) {
        let Some(f) = &self.fanout else { return };
        let now = self.now;
        if now.since(self.asked_replay) < self.setup.heartbeat / 8 {
            return;
        }
        self.asked_replay = now;
        let entries = f.holds().into_iter().enumerate().map(|(s, batch)| (s as u32, batch)).collect();
        let sync = Control::Sync(Progress { tag: f.view.tag(), entries });
        if let Some(conn) = self.links.link(peer) {
            self.links.send_control(conn, &sync);
        }
    }

    /// A link to a member of the view came up, or the view is new: both ends compare what they hold.
    pub(super) fn on_link_up(&mut self, peer: Incarnation) {
        let Some(f) = &mut self.fanout else { return };
        let Some(index) = f.view.index_of(peer) else { return };
        let streams = f.view.leader_of(f.me) == index
            || f.view.leader_of(index) == f.me
            || (f.view.is_leader(f.me) && f.view.is_leader(index));
        let carried = |at: Index| !f.view.members[at].witness;
        if !(streams && carried(index) && carried(f.me)) {
            return;
        }
        let Some(conn) = self.links.link(peer) else { return };
        let entries = f.holds().into_iter().enumerate().filter(|(_, b)| *b > 0).map(|(s, b)| (s as u32, b)).collect();
        let sync = Control::Sync(Progress { tag: f.view.tag(), entries });
        self.links.send_control(conn, &sync);
        let mut fx = Effects::default();
        f.tell_again(index, &mut fx);
        f.window.ask_again();
        f.begin_with(index);
        self.apply(&mut fx);
        self.tell_credit(index);
        self.direct.retry_now(self.now);
        self.tell_ways(index);
    }

    /// The view's stream index of a peer, if the frame is about the view that we are in.
    pub(super) fn in_view(&self, from: Incarnation, tag: u64) -> Option<Index> {
        let f = self.fanout.as_ref()?;
        if f.view.tag() == tag { f.view.index_of(from) } else { None }
    }

    pub(super) fn on_sync(&mut self, from: Incarnation, progress: &Progress) {
        let Some(index) = self.in_view(from, progress.tag) else { return };
        let Some(f) = self.fanout.as_mut().filter(|_| !self.plants.has(super::Plant::SkipReplay)) else { return };
        let mut fx = Effects::default();
        let whole = f.replay(index, &progress.entries, &mut fx);
        // It has come to the view just now, perhaps: what we told it before it could not place.
        f.tell_again(index, &mut fx);
        f.begin_with(index);
        let unready = !f.view.members[index].ready;
        self.apply(&mut fx);
        self.tell_ways(index);
        if let (false, true, Some(by)) = (whole, unready, self.summary()) {
            let why = "it lacks messages that the others have forgotten".to_owned();
            self.send_to(from, Control::Expelled(Expelled { incarnation: from, by, why }));
        }
    }

    pub(super) fn on_progress(&mut self, from: Incarnation, progress: &Progress) {
        if let (Some(index), Some(f)) = (self.in_view(from, progress.tag), &mut self.fanout) {
            f.stability.reported(index, &progress.entries, &f.streams);
        }
    }

    pub(super) fn on_stable(&mut self, from: Incarnation, progress: &Progress) {
        let Some(index) = self.in_view(from, progress.tag) else { return };
        let Some(f) = self.fanout.as_mut().filter(|f| f.view.leader_of(f.me) == index) else { return };
        for (s, batch) in &progress.entries {
            if (*s as usize) < f.streams.len() {
                f.release(*s as usize, *batch);
            }
        }
    }

    pub(super) fn on_holding(&mut self, from: Incarnation, progress: &Progress) {
        if let (Some(index), Some(f)) = (self.in_view(from, progress.tag), &mut self.fanout) {
            f.holding_reported(index, &progress.entries);
        }
    }

    pub(super) fn on_all_hold(&mut self, from: Incarnation, progress: &Progress) {
        let Some(index) = self.in_view(from, progress.tag) else { return };
        let Some(f) = self.fanout.as_mut().filter(|f| f.view.leader_of(f.me) == index) else { return };
        progress.entries.iter().for_each(|(s, batch)| f.held_by_all(*s as usize, *batch));
    }

    /// Moves what was accepted towards the host, and tells others how far we are.
    pub(super) fn flow(&mut self) {
        self.hurry |= self.fanout.as_mut().is_some_and(Fanout::take_turn);
        if self.fanout.as_ref().is_some_and(|f| f.is_at_rest(self.now)) && self.direct.is_at_rest(self.now) {
            return self.tell_stable();
        }
        let mut fx = std::mem::take(&mut self.spare_effects);
        if let Some(f) = &mut self.fanout {
            f.say_order(&mut self.builder, &mut fx);
            f.say_grants(&mut self.builder, &mut fx);
            f.tell_holding(self.now, &mut fx);
            f.ask_repair(self.now, &mut fx);
            f.pay(self.now, &mut fx);
            f.take(&mut self.budget, false, &mut fx);
            for (s, stable) in f.stability.flush(self.now, &f.streams, &mut fx) {
                f.release(s, stable);
            }
            self.direct.take(f.view.id, &mut self.budget, &mut fx.events);
        }
        self.apply_and_keep(fx);
        if self.fanout.as_ref().is_some_and(Fanout::overflows) {
            let address = self.summary().map(|s| s.address);
            return self.restart("it is not ready, and its host takes less than comes", address);
        }
        self.tell_tail();
        for (to, ack) in self.direct.acknowledgements(|_| Some(0)) {
            self.send_to(to, Control::DirectAck(ack));
        }
        for (to, frame) in self.direct.retries(self.now) {
            self.route_direct(to, frame, false);
        }
        self.tell_stable();
    }

    fn tell_stable(&mut self) {
        let Some(f) = self.fanout.as_ref().filter(|_| self.setup.stable_events) else { return };
        let (view, number) = (f.view.id, f.stable_messages());
        if number > self.stable_told {
            self.stable_told = number;
            self.event(Event::Stable { view, number });
        }
    }

    /// Nobody waits for a member that is not ready: if its link takes less than comes, the link goes, and what it lacks then it is told (R24).
    fn bound_queue(&mut self, to: Incarnation) {
        let bound = self.fanout.as_ref().map_or(u64::MAX, |f| f.bound);
        if let Some(conn) =
            self.links.link(to).filter(|id| self.links.get(*id).is_some_and(|c| c.queued_data() > bound))
        {
            self.close(conn);
        }
    }

    /// The last that a step wants done; the next one uses the same memory.
    pub(super) fn apply_and_keep(&mut self, mut fx: Effects) {
        self.apply(&mut fx);
        self.spare_effects = fx;
    }

    /// Carries out what the streams want done.
    pub(super) fn apply(&mut self, fx: &mut Effects) {
        fx.end_run();
        self.stats.batches_relayed += std::mem::take(&mut fx.relayed);
        self.links.note_copy(std::mem::take(&mut fx.copied));
        // Without a view there is nobody to tell, and nothing to pass on.
        let Some(view) = self.fanout.as_ref().map(|f| f.view.clone()) else { return fx.clear() };
        for (to, slice) in fx.data.drain(..) {
            self.links.send_data(view.members[to].incarnation, slice);
            if !view.members[to].ready {
                self.bound_queue(view.members[to].incarnation);
            }
        }
        if !fx.casts.is_empty() {
            self.cast_all(fx.casts.drain(..));
        }
        for (to, control) in fx.control.drain(..) {
            // Only over the link itself: what is lost with it is told again on the next one.
            if let Some(conn) = self.links.link(view.members[to].incarnation) {
                self.links.send_control(conn, &control);
            }
        }
        for event in fx.events.drain(..) {
            self.event(event);
        }
        if let Some(f) = &mut self.fanout {
            let delivered = std::mem::take(&mut f.delivered) + std::mem::take(&mut self.direct.delivered);
            self.stats.messages_delivered += delivered;
        }
    }
}
