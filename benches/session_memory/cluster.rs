//! Holders in processes of their own, and what they say.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::holder::{MARK, SETTINGS};

/// What a holder says: what it is about, and its values by name.
#[derive(Clone, Debug, Default)]
pub struct Said {
    pub about: String,
    values: BTreeMap<String, String>,
}

impl Said {
    fn parse(line: &str) -> Option<Said> {
        let mut words = line.split_once(MARK)?.1.split_whitespace();
        let about = words.next()?.to_owned();
        let pairs = words.filter_map(|word| word.split_once('='));
        Some(Said { about, values: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect() })
    }

    pub fn text(&self, key: &str) -> &str {
        self.values.get(key).map_or("-", String::as_str)
    }

    pub fn number(&self, key: &str) -> u64 {
        self.text(key).parse().unwrap_or_else(|_| panic!("no number '{key}' in {self:?}"))
    }
}

/// A holder. Dropping it kills it.
pub struct Process {
    pub name: String,
    child: Child,
    stdin: ChildStdin,
    said: Receiver<Said>,
    /// What it said without being asked.
    pub news: Vec<Said>,
}

impl Process {
    fn start(name: &str, mut command: Command, settings: &[(String, String)]) -> Process {
        let lines: Vec<String> = settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        command.env(SETTINGS, lines.join("\n")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this program can be started again");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (to, said) = channel();
        std::thread::spawn(move || {
            let mut said = stdout.lines().map_while(Result::ok).filter_map(|line| Said::parse(&line));
            said.all(|said| to.send(said).is_ok())
        });
        let stdin = child.stdin.take().expect("piped");
        Process { name: name.to_owned(), child, stdin, said, news: Vec::new() }
    }

    pub fn tell(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").expect("the holder runs");
    }

    /// The next word about this; what else it says meanwhile is news.
    pub fn wait(&mut self, about: &str, patience: Duration) -> Said {
        let deadline = Instant::now() + patience;
        loop {
            match self.said.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(said) if said.about == about => return said,
                Ok(said) => self.news.push(said),
                Err(RecvTimeoutError::Timeout) => panic!("{} said nothing about {about}: {:?}", self.name, self.news),
                Err(RecvTimeoutError::Disconnected) => panic!("{} has ended: {:?}", self.name, self.news),
            }
        }
    }

    pub fn ask(&mut self, command: &str, patience: Duration) -> Said {
        self.tell(command);
        self.wait(command.split_whitespace().next().expect("a word"), patience)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// So many holders in one view, named h0, h1, …; `command` starts this program as a holder.
pub fn cluster(count: usize, command: impl Fn() -> Command, more: &[(&str, &str)], patience: Duration) -> Vec<Process> {
    let mut all: Vec<Process> = Vec::new();
    let mut seed = String::new();
    for at in 0..count {
        let name = format!("h{at}");
        let usual = [
            ("cluster.name", "session-memory".to_owned()),
            ("node.name", name.clone()),
            ("node.bind", "127.0.0.1:0".to_owned()),
            ("cluster.seeds", seed.clone()),
        ];
        let settings = usual.into_iter().map(|(key, value)| (key.to_owned(), value));
        let settings: Vec<_> =
            settings.chain(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))).collect();
        let mut process = Process::start(&name, command(), &settings);
        let address = process.wait("open", patience).text("address").to_owned();
        if at == 0 {
            seed = address;
        }
        all.push(process);
    }
    for process in &mut all {
        let deadline = Instant::now() + patience;
        while process.wait("view", deadline.saturating_duration_since(Instant::now())).number("members") < count as u64
        {
        }
    }
    all
}
