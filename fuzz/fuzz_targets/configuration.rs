//! See `decurion_fuzz::configuration`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| decurion_fuzz::configuration(data));
