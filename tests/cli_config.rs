//! `decurion config`: what is wrong, what is in force, what there is.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

fn decurion(words: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_decurion"));
    command.args(words).envs(environment.iter().copied()).output().expect("the command runs")
}

fn summary(output: &Output) -> Value {
    let stdout = String::from_utf8(output.stdout.clone()).expect("text");
    serde_json::from_str(stdout.lines().last().expect("a line")).expect("JSON")
}

fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).expect("the target directory takes a file");
    path
}

#[test]
fn check_lists_every_problem_with_its_place() {
    let path = file("wrong.toml", "[group]\nsise = 3\n\n[window]\nslow_ms = 5\n");
    let path = path.to_str().expect("text");
    let output = decurion(&["config", "check", path, "--json"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let summary = summary(&output);
    let errors = summary["errors"].as_array().expect("a list");
    assert_eq!(errors.len(), 2, "{summary}");
    let first = &errors[0];
    assert_eq!((&first["key"], &first["nearest"]), (&"group.sise".into(), &"group.size".into()));
    assert_eq!((&first["line"], &first["column"], &first["file"]), (&2.into(), &1.into(), &path.into()));
    let second = &errors[1];
    assert_eq!((&second["key"], &second["value"]), (&"window.slow_ms".into(), &"5".into()));
    assert_eq!((&second["line"], &second["column"]), (&5.into(), &11.into()));
    assert_eq!(second["allowed"], "1000 to 3600000 ms");
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(text.contains(&format!("{path}:2:1: there is no key 'group.sise'; did you mean 'group.size'?")), "{text}");
}

#[test]
fn check_finds_settings_that_do_not_go_together() {
    let path = file("together.toml", "[node]\nbind = \"0.0.0.0:7100\"\nadvertise = \"10.0.0.7:7100\"\n");
    let output = decurion(&["config", "check", path.to_str().expect("text")], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).expect("text").contains("security = 'none'"));

    let lease = file("lease.toml", "[detector]\nsilence_ms = 1000\nlease_ms = 2000\n");
    let output = decurion(&["config", "check", lease.to_str().expect("text"), "--json"], &[]);
    let error = summary(&output)["errors"][0].clone();
    assert_eq!((&error["key"], &error["value"]), (&"detector.lease_ms".into(), &"2000".into()), "{error}");
    assert_eq!((&error["line"], &error["column"]), (&3.into(), &12.into()), "{error}");
    assert!(error["allowed"].is_string() && error["nearest"].is_null(), "{error}");

    let path =
        file("fine.toml", "security = \"none\"\n[node]\nbind = \"0.0.0.0:7100\"\nadvertise = \"10.0.0.7:7100\"\n");
    assert_eq!(decurion(&["config", "check", path.to_str().expect("text")], &[]).status.code(), Some(0));
}

#[test]
fn show_says_who_said_so() {
    let path = file("show.toml", "[group]\nsize = 3\n[window]\nbytes = \"1 MiB\"\n");
    let path = path.to_str().expect("text");
    let words = ["config", "show", "--json", "--config", path, "--set", "events.stable=true"];
    let output = decurion(&words, &[("DECURION_GROUP_SIZE", "4")]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let summary = summary(&output);
    let value = |key: &str| {
        let values = summary["values"].as_array().expect("a list");
        let found = values.iter().find(|v| v["key"] == key).expect("every key is there");
        (found["value"].as_str().expect("text").to_owned(), found["origin"].as_str().expect("text").to_owned())
    };
    assert_eq!(value("group.size"), ("4".to_owned(), "environment DECURION_GROUP_SIZE".to_owned()));
    assert_eq!(value("window.bytes"), ("1048576".to_owned(), format!("{path}:4:9")));
    assert_eq!(value("events.stable"), ("true".to_owned(), "set".to_owned()));
    assert_eq!(value("detector.silence_ms"), ("1500".to_owned(), "profile lan".to_owned()));
}

#[test]
fn keys_lists_the_table() {
    let output = decurion(&["config", "keys", "--json"], &[]);
    let summary = summary(&output);
    let keys = summary["keys"].as_array().expect("a list");
    let slow = keys.iter().find(|k| k["key"] == "window.slow_ms").expect("every key is there");
    assert_eq!((&slow["type"], &slow["unit"]), (&"number".into(), &"ms".into()));
    assert_eq!((&slow["min"], &slow["max"]), (&1_000.into(), &3_600_000.into()));
    assert_eq!((&slow["default"], &slow["reload"]), (&"10000".into(), &false.into()));
}

#[test]
fn the_page_that_keys_prints_is_the_one_in_the_repository() {
    let output = decurion(&["config", "keys", "--markdown"], &[]);
    let committed = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CONFIGURATION.md")).expect("a page");
    let advice = "run `decurion config keys --markdown > docs/CONFIGURATION.md`";
    assert_eq!(String::from_utf8(output.stdout).expect("text"), committed, "{advice}");
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_like_others() {
    let output = decurion(&["config", "check", "/no/such.toml", "--json"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let summary = summary(&output);
    let error = summary["errors"][0].as_object().expect("an error");
    for field in ["key", "value", "line", "column", "allowed", "nearest"] {
        assert!(error.get(field).is_some_and(Value::is_null), "{field}: {summary}");
    }
    assert_eq!((&error["file"], &error["text"]), (&"/no/such.toml".into(), &summary["error"]));
}
