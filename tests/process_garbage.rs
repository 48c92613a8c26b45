//! Whatever strangers send to the ports of a living member: it stays in its view, its memory stays bounded, and what
//! came is counted and told (R4, M1).

mod command_support;

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};

use command_support::stranger::{Stranger, agreed, hello};
use command_support::{Process, connections, nodes};
use decurion::types::{Ballot, Incarnation, Seat, ViewId, limits};
use decurion::wire::batch;
use decurion::wire::control::{Control, Hello, ViewSummary};
use decurion::wire::datagram::{Datagram, Envelope, Heartbeat, LeaseRound};
use serde_json::Value;

/// What all of this may cost a member, for good or for a while.
const MEMORY_KB: u64 = 32 * 1024;

/// The settings of the attacked: quick enough to go through some heartbeats after each attack.
const SETTINGS: &[(&str, &str)] = &[("detector.heartbeat_ms", "50")];

/// Two members, attacked, and a third one that was killed: of it there is an old incarnation and an old view.
struct Scene {
    nodes: Vec<Process>,
    view: Value,
    old_view: Value,
    memory_kb: Vec<u64>,
}

impl Scene {
    fn new() -> Scene {
        let mut nodes = nodes(3, SETTINGS);
        let old_view = nodes[0].wait_members(3);
        drop(nodes.pop());
        let view = nodes[0].wait_members(2);
        assert_eq!(nodes[1].wait_members(2)["view_id"], view["view_id"]);
        let memory_kb = nodes.iter().map(Process::memory_kb).collect();
        Scene { nodes, view, old_view, memory_kb }
    }

    fn stranger(&self, at: usize) -> Stranger {
        Stranger::connect(self.nodes[at].address())
    }

    fn hello(&self, name: &str, incarnation: u128) -> Hello {
        hello(name, incarnation, &agreed(SETTINGS))
    }

    /// Each of the two says this of what it was sent.
    fn both_tell(&self, what: &str) {
        for node in &self.nodes {
            node.wait_line("fault", |line| line["what"] == what && line["from"].is_string());
        }
    }

    /// Both go on in the same view, hear each other, and have not grown.
    fn all_is_well(&self) {
        for (node, before) in self.nodes.iter().zip(&self.memory_kb) {
            // Some heartbeats later nothing has changed.
            let heard = |stats: &Value| stats["datagrams_received"].as_u64().expect("a number");
            let enough = heard(&node.stats()) + 8;
            node.wait_world("heartbeats", || (heard(&node.stats()) >= enough).then_some(()));
            assert_eq!(node.wait_members(2)["view_id"], self.view["view_id"], "{} stays in its view", node.name);
            let grown = node.memory_kb().saturating_sub(*before);
            assert!(grown < MEMORY_KB, "{} has grown by {grown} kB", node.name);
        }
    }

    fn member(view: &Value, name: &str) -> (Incarnation, SocketAddr) {
        let member = view["members"].as_array().expect("a list").iter().find(|m| m["name"] == name).expect("in it");
        let text = |field: &str| member[field].as_str().expect("text");
        (incarnation(text("incarnation")), text("address").parse().expect("an address"))
    }
}

fn incarnation(text: &str) -> Incarnation {
    Incarnation(u128::from_str_radix(text, 16).expect("hexadecimal"))
}

fn view_id(view: &Value) -> ViewId {
    let text = view["view_id"].as_str().expect("text");
    let mut parts = text.split('.');
    let mut number = || parts.next().expect("three parts");
    let (number, round, coordinator) = (number().parse().unwrap(), number().parse().unwrap(), incarnation(number()));
    ViewId { number, ballot: Ballot { round, coordinator } }
}

/// Bytes that look like nothing, the same ones in every run.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(99);
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| step()).collect()
}

#[test]
fn garbage_on_connections_closes_them_and_is_told() {
    let scene = Scene::new();
    for at in 0..2 {
        for seed in 1..200 {
            let mut stranger = scene.stranger(at);
            let mut bytes = noise(seed, 3_000);
            // No type of frame, or one that does not check.
            bytes[0] |= 0x80;
            stranger.say(&bytes);
            assert!(stranger.hear_all().is_empty(), "closed without a word");
        }
        // A frame of another protocol, a greeting with a flipped bit, one of another kind.
        scene.stranger(at).say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut damaged = Control::Hello(scene.hello("x", 5)).encode().to_vec();
        *damaged.last_mut().expect("not empty") ^= 1;
        let mut stranger = scene.stranger(at);
        stranger.say(&damaged);
        assert!(stranger.hear_all().is_empty());
        let mut stranger = scene.stranger(at);
        stranger.say(&Control::Hello(Hello { magic: 7, ..scene.hello("x", 5) }).encode());
        assert!(stranger.hear_all().is_empty());
        let mut stranger = scene.stranger(at);
        stranger.say(&Control::Ping(1).encode());
        assert!(stranger.hear_all().is_empty());
    }
    for what in [
        "unknown type of frame",
        "checksum of a control frame",
        "not a greeting of this protocol",
        "a frame before the greeting",
    ] {
        scene.both_tell(what);
    }
    for node in &scene.nodes {
        assert!(node.stats()["faults"].as_u64() >= Some(200), "{}", node.stats());
    }
    scene.all_is_well();
}

#[test]
fn truncated_frames_and_silent_connections_are_given_up() {
    let scene = Scene::new();
    let whole = Control::Hello(scene.hello("cut", 6)).encode();
    let mut silent = Vec::new();
    for at in 0..2 {
        // Cut at every place: some end in order, some leave the connection standing.
        for length in (0..whole.len()).step_by(3) {
            let mut stranger = scene.stranger(at);
            stranger.say(&whole[..length]);
            if length % 2 == 0 {
                stranger.hush();
                assert!(stranger.hear_all().is_empty());
            } else {
                silent.push(stranger);
            }
        }
    }
    assert!(silent.iter_mut().all(|stranger| stranger.hear_all().is_empty()), "closed when their time is over");
    scene.all_is_well();
    let peers: BTreeSet<u16> = scene.nodes.iter().map(|n| n.address().port()).collect();
    let both = scene.nodes.iter().map(|n| connections(n.pid()).len());
    assert!(both.eq([1, 1]), "one link between {peers:?}, nothing else");
}

#[test]
fn oversized_frames_are_refused_before_they_cost_anything() {
    let scene = Scene::new();
    for at in 0..2 {
        // Announced, and longer than a stranger's frame may be.
        let mut long = Control::Hello(scene.hello("long", 7)).encode().to_vec();
        long[4..8].copy_from_slice(&(limits::GREETING_BYTES as u32 + 1).to_le_bytes());
        let mut stranger = scene.stranger(at);
        stranger.say(&long);
        assert!(stranger.hear_all().is_empty());
        // The same for one that has introduced itself.
        let mut stranger = scene.stranger(at);
        stranger.say(&Control::Hello(scene.hello("guest", 8)).encode());
        assert!(matches!(stranger.hear(), Some(Control::Welcome(_))));
        let mut long = Control::Ping(1).encode().to_vec();
        long[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        stranger.say(&long);
        stranger.say(&noise(3, 300_000));
        stranger.hear_all();
        // A batch that is longer than a batch can be, with a checksum that is right.
        let mut stranger = scene.stranger(at);
        stranger.say(&Control::Hello(scene.hello("guest", 9)).encode());
        assert!(matches!(stranger.hear(), Some(Control::Welcome(_))));
        stranger.say(&header(&scene, limits::BATCH_BYTES as u32 + 1));
        stranger.hear_all();
    }
    scene.both_tell("a control frame is longer than this peer may send");
    scene.both_tell("length and count of a batch do not fit");
    scene.all_is_well();
}

fn header(scene: &Scene, length: u32) -> Vec<u8> {
    let header = batch::Header {
        flags: 0,
        count: 1,
        length,
        tag: view_id(&scene.old_view).tag(),
        sender: Seat(3),
        receiver: Seat::EVERYBODY,
        batch: 1,
        first_message: 1,
    };
    header.encode().to_vec()
}

#[test]
fn an_old_incarnation_is_told_that_it_was_removed_and_its_batches_reach_nobody() {
    let scene = Scene::new();
    let (old, address) = Scene::member(&scene.old_view, "n2");
    let (coordinator, at) = Scene::member(&scene.old_view, "n0");
    let id = view_id(&scene.old_view);
    let summary = ViewSummary {
        id,
        fenced: false,
        primary: true,
        members: 3,
        coordinator,
        address: at,
        leaders: vec![(coordinator, at)],
    };
    for node in 0..2 {
        let mut stranger = scene.stranger(node);
        let greeting = Hello { address, view: Some(summary.clone()), ..scene.hello("n2", old.0) };
        stranger.say(&Control::Hello(greeting).encode());
        let mut batch = header(&scene, 16);
        batch.extend_from_slice(&[8, 0, 0, 0, 1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        stranger.say(&batch);
        let answers = stranger.hear_all();
        let Some(Control::Expelled(expelled)) = answers.first() else { panic!("{answers:?}") };
        assert_eq!((expelled.incarnation, expelled.by.id), (old, view_id(&scene.view)));
    }
    scene.all_is_well();
    assert!(scene.nodes.iter().all(|n| n.lines("message").is_empty()), "a batch of an old view reaches nobody");
}

#[test]
fn datagrams_of_any_kind_change_nothing() {
    let scene = Scene::new();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let tag = "command-test".bytes().fold(0x636c_7573, |h, b| mix(h, u64::from(b)));
    let (old, _) = Scene::member(&scene.old_view, "n2");
    let names = ["n0", "n1"];
    for (node, name) in scene.nodes.iter().zip(names) {
        let (to, at) = Scene::member(&scene.view, name);
        let (other, _) = Scene::member(&scene.view, if name == "n0" { "n1" } else { "n0" });
        let mut bad = Bad::to(node, at);
        for round in 0..400_u64 {
            // Of every length, longer than any datagram of ours included.
            bad.send(&noise(round, (round as usize * 37) % 4_000));
        }
        let id = view_id(&scene.old_view);
        let beat = Heartbeat {
            view_number: id.number,
            view_tag: id.tag(),
            sent_us: u64::MAX,
            echo_us: u64::MAX,
            echo_age_us: 0,
            heard_ms: 0,
            late_ms: u32::MAX,
        };
        let round = LeaseRound { view_tag: id.tag(), round: u64::MAX, base_us: u64::MAX, granted: u64::MAX };
        let whole = Datagram::Heartbeat(beat).encode(&Envelope { cluster: tag, from: other, to });
        for length in 0..whole.len() {
            bad.send(&whole[..length]);
        }
        // To an incarnation that is no more, and of another cluster.
        bad.send(&Datagram::NotMember.encode(&Envelope { cluster: tag, from: other, to: old }));
        bad.send(&Datagram::NotMember.encode(&Envelope { cluster: !tag, from: other, to }));
        bad.all_counted();
        // In the name of the other one, of an old view; and of one that is no more.
        for datagram in [Datagram::Heartbeat(beat), Datagram::LeaseRound(round), Datagram::NotMember] {
            send(&socket, at, &datagram.encode(&Envelope { cluster: tag, from: other, to }));
            send(&socket, at, &datagram.encode(&Envelope { cluster: tag, from: old, to }));
        }
        // And more at once than the system keeps for it.
        let flood = noise(4, 1_400);
        (0..20_000).for_each(|_| send(&socket, at, &flood));
    }
    scene.all_is_well();
}

fn send(socket: &UdpSocket, to: SocketAddr, bytes: &[u8]) {
    socket.send_to(bytes, to).expect("the loopback takes it");
}

/// Sends what is not legal, no faster than it is taken, and sees that each one is counted.
struct Bad<'a> {
    node: &'a Process,
    to: SocketAddr,
    socket: UdpSocket,
    counted: u64,
    sent: u64,
}

impl Bad<'_> {
    fn to(node: &Process, to: SocketAddr) -> Bad<'_> {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        Bad { node, to, socket, counted: refused(node), sent: 0 }
    }

    fn send(&mut self, bytes: &[u8]) {
        send(&self.socket, self.to, bytes);
        self.sent += 1;
        if self.sent == 20 {
            self.all_counted();
        }
    }

    fn all_counted(&mut self) {
        let expected = self.counted + std::mem::take(&mut self.sent);
        self.node.wait_world("each datagram counted", || (refused(self.node) >= expected).then_some(()));
        assert_eq!(refused(self.node), expected, "only those that are not legal");
        self.counted = expected;
    }
}

fn refused(node: &Process) -> u64 {
    node.stats()["datagrams_refused"].as_u64().expect("a number")
}

/// The finalizer of SplitMix64, as docs/PROTOCOL.md names it for tags.
fn mix(state: u64, word: u64) -> u64 {
    let mut z = state.rotate_left(23) ^ word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn who_takes_the_name_of_a_living_member_removes_nobody() {
    let scene = Scene::new();
    // There is no authentication yet: the impostor becomes the link, and breaks it. A look at the true one settles it.
    let (of, _) = Scene::member(&scene.view, "n1");
    let mut impostor = scene.stranger(0);
    impostor.say(&Control::Hello(scene.hello("n1", of.0)).encode());
    assert!(matches!(impostor.hear(), Some(Control::Welcome(_))));
    impostor.say(&noise(1, 2_000));
    impostor.hear_all();
    scene.nodes[0].wait_line("fault", |line| line["from"].is_string());
    scene.all_is_well();
}
