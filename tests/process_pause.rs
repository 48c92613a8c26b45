//! A process that stands still for too long is removed; when it goes on it notices by itself, accuses nobody, and joins
//! again as a new member (V6).

mod command_support;

use command_support::nodes;
use serde_json::Value;

fn incarnation(view: &Value, name: &str) -> Value {
    let members = view["members"].as_array().expect("a list");
    members.iter().find(|m| m["name"] == name).expect("in it")["incarnation"].clone()
}

#[test]
fn a_process_that_was_stopped_comes_back_as_a_new_member_and_accuses_nobody() {
    let nodes = nodes(4, &[("detector.silence_ms", "600"), ("detector.heartbeat_ms", "100")]);
    let before = nodes[0].wait_members(4);
    // The coordinator, and a member that is not.
    for at in [0, 2] {
        let (name, witness) = (format!("n{at}"), &nodes[1]);
        let accused = nodes[at].lines("suspect").len();
        nodes[at].signal(libc::SIGSTOP);
        let without = witness.wait_members(3);
        assert_eq!(without["left"], Value::from(vec![name.clone()]));
        nodes[at].signal(libc::SIGCONT);
        nodes[at].wait_line("expelled", |_| true);
        let again = witness.wait_members(4);
        assert_ne!(incarnation(&again, &name), incarnation(&before, &name), "a new life");
        assert_eq!(again["joined"], Value::from(vec![name]));
        for node in &nodes {
            node.wait_lines("the view of all", |lines| {
                let newest = lines.iter().rev().find(|l| l["type"] == "view")?;
                (newest["view_id"] == again["view_id"]).then_some(())
            });
        }
        assert_eq!(nodes[at].lines("suspect").len(), accused, "it accuses nobody: {:?}", nodes[at].lines("suspect"));
    }
    for name in ["n1", "n3"] {
        assert_eq!(
            incarnation(&nodes[1].wait_members(4), name),
            incarnation(&before, name),
            "{name} was never removed"
        );
    }
}
