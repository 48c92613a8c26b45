//! Session servers on the hosts of a bad network, and visitors that ask them on the loopback device of each host: what they are told
//! is not touched by the switch.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use super::history::{History, Outcome, Visit};
use super::link::Random;
use super::{Network, address};
use crate::command_support::{PATIENCE, Process};

/// On the loopback device of each host.
const HTTP_PORT: u16 = 8_080;
const CLUSTER_PORT: u16 = 7_100;
/// Longer than a server takes for any answer (its own patience is 8 s).
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);
/// How often what tells no events is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Between two tries of a visitor that was put off: those who wait must not take the processors from those who work.
const PAUSE: Duration = Duration::from_millis(20);

/// One server on each host, with the same addresses in all its lives.
pub struct Cluster {
    pub network: Network,
    servers: Vec<Mutex<Option<Process>>>,
}

/// What a server says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub view: u64,
    pub members: Vec<String>,
    pub sessions_primary: u64,
    pub sessions_single: u64,
}

impl Cluster {
    pub fn start(network: Network) -> Cluster {
        let servers = network.hosts.iter().map(|_| Mutex::new(None)).collect();
        let cluster = Cluster { network, servers };
        cluster.hosts().for_each(|host| cluster.launch(host));
        cluster
    }

    pub fn hosts(&self) -> std::ops::Range<usize> {
        0..self.servers.len()
    }

    /// From the thread of the test: a process ends with the thread that has started it.
    pub fn launch(&self, host: usize) {
        let mut command = Command::new(server_program());
        let seed = |host| format!("{}@{}:{CLUSTER_PORT}", name(host), address(host));
        let seeds: Vec<String> = self.hosts().map(seed).collect();
        command.args([HTTP_PORT.to_string(), name(host), format!("{}:{CLUSTER_PORT}", address(host)), seeds.join(",")]);
        // These addresses are no loopback ones, so it must be said.
        command.env("DECURION_SECURITY", "none");
        *self.server(host) = Some(self.network.spawn(host, &name(host), command));
    }

    /// SIGKILL, and the end of the process is waited for.
    pub fn kill(&self, host: usize) {
        drop(self.server(host).take().expect("it runs"));
    }

    pub fn pid(&self, host: usize) -> u32 {
        self.server(host).as_ref().expect("it runs").pid()
    }

    pub fn signal(&self, host: usize, signal: i32) {
        self.server(host).as_ref().expect("it runs").signal(signal);
    }

    fn server(&self, host: usize) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.servers[host].lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What this server says now; `None` if it does not answer.
    pub fn state(&self, host: usize) -> Option<State> {
        let answer = self.ask(host, "/state", None, None, PATIENCE).ok()?;
        let number = |name| answer.field(name).parse().ok();
        Some(State {
            view: number("view")?,
            members: answer.field("members").split(',').map(str::to_owned).collect(),
            sessions_primary: number("sessions_primary")?,
            sessions_single: number("sessions_single")?,
        })
    }

    /// Waits until these servers, and no others, are in one view after `after`, with two copies of each session; answers that view.
    pub fn await_whole(&self, hosts: &[usize], after: u64) -> u64 {
        self.await_view(hosts, after, |state| state.sessions_single == 0)
    }

    /// The same, whatever copies there are: with two members gone, some sessions are out of reach.
    pub fn await_members(&self, hosts: &[usize], after: u64) -> u64 {
        self.await_view(hosts, after, |_| true)
    }

    fn await_view(&self, hosts: &[usize], after: u64, fits: impl Fn(&State) -> bool) -> u64 {
        let names: Vec<String> = hosts.iter().map(|host| name(*host)).collect();
        let mut last = Vec::new();
        let whole = look_until(|| {
            last = hosts.iter().map(|host| self.state(*host)).collect::<Vec<_>>();
            let states: Vec<&State> = last.iter().flatten().collect();
            let view = states.first()?.view;
            let one = states.len() == hosts.len()
                && states.iter().all(|state| {
                    let all =
                        state.members.len() == names.len() && names.iter().all(|name| state.members.contains(name));
                    state.view == view && all && fits(state)
                });
            (one && view > after).then_some(view)
        });
        whole.unwrap_or_else(|| panic!("{names:?} do not come to one whole view after {after}: {last:?}"))
    }

    pub fn await_all(&self, after: u64) -> u64 {
        self.await_whole(&self.hosts().collect::<Vec<_>>(), after)
    }

    pub fn owner_of_most(&self) -> usize {
        let owned = |host: &usize| self.state(*host).map_or(0, |state| state.sessions_primary);
        self.hosts().max_by_key(owned).expect("there are some")
    }

    /// Who is first in the view of all: the coordinator, and the leader of its group.
    pub fn coordinator(&self) -> usize {
        let state = self.state(0).expect("it serves");
        self.hosts().find(|host| state.members.first() == Some(&name(*host))).expect("one of ours")
    }

    /// Opens so many connections to a server, and says nothing. As many as it takes.
    pub fn connect(&self, host: usize, count: usize) -> Vec<TcpStream> {
        self.network.hosts[host].enter().expect("it is there");
        (0..count).map_while(|_| TcpStream::connect(("127.0.0.1", HTTP_PORT)).ok()).collect()
    }

    /// Waits until this server has ended, for whatever reason.
    pub fn await_end(&self, host: usize) {
        let server = self.server(host).take().expect("it was started");
        let ended = server.end();
        assert_eq!(ended.code, None, "a signal ended it: {ended:?}");
    }

    /// SIGTERM to all: each leaves, and ends well.
    pub fn end(self) {
        let servers: Vec<Process> = self.hosts().filter_map(|host| self.server(host).take()).collect();
        servers.iter().for_each(|server| server.signal(libc::SIGTERM));
        for server in servers {
            let ended = server.end();
            assert!(ended.code == Some(0) && ended.stderr.is_empty(), "{ended:?}");
        }
    }

    /// One request on a connection of its own, from the host of the server. The calling thread stays on that host.
    fn ask(
        &self, host: usize, target: &str, cookie: Option<&str>, form: Option<&str>, patience: Duration,
    ) -> io::Result<Answer> {
        self.network.hosts[host].enter()?;
        let mut stream = TcpStream::connect(("127.0.0.1", HTTP_PORT))?;
        stream.set_read_timeout(Some(patience))?;
        let cookie = cookie.map(|cookie| format!("Cookie: sid={cookie}\r\n")).unwrap_or_default();
        let (method, length) = form.map_or(("GET", 0), |form| ("POST", form.len()));
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\n{cookie}Content-Length: {length}\r\n\r\n{}",
            form.unwrap_or_default()
        );
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        if header("Content-Length").and_then(|length| length.parse().ok()) != Some(body.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        let cookie = header("Set-Cookie").and_then(|cookie| cookie.strip_prefix("sid=")?.split(';').next());
        Ok(Answer { status, cookie: cookie.map(str::to_owned), body: body.to_owned() })
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
}

/// What the visitors and the one who breaks things share.
pub struct World<'a> {
    pub cluster: &'a Cluster,
    over: AtomicBool,
    acknowledged: AtomicU64,
    /// The newest cookie of each session, and the version that it came with.
    sessions: Vec<Mutex<(u64, String)>>,
    /// When the newest visit began that a server has ended, in whatever way.
    last_asked: Vec<Mutex<Option<Instant>>>,
}

struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

impl World<'_> {
    /// Begins so many sessions.
    pub fn new(cluster: &Cluster, sessions: usize) -> World<'_> {
        let begin = |at: usize| {
            let host = at % cluster.hosts().len();
            let answer = look_until(|| {
                cluster.ask(host, "/?new", None, Some("text=begin"), ANSWER_PATIENCE).ok().filter(|a| a.status == 200)
            });
            let answer = answer.unwrap_or_else(|| panic!("{} begins no session", name(host)));
            Mutex::new((1, answer.cookie.expect("of a new session")))
        };
        let sessions = (0..sessions).map(begin).collect();
        let last_asked = cluster.hosts().map(|_| Mutex::default()).collect();
        World { cluster, over: AtomicBool::new(false), acknowledged: AtomicU64::new(0), sessions, last_asked }
    }

    /// Waits until so many more visits are acknowledged, or a visitor has met a fault.
    pub fn await_visits(&self, count: u64) {
        let goal = self.acknowledged.load(SeqCst) + count;
        let come = look_until(|| (self.acknowledged.load(SeqCst) >= goal || self.over.load(SeqCst)).then_some(()));
        assert!(come.is_some(), "{} visits, and no {goal}", self.acknowledged.load(SeqCst));
    }

    /// Whether a visitor has met a fault.
    pub fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// Waits until each of these servers has answered a visit that began after this, in whatever way: the history tells how.
    pub fn await_answers(&self, servers: &[usize], from: Instant) {
        for server in servers {
            let last = || *self.last_asked[*server].lock().expect("nobody panics there");
            let answered = look_until(|| last().filter(|begun| *begun >= from));
            assert!(answered.is_some() || self.is_over(), "{} answers nobody", name(*server));
        }
    }

    /// Does something while so many visitors ask, each at a server that `choose` names; answers what they were told, and how many
    /// visits each session has in the end.
    pub fn in_traffic(
        &self, visitors: usize, choose: impl Fn(usize, &mut Random) -> usize + Sync, act: impl FnOnce(),
    ) -> (History, Vec<u64>) {
        let mut history = History::default();
        thread::scope(|scope| {
            // Whatever fails here, the visitors end.
            let end = SetAtEnd(&self.over);
            let choose = &choose;
            let visit = |at: usize| move || self.visit_on(at, |random| choose(at, random));
            let visitors: Vec<_> = (0..visitors).map(|at| scope.spawn(visit(at))).collect();
            act();
            drop(end);
            visitors.into_iter().for_each(|visitor| history.visits.extend(visitor.join().expect("a visitor ends")));
        });
        let (finals, last) = self.finals();
        history.visits.extend(last);
        (history, finals)
    }

    fn visit_on(&self, visitor: usize, choose: impl Fn(&mut Random) -> usize) -> Vec<Visit> {
        let mut random = Random(visitor as u64);
        let mut visits = Vec::new();
        while !self.over.load(SeqCst) {
            let server = choose(&mut random);
            let visit = self.visit(visitor % self.sessions.len(), server, format!("v{visitor}-{}", visits.len()));
            match visit.outcome {
                Outcome::Counted { .. } | Outcome::CountedBefore { .. } => drop(self.acknowledged.fetch_add(1, SeqCst)),
                Outcome::Open { .. } | Outcome::Denied => thread::sleep(PAUSE),
                Outcome::Wrong { .. } => self.over.store(true, SeqCst),
            }
            visits.push(visit);
        }
        visits
    }

    fn visit(&self, session: usize, server: usize, text: String) -> Visit {
        let cookie = self.sessions[session].lock().expect("no visitor panics there").1.clone();
        let begun = Instant::now();
        let form = format!("text={text}");
        let answer = self.cluster.ask(server, "/", Some(&cookie), Some(&form), ANSWER_PATIENCE);
        let ended = Instant::now();
        let outcome = self.judge(session, &cookie, &text, answer);
        let mut last = self.last_asked[server].lock().expect("nobody panics there");
        *last = (*last).max(Some(begun));
        drop(last);
        Visit { session, server, text, begun, ended, outcome }
    }

    fn judge(&self, session: usize, asked: &str, text: &str, answer: io::Result<Answer>) -> Outcome {
        let answer = match answer {
            Err(error) => return Outcome::Open { why: error.kind().to_string() },
            Ok(answer) => answer,
        };
        if let (Some(cookie), Ok(version)) = (&answer.cookie, answer.field("version").parse::<u64>()) {
            // The first part is who it is: another one means that the session was denied.
            if cookie[..32] != asked[..32] {
                return Outcome::Denied;
            }
            let mut newest = self.sessions[session].lock().expect("no visitor panics there");
            if version > newest.0 {
                *newest = (version, cookie.clone());
            }
        }
        let number = answer.field("visits").parse().ok();
        match (answer.status, number) {
            (200, Some(number)) if answer.field("text") == text => {
                // Each session began with a visit of nobody here.
                Outcome::Counted { number, owner: answer.field("primary").to_owned() }
            }
            (200, Some(number)) => Outcome::CountedBefore { number },
            // The second: it was repeated when others had written eight times, so that nobody can say what came of the first try.
            (503 | 409, _) => Outcome::Open { why: answer.body.trim().to_owned() },
            _ => Outcome::Wrong { what: format!("{answer:?}") },
        }
    }

    /// The number of visits of each session, without the one that began it: read by one more visit each, which is in the list.
    fn finals(&self) -> (Vec<u64>, Vec<Visit>) {
        let mut visits = Vec::new();
        let mut last = |session: usize| {
            look_until(|| {
                let server = session % self.cluster.hosts().len();
                let visit = self.visit(session, server, format!("last-{session}-{}", visits.len()));
                let number = if let Outcome::Counted { number, .. } = visit.outcome { Some(number - 1) } else { None };
                visits.push(visit);
                number
            })
            .unwrap_or_else(|| panic!("session {session} is not served in the end"))
        };
        let numbers = (0..self.sessions.len()).map(&mut last).collect();
        (numbers, visits)
    }
}

/// Looks until it sees something; `None` if it does not in `PATIENCE`.
pub fn look_until<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return Some(seen);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn name(host: usize) -> String {
    format!("s{host}")
}

/// The example that a user copies.
fn server_program() -> PathBuf {
    let program = std::env::current_exe().expect("the test program has a path");
    let binary = program.ancestors().nth(2).expect("target/debug").join("examples/session_server");
    assert!(
        binary.exists(),
        "{} is missing: run `cargo build --profile test --example session_server`",
        binary.display()
    );
    binary
}
