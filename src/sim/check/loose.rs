//! D4 of what is unreliable: it may be missing, and comes once at most, whole, to whom it is for, from whoever sent it.

use std::collections::BTreeSet;

use super::{Guarantee, Ledger};
use crate::core::{Messages, To};
use crate::sim::payload::{Token, payload};

/// The stream that stands in tokens for messages outside of all streams.
const OUTSIDE: u16 = u16::MAX;

/// What one process sent outside of streams, and what one life got.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct LooseSent(Vec<(To, u32)>);

/// Tokens of what one life got.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct LooseTaken(BTreeSet<u64>);

impl Ledger {
    /// The token for the next such message of a process; it counts only if it is accepted.
    pub fn next_loose(&self, process: u16) -> Token {
        let sequence = self.process(process).loose.0.len() as u32 + 1;
        Token { process, stream: OUTSIDE, sequence }
    }

    /// Such a message was accepted.
    pub fn accepted_loose(&mut self, token: Token, to: To, len: usize) {
        self.processes[usize::from(token.process)].loose.0.push((to, len as u32));
    }

    /// A host gets one.
    pub(super) fn delivered_loose(&mut self, receiver: u32, sender: u32, run: &Messages) {
        let to = if run.direct { To::Member(self.life(receiver).incarnation) } else { To::Everybody };
        let from = self.life(sender).process;
        for message in run {
            let token = Token::unpack(message.token);
            let sent = from.filter(|from| *from == token.process && token.stream == OUTSIDE);
            let sent = sent.and_then(|from| self.process(from).loose.0.get(token.sequence as usize - 1).copied());
            let whole =
                sent.is_some_and(|(receiver, len)| receiver == to && message.payload == payload(token, len as usize));
            let new = self.lives[receiver as usize].loose.0.insert(message.token);
            let text = format!("{token} outside of streams: sent as {sent:?}, new: {new}");
            self.check(Guarantee::D4, whole && new && sender != receiver, || text);
        }
    }
}
