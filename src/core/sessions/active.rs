//! What is under way with sessions: the few that somebody wants something of now.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};

use super::SessionRequest;
use super::handover::Claim;
use super::lag::Early;
use super::map::SessionMap;
use super::retiring::Moving;
use super::search::Search;
use crate::types::{Epoch, Incarnation, SessionId, Time};

/// A change that was made here and is not answered for yet.
#[derive(Clone, Hash, Debug)]
pub(super) struct Begun {
    pub(super) number: u64,
    pub(super) version: u64,
    pub(super) until: Time,
    /// Two members have it; the answer waits until this member acts in the primary view.
    pub(super) done: bool,
    /// The host was told that the outcome is unknown; until it is known, nobody is told anything of the session.
    pub(super) given_up: bool,
    /// It was answered for before.
    pub(super) early: Option<Early>,
}

/// A request that has not begun.
#[derive(Clone, Hash, Debug)]
pub(super) struct Waiting {
    pub(super) request: SessionRequest,
    pub(super) until: Time,
}

/// A request that has ended a session here, and is not answered for yet.
#[derive(Clone, Hash, Debug)]
pub(super) struct Ending {
    pub(super) number: u64,
    pub(super) until: Time,
}

/// What is under way with one session. There is none for a session that is left alone.
#[derive(Clone, Hash, Default, Debug)]
pub(super) struct Active {
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) begun: VecDeque<Begun>,
    /// The version at which a whole copy was last sent to the partner: objections to what was sent before are out of date.
    pub(super) copy_sent: u64,
    pub(super) search: Option<Search>,
    pub(super) claim: Option<Claim>,
    /// To whom it was given, and in which epoch.
    pub(super) given: Option<(Incarnation, Epoch)>,
    /// Its second copy is on its way to another holder.
    pub(super) moving: Option<Moving>,
    /// Members that want to have it, with the number of their question.
    pub(super) wanted: VecDeque<(Incarnation, u64)>,
    /// Members that want to look at it, with the number of their question.
    pub(super) lookers: VecDeque<(Incarnation, u64)>,
    /// Requests that ended it, each until the other holder has let go too. There may be several: it can be made anew meanwhile.
    pub(super) ending: Vec<Ending>,
}

impl Active {
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
            && self.begun.is_empty()
            && self.search.is_none()
            && self.claim.is_none()
            && self.given.is_none()
            && self.moving.is_none()
            && self.wanted.is_empty()
            && self.lookers.is_empty()
            && self.ending.is_empty()
    }
}

/// What is under way, by session. The memory of what is done is kept for what comes next: freed between sessions that stay, it would
/// leave gaps of all sizes among them.
#[derive(Clone, Default, Debug)]
pub(super) struct UnderWay {
    busy: SessionMap<Box<Active>>,
    // What is kept is the memory in boxes.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<Active>>,
}

impl UnderWay {
    /// How many of those that are done are kept.
    const SPARE: usize = 256;

    /// What is under way with a session, from now on if nothing was.
    pub(super) fn enter(&mut self, id: SessionId) -> &mut Active {
        self.busy.get_or_insert_with(id, || self.spare.pop().unwrap_or_default())
    }

    /// Forgets a session with which nothing is under way any more.
    pub(super) fn leave_if_idle(&mut self, id: SessionId) {
        if self.busy.get(&id).is_some_and(|active| active.is_idle())
            && let Some(mut done) = self.busy.remove(&id)
            && self.spare.len() < UnderWay::SPARE
        {
            done.copy_sent = 0;
            self.spare.push(done);
        }
    }

    /// Takes it apart.
    pub(super) fn into_all(self) -> impl Iterator<Item = (SessionId, Box<Active>)> {
        self.busy.into_all()
    }
}

impl Deref for UnderWay {
    type Target = SessionMap<Box<Active>>;

    fn deref(&self) -> &Self::Target {
        &self.busy
    }
}

impl DerefMut for UnderWay {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.busy
    }
}

impl Hash for UnderWay {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.busy.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::super::map::tests::hashed;
    use super::*;

    #[test]
    fn nothing_of_one_session_is_left_in_the_memory_that_another_gets() {
        let mut all = UnderWay::default();
        all.enter(SessionId(1)).copy_sent = 9;
        all.leave_if_idle(SessionId(1));
        assert!(all.get(&SessionId(1)).is_none());
        assert_eq!(all.enter(SessionId(2)).copy_sent, 0);
    }

    #[test]
    fn memory_is_kept_for_what_comes_next_up_to_a_bound() {
        let mut all = UnderWay::default();
        let ids = || (0..UnderWay::SPARE as u128 + 5).map(SessionId);
        ids().for_each(|id| all.enter(id).copy_sent = 1);
        ids().for_each(|id| all.leave_if_idle(id));
        assert_eq!(all.spare.len(), UnderWay::SPARE);
        ids().for_each(|id| _ = all.enter(id));
        assert_eq!((all.spare.len(), all.len()), (0, UnderWay::SPARE + 5));
    }

    #[test]
    fn what_is_under_way_counts_and_what_is_kept_does_not() {
        let (mut one, mut other) = (UnderWay::default(), UnderWay::default());
        one.enter(SessionId(1));
        assert_ne!(hashed(&one), hashed(&other));
        one.leave_if_idle(SessionId(1));
        assert_eq!(hashed(&one), hashed(&other));
        one.enter(SessionId(1)).ending.push(Ending { number: 1, until: Time(7) });
        other.enter(SessionId(1)).ending.push(Ending { number: 2, until: Time(7) });
        assert_ne!(hashed(&one), hashed(&other));
    }
}
