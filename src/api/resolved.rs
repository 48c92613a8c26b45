//! A configuration after parsing, ranges and defaults: what an engine is opened with.

use std::net::SocketAddr;

use crate::core::Setup;
pub use crate::runtime::GroupSettings;

/// Legal values only. `Config::resolve` makes it; opening an engine fills in what only the system can say.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What the protocol is told.
    ///
    /// Left open here and filled in when the engine opens: `incarnation` and `random` (always drawn fresh), an
    /// empty `name` (becomes host name and port, `box-7100`), and port 0 in `advertise` (becomes the bound port).
    pub setup: Setup,
    /// Where TCP and UDP listen. Port 0 takes a free one.
    pub bind: SocketAddr,
    /// Size of each socket's send and receive buffer in bytes; 0 leaves it to the system.
    pub socket_buffer_bytes: usize,
    /// Most bytes of a connection that wait in the system's buffer to be sent, where the peer is not on the loopback device; 0 leaves it to
    /// the system.
    pub unsent_bytes: usize,
    /// The multicast group, if one is used; `setup.multicast` goes with it.
    pub group: Option<GroupSettings>,
    /// Most connections at the same time, accepted and dialled together.
    pub max_connections: usize,
    /// Most bytes of delivered messages that the host may keep retained.
    pub held_bytes: usize,
    /// Name of the engine's thread; the system shows its first 15 bytes.
    pub thread_name: String,
}

impl Resolved {
    /// The shipped bounds around `setup`, listening at `bind`.
    pub fn new(setup: Setup, bind: SocketAddr) -> Resolved {
        Resolved {
            setup,
            bind,
            socket_buffer_bytes: 0,
            unsent_bytes: 32 * 1024,
            group: None,
            max_connections: 1_024,
            held_bytes: 64 * 1024 * 1024,
            thread_name: "decurion".to_owned(),
        }
    }
}
