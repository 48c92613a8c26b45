//! Members whose network loses, doubles, reorders or holds up frames come to one view, and every byte that two of them send to everybody
//! arrives at each of the others, once and in order (D1, V4, V7). `DECURION_NETWORK=full` tries the whole matrix.

mod command_support;
mod network_support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use command_support::{Process, directory, node_words};
use network_support::link::{Conditions, Random, Rate};
use network_support::{Network, address, is_full, seed};

const SEED: usize = 20;
/// What each of the two sends.
const BYTES: usize = 192 * 1024;

#[derive(Clone, Copy, Debug)]
struct Case {
    members: usize,
    loss: f64,
    reordering: f64,
    duplication: f64,
    rate: Option<Rate>,
}

/// A link that what the two send fills for a second or two: heartbeats wait behind it, or are lost at its full queue.
const SLOW: Rate = Rate { bytes_per_s: 256 * 1024, queue_bytes: 64 * 1024 };

/// The whole matrix, or a few of it.
fn cases() -> Vec<Case> {
    let case = |(members, loss, reordering, duplication)| Case { members, loss, reordering, duplication, rate: None };
    let slow = |members| Case { rate: Some(SLOW), ..case((members, 0.0, 0.0, 0.0)) };
    if !is_full() {
        let mut few = [(3, 20.0, 10.0, 10.0), (8, 5.0, 10.0, 10.0), (16, 0.0, 10.0, 10.0)].map(case).to_vec();
        few.push(slow(3));
        return few;
    }
    let mut all = Vec::new();
    for members in [3, 8, 16] {
        all.push(slow(members));
        for loss in [0.0, 5.0, 20.0] {
            for (reordering, duplication) in [(0.0, 0.0), (10.0, 0.0), (0.0, 10.0), (10.0, 10.0)] {
                all.push(case((members, loss, reordering, duplication)));
            }
        }
    }
    all
}

#[test]
fn every_byte_arrives_once_and_in_order_whatever_the_network_loses() {
    for case in cases() {
        let Some(network) = Network::new(case.members, seed(SEED)) else { return };
        try_case(case, &network);
    }
}

fn try_case(case: Case, network: &Network) {
    let begun = Instant::now();
    network.set_all(Conditions {
        loss: case.loss,
        reordering: case.reordering,
        duplication: case.duplication,
        rate: case.rate,
        delay_us: 200,
        jitter_us: 300,
        ..Conditions::default()
    });
    let directory = directory("network-loss");
    let senders = [0, case.members - 1];
    for sender in senders {
        fs::write(source(&directory, sender), content(sender)).expect("the directory takes a file");
    }
    let nodes: Vec<Process> =
        (0..case.members).map(|host| start(network, host, case.members, &senders, &directory)).collect();
    for node in &nodes {
        node.wait_members(case.members);
    }
    let together = begun.elapsed();
    for (receiver, node) in nodes.iter().enumerate() {
        for sender in senders.into_iter().filter(|sender| *sender != receiver) {
            let file = directory.join(format!("n{receiver}/n{sender}"));
            let what = format!("{case:?}: all that n{sender} sends, at n{receiver}");
            node.wait_world(&what, || (stored(&file) >= BYTES as u64).then_some(()));
            assert!(fs::read(&file).expect("it is there") == content(sender), "{what}: other bytes");
        }
    }
    let arrived = begun.elapsed();
    // The answer comes behind all that a node has said before.
    let suspicions: u64 = nodes.iter().map(|node| node.stats()["suspicions"].as_u64().expect("a number")).sum();
    let removed: usize = nodes.iter().map(|node| node.lines("expelled").len()).sum();
    let (one, all) = (together.as_secs_f64(), arrived.as_secs_f64());
    let counts = network.counts();
    println!(
        "{case:?}: one view after {one:.1} s, all bytes after {all:.1} s, {suspicions} suspicions, {removed} removed, {counts:?}"
    );
    assert_eq!(removed, 0, "{case:?}: a member that is well was removed");
    for (percent, count) in
        [(case.loss, counts.lost), (case.reordering, counts.reordered), (case.duplication, counts.duplicated)]
    {
        assert_eq!(percent > 0.0, count > 0, "the network was as bad as wanted: {counts:?}");
    }
}

fn start(network: &Network, host: usize, members: usize, senders: &[usize], directory: &Path) -> Process {
    let seeds: Vec<String> = (0..members).map(|host| format!("n{host}@{}:7100", address(host))).collect();
    let (bind, seeds) = (format!("{}:7100", address(host)), seeds.join(","));
    let settings = [("node.bind", bind.as_str()), ("cluster.seeds", &seeds), ("security", "none")];
    let (receive, send) = (directory.join(format!("n{host}")), source(directory, host));
    let (receive, send, count) = (receive.to_string_lossy(), send.to_string_lossy(), members.to_string());
    let mut flags = vec!["--receive", &receive];
    if senders.contains(&host) {
        flags.extend(["--send", &send, "--members", &count]);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_decurion"));
    command.args(node_words(&format!("n{host}"), &settings, &flags));
    network.spawn(host, &format!("n{host}"), command)
}

fn source(directory: &Path, sender: usize) -> PathBuf {
    directory.join(format!("from-n{sender}"))
}

fn stored(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |data| data.len())
}

/// What a sender sends: nothing in it comes again, so that whatever is missing, doubled or out of order shows.
fn content(sender: usize) -> Vec<u8> {
    let mut random = Random(sender as u64);
    (0..BYTES / 8).flat_map(|_| random.next().to_le_bytes()).collect()
}
