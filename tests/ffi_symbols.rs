//! Header = exports = tests, and nothing else is visible of the library, or in it.

mod ffi_support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use decurion::core::Plant;
use ffi_support::{built, declared, defined, root, run};

#[test]
fn the_shared_library_exports_what_the_header_declares() {
    let exported = defined(&["-D", "--defined-only"], &built("libdecurion.so"));
    assert_eq!(exported, declared(), "exported by the library (left), declared in the header (right)");
}

/// What `make lib` builds, without its optimisations: the interface, no command, no bug that can be planted.
#[test]
fn what_a_host_links_has_no_command_and_no_planted_bug() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("host");
    let build = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["build", "--quiet", "--locked", "--lib", "--no-default-features", "--target-dir"])
        .arg(&target)
        .status();
    assert!(build.expect("cargo runs").success());
    let library = target.join("debug/libdecurion.so");
    assert_eq!(defined(&["-D", "--defined-only"], &library), declared());
    let names = Plant::ALL.iter().map(|(_, name, ..)| *name).chain(["simulate", "clap_builder"]);
    for name in names {
        assert!(contains(Path::new(env!("CARGO_BIN_EXE_decurion")), name), "the command knows no {name}: look for it?");
        assert!(!contains(&library, name), "a host would link {name}");
    }
}

fn contains(file: &Path, text: &str) -> bool {
    let bytes = fs::read(file).expect("a built file");
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn every_function_is_called_by_a_c_test() {
    let mut calls = String::new();
    for entry in fs::read_dir(root().join("tests/c")).expect("tests/c") {
        calls.push_str(&fs::read_to_string(entry.expect("an entry").path()).expect("a source"));
    }
    let missing: Vec<String> = declared().into_iter().filter(|name| !calls.contains(&format!("{name}("))).collect();
    assert!(missing.is_empty(), "no C test calls {missing:?}");
}

#[test]
fn no_constant_is_defined_twice() {
    let header = fs::read_to_string(root().join("include/decurion.h")).expect("the header");
    let names: Vec<&str> =
        header.lines().filter_map(|line| line.strip_prefix("#define DCN_")?.split_whitespace().next()).collect();
    assert!(names.len() > 50, "{names:?}");
    let mut unique = names.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), names.len(), "a name is defined twice");
}

#[test]
fn the_library_names_its_major_and_stays_loaded() {
    let dynamic = run(Command::new("readelf").arg("-d").arg(built("libdecurion.so")));
    assert!(dynamic.contains("Library soname: [libdecurion.so.0]"), "{dynamic}");
    assert!(dynamic.contains("NODELETE"), "{dynamic}");
    assert!(dynamic.contains("NOW"), "symbols are bound when it is loaded: {dynamic}");
    let needed: Vec<&str> = dynamic.lines().filter(|line| line.contains("NEEDED")).collect();
    for library in &needed {
        let known = ["libc.so.6", "libgcc_s.so.1", "libm.so.6", "ld-linux"].iter().any(|name| library.contains(name));
        assert!(known, "a host would need {library}");
    }
}

/// What the documentation says a machine must have.
#[test]
fn the_floor_of_the_c_library_is_as_documented() {
    let imports = run(Command::new("nm").args(["-D", "--with-symbol-versions"]).arg(built("libdecurion.so")));
    let newest = imports
        .lines()
        .filter_map(|line| line.split("@GLIBC_").nth(1))
        .map(|version| version.split('.').map(|part| part.parse().expect("a number")).collect::<Vec<u32>>())
        .max()
        .expect("it needs a C library");
    let newest: Vec<String> = newest.iter().map(u32::to_string).collect();
    let readme = fs::read_to_string(root().join("ffi-examples/README.md")).expect("the README of the examples");
    let said = format!("glibc {} or newer", newest.join("."));
    assert!(readme.contains(&said), "the library needs {said:?}: say so in ffi-examples/README.md");
}

/// A build that could not catch panics does not come about.
#[test]
fn panic_abort_is_refused() {
    let source = root().join("src/ffi/unwind.rs");
    // A file of its own: the compiler moves its output into place, and as root it would do so over a device too.
    let output = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("ffi-unwind.rmeta");
    let compile = |panic: &str| {
        Command::new("rustc")
            .args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "-C", panic, "-o"])
            .args([&output, &source])
            .output()
            .expect("rustc runs")
    };
    assert!(compile("panic=unwind").status.success());
    let refused = compile("panic=abort");
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("DCN_ERR_PANICKED"));
}
