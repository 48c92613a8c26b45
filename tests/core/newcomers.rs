//! What becomes of newcomers that wait together, and who takes them.

use crate::stage::{FIFTH, FRESH, ME, PEER, Stage, THIRD, address, patient, promise, view};
use decurion::types::{Incarnation, Name, millis};
use decurion::wire::control::{Control, Join, Observation, Prepare, Purpose, Sight, Vote};

pub fn wish(stage: &mut Stage, who: Incarnation, under: &str) {
    stage.connect(who, Purpose::Join);
    let join = Join { name: Name::new(under), incarnation: who, address: address(who), unheard: Vec::new() };
    stage.say(who, &Control::Join(join));
}

/// What else would be two members of one name, which nothing could tell apart by it ever after.
#[test]
fn of_two_newcomers_of_one_name_that_come_together_only_one_is_admitted() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    for who in [FRESH, FIFTH] {
        wish(&mut stage, who, "x");
    }
    stage.pass(millis(20));
    let begun = [PEER, FRESH, FIFTH].into_iter().filter_map(|who| Some((who, stage.prepared(who)?)));
    let begun: Vec<_> = begun.collect();
    for (who, prepare) in &begun {
        stage.say(*who, &Control::Promise(promise(prepare)));
    }
    let Prepare { number, ballot, .. } = begun[0].1;
    stage.say(PEER, &Control::Held(Vote { number, ballot }));
    begun.iter().for_each(|(who, _)| stage.say(*who, &Control::Accepted(Vote { number, ballot })));
    let (view, _) = stage.member.view().expect("it is in one");
    assert_eq!(view.members.iter().filter(|m| m.name.as_str() == "x").count(), 1);
}

#[test]
fn who_has_stepped_back_in_one_view_may_coordinate_the_next_one_at_once() {
    let mut stage = Stage::within(&view(11, &[PEER, ME, THIRD]), patient);
    let steps_back = Observation { subject: PEER, observer: PEER, sight: Sight::Silent, amount: 0 };
    stage.say(PEER, &Control::Observe(steps_back));
    let passed_on = |stage: &mut Stage| stage.heard(PEER).iter().any(|word| matches!(word, Control::Join(_)));
    stage.wish(FRESH, &[]);
    assert!(!passed_on(&mut stage), "another one coordinates meanwhile");
    stage.install(PEER, &view(12, &[PEER, ME, THIRD]));
    stage.wish(FRESH, &[]);
    assert!(passed_on(&mut stage));
}
