//! One direction of a link: what becomes of each frame. A seed decides, and the caller says what time it is.

use std::iter::Flatten;

/// What is wrong with a link. The default is a perfect one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions {
    /// Of a hundred frames.
    pub loss: f64,
    /// Of a hundred frames: how many come twice.
    pub duplication: f64,
    /// Of a hundred frames: how many are held back, so that later ones overtake them.
    pub reordering: f64,
    pub delay_us: u64,
    /// Each frame takes up to so much longer; this alone changes no order.
    pub jitter_us: u64,
    pub rate: Option<Rate>,
    /// Nothing passes.
    pub cut: bool,
    /// Only what is for a multicast group is lost.
    pub loses_of_groups_only: bool,
    /// Nothing passes that is for a multicast group; what is for one host, or for every host, does.
    pub deaf_to_groups: bool,
}

/// A link that is slow, and what may wait in front of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub bytes_per_s: u64,
    pub queue_bytes: u64,
}

/// What a link did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    pub frames: u64,
    pub lost: u64,
    pub cut: u64,
    pub duplicated: u64,
    pub reordered: u64,
    /// Found the queue of a slow link full.
    pub overflowed: u64,
    /// Of those that were lost: what was for a multicast group, and its bytes.
    pub lost_of_groups: u64,
    pub lost_bytes_of_groups: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.frames += other.frames;
        self.lost += other.lost;
        self.cut += other.cut;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.overflowed += other.overflowed;
        self.lost_of_groups += other.lost_of_groups;
        self.lost_bytes_of_groups += other.lost_bytes_of_groups;
    }
}

/// How long a frame is held back that others shall overtake, at most.
pub const HOLD_US: u64 = 5_000;

/// The copies of a frame, by time of arrival.
pub type Copies = Flatten<std::array::IntoIter<Option<u64>, 2>>;

/// One direction. The n-th frame meets the same luck in every run of one seed, whatever the times and the conditions are.
#[derive(Clone, Debug)]
pub struct Link {
    pub conditions: Conditions,
    pub counts: Counts,
    random: Random,
    /// Until then a slow link is busy with what it has taken.
    busy_until_us: u64,
    /// Nothing that keeps its place arrives before this.
    last_arrival_us: u64,
}

impl Link {
    pub fn new(conditions: Conditions, seed: u64, from: usize, to: usize) -> Link {
        let random = Random(seed ^ ((from as u64 + 1) << 32 | (to as u64 + 1)).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Link { conditions, counts: Counts::default(), random, busy_until_us: 0, last_arrival_us: 0 }
    }

    /// When the copies of a frame for one host that is sent now arrive: none, one or two.
    pub fn carry(&mut self, now_us: u64, bytes: usize) -> Copies {
        self.carry_frame(now_us, bytes, false)
    }

    /// The same of any frame.
    pub fn carry_frame(&mut self, now_us: u64, bytes: usize, of_group: bool) -> Copies {
        let now = self.conditions;
        // All is drawn for each frame, so that a change of the conditions does not shift the luck of later ones.
        let [lose, duplicate, reorder, jitter, hold] = std::array::from_fn(|_| self.random.share());
        self.counts.frames += 1;
        if now.cut || (of_group && now.deaf_to_groups) {
            self.counts.cut += 1;
            return [None, None].into_iter().flatten();
        }
        if lose * 100.0 < now.loss && (of_group || !now.loses_of_groups_only) {
            self.counts.lost += 1;
            self.counts.lost_of_groups += u64::from(of_group);
            self.counts.lost_bytes_of_groups += if of_group { bytes as u64 } else { 0 };
            return [None, None].into_iter().flatten();
        }
        let Some(sent) = self.send(now_us, bytes as u64) else {
            self.counts.overflowed += 1;
            return [None, None].into_iter().flatten();
        };
        let mut arrival = sent + now.delay_us + (jitter * now.jitter_us as f64) as u64;
        let held = (hold * HOLD_US as f64) as u64 + 1;
        if reorder * 100.0 < now.reordering {
            self.counts.reordered += 1;
            arrival += held;
        } else {
            arrival = arrival.max(self.last_arrival_us);
            self.last_arrival_us = arrival;
        }
        let twice = duplicate * 100.0 < now.duplication;
        self.counts.duplicated += u64::from(twice);
        [Some(arrival), twice.then_some(arrival + held)].into_iter().flatten()
    }

    /// When the last bit is on the wire; `None` if the queue in front of it is full.
    fn send(&mut self, now_us: u64, bytes: u64) -> Option<u64> {
        let Some(rate) = self.conditions.rate else { return Some(now_us) };
        let waiting = self.busy_until_us.saturating_sub(now_us) as u128 * u128::from(rate.bytes_per_s) / 1_000_000;
        if waiting as u64 + bytes > rate.queue_bytes {
            return None;
        }
        self.busy_until_us = self.busy_until_us.max(now_us) + bytes * 1_000_000 / rate.bytes_per_s.max(1);
        Some(self.busy_until_us)
    }
}

/// SplitMix64: small, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// From 0 to before 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
