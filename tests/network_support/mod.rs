//! Hosts on a bad network: each process in a network namespace of its own, joined by a switch of ours that loses, delays, doubles,
//! reorders and cuts as the test says. See docs/BAD_NETWORK.md.
#![allow(dead_code)] // each test file uses a part of it

pub mod cgroup;
pub mod cluster;
pub mod history;
pub mod link;
pub mod namespace;
pub mod switch;

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

use crate::command_support::Process;
use link::{Conditions, Counts};
use namespace::{Addresses, Namespace};
use switch::Switch;

/// Hosts 0, 1, …, each with an address of its own, joined by a switch. One network at a time exists on this machine.
pub struct Network {
    pub hosts: Vec<Namespace>,
    switch: Switch,
    _alone: File,
}

impl Network {
    /// `None`: not permitted here, and the caller of the tests has said that this is known (`DECURION_NO_NETNS=1`).
    ///
    /// # Panics
    ///
    /// If it is not permitted and nobody has said so, or `CI=true`: a test that did not run is not one that passed.
    pub fn new(hosts: usize, seed: u64) -> Option<Network> {
        match Network::try_new(hosts, seed) {
            Ok(network) => Some(network),
            Err(error) => {
                let set = |name: &str, value: &str| std::env::var(name).as_deref() == Ok(value);
                let text =
                    format!("no network namespaces or TAP devices here (root and /dev/net/tun are needed): {error}");
                let known = may_go_without(set("DECURION_NO_NETNS", "1"), set("CI", "true"));
                assert!(known, "{text}. DECURION_NO_NETNS=1 goes on without, but not where CI=true");
                eprintln!("NOT TESTED: {text}");
                None
            }
        }
    }

    /// Gives a host an address of IPv6 as well.
    pub fn with_ipv6(&self, host: usize) -> Ipv6Addr {
        let (address, network) = (Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, host as u16 + 1), &self.hosts[host]);
        let switched_on = || {
            network.enter().expect("a namespace of our own");
            fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "0").expect("a device with IPv6");
            // Nobody else is asked whether the address is taken: it can be used at once.
            let words = ["-6", "address", "add", &format!("{address}/64"), "dev", "eth0", "nodad"];
            let status = Command::new("ip").args(words).status().expect("the command ip");
            assert!(status.success(), "ip {words:?}: {status}");
        };
        thread::scope(|scope| scope.spawn(switched_on).join().expect("it has one"));
        address
    }

    fn try_new(hosts: usize, seed: u64) -> io::Result<Network> {
        let alone = alone()?;
        let made: io::Result<Vec<_>> =
            (0..hosts).map(|host| Namespace::new(Addresses { mac: switch::mac(host), ip: address(host) })).collect();
        let (hosts, devices) = made?.into_iter().unzip();
        Ok(Network { hosts, switch: Switch::start(devices, seed), _alone: alone })
    }

    /// Starts a process on this host. What it serves on the loopback address is reached by a thread that enters the host.
    pub fn spawn(&self, host: usize, name: &str, mut command: Command) -> Process {
        let descriptor = self.hosts[host].descriptor();
        // SAFETY: between fork and exec runs one async-signal-safe system call that touches no memory.
        unsafe { command.pre_exec(move || namespace::enter(descriptor)) };
        Process::spawn(name, command)
    }

    /// Changes the conditions of every link from the switch to a host, by sender and receiver.
    pub fn change(&self, change: impl Fn(usize, usize, &mut Conditions)) {
        for (from, links) in self.switch.links().between.iter_mut().enumerate() {
            for (to, link) in links.iter_mut().enumerate() {
                change(from, to, &mut link.conditions);
            }
        }
    }

    /// Sets the conditions of every sender's cable: what it loses reaches nobody.
    pub fn set_cables(&self, conditions: Conditions) {
        self.switch.links().cables.iter_mut().for_each(|cable| cable.conditions = conditions);
    }

    /// Multicast passes neither from nor to exactly those hosts for which `blocked` says so; all else does.
    pub fn block_multicast(&self, blocked: impl Fn(usize) -> bool) {
        self.change(|from, to, now| now.deaf_to_groups = blocked(from) || blocked(to));
    }

    pub fn set_all(&self, conditions: Conditions) {
        self.change(|_, _, now| *now = conditions);
    }

    /// Cuts exactly those links for which `cut` says so; all others are whole.
    pub fn cut(&self, cut: impl Fn(usize, usize) -> bool) {
        self.change(|from, to, now| now.cut = cut(from, to));
    }

    pub fn heal(&self) {
        self.cut(|_, _| false);
    }

    pub fn counts(&self) -> Counts {
        self.switch.counts()
    }

    /// What the senders' cables did.
    pub fn cable_counts(&self) -> Counts {
        self.switch.cable_counts()
    }
}

/// Whether a test may pass without a network: only where somebody has said so who will read that it did.
pub fn may_go_without(said: bool, ci: bool) -> bool {
    said && !ci
}

/// The address of a host's device.
pub fn address(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, host as u8 + 1)
}

/// How many of a fault a test makes: the usual number, or what the environment says.
pub fn wanted(variable: &str, usual: usize) -> usize {
    std::env::var(variable)
        .map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// What the links and the faults are drawn from: the usual seed, or the one that the environment says.
pub fn seed(usual: usize) -> u64 {
    wanted("DECURION_SEED", usual) as u64
}

/// Whether everything shall be tried, however long it takes.
pub fn is_full() -> bool {
    std::env::var("DECURION_NETWORK").as_deref() == Ok("full")
}

/// Waits until no other test has a network: they would take each other's time, and their figures would mean nothing.
fn alone() -> io::Result<File> {
    let file = File::create(std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("network.lock"))?;
    // SAFETY: the descriptor is open; the kernel gives the lock back with it, also after a crash.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } {
        0 => Ok(file),
        _ => Err(io::Error::last_os_error()),
    }
}
