//! How a member ends, stands still, and begins a new life.

use crate::sender::Sender;
use crate::stage::{ME, PEER, Stage, THIRD, address, patient, view};
use crate::support::Cluster;
use decurion::core::{Event, Input, ReadyPolicy, To};
use decurion::types::{Code, Name, millis};
use decurion::wire::control::{Control, Purpose};
use decurion::wire::datagram::Datagram;

fn among_three() -> Sender {
    Sender::within(&view(11, &[PEER, ME, THIRD]), patient)
}

/// It is removed, and comes back as another one in a view of these two.
fn comes_back(stage: &mut Stage) {
    stage.install(PEER, &view(12, &[PEER, THIRD]));
    assert_eq!(stage.view(), None);
    stage.connect(PEER, Purpose::Link);
    let mut next = view(13, &[PEER, ME]);
    next.members[1].incarnation = stage.member.incarnation();
    next.members[1].ready = false;
    stage.install(PEER, &next);
    assert_eq!(stage.view(), Some(next.id));
}

#[test]
fn who_ends_closes_all_of_its_connections_and_takes_no_new_ones() {
    let mut sender = among_three();
    sender.stage.tell(Input::Leave);
    sender.stage.pass(millis(4_000));
    assert!(sender.stage.member.ended().is_some());
    assert!(sender.stage.conns.values().all(|conn| sender.stage.closed.contains(conn)));
    assert_eq!(sender.stage.member.accept(sender.stage.now, crate::stage::address(PEER)), None);
}

#[test]
fn who_has_ended_still_counts_what_its_host_takes() {
    let mut sender = among_three();
    let batch = sender.batch(PEER, None, 1);
    sender.bring(PEER, &batch);
    sender.stage.tell(Input::Leave);
    sender.stage.pass(millis(4_000));
    let waits = sender.stage.member.stats().delivery_queue_bytes as usize;
    assert!(waits > 0 && sender.stage.member.ended().is_some());
    sender.stage.tell(Input::Consumed { bytes: waits });
    assert_eq!(sender.stage.member.stats().delivery_queue_bytes, 0);
}

#[test]
fn what_waits_for_the_host_goes_to_it_as_soon_as_it_has_room() {
    let mut sender = Sender::within(&view(11, &[PEER, ME, THIRD]), |setup| {
        patient(setup);
        setup.receive_queue_bytes = 300;
    });
    for number in [1, 2] {
        let batch = sender.batch(PEER, None, number);
        sender.bring(PEER, &batch);
    }
    let runs = |sender: &Sender| sender.stage.events.iter().filter(|event| matches!(event, Event::Messages(_))).count();
    assert_eq!(runs(&sender), 1, "it has room for one");
    let waits = sender.stage.member.stats().delivery_queue_bytes as usize;
    sender.stage.tell(Input::Consumed { bytes: waits });
    assert_eq!(runs(&sender), 2);
}

#[test]
fn what_waits_to_be_written_can_be_seen() {
    let mut sender = among_three();
    let conn = sender.stage.conns[&PEER];
    assert!(!sender.stage.member.has_to_write(conn));
    sender.offer(To::Everybody, 0, 100);
    sender.stage.member.exchange(sender.stage.now, &mut sender.outbox);
    assert!(sender.stage.member.has_to_write(conn));
    sender.stage.settle();
    assert!(!sender.stage.member.has_to_write(conn));
}

#[test]
fn who_stood_still_says_how_late_it_was_and_less_and_less_of_it() {
    let mut sender = among_three();
    sender.stage.now = sender.stage.now + millis(1_000);
    sender.stage.tell(Input::Wake);
    sender.stage.datagrams.clear();
    let late = |sender: &mut Sender| {
        let beats = sender.stage.datagrams.drain(..).filter_map(|(_, datagram)| match datagram {
            Datagram::Heartbeat(beat) => Some(beat.late_ms),
            _ => None,
        });
        beats.collect::<Vec<_>>()
    };
    sender.stage.pass(millis(600));
    assert!(late(&mut sender).iter().any(|ms| *ms > 50), "it was late by almost a second");
    sender.stage.pass(millis(10_000));
    assert_eq!(late(&mut sender).last(), Some(&0));
}

#[test]
fn who_lost_the_others_tells_its_host_that_it_is_primary_no_more() {
    let mut c = Cluster::new(3, |_, setup| {
        setup.voters = (0..3).map(|node| Name::new(&format!("m{node}"))).collect();
    });
    c.until(|c| c.member(2).is_primary(c.now));
    let told = |c: &mut Cluster| {
        let events = c.events(2).into_iter().filter_map(|event| match event {
            Event::Primary { primary, .. } => Some(primary),
            _ => None,
        });
        events.last()
    };
    assert_eq!(told(&mut c), Some(true));
    (0..2).for_each(|node| c.kill(node));
    c.pass(millis(5_000));
    assert_eq!(told(&mut c), Some(false));
}

#[test]
fn who_comes_back_says_from_which_view_it_came() {
    let mut sender = among_three();
    let before = sender.stage.view();
    sender.stage.events.clear();
    comes_back(&mut sender.stage);
    let from = sender.stage.events.iter().find_map(|event| match event {
        Event::View(change) => Some(change.merged_from),
        _ => None,
    });
    assert_eq!(from, Some(before));
}

/// The others of its last view look for it where it is, so parts of the cluster that were formed anew find each other; and a
/// cluster of which all seeds are gone would be down for good.
#[test]
fn who_was_removed_forms_a_view_though_it_is_no_seed_if_nobody_of_its_last_one_is_found() {
    let mut stage = Stage::within(&view(11, &[PEER, ME, THIRD]), patient);
    stage.dials.clear();
    stage.install(PEER, &view(12, &[PEER, THIRD]));
    let removed = stage.now;
    while stage.view().is_none() {
        stage.pass(millis(1));
        assert!(stage.now.since(removed) < millis(5_000));
    }
    for fellow in [PEER, THIRD] {
        assert!(stage.dials.iter().any(|(_, at)| *at == address(fellow)), "it has not looked for {fellow:?}");
    }
    assert_eq!(stage.now.since(removed), millis(4 * 500), "somebody may still answer");
}

#[test]
fn who_comes_back_is_not_ready_before_its_host_says_so_again() {
    let mut stage = Stage::within(&view(11, &[PEER, ME, THIRD]), |setup| {
        patient(setup);
        setup.ready = ReadyPolicy::Host;
    });
    stage.tell(Input::HostReady);
    comes_back(&mut stage);
    let ready = |stage: &mut Stage| stage.heard(PEER).iter().any(|control| matches!(control, Control::Ready(_)));
    stage.pass(millis(1_000));
    assert!(!ready(&mut stage));
    stage.tell(Input::HostReady);
    stage.pass(millis(1_000));
    assert!(ready(&mut stage));
}

#[test]
fn who_is_removed_in_the_middle_of_a_change_goes_on_with_it_no_more() {
    let mut stage = Stage::changing(view(11, &[ME, PEER, THIRD]), patient);
    assert!(stage.prepared(PEER).is_some(), "a change has begun");
    stage.install(PEER, &view(12, &[PEER, THIRD]));
    assert_eq!(stage.view(), None);
    stage.connect(PEER, Purpose::Link);
    stage.pass(millis(3_000));
    let goes_on = |c: &Control| matches!(c, Control::Prepare(_) | Control::Cut(_) | Control::Propose(_));
    assert!(!stage.heard(PEER).iter().any(goes_on));
}

#[test]
fn who_comes_back_hears_of_its_new_messages_that_all_have_taken_them() {
    let mut sender = Sender::within(&view(11, &[PEER, ME, THIRD]), |setup| {
        patient(setup);
        setup.stable_events = true;
    });
    let stable = |sender: &mut Sender| {
        let me = sender.stage.member.incarnation();
        let taken = sender.up_to(me, 1);
        sender.stage.say(PEER, &Control::Stable(taken));
        sender.turn();
        let told = sender.stage.events.drain(..).filter_map(|event| match event {
            Event::Stable { number, .. } => Some(number),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    // Three of them in one batch.
    (0..3).for_each(|_| assert_eq!(sender.offer(To::Everybody, 0, 100), Code::Ok));
    sender.turn();
    assert_eq!(stable(&mut sender), [3]);
    comes_back(&mut sender.stage);
    sender.turn();
    sender.send(To::Everybody, 0, 100);
    assert_eq!(stable(&mut sender), [1]);
}
