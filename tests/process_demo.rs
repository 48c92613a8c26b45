//! The demo end to end: a file streams from two members to all, sessions change on all of them, a leader and the coordinator
//! are killed, nothing is lost.

mod command_support;

use std::collections::BTreeSet;
use std::fs;

use command_support::{Ended, directory, run};
use serde_json::Value;
use sha2::{Digest, Sha256};

const MEMBERS: usize = 9;
const GROUPS: usize = 3;
const SESSIONS: u64 = 300;

fn list<'a>(of: &'a Value, field: &str) -> &'a [Value] {
    of[field].as_array().unwrap_or_else(|| panic!("a list '{field}' in {of}"))
}

fn names(list: &[Value]) -> BTreeSet<&str> {
    list.iter().map(|entry| entry["name"].as_str().expect("a name")).collect()
}

/// A file whose every piece is another one, and that ends in the middle of a piece.
fn file(test: &str) -> (String, Vec<u8>) {
    let bytes: Vec<u8> = (0..250_001_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let path = directory(test).join("file");
    fs::write(&path, &bytes).expect("the directory takes a file");
    (path.to_str().expect("text").to_owned(), bytes)
}

fn demo(file: &str, members: usize, groups: usize, faults: &str, sessions: u64, more: &[&str]) -> Ended {
    let (members, groups, sessions) = (members.to_string(), groups.to_string(), sessions.to_string());
    let shape =
        ["--members", &members, "--groups", &groups, "--faults", faults, "--seconds", "3", "--sessions", &sessions];
    run(&[&["demo", "--json", "--file", file], &shape[..], more].concat())
}

#[test]
fn a_leader_and_the_coordinator_die_and_every_receiver_has_every_byte() {
    let (file, bytes) = file("demo-faults");
    let ended = demo(&file, MEMBERS, GROUPS, "on", SESSIONS, &[]);
    assert!(ended.summary().get("multicast").is_none(), "it was not wanted: {ended:?}");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let summary = ended.summary();
    assert_eq!((&summary["ok"], list(summary, "broken").len()), (&true.into(), 0), "{summary}");
    assert!(summary["elapsed_ms"].as_u64() > Some(2_000), "{summary}");
    sessions_are_read_back(summary);

    let cast = list(summary, "members");
    assert_eq!(names(cast).len(), MEMBERS);
    let groups: BTreeSet<Option<&str>> = cast.iter().map(|m| m["group"].as_str()).collect();
    let role = |role: &str| cast.iter().filter(|m| m["role"] == role).count();
    assert_eq!((groups.len(), role("coordinator"), role("leader"), role("deputy")), (GROUPS, 1, GROUPS - 1, GROUPS));

    let faults: Vec<_> = list(summary, "faults").iter().map(|f| (f["kind"].as_str(), f["role"].as_str())).collect();
    let expected = [("kill", "leader"), ("restart", "leader"), ("kill", "coordinator")];
    assert_eq!(faults, expected.map(|(kind, role)| (Some(kind), Some(role))));
    assert!(list(summary, "faults").iter().all(|f| f["pid"].is_u64() && f["at_ms"].is_u64()), "{summary}");

    let deaths = list(summary, "deaths");
    assert_eq!(deaths.len(), 2);
    for death in deaths {
        let noticed = death["noticed_all_ms"].as_u64();
        assert!(noticed.is_some_and(|ms| ms <= 2_000) && death["delivery_gap_ms"].is_u64(), "{death}");
    }
    everybody_has_all(summary, &bytes, MEMBERS);
    // One of nine is gone for good; each of the others is connected, and none with all.
    let connections = list(summary, "connections");
    assert_eq!(connections.len(), MEMBERS - 1);
    assert!(connections.iter().all(|c| c["count"].as_u64() >= Some(1)), "{connections:?}");
    assert!(ended.stderr.contains("SIGKILL to") && ended.stderr.contains("nothing lost, nothing double"));
    assert!(ended.stderr.contains("300 acknowledged, 300 read back, 0 lost, 0 stale"), "{}", ended.stderr);
    assert!(ended.lines.iter().all(|line| line["schema"] == 1 && line["type"].is_string()));
}

fn everybody_has_all(summary: &Value, bytes: &[u8], members: usize) {
    let sum = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>();
    let whole = sum(bytes);
    assert_eq!((&summary["file_sha256"], &summary["file_bytes"]), (&whole.clone().into(), &bytes.len().into()));
    let receivers = list(summary, "receivers");
    // Two senders; the other survivors receive from both, they from each other.
    let senders: BTreeSet<&str> = receivers.iter().filter_map(|r| r["sender"].as_str()).collect();
    assert_eq!((senders.len(), receivers.len()), (2, (members - 1) * 2 - 2));
    let back = list(summary, "faults").iter().find(|f| f["kind"] == "restart").expect("one comes back");
    let mut returned = 0;
    for receiver in receivers {
        for count in ["lost", "duplicated", "out_of_order"] {
            assert_eq!(receiver[count], 0, "{receiver}");
        }
        assert_eq!(receiver["sha256"], whole, "{receiver}");
        let by_phase: Vec<u64> = list(receiver, "bytes_by_phase").iter().filter_map(Value::as_u64).collect();
        let total = receiver["bytes"].as_u64().expect("a number");
        assert_eq!((by_phase.len(), by_phase.iter().sum::<u64>()), (3, total), "{receiver}");
        let passes = receiver["passes"].as_u64().expect("a number");
        if receiver["returned"] == true {
            returned += 1;
            assert_eq!(receiver["name"], back["name"]);
            assert!(by_phase[0] == 0 && by_phase[1] > 0 && by_phase[2] > 0 && passes >= 1, "{receiver}");
            let offset = receiver["from_offset"].as_u64().expect("a number") as usize;
            let rest = if offset > 0 { Value::from(sum(&bytes[offset..])) } else { Value::Null };
            assert_eq!(receiver["rest_sha256"], rest, "the stream from where it came in");
        } else {
            assert!(by_phase.iter().all(|bytes| *bytes > 0), "{receiver}");
            assert_eq!(total, passes * bytes.len() as u64, "whole passes, all of them: {receiver}");
        }
    }
    assert_eq!(returned, 2, "one came back and hears both");
}

/// Every session was acknowledged, was changed after it was made, and is there after both deaths as it was acknowledged last.
fn sessions_are_read_back(summary: &Value) {
    let sessions = &summary["sessions"];
    let count = |field: &str| sessions[field].as_u64().unwrap_or_else(|| panic!("a number '{field}' in {sessions}"));
    assert_eq!((count("acked"), count("read")), (SESSIONS, SESSIONS));
    assert_eq!(["lost", "stale", "garbled", "made_twice"].map(count), [0; 4], "{sessions}");
    assert!(count("writes") >= 2 * SESSIONS && count("repeated") <= count("writes"), "{sessions}");
}

#[test]
fn by_multicast_at_a_loss_of_one_in_twenty_and_two_deaths_nothing_is_missing() {
    let (file, bytes) = file("demo-multicast");
    let ended = demo(&file, 6, 2, "on", 100, &["--transport", "multicast", "--loss", "0.05"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let summary = ended.summary();
    assert_eq!((&summary["ok"], list(summary, "broken").len()), (&true.into(), 0), "{summary}");
    everybody_has_all(summary, &bytes, 6);
    assert_eq!(list(summary, "deaths").len(), 2);
    let sessions = &summary["sessions"];
    assert_eq!(["acked", "read", "lost", "stale"].map(|field| sessions[field].as_u64()), [100, 100, 0, 0].map(Some));
    let multicast = &summary["multicast"];
    let count = |field: &str| multicast[field].as_f64().unwrap_or_else(|| panic!("a number '{field}' in {multicast}"));
    // Six passes of two senders, to five or six members each, themselves included.
    let (sent, received) = (count("datagrams_sent"), count("datagrams_received"));
    assert!(sent * 61_504.0 > 12.0 * bytes.len() as f64 && received > 4.0 * sent, "{multicast}");
    let part = count("datagrams_thrown_away") / (received + count("datagrams_thrown_away"));
    // Some ten thousand datagrams: more than four deviations on either side.
    assert!((0.04..0.06).contains(&part), "{part}: {multicast}");
    assert!(count("repairs_asked") > 0.0 && count("repair_bytes_sent") > 0.0, "{multicast}");
    let ratio = count("repair_bytes_per_lost_byte");
    assert!((0.8..4.0).contains(&ratio), "what was lost was sent again, and not much more: {multicast}");
    assert!(ended.stderr.contains("thrown away on purpose"), "{}", ended.stderr);
}

#[test]
fn without_faults_nobody_dies() {
    let (file, bytes) = file("demo-no-faults");
    let ended = demo(&file, 3, 1, "off", 0, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let summary = ended.summary();
    assert_eq!((list(summary, "faults").len(), list(summary, "deaths").len()), (0, 0));
    assert!(summary.get("sessions").is_none() && !ended.stderr.contains("session"), "none were wanted: {summary}");
    assert_eq!(list(summary, "receivers").len(), 4);
    assert!(list(summary, "receivers").iter().all(|r| r["bytes"].as_u64() >= Some(6 * bytes.len() as u64)));
}

#[test]
fn what_the_demo_cannot_do_is_refused() {
    let empty = directory("demo-refused").join("empty");
    fs::write(&empty, "").expect("the directory takes a file");
    let empty = empty.to_str().expect("text");
    for (words, said) in [
        (&["--security", "tls"][..], "not built"),
        (&["--security", "key"], "not built"),
        (&["--loss", "0.05"], "--transport multicast"),
        (&["--transport", "multicast", "--loss", "0.95"], "0 to 0.9"),
        (&["--transport", "pigeons"], "multicast"),
        (&["--sessions", "20001"], "0 to 20000"),
        (&["--members", "5", "--groups", "4"], "do not fill"),
        (&["--members", "4", "--groups", "1"], "--faults off"),
        (&["--file", "/no/such/file"], "/no/such/file"),
        (&["--file", empty], "nothing to stream"),
        (&["--file", "/dev/zero"], "not a regular file"),
        (&["--file", "/"], "not a regular file"),
        (&["--file", "/proc/cpuinfo"], "nothing to stream"),
    ] {
        let ended = run(&[&["demo", "--json"], words].concat());
        assert_eq!((ended.code, &ended.summary()["ok"]), (Some(2), &false.into()), "{words:?}: {ended:?}");
        assert!(ended.stderr.contains(said), "{words:?}: {ended:?}");
    }
}
