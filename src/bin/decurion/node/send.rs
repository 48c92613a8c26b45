//! Sends a file, or the lines of stdin, to everybody.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use decurion::api::{Code, To};
use decurion::{Config, Engine, Level};
use serde_json::{Value, json};

use crate::output::{Exit, Failure, Output};

/// Most bytes of a file in one message, and the longest line of stdin that is one.
const PIECE_BYTES: usize = 32 * 1024;

/// What is sent, in messages that are no longer than the second of its fields says.
pub enum Source {
    /// A file, in pieces.
    File(File, usize),
    /// Each line is a message, its end included, so that the receiver can put the bytes together again.
    Lines(BufReader<std::io::Stdin>, usize),
}

/// How long a message may be here.
pub fn piece_bytes(config: &Config) -> Result<usize, Failure> {
    let longest = config.get("message.max_bytes")?.parse().unwrap_or(PIECE_BYTES);
    Ok(PIECE_BYTES.min(longest))
}

impl Source {
    /// `-` is stdin.
    pub fn open(from: &Path, piece_bytes: usize) -> Result<Source, Failure> {
        if from.as_os_str() == "-" {
            return Ok(Source::Lines(BufReader::new(std::io::stdin()), piece_bytes));
        }
        let cannot = |error| Failure::new(Exit::Usage, format!("--send {}: cannot read it: {error}", from.display()));
        File::open(from).map(|file| Source::File(file, piece_bytes)).map_err(cannot)
    }

    /// The next message; empty at the end.
    fn next(&mut self, message: &mut Vec<u8>) -> std::io::Result<()> {
        message.clear();
        match self {
            Source::File(file, most) => file.take(*most as u64).read_to_end(message).map(drop),
            Source::Lines(lines, most) => lines.take(*most as u64).read_until(b'\n', message).map(drop),
        }
    }
}

/// Starts to send as soon as the answer's receiver is told to. Why it stopped early is told by the other one.
pub fn start(mut source: Source, engine: &Engine, output: &Output) -> Result<(Sender<()>, Receiver<Failure>), Failure> {
    let ((begin, begun), (fail, failed)) = (crossbeam_channel::bounded(1), crossbeam_channel::bounded(1));
    let (engine, output) = (engine.clone(), Output::new(output.is_json()));
    let work = move || {
        if begun.recv().is_err() {
            return;
        }
        let mut sent = Sent::default();
        let Err(stop) = send_all(&mut source, &engine, &mut sent) else {
            output.say(&format!("sent {} bytes in {} messages", sent.bytes, sent.messages));
            return output.line("sent", sent.fields());
        };
        let failure = stop.failure();
        output.say(&format!("decurion: {}", failure.text));
        let mut fields = sent.fields();
        fields["error"] = json!(failure.text);
        // Told first: who sees the line may ask the member to end. Why a member ends it tells itself.
        if !stop.is_end() {
            drop(fail.send(failure));
        }
        output.line("send_failed", fields);
    };
    super::spawn("send", work)?;
    Ok((begin, failed))
}

/// What was sent so far.
#[derive(Default)]
struct Sent {
    messages: u64,
    bytes: u64,
}

impl Sent {
    fn fields(&self) -> Value {
        json!({ "messages": self.messages, "bytes": self.bytes })
    }
}

/// Why not all was sent.
enum Stop {
    Read(std::io::Error),
    Send(decurion::Error),
}

impl Stop {
    fn is_end(&self) -> bool {
        matches!(self, Stop::Send(error) if error.code() == Code::Closed)
    }

    fn failure(&self) -> Failure {
        match self {
            Stop::Read(error) => Failure::new(Exit::Environment, format!("--send stopped: cannot read: {error}")),
            Stop::Send(error) => {
                let Failure { exit, text, .. } = error.clone().into();
                Failure::new(exit, format!("--send stopped: {text}"))
            }
        }
    }
}

fn send_all(source: &mut Source, engine: &Engine, sent: &mut Sent) -> Result<(), Stop> {
    let mut message = Vec::with_capacity(PIECE_BYTES);
    loop {
        source.next(&mut message).map_err(Stop::Read)?;
        if message.is_empty() {
            return Ok(());
        }
        send(engine, &message).map_err(Stop::Send)?;
        sent.messages += 1;
        sent.bytes += message.len() as u64;
    }
}

/// Waits as long as it takes: a full window, the time between two views, a lease that is away.
fn send(engine: &Engine, message: &[u8]) -> decurion::Result<()> {
    loop {
        match engine.send(To::Everybody, Level::Fifo, 0, message, Duration::from_secs(1))? {
            Code::Ok => return Ok(()),
            Code::Again => {}
            _ => thread::sleep(Duration::from_millis(20)),
        }
    }
}
