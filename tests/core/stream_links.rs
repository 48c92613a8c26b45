//! What goes in streams over links: at once, together, and again when it was lost.

use crate::sender::Sender;
use crate::stage::{ME, PEER, Stage, THIRD, patient, view};
use decurion::core::{CloseCause, Event, Input, Multicast, Outbox, Payload, Setup, To};
use decurion::types::{Code, Incarnation, limits, millis};
use decurion::wire::batch::{Level, Notice};
use decurion::wire::control::{Control, Credit, Progress, Sight};

const RESERVED: usize = 20_000;
const HEARTBEAT: u64 = millis(250);

fn small(setup: &mut Setup) {
    patient(setup);
    (setup.window_bytes, setup.window_reserved_bytes) = (300_000, RESERVED);
    setup.heartbeat = HEARTBEAT;
}

/// Led by the first of these.
fn among(members: &[Incarnation]) -> Sender {
    Sender::within(&view(11, members), small)
}

fn led() -> Sender {
    among(&[PEER, ME, THIRD])
}

fn wants(words: &[Control]) -> usize {
    words.iter().filter(|control| matches!(control, Control::CreditWant(_))).count()
}

/// What is said to be held, of streams of which something is.
fn held(words: &[Control]) -> Vec<Vec<(u32, u64)>> {
    let some = |progress: &Progress| progress.entries.iter().copied().filter(|(_, batch)| *batch > 0).collect();
    words
        .iter()
        .filter_map(|control| if let Control::Sync(progress) = control { Some(some(progress)) } else { None })
        .collect()
}

/// Whether a member says which streams it wants over its link, where they go by multicast.
fn says_its_ways(words: &[Control]) -> bool {
    words.iter().any(|control| matches!(control, Control::Carry(_)))
}

fn accused(words: &[Control]) -> bool {
    let faulty =
        |c: &Control| matches!(c, Control::Observe(seen) if seen.subject == THIRD && seen.sight == Sight::Faulty);
    words.iter().any(faulty)
}

#[test]
fn what_comes_while_a_link_is_busy_goes_together_when_it_has_written_or_is_full() {
    let mut sender = led();
    let Sender { stage: Stage { member, now, .. }, outbox } = &mut sender;
    let push = |outbox: &mut Outbox| {
        assert_eq!(outbox.push(To::Everybody, Level::Fifo, 0, Payload::Borrowed(&[7; 100])), Code::Ok);
    };
    push(outbox);
    member.exchange(*now, outbox);
    assert_eq!(member.stats().batches_sent, 1, "the link was idle");
    for _ in 0..3 {
        push(outbox);
        member.exchange(*now, outbox);
    }
    assert_eq!(member.stats().batches_sent, 1, "its link has not written the first one");
    assert!(member.deadline() > *now);
    sender.stage.settle();
    assert!(sender.stage.member.deadline() <= sender.stage.now, "now it has");
    sender.turn();
    let sent = sender.sent();
    assert_eq!(sent.iter().map(|header| header.count).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn a_batch_that_is_full_does_not_wait_for_a_busy_link() {
    let mut sender = Sender::within(&view(11, &[PEER, ME, THIRD]), patient);
    assert_eq!(sender.offer(To::Everybody, 0, 100), Code::Ok);
    sender.stage.member.exchange(sender.stage.now, &mut sender.outbox);
    assert_eq!(sender.offer(To::Everybody, 0, limits::BATCH_BYTES), Code::Ok);
    sender.stage.member.exchange(sender.stage.now, &mut sender.outbox);
    assert!(sender.stage.member.stats().batches_sent > 1);
}

#[test]
fn a_message_to_one_member_is_on_its_way_at_once() {
    let mut sender = led();
    sender.send(To::Member(PEER), 0, 100);
    assert_eq!(sender.sent().len(), 1);
}

#[test]
fn who_has_a_full_window_asks_its_leader_for_credit_once_and_again_over_a_new_link() {
    let mut sender = led();
    (0..4).for_each(|_| sender.send(To::Everybody, 0, 8_000));
    assert_eq!(wants(&sender.stage.heard(PEER)), 1);
    sender.turn();
    assert_eq!(wants(&sender.stage.heard(PEER)), 0, "that is known");
    sender.renew_link(PEER);
    sender.turn();
    assert_eq!(wants(&sender.stage.heard(PEER)), 1, "the question may have been lost");
}

#[test]
fn who_waits_for_the_turn_of_its_long_message_asks_for_no_credit() {
    let mut sender = Sender::within(&view(11, &[PEER, ME, THIRD]), |setup| {
        small(setup);
        setup.large.unasked_bytes = 64 * 1024;
    });
    sender.send(To::Everybody, 0, 100_000);
    assert_eq!(sender.sent().len(), 1, "it asks for its turn");
    assert_eq!(wants(&sender.stage.heard(PEER)), 0);
    let mut turn = Vec::new();
    Notice::Grant(sender.place_of(ME) as u32).put(&mut turn);
    let turn = sender.batch_of(PEER, None, 1, &turn);
    sender.bring(PEER, &turn);
    assert!(sender.stage.member.deadline() <= sender.stage.now, "it is its turn");
    sender.turn();
    assert_eq!(sender.sent().len(), 1, "as much of it as the window takes");
}

#[test]
fn a_leader_passes_a_batch_on_in_the_turn_in_which_it_came() {
    let mut sender = among(&[ME, PEER, THIRD]);
    let batch = sender.batch(PEER, None, 1);
    sender.bring(PEER, &batch);
    assert_eq!(sender.stage.batches, [batch]);
}

#[test]
fn over_a_new_link_and_to_who_was_new_it_is_said_which_streams_are_wanted_over_links() {
    let mut sender = Sender::within(&view(11, &[PEER, ME, THIRD]), |setup| {
        small(setup);
        setup.multicast = Some(Multicast {
            group: ([239, 192, 0, 1], 7_777).into(),
            carries: true,
            datagram_bytes: 1_472,
            receive_bytes: 1 << 20,
            repair_bytes_per_s: 1_000_000,
        });
    });
    sender.stage.heard(PEER);
    sender.renew_link(PEER);
    assert!(says_its_ways(&sender.stage.heard(PEER)));
    let nothing = Progress { tag: sender.view_tag(), entries: Vec::new() };
    sender.stage.say(PEER, &Control::Sync(nothing));
    assert!(says_its_ways(&sender.stage.heard(PEER)), "it may have come to this view just now");
}

#[test]
fn credit_is_kept_while_something_is_under_way_and_given_back_after_it() {
    let mut sender = led();
    let tag = sender.view_tag();
    sender.send(To::Everybody, 0, 1_000);
    sender.stage.say(PEER, &Control::CreditGrant(Credit { tag, bytes: 6_000 }));
    assert!(sender.stage.member.deadline() <= sender.stage.now, "what waits for it can go at once");
    sender.turn();
    sender.stage.pass(millis(1_000));
    assert_eq!(sender.stage.member.stats().credit_bytes, 6_000);
    let all = sender.up_to(ME, 1);
    sender.stage.say(PEER, &Control::Stable(all));
    sender.stage.pass(millis(1_000));
    assert_eq!(sender.stage.member.stats().credit_bytes, 0);
}

#[test]
fn a_batch_that_does_not_follow_is_asked_for_at_once_and_not_again_at_once() {
    let mut sender = led();
    let (first, third) = (sender.batch(PEER, None, 1), sender.batch(PEER, None, 3));
    sender.bring(PEER, &first);
    sender.stage.heard(PEER);
    sender.bring(PEER, &third);
    assert_eq!(held(&sender.stage.heard(PEER)), [[(0, 1)]]);
    sender.bring(PEER, &third);
    assert_eq!(held(&sender.stage.heard(PEER)).len(), 0, "the answer is on its way");
    sender.stage.pass(HEARTBEAT / 8 + 1_000);
    sender.bring(PEER, &third);
    assert_eq!(held(&sender.stage.heard(PEER)).len(), 1, "the answer was lost");
}

#[test]
fn over_a_new_link_both_tell_what_they_hold_and_what_they_have_taken() {
    let mut sender = led();
    let first = sender.batch(PEER, None, 1);
    sender.bring(PEER, &first);
    sender.stage.pass(millis(100));
    sender.send(To::Member(PEER), 0, 100);
    sender.stage.heard(PEER);
    sender.sent();
    sender.renew_link(PEER);
    let words = sender.stage.heard(PEER);
    let taken = sender.up_to(PEER, 1);
    assert_eq!(held(&words), std::slice::from_ref(&taken.entries));
    assert!(words.contains(&Control::Progress(taken)), "{words:?}");
    assert_eq!(sender.sent().len(), 1, "what was not acknowledged goes again");
}

#[test]
fn who_says_what_it_holds_is_told_again_what_was_taken() {
    let mut sender = led();
    let first = sender.batch(PEER, None, 1);
    sender.bring(PEER, &first);
    sender.stage.pass(millis(100));
    sender.stage.heard(PEER);
    let nothing = Progress { tag: sender.view_tag(), entries: Vec::new() };
    sender.stage.say(PEER, &Control::Sync(nothing));
    assert!(sender.stage.heard(PEER).contains(&Control::Progress(sender.up_to(PEER, 1))));
}

#[test]
fn who_is_new_and_lacks_what_all_others_have_forgotten_must_come_again() {
    let mut members = view(11, &[ME, PEER, THIRD]);
    members.members[2].ready = false;
    let mut sender = Sender::within(&members, small);
    sender.send(To::Everybody, 0, 100);
    let nothing = Control::Sync(Progress { tag: sender.view_tag(), entries: Vec::new() });
    let sent_away =
        |words: &[Control]| words.iter().any(|c| matches!(c, Control::Expelled(who) if who.incarnation == THIRD));
    sender.stage.say(THIRD, &nothing);
    assert!(!sent_away(&sender.stage.heard(THIRD)), "nothing was forgotten yet");
    let taken = sender.up_to(ME, 1);
    sender.stage.say(PEER, &Control::Progress(taken));
    sender.stage.pass(millis(100));
    sender.stage.say(THIRD, &nothing);
    assert!(sent_away(&sender.stage.heard(THIRD)));
}

#[test]
fn a_report_about_nobodys_stream_is_passed_over() {
    let mut sender = led();
    let entries = vec![(3, 1), (u32::MAX, 1)];
    let reports = Progress { tag: sender.view_tag(), entries };
    for control in [Control::Stable(reports.clone()), Control::AllHold(reports.clone()), Control::Holding(reports)] {
        sender.stage.say(PEER, &control);
    }
    assert!(sender.stage.view().is_some());
}

#[test]
fn the_host_hears_at_once_what_all_have_taken() {
    let mut sender = Sender::within(&view(11, &[ME, PEER, THIRD]), |setup| {
        small(setup);
        setup.stable_events = true;
    });
    sender.send(To::Everybody, 0, 100);
    let stable = |sender: &Sender| sender.stage.events.iter().any(|e| matches!(e, Event::Stable { number: 1, .. }));
    let taken = sender.up_to(ME, 1);
    sender.stage.pass(millis(100));
    sender.stage.say(PEER, &Control::Progress(taken.clone()));
    sender.stage.pass(millis(100));
    assert!(!stable(&sender), "one has not");
    sender.stage.say(THIRD, &Control::Progress(taken));
    assert!(stable(&sender));
}

#[test]
fn who_says_what_nobody_may_is_named_and_accused_the_second_time() {
    let mut sender = led();
    for accuses in [false, true] {
        let bad = sender.bad_batch(THIRD, Some(ME), 1);
        sender.stage.heard(PEER);
        sender.stage.events.clear();
        sender.bring(THIRD, &bad);
        let named = |event: &Event| matches!(event, Event::Fault { member: Some(who), .. } if who.incarnation == THIRD);
        assert!(sender.stage.events.iter().any(named));
        assert!(sender.stage.closed.contains(&sender.stage.conns[&THIRD]), "nothing over that link can be trusted");
        assert_eq!(accused(&sender.stage.heard(PEER)), accuses);
        sender.renew_link(THIRD);
    }
}

#[test]
fn a_link_that_is_gone_is_no_link() {
    let mut sender = led();
    sender.stage.tell(Input::Closed(sender.stage.conns[&PEER], CloseCause::Peer));
    let first = sender.stage.now;
    let state = |sender: &Sender| {
        let links = sender.stage.member.links(first);
        links.into_iter().find(|link| link.peer.to_string() == "peer").expect("its leader").state
    };
    assert_eq!(state(&sender), "connecting");
    sender.renew_link(PEER);
    assert_eq!(state(&sender), "up");
    let peers: Vec<String> = sender.stage.member.links(first).iter().map(|link| link.peer.to_string()).collect();
    assert_eq!(peers, ["peer", "third"], "a member has no link with itself");
}
