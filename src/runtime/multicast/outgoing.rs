//! Sending: consecutive datagrams of one length as one super-datagram, several of those in one call.

use std::io;
use std::os::fd::AsRawFd;

use super::{GroupSocket, Outgoing};

/// Most segments of a super-datagram; every kernel that segments takes as many.
const SEGMENTS: usize = 64;
/// Most bytes of a super-datagram: with its headers it is a packet, whose length is told in 16 bits.
const SUPER_BYTES: usize = 65_000;
/// Most messages of one call.
const MESSAGES: usize = 32;
/// Most slices of one call: two super-datagrams whose datagrams are in two parts each.
const SLICES: usize = 4 * SEGMENTS;

/// Room for the control message that says how long the segments are.
#[derive(Clone, Copy)]
#[repr(C)]
union Control {
    bytes: [u8; 32],
    align: libc::cmsghdr,
}

/// One call's messages. The system reads them while it is made; they point into the datagrams and into this.
struct Call {
    messages: [libc::mmsghdr; MESSAGES],
    slices: [libc::iovec; SLICES],
    controls: [Control; MESSAGES],
    /// How many datagrams each message holds.
    runs: [usize; MESSAGES],
}

impl GroupSocket {
    /// Sends the first of the datagrams in one call. Answers how many were taken; `None`: there is no room now.
    pub(super) fn send_some(&mut self, datagrams: &[Outgoing<'_>]) -> Option<usize> {
        // SAFETY: structures of plain numbers and pointers, for which zero is a value.
        let mut call: Call = unsafe { std::mem::zeroed() };
        let count = self.gather(&mut call, datagrams);
        let sent = loop {
            self.calls += 1;
            // SAFETY: the first `count` messages point to live slices, control messages and an address, with their
            // lengths; the system writes to `messages` only.
            let sent = unsafe {
                let messages = call.messages.as_mut_ptr();
                libc::sendmmsg(self.socket.as_raw_fd(), messages, count as libc::c_uint, libc::MSG_NOSIGNAL as _)
            };
            match usize::try_from(sent) {
                Ok(sent) => break sent,
                Err(_) => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error => return self.not_sent(&error, call.runs[0]),
                },
            }
        };
        // What was refused after others had been taken is told by the next call.
        Some(call.runs[..sent].iter().sum())
    }

    /// The first message of a call, of so many datagrams, was refused.
    pub(super) fn not_sent(&mut self, error: &io::Error, datagrams: usize) -> Option<usize> {
        if error.kind() == io::ErrorKind::WouldBlock {
            return None;
        }
        let cannot_segment = matches!(error.raw_os_error(), Some(libc::EMSGSIZE | libc::EIO | libc::EINVAL));
        if datagrams > 1 && cannot_segment {
            // The interface cannot check-sum segments, or its MTU has shrunk: they go one by one from now on.
            log::info!(target: "decurion::runtime", "datagrams to {} go without segmentation: {error}", self.group);
            self.segments = false;
            return Some(0);
        }
        log::trace!(target: "decurion::runtime", "{datagrams} datagrams to {} were lost here: {error}", self.group);
        Some(datagrams)
    }

    /// Fills a call with as many datagrams as fit; answers how many messages they are.
    fn gather(&self, call: &mut Call, datagrams: &[Outgoing<'_>]) -> usize {
        let (mut count, mut slices, mut next) = (0, 0, 0);
        while next < datagrams.len() && count < MESSAGES {
            let run = self.run(&datagrams[next..]);
            if slices + 2 * run > SLICES {
                break;
            }
            let first = slices;
            for datagram in &datagrams[next..next + run] {
                for part in [datagram.head, datagram.body] {
                    if !part.is_empty() {
                        call.slices[slices] =
                            libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
                        slices += 1;
                    }
                }
            }
            let message = &mut call.messages[count].msg_hdr;
            message.msg_name = self.to.as_ptr().cast_mut().cast();
            message.msg_namelen = self.to.len();
            message.msg_iov = call.slices[first..].as_mut_ptr();
            message.msg_iovlen = (slices - first) as _;
            if run > 1 {
                divide(message, &mut call.controls[count], datagrams[next].len());
            }
            call.runs[count] = run;
            count += 1;
            next += run;
        }
        count
    }

    /// How many datagrams, from the first on, can be one super-datagram: all of one length, the last may be shorter.
    fn run(&self, datagrams: &[Outgoing<'_>]) -> usize {
        let length = datagrams[0].len();
        if !self.segments || length == 0 || length > self.segment_bytes {
            return 1;
        }
        let (mut run, mut total) = (1, length);
        for datagram in datagrams[1..].iter().take(SEGMENTS - 1) {
            let next = datagram.len();
            if next == 0 || next > length || total + next > SUPER_BYTES {
                break;
            }
            run += 1;
            total += next;
            if next < length {
                break;
            }
        }
        run
    }
}

/// Has the system cut the message into segments of this length.
fn divide(message: &mut libc::msghdr, control: &mut Control, length: usize) {
    let value = u16::try_from(length).expect("not longer than a super-datagram");
    let size = size_of::<u16>() as libc::c_uint;
    message.msg_control = (&raw mut *control).cast();
    // SAFETY: the room is aligned for a control message's header and longer than CMSG_SPACE(2), so that the first
    // header and its data lie in it.
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(size) as _;
        let header = &mut *libc::CMSG_FIRSTHDR(message);
        header.cmsg_level = libc::SOL_UDP;
        header.cmsg_type = libc::UDP_SEGMENT;
        header.cmsg_len = libc::CMSG_LEN(size) as _;
        libc::CMSG_DATA(header).cast::<u16>().write_unaligned(value);
    }
}
