//! The small cases: what each is about, and what may happen to it.

use super::choice::Todo;
use super::cluster::{Cluster, NODES};
use crate::core::Plant;
use crate::wire::batch::Level;

/// What a case is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trigger {
    /// The other two are in a view, and this node's process starts.
    Join(usize),
    /// Three are in a view, and this one leaves in order.
    Leave(usize),
    /// Three are in a view, and this one's process ends.
    Crash(usize),
    /// Three processes start.
    Form,
    /// Three are in a view with a session, and this one's host changes it.
    Visit(usize),
}

/// How many faults of each kind may be made, at any step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Faults {
    /// A process ends.
    pub crashes: u8,
    /// A connection breaks with what is under way: the only way in which TCP can lose a frame.
    pub cuts: u8,
    /// A datagram is lost.
    pub losses: u8,
}

/// One small case.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub name: &'static str,
    pub trigger: Trigger,
    /// Nodes whose hosts send one message to everybody, at any moment.
    pub senders: &'static [usize],
    /// At which level they do.
    pub level: Level,
    /// Nodes whose hosts make one change of a session, at any moment. It is the first node's, with its copy at the second one.
    pub visitors: &'static [usize],
    pub faults: Faults,
    /// How often another delivery than the first of the fixed order is chosen in one run; none: any number of times.
    pub deviations: Option<u8>,
}

/// Nothing goes wrong: every order of delivery.
const ORDERS: Faults = Faults { crashes: 0, cuts: 0, losses: 0 };
/// One process ends, at any step.
const CRASH: Faults = Faults { crashes: 1, ..ORDERS };
/// One frame is lost, with its connection.
const LOSS: Faults = Faults { cuts: 1, ..ORDERS };
/// One datagram is lost.
const DATAGRAM: Faults = Faults { losses: 1, ..ORDERS };
/// One frame is lost, and one process ends.
const TWO: Faults = Faults { crashes: 1, cuts: 1, losses: 0 };

const fn case(
    name: &'static str, trigger: Trigger, senders: &'static [usize], faults: Faults, deviations: Option<u8>,
) -> Case {
    Case { name, trigger, senders, level: Level::Fifo, visitors: &[], faults, deviations }
}

const fn ordered(name: &'static str, trigger: Trigger, level: Level, faults: Faults, deviations: Option<u8>) -> Case {
    Case { level, ..case(name, trigger, &[0, 1], faults, deviations) }
}

const fn session(
    name: &'static str, trigger: Trigger, visitors: &'static [usize], faults: Faults, deviations: Option<u8>,
) -> Case {
    Case { visitors, ..case(name, trigger, &[], faults, deviations) }
}

/// All cases. Node 0 coordinates and leads the one group, node 1 is its deputy.
#[rustfmt::skip]
pub(super) const CASES: &[Case] = &[
    case("join/orders", Trigger::Join(2), &[], ORDERS, Some(4)),
    case("join/one-sender", Trigger::Join(2), &[1], ORDERS, Some(3)),
    case("join/two-senders", Trigger::Join(2), &[0, 1], ORDERS, Some(2)),
    case("join/crash", Trigger::Join(2), &[1], CRASH, Some(2)),
    case("join/loss", Trigger::Join(2), &[1], LOSS, Some(1)),
    case("join/datagram", Trigger::Join(2), &[], DATAGRAM, Some(3)),
    case("join/two-faults", Trigger::Join(2), &[], TWO, Some(1)),
    case("leave/orders", Trigger::Leave(2), &[1, 2], ORDERS, None),
    case("leave/crash", Trigger::Leave(2), &[1, 2], CRASH, None),
    case("leave/loss", Trigger::Leave(2), &[], LOSS, Some(2)),
    case("leave/loss-with-sender", Trigger::Leave(2), &[1], LOSS, Some(1)),
    case("leave/datagram", Trigger::Leave(2), &[1, 2], DATAGRAM, None),
    case("leave/two-faults", Trigger::Leave(2), &[], TWO, Some(1)),
    case("leave-coordinator/orders", Trigger::Leave(0), &[0, 1], ORDERS, None),
    case("leave-coordinator/crash", Trigger::Leave(0), &[0, 1], CRASH, None),
    case("leave-coordinator/loss", Trigger::Leave(0), &[], LOSS, Some(2)),
    case("leave-coordinator/two-faults", Trigger::Leave(0), &[], TWO, Some(1)),
    case("crash/orders", Trigger::Crash(2), &[1, 2], ORDERS, None),
    case("crash/crash", Trigger::Crash(2), &[1, 2], CRASH, None),
    case("crash/loss", Trigger::Crash(2), &[1, 2], LOSS, Some(1)),
    case("crash/loss-in-silence", Trigger::Crash(2), &[], LOSS, None),
    case("crash/two-faults", Trigger::Crash(2), &[1], TWO, Some(1)),
    case("crash-coordinator/orders", Trigger::Crash(0), &[0, 1], ORDERS, None),
    case("crash-coordinator/crash", Trigger::Crash(0), &[0, 1], CRASH, None),
    case("crash-coordinator/loss", Trigger::Crash(0), &[0], LOSS, None),
    case("crash-coordinator/loss-two-senders", Trigger::Crash(0), &[0, 1], LOSS, Some(2)),
    case("crash-coordinator/two-faults", Trigger::Crash(0), &[1], TWO, Some(1)),
    ordered("agreed/crash", Trigger::Crash(2), Level::Agreed, CRASH, Some(2)),
    ordered("agreed/coordinator-crash", Trigger::Crash(0), Level::Agreed, CRASH, Some(2)),
    ordered("agreed/coordinator-leave", Trigger::Leave(0), Level::Agreed, ORDERS, Some(3)),
    ordered("agreed/join", Trigger::Join(2), Level::Agreed, ORDERS, Some(1)),
    ordered("safe/crash", Trigger::Crash(2), Level::Safe, CRASH, Some(1)),
    ordered("safe/coordinator-crash", Trigger::Crash(0), Level::Safe, CRASH, Some(2)),
    ordered("safe/coordinator-crash-loss", Trigger::Crash(0), Level::Safe, LOSS, Some(1)),
    session("handover/orders", Trigger::Visit(2), &[0], ORDERS, None),
    session("handover/crash", Trigger::Visit(2), &[], CRASH, None),
    session("handover/crash-with-visitor", Trigger::Visit(2), &[0], CRASH, Some(1)),
    session("handover/loss", Trigger::Visit(2), &[], LOSS, Some(1)),
    session("handover-to-holder/crash", Trigger::Visit(1), &[0], CRASH, Some(1)),
    session("promotion/orders", Trigger::Crash(0), &[2], ORDERS, Some(2)),
    session("promotion/crash", Trigger::Crash(0), &[2], CRASH, Some(1)),
    session("promotion/loss", Trigger::Crash(0), &[2], LOSS, Some(1)),
    session("leave-with-session/orders", Trigger::Leave(0), &[2], ORDERS, Some(2)),
    session("leave-with-session/crash", Trigger::Leave(0), &[2], CRASH, Some(1)),
    session("leave-with-copy/orders", Trigger::Leave(1), &[0], ORDERS, Some(2)),
    session("leave-with-copy/crash", Trigger::Leave(1), &[0], CRASH, Some(1)),
    case("form/orders", Trigger::Form, &[], ORDERS, Some(4)),
    case("form/crash", Trigger::Form, &[], CRASH, Some(2)),
    case("form/loss", Trigger::Form, &[], LOSS, Some(1)),
];

impl Case {
    /// What it is about and what may go wrong, for people.
    pub fn about(&self) -> String {
        let Faults { crashes, cuts, losses } = self.faults;
        let event = match self.trigger {
            Trigger::Join(at) => format!("n{at} joins the other two"),
            Trigger::Leave(at) => format!("n{at} leaves"),
            Trigger::Crash(at) => format!("n{at} crashes"),
            Trigger::Form => "three start".to_owned(),
            Trigger::Visit(at) => format!("n{at} changes a session"),
        };
        let senders: Vec<String> = self.senders.iter().map(|at| format!("n{at}")).collect();
        let mut parts = vec![event];
        let level = match self.level {
            Level::Fifo | Level::Unreliable => "",
            Level::Agreed => " in one order",
            Level::Safe => " in one order that all hold",
        };
        parts.extend((!senders.is_empty()).then(|| format!("{} send at any step{level}", senders.join(" and "))));
        let visitors: Vec<String> = self.visitors.iter().map(|at| format!("n{at}")).collect();
        parts.extend(
            (!visitors.is_empty()).then(|| format!("{} change n0's session at any step", visitors.join(" and "))),
        );
        parts.extend((cuts > 0).then(|| "any one frame is lost with its connection".to_owned()));
        parts.extend((crashes > 0).then(|| "any process ends at any step".to_owned()));
        parts.extend((losses > 0).then(|| "any one datagram is lost".to_owned()));
        parts.push(match self.deviations {
            None => "every order".to_owned(),
            Some(most) => format!("every order with at most {most} deviations"),
        });
        parts.join("; ")
    }

    fn is_about_a_session(&self) -> bool {
        !self.visitors.is_empty() || matches!(self.trigger, Trigger::Visit(_))
    }

    /// The cluster as it is before anything may happen in more than one way.
    pub fn start(&self, plant: Option<Plant>) -> Cluster {
        let mut cluster = Cluster::new(plant, |_| {});
        let running: Vec<usize> = match self.trigger {
            Trigger::Form => Vec::new(),
            Trigger::Join(joiner) => (0..NODES).filter(|at| *at != joiner).collect(),
            _ => (0..NODES).collect(),
        };
        // Apart from each other, so that no two members' timers run in step.
        for at in &running {
            cluster.start(*at);
            cluster.run_until(cluster.now + STAGGER_US, |_| false);
        }
        if !running.is_empty() {
            let served = cluster.run_until(cluster.now + SERVES_US, Cluster::is_converged);
            assert!(served, "the members that are there when a case begins are in one primary view");
        }
        // Nobody's stream is at its beginning, where nothing can be missing before it.
        for at in &running {
            assert!(cluster.send(*at), "the members that are there when a case begins serve");
        }
        cluster.run_until(cluster.now + STAGGER_US, |_| false);
        if self.is_about_a_session() {
            cluster = cluster.with_session();
        }
        let mut visits = [false; NODES];
        self.visitors.iter().for_each(|at| visits[*at] = true);
        let mut sends = [false; NODES];
        self.senders.iter().for_each(|at| sends[*at] = true);
        cluster.level = self.level;
        cluster.touched.all = true;
        cluster.todo = Todo { trigger: true, sends, visits, faults: self.faults, left: None };
        cluster
    }
}

/// How long after each other the members start that are there when a case begins.
const STAGGER_US: u64 = 41_000;
/// In this time they are in one view and have their first lease.
const SERVES_US: u64 = 5_000_000;
