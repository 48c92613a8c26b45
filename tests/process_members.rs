//! `decurion members`: asks a living member who is there, and says what is wrong when nobody answers.

mod command_support;

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use command_support::{PATIENCE, Process, nodes, run};
use decurion::{Config, Engine, Event, Mode, SessionChange, attributes};
use serde_json::Value;

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

/// What a node says of the sessions that it holds.
fn asked(node: &Process) -> Value {
    let ended = run(&["members", "--at", &node.address().to_string(), "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.summary().clone()
}

fn count(summary: &Value, field: &str) -> u64 {
    summary[field].as_u64().unwrap_or_else(|| panic!("a number '{field}' in {summary}"))
}

/// A node makes no sessions by itself: a member in this process makes them, and holds them together with the nodes.
#[test]
fn a_member_tells_how_many_sessions_it_holds_and_which_of_them_have_one_copy() {
    let nodes = nodes(2, &[]);
    assert_eq!(count(&asked(&nodes[0]), "sessions_primary"), 0);
    let mut config = Config::new();
    let seed = nodes[0].address().to_string();
    let pairs = [
        ("cluster.name", "command-test"),
        ("cluster.seeds", &seed),
        ("node.name", "host"),
        ("node.bind", "127.0.0.1:0"),
    ];
    pairs.into_iter().for_each(|(key, value)| config.set(key, value).expect("a setting"));
    let host = Engine::open(&config, Mode::Poll).expect("a port is free");
    let mut events = Vec::new();
    nodes[0].wait_world("the third member", || {
        host.poll(&mut events, 64, Duration::from_millis(20)).expect("it runs");
        let three = |e: Event| matches!(e, Event::View(change) if change.view.len() == 3);
        events.drain(..).any(three).then_some(())
    });
    nodes.iter().for_each(|node| drop(node.wait_members(3)));
    let made: Vec<_> = (0..20)
        .map(|_| host.session_create(0, attributes([("user", &b"ada"[..])]).expect("legal"), PATIENCE).expect("made"))
        .collect();
    made.iter().take(5).for_each(|session| {
        let sets = attributes([("cart", &b"pears"[..])]).expect("legal");
        let change = SessionChange { token: 1, sets, ..SessionChange::default() };
        host.session_write(&session.cookie, change, PATIENCE).expect("changed");
    });
    let told: Vec<Value> = nodes.iter().map(asked).collect();
    let sum = |told: &[Value], field: &str| told.iter().map(|t| count(t, field)).sum::<u64>();
    assert_eq!((sum(&told, "sessions_primary"), sum(&told, "sessions_secondary")), (0, 20), "{told:?}");
    assert!(told.iter().all(|t| (count(t, "session_bytes") > 0) == (count(t, "sessions_secondary") > 0)), "{told:?}");
    assert_eq!(sum(&told, "sessions_single"), 0);

    // Their owner goes: the nodes own them, and then each holds the other's copies.
    host.close();
    let told = nodes[0].wait_world("two copies of each on the nodes", || {
        let told: Vec<Value> = nodes.iter().map(asked).collect();
        let counts = ["sessions_primary", "sessions_secondary", "sessions_single"].map(|f| sum(&told, f));
        (counts == [20, 20, 0]).then_some(told)
    });
    let first = &told[0];
    let table = run(&["members", "--at", &seed]);
    let line = format!(
        "sessions of n0: {} owned, 0 of them without a second copy; {} second copies; {} bytes",
        first["sessions_primary"], first["sessions_secondary"], first["session_bytes"]
    );
    assert!(table.stdout.contains(&line), "{line}: {}", table.stdout);

    // And with one node left there is one copy of each.
    nodes[1].signal(libc::SIGKILL);
    nodes[0].wait_world("one copy of each", || {
        let told = asked(&nodes[0]);
        let all = count(&told, "sessions_primary") == 20 && count(&told, "sessions_secondary") == 0;
        (all && count(&told, "sessions_single") == 20).then_some(())
    });
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
