//! A network of its own for one host: the loopback device, and one Ethernet device whose cable is a descriptor of ours.
//!
//! It has no name: the kernel removes it with its last descriptor and process, so that nothing is left of a test however it ends.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::thread;

/// Frames that a device keeps until the switch has read them.
const QUEUE_FRAMES: i32 = 1_000;
const DEVICE: &str = "eth0";

/// The network of one host.
#[derive(Debug)]
pub struct Namespace {
    file: File,
}

/// How its Ethernet device is called by the others.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub mac: [u8; 6],
    pub ip: Ipv4Addr,
}

impl Namespace {
    /// Makes one, and answers the other end of its cable, which does not block.
    pub fn new(addresses: Addresses) -> io::Result<(Namespace, File)> {
        // A thread of its own: the caller's network stays what it is.
        thread::spawn(move || {
            // SAFETY: changes this thread only, and touches no memory.
            answer(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
            let file = File::open("/proc/thread-self/ns/net")?;
            // Only what the members send shall cross the switch: no discovery of neighbours and routers.
            let _ = fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
            let _ = fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
            let tap = open_tap(addresses)?;
            Ok((Namespace { file }, tap))
        })
        .join()
        .expect("it does not panic")
    }

    /// Moves the calling thread here. What it opens afterwards belongs to this network.
    pub fn enter(&self) -> io::Result<()> {
        enter(self.file.as_raw_fd())
    }

    /// Changes the longest packet that the Ethernet device sends in one frame, in bytes.
    pub fn set_mtu(&self, mtu: i32) -> io::Result<()> {
        let work = || {
            self.enter()?;
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            let mut request = named(DEVICE);
            request.ifr_ifru.ifru_mtu = mtu;
            control(socket.as_raw_fd(), libc::SIOCSIFMTU, &mut request)
        };
        thread::scope(|scope| scope.spawn(work).join().expect("it does not panic"))
    }

    /// For a child between fork and exec.
    pub fn descriptor(&self) -> i32 {
        self.file.as_raw_fd()
    }
}

/// Moves the calling thread to the network of this descriptor. Safe between fork and exec.
pub fn enter(descriptor: i32) -> io::Result<()> {
    // SAFETY: changes this thread only, and touches no memory.
    answer(unsafe { libc::setns(descriptor, libc::CLONE_NEWNET) })
}

fn open_tap(addresses: Addresses) -> io::Result<File> {
    let tap = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let mut request = named(DEVICE);
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as i16;
    control(tap.as_raw_fd(), libc::TUNSETIFF, &mut request)?;
    // SAFETY: makes a descriptor, which is then owned here alone.
    let socket = unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        answer(socket.min(0))?;
        OwnedFd::from_raw_fd(socket)
    };
    let mut request = named(DEVICE);
    // SAFETY: the kernel reads a plain `sockaddr` here; every pattern of bytes is one.
    request.ifr_ifru.ifru_hwaddr = unsafe { std::mem::zeroed() };
    let mut mac = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: [0; 14] };
    addresses.mac.iter().zip(&mut mac.sa_data).for_each(|(byte, to)| *to = *byte as libc::c_char);
    request.ifr_ifru.ifru_hwaddr = mac;
    control(socket.as_raw_fd(), libc::SIOCSIFHWADDR, &mut request)?;
    for (what, value) in [(libc::SIOCSIFADDR, addresses.ip), (libc::SIOCSIFNETMASK, Ipv4Addr::new(255, 255, 255, 0))] {
        let mut request = named(DEVICE);
        let mut address = libc::sockaddr { sa_family: libc::AF_INET as u16, sa_data: [0; 14] };
        // Behind the port.
        value.octets().iter().zip(&mut address.sa_data[2..]).for_each(|(byte, to)| *to = *byte as libc::c_char);
        request.ifr_ifru.ifru_addr = address;
        control(socket.as_raw_fd(), what, &mut request)?;
    }
    let mut request = named(DEVICE);
    request.ifr_ifru.ifru_metric = QUEUE_FRAMES;
    control(socket.as_raw_fd(), libc::SIOCSIFTXQLEN, &mut request)?;
    for device in ["lo", DEVICE] {
        let mut request = named(device);
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_MULTICAST) as i16;
        control(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &mut request)?;
    }
    Ok(tap)
}

fn named(device: &str) -> libc::ifreq {
    // SAFETY: a plain structure of the kernel, in which zeroes mean nothing in particular.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    device.bytes().zip(&mut request.ifr_name).for_each(|(byte, to)| *to = byte as libc::c_char);
    request
}

fn control(descriptor: i32, what: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: each of the requests above takes one `ifreq`, which lives as long as the call.
    answer(unsafe { libc::ioctl(descriptor, what, std::ptr::from_mut(request)) })
}

fn answer(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
