//! What may catch a change: seeds, scenarios and tests, each with the changes that it passes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wait_timeout::ChildExt;

use crate::tree::COMMAND;

/// A check that takes more of a processor's time on the unchanged core is left out.
const SLOWEST_S: u64 = 20;
/// With a change it may take so many times what it takes without, and [`SLACK_S`] more.
const SLOWER: u64 = 10;
const SLACK_S: u64 = 2;
/// A process that waits takes none of it: so many times as long it may be there.
const WAITS: u32 = 5;
/// What a process may take of memory: a change may fill it without end.
const MEMORY_KIB: u64 = 4 << 20;

/// In the order in which they are tried, by what a check takes: all changes go through the cheap ones first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    Cheap,
    Fair,
    Dear,
}

impl Stage {
    pub const ALL: [Stage; 3] = [Stage::Cheap, Stage::Fair, Stage::Dear];

    fn of(took: Duration) -> Stage {
        match took.as_millis() {
            0..100 => Stage::Cheap,
            100..1000 => Stage::Fair,
            _ => Stage::Dear,
        }
    }
}

/// One process that says by its exit code whether all is well.
#[derive(Clone, Debug)]
pub struct Check {
    pub name: String,
    /// `seeds`, `scenarios` or `tests`.
    pub kind: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    /// How long it takes on the unchanged core.
    took: Duration,
    pub passes: BTreeSet<u32>,
}

/// How one process ended.
pub enum End {
    Well,
    Badly(String),
}

impl Check {
    fn new(name: String, kind: &'static str, program: &Path, arguments: &[&str]) -> Check {
        let arguments = arguments.iter().map(|&a| a.to_owned()).collect();
        Check { name, kind, program: program.to_owned(), arguments, took: Duration::ZERO, passes: BTreeSet::new() }
    }

    pub fn took(&self) -> Duration {
        self.took
    }

    pub fn stage(&self) -> Stage {
        Stage::of(self.took)
    }

    /// Whether it notices a change.
    pub fn run(&self, number: u32, work: &Path) -> End {
        let seconds = (SLOWER * self.took.as_millis() as u64).div_ceil(1000) + SLACK_S;
        self.process(&number.to_string(), seconds, work)
    }

    /// Runs it on the unchanged core; `false` if it fails there, or takes too long.
    fn record(&mut self, work: &Path) -> bool {
        let began = Instant::now();
        let reached = work.join("reached");
        let _ = fs::remove_file(&reached);
        let end = self.process("all", SLOWEST_S, work);
        self.took = began.elapsed();
        let text = fs::read_to_string(&reached).unwrap_or_default();
        self.passes = text.lines().map(|line| line.parse().expect("a number")).collect();
        matches!(end, End::Well)
    }

    fn process(&self, mutant: &str, seconds: u64, work: &Path) -> End {
        let said = work.join("said");
        let file = File::create(&said).expect("a file in the work directory");
        let mut child = Command::new("sh")
            .args(["-c", &format!("ulimit -v {MEMORY_KIB}; ulimit -t {seconds}; exec \"$@\""), "sh"])
            .arg(&self.program)
            .args(&self.arguments)
            .env("DECURION_MUTANT", mutant)
            .env("DECURION_MUTANT_REACHED", work.join("reached"))
            .env("RUST_BACKTRACE", "0")
            .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1")
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a descriptor"))
            .stderr(file)
            .current_dir(work)
            .spawn()
            .expect("a shell");
        let ended = child.wait_timeout(WAITS * Duration::from_secs(seconds)).expect("a child can be waited for");
        if ended.is_none() {
            child.kill().and_then(|()| child.wait()).expect("a child can be killed");
        }
        how(ended, &fs::read(&said).unwrap_or_default())
    }
}

/// In a few words, what a process says has gone wrong.
fn how(ended: Option<ExitStatus>, said: &[u8]) -> End {
    // SIGKILL and SIGXCPU: what `ulimit -t` ends a process with.
    const OVER: [i32; 2] = [9, 24];
    let over = ended.is_none_or(|status| status.signal().is_some_and(|signal| OVER.contains(&signal)));
    let Some(status) = ended.filter(|_| !over) else { return End::Badly("does not end".to_owned()) };
    if status.success() {
        return End::Well;
    }
    let text = String::from_utf8_lossy(said);
    if let Some(line) = text.lines().find(|line| line.contains(" is broken: ")) {
        let at = line.find(" is broken: ").expect("just seen");
        let promise = line[..at].rsplit(' ').next().unwrap_or("");
        return End::Badly(format!("{promise} is broken"));
    }
    let panic = text.lines().skip_while(|line| !line.contains("panicked at")).nth(1);
    End::Badly(panic.map_or_else(|| status.to_string(), |line| format!("panic: {}", line.trim())))
}

/// Every check there is, before it has been tried.
fn all(programs: &[(String, PathBuf)], seeds: u64) -> Vec<Check> {
    let command = &programs.iter().find(|(name, _)| name == COMMAND).expect("the command is built").1;
    let mut all = Vec::new();
    for seed in 0..seeds {
        let range = format!("{seed}..{}", seed + 1);
        all.push(Check::new(format!("seed {seed}"), "seeds", command, &["simulate", "--seeds", &range, "--jobs", "1"]));
    }
    for scenario in listed(command, &["simulate", "--scenario", "list"]) {
        let name = scenario.split(' ').next().unwrap_or("");
        all.push(Check::new(format!("scenario {name}"), "scenarios", command, &["simulate", "--scenario", name]));
    }
    for (binary, program) in programs.iter().filter(|(name, _)| name != COMMAND) {
        for test in listed(program, &["--list", "--format", "terse"]) {
            if let Some(test) = test.strip_suffix(": test") {
                let name = format!("{binary}: {test}");
                all.push(Check::new(name, "tests", program, &["--exact", test, "--test-threads", "1"]));
            }
        }
    }
    all
}

fn listed(program: &Path, arguments: &[&str]) -> Vec<String> {
    let output = Command::new(program).args(arguments).output().expect("what was built runs");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Runs every check on the unchanged core and keeps those that pass, in the order in which they are tried. What was noted
/// about the same sources before is taken from `cache`.
pub fn record(programs: &[(String, PathBuf)], sources: u64, seeds: u64, jobs: usize, base: &Path) -> Vec<Check> {
    let cache = base.join("reach.json");
    let stamp = format!("{seeds} seeds, sources {sources}");
    let known = fs::read(&cache).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let known = known.filter(|known| known["stamp"] == stamp.as_str());
    let mut checks = all(programs, seeds);
    let kept = match &known {
        Some(known) => restore(&mut checks, known),
        None => try_all(&mut checks, jobs, base),
    };
    for check in checks.iter().zip(&kept).filter(|(_, kept)| !**kept).map(|(check, _)| check) {
        eprintln!("left out: {} fails on the unchanged core or takes more than {} s", check.name, SLOWEST_S);
    }
    let mut keep = kept.into_iter();
    checks.retain(|_| keep.next().unwrap_or(false));
    if known.is_none() {
        let noted = checks.iter().map(|check| {
            (check.name.clone(), json!({ "took_us": check.took.as_micros() as u64, "passes": check.passes }))
        });
        let noted: serde_json::Map<String, Value> = noted.collect();
        let text = json!({ "stamp": stamp, "checks": noted }).to_string();
        fs::write(&cache, text).expect("the cache can be written");
    }
    checks.sort_by_key(|check| check.took);
    checks
}

/// The same for those whose name holds `some`; nothing is noted.
pub fn record_some(programs: &[(String, PathBuf)], seeds: u64, jobs: usize, base: &Path, some: &str) -> Vec<Check> {
    let mut checks = all(programs, seeds);
    checks.retain(|check| check.name.contains(some));
    let mut kept = try_all(&mut checks, jobs, base).into_iter();
    checks.retain(|_| kept.next().unwrap_or(false));
    checks.sort_by_key(|check| check.took);
    checks
}

fn restore(checks: &mut [Check], known: &Value) -> Vec<bool> {
    let mut kept = Vec::new();
    for check in checks {
        let noted = &known["checks"][check.name.as_str()];
        kept.push(noted.is_object());
        check.took = Duration::from_micros(noted["took_us"].as_u64().unwrap_or(0));
        let numbers = noted["passes"].as_array().map_or(&[][..], Vec::as_slice);
        check.passes = numbers.iter().filter_map(|n| Some(n.as_u64()? as u32)).collect();
    }
    kept
}

fn try_all(checks: &mut [Check], jobs: usize, base: &Path) -> Vec<bool> {
    let total = checks.len();
    let (next, done) = (Mutex::new(checks.iter_mut().enumerate()), AtomicUsize::new(0));
    let kept = Mutex::new(vec![false; total]);
    on_threads(jobs, base, |work| {
        loop {
            let Some((index, check)) = next.lock().expect("no thread panics").next() else { return };
            let well = check.record(work);
            kept.lock().expect("no thread panics")[index] = well;
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(100) {
                eprintln!("{done} of {total} checks tried on the unchanged core");
            }
        }
    });
    kept.into_inner().expect("no thread panics")
}

/// Runs the same on so many threads, each with a directory of its own.
pub fn on_threads(jobs: usize, base: &Path, run: impl Fn(&Path) + Sync) {
    std::thread::scope(|scope| {
        for job in 0..jobs {
            let (run, work) = (&run, base.join(format!("work-{job}")));
            scope.spawn(move || {
                fs::create_dir_all(&work).expect("a work directory");
                run(&work);
            });
        }
    });
}

/// Which changes anything passes.
pub fn reached(checks: &[Check]) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for number in checks.iter().flat_map(|check| &check.passes) {
        *counts.entry(*number).or_default() += 1;
    }
    counts
}
