//! Aeron: each process has a media driver of its own, in C, on threads of its own. Either the sender publishes by multicast, or
//! by datagrams to one receiver that publishes to the others in turn.

use std::io;

use super::Job;

/// Runs a process of it.
#[cfg(feature = "aeron")]
pub fn run(job: &Job, role: &str) -> io::Result<()> {
    let end = match role {
        "send" => linked::send(job),
        "relay" => linked::relay(job),
        "receive" => linked::receive(job),
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    end.map_err(|error| io::Error::other(error.to_string()))
}

/// This build has no Aeron.
#[cfg(not(feature = "aeron"))]
pub fn run(_job: &Job, _role: &str) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "built without Aeron"))
}

#[cfg(feature = "aeron")]
mod linked {
    use std::error::Error;
    use std::ffi::CString;
    use std::io;
    use std::thread;
    use std::time::Duration;

    use rusteron_media_driver::{
        Aeron, AeronContext, AeronDriver, AeronDriverContext, AeronExclusivePublication, AeronFragmentClosureAssembler,
        AeronHeader, AeronSubscription, Handlers, bindings::aeron_threading_mode_t,
    };

    use super::super::{Job, Publish, Sink, say, send as send_as_told};
    use crate::shared::protocol::Said;

    type Outcome<T> = Result<T, Box<dyn Error>>;

    const STREAM: i32 = 10;
    /// Datagrams as long as they may be: on the loopback device nothing cuts them.
    const MTU: usize = 65_504;
    /// As long as they are on an Ethernet, by Aeron's own default.
    const ETHERNET_MTU: usize = 1_408;
    const TERM_BYTES: usize = 8 << 20;
    const WINDOW_BYTES: usize = 2 << 20;
    /// Larger than the window, so that the system drops none of it.
    const SOCKET_BYTES: usize = 4 << 20;
    const PATIENCE: Duration = Duration::from_secs(20);
    /// A machine that stands still for a while is no reason to give up.
    const LIVENESS: Duration = Duration::from_secs(300);
    /// Fragments of one poll.
    const FRAGMENTS: usize = 256;
    const GROUP: &str = "224.0.1.1";

    /// A client with its driver.
    struct Media {
        _driver: AeronDriver,
        client: Aeron,
    }

    impl Media {
        fn start(job: &Job) -> Outcome<Media> {
            let dir = CString::new(format!("{}/aeron-{}", job.dir, job.number))?;
            let context = AeronDriverContext::new()?;
            context.set_dir(&dir)?;
            context.set_dir_delete_on_start(true)?;
            context.set_threading_mode(aeron_threading_mode_t::AERON_THREADING_MODE_SHARED)?;
            context.set_shared_idle_strategy(c"yield")?;
            context.set_mtu_length(mtu(job))?;
            context.set_socket_so_rcvbuf(SOCKET_BYTES)?;
            context.set_socket_so_sndbuf(SOCKET_BYTES)?;
            context.set_rcv_initial_window_length(WINDOW_BYTES)?;
            context.set_client_liveness_timeout_ns(LIVENESS.as_nanos() as u64)?;
            context.set_publication_unblock_timeout_ns(2 * LIVENESS.as_nanos() as u64)?;
            context.set_image_liveness_timeout_ns(LIVENESS.as_nanos() as u64)?;
            context.set_term_buffer_sparse_file(true)?;
            let driver = AeronDriver::new(&context)?;
            driver.start(false)?;
            let context = AeronContext::new()?;
            context.set_dir(&dir)?;
            context.set_driver_timeout_ms(LIVENESS.as_millis() as u64)?;
            let client = Aeron::new(&context)?;
            client.start()?;
            Ok(Media { _driver: driver, client })
        }

        fn publication(&self, channel: &str) -> Outcome<AeronExclusivePublication> {
            let channel = CString::new(channel)?;
            let publication = self.client.async_add_exclusive_publication(&channel, STREAM)?.poll_blocking(PATIENCE)?;
            Ok(publication)
        }

        fn subscription(&self, channel: &str) -> Outcome<AeronSubscription> {
            let channel = CString::new(channel)?;
            let adding = self.client.async_add_subscription(&channel, STREAM, Handlers::NONE, Handlers::NONE)?;
            Ok(adding.poll_blocking(PATIENCE)?)
        }
    }

    fn mtu(job: &Job) -> usize {
        if job.peer == "aeron-ethernet" { ETHERNET_MTU } else { MTU }
    }

    /// Where a publication goes, and where its subscribers listen: to the first port directly, or to a group of receivers.
    fn to_one(port: u16) -> String {
        format!("aeron:udp?endpoint=127.0.0.1:{port}|mtu={MTU}|term-length={TERM_BYTES}")
    }

    fn to_group(job: &Job) -> String {
        let receivers = job.members - 1;
        let (port, mtu) = (job.ports[0], mtu(job));
        format!(
            "aeron:udp?endpoint={GROUP}:{port}|interface=127.0.0.1|ttl=0|mtu={mtu}|term-length={TERM_BYTES}|fc=min,g:/{receivers}"
        )
    }

    fn to_many(job: &Job) -> String {
        let (port, receivers) = (job.ports[1], job.members - 2);
        format!(
            "aeron:udp?control=127.0.0.1:{port}|control-mode=dynamic|mtu={MTU}|term-length={TERM_BYTES}|fc=min,g:/{receivers}"
        )
    }

    /// The sender.
    pub fn send(job: &Job) -> Outcome<()> {
        let media = Media::start(job)?;
        let channel = if job.peer == "aeron-relayed" { to_one(job.ports[0]) } else { to_group(job) };
        let out = Out(media.publication(&channel)?);
        out.await_receivers();
        Ok(send_as_told(job, out)?)
    }

    struct Out(AeronExclusivePublication);

    impl Out {
        fn await_receivers(&self) {
            while !self.0.is_connected() {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    impl Publish for Out {
        fn publish(&mut self, message: &[u8]) -> io::Result<()> {
            let mut idle = Idle::default();
            loop {
                match self.0.offer(message) {
                    Ok(_) => return Ok(()),
                    Err(error) if error.is_retryable() => idle.rest(),
                    Err(error) => return Err(io::Error::other(format!("{error:?}"))),
                }
            }
        }

        // The driver sends by itself.
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A receiver that publishes to all others what it receives.
    pub fn relay(job: &Job) -> Outcome<()> {
        let media = Media::start(job)?;
        let input = media.subscription(&to_one(job.ports[0]))?;
        let out = Out(media.publication(&to_many(job))?);
        out.await_receivers();
        poll(job, &input, Some(out))
    }

    /// Takes what comes from the sender, or from the relay.
    pub fn receive(job: &Job) -> Outcome<()> {
        let media = Media::start(job)?;
        let channel = if job.peer == "aeron-relayed" {
            format!("aeron:udp?endpoint=127.0.0.1:{}|control=127.0.0.1:{}", job.ports[1 + job.number], job.ports[1])
        } else {
            to_group(job)
        };
        let input = media.subscription(&channel)?;
        poll(job, &input, None)
    }

    struct Taker {
        sink: Sink,
        out: Option<Out>,
        wrong: Option<io::Error>,
    }

    fn take(taker: &mut Taker, message: &[u8], _header: AeronHeader) {
        let checked = taker.sink.take(message);
        let passed = taker.out.as_mut().map_or(Ok(()), |out| out.publish(message));
        taker.wrong = checked.and(passed).err().or(taker.wrong.take());
    }

    fn poll(job: &Job, input: &AeronSubscription, out: Option<Out>) -> Outcome<()> {
        let mut taker = Taker { sink: Sink::new(job)?, out, wrong: None };
        let mut assembler = AeronFragmentClosureAssembler::new()?;
        let mut idle = Idle::default();
        say(&Said::Linked)?;
        loop {
            match assembler.poll(input, &mut taker, take, FRAGMENTS)? {
                0 => idle.rest(),
                _ => idle = Idle::default(),
            }
            if let Some(error) = taker.wrong.take() {
                return Err(error.into());
            }
        }
    }

    /// Waits a little longer each time, as the driver's own threads do.
    #[derive(Default)]
    struct Idle(u32);

    impl Idle {
        fn rest(&mut self) {
            self.0 += 1;
            match self.0 {
                0..10 => std::hint::spin_loop(),
                10..20 => thread::yield_now(),
                n => thread::sleep(Duration::from_micros(1 << (n - 20).min(4))),
            }
        }
    }
}
