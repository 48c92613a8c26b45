//! Where members go that do not hear whom they must hear, and by which way others are reached meanwhile (R15, V8).

use crate::stage::{FIFTH, FRESH, ME, NOW, PEER, Stage, THIRD, address, in_groups, view};
use decurion::core::Event;
use decurion::types::{Incarnation, Micros, millis};
use decurion::wire::control::{Control, Observation, Purpose, Routed, Sight};

/// Between two heartbeats.
const BEAT: Micros = millis(250);
/// What is borne.
const SILENCE: Micros = millis(1_500);
/// A link was missed for so many milliseconds: longer than is borne.
const LONG: u64 = 2_000;

/// Members in these groups, the first of whom coordinates.
fn among(members: &[Incarnation], groups: &[u16]) -> Stage {
    Stage::within(&in_groups(view(11, members), groups), |setup| setup.refusal_proves_death = false)
}

/// All others live for so long, and answer a dial; of some pairs the first tells again and again that it misses the second.
fn miss(stage: &mut Stage, pairs: &[(Incarnation, Incarnation)], time: Micros) {
    let others: Vec<Incarnation> = stage.conns.keys().copied().collect();
    let until = stage.now + time;
    loop {
        others.iter().for_each(|who| stage.beat(*who));
        for (observer, subject) in pairs {
            stage.observe(*observer, *subject, Sight::Silent, LONG);
            answer_dial(stage, *subject);
        }
        if stage.now >= until {
            return;
        }
        stage.pass(BEAT);
    }
}

fn answer_dial(stage: &mut Stage, who: Incarnation) {
    if stage.dials.iter().any(|(_, to)| *to == address(who)) {
        stage.answer(address(who), who, None, false);
        stage.dials.retain(|(_, to)| *to != address(who));
    }
}

/// Who of these is asked to take part in the change that has begun.
fn asked(stage: &mut Stage, among: &[Incarnation]) -> Vec<Incarnation> {
    stage.pass(millis(10));
    among.iter().copied().filter(|who| stage.prepared(*who).is_some()).collect()
}

/// Plays a change to its end; who leads each of these in the view that follows.
fn led(stage: &mut Stage, others: &[Incarnation]) -> Vec<(Incarnation, Incarnation)> {
    stage.pass(millis(10));
    let vote = stage.all_go_along(others, |_, promise| promise);
    others.iter().for_each(|who| stage.say(*who, &Control::Accepted(vote)));
    let (view, _) = stage.member.view().expect("in a view");
    assert_eq!(view.id.number, 12);
    let leader = |who: &Incarnation| view.members[view.leader_of(view.index_of(*who).expect("it stays"))].incarnation;
    others.iter().map(|who| (*who, leader(who))).collect()
}

#[test]
fn of_two_leaders_that_do_not_hear_each_other_the_junior_moves_once_it_has_lasted() {
    let mut stage = among(&[ME, PEER, THIRD], &[0, 1, 2]);
    miss(&mut stage, &[(PEER, THIRD)], SILENCE - BEAT);
    assert_eq!(asked(&mut stage, &[PEER, THIRD]), [], "it may be over soon");
    miss(&mut stage, &[(PEER, THIRD)], BEAT);
    assert_eq!(led(&mut stage, &[PEER, THIRD]), [(PEER, PEER), (THIRD, ME)]);
}

#[test]
fn who_has_fewer_links_moves_also_if_it_is_the_senior() {
    let mut stage = among(&[ME, PEER, THIRD, FRESH], &[0, 1, 2, 3]);
    miss(&mut stage, &[(THIRD, PEER), (FRESH, PEER)], SILENCE);
    let moved = led(&mut stage, &[PEER, THIRD, FRESH]);
    assert_eq!(moved, [(PEER, ME), (THIRD, THIRD), (FRESH, FRESH)]);
}

#[test]
fn a_link_to_one_that_goes_is_not_missed() {
    let mut stage = among(&[ME, PEER, THIRD, FRESH], &[0, 1, 2, 3]);
    miss(&mut stage, &[(THIRD, PEER)], SILENCE - BEAT);
    miss(&mut stage, &[(FRESH, PEER)], 0);
    stage.pass(BEAT);
    stage.observe(PEER, FRESH, Sight::Faulty, 0);
    stage.observe(THIRD, PEER, Sight::Silent, LONG);
    assert_eq!(led(&mut stage, &[PEER, THIRD]), [(PEER, PEER), (THIRD, ME)]);
}

/// The coordinator does not listen to it: its answer to a dial counts.
#[test]
fn a_member_that_its_leader_does_not_hear_moves_to_one_that_does() {
    let mut stage = among(&[ME, PEER, THIRD, FRESH], &[0, 1, 1, 1]);
    miss(&mut stage, &[(PEER, FRESH)], SILENCE);
    let moved = led(&mut stage, &[PEER, THIRD, FRESH]);
    assert_eq!(moved, [(PEER, PEER), (THIRD, PEER), (FRESH, ME)]);
}

/// It could not be told where it moves.
#[test]
fn whom_the_coordinator_does_not_hear_either_goes_though_another_leader_hears_it() {
    let mut stage = among(&[ME, PEER, THIRD, FRESH, FIFTH], &[0, 1, 1, 1, 2]);
    for _ in 0..=SILENCE / BEAT {
        [PEER, THIRD, FIFTH].iter().for_each(|who| stage.beat(*who));
        stage.observe(FIFTH, FRESH, Sight::Alive, 0);
        stage.observe(PEER, FRESH, Sight::Silent, LONG);
        stage.pass(BEAT);
    }
    assert_eq!(asked(&mut stage, &[PEER, THIRD, FRESH, FIFTH]), [PEER, THIRD, FIFTH]);
}

#[test]
fn a_leader_that_another_one_does_not_hear_stays_in_its_group_if_its_deputy_hears_all() {
    for hears in [true, false] {
        let mut stage = among(&[ME, PEER, THIRD, FRESH, FIFTH], &[0, 1, 2, 2, 0]);
        // The coordinator has looked at the deputy, as somebody asked for it.
        stage.say(PEER, &Control::Ask(FRESH));
        answer_dial(&mut stage, FRESH);
        miss(&mut stage, &[(PEER, THIRD)], SILENCE - BEAT);
        let asks = |control: &Control| *control == Control::Ask(PEER);
        assert!(stage.heard(FRESH).iter().any(asks), "nobody knows whether it could lead");
        stage.say(PEER, &Control::Ask(FRESH));
        answer_dial(&mut stage, FRESH);
        if hears {
            stage.observe(FRESH, PEER, Sight::Alive, 0);
        }
        miss(&mut stage, &[(PEER, THIRD)], BEAT);
        let moved = led(&mut stage, &[PEER, THIRD, FRESH, FIFTH]);
        assert_eq!(moved[1], (THIRD, if hears { FRESH } else { ME }), "{moved:?}");
    }
}

// Who coordinates.

/// Who coordinates is moved by the next one, who acts: half of the members or more do not hear it.
#[test]
fn a_coordinator_that_half_of_the_members_do_not_hear_moves() {
    let mut stage = among(&[PEER, ME, THIRD, FRESH], &[0, 1, 2, 3]);
    miss(&mut stage, &[(THIRD, PEER), (FRESH, PEER)], SILENCE);
    let moved = led(&mut stage, &[PEER, THIRD, FRESH]);
    assert_eq!(moved, [(PEER, ME), (THIRD, THIRD), (FRESH, FRESH)]);
}

#[test]
fn a_coordinator_that_has_stepped_back_moves_if_it_has_fewer_links() {
    let mut stage = among(&[PEER, ME, THIRD, FRESH, FIFTH], &[0, 1, 2, 3, 4]);
    stage.observe(PEER, PEER, Sight::Silent, 0);
    miss(&mut stage, &[(THIRD, PEER), (FRESH, PEER)], BEAT * 3);
    stage.observe(PEER, PEER, Sight::Silent, 0);
    miss(&mut stage, &[(THIRD, PEER), (FRESH, PEER)], SILENCE - BEAT * 3);
    let moved = led(&mut stage, &[PEER, THIRD, FRESH, FIFTH]);
    assert_eq!(moved, [(PEER, ME), (THIRD, THIRD), (FRESH, FRESH), (FIFTH, FIFTH)]);
}

/// Two that are senior have stepped back; of these one is not heard here any more, though the other one hears it.
#[test]
fn who_acts_for_others_does_not_go_itself() {
    let mut stage = among(&[PEER, THIRD, ME], &[0, 1, 2]);
    while !stage.events.iter().any(|event| matches!(event, Event::Transition { .. })) {
        [PEER, THIRD].iter().for_each(|who| stage.observe(*who, *who, Sight::Silent, 0));
        stage.beat(PEER);
        stage.observe(PEER, THIRD, Sight::Alive, 0);
        assert!(stage.now.since(NOW) < SILENCE * 4, "nobody goes");
        stage.pass(BEAT / 5);
    }
    let vote = stage.all_go_along(&[PEER], |_, promise| promise);
    stage.say(PEER, &Control::Accepted(vote));
    let (view, _) = stage.member.view().expect("in a view");
    let members: Vec<Incarnation> = view.members.iter().map(|member| member.incarnation).collect();
    assert_eq!(members, [PEER, ME]);
}

/// Whether this member takes a newcomer's wish for its own, rather than to pass it on.
fn acts(stage: &mut Stage) -> bool {
    stage.wish(FIFTH, &[]);
    !stage.words.iter().any(|(_, word)| matches!(word, Control::Join(_)))
}

#[test]
fn a_coordinator_is_cut_off_only_while_half_of_the_members_say_that_they_have_missed_it_for_long() {
    let told = |amounts: [u64; 2], wait: Micros| {
        let mut stage = among(&[PEER, ME, THIRD, FRESH], &[0, 0, 0, 0]);
        stage.observe(THIRD, PEER, Sight::Silent, amounts[0]);
        stage.observe(FRESH, PEER, Sight::Silent, amounts[1]);
        stage.dials.clear();
        let others = [PEER, THIRD, FRESH];
        for _ in 0..wait / BEAT {
            others.iter().for_each(|who| stage.beat(*who));
            stage.pass(BEAT);
        }
        others.iter().for_each(|who| stage.beat(*who));
        acts(&mut stage)
    };
    assert!(told([LONG, LONG], 0));
    assert!(told([LONG, LONG], SILENCE - BEAT));
    assert!(!told([LONG, LONG], SILENCE), "that was long ago");
    assert!(!told([LONG, 1_000], 0), "only one has missed it for as long as is borne");
}

// The way meanwhile.

/// A leader has a connection to the leader of another group and none to the member behind it. Whether that one is asked through its
/// leader to promise, some time after somebody has told something of somebody.
fn behind(told: Option<(Incarnation, Incarnation, Sight)>, wait: Micros) -> bool {
    let first = in_groups(view(11, &[ME, PEER, THIRD]), &[0, 1, 1]);
    let mut stage = Stage::new(|setup| setup.refusal_proves_death = false);
    stage.connect(PEER, Purpose::Link);
    stage.install(PEER, &first);
    if let Some((observer, subject, sight)) = told {
        let seen = Observation { subject, observer, sight, amount: 1_000 };
        let frame = Control::Observe(seen).encode();
        stage.say(PEER, &Control::Routed(Routed { from: observer, to: ME, frame }));
        answer_dial(&mut stage, subject);
    }
    for _ in 0..wait / BEAT {
        stage.beat(PEER);
        stage.pass(BEAT);
    }
    stage.heard(PEER);
    stage.wish(FRESH, &[]);
    stage.pass(millis(10));
    let prepared = |word: &Control| match word {
        Control::Routed(Routed { to, frame, .. }) => {
            *to == THIRD && matches!(Control::decode(frame), Ok(Control::Prepare(_)))
        }
        _ => false,
    };
    stage.heard(PEER).iter().any(prepared)
}

#[test]
fn a_word_goes_through_a_leader_unless_that_one_and_the_member_have_lately_missed_each_other() {
    assert!(behind(None, 0));
    assert!(!behind(Some((PEER, THIRD, Sight::Silent)), 0));
    assert!(behind(Some((PEER, THIRD, Sight::Alive)), 0));
    assert!(!behind(Some((PEER, THIRD, Sight::Silent)), SILENCE - BEAT));
    assert!(behind(Some((PEER, THIRD, Sight::Silent)), SILENCE), "that was long ago");
    assert!(!behind(Some((THIRD, PEER, Sight::Silent)), 0), "the other way round");
}
