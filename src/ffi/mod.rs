//! The C face: the nouns of the Rust face behind handles, status codes and panic guards.
//!
//! `include/decurion.h` is generated from this module (see `cbindgen.toml`); the comments here are its reference.
//! What holds for every function is said once, at the top of the header.
//!
//! - `handle` turns 64-bit ids into objects, [`guard`] keeps panics and `errno` on their side,
//! - [`config`], [`engine`], [`send`], [`view`], [`buffer`], [`stats`], [`logging`] hold the functions of one noun each,
//! - [`event`] is what a host sees, `shown` remembers what it may still look at.

#![allow(non_camel_case_types)]

pub mod buffer;
pub mod config;
pub mod engine;
pub mod event;
pub mod guard;
mod handle;
mod input;
pub mod logging;
pub mod send;
mod shown;
pub mod stats;
pub mod status;
mod unwind;
pub mod view;
