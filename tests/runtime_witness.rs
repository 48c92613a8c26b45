//! A witness among real engines: it votes, and is refused and spared everything else.

mod runtime_support;

use std::time::Duration;

use decurion::{Code, Level, To, attributes};
use runtime_support::{Node, settings, wait_until, wait_view};

fn voter(name: &str, seeds: &[std::net::SocketAddr], witness: bool) -> Node {
    let mut config = settings(name, 0, seeds);
    config.set("cluster.voters", "a,b,c").unwrap();
    config.set("node.witness", if witness { "true" } else { "false" }).unwrap();
    Node::with(&config).unwrap()
}

#[test]
fn a_witness_is_in_the_view_and_carries_nothing() {
    // By its name it would be the first of all.
    let mut witness = voter("a", &[], true);
    let seed = [witness.address()];
    let (mut b, mut c) = (voter("b", &seed, false), voter("c", &seed, false));
    wait_view(&mut [&mut witness, &mut b, &mut c], 3);
    let view = b.engine.view().unwrap().view;
    let seen: Vec<(&str, bool)> = view.members.iter().map(|m| (m.name.as_str(), m.witness)).collect();
    assert_eq!(seen, [("a", true), ("b", false), ("c", false)]);
    assert_eq!((view.fenced, view.members[view.coordinator()].name.as_str()), (true, "b"));

    for n in 0..500u32 {
        b.send(&n.to_le_bytes());
    }
    wait_until(&mut [&mut witness, &mut b, &mut c], "all at c, stable at b", |nodes| {
        nodes[2].seen.from("b").len() == 500 && nodes[1].engine.stats().unstable_bytes == 0
    });
    assert!(witness.seen.messages.is_empty());
    assert_eq!(witness.engine.stats().batches_received, 0);

    let refused = |result: decurion::Result<Code>, words: &str| {
        let error = result.expect_err("refused");
        assert_eq!(error.code(), Code::Unsupported);
        assert!(error.text().contains("witness") && error.text().contains(words), "{error}");
    };
    let to_witness = To::Member(view.members[0].incarnation);
    refused(b.engine.send(to_witness, Level::Fifo, 0, b"you", Duration::ZERO), "a is a witness");
    for to in [To::Everybody, To::Member(view.members[1].incarnation)] {
        refused(witness.engine.send(to, Level::Fifo, 0, b"all", Duration::from_secs(1)), "node.witness");
    }
    let made = witness.engine.session_create(0, attributes([("k", &b"v"[..])]).unwrap(), Duration::from_secs(1));
    refused(made.map(|_| Code::Ok), "node.witness");
}
