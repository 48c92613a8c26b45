//! How a cluster is found and asked for admission, what follows when nobody admits, and when one is formed (R20).

use std::net::{IpAddr, SocketAddr};

use crate::stage::{FRESH, ME, NOW, PEER, Stage, THIRD, address, patient, seed, summary, view};
use crate::support::hello;
use decurion::core::{CloseCause, Ended, Event, Input, MinorityPolicy, Seed, Setup};
use decurion::types::{Incarnation, Micros, Name, millis};
use decurion::wire::control::{Control, Hello, Join, Purpose, RefusalCode, Refuse, ViewSummary};

/// How long a search waits for others before it forms a view, once it knows of every seed what is there.
pub const FORM_WAIT: Micros = millis(500);
/// How long the leaders of a cluster have to answer.
const LEADERS_ANSWER: Micros = millis(250);
/// When a seed that did not answer is dialled again.
const REDIAL: Micros = millis(250);
/// Step of a search.
pub const STEP: Micros = millis(50);
pub const MOMENT: Micros = millis(1);

/// What those say who are in a view that one coordinates.
pub fn of(coordinator: Incarnation) -> ViewSummary {
    ViewSummary { members: 3, ..summary(&view(11, &[coordinator])) }
}

/// Somebody at the seed has answered and named who coordinates, who has dialled this member before.
fn found(change: impl Fn(&mut Setup)) -> Stage {
    let mut stage = Stage::new(|setup| {
        patient(setup);
        change(setup);
    });
    stage.connect(PEER, Purpose::Link);
    greet(&mut stage, PEER);
    stage
}

/// Somebody at the seed answers, and names who coordinates.
fn greet(stage: &mut Stage, coordinator: Incarnation) {
    let conn = stage.answer(seed(), THIRD, Some(of(coordinator)), false);
    stage.conns.insert(THIRD, conn);
}

pub fn dialled(stage: &Stage, at: SocketAddr) -> bool {
    stage.dials.iter().any(|(_, to)| *to == at)
}

/// What whoever coordinates was asked since the last look.
fn wishes(stage: &mut Stage) -> Vec<Join> {
    let wish = |word| match word {
        Control::Join(join) => Some(join),
        _ => None,
    };
    stage.heard(PEER).into_iter().filter_map(wish).collect()
}

// Admission.

#[test]
fn admission_is_asked_for_ten_times_ever_more_rarely_and_then_all_who_are_in_a_view_are_greeted_anew() {
    let mut stage = found(|_| {});
    let mut times = Vec::new();
    while !stage.closed.contains(&stage.conns[&THIRD]) {
        if !wishes(&mut stage).is_empty() {
            times.push(stage.now.since(NOW) / 1_000);
        }
        assert!(stage.now < NOW + millis(5_000), "it asks for ever: {times:?}");
        stage.pass(STEP);
    }
    assert_eq!(times, [0, 50, 150, 350, 750, 1_150, 1_550, 1_950, 2_350, 2_750]);
    assert!(stage.closed.contains(&stage.conns[&PEER]));
    assert_eq!(stage.now.since(NOW), millis(3_150));
}

/// Asked in vain of one, another one that somebody names goes first, but only once: there may be no other.
#[test]
fn whoever_was_asked_in_vain_is_passed_over_once() {
    let in_vain = || {
        let mut stage = found(|_| {});
        stage.dials.clear();
        stage.pass(millis(3_500));
        assert!(dialled(&stage, seed()), "nobody is greeted anew");
        stage
    };
    let mut stage = in_vain();
    greet(&mut stage, FRESH);
    assert!(dialled(&stage, address(FRESH)));

    let mut stage = in_vain();
    greet(&mut stage, PEER);
    stage.pass(millis(300));
    assert!(!dialled(&stage, address(PEER)), "another one may be named");
    stage.tell(Input::Closed(stage.conns[&THIRD], CloseCause::Peer));
    stage.pass(millis(300));
    greet(&mut stage, PEER);
    assert!(dialled(&stage, address(PEER)), "it is the only one");
}

#[test]
fn who_loses_the_one_that_it_asked_greets_the_others_anew_and_asks_whom_they_name_now() {
    let mut stage = found(|_| {});
    stage.dials.clear();
    stage.tell(Input::Closed(stage.conns[&PEER], CloseCause::Peer));
    stage.pass(STEP);
    assert!(stage.closed.contains(&stage.conns[&THIRD]), "it cannot say whom to ask now");
    stage.pass(millis(300));
    assert!(dialled(&stage, seed()));
    greet(&mut stage, FRESH);
    assert!(dialled(&stage, address(FRESH)));
}

/// What it is like there may have changed since it was greeted.
#[test]
fn who_is_refused_for_now_greets_whoever_coordinates_anew() {
    let mut stage = found(|_| {});
    stage.say(PEER, &Control::Refuse(Refuse { code: RefusalCode::Busy, text: "not now".to_owned() }));
    assert!(stage.closed.contains(&stage.conns[&PEER]));
    assert_eq!(stage.member.ended(), None);
    stage.pass(STEP);
    assert!(dialled(&stage, address(PEER)));
}

#[test]
fn a_name_that_is_taken_ends_the_search_only_when_its_holder_had_the_time_to_die() {
    let ends = |code: RefusalCode, wait: Micros| {
        let mut stage = Stage::new(|_| {});
        stage.pass(wait);
        stage.connect(PEER, Purpose::Link);
        greet(&mut stage, PEER);
        stage.say(PEER, &Control::Refuse(Refuse { code, text: "no".to_owned() }));
        stage.member.ended().is_some()
    };
    assert!(!ends(RefusalCode::NameTaken, millis(4_499)));
    assert!(ends(RefusalCode::NameTaken, millis(4_500)));
    assert!(!ends(RefusalCode::Busy, millis(5_000)));
    assert!(ends(RefusalCode::Settings, 0));
}

#[test]
fn leaders_that_do_not_answer_in_time_are_told_with_the_wish() {
    let mut stage = Stage::new(patient);
    stage.connect(PEER, Purpose::Link);
    let leaders = [PEER, THIRD, FRESH].map(|who| (who, address(who))).into();
    stage.answer(seed(), THIRD, Some(ViewSummary { leaders, ..of(PEER) }), false);
    stage.answer(address(PEER), PEER, Some(of(PEER)), false);
    stage.pass(LEADERS_ANSWER - MOMENT);
    assert_eq!(wishes(&mut stage), []);
    stage.pass(MOMENT);
    let wishes = wishes(&mut stage);
    assert_eq!(wishes.iter().map(|wish| wish.unheard.clone()).collect::<Vec<_>>(), [[FRESH]]);
}

#[test]
fn who_cannot_reach_whoever_coordinates_greets_the_others_anew() {
    let mut stage = Stage::new(patient);
    stage.tell(Input::Wake);
    let greeter = stage.answer(seed(), THIRD, Some(ViewSummary { address: seed(), ..of(PEER) }), false);
    let (dial, to) = *stage.dials.last().expect("it is asked for admission");
    assert_eq!(to, seed());
    stage.tell(Input::Closed(dial, CloseCause::Failed));
    stage.pass(STEP);
    assert!(stage.closed.contains(&greeter));
}

/// It answers nobody, and the view goes on without it.
#[test]
fn who_finds_a_former_life_of_its_own_to_coordinate_asks_whoever_named_it() {
    let mut stage = Stage::new(patient);
    stage.tell(Input::Wake);
    let greeter = stage.answer(seed(), THIRD, Some(ViewSummary { address: address(ME), ..of(PEER) }), false);
    stage.pass(STEP);
    assert!(stage.words.iter().any(|(to, word)| *to == greeter && matches!(word, Control::Join(_))));
}

/// It was admitted and has not heard of it, all others wait for it to coordinate, and have dialled it for that: it would never dial them.
#[test]
fn who_is_dialled_by_members_of_a_view_asks_one_of_them_for_admission() {
    let mut stage = Stage::new(patient);
    let conn = stage.member.accept(stage.now, address(PEER)).expect("a stranger is welcome");
    stage.conns.insert(PEER, conn);
    let view = Some(ViewSummary { address: address(ME), ..of(ME) });
    let greeting = hello("test", "peer", (PEER, address(PEER)), Purpose::Link);
    stage.say(PEER, &Control::Hello(Hello { view, ..greeting }));
    stage.pass(STEP);
    assert!(!wishes(&mut stage).is_empty());
}

#[test]
fn a_refusal_for_now_is_told_to_the_host_once() {
    let mut stage = Stage::new(patient);
    stage.tell(Input::Wake);
    for (text, told) in [("not now", 1), ("not now", 1), ("later", 2)] {
        let (dial, _) = stage.dials.pop().expect("it is dialled again");
        stage.tell(Input::Connected(dial));
        stage.say_over(dial, &Control::Refuse(Refuse { code: RefusalCode::Busy, text: text.to_owned() }));
        let notes = |event: &&Event| matches!(event, Event::Note { level: 2, text } if text.contains("refused by"));
        assert_eq!(stage.events.iter().filter(notes).count(), told, "{text}");
        stage.pass(REDIAL);
    }
}

/// The cause is most likely its own address, if the seeds are elsewhere.
#[test]
fn who_finds_no_view_is_told_at_which_address_others_look_for_it() {
    let why = |found: &str| {
        let mut stage = Stage::new(|setup| {
            setup.join_timeout = millis(1_000);
            setup.form_wait = millis(10_000);
            setup.seeds = vec![Seed { name: None, host: "host".to_owned(), port: 7_100 }];
        });
        stage.tell(Input::Wake);
        let found = SocketAddr::new(found.parse().unwrap(), 7_100);
        stage.tell(Input::Resolved { host: "host".to_owned(), addresses: vec![found] });
        stage.pass(millis(1_100));
        match stage.member.ended() {
            Some(Ended::JoinTimeout(why)) => Some(why.clone()),
            _ => None,
        }
    };
    let text = why("10.0.0.1").expect("it gives up");
    assert!(text.contains("host:7100; this member is at 127.0.0.1:7001, where no other machine reaches it"), "{text}");
    assert!(text.contains("set node.bind"), "{text}");
    assert!(why("127.0.0.1").expect("it gives up").ends_with("host:7100; this member is at 127.0.0.1:7001"));
}

#[test]
fn a_seed_that_does_not_answer_is_dialled_four_times_a_second() {
    let mut stage = Stage::new(patient);
    stage.tell(Input::Wake);
    let mut times = Vec::new();
    while stage.now < NOW + REDIAL * 4 {
        for (dial, _) in std::mem::take(&mut stage.dials) {
            times.push(stage.now.since(NOW));
            stage.tell(Input::Closed(dial, CloseCause::Failed));
        }
        stage.pass(MOMENT);
    }
    assert_eq!(times, [0, REDIAL, REDIAL * 2, REDIAL * 3]);
}

/// After many changes nothing would be left for those that lead somewhere (V4, M1).
#[test]
fn what_a_seed_led_to_before_its_name_was_looked_up_again_is_not_dialled_any_more() {
    let mut stage = Stage::new(|setup| {
        patient(setup);
        setup.seeds = vec![Seed { name: None, host: "seeds".to_owned(), port: 7_100 }];
    });
    let mut moves = |found: &[SocketAddr], there: &[Incarnation]| {
        fail_all(&mut stage);
        stage.tell(Input::Resolved { host: "seeds".to_owned(), addresses: found.to_vec() });
        let mut dialled = Vec::new();
        for _ in 0..3 {
            stage.pass(REDIAL);
            dialled.extend(fail_all(&mut stage));
        }
        dialled.sort_unstable();
        dialled.dedup();
        assert_eq!(dialled, there.iter().map(|who| at_host(*who).ip()).collect::<Vec<_>>());
    };
    moves(&[at_host(PEER), at_host(THIRD)], &[PEER, THIRD]);
    moves(&[at_host(THIRD), at_host(FRESH)], &[THIRD, FRESH]);
    moves(&[], &[THIRD, FRESH]);
}

/// No dial comes up; to where those were that were under way.
fn fail_all(stage: &mut Stage) -> Vec<IpAddr> {
    let dials = std::mem::take(&mut stage.dials);
    dials.iter().for_each(|(dial, _)| stage.tell(Input::Closed(*dial, CloseCause::Failed)));
    dials.into_iter().map(|(_, to)| to.ip()).collect()
}

/// Each on a machine of its own.
fn at_host(who: Incarnation) -> SocketAddr {
    SocketAddr::from(([127, 0, 1, who.0 as u8], 0))
}

// Forming.

pub fn at(address: SocketAddr, name: Option<&str>) -> Seed {
    Seed { name: name.map(Name::new), host: address.ip().to_string(), port: address.port() }
}

/// One at whose address others look, too, and what came of its dial to the other seed.
fn forming(outcome: impl Fn(&mut Stage)) -> Stage {
    let mut stage = Stage::new(|setup| {
        patient(setup);
        setup.seeds = vec![at(address(ME), None), at(seed(), None)];
    });
    stage.tell(Input::Wake);
    outcome(&mut stage);
    stage
}

/// When it has formed a view, counted from the start.
fn formed(mut stage: Stage) -> Option<Micros> {
    while stage.view().is_none() && stage.now < NOW + millis(5_000) {
        stage.pass(MOMENT);
    }
    stage.view().map(|_| stage.now.since(NOW))
}

#[test]
fn who_finds_nobody_forms_a_view_later_if_a_seed_may_still_answer() {
    let refused = |stage: &mut Stage| stage.tell(Input::Closed(stage.dials[0].0, CloseCause::Failed));
    assert_eq!(formed(forming(refused)), Some(FORM_WAIT));
    assert_eq!(formed(forming(|_| {})), Some(FORM_WAIT * 4));
}

#[test]
fn who_is_itself_behind_its_only_seed_forms_a_view() {
    let mut stage = Stage::new(patient);
    stage.tell(Input::Wake);
    let conn = stage.answer(seed(), ME, None, false);
    assert!(stage.closed.contains(&conn));
    assert_eq!(formed(stage), Some(FORM_WAIT));
}

/// It waits to be admitted, and would be in a view beside that one.
#[test]
fn nobody_forms_a_view_who_knows_of_one() {
    let mut stage = found(|setup| setup.seeds.push(at(address(ME), Some("me"))));
    stage.pass(millis(3_000));
    assert_eq!(stage.view(), None);
    assert_eq!(wishes(&mut stage).len(), 10);
}

// Voters.

fn voting(setup: &mut Setup, names: &[&str]) {
    patient(setup);
    setup.seeds = vec![at(seed(), None)];
    setup.voters = names.iter().map(|name| Name::new(name)).collect();
}

/// Whether one that has found another starter begins to form a view with it, which has a majority.
fn begins(change: impl Fn(&mut Setup)) -> bool {
    let mut stage = Stage::new(change);
    stage.connect(PEER, Purpose::Join);
    stage.pass(millis(10_000));
    assert_eq!(stage.view(), None);
    stage.prepared(PEER).is_some()
}

#[test]
fn only_voters_that_are_there_under_their_names_and_addresses_form_a_view() {
    assert!(begins(|setup| voting(setup, &["me", "peer", "third"])));
    assert!(!begins(|setup| voting(setup, &["me", "third", "fresh"])), "the other one is no voter");
    assert!(!begins(|setup| voting(setup, &["me", "peer", "third", "fresh"])), "that is half of them");
    for elsewhere in ["me", "peer"] {
        let listed = begins(|setup| {
            voting(setup, &["me", "peer", "third"]);
            setup.seeds.push(at(address(FRESH), Some(elsewhere)));
        });
        assert!(!listed, "{elsewhere} is another one, by the list");
    }
}

/// The links of the smaller one may not do, or its host may keep it back (V4).
#[test]
fn forming_is_left_to_a_smaller_name_for_twice_as_long_as_a_majority_needs() {
    let mut stage = Stage::new(|setup| voting(setup, &["fresh", "me", "peer", "third"]));
    [FRESH, PEER].iter().for_each(|starter| stage.connect(*starter, Purpose::Join));
    let (rested, patience) = (millis(1_500), 2 * (FORM_WAIT + millis(1_500)));
    stage.pass(rested + patience - STEP);
    assert_eq!(stage.prepared(PEER), None);
    stage.pass(STEP * 2);
    assert!(stage.prepared(PEER).is_some() && stage.prepared(FRESH).is_some());
}

/// Somebody may still hold a lease that this process has forgotten.
#[test]
fn a_minority_that_serves_waits_for_longer_than_a_lease() {
    let mut stage = Stage::new(|setup| {
        voting(setup, &["me", "peer", "third"]);
        setup.minority = MinorityPolicy::Serve;
    });
    stage.tell(Input::Wake);
    assert_eq!(formed(stage), Some(FORM_WAIT + millis(1_200 + 300)));
}
