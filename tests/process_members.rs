//! `decurion members`: asks a living member who is there, and says what is wrong when nobody answers.

mod command_support;

use std::io::Write;
use std::net::TcpListener;

use command_support::{nodes, run};

#[test]
fn a_member_tells_who_is_there_and_how_its_links_are() {
    let nodes = nodes(3, &[]);
    nodes[1].wait_line("primary", |line| line["primary"] == true);
    let view = nodes[1].wait_members(3);
    let at = nodes[1].address().to_string();
    // Heartbeats tell the round trip after a moment.
    let asked = nodes[1].wait_world("a measured link", || {
        let ended = run(&["members", "--at", &at, "--json"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let summary = ended.summary().clone();
        summary["links"].as_array().expect("a list").iter().any(|l| l["rtt_us"].as_u64() > Some(0)).then_some(summary)
    });
    for (field, expected) in [("ok", true), ("primary", true), ("ready", true), ("fenced", false)] {
        assert_eq!(asked[field], expected, "{field} in {asked}");
    }
    assert_eq!((&asked["asked"], &asked["coordinator"]), (&"n1".into(), &"n0".into()));
    assert_eq!(asked["view_id"], view["view_id"]);
    let members = asked["members"].as_array().expect("a list");
    assert_eq!(members.len(), 3);
    for (told, seen) in members.iter().zip(view["members"].as_array().expect("a list")) {
        for field in ["name", "incarnation", "address", "group", "role"] {
            assert_eq!(told[field], seen[field], "{field}");
        }
        assert_eq!(told["state"], "ready");
    }
    let links = asked["links"].as_array().expect("a list");
    assert!(links.iter().any(|l| l["peer"] == "n0" && l["state"] == "up" && l["transport"] == "tcp"), "{links:?}");
    assert!(links.iter().all(|l| l["queued_bytes"] == 0 && l["unstable_bytes"] == 0), "{links:?}");

    let table = run(&["members", "--at", &at]);
    assert_eq!(table.code, Some(0));
    assert!(table.stdout.contains("3 members, primary, unfenced, coordinator n0, as n1 sees it"), "{}", table.stdout);
    for node in &nodes {
        let address = node.address().to_string();
        assert!(table.stdout.lines().any(|l| l.contains(&node.name) && l.contains(&address)), "{}", table.stdout);
    }
    nodes[0].wait_members(3);
    assert!(nodes.iter().all(|n| n.lines("refused_joiner").is_empty() && n.lines("fault").is_empty()));
}

#[test]
fn where_no_member_answers_it_says_so() {
    let said = |words: &[&str], code: i32| {
        let words: Vec<&str> = ["members", "--json", "--at"].iter().chain(words).copied().collect();
        let ended = run(&words);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert_eq!(ended.summary()["ok"], false);
        ended.summary()["error"].as_str().expect("text").to_owned()
    };
    assert!(said(&["127.0.0.1"], 2).contains("127.0.0.1"));
    assert!(said(&["127.0.0.1:9"], 3).contains("is a member running there?"));
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("bound").to_string();
    assert!(said(&[&address, "--timeout-ms", "200"], 4).contains("no answer in time"));
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("bound").to_string();
    let answers = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().expect("it asks");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("it listens");
        stream
    });
    assert!(said(&[&address], 3).contains("no member of this version"));
    drop(answers.join());
}
