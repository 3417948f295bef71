//! What the owner's writer and pipelines share of a shard's fence.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::roster::{Budget, Roster};
use crate::token;

/// Where a fence stands, and who is in its shard.
///
/// A roster holds while the fence does and nothing came to the shard but through `pass`: it is dropped with the key, with the
/// end of writes, and where the position moves by a message of which nobody says whose it is.
#[derive(Debug, Default)]
pub struct Mark {
    last: AtomicU64,
    key: AtomicU64,
    open: AtomicBool,
    roster: Mutex<Option<Roster>>,
}

impl Mark {
    /// The position of the shard's last message, as its owner knows it.
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::SeqCst)
    }

    pub fn set_last(&self, position: u64) {
        self.drop_roster();
        self.last.store(position, Ordering::SeqCst);
    }

    /// The shard's last message is this one, on the subject of an actor with this token.
    pub fn pass(&self, position: u64, token: &str) {
        let mut roster = self.roster();
        // Under the lock: a roster that begins has the actor, or begins at this position or behind it.
        self.last.store(position, Ordering::SeqCst);
        roster.take_if(|roster| !roster.add(token));
    }

    /// Under which name heads are remembered that may be written on.
    pub fn key(&self) -> u64 {
        self.key.load(Ordering::SeqCst)
    }

    pub fn set_key(&self, key: u64) {
        self.drop_roster();
        self.key.store(key, Ordering::SeqCst);
    }

    /// Whether writes are taken.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    pub fn set_open(&self, open: bool) {
        if !open {
            self.drop_roster();
        }
        self.open.store(open, Ordering::SeqCst);
    }

    // Who is in the shard.

    /// Begins a roster: whoever comes from now on is in it. Returns its serial number.
    pub fn begin_roster(&self, budget: &Arc<Budget>) -> u64 {
        let roster = Roster::new(Arc::clone(budget));
        let serial = roster.serial;
        // What was there is dropped when the lock is free again.
        drop(self.roster().replace(roster));
        serial
    }

    /// Makes the roster of this serial number whole with all who were there before; false: it is gone, or there is no room.
    pub fn fill_roster<'a>(&self, serial: u64, tokens: impl IntoIterator<Item = &'a str>) -> bool {
        let mut roster = self.roster();
        let Some(filled) = roster.as_mut().filter(|roster| roster.serial == serial) else {
            return false;
        };
        let fits = tokens.into_iter().all(|token| filled.add(token));
        filled.finish();
        if !fits {
            *roster = None;
        }
        fits
    }

    /// Drops what was begun with this serial number, if it is there still.
    pub fn end_roster(&self, serial: u64) {
        drop(self.roster().take_if(|roster| roster.serial == serial));
    }

    fn drop_roster(&self) {
        drop(self.roster().take());
    }

    /// Whether there is a roster, whole or begun.
    pub fn has_roster(&self) -> bool {
        self.roster().is_some()
    }

    /// Whether the actor surely has no message in the shard up to its last one.
    pub fn is_new(&self, actor: &str) -> bool {
        self.roster().as_ref().is_some_and(|roster| roster.lacks(&token::encode(actor)))
    }

    fn roster(&self) -> MutexGuard<'_, Option<Roster>> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
