//! Figures about detection and size, measured on the simulator: distributions over many seeds, rates over thousands of member-hours, and
//! what a member costs in clusters from ten members to thousands, or by itself where all others are played.
//!
//! The members are the very core; the checkers are off, because what they know grows with the square of the cluster.

mod alone;
mod detection;
mod large;
mod removals;

pub use alone::{Alone, Meter, Rest, Role};
pub use detection::{Death, Noticed, notice};
pub use large::{Boot, Change, Connections, Deaf, Idle, Large};
pub use removals::{Endured, Hardship, endure, trace};

use super::survey::Survey;
use super::world::{Settings, World, seed_of};
use crate::core::Setup;
use crate::types::{Incarnation, Micros, Name, millis};

/// Members whose addresses everybody knows, and who vote: as an operator of a large cluster would name them.
const WELL_KNOWN: usize = 5;
/// A small cluster starts within this time, spread evenly by chance.
const START_SPREAD: Micros = millis(200);
/// A process that ends by itself is started again after so long.
const SUPERVISOR: Micros = millis(1_000);
/// How often a run looks whether it has come to where it waits for.
const LOOK_EVERY: Micros = millis(5);

impl World {
    /// A world of `count` members with the `lan` profile that are measured, none of them started. The first few are known to all and
    /// vote.
    fn surveyed(seed: u64, count: usize) -> World {
        let mut settings = Settings::new(seed, count);
        settings.keep_events = false;
        let mut world = World::new(settings);
        world.survey = Some(Survey::default());
        let known = 0..count.min(WELL_KNOWN);
        let seeds: Vec<_> = known.clone().map(|host| seed_of(&format!("n{host}"), host as u16)).collect();
        let voters: Vec<Name> = known.map(|host| Name::new(&format!("n{host}"))).collect();
        for host in 0..count {
            let address = super::network::address_of(host as u16);
            let mut setup = Setup::new("sim", &format!("n{host}"), Incarnation::NONE, address);
            setup.seeds.clone_from(&seeds);
            setup.voters.clone_from(&voters);
            let node = world.add(setup, host as u16);
            world.nodes[node].restart_after_us = Some(SUPERVISOR);
        }
        world
    }

    /// Starts all within `spread`, and waits for one view of all. Says whether it came.
    fn boot(&mut self, spread: Micros, bound: Micros) -> bool {
        for node in 0..self.nodes.len() {
            let at = self.random.between(0, spread);
            self.after(at, move |world| world.start(node));
        }
        self.run_for(spread);
        self.look_until(bound, World::is_converged)
    }

    /// As [`World::run_until`], but looks now and then only: a look at thousands of members at every step would cost more than the steps.
    fn look_until(&mut self, bound: Micros, condition: impl Fn(&World) -> bool) -> bool {
        let end = self.now + bound;
        while !condition(self) {
            if self.now >= end || self.stands_still {
                return false;
            }
            self.run_for(LOOK_EVERY.min(end - self.now));
        }
        true
    }

    fn surveyed_so_far(&self) -> &Survey {
        self.survey.as_ref().expect("the world is surveyed")
    }

    fn survey_from_now(&mut self) {
        self.survey.as_mut().expect("the world is surveyed").begin_again();
    }
}
