//! Finding a cluster, or forming one: seeds are dialled, whoever is in a view is joined, and starters that find nobody
//! form the first view together (R20).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::changes::Joiner;
use super::io::{Ended, Event, Output};
use super::links::Conn;
use super::mark::Mark;
use super::member::Member;
use super::quorum::{Quorum, Voter};
use super::setup::{Seed, Setup};
use crate::types::{ConnId, Incarnation, Micros, Name, Time, millis};
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

/// One address that may lead to the cluster.
#[derive(Clone, Hash, Debug)]
struct Contact {
    tried: Time,
    /// Whether there was any answer, or a failure, at all.
    settled: bool,
    myself: bool,
}

/// The way into one cluster.
#[derive(Clone, Hash, Debug)]
struct Entrance {
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
    since: Time,
    due: Time,
    contacts: BTreeMap<SocketAddr, Contact>,
    /// Starters that are connected with us and have no view either.
    starters: BTreeSet<Incarnation>,
    entrance: Option<Entrance>,
    /// The entrance that there was is gone.
    lost: bool,
    /// Who coordinated the view at which admission was asked for in vain: the next best other one goes first.
    vain: Option<Incarnation>,
    /// Names of seeds that have not been found yet.
    unresolved: BTreeSet<String>,
    last_refusal: Option<String>,
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
                None => no_answer(&self.setup.seeds),
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
        for seed in self.setup.seeds.clone() {
            match seed.host.parse::<IpAddr>() {
                Ok(ip) => self.on_seed_address(SocketAddr::new(ip, seed.port), seed.name),
                Err(_) => self.output(Output::Resolve { host: seed.host, port: seed.port }),
            }
        }
    }

    fn on_seed_address(&mut self, address: SocketAddr, name: Option<Name>) {
        if self.hints.len() < CONTACTS {
            self.hints.insert(address);
        }
        if let Some(listed) = name.as_ref().map(|name| self.listed.entry(name.clone()).or_default())
            && listed.len() < CONTACTS
        {
            listed.insert(address);
        }
        if let Some(seeking) = &mut self.seeking {
            seeking.add(address, self.setup.advertise);
        }
    }

    pub(super) fn on_resolved(&mut self, host: &str, addresses: &[SocketAddr]) {
        let seeds: Vec<Seed> = self.setup.seeds.iter().filter(|s| s.host == host).cloned().collect();
        for seed in seeds {
            for address in addresses.iter().take(64) {
                self.on_seed_address(SocketAddr::new(address.ip(), seed.port), seed.name.clone());
            }
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

    /// Forms the first view, if it is on us to do so: the smallest name among those that are entitled to.
    fn consider_forming(&mut self) {
        let Some(seeking) = &self.seeking else { return };
        if seeking.entrance.is_some()
            || self.attempt.is_some()
            || self.now < self.attempt_after
            || !self.may_form(&self.setup.name, self.setup.advertise)
        {
            return;
        }
        let starters: Vec<(Incarnation, Name, SocketAddr)> = seeking
            .starters
            .iter()
            .filter_map(|i| self.links.link_conn(*i)?.peer().map(|p| (*i, p.name.clone(), p.address)))
            .collect();
        let entitled = |(_, name, address): &&(Incarnation, Name, SocketAddr)| self.may_form(name, *address);
        if starters.iter().filter(entitled).any(|(_, name, _)| *name < self.setup.name) {
            self.marks.reach(Mark::FormingLeft);
            return;
        }
        let up = self.now.since(self.remembers_since);
        let quorum = self.rules.judge(|name| {
            let here = *name == self.setup.name && self.votes_from(name, self.setup.advertise);
            match (here, starters.iter().any(|(_, n, a)| n == name && self.votes_from(n, *a)), self.proven_dead(name)) {
                (true, ..) if self.acceptor.memory => Voter::Here,
                (true, ..) => Voter::Fresh(up),
                (_, true, _) => Voter::Fresh(up),
                (.., true) => Voter::ProvenDead,
                _ => Voter::Absent,
            }
        });
        let waited = self.now.since(seeking.since);
        let all_known = seeking.unresolved.is_empty() && seeking.contacts.values().all(|c| c.settled || c.myself);
        let lonely =
            self.setup.seeds.is_empty() && self.setup.multicast.is_none() && self.history.addresses().next().is_none();
        let long_enough = if self.rules.voters.is_empty() {
            lonely || (waited >= self.setup.form_wait && all_known) || waited >= self.setup.form_wait * 4
        } else {
            waited >= self.setup.form_wait + self.setup.lease + self.setup.lease / 4
        };
        match quorum {
            // Whoever may be alive is asked first, so that no cluster is formed beside a living one.
            Quorum::Fenced if all_known || waited >= self.setup.form_wait => {}
            Quorum::Unfenced if long_enough => {}
            _ => return,
        }
        for (incarnation, name, address) in starters {
            let joiner = Joiner { name, address, unheard: Vec::new() };
            self.changes.joiners.insert(incarnation, joiner);
        }
        self.begin_attempt();
    }

    /// Whether a starter may form a cluster: it is one of the addresses at which others look for it, or a voter. Who was
    /// removed knows its own for one of these, from its last view: so it comes up again when nobody else of that does.
    fn may_form(&self, name: &Name, address: SocketAddr) -> bool {
        let seeds = &self.setup.seeds;
        let named = seeds.iter().any(|s| s.name.as_ref() == Some(name));
        seeds.is_empty()
            || named
            || self.rules.is_voter(name)
            || self.hints.contains(&address)
            || (address == self.setup.advertise
                && self.seeking.as_ref().is_some_and(|s| s.contacts.values().any(|c| c.myself)))
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

fn no_answer(seeds: &[Seed]) -> String {
    let list: Vec<String> = seeds.iter().map(|s| format!("{}:{}", s.host, s.port)).collect();
    format!("none of the seeds answered with a view: {}", list.join(", "))
}
