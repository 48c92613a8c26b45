//! A leader and the members of its group that hold up senders: whom it names, when, and who goes for it (D5, R27).

use crate::stage::{FIFTH, FRESH, ME, PEER, Stage, THIRD, patient, view};
use decurion::core::{Ended, Event, Input, Outbox, Payload, Setup, To};
use decurion::types::{Code, Incarnation, Micros, Seat, millis};
use decurion::wire::batch::{Entry, HEADER_BYTES, Header, Level};
use decurion::wire::control::{Control, Progress};

pub const BEAT: Micros = millis(250);
/// For so long a slow member is borne.
pub const BORNE: Micros = millis(3_000);

pub fn setup(setup: &mut Setup) {
    patient(setup);
    setup.slow = BORNE;
}

/// Sends most of a window to everybody: the number of the last batch.
pub fn fill(stage: &mut Stage) -> u64 {
    let mut outbox = Outbox::new(1 << 20, 1 << 20);
    stage.member.exchange(stage.now, &mut outbox);
    for _ in 0..13 {
        let code = outbox.push(To::Everybody, Level::Fifo, 0, Payload::Borrowed(&[7; 8 * 1024]));
        assert_eq!(code, Code::Ok);
    }
    while stage.member.deadline() <= stage.now || outbox.bytes() > 0 {
        stage.member.exchange(stage.now, &mut outbox);
        stage.tell(Input::Wake);
    }
    let header = stage.batches.last().and_then(|batch| batch.first_chunk::<HEADER_BYTES>()).expect("it was sent");
    Header::decode(header).expect("legal").batch
}

/// These have taken what this member has sent, up to that batch, and all whom they lead.
pub fn take(stage: &mut Stage, who: &[Incarnation], batch: u64) {
    let (view, me) = stage.member.view().expect("in a view");
    let progress = Control::Progress(Progress { tag: view.tag(), entries: vec![(me as u32, batch)] });
    who.iter().for_each(|who| stage.say(*who, &progress));
}

/// Whom this member has named to one of the others since the last look, each time.
pub fn named(stage: &mut Stage, to: Incarnation) -> Vec<Incarnation> {
    let named = stage.heard(to).into_iter().filter_map(|word| match word {
        Control::SlowNotice(seen) if seen.observer == ME => Some(seen.subject),
        _ => None,
    });
    named.collect()
}

/// Whom the host was told to be slow since the last look, and by how much.
pub fn warned(stage: &mut Stage) -> Vec<(Incarnation, u64)> {
    let warned = stage.events.drain(..).filter_map(|event| match event {
        Event::Slow { member, lag_bytes } => Some((member.incarnation, lag_bytes)),
        _ => None,
    });
    warned.collect()
}

// A leader and its own group.

/// This member leads all others.
fn alone() -> Stage {
    Stage::within(&view(11, &[ME, PEER, THIRD, FRESH, FIFTH]), setup)
}

#[test]
fn a_leader_names_the_member_that_lags_to_all_once_while_it_does() {
    let mut stage = alone();
    let batch = fill(&mut stage);
    take(&mut stage, &[THIRD, FRESH, FIFTH], batch);
    stage.pass(BEAT);
    assert_eq!(warned(&mut stage), [], "others of its group may lag as well");
    stage.pass(BEAT);
    let [(who, lag)] = warned(&mut stage)[..] else { panic!("it is told once") };
    assert_eq!(who, PEER);
    assert!((13 * 8 * 1024..14 * 8 * 1024).contains(&lag), "{lag}");
    for to in [PEER, THIRD, FRESH, FIFTH] {
        assert_eq!(named(&mut stage, to), [PEER]);
    }
    stage.pass(BEAT * 4);
    assert_eq!(warned(&mut stage), []);
    assert_eq!(named(&mut stage, THIRD), []);
}

#[test]
fn two_of_four_that_lag_are_both_named_and_three_of_four_are_not() {
    let warned_of = |take_it: &[Incarnation]| {
        let mut stage = alone();
        let batch = fill(&mut stage);
        take(&mut stage, take_it, batch);
        stage.pass(BEAT * 4);
        let mut warned: Vec<Incarnation> = warned(&mut stage).iter().map(|(who, _)| *who).collect();
        warned.sort_unstable();
        warned
    };
    assert_eq!(warned_of(&[PEER, FRESH]), [THIRD, FIFTH]);
    assert_eq!(warned_of(&[THIRD, FIFTH]), [PEER, FRESH]);
    assert_eq!(warned_of(&[PEER]), [], "this member sends too much for most of them");
}

#[test]
fn who_has_caught_up_begins_anew() {
    let mut stage = alone();
    for _ in 0..3 {
        let batch = fill(&mut stage);
        take(&mut stage, &[THIRD, FRESH, FIFTH], batch);
        stage.pass(BORNE - BEAT);
        assert_eq!(named(&mut stage, PEER), [PEER], "it is told each time");
        assert_eq!(stage.prepared(THIRD), None);
        take(&mut stage, &[PEER], batch);
        stage.pass(BEAT);
    }
    let batch = fill(&mut stage);
    take(&mut stage, &[THIRD, FRESH, FIFTH], batch);
    stage.pass(BORNE + BEAT * 2);
    assert!(stage.prepared(THIRD).is_some(), "now it goes");
}

/// So many batches of 8 KiB come from one of the others, which this member leads.
fn send(stage: &mut Stage, from: Incarnation, batches: u64) {
    let mut area = Vec::new();
    Entry { level: Level::Fifo, token: 0, fragment: None, payload: &[7; 8 * 1024] }.put(&mut area);
    let (view, _) = stage.member.view().expect("in a view");
    let (length, tag, at) = (area.len() as u32, view.tag(), view.index_of(from).expect("in it"));
    let (sender, receiver) = (view.members[at].seat, Seat::EVERYBODY);
    for batch in 1..=batches {
        let header = Header { flags: 0, count: 1, length, tag, sender, receiver, batch, first_message: batch };
        stage.say_bytes(stage.conns[&from], &[&header.encode()[..], &area].concat());
    }
}

/// What is sent to all of them is held up, by two of them.
#[test]
fn who_lags_is_seen_also_where_everybody_sends() {
    let mut stage = alone();
    let batch = fill(&mut stage);
    let others = [PEER, THIRD, FRESH, FIFTH];
    others.iter().for_each(|who| send(&mut stage, *who, 13));
    let tag = stage.heartbeat().view_tag;
    let all = [(0, batch), (2, 13), (3, 13), (4, 13)];
    for (who, peers) in [(THIRD, None), (FRESH, Some((1, 13))), (FIFTH, Some((1, 13)))] {
        let entries = all.into_iter().chain(peers).collect();
        stage.say(who, &Control::Progress(Progress { tag, entries }));
    }
    stage.pass(BEAT * 3);
    let warned: Vec<Incarnation> = warned(&mut stage).iter().map(|(who, _)| *who).collect();
    assert_eq!(warned, [PEER, THIRD]);
}

#[test]
fn the_links_show_how_much_each_lacks() {
    let mut stage = alone();
    let batch = fill(&mut stage);
    take(&mut stage, &[THIRD, FRESH, FIFTH], batch);
    let links = stage.member.links(stage.now);
    let lacks: Vec<bool> = links.iter().map(|link| link.unstable_bytes >= 13 * 8 * 1024).collect();
    assert_eq!(lacks, [true, false, false, false]);
}

// A leader and its own host.

/// Its host has room for two batches of the others.
fn with_little_room() -> Stage {
    Stage::within(&view(11, &[ME, PEER, THIRD, FRESH]), |setup| {
        self::setup(setup);
        setup.receive_queue_bytes = 17 * 1024;
    })
}

/// It looks for events all the time, but takes too little.
#[test]
fn a_leader_whose_own_host_holds_up_the_others_leaves() {
    let mut stage = with_little_room();
    send(&mut stage, PEER, 15);
    let tag = stage.heartbeat().view_tag;
    let taken = Control::Progress(Progress { tag, entries: vec![(1, 15)] });
    [THIRD, FRESH].iter().for_each(|who| stage.say(*who, &taken));
    let from = stage.now;
    while stage.member.ended().is_none() {
        assert!(stage.now.since(from) < BORNE * 3, "it is still there");
        stage.tell(Input::Consumed { bytes: 1 });
        stage.pass(BEAT);
        if stage.now.since(from) < BORNE {
            assert!(!stage.heard(THIRD).contains(&Control::Leave(ME)), "it is borne");
        }
    }
    assert_eq!(stage.member.ended(), Some(&Ended::HostNotPolling));
}

#[test]
fn a_leader_whose_host_is_behind_for_a_moment_stays_and_the_slow_one_goes() {
    let mut stage = with_little_room();
    let batch = fill(&mut stage);
    take(&mut stage, &[THIRD, FRESH], batch);
    stage.pass(BORNE);
    send(&mut stage, THIRD, 3);
    stage.pass(BEAT * 2);
    let words = stage.heard(THIRD);
    assert!(!words.contains(&Control::Leave(ME)));
    assert!(words.iter().any(|word| matches!(word, Control::Prepare(_))));
    assert_eq!(stage.prepared(PEER), None);
}
