//! Counts the TCP connections of a process as the operating system sees them.

use std::collections::BTreeSet;
use std::fs;

/// State "established" in /proc/net/tcp.
const ESTABLISHED: &str = "01";

/// How many established TCP connections a process has; `None` when it is gone or may not be looked at.
pub fn count(pid: u32) -> Option<usize> {
    established(pid).map(|inodes| inodes.len())
}

/// The inodes of a process's established connections.
fn established(pid: u32) -> Option<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        // A machine without IPv6 has no second table.
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        all.extend(text.lines().skip(1).filter_map(inode_if_established));
    }
    let mut own = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).ok()? {
        let target = entry.ok().and_then(|e| fs::read_link(e.path()).ok());
        let target = target.map(|t| t.to_string_lossy().into_owned()).unwrap_or_default();
        let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        own.extend(inode.filter(|inode| all.contains(*inode)).map(str::to_owned));
    }
    Some(own)
}

fn inode_if_established(line: &str) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    (fields.get(3) == Some(&ESTABLISHED)).then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    #[test]
    fn established_connections_are_found_at_both_ends_and_listeners_are_not() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let one = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (other, _) = listener.accept().expect("a connection waits");
        let found = super::established(std::process::id()).expect("our own process");
        let has = |fd: i32| {
            let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).expect("an open descriptor");
            let text = link.to_string_lossy().into_owned();
            found.contains(text.trim_start_matches("socket:[").trim_end_matches(']'))
        };
        assert!(has(one.as_raw_fd()) && has(other.as_raw_fd()));
        assert!(!has(listener.as_raw_fd()));
        assert_eq!(super::count(u32::MAX), None, "no such process");
    }
}
