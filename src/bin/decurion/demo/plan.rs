//! What a run of the demo will do, worked out and checked before anything starts.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use socket2::{Domain, Socket, Type};

use super::payload::hex;
use crate::arguments::{DemoArguments, Transport};
use crate::output::{Exit, Failure};
use crate::unbuilt;

/// A stream is not slower than this, so that a small file is worth watching too.
const SLOWEST_BYTES_PER_S: u64 = 4 * 1024 * 1024;
/// Whoever comes back after the first kill must see a whole pass begin and end: the file goes out this often at least.
const FEWEST_PASSES: u64 = 6;

/// The plan of a run.
#[derive(Debug)]
pub struct Plan {
    /// How many member processes.
    pub members: usize,
    /// How many groups they make.
    pub groups: usize,
    /// Bound of a group.
    pub group_size: usize,
    /// The file that is streamed.
    pub file: PathBuf,
    /// Its length.
    pub file_bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
    /// How often each sender sends it.
    pub passes: u64,
    /// Not faster than this.
    pub bytes_per_s: u64,
    /// For how long the streams should last.
    pub seconds: u64,
    /// Whether a leader and the coordinator are killed.
    pub faults: bool,
    /// How many sessions are made, changed and read back.
    pub sessions: usize,
    /// Whether to go on until told to end.
    pub hold: bool,
    /// Whether messages go out by multicast.
    pub multicast: Option<Multicast>,
}

/// How multicast is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Multicast {
    /// So many of a thousand datagrams each member throws away on purpose.
    pub loss_per_mille: u32,
}

impl Plan {
    /// Checks the flags and reads the file once, for its sum.
    pub fn new(arguments: &DemoArguments) -> Result<Plan, Failure> {
        if arguments.security != "none" {
            return Err(unbuilt::security(&arguments.security));
        }
        let multicast = multicast(arguments)?;
        let (members, groups) = (arguments.members, arguments.groups);
        let group_size = members.div_ceil(groups);
        let usage = |text: String| Err(Failure::new(Exit::Usage, text));
        if groups > members || members.div_ceil(group_size) != groups {
            return usage(format!("--members {members} --groups {groups}: so many members do not fill so many groups"));
        }
        let faults = arguments.faults == "on";
        if faults && (groups < 2 || members < groups + 3) {
            return usage(format!(
                "--members {members} --groups {groups}: to kill a group leader and the coordinator and still have two \
                 senders, the demo needs two groups and three members more than groups, or --faults off"
            ));
        }
        let file = arguments.file.clone().unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
        let file = std::fs::canonicalize(&file).map_err(|error| unreadable(&file, &error))?;
        let (file_bytes, sha256) = whole(&file)?;
        let seconds = arguments.seconds;
        let passes = (SLOWEST_BYTES_PER_S * seconds).div_ceil(file_bytes).max(FEWEST_PASSES);
        let bytes_per_s = (passes * file_bytes).div_ceil(seconds);
        let (sessions, hold) = (arguments.sessions, arguments.hold);
        Ok(Plan {
            members,
            groups,
            group_size,
            file,
            file_bytes,
            sha256,
            passes,
            bytes_per_s,
            seconds,
            faults,
            sessions,
            hold,
            multicast,
        })
    }

    /// What each sender sends in the whole run.
    pub fn stream_bytes(&self) -> u64 {
        self.passes * self.file_bytes
    }

    /// How long anything of the run may take before it counts as stuck.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(30 + 3 * self.seconds)
    }
}

fn multicast(arguments: &DemoArguments) -> Result<Option<Multicast>, Failure> {
    let loss = arguments.loss;
    match arguments.transport {
        Transport::Multicast => {
            let loss_per_mille = (loss.unwrap_or(0.0) * 1_000.0).round() as u32;
            Ok(Some(Multicast { loss_per_mille }))
        }
        Transport::Tcp if loss.is_some() => {
            let text = "--loss: TCP loses nothing that its user could see; what is lost are datagrams, so add --transport multicast";
            Err(Failure::new(Exit::Usage, text))
        }
        Transport::Tcp => Ok(None),
    }
}

/// Length and SHA-256 of a file that is the same each time it is read, as far as its kind and length tell.
fn whole(file: &Path) -> Result<(u64, String), Failure> {
    let refused = |why: &str| Err(Failure::new(Exit::Usage, format!("--file {}: {why}", file.display())));
    let told = std::fs::metadata(file).map_err(|error| unreadable(file, &error))?;
    if !told.is_file() {
        return refused("it is not a regular file, and only such a one can be streamed again and again");
    }
    if told.len() == 0 {
        return refused("it is empty, or of a kind whose length the system does not tell: there is nothing to stream");
    }
    let (bytes, sha256) = sum_from(file, 0).map_err(|error| unreadable(file, &error))?;
    if bytes != told.len() {
        return refused(&format!(
            "{bytes} bytes were read of it where the system tells {}: does it change?",
            told.len()
        ));
    }
    Ok((bytes, sha256))
}

fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Usage, format!("--file {}: cannot read it: {error}", file.display()))
}

/// Length and SHA-256 of a file from a place in it on.
pub fn sum_from(file: &Path, offset: u64) -> std::io::Result<(u64, String)> {
    let mut source = File::open(file)?;
    source.seek(SeekFrom::Start(offset))?;
    let mut sum = Sha256::new();
    let mut block = vec![0; 256 * 1024];
    let mut length = 0;
    loop {
        let read = source.read(&mut block)?;
        if read == 0 {
            return Ok((length, hex(&sum.finalize())));
        }
        sum.update(&block[..read]);
        length += read as u64;
    }
}

/// Ports of the loopback address that stay ours for the whole run: bound, but nobody listens, so that a member may.
#[derive(Debug)]
pub struct Ports {
    /// Keeps them from being given to anybody's outgoing connection.
    _sockets: Vec<Socket>,
    /// One for each member.
    pub addresses: Vec<SocketAddr>,
}

impl Ports {
    /// Takes as many as asked for.
    pub fn take(count: usize) -> std::io::Result<Ports> {
        let mut sockets = Vec::new();
        let mut addresses = Vec::new();
        while addresses.len() < count {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            // With this at both ends a member can bind the port beside us, as long as we do not listen.
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
            let address = socket.local_addr()?.as_socket().expect("an address of IPv4");
            // A member needs the same number for its datagrams.
            if UdpSocket::bind(address).is_ok() {
                addresses.push(address);
            }
            sockets.push(socket);
        }
        Ok(Ports { _sockets: sockets, addresses })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_taken_port_refuses_until_a_member_listens_there() {
        let ports = Ports::take(2).expect("the loopback address has ports");
        assert_ne!(ports.addresses[0], ports.addresses[1]);
        let address = ports.addresses[0];
        let refused = TcpStream::connect(address).expect_err("nobody listens");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        // The standard library sets the same option that a member sets.
        let listener = TcpListener::bind(address).expect("a member may bind it beside us");
        TcpStream::connect(address).expect("it listens now");
        drop(listener);
    }
}
