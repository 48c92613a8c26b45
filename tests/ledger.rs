//! The ledger adds up what was done on this version of the core, and nothing else.

use std::fs;
use std::path::Path;
use std::process::Command;

fn show(ledger: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/ledger");
    let output = Command::new(script).arg("show").env("LEDGER", ledger).output().expect("the script runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn lines_of_this_core_add_up_and_others_do_not_count() {
    let ledger = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ledger.jsonl");
    let _ = fs::remove_file(&ledger);
    let empty = show(&ledger);
    assert!(empty.contains("Simulated: 0 seeds, 0.0 cluster-hours"), "{empty}");
    let core = empty.split_whitespace().nth(4).expect("a hash").trim_end_matches(',');
    let simulate = |core: &str, from: u32| {
        format!(
            r#"{{"core":"{core}","at":"-","kind":"simulate","from":{from},"to":{},"hours":1.25,"checks":{{"D1":7,"V1":{from}}},"broken":{{"V1":1}},"not_converged":2}}"#,
            from + 200
        )
    };
    let lines = [
        simulate(core, 0),
        simulate(core, 200),
        simulate("0123456789abcdef", 400),
        format!(r#"{{"core":"{core}","at":"-","kind":"fuzz","target":"datagram","executions":30}}"#),
        format!(r#"{{"core":"{core}","at":"-","kind":"fuzz","target":"datagram","executions":12}}"#),
        format!(r#"{{"core":"{core}","at":"-","kind":"failovers","seed":1,"count":30,"acknowledged":900,"failed":0}}"#),
        format!(r#"{{"core":"{core}","at":"-","kind":"failovers","seed":2,"count":30,"acknowledged":100,"failed":1}}"#),
        format!(r#"{{"core":"{core}","at":"-","kind":"removals","to":9,"member_hours":20.5,"removals":3}}"#),
    ];
    fs::write(&ledger, lines.join("\n") + "\n").expect("it can be written");
    let shown = show(&ledger);
    for expected in [
        "Simulated: 400 seeds, 2.5 cluster-hours, 4 seeds that did not come together",
        "kill -9: 60 failovers, 1000 acknowledged visits, 1 runs with a lost or doubled one",
        "Partitions and heals: 0,",
        "False removals: 3 in 20 member-hours",
        "| `datagram` | 42 |",
    ] {
        assert!(shown.contains(expected), "{expected}\n{shown}");
    }
    let row =
        |name: &str| shown.lines().find(|line| line.starts_with(&format!("| {name} |"))).expect("a row").to_owned();
    assert!(row("D1").contains("| 14 | relay-over-gap, replay-twice"), "{}", row("D1"));
    assert!(row("V1").contains("| 200 | forget-accepted-proposal | 2 |"), "{}", row("V1"));
    assert!(row("S6").contains("src/sim/check/sessions.rs"), "{}", row("S6"));
}
