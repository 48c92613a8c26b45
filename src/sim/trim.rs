//! What of a seed is left out: fewer members, fewer faults, a network without flaws. Everything else is drawn as it is without that, so
//! that a run which breaks a promise can be made smaller bit by bit, and shown again by its seed and this text.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use super::load::{Levels, Load};
use super::network::Conditions;
use super::world::World;
use crate::types::Micros;

/// What is kept of one seed. The default keeps everything.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trim {
    /// Only these nodes are there; the others are not listed anywhere either.
    pub nodes: Option<BTreeSet<usize>>,
    /// Only these faults are made, by their numbers.
    pub faults: Option<BTreeSet<u32>>,
    /// So many visitors come at most. With none there are no guests either.
    pub visitors: Option<usize>,
    /// Nothing is lost, doubled or late by chance.
    pub plain_network: bool,
    /// Hosts send less, or nothing.
    pub load: Option<LessLoad>,
    /// There is no drill.
    pub no_drill: bool,
    /// Faults stop at this time at the latest, in microseconds.
    pub stop_at: Option<Micros>,
}

/// How much less hosts send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LessLoad {
    /// A tenth as often, and one small message at a time to everybody.
    Little,
    /// Nothing, until the last messages.
    Nothing,
}

impl Trim {
    /// Whether a node is there.
    pub fn has_node(&self, node: usize) -> bool {
        self.nodes.as_ref().is_none_or(|nodes| nodes.contains(&node))
    }

    /// Whether a fault is made.
    pub fn has_fault(&self, number: u32) -> bool {
        self.faults.as_ref().is_none_or(|faults| faults.contains(&number))
    }

    /// The network that is left.
    pub(super) fn conditions(&self, drawn: Conditions) -> Conditions {
        match self.plain_network {
            true => Conditions { latency_us: drawn.latency_us, ..Conditions::LAN },
            false => drawn,
        }
    }

    /// Takes nodes and load out of a world whose nodes are added and not started.
    pub(super) fn apply(&self, world: &mut World) {
        let gone: BTreeSet<_> = (0..world.nodes.len())
            .filter(|node| !self.has_node(*node))
            .map(|node| world.nodes[node].setup.name.clone())
            .collect();
        for (node, slot) in world.nodes.iter_mut().enumerate() {
            slot.absent = !self.has_node(node);
            slot.setup.voters.retain(|name| !gone.contains(name));
            slot.setup.seeds.retain(|seed| seed.name.as_ref().is_none_or(|name| !gone.contains(name)));
            slot.load = match (self.load, slot.load) {
                (None, load) => load,
                (Some(LessLoad::Nothing), _) => None,
                (_, load) => {
                    load.map(|load| Load { every_us: load.every_us * 10, burst: 0, direct: 0, large: 0, ..load })
                }
            };
        }
        if self.load.is_some() {
            world.settings.levels = Levels::default();
        }
    }
}

impl Display for Trim {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let list = |numbers: &mut dyn Iterator<Item = u64>| {
            let words: Vec<String> = numbers.map(|n| n.to_string()).collect();
            if words.is_empty() { "none".to_owned() } else { words.join("+") }
        };
        let mut words = Vec::new();
        words.extend(self.nodes.as_ref().map(|n| format!("nodes={}", list(&mut n.iter().map(|n| *n as u64)))));
        words.extend(self.faults.as_ref().map(|n| format!("faults={}", list(&mut n.iter().map(|n| u64::from(*n))))));
        words.extend(self.visitors.map(|count| format!("visitors={count}")));
        words.extend(self.plain_network.then(|| "network=plain".to_owned()));
        words.extend(self.load.map(|load| match load {
            LessLoad::Little => "load=little".to_owned(),
            LessLoad::Nothing => "load=nothing".to_owned(),
        }));
        words.extend(self.no_drill.then(|| "drill=none".to_owned()));
        words.extend(self.stop_at.map(|at| format!("stop={at}")));
        if words.is_empty() {
            words.push("all".to_owned());
        }
        f.write_str(&words.join(","))
    }
}

impl FromStr for Trim {
    type Err = String;

    fn from_str(text: &str) -> Result<Trim, String> {
        let mut trim = Trim::default();
        for word in text.split(',').filter(|word| *word != "all") {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            trim.read(key, value).ok_or_else(|| {
                format!(
                    "\"{word}\" is not one of nodes=N+N, faults=N+N, visitors=N, network=plain, load=little, load=nothing, drill=none, \
                     stop=MICROSECONDS, all"
                )
            })?;
        }
        Ok(trim)
    }
}

impl Trim {
    /// Takes one part of a text in; `None` if it is none.
    fn read(&mut self, key: &str, value: &str) -> Option<()> {
        match (key, value) {
            ("nodes", _) => self.nodes = Some(numbers(value)?),
            ("faults", _) => self.faults = Some(numbers(value)?),
            ("visitors", _) => self.visitors = Some(value.parse().ok()?),
            ("network", "plain") => self.plain_network = true,
            ("load", "little") => self.load = Some(LessLoad::Little),
            ("load", "nothing") => self.load = Some(LessLoad::Nothing),
            ("drill", "none") => self.no_drill = true,
            ("stop", _) => self.stop_at = Some(value.parse().ok()?),
            _ => return None,
        }
        Some(())
    }
}

fn numbers<T: FromStr + Ord>(text: &str) -> Option<BTreeSet<T>> {
    if text == "none" {
        return Some(BTreeSet::new());
    }
    text.split('+').map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let trim = Trim {
            nodes: Some([0, 3].into()),
            faults: Some(BTreeSet::new()),
            visitors: Some(2),
            plain_network: true,
            load: Some(LessLoad::Little),
            no_drill: true,
            stop_at: Some(12_000),
        };
        assert_eq!(
            trim.to_string(),
            "nodes=0+3,faults=none,visitors=2,network=plain,load=little,drill=none,stop=12000"
        );
        for trim in [trim, Trim::default()] {
            assert_eq!(trim.to_string().parse(), Ok(trim));
        }
        assert!("nodes=x".parse::<Trim>().is_err() && "members=3".parse::<Trim>().is_err());
    }
}
