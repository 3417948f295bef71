//! Chance for tests that are repeated by their seed.

#![allow(clippy::unwrap_used)]

/// Marsaglia's xorshift64*: the same seed makes the same rolls on every machine.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `n`.
    pub fn roll(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n as u64).unwrap()
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }
}

/// Runs `one` with the seeds 0 and on, as many as fit `AETHER_SIZE` (quick, ci, full); with `AETHER_SEED`, that one alone.
pub fn each_seed(quick: u64, ci: u64, full: u64, one: impl FnMut(u64)) {
    if let Ok(seed) = std::env::var("AETHER_SEED") {
        return std::iter::once(seed.parse().unwrap()).for_each(one);
    }
    let count = match std::env::var("AETHER_SIZE").as_deref() {
        Ok("ci") => ci,
        Ok("full") => full,
        _ => quick,
    };
    (0..count).for_each(one);
}
