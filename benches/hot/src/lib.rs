//! The hot pieces of the library, each as work that can be done again and again: timed by the bench `pieces`, and counted in
//! instructions by the command `hot`. What a piece needs around it (members without sockets, peers that are played) is made
//! once for both, and is not measured.

mod cluster;
mod meter;
mod pieces;
pub mod table;

pub use meter::{COUNTED, Meter};
pub use pieces::{How, PIECES, PLANTED, Piece, Work};
