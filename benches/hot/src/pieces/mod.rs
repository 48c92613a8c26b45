//! The pieces, by name.

mod large;
mod send;
mod sessions;
mod streams;
mod wire;

use crate::meter::Meter;

/// Whether a piece is timed or counted: where the two need a different engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    Timed,
    Counted,
}

/// Does one round of a piece.
pub type Work = Box<dyn FnMut(&mut Meter)>;

/// A hot piece.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub name: &'static str,
    /// What figures are for one of.
    pub of: &'static str,
    /// How many of them a round has.
    pub units: u64,
    /// Rounds of a run that is counted, after one that is not.
    pub rounds: u64,
    /// Each round begins anew: no first one is needed.
    pub fresh: bool,
    pub prepare: fn(How) -> Work,
}

/// All of them, and what stands behind each in its file.
pub const PIECES: &[&[Piece]] = &[wire::PIECES, streams::PIECES, send::PIECES, sessions::PIECES, large::PIECES];

/// A tenth more than `header_walk`: not a piece, but what the gate must notice.
pub const PLANTED: Piece = wire::PLANTED;

impl Piece {
    const fn new(name: &'static str, of: &'static str, units: u64, rounds: u64, prepare: fn(How) -> Work) -> Piece {
        Piece { name, of, units, rounds, fresh: false, prepare }
    }

    /// All pieces in one row.
    pub fn all() -> impl Iterator<Item = &'static Piece> {
        PIECES.iter().copied().flatten()
    }

    /// The piece with this name.
    pub fn named(name: &str) -> Option<&'static Piece> {
        Piece::all().find(|piece| piece.name == name)
    }
}
