//! `Tally`: which answers came, where nothing else about them matters.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use crate::answer::{Answer, Sink};

/// How many tokens are remembered; a peer that sends more of them tells nothing new.
const TOKENS_MAX: usize = 65_536;

/// The tokens that came.
#[derive(Default)]
pub struct Shared(Mutex<HashSet<u64>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, token: u64) {
        let mut seen = self.lock();
        if seen.len() < TOKENS_MAX {
            seen.insert(token);
        }
    }
}

impl Sink for Shared {
    fn take(&self, answer: &Answer<'_>) {
        self.add(answer.token);
    }
}

/// A sink of answers that only remembers which came, by their tokens; the first 65,536 of them. Safe from many threads.
#[pyclass(frozen, module = "aether._native")]
pub struct Tally {
    pub shared: Arc<Shared>,
}

#[pymethods]
impl Tally {
    #[new]
    fn new() -> Self {
        Self { shared: Arc::default() }
    }

    /// Takes one answer, where they come one by one.
    #[allow(unused_variables)] // every sink takes the same
    fn accept(&self, token: u64, status: u16, position: u64, subject: &str, body: &[u8]) {
        self.shared.add(token);
    }

    /// The tokens that came so far.
    fn seen(&self) -> HashSet<u64> {
        self.shared.lock().clone()
    }

    /// Whether this token came.
    fn has(&self, token: u64) -> bool {
        self.shared.lock().contains(&token)
    }
}
