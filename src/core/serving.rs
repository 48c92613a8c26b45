//! Sessions and the rest of a member: requests come in from the host, frames go out in streams of their own, answers go back.

use super::member::Member;
use super::outbox::Outbox;
use crate::wire::control::{Control, DirectAck};

/// Batches to one member numbered in one turn.
const BATCHES_PER_TURN: usize = 16;
/// Requests that are carried out at a time, so that whoever holds the second copies works on these while we do the next. With more at a
/// time one of the two waits for the other one, with less most is spent on waking it (decision 78).
const LOT_BYTES: usize = 32 * 1024;

impl Member {
    /// Takes a lot of what hosts want; where more waits, the driver comes back for it when it has written what this one leads to.
    pub(super) fn take_session_requests(&mut self, outbox: &mut Outbox) {
        let primary = self.is_primary(self.now);
        let mut taken = 0;
        while taken < LOT_BYTES
            && let Some(request) = outbox.take_session_request()
        {
            taken += request.bytes();
            self.sessions.request(self.now, primary, request);
        }
        self.hurry |= outbox.session_requests() > 0;
    }

    /// One turn of the sessions. What they say to others goes out before their acknowledgements.
    pub(super) fn serve_sessions(&mut self) {
        if self.fanout.is_none() {
            self.sessions.turn(self.now, false, false);
            return self.pass_session_events();
        }
        let primary = self.is_primary(self.now);
        if self.sessions.is_at_rest(self.now, primary) {
            return;
        }
        let lapsed = self.view_fenced() && self.lapsed();
        self.sessions.turn(self.now, primary, lapsed);
        for (to, frame) in self.sessions.batches(BATCHES_PER_TURN) {
            self.stats.batches_sent += 1;
            self.links.note_copy(frame.len());
            self.route_direct(to, frame, false);
        }
        for (to, ack) in self.sessions.acknowledgements() {
            self.send_to(to, Control::DirectAck(ack));
        }
        for (to, frame) in self.sessions.retries(self.now) {
            self.route_direct(to, frame, false);
        }
        for (who, what) in self.sessions.take_faulty() {
            let seat = self.view().and_then(|(view, _)| Some(view.members[view.index_of(who)?].seat));
            if let Some(seat) = seat {
                self.bad_content(seat, what);
            }
        }
        self.pass_session_events();
    }

    /// Answers count as events that the host has not taken, whatever room there is: they were asked for.
    pub(super) fn pass_session_events(&mut self) {
        for event in self.sessions.take_events() {
            self.budget.outstanding += event.cost();
            self.event(event);
        }
    }

    /// A receiver has taken a stream of ours so far.
    pub(super) fn on_direct_ack(&mut self, ack: &DirectAck) {
        match self.direct.is_ours(ack) {
            true => self.direct.acknowledged(self.now, ack, 0),
            false => self.sessions.acknowledged(self.now, ack),
        }
    }
}
