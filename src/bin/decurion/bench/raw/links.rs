//! A link of the raw baseline: a socket, what waits to be written to it, and the room that it is read into.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice};

use bytes::{Bytes, BytesMut};
use socket2::Socket;

/// Most slices of one gathered write.
const SLICES: usize = 64;
/// Less room than this is not worth a read.
const LEAST_ROOM: usize = 4 * 1_024;

/// One end of a connection.
#[derive(Debug)]
pub struct Link {
    /// Non-blocking.
    pub socket: Socket,
    /// Whether both ends lead a group: what comes from one goes to the members only.
    pub leaders: bool,
    /// There may be something to read.
    pub readable: bool,
    /// The other end will send no more: a short read does not mean that nothing is left.
    pub finished: bool,
    /// The other end is gone: nothing more goes out.
    pub gone: bool,
    closed: bool,
    writable: bool,
    queue: VecDeque<Bytes>,
    queued: usize,
    space: BytesMut,
}

/// What came of reading once.
#[derive(Debug)]
pub enum Read {
    /// Some bytes.
    Bytes,
    /// Nothing is there.
    Nothing,
    /// The connection is over.
    Ended,
}

impl Link {
    /// Around a connection that is up.
    pub fn new(socket: Socket, leaders: bool) -> Link {
        Link {
            socket,
            leaders,
            readable: true,
            finished: false,
            gone: false,
            closed: false,
            writable: true,
            queue: VecDeque::new(),
            queued: 0,
            space: BytesMut::new(),
        }
    }

    /// Bytes that wait to be written.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// The system says that it takes bytes again.
    pub fn writable_again(&mut self) {
        self.writable = true;
    }

    /// Puts bytes behind those that wait.
    pub fn push(&mut self, bytes: Bytes) {
        if !self.gone {
            self.queued += bytes.len();
            self.queue.push_back(bytes);
        }
    }

    /// Writes what waits, as far as the system takes it; answers how many calls that took.
    pub fn flush(&mut self) -> u64 {
        let mut calls = 0;
        while self.writable && !self.queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.queue.len().min(SLICES);
            let mut total = 0;
            for (to, from) in slices.iter_mut().zip(&self.queue) {
                *to = IoSlice::new(from);
                total += from.len();
            }
            calls += 1;
            match self.socket.send_vectored_with_flags(&slices[..count], libc::MSG_NOSIGNAL) {
                Ok(sent) => {
                    self.writable = sent == total;
                    self.wrote(sent);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.writable = false;
                    if error.kind() != ErrorKind::WouldBlock {
                        self.end();
                    }
                }
            }
        }
        calls
    }

    /// Nothing more comes in either; `false` if that was known.
    pub fn close(&mut self) -> bool {
        self.end();
        self.readable = false;
        !std::mem::replace(&mut self.closed, true)
    }

    /// Nothing more goes out.
    fn end(&mut self) {
        self.gone = true;
        self.queue.clear();
        self.queued = 0;
    }

    fn wrote(&mut self, mut bytes: usize) {
        self.queued -= bytes;
        while bytes > 0 {
            let front = self.queue.front_mut().expect("what was written was there");
            if front.len() > bytes {
                *front = front.split_off(bytes);
                return;
            }
            bytes -= front.len();
            self.queue.pop_front();
        }
    }

    /// Reads once, at most `most` bytes in all that are not taken; a short read means that nothing is left.
    pub fn read(&mut self, most: usize) -> Read {
        if self.space.capacity() - self.space.len() < LEAST_ROOM.min(most - self.space.len()) {
            // Takes the same memory again once nobody uses it.
            self.space.reserve(most - self.space.len());
        }
        let room = (self.space.capacity() - self.space.len()).min(most - self.space.len());
        match self.socket.recv(&mut self.space.spare_capacity_mut()[..room]) {
            Ok(0) => Read::Ended,
            Ok(bytes) => {
                self.readable = bytes == room || self.finished;
                // SAFETY: the system has just written `bytes` bytes into the spare capacity, from its start.
                unsafe { self.space.set_len(self.space.len() + bytes) };
                Read::Bytes
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                Read::Nothing
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Read::Nothing,
            Err(_) => Read::Ended,
        }
    }

    /// What has been read and not taken.
    pub fn read_bytes(&self) -> &[u8] {
        &self.space
    }

    /// Takes so many bytes from the front of what was read.
    pub fn take(&mut self, bytes: usize) -> Bytes {
        self.space.split_to(bytes).freeze()
    }

    /// Forgets what was read: nobody else has a part of it, and its memory is used again at once.
    pub fn clear(&mut self) {
        self.space.clear();
    }
}
