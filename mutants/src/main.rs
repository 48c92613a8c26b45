//! Changes the core in every small way there is, and sees who notices: one build holds all changes, and a variable of the
//! environment chooses one while it runs. How it works, and what was found: `docs/MUTANTS.md`.

mod checks;
mod find;
mod render;
mod report;
mod tree;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use checks::{Check, End, Stage};
use clap::Parser;
use report::Outcome;
use tree::{Mutant, Tree};

/// Files of tests that take minutes, or need no second look because the tool itself does what they do.
const NOT_TESTS: &[&str] = &["sim_plants", "sim_swarm", "sim_scenarios", "sim_shrink"];
/// What the names of tests begin with that concern the core.
const TESTS: &[&str] = &["core", "sim_", "session", "wire", "runtime_"];

/// Changes the core in small ways, one at a time, and sees which seed, scenario or test notices.
#[derive(Parser)]
struct Arguments {
    /// So many changes, drawn at random; 0 = all.
    #[arg(long, default_value_t = 100)]
    sample: usize,
    /// What they are drawn by.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only in files whose path holds this.
    #[arg(long, default_value = "")]
    file: String,
    /// Only on this line of them.
    #[arg(long)]
    line: Option<usize>,
    /// Processes at one time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// No change is begun after so many seconds of trying.
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
    /// Seeds of the simulator that each change must survive.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// Checks that take longer on the unchanged core, in seconds, are left out.
    #[arg(long, default_value_t = 20.0)]
    slowest: f64,
    /// Only checks whose name holds this, as a look at new tests: nothing is noted.
    #[arg(long, default_value = "")]
    checks: String,
    /// Try again what an earlier run has tried.
    #[arg(long)]
    again: bool,
    /// Only say how many changes there are.
    #[arg(long)]
    list: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the library's directory");
    let base = root.join("target/mutants");
    let mut tree = Tree::new(root);
    tree.build();
    let mutants = tree.mutants();
    eprintln!("{} changes that compile, {} that do not", mutants.len(), tree.dropped());
    if arguments.list {
        return println!("{}", report::table(&mutants, &[]));
    }
    let programs = tree.programs(&tests(root));
    let checks = match arguments.checks.as_str() {
        "" => checks::record(&programs, tree.stamp(), arguments.seeds, arguments.jobs, &base),
        some => checks::record_some(&programs, arguments.seeds, arguments.jobs, &base, some),
    };
    let slowest = Duration::from_secs_f64(arguments.slowest);
    let checks: Vec<Check> = checks.into_iter().filter(|check| check.took() <= slowest).collect();
    let reached = checks::reached(&checks);
    let passed = mutants.iter().filter(|mutant| reached.contains_key(&mutant.number)).count();
    eprintln!("{} checks pass {passed} of {} changes", checks.len(), mutants.len());

    let looks = !arguments.checks.is_empty();
    let outcomes = base.join(if looks { "looks.jsonl" } else { "outcomes.jsonl" });
    let known = if arguments.again || looks { Vec::new() } else { report::known(&outcomes, &mutants) };
    let outcome_of = |mutant: Mutant| {
        let known = known.iter().find(|outcome| outcome.mutant.number == mutant.number);
        known.cloned().unwrap_or_else(|| Outcome::new(mutant))
    };
    let mut drawn: Vec<Outcome> = draw(&mutants, &arguments).into_iter().map(outcome_of).collect();
    try_each(&mut drawn, &checks, &arguments, &outcomes, &base);
    println!("{}", report::table(&mutants, &drawn));
}

/// The names of the test programs that concern the core.
fn tests(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root.join("tests")).expect("the tests' directory");
    // A program of several files is a directory that holds `main.rs`.
    let names = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let program = path.is_file() || path.join("main.rs").is_file();
        Some(path.file_stem()?.to_str()?.to_owned()).filter(|_| program)
    });
    let concerns = |name: &String| TESTS.iter().any(|t| name.starts_with(t)) && !NOT_TESTS.contains(&name.as_str());
    let mut names: Vec<String> = names.filter(concerns).collect();
    names.sort();
    names
}

/// A sample, in an order that depends on nothing but the seed: a longer one begins with a shorter one.
fn draw(mutants: &[Mutant], arguments: &Arguments) -> Vec<Mutant> {
    let mut state = arguments.seed;
    let mut keyed: Vec<(u64, &Mutant)> = mutants.iter().map(|mutant| (next(&mut state), mutant)).collect();
    keyed.retain(|(_, m)| m.file.contains(&arguments.file) && arguments.line.is_none_or(|line| m.line == line));
    keyed.sort_by_key(|(key, _)| *key);
    let count = if arguments.sample == 0 { keyed.len() } else { arguments.sample };
    keyed.into_iter().take(count).map(|(_, mutant)| mutant.clone()).collect()
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Tries all with what is cheap before any with what is not.
fn try_each(drawn: &mut [Outcome], checks: &[Check], arguments: &Arguments, file: &PathBuf, base: &Path) {
    let until = Instant::now() + Duration::from_secs(arguments.seconds);
    let file = OpenOptions::new().append(true).create(true).open(file).expect("a file for what was found");
    let file = Mutex::new(file);
    for (index, stage) in Stage::ALL.iter().enumerate() {
        let of_stage: Vec<&Check> = checks.iter().filter(|check| check.stage() == *stage).collect();
        let undecided: Vec<&mut Outcome> =
            drawn.iter_mut().filter(|o| o.caught.is_none() && o.stages == index).collect();
        eprintln!("{stage:?}: {} changes", undecided.len());
        let next = Mutex::new(undecided.into_iter());
        checks::on_threads(arguments.jobs, base, |work| {
            while Instant::now() < until {
                let Some(outcome) = next.lock().expect("no thread panics").next() else { return };
                try_one(outcome, &of_stage, work);
                outcome.stages = index + 1;
                writeln!(file.lock().expect("no thread panics"), "{}", outcome.to_json()).expect("a line is written");
            }
        });
    }
}

/// Tries one check after the other that passes the change, until one notices.
fn try_one(outcome: &mut Outcome, checks: &[&Check], work: &Path) {
    let number = outcome.mutant.number;
    for check in checks.iter().filter(|check| check.passes.contains(&number)) {
        outcome.checks += 1;
        if let End::Badly(how) = check.run(number, work) {
            // What a busy machine spoils now and then is tried once more.
            if check.kind == "tests" && matches!(check.run(number, work), End::Well) {
                continue;
            }
            outcome.caught = Some((check.kind.to_owned(), check.name.clone(), how));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_sample_begins_with_a_shorter_one() {
        let mutant = |number| Mutant {
            number,
            file: format!("src/core/{}.rs", number % 3),
            line: 1,
            kind: "left out",
            original: String::new(),
            text: String::new(),
        };
        let mutants: Vec<Mutant> = (1..100).map(mutant).collect();
        let numbers = |sample: &str, file: &str| -> Vec<u32> {
            let arguments = Arguments::parse_from(["mutants", "--sample", sample, "--file", file]);
            draw(&mutants, &arguments).iter().map(|m| m.number).collect()
        };
        let (short, long) = (numbers("10", ""), numbers("50", ""));
        assert_eq!((short.len(), &short[..]), (10, &long[..10]));
        assert_ne!(short, (1..11).collect::<Vec<u32>>());
        assert!(numbers("0", "core/2").iter().all(|n| n % 3 == 2) && numbers("0", "core/2").len() == 33);
    }
}
