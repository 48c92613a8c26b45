//! The copy of the sources that holds all changes, and its builds.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::find::places;
use crate::render::{Numbered, Written, blamed, render};

/// Builds until everything compiles, at most.
const ROUNDS: usize = 40;
/// What the command is called among the programs.
pub const COMMAND: &str = "the command";
/// Numbers that the switch has room for.
const MOST: u32 = 65_535;

/// One change, as reports name it.
#[derive(Clone, Debug)]
pub struct Mutant {
    pub number: u32,
    pub file: String,
    pub line: usize,
    pub kind: &'static str,
    pub original: String,
    pub text: String,
}

struct Source {
    file: String,
    text: String,
    places: Vec<Numbered>,
}

/// The copy, and what can be changed in it.
pub struct Tree {
    /// The library's own directory.
    root: PathBuf,
    /// The copy of it.
    pub copy: PathBuf,
    target: PathBuf,
    sources: Vec<Source>,
    /// Changes that do not compile where their answer is compared with the original's, and those that do not at all.
    plain: BTreeSet<u32>,
    dropped: BTreeSet<u32>,
}

impl Tree {
    /// Copies everything that belongs to the repository and reads the core.
    pub fn new(root: &Path) -> Tree {
        let base = root.join("target/mutants");
        let mut tree = Tree {
            root: root.to_owned(),
            copy: base.join("tree"),
            target: base.join("build"),
            sources: Vec::new(),
            plain: BTreeSet::new(),
            dropped: BTreeSet::new(),
        };
        let mut next = 1;
        for file in tree.files() {
            let bytes = fs::read(root.join(&file)).unwrap_or_else(|e| panic!("{file}: {e}"));
            if is_core(&file) {
                let text = String::from_utf8(bytes).expect("sources are UTF-8");
                let found = places(&text).unwrap_or_else(|e| panic!("{file}: {e}"));
                let mut places = Vec::new();
                for place in found {
                    let numbers = (next..).take(place.changes.len()).collect::<Vec<u32>>();
                    next += numbers.len() as u32;
                    places.push(Numbered { place, numbers });
                }
                tree.sources.push(Source { file, text, places });
            } else {
                let bytes = if file == "src/lib.rs" { with_switch(bytes) } else { bytes };
                write_if_changed(&tree.copy.join(&file), &bytes);
            }
        }
        assert!(next <= MOST, "the switch has no room for {next} changes");
        write_if_changed(&tree.copy.join("src/mutant.rs"), include_bytes!("../switch.rs"));
        tree
    }

    fn files(&self) -> Vec<String> {
        let listed = Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(&self.root)
            .output()
            .expect("git runs");
        assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
        let text = String::from_utf8(listed.stdout).expect("names are UTF-8");
        text.lines().filter(|file| self.root.join(file).is_file()).map(str::to_owned).collect()
    }

    /// Writes the copy and builds it, without the changes that do not compile.
    pub fn build(&mut self) {
        // What the same sources have shown before need not be found out again.
        let notes = self.target.with_file_name("dropped.json");
        let stamp = self.stamp();
        let noted = fs::read(&notes).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        if let Some(noted) = noted.filter(|noted| noted["stamp"] == stamp) {
            let numbers = |key: &str| {
                let numbers = noted[key].as_array().map_or(&[][..], Vec::as_slice);
                numbers.iter().filter_map(|n| Some(n.as_u64()? as u32)).collect()
            };
            (self.plain, self.dropped) = (numbers("plain"), numbers("dropped"));
        }
        for round in 1..=ROUNDS {
            let written: Vec<Vec<Written>> = self.sources.iter().map(|source| self.write(source)).collect();
            let errors = self.compile(&["build", "--lib"]).errors;
            if errors.is_empty() {
                let noted = json!({ "stamp": stamp, "plain": self.plain, "dropped": self.dropped }).to_string();
                return fs::write(&notes, noted).expect("the notes can be written");
            }
            let (plain, dropped) = (self.plain.len(), self.dropped.len());
            let blamed: BTreeSet<u32> = errors.iter().flat_map(|error| self.blame(error, &written)).collect();
            for number in blamed {
                if !self.comparable(number) || !self.plain.insert(number) {
                    self.dropped.insert(number);
                }
            }
            let (plain, dropped) = (self.plain.len() - plain, self.dropped.len() - dropped);
            eprintln!("round {round}: {} errors, {plain} changes not compared, {dropped} dropped", errors.len());
            let last = errors.last().and_then(|error| error["rendered"].as_str()).unwrap_or("");
            assert!(plain + dropped > 0, "an error that no change explains:\n{last}");
        }
        panic!("the copy does not compile after {ROUNDS} rounds");
    }

    /// Stands for the text of the core.
    pub fn stamp(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for Source { file, text, .. } in &self.sources {
            (file, text).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn write(&self, source: &Source) -> Vec<Written> {
        let (text, written) = render(&source.text, &source.places, &self.plain, &self.dropped);
        write_if_changed(&self.copy.join(&source.file), text.as_bytes());
        written
    }

    fn comparable(&self, number: u32) -> bool {
        let places = self.sources.iter().flat_map(|source| &source.places);
        let mut numbered = places.flat_map(|p| p.numbers.iter().zip(&p.place.changes));
        numbered.any(|(n, change)| *n == number && change.comparable)
    }

    /// The changes that an error is about, by its primary spans or else by the others.
    fn blame(&self, error: &Value, written: &[Vec<Written>]) -> Vec<u32> {
        let spans = error["spans"].as_array().map_or(&[][..], Vec::as_slice);
        let of = |primary: bool| -> Vec<u32> {
            let chosen = spans.iter().filter(|s| s["is_primary"].as_bool() == Some(primary));
            let blame = |span: &Value| {
                let index = self.sources.iter().position(|s| span["file_name"] == s.file.as_str());
                index.map_or_else(Vec::new, |index| blamed(&written[index], &bytes(span)))
            };
            chosen.flat_map(blame).collect()
        };
        let primary = of(true);
        if primary.is_empty() { of(false) } else { primary }
    }

    /// Builds the tests, and with them the command, and answers their paths; the command's is named [`COMMAND`].
    pub fn programs(&self, tests: &[String]) -> Vec<(String, PathBuf)> {
        let mut arguments = vec!["test", "--no-run", "--lib"];
        arguments.extend(tests.iter().flat_map(|test| ["--test", test.as_str()]));
        let built = self.compile(&arguments);
        assert!(built.errors.is_empty(), "{}", built.errors[0]["rendered"].as_str().unwrap_or(""));
        built.programs
    }

    fn compile(&self, arguments: &[&str]) -> Compiled {
        let (verb, rest) = arguments.split_first().expect("a verb");
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .arg(verb)
            .args(["--profile", "quick", "--locked", "--message-format=json"])
            .args(rest)
            .env("CARGO_TARGET_DIR", &self.target)
            .current_dir(&self.copy)
            .stderr(Stdio::null())
            .output()
            .expect("cargo runs");
        let mut compiled = Compiled { errors: Vec::new(), programs: Vec::new() };
        for line in output.stdout.split(|b| *b == b'\n') {
            let Ok(message) = serde_json::from_slice::<Value>(line) else { continue };
            if message["reason"] == "compiler-message" && message["message"]["level"] == "error" {
                compiled.errors.push(message["message"].clone());
            } else if let Some(path) = message["executable"].as_str() {
                let name = message["target"]["name"].as_str().unwrap_or("").to_owned();
                let command = message["target"]["kind"][0] == "bin" && message["profile"]["test"] == false;
                let name = if command { COMMAND.to_owned() } else { name };
                compiled.programs.push((name, PathBuf::from(path)));
            }
        }
        // "aborting due to 3 errors" is about none of them.
        compiled.errors.retain(|error| error["spans"].as_array().is_some_and(|spans| !spans.is_empty()));
        assert!(
            output.status.success() || !compiled.errors.is_empty(),
            "cargo {arguments:?} fails and does not say why"
        );
        compiled
    }

    /// All changes that compile and that somebody could notice.
    pub fn mutants(&self) -> Vec<Mutant> {
        let mut all = Vec::new();
        for source in &self.sources {
            for Numbered { place, numbers } in source.places.iter().filter(|n| !n.place.only_noted) {
                for (change, number) in place.changes.iter().zip(numbers).filter(|(_, n)| !self.dropped.contains(n)) {
                    all.push(Mutant {
                        number: *number,
                        file: source.file.clone(),
                        line: place.line,
                        kind: change.kind,
                        original: place.original.clone(),
                        text: change.text.clone(),
                    });
                }
            }
        }
        all
    }

    pub fn dropped(&self) -> usize {
        self.dropped.len()
    }
}

struct Compiled {
    errors: Vec<Value>,
    programs: Vec<(String, PathBuf)>,
}

fn is_core(file: &str) -> bool {
    let tests = file.ends_with("/tests.rs");
    file.starts_with("src/core/") && file.ends_with(".rs") && file != "src/core/plant.rs" && !tests
}

fn bytes(span: &Value) -> Range<usize> {
    let byte = |key: &str| span[key].as_u64().map_or(0, |at| at as usize);
    byte("byte_start")..byte("byte_end")
}

/// The copy's `lib.rs`: with the switch, and without warnings, on the same lines.
fn with_switch(source: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8(source).expect("sources are UTF-8");
    let text = text.replacen("#![deny(", "#![allow(warnings)] #![deny(", 1);
    let text = text.replacen("pub mod types;", "pub mod types; #[doc(hidden)] pub mod mutant;", 1);
    assert!(text.contains("pub mod mutant;"), "lib.rs has no line for the switch");
    text.into_bytes()
}

/// Leaves the time of what is the same alone, so that cargo builds it no second time.
fn write_if_changed(path: &Path, bytes: &[u8]) {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return;
    }
    let dir = path.parent().expect("files are in directories");
    fs::create_dir_all(dir).and_then(|()| fs::write(path, bytes)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}
