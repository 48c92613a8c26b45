//! Hand-made histories: one that keeps every promise, and for each promise one that breaks it.

use std::sync::Arc;

use bytes::Bytes;

use super::{Guarantee, Ledger};
use crate::core::{Event, MemberRef, Messages, To, ViewChange};
use crate::sim::network::address_of;
use crate::sim::payload::{Token, payload};
use crate::types::{Ballot, Incarnation, MemberInfo, Name, Seat, View, ViewId};
use crate::wire::batch::Level;

/// A ledger of three members that are all in a first view.
struct History {
    ledger: Ledger,
}

fn view_id(number: u64) -> ViewId {
    ViewId { number, ballot: Ballot { round: number, coordinator: Incarnation(1) } }
}

fn member(at: u16) -> MemberRef {
    MemberRef {
        name: Name::new(&format!("n{at}")),
        incarnation: Incarnation(u128::from(at) + 1),
        seat: Seat(at.into()),
    }
}

fn view(number: u64, members: &[u16]) -> View {
    let info = |at: &u16| MemberInfo {
        name: member(*at).name,
        incarnation: member(*at).incarnation,
        address: address_of(*at),
        seat: Seat(u32::from(*at) + 1),
        admitted: 1,
        group: 1,
        grouped: 1,
        ready: true,
        witness: false,
        tags: Default::default(),
    };
    View::new(view_id(number), members.iter().map(info).collect(), true)
}

impl History {
    fn new() -> History {
        let mut history = History { ledger: Ledger::default() };
        (0..3).for_each(|node| assert_eq!(history.ledger.start(node), node));
        history.install_at_all(view(1, &[0, 1, 2]));
        history
    }

    fn install(&mut self, process: u16, view: View) {
        let me = view.index_of(member(process).incarnation).expect("it is in the view");
        let change = ViewChange { view: Arc::new(view), me, joined: Vec::new(), left: Vec::new(), merged_from: None };
        self.ledger.event(process, &Event::View(change));
    }

    fn install_at_all(&mut self, view: View) {
        (0..3).for_each(|process| self.install(process, view.clone()));
    }

    fn leave_view(&mut self, process: u16, number: u64) {
        self.ledger.event(process, &Event::Transition { view: view_id(number) });
    }

    fn accept(&mut self, process: u16, to: To, len: usize) -> Token {
        let token = self.ledger.next_token(process, to);
        self.ledger.accepted(token, Level::Fifo, len);
        token
    }

    fn deliver_bytes(&mut self, at: u16, number: u64, token: Token, direct: bool, bytes: Bytes, view: ViewId) {
        let sender = Arc::new(member(token.process));
        let run = Messages::single(sender, view, direct, number, token.pack(), bytes, 0);
        self.ledger.event(at, &Event::Messages(run));
    }

    /// A message with its place in the order of all.
    fn deliver_ordered(&mut self, at: u16, number: u64, token: Token, level: Level) {
        let (sender, bytes) = (Arc::new(member(token.process)), payload(token, 10));
        let mut run = Messages::single(sender, view_id(1), false, number, token.pack(), bytes, 0);
        run.level = level;
        self.ledger.event(at, &Event::Messages(run));
    }

    fn accept_ordered(&mut self, process: u16, level: Level) -> Token {
        let token = self.ledger.next_token(process, To::Everybody);
        self.ledger.accepted(token, level, 10);
        token
    }

    fn deliver(&mut self, at: u16, number: u64, token: Token, len: usize) {
        self.deliver_bytes(at, number, token, false, payload(token, len), view_id(1));
    }

    fn broken(&self) -> Vec<Guarantee> {
        self.ledger.violations.iter().map(|violation| violation.guarantee).collect()
    }
}

#[test]
fn a_history_that_keeps_every_promise_is_clean() {
    let mut history = History::new();
    for number in 1..=3 {
        let token = history.accept(0, To::Everybody, 100 * number as usize);
        history.deliver(1, number, token, 100 * number as usize);
        history.deliver(2, number, token, 100 * number as usize);
    }
    let direct = history.accept(1, To::Member(member(2).incarnation), 8);
    history.deliver_bytes(2, 1, direct, true, payload(direct, 8), view_id(1));
    let back = history.accept(1, To::Member(member(2).incarnation), 9);
    let returned =
        Event::Returned { to: Some(member(2)), token: back.pack(), payload: payload(back, 9), why: "it is gone" };
    history.ledger.event(1, &returned);
    (0..3).for_each(|process| history.leave_view(process, 1));
    history.install_at_all(view(2, &[0, 1, 2]));
    let last: Vec<Token> = (0..3).map(|process| history.accept(process, To::Everybody, 1)).collect();
    for (sender, token) in last.into_iter().enumerate() {
        let number = if sender == 0 { 4 } else { 1 };
        for receiver in (0..3).filter(|receiver| usize::from(*receiver) != sender) {
            history.deliver_bytes(receiver, number, token, false, payload(token, 1), view_id(2));
        }
    }
    assert!(history.ledger.is_even(&[0, 1, 2]));
    history.ledger.finish(&[0, 1, 2]);
    assert_eq!(history.ledger.violations, []);
    assert!(history.ledger.checks.count(Guarantee::D1) >= 13);
    assert!(history.ledger.checks.count(Guarantee::D3) > 0);
}

#[test]
fn a_gap_in_the_numbers_breaks_d1() {
    let mut history = History::new();
    let tokens: Vec<Token> = (0..3).map(|_| history.accept(0, To::Everybody, 10)).collect();
    history.deliver(1, 1, tokens[0], 10);
    history.deliver(1, 3, tokens[1], 10);
    assert_eq!(history.broken(), [Guarantee::D1]);
}

#[test]
fn a_repeated_message_breaks_d1() {
    let mut history = History::new();
    let token = history.accept(0, To::Everybody, 10);
    history.deliver(1, 1, token, 10);
    history.deliver(1, 2, token, 10);
    assert_eq!(history.broken(), [Guarantee::D1]);
}

#[test]
fn an_altered_message_breaks_d1() {
    let mut history = History::new();
    let token = history.accept(0, To::Everybody, 10);
    history.deliver_bytes(1, 1, token, false, Bytes::from_static(b"not these!"), view_id(1));
    assert_eq!(history.broken(), [Guarantee::D1]);
}

#[test]
fn an_accepted_message_that_is_passed_over_breaks_d7() {
    let mut history = History::new();
    let tokens: Vec<Token> = (0..3).map(|_| history.accept(0, To::Everybody, 10)).collect();
    history.deliver(1, 1, tokens[0], 10);
    history.deliver(1, 2, tokens[2], 10);
    assert_eq!(history.broken(), [Guarantee::D7]);
}

#[test]
fn a_gap_after_the_loss_of_a_leader_breaks_d2() {
    let mut history = History::new();
    let tokens: Vec<Token> = (0..2).map(|_| history.accept(1, To::Everybody, 10)).collect();
    history.deliver(2, 1, tokens[0], 10);
    for process in [1, 2] {
        history.leave_view(process, 1);
        history.install(process, view(2, &[1, 2]));
    }
    history.deliver_bytes(2, 3, tokens[1], false, payload(tokens[1], 10), view_id(2));
    assert_eq!(history.broken(), [Guarantee::D2]);
}

#[test]
fn different_deliveries_before_the_same_view_break_d3() {
    let mut history = History::new();
    let token = history.accept(0, To::Everybody, 10);
    history.deliver(1, 1, token, 10);
    (0..3).for_each(|process| history.leave_view(process, 1));
    history.install_at_all(view(2, &[0, 1, 2]));
    assert_eq!(history.broken(), [Guarantee::D3]);
}

#[test]
fn two_orders_of_those_who_go_on_together_break_d4() {
    for orders in [[0, 1, 1], [1, 0, 0]] {
        let mut history = History::new();
        let tokens: Vec<Token> = (0..2).map(|process| history.accept_ordered(process, Level::Agreed)).collect();
        for (at, first) in orders.into_iter().enumerate() {
            history.deliver_ordered(at as u16, 1, tokens[first], Level::Agreed);
            history.deliver_ordered(at as u16, 1, tokens[1 - first], Level::Agreed);
            history.leave_view(at as u16, 1);
        }
        history.install(1, view(2, &[0, 1, 2]));
        history.install(2, view(2, &[0, 1, 2]));
        assert_eq!(history.broken(), []);
        history.install(0, view(2, &[0, 1, 2]));
        assert_eq!(history.broken(), [Guarantee::D4]);
    }
}

#[test]
fn who_goes_on_without_what_was_safe_elsewhere_breaks_d4() {
    let mut history = History::new();
    let token = history.accept_ordered(0, Level::Safe);
    history.deliver_ordered(1, 1, token, Level::Safe);
    history.leave_view(2, 1);
    history.install(2, view(2, &[0, 2]));
    assert_eq!(history.broken(), [Guarantee::D4]);
    let mut history = History::new();
    let token = history.accept_ordered(0, Level::Safe);
    history.leave_view(2, 1);
    history.install(2, view(2, &[0, 2]));
    history.deliver_ordered(1, 1, token, Level::Safe);
    assert_eq!(history.broken(), [Guarantee::D4], "the other way round in time");
    let mut history = History::new();
    let token = history.accept_ordered(0, Level::Safe);
    history.leave_view(1, 1);
    history.deliver_ordered(1, 1, token, Level::Safe);
    history.leave_view(2, 1);
    history.install(2, view(2, &[0, 2]));
    assert_eq!(history.broken(), [], "after the transition it binds only who goes on with it");
}

#[test]
fn a_sender_that_lacks_its_own_in_the_order_breaks_d4() {
    let mut history = History::new();
    let tokens: Vec<Token> = (0..2).map(|_| history.accept_ordered(0, Level::Agreed)).collect();
    for at in 1..3 {
        history.deliver_ordered(at, 1, tokens[0], Level::Agreed);
        history.deliver_ordered(at, 2, tokens[1], Level::Agreed);
    }
    history.ledger.finish(&[0, 1, 2]);
    assert_eq!(history.broken(), [Guarantee::D4]);
    history.deliver_ordered(0, 2, tokens[1], Level::Agreed);
    assert_eq!(history.broken(), [Guarantee::D4; 2], "one was passed over");
}

#[test]
fn a_message_at_another_level_than_it_was_sent_at_breaks_d1() {
    let mut history = History::new();
    let token = history.accept(0, To::Everybody, 10);
    history.deliver_ordered(1, 1, token, Level::Agreed);
    assert_eq!(history.broken(), [Guarantee::D1]);
}

#[test]
fn a_view_without_a_transition_breaks_d3() {
    let mut history = History::new();
    history.install(1, view(2, &[0, 1, 2]));
    assert_eq!(history.broken(), [Guarantee::D3]);
}

#[test]
fn a_message_that_names_another_view_breaks_d7() {
    let mut history = History::new();
    let token = history.accept(0, To::Everybody, 10);
    history.deliver_bytes(1, 1, token, false, payload(token, 10), view_id(2));
    assert!(history.broken().contains(&Guarantee::D7));
}

#[test]
fn a_message_that_never_comes_breaks_d7_at_the_end() {
    let mut history = History::new();
    let direct = history.accept(0, To::Member(member(1).incarnation), 10);
    assert_eq!(direct.sequence, 1);
    assert!(!history.ledger.is_even(&[0, 1, 2]));
    history.ledger.finish(&[0, 1, 2]);
    assert_eq!(history.broken(), [Guarantee::D7]);
}

#[test]
fn giving_back_what_was_never_accepted_breaks_d7() {
    let mut history = History::new();
    let token = Token { process: 0, stream: 0, sequence: 1 };
    let returned = Event::Returned { to: None, token: token.pack(), payload: payload(token, 5), why: "no view" };
    history.ledger.event(0, &returned);
    assert_eq!(history.broken(), [Guarantee::D7]);
}

#[test]
fn two_memberships_of_one_id_break_v1() {
    let mut history = History::new();
    history.leave_view(0, 1);
    history.leave_view(1, 1);
    history.install(0, view(2, &[0, 1, 2]));
    history.install(1, view(2, &[0, 1]));
    assert_eq!(history.broken(), [Guarantee::V1]);
}

#[test]
fn an_id_that_does_not_grow_breaks_v1() {
    let mut history = History::new();
    history.leave_view(0, 1);
    history.install(0, view(1, &[0, 1, 2]));
    assert_eq!(history.broken(), [Guarantee::V1]);
}

#[test]
fn one_incarnation_in_two_processes_breaks_v2() {
    let mut history = History::new();
    let restarted = history.ledger.start(0);
    let view = view(2, &[0, 1, 2]);
    let change = ViewChange { view: Arc::new(view), me: 0, joined: Vec::new(), left: Vec::new(), merged_from: None };
    history.ledger.event(restarted, &Event::View(change));
    assert_eq!(history.broken(), [Guarantee::V2]);
}

#[test]
fn a_stream_that_begins_later_for_one_receiver_breaks_v5() {
    let mut history = History::new();
    let tokens: Vec<Token> = (0..2).map(|_| history.accept(0, To::Everybody, 10)).collect();
    history.deliver(1, 1, tokens[0], 10);
    history.deliver(2, 2, tokens[1], 10);
    assert_eq!(history.broken(), [Guarantee::V5]);
}

#[test]
fn a_second_life_without_notice_breaks_v6() {
    let mut history = History::new();
    let mut view = view(2, &[0, 1, 2]);
    view.members[0].incarnation = Incarnation(77);
    let change = ViewChange { view: Arc::new(view), me: 0, joined: Vec::new(), left: Vec::new(), merged_from: None };
    history.ledger.event(0, &Event::View(change));
    assert_eq!(history.broken(), [Guarantee::V6]);
}

/// The view that another coordinator makes of the same members.
fn rival(number: u64, members: &[u16]) -> View {
    let mut id = view_id(number);
    id.ballot.round += 1;
    View::new(id, view(number, members).members, true)
}

#[test]
fn two_successors_of_a_fenced_view_break_v1() {
    let mut history = History::new();
    history.leave_view(0, 1);
    history.leave_view(1, 1);
    history.install(0, view(2, &[0, 1, 2]));
    history.install(1, rival(2, &[0, 1, 2]));
    assert_eq!(history.broken(), [Guarantee::V1]);
}

#[test]
fn who_has_forgotten_what_it_accepted_may_decide_anew() {
    let mut history = History::new();
    history.leave_view(0, 1);
    history.leave_view(1, 1);
    history.install(0, view(2, &[0, 1, 2]));
    history.ledger.start(2);
    history.install(1, rival(2, &[0, 1, 2]));
    assert_eq!(history.broken(), []);
}

#[test]
fn what_all_ready_members_have_is_held_up_by_one_that_is_not() {
    let mut history = History::new();
    (0..3).for_each(|process| history.leave_view(process, 1));
    let mut second = view(2, &[0, 1, 2]);
    second.members[2].ready = false;
    history.install_at_all(second);
    let token = history.accept(0, To::Everybody, 10);
    history.deliver_bytes(1, 1, token, false, payload(token, 10), view_id(2));
    assert_eq!(history.ledger.held_up(0), Some((1, 0)));
    history.ledger.event(0, &Event::Stable { view: view_id(2), number: 1 });
    assert_eq!(history.ledger.held_up(0), None);
    assert_eq!(history.broken(), []);
}
