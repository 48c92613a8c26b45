//! The bad network without a network: what a link does to frames, where the switch sends them, and what the judge of a history sees.

mod command_support;
mod network_support;

use std::io::ErrorKind::WouldBlock;
use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use network_support::history::{Cut, History, Outcome, Visit};
use network_support::link::{Conditions, Counts, HOLD_US, Link, Rate};
use network_support::switch::{Destination, destination, is_of_group, mac};
use network_support::{Network, address, may_go_without};

const FRAMES: u64 = 20_000;

fn link(conditions: Conditions) -> Link {
    Link::new(conditions, 1, 0, 1)
}

/// Sends so many frames, one each millisecond; answers the times of arrival by frame.
fn carry(link: &mut Link, frames: u64) -> Vec<Vec<u64>> {
    (0..frames).map(|at| link.carry(at * 1_000, 100).collect()).collect()
}

/// Whether a count of so many draws is where chance puts it: within five standard deviations.
fn near(count: u64, draws: u64, percent: f64) -> bool {
    let (draws, share) = (draws as f64, percent / 100.0);
    (count as f64 - draws * share).abs() < 5.0 * (draws * share * (1.0 - share)).sqrt()
}

#[test]
fn a_perfect_link_carries_everything_at_once_and_in_order() {
    let mut link = link(Conditions::default());
    let arrivals = carry(&mut link, 100);
    assert!(arrivals.iter().enumerate().all(|(at, times)| times[..] == [at as u64 * 1_000]));
    assert_eq!(link.counts, Counts { frames: 100, ..Counts::default() });
}

#[test]
fn loss_is_as_frequent_as_wanted_and_counted() {
    for loss in [5.0, 20.0] {
        let mut link = link(Conditions { loss, ..Conditions::default() });
        let lost = carry(&mut link, FRAMES).iter().filter(|times| times.is_empty()).count() as u64;
        assert!(near(lost, FRAMES, loss), "{lost} of {FRAMES} at {loss} %");
        assert_eq!((link.counts.lost, link.counts.frames), (lost, FRAMES));
    }
}

#[test]
fn duplicates_are_as_frequent_as_wanted_and_come_after_the_first() {
    let mut link = link(Conditions { duplication: 10.0, ..Conditions::default() });
    let arrivals = carry(&mut link, FRAMES);
    let twice: Vec<_> = arrivals.iter().filter(|times| times.len() == 2).collect();
    assert!(near(twice.len() as u64, FRAMES, 10.0), "{}", twice.len());
    assert!(twice.iter().all(|times| times[0] < times[1] && times[1] <= times[0] + HOLD_US + 1));
    assert_eq!(link.counts.duplicated, twice.len() as u64);
}

#[test]
fn jitter_alone_keeps_the_order_and_reordering_breaks_it() {
    let arrivals = |link: &mut Link, every_us: u64| -> Vec<u64> {
        (0..FRAMES).flat_map(|at| link.carry(at * every_us, 100).collect::<Vec<_>>()).collect()
    };
    let overtaken = |times: &[u64]| times.windows(2).filter(|pair| pair[0] > pair[1]).count() as u64;
    let mut jittery = link(Conditions { delay_us: 1_000, jitter_us: 3_000, ..Conditions::default() });
    assert_eq!(overtaken(&arrivals(&mut jittery, 100)), 0);
    assert_eq!(jittery.counts.reordered, 0);
    // So far apart that none waits for the one before it.
    let times = arrivals(&mut Link::new(jittery.conditions, 2, 0, 1), 10_000);
    let delays: Vec<u64> = times.iter().enumerate().map(|(at, time)| time - at as u64 * 10_000).collect();
    let (least, most) = (delays.iter().min().expect("some"), delays.iter().max().expect("some"));
    assert!((1_000..1_010).contains(least) && (3_990..=4_000).contains(most), "{least} to {most} us");
    let mut reordering = link(Conditions { reordering: 10.0, ..Conditions::default() });
    let overtaken = overtaken(&arrivals(&mut reordering, 100));
    let held = reordering.counts.reordered;
    assert!(near(held, FRAMES, 10.0), "{held}");
    assert!(overtaken > held / 2 && overtaken <= held, "{overtaken} of {held}");
}

#[test]
fn a_slow_link_carries_at_its_rate_and_loses_what_finds_its_queue_full() {
    let rate = Rate { bytes_per_s: 100_000, queue_bytes: 1_000 };
    let mut slow = link(Conditions { rate: Some(rate), ..Conditions::default() });
    // All at once: ten fit, and each takes a millisecond.
    let arrivals: Vec<u64> = (0..50).flat_map(|_| slow.carry(0, 100).collect::<Vec<_>>()).collect();
    assert_eq!(arrivals, (1..=10).map(|at| at * 1_000).collect::<Vec<u64>>());
    assert_eq!(slow.counts.overflowed, 40);
    // For ten seconds twice as much as it can carry: what arrives is what the rate allows, and what the queue held.
    let mut slow = link(Conditions { rate: Some(rate), ..Conditions::default() });
    let carried = (0..20_000).flat_map(|at| slow.carry(at * 500, 100).collect::<Vec<_>>()).count();
    assert!((10_000..=10_010).contains(&carried), "{carried}");
    // Half as much passes whole.
    let mut slow = link(Conditions { rate: Some(rate), ..Conditions::default() });
    assert_eq!((0..1_000).flat_map(|at| slow.carry(at * 2_000, 100).collect::<Vec<_>>()).count(), 1_000);
}

#[test]
fn a_cut_is_one_way_and_ends_when_it_is_healed() {
    let (mut cut, mut back) =
        (link(Conditions { cut: true, ..Conditions::default() }), Link::new(Conditions::default(), 1, 1, 0));
    assert!(carry(&mut cut, 100).iter().all(Vec::is_empty));
    assert!(carry(&mut back, 100).iter().all(|times| times.len() == 1));
    cut.conditions.cut = false;
    assert!(carry(&mut cut, 100).iter().all(|times| times.len() == 1));
    assert_eq!(cut.counts, Counts { frames: 200, cut: 100, ..Counts::default() });
}

#[test]
fn a_link_that_is_deaf_to_groups_carries_what_is_for_hosts() {
    let mut deaf = link(Conditions { deaf_to_groups: true, ..Conditions::default() });
    assert_eq!(deaf.carry_frame(0, 100, true).count(), 0);
    assert_eq!(deaf.carry_frame(0, 100, false).collect::<Vec<_>>(), [0]);
    assert_eq!((deaf.counts.cut, deaf.counts.frames), (1, 2));
    let mut lossy = link(Conditions { loss: 100.0, ..Conditions::default() });
    assert_eq!([true, true, false].map(|of_group| lossy.carry_frame(0, 100, of_group).count()), [0; 3]);
    let counts = lossy.counts;
    assert_eq!((counts.lost, counts.lost_of_groups, counts.lost_bytes_of_groups), (3, 2, 200));
    lossy.conditions.loses_of_groups_only = true;
    assert_eq!([true, false].map(|of_group| lossy.carry_frame(0, 100, of_group).count()), [0, 1]);
}

#[test]
fn the_same_seed_gives_the_same_luck_and_each_direction_has_its_own() {
    let bad = Conditions { loss: 20.0, duplication: 10.0, reordering: 10.0, jitter_us: 500, ..Conditions::default() };
    let run = |seed, from, to| carry(&mut Link::new(bad, seed, from, to), 1_000);
    assert_eq!(run(7, 2, 3), run(7, 2, 3));
    for other in [run(8, 2, 3), run(7, 3, 2), run(7, 2, 4)] {
        let same = run(7, 2, 3).iter().zip(&other).filter(|(one, two)| one.is_empty() == two.is_empty()).count();
        assert!((600..760).contains(&same), "as two that know nothing of each other: 680 of 1000, not {same}");
    }
    // A cut in between shifts nothing: the frames behind it have the luck that they had.
    let mut cut = Link::new(Conditions { cut: true, ..bad }, 7, 2, 3);
    carry(&mut cut, 500);
    cut.conditions = bad;
    let fates = |runs: &[Vec<u64>]| runs.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(fates(&carry(&mut cut, 500)), fates(&run(7, 2, 3)[500..]));
}

#[test]
fn frames_go_where_their_address_says() {
    let frame = |to: [u8; 6]| [&to[..], &mac(0), &[8, 0]].concat();
    assert_eq!(destination(&frame([0xFF; 6]), 4), Destination::Everybody);
    assert_eq!(destination(&frame([0x01, 0x00, 0x5E, 1, 2, 3]), 4), Destination::Everybody, "multicast");
    assert_eq!(destination(&frame(mac(3)), 4), Destination::Host(3));
    assert_eq!(destination(&frame(mac(4)), 4), Destination::Nobody);
    assert_eq!(destination(&frame([0x02, 0, 0, 0, 0, 1]), 4), Destination::Nobody);
    assert_eq!(destination(&[0xFF; 13], 4), Destination::Nobody, "too short for a frame");
    let groups =
        [[0x01, 0x00, 0x5E, 1, 2, 3], [0x33, 0x33, 0, 0, 0, 1], [0xFF; 6], mac(3)].map(|to| is_of_group(&frame(to)));
    assert_eq!(groups, [true, true, false, false], "broadcast, such as a question of ARP, is for every host");
}

/// A host of a real network, with a socket that is in a multicast group.
fn listener(network: &Network, host: usize) -> UdpSocket {
    network.hosts[host].enter().expect("it is there");
    let socket = UdpSocket::bind(("0.0.0.0", 7_000)).expect("a free port");
    socket.join_multicast_v4(&Ipv4Addr::new(239, 1, 1, 1), &address(host)).expect("the device does multicast");
    socket2::SockRef::from(&socket).set_multicast_if_v4(&address(host)).expect("its own device");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    socket
}

#[test]
fn a_real_switch_carries_datagrams_and_multicast_and_cuts_one_way() {
    let Some(network) = Network::new(3, 1) else { return };
    // The thread of the test is not moved.
    thread::scope(|scope| {
        let network = &network;
        let run = move || {
            let begun = Instant::now();
            let sockets: Vec<UdpSocket> = (0..3).map(|host| listener(network, host)).collect();
            let heard = |host: usize| -> Option<(Ipv4Addr, u8)> {
                let mut byte = [0];
                match sockets[host].recv_from(&mut byte) {
                    Ok((1, from)) => Some((from.ip().to_string().parse().expect("of version 4"), byte[0])),
                    Err(error) if error.kind() == WouldBlock => None,
                    other => panic!("{other:?}"),
                }
            };
            sockets[0].send_to(&[1], (address(2), 7_000)).expect("sent");
            assert_eq!(heard(2), Some((address(0), 1)));
            let group = (Ipv4Addr::new(239, 1, 1, 1), 7_000);
            sockets[0].send_to(&[2], group).expect("sent");
            assert_eq!((heard(1), heard(2)), (Some((address(0), 2)), Some((address(0), 2))));
            // From 0 to 2 nothing passes, and from 2 to 0 all does. What comes to 1 shows that the group was sent to.
            network.cut(|from, to| (from, to) == (0, 2));
            assert_eq!(heard(0), Some((address(0), 2)), "its own");
            sockets[0].send_to(&[3], group).expect("sent");
            assert_eq!(heard(1), Some((address(0), 3)));
            sockets[2].send_to(&[4], (address(0), 7_000)).expect("sent");
            assert_eq!(heard(0), Some((address(0), 3)), "its own");
            assert_eq!(heard(0), Some((address(2), 4)));
            network.heal();
            sockets[0].send_to(&[5], group).expect("sent");
            assert_eq!(heard(2), Some((address(0), 5)), "and not the one that was cut");
            assert!(network.counts().cut >= 1);
            // Host 2 is deaf to groups, and none hears it by them. What is for it alone comes.
            network.block_multicast(|host| host == 2);
            assert_eq!(heard(0), Some((address(0), 5)), "its own");
            assert_eq!(heard(1), Some((address(0), 5)));
            sockets[0].send_to(&[6], group).expect("sent");
            sockets[2].send_to(&[7], group).expect("sent");
            assert_eq!((heard(0), heard(1)), (Some((address(0), 6)), Some((address(0), 6))));
            assert_eq!(heard(2), Some((address(2), 7)), "its own");
            for (from, to, byte) in [(0, 2, 8), (2, 0, 9)] {
                sockets[from].send_to(&[byte], (address(to), 7_000)).expect("sent");
                assert_eq!(heard(to), Some((address(from), byte)));
            }
            network.block_multicast(|_| false);
            // What a cable loses reaches nobody.
            network.set_cables(Conditions { loss: 100.0, ..Conditions::default() });
            sockets[0].send_to(&[10; 1_000], group).expect("sent");
            assert_eq!(heard(0), Some((address(0), 10)), "its own, which goes over no cable");
            // Reports of who is in which group are lost as well, and are short.
            while network.cable_counts().lost_bytes_of_groups < 1_000 {
                assert!(begun.elapsed() < Duration::from_secs(20), "the switch has seen it");
                thread::yield_now();
            }
            network.set_cables(Conditions::default());
            sockets[0].send_to(&[11], group).expect("sent");
            assert_eq!((heard(1), heard(2)), (Some((address(0), 11)), Some((address(0), 11))));
        };
        scope.spawn(run).join().expect("it holds");
    });
}

#[test]
fn nothing_is_left_of_a_network_whose_test_fails() {
    let namespaces = || {
        std::fs::read_dir("/proc/self/fd")
            .expect("our own")
            .flatten()
            .filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().contains("net:[")))
    };
    let failed = thread::spawn(|| {
        let network = Network::new(2, 1);
        panic!("as a test does, with a network: {}", network.is_some());
    });
    assert!(failed.join().is_err());
    // The next one gets the lock, so the other has been dropped; each host has one descriptor.
    let Some(network) = Network::new(2, 1) else { return };
    assert_eq!(namespaces().count(), network.hosts.len());
}

#[test]
fn without_a_network_nothing_passes_unless_somebody_has_said_so() {
    assert!(may_go_without(true, false));
    assert!(!may_go_without(false, false) && !may_go_without(false, true) && !may_go_without(true, true));
}

/// A history of one session, from (number, begin, end) in milliseconds, all by server 0.
fn history(visits: &[(u64, u64, u64)]) -> History {
    let now = Instant::now();
    let at = |ms: u64| now + Duration::from_millis(ms);
    let visit = |(index, (number, begun, ended)): (usize, &(u64, u64, u64))| Visit {
        session: 0,
        server: 0,
        text: format!("v{index}"),
        begun: at(*begun),
        ended: at(*ended),
        outcome: match number {
            0 => Outcome::Open { why: "cut off".to_owned() },
            number => Outcome::Counted { number: *number, owner: "s0".to_owned() },
        },
    };
    History { visits: visits.iter().enumerate().map(visit).collect() }
}

#[test]
fn a_good_history_has_no_fault() {
    let good = history(&[(1, 0, 10), (3, 5, 30), (2, 5, 20), (0, 30, 40), (5, 50, 60)]);
    assert_eq!(good.faults(&[5], &[]), Vec::<String>::new());
    assert_eq!((good.acknowledged(), good.slowest()), (4, Duration::from_millis(25)));
}

#[test]
fn what_cannot_be_is_seen() {
    let one_fault = |history: History, last: u64, word: &str| {
        let faults = history.faults(&[last], &[]);
        assert!(faults.len() == 1 && faults[0].contains(word), "{word}: {faults:?}");
    };
    one_fault(history(&[(1, 0, 10), (2, 0, 10), (2, 5, 12)]), 3, "given twice");
    one_fault(history(&[(2, 0, 10), (1, 11, 20)]), 2, "went back");
    one_fault(history(&[(1, 0, 10), (2, 11, 20)]), 1, "2 were acknowledged");
    one_fault(history(&[(1, 0, 10), (0, 11, 20)]), 3, "1 are open");
    let mut late = history(&[(2, 0, 10), (1, 11, 20)]);
    late.visits[1].outcome = Outcome::CountedBefore { number: 2 };
    one_fault(late, 2, "went back");
    let mut other = history(&[(1, 0, 10), (0, 11, 20)]);
    other.visits[1].outcome = Outcome::Wrong { what: "another session".to_owned() };
    one_fault(other, 1, "answered wrongly");
}

fn cut(history: &History, servers: &[usize]) -> [Cut; 1] {
    let (begun, healed) = (history.visits[1].begun, history.visits[1].ended);
    [Cut { servers: servers.to_vec(), begun, lease_over: begun, healed, whole: healed }]
}

#[test]
fn an_answer_of_one_that_is_cut_off_is_seen() {
    let history = history(&[(1, 0, 10), (2, 20, 30), (3, 25, 50)]);
    assert_eq!(history.faults(&[3], &cut(&history, &[0])).len(), 1, "the one that began and ended meanwhile");
    assert_eq!(history.faults(&[3], &cut(&history, &[1])).len(), 0);
}

#[test]
fn a_session_may_be_denied_only_while_both_copies_may_be_out_of_reach() {
    let mut history = history(&[(1, 0, 10), (0, 20, 30), (2, 40, 50)]);
    history.visits[1].outcome = Outcome::Denied;
    assert_eq!(history.faults(&[2], &[]).len(), 1);
    assert_eq!(history.faults(&[2], &cut(&history, &[1])).len(), 1, "the other copy is there");
    assert_eq!(history.faults(&[2], &cut(&history, &[1, 2])).len(), 0);
    history.visits[2].outcome = Outcome::Denied;
    assert_eq!(history.faults(&[1], &cut(&history, &[1, 2])).len(), 1, "all were back");
}
