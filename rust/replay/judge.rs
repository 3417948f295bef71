//! What a message of a stream is worth: its events, as far as they are wanted, or what is wrong with it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::commit::Commit;
use crate::epoch::{self, EpochRecord};
use crate::error::Error;
use crate::event::EventData;
use crate::filter::{Filter, is_shard};
use crate::shard::shard_of;
use crate::token;

/// Of how many actors the last commit is remembered, to notice what is gone where positions have gaps.
const NOTED_MAX: usize = 100_000;

/// Something that ends the run of good messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The message is no commit of its subject's actor.
    Damaged { position: u64, actor: Option<String>, error: Error },
    /// A commit of this subject says that its actor has one at `position`, which did not come.
    Absent { position: u64, actor: Option<String> },
}

#[derive(Debug)]
pub struct Judge {
    filter: Filter,
    /// Of every subject, with the dot at its end: "aether.<namespace>.".
    prefix: String,
    /// Whether positions have gaps, so that only a later commit tells that one is gone.
    has_gaps: bool,
    /// The last position of each actor, where positions have gaps; and from which position on that is complete.
    noted: HashMap<String, u64>,
    noted_after: u64,
    /// A position that a commit names falsely.
    disproved: u64,
}

impl Judge {
    /// Judges what lies behind `after`.
    pub fn new(prefix: String, filter: Filter, has_gaps: bool, after: u64) -> Self {
        Self { filter, prefix, has_gaps, noted: HashMap::new(), noted_after: after, disproved: 0 }
    }

    /// The events of a message that are wanted.
    pub fn judge(&mut self, position: u64, subject: &str, body: &[u8]) -> Result<Vec<Arc<EventData>>, Fault> {
        let damaged = |token: &str, error| Fault::Damaged { position, actor: token::decode(token), error };
        let placed = subject.strip_prefix(self.prefix.as_str()).and_then(|rest| rest.split_once('.'));
        let Some((shard, token)) = placed.and_then(|(shard, token)| Some((shard.parse().ok()?, token))) else {
            return Err(damaged("", Error::decode(0, format!("no commit lies on {subject}"))));
        };
        if !self.filter.takes_subject(shard, token) {
            return Ok(Vec::new());
        }
        if token == epoch::TOKEN {
            EpochRecord::decode(body).map_err(|error| damaged(token, error))?;
            return if is_shard(shard) {
                Ok(Vec::new())
            } else {
                Err(damaged(token, Error::decode(0, "there is no such shard")))
            };
        }
        let takes = |kind: &str| self.filter.takes_kind(kind);
        let commit = Commit::decode_where(body, &takes).map_err(|error| damaged(token, error))?;
        if !token::is_of(token, &commit.actor) {
            return Err(damaged(token, Error::decode(0, format!("it is a commit of the actor {:?}", commit.actor))));
        }
        if shard_of(token) != shard {
            return Err(damaged(token, Error::decode(0, format!("it lies in shard {shard}, which is not the actor's"))));
        }
        if self.has_gaps {
            self.note(position, &commit)?;
        }
        Ok(commit.events)
    }

    /// Notices where a commit names one that did not come.
    fn note(&mut self, position: u64, commit: &Commit) -> Result<(), Fault> {
        let before = commit.spine.as_ref().and_then(|roots| roots.first()).map_or(0, |root| root.sequence);
        let known = self.noted.get(&commit.actor).copied().unwrap_or(self.noted_after);
        if known < before && before < position && before != self.disproved {
            return Err(Fault::Absent { position: before, actor: Some(commit.actor.clone()) });
        }
        if self.noted.len() >= NOTED_MAX {
            self.noted.clear();
            self.noted_after = position - 1;
        }
        self.noted.insert(commit.actor.clone(), position);
        Ok(())
    }

    /// What was named at this position was never there.
    pub fn disprove(&mut self, position: u64) {
        self.disproved = position;
    }
}
