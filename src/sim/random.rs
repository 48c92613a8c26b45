//! The simulator's only source of chance, and the fold behind trace hashes. Same seed, same draws, on every machine.

/// A small, fast generator (SplitMix64); statistical quality suffices for drawing faults and delays.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator that is a function of `seed` alone.
    pub fn new(seed: u64) -> Random {
        Random { state: fold(0x5851_f42d_4c95_7f2d, seed) }
    }

    /// A generator for one purpose, so that draws for another do not shift its own.
    pub fn fork(&mut self) -> Random {
        Random::new(self.word())
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        finish(self.state)
    }

    /// The next 128 bits, never zero.
    pub fn wide(&mut self) -> u128 {
        (u128::from(self.word()) << 64 | u128::from(self.word())).max(1)
    }

    /// A number in `0..bound`; `bound` must not be zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.word()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True with a probability of `permille` in a thousand. Draws nothing where the answer is certain.
    pub fn chance(&mut self, permille: u32) -> bool {
        permille > 0 && (permille >= 1_000 || self.below(1_000) < u64::from(permille))
    }

    /// One of `items`, which must not be empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// Puts `items` into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

/// Folds one word into a running hash.
pub fn fold(hash: u64, word: u64) -> u64 {
    finish(hash.rotate_left(17) ^ word.wrapping_add(0x9e37_79b9_7f4a_7c15))
}

fn finish(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same() {
        let draw = |seed| (0..100).map(|_| 0).scan(Random::new(seed), |r, _: u32| Some(r.word())).collect::<Vec<_>>();
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn draws_stay_in_their_range_and_reach_its_ends() {
        let mut random = Random::new(1);
        let drawn: Vec<u64> = (0..1_000).map(|_| random.between(3, 6)).collect();
        assert!(drawn.iter().all(|n| (3..=6).contains(n)));
        assert!(drawn.contains(&3) && drawn.contains(&6));
        let hits = (0..10_000).filter(|_| random.chance(250)).count();
        assert!((2_200..2_800).contains(&hits), "{hits} of 10000 at a quarter");
    }
}
