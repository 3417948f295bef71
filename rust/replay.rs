//! A read of a whole stream in position order: what to ask for, what came, and what can be handed out.
//!
//! Asked for are runs of positions, several at once; each answer is decoded as it comes, and handed out when everything before
//! it has been. A long read pulls its runs from a consumer, which a server serves three times as fast as direct gets; whatever
//! a pull leaves open (a gap, an early end, a loss) is asked for by a direct get. Nothing of a stream may be deleted, so positions
//! have no gaps and a run's end is known before it is asked for: a position that does not come is noticed. What one subject names
//! the server can look for itself; then positions do have gaps, one run is asked for at a time, and a message that is gone is
//! noticed by the next commit of its actor, which names it.
//!
//! Memory is bounded whatever the reader does: what came and was not handed out, and what is asked for, have a budget in bytes.

mod judge;
mod run;

use std::collections::VecDeque;
use std::collections::vec_deque::Drain;
use std::sync::Arc;

pub use self::judge::Fault;
use self::judge::Judge;
use self::run::{Placed, Run};
use crate::answer::Answer;
use crate::event::EventData;
use crate::filter::Filter;

/// What may be asked for and held at once, in bytes of messages.
pub const BUDGET_BYTES: usize = 16 << 20;
/// What a run is meant to have.
const RUN_BYTES: usize = 512 << 10;
/// Where the server ends an answer that is larger than was thought, with the message that passes it.
const RUN_BYTES_MAX: usize = 1 << 20;
const RUN_MESSAGES_MAX: u64 = 4096;
/// A first run, when nobody knows yet how large messages are.
const FIRST_MESSAGES: u64 = 64;
/// How many runs are asked for at once.
const DEPTH: usize = 6;
/// From how many messages on a consumer is worth its making.
const PULL_MESSAGES_MIN: u64 = 2_000;
/// What a message costs beside its body: as headers on the way, and as objects when it is here.
const OVERHEAD_BYTES: usize = 160;
/// Events, each with its position.
pub type PlacedEvents = Vec<(u64, Arc<EventData>)>;

/// A request to send: its token, and what to ask for.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub token: u64,
    pub payload: String,
    /// It goes to the consumer.
    pub pull: bool,
}

#[derive(Debug)]
pub struct Replay {
    judge: Judge,
    /// The one subject that the server looks for; None: it gives all.
    subject: Option<String>,
    through: u64,
    runs: VecDeque<Run>,
    /// The first position that belongs to no run yet.
    next: u64,
    last_token: u64,
    /// A consumer stands at `next`.
    pulling: bool,
    /// What is held of messages that came.
    held: usize,
    /// The mean size of messages, in bytes; 0 as long as nobody knows.
    mean: usize,
    /// How many messages came.
    pub received: u64,
}

impl Replay {
    /// Reads behind `after`, up to and with `through`.
    pub fn new(namespace: &str, after: u64, through: u64, filter: Filter) -> Self {
        let prefix = format!("aether.{namespace}.");
        let subject = filter.single().map(|(shard, token)| format!("{prefix}{shard}.{}", token.unwrap_or("*")));
        Self {
            judge: Judge::new(prefix, filter, subject.is_some(), after),
            subject,
            through,
            runs: VecDeque::new(),
            next: after.saturating_add(1),
            last_token: 0,
            pulling: false,
            held: 0,
            mean: 0,
            received: 0,
        }
    }

    /// The subject that the server looks for; None: it gives all.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Whether everything was handed out.
    pub fn is_done(&self) -> bool {
        self.next > self.through && self.runs.is_empty()
    }

    /// Whether answers are to come.
    pub fn is_waiting(&self) -> bool {
        self.runs.iter().any(|run| run.open)
    }

    /// Requests to send now, as far as the budget allows.
    pub fn requests(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        for index in 0..self.runs.len() {
            let run = &self.runs[index];
            // The first run is what everybody waits for; that one came to nothing is for the caller to look into.
            if !run.open && !run.is_whole() && run.fault.is_none() && !run.is_stuck() && (index == 0 || self.has_room()) {
                requests.push(self.ask(index, false));
            }
        }
        while self.next <= self.through && self.has_room() {
            let end = if self.subject.is_some() { self.through + 1 } else { (self.next + self.count()).min(self.through + 1) };
            self.runs.push_back(Run::new(self.next, end));
            self.next = end;
            requests.push(self.ask(self.runs.len() - 1, self.pulling));
        }
        requests
    }

    fn has_room(&self) -> bool {
        let open = self.runs.iter().filter(|run| run.open).count();
        open < DEPTH && self.held + (open + 1) * RUN_BYTES_MAX <= BUDGET_BYTES
    }

    /// How many messages to ask for at once.
    fn count(&self) -> u64 {
        let fit = RUN_BYTES.checked_div(self.mean).map_or(FIRST_MESSAGES, |count| count as u64);
        fit.clamp(1, RUN_MESSAGES_MAX)
    }

    fn ask(&mut self, index: usize, pull: bool) -> Request {
        self.last_token += 1;
        let (token, count) = (self.last_token, self.count());
        let run = &mut self.runs[index];
        (run.token, run.open, run.pulled, run.asked_from) = (token, true, pull, run.reached);
        let (from, count) = (run.reached, count.min(run.end - run.reached));
        if pull {
            return Request { token, payload: format!("{{\"batch\":{count},\"max_bytes\":{RUN_BYTES_MAX}}}"), pull };
        }
        let subject = self.subject.as_ref().map_or_else(String::new, |subject| format!(",\"next_by_subj\":\"{subject}\""));
        Request { token, payload: format!("{{\"seq\":{from},\"batch\":{count},\"max_bytes\":{RUN_BYTES_MAX}{subject}}}"), pull }
    }

    /// Where a consumer should begin, if one is worth its making now.
    pub fn pull_start(&self) -> Option<u64> {
        let left = (self.through + 1).saturating_sub(self.next);
        let worth = !self.pulling && self.subject.is_none() && left >= PULL_MESSAGES_MIN && self.mean <= RUN_BYTES_MAX / 8;
        worth.then_some(self.next)
    }

    /// Pulls what comes next from a consumer that begins at `start`. False: that is not where it goes on any more.
    pub fn pull(&mut self, start: u64) -> bool {
        self.pulling = start == self.next;
        self.pulling
    }

    /// Gives up the consumer: what was pulled and did not come can be asked for otherwise.
    pub fn stop_pulling(&mut self) {
        self.pulling = false;
        for run in self.runs.iter_mut().filter(|run| run.open && run.pulled) {
            (run.open, run.asked_from) = (false, 0);
        }
    }

    /// Takes an answer to a request.
    pub fn take_answer(&mut self, answer: &Answer<'_>) {
        // What a consumer delivers names no request; runs are in order, and so is what it delivers.
        let found = if answer.token == 0 {
            self.runs.iter().position(|run| answer.position < run.end)
        } else {
            self.runs.iter().position(|run| run.open && run.token == answer.token)
        };
        let Some(index) = found else { return };
        self.received += 1;
        if answer.status != 0 || answer.position == 0 {
            if self.runs[index].pulled {
                self.stop_pulling(); // it ended early, and what was pulled behind it does not begin where it should
            }
            self.runs[index].open = false;
            return;
        }
        let size = answer.body.len() + OVERHEAD_BYTES;
        self.mean = if self.mean == 0 { size } else { (31 * self.mean + size) / 32 };
        if !self.take_message(index, answer.position, answer.subject, answer.body) {
            let run = &mut self.runs[index];
            // A gap in what a consumer delivers closes nothing that was asked for otherwise.
            run.open &= answer.token == 0 && !run.pulled && !run.is_whole() && run.fault.is_none();
        }
    }

    /// Takes the message at the first run's place, or behind it where positions have gaps, from another source; a position
    /// past the end: there is none. False: it comes too late.
    pub fn put(&mut self, position: u64, subject: &str, body: &[u8]) -> bool {
        let Some(run) = self.runs.front_mut().filter(|run| run.reached <= position) else { return false };
        (run.fault, run.asked_from) = (None, 0);
        self.take_message(0, position, subject, body);
        true
    }

    /// Steps over what is at fault.
    pub fn step_over(&mut self) {
        if let Some(run) = self.runs.front_mut()
            && let Some(Fault::Damaged { position, .. }) = run.fault
        {
            (run.reached, run.fault) = (position + 1, None);
        }
    }

    /// False: what comes behind it is not to be taken.
    fn take_message(&mut self, index: usize, position: u64, subject: &str, body: &[u8]) -> bool {
        let run = &mut self.runs[index];
        if position < run.reached {
            return !run.is_whole();
        }
        if position > run.reached && self.subject.is_none() {
            return false;
        }
        if position >= run.end {
            run.reached = run.end;
            return false;
        }
        let judged = self.judge.judge(position, subject, body);
        let run = &mut self.runs[index];
        match judged {
            Ok(events) => {
                if !events.is_empty() {
                    let bytes = body.len() + OVERHEAD_BYTES;
                    self.held += bytes;
                    run.commits.push_back(Placed { position, events: events.len(), bytes });
                    run.events.extend(events);
                }
                run.reached = position + 1;
                !run.is_whole()
            }
            Err(fault) => {
                run.fault = Some(fault);
                false
            }
        }
    }

    /// Says that what did not come was never there.
    pub fn disprove(&mut self, position: u64) {
        self.judge.disprove(position);
        if let Some(run) = self.runs.front_mut() {
            (run.fault, run.asked_from) = (None, 0);
        }
    }

    /// Gives up what is asked for: it will not be answered, and can be asked for again.
    pub fn lose(&mut self) {
        self.pulling = false;
        for run in self.runs.iter_mut().filter(|run| run.open) {
            (run.open, run.asked_from) = (false, 0);
        }
    }

    /// What stops the read, once everything before it was handed out.
    pub fn fault(&self) -> Option<&Fault> {
        self.runs.front().filter(|run| run.commits.is_empty()).and_then(|run| run.fault.as_ref())
    }

    /// The position that was asked for and did not come, once nothing else is to be done.
    pub fn stuck(&self) -> Option<u64> {
        self.runs.front().filter(|run| run.is_stuck()).map(|run| run.reached)
    }

    /// The events of whole commits, at most `limit` unless one commit alone has more, and the position up to which that is
    /// everything; None: wait for more.
    pub fn take(&mut self, limit: usize) -> Option<(Vec<Arc<EventData>>, u64)> {
        let mut events = Vec::new();
        let position = self.hand_out(limit, |_, commit| events.extend(commit))?;
        Some((events, position))
    }

    /// The same events, each with its position.
    pub fn take_placed(&mut self, limit: usize) -> Option<(PlacedEvents, u64)> {
        let mut events = Vec::new();
        let position = self.hand_out(limit, |position, commit| events.extend(commit.map(|event| (position, event))))?;
        Some((events, position))
    }

    fn hand_out(&mut self, limit: usize, mut give: impl FnMut(u64, Drain<'_, Arc<EventData>>)) -> Option<u64> {
        self.drop_read();
        if !self.is_ready(limit) {
            return None;
        }
        let (mut given, mut position) = (0, 0);
        while let Some(run) = self.runs.front_mut() {
            while let Some(first) = run.commits.front() {
                if given > 0 && given + first.events > limit {
                    return Some(first.position - 1);
                }
                give(first.position, run.events.drain(..first.events));
                given += first.events;
                self.held -= first.bytes;
                position = first.position;
                run.commits.pop_front();
            }
            position = position.max(run.reached - 1);
            if run.is_whole() {
                self.runs.pop_front();
            } else {
                break;
            }
        }
        Some(position)
    }

    /// Drops runs at the front that have nothing to hand out.
    fn drop_read(&mut self) {
        while self.runs.front().is_some_and(|run| run.commits.is_empty() && run.is_whole()) {
            self.runs.pop_front();
        }
    }

    /// Whether a full batch is there, or as much of one as there will be.
    fn is_ready(&self, limit: usize) -> bool {
        let (mut events, mut ends) = (0, self.next > self.through);
        for run in &self.runs {
            events += run.events.len();
            if !run.is_whole() {
                ends = run.fault.is_some() || run.is_stuck();
                break;
            }
        }
        events > 0 && (events >= limit || ends || self.held > BUDGET_BYTES / 2)
    }
}

#[cfg(test)]
mod tests;
