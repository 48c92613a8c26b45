//! An attempt at a view that nobody answers gives way to one that waits longer.

use crate::support::Cluster;
use decurion::core::ReadyPolicy;
use decurion::types::{Micros, Time, millis};
use decurion::wire::control::Control;

#[test]
fn each_attempt_waits_twice_as_long_as_the_one_before() {
    let mut c = Cluster::new(3, |node, setup| {
        // Whoever does not answer is not taken for silent for as long as this takes.
        (setup.silence, setup.refusal_proves_death) = (millis(600_000), false);
        setup.ready = if node == 1 { ReadyPolicy::Host } else { ReadyPolicy::OnAdmission };
    });
    c.asked = Some(Vec::new());
    c.stand_still(2, true);
    c.host_ready(1);
    c.pass(millis(130_000));
    let mut begun: Vec<(u64, Time)> = Vec::new();
    for (at, _, _, control) in c.asked.take().expect("kept") {
        let Control::Prepare(prepare) = control else { continue };
        if begun.last().is_none_or(|(round, _)| *round != prepare.ballot.round) {
            begun.push((prepare.ballot.round, at));
        }
    }
    let lasted: Vec<Micros> = begun.windows(2).map(|pair| pair[1].1.since(pair[0].1) / millis(1_000)).collect();
    assert_eq!(lasted, [5, 10, 20, 40, 40]);
}
