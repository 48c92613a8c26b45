//! Members of other views: who goes over to them and who stays, who is told, and where the lost are looked for (V4, R23).

use std::net::SocketAddr;

use crate::stage::{FRESH, ME, PEER, Stage, THIRD, address, fenced, in_groups, patient, seed, summary, view};
use decurion::core::{CloseCause, Event, Input, Multicast, Received, Seed, Setup};
use decurion::types::{Incarnation, Micros, Name, Time, millis};
use decurion::wire::Proposal;
use decurion::wire::cast::{self, Beacon};
use decurion::wire::control::{Control, Expelled, Purpose, Routed, ViewSummary};
use decurion::wire::datagram::{Datagram, LeaseRound};

/// How long a view must have stood before it is given up for another one.
const SETTLED: Micros = millis(1_000);
/// How often those that were lost are looked for.
const LOOK: Micros = millis(1_000);
const LEASE: Micros = millis(1_200);
const MOMENT: Micros = millis(1);

fn voting(names: &[&str]) -> impl Fn(&mut Setup) {
    move |setup| {
        patient(setup);
        setup.voters = names.iter().map(|name| Name::new(name)).collect();
    }
}

/// Another part, of so many members that nobody here knows.
fn part(number: u64, members: u32) -> ViewSummary {
    ViewSummary { members, ..summary(&view(number, &[FRESH])) }
}

/// Meets somebody of another view at the address of the seed; whether the member stays in its own.
fn stays(stage: &mut Stage, theirs: ViewSummary) -> bool {
    stage.answer(seed(), FRESH, Some(theirs), false);
    stage.member.incarnation() == ME
}

/// One that coordinates a pair which has stood for long enough.
fn settled() -> Stage {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    stage.pass(SETTLED);
    stage
}

// Who gives way.

#[test]
fn of_two_unfenced_parts_the_smaller_one_gives_way_and_of_equal_ones_that_with_the_higher_id() {
    let lost = [(5, 1), (20, 1), (5, 2), (20, 2), (5, 3), (20, 3)].map(|(id, members)| {
        let mut stage = settled();
        !stays(&mut stage, part(id, members))
    });
    assert_eq!(lost, [false, false, true, false, true, true]);
}

#[test]
fn a_part_gives_way_only_when_it_has_stood_for_a_second() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    stage.pass(SETTLED - MOMENT);
    assert!(stays(&mut stage, part(20, 3)), "it has just been formed");
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    stage.pass(SETTLED);
    assert!(!stays(&mut stage, part(20, 3)));
}

#[test]
fn only_who_coordinates_gives_way_for_its_part() {
    let mut stage = Stage::within(&view(11, &[PEER, ME]), patient);
    stage.pass(SETTLED * 2);
    assert!(stays(&mut stage, part(20, 3)));
    assert!(!stage.words.iter().any(|(_, word)| matches!(word, Control::Expelled(_))));
}

#[test]
fn a_part_does_not_give_way_while_it_changes() {
    let mut stage = settled();
    stage.wish(THIRD, &[]);
    stage.pass(millis(10));
    assert!(stage.prepared(PEER).is_some());
    assert!(stays(&mut stage, part(20, 3)));
}

#[test]
fn who_stood_still_does_not_give_way_upon_what_it_hears_first() {
    let mut stage = settled();
    stage.now = stage.now + millis(1_000);
    assert!(stays(&mut stage, part(20, 3)), "others may have gone on, but in its own view");
}

/// Whom the coordinator comes upon may be any of its members, and need not be the one that has to give way.
#[test]
fn who_stays_looks_for_whoever_coordinates_the_other_part() {
    let mut stage = settled();
    let theirs = part(20, 1);
    assert!(stays(&mut stage, ViewSummary { coordinator: THIRD, address: address(THIRD), ..theirs }));
    stage.dials.clear();
    stage.pass(LOOK);
    assert!(stage.dials.iter().any(|(_, to)| *to == address(THIRD)));
}

#[test]
fn who_gives_way_tells_its_host_and_all_others_those_behind_a_leader_first() {
    let first = in_groups(view(11, &[ME, PEER, THIRD]), &[0, 1, 1]);
    let mut stage = Stage::new(patient);
    stage.connect(PEER, Purpose::Link);
    stage.install(PEER, &first);
    stage.pass(SETTLED);
    stage.heard(PEER);
    let theirs = part(20, 4);
    assert!(!stays(&mut stage, theirs.clone()));
    let told: Vec<Incarnation> = stage.heard(PEER).into_iter().filter_map(|word| gone(word, &theirs)).collect();
    assert_eq!(told, [THIRD, PEER], "the leader would be gone before it has passed it on");
    let notes = |event: &Event| matches!(event, Event::Note { level: 2, text } if text.contains("gives way"));
    assert!(stage.events.iter().any(notes));
    assert!(stage.events.iter().any(|event| matches!(event, Event::Expelled { view, .. } if *view == first.id)));
    stage.pass(millis(50));
    assert!(stage.dials.iter().any(|(_, to)| *to == theirs.address), "it joins whom it gave way to");
}

/// Whom such a word tells that its part has given way to this one.
fn gone(word: Control, to: &ViewSummary) -> Option<Incarnation> {
    match word {
        Control::Expelled(expelled) => (expelled.by == *to).then_some(expelled.incarnation),
        Control::Routed(Routed { frame, .. }) => gone(Control::decode(&frame).expect("legal"), to),
        _ => None,
    }
}

// Fenced parts.

/// Whoever coordinates this view grants a lease.
fn grant(stage: &mut Stage, from: Incarnation) {
    let view_tag = stage.heartbeat().view_tag;
    for (round, base_us, granted) in [(1, stage.now.0, 0), (2, 0, 1)] {
        stage.send(from, &Datagram::LeaseRound(LeaseRound { view_tag, round, base_us, granted }));
    }
}

/// Whoever does not coordinate does so too, and at once: the others have gone on, and nothing that it has counts any more.
#[test]
fn who_is_cut_off_in_a_fenced_view_goes_over_to_the_primary_one_and_to_no_other() {
    let cut_off = |ours: bool, lease: bool, theirs_fenced: bool, theirs_primary: bool| {
        let first = view(11, &[PEER, ME]);
        let mut stage = Stage::within(&if ours { fenced(first) } else { first }, patient);
        if lease {
            grant(&mut stage, PEER);
        }
        assert_eq!(stage.member.is_primary(stage.now), lease || !ours);
        !stays(&mut stage, ViewSummary { fenced: theirs_fenced, primary: theirs_primary, ..part(20, 3) })
    };
    assert!(cut_off(true, false, true, true));
    assert!(!cut_off(true, false, true, false), "that one cannot act either");
    assert!(!cut_off(true, false, false, true), "nobody has fenced that one");
    assert!(!cut_off(true, true, true, true), "it has its lease still");
    assert!(!cut_off(false, false, true, true), "it was never in a fenced view: its coordinator decides");
}

#[test]
fn of_two_fenced_parts_that_cannot_act_the_older_one_gives_way_when_it_has_had_no_lease_for_long() {
    let gives_way = |waited: Micros, id: u64, primary: bool| {
        let first = fenced(view(11, &[ME, PEER]));
        // The other one does not answer the rounds.
        let mut stage = Stage::within(&first, voting(&["me", "peer", "third"]));
        stage.pass(waited);
        assert!(!stage.member.is_primary(stage.now));
        !stays(&mut stage, ViewSummary { fenced: true, primary, ..part(id, 1) })
    };
    assert!(gives_way(LEASE * 2, 20, false));
    assert!(!gives_way(LEASE * 2, 5, false), "the other one does");
    assert!(!gives_way(LEASE * 2 - MOMENT, 20, false), "a lease may still come");
}

#[test]
fn a_fenced_part_never_gives_way_to_an_unfenced_one_and_an_unfenced_one_always_to_a_fenced_one() {
    let gives_way = |ours: bool, theirs: bool| {
        let first = view(11, &[ME, PEER]);
        let mut stage = Stage::within(&if ours { fenced(first) } else { first }, patient);
        stage.pass(SETTLED);
        !stays(&mut stage, ViewSummary { fenced: theirs, primary: !theirs, ..part(5, if theirs { 1 } else { 9 }) })
    };
    assert!(!gives_way(true, false));
    assert!(gives_way(false, true));
    // Without voters nobody else must agree: it has a lease, and so has no reason to look for another view.
    assert!(!gives_way(true, true));
}

// Views that are near.

#[test]
fn a_member_that_is_still_in_the_view_before_is_told_the_one_that_it_lacks() {
    let first = view(11, &[ME, PEER]);
    let mut stage = Stage::within(&first, patient);
    let before = ViewSummary { id: first.previous, ..part(10, 9) };
    stage.pass(SETTLED);
    let told = |stage: &mut Stage| {
        let install = |c: &Control| matches!(c, Control::Install(install) if install.proposal.id == first.id);
        stage.heard(PEER).iter().any(install)
    };
    assert!(!told(&mut stage));
    stage.answer(seed(), PEER, Some(before), false);
    assert!(told(&mut stage), "whoever should have told it may be gone");
    assert_eq!(stage.view(), Some(first.id));
}

/// It was admitted to the next one: we lag, and are told.
#[test]
fn a_view_that_follows_ours_and_has_us_is_no_other_part() {
    for (number, member, stays) in [(12, true, true), (12, false, false), (13, true, false), (9, true, false)] {
        let mut stage = settled();
        stage.answer(seed(), FRESH, Some(part(number, 3)), member);
        assert_eq!(stage.member.incarnation() == ME, stays, "{number} {member}");
    }
}

/// Ours has become another one, or another one has come upon it: it is a part as any other.
#[test]
fn a_member_of_ours_that_is_in_a_larger_view_elsewhere_is_followed() {
    let mut stage = settled();
    stage.answer(seed(), PEER, Some(part(20, 3)), false);
    assert_ne!(stage.member.incarnation(), ME);
}

#[test]
fn who_is_in_a_view_without_us_is_dead_to_ours_and_whoever_is_next_goes_on_without_it() {
    for (member, changes) in [(false, true), (true, false)] {
        let mut stage = Stage::within(&view(11, &[PEER, ME, THIRD]), patient);
        let conn = stage.conns[&PEER];
        stage.tell(Input::Closed(conn, CloseCause::Peer));
        stage.dials.clear();
        stage.pass(millis(500));
        // The view after ours, which may have a place for us that we have not been told of.
        let theirs = ViewSummary { coordinator: PEER, address: address(PEER), ..part(12, 3) };
        stage.answer(address(PEER), PEER, Some(theirs), member);
        stage.pass(millis(20));
        assert_eq!(stage.prepared(THIRD).is_some(), changes);
        assert_eq!(stage.member.incarnation(), ME);
    }
}

// Who was removed.

#[test]
fn only_a_word_that_is_meant_for_this_life_and_of_another_view_says_that_it_was_removed() {
    let first = view(11, &[PEER, ME, THIRD]);
    let told = |incarnation: Incarnation, by: &Proposal| {
        let mut stage = Stage::within(&first, patient);
        let (by, why) = (summary(by), "the others removed it".to_owned());
        stage.say(PEER, &Control::Expelled(Expelled { incarnation, by, why }));
        stage.member.incarnation() != ME
    };
    let second = view(12, &[PEER, THIRD]);
    assert!(told(ME, &second));
    assert!(!told(ME, &first), "it is in that one");
    assert!(!told(FRESH, &second), "it is meant for another one");
    assert!(!told(FRESH, &first));
}

#[test]
fn a_word_of_an_earlier_view_of_its_own_that_comes_late_does_not_remove_it() {
    let mut stage = Stage::within(&view(11, &[PEER, ME, THIRD]), patient);
    for number in [12, 13] {
        let earlier = summary(&view(number - 1, &[PEER, ME, THIRD]));
        stage.install(PEER, &view(number, &[PEER, ME, THIRD]));
        let why = "it lacks messages that the others have forgotten".to_owned();
        stage.say(PEER, &Control::Expelled(Expelled { incarnation: ME, by: earlier, why }));
        assert_eq!(stage.member.incarnation(), ME, "{number}");
    }
}

/// Its leader has forgotten messages that all the others have: it would wait for them for ever.
#[test]
fn who_is_not_ready_and_lacks_what_the_others_have_forgotten_starts_again() {
    let mut first = view(11, &[PEER, ME, THIRD]);
    first.members[1].ready = false;
    let mut stage = Stage::within(&first, patient);
    let (by, why) = (summary(&first), "it lacks messages that the others have forgotten".to_owned());
    stage.say(PEER, &Control::Expelled(Expelled { incarnation: FRESH, by: by.clone(), why: why.clone() }));
    assert_eq!(stage.member.incarnation(), ME);
    stage.say(PEER, &Control::Expelled(Expelled { incarnation: ME, by, why }));
    assert_ne!(stage.member.incarnation(), ME);
}

/// Whoever removed it may be gone as well.
#[test]
fn who_was_removed_looks_for_all_that_it_knew() {
    let mut stage = Stage::within(&view(11, &[PEER, ME, THIRD]), patient);
    let (by, why) = (summary(&view(12, &[FRESH])), "the others removed it".to_owned());
    stage.say(PEER, &Control::Expelled(Expelled { incarnation: ME, by, why }));
    stage.pass(millis(100));
    let dialled: Vec<bool> =
        [FRESH, PEER, THIRD].iter().map(|who| stage.dials.iter().any(|(_, to)| *to == address(*who))).collect();
    assert_eq!(dialled, [true; 3]);
}

#[test]
fn who_is_in_no_view_cannot_be_removed_from_one() {
    let mut stage = Stage::new(patient);
    stage.connect(PEER, Purpose::Link);
    let (by, why) = (summary(&view(12, &[PEER])), "the others removed it".to_owned());
    stage.say(PEER, &Control::Expelled(Expelled { incarnation: ME, by, why }));
    assert_eq!(stage.member.incarnation(), ME);
}

// Who is looked for.

/// When each dial to an address began, each of which fails at once.
fn looks(stage: &mut Stage, at: SocketAddr, time: Micros) -> Vec<Time> {
    let (until, mut times) = (stage.now + time, Vec::new());
    while stage.now < until {
        stage.pass(MOMENT);
        let (here, others) = stage.dials.drain(..).partition(|(_, to)| *to == at);
        stage.dials = others;
        let here: Vec<_> = here;
        for (conn, _) in here {
            times.push(stage.now);
            stage.tell(Input::Closed(conn, CloseCause::Failed));
        }
    }
    times
}

#[test]
fn who_coordinates_looks_once_a_second_for_those_that_were_lost() {
    let mut stage = Stage::within(&view(11, &[ME, PEER, THIRD]), patient);
    stage.install(PEER, &view(12, &[ME, PEER]));
    let times = looks(&mut stage, address(THIRD), LOOK * 5);
    assert!((4..=5).contains(&times.len()), "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1].since(pair[0]) == LOOK), "{times:?}");

    let mut stage = Stage::within(&view(11, &[PEER, ME, THIRD]), patient);
    stage.install(PEER, &view(12, &[PEER, ME]));
    assert_eq!(looks(&mut stage, address(THIRD), LOOK * 5), [], "another one does");
}

#[test]
fn nobody_looks_for_members_of_the_view_or_for_itself() {
    let seeds = |setup: &mut Setup| {
        patient(setup);
        let at = |address: SocketAddr| Seed { name: None, host: address.ip().to_string(), port: address.port() };
        setup.seeds = [address(ME), address(PEER), address(THIRD)].map(at).into();
    };
    let mut stage = Stage::within(&view(11, &[ME, PEER]), seeds);
    stage.dials.drain(..).for_each(drop);
    stage.pass(LOOK * 4);
    assert!(stage.dials.iter().any(|(_, to)| *to == address(THIRD)), "a seed may be in another part");
    assert!(stage.dials.iter().all(|(_, to)| *to == address(THIRD)), "{:?}", stage.dials);
}

#[test]
fn who_coordinates_looks_where_another_part_was_heard_by_multicast() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), |setup| {
        patient(setup);
        setup.multicast = Some(Multicast {
            group: SocketAddr::from(([239, 192, 0, 1], 7_777)),
            carries: false,
            datagram_bytes: 1_472,
            receive_bytes: 1 << 20,
            repair_bytes_per_s: 1_000_000,
        });
    });
    let beacon = Beacon { from: FRESH, address: address(FRESH), view_tag: 77, newest: 0, room: 1, longest: 1_472 };
    let content = beacon.encode();
    let bytes = [&cast::head(stage.envelope(FRESH).cluster, &content)[..], &content].concat().into();
    stage.tell(Input::Casts(&[Received { from: address(FRESH), bytes }]));
    stage.pass(LOOK);
    assert!(stage.dials.iter().any(|(_, to)| *to == address(FRESH)));
}

#[test]
fn names_of_seeds_are_looked_up_once_a_second_until_they_are_found_and_then_every_five_seconds_also_in_a_view() {
    let named = |setup: &mut Setup| {
        patient(setup);
        setup.seeds = vec![Seed { name: None, host: "a.seed".to_owned(), port: 7_100 }];
    };
    let lookups = |stage: &mut Stage, time: Micros| {
        stage.names.clear();
        stage.pass(time);
        stage.names.len()
    };
    let mut stage = Stage::new(named);
    assert_eq!(lookups(&mut stage, millis(4_990)), 5);
    stage.tell(Input::Resolved { host: "a.seed".to_owned(), addresses: vec![address(FRESH)] });
    stage.pass(millis(1_000));
    assert_eq!(lookups(&mut stage, millis(20_000)), 4);

    let mut stage = Stage::within(&view(11, &[ME, PEER]), named);
    stage.pass(millis(5_000));
    assert_eq!(lookups(&mut stage, millis(20_000)), 4);
}

#[test]
fn whoever_comes_with_a_view_of_before_is_told_that_ours_went_on_without_it() {
    let first = view(11, &[ME, PEER]);
    let mut stage = Stage::within(&first, patient);
    [12, 13].iter().for_each(|number| stage.install(PEER, &view(*number, &[ME, PEER])));
    stage.pass(SETTLED);
    let conn = stage.answer(seed(), FRESH, Some(ViewSummary { members: 9, ..summary(&first) }), false);
    let told =
        |(to, word): &(_, Control)| *to == conn && matches!(word, Control::Expelled(e) if e.incarnation == FRESH);
    assert!(stage.words.iter().any(told));
    assert_eq!(stage.member.incarnation(), ME, "it is no other part");
}

#[test]
fn a_part_gives_way_only_when_its_newest_view_has_stood_for_a_second() {
    let gives_way = |time| {
        let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
        stage.pass(millis(5_000));
        stage.install(PEER, &view(12, &[ME, PEER]));
        stage.pass(millis(time));
        stage.answer(seed(), FRESH, Some(ViewSummary { members: 3, ..summary(&view(20, &[FRESH])) }), false);
        stage.member.incarnation() != ME
    };
    assert!(!gives_way(999));
    assert!(gives_way(1_000));
}
