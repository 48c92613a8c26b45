//! `decurion bench`: what members as real processes reach, and beside each measurement what plain sockets reach over the same
//! links, in interleaved pairs.

pub mod allocations;
mod burst;
mod child;
mod failover;
mod figures;
mod fleet;
pub mod idle;
pub mod measure;
pub mod member;
mod pace;
mod payload;
mod plan;
mod process;
mod protocol;
pub mod raw;
mod report;
mod restore;
mod share;
mod slow;
mod veth;
mod writer;

use std::time::Instant;

use crate::arguments::{BenchArguments, HostMode, Network, Workload};
use crate::output::{Exit, Failure, Outcome, Output};
use crate::signals;
use clap::{Args, FromArgMatches};
use fleet::Stage;
use measure::Measured;
use plan::Plan;
use process::Heard;
use report::Report;

/// Runs the verb.
pub fn run(arguments: &BenchArguments, output: &Output) -> Outcome {
    let plan = Plan::new(arguments)?;
    let stage = stage(plan)?;
    if cfg!(debug_assertions) {
        output.say("this is a build without optimisation: its figures say nothing");
    }
    match stage.plan.workload {
        Workload::Failover => failover::run(&stage, output),
        Workload::Idle => idle::run(&stage, output),
        Workload::Slow => slow::run(&stage, output),
        Workload::Restore => restore::run(&stage, output),
        _ => pairs(&stage, output),
    }
}

/// What the words of a command line measure, for the tables of another verb.
fn planned(words: &[String]) -> Result<Stage, Failure> {
    let usage = |error: clap::Error| Failure::new(Exit::Usage, error.to_string());
    let command = BenchArguments::augment_args(clap::Command::new("decurion bench").no_binary_name(true));
    let matches = command.try_get_matches_from(words).map_err(usage)?;
    stage(Plan::new(&BenchArguments::from_arg_matches(&matches).map_err(usage)?)?)
}

/// One pair of what `decurion bench` with these words measures: ours and raw.
pub fn measure(words: &[String]) -> Result<(Measured, Measured), Failure> {
    measure::pair(&planned(words)?, 0)
}

/// The same of members that rest.
pub fn rest(words: &[String]) -> Result<idle::Pair, Failure> {
    idle::pair(&planned(words)?, 0)
}

fn stage(plan: Plan) -> Result<Stage, Failure> {
    let (to_bench, heard) = crossbeam_channel::unbounded();
    let to = to_bench.clone();
    signals::watch(&[], move |_| drop(to.send(Heard::Signal)))?;
    let deadline = Instant::now() + plan.bound();
    let networks = || veth::Networks::new(plan.members, plan.rate_mbit);
    let networks = (plan.network == Network::Veth).then(networks).transpose()?;
    Ok(Stage { plan, heard, to_bench, deadline, networks })
}

/// Ours, raw, ours, raw, and so on.
fn pairs(stage: &Stage, output: &Output) -> Outcome {
    let mut report = Report::new(&stage.plan, output);
    for number in 0..stage.plan.pairs {
        let (ours, raw) = measure::pair(stage, number)?;
        report.add(ours, raw);
    }
    Ok(report.finish())
}

impl From<HostMode> for protocol::Mode {
    fn from(mode: HostMode) -> protocol::Mode {
        match mode {
            HostMode::Handler => protocol::Mode::Handler,
            HostMode::Poll => protocol::Mode::Poll,
            HostMode::Loop => protocol::Mode::Loop,
        }
    }
}
