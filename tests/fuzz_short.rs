//! Every fuzz target for about a second, on stable and without libFuzzer: inputs of the committed corpus, changed at random.
//!
//! Each run draws another seed, and prints it: `FUZZ_SEED=N cargo test --test fuzz_short` makes the same inputs again.
//! `FUZZ_MS` is how long each target runs, `FUZZ_TARGETS` names those that run. An input that breaks a target is written to a file and printed as hexadecimal
//! digits: put into `fuzz/corpus/TARGET` it is a test from then on, by `tests/wire/corpus.rs`.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fmt::Write as _;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// How long each target runs, unless told otherwise.
const EACH: Duration = Duration::from_millis(900);
/// An input that takes longer has hung, on however slow a machine.
const HANG: Duration = Duration::from_secs(60);
/// As the fuzzer has it.
const LONGEST: usize = 4_096;
/// Fewer inputs in its time say that a target has become slow, or does not run at all.
const FEWEST: u64 = 20;

#[test]
fn changed_inputs_of_the_corpus_pass() {
    let seed = number("FUZZ_SEED").unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        since.as_nanos() as u64
    });
    println!("FUZZ_SEED={seed}");
    let each = number("FUZZ_MS").map_or(EACH, Duration::from_millis);
    let only = std::env::var("FUZZ_TARGETS").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only.split_whitespace().any(|one| one == name);
    for (name, run) in targets::TARGETS.iter().filter(|(name, _)| wanted(name)) {
        let done = fuzz(name, *run, seed, each);
        println!("{name}: {done} inputs");
        assert!(done >= FEWEST, "{name}: only {done} inputs in {each:?}");
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Runs a target for a time, and at least so often that it says something; answers how often.
fn fuzz(name: &'static str, run: fn(&[u8]), seed: u64, each: Duration) -> u64 {
    let corpus = corpus(name);
    let watch = Watch::new(name);
    let began = Instant::now();
    let mut done = 0;
    while began.elapsed() < each || done < FEWEST && began.elapsed() < HANG {
        // From seed and number alone, so that a slower machine makes the same inputs, only fewer.
        let mut random = Random(seed ^ (done + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let input = changed(&corpus, &mut random);
        watch.begin(&input);
        if catch_unwind(AssertUnwindSafe(|| run(&input))).is_err() {
            panic!("{name} breaks at input {done} of seed {seed}{}", kept(name, &input));
        }
        done += 1;
    }
    done
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a readable input")).collect()
}

/// Writes an input where it outlives the test; where that is, and its bytes.
fn kept(name: &str, input: &[u8]) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
    let written = fs::write(&path, input).map_or_else(|error| error.to_string(), |()| path.display().to_string());
    let mut hex = String::new();
    input.iter().for_each(|byte| write!(hex, "{byte:02x}").expect("text takes it"));
    format!(": {} bytes, in {written}:\n{hex}", input.len())
}

/// Looks whether inputs end, and names one that does not.
struct Watch {
    begun: Sender<Vec<u8>>,
}

impl Watch {
    fn new(name: &'static str) -> Watch {
        let (begun, inputs) = channel::<Vec<u8>>();
        thread::spawn(move || {
            let mut current = Vec::new();
            loop {
                match inputs.recv_timeout(HANG) {
                    Ok(input) => current = input,
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        eprintln!("{name} hangs{}", kept(name, &current));
                        std::process::abort();
                    }
                }
            }
        });
        Watch { begun }
    }

    fn begin(&self, input: &[u8]) {
        self.begun.send(input.to_vec()).expect("the watch lives");
    }
}

struct Random(u64);

impl Random {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound.max(1) as u64) as usize
    }
}

/// An input of the corpus with one to eight changes.
fn changed(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(8) {
        change(&mut input, corpus, random);
    }
    input.truncate(LONGEST);
    input
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    /// Bounds of numbers, where mistakes are likely.
    const EDGES: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff, 0x40];
    let at = random.below(input.len() + 1);
    let end = (at + 1 + random.below(16)).min(input.len());
    match random.below(8) {
        0 => input.insert(at, random.draw() as u8),
        1 => drop(input.drain(at..end.max(at))),
        2 => drop(input.splice(at..at, vec![EDGES[random.below(8)]; 1 + random.below(8)])),
        3 => {
            // What another input has behind some place.
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        4 => {
            let piece = input[at..end.max(at)].to_vec();
            let to = random.below(input.len() + 1);
            input.splice(to..to, piece);
        }
        _ if at == input.len() => input.push(random.draw() as u8),
        5 => input[at] = EDGES[random.below(8)],
        6 => input[at] ^= 1 << random.below(8),
        _ => input[at] = input[at].wrapping_add(random.draw() as u8 % 9).wrapping_sub(4),
    }
}
