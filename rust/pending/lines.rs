//! Lines of shards: in a namespace of shards' owners one commit is on its way in each shard, and only while its fence is lent.
//!
//! Actors wait in the line of their shard, not among the commits in flight, so a shard that stands still holds up no other.
//! The driver is told which shards are *wanted*; it *lends* a shard when nobody else writes to it, and gets it back when nobody
//! waits there any more, or when it *recalls* it. The lent fence's position moves with each ack. Where two want the same shard
//! each sends a commit before it goes back, or looks whether it can: else they would hand it to and fro and never write.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Mark, Pending};
use crate::shard::SHARDS;

/// A shard's fence while this may write under it.
#[derive(Debug, Clone)]
pub(super) struct Lent {
    pub mark: Arc<Mark>,
    pub epoch: u64,
}

/// How long a shard that is lent stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stay {
    /// As long as something waits in its line.
    Long,
    /// For one commit, as others wait for the shard.
    Once,
    /// It goes back as soon as nothing is on its way.
    Over,
}

/// What became of a shard since it was lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Nothing was sent yet.
    Unsent,
    /// A commit is in flight or in trouble.
    Busy,
    /// What was sent is settled.
    Settled,
}

#[derive(Debug)]
struct Line {
    waiting: VecDeque<usize>,
    lent: Option<Lent>,
    stay: Stay,
    /// The driver was told that the shard is wanted, and has not said what came of it.
    asked: bool,
    /// It stands in `ready`.
    queued: bool,
    work: Work,
}

#[derive(Debug)]
pub(super) struct Lines {
    shards: Vec<Line>,
    ready: VecDeque<u32>,
    wanted: Vec<u32>,
    returned: Vec<u32>,
}

impl Lines {
    pub fn new() -> Self {
        let line =
            || Line { waiting: VecDeque::new(), lent: None, stay: Stay::Long, asked: false, queued: false, work: Work::Settled };
        let shards = (0..SHARDS).map(|_| line()).collect();
        Self { shards, ready: VecDeque::new(), wanted: Vec::new(), returned: Vec::new() }
    }

    fn line(&mut self, shard: u32) -> &mut Line {
        &mut self.shards[shard as usize]
    }

    /// An actor has something to send.
    pub fn join(&mut self, shard: u32, slot: usize) {
        self.line(shard).waiting.push_back(slot);
        self.rest(shard);
    }

    /// Goes on with a shard in which nothing is on its way, or lets it go.
    pub fn rest(&mut self, shard: u32) {
        let line = &mut self.shards[shard as usize];
        if line.work == Work::Busy {
            return;
        }
        let is_over = |lent: &mut Lent| line.stay == Stay::Over || line.waiting.is_empty() || !lent.mark.is_open();
        if line.lent.take_if(is_over).is_some() {
            self.returned.push(shard);
        }
        if line.waiting.is_empty() {
            return;
        }
        if line.lent.is_some() {
            if !line.queued {
                line.queued = true;
                self.ready.push_back(shard);
            }
        } else if !line.asked {
            line.asked = true;
            self.wanted.push(shard);
        }
    }

    /// The next shard in which a commit may go out, its fence, and the first actor of its line.
    pub fn next(&mut self) -> Option<(u32, Lent, usize)> {
        while let Some(shard) = self.ready.pop_front() {
            let line = self.line(shard);
            line.queued = false;
            if let Some(lent) = line.lent.clone().filter(|lent| line.work != Work::Busy && lent.mark.is_open())
                && let Some(slot) = line.waiting.pop_front()
            {
                return Some((shard, lent, slot));
            }
            self.rest(shard);
        }
        None
    }

    /// A commit is on its way, or in trouble.
    pub fn begin(&mut self, shard: u32) {
        self.line(shard).work = Work::Busy;
    }

    /// It is settled.
    pub fn end(&mut self, shard: u32) {
        let line = self.line(shard);
        line.work = Work::Settled;
        if line.stay == Stay::Once {
            line.stay = Stay::Over;
        }
        self.rest(shard);
    }

    /// Takes the fence of a shard that was wanted; `once`: for one commit.
    pub fn lend(&mut self, shard: u32, lent: Lent, once: bool) {
        let line = self.line(shard);
        (line.lent, line.asked, line.stay) = (Some(lent), false, if once { Stay::Once } else { Stay::Long });
        if line.work != Work::Busy {
            line.work = Work::Unsent;
        }
        self.rest(shard);
    }

    /// Gives the shard back as soon as nothing is on its way; what was lent just now is for one commit first.
    pub fn recall(&mut self, shard: u32) {
        let line = self.line(shard);
        line.stay = if line.lent.is_some() && line.work == Work::Unsent { Stay::Once } else { Stay::Over };
        self.rest(shard);
    }

    /// Gives back what is lent for one commit that could not go out by now.
    pub fn let_go_unsent(&mut self) {
        for shard in 0..SHARDS {
            let line = self.line(shard);
            if line.lent.is_some() && line.work == Work::Unsent && line.stay == Stay::Once {
                line.stay = Stay::Over;
                self.rest(shard);
            }
        }
    }

    /// Gives all back.
    pub fn recall_all(&mut self) {
        for shard in 0..SHARDS {
            self.line(shard).stay = Stay::Over;
            self.rest(shard);
        }
    }

    /// Gives the shard back though its commit is in trouble; nothing more goes out before that is settled.
    pub fn take_back(&mut self, shard: u32) {
        self.line(shard).lent = None;
    }

    /// Nobody waits in the line any more, as they were dropped; the driver may be told of it anew.
    pub fn clear(&mut self, shard: u32, refused: bool) {
        let line = self.line(shard);
        line.waiting.clear();
        line.asked &= !refused;
        self.rest(shard);
    }

    /// Shards that should be lent; each is told of once.
    pub fn wanted(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.wanted)
    }

    /// Shards that are given back.
    pub fn returned(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.returned)
    }
}

impl Pending {
    /// Sends under the fences of shards that are lent, one commit at a time in each.
    pub fn go_in_line(&mut self) {
        self.lines = Some(Lines::new());
    }

    /// Takes the fence of a shard that was wanted; `once`: for one commit.
    pub fn lend(&mut self, shard: u32, mark: Arc<Mark>, epoch: u64, once: bool) {
        if let Some(lines) = &mut self.lines {
            lines.lend(shard, Lent { mark, epoch }, once);
        }
    }

    /// Gives a shard back as soon as nothing of it is on its way; None: all of them.
    pub fn recall(&mut self, shard: Option<u32>) {
        match (&mut self.lines, shard) {
            (None, _) => {}
            (Some(lines), None) => lines.recall_all(),
            (Some(lines), Some(shard)) => lines.recall(shard),
        }
    }

    /// Gives back what others wait for and what could not be sent by now.
    pub fn let_go_unsent(&mut self) {
        if let Some(lines) = &mut self.lines {
            lines.let_go_unsent();
        }
    }

    /// Gives the shard of a commit in trouble back; nothing more of it goes out before that is settled.
    pub fn take_back(&mut self, shard: u32) {
        if let Some(lines) = &mut self.lines {
            lines.take_back(shard);
        }
    }

    /// Shards that should be lent; each is told of once, until it was lent or its line was dropped.
    pub fn wanted(&mut self) -> Vec<u32> {
        self.lines.as_mut().map_or_else(Vec::new, Lines::wanted)
    }

    /// Shards that are given back; each is told of once.
    pub fn returned(&mut self) -> Vec<u32> {
        self.lines.as_mut().map_or_else(Vec::new, Lines::returned)
    }
}
