//! A handler that blocks keeps its member silent: the others remove it after `detector.silence_ms` and go on; when the
//! handler returns, the member learns of it and joins again.

mod runtime_support;

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use decurion::{Code, Config, Engine, Event, Level, Mode, To};
use runtime_support::{Node, PATIENCE, settings, wait_until, wait_view};

fn quick(name: &str, seeds: &[std::net::SocketAddr]) -> Config {
    let mut config = settings(name, 0, seeds);
    config.set("detector.silence_ms", "600").unwrap();
    config.set("detector.heartbeat_ms", "100").unwrap();
    config
}

#[test]
fn a_handler_that_blocks_costs_its_member_the_view_and_nobody_else_anything() {
    let first = Node::with(&quick("m0", &[])).unwrap();
    let seed = [first.address()];
    let mut nodes = [first, Node::with(&quick("m1", &seed)).unwrap()];
    wait_view(&mut nodes.iter_mut().collect::<Vec<_>>(), 2);

    let (blocked, is_blocked) = channel();
    let (release, released) = channel::<()>();
    let (expelled, is_expelled) = channel();
    let handler = move |event: &Event| match event {
        Event::Messages(run) if run.iter().any(|m| m.payload[..] == b"block"[..]) => {
            blocked.send(Instant::now()).unwrap();
            released.recv_timeout(PATIENCE).expect("the test lets it go");
        }
        Event::Expelled { why, .. } => expelled.send(why.clone()).unwrap(),
        _ => {}
    };
    let engine = Engine::open(&quick("blocks", &seed), Mode::Handler(Box::new(handler))).unwrap();
    wait_view(&mut nodes.iter_mut().collect::<Vec<_>>(), 3);
    nodes[0].send(b"block");
    let since = is_blocked.recv_timeout(PATIENCE).expect("the handler is called");

    // The others go on: they agree on a view without it, in time, and a message passes.
    wait_view(&mut nodes.iter_mut().collect::<Vec<_>>(), 2);
    let took = since.elapsed();
    assert!(took < Duration::from_secs(2), "removed after {took:?}");
    nodes[0].send(b"on we go");
    wait_until(&mut nodes.iter_mut().collect::<Vec<_>>(), "the message", |n| n[1].seen.from("m0").len() == 2);
    // Calls from other threads come back while the handler is stuck.
    let code = engine.send(To::Everybody, Level::Fifo, 0, b"x", Duration::ZERO).unwrap();
    assert!(matches!(code, Code::Ok | Code::Again | Code::NotPrimary | Code::NotReady), "{code:?}");
    let _ = engine.stats();

    release.send(()).unwrap();
    let why = is_expelled.recv_timeout(PATIENCE).expect("it is told");
    assert!(!why.is_empty());
    wait_view(&mut nodes.iter_mut().collect::<Vec<_>>(), 3);
}
