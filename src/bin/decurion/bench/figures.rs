//! Latencies, medians and their intervals.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Up to here each microsecond is counted for itself in a table; beyond, in a list.
const TABLE: usize = 32 * 1_024;

/// How often each latency was seen, to the microsecond.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    /// Made with the first latency.
    table: Vec<u32>,
    beyond: Vec<u32>,
}

impl Latency {
    /// Notes one, in nanoseconds.
    pub fn note(&mut self, ns: u64) {
        let us = u32::try_from(ns / 1_000).unwrap_or(u32::MAX);
        if self.table.is_empty() {
            self.table.resize(TABLE, 0);
        }
        match self.table.get_mut(us as usize) {
            Some(count) => *count += 1,
            None => self.beyond.push(us),
        }
    }

    /// Adds what another one has seen.
    pub fn add(&mut self, other: &Latency) {
        self.table.resize(self.table.len().max(other.table.len()), 0);
        self.table.iter_mut().zip(&other.table).for_each(|(mine, theirs)| *mine += theirs);
        self.beyond.extend(&other.beyond);
    }

    /// How many.
    pub fn len(&self) -> u64 {
        self.table.iter().map(|count| u64::from(*count)).sum::<u64>() + self.beyond.len() as u64
    }

    /// The latency in microseconds that so large a part does not exceed; `None` if there is none at all.
    pub fn quantile(&self, part: f64) -> Option<u64> {
        let rank = ((part * self.len() as f64).ceil() as u64).clamp(1, self.len().max(1));
        let mut seen = 0;
        for (us, count) in self.table.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return Some(us as u64);
            }
        }
        let mut beyond = self.beyond.clone();
        beyond.sort_unstable();
        beyond.get((rank - seen).saturating_sub(1) as usize).map(|us| u64::from(*us))
    }
}

/// On the wire: pairs of a latency and how often it was seen.
impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let table =
            self.table.iter().enumerate().filter(|(_, count)| **count > 0).map(|(us, count)| (us as u32, *count));
        to.collect_seq(table.chain(self.beyond.iter().map(|us| (*us, 1))))
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Latency, D::Error> {
        let mut latency = Latency::default();
        for (us, count) in Vec::<(u32, u32)>::deserialize(from)? {
            if latency.table.is_empty() {
                latency.table.resize(TABLE, 0);
            }
            match latency.table.get_mut(us as usize) {
                Some(seen) => *seen += count,
                None => latency.beyond.extend(std::iter::repeat_n(us, count as usize)),
            }
        }
        Ok(latency)
    }
}

/// The median; of an even number, the mean of the middle two. `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// The value at or below which so large a part lies (nearest rank). `None` of nothing.
pub fn nearest_rank(values: &[f64], part: f64) -> Option<f64> {
    let sorted = sorted(values);
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// A 95 % interval of the median by order statistics: it needs no assumption about the distribution. With less than six values
/// there is none so sure, and it is all of them.
pub fn interval_of_median(values: &[f64]) -> Option<[f64; 2]> {
    let sorted = sorted(values);
    let n = sorted.len();
    if n == 0 {
        return None;
    }
    // The largest k for which the median is outside of the k-th value from either end in less than 2.5 % each.
    let (mut k, mut below, mut term) = (0, 0.0, 0.5f64.powi(n as i32));
    while below + term <= 0.025 {
        below += term;
        term *= (n - k) as f64 / (k + 1) as f64;
        k += 1;
    }
    let at = k.max(1) - 1;
    Some([sorted[at], sorted[n - 1 - at]])
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_count_every_latency_once_also_over_a_pipe() {
        let mut latency = Latency::default();
        assert_eq!(latency.quantile(0.5), None);
        for us in 1..=1_000 {
            latency.note(us * 1_000 + 999);
        }
        latency.note(5_000_000_000);
        let text = serde_json::to_string(&latency).expect("plain data");
        let mut back: Latency = serde_json::from_str(&text).expect("the same form");
        assert_eq!((back.len(), back.quantile(0.5), back.quantile(0.99)), (1_001, Some(501), Some(991)));
        assert_eq!(back.quantile(1.0), Some(5_000_000));
        back.add(&latency);
        assert_eq!((back.len(), back.quantile(0.5), back.quantile(0.9999)), (2_002, Some(501), Some(5_000_000)));
    }

    #[test]
    fn the_interval_of_a_median_is_that_of_the_binomial_tables() {
        let values = |n: usize| (1..=n).map(|v| v as f64).collect::<Vec<_>>();
        // Ranks from the tables of the sign test at 5 %, two-sided.
        for (n, low) in [(1, 1.0), (5, 1.0), (6, 1.0), (9, 2.0), (12, 3.0), (20, 6.0), (30, 10.0)] {
            assert_eq!(interval_of_median(&values(n)), Some([low, n as f64 + 1.0 - low]), "of {n}");
        }
        assert_eq!((median(&values(9)), median(&values(4)), median(&[])), (Some(5.0), Some(2.5), None));
        assert_eq!((nearest_rank(&values(9), 0.99), nearest_rank(&values(200), 0.99)), (Some(9.0), Some(198.0)));
    }
}
