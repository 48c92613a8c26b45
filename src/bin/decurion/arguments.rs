//! The verbs and their flags.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use decurion::wire::probe::{LONGEST, SHORTEST};

/// A cluster engine that a server embeds. Without a verb: the demo.
#[derive(Parser, Debug)]
#[command(name = "decurion", version, about, max_term_width = 110)]
#[command(after_help = "Exit codes: 0 fine, 1 a promise was broken, 2 usage or configuration, 3 the environment does \
                        not allow it, 4 a deadline passed.")]
pub struct Arguments {
    /// Write JSON lines to stdout, the last one a summary.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What the command can do.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Run 12 member processes in 3 groups, kill a leader and the coordinator, and show that nothing is lost.
    Demo(DemoArguments),
    /// One member process of the demo.
    #[command(hide = true)]
    DemoMember(Settings),
    /// Run one member: its events, what it sends, what it receives. Leaves on SIGTERM, prints its counters on SIGUSR1.
    Node(NodeArguments),
    /// Show who is in a cluster, and the links of the member that is asked.
    Members(MembersArguments),
    /// Check a configuration file, show what is in force, or list all keys.
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Simulate whole clusters under faults, from seeds, and check every promise.
    Simulate(SimulateArguments),
    /// Measure how deaths are noticed and what large clusters cost, and write it into a page.
    Scale(ScaleArguments),
    /// Measure what member processes reach, beside plain sockets over the same links.
    Bench(BenchArguments),
    /// One member process of a bench.
    #[command(hide = true)]
    BenchMember {
        /// What the bench tells it.
        spec: String,
    },
    /// One process of plain sockets, of a bench.
    #[command(hide = true)]
    BenchRaw {
        /// What the bench tells it.
        spec: String,
    },
    /// Test multicast between hosts: started on each of them at about the same time, it shows who hears whom.
    McastTest(McastTestArguments),
}

/// Threads that a verb may be told to start: more than any machine has processors for, and fewer than a system refuses.
const MOST_JOBS: usize = 1_024;

/// Flags of `demo`.
#[derive(Args, Debug)]
pub struct DemoArguments {
    /// How many member processes.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = count(3, 64))]
    pub members: usize,
    /// How many groups they make.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = count(1, 32))]
    pub groups: usize,
    /// The file to stream. Default: this very program.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// For how long to stream.
    #[arg(long, value_name = "SECONDS", default_value_t = 18, value_parser = clap::value_parser!(u64).range(2..=3_600))]
    pub seconds: u64,
    /// Whether to kill a group leader and the coordinator.
    #[arg(long, value_name = "on|off", default_value = "on", value_parser = ["on", "off"])]
    pub faults: String,
    /// How many sessions to make and to change meanwhile, on all members, and to read back in the end.
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = count(0, 20_000))]
    pub sessions: usize,
    /// Go on streaming until Ctrl-C, and print the process ids: kill one by hand and watch.
    #[arg(long)]
    pub hold: bool,
    /// How messages to everybody travel: over connections from member to member, or in datagrams to a multicast group.
    #[arg(long, value_name = "tcp|multicast", default_value = "tcp", hide_possible_values = true)]
    pub transport: Transport,
    /// What is encrypted.
    #[arg(long, value_name = "none", default_value = "none")]
    pub security: String,
    /// The part of the datagrams to the group that each member throws away, as if the network had lost them: 0 to 0.9. Only with
    /// `--transport multicast`.
    #[arg(long, value_name = "PART", value_parser = loss)]
    pub loss: Option<f64>,
}

/// Which networks the processes of a bench are in.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Network {
    /// One, the loopback device's.
    Loopback,
    /// One for each, with a virtual Ethernet device.
    Veth,
}

impl Network {
    /// As it is given.
    pub fn name(self) -> &'static str {
        match self {
            Network::Loopback => "loopback",
            Network::Veth => "veth",
        }
    }
}

/// How messages to everybody travel.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// Over connections, from member to member.
    Tcp,
    /// In datagrams to a multicast group.
    Multicast,
}

impl Transport {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Multicast => "multicast",
        }
    }
}

fn loss(text: &str) -> Result<f64, String> {
    let part: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=0.9).contains(&part) { Ok(part) } else { Err("allowed: 0 to 0.9".to_owned()) }
}

fn count(min: usize, max: usize) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().map_err(|_| "not a whole number".to_owned())?;
        if (min..=max).contains(&number) { Ok(number) } else { Err(format!("allowed: {min} to {max}")) }
    }
}

/// Flags of `node`.
#[derive(Args, Debug)]
pub struct NodeArguments {
    /// Where the configuration comes from, beside the environment.
    #[command(flatten)]
    pub settings: Settings,
    /// Send this file to everybody, or with `-` each line of stdin.
    #[arg(long, value_name = "FILE|-")]
    pub send: Option<PathBuf>,
    /// Send as soon as so many members are there.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = count(1, 10_000))]
    pub members: usize,
    /// Append what comes to files in this directory, named by sender; `-` writes it to stdout.
    #[arg(long, value_name = "DIR|-")]
    pub receive: Option<PathBuf>,
}

/// Flags of `members`.
#[derive(Args, Debug)]
pub struct MembersArguments {
    /// Cluster address of any member.
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "map")]
    pub at: Option<String>,
    /// A mapped file of counters (not built).
    #[arg(long, value_name = "FILE", hide = true)]
    pub map: Option<PathBuf>,
    /// How long to wait for the answer.
    #[arg(long, value_name = "MS", default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub timeout_ms: u64,
}

/// Flags of `mcast-test`.
#[derive(Args, Debug)]
#[command(
    after_help = "Safe beside a live cluster: it sends no more than it is told, on its own port disturbs nobody, and on the \
                        cluster's own group and port the members drop its probes as foreign, at the cost of looking at them. \
                        Exit codes: 0 each hears each and nothing is lost; 1 something is lost or not heard; 3 this host cannot \
                        multicast. docs/MULTICAST_TEST.md tells how to read the matrix."
)]
pub struct McastTestArguments {
    /// Multicast address and port, the same for all testers: the cluster's address, and another port than the cluster's to be safe.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub group: SocketAddr,
    /// This host's own address in the network to test. Default: where the system's route leads.
    #[arg(long, value_name = "ADDRESS")]
    pub interface: Option<IpAddr>,
    /// What the others shall call this tester. Default: the host's name.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// How long to test.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Probes each second.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rate: u32,
    /// How many testers there are, this one among them: fewer are a failure.
    #[arg(long, value_name = "N", value_parser = count(1, 256))]
    pub expect: Option<usize>,
    /// 1 stays in the local network; each router on the way takes one more.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=255))]
    pub ttl: u32,
    /// Length of every second probe; the others are shorter.
    #[arg(long, value_name = "N", default_value_t = 1_400, value_parser = count(SHORTEST, LONGEST))]
    pub bytes: usize,
}

/// Flags of `simulate`.
#[derive(Args, Debug)]
pub struct SimulateArguments {
    /// How many seeds, from 0, or the seeds from A to before B. Default: 100.
    #[arg(long, value_name = "N|A..B", conflicts_with = "seed")]
    pub seeds: Option<String>,
    /// One seed.
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Write every step of the one seed to this file.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Play a named scenario instead, with the seeds that it is tested with, or with --seed or --seeds: one, or all.
    #[arg(long, value_name = "NAME|list|all")]
    pub scenario: Option<String>,
    /// Go through small cases state by state instead of drawing from seeds: one case, all of one event, or all.
    #[arg(long, value_name = "CASE|EVENT|list", num_args = 0..=1, default_missing_value = "all", conflicts_with_all = ["seed", "seeds", "scenario"])]
    pub enumerate: Option<String>,
    /// Follow this script of choices through the one case, as a violation prints it.
    #[arg(long, value_name = "CHOICES", requires = "enumerate")]
    pub script: Option<String>,
    /// Deviations from the fixed order of delivery in one run, in place of each case's own bound.
    #[arg(long, value_name = "N|all", requires = "enumerate")]
    pub deviations: Option<String>,
    /// Give a case up after so many states.
    #[arg(long, value_name = "N", requires = "enumerate")]
    pub states: Option<usize>,
    /// Plant this bug in every member; `list` shows which there are, `all` looks for seeds that catch each of them.
    #[arg(long, value_name = "NAME|list|all")]
    pub plant: Option<String>,
    /// Make the first seed that breaks a promise smaller while it breaks the same one, and tell what is left in sentences. Without a
    /// planted bug that is done anyway.
    #[arg(long, conflicts_with_all = ["enumerate", "scenario", "trace", "only"])]
    pub shrink: bool,
    /// Run only this part of the one seed, as a shrunken one is named, and tell what happens.
    #[arg(long, value_name = "PART,PART", requires = "seed", conflicts_with_all = ["enumerate", "scenario", "trace"])]
    pub only: Option<String>,
    /// Fail if a transition of the machines for views, leases and sessions is never reached. So does a run of 1,000 seeds or more.
    #[arg(long, value_name = "all", value_parser = ["all"], conflicts_with_all = ["enumerate", "trace"])]
    pub marks: Option<String>,
    /// Threads; 0 = one for each processor.
    #[arg(long, value_name = "J", default_value_t = 0, value_parser = count(0, MOST_JOBS))]
    pub jobs: usize,
}

/// Flags of `scale`.
#[derive(Args, Debug)]
pub struct ScaleArguments {
    /// What to measure.
    #[arg(value_name = "FIGURES", default_value = "all", value_parser = ["detection", "processes", "removals", "boot", "cost", "growth", "all"])]
    pub figures: String,
    /// Deaths of each kind on the simulator.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// Deaths of each kind of real processes.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub deaths: u64,
    /// Simulated member-hours at each loss.
    #[arg(long, value_name = "H", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub member_hours: u64,
    /// Lost datagrams and segments in %, at which false removals are counted.
    #[arg(long, value_name = "P,P", default_values_t = [5, 10, 20, 30], value_delimiter = ',', value_parser = clap::value_parser!(u32).range(0..=100))]
    pub losses: Vec<u32>,
    /// The first seed for detection and false removals: figures add up over runs with different ones.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub first_seed: u64,
    /// Lines that `scale removals --json` printed, of the same version: seeds that they have are not simulated again.
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
    /// Members of the simulated cluster that boots, crashes and loses.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = count(100, 10_000))]
    pub members: usize,
    /// Sizes of the simulated clusters whose members' cost is measured.
    #[arg(long, value_name = "N,N", default_values_t = [10, 100, 1_000], value_delimiter = ',', value_parser = count(3, 10_000))]
    pub sizes: Vec<usize>,
    /// Sizes of views in which one member's cost is measured, all others played.
    #[arg(long, value_name = "N,N", default_values_t = [1_000, 10_000], value_delimiter = ',', value_parser = count(30, 10_000))]
    pub alone: Vec<usize>,
    /// Processes among which a fan-out, and rest, are measured as the cluster grows.
    #[arg(long, value_name = "N,N", default_values_t = [2, 5, 10, 20, 50, 100], value_delimiter = ',', value_parser = count(2, 100))]
    pub processes: Vec<usize>,
    /// Sessions of one owner, as they become more.
    #[arg(long, value_name = "N,N", default_values_t = [1_000, 10_000, 100_000, 1_000_000], value_delimiter = ',', value_parser = count(1, 1_000_000))]
    pub sessions: Vec<usize>,
    /// How long each of these measurements lasts.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    pub seconds: f64,
    /// Put tables and pictures in the place of the old ones in this page.
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// Threads; 0 = one for each processor.
    #[arg(long, value_name = "J", default_value_t = 0, value_parser = count(0, MOST_JOBS))]
    pub jobs: usize,
}

/// What `bench` can measure.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workload {
    /// One sender, everybody else receives, over its own links.
    Fanout,
    /// The same through a leader, who receives as well.
    Relay,
    /// Everybody sends.
    AllToAll,
    /// One message each millisecond: how long it takes to each receiver.
    Latency,
    /// Changes of sessions, each acknowledged by the holder of the second copy.
    Sessions,
    /// Deaths and stops under load: until everybody goes on without the one.
    Failover,
    /// What members cost that have nothing to do.
    Idle,
    /// Many sessions, one of whose members is killed: until each has two copies again.
    Restore,
    /// One receiver that takes 1 MB a second: what it holds up, when it is removed, and how the others go on.
    Slow,
}

impl Workload {
    /// As it is written.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// How a member of a bench is hosted.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostMode {
    /// The engine's thread calls the host's handler.
    Handler,
    /// A thread of the host polls.
    Poll,
    /// The host's loop turns the engine: one thread in all.
    Loop,
}

/// Flags of `bench`.
#[derive(Args, Debug)]
pub struct BenchArguments {
    /// What to measure.
    pub workload: Workload,
    /// How many member processes. Default: 10; `sessions`: 2.
    #[arg(long, value_name = "N", value_parser = count(2, 100))]
    pub members: Option<usize>,
    /// How many groups they make.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count(1, 50))]
    pub groups: usize,
    /// Length of a message or session. Default: 64; `sessions` and `restore`: 2048, `failover` and `slow`: 1024.
    #[arg(long, value_name = "N", value_parser = count(1, 64 << 20))]
    pub bytes: Option<usize>,
    /// How long each measurement lasts. Default: 3; `latency` and `idle`: 10.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub seconds: Option<f64>,
    /// How many pairs of ours and raw. Default: 9; `latency`: 5, `idle` and `slow`: 3, `restore`: 1.
    #[arg(long, value_name = "N", value_parser = count(1, 1_000))]
    pub pairs: Option<usize>,
    /// Changes of sessions under way at a time.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = count(1, 4_096))]
    pub window: usize,
    /// Of `sessions`: how many are changed in turn, 64 if it is not said. Of `restore`: how many there are, a million or as many as memory is left for.
    #[arg(long, value_name = "N", value_parser = count(1, 1_000_000))]
    pub sessions: Option<usize>,
    /// How the members are hosted.
    #[arg(long, value_name = "handler|poll|loop", default_value = "handler", hide_possible_values = true)]
    pub mode: HostMode,
    /// How messages to everybody travel: over connections from member to member, or in datagrams to a multicast group.
    #[arg(long, value_name = "tcp|multicast", default_value = "tcp", hide_possible_values = true)]
    pub transport: Transport,
    /// Between which networks: all processes on the loopback device, or each with an Ethernet device of its own at one bridge (MTU 1,500, as root).
    #[arg(long, value_name = "loopback|veth", default_value = "loopback", hide_possible_values = true)]
    pub network: Network,
    /// With `--network veth`: what each process's device sends at most, in megabits a second. Default: as much as it can.
    #[arg(long, value_name = "MBIT", value_parser = count(1, 100_000))]
    pub rate_mbit: Option<usize>,
    /// What is encrypted.
    #[arg(long, value_name = "none", default_value = "none")]
    pub security: String,
    /// Of `failover`: only these. Default: all.
    #[arg(long = "fault", value_name = "FAULT,FAULT", value_delimiter = ',', value_parser = ["kill-leader", "kill-member", "stop-leader", "stop-member"])]
    pub faults: Vec<String>,
    /// Hand in one message a call. Else a member that sends as fast as it can hands in 64 KiB of messages at a time.
    #[arg(long)]
    pub one_by_one: bool,
    /// The leader sends, so that nobody relays. `fanout` is so anyway.
    #[arg(long)]
    pub direct: bool,
    /// Of `latency`: another member sends messages of so many bytes to everybody as fast as it can. The other of each pair is then ours without them.
    #[arg(long, value_name = "BYTES", value_parser = count(64, 64 << 20))]
    pub beside: Option<usize>,
    /// Of `latency`: no message each millisecond, but so many within ten, ten times a second.
    #[arg(long, value_name = "N", conflicts_with = "beside", value_parser = count(20, 1_000_000))]
    pub burst: Option<usize>,
    /// Hold the first leader, ours and raw, to this part of a processor by a control group (as root): 0.01 to 1.
    #[arg(long, value_name = "PART", value_parser = part)]
    pub leader_cpu: Option<f64>,
    /// End with 1 also where a target of the design was missed, and not only where something was lost, duplicated or out of order.
    #[arg(long)]
    pub check: bool,
    /// Set one key of every member. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Socket buffers of the raw processes; 0 leaves them to the system.
    #[arg(long, value_name = "BYTES", hide_short_help = true)]
    pub raw_socket_bytes: Option<usize>,
    /// Most bytes of one read of the raw processes.
    #[arg(long, value_name = "BYTES", hide_short_help = true, value_parser = count(4_096, 16 << 20))]
    pub raw_read_bytes: Option<usize>,
    /// Bytes that a raw process keeps for its slowest link before it reads no more.
    #[arg(long, value_name = "BYTES", hide_short_help = true, value_parser = count(4_096, 1 << 30))]
    pub raw_queue_bytes: Option<usize>,
    /// Most bytes that the raw blast of `fanout --transport multicast` has under way.
    #[arg(long, value_name = "BYTES", hide_short_help = true, value_parser = count(4_096, 1 << 30))]
    pub raw_window_bytes: Option<usize>,
}

fn part(text: &str) -> Result<f64, String> {
    let part: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.01..=1.0).contains(&part) { Ok(part) } else { Err("allowed: 0.01 to 1".to_owned()) }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.1..=3_600.0).contains(&seconds) { Ok(seconds) } else { Err("allowed: 0.1 to 3600".to_owned()) }
}

/// What `config` can do.
#[derive(Subcommand, Debug)]
pub enum ConfigVerb {
    /// List everything that is wrong in a file.
    Check {
        /// A TOML file.
        file: PathBuf,
    },
    /// Show every value in force and who said so: default, profile, file, environment or flag.
    Show(Settings),
    /// List every key with its type, range and default.
    Keys {
        /// Print the documentation page instead.
        #[arg(long)]
        markdown: bool,
    },
}

/// Where a verb takes its configuration from, beside the environment.
#[derive(Args, Debug, Default)]
pub struct Settings {
    /// A TOML file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set one key; stronger than the file and the environment. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

const VERBS: &[&str] = &[
    "demo",
    "node",
    "members",
    "config",
    "simulate",
    "scale",
    "bench",
    "mcast-test",
    "demo-member",
    "bench-member",
    "bench-raw",
    "help",
];

/// Puts `demo` in front when no verb is named, so that its flags may stand alone.
pub fn with_default_verb(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.collect();
    let wants = |names: &[&str]| words.iter().skip(1).any(|w| names.iter().any(|name| w == OsStr::new(name)));
    let first = words.iter().skip(1).find(|w| *w != OsStr::new("--json"));
    // A first word that is no flag was meant as a verb: clap says what there is.
    let named = first.is_some_and(|w| !w.to_string_lossy().starts_with('-'));
    if !named && !wants(&["--help", "-h", "--version", "-V"]) && !wants(VERBS) {
        words.insert(1.min(words.len()), OsString::from("demo"));
    }
    words
}

/// The addresses of `host:port`, or what is wrong with it.
pub fn resolve(text: &str) -> Result<Vec<std::net::SocketAddr>, String> {
    let addresses: Vec<_> = text.to_socket_addrs().map_err(|error| format!("'{text}': {error}"))?.collect();
    if addresses.is_empty() { Err(format!("'{text}' has no address")) } else { Ok(addresses) }
}
