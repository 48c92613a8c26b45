//! The raw counterpart of an acknowledged write: one process keeps a window of records under way, the other counts them and
//! says after each read how many have come.

use std::io::{ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::Socket;

use super::links::Link;
use crate::bench::child::{self, Orders, say, trouble};
use crate::bench::protocol::{Changes, Order, Said, Spec, Written};
use crate::clock::monotonic_ns;

const SOCKET: Token = Token(0);
const ORDERS: Token = Token(1);
/// Length of an acknowledgement: how many records have come since the beginning.
const ACK_BYTES: usize = 8;

/// Runs one end, until the bench is gone.
pub fn run(spec: &Spec, links: Vec<Link>, orders: Orders) -> std::io::Result<std::convert::Infallible> {
    let Some(link) = links.into_iter().next() else { return Err(ErrorKind::NotConnected.into()) };
    let mut poll = Poll::new()?;
    poll.registry().register(&mut SourceFd(&orders.fd()), ORDERS, Interest::READABLE)?;
    let interest = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut SourceFd(&link.socket.as_raw_fd()), SOCKET, interest)?;
    let wire = Wire { socket: link.socket, calls: 0 };
    let room = vec![MaybeUninit::uninit(); spec.tuning.read_bytes];
    let mut end = End { wire, orders, room, came: 0, asked: 0, asking: None };
    let mut events = Events::with_capacity(4);
    loop {
        end.wire.calls += 1;
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            match event.token() {
                ORDERS => end.obey(spec)?,
                _ if spec.number == 0 => end.hear()?,
                _ => end.answer(spec.bytes)?,
            }
        }
    }
}

struct End {
    wire: Wire,
    orders: Orders,
    room: Vec<MaybeUninit<u8>>,
    /// Bytes of records that have come.
    came: u64,
    /// Records that were asked in phases before this one.
    asked: u64,
    asking: Option<Asking>,
}

struct Wire {
    socket: Socket,
    calls: u64,
}

impl Wire {
    /// What has come; `None` when nothing is left.
    fn read<'a>(&mut self, room: &'a mut [MaybeUninit<u8>]) -> std::io::Result<Option<&'a [u8]>> {
        self.calls += 1;
        match self.socket.recv(room) {
            Ok(0) => Err(ErrorKind::ConnectionReset.into()),
            // SAFETY: the system has just written `bytes` bytes from the start of the room.
            Ok(bytes) => Ok(Some(unsafe { std::slice::from_raw_parts(room.as_ptr().cast(), bytes) })),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> std::io::Result<usize> {
        self.calls += 1;
        match self.socket.send_vectored_with_flags(slices, libc::MSG_NOSIGNAL) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
            other => other,
        }
    }
}

impl End {
    fn obey(&mut self, spec: &Spec) -> std::io::Result<()> {
        for order in self.orders.take() {
            match order {
                Order::Sessions(Changes { ms, window, .. }) => {
                    let mut asking = Asking::new(self.asked, ms, window, spec.bytes);
                    asking.ask(&mut self.wire, monotonic_ns())?;
                    self.asking = Some(asking);
                }
                Order::Mark => say(&Said::Mark(child::mark(self.wire.calls, 0))),
                _ => trouble("an echo only answers"),
            }
        }
        Ok(())
    }

    /// The other end: counts records, and says so after each read.
    fn answer(&mut self, record_bytes: usize) -> std::io::Result<()> {
        loop {
            let room = self.room.len();
            let Some(read) = self.wire.read(&mut self.room)?.map(<[u8]>::len) else { return Ok(()) };
            let before = self.came / record_bytes as u64;
            self.came += read as u64;
            let records = self.came / record_bytes as u64;
            // A few bytes always fit: who asks reads them before it asks for more.
            if records > before && self.wire.write(&[IoSlice::new(&records.to_le_bytes())])? != ACK_BYTES {
                return Err(ErrorKind::WriteZero.into());
            }
            if read < room {
                return Ok(());
            }
        }
    }

    /// The asking end: takes acknowledgements and fills the window again.
    fn hear(&mut self) -> std::io::Result<()> {
        let Some(asking) = &mut self.asking else { return Ok(()) };
        let room = self.room.len();
        let mut now = monotonic_ns();
        while let Some(read) = self.wire.read(&mut self.room)? {
            // Acknowledgements are cumulative: of several, the last one counts. Eight bytes are never cut.
            if let Some(last) = read.rchunks_exact(ACK_BYTES).next() {
                now = monotonic_ns();
                asking.take(u64::from_le_bytes(last.try_into().expect("eight bytes")), now);
            }
            if read.len() < room {
                break;
            }
        }
        asking.ask(&mut self.wire, now)?;
        if now >= asking.until_ns && asking.acknowledged == asking.asked {
            say(&Said::Written(Written { last_ns: now, ..std::mem::take(&mut asking.written) }));
            self.asked = asking.asked;
            self.asking = None;
        }
        Ok(())
    }
}

/// A window of records under way.
struct Asking {
    window: u64,
    until_ns: u64,
    asked: u64,
    acknowledged: u64,
    /// Bytes written since the beginning.
    wrote: u64,
    /// The records of a window, each in its place, and when they were asked.
    ring: Vec<u8>,
    asked_ns: Vec<u64>,
    record_bytes: usize,
    written: Written,
}

impl Asking {
    fn new(asked: u64, ms: u64, window: usize, record_bytes: usize) -> Asking {
        let first_ns = monotonic_ns();
        Asking {
            window: window as u64,
            until_ns: first_ns + ms * 1_000_000,
            asked,
            acknowledged: asked,
            wrote: asked * record_bytes as u64,
            ring: vec![0x5a; window * record_bytes],
            asked_ns: vec![0; window],
            record_bytes,
            written: Written { first_ns, ..Written::default() },
        }
    }

    fn take(&mut self, acknowledged: u64, now: u64) {
        for record in self.acknowledged..acknowledged.min(self.asked) {
            self.written.latency.note(now - self.asked_ns[(record % self.window) as usize]);
            self.written.writes += 1;
        }
        self.acknowledged = acknowledged;
    }

    /// Makes as many records as the window has room for, and writes what the system takes.
    fn ask(&mut self, wire: &mut Wire, now: u64) -> std::io::Result<()> {
        while now < self.until_ns && self.asked - self.acknowledged < self.window {
            let slot = (self.asked % self.window) as usize;
            let at = slot * self.record_bytes;
            self.ring[at..at + 8].copy_from_slice(&self.asked.to_le_bytes());
            self.asked_ns[slot] = now;
            self.asked += 1;
        }
        loop {
            let waiting = (self.asked * self.record_bytes as u64 - self.wrote) as usize;
            if waiting == 0 {
                return Ok(());
            }
            let at = (self.wrote % self.ring.len() as u64) as usize;
            let first = waiting.min(self.ring.len() - at);
            let slices = [IoSlice::new(&self.ring[at..at + first]), IoSlice::new(&self.ring[..waiting - first])];
            let sent = wire.write(&slices)?;
            self.wrote += sent as u64;
            if sent < waiting {
                return Ok(());
            }
        }
    }
}
