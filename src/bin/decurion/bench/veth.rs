//! A network for each process: an Ethernet device with an MTU of 1,500 bytes whose cable leads to a common bridge. The loopback device takes
//! 64 KiB at once and cuts nothing; here super-datagrams are cut in software, as where a network card cannot do it.
//!
//! The networks have no names: the kernel removes them with their last descriptor and process, however the bench ends.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

use crate::output::{Exit, Failure};

const DEVICE: &str = "eth0";

/// The networks of all processes, and the one in which their bridge is.
#[derive(Debug)]
pub struct Networks {
    hosts: Vec<File>,
    _bridge: File,
}

impl Networks {
    /// Makes so many, at most 200, each of which sends so many megabits a second if it is said. Needs root, and the commands `ip`, `ethtool`
    /// and, for a rate, `tc`.
    pub fn new(count: usize, rate_mbit: Option<usize>) -> Result<Networks, Failure> {
        let bridge = unnamed()?;
        run(&bridge, &["ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0"])?;
        run(&bridge, &["ip", "link", "set", "br0", "up"])?;
        let mut hosts = Vec::new();
        for at in 0..count {
            let (host, port) = (unnamed()?, format!("port{at}"));
            let there = format!("/proc/{}/fd/{}", std::process::id(), host.as_raw_fd());
            run(&bridge, &["ip", "link", "add", &port, "type", "veth", "peer", "name", DEVICE, "netns", &there])?;
            run(&bridge, &["ip", "link", "set", &port, "master", "br0", "up"])?;
            run(&host, &["ip", "address", "add", &format!("{}/24", address(at)), "dev", DEVICE])?;
            run(&host, &["ethtool", "-K", DEVICE, "tx-udp-segmentation", "off"])?;
            for device in ["lo", DEVICE] {
                run(&host, &["ip", "link", "set", device, "up"])?;
            }
            if let Some(rate) = rate_mbit {
                limit(&host, rate)?;
            }
            hosts.push(host);
        }
        Ok(Networks { hosts, _bridge: bridge })
    }

    /// The network of a process, for a child between fork and exec.
    pub fn of(&self, process: usize) -> RawFd {
        self.hosts[process].as_raw_fd()
    }
}

/// The address of a process in its network.
pub fn address(process: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, process as u8 + 1)
}

/// What a child does before it becomes the program: from then on it lives in that network.
pub fn enter(command: &mut Command, network: RawFd) {
    // SAFETY: one system call, which changes the calling thread only and touches no memory; it may be made between fork and exec.
    unsafe { command.pre_exec(move || answer(libc::setns(network, libc::CLONE_NEWNET))) };
}

/// A token bucket in front of the device. It holds what goes out in a millisecond, or two packets of the longest kind.
fn limit(host: &File, rate_mbit: usize) -> Result<(), Failure> {
    let burst = (rate_mbit * 1_000 / 8).max(128 * 1024);
    let (rate, burst) = (format!("{rate_mbit}mbit"), burst.to_string());
    let bucket = ["tbf", "rate", &rate, "burst", &burst, "latency", "10ms"];
    run(host, &[&["tc", "qdisc", "add", "dev", DEVICE, "root"][..], &bucket].concat())
}

fn unnamed() -> Result<File, Failure> {
    // A thread of its own: the caller's network stays what it is.
    let made = thread::spawn(|| {
        // SAFETY: changes this thread only, and touches no memory.
        answer(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
        File::open("/proc/thread-self/ns/net")
    });
    let why =
        |error| Failure::new(Exit::Environment, format!("--network veth makes networks, which takes root: {error}"));
    made.join().expect("it does not panic").map_err(why)
}

/// Runs a command in a network.
fn run(network: &File, words: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    enter(&mut command, network.as_raw_fd());
    let failed =
        |why: String| Err(Failure::new(Exit::Environment, format!("--network veth: `{}`: {why}", words.join(" "))));
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            failed("there is no such command; it must be installed".to_owned())
        }
        Err(error) => failed(error.to_string()),
    }
}

fn answer(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
