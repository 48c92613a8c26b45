//! `decurion simulate --enumerate`: small cases, gone through state by state.

use decurion::core::Plant;
use decurion::sim::enumerate::{Bounds, Report, cases, explore_all, follow};
use serde_json::{Value, json};

use super::arguments::SimulateArguments;
use super::output::{Exit, Failure, Outcome, Output};

/// Runs the verb's form for small cases.
pub fn run(wanted: &str, plant: Option<Plant>, arguments: &SimulateArguments, output: &Output) -> Outcome {
    if wanted == "list" {
        return Ok(list(output));
    }
    let all: Vec<(&str, String)> = cases().collect();
    let chosen = |name: &str| wanted == "all" || name == wanted || name.split('/').next() == Some(wanted);
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).filter(|name| chosen(name)).collect();
    if names.is_empty() {
        let text = format!("--enumerate {wanted}: there is no such case; `--enumerate list` shows them all");
        return Err(Failure::new(Exit::Usage, text));
    }
    if let Some(script) = &arguments.script {
        return tell(names[0], script, plant, arguments, output);
    }
    let defaults = Bounds::default();
    let deviations = arguments.deviations.as_deref().map(deviations_of).transpose()?;
    let most_states = arguments.states.unwrap_or(defaults.most_states);
    let bounds = Bounds { plant, deviations, most_states, ..defaults };
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = if arguments.jobs == 0 { processors() } else { arguments.jobs };
    let done = |report: &Report| {
        output.line("case", fields(report, plant));
        output.table(&line(report));
    };
    let reports = explore_all(&names, &bounds, jobs, &done);
    Ok(conclude(&reports, plant, output))
}

fn deviations_of(text: &str) -> Result<Option<u8>, Failure> {
    match text {
        "all" => Ok(None),
        number => number.parse().map(Some).map_err(|_| {
            Failure::new(Exit::Usage, format!("--deviations {text}: write a number from 0 to 255, or \"all\""))
        }),
    }
}

fn list(output: &Output) -> Exit {
    let all: Vec<(&str, String)> = cases().collect();
    let width = all.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    all.iter().for_each(|(name, about)| output.table(&format!("{name:width$}  {about}")));
    let fields = |(name, about): &(&str, String)| json!({ "name": name, "about": about });
    output.summary(true, json!({ "cases": all.iter().map(fields).collect::<Vec<_>>() }));
    Exit::Fine
}

/// Follows a script, and writes what happens.
fn tell(name: &str, script: &str, plant: Option<Plant>, arguments: &SimulateArguments, output: &Output) -> Outcome {
    let lines = follow(name, script, plant).map_err(|text| Failure::new(Exit::Usage, format!("--script: {text}")))?;
    let broken = lines.iter().filter(|line| line.contains("BROKEN")).count();
    match &arguments.trace {
        Some(file) => std::fs::write(file, lines.join("\n") + "\n").map_err(|error| {
            Failure::new(Exit::Environment, format!("--trace {}: cannot write it: {error}", file.display()))
        })?,
        None => lines.iter().for_each(|line| output.say(line)),
    }
    output.summary(broken == 0, json!({ "case": name, "lines": lines.len(), "violations": broken }));
    Ok(if broken == 0 { Exit::Fine } else { Exit::Broken })
}

fn line(report: &Report) -> String {
    format!(
        "{:28} {:>9} states, {:>9} steps, {:>5} ends, depth {:>4}, {}",
        report.case,
        report.states,
        report.transitions,
        report.terminal_states,
        report.depth,
        extent(report)
    )
}

/// What was left out, if anything.
fn extent(report: &Report) -> String {
    match report.deviations {
        _ if report.stopped => "stopped at a bound".to_owned(),
        None => "complete".to_owned(),
        Some(most) => format!("bounded: {most} deviations"),
    }
}

fn fields(report: &Report, plant: Option<Plant>) -> Value {
    json!({
        "case": report.case,
        "states": report.states,
        "transitions": report.transitions,
        "terminal_states": report.terminal_states,
        "depth": report.depth,
        "complete": report.is_complete(),
        "extent": extent(report),
        "violations": violations(report, plant),
    })
}

fn violations(report: &Report, plant: Option<Plant>) -> Vec<Value> {
    let planted = plant.and_then(|plant| Plant::ALL.iter().find(|(p, ..)| *p == plant)).map(|entry| entry.1);
    let plant = planted.map(|name| format!(" --plant {name}")).unwrap_or_default();
    let replay = |script: &str| format!("decurion simulate --enumerate {} --script \"{script}\"{plant}", report.case);
    let fields = |broken: &decurion::sim::enumerate::Broken| json!({ "guarantee": broken.guarantee, "text": broken.text, "replay": replay(&broken.script) });
    report.findings.iter().map(fields).collect()
}

fn conclude(reports: &[Report], plant: Option<Plant>, output: &Output) -> Exit {
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let (states, transitions) = (sum(|r| r.states), sum(|r| r.transitions));
    let complete = reports.iter().filter(|report| report.is_complete()).count();
    let broken: Vec<Value> = reports.iter().flat_map(|report| violations(report, plant)).collect();
    for violation in &broken {
        let text = |key: &str| violation[key].as_str().unwrap_or_default().to_owned();
        output.say(&format!("{} is broken: {}\n    {}", text("guarantee"), text("text"), text("replay")));
    }
    output.table(&format!(
        "{states} states and {transitions} steps in {} cases, {complete} of them complete; {} violations",
        reports.len(),
        broken.len()
    ));
    let fine = broken.is_empty();
    output.summary(
        fine,
        json!({
            "states": states,
            "transitions": transitions,
            "cases": reports.len(),
            "complete": complete,
            "violations": broken,
        }),
    );
    if fine { Exit::Fine } else { Exit::Broken }
}
