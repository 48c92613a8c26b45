//! Streams of one view to everybody, as one member has them.

use super::*;
use crate::core::builder::UnderWay;
use crate::core::io::Event;
use crate::core::outbox::{Gate, Outbox, Payload, To};
use crate::core::tree::targets;
use crate::core::tree::tests::view;
use crate::types::ViewId;
use crate::wire::batch::Place;
use crate::wire::control::Control;

/// More than these tests have in a stream.
const WINDOW: u64 = 64 * 1024;
/// The longest batch in which parts of long messages come here.
const PARTS: usize = 400;
const LARGE: LargeRules = LargeRules { unasked_bytes: 100, room_bytes: 1_000 };

/// A message of our own that waits.
pub(crate) fn waiting(level: Level, bytes: usize) -> Outbox {
    let mut outbox = Outbox::new(1 << 20, 1 << 20);
    outbox.set_gate(Gate::Open);
    outbox.push(To::Everybody, level, 0, Payload::Borrowed(&vec![7; bytes]));
    outbox
}

/// One member's streams in a view, and what the others say in theirs.
#[derive(Clone)]
pub(crate) struct Played {
    pub(crate) fanout: Fanout,
    /// Of each stream, also of its own.
    pub(crate) builders: Vec<Builder>,
    pub(crate) fx: Effects,
    pub(crate) budget: Budget,
}

impl Played {
    pub(crate) fn new(view: View, me: Index) -> Played {
        let builders = vec![Builder::new(1); view.len()];
        let fanout = Fanout::new(Arc::new(view), me, Window::new(WINDOW), Plants::default()).with_large(LARGE);
        Played { fanout, builders, fx: Effects::default(), budget: Budget::new(1 << 20, 0) }
    }

    fn come(&mut self, s: Index, built: Built) -> Verdict {
        self.fanout.hold(s, &built.header, built.frame)
    }

    fn seats(&self, s: Index) -> (Seat, Seat) {
        (self.fanout.view.members[s].seat, Seat::EVERYBODY)
    }

    /// The next batch of one of the others, which does not come yet.
    fn build(&mut self, s: Index, outbox: &mut Outbox) -> Option<Built> {
        let (tag, (sender, receiver)) = (self.fanout.view.tag(), self.seats(s));
        self.builders[s].build(outbox.queue(To::Everybody), PARTS, tag, sender, receiver)
    }

    /// A message of one of the others comes; of a long one, the first part.
    pub(crate) fn say(&mut self, s: Index, level: Level, bytes: usize) -> Verdict {
        let built = self.build(s, &mut waiting(level, bytes)).expect("it fits");
        self.come(s, built)
    }

    /// One of the others says something of the library's own.
    pub(crate) fn note(&mut self, s: Index, notice: Notice) -> Verdict {
        let (tag, seats) = (self.fanout.view.tag(), self.seats(s));
        let built = self.builders[s].build_notice(notice, tag, seats);
        self.come(s, built)
    }

    /// The coordinator says what comes next: batches of which streams, up to which.
    pub(crate) fn place(&mut self, places: &[(u32, u64)]) -> Verdict {
        let places = places.iter().map(|(stream, upto)| Place { stream: *stream, upto: *upto }).collect();
        self.note(self.fanout.coordinator, Notice::Order(places))
    }

    /// One more batch of our own, if it may be sent.
    pub(crate) fn send(&mut self, outbox: &mut Outbox) -> bool {
        let me = self.fanout.me;
        self.fanout.send(&mut self.builders[me], outbox.queue(To::Everybody), &mut self.fx)
    }

    /// Whose messages the host has been given since the last look, in order.
    pub(crate) fn delivered(&mut self) -> Vec<Index> {
        let of = |event: Event| match event {
            Event::Messages(messages) => self.fanout.view.index_of_seat(messages.sender.seat).expect("in the view"),
            _ => panic!("nothing else comes of it"),
        };
        self.fx.events.drain(..).map(of).collect()
    }

    /// What the host is given now.
    pub(crate) fn take(&mut self) -> Vec<Index> {
        self.fanout.take(&mut self.budget, false, &mut self.fx);
        self.delivered()
    }

    /// What the host is given when the view ends with this cut.
    pub(crate) fn finish(&mut self, cut: &[u64]) -> Vec<Index> {
        self.fanout.finish(cut, &mut self.budget, &mut self.fx);
        self.delivered()
    }

    /// To whom batches went since the last look, and which ones.
    fn data(&mut self) -> Vec<(Index, u64)> {
        let number = |frame: Bytes| Header::decode(frame.first_chunk().expect("a header")).expect("a batch").batch;
        self.fx.end_run();
        self.fx.data.drain(..).map(|(to, frame)| (to, number(frame))).collect()
    }
}

#[test]
fn a_view_that_ends_takes_nothing_new_and_numbers_nothing() {
    let mut at = Played::new(view(&[0, 0]), 0);
    assert!(at.send(&mut waiting(Level::Fifo, 8)));
    assert_eq!(at.data(), [(1, 1)]);
    let built = at.build(1, &mut waiting(Level::Fifo, 8)).expect("it fits");
    let came = |mut at: Played| {
        let end = built.frame.len();
        (at.fanout.accept(1, &built.header, &built.frame, 0, end, &mut at.fx), at.send(&mut waiting(Level::Fifo, 8)))
    };
    assert_eq!(came(at.clone()), (Verdict::Accepted, true));
    let mut promised = at.clone();
    promised.fanout.freeze();
    assert_eq!(came(promised), (Verdict::Dropped, false));
    at.finish(&[1, 0]);
    assert_eq!(came(at), (Verdict::Dropped, false), "whoever installs has not always promised");
}

#[test]
fn what_we_send_is_nothing_for_our_own_host_unless_its_place_counts() {
    let mut at = Played::new(view(&[0, 0]), 1);
    assert!(at.send(&mut waiting(Level::Fifo, 8)));
    assert_eq!((at.fanout.streams[1].taken, at.fanout.is_at_rest(Time(0))), (1, false), "it is to be told");
    at.fanout.stability.flush(Time(0), &at.fanout.streams, &mut at.fx);
    assert!(at.fanout.is_at_rest(Time(0)), "until that is due");
    assert!(at.send(&mut waiting(Level::Agreed, 8)));
    assert!(at.send(&mut waiting(Level::Fifo, 8)));
    assert_eq!((at.fanout.streams[1].taken, at.take()), (1, vec![]), "nor does a later one overtake it");
    at.place(&[(1, 2)]);
    assert_eq!((at.take(), at.fanout.streams[1].taken), (vec![1], 3));
}

#[test]
fn what_all_hold_is_looked_at_where_somebody_says_what_is_to_be_safe() {
    let mut at = Played::new(view(&[0, 0, 0]), 1);
    for level in [Level::Fifo, Level::Agreed] {
        at.say(2, level, 8);
        assert!(at.fanout.holding.is_none());
    }
    at.say(2, Level::Safe, 8);
    assert!(at.fanout.holding.is_some() && !at.fanout.is_at_rest(Time::NEVER));
    at.fanout.tell_holding(Time(0), &mut at.fx);
    let held = |fx: &mut Effects| fx.control.drain(..).collect::<Vec<_>>();
    let tag = at.fanout.view.tag();
    let progress = |entries: &[(u32, u64)]| crate::wire::control::Progress { tag, entries: entries.to_vec() };
    assert_eq!(held(&mut at.fx), [(0, Control::Holding(progress(&[(2, 3)])))]);
    at.fanout.tell_again(0, &mut at.fx);
    let again = [(0, Control::Progress(progress(&[]))), (0, Control::Holding(progress(&[(2, 3)])))];
    assert_eq!(held(&mut at.fx), again);
}

#[test]
fn who_lacks_some_of_what_it_gets_from_us_is_sent_it_and_told_if_some_is_forgotten() {
    let mut at = Played::new(view(&[0, 0, 0]), 0);
    (0..3).for_each(|_| assert!(at.send(&mut waiting(Level::Fifo, 8))));
    at.say(2, Level::Fifo, 8);
    at.data();
    assert!(at.fanout.replay(1, &[(0, 2)], &mut at.fx));
    assert_eq!(at.data(), [(1, 3), (1, 1)], "a stream of which it holds nothing from its beginning");
    assert!(at.fanout.replay(2, &[(0, 1)], &mut at.fx));
    assert_eq!(at.data(), [(2, 2), (2, 3)], "its own it does not get from us");
    at.fanout.release(0, 2);
    assert!(at.fanout.replay(2, &[(0, 2)], &mut at.fx), "it lacks nothing that is forgotten");
    assert_eq!(at.data(), [(2, 3)]);
    assert!(!at.fanout.replay(2, &[(0, 1)], &mut at.fx));
    assert!(!at.fanout.replay(2, &[], &mut at.fx));
}

#[test]
fn what_is_fetched_for_a_cut_is_given_as_long_as_all_of_it_is_kept() {
    let mut at = Played::new(view(&[0, 0]), 0);
    (0..4).for_each(|_| assert!(at.send(&mut waiting(Level::Fifo, 8))));
    at.fanout.release(0, 1);
    let kept = |first, last| at.fanout.kept(0, first, last).map(|frames| frames.len());
    assert_eq!([(2, 3), (2, 4), (4, 4)].map(|(first, last)| kept(first, last)), [Some(2), Some(3), Some(1)]);
    assert_eq!([(1, 2), (3, 5)].map(|(first, last)| kept(first, last)), [None, None]);
    assert_eq!(at.fanout.kept(2, 1, 1), None, "nobody's stream");
    assert_eq!((at.fanout.stable_messages(), at.fanout.holds()), (1, vec![4, 0]));
}

#[test]
fn what_a_host_has_no_room_for_waits_and_the_view_does_not_rest() {
    let mut at = Played::new(view(&[0, 0]), 1);
    assert!(at.fanout.is_at_rest(Time(0)) && !at.fanout.held_back());
    at.say(0, Level::Fifo, 8);
    let room = std::mem::replace(&mut at.budget, Budget::new(8, 0));
    at.budget.outstanding = 8;
    assert_eq!((at.take(), at.fanout.held_back(), at.fanout.is_at_rest(Time(0))), (vec![], true, false));
    at.budget = room;
    assert_eq!((at.take(), at.fanout.held_back()), (vec![0], false));
    assert!(!at.fanout.is_at_rest(Time(0)), "it is to be told");
    at.fanout.stability.flush(Time(0), &at.fanout.streams, &mut at.fx);
    assert!(at.fanout.is_at_rest(Time(0)));
}

#[test]
fn what_only_a_coordinator_may_say_is_refused_from_others() {
    let mut at = Played::new(view(&[0, 0, 0]), 1);
    assert_eq!(at.clone().place(&[(2, 1)]), Verdict::Accepted);
    assert_eq!(at.clone().note(0, Notice::Grant(2)), Verdict::Accepted);
    assert_eq!(at.clone().note(2, Notice::Want(300)), Verdict::Accepted);
    let order = Notice::Order(vec![Place { stream: 2, upto: 1 }]);
    assert_eq!(at.clone().note(2, order), Verdict::Bad("an order by one that does not coordinate"));
    assert_eq!(at.clone().note(2, Notice::Grant(2)), Verdict::Bad("a grant by one that does not coordinate"));
    assert_eq!(at.say(2, Level::Fifo, 700), Verdict::Accepted);
    assert_eq!(at.note(2, Notice::Want(300)), Verdict::Bad("room is wanted inside a message"));
}

#[test]
fn long_messages_begin_where_there_is_room_for_all_of_them() {
    let mut members = view(&[0, 0, 0, 0]).members;
    let mut at = Played::new(View::new(ViewId::NONE, members.clone(), true), 1);
    assert_eq!(at.say(2, Level::Fifo, 1_001), Verdict::Bad("a long message without a grant"), "more than all room");
    at = Played::new(View::new(ViewId::NONE, members.clone(), true), 1);
    assert_eq!(at.say(2, Level::Fifo, 600), Verdict::Accepted);
    assert_eq!(at.clone().say(3, Level::Fifo, 401), Verdict::Bad("a long message without a grant"));
    assert_eq!(at.say(3, Level::Fifo, 400), Verdict::Accepted);
    assert_eq!(at.fanout.check_large(), Ok(()));
    let less = at.fanout.clone().with_large(LargeRules { room_bytes: 999, ..LARGE });
    assert!(less.check_large().is_err(), "that is what is checked");
    assert_eq!(at.say(0, Level::Fifo, 100), Verdict::Accepted, "short ones need none");
    members[1].ready = false;
    at = Played::new(View::new(ViewId::NONE, members, true), 1);
    for s in [0, 2, 3] {
        assert_eq!(at.say(s, Level::Fifo, 900), Verdict::Accepted, "who is not ready does not count");
    }
}

#[test]
fn who_sends_a_long_message_asks_once_and_begins_when_it_is_its_turn() {
    let mut at = Played::new(view(&[0, 0, 0]), 1);
    at.builders[1] = Builder::new(1).asking_above(LARGE.unasked_bytes);
    let mut outbox = waiting(Level::Fifo, 70_000);
    assert!(!at.fanout.waits_for_grant());
    for _ in 0..2 {
        assert!(!at.send(&mut outbox) && at.fanout.waits_for_grant() && !at.fanout.take_turn());
    }
    assert_eq!(at.fanout.streams[1].accepted, 1, "it asked once");
    at.note(0, Notice::Grant(2));
    assert!(!at.send(&mut outbox), "another one's turn");
    at.note(0, Notice::Grant(1));
    let mut ended = at.clone();
    ended.fanout.freeze();
    assert!(!ended.send(&mut outbox.clone()), "not in a view that ends");
    assert!(at.fanout.take_turn() && !at.fanout.take_turn());
    assert!(at.send(&mut outbox) && !at.fanout.waits_for_grant());
    assert_eq!((at.fanout.streams[1].accepted, at.fanout.streams[1].under_way()), (2, 70_000));
}

#[test]
fn half_of_the_window_is_for_credit_however_many_there_are() {
    let split = |groups: &[u16], reserved| crate::core::window::split(&view(groups), 4_000, reserved);
    assert_eq!(split(&[0, 0, 0, 0], 100), (100, 3_600));
    assert_eq!(split(&[0, 1, 0, 1], 1_000), (500, 1_000), "each group has a pool of its own");
    assert_eq!(split(&[0; 100], 1_000), (20, 2_000));
}

#[test]
fn what_is_said_to_be_stable_counts_once_we_have_taken_it_too() {
    let mut fanout = Fanout::new(Arc::new(view(&[0, 0])), 0, Window::new(1024), Plants::default());
    let (flags, count, length, tag, batch, first_message) = (0, 1, 100, 7, 1, 1);
    let (sender, receiver) = (Seat(2), Seat::EVERYBODY);
    let header = Header { flags, count, length, tag, sender, receiver, batch, first_message };
    fanout.streams[1].keep(header, Level::Fifo, Bytes::from(vec![7; HEADER_BYTES + 100]), 1, UnderWay::default());
    fanout.note_behind(1);
    fanout.release(1, 1);
    assert_eq!((fanout.streams[1].stable, fanout.retained_bytes()), (0, HEADER_BYTES as u64 + 100));
    let mut budget = Budget::new(1 << 20, 0);
    fanout.take(&mut budget, false, &mut Effects::default());
    assert_eq!((fanout.streams[1].stable, fanout.retained_bytes()), (1, 0), "nobody says it twice");
}

#[test]
fn who_moves_keeps_its_place_in_the_view_and_leads_nobody_where_it_comes() {
    let mut members = view(&[0, 1, 2, 0, 1, 2]).members;
    (members[0].group, members[0].grouped) = (1, 2);
    let view = View::new(ViewId::NONE, members, true);
    let groups: Vec<(u16, &[Index])> = view.groups.iter().map(|g| (g.label, &g.members[..])).collect();
    assert_eq!(groups, [(1, &[1, 4, 0][..]), (2, &[2, 5]), (0, &[3])]);
    assert_eq!((view.coordinator(), view.role_of(0), view.index_of_seat(Seat(1))), (1, "member", Some(0)));
    assert_eq!(view.by_seniority().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 0]);
}

#[test]
fn a_witness_is_given_nothing_leads_nobody_and_misses_nothing() {
    let mut members = view(&[0, 1, 2, 0, 1, 1]).members;
    [0, 2, 4].into_iter().for_each(|at| members[at].witness = true);
    let view = View::new(ViewId::NONE, members, true);
    // The one whose group has nobody else is with the most senior of those who carry messages.
    let groups: Vec<(u16, &[Index])> = view.groups.iter().map(|g| (g.label, &g.members[..])).collect();
    assert_eq!(groups, [(1, &[1, 5, 2, 4][..]), (0, &[3, 0])]);
    assert_eq!((view.coordinator(), view.carriers(), view.members[2].group), (1, 3, 1));
    assert_eq!((view.group(1).deputy(), view.group(3).deputy()), (Some(5), None));
    for sender in [1, 3, 5] {
        for me in 0..view.len() {
            assert!(targets(&view, me, sender).iter().all(|to| !view.members[*to].witness), "{me} for {sender}");
        }
    }
    let window = || Window::new(1024);
    let missing = |me| {
        Fanout::new(Arc::new(view.clone()), me, window(), Plants::default()).missing([0, 7, 0, 9, 0, 0].into_iter())
    };
    assert_eq!((missing(4), missing(5)), (vec![], vec![(1, 1, 7), (3, 1, 9)]));
}

#[test]
fn among_witnesses_the_most_senior_coordinates() {
    let mut members = view(&[3, 5]).members;
    members.iter_mut().for_each(|m| m.witness = true);
    let view = View::new(ViewId::NONE, members, true);
    assert_eq!((view.coordinator(), view.carriers(), view.groups.len()), (0, 0, 1));
}

#[test]
fn streams_that_come_by_multicast_rest_while_nothing_comes_and_once_the_view_ends() {
    let mut at = Played::new(view(&[0, 0]), 1);
    let reception = Reception::new(2, 1, 1 << 20, 1 << 20, Time(0));
    at.fanout = at.fanout.by_multicast(reception);
    assert!(at.fanout.is_at_rest(Time(0)));
    at.fanout.on_newest(0, 1);
    assert!(!at.fanout.is_at_rest(Time(0)), "a batch is missing");
    at.fanout.freeze();
    assert!(at.fanout.is_at_rest(Time(0)));
}

#[test]
fn a_queue_takes_what_fills_it_to_the_byte_and_is_behind_with_more_than_half() {
    let mut budget = Budget::new(100, 0);
    assert!(budget.admits(101), "an empty one takes anything");
    budget.outstanding = 50;
    assert_eq!([50, 51].map(|cost| budget.admits(cost)), [true, false]);
    assert!(!budget.is_half_full());
    budget.outstanding = 51;
    assert!(budget.is_half_full());
}
