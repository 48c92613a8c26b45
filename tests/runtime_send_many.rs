//! Several messages with one call: they come as if each had been sent by itself, and how many were taken is always told.

mod runtime_support;

use std::time::{Duration, Instant};

use decurion::{Code, Config, Engine, Level, Mode, To};
use runtime_support::{Node, PATIENCE, Seen, cluster, settings, wait_until, wait_view};

fn slices(messages: &[Vec<u8>]) -> Vec<&[u8]> {
    messages.iter().map(Vec::as_slice).collect()
}

/// Number and length tell messages apart.
fn message(number: usize, bytes: usize) -> Vec<u8> {
    let mut message = vec![number as u8; bytes.max(4)];
    message[..4].copy_from_slice(&(number as u32).to_le_bytes());
    message
}

/// Small queues, so that they fill.
fn narrow(name: &str) -> Config {
    let mut config = settings(name, 0, &[]);
    config.set("send.queue_bytes", "65536").unwrap();
    config.set("message.max_bytes", "32768").unwrap();
    config
}

/// A member alone in its view that nobody turns any more: what is sent stays in its queue.
fn standing_still(config: &Config) -> Node {
    let mut node = Node { engine: Engine::open(config, Mode::Loop).unwrap(), seen: Seen::default() };
    let deadline = Instant::now() + PATIENCE;
    while node.seen.members() == 0 {
        assert!(Instant::now() < deadline, "no view");
        node.engine.turn().unwrap();
        node.pump(Duration::ZERO);
    }
    node
}

#[test]
fn short_and_long_ones_come_in_the_order_given_to_one_and_to_all() {
    let mut nodes = cluster(3);
    // Around what a batch packs, what one lock covers, and what goes in fragments; none is empty but the first.
    let lengths = [16_384, 16_385, 200_000, 64].into_iter().chain((0..3_000).map(|i| 4 + i % 90));
    let mut messages: Vec<Vec<u8>> = lengths.enumerate().map(|(i, bytes)| message(i, bytes)).collect();
    messages.insert(0, Vec::new());
    let to_one = To::Member(nodes[2].incarnation());
    for (to, level) in [(To::Everybody, Level::Fifo), (to_one, Level::Fifo), (To::Everybody, Level::Agreed)] {
        let (accepted, answer) = nodes[1].engine.send_many(to, level, 7, &slices(&messages), PATIENCE);
        assert_eq!((accepted, answer.unwrap()), (messages.len(), Code::Ok));
    }
    let mut refs: Vec<&mut Node> = nodes.iter_mut().collect();
    let count = messages.len();
    wait_until(&mut refs, "all", |n| {
        let came = |at: usize| n[at].seen.from("m1").len();
        came(2) == 3 * count && came(0) == 2 * count && n[1].seen.ordered.len() == count
    });
    let to_everybody = [&messages[..], &messages].concat();
    assert!(nodes[0].seen.from("m1") == to_everybody);
    // The two streams to the third come beside each other.
    let mut all = nodes[2].seen.from("m1").to_vec();
    all.sort();
    let mut expected = [&messages[..], &messages, &messages].concat();
    expected.sort();
    assert!(all == expected);
    let own: Vec<&[u8]> = nodes[1].seen.ordered.iter().map(|(_, payload)| payload.as_slice()).collect();
    assert!(own == slices(&messages), "what is agreed comes to its sender too");
}

#[test]
fn a_full_queue_takes_as_many_as_by_single_calls_and_says_so() {
    for bytes in [64, 5_000, 20_000] {
        let messages: Vec<Vec<u8>> = (0..2_000).map(|i| message(i, bytes)).collect();
        let single = standing_still(&narrow("single"));
        let taken = messages.iter().take_while(|message| single.offer(message)).count();
        assert!((1..2_000).contains(&taken));
        let many = standing_still(&narrow("many"));
        // It could wait for ever, and does not: nobody else would turn it.
        let (accepted, answer) =
            many.engine.send_many(To::Everybody, Level::Fifo, 0, &slices(&messages), Duration::MAX);
        assert_eq!((accepted, answer.unwrap()), (taken, Code::Again), "{bytes} bytes each");
        let (accepted, answer) =
            many.engine.send_many(To::Everybody, Level::Fifo, 0, &slices(&messages), Duration::MAX);
        assert_eq!((accepted, answer.unwrap()), (0, Code::Again));
    }
}

#[test]
fn whoever_waits_for_room_sends_on_as_it_comes() {
    let mut first = Node::with(&narrow("first")).unwrap();
    let mut config = narrow("second");
    config.set("cluster.seeds", &first.address().to_string()).unwrap();
    let mut second = Node::with(&config).unwrap();
    wait_view(&mut [&mut first, &mut second], 2);
    let messages: Vec<Vec<u8>> = (0..20_000).map(|i| message(i, 4 + i % 100)).collect();
    let engine = second.engine.clone();
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| engine.send_many(To::Everybody, Level::Fifo, 0, &slices(&messages), PATIENCE));
        wait_until(&mut [&mut first, &mut second], "all", |n| n[0].seen.from("second").len() == messages.len());
        let (accepted, answer) = sender.join().unwrap();
        assert_eq!((accepted, answer.unwrap()), (messages.len(), Code::Ok));
    });
    assert!(first.seen.from("second") == messages);
}

#[test]
fn what_cannot_be_sent_keeps_back_what_is_behind_it_and_is_named() {
    let node = standing_still(&narrow("alone"));
    let [short, long] = [message(1, 64), vec![0; 32_769]];
    let send = |level, messages: &[&[u8]]| node.engine.send_many(To::Everybody, level, 0, messages, PATIENCE);

    let (accepted, answer) = send(Level::Fifo, &[&short, &short, &long, &short]);
    let error = answer.unwrap_err();
    assert_eq!((accepted, error.code()), (2, Code::TooLarge));
    assert!(error.text().contains("32769 bytes is over message.max_bytes = 32768"), "{error}");

    let (accepted, answer) = send(Level::Unreliable, &[&short, &long[..2_000], &short]);
    let error = answer.unwrap_err();
    assert_eq!((accepted, error.code()), (1, Code::TooLarge));
    assert!(error.text().contains("2000 bytes are too long for one datagram"), "{error}");

    let nobody = To::Member(decurion::Incarnation(5));
    let (accepted, answer) = node.engine.send_many(nobody, Level::Fifo, 0, &[&short], PATIENCE);
    assert_eq!((accepted, answer.unwrap_err().code()), (0, Code::NoSuchMember));

    assert_eq!(send(Level::Fifo, &[]).1.unwrap(), Code::Ok, "nothing is sent at once");
    node.engine.close();
    let (accepted, answer) = send(Level::Fifo, &[&short, &short]);
    assert_eq!((accepted, answer.unwrap_err().code()), (0, Code::Closed));
}
