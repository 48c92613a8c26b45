//! A node that cannot store what it receives says so, leaves in order, and keeps what it has without a hole.

mod command_support;

use std::fs;
use std::path::Path;
use std::process::Command;

use command_support::{Ended, Process, directory, node_words};

/// Sends the command's own bytes to a receiver that was started by the caller and whose disk is full soon.
fn fill(receiver: Process, directory: &Path) -> Ended {
    let seed = receiver.address().to_string();
    let sender = Process::node("from", &[("cluster.seeds", &seed)], &["--send", env!("CARGO_BIN_EXE_decurion")]);
    let ended = receiver.end();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let error = ended.summary()["error"].as_str().expect("text");
    for word in ["cannot store in", directory.to_str().expect("text"), "free some space", "--receive"] {
        assert!(error.contains(word) && ended.stderr.contains(word), "'{word}' in {error}");
    }
    assert_eq!((&ended.summary()["ok"], &ended.summary()["reason"]), (&false.into(), &"left in order".into()));
    // The others go on, and saw it leave.
    sender.wait_line("sent", |_| true);
    sender.wait_members(1);
    assert!(sender.lines("suspect").is_empty(), "an orderly leave");
    assert_eq!(sender.terminate().code, Some(0));
    ended
}

#[test]
fn a_full_file_system_is_named_and_what_was_stored_stays_without_a_hole() {
    let directory = directory("full-disk");
    // A file system of 300 KiB that only the receiver sees, and that is gone with it; a copy is taken before that.
    let script = "mount -t tmpfs -o size=300k decurion-test \"$0\" || exit 77; \"$@\"; code=$?; \
                  cp \"$0/from\" \"$0.copy\"; exit $code";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", script]).arg(&directory);
    command.arg(env!("CARGO_BIN_EXE_decurion"));
    command.args(node_words("to", &[], &["--receive", directory.to_str().expect("text")]));
    let receiver = Process::spawn("to", command);
    if !receiver.opens() {
        let why = receiver.end();
        let text = format!("this system does not let the test mount a file system of its own: {}", why.stderr);
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{text}");
        return eprintln!("NOT TESTED: {text}");
    }
    fill(receiver, &directory);
    let stored = fs::read(directory.with_extension("copy")).expect("a copy of what was stored");
    let sent = fs::read(env!("CARGO_BIN_EXE_decurion")).expect("the command itself");
    assert!(stored.len() > 100_000 && stored.len() <= 300 * 1024, "{} bytes", stored.len());
    assert!(sent.starts_with(&stored), "what is there is the beginning of the stream");
}

#[test]
fn a_device_that_takes_nothing_is_named() {
    let directory = directory("full-device");
    std::os::unix::fs::symlink("/dev/full", directory.join("from")).expect("the directory takes a link");
    fill(Process::node("to", &[], &["--receive", directory.to_str().expect("text")]), &directory);
}
