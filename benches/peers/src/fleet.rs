//! The processes of one peer: its server, its sender and its receivers, started, told what to do, and heard.

use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::RunArguments;
use crate::drivers::PAGE_BYTES;
use crate::peer::{Host, Peer, Way};
use crate::process::{Heard, Process, Source, free_ports};
use crate::shared::protocol::{Received, Said, Sent, Written};

/// How long a fleet may take to come together, or to deliver what is under way.
const PATIENCE: Duration = Duration::from_secs(60);
/// One sender, nine receivers.
pub const MEMBERS: usize = 10;
/// Most lines that are kept to say what went wrong.
const WORDS: usize = 8;
/// A virtual machine: a small young generation stays in the cache, and ten collectors with threads of their own would only be in
/// each other's way on few processors.
pub const JAVA_OPTIONS: &[&str] = &[
    "-Xms512m",
    "-Xmx512m",
    "-Xmn128m",
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",
    // With two processors the common pool would have one thread, and completions would each start a thread instead.
    "-Djava.util.concurrent.ForkJoinPool.common.parallelism=2",
    "-Djava.net.preferIPv4Stack=true",
    "--add-modules=java.se",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.management/sun.management=ALL-UNNAMED",
    "--add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED",
];

/// What all fleets of a run share.
#[derive(Debug)]
pub struct Stage {
    /// The flags.
    pub arguments: RunArguments,
    /// Where processes are heard.
    pub heard: Receiver<Heard>,
    /// Their end of it.
    pub to_run: Sender<Heard>,
    /// Removed when the run ends.
    pub dir: tempfile::TempDir,
    /// Set once the run was told to end.
    pub interrupted: std::cell::Cell<bool>,
}

/// The processes. Dropping it ends them.
#[derive(Debug)]
pub struct Fleet<'a> {
    stage: &'a Stage,
    number: u32,
    server: Option<Process>,
    processes: Vec<Process>,
    /// How many have said that they are ready.
    linked: usize,
    words: Vec<String>,
    _page: std::fs::File,
    _dir: tempfile::TempDir,
}

/// What a stream came to.
#[derive(Debug)]
pub struct Streamed {
    /// What was sent.
    pub sent: Sent,
    /// By receiver.
    pub received: Vec<Received>,
}

impl<'a> Fleet<'a> {
    /// Starts all processes of a peer, and waits until they are ready.
    pub fn start(stage: &'a Stage, number: u32, peer: &Peer, bytes: usize) -> io::Result<Fleet<'a>> {
        let members = match (peer.way, peer.host) {
            (Way::Written, Host::Native) => 1,
            (Way::Written, Host::Java) => 2,
            _ => MEMBERS,
        };
        let ports = free_ports(MEMBERS + 1)?;
        let page = shared_page()?;
        let dir = tempfile::TempDir::new_in(stage.dir.path())?;
        let list = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
        let mut words = vec![
            format!("members={members}"),
            format!("bytes={bytes}"),
            format!("ports={list}"),
            format!("dir={}", dir.path().display()),
        ];
        if peer.window {
            words.push(format!("credit=/proc/{}/fd/{}", std::process::id(), page.as_raw_fd()));
        }
        let mut fleet = Fleet {
            stage,
            number,
            server: None,
            processes: Vec::new(),
            linked: 0,
            words: Vec::new(),
            _page: page,
            _dir: dir,
        };
        if let Some(server) = &peer.server {
            let source = Source { fleet: number, process: MEMBERS };
            fleet.server = Some(Process::start(server.command(ports[0]), source, &stage.to_run)?);
            await_port(ports[0])?;
        }
        for at in 0..members {
            let command = fleet.driver(peer, at, &words)?;
            let process = Process::start(command, Source { fleet: number, process: at }, &stage.to_run)?;
            fleet.processes.push(process);
            // The first one makes the cluster that the others join: many that begin at once take long to merge.
            while at == 0 && peer.host == Host::Java && fleet.linked == 0 {
                fleet.next("the first member")?;
            }
        }
        let first = usize::from(peer.host == Host::Java);
        while fleet.linked < members + first {
            fleet.next("all processes to be ready")?;
        }
        Ok(fleet)
    }

    fn driver(&self, peer: &Peer, at: usize, words: &[String]) -> io::Result<Command> {
        let role = match at {
            0 if peer.way == Way::Written => "write",
            0 => "send",
            1 if peer.relays => "relay",
            1 if peer.way == Way::Written => "backup",
            _ => "receive",
        };
        let mut command = match peer.host {
            Host::Native => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("driver");
                command
            }
            Host::Java => {
                let java = self.stage.arguments.java.display();
                let mut command = Command::new("java");
                command.args(JAVA_OPTIONS).arg("-cp").arg(format!("{java}/classes:{java}/lib/*")).arg("peers.Main");
                command
            }
        };
        command.arg(peer.name).arg(role).arg(format!("number={at}")).args(words);
        Ok(command)
    }

    /// Lets the sender send for so long, and waits until all others have everything.
    pub fn stream(&mut self, bytes: usize, ms: u64, every_us: u64) -> io::Result<Streamed> {
        let window = self.stage.arguments.window_bytes;
        self.processes[0].tell(&format!("stream {bytes} {ms} {every_us} {window}"));
        let mut sent = None;
        let mut received = Vec::new();
        while sent.is_none() || received.len() < self.processes.len() - 1 {
            match self.next(&format!("the last messages: {} of 9 receivers have them", received.len()))? {
                Said::Sent(one) => sent = Some(one),
                Said::Received(one) => received.push(one),
                _ => {}
            }
        }
        Ok(Streamed { sent: sent.expect("it was waited for"), received })
    }

    /// Lets the writer write for so long.
    pub fn write(&mut self, bytes: usize, ms: u64, window: usize) -> io::Result<Written> {
        self.processes[0].tell(&format!("write {bytes} {ms} {window}"));
        loop {
            if let Said::Written(written) = self.next("the last acknowledgements")? {
                return Ok(written);
            }
        }
    }

    /// Processor time of all processes so far, in nanoseconds.
    pub fn cpu_ns(&self) -> io::Result<u64> {
        self.processes.iter().chain(&self.server).map(Process::cpu_ns).sum()
    }

    fn next(&mut self, what: &str) -> io::Result<Said> {
        let until = Instant::now() + PATIENCE;
        loop {
            let heard = self.stage.heard.recv_deadline(until);
            let heard = heard.map_err(|_| self.failure(&format!("waited {} s for {what}", PATIENCE.as_secs())))?;
            match heard {
                Heard::Signal => {
                    self.stage.interrupted.set(true);
                    return Err(self.failure("interrupted"));
                }
                Heard::Gone(source) if source.fleet == self.number => {
                    return Err(self.failure(&format!("process {} ended by itself", source.process)));
                }
                Heard::Line(source, line) if source.fleet == self.number && self.words.len() < WORDS => {
                    self.words.push(format!("{}: {line}", source.process));
                }
                Heard::Said(source, said) if source.fleet == self.number => {
                    self.linked += usize::from(matches!(*said, Said::Linked));
                    return Ok(*said);
                }
                _ => {}
            }
        }
    }

    fn failure(&self, text: &str) -> io::Error {
        let words: String = self.words.iter().map(|word| format!("; {word}")).collect();
        io::Error::other(format!("{text}{words}"))
    }
}

/// A page in memory that other processes open by the number of the descriptor: nothing of it is left behind.
fn shared_page() -> io::Result<std::fs::File> {
    use std::os::fd::FromRawFd;
    // SAFETY: the name is a constant text; the descriptor that comes back belongs to nobody else.
    let page = unsafe {
        match libc::memfd_create(c"peers".as_ptr(), libc::MFD_CLOEXEC) {
            descriptor if descriptor < 0 => return Err(io::Error::last_os_error()),
            descriptor => std::fs::File::from_raw_fd(descriptor),
        }
    };
    page.set_len(PAGE_BYTES)?;
    Ok(page)
}

fn await_port(port: u16) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(()),
            // Servers have no other way to say that they listen that all of them share.
            Err(_) if Instant::now() < until => thread::sleep(Duration::from_millis(5)),
            Err(error) => return Err(error),
        }
    }
}
