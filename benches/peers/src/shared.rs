//! What `decurion bench` itself uses, from the very same files: the messages and their check, latencies, and the lines that
//! processes say. So every peer is held to what we are held to.

#[path = "../../../src/bin/decurion/bench/figures.rs"]
pub mod figures;
#[path = "../../../src/bin/decurion/bench/pace.rs"]
pub mod pace;
#[path = "../../../src/bin/decurion/bench/payload.rs"]
pub mod payload;
#[path = "../../../src/bin/decurion/bench/protocol.rs"]
pub mod protocol;
