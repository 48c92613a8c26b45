//! Members that are not ready, for which nobody waits: what they keep, and what waits for them, has a bound (D5, R24).

use crate::sender::Sender;
use crate::stage::{ME, PEER, THIRD, patient, view};
use crate::support::Cluster;
use decurion::core::{Event, Input, ReadyPolicy};
use decurion::types::{Code, millis};
use decurion::wire::batch::{Entry, Level};
use decurion::wire::control::{Control, Progress};

const WINDOW: usize = 64 * 1024;
const MESSAGE: usize = 8 * 1024;
/// One and a half windows, and what came last.
const BOUND: u64 = (WINDOW + WINDOW / 2 + MESSAGE + 128) as u64;

/// Who joins with a host that is not ready, and takes nothing.
const JOINER: usize = 2;

#[test]
fn a_joiner_whose_host_takes_less_than_comes_starts_again() {
    let mut cluster = Cluster::new(3, |node, setup| {
        (setup.window_bytes, setup.receive_queue_bytes) = (WINDOW, MESSAGE);
        setup.ready = if node == JOINER { ReadyPolicy::Host } else { ReadyPolicy::OnAdmission };
    });
    cluster.idle_host = Some(JOINER);
    let life = cluster.member(JOINER).incarnation();
    for _ in 0..40 {
        assert_eq!(cluster.send(0, Level::Fifo, &[7; MESSAGE]), Code::Ok);
        cluster.pass(millis(50));
        let kept = cluster.member(JOINER).stats().unstable_bytes;
        assert!(kept <= BOUND, "{kept} bytes are kept");
    }
    let removed = |event: &Event| matches!(event, Event::Expelled { why, .. } if why.contains("takes less than comes"));
    assert!(cluster.events(JOINER).iter().any(removed), "its host is told why");
    assert_ne!(cluster.member(JOINER).incarnation(), life);
    cluster.idle_host = None;
    cluster.consume(JOINER);
    cluster.until(|c| (0..3).all(|node| c.members_of(node) == 3));
    assert_eq!(cluster.messages(1).len(), 40, "nobody else has noticed");
}

/// A leader, of whose group one is ready and one is not.
fn leader() -> Sender {
    let mut first = view(11, &[ME, PEER, THIRD]);
    first.members[1].ready = false;
    Sender::within(&first, |setup| {
        patient(setup);
        setup.window_bytes = WINDOW;
    })
}

#[test]
fn a_leader_closes_the_link_of_a_joiner_that_takes_less_than_comes() {
    let mut leader = leader();
    let mut area = Vec::new();
    Entry { level: Level::Fifo, token: 0, fragment: None, payload: &[7; MESSAGE] }.put(&mut area);
    let (joiner, other) = (leader.stage.conns[&PEER], leader.stage.conns[&THIRD]);
    for number in 1..=40 {
        let batch = leader.batch_of(THIRD, None, number, &area);
        let member = &mut leader.stage.member;
        member.receive_space(other).expect("it is open").extend_from_slice(&batch);
        // What is to be written stays where it is: its link is slow.
        member.handle(leader.stage.now, Input::Received(other));
        let waiting = member.links(leader.stage.now)[0].queued_bytes;
        assert!(waiting <= BOUND, "{waiting} bytes wait");
    }
    leader.stage.settle();
    assert_eq!(leader.stage.closed, [joiner]);
    leader.renew_link(PEER);
    let nothing = Control::Sync(Progress { tag: leader.view_tag(), entries: Vec::new() });
    leader.stage.say(PEER, &nothing);
    let told = leader.stage.heard(PEER);
    assert!(told.iter().any(|word| matches!(word, Control::Expelled(_))), "what it lacks is forgotten");
}
