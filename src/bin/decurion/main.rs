//! The `decurion` command: run a member, watch a cluster survive, ask a member, check a configuration, simulate, measure.
//!
//! Text for people goes to stderr; with `--json`, stdout carries JSON lines and nothing else.

mod arguments;
mod bench;
mod clock;
mod config;
mod demo;
mod enumerate;
mod mcast_test;
mod members;
mod node;
mod output;
mod scale;
mod scenario;
mod shrink;
mod signals;
mod simulate;
mod unbuilt;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Verb};
use output::{Exit, Output};

#[global_allocator]
static ALLOCATOR: bench::allocations::Counting = bench::allocations::Counting;

fn main() -> ExitCode {
    let words = arguments::with_default_verb(std::env::args_os());
    let json = words.iter().any(|word| word == "--json");
    let output = Output::new(json);
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&output, &error),
    };
    match run(arguments.verb, &output) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.fail(&failure);
            failure.exit.into()
        }
    }
}

fn run(verb: Verb, output: &Output) -> output::Outcome {
    match verb {
        Verb::Demo(arguments) => demo::run(&arguments, output),
        Verb::DemoMember(settings) => demo::member::run(&settings),
        Verb::Node(arguments) => node::run(&arguments, output),
        Verb::Members(arguments) => members::run(&arguments, output),
        Verb::Config(verb) => config::run(&verb, output),
        Verb::Simulate(arguments) => simulate::run(&arguments, output),
        Verb::Scale(arguments) => scale::run(&arguments, output),
        Verb::Bench(arguments) => bench::run(&arguments, output),
        Verb::BenchMember { spec } => bench::member::run(&spec),
        Verb::BenchRaw { spec } => bench::raw::run(&spec),
        Verb::McastTest(arguments) => mcast_test::run(&arguments, output),
    }
}

/// What clap has to say: help and version are no failure, everything else is a usage error.
fn usage(output: &Output, error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if !error.use_stderr() {
        return Exit::Fine.into();
    }
    output.summary(false, serde_json::json!({ "error": reason(&error.to_string()) }));
    Exit::Usage.into()
}

/// What is wrong, in one line: clap goes on with advice after an empty one.
fn reason(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.is_empty());
    lines.map(str::trim).collect::<Vec<_>>().join(" ").trim_start_matches("error: ").to_owned()
}
