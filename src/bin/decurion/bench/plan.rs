//! What a run of the bench will do, worked out and checked before anything starts.

use std::time::Duration;

use serde_json::{Value, json};

use decurion::types::limits;

use super::pace::{BURST_SLICES, Pace};
use super::payload::HEADER_BYTES;
use super::protocol::{Mode, Tuning};
use crate::arguments::{BenchArguments, Network, Transport, Workload};
use crate::output::{Exit, Failure};
use crate::unbuilt;

/// What was the fastest, and took the least time, of ten settings: docs/BENCH.md has the comparison.
const TUNING: Tuning = Tuning {
    socket_bytes: 128 * 1_024,
    read_bytes: 128 * 1_024,
    queue_bytes: 512 * 1_024,
    window_bytes: 2 * 1_024 * 1_024,
};
/// How long a cluster may take to form, to notice a death, or to deliver what is under way.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Most anonymous memory of a member at rest, as the design has it.
pub const IDLE_BYTES: u64 = 8_000_000;
/// How long each process sends before anything is measured.
pub const WARM_UP_MS: u64 = 300;
/// Of all sessions, unless it is said; and what one may take beside its content.
const SESSION_MEMORY_BYTES: usize = 512 << 20;
const SESSION_EXTRA_BYTES: usize = 512;
/// How many are changed in turn, and how many of them a member is lost of, where nobody says otherwise.
const SESSIONS: usize = 64;
const MANY_SESSIONS: usize = 1_000_000;
/// So many are made at least.
const SESSIONS_PER_MS: u64 = 10;

/// The plan of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is measured.
    pub workload: Workload,
    /// How many member processes.
    pub members: usize,
    /// How many groups they make.
    pub groups: usize,
    /// Bound of a group.
    pub group_size: usize,
    /// Length of a message.
    pub bytes: usize,
    /// Whether a sender hands in one message a call, also where it sends as fast as it can.
    pub one_by_one: bool,
    /// How long each measurement lasts.
    pub ms: u64,
    /// How many interleaved pairs.
    pub pairs: usize,
    /// Changes of sessions under way.
    pub window: usize,
    /// Sessions that are changed in turn.
    pub sessions: usize,
    /// As many as there should be, if there were memory enough.
    pub sessions_asked: usize,
    /// How the members are hosted.
    pub mode: Mode,
    /// Whether the sender leads, so that nobody relays.
    pub direct: bool,
    /// Length of the messages that another member sends as fast as it can, beside those that are measured.
    pub beside: Option<usize>,
    /// The part of a processor that the first leader has, where it has less than there is.
    pub leader_cpu: Option<f64>,
    /// Most anonymous memory of a member under any load, by the bounds of its queues.
    pub memory_cap: u64,
    /// How long a slow one is borne.
    pub slow_ms: u64,
    /// Messages of a burst, where latency is that of bursts.
    pub burst: Option<usize>,
    /// What happens in a failover; nothing named: everything.
    pub faults: Vec<String>,
    /// How messages to everybody travel.
    pub transport: Transport,
    /// Which networks the processes are in.
    pub network: Network,
    /// Most megabits that each process's device sends in a second.
    pub rate_mbit: Option<usize>,
    /// Most bytes of a datagram to the group, ours and raw.
    pub datagram_bytes: usize,
    /// Further settings of each member.
    pub settings: Vec<(String, String)>,
    /// How the raw processes are tuned.
    pub tuning: Tuning,
    /// Whether a missed target is a failure.
    pub check: bool,
}

impl Plan {
    /// Checks the flags.
    pub fn new(arguments: &BenchArguments) -> Result<Plan, Failure> {
        if arguments.security != "none" {
            return Err(unbuilt::security(&arguments.security));
        }
        let workload = arguments.workload;
        let ((members, bytes), (seconds, pairs)) = defaults(workload);
        let members = arguments.members.unwrap_or(members);
        let groups = arguments.groups;
        let group_size = members.div_ceil(groups);
        let usage = |text: String| Err(Failure::new(Exit::Usage, text));
        if groups > members || members.div_ceil(group_size) != groups {
            return usage(format!("--members {members} --groups {groups}: so many members do not fill so many groups"));
        }
        let fewest = fewest(workload);
        if members < fewest {
            return usage(format!("--members {members}: {} takes {fewest} or more", workload.name()));
        }
        let bytes = arguments.bytes.unwrap_or(bytes);
        if bytes < HEADER_BYTES {
            return usage(format!("--bytes {bytes}: {HEADER_BYTES} or more, for the number and the time of a message"));
        }
        if arguments.beside.is_some() && workload != Workload::Latency {
            return usage(format!("--beside: {} has nothing beside it, only latency has", workload.name()));
        }
        if let Some(why) = no_burst(arguments).or_else(|| no_leader_cpu(arguments)).or_else(|| no_rate(arguments)) {
            return usage(why);
        }
        let mut settings = transport_settings(arguments.transport, arguments.network);
        let longest = bytes.max(arguments.beside.unwrap_or(0));
        if longest > limits::UNASKED_BYTES {
            settings.push(("message.max_bytes".to_owned(), longest.to_string()));
        }
        let (sessions, sessions_asked) = sessions(arguments, bytes);
        let held = sessions * (bytes + SESSION_EXTRA_BYTES);
        if matches!(workload, Workload::Sessions | Workload::Restore) && held > SESSION_MEMORY_BYTES {
            settings.push(("session.memory_bytes".to_owned(), held.to_string()));
        }
        let mut config = decurion::Config::new();
        for (key, value) in &settings {
            config.set(key, value)?;
        }
        for word in &arguments.set {
            let Some((key, value)) = word.split_once('=') else {
                return usage(format!("--set {word}: it must be key=value"));
            };
            config.set(key, value)?;
            settings.retain(|(named, _)| named != key);
            settings.push((key.to_owned(), value.to_owned()));
        }
        Ok(Plan {
            workload,
            members,
            groups,
            group_size,
            bytes,
            one_by_one: arguments.one_by_one,
            ms: (arguments.seconds.unwrap_or(seconds) * 1_000.0) as u64,
            pairs: arguments.pairs.unwrap_or(pairs),
            window: arguments.window,
            sessions,
            sessions_asked,
            // Who takes slowly has a thread for that: the engine's must not wait.
            mode: if workload == Workload::Slow { Mode::Poll } else { arguments.mode.into() },
            beside: arguments.beside,
            leader_cpu: arguments.leader_cpu,
            memory_cap: memory_cap(&config)?,
            slow_ms: value(&config, "window.slow_ms")?,
            burst: arguments.burst,
            direct: arguments.direct || workload == Workload::Fanout,
            faults: arguments.faults.clone(),
            transport: arguments.transport,
            network: arguments.network,
            rate_mbit: arguments.rate_mbit,
            datagram_bytes: value(&config, "multicast.datagram_bytes")? as usize,
            settings,
            tuning: tuning(arguments),
            check: arguments.check,
        })
    }

    /// Whether messages of several senders come over one link.
    pub fn mixed(&self) -> bool {
        self.workload == Workload::AllToAll
    }

    /// When a sender sends; `None`: as fast as it can.
    pub fn pace(&self) -> Option<Pace> {
        let paced = self.workload == Workload::Latency;
        paced.then(|| self.burst.map_or_else(Pace::steady, Pace::bursts))
    }

    /// What raw processes send by: a blast of datagrams stands beside our fan-out by multicast, links beside all else.
    pub fn raw_transport(&self) -> Transport {
        if self.workload == Workload::Fanout { self.transport } else { Transport::Tcp }
    }

    /// How long the whole run may take.
    pub fn bound(&self) -> Duration {
        let making = Duration::from_millis(self.sessions as u64 / SESSIONS_PER_MS);
        let bearing = Duration::from_millis(if self.workload == Workload::Slow { self.slow_ms } else { 0 });
        let each = Duration::from_millis(WARM_UP_MS + self.ms) + PATIENCE + making + bearing;
        // Each pair starts processes twice, and a failover four times as often.
        each * (4 * self.pairs.max(1)) as u32
    }

    /// What of it stands in the summary.
    pub fn config(&self) -> Value {
        let settings: serde_json::Map<String, Value> =
            self.settings.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        json!({
            "workload": self.workload.name(), "members": self.members, "groups": self.groups, "bytes": self.bytes,
            "seconds": self.ms as f64 / 1_000.0, "pairs": self.pairs, "window": self.window, "sessions": self.sessions, "mode": self.mode,
            "one_by_one": self.one_by_one, "direct": self.direct, "beside_bytes": self.beside, "burst": self.burst, "leader_cpu": self.leader_cpu,
            "transport": self.transport.name(), "network": self.network.name(), "rate_mbit": self.rate_mbit,
            "raw_transport": self.raw_transport().name(),
            "security": "none", "settings": settings, "raw": self.tuning,
            "optimised": !cfg!(debug_assertions),
        })
    }
}

/// Why there is no rate, if there is none.
fn no_rate(arguments: &BenchArguments) -> Option<String> {
    let asked = arguments.rate_mbit.is_some() && arguments.network != Network::Veth;
    asked.then(|| "--rate-mbit: the loopback device has no rate, --network veth makes devices that have one".to_owned())
}

/// What a transport and a network need, the group beside: each cluster has its own. Datagrams are as long as the device passes whole; our
/// members find that themselves, the raw processes are told.
fn transport_settings(transport: Transport, network: Network) -> Vec<(String, String)> {
    let longest = if network == Network::Veth { "1472" } else { "61504" };
    let multicast: &[(&str, &str)] = match transport {
        Transport::Tcp => &[],
        Transport::Multicast => &[("multicast.use", "messages"), ("multicast.datagram_bytes", longest)],
    };
    let foreign: &[(&str, &str)] = if network == Network::Veth { &[("security", "none")] } else { &[] };
    multicast.iter().chain(foreign).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// How many sessions there are, and how many were asked for: where memory is short, they take three quarters of what is left.
fn sessions(arguments: &BenchArguments, bytes: usize) -> (usize, usize) {
    if arguments.workload != Workload::Restore {
        let sessions = arguments.sessions.unwrap_or(SESSIONS);
        return (sessions, sessions);
    }
    let asked = arguments.sessions.unwrap_or(MANY_SESSIONS);
    let left = available_bytes().unwrap_or(usize::MAX);
    (asked.min(left / 4 * 3 / (2 * (bytes + SESSION_EXTRA_BYTES))).max(arguments.members.unwrap_or(1)), asked)
}

fn available_bytes() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().trim_end_matches(" kB").parse::<usize>().ok().map(|kib| kib * 1_024)
}

/// Why these bursts cannot be.
fn no_burst(arguments: &BenchArguments) -> Option<String> {
    let burst = arguments.burst?;
    if arguments.workload != Workload::Latency {
        return Some(format!("--burst: {} has no bursts, only latency has", arguments.workload.name()));
    }
    (!(burst as u64).is_multiple_of(BURST_SLICES))
        .then(|| format!("--burst {burst}: it comes in {BURST_SLICES} equal parts, so a multiple of {BURST_SLICES}"))
}

/// Why no leader can be held to its share of a processor.
fn no_leader_cpu(arguments: &BenchArguments) -> Option<String> {
    let streams = [Workload::Relay, Workload::Fanout, Workload::AllToAll, Workload::Latency];
    (arguments.leader_cpu.is_some() && !streams.contains(&arguments.workload)).then(|| {
        format!("--leader-cpu: not with {}, only where messages are sent to everybody", arguments.workload.name())
    })
}

/// What is under way, what waits to be sent and what waits for the host, beside a member that does nothing.
fn memory_cap(config: &decurion::Config) -> Result<u64, Failure> {
    let mut cap = IDLE_BYTES;
    for key in ["window.bytes", "send.queue_bytes", "receive.queue_bytes"] {
        cap += value(config, key)?;
    }
    Ok(cap)
}

fn value(config: &decurion::Config, key: &str) -> Result<u64, Failure> {
    let value = config.get(key)?;
    value.parse().map_err(|_| Failure::new(Exit::Usage, format!("{key} = {value}: not a number")))
}

/// Members and bytes, seconds and pairs, where nobody says otherwise.
fn defaults(workload: Workload) -> ((usize, usize), (f64, usize)) {
    match workload {
        Workload::Fanout | Workload::Relay | Workload::AllToAll => ((10, 64), (3.0, 9)),
        Workload::Latency => ((10, 64), (10.0, 5)),
        // An owner and the holder of the second copies.
        Workload::Sessions => ((2, 2_048), (3.0, 9)),
        Workload::Failover => ((10, 1_024), (3.0, 9)),
        Workload::Idle => ((10, 64), (10.0, 3)),
        Workload::Slow => ((10, 1_024), (3.0, 3)),
        Workload::Restore => ((10, 2_048), (3.0, 1)),
    }
}

fn fewest(workload: Workload) -> usize {
    match workload {
        Workload::Fanout | Workload::Sessions | Workload::Idle => 2,
        Workload::Relay | Workload::AllToAll | Workload::Latency => 3,
        // A leader and a deputy, one that is slow or dies, and a sender.
        Workload::Failover | Workload::Slow | Workload::Restore => 4,
    }
}

fn tuning(arguments: &BenchArguments) -> Tuning {
    Tuning {
        socket_bytes: arguments.raw_socket_bytes.unwrap_or(TUNING.socket_bytes),
        read_bytes: arguments.raw_read_bytes.unwrap_or(TUNING.read_bytes),
        queue_bytes: arguments.raw_queue_bytes.unwrap_or(TUNING.queue_bytes),
        window_bytes: arguments.raw_window_bytes.unwrap_or(TUNING.window_bytes),
    }
}
