//! What travels in the demo: pieces of a file, and the receiver's book-keeping that would see any of them missing.

use sha2::{Digest, Sha256};

use super::protocol::StreamSaid;

/// Bytes of the file in one message.
pub const PIECE_BYTES: usize = 16 * 1024;
/// Bytes in front of them.
pub const HEADER_BYTES: usize = 24;
/// Ranges of missing messages that are kept; a receiver that misses more has failed anyway.
const MOST_HOLES: usize = 10_000;

/// The head of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Numbered by the sender from 1, over all passes.
    pub number: u64,
    /// Where in the file it stands.
    pub offset: u64,
    /// Whether it ends a pass.
    pub last: bool,
}

impl Piece {
    /// The head's encoding.
    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let mut head = [0; HEADER_BYTES];
        head[..8].copy_from_slice(&self.number.to_le_bytes());
        head[8..16].copy_from_slice(&self.offset.to_le_bytes());
        head[16] = u8::from(self.last);
        head
    }

    /// Head and piece of the file; `None` when it is no message of the demo.
    pub fn decode(payload: &[u8]) -> Option<(Piece, &[u8])> {
        let (head, data) = payload.split_first_chunk::<HEADER_BYTES>()?;
        let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        Some((Piece { number: word(0), offset: word(8), last: head[16] == 1 }, data))
    }
}

/// What one receiver has of one sender.
#[derive(Debug)]
pub struct Tracker {
    said: StreamSaid,
    /// First and last number of what is missing.
    holes: Vec<(u64, u64)>,
    /// The sum of the pass that is under way, and how far it got; `None` after a hole, until the next pass begins.
    pass: Option<(Sha256, u64)>,
    last_at_us: u64,
}

impl Tracker {
    /// Nothing received yet.
    pub fn new(sender: &str) -> Tracker {
        let said = StreamSaid { sender: sender.to_owned(), ..StreamSaid::default() };
        Tracker { said, holes: Vec::new(), pass: None, last_at_us: 0 }
    }

    /// Counts one message.
    pub fn take(&mut self, piece: Piece, data: &[u8], phase: usize, now_us: u64) {
        if self.said.last == 0 {
            (self.said.first, self.said.first_offset) = (piece.number, piece.offset);
            self.pass = Some((Sha256::new(), piece.offset));
        } else {
            let gap = &mut self.said.gap_us_by_phase[phase];
            *gap = (*gap).max(now_us.saturating_sub(self.last_at_us));
        }
        self.last_at_us = now_us;
        if !self.in_order(piece.number) {
            self.pass = None;
            return;
        }
        self.said.bytes += data.len() as u64;
        self.said.bytes_by_phase[phase] += data.len() as u64;
        self.hash(piece, data);
    }

    /// What to report.
    pub fn said(&self) -> &StreamSaid {
        &self.said
    }

    /// Whether the pass that ends now is the one in whose middle this receiver came.
    fn began_in_the_middle(&self) -> bool {
        self.said.first_offset > 0 && self.said.rest_sha256.is_none() && self.said.passes == 0
    }

    /// Judges a number; whether it is the next one.
    fn in_order(&mut self, number: u64) -> bool {
        let said = &mut self.said;
        let expected = if said.last == 0 { number } else { said.last + 1 };
        if number == expected {
            said.last = number;
            return true;
        }
        if number > expected {
            said.lost += number - expected;
            said.last = number;
            if self.holes.len() < MOST_HOLES {
                self.holes.push((expected, number - 1));
            }
            return false;
        }
        match self.holes.iter().position(|(from, to)| (*from..=*to).contains(&number)) {
            Some(at) => {
                let (from, to) = self.holes.swap_remove(at);
                self.holes
                    .extend([(from, number.wrapping_sub(1)), (number + 1, to)].into_iter().filter(|(f, t)| f <= t));
                said.lost -= 1;
                said.out_of_order += 1;
            }
            None => said.duplicated += 1,
        }
        false
    }

    fn hash(&mut self, piece: Piece, data: &[u8]) {
        if piece.offset == 0 {
            self.pass = Some((Sha256::new(), 0));
        }
        let Some((sum, upto)) = &mut self.pass else { return };
        if *upto != piece.offset {
            self.pass = None;
            return;
        }
        sum.update(data);
        *upto += data.len() as u64;
        if !piece.last {
            return;
        }
        let (sum, _) = self.pass.take().expect("a pass is under way");
        let sum = hex(&sum.finalize());
        if self.began_in_the_middle() {
            self.said.rest_sha256 = Some(sum);
            return;
        }
        self.said.passes += 1;
        match &self.said.sha256 {
            None => self.said.sha256 = Some(sum),
            Some(first) if *first != sum => self.said.unequal_passes += 1,
            Some(_) => {}
        }
    }
}

/// Bytes as text.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(tracker: &mut Tracker, number: u64) {
        // A pass of three messages.
        let offset = (number - 1) % 3 * 4;
        let piece = Piece { number, offset, last: offset == 8 };
        let encoded = [&piece.encode()[..], b"abcd"].concat();
        let (piece, data) = Piece::decode(&encoded).expect("whole");
        tracker.take(piece, data, 0, number * 10);
    }

    #[test]
    fn whole_passes_are_summed() {
        let mut tracker = Tracker::new("s");
        (1..=7).for_each(|number| feed(&mut tracker, number));
        let said = tracker.said();
        assert_eq!(said.sha256.as_deref(), Some(hex(&Sha256::digest(b"abcdabcdabcd")).as_str()));
        assert_eq!((said.passes, said.unequal_passes, said.bytes, said.gap_us_by_phase[0]), (2, 0, 28, 10));
        assert_eq!((said.lost, said.duplicated, said.out_of_order, said.first, said.last), (0, 0, 0, 1, 7));
    }

    #[test]
    fn who_comes_late_counts_from_its_first_message() {
        let mut tracker = Tracker::new("s");
        (5..=9).for_each(|number| feed(&mut tracker, number));
        assert_eq!((tracker.said().lost, tracker.said().first, tracker.said().passes), (0, 5, 1));
        assert_eq!(tracker.said().first_offset, 4);
        assert_eq!(tracker.said().rest_sha256.as_deref(), Some(hex(&Sha256::digest(b"abcdabcd")).as_str()));
    }

    #[test]
    fn what_is_missing_late_or_double_is_seen() {
        let mut tracker = Tracker::new("s");
        [1, 2, 5, 5, 4, 6].into_iter().for_each(|number| feed(&mut tracker, number));
        let said = tracker.said();
        assert_eq!((said.lost, said.duplicated, said.out_of_order), (1, 1, 1));
        assert_eq!(said.passes, 0, "a pass with a hole has no sum");
    }

    #[test]
    fn a_changed_byte_is_an_unequal_pass() {
        let mut tracker = Tracker::new("s");
        (1..=3).for_each(|number| feed(&mut tracker, number));
        tracker.take(Piece { number: 4, offset: 0, last: true }, b"abcx", 1, 0);
        assert_eq!((tracker.said().passes, tracker.said().unequal_passes), (2, 1));
    }
}
