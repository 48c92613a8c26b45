//! Room for long messages (R28): whoever wants to send one says so first, and begins when it is its turn. So all that is put together
//! at one member at a time has a bound, however many send.
//!
//! A wish is a batch of the sender's own stream, so it is as reliable as what it is about. In streams to everybody the coordinator
//! answers it by a batch of its own stream, one after the other in the order of the wishes: two senders cannot hold half of what both
//! need. Room is free again when all have taken the last part, which is when nobody keeps it any more. In a stream to one member the
//! receiver answers by acknowledging the wish, which it does not before there is room.

use std::collections::{BTreeMap, VecDeque};

use super::builder::{Builder, UnderWay};
use super::effects::Effects;
use super::fanout::Fanout;
use super::plant::Plant;
use super::setup::LargeRules;
use crate::types::{Incarnation, Index};
use crate::wire::batch::Notice;

/// A sender's own wish in one view.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Own {
    Idle,
    Asked,
    Granted,
}

/// Room for long messages to everybody, in one view.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Grants {
    rules: LargeRules,
    own: Own,
    /// It has become our turn, and nobody has noticed yet.
    fresh: bool,
    /// At the coordinator: who wants how much, in the order in which it came, and who has it.
    waiting: VecDeque<(Index, u64)>,
    given: Vec<Given>,
}

/// What the coordinator has given.
#[derive(Clone, Hash, Debug)]
struct Given {
    stream: Index,
    bytes: u64,
    begun: bool,
    /// The batch with the last part.
    last: Option<u64>,
}

impl Grants {
    pub(crate) fn new(rules: LargeRules) -> Grants {
        Grants { rules, own: Own::Idle, fresh: false, waiting: VecDeque::new(), given: Vec::new() }
    }

    /// Whether a message is so long that it needs a grant.
    pub(crate) fn concerns(&self, bytes: u32) -> bool {
        bytes as usize > self.rules.unasked_bytes
    }

    /// A member wants room.
    pub(crate) fn wanted(&mut self, s: Index, bytes: u32) -> Result<(), &'static str> {
        let has = self.given.iter().any(|given| given.stream == s && given.last.is_none());
        if bytes as usize > self.rules.room_bytes {
            return Err("more room is wanted than there is");
        }
        if has || self.waiting.iter().any(|(waits, _)| *waits == s) {
            return Err("room for a long message is wanted twice");
        }
        self.waiting.push_back((s, bytes.into()));
        Ok(())
    }

    /// The coordinator says that it is our turn.
    pub(crate) fn granted(&mut self) {
        (self.own, self.fresh) = (Own::Granted, true);
    }

    /// Whether somebody waits for its turn.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A batch of a stream was kept, at whose end so much of a message is under way.
    pub(crate) fn passed(&mut self, s: Index, batch: u64, at: UnderWay) {
        let under_way = at.reached > 0 && self.concerns(at.total);
        if let Some(given) = self.given.iter_mut().find(|given| given.stream == s && given.last.is_none()) {
            match under_way {
                true => given.begun = true,
                false if given.begun => given.last = Some(batch),
                false => {}
            }
        }
    }

    /// The next whose turn it is, if there is room for it.
    fn next(&mut self, stable: impl Fn(Index) -> u64, leak: bool) -> Option<Index> {
        let (stream, bytes) = *self.waiting.front()?;
        if !leak {
            self.given.retain(|given| given.last.is_none_or(|last| stable(given.stream) < last));
        }
        let used: u64 = self.given.iter().map(|given| given.bytes).sum();
        if used + bytes > self.rules.room_bytes as u64 {
            return None;
        }
        self.waiting.pop_front();
        self.given.push(Given { stream, bytes, begun: false, last: None });
        Some(stream)
    }
}

impl Fanout {
    /// With these rules for long messages.
    pub(crate) fn with_large(mut self, rules: LargeRules) -> Fanout {
        self.grants = Grants::new(rules);
        self
    }

    /// A long message comes next, and needs room at the others: asks for it once, and waits. True once it may begin.
    pub(super) fn has_grant(&mut self, bytes: usize, builder: &mut Builder, fx: &mut Effects) -> bool {
        match self.grants.own {
            Own::Granted => {
                self.grants.own = Own::Idle;
                builder.grant();
                return true;
            }
            Own::Asked => {}
            Own::Idle if self.plants.has(Plant::BeginUnasked) => {
                builder.grant();
                return true;
            }
            Own::Idle => {
                self.grants.own = Own::Asked;
                self.say(Notice::Want(bytes as u32), builder, fx);
            }
        }
        false
    }

    /// As the coordinator: says whose turn it is. Like places in the order this does not wait for the window.
    pub(crate) fn say_grants(&mut self, builder: &mut Builder, fx: &mut Effects) {
        let leak = self.plants.has(Plant::KeepGrants);
        while !self.frozen
            && let Some(stream) = self.grants.next(|s| self.streams[s].stable, leak)
        {
            self.say(Notice::Grant(stream as u32), builder, fx);
        }
    }

    /// Whether a long message that begins in a stream has room beside all others that are put together here. Its sender was told so by
    /// the coordinator; whoever was not might have us take any memory. Who is not ready does not count for what is stable (R24): there
    /// the next one may begin before the last one is whole.
    pub(super) fn has_room_for(&self, bytes: u32) -> bool {
        !self.view.members[self.me].ready || self.large_bytes() + bytes as usize <= self.grants.rules.room_bytes
    }

    /// Bytes of the long messages of others that are put together here, or about to be.
    fn large_bytes(&self) -> usize {
        let long = |bytes: usize| if bytes > self.grants.rules.unasked_bytes { bytes } else { 0 };
        let others = self.streams.iter().enumerate().filter(|(s, _)| *s != self.me);
        others.map(|(_, stream)| long(stream.under_way().max(stream.reassembly_total()))).sum()
    }

    /// No more is put together than there is room for.
    pub(crate) fn check_large(&self) -> Result<(), String> {
        let (bytes, room) = (self.large_bytes(), self.grants.rules.room_bytes);
        if bytes <= room || !self.view.members[self.me].ready {
            return Ok(());
        }
        Err(format!("{bytes} bytes of long messages are put together in room for {room}"))
    }

    /// Whether our own long message waits for its turn.
    pub(super) fn waits_for_grant(&self) -> bool {
        self.grants.own == Own::Asked
    }

    /// Whether our turn has come since the last look.
    pub(super) fn take_turn(&mut self) -> bool {
        std::mem::take(&mut self.grants.fresh)
    }
}

/// Room for long messages to one member, at that member.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Room {
    pub(crate) rules: LargeRules,
    given: BTreeMap<Incarnation, usize>,
    waiting: VecDeque<Incarnation>,
}

impl Room {
    pub(crate) fn new(rules: LargeRules) -> Room {
        Room { rules, given: BTreeMap::new(), waiting: VecDeque::new() }
    }

    /// Whether it is the turn of this sender, and there is room: then it has it.
    pub(crate) fn give(&mut self, to: Incarnation, bytes: usize) -> bool {
        if !self.waiting.contains(&to) {
            self.waiting.push_back(to);
        }
        let first = self.waiting.front() == Some(&to);
        if !first || self.given.values().sum::<usize>() + bytes > self.rules.room_bytes {
            return false;
        }
        self.waiting.pop_front();
        self.given.insert(to, bytes);
        true
    }

    /// Whether a message of so many bytes may begin.
    pub(crate) fn admits(&self, from: Incarnation, bytes: u32) -> bool {
        let bytes = bytes as usize;
        bytes <= self.rules.unasked_bytes || self.given.get(&from).is_some_and(|given| *given >= bytes)
    }

    /// A sender's message is whole, or the sender is gone.
    pub(crate) fn free(&mut self, from: Incarnation) {
        self.given.remove(&from);
        self.waiting.retain(|waits| *waits != from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: LargeRules = LargeRules { unasked_bytes: 100, room_bytes: 1_000 };

    #[test]
    fn turns_are_given_in_the_order_of_wishes_and_taken_back_when_all_have_the_message() {
        let next = |grants: &mut Grants, stable: [u64; 3]| grants.next(|s| stable[s], false);
        let mut grants = Grants::new(RULES);
        for (s, bytes) in [(2, 700), (0, 600), (1, 200)] {
            assert_eq!(grants.wanted(s, bytes), Ok(()));
        }
        assert_eq!(next(&mut grants, [0, 0, 0]), Some(2));
        assert_eq!(next(&mut grants, [0, 0, 0]), None, "a shorter one that came later does not overtake");
        let part = |reached| UnderWay { reached, total: 700 };
        for (batch, at) in [(3, part(300)), (4, part(600)), (5, UnderWay::default())] {
            grants.passed(2, batch, at);
        }
        assert_eq!(next(&mut grants, [9, 9, 4]), None, "somebody lacks the last part");
        assert_eq!(next(&mut grants, [9, 9, 5]), Some(0));
        assert_eq!(next(&mut grants, [9, 9, 5]), Some(1), "both have room together");
        assert!(!grants.is_waiting());
    }

    #[test]
    fn a_wish_that_makes_no_sense_is_refused() {
        let mut grants = Grants::new(RULES);
        assert_eq!(grants.wanted(3, 1_001), Err("more room is wanted than there is"));
        assert_eq!(grants.wanted(3, 1_000), Ok(()));
        assert_eq!(grants.wanted(3, 200), Err("room for a long message is wanted twice"), "while it waits");
        assert_eq!(grants.next(|_| 0, false), Some(3));
        assert_eq!(grants.wanted(3, 200), Err("room for a long message is wanted twice"), "before it has ended");
    }

    #[test]
    fn a_turn_ends_with_the_message_that_it_was_given_for() {
        let mut grants = Grants::new(RULES);
        for s in [2, 1] {
            assert_eq!(grants.wanted(s, 600), Ok(()));
        }
        assert_eq!(grants.next(|_| 0, false), Some(2));
        let passed = |grants: &mut Grants, s, batch, at: (u32, u32)| {
            grants.passed(s, batch, UnderWay { reached: at.0, total: at.1 });
        };
        let next = |grants: &mut Grants| grants.clone().next(|_| 9, false);
        passed(&mut grants, 2, 1, (60, 100));
        passed(&mut grants, 2, 2, (0, 0));
        assert_eq!(next(&mut grants), None, "that was a shorter one that went in parts");
        passed(&mut grants, 0, 3, (300, 600));
        passed(&mut grants, 0, 4, (0, 0));
        assert_eq!(next(&mut grants), None, "that was another one's");
        passed(&mut grants, 2, 3, (300, 600));
        assert_eq!(next(&mut grants), None, "it has begun");
        passed(&mut grants, 2, 4, (0, 0));
        passed(&mut grants, 2, 5, (0, 0));
        assert_eq!((grants.next(|_| 3, false), grants.next(|_| 4, false)), (None, Some(1)));
    }

    #[test]
    fn room_at_one_member_is_given_in_turn_and_for_one_message() {
        let [one, two, three] = [1, 2, 3].map(Incarnation);
        let mut room = Room::new(RULES);
        assert!(room.admits(one, 100) && !room.admits(one, 101), "short ones need none");
        assert!(room.give(one, 600) && room.admits(one, 600) && !room.admits(one, 601));
        assert!(!room.give(two, 500) && !room.give(three, 100), "who comes later waits for who came before");
        assert!(!room.give(two, 500));
        room.free(one);
        assert!(!room.admits(one, 101) && !room.give(three, 100));
        assert!(room.give(two, 500) && room.give(three, 500), "all of it");
        assert!(!room.give(one, 1));
        // Who is gone stands in nobody's way.
        room.free(one);
        room.free(two);
        assert!(room.give(two, 500));
    }
}
