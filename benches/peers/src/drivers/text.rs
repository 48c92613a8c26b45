//! A connection of a protocol of lines and counted bytes: large reads and writes, no copy of what is received.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use socket2::SockRef;

use super::Publish;

/// Send and receive buffer of each socket, as our own bench and its raw side have them.
pub const SOCKET_BYTES: usize = 128 * 1_024;
/// Most bytes of one read.
const READ_BYTES: usize = 128 * 1_024;
/// From here on what waits is written.
const BATCH_BYTES: usize = 64 * 1_024;
/// Room for the longest message, and a read.
const BUFFER_BYTES: usize = 512 * 1_024;

/// A connection to a server on this machine.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
    waiting: Vec<u8>,
}

impl Connection {
    /// Connects, and sets the socket.
    pub fn open(port: u16) -> io::Result<Connection> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_send_buffer_size(SOCKET_BYTES)?;
        socket.set_recv_buffer_size(SOCKET_BYTES)?;
        Ok(Connection { stream, buffer: vec![0; BUFFER_BYTES], begin: 0, end: 0, waiting: Vec::new() })
    }

    /// Adds to what waits to be written, and writes it when it is a batch.
    pub fn put(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        parts.iter().for_each(|part| self.waiting.extend_from_slice(part));
        if self.waiting.len() >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes what waits.
    pub fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.waiting)?;
        self.waiting.clear();
        Ok(())
    }

    /// What has been read and not been taken.
    pub fn buffered(&self) -> &[u8] {
        &self.buffer[self.begin..self.end]
    }

    /// Takes so many bytes off.
    pub fn consume(&mut self, bytes: usize) {
        self.begin += bytes;
        assert!(self.begin <= self.end, "only what was read is taken");
    }

    /// A line without its end, if it is there in whole; and where what follows it begins.
    pub fn line(&self) -> Option<(&[u8], usize)> {
        let buffered = self.buffered();
        let end = memchr::memchr(b'\n', buffered)?;
        Some((&buffered[..end.saturating_sub(1)], end + 1))
    }

    /// Reads more, and waits for it.
    pub fn read(&mut self) -> io::Result<()> {
        if self.buffer.len() - self.end < READ_BYTES || self.begin == self.end {
            self.buffer.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
        }
        let until = self.buffer.len().min(self.end + READ_BYTES);
        match self.stream.read(&mut self.buffer[self.end..until])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.end += read;
                Ok(())
            }
        }
    }

    /// The next line, waited for.
    pub fn next_line(&mut self) -> io::Result<String> {
        loop {
            if let Some((line, length)) = self.line() {
                let line = String::from_utf8_lossy(line).into_owned();
                self.consume(length);
                return Ok(line);
            }
            self.read()?;
        }
    }

    /// Reads, and takes answers off that all look like this one: how many there were.
    pub fn answers(&mut self, like: &[u8]) -> io::Result<usize> {
        self.read()?;
        let mut count = 0;
        while self.buffered().len() >= like.len() {
            if !self.buffered().starts_with(like) {
                let text = String::from_utf8_lossy(self.buffered()).into_owned();
                return Err(io::Error::other(format!("the server answered {text:?}")));
            }
            self.consume(like.len());
            count += 1;
        }
        Ok(count)
    }
}

/// The sender's connection: each message stands between a head, the same for all of one length, and the end of a line.
#[derive(Debug)]
pub struct Publisher {
    /// Greeted already.
    pub connection: Connection,
    /// What stands before a message.
    pub head: Vec<u8>,
}

impl Publish for Publisher {
    fn publish(&mut self, message: &[u8]) -> io::Result<()> {
        self.connection.put(&[&self.head, message, b"\r\n"])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.connection.flush()
    }
}

/// A number in digits.
pub fn number(digits: &[u8]) -> io::Result<usize> {
    let add = |sum: usize, digit: &u8| digit.is_ascii_digit().then(|| sum * 10 + usize::from(digit - b'0'));
    let number = digits.iter().try_fold(0, add).filter(|_| !digits.is_empty() && digits.len() < 10);
    number.ok_or_else(|| io::Error::other(format!("no number: {:?}", String::from_utf8_lossy(digits))))
}
