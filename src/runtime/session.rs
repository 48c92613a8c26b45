//! Requests about sessions on the host's side of the hand-over: with an event as the answer, or waiting for it.

use std::sync::Arc;
use std::time::Instant;

use super::clock;
use super::desk::{Asker, Come, Seat};
use super::shared::Shared;
use crate::core::{SessionAnswer, SessionOp, SessionRequest};
use crate::types::{Code, MemberTag, SessionId};

/// What became of a request that a thread has waited for.
#[derive(Debug)]
pub enum Waited {
    /// It was answered.
    Answer(SessionAnswer),
    /// It was not taken, for this reason: nothing was changed.
    Refused(Code),
    /// It was taken, and the time was over, or the engine ended, before the answer: it may be carried out yet.
    Open(Code),
}

/// A name for a new session that nobody can guess. Never zero.
pub fn draw_id() -> SessionId {
    SessionId(clock::random_bits().max(1))
}

impl Shared {
    /// Asks for something; the answer is an event with this token.
    pub fn ask(&self, token: u64, id: SessionId, holders: [MemberTag; 2], op: SessionOp) -> Code {
        let request = SessionRequest { number: 0, id, holders, op };
        match self.hand_in(request, Asker::Event(token)) {
            Ok(_) => Code::Ok,
            Err(Code::Busy) => Code::Again,
            Err(code) => code,
        }
    }

    /// Asks for something and waits for the answer.
    pub fn ask_and_wait(&self, id: SessionId, holders: [MemberTag; 2], op: &SessionOp, deadline: Instant) -> Waited {
        let seat = Arc::new(Seat::default());
        let number = loop {
            // Read before the attempt, so that room made right after it is not missed.
            let seen = self.writable_seen();
            let request = SessionRequest { number: 0, id, holders, op: op.clone() };
            match self.hand_in(request, Asker::Thread(seat.clone())) {
                Ok(number) => break number,
                Err(Code::Again) if self.wait_writable(seen, deadline) => {}
                Err(Code::Busy) => return Waited::Refused(Code::Again),
                Err(code) => return Waited::Refused(code),
            }
        };
        match seat.wait(deadline).or_else(|| self.give_up(number, &seat)) {
            Some(Come::Answer(answer)) => Waited::Answer(answer),
            Some(Come::End) => Waited::Open(Code::Closed),
            None => Waited::Open(Code::Timeout),
        }
    }

    /// Takes a request back; if its answer has come meanwhile, that is what it was waited for.
    fn give_up(&self, number: u64, seat: &Seat) -> Option<Come> {
        if self.desk.forget(number) { None } else { seat.wait(Instant::now() + super::desk::HAND_OVER) }
    }

    /// `Busy`: the desk is full, and room in the outbox would not help.
    fn hand_in(&self, mut request: SessionRequest, asker: Asker) -> Result<u64, Code> {
        request.number = self.desk.open(asker).ok_or(Code::Busy)?;
        let number = request.number;
        match self.outbox().ask(request) {
            Code::Ok => {
                self.bell.ring();
                Ok(number)
            }
            code => {
                self.desk.forget(number);
                Err(code)
            }
        }
    }
}
