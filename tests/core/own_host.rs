//! A member whose own host takes no events: it says so, and goes when its time is over (D5).

use crate::stage::{ME, PEER, Stage, THIRD, patient, view};
use crate::support::{Stream, tag_between};
use decurion::core::{Ended, Input};
use decurion::types::{Micros, Seat, millis};
use decurion::wire::batch::{Entry, Header, Level};
use decurion::wire::control::{Control, Observation, Sight};

const TICK: Micros = millis(125);
/// For so long a host is borne that takes nothing.
const BORNE: Micros = millis(3_000);
const LONG: usize = 6 * 1024;

/// Between `PEER`, which leads, and `THIRD`: its host has room for one long message.
fn stage() -> Stage {
    Stage::within(&view(11, &[PEER, ME, THIRD]), |setup| {
        patient(setup);
        (setup.slow, setup.receive_queue_bytes) = (BORNE, 2 * LONG - 1);
    })
}

/// `PEER` sends so many long messages, to everybody or to this member alone.
fn flood(stage: &mut Stage, to_all: bool, batches: std::ops::RangeInclusive<u64>) {
    let mut area = Vec::new();
    Entry { level: Level::Fifo, token: 0, fragment: None, payload: &[7; LONG] }.put(&mut area);
    let (length, view_tag) = (area.len() as u32, stage.heartbeat().view_tag);
    let (tag, receiver) = match to_all {
        true => (view_tag, Seat::EVERYBODY),
        false => (tag_between(Stream::Messages, PEER, ME), Seat(2)),
    };
    for batch in batches {
        let (sender, first_message) = (Seat(1), batch);
        let header = Header { flags: 0, count: 1, length, tag, sender, receiver, batch, first_message };
        stage.say_bytes(stage.conns[&PEER], &[&header.encode()[..], &area].concat());
    }
}

/// How often it has told its leader since the last look that its own host holds it up.
fn admits(stage: &mut Stage) -> usize {
    let admits = |word: &Control| {
        matches!(word, Control::SlowNotice(Observation { subject: ME, observer: ME, sight: Sight::Slow, .. }))
    };
    stage.heard(PEER).iter().filter(|word| admits(word)).count()
}

/// Whether it has told all that it leaves.
fn leaves(stage: &mut Stage) -> bool {
    stage.heard(THIRD).contains(&Control::Leave(ME)) || stage.heard(PEER).contains(&Control::Leave(ME))
}

#[test]
fn a_member_whose_host_takes_nothing_says_so_to_its_leader_with_each_tick_and_leaves_in_the_end() {
    for to_all in [true, false] {
        let mut stage = stage();
        flood(&mut stage, to_all, 1..=1);
        stage.pass(TICK * 4);
        assert_eq!(admits(&mut stage), 0, "it has room for one");
        flood(&mut stage, to_all, 2..=2);
        stage.pass(TICK * 4);
        assert_eq!(admits(&mut stage), 4);
        stage.pass(BORNE - TICK * 4);
        assert!(!leaves(&mut stage));
        stage.pass(TICK * 2);
        assert!(leaves(&mut stage));
        stage.pass(millis(5_000));
        assert_eq!(stage.member.ended(), Some(&Ended::HostNotPolling));
    }
}

#[test]
fn a_host_that_looks_for_events_has_its_time_anew() {
    let mut stage = stage();
    flood(&mut stage, true, 1..=2);
    for _ in 0..3 {
        stage.pass(BORNE - TICK * 2);
        assert!(!leaves(&mut stage));
        stage.tell(Input::Consumed { bytes: 1 });
    }
    stage.pass(BORNE + TICK * 2);
    assert!(leaves(&mut stage));
}

#[test]
fn what_goes_past_the_hosts_queue_gives_it_no_time() {
    let mut stage = stage();
    flood(&mut stage, true, 1..=2);
    for _ in 0..BORNE / TICK - 2 {
        stage.pass(TICK);
        stage.tell(Input::Released { bytes: 1 });
    }
    assert!(!leaves(&mut stage));
    stage.pass(TICK * 4);
    assert!(leaves(&mut stage));
}

#[test]
fn a_host_that_has_caught_up_and_is_behind_again_has_its_time_anew() {
    let mut stage = stage();
    flood(&mut stage, true, 1..=2);
    stage.pass(millis(1_000));
    let take_all = |stage: &mut Stage| {
        let bytes = stage.member.stats().delivery_queue_bytes as usize;
        stage.tell(Input::Consumed { bytes });
    };
    take_all(&mut stage);
    stage.pass(BORNE - millis(500));
    assert_ne!(admits(&mut stage), 0);
    flood(&mut stage, true, 3..=3);
    stage.pass(millis(1_000));
    assert_ne!(admits(&mut stage), 0);
    assert!(!leaves(&mut stage), "it takes nothing for a second only");
}

#[test]
fn a_host_is_not_blamed_for_the_time_in_which_the_whole_process_stood_still() {
    let mut stage = stage();
    flood(&mut stage, true, 1..=2);
    stage.pass(millis(1_000));
    stage.now = stage.now + millis(5_000);
    stage.tell(Input::Wake);
    stage.pass(millis(1_500));
    assert!(!leaves(&mut stage));
    stage.pass(millis(1_000));
    assert!(leaves(&mut stage));
}
