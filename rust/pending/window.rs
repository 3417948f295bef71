//! How many commits may be on their way at once, by how long answers take.
//!
//! A server works messages off in order, and may send the answers to a burst only when it is through with all of it: with a sync
//! before each ack 4,096 commits are 10 s and more without a word, which cannot be told from a loss. So a burst is as large as
//! the server gets through within about a round of the clock. What waits meanwhile costs no time: it joins its actor's next commit.

/// Where it begins: a fast server has it doubled in one round trip, again and again.
const FIRST: usize = 256;
/// Where it stays even for the slowest.
const LEAST: usize = 128;

#[derive(Debug)]
pub(super) struct Window {
    commits: usize,
    most: usize,
}

impl Window {
    /// One of at most so many commits.
    pub fn new(most: usize) -> Self {
        Self { commits: FIRST.min(most), most }
    }

    /// How many may be on their way.
    pub fn commits(&self) -> usize {
        self.commits
    }

    /// Takes an answer that came so many ends of rounds after its commit was sent, while so many were on their way.
    pub fn answered(&mut self, rounds: u64, in_flight: usize) {
        match rounds {
            // Without the pressure of more it would say nothing about larger bursts.
            0 if 2 * in_flight >= self.commits => self.commits = (self.commits + 1).min(self.most),
            0 | 1 => {}
            _ => self.commits = (self.commits - 1).max(LEAST).min(self.most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that takes so many ticks of a clock for each commit, and answers a burst when it is through with all of it;
    /// returns the longest silence in rounds, and the last burst.
    fn bursts(ticks_each: usize, ticks_a_round: usize, count: usize) -> (u64, usize) {
        let (mut window, mut now, mut longest, mut burst) = (Window::new(4096), 0, 0, 0);
        for _ in 0..count {
            burst = window.commits();
            let rounds = ((now + burst * ticks_each) / ticks_a_round - now / ticks_a_round) as u64;
            now += burst * ticks_each;
            longest = longest.max(rounds);
            for left in (0..burst).rev() {
                window.answered(rounds, left + 1);
            }
        }
        (longest, burst)
    }

    #[test]
    fn a_burst_ends_within_what_counts_as_silence_and_a_fast_server_gets_the_largest() {
        assert_eq!(bursts(1, 100_000, 20).1, 4096);
        // 3.7 ms each, rounds of 625 ms: never the four rounds after which a commit is silent.
        for each in [500, 1000, 2000, 3700, 5000, 8000] {
            let (longest, burst) = bursts(each, 625_000, 200);
            assert!(longest <= 3, "{each}: {longest}");
            assert!(burst < 2600, "{each}: {burst}");
        }
        assert_eq!(bursts(1_000_000, 625_000, 9).1, LEAST, "there is a least");
    }

    #[test]
    fn a_trickle_says_nothing_about_bursts() {
        let mut window = Window::new(4096);
        for _ in 0..10_000 {
            window.answered(0, 1);
        }
        assert_eq!(window.commits(), FIRST);
        assert_eq!(Window::new(3).commits(), 3);
    }
}
