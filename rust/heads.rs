//! What a writer knows of an actor, so that its next append costs one round trip; bounded, the least recently used goes first.

use std::num::NonZeroUsize;

use lru::LruCache;

use crate::commit::Commit;
use crate::roots::{Root, cons};

/// An actor's latest commit as the next one needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    pub version: u64,
    /// The stream sequence of the latest commit; 0: the actor is new.
    pub sequence: u64,
    /// The next commit's spine; None where this one has none to continue.
    pub spine: Option<Vec<Root>>,
}

impl Head {
    /// The head of an actor without commits.
    pub fn new_actor() -> Self {
        Self { spine: Some(Vec::new()), ..Self::default() }
    }

    /// The head that `commit` at `sequence` makes.
    pub fn of(commit: &Commit, sequence: u64) -> Self {
        let spine = commit.spine.as_deref().map(|spine| cons(sequence, spine));
        Self { version: commit.version, sequence, spine }
    }

    /// The head after a commit that was written on top of this one.
    #[must_use]
    pub fn after(&self, version: u64, sequence: u64) -> Self {
        let spine = self.spine.as_deref().map(|spine| cons(sequence, spine));
        Self { version, sequence, spine }
    }
}

#[derive(Debug)]
pub struct Heads {
    cache: LruCache<Box<str>, Head>,
    dropped: u64,
}

impl Heads {
    pub fn new(capacity: NonZeroUsize) -> Self {
        // `new` would claim the memory of a full cache at once.
        Self { cache: LruCache::sparse(capacity), dropped: 0 }
    }

    pub fn get(&mut self, actor: &str) -> Option<&Head> {
        self.cache.get(actor)
    }

    /// Keeps the head unless a later one is known: answers may arrive out of order.
    pub fn put(&mut self, actor: &str, head: Head) {
        match self.cache.get_mut(actor) {
            Some(known) if known.sequence > head.sequence => {}
            Some(known) => *known = head,
            None => {
                self.dropped += u64::from(self.cache.len() == self.cache.cap().get());
                self.cache.put(actor.into(), head);
            }
        }
    }

    /// How many were dropped so far to make room for others.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    pub fn forget(&mut self, actor: &str) {
        self.cache.pop(actor);
    }

    pub fn len(&self) -> usize {
        self.cache.len()
    }

    pub fn is_empty(&self) -> bool {
        self.cache.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first_and_old_news_is_ignored() {
        let mut heads = Heads::new(NonZeroUsize::new(2).unwrap());
        let head = |sequence| Head { version: sequence, sequence, spine: None };
        heads.put("a", head(1));
        heads.put("b", head(2));
        assert_eq!(heads.get("a"), Some(&head(1)));
        heads.put("c", head(3));
        assert_eq!(heads.get("b"), None);
        assert_eq!(heads.dropped(), 1);
        assert_eq!(heads.len(), 2);
        heads.put("c", head(1));
        assert_eq!(heads.get("c"), Some(&head(3)));
        heads.forget("c");
        assert!(heads.get("c").is_none());
    }
}
