//! One server of three stands still, has no descriptor, no memory or no time: the others go on, nothing that was acknowledged is lost
//! or given twice (S1, S5, V6), and who is only slow is not removed (V7).

mod command_support;
mod network_support;

use std::fs;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use network_support::cgroup::Cgroup;
use network_support::cluster::{Cluster, World};
use network_support::link::{Conditions, Random};
use network_support::{Network, seed};

const SERVERS: usize = 3;
const SESSIONS: usize = 4;
const TRAFFIC: u64 = 60;
const SEED: usize = 555;
/// Nobody is removed for a silence shorter than 1.5 s, the profile `lan`.
const SHORT: Duration = Duration::from_millis(600);
/// A fifth of a processor.
const PERIOD_US: u64 = 100_000;
const QUOTA_US: u64 = 20_000;
/// Connections of clients that say nothing: more than a server that is short of memory can have.
const CONNECTIONS: usize = 200;
/// What a server that is short of memory gets beyond what it has.
const MEMORY_BYTES: u64 = 256 * 1024;

/// Three servers in traffic while `act` does something to one of them; half of the visitors spare the one that `act` names.
fn in_traffic(what: &str, act: impl FnOnce(&World, u64, &AtomicUsize)) {
    let Some(network) = Network::new(SERVERS, seed(SEED)) else { return };
    let begun = Instant::now();
    network.set_all(Conditions { delay_us: 200, jitter_us: 300, ..Conditions::default() });
    let cluster = Cluster::start(network);
    let view = cluster.await_all(0);
    let world = World::new(&cluster, SESSIONS);
    let spared = AtomicUsize::new(SERVERS);
    let choose = |visitor: usize, random: &mut Random| match (random.below(SERVERS), spared.load(SeqCst)) {
        (server, spared) if server == spared && visitor >= SESSIONS => (server + 1) % SERVERS,
        (server, _) => server,
    };
    let (history, finals) = world.in_traffic(2 * SESSIONS, choose, || {
        world.await_visits(TRAFFIC);
        act(&world, view, &spared);
        world.await_visits(TRAFFIC);
    });
    println!(
        "{what}: {} of {} visits acknowledged, slowest {} ms, {:.1} s",
        history.acknowledged(),
        history.visits.len(),
        history.slowest().as_millis(),
        begun.elapsed().as_secs_f64()
    );
    let faults = history.faults(&finals, &[]);
    assert!(faults.is_empty(), "{what}: {}", faults.join("\n"));
    cluster.end();
}

fn others(cluster: &Cluster, one: usize) -> Vec<usize> {
    cluster.hosts().filter(|host| *host != one).collect()
}

#[test]
fn an_owner_that_stands_still_is_replaced_and_comes_back_as_no_owner() {
    in_traffic("stopped and continued", |world, view, spared| {
        let cluster = world.cluster;
        let owner = cluster.owner_of_most();
        spared.store(owner, SeqCst);
        cluster.signal(owner, libc::SIGSTOP);
        // The pause itself is the fault, and its length is what makes it harmless.
        thread::sleep(SHORT);
        cluster.signal(owner, libc::SIGCONT);
        world.await_visits(TRAFFIC);
        assert_eq!(cluster.await_all(0), view, "a short pause removes nobody");
        let owner = cluster.owner_of_most();
        spared.store(owner, SeqCst);
        cluster.signal(owner, libc::SIGSTOP);
        let without = cluster.await_whole(&others(cluster, owner), view);
        world.await_visits(TRAFFIC);
        cluster.signal(owner, libc::SIGCONT);
        cluster.await_all(without);
    });
}

#[test]
fn a_server_without_descriptors_stays_and_lets_a_restarted_one_in() {
    in_traffic("no descriptors", |world, view, spared| {
        let cluster = world.cluster;
        let short = cluster.owner_of_most();
        spared.store(short, SeqCst);
        let before = limit_descriptors(cluster.pid(short), None);
        let used = fs::read_dir(format!("/proc/{}/fd", cluster.pid(short))).expect("it runs").count();
        limit_descriptors(cluster.pid(short), Some(used as u64));
        world.await_visits(2 * TRAFFIC);
        let other = others(cluster, short)[0];
        let state = cluster.state(other).expect("it serves");
        assert_eq!((state.view, state.members.len()), (view, SERVERS), "nobody is removed for it");
        cluster.kill(other);
        cluster.launch(other);
        limit_descriptors(cluster.pid(short), Some(before));
        cluster.await_all(view);
    });
}

/// Sets how many descriptors a process may have, and answers how many it could.
fn limit_descriptors(pid: u32, soft: Option<u64>) -> u64 {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both structures outlive the calls, and a process that is gone is only an error.
    let answer = unsafe {
        let answer = libc::prlimit(pid as i32, libc::RLIMIT_NOFILE, std::ptr::null(), &mut old);
        let new = libc::rlimit { rlim_cur: soft.unwrap_or(old.rlim_cur), rlim_max: old.rlim_max };
        answer | libc::prlimit(pid as i32, libc::RLIMIT_NOFILE, &new, std::ptr::null_mut())
    };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
    old.rlim_cur
}

/// A process that computes as long as it is let, at most for a minute.
struct Greedy(Child);

impl Greedy {
    fn start() -> Greedy {
        let computes = Command::new("sh").args(["-c", "ulimit -t 60; while :; do :; done"]).spawn();
        Greedy(computes.expect("a shell starts"))
    }
}

impl Drop for Greedy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_leader_with_a_fifth_of_a_processor_leads_on() {
    let Some(group) = Cgroup::new("cpu", "leader") else { return };
    group.set("cpu.cfs_period_us", PERIOD_US).expect("a period");
    group.set("cpu.cfs_quota_us", QUOTA_US).expect("a quota");
    in_traffic("a fifth of a processor", |world, view, _| {
        let cluster = world.cluster;
        // The oldest of three is the coordinator and the leader of the only group.
        let leader = cluster.coordinator();
        group.take(cluster.pid(leader));
        // Beside one that takes all it can get, so that it is short of it whatever its own work costs.
        let greedy = Greedy::start();
        group.take(greedy.0.id());
        world.await_visits(2 * TRAFFIC);
        let throttled = || (group.number("cpu.stat", "nr_throttled ") > 10).then_some(());
        assert!(network_support::cluster::look_until(throttled).is_some(), "both want more than they get");
        assert_eq!(cluster.await_all(0), view, "nobody is removed for it");
    });
}

#[test]
fn a_server_whose_memory_is_capped_dies_alone() {
    let Some(group) = Cgroup::new("memory", "owner") else { return };
    in_traffic("a cap on memory", |world, view, spared| {
        let cluster = world.cluster;
        let short = cluster.owner_of_most();
        spared.store(short, SeqCst);
        // In the group from its first breath, so that all it takes is charged there.
        cluster.kill(short);
        cluster.launch(short);
        group.take(cluster.pid(short));
        let view = cluster.await_all(view);
        world.await_visits(TRAFFIC);
        let used = group.number("memory.usage_in_bytes", "");
        group.set("memory.limit_in_bytes", used + MEMORY_BYTES).expect("a cap above what it has");
        // Each is a thread of the server, and so memory.
        let idle = cluster.connect(short, CONNECTIONS);
        cluster.await_end(short);
        assert!(group.number("memory.oom_control", "oom_kill ") > 0, "it was the cap that ended it");
        drop(idle);
        let without = cluster.await_whole(&others(cluster, short), view);
        cluster.launch(short);
        cluster.await_all(without);
    });
}
