//! Members as engines of one process: they form, send, receive, die, leave, and come back.

mod runtime_support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use decurion::{Code, Ended, Event, Level, To};
use runtime_support::{Node, PATIENCE, cluster, free_port, settings, wait_until, wait_view};

fn refs(nodes: &mut [Node]) -> Vec<&mut Node> {
    nodes.iter_mut().collect()
}

/// Everybody sends `count` messages; everybody gets those of all others, in order.
fn everybody_sends(nodes: &mut [Node], count: usize) {
    let mut sent = vec![0; nodes.len()];
    wait_until(&mut refs(nodes), "all messages of all", |nodes| {
        for (node, sent) in nodes.iter().zip(&mut sent) {
            while *sent < count && node.offer(format!("{} {sent}", node.name()).as_bytes()) {
                *sent += 1;
            }
        }
        let all =
            |me: &Node| nodes.iter().filter(|n| n.name() != me.name()).all(|n| me.seen.from(&n.name()).len() == count);
        nodes.iter().all(|n| all(n))
    });
    for node in nodes.iter() {
        for (sender, got) in &node.seen.messages {
            let expected: Vec<_> = (0..count).map(|i| format!("{sender} {i}").into_bytes()).collect();
            assert!(*got == expected, "{} from {sender}", node.name());
        }
    }
}

#[test]
fn one_forms_a_view_of_its_own() {
    let mut alone = Node::open("alone", &[]);
    wait_view(&mut [&mut alone], 1);
    let snapshot = alone.engine.view().unwrap();
    assert_eq!((snapshot.me, snapshot.view.members[0].address), (0, alone.address()));
}

#[test]
fn two_form_and_talk() {
    let mut nodes = cluster(2);
    everybody_sends(&mut nodes, 2_000);
}

#[test]
fn three_form_and_talk() {
    let mut nodes = cluster(3);
    everybody_sends(&mut nodes, 2_000);
}

#[test]
fn twelve_form_groups_and_talk() {
    let mut nodes = cluster(12);
    let groups = nodes[0].seen.views.last().unwrap().groups.len();
    assert!((2..=6).contains(&groups), "{groups} groups");
    everybody_sends(&mut nodes, 300);
}

#[test]
fn a_message_to_one_member_reaches_that_one_only() {
    let mut nodes = cluster(3);
    let to = To::Member(nodes[2].incarnation());
    for i in 0..500 {
        let payload = format!("for m2: {i}");
        let code = nodes[1].engine.send(to, Level::Fifo, i + 1, payload.as_bytes(), PATIENCE).unwrap();
        assert_eq!(code, Code::Ok);
    }
    nodes[1].send(b"for all");
    wait_until(&mut refs(&mut nodes), "both", |n| n[2].seen.from("m1").len() == 501 && n[0].seen.from("m1").len() == 1);
    assert_eq!(nodes[0].seen.from("m1"), [b"for all"]);
    let own = nodes[1].engine.send(To::Member(nodes[1].incarnation()), Level::Fifo, 0, b"", Duration::ZERO);
    assert_eq!(own.unwrap_err().code(), Code::InvalidArgument);
}

#[test]
fn big_messages_arrive_whole_and_longer_ones_are_refused() {
    let mut nodes = cluster(3);
    let big: Vec<u8> = (0..1024 * 1024u32).map(|i| (i ^ (i >> 7)) as u8).collect();
    for round in 0..8 {
        nodes[0].send(&[round]);
        nodes[0].send(&big[..big.len() - usize::from(round) * 100_000]);
    }
    wait_until(&mut refs(&mut nodes), "all big ones", |n| {
        n[1].seen.from("m0").len() == 16 && n[2].seen.from("m0").len() == 16
    });
    for receiver in &nodes[1..] {
        for (round, pair) in receiver.seen.from("m0").chunks(2).enumerate() {
            assert_eq!(pair[0], [round as u8]);
            assert!(pair[1] == big[..big.len() - round * 100_000], "big message {round}");
        }
    }
    let error = nodes[0].engine.send(To::Everybody, Level::Fifo, 0, &vec![0; 1024 * 1024 + 1], PATIENCE).unwrap_err();
    assert_eq!(error.code(), Code::TooLarge);
    assert!(error.text().contains("message.max_bytes = 1048576"), "{error}");
}

/// Three messages of up to 64 MiB share the room that there is at each, which is 64 MiB: they take turns, beside what needs none.
#[test]
fn the_longest_messages_take_turns_and_arrive_whole() {
    const LONGEST: usize = 64 << 20;
    let long = |name: &str, bytes: usize| -> Vec<u8> {
        let salt = name.as_bytes()[1];
        (0..bytes).map(|at| (at ^ (at >> 9)) as u8 ^ salt).collect()
    };
    let open = |name: &str, seeds: &[_]| {
        let mut config = settings(name, 0, seeds);
        config.set("message.max_bytes", "64 MiB").unwrap();
        Node::with(&config).unwrap()
    };
    let mut nodes = vec![open("m0", &[])];
    let seed = [nodes[0].address()];
    nodes.extend(["m1", "m2"].map(|name| open(name, &seed)));
    wait_view(&mut refs(&mut nodes), 3);
    let lengths = [("m1", LONGEST), ("m2", 20 << 20)];
    for (node, (name, bytes)) in nodes[1..].iter().zip(lengths) {
        node.send(&long(name, bytes));
        node.send(b"after");
        let to = To::Member(nodes[0].incarnation());
        let sent = node.engine.send(to, Level::Fifo, 0, &long(name, bytes), PATIENCE);
        assert_eq!(sent.unwrap(), Code::Ok);
    }
    (0..100).for_each(|_| nodes[0].send(b"short"));
    wait_until(&mut refs(&mut nodes), "all", |n| {
        let of_others = n[1].seen.from("m2").len() == 2 && n[2].seen.from("m1").len() == 2;
        let short = n[1].seen.from("m0").len() == 100 && n[2].seen.from("m0").len() == 100;
        of_others && short && n[0].seen.from("m1").len() == 3 && n[0].seen.from("m2").len() == 3
    });
    for (name, bytes) in lengths {
        let expected = long(name, bytes);
        let whole = |node: &Node| node.seen.from(name).iter().filter(|got| **got == expected).count();
        let got: Vec<usize> = nodes.iter().filter(|node| node.name() != name).map(whole).collect();
        assert_eq!(got, [2, 1], "of {name}: to everybody, and to m0 besides");
    }
    let error = nodes[0].engine.send(To::Everybody, Level::Fifo, 0, &vec![0; LONGEST + 1], PATIENCE).unwrap_err();
    assert!(error.code() == Code::TooLarge && error.text().contains("message.max_bytes = 67108864"), "{error}");
}

#[test]
fn one_that_closes_without_a_word_is_removed_and_the_rest_goes_on() {
    let mut nodes = cluster(4);
    let closed = Instant::now();
    let gone = nodes.remove(0);
    gone.engine.close();
    wait_view(&mut refs(&mut nodes), 3);
    assert!(closed.elapsed() < Duration::from_secs(3), "removal took {:?}", closed.elapsed());
    everybody_sends(&mut nodes, 200);
}

#[test]
fn a_sender_goes_on_while_its_leader_dies_and_nothing_is_lost() {
    let mut nodes = cluster(6);
    let leader = nodes.remove(0);
    let mut sent = 0u32;
    let mut killed = false;
    wait_until(&mut refs(&mut nodes), "20,000 messages of m5 at m1 to m4", |nodes| {
        for _ in 0..64 {
            if sent < 20_000 && nodes[4].offer(&sent.to_le_bytes()) {
                sent += 1;
            }
        }
        if !killed && sent > 5_000 {
            leader.engine.close();
            killed = true;
        }
        nodes[..4].iter().all(|n| n.seen.from("m5").len() == 20_000) && nodes.iter().all(|n| n.seen.members() == 5)
    });
    for node in &nodes[..4] {
        assert!(node.seen.from("m5").iter().zip(0u32..).all(|(got, i)| got[..] == i.to_le_bytes()));
    }
}

#[test]
fn one_that_leaves_says_so_and_is_gone_at_once() {
    let mut nodes = cluster(3);
    let mut leaver = nodes.pop().unwrap();
    leaver.engine.leave(PATIENCE).unwrap();
    wait_until(&mut [&mut leaver], "Closed", |n| n[0].seen.closed.is_some());
    assert_eq!(leaver.seen.closed, Some(Ended::Left));
    assert_eq!(leaver.engine.poll(&mut Vec::new(), 1, Duration::ZERO).unwrap_err().code(), Code::Closed);
    let send = leaver.engine.send(To::Everybody, Level::Fifo, 0, b"", Duration::ZERO);
    assert_eq!(send.unwrap_err().code(), Code::Closed);
    leaver.engine.leave(PATIENCE).unwrap();
    wait_view(&mut refs(&mut nodes), 2);
    let suspected = |n: &Node| n.seen.others.iter().any(|e| matches!(e, Event::Suspected { .. }));
    assert!(!nodes.iter().any(suspected), "an orderly leave raises no suspicion");
}

#[test]
fn a_restarted_member_takes_its_port_and_name_again_as_a_new_one() {
    let mut nodes = cluster(3);
    let old = nodes.pop().unwrap();
    let (port, incarnation) = (old.address().port(), old.incarnation());
    let seeds = [nodes[0].address()];
    old.engine.close();
    nodes.push(Node::with(&settings("m2", port, &seeds)).unwrap());
    wait_until(&mut refs(&mut nodes), "m2 is back", |nodes| {
        let Some(view) = nodes[0].seen.views.last() else { return false };
        view.len() == 3 && view.index_of(incarnation).is_none() && nodes[2].seen.members() == 3
    });
    assert_ne!(nodes[2].incarnation(), incarnation);
    everybody_sends(&mut nodes, 100);
}

#[test]
fn a_taken_port_is_an_error_that_says_what_to_do() {
    let node = Node::open("first", &[]);
    let error = Node::with(&settings("second", node.address().port(), &[])).err().expect("the port is taken");
    assert_eq!(error.code(), Code::System);
    assert!(error.text().contains("is taken (ss"), "{error}");
    assert!(error.text().contains("node.bind"), "{error}");
}

#[test]
fn a_member_named_like_a_living_one_is_refused_with_the_reason() {
    let mut nodes = cluster(2);
    let seeds = [nodes[0].address()];
    let mut twin = Node::with(&settings("m1", 0, &seeds)).unwrap();
    wait_until(&mut [&mut nodes[0], &mut twin], "the refusal", |n| n[1].seen.closed.is_some());
    let Some(Ended::Refused(why)) = &twin.seen.closed else { panic!("{:?}", twin.seen.closed) };
    assert!(why.contains("m1"), "{why}");
    wait_until(&mut refs(&mut nodes), "the refusal's other end", |n| {
        n.iter().any(|n| n.seen.others.iter().any(|e| matches!(e, Event::RefusedJoiner { .. })))
    });
}

#[test]
fn seeds_by_name_are_found_and_found_late() {
    let port = free_port();
    let mut config = settings("b", 0, &[]);
    config.set("cluster.seeds", &format!("localhost:{port}, nosuchhost.invalid:7100")).unwrap();
    let mut b = Node::with(&config).unwrap();
    let mut a = Node::with(&settings("a", port, &[])).unwrap();
    wait_view(&mut [&mut a, &mut b], 2);
}

#[test]
fn named_voters_form_one_view_from_cold() {
    let ports: Vec<u16> = (0..5).map(|_| free_port()).collect();
    let seeds: Vec<String> = ports.iter().enumerate().map(|(i, p)| format!("v{i}@127.0.0.1:{p}")).collect();
    let mut nodes: Vec<Node> = ports
        .iter()
        .enumerate()
        .map(|(i, port)| {
            let mut config = settings(&format!("v{i}"), *port, &[]);
            config.set("cluster.seeds", &seeds.join(",")).unwrap();
            Node::with(&config).unwrap()
        })
        .collect();
    wait_view(&mut refs(&mut nodes), 5);
    assert!(nodes[0].seen.views.last().unwrap().fenced);
    wait_until(&mut refs(&mut nodes), "the lease", |n| n.iter().all(|n| n.engine.view().unwrap().primary));
}

/// More bytes of names than a text in a greeting may have.
#[test]
fn forty_voters_with_long_names_form_a_view_and_another_list_is_refused_in_words() {
    let list = |last: usize| (0..39).chain([last]).map(|n| format!("voter-at-no-{n:02}")).collect::<Vec<_>>();
    let open = |name: &str, voters: &[String], seeds: &[SocketAddr]| {
        let mut config = settings(name, 0, seeds);
        config.set("cluster.voters", &voters.join(",")).unwrap();
        Node::with(&config).unwrap()
    };
    let voters = list(39);
    let mut nodes = vec![open(&voters[0], &voters, &[])];
    let seeds = [nodes[0].address()];
    nodes.extend(voters[1..21].iter().map(|name| open(name, &voters, &seeds)));
    wait_view(&mut refs(&mut nodes), 21);
    assert!(nodes[0].seen.views.last().unwrap().fenced);
    let mut other = open("other", &list(40), &seeds);
    wait_until(&mut [&mut other, &mut nodes[0]], "the refusal", |n| n[0].seen.closed.is_some());
    let Some(Ended::Refused(why)) = &other.seen.closed else { panic!("{:?}", other.seen.closed) };
    assert_eq!(why.matches("a list of 40 with the sum ").count(), 2, "{why}");
    assert!(why.contains("cluster.voters is ") && why.ends_with("it must be the same"), "{why}");
}
