//! What hosts send: the token says who accepted a message and which one it is, and the bytes follow from the token.

use std::fmt;
use std::sync::OnceLock;

use bytes::Bytes;

use super::random::{Random, fold};

/// Identifies an accepted message; fits the 64-bit token that travels with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Token {
    /// The process that accepted it.
    pub process: u16,
    /// For whom: an index into that process's streams.
    pub stream: u16,
    /// Its place among what was accepted for that receiver, from 1.
    pub sequence: u32,
}

impl Token {
    /// As one word; never zero.
    pub fn pack(self) -> u64 {
        u64::from(self.process) << 48 | u64::from(self.stream) << 32 | u64::from(self.sequence)
    }

    pub fn unpack(word: u64) -> Token {
        Token { process: (word >> 48) as u16, stream: (word >> 32) as u16, sequence: word as u32 }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {}.{}.{}", self.process, self.stream, self.sequence)
    }
}

/// Bytes that payloads are cut from.
const POOL_BYTES: usize = 2 * 1024 * 1024;

/// The bytes of the message with this token: cut from a pool that is made once, so that neither making nor checking them
/// allocates.
pub(crate) fn payload(token: Token, len: usize) -> Bytes {
    static POOL: OnceLock<Vec<u8>> = OnceLock::new();
    let pool = POOL.get_or_init(|| {
        let mut random = Random::new(0);
        (0..POOL_BYTES / 8).flat_map(|_| random.word().to_le_bytes()).collect()
    });
    let offset = (fold(0, token.pack()) % (POOL_BYTES - len) as u64) as usize;
    Bytes::from_static(&pool[offset..offset + len])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_word_and_tells_payloads_apart() {
        let token = Token { process: 7, stream: 300, sequence: 70_000 };
        assert_eq!(Token::unpack(token.pack()), token);
        let next = Token { sequence: 70_001, ..token };
        assert_eq!(payload(token, 100), payload(token, 100));
        assert_ne!(payload(token, 100), payload(next, 100));
        assert_eq!(payload(token, 200_000).len(), 200_000);
    }
}
