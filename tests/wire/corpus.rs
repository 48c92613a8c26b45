//! Replays the committed corpus of every fuzz target, on stable, with every run of the tests.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The corpus stays small: it is part of every clone.
const CORPUS_BYTES: u64 = 1024 * 1024;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

#[test]
fn every_input_passes() {
    let mut bytes = 0;
    let mut failed = Vec::new();
    for (name, run) in targets::TARGETS {
        let inputs = files(&corpus().join(name));
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for path in inputs {
            let data = fs::read(&path).expect("a readable input");
            bytes += data.len() as u64;
            if catch_unwind(AssertUnwindSafe(|| run(&data))).is_err() {
                failed.push(path);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(bytes <= CORPUS_BYTES, "the corpus has grown to {bytes} bytes: minimise it with `make fuzz`");
}

#[test]
fn targets_and_directories_are_the_same() {
    let targets: BTreeSet<String> = targets::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let stem = |path: &PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
    let programs = files(&corpus().with_file_name("fuzz_targets")).iter().map(stem).collect();
    assert_eq!(targets, programs, "each target has a program in fuzz/fuzz_targets");
    assert_eq!(targets, files(&corpus()).iter().map(stem).collect(), "each target has a corpus");
    let manifest = fs::read_to_string(corpus().with_file_name("Cargo.toml")).expect("fuzz/Cargo.toml");
    for name in &targets {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in fuzz/Cargo.toml");
    }
}
