//! What is linked comes from the public registry, under licences that `deny.toml` allows, and stays few.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A clean build of the command stays under this many crates.
const CRATES_OF_THE_COMMAND: usize = 150;
/// What a host links stays under this many crates.
const CRATES_OF_THE_LIBRARY: usize = 50;

#[test]
fn licences_are_allowed() {
    let rules = rules();
    let allowed: BTreeSet<String> = texts(&rules["licenses"]["allow"]);
    let exceptions = rules["licenses"]["exceptions"].as_array().expect("a list of exceptions");
    let excepted = |p: &Value| {
        let named = exceptions.iter().find(|e| p["name"].as_str() == e["crate"].as_str());
        named.is_some_and(|e| is_allowed(p["license"].as_str().unwrap_or(""), &texts(&e["allow"])))
    };
    let refused: Vec<String> = packages()
        .iter()
        .filter(|p| !is_allowed(p["license"].as_str().unwrap_or(""), &allowed) && !excepted(p))
        .map(|p| format!("{} {}: {}", p["name"], p["version"], p["license"]))
        .collect();
    assert!(refused.is_empty(), "licences that deny.toml does not allow:\n{}", refused.join("\n"));
}

#[test]
fn sources_are_the_public_registry() {
    for package in packages() {
        let Some(source) = package["source"].as_str() else {
            let own = ["decurion", "decurion-hot"].map(Value::from).contains(&package["name"]);
            assert!(own, "only the crate itself and its hot pieces are paths: {package}");
            continue;
        };
        let public = source.starts_with("registry+") && source.ends_with("crates.io-index");
        assert!(public, "{} comes from {source}", package["name"]);
    }
}

/// Who has the Rust that `Cargo.toml` asks for can build everything, the tests included.
#[test]
fn no_dependency_needs_a_newer_rust() {
    let version = |p: &Value| {
        let text = p["rust_version"].as_str().unwrap_or("0").to_owned();
        let mut parts: Vec<u32> = text.split('.').map(|part| part.parse().expect("a number")).collect();
        parts.resize(3, 0);
        parts
    };
    let packages = packages();
    let own = packages.iter().find(|p| p["name"] == "decurion").map(version).expect("the crate itself");
    assert!(own > vec![1, 0, 0], "rust-version is stated");
    let newer: Vec<String> = packages
        .iter()
        .filter(|p| version(p) > own)
        .map(|p| format!("{} {} needs {}", p["name"], p["version"], p["rust_version"]))
        .collect();
    assert!(newer.is_empty(), "newer than our own {own:?}:\n{}", newer.join("\n"));
}

#[test]
fn banned_crates_are_absent() {
    let rules = rules();
    let banned: Vec<&str> = rules["bans"]["deny"]
        .as_array()
        .expect("a list of bans")
        .iter()
        .map(|ban| ban["name"].as_str().expect("a ban has a name"))
        .collect();
    assert!(!banned.is_empty());
    for package in packages() {
        let name = package["name"].as_str().expect("a name");
        assert!(!banned.contains(&name), "deny.toml bans {name}");
    }
}

#[test]
fn dependencies_stay_few() {
    let command = tree(&["--edges", "normal,build"]);
    assert!(command.len() < CRATES_OF_THE_COMMAND, "the command builds {} crates", command.len());
    let library = tree(&["--edges", "normal,build", "--no-default-features"]);
    assert!(library.len() < CRATES_OF_THE_LIBRARY, "the library links {} crates: {library:?}", library.len());
    for only_in_tests in ["cbindgen", "proptest", "criterion"] {
        assert!(!command.contains(only_in_tests), "{only_in_tests} is for tests");
    }
    for only_in_command in ["clap", "serde_json", "sha2", "signal-hook"] {
        assert!(!library.contains(only_in_command), "a host would link {only_in_command}");
        assert!(command.contains(only_in_command), "{only_in_command} is gone: take it off this list");
    }
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
    for good in [
        "MIT",
        "MIT OR Apache-2.0",
        "MIT/Apache-2.0",
        "LGPL-2.1-or-later OR MIT",
        "(MIT OR GPL-2.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
    ] {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR AGPL-3.0) AND MIT", "LGPL-2.1-or-later"] {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
}

/// Whether a licence expression can be met from the allowed ones: every part of an AND has one allowed part of its OR.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ");
    plain.split(" AND ").all(|choice| choice.split(" OR ").any(|licence| allowed.contains(licence.trim())))
}

fn rules() -> toml::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml");
    let text = std::fs::read_to_string(path).expect("deny.toml");
    toml::from_str(&text).expect("deny.toml is TOML")
}

fn texts(list: &toml::Value) -> BTreeSet<String> {
    list.as_array().expect("a list").iter().map(|t| t.as_str().expect("a text").to_owned()).collect()
}

fn packages() -> Vec<Value> {
    let out = cargo(&["metadata", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&out).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages").clone();
    assert!(packages.len() > 10, "cargo metadata names {} packages", packages.len());
    packages
}

fn tree(arguments: &[&str]) -> BTreeSet<String> {
    let out = cargo(&[&["tree", "--prefix", "none", "--format", "{p}"], arguments].concat());
    out.lines().filter_map(|line| line.split(' ').next()).filter(|n| !n.is_empty()).map(str::to_owned).collect()
}

fn cargo(arguments: &[&str]) -> String {
    let out = Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--locked")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("UTF-8")
}
