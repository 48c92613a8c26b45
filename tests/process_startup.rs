//! A node that cannot start, or finds nobody, says what is wrong and what to do, and ends with the fitting code.

mod command_support;

use std::net::{TcpListener, UdpSocket};

use command_support::{Ended, Process, directory, node_words, run};

/// A node that must end by itself.
fn node(settings: &[(&str, &str)]) -> Ended {
    run(&node_words("n", settings, &[]).iter().map(String::as_str).collect::<Vec<_>>())
}

/// The text stands on stderr and in the summary; it has all of these words.
fn says(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    let text = ended.summary()["error"].as_str().expect("text");
    assert_eq!(ended.summary()["ok"], false);
    for word in words {
        assert!(text.contains(word) && ended.stderr.contains(word), "'{word}' in {ended:?}");
    }
}

#[test]
fn a_wrong_key_names_the_nearest_and_a_wrong_value_its_range() {
    says(&node(&[("group.sise", "3")]), 2, &["'group.sise'", "'group.size'"]);
    says(&node(&[("window.slow_ms", "soon")]), 2, &["window.slow_ms", "'soon'", "1000 to 3600000 ms"]);
    says(&node(&[("detector.lease_ms", "9999")]), 2, &["detector.lease_ms = '9999'", "detector.silence_ms"]);
    let file = directory("startup").join("node.toml");
    std::fs::write(&file, "[window]\nslow = 5\n").expect("the directory takes a file");
    let file = file.to_str().expect("text");
    let ended = run(&["node", "--json", "--config", file]);
    says(&ended, 2, &[&format!("{file}:2:1"), "'window.slow'", "'window.slow_ms'"]);
    says(&run(&["node", "--json", "--config", "/no/such.toml"]), 2, &["/no/such.toml"]);
}

#[test]
fn a_taken_port_is_named_with_what_to_do() {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = tcp.local_addr().expect("bound").to_string();
    says(&node(&[("node.bind", &address)]), 3, &[&address, "is taken", "node.bind"]);
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = udp.local_addr().expect("bound").to_string();
    says(&node(&[("node.bind", &address)]), 3, &[&address, "is taken", "node.bind"]);
}

#[test]
fn an_address_of_another_machine_is_named() {
    // Reserved for documentation: no machine has it.
    let ended = node(&[("node.bind", "192.0.2.1:7100"), ("security", "none")]);
    says(&ended, 3, &["192.0.2.1", "node.bind", "not an address of this machine"]);
}

#[test]
fn an_address_beyond_this_machine_must_be_meant() {
    says(&node(&[("node.bind", "0.0.0.0:0")]), 2, &["node.bind", "security = 'none'"]);
    says(&node(&[("node.advertise", "192.0.2.7:7100")]), 2, &["node.advertise", "security = 'none'"]);
}

#[test]
fn seeds_that_do_not_answer_are_named_when_the_time_is_over() {
    // One refuses, one takes the connection and stays silent, one is no host.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().expect("bound").to_string();
    let seeds = format!("127.0.0.1:9,{silent},no-such-host.invalid:7100");
    let ended = node(&[("cluster.seeds", &seeds), ("join.timeout_ms", "700")]);
    says(&ended, 4, &["gave up joining", "none of the seeds answered", "127.0.0.1:9", &silent, "no-such-host.invalid"]);
    assert!(!ended.lines.iter().any(|l| l["type"] == "view"), "it does not form a cluster beside its seeds: {ended:?}");
}

#[test]
fn a_seed_that_answers_late_is_found() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let seed = taken.local_addr().expect("bound").to_string();
    let early = Process::node("early", &[("cluster.seeds", &seed)], &[]);
    // It has dialled in vain at least once when the seed starts.
    drop(taken.accept().expect("it dials"));
    drop(taken);
    let late = Process::node("late", &[("node.bind", &seed)], &[]);
    early.wait_members(2);
    late.wait_members(2);
}

#[test]
fn a_file_that_cannot_be_sent_and_a_directory_that_cannot_be_made_are_named() {
    let words = |flags: &[&str]| run(&node_words("n", &[], flags).iter().map(String::as_str).collect::<Vec<_>>());
    says(&words(&["--send", "/no/such/file"]), 2, &["--send /no/such/file"]);
    says(&words(&["--receive", "/dev/null/x"]), 3, &["/dev/null/x"]);
}
