//! A group has not taken what was sent: is its leader slow, or one of its members?
//!
//! From afar the two look alike. Systems in which whoever notices removes whoever it sees threw out healthy leaders for their members, or
//! one member after the other for their leader. Here the one that holds up the others is named, by those who are near enough to tell,
//! and it alone goes; nobody else is named or removed.

use super::super::check::Guarantee;
use super::super::drill::newest_view;
use super::super::load::Load;
use super::super::network::Conditions;
use super::super::world::{Settings, World};
use super::Scenario;
use super::stage::{SOON, nodes};
use crate::core::{Event, Plant};
use crate::types::{Micros, millis};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "who-is-slow",
    about: "a slow member of another group, or a leader that does not forward, is named and removed, and nobody else",
    seeds: 8,
    shows: &[Plant::DropAtViewEnd, Plant::LeakCredit],
    hosts: 9,
    build,
    play,
};

/// How long somebody is borne.
const SLOW: Micros = millis(4_000);
/// So much that a window is full at once where it is not taken.
const LOAD: Load = Load { every_us: 20_000, burst: 0, burst_messages: 1, direct: 0, large: 200, large_bytes: 30_000 };
/// Bytes in a millisecond over a link that does not drain.
const NARROW: u64 = 8;

fn build(settings: Settings) -> World {
    World::cluster(settings, 9, 9, |_, setup| {
        setup.group_size = 3;
        setup.slow = SLOW;
        setup.window_bytes = 1024 * 1024;
        setup.window_reserved_bytes = 48 * 1024;
        setup.receive_queue_bytes = 64 * 1024;
    })
}

fn play(world: &mut World) {
    world.form(&nodes(9));
    world.load_all(LOAD);
    world.run_for(millis(1_000));
    let Some((view, at)) = newest_view(world) else { return };
    let group = 1 + world.random.below(view.groups.len() as u64 - 1) as usize;
    let members: Vec<usize> = view.groups[group].members.iter().map(|member| at[*member]).collect();
    let begun = world.now_us();
    // Behind links that hardly drain nobody hears much.
    let mut deaf: Vec<usize> = Vec::new();
    let culprit = match world.settings.seed % 4 {
        // A host takes what comes to it late, again and again.
        0 => {
            world.set_lag(members[1], 600_000);
            members[1]
        }
        // What a leader sends to one of its members hardly comes there.
        1 => {
            narrow(world, members[0], members[2]);
            members[2]
        }
        // A leader does not forward.
        2 => {
            members[1..].iter().for_each(|member| narrow(world, members[0], *member));
            deaf.extend(&members[1..]);
            members[0]
        }
        // The coordinator does not forward to its group, or one of its members is slow: it is the one who removes.
        _ => {
            let own: Vec<usize> = view.groups[0].members.iter().map(|member| at[*member]).collect();
            world.set_lag(own[1], 600_000);
            own[1]
        }
    };
    expect_gone(world, culprit, &deaf, begun);
    world.set_all_conditions(Conditions::LAN);
    world.set_lag(culprit, 0);
    (0..9).for_each(|node| world.set_load(node, Some(Load::STEADY)));
    world.start(culprit);
    world.expect_together(&nodes(9), SOON * 2);
    world.finish();
}

fn narrow(world: &mut World, from: usize, to: usize) {
    world.set_conditions(from, to, Conditions { bytes_per_ms: NARROW, ..Conditions::LAN });
}

/// The culprit is named to all, soon, and goes when it was borne for long enough; it alone.
fn expect_gone(world: &mut World, culprit: usize, deaf: &[usize], begun: u64) {
    let name = world.nodes[culprit].setup.name.clone();
    let goes = |event: &Event| match event {
        Event::View(change) => change.left.iter().map(|left| left.name.clone()).collect(),
        _ => Vec::new(),
    };
    let others: Vec<usize> = (0..9).filter(|node| *node != culprit).collect();
    let gone = world.run_until(SLOW * 3, |world| {
        let left = |node: &usize| {
            world.nodes[*node].seen.iter().any(|(at, event)| *at >= begun && goes(event).contains(&name))
        };
        others.iter().all(left)
    });
    let took = (world.now_us() - begun) / 1_000;
    world.expect(Guarantee::D5, gone, || format!("{name} holds up the others, and is there after {took} ms"));
    world.expect(Guarantee::D5, took >= SLOW / 1_000, || format!("{name} was removed after {took} ms"));
    for node in &others {
        let seen: Vec<Event> =
            world.nodes[*node].seen.iter().filter(|(at, _)| *at >= begun).map(|(_, event)| event.clone()).collect();
        let named: Vec<String> = seen
            .iter()
            .filter_map(
                |event| if let Event::Slow { member, .. } = event { Some(member.name.to_string()) } else { None },
            )
            .collect();
        let told = !named.is_empty() || deaf.contains(node);
        let right = told && named.iter().all(|named| *named == name.as_str());
        world.expect(Guarantee::D5, right, || format!("n{node} is told that {named:?} are slow, and it is {name}"));
        let left: Vec<String> = seen.iter().flat_map(goes).map(|left| left.to_string()).collect();
        let alone = left.iter().all(|left| *left == name.as_str());
        world.expect(Guarantee::V7, alone, || format!("n{node} sees {left:?} go, and {name} was slow"));
    }
}
