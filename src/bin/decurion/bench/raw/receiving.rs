//! What a raw process does with what came: it cuts it into messages and checks each, on its own thread or on another one.

use crossbeam_channel::Sender;
use decurion::runtime::multicast::Received;

use crate::bench::child::{say, trouble};
use crate::bench::payload::{Checks, HEADER_BYTES};
use crate::bench::protocol::{Mode, Said};
use crate::output::Exit;

/// Most chunks that wait for the thread that they are handed to.
const HANDED: usize = 16;
/// What a receiver of datagrams says when there is a gap between them.
pub const GAP: &str = "datagrams of the raw blast were lost, or came in disorder: a lower --raw-window-bytes may help";

/// Where what comes is held against what was sent.
pub enum Deliver {
    /// On this thread.
    Here(Receiving),
    /// On another one.
    Thread(Sender<Handed>),
}

/// What the thread is told.
pub enum Handed {
    /// These bytes came over that link.
    Bytes(usize, bytes::Bytes),
    /// These datagrams came.
    Datagrams(Vec<Received>),
    /// Note the longest time without a delivery anew.
    Watch,
}

impl Deliver {
    /// As our host does it: with [`Mode::Poll`] on a thread of its own.
    pub fn new(mode: Mode, mut receiving: Receiving) -> std::io::Result<Deliver> {
        if mode != Mode::Poll {
            return Ok(Deliver::Here(receiving));
        }
        let (to, from) = crossbeam_channel::bounded(HANDED);
        let work = move || {
            for handed in from {
                match handed {
                    Handed::Bytes(link, bytes) => receiving.take(link, &bytes),
                    Handed::Datagrams(datagrams) if receiving.take_datagrams(&datagrams) => {}
                    Handed::Datagrams(_) => end_for_loss(GAP),
                    Handed::Watch => receiving.watch(),
                }
            }
        };
        std::thread::Builder::new().name("host".to_owned()).spawn(work)?;
        Ok(Deliver::Thread(to))
    }

    /// Notes the longest time without a delivery anew.
    pub fn watch(&mut self) {
        match self {
            Deliver::Here(receiving) => receiving.watch(),
            Deliver::Thread(to) => drop(to.send(Handed::Watch)),
        }
    }
}

/// Ends this process because datagrams were lost, and with it the run: nothing here repairs.
pub fn end_for_loss(text: &str) -> ! {
    trouble(text);
    std::process::exit(Exit::Broken as i32)
}

/// Cuts what comes over each link into messages, and checks them.
pub struct Receiving {
    bytes: usize,
    parts: Vec<Part>,
    checks: Checks,
    watching: bool,
}

/// A message of which not all has come: of it only the header matters.
#[derive(Clone, Default)]
struct Part {
    came: usize,
    header: [u8; HEADER_BYTES],
}

impl Receiving {
    /// Of messages of this length, over so many links.
    pub fn new(bytes: usize, links: usize) -> Receiving {
        Receiving { bytes, parts: vec![Part::default(); links], checks: Checks::default(), watching: false }
    }

    fn watch(&mut self) {
        self.checks.watch();
        self.watching = true;
    }

    /// Takes datagrams, which together are what one link would have brought. Answers whether nothing is missing between them.
    #[must_use]
    pub fn take_datagrams(&mut self, datagrams: &[Received]) -> bool {
        datagrams.iter().all(|datagram| {
            self.take(0, &datagram.bytes);
            self.checks.is_whole()
        })
    }

    /// Takes what came next over a link.
    pub fn take(&mut self, link: usize, mut bytes: &[u8]) {
        if self.watching {
            self.checks.came();
        }
        while !bytes.is_empty() {
            let part = &mut self.parts[link];
            if part.came == 0 && bytes.len() >= self.bytes {
                let whole = bytes.len() - bytes.len() % self.bytes;
                for message in bytes[..whole].chunks_exact(self.bytes) {
                    self.check(message);
                }
                bytes = &bytes[whole..];
                continue;
            }
            let count = (self.bytes - part.came).min(bytes.len());
            if part.came < HEADER_BYTES {
                let end = (part.came + count).min(HEADER_BYTES);
                part.header[part.came..end].copy_from_slice(&bytes[..end - part.came]);
            }
            part.came += count;
            bytes = &bytes[count..];
            if part.came == self.bytes {
                let header = std::mem::take(part).header;
                self.check(&header);
            }
        }
    }

    fn check(&mut self, message: &[u8]) {
        if let Some(received) = self.checks.take(message) {
            if std::mem::take(&mut self.watching) {
                say(&Said::Watched { gap_ns: self.checks.gap_ns() });
            }
            say(&Said::Received(received));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::payload::Source;

    /// Datagrams of 1,000 bytes that hold 32 messages of this length.
    fn datagrams(bytes: usize) -> Vec<Received> {
        let mut stream = vec![0x5a; 32 * bytes];
        Source::new(1, bytes, 1_000_000, false).fill_all(&mut stream);
        let from = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        stream.chunks(1_000).map(|bytes| Received { from, bytes: bytes.to_vec().into() }).collect()
    }

    #[test]
    fn a_missing_datagram_is_noticed_whatever_part_of_a_message_it_held() {
        for bytes in [125, 1_000, 1_700, 4_000] {
            let all = datagrams(bytes);
            let takes = |datagrams: &[Received]| Receiving::new(bytes, 1).take_datagrams(datagrams);
            assert!(takes(&all), "{bytes}");
            // A gap in one of the last two messages would be noticed with the message after it.
            for gap in 0..30 * bytes / 1_000 {
                let rest: Vec<Received> = [&all[..gap], &all[gap + 1..]].concat();
                assert!(!takes(&rest), "{bytes} without {gap}");
            }
        }
    }
}
