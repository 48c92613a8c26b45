//! What the tests of the C face share: where things are, and a C compiler.

#![allow(dead_code)] // each test program uses its part

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// No program of these tests may take longer.
const PATIENCE: Duration = Duration::from_secs(180);

/// The crate's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder of a test's own, empty.
pub fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    folder
}

/// A library that was built with this test, by its file name: it lies beside the test program.
pub fn built(file: &str) -> PathBuf {
    let program = std::env::current_exe().expect("the test program has a path");
    let path = program.parent().expect("a folder").join(file);
    assert!(path.exists(), "{} is missing: cargo builds it with the library", path.display());
    path
}

/// A folder with the shared library under the two names that linker and loader ask for.
pub fn linkable(name: &str) -> PathBuf {
    let folder = scratch(name);
    for link in ["libdecurion.so", "libdecurion.so.0"] {
        std::os::unix::fs::symlink(built("libdecurion.so"), folder.join(link)).expect("a link");
    }
    folder
}

/// Runs a command to its end and answers with what it printed; panics with all of it when it fails.
pub fn run(command: &mut Command) -> String {
    let output = finish(command);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{stdout}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}

/// Runs a command to its end, within bounds.
pub fn finish(command: &mut Command) -> Output {
    use std::process::Stdio;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?} does not run: {e}"));
    let watched = child.id();
    let (done, over) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let started = Instant::now();
        if over.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            // SAFETY: a signal to our own child, which is not waited for yet.
            unsafe { libc::kill(watched as libc::pid_t, libc::SIGKILL) };
            eprintln!("killed after {} s", started.elapsed().as_secs());
        }
    });
    // Taken apart so that the child stays unwaited while the watchdog may signal it.
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let reader = std::thread::spawn(move || read_all(stderr.expect("piped")));
    let stdout = read_all(stdout.expect("piped"));
    let stderr = reader.join().expect("the reader ends");
    drop(done);
    watchdog.join().expect("the watchdog ends");
    Output { status: child.wait().expect("the child ends"), stdout, stderr }
}

fn read_all(mut from: impl std::io::Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).expect("a pipe can be read");
    bytes
}

/// A C compiler with every warning an error.
pub fn cc() -> Command {
    let mut command = Command::new("cc");
    command.args(["-std=gnu99", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-I"]).arg(root().join("include"));
    command
}

/// The exported functions that a header declares.
pub fn declared() -> Vec<String> {
    let header = fs::read_to_string(root().join("include/decurion.h")).expect("the header");
    let code = header.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut names: Vec<String> = code
        .filter(|line| !line.starts_with("typedef") && line.contains('('))
        .filter_map(|line| line.split('(').next()?.rsplit([' ', '*']).next().map(str::to_owned))
        .filter(|name| name.starts_with("dcn_"))
        .collect();
    names.sort();
    names
}

/// Symbols that a file defines for others, by `nm` with these flags.
pub fn defined(flags: &[&str], file: &Path) -> Vec<String> {
    let text = run(Command::new("nm").args(flags).arg(file));
    let mut names: Vec<String> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().rev();
            let (name, kind) = (words.next()?, words.next()?);
            (kind.len() == 1 && kind != "U" && kind != "w").then(|| name.split('@').next().unwrap_or(name).to_owned())
        })
        .collect();
    names.sort();
    names.dedup();
    names
}
