//! From settings to what an engine is opened with: the checks that span several keys, and the values that follow from
//! other ones.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::{Config, Origin, value};
use crate::api::Resolved;
use crate::core::{Asynchronous, MinorityPolicy, ReadyPolicy, Seed, SessionRules, Setup};
use crate::types::{Code, Error, Incarnation, Name, Result, Tags, limits, millis, mix};

impl Config {
    /// Checks the settings together and works out what follows from them. `Code::Config` names the keys that do not
    /// go together; `Code::Unsupported` names a choice that is not built yet. The time is bounded: no name is looked up.
    pub fn resolve(&self) -> Result<Resolved> {
        self.refuse_what_is_not_built()?;
        let bind: SocketAddr = self.parsed("node.bind");
        let advertise = self.advertise(bind)?;
        self.say_out_loud("node.bind", bind)?;
        self.say_out_loud("node.advertise", advertise)?;
        let mut setup = self.setup(advertise)?;
        let group = self.multicast(&mut setup, bind)?;
        setup.agreed_settings = self.agreed(&setup);
        let mut resolved = Resolved::new(setup, bind);
        resolved.group = group;
        resolved.socket_buffer_bytes = self.parsed("socket.buffer_bytes");
        resolved.unsent_bytes = self.parsed("socket.unsent_bytes");
        resolved.max_connections = self.parsed("net.max_connections");
        resolved.held_bytes = self.parsed("memory.held_bytes");
        Ok(resolved)
    }

    fn setup(&self, advertise: SocketAddr) -> Result<Setup> {
        // The engine draws the incarnation when it opens, and completes an empty name then.
        let name = self.text("node.name");
        let mut setup = Setup::new(&self.text("cluster.name"), &name, Incarnation::NONE, advertise);
        setup.seeds = self.seeds();
        setup.seeds_only = self.text("cluster.mode") == "static";
        setup.voters = self.voters(&setup.seeds);
        self.check_members(&setup)?;
        self.check_reach(&setup)?;
        setup.minority = match self.text("cluster.minority").as_str() {
            "serve" => MinorityPolicy::Serve,
            _ => MinorityPolicy::ReadOnly,
        };
        setup.two_members_serve = self.text("cluster.two_members") == "serve";
        setup.refusal_proves_death = self.parsed("cluster.refusal_proves_death");
        setup.ready = match self.text("join.ready").as_str() {
            "host" => ReadyPolicy::Host,
            _ => ReadyPolicy::OnAdmission,
        };
        setup.tags = Tags::parse(&self.text("node.tags")).expect("checked when it was set");
        setup.witness = self.parsed("node.witness");
        self.check_witness(&setup)?;
        setup.group_size = self.parsed("group.size");
        setup.join_timeout = millis(self.parsed("join.timeout_ms"));
        setup.form_wait = millis(self.parsed("form.wait_ms"));
        setup.leave_timeout = millis(self.parsed("leave.timeout_ms"));
        self.times(&mut setup)?;
        self.bounds(&mut setup)?;
        setup.stable_events = self.parsed("events.stable");
        Ok(setup)
    }

    fn times(&self, setup: &mut Setup) -> Result<()> {
        let heartbeat: u64 = self.parsed("detector.heartbeat_ms");
        let silence: u64 = self.parsed("detector.silence_ms");
        if silence < 2 * heartbeat {
            return Err(self.conflict(
                &["detector.silence_ms", "detector.heartbeat_ms"],
                "one lost heartbeat would be silence: allowed is a silence of at least twice the heartbeat",
            ));
        }
        let lease = match self.text("detector.lease_ms").parse() {
            Ok(lease) => lease,
            Err(_) => silence * 4 / 5,
        };
        if lease > silence {
            return Err(self.conflict(
                &["detector.lease_ms", "detector.silence_ms"],
                "a lease may not outlive the shortest removal: allowed is at most the silence",
            ));
        }
        setup.heartbeat = millis(heartbeat);
        setup.silence = millis(silence);
        setup.lease = millis(lease);
        setup.slow = millis(self.parsed("window.slow_ms"));
        Ok(())
    }

    fn bounds(&self, setup: &mut Setup) -> Result<()> {
        setup.window_bytes = self.parsed("window.bytes");
        setup.window_reserved_bytes = self.parsed("window.reserved_bytes");
        if setup.window_reserved_bytes > setup.window_bytes {
            return Err(self.conflict(
                &["window.reserved_bytes", "window.bytes"],
                "the reserved part is larger than the window: allowed is at most the window",
            ));
        }
        setup.direct_window_bytes = self.parsed("window.direct_bytes");
        setup.send_queue_bytes = self.parsed("send.queue_bytes");
        setup.receive_queue_bytes = self.parsed("receive.queue_bytes");
        setup.message_bytes = self.parsed("message.max_bytes");
        setup.large.room_bytes = self.parsed("message.large_bytes");
        if setup.large.room_bytes < setup.message_bytes {
            return Err(self.conflict(
                &["message.large_bytes", "message.max_bytes"],
                "the longest message would never find room: allowed is at least its length",
            ));
        }
        let asynchronous = (self.text("session.mode") == "asynchronous").then(|| Asynchronous {
            window_bytes: self.parsed("session.window_bytes"),
            window: millis(self.parsed("session.window_ms")),
            batch_bytes: self.parsed("session.batch_bytes"),
            batch: millis(self.parsed("session.batch_ms")),
        });
        setup.sessions = SessionRules {
            partners: self.parsed("session.partners"),
            session_bytes: self.parsed("session.max_bytes"),
            memory_bytes: self.parsed("session.memory_bytes"),
            timeout: millis(self.parsed("session.timeout_ms")),
            restore_bytes_per_s: self.parsed("session.restore_bytes_per_s"),
            preferred_group: self.strongest("session.preferred_group").map(|setting| setting.text.clone()),
            asynchronous,
        };
        Ok(())
    }

    fn seeds(&self) -> Vec<Seed> {
        value::list(&self.text("cluster.seeds")).map(|s| value::seed(s).expect("checked when it was set")).collect()
    }

    /// What was said, even if it is "nobody"; otherwise the named seeds, where there are enough to mean it.
    fn voters(&self, seeds: &[Seed]) -> Vec<Name> {
        let mut names: Vec<Name> = match self.strongest("cluster.voters") {
            Some(said) => value::list(&said.text).map(Name::new).collect(),
            None => {
                let named: Vec<Name> = seeds.iter().filter_map(|s| s.name.clone()).collect();
                let enough = self.text("cluster.mode") == "static" || named.len() >= 3;
                if enough { named } else { Vec::new() }
            }
        };
        names.sort();
        names.dedup();
        names
    }

    fn check_members(&self, setup: &Setup) -> Result<()> {
        let mut names: Vec<&Name> = setup.seeds.iter().filter_map(|s| s.name.as_ref()).collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|w| w[0] == w[1]) {
            return Err(self.conflict(&["cluster.seeds"], &format!("the name '{}' is there twice", twice[0])));
        }
        if !setup.seeds_only {
            return Ok(());
        }
        let listed = |name: &Name| names.binary_search(&name).is_ok();
        if names.len() != setup.seeds.len() || names.is_empty() {
            let why = "a static cluster is a list of names: write every seed as name@host:port";
            return Err(self.conflict(&["cluster.mode", "cluster.seeds"], why));
        }
        if !listed(&setup.name) {
            let why = "a member of a static cluster must be on the list: give it one of the listed names";
            return Err(self.conflict(&["node.name", "cluster.seeds"], why));
        }
        match setup.voters.iter().find(|voter| !listed(voter)) {
            Some(voter) => {
                let why = format!("'{voter}' may not be a member of this static cluster, so it cannot vote");
                Err(self.conflict(&["cluster.voters", "cluster.seeds"], &why))
            }
            None => Ok(()),
        }
    }

    /// At a loopback address every other machine would reach itself.
    fn check_reach(&self, setup: &Setup) -> Result<()> {
        let away = |seed: &&Seed| {
            let ip = seed.host.parse::<IpAddr>().map(|ip| ip.to_canonical());
            ip.is_ok_and(|ip| !ip.is_loopback() && !ip.is_unspecified())
        };
        let Some(away) = setup.seeds.iter().find(away).filter(|_| setup.advertise.ip().is_loopback()) else {
            return Ok(());
        };
        let key = if self.strongest("node.advertise").is_some() { "node.advertise" } else { "node.bind" };
        let why = format!(
            "no other machine reaches this member at a loopback address, and the seed {} is no loopback address: set {key} to an              address of this machine that the other members reach",
            away.host
        );
        Err(self.conflict(&[key, "cluster.seeds"], &why))
    }

    /// All that a witness does is vote, and it does so under its name.
    fn check_witness(&self, setup: &Setup) -> Result<()> {
        if !setup.witness || setup.voters.contains(&setup.name) {
            return Ok(());
        }
        let why = match setup.name.as_str() {
            "" => "a witness votes under its name: give it one, and list it in cluster.voters",
            _ => "a witness does nothing but vote: list its name in cluster.voters",
        };
        Err(self.conflict(&["node.witness", "node.name", "cluster.voters"], why))
    }

    fn refuse_what_is_not_built(&self) -> Result<()> {
        let security = self.text("security");
        if matches!(security.as_str(), "key" | "tls") {
            let text = format!(
                "security = '{security}' is not built in this version; what is there: security = 'none', on loopback \
                 addresses or where everybody who reaches the port is trusted"
            );
            return Err(Error::new(Code::Unsupported, text));
        }
        if self.text("cluster.minority") == "stop" {
            let text = "cluster.minority = 'stop' is not built in this version; what is there: 'read-only', 'serve'";
            return Err(Error::new(Code::Unsupported, text));
        }
        Ok(())
    }

    /// A wildcard cannot be dialled, so it stands for the machine's only address of its family.
    fn advertise(&self, bind: SocketAddr) -> Result<SocketAddr> {
        let said: Option<SocketAddr> = self.text("node.advertise").parse().ok();
        if let Some(said) = said {
            if said.ip().is_unspecified() {
                let why = "nobody can dial a wildcard: write the address that the other members use";
                return Err(self.conflict(&["node.advertise"], why));
            }
            let port = if said.port() == 0 { bind.port() } else { said.port() };
            return Ok(SocketAddr::new(said.ip(), port));
        }
        if !bind.ip().is_unspecified() {
            return Ok(bind);
        }
        let own = own_addresses(bind.is_ipv6())?;
        match own.as_slice() {
            [only] => Ok(SocketAddr::new(*only, bind.port())),
            _ => {
                let list: Vec<String> = own.iter().map(IpAddr::to_string).collect();
                let found = if list.is_empty() { "none".to_owned() } else { list.join(", ") };
                let why =
                    format!("this machine's addresses that fit it: {found}; set node.advertise to the one to use");
                Err(self.conflict(&["node.bind"], &why))
            }
        }
    }

    /// Until something authenticates and encrypts, an address that others can reach has to be meant.
    pub(super) fn say_out_loud(&self, key: &str, address: SocketAddr) -> Result<()> {
        if address.ip().is_loopback() {
            return Ok(());
        }
        if self.strongest("security").is_none() {
            let text = format!(
                "{key} = '{address}' is not a loopback address, and nothing on the cluster port is authenticated or \
                 encrypted in this version: set security = 'none' if everybody who reaches that port is trusted, or \
                 use a loopback address such as 127.0.0.1:{}",
                address.port()
            );
            return Err(Error::new(Code::Config, text));
        }
        if key == "node.bind" {
            log::warn!(target: "decurion", "security = 'none': whoever reaches {address} can join the cluster and read everything");
        }
        Ok(())
    }

    fn agreed(&self, setup: &Setup) -> Vec<(String, String)> {
        let value_of = |key: &str| match key {
            "cluster.voters" => setup.voters.iter().map(Name::as_str).collect::<Vec<_>>().join(","),
            "detector.lease_ms" => (setup.lease / 1_000).to_string(),
            "security" => "none".to_owned(),
            "multicast.group" if setup.multicast.is_none() => String::new(),
            _ => self.text(key),
        };
        let agreed = super::KEYS.iter().filter(|k| k.agreed);
        agreed.map(|k| (k.name.to_owned(), comparable(value_of(k.name)))).collect()
    }

    pub(super) fn text(&self, key: &str) -> String {
        self.effective(super::keys::find(key).expect("a key of the table")).value
    }

    pub(super) fn parsed<T: FromStr>(&self, key: &str) -> T {
        let text = self.text(key);
        text.parse().unwrap_or_else(|_| unreachable!("{key} = '{text}' was checked when it was set"))
    }

    pub(super) fn conflict(&self, keys: &[&str], why: &str) -> Error {
        let said = |name: &&str| {
            let in_force = self.effective(super::keys::find(name).expect("a key of the table"));
            match in_force.origin {
                Origin::Set => format!("{name} = '{}'", in_force.value),
                origin => format!("{name} = '{}' ({origin})", in_force.value),
            }
        };
        let said: Vec<String> = keys.iter().map(said).collect();
        Error::new(Code::Config, format!("{}: {why}", said.join(" with ")))
    }
}

/// A value as greetings carry it. One that is too long for them is a list, of which its length and a sum over it are compared.
fn comparable(value: String) -> String {
    if value.len() <= limits::SETTING_BYTES {
        return value;
    }
    let sum = value.bytes().fold(0, |sum, byte| mix(sum, u64::from(byte)));
    format!("a list of {} with the sum {sum:016x}", value.split(',').count())
}

fn own_addresses(v6: bool) -> Result<Vec<IpAddr>> {
    let all = if_addrs::get_if_addrs().map_err(|error| {
        let text = format!("cannot list this machine's addresses: {error}; set node.advertise to the one to use");
        Error::new(Code::System, text)
    })?;
    let usable = |ip: &IpAddr| {
        let link_local = matches!(ip, IpAddr::V6(ip) if ip.segments()[0] & 0xffc0 == 0xfe80);
        ip.is_ipv6() == v6 && !ip.is_loopback() && !link_local
    };
    let mut own: Vec<IpAddr> = all.iter().map(if_addrs::Interface::ip).filter(usable).collect();
    own.sort();
    own.dedup();
    Ok(own)
}
