//! How often somebody is removed who lives: members that only pause for a second, on a network that loses.

use super::super::network::Conditions;
use super::super::world::World;
use super::START_SPREAD;
use crate::types::{Micros, millis};

/// What the members have to bear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hardship {
    /// Members of the cluster.
    pub members: usize,
    /// Datagrams, and segments of connections, of a thousand that are lost.
    pub loss: u32,
    /// For how long each member stands still, again and again, in microseconds.
    pub pause: Micros,
    /// The mean time from the end of a pause to the next one of the same member.
    pub every: Micros,
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Endured {
    /// Time that members lived, added up, in microseconds.
    pub member_us: u64,
    /// Pauses of members.
    pub pauses: u64,
    /// Lives that a view left out. Nobody has died, so each is a false removal.
    pub removals: u64,
    /// Views after that of all.
    pub views: u64,
    /// Members that ended by themselves.
    pub ended: u64,
    /// Clusters that did not come together in a minute, before anything happened to them.
    pub not_formed: u64,
    /// Events of the simulator.
    pub steps: u64,
}

impl Endured {
    /// Adds what came of another run.
    pub fn add(&mut self, other: &Endured) {
        self.member_us += other.member_us;
        self.pauses += other.pauses;
        self.removals += other.removals;
        self.views += other.views;
        self.ended += other.ended;
        self.not_formed += other.not_formed;
        self.steps += other.steps;
    }
}

/// Lets a cluster endure for `duration` of virtual time.
pub fn endure(seed: u64, hardship: &Hardship, duration: Micros) -> Endured {
    run(&mut World::surveyed(seed, hardship.members), hardship, duration)
}

/// The same, and a line of text for every step: what led to a removal.
pub fn trace(seed: u64, hardship: &Hardship, duration: Micros) -> (Endured, String) {
    let mut world = World::surveyed(seed, hardship.members);
    world.keep_trace();
    let endured = run(&mut world, hardship, duration);
    (endured, world.trace().to_owned())
}

fn run(world: &mut World, hardship: &Hardship, duration: Micros) -> Endured {
    if !world.boot(START_SPREAD, millis(60_000)) {
        return Endured { not_formed: 1, steps: world.steps, ..Endured::default() };
    }
    world.set_all_conditions(Conditions { loss: hardship.loss, ..Conditions::LAN });
    for node in 0..hardship.members {
        pause_later(world, node, *hardship);
    }
    world.survey_from_now();
    world.run_for(duration);
    let survey = world.surveyed_so_far();
    Endured {
        member_us: duration * hardship.members as u64,
        pauses: world.faults.count(super::super::faults::FaultKind::Pause),
        removals: survey.removed.len() as u64,
        views: survey.views(),
        ended: survey.ended,
        not_formed: 0,
        steps: world.steps,
    }
}

/// Pauses a node after a time that is drawn, and then again and again.
fn pause_later(world: &mut World, node: usize, hardship: Hardship) {
    let wait = world.random.between(hardship.every / 2, hardship.every / 2 * 3);
    world.after(wait, move |world| {
        world.pause(node);
        world.after(hardship.pause, move |world| {
            world.resume(node);
            pause_later(world, node, hardship);
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_pauses_without_loss_remove_nobody_and_long_ones_are_counted() {
        let hardship = Hardship { members: 5, loss: 0, pause: millis(1_000), every: millis(10_000) };
        let short = endure(1, &hardship, millis(60_000));
        assert_eq!((short.removals, short.not_formed, short.member_us), (0, 0, 300_000_000), "{short:?}");
        assert!(short.pauses > 15, "{short:?}");
        let long = endure(1, &Hardship { pause: millis(5_000), ..hardship }, millis(60_000));
        assert!(long.removals > 2 && long.views > 2, "{long:?}");
    }
}
