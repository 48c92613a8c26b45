//! Connections in the world: dialling, bytes, resets, and what a kernel does for a process that is gone or stands still.

use std::net::SocketAddr;

use super::connection::{Connection, End, Front, Phase, Way};
use super::faults::FaultKind;
use super::network::address_of;
use super::node::State;
use super::queue::{Event, Gone};
use super::world::World;
use crate::core::{CloseCause, Input};
use crate::types::ConnId;

/// A dial that gets no answer is tried again after this long, and then at growing pauses.
const DIAL_RETRY_US: u64 = 500_000;
/// A dial without an answer fails after this long.
const DIAL_TIMEOUT_US: u64 = 3_000_000;
/// How often a full buffer looks whether acknowledgements can travel again.
const ACK_RETRY_US: u64 = 200_000;
/// Most bytes that one write takes from a member.
pub(super) const WRITE_BYTES: usize = 256 * 1024;

impl World {
    /// A member dials.
    pub(super) fn dial(&mut self, node: usize, id: ConnId, to: SocketAddr) {
        let slot = &self.nodes[node];
        let here = End { node: node as u16, life: slot.life, host: slot.host, id, phase: Phase::Opening };
        let index = self.connections.len() as u32;
        let (low, high) = self.settings.send_buffer_bytes;
        let mut capacity = || self.transport_random.between(low as u64, high as u64) as usize;
        let ways = [Way::new(capacity()), Way::new(capacity())];
        let patience_us = self.transport_random.between(8_000_000, 40_000_000);
        let Some(host) = self.host_at(to).filter(|_| to.port() == super::network::PORT) else {
            let there = End { node: u16::MAX, host: here.host, phase: Phase::Gone, ..here };
            let ends = [here, there];
            self.connections.push(Some(Box::new(Connection {
                ends,
                ways,
                dialled_at: self.now,
                tries: 0,
                patience_us,
            })));
            self.queue.push(self.now + DIAL_TIMEOUT_US, Event::Gone { conn: index, end: 0, cause: Gone::Failed });
            self.nodes[node].connections.insert(id, (index, 0));
            return;
        };
        let there = End { node: u16::MAX, life: 0, host, id: ConnId(0), phase: Phase::Opening };
        let ends = [here, there];
        self.connections.push(Some(Box::new(Connection { ends, ways, dialled_at: self.now, tries: 0, patience_us })));
        self.nodes[node].connections.insert(id, (index, 0));
        let at = self.network.arrival(self.now, here.host, host, 0);
        self.queue.push(at, Event::Syn { conn: index });
    }

    /// The first packet of a dial reaches the other host, or does not.
    pub(super) fn syn(&mut self, conn: u32) {
        let Some(connection) = self.connections[conn as usize].as_deref_mut() else { return };
        let [here, there] = connection.ends;
        if here.phase != Phase::Opening {
            self.connections[conn as usize] = None;
            return;
        }
        let passes = self.network.segment_passes(here.host, there.host, &mut self.faults)
            && self.network.segment_passes(there.host, here.host, &mut self.faults);
        if !passes {
            connection.tries += 1;
            if self.now >= connection.dialled_at + DIAL_TIMEOUT_US {
                return self.queue.push(self.now, Event::Gone { conn, end: 0, cause: Gone::Failed });
            }
            let at = self.now + (DIAL_RETRY_US << connection.tries.min(3));
            return self.queue.push(at.min(connection.dialled_at + DIAL_TIMEOUT_US), Event::Syn { conn });
        }
        let answer_at = self.network.arrival(self.now, there.host, here.host, 0);
        let Some(listener) = self.listening[usize::from(there.host)] else {
            return self.queue.push(answer_at, Event::Gone { conn, end: 0, cause: Gone::Refused });
        };
        let accept_at = self.network.arrival(answer_at, here.host, there.host, 0);
        connection.ends[1].node = listener;
        connection.ends[1].life = self.nodes[usize::from(listener)].life;
        connection.ways[0].not_before(accept_at);
        connection.ways[1].not_before(answer_at);
        self.queue.push(answer_at, Event::Connected { conn });
        self.queue.push(accept_at, Event::Accept { conn });
    }

    /// The dialler's kernel has the answer.
    pub(super) fn connected(&mut self, conn: u32) {
        let Some(connection) = self.connections[conn as usize].as_deref_mut() else { return };
        let End { node, id, phase, .. } = connection.ends[0];
        if phase != Phase::Opening || self.defer(node, Event::Connected { conn }) {
            return;
        }
        self.connections[conn as usize].as_deref_mut().expect("just seen").ends[0].phase = Phase::Open;
        self.input(usize::from(node), Input::Connected(id));
        self.nodes[usize::from(node)].transmit.push(id);
        self.read(conn, 0);
    }

    /// The listening process takes a connection from its kernel.
    pub(super) fn accept(&mut self, conn: u32) {
        let Some(connection) = self.connections[conn as usize].as_deref_mut() else { return };
        let End { node, life, host, phase, .. } = connection.ends[1];
        if phase != Phase::Opening {
            return;
        }
        let from = address_of(connection.ends[0].host);
        if self.nodes[usize::from(node)].life != life || self.nodes[usize::from(node)].state == State::Down {
            connection.ends[1].phase = Phase::Gone;
            let at = self.network.arrival(self.now, host, connection.ends[0].host, 0);
            return self.queue.push(at, Event::Gone { conn, end: 0, cause: Gone::Peer });
        }
        if self.defer(node, Event::Accept { conn }) {
            return;
        }
        let node = usize::from(node);
        let clock = self.nodes[node].clock(self.now);
        let peer = SocketAddr::new(from.ip(), 40_000 + (conn % 20_000) as u16);
        let id = self.nodes[node].member.as_mut().expect("it runs").accept(clock, peer);
        let connection = self.connections[conn as usize].as_deref_mut().expect("just seen");
        match id {
            Some(id) => {
                connection.ends[1].id = id;
                connection.ends[1].phase = Phase::Open;
                self.nodes[node].connections.insert(id, (conn, 1));
                self.read(conn, 1);
            }
            None => {
                connection.ends[1].phase = Phase::Gone;
                self.send_fin(conn, 1);
                self.settle(node);
            }
        }
    }

    /// Writes what a member has for a connection, as far as its send buffer has room. Says whether anything was written.
    pub(super) fn pump(&mut self, node: usize, id: ConnId) -> bool {
        let Some((conn, end)) = self.connection_of(node, id) else { return false };
        let way = usize::from(end);
        let mut progress = false;
        loop {
            let connection = self.connections[conn as usize].as_deref_mut().expect("a process knows it");
            let (from, to) = (connection.ends[way].host, connection.ends[1 - way].host);
            if connection.ends[way].phase != Phase::Open {
                return progress;
            }
            if connection.ways[way].owed > 0 && self.network.reaches(to, from) {
                let at = self.network.arrival(self.now, to, from, 0);
                connection.ways[way].acknowledge(at);
            }
            let room = connection.ways[way].room(self.now).min(WRITE_BYTES);
            let slot = &mut self.nodes[node];
            let clock = slot.clock(self.now);
            let member = slot.member.as_mut().expect("it runs");
            let mut slices = Vec::with_capacity(16);
            member.to_write(id, room.max(1), &mut slices);
            if slices.iter().all(|slice| slice.is_empty()) {
                return progress;
            }
            if room == 0 {
                if !connection.ways[way].wanted {
                    self.faults.note(FaultKind::FullBuffer);
                }
                connection.ways[way].wanted = true;
                self.schedule_room(conn, end);
                return progress;
            }
            let room = if room > 1 && self.transport_random.chance(60) {
                1 + self.transport_random.below(room as u64) as usize
            } else {
                room
            };
            let written = connection.ways[way].write(&slices, room);
            member.wrote(clock, id, written);
            slot.traffic.write(written);
            self.trace.word(written as u64);
            self.trace.line(self.now, || format!("n{node} writes {written} bytes to connection {} ({conn})", id.0));
            progress = true;
            self.send_segments(conn, end, written);
        }
    }

    /// Sends what was written in one segment, or now and then in several, so that frames are cut anywhere.
    fn send_segments(&mut self, conn: u32, end: u8, mut len: usize) {
        let connection = self.connections[conn as usize].as_deref_mut().expect("it is being written to");
        let way = usize::from(end);
        let (from, to) = (connection.ends[way].host, connection.ends[1 - way].host);
        while len > 0 {
            let mut part = len.min(32 * 1024);
            if part > 1 && self.transport_random.chance(60) {
                part = 1 + self.transport_random.below(part as u64 - 1) as usize;
            }
            let at = self.network.arrival(self.now, from, to, part);
            connection.ways[way].send(at, part);
            len -= part;
        }
        self.schedule_arrival(conn, end);
    }

    fn schedule_arrival(&mut self, conn: u32, way: u8) {
        let Some(connection) = self.connections[conn as usize].as_deref_mut() else { return };
        let state = &mut connection.ways[usize::from(way)];
        if state.arrive_scheduled {
            return;
        }
        let at = match state.front(self.now) {
            Front::Due(at) => at,
            Front::Bytes(_) | Front::Fin => self.now,
            Front::Nothing | Front::NoRoom => return,
        };
        state.arrive_scheduled = true;
        self.queue.push(at, Event::Arrive { conn, way });
    }

    /// The conditions between two hosts have changed: what their connections have under way follows the new ones.
    pub(super) fn retime(&mut self, from: u16, to: u16) {
        let at = self.network.arrival(self.now, from, to, 0);
        for conn in 0..self.connections.len() as u32 {
            let Some(connection) = self.connections[conn as usize].as_deref_mut() else { continue };
            for way in [0, 1] {
                let hosts = (connection.ends[way].host, connection.ends[1 - way].host);
                if hosts == (from, to) && connection.ways[way].arrive_by(at) {
                    self.queue.push(at, Event::Arrive { conn, way: way as u8 });
                }
                // Acknowledgements travel against the bytes.
                if hosts == (to, from) && connection.ways[way].acknowledged_by(at) {
                    self.queue.push(at, Event::Room { conn, way: way as u8 });
                }
            }
        }
    }

    fn schedule_room(&mut self, conn: u32, way: u8) {
        let Some(connection) = self.connections[conn as usize].as_deref_mut() else { return };
        let state = &mut connection.ways[usize::from(way)];
        if state.room_scheduled || !state.wanted {
            return;
        }
        let at = match state.next_ack() {
            Some(at) => at.max(self.now),
            None if state.owed > 0 => self.now + ACK_RETRY_US,
            None => return,
        };
        state.room_scheduled = true;
        self.queue.push(at, Event::Room { conn, way });
    }

    /// A writer that waits looks whether its send buffer has room.
    pub(super) fn room(&mut self, conn: u32, way: u8) {
        let Some(connection) = self.connections[conn as usize].as_deref_mut() else { return };
        let End { node, host, id, phase, .. } = connection.ends[usize::from(way)];
        let other = connection.ends[1 - usize::from(way)].host;
        let state = &mut connection.ways[usize::from(way)];
        state.room_scheduled = false;
        if phase != Phase::Open || !state.wanted {
            return;
        }
        if state.owed > 0 && self.network.reaches(other, host) {
            let at = self.network.arrival(self.now, other, host, 0);
            state.acknowledge(at);
        }
        if state.room(self.now) == 0 {
            return self.schedule_room(conn, way);
        }
        if self.defer(node, Event::Room { conn, way }) {
            return;
        }
        self.connections[conn as usize].as_deref_mut().expect("just seen").ways[usize::from(way)].wanted = false;
        self.nodes[usize::from(node)].transmit.push(id);
        self.settle(usize::from(node));
    }

    /// Segments reach the other host, as far as they are due.
    pub(super) fn arrive(&mut self, conn: u32, way: u8) {
        let Some(connection) = self.connections[conn as usize].as_deref_mut() else { return };
        connection.ways[usize::from(way)].arrive_scheduled = false;
        let (writer, reader) = (connection.ends[usize::from(way)], connection.ends[1 - usize::from(way)]);
        let mut taken = false;
        loop {
            let state = &mut connection.ways[usize::from(way)];
            if !matches!(state.front(self.now), Front::Fin | Front::Bytes(_)) {
                break;
            }
            if !self.network.segment_passes(writer.host, reader.host, &mut self.faults) {
                state.postpone(self.now);
                let since = state.stuck_since.unwrap_or(self.now);
                if self.now - since > connection.patience_us {
                    state.drop_all();
                    self.queue.push(self.now, Event::Gone { conn, end: way, cause: Gone::Failed });
                }
                break;
            }
            if reader.phase == Phase::Gone {
                state.drop_all();
                if self.network.reaches(reader.host, writer.host) {
                    let at = self.network.arrival(self.now, reader.host, writer.host, 0);
                    self.queue.push(at, Event::Gone { conn, end: way, cause: Gone::Peer });
                }
                break;
            }
            state.take_front();
            taken = true;
            if self.network.reaches(reader.host, writer.host) {
                let at = self.network.arrival(self.now, reader.host, writer.host, 0);
                state.acknowledge(at);
            }
        }
        self.schedule_arrival(conn, way);
        self.schedule_room(conn, way);
        if taken {
            self.read(conn, 1 - way);
        }
    }

    /// The process at one end reads what its kernel holds, in pieces of any size, and is told of the end after it.
    pub(super) fn read(&mut self, conn: u32, end: u8) {
        let Some(connection) = self.connections[conn as usize].as_deref_mut() else { return };
        let End { node, id, phase, .. } = connection.ends[usize::from(end)];
        let node = usize::from(node);
        if phase != Phase::Open || self.nodes[node].state != State::Running {
            return;
        }
        let way = &mut connection.ways[1 - usize::from(end)];
        let slot = &mut self.nodes[node];
        let clock = slot.clock(self.now);
        let member = slot.member.as_mut().expect("it runs");
        while way.unread() > 0 {
            let Some(space) = member.receive_space(id) else { break };
            let limit = if self.transport_random.chance(60) {
                1 + self.transport_random.below(way.unread() as u64) as usize
            } else {
                way.unread()
            };
            let taken = way.read(space, limit);
            self.trace.word(taken as u64);
            self.trace.line(self.now, || format!("n{node} reads {taken} bytes from connection {} ({conn})", id.0));
            if taken == 0 {
                break;
            }
            member.handle(clock, Input::Received(id));
        }
        let over = way.fin_arrived && way.unread() == 0;
        if over {
            slot.connections.remove(&id);
            connection.ends[usize::from(end)].phase = Phase::Gone;
            member.handle(clock, Input::Closed(id, CloseCause::Peer));
            self.forget_if_over(conn);
        }
        self.schedule_arrival(conn, 1 - end);
        self.settle(node);
    }

    /// A member closes a connection: what can be written at once is written, then the end is sent.
    pub(super) fn close(&mut self, node: usize, id: ConnId) {
        self.pump(node, id);
        let Some((conn, end)) = self.nodes[node].connections.remove(&id) else { return };
        let Some(connection) = self.connections[conn as usize].as_deref_mut() else { return };
        connection.ends[usize::from(end)].phase = Phase::Gone;
        self.send_fin(conn, end);
        self.forget_if_over(conn);
    }

    fn send_fin(&mut self, conn: u32, end: u8) {
        let Some(connection) = self.connections[conn as usize].as_deref_mut() else { return };
        let (here, there) = (connection.ends[usize::from(end)], connection.ends[1 - usize::from(end)]);
        if there.phase == Phase::Gone || there.node == u16::MAX {
            return;
        }
        let at = self.network.arrival(self.now, here.host, there.host, 0);
        connection.ways[usize::from(end)].send_fin(at);
        self.schedule_arrival(conn, end);
    }

    /// One end learns that the connection is gone.
    pub(super) fn gone(&mut self, conn: u32, end: u8, cause: Gone) {
        let Some(connection) = self.connections[conn as usize].as_deref_mut() else { return };
        let End { node, id, phase, .. } = connection.ends[usize::from(end)];
        if phase == Phase::Gone || self.defer(node, Event::Gone { conn, end, cause }) {
            return;
        }
        let connection = self.connections[conn as usize].as_deref_mut().expect("just seen");
        let known = phase == Phase::Open || end == 0;
        connection.ends[usize::from(end)].phase = Phase::Gone;
        self.forget_if_over(conn);
        if known {
            let node = usize::from(node);
            self.nodes[node].connections.remove(&id);
            let cause = match cause {
                Gone::Refused => CloseCause::Refused,
                Gone::Peer => CloseCause::Peer,
                Gone::Failed => CloseCause::Failed,
            };
            self.trace.line(self.now, || format!("n{node} loses connection {} ({cause:?})", id.0));
            self.input(node, Input::Closed(id, cause));
            self.settle(node);
        }
    }

    /// Breaks a connection: what is under way is lost, and both ends learn of it.
    pub(super) fn reset(&mut self, conn: u32) {
        let Some(connection) = self.connections[conn as usize].as_deref_mut() else { return };
        self.faults.note(FaultKind::Reset);
        connection.ways.iter_mut().for_each(Way::drop_all);
        for end in [0, 1] {
            let cause = if self.transport_random.chance(500) { Gone::Peer } else { Gone::Failed };
            self.queue.push(self.now, Event::Gone { conn, end, cause });
        }
    }

    /// A process is gone: its kernel closes its connections, or is gone itself and says nothing.
    pub(super) fn drop_connections(&mut self, node: usize, tells: bool) {
        let known = std::mem::take(&mut self.nodes[node].connections);
        let life = self.nodes[node].life;
        for (conn, end) in known.into_values() {
            let Some(connection) = self.connections[conn as usize].as_deref_mut() else { continue };
            connection.ends[usize::from(end)].phase = Phase::Gone;
            if tells {
                // With unread bytes a kernel resets instead: what is under way to the other end may be lost.
                if connection.ways[1 - usize::from(end)].unread() > 0 || self.transport_random.chance(200) {
                    connection.ways[usize::from(end)].drop_all();
                }
                self.send_fin(conn, end);
            } else {
                connection.ways[usize::from(end)].drop_all();
            }
            self.forget_if_over(conn);
        }
        for conn in 0..self.connections.len() {
            let Some(connection) = self.connections[conn].as_deref_mut() else { continue };
            let there = &mut connection.ends[1];
            if there.phase == Phase::Opening && usize::from(there.node) == node && there.life == life {
                there.phase = Phase::Gone;
                if tells {
                    self.queue.push(self.now, Event::Gone { conn: conn as u32, end: 0, cause: Gone::Peer });
                }
            }
        }
    }

    /// A connection that no process knows, and that carries nothing more, is forgotten.
    fn forget_if_over(&mut self, conn: u32) {
        let over = self.connections[conn as usize]
            .as_deref()
            .is_some_and(|connection| connection.ends.iter().all(|end| end.phase == Phase::Gone));
        if over {
            self.connections[conn as usize] = None;
        }
    }

    /// Keeps an event for later if its process stands still.
    pub(super) fn defer(&mut self, node: u16, event: Event) -> bool {
        let slot = &mut self.nodes[usize::from(node)];
        let paused = slot.state == State::Paused;
        if paused {
            slot.deferred.push(event);
        }
        paused
    }
}
