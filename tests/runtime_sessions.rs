//! Sessions as hosts see them: made on one member, used on another, alive after their owner is gone.

mod runtime_support;

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use decurion::{
    Attributes, Code, Config, Cookie, Engine, Event, MemberTag, Mode, Session, SessionChange, SessionId, SessionOp,
    attributes,
};
use runtime_support::{Node, PATIENCE, cluster, settings, wait_until, wait_view};

fn pairs(pairs: &[(&str, &str)]) -> Attributes {
    attributes(pairs.iter().map(|(name, value)| (*name, value.as_bytes()))).unwrap()
}

fn set(name: &str, value: &str, token: u64) -> SessionChange {
    SessionChange { token, sets: pairs(&[(name, value)]), ..SessionChange::default() }
}

fn create(node: &Node) -> Session {
    node.engine.session_create(0, pairs(&[("user", "ada"), ("cart", "")]), PATIENCE).unwrap()
}

fn read(node: &Node, cookie: &Cookie) -> Session {
    node.engine.session_read(cookie, PATIENCE).unwrap()
}

fn code_of<T: std::fmt::Debug>(answer: decurion::Result<T>) -> Code {
    answer.expect_err("refused").code()
}

#[test]
fn a_session_outlives_its_owner_and_is_the_same_everywhere() {
    let mut nodes = cluster(3);
    let made = create(&nodes[0]);
    assert_eq!((made.code, made.version), (Code::Ok, 1));
    let [me, other] = made.cookie.holders;
    assert_eq!(me, nodes[0].incarnation().into());
    assert!(nodes[1..].iter().any(|n| MemberTag::from(n.incarnation()) == other), "the second copy is elsewhere");

    // Whoever is asked becomes the owner.
    let seen = read(&nodes[1], &made.cookie);
    assert_eq!((seen.attributes.get("user"), seen.version), (Some(&b"ada"[..]), 1));
    assert_eq!(seen.cookie.holders[0], nodes[1].incarnation().into());
    let change = SessionChange { removes: pairs(&[("cart", "")]), ..set("user", "grace", 1) };
    let written = nodes[1].engine.session_write(&seen.cookie, change, PATIENCE).unwrap();
    assert_eq!((written.code, written.version), (Code::Ok, 2));

    nodes.remove(1).engine.close();
    for node in &nodes {
        let seen = read(node, &made.cookie);
        assert_eq!(seen.attributes.iter().collect::<Vec<_>>(), [("user", &b"grace"[..])]);
        assert_eq!(seen.version, 2);
    }
}

#[test]
fn two_copies_come_back_after_a_loss_and_the_counts_say_so() {
    let mut nodes = cluster(3);
    for _ in 0..20 {
        create(&nodes[0]);
    }
    let counts = |nodes: &[&mut Node]| {
        let stats: Vec<_> = nodes.iter().map(|n| n.engine.stats()).collect();
        let sum = |of: fn(&decurion::Stats) -> u64| stats.iter().map(of).sum::<u64>();
        (sum(|s| s.sessions_primary), sum(|s| s.sessions_secondary), sum(|s| s.sessions_single))
    };
    let mut all: Vec<&mut Node> = nodes.iter_mut().collect();
    assert_eq!(counts(&all), (20, 20, 0));
    assert!(all[0].engine.stats().session_bytes > 20 * 100);
    all.remove(0).engine.close();
    wait_until(&mut all, "two copies of each session", |nodes| counts(nodes) == (20, 20, 0));
    wait_until(&mut all, "the event", |nodes| {
        let restored = |e: &Event| matches!(e, Event::RedundancyRestored { sessions, .. } if *sessions > 0);
        nodes.iter().any(|n| n.seen.others.iter().any(restored))
    });
}

#[test]
fn a_change_is_made_once_however_often_it_is_repeated() {
    let nodes = cluster(2);
    let cookie = create(&nodes[0]).cookie;
    let first = nodes[0].engine.session_write(&cookie, set("n", "1", 5), PATIENCE).unwrap();
    // The answer was lost, and another member is asked.
    let again = nodes[1].engine.session_write(&cookie, set("n", "1", 5), PATIENCE).unwrap();
    assert_eq!((first.version, again.version, again.code), (2, 2, Code::Ok));
    for token in 6..=13 {
        nodes[0].engine.session_write(&cookie, set("n", "2", token), PATIENCE).unwrap();
    }
    let late = nodes[0].engine.session_write(&cookie, set("n", "1", 5), PATIENCE);
    assert_eq!(code_of(late), Code::TokenExpired);
    assert_eq!(read(&nodes[1], &cookie).attributes.get("n"), Some(&b"2"[..]));
}

#[test]
fn a_change_at_another_version_is_refused() {
    let nodes = cluster(2);
    let cookie = create(&nodes[0]).cookie;
    let at = |if_version| SessionChange { if_version, whole: true, ..set("n", "1", 0) };
    assert_eq!(nodes[1].engine.session_write(&cookie, at(1), PATIENCE).unwrap().version, 2);
    assert_eq!(code_of(nodes[0].engine.session_write(&cookie, at(1), PATIENCE)), Code::VersionConflict);
    let seen = read(&nodes[0], &cookie);
    assert_eq!((seen.version, seen.attributes.iter().count()), (2, 1), "the others went");
}

#[test]
fn one_member_alone_says_that_there_is_no_second_copy() {
    let mut alone = Node::open("alone", &[]);
    wait_view(&mut [&mut alone], 1);
    let made = create(&alone);
    assert_eq!((made.code, made.cookie.holders[1]), (Code::Unreplicated, MemberTag::NONE));
    assert_eq!(alone.engine.stats().sessions_single, 1);
}

#[test]
fn what_was_removed_or_never_was_is_not_found() {
    let nodes = cluster(2);
    let cookie = create(&nodes[0]).cookie;
    nodes[1].engine.session_touch(&cookie, PATIENCE).unwrap();
    nodes[1].engine.session_remove(&cookie, PATIENCE).unwrap();
    for node in &nodes {
        assert_eq!(code_of(node.engine.session_read(&cookie, PATIENCE)), Code::NoSuchSession);
    }
    let never = Cookie { id: SessionId(1), holders: [MemberTag::NONE; 2] };
    assert_eq!(code_of(nodes[0].engine.session_touch(&never, PATIENCE)), Code::NoSuchSession);
}

#[test]
fn forged_and_foreign_cookies_open_nothing_and_break_nothing() {
    let nodes = cluster(2);
    let cookie = create(&nodes[0]).cookie;
    // Holders are a hint: wrong ones cost a search.
    let nobody = Cookie { holders: [MemberTag(1), MemberTag(u64::MAX)], ..cookie };
    assert_eq!(read(&nodes[1], &nobody).attributes, read(&nodes[0], &cookie).attributes);
    // Of another cluster, or of members that are gone: it is not known here, and must not begin anew.
    let foreign = Cookie { id: SessionId(u128::MAX), ..nobody };
    assert_eq!(code_of(nodes[0].engine.session_read(&foreign, PATIENCE)), Code::HoldersUnreachable);
    let swapped = Cookie { id: SessionId(cookie.id.0 ^ 1), ..cookie };
    assert_eq!(code_of(nodes[1].engine.session_write(&swapped, set("n", "1", 1), PATIENCE)), Code::NoSuchSession);
    assert_eq!(read(&nodes[0], &cookie).version, 1);
}

#[test]
fn a_session_over_the_bound_is_refused_with_the_bound() {
    let nodes = cluster(2);
    let half = "x".repeat(200 * 1024);
    let too_long = nodes[0].engine.session_create(0, pairs(&[("a", &half), ("b", &half)]), PATIENCE);
    let error = too_long.expect_err("too long");
    assert!(error.code() == Code::TooLarge && error.text().contains("262144"), "{error}");
    let cookie = create(&nodes[0]).cookie;
    nodes[0].engine.session_write(&cookie, set("a", &half, 0), PATIENCE).unwrap();
    let error = nodes[0].engine.session_write(&cookie, set("b", &half, 0), PATIENCE).expect_err("too long together");
    assert!(error.code() == Code::TooLarge && error.text().contains("262144"), "{error}");
    assert_eq!(read(&nodes[1], &cookie).version, 2);
}

#[test]
fn a_request_completes_by_an_event_with_its_token() {
    let mut nodes = cluster(2);
    let engine = nodes[0].engine.clone();
    let op = SessionOp::Create { ttl_s: 60, attributes: pairs(&[("a", "1")]) };
    assert_eq!(engine.session_request(41, None, op.clone()).unwrap(), Code::Ok);
    assert_eq!(code_of(engine.session_request(42, None, SessionOp::Read)), Code::InvalidArgument);
    let mut answers = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while answers.len() < 2 {
        assert!(Instant::now() < deadline, "{answers:?}");
        nodes[0].pump(Duration::from_millis(50));
        for event in nodes[0].seen.others.drain(..) {
            let Event::Session(answer) = event else { continue };
            let cookie = Cookie::from(&answer);
            if answers.is_empty() {
                assert_eq!(engine.session_request(43, Some(&cookie), SessionOp::Read).unwrap(), Code::Ok);
                assert_eq!(code_of(engine.session_request(44, Some(&cookie), op.clone())), Code::InvalidArgument);
            }
            answers.push((answer.number, answer.code, answer.attributes.map(|a| a.get("a").map(<[u8]>::to_vec))));
        }
    }
    assert_eq!(answers, [(41, Code::Ok, None), (43, Code::Ok, Some(Some(b"1".to_vec())))]);
}

#[test]
fn before_the_first_view_nothing_is_asked() {
    let nobody = format!("127.0.0.1:{}", runtime_support::free_port()).parse().unwrap();
    let node = Node::open("early", &[nobody]);
    let op = SessionOp::Create { ttl_s: 0, attributes: Attributes::default() };
    assert_eq!(node.engine.session_request(1, None, op).unwrap(), Code::NotReady);
    assert_eq!(code_of(node.engine.session_create(0, Attributes::default(), PATIENCE)), Code::NotReady);
    let no_time = node.engine.session_create(0, Attributes::default(), Duration::ZERO);
    assert_eq!(code_of(no_time), Code::Timeout);
}

#[test]
fn where_a_call_could_only_wait_for_itself_it_says_so() {
    let hosted = Engine::open(&settings("hosted", 0, &[]), Mode::Loop).unwrap();
    let create = |engine: &Engine| engine.session_create(0, Attributes::default(), PATIENCE);
    assert_eq!(code_of(create(&hosted)), Code::WouldDeadlock);

    let (give, told) = channel();
    let (lend, borrowed) = channel::<Engine>();
    let mut mine = None;
    let handler = Box::new(move |event: &Event| {
        let engine = mine.get_or_insert_with(|| borrowed.recv().unwrap());
        match event {
            Event::View(_) => {
                assert_eq!(code_of(create(engine)), Code::WouldDeadlock);
                let op = SessionOp::Create { ttl_s: 0, attributes: Attributes::default() };
                assert_eq!(engine.session_request(9, None, op).unwrap(), Code::Ok);
            }
            Event::Session(answer) => give.send((answer.number, answer.code)).unwrap(),
            _ => {}
        }
    });
    let engine = Engine::open(&settings("handled", 0, &[]), Mode::Handler(handler)).unwrap();
    lend.send(engine.clone()).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), (9, Code::Unreplicated));
    engine.close();
}

/// A member whose host does not turn it takes no copy: who waits for it is woken by the end.
#[test]
fn the_end_wakes_who_waits_and_says_that_the_outcome_is_unknown() {
    // So long a silence is borne by `wan`.
    let wan = |mut settings: Config| {
        settings.set("detector.profile", "wan").unwrap();
        settings
    };
    let mut node = Node::with(&wan(settings("m0", 0, &[]))).unwrap();
    let still = wan(settings("still", 0, &[node.address()]));
    let hosted = Engine::open(&still, Mode::Loop).unwrap();
    wait_until(&mut [&mut node], "both", |nodes| {
        hosted.turn().unwrap();
        let ready = |v: &decurion::View| v.len() == 2 && v.members.iter().all(|m| m.ready);
        nodes[0].seen.views.last().is_some_and(|v| ready(v)) && hosted.view().is_some_and(|s| ready(&s.view))
    });
    let no_patience = node.engine.session_create(0, Attributes::default(), Duration::from_millis(20));
    assert_eq!(code_of(no_patience), Code::OutcomeUnknown, "the second copy is still awaited");
    let engine = node.engine.clone();
    let waiting = std::thread::spawn(move || engine.session_create(0, Attributes::default(), PATIENCE));
    wait_until(&mut [&mut node], "the request is under way", |nodes| nodes[0].engine.stats().sessions_primary == 2);
    node.engine.close();
    assert_eq!(code_of(waiting.join().unwrap()), Code::OutcomeUnknown);
}

/// Two members that have more for each other than fits the window: what each waits for is the other's acknowledgement.
#[test]
fn full_windows_in_both_directions_do_not_wait_for_each_other() {
    const EACH: usize = 64;
    let mut nodes = cluster(2);
    let long = "x".repeat(200 * 1024);
    // In turns, so that both have much to say before either is answered.
    for token in 0..EACH {
        for node in &mut nodes {
            let op = SessionOp::Create { ttl_s: 0, attributes: pairs(&[("a", &long)]) };
            while node.engine.session_request(token as u64, None, op.clone()).unwrap() == Code::Again {
                node.pump(Duration::from_millis(1));
            }
        }
    }
    let mut all: Vec<&mut Node> = nodes.iter_mut().collect();
    let answers = |node: &Node| -> Vec<Code> {
        node.seen.others.iter().filter_map(|e| if let Event::Session(a) = e { Some(a.code) } else { None }).collect()
    };
    wait_until(&mut all, "all answers", |nodes| nodes.iter().all(|n| answers(n).len() == EACH));
    assert!(all.iter().all(|n| answers(n).iter().all(|code| *code == Code::Ok)));
}

#[test]
fn a_look_at_a_session_moves_nothing() {
    let nodes = cluster(3);
    let made = create(&nodes[0]);
    for node in &nodes {
        let seen = node.engine.session_peek(&made.cookie, PATIENCE).unwrap();
        assert_eq!((seen.attributes.get("user"), seen.version, seen.cookie), (Some(&b"ada"[..]), 1, made.cookie));
    }
    // Without a hint where it is, too.
    let bare = Cookie { holders: [MemberTag::NONE; 2], ..made.cookie };
    assert_eq!(nodes[2].engine.session_peek(&bare, PATIENCE).unwrap().cookie, made.cookie);
    assert_eq!(nodes[0].engine.stats().sessions_primary, 1);
    let never = Cookie { id: SessionId(1), ..bare };
    assert_eq!(code_of(nodes[1].engine.session_peek(&never, PATIENCE)), Code::NoSuchSession);
}

#[test]
fn who_leaves_hands_everything_over_first() {
    let mut nodes = cluster(4);
    let cookies: Vec<Cookie> =
        (0..40).map(|at| create(&nodes[at % 4]).cookie).chain((0..20).map(|_| create(&nodes[0]).cookie)).collect();
    let leaver = nodes.remove(0);
    assert!(leaver.engine.stats().sessions_secondary > 0 && leaver.engine.stats().sessions_primary >= 30);
    leaver.engine.leave(PATIENCE).unwrap();
    let mut all: Vec<&mut Node> = nodes.iter_mut().collect();
    wait_view(&mut all, 3);
    // At once, and not after a while: nothing had to be made anew.
    let counts = |of: fn(&decurion::Stats) -> u64| all.iter().map(|n| of(&n.engine.stats())).sum::<u64>();
    assert_eq!(
        (counts(|s| s.sessions_primary), counts(|s| s.sessions_secondary), counts(|s| s.sessions_single)),
        (60, 60, 0)
    );
    for (at, cookie) in cookies.iter().enumerate() {
        assert_eq!(read(all[at % 3], cookie).attributes.get("user"), Some(&b"ada"[..]));
    }
}

#[test]
fn second_copies_go_where_the_operator_wants_them() {
    // The first one has in its preferred group one on its own machine and one elsewhere, and another machine outside.
    let tags = ["machine=a", "machine=a,replication_group=b", "machine=c,replication_group=b", "machine=d"];
    let mut nodes: Vec<Node> = Vec::new();
    for (at, tags) in tags.iter().enumerate() {
        let seeds: Vec<_> = nodes.first().map(Node::address).into_iter().collect();
        let mut config = settings(&format!("m{at}"), 0, &seeds);
        config.set("node.tags", tags).unwrap();
        config.set("session.preferred_group", "b").unwrap();
        nodes.push(Node::with(&config).unwrap());
    }
    wait_view(&mut nodes.iter_mut().collect::<Vec<_>>(), 4);
    // As they go, the next best one is chosen.
    for best in [2, 1, 3] {
        let tag = MemberTag::from(nodes[best].incarnation());
        (0..8).for_each(|_| assert_eq!(create(&nodes[0]).cookie.holders[1], tag));
        let view = nodes[0].engine.view().unwrap().view;
        let seen = view.members.iter().find(|m| MemberTag::from(m.incarnation) == tag).unwrap();
        assert_eq!(seen.tags.as_str(), tags[best]);
        let gone = nodes[best].name();
        nodes[best].engine.leave(PATIENCE).unwrap();
        let mut all: Vec<&mut Node> = nodes.iter_mut().collect();
        wait_until(&mut all, "it is gone", |nodes| {
            nodes[0].seen.views.last().is_some_and(|view| view.members.iter().all(|m| m.name.as_str() != gone))
        });
    }
}

fn asynchronous(batch_ms: &str, window_bytes: &str) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for at in 0..2 {
        let seeds: Vec<_> = nodes.first().map(Node::address).into_iter().collect();
        let mut config = settings(&format!("m{at}"), 0, &seeds);
        for (key, value) in [
            ("session.mode", "asynchronous"),
            ("session.batch_ms", batch_ms),
            ("session.window_bytes", window_bytes),
            ("session.window_ms", "600000"),
        ] {
            config.set(key, value).unwrap();
        }
        nodes.push(Node::with(&config).unwrap());
    }
    wait_view(&mut nodes.iter_mut().collect::<Vec<_>>(), 2);
    nodes
}

#[test]
fn in_asynchronous_mode_changes_are_answered_first_and_travel_together() {
    let mut nodes = asynchronous("60000", "1048576");
    let cookie = create(&nodes[0]).cookie;
    for n in 1..=20 {
        assert_eq!(nodes[0].engine.session_write(&cookie, set("n", "1", n), PATIENCE).unwrap().code, Code::Ok);
    }
    let lag = nodes[0].engine.stats();
    assert!(lag.session_lag_bytes > 20 * 128, "{} bytes wait", lag.session_lag_bytes);
    wait_until(&mut [&mut nodes[0]], "the lag grows older", |nodes| {
        nodes[0].engine.stats().session_lag_us > lag.session_lag_us
    });
    // Who wants the session does not wait for the batch, and gets everything.
    assert_eq!(read(&nodes[1], &cookie).version, 21);
    assert_eq!(nodes[0].engine.stats().session_lag_bytes, 0);

    // Nor does a member that leaves take anything along.
    nodes[1].engine.session_write(&cookie, set("n", "2", 21), PATIENCE).unwrap();
    assert!(nodes[1].engine.stats().session_lag_bytes > 0);
    nodes.remove(1).engine.leave(PATIENCE).unwrap();
    let seen = read(&nodes[0], &cookie);
    assert_eq!((seen.version, seen.attributes.get("n")), (22, Some(&b"2"[..])));
}

#[test]
fn beyond_the_window_a_change_waits_for_its_second_copy() {
    let nodes = asynchronous("60000", "4096");
    let cookie = create(&nodes[0]).cookie;
    let long = "x".repeat(1_500);
    for n in 1..=20 {
        nodes[0].engine.session_write(&cookie, set("n", &long, n), PATIENCE).unwrap();
        assert!(nodes[0].engine.stats().session_lag_bytes <= 4_096);
    }
    assert_eq!(read(&nodes[1], &cookie).version, 21);
}

/// Alone on the wire, with its acknowledgement: nothing that could be shared with others is.
#[test]
fn a_change_costs_what_has_changed_and_not_the_session() {
    let nodes = cluster(2);
    let big = "x".repeat(64 * 1024);
    let cookie = nodes[0].engine.session_create(0, pairs(&[("big", &big), ("cart", "")]), PATIENCE).unwrap().cookie;
    let sent = || nodes.iter().map(|n| n.engine.stats().bytes_sent).sum::<u64>();
    const CHANGES: u64 = 200;
    let before = sent();
    for n in 1..=CHANGES {
        nodes[0].engine.session_write(&cookie, set("cart", &"y".repeat(200), n), PATIENCE).unwrap();
    }
    let each = (sent() - before) / CHANGES;
    println!("a change of 200 bytes of a session of 64 KiB: {each} bytes on the wire");
    assert!((200..=400).contains(&each), "{each} bytes");
}

#[test]
fn a_member_that_is_cut_off_from_the_majority_answers_for_nothing() {
    let mut nodes: Vec<Node> = Vec::new();
    for at in 0..3 {
        let seeds: Vec<_> = nodes.first().map(Node::address).into_iter().collect();
        let mut config = settings(&format!("m{at}"), 0, &seeds);
        config.set("cluster.voters", "m0,m1,m2").unwrap();
        // Two of three that end at once prove nothing about each other.
        config.set("cluster.refusal_proves_death", "false").unwrap();
        nodes.push(Node::with(&config).unwrap());
    }
    wait_view(&mut nodes.iter_mut().collect::<Vec<_>>(), 3);
    let cookie = create(&nodes[0]).cookie;
    let alone = nodes.remove(0);
    nodes.iter().for_each(|node| node.engine.close());
    let deadline = Instant::now() + PATIENCE;
    let code = loop {
        // For the length of a lease it may still be the primary.
        match alone.engine.session_write(&cookie, set("n", "1", 0), PATIENCE) {
            Err(error) if error.code() == Code::OutcomeUnknown && Instant::now() < deadline => {}
            other => break code_of(other),
        }
    };
    assert_eq!(code, Code::NotPrimary);
    assert_eq!(code_of(alone.engine.session_read(&cookie, PATIENCE)), Code::NotPrimary);
    assert_eq!(code_of(alone.engine.session_peek(&cookie, PATIENCE)), Code::NotPrimary);
}
