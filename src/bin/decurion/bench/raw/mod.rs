//! The raw baseline: processes that move the same bytes over the same links with no protocol at all. It has no membership, no
//! numbering, no repair, no window (but for the blast of datagrams, which would lose some without); only plain sockets, driven
//! as well as we know how.

mod blast;
mod echo;
mod links;
mod node;
mod receiving;

use std::io::{Read, Write};
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use super::child::{self, Orders, say};
use super::protocol::{Order, Said, Spec, Tuning};
use crate::output::{Exit, Failure, Outcome};
use links::Link;

/// Runs the hidden verb.
pub fn run(text: &str) -> Outcome {
    let spec = child::spec(text)?;
    let environment = |error: std::io::Error| Failure::new(Exit::Environment, format!("a raw process: {error}"));
    let mut orders = Orders::new().map_err(environment)?;
    let (listener, address) = listen(&spec).map_err(environment)?;
    say(&Said::Open { address });
    for order in orders.next() {
        if let Order::Link { dial, accept, mixed } = order {
            let links = link(&listener, &dial, accept, &spec.tuning).map_err(environment)?;
            if let Some(blast) = &spec.blast {
                // Everybody dials the sender.
                let run = if accept > 0 { blast::send } else { blast::receive };
                return run(&spec, blast, links, orders).map(|never| match never {});
            }
            say(&Said::Linked);
            if spec.echo {
                return echo::run(&spec, links, orders).map_err(environment).map(|never| match never {});
            }
            return node::Node::new(&spec, links, mixed, orders).map_err(environment)?.run();
        }
    }
    Err(Failure::new(Exit::Usage, "a raw process is told first what to link"))
}

fn socket(tuning: &Tuning) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    if tuning.socket_bytes > 0 {
        // Before it connects or listens: the window's scale depends on it.
        socket.set_recv_buffer_size(tuning.socket_bytes)?;
        socket.set_send_buffer_size(tuning.socket_bytes)?;
    }
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

fn listen(spec: &Spec) -> std::io::Result<(Socket, SocketAddr)> {
    let socket = socket(&spec.tuning)?;
    socket.bind(&SocketAddr::from((spec.host, 0)).into())?;
    socket.listen(1_024)?;
    let address = socket.local_addr()?.as_socket().expect("an address of IPv4");
    Ok((socket, address))
}

/// Makes all links: who dials says first whether both ends lead a group.
fn link(listener: &Socket, dial: &[(SocketAddr, bool)], accept: usize, tuning: &Tuning) -> std::io::Result<Vec<Link>> {
    let mut links = Vec::new();
    for (address, leaders) in dial {
        let socket = socket(tuning)?;
        socket.connect(&(*address).into())?;
        (&socket).write_all(&[u8::from(*leaders)])?;
        links.push(Link::new(socket, *leaders));
    }
    for _ in 0..accept {
        let (socket, _) = listener.accept()?;
        socket.set_tcp_nodelay(true)?;
        let mut leaders = [0];
        (&socket).read_exact(&mut leaders)?;
        links.push(Link::new(socket, leaders != [0]));
    }
    for link in &links {
        link.socket.set_nonblocking(true)?;
    }
    Ok(links)
}
