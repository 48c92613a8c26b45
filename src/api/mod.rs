//! The Rust face: what a host holds in its hands.

pub mod config;
mod engine;
mod resolved;

pub use config::Config;
pub use engine::{Engine, Level, Mode};
pub use resolved::Resolved;

pub use crate::core::{Ended, Event, LinkReport, MemberRef, Message, Messages, Stats, To, ViewChange};
pub use crate::runtime::{LogSink, ViewSnapshot};
pub use crate::types::{Code, Error, Incarnation, Index, MemberInfo, Name, Result, View, ViewId};
