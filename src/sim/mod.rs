//! The simulator: whole clusters on a virtual clock, made from one seed, driving the very [`crate::core::Member`] that the
//! runtime drives.
//!
//! A [`World`] holds hosts, a network that loses, delays, repeats and reorders, byte-level connections with full send
//! buffers, processes that crash, pause and come back, and an application model that sends and receives. Checkers look at
//! every step. The same seed makes the same run, and the trace hash shows it.

mod check;
mod connection;
mod drill;
pub mod enumerate;
mod faults;
mod guests;
mod judge;
mod liveness;
mod load;
mod lurking;
mod mischief;
mod multicast;
mod named;
mod network;
mod node;
mod payload;
mod queue;
mod random;
mod run;
pub mod scale;
mod scenarios;
mod shrink;
mod story;
mod survey;
mod swarm;
mod trace;
mod transport;
mod trim;
mod turn;
mod visitors;
mod world;

pub use check::{Checks, Guarantee, Violation};
pub use faults::{FaultKind, Faults};
pub use load::{Levels, Load};
pub use named::{search, seeds_that_catch};
pub use network::{Conditions, PORT, address_of, host_of};
pub use node::{Node, State};
pub use random::{Random, fold};
pub use run::{Finding, Options, Outcome, Summary, run_seed, run_seeds, run_trimmed, trace_seed};
pub use scenarios::{SCENARIOS, Scenario};
pub use shrink::{Shrunk, Size, Told, shrink};
pub use survey::Traffic;
pub use swarm::{PROFILES, Profile, Swarm};
pub use trim::{LessLoad, Trim};
pub use world::{Settings, World, seed_of};
