//! What a member says of its sessions after a loss, when sessions that nobody uses go, and many that are asked for at once: in the
//! core's time.

use crate::support::{Cluster, pairs};
use decurion::core::{Event, SessionOp};
use decurion::types::{Code, SessionId, Time, millis};

/// Ids that lie anywhere, as drawn ones do.
fn id(n: u64) -> SessionId {
    SessionId(u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

fn fill(cluster: &mut Cluster, count: u64, ttl_s: u32) {
    let attributes = pairs(&[("name", &[7; 200])]);
    let mut ok = 0;
    for from in (0..count).step_by(500) {
        let ids = from..count.min(from + 500);
        let begin = |n| cluster.begin(0, id(n), SessionOp::Create { ttl_s, attributes: attributes.clone() });
        let last = ids.map(begin).last().expect("some");
        cluster.until(|c| c.answer(0, last).is_some());
        ok += cluster.events(0).iter().filter(|e| matches!(e, Event::Session(a) if a.code == Code::Ok)).count();
    }
    assert_eq!(ok as u64, count);
}

#[test]
fn after_a_loss_the_count_of_single_copies_is_true_at_once() {
    let sessions = 2_000;
    let mut cluster = Cluster::new(3, |_, setup| setup.sessions.restore_bytes_per_s = 200_000);
    fill(&mut cluster, sessions, 0);
    cluster.until(|c| c.member(0).session_counts().single == 0);
    let held = cluster.member(1).session_counts().secondaries;
    assert!((1..sessions).contains(&held), "{held}");
    cluster.kill(1);
    cluster.until(|c| c.members_of(0) == 2);
    let singles = |c: &Cluster| c.member(0).session_counts().single;
    // One round of the restoring may have gone by.
    assert!((held - 50..=held).contains(&singles(&cluster)), "{} of {held}", singles(&cluster));
    let mut last = held;
    while last > 0 {
        cluster.pass(millis(100));
        let now = singles(&cluster);
        let missing = sessions - cluster.member(2).session_counts().secondaries;
        assert!(now <= last && now >= missing, "{now} after {last}, and {missing} have no copy");
        last = now;
    }
    assert_eq!(cluster.member(2).session_counts().secondaries, sessions);
    // Now the owner dies: what only the other one has is single, before it has looked at any of it.
    cluster.kill(0);
    cluster.until(|c| c.members_of(2) == 1);
    assert_eq!(cluster.member(2).session_counts().single, sessions);
}

/// How long it takes until all have two copies again; if `live`, the host reads one of its sessions every 10 ms.
fn restored_after(live: bool) -> u64 {
    let mut cluster = Cluster::new(3, |_, setup| setup.sessions.restore_bytes_per_s = 1_000_000);
    fill(&mut cluster, 2_000, 0);
    cluster.until(|c| c.member(0).session_counts().single == 0);
    cluster.kill(1);
    cluster.until(|c| c.members_of(0) == 2);
    let since = cluster.now;
    while cluster.member(0).session_counts().single > 0 {
        assert!(cluster.now < since + millis(60_000), "never");
        if live {
            cluster.begin(0, id(0), SessionOp::Read);
        }
        cluster.pass(millis(10));
    }
    cluster.now.since(since)
}

#[test]
fn copies_are_made_anew_at_a_fifth_of_the_rate_while_the_host_uses_sessions() {
    let (alone, beside) = (restored_after(false), restored_after(true));
    assert!((4 * alone..=6 * alone).contains(&beside), "{beside} us, {alone} us alone");
}

#[test]
fn many_sessions_expire_within_a_round_of_bounded_length() {
    let (sessions, ttl_s) = (80_000, 60);
    let mut cluster = Cluster::new(2, |_, setup| setup.sessions.restore_bytes_per_s = 1 << 30);
    fill(&mut cluster, sessions, ttl_s);
    let filled = cluster.now;
    let over = filled + millis(1_000) * u64::from(ttl_s) + millis(9_500);
    let mut gone: (u64, Time) = (0, filled);
    while cluster.now < over {
        cluster.pass(millis(100));
        let expired = cluster.events(0).iter().filter(|e| matches!(e, Event::SessionExpired { .. })).count() as u64;
        if expired > 0 {
            gone = (gone.0 + expired, cluster.now);
        }
    }
    assert_eq!(gone.0, sessions, "the last one at {:?}", gone.1);
    assert_eq!(cluster.member(1).session_counts().secondaries, 0);
}

#[test]
fn much_that_is_asked_for_at_once_is_carried_out_in_lots_and_what_is_left_is_due_at_once() {
    let mut cluster = Cluster::new(2, |_, _| {});
    let attributes = pairs(&[("name", &[7; 2_000])]);
    let create = || SessionOp::Create { ttl_s: 0, attributes: attributes.clone() };
    let asked: Vec<u64> = (0..64).map(|n| cluster.begin(0, id(n), create())).collect();
    let mut waiting = vec![cluster.waiting_requests(0)];
    while cluster.waiting_requests(0) > 0 {
        cluster.exchange(0);
        waiting.push(cluster.waiting_requests(0));
        let (due, left) = (cluster.member(0).deadline(), cluster.waiting_requests(0));
        assert!(left == 0 || due <= cluster.now, "{left} wait until {due:?}");
    }
    // 32 KiB are sixteen of them, with what a request costs besides.
    assert_eq!(waiting, [64, 48, 32, 16, 0]);
    cluster.until(|c| asked.iter().all(|number| c.answer(0, *number).is_some_and(|a| a.code == Code::Ok)));
}
