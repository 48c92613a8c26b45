//! One order for all members: the coordinator says what comes next, in its own stream, and the end of a view settles the rest (D4, R29).
//!
//! What is sent as *agreed* waits, unstable and in its stream, until the coordinator has given it a place. What says so is part of
//! the coordinator's stream, so everybody who goes on together has the same places at the view's end, and delivers what has none
//! after them, by the sender's position and number. What is *safe* waits besides until all ready members hold it and its place: so
//! whoever delivers it before the view ends delivers it where everybody who goes on does. Places are read when a batch is held, not when it
//! is taken: what is next may lie behind others in its stream for which a host has no room.

use std::collections::VecDeque;

use super::builder::Builder;
use super::effects::Effects;
use super::fanout::{Budget, Fanout};
use super::plant::Plant;
use super::stability::{Measure, Stability};
use crate::types::{Index, Time};
use crate::wire::batch::{Level, Notice, PLACE_BYTES, PREFIX_BYTES, Place};

/// Places that are known and not used up yet; more are illegal. The coordinator keeps to half of it.
const MOST: usize = 1 << 18;
/// Places in one batch.
const AT_ONCE: usize = 4_096;

/// Places in the order of all members, of one view.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Order {
    /// What comes next: by which batch of the coordinator's stream it was said, whose stream, up to which batch.
    known: VecDeque<(u64, Index, u64)>,
    /// Up to which batch each stream has places.
    placed: Vec<u64>,
    /// At the coordinator: what has come and has no place yet.
    waiting: VecDeque<(Index, u64)>,
}

impl Order {
    pub(crate) fn new(streams: usize) -> Order {
        Order { known: VecDeque::new(), placed: vec![0; streams], waiting: VecDeque::new() }
    }

    /// The coordinator says what comes next.
    pub(crate) fn learn(&mut self, said: u64, places: &[Place]) -> Result<(), &'static str> {
        for place in places {
            let Some(placed) = self.placed.get_mut(place.stream as usize) else {
                return Err("a place in the order for nobody's stream");
            };
            if place.upto <= *placed || self.known.len() >= MOST {
                return Err("places in the order that do not follow");
            }
            *placed = place.upto;
            self.known.push_back((said, place.stream as usize, place.upto));
        }
        Ok(())
    }

    /// At the coordinator: a batch wants a place.
    pub(crate) fn arrived(&mut self, s: Index, batch: u64) {
        match self.waiting.back_mut() {
            Some((last, upto)) if *last == s => *upto = batch,
            _ => self.waiting.push_back((s, batch)),
        }
    }

    fn next_places(&mut self, bytes: usize) -> Vec<Place> {
        let at_once = AT_ONCE.min((bytes - PREFIX_BYTES) / PLACE_BYTES);
        let room = (MOST / 2).saturating_sub(self.known.len()).min(at_once).min(self.waiting.len());
        self.waiting.drain(..room).map(|(s, upto)| Place { stream: s as u32, upto }).collect()
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl Fanout {
    /// As the coordinator: says which place has what came since. Does not wait for the window: what is in it may wait for this.
    pub(crate) fn say_order(&mut self, builder: &mut Builder, fx: &mut Effects) {
        if self.frozen || !self.order.is_waiting() {
            return;
        }
        let places = self.order.next_places(builder.bound());
        if places.is_empty() {
            return;
        }
        self.say(Notice::Order(places), builder, fx);
    }

    /// Takes what is next in the order, as far as the host's queue admits.
    pub(crate) fn take_placed(&mut self, budget: &mut Budget, ending: bool, fx: &mut Effects) {
        while let Some((said, s, upto)) = self.order.known.front().copied() {
            // What was fetched for a cut counts when that cut is decided.
            if said > self.streams[self.coordinator].bound {
                return;
            }
            let stream = &self.streams[s];
            if stream.taken >= upto || (ending && !stream.is_behind()) {
                self.order.known.pop_front();
                continue;
            }
            let Some(level) = stream.next_level() else { return };
            let safe = level != Level::Safe || ending || self.all_hold(s, said) || self.plants.has(Plant::SafeAtOnce);
            if !safe || !self.take_next(s, budget, ending, fx) {
                return;
            }
            self.take_unplaced(s, budget, ending, fx);
        }
    }

    /// Whether all ready members hold what is next in a stream, and the batch that says its place.
    fn all_hold(&self, s: Index, said: u64) -> bool {
        let stream = &self.streams[s];
        stream.held_by_all > stream.taken && self.streams[self.coordinator].held_by_all >= said
    }
}

/// What all hold.
impl Fanout {
    /// From now on everybody says what it holds.
    pub(super) fn look_at_holding(&mut self) -> &mut Stability {
        let Fanout { holding, view, me, plants, streams, .. } = self;
        holding.get_or_insert_with(|| {
            let mut holding = Stability::new(view, *me, Measure::Held, *plants);
            (0..streams.len()).for_each(|s| holding.touched(s, 0));
            holding
        })
    }

    /// A member of my group, or another leader, says what it holds.
    pub(super) fn holding_reported(&mut self, from: Index, entries: &[(u32, u64)]) {
        self.look_at_holding();
        let Fanout { holding, streams, .. } = self;
        if let Some(holding) = holding {
            holding.reported(from, entries, streams);
        }
    }

    /// Tells what is held here, if it is time, and notes what all hold.
    pub(crate) fn tell_holding(&mut self, now: Time, fx: &mut Effects) {
        if let Some(holding) = &mut self.holding {
            for (s, batch) in holding.flush(now, &self.streams, fx) {
                self.held_by_all(s, batch);
            }
        }
    }

    /// All ready members hold a stream up to this batch.
    pub(crate) fn held_by_all(&mut self, s: Index, batch: u64) {
        if let Some(stream) = self.streams.get_mut(s) {
            stream.held_by_all = stream.held_by_all.max(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fanout::Verdict;
    use crate::core::fanout::tests::Played;
    use crate::core::tree::tests::view;

    fn place(stream: u32, upto: u64) -> Place {
        Place { stream, upto }
    }

    #[test]
    fn places_follow_each_other_are_somebodys_and_are_not_more_than_the_bound() {
        let mut order = Order::new(2);
        let bad = Err("places in the order that do not follow");
        assert_eq!(order.learn(1, &[place(2, 1)]), Err("a place in the order for nobody's stream"));
        assert_eq!((order.learn(1, &[place(1, 3)]), order.learn(2, &[place(1, 3)])), (Ok(()), bad));
        let rest: Vec<Place> = (1..MOST as u64).map(|upto| place(0, upto)).collect();
        assert_eq!((order.learn(2, &rest), order.known.len()), (Ok(()), MOST));
        assert_eq!(order.learn(3, &[place(1, 4)]), bad, "that is one too many");
    }

    #[test]
    fn what_comes_gets_places_in_its_order_and_what_follows_in_one_stream_gets_one() {
        let bytes = |places: usize| PREFIX_BYTES + places * PLACE_BYTES;
        let mut order = Order::new(3);
        for (s, batch) in [(1, 1), (1, 2), (2, 1), (1, 3), (0, 5)] {
            order.arrived(s, batch);
        }
        assert_eq!(order.next_places(bytes(2) + PLACE_BYTES - 1), [place(1, 2), place(2, 1)], "as many as fit");
        assert!(order.is_waiting());
        assert_eq!(order.next_places(bytes(9)), [place(1, 3), place(0, 5)]);
        assert!(!order.is_waiting());
        let mut many = Order::new(2);
        (0..MOST as u64).for_each(|n| many.arrived(n as usize % 2, n));
        assert_eq!(many.next_places(bytes(MOST)).len(), AT_ONCE);
        let known: Vec<Place> = (1..MOST as u64 / 2).map(|upto| place(0, upto)).collect();
        assert_eq!(many.learn(1, &known), Ok(()));
        assert_eq!(many.next_places(bytes(MOST)).len(), 1, "half of what may be known");
        assert_eq!(many.learn(2, &[place(1, 1)]), Ok(()));
        assert_eq!((many.next_places(bytes(MOST)).len(), many.is_waiting()), (0, true));
    }

    #[test]
    fn what_is_agreed_waits_for_its_place_and_what_needs_none_goes_with_it() {
        let mut at = Played::new(view(&[0, 0, 0, 0]), 1);
        at.say(3, Level::Agreed, 8);
        at.say(2, Level::Agreed, 8);
        at.say(2, Level::Fifo, 8);
        assert_eq!(at.take(), []);
        assert_eq!(at.place(&[(2, 1)]), Verdict::Accepted);
        assert_eq!(at.take(), [2, 2], "all that is free now");
        at.place(&[(3, 1)]);
        assert_eq!(at.take(), [3]);
    }

    #[test]
    fn a_place_that_is_used_up_lets_nothing_through_that_comes_later() {
        let mut at = Played::new(view(&[0, 0, 0, 0]), 1);
        at.say(2, Level::Agreed, 8);
        at.say(2, Level::Agreed, 8);
        at.place(&[(2, 1)]);
        assert_eq!(at.take(), [2]);
        at.say(3, Level::Agreed, 8);
        at.place(&[(3, 1), (2, 2)]);
        assert_eq!(at.take(), [3, 2]);
    }

    #[test]
    fn what_is_safe_waits_until_all_hold_it_and_its_place() {
        let mut at = Played::new(view(&[0, 0, 0]), 1);
        at.say(0, Level::Fifo, 8);
        at.say(2, Level::Safe, 8);
        at.place(&[(2, 1)]);
        assert_eq!(at.take(), [0]);
        let held = |streams: &[(Index, u64)]| {
            let mut at = at.clone();
            streams.iter().for_each(|(s, batch)| at.fanout.held_by_all(*s, *batch));
            at.take()
        };
        assert_eq!(held(&[(2, 1)]), [], "the place that not all hold is lost with its coordinator");
        assert_eq!(held(&[(2, 1), (0, 1)]), []);
        assert_eq!(held(&[(0, 2)]), []);
        assert_eq!(held(&[(2, 1), (0, 2)]), [2]);
        assert_eq!(held(&[(2, 1), (0, 2), (2, 0), (0, 0)]), [2], "it does not fall");
        assert_eq!(at.finish(&[2, 0, 1]), [2], "at the end all who go on hold what is in the cut");
    }

    #[test]
    fn the_end_of_a_view_keeps_to_the_places_that_are_in_its_cut() {
        let mut at = Played::new(view(&[0, 0, 0, 0]), 1);
        for s in [0, 2, 3] {
            at.say(s, Level::Agreed, 8);
        }
        let mut unplaced = at.clone();
        assert_eq!(unplaced.finish(&[1, 0, 1, 1]), [0, 2, 3], "what has none goes by the position of its sender");
        at.fanout.freeze();
        // Of the first stream there was more where the place was given.
        at.place(&[(3, 2), (2, 1), (0, 1)]);
        assert_eq!(at.take(), [], "it was fetched for a cut that is not decided");
        assert_eq!(at.clone().finish(&[1, 0, 1, 1]), [0, 2, 3], "a cut without it");
        assert_eq!(at.finish(&[2, 0, 1, 1]), [3, 2, 0]);
    }

    #[test]
    fn a_coordinator_gives_places_to_what_comes_until_it_promises_the_next_view() {
        let mut at = Played::new(view(&[0, 0]), 0);
        at.say(1, Level::Fifo, 8);
        assert!(!at.fanout.order.is_waiting());
        at.say(1, Level::Agreed, 8);
        let say = |at: &mut Played| at.fanout.say_order(&mut at.builders[0], &mut at.fx);
        let mut promised = at.clone();
        promised.fanout.freeze();
        say(&mut promised);
        assert!(promised.fx.data.is_empty());
        promised.say(1, Level::Agreed, 8);
        assert_eq!(promised.fanout.order.waiting, [(1, 2)], "nor to what is fetched");
        say(&mut at);
        assert_eq!((at.fx.data.len(), at.take()), (1, vec![1, 1]));
        say(&mut at);
        assert_eq!(at.fx.data.len(), 1, "nothing waits");
    }
}
