//! A host stops taking what it is given, while all others send as fast as they may.
//!
//! In many systems the queue between library and host is unbounded, and a host that stands still takes the process down with all its
//! memory, or a slow receiver throttles everybody for ever. Here the queue has a bound, senders are held up for a stated time, and then
//! the member whose host takes nothing goes by itself, and says why; nobody else goes, and the others send on.

use super::super::check::Guarantee;
use super::super::load::Load;
use super::super::world::{Settings, World};
use super::Scenario;
use super::stage::{SOON, nodes, without};
use crate::core::{Ended, Plant};
use crate::types::millis;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "stalled-host",
    about: "a host that takes nothing holds the others up for a stated time and fills a bounded queue, then its member goes",
    seeds: 3,
    shows: &[Plant::QueueWithoutBound, Plant::BearTheSlow],
    hosts: 4,
    build,
    play,
};

fn build(settings: Settings) -> World {
    World::cluster(settings, 4, 4, |_, setup| {
        setup.receive_queue_bytes = 64 * 1024;
        setup.window_bytes = 512 * 1024;
        setup.window_reserved_bytes = 64 * 1024;
    })
}

fn play(world: &mut World) {
    world.load_all(Load { every_us: 3_000, burst: 500, burst_messages: 40, ..Load::STEADY });
    world.form(&nodes(4));
    let stalled = 1 + world.between_ms(0, 2) as usize / 1_000;
    let others = without(&nodes(4), &[stalled]);
    let slow = world.nodes[stalled].setup.slow;
    world.stop_polling(stalled);
    let ended = world.run_until(slow * 2, |world| !world.node(stalled).is_running());
    let reason = world.node(stalled).ended.clone();
    world.expect(Guarantee::D5, ended && reason == Some(Ended::HostNotPolling), || {
        format!("n{stalled}, whose host takes nothing, ended: {ended}, {reason:?}")
    });
    world.expect_together(&others, SOON);
    world.start(stalled);
    world.poll_again(stalled);
    world.expect_together(&nodes(4), SOON);
    world.run_for(millis(500));
    world.finish();
}
