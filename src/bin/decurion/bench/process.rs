//! The processes of a bench: started so that none outlives it, heard on their pipes, ended for certain.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::RawFd;
use std::process::{Child, ChildStdin, Command};
use std::thread;

use crossbeam_channel::Sender;

use super::protocol::{Order, Said, Spec};
use super::veth;
use crate::demo::process::spawn;

/// What comes from outside to the bench's one loop.
#[derive(Debug)]
pub enum Heard {
    /// A process said something.
    Said {
        /// Of which fleet it is.
        fleet: u32,
        /// Its number there.
        process: usize,
        /// What.
        said: Box<Said>,
    },
    /// A line that a process wrote for people.
    Line {
        /// Of which fleet it is.
        fleet: u32,
        /// Its number there.
        process: usize,
        /// The line.
        line: String,
    },
    /// Its stdout ended.
    Gone {
        /// Of which fleet it is.
        fleet: u32,
        /// Its number there.
        process: usize,
    },
    /// The bench itself was told to end.
    Signal,
}

/// One process. Dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Process {
    /// Its process id.
    pub pid: u32,
    child: Child,
    stdin: Option<ChildStdin>,
    ended: bool,
}

impl Process {
    /// Starts the command again under this hidden verb, in a network of its own if one is named.
    pub fn start(
        verb: &str, spec: &Spec, fleet: u32, number: usize, network: Option<RawFd>, to: &Sender<Heard>,
    ) -> std::io::Result<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        if let Some(network) = network {
            veth::enter(&mut command, network);
        }
        command.arg(verb).arg(serde_json::to_string(spec).expect("plain data"));
        let mut child = spawn(command)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let process = Process { pid: child.id(), child, stdin, ended: false };
        let heard = to.clone();
        hear(move || {
            for line in BufReader::new(stdout.expect("piped")).lines().map_while(Result::ok) {
                let heard_now = match serde_json::from_str(&line) {
                    Ok(said) => Heard::Said { fleet, process: number, said },
                    Err(_) => Heard::Line { fleet, process: number, line },
                };
                let _ = heard.send(heard_now);
            }
            let _ = heard.send(Heard::Gone { fleet, process: number });
        })?;
        let heard = to.clone();
        hear(move || {
            for line in BufReader::new(stderr.expect("piped")).lines().map_while(Result::ok) {
                let _ = heard.send(Heard::Line { fleet, process: number, line });
            }
        })?;
        Ok(process)
    }

    /// Tells it something. A process that is gone does not listen, which its end of stdout says.
    pub fn tell(&mut self, order: &Order) {
        let line = serde_json::to_string(order).expect("plain data") + "\n";
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(line.as_bytes());
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        if !self.ended {
            // SAFETY: the process is our own child and not collected yet, so the number is still its.
            unsafe { libc::kill(self.pid as i32, signal) };
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.ended = true;
        }
    }
}

fn hear(work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new().name("hear".to_owned()).spawn(work).map(drop)
}
