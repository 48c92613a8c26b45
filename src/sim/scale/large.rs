//! Large clusters: how they come together, what an idle member costs, what a change costs, and who goes when links are bad.

use std::collections::BTreeSet;

use super::super::network::Conditions;
use super::super::node::State;
use super::super::survey::Traffic;
use super::super::world::World;
use crate::types::{Micros, millis};

/// A cluster has so much virtual time to come together.
const BOOT_BOUND: Micros = millis(600_000);
/// And so much to agree on a change.
const CHANGE_BOUND: Micros = millis(60_000);
/// After the boot, and after a change, everything settles.
pub(super) const SETTLE: Micros = millis(5_000);

/// A simulated cluster of many members that is being measured.
#[derive(Debug)]
pub struct Large {
    world: World,
    /// What a second costs when nothing happens, once that was measured.
    idle_per_s: Option<(f64, f64)>,
}

/// How a cluster came together.
#[derive(Clone, PartialEq, Debug)]
pub struct Boot {
    /// Whether there is one view of all, all ready.
    pub whole: bool,
    /// From the first start until then.
    pub virtual_us: u64,
    /// The different sizes of all views that any host was shown.
    pub sizes: Vec<u32>,
    /// Different views.
    pub views: u64,
    /// What all members sent.
    pub traffic: Traffic,
    /// Events of the simulator.
    pub steps: u64,
}

/// Open connections of one kind of member.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Connections {
    /// Of the coordinator.
    pub coordinator: u64,
    /// The most that any leader has.
    pub leader_most: u64,
    /// The mean over all members.
    pub mean: f64,
}

/// What a cluster does while nothing happens.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Idle {
    /// Groups of the view.
    pub groups: u64,
    /// Open connections.
    pub connections: Connections,
    /// Bytes that a member sends in a second, in the mean.
    pub bytes_per_s: f64,
    /// Bytes that the busiest one sends in a second.
    pub most_bytes_per_s: f64,
    /// Writes and datagrams of a member in a second, in the mean.
    pub messages_per_s: f64,
}

/// What a change of the view cost.
#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    /// Whether all survivors have a view without those that are gone.
    pub done: bool,
    /// From the change until the last of them has it.
    pub virtual_us: u64,
    /// Different views that were installed.
    pub views: u64,
    /// Writes and datagrams of all members, without what they would have sent anyway.
    pub messages: f64,
    /// The same in bytes.
    pub bytes: f64,
}

/// Who went when some members lose most of what goes to and from them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deaf {
    /// Members behind bad links.
    pub bad: u64,
    /// How many of these were removed.
    pub bad_removed: u64,
    /// How many of the others were removed.
    pub well_removed: u64,
    /// Views that were installed.
    pub views: u64,
}

impl Large {
    /// A cluster of `members`, not started.
    pub fn new(seed: u64, members: usize) -> Large {
        Large { world: World::surveyed(seed, members), idle_per_s: None }
    }

    /// Starts all members within `spread`, and waits until they are in one view.
    pub fn boot(&mut self, spread: Micros) -> Boot {
        let whole = self.world.boot(spread, BOOT_BOUND);
        let survey = self.world.surveyed_so_far();
        let boot = Boot {
            whole,
            virtual_us: self.world.now,
            sizes: survey.sizes(),
            views: survey.views(),
            traffic: self.traffic(),
            steps: self.world.steps,
        };
        self.world.run_for(SETTLE);
        self.world.survey_from_now();
        boot
    }

    /// Lets `duration` pass in which nothing happens, and measures it.
    pub fn idle(&mut self, duration: Micros) -> Idle {
        let before: Vec<Traffic> = self.world.nodes.iter().map(|node| node.traffic).collect();
        self.world.run_for(duration);
        let spent: Vec<Traffic> =
            self.world.nodes.iter().zip(&before).map(|(node, before)| node.traffic.since(before)).collect();
        let (seconds, members) = (duration as f64 / 1e6, self.world.nodes.len() as f64);
        let sum = Traffic::sum(spent.iter());
        let most = spent.iter().map(Traffic::bytes).max().unwrap_or(0);
        self.idle_per_s = Some((sum.messages() as f64 / seconds, sum.bytes() as f64 / seconds));
        Idle {
            groups: self.world.view(0).map_or(0, |view| view.groups.len() as u64),
            connections: self.connections(),
            bytes_per_s: sum.bytes() as f64 / seconds / members,
            most_bytes_per_s: most as f64 / seconds,
            messages_per_s: sum.messages() as f64 / seconds / members,
        }
    }

    /// Kills `count` members that are drawn, at one moment, and waits for the view without them.
    pub fn crash(&mut self, count: usize) -> Change {
        let victims = self.draw(count);
        self.world.survey_from_now();
        let (before, at) = (self.traffic(), self.world.now);
        victims.iter().for_each(|node| self.world.crash(*node));
        let done = self.world.look_until(CHANGE_BOUND, World::is_converged);
        let change = self.change(done, &before, at);
        self.world.run_for(SETTLE);
        change
    }

    /// Starts again all that were killed, and waits for the view of all.
    pub fn start_again(&mut self) -> Change {
        self.world.survey_from_now();
        let (before, at) = (self.traffic(), self.world.now);
        self.world.start_all();
        let done = self.world.look_until(CHANGE_BOUND, World::is_converged);
        let change = self.change(done, &before, at);
        self.world.run_for(SETTLE);
        change
    }

    fn change(&self, done: bool, before: &Traffic, at: u64) -> Change {
        let survey = self.world.surveyed_so_far();
        let last = survey.sightings.iter().map(|seen| seen.at).max().unwrap_or(self.world.now);
        let spent = self.traffic().since(before);
        let seconds = (self.world.now - at) as f64 / 1e6;
        let (messages, bytes) = self.idle_per_s.unwrap_or_default();
        Change {
            done,
            virtual_us: last - at,
            views: survey.views(),
            messages: (spent.messages() as f64 - messages * seconds).max(0.0),
            bytes: (spent.bytes() as f64 - bytes * seconds).max(0.0),
        }
    }

    /// All links to and from `count` members lose `loss` of a thousand packets for `duration`: says who goes.
    pub fn deafen(&mut self, count: usize, loss: u32, duration: Micros) -> Deaf {
        let bad: BTreeSet<usize> = self.draw(count).into_iter().collect();
        self.world.survey_from_now();
        for node in &bad {
            for other in (0..self.world.nodes.len()).filter(|other| other != node) {
                for (from, to) in [(*node, other), (other, *node)] {
                    self.world.set_conditions(from, to, Conditions { loss, ..Conditions::LAN });
                }
            }
        }
        self.world.run_for(duration);
        let survey = self.world.surveyed_so_far();
        let removed: BTreeSet<usize> = survey.removed.iter().filter_map(|who| survey.owner(*who)).collect();
        Deaf {
            bad: bad.len() as u64,
            bad_removed: removed.intersection(&bad).count() as u64,
            well_removed: removed.difference(&bad).count() as u64,
            views: survey.views(),
        }
    }

    /// Drops the state of all members, for whoever counts memory before and after. Says how many there were.
    pub fn drop_members(&mut self) -> usize {
        self.world.nodes.iter_mut().filter_map(|node| node.member.take()).count()
    }

    /// Events of the simulator so far.
    pub fn steps(&self) -> u64 {
        self.world.steps
    }

    fn draw(&mut self, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..self.world.nodes.len()).collect();
        self.world.random.shuffle(&mut all);
        all.truncate(count);
        all
    }

    fn traffic(&self) -> Traffic {
        Traffic::sum(self.world.nodes.iter().map(|node| &node.traffic))
    }

    fn connections(&self) -> Connections {
        let running = || self.world.nodes.iter().filter(|node| node.state == State::Running);
        let of = |node: &super::super::node::Node| node.connections.len() as u64;
        let leads = |node: &super::super::node::Node| {
            node.member().and_then(|member| member.view()).is_some_and(|(view, me)| view.is_leader(me))
        };
        let coordinates = |node: &super::super::node::Node| {
            node.member().and_then(|member| member.view()).is_some_and(|(view, me)| view.coordinator() == me)
        };
        Connections {
            coordinator: running().filter(|node| coordinates(node)).map(of).max().unwrap_or(0),
            leader_most: running().filter(|node| leads(node)).map(of).max().unwrap_or(0),
            mean: running().map(of).sum::<u64>() as f64 / running().count().max(1) as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_of_thirty_is_measured() {
        let mut large = Large::new(1, 30);
        let boot = large.boot(millis(1_000));
        assert!(boot.whole && boot.sizes.last() == Some(&30) && boot.traffic.messages() > 60, "{boot:?}");
        let idle = large.idle(millis(10_000));
        assert!(idle.groups > 1 && idle.connections.mean >= 1.0 && idle.bytes_per_s > 10.0, "{idle:?}");
        assert!(idle.connections.leader_most >= idle.groups - 1, "{idle:?}");
        let crash = large.crash(3);
        assert!(crash.done && crash.views >= 1 && crash.messages > 27.0, "{crash:?}");
        let again = large.start_again();
        assert!(again.done && again.views >= 1, "{again:?}");
        let deaf = large.deafen(2, 1_000, millis(30_000));
        assert_eq!((deaf.bad, deaf.bad_removed, deaf.well_removed), (2, 2, 0), "{deaf:?}");
        assert_eq!(large.drop_members(), 30);
    }
}
