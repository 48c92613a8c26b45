//! The C programs of `tests/c`, against the shared library, under AddressSanitizer and UndefinedBehaviorSanitizer.

mod ffi_support;

use std::process::Command;

use ffi_support::{cc, finish, linkable, root, run};

fn under_sanitizers(program: &str) {
    let folder = linkable(&format!("ffi-c-{program}"));
    let binary = folder.join(program);
    run(cc()
        .args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-pthread", "-o"])
        .arg(&binary)
        .arg(root().join("tests/c").join(program).with_extension("c"))
        .arg(folder.join("libdecurion.so")));
    let output = run(Command::new(&binary)
        .env("LD_LIBRARY_PATH", &folder)
        .env("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0")
        .env("UBSAN_OPTIONS", "print_stacktrace=1"));
    assert_eq!(output, "", "the library prints nothing");
}

#[test]
fn configuration() {
    under_sanitizers("config");
}

#[test]
fn a_host_that_polls() {
    under_sanitizers("poll");
}

#[test]
fn a_host_with_a_handler() {
    under_sanitizers("handler");
}

#[test]
fn many_threads() {
    under_sanitizers("threads");
}

#[test]
fn a_forked_child() {
    under_sanitizers("fork");
}

/// The way that the documentation of the example says.
#[test]
fn the_example_says_hello() {
    let folder = linkable("ffi-c-hello");
    let binary = folder.join("hello");
    run(cc().arg("-o").arg(&binary).arg(root().join("ffi-examples/c/hello.c")).arg(folder.join("libdecurion.so")));
    let output = finish(Command::new(&binary).env("LD_LIBRARY_PATH", &folder));
    assert_eq!(output.status.code(), Some(2), "without arguments it says how it is used");
    assert!(String::from_utf8_lossy(&output.stderr).contains("usage"));
}
