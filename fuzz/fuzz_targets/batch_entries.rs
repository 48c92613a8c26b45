//! See `decurion_fuzz::batch_entries`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| decurion_fuzz::batch_entries(data));
