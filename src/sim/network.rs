//! Hosts, and what becomes of a packet between two of them: each direction of each pair has conditions of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;

use super::faults::{FaultKind, Faults};
use super::random::Random;

/// The port that every simulated member listens on.
pub const PORT: u16 = 7_100;
/// A sender without an answer tries again after this long at first, then after twice as long, and so on.
const FIRST_RETRY_US: u64 = 200_000;
/// A datagram that would have to wait longer than this for a narrow wire is dropped.
const LONGEST_WAIT_US: u64 = 300_000;
/// The longest pause between two tries.
const LONGEST_RETRY_US: u64 = 1_600_000;

/// The conditions in one direction between two hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conditions {
    /// Least time under way, in microseconds.
    pub latency_us: u64,
    /// Up to this much more.
    pub jitter_us: u64,
    /// Packets of a thousand that are lost.
    pub loss: u32,
    /// Datagrams of a thousand that arrive twice.
    pub duplicate: u32,
    /// Datagrams of a thousand that are held up so long that later ones overtake them.
    pub late: u32,
    /// Bytes that pass in a millisecond; 0 = no limit.
    pub bytes_per_ms: u64,
}

impl Conditions {
    /// A quiet local network.
    pub const LAN: Conditions =
        Conditions { latency_us: 100, jitter_us: 100, loss: 0, duplicate: 0, late: 0, bytes_per_ms: 0 };
    /// Nothing takes any time: for enumerations, in which the order alone matters.
    pub const INSTANT: Conditions =
        Conditions { latency_us: 0, jitter_us: 0, loss: 0, duplicate: 0, late: 0, bytes_per_ms: 0 };
}

#[derive(Clone, Copy, Debug)]
struct Link {
    conditions: Conditions,
    /// How many cuts lie on it: partitions may overlap.
    cuts: u32,
    /// When it was last cut or mended, and when before that.
    changed_at: u64,
    changed_before: u64,
    /// When it last got other conditions.
    conditions_at: u64,
    /// Until when the wire is taken by what connections have sent.
    busy_until: u64,
    /// Until when it is taken by datagrams, which have their own share of it.
    datagrams_until: u64,
}

impl Link {
    fn note_change(&mut self, now: u64) {
        if now > self.changed_at {
            self.changed_before = self.changed_at;
            self.changed_at = now;
        }
    }
}

/// A datagram under way.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub from: u16,
    pub to: u16,
    /// To the multicast group.
    pub cast: bool,
    pub bytes: Bytes,
}

/// All hosts and the links between them.
#[derive(Debug)]
pub(crate) struct Network {
    alive: Vec<bool>,
    /// A direction that nobody has touched.
    usual: Link,
    /// By sender, the directions to all hosts; none where all are as usual: thousands of hosts have millions of them.
    links: Vec<Option<Box<[Link]>>>,
    random: Random,
    packets: Vec<Option<Packet>>,
    free: Vec<u32>,
}

impl Network {
    pub fn new(hosts: usize, conditions: Conditions, random: Random) -> Network {
        let usual = Link {
            conditions,
            cuts: 0,
            changed_at: 0,
            changed_before: 0,
            conditions_at: 0,
            busy_until: 0,
            datagrams_until: 0,
        };
        Network {
            alive: vec![true; hosts],
            usual,
            links: vec![None; hosts],
            random,
            packets: Vec::new(),
            free: Vec::new(),
        }
    }

    pub fn hosts(&self) -> usize {
        self.alive.len()
    }

    pub fn is_alive(&self, host: u16) -> bool {
        self.alive[usize::from(host)]
    }

    pub fn set_alive(&mut self, host: u16, alive: bool) {
        self.alive[usize::from(host)] = alive;
    }

    /// Whether a packet sent now would get through, were it not lost.
    pub fn reaches(&self, from: u16, to: u16) -> bool {
        from == to || self.link(from, to).cuts == 0
    }

    /// When the direction was last cut or mended.
    pub fn changed_at(&self, from: u16, to: u16) -> u64 {
        self.link(from, to).changed_at
    }

    /// Whether the direction has been whole, without loss and wide, for at least `span`.
    pub fn is_clear(&self, now: u64, from: u16, to: u16, span: u64) -> bool {
        let link = self.link(from, to);
        let clean = link.cuts == 0 && link.conditions.loss == 0 && link.conditions.bytes_per_ms == 0;
        from == to || (clean && now >= link.changed_at.max(link.conditions_at) + span)
    }

    /// For how long the direction has been cut, if it was whole and did not change for at least `span` before.
    pub fn cut_for(&self, now: u64, from: u16, to: u16, span: u64) -> Option<u64> {
        let link = self.link(from, to);
        (link.cuts > 0 && link.changed_at >= link.changed_before + span).then(|| now - link.changed_at)
    }

    pub fn conditions(&self, from: u16, to: u16) -> Conditions {
        self.link(from, to).conditions
    }

    pub fn set_conditions(&mut self, now: u64, from: u16, to: u16, conditions: Conditions) {
        let link = self.link_mut(from, to);
        link.conditions = conditions;
        link.conditions_at = now;
        link.busy_until = 0;
        link.datagrams_until = 0;
    }

    /// Cuts one direction. Cuts add up: it is whole again when each has been mended.
    pub fn cut(&mut self, now: u64, from: u16, to: u16) {
        let link = self.link_mut(from, to);
        link.cuts += 1;
        link.note_change(now);
    }

    pub fn mend(&mut self, now: u64, from: u16, to: u16) {
        let link = self.link_mut(from, to);
        link.cuts = link.cuts.saturating_sub(1);
        link.note_change(now);
    }

    pub fn mend_all(&mut self, now: u64) {
        for link in self.links.iter_mut().flatten().flatten().filter(|link| link.cuts > 0) {
            link.cuts = 0;
            link.note_change(now);
        }
    }

    /// Takes a datagram and calls `schedule(at, index)` for each copy that will arrive.
    pub fn send(&mut self, now: u64, packet: Packet, faults: &mut Faults, mut schedule: impl FnMut(u64, u32)) {
        let (from, to) = (packet.from, packet.to);
        if !self.reaches(from, to) {
            return;
        }
        let conditions = self.link(from, to).conditions;
        if self.random.chance(conditions.loss) {
            faults.note(FaultKind::Loss);
            return;
        }
        let copies = if self.random.chance(conditions.duplicate) { 2 } else { 1 };
        if copies == 2 {
            faults.note(FaultKind::Duplicate);
        }
        for _ in 0..copies {
            let Some(mut at) = self.datagram_arrival(now, from, to, packet.bytes.len()) else {
                faults.note(FaultKind::Loss);
                continue;
            };
            if self.random.chance(conditions.late) {
                faults.note(FaultKind::Reorder);
                at += self.random.between(1_000, 50_000);
            }
            let index = self.store(packet.clone());
            schedule(at, index);
        }
    }

    /// Takes a datagram out that has arrived; `None` if its way was cut meanwhile.
    pub fn arrived(&mut self, index: u32) -> Option<Packet> {
        let packet = self.packets[index as usize].take().expect("a datagram arrives once");
        self.free.push(index);
        (self.reaches(packet.from, packet.to) && self.is_alive(packet.to)).then_some(packet)
    }

    /// When a datagram that is sent now arrives; `None` if too many wait for a narrow wire already.
    fn datagram_arrival(&mut self, now: u64, from: u16, to: u16, len: usize) -> Option<u64> {
        let Conditions { latency_us, jitter_us, bytes_per_ms, .. } = self.link(from, to).conditions;
        let jitter = if jitter_us > 0 { self.random.below(jitter_us) } else { 0 };
        let mut sent = now;
        if let Some(span) = (len as u64 * 1_000).checked_div(bytes_per_ms) {
            let link = self.link_mut(from, to);
            sent = sent.max(link.datagrams_until) + span;
            if sent > now + LONGEST_WAIT_US {
                return None;
            }
            link.datagrams_until = sent;
        }
        Some(sent + latency_us + jitter)
    }

    /// When `len` bytes of a connection that are sent now arrive.
    pub fn arrival(&mut self, now: u64, from: u16, to: u16, len: usize) -> u64 {
        let Conditions { latency_us, jitter_us, bytes_per_ms, .. } = self.link(from, to).conditions;
        let jitter = if jitter_us > 0 { self.random.below(jitter_us) } else { 0 };
        let mut sent = now;
        if let Some(takes) = (len as u64 * 1_000).checked_div(bytes_per_ms) {
            let link = self.link_mut(from, to);
            sent = sent.max(link.busy_until) + takes;
            link.busy_until = sent;
        }
        sent + latency_us + jitter
    }

    /// Whether a segment of a connection gets through this time.
    pub fn segment_passes(&mut self, from: u16, to: u16, faults: &mut Faults) -> bool {
        if !self.reaches(from, to) || !self.is_alive(to) {
            return false;
        }
        let lost = self.random.chance(self.link(from, to).conditions.loss);
        if lost {
            faults.note(FaultKind::Loss);
        }
        !lost
    }

    fn store(&mut self, packet: Packet) -> u32 {
        match self.free.pop() {
            Some(index) => {
                self.packets[index as usize] = Some(packet);
                index
            }
            None => {
                self.packets.push(Some(packet));
                self.packets.len() as u32 - 1
            }
        }
    }

    fn link(&self, from: u16, to: u16) -> &Link {
        self.links[usize::from(from)].as_ref().map_or(&self.usual, |row| &row[usize::from(to)])
    }

    fn link_mut(&mut self, from: u16, to: u16) -> &mut Link {
        let (usual, hosts) = (self.usual, self.alive.len());
        let row = self.links[usize::from(from)].get_or_insert_with(|| vec![usual; hosts].into_boxed_slice());
        &mut row[usize::from(to)]
    }
}

/// How long a sender waits after `tries` tries that were not answered.
pub(crate) fn retry_after(tries: u8) -> u64 {
    (FIRST_RETRY_US << tries.min(5)).min(LONGEST_RETRY_US)
}

/// The address at which the member on `host` listens.
pub fn address_of(host: u16) -> SocketAddr {
    let [high, low] = (host + 1).to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, high, low)), PORT)
}

/// The host that an address belongs to, whatever the port; the caller checks that it exists.
pub fn host_of(address: SocketAddr) -> Option<u16> {
    match address.ip() {
        IpAddr::V4(ip) => match ip.octets() {
            [10, 0, high, low] => u16::from_be_bytes([high, low]).checked_sub(1),
            _ => None,
        },
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(conditions: Conditions) -> Network {
        Network::new(3, conditions, Random::new(1))
    }

    fn arrivals(network: &mut Network, now: u64, from: u16, to: u16) -> Vec<(u64, u32)> {
        let mut arrivals = Vec::new();
        let packet = Packet { from, to, cast: false, bytes: Bytes::from_static(b"beat") };
        network.send(now, packet, &mut Faults::default(), |at, index| arrivals.push((at, index)));
        arrivals
    }

    #[test]
    fn a_cut_has_a_direction_and_cuts_add_up() {
        let mut network = network(Conditions::LAN);
        network.cut(5, 0, 1);
        network.cut(6, 0, 1);
        assert!(arrivals(&mut network, 10, 0, 1).is_empty());
        assert_eq!(arrivals(&mut network, 10, 1, 0).len(), 1);
        network.mend(7, 0, 1);
        assert!(!network.reaches(0, 1));
        network.mend(8, 0, 1);
        assert!(network.reaches(0, 1));
        assert_eq!(network.changed_at(0, 1), 8);
    }

    #[test]
    fn a_cut_takes_what_is_under_way() {
        let mut network = network(Conditions::LAN);
        let (_, index) = arrivals(&mut network, 0, 0, 1)[0];
        network.cut(1, 0, 1);
        assert!(network.arrived(index).is_none());
    }

    #[test]
    fn loss_duplication_and_delay_come_as_often_as_asked() {
        let conditions = Conditions { loss: 100, duplicate: 200, late: 100, ..Conditions::LAN };
        let mut network = network(conditions);
        let (mut faults, mut copies, mut late) = (Faults::default(), 0, 0);
        for _ in 0..10_000 {
            let packet = Packet { from: 0, to: 1, cast: false, bytes: Bytes::from_static(b"beat") };
            network.send(0, packet, &mut faults, |at, _| {
                copies += 1;
                late += u32::from(at >= 1_100);
            });
        }
        assert!((800..1_200).contains(&faults.count(FaultKind::Loss)));
        assert!((1_600..2_000).contains(&faults.count(FaultKind::Duplicate)));
        assert_eq!(u64::from(late), faults.count(FaultKind::Reorder));
        assert_eq!(copies, 10_000 - faults.count(FaultKind::Loss) + faults.count(FaultKind::Duplicate));
    }

    #[test]
    fn a_rate_spaces_what_is_sent_at_once() {
        let mut network = network(Conditions { bytes_per_ms: 100, jitter_us: 0, ..Conditions::LAN });
        assert_eq!(network.arrival(0, 0, 1, 1_000), 10_000 + 100);
        assert_eq!(network.arrival(0, 0, 1, 1_000), 20_000 + 100);
        assert_eq!(network.arrival(0, 1, 0, 1_000), 10_000 + 100, "the other direction is free");
    }

    #[test]
    fn addresses_and_hosts_are_one_to_one() {
        for host in [0, 1, 254, 255, 256, 1_000] {
            assert_eq!(host_of(address_of(host)), Some(host));
        }
        assert_eq!(host_of("192.168.0.1:7100".parse().unwrap()), None);
    }
}
