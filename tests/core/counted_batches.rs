//! What a member counts.

use crate::sender::Sender;
use crate::stage::{ME, PEER, THIRD, in_groups, patient, view};
use crate::support::{Cluster, pairs};
use decurion::core::{Input, Multicast, Stats, To};
use decurion::types::{Code, SessionId, millis};
use decurion::wire::batch::{HEADER_BYTES, Header, Level};

fn sender() -> Sender {
    Sender::within(&view(11, &[PEER, ME, THIRD]), patient)
}

/// A batch of another stream.
fn retag(batch: &mut [u8]) {
    let (head, _) = batch.split_first_chunk_mut::<HEADER_BYTES>().expect("a whole batch");
    let header = Header::decode(head).expect("legal");
    *head = Header { tag: header.tag ^ 1, ..header }.encode();
}

fn stats(sender: &Sender) -> Stats {
    sender.stage.member.stats()
}

#[test]
fn what_is_sent_counts_to_everybody_and_to_one() {
    let mut sender = sender();
    let before = stats(&sender);
    sender.send(To::Everybody, 0, 100);
    sender.send(To::Everybody, 0, 100);
    assert_eq!(stats(&sender).batches_sent - before.batches_sent, 2);
    assert_eq!(stats(&sender).messages_sent - before.messages_sent, 2);
    sender.send(To::Member(PEER), 0, 100);
    assert_eq!(stats(&sender).batches_sent - before.batches_sent, 3);
    assert!(stats(&sender).bytes_sent > before.bytes_sent + 300);
}

#[test]
fn what_comes_counts_as_new_as_known_or_as_of_no_use() {
    let mut sender = sender();
    for to in [None, Some(ME)] {
        let [first, second, fourth] = [1, 2, 4].map(|number| sender.batch(PEER, to, number));
        let before = stats(&sender);
        for batch in [&first, &second, &second, &first, &fourth] {
            sender.bring(PEER, batch);
        }
        let after = stats(&sender);
        assert_eq!(after.batches_received - before.batches_received, 5);
        assert_eq!(after.batches_repeated - before.batches_repeated, 2);
        assert_eq!(after.batches_refused - before.batches_refused, 1);
        assert_eq!(after.messages_delivered - before.messages_delivered, 2);
    }
    // Of another view.
    let mut old = sender.batch(PEER, None, 3);
    retag(&mut old);
    let before = stats(&sender);
    sender.bring(PEER, &old);
    assert_eq!(stats(&sender).batches_refused - before.batches_refused, 1);
}

#[test]
fn what_the_host_has_not_taken_and_others_have_not_counts() {
    let mut sender = sender();
    sender.send(To::Everybody, 0, 1_000);
    sender.send(To::Member(PEER), 0, 1_000);
    assert!((2_000..2_400).contains(&stats(&sender).unstable_bytes), "{}", stats(&sender).unstable_bytes);
    let batch = sender.batch(PEER, None, 1);
    sender.bring(PEER, &batch);
    let waits = stats(&sender).delivery_queue_bytes as usize;
    assert!(waits > 4);
    sender.stage.tell(Input::Consumed { bytes: waits - 1 });
    assert_eq!(stats(&sender).delivery_queue_bytes, 1);
    sender.stage.tell(Input::Consumed { bytes: 2 });
    assert_eq!(stats(&sender).delivery_queue_bytes, 0);
}

#[test]
fn copies_that_the_library_makes_are_counted() {
    let mut sender = sender();
    let before = sender.stage.member.copied_bytes();
    // So long a message is copied once on its way to everybody, and once on that to one.
    for (number, to) in [(1, To::Everybody), (2, To::Member(PEER))] {
        sender.send(to, 0, 30_000);
        let copied = sender.stage.member.copied_bytes() - before;
        assert!((number * 30_000..number * 30_500).contains(&copied), "{copied} for {to:?}");
    }
}

#[test]
fn leaders_pass_on_what_is_for_others_and_count_it() {
    let mut c = Cluster::new(4, |_, setup| setup.group_size = 2);
    // Until there are no links between those who need none.
    c.pass(millis(10_000));
    let relayed = |c: &Cluster| [0, 1, 2, 3].map(|node| c.member(node).stats().batches_relayed);
    let [first, one, second, three] = relayed(&c);
    assert_eq!(c.send_to(1, 3, b"to you"), Code::Ok);
    assert_eq!(c.messages(3), [("m1".to_owned(), b"to you".to_vec())], "it comes at once");
    assert_eq!(relayed(&c), [first + 1, one, second + 1, three]);
    assert_eq!(c.send(1, Level::Fifo, b"to all"), Code::Ok);
    assert_eq!(c.messages(3), [("m1".to_owned(), b"to all".to_vec())]);
    assert_eq!(relayed(&c), [first + 2, one, second + 2, three]);
}

#[test]
fn nobody_passes_on_what_belongs_to_no_stream_between_the_two() {
    let mut stage = Sender::within(&in_groups(view(11, &[ME, PEER, THIRD]), &[0, 0, 1]), patient);
    let mut batch = stage.batch(PEER, Some(THIRD), 1);
    stage.bring(PEER, &batch);
    assert_eq!((stage.sent().len(), stats(&stage).batches_relayed), (1, 1));
    retag(&mut batch);
    stage.bring(PEER, &batch);
    assert_eq!((stage.sent().len(), stats(&stage).batches_relayed), (0, 1));
}

#[test]
fn questions_for_what_was_lost_and_answers_to_them_are_counted_over_the_end_of_a_view_and_of_a_life() {
    let mut c = Cluster::new(3, |_, setup| {
        setup.multicast = Some(Multicast {
            group: ([239, 192, 0, 1], 7_777).into(),
            carries: true,
            datagram_bytes: 1_472,
            receive_bytes: 1 << 20,
            repair_bytes_per_s: 100_000_000,
        });
    });
    // Until everybody hears everybody.
    c.pass(millis(2_000));
    let counts = |c: &Cluster| {
        let stats = |node: usize| c.member(node).stats();
        (stats(2).repairs_asked, stats(0).repair_bytes_sent + stats(1).repair_bytes_sent)
    };
    let (asked, sent) = counts(&c);
    let lose = |c: &mut Cluster| {
        c.deaf.insert((1, 2));
        assert_eq!(c.send(1, Level::Fifo, &[7; 500]), Code::Ok);
        c.deaf.clear();
        c.pass(millis(1_000));
        assert_eq!(c.messages(2).len(), 1);
    };
    lose(&mut c);
    let after = counts(&c);
    assert_eq!(after.0, asked + 1);
    assert!((sent + 500..sent + 800).contains(&after.1), "{sent} and then {}", after.1);
    c.leave(0);
    c.until(|c| c.members_of(2) == 2);
    assert!(counts(&c).0 >= after.0, "a view ended");
    c.pass(millis(2_000));
    lose(&mut c);
    let after = counts(&c);
    let life = c.member(2).incarnation();
    c.stand_still(2, true);
    c.until(|c| c.members_of(1) == 1);
    c.stand_still(2, false);
    c.until(|c| c.members_of(2) == 2 && c.member(2).incarnation() != life);
    assert!(counts(&c).0 >= after.0, "a life ended");
}

#[test]
fn sessions_are_counted_where_they_are() {
    let mut c = Cluster::new(2, |_, _| {});
    c.pass(millis(1_000));
    let visits = pairs(&[("visits", &[7; 100])]);
    assert_eq!(c.create(0, SessionId(7), &visits).code, Code::Ok);
    let of = |c: &Cluster, node: usize| {
        let stats = c.member(node).stats();
        (stats.sessions_primary, stats.sessions_secondary, stats.sessions_single, stats.session_bytes > 100)
    };
    assert_eq!([of(&c, 0), of(&c, 1)], [(1, 0, 0, true), (0, 1, 0, true)]);
    c.kill(1);
    c.until(|c| c.members_of(0) == 1);
    assert_eq!(of(&c, 0), (1, 0, 1, true));
}

#[test]
fn memory_of_messages_that_a_host_keeps_is_counted() {
    let mut c = Cluster::new(2, |_, _| {});
    c.pass(millis(1_000));
    (0..20).for_each(|_| assert_eq!(c.send(0, Level::Fifo, &[7; 50_000]), Code::Ok));
    c.pass(millis(100));
    let kept = c.events(1);
    assert!(c.member(1).stats().chunks_pinned > 1, "{} events", kept.len());
}
