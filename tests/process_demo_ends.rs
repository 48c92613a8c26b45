//! However the demo ends, no member process is left behind; and a member that a person kills is shown and judged.

mod command_support;

use std::fs;

use command_support::Process;
use serde_json::Value;

fn demo(more: &[&str]) -> Process {
    let words = ["demo", "--json", "--file", "/bin/sh", "--members", "6", "--groups", "2", "--seconds", "2"];
    Process::start("the demo", &[&words[..], more].concat())
}

/// Whether a process runs: one that is gone and not collected yet does not.
fn runs(pid: u64) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(") ").next().and_then(|rest| rest.chars().next()).is_some_and(|state| state != 'Z' && state != 'X')
}

fn pids(members: &[Value]) -> Vec<u64> {
    members.iter().map(|m| m["pid"].as_u64().expect("a number")).collect()
}

/// The members that a held demo has printed.
fn held(demo: &Process) -> Vec<u64> {
    let members = demo.wait_line("hold", |_| true);
    let pids = pids(members["members"].as_array().expect("a list"));
    assert_eq!(pids.len(), 6);
    assert!(pids.iter().all(|pid| runs(*pid)), "they run while it is held open");
    pids
}

fn all_end(demo: &Process, pids: &[u64]) {
    demo.wait_world("the end of all members", || (!pids.iter().any(|pid| runs(*pid))).then_some(()));
}

#[test]
fn killed_while_it_is_held_open_it_leaves_nobody_behind() {
    let demo = demo(&["--hold", "--faults", "off"]);
    let members = held(&demo);
    demo.signal(libc::SIGKILL);
    all_end(&demo, &members);
}

#[test]
fn killed_while_members_start_and_stand_still_it_leaves_nobody_behind() {
    let demo = demo(&[]);
    demo.wait_lines("three members", |lines| {
        (lines.iter().filter(|l| l["type"] == "member").count() >= 3).then_some(())
    });
    let members = pids(&demo.lines("member"));
    // Not even one that cannot notice anything.
    // SAFETY: a signal to a process that the demo, a child of ours, has just started.
    unsafe { libc::kill(members[0] as i32, libc::SIGSTOP) };
    demo.signal(libc::SIGKILL);
    all_end(&demo, &members);
}

#[test]
fn ended_by_a_person_it_judges_what_was_and_ends_its_members_in_order() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let demo = demo(&["--hold", "--faults", "off"]);
        let members = held(&demo);
        demo.signal(signal);
        all_end(&demo, &members);
        let ended = demo.end();
        assert_eq!((ended.code, &ended.summary()["ok"]), (Some(0), &true.into()), "{ended:?}");
    }
}

#[test]
fn interrupted_on_its_way_it_fails_and_leaves_nobody_behind() {
    let demo = demo(&["--faults", "off"]);
    demo.wait_lines("all members", |lines| (lines.iter().filter(|l| l["type"] == "member").count() == 6).then_some(()));
    let members = pids(&demo.lines("member"));
    demo.signal(libc::SIGINT);
    all_end(&demo, &members);
    let ended = demo.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.summary()["error"].as_str().is_some_and(|e| e.contains("interrupted")), "{ended:?}");
}

#[test]
fn a_member_that_a_person_kills_is_shown_and_judged() {
    let demo = demo(&["--hold", "--faults", "off"]);
    let members = held(&demo);
    // The coordinator, which does not send.
    let victim = members[0];
    // SAFETY: a signal to a process that the demo, a child of ours, has started and not collected.
    unsafe { libc::kill(victim as i32, libc::SIGKILL) };
    demo.wait_line("fault", |line| line["kind"] == "by-hand" && line["pid"] == victim);
    demo.signal(libc::SIGINT);
    let ended = demo.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let deaths = ended.summary()["deaths"].as_array().expect("a list").clone();
    assert_eq!((deaths.len(), &deaths[0]["pid"]), (1, &victim.into()));
    assert!(deaths[0]["noticed_all_ms"].as_u64().is_some_and(|ms| ms <= 2_000), "{deaths:?}");
    assert!(members.iter().all(|pid| !runs(*pid)));
}
