//! The demo's multicast: which group its members are in, what each of them counts, and what came of all that was lost.

use std::net::{Ipv4Addr, SocketAddr};

use decurion::Engine;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What one member has counted so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Counted {
    /// Datagrams that it sent to the group.
    pub sent: u64,
    /// Datagrams that it took from the group, its own among them.
    pub received: u64,
    /// Datagrams that it threw away on purpose, its own among them.
    pub rehearsed: u64,
    /// Their bytes.
    pub rehearsed_bytes: u64,
    /// Batches that it asked others for.
    pub repairs_asked: u64,
    /// Bytes that it sent because others asked.
    pub repair_bytes: u64,
}

impl Counted {
    /// What an engine has counted; `None` while nothing went to or came from a group.
    pub fn of(engine: &Engine) -> Option<Counted> {
        let stats = engine.stats();
        if stats.casts_sent + stats.casts_received == 0 {
            return None;
        }
        let effort = engine.effort();
        Some(Counted {
            sent: stats.casts_sent,
            received: stats.casts_received,
            rehearsed: effort.rehearsed_losses,
            rehearsed_bytes: effort.rehearsed_loss_bytes,
            repairs_asked: stats.repairs_asked,
            repair_bytes: stats.repair_bytes_sent,
        })
    }
}

/// The group of a run, and what all members together have counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Total {
    group: SocketAddr,
    all: Counted,
}

impl Total {
    /// Adds up.
    pub fn new(group: SocketAddr, members: impl Iterator<Item = Counted>) -> Total {
        let all = members.fold(Counted::default(), |sum, one| Counted {
            sent: sum.sent + one.sent,
            received: sum.received + one.received,
            rehearsed: sum.rehearsed + one.rehearsed,
            rehearsed_bytes: sum.rehearsed_bytes + one.rehearsed_bytes,
            repairs_asked: sum.repairs_asked + one.repairs_asked,
            repair_bytes: sum.repair_bytes + one.repair_bytes,
        });
        Total { group, all }
    }

    /// Bytes that somebody lost who had not sent them. Each datagram comes back to its sender too, and is lost there as often as
    /// elsewhere: that share needs no repair.
    fn lost_bytes(&self) -> f64 {
        let all = &self.all;
        let own = all.sent as f64 / (all.received + all.rehearsed).max(1) as f64;
        all.rehearsed_bytes as f64 * (1.0 - own.min(1.0))
    }

    fn repair_per_lost(&self) -> Option<f64> {
        let lost = self.lost_bytes();
        (lost > 0.0).then(|| (self.all.repair_bytes as f64 / lost * 1_000.0).round() / 1_000.0)
    }

    /// For the summary.
    pub fn field(&self) -> Value {
        let all = &self.all;
        json!({
            "group": self.group.to_string(),
            "datagrams_sent": all.sent,
            "datagrams_received": all.received,
            "datagrams_thrown_away": all.rehearsed,
            "bytes_thrown_away": all.rehearsed_bytes,
            "lost_bytes": self.lost_bytes().round() as u64,
            "repairs_asked": all.repairs_asked,
            "repair_bytes_sent": all.repair_bytes,
            "repair_bytes_per_lost_byte": self.repair_per_lost(),
        })
    }

    /// For people.
    pub fn line(&self) -> String {
        let all = &self.all;
        let mut line = format!("multicast    {}: {} datagrams sent, {} received", self.group, all.sent, all.received);
        if let Some(part) = self.repair_per_lost() {
            let (thrown, asked) = (all.rehearsed, all.repairs_asked);
            line += &format!(
                ", {thrown} thrown away on purpose; {asked} batches asked for, {part:.2} bytes of repair for each byte lost"
            );
        }
        line
    }
}

/// A group that no other run on this machine has at the same time: the port is one that this run has taken, and the address is of the
/// range that stays within an organisation (RFC 2365).
pub fn own_group(taken: SocketAddr) -> SocketAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(239, 255, high, low), taken.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_to_its_sender_needs_no_repair() {
        // Ten members: one sends 1,000 datagrams of 100 bytes, each of the ten loses a tenth.
        let quiet = Counted {
            received: 900,
            rehearsed: 100,
            rehearsed_bytes: 10_000,
            repair_bytes: 9_000,
            ..Counted::default()
        };
        let sender = Counted { sent: 1_000, ..quiet };
        let group = own_group(SocketAddr::from((Ipv4Addr::LOCALHOST, 7_000)));
        assert!(group.ip().is_multicast() && group.port() == 7_000);
        let total = Total::new(group, std::iter::repeat_n(quiet, 9).chain([sender]));
        assert_eq!(total.field()["lost_bytes"], 90_000);
        assert_eq!(total.field()["repair_bytes_per_lost_byte"], 1.0);
        assert!(total.line().contains("1.00 bytes of repair"), "{}", total.line());
        let calm = Total::new(group, std::iter::once(Counted { sent: 5, received: 5, ..Counted::default() }));
        assert_eq!(calm.field()["repair_bytes_per_lost_byte"], Value::Null);
        assert!(!calm.line().contains("lost"), "{}", calm.line());
    }
}
