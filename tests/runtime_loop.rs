//! Members without a thread, run by the loop of a host: what they send, tell, refuse, and leave behind.

mod runtime_support;

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use decurion::{Code, Config, Ended, Engine, Level, Mode, To};
use runtime_support::{Node, PATIENCE, Seen, settings, wait_view};

fn in_loop(config: &Config) -> Node {
    Node { engine: Engine::open(config, Mode::Loop).unwrap(), seen: Seen::default() }
}

fn open_in_loop(name: &str, seeds: &[SocketAddr]) -> Node {
    in_loop(&settings(name, 0, seeds))
}

/// Waits for the descriptor; `None`: as long as it takes.
fn readable(engine: &Engine, timeout: Option<Duration>) -> bool {
    let timeout_ms = timeout.map_or(-1, |timeout| timeout.as_nanos().div_ceil(1_000_000) as i32);
    let mut one = libc::pollfd { fd: engine.fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one live pollfd.
    unsafe { libc::poll(&mut one, 1, timeout_ms) == 1 }
}

/// Once around the loop: waits as the engine says, turns, takes what there is.
fn go_round(node: &mut Node) {
    let timeout = node.engine.next_timeout().unwrap();
    let was = readable(&node.engine, timeout);
    assert!(was || timeout != Some(Duration::ZERO), "there is work, and the descriptor does not tell");
    match node.engine.turn() {
        Ok(()) => {}
        Err(error) => assert_eq!(error.code(), Code::Closed, "{error}"),
    }
    // It could wait for ever, and does not wait at all.
    node.pump(Duration::MAX);
}

fn go_until(node: &mut Node, what: &str, mut done: impl FnMut(&mut Node) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done(node) {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        go_round(node);
    }
}

#[test]
fn members_in_a_loop_and_on_threads_talk_to_each_other() {
    const COUNT: usize = 1_000;
    let mut threaded = Node::open("threaded", &[]);
    let mut looped = open_in_loop("looped", &[threaded.address()]);
    go_until(&mut looped, "a view of two", |looped| {
        threaded.pump(Duration::ZERO);
        looped.seen.members() == 2 && threaded.seen.members() == 2
    });
    let mut sent = [0; 2];
    go_until(&mut looped, "all messages", |looped| {
        threaded.pump(Duration::ZERO);
        for (node, sent) in [&*looped, &threaded].into_iter().zip(&mut sent) {
            while *sent < COUNT && node.offer(format!("{sent}").as_bytes()) {
                *sent += 1;
            }
        }
        looped.seen.from("threaded").len() == COUNT && threaded.seen.from("looped").len() == COUNT
    });
    let expected: Vec<_> = (0..COUNT).map(|i| i.to_string().into_bytes()).collect();
    assert!(looped.seen.from("threaded") == expected && threaded.seen.from("looped") == expected);
    let stats = looped.engine.stats();
    assert_eq!((stats.messages_sent, stats.messages_delivered), (COUNT as u64, COUNT as u64), "they are as of now");
}

#[test]
fn no_call_waits_for_a_loop_that_does_not_turn() {
    let mut config = settings("narrow", 0, &[]);
    config.set("send.queue_bytes", "65536").unwrap();
    config.set("message.max_bytes", "32768").unwrap();
    let mut node = in_loop(&config);
    let send = |node: &Node| node.engine.send(To::Everybody, Level::Fifo, 0, &[7; 30_000], Duration::MAX);
    assert_eq!(send(&node).unwrap(), Code::NotReady);
    assert_eq!(node.engine.poll(&mut Vec::new(), 1, Duration::MAX).unwrap(), 0);
    assert!(node.engine.stats().views_installed == 0 && node.engine.links().is_empty());
    go_until(&mut node, "a view", |node| node.seen.members() == 1);
    let accepted = (0..10).take_while(|_| send(&node).unwrap() == Code::Ok).count();
    assert!((1..10).contains(&accepted), "the queue was full after {accepted}");
    node.engine.leave(Duration::MAX).unwrap();
    assert!(node.engine.next_timeout().unwrap() == Some(Duration::ZERO) && readable(&node.engine, None));
    go_until(&mut node, "the end", |node| node.seen.closed.is_some());
    assert_eq!(node.seen.closed, Some(Ended::Left));
    assert_eq!(node.engine.turn().unwrap_err().code(), Code::Closed);
    assert_eq!(node.engine.poll(&mut Vec::new(), 1, Duration::MAX).unwrap_err().code(), Code::Closed);
    assert!(node.engine.next_timeout().unwrap() == Some(Duration::ZERO) && readable(&node.engine, None));
}

#[test]
fn an_engine_with_a_thread_is_not_turned() {
    let threaded = Node::open("threaded", &[]);
    for error in [threaded.engine.turn().unwrap_err(), threaded.engine.next_timeout().unwrap_err()] {
        assert_eq!(error.code(), Code::Unsupported);
        assert!(error.text().contains("a thread of its own"), "{error}");
    }
}

#[test]
fn closing_ends_it_at_once_and_frees_the_port() {
    let mut node = open_in_loop("first", &[]);
    let port = node.address().port();
    go_until(&mut node, "a view", |node| node.seen.members() == 1);
    node.engine.close();
    node.engine.close();
    node.pump(Duration::MAX);
    assert_eq!(node.seen.closed, Some(Ended::LeftUnheard));
    assert_eq!(node.engine.turn().unwrap_err().code(), Code::Closed);
    assert!(readable(&node.engine, None), "for good");
    let second = in_loop(&settings("second", port, &[]));
    drop(second);
    let third = Node::with(&settings("third", port, &[])).unwrap();
    drop(node);
    assert_eq!(third.address().port(), port);
}

#[test]
fn a_forked_child_drops_its_copy_and_the_parent_does_not_notice() {
    let mut config = settings("parent", 0, &[]);
    // With a name among the seeds there is a helper thread that the child does not have.
    config.set("cluster.seeds", "localhost:9, localhost:10").unwrap();
    config.set("form.wait_ms", "100").unwrap();
    let mut node = in_loop(&config);
    go_round(&mut node);
    // SAFETY: the child calls nothing but the library, and ends without running what belongs to the test.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // SAFETY: as above. The alarm ends a child that hangs.
        unsafe { libc::alarm(20) };
        let refused = node.engine.turn().is_err_and(|e| e.code() == Code::Forked);
        let refused = refused && node.engine.next_timeout().is_err_and(|e| e.code() == Code::Forked);
        let silent = !readable(&node.engine, Some(Duration::ZERO));
        drop(node);
        // SAFETY: as above.
        unsafe { libc::_exit(if refused && silent { 0 } else { 1 }) };
    }
    let mut status = -1;
    // SAFETY: a child of ours and a live place for its status.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!(status, 0, "the child was refused, saw silence, and could drop its copy");
    go_until(&mut node, "another turn", |node| node.engine.turn().is_ok());
}

#[test]
fn log_lines_are_written_inside_of_turns() {
    let lines = Arc::new(AtomicUsize::new(0));
    let (seen, here) = (lines.clone(), std::thread::current().id());
    let log = Box::new(move |_, _: &str, _: &str| {
        assert_eq!(std::thread::current().id(), here);
        seen.fetch_add(1, Ordering::Relaxed);
    });
    let resolved = settings("logs", 0, &[]).resolve().unwrap();
    let engine = Engine::open_resolved(resolved, Mode::Loop, Some(log)).unwrap();
    let mut node = Node { engine, seen: Seen::default() };
    go_until(&mut node, "a view", |node| node.seen.members() == 1);
    assert!(lines.load(Ordering::Relaxed) > 0);
}

/// What the documentation of `turn` says a coroutine must have.
#[test]
fn a_turn_needs_little_stack() {
    let mut peer = Node::open("peer", &[]);
    wait_view(&mut [&mut peer], 1);
    let seed = peer.address();
    let small = std::thread::Builder::new().stack_size(128 * 1024).spawn(move || {
        let mut node = open_in_loop("small", &[seed]);
        go_until(&mut node, "a view of two and ten messages", |node| {
            node.seen.members() == 2 && node.seen.from("peer").len() >= 10
        });
        node.engine.leave(Duration::ZERO).unwrap();
        go_until(&mut node, "the end", |node| node.seen.closed.is_some());
    });
    let small = small.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !small.is_finished() {
        assert!(Instant::now() < deadline);
        peer.pump(Duration::from_millis(10));
        if peer.seen.members() == 2 {
            peer.offer(&[1; 50_000]);
        }
    }
    small.join().unwrap();
}
