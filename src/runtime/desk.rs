//! Requests about sessions that are under way: who asked, and so where the answer goes.
//!
//! The core knows requests by numbers of ours. An answer goes to the thread that waits for it, or becomes an event that
//! carries the host's token. What may be under way, and what the host has not taken yet, is bounded here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::core::SessionAnswer;
use crate::types::Code;

/// Most requests that are under way or whose answers the host has not taken.
const REQUESTS: usize = 16_384;

/// An answer that was taken from the desk is put on its seat at once; longer than that nobody is kept from it.
pub(super) const HAND_OVER: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct Desk {
    /// What answers may weigh that the host has not taken.
    bound: usize,
    inner: Mutex<Inner>,
}

#[derive(Default, Debug)]
struct Inner {
    asked: Asked,
    /// Answers that have become events and were not taken yet.
    untaken: usize,
    untaken_bytes: usize,
}

/// Requests that are under way. The number of one says its place, and how many were there before it.
#[derive(Default, Debug)]
struct Asked {
    places: Vec<(u64, Option<Asker>)>,
    free: Vec<usize>,
}

impl Asked {
    fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    fn put(&mut self, asker: Asker) -> u64 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            self.places.len() - 1
        });
        let (round, there) = &mut self.places[place];
        *round += 1;
        *there = Some(asker);
        *round * REQUESTS as u64 + place as u64
    }

    fn take(&mut self, number: u64) -> Option<Asker> {
        let place = (number % REQUESTS as u64) as usize;
        let (round, there) = self.places.get_mut(place)?;
        let asker = there.take_if(|_| *round == number / REQUESTS as u64)?;
        self.free.push(place);
        Some(asker)
    }

    fn take_all(&mut self) -> Vec<Asker> {
        self.free = (0..self.places.len()).collect();
        self.places.iter_mut().filter_map(|(_, asker)| asker.take()).collect()
    }
}

/// Who wants an answer.
#[derive(Clone, Debug)]
pub enum Asker {
    /// The host, by an event with this token.
    Event(u64),
    /// A thread that waits.
    Thread(Arc<Seat>),
}

/// Where a thread waits for its answer.
#[derive(Default, Debug)]
pub struct Seat {
    come: Mutex<Option<Come>>,
    changed: Condvar,
}

/// What comes to a thread that waits.
#[derive(Debug)]
pub enum Come {
    /// The answer.
    Answer(SessionAnswer),
    /// The engine has ended without one.
    End,
}

impl Seat {
    /// Waits for what comes; `None` when the time is over first.
    pub fn wait(&self, deadline: Instant) -> Option<Come> {
        let mut come = self.come.lock();
        while come.is_none() {
            if self.changed.wait_until(&mut come, deadline).timed_out() {
                break;
            }
        }
        come.take()
    }

    fn put(&self, what: Come) {
        *self.come.lock() = Some(what);
        self.changed.notify_all();
    }
}

impl Desk {
    /// With nothing under way; `bound` is in bytes.
    pub fn new(bound: usize) -> Desk {
        Desk { bound, inner: Mutex::default() }
    }

    /// Gives a request its number; `None` when too much is under way, or waits to be taken.
    pub fn open(&self, asker: Asker) -> Option<u64> {
        let mut inner = self.inner.lock();
        let by_event = matches!(asker, Asker::Event(_));
        if inner.asked.len() + inner.untaken >= REQUESTS || (by_event && inner.untaken_bytes >= self.bound) {
            return None;
        }
        Some(inner.asked.put(asker))
    }

    /// Nobody wants this answer any more. `false`: it has come, or is coming.
    pub fn forget(&self, number: u64) -> bool {
        self.inner.lock().asked.take(number).is_some()
    }

    /// An answer has come; what is to become an event comes back.
    pub fn answered(&self, mut answer: SessionAnswer) -> Option<SessionAnswer> {
        let mut inner = self.inner.lock();
        match inner.asked.take(answer.number)? {
            Asker::Thread(seat) => {
                drop(inner);
                seat.put(Come::Answer(answer));
                None
            }
            Asker::Event(token) => {
                answer.number = token;
                // Many small requests may bring long answers. A read changes nothing, so it can be asked for again.
                if answer.attributes.is_some() && inner.untaken_bytes > 0 {
                    let full = inner.untaken_bytes + answer.cost() > self.bound;
                    if full {
                        (answer.code, answer.attributes) = (Code::Again, None);
                    }
                }
                inner.untaken += 1;
                inner.untaken_bytes += answer.cost();
                Some(answer)
            }
        }
    }

    /// The host has taken so many answers of so many bytes.
    pub fn taken(&self, count: usize, bytes: usize) {
        if count > 0 {
            let mut inner = self.inner.lock();
            inner.untaken = inner.untaken.saturating_sub(count);
            inner.untaken_bytes = inner.untaken_bytes.saturating_sub(bytes);
        }
    }

    /// The engine has ended: whoever waits is told.
    pub fn end(&self) {
        let asked = self.inner.lock().asked.take_all();
        for asker in asked {
            if let Asker::Thread(seat) = asker {
                seat.put(Come::End);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Epoch, MemberTag, SessionId};
    use crate::wire::session::Attributes;

    fn answer(number: u64, bytes: usize) -> SessionAnswer {
        let attributes = (bytes > 0).then(|| Attributes::new([("a", &vec![0; bytes][..])]));
        let holders = [MemberTag::NONE; 2];
        let (id, epoch) = (SessionId(1), Epoch::default());
        SessionAnswer { number, id, code: Code::Ok, epoch, version: 1, holders, attributes }
    }

    #[test]
    fn an_answer_goes_to_whoever_asked() {
        let desk = Desk::new(1_000);
        let seat = Arc::new(Seat::default());
        let waited_for = desk.open(Asker::Thread(seat.clone())).unwrap();
        let by_event = desk.open(Asker::Event(77)).unwrap();
        assert_eq!(desk.answered(answer(by_event, 10)).unwrap().number, 77);
        assert!(seat.wait(Instant::now()).is_none(), "nothing has come yet");
        assert!(desk.answered(answer(waited_for, 10)).is_none());
        assert!(matches!(seat.wait(Instant::now() + Duration::from_secs(30)), Some(Come::Answer(_))));
        assert!(desk.answered(answer(waited_for, 10)).is_none(), "nobody asked for a second one");
    }

    #[test]
    fn a_number_is_not_used_again_though_its_place_is() {
        let desk = Desk::new(1_000);
        let first = desk.open(Asker::Event(1)).unwrap();
        assert!(desk.forget(first));
        let second = desk.open(Asker::Event(2)).unwrap();
        assert!(first != second && desk.inner.lock().asked.places.len() == 1);
        assert!(desk.answered(answer(first, 0)).is_none() && !desk.forget(first), "nobody waits for the first one");
        assert_eq!(desk.answered(answer(second, 0)).unwrap().number, 2);
    }

    #[test]
    fn what_is_forgotten_is_not_told_and_the_end_is() {
        let desk = Desk::new(1_000);
        let number = desk.open(Asker::Event(1)).unwrap();
        assert!(desk.forget(number) && !desk.forget(number));
        assert!(desk.answered(answer(number, 0)).is_none());
        let seat = Arc::new(Seat::default());
        desk.open(Asker::Thread(seat.clone())).unwrap();
        desk.end();
        assert!(matches!(seat.wait(Instant::now()), Some(Come::End)));
    }

    #[test]
    fn answers_that_are_not_taken_are_bounded_in_number_and_bytes() {
        let desk = Desk::new(1_000);
        let numbers: Vec<u64> = (0..3).map(|token| desk.open(Asker::Event(token)).unwrap()).collect();
        let first = desk.answered(answer(numbers[0], 600)).unwrap();
        let cut = desk.answered(answer(numbers[1], 600)).unwrap();
        assert_eq!((first.code, cut.code, cut.attributes.is_none()), (Code::Ok, Code::Again, true));
        desk.taken(2, first.cost() + cut.cost());
        assert_eq!(desk.answered(answer(numbers[2], 2_000)).unwrap().code, Code::Ok, "one always fits");
        assert!(desk.open(Asker::Event(9)).is_none(), "the host must take first");
        desk.taken(1, 3_000);
        let open = (0..).take_while(|token| desk.open(Asker::Event(*token)).is_some()).count();
        assert_eq!(open, REQUESTS);
    }
}
