//! Two members and a witness as real processes: either member is killed, and the other goes on, fenced and primary.

mod command_support;

use command_support::{Process, run};
use serde_json::Value;

/// Nothing proves that whoever is gone is dead: only a majority of the three may go on.
const SETTINGS: [(&str, &str); 2] = [("cluster.voters", "n0,n1,w"), ("cluster.refusal_proves_death", "false")];

fn member(name: &str, seed: &str) -> Process {
    let settings: Vec<(&str, &str)> = SETTINGS.into_iter().chain([("cluster.seeds", seed)]).collect();
    Process::node(name, &settings, &["--send", "-", "--receive", "-"])
}

/// Waits until a member is primary in a fenced view of so many members.
fn wait_primary(node: &Process, members: usize) -> Value {
    node.wait_members(members);
    node.wait_world("a primary view", || {
        let ended = run(&["members", "--at", &node.address().to_string(), "--json"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let told = ended.summary().clone();
        let here = told["members"].as_array().is_some_and(|all| all.len() == members);
        (here && told["primary"] == true).then_some(told)
    })
}

fn sends(from: &mut Process, to: &Process, text: &str) {
    from.write(&format!("{text}\n"));
    let line = format!("{text}\n");
    to.wait_line("message", |message| message["text"] == line.as_str());
}

#[test]
fn either_of_two_members_goes_on_with_a_witness() {
    let witness: Vec<(&str, &str)> = SETTINGS.into_iter().chain([("node.witness", "true")]).collect();
    let witness = Process::node("w", &witness, &["--receive", "-"]);
    let seed = witness.address().to_string();
    let mut first = member("n0", &seed);
    let mut second = member("n1", &seed);
    wait_primary(&first, 3);
    sends(&mut first, &second, "to both");
    sends(&mut second, &first, "and back");

    first.signal(libc::SIGKILL);
    drop(first);
    let told = wait_primary(&second, 2);
    assert_eq!((&told["fenced"], &told["coordinator"]), (&Value::Bool(true), &Value::from("n1")));
    let of = |told: &Value, name: &str| {
        let all = told["members"].as_array().expect("a list").clone();
        all.into_iter().find(|m| m["name"] == name).unwrap_or_else(|| panic!("{name} in {told}"))
    };
    let shown = of(&told, "w");
    assert_eq!((&shown["witness"], &shown["role"]), (&Value::Bool(true), &Value::from("witness")));
    assert_eq!(of(&told, "n1")["witness"], false);
    let table = run(&["members", "--at", &second.address().to_string()]);
    assert!(table.stdout.lines().any(|l| l.starts_with("w ") && l.contains("  witness  ")), "{}", table.stdout);

    let mut first = member("n0", &seed);
    wait_primary(&first, 3);
    sends(&mut second, &first, "once more");
    second.signal(libc::SIGKILL);
    drop(second);
    let told = wait_primary(&first, 2);
    assert_eq!((&told["fenced"], &told["coordinator"]), (&Value::Bool(true), &Value::from("n0")));
    let second = member("n1", &seed);
    wait_primary(&second, 3);
    sends(&mut first, &second, "at last");
    assert!(witness.lines("message").is_empty(), "a witness is given no messages");
    assert!(witness.lines("fault").is_empty());
}

#[test]
fn a_witness_that_does_not_vote_is_refused_with_the_keys() {
    for settings in [&["node.witness=true"][..], &["node.witness=true", "cluster.voters=a,b"]] {
        let mut words = vec!["node", "--json", "--set", "node.name=w", "--set", "node.bind=127.0.0.1:0"];
        settings.iter().for_each(|setting| words.extend(["--set", setting]));
        let ended = run(&words);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        for word in ["node.witness = 'true'", "node.name = 'w'", "cluster.voters"] {
            assert!(ended.stderr.contains(word), "{}", ended.stderr);
        }
    }
}
