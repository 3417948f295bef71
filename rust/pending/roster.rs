//! Who is in a shard, as its owner knows it while its fence holds: so that a new actor is known to be new without a question.
//!
//! An actor is kept as 64 bits of its token, hashed with a key of this process. Two actors that share them are taken for each
//! other, which costs the later one a question; an actor that is in the shard is never taken for a new one.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// No fewer bytes than a set of hashes takes for each that it has room for: 9 for each bucket, of which it fills seven in eight.
const BYTES_A_PLACE: usize = 11;

/// What all rosters of a node may take together.
#[derive(Debug)]
pub struct Budget {
    bytes_max: usize,
    bytes: AtomicUsize,
    spent: AtomicBool,
    begun: AtomicU64,
    state: RandomState,
}

impl Budget {
    pub fn new(bytes_max: usize) -> Self {
        let (bytes, spent, begun) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicU64::new(0));
        Self { bytes_max, bytes, spent, begun, state: RandomState::new() }
    }

    /// What rosters take now.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }

    /// A roster had to be dropped: no other is begun until others have gone and half of the room is free, or the same would be
    /// made again and again.
    pub fn is_spent(&self) -> bool {
        self.spent.load(Ordering::SeqCst)
    }

    /// Takes so many bytes more; false: that is too much.
    fn take(&self, bytes: usize) -> bool {
        let fits = self.bytes.fetch_add(bytes, Ordering::SeqCst) + bytes <= self.bytes_max;
        if !fits {
            self.spent.store(true, Ordering::SeqCst);
        }
        fits
    }

    fn give_back(&self, bytes: usize, was_too_much: bool) {
        if self.bytes.fetch_sub(bytes, Ordering::SeqCst) - bytes <= self.bytes_max / 2 && !was_too_much {
            self.spent.store(false, Ordering::SeqCst);
        }
    }
}

/// The actors of one shard.
#[derive(Debug)]
pub(super) struct Roster {
    /// No other roster has it.
    pub serial: u64,
    hashes: HashSet<u64, BuildHasherDefault<Hashed>>,
    bytes: usize,
    is_whole: bool,
    /// It passed what there was room for.
    is_too_much: bool,
    budget: Arc<Budget>,
}

impl Roster {
    pub fn new(budget: Arc<Budget>) -> Self {
        let serial = budget.begun.fetch_add(1, Ordering::SeqCst) + 1;
        Self { serial, hashes: HashSet::default(), bytes: 0, is_whole: false, is_too_much: false, budget }
    }

    /// Takes an actor by its token; false: there is no room for it, and the roster is of no use any more.
    pub fn add(&mut self, token: &str) -> bool {
        self.hashes.insert(self.budget.state.hash_one(token));
        let bytes = self.hashes.capacity() * BYTES_A_PLACE;
        let more = bytes.saturating_sub(self.bytes);
        self.bytes += more;
        self.is_too_much |= more > 0 && !self.budget.take(more);
        !self.is_too_much
    }

    /// All who were in the shard when it was begun are here.
    pub fn finish(&mut self) {
        self.is_whole = true;
    }

    /// Whether the actor is surely not in the shard.
    pub fn lacks(&self, token: &str) -> bool {
        self.is_whole && !self.hashes.contains(&self.budget.state.hash_one(token))
    }
}

impl Drop for Roster {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes, self.is_too_much);
    }
}

/// Passes on what is a hash already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
