//! The built command as real processes, heard on their pipes. None outlives its handle, or the test.
#![allow(dead_code)] // each test file uses a part of it

pub mod stranger;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than anything here may take; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// What the environment says to the tests themselves: a member would take it for a setting with a slip in its name.
const OF_THE_TESTS: [&str; 5] =
    ["DECURION_NETWORK", "DECURION_SEED", "DECURION_FAILOVERS", "DECURION_PARTITIONS", "DECURION_NO_NETNS"];
/// How often what tells no events (a table in /proc, a process that ends) is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A process of the command and what it has said. Dropping it kills it.
pub struct Process {
    pub name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    heard: Receiver<Heard>,
    said: RefCell<Said>,
}

enum Heard {
    Stdout(String),
    Stderr(String),
}

#[derive(Default)]
struct Said {
    lines: Vec<Value>,
    stdout: Vec<String>,
    stderr: Vec<String>,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub lines: Vec<Value>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The last line of stdout, which is a summary.
    pub fn summary(&self) -> &Value {
        let last = self.lines.last().unwrap_or_else(|| panic!("no line of JSON: {self:?}"));
        assert_eq!((&last["schema"], &last["type"]), (&1.into(), &"summary".into()), "{last}");
        last
    }
}

/// Runs the command to its end.
pub fn run(words: &[&str]) -> Ended {
    Process::start("the command", words).end()
}

impl Process {
    /// Starts the command with these words.
    pub fn start(name: &str, words: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_decurion"));
        command.args(words);
        Process::spawn(name, command)
    }

    /// Starts a member on a free port of the loopback address, which says all it sees in lines of JSON.
    pub fn node(name: &str, settings: &[(&str, &str)], flags: &[&str]) -> Process {
        Process::start(name, &node_words(name, settings, flags).iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Starts anything, in a way that it ends with this test whatever happens.
    pub fn spawn(name: &str, mut command: Command) -> Process {
        for variable in OF_THE_TESTS {
            command.env_remove(variable);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: between fork and exec runs one async-signal-safe system call that touches no memory.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let (to, heard) = channel();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let to_stdout = to.clone();
        thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).all(|l| to_stdout.send(Heard::Stdout(l)).is_ok())
        });
        thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).all(|l| to.send(Heard::Stderr(l)).is_ok())
        });
        let stdin = child.stdin.take();
        Process { name: name.to_owned(), child, stdin, heard, said: RefCell::default() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: the process is our own child and not collected yet, so the number is still its.
        assert_eq!(unsafe { libc::kill(self.pid() as i32, signal) }, 0, "{}", self.name);
    }

    pub fn write(&mut self, text: &str) {
        self.stdin.as_mut().expect("not closed yet").write_all(text.as_bytes()).expect("it reads its stdin");
    }

    /// Takes what it says until then; `false` when it will say no more.
    fn listen(&self, until: Instant) -> bool {
        let heard = match self.heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(heard) => heard,
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        };
        self.keep(heard);
        true
    }

    fn keep(&self, heard: Heard) {
        let mut said = self.said.borrow_mut();
        match heard {
            Heard::Stdout(line) => {
                if let Ok(value) = serde_json::from_str::<Value>(&line) {
                    said.lines.push(value);
                }
                said.stdout.push(line);
            }
            Heard::Stderr(line) => said.stderr.push(line),
        }
    }

    /// Waits until `find` finds something in all that it has said in lines of JSON.
    pub fn wait_lines<T>(&self, what: &str, mut find: impl FnMut(&[Value]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = find(&self.said.borrow().lines) {
                return found;
            }
            let open = self.listen(deadline);
            assert!(open && Instant::now() < deadline, "{} waits in vain for {what}: {}", self.name, self.tail());
        }
    }

    /// Waits for a line of this type that fits.
    pub fn wait_line(&self, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let find = |lines: &[Value]| lines.iter().find(|l| l["type"] == kind && fits(l)).cloned();
        self.wait_lines(&format!("a line '{kind}'"), find)
    }

    /// Waits until `look` sees something in the world; what the process says meanwhile is taken.
    pub fn wait_world<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(seen) = look() {
                return seen;
            }
            assert!(Instant::now() < deadline, "waited in vain for {what}: {} {}", self.name, self.tail());
            let until = Instant::now() + LOOK_EVERY;
            while Instant::now() < until && self.listen(until) {}
        }
    }

    /// Waits for a line on stderr with this in it, and answers what follows it.
    pub fn wait_error(&self, text: &str) -> String {
        self.wait_world(&format!("'{text}' on stderr"), || {
            let said = self.said.borrow();
            said.stderr.iter().find_map(|line| Some(line.split_once(text)?.1.to_owned()))
        })
    }

    /// What it has written to stdout.
    pub fn stdout(&self) -> String {
        self.said.borrow().stdout.join("\n")
    }

    /// Takes what it has said by now.
    pub fn hear(&self) {
        let now = Instant::now();
        while let Ok(heard) = self.heard.try_recv() {
            self.keep(heard);
            assert!(now.elapsed() < PATIENCE, "{} says more than can be heard", self.name);
        }
    }

    pub fn close_stdin(&mut self) {
        drop(self.stdin.take());
    }

    /// The address that a node has bound.
    pub fn address(&self) -> SocketAddr {
        self.wait_line("open", |_| true)["address"].as_str().expect("text").parse().expect("an address")
    }

    /// Whether it comes to open its engine, and does not end before.
    pub fn opens(&self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        let open = || self.said.borrow().lines.iter().any(|l| l["type"] == "open");
        while !open() && self.listen(deadline) && Instant::now() < deadline {}
        open()
    }

    /// Waits until the newest view has so many members.
    pub fn wait_members(&self, count: usize) -> Value {
        self.wait_lines(&format!("a view of {count}"), |lines| {
            let view = lines.iter().rev().find(|l| l["type"] == "view")?;
            (view["members"].as_array()?.len() == count).then(|| view.clone())
        })
    }

    /// The lines of this type so far.
    pub fn lines(&self, kind: &str) -> Vec<Value> {
        self.said.borrow().lines.iter().filter(|l| l["type"] == kind).cloned().collect()
    }

    /// The newest counters, asked for now.
    pub fn stats(&self) -> Value {
        let before = self.lines("stats").len();
        self.signal(libc::SIGUSR1);
        self.wait_lines("its counters", |lines| lines.iter().filter(|l| l["type"] == "stats").nth(before).cloned())
    }

    /// Kilobytes of memory that are the process's own.
    pub fn memory_kb(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find(|l| l.starts_with("RssAnon:")).expect("the kernel tells it");
        line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a number")
    }

    /// Closes its stdin, waits until it has ended by itself, and answers how.
    pub fn end(mut self) -> Ended {
        drop(self.stdin.take());
        let deadline = Instant::now() + PATIENCE;
        while self.listen(deadline) {
            assert!(Instant::now() < deadline, "{} does not end: {}", self.name, self.tail());
        }
        let status = loop {
            // Its pipes are closed: it is gone, or will be in an instant.
            match self.child.try_wait().expect("our own child") {
                Some(status) => break status,
                None if Instant::now() < deadline => thread::yield_now(),
                None => panic!("{} does not end: {}", self.name, self.tail()),
            }
        };
        let said = self.said.take();
        let (stdout, stderr) = (said.stdout.join("\n"), said.stderr.join("\n"));
        Ended { code: status.code(), lines: said.lines, stdout, stderr }
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(self) -> Ended {
        self.signal(libc::SIGTERM);
        self.end()
    }

    /// The end of what it said, for a failure.
    fn tail(&self) -> String {
        let said = self.said.borrow();
        let last = |all: &[String]| all[all.len().saturating_sub(8)..].join("\n  ");
        format!("\n stdout:\n  {}\n stderr:\n  {}", last(&said.stdout), last(&said.stderr))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The words that start a node.
pub fn node_words(name: &str, settings: &[(&str, &str)], flags: &[&str]) -> Vec<String> {
    let mut words = vec!["node".to_owned(), "--json".to_owned()];
    let usual = [("node.name", name), ("node.bind", "127.0.0.1:0"), ("cluster.name", "command-test")];
    for (key, value) in usual.iter().chain(settings) {
        words.extend(["--set".to_owned(), format!("{key}={value}")]);
    }
    words.extend(flags.iter().map(|flag| (*flag).to_owned()));
    words
}

/// So many nodes in one view, named n0, n1, …; all but the first join at the first.
pub fn nodes(count: usize, settings: &[(&str, &str)]) -> Vec<Process> {
    let mut nodes = vec![Process::node("n0", settings, &[])];
    let seed = nodes[0].address().to_string();
    for at in 1..count {
        let mut all = vec![("cluster.seeds", seed.as_str())];
        all.extend(settings);
        nodes.push(Process::node(&format!("n{at}"), &all, &[]));
    }
    for node in &nodes {
        node.wait_members(count);
    }
    nodes
}

/// An established TCP connection: the local port and the one at the other end.
pub type Ends = (u16, u16);

/// The established TCP connections of a process, as the operating system has them.
pub fn connections(pid: u32) -> BTreeSet<Ends> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).expect("a living process");
    let port = |field: &str| u16::from_str_radix(field.rsplit(':').next().expect("a port"), 16).expect("hexadecimal");
    let mut found = BTreeSet::new();
    let held: BTreeSet<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("a living process")
        .filter_map(|entry| Some(fs::read_link(entry.ok()?.path()).ok()?.to_string_lossy().into_owned()))
        .collect();
    for line in table.lines().skip(1) {
        // Local address, remote address, state (01: established), and the inode of the socket.
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, remote, state, inode) = (fields[1], fields[2], fields[3], fields[9]);
        if state == "01" && held.contains(&format!("socket:[{inode}]")) {
            found.insert((port(local), port(remote)));
        }
    }
    found
}

/// A directory of this test, empty.
pub fn directory(name: &str) -> std::path::PathBuf {
    let path = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("the target directory takes a directory");
    path
}
