//! See `decurion_fuzz::member_casts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| decurion_fuzz::member_casts(data));
