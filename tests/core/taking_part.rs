//! What a member makes of who comes, leaves and confirms, and what a view leaves behind.

use std::net::SocketAddr;

use crate::stage::{FRESH, ME, PEER, Stage, THIRD, address, ballot, promise, view};
use crate::support::hello;
use decurion::core::{Ended, Event, Input, Setup};
use decurion::types::{Name, ViewId, millis};
use decurion::wire::Proposal;
use decurion::wire::control::{
    Control, Decided, Join, Prepare, Promise, Propose, Purpose, RefusalCode, Refuse, Reject, ViewSummary, Welcome,
};

/// A newcomer's wish, under a name and from an address.
fn join(under: &str, at: SocketAddr) -> Control {
    Control::Join(Join { name: Name::new(under), incarnation: FRESH, address: at, unheard: Vec::new() })
}

fn refusal(words: &[Control]) -> Option<Reject> {
    words.iter().find_map(|word| match word {
        Control::Reject(reject) => Some(reject.clone()),
        _ => None,
    })
}

/// Asks for the next view, as if it had come from another one that coordinates.
fn prepare(first: &Proposal, round: u64) -> Prepare {
    Prepare { number: first.id.number + 1, ballot: ballot(round), previous: first.id, joins: false }
}

/// What the member promises.
fn promised(stage: &mut Stage, prepare: Prepare) -> Promise {
    stage.say(PEER, &Control::Prepare(prepare));
    let words = stage.heard(PEER);
    let promise = words.iter().find_map(|word| match word {
        Control::Promise(promise) => Some(promise.clone()),
        _ => None,
    });
    promise.unwrap_or_else(|| panic!("{words:?}"))
}

// Names.

#[test]
fn a_name_is_not_taken_from_one_who_may_live_and_its_address_is_dialled() {
    let mut stage = Stage::within(&view(11, &[ME, PEER, THIRD]), |_| {});
    stage.connect(FRESH, Purpose::Join);
    // Where the old life was: whoever answers there proves it dead, or alive.
    stage.say(FRESH, &join("third", address(THIRD)));
    stage.pass(millis(50));
    assert!(stage.dials.iter().any(|(_, to)| *to == address(THIRD)), "nobody looks whether the old one lives");
    assert_eq!(stage.prepared(FRESH), None, "the name is not free");
    assert_eq!(stage.prepared(PEER), None, "there is nothing to change yet");

    // Elsewhere: no dial there says anything of the old one.
    let mut stage = Stage::within(&view(11, &[ME, PEER, THIRD]), |_| {});
    stage.connect(FRESH, Purpose::Join);
    stage.say(FRESH, &join("third", address(FRESH)));
    let conn = stage.conns[&FRESH];
    let refused = |c: &Control| matches!(c, Control::Refuse(Refuse { code: RefusalCode::NameTaken, .. }));
    assert!(stage.heard(FRESH).iter().any(refused));
    let told =
        |e: &Event| matches!(e, Event::RefusedJoiner { name, from, .. } if name == "third" && *from == address(FRESH));
    assert!(stage.events.iter().any(told), "its operator looks for the reason here");
    assert!(stage.closed.contains(&conn), "who was refused is waited for");
    assert!(stage.dials.iter().any(|(_, to)| *to == address(THIRD)));
}

#[test]
fn the_name_of_one_who_leaves_is_free_at_once() {
    let mut stage = Stage::within(&view(11, &[ME, PEER, THIRD]), |_| {});
    stage.connect(FRESH, Purpose::Join);
    stage.say(THIRD, &Control::Leave(THIRD));
    stage.say(FRESH, &join("third", address(FRESH)));
    stage.pass(millis(20));
    assert!(stage.prepared(FRESH).is_some_and(|prepare| prepare.joins), "it waits for one who goes");
    assert!(!stage.dials.iter().any(|(_, to)| *to == address(THIRD)), "who says that it leaves is believed");
}

#[test]
fn a_newcomer_at_the_address_of_who_coordinates_is_remembered_until_that_one_is_proven_dead() {
    let mut stage = Stage::within(&view(11, &[PEER, ME]), |_| {});
    stage.connect(FRESH, Purpose::Join);
    stage.say(FRESH, &join("peer", address(PEER)));
    let dial = stage.dials.iter().find(|(_, to)| *to == address(PEER)).expect("nobody looks whether it lives").0;
    stage.tell(Input::Connected(dial));
    let (name, address) = (Name::new("peer"), address(PEER));
    let welcome = Welcome { name, incarnation: FRESH, address, view: None, member: false };
    stage.say_over(dial, &Control::Welcome(welcome));
    stage.pass(millis(50));
    assert!(stage.prepared(FRESH).is_some_and(|prepare| prepare.joins), "its wish is forgotten");
}

// Who decides, and when.

#[test]
fn changes_are_gathered_for_a_moment_and_not_longer() {
    for newcomer in [true, false] {
        let mut first = view(11, &[ME, PEER]);
        first.members[1].ready = newcomer;
        let mut stage = Stage::within(&first, |_| {});
        // Whether there is anything to change is looked at now and then, too: not in the time that counts.
        stage.pass(millis(300));
        let wish = |stage: &mut Stage| match newcomer {
            true => stage.wish(FRESH, &[]),
            false => stage.say(PEER, &Control::Ready(PEER)),
        };
        wish(&mut stage);
        stage.pass(millis(5));
        wish(&mut stage);
        stage.pass(millis(4));
        assert_eq!(stage.prepared(PEER), None, "others may come");
        stage.pass(millis(2));
        assert!(stage.prepared(PEER).is_some(), "it is waited for too long");
    }
}

#[test]
fn who_is_ready_while_a_view_is_decided_is_so_in_the_next_one_at_once() {
    let mut first = view(11, &[ME, PEER]);
    first.members[1].ready = false;
    let mut stage = Stage::within(&first, |_| {});
    stage.pass(millis(300));
    stage.wish(FRESH, &[]);
    stage.pass(millis(11));
    let prepare = stage.prepared(FRESH).expect("it is asked");
    stage.say(FRESH, &Control::Promise(promise(&prepare)));
    let vote = stage.go_along(PEER);
    stage.say(PEER, &Control::Ready(PEER));
    stage.say(FRESH, &Control::Accepted(vote));
    stage.say(PEER, &Control::Accepted(vote));
    let second = stage.view().expect("in a view");
    assert_eq!(second.number, 12);
    [PEER, FRESH].iter().for_each(|who| stage.say(*who, &Control::Installed(second)));
    stage.heard(PEER);
    stage.pass(millis(20));
    assert_eq!(stage.prepared(PEER).map(|prepare| prepare.previous), Some(second));
}

#[test]
fn an_unfenced_view_is_followed_by_a_fenced_one_when_a_majority_is_there() {
    let voters = |names: &[&str]| names.iter().map(|name| Name::new(name)).collect::<Vec<_>>();
    let first = view(11, &[ME, PEER]);
    let begins = |names: &[&str]| {
        let mut stage = Stage::within(&first, |setup| setup.voters = voters(names));
        stage.pass(millis(500));
        stage.prepared(PEER).is_some()
    };
    assert!(begins(&["me", "peer", "third"]));
    assert!(!begins(&["me", "third", "fresh"]), "there is no majority");
    assert!(!begins(&[]), "there are no voters");
}

#[test]
fn a_newcomer_is_no_voter_of_another_name() {
    let first = view(11, &[ME, PEER]);
    let mut stage = Stage::within(&first, |setup| setup.voters = ["me", "a", "b"].into_iter().map(Name::new).collect());
    stage.wish(FRESH, &[]);
    stage.pass(millis(500));
    assert_eq!(stage.prepared(PEER), None, "no majority is there, and none comes");
}

#[test]
fn who_is_held_up_by_a_change_that_nobody_finishes_tells_whoever_coordinates() {
    let first = view(11, &[PEER, ME]);
    let mut stage = Stage::within(&first, |_| {});
    promised(&mut stage, prepare(&first, 12));
    stage.pass(millis(300));
    let told = refusal(&stage.heard(PEER)).expect("it waits for ever");
    assert_eq!((told.number, told.installed, told.newest), (12, first.id, 11));
    assert_eq!((told.promised, told.proposal), (ballot(12), None));
}

#[test]
fn an_attempt_ends_with_the_view_that_another_one_decided() {
    let first = view(11, &[ME, PEER]);
    let mut stage = Stage::within(&first, |_| {});
    stage.wish(FRESH, &[]);
    stage.pass(millis(11));
    assert!(stage.prepared(PEER).is_some());
    let second = view(12, &[ME, PEER]);
    stage.install(PEER, &second);
    assert_eq!(stage.view(), Some(second.id));
    stage.heard(PEER);
    stage.pass(millis(400));
    let prepares = stage.heard(PEER).into_iter().filter_map(|control| match control {
        Control::Prepare(prepare) => Some(prepare.previous),
        _ => None,
    });
    assert!(prepares.into_iter().all(|previous| previous == second.id), "it goes on with what is decided");
}

#[test]
fn who_has_confirmed_a_view_is_not_told_it_again() {
    let confirmed = |confirms: bool| {
        let mut first = view(11, &[ME, PEER]);
        first.members[1].ready = false;
        let mut stage = Stage::within(&first, |_| {});
        stage.say(PEER, &Control::Ready(PEER));
        stage.pass(millis(11));
        let vote = stage.go_along(PEER);
        stage.say(PEER, &Control::Accepted(vote));
        let second = stage.view().expect("in a view");
        // Of an older view nothing follows for this one.
        stage.say(PEER, &Control::Installed(if confirms { second } else { first.id }));
        stage.heard(PEER);
        stage.pass(millis(150));
        !stage.heard(PEER).iter().any(|control| matches!(control, Control::Install(_)))
    };
    assert!(confirmed(true));
    assert!(!confirmed(false));
}

#[test]
fn a_refusal_tells_the_newest_entry_and_the_view_itself_only_to_who_is_behind() {
    let first = view(11, &[PEER, ME]);
    let mut stage = Stage::within(&first, |_| {});
    promised(&mut stage, prepare(&first, 12));
    let refused = |stage: &mut Stage, control: Control| {
        stage.say(PEER, &control);
        refusal(&stage.heard(PEER)).expect("it is refused")
    };
    let propose = |number, round| {
        let proposal = Proposal { id: ViewId { number, ballot: ballot(round) }, ..first.clone() };
        Control::Propose(Propose { ballot: ballot(round), proposal })
    };
    let same = refused(&mut stage, propose(11, 10));
    assert_eq!((same.newest, same.proposal.map(|proposal| proposal.id)), (11, Some(first.id)));
    let next = refused(&mut stage, propose(12, 11));
    assert_eq!((next.newest, next.promised, next.proposal), (11, ballot(12), None));
    let id = ViewId { number: 13, ballot: ballot(13) };
    let unknown = refused(&mut stage, Control::Decided(Decided { id, hold_ms: 0 }));
    assert_eq!((unknown.newest, unknown.proposal), (11, None));
    let of_another_view = |number| {
        let previous = ViewId { number: 9, ballot: ballot(9) };
        Control::Prepare(Prepare { number, ballot: ballot(20), previous, joins: false })
    };
    for (number, shown) in [(10, Some(first.id)), (11, Some(first.id)), (12, None)] {
        let reject = refused(&mut stage, of_another_view(number));
        assert_eq!((reject.newest, reject.proposal.map(|proposal| proposal.id)), (11, shown), "for entry {number}");
    }
}

#[test]
fn a_word_that_only_another_one_may_say_is_counted_as_a_fault() {
    let mut stage = Stage::within(&view(11, &[PEER, ME]), |_| {});
    let before = stage.member.stats().faults;
    stage.say(PEER, &Control::Leave(THIRD));
    assert_eq!(stage.member.stats().faults, before + 1);
}

// What this process remembers.

#[test]
fn who_goes_over_to_another_log_counts_as_started_just_now() {
    let mut stage = Stage::new(|_| {});
    stage.connect(PEER, Purpose::Link);
    let lease_ms = (Setup::new("test", "me", ME, address(ME)).lease / 1_000) as u32;
    // Others have decided without it; that it is asked for an older entry says that theirs was another log.
    stage.install(PEER, &view(16, &[THIRD]));
    stage.pass(millis(5_000));
    let first = view(11, &[PEER, ME]);
    if stage.member.links(stage.now).is_empty() {
        stage.connect(PEER, Purpose::Link);
    }
    let joins = Prepare { number: 11, ballot: ballot(11), previous: first.previous, joins: true };
    let told = promised(&mut stage, joins);
    assert_eq!((told.up_ms, told.fence_ms, told.hold_ms, told.memory), (0, lease_ms, lease_ms, false));
}

/// Only who is admitted to a view goes over: who would begin anew has not seen what this one remembers.
#[test]
fn who_remembers_a_log_does_not_vote_for_the_first_view_of_another_one() {
    let mut stage = Stage::new(|_| {});
    stage.connect(PEER, Purpose::Link);
    stage.install(PEER, &view(16, &[THIRD]));
    if stage.member.links(stage.now).is_empty() {
        stage.connect(PEER, Purpose::Link);
    }
    let anew = Prepare { number: 1, ballot: ballot(30), previous: ViewId::NONE, joins: true };
    stage.say(PEER, &Control::Prepare(anew));
    assert_eq!(refusal(&stage.heard(PEER)).expect("it is refused").newest, 16);
}

#[test]
fn who_installs_what_follows_all_that_it_knows_forgets_nothing() {
    for known in [None, Some(11)] {
        let mut stage = Stage::new(|_| {});
        stage.connect(PEER, Purpose::Link);
        stage.pass(millis(5_000));
        stage.connect(PEER, Purpose::Link);
        if let Some(number) = known {
            stage.install(PEER, &view(number, &[THIRD]));
        }
        let first = view(11, &[PEER, ME]);
        stage.install(PEER, &first);
        assert_eq!(promised(&mut stage, prepare(&first, 12)).up_ms, 5_000);
    }
}

// Who goes.

#[test]
fn who_is_removed_is_told_and_so_is_whoever_comes_back_with_the_view_of_before() {
    let first = view(11, &[PEER, ME, THIRD]);
    let mut stage = Stage::within(&first, |_| {});
    stage.connect(FRESH, Purpose::Link);
    let second = view(12, &[PEER, ME]);
    stage.install(PEER, &second);
    let told = |c: &Control| matches!(c, Control::Expelled(e) if e.incarnation == THIRD && e.by.id == second.id);
    assert!(stage.heard(THIRD).iter().any(told), "it believes in its view for long");
    assert!(stage.closed.contains(&stage.conns[&THIRD]));
    assert!(!stage.closed.contains(&stage.conns[&FRESH]), "that one was no member");
    let conn = stage.member.accept(stage.now, address(THIRD)).expect("welcome");
    stage.conns.insert(THIRD, conn);
    let summary = ViewSummary {
        id: first.id,
        fenced: false,
        primary: false,
        members: 3,
        coordinator: PEER,
        address: address(PEER),
        leaders: Vec::new(),
    };
    let hello = hello("test", "third", (THIRD, address(THIRD)), Purpose::Link);
    stage.say(THIRD, &Control::Hello(decurion::wire::control::Hello { view: Some(summary), ..hello }));
    assert!(stage.heard(THIRD).iter().any(told));
}

#[test]
fn who_is_not_in_the_view_that_follows_its_own_has_been_removed() {
    let mut stage = Stage::within(&view(11, &[PEER, ME, THIRD]), |_| {});
    stage.install(PEER, &view(12, &[PEER, THIRD]));
    assert_eq!(stage.view(), None);
    assert_ne!(stage.member.incarnation(), ME, "it comes back as another one");
    let told = stage.events.iter().filter(|event| matches!(event, Event::Expelled { view, .. } if view.number == 11));
    assert_eq!(told.count(), 1);
}

#[test]
fn who_leaves_stays_for_a_moment_after_the_others_have_agreed() {
    let mut stage = Stage::within(&view(11, &[PEER, ME, THIRD]), |setup| setup.leave_timeout = millis(1_000));
    stage.tell(Input::Leave);
    stage.pass(millis(520));
    assert!(stage.heard(PEER).contains(&Control::Leave(ME)));
    stage.install(PEER, &view(12, &[PEER, THIRD]));
    stage.pass(millis(29));
    assert_eq!(stage.member.ended(), None, "its connections close before the others have installed");
    stage.pass(millis(2));
    assert_eq!(stage.member.ended(), Some(&Ended::Left));
}

#[test]
fn who_says_twice_that_it_leaves_has_no_more_time_for_it() {
    // Somebody who lives, and does not agree.
    let mut stage = Stage::within(&view(11, &[PEER, ME]), |setup| setup.leave_timeout = millis(800));
    for left in (1..=8).rev() {
        stage.tell(Input::Leave);
        assert_eq!(stage.member.ended(), None, "{left}");
        stage.pass(millis(100));
    }
    assert_eq!(stage.member.ended(), Some(&Ended::LeftUnheard));
}

#[test]
fn who_has_said_that_it_leaves_coordinates_no_more() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), |setup| setup.leave_timeout = millis(1_000));
    stage.tell(Input::Leave);
    stage.pass(millis(520));
    assert!(stage.heard(PEER).contains(&Control::Leave(ME)));
    stage.connect(FRESH, Purpose::Join);
    let wish = join("fresh", address(FRESH));
    stage.say(FRESH, &wish);
    assert!(stage.heard(PEER).contains(&wish), "who stays decides");
}

#[test]
fn a_refusal_that_comes_over_a_link_of_the_other_end_counts_too() {
    let mut stage = Stage::new(|_| {});
    stage.tell(Input::Wake);
    let (dial, seed) = stage.dials[0];
    stage.tell(Input::Connected(dial));
    let view = ViewSummary {
        id: view(11, &[PEER]).id,
        fenced: false,
        primary: false,
        members: 2,
        coordinator: PEER,
        address: address(PEER),
        leaders: Vec::new(),
    };
    let welcome =
        Welcome { name: Name::new("third"), incarnation: THIRD, address: seed, view: Some(view), member: false };
    stage.say_over(dial, &Control::Welcome(welcome));
    stage.connect(PEER, Purpose::Link);
    let refuse = Refuse { code: RefusalCode::Settings, text: "its settings differ".to_owned() };
    stage.say(PEER, &Control::Refuse(refuse));
    assert!(matches!(stage.member.ended(), Some(Ended::Refused(_))), "it asks again and again");
}

// What the host is told.

#[test]
fn the_host_hears_once_who_has_come_and_gone_that_it_is_ready_and_that_nobody_fences_its_view() {
    let first = view(11, &[PEER, ME]);
    let mut stage = Stage::within(&first, |_| {});
    let mut looks = Vec::new();
    let mut fenced = view(13, &[PEER, THIRD, ME]);
    fenced.fenced = true;
    for next in [None, Some(view(12, &[PEER, THIRD, ME])), Some(fenced), Some(view(14, &[PEER, ME]))] {
        if let Some(next) = next {
            stage.install(PEER, &next);
        }
        let (mut joined, mut left, mut ready, mut unfenced) = (Vec::new(), Vec::new(), 0, 0);
        for event in stage.events.drain(..) {
            match event {
                Event::View(change) => {
                    joined.extend(change.joined.iter().map(|m| m.name.to_string()));
                    left.extend(change.left.iter().map(|m| m.name.to_string()));
                }
                Event::Ready { .. } => ready += 1,
                Event::Note { level: 2, text } if text.contains("unfenced") => unfenced += 1,
                _ => {}
            }
        }
        looks.push((joined.join(" "), left.join(" "), ready, unfenced));
    }
    let look = |joined: &str, left: &str, ready, unfenced| (joined.to_owned(), left.to_owned(), ready, unfenced);
    assert_eq!(
        looks,
        [look("peer me", "", 1, 1), look("third", "", 0, 0), look("", "", 0, 0), look("", "third", 0, 1)]
    );
}
