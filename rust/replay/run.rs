//! A run of positions that is asked for at once: what came of it, and was not handed out.

use std::collections::VecDeque;
use std::sync::Arc;

use super::judge::Fault;
use crate::event::EventData;

/// Events of one commit within a run.
#[derive(Debug)]
pub struct Placed {
    pub position: u64,
    pub events: usize,
    pub bytes: usize,
}

/// The positions from `start` up to `end`, which is not among them.
#[derive(Debug)]
pub struct Run {
    pub token: u64,
    pub end: u64,
    /// The position that comes next.
    pub reached: u64,
    /// Where it was when it was last asked for; 0: it is to be asked for in any case.
    pub asked_from: u64,
    /// Whether answers are to come.
    pub open: bool,
    /// Whether its answers are a consumer's, which come by position and not by token.
    pub pulled: bool,
    pub fault: Option<Fault>,
    pub commits: VecDeque<Placed>,
    pub events: VecDeque<Arc<EventData>>,
}

impl Run {
    /// One that was not asked for yet.
    pub fn new(start: u64, end: u64) -> Self {
        Self {
            token: 0,
            end,
            reached: start,
            asked_from: 0,
            open: false,
            pulled: false,
            fault: None,
            commits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    pub fn is_whole(&self) -> bool {
        self.reached >= self.end
    }

    /// Whether it was asked for and nothing came.
    pub fn is_stuck(&self) -> bool {
        !self.open && !self.is_whole() && self.fault.is_none() && self.reached == self.asked_from
    }
}
