//! See `decurion_fuzz::datagram`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| decurion_fuzz::datagram(data));
