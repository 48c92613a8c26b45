//! Models of what works without locks: every interleaving of a few threads that loom tells apart, on the library's own files.
//!
//! `make test-loom` runs all of them. A file of the library is compiled here as it is, in a module of the same name; what stands
//! beside it there (the system's descriptors, forks) is put in its place by something that loom can see through.
//!
//! loom treats sequentially consistent loads and stores as acquiring and releasing ones: what passes here needs no more than that.

#![allow(dead_code)] // the models use a part of each file

mod ffi;
mod runtime;
#[path = "../../src/types/error.rs"]
mod types;

use std::time::Instant;

fn main() {
    let models: &[(&str, fn())] = &[
        ("no ring of a bell is lost", runtime::bell_model::no_ring_is_lost),
        ("a bell in the host's own loop makes its descriptor readable", runtime::bell_model::no_ring_is_lost_in_a_loop),
        ("no event is left behind an unreadable descriptor", runtime::signal_model::no_event_is_left_behind),
        ("a descriptor that is asked for late tells what came before", runtime::signal_model::asked_for_late),
        ("an object lives until its last use ends", ffi::handle_model::lives_until_its_last_use_ends),
        ("a handle is closed once", ffi::handle_model::closed_once),
        ("an old handle never names a new object", ffi::handle_model::old_never_names_new),
        ("a guess sees nothing or all", ffi::handle_model::a_guess_sees_nothing_or_all),
        ("slots are given to one at a time", ffi::handle_model::slots_are_given_to_one_at_a_time),
    ];
    for (name, model) in models {
        let began = Instant::now();
        model();
        println!(
            "{name}: {} runs, {:.1} s",
            runtime::RUNS.swap(0, std::sync::atomic::Ordering::Relaxed),
            began.elapsed().as_secs_f32()
        );
    }
}
