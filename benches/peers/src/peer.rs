//! Who is measured: what each needs, how its processes are started, and how it is set.

use std::process::Command;

/// Which way its messages go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Way {
    /// From the sender through one process to all others: a broker, or a receiver that passes on.
    Relayed,
    /// From the sender to each receiver.
    Direct,
    /// To a server or a backup, and an acknowledgement back.
    Written,
}

/// What it is written in: how its drivers are started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host {
    /// This very program.
    Native,
    /// The module in `java/`. One fleet does all workloads, since a virtual machine takes long to start and to become warm.
    Java,
}

/// What must be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// A program in the path.
    Program(&'static str),
    /// A feature of this program.
    Feature(&'static str),
    /// The module in `java/`.
    Java,
}

/// A server that stands between the processes.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// The command; `{port}` stands for its port.
    pub command: &'static str,
    /// How it tells its version.
    pub version: &'static str,
}

impl Server {
    /// The command with its port.
    pub fn command(&self, port: u16) -> Command {
        let words = split(self.command).map(|word| word.replace("{port}", &port.to_string()));
        let words: Vec<String> = words.collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }
}

/// Words, of which those in double quotes are one.
fn split(text: &str) -> impl Iterator<Item = String> {
    text.split('"').enumerate().flat_map(|(at, part)| match at % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    })
}

/// One that is measured.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its name on the command line and in the drivers.
    pub name: &'static str,
    /// Its name in the tables.
    pub title: &'static str,
    /// Which way its messages go.
    pub way: Way,
    /// How its drivers are started.
    pub host: Host,
    /// What must be there.
    pub needs: Needs,
    /// A server beside the drivers.
    pub server: Option<Server>,
    /// Whether one of the receivers passes on.
    pub relays: bool,
    /// Whether the sender keeps a window by the shared page.
    pub window: bool,
    /// How it is set, for the page.
    pub config: &'static str,
}

const NATS: Server = Server { command: "nats-server -a 127.0.0.1 -p {port}", version: "nats-server --version" };
const REDIS: Server = Server {
    command: "redis-server --bind 127.0.0.1 --port {port} --save \"\" --appendonly no --io-threads 1 \
              --client-output-buffer-limit \"pubsub 0 0 0\" --daemonize no --loglevel warning",
    version: "redis-server --version",
};
const MEMCACHED: Server =
    Server { command: "memcached -l 127.0.0.1 -p {port} -U 0 -m 256 -t 1 -u root", version: "memcached --version" };

const NATIVE: Peer = Peer {
    name: "",
    title: "",
    way: Way::Relayed,
    host: Host::Native,
    needs: Needs::Program(""),
    server: None,
    relays: false,
    window: false,
    config: "",
};
const JAVA: Peer = Peer { way: Way::Direct, host: Host::Java, needs: Needs::Java, ..NATIVE };

/// All of them, in the order in which they take turns.
pub const PEERS: &[Peer] = &[
    Peer {
        name: "aeron-relayed",
        title: "Aeron, relayed",
        needs: Needs::Feature("aeron"),
        relays: true,
        config: "The C media driver of the crate `rusteron-media-driver` in each process, threads `SHARED` with the `yield` idle \
                 strategy (`backoff` was slower when both were tried); UDP, datagrams (MTU) of 65,504 bytes, terms of 8 MiB, a window \
                 of 2 MiB (1 MiB and 256 KiB were slower), socket buffers of 4 MiB (the window must fit into them). From the sender to a receiver, which publishes to the other eight by \
                 multi-destination-cast with `fc=min,g:/8`: the slowest holds all, nothing is given up.",
        ..NATIVE
    },
    Peer {
        name: "nats",
        title: "NATS",
        needs: Needs::Program("nats-server"),
        server: Some(NATS),
        window: true,
        config: "One server with its shipped settings; its protocol spoken by our driver over plain sockets, socket buffers of the \
                 clients 128 KiB (the server's cannot be set), batches of 64 KiB, reads of 128 KiB. A window keeps it from \
                 dropping whoever is slow.",
        ..NATIVE
    },
    Peer {
        name: "redis",
        title: "Redis publish/subscribe",
        needs: Needs::Program("redis-server"),
        server: Some(REDIS),
        window: true,
        config: "One server without snapshots and log, `client-output-buffer-limit pubsub 0 0 0` (nobody is dropped); clients as for \
                 NATS, publications pipelined with `CLIENT REPLY OFF`, a window.",
        ..NATIVE
    },
    Peer {
        name: "zmq-relayed",
        title: "ZeroMQ, relayed",
        needs: Needs::Feature("zmq"),
        relays: true,
        config: "TCP, `ZMQ_SNDBUF` and `ZMQ_RCVBUF` 128 KiB, queues (`HWM`) of 4 MiB (256 KiB, 1 MiB and 32 MiB were no better). \
                 The sender pushes to a receiver, which passes \
                 on to the other eight by `XPUB` with `ZMQ_XPUB_NODROP`: a full queue holds the sender. The library's own \
                 batching; messages are passed on without a copy.",
        ..NATIVE
    },
    Peer {
        name: "aeron-multicast",
        title: "Aeron, multicast",
        way: Way::Direct,
        needs: Needs::Feature("aeron"),
        config: "The same; the sender publishes by multicast on the loopback device, `fc=min,g:/9`.",
        ..NATIVE
    },
    Peer {
        name: "aeron-ethernet",
        title: "Aeron, multicast, 1,408",
        way: Way::Direct,
        needs: Needs::Feature("aeron"),
        config: "The same with datagrams of 1,408 bytes, which is its default.",
        ..NATIVE
    },
    Peer {
        name: "zmq-direct",
        title: "ZeroMQ, direct",
        way: Way::Direct,
        needs: Needs::Feature("zmq"),
        config: "The same; the sender's `XPUB` has a connection to each receiver.",
        ..NATIVE
    },
    Peer {
        name: "jgroups",
        title: "JGroups",
        config: "TCP with socket buffers of 128 KiB, `bundler_type=transfer-queue`, `max_size` 140,000, and a queue of 131,072 messages, \
                 which the credits cannot fill: it drops when it is full; NAKACK2, UNICAST3, STABLE, MFC and UFC with 4 MB of credits, \
                 FRAG2 at 100,000. Messages are sent with `DONT_BUNDLE` where latency is measured.",
        ..JAVA
    },
    Peer {
        name: "hazelcast",
        title: "Hazelcast topic",
        window: true,
        config: "Ten members, TCP/IP join, socket buffers of 128 KiB, `event.queue.capacity` 4,000,000 (nothing is dropped), one I/O \
                 thread each way, responses on it, metrics and phone-home off. A window.",
        ..JAVA
    },
    Peer {
        name: "tribes",
        title: "Tribes, acknowledged",
        config: "Static members, socket buffers of 128 KiB, NIO receiver and pooled parallel sender, each message sent to all nine \
                 with `SEND_OPTIONS_USE_ACK` and `SEND_OPTIONS_SYNCHRONIZED_ACK`: the sender waits until the hosts of all nine have taken \
                 it, which keeps the order. (`OrderInterceptor` sends to one after the other.)",
        ..JAVA
    },
    Peer {
        name: "redis",
        title: "Redis SET",
        way: Way::Written,
        needs: Needs::Program("redis-server"),
        server: Some(REDIS),
        config: "One client, pipelined up to the window.",
        ..NATIVE
    },
    Peer {
        name: "memcached",
        title: "memcached set",
        way: Way::Written,
        needs: Needs::Program("memcached"),
        server: Some(MEMCACHED),
        config: "`-t 1` (there is one client); its text protocol, pipelined up to the window.",
        ..NATIVE
    },
    Peer {
        name: "jgroups",
        title: "JGroups, one backup",
        way: Way::Written,
        config: "As above; the backup answers each message by one of its own.",
        ..JAVA
    },
    Peer {
        name: "hazelcast",
        title: "Hazelcast IMap.set, one backup",
        way: Way::Written,
        config: "Two members, one synchronous backup, binary; keys whose partition the writer owns. `set` with one under way, else \
                 `setAsync`.",
        ..JAVA
    },
    Peer {
        name: "tribes",
        title: "Tribes send, acknowledged",
        way: Way::Written,
        config: "As above, to one. A thread and a pooled connection for each write under way.",
        ..JAVA
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_keeps_quoted_words_whole() {
        let command = REDIS.command(7);
        let words: Vec<&str> = command.get_args().filter_map(|word| word.to_str()).collect();
        assert_eq!(&words[..6], ["--bind", "127.0.0.1", "--port", "7", "--save", ""]);
        assert!(words.contains(&"pubsub 0 0 0"), "{words:?}");
    }
}
