//! Where in an actor's commits a version is reached, by its spine.

use std::collections::BTreeMap;

use crate::commit::Commit;
use crate::spine::{Broken, Node, UNASKED, by_sequence, children, expect_ordinal, nodes};

/// Finds the ordinal of the first commit that reaches a version, fetching O(log n) commits.
#[derive(Debug)]
pub struct Search {
    actor: String,
    from_version: u64,
    found: u64,
    wanted: BTreeMap<u64, Node>,
    /// The oldest of this round that reaches the version, with its children.
    best: Option<(u64, Option<[Node; 2]>)>,
}

impl Search {
    pub fn new(head: &Commit, sequence: u64, from_version: u64) -> Result<Self, Broken> {
        let (roots, total) = nodes(head, sequence)?;
        let reached = head.version >= from_version;
        let found = if reached { total - 1 } else { total };
        let roots = if reached { roots } else { Vec::new() };
        let wanted = by_sequence(roots);
        Ok(Self { actor: head.actor.clone(), from_version, found, wanted, best: None })
    }

    pub fn wanted(&self) -> Vec<u64> {
        self.wanted.keys().copied().collect()
    }

    pub fn feed(&mut self, sequence: u64, commit: &Commit) -> Result<(), Broken> {
        let node = self.wanted.remove(&sequence).ok_or(UNASKED)?;
        if commit.actor != self.actor {
            return Err(Broken("the spine leads to another actor's commit"));
        }
        expect_ordinal(node, commit)?;
        let older = self.best.as_ref().is_none_or(|(ordinal, _)| node.ordinal < *ordinal);
        if commit.version >= self.from_version && older {
            self.best = Some((node.ordinal, children(node, commit)?));
        }
        if self.wanted.is_empty()
            && let Some((ordinal, below)) = self.best.take()
        {
            self.found = ordinal;
            self.wanted = by_sequence(below.into_iter().flatten());
        }
        Ok(())
    }

    /// The ordinal; the number of commits where none reaches the version.
    pub fn found(&self) -> u64 {
        self.found
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::spine::tests::log;

    #[test]
    fn a_search_finds_the_first_commit_that_reaches_a_version() {
        let (log, head) = log(777);
        for version in 0..=779 {
            let mut search = Search::new(&log[&head], head, version).unwrap();
            let mut fetched = 0;
            while !search.wanted().is_empty() {
                for sequence in search.wanted() {
                    fetched += 1;
                    search.feed(sequence, &log[&sequence]).unwrap();
                }
            }
            assert_eq!(search.found(), version.saturating_sub(1).min(777));
            assert!(fetched < 40, "{fetched}");
        }
    }
}
