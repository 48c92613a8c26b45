//! Small cases, gone through state by state: the promises hold in every order, and a planted bug is seen in some.
//!
//! The larger cases are gone through by `make simulate`, on the optimised command.

use decurion::core::Plant;
use decurion::sim::enumerate::{Bounds, Report, cases, explore, follow};

fn explored(case: &str, bounds: Bounds) -> Report {
    explore(case, &bounds).unwrap_or_else(|| panic!("there is a case {case}"))
}

/// The case keeps every promise in all its states.
fn holds(case: &str, least_states: u64) {
    let report = explored(case, Bounds::default());
    assert_eq!(report.findings, [], "{case}");
    assert!(report.is_complete(), "{case} is gone through to its end");
    assert!(report.states >= least_states, "{case} has only {} states", report.states);
    assert!(report.terminal_states > 1, "{case} ends in more than one way");
}

#[test]
fn a_member_may_leave_in_any_order_of_delivery() {
    holds("leave/orders", 1_000);
    holds("leave-coordinator/orders", 1_000);
}

#[test]
fn a_member_may_crash_in_any_order_of_delivery() {
    holds("crash/orders", 1_000);
    holds("crash-coordinator/orders", 1_000);
}

#[test]
fn a_second_member_may_crash_at_any_step() {
    holds("crash-coordinator/crash", 10_000);
}

#[test]
fn a_member_may_join_while_another_one_crashes() {
    let report = explored("join/crash", Bounds { deviations: Some(Some(1)), ..Bounds::default() });
    assert_eq!(report.findings, []);
    assert!(!report.stopped && !report.is_complete(), "it is bounded, and says so");
    assert!(report.states >= 10_000, "only {} states", report.states);
}

#[test]
fn the_same_case_has_the_same_states_again() {
    let one = explored("crash-coordinator/orders", Bounds::default());
    assert_eq!(one, explored("crash-coordinator/orders", Bounds::default()));
}

#[test]
fn every_case_says_what_it_is_about() {
    let names: Vec<&str> = cases().map(|(name, _)| name).collect();
    for event in ["join", "leave", "leave-coordinator", "crash", "crash-coordinator", "form"] {
        assert!(names.iter().any(|name| name.split('/').next() == Some(event)), "{event} is enumerated");
    }
    assert!(cases().all(|(_, about)| !about.is_empty()));
    assert!(explore("no/such", &Bounds::default()).is_none());
}

/// A planted bug is seen, and the script that the finding names shows it again; without the bug the script is harmless.
fn is_seen(plant: &str, case: &str, deviations: Option<u8>, guarantee: &str) {
    let planted = Plant::by_name(plant).unwrap_or_else(|| panic!("there is a plant {plant}"));
    let bounds = Bounds { plant: Some(planted), deviations: Some(deviations), most_findings: 1, ..Bounds::default() };
    let report = explored(case, bounds);
    let found = report.findings.first().unwrap_or_else(|| panic!("{plant} is not seen in {case}"));
    assert_eq!(found.guarantee, guarantee, "{plant}: {}", found.text);
    let story = follow(case, &found.script, Some(planted)).expect("the script can be followed");
    assert!(story.iter().any(|line| line.contains(&format!("BROKEN {guarantee}"))), "{plant}: {}", found.script);
}

#[test]
fn delivering_beyond_the_cut_is_seen() {
    is_seen("deliver-beyond-cut", "crash-coordinator/loss-two-senders", Some(2), "D3");
}

#[test]
fn forgetting_an_accepted_proposal_is_seen() {
    is_seen("forget-accepted-proposal", "leave/two-faults", Some(1), "V1");
}

#[test]
fn forgetting_before_stable_is_seen() {
    is_seen("forget-before-stable", "crash-coordinator/orders", None, "V7");
}

#[test]
fn dropping_accepted_sends_at_a_views_end_is_seen() {
    is_seen("drop-at-view-end", "crash/orders", None, "D7");
}

#[test]
fn replaying_twice_is_seen() {
    is_seen("replay-twice", "crash/orders", None, "D1");
}

#[test]
fn a_script_that_cannot_be_followed_is_refused() {
    let refused = follow("leave/orders", "begin crash:n1", None).expect_err("nobody crashes in this case");
    assert!(refused.contains("crash:n1") && refused.contains("what can"), "{refused}");
}
