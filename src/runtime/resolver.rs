//! Names to addresses, off the loop: the system's resolver may take half a minute.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::bell::Bell;
use super::thread;

/// Most lookups that wait at the same time.
const PENDING: usize = 64;
/// Most addresses of one name that are looked at.
const ADDRESSES: usize = 64;

/// A lookup's answer.
#[derive(Debug)]
pub struct Answer {
    /// The name as it was asked.
    pub host: String,
    /// The port as it was asked.
    pub port: u16,
    /// What it resolves to, or why it does not.
    pub addresses: Result<Vec<SocketAddr>, String>,
}

/// Asks the system's resolver on a thread of its own, which is started with the first question.
#[derive(Debug)]
pub struct Resolver {
    bell: Arc<Bell>,
    thread_name: String,
    worker: Option<Worker>,
    pending: BTreeSet<(String, u16)>,
    /// Answers that needed no lookup.
    at_once: Vec<Answer>,
}

#[derive(Debug)]
struct Worker {
    questions: Sender<(String, u16)>,
    answers: Receiver<Answer>,
}

impl Resolver {
    /// A resolver that rings `bell` with each answer.
    pub fn new(bell: Arc<Bell>, thread_name: &str) -> Resolver {
        Resolver {
            bell,
            thread_name: format!("{thread_name}-names"),
            worker: None,
            pending: BTreeSet::new(),
            at_once: Vec::new(),
        }
    }

    /// Looks a name up. A question that is pending already is not asked twice; one too many is answered with nothing,
    /// as a name that does not resolve now.
    pub fn ask(&mut self, host: String, port: u16) {
        if let Some(address) = literal(&host) {
            self.at_once.push(Answer { addresses: Ok(vec![SocketAddr::new(address, port)]), host, port });
            return;
        }
        let key = (host, port);
        if self.pending.contains(&key) {
            return;
        }
        if self.worker.is_none() {
            self.worker = start(&self.bell, &self.thread_name);
        }
        let asked = self.worker.as_ref().is_some_and(|w| w.questions.try_send(key.clone()).is_ok());
        if asked {
            self.pending.insert(key);
        } else {
            let why = "too many names are being looked up, or there is no thread for it".to_owned();
            self.at_once.push(Answer { host: key.0, port: key.1, addresses: Err(why) });
        }
    }

    /// The next answer that has come.
    pub fn answer(&mut self) -> Option<Answer> {
        if let Some(answer) = self.at_once.pop() {
            return Some(answer);
        }
        let answer = self.worker.as_ref()?.answers.try_recv().ok()?;
        self.pending.remove(&(answer.host.clone(), answer.port));
        Some(answer)
    }

    /// Whether an answer is there without waiting.
    pub fn has_answer(&self) -> bool {
        !self.at_once.is_empty() || self.worker.as_ref().is_some_and(|w| !w.answers.is_empty())
    }
}

/// The address that a text already is, with or without the brackets of IPv6.
fn literal(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host).parse().ok()
}

/// The thread ends by itself when the resolver is dropped; a lookup under way then ends unheard. It is not joined,
/// since nothing can cut a lookup short. So it keeps no descriptor of the engine open, and logs nothing: the host may
/// have taken its callback back by then.
fn start(bell: &Arc<Bell>, name: &str) -> Option<Worker> {
    let bell = Arc::downgrade(bell);
    let (questions, asked) = bounded::<(String, u16)>(PENDING);
    let (answered, answers) = bounded(PENDING);
    let work = move || {
        for (host, port) in asked {
            let addresses = (host.as_str(), port).to_socket_addrs();
            let addresses = addresses.map(|found| found.take(ADDRESSES).collect()).map_err(|error| error.to_string());
            if answered.send(Answer { host, port, addresses }).is_err() {
                return;
            }
            let Some(bell) = bell.upgrade() else { return };
            bell.ring();
        }
    };
    match thread::spawn(name, work) {
        Ok(_detached) => Some(Worker { questions, answers }),
        Err(error) => {
            log::warn!(target: "decurion::runtime", "names cannot be resolved, no thread: {error}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_answered_at_once() {
        let mut resolver = Resolver::new(Arc::new(Bell::new().unwrap()), "test");
        resolver.ask("127.0.0.1".into(), 7100);
        resolver.ask("[::1]".into(), 7101);
        let answers: Vec<_> = std::iter::from_fn(|| resolver.answer()).flat_map(|a| a.addresses.unwrap()).collect();
        assert!(answers.contains(&"127.0.0.1:7100".parse().unwrap()));
        assert!(answers.contains(&"[::1]:7101".parse().unwrap()));
        assert!(resolver.worker.is_none(), "no thread was needed");
    }

    #[test]
    fn names_are_answered_by_the_helper_thread_and_the_bell_rings() {
        let bell = Arc::new(Bell::new().unwrap());
        let mut resolver = Resolver::new(bell.clone(), "test");
        assert!(bell.sleep());
        resolver.ask("localhost".into(), 7100);
        resolver.ask("localhost".into(), 7100);
        assert!(super::super::eventfd::readable(std::os::fd::AsRawFd::as_raw_fd(&*bell), 10_000), "the bell rang");
        let answer = resolver.answer().unwrap();
        assert_eq!((answer.host.as_str(), answer.port), ("localhost", 7100));
        let addresses = answer.addresses.unwrap();
        assert!(!addresses.is_empty() && addresses.iter().all(|a| a.ip().is_loopback() && a.port() == 7100));
        assert!(resolver.pending.is_empty(), "the same question was asked once");
    }
}
