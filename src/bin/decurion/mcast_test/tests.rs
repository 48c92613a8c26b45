use decurion::wire::probe::{Probe, Sighting};

use super::judge::{Cell, cell, judge, labels};
use super::matrix::{Matrix, SOURCES, TESTERS};
use super::sight::{Arrival, Heard};
use super::*;

const ME: u64 = 1;
const SECOND: u64 = 1_000_000;

fn plan() -> Plan {
    Plan {
        group: "239.192.0.1:7001".parse().unwrap(),
        interface: None,
        ttl: 1,
        name: Name::new("alpha"),
        id: ME,
        lasts: Duration::from_secs(10),
        rate: 20,
        bytes: 1_400,
        expect: None,
    }
}

fn from(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 7_001))
}

fn probe(tester: u64, name: &str, number: u64) -> Probe {
    Probe { tester, name: Name::new(name), number, sent_us: number, largest: 1_400, sightings: Vec::new() }
}

fn sighting(tester: u64, name: &str) -> Sighting {
    Sighting {
        tester,
        name: Name::new(name),
        received: 100,
        lost: 0,
        disordered: 0,
        duplicated: 0,
        largest: 1_400,
        rtt_us: 200,
        echo_us: 1,
        echo_age_us: 0,
    }
}

fn arrival(number: u64) -> Arrival {
    Arrival { number, length: 300, sent_us: 0, at_us: number * 10 }
}

/// A tester that tells what it hears, twice within two seconds.
fn hear(matrix: &mut Matrix, tester: u64, name: &str, row: &[Sighting]) {
    for at in 1..3 {
        let told = Probe { sightings: row.to_vec(), ..probe(tester, name, at) };
        matrix.take(from(tester as u8), &told.encode(1_400), at * 2 * SECOND);
    }
}

#[test]
fn losses_disorder_and_doubles_are_told_apart() {
    let mut heard = Heard::new(from(1), arrival(5));
    for number in [6, 9, 7, 7, 12, 10, 6, 4, 2] {
        heard.note(arrival(number));
    }
    // 2 4 5 6 7 9 10 12 came of 2 to 12: 3, 8 and 11 did not.
    assert_eq!((heard.received, heard.lost()), (8, 3));
    assert_eq!((heard.disordered, heard.duplicated), (4, 2));
}

#[test]
fn numbers_from_afar_cost_no_memory_and_no_time() {
    let mut heard = Heard::new(from(1), arrival(1));
    assert!(heard.note(Arrival { number: u64::MAX, ..arrival(0) }));
    assert_eq!(heard.lost(), u64::MAX - 2);
    assert!(!heard.note(arrival(7)), "too old to be told from a double");
    assert_eq!(heard.duplicated, 1);
}

#[test]
fn an_echo_tells_the_round_trip_without_a_common_clock() {
    let mut matrix = Matrix::new(ME, 20);
    let echo = Sighting { echo_us: 4 * SECOND, echo_age_us: SECOND, ..sighting(ME, "alpha") };
    let told = Probe { sightings: vec![echo], ..probe(2, "beta", 1) };
    matrix.take(from(2), &told.encode(0), 5 * SECOND + 300);
    assert_eq!(matrix.testers[&2].heard.as_ref().unwrap().round_trip.mean_us(), 300);
    // An echo of the future, or of long ago, is nobody's.
    for echo_us in [9 * SECOND, 0] {
        let echo = Sighting { echo_us, echo_age_us: SECOND, ..sighting(ME, "alpha") };
        let told = Probe { sightings: vec![echo], ..probe(2, "beta", 2 + echo_us) };
        matrix.take(from(2), &told.encode(0), echo_us.max(1) + if echo_us == 0 { 90 * SECOND } else { 0 });
    }
    assert_eq!(matrix.testers[&2].heard.as_ref().unwrap().round_trip.count, 1);
}

#[test]
fn who_is_deaf_or_mute_is_named() {
    let (plan, mut matrix) = (plan(), Matrix::new(ME, 20));
    hear(&mut matrix, ME, "alpha", &[]);
    assert_eq!(judge(&plan, &matrix).exit, Exit::Broken, "nobody else");
    let all = ["alpha", "beta", "gamma"].iter().zip(1..).map(|(name, id)| sighting(id, name)).collect::<Vec<_>>();
    hear(&mut matrix, 2, "beta", &all);
    hear(&mut matrix, 3, "gamma", &all);
    assert_eq!(judge(&plan, &matrix).problems, Vec::<String>::new());

    let mut matrix = Matrix::new(ME, 20);
    hear(&mut matrix, ME, "alpha", &[]);
    hear(&mut matrix, 2, "beta", &all);
    hear(&mut matrix, 3, "gamma", &all[1..]);
    let verdict = judge(&plan, &matrix);
    assert_eq!((verdict.exit, &verdict.problems[..]), (Exit::Broken, &["gamma does not hear alpha".to_owned()][..]));
    assert!(verdict.advice.iter().any(|advice| advice.contains("IGMP querier")), "{verdict:?}");

    let expecting = Plan { expect: Some(4), ..plan };
    assert!(judge(&expecting, &matrix).problems[0].contains("3 testers, itself among them, and 4 are expected"));
}

#[test]
fn a_host_that_does_not_hear_itself_cannot_test() {
    let mut matrix = Matrix::new(ME, 20);
    hear(&mut matrix, 2, "beta", &[]);
    let verdict = judge(&plan(), &matrix);
    assert_eq!(verdict.exit, Exit::Environment);
    assert!(verdict.problems[0].contains("does not hear its own probes") && verdict.advice.len() >= 3, "{verdict:?}");
}

/// Who comes when another has gone hears nothing of it, and that is no fault.
#[test]
fn testers_that_did_not_run_together_are_not_judged() {
    let mut matrix = Matrix::new(ME, 20);
    matrix.take(from(2), &probe(2, "beta", 1).encode(0), SECOND);
    matrix.take(from(2), &probe(2, "beta", 2).encode(0), 3 * SECOND);
    for at in [4, 6] {
        matrix.take(from(3), &probe(3, "gamma", at).encode(0), at * SECOND);
    }
    assert_eq!(cell(&matrix, 3, 2), Cell::Unknown);
    matrix.take(from(2), &probe(2, "beta", 3).encode(0), 6 * SECOND);
    assert_eq!(cell(&matrix, 3, 2), Cell::Unheard);
    // Who sends rarely, or tells of many, needs longer to tell of all.
    assert_eq!([Matrix::new(ME, 1).together_us(), Matrix::new(ME, 20).together_us()], [6 * SECOND, SECOND]);
}

#[test]
fn loss_and_long_probes_that_vanish_are_told() {
    let mut matrix = Matrix::new(ME, 20);
    let lossy = Sighting { lost: 100, largest: 800, ..sighting(ME, "alpha") };
    hear(&mut matrix, ME, "alpha", &[]);
    hear(&mut matrix, 2, "beta", &[lossy, sighting(2, "beta")]);
    let verdict = judge(&plan(), &matrix);
    assert_eq!(verdict.problems[0], "beta has lost 100 of 200 probes of alpha (50.0 %)");
    assert_eq!(verdict.problems[1], "beta hears no probe of alpha over 800 bytes; 1400 bytes were sent");
    assert!(verdict.advice.iter().any(|advice| advice.contains("same MTU")), "{verdict:?}");
}

#[test]
fn strangers_are_counted_by_source_within_a_bound() {
    let mut matrix = Matrix::new(ME, 20);
    matrix.take(from(9), b"DCNd and more", 1);
    matrix.take(from(9), b"something else", 2);
    for port in 0..2 * SOURCES as u16 {
        matrix.take(SocketAddr::from(([10, 1, 1, 1], port)), b"", 3);
    }
    assert_eq!((matrix.foreign[&from(9)].datagrams, matrix.foreign[&from(9)].decurion), (2, true));
    assert_eq!((matrix.foreign.len(), matrix.foreign_others), (SOURCES, SOURCES as u64 + 1));
}

#[test]
fn only_so_many_testers_are_kept() {
    let mut matrix = Matrix::new(ME, 20);
    for tester in 0..2 * TESTERS as u64 {
        let row = (0..3).map(|more| sighting(10_000 + 3 * tester + more, "told")).collect();
        matrix.take(from(1), &Probe { sightings: row, ..probe(tester, "many", 1) }.encode(0), 1);
    }
    assert_eq!(matrix.testers.len(), TESTERS);
    assert!(matrix.beyond > 0);
    let mut row = 0;
    for number in 2..200 {
        let told = (0..5).map(|more| sighting(number * 10 + more, "told")).collect();
        matrix.take(from(1), &Probe { sightings: told, ..probe(0, "many", number) }.encode(0), 1);
        row = matrix.testers[&0].heard.as_ref().unwrap().row.len();
    }
    assert_eq!(row, TESTERS);
}

/// However little a probe holds, all testers are told of in turn.
#[test]
fn all_that_is_heard_is_told_in_turns() {
    let mut matrix = Matrix::new(ME, 20);
    for tester in [1, 5, 9, u64::MAX] {
        matrix.take(from(1), &probe(tester, &"n".repeat(64), 1).encode(0), 1);
    }
    let mut told = Vec::new();
    while told.len() < 8 {
        let mut next = probe(ME, "alpha", 1);
        matrix.tell(&mut next, SHORTEST, 1);
        assert!(!next.sightings.is_empty() && next.encode(SHORTEST).len() == SHORTEST);
        told.extend(next.sightings.iter().map(|sighting| sighting.tester));
    }
    told.truncate(8);
    assert_eq!(told, [1, 5, 9, u64::MAX, 1, 5, 9, u64::MAX]);
}

#[test]
fn equal_names_are_told_apart_and_one_that_would_steer_a_terminal_is_not_taken() {
    let mut matrix = Matrix::new(ME, 20);
    for (tester, name) in [(1, "same"), (2, "same"), (3, "\u{1b}[2J")] {
        matrix.take(from(1), &probe(tester, name, 1).encode(0), 1);
    }
    let labels: Vec<String> = labels(&matrix).into_values().collect();
    assert_eq!(labels, ["same#0001", "same#0002"]);
}

#[test]
fn half_the_probes_have_full_length() {
    let plan = plan();
    assert_eq!([1, 2, 3, 4].map(|number| plan.length(number)), [SHORTEST, 1_400, (SHORTEST + 1_400) / 2, 1_400]);
}
