//! Bytes to legal values and back. Nothing here panics on what the network sends, and payload is never copied.
//!
//! Every frame on a connection begins with the same eight bytes: type, flags, a 16-bit field, and the length of what
//! follows the header. A [`batch`] carries messages; everything else is [`control`]. [`datagram`]s carry heartbeats,
//! and what goes to a multicast group is a [`cast`]. A [`probe`] is no member's: the command tests multicast with it.

pub mod batch;
pub mod cast;
mod codec;
pub mod control;
pub mod datagram;
pub mod probe;
mod proposal;
pub mod session;

pub use codec::{Malformed, Reader, Sparse, Wire};
pub use proposal::{Proposal, Successor};

/// First byte of a batch; every other type is a control frame.
pub const BATCH_TYPE: u8 = 1;
/// The wire version that this build speaks, and the oldest that it understands.
pub const VERSION: u16 = 1;
