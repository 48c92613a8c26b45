//! How long it takes until a death is noticed.

use super::super::world::World;
use super::START_SPREAD;
use crate::types::{Micros, millis};

/// How a member dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Death {
    /// Its process is killed, and its kernel closes its sockets.
    ClosedSocket,
    /// Its process stands still: its sockets stay open, and nothing comes from it.
    SilentStop,
}

/// When a death was noticed, in microseconds after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Noticed {
    /// Some member suspects it.
    pub first_us: u64,
    /// Every other member has a view without it.
    pub all_us: u64,
}

/// A cluster has come together and rests before somebody dies, and a death is waited for, for at most this long.
const PATIENCE: Micros = millis(60_000);

/// Lets one of `members` die, drawn with the moment from the seed, and measures. `None`: the cluster did not come together, or the
/// death was not noticed within a minute.
pub fn notice(seed: u64, members: usize, death: Death) -> Option<Noticed> {
    let mut world = World::surveyed(seed, members);
    if !world.boot(START_SPREAD, PATIENCE) {
        return None;
    }
    let rest = world.random.between(1_000_000, 3_000_000);
    world.run_for(rest);
    let victim = world.random.below(members as u64) as usize;
    let gone = world.nodes[victim].member()?.incarnation();
    let others: Vec<usize> = (0..members).filter(|node| *node != victim).collect();
    world.survey_from_now();
    let died_at = world.now;
    match death {
        Death::ClosedSocket => world.crash(victim),
        Death::SilentStop => world.pause(victim),
    }
    let without = |world: &World, node: usize| world.view(node).is_some_and(|view| view.index_of(gone).is_none());
    let all = world.look_until(PATIENCE, |world| others.iter().all(|node| without(world, *node)));
    let survey = world.surveyed_so_far();
    let suspected = survey.suspicions.iter().filter(|(_, who)| *who == gone).map(|(at, _)| *at).min();
    // Each survivor's first view without it; the last of them is what counts.
    let left = survey.sightings.iter().filter(|seen| seen.left.contains(&gone));
    let last = left.clone().map(|seen| seen.at).max()?;
    let first = suspected.into_iter().chain(left.map(|seen| seen.at)).min()?;
    all.then_some(Noticed { first_us: first - died_at, all_us: last - died_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_socket_is_noticed_at_once_and_silence_after_the_silence_that_is_configured() {
        for seed in 0..4 {
            let closed = notice(seed, 6, Death::ClosedSocket).expect("it is noticed");
            assert!(closed.first_us <= closed.all_us && closed.all_us < 100_000, "{closed:?}");
            let silent = notice(seed, 6, Death::SilentStop).expect("it is noticed");
            assert!(silent.first_us > 500_000 && silent.all_us < 4_000_000, "{silent:?}");
            assert_eq!(notice(seed, 6, Death::SilentStop), Some(silent), "the same seed measures the same");
        }
    }
}
