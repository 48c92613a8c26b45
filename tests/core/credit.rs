//! Credit for windows goes round by frames (R25): what a member does whose fellows are played.

use crate::stage::{ME, PEER, Stage, THIRD, view};
use decurion::core::Outbox;
use decurion::types::{Incarnation, millis};
use decurion::wire::control::{Control, Credit};

const WINDOW: usize = 300_000;
const RESERVED: usize = 20_000;
/// What is left for credit in a view of three.
const POOL: u64 = (WINDOW - 3 * RESERVED) as u64;

/// In a view of three, the first of whom leads the others.
fn led_by_the_first_of(members: &[Incarnation]) -> (Stage, u64) {
    let stage = Stage::within(&view(11, members), |setup| {
        (setup.window_bytes, setup.window_reserved_bytes) = (WINDOW, RESERVED);
    });
    let tag = stage.member.view().expect("in a view").0.tag();
    (stage, tag)
}

/// The credit that is granted by what was said, wanted back by it, or given back.
fn credit(words: &[Control]) -> Vec<(&'static str, u64)> {
    let known = words.iter().filter_map(|control| match control {
        Control::CreditGrant(credit) => Some(("granted", credit.bytes)),
        Control::CreditRecall(_) => Some(("recalled", 0)),
        Control::CreditReturn(credit) => Some(("returned", credit.bytes)),
        _ => None,
    });
    known.collect()
}

#[test]
fn a_leader_wants_credit_back_for_who_waits_and_passes_on_what_comes() {
    let (mut stage, tag) = led_by_the_first_of(&[ME, PEER, THIRD]);
    let want = Control::CreditWant(Credit { tag, bytes: POOL });
    stage.say(PEER, &want);
    assert_eq!(credit(&stage.heard(PEER)), [("granted", POOL)]);
    stage.say(THIRD, &want);
    assert_eq!(credit(&stage.heard(THIRD)), [], "all of it is with the other one");
    assert_eq!(credit(&stage.heard(PEER)), [("recalled", 0)]);
    stage.pass(millis(250));
    assert!(credit(&stage.heard(PEER)).contains(&("recalled", 0)), "it is asked as long as somebody waits");
    stage.say(PEER, &Control::CreditReturn(Credit { tag: tag ^ 1, bytes: POOL }));
    assert_eq!(credit(&stage.heard(THIRD)), [], "that was said in another view");
    stage.say(PEER, &Control::CreditReturn(Credit { tag, bytes: POOL / 2 }));
    assert_eq!(credit(&stage.heard(THIRD)), [("granted", POOL / 2)]);
}

#[test]
fn a_member_gives_half_of_its_credit_back_when_it_is_recalled() {
    let (mut stage, tag) = led_by_the_first_of(&[PEER, ME, THIRD]);
    let recall = Control::CreditRecall(Credit { tag, bytes: 0 });
    stage.say(PEER, &recall);
    assert_eq!(credit(&stage.heard(PEER)), [], "it has none");
    stage.say(PEER, &Control::CreditGrant(Credit { tag: tag ^ 1, bytes: 8_000 }));
    stage.say(PEER, &Control::CreditGrant(Credit { tag, bytes: 6_000 }));
    stage.say(PEER, &recall);
    assert_eq!(credit(&stage.heard(PEER)), [("returned", 3_000)]);
    // More credit asks for a turn in which what waits is taken.
    stage.member.exchange(stage.now, &mut Outbox::new(WINDOW, WINDOW));
    stage.pass(millis(1_000));
    assert_eq!(credit(&stage.heard(PEER)), [("returned", 6_000)], "it sends nothing: the rest is of no use to it");
}

#[test]
fn what_was_granted_or_given_back_is_told_again_over_a_new_link() {
    let (mut leader, tag) = led_by_the_first_of(&[ME, PEER, THIRD]);
    let want = Control::CreditWant(Credit { tag, bytes: POOL });
    leader.say(PEER, &want);
    leader.renew_link(PEER);
    assert_eq!(credit(&leader.heard(PEER)), [("granted", POOL)], "it may be lost");
    leader.say(PEER, &Control::CreditReturn(Credit { tag, bytes: POOL }));
    leader.say(PEER, &want);
    assert_eq!(credit(&leader.heard(PEER)), [("granted", 2 * POOL)], "in all");
    leader.say(PEER, &Control::CreditReturn(Credit { tag, bytes: POOL }));
    leader.say(THIRD, &want);
    assert_eq!(credit(&leader.heard(THIRD)), [], "what is said again gives nothing back");

    let (mut member, tag) = led_by_the_first_of(&[PEER, ME, THIRD]);
    member.say(PEER, &Control::CreditGrant(Credit { tag, bytes: 6_000 }));
    member.say(PEER, &Control::CreditGrant(Credit { tag, bytes: 6_000 }));
    member.say(THIRD, &Control::CreditGrant(Credit { tag, bytes: 9_000 }));
    assert_eq!(member.member.stats().credit_bytes, 6_000, "that is all, and nobody else grants");
    member.say(PEER, &Control::CreditRecall(Credit { tag, bytes: 0 }));
    member.renew_link(PEER);
    assert_eq!(credit(&member.heard(PEER)), [("returned", 3_000)], "it may be lost");
}
