//! All testers that this one knows of, and what is known of who hears whom.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use decurion::types::Name;
use decurion::wire::probe::{Probe, Sighting};

use super::sight::{Arrival, Heard};

/// Most testers that are kept, and most that one of them may tell of.
pub const TESTERS: usize = 256;
/// Sources of foreign datagrams that are told apart.
pub const SOURCES: usize = 64;
/// Longest round trip that is believed.
const ROUND_TRIP_US: u64 = 60_000_000;

/// One tester.
#[derive(Clone, Debug)]
pub struct Known {
    pub name: Name,
    /// `None`: others have told of it.
    pub heard: Option<Heard>,
    /// When it was first and last heard, by whomever.
    pub first_at_us: u64,
    pub last_at_us: u64,
}

/// Datagrams on the group that are no probes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Foreign {
    pub datagrams: u64,
    /// It begins as Decurion's datagrams do: a live cluster.
    pub decurion: bool,
}

/// Who is there, and who hears whom.
#[derive(Debug)]
pub struct Matrix {
    me: u64,
    /// Probes that a tester sends each second.
    rate: u32,
    pub testers: BTreeMap<u64, Known>,
    pub foreign: BTreeMap<SocketAddr, Foreign>,
    /// From sources beyond the bound.
    pub foreign_others: u64,
    /// Probes of testers beyond the bound.
    pub beyond: u64,
    /// Which tester the next probe tells of first.
    turn: u64,
}

impl Matrix {
    pub fn new(me: u64, rate: u32) -> Matrix {
        let (testers, foreign) = (BTreeMap::new(), BTreeMap::new());
        Matrix { me, rate, testers, foreign, foreign_others: 0, beyond: 0, turn: 0 }
    }

    /// How long two testers must have run together before silence between them means something: in that time a tester has
    /// told of all others, even if some of its probes are lost.
    pub fn together_us(&self) -> u64 {
        // Of four probes one holds a single word, the longer ones half a dozen and more.
        let probes = 2 + self.testers.len() as u64 / 5;
        (3 * probes * 1_000_000 / u64::from(self.rate)).max(1_000_000)
    }

    /// Takes in what has come. Answers whose first probe it was, if it was one.
    pub fn take(&mut self, from: SocketAddr, bytes: &[u8], at_us: u64) -> Option<u64> {
        let Ok(probe) = Probe::decode(bytes) else {
            self.count_foreign(from, bytes);
            return None;
        };
        let arrival = Arrival { number: probe.number, length: bytes.len(), sent_us: probe.sent_us, at_us };
        if !self.learn(probe.tester, &probe.name, at_us, at_us) {
            self.beyond += 1;
            return None;
        }
        let me = self.me;
        let known = self.testers.get_mut(&probe.tester)?;
        let is_first = known.heard.is_none();
        let heard = known.heard.get_or_insert_with(|| Heard::new(from, arrival));
        let is_newest = is_first || heard.note(arrival);
        heard.largest_sent = heard.largest_sent.max(probe.largest);
        if probe.tester == me {
            heard.round_trip.note(at_us.saturating_sub(probe.sent_us));
        } else if is_newest {
            self.take_row(&probe, at_us);
        }
        is_first.then_some(probe.tester)
    }

    /// What a tester tells of others, and of this one.
    fn take_row(&mut self, probe: &Probe, at_us: u64) {
        for sighting in &probe.sightings {
            let heard_at_us = at_us.saturating_sub(sighting.echo_age_us);
            self.learn(sighting.tester, &sighting.name, heard_at_us, heard_at_us);
            let Some(heard) = self.testers.get_mut(&probe.tester).and_then(|known| known.heard.as_mut()) else {
                return;
            };
            if sighting.tester == self.me {
                let since = at_us.checked_sub(sighting.echo_us).and_then(|us| us.checked_sub(sighting.echo_age_us));
                if let Some(took_us) = since.filter(|us| *us <= ROUND_TRIP_US) {
                    heard.round_trip.note(took_us);
                }
            }
            if heard.row.len() < TESTERS || heard.row.contains_key(&sighting.tester) {
                heard.row.insert(sighting.tester, sighting.clone());
            }
        }
    }

    /// Notes that a tester was heard then. Answers whether there is room for it.
    fn learn(&mut self, tester: u64, name: &Name, first_at_us: u64, last_at_us: u64) -> bool {
        let is_room = self.testers.len() < TESTERS;
        if let Some(known) = self.testers.get_mut(&tester) {
            known.first_at_us = known.first_at_us.min(first_at_us);
            known.last_at_us = known.last_at_us.max(last_at_us);
        } else if is_room {
            self.testers.insert(tester, Known { name: name.clone(), heard: None, first_at_us, last_at_us });
        } else {
            return false;
        }
        true
    }

    fn count_foreign(&mut self, from: SocketAddr, bytes: &[u8]) {
        if self.foreign.len() >= SOURCES && !self.foreign.contains_key(&from) {
            self.foreign_others += 1;
            return;
        }
        let foreign = self.foreign.entry(from).or_default();
        foreign.datagrams += 1;
        foreign.decurion |= bytes.starts_with(b"DCN");
    }

    /// Fills a probe with what has been heard: all testers take turns.
    pub fn tell(&mut self, probe: &mut Probe, length: usize, now_us: u64) {
        let after = self.testers.range(self.turn..).chain(self.testers.range(..self.turn));
        let heard = after.filter_map(|(id, known)| Some((*id, known, known.heard.as_ref()?)));
        probe.fill(length, heard.map(|(id, known, heard)| heard.sighting(id, &known.name, now_us)));
        if let Some(last) = probe.sightings.last() {
            self.turn = last.tester.wrapping_add(1);
        }
    }

    /// How many testers are heard, this one among them.
    pub fn heard(&self) -> usize {
        self.testers.values().filter(|known| known.heard.is_some()).count()
    }

    /// What one hears of another, as far as it is known.
    pub fn sighting(&self, hearer: u64, sender: u64) -> Option<Sighting> {
        if hearer == self.me {
            let known = self.testers.get(&sender)?;
            return known.heard.as_ref().map(|heard| heard.sighting(sender, &known.name, heard.last_at_us()));
        }
        self.testers.get(&hearer)?.heard.as_ref()?.row.get(&sender).cloned()
    }

    /// Whether this one knows what that one hears.
    pub fn knows_row(&self, hearer: u64) -> bool {
        hearer == self.me || self.testers.get(&hearer).is_some_and(|known| known.heard.is_some())
    }
}
