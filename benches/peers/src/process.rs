//! Processes of a run: started so that none outlives it, heard on their pipes, ended for certain.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;

use crossbeam_channel::Sender;

use crate::shared::protocol::Said;

/// What comes from outside to the one loop of a run.
#[derive(Debug)]
pub enum Heard {
    /// A process of a fleet said something.
    Said(Source, Box<Said>),
    /// It wrote a line for people.
    Line(Source, String),
    /// Its stdout ended.
    Gone(Source),
    /// The run itself was told to end.
    Signal,
}

/// Who was heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source {
    /// Of which fleet it is.
    pub fleet: u32,
    /// Its number there.
    pub process: usize,
}

/// One process. Dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts it, and hears it from now on.
    pub fn start(mut command: Command, source: Source, to: &Sender<Heard>) -> io::Result<Process> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let parent = std::process::id();
        // SAFETY: between fork and exec only calls that are safe after a fork are made: prctl and getppid.
        unsafe {
            command.pre_exec(move || {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                    return Err(io::Error::last_os_error());
                }
                let is_orphan = libc::getppid() as u32 != parent;
                if is_orphan { Err(io::Error::other("the run has ended")) } else { Ok(()) }
            });
        }
        let mut child = command.spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let process = Process { child, stdin };
        hear(stdout.expect("piped"), source, to.clone(), true)?;
        hear(stderr.expect("piped"), source, to.clone(), false)?;
        Ok(process)
    }

    /// Tells it something. A process that is gone does not listen, which the end of its stdout says.
    pub fn tell(&mut self, line: &str) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(format!("{line}\n").as_bytes());
        }
    }

    /// Processor time that it has used so far, all threads and both modes together, in nanoseconds.
    pub fn cpu_ns(&self) -> io::Result<u64> {
        let mut clock = 0;
        // SAFETY: the pointer is to a number of our own.
        let answer = unsafe { libc::clock_getcpuclockid(self.child.id() as libc::pid_t, &raw mut clock) };
        if answer != 0 {
            return Err(io::Error::from_raw_os_error(answer));
        }
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is to a timespec of our own.
        match unsafe { libc::clock_gettime(clock, &raw mut time) } {
            0 => Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hear(from: impl Read + Send + 'static, source: Source, to: Sender<Heard>, is_stdout: bool) -> io::Result<()> {
    let work = move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let heard = match serde_json::from_str(&line) {
                Ok(said) if is_stdout => Heard::Said(source, said),
                _ => Heard::Line(source, line),
            };
            let _ = to.send(heard);
        }
        if is_stdout {
            let _ = to.send(Heard::Gone(source));
        }
    };
    thread::Builder::new().name("hear".to_owned()).spawn(work).map(drop)
}

/// Ports of the loopback address that are free now.
pub fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    // All are held until the last one is known, so that no number comes twice.
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<io::Result<_>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
