//! Strangers that are heard by multicast: members of other views, starters, and who is no member of any cluster.

use std::net::SocketAddr;

use bytes::Bytes;
use decurion::core::{CloseCause, Input, Received};
use decurion::types::{Incarnation, Micros, limits, millis};
use decurion::wire::cast::{self, Beacon};

use crate::air::{Air, multicast};
use crate::stage::{FIFTH, FRESH, ME, PEER, Stage, THIRD, address};

/// Who was not heard for so long is forgotten.
const LONG: Micros = millis(601_000);

fn led() -> Air {
    Air::new(&[PEER, ME, THIRD], |_| {})
}

#[test]
fn who_sends_what_is_not_for_the_group_is_named_at_first_and_then_ever_more_seldom() {
    let mut air = led();
    for _ in 0..5_000 {
        let bytes = Bytes::from_static(b"what is this, and for whom?");
        air.stage.tell(Input::Casts(&[Received { from: address(FRESH), bytes }]));
    }
    assert_eq!(air.stage.member.stats().casts_refused, 5_000);
    let counts: Vec<_> = air.stage.events.iter().map(|event| format!("{event:?}")).collect();
    let told = |count: &str| counts.iter().filter(|text| text.contains(&format!("aside, {count} so far"))).count();
    assert_eq!((counts.len(), ["1", "1024", "2048", "4096"].map(told)), (4, [1; 4]));
}

#[test]
fn who_is_known_to_send_what_is_not_for_the_group_is_counted_also_when_many_others_do() {
    let mut air = led();
    let stray = |at: u8| Received {
        from: SocketAddr::from(([192, 0, 2, at], 7_777)),
        bytes: Bytes::from_static(b"what is this, and for whom?"),
    };
    (0..=255).for_each(|at| air.stage.tell(Input::Casts(&[stray(at)])));
    assert_eq!(air.notes("1 so far"), 64, "the others are only counted");
    (1..1_024).for_each(|_| air.stage.tell(Input::Casts(&[stray(63), stray(64)])));
    assert_eq!(air.stage.member.stats().casts_refused, 256 + 2 * 1_023);
    assert_eq!(air.notes("192.0.2.63:7777 sends to the multicast group 239.192.0.1:7777"), 1);
}

#[test]
fn who_is_in_no_view_looks_where_somebody_is_heard() {
    let mut stage = Stage::new(|setup| setup.multicast = Some(multicast()));
    stage.tell(Input::Wake);
    stage.dials.clear();
    let beacon = Beacon { from: PEER, address: address(PEER), view_tag: 77, newest: 0, room: 1, longest: 600 }.encode();
    let head = cast::head(stage.envelope(PEER).cluster, &beacon);
    let bytes = Bytes::from([&head[..], &beacon].concat());
    stage.tell(Input::Casts(&[Received { from: address(PEER), bytes }]));
    stage.pass(millis(10));
    assert!(stage.dials.iter().any(|(_, to)| *to == address(PEER)));
}

#[test]
fn strangers_that_were_heard_long_ago_do_not_keep_a_newcomer_from_being_heard() {
    let mut air = led();
    let cluster = air.stage.envelope(PEER).cluster;
    let stranger = |at: u128| {
        let from = Incarnation(1 << 64 | at);
        let beacon = Beacon { from, address: address(FIFTH), view_tag: 77, newest: 0, room: 1, longest: 600 }.encode();
        let bytes = Bytes::from([&cast::head(cluster, &beacon)[..], &beacon].concat());
        Received { from: address(FIFTH), bytes }
    };
    // More are not remembered.
    let strangers: Vec<Received> = (0..2 * limits::MEMBERS as u128).map(stranger).collect();
    air.stage.tell(Input::Casts(&strangers));
    for _ in 0..4 {
        air.pass(LONG / 4);
        // They are there.
        [PEER, THIRD].into_iter().for_each(|who| air.stage.beat(who));
    }
    air.install(12, &[PEER, ME, THIRD, FRESH]);
    air.heard.push(FRESH);
    air.pass(millis(1_000));
    assert_eq!(air.ways(PEER).last(), Some(&Vec::new()), "all streams come by multicast");
}

/// Whom it has dialled since the last look, in vain.
fn dialled(air: &mut Air) -> Vec<Incarnation> {
    let dials = std::mem::take(&mut air.stage.dials);
    dials.iter().for_each(|(conn, _)| air.stage.tell(Input::Closed(*conn, CloseCause::Refused)));
    [FRESH, FIFTH].into_iter().filter(|who| dials.iter().any(|(_, to)| *to == address(*who))).collect()
}

#[test]
fn members_of_other_views_are_looked_for_where_they_were_heard_and_starters_come_by_themselves() {
    let mut air = Air::new(&[ME, PEER], |_| {});
    let stranger = |from, view_tag| Beacon { from, address: address(from), view_tag, newest: 0, room: 1, longest: 600 };
    air.cast(FIFTH, &stranger(FIFTH, 0).encode());
    air.cast(FRESH, &stranger(FRESH, 77).encode());
    air.pass(millis(1_100));
    assert_eq!(dialled(&mut air), [FRESH]);
    air.pass(millis(2_000));
    assert_eq!(dialled(&mut air), [FRESH], "it is tried again");
    air.pass(LONG);
    dialled(&mut air);
    air.pass(millis(5_000));
    assert_eq!(dialled(&mut air), [], "nobody has heard it for long");
}
