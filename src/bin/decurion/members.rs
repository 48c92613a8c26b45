//! `decurion members`: asks a member over its cluster port who is there.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use decurion::types::{Incarnation, Index, Name, View, limits, one_line};
use decurion::wire::VERSION;
use decurion::wire::control::{self, Control, HEADER_BYTES, Hello, MAGIC, Purpose, Report};
use serde_json::{Value, json};

use super::arguments::{MembersArguments, resolve};
use super::output::{Exit, Failure, Outcome, Output};
use super::unbuilt;

/// Runs the verb.
pub fn run(arguments: &MembersArguments, output: &Output) -> Outcome {
    if arguments.map.is_some() {
        return Err(unbuilt::members_map());
    }
    let at = arguments.at.as_deref().unwrap_or_default();
    let deadline = Instant::now() + Duration::from_millis(arguments.timeout_ms);
    let addresses = look_up(at, deadline)?;
    let report = ask(&addresses, deadline).map_err(|(exit, why)| Failure::new(exit, format!("{at}: {why}")))?;
    let view = report.view.map(|id| View::new(id, report.members.clone(), report.fenced));
    table(&report, view.as_ref(), output);
    output.summary(true, summary(&report, view.as_ref()));
    Ok(Exit::Fine)
}

/// The addresses of `host:port`. The system has its own patience with name servers, so it is asked on a thread beside.
fn look_up(at: &str, deadline: Instant) -> Result<Vec<SocketAddr>, Failure> {
    let (answer, answered) = crossbeam_channel::bounded(1);
    let text = at.to_owned();
    let work = move || drop(answer.send(resolve(&text)));
    let spawned = thread::Builder::new().name("look-up".to_owned()).spawn(work);
    spawned.map_err(|error| Failure::new(Exit::Environment, format!("cannot start a thread: {error}")))?;
    let late = |_| Failure::new(Exit::Deadline, format!("--at {at}: the name was not found in time"));
    let found = answered.recv_deadline(deadline).map_err(late)?;
    found.map_err(|why| Failure::new(Exit::Usage, format!("--at {why}")))
}

fn ask(addresses: &[SocketAddr], deadline: Instant) -> Result<Report, (Exit, String)> {
    let mut stream = connect(addresses, deadline)?;
    // An inspector has no name and no address that anybody could dial.
    let hello = Hello {
        magic: MAGIC,
        version_min: VERSION,
        version_max: VERSION,
        cluster: String::new(),
        purpose: Purpose::Inspect,
        name: Name::new("inspector"),
        incarnation: Incarnation::NONE,
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        expects: Incarnation::NONE,
        settings: Vec::new(),
        view: None,
    };
    let mut greeting = Control::Hello(hello).encode().to_vec();
    greeting.extend_from_slice(&Control::Inspect(0).encode());
    stream.write_all(&greeting).map_err(|error| (Exit::Environment, format!("cannot write: {error}")))?;
    loop {
        match read_frame(&mut stream, deadline)? {
            Control::Report(report) => return Ok(report),
            Control::Refuse(refusal) => return Err((Exit::Usage, format!("refused: {}", one_line(&refusal.text)))),
            _ => {}
        }
    }
}

fn connect(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, (Exit, String)> {
    let mut last = (Exit::Deadline, "no time to connect".to_owned());
    for (at, address) in addresses.iter().enumerate() {
        let Some(left) = remaining(deadline) else { break };
        // One that does not answer leaves those behind it their part.
        let part = left / (addresses.len() - at) as u32;
        match TcpStream::connect_timeout(address, part) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                last = (Exit::Deadline, "no answer: is it the cluster address of a member?".to_owned());
            }
            Err(error) => last = (Exit::Environment, format!("cannot connect ({error}): is a member running there?")),
        }
    }
    Err(last)
}

fn read_frame(stream: &mut TcpStream, deadline: Instant) -> Result<Control, (Exit, String)> {
    let strange = |what: &str| (Exit::Environment, format!("what answers there is no member of this version: {what}"));
    let mut header = [0; HEADER_BYTES];
    read_exact(stream, &mut header, deadline)?;
    let length = control::body_length(&header);
    if length > limits::CONTROL_BYTES {
        return Err(strange("its answer is too long"));
    }
    let mut frame = header.to_vec();
    frame.resize(HEADER_BYTES + length, 0);
    read_exact(stream, &mut frame[HEADER_BYTES..], deadline)?;
    Control::decode(&frame).map_err(|error| strange(error.0))
}

fn read_exact(stream: &mut TcpStream, mut into: &mut [u8], deadline: Instant) -> Result<(), (Exit, String)> {
    let late = || (Exit::Deadline, "connected, but no answer in time".to_owned());
    let broken = |why: String| (Exit::Environment, format!("the connection broke before the answer: {why}"));
    while !into.is_empty() {
        let left = remaining(deadline).ok_or_else(late)?;
        stream.set_read_timeout(Some(left)).map_err(|error| broken(error.to_string()))?;
        match stream.read(into) {
            Ok(0) => return Err(broken("closed by the other end".to_owned())),
            Ok(read) => into = &mut into[read..],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Err(late()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(broken(error.to_string())),
        }
    }
    Ok(())
}

fn remaining(deadline: Instant) -> Option<Duration> {
    deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

fn table(report: &Report, view: Option<&View>, output: &Output) {
    let Some(view) = view else {
        return output.table(&format!("{} is in no view yet", report.name));
    };
    let coordinator = &view.members[view.coordinator()].name;
    let primary = if report.primary { "primary" } else { "not primary" };
    let fenced = if view.fenced { "fenced" } else { "unfenced" };
    let line =
        format!("view {} of {} members, {primary}, {fenced}, coordinator {coordinator}", view.id.number, view.len());
    output.table(&format!("{line}, as {} sees it", report.name));
    let widest = |width: &dyn Fn(usize) -> usize| (0..view.len()).map(width).max().unwrap_or(0);
    let name_width = widest(&|i| view.members[i].name.as_str().chars().count()).max(4);
    let address_width = widest(&|i| view.members[i].address.to_string().len()).max(7);
    output.table(&format!(
        "{:name_width$}  {:address_width$}  group  role     state     rtt_us  tags",
        "name", "address"
    ));
    for (at, member) in view.members.iter().enumerate() {
        let rtt = rtt(report, &member.name).map_or_else(|| "-".to_owned(), |us| us.to_string());
        let (name, address) = (member.name.as_str(), member.address.to_string());
        let (group, role, state) = (member.group, role(view, at), state(view, at));
        output.table(&format!(
            "{name:name_width$}  {address:address_width$}  {group:<5}  {role:7}  {state:8}  {rtt:>6}  {}",
            member.tags.as_str()
        ));
    }
    output.table(&sessions_line(report));
}

/// What the asked member holds; of the others it does not know.
fn sessions_line(report: &Report) -> String {
    let Report { sessions_primary: primary, sessions_secondary: secondary, .. } = report;
    let (single, bytes) = (report.sessions_single, report.session_bytes);
    format!(
        "sessions of {}: {primary} owned, {single} of them without a second copy; {secondary} second copies; {bytes} bytes",
        report.name
    )
}

/// What it does in its group; a witness that leads nobody only votes.
fn role(view: &View, member: Index) -> &'static str {
    match view.role_of(member) {
        "member" if view.members[member].witness => "witness",
        role => role,
    }
}

fn state(view: &View, member: Index) -> &'static str {
    if view.members[member].ready { "ready" } else { "joining" }
}

fn rtt(report: &Report, name: &Name) -> Option<u64> {
    report.links.iter().find(|link| link.peer == *name && link.rtt_us > 0).map(|link| link.rtt_us)
}

fn summary(report: &Report, view: Option<&View>) -> Value {
    let member = |view: &View, at: Index| {
        let info = &view.members[at];
        json!({
            "name": info.name.as_str(),
            "incarnation": info.incarnation.to_string(),
            "address": info.address.to_string(),
            "group": info.group.to_string(),
            "role": role(view, at),
            "state": state(view, at),
            "witness": info.witness,
            "rtt_us": rtt(report, &info.name),
            "tags": info.tags.iter().collect::<std::collections::BTreeMap<_, _>>(),
        })
    };
    let link = |link: &control::ReportLink| {
        json!({
            "peer": link.peer.as_str(),
            "transport": "tcp",
            "state": link.state,
            "queued_bytes": link.queued_bytes,
            "unstable_bytes": link.unstable_bytes,
            "rtt_us": link.rtt_us,
        })
    };
    json!({
        "asked": report.name.as_str(),
        "view_id": view.map(|v| v.id.to_string()),
        "fenced": report.fenced,
        "primary": report.primary,
        "ready": report.ready,
        "coordinator": view.map(|v| v.members[v.coordinator()].name.to_string()),
        "members": view.map(|v| (0..v.len()).map(|at| member(v, at)).collect::<Vec<_>>()).unwrap_or_default(),
        "links": report.links.iter().map(link).collect::<Vec<_>>(),
        "sessions_primary": report.sessions_primary,
        "sessions_secondary": report.sessions_secondary,
        "sessions_single": report.sessions_single,
        "session_bytes": report.session_bytes,
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn an_address_that_does_not_answer_leaves_time_for_the_next() {
        let silent = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        silent.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
        silent.listen(0).expect("it listens");
        let address = silent.local_addr().expect("bound").as_socket().expect("an address of IPv4");
        // Nobody takes these; when its queue is full, the system answers no more.
        let briefly = Duration::from_millis(50);
        let queued: Vec<TcpStream> =
            std::iter::from_fn(|| TcpStream::connect_timeout(&address, briefly).ok()).collect();
        assert!(!queued.is_empty());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let live = listener.local_addr().expect("bound");
        let deadline = Instant::now() + Duration::from_secs(2);
        let connected = connect(&[address, live], deadline).expect("the second one answers");
        assert_eq!(connected.peer_addr().expect("connected"), live);
        assert!(Instant::now() < deadline);
    }
}
