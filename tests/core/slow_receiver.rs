//! A member whose host takes less than others send is named, goes when its time is over, and does not come back before its host has caught up.

use crate::slow_members::{fill, take};
use crate::stage::{FRESH, ME, PEER, Stage, THIRD, patient, promise, view};
use crate::support::Cluster;
use decurion::core::{Ended, Event, Setup};
use decurion::types::{Code, Incarnation, Micros, Name, millis};
use decurion::wire::batch::Level;
use decurion::wire::control::{Control, Observation, Sight};

/// For so long a slow member is borne.
const BORNE: Micros = millis(2_000);
const QUEUE: usize = 512 * 1024;
const SLOW: usize = 2;

fn small_queues(setup: &mut Setup) {
    (setup.window_bytes, setup.window_reserved_bytes) = (256 * 1024, 64 * 1024);
    (setup.receive_queue_bytes, setup.send_queue_bytes, setup.slow) = (QUEUE, 1 << 20, BORNE);
}

fn cluster() -> Cluster {
    let mut c = Cluster::new(3, |_, setup| {
        setup.voters = (0..3).map(|node| Name::new(&format!("m{node}"))).collect();
        small_queues(setup);
    });
    c.pass(millis(1_000));
    c.idle_host = Some(SLOW);
    c
}

/// Sends as much as it may; the slow one takes a little.
fn flood(c: &mut Cluster) {
    while c.send(0, Level::Fifo, &[7; 8 * 1024]) == Code::Ok {}
    c.take(SLOW, 4 * 1024);
    c.pass(millis(10));
}

/// Until nobody waits for it any more.
fn until_removed(c: &mut Cluster) -> Micros {
    let since = c.now;
    while c.members_of(0) == 3 {
        assert!(c.now.since(since) < BORNE * 2, "it is still there");
        flood(c);
    }
    c.now.since(since)
}

#[test]
fn it_goes_when_its_time_is_over() {
    let mut c = cluster();
    let took = until_removed(&mut c);
    assert!((BORNE..BORNE / 4 * 5).contains(&took), "{took} us");
}

#[test]
fn it_comes_back_when_its_host_has_caught_up_and_says_why_not_before() {
    let mut c = cluster();
    until_removed(&mut c);
    for _ in 0..500 {
        c.take(SLOW, 0);
        c.pass(millis(10));
    }
    assert_eq!(c.members_of(0), 2, "it came back with a host that is behind");
    let waiting = c.member(SLOW).stats().delivery_queue_bytes as usize;
    assert!(waiting > QUEUE / 2, "{waiting}");
    let events = c.events(SLOW);
    let notes =
        events.iter().filter(|event| matches!(event, Event::Note { text, .. } if text.contains("joins no view")));
    assert_eq!(notes.count(), 1, "it must say so once");
    c.consume(SLOW);
    c.until(|c| c.members_of(0) == 3);
}

#[test]
fn it_says_that_its_host_is_behind_when_it_gives_up_joining() {
    let mut c = Cluster::new(3, |_, setup| {
        small_queues(setup);
        setup.join_timeout = millis(1_000);
    });
    c.idle_host = Some(SLOW);
    until_removed(&mut c);
    c.until(|c| c.has_ended(SLOW));
    let why = c.events(SLOW).into_iter().find_map(|event| match event {
        Event::Closed { reason: Ended::JoinTimeout(why) } => Some(why),
        _ => None,
    });
    assert!(why.as_ref().is_some_and(|why| why.starts_with("its host has not taken")), "{why:?}");
}

#[test]
fn who_is_removed_and_does_not_hear_of_it_is_alone_as_primary_until_its_lease_is_over() {
    let mut c = cluster();
    let since = c.now;
    while c.now.since(since) < BORNE {
        flood(&mut c);
        assert_eq!(c.members_of(0), 3);
    }
    c.stand_still(SLOW, true);
    let acts = |c: &Cluster, node: usize| c.member(node).is_primary(c.now);
    let mut waited = 0;
    let mut held = 0;
    while !acts(&c, 0) || c.members_of(0) == 3 {
        c.pass(millis(1));
        waited += 1;
        assert!(waited < 3_000, "nobody is primary");
        let others = c.members_of(0) == 2 && (acts(&c, 0) || acts(&c, 1));
        assert!(!(acts(&c, SLOW) && others), "two are primary {waited} ms after it has fallen silent");
        held += usize::from(c.members_of(0) == 2 && acts(&c, SLOW));
    }
    assert!(held > 10, "its lease ran out {held} ms after it was removed: nothing was waited for");
}

#[test]
fn a_host_is_warned_of_who_its_leader_names_as_slow_once_while_it_lasts() {
    let mut stage = Stage::within(&view(11, &[PEER, ME, THIRD]), |_| {});
    let notice = Observation { subject: THIRD, observer: PEER, sight: Sight::Slow, amount: 70_000 };
    let warned = |stage: &mut Stage| {
        let slow = stage.events.drain(..).filter_map(|event| match event {
            Event::Slow { member, lag_bytes } => Some((member.incarnation, lag_bytes)),
            _ => None,
        });
        slow.collect::<Vec<_>>()
    };
    stage.say(PEER, &Control::SlowNotice(notice));
    assert_eq!(warned(&mut stage), [(THIRD, 70_000)]);
    // A warning counts for four heartbeats.
    stage.pass(millis(500));
    stage.say(PEER, &Control::SlowNotice(notice));
    assert_eq!(warned(&mut stage), [], "that is known");
    stage.pass(millis(1_100));
    stage.say(PEER, &Control::SlowNotice(notice));
    assert_eq!(warned(&mut stage), [(THIRD, 70_000)], "it was not slow meanwhile");
}

/// Sends most of a window, which all but one of the others take at once.
fn fill_a_window(stage: &mut Stage, who_take_it: &[Incarnation]) {
    let batch = fill(stage);
    take(stage, who_take_it, batch);
}

#[test]
fn who_is_slow_is_not_blamed_for_the_time_in_which_a_view_ends() {
    let mut stage = Stage::within(&view(11, &[ME, PEER, THIRD]), |setup| {
        patient(setup);
        setup.slow = millis(3_000);
    });
    fill_a_window(&mut stage, &[THIRD]);
    stage.pass(millis(1_000));
    let named = |c: &Control| matches!(c, Control::SlowNotice(seen) if seen.subject == PEER);
    assert!(stage.heard(THIRD).iter().any(named), "it holds up a full window");
    // Nobody can send for three seconds.
    stage.wish(FRESH, &[]);
    stage.pass(millis(20));
    let asked = stage.prepared(FRESH).expect("a change has begun");
    stage.say(FRESH, &Control::Promise(promise(&asked)));
    stage.pass(millis(3_000));
    let vote = stage.all_go_along(&[PEER, THIRD], |_, promise| promise);
    let all = [PEER, THIRD, FRESH];
    all.iter().for_each(|who| stage.say(*who, &Control::Accepted(vote)));
    let second = stage.view().expect("in a view");
    assert_eq!(second.number, 12);
    all.iter().for_each(|who| stage.say(*who, &Control::Installed(second)));
    fill_a_window(&mut stage, &[THIRD, FRESH]);
    stage.pass(millis(1_500));
    assert_eq!(stage.prepared(THIRD), None, "it held up senders for 2.5 s of the 3.25 s that it is borne");
    stage.pass(millis(1_500));
    assert_eq!(stage.prepared(THIRD).map(|prepare| prepare.previous), Some(second));
}
