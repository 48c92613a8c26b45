//! Multicast stops for one member, then for all, and comes back.
//!
//! A switch that forgets who listens, a firewall that somebody mends: clusters that rest on multicast alone fall apart over it, member by
//! member, though every connection works. Here each member takes over connections what it does not hear, in the same view, says so once,
//! and goes back when it hears again; nothing is lost or doubled on either change.

use super::super::check::Guarantee;
use super::super::multicast::messages_by_multicast;
use super::super::world::{Settings, World};
use super::Scenario;
use super::stage::{LOAD, nodes};
use crate::core::{Event, Plant};
use crate::types::millis;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "multicast-comes-and-goes",
    about: "members that do not hear multicast go on in the same view over connections, say so once, and come back",
    seeds: 4,
    shows: &[Plant::CastOverGap],
    hosts: 7,
    build,
    play,
};

fn build(settings: Settings) -> World {
    World::cluster(settings, 7, 5, |_, setup| {
        setup.group_size = 3;
        setup.multicast = Some(messages_by_multicast(1_472));
    })
}

/// Every direction between two hosts that `cut` chooses.
fn pairs(cut: impl Fn(u16, u16) -> bool) -> Vec<(u16, u16)> {
    let all = (0..7).flat_map(|from| (0..7).map(move |to| (from, to)));
    all.filter(|(from, to)| from != to && cut(*from, *to)).collect()
}

fn play(world: &mut World) {
    world.load_all(LOAD);
    world.form(&nodes(7));
    let begin = world.now_us();
    let view = world.views_since(0, 0).len();
    let deaf = world.random.below(7) as u16;
    let (one, everybody) = (pairs(|_, to| to == deaf), pairs(|_, _| true));
    for cut in [&one, &everybody, &one] {
        world.deafen(cut);
        let long = world.between_ms(2_500, 4_000);
        world.run_for(long);
        world.expect_even(millis(1_000));
        world.load_all(LOAD);
        world.hear_again(cut);
        let long = world.between_ms(2_500, 4_000);
        world.run_for(long);
    }
    let said = |world: &World, words: &str| {
        world.count_since(
            usize::from(deaf),
            begin,
            |event| matches!(event, Event::Note { text, .. } if text.contains(words)),
        )
    };
    let (silent, heard) = (said(world, "nobody is heard by multicast"), said(world, "is heard again"));
    world.expect(Guarantee::D5, (silent, heard) == (3, 3), || {
        format!("n{deaf} said {silent} times that it hears nobody, {heard} times that it does again")
    });
    let after = world.views_since(0, 0).len();
    world.expect(Guarantee::V7, after == view, || format!("{} views were installed meanwhile", after - view));
    world.finish();
}
