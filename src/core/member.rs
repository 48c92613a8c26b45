//! One member: its parts, the door in, timers, and the way out. What it does is in the modules beside.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;

use super::ballot::{Acceptor, Attempt};
use super::buffers::Frame;
use super::builder::Builder;
use super::changes::Changes;
use super::detector::Detector;
use super::direct::{Direct, Kind};
use super::effects::Effects;
use super::fanout::{Budget, Fanout};
use super::io::{CloseCause, Ended, Event, Input, LinkReport, Output};
use super::joining::Seeking;
use super::leaving::Leaving;
use super::links::Links;
use super::loose::LooseEnds;
use super::mark::{Mark, Marks};
use super::merging::History;
use super::multicast::Group;
use super::participating::WantedCut;
use super::plant::Plants;
use super::quorum::Rules;
use super::sessions::{SessionCounts, Sessions};
use super::setup::Setup;
use super::slow::SlowWatch;
use super::suspicion::Suspicion;
use super::views::Laggards;
use super::window::Pool;
use super::{Stats, lease::Lease};
use crate::types::{ConnId, Incarnation, Index, Micros, Name, Time, View, ViewId, limits, millis};
use crate::wire::Proposal;
use crate::wire::control::Control;

/// So many long messages that were put together may wait for the host in memory that is used again.
const WHOLE_CHUNKS: usize = 64;

/// Chunks whose return the pool waits for: enough for the whole window and the host's queue.
fn pool_chunks(setup: &Setup) -> usize {
    16 + (setup.window_bytes + setup.receive_queue_bytes) / limits::CHUNK_BYTES
}

/// Coming later than meant by more than this is a pause of our own process.
const LATE: Micros = millis(1);

/// One member of a cluster.
#[derive(Clone, Debug)]
pub struct Member {
    pub(super) setup: Setup,
    pub(super) plants: Plants,
    pub(super) marks: Marks,
    pub(super) rules: Rules,
    pub(super) now: Time,
    /// Since when this process remembers what it promised: its start, or when it went over to another log.
    pub(super) remembers_since: Time,
    pub(super) random: u64,
    pub(super) incarnation: Incarnation,
    pub(super) cluster_tag: u64,
    pub(super) links: Links,
    pub(super) group: Group,
    pub(super) outputs: VecDeque<Output>,
    /// The last output was to close this connection.
    pub(super) told_to_close: Option<ConnId>,
    pub(super) stats: Stats,
    // Who is heard, and who is believed.
    pub(super) detector: Detector,
    pub(super) suspicion: Suspicion,
    pub(super) lease: Lease,
    pub(super) was_primary: bool,
    /// How late our own loop was lately.
    pub(super) late: Micros,
    // The log of views.
    pub(super) acceptor: Acceptor,
    pub(super) attempt: Option<Attempt>,
    pub(super) attempt_after: Time,
    pub(super) seen_round: u64,
    pub(super) seen_number: u64,
    pub(super) changes: Changes,
    pub(super) installed: Option<Proposal>,
    pub(super) installed_at: Time,
    pub(super) laggards: Laggards,
    pub(super) wanted_cut: Option<WantedCut>,
    pub(super) history: History,
    pub(super) seeking: Option<Seeking>,
    /// When the names of seeds are looked up next.
    pub(super) resolve_at: Time,
    pub(super) leaving: Option<Leaving>,
    pub(super) ended: Option<Ended>,
    pub(super) merged_from: Option<ViewId>,
    /// The host has said that it is ready (R24).
    pub(super) host_ready: bool,
    // Streams.
    pub(super) fanout: Option<Fanout>,
    pub(super) pool: Option<Pool>,
    pub(super) slow: SlowWatch,
    pub(super) builder: Builder,
    pub(super) direct: Direct,
    pub(super) loose: LooseEnds,
    pub(super) sessions: Sessions,
    pub(super) budget: Budget,
    /// Sends wait for a link to have written what it has; once it has, there is work at once.
    pub(super) backlog: bool,
    pub(super) hurry: bool,
    pub(super) told_ended: bool,
    pub(super) stable_told: u64,
    pub(super) asked_replay: Time,
    pub(super) faults: BTreeMap<Incarnation, u32>,
    /// Control frames that we send to ourselves.
    pub(super) loopback: VecDeque<Control>,
    /// Addresses at which somebody of another view was met.
    pub(super) hints: BTreeSet<SocketAddr>,
    /// What each seed led to when it was looked up last.
    pub(super) seeds: Vec<Vec<SocketAddr>>,
    /// All that seeds with a name led to, the latest last: a voter may live on at any of them.
    pub(super) listed: BTreeMap<Name, Vec<SocketAddr>>,
    pub(super) ticks: u64,
    /// Kept for their allocations: empty between steps.
    pub(super) spare_effects: Effects,
    pub(super) spare_frames: Vec<Frame>,
    /// The outbox is to give memory back.
    pub(super) trims: bool,
    pub(super) tick_at: Time,
}

impl Member {
    /// A member that begins to join at once.
    pub fn new(setup: Setup, now: Time) -> Member {
        #[cfg(feature = "sim")]
        let plants = Plants::new(setup.plant);
        #[cfg(not(feature = "sim"))]
        let plants = Plants::default();
        #[cfg(feature = "sim")]
        let marks = setup.marks.clone();
        #[cfg(not(feature = "sim"))]
        let marks = Marks::default();
        let rules = Rules {
            voters: setup.voters.clone(),
            minority_serves: setup.minority == super::MinorityPolicy::Serve,
            two_serve: setup.two_members_serve,
            lease: setup.lease,
            plants,
            marks: marks.clone(),
        };
        let whole = |(key, value): &(String, String)| key.len().max(value.len()) <= limits::REASON_BYTES;
        debug_assert!(setup.agreed_settings.iter().all(whole), "greetings would cut a setting, and nobody would agree");
        let cluster_tag = setup.cluster.bytes().fold(0x636c_7573, |h, b| crate::types::mix(h, u64::from(b)));
        let carries = setup.multicast.as_ref().filter(|m| m.carries);
        let batch_bytes = carries.map_or(limits::BATCH_BYTES, |m| super::multicast::batch_bytes(m.datagram_bytes));
        Member {
            plants,
            rules,
            now,
            remembers_since: now,
            random: setup.random,
            incarnation: setup.incarnation,
            cluster_tag,
            links: Links::new(pool_chunks(&setup)),
            group: Group::new(now, setup.multicast.is_some()),
            outputs: VecDeque::new(),
            told_to_close: None,
            stats: Stats::default(),
            detector: Detector::new(setup.silence, setup.heartbeat, plants),
            suspicion: Suspicion::default(),
            lease: Lease::new(now, setup.lease, plants, marks.clone()),
            was_primary: false,
            late: 0,
            acceptor: Acceptor::default(),
            attempt: None,
            attempt_after: Time::ZERO,
            seen_round: 0,
            seen_number: 0,
            changes: Changes::default(),
            installed: None,
            installed_at: now,
            laggards: Laggards::default(),
            wanted_cut: None,
            history: History::default(),
            seeking: Some(Seeking::new(now, &setup, None)),
            resolve_at: now,
            leaving: None,
            ended: None,
            merged_from: None,
            host_ready: false,
            fanout: None,
            pool: None,
            slow: SlowWatch::default(),
            builder: Builder::new(1).bounded(batch_bytes).asking_above(setup.large.unasked_bytes),
            direct: Direct::new(Kind::Messages, setup.incarnation, setup.direct_window_bytes, plants)
                .with_large(setup.large),
            loose: LooseEnds::default(),
            sessions: Sessions::new(
                setup.sessions.clone(),
                (plants, marks.clone()),
                setup.incarnation,
                setup.direct_window_bytes,
            ),
            budget: Budget::new(setup.receive_queue_bytes, WHOLE_CHUNKS),
            backlog: false,
            hurry: false,
            told_ended: false,
            stable_told: 0,
            asked_replay: Time::ZERO,
            faults: BTreeMap::new(),
            loopback: VecDeque::new(),
            hints: BTreeSet::new(),
            seeds: vec![Vec::new(); setup.seeds.len()],
            listed: BTreeMap::new(),
            ticks: 0,
            spare_effects: Effects::default(),
            spare_frames: Vec::new(),
            trims: false,
            tick_at: now,
            marks,
            setup,
        }
    }

    /// A connection was accepted from `peer`. `None` when the bound on strangers is reached: close it.
    pub fn accept(&mut self, now: Time, peer: SocketAddr) -> Option<ConnId> {
        if self.ended.is_some() {
            return None;
        }
        self.advance(now);
        self.links.accepted(self.now, peer)
    }

    /// Tells the member what happened. `now` never goes back.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        if self.ended.is_some() {
            if let Input::Consumed { bytes } | Input::Released { bytes } = input {
                self.budget.outstanding = self.budget.outstanding.saturating_sub(bytes);
            }
            return;
        }
        self.advance(now);
        match input {
            Input::Wake => {}
            Input::Connected(conn) => self.on_connected(conn),
            Input::Received(conn) => self.on_received(conn),
            Input::Closed(conn, cause) => self.on_closed(conn, cause),
            Input::Datagram { from, bytes } => self.on_datagram(from, bytes),
            Input::Casts(datagrams) => self.on_casts(datagrams),
            Input::Resolved { host, addresses } => self.on_resolved(&host, &addresses),
            Input::Consumed { bytes } | Input::Released { bytes } => {
                self.budget.outstanding = self.budget.outstanding.saturating_sub(bytes);
                if matches!(input, Input::Consumed { .. }) {
                    self.slow.host_polled(self.now);
                }
                if !self.is_held_back() {
                    return;
                }
            }
            Input::HostReady => self.on_host_ready(),
            Input::Leave => self.begin_leave(Ended::Left),
        }
        self.timers();
        self.settle();
    }

    /// Notices a pause of our own process: when we come later than we meant to, others are not to blame (V6).
    /// Whatever the driver comes with first after the pause, it is noticed then: later it could not be told any more.
    pub(super) fn advance(&mut self, now: Time) {
        if now.since(self.now) <= LATE {
            self.now = self.now.max(now);
            return;
        }
        let late = now.since(self.deadline().max(self.now));
        self.now = now;
        if self.plants.has(super::Plant::BlindAfterPause) {
            return;
        }
        if late > LATE {
            self.detector.forgive(self.now, late);
        }
        if late > self.setup.heartbeat / 2 {
            self.marks.reach(Mark::PauseNoticed);
            self.late = late;
            self.suspicion.forgive(self.now);
            self.slow.forgive(late);
        }
    }

    fn timers(&mut self) {
        if self.now >= self.tick_at {
            self.ticks += 1;
            self.tick_at = self.now + self.setup.heartbeat / 2;
            self.late /= 2;
            if self.ticks % 2 == 1 {
                self.send_heartbeats();
            }
            self.maintain_links();
            self.tick_merging();
            self.tick_slow();
            self.tick_window();
            if self.ticks.is_multiple_of(16) {
                self.links.trim();
                self.budget.pool.trim();
                self.trims = true;
            }
        }
        self.tick_multicast();
        self.ask_overdue();
        self.tick_leases();
        self.tick_seeking();
        self.tick_suspicion();
        self.tick_views();
        self.tick_leaving();
    }

    /// Ends a turn: deliveries, reports, and everything that waits goes to the driver.
    pub(super) fn settle(&mut self) {
        while let Some(control) = self.loopback.pop_front() {
            self.on_control(self.incarnation, control);
        }
        self.flow();
        // A host that is answered as the primary knows that it is one.
        self.tell_primary();
        self.serve_sessions();
        self.detector.settle();
        let mut transmit = std::mem::take(&mut self.links.transmit);
        transmit.sort_unstable();
        transmit.dedup();
        for conn in transmit {
            if self.links.get(conn).is_some_and(|c| !c.is_idle()) {
                self.outputs.push_back(Output::Transmit(conn));
            }
        }
    }

    fn tell_primary(&mut self) {
        let primary = self.is_primary(self.now);
        if primary != self.was_primary {
            self.marks.reach_if(primary, Mark::PrimaryBegun);
            self.marks.reach_if(
                !primary && self.fanout.as_ref().is_some_and(|f| f.view.fenced && !f.frozen),
                Mark::LeaseRanOut,
            );
            self.was_primary = primary;
            if let Some(view) = self.fanout.as_ref().map(|f| f.view.id) {
                self.event(Event::Primary { view, primary });
            }
        }
    }

    /// The next thing the driver must do; `None` when all is done for this turn.
    pub fn poll(&mut self) -> Option<Output> {
        // Whatever else has come in meanwhile, a last word stays until its connection has been closed.
        if let Some(conn) = self.told_to_close.take() {
            self.links.forget_closed(conn);
        }
        let output = self.outputs.pop_front();
        if let Some(Output::Close(conn)) = output {
            self.told_to_close = Some(conn);
        }
        output
    }

    /// When to come back at the latest; [`Time::NEVER`] if nothing is due.
    pub fn deadline(&self) -> Time {
        if self.ended.is_some() {
            return Time::NEVER;
        }
        if self.hurry {
            return self.now;
        }
        let lease = if self.was_primary && self.view_fenced() { self.lease.expiry } else { Time::NEVER };
        let stability = self.fanout.as_ref().map_or(Time::NEVER, Fanout::deadline);
        let parts = [
            self.tick_at,
            self.detector.deadline(),
            self.suspicion.deadline(),
            self.seeking.as_ref().map_or(Time::NEVER, Seeking::deadline),
            self.attempt.as_ref().map_or_else(|| self.changes.deadline(self.attempt_after), |a| a.repeat_at),
            self.direct.deadline(),
            self.sessions.deadline(),
            self.leaving.as_ref().map_or(Time::NEVER, |l| l.next),
            lease,
            self.lease.due,
            stability,
            self.group.beacon_at,
        ];
        parts.into_iter().min().unwrap_or(Time::NEVER)
    }

    /// Where to read a connection's bytes into: append to its spare capacity (at least one byte), then say `Received`.
    /// `None` if the connection is not known.
    pub fn receive_space(&mut self, conn: ConnId) -> Option<&mut BytesMut> {
        self.links.space(conn)
    }

    /// How many bytes to read at most into that: what comes behind them would have to be copied.
    pub fn read_most(&self, conn: ConnId) -> usize {
        self.links.read_most(conn)
    }

    /// An empty receive chunk for datagrams to the multicast group, with room for the longest one.
    pub fn chunk(&mut self) -> BytesMut {
        self.links.chunk()
    }

    /// Whether a connection has something to write.
    pub fn has_to_write(&self, conn: ConnId) -> bool {
        self.links.get(conn).is_some_and(|c| !c.is_idle())
    }

    /// Shows what a connection has to write, as slices in order, up to about `max_bytes`.
    pub fn to_write<'a>(&'a self, conn: ConnId, max_bytes: usize, slices: &mut Vec<&'a [u8]>) {
        self.links.show(conn, max_bytes, slices);
    }

    /// Reports that the first `bytes` of what `to_write` showed are written.
    pub fn wrote(&mut self, now: Time, conn: ConnId, bytes: usize) {
        self.stats.bytes_sent += bytes as u64;
        self.links.wrote(now, conn, bytes);
        self.hurry |= self.backlog && self.links.get(conn).is_some_and(super::links::Conn::is_idle);
    }

    /// The installed view and our position in it.
    pub fn view(&self) -> Option<(&Arc<View>, Index)> {
        self.fanout.as_ref().map(|f| (&f.view, f.me))
    }

    /// This life's incarnation; it changes when the member joins again after having been removed.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    pub(super) fn view_fenced(&self) -> bool {
        self.fanout.as_ref().is_some_and(|f| f.view.fenced)
    }

    /// Whether this member may act in the primary view at `now` (R22). In an unfenced view everybody does, and V3 does not hold.
    pub fn is_primary(&self, now: Time) -> bool {
        match &self.fanout {
            Some(f) if f.view.fenced => now < self.lease.expiry && !f.frozen,
            Some(_) => true,
            None => false,
        }
    }

    /// Why the member has ended, if it has.
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats;
        stats.connections = self.links.len() as u64;
        stats.chunks_pinned = self.links.chunks() as u64;
        stats.delivery_queue_bytes = self.budget.outstanding as u64;
        stats.unstable_bytes = self.fanout.as_ref().map_or(0, Fanout::retained_bytes) + self.direct.bytes();
        stats.credit_bytes = self.fanout.as_ref().map_or(0, |f| f.window.credit());
        let repair = self.fanout.as_ref().and_then(|f| f.cast.as_ref()).map(|cast| cast.counts).unwrap_or_default();
        stats.repairs_asked += repair.asked;
        stats.repair_bytes_sent += repair.repair_bytes;
        let sessions = self.session_counts();
        (stats.sessions_primary, stats.sessions_secondary) = (sessions.primaries, sessions.secondaries);
        (stats.sessions_single, stats.session_bytes) = (sessions.single, sessions.bytes);
        (stats.session_lag_bytes, stats.session_lag_us) = (sessions.lag_bytes, sessions.lag);
        stats
    }

    /// Bytes of messages that this member has copied: into batches, out of the fragments of long messages, and what was left at
    /// the end of a receive chunk. Messages to this member alone that came in fragments are not counted, nor what sessions keep.
    pub fn copied_bytes(&self) -> u64 {
        self.links.copied()
    }

    /// How many sessions this member holds.
    pub fn session_counts(&self) -> SessionCounts {
        self.sessions.counts()
    }

    /// The role, epoch and version of every session held here: for checkers.
    #[cfg(feature = "sim")]
    pub fn sessions_held(
        &self,
    ) -> impl Iterator<Item = (crate::types::SessionId, crate::wire::session::Role, crate::types::Epoch, u64)> {
        self.sessions.held()
    }

    /// Looks for broken invariants; the text says which one.
    pub fn check(&self) -> std::result::Result<(), String> {
        self.pool.as_ref().map_or(Ok(()), Pool::check)?;
        if let Some(f) = &self.fanout
            && let Some(s) = f.streams.iter().find(|s| s.taken > s.accepted || s.stable > s.taken)
        {
            return Err(format!("{}: stable {} taken {} accepted {}", s.sender.name, s.stable, s.taken, s.accepted));
        }
        self.fanout.as_ref().map_or(Ok(()), Fanout::check_large)
    }

    /// The links as this member sees them.
    pub fn links(&self, now: Time) -> Vec<LinkReport> {
        let Some((view, me)) = self.view() else { return Vec::new() };
        let report = |peer: Index| {
            let member = &view.members[peer];
            let conn = self.links.link_conn(member.incarnation);
            let watched = self.detector.watched.get(&member.incarnation);
            let state = match (conn, self.detector.is_up(now, member.incarnation)) {
                (_, false) => "silent",
                (Some(_), true) => "up",
                (None, true) => "connecting",
            };
            LinkReport {
                peer: member.name.clone(),
                state,
                queued_bytes: conn.map_or(0, |c| c.queued_bytes() as u64),
                unstable_bytes: self.fanout.as_ref().map_or(0, |f| f.lag_of(peer)),
                rtt_us: watched.map_or(0, |w| w.rtt),
                heard: watched.map_or(Time::ZERO, |w| w.heard),
            }
        };
        neighbours(view, me).into_iter().map(report).collect()
    }

    // What the modules beside use.

    pub(super) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    pub(super) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn note(&mut self, level: u8, text: String) {
        self.event(Event::Note { level, text });
    }

    /// The next word of our own sequence (SplitMix64), seeded from outside.
    pub(super) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        crate::types::mix(self.random, 0)
    }

    pub(super) fn close(&mut self, conn: ConnId) {
        if self.links.get(conn).is_some() {
            self.output(Output::Close(conn));
            self.forget_conn(conn, None);
        }
    }

    /// Ends this member for good. Connections go first; the driver closes the port last (R19).
    pub(super) fn end(&mut self, reason: Ended) {
        let conns: Vec<ConnId> = self.links.iter().map(|(id, _)| id).collect();
        for conn in conns {
            self.outputs.push_back(Output::Close(conn));
            self.links.remove(conn);
        }
        self.lease.drop_it(self.now);
        self.ended = Some(reason);
    }

    /// Removed by others: the process lives on and joins again as a new incarnation (R23).
    pub(super) fn restart(&mut self, why: &str, at: Option<SocketAddr>) {
        let Some(view) = self.fanout.as_ref().map(|f| Arc::clone(&f.view)) else { return };
        // Who leaves as agreed was not removed: it is told only how the others see it, a moment before it ends by itself.
        let released = self.leaving.as_ref().is_some_and(|leaving| leaving.released);
        if !released && !self.plants.has(super::Plant::ForgetToTell) {
            self.event(Event::Expelled { view: view.id, why: why.to_owned() });
        }
        if let Some(leaving) = self.leaving.take() {
            self.marks.reach(if released { Mark::LeaverGone } else { Mark::LeaverRemoved });
            return self.end(if leaving.said { leaving.reason } else { leaving.reason.unheard() });
        }
        let conns: Vec<ConnId> = self.links.iter().map(|(id, _)| id).collect();
        for conn in conns {
            self.outputs.push_back(Output::Close(conn));
            self.links.remove(conn);
        }
        for (to, token, payload) in self.direct.keep_only(|_| false) {
            let to = view.index_of(to).map(|i| (&view.members[i]).into());
            self.event(Event::Returned {
                to,
                token,
                payload,
                why: "this member was removed before it was acknowledged",
            });
        }
        self.merged_from = Some(view.id);
        self.host_ready = false;
        self.incarnation = Incarnation((u128::from(self.random()) << 64) | u128::from(self.random()));
        self.lease.drop_it(self.now);
        self.detector.watch(self.now, std::iter::empty());
        self.suspicion = Suspicion::default();
        self.attempt = None;
        self.changes = Changes::default();
        self.installed = None;
        self.laggards = Laggards::default();
        self.wanted_cut = None;
        self.history.restart(&view, self.now);
        let before = self.fanout.take();
        self.keep_counts(before.as_ref());
        self.loose = LooseEnds::default();
        self.pool = None;
        self.builder = self.builder.for_new_incarnation();
        self.stable_told = 0;
        let direct = Direct::new(Kind::Messages, self.incarnation, self.setup.direct_window_bytes, self.plants);
        self.direct = direct.with_large(self.setup.large);
        self.sessions.expelled(self.now, self.incarnation);
        self.was_primary = false;
        self.seeking = Some(Seeking::new(self.now, &self.setup, at));
        self.resolve_at = self.now;
    }

    /// Drops a connection from the books and draws the consequences.
    pub(super) fn forget_conn(&mut self, conn: ConnId, cause: Option<CloseCause>) {
        let Some((gone, was_link)) = self.links.remove(conn) else { return };
        self.after_close(conn, &gone, was_link, cause);
    }
}

/// Whom a member has a link with: its leader and deputy; a leader its members and the other leaders; a deputy the members
/// of its group (R14).
pub(super) fn neighbours(view: &View, me: Index) -> Vec<Index> {
    let group = view.group(me);
    let mut peers: Vec<Index> = Vec::new();
    if view.is_leader(me) {
        peers.extend(group.members.iter().copied());
        peers.extend(view.groups.iter().map(|g| g.leader()));
    } else if group.deputy() == Some(me) {
        peers.extend(group.members.iter().copied());
    } else {
        peers.push(group.leader());
        peers.extend(group.deputy());
    }
    peers.retain(|p| *p != me);
    peers.sort_unstable();
    peers.dedup();
    peers
}
