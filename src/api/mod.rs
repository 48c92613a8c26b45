//! The Rust face: what a host holds in its hands.

pub mod config;
mod resolved;

pub use config::Config;
pub use resolved::Resolved;
