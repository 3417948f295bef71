//! `UUIDv7` (RFC 9562), strictly increasing within a process, also when the clock stands still or runs backwards.
//!
//! The `uuid` crate's generator draws from a thread-local random state that a forked child shares with its parent, so two
//! processes could make the same id. Here time and randomness are passed in, and the bindings start afresh after a fork.

/// Random bytes an id takes at most.
pub const RANDOM_BYTES: usize = 10;

const STEP_BYTES: usize = 4;

const RANDOM_BITS: u32 = 74;
const RANDOM_MASK: u128 = (1 << RANDOM_BITS) - 1;

/// The last id made: 48 bits of milliseconds over 74 bits of randomness.
#[derive(Debug, Default, Clone, Copy)]
pub struct Generator {
    last: u128,
}

impl Generator {
    pub const fn new() -> Self {
        Self { last: 0 }
    }

    /// The next id, greater than all before it, and how many of the random bytes it took, counted from the end: all for the
    /// first id of a millisecond, four for each that follows it.
    pub fn next(&mut self, unix_ms: u64, random: &[u8; RANDOM_BYTES]) -> ([u8; 16], usize) {
        let mut wide = [0; 16];
        wide[6..].copy_from_slice(random);
        let random = u128::from_be_bytes(wide);
        let unix_ms = u128::from(unix_ms) & 0xffff_ffff_ffff;
        let used = if unix_ms > self.last >> RANDOM_BITS {
            // The topmost random bit starts clear, so a busy millisecond has room to count up before it borrows from the next.
            self.last = unix_ms << RANDOM_BITS | (random & (RANDOM_MASK >> 1));
            RANDOM_BYTES
        } else {
            self.last += 1 + (random & 0xffff_ffff);
            STEP_BYTES
        };
        (layout(self.last), used)
    }
}

/// Puts version and variant between the bits: 48 time, 4 version, 12 random, 2 variant, 62 random.
fn layout(bits: u128) -> [u8; 16] {
    let time = bits >> RANDOM_BITS & 0xffff_ffff_ffff;
    let high = bits >> 62 & 0xfff;
    let low = bits & ((1 << 62) - 1);
    (time << 80 | 7 << 76 | high << 64 | 2 << 62 | low).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_increase_whatever_the_clock_does() {
        let mut generator = Generator::default();
        let mut last = [0; 16];
        for (step, ms) in [5_u64, 5, 5, 4, 0, 6, 6, 100, 99].into_iter().cycle().take(10_000).enumerate() {
            let mut random = [0; RANDOM_BYTES];
            random[2] = u8::try_from(step % 251).unwrap_or(0);
            let (id, used) = generator.next(ms, &random);
            assert!(used <= RANDOM_BYTES);
            assert!(id > last);
            assert_eq!((id[6] >> 4, id[8] >> 6), (7, 2));
            last = id;
        }
    }

    #[test]
    fn the_first_48_bits_are_the_time() {
        let id = Generator::default().next(0x0123_4567_89ab, &[255; RANDOM_BYTES]).0;
        assert_eq!(id[..6], [0x01, 0x23, 0x45, 0x67, 0x89, 0xab]);
    }
}
