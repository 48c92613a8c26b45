//! A member's streams to everybody: what goes on in the next view, and what is done with memory.

use std::sync::Arc;

use bytes::Bytes;

use crate::air::Air;
use crate::sender::Sender;
use crate::stage::{FRESH, ME, PEER, THIRD, ballot, patient, view};
use crate::support::Cluster;
use decurion::core::{Event, Input, LargeRules, Payload, Setup, To};
use decurion::types::Code;
use decurion::wire::batch::{Entry, FLAG_FRAGMENTS, Fragment, HEADER_BYTES, Header, Level};
use decurion::wire::control::{Control, Prepare};
use decurion::wire::{Proposal, Sparse};

/// Bytes that this member may have under way to everybody, as long as it is given no credit.
const RESERVED: usize = 20_000;

fn members() -> Proposal {
    view(11, &[PEER, ME, THIRD])
}

/// Led by `PEER`.
fn sender(reserved: usize) -> Sender {
    Sender::within(&members(), |setup: &mut Setup| {
        patient(setup);
        (setup.window_bytes, setup.window_reserved_bytes) = (reserved * 15, reserved);
        setup.stable_events = true;
    })
}

/// The next view of the same members, who go on with so many batches of each.
fn next(cut: [u64; 3]) -> Proposal {
    Proposal { cut: Sparse(cut.to_vec()), ..view(12, &[PEER, ME, THIRD]) }
}

#[test]
fn what_is_stable_because_a_view_has_ended_is_told_in_the_next_one() {
    let mut sender = sender(RESERVED);
    (0..3).for_each(|_| assert_eq!(sender.offer(To::Everybody, 0, 100), Code::Ok));
    sender.turn();
    let stable = |sender: &Sender| {
        let told = sender.stage.events.iter().filter_map(|event| match event {
            Event::Stable { view, number } => Some((view.number, *number)),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    assert_eq!(stable(&sender), []);
    sender.stage.install(PEER, &next([0, 1, 0]));
    sender.turn();
    assert_eq!(stable(&sender), [(12, 3)], "all who go on have them");
}

#[test]
fn the_numbers_of_messages_go_on_in_the_next_view() {
    for (in_second, goes_on) in [(2, true), (1, false), (3, false)] {
        let mut air = Air::within(&members(), |_| {});
        air.bring(PEER, THIRD, 1, b"first");
        assert_eq!(air.delivered(), [b"first"]);
        air.stage.install(PEER, &next([0, 0, 1]));
        air.before = in_second - 1;
        air.bring(PEER, THIRD, 1, b"second");
        let mut faults = air.stage.events.iter().filter_map(|event| match event {
            Event::Fault { member: Some(who), what, .. } => Some((who.incarnation, what.as_str())),
            _ => None,
        });
        let fault = (THIRD, "the numbers of its messages do not follow");
        assert_eq!(faults.next(), (!goes_on).then_some(fault), "it begins with {in_second}");
        assert_eq!(air.delivered().len(), usize::from(goes_on));
    }
}

#[test]
fn a_short_message_goes_out_while_there_is_room_for_it() {
    let mut sender = sender(RESERVED);
    sender.send(To::Everybody, 1, RESERVED - 2_500);
    assert_eq!(sender.sent().len(), 1);
    sender.send(To::Everybody, 2, 100);
    assert_eq!(sender.sent().len(), 1);
}

struct Lent(Arc<Vec<u8>>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[test]
fn what_a_host_has_lent_is_given_back_once_all_of_it_is_sent() {
    let mut sender = sender(200_000);
    let lent = Arc::new(vec![7; 100_000]);
    let payload = Payload::Owned(Bytes::from_owner(Lent(Arc::clone(&lent))));
    assert_eq!(sender.outbox.push(To::Everybody, Level::Fifo, 0, payload), Code::Ok);
    assert_eq!(Arc::strong_count(&lent), 2);
    sender.turn();
    assert_eq!(sender.sent().len(), 2);
    assert_eq!(Arc::strong_count(&lent), 1);
}

/// What covers most of the memory in which it came stays there.
#[test]
fn parts_of_long_messages_are_counted_as_copied_and_whole_ones_are_not() {
    const BYTES: u64 = 40_000;
    let c = Cluster::new(3, |_, _| {});
    let copied = |fragment: Option<Fragment>| {
        let mut c = c.clone();
        let before = c.member(1).copied_bytes();
        let mut area = Vec::new();
        Entry { level: Level::Fifo, token: 0, fragment, payload: &[7; BYTES as usize] }.put(&mut area);
        c.say_to_everybody(2, (0, 1), &area, 1);
        c.member(1).copied_bytes() - before
    };
    assert_eq!(copied(None), 0);
    let part = copied(Some(Fragment { total: 2 * BYTES as u32, offset: 0 }));
    assert!((BYTES..BYTES + 100).contains(&part), "{part}");
}

/// What all have taken who count for that is forgotten here when this member takes it, too: it takes nothing while a window and a
/// half of it are kept.
#[test]
fn who_is_not_ready_and_always_late_goes_on_taking_by_multicast() {
    const WINDOW: usize = 64 * 1024;
    let mut first = members();
    first.members[1].ready = false;
    let mut air = Air::within(&first, |setup| {
        setup.window_bytes = WINDOW;
        setup.receive_queue_bytes = 1;
    });
    let batches = 2 * WINDOW as u64 / 1_000;
    air.hear(THIRD, 1, &[7; 1_000]);
    for batch in 2..=batches {
        air.hear(THIRD, batch, &[7; 1_000]);
        air.stable(PEER, THIRD, batch);
        assert_eq!(air.delivered().len(), 1, "the one before {batch}: its host has taken none meanwhile");
        let bytes = air.stage.member.stats().delivery_queue_bytes as usize;
        air.stage.tell(Input::Consumed { bytes });
        air.settle();
    }
    assert_eq!(air.delivered().len(), 1);
}

/// It belongs to no cut: whoever goes on asks for what it lacks of that.
#[test]
fn what_has_come_beyond_a_gap_is_not_kept_while_a_view_ends() {
    let first = members();
    let mut air = Air::within(&first, |_| {});
    let kept = |air: &Air| air.stage.member.stats().unstable_bytes;
    air.hear(THIRD, 1, &[7; 500]);
    let held = kept(&air);
    air.hear(THIRD, 3, &[7; 1_000]);
    assert!(kept(&air) >= held + 1_000);
    let prepare = Prepare { number: 12, ballot: ballot(12), previous: first.id, joins: false };
    air.say(PEER, &Control::Prepare(prepare));
    assert_eq!(kept(&air), held);
}

/// The last part of a long message has come, and waits for the host like what came before it.
#[test]
fn a_long_message_that_its_host_has_not_taken_leaves_no_room_for_another_one() {
    const ROOM: usize = 100_000;
    let may_begin = |bytes: usize, host_goes_on: bool| {
        let mut sender = Sender::within(&view(11, &[PEER, ME, THIRD, FRESH]), |setup| {
            patient(setup);
            setup.large = LargeRules { unasked_bytes: 10_000, room_bytes: ROOM };
            setup.receive_queue_bytes = 1;
        });
        let part = |sender: &mut Sender, of, number, total: usize, offset: usize| {
            let mut area = Vec::new();
            let fragment = Some(Fragment { total: total as u32, offset: offset as u32 });
            let payload = &[7; 30_000];
            Entry { level: Level::Fifo, token: 0, fragment, payload }.put(&mut area);
            let mut batch = sender.batch_of(of, None, number, &area);
            let header = Header::decode(batch.first_chunk().expect("a header")).expect("legal");
            let header = Header { flags: FLAG_FRAGMENTS, first_message: 1, ..header };
            batch[..HEADER_BYTES].copy_from_slice(&header.encode());
            sender.bring(PEER, &batch);
        };
        part(&mut sender, THIRD, 1, 60_000, 0);
        let short = sender.batch(PEER, None, 1);
        sender.bring(PEER, &short);
        part(&mut sender, THIRD, 2, 60_000, 30_000);
        if host_goes_on {
            let bytes = sender.stage.member.stats().delivery_queue_bytes as usize;
            sender.stage.tell(Input::Consumed { bytes });
        }
        part(&mut sender, FRESH, 1, bytes, 0);
        !sender.stage.events.iter().any(|event| matches!(event, Event::Fault { .. }))
    };
    assert!(may_begin(ROOM - 60_000, false));
    assert!(!may_begin(ROOM - 60_000 + 1, false));
    assert!(may_begin(ROOM, true));
}
