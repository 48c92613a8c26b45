//! Named scenarios: what went wrong in other systems, played on the very core, with what must be true here instead.
//!
//! One file each, which begins with the story. A scenario makes its faults by hand at times that its seed draws, and says what it
//! expects by [`World::expect`], each time with the promise that this rests on; all checkers are at work besides. Each names planted
//! bugs that it shows, so that it is known to be able to fail.

mod backup_without_copy;
mod both_halves_own;
mod busy_partitions;
mod clock_jump;
mod cold_starts;
mod cut_inside_a_message;
mod deaf_member;
mod death_during_join;
mod equal_halves;
mod hand_over_in_flight;
mod inconsistent_after_heal;
mod lone_orderer;
mod long_pause;
mod lost_last_view;
mod lost_super_datagram;
mod merge_of_many;
mod multicast_comes_and_goes;
mod name_taken;
mod never_rejoins;
mod removed_twice;
mod session_ends;
mod stage;
mod stale_owner_returns;
mod stalled_host;
mod stop_and_continue;
mod survivor_not_ready;
mod twins_at_once;
mod two_and_a_witness;
mod who_is_slow;

use std::ops::RangeInclusive;

use super::run::{Outcome, watch};
use super::world::{Settings, World};
use crate::core::Plant;

/// A scenario by name.
#[derive(Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What must be true in it.
    pub about: &'static str,
    /// With so many seeds it is played by the tests.
    pub seeds: u64,
    /// Planted bugs that it shows in one of its seeds.
    pub shows: &'static [Plant],
    hosts: usize,
    build: fn(Settings) -> World,
    play: fn(&mut World),
}

/// Every scenario.
pub const SCENARIOS: [&Scenario; 28] = [
    &stop_and_continue::SCENARIO,
    &death_during_join::SCENARIO,
    &inconsistent_after_heal::SCENARIO,
    &lost_last_view::SCENARIO,
    &merge_of_many::SCENARIO,
    &cold_starts::SCENARIO,
    &never_rejoins::SCENARIO,
    &survivor_not_ready::SCENARIO,
    &stale_owner_returns::SCENARIO,
    &both_halves_own::SCENARIO,
    &backup_without_copy::SCENARIO,
    &hand_over_in_flight::SCENARIO,
    &long_pause::SCENARIO,
    &clock_jump::SCENARIO,
    &lone_orderer::SCENARIO,
    &stalled_host::SCENARIO,
    &cut_inside_a_message::SCENARIO,
    &name_taken::SCENARIO,
    &twins_at_once::SCENARIO,
    &session_ends::SCENARIO,
    &deaf_member::SCENARIO,
    &equal_halves::SCENARIO,
    &two_and_a_witness::SCENARIO,
    &who_is_slow::SCENARIO,
    &lost_super_datagram::SCENARIO,
    &multicast_comes_and_goes::SCENARIO,
    &removed_twice::SCENARIO,
    &busy_partitions::SCENARIO,
];

impl Scenario {
    /// Finds a scenario by its name.
    pub fn by_name(name: &str) -> Option<&'static Scenario> {
        SCENARIOS.into_iter().find(|scenario| scenario.name == name)
    }

    /// Those that show a planted bug.
    pub fn that_show(plant: Plant) -> impl Iterator<Item = &'static Scenario> {
        SCENARIOS.into_iter().filter(move |scenario| scenario.shows.contains(&plant))
    }

    /// Plays it with one seed.
    pub fn run(&self, seed: u64, plant: Option<Plant>) -> Outcome {
        self.watch(seed, plant, false).0
    }

    /// The same, and a line of text for every step.
    pub fn trace(&self, seed: u64, plant: Option<Plant>) -> (Outcome, String) {
        self.watch(seed, plant, true)
    }

    /// Plays it with each of these seeds, or those that it is tested with.
    pub fn run_all(&self, seeds: Option<RangeInclusive<u64>>, plant: Option<Plant>) -> Vec<Outcome> {
        seeds.unwrap_or(0..=self.seeds - 1).map(|seed| self.run(seed, plant)).collect()
    }

    fn watch(&self, seed: u64, plant: Option<Plant>, traced: bool) -> (Outcome, String) {
        let mut settings = Settings::new(seed, self.hosts);
        settings.plant = plant;
        let mut world = (self.build)(settings);
        if traced {
            world.keep_trace();
        }
        let replay = format!("decurion simulate --scenario {} --seed {seed} --trace seed-{seed}.txt", self.name);
        let outcome = watch(seed, &mut world, &replay, |world| {
            (self.play)(world);
            world.is_converged()
        });
        (outcome, world.trace().to_owned())
    }
}
