//! The C programs of `tests/c`, against the shared library, under AddressSanitizer and UndefinedBehaviorSanitizer.

mod ffi_support;

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use ffi_support::{cc, finish, linkable, root, run};

fn under_sanitizers(program: &str) {
    each_under_sanitizers(program, &[&[]]);
}

/// Runs a program once with each of these lists of arguments.
fn each_under_sanitizers(program: &str, runs: &[&[&str]]) {
    let folder = linkable(&format!("ffi-c-{program}"));
    let binary = folder.join(program);
    run(cc()
        .args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-pthread", "-o"])
        .arg(&binary)
        .arg(root().join("tests/c").join(program).with_extension("c"))
        .arg(folder.join("libdecurion.so")));
    for arguments in runs {
        let output = run(Command::new(&binary)
            .args(*arguments)
            .env("LD_LIBRARY_PATH", &folder)
            .env("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0")
            .env("UBSAN_OPTIONS", "print_stacktrace=1"));
        assert_eq!(output, "", "the library prints nothing");
    }
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
fn a_host_with_a_loop_of_its_own() {
    under_sanitizers("loop");
}

#[test]
fn hosts_that_do_not_keep_up() {
    under_sanitizers("stalls");
}

#[test]
fn hosts_with_sessions() {
    under_sanitizers("session");
}

#[test]
fn messages_written_in_place() {
    under_sanitizers("claim");
}

#[test]
fn memory_of_the_hosts_that_is_handed_over() {
    under_sanitizers("wrap");
}

#[test]
fn what_a_call_to_send_costs_is_told() {
    let folder = linkable("ffi-c-bench");
    let binary = folder.join("send");
    run(cc()
        .args(["-O2", "-pthread", "-o"])
        .arg(&binary)
        .arg(root().join("benches/c/send.c"))
        .arg(folder.join("libdecurion.so")));
    let text = run(Command::new(&binary).arg("1").env("LD_LIBRARY_PATH", &folder));
    let figures = [
        "a call, engine awake",
        "the first call after a rest",
        "calls of four threads",
        "the slowest of them",
        "one of a hundred by dcn_send_many",
        "the same by four threads",
    ];
    for what in figures {
        let line = text.lines().find(|line| line.starts_with(what)).unwrap_or_else(|| panic!("no '{what}': {text}"));
        let measured = line.split_whitespace().find_map(|word| word.contains('.').then(|| word.parse::<f64>().ok())?);
        assert!(measured.is_some_and(|measured| measured > 0.0), "{line}");
    }
}

#[test]
fn many_threads() {
    under_sanitizers("threads");
}

#[test]
fn any_calls_in_any_order() {
    each_under_sanitizers("anything", &[&["1"], &["2"], &["3"], &["4"], &["5"]]);
}

#[test]
fn a_forked_child() {
    under_sanitizers("fork");
}

/// Memory that is retained, released and freed, as valgrind sees it.
#[test]
fn what_is_retained_under_valgrind() {
    let folder = linkable("ffi-c-valgrind");
    let binary = folder.join("poll");
    run(cc()
        .args(["-pthread", "-o"])
        .arg(&binary)
        .arg(root().join("tests/c/poll.c"))
        .arg(folder.join("libdecurion.so")));
    let output = finish(
        Command::new("valgrind")
            .args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"])
            .arg(&binary)
            .arg("retained")
            .env("LD_LIBRARY_PATH", &folder),
    );
    assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
}

/// Two processes of the example, run as its first line says.
#[test]
fn the_examples_find_each_other_and_say_hello() {
    let folder = linkable("ffi-c-hello");
    let binary = folder.join("hello");
    run(cc().arg("-o").arg(&binary).arg(root().join("ffi-examples/c/hello.c")).arg(folder.join("libdecurion.so")));
    let usage = finish(Command::new(&binary).env("LD_LIBRARY_PATH", &folder));
    assert_eq!(usage.status.code(), Some(2), "without arguments it says how it is used");
    assert!(String::from_utf8_lossy(&usage.stderr).contains("usage"));

    let [first, second] = free_ports().map(|port| format!("127.0.0.1:{port}"));
    let mut a = Running::start(Command::new(&binary).arg(&first).env("LD_LIBRARY_PATH", &folder));
    a.line_with("has 1 members");
    let mut b = Running::start(Command::new(&binary).args([&second, &first]).env("LD_LIBRARY_PATH", &folder));
    b.line_with("has 2 members");
    a.line_with("has 2 members");
    let heard = a.line_with("says:");
    assert!(heard.ends_with("says: hello, all"), "{heard}");
    b.line_with("says: hello, all");
}

/// Two processes of the other example: what is written to one is printed by the other, and the end of its input ends it.
#[test]
fn the_example_with_its_own_loop_sends_its_input_and_leaves_at_its_end() {
    let folder = linkable("ffi-c-epoll-loop");
    let binary = folder.join("epoll_loop");
    let source = root().join("ffi-examples/c/epoll_loop.c");
    run(cc().arg("-o").arg(&binary).arg(source).arg(folder.join("libdecurion.so")));
    let usage = finish(Command::new(&binary).env("LD_LIBRARY_PATH", &folder));
    assert_eq!(usage.status.code(), Some(2), "without arguments it says how it is used");

    let [first, second] = free_ports().map(|port| format!("127.0.0.1:{port}"));
    let mut a = Running::with_input(Command::new(&binary).arg(&first).env("LD_LIBRARY_PATH", &folder));
    a.line_with("has 1 members");
    let mut b = Running::with_input(Command::new(&binary).args([&second, &first]).env("LD_LIBRARY_PATH", &folder));
    a.line_with("has 2 members");
    b.line_with("has 2 members");
    // Much more than a pipe holds: it is read only as fast as it can be sent.
    const LINES: usize = 50_000;
    let input = b.child.stdin.take().expect("piped");
    let writer = std::thread::spawn(move || {
        let mut input = BufWriter::new(input);
        (0..LINES).try_for_each(|line| writeln!(input, "line {line}")).and_then(|()| input.flush())
    });
    for line in 0..LINES {
        assert_eq!(a.line_with("line"), format!("line {line}"));
    }
    writer.join().expect("no panic").expect("all of it is taken");
    b.line_with("ended: left");
    assert!(b.child.wait().expect("it ends").success());
    a.line_with("has 1 members");
}

/// Two ports that nobody has at this moment.
fn free_ports() -> [u16; 2] {
    let listeners = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}

/// A process that ends with the test, and its lines.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(command: &mut Command) -> Running {
        Running::spawn(command.stdin(Stdio::null()))
    }

    /// With a standard input that stays open.
    fn with_input(command: &mut Command) -> Running {
        Running::spawn(command.stdin(Stdio::piped()))
    }

    fn spawn(command: &mut Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the example runs");
        let (give, lines) = channel();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| give.send(line)));
        Running { child, lines }
    }

    /// The next line with these words; fails when it does not come in time.
    fn line_with(&mut self, words: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|e| panic!("no line with {words:?} came: {e}"));
            if line.contains(words) {
                return line;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it ends");
    }
}
