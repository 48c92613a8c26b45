//! What sessions cost: memory of an idle one on each of its holders, and time to make and to change one.
//!
//! Every holder is a process of its own, so that one's memory is not the other's. Without flags: two holders, 50,000 sessions of
//! 2,048 bytes. `--members 10 --sessions 100000 --bytes 100 --all --kill` has ten members make as many each, then kills one and
//! shows how long it takes until every session has two copies again. `--moves 2` changes each session on another member, twice.

mod cluster;
mod holder;

use std::process::Command;
use std::time::{Duration, Instant};

use cluster::{Process, Said};

/// What an idle session of 2,048 bytes may take on each holder.
const TARGET_BYTES: u64 = 2_200;
const TARGET_CONTENT: u64 = 2_048;
/// Longer than any step may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often everybody is asked while copies are made anew.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The flags.
struct Shape {
    members: usize,
    sessions: u64,
    bytes: u64,
    flight: u64,
    writes: u64,
    moves: u64,
    all: bool,
    kill: bool,
    settings: Vec<(String, String)>,
}

fn main() {
    if let Ok(settings) = std::env::var(holder::SETTINGS) {
        return holder::run(&settings);
    }
    let shape = Shape::from_words(std::env::args().skip(1));
    let command = || Command::new(std::env::current_exe().expect("this program has a path"));
    let settings: Vec<(&str, &str)> = shape.settings.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let mut holders = cluster::cluster(shape.members, command, &settings, PATIENCE);
    let pids: Vec<String> = holders.iter().map(|h| format!("{} {}", h.name, h.pid())).collect();
    println!("holders: {}", pids.join(", "));
    let makers = if shape.all { shape.members } else { 1 };
    for holder in &mut holders[..makers] {
        holder.ask(&format!("room {}", shape.sessions), PATIENCE);
    }
    let before = idle(&mut holders);
    run(&shape, &mut holders, makers, &before);
    if shape.kill {
        kill(&mut holders, makers as u64 * shape.sessions);
    }
}

impl Shape {
    fn from_words(words: impl Iterator<Item = String>) -> Shape {
        let mut shape = Shape {
            members: 2,
            sessions: 50_000,
            bytes: TARGET_CONTENT,
            flight: 64,
            writes: 1,
            moves: 0,
            all: false,
            kill: false,
            settings: Vec::new(),
        };
        let mut words = words;
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            let mut number = || value().parse::<u64>().expect("a whole number");
            match word.as_str() {
                "--members" => shape.members = number() as usize,
                "--sessions" => shape.sessions = number(),
                "--bytes" => shape.bytes = number(),
                "--flight" => shape.flight = number(),
                "--writes" => shape.writes = number(),
                "--moves" => shape.moves = number(),
                "--all" => shape.all = true,
                "--kill" => shape.kill = true,
                "--set" => {
                    let pair = value();
                    let (key, value) = pair.split_once('=').expect("key=value");
                    shape.settings.push((key.to_owned(), value.to_owned()));
                }
                // Cargo says so to every bench.
                "--bench" => {}
                other => panic!("{other}: no flag of this bench"),
            }
        }
        shape
    }
}

/// What everybody has once nothing moves any more: the same figures twice.
fn idle(holders: &mut [Process]) -> Vec<Said> {
    let figures = |said: &[Said]| -> Vec<(u64, u64)> {
        said.iter().map(|s| (s.number("heap") / 65_536, s.number("single"))).collect()
    };
    let mut last = stats(holders);
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let now = stats(holders);
        if figures(&now) == figures(&last) {
            return now;
        }
        last = now;
    }
}

fn stats(holders: &mut [Process]) -> Vec<Said> {
    holders.iter_mut().map(|holder| holder.ask("stats", PATIENCE)).collect()
}

/// Makes the sessions, shows what they take, and changes them.
fn run(shape: &Shape, holders: &mut [Process], makers: usize, before: &[Said]) {
    let Shape { sessions, bytes, flight, .. } = *shape;
    step(holders, makers, "create", &format!("create {sessions} {bytes} {flight}"));
    let after = idle(holders);
    memory_table(holders, before, &after, bytes);
    for token in 1..=shape.writes {
        step(holders, makers, "write", &format!("write {token} {bytes} {flight}"));
    }
    for round in 1..=shape.moves {
        pass_on(holders, makers, round as usize);
        println!("on another member than the one before:");
        let token = shape.writes + round;
        step(holders, holders.len(), "write", &format!("write {token} {bytes} {flight}"));
    }
    if shape.writes > 0 {
        let after = idle(holders);
        println!("after {} changes of each:", shape.writes);
        memory_table(holders, before, &after, bytes);
    }
}

/// Whoever comes next gets the cookies of each member: its users come there from now on.
fn pass_on(holders: &mut [Process], makers: usize, round: usize) {
    let givers = if round == 1 { makers } else { holders.len() };
    let mut lists = vec![String::new(); holders.len()];
    for giver in 0..givers {
        lists[(giver + 1) % holders.len()] = holders[giver].ask("cookies", PATIENCE).text("list").to_owned();
    }
    for (holder, list) in holders.iter_mut().zip(lists) {
        holder.ask(&format!("take {list}"), PATIENCE);
    }
}

/// The makers do this all at once; what it took, and what all processes worked for it.
fn step(holders: &mut [Process], makers: usize, what: &str, command: &str) {
    let before: u64 = stats(holders).iter().map(|s| s.number("cpu_us")).sum();
    let began = Instant::now();
    holders[..makers].iter_mut().for_each(|holder| holder.tell(command));
    let done: Vec<Said> = holders[..makers].iter_mut().map(|holder| holder.wait(what, PATIENCE)).collect();
    let took = began.elapsed().as_secs_f64();
    let cpu_us = stats(holders).iter().map(|s| s.number("cpu_us")).sum::<u64>() - before;
    let sum = |key: &str| done.iter().map(|said| said.number(key)).sum::<u64>();
    let longest_ms = done.iter().map(|said| said.number("longest_us")).max().unwrap_or(0) / 1_000;
    let count = sum("count");
    println!(
        "{what}: {count} in {took:.2} s, {:.0} a second; {:.1} us of processor time each on all members, {:.1} on who is asked; \
         longest {longest_ms} ms; ok {}, unreplicated {}, refused {}, unknown {}",
        count as f64 / took,
        cpu_us as f64 / count as f64,
        sum("cpu_us") as f64 / count as f64,
        sum("ok"),
        sum("single"),
        sum("refused"),
        sum("unknown"),
    );
}

fn memory_table(holders: &[Process], before: &[Said], after: &[Said], bytes: u64) {
    println!("holder  primary  secondary  single   rss/session  heap/session  blocks/session  accounted  over content");
    let mut fine = true;
    for (at, holder) in holders.iter().enumerate() {
        let (old, new) = (&before[at], &after[at]);
        let count = new.number("primary") + new.number("secondary");
        if count == 0 {
            println!("{:6}  holds none", holder.name);
            continue;
        }
        let each = |key: &str| (new.number(key) as f64 - old.number(key) as f64) / count as f64;
        let rss = each("rss");
        fine &= bytes != TARGET_CONTENT || rss <= TARGET_BYTES as f64;
        println!(
            "{:6}  {:>7}  {:>9}  {:>6}  {rss:>12.1}  {:>12.1}  {:>14.2}  {:>9.1}  {:>12.1}",
            holder.name,
            new.number("primary"),
            new.number("secondary"),
            new.number("single"),
            each("heap"),
            each("blocks"),
            new.number("accounted") as f64 / count as f64,
            rss - bytes as f64,
        );
    }
    if bytes == TARGET_CONTENT {
        let verdict = if fine { "holds" } else { "does not hold" };
        println!("target: {TARGET_BYTES} bytes on each holder for {TARGET_CONTENT} of content: {verdict}");
    }
}

/// Kills the last member, and shows how the others come back to two copies of each session.
fn kill(holders: &mut Vec<Process>, expected: u64) {
    let held = stats(holders);
    let sum = |said: &[Said], key: &str| said.iter().map(|s| s.number(key)).sum::<u64>();
    let mut victim = holders.pop().expect("there are members");
    let lost = held.last().expect("as many as members");
    println!(
        "SIGKILL to {}: {} primaries, {} secondaries",
        victim.name,
        lost.number("primary"),
        lost.number("secondary")
    );
    let cpu_us = sum(&held[..holders.len()], "cpu_us");
    let began = Instant::now();
    victim.kill();
    let mut told = None;
    while began.elapsed() < PATIENCE {
        std::thread::sleep(LOOK_EVERY);
        let now = stats(holders);
        let (primary, secondary, single) = (sum(&now, "primary"), sum(&now, "secondary"), sum(&now, "single"));
        let members: Vec<u64> = now.iter().map(|s| s.number("members")).collect();
        let line = (primary, secondary, single);
        if told.replace(line) != Some(line) {
            let took = began.elapsed().as_secs_f64();
            println!(
                "{took:6.2} s: {primary} primaries, {secondary} secondaries, {single} single; views of {members:?}"
            );
        }
        if (primary, secondary, single) == (expected, expected, 0) {
            let cpu = (sum(&now, "cpu_us") - cpu_us) as f64 / 1e6;
            println!("two copies of each after {:.2} s; {cpu:.2} s of processor time", began.elapsed().as_secs_f64());
            break;
        }
    }
    for holder in holders {
        let news = holder.news.iter().filter(|n| n.about != "view");
        news.for_each(|n| println!("{}: {} {n:?}", holder.name, n.about));
    }
}
