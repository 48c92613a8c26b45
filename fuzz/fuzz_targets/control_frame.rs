//! See `decurion_fuzz::control_frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| decurion_fuzz::control_frame(data));
