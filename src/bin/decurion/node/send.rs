//! Sends a file, or the lines of stdin, to everybody.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crossbeam_channel::Sender;
use decurion::api::{Code, To};
use decurion::{Engine, Level};
use serde_json::json;

use crate::output::{Exit, Failure, Output};

/// Bytes of a file in one message, and the longest line of stdin that is one.
const PIECE_BYTES: usize = 32 * 1024;

/// What is sent.
pub enum Source {
    /// A file, in pieces.
    File(File),
    /// Each line is a message, its end included, so that the receiver can put the bytes together again.
    Lines(BufReader<std::io::Stdin>),
}

impl Source {
    /// `-` is stdin.
    pub fn open(from: &Path) -> Result<Source, Failure> {
        if from.as_os_str() == "-" {
            return Ok(Source::Lines(BufReader::new(std::io::stdin())));
        }
        let cannot = |error| Failure::new(Exit::Usage, format!("--send {}: cannot read it: {error}", from.display()));
        File::open(from).map(Source::File).map_err(cannot)
    }

    /// The next message; empty at the end.
    fn next(&mut self, message: &mut Vec<u8>) -> std::io::Result<()> {
        message.clear();
        match self {
            Source::File(file) => file.take(PIECE_BYTES as u64).read_to_end(message).map(drop),
            Source::Lines(lines) => lines.take(PIECE_BYTES as u64).read_until(b'\n', message).map(drop),
        }
    }
}

/// Starts to send as soon as the answer's receiver is told to.
pub fn start(mut source: Source, engine: &Engine, output: &Output) -> Result<Sender<()>, Failure> {
    let (begin, begun) = crossbeam_channel::bounded(1);
    let (engine, output) = (engine.clone(), Output::new(output.is_json()));
    let work = move || {
        if begun.recv().is_err() {
            return;
        }
        match send_all(&mut source, &engine) {
            Ok((messages, bytes)) => {
                output.say(&format!("sent {bytes} bytes in {messages} messages"));
                output.line("sent", json!({ "messages": messages, "bytes": bytes }));
            }
            Err(why) => output.say(&format!("decurion: --send stopped: {why}")),
        }
    };
    let spawned = thread::Builder::new().name("send".to_owned()).spawn(work);
    spawned.map_err(|error| Failure::new(Exit::Environment, format!("cannot start a thread: {error}")))?;
    Ok(begin)
}

fn send_all(source: &mut Source, engine: &Engine) -> Result<(u64, u64), String> {
    let mut message = Vec::with_capacity(PIECE_BYTES);
    let (mut messages, mut bytes) = (0, 0);
    loop {
        source.next(&mut message).map_err(|error| error.to_string())?;
        if message.is_empty() {
            return Ok((messages, bytes));
        }
        send(engine, &message)?;
        messages += 1;
        bytes += message.len() as u64;
    }
}

/// Waits as long as it takes: a full window, the time between two views, a lease that is away.
fn send(engine: &Engine, message: &[u8]) -> Result<(), String> {
    loop {
        match engine.send(To::Everybody, Level::Fifo, 0, message, Duration::from_secs(1)) {
            Ok(Code::Ok) => return Ok(()),
            Ok(Code::Again) => {}
            Ok(_) => thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(error.text().to_owned()),
        }
    }
}
