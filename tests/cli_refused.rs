//! What is not built, and what is misspelt, ends with exit code 2 and a text that says what to do instead.

use std::process::{Command, Output};

use serde_json::Value;

fn decurion(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_decurion")).args(words).output().expect("the command runs")
}

fn refused(words: &[&str]) -> String {
    let output = decurion(words);
    assert_eq!(output.status.code(), Some(2), "{words:?}: {output:?}");
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn unbuilt_verbs_and_flags_say_what_is_there() {
    for words in [&["bench", "relay", "--security", "key"][..], &["members", "--map", "f"]] {
        let text = refused(words);
        assert!(text.contains("not built") && text.contains("what is there"), "{words:?}: {text}");
    }
}

#[test]
fn with_json_the_last_line_is_a_summary_of_the_failure() {
    for (words, wrong) in [
        (&["bench", "--json"][..], "<WORKLOAD>"),
        (&["--json", "no-such-verb"], "no-such-verb"),
        (&["members", "--json"], "--at"),
        (&["demo", "--json", "--members", "many"], "--members"),
    ] {
        let output = decurion(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        let stdout = String::from_utf8(output.stdout).expect("text");
        let last: Value = serde_json::from_str(stdout.lines().last().expect("a line")).expect("JSON");
        assert_eq!((&last["schema"], &last["type"], &last["ok"]), (&1.into(), &"summary".into(), &false.into()));
        assert!(last["error"].as_str().is_some_and(|error| error.contains(wrong)), "{last}");
    }
}

#[test]
fn a_wrong_flag_is_named() {
    assert!(refused(&["config", "show", "--sett", "a=b"]).contains("--sett"));
    assert!(refused(&["config", "show", "--set", "group.size"]).contains("key=value"));
    assert!(refused(&["config", "show", "--set", "group.sise=3"]).contains("'group.size'"));
}

#[test]
fn help_is_no_failure() {
    for words in [&["--help"][..], &["config", "keys", "--help"], &["--version"]] {
        assert_eq!(decurion(words).status.code(), Some(0), "{words:?}");
    }
}
