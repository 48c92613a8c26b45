//! The member processes: started so that none outlives the demo, heard on their pipes, ended for certain.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;

use crossbeam_channel::Sender;

use super::protocol::{Order, Said};

/// What comes from outside to the demo's one loop.
#[derive(Debug)]
pub enum Heard {
    /// A member process said something.
    Said {
        /// Which one: the number it was started under.
        process: usize,
        /// What.
        said: Said,
    },
    /// A line that a member process wrote for people.
    Stderr {
        /// Which one.
        process: usize,
        /// The line.
        line: String,
    },
    /// Its stdout ended.
    Gone {
        /// Which one.
        process: usize,
    },
    /// The demo itself was told to end.
    Signal,
}

/// One member process. Dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Process {
    /// Its name in the cluster.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    child: Child,
    stdin: Option<ChildStdin>,
    ended: bool,
}

impl Process {
    /// Starts the command again as a member, with these settings.
    pub fn start(
        number: usize, name: &str, program: &Path, settings: &[(&str, String)], heard: &Sender<Heard>,
    ) -> std::io::Result<Process> {
        let mut command = Command::new(program);
        command.arg("demo-member");
        for (key, value) in settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        let mut child = spawn(command)?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        let process = Process { name: name.to_owned(), pid: child.id(), child, stdin, ended: false };
        let to = heard.clone();
        hear(move || follow_stdout(number, BufReader::new(stdout), &to))?;
        let to = heard.clone();
        hear(move || follow_stderr(number, BufReader::new(stderr), &to))?;
        Ok(process)
    }

    /// Tells it something. A process that is gone does not listen, which its end of stdout says.
    pub fn tell(&mut self, order: &Order) {
        let line = serde_json::to_string(order).expect("plain data") + "\n";
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(line.as_bytes());
        }
    }

    /// SIGKILL, now. Collects it as well.
    pub fn kill(&mut self) {
        if !self.ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.ended = true;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a member process with its pipes, in a way that it ends with the thread that starts it.
pub fn spawn(mut command: Command) -> std::io::Result<Child> {
    // Settings that are meant for other members must not reach these.
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("DECURION_") {
            command.env_remove(variable);
        }
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own: an interrupt from the terminal is for whoever started it, who then ends it.
    command.process_group(0);
    let parent = std::process::id();
    // SAFETY: the closure runs between fork and exec and makes nothing but async-signal-safe system calls.
    unsafe { command.pre_exec(move || die_with(parent)) };
    command.spawn()
}

/// Asks the kernel to kill this process when the thread that started it ends, and ends now if it is gone already.
fn die_with(parent: u32) -> std::io::Result<()> {
    // SAFETY: prctl with PR_SET_PDEATHSIG takes a signal number and touches no memory of ours.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: getppid has no preconditions.
    if unsafe { libc::getppid() } as u32 != parent {
        return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
    }
    Ok(())
}

fn hear(work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new().name("hear".to_owned()).spawn(work).map(drop)
}

fn follow_stdout(process: usize, lines: impl BufRead, to: &Sender<Heard>) {
    for line in lines.lines().map_while(Result::ok) {
        let heard = match serde_json::from_str(&line) {
            Ok(said) => Heard::Said { process, said },
            Err(_) => Heard::Stderr { process, line },
        };
        let _ = to.send(heard);
    }
    let _ = to.send(Heard::Gone { process });
}

fn follow_stderr(process: usize, lines: impl BufRead, to: &Sender<Heard>) {
    for line in lines.lines().map_while(Result::ok) {
        let _ = to.send(Heard::Stderr { process, line });
    }
}
