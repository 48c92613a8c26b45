//! Somebody on a member's port who is no member: says what a test wants said, and hears what is answered.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use decurion::types::{Incarnation, Name};
use decurion::wire::VERSION;
use decurion::wire::control::{self, Control, HEADER_BYTES, Hello, MAGIC, Purpose};

use super::PATIENCE;

pub struct Stranger {
    stream: TcpStream,
}

/// A greeting that a member of "command-test" with these settings welcomes.
pub fn hello(name: &str, incarnation: u128, settings: &[(String, String)]) -> Hello {
    Hello {
        magic: MAGIC,
        version_min: VERSION,
        version_max: VERSION,
        cluster: "command-test".to_owned(),
        purpose: Purpose::Link,
        name: Name::new(name),
        incarnation: Incarnation(incarnation),
        address: SocketAddr::from(([127, 0, 0, 1], 9)),
        expects: Incarnation::NONE,
        settings: settings.to_vec(),
        view: None,
    }
}

/// The settings that all members must share, as the command makes them from these.
pub fn agreed(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut config = decurion::Config::new();
    for (key, value) in settings {
        config.set(key, value).expect("legal");
    }
    config.resolve().expect("legal together").setup.agreed_settings
}

impl Stranger {
    pub fn connect(to: SocketAddr) -> Stranger {
        let stream = TcpStream::connect(to).expect("a living member accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
        Stranger { stream }
    }

    /// A member may close before it has read all: that is for the test to see in what it hears.
    pub fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Says no more, and goes on listening.
    pub fn hush(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next control frame; `None` when the member has closed the connection.
    pub fn hear(&mut self) -> Option<Control> {
        let mut header = [0; HEADER_BYTES];
        self.fill(&mut header)?;
        let mut frame = header.to_vec();
        frame.resize(HEADER_BYTES + control::body_length(&header), 0);
        self.fill(&mut frame[HEADER_BYTES..])?;
        Some(Control::decode(&frame).expect("a member sends legal frames"))
    }

    /// Everything that is said until the member closes the connection.
    pub fn hear_all(&mut self) -> Vec<Control> {
        std::iter::from_fn(|| self.hear()).collect()
    }

    fn fill(&mut self, into: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(into) {
            Ok(()) => Some(()),
            // Closed in order, or with our bytes unread.
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset) =>
            {
                None
            }
            Err(error) => panic!("the member neither answers nor closes: {error}"),
        }
    }
}
