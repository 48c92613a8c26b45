//! A node that does not belong here is refused, and the reason stands at both ends (R3).

mod command_support;

use std::net::TcpListener;

use command_support::stranger::{Stranger, agreed, hello};
use command_support::{Process, nodes};
use decurion::wire::VERSION;
use decurion::wire::control::{Control, RefusalCode, Refuse};

/// A joiner with a setting of its own ends with exit code 2, and the reason stands at both ends.
fn refused(setting: (&str, &str), expected: &[&str]) {
    let nodes = nodes(2, &[]);
    let seed = nodes[1].address().to_string();
    let joiner = Process::node("guest", &[("cluster.seeds", &seed), setting], &[]);
    let line = nodes[1].wait_line("refused_joiner", |_| true);
    let ended = joiner.end();
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let told = ended.summary()["error"].as_str().expect("text");
    assert!(ended.stderr.contains(told), "{ended:?}");
    assert_eq!(line["name"], "guest");
    let noted = line["why"].as_str().expect("text");
    for word in expected.iter().chain(&[setting.1]) {
        assert!(told.contains(word) && noted.contains(word), "'{word}' at both ends: '{told}', '{noted}'");
    }
    assert!(told.contains(&seed), "who refused: {told}");
    nodes[0].wait_members(2);
}

#[test]
fn a_node_of_another_cluster_is_refused_at_both_ends() {
    refused(("cluster.name", "elsewhere"), &["command-test"]);
}

#[test]
fn a_node_with_other_settings_is_refused_at_both_ends() {
    refused(("group.size", "7"), &["group.size is 0 here and 7 there", "must be the same"]);
}

#[test]
fn a_node_with_a_taken_name_is_refused_at_both_ends() {
    // How long a name may be disputed follows from this.
    let quick = [("detector.silence_ms", "500"), ("detector.heartbeat_ms", "100")];
    let nodes = nodes(2, &quick);
    let seed = nodes[0].address().to_string();
    let mut settings = vec![("cluster.seeds", seed.as_str())];
    settings.extend(quick);
    let twin = Process::node("n1", &settings, &[]).end();
    assert_eq!(twin.code, Some(2), "{twin:?}");
    let told = twin.summary()["error"].as_str().expect("text").to_owned();
    let line = nodes[0].wait_line("refused_joiner", |line| line["name"] == "n1");
    let noted = line["why"].as_str().expect("text");
    assert!(told.contains("\"n1\"") && noted.contains("\"n1\""), "'{told}', '{noted}'");
    assert_eq!(nodes[1].wait_members(2)["members"].as_array().map(Vec::len), Some(2), "the first one stays");
}

#[test]
fn a_node_of_another_version_is_refused_with_the_versions() {
    let nodes = nodes(1, &[]);
    let mut greeting = hello("future", 77, &agreed(&[]));
    (greeting.version_min, greeting.version_max) = (VERSION + 1, VERSION + 2);
    let mut future = Stranger::connect(nodes[0].address());
    future.say(&Control::Hello(greeting).encode());
    let [Control::Refuse(refuse)] = &future.hear_all()[..] else { panic!("a refusal and the end") };
    assert_eq!(refuse.code, RefusalCode::Version);
    let versions = format!("wire version {VERSION} is spoken here, {} to {} there", VERSION + 1, VERSION + 2);
    assert_eq!(refuse.text, versions);
    assert_eq!(nodes[0].wait_line("refused_joiner", |l| l["name"] == "future")["why"], versions);
}

#[test]
fn a_node_that_a_newer_version_refuses_ends_with_its_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let seed = listener.local_addr().expect("bound").to_string();
    let joiner = Process::node("past", &[("cluster.seeds", &seed)], &[]);
    let (mut stream, _) = listener.accept().expect("it dials its seed");
    let text = "wire versions 8 to 9 are spoken here".to_owned();
    let refuse = Control::Refuse(Refuse { code: RefusalCode::Version, text: text.clone() });
    std::io::Write::write_all(&mut stream, &refuse.encode()).expect("it listens");
    let ended = joiner.end();
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.summary()["error"].as_str().is_some_and(|e| e.contains(&text) && e.contains(&seed)), "{ended:?}");
}
