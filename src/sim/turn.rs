//! Driving members as the core's driver contract says: tell what happened, hand sends over, do what each output says, write
//! what connections have, and come back at the deadline.

use std::net::SocketAddr;

use super::check::Guarantee;
use super::faults::FaultKind;
use super::network::{PORT, Packet, address_of};
use super::node::State;
use super::payload::payload;
use super::queue::Event;
use super::world::World;
use crate::core::{self, Input, Output, Payload, Received, To};
use crate::types::{Code, Time, millis};
use crate::wire::batch::Level;

/// Rounds of outputs in one turn after which a member is said not to come to rest.
const ROUNDS: usize = 10_000;
/// The longest message outside of streams.
const LOOSE_BYTES: usize = 1_400;
/// Datagrams that a kernel keeps for a process that stands still.
const BACKLOG: usize = 256;

impl World {
    /// Makes an event happen.
    pub(super) fn dispatch(&mut self, event: Event) {
        match event {
            Event::Wake { node, life } => self.wake(usize::from(node), life),
            Event::Datagram { index } => self.datagram(index),
            Event::Arrive { conn, way } => self.arrive(conn, way),
            Event::Room { conn, way } => self.room(conn, way),
            Event::Casts { node, life } => self.cast_again(usize::from(node), life),
            Event::Syn { conn } => self.syn(conn),
            Event::Connected { conn } => self.connected(conn),
            Event::Accept { conn } => self.accept(conn),
            Event::Gone { conn, end, cause } => self.gone(conn, end, cause),
            Event::Resolved { index } => self.resolved(index),
            Event::Load { node, life } => self.load(usize::from(node), life),
            Event::Consume { node, life } => self.consume(usize::from(node), life),
            Event::Act { index } => {
                let action = self.plan[index as usize].take().expect("an action happens once");
                action(self);
            }
        }
    }

    /// Tells a member what happened; the turn is ended by [`World::settle`].
    pub(super) fn input(&mut self, node: usize, input: Input<'_>) {
        let slot = &mut self.nodes[node];
        let clock = slot.clock(self.now);
        if let Some(member) = &mut slot.member {
            member.handle(clock, input);
        }
    }

    /// Ends a turn: everything that the member wants done is done.
    pub(super) fn settle(&mut self, node: usize) {
        if self.nodes[node].state != State::Running {
            return;
        }
        for round in 0.. {
            let slot = &mut self.nodes[node];
            let clock = slot.clock(self.now);
            let Some(member) = &mut slot.member else { return };
            member.exchange(clock, &mut slot.outbox);
            let mut busy = false;
            while let Some(output) = self.nodes[node].member.as_mut().and_then(|member| member.poll()) {
                busy = true;
                self.perform(node, output);
            }
            let mut transmit = std::mem::take(&mut self.nodes[node].transmit);
            for id in transmit.drain(..) {
                busy |= self.pump(node, id);
            }
            if self.nodes[node].transmit.is_empty() {
                self.nodes[node].transmit = transmit;
            }
            busy |= self.take_events(node);
            if !busy {
                break;
            }
            if round == ROUNDS {
                self.violate(Guarantee::V4, format!("n{node} does not come to rest"));
                break;
            }
        }
        self.after_turn(node);
    }

    fn after_turn(&mut self, node: usize) {
        if self.survey.is_none() {
            self.check_turn(node);
        }
        self.spring_at_claim(node);
        if let Some(reason) = self.nodes[node].member.as_ref().and_then(|member| member.ended().cloned()) {
            return self.exit(node, reason);
        }
        self.schedule_wake(node);
    }

    fn schedule_wake(&mut self, node: usize) {
        let slot = &mut self.nodes[node];
        let Some(member) = &slot.member else { return };
        let deadline = member.deadline();
        if deadline == Time::NEVER {
            return;
        }
        let at = deadline.0.saturating_sub(slot.clock_offset_us).max(self.now);
        if at < slot.wake_at {
            slot.wake_at = at;
            self.queue.push(at, Event::Wake { node: node as u16, life: slot.life });
        }
    }

    fn wake(&mut self, node: usize, life: u32) {
        let slot = &mut self.nodes[node];
        if slot.life != life || slot.wake_at != self.now {
            return;
        }
        slot.wake_at = u64::MAX;
        if slot.state != State::Running {
            return;
        }
        let due = slot.member.as_ref().is_some_and(|member| member.deadline() <= slot.clock(self.now));
        if due {
            self.trace.line(self.now, || format!("n{node} wakes"));
            self.input(node, Input::Wake);
            self.settle(node);
        } else {
            self.schedule_wake(node);
        }
    }

    fn datagram(&mut self, index: u32) {
        let Some(packet) = self.network.arrived(index) else { return };
        let Some(node) = self.listening[usize::from(packet.to)] else { return };
        let slot = &mut self.nodes[usize::from(node)];
        if slot.state == State::Paused {
            if slot.backlog.len() < BACKLOG {
                slot.backlog.push_back(packet);
            }
            return;
        }
        self.take_datagram(usize::from(node), &packet);
        self.settle(usize::from(node));
    }

    fn take_datagram(&mut self, node: usize, packet: &Packet) {
        self.trace.word(packet.bytes.len() as u64);
        self.trace.line(self.now, || {
            format!("n{node} gets a datagram of {} bytes from host {}", packet.bytes.len(), packet.from)
        });
        let from = address_of(packet.from);
        match packet.cast {
            true => self.input(node, Input::Casts(&[Received { from, bytes: packet.bytes.clone() }])),
            false => self.input(node, Input::Datagram { from, bytes: &packet.bytes }),
        }
    }

    /// The process runs again: its kernel hands over what has come, in any order, and its clock has jumped.
    pub fn resume(&mut self, node: usize) {
        if self.nodes[node].state != State::Paused {
            return;
        }
        self.tell(|| format!("n{node} is resumed"));
        self.nodes[node].state = State::Running;
        self.nodes[node].resumed_at = Some(self.now);
        self.disturb(node);
        self.check_primary(node);
        if self.transport_random.chance(500) {
            self.input(node, Input::Wake);
            self.settle(node);
        }
        for packet in std::mem::take(&mut self.nodes[node].backlog) {
            self.take_datagram(node, &packet);
        }
        self.settle(node);
        for event in std::mem::take(&mut self.nodes[node].deferred) {
            self.dispatch(event);
        }
        let known: Vec<(u32, u8)> = self.nodes[node].connections.values().copied().collect();
        for (conn, end) in known {
            self.read(conn, end);
        }
        self.nodes[node].wake_at = u64::MAX;
        self.input(node, Input::Wake);
        self.settle(node);
        self.schedule_load(node);
    }

    fn perform(&mut self, node: usize, output: Output) {
        match output {
            Output::Dial { conn, to } => {
                self.trace.word(conn.0);
                self.trace.line(self.now, || format!("n{node} dials {to} as {}", conn.0));
                self.dial(node, conn, to);
            }
            Output::Transmit(conn) => {
                let transmit = &mut self.nodes[node].transmit;
                if !transmit.contains(&conn) {
                    transmit.push(conn);
                }
            }
            Output::Close(conn) => {
                self.trace.word(conn.0);
                self.trace.line(self.now, || format!("n{node} closes connection {}", conn.0));
                self.close(node, conn);
            }
            Output::Datagram { to, bytes } => {
                self.trace.word(bytes.len() as u64);
                self.nodes[node].traffic.datagram(bytes.len());
                let from = self.nodes[node].host;
                if let Some(to) = self.host_at(to).filter(|_| to.port() == PORT) {
                    let queue = &mut self.queue;
                    let schedule = |at, index| queue.push(at, Event::Datagram { index });
                    self.network.send(self.now, Packet { from, to, cast: false, bytes }, &mut self.faults, schedule);
                }
            }
            Output::Multicast => self.cast(node),
            Output::Resolve { host, port } => {
                let life = self.nodes[node].life;
                self.lookups.push(Some((node as u16, life, host, port)));
                let at = self.now + self.transport_random.between(200, 20_000);
                self.queue.push(at, Event::Resolved { index: self.lookups.len() as u32 - 1 });
            }
            Output::Event(event) => self.host_event(node, event),
        }
    }

    fn resolved(&mut self, index: u32) {
        let Some((node, life, host, port)) = self.lookups[index as usize].take() else { return };
        let slot = &self.nodes[usize::from(node)];
        if slot.life != life || slot.state == State::Down {
            return;
        }
        if slot.state == State::Paused {
            self.lookups[index as usize] = Some((node, life, host, port));
            self.defer(node, Event::Resolved { index });
            return;
        }
        let mut addresses: Vec<SocketAddr> = self.look_up(&host, port).into_iter().collect();
        if self.now < self.names_fail_until {
            self.faults.note(FaultKind::NameLookup);
            addresses.clear();
        }
        self.input(usize::from(node), Input::Resolved { host, addresses });
        self.settle(usize::from(node));
    }

    /// Where a host is found: by an address, or by the name `node-N`, which follows node N wherever it moves.
    fn look_up(&self, host: &str, port: u16) -> Option<SocketAddr> {
        let ip = match host.strip_prefix("node-") {
            Some(number) => address_of(self.nodes.get(number.parse::<usize>().ok()?)?.host).ip(),
            None => host.parse().ok()?,
        };
        Some(SocketAddr::new(ip, port))
    }

    /// Everything that a host gets passes here, in order.
    fn host_event(&mut self, node: usize, event: core::Event) {
        let slot = &mut self.nodes[node];
        slot.unconsumed += event.cost();
        self.trace.word(event.cost() as u64);
        match &event {
            core::Event::Messages(run) => {
                slot.delivered += run.len() as u64;
                self.trace.line(self.now, || {
                    let (count, first, of) = (run.len(), run.first, &run.sender.name);
                    format!("n{node} gets {count} from {of}, number {first} on, in {:?}", run.view)
                });
            }
            other => {
                self.trace.line(self.now, || format!("n{node} {}", describe(other)));
                self.tell_event(node, other);
            }
        }
        if let Some(survey) = &mut self.survey {
            return survey.note(self.now, node as u16, &event);
        }
        let slot = &mut self.nodes[node];
        if self.settings.keep_events && !matches!(event, core::Event::Messages(_)) {
            slot.seen.push((self.now, event.clone()));
        }
        let process = slot.process;
        if self.lurking.is_some() {
            self.spring_at_event(node, &event);
        }
        if let core::Event::View(change) = &event {
            self.trace.word(change.view.tag());
            self.nodes[node].view_at = self.now;
            self.views_under_load += u64::from(change.view.len() > 1 && self.nodes.iter().any(|n| n.accepted > 0));
            self.check_removals(node, change);
            if let Some(ambush) = self.ambush.take() {
                ambush(self, node);
            }
        }
        if let core::Event::Session(answer) = &event {
            self.session_answer(node, answer);
        }
        if matches!(event, core::Event::Expelled { .. }) {
            self.become_ready_later(node);
        }
        if matches!(event, core::Event::Primary { primary: true, .. }) {
            self.nodes[node].acted_at = Some(self.now);
        }
        self.check_event(node, &event);
        self.ledger.event(process, &event);
    }

    /// What an event says to a person who reads the story of a run.
    fn tell_event(&mut self, node: usize, event: &core::Event) {
        let (now, story) = (self.now, &mut self.story);
        match event {
            core::Event::View(change) => story.did(now, node, ["installs", "install"], || {
                let names: Vec<&str> = change.view.members.iter().map(|member| member.name.as_str()).collect();
                let kind = if change.view.fenced { "fenced" } else { "unfenced" };
                format!("the {kind} view {:?} of {}", change.view.id, names.join(", "))
            }),
            core::Event::Suspected { member, why } => {
                story.did(now, node, ["suspects", "suspect"], || format!("{}: {why}", member.name));
            }
            core::Event::Expelled { view, why } => {
                story.did(now, node, ["was", "were"], || format!("removed from the view {view:?}: {why}"));
            }
            core::Event::Primary { view, primary: true } => {
                story.did(now, node, ["acts", "act"], || format!("as primary in {view:?} from now on"));
            }
            core::Event::Primary { view, primary: false } => {
                story.did(now, node, ["acts", "act"], || format!("as primary in {view:?} no more"));
            }
            _ => {}
        }
    }

    /// The host takes what lies there, at once or after its lag. Says whether the member was told.
    fn take_events(&mut self, node: usize) -> bool {
        let slot = &mut self.nodes[node];
        if slot.unconsumed == 0 || !slot.polling {
            return false;
        }
        if slot.lag_us > 0 {
            if !slot.consume_scheduled {
                slot.consume_scheduled = true;
                let event = Event::Consume { node: node as u16, life: slot.life };
                self.queue.push(self.now + slot.lag_us, event);
                self.faults.note(FaultKind::SlowHost);
            }
            return false;
        }
        self.give_consumed(node);
        true
    }

    fn give_consumed(&mut self, node: usize) {
        let bytes = std::mem::take(&mut self.nodes[node].unconsumed);
        self.input(node, Input::Consumed { bytes });
    }

    fn consume(&mut self, node: usize, life: u32) {
        let slot = &mut self.nodes[node];
        if slot.life != life
            || slot.state == State::Down
            || self.defer(node as u16, Event::Consume { node: node as u16, life })
        {
            return;
        }
        self.nodes[node].consume_scheduled = false;
        if self.nodes[node].polling && self.nodes[node].unconsumed > 0 {
            self.give_consumed(node);
            self.settle(node);
        }
    }

    /// Gives a node a load, or none.
    pub fn set_load(&mut self, node: usize, load: Option<super::load::Load>) {
        self.nodes[node].load = load;
        self.schedule_load(node);
    }

    pub(super) fn schedule_load(&mut self, node: usize) {
        let slot = &mut self.nodes[node];
        let Some(load) = slot.load else { return };
        if slot.state == State::Running && !slot.load_scheduled {
            slot.load_scheduled = true;
            let at = self.now + load.pause(&mut self.load_random);
            self.queue.push(at, Event::Load { node: node as u16, life: slot.life });
        }
    }

    fn load(&mut self, node: usize, life: u32) {
        if self.nodes[node].life != life {
            return;
        }
        self.nodes[node].load_scheduled = false;
        let Some(load) = self.nodes[node].load.filter(|_| self.nodes[node].state == State::Running) else { return };
        let direct = self.load_random.chance(load.direct);
        let to = if direct { self.some_other(node) } else { Some(To::Everybody) };
        if let Some(to) = to {
            for _ in 0..load.count(&mut self.load_random) {
                let len = load.len(&mut self.load_random);
                if self.push_to(node, to, len) != Code::Ok {
                    break;
                }
            }
            self.settle(node);
        }
        self.schedule_load(node);
    }

    /// The incarnation of some other member of a node's view.
    fn some_other(&mut self, node: usize) -> Option<To> {
        let (view, me) = self.nodes[node].member()?.view()?;
        let others = view.len() as u64 - 1;
        let incarnation = |at: usize| view.members[if at >= me { at + 1 } else { at }].incarnation;
        (others > 0).then(|| To::Member(incarnation(self.load_random.below(others.max(1)) as usize)))
    }

    /// Puts a message into the outbox; the turn is ended by the caller.
    pub(super) fn push(&mut self, node: usize, to: Option<usize>, len: usize) -> Code {
        let to = match to {
            None => To::Everybody,
            Some(other) => match self.nodes[other].member() {
                Some(member) => To::Member(member.incarnation()),
                None => return Code::NoSuchMember,
            },
        };
        self.push_to(node, to, len)
    }

    pub(super) fn push_to(&mut self, node: usize, to: To, len: usize) -> Code {
        if self.nodes[node].state != State::Running {
            return Code::Closed;
        }
        let process = self.nodes[node].process;
        if self.settings.levels.unreliable > 0 && self.loose_random.chance(self.settings.levels.unreliable) {
            return self.push_loose(node, to, len.min(LOOSE_BYTES));
        }
        let token = self.ledger.next_token(process, to);
        let level = if to == To::Everybody { self.settings.levels.of(token) } else { Level::Fifo };
        let slot = &mut self.nodes[node];
        let code = slot.outbox.push(to, level, token.pack(), Payload::Borrowed(&payload(token, len)));
        self.trace.word(code as i32 as u64);
        match code {
            Code::Ok => {
                slot.accepted += 1;
                slot.starved_since = if to == To::Everybody { None } else { slot.starved_since };
                self.ledger.accepted(token, level, len);
                self.trace.line(self.now, || format!("n{node} accepts {token}, {level:?}, of {len} bytes for {to:?}"));
            }
            Code::Again if to == To::Everybody => {
                slot.starved_since.get_or_insert(self.now);
            }
            Code::NotPrimary => self.check_refused(node),
            _ => {}
        }
        code
    }

    /// The same outside of all streams.
    fn push_loose(&mut self, node: usize, to: To, len: usize) -> Code {
        let token = self.ledger.next_loose(self.nodes[node].process);
        let bytes = payload(token, len);
        let code = self.nodes[node].outbox.push(to, Level::Unreliable, token.pack(), Payload::Borrowed(&bytes));
        self.trace.word(code as i32 as u64);
        if code == Code::Ok {
            self.ledger.accepted_loose(token, to, len);
        }
        code
    }

    /// Names resolve to nothing for a while.
    pub fn fail_names_for(&mut self, duration: u64) {
        self.names_fail_until = self.now + duration.max(millis(1));
    }
}

/// One line about an event that is not a message.
fn describe(event: &core::Event) -> String {
    match event {
        core::Event::View(change) => {
            let view = &change.view;
            let names: Vec<String> = view
                .groups
                .iter()
                .map(|group| {
                    let members: Vec<String> = group
                        .members
                        .iter()
                        .map(|at| {
                            let member = &view.members[*at];
                            format!("{}{}", member.name, if member.ready { "" } else { "?" })
                        })
                        .collect();
                    members.join(" ")
                })
                .collect();
            let fenced = if view.fenced { "fenced" } else { "unfenced" };
            format!("installs {:?} {fenced} [{}]", view.id, names.join(" | "))
        }
        core::Event::Returned { token, why, .. } => {
            format!("is given back {}: {why}", super::payload::Token::unpack(*token))
        }
        other => format!("{other:?}"),
    }
}
