//! Web servers that keep their visitors' sessions in the cluster, killed in traffic: every visit that was acknowledged is there, and
//! none is counted twice (S1, S4). The servers are the examples that a user copies, and are asked as any client asks.

mod command_support;
mod ffi_support;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use command_support::{PATIENCE, Process};
use ffi_support::{cc, linkable, root, run};

const SERVERS: usize = 3;
const CLIENTS: usize = 10;
/// Acknowledged visits between two kills.
const TRAFFIC: u64 = 100;
/// How often what tells no events is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(10);

#[test]
fn c_servers_are_killed_in_traffic_and_no_visit_is_lost_or_counted_twice() {
    let folder = linkable("session-servers-c");
    let binary = compile(&folder, &[]);
    kill_in_traffic("C", 12, &|| {
        let mut command = Command::new(&binary);
        command.env("LD_LIBRARY_PATH", &folder);
        command
    });
}

#[test]
fn c_servers_under_sanitizers_are_killed_in_traffic_and_leave_nothing_behind() {
    let folder = linkable("session-servers-sanitized");
    let binary = compile(&folder, &["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
    kill_in_traffic("C under sanitizers", 3, &|| {
        let mut command = Command::new(&binary);
        command.env("LD_LIBRARY_PATH", &folder).env("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0");
        command
    });
}

#[test]
fn rust_servers_are_killed_in_traffic_and_no_visit_is_lost_or_counted_twice() {
    let program = std::env::current_exe().expect("the test program has a path");
    let binary = program.ancestors().nth(2).expect("target/debug").join("examples/session_server");
    assert!(binary.exists(), "{} is missing: run `cargo build --example session_server`", binary.display());
    kill_in_traffic("Rust", 12, &|| Command::new(&binary));
}

fn compile(folder: &std::path::Path, flags: &[&str]) -> PathBuf {
    let binary = folder.join("session_server");
    let source = root().join("ffi-examples/c/session_server.c");
    run(cc().args(flags).arg("-o").arg(&binary).arg(source).arg(folder.join("libdecurion.so")).arg("-lmicrohttpd"));
    binary
}

/// Three servers in traffic; again and again one is killed and started again, as soon as all sessions have two copies and all three
/// are in the view.
fn kill_in_traffic(host: &str, kills: usize, program: &dyn Fn() -> Command) {
    let begun = Instant::now();
    let mut fleet = Fleet::start(program);
    let (mut killed, mut view) = (0, fleet.await_whole(0));
    strange_requests_are_answered(fleet.http);
    let world = World { ports: fleet.http, ..World::default() };
    let journals: Vec<Journal> = thread::scope(|scope| {
        let world = &world;
        let clients: Vec<_> = (0..CLIENTS).map(|index| scope.spawn(move || Client::new(index, world).run())).collect();
        // Whatever fails here, the clients end.
        let end = SetAtEnd(&world.over);
        while killed < kills {
            world.await_visits(TRAFFIC);
            if world.over.load(SeqCst) {
                break; // A client has met a fault.
            }
            let victim = if killed % 2 == 0 { fleet.owner_of_most() } else { world.served_last.load(SeqCst) };
            fleet.kill(victim);
            killed += 1;
            if killed % 3 == 0 {
                fleet.await_copies_without(victim);
                world.await_visits(TRAFFIC / 2);
            }
            fleet.launch(victim, program);
            view = fleet.await_whole(view);
        }
        world.await_visits(TRAFFIC);
        drop(end);
        clients.into_iter().map(|client| client.join().expect("a client ends")).collect()
    });
    let mut sum = Journal::default();
    journals.into_iter().for_each(|journal| sum.add(journal));
    let seconds = begun.elapsed().as_secs_f64();
    println!("{host}: {killed} kills, {sum}, {seconds:.1} s");
    assert!(sum.faults.is_empty() && sum.lost == 0 && sum.double == 0, "{host}: {sum}\n{}", sum.faults.join("\n"));
    assert!(sum.acknowledged >= TRAFFIC * kills as u64 && sum.cut_off > 0, "{host}: too little happened: {sum}");
    fleet.end();
}

/// What is no ordinary visit: cookies of nobody, a text that is no HTML, a number that is too old.
fn strange_requests_are_answered([one, two, three]: [u16; SERVERS]) {
    let get = |port: u16, target: &str, cookie: Option<&str>| ask(port, target, cookie, None).expect("an answer");
    let unknown = format!("{:032x}!{:016x}!{:016x}", 7, 0, 0);
    let first = get(one, "/", Some("no cookie"));
    for answer in [&first, &get(two, "/", Some(&unknown)), &get(three, "/?new", first.cookie.as_deref())] {
        assert!(answer.status == 200 && answer.field("visits") == "1", "{answer:?}");
        assert_ne!(answer.cookie.as_ref().expect("of a new session")[..32], unknown[..32]);
    }
    assert_eq!(get(three, "/", first.cookie.as_deref()).field("visits"), "2");
    let page = ask_for("text/html", two, "/", first.cookie.as_deref(), Some("text=%3Cb%3E+%26")).expect("an answer");
    assert!(page.body.contains("<h1>Visit 3</h1>") && page.body.contains("&#60;b&#62; &#38;"), "{page:?}");
    let none = get(one, "/favicon.ico", None);
    assert!(none.status == 404 && none.cookie.is_none(), "{none:?}");
    let numbered = get(one, "/?visit=1", None).cookie;
    for number in 2..=9 {
        assert_eq!(get(two, &format!("/?visit={number}"), numbered.as_deref()).number("visits"), number);
    }
    let late = get(three, "/?visit=1", numbered.as_deref());
    assert_eq!(late.status, 409, "{late:?}");
}

/// What the clients and the one who kills share.
#[derive(Default)]
struct World {
    ports: [u16; SERVERS],
    over: AtomicBool,
    acknowledged: AtomicU64,
    served_last: AtomicUsize,
}

struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

impl World {
    /// Waits until so many more visits are acknowledged, or a client has met a fault.
    fn await_visits(&self, count: u64) {
        let goal = self.acknowledged.load(SeqCst) + count;
        await_world("visits", || (self.acknowledged.load(SeqCst) >= goal || self.over.load(SeqCst)).then_some(()));
    }
}

fn await_world<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(LOOK_EVERY);
    }
}

/// What one client, or all, have met.
#[derive(Default)]
struct Journal {
    requests: u64,
    acknowledged: u64,
    /// Visits that were asked for more than once.
    repeated: u64,
    /// Requests whose answer did not come: refused, reset, or ended too early.
    cut_off: u64,
    /// Answers "not now".
    put_off: u64,
    /// Acknowledged visits that are missing, and visits that count more than once.
    lost: u64,
    double: u64,
    slowest_answer: Duration,
    slowest_visit: Duration,
    faults: Vec<String>,
    reasons: BTreeMap<String, u64>,
}

impl Journal {
    fn add(&mut self, other: Journal) {
        self.requests += other.requests;
        self.acknowledged += other.acknowledged;
        self.repeated += other.repeated;
        self.cut_off += other.cut_off;
        self.put_off += other.put_off;
        self.lost += other.lost;
        self.double += other.double;
        self.slowest_answer = self.slowest_answer.max(other.slowest_answer);
        self.slowest_visit = self.slowest_visit.max(other.slowest_visit);
        self.faults.extend(other.faults);
        other.reasons.into_iter().for_each(|(reason, count)| *self.reasons.entry(reason).or_default() += count);
    }
}

impl std::fmt::Display for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Journal { requests, acknowledged, repeated, cut_off, put_off, lost, double, .. } = self;
        write!(f, "{requests} requests, {acknowledged} visits acknowledged, {repeated} of them repeated, ")?;
        write!(f, "{cut_off} requests cut off, {put_off} put off, {lost} lost, {double} double; ")?;
        let (answer, visit) = (self.slowest_answer.as_millis(), self.slowest_visit.as_millis());
        write!(f, "slowest answer {answer} ms, slowest visit {visit} ms, reasons {:?}", self.reasons)
    }
}

/// A browser that numbers its visits and goes to any server each time.
struct Client<'a> {
    index: usize,
    world: &'a World,
    lot: u64,
    cookie: Option<String>,
    text: String,
    journal: Journal,
}

impl Client<'_> {
    fn new(index: usize, world: &World) -> Client<'_> {
        Client { index, world, lot: index as u64, cookie: None, text: String::new(), journal: Journal::default() }
    }

    fn run(mut self) -> Journal {
        for number in 1.. {
            // One more when all is quiet again.
            let over = self.world.over.load(SeqCst);
            if let Err(fault) = self.visit(number) {
                self.journal.faults.push(format!("client {}, visit {number}: {fault}", self.index));
                self.world.over.store(true, SeqCst);
                break;
            }
            if over {
                break;
            }
        }
        self.journal
    }

    fn draw_server(&mut self) -> usize {
        self.lot = self.lot.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.lot >> 33) as usize % SERVERS
    }

    /// Asks until the visit is acknowledged, and compares what it is told with what must be.
    fn visit(&mut self, number: u64) -> Result<(), String> {
        let begun = Instant::now();
        let text = number.is_multiple_of(8).then(|| format!("client {} at {number}", self.index));
        for tries in 1.. {
            let server = self.draw_server();
            let asked = Instant::now();
            self.journal.requests += 1;
            let form = text.as_ref().map(|text| format!("text={}", text.replace(' ', "+")));
            let answer =
                ask(self.world.ports[server], &format!("/?visit={number}"), self.cookie.as_deref(), form.as_deref());
            if begun.elapsed() > PATIENCE {
                return Err(format!("not acknowledged after {tries} tries: {answer:?}"));
            }
            let Ok(answer) = answer else {
                self.journal.cut_off += 1;
                thread::sleep(LOOK_EVERY);
                continue;
            };
            self.journal.slowest_answer = self.journal.slowest_answer.max(asked.elapsed());
            if let Some(cookie) = &answer.cookie {
                self.cookie = Some(cookie.clone());
            }
            if answer.status == 503 {
                self.journal.put_off += 1;
                *self.journal.reasons.entry(answer.body.trim().to_owned()).or_default() += 1;
                thread::sleep(LOOK_EVERY);
                continue;
            }
            if answer.status != 200 {
                return Err(format!("{answer:?}"));
            }
            self.journal.acknowledged += 1;
            self.journal.repeated += u64::from(tries > 1);
            self.journal.slowest_visit = self.journal.slowest_visit.max(begun.elapsed());
            self.world.acknowledged.fetch_add(1, SeqCst);
            self.world.served_last.store(server, SeqCst);
            return self.compare(number, text, &answer);
        }
        unreachable!("it is tried until the time is over")
    }

    fn compare(&mut self, number: u64, text: Option<String>, answer: &Answer) -> Result<(), String> {
        let counted: u64 = answer.field("visits").parse().map_err(|_| format!("no count: {answer:?}"))?;
        self.journal.lost += number.saturating_sub(counted);
        self.journal.double += counted.saturating_sub(number);
        if let Some(text) = text {
            self.text = text;
        }
        if counted != number || answer.field("text") != self.text {
            return Err(format!("expected the text {:?}, and was told: {answer:?}", self.text));
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    cookie: Option<String>,
    body: String,
}

impl Answer {
    /// A value of the lines of the body; empty if it is not there.
    fn field(&self, name: &str) -> &str {
        self.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
    }

    fn number(&self, name: &str) -> u64 {
        self.field(name).parse().unwrap_or_else(|_| panic!("no number {name}: {self:?}"))
    }
}

fn ask(port: u16, target: &str, cookie: Option<&str>, form: Option<&str>) -> io::Result<Answer> {
    ask_for("text/plain", port, target, cookie, form)
}

/// One request on a connection of its own. An error: no whole answer came.
fn ask_for(kind: &str, port: u16, target: &str, cookie: Option<&str>, form: Option<&str>) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let method = if form.is_some() { "POST" } else { "GET" };
    let mut request =
        format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: {kind}\r\n");
    if let Some(cookie) = cookie {
        request += &format!("Cookie: sid={cookie}\r\n");
    }
    if let Some(form) = form {
        request += "Content-Type: application/x-www-form-urlencoded\r\n";
        request += &format!("Content-Length: {}\r\n", form.len());
    }
    stream.write_all(format!("{request}\r\n{}", form.unwrap_or_default()).as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    if header("Content-Length").and_then(|length| length.parse().ok()) != Some(body.len()) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    assert_eq!(status == 503, header("Retry-After").is_some(), "{head}");
    let cookie = header("Set-Cookie").map(|cookie| {
        let (sid, rest) = cookie.strip_prefix("sid=").and_then(|cookie| cookie.split_once("; ")).expect("a cookie");
        assert_eq!(rest, "Path=/; HttpOnly; SameSite=Lax");
        sid.to_owned()
    });
    Ok(Answer { status, cookie, body: body.to_owned() })
}

/// The servers, each on the same addresses in all its lives.
struct Fleet {
    servers: Vec<Option<Process>>,
    http: [u16; SERVERS],
    cluster: [u16; SERVERS],
}

impl Fleet {
    fn start(program: &dyn Fn() -> Command) -> Fleet {
        let ports = || std::array::from_fn(|_| steady_port());
        let mut fleet = Fleet { servers: (0..SERVERS).map(|_| None).collect(), http: ports(), cluster: ports() };
        (0..SERVERS).for_each(|at| fleet.launch(at, program));
        fleet
    }

    fn launch(&mut self, at: usize, program: &dyn Fn() -> Command) {
        let mut command = program();
        let seeds: Vec<String> = (0..SERVERS).map(|at| format!("s{at}@127.0.0.1:{}", self.cluster[at])).collect();
        command.args([
            self.http[at].to_string(),
            format!("s{at}"),
            format!("127.0.0.1:{}", self.cluster[at]),
            seeds.join(","),
        ]);
        self.servers[at] = Some(Process::spawn(&format!("s{at}"), command));
    }

    /// SIGKILL, and the end of the process is waited for.
    fn kill(&mut self, at: usize) {
        drop(self.servers[at].take().expect("it runs"));
    }

    /// What the running ones say of themselves; `None` while one does not answer.
    fn states(&self) -> Option<Vec<Answer>> {
        let running = (0..SERVERS).filter(|at| self.servers[*at].is_some());
        running.map(|at| ask(self.http[at], "/state", None, None).ok()).collect()
    }

    /// Waits until all that run are in one view after this one and every session has two copies; answers that view's number.
    fn await_copies(&self, after: u64) -> u64 {
        let running = self.servers.iter().flatten().count();
        await_world("one view and two copies of each session", || {
            let states = self.states()?;
            let view = states[0].number("view");
            let one = states
                .iter()
                .all(|state| state.number("view") == view && state.field("members").split(',').count() == running);
            let single: u64 = states.iter().map(|state| state.number("sessions_single")).sum();
            (one && view > after && single == 0).then_some(view)
        })
    }

    fn await_whole(&self, after: u64) -> u64 {
        assert!(self.servers.iter().all(Option::is_some));
        self.await_copies(after)
    }

    fn await_copies_without(&self, dead: usize) {
        assert!(self.servers[dead].is_none());
        self.await_copies(0);
    }

    fn owner_of_most(&self) -> usize {
        let states = self.states().expect("all run");
        (0..SERVERS).max_by_key(|at| states[*at].number("sessions_primary")).expect("there are some")
    }

    /// SIGTERM: each leaves, and ends well.
    fn end(self) {
        for server in self.servers.into_iter().flatten() {
            let ended = server.terminate();
            assert!(ended.code == Some(0) && ended.stderr.is_empty(), "{ended:?}");
        }
    }
}

/// A port that is free for both transports and stays so while its server is dead: none of those that the system gives to clients.
fn steady_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = 15_000 + (std::process::id() % 1_500) as u16 * 10;
    loop {
        let port = own + NEXT.fetch_add(1, SeqCst);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
