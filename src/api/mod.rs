//! The Rust face: what a host holds in its hands.

mod claim;
pub mod config;
mod engine;
mod resolved;
mod session;

pub use claim::Claim;
pub use config::Config;
pub use engine::{Engine, Level, Mode};
pub use resolved::{GroupSettings, Resolved};
pub use session::{Cookie, Session, SessionChange, attributes};

pub use crate::core::{
    Ended, Event, LinkReport, MemberRef, Message, Messages, SessionAnswer, SessionOp, Stats, To, ViewChange,
};
pub use crate::runtime::{Effort, LogSink, ViewSnapshot};
pub use crate::types::{Code, Error, Incarnation, Index, MemberInfo, MemberTag, Name, Result, SessionId, View, ViewId};
pub use crate::wire::session::Attributes;
