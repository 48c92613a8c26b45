//! memcached: its text protocol over one connection, pipelined.

use std::io;

use super::text::Connection;
use super::{Job, write_loop};

/// Writes as it is told, each acknowledged by the server.
pub fn write(job: &Job) -> io::Result<()> {
    let mut connection = Connection::open(job.ports[0])?;
    let put = |connection: &mut Connection, key: usize, value: &[u8]| {
        let head = format!("set k{key:02} 0 0 {}\r\n", value.len());
        connection.put(&[head.as_bytes(), value, b"\r\n"])
    };
    let exchange = |connection: &mut Connection| {
        connection.flush()?;
        connection.answers(b"STORED\r\n")
    };
    write_loop(&mut connection, put, exchange)
}
