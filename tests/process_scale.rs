//! `decurion scale`: what it measures, what it writes into a page, and how it ends where a target is not met.

mod command_support;

use std::fs;

use command_support::{Ended, directory, run};
use serde_json::Value;

fn figures(ended: &Ended) -> Vec<&Value> {
    ended.lines.iter().filter(|line| line["type"] == "figure").collect()
}

#[test]
fn deaths_are_measured_and_the_page_is_the_same_when_they_are_measured_again() {
    let page = directory("scale").join("page.md");
    fs::write(&page, "before\n<!-- scale detection -->\n<!-- end -->\nafter\n").expect("it can be written");
    let words = ["scale", "detection", "--seeds", "5", "--json", "--write", page.to_str().expect("text")];
    let ended = run(&words);
    let summary = ended.summary();
    assert_eq!(
        (ended.code, &summary["ok"], summary["targets"].as_array().map(Vec::len)),
        (Some(0), &true.into(), Some(2))
    );
    let rows = figures(&ended);
    assert_eq!(rows.len(), 4, "{rows:?}");
    for row in rows {
        let [p50, p99, max] = ["p50_us", "p99_us", "max_us"].map(|key| row[key].as_u64().expect("a number"));
        assert!(row["counted"] == 5 && 0 < p50 && p50 <= p99 && p99 <= max, "{row}");
    }
    let once = fs::read_to_string(&page).expect("it is there");
    assert!(once.starts_with("before\n") && once.ends_with("after\n") && once.contains("| death |"), "{once}");
    let picture = page.with_file_name("scale").join("detection.svg");
    assert!(fs::read_to_string(&picture).expect("a picture").contains("<polyline"));
    run(&words);
    assert_eq!(fs::read_to_string(&page).expect("it is there"), once);
}

#[test]
fn real_processes_are_killed_and_stopped_and_the_others_notice() {
    let ended = run(&["scale", "processes", "--deaths", "1", "--json"]);
    let rows = figures(&ended);
    assert_eq!(rows.len(), 4, "{ended:?}");
    let of = |death: &str, noticed: &str| {
        let fits = |row: &&&Value| row["death"] == death && row["noticed"] == noticed;
        rows.iter().find(fits).and_then(|row| row["max_us"].as_u64()).expect("a number")
    };
    assert!(of("closed_socket", "first") <= of("closed_socket", "all"));
    // Nobody is removed for silence before it has lasted, heartbeats of up to a quarter of a second before it aside.
    assert!(of("silent_stop", "all") > 1_000_000 && of("silent_stop", "first") > 500_000, "{rows:?}");
}

#[test]
fn a_target_that_is_not_met_is_named_and_ends_with_one() {
    let ended = run(&["scale", "removals", "--losses", "5", "--member-hours", "1", "--json"]);
    let target = &ended.summary()["targets"][0];
    assert_eq!((ended.code, &target["met"]), (Some(1), &false.into()), "an hour is no hundred thousand: {ended:?}");
    let row = figures(&ended)[0];
    assert!(row["member_hours"].as_f64() >= Some(1.0) && row["pauses"].as_u64() > Some(50), "{row}");
    assert_eq!(row["next_seed"], 1);
}

#[test]
fn what_an_earlier_run_has_counted_is_not_counted_again_and_comes_to_the_same() {
    let lines = directory("resume").join("lines");
    let removals = |more: &[&str]| run(&[&["scale", "removals", "--losses", "30", "--json"], more].concat());
    let row = |ended: &Ended| {
        let mut row = figures(ended)[0].clone();
        row.as_object_mut().expect("an object").remove("cpu_s");
        row
    };
    let keep = |ended: &Ended| {
        let lines_of: Vec<String> = ended.lines.iter().map(Value::to_string).collect();
        fs::write(&lines, lines_of.join("\n")).expect("it can be written");
    };
    let whole = removals(&["--member-hours", "3"]);
    keep(&removals(&["--member-hours", "2"]));
    let file = lines.to_str().expect("text");
    let resumed = removals(&["--member-hours", "3", "--resume", file]);
    assert_eq!(row(&resumed), row(&whole));
    // A run that leaves a gap, and a file without any.
    keep(&removals(&["--member-hours", "1", "--first-seed", "1"]));
    for (what, text) in [("gap", "seeds 1 to 2 at 30 % loss do not begin at 0"), ("none", "no line of")] {
        if what == "none" {
            fs::write(&lines, "").expect("it can be written");
        }
        let refused = removals(&["--member-hours", "2", "--resume", file]);
        assert!(refused.code == Some(2) && format!("{refused:?}").contains(text), "{what}: {refused:?}");
    }
}

#[test]
fn cost_is_measured_as_members_and_sessions_become_more() {
    let ended = run(&["scale", "growth", "--processes", "2,3", "--sessions", "70", "--seconds", "0.1", "--json"]);
    let rows = figures(&ended);
    assert_eq!((ended.code, rows.len()), (Some(0), 5), "{ended:?}");
    let of = |figure: &str| rows.iter().filter(|row| row["figure"] == figure).collect::<Vec<_>>();
    let [fanout, sessions, idle] = ["growth-fanout", "growth-sessions", "growth-idle"].map(of);
    for row in fanout.iter().chain(&sessions) {
        let ours = &row["ours"];
        assert!(ours["deliveries"].as_u64() > Some(100), "{row}");
        assert!(["lost", "duplicated", "out_of_order"].iter().all(|key| ours[key] == 0), "{row}");
    }
    assert!(idle.iter().all(|row| row["rss_anon_mb_most"].as_f64() > Some(0.1)), "{idle:?}");
    let connections = idle.iter().map(|row| row["connections_most"].as_f64()).collect::<Vec<_>>();
    assert_eq!(connections, [Some(1.0), Some(2.0)]);
}

#[test]
fn sizes_are_compared_and_what_is_no_figure_is_refused() {
    let ended = run(&["scale", "cost", "--sizes", "5,20", "--alone", "100", "--json"]);
    let (rows, alone): (Vec<&Value>, Vec<&Value>) =
        figures(&ended).into_iter().partition(|row| row["figure"] == "cost");
    assert_eq!((ended.code, rows.len(), alone.len()), (Some(0), 2, 3), "{ended:?}");
    let values = ["connections_mean", "idle_bytes_per_s", "death_messages"];
    for key in values {
        let [small, large] = [0, 1].map(|row| rows[row][key].as_f64().expect("a number"));
        assert!(small > 0.0 && large > small, "{key}: {small} and {large}");
    }
    assert!(rows.iter().all(|row| row["state_bytes"].as_f64() > Some(1_000.0)), "{rows:?}");
    let roles = ["coordinator", "another leader", "ordinary member"];
    for (row, role) in alone.iter().zip(roles) {
        assert!(row["role"] == role && row["done"] == true && row["fault"].is_null(), "{row}");
        assert!(row["state_bytes"].as_f64() > Some(10_000.0) && row["cpu_ms"].as_f64() > Some(0.0), "{row}");
    }
    for key in ["idle_bytes_per_s", "death_messages", "death_bytes"] {
        let values = alone.iter().map(|row| row[key].as_f64()).collect::<Vec<_>>();
        assert!(values[0] > values[2] && values[1] > values[2], "{key}: {values:?}");
    }
    let refused = run(&["scale", "nothing", "--json"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
}
