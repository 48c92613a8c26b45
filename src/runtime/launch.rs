//! Opening an engine: everything that can fail fails here, before a thread exists.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::bell::Bell;
use super::events::{EventSource, event_queue};
use super::journal::{Journal, LogSink};
use super::multicast::joined::Joined;
use super::reactor::{Delivery, Handler, Reactor};
use super::resolver::Resolver;
use super::runs::{Hosted, Runs};
use super::shared::Shared;
use super::socket::Buffers;
use super::transport::Transport;
use super::{clock, fork, socket};
use crate::core::{Member, Outbox, Setup};
use crate::types::{Code, Error, Incarnation, Name, Result, limits};

/// What an engine is made of, beside what the protocol is told.
pub struct Parts {
    /// What the protocol is told; see [`crate::api::Resolved::setup`] for what is filled in here.
    pub setup: Setup,
    /// Where to listen.
    pub bind: SocketAddr,
    /// What the system may hold of each connection's bytes.
    pub buffers: Buffers,
    /// The multicast group, if one is used.
    pub group: Option<GroupSettings>,
    /// Most connections at the same time.
    pub max_connections: usize,
    /// Whether the engine gets a thread of its own; else the host's loop turns it, and there is no handler.
    pub own_thread: bool,
    /// Name of that thread, and the begin of the resolver's.
    pub thread_name: String,
    /// Called with each event on the engine's thread; without it the host polls.
    pub handler: Option<Handler>,
    /// The host's callback for log lines.
    pub log: Option<LogSink>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("setup", &self.setup).field("bind", &self.bind).finish_non_exhaustive()
    }
}

/// What a member does with its multicast group that the protocol need not know.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    /// Address and port.
    pub group: SocketAddr,
    /// The address whose interface is used; `None` leaves it to the system.
    pub interface: Option<IpAddr>,
    /// How many networks a datagram may go through, 0 to 255.
    pub ttl: u32,
    /// Bytes asked for, for datagrams that wait.
    pub buffer_bytes: usize,
    /// The longest datagram, wherever the interface's packets take longer ones.
    pub datagram_bytes: usize,
    /// So many of a thousand datagrams that come are thrown away, to see what happens.
    pub loss_per_mille: u32,
}

/// A running engine.
#[derive(Debug)]
pub struct Launched {
    /// The host's side of it.
    pub shared: Arc<Shared>,
    /// Where the host polls; with a handler, nothing but the end is to be seen there.
    pub events: EventSource,
    /// Who turns it.
    pub runs: Runs,
    /// The member's name, as given or as made here.
    pub name: Name,
}

/// Opens the port and, unless the host's loop turns the engine, starts its thread.
///
/// # Errors
/// `System`, with what to do, when the port cannot be had or the system has no descriptor or thread left. Nothing stays.
pub fn launch(mut parts: Parts) -> Result<Launched> {
    fork::install_handlers();
    let port = socket::bind_port(parts.bind, parts.buffers.bytes)?;
    let local = port.local;
    fill_in(&mut parts.setup, local);
    let group = parts.group.as_ref().map(Joined::open).transpose()?;
    if let (Some(group), Some(multicast)) = (&group, &mut parts.setup.multicast) {
        multicast.receive_bytes = group.receive_buffer_bytes();
        multicast.datagram_bytes = group.datagram_bytes();
    }
    let setup = parts.setup;
    let name = setup.name.clone();
    let thread_name: String = parts.thread_name.chars().filter(|c| *c != '\0').collect();

    let bell = Arc::new(Bell::new().map_err(|e| no_descriptor(&e))?);
    let transport = Transport::new(port, &bell, parts.max_connections, parts.buffers);
    let mut transport = transport.map_err(|e| no_descriptor(&e))?;
    let (sink, events) = event_queue().map_err(|e| no_descriptor(&e))?;
    let delivery = Delivery { sink, handler: parts.handler };
    let outbox = Outbox::new(setup.send_queue_bytes, setup.message_bytes);
    let shared = Arc::new(Shared::new(bell.clone(), local, outbox, setup.receive_queue_bytes));
    let resolver = Resolver::new(bell, &thread_name);
    let journal = Journal::new(name.as_str(), parts.log);
    if let (Some(group), Some(settings)) = (group, &parts.group) {
        journal.write(log::Level::Info, &group.describe());
        group.shortcomings(settings).iter().for_each(|text| journal.write(log::Level::Warn, text));
        transport.join(group).map_err(|e| no_descriptor(&e))?;
    }
    let member = Member::new(setup, clock::now());
    let reactor = Reactor::new(member, resolver, transport, shared.clone(), delivery, journal);

    let runs = if parts.own_thread {
        Runs::on_thread(&thread_name, reactor, shared.clone()).map_err(|e| no_thread(&e))?
    } else {
        Runs::Hosted(Box::new(Hosted::new(reactor, shared.clone(), &events).map_err(|e| no_descriptor(&e))?))
    };
    Ok(Launched { shared, events, runs, name })
}

/// What only the system can say.
fn fill_in(setup: &mut Setup, local: SocketAddr) {
    let bits = clock::random_bits();
    // Zero means "nobody" on the wire.
    setup.incarnation = Incarnation(bits.max(1));
    setup.random = clock::random_bits() as u64;
    if setup.advertise.port() == 0 {
        setup.advertise.set_port(local.port());
    }
    if setup.name.as_str().is_empty() {
        let mut host = socket::host_name();
        host.retain(Name::allows);
        while host.len() > limits::NAME_BYTES - "-65535".len() {
            host.pop();
        }
        setup.name = Name::new(&format!("{host}-{}", local.port()));
    }
}

fn no_descriptor(error: &io::Error) -> Error {
    Error::new(Code::System, format!("no file descriptor for the engine: {error}; raise the limit (ulimit -n)"))
}

fn no_thread(error: &io::Error) -> Error {
    Error::new(Code::System, format!("no thread for the engine: {error}; raise the limit of processes (ulimit -u)"))
}
