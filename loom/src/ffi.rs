//! The files of the library's `ffi`.

#[path = "../../src/ffi/handle.rs"]
mod handle;

pub mod handle_model;
