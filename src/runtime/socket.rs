//! Making sockets: the port of a member (TCP and UDP under one number), and connections to others.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use socket2::{Domain, Protocol, Socket, Type};

use super::fork::{AfterFork, Tracked};
use crate::core::CloseCause;
use crate::types::{Code, Error, Result};

/// Connections that wait to be accepted; the system may allow fewer (net.core.somaxconn).
const BACKLOG: i32 = 4_096;
/// How often a free TCP port is drawn until the UDP port of the same number is free as well.
const FREE_PORT_TRIES: usize = 64;

/// The two sockets of a member's port.
#[derive(Debug)]
pub struct Port {
    /// Takes connections.
    pub listener: Tracked<Socket>,
    /// Takes and sends datagrams.
    pub datagrams: Tracked<Socket>,
    /// Where both are bound.
    pub local: SocketAddr,
}

/// Binds TCP and UDP to the same address. Port 0 takes one that is free for both.
pub fn bind_port(bind: SocketAddr, buffer_bytes: usize) -> Result<Port> {
    let tries = if bind.port() == 0 { FREE_PORT_TRIES } else { 1 };
    let mut last = None;
    for _ in 0..tries {
        let (listener, local) = listen(bind, buffer_bytes).map_err(|e| cannot_bind(bind, "TCP", &e))?;
        match bind_datagrams(local, buffer_bytes) {
            Ok(datagrams) => return Ok(Port { listener, datagrams, local }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = Some((local, error)),
            Err(error) => return Err(cannot_bind(local, "UDP", &error)),
        }
    }
    let (local, error) = last.expect("the loop ran");
    Err(cannot_bind(local, "UDP", &error))
}

fn listen(bind: SocketAddr, buffer_bytes: usize) -> io::Result<(Tracked<Socket>, SocketAddr)> {
    Tracked::open_with(AfterFork::Close, || {
        let socket = Socket::new(Domain::for_address(bind), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        // A restarted member takes its port again while old connections of it linger in the system.
        socket.set_reuse_address(true)?;
        both_families(&socket, bind)?;
        // Before listen: accepted connections inherit it, and the window's scale depends on it.
        set_buffers(&socket, buffer_bytes);
        socket.bind(&bind.into())?;
        socket.listen(BACKLOG)?;
        let local = local_address(&socket)?;
        Ok((socket, local))
    })
}

fn bind_datagrams(bind: SocketAddr, buffer_bytes: usize) -> io::Result<Tracked<Socket>> {
    Tracked::open(AfterFork::Close, || {
        let socket = Socket::new(Domain::for_address(bind), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        both_families(&socket, bind)?;
        set_buffers(&socket, buffer_bytes);
        socket.bind(&bind.into())?;
        Ok(socket)
    })
}

/// A wildcard of IPv6 serves IPv4 as well.
fn both_families(socket: &Socket, bind: SocketAddr) -> io::Result<()> {
    if bind.is_ipv6() && bind.ip().is_unspecified() { socket.set_only_v6(false) } else { Ok(()) }
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("the socket has no IP address"))
}

/// What the system does not grant it caps by itself, so there is nothing to report.
pub(super) fn set_buffers(socket: &Socket, bytes: usize) {
    if bytes > 0 {
        let _ = socket.set_recv_buffer_size(bytes);
        let _ = socket.set_send_buffer_size(bytes);
    }
}

/// What the system may hold of a connection's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Buffers {
    /// Size asked for each socket's send and receive buffer; 0 leaves it to the system.
    pub bytes: usize,
    /// Most bytes that wait to be sent there; 0 leaves it to the system. What is beyond waits in our own queues, where streams take
    /// turns, instead of before everything else.
    pub unsent_bytes: usize,
}

impl Buffers {
    /// On the loopback device nothing waits to be sent but for a receiver that lags, and more calls would be all that comes of it.
    fn keep_unsent_short(self, socket: &Socket, peer: SocketAddr) {
        if self.unsent_bytes > 0 && !peer.ip().is_loopback() {
            let _ = socket.set_tcp_notsent_lowat(self.unsent_bytes.min(u32::MAX as usize) as u32);
        }
    }
}

/// Starts a connection; it is up, or has failed, when its socket becomes writable.
pub fn dial(to: SocketAddr, buffers: Buffers) -> io::Result<Tracked<Socket>> {
    Tracked::open(AfterFork::Close, || {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        set_buffers(&socket, buffers.bytes);
        buffers.keep_unsent_short(&socket, to);
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&to.into()) {
            Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => Err(e),
            _ => Ok(socket),
        }
    })
}

/// How a dialled connection stands: `Ok(true)` up, `Ok(false)` still under way.
pub fn dialled(socket: &Socket) -> io::Result<bool> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        // Dialling a free port of one's own host can meet itself: the system drew the same port for both ends.
        Ok(peer) if socket.local_addr().is_ok_and(|local| local.as_socket() == peer.as_socket()) => {
            Err(io::ErrorKind::ConnectionRefused.into())
        }
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(e) => Err(e),
    }
}

/// Takes one waiting connection, ready for use.
pub fn accept(listener: &Socket, buffers: Buffers) -> io::Result<(Tracked<Socket>, SocketAddr)> {
    Tracked::open_with(AfterFork::Close, || {
        let (socket, peer) = listener.accept()?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        let peer = peer.as_socket().ok_or_else(|| io::Error::other("the peer has no IP address"))?;
        let peer = canonical(peer);
        buffers.keep_unsent_short(&socket, peer);
        Ok((socket, peer))
    })
}

/// The address as others write it: IPv4 as IPv4, also where it came in through a socket of IPv6.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The address as a datagram socket of this family takes it.
pub fn for_family(to: SocketAddr, local: SocketAddr) -> SocketAddr {
    match to.ip() {
        IpAddr::V4(ip) if local.is_ipv6() => SocketAddr::V6(SocketAddrV6::new(ip.to_ipv6_mapped(), to.port(), 0, 0)),
        _ => to,
    }
}

/// What a failure says about the other end.
pub fn cause_of(error: &io::Error) -> CloseCause {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => CloseCause::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            CloseCause::Peer
        }
        _ => CloseCause::Failed,
    }
}

/// Host name of this machine.
pub fn host_name() -> String {
    let mut name = [0u8; 256];
    // SAFETY: the pointer and length name a live buffer; the last byte stays zero whatever the call writes.
    let failed = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) } != 0;
    let end = name.iter().position(|b| *b == 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&name[..end]).into_owned();
    if failed || text.is_empty() { "localhost".to_owned() } else { text }
}

fn cannot_bind(bind: SocketAddr, transport: &str, error: &io::Error) -> Error {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {} is taken (ss -lntup shows by which process): stop that one, or set node.bind to another port, or to \
             port 0 for a free one",
            bind.port()
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "{} is not an address of this machine (ip -brief address lists them): set node.bind to one that is, and \
             node.advertise to the one that others reach",
            bind.ip()
        ),
        io::ErrorKind::PermissionDenied => {
            format!("port {} needs more rights: set node.bind to a port above 1023", bind.port())
        }
        _ if error.raw_os_error() == Some(libc::EMFILE) => {
            "this process has too many open files: raise its limit (ulimit -n)".to_owned()
        }
        _ => "check node.bind".to_owned(),
    };
    Error::new(Code::System, format!("cannot listen at {bind} ({transport}): {error}; {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn both_transports_share_one_number() {
        let port = bind_port(loopback(), 64 * 1024).unwrap();
        let udp = local_address(&port.datagrams).unwrap();
        assert_eq!(udp, port.local);
        assert_ne!(udp.port(), 0);
    }

    #[test]
    fn a_taken_port_says_so_and_what_to_do() {
        let first = bind_port(loopback(), 0).unwrap();
        let error = bind_port(first.local, 0).unwrap_err();
        assert_eq!(error.code(), Code::System);
        assert!(error.text().contains(&format!("port {} is taken", first.local.port())), "{error}");
        assert!(error.text().contains("node.bind"), "{error}");
    }

    #[test]
    fn a_port_taken_for_datagrams_only_is_named_as_such() {
        let udp = std::net::UdpSocket::bind(loopback()).unwrap();
        let error = bind_port(udp.local_addr().unwrap(), 0).unwrap_err();
        assert!(error.text().contains("(UDP)"), "{error}");
    }

    #[test]
    fn an_address_of_another_machine_is_refused_by_name() {
        let error = bind_port("192.0.2.1:0".parse().unwrap(), 0).unwrap_err();
        assert!(error.text().contains("192.0.2.1 is not an address of this machine"), "{error}");
    }

    #[test]
    fn a_port_is_free_again_at_once() {
        let first = bind_port(loopback(), 0).unwrap();
        let local = first.local;
        let buffers = Buffers { bytes: 0, unsent_bytes: 4_096 };
        let dialled = dial(local, buffers).unwrap();
        let (accepted, _) =
            std::iter::from_fn(|| Some(accept(&first.listener, buffers))).find_map(std::result::Result::ok).unwrap();
        drop(accepted);
        drop(first);
        drop(dialled);
        bind_port(local, 0).unwrap();
    }

    #[test]
    fn addresses_cross_the_families() {
        let v4: SocketAddr = "10.0.0.7:7100".parse().unwrap();
        let mapped = for_family(v4, "[::]:7100".parse().unwrap());
        assert_eq!(mapped, "[::ffff:10.0.0.7]:7100".parse().unwrap());
        assert_eq!(canonical(mapped), v4);
        assert_eq!(for_family(v4, "0.0.0.0:7100".parse().unwrap()), v4);
    }

    #[test]
    fn little_waits_unsent_but_on_the_loopback_device() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        let usual = socket.tcp_notsent_lowat().unwrap();
        let keep = |peer: &str, unsent_bytes| {
            Buffers { bytes: 0, unsent_bytes }.keep_unsent_short(&socket, peer.parse().unwrap());
            socket.tcp_notsent_lowat().unwrap()
        };
        assert_eq!((keep("127.0.0.1:1", 4_096), keep("10.0.0.1:1", 0)), (usual, usual));
        assert_eq!(keep("10.0.0.1:1", 4_096), 4_096);
        assert_eq!(keep("[fd00::1]:1", 8_192), 8_192);
    }
}
