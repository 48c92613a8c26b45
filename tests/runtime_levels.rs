//! What is agreed or safe comes at all members in one order, also at its sender, while members die.

mod runtime_support;

use std::time::Duration;

use decurion::{Code, Engine, Level, To};
use runtime_support::{Node, cluster, wait_until};

/// What a host was given in the order of all: who sent it, and what it says.
type Order = Vec<(String, String)>;

fn order_of(node: &Node) -> Order {
    node.seen.ordered.iter().map(|(name, payload)| (name.clone(), String::from_utf8_lossy(payload).into())).collect()
}

/// Everybody sends `count` messages at `level` as fast as there is room, with messages in between that need no place.
fn everybody_sends(nodes: &mut [Node], level: Level, count: usize) {
    let mut sent = vec![0; nodes.len()];
    let names: Vec<String> = nodes.iter().map(Node::name).collect();
    let done = |node: &Node| {
        let last = format!(" {}", count - 1);
        names.iter().all(|name| node.seen.ordered.iter().any(|(n, p)| n == name && p.ends_with(last.as_bytes())))
    };
    wait_until(&mut nodes.iter_mut().collect::<Vec<_>>(), "everything of all in its place", |nodes| {
        for (node, sent) in nodes.iter().zip(&mut sent) {
            while *sent < count && offer(&node.engine, level, &format!("{} {sent}", node.name())) {
                *sent += 1;
                node.offer(b"needs no place");
            }
        }
        nodes.iter().all(|node| done(node))
    });
}

fn offer(engine: &Engine, level: Level, text: &str) -> bool {
    match engine.send(To::Everybody, level, 7, text.as_bytes(), Duration::ZERO).unwrap() {
        Code::Ok => true,
        Code::Again | Code::NotPrimary => false,
        other => panic!("{other:?}"),
    }
}

fn same_order(level: Level) {
    let mut nodes = cluster(4);
    everybody_sends(&mut nodes, level, 500);
    let first = order_of(&nodes[0]);
    assert_eq!(first.len(), 4 * 500, "also one's own");
    for node in &nodes[1..] {
        assert!(order_of(node) == first, "{} has another order", node.name());
    }
    for name in nodes.iter().map(Node::name) {
        let own: Vec<&str> = first.iter().filter(|(n, _)| *n == name).map(|(_, text)| text.as_str()).collect();
        let expected: Vec<String> = (0..500).map(|i| format!("{name} {i}")).collect();
        assert!(own == expected, "{name}'s own order is kept");
    }
}

#[test]
fn what_is_agreed_has_one_order_everywhere() {
    same_order(Level::Agreed);
}

#[test]
fn what_is_safe_has_one_order_everywhere() {
    same_order(Level::Safe);
}

#[test]
fn one_alone_agrees_with_itself() {
    let mut alone = cluster(1);
    for level in [Level::Agreed, Level::Safe] {
        let before = alone[0].seen.ordered.len();
        assert!(offer(&alone[0].engine, level, "to myself"));
        wait_until(&mut [&mut alone[0]], "one's own message", |nodes| nodes[0].seen.ordered.len() > before);
    }
}

#[test]
fn those_who_go_on_have_one_order_when_whoever_says_it_dies() {
    for level in [Level::Agreed, Level::Safe] {
        let mut nodes = cluster(4);
        let coordinator = {
            let snapshot = nodes[0].engine.view().unwrap();
            snapshot.view.members[snapshot.view.coordinator()].name.to_string()
        };
        let at = nodes.iter().position(|node| node.name() == coordinator).unwrap();
        let dead = nodes.remove(at);
        let mut sent = 0;
        let mut dead = Some(dead);
        wait_until(&mut nodes.iter_mut().collect::<Vec<_>>(), "three that go on with everything", |nodes| {
            if sent < 3_000 {
                for node in nodes.iter() {
                    offer(&node.engine, level, &format!("{} {sent}", node.name()));
                }
                sent += 1;
            }
            if sent == 1_000
                && let Some(dead) = dead.take()
            {
                dead.engine.close();
            }
            sent == 3_000
                && nodes.iter().all(|n| n.seen.members() == 3 && n.seen.ordered.len() == nodes[0].seen.ordered.len())
                && nodes.iter().all(|n| n.seen.ordered.last() == nodes[0].seen.ordered.last())
        });
        let first = order_of(&nodes[0]);
        assert!(first.len() > 3_000, "{}", first.len());
        for node in &nodes[1..] {
            assert!(order_of(node) == first, "{level:?}: {} has another order", node.name());
        }
    }
}
