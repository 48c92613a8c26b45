//! The atomics of what works without locks. The models in `loom/` compile the very same files with loom's in their place.

pub use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};
