//! NATS: its protocol of lines over one connection for each process, in batches, through one server.

use std::io;

use super::text::{Connection, Publisher, number};
use super::{Job, Sink, say};
use crate::shared::protocol::Said;

const HELLO: &[u8] = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":false,\"name\":\"peers\",\"lang\":\"rust\",\"version\":\"0\"}\r\n";
const SUBJECT: &str = "a";

fn connect(job: &Job, then: &[u8]) -> io::Result<Connection> {
    let mut connection = Connection::open(job.ports[0])?;
    let info = connection.next_line()?;
    if !info.starts_with("INFO ") {
        return Err(io::Error::other(format!("no NATS server: {info}")));
    }
    connection.put(&[HELLO, then, b"PING\r\n"])?;
    connection.flush()?;
    // Whatever was asked before is done when the answer comes.
    match connection.next_line()?.as_str() {
        "PONG" => Ok(connection),
        other => Err(io::Error::other(format!("the server answered {other}"))),
    }
}

/// Connects to the server.
pub fn publisher(job: &Job) -> io::Result<Publisher> {
    let head = format!("PUB {SUBJECT} {}\r\n", job.bytes).into_bytes();
    Ok(Publisher { connection: connect(job, b"")?, head })
}

/// Subscribes, and takes what comes.
pub fn receive(job: &Job) -> io::Result<()> {
    let mut connection = connect(job, format!("SUB {SUBJECT} 1\r\n").as_bytes())?;
    let mut sink = Sink::new(job)?;
    say(&Said::Linked)?;
    loop {
        while let Some((line, length)) = connection.line() {
            if !line.starts_with(b"MSG ") {
                let is_ping = line == b"PING";
                connection.consume(length);
                if is_ping {
                    connection.put(&[b"PONG\r\n"])?;
                    connection.flush()?;
                }
                continue;
            }
            let bytes = number(line.rsplit(|byte| *byte == b' ').next().unwrap_or_default())?;
            let whole = length + bytes + 2;
            if connection.buffered().len() < whole {
                break;
            }
            sink.take(&connection.buffered()[length..length + bytes])?;
            connection.consume(whole);
        }
        sink.tell();
        connection.read()?;
    }
}
