//! What a member takes along from one view to the next, and what not.

use crate::air::Air;
use crate::stage::{FRESH, ME, PEER, Stage, THIRD, patient, seed, summary, view};
use decurion::core::Event;
use decurion::types::millis;
use decurion::wire::control::{Control, Observation, Sight, ViewSummary};

#[test]
fn who_has_stepped_back_in_one_view_may_coordinate_the_next_one_at_once() {
    let mut stage = Stage::within(&view(11, &[PEER, ME, THIRD]), patient);
    let steps_back = Observation { subject: PEER, observer: PEER, sight: Sight::Silent, amount: 0 };
    stage.say(PEER, &Control::Observe(steps_back));
    let passed_on = |stage: &mut Stage| stage.heard(PEER).iter().any(|word| matches!(word, Control::Join(_)));
    stage.wish(FRESH, &[]);
    assert!(!passed_on(&mut stage), "another one coordinates meanwhile");
    stage.install(PEER, &view(12, &[PEER, ME, THIRD]));
    stage.wish(FRESH, &[]);
    assert!(passed_on(&mut stage));
}

#[test]
fn a_part_gives_way_only_when_its_newest_view_has_stood_for_a_second() {
    let gives_way = |time| {
        let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
        stage.pass(millis(5_000));
        stage.install(PEER, &view(12, &[ME, PEER]));
        stage.pass(millis(time));
        stage.answer(seed(), FRESH, Some(ViewSummary { members: 3, ..summary(&view(20, &[FRESH])) }), false);
        stage.member.incarnation() != ME
    };
    assert!(!gives_way(999));
    assert!(gives_way(1_000));
}

/// A gap would be a message that is lost without a word, and what comes again would be delivered twice.
#[test]
fn the_numbers_of_a_members_messages_go_on_from_view_to_view() {
    let is_bad = |before| {
        let mut air = Air::new(&[PEER, ME, THIRD], |_| {});
        air.bring(PEER, PEER, 1, b"one");
        air.install(12, &[PEER, ME, THIRD]);
        air.before = before;
        air.stage.events.clear();
        air.bring(PEER, PEER, 1, b"another one");
        air.stage.events.iter().any(|event| matches!(event, Event::Fault { .. }))
    };
    assert_eq!([0, 1, 2].map(is_bad), [true, false, true]);
}
