//! See `decurion_fuzz::c_calls`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| decurion_fuzz::c_calls(data));
