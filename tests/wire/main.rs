//! The wire format: what is legal, what is refused, and that each has one encoding.

mod batch;
mod cast;
mod codec;
mod control;
mod corpus;
mod datagram;
mod probe;
mod proposal;
mod session;
