//! `decurion simulate --scenario`: named scenarios, after what went wrong in other systems.

use std::ops::RangeInclusive;

use decurion::core::Plant;
use decurion::sim::{Outcome as SeedOutcome, SCENARIOS, Scenario, Summary};
use serde_json::json;

use super::arguments::SimulateArguments;
use super::output::{Exit, Failure, Outcome, Output};
use super::simulate::{conclude, range, write_trace};

/// Plays one scenario, or all, and checks every promise.
pub fn run(name: &str, plant: Option<Plant>, arguments: &SimulateArguments, output: &Output) -> Outcome {
    let scenarios = match name {
        "list" => return Ok(list(output)),
        "all" => SCENARIOS.to_vec(),
        name => vec![Scenario::by_name(name).ok_or_else(|| unknown(name))?],
    };
    let seeds = match (arguments.seed, arguments.seeds.as_deref()) {
        (Some(seed), _) => Some(seed..=seed),
        (None, Some(text)) => Some(range(text)?),
        (None, None) => None,
    };
    if let Some(file) = &arguments.trace {
        let (&[scenario], Some(seed)) = (&scenarios[..], arguments.seed) else {
            let text = "--trace needs one scenario and one seed: --scenario NAME --seed S --trace FILE";
            return Err(Failure::new(Exit::Usage, text));
        };
        let (outcome, trace) = scenario.trace(seed, plant);
        write_trace(file, &trace)?;
        return Ok(conclude(&Summary::of(&[outcome]), plant, false, output));
    }
    let play = |scenario: &&Scenario| play(scenario, seeds.clone(), plant, output);
    let outcomes: Vec<SeedOutcome> = scenarios.iter().flat_map(play).collect();
    Ok(conclude(&Summary::of(&outcomes), plant, arguments.marks.is_some(), output))
}

fn play(
    scenario: &Scenario, seeds: Option<RangeInclusive<u64>>, plant: Option<Plant>, output: &Output,
) -> Vec<SeedOutcome> {
    let outcomes = scenario.run_all(seeds, plant);
    let broken = outcomes.iter().filter(|outcome| !outcome.is_clean()).count();
    output.say(&format!("{}: {} seeds, {broken} of them with a broken promise", scenario.name, outcomes.len()));
    outcomes
}

fn unknown(name: &str) -> Failure {
    let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
    Failure::new(Exit::Usage, format!("--scenario {name}: there is none of that name; there are: {}", names.join(", ")))
}

fn list(output: &Output) -> Exit {
    let width = SCENARIOS.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    let mut listed = Vec::new();
    for Scenario { name, about, seeds, shows, .. } in SCENARIOS {
        let shows: Vec<&str> = shows.iter().map(|plant| plant.name()).collect();
        output.table(&format!("{name:width$}  {about}; shows {} ({seeds} seeds)", shows.join(", ")));
        listed.push(json!({ "name": name, "about": about, "seeds": seeds, "shows": shows }));
    }
    output.summary(true, json!({ "scenarios": listed }));
    Exit::Fine
}
