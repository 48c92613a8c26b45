//! `decurion mcast-test`: started on every host at about the same time, it shows who hears whom over multicast.
//!
//! Each tester sends numbered probes and tells in them what it has heard of the others, so that every one of them knows
//! the whole matrix in the end.

mod judge;
mod matrix;
mod report;
mod sight;
mod tester;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use decurion::runtime::draw_id;
use decurion::runtime::multicast::{GroupOptions, GroupSocket};
use decurion::types::{Name, limits};
use decurion::wire::probe::SHORTEST;

use super::arguments::McastTestArguments;
use super::output::{Exit, Failure, Outcome, Output};
use tester::Tester;

/// Most bytes that a tester may send in a second: 20 Mbit/s leave a live cluster its network.
const BYTES_PER_SECOND: usize = 2_500_000;
/// Asked for: probes of many testers may come in one burst.
const BUFFER_BYTES: usize = 1 << 20;

/// What one tester is told to do.
#[derive(Debug)]
struct Plan {
    group: SocketAddr,
    interface: Option<IpAddr>,
    ttl: u32,
    name: Name,
    /// Tells this run from any other.
    id: u64,
    lasts: Duration,
    rate: u32,
    bytes: usize,
    /// How many testers there are, itself among them, if the administrator has said so.
    expect: Option<usize>,
}

/// Runs the verb.
pub fn run(arguments: &McastTestArguments, output: &Output) -> Outcome {
    let plan = Plan::new(arguments)?;
    let options =
        GroupOptions { group: plan.group, interface: plan.interface, ttl: plan.ttl, buffer_bytes: BUFFER_BYTES };
    let socket = GroupSocket::open(&options)?;
    report::start(&plan, &socket, output);
    let mut tester = Tester::new(plan, socket)?;
    tester.run(output)?;
    report::end(&tester, output)
}

impl Plan {
    fn new(arguments: &McastTestArguments) -> Result<Plan, Failure> {
        let refuse = |text: String| Err(Failure::new(Exit::Usage, text));
        let name = arguments.name.clone().unwrap_or_else(host_name);
        if name.is_empty() || name.len() > limits::NAME_BYTES || !name.chars().all(Name::allows) {
            return refuse(format!(
                "--name: 1 to {} bytes of printable text without blanks, ',' or '@'",
                limits::NAME_BYTES
            ));
        }
        let (rate, bytes) = (arguments.rate, arguments.bytes);
        if rate as usize * bytes > BYTES_PER_SECOND {
            return refuse(format!(
                "--rate {rate} with --bytes {bytes} is over {BYTES_PER_SECOND} bytes a second, which others of this network would \
                 feel: take less of one"
            ));
        }
        Ok(Plan {
            group: arguments.group,
            interface: arguments.interface,
            ttl: arguments.ttl,
            name: Name::new(&name),
            id: draw_id().0 as u64,
            lasts: Duration::from_secs(arguments.seconds),
            rate,
            bytes,
            expect: arguments.expect,
        })
    }

    /// Length of the probe of this number: every second one is of full length, the others are shorter.
    fn length(&self, number: u64) -> usize {
        match number % 4 {
            1 => SHORTEST,
            3 => SHORTEST + (self.bytes - SHORTEST) / 2,
            _ => self.bytes,
        }
    }
}

fn host_name() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = told.chars().filter(|c| Name::allows(*c)).take(limits::NAME_BYTES / 4).collect();
    if name.is_empty() { "tester".to_owned() } else { name }
}

#[cfg(test)]
mod tests;
