//! What became of each change, as lines of JSON and as a table.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::checks::Stage;
use crate::tree::Mutant;

/// The result of one change.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub mutant: Mutant,
    /// Checks that pass the change and were run, up to the one that caught it.
    pub checks: usize,
    /// Stages of checks that it has been through, of [`Stage::ALL`].
    pub stages: usize,
    /// Kind and name of the check that caught it, and what it said.
    pub caught: Option<(String, String, String)>,
}

impl Outcome {
    /// Before anything has been tried.
    pub fn new(mutant: Mutant) -> Outcome {
        Outcome { mutant, checks: 0, stages: 0, caught: None }
    }

    /// Nothing has noticed, and there is nothing left to try.
    fn survives(&self) -> bool {
        self.caught.is_none() && self.stages == Stage::ALL.len()
    }

    pub fn to_json(&self) -> Value {
        let Mutant { file, line, kind, original, text, .. } = &self.mutant;
        let caught = self.caught.as_ref().map(|(kind, name, how)| json!({ "kind": kind, "by": name, "how": how }));
        json!({
            "file": file, "line": line, "kind": kind, "original": original, "text": text,
            "checks": self.checks, "stages": self.stages, "caught": caught,
        })
    }

    /// The result of an earlier run, if this line is about `mutant`.
    fn from_json(line: &Value, mutant: &Mutant) -> Option<Outcome> {
        let text = |key: &str| line["caught"][key].as_str().map(str::to_owned);
        let count = |key: &str| line[key].as_u64().map_or(0, |n| n as usize);
        let caught = text("kind").zip(text("by")).zip(text("how")).map(|((kind, by), how)| (kind, by, how));
        (key_of(line) == key(mutant)).then(|| Outcome {
            mutant: mutant.clone(),
            checks: count("checks"),
            stages: count("stages"),
            caught,
        })
    }
}

fn key(mutant: &Mutant) -> String {
    let Mutant { file, line, kind, original, text, .. } = mutant;
    format!("{file}:{line}: {kind}: {original} -> {text}")
}

fn key_of(line: &Value) -> String {
    let text = |key: &str| line[key].as_str().unwrap_or("").to_owned();
    format!("{}:{}: {}: {} -> {}", text("file"), line["line"], text("kind"), text("original"), text("text"))
}

/// What earlier runs have found out about these changes.
pub fn known(path: &Path, mutants: &[Mutant]) -> Vec<Outcome> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let by_key: BTreeMap<String, &Mutant> = mutants.iter().map(|m| (key(m), m)).collect();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let outcomes = lines.filter_map(|line| Outcome::from_json(&line, by_key.get(&key_of(&line))?));
    let unique: BTreeMap<u32, Outcome> = outcomes.map(|outcome| (outcome.mutant.number, outcome)).collect();
    unique.into_values().collect()
}

/// A line for each file, and then each change that nothing noticed.
pub fn table(mutants: &[Mutant], outcomes: &[Outcome]) -> String {
    let mut files: BTreeMap<&str, [usize; 7]> = BTreeMap::new();
    for mutant in mutants {
        files.entry(&mutant.file).or_default()[0] += 1;
    }
    for outcome in outcomes {
        let row = files.entry(&outcome.mutant.file).or_default();
        row[1] += 1;
        row[column(outcome)] += 1;
    }
    let mut total = [0; 7];
    let mut out = String::from(
        "| file | mutants | tried | seeds | scenarios | tests | survive | undecided |\n|---|---|---|---|---|---|---|---|\n",
    );
    for (file, row) in &files {
        (0..7).for_each(|i| total[i] += row[i]);
        out.push_str(&row_of(file, row));
    }
    out.push_str(&row_of("all", &total));
    let mut survivors: Vec<&Outcome> = outcomes.iter().filter(|o| o.survives()).collect();
    survivors.sort_by_key(|o| o.mutant.number);
    for Outcome { mutant: Mutant { file, line, kind, original, text, .. }, checks, .. } in survivors {
        let (original, text) = (tidy(original), tidy(text));
        out.push_str(&format!("\n{file}:{line}: {kind} ({checks} checks pass it)\n    {original}\n    {text}\n"));
    }
    out
}

/// As a person writes it, not as tokens are printed.
fn tidy(tokens: &str) -> String {
    let pairs = [" . ", " :: ", " (", "( ", " )", " [", " ,", " ;", "& ", "! ", " ? ", "| | ", "* "];
    let to = [".", "::", "(", "(", ")", "[", ",", ";", "&", "!", "?", "|| ", "*"];
    let joined = tokens.replace(" && ", " \u{1} ").replace(" || ", " \u{2} ").replace(" * ", " \u{3} ");
    let tight = pairs.iter().zip(to).fold(joined, |text, (from, to)| text.replace(from, to));
    tight.replace('\u{1}', "&&").replace('\u{2}', "||").replace('\u{3}', "*")
}

fn column(outcome: &Outcome) -> usize {
    match outcome.caught.as_ref().map(|(kind, ..)| kind.as_str()) {
        Some("seeds") => 2,
        Some("scenarios") => 3,
        Some(_) => 4,
        None if outcome.survives() => 5,
        // The time was over.
        None => 6,
    }
}

fn row_of(name: &str, row: &[usize; 7]) -> String {
    let cells: Vec<String> = row.iter().map(usize::to_string).collect();
    format!("| {name} | {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(number: u32, caught: Option<&str>) -> Outcome {
        let (file, original, text) = ("src/core/a.rs".to_owned(), "a < b".to_owned(), "a <= b".to_owned());
        let mutant = Mutant { number, file, line: number as usize, kind: "as <=", original, text };
        let caught = caught.map(|kind| (kind.to_owned(), "somebody".to_owned(), "D1 is broken".to_owned()));
        Outcome { mutant, checks: 3, stages: Stage::ALL.len(), caught }
    }

    #[test]
    fn the_table_counts_who_caught_what_and_names_who_survives() {
        let begun = Outcome { stages: 1, ..outcome(4, None) };
        let outcomes = [outcome(1, Some("seeds")), outcome(2, Some("tests")), outcome(3, None), begun];
        let mutants: Vec<Mutant> = (1..=5).map(|n| outcome(n, None).mutant).collect();
        let text = table(&mutants, &outcomes);
        assert!(text.contains("| src/core/a.rs | 5 | 4 | 1 | 0 | 1 | 1 | 1 |"), "{text}");
        assert!(text.contains("src/core/a.rs:3: as <= (3 checks pass it)\n    a < b\n    a <= b"), "{text}");
        assert!(!text.contains("src/core/a.rs:2") && !text.contains("src/core/a.rs:4"), "{text}");
    }

    #[test]
    fn tokens_are_tidied() {
        assert_eq!(tidy("self . f (a , & b) && ! c . d :: e () [1]"), "self.f(a, &b) && !c.d::e()[1]");
    }

    #[test]
    fn lines_are_read_again() {
        let dir = std::env::temp_dir().join(format!("decurion-mutants-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        let path = dir.join("outcomes");
        let written = [outcome(1, Some("tests")), outcome(2, None)];
        fs::write(&path, written.iter().map(|o| format!("{}\n", o.to_json())).collect::<String>()).expect("a file");
        let mutants: Vec<Mutant> = (1..=3).map(|n| outcome(n, None).mutant).collect();
        let read = known(&path, &mutants);
        fs::remove_dir_all(&dir).expect("it can be removed");
        let caught: Vec<(u32, bool)> = read.iter().map(|o| (o.mutant.number, o.caught.is_some())).collect();
        assert_eq!(caught, [(1, true), (2, false)]);
    }
}
