//! See `decurion_fuzz::batch_header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| decurion_fuzz::batch_header(data));
