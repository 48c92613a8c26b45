//! A host that takes no events: its member leaves by itself, with that reason, and the others lose nothing (D5).

mod runtime_support;

use std::time::{Duration, Instant};

use decurion::{Config, Ended, Event, attributes};
use runtime_support::{Node, PATIENCE, settings, wait_until, wait_view};

const SLOW_MS: u64 = 1_000;

fn strict(name: &str, seeds: &[std::net::SocketAddr]) -> Config {
    let mut config = settings(name, 0, seeds);
    config.set("window.slow_ms", &SLOW_MS.to_string()).unwrap();
    config
}

#[test]
fn a_host_that_never_polls_makes_its_member_leave_and_holds_up_nobody_for_longer() {
    let first = Node::with(&strict("m0", &[])).unwrap();
    let seed = [first.address()];
    let mut nodes = [first, Node::with(&strict("m1", &seed)).unwrap()];
    let mut idle = Node::with(&strict("idle", &seed)).unwrap();
    let mut all: Vec<&mut Node> = nodes.iter_mut().chain([&mut idle]).collect();
    wait_view(&mut all, 3);

    // From here on `idle` is not polled. What is sent goes on filling windows and queues meanwhile.
    let since = Instant::now();
    let (payload, mut sent) = (vec![7; 8 * 1024], 0u64);
    wait_until(&mut nodes.iter_mut().collect::<Vec<_>>(), "a view without it", |nodes| {
        while nodes[0].offer(&payload) {
            sent += 1;
        }
        nodes.iter().all(|n| n.seen.members() == 2)
    });
    let took = since.elapsed();
    assert!(took >= Duration::from_millis(SLOW_MS / 2), "not before its time: {took:?}");
    assert!(took < Duration::from_millis(SLOW_MS * 4), "removed after {took:?}");
    wait_until(&mut nodes.iter_mut().collect::<Vec<_>>(), "all that was sent", |nodes| {
        nodes[1].seen.from("m0").len() as u64 == sent
    });
    // The host comes back and is told: first what it had missed, then the end.
    while idle.seen.closed.is_none() {
        assert!(since.elapsed() < PATIENCE, "never told: {:?}", idle.seen.others);
        idle.pump(Duration::from_millis(10));
    }
    assert_eq!(idle.seen.closed, Some(Ended::HostNotPolling));
    let suspected = |n: &Node| n.seen.others.iter().any(|e| matches!(e, Event::Suspected { .. }));
    assert!(!nodes.iter().any(suspected), "it left by itself");
}

#[test]
fn answers_that_other_threads_wait_for_do_not_pass_for_a_poll() {
    let mut sender = Node::with(&strict("sender", &[])).unwrap();
    let mut idle = Node::with(&strict("idle", &[sender.address()])).unwrap();
    wait_view(&mut [&mut sender, &mut idle], 2);
    let user = attributes([("user", &b"ada"[..])]).unwrap();
    let cookie = idle.engine.session_create(0, user, PATIENCE).unwrap().cookie;

    let (since, payload) = (Instant::now(), vec![7; 8 * 1024]);
    std::thread::scope(|scope| {
        scope.spawn(|| while since.elapsed() < PATIENCE && idle.engine.session_read(&cookie, PATIENCE).is_ok() {});
        wait_until(&mut [&mut sender], "a view without it", |nodes| {
            while nodes[0].offer(&payload) {}
            nodes[0].seen.members() == 1
        });
    });
    while idle.seen.closed.is_none() {
        assert!(since.elapsed() < PATIENCE, "never told: {:?}", idle.seen.others);
        idle.pump(Duration::from_millis(10));
    }
    assert_eq!(idle.seen.closed, Some(Ended::HostNotPolling));
}
