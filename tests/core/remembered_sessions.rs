//! What is remembered of sessions that are gone, or whose owner is, and what is said of what is no frame.

use crate::fellows::{Fellows, ID, copy, epoch};
use crate::stage::{ME, PEER, THIRD};
use crate::support::{Cluster, Stream, pairs};
use decurion::types::{SessionId, millis};
use decurion::wire::session::{About, Attributes, Change, Copy, Frame, Question, Role};

/// Whoever is told so relies on no answer from here about a session of that time.
#[test]
fn the_view_in_which_the_first_session_went_that_is_not_remembered_is_told() {
    let mut fellows = Fellows::of_three();
    let comes_and_goes = |fellows: &mut Fellows, id| {
        let epoch = epoch(9, 1, PEER);
        fellows.say(PEER, &Frame::Copy(Copy { id, ..copy(epoch) }));
        fellows.say(PEER, &Frame::Release(About { id, epoch }));
    };
    let told = |fellows: &mut Fellows| {
        fellows.say(THIRD, &Frame::Where(Question { id: SessionId(1), asked: 1 }));
        fellows.heard(THIRD).into_iter().find_map(|frame| match frame {
            Frame::Here(here) => Some(here.version),
            _ => None,
        })
    };
    (0..16_384).for_each(|id| comes_and_goes(&mut fellows, SessionId(100 + id)));
    assert_eq!(told(&mut fellows), Some(0), "all are remembered");
    comes_and_goes(&mut fellows, SessionId(2));
    assert_eq!(told(&mut fellows), Some(11));
}

#[test]
fn what_is_no_frame_is_a_fault_among_objections_too() {
    let mut cluster = Cluster::new(3, |_, _| {});
    cluster.events(0);
    cluster.say_raw(Stream::Objections, 1, 0, b"nonsense");
    assert_eq!(cluster.faults(0).len(), 1);
}

/// It is kept for as long as its session would have lived, and that one was used.
#[test]
fn a_change_is_a_use_where_the_other_copy_is_too() {
    let mut fellows = Fellows::of_three();
    let epoch = epoch(9, 1, THIRD);
    fellows.say(THIRD, &Frame::Copy(Copy { ttl_s: 3, ..copy(epoch) }));
    fellows.pass(millis(2_000));
    let (sets, removes) = (pairs(&[]), Attributes::default());
    fellows.say(THIRD, &Frame::Change(Change { id: ID, epoch, version: 6, token: 0, whole: false, sets, removes }));
    fellows.comes_back(13, &[PEER, ME]);
    fellows.pass(millis(2_500));
    assert_eq!(fellows.role(), Some(Role::Orphan));
    fellows.pass(millis(2_500));
    assert_eq!(fellows.role(), None);
}
