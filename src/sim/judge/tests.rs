//! For each check of the judge a world in which it must see something, and the same world without the cause, in which it must not.

use super::super::load::Load;
use super::super::world::{Settings, World};
use super::Guarantee;
use crate::core::{Ended, Event, MemberRef, Plant, ReadyPolicy, Setup, ViewChange};
use crate::types::{View, millis};

/// `count` members that all vote, in one view, after some quiet seconds.
fn cluster(plant: Option<Plant>, count: usize, adjust: impl Fn(usize, &mut Setup)) -> World {
    let mut settings = Settings::new(7, count);
    settings.plant = plant;
    let mut world = World::cluster(settings, count, count, adjust);
    world.start_all();
    let complete = |world: &World| (0..count).all(|node| world.view(node).is_some_and(|view| view.len() == count));
    assert!(world.run_until(millis(10_000), complete), "{}", world.describe_views());
    world.run_for(millis(25_000));
    assert_eq!(world.violations(), []);
    world
}

fn quiet(count: usize) -> World {
    cluster(None, count, |_, _| {})
}

/// The promises that a world has seen broken, each once.
fn broken(world: &World) -> Vec<Guarantee> {
    let mut seen: Vec<Guarantee> = world.violations().iter().map(|violation| violation.guarantee).collect();
    seen.dedup();
    seen
}

/// What is seen of a scenario without and with a planted bug.
fn both(plant: Plant, scenario: impl Fn(Option<Plant>) -> World) -> Vec<Guarantee> {
    assert_eq!(scenario(None).violations(), [], "without the bug");
    broken(&scenario(Some(plant)))
}

fn removal(world: &World, left: usize) -> ViewChange {
    let before = world.view(0).expect("it is in a view");
    let gone = &before.members[before.index_of_name(&format!("n{left}")).expect("it is there")];
    let members = before.members.iter().filter(|member| member.name != gone.name).cloned().collect();
    let mut id = before.id;
    id.number += 1;
    let view = View::new(id, members, true).into();
    ViewChange { view, me: 0, joined: Vec::new(), left: vec![MemberRef::from(gone)], merged_from: None }
}

#[test]
fn two_parts_that_act_as_primary_break_v3() {
    let seen = both(Plant::IgnoreLease, |plant| {
        let mut world = cluster(plant, 3, |_, _| {});
        world.split(&[&[0], &[1, 2]]);
        world.run_for(millis(10_000));
        assert!(world.checks().count(Guarantee::V3) > 0);
        world
    });
    assert_eq!(seen, [Guarantee::V3]);
}

#[test]
fn parts_that_do_not_come_together_break_v4() {
    let mut world = quiet(3);
    assert!(world.converge(millis(1_000)));
    world.split(&[&[0], &[1, 2]]);
    world.run_for(millis(10_000));
    assert!(!world.converge(millis(1_000)));
    assert_eq!(broken(&world), [Guarantee::V4]);
}

#[test]
fn a_process_that_ends_for_no_reason_of_its_own_breaks_the_promise_behind_the_reason() {
    for (reason, promise) in [
        (Ended::HostNotPolling, Guarantee::D5),
        (Ended::Left, Guarantee::D7),
        (Ended::JoinTimeout("nobody".to_owned()), Guarantee::V4),
    ] {
        let mut world = quiet(2);
        world.nodes[0].setup.join_timeout = 0;
        world.check_end_of_process(0, &reason);
        assert_eq!(broken(&world), [promise], "{reason:?}");
    }
    let mut world = quiet(2);
    world.leave(0);
    world.check_end_of_process(0, &Ended::Left);
    assert_eq!(world.violations(), []);
}

#[test]
fn more_than_the_bound_in_a_hosts_queue_breaks_d5() {
    let mut world = quiet(2);
    let setup = &world.nodes[0].setup;
    let bound = setup.receive_queue_bytes + setup.window_bytes + setup.message_bytes;
    world.nodes[0].unconsumed = bound;
    world.check_turn(0);
    assert_eq!(world.violations(), []);
    world.nodes[0].unconsumed = bound + 1;
    world.check_turn(0);
    assert_eq!(broken(&world), [Guarantee::D5]);
}

#[test]
fn credit_that_is_lost_breaks_d5() {
    let seen = both(Plant::LeakCredit, |plant| {
        let mut world = cluster(plant, 3, |_, setup| setup.window_reserved_bytes = 8 * 1024);
        world.set_load(1, Some(Load { every_us: 5_000, burst: 200, burst_messages: 60, ..Load::STEADY }));
        world.run_for(millis(10_000));
        world.set_load(1, None);
        world.run_for(millis(5_000));
        world
    });
    assert_eq!(seen, [Guarantee::D5]);
}

#[test]
fn a_sender_that_is_refused_for_ever_breaks_d5() {
    let mut world = quiet(2);
    world.nodes[0].starved_since = Some(0);
    world.check_starvation(0);
    assert_eq!(world.violations(), [], "not for long yet");
    world.run_for(millis(60_000));
    world.check_starvation(0);
    assert_eq!(broken(&world), [Guarantee::D5]);
}

#[test]
fn a_joiner_that_holds_up_stability_breaks_v5() {
    let seen = both(Plant::CountUnreadyJoiner, |plant| {
        let adjust = |node, setup: &mut Setup| {
            setup.stable_events = true;
            setup.ready = if node == 3 { ReadyPolicy::Host } else { ReadyPolicy::OnAdmission };
        };
        let mut world = cluster(plant, 4, adjust);
        world.set_load(1, Some(Load::STEADY));
        world.pause(3);
        world.run_for(millis(1_200));
        world.resume(3);
        world.run_for(millis(1_000));
        world
    });
    assert_eq!(seen, [Guarantee::V5]);
}

#[test]
fn an_accusation_on_the_clock_of_ones_own_pause_breaks_v6() {
    let mut world = quiet(2);
    let (view, me) = world.node(0).member().and_then(|member| member.view()).expect("it is in a view");
    let other = &view.members[1 - me];
    let suspected = Event::Suspected { member: MemberRef::from(other), why: "it is silent" };
    world.check_event(0, &suspected);
    assert_eq!(world.violations(), []);
    world.nodes[0].resumed_at = Some(world.now);
    world.check_event(0, &suspected);
    assert_eq!(broken(&world), [Guarantee::V6]);
}

#[test]
fn the_removal_of_a_member_that_is_well_breaks_v7() {
    let mut world = quiet(3);
    let change = removal(&world, 2);
    world.check_removals(0, &change);
    assert_eq!(broken(&world), [Guarantee::V7]);
    let mut world = quiet(3);
    let change = removal(&world, 2);
    world.pause(2);
    world.run_for(millis(1_000));
    world.check_removals(0, &change);
    assert_eq!(world.violations(), [], "it stood still");
}

#[test]
fn a_removal_on_the_word_of_one_breaks_v7() {
    let seen = both(Plant::OneObserverKills, |plant| {
        let mut world = cluster(plant, 4, |_, _| {});
        [(0, 2), (2, 0)].into_iter().for_each(|(from, to)| world.cut(from, to));
        world.run_for(millis(2_300));
        [(0, 2), (2, 0)].into_iter().for_each(|(from, to)| world.mend(from, to));
        world.run_for(millis(5_000));
        world
    });
    assert_eq!(seen, [Guarantee::V7]);
}

#[test]
fn a_view_that_changes_without_a_cause_breaks_v7() {
    let mut world = quiet(3);
    world.rest(millis(2_000));
    assert_eq!(world.violations(), []);
    world.after(millis(5_000), |world| world.leave(2));
    world.rest(millis(20_000));
    assert_eq!(broken(&world), [Guarantee::V7]);
}

#[test]
fn a_member_that_stays_without_hearing_its_leader_breaks_v8() {
    let seen = both(Plant::TrustOneWayLink, |plant| {
        let mut world = cluster(plant, 4, |_, _| {});
        world.cut(0, 3);
        world.run_for(millis(25_000));
        world
    });
    assert_eq!(seen, [Guarantee::V8]);
}
