//! Who leaves gives away what it owns before it goes, without waiting for a time to run out, and acts for nobody afterwards (S6, V3).

use crate::support::{Cluster, pairs};
use decurion::types::{Code, Name, SessionId, millis};

const SESSIONS: u64 = 40;

#[test]
fn who_leaves_has_handed_over_long_before_its_time_is_over_and_is_primary_no_more() {
    let mut cluster = Cluster::new(3, |_, setup| {
        setup.voters = (0..3).map(|n| Name::new(&format!("m{n}"))).collect();
        setup.leave_timeout = millis(20_000);
    });
    cluster.until(|c| c.member(0).is_primary(c.now));
    for n in 0..SESSIONS {
        let answer = cluster.create(0, SessionId(n.into()), &pairs(&[("user", b"ada")]));
        assert_eq!(answer.code, Code::Ok);
    }
    let began = cluster.now;
    cluster.leave(0);
    let owned = |c: &Cluster| (1..3).map(|node| c.member(node).session_counts().primaries).sum::<u64>();
    cluster.until(|c| owned(c) == SESSIONS);
    assert_eq!(cluster.members_of(1), 3, "while it is still there");
    cluster.until(|c| c.has_ended(0));
    let took = cluster.now.since(began);
    assert!(took < millis(3_000), "{took} us: half of its time is 10 s");
    assert!(!cluster.member(0).is_primary(cluster.now));
}
