//! `decurion bench`: each workload with tiny settings gives a summary whose fields are there and fit together, and what is not
//! built is refused.

mod command_support;
mod network_support;

use command_support::{Ended, run};
use network_support::Network;
use serde_json::Value;

/// Runs a workload with three members for a moment, unless the words say otherwise.
fn bench(words: &[&str]) -> (Ended, Value) {
    let words = [&["bench"][..], words, &["--pairs", "1", "--json"]].concat();
    let ended = run(&words);
    assert_eq!(ended.code, Some(0), "{words:?}: {ended:?}");
    let summary = ended.summary().clone();
    assert_eq!(summary["ok"], true, "{summary}");
    (ended, summary)
}

fn number(of: &Value, key: &str) -> f64 {
    of[key].as_f64().unwrap_or_else(|| panic!("{key} is no number: {of}"))
}

/// What holds for every workload that compares rates.
fn is_consistent(ended: &Ended, summary: &Value, members: usize, receivers: f64) {
    for key in ["lost", "duplicated", "out_of_order", "raw_wrong"] {
        assert_eq!(summary[key], 0, "{key}: {summary}");
    }
    let positive = [
        "deliveries_per_s",
        "raw_deliveries_per_s",
        "cpu_s_per_million",
        "raw_cpu_s_per_million",
        "ratio_rate",
        "ratio_cpu",
        "syscalls_per_1000",
        "copied_bytes_per_byte",
        "allocations_per_million",
        "rss_anon_peak_bytes",
        "p50_us",
    ];
    positive.iter().for_each(|key| assert!(number(summary, key) > 0.0, "{key}: {summary}"));
    assert!(number(summary, "p50_us") <= number(summary, "p99_us"), "{summary}");
    assert!(number(summary, "p99_us") <= number(summary, "p999_us"), "{summary}");
    assert_eq!(summary["pids"].as_array().map(Vec::len), Some(members), "{summary}");
    assert_eq!(summary["group_sizes"], serde_json::json!([members]));
    assert_eq!(summary["stream_links"], members - 1);
    let pair = ended.lines.iter().find(|line| line["type"] == "pair").expect("a line of the pair");
    let ratio = number(&pair["ours"], "deliveries_per_s") / number(&pair["raw"], "deliveries_per_s");
    // Of one pair the median is the pair itself, and so are both ends of its interval.
    for ratios in [&summary["ratio_rate"], &summary["ratio_rate_ci95"][0], &summary["ratio_rate_ci95"][1]] {
        assert!((ratios.as_f64().expect("a number") - ratio).abs() < 1e-9, "{ratios} and {ratio}");
    }
    for side in [&pair["ours"], &pair["raw"]] {
        let deliveries = number(side, "deliveries");
        assert!(deliveries > 0.0 && deliveries % receivers == 0.0, "everybody has everything: {side}");
        let rate = deliveries / number(side, "seconds");
        assert!((rate / number(side, "deliveries_per_s") - 1.0).abs() < 1e-9, "{side}");
    }
    assert_eq!(number(&pair["raw"], "copied_bytes_per_byte"), 0.0, "{pair}");
    assert_eq!(summary["config"]["members"], members, "{summary}");
}

#[test]
fn streams_arrive_whole_in_every_mode_and_are_compared_with_raw() {
    for (workload, mode) in [("relay", "handler"), ("relay", "loop"), ("fanout", "poll")] {
        let (ended, summary) = bench(&[workload, "--members", "3", "--seconds", "0.2", "--mode", mode]);
        is_consistent(&ended, &summary, 3, 2.0);
        // A short message is copied once into its batch, and what is cut at the end of a chunk a little.
        let copied = number(&summary, "copied_bytes_per_byte");
        assert!((1.0..8.0).contains(&copied), "{workload} {mode}: {copied}");
        assert_eq!(summary["config"]["mode"], mode);
    }
}

#[test]
fn long_messages_and_many_senders_arrive_whole() {
    let (ended, summary) = bench(&["all-to-all", "--members", "3", "--seconds", "0.2", "--bytes", "1024"]);
    is_consistent(&ended, &summary, 3, 2.0);
    let (ended, summary) = bench(&["relay", "--members", "3", "--seconds", "0.2", "--bytes", "65536"]);
    is_consistent(&ended, &summary, 3, 2.0);
}

#[test]
fn groups_are_as_many_as_asked_for_and_raw_has_the_same_tree() {
    let (_, summary) = bench(&["relay", "--members", "5", "--groups", "2", "--seconds", "0.2"]);
    assert_eq!((&summary["group_sizes"], &summary["stream_links"]), (&serde_json::json!([3, 2]), &4.into()));
    assert!(number(&summary, "raw_deliveries_per_s") > 0.0 && summary["lost"] == 0, "{summary}");
}

#[test]
fn latency_is_that_of_every_message() {
    let (ended, summary) = bench(&["latency", "--members", "3", "--seconds", "0.3"]);
    is_consistent(&ended, &summary, 3, 2.0);
    // One message each millisecond, to each of two; how many exactly depends on when the sender was woken.
    let pair = ended.lines.iter().find(|line| line["type"] == "pair").expect("a line of the pair");
    assert!((100.0..700.0).contains(&number(&pair["ours"], "deliveries")), "{pair}");
    assert!(number(&summary, "ratio_p50") > 0.0 && number(&summary, "raw_p99_us") > 0.0, "{summary}");
}

#[test]
fn bursts_come_in_ten_slices_and_are_late_from_when_they_were_due() {
    for mode in ["handler", "loop"] {
        let words = ["latency", "--members", "3", "--seconds", "0.3", "--burst", "200", "--mode", mode];
        let (ended, summary) = bench(&words);
        is_consistent(&ended, &summary, 3, 2.0);
        let pair = ended.lines.iter().find(|line| line["type"] == "pair").expect("a line of the pair");
        // What is due does not wait for whoever is late: three bursts, and the first message that is due when the time is over. To two.
        for side in [&pair["ours"], &pair["raw"]] {
            assert_eq!(number(side, "deliveries"), 2.0 * (3.0 * 200.0 + 1.0), "{pair}");
        }
        assert!(number(&summary, "ratio_p999") > 0.0 && summary["config"]["burst"] == 200, "{summary}");
        assert!(summary["targets"][0]["target"].as_str().is_some_and(|what| what.contains("p99.9")), "{summary}");
    }
}

#[test]
fn sessions_are_changed_on_two_members_at_any_window() {
    for (window, mode) in [("1", "handler"), ("64", "loop"), ("8", "poll")] {
        let (ended, summary) = bench(&["sessions", "--seconds", "0.2", "--window", window, "--mode", mode]);
        is_consistent(&ended, &summary, 2, 1.0);
        assert_eq!(summary["config"]["window"].to_string(), window);
    }
}

#[test]
fn deaths_and_stops_under_load_are_noticed_and_lose_nothing() {
    let (ended, summary) = bench(&["failover", "--members", "4", "--seconds", "0.5"]);
    let faults: Vec<&Value> = ended.lines.iter().filter(|line| line["type"] == "fault").collect();
    let cases: Vec<_> = faults.iter().map(|f| (f["kind"].as_str().unwrap(), f["role"].as_str().unwrap())).collect();
    assert_eq!(cases, [("kill", "leader"), ("kill", "member"), ("stop", "leader"), ("stop", "member")]);
    for fault in faults {
        let (noticed, gap) = (number(fault, "noticed_all_ms"), number(fault, "delivery_gap_ms"));
        // Nobody is removed for silence before it has lasted, heartbeats of up to a quarter of a second before it aside.
        let least = if fault["kind"] == "stop" { 1_000.0 } else { 0.0 };
        assert!(noticed > least && noticed < 10_000.0 && gap > 0.0 && gap < 10_000.0, "{fault}");
    }
    for key in ["lost", "duplicated", "out_of_order"] {
        assert_eq!(summary[key], 0, "{key}: {summary}");
    }
    assert!(number(&summary["raw_closed_ms"], "p50") > 0.0, "{summary}");
    assert_eq!(summary["deaths"].as_array().map(Vec::len), Some(4), "{summary}");
    assert_eq!(summary["pids"].as_array().map(Vec::len), Some(16), "{summary}");
}

#[test]
fn idle_members_are_weighed_one_by_one() {
    let (ended, summary) = bench(&["idle", "--members", "3", "--seconds", "0.5"]);
    let pair = ended.lines.iter().find(|line| line["type"] == "pair").expect("a line of the pair");
    let ours = pair["ours"].as_array().expect("a list");
    assert_eq!(ours.len(), 3);
    for member in ours {
        let (memory, connections) = (number(member, "rss_anon_bytes"), number(member, "connections"));
        assert!(memory > 100_000.0 && memory < 64e6 && connections == 2.0, "{member}");
    }
    // Heartbeats, four times a second to each peer, are the least that a member does.
    assert!(number(&summary, "syscalls_per_s_per_member") > 4.0, "{summary}");
    assert!(number(&summary, "raw_rss_anon_peak_bytes") > 0.0, "{summary}");
}

#[test]
fn streams_arrive_whole_by_multicast() {
    let words = ["fanout", "--members", "3", "--seconds", "0.2", "--transport", "multicast"];
    let (ended, summary) = bench(&words);
    is_consistent(&ended, &summary, 3, 2.0);
    let (config, settings) = (&summary["config"], &summary["config"]["settings"]);
    assert_eq!(config["transport"], "multicast");
    // Raw is a blast to a group of its own.
    assert_eq!((&config["raw_transport"], &summary["raw_transport"]), (&"multicast".into(), &"multicast".into()));
    let calls = number(&summary, "raw_syscalls_per_1000");
    assert_eq!(
        (&settings["multicast.use"], &settings["multicast.datagram_bytes"]),
        (&"messages".into(), &"61504".into())
    );
    // What is said wins.
    let short = ["--set", "multicast.datagram_bytes=1472"];
    let (_, summary) = bench(&[&words[..], &short].concat());
    assert_eq!(summary["config"]["settings"]["multicast.datagram_bytes"], "1472");
    // Messages that are longer than a datagram are cut, on both sides; a thread of the host takes them as well.
    let (ended, summary) = bench(&[&words[..], &short, &["--bytes", "65536", "--mode", "poll"]].concat());
    is_consistent(&ended, &summary, 3, 2.0);
    // A window of less than a datagram has each wait for the credit of the one before; connections would not care.
    let (ended, summary) = bench(&[&words[..], &["--raw-window-bytes", "4096"]].concat());
    is_consistent(&ended, &summary, 3, 2.0);
    assert!(number(&summary, "raw_syscalls_per_1000") > 1.2 * calls, "{calls} with a wide window: {summary}");
    // What has no blast is compared with connections.
    let (_, summary) = bench(&["relay", "--members", "3", "--seconds", "0.2", "--transport", "multicast"]);
    assert_eq!((&summary["raw_transport"], &summary["raw_wrong"]), (&"tcp".into(), &0.into()));
}

#[test]
fn datagrams_cross_networks_whose_packets_are_short() {
    let Some(_permitted) = Network::new(1, 1) else { return };
    let words = ["fanout", "--members", "3", "--seconds", "0.2", "--transport", "multicast", "--network", "veth"];
    let (ended, summary) = bench(&[&words[..], &["--bytes", "1024"]].concat());
    is_consistent(&ended, &summary, 3, 2.0);
    assert_eq!((&summary["config"]["network"], &summary["config"]["transport"]), (&"veth".into(), &"multicast".into()));
    // A message in a packet, and nothing coalesced for anybody: no call takes more than 32. Looked for one by one it would be a call each.
    for key in ["syscalls_per_1000", "raw_syscalls_per_1000"] {
        assert!((31.0..400.0).contains(&number(&summary, key)), "{key}: {summary}");
    }
}

/// The names of the targets that a run was held to.
fn targets(summary: &Value) -> Vec<&str> {
    summary["targets"].as_array().expect("a list").iter().filter_map(|target| target["target"].as_str()).collect()
}

#[test]
fn a_leader_with_a_fifth_of_a_processor_loses_nothing_and_removes_nobody() {
    let words =
        ["bench", "relay", "--members", "3", "--seconds", "0.3", "--leader-cpu", "0.2", "--pairs", "1", "--json"];
    let ended = run(&words);
    if ended.code == Some(3) {
        // No control groups here: it says what it takes.
        assert!(ended.stderr.contains("It takes root"), "{ended:?}");
        return;
    }
    let summary = ended.summary().clone();
    is_consistent(&ended, &summary, 3, 2.0);
    assert_eq!((&summary["removed"], &summary["config"]["leader_cpu"]), (&0.into(), &0.2.into()), "{summary}");
    assert!(number(&summary, "rss_anon_peak_bytes") <= number(&summary, "memory_cap_bytes"), "{summary}");
    assert!(number(&summary, "leader_throttled_ms") >= 0.0, "{summary}");
    assert_eq!(targets(&summary), ["members removed", "messages lost", "RssAnon of any member in MB"]);
}

#[test]
fn a_slow_receiver_goes_in_its_time_and_the_others_go_on() {
    let words = ["slow", "--members", "4", "--seconds", "0.3", "--set", "window.slow_ms=1000"];
    let (ended, summary) = bench(&words);
    for key in ["lost", "duplicated", "out_of_order", "others_removed"] {
        assert_eq!(summary[key], 0, "{key}: {summary}");
    }
    for key in ["deliveries_per_s", "held_up_deliveries_per_s", "rss_anon_peak_bytes", "queued_peak_bytes"] {
        assert!(number(&summary, key) > 0.0, "{key}: {summary}");
    }
    assert!(number(&summary, "ratio_after") >= 0.0 && number(&summary, "memory_cap_bytes") > 8e6, "{summary}");
    let removed_ms = number(&summary, "removed_ms");
    assert!((900.0..5_000.0).contains(&removed_ms), "not before its time, and not long after it: {summary}");
    assert!(summary["returned_ms"].is_null(), "its host is far behind: {summary}");
    assert_eq!((&summary["slow_ms"], targets(&summary).len()), (&1000.into(), 4), "{summary}");
    let line = ended.lines.iter().find(|line| line["type"] == "slow").expect("a line of each");
    assert_eq!(line["removed_ms"], summary["removed_ms"], "{line}");
}

#[test]
fn sessions_of_a_member_that_dies_have_two_copies_again() {
    let (_, summary) = bench(&["restore", "--members", "4", "--sessions", "400", "--seconds", "0.2"]);
    for key in ["sessions_lost", "changes_failed"] {
        assert_eq!(summary[key], 0, "{key}: {summary}");
    }
    // The long session is one of them.
    assert_eq!((&summary["sessions"], &summary["sessions_asked"]), (&400.into(), &400.into()), "{summary}");
    for key in ["restored_ms", "p99_us", "restore_p99_us", "ratio_p99", "rss_anon_peak_bytes"] {
        assert!(number(&summary, key) > 0.0, "{key}: {summary}");
    }
    // There and back, with an acknowledgement: more than what was changed, far less than the session.
    assert!((200.0..2_000.0).contains(&number(&summary, "delta_wire_bytes")), "{summary}");
    assert_eq!((targets(&summary).len(), summary["pids"].as_array().map(Vec::len)), (4, Some(4)), "{summary}");
}

#[test]
fn what_is_not_built_or_makes_no_sense_is_refused() {
    for (words, told) in [
        (&["fanout", "--transport", "pigeons"][..], "multicast"),
        (&["relay", "--security", "key"], "what is there"),
        (&["relay", "--members", "2"], "takes 3 or more"),
        (&["relay", "--members", "10", "--groups", "7"], "do not fill"),
        (&["relay", "--bytes", "8"], "16 or more"),
        (&["relay", "--burst", "100"], "only latency has"),
        (&["latency", "--burst", "55"], "a multiple of 10"),
        (&["idle", "--leader-cpu", "0.2"], "--leader-cpu"),
        (&["slow", "--members", "3"], "takes 4 or more"),
        (&["relay", "--set", "group.sise=3"], "group.size"),
    ] {
        let ended = run(&[&["bench"], words, &["--json"]].concat());
        assert_eq!((ended.code, &ended.summary()["ok"]), (Some(2), &false.into()), "{words:?}: {ended:?}");
        assert!(ended.stderr.contains(told), "{words:?}: {}", ended.stderr);
    }
}

#[test]
fn nothing_is_left_behind_when_it_is_told_to_end() {
    let bench =
        command_support::Process::start("bench", &["bench", "idle", "--members", "3", "--seconds", "600", "--json"]);
    let children = || {
        let text = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", bench.pid())).unwrap_or_default();
        text.split_whitespace().map(|pid| pid.parse().expect("a number")).collect::<Vec<u32>>()
    };
    let pids = bench.wait_world("three members", || Some(children()).filter(|pids| pids.len() == 3));
    bench.signal(libc::SIGTERM);
    let ended = bench.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    // It has waited for the end of each.
    let left: Vec<_> = pids.iter().filter(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists()).collect();
    assert!(left.is_empty(), "{left:?}");
}
