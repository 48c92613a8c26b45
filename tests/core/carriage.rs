//! Who is heard by multicast, what is taken over connections instead, and what a member lets others hear.

use std::net::SocketAddr;

use decurion::types::{Incarnation, MemberInfo, Micros, Name, Seat, millis};
use decurion::wire::batch::Level;
use decurion::wire::cast::Beacon;

use crate::air::{Air, multicast};
use crate::stage::{FRESH, ME, PEER, THIRD, address, entry, fenced, view};
use crate::support::Cluster;

/// Between two beacons.
const PERIOD: Micros = millis(250);

fn led() -> Air {
    Air::new(&[PEER, ME, THIRD], |_| {})
}

/// Lets time pass until just after a beacon that is said in its time.
fn until_beacon(air: &mut Air) {
    air.beacons();
    while air.beacons().is_empty() {
        air.still(millis(1));
    }
}

#[test]
fn the_number_of_the_last_batch_is_told_soon_and_ever_more_seldom_until_all_have_taken_it() {
    let mut air = led();
    until_beacon(&mut air);
    let since = air.stage.now;
    air.send(Level::Fifo, b"the last");
    air.still(millis(900));
    let told: Vec<_> = air.beacons().iter().map(|(at, newest)| (at.since(since) / millis(1), *newest)).collect();
    assert_eq!(told, [10, 30, 70, 150, 250, 310, 500, 560, 750, 810].map(|at| (at, 1)));
    air.stable(PEER, ME, 1);
    air.still(millis(900));
    assert_eq!(air.beacons().len(), 4, "those that always go");
    air.send(Level::Fifo, b"one more");
    air.still(millis(5));
    let since = air.stage.now;
    air.send(Level::Fifo, b"and another one");
    air.still(millis(15));
    assert_eq!(air.beacons(), [(since + millis(10), 3)]);
}

#[test]
fn what_waits_goes_on_when_all_that_was_for_the_group_has_left() {
    let mut air = led();
    until_beacon(&mut air);
    air.queue(Level::Fifo, b"first");
    air.turn();
    air.queue(Level::Fifo, b"second");
    air.turn();
    let before = air.stage.member.stats();
    assert_eq!(before.batches_sent, 1, "the first one is still here");
    assert!(air.stage.member.deadline() > air.stage.now, "nothing can be done");
    let lengths: Vec<u64> = air.stage.member.casts(8).map(|(head, rest)| (head.len() + rest.len()) as u64).collect();
    assert_eq!((lengths.len(), air.stage.member.casts(0).count()), (1, 0));
    air.stage.member.sent_casts(1);
    let after = air.stage.member.stats();
    assert_eq!(after.casts_sent - before.casts_sent, 1);
    assert_eq!(after.bytes_sent - before.bytes_sent, lengths[0]);
    assert_eq!(air.stage.member.deadline(), air.stage.now, "there is something to do");
    air.turn();
    assert_eq!(air.stage.member.stats().batches_sent, 2);
}

#[test]
fn a_sender_that_is_not_heard_for_four_periods_is_taken_over_a_connection_until_it_is_heard_again() {
    let mut air = led();
    air.hear(THIRD, 1, b"first");
    until_beacon(&mut air);
    air.beacon(PEER, 0);
    air.beacon(THIRD, 1);
    air.heard = vec![PEER];
    air.pass(PERIOD * 4 - 1);
    assert_eq!(air.ways(PEER), Vec::<Vec<_>>::new());
    air.pass(PERIOD);
    assert_eq!(air.ways(PEER), [[(2, 1)]], "and of no other stream");
    air.pass(PERIOD * 4);
    assert_eq!(air.ways(PEER), Vec::<Vec<_>>::new(), "that is known");
    air.bring(PEER, THIRD, 2, b"second");
    assert_eq!(air.delivered(), [b"first".to_vec(), b"second".to_vec()]);
    air.beacon(THIRD, 2);
    air.pass(PERIOD + 1);
    assert_eq!(air.ways(PEER), [[]]);
}

#[test]
fn whatever_is_heard_of_a_sender_shows_that_it_is_heard() {
    let mut air = led();
    air.heard = vec![PEER];
    for number in 1..=10 {
        air.hear(THIRD, number, b"");
        air.pass(PERIOD);
    }
    for number in 1..=10 {
        air.loose(THIRD, number);
        air.pass(PERIOD);
    }
    assert_eq!(air.ways(PEER), Vec::<Vec<_>>::new());
}

#[test]
fn a_leader_wants_each_stream_from_its_sender() {
    let mut air = Air::new(&[ME, PEER, THIRD], |_| {});
    air.hear(THIRD, 1, b"first");
    air.still(PERIOD * 6);
    assert_eq!((air.ways(PEER), air.ways(THIRD)), (vec![vec![(1, 0)]], vec![vec![(2, 1)]]));
    air.pass(PERIOD * 2);
    assert_eq!((air.ways(PEER), air.ways(THIRD)), (vec![vec![]], vec![vec![]]));
}

#[test]
fn nobody_waits_for_the_stream_of_a_witness() {
    let mut first = fenced(view(11, &[PEER, ME, THIRD]));
    first.members[2].witness = true;
    let mut air = Air::within(&first, |_| {});
    air.heard = vec![PEER];
    air.pass(PERIOD * 8);
    assert_eq!(air.ways(PEER), Vec::<Vec<_>>::new());
}

#[test]
fn who_hears_nobody_says_so_once_and_once_that_it_hears_somebody_again() {
    let mut air = led();
    until_beacon(&mut air);
    air.beacon(PEER, 0);
    air.beacon(THIRD, 0);
    air.heard = Vec::new();
    air.pass(PERIOD * 8 - 1);
    assert_eq!(air.notes("by multicast"), 0);
    air.pass(PERIOD);
    assert_eq!(air.notes("nobody is heard by multicast to 239.192.0.1:7777"), 1);
    air.pass(PERIOD * 20);
    assert_eq!(air.notes("by multicast"), 0);
    air.heard = vec![THIRD];
    air.pass(PERIOD * 2);
    assert_eq!(air.notes("multicast to 239.192.0.1:7777 is heard again"), 1);
    air.pass(PERIOD * 20);
    assert_eq!(air.notes("multicast"), 0, "one is enough");
}

#[test]
fn who_is_alone_misses_nobody() {
    let mut cluster = Cluster::new(1, |_, setup| setup.multicast = Some(multicast()));
    cluster.pass(millis(10_000));
    let notes = cluster.events(0).into_iter().filter(|event| format!("{event:?}").contains("multicast"));
    assert_eq!(notes.count(), 0);
}

/// So many batches of `THIRD` come after `last` until the next beacon; the last ones only when they were asked for.
fn look(air: &mut Air, last: &mut u64, batches: u64, lost: u64) {
    until_beacon(air);
    air.beacon(PEER, 0);
    let (first, newest) = (*last + 1, *last + batches);
    (first..=newest - lost).for_each(|batch| air.hear(THIRD, batch, b""));
    air.beacon(THIRD, newest);
    air.still(millis(2));
    (newest - lost + 1..=newest).for_each(|batch| air.bring(PEER, THIRD, batch, b""));
    *last = newest;
    air.stable(PEER, THIRD, newest);
}

/// Whether all streams are wanted over connections since the last look.
fn is_away(air: &mut Air) -> bool {
    air.ways(PEER).last().is_some_and(|wanted| wanted.len() == 2)
}

#[test]
fn who_loses_more_than_a_quarter_for_eight_periods_takes_all_over_connections_for_ten_seconds() {
    let mut air = led();
    let mut last = 0;
    for _ in 0..8 {
        look(&mut air, &mut last, 8, 3);
    }
    assert!(!is_away(&mut air));
    until_beacon(&mut air);
    let since = air.stage.now;
    assert!(is_away(&mut air));
    assert_eq!(air.notes("more than a quarter of what comes by multicast is lost"), 1);
    air.pass(millis(10_000) - PERIOD);
    assert_eq!(air.ways(PEER), Vec::<Vec<_>>::new(), "whoever is heard");
    air.pass(PERIOD * 2);
    assert_eq!(air.ways(PEER), [[]], "{} us later", air.stage.now.since(since));
    assert_eq!(air.notes("more than a quarter"), 0);
}

#[test]
fn who_loses_a_quarter_or_too_little_to_judge_or_not_for_long_goes_on_by_multicast() {
    let mut air = led();
    let mut last = 0;
    for _ in 0..10 {
        look(&mut air, &mut last, 8, 2);
    }
    for _ in 0..10 {
        look(&mut air, &mut last, 7, 3);
    }
    for _ in 0..7 {
        look(&mut air, &mut last, 8, 3);
    }
    // Nothing was lost.
    look(&mut air, &mut last, 8, 0);
    for _ in 0..7 {
        look(&mut air, &mut last, 8, 3);
    }
    until_beacon(&mut air);
    assert!(!is_away(&mut air));
    // While little comes nothing shows that it has become better.
    look(&mut air, &mut last, 2, 0);
    look(&mut air, &mut last, 8, 3);
    until_beacon(&mut air);
    assert!(is_away(&mut air));
}

/// Bytes of its own that a member has under way when the others can take so much.
fn under_way(room: u32) -> u64 {
    let mut air = Air::new(&[PEER, ME, THIRD], |setup| {
        (setup.window_bytes, setup.window_reserved_bytes) = (4 << 20, 1 << 19);
    });
    let beacon =
        |from, room| Beacon { from, address: address(from), view_tag: 0, newest: 0, room, longest: 1_472 }.encode();
    air.cast(THIRD, &beacon(THIRD, u32::MAX));
    air.cast(PEER, &beacon(PEER, room));
    let lesser = Beacon { from: FRESH, address: address(FRESH), view_tag: 0, newest: 0, room: 1, longest: 700 };
    air.cast(FRESH, &lesser.encode());
    (0..300).for_each(|_| air.queue(Level::Fifo, &[7; 1_000]));
    for _ in 0..300 {
        air.settle();
    }
    assert!(air.casts.iter().any(|(_, bytes)| bytes.len() > 1_000), "a stranger is not asked");
    air.stage.member.stats().unstable_bytes
}

#[test]
fn a_sender_has_no_more_under_way_than_can_wait_at_any_member() {
    for (room, most) in [(100_000, 75_000), (1, 32 * 1024)] {
        let bytes = under_way(room);
        // Less than a quarter is not worth a batch.
        assert!((most / 4 * 3..=most).contains(&bytes), "{bytes} where {room} can wait");
    }
    assert!(under_way(u32::MAX) > 300_000);
}

#[test]
fn batches_of_other_views_and_of_nobody_are_left_aside() {
    let mut air = led();
    let before = air.stage.member.stats();
    let other_view = air.changed(THIRD, 1, |header| header.tag ^= 1);
    air.cast(THIRD, &other_view);
    let nobodys = air.changed(THIRD, 1, |header| header.sender = Seat(77));
    air.cast(THIRD, &nobodys);
    let own = air.batch(ME, 1, b"its own");
    air.cast(ME, &own);
    let stats = air.stage.member.stats();
    assert_eq!((stats.casts_received - before.casts_received, stats.casts_refused), (3, 0));
    assert_eq!(stats.batches_received, before.batches_received);
    air.hear(THIRD, 1, b"first");
    air.hear(THIRD, 1, b"first");
    let stats = air.stage.member.stats();
    assert_eq!((stats.batches_received - before.batches_received, stats.batches_repeated), (2, 1));
    assert_eq!(air.delivered(), [b"first"]);
}

#[test]
fn a_host_is_told_once_when_datagrams_become_shorter_and_once_when_they_become_longer() {
    let mut air = led();
    let can_take = |air: &mut Air, room, longest| {
        let beacon = Beacon { from: THIRD, address: address(THIRD), view_tag: air.tag(), newest: 0, room, longest };
        air.cast(THIRD, &beacon.encode());
    };
    can_take(&mut air, 1 << 20, 1_472);
    assert_eq!(air.notes("datagrams have"), 0, "they are as long as its own");
    can_take(&mut air, 1 << 20, 700);
    assert_eq!(air.notes("239.192.0.1:7777: datagrams have 700 bytes at most"), 1);
    can_take(&mut air, 1 << 19, 700);
    assert_eq!(air.notes("datagrams have"), 0);
    can_take(&mut air, 1 << 19, 9_000);
    assert_eq!(air.notes("datagrams have 1472 bytes at most"), 1);
}

#[test]
fn members_that_all_take_as_long_datagrams_say_nothing_of_it() {
    let mut cluster = Cluster::new(3, |_, setup| setup.multicast = Some(multicast()));
    cluster.pass(millis(2_000));
    let notes = cluster.events(2).into_iter().filter(|event| format!("{event:?}").contains("datagrams have"));
    assert_eq!(notes.count(), 0);
}

#[test]
fn of_messages_that_may_be_lost_so_many_wait_for_the_group_at_most() {
    let mut air = led();
    for _ in 0..100 {
        (0..100).for_each(|_| air.queue(Level::Unreliable, b""));
        air.turn();
    }
    assert_eq!(air.stage.member.casts(usize::MAX).count(), 4_096);
    air.settle();
    air.queue(Level::Unreliable, b"");
    air.turn();
    assert_eq!(air.stage.member.casts(usize::MAX).count(), 1);
}

#[test]
fn in_a_large_view_everybody_is_heard_more_seldom() {
    for (members, period) in [(63, 250), (64, 500), (128, 750)] {
        let mut first = view(11, &[PEER, ME]);
        for number in 3..=members {
            let address = SocketAddr::from(([10, 0, 0, number as u8], 7_000));
            let other = entry("other", Incarnation(100 + number), number as u32);
            first.next_seat = number as u32 + 1;
            first.members.push(MemberInfo { name: Name::new(&format!("m{number}")), address, ..other });
        }
        let mut air = Air::of(&first, &[PEER], |_| {});
        air.still(millis(2_000));
        let told = air.beacons();
        let since = |at: usize| told[at + 1].0.since(told[at].0);
        assert_eq!((since(0), since(1)), (millis(period), millis(period)), "{members} members");
    }
}

#[test]
fn without_multicast_nobody_can_do_without_what_comes_over_connections() {
    let mut air = Air::new(&[ME, PEER, THIRD], |setup| setup.multicast = None);
    air.carry(THIRD, &[]);
    air.send(Level::Fifo, b"to both");
    assert_eq!(air.carried(), [(Seat(1), 1); 2]);
}

#[test]
fn what_was_counted_of_repair_outlives_its_view() {
    let mut air = Air::new(&[ME, PEER, THIRD], |_| {});
    air.hear(THIRD, 4, b"fourth");
    air.pass(millis(2));
    air.send(Level::Fifo, b"first");
    air.ask(PEER, ME, &[(1, 1)]);
    let counts = |air: &Air| {
        let stats = air.stage.member.stats();
        (stats.repairs_asked, stats.repair_bytes_sent)
    };
    let before = counts(&air);
    assert_eq!((before.0, before.1 > 0), (3, true));
    air.install(12, &[ME, PEER]);
    assert_eq!(counts(&air), before);
    air.hear(PEER, 2, b"second");
    air.pass(millis(2));
    assert_eq!(counts(&air), (before.0 + 1, before.1));
}
