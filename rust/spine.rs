//! The spine: how one actor's commits are found without scanning the stream.
//!
//! Every way `JetStream` offers to read one subject scans the messages between two matches, so its cost grows with the log;
//! fetching by stream sequence does not. So each commit carries the roots of a skew-binary random-access list (Myers 1983,
//! Okasaki 1998) over the sequences of its actor's earlier commits. A root is a commit and the size of the tree under it;
//! a tree of more than one commit has as children the first two roots that its root commit itself carries. From the head
//! every earlier commit is reached in at most log2(n) dependent steps, all fetches of a step at once.
//!
//! The spine is checked, never trusted: [`Broken`] sends the reader to the scan.

use std::collections::BTreeMap;

use crate::commit::Commit;

/// Why the spine cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken(pub &'static str);

/// A commit to fetch: the root of a tree, with its own ordinal (0: the actor's first commit).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    pub sequence: u64,
    pub size: u64,
    pub ordinal: u64,
}

impl Node {
    fn oldest(self) -> u64 {
        self.ordinal + 1 - self.size
    }
}

/// The head's roots as nodes, newest first, and how many commits the actor has.
pub(crate) fn nodes(head: &Commit, sequence: u64) -> Result<(Vec<Node>, u64), Broken> {
    let roots = head.spine.as_deref().ok_or(Broken("the head carries no spine"))?;
    let mut below = sequence;
    let mut earlier = 0_u64;
    for root in roots {
        if root.sequence == 0
            || root.sequence >= below
            || !(root.size.wrapping_add(1)).is_power_of_two()
            || root.size == 0
            || root.size > root.sequence
        {
            return Err(Broken("the roots are not those of a spine"));
        }
        below = root.sequence;
        // Sizes are at most their sequence and sequences fall, so 64 of them cannot pass u64 unless they are made up.
        earlier = earlier.checked_add(root.size).ok_or(Broken("the sizes pass 64 bits"))?;
    }
    if earlier >= sequence {
        return Err(Broken("more commits than the stream has messages"));
    }
    let mut next = earlier;
    let nodes = roots
        .iter()
        .map(|root| {
            let ordinal = next - 1;
            next -= root.size;
            Node { sequence: root.sequence, size: root.size, ordinal }
        })
        .collect();
    Ok((nodes, earlier + 1))
}

/// The two halves under a root, as its own commit names them.
pub(crate) fn children(node: Node, commit: &Commit) -> Result<Option<[Node; 2]>, Broken> {
    if node.size == 1 {
        return Ok(None);
    }
    let half = (node.size - 1) / 2;
    match commit.spine.as_deref() {
        Some([newer, older, ..])
            if newer.size == half && older.size == half && newer.sequence < node.sequence && older.sequence < newer.sequence =>
        {
            let newer = Node { sequence: newer.sequence, size: half, ordinal: node.ordinal - 1 };
            let older = Node { sequence: older.sequence, size: half, ordinal: node.ordinal - 1 - half };
            Ok(Some([newer, older]))
        }
        _ => Err(Broken("a tree's root does not carry its children")),
    }
}

/// Checks that the commit counts as many before it as whoever led to it: else some would be left out.
pub(crate) fn expect_ordinal(node: Node, commit: &Commit) -> Result<(), Broken> {
    match commits(commit, node.sequence)? {
        total if total == node.ordinal + 1 => Ok(()),
        _ => Err(Broken("a commit counts others before it than the spine that leads to it")),
    }
}

pub(crate) const UNASKED: Broken = Broken("a commit nobody asked for");

/// Roots and children are checked to have sequences of their own before they come here.
pub(crate) fn by_sequence(nodes: impl IntoIterator<Item = Node>) -> BTreeMap<u64, Node> {
    nodes.into_iter().map(|node| (node.sequence, node)).collect()
}

/// How many commits an actor has, by its head alone.
pub fn commits(head: &Commit, sequence: u64) -> Result<u64, Broken> {
    nodes(head, sequence).map(|(_, total)| total)
}

/// Collects the commits of a window of ordinals that reach `from_version` or beyond.
#[derive(Debug)]
pub struct Walk {
    actor: String,
    from_version: u64,
    first: u64,
    end: u64,
    wanted: BTreeMap<u64, Node>,
    /// (ordinal, sequence, commit), in the order they came.
    kept: Vec<(u64, u64, Commit)>,
}

impl Walk {
    /// Starts at the head; the window is the ordinals `first..end`.
    pub fn new(head: Commit, sequence: u64, from_version: u64, first: u64, end: u64) -> Result<Self, Broken> {
        let (roots, total) = nodes(&head, sequence)?;
        let mut walk = Self {
            actor: head.actor.clone(),
            from_version,
            first,
            end: end.min(total),
            wanted: BTreeMap::new(),
            kept: Vec::new(),
        };
        if head.version >= from_version {
            for node in roots {
                walk.want(node)?;
            }
            walk.keep(total - 1, sequence, head);
        }
        Ok(walk)
    }

    fn want(&mut self, node: Node) -> Result<(), Broken> {
        let inside = node.ordinal >= self.first && node.oldest() < self.end;
        // One that was taken already is told by its ordinal when it comes again.
        if inside && self.wanted.insert(node.sequence, node).is_some() {
            return Err(Broken("the spine leads to a commit twice"));
        }
        Ok(())
    }

    fn keep(&mut self, ordinal: u64, sequence: u64, commit: Commit) {
        if (self.first..self.end).contains(&ordinal) {
            self.kept.push((ordinal, sequence, commit));
        }
    }

    /// The sequences to fetch next, all at once, ascending; none: the walk is done.
    pub fn wanted(&self) -> Vec<u64> {
        self.wanted.keys().copied().collect()
    }

    pub fn feed(&mut self, sequence: u64, commit: Commit) -> Result<(), Broken> {
        let node = self.wanted.remove(&sequence).ok_or(UNASKED)?;
        if commit.actor != self.actor {
            return Err(Broken("the spine leads to another actor's commit"));
        }
        if commit.version < self.from_version {
            return Ok(()); // all below it is older still
        }
        expect_ordinal(node, &commit)?;
        if let Some(pair) = children(node, &commit)? {
            for child in pair {
                self.want(child)?;
            }
        }
        self.keep(node.ordinal, sequence, commit);
        Ok(())
    }

    /// The commits, oldest first, with their sequences; versions are checked to increase.
    pub fn finish(mut self) -> Result<Vec<(u64, Commit)>, Broken> {
        if !self.wanted.is_empty() {
            return Err(Broken("the walk is not done"));
        }
        self.kept.sort_unstable_by_key(|(ordinal, ..)| *ordinal);
        for two in self.kept.windows(2) {
            let ((older_ordinal, older_sequence, older), (ordinal, sequence, newer)) = (&two[0], &two[1]);
            if ordinal - older_ordinal != 1 || older_sequence >= sequence || newer.version_before() < older.version {
                return Err(Broken("the commits are not in order"));
            }
        }
        if self.kept.last().is_some_and(|(ordinal, ..)| ordinal + 1 != self.end) {
            return Err(Broken("a later commit has an earlier version"));
        }
        Ok(self.kept.into_iter().map(|(_, sequence, commit)| (sequence, commit)).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use crate::roots::{Root, cons};
    use crate::spine_search::Search;

    /// A log of one actor: `commits` commits, each with its spine, at every third sequence.
    pub fn log(commits: u64) -> (BTreeMap<u64, Commit>, u64) {
        let (mut log, mut spine, mut sequence) = (BTreeMap::new(), Vec::new(), 0);
        for version in 1..=commits {
            sequence += 3;
            let commit = Commit { actor: "a".into(), version, spine: Some(spine.clone()), ..Commit::default() };
            spine = cons(sequence, &spine);
            log.insert(sequence, commit);
        }
        (log, sequence)
    }

    fn run(log: &BTreeMap<u64, Commit>, head: u64, from_version: u64, first: u64, end: u64) -> (Vec<u64>, u32, usize) {
        let mut walk = Walk::new(log[&head].clone(), head, from_version, first, end).unwrap();
        let (mut rounds, mut fetched) = (1, 1);
        while !walk.wanted().is_empty() {
            rounds += 1;
            for sequence in walk.wanted() {
                fetched += 1;
                walk.feed(sequence, log[&sequence].clone()).unwrap();
            }
        }
        (walk.finish().unwrap().iter().map(|(_, commit)| commit.version).collect(), rounds, fetched)
    }

    #[test]
    fn every_commit_is_reached_in_log2_n_plus_1_rounds() {
        for commits in (1..300).chain([1000, 1023, 1024, 4095, 5000]) {
            let (log, head) = log(commits);
            let (versions, rounds, fetched) = run(&log, head, 0, 0, u64::MAX);
            assert_eq!(versions, (1..=commits).collect::<Vec<_>>());
            assert_eq!(fetched as u64, commits, "each is fetched once");
            assert!(rounds <= commits.ilog2() + 1, "{commits} commits took {rounds} rounds");
            assert!(log[&head].spine.as_ref().unwrap().len() <= 13);
        }
    }

    #[test]
    fn old_subtrees_and_what_is_outside_the_window_are_not_fetched() {
        let (log, head) = log(5000);
        let (versions, _, fetched) = run(&log, head, 4990, 0, u64::MAX);
        assert_eq!(versions, (4990..=5000).collect::<Vec<_>>());
        assert!(fetched < 60, "{fetched}");
        let (versions, rounds, fetched) = run(&log, head, 0, 100, 164);
        assert_eq!(versions, (101..=164).collect::<Vec<_>>());
        assert!(rounds <= 13 && fetched < 64 + 60, "{rounds} {fetched}");
    }

    #[test]
    fn made_up_roots_are_refused() {
        let head = |spine: &[(u64, u64)]| Commit {
            actor: "a".into(),
            version: 9,
            spine: Some(spine.iter().map(|&(sequence, size)| Root { sequence, size }).collect()),
            ..Commit::default()
        };
        for bad in
            [&[(10, 1)][..], &[(9, 2)], &[(9, 0)], &[(9, 15)], &[(5, 1), (5, 1)], &[(9, 7), (8, 7)], &[(0, 1)], &[(9, u64::MAX)]]
        {
            assert!(Walk::new(head(bad), 10, 0, 0, 9).is_err(), "{bad:?}");
        }
        assert!(Walk::new(Commit { spine: None, ..head(&[]) }, 10, 0, 0, 9).is_err());
    }

    #[test]
    fn a_spine_that_leaves_commits_out_is_refused() {
        let (mut log, head) = log(9);
        let spine = vec![Root { sequence: head - 3, size: 1 }];
        log.insert(head, Commit { spine: Some(spine), ..log[&head].clone() });
        let mut walk = Walk::new(log[&head].clone(), head, 0, 0, 9).unwrap();
        assert!(walk.feed(head - 3, log[&(head - 3)].clone()).is_err());
        let mut search = Search::new(&log[&head], head, 2).unwrap();
        assert!(search.feed(head - 3, &log[&(head - 3)]).is_err());
    }

    #[test]
    fn a_spine_that_leads_to_a_commit_twice_is_refused() {
        let commit = |version, spine: &[(u64, u64)]| Commit {
            actor: "a".into(),
            version,
            spine: Some(spine.iter().map(|&(sequence, size)| Root { sequence, size }).collect()),
            ..Commit::default()
        };
        let mut walk = Walk::new(commit(9, &[(19, 3), (18, 1)]), 20, 0, 0, 9).unwrap();
        assert_eq!(walk.feed(19, commit(8, &[(18, 1), (17, 1), (16, 1)])), Err(Broken("the spine leads to a commit twice")));
    }

    #[test]
    fn a_commit_older_than_those_before_it_is_noticed_at_the_end_of_the_window() {
        let (log, head) = log(3);
        let mut walk = Walk::new(log[&head].clone(), head, 1, 0, 2).unwrap();
        walk.feed(6, Commit { version: 0, ..log[&6].clone() }).unwrap();
        walk.feed(3, log[&3].clone()).unwrap();
        assert_eq!(walk.finish(), Err(Broken("a later commit has an earlier version")));
    }

    #[test]
    fn commits_of_another_actor_or_out_of_order_are_refused() {
        let (log, head) = log(4);
        let mut walk = Walk::new(log[&head].clone(), head, 0, 0, 9).unwrap();
        let sequence = walk.wanted()[0];
        assert!(walk.feed(sequence, Commit { actor: "b".into(), ..log[&sequence].clone() }).is_err());
        let mut walk = Walk::new(log[&6].clone(), 6, 0, 0, 9).unwrap();
        walk.feed(3, Commit { version: 5, ..log[&3].clone() }).unwrap();
        assert!(walk.finish().is_err());
        let mut walk = Walk::new(log[&6].clone(), 6, 0, 0, 9).unwrap();
        assert!(walk.feed(4, log[&3].clone()).is_err());
    }
}
