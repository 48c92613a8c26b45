//! One member in a process of its own, which makes sessions when it is told to, and tells what they cost it.
//!
//! It reads a command from each line of stdin and answers with a line of `key=value`, marked with [`MARK`] because a test
//! harness may write to the same stdout.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use decurion::{
    Attributes, Code, Config, Cookie, Engine, Event, MemberTag, Mode, SessionChange, SessionId, SessionOp, attributes,
};

/// In front of every line that is meant for whoever started the process.
pub const MARK: &str = "holder: ";
/// The settings of the member, as `key=value` in lines.
pub const SETTINGS: &str = "SESSION_MEMORY_SETTINGS";
/// An attribute's name and value have lengths of two and four bytes in front of them.
const PAIR_BYTES: usize = 6;

/// Counts what is allocated and not freed: unlike the process's memory, without the allocator's share.
struct Counting;

static LIVE_BYTES: AtomicU64 = AtomicU64::new(0);
static LIVE_BLOCKS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size() as u64, Ordering::Relaxed);
        LIVE_BLOCKS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        LIVE_BLOCKS.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE_BYTES.fetch_add(size as u64, Ordering::Relaxed);
        LIVE_BYTES.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs the member until stdin ends.
pub fn run(settings: &str) {
    let mut config = Config::new();
    for (key, value) in settings.lines().filter_map(|line| line.split_once('=')) {
        config.set(key, value).expect("a setting of the bench");
    }
    let engine = Engine::open(&config, Mode::Poll).expect("the loopback address can be bound");
    say(&format!("open address={}", engine.local_address()));
    let mut holder = Holder { engine, cookies: Vec::new(), made: 0, began: Instant::now(), views: 0, members: 0 };
    let commands = commands();
    loop {
        holder.pump(Duration::from_millis(5));
        match commands.try_recv() {
            Ok(command) => holder.obey(&command),
            Err(std::sync::mpsc::TryRecvError::Empty) => {}
            Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
        }
    }
}

/// Lines of stdin, read on a thread of their own so that the member goes on meanwhile.
fn commands() -> Receiver<String> {
    let (to, commands) = channel();
    std::thread::spawn(move || std::io::stdin().lock().lines().map_while(Result::ok).all(|l| to.send(l).is_ok()));
    commands
}

fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{MARK}{text}").and_then(|()| stdout.flush());
}

struct Holder {
    engine: Engine,
    /// What was made here; room for it is taken before anything is measured.
    cookies: Vec<Cookie>,
    made: usize,
    began: Instant,
    views: u64,
    members: usize,
}

/// What became of a run of requests.
#[derive(Default)]
struct Done {
    ok: u64,
    single: u64,
    refused: u64,
    unknown: u64,
    longest_us: u64,
}

impl Holder {
    fn obey(&mut self, command: &str) {
        let words: Vec<&str> = command.split_whitespace().collect();
        let number = |at: usize| words.get(at).and_then(|w| w.parse().ok()).expect("a number");
        match words.first().copied() {
            Some("room") => {
                let nothing = Cookie { id: SessionId(0), holders: [MemberTag::NONE; 2] };
                (self.cookies, self.made) = (vec![nothing; number(1)], 0);
                say("room");
            }
            Some("create") => {
                let (count, bytes, flight) = (number(1), number(2), number(3));
                self.timed("create", count, flight, |_, at| {
                    (None, SessionOp::Create { ttl_s: 0, attributes: content(at, bytes) })
                });
            }
            Some("write") => {
                let (token, bytes, flight) = (number(1), number(2), number(3));
                self.timed("write", self.made, flight, |cookies, at| {
                    let sets = content(at + token, bytes);
                    let change = SessionChange { token: token as u64, sets, ..SessionChange::default() };
                    (Some(cookies[at]), change.into())
                });
            }
            Some("cookies") => {
                let cookies: Vec<String> = self.cookies[..self.made].iter().map(Cookie::to_string).collect();
                say(&format!("cookies list={}", cookies.join(",")));
            }
            Some("take") => {
                let list = words.get(1).map_or("", |list| *list).split(',');
                self.cookies = list.filter_map(|cookie| cookie.parse().ok()).collect();
                self.made = self.cookies.len();
                say("take");
            }
            Some("stats") => self.tell_stats(),
            _ => say("unknown command"),
        }
    }

    /// Takes events when no request is under way.
    fn pump(&mut self, timeout: Duration) {
        let mut events = Vec::new();
        self.engine.poll(&mut events, 256, timeout).expect("the engine runs");
        events.iter().for_each(|event| self.note(event));
    }

    fn note(&mut self, event: &Event) {
        let at_ms = self.began.elapsed().as_millis();
        match event {
            Event::View(change) => {
                (self.views, self.members) = (self.views + 1, change.view.len());
                say(&format!("view number={} members={} at_ms={at_ms}", change.view.id.number, self.members));
            }
            Event::RedundancyRestored { sessions, .. } => say(&format!("restored sessions={sessions} at_ms={at_ms}")),
            Event::Suspected { member, why } => {
                say(&format!("suspected member={} at_ms={at_ms} why={}", member.name, why.replace(' ', "_")));
            }
            Event::Closed { reason } => say(&format!("closed reason={reason:?}")),
            _ => {}
        }
    }

    /// So many requests, `flight` of them at one time, and what they took.
    fn timed(
        &mut self, what: &str, count: usize, flight: usize,
        request: impl Fn(&[Cookie], usize) -> (Option<Cookie>, SessionOp),
    ) {
        let (began, cpu_us) = (Instant::now(), cpu_us());
        let (mut asked, mut answered, mut done) = (0, 0, Done::default());
        // Only what is under way, so that the bench's own memory is not taken for that of sessions.
        let mut since = BTreeMap::new();
        let mut events = Vec::with_capacity(256);
        while answered < count {
            while asked < count && asked - answered < flight {
                let (cookie, op) = request(&self.cookies, asked);
                match self.engine.session_request(asked as u64, cookie.as_ref(), op).expect("a legal request") {
                    Code::Ok => since.insert(asked as u64, Instant::now()),
                    _ => break,
                };
                asked += 1;
            }
            self.engine.poll(&mut events, 256, Duration::from_millis(20)).expect("the engine runs");
            for event in events.drain(..) {
                let Event::Session(answer) = event else {
                    self.note(&event);
                    continue;
                };
                answered += 1;
                let asked_at = since.remove(&answer.number).expect("asked for above");
                let took_us = asked_at.elapsed().as_micros() as u64;
                done.longest_us = done.longest_us.max(took_us);
                match answer.code {
                    Code::Ok => done.ok += 1,
                    Code::Unreplicated => done.single += 1,
                    Code::OutcomeUnknown => done.unknown += 1,
                    _ => done.refused += 1,
                }
                let kept = matches!(answer.code, Code::Ok | Code::Unreplicated);
                if what == "create" && kept && self.made < self.cookies.len() {
                    self.cookies[self.made] = Cookie::from(&answer);
                    self.made += 1;
                } else if what == "write" && kept {
                    self.cookies[answer.number as usize] = Cookie::from(&answer);
                }
            }
        }
        let (took_us, cpu_us) = (began.elapsed().as_micros(), self::cpu_us() - cpu_us);
        let Done { ok, single, refused, unknown, longest_us } = done;
        say(&format!(
            "{what} count={count} ok={ok} single={single} refused={refused} unknown={unknown} took_us={took_us} \
             cpu_us={cpu_us} longest_us={longest_us}"
        ));
    }

    fn tell_stats(&self) {
        let stats = self.engine.stats();
        let (bytes, blocks) = (LIVE_BYTES.load(Ordering::Relaxed), LIVE_BLOCKS.load(Ordering::Relaxed));
        say(&format!(
            "stats rss={} heap={bytes} blocks={blocks} primary={} secondary={} single={} accounted={} members={} \
             views={} suspicions={} cpu_us={}",
            rss_anon(),
            stats.sessions_primary,
            stats.sessions_secondary,
            stats.sessions_single,
            stats.session_bytes,
            self.members,
            self.views,
            stats.suspicions,
            cpu_us(),
        ));
    }
}

/// Attributes that take `bytes` bytes as they are kept, and are others for each session.
fn content(at: usize, bytes: usize) -> Attributes {
    let length = bytes.saturating_sub(PAIR_BYTES + 1);
    let mut value = at.to_le_bytes().repeat(length.div_ceil(8));
    value.truncate(length);
    attributes([("v", &value[..])]).expect("one legal attribute")
}

/// Bytes of memory that are the process's own.
fn rss_anon() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the kernel tells it");
    let line = status.lines().find(|l| l.starts_with("RssAnon:")).expect("the kernel tells it");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).expect("a number") * 1024
}

/// Microseconds of processor time that the process has used.
fn cpu_us() -> u64 {
    let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of our own; the clock of the calling process always exists.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut used) };
    assert_eq!(answer, 0, "the clock can always be read");
    used.tv_sec as u64 * 1_000_000 + used.tv_nsec as u64 / 1_000
}
