//! ZeroMQ: messages over TCP from the sender to each receiver, or through one of the receivers. A full queue holds the sender; nothing
//! is dropped.

use std::io;

use super::Job;

/// Runs a process of it.
#[cfg(feature = "zmq")]
pub fn run(job: &Job, role: &str) -> io::Result<()> {
    match role {
        "send" => linked::send(job),
        "relay" => linked::relay(job),
        "receive" => linked::receive(job),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// This build has no ZeroMQ.
#[cfg(not(feature = "zmq"))]
pub fn run(_job: &Job, _role: &str) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "built without ZeroMQ"))
}

#[cfg(feature = "zmq")]
mod linked {
    use std::io;

    use super::super::text::SOCKET_BYTES;
    use super::super::{Job, Publish, Sink, say, send as send_as_told};
    use super::library::{Kind, Option, Socket};
    use crate::shared::protocol::Said;

    /// Bytes that may wait in one queue of a socket.
    const QUEUE_BYTES: usize = 4 << 20;

    /// The sender: binds, and waits for all that connect to it.
    pub fn send(job: &Job) -> io::Result<()> {
        if job.peer == "zmq-relayed" {
            let socket = tuned(Kind::Push, job)?;
            socket.connect(job.ports[0])?;
            return send_as_told(job, Out(socket));
        }
        let socket = publisher(job.ports[0], job)?;
        await_subscribers(&socket, job.members - 1)?;
        send_as_told(job, Out(socket))
    }

    struct Out(Socket);

    impl Publish for Out {
        fn publish(&mut self, message: &[u8]) -> io::Result<()> {
            self.0.send(message)
        }

        // The library writes in batches by itself, on a thread of its own.
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A receiver that passes on to all others what it receives.
    pub fn relay(job: &Job) -> io::Result<()> {
        let input = tuned(Kind::Pull, job)?;
        input.bind(job.ports[0])?;
        let output = publisher(job.ports[1], job)?;
        await_subscribers(&output, job.members - 2)?;
        let mut sink = Sink::new(job)?;
        say(&Said::Linked)?;
        loop {
            let message = input.receive()?;
            sink.take(message.bytes())?;
            output.pass_on(message)?;
        }
    }

    /// Takes what comes from the sender, or from the relay.
    pub fn receive(job: &Job) -> io::Result<()> {
        let socket = tuned(Kind::Sub, job)?;
        socket.subscribe_to_all()?;
        socket.connect(if job.peer == "zmq-relayed" { job.ports[1] } else { job.ports[0] })?;
        let mut sink = Sink::new(job)?;
        say(&Said::Linked)?;
        loop {
            sink.take(socket.receive()?.bytes())?;
        }
    }

    fn tuned(kind: Kind, job: &Job) -> io::Result<Socket> {
        let socket = Socket::new(kind)?;
        let queue = (QUEUE_BYTES / job.bytes).clamp(64, 100_000) as i32;
        for (option, value) in [
            (Option::SendBuffer, SOCKET_BYTES as i32),
            (Option::ReceiveBuffer, SOCKET_BYTES as i32),
            (Option::SendQueue, queue),
            (Option::ReceiveQueue, queue),
        ] {
            socket.set(option, value)?;
        }
        Ok(socket)
    }

    fn publisher(port: u16, job: &Job) -> io::Result<Socket> {
        let socket = tuned(Kind::XPub, job)?;
        socket.set(Option::BlockInsteadOfDropping, 1)?;
        socket.set(Option::TellEverySubscriber, 1)?;
        socket.bind(port)?;
        Ok(socket)
    }

    fn await_subscribers(socket: &Socket, count: usize) -> io::Result<()> {
        // Each subscription comes as a message that begins with a one.
        let mut seen = 0;
        while seen < count {
            seen += usize::from(socket.receive()?.bytes() == [1]);
        }
        Ok(())
    }
}

/// What is used of the library.
#[cfg(feature = "zmq")]
mod library {
    use std::ffi::{CStr, CString, c_char, c_int, c_void};
    use std::io;
    use std::ptr;

    // Numbers of zmq.h.
    #[derive(Clone, Copy)]
    #[repr(i32)]
    pub enum Kind {
        Sub = 2,
        Pull = 7,
        Push = 8,
        XPub = 9,
    }

    #[derive(Clone, Copy)]
    #[repr(i32)]
    pub enum Option {
        Subscribe = 6,
        SendBuffer = 11,
        ReceiveBuffer = 12,
        SendQueue = 23,
        ReceiveQueue = 24,
        TellEverySubscriber = 40,
        BlockInsteadOfDropping = 69,
    }

    #[link(name = "zmq")]
    unsafe extern "C" {
        fn zmq_ctx_new() -> *mut c_void;
        fn zmq_socket(context: *mut c_void, kind: c_int) -> *mut c_void;
        fn zmq_setsockopt(socket: *mut c_void, option: c_int, value: *const c_void, length: usize) -> c_int;
        fn zmq_bind(socket: *mut c_void, address: *const c_char) -> c_int;
        fn zmq_connect(socket: *mut c_void, address: *const c_char) -> c_int;
        fn zmq_send(socket: *mut c_void, from: *const c_void, length: usize, flags: c_int) -> c_int;
        fn zmq_msg_init(message: *mut Message) -> c_int;
        fn zmq_msg_recv(message: *mut Message, socket: *mut c_void, flags: c_int) -> c_int;
        fn zmq_msg_send(message: *mut Message, socket: *mut c_void, flags: c_int) -> c_int;
        fn zmq_msg_data(message: *mut Message) -> *mut c_void;
        fn zmq_msg_size(message: *const Message) -> usize;
        fn zmq_msg_close(message: *mut Message) -> c_int;
        fn zmq_errno() -> c_int;
        fn zmq_strerror(number: c_int) -> *const c_char;
    }

    /// A message of the library: 64 bytes, aligned to a pointer.
    #[repr(C, align(8))]
    pub struct Message([u8; 64]);

    impl Message {
        /// What it holds.
        pub fn bytes(&self) -> &[u8] {
            let this = ptr::from_ref(self).cast_mut();
            // SAFETY: the message is initialised, and its data lives as long as it does; neither call changes it.
            unsafe { std::slice::from_raw_parts(zmq_msg_data(this).cast(), zmq_msg_size(this)) }
        }
    }

    impl Drop for Message {
        fn drop(&mut self) {
            // SAFETY: it is initialised; a message that was sent is an empty one.
            unsafe { zmq_msg_close(self) };
        }
    }

    /// A socket, with a context of its own. It lives until the process ends.
    pub struct Socket(*mut c_void);

    impl Socket {
        pub fn new(kind: Kind) -> io::Result<Socket> {
            // SAFETY: both calls take plain numbers and pointers that they made themselves; null is answered by an error.
            let socket = unsafe { zmq_socket(zmq_ctx_new(), kind as c_int) };
            if socket.is_null() { Err(error()) } else { Ok(Socket(socket)) }
        }

        pub fn set(&self, option: Option, value: i32) -> io::Result<()> {
            // SAFETY: the socket lives, and the length is that of the value.
            check(unsafe { zmq_setsockopt(self.0, option as c_int, (&raw const value).cast(), 4) })
        }

        pub fn subscribe_to_all(&self) -> io::Result<()> {
            // SAFETY: of no bytes none are read.
            check(unsafe { zmq_setsockopt(self.0, Option::Subscribe as c_int, ptr::null(), 0) })
        }

        pub fn bind(&self, port: u16) -> io::Result<()> {
            // SAFETY: the socket lives, and the text ends with a zero.
            check(unsafe { zmq_bind(self.0, address(port).as_ptr()) })
        }

        pub fn connect(&self, port: u16) -> io::Result<()> {
            // SAFETY: as above.
            check(unsafe { zmq_connect(self.0, address(port).as_ptr()) })
        }

        pub fn send(&self, message: &[u8]) -> io::Result<()> {
            // SAFETY: the socket lives, and the length is that of the message, which is copied.
            check(unsafe { zmq_send(self.0, message.as_ptr().cast(), message.len(), 0) })
        }

        pub fn receive(&self) -> io::Result<Message> {
            let mut message = Message([0; 64]);
            // SAFETY: it is initialised before it is received into.
            check(unsafe { zmq_msg_init(&mut message) })?;
            // SAFETY: both live.
            check(unsafe { zmq_msg_recv(&mut message, self.0, 0) })?;
            Ok(message)
        }

        /// Sends a message without a copy.
        pub fn pass_on(&self, mut message: Message) -> io::Result<()> {
            // SAFETY: both live; what is left of the message is empty, and closed when it is dropped.
            check(unsafe { zmq_msg_send(&mut message, self.0, 0) })
        }
    }

    fn address(port: u16) -> CString {
        CString::new(format!("tcp://127.0.0.1:{port}")).expect("no zero in it")
    }

    fn check(answer: c_int) -> io::Result<()> {
        if answer < 0 { Err(error()) } else { Ok(()) }
    }

    fn error() -> io::Error {
        // SAFETY: neither call has preconditions; the text is a constant of the library.
        let text = unsafe { CStr::from_ptr(zmq_strerror(zmq_errno())) };
        io::Error::other(text.to_string_lossy().into_owned())
    }
}
