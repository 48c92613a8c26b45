//! Instructions that pieces take, counted by valgrind's callgrind and held to a table.
//!
//! Each piece runs in a process of its own, without its preparation and a first round, which are not counted. So a count differs from run to run by
//! nothing or a few of a million, on the same processor or another one: the bound is for the compiler's own changes of mind.

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use decurion_hot::table::{Table, Verdict};
use decurion_hot::{COUNTED, PLANTED, Piece};

const TABLE: &str = "instructions.tsv";
/// What a piece may take more than in the table.
const BOUND: f64 = 0.03;
/// Valgrind shows one and the same processor on all that have AVX2, but the C library chooses its copying by more than that: the choice is
/// taken from it.
const TUNABLES: &str =
    "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-AVX,-AVX_Usable,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM,-AVX512F,-AVX512VL";

/// Counts pieces (all, without names) and compares; `--bless` makes the table anew.
pub fn gate(words: &[&str]) -> ExitCode {
    let names: Vec<&&str> = words.iter().filter(|word| !word.starts_with("--")).collect();
    if let Some(unknown) = names.iter().find(|name| Piece::named(name).is_none()) {
        eprintln!("hot: there is no piece '{unknown}'; `hot list` names them");
        return ExitCode::from(2);
    }
    let chosen = |piece: &&Piece| names.is_empty() || names.iter().any(|name| **name == piece.name);
    let pieces: Vec<&Piece> = Piece::all().filter(chosen).chain([&PLANTED]).collect();
    let counts = match count_all(&pieces) {
        Ok(counts) => counts,
        Err(why) => {
            eprintln!("hot: {why}");
            return ExitCode::FAILURE;
        }
    };
    if words.contains(&"--bless") {
        return write(counts);
    }
    compare(&Table::read(TABLE), &pieces, &counts)
}

fn compare(table: &Table, pieces: &[&Piece], counts: &BTreeMap<&str, f64>) -> ExitCode {
    println!("{}", Table::head("instructions"));
    let mut failed = Vec::new();
    for piece in pieces.iter().filter(|piece| piece.name != PLANTED.name) {
        let now = counts[piece.name];
        println!("{}", table.line(piece.name, piece.of, now, BOUND));
        if matches!(table.judge(piece.name, now, BOUND), Verdict::Worse | Verdict::Unknown) {
            failed.push(piece.name);
        }
    }
    // A gate that has gone blind is seen: a tenth more than a piece takes in this very run must not pass for it.
    let figure = |now: &f64| (PLANTS_IN.to_owned(), *now);
    let here = Table { about: String::new(), figures: counts.get(PLANTS_IN).map(figure).into_iter().collect() };
    let planted = here.judge(PLANTS_IN, counts[PLANTED.name], BOUND);
    if !matches!(planted, Verdict::Worse | Verdict::Unknown) {
        failed.push(PLANTED.name);
        println!("{} is {planted:?}: a tenth more than {PLANTS_IN} was to be noticed", PLANTED.name);
    }
    if failed.is_empty() {
        println!("hot: no piece takes over {BOUND} more than in {TABLE}");
        return ExitCode::SUCCESS;
    }
    println!("hot: out of bounds: {}", failed.join(", "));
    println!("The table was made with {}, this is {}.", table.about, about());
    println!("If it is worth it, or another compiler's doing: `make counts-bless`, and say why in the commit.");
    ExitCode::FAILURE
}

/// What the planted piece does a tenth more of.
const PLANTS_IN: &str = "header_walk";

fn write(mut counts: BTreeMap<&str, f64>) -> ExitCode {
    counts.remove(PLANTED.name);
    let mut table = Table::read(TABLE);
    table.about = about();
    table.figures.extend(counts.into_iter().map(|(name, count)| (name.to_owned(), count)));
    table.figures.retain(|name, _| Piece::named(name).is_some());
    table.write(TABLE);
    println!("hot: wrote {}", Table::path(TABLE).display());
    ExitCode::SUCCESS
}

/// The compiler and valgrind, by their own words.
fn about() -> String {
    let say = |command: &str| {
        let output = Command::new(command).arg("--version").output();
        output.map_or_else(|e| e.to_string(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
    };
    format!("{}, {}", say("rustc"), say("valgrind"))
}

/// Instructions of each piece for one of its units, several pieces at one time.
fn count_all<'a>(pieces: &[&'a Piece]) -> Result<BTreeMap<&'a str, f64>, String> {
    let (next, counts) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let jobs = std::thread::available_parallelism().map_or(1, usize::from).min(pieces.len());
    // Long ones first, so that none is waited for at the end.
    let mut pieces = pieces.to_vec();
    pieces.reverse();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let counted = count(piece);
                    counts.lock().expect("nobody panics with it").insert(piece.name, counted);
                }
            });
        }
    });
    let counts = counts.into_inner().expect("nobody panics with it");
    counts.into_iter().map(|(name, counted)| Ok((name, counted.map_err(|why| format!("{name}: {why}"))?))).collect()
}

fn count(piece: &Piece) -> Result<f64, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect=*{COUNTED}*"))
        .arg(program)
        .args(["run", piece.name, &piece.rounds.to_string()])
        // The environment lies on the stack, and moves it.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("GLIBC_TUNABLES", TUNABLES)
        .output()
        .map_err(|e| format!("valgrind: {e}; `make tools` installs it"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    match collected(&said).filter(|_| output.status.success()) {
        Some(count) => Ok(count as f64 / (piece.rounds * piece.units) as f64),
        None => Err(format!("{}, and nothing was counted:\n{said}", output.status)),
    }
}

/// What callgrind says at its end; nothing if it has counted nothing.
fn collected(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.split_once("Collected :"))?.1;
    line.trim().parse().ok().filter(|count| *count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callgrind_says_is_understood() {
        let said = "==7== \n==7== Events    : Ir\n==7== Collected : 22626\n==7== \n";
        assert_eq!(collected(said), Some(22_626));
        assert_eq!(collected(&said.replace("22626", "0")), None);
        assert_eq!(collected("==7== something else\n"), None);
    }

    #[test]
    fn a_piece_that_takes_more_and_a_gate_that_is_blind_fail() {
        let piece = Piece::named(PLANTS_IN).expect("a piece");
        let table = Table { about: String::new(), figures: [(PLANTS_IN.to_owned(), 100.0)].into() };
        let verdict = |now: f64, planted: f64| {
            compare(&table, &[piece, &PLANTED], &[(piece.name, now), (PLANTED.name, planted)].into())
        };
        assert_eq!(verdict(102.9, 113.0), ExitCode::SUCCESS);
        assert_eq!(verdict(50.0, 55.0), ExitCode::SUCCESS);
        assert_eq!(verdict(103.1, 113.0), ExitCode::FAILURE);
        assert_eq!(verdict(100.0, 102.0), ExitCode::FAILURE);
        assert_eq!(
            compare(&Table::default(), &[piece, &PLANTED], &[(piece.name, 1.0), (PLANTED.name, 2.0)].into()),
            ExitCode::FAILURE
        );
    }
}
