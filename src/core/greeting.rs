//! Connections coming up and going down, greetings, refusals, and the way of control frames.

use std::net::SocketAddr;

use bytes::Bytes;

use super::buffers::Frame;
use super::io::{CloseCause, Event, MemberRef, Output};
use super::links::{Conn, Peer, State};
use super::member::{Member, neighbours};
use crate::types::{ConnId, Incarnation, Micros, Time, ViewId, millis};
use crate::wire::control::{
    Control, Hello, MAGIC, Purpose, RefusalCode, Refuse, Report, ReportLink, Routed, ViewSummary, Welcome,
};
use crate::wire::{Malformed, VERSION};

/// A connection that has not introduced itself, or does not come up, is given up after this time.
const GREETING_TIMEOUT: Micros = millis(3_000);
/// A link that is down is dialled again after this time.
const REDIAL: Micros = millis(300);
/// A connection that no role needs is closed when it was not used for this long.
const IDLE: Micros = millis(5_000);

impl Member {
    pub(super) fn dial(&mut self, to: SocketAddr, purpose: Purpose, expects: Option<Incarnation>) -> ConnId {
        let conn = self.links.dial(self.now, to, purpose, expects);
        self.output(Output::Dial { conn, to });
        conn
    }

    pub(super) fn on_connected(&mut self, conn: ConnId) {
        let view = self.view_id();
        let Some(c) = self.links.get_mut(conn) else { return };
        c.state = State::Greeting;
        c.asked_in = view;
        let (purpose, expects) = (c.purpose, c.expects.unwrap_or(Incarnation::NONE));
        let hello = Hello {
            magic: MAGIC,
            version_min: VERSION,
            version_max: VERSION,
            cluster: self.setup.cluster.clone(),
            purpose,
            name: self.setup.name.clone(),
            incarnation: self.incarnation,
            address: self.setup.advertise,
            expects,
            settings: self.setup.agreed_settings.clone(),
            view: self.summary(),
        };
        self.links.send_control(conn, &Control::Hello(hello));
    }

    fn view_id(&self) -> ViewId {
        self.view().map_or(ViewId::NONE, |(view, _)| view.id)
    }

    pub(super) fn on_received(&mut self, conn: ConnId) {
        let mut frames = std::mem::take(&mut self.spare_frames);
        let chunk = match self.links.frames(self.now, conn, &mut frames) {
            Ok(chunk) => chunk,
            Err(bad) => return self.fault(conn, bad),
        };
        self.stats.bytes_received += chunk.len() as u64;
        if let Some(peer) = self.links.get(conn).and_then(Conn::peer).map(|p| p.incarnation) {
            self.heard(peer);
        }
        let mut fx = std::mem::take(&mut self.spare_effects);
        for frame in frames.drain(..) {
            let result = match frame {
                Frame::Batch { header, start, end } => self.on_batch(conn, &header, &chunk, start, end, &mut fx),
                Frame::Control { start, end } => {
                    fx.end_run();
                    self.apply(&mut fx);
                    Control::decode(&chunk[start..end]).and_then(|control| self.on_frame(conn, control))
                }
            };
            if let Err(bad) = result {
                self.fault(conn, bad);
                break;
            }
            if self.links.get(conn).is_none() || self.ended.is_some() {
                break;
            }
        }
        self.spare_frames = frames;
        self.apply_and_keep(fx);
    }

    /// Somebody sent what it must not: the connection is closed, and the host is told (R4).
    pub(super) fn fault(&mut self, conn: ConnId, bad: Malformed) {
        let Some(c) = self.links.get(conn) else { return };
        self.stats.faults += 1;
        let (from, peer) = (c.remote, c.peer().cloned());
        let member = peer.as_ref().and_then(|p| self.member_ref(p.incarnation));
        self.event(Event::Fault { member, from: Some(from), what: bad.0.to_owned() });
        self.close(conn);
    }

    pub(super) fn member_ref(&self, incarnation: Incarnation) -> Option<MemberRef> {
        let (view, _) = self.view()?;
        view.index_of(incarnation).map(|i| (&view.members[i]).into())
    }

    /// A control frame that came over a connection.
    fn on_frame(&mut self, conn: ConnId, control: Control) -> Result<(), Malformed> {
        let Some(c) = self.links.get(conn) else { return Ok(()) };
        match (control, c.peer().map(|p| p.incarnation)) {
            (Control::Hello(hello), None) if !c.dialed => return self.on_hello(conn, hello),
            (Control::Welcome(welcome), None) if c.dialed => self.on_welcome(conn, welcome),
            (Control::Refuse(refuse), _) if c.dialed => self.on_refuse(conn, &refuse),
            (Control::Expelled(expelled), _) => self.on_expelled(expelled),
            (Control::Inspect(_), None) if c.purpose == Purpose::Inspect => self.on_inspect(conn),
            (_, None) => return Err(Malformed("a frame before the greeting")),
            (Control::Hello(_) | Control::Welcome(_), _) => return Err(Malformed("a second greeting")),
            (Control::Routed(routed), Some(_)) => self.on_routed(routed)?,
            (control, Some(from)) => self.on_control(from, control),
        }
        Ok(())
    }

    fn on_hello(&mut self, conn: ConnId, hello: Hello) -> Result<(), Malformed> {
        if hello.magic != MAGIC {
            return Err(Malformed("not a greeting of this protocol"));
        }
        let from = self.links.get(conn).map_or(hello.address, |c| c.remote);
        if let Some(refuse) = self.judge_hello(&hello, from) {
            if matches!(hello.purpose, Purpose::Join | Purpose::Link) {
                let (name, why) = (hello.name.to_string(), refuse.text.clone());
                self.event(Event::RefusedJoiner { name, from, why });
            }
            self.links.send_control(conn, &Control::Refuse(refuse));
            self.close(conn);
            return Ok(());
        }
        if let Some(expelled) = hello.view.as_ref().and_then(|v| self.expelled_by_us(hello.incarnation, v)) {
            self.links.push_before_open(conn, &expelled);
            self.close(conn);
            return Ok(());
        }
        let member = self.view().is_some_and(|(view, _)| view.index_of(hello.incarnation).is_some());
        let welcome = Welcome {
            name: self.setup.name.clone(),
            incarnation: self.incarnation,
            address: self.setup.advertise,
            view: self.summary(),
            member,
        };
        self.links.send_control(conn, &Control::Welcome(welcome));
        if let Some(c) = self.links.get_mut(conn) {
            c.purpose = hello.purpose;
        }
        self.heard(hello.incarnation);
        match &hello.view {
            Some(_) if self.fanout.is_none() => self.on_view_heard(hello.address),
            Some(theirs) if self.is_foreign(theirs) => self.look_at(hello.address),
            _ => {}
        }
        // Who looks for a life that was here before learns from the answer that it is gone, and closes.
        let meant = hello.expects == Incarnation::NONE || hello.expects == self.incarnation;
        if meant && hello.incarnation != self.incarnation && matches!(hello.purpose, Purpose::Join | Purpose::Link) {
            let peer = Peer { name: hello.name, incarnation: hello.incarnation, address: hello.address };
            self.open(conn, peer);
            match (hello.purpose, hello.view) {
                (Purpose::Join, None) => self.on_starter(hello.incarnation),
                // It may be one that we were to ask ourselves, and to which no connection of our own will come up beside this one.
                (Purpose::Link, view @ Some(_)) if self.fanout.is_none() => {
                    self.on_seed_answered(hello.address, hello.incarnation, view);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn judge_hello(&self, hello: &Hello, from: SocketAddr) -> Option<Refuse> {
        let refuse = |code, text| Some(Refuse { code, text });
        // A tool asks without knowing the name; it is told, and joins nothing.
        if hello.purpose != Purpose::Inspect && hello.cluster != self.setup.cluster {
            let text = format!("this is cluster \"{}\", not \"{}\"", self.setup.cluster, hello.cluster);
            return refuse(RefusalCode::Cluster, text);
        }
        if hello.version_min > VERSION || hello.version_max < VERSION {
            let (min, max) = (hello.version_min, hello.version_max);
            let text = format!("wire version {VERSION} is spoken here, {min} to {max} there");
            return refuse(RefusalCode::Version, text);
        }
        if matches!(hello.purpose, Purpose::Inspect | Purpose::Probe) {
            return None;
        }
        if let Some(text) = self.unreachable(hello, from) {
            return refuse(RefusalCode::Address, text);
        }
        if let Some(text) = self.differing_setting(&hello.settings) {
            return refuse(RefusalCode::Settings, text);
        }
        let listed = |seed: &super::Seed| {
            seed.name.as_ref().map_or(seed.host == hello.address.ip().to_string(), |name| *name == hello.name)
        };
        if self.setup.seeds_only && !self.setup.seeds.iter().any(listed) {
            let text = format!("\"{}\" is not on the static list of this cluster", hello.name);
            return refuse(RefusalCode::NotListed, text);
        }
        None
    }

    /// Who is elsewhere and names a loopback address: whoever dialled it would reach its own machine.
    fn unreachable(&self, hello: &Hello, from: SocketAddr) -> Option<String> {
        let elsewhere = [from, self.setup.advertise].iter().any(|at| !at.ip().to_canonical().is_loopback());
        (hello.address.ip().to_canonical().is_loopback() && elsewhere).then(|| {
            format!(
                "\"{}\" names {} as its address, at which each machine reaches itself: its node.bind or node.advertise must \
                 be an address that the others reach",
                hello.name, hello.address
            )
        })
    }

    /// The first setting that must agree and does not (R3).
    fn differing_setting(&self, theirs: &[(String, String)]) -> Option<String> {
        for (key, ours) in &self.setup.agreed_settings {
            match theirs.iter().find(|(k, _)| k == key) {
                Some((_, value)) if value == ours => {}
                Some((_, value)) => {
                    return Some(format!("{key} is {ours} here and {value} there: it must be the same"));
                }
                None => return Some(format!("{key} is {ours} here and not known there: it must be the same")),
            }
        }
        let unknown = theirs.iter().find(|(k, _)| !self.setup.agreed_settings.iter().any(|(key, _)| key == k));
        unknown.map(|(key, value)| format!("{key} is {value} there and not known here: it must be the same"))
    }

    fn on_welcome(&mut self, conn: ConnId, welcome: Welcome) {
        let Some(c) = self.links.get(conn) else { return };
        let (purpose, expects, remote) = (c.purpose, c.expects, c.remote);
        // What was answered to who we were in another view says nothing of where others are now: it may be older than ours.
        let timely = c.asked_in == self.view_id();
        self.heard(welcome.incarnation);
        self.suspicion.note_answered(remote);
        self.changes.apart.remove(&welcome.incarnation);
        if welcome.incarnation == self.incarnation {
            self.on_self_dialed(remote);
            return self.close(conn);
        }
        let another = expects.is_some_and(|expected| expected != welcome.incarnation);
        if let Some(expected) = expects {
            self.on_answered(conn, expected, another);
        }
        if let Some(theirs) = welcome.view.as_ref().filter(|_| timely) {
            if let Some(expelled) = self.expelled_by_us(welcome.incarnation, theirs) {
                self.links.push_before_open(conn, &expelled);
                return self.close(conn);
            }
            if !self.meet_view(welcome.incarnation, theirs, welcome.member) {
                return;
            }
            let ours = self.member_ref(welcome.incarnation).is_some();
            if ours && !welcome.member && self.is_foreign(theirs) {
                self.on_gone_over(welcome.incarnation);
            }
        }
        if another {
            return self.close(conn);
        }
        if purpose == Purpose::Probe {
            self.on_leader_answered(welcome.incarnation);
            return self.close(conn);
        }
        let peer = Peer { name: welcome.name, incarnation: welcome.incarnation, address: welcome.address };
        self.open(conn, peer);
        if purpose == Purpose::Join {
            self.on_seed_answered(remote, welcome.incarnation, welcome.view);
        }
    }

    fn open(&mut self, conn: ConnId, peer: Peer) {
        let incarnation = peer.incarnation;
        if let Some(loser) = self.links.open(conn, self.incarnation, peer) {
            self.close(loser);
        }
        if self.links.link(incarnation).is_some() {
            self.on_link_up(incarnation);
        }
    }

    fn on_refuse(&mut self, conn: ConnId, refuse: &Refuse) {
        let Some(remote) = self.links.get(conn).map(|c| c.remote) else { return };
        self.close(conn);
        self.on_refused(remote, refuse);
    }

    pub(super) fn on_closed(&mut self, conn: ConnId, cause: CloseCause) {
        self.forget_conn(conn, Some(cause));
        self.links.forget_closed(conn);
    }

    /// A connection has gone: `cause` is the system's word, or none when we closed it ourselves.
    pub(super) fn after_close(&mut self, id: ConnId, conn: &Conn, was_link: bool, cause: Option<CloseCause>) {
        if let (true, Some(cause)) = (conn.dialed && conn.peer().is_none(), cause) {
            self.on_dial_failed(id, conn, cause);
        }
        let Some(peer) = conn.peer().map(|p| p.incarnation) else { return };
        if was_link {
            self.changes.joiners.remove(&peer);
            self.on_starter_gone(peer);
            let expected = self.changes.leavers.contains(&peer);
            if cause.is_some() && !expected && self.detector.watched.contains_key(&peer) {
                self.begin_check(peer, "its connection was closed");
            }
        }
    }

    /// Asks over connections from which nothing comes, and gives up those that stay mute: the other host may have lost power
    /// or the path, and there may be another way. Heartbeats speak for members, not for connections.
    fn maintain_connections(&mut self) {
        let (now, silence, starts) = (self.now, self.setup.silence, self.fanout.is_none());
        let mute = |c: &Conn| c.peer().is_some() && (starts || c.unanswered) && now.since(c.received) >= silence / 2;
        let conns: Vec<(ConnId, bool, Time)> =
            self.links.iter().filter(|(_, c)| mute(c)).map(|(id, c)| (id, c.asked > c.received, c.asked)).collect();
        for (conn, asked, at) in conns {
            if !asked {
                self.links.send_control(conn, &Control::Ping(now.0));
                self.links.get_mut(conn).expect("just seen").asked = now;
            } else if now.since(at) >= silence {
                self.close(conn);
            }
        }
    }

    /// Somebody asks whether we are there. A starter that was connected with us before we had a view would wait with us for
    /// ever: without the connection it looks for us anew, and is told of the view.
    pub(super) fn on_ping(&mut self, from: Incarnation, n: u64) {
        let known = self.view().is_none_or(|(view, _)| view.index_of(from).is_some());
        if known || self.changes.joiners.contains_key(&from) {
            return self.send_to(from, Control::Pong(n));
        }
        if let Some(conn) = self.links.link(from) {
            self.close(conn);
        }
    }

    /// Dials the links that are missing and closes what is not needed.
    pub(super) fn maintain_links(&mut self) {
        self.maintain_connections();
        let overdue: Vec<ConnId> = self
            .links
            .iter()
            .filter(|(_, c)| c.peer().is_none() && self.now.since(c.since) > GREETING_TIMEOUT)
            .map(|(id, _)| id)
            .collect();
        for conn in overdue {
            self.output(Output::Close(conn));
            self.forget_conn(conn, Some(CloseCause::Failed));
        }
        let Some((view, me)) = self.view().map(|(v, me)| (v.clone(), me)) else { return };
        let peers = neighbours(&view, me);
        for peer in &peers {
            let member = &view.members[*peer];
            // One end dials: the junior one.
            let mine = *peer < me;
            let recently = self.suspicion.dialed_at(member.incarnation);
            let known = self.links.link(member.incarnation).or(self.links.dialing(member.incarnation));
            if mine && known.is_none() && self.now.since(recently) >= REDIAL {
                self.suspicion.note_dial(member.incarnation, self.now);
                self.dial(member.address, Purpose::Link, Some(member.incarnation));
            }
        }
        self.dial_partners();
        let needed = |i: Incarnation| {
            peers.iter().any(|p| view.members[*p].incarnation == i) || self.changes.joiners.contains_key(&i)
        };
        let idle = |c: &Conn| self.now.since(c.used.max(c.received)) > IDLE && c.is_idle();
        let unneeded: Vec<ConnId> = self
            .links
            .iter()
            .filter(|(_, c)| c.peer().is_some_and(|p| !needed(p.incarnation)) && idle(c))
            .map(|(id, _)| id)
            .collect();
        for conn in unneeded {
            self.close(conn);
        }
    }

    /// Whoever holds copies of our sessions has a connection of its own while something goes there (R14).
    fn dial_partners(&mut self) {
        let busy: Vec<Incarnation> = self.sessions.busy_partners().collect();
        for partner in busy {
            let known = self.links.link(partner).or(self.links.dialing(partner));
            let Some(address) = self.address_of(partner).filter(|_| known.is_none()) else { continue };
            if self.now.since(self.suspicion.dialed_at(partner)) >= REDIAL {
                self.suspicion.note_dial(partner, self.now);
                self.dial(address, Purpose::Link, Some(partner));
            }
        }
    }

    /// Sends a control frame to a member: over the link, through leaders, or over a connection dialled for it.
    pub(super) fn send_to(&mut self, to: Incarnation, control: Control) {
        self.send_encoded(to, &control, control.encode());
    }

    /// The same of a frame that many get and that was encoded for all of them.
    pub(super) fn send_encoded(&mut self, to: Incarnation, control: &Control, frame: Bytes) {
        if to == self.incarnation {
            return self.loopback.push_back(control.clone());
        }
        if let Some(conn) = self.links.link(to) {
            return self.links.send_encoded(conn, control, frame);
        }
        if let Some(conn) = self.via(to, false).and_then(|via| self.links.link(via)) {
            return self.links.send_control(conn, &Control::Routed(Routed { from: self.incarnation, to, frame }));
        }
        self.send_dialed(to, control);
    }

    /// Sends a control frame over a connection of our own, dialled if there is none: for what was not answered.
    pub(super) fn send_dialed(&mut self, to: Incarnation, control: &Control) {
        if to == self.incarnation {
            return self.loopback.push_back(control.clone());
        }
        let conn = match self.links.link(to).or_else(|| self.links.dialing(to)) {
            Some(conn) => conn,
            None => {
                let Some(address) = self.address_of(to) else { return };
                self.dial(address, Purpose::Link, Some(to))
            }
        };
        self.links.send_control(conn, control);
    }

    /// The next hop towards a member without a link: our leader, or its leader. What came from another leader goes only
    /// to its receiver, so that nothing travels in circles while views differ.
    pub(super) fn via(&self, to: Incarnation, from_leader: bool) -> Option<Incarnation> {
        let (view, me) = self.view()?;
        let index = view.index_of(to)?;
        let hop = if view.is_leader(me) { view.leader_of(index) } else { view.leader_of(me) };
        let hop = &view.members[hop].incarnation;
        let other = *hop != self.incarnation && *hop != to && !from_leader;
        let broken = self.believed_gone(*hop) || self.is_missed(*hop, to) || self.is_missed(to, *hop);
        (other && self.links.link(*hop).is_some() && !broken).then_some(*hop)
    }

    fn on_routed(&mut self, routed: Routed) -> Result<(), Malformed> {
        if routed.to == self.incarnation {
            let control = Control::decode(&routed.frame)?;
            if matches!(control, Control::Routed(_) | Control::Hello(_) | Control::Welcome(_)) {
                return Err(Malformed("a frame that is never passed on"));
            }
            self.on_control(routed.from, control);
            return Ok(());
        }
        let Some((view, me)) = self.view() else { return Ok(()) };
        let near = view.index_of(routed.from).is_some_and(|from| view.group_at(from) == view.group_at(me));
        let hop = self.links.link(routed.to).or_else(|| self.via(routed.to, !near).and_then(|v| self.links.link(v)));
        let leads = view.is_leader(me);
        match hop {
            Some(conn) if leads => self.links.send_control(conn, &Control::Routed(routed)),
            // Its leader is gone, perhaps: this is how the group is reached until the view says who leads it.
            None if leads && near => self.send_dialed(routed.to, &Control::Routed(routed)),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn address_of(&self, incarnation: Incarnation) -> Option<SocketAddr> {
        let in_view = || self.view().and_then(|(v, _)| Some(v.members[v.index_of(incarnation)?].address));
        let joiner = || self.changes.joiners.get(&incarnation).map(|j| j.address);
        let taking_part = || self.attempt.as_ref()?.participants.get(&incarnation).map(|p| p.address);
        in_view().or_else(joiner).or_else(taking_part)
    }

    /// The view in short, for greetings.
    pub(super) fn summary(&self) -> Option<ViewSummary> {
        let (view, _) = self.view()?;
        // Whom newcomers should ask: the first of those that live.
        let acting = self.acting().and_then(|i| view.index_of(i)).unwrap_or(view.coordinator());
        let coordinator = &view.members[acting];
        let leader = |g: &crate::types::Group| {
            let m = &view.members[g.leader()];
            (m.incarnation, m.address)
        };
        Some(ViewSummary {
            id: view.id,
            fenced: view.fenced,
            primary: self.is_primary(self.now),
            members: view.carriers() as u32,
            coordinator: coordinator.incarnation,
            address: coordinator.address,
            leaders: view.groups.iter().take(16).map(leader).collect(),
        })
    }

    fn on_inspect(&mut self, conn: ConnId) {
        let links = self.links(self.now).into_iter().map(|l| ReportLink {
            peer: l.peer,
            state: l.state.to_owned(),
            queued_bytes: l.queued_bytes,
            rtt_us: l.rtt_us,
            unstable_bytes: l.unstable_bytes,
        });
        let sessions = self.session_counts();
        let report = Report {
            name: self.setup.name.clone(),
            view: self.view().map(|(v, _)| v.id),
            fenced: self.view_fenced(),
            primary: self.is_primary(self.now),
            ready: self.view().is_some_and(|(v, me)| v.members[me].ready),
            members: self.view().map(|(v, _)| v.members.clone()).unwrap_or_default(),
            links: links.collect(),
            sessions_primary: sessions.primaries,
            sessions_secondary: sessions.secondaries,
            sessions_single: sessions.single,
            session_bytes: sessions.bytes,
        };
        self.links.send_control(conn, &Control::Report(report));
        self.close(conn);
    }

    /// Any byte from a member is a sign of life.
    pub(super) fn heard(&mut self, whom: Incarnation) {
        self.detector.heard(self.now, whom);
        self.believe_in(whom);
    }

    /// Who was heard is there; a member that we watch must hear us, too (V8).
    pub(super) fn believe_in(&mut self, whom: Incarnation) {
        if self.detector.unlinked_for(self.now, whom).is_none_or(|unlinked| unlinked < self.setup.silence) {
            self.suspicion.heard(self.incarnation, whom);
        }
    }

    /// When a connection to this member was last dialled.
    pub(super) fn last_dial(&self, whom: Incarnation) -> Time {
        self.suspicion.dialed_at(whom)
    }
}
