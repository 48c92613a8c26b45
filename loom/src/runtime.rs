//! The files of the library's `runtime`, and what stands for their neighbours.

use std::sync::atomic::{AtomicU64, Ordering};

#[path = "../../src/runtime/bell.rs"]
pub mod bell;
#[path = "../../src/runtime/signal.rs"]
pub mod signal;

pub mod bell_model;
pub mod eventfd;
pub mod signal_model;

/// loom's atomics.
pub mod atomic {
    pub use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};
}

/// Nobody forks here.
pub mod fork {
    /// As the library's.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum AfterFork {
        Close,
        Replace,
    }

    pub fn generation() -> u32 {
        0
    }

    pub fn install_handlers() {}
}

/// Interleavings of the model that is running.
pub static RUNS: AtomicU64 = AtomicU64::new(0);

/// Runs a model in every interleaving with at most so many preemptions.
pub fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        RUNS.fetch_add(1, Ordering::Relaxed);
        model();
    });
}
