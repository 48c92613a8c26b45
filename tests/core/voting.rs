//! What a member answers to the frames of ballots, whose coordinator is played.

use bytes::Bytes;

use crate::stage::{address, controls, entry};
use crate::support::hello;
use decurion::core::{CloseCause, Input, Member, Seed, Setup};
use decurion::types::{Ballot, ConnId, Incarnation, MemberInfo, Seat, Time, View, ViewId};
use decurion::wire::batch::{self, Entry, Level};
use decurion::wire::control::{
    Control, Cut, Decided, Expelled, Fetched, Hello, Install, Prepare, Promise, Propose, ProposeChange, Purpose,
    Reject, Routed, ViewSummary, Vote,
};
use decurion::wire::{Proposal, Sparse};

const NOW: Time = Time(1_000_000);
const ME: Incarnation = Incarnation(1);
const COORDINATOR: Incarnation = Incarnation(2);
const THIRD: Incarnation = Incarnation(3);

fn ballot(round: u64) -> Ballot {
    Ballot { round, coordinator: COORDINATOR }
}

fn view(number: u64, members: Vec<MemberInfo>) -> Proposal {
    let id = |number| ViewId { number, ballot: ballot(number) };
    Proposal { id: id(number), previous: id(number - 1), members, fenced: false, next_seat: 9, cut: Sparse(vec![0]) }
}

/// A member that looks for others, and the connection of one that has found it.
fn found() -> (Member, ConnId) {
    let mut setup = Setup::new("test", "me", ME, address(ME));
    setup.seeds = vec![Seed { name: None, host: "127.0.0.1".to_owned(), port: 7_100 }];
    let mut member = Member::new(setup, NOW);
    let conn = meet(&mut member);
    (member, conn)
}

/// The coordinator connects with the member.
fn meet(member: &mut Member) -> ConnId {
    let conn = member.accept(NOW, address(COORDINATOR)).expect("a stranger is welcome");
    let hello = hello("test", "coordinator", (COORDINATOR, address(COORDINATOR)), Purpose::Link);
    let hello = Hello { expects: ME, ..hello };
    say(member, conn, &Control::Hello(hello));
    conn
}

/// Its connection breaks, and it connects anew.
fn meet_again(member: &mut Member, conn: ConnId) -> ConnId {
    member.handle(NOW, Input::Closed(conn, CloseCause::Peer));
    meet(member)
}

/// Says something to the member, and takes what it answers.
fn say(member: &mut Member, conn: ConnId, control: &Control) -> Vec<Control> {
    member.receive_space(conn).expect("it is open").extend_from_slice(&control.encode());
    member.handle(NOW, Input::Received(conn));
    while member.poll().is_some() {}
    let mut slices = Vec::new();
    member.to_write(conn, usize::MAX, &mut slices);
    let words = slices.concat();
    member.wrote(NOW, conn, words.len());
    controls(&words)
}

fn prepare(number: u64, previous: ViewId, joins: bool) -> Control {
    Control::Prepare(Prepare { number, ballot: ballot(number), previous, joins })
}

/// A member of the first view that was proposed to it.
fn joined() -> (Member, ConnId, Proposal) {
    let (mut member, conn) = found();
    let joined = view(11, vec![entry("coordinator", COORDINATOR, 1), entry("me", ME, 2)]);
    let answers = say(&mut member, conn, &prepare(11, joined.previous, true));
    assert!(answers.iter().any(|a| matches!(a, Control::Promise(p) if p.number == 11)), "{answers:?}");
    let answers = say(&mut member, conn, &Control::Propose(Propose { ballot: ballot(11), proposal: joined.clone() }));
    assert!(answers.iter().any(|a| matches!(a, Control::Accepted(vote) if vote.number == 11)), "{answers:?}");
    (member, conn, joined)
}

/// The refusal among some answers.
fn refusal(answers: &[Control]) -> Option<(ViewId, u64)> {
    answers.iter().find_map(|answer| match answer {
        Control::Reject(reject) => Some((reject.installed, reject.number)),
        _ => None,
    })
}

#[test]
fn who_hears_of_later_views_of_another_log_before_it_is_in_its_own_goes_on_to_vote() {
    let (mut member, conn, joined) = joined();
    // Others, who have asked it as well and did without it.
    let stranger = entry("stranger", Incarnation(3), 1);
    say(&mut member, conn, &Control::Install(Install { proposal: view(16, vec![stranger]), hold_ms: 0 }));
    say(&mut member, conn, &Control::Install(Install { proposal: joined.clone(), hold_ms: 0 }));
    assert_eq!(member.view().map(|(view, _)| view.id), Some(joined.id));

    let answers = say(&mut member, conn, &prepare(12, joined.id, false));
    assert!(answers.iter().any(|a| matches!(a, Control::Promise(p) if p.number == 12)), "{answers:?}");
}

#[test]
fn a_change_is_accepted_and_decided_without_the_whole_view() {
    let (mut member, conn, first) = joined();
    say(&mut member, conn, &Control::Decided(Decided { id: first.id, hold_ms: 0 }));
    assert_eq!(member.view().map(|(view, _)| view.id), Some(first.id));

    let mut second = view(12, [first.members.clone(), vec![entry("third", Incarnation(3), 3)]].concat());
    second.members[1].ready = false;
    second.cut = Sparse(vec![0; 2]);
    let successor = second.successor_of(&first).expect("it follows");
    assert_eq!((successor.gone.len(), successor.changed.len()), (0, 2));
    say(&mut member, conn, &prepare(12, first.id, false));
    let answers = say(
        &mut member,
        conn,
        &Control::ProposeChange(ProposeChange { ballot: ballot(12), successor: successor.clone() }),
    );
    assert!(answers.iter().any(|a| matches!(a, Control::Accepted(vote) if vote.number == 12)), "{answers:?}");
    let answers = say(&mut member, conn, &Control::Decided(Decided { id: second.id, hold_ms: 0 }));
    assert!(answers.contains(&Control::Installed(second.id)), "{answers:?}");
    let (view, _) = member.view().expect("it is in it");
    assert_eq!((&view.members[..], view.id), (&second.members[..], second.id));

    // Both once more, as after a connection that was lost.
    let answers = say(&mut member, conn, &Control::ProposeChange(ProposeChange { ballot: ballot(12), successor }));
    assert!(answers.iter().any(|a| matches!(a, Control::Accepted(vote) if vote.number == 12)), "{answers:?}");
    let answers = say(&mut member, conn, &Control::Decided(Decided { id: second.id, hold_ms: 0 }));
    assert!(answers.contains(&Control::Installed(second.id)), "{answers:?}");
}

#[test]
fn a_decision_on_what_was_not_accepted_is_asked_for() {
    let (mut member, conn, first) = joined();
    // Another attempt at the same entry: not the one that was accepted here.
    let id = ViewId { number: 11, ballot: ballot(12) };
    let answers = say(&mut member, conn, &Control::Decided(Decided { id, hold_ms: 0 }));
    assert_eq!(refusal(&answers), Some((ViewId::NONE, 11)), "{answers:?}");
    assert!(member.view().is_none());
    say(&mut member, conn, &Control::Install(Install { proposal: first.clone(), hold_ms: 0 }));
    let id = ViewId { number: 12, ballot: ballot(12) };
    let answers = say(&mut member, conn, &Control::Decided(Decided { id, hold_ms: 0 }));
    assert_eq!(refusal(&answers), Some((first.id, 12)), "{answers:?}");
    assert_eq!(member.view().map(|(view, _)| view.id), Some(first.id));
}

#[test]
fn a_change_of_another_view_is_refused() {
    let (mut member, conn, first) = joined();
    say(&mut member, conn, &Control::Decided(Decided { id: first.id, hold_ms: 0 }));
    say(&mut member, conn, &prepare(12, first.id, false));
    let other = Proposal { id: ViewId { number: 11, ballot: ballot(10) }, ..first.clone() };
    let next = Proposal { previous: other.id, ..view(12, first.members.clone()) };
    let successor = next.successor_of(&other).expect("it follows");
    let answers = say(&mut member, conn, &Control::ProposeChange(ProposeChange { ballot: ballot(12), successor }));
    assert_eq!(refusal(&answers), Some((first.id, 12)), "{answers:?}");
}

#[test]
fn a_promise_tells_what_was_accepted_for_the_entry_that_follows_the_same_view() {
    let (mut member, conn, first) = joined();
    // In higher and higher ballots, as who follows this view, as who follows another one, and as a starter, who follows none.
    let other = ViewId { number: 10, ballot: ballot(9) };
    let mut accepted = |round: u64, previous: ViewId| {
        promise(&mut member, conn, Prepare { number: 11, ballot: ballot(round), previous, joins: true }).accepted
    };
    let told = Some((ballot(11), first.clone()));
    assert_eq!(accepted(12, first.previous), told);
    assert_eq!(accepted(13, other), None);
    assert_eq!(accepted(14, ViewId::NONE), told);
}

/// A member that has installed its first view, which waits for so long with its first lease.
fn installed(hold_ms: u32) -> (Member, ConnId, Proposal) {
    let (mut member, conn, first) = joined();
    say(&mut member, conn, &Control::Decided(Decided { id: first.id, hold_ms }));
    assert_eq!(member.view().map(|(view, _)| view.id), Some(first.id));
    (member, conn, first)
}

/// What the member promises when it is asked for the next view.
fn promise(member: &mut Member, conn: ConnId, prepare: Prepare) -> Promise {
    let answers = say(member, conn, &Control::Prepare(prepare));
    let promise = answers.iter().find_map(|answer| match answer {
        Control::Promise(promise) => Some(promise.clone()),
        _ => None,
    });
    promise.unwrap_or_else(|| panic!("{answers:?}"))
}

fn next_of(view: &Proposal, round: u64) -> Prepare {
    Prepare { number: view.id.number + 1, ballot: ballot(round), previous: view.id, joins: false }
}

fn lease_ms() -> u32 {
    (Setup::new("test", "me", ME, address(ME)).lease / 1_000) as u32
}

#[test]
fn the_hold_that_a_view_came_with_is_told_with_the_promise_of_the_next_one() {
    let (mut member, conn, first) = installed(3 * lease_ms());
    assert_eq!(promise(&mut member, conn, next_of(&first, 12)).hold_ms, 3 * lease_ms());
    let second = view(12, first.members.clone());
    say(&mut member, conn, &Control::Propose(Propose { ballot: ballot(12), proposal: second.clone() }));
    say(&mut member, conn, &Control::Decided(Decided { id: second.id, hold_ms: 4 * lease_ms() }));
    assert_eq!(promise(&mut member, conn, next_of(&second, 13)).hold_ms, 4 * lease_ms());
    assert_eq!(member.stats().views_installed, 2);
}

#[test]
fn a_newcomer_takes_the_hold_of_a_fenced_view_for_its_own_and_of_another_one_not() {
    let (mut member, conn, first) = installed(0);
    assert_eq!(promise(&mut member, conn, next_of(&first, 12)).hold_ms, lease_ms(), "nobody has fenced it");
    let (mut member, conn) = found();
    let fenced = Proposal { fenced: true, ..first };
    say(&mut member, conn, &Control::Install(Install { proposal: fenced.clone(), hold_ms: 0 }));
    assert_eq!(promise(&mut member, conn, next_of(&fenced, 12)).hold_ms, 0, "whoever decided it knew");
}

/// A refusal does not say how long the view must wait: it waits for as long as any lease can run.
#[test]
fn who_is_refused_with_a_later_view_installs_it_and_waits_for_a_lease() {
    let (mut member, conn, first) = installed(0);
    let second = view(12, first.members.clone());
    let reject = Reject {
        number: 12,
        ballot: ballot(12),
        promised: ballot(12),
        installed: second.id,
        newest: 12,
        proposal: Some(second.clone()),
    };
    say(&mut member, conn, &Control::Reject(reject));
    assert_eq!(member.view().map(|(view, _)| view.id), Some(second.id));
    assert_eq!(promise(&mut member, conn, next_of(&second, 13)).hold_ms, lease_ms());
}

/// A batch of the coordinator's stream, as somebody who kept it sends it.
fn kept(of: &Proposal, number: u64) -> Control {
    let tag = View::new(of.id, of.members.clone(), of.fenced).tag();
    let mut area = Vec::new();
    Entry { level: Level::Fifo, token: 0, fragment: None, payload: b"kept" }.put(&mut area);
    let header = batch::Header {
        flags: 0,
        count: 1,
        length: area.len() as u32,
        tag,
        sender: of.members[0].seat,
        receiver: Seat::EVERYBODY,
        batch: number,
        first_message: number,
    };
    Control::Fetched(Fetched { tag, frame: Bytes::from([&header.encode()[..], &area].concat()) })
}

/// The view ends with these batches of each member, and these have them.
fn cut(round: u64, upto: &[(u64, Incarnation)]) -> Control {
    Control::Cut(Cut { number: 12, ballot: ballot(round), upto: Sparse(upto.to_vec()) })
}

fn asks_for(answers: &[Control]) -> Option<(u64, u64)> {
    answers.iter().find_map(|answer| match answer {
        Control::Fetch(fetch) => Some((fetch.first, fetch.last)),
        _ => None,
    })
}

#[test]
fn who_lacks_something_of_the_cut_asks_for_it_and_says_when_it_holds_all() {
    let (mut member, conn, first) = installed(0);
    promise(&mut member, conn, next_of(&first, 12));
    let held = Control::Held(Vote { number: 12, ballot: ballot(12) });
    assert_eq!(say(&mut member, conn, &cut(11, &[(2, COORDINATOR), (0, ME)])), [], "it has promised another ballot");
    let answers = say(&mut member, conn, &cut(12, &[(2, COORDINATOR), (0, ME)]));
    assert_eq!(asks_for(&answers), Some((1, 2)), "{answers:?}");
    let answers = say(&mut member, conn, &kept(&first, 1));
    assert!(!answers.contains(&held), "{answers:?}");
    assert_eq!(asks_for(&answers), None, "the rest is on its way");
    let answers = say(&mut member, conn, &kept(&first, 2));
    assert!(answers.contains(&held), "{answers:?}");
    assert_eq!(promise(&mut member, conn, next_of(&first, 13)).have.0, [2, 0]);
}

#[test]
fn what_was_asked_for_over_a_connection_is_asked_for_again_only_over_another_one() {
    let (mut member, conn, first) = installed(0);
    promise(&mut member, conn, next_of(&first, 12));
    let wanted = cut(12, &[(2, COORDINATOR), (0, ME)]);
    assert_eq!(asks_for(&say(&mut member, conn, &wanted)), Some((1, 2)));
    for _ in 0..3 {
        assert_eq!(asks_for(&say(&mut member, conn, &wanted)), None, "the connection is slow, and loses nothing");
    }
    // As an answer to what was asked in another view.
    let Control::Fetched(fetched) = kept(&first, 1) else { unreachable!() };
    say(&mut member, conn, &Control::Fetched(Fetched { tag: fetched.tag + 1, ..fetched }));
    let conn = meet_again(&mut member, conn);
    assert_eq!(asks_for(&say(&mut member, conn, &wanted)), Some((1, 2)));
    say(&mut member, conn, &kept(&first, 1));
    let conn = meet_again(&mut member, conn);
    assert_eq!(asks_for(&say(&mut member, conn, &wanted)), Some((2, 2)), "the rest is lost with the connection");
    let (number, ballot) = (12, ballot(12));
    let answers = say(&mut member, conn, &kept(&first, 2));
    assert!(answers.contains(&Control::Held(Vote { number, ballot })), "{answers:?}");
}

#[test]
fn what_was_on_its_way_for_an_earlier_attempt_does_not_make_a_promise_untrue() {
    let (mut member, conn, first) = installed(0);
    promise(&mut member, conn, next_of(&first, 12));
    say(&mut member, conn, &cut(12, &[(1, COORDINATOR), (0, ME)]));
    assert_eq!(promise(&mut member, conn, next_of(&first, 13)).have.0, [0, 0]);
    say(&mut member, conn, &kept(&first, 1));
    assert_eq!(promise(&mut member, conn, next_of(&first, 14)).have.0, [0, 0], "it holds more than it has said");
}

/// A member of a view with a third one, that leads a group of its own.
fn beside_third() -> (Member, ConnId, Proposal) {
    let (mut member, conn) = found();
    let third = MemberInfo { group: 1, ..entry("third", THIRD, 3) };
    let first = view(11, vec![entry("coordinator", COORDINATOR, 1), entry("me", ME, 2), third]);
    say(&mut member, conn, &Control::Install(Install { proposal: first.clone(), hold_ms: 0 }));
    (member, conn, first)
}

#[test]
fn nothing_is_taken_that_lies_beyond_the_cut() {
    let (mut member, conn, first) = beside_third();
    promise(&mut member, conn, next_of(&first, 12));
    say(&mut member, conn, &cut(12, &[(1, COORDINATOR), (0, ME), (1, THIRD)]));
    say(&mut member, conn, &kept(&first, 1));
    say(&mut member, conn, &kept(&first, 2));
    assert_eq!(promise(&mut member, conn, next_of(&first, 13)).have.0, [1, 0, 0]);
}

/// The leaders between may be gone.
#[test]
fn what_was_asked_for_through_others_in_vain_is_asked_for_over_a_connection_of_its_own() {
    let (mut member, conn, first) = beside_third();
    promise(&mut member, conn, next_of(&first, 12));
    let through = |answers: &[Control]| answers.iter().any(|a| matches!(a, Control::Routed(r) if r.to == THIRD));
    let cut = cut(12, &[(0, COORDINATOR), (0, ME), (1, THIRD)]);
    let answers = say(&mut member, conn, &cut);
    assert!(through(&answers), "{answers:?}");
    let before = member.stats().connections;
    let answers = say(&mut member, conn, &cut);
    assert!(!through(&answers), "{answers:?}");
    assert_eq!(member.stats().connections, before + 1);
}

#[test]
fn who_is_told_that_another_view_removed_it_leaves_its_own() {
    let (mut member, conn, first) = installed(0);
    let other = Incarnation(9);
    let expelled = |incarnation, id| {
        let by = ViewSummary {
            id,
            fenced: false,
            primary: false,
            members: 1,
            coordinator: COORDINATOR,
            address: address(COORDINATOR),
            leaders: vec![(COORDINATOR, address(COORDINATOR))],
        };
        Control::Expelled(Expelled { incarnation, by, why: "it was silent".to_owned() })
    };
    let later = ViewId { number: 12, ballot: ballot(12) };
    say(&mut member, conn, &expelled(other, later));
    say(&mut member, conn, &expelled(ME, first.id));
    assert_eq!(member.view().map(|(view, _)| view.id), Some(first.id), "another life, or its own view");
    say(&mut member, conn, &expelled(ME, later));
    assert!(member.view().is_none());

    let (mut member, conn, _) = installed(0);
    let frame = expelled(ME, later).encode();
    say(&mut member, conn, &Control::Routed(Routed { from: COORDINATOR, to: ME, frame }));
    assert!(member.view().is_none(), "told through others");
}
