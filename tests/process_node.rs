//! `decurion node`: what it says, what it sends and receives, and how it ends.

mod command_support;

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use command_support::{PATIENCE, Process, directory, node_words, nodes};
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

#[test]
fn no_piece_of_a_file_is_longer_than_a_message_may_be() {
    let directory = directory("pieces");
    let file = directory.join("file");
    fs::write(&file, [7; 2_500]).expect("the directory takes a file");
    let short = ("message.max_bytes", "1000");
    let receiver = Process::node("to", &[short], &[]);
    let seed = receiver.address().to_string();
    let flags = ["--send", file.to_str().expect("text")];
    let sender = Process::node("from", &[short, ("cluster.seeds", &seed)], &flags);
    let sent = sender.wait_line("sent", |_| true);
    assert_eq!((&sent["messages"], &sent["bytes"]), (&3.into(), &2_500.into()));
    receiver.wait_line("message", |line| line["number"] == 3 && line["bytes"] == 500);
    assert_eq!(sender.terminate().code, Some(0));
}

#[test]
fn a_file_that_cannot_be_sent_is_told_by_a_line_the_summary_and_the_exit_code() {
    // It can be opened, and nothing is at its beginning.
    let node = Process::node("from", &[], &["--members", "1", "--send", "/proc/self/mem"]);
    let failed = node.wait_line("send_failed", |_| true);
    assert_eq!((&failed["messages"], &failed["bytes"]), (&0.into(), &0.into()));
    let ended = node.terminate();
    assert_eq!((ended.code, &ended.summary()["ok"]), (Some(3), &false.into()), "{ended:?}");
    assert_eq!(ended.summary()["error"], failed["error"]);
    assert!(ended.stderr.contains("--send stopped: cannot read"), "{ended:?}");
}

/// The writing end of a pipe that takes nothing more, and the reading end.
fn full_pipe() -> (std::io::PipeWriter, std::io::PipeReader) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let descriptor = writer.as_raw_fd();
    let flags = |flags: i32| {
        // SAFETY: the descriptor is ours and open, and the call takes no pointer.
        assert_eq!(unsafe { libc::fcntl(descriptor, libc::F_SETFL, flags) }, 0);
    };
    flags(libc::O_NONBLOCK);
    while writer.write(&[b'.'; 4_096]).is_ok() {}
    assert_eq!(writer.write(b".").map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    flags(0);
    (writer, reader)
}

/// A process that does not outlive the test.
struct Ours(Child);

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Looks again and again, within a bound, at what tells no events.
fn wait(what: &str, bound: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + bound;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn it_ends_in_time_also_when_nobody_reads_what_it_says() {
    let (stdout, _unread) = full_pipe();
    let stderr = directory("unread").join("stderr");
    let node = Command::new(env!("CARGO_BIN_EXE_decurion"))
        .args(node_words("n", &[], &[]))
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(File::create(&stderr).expect("the directory takes a file"))
        .spawn()
        .expect("it starts");
    let (pid, mut node) = (node.id(), Ours(node));
    wait("its address", PATIENCE, || fs::read_to_string(&stderr).is_ok_and(|text| text.contains("listens")));
    // The counters want the same stdout.
    // SAFETY: the process is our own child and not collected yet, so the number is still its.
    let signal = |signal| assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0);
    signal(libc::SIGUSR1);
    let began = Instant::now();
    signal(libc::SIGTERM);
    wait("its end", Duration::from_secs(5), || node.0.try_wait().expect("our own child").is_some());
    assert_eq!(node.0.wait().expect("our own child").code(), Some(0), "after {:?}", began.elapsed());
}

#[test]
fn what_was_ignored_when_it_began_stays_ignored() {
    let node = node_words("n", &[], &[]);
    let node: Vec<&str> = node.iter().map(String::as_str).collect();
    let demo = ["demo", "--json", "--members", "3", "--groups", "1", "--sessions", "0", "--faults", "off", "--hold"];
    let bench = ["bench", "idle", "--json", "--members", "3", "--seconds", "600"];
    for words in [&node[..], &demo, &bench] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_decurion"));
        command.args(words);
        // SAFETY: between fork and exec run two async-signal-safe system calls that touch no memory.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGHUP, libc::SIG_IGN);
                libc::signal(libc::SIGINT, libc::SIG_IGN);
                Ok(())
            });
        }
        let process = Process::spawn(words[0], command);
        process.wait_world("a watch for SIGTERM", || {
            (signals(&process, "SigCgt") & bit(libc::SIGTERM) != 0).then_some(())
        });
        let ignored = bit(libc::SIGHUP) | bit(libc::SIGINT);
        assert_eq!(signals(&process, "SigIgn") & ignored, ignored, "{words:?}");
        process.terminate();
    }
}

/// The set of signals of this name that the system tells of a process.
fn signals(process: &Process, set: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(set)?.strip_prefix(":")).expect("the system tells it");
    u64::from_str_radix(line.trim(), 16).expect("hexadecimal")
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}
