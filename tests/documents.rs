//! The tests that the documents name exist, and every line of a promise or of a bad input names one where it must.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The tests in a text: `path::name` between backticks, where the path is one of a source file.
fn named_tests(text: &str) -> Vec<(&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter_map(|word| word.split_once("::"))
        .filter(|(path, _)| path.ends_with(".rs") || path.ends_with(".c"))
        .collect()
}

/// What is wrong with a name: no such file, no such function, or one that is no test and not called by one.
fn missing(root: &Path, path: &str, name: &str) -> Option<String> {
    let Ok(source) = fs::read_to_string(root.join(path)) else {
        return Some(format!("{path}::{name}: there is no such file"));
    };
    let found = if path.ends_with(".rs") { has_rust_test(&source, name) } else { has_c_function(&source, name) };
    (!found).then(|| format!("{path}::{name}: there is no such test in that file"))
}

fn has_rust_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    lines.iter().enumerate().any(|(at, line)| {
        let is_it = line.strip_prefix("fn ").and_then(|rest| rest.split('(').next()) == Some(name);
        // Properties of a macro are tests as well; what stands above may be split into several attributes.
        let above = lines[..at].iter().rev().take_while(|l| l.starts_with('#') || l.starts_with("//"));
        is_it && above.into_iter().any(|l| *l == "#[test]")
    })
}

/// A C test is a function that `main`, or a thread, runs: it stands in the file at least twice.
fn has_c_function(source: &str, name: &str) -> bool {
    let is_name = |(at, _): &(usize, &str)| {
        let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !word(source[..*at].chars().next_back()) && !word(source[at + name.len()..].chars().next())
    };
    source.contains(&format!("{name}(")) && source.match_indices(name).filter(is_name).count() >= 2
}

/// Rows of all tables of a document, without heads.
fn rows(text: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if !line.starts_with('|') || line.starts_with("|---") || lines.peek().is_some_and(|l| l.starts_with("|---")) {
            continue;
        }
        rows.push(line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect());
    }
    rows
}

#[test]
fn every_test_that_a_document_names_exists() {
    let mut problems = Vec::new();
    let mut count = 0;
    for document in ["docs/BAD_INPUT.md", "docs/BAD_NETWORK.md", "docs/GUARANTEES.md", "docs/MUTANTS.md"] {
        let text = read(document);
        for (path, name) in named_tests(&text) {
            count += 1;
            problems.extend(missing(&root(), path, name).map(|problem| format!("{document}: {problem}")));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(count > 50, "only {count} names were found: are they written as `path::name`?");
}

#[test]
fn every_bad_input_has_an_answer_and_a_test() {
    let rows = rows(&read("docs/BAD_INPUT.md"));
    assert!(rows.len() >= 20, "{} rows", rows.len());
    for row in rows {
        let [input, answer, tests] = &row[..] else { panic!("three cells: {row:?}") };
        assert!(!input.is_empty() && !answer.is_empty() && !named_tests(tests).is_empty(), "{row:?}");
    }
}

#[test]
fn names_that_do_not_exist_are_found() {
    let root = root();
    let wrong = |path: &str, name: &str| missing(&root, path, name).is_some();
    assert!(wrong("tests/no_such_file.rs", "names_that_do_not_exist_are_found"));
    assert!(wrong("tests/documents.rs", "names_that_do_not_exist"));
    assert!(wrong("tests/documents.rs", "rows"), "a function that is no test");
    assert!(wrong("tests/c/config.c", "no_such_function"));
    assert!(!wrong("tests/documents.rs", "names_that_do_not_exist_are_found"));
    assert!(!wrong("tests/c/config.c", "sets_and_reads"));
    assert_eq!(
        named_tests("see `tests/x.rs::a`, `T::b` and `tests/y.c::c`"),
        [("tests/x.rs", "a"), ("tests/y.c", "c")]
    );
}

/// Both sides of a merge that nobody decided between are no document.
#[test]
fn no_document_has_marks_of_a_merge() {
    let own = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(|name| root().join(name));
    let pages = fs::read_dir(root().join("docs")).expect("there is docs/").map(|entry| entry.expect("an entry").path());
    let pages: Vec<PathBuf> = pages.filter(|path| path.extension().is_some_and(|e| e == "md")).chain(own).collect();
    assert!(pages.len() > 10, "{pages:?}");
    for page in pages {
        let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        let marks = text.lines().find(|line| line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> "));
        assert_eq!(marks, None, "{}", page.display());
    }
}
