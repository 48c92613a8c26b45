//! What drives a [`crate::core::Member`] in the real world: sockets behind mio, clock, threads, and the hand-over to and
//! from the host's threads.
//!
//! The [`Reactor`] does one [`Reactor::turn`] at a time; [`Runs`] says who calls it: a thread of its own, or the host's loop.

pub(crate) mod atomic;
mod bell;
mod clock;
mod desk;
mod epoll;
mod eventfd;
mod events;
pub(crate) mod fork;
mod journal;
mod launch;
pub mod lent;
pub mod multicast;
mod offer;
mod reactor;
mod resolver;
mod runs;
mod session;
mod shared;
mod signal;
mod socket;
pub(crate) mod thread;
mod transport;

#[cfg(test)]
pub(crate) use eventfd::readable;
pub use events::EventSource;
pub use journal::{LogSink, ended_text};
pub use launch::{GroupSettings, Launched, Parts, launch};
pub use offer::{Source, deadline_after};
pub use reactor::{Handler, Reactor, Turn};
pub use runs::{Hosted, Runs};
pub use session::{Waited, draw_id};
#[cfg(test)]
pub(crate) use shared::REQUEST_PANIC;
pub use shared::{Effort, Life, REQUEST_LEAVE, REQUEST_READY, Report, Shared, ViewSnapshot};
pub use socket::Buffers;
