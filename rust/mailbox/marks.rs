//! What stands between events: where some are missing, and why. Each mark is told once, in its place.

use std::collections::VecDeque;

use crate::error::Error;

/// Marks of damaged messages that wait at once; further ones are counted in the last.
pub const DAMAGED_MAX: usize = 100;
/// What is kept of the reasons of interruptions that are told as one.
pub const REASON_BYTES_MAX: usize = 1000;

/// Something that the subscriber has to know at this place.
#[derive(Debug, PartialEq, Eq)]
pub enum Mark {
    /// So many events are missing here.
    Lagged(u64),
    Interrupted(Box<Interruption>),
    Damaged(Box<Damage>),
}

/// A gap that came with the connection; whoever noticed it holds it until it is over.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Interruption {
    pub reason: String,
    holders: Vec<u64>,
}

/// A message that is no event of its subject.
#[derive(Debug, PartialEq, Eq)]
pub struct Damage {
    pub subject: String,
    pub error: Error,
    /// How many more there were behind it.
    pub more: u64,
}

impl Mark {
    /// Whether it may be told.
    fn is_over(&self) -> bool {
        !matches!(self, Self::Interrupted(interruption) if !interruption.holders.is_empty())
    }
}

impl Interruption {
    fn add(&mut self, reason: &str) {
        if self.reason.is_empty() {
            reason.clone_into(&mut self.reason);
        } else if !self.reason.contains(reason) && self.reason.len() + reason.len() <= REASON_BYTES_MAX {
            self.reason.push_str("; ");
            self.reason.push_str(reason);
        }
    }
}

/// The marks of a queue, each with the number of the event that it stands ahead of, in order.
///
/// Lags have an event between them, or are one; damage is bounded, and so are interruptions between which events were dropped.
#[derive(Debug, Default)]
pub struct Marks {
    pub(super) list: VecDeque<(u64, Mark)>,
    damaged: usize,
    last_token: u64,
}

impl Marks {
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many events, of those from the number `first` on, stand ahead of the first mark.
    pub fn ahead(&self, first: u64) -> usize {
        let ahead = self.list.front().map(|(at, _)| at.saturating_sub(first));
        ahead.and_then(|ahead| usize::try_from(ahead).ok()).unwrap_or(usize::MAX)
    }

    /// Whether a mark stands ahead of the event `first`, and if so, whether it may be told.
    pub fn due(&self, first: u64) -> Option<bool> {
        self.list.front().filter(|(at, _)| *at <= first).map(|(_, mark)| mark.is_over())
    }

    /// Takes out the first one.
    pub fn take(&mut self) -> Option<Mark> {
        let (_, mark) = self.list.pop_front()?;
        self.damaged -= usize::from(matches!(mark, Mark::Damaged(_)));
        Some(mark)
    }

    /// Counts an event that is missing ahead of the event `end`, which is to come.
    pub fn miss(&mut self, end: u64) {
        match self.list.back_mut() {
            Some((at, Mark::Lagged(count))) if *at == end => *count += 1,
            _ => self.list.push_back((end, Mark::Lagged(1))),
        }
    }

    pub fn damage(&mut self, end: u64, subject: &str, error: &Error) {
        if self.damaged < DAMAGED_MAX {
            self.damaged += 1;
            let damage = Damage { subject: subject.to_owned(), error: error.clone(), more: 0 };
            self.list.push_back((end, Mark::Damaged(Box::new(damage))));
            return;
        }
        let last = self.list.iter_mut().rev().find_map(|(_, mark)| match mark {
            Mark::Damaged(damage) => Some(damage),
            _ => None,
        });
        if let Some(damage) = last {
            damage.more += 1;
        }
    }

    /// Marks a gap ahead of the event `end`, which is to come; the first that waits is `first`. Returns who holds the mark.
    pub fn interrupt(&mut self, first: u64, end: u64, reason: &str) -> u64 {
        self.merge_due(first);
        if !matches!(self.list.back(), Some((at, Mark::Interrupted(_))) if *at == end) {
            self.list.push_back((end, Mark::Interrupted(Box::default())));
        }
        self.last_token += 1;
        if let Some((_, Mark::Interrupted(interruption))) = self.list.back_mut() {
            interruption.add(reason);
            interruption.holders.push(self.last_token);
        }
        self.last_token
    }

    /// Lets go of what `interrupt` made `token` hold.
    pub fn resume(&mut self, token: u64) {
        self.holders().for_each(|holders| holders.retain(|&holder| holder != token));
    }

    /// Lets go of all.
    pub fn resume_all(&mut self) {
        self.holders().for_each(Vec::clear);
    }

    pub fn clear(&mut self) {
        self.list.clear();
        self.damaged = 0;
    }

    fn holders(&mut self) -> impl Iterator<Item = &mut Vec<u64>> {
        self.list.iter_mut().filter_map(|(_, mark)| match mark {
            Mark::Interrupted(interruption) => Some(&mut interruption.holders),
            _ => None,
        })
    }

    /// Makes one of interruptions that stand together since the events between them were dropped.
    fn merge_due(&mut self, first: u64) {
        let mut kept: VecDeque<(u64, Mark)> = VecDeque::with_capacity(self.list.len());
        for (at, mark) in self.list.drain(..) {
            match (kept.back_mut(), mark) {
                (Some((_, Mark::Interrupted(before))), Mark::Interrupted(after)) if at <= first => {
                    before.add(&after.reason);
                    before.holders.extend(after.holders);
                }
                (_, mark) => kept.push_back((at, mark)),
            }
        }
        self.list = kept;
    }
}
