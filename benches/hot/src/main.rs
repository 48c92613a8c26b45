//! `hot list`, `hot run PIECE`, `hot counts [--bless] [PIECE…]`: runs pieces, and holds the instructions that they take to the
//! table `instructions.tsv`.

mod counts;

use std::process::ExitCode;

use decurion_hot::{How, Meter, PLANTED, Piece};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["list"] => {
            Piece::all().for_each(|piece| println!("{}", piece.name));
            ExitCode::SUCCESS
        }
        ["run", name, rounds] => match (known(name), rounds.parse()) {
            (Some(piece), Ok(rounds)) => run(piece, rounds),
            _ => usage(),
        },
        ["counts", ref rest @ ..] => counts::gate(rest),
        _ => usage(),
    }
}

/// A piece, or the one that shows that the gate sees.
fn known(name: &str) -> Option<&'static Piece> {
    Piece::named(name).or((name == PLANTED.name).then_some(&PLANTED))
}

fn usage() -> ExitCode {
    eprintln!("usage: hot list | run PIECE ROUNDS | counts [--bless] [PIECE…]");
    ExitCode::from(2)
}

/// So many rounds, as callgrind sees them.
fn run(piece: &Piece, rounds: u64) -> ExitCode {
    let mut work = (piece.prepare)(How::Counted);
    if !piece.fresh {
        // What is allocated once, and what grows until it fits.
        work(&mut Meter::resting());
    }
    let mut meter = Meter::counting();
    (0..rounds).for_each(|_| work(&mut meter));
    ExitCode::SUCCESS
}
