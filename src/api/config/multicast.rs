//! The settings of the multicast group: what goes to the core, and what the group's socket is opened with.

use std::net::{IpAddr, SocketAddr};

use super::Config;
use crate::api::resolved::GroupSettings;
use crate::core::{Multicast, Setup};
use crate::types::{Result, limits};
use crate::wire::cast;

impl Config {
    /// Whether there is a group, and if so which one.
    pub(super) fn multicast(&self, setup: &mut Setup, bind: SocketAddr) -> Result<Option<GroupSettings>> {
        let used = self.text("multicast.use");
        if used == "off" {
            return Ok(None);
        }
        let group: SocketAddr = self.parsed("multicast.group");
        if !group.ip().is_multicast() || group.port() == 0 {
            let why = "that is no multicast address with a port: IPv4 has 224.0.0.0 to 239.255.255.255 for it (239.x.x.x stays \
                       within an organisation), IPv6 has ff00::/8";
            return Err(self.conflict(&["multicast.group"], why));
        }
        let interface = self.interface(setup, bind, group)?;
        self.say_out_loud("multicast.interface", SocketAddr::new(interface, group.port()))?;
        let datagram_bytes =
            self.parsed::<usize>("multicast.datagram_bytes").min(limits::BATCH_BYTES + cast::OVERHEAD_BYTES);
        let buffer_bytes = self.parsed("multicast.buffer_bytes");
        setup.multicast = Some(Multicast {
            group,
            carries: used == "messages",
            datagram_bytes,
            receive_bytes: buffer_bytes,
            repair_bytes_per_s: self.parsed("multicast.repair_bytes_per_s"),
        });
        Ok(Some(GroupSettings {
            group,
            interface: Some(interface),
            ttl: self.parsed("multicast.ttl"),
            buffer_bytes,
            datagram_bytes,
            loss_per_mille: self.parsed("multicast.rehearse_loss"),
        }))
    }

    /// The interface that was said; otherwise the one at which this member listens, or where others reach it.
    fn interface(&self, setup: &Setup, bind: SocketAddr, group: SocketAddr) -> Result<IpAddr> {
        if let Ok(said) = self.text("multicast.interface").parse::<IpAddr>() {
            if said.is_ipv4() != group.is_ipv4() || said.is_multicast() {
                let why = "the interface is named by one of this machine's addresses, of the same family as the group";
                return Err(self.conflict(&["multicast.interface", "multicast.group"], why));
            }
            return Ok(said);
        }
        let fits = |ip: &IpAddr| !ip.is_unspecified() && ip.is_ipv4() == group.is_ipv4();
        [bind.ip(), setup.advertise.ip()].into_iter().find(fits).ok_or_else(|| {
            let family = if group.is_ipv4() { "IPv4" } else { "IPv6" };
            let why = format!(
                "the group is of {family}, which this member's address is not, so nothing says which network it is for: set \
                 multicast.interface to an {family} address of this machine"
            );
            self.conflict(&["multicast.group", "node.bind"], &why)
        })
    }
}
