//! Measures what a user could pick instead of this library, beside it, in the same run. `docs/BENCHMARKS.md` says how, and holds the
//! outcome.

mod chart;
// What only the bench itself uses of these two is not used here.
#[allow(dead_code)]
#[path = "../../../src/bin/decurion/clock.rs"]
mod clock;
mod drivers;
mod fleet;
mod measure;
mod ours;
mod page;
mod peer;
mod process;
mod report;
#[allow(dead_code)]
mod shared;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

#[derive(Parser, Debug)]
#[command(about = "Measures what a user could pick instead of Decurion, beside it, in the same run.")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Measure all in turn, round by round.
    Run(RunArguments),
    /// One process of a peer.
    #[command(hide = true)]
    Driver { peer: String, role: String, words: Vec<String> },
}

/// Flags of `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArguments {
    /// How long each measurement lasts.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub seconds: f64,
    /// How many rounds; in each, all are measured once, in turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub rounds: u32,
    /// Only these, by name; `decurion` is ours.
    #[arg(long, value_delimiter = ',')]
    pub peers: Vec<String>,
    /// Only these of `relay`, `latency` and `writes`.
    #[arg(long, value_delimiter = ',', default_value = "relay,latency,writes")]
    pub workloads: Vec<String>,
    /// Lengths of messages of `relay`.
    #[arg(long, value_delimiter = ',', default_value = "64,1024,65536")]
    pub sizes: Vec<usize>,
    /// Bytes under way to the slowest receiver, for peers that have no flow control of their own.
    #[arg(long, default_value_t = 16 << 20)]
    pub window_bytes: u64,
    /// Our command.
    #[arg(long, default_value = "target/release/decurion")]
    pub decurion: PathBuf,
    /// Where the Java drivers are built.
    #[arg(long, default_value = "benches/peers/java/target")]
    pub java: PathBuf,
    /// A directory with a file for each peer that could not be installed: its text says why.
    #[arg(long)]
    pub missing: Option<PathBuf>,
    /// The page that gets the tables; pictures go beside it.
    #[arg(long)]
    pub write: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.1..=600.0).contains(&seconds) { Ok(seconds) } else { Err("allowed: 0.1 to 600".to_owned()) }
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::Run(arguments) => measure::run(&arguments),
        Verb::Driver { peer, role, words } => {
            drivers::Job::parse(&peer, &role, &words).and_then(|job| drivers::run(&job)).map(|()| ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("peers: {error}");
        ExitCode::FAILURE
    })
}
