//! The Rust face: what a host holds in its hands.

mod resolved;

pub use resolved::Resolved;
