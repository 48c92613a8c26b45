//! What was lost by multicast: when and of whom it is asked for, and how much of what comes before it is kept.

use std::collections::BTreeSet;

use decurion::core::{Event, Setup};
use decurion::types::{Incarnation, Micros, millis};
use decurion::wire::batch::{HEADER_BYTES, PREFIX_BYTES};

use crate::air::Air;
use crate::stage::{ME, PEER, THIRD};

/// Gaps that were asked for: of which stream, from where to where.
type Gaps = Vec<(u32, u64, u64)>;

/// Of a batch whose message has so many bytes.
const FRAME: usize = 1_024;
const PAYLOAD: [u8; FRAME - HEADER_BYTES - PREFIX_BYTES] = [7; FRAME - HEADER_BYTES - PREFIX_BYTES];
const WINDOW: usize = 16 * 1024;
/// What is kept where the window is small: as much as three members have under way when each sends something.
const BOUND: usize = WINDOW + 3 * (4_096 + HEADER_BYTES);
/// So many batches of that length.
const KEPT: u64 = BOUND.div_ceil(FRAME) as u64;

fn small(setup: &mut Setup) {
    setup.window_bytes = WINDOW;
}

/// What one of the others is asked for within some time, and after how many milliseconds.
fn asked_within(air: &mut Air, who: Incarnation, time: Micros) -> Vec<(u64, Gaps)> {
    let (since, mut all) = (air.stage.now, Vec::new());
    while air.stage.now.since(since) < time {
        air.pass(millis(1));
        let at = air.stage.now.since(since) / millis(1);
        all.extend(air.questions(who).into_iter().map(|gaps| (at, gaps)));
    }
    all
}

fn led() -> Air {
    Air::new(&[PEER, ME, THIRD], |_| {})
}

fn unstable(air: &Air) -> u64 {
    air.stage.member.stats().unstable_bytes
}

#[test]
fn what_is_asked_for_in_vain_is_asked_for_ever_more_seldom() {
    let mut air = led();
    air.hear(THIRD, 3, b"third");
    let asked = asked_within(&mut air, PEER, millis(10_000));
    assert!(asked.iter().all(|(_, gaps)| *gaps == [(2, 1, 2)]), "{asked:?}");
    let times: Vec<_> = asked.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [1, 401, 1_201, 2_801, 6_001, 9_201]);
    assert_eq!(air.stage.member.stats().repairs_asked, 12, "two batches, six times");
}

#[test]
fn a_leader_asks_each_sender_for_what_is_its_own() {
    let mut air = Air::new(&[ME, PEER, THIRD], |_| {});
    air.hear(PEER, 2, b"second");
    air.hear(THIRD, 3, b"third");
    air.pass(millis(1));
    assert_eq!(air.questions(PEER), [[(1, 1, 1)]]);
    assert_eq!(air.questions(THIRD), [[(2, 1, 2)]]);
    assert_eq!(air.stage.member.stats().repairs_asked, 3);
}

#[test]
fn a_gap_that_opens_later_is_asked_for_alone() {
    let mut air = led();
    air.hear(THIRD, 2, b"second");
    assert_eq!(asked_within(&mut air, PEER, millis(50)), [(1, vec![(2, 1, 1)])]);
    air.hear(THIRD, 5, b"fifth");
    assert_eq!(asked_within(&mut air, PEER, millis(50)), [(1, vec![(2, 3, 4)])]);
    air.hear(PEER, 2, b"second");
    assert_eq!(asked_within(&mut air, PEER, millis(50)), [(1, vec![(0, 1, 1)])]);
    // Each stream has its time.
    let again = asked_within(&mut air, PEER, millis(400));
    assert_eq!(again, [(251, vec![(2, 1, 1), (2, 3, 4)]), (351, vec![(0, 1, 1)])]);
}

#[test]
fn the_next_gap_is_asked_for_as_soon_as_the_first_one_after_this_one_is_closed() {
    let mut air = led();
    air.hear(THIRD, 2, b"second");
    asked_within(&mut air, PEER, millis(500));
    air.bring(PEER, THIRD, 1, b"first");
    assert_eq!(air.delivered(), [b"first".to_vec(), b"second".to_vec()]);
    air.hear(THIRD, 4, b"fourth");
    // The pause that had become long was that of another loss.
    assert_eq!(asked_within(&mut air, PEER, millis(500)), [(1, vec![(2, 3, 3)]), (401, vec![(2, 3, 3)])]);
}

#[test]
fn what_has_no_room_in_a_question_is_the_next_ones_each_time() {
    let mut air = led();
    (1..=200).for_each(|batch| air.hear(THIRD, 2 * batch, b""));
    let asked = asked_within(&mut air, PEER, millis(450));
    let gaps: Vec<_> = asked.iter().map(|(at, gaps)| (*at, gaps.len())).collect();
    assert_eq!(gaps, [(1, 128), (3, 72), (401, 128), (403, 72)]);
    let odd: Gaps = (0..200).map(|at| (2, 2 * at + 1, 2 * at + 1)).collect();
    let first: Vec<_> = asked[..2].iter().flat_map(|(_, gaps)| gaps).copied().collect();
    let again: Vec<_> = asked[2..].iter().flat_map(|(_, gaps)| gaps).copied().collect();
    assert_eq!((&first, &again), (&odd, &odd));
}

#[test]
fn the_streams_of_one_neighbour_share_the_room_of_a_question() {
    let mut air = led();
    for batch in 1..=100 {
        air.hear(PEER, 2 * batch, b"");
        air.hear(THIRD, 2 * batch, b"");
    }
    let asked = asked_within(&mut air, PEER, millis(390));
    let gaps: Vec<_> = asked.iter().map(|(at, gaps)| (*at, gaps.len())).collect();
    assert_eq!(gaps, [(1, 128), (3, 72)]);
    let each: BTreeSet<_> = asked.iter().flat_map(|(_, gaps)| gaps).copied().collect();
    let odd = |stream| (0..100).map(move |at| (stream, 2 * at + 1, 2 * at + 1));
    assert_eq!(each, odd(0).chain(odd(2)).collect());
}

#[test]
fn a_gap_is_asked_for_after_half_a_millisecond_to_a_millisecond_and_not_always_at_the_same_time() {
    let mut air = led();
    let mut delays = BTreeSet::new();
    for batch in 1..=8 {
        air.hear(THIRD, 2 * batch, b"");
        let since = air.stage.now;
        while air.questions(PEER).is_empty() {
            air.still(1);
        }
        delays.insert(air.stage.now.since(since));
    }
    assert!(delays.iter().all(|delay| (500..=1_000).contains(delay)), "{delays:?}");
    assert!(delays.len() > 4, "{delays:?}: others have lost the same, and ask at the same time");
}

#[test]
fn what_comes_before_what_it_follows_is_kept_and_delivered_in_its_place() {
    let mut air = led();
    for batch in [3, 2, 5, 3] {
        air.hear(THIRD, batch, &PAYLOAD);
    }
    assert_eq!((air.delivered().len(), unstable(&air)), (0, 3 * FRAME as u64));
    air.hear(THIRD, 1, &PAYLOAD);
    assert_eq!((air.delivered().len(), unstable(&air)), (3, 4 * FRAME as u64));
    air.hear(THIRD, 4, &PAYLOAD);
    assert_eq!((air.delivered().len(), unstable(&air)), (2, 5 * FRAME as u64));
    air.stable(PEER, THIRD, 5);
    assert_eq!(unstable(&air), 0);
    assert_eq!(asked_within(&mut air, PEER, millis(1_000)), [], "nothing is missing");
    let stats = air.stage.member.stats();
    assert_eq!((stats.batches_received, stats.batches_repeated, stats.batches_refused), (6, 1, 0));
}

#[test]
fn what_is_further_ahead_than_windows_allow_is_not_believed() {
    let mut air = Air::new(&[PEER, ME, THIRD], small);
    let furthest = (BOUND / (HEADER_BYTES + PREFIX_BYTES)) as u64;
    air.hear(THIRD, furthest + 1, b"too far");
    assert_eq!(unstable(&air), 0);
    assert_eq!(asked_within(&mut air, PEER, millis(5)), [(1, vec![(2, 1, furthest)])]);
    air.hear(THIRD, furthest, b"");
    assert_eq!(unstable(&air), (HEADER_BYTES + PREFIX_BYTES) as u64);
    for batch in 1..=3 {
        air.hear(THIRD, batch, b"");
    }
    air.hear(THIRD, furthest + 3, b"");
    assert_eq!(unstable(&air), 5 * (HEADER_BYTES + PREFIX_BYTES) as u64, "that is no further than the other one was");
}

#[test]
fn when_all_room_is_taken_what_is_needed_first_takes_that_of_what_is_needed_last() {
    let mut air = Air::new(&[PEER, ME, THIRD], small);
    for batch in 2..=KEPT + 2 {
        air.hear(THIRD, batch, &PAYLOAD);
    }
    assert_eq!(unstable(&air), KEPT * FRAME as u64, "the last one has no room");
    assert_eq!(asked_within(&mut air, PEER, millis(5)), [(1, vec![(2, 1, 1), (2, KEPT + 2, KEPT + 2)])]);
    assert_eq!(air.stage.member.stats().batches_refused, 1);
    air.hear(THIRD, 1, &PAYLOAD);
    assert_eq!(air.delivered().len() as u64, KEPT);
    assert_eq!(unstable(&air), KEPT * FRAME as u64, "the one before it had to go");
    air.stable(PEER, THIRD, KEPT);
    assert_eq!(unstable(&air), 0);
    let asked = asked_within(&mut air, PEER, millis(1_000));
    assert!(!asked.is_empty() && asked.iter().all(|(_, gaps)| *gaps == [(2, KEPT + 1, KEPT + 2)]), "{asked:?}");
}

#[test]
fn the_furthest_of_all_streams_makes_room() {
    let mut air = Air::new(&[PEER, ME, THIRD], small);
    for batch in 2..=13 {
        air.hear(PEER, batch, &PAYLOAD);
    }
    // As many as there is still room for.
    let last = KEPT + 18;
    for batch in 31..=last {
        air.hear(THIRD, batch, &PAYLOAD);
    }
    air.pass(millis(5));
    air.questions(PEER);
    air.hear(PEER, 14, &PAYLOAD);
    air.hear(THIRD, last, &PAYLOAD);
    air.hear(PEER, 1, &PAYLOAD);
    assert_eq!(air.delivered().len(), 14);
    air.stable(PEER, PEER, 14);
    // Two of them made room.
    let asked = asked_within(&mut air, PEER, millis(1_000));
    assert_eq!(asked.last(), Some(&(396, vec![(2, 1, 30), (2, last - 1, last)])));
}

#[test]
fn what_is_needed_first_gets_room_also_where_others_have_not_taken_yet_what_came_before() {
    let mut air = Air::new(&[PEER, ME, THIRD], small);
    for batch in (1..=14).chain(16..=KEPT + 1) {
        air.hear(THIRD, batch, &PAYLOAD);
    }
    let full = KEPT * FRAME as u64;
    assert_eq!((air.delivered().len(), unstable(&air)), (14, full));
    air.hear(THIRD, 14, &PAYLOAD);
    air.hear(THIRD, KEPT + 2, &PAYLOAD);
    air.hear(PEER, 40, &PAYLOAD);
    assert_eq!(unstable(&air), full, "neither a repeat nor what is further ahead gets any");
    let stats = air.stage.member.stats();
    assert_eq!((stats.batches_repeated, stats.batches_refused), (1, 2));
    air.hear(THIRD, 15, &PAYLOAD);
    assert_eq!((air.delivered().len() as u64, unstable(&air)), (KEPT - 14, full));
}

#[test]
fn a_stream_in_which_something_is_wrong_is_not_asked_for_until_its_sender_says_how_far_it_has_got() {
    for comes_first in [true, false] {
        let mut air = led();
        let good = unstable_after(&mut air, comes_first);
        assert_eq!(unstable(&air), good, "what lies ahead may be wrong as well");
        assert_eq!(asked_within(&mut air, PEER, millis(1_000)), []);
        let faults = air.stage.events.iter().filter(|event| matches!(event, Event::Fault { .. })).count();
        assert_eq!(faults, 1);
        let next = if comes_first { 1 } else { 2 };
        air.beacon(THIRD, 3);
        air.pass(millis(5));
        assert_eq!(air.questions(PEER), [[(2, next, 3)]]);
        air.delivered();
        (next..=3).for_each(|batch| air.bring(PEER, THIRD, batch, b"true"));
        assert_eq!(air.delivered(), vec![b"true".to_vec(); 4 - next as usize]);
        assert_eq!(air.stage.member.stats().unstable_bytes, good + (4 - next) * frame(b"true"));
    }
}

/// Bytes of a batch with this message.
fn frame(payload: &[u8]) -> u64 {
    (HEADER_BYTES + PREFIX_BYTES + payload.len()) as u64
}

/// The first batch of `THIRD` is wrong, or the second one, while others lie ahead; bytes of what is not wrong.
fn unstable_after(air: &mut Air, first_is_wrong: bool) -> u64 {
    let wrong = air.wrong(THIRD, if first_is_wrong { 1 } else { 2 });
    if first_is_wrong {
        air.hear(THIRD, 3, b"ahead");
        air.pass(millis(2));
        air.cast(THIRD, &wrong);
    } else {
        air.cast(THIRD, &wrong);
        air.hear(THIRD, 3, b"ahead");
        air.pass(millis(2));
        air.hear(THIRD, 1, b"first");
    }
    air.questions(PEER);
    if first_is_wrong { 0 } else { frame(b"first") }
}
