//! Opening a group's socket: at which interface, over which route, and what to do when there is none.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use super::super::fork::{AfterFork, Tracked};
use super::super::socket::set_buffers;
use super::GroupOptions;
use crate::types::{Code, Error, Result};

/// What IP and UDP put before a datagram.
pub(super) const HEADERS_V4: usize = 20 + 8;
pub(super) const HEADERS_V6: usize = 40 + 8;

/// A socket that has joined.
pub(super) struct Opened {
    pub(super) socket: Tracked<Socket>,
    /// The group as a destination: of IPv6 with its scope.
    pub(super) to: SocketAddr,
    /// The address that its datagrams come from.
    pub(super) local: IpAddr,
    pub(super) interface: Option<String>,
    pub(super) segments: bool,
    pub(super) coalesces: bool,
}

/// The interface that is used, by what the system wants to have said.
#[derive(Clone)]
struct At {
    address: IpAddr,
    /// 0 while it is not known.
    index: u32,
    name: Option<String>,
}

/// What was under way when the system refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Make,
    Route,
    Bind,
    Join,
}

type Failed = (Step, io::Error);

fn during(step: Step) -> impl Fn(io::Error) -> Failed {
    move |error| (step, error)
}

pub(super) fn open(options: &GroupOptions) -> Result<Opened> {
    check(options)?;
    let named = options.interface.map(|address| find(options, address)).transpose()?;
    let refused = |(step, error): Failed| cannot_join(options, named.as_ref(), step, &error);
    let address = source(options.group, named.as_ref()).map_err(refused)?;
    let at = match &named {
        Some(named) => At { address, ..named.clone() },
        None => at_of(address).unwrap_or(At { address, index: 0, name: None }),
    };
    let to = with_scope(options.group, at.index);
    let socket = Tracked::open(AfterFork::Close, || join(options, to, &at)).map_err(refused)?;
    let segments = can(&socket, libc::UDP_SEGMENT, 1_000) && can(&socket, libc::UDP_SEGMENT, 0);
    let coalesces = coalesce(&socket, true);
    if !(segments && coalesces) {
        let lacks = if segments { "UDP_GRO" } else { "UDP_SEGMENT" };
        let text = format!("this kernel has no {lacks}: datagrams of {} take more calls", options.group);
        log::info!(target: "decurion::runtime", "{text}");
    }
    Ok(Opened { socket, to, local: at.address, interface: at.name, segments, coalesces })
}

fn check(options: &GroupOptions) -> Result<()> {
    let GroupOptions { group, interface, ttl, .. } = options;
    let wrong = if !group.ip().is_multicast() {
        let example = if group.is_ipv4() { "239.192.0.0 to 239.195.255.255" } else { "ff15::1 and the like" };
        format!("{} is not a multicast address: use one that is, {example} are free for any organisation", group.ip())
    } else if group.port() == 0 {
        "a group needs a port, the same at all members: name one".to_owned()
    } else if interface.is_some_and(|i| i.is_ipv4() != group.is_ipv4()) {
        let family = if group.is_ipv4() { "IPv4" } else { "IPv6" };
        format!("the group is of {family}: name an {family} address of the interface")
    } else if *ttl > 255 {
        format!("a TTL of {ttl} is over the most, 255: 1 reaches the local network, each router more takes one")
    } else {
        return Ok(());
    };
    Err(Error::new(Code::InvalidArgument, format!("cannot join the multicast group {}: {wrong}", describe(options))))
}

/// The interface of this machine that has the address, if the system tells.
fn at_of(address: IpAddr) -> Option<At> {
    let found = if_addrs::get_if_addrs().ok()?.into_iter().find(|i| i.ip() == address)?;
    Some(At { address, index: found.index.unwrap_or(0), name: Some(found.name) })
}

fn find(options: &GroupOptions, address: IpAddr) -> Result<At> {
    at_of(address).ok_or_else(|| {
        let family = if address.is_ipv4() { "" } else { ", if it has IPv6 at all" };
        let text = format!(
            "cannot join the multicast group {}: {address} is not an address of this machine (ip -brief address lists \
             them{family}): name one that is",
            describe(options)
        );
        Error::new(Code::System, text)
    })
}

/// Which address of this machine datagrams to the group come from; fails where no route leads to it. Nothing is sent.
fn source(group: SocketAddr, named: Option<&At>) -> std::result::Result<IpAddr, Failed> {
    let to = with_scope(group, named.map_or(0, |at| at.index));
    let socket = Tracked::open(AfterFork::Close, || datagrams(to)).map_err(during(Step::Make))?;
    let asked = || {
        if let Some(at) = named {
            set_interface(&socket, to.ip(), at)?;
        }
        socket.connect(&to.into())?;
        let local = socket.local_addr()?.as_socket().map(|local| local.ip());
        local.filter(|ip| !ip.is_unspecified()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENETUNREACH))
    };
    asked().map_err(during(Step::Route))
}

/// Forks wait for this: nothing here blocks.
fn join(options: &GroupOptions, to: SocketAddr, at: &At) -> std::result::Result<Socket, Failed> {
    let socket = datagrams(to).map_err(during(Step::Make))?;
    // Several members of one machine hear the same group. With this option each of them gets a copy of what comes in;
    // SO_REUSEPORT would let nobody in who lacks it, or is another user.
    socket.set_reuse_address(true).map_err(during(Step::Make))?;
    set_buffers(&socket, options.buffer_bytes);
    socket.bind(&to.into()).map_err(during(Step::Bind))?;
    listen_at(&socket, to.ip(), at).map_err(during(Step::Join))?;
    leave_by(&socket, to.ip(), at, options.ttl).map_err(during(Step::Join))?;
    Ok(socket)
}

fn datagrams(to: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if to.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// A group of IPv6 that reaches no further than the link is told apart from that of another link by the interface.
fn with_scope(group: SocketAddr, index: u32) -> SocketAddr {
    match group {
        SocketAddr::V6(v6) => {
            let scope = if v6.scope_id() == 0 { index } else { v6.scope_id() };
            SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, scope))
        }
        v4 => v4,
    }
}

fn set_interface(socket: &Socket, group: IpAddr, at: &At) -> io::Result<()> {
    match (group, at.address) {
        (IpAddr::V4(_), IpAddr::V4(address)) => socket.set_multicast_if_v4(&address),
        _ => socket.set_multicast_if_v6(at.index),
    }
}

fn listen_at(socket: &Socket, group: IpAddr, at: &At) -> io::Result<()> {
    match group {
        IpAddr::V4(group) => {
            let address = if let IpAddr::V4(address) = at.address { address } else { Ipv4Addr::UNSPECIFIED };
            socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Address(address))?;
            // Not what other sockets of this machine have joined at other interfaces.
            socket.set_multicast_all_v4(false)
        }
        IpAddr::V6(group) => {
            socket.join_multicast_v6(&group, at.index)?;
            socket.set_multicast_all_v6(false)
        }
    }
}

/// How datagrams leave: by this interface, so far, and also to the members of this machine.
fn leave_by(socket: &Socket, group: IpAddr, at: &At, ttl: u32) -> io::Result<()> {
    set_interface(socket, group, at)?;
    if group.is_ipv4() {
        socket.set_multicast_ttl_v4(ttl)?;
        socket.set_multicast_loop_v4(true)
    } else {
        socket.set_multicast_hops_v6(ttl)?;
        socket.set_multicast_loop_v6(true)
    }
}

/// Whether the kernel takes this option of UDP.
fn can(socket: &Socket, option: libc::c_int, value: libc::c_int) -> bool {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointer and length name a live integer, which the system copies.
    unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, option, (&raw const value).cast(), length) == 0 }
}

/// Has super-datagrams come in whole, or not.
pub(super) fn coalesce(socket: &Socket, whole: bool) -> bool {
    can(socket, libc::UDP_GRO, libc::c_int::from(whole))
}

/// MTU of the interface of that name.
pub(super) fn mtu_of(socket: &Socket, name: &str) -> Option<usize> {
    // SAFETY: the structure is plain numbers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero: it ends the name.
    if name.len() >= request.ifr_name.len() {
        return None;
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: the pointer is to a live request of the kind that this call reads and writes.
    let failed = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU as _, &raw mut request) };
    if failed != 0 {
        return None;
    }
    // SAFETY: the call succeeded, so it has written this member of the union; any bits are a number.
    usize::try_from(unsafe { request.ifr_ifru.ifru_mtu }).ok()
}

fn describe(options: &GroupOptions) -> String {
    match options.interface {
        Some(address) => format!("{} at the interface of {address}", options.group),
        None => format!("{} at the system's choice of interface", options.group),
    }
}

fn cannot_join(options: &GroupOptions, named: Option<&At>, step: Step, error: &io::Error) -> Error {
    let group = options.group;
    let name = named.and_then(|at| at.name.as_deref()).unwrap_or("NAME");
    let unreachable = matches!(error.raw_os_error(), Some(libc::ENETUNREACH | libc::ENODEV | libc::EHOSTUNREACH))
        || error.kind() == io::ErrorKind::NetworkUnreachable;
    let advice = match (error.raw_os_error(), step) {
        (Some(libc::EAFNOSUPPORT), _) => "this machine has no IPv6: use a group of IPv4".to_owned(),
        (Some(libc::EADDRINUSE), _) => format!(
            "port {} is taken by a socket that does not share it (ss -lnup shows by which process): stop that one, or use \
             another port at all members",
            group.port()
        ),
        (Some(libc::EMFILE), _) => "this process has too many open files: raise its limit (ulimit -n)".to_owned(),
        (Some(libc::ENOBUFS), Step::Join) => {
            "this machine has joined too many groups: raise net.ipv4.igmp_max_memberships".to_owned()
        }
        (Some(libc::EACCES), _) if group.port() < 1_024 => {
            format!("port {} needs more rights: use one above 1023", group.port())
        }
        (Some(libc::EACCES | libc::EPERM), _) => "a firewall or the container's rights forbid it".to_owned(),
        _ if unreachable || step == Step::Route => no_route(group, named, name),
        _ => "check the group and the interface (ip -brief address, ip maddress)".to_owned(),
    };
    Error::new(Code::System, format!("cannot join the multicast group {}: {error}; {advice}", describe(options)))
}

fn no_route(group: SocketAddr, named: Option<&At>, name: &str) -> String {
    let add = if group.is_ipv4() {
        format!("ip route add 224.0.0.0/4 dev {name}")
    } else {
        format!("ip -6 route add multicast ff00::/8 dev {name} table local")
    };
    match named {
        None => format!("no route leads to the group: name the interface by its address, or add a route ({add})"),
        Some(_) => format!(
            "no route leads to the group there: look whether {name} is up (ip -brief link), or add a route ({add})"
        ),
    }
}
