//! `decurion mcast-test` as administrators run it: several testers at once, on one host and on hosts of a bad network.

mod command_support;
mod network_support;

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

use command_support::{Ended, Process, run};
use decurion::runtime::multicast::{GroupOptions, GroupSocket, Outgoing};
use network_support::link::Conditions;
use network_support::{Network, address, seed};
use serde_json::Value;

const SEED: usize = 7;

fn words(group: SocketAddr, name: &str, more: &[&str]) -> Vec<String> {
    let group = group.to_string();
    let all = ["mcast-test", "--json", "--group", &group, "--name", name];
    all.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

/// A group that no other test has: the port was free just now.
fn group_of_loopback(last: u8) -> SocketAddr {
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
    SocketAddr::from(([239, 192, 78, last], port))
}

fn on_loopback(group: SocketAddr, name: &str, more: &[&str]) -> Process {
    let all = [&["--interface", "127.0.0.1", "--ttl", "0"], more].concat();
    let words = words(group, name, &all);
    Process::start(name, &words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn on_host(network: &Network, host: usize, group: SocketAddr, more: &[&str]) -> Process {
    let name = format!("h{host}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_decurion"));
    command.args(words(group, &name, more));
    network.spawn(host, &name, command)
}

fn cell<'a>(ended: &'a Ended, hearer: &str, sender: &str) -> &'a Value {
    let cells = ended.summary()["matrix"].as_array().expect("a matrix");
    let found = cells.iter().find(|cell| cell["hearer"] == hearer && cell["sender"] == sender);
    found.unwrap_or_else(|| panic!("{hearer} and {sender} are not in {cells:?}"))
}

fn has(list: &Value, text: &str) -> bool {
    list.as_array().expect("a list").iter().any(|line| line.as_str().expect("text").contains(text))
}

#[test]
fn three_testers_hear_each_other_and_a_fourth_is_missed() {
    let group = group_of_loopback(1);
    let names = ["alpha", "beta", "gamma"];
    let expect = [&["--seconds", "2", "--expect", "3"][..], &["--seconds", "2"], &["--seconds", "2", "--expect", "4"]];
    let testers: Vec<Process> = names.iter().zip(expect).map(|(name, more)| on_loopback(group, name, more)).collect();
    testers[2].wait_line("start", |_| true);
    let stranger = send_foreign(group);
    let ended: Vec<Ended> = testers.into_iter().map(Process::end).collect();
    for (ended, name) in ended.iter().zip(names) {
        for (hearer, sender) in names.iter().flat_map(|hearer| names.map(|sender| (hearer, sender))) {
            let cell = cell(ended, hearer, sender);
            assert_eq!((&cell["state"], &cell["lost"]), (&"heard".into(), &0.into()), "{name} says {cell}");
            assert_eq!(cell["largest_bytes"], 1_400, "{cell}");
            assert!(cell["rtt_us"].as_u64().is_some_and(|us| (1..2_000_000).contains(&us)), "{cell}");
        }
    }
    let codes: Vec<Option<i32>> = ended.iter().map(|ended| ended.code).collect();
    assert_eq!(codes, [Some(0), Some(0), Some(1)], "{:?}", ended[0].stderr);
    assert_eq!(ended[0].summary()["ok"], true);
    let missed = ended[2].summary();
    assert!(missed["ok"] == false && has(&missed["problems"], "3 testers, itself among them, and 4 are expected"));
    assert!(has(&missed["advice"], "firewall") && has(&missed["advice"], "IGMP querier"), "{missed}");
    // It came when the last had started, so that all of them counted it.
    let foreign = &ended[2].summary()["foreign"][0];
    assert_eq!((&foreign["from"], &foreign["datagrams"], &foreign["decurion"]), (&stranger, &2.into(), &true.into()));
}

/// What a live cluster may send on the group.
fn send_foreign(group: SocketAddr) -> Value {
    let interface = Some("127.0.0.1".parse().expect("an address"));
    let mut socket = GroupSocket::open(&GroupOptions { group, interface, ttl: 0, buffer_bytes: 0 }).expect("a group");
    let datagram = Outgoing { head: b"DCNd", body: b"a heartbeat, say" };
    assert_eq!(socket.send(&[datagram, datagram]), 2);
    socket.local().to_string().into()
}

#[test]
fn without_json_a_person_reads_a_matrix() {
    let group = group_of_loopback(2).to_string();
    let words = ["mcast-test", "--group", &group, "--interface", "127.0.0.1", "--name", "solo", "--seconds", "1"];
    let ended = run(&[&words[..], &["--ttl", "0", "--expect", "1"]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("heard solo (this one)") && ended.stderr.contains("all well"), "{}", ended.stderr);
    let row = ended.stdout.lines().find(|line| line.split_whitespace().eq(["1", "solo", "0"]));
    assert!(row.is_some(), "{}", ended.stdout);
    let alone = run(&[&words[..], &["--ttl", "0"]].concat());
    assert_eq!(alone.code, Some(1), "{alone:?}");
    assert!(alone.stderr.contains("solo hears nobody but itself") && alone.stderr.contains("--interface"), "{alone:?}");
}

#[test]
fn a_signal_ends_a_test_with_what_is_known() {
    let group = group_of_loopback(3);
    let tester = on_loopback(group, "alpha", &["--seconds", "600", "--expect", "1"]);
    tester.wait_line("heard", |line| line["name"] == "alpha");
    tester.signal(libc::SIGINT);
    let ended = tester.end();
    assert_eq!((ended.code, cell(&ended, "alpha", "alpha")["lost"].clone()), (Some(0), 0.into()), "{ended:?}");
}

#[test]
fn wrong_usage_says_what_is_right() {
    let refused = |words: &[&str], text: &str| {
        let ended = run(&[&["mcast-test"], words].concat());
        assert_eq!(ended.code, Some(2), "{words:?}: {ended:?}");
        assert!(ended.stderr.contains(text), "{words:?}: {}", ended.stderr);
    };
    refused(&[], "--group");
    refused(&["--group", "10.1.2.3:7001"], "10.1.2.3 is not a multicast address");
    refused(&["--group", "239.192.0.1:0"], "needs a port");
    refused(&["--group", "239.192.0.1:7001", "--rate", "1001"], "1..=1000");
    refused(&["--group", "239.192.0.1:7001", "--rate", "1000", "--bytes", "9000"], "take less of one");
    refused(&["--group", "239.192.0.1:7001", "--name", ""], "--name");
    refused(&["--group", "239.192.0.1:7001", "--bytes", "10"], "allowed");
}

#[test]
fn an_interface_that_is_not_here_is_the_environments_fault() {
    let ended = run(&["mcast-test", "--json", "--group", "239.192.0.1:7001", "--interface", "203.0.113.9"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let error = ended.summary()["error"].as_str().expect("text");
    assert!(error.contains("203.0.113.9 is not an address of this machine"), "{error}");
}

/// A fifth of all frames is lost between any two hosts: each cell of each matrix shows about that, and the diagonal nothing.
#[test]
fn loss_on_the_network_is_measured() {
    let Some(network) = Network::new(3, seed(SEED)) else { return };
    network.set_all(Conditions { loss: 20.0, delay_us: 1_000, ..Conditions::default() });
    let group: SocketAddr = "239.192.78.4:7001".parse().expect("an address");
    let testers: Vec<Process> = (0..3)
        .map(|host| {
            let interface = address(host).to_string();
            on_host(&network, host, group, &["--interface", &interface, "--seconds", "3", "--rate", "200"])
        })
        .collect();
    for ended in testers.into_iter().map(Process::end) {
        assert_eq!(ended.code, Some(1), "{ended:?}");
        for (hearer, sender) in (0..3).flat_map(|hearer| (0..3).map(move |sender| (hearer, sender))) {
            let cell = cell(&ended, &format!("h{hearer}"), &format!("h{sender}"));
            let lost = cell["lost_percent"].as_f64().expect("a number");
            eprintln!("h{hearer} lost {lost:.1} % of what h{sender} sent");
            if hearer == sender {
                assert_eq!(lost, 0.0, "{cell}");
            } else {
                assert!((12.0..28.0).contains(&lost), "{cell}");
                assert!(cell["rtt_us"].as_u64().is_some_and(|us| us >= 2_000), "there and back: {cell}");
            }
        }
        assert!(has(&ended.summary()["problems"], "has lost"), "{ended:?}");
    }
}

#[test]
fn disorder_and_doubles_are_no_loss() {
    let Some(network) = Network::new(2, seed(SEED)) else { return };
    network.set_all(Conditions { reordering: 20.0, duplication: 20.0, ..Conditions::default() });
    let group: SocketAddr = "239.192.78.5:7001".parse().expect("an address");
    let testers = [0, 1].map(|host| {
        let interface = address(host).to_string();
        // Close enough to overtake each other: a frame is held back for a few milliseconds.
        on_host(&network, host, group, &["--interface", &interface, "--seconds", "2", "--rate", "1000"])
    });
    for ended in testers.map(Process::end) {
        let cell = cell(&ended, "h1", "h0");
        assert!(cell["out_of_order"].as_u64() > Some(20) && cell["duplicated"].as_u64() > Some(20), "{cell}");
        // The newest may still have been held back.
        assert!(cell["lost"].as_u64() < Some(10), "{cell}");
    }
}

#[test]
fn one_deaf_direction_is_named() {
    let Some(network) = Network::new(2, seed(SEED)) else { return };
    network.cut(|from, to| from == 0 && to == 1);
    let group: SocketAddr = "239.192.78.6:7001".parse().expect("an address");
    let testers = [0, 1].map(|host| {
        let interface = address(host).to_string();
        on_host(&network, host, group, &["--interface", &interface, "--seconds", "3"])
    });
    let [one, other] = testers.map(Process::end);
    assert_eq!((one.code, other.code), (Some(1), Some(1)));
    assert_eq!(one.summary()["problems"], serde_json::json!(["h1 does not hear h0"]));
    assert_eq!(cell(&one, "h0", "h1")["state"], "heard");
    assert_eq!(cell(&one, "h1", "h0")["state"], "unheard");
    assert_eq!(other.summary()["problems"], serde_json::json!(["h1 hears nobody but itself"]));
    assert!(has(&other.summary()["advice"], "firewall of the deaf host"), "{other:?}");
}

#[test]
fn where_no_route_leads_to_the_group_it_says_what_to_do() {
    let Some(network) = Network::new(1, seed(SEED)) else { return };
    let group: SocketAddr = "239.192.78.7:7001".parse().expect("an address");
    let ended = on_host(&network, 0, group, &["--seconds", "1"]).end();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let error = ended.summary()["error"].as_str().expect("text");
    assert!(error.contains("no route leads to the group") && error.contains("ip route add 224.0.0.0/4"), "{error}");
}

#[test]
fn a_group_of_ipv6_is_heard_over_a_network() {
    let Some(network) = Network::new(2, seed(SEED)) else { return };
    let group: SocketAddr = "[ff15::4d:1]:7001".parse().expect("an address");
    let addresses = [0, 1].map(|host| network.with_ipv6(host));
    let testers = [0, 1].map(|host: usize| {
        let interface = addresses[host].to_string();
        on_host(&network, host, group, &["--interface", &interface, "--seconds", "2", "--expect", "2"])
    });
    for ended in testers.map(Process::end) {
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let testers = ended.summary()["testers"].as_array().expect("testers");
        for (tester, address) in testers.iter().zip(addresses) {
            assert_eq!(tester["from"], format!("[{address}]:7001"));
        }
    }
}
