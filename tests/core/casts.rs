//! What a member takes by multicast, to the letter: when it asks for what was lost, how much it keeps, and what it does not believe.

use std::net::SocketAddr;

use bytes::Bytes;
use decurion::core::{Event, Multicast, Received, Setup};
use decurion::types::{Code, Incarnation, Seat, Time, millis};
use decurion::wire::batch::{Entry, HEADER_BYTES, Header, Level, PREFIX_BYTES};
use decurion::wire::cast::{self, Beacon, HEAD_BYTES};
use decurion::wire::control::{Control, Repair};

use crate::support::{Cluster, incarnation};

/// Who leads the one group, who sends, and who is looked at.
const LEADER: usize = 0;
const SENDER: usize = 1;
const HEARER: usize = 2;

/// What three members have under way at least when each sends something.
const LEAST: usize = 3 * (4_096 + HEADER_BYTES);

const GROUP: ([u8; 4], u16) = ([239, 192, 0, 1], 7_777);

/// Three members that carry their streams by multicast, all of it is kept, and what they ask of each other.
fn cluster(change: impl Fn(usize, &mut Setup)) -> Cluster {
    let mut cluster = Cluster::new(3, |node, setup| {
        setup.multicast = Some(Multicast {
            group: GROUP.into(),
            carries: true,
            datagram_bytes: 1_472,
            receive_bytes: 1 << 20,
            repair_bytes_per_s: 100_000_000,
        });
        change(node, setup);
    });
    // Until everybody hears everybody, and nothing comes over connections any more.
    cluster.pass(millis(2_000));
    (cluster.casts, cluster.asked) = (Some(Vec::new()), Some(Vec::new()));
    cluster.events(HEARER);
    cluster
}

/// The questions of one member so far: when, to whom, and for what.
fn questions(cluster: &Cluster, node: usize) -> Vec<(Time, usize, Repair)> {
    let asked = cluster.asked.iter().flatten();
    let of_node = asked.filter_map(|(at, from, to, control)| match control {
        Control::Repair(repair) if *from == node => Some((*at, *to, repair.clone())),
        _ => None,
    });
    of_node.collect()
}

/// Batches asked for.
fn batches(repair: &Repair) -> Vec<(u64, u64)> {
    repair.gaps.iter().map(|gap| (gap.first, gap.last)).collect()
}

fn send(cluster: &mut Cluster, payload: &[u8]) {
    assert_eq!(cluster.send(SENDER, Level::Fifo, payload), Code::Ok);
}

/// A batch of the sender's that the hearer does not hear.
fn lose(cluster: &mut Cluster, payload: &[u8]) {
    cluster.deaf.insert((SENDER, HEARER));
    send(cluster, payload);
    cluster.deaf.clear();
}

/// Payloads that the hearer's host got.
fn delivered(cluster: &mut Cluster) -> Vec<Vec<u8>> {
    let events = cluster.events(HEARER);
    let runs = events.iter().filter_map(|event| if let Event::Messages(run) = event { Some(run) } else { None });
    runs.flat_map(|run| run.iter().map(|message| message.payload.to_vec()).collect::<Vec<_>>()).collect()
}

fn notes(cluster: &mut Cluster, about: &str) -> usize {
    let events = cluster.events(HEARER);
    events.iter().filter(|event| matches!(event, Event::Note { text, .. } if text.contains(about))).count()
}

/// What stands for the cluster, as it can be heard.
fn cluster_tag(cluster: &mut Cluster) -> u64 {
    cluster.until(|c| c.casts.iter().flatten().next().is_some());
    let (_, heard) = &cluster.casts.as_ref().expect("they are kept")[0];
    u64::from_le_bytes(heard[8..HEAD_BYTES].try_into().expect("eight bytes"))
}

fn datagram(tag: u64, content: &[u8], port: u16) -> Received {
    let bytes = Bytes::from([&cast::head(tag, content)[..], content].concat());
    Received { from: SocketAddr::from(([192, 0, 2, 1], port)), bytes }
}

/// A sign of life in the name of the sender that tells of this batch.
fn lie(cluster: &mut Cluster, newest: u64) {
    let tag = cluster_tag(cluster);
    let (view, _) = cluster.member(HEARER).view().expect("they are in one");
    let (address, view_tag) = (view.members[SENDER].address, view.tag());
    let beacon = Beacon { from: incarnation(SENDER), address, view_tag, newest, room: u32::MAX, longest: 1_472 };
    cluster.say_casts(HEARER, &[datagram(tag, &beacon.encode(), 1)]);
}

/// A batch with one message in the name of the sender.
fn forge(cluster: &mut Cluster, batch: u64, first_message: u64) {
    let tag = cluster_tag(cluster);
    let (view, _) = cluster.member(HEARER).view().expect("they are in one");
    let mut area = Vec::new();
    Entry { level: Level::Fifo, token: 0, fragment: None, payload: b"forged" }.put(&mut area);
    let header = Header {
        flags: 0,
        count: 1,
        length: area.len() as u32,
        tag: view.tag(),
        sender: view.members[SENDER].seat,
        receiver: Seat::EVERYBODY,
        batch,
        first_message,
    };
    cluster.say_casts(HEARER, &[datagram(tag, &[&header.encode()[..], &area].concat(), 1)]);
}

#[test]
fn what_is_lost_is_asked_for_once_and_of_the_leader() {
    let mut cluster = cluster(|_, _| {});
    // The answer is lost: it does not matter to when the next question comes.
    cluster.mute = Some((LEADER, HEARER));
    lose(&mut cluster, b"lost");
    send(&mut cluster, b"after");
    let shown = cluster.now;
    cluster.pass(499);
    assert_eq!(questions(&cluster, HEARER), [], "most gaps close by themselves");
    cluster.pass(601);
    let first = questions(&cluster, HEARER);
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!((first[0].1, batches(&first[0].2)), (LEADER, vec![(1, 1)]), "and of nobody else");
    cluster.pass(millis(400) - 1_100);
    assert_eq!(questions(&cluster, HEARER).len(), 1, "within {} us", cluster.now.since(shown));
    cluster.mute = None;
    cluster.pass(millis(5));
    let second = questions(&cluster, HEARER);
    assert_eq!(second.len(), 2, "{second:?}");
    assert_eq!(batches(&second[1].2), [(1, 1)]);
    assert_eq!(delivered(&mut cluster), [b"lost".to_vec(), b"after".to_vec()]);
    cluster.pass(millis(4_000));
    assert_eq!(questions(&cluster, HEARER).len(), 2, "nothing is missing any more");
}

#[test]
fn a_loss_at_the_end_is_shown_by_the_number_that_is_told_again() {
    let mut cluster = cluster(|_, _| {});
    lose(&mut cluster, b"the last");
    cluster.pass(millis(12));
    assert_eq!(questions(&cluster, HEARER).len(), 1);
    assert_eq!(delivered(&mut cluster), [b"the last".to_vec()]);
}

#[test]
fn a_new_connection_is_asked_at_once() {
    let mut cluster = cluster(|_, _| {});
    cluster.mute = Some((LEADER, HEARER));
    lose(&mut cluster, b"lost");
    send(&mut cluster, b"after");
    cluster.pass(millis(5));
    assert_eq!(questions(&cluster, HEARER).len(), 1);
    cluster.mute = None;
    cluster.cut(LEADER, HEARER);
    cluster.pass(millis(300));
    assert_eq!(delivered(&mut cluster), [b"lost".to_vec(), b"after".to_vec()], "before the 400 ms are over");
}

#[test]
fn what_comes_beyond_the_bound_is_left_and_asked_for_later() {
    const BATCHES: usize = 60;
    let small = 16 * 1024;
    // The hearer keeps much less than the others may send.
    let mut cluster = cluster(|node, setup| setup.window_bytes = if node == HEARER { small } else { 1 << 20 });
    cluster.mute = Some((LEADER, HEARER));
    lose(&mut cluster, b"first");
    for _ in 0..BATCHES {
        send(&mut cluster, &[7; 1_200]);
    }
    cluster.pass(millis(100));
    let kept = cluster.member(HEARER).stats().unstable_bytes as usize;
    assert!((small..small + LEAST + 1_472).contains(&kept), "{kept} bytes are kept");
    assert_eq!(delivered(&mut cluster), Vec::<Vec<u8>>::new());
    cluster.mute = None;
    cluster.pass(millis(10_000));
    let came = delivered(&mut cluster);
    assert_eq!((came.len(), came.first()), (BATCHES + 1, Some(&b"first".to_vec())));
    assert_eq!(cluster.member(HEARER).stats().unstable_bytes, 0);
}

#[test]
fn an_absurd_number_is_asked_for_seldom_and_does_no_harm() {
    let mut cluster = cluster(|_, _| {});
    let most = 4 * 1024 * 1024 * 3 / 2 / (HEADER_BYTES + PREFIX_BYTES) as u64;
    for newest in [u64::MAX, u64::MAX - 1, 1 << 40, u64::from(u32::MAX) - 1, u64::from(u32::MAX) + 1] {
        lie(&mut cluster, newest);
        forge(&mut cluster, newest, 2);
        cluster.pass(millis(20));
    }
    cluster.pass(millis(2_000));
    let asked = questions(&cluster, HEARER);
    assert!(asked.len() <= 8, "{} questions", asked.len());
    for (_, _, repair) in &asked {
        assert!(Control::Repair(repair.clone()).encode().len() <= 256, "{repair:?}");
        assert!(batches(repair).iter().all(|(first, last)| last - first < most), "{repair:?}");
    }
    lose(&mut cluster, b"lost");
    send(&mut cluster, b"after");
    cluster.pass(millis(4_000));
    assert_eq!(delivered(&mut cluster), [b"lost".to_vec(), b"after".to_vec()]);
}

#[test]
fn forged_batches_far_ahead_do_not_keep_out_true_ones() {
    let mut cluster = cluster(|_, setup| setup.window_bytes = 16 * 1024);
    for batch in 100..1_000 {
        forge(&mut cluster, batch, batch);
    }
    let kept = cluster.member(HEARER).stats().unstable_bytes;
    assert!(kept as usize <= 16 * 1024 + LEAST + 1_472, "{kept} bytes are kept");
    send(&mut cluster, b"true");
    lose(&mut cluster, b"lost");
    send(&mut cluster, b"after");
    cluster.pass(millis(4_000));
    assert_eq!(delivered(&mut cluster), [b"true".to_vec(), b"lost".to_vec(), b"after".to_vec()]);
}

#[test]
fn a_forged_successor_is_found_out_and_the_true_one_asked_for() {
    let mut cluster = cluster(|_, _| {});
    // What follows the first batch does not fit to it, and the true second one is taken for a repeat.
    forge(&mut cluster, 2, 77);
    lose(&mut cluster, b"first");
    send(&mut cluster, b"second");
    cluster.pass(millis(1_000));
    assert_eq!(delivered(&mut cluster), [b"first".to_vec(), b"second".to_vec()]);
}

#[test]
fn the_last_number_of_all_does_no_harm() {
    let mut cluster = cluster(|_, _| {});
    // Nobody knows yet with which message the stream begins.
    forge(&mut cluster, 1, u64::MAX);
    cluster.pass(millis(1_000));
    cluster.member(HEARER).check().expect("no invariant is broken");
}

#[test]
fn strangers_do_not_fill_the_memory_and_members_are_heard_all_the_same() {
    let mut cluster = cluster(|_, _| {});
    let tag = cluster_tag(&mut cluster);
    let flood = |cluster: &mut Cluster, first: u128| {
        for at in first..first + 100_000 {
            let address = SocketAddr::from(([10, 0, (at >> 8) as u8, at as u8], 1 + (at >> 16) as u16));
            let beacon =
                Beacon { from: Incarnation(1 << 64 | at), address, view_tag: 77, newest: 9, room: 1, longest: 0 };
            cluster.say_casts(HEARER, &[datagram(tag, &beacon.encode(), at as u16)]);
        }
        format!("{:?}", cluster.member(HEARER)).len()
    };
    let (once, twice) = (flood(&mut cluster, 0), flood(&mut cluster, 100_000));
    assert!(twice < once + 64 * 1024, "it grows from {once} to {twice} bytes of text");
    cluster.asked.as_mut().expect("they are kept").clear();
    cluster.pass(millis(4_000));
    assert_eq!(cluster.asked, Some(Vec::new()), "nobody takes a stream over a connection");
    cluster.events(HEARER);
    send(&mut cluster, b"heard");
    assert_eq!(delivered(&mut cluster), [b"heard".to_vec()]);
}

#[test]
fn a_message_of_its_own_comes_once_however_often_it_is_heard() {
    let mut cluster = cluster(|_, _| {});
    assert_eq!(cluster.send(SENDER, Level::Unreliable, b"tick"), Code::Ok);
    assert_eq!(cluster.send(SENDER, Level::Unreliable, b"tack"), Code::Ok);
    cluster.pass(millis(1));
    let heard = cluster.casts.replace(Vec::new()).expect("they are kept");
    let from = SocketAddr::from(([192, 0, 2, 1], 1));
    let again: Vec<_> = heard.into_iter().map(|(_, bytes)| Received { from, bytes }).collect();
    assert!(again.len() >= 2);
    for _ in 0..3 {
        cluster.say_casts(HEARER, &again);
        cluster.pass(millis(100));
    }
    assert_eq!(delivered(&mut cluster), [b"tick".to_vec(), b"tack".to_vec()]);
}

#[test]
fn datagrams_of_another_cluster_are_counted_and_noted_once_for_each_source() {
    let mut cluster = cluster(|_, _| {});
    let tag = cluster_tag(&mut cluster);
    cluster.events(HEARER);
    for _ in 0..3 {
        for port in 1..=100 {
            cluster.say_casts(HEARER, &[datagram(tag ^ 1, b"theirs", port)]);
        }
        cluster.pass(millis(300));
    }
    let stats = cluster.member(HEARER).stats();
    assert_eq!((stats.casts_foreign, stats.casts_refused), (300, 0));
    assert_eq!(notes(&mut cluster, "another cluster"), 64);
}

/// Lengths of the datagrams with batches that went to the group since it was last looked.
fn lengths(cluster: &mut Cluster) -> Vec<usize> {
    let casts = cluster.casts.replace(Vec::new()).unwrap_or_default();
    casts.iter().filter(|(_, bytes)| cast::claims_to_be_of(bytes).is_some()).map(|(_, bytes)| bytes.len()).collect()
}

#[test]
fn datagrams_are_as_long_as_all_members_can_take() {
    const SHORT: usize = 700;
    let mut cluster = cluster(|node, setup| {
        let multicast = setup.multicast.as_mut().expect("it is used");
        multicast.datagram_bytes = if node == HEARER { SHORT } else { 9_000 };
    });
    let say = |cluster: &mut Cluster| {
        (0..40).for_each(|_| send(cluster, &[7; 500]));
        send(cluster, &[8; 20_000]);
        cluster.pass(millis(50));
        lengths(cluster)
    };
    let short = say(&mut cluster);
    assert!(short.iter().all(|length| *length <= SHORT), "{short:?}");
    assert_eq!(delivered(&mut cluster).len(), 41);
    assert_eq!(questions(&cluster, HEARER), [], "nothing of it was lost");

    cluster.kill(HEARER);
    cluster.until(|c| c.members_of(SENDER) == 2);
    let long = say(&mut cluster);
    assert!(long.iter().any(|length| *length > 8_000), "{long:?}");

    // Whatever a beacon says, 600 bytes go out.
    let tag = cluster_tag(&mut cluster);
    let (view, _) = cluster.member(SENDER).view().expect("they are in one");
    let (address, view_tag) = (view.members[LEADER].address, view.tag());
    let beacon = Beacon { from: incarnation(LEADER), address, view_tag, newest: 0, room: u32::MAX, longest: 0 };
    cluster.say_casts(SENDER, &[datagram(tag, &beacon.encode(), 1)]);
    let least = say(&mut cluster);
    assert!(least.iter().all(|length| *length <= 600) && least.len() > 40, "{least:?}");
}

/// Many send at once, each as much as it always may: together that is more than one and a half windows. Of each batch one member lacks it.
#[test]
fn what_all_send_at_once_becomes_stable_whoever_lacks_which_of_it() {
    const MEMBERS: usize = 8;
    let mut cluster = Cluster::new(MEMBERS, |_, setup| {
        setup.window_bytes = 16 * 1024;
        setup.multicast = Some(Multicast {
            group: GROUP.into(),
            carries: true,
            datagram_bytes: 8_000,
            receive_bytes: 1 << 20,
            repair_bytes_per_s: 100_000_000,
        });
    });
    cluster.pass(millis(2_000));
    cluster.deaf = (0..MEMBERS).map(|node| (node, (node + 1) % MEMBERS)).collect();
    for node in 0..MEMBERS {
        assert_eq!(cluster.send(node, Level::Fifo, &[7; 4_000]), Code::Ok);
    }
    cluster.deaf.clear();
    let has_all = |c: &Cluster, node: usize| c.member(node).stats().messages_delivered == MEMBERS as u64 - 1;
    cluster.until(|c| (0..MEMBERS).all(|node| has_all(c, node) && c.member(node).stats().unstable_bytes == 0));
    assert!((0..MEMBERS).all(|node| cluster.members_of(node) == MEMBERS));
}
