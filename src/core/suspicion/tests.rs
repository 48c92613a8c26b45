//! What is kept of suspects, and what a member does with each word about one: every rule by itself.

use std::hash::{Hash, Hasher};

use super::*;
use crate::core::links::Peer;
use crate::core::{Ended, Output, Setup};
use crate::types::{Ballot, MemberInfo, Seat, Tags, ViewId, millis};
use crate::wire::control::{HEADER_BYTES, Install, Join, body_length};
use crate::wire::{Proposal, Sparse};

const NOW: Time = Time(1_000_000_000);
/// That of the setup, and half of it.
const SILENCE: Micros = millis(1_500);
const HALF: Micros = SILENCE / 2;
/// Somebody who is in no view.
const STRANGER: Incarnation = Incarnation(99);

fn who(node: usize) -> Incarnation {
    Incarnation(node as u128 + 1)
}

fn name(node: usize) -> Name {
    Name::new(&format!("m{node}"))
}

fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7_000 + node as u16))
}

fn info(node: usize, group: u16) -> MemberInfo {
    MemberInfo {
        name: name(node),
        incarnation: who(node),
        address: address(node),
        seat: Seat(node as u32 + 1),
        admitted: 1,
        group,
        grouped: node as u64 + 1,
        ready: true,
        witness: false,
        tags: Tags::default(),
    }
}

fn proposal(groups: &[u16]) -> Proposal {
    let id = ViewId { number: 1, ballot: Ballot { round: 1, coordinator: who(0) } };
    let members = groups.iter().enumerate().map(|(node, group)| info(node, *group)).collect();
    Proposal { id, previous: ViewId::NONE, members, fenced: false, next_seat: 99, cut: Sparse(vec![0]) }
}

/// The member at `me` of a view in which each is in this group. It has just heard all that it watches, and is connected with nobody.
fn member_of(me: usize, groups: &[u16], change: impl FnOnce(&mut Setup)) -> Member {
    let mut setup = Setup::new("test", name(me).as_str(), who(me), address(me));
    change(&mut setup);
    assert_eq!(setup.silence, SILENCE);
    let mut member = Member::new(setup, NOW);
    member.on_install(who(0), Install { proposal: proposal(groups), hold_ms: 0 });
    assert_eq!(member.view().map(|(view, at)| (view.len(), at)), Some((groups.len(), me)));
    member
}

fn member(me: usize, groups: &[u16]) -> Member {
    member_of(me, groups, |_| ())
}

/// So long a watched member has not been heard.
fn unheard(member: &mut Member, whom: usize, time: Micros) {
    member.detector.watched.get_mut(&who(whom)).expect("it is watched").heard = member.now - time;
}

/// So long ago the member came to an opinion itself.
fn think(member: &mut Member, of: usize, sight: Sight, ago: Micros) {
    member.suspicion.opinions.insert(who(of), Opinion { sight, at: member.now - ago });
}

fn sight_of(member: &Member, whom: usize) -> Option<Sight> {
    member.suspicion.opinions.get(&who(whom)).map(|o| o.sight)
}

fn seen(observer: Incarnation, subject: Incarnation, sight: Sight) -> Observation {
    Observation { subject, observer, sight, amount: 0 }
}

fn checked(member: &Member) -> Vec<Incarnation> {
    member.suspicion.checks.keys().copied().collect()
}

fn link(member: &mut Member, to: usize) -> ConnId {
    let conn = member.links.accepted(member.now, address(to)).expect("there is room");
    let peer = Peer { name: name(to), incarnation: who(to), address: address(to) };
    assert_eq!(member.links.open(conn, member.incarnation, peer), None);
    conn
}

/// What waits to be written to a connection.
fn said(member: &mut Member, conn: ConnId) -> Vec<Control> {
    let mut slices = Vec::new();
    member.to_write(conn, usize::MAX, &mut slices);
    let words = slices.concat();
    member.wrote(member.now, conn, words.len());
    let (mut rest, mut said) = (&words[..], Vec::new());
    while let Some(header) = rest.first_chunk::<HEADER_BYTES>() {
        let (frame, others) = rest.split_at(HEADER_BYTES + body_length(header));
        said.push(Control::decode(frame).expect("legal"));
        rest = others;
    }
    said
}

fn told_host(member: &mut Member) -> usize {
    let outputs = std::iter::from_fn(|| member.poll());
    outputs.filter(|output| matches!(output, Output::Event(Event::Suspected { .. }))).count()
}

fn check(until: Time, redials: u8) -> Check {
    Check { conn: Some(ConnId(1)), until, redials, askers: BTreeSet::new() }
}

#[test]
fn after_a_pause_of_our_own_only_what_is_proven_is_still_thought_of_others() {
    let mut s = Suspicion::default();
    s.reports.entry(who(1)).or_default().insert(who(2), Report { sight: Sight::Silent, amount: 1, at: NOW });
    s.deaf.insert((who(1), who(2)), (NOW, NOW));
    s.unanswered.insert(who(1), (NOW, NOW));
    for (node, sight) in [(1, Sight::Silent), (2, Sight::Dead), (3, Sight::Alive)] {
        s.opinions.insert(who(node), Opinion { sight, at: NOW });
    }
    let (over, later) = (NOW - 1, NOW + 5_000);
    s.checks = BTreeMap::from([(who(1), check(over, 0)), (who(2), check(later, 0))]);
    s.forgive(NOW);
    assert!(s.reports.is_empty() && s.deaf.is_empty() && s.unanswered.is_empty());
    assert_eq!(s.opinions.keys().collect::<Vec<_>>(), [&who(2)]);
    // An answer that lies in the kernel is read first.
    assert_eq!(s.checks.values().map(|c| c.until).collect::<Vec<_>>(), [NOW + 1_000, later]);
}

#[test]
fn a_sign_of_life_takes_back_what_was_thought_and_told_of_silence_but_no_proof() {
    let mut s = Suspicion::default();
    let report = Report { sight: Sight::Silent, amount: 1, at: NOW };
    for (node, sight) in [(1, Sight::Silent), (2, Sight::Dead)] {
        s.opinions.insert(who(node), Opinion { sight, at: NOW });
        s.unanswered.insert(who(node), (NOW, NOW));
        s.reports.insert(who(node), BTreeMap::from([(who(0), report), (who(3), report)]));
        s.heard(who(0), who(node));
    }
    assert!(s.unanswered.is_empty());
    assert_eq!(s.opinions.keys().collect::<Vec<_>>(), [&who(2)]);
    assert_eq!(s.reports[&who(1)].keys().collect::<Vec<_>>(), [&who(3)], "what others told is theirs to take back");
    assert_eq!(s.reports[&who(2)].len(), 2);
}

#[test]
fn dials_in_vain_add_up_until_one_is_answered_or_none_was_made_for_long() {
    let mut s = Suspicion::default();
    let mut at = |ms, silent| s.note_unanswered(who(1), silent, NOW + millis(ms), SILENCE);
    assert_eq!(at(0, true), 0);
    assert_eq!(at(1_000, true), millis(1_000));
    assert_eq!(at(2_500, true), millis(2_500), "each one within the silence after the last");
    assert_eq!(at(2_600, false), 0);
    assert_eq!(at(2_700, true), 0, "an answer came between");
    assert_eq!(at(3_700, true), millis(1_000));
    assert_eq!(at(5_201, true), 0, "nobody knows what was between");
    assert_eq!(at(5_301, true), millis(100));
}

#[test]
fn only_members_of_the_view_are_kept() {
    let mut s = Suspicion::default();
    let report = Report { sight: Sight::Silent, amount: 1, at: NOW };
    for whom in [who(1), STRANGER] {
        s.opinions.insert(whom, Opinion { sight: Sight::Dead, at: NOW });
        s.reports.insert(whom, BTreeMap::from([(who(0), report), (STRANGER, report)]));
        s.deaf.insert((who(0), whom), (NOW, NOW));
        s.deaf.insert((whom, who(0)), (NOW, NOW));
        s.resigned.insert(whom, NOW);
        s.note_dial(whom, NOW);
        s.unanswered.insert(whom, (NOW, NOW));
        s.told.insert(whom, NOW);
    }
    let proposal = proposal(&[0, 0]);
    s.keep_only(&View::new(proposal.id, proposal.members, false));
    let one = [who(1)];
    assert!(s.opinions.keys().eq(&one) && s.reports.keys().eq(&one) && s.unanswered.keys().eq(&one));
    assert!(s.dialed.keys().eq(&one) && s.told.keys().eq(&one));
    assert!(s.reports[&who(1)].keys().eq(&[who(0)]), "who is gone has no word");
    assert!(s.deaf.keys().eq(&[(who(0), who(1)), (who(1), who(0))]));
    assert!(s.resigned.is_empty(), "the new view may have a majority");
    assert_eq!((s.dialed_at(who(1)), s.dialed_at(STRANGER)), (NOW, Time::ZERO));
}

/// All that is hashed.
struct Written(Vec<u8>);

impl Hasher for Written {
    fn finish(&self) -> u64 {
        0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

#[test]
fn checks_differ_by_all_but_the_number_of_their_connection() {
    let hash = |check: &Check| {
        let mut all = Written(Vec::new());
        check.hash(&mut all);
        all.0
    };
    let first = check(NOW, 0);
    assert_eq!(hash(&first), hash(&Check { conn: Some(ConnId(2)), ..first.clone() }));
    for other in [check(NOW + 1, 0), check(NOW, 1), Check { conn: None, ..first.clone() }] {
        assert_ne!(hash(&first), hash(&other));
    }
}

#[test]
fn two_thirds_of_the_silence_begin_a_check_and_are_told() {
    let mut m = member(0, &[0, 0]);
    m.now = NOW + SILENCE / 3 * 2;
    m.tick_suspicion();
    assert_eq!(checked(&m), [who(1)]);
    let report = m.suspicion.reports[&who(1)][&who(0)];
    assert_eq!((report.sight, report.amount), (Sight::Silent, 1_000));
}

#[test]
fn who_stays_silent_is_checked_again_unless_that_was_just_done() {
    let checks = |thought: Option<(Sight, Micros)>| {
        let mut m = member(0, &[0, 0]);
        m.now = NOW + SILENCE;
        thought.into_iter().for_each(|(sight, ago)| think(&mut m, 1, sight, ago));
        m.tick_suspicion();
        checked(&m) == [who(1)]
    };
    assert!(checks(None));
    assert!(!checks(Some((Sight::Silent, HALF - 1))));
    assert!(checks(Some((Sight::Silent, HALF))));
    assert!(checks(Some((Sight::Alive, 1))), "it lives and may not hear us");
}

#[test]
fn voters_that_are_believed_gone_are_looked_at_again_and_nobody_else() {
    let mut m = member_of(0, &[0; 5], |setup| setup.voters = (0..3).map(name).collect());
    [2, 3].into_iter().for_each(|node| think(&mut m, node, Sight::Dead, 0));
    m.look_at_voters_again();
    assert_eq!(checked(&m), [who(2)]);
    assert_eq!(m.suspicion.checks[&who(2)].askers, [who(0)].into());
}

#[test]
fn the_host_is_told_once_in_the_bearable_silence() {
    let mut m = member(0, &[0; 3]);
    for (after, told) in [(0, 1), (SILENCE - 1, 0), (SILENCE, 1)] {
        m.now = NOW + after;
        m.begin_check(who(1), "test");
        assert_eq!(told_host(&mut m), told, "after {after} us");
        m.suspicion.checks.clear();
    }
    assert_eq!(m.stats().suspicions, 3);
}

#[test]
fn three_others_are_asked_first_those_that_listen_to_the_suspect() {
    let mut m = member(0, &[0; 7]);
    let links: Vec<(usize, ConnId)> = (1..7).map(|node| (node, link(&mut m, node))).collect();
    think(&mut m, 3, Sight::Dead, 0);
    m.begin_check(who(2), "test");
    let asks = Control::Ask(who(2));
    let mut count = |conn| said(&mut m, conn).iter().filter(|said| **said == asks).count();
    let asked: Vec<(usize, usize)> = links.iter().map(|(node, conn)| (*node, count(*conn))).collect();
    // Its deputy, then whoever is there: not the coordinator itself, the suspect, or one that is gone.
    assert_eq!(asked, [(1, 1), (2, 0), (3, 0), (4, 1), (5, 1), (6, 0)]);
}

#[test]
fn a_check_that_is_closed_unanswered_dials_three_times_more() {
    let mut m = member(0, &[0; 3]);
    m.now = NOW + HALF;
    m.begin_check(who(1), "test");
    let mut dials = BTreeSet::new();
    while let Some(check) = m.suspicion.checks.get(&who(1)) {
        let conn = check.conn.expect("dialled");
        assert!(dials.insert(conn), "the new dial is the one that counts");
        m.on_closed(conn, CloseCause::Peer);
    }
    assert_eq!(dials.len(), 4);
    assert_eq!(sight_of(&m, 1), Some(Sight::Silent));
}

#[test]
fn a_check_ends_with_its_own_dial_and_no_other() {
    let mut m = member(0, &[0; 3]);
    m.now = NOW + HALF;
    m.begin_check(who(1), "test");
    let other = m.dial(address(1), Purpose::Link, Some(who(1)));
    m.on_closed(other, CloseCause::Failed);
    assert_eq!((checked(&m), sight_of(&m, 1)), (vec![who(1)], None));
    let own = m.suspicion.checks[&who(1)].conn.expect("dialled");
    m.on_closed(own, CloseCause::Failed);
    assert_eq!((checked(&m), sight_of(&m, 1)), (vec![], Some(Sight::Silent)));
}

#[test]
fn who_cannot_be_reached_is_checked_if_it_is_the_one_that_coordinates() {
    for (whom, expected) in [(2, vec![]), (0, vec![who(0)])] {
        let mut m = member(1, &[0; 3]);
        let conn = m.dial(address(whom), Purpose::Link, Some(who(whom)));
        m.on_closed(conn, CloseCause::Failed);
        assert_eq!(checked(&m), expected);
    }
}

#[test]
fn who_asks_is_told_for_how_long_no_dial_was_answered_and_the_dial_is_closed() {
    // A plain member listens to its leader and deputy alone.
    let mut m = member(2, &[0; 4]);
    let asker = link(&mut m, 1);
    for (after, sight, amount) in
        [(0, Sight::Silent, 0), (700, Sight::Silent, 700), (700, Sight::Alive, 0), (0, Sight::Silent, 0)]
    {
        m.now = m.now + millis(after);
        m.on_ask(who(1), who(3));
        let conn = m.suspicion.checks[&who(3)].conn.expect("dialled");
        m.end_check(who(3), sight);
        let told = Control::Observe(Observation { amount, ..seen(who(2), who(3), sight) });
        assert_eq!(said(&mut m, asker), [told]);
        assert!(m.links.get(conn).is_none());
    }
}

#[test]
fn a_link_that_is_silent_with_something_to_write_is_closed_when_its_process_answers() {
    for (quiet, busy, kept) in [(HALF, true, false), (HALF - 1, true, true), (HALF, false, true)] {
        let mut m = member(0, &[0, 0]);
        let conn = link(&mut m, 1);
        m.links.get_mut(conn).expect("open").received = m.now - quiet;
        if busy {
            m.links.send_control(conn, &Control::Ping(1));
        }
        m.end_check(who(1), Sight::Alive);
        assert_eq!(m.links.get(conn).is_some(), kept, "silent for {quiet} us, busy: {busy}");
    }
}

#[test]
fn a_removal_for_silence_is_taken_back_by_an_answer_until_the_view_changes() {
    for (why, begun, goes) in [(SILENT, false, false), ("it lied", false, true), (SILENT, true, true)] {
        let mut m = member(0, &[0; 3]);
        m.changes.removals.insert(who(1), why);
        if begun {
            m.begin_attempt();
            assert!(m.attempt.is_some());
        }
        m.end_check(who(1), Sight::Alive);
        assert_eq!(m.changes.removals.contains_key(&who(1)), goes, "{why}, begun: {begun}");
    }
}

/// Three groups of two, by seniority 0, 2 and 4, which lead, then 1, 3 and 5.
const PAIRS: [u16; 6] = [0, 0, 1, 1, 2, 2];

#[test]
fn when_the_coordinator_is_lost_those_that_may_come_next_are_dialled_if_nothing_is_known_of_them() {
    let mut m = member(5, &PAIRS);
    think(&mut m, 1, Sight::Alive, HALF);
    think(&mut m, 3, Sight::Alive, HALF - 1);
    m.end_check(who(0), Sight::Silent);
    assert_eq!(checked(&m), [who(1), who(2)], "4 is heard, 3 was seen just now");
    assert_eq!(m.suspicion.checks[&who(2)].askers, [who(5)].into());

    let mut m = member(5, &PAIRS);
    m.end_check(who(3), Sight::Silent);
    assert_eq!(checked(&m), [], "nobody waits for a junior one");

    let mut m = member(5, &PAIRS);
    unheard(&mut m, 4, SILENCE);
    m.end_check(who(4), Sight::Silent);
    assert_eq!(checked(&m), [0, 1, 2, 3].map(who), "its own leader");

    let mut m = member(4, &PAIRS);
    unheard(&mut m, 0, SILENCE / 3 * 2);
    unheard(&mut m, 2, SILENCE);
    m.end_check(who(0), Sight::Silent);
    assert_eq!((checked(&m), m.acting()), (vec![], Some(who(0))), "it is not given up yet");
}

#[test]
fn a_member_is_heard_over_its_link_within_the_silence() {
    let mut m = member(0, &[0, 0]);
    assert!(!m.is_heard(who(1)), "there is none");
    let conn = link(&mut m, 1);
    for (ago, heard) in [(0, true), (SILENCE - 1, true), (SILENCE, false)] {
        m.links.get_mut(conn).expect("open").received = m.now - ago;
        assert_eq!(m.is_heard(who(1)), heard, "{ago} us ago");
    }
}

#[test]
fn who_resigns_or_is_cut_off_from_half_of_the_members_does_not_coordinate() {
    let mut m = member(1, &[0; 4]);
    m.on_observation(seen(who(0), who(0), Sight::Alive));
    assert_eq!(m.acting(), Some(who(0)));
    m.on_observation(seen(who(0), who(0), Sight::Silent));
    assert_eq!(m.acting(), Some(who(1)));
    m.now = m.now + SILENCE;
    assert_eq!(m.acting(), Some(who(0)), "it has not said so again");

    let report = Report { sight: Sight::Silent, amount: SILENCE / 1_000, at: m.now };
    m.suspicion.reports.insert(who(0), BTreeMap::from([(who(2), report), (who(3), report)]));
    assert_eq!(m.acting(), Some(who(1)));
}

#[test]
fn who_has_said_goodbye_leaves_it_to_others_to_coordinate_if_there_are_others() {
    for (me, groups, expected) in [(0, &[0, 0][..], who(1)), (1, &[0, 0], who(0)), (0, &[0], who(0))] {
        let mut m = member(me, groups);
        m.begin_leave(Ended::Left);
        m.leaving.as_mut().expect("begun").said = true;
        assert_eq!(m.acting(), Some(expected));
    }
}

#[test]
fn what_strangers_say_or_is_said_of_strangers_or_of_oneself_is_nothing() {
    for (observer, subject) in [(who(1), STRANGER), (STRANGER, who(1)), (who(1), who(0)), (who(1), who(1))] {
        let mut m = member(0, &[0; 3]);
        m.on_observation(seen(observer, subject, Sight::Alive));
        assert!(m.suspicion.reports.is_empty(), "{observer:?} of {subject:?}");
    }
}

/// A connection that is no member's may say so without end (M1).
#[test]
fn nothing_is_kept_of_what_strangers_ask_or_of_what_is_said_of_them_or_twice() {
    let mut m = member(0, &[0; 3]);
    m.on_ask(STRANGER, who(1));
    assert_eq!(checked(&m), []);
    (0..2).for_each(|_| m.on_ask(who(2), who(1)));
    assert_eq!(m.suspicion.checks[&who(1)].askers, [who(2)].into());
    let unheard = vec![STRANGER, who(1), STRANGER, who(1)];
    m.on_join(STRANGER, Join { name: name(9), incarnation: STRANGER, address: address(9), unheard });
    assert_eq!(m.changes.joiners[&STRANGER].unheard, [who(1)]);
}

#[test]
fn who_is_reported_is_looked_at_unless_that_was_just_done() {
    for (ago, expected) in [(HALF, vec![]), (HALF + 1, vec![who(2)])] {
        let mut m = member(0, &[0; 3]);
        think(&mut m, 2, Sight::Alive, ago);
        m.on_observation(seen(who(1), who(2), Sight::Silent));
        assert_eq!(checked(&m), expected);
    }
}

#[test]
fn where_two_leaders_do_not_hear_each_other_the_deputy_of_the_junior_one_is_asked_for_the_senior_one() {
    for (observer, subject, sight, asked) in [
        (2, 4, Sight::Silent, true),
        (2, 4, Sight::Alive, false),
        (2, 5, Sight::Silent, false),
        (3, 4, Sight::Silent, false),
    ] {
        let mut m = member(0, &PAIRS);
        let links: Vec<(usize, ConnId)> = (1..6).map(|node| (node, link(&mut m, node))).collect();
        m.on_observation(seen(who(observer), who(subject), sight));
        for (node, conn) in links {
            let asks = said(&mut m, conn).contains(&Control::Ask(who(2)));
            assert_eq!(asks, asked && node == 5, "{observer} of {subject}: {sight:?}, at {node}");
        }
    }
}

#[test]
fn a_silent_member_is_believed_gone_while_it_is_unheard_or_was_just_looked_at() {
    for (time, gone) in [(SILENCE - 1, false), (SILENCE, true)] {
        let mut m = member(0, &[0, 0]);
        think(&mut m, 1, Sight::Silent, 0);
        unheard(&mut m, 1, time);
        assert_eq!(m.believed_gone(who(1)), gone, "unheard for {time} us");
    }
    for (ago, gone) in [(SILENCE * 2 - 1, true), (SILENCE * 2, false)] {
        let mut m = member(2, &[0; 4]);
        think(&mut m, 3, Sight::Silent, ago);
        assert_eq!(m.believed_gone(who(3)), gone, "nobody listens to it here, and {ago} us ago it did not answer");
    }
}

#[test]
fn a_refused_port_proves_a_death_for_one_lease_or_until_somebody_answers_there() {
    let mut m = member(0, &[0, 0]);
    m.listed.insert(name(1), vec![address(1)]);
    assert!(!m.proven_dead(&name(1)));
    for (ago, proven) in [(m.setup.lease, false), (m.setup.lease - 1, true)] {
        m.suspicion.note_refused(address(1), m.now - ago);
        assert_eq!(m.proven_dead(&name(1)), proven, "{ago} us ago");
    }
    m.suspicion.note_answered(address(1));
    assert!(!m.proven_dead(&name(1)));
    assert!(m.votes_from(&name(1), address(1)) && m.votes_from(&name(2), address(3)));
    assert!(!m.votes_from(&name(1), address(2)), "its listed port may be refused while it lives");
}

#[test]
fn a_seed_that_cannot_be_reached_is_known_at_once_to_who_looks_for_a_view() {
    let mut setup = Setup::new("test", "m0", who(0), address(0));
    setup.seeds = vec![crate::core::Seed { name: None, host: "127.0.0.1".to_owned(), port: 7_001 }];
    let mut m = Member::new(setup, NOW);
    m.on_resolved("127.0.0.1", &[address(1)]);
    m.tick_seeking();
    let conn = m.links.iter().find(|(_, c)| c.remote == address(1)).map(|(id, _)| id).expect("dialled");
    let due = |m: &Member| m.seeking.as_ref().expect("it looks").deadline();
    m.now = m.now + 1;
    assert!(due(&m) > m.now);
    m.on_closed(conn, CloseCause::Failed);
    assert_eq!(due(&m), m.now);
}
