//! What a tester says: who it is at the start, and in the end the matrix, what is not well, and what to do.

use std::collections::BTreeMap;

use decurion::runtime::multicast::GroupSocket;
use serde_json::{Value, json};

use super::super::output::{Outcome, Output};
use super::Plan;
use super::judge::{self, Cell, Verdict};
use super::matrix::{Known, Matrix};
use super::sight::Heard;
use super::tester::Tester;

pub fn start(plan: &Plan, socket: &GroupSocket, output: &Output) {
    let interface = socket.interface().unwrap_or("an unnamed interface");
    let mtu = socket.mtu().map_or(String::new(), |mtu| format!(", MTU {mtu}"));
    output.say(&format!(
        "{} sends {} probes a second of up to {} bytes to {}, from {} ({interface}{mtu}), for {} s; start the same on the others \
         now; Ctrl-C ends it sooner",
        plan.name,
        plan.rate,
        plan.bytes,
        plan.group,
        socket.local().ip(),
        plan.lasts.as_secs(),
    ));
    output.line("start", own(plan, socket));
}

fn own(plan: &Plan, socket: &GroupSocket) -> Value {
    json!({
        "name": plan.name.as_str(),
        "tester": format!("{:016x}", plan.id),
        "group": plan.group.to_string(),
        "local": socket.local().to_string(),
        "interface": socket.interface(),
        "mtu_bytes": socket.mtu(),
        "receive_buffer_bytes": socket.receive_buffer_bytes(),
        "ttl": plan.ttl,
        "rate_per_s": plan.rate,
        "bytes": plan.bytes,
        "expected": plan.expect,
    })
}

pub fn end(tester: &Tester, output: &Output) -> Outcome {
    let verdict = judge::judge(&tester.plan, &tester.matrix);
    let (labels, matrix) = (judge::labels(&tester.matrix), &tester.matrix);
    table(matrix, &labels, output);
    senders(tester, &labels, output);
    foreign(matrix, output);
    verdict.problems.iter().for_each(|problem| output.say(&format!("not well: {problem}")));
    verdict.advice.iter().for_each(|advice| output.say(&format!("  look: {advice}")));
    if verdict.problems.is_empty() {
        let order = in_order(&labels);
        let mut pairs = order.iter().flat_map(|(hearer, _)| order.iter().map(move |(sender, _)| (*hearer, *sender)));
        let unknown = pairs.any(|(hearer, sender)| judge::cell(matrix, hearer, sender) == Cell::Unknown);
        let who = if unknown { "who is known to hear whom does" } else { "each hears each" };
        output.say(&format!("all well: testers heard: {}; {who}, and nothing is lost", matrix.heard()));
    }
    output.summary(verdict.problems.is_empty(), summary(tester, &labels, &verdict));
    Ok(verdict.exit)
}

/// By name, as the tables show them.
fn in_order(labels: &BTreeMap<u64, String>) -> Vec<(u64, &str)> {
    let mut order: Vec<(u64, &str)> = labels.iter().map(|(id, label)| (*id, label.as_str())).collect();
    order.sort_by_key(|(id, label)| (*label, *id));
    order
}

fn table(matrix: &Matrix, labels: &BTreeMap<u64, String>, output: &Output) {
    let order = in_order(labels);
    output.table("who hears whom: a row hears, a column sends; % lost, - hears nothing, ? not known");
    let width = labels.values().map(|label| label.chars().count()).max().unwrap_or(0).max(4);
    let heads: String = (1..=order.len()).map(|at| format!("{at:>7}")).collect();
    output.table(&format!("    {:width$}{heads}", "name"));
    for (at, (hearer, label)) in order.iter().enumerate() {
        let cells: String =
            order.iter().map(|(sender, _)| format!("{:>7}", short(&judge::cell(matrix, *hearer, *sender)))).collect();
        output.table(&format!("{:>3} {label:width$}{cells}", at + 1));
    }
}

fn short(cell: &Cell) -> String {
    match cell {
        Cell::Heard(told) if told.lost == 0 => "0".to_owned(),
        // A little is not nothing.
        Cell::Heard(told) => format!("{:.1}", judge::percent_lost(told).max(0.1)),
        Cell::Unheard => "-".to_owned(),
        Cell::Unknown => "?".to_owned(),
    }
}

/// What this tester itself has heard, in all detail.
fn senders(tester: &Tester, labels: &BTreeMap<u64, String>, output: &Output) {
    let width = labels.values().map(|label| label.chars().count()).max().unwrap_or(0).max(4);
    output.table(&format!("what {} hears", tester.plan.name));
    output.table(&format!(
        "    {:width$}  {:>9}  {:>7}  {:>8}  {:>7}  {:>7}  {:>12}  from",
        "name", "received", "lost", "disorder", "doubled", "longest", "round trip"
    ));
    for (at, (id, label)) in in_order(labels).iter().enumerate() {
        let Some(Known { heard: Some(heard), .. }) = tester.matrix.testers.get(id) else { continue };
        let Heard { from, received, disordered, duplicated, largest, .. } = heard;
        let (lost, trip) = (heard.lost(), milliseconds(heard.round_trip.mean_us()));
        output.table(&format!(
            "{:>3} {label:width$}  {received:>9}  {lost:>7}  {disordered:>8}  {duplicated:>7}  {largest:>7}  {trip:>12}  {from}",
            at + 1
        ));
    }
}

fn milliseconds(us: u64) -> String {
    if us == 0 { "-".to_owned() } else { format!("{:.3} ms", us as f64 / 1_000.0) }
}

fn foreign(matrix: &Matrix, output: &Output) {
    for (from, foreign) in &matrix.foreign {
        let what = if foreign.decurion { "of a Decurion cluster" } else { "of something else" };
        output.table(&format!("foreign: {} datagrams {what} from {from}", foreign.datagrams));
    }
    if matrix.foreign_others > 0 {
        output.table(&format!("foreign: {} datagrams from further sources", matrix.foreign_others));
    }
    if matrix.beyond > 0 {
        output.table(&format!("{} probes came of more testers than are kept", matrix.beyond));
    }
}

fn summary(tester: &Tester, labels: &BTreeMap<u64, String>, verdict: &Verdict) -> Value {
    let Tester { plan, socket, matrix, .. } = tester;
    let order = in_order(labels);
    let pairs = order.iter().flat_map(|hearer| order.iter().map(move |sender| (*hearer, *sender)));
    let foreign = |(from, foreign): (&std::net::SocketAddr, &super::matrix::Foreign)| json!({ "from": from.to_string(), "datagrams": foreign.datagrams, "decurion": foreign.decurion });
    let mut fields = own(plan, socket);
    let more = json!({
        "elapsed_ms": tester.ran.as_millis() as u64,
        "sent": tester.sent,
        "unsent": tester.unsent,
        "heard": matrix.heard(),
        "testers": order.iter().filter_map(|(id, label)| one(matrix, *id, label)).collect::<Vec<_>>(),
        "matrix": pairs.map(|(hearer, sender)| pair(matrix, hearer, sender)).collect::<Vec<_>>(),
        "foreign": matrix.foreign.iter().map(foreign).collect::<Vec<_>>(),
        "foreign_others": matrix.foreign_others,
        "probes_beyond": matrix.beyond,
        "problems": verdict.problems,
        "advice": verdict.advice,
    });
    if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), more) {
        fields.extend(more);
    }
    fields
}

/// A tester; what is measured of it by this one is absent if nothing was heard of it.
fn one(matrix: &Matrix, id: u64, label: &str) -> Option<Value> {
    let known = matrix.testers.get(&id)?;
    let heard = known.heard.as_ref();
    let trip = heard.map(|heard| heard.round_trip).filter(|trip| trip.count > 0);
    Some(json!({
        "name": label,
        "tester": format!("{id:016x}"),
        "from": heard.map(|heard| heard.from.to_string()),
        "largest_sent_bytes": heard.map(|heard| heard.largest_sent),
        "rtt_least_us": trip.map(|trip| trip.least_us),
        "rtt_mean_us": trip.map(|trip| trip.mean_us()),
        "rtt_most_us": trip.map(|trip| trip.most_us),
    }))
}

/// One direction between two testers.
fn pair(matrix: &Matrix, (hearer, to): (u64, &str), (sender, from): (u64, &str)) -> Value {
    match judge::cell(matrix, hearer, sender) {
        Cell::Heard(told) => json!({
            "hearer": to,
            "sender": from,
            "state": "heard",
            "received": told.received,
            "lost": told.lost,
            "lost_percent": judge::percent_lost(&told),
            "out_of_order": told.disordered,
            "duplicated": told.duplicated,
            "largest_bytes": told.largest,
            "rtt_us": (told.rtt_us > 0).then_some(told.rtt_us),
        }),
        Cell::Unheard => json!({ "hearer": to, "sender": from, "state": "unheard" }),
        Cell::Unknown => json!({ "hearer": to, "sender": from, "state": "unknown" }),
    }
}
