//! Finding a cluster: seeds are dialled, and whoever is in a view is joined (R20).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::io::{Ended, Event, Output};
use super::links::Conn;
use super::mark::Mark;
use super::member::Member;
use super::setup::Setup;
use crate::types::{ConnId, Incarnation, Micros, Time, millis};
use crate::wire::control::{Control, Join, Purpose, RefusalCode, Refuse, ViewSummary};

/// How often seeds that did not answer are dialled again.
const REDIAL: Micros = millis(250);
/// How often names are looked up again, and how often while one has not been found.
const RESOLVE: Micros = millis(5_000);
const RESOLVE_MISSING: Micros = millis(1_000);
/// How long the leaders of a cluster have to answer before we ask for admission.
const LEADERS_ANSWER: Micros = millis(250);
/// When admission is asked for again: soon at first, since a request is lost with the view that it was made in, and twice as late each
/// time up to a bound; and how often before another way in is looked for.
const ASK_FIRST: Micros = millis(50);
const ASK: Micros = millis(400);
const ASKS: u32 = 10;
/// Step of a search that waits for answers.
const STEP: Micros = millis(50);
/// Addresses that are tried at one time, seeds and what others told us together.
const CONTACTS: usize = 1_024;
/// Addresses of one name that are tried, and those at which a voter must be proven dead.
const ADDRESSES: usize = 64;

/// One address that may lead to the cluster.
#[derive(Clone, Hash, Debug)]
pub(super) struct Contact {
    tried: Time,
    /// Whether there was any answer, or a failure, at all.
    pub(super) settled: bool,
    pub(super) myself: bool,
}

/// The way into one cluster.
#[derive(Clone, Hash, Debug)]
pub(super) struct Entrance {
    coordinator: Incarnation,
    address: SocketAddr,
    leaders: Vec<(Incarnation, SocketAddr)>,
    heard: BTreeSet<Incarnation>,
    found: Time,
    asked: Time,
    asks: u32,
}

/// A search for a view.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Seeking {
    pub(super) since: Time,
    due: Time,
    pub(super) contacts: BTreeMap<SocketAddr, Contact>,
    /// Starters that are connected with us and have no view either.
    pub(super) starters: BTreeSet<Incarnation>,
    pub(super) entrance: Option<Entrance>,
    /// The entrance that there was is gone.
    lost: bool,
    /// Who coordinated the view at which admission was asked for in vain: the next best other one goes first.
    vain: Option<Incarnation>,
    /// Names of seeds that have not been found yet.
    pub(super) unresolved: BTreeSet<String>,
    last_refusal: Option<String>,
    /// Since when forming a view is left to a starter of a smaller name.
    pub(super) left_at: Option<Time>,
    /// The host was told that it keeps us from asking for admission.
    told_put_off: bool,
}

impl Seeking {
    pub(crate) fn new(now: Time, setup: &Setup, at: Option<SocketAddr>) -> Seeking {
        let mut seeking = Seeking {
            since: now,
            due: now,
            contacts: BTreeMap::new(),
            starters: BTreeSet::new(),
            entrance: None,
            lost: false,
            vain: None,
            unresolved: setup.seeds.iter().map(|s| s.host.clone()).filter(|h| h.parse::<IpAddr>().is_err()).collect(),
            last_refusal: None,
            left_at: None,
            told_put_off: false,
        };
        if let Some(address) = at {
            seeking.add(address, setup.advertise);
        }
        seeking
    }

    fn add(&mut self, address: SocketAddr, me: SocketAddr) {
        if self.contacts.len() >= CONTACTS && !self.contacts.contains_key(&address) {
            return;
        }
        self.contacts.entry(address).or_insert(Contact { tried: Time::ZERO, settled: false, myself: address == me });
    }

    pub(crate) fn deadline(&self) -> Time {
        self.due
    }
}

impl Member {
    pub(super) fn tick_seeking(&mut self) {
        if self.seeking.as_ref().is_none_or(|s| self.now < s.due) {
            return;
        }
        self.look_up_names();
        let Some(seeking) = &mut self.seeking else { return };
        seeking.due = self.now + STEP;
        if self.setup.join_timeout > 0
            && self.now.since(seeking.since) >= self.setup.join_timeout
            && self.attempt.is_none()
        {
            let refusal = seeking.last_refusal.take();
            let why = match refusal {
                _ if self.budget.is_half_full() => self.host_is_behind(),
                Some(refusal) => refusal,
                None => self.no_answer(),
            };
            self.marks.reach(Mark::SearchTimedOut);
            return self.end(Ended::JoinTimeout(why));
        }
        if self.seeking.as_mut().is_some_and(|seeking| std::mem::take(&mut seeking.lost) && seeking.entrance.is_none())
        {
            self.greet_all_anew();
        }
        self.dial_seeds();
        if self.budget.is_half_full() {
            // Whoever comes with a host that is behind holds up everybody, and was removed for it, maybe, a moment ago. Nor does it
            // serve beside them meanwhile.
            self.marks.reach(Mark::AdmissionPutOff);
            return self.tell_put_off();
        }
        self.ask_for_admission();
        self.consider_forming();
    }

    /// Names are looked up again and again, also in a view: what is behind them changes, and a lookup may fail.
    pub(super) fn look_up_names(&mut self) {
        if self.now < self.resolve_at {
            return;
        }
        let missing = self.seeking.as_ref().is_some_and(|s| !s.unresolved.is_empty());
        self.resolve_at = self.now + if missing { RESOLVE_MISSING } else { RESOLVE };
        if let Some(seeking) = &mut self.seeking {
            for address in self.history.addresses() {
                seeking.add(address, self.setup.advertise);
            }
        }
        for (n, seed) in self.setup.seeds.clone().into_iter().enumerate() {
            match seed.host.parse::<IpAddr>() {
                Ok(ip) => self.on_seed_found(n, vec![SocketAddr::new(ip, seed.port)]),
                Err(_) => self.output(Output::Resolve { host: seed.host, port: seed.port }),
            }
        }
    }

    /// What a seed leads to now takes the place of what it led to before, but in the proof of a death: a voter may live on at
    /// an address from which its name has moved (R19).
    fn on_seed_found(&mut self, seed: usize, found: Vec<SocketAddr>) {
        if let Some(name) = &self.setup.seeds[seed].name {
            let listed = self.listed.entry(name.clone()).or_default();
            let known = |address: &&SocketAddr| !listed.contains(address);
            let new: Vec<SocketAddr> = found.iter().filter(known).copied().collect();
            listed.extend(new);
            listed.drain(..listed.len().saturating_sub(ADDRESSES));
        }
        let former = std::mem::replace(&mut self.seeds[seed], found);
        let Some(seeking) = &mut self.seeking else { return };
        for address in former.iter().filter(|address| !self.seeds.iter().any(|found| found.contains(address))) {
            seeking.contacts.remove(address);
        }
        for address in &self.seeds[seed] {
            seeking.add(*address, self.setup.advertise);
        }
    }

    pub(super) fn on_resolved(&mut self, host: &str, addresses: &[SocketAddr]) {
        let ports: Vec<u16> = self.setup.seeds.iter().map(|s| s.port).collect();
        let asked = |n: &usize| self.setup.seeds[*n].host == host && !addresses.is_empty();
        for n in (0..ports.len()).filter(asked).collect::<Vec<_>>() {
            let at = addresses.iter().take(ADDRESSES).map(|address| SocketAddr::new(address.ip(), ports[n]));
            self.on_seed_found(n, at.collect());
        }
        if let Some(seeking) = &mut self.seeking {
            if !addresses.is_empty() {
                seeking.unresolved.remove(host);
            }
            seeking.due = self.now;
        }
    }

    fn dial_seeds(&mut self) {
        let Some(seeking) = &mut self.seeking else { return };
        let now = self.now;
        let due = |c: &Contact| !c.myself && (c.tried == Time::ZERO || now.since(c.tried) >= REDIAL);
        if !seeking.contacts.values().any(due) {
            return;
        }
        let dialed = self.links.iter().filter(|(_, c)| c.dialed).map(|(_, c)| c.remote);
        let greeted = self.links.iter().filter_map(|(_, c)| Some(c.peer()?.address));
        let connected: BTreeSet<SocketAddr> = dialed.chain(greeted).collect();
        let wanted = seeking.contacts.iter_mut().filter(|(address, c)| due(c) && !connected.contains(*address));
        let wanted: Vec<SocketAddr> = wanted
            .map(|(address, contact)| {
                contact.tried = now;
                *address
            })
            .collect();
        for address in wanted {
            self.dial(address, Purpose::Join, None);
        }
    }

    /// We dialled our own address.
    pub(super) fn on_self_dialed(&mut self, address: SocketAddr) {
        self.hints.remove(&address);
        self.seeds.iter_mut().for_each(|found| found.retain(|at| *at != address));
        if let Some(contact) = self.seeking.as_mut().and_then(|s| s.contacts.get_mut(&address)) {
            contact.myself = true;
            contact.settled = true;
        }
    }

    pub(super) fn on_seed_failed(&mut self, address: SocketAddr) {
        let Some(contact) = self.seeking.as_mut().and_then(|s| s.contacts.get_mut(&address)) else { return };
        contact.settled = true;
        if self.seeking.as_ref().and_then(|s| s.entrance.as_ref()).is_some_and(|e| e.address == address) {
            self.on_entrance_lost();
        }
        self.look_again();
    }

    fn look_again(&mut self) {
        let now = self.now;
        if let Some(seeking) = &mut self.seeking {
            seeking.due = now;
        }
    }

    /// A seed answered: it is in a view, or it looks for one like us.
    pub(super) fn on_seed_answered(&mut self, address: SocketAddr, who: Incarnation, view: Option<ViewSummary>) {
        let now = self.now;
        let Some(seeking) = &mut self.seeking else { return };
        if let Some(contact) = seeking.contacts.get_mut(&address) {
            contact.settled = true;
        }
        let Some(view) = view else { return self.on_starter(who) };
        let Some(seeking) = &mut self.seeking else { return };
        let vain = seeking.vain == Some(view.coordinator);
        if vain {
            self.marks.reach(Mark::EntrancePassedOver);
            seeking.vain = None;
        }
        if seeking.entrance.is_none() && !vain {
            let mut heard = BTreeSet::new();
            heard.insert(who);
            let ViewSummary { mut coordinator, mut address, mut leaders, .. } = view;
            // Whoever is there at our address is a former life of ours: it answers nobody, and the view goes on without it.
            let ours = self.setup.advertise;
            leaders.retain(|(_, at)| *at != ours);
            if let (true, Some(peer)) = (address == ours, self.links.link_conn(who).and_then(Conn::peer)) {
                (coordinator, address) = (who, peer.address);
            }
            for (leader, address) in leaders.iter().filter(|(leader, _)| *leader != who) {
                let conn = self.links.dial(now, *address, Purpose::Probe, Some(*leader));
                self.output(Output::Dial { conn, to: *address });
            }
            let Some(seeking) = &mut self.seeking else { return };
            let (found, asked) = (now, Time::ZERO);
            seeking.entrance = Some(Entrance { coordinator, address, leaders, heard, found, asked, asks: 0 });
        }
        self.look_again();
    }

    /// A leader of the cluster that we want to join answered.
    pub(super) fn on_leader_answered(&mut self, who: Incarnation) {
        if let Some(entrance) = self.seeking.as_mut().and_then(|s| s.entrance.as_mut()) {
            entrance.heard.insert(who);
            self.look_again();
        }
    }

    /// The host must do something before we join a view: it is told so once.
    fn tell_put_off(&mut self) {
        let Some(seeking) = self.seeking.as_mut().filter(|s| !s.told_put_off) else { return };
        seeking.told_put_off = true;
        let text = format!("this process joins no view yet: {}", self.host_is_behind());
        self.event(Event::Note { level: 2, text });
    }

    fn host_is_behind(&self) -> String {
        let (waiting, bound) = (self.budget.outstanding, self.setup.receive_queue_bytes);
        format!(
            "its host has not taken {waiting} bytes of messages and answers, more than half of receive.queue_bytes ({bound}), \
             and would hold up everybody"
        )
    }

    fn no_answer(&self) -> String {
        let list: Vec<String> = self.setup.seeds.iter().map(|s| format!("{}:{}", s.host, s.port)).collect();
        let ours = self.setup.advertise;
        let text = format!("none of the seeds answered with a view: {}; this member is at {ours}", list.join(", "));
        let away = |seed: &SocketAddr| !seed.ip().to_canonical().is_loopback();
        if !ours.ip().is_loopback() || !self.seeds.iter().flatten().any(away) {
            return text;
        }
        format!("{text}, where no other machine reaches it: set node.bind to an address that the others reach")
    }

    /// Asks the coordinator for admission, once all leaders have answered or had the time to.
    fn ask_for_admission(&mut self) {
        let Some(entrance) = self.seeking.as_mut().and_then(|s| s.entrance.as_mut()) else { return };
        let all = entrance.leaders.iter().all(|(leader, _)| entrance.heard.contains(leader));
        let ripe = all || self.now.since(entrance.found) >= LEADERS_ANSWER;
        let wait = (ASK_FIRST << entrance.asks.saturating_sub(1)).min(ASK);
        if !ripe || (entrance.asks > 0 && self.now.since(entrance.asked) < wait) {
            return;
        }
        if entrance.asks >= ASKS {
            return self.look_elsewhere();
        }
        entrance.asked = self.now;
        self.marks.reach(Mark::AdmissionAsked);
        entrance.asks += 1;
        let (coordinator, address) = (entrance.coordinator, entrance.address);
        let join = Control::Join(Join {
            name: self.setup.name.clone(),
            incarnation: self.incarnation,
            address: self.setup.advertise,
            unheard: entrance.leaders.iter().map(|(i, _)| *i).filter(|i| !entrance.heard.contains(i)).collect(),
        });
        let conn = self.links.link(coordinator).or_else(|| self.links.dialing(coordinator));
        let conn = conn.unwrap_or_else(|| self.dial(address, Purpose::Join, Some(coordinator)));
        self.links.send_control(conn, &join);
    }

    /// Asked in vain: that view may be one that nothing can follow. All who are in a view are greeted anew, and any other view that
    /// one of them names is preferred once.
    fn look_elsewhere(&mut self) {
        let Some(seeking) = &mut self.seeking else { return };
        self.marks.reach(Mark::EntranceVain);
        seeking.vain = seeking.entrance.take().map(|entrance| entrance.coordinator);
        self.greet_all_anew();
    }

    fn greet_all_anew(&mut self) {
        let Some(seeking) = &self.seeking else { return };
        let starters = &seeking.starters;
        let known = self.links.iter().filter(|(_, c)| c.peer().is_some_and(|p| !starters.contains(&p.incarnation)));
        for conn in known.map(|(id, _)| id).collect::<Vec<ConnId>>() {
            self.close(conn);
        }
    }

    /// Refused for now: whoever coordinates is greeted anew, and says what the cluster is like now.
    fn greet_anew(&mut self) {
        if let Some(entrance) = self.seeking.as_mut().and_then(|s| s.entrance.take()) {
            self.on_starter_in_view(entrance.coordinator);
        }
    }

    /// Another starter is connected with us.
    pub(super) fn on_starter(&mut self, who: Incarnation) {
        if let Some(seeking) = &mut self.seeking {
            seeking.starters.insert(who);
            seeking.due = self.now;
        }
    }

    pub(super) fn on_starter_gone(&mut self, who: Incarnation) {
        if let Some(seeking) = &mut self.seeking {
            seeking.starters.remove(&who);
            if seeking.entrance.as_ref().is_some_and(|e| e.coordinator == who) {
                self.on_entrance_lost();
            }
        }
    }

    /// Who was asked for admission is gone: the others are greeted anew in the next turn of the search, and say who coordinates now.
    fn on_entrance_lost(&mut self) {
        if let Some(seeking) = &mut self.seeking {
            self.marks.reach(Mark::EntranceLost);
            (seeking.entrance, seeking.lost) = (None, true);
            seeking.due = self.now;
        }
    }

    /// Somebody who is in a view looked for us: the cluster may have no member left at the addresses that we know.
    pub(super) fn on_view_heard(&mut self, address: SocketAddr) {
        if let Some(seeking) = &mut self.seeking {
            self.marks.reach(Mark::ViewHeard);
            seeking.add(address, self.setup.advertise);
            self.look_again();
        }
    }

    /// A starter that we are connected with has got into a view: the connection is made anew, and its answer says which.
    pub(super) fn on_starter_in_view(&mut self, who: Incarnation) {
        let Some(conn) = self.links.link(who) else { return };
        self.marks.reach(Mark::StarterInView);
        let address = self.links.get(conn).and_then(|c| c.peer()).map(|p| p.address);
        self.close(conn);
        if let (Some(seeking), Some(address)) = (&mut self.seeking, address) {
            seeking.add(address, self.setup.advertise);
        }
    }

    /// A seed refused us, with its reason.
    pub(super) fn on_refused(&mut self, remote: SocketAddr, refuse: &Refuse) {
        let text = format!("refused by {remote}: {}", refuse.text);
        let Some(seeking) = &mut self.seeking else { return };
        let new = seeking.last_refusal.as_ref() != Some(&text);
        seeking.last_refusal = Some(text.clone());
        // The holder of a name may be dying: what still lives after this time stays.
        let tried = self.now.since(seeking.since);
        let taken = refuse.code == RefusalCode::NameTaken && tried >= self.setup.silence * 3;
        if refuse.code.is_final() || taken {
            self.marks.reach(Mark::RefusedForGood);
            return self.end(Ended::Refused(text));
        }
        self.marks.reach(Mark::RefusedForNow);
        self.greet_anew();
        if new {
            self.event(Event::Note { level: 2, text });
        }
    }

    /// The same, from somebody whom we are connected with.
    pub(super) fn on_refused_by_member(&mut self, refuse: &Refuse) {
        let at = self.seeking.as_ref().and_then(|s| s.entrance.as_ref()).map(|e| e.address);
        if let Some(at) = at {
            self.on_refused(at, refuse);
        }
    }

    pub(super) fn on_host_ready(&mut self) {
        self.host_ready = true;
        self.tell_ready();
    }

    /// Tells the coordinator that our host is ready, until a view says so (R24).
    pub(super) fn tell_ready(&mut self) {
        let unready = self.view().is_some_and(|(view, me)| !view.members[me].ready);
        if let (true, true, Some(acting)) = (unready, self.host_ready, self.acting()) {
            let me = self.incarnation;
            self.send_to(acting, Control::Ready(me));
        }
    }
}
