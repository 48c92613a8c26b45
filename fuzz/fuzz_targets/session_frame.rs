//! See `decurion_fuzz::session_frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| decurion_fuzz::session_frame(data));
