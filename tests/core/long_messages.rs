//! Messages over the bound up to which nobody is asked (R28): they take turns, however many send, and nothing is put together that has
//! no room.

use crate::support::{Cluster, Stream};
use decurion::core::LargeRules;
use decurion::types::{Code, millis};
use decurion::wire::batch::{Entry, Fragment, Level, Notice};

const UNASKED: usize = 64 * 1024;
const ROOM: usize = 500_000;
const WINDOW: usize = 256 * 1024;
const MEMBERS: usize = 5;

fn cluster(group_size: usize) -> Cluster {
    Cluster::new(MEMBERS, |_, setup| {
        setup.large = LargeRules { unasked_bytes: UNASKED, room_bytes: ROOM };
        (setup.window_bytes, setup.window_reserved_bytes) = (WINDOW, 32 * 1024);
        (setup.direct_window_bytes, setup.send_queue_bytes, setup.receive_queue_bytes) = (WINDOW, 4 << 20, WINDOW);
        setup.group_size = group_size;
    })
}

/// A payload that tells whose it is, and which one.
fn payload(sender: usize, number: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 251 + at * 7 + sender * 31 + number) as u8).collect()
}

/// Lengths of what each sends: short, long, and almost all of the room.
const LENGTHS: [usize; 6] = [10, 200_000, 70_000, ROOM, 3, 300_000];

/// Lets time pass until each of `receivers` has been given `count` messages; nobody ever holds more than it has room for.
fn receive(c: &mut Cluster, receivers: &[usize], count: usize, bound: usize) -> Vec<Vec<(String, Vec<u8>)>> {
    let mut got = vec![Vec::new(); receivers.len()];
    for step in 0.. {
        for (got, node) in got.iter_mut().zip(receivers) {
            let held = c.member(*node).stats().unstable_bytes as usize;
            assert!(held <= bound, "member {node} holds {held} bytes of {bound}");
            assert_eq!(c.member(*node).check(), Ok(()));
            got.extend(c.messages(*node));
        }
        if got.iter().all(|got| got.len() >= count) {
            return got;
        }
        assert!(step < 20_000, "only {:?} of {count} came", got.iter().map(Vec::len).collect::<Vec<_>>());
        c.pass(millis(1));
    }
    unreachable!("the loop ends by itself")
}

fn assert_in_order(got: &[(String, Vec<u8>)], sender: usize) {
    let name = format!("m{sender}");
    let theirs: Vec<&Vec<u8>> = got.iter().filter(|(from, _)| *from == name).map(|(_, payload)| payload).collect();
    assert_eq!(theirs.len(), LENGTHS.len(), "from {name}");
    for (number, (got, bytes)) in theirs.into_iter().zip(LENGTHS).enumerate() {
        assert!(*got == payload(sender, number, bytes), "message {number} of {name}, {} bytes", got.len());
    }
}

#[test]
fn many_who_send_to_everybody_take_turns() {
    for (group_size, level) in [(MEMBERS, Level::Fifo), (2, Level::Fifo), (2, Level::Agreed), (MEMBERS, Level::Safe)] {
        let mut c = cluster(group_size);
        c.pass(millis(1_000));
        for (number, bytes) in LENGTHS.into_iter().enumerate() {
            for sender in 0..MEMBERS {
                assert_eq!(c.send(sender, level, &payload(sender, number, bytes)), Code::Ok);
            }
        }
        let all: Vec<usize> = (0..MEMBERS).collect();
        let own = usize::from(level != Level::Fifo);
        // What everybody else puts together unasked is not much, and one's own is not asked for room here.
        let bound = ROOM + WINDOW + MEMBERS * UNASKED + own * ROOM;
        let got = receive(&mut c, &all, (MEMBERS - 1 + own) * LENGTHS.len(), bound);
        for (receiver, got) in got.iter().enumerate() {
            (0..MEMBERS)
                .filter(|sender| own == 1 || *sender != receiver)
                .for_each(|sender| assert_in_order(got, sender));
        }
    }
}

#[test]
fn many_who_send_to_one_take_turns() {
    let mut c = cluster(2);
    c.pass(millis(1_000));
    for (number, bytes) in LENGTHS.into_iter().enumerate() {
        (1..MEMBERS).for_each(|sender| assert_eq!(c.send_to(sender, 0, &payload(sender, number, bytes)), Code::Ok));
    }
    let bound = ROOM + (MEMBERS - 1) * (WINDOW + UNASKED);
    let got = receive(&mut c, &[0], (MEMBERS - 1) * LENGTHS.len(), bound);
    (1..MEMBERS).for_each(|sender| assert_in_order(&got[0], sender));
}

/// The room that the coordinator gave goes with it, and so do the turns: everybody asks again.
#[test]
fn a_view_that_ends_in_the_middle_loses_nothing() {
    let mut c = cluster(2);
    c.pass(millis(1_000));
    // Its host takes nothing, so nobody gets on.
    c.idle_host = Some(4);
    for (number, bytes) in LENGTHS.into_iter().enumerate() {
        (1..MEMBERS)
            .for_each(|sender| assert_eq!(c.send(sender, Level::Fifo, &payload(sender, number, bytes)), Code::Ok));
    }
    let begun = (1..MEMBERS).any(|node| c.member(node).stats().unstable_bytes > 100_000);
    assert!(begun, "somebody is in the middle of it");
    c.kill(0);
    c.idle_host = None;
    c.consume(4);
    let survivors: Vec<usize> = (1..MEMBERS).collect();
    let bound = ROOM + WINDOW + MEMBERS * UNASKED;
    let got = receive(&mut c, &survivors, (MEMBERS - 2) * LENGTHS.len(), bound);
    for (receiver, got) in survivors.iter().zip(&got) {
        survivors.iter().filter(|sender| *sender != receiver).for_each(|sender| assert_in_order(got, *sender));
    }
}

fn area(notice: &Notice) -> Vec<u8> {
    let mut area = Vec::new();
    notice.put(&mut area);
    area
}

fn first_part(total: usize) -> Vec<u8> {
    let mut area = Vec::new();
    let fragment = Some(Fragment { total: total as u32, offset: 0 });
    Entry { level: Level::Fifo, token: 0, fragment, payload: &[7; 1_000] }.put(&mut area);
    area
}

/// The link over which it came is closed as well, which is another fault.
fn first_fault(c: &mut Cluster, node: usize) -> String {
    c.faults(node).first().map_or_else(String::new, |(who, what)| format!("{who}: {what}"))
}

#[test]
fn who_takes_room_that_is_not_its_own_is_named() {
    let mut c = cluster(MEMBERS);
    c.pass(millis(1_000));
    let fault = |c: &Cluster, area: Vec<u8>, sender: usize, to: usize| {
        let mut c = c.clone();
        c.faults(to);
        // Everybody is in the group of the first one, which leads and coordinates.
        let from = if to == 0 { sender } else { 0 };
        c.say_to_everybody(sender, (from, to), &area, 1);
        first_fault(&mut c, to)
    };
    assert_eq!(fault(&c, first_part(ROOM + 1), 2, 1), "m2: a long message without a grant");
    assert_eq!(fault(&c, first_part(ROOM), 2, 1), "", "whether it was given room is known to the coordinator only");
    let by_another = "m2: a grant by one that does not coordinate";
    assert_eq!(fault(&c, area(&Notice::Grant(2)), 2, 1), by_another);
    assert_eq!(fault(&c, area(&Notice::Want(ROOM as u32 + 1)), 2, 0), "m2: more room is wanted than there is");
    assert_eq!(fault(&c, area(&Notice::Want(ROOM as u32)), 2, 0), "");
}

#[test]
fn who_begins_a_long_message_to_one_member_unasked_is_named() {
    let mut c = cluster(MEMBERS);
    c.pass(millis(1_000));
    let fault = |c: &Cluster, stream: Stream, areas: &[Vec<u8>]| {
        let mut c = c.clone();
        c.faults(0);
        areas.iter().for_each(|area| c.say_area(stream, (2, 0), area, 0));
        first_fault(&mut c, 0)
    };
    let want = |bytes: usize| area(&Notice::Want(bytes as u32));
    let unasked = "m2: a long message without room for it";
    assert_eq!(fault(&c, Stream::Messages, &[first_part(UNASKED + 1)]), unasked);
    assert_eq!(fault(&c, Stream::Messages, &[first_part(UNASKED)]), "");
    assert_eq!(fault(&c, Stream::Messages, &[want(100_000), first_part(100_000)]), "");
    assert_eq!(fault(&c, Stream::Messages, &[want(100_000), first_part(100_001)]), unasked);
    assert_eq!(fault(&c, Stream::Messages, &[want(ROOM + 1)]), "m2: more room is wanted than there is");
    let wrong = "m2: a level that a stream to one member does not have";
    assert_eq!(fault(&c, Stream::Messages, &[first_part(UNASKED), want(100_000)]), wrong);
    assert_eq!(fault(&c, Stream::Messages, &[area(&Notice::Grant(1))]), wrong);
    assert_eq!(fault(&c, Stream::Frames, &[want(100_000)]), wrong);
}
