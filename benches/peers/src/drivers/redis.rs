//! Redis: its protocol over one connection for each process, pipelined, through one server.

use std::io;

use super::text::{Connection, Publisher, number};
use super::{Job, Sink, say, write_loop};
use crate::shared::protocol::Said;

/// What stands before the length of each published message.
const HEAD: &[u8] = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$";

/// Connects to the server. Nobody needs to read how many subscribers there were: the server leaves the answers out.
pub fn publisher(job: &Job) -> io::Result<Publisher> {
    let mut connection = Connection::open(job.ports[0])?;
    connection.put(&[b"PING\r\nCLIENT REPLY OFF\r\n"])?;
    connection.flush()?;
    connection.next_line()?;
    let head = format!("*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n${}\r\n", job.bytes).into_bytes();
    Ok(Publisher { connection, head })
}

/// Subscribes, and takes what comes.
pub fn receive(job: &Job) -> io::Result<()> {
    let mut connection = Connection::open(job.ports[0])?;
    connection.put(&[b"SUBSCRIBE a\r\n"])?;
    connection.flush()?;
    // Three parts: the word, the channel and how many channels there are.
    while connection.next_line()? != ":1" {}
    let mut sink = Sink::new(job)?;
    say(&Said::Linked)?;
    loop {
        while let Some((end, bytes)) = head(connection.buffered())? {
            let whole = end + bytes + 2;
            if connection.buffered().len() < whole {
                break;
            }
            sink.take(&connection.buffered()[end..end + bytes])?;
            connection.consume(whole);
        }
        sink.tell();
        connection.read()?;
    }
}

/// Where the message begins, and how long it is; `None` if more must be read.
fn head(buffered: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let Some((head, rest)) = buffered.split_at_checked(HEAD.len()) else { return Ok(None) };
    if head != HEAD {
        return Err(io::Error::other(format!("the server said {:?}", String::from_utf8_lossy(head))));
    }
    match memchr::memchr(b'\n', rest) {
        Some(at) => Ok(Some((HEAD.len() + at + 1, number(&rest[..at - 1])?))),
        None => Ok(None),
    }
}

/// Writes as it is told, each acknowledged by the server.
pub fn write(job: &Job) -> io::Result<()> {
    let mut connection = Connection::open(job.ports[0])?;
    let put = |connection: &mut Connection, key: usize, value: &[u8]| {
        let head = format!("*3\r\n$3\r\nSET\r\n$3\r\nk{key:02}\r\n${}\r\n", value.len());
        connection.put(&[head.as_bytes(), value, b"\r\n"])
    };
    let exchange = |connection: &mut Connection| {
        connection.flush()?;
        connection.answers(b"+OK\r\n")
    };
    write_loop(&mut connection, put, exchange)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_when_its_head_is_whole() {
        let text = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$64\r\nxyz";
        assert_eq!(head(text).expect("sound"), Some((text.len() - 3, 64)));
        assert_eq!(head(&text[..20]).expect("sound"), None);
        assert_eq!(head(&text[..HEAD.len() + 1]).expect("sound"), None);
        assert!(head(b"-ERR something that is no message at all").is_err());
    }
}
