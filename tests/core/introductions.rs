//! Connections: who is let in and what a tool is told, what is a sign of life, and which way a word takes (R3, R14).

use std::net::SocketAddr;

use crate::stage::{FRESH, ME, NOW, PEER, Stage, THIRD, address, fenced, in_groups, name, patient, summary, view};
use crate::support::hello;
use decurion::core::{CloseCause, Event, Input, Seed};
use decurion::types::{ConnId, Incarnation, Micros, Name, millis};
use decurion::wire::VERSION;
use decurion::wire::control::{Control, Expelled, Hello, Purpose, RefusalCode, Refuse, Report, Welcome};
use decurion::wire::datagram::Datagram;

/// Between two looks at connections.
const LOOK: Micros = millis(125);
const SILENCE: Micros = millis(1_500);

/// Somebody connects and says this first.
fn greet(stage: &mut Stage, hello: Hello) -> ConnId {
    let conn = stage.member.accept(stage.now, hello.address).expect("a stranger is welcome");
    stage.say_over(conn, &Control::Hello(hello));
    conn
}

// Who is let in.

/// Whoever dialled it there would reach its own machine.
#[test]
fn whoever_is_elsewhere_and_names_a_loopback_address_is_refused() {
    let refused = |ours: &str, from: &str, theirs: &str| {
        let mut stage = Stage::new(|setup| setup.advertise.set_ip(ours.parse().unwrap()));
        let conn =
            stage.member.accept(stage.now, SocketAddr::new(from.parse().unwrap(), 40_000)).expect("there is room");
        let theirs = SocketAddr::new(theirs.parse().unwrap(), 7_100);
        stage.say_over(conn, &Control::Hello(hello("test", "peer", (PEER, theirs), Purpose::Join)));
        let told = |event: &Event| matches!(event, Event::RefusedJoiner { why, .. } if why.contains("node.advertise"));
        let refusal = |(_, word): &(ConnId, Control)| matches!(word, Control::Refuse(Refuse { code: RefusalCode::Address, text }) if text.contains("node.advertise"));
        assert_eq!(stage.events.iter().any(told), stage.words.iter().any(refusal), "both ends are told");
        stage.words.iter().any(refusal)
    };
    assert!(refused("127.0.0.1", "10.0.0.2", "127.0.0.1"));
    assert!(refused("10.0.0.1", "127.0.0.1", "::1"), "on one machine now, but the others are elsewhere");
    assert!(refused("10.0.0.1", "::ffff:10.0.0.2", "::ffff:127.0.0.1"));
    assert!(!refused("127.0.0.1", "127.0.0.1", "127.0.0.9"));
    assert!(!refused("::1", "::ffff:127.0.0.1", "127.0.0.1"));
    assert!(!refused("10.0.0.1", "10.0.0.2", "10.0.0.2"));
}

#[test]
fn whoever_has_another_value_of_a_setting_or_another_setting_is_refused_with_its_name() {
    let pairs = |all: &[(&str, &str)]| -> Vec<(String, String)> {
        all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let refused = |theirs: &[(&str, &str)], purpose| {
        let mut stage = Stage::new(|setup| setup.agreed_settings = pairs(&[("lease.ms", "1200"), ("group.size", "9")]));
        let hello = hello("test", "peer", (PEER, address(PEER)), purpose);
        greet(&mut stage, Hello { settings: pairs(theirs), ..hello });
        stage.words.iter().find_map(|(_, word)| match word {
            Control::Refuse(Refuse { code: RefusalCode::Settings, text }) => Some(text.clone()),
            _ => None,
        })
    };
    let same = [("lease.ms", "1200"), ("group.size", "9")];
    let (join, probe) = (Purpose::Join, Purpose::Probe);
    assert_eq!(refused(&same, join), None);
    let text = refused(&[same[0], ("group.size", "8")], join).expect("one value differs");
    assert!(text.starts_with("group.size is 9 here and 8 there"), "{text}");
    let text = refused(&same[..1], join).expect("one is not known there");
    assert!(text.starts_with("group.size is 9 here and not known there"), "{text}");
    let text = refused(&[same[0], same[1], ("window.bytes", "5")], join).expect("one is not known here");
    assert!(text.starts_with("window.bytes is 5 there and not known here"), "{text}");
    assert_eq!(refused(&[], probe), None, "who only looks whether we are there joins nothing");
}

#[test]
fn who_speaks_no_version_that_is_spoken_here_is_refused() {
    let refused = |version_min, version_max| {
        let mut stage = Stage::new(patient);
        let hello = hello("test", "peer", (PEER, address(PEER)), Purpose::Probe);
        let conn = greet(&mut stage, Hello { version_min, version_max, ..hello });
        let refuse = |(to, word): &(ConnId, Control)| {
            *to == conn && matches!(word, Control::Refuse(Refuse { code: RefusalCode::Version, .. }))
        };
        stage.words.iter().any(refuse) && stage.closed.contains(&conn)
    };
    assert!(refused(VERSION + 1, VERSION + 1));
    assert!(refused(VERSION - 1, VERSION - 1));
    assert!(!refused(VERSION - 1, VERSION + 1));
}

#[test]
fn who_was_removed_and_greets_in_a_view_of_before_is_told_so_and_its_connection_is_closed() {
    let first = view(11, &[ME, PEER, THIRD]);
    let mut stage = Stage::within(&first, patient);
    stage.install(PEER, &view(12, &[ME, PEER]));
    let hello = hello("test", "third", (THIRD, address(THIRD)), Purpose::Link);
    let conn = greet(&mut stage, Hello { view: Some(summary(&first)), ..hello });
    let told = |(to, word): &(ConnId, Control)| {
        *to == conn && matches!(word, Control::Expelled(Expelled { incarnation: THIRD, .. }))
    };
    assert!(stage.words.iter().any(told));
    assert!(stage.closed.contains(&conn));
}

/// It learns from the answer that this life is gone; and nobody is linked with itself.
#[test]
fn who_looks_for_another_life_or_for_itself_is_answered_and_gets_no_link() {
    let linked = |who: Incarnation, expects: Incarnation| {
        let mut stage = Stage::new(patient);
        let hello = hello("test", name(who), (who, address(who)), Purpose::Link);
        let conn = greet(&mut stage, Hello { expects, ..hello });
        let welcome = |word: &Control| matches!(word, Control::Welcome(Welcome { incarnation: ME, .. }));
        assert!(stage.words.iter().any(|(to, word)| *to == conn && welcome(word)));
        stage.say_over(conn, &Control::Ping(7));
        stage.words.contains(&(conn, Control::Pong(7)))
    };
    assert!(linked(PEER, ME));
    assert!(linked(PEER, Incarnation::NONE));
    assert!(!linked(PEER, FRESH));
    assert!(!linked(ME, ME));
    assert!(!linked(ME, Incarnation::NONE));
}

#[test]
fn a_tool_of_whatever_cluster_is_told_how_things_are_and_its_connection_is_closed() {
    let first = view(11, &[ME, PEER, THIRD]);
    let mut stage = Stage::within(&first, patient);
    let tool = greet(&mut stage, hello("", "decurion", (FRESH, address(FRESH)), Purpose::Inspect));
    stage.say_over(tool, &Control::Inspect(0));
    let report = stage.words.iter().find_map(|(to, word)| match word {
        Control::Report(report) if *to == tool => Some(report),
        _ => None,
    });
    let Report { name, view, fenced, primary, ready, members, links, .. } = report.expect("it asked");
    assert_eq!((name.as_str(), *view, *fenced, *primary, *ready), ("me", Some(first.id), false, true, true));
    assert_eq!(*members, first.members);
    let links: Vec<(&str, &str)> = links.iter().map(|link| (link.peer.as_str(), link.state.as_str())).collect();
    assert_eq!(links, [("peer", "up"), ("third", "up")]);
    assert!(stage.closed.contains(&tool));
    assert_eq!(stage.member.stats().faults, 0);
}

#[test]
fn who_did_not_greet_as_a_tool_is_told_nothing() {
    let reported = |purpose: Option<Purpose>| {
        let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
        let conn = match purpose {
            Some(purpose) => greet(&mut stage, hello("test", "fresh", (FRESH, address(FRESH)), purpose)),
            None => stage.member.accept(stage.now, address(FRESH)).expect("a stranger is welcome"),
        };
        stage.say_over(conn, &Control::Inspect(0));
        assert_eq!(stage.member.stats().faults, 1, "{purpose:?}");
        stage.words.iter().any(|(_, word)| matches!(word, Control::Report(_)))
    };
    for purpose in [None, Some(Purpose::Link), Some(Purpose::Join), Some(Purpose::Probe)] {
        assert!(!reported(purpose), "{purpose:?}");
    }
}

#[test]
fn whoever_sends_what_it_must_not_is_named_to_the_host_and_its_connection_is_closed() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    let stranger = stage.member.accept(stage.now, address(FRESH)).expect("a stranger is welcome");
    let (peer, hello) = (stage.conns[&PEER], hello("test", "peer", (PEER, address(PEER)), Purpose::Link));
    stage.say_over(stranger, &Control::Ping(7));
    stage.say_over(peer, &Control::Hello(hello));
    let named = stage.events.iter().filter_map(|event| match event {
        Event::Fault { member, from, what } => Some((member.as_ref().map(|m| m.incarnation), *from, what.as_str())),
        _ => None,
    });
    let stranger_is = (None, Some(address(FRESH)), "a frame before the greeting");
    let peer_is = (Some(PEER), Some(address(PEER)), "a second greeting");
    assert_eq!(named.collect::<Vec<_>>(), [stranger_is, peer_is]);
    assert_eq!(stage.closed, [stranger, peer]);
    assert_eq!(stage.member.stats().faults, 2);
}

// Signs of life.

#[test]
fn a_greeting_and_an_answer_to_one_are_signs_of_life() {
    for answers in [false, true] {
        let mut stage = Stage::within(&view(11, &[PEER, ME]), patient);
        stage.tell(Input::Closed(stage.conns[&PEER], CloseCause::Peer));
        stage.pass(millis(2_000));
        match answers {
            true => drop(stage.answer(address(PEER), PEER, None, true)),
            false => stage.connect(PEER, Purpose::Link),
        }
        stage.datagrams.clear();
        stage.pass(millis(250));
        let heard = stage.datagrams.iter().filter_map(|(_, datagram)| match datagram {
            Datagram::Heartbeat(beat) => Some(beat.heard_ms),
            _ => None,
        });
        let heard: Vec<u32> = heard.collect();
        assert!(!heard.is_empty() && heard.iter().all(|ms| *ms <= 250), "{answers}: {heard:?}");
    }
}

/// Its port was refused before: whoever answers there now may be the voter itself.
#[test]
fn an_answer_takes_back_that_nobody_lives_at_an_address() {
    let primary = |answers: bool| {
        let mut stage = Stage::within(&fenced(view(11, &[ME, PEER])), |setup| {
            patient(setup);
            setup.voters = ["me", "third", "fresh"].map(Name::new).into();
            let listed = |who: Incarnation| {
                let at = address(who);
                Seed { name: Some(Name::new(name(who))), host: at.ip().to_string(), port: at.port() }
            };
            setup.seeds = [THIRD, FRESH].map(listed).into();
        });
        let refuse = |stage: &mut Stage, who: Incarnation| {
            let (conn, _) = *stage.dials.iter().rfind(|(_, to)| *to == address(who)).expect("it is asked");
            stage.tell(Input::Closed(conn, CloseCause::Refused));
        };
        refuse(&mut stage, THIRD);
        stage.pass(millis(250));
        if answers {
            stage.answer(address(THIRD), THIRD, None, false);
        }
        refuse(&mut stage, FRESH);
        stage.member.is_primary(stage.now)
    };
    assert!(primary(false), "all other voters are proven dead");
    assert!(!primary(true));
}

// When one is given up, and made anew.

#[test]
fn nothing_is_kept_for_a_connection_that_the_other_end_has_closed() {
    let mut stage = Stage::new(patient);
    let hello = Control::Hello(hello("test", "peer", (PEER, address(PEER)), Purpose::Probe)).encode();
    let conn = stage.member.accept(stage.now, address(PEER)).expect("a stranger is welcome");
    stage.member.receive_space(conn).expect("it is open").extend_from_slice(&hello);
    stage.member.handle(stage.now, Input::Received(conn));
    let waits = |stage: &Stage| {
        let mut slices = Vec::new();
        stage.member.to_write(conn, usize::MAX, &mut slices);
        !slices.is_empty()
    };
    assert!(waits(&stage), "the answer");
    stage.member.handle(stage.now, Input::Closed(conn, CloseCause::Peer));
    assert!(!waits(&stage));
}

#[test]
fn a_newcomer_that_is_gone_again_is_not_waited_for() {
    for gone in [false, true] {
        let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
        stage.wish(FRESH, &[]);
        if gone {
            stage.tell(Input::Closed(stage.conns[&FRESH], CloseCause::Peer));
        }
        stage.pass(millis(50));
        assert_eq!(stage.prepared(PEER).is_some(), !gone);
    }
}

/// It takes this member for a starter, perhaps. Without the connection it looks for it anew, and is told of the view.
#[test]
fn whoever_is_not_in_the_view_and_asks_for_nothing_is_closed_when_it_looks_whether_somebody_is_there() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), patient);
    stage.connect(THIRD, Purpose::Join);
    stage.wish(FRESH, &[]);
    for (who, stays) in [(PEER, true), (THIRD, false), (FRESH, true)] {
        stage.say(who, &Control::Ping(7));
        assert_eq!(stage.heard(who).contains(&Control::Pong(7)), stays, "{who:?}");
        assert_eq!(stage.closed.contains(&stage.conns[&who]), !stays, "{who:?}");
    }
}

/// What was answered says nothing of what comes later.
#[test]
fn a_connection_is_asked_before_it_is_given_up_also_if_the_last_answer_came_at_once() {
    let mut stage = Stage::within(&view(11, &[ME, PEER]), |_| {});
    let conn = stage.conns[&PEER];
    let (mut asked, mut closed) = (Vec::new(), None);
    while closed.is_none() && stage.now < NOW + millis(9_000) {
        let beat = stage.heartbeat();
        stage.send(PEER, &Datagram::Heartbeat(beat));
        stage.pass(LOOK);
        let time = stage.now.since(NOW);
        for word in stage.heard(PEER) {
            if let Control::Ping(n) = word {
                asked.push(time);
                if asked.len() == 1 {
                    stage.say(PEER, &Control::Pong(n));
                    // To that nothing comes back.
                    stage.say(PEER, &Control::Ping(7));
                    stage.wish(FRESH, &[]);
                }
            }
        }
        closed = stage.closed.contains(&conn).then_some(time);
    }
    let expected = (vec![SILENCE / 2, SILENCE], Some(SILENCE * 2));
    assert_eq!((asked, closed), expected);
}

/// In between it is left alone, whatever became of the dial.
#[test]
fn a_link_that_does_not_come_up_is_dialled_again_after_300_ms() {
    let mut stage = Stage::new(patient);
    stage.connect(THIRD, Purpose::Link);
    // Its leader is not connected with it, and it is the junior one of the two.
    stage.install(THIRD, &in_groups(view(11, &[THIRD, PEER, ME]), &[0, 1, 1]));
    let (from, mut dialled) = (stage.now, Vec::new());
    while stage.now.since(from) < millis(2_000) {
        let here = |(_, to): &mut (ConnId, _)| *to == address(PEER);
        for (conn, _) in stage.dials.extract_if(.., here).collect::<Vec<_>>() {
            dialled.push(stage.now.since(from));
            stage.tell(Input::Closed(conn, CloseCause::Failed));
        }
        stage.pass(millis(5));
    }
    assert!(dialled.len() >= 5, "{dialled:?}");
    assert!(dialled.windows(2).all(|pair| pair[1] - pair[0] >= millis(300)), "{dialled:?}");
}
