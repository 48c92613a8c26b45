//! Sixty datagrams are lost at once, for everybody.
//!
//! A network card cuts a super-datagram into packets, and a switch that drops it drops all of them; a burst that overruns one queue is lost
//! as a whole. Where everybody then asks everybody, or the sender answers each of many by itself, repair makes the storm that it is to end.
//! Here whoever lacks something asks its own leader once, and what is sent again is little more than what was lost.

use super::super::check::Guarantee;
use super::super::load::Load;
use super::super::multicast::messages_by_multicast;
use super::super::world::{Settings, World};
use super::Scenario;
use super::stage::{SOON, nodes};
use crate::core::Plant;
use crate::types::millis;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "lost-super-datagram",
    about: "a burst that is lost to all comes by repair, in order, and little more is sent than was lost",
    seeds: 4,
    shows: &[Plant::CastOverGap, Plant::RepairNothing],
    hosts: 9,
    build,
    play,
};

const STEADY: Load = Load { burst: 0, direct: 0, large: 0, ..Load::STEADY };
/// Messages of one burst, and their bytes: some sixty datagrams.
const BURST: usize = 60;
const BYTES: usize = 1_200;

fn build(settings: Settings) -> World {
    World::cluster(settings, 9, 5, |_, setup| {
        setup.group_size = 3;
        setup.multicast = Some(messages_by_multicast(1_472));
    })
}

fn play(world: &mut World) {
    world.load_all(STEADY);
    world.form(&nodes(9));
    let repaired = |world: &World| -> u64 {
        world.nodes.iter().filter_map(|slot| slot.member()).map(|member| member.stats().repair_bytes_sent).sum()
    };
    for _ in 0..6 {
        let sender = world.random.below(9) as usize;
        let before = repaired(world);
        world.reach.lost_to_all = 1_000;
        (0..BURST).for_each(|_| {
            world.send(sender, None, BYTES);
        });
        world.reach.lost_to_all = 0;
        // Nothing follows the burst: the sender says how far it has got, a question goes up, and an answer comes down.
        let took = world.expect_even(SOON);
        world.expect(Guarantee::D5, took < millis(200), || format!("a burst of n{sender} took {} ms", took / 1_000));
        let (sent, lost) = (repaired(world) - before, (BURST * BYTES * 8) as u64);
        // Headers, the tail of the steady load, and what several leaders ask for at one time.
        world
            .expect(Guarantee::D5, sent < lost * 5 / 4, || format!("{sent} bytes were sent for {lost} that were lost"));
        world.load_all(STEADY);
        world.run_for(millis(300));
    }
    world.finish();
}
