//! How many unstable bytes a sender may have: a reserved minimum, and credit from its leader's pool (R25).

use std::collections::{BTreeMap, VecDeque};

use super::plant::{Plant, Plants};
use crate::types::{Index, View, limits};
use crate::wire::batch::HEADER_BYTES;

/// A sender's own window in one view.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Window {
    reserved: u64,
    /// All credit that came in this view, and all of it that was given back.
    granted: u64,
    returned: u64,
    /// A wish for credit is on its way.
    asked: bool,
    /// The leader wants credit back until so much is left.
    keep: Option<u64>,
}

/// With nothing under way a sender may always number so many bytes.
const LEAST_ROOM: usize = 4096;

/// What is asked for, and granted, at a time.
pub(crate) const UNIT: u64 = 4 * limits::BATCH_BYTES as u64;

/// Splits the total over the members of a view: reserved bytes of each, and the pool of each group. However many members there are, half
/// of it is for those who send: what is reserved for the others would be of no use to anybody.
pub(crate) fn split(view: &View, total: usize, reserved: usize) -> (u64, u64) {
    let members = view.carriers().max(1) as u64;
    let total = total as u64;
    let reserved = (reserved as u64).min(total / members / 2);
    (reserved, (total - reserved * members) / view.groups.len().max(1) as u64)
}

/// Most bytes that a member keeps of all streams to everybody: what windows allow, and half as much for news that is late of what is stable; at
/// least what all have under way when each sends something. Less would be full at each member of batches that others have no room for.
pub(crate) fn most_kept(view: &View, total: usize) -> u64 {
    let least = view.carriers() * (LEAST_ROOM + HEADER_BYTES);
    (total + least.max(total / 2)) as u64
}

impl Window {
    pub(crate) fn new(reserved: u64) -> Window {
        Window { reserved, granted: 0, returned: 0, asked: false, keep: None }
    }

    /// What this sender may always have unstable in this view.
    pub(crate) fn reserved(&self) -> u64 {
        self.reserved
    }

    pub(crate) fn credit(&self) -> u64 {
        self.granted - self.returned
    }

    /// Bytes that may be numbered now, of `waiting`. With nothing unstable at least a small batch always may. A window that opens
    /// by little at a time stays shut until there is room for a whole batch, or a quarter of it: otherwise every report would let
    /// out a batch as small as itself, whose reports do the same (RFC 1122, 4.2.3.4, has this for TCP).
    pub(crate) fn room(&self, unstable: u64, cap: usize, waiting: usize) -> usize {
        let limit = (self.reserved + self.credit()).min(cap as u64);
        let room = limit.saturating_sub(unstable) as usize;
        let worth = waiting.min(limits::BATCH_BYTES).min(limit as usize / 4);
        match unstable {
            0 => room.max(LEAST_ROOM).min(cap),
            _ if room < worth => 0,
            _ => room,
        }
    }

    /// How much to ask the leader for, when something waits and the window does not take it.
    pub(crate) fn want(&mut self) -> Option<u64> {
        if self.asked {
            return None;
        }
        self.asked = true;
        Some(UNIT)
    }

    /// The leader says how much it has granted in all; of that nobody ever has more than `most`.
    pub(crate) fn granted(&mut self, total: u64, most: u64) {
        let total = total.min(self.returned.saturating_add(most));
        if total > self.granted {
            self.granted = total;
            self.asked = false;
        }
    }

    /// All that was given back.
    pub(crate) fn returned(&self) -> u64 {
        self.returned
    }

    /// The link to the leader is new: what was asked may have been lost.
    pub(crate) fn ask_again(&mut self) {
        self.asked = false;
    }

    pub(crate) fn recalled(&mut self) {
        self.keep = Some(self.keep.unwrap_or(self.credit()) / 2);
    }

    /// Gives back what can be given now: all when idle, else what was recalled and is not in use. Answers how much that was.
    pub(crate) fn give_back(&mut self, unstable: u64, idle: bool) -> u64 {
        let keep = if idle { 0 } else { self.keep.unwrap_or(self.credit()) };
        let unused = (self.reserved + self.credit()).saturating_sub(unstable);
        let back = self.credit().saturating_sub(keep).min(unused);
        self.returned += back;
        if self.keep.is_some_and(|keep| self.credit() <= keep) {
            self.keep = None;
        }
        back
    }
}

/// A leader's pool in one view.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Pool {
    total: u64,
    free: u64,
    accounts: BTreeMap<Index, Account>,
    waiting: VecDeque<Index>,
    plants: Plants,
}

/// All that a member was granted in this view, and all of it that it gave back. Both only grow, and are told whole: what was lost with
/// a link is made good by the next word, and a word that comes twice, or late, changes nothing.
#[derive(Clone, Hash, Debug, Default)]
struct Account {
    granted: u64,
    returned: u64,
}

impl Account {
    fn held(&self) -> u64 {
        self.granted - self.returned
    }
}

impl Pool {
    pub(crate) fn new(total: u64, plants: Plants) -> Pool {
        Pool { total, free: total, accounts: BTreeMap::new(), waiting: VecDeque::new(), plants }
    }

    /// A member asks; it is served in its turn.
    pub(crate) fn want(&mut self, member: Index) {
        if !self.waiting.contains(&member) {
            self.waiting.push_back(member);
        }
    }

    /// Serves the next that waits, if there is something to give: who it is, and how much it was granted in all.
    pub(crate) fn grant(&mut self) -> Option<(Index, u64)> {
        let member = *self.waiting.front()?;
        let bytes = UNIT.min(self.free);
        if bytes < UNIT.min(self.total / 4).max(1) {
            return None;
        }
        self.waiting.pop_front();
        self.free -= bytes;
        let account = self.accounts.entry(member).or_default();
        account.granted += bytes;
        Some((member, account.granted))
    }

    /// All that a member was granted.
    pub(crate) fn granted_to(&self, member: Index) -> u64 {
        self.accounts.get(&member).map_or(0, |account| account.granted)
    }

    /// Whom to ask for credit when somebody waits in vain: who holds most, unless it is the one that waits.
    pub(crate) fn recall(&self) -> Option<Index> {
        let waiting = *self.waiting.front()?;
        let own = self.accounts.get(&waiting).map_or(0, Account::held);
        let (member, most) = self.accounts.iter().max_by_key(|(_, account)| account.held())?;
        (*member != waiting && most.held() > own).then_some(*member)
    }

    /// A member says how much it has given back in all.
    pub(crate) fn returned(&mut self, member: Index, total: u64) {
        let Some(account) = self.accounts.get_mut(&member) else { return };
        let total = total.clamp(account.returned, account.granted);
        let bytes = total - account.returned;
        account.returned = total;
        if !self.plants.has(Plant::LeakCredit) {
            self.free += bytes;
        }
        assert!(self.free <= self.total, "more credit is free than there is");
    }

    /// Nothing is created and nothing is lost.
    pub(crate) fn check(&self) -> Result<(), String> {
        let granted: u64 = self.accounts.values().map(Account::held).sum();
        if self.free + granted == self.total {
            return Ok(());
        }
        Err(format!("credit leaks: {} free and {granted} granted of {}", self.free, self.total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u64 = 1 << 30;

    #[test]
    fn credit_goes_round_and_comes_back() {
        let mut pool = Pool::new(UNIT, Plants::default());
        pool.want(1);
        assert_eq!(pool.grant(), Some((1, UNIT)));
        pool.want(2);
        assert_eq!(pool.grant(), None);
        assert_eq!(pool.recall(), Some(1));
        let mut window = Window::new(1000);
        assert_eq!(window.want(), Some(UNIT));
        window.granted(UNIT, MOST);
        window.recalled();
        let back = window.give_back(0, false);
        assert_eq!(back, UNIT / 2);
        pool.returned(1, back);
        assert_eq!(pool.grant(), Some((2, UNIT / 2)));
        assert!(pool.check().is_ok());
    }

    #[test]
    fn who_holds_no_more_than_the_one_that_waits_is_asked_for_nothing() {
        let mut pool = Pool::new(2 * UNIT, Plants::default());
        for member in [1, 2] {
            pool.want(member);
            assert_eq!(pool.grant(), Some((member, UNIT)));
        }
        pool.want(1);
        assert_eq!((pool.grant(), pool.recall()), (None, None));
    }

    #[test]
    fn a_window_opens_for_a_whole_batch_or_a_quarter_of_itself() {
        const LONG: usize = usize::MAX;
        let mut window = Window::new(100_000);
        assert_eq!(window.room(75_001, LONG, LONG), 0, "not for what one report gives back");
        assert_eq!(window.room(75_000, LONG, LONG), 25_000);
        assert_eq!(window.room(99_000, LONG, 1_000), 1_000, "all that waits");
        assert_eq!(window.room(99_001, LONG, 1_000), 0);
        window.granted(900_000, MOST);
        assert_eq!(window.room(1_000_000 - limits::BATCH_BYTES as u64, LONG, LONG), limits::BATCH_BYTES);
        assert_eq!(window.room(1_000_001 - limits::BATCH_BYTES as u64, LONG, LONG), 0);
        assert_eq!(window.room(30_001, 40_000, LONG), 0, "who has less room than the window counts");
        assert_eq!(window.room(30_000, 40_000, LONG), 10_000);
        assert_eq!(Window::new(100).room(0, LONG, LONG), 4_096, "with nothing under way a small one always goes");
    }

    #[test]
    fn what_is_in_use_is_not_given_back() {
        let mut window = Window::new(1000);
        window.granted(5000, MOST);
        assert_eq!(window.give_back(6000, true), 0);
        assert_eq!(window.give_back(2000, true), 4000);
    }

    #[test]
    fn credit_is_asked_for_again_when_it_came_or_the_wish_may_be_lost() {
        let mut window = Window::new(1000);
        assert_eq!((window.want(), window.want()), (Some(UNIT), None), "one wish is on its way");
        window.ask_again();
        assert_eq!((window.want(), window.want()), (Some(UNIT), None));
        window.granted(UNIT, MOST);
        assert_eq!((window.credit(), window.want()), (UNIT, Some(UNIT)));
    }

    #[test]
    fn what_is_recalled_is_given_back_as_it_comes_out_of_use_and_then_no_more() {
        let mut window = Window::new(1000);
        window.granted(8_000, MOST);
        window.recalled();
        assert_eq!((window.give_back(7_000, false), window.give_back(7_000, false)), (2_000, 0));
        assert_eq!((window.give_back(0, false), window.credit()), (2_000, 4_000));
        window.granted(11_000, MOST);
        assert_eq!(window.give_back(0, false), 0, "the next credit is nobody else's");
        window.recalled();
        window.recalled();
        assert_eq!((window.give_back(0, false), window.credit()), (5_250, 1_750), "half, and half of that");
    }

    #[test]
    fn a_pool_serves_in_turn_takes_back_what_it_gave_and_splits_nothing_too_small() {
        let mut pool = Pool::new(3 * UNIT, Plants::default());
        assert_eq!((pool.grant(), pool.recall()), (None, None), "nobody waits");
        for member in [1, 2, 1] {
            pool.want(member);
        }
        assert_eq!([pool.grant(), pool.grant(), pool.grant()], [Some((1, UNIT)), Some((2, UNIT)), None]);
        pool.want(2);
        assert_eq!(pool.grant(), Some((2, 2 * UNIT)), "all that it was granted");
        pool.want(3);
        assert_eq!((pool.grant(), pool.recall()), (None, Some(2)), "who holds most");
        pool.returned(2, 3 * UNIT / 4 - 1);
        assert_eq!(pool.grant(), None, "a quarter of all is the least, or a unit");
        pool.returned(2, 3 * UNIT / 4);
        assert_eq!(pool.grant(), Some((3, 3 * UNIT / 4)));
        pool.returned(1, 9 * UNIT);
        pool.returned(7, UNIT);
        assert_eq!((pool.free, pool.check()), (UNIT, Ok(())), "nobody gives back more than it has");
        pool.free -= 1;
        assert!(pool.check().is_err());
    }

    #[test]
    fn what_is_told_of_credit_is_told_whole_and_counts_once() {
        let (mut pool, mut window) = (Pool::new(2 * UNIT, Plants::default()), Window::new(1000));
        for _ in 0..2 {
            pool.want(1);
            assert!(pool.grant().is_some(), "the first one is lost on its way");
        }
        let granted = pool.granted_to(1);
        window.granted(granted, MOST);
        window.granted(UNIT, MOST);
        assert_eq!(window.credit(), 2 * UNIT, "what comes late says nothing new");
        for unstable in [UNIT, 0] {
            window.give_back(unstable, true);
        }
        let returned = window.returned();
        pool.returned(1, returned);
        pool.returned(1, returned);
        pool.returned(1, UNIT);
        assert_eq!((pool.free, pool.check()), (2 * UNIT, Ok(())));
        window.granted(u64::MAX, MOST);
        assert_eq!(window.credit(), MOST, "however much is said");
    }
}
