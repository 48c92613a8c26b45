//! Decurion: a cluster engine that a server embeds.
//!
//! Members find each other, agree who is there, send to all through group leaders, and notice within two seconds who
//! has died. No broker, no daemon, no async runtime: one event-loop thread or the host's own loop, and bounded memory.
//!
//! The layers, each using only those above it: [`types`], [`wire`], [`core`], then `runtime`, `api`, `ffi`; beside the
//! runtime stands the simulator (`sim`), which drives the very same [`core::Member`].

#![deny(unsafe_op_in_unsafe_fn)]
#![warn(missing_docs, missing_debug_implementations)]

pub mod api;
pub mod core;
pub mod ffi;
pub mod runtime;
#[cfg(feature = "sim")]
pub mod sim;
pub mod types;
pub mod wire;

pub use api::{
    Attributes, Code, Config, Cookie, Effort, Ended, Engine, Error, Event, Incarnation, Index, Level, LinkReport,
    LogSink, MemberInfo, MemberRef, MemberTag, Message, Messages, Mode, Name, Resolved, Result, Session, SessionAnswer,
    SessionChange, SessionId, SessionOp, Stats, To, View, ViewChange, ViewId, ViewSnapshot, attributes,
};

/// Compiles the example of the README with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
