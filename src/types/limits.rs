//! Bounds that the wire format fixes. What an operator may set is in the configuration.

/// Longest name of a member, in bytes.
pub const NAME_BYTES: usize = 64;
/// Longest name of a cluster, in bytes.
pub const CLUSTER_BYTES: usize = 64;
/// Most members of one view.
pub const MEMBERS: usize = 10_000;
/// A receive chunk; a batch with its header always fits one (R9).
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Largest area of messages in one batch (R3): with its header it fits a chunk.
pub const BATCH_BYTES: usize = 60 * 1024;
/// Longest message.
pub const MESSAGE_BYTES: usize = 64 * 1024 * 1024;
/// Longest message for which nobody is asked before it is sent (R28).
pub const UNASKED_BYTES: usize = 1024 * 1024;
/// Longest control frame between members that know each other.
pub const CONTROL_BYTES: usize = 2 * 1024 * 1024;
/// Longest frame from a peer that has not introduced itself yet.
pub const GREETING_BYTES: usize = 4 * 1024;
/// Longest datagram that is sent or accepted.
pub const DATAGRAM_BYTES: usize = 1_400;
/// However short packets are, datagrams to a multicast group may have so many bytes.
pub const LEAST_CAST_BYTES: usize = 600;
/// Longest text of a refusal.
pub const REASON_BYTES: usize = 512;
/// Longest value of a setting in a greeting: two of them, and their key, go whole into the text of a refusal.
pub const SETTING_BYTES: usize = 200;
/// Longest text of a member's tags.
pub const TAGS_BYTES: usize = 64;
/// Longest name of a session's attribute.
pub const ATTRIBUTE_NAME_BYTES: usize = 255;
/// Tokens of changes that a session remembers.
pub const TOKENS: usize = 8;
/// What a session's frame needs beside its attributes, at most.
pub const SESSION_OVERHEAD_BYTES: usize = 512;
/// Longest session: with its frame it is a message.
pub const SESSION_BYTES: usize = UNASKED_BYTES - SESSION_OVERHEAD_BYTES;
