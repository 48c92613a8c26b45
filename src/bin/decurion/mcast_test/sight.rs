//! What is heard of one tester: which numbers came, in which order, how long, and how long an echo takes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use decurion::types::Name;
use decurion::wire::probe::Sighting;

/// Numbers that have not come and are remembered: what comes after so many others is lost.
const MISSING: usize = 4_096;

/// How long a probe and its echo took.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundTrip {
    pub count: u64,
    pub sum_us: u64,
    pub least_us: u64,
    pub most_us: u64,
}

impl RoundTrip {
    pub fn note(&mut self, took_us: u64) {
        let took_us = took_us.max(1);
        self.least_us = if self.count == 0 { took_us } else { self.least_us.min(took_us) };
        self.most_us = self.most_us.max(took_us);
        self.sum_us = self.sum_us.saturating_add(took_us);
        self.count += 1;
    }

    /// 0 = not known.
    pub fn mean_us(&self) -> u64 {
        self.sum_us.checked_div(self.count).unwrap_or(0)
    }
}

/// All that was heard of one tester, and the newest that it told of others.
#[derive(Clone, Debug)]
pub struct Heard {
    pub from: SocketAddr,
    /// Each number once.
    pub received: u64,
    pub disordered: u64,
    pub duplicated: u64,
    /// Longest probe that came, and the longest that is sent.
    pub largest: u32,
    pub largest_sent: u32,
    pub round_trip: RoundTrip,
    /// What it has heard, by tester.
    pub row: BTreeMap<u64, Sighting>,
    first: u64,
    newest: u64,
    missing: BTreeSet<u64>,
    newest_sent_us: u64,
    newest_at_us: u64,
}

/// One probe, as far as its sender's count goes.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub number: u64,
    pub length: usize,
    pub sent_us: u64,
    pub at_us: u64,
}

impl Heard {
    /// From its first probe that came.
    pub fn new(from: SocketAddr, arrival: Arrival) -> Heard {
        Heard {
            from,
            received: 1,
            disordered: 0,
            duplicated: 0,
            largest: arrival.length as u32,
            largest_sent: 0,
            round_trip: RoundTrip::default(),
            row: BTreeMap::new(),
            first: arrival.number,
            newest: arrival.number,
            missing: BTreeSet::new(),
            newest_sent_us: arrival.sent_us,
            newest_at_us: arrival.at_us,
        }
    }

    /// Takes a further probe into account. Answers whether it is the newest.
    pub fn note(&mut self, arrival: Arrival) -> bool {
        let number = arrival.number;
        self.largest = self.largest.max(arrival.length as u32);
        if number > self.newest {
            self.miss(self.newest + 1, number);
            self.received += 1;
            self.newest = number;
            self.newest_sent_us = arrival.sent_us;
            self.newest_at_us = arrival.at_us;
            return true;
        }
        if number < self.first {
            // The very first ones came in another order.
            self.miss(number + 1, self.first);
            self.first = number;
        } else if !self.missing.remove(&number) {
            self.duplicated += 1;
            return false;
        }
        self.received += 1;
        self.disordered += 1;
        false
    }

    /// Numbers from `start` to before `end` have not come yet.
    fn miss(&mut self, start: u64, end: u64) {
        self.missing.extend(start.max(end.saturating_sub(MISSING as u64))..end);
        while self.missing.len() > MISSING {
            self.missing.pop_first();
        }
    }

    /// Probes between the first and the newest one that did not come.
    pub fn lost(&self) -> u64 {
        (self.newest - self.first).saturating_add(1).saturating_sub(self.received)
    }

    /// When the newest probe came.
    pub fn last_at_us(&self) -> u64 {
        self.newest_at_us
    }

    /// What others are told.
    pub fn sighting(&self, tester: u64, name: &Name, now_us: u64) -> Sighting {
        Sighting {
            tester,
            name: name.clone(),
            received: self.received,
            lost: self.lost(),
            disordered: self.disordered,
            duplicated: self.duplicated,
            largest: self.largest,
            rtt_us: self.round_trip.mean_us(),
            echo_us: self.newest_sent_us,
            echo_age_us: now_us.saturating_sub(self.newest_at_us),
        }
    }
}
