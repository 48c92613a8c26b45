//! `decurion node`: what it says, what it sends and receives, and how it ends.

mod command_support;

use std::fs;
use std::time::{Duration, Instant};

use command_support::{Process, directory, nodes};
use serde_json::Value;

#[test]
fn a_file_that_one_sends_lies_whole_in_the_directory_of_another() {
    let directory = directory("received");
    let receiver = Process::node("to", &[], &["--receive", directory.to_str().expect("text")]);
    let seed = receiver.address().to_string();
    let file = env!("CARGO_BIN_EXE_decurion");
    let sender = Process::node("from", &[("cluster.seeds", &seed)], &["--send", file]);
    let sent = sender.wait_line("sent", |_| true);
    let expected = fs::read(file).expect("the command itself");
    assert_eq!(sent["bytes"], expected.len());
    let messages = sent["messages"].as_u64().expect("a number");
    receiver.wait_line("message", |line| line["number"] == messages);
    let ended = receiver.terminate();
    assert_eq!((ended.code, &ended.summary()["received_bytes"]), (Some(0), &expected.len().into()));
    assert!(fs::read(directory.join("from")).expect("a file with the sender's name") == expected);
    let numbers: Vec<u64> =
        ended.lines.iter().filter(|l| l["type"] == "message").filter_map(|l| l["number"].as_u64()).collect();
    assert!(numbers.iter().copied().eq(1..=messages), "each message once, in order");
}

#[test]
fn lines_of_stdin_are_messages() {
    let receiver = Process::node("to", &[], &["--receive", "-"]);
    let seed = receiver.address().to_string();
    let mut sender = Process::node("from", &[("cluster.seeds", &seed)], &["--send", "-"]);
    sender.write("good morning\nround ⭘\n");
    let message = receiver.wait_line("message", |line| line["number"] == 2);
    assert_eq!((&message["text"], &message["sender"]), (&"round ⭘\n".into(), &"from".into()));
    assert_eq!((&message["bytes"], &message["direct"]), (&("round ⭘\n".len()).into(), &false.into()));
    assert_eq!(message["view_id"], receiver.wait_members(2)["view_id"]);
    // The end of stdin ends the sending, not the member.
    sender.write("the last one");
    sender.close_stdin();
    receiver.wait_line("message", |line| line["text"] == "the last one");
    sender.wait_line("sent", |line| line["messages"] == 3);
    assert_eq!(sender.terminate().code, Some(0));
}

#[test]
fn it_says_what_happens_and_leaves_in_order_on_sigterm() {
    let mut nodes = nodes(3, &[]);
    let view = nodes[0].wait_members(3);
    let fields = ["name", "incarnation", "address", "group", "role", "state"];
    for member in view["members"].as_array().expect("a list") {
        assert!(fields.iter().all(|field| member[field].is_string()), "{member}");
    }
    assert_eq!((&view["me"], &view["coordinator"]), (&"n0".into(), &"n0".into()));
    let ready = nodes[2].wait_line("ready", |_| true);
    assert_eq!((&ready["name"], &ready["schema"]), (&"n2".into(), &1.into()));

    let began = Instant::now();
    let left = nodes.pop().expect("three").terminate();
    assert!(began.elapsed() < Duration::from_secs(5), "leaving took {:?}", began.elapsed());
    assert_eq!(left.code, Some(0), "{left:?}");
    assert_eq!((&left.summary()["ok"], &left.summary()["reason"]), (&true.into(), &"left in order".into()));
    assert_eq!(left.lines[left.lines.len() - 2]["type"], "left");
    assert!(left.lines.iter().all(|line| line["schema"] == 1 && line["type"].is_string()));
    assert_eq!(nodes[0].wait_members(2)["left"], Value::from(vec!["n2"]));
    assert!(nodes[0].lines("suspect").is_empty(), "an orderly leave raises no suspicion");

    let killed = nodes.pop().expect("two");
    killed.signal(libc::SIGKILL);
    assert_eq!(killed.end().code, None);
    let suspect = nodes[0].wait_line("suspect", |line| line["member"] == "n1");
    assert!(suspect["why"].is_string(), "{suspect}");
    assert_eq!(nodes[0].wait_members(1)["left"], Value::from(vec!["n1"]));
}

#[test]
fn without_json_what_comes_is_all_that_stands_on_stdout() {
    let receiver = Process::start(
        "to",
        &["node", "--set", "node.bind=127.0.0.1:0", "--set", "cluster.name=plain", "--receive", "-"],
    );
    // Its address is in what it says for people.
    let address = receiver.wait_error(" listens at ");
    let sender = Process::start(
        "from",
        &["node", "--set", "node.bind=127.0.0.1:0", "--set", "cluster.name=plain"]
            .into_iter()
            .chain(["--set", &format!("cluster.seeds={address}"), "--send", "/etc/hostname"])
            .collect::<Vec<_>>(),
    );
    let expected = fs::read_to_string("/etc/hostname").expect("every machine has one");
    receiver.wait_world("the file", || receiver.stdout().contains(expected.trim()).then_some(()));
    assert_eq!(sender.terminate().code, Some(0));
    let ended = receiver.terminate();
    assert_eq!((ended.code, ended.stdout.trim()), (Some(0), expected.trim()));
}
