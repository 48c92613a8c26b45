//! Thirty member processes, and exactly the connections that the groups need: the operating system is asked (R14).

mod command_support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use command_support::{connections, nodes};
use serde_json::Value;

const MEMBERS: usize = 30;
/// What is there and should not be, or the other way round, is told when it has been so for so long.
const TELL_AFTER: Duration = Duration::from_secs(25);

/// A pair of members, by their ports, the smaller one first.
type Pair = (u16, u16);

fn pair(a: u16, b: u16) -> Pair {
    (a.min(b), a.max(b))
}

/// Who is connected with whom: members with their leader and their deputy, leaders with each other; nobody else.
fn allowed(view: &Value) -> BTreeSet<Pair> {
    let mut groups: BTreeMap<&str, Vec<(u16, &str)>> = BTreeMap::new();
    for member in view["members"].as_array().expect("a list") {
        let address = member["address"].as_str().expect("text");
        let port = address.rsplit(':').next().and_then(|p| p.parse().ok()).expect("a port");
        let group = member["group"].as_str().expect("text");
        groups.entry(group).or_default().push((port, member["role"].as_str().expect("text")));
    }
    let mut leaders = Vec::new();
    let mut pairs = BTreeSet::new();
    for members in groups.values() {
        for (port, role) in members {
            if *role == "leader" {
                leaders.push(*port);
            }
            if *role == "member" {
                continue;
            }
            // A leader or a deputy.
            pairs.extend(members.iter().filter(|(other, _)| other != port).map(|(other, _)| pair(*port, *other)));
        }
    }
    assert_eq!(leaders.len(), groups.len(), "each group has one leader");
    for leader in &leaders {
        pairs.extend(leaders.iter().filter(|other| *other != leader).map(|other| pair(*leader, *other)));
    }
    pairs
}

#[test]
fn thirty_members_keep_the_connections_of_their_groups_and_no_other() {
    let nodes = nodes(MEMBERS, &[]);
    let view = nodes[0].wait_members(MEMBERS);
    let allowed = allowed(&view);
    let ports: Vec<u16> = nodes.iter().map(|n| n.address().port()).collect();

    // Links that joining needed are closed when they have been idle for some seconds.
    let mut seen = BTreeMap::new();
    let since = Instant::now();
    nodes[0].wait_world("the connections that the groups need, and no other", || {
        seen = nodes.iter().map(|n| (n.name.clone(), connections(n.pid()))).collect();
        // At one end of each connection is the port of the member that was dialled; at the other, a port of the
        // system's choice. Whose that is, its owner's table tells, with the other end: the system gives one port to
        // several connections that lead to different ones.
        let mut dialler = BTreeMap::new();
        for (node, port) in nodes.iter().zip(&ports) {
            dialler.extend(seen[&node.name].iter().filter(|(local, _)| local != port).map(|ends| (*ends, *port)));
        }
        let mut found = BTreeMap::new();
        for (node, port) in nodes.iter().zip(&ports) {
            let accepted = seen[&node.name].iter().filter(|(local, _)| local == port);
            for (_, remote) in accepted {
                *found.entry(pair(*port, *dialler.get(&(*remote, *port))?)).or_insert(0) += 1;
            }
        }
        let once = found.values().all(|count| *count == 1);
        let pairs: BTreeSet<Pair> = found.keys().copied().collect();
        if since.elapsed() > TELL_AFTER {
            let (more, less) = (pairs.difference(&allowed), allowed.difference(&pairs));
            let twice: Vec<_> = found.iter().filter(|(_, count)| **count > 1).collect();
            let (more, less) = (more.collect::<Vec<_>>(), less.collect::<Vec<_>>());
            eprintln!("not needed: {more:?}; missing: {less:?}; more than once: {twice:?}");
        }
        (once && pairs == allowed).then_some(())
    });

    let same_view = nodes.iter().all(|n| n.wait_members(MEMBERS)["view_id"] == view["view_id"]);
    assert!(same_view, "the view has not changed meanwhile");
    let mut total = 0;
    for (node, port) in nodes.iter().zip(&ports) {
        let expected = allowed.iter().filter(|(a, b)| a == port || b == port).count();
        assert_eq!(seen[&node.name].len(), expected, "{} {:?}", node.name, seen[&node.name]);
        total += expected;
    }
    assert_eq!(total, 2 * allowed.len());
    let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
    for label in view["members"].as_array().unwrap().iter().filter_map(|m| m["group"].as_str()) {
        *groups.entry(label).or_default() += 1;
    }
    // They started together, and no group grew beyond the square root of all (R13).
    assert!(groups.values().all(|size| *size <= 6), "{groups:?}");
    let mesh = MEMBERS * (MEMBERS - 1) / 2;
    assert!(allowed.len() * 4 < mesh, "{} of the {mesh} of a full mesh", allowed.len());
    println!("{MEMBERS} members in {} groups keep {} connections; a full mesh has {mesh}", groups.len(), allowed.len());
}
