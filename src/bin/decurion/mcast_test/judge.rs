//! What the matrix means: whether all is well, and what to look at where it is not.

use std::collections::BTreeMap;

use decurion::wire::probe::Sighting;

use super::super::output::Exit;
use super::Plan;
use super::matrix::{Known, Matrix};

/// From so many probes on, it is no chance that none of the longest came.
const ENOUGH: u64 = 20;

/// What is known of one direction between two testers.
#[derive(Clone, PartialEq, Debug)]
pub enum Cell {
    Heard(Sighting),
    /// They ran together, and nothing came.
    Unheard,
    /// Nobody told, or they have not run together for long.
    Unknown,
}

/// The end of a test.
#[derive(Debug)]
pub struct Verdict {
    pub exit: Exit,
    /// A sentence for each thing that is not well.
    pub problems: Vec<String>,
    /// What to look at.
    pub advice: Vec<String>,
}

/// Names, told apart where two testers have the same.
pub fn labels(matrix: &Matrix) -> BTreeMap<u64, String> {
    let mut count = BTreeMap::<&str, usize>::new();
    matrix.testers.values().for_each(|known| *count.entry(known.name.as_str()).or_default() += 1);
    let label = |id: &u64, known: &Known| match known.name.as_str() {
        name if count[name] > 1 => format!("{name}#{:04x}", id & 0xffff),
        name => name.to_owned(),
    };
    matrix.testers.iter().map(|(id, known)| (*id, label(id, known))).collect()
}

pub fn cell(matrix: &Matrix, hearer: u64, sender: u64) -> Cell {
    if let Some(sighting) = matrix.sighting(hearer, sender) {
        return Cell::Heard(sighting);
    }
    let both = matrix.testers.get(&hearer).zip(matrix.testers.get(&sender));
    let together = both.is_some_and(|(one, other)| {
        let (begin, end) = (one.first_at_us.max(other.first_at_us), one.last_at_us.min(other.last_at_us));
        end >= begin + matrix.together_us()
    });
    if together && matrix.knows_row(hearer) { Cell::Unheard } else { Cell::Unknown }
}

pub fn judge(plan: &Plan, matrix: &Matrix) -> Verdict {
    if matrix.sighting(plan.id, plan.id).is_none() {
        let problem = format!("{} does not hear its own probes: nothing leaves or nothing enters this host", plan.name);
        return Verdict { exit: Exit::Environment, problems: vec![problem], advice: deaf(plan) };
    }
    let (heard, mut problems, mut advice) = (matrix.heard(), Vec::new(), Vec::new());
    if heard == 1 && plan.expect != Some(1) {
        problems.push(format!("{} hears nobody but itself", plan.name));
    }
    if let Some(expected) = plan.expect.filter(|expected| heard < *expected) {
        problems.push(format!("{} hears {heard} testers, itself among them, and {expected} are expected", plan.name));
    }
    let labels = labels(matrix);
    let directions = labels.keys().flat_map(|hearer| labels.keys().map(move |sender| (*hearer, *sender)));
    let (mut short, mut lossy) = (false, false);
    for (hearer, sender) in directions {
        let (to, from) = (&labels[&hearer], &labels[&sender]);
        match cell(matrix, hearer, sender) {
            Cell::Unheard => problems.push(format!("{to} does not hear {from}")),
            Cell::Heard(told) if told.lost > 0 => {
                let (sent, percent) = (told.lost.saturating_add(told.received), percent_lost(&told));
                problems.push(format!("{to} has lost {} of {sent} probes of {from} ({percent:.1} %)", told.lost));
                if let Some(longest) = too_short(matrix, sender, &told) {
                    problems.push(format!(
                        "{to} hears no probe of {from} over {} bytes; {longest} bytes were sent",
                        told.largest
                    ));
                    short = true;
                }
                lossy |= told.received >= told.lost;
            }
            Cell::Heard(_) | Cell::Unknown => {}
        }
    }
    if problems.iter().any(|problem| problem.contains(" hear")) {
        advice = unheard(plan);
    }
    if short {
        advice.push(
            "long probes vanish: every interface and switch on the way needs the same MTU, or take a lower --bytes"
                .to_owned(),
        );
    }
    if lossy {
        advice.push(
            "some are lost: a full link, a wireless one, or a receiver whose buffer is small (net.core.rmem_max); \
             look whether all receivers of one sender lose the same"
                .to_owned(),
        );
    }
    let exit = if problems.is_empty() { Exit::Fine } else { Exit::Broken };
    Verdict { exit, problems, advice }
}

/// Length of the longest probes, if none of them has come.
fn too_short(matrix: &Matrix, sender: u64, told: &Sighting) -> Option<u32> {
    let sent = matrix.testers.get(&sender)?.heard.as_ref()?.largest_sent;
    (told.received >= ENOUGH && told.largest < sent).then_some(sent)
}

pub fn percent_lost(told: &Sighting) -> f64 {
    100.0 * told.lost as f64 / (told.lost.saturating_add(told.received)).max(1) as f64
}

/// Why a host may not hear what it sends itself.
fn deaf(plan: &Plan) -> Vec<String> {
    let port = plan.group.port();
    vec![
        format!(
            "this host's firewall must let UDP to {} and port {port} out and in (nft list ruleset, iptables -S)",
            plan.group.ip()
        ),
        "the interface must be up and able to multicast (ip link shows UP and MULTICAST; lo works with --interface 127.0.0.1)"
            .to_owned(),
        "a reverse-path filter may drop it (sysctl net.ipv4.conf.all.rp_filter) if --interface is not where the route leads"
            .to_owned(),
    ]
}

/// Why hosts may not hear each other.
fn unheard(plan: &Plan) -> Vec<String> {
    let (ip, port) = (plan.group.ip(), plan.group.port());
    let querier = if plan.group.is_ipv4() { "IGMP" } else { "MLD" };
    vec![
        format!(
            "the firewall of the deaf host must let UDP to {ip}, port {port}, in; that of the unheard one must let it out"
        ),
        "on a host with several networks say which one: --interface with that host's own address there".to_owned(),
        format!(
            "a switch with {querier} snooping and no {querier} querier in the network forgets groups after some minutes: switch \
             a querier on, and test again with --seconds 600"
        ),
        format!(
            "through routers a group needs multicast routing and a --ttl over the number of routers; it is {} now",
            plan.ttl
        ),
        "networks of clouds and many wireless ones have no multicast: the cluster works by unicast there".to_owned(),
    ]
}
