//! The kinds of fault that the simulator makes, and how often it made them.

/// One kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)] // `FaultKind::ALL` says what each one is
#[repr(usize)]
pub enum FaultKind {
    Crash,
    PowerOff,
    Restart,
    Move,
    Join,
    Leave,
    Pause,
    Partition,
    OneWay,
    MissingLink,
    SlowLink,
    Loss,
    Duplicate,
    Reorder,
    Reset,
    FullBuffer,
    HostNotPolling,
    SlowHost,
    NameLookup,
    Suspend,
    Flood,
    CrashInChange,
    Deaf,
    LostToAll,
}

impl FaultKind {
    /// Every kind, its name in reports, and what it does.
    #[rustfmt::skip]
    pub const ALL: [(FaultKind, &'static str, &'static str); 24] = [
        (FaultKind::Crash, "crash", "a process ends at once; its host goes on and refuses the port"),
        (FaultKind::PowerOff, "power_off", "a host is gone with its process: nothing answers"),
        (FaultKind::Restart, "restart", "a process starts again at the same address, as a new incarnation"),
        (FaultKind::Move, "move", "a name starts again at another address"),
        (FaultKind::Join, "join", "a member starts while the others are at work"),
        (FaultKind::Leave, "leave", "a member leaves in order"),
        (FaultKind::Pause, "pause", "a process stands still; its kernel goes on, its clock jumps when it resumes"),
        (FaultKind::Partition, "partition", "two sets of hosts cannot reach each other"),
        (FaultKind::OneWay, "one_way", "nothing arrives in one direction"),
        (FaultKind::MissingLink, "missing_link", "single pairs of hosts cannot reach each other: not transitive"),
        (FaultKind::SlowLink, "slow_link", "a link has a high latency and a low rate"),
        (FaultKind::Loss, "loss", "a datagram is lost, or a segment of a connection arrives late for it"),
        (FaultKind::Duplicate, "duplicate", "a datagram arrives twice"),
        (FaultKind::Reorder, "reorder", "a datagram arrives after later ones"),
        (FaultKind::Reset, "reset", "a connection breaks, with what was under way"),
        (FaultKind::FullBuffer, "full_buffer", "a send buffer has no room"),
        (FaultKind::HostNotPolling, "host_not_polling", "a host takes no events"),
        (FaultKind::SlowHost, "slow_host", "a host takes events late"),
        (FaultKind::NameLookup, "name_lookup", "a host name does not resolve for a while"),
        (FaultKind::Suspend, "suspend", "a host stands still with its kernel; its clock jumps when it resumes, and what was sent to it is gone"),
        (FaultKind::Flood, "flood", "a host sends to everybody as fast as it is accepted"),
        (FaultKind::CrashInChange, "crash_in_change", "a process ends inside a view change, or while a session changes hands"),
        (FaultKind::Deaf, "deaf", "multicast does not pass between some hosts"),
        (FaultKind::LostToAll, "lost_to_all", "a datagram to the multicast group is lost to everybody at once"),
    ];

    /// The kind's name in reports.
    pub fn name(self) -> &'static str {
        FaultKind::ALL[self as usize].1
    }
}

/// How often each kind of fault was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults([u64; FaultKind::ALL.len()]);

impl Faults {
    /// How often `kind` was made.
    pub fn count(&self, kind: FaultKind) -> u64 {
        self.0[kind as usize]
    }

    /// Names and counts, in the order of [`FaultKind::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        FaultKind::ALL.iter().map(|(kind, name, _)| (*name, self.count(*kind)))
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Faults) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }

    pub(crate) fn note(&mut self, kind: FaultKind) {
        self.0[kind as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_kinds() {
        for (at, (kind, name, _)) in FaultKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, at);
            assert_eq!(kind.name(), *name);
        }
    }
}
