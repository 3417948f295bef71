//! A read of a whole stream in position order: what to ask for, what came, and what can be handed out.
//!
//! Asked for are runs of positions, several at once; each answer is decoded as it comes, and handed out when everything before
//! it has been. Nothing of a stream may be deleted, so positions have no gaps and a run's end is known before it is asked for: a
//! position that does not come is noticed. What one subject names the server can look for itself; then positions do have gaps, one
//! run is asked for at a time, and a message that is gone is noticed by the next commit of its actor, which names it.
//!
//! Memory is bounded whatever the reader does: what came and was not handed out, and what is asked for, have a budget in bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::answer::Answer;
use crate::commit::Commit;
use crate::error::Error;
use crate::event::EventData;
use crate::filter::Filter;
use crate::shard::shard_of;
use crate::token;

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
/// What a message costs beside its body: as headers on the way, and as objects when it is here.
const OVERHEAD_BYTES: usize = 160;
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

/// Events of one commit within a run.
#[derive(Debug)]
struct Placed {
    position: u64,
    events: usize,
    bytes: usize,
}

/// The positions from `start` up to `end`, which is not among them.
#[derive(Debug)]
struct Run {
    token: u64,
    end: u64,
    /// The position that comes next.
    reached: u64,
    /// Where it was when it was last asked for; 0: it is to be asked for in any case.
    asked_from: u64,
    /// Whether answers are to come.
    open: bool,
    fault: Option<Fault>,
    commits: VecDeque<Placed>,
    events: VecDeque<Arc<EventData>>,
}

impl Run {
    fn is_whole(&self) -> bool {
        self.reached >= self.end
    }

    /// Whether it was asked for and nothing came.
    fn is_stuck(&self) -> bool {
        !self.open && !self.is_whole() && self.fault.is_none() && self.reached == self.asked_from
    }
}

/// A request to send: its token, and what to ask for.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub token: u64,
    pub payload: String,
}

#[derive(Debug)]
pub struct Replay {
    filter: Filter,
    /// Of every subject, with the dot at its end: "aether.<namespace>.".
    prefix: String,
    /// The one subject that the server looks for; None: it gives all.
    subject: Option<String>,
    through: u64,
    runs: VecDeque<Run>,
    /// The first position that belongs to no run yet.
    next: u64,
    last_token: u64,
    /// What is held of messages that came.
    held: usize,
    /// The mean size of messages, in bytes; 0 as long as nobody knows.
    mean: usize,
    /// The last position of each actor, where positions have gaps; and from which position on that is complete.
    noted: HashMap<String, u64>,
    noted_after: u64,
    /// A position that a commit names falsely.
    disproved: u64,
    /// How many messages came.
    pub received: u64,
}

impl Replay {
    /// Reads behind `after`, up to and with `through`.
    pub fn new(namespace: &str, after: u64, through: u64, filter: Filter) -> Self {
        let prefix = format!("aether.{namespace}.");
        let subject = filter.single().map(|(shard, token)| format!("{prefix}{shard}.{}", token.unwrap_or("*")));
        Self {
            filter,
            prefix,
            subject,
            through,
            runs: VecDeque::new(),
            next: after.saturating_add(1),
            last_token: 0,
            held: 0,
            mean: 0,
            noted: HashMap::new(),
            noted_after: after,
            disproved: 0,
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
                requests.push(self.ask(index));
            }
        }
        while self.next <= self.through && self.has_room() {
            let end = if self.subject.is_some() { self.through + 1 } else { (self.next + self.count()).min(self.through + 1) };
            let (reached, asked_from) = (self.next, 0);
            let (commits, events) = (VecDeque::new(), VecDeque::new());
            self.runs.push_back(Run { token: 0, end, reached, asked_from, open: false, fault: None, commits, events });
            self.next = end;
            requests.push(self.ask(self.runs.len() - 1));
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

    fn ask(&mut self, index: usize) -> Request {
        self.last_token += 1;
        let (token, count) = (self.last_token, self.count());
        let run = &mut self.runs[index];
        (run.token, run.open, run.asked_from) = (token, true, run.reached);
        let (from, count) = (run.reached, count.min(run.end - run.reached));
        let subject = self.subject.as_ref().map_or_else(String::new, |subject| format!(",\"next_by_subj\":\"{subject}\""));
        Request { token, payload: format!("{{\"seq\":{from},\"batch\":{count},\"max_bytes\":{RUN_BYTES_MAX}{subject}}}") }
    }

    /// Takes an answer to a request.
    pub fn take_answer(&mut self, answer: &Answer<'_>) {
        let Some(index) = self.runs.iter().position(|run| run.open && run.token == answer.token) else { return };
        self.received += 1;
        if answer.status != 0 || answer.position == 0 {
            self.runs[index].open = false;
            return;
        }
        let size = answer.body.len() + OVERHEAD_BYTES;
        self.mean = if self.mean == 0 { size } else { (31 * self.mean + size) / 32 };
        if !self.take_message(index, answer.position, answer.subject, answer.body) {
            self.runs[index].open = false;
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
        let judged = self.judge(position, subject, body);
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

    /// The events of a message that are wanted.
    fn judge(&mut self, position: u64, subject: &str, body: &[u8]) -> Result<Vec<Arc<EventData>>, Fault> {
        let damaged = |token: &str, error| Fault::Damaged { position, actor: token::decode(token), error };
        let placed = subject.strip_prefix(self.prefix.as_str()).and_then(|rest| rest.split_once('.'));
        let Some((shard, token)) = placed.and_then(|(shard, token)| Some((shard.parse().ok()?, token))) else {
            return Err(damaged("", Error::decode(0, format!("no commit lies on {subject}"))));
        };
        if token::is_reserved(token) || !self.filter.takes_subject(shard, token) {
            return Ok(Vec::new());
        }
        let takes = |kind: &str| self.filter.takes_kind(kind);
        let commit = Commit::decode_where(body, &takes).map_err(|error| damaged(token, error))?;
        if !token::is_of(token, &commit.actor) {
            return Err(damaged(token, Error::decode(0, format!("it is a commit of the actor {:?}", commit.actor))));
        }
        if shard_of(token) != shard {
            return Err(damaged(token, Error::decode(0, format!("it lies in shard {shard}, which is not the actor's"))));
        }
        if self.subject.is_some() {
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

    /// Says that what did not come was never there.
    pub fn disprove(&mut self, position: u64) {
        self.disproved = position;
        if let Some(run) = self.runs.front_mut() {
            (run.fault, run.asked_from) = (None, 0);
        }
    }

    /// Gives up what is asked for: it will not be answered, and can be asked for again.
    pub fn lose(&mut self) {
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
        self.drop_read();
        if !self.is_ready(limit) {
            return None;
        }
        let (mut events, mut position) = (Vec::new(), 0);
        while let Some(run) = self.runs.front_mut() {
            while let Some(first) = run.commits.front() {
                if !events.is_empty() && events.len() + first.events > limit {
                    return Some((events, first.position - 1));
                }
                events.extend(run.events.drain(..first.events));
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
        Some((events, position))
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::event::{Id, Parts};
    use crate::roots::Root;
    use proptest::prelude::*;

    const NAMESPACE: &str = "shop";

    fn subject(actor: &str) -> String {
        let token = token::encode(actor);
        format!("aether.{NAMESPACE}.{}.{token}", shard_of(&token))
    }

    /// A commit of `count` events up to `version`, which names `before` as the actor's last commit.
    fn body(actor: &str, version: u64, count: u64, before: u64) -> Vec<u8> {
        let event = |version| {
            let kind = if version % 2 == 0 { "Even" } else { "Odd" };
            let id = Id::Text("i");
            Arc::new(EventData::new(&Parts {
                id,
                actor,
                kind,
                version,
                time_ns: 0,
                payload: &[0xc0],
                meta: &[],
                extra: &[],
                extra_pairs: 0,
            }))
        };
        let spine = Some(if before == 0 { vec![] } else { vec![Root { sequence: before, size: 1 }] });
        let events = (version + 1 - count..=version).map(event).collect();
        Commit { actor: actor.to_owned(), events, version, spine, ..Commit::default() }.encode()
    }

    /// What a server has: (position, subject, body), positions rising.
    type Stored = Vec<(u64, String, Vec<u8>)>;

    /// Commits of 1 to 3 events of three actors in turn.
    fn stored(count: u64) -> Stored {
        let (mut versions, mut last) = ([0; 3], [0; 3]);
        let commit = |position: u64| {
            let who = usize::try_from(position * position % 3).unwrap();
            let size = 1 + position % 3;
            versions[who] += size;
            let before = std::mem::replace(&mut last[who], position);
            let actor = ["a", "b", "c.d"][who];
            (position, subject(actor), body(actor, versions[who], size, before))
        };
        (1..=count).map(commit).collect()
    }

    fn field(payload: &str, name: &str) -> Option<u64> {
        let rest = payload.split_once(&format!("\"{name}\":"))?.1;
        rest.split([',', '}']).next()?.parse().ok()
    }

    /// Answers as a server would that has these messages.
    fn answer(replay: &mut Replay, stored: &Stored, request: &Request, messages: usize) {
        let (from, count) = (field(&request.payload, "seq").unwrap(), field(&request.payload, "batch").unwrap());
        let wanted = request.payload.split_once("next_by_subj\":\"").map(|(_, rest)| rest.trim_end_matches("\"}"));
        let fits = |subject: &str| {
            wanted.is_none_or(|wanted| {
                subject == wanted || wanted.ends_with('*') && subject.starts_with(wanted.trim_end_matches('*'))
            })
        };
        let found = stored.iter().filter(|(position, subject, _)| *position >= from && fits(subject));
        for (position, subject, body) in found.take(messages.min(usize::try_from(count).unwrap())) {
            replay.take_answer(&Answer { token: request.token, status: 0, position: *position, subject, body });
        }
        replay.take_answer(&Answer { token: request.token, status: 204, position: 0, subject: "", body: b"" });
    }

    /// Reads to the end or to what stops it; answers have at most `messages` each, and `order` says which request is answered next.
    fn read(
        replay: &mut Replay,
        stored: &Stored,
        limit: usize,
        messages: usize,
        order: &[usize],
    ) -> Vec<(u64, Vec<(String, u64)>)> {
        let (mut batches, mut asked, mut turn) = (Vec::new(), Vec::new(), 0);
        loop {
            asked.extend(replay.requests());
            if let Some((events, position)) = replay.take(limit) {
                batches.push((position, events.iter().map(|event| (event.actor().to_owned(), event.version())).collect()));
            } else if replay.is_done() || replay.fault().is_some() {
                return batches;
            } else if let Some(position) = replay.stuck() {
                let found = stored.iter().find(|(at, ..)| *at == position);
                match (found, replay.subject().is_some()) {
                    (Some((at, subject, body)), false) => assert!(replay.put(*at, subject, body)),
                    (None, false) => return batches,
                    (_, true) => assert!(replay.put(u64::MAX - 1, "", b"")),
                }
            } else {
                let request = asked.remove(order.get(turn).map_or(0, |index| index % asked.len()));
                turn += 1;
                answer(replay, stored, &request, messages);
            }
        }
    }

    fn expected(stored: &Stored, after: u64, takes: impl Fn(&str) -> bool) -> Vec<(String, u64)> {
        let commits = stored.iter().filter(|(position, ..)| *position > after).map(|(.., body)| Commit::decode(body).unwrap());
        let events = commits.filter(|commit| takes(&commit.actor)).flat_map(|commit| commit.events);
        events.map(|event| (event.actor().to_owned(), event.version())).collect()
    }

    fn events(batches: &[(u64, Vec<(String, u64)>)]) -> Vec<(String, u64)> {
        batches.iter().flat_map(|(_, events)| events.clone()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_the_answers_order_and_size_every_event_comes_once_in_order(
            count in 1_u64..300, after in 0_u64..40, limit in 1_usize..200, messages in 1_usize..100, order: Vec<usize>
        ) {
            let stored = stored(count);
            let mut replay = Replay::new(NAMESPACE, after, count, Filter::default());
            let batches = read(&mut replay, &stored, limit, messages, &order);
            prop_assert_eq!(events(&batches), expected(&stored, after, |_| true));
            prop_assert!(replay.is_done());
            prop_assert_eq!(replay.held, 0);
            for (position, batch) in &batches {
                prop_assert!(batch.len() <= limit.max(3) && *position <= count);
            }
        }

        #[test]
        fn what_one_subject_names_comes_through_the_servers_search(count in 1_u64..200, limit in 1_usize..50, messages in 1_usize..9) {
            let stored = stored(count);
            let filter = Filter::new(Some("b".to_owned()), None, None, None);
            let mut replay = Replay::new(NAMESPACE, 0, count, filter);
            let batches = read(&mut replay, &stored, limit, messages, &[]);
            prop_assert_eq!(events(&batches), expected(&stored, 0, |actor| actor == "b"));
            prop_assert!(replay.is_done());
        }

        #[test]
        fn a_position_without_a_message_stops_the_read_there(count in 2_u64..200, gone in 1_u64..200, messages in 1_usize..90, order: Vec<usize>) {
            let gone = 1 + gone % count;
            let all = stored(count);
            let left: Stored = all.iter().filter(|(position, ..)| *position != gone).cloned().collect();
            let mut replay = Replay::new(NAMESPACE, 0, count, Filter::default());
            let batches = read(&mut replay, &left, 7, messages, &order);
            prop_assert_eq!(replay.stuck(), Some(gone));
            prop_assert_eq!(events(&batches), expected(&all[..usize::try_from(gone).unwrap() - 1].to_vec(), 0, |_| true));
        }

        #[test]
        fn no_answers_make_it_panic(answers: Vec<(u8, u16, u8, u8, Vec<u8>)>) {
            let all = stored(20);
            let mut replay = Replay::new(NAMESPACE, 3, 17, Filter::default());
            for (token, status, position, index, bytes) in &answers {
                replay.requests();
                let (_, subject, body) = &all[usize::from(index % 20)];
                let (token, position) = (u64::from(token % 8), u64::from(position % 24));
                let body = if bytes.len() % 2 == 0 { body } else { bytes };
                replay.take_answer(&Answer { token, status: status % 2, position, subject, body });
                if status % 5 == 0 { replay.lose(); }
                if status % 7 == 0 { replay.put(position, subject, body); }
                if status % 11 == 0 { replay.step_over(); }
                replay.take(3);
            }
        }
    }

    #[test]
    fn a_message_that_is_gone_is_noticed_by_the_next_of_its_actor_where_positions_have_gaps() {
        let all = stored(40);
        let of_b: Vec<u64> =
            all.iter().filter(|(_, subject, _)| *subject == self::subject("b")).map(|(position, ..)| *position).collect();
        let gone = of_b[4];
        let left: Stored = all.iter().filter(|(position, ..)| *position != gone).cloned().collect();
        let filter = Filter::new(Some("b".to_owned()), None, None, None);
        let mut replay = Replay::new(NAMESPACE, 0, 40, filter.clone());
        let batches = read(&mut replay, &left, 100, 50, &[]);
        assert_eq!(replay.fault(), Some(&Fault::Absent { position: gone, actor: Some("b".to_owned()) }));
        assert_eq!(events(&batches), expected(&all[..usize::try_from(gone).unwrap() - 1].to_vec(), 0, |actor| actor == "b"));
        let (_, subject, body) = &all[usize::try_from(gone).unwrap() - 1];
        assert!(replay.put(gone, subject, body), "another replica may have it");
        let rest = read(&mut replay, &left, 100, 50, &[]);
        assert_eq!([events(&batches), events(&rest)].concat(), expected(&all, 0, |actor| actor == "b"));
        let mut behind = Replay::new(NAMESPACE, gone, 40, filter);
        assert_eq!(events(&read(&mut behind, &left, 100, 50, &[])), expected(&all, gone, |actor| actor == "b"));
    }

    #[test]
    fn a_commit_that_names_what_never_was_is_believed_once_it_is_disproved() {
        let all: Stored = vec![(1, subject("a"), body("a", 1, 1, 0)), (5, subject("a"), body("a", 2, 1, 3))];
        let mut replay = Replay::new(NAMESPACE, 0, 9, Filter::new(Some("a".to_owned()), None, None, None));
        assert_eq!(events(&read(&mut replay, &all, 9, 9, &[])).len(), 1);
        replay.disprove(3);
        assert_eq!(events(&read(&mut replay, &all, 9, 9, &[])), [("a".to_owned(), 2)]);
        assert!(replay.is_done());
    }

    #[test]
    fn what_is_no_commit_of_its_subjects_actor_is_at_fault_and_can_be_stepped_over() {
        let foreign = [
            (subject("a"), b"hello".to_vec()),
            (subject("a"), body("b", 1, 1, 0)),
            (format!("aether.{NAMESPACE}.1.a"), body("a", 1, 1, 0)),
            (format!("aether.{NAMESPACE}.x.a"), body("a", 1, 1, 0)),
            ("else.where".to_owned(), body("a", 1, 1, 0)),
        ];
        for (subject, damage) in foreign {
            let mut all = stored(9);
            all[3] = (4, subject.clone(), damage);
            let mut replay = Replay::new(NAMESPACE, 0, 9, Filter::default());
            let before = events(&read(&mut replay, &all, 100, 100, &[]));
            assert_eq!(before, expected(&stored(9)[..3].to_vec(), 0, |_| true), "{subject}");
            assert!(matches!(replay.fault(), Some(Fault::Damaged { position: 4, .. })), "{subject}");
            replay.step_over();
            assert_eq!(events(&read(&mut replay, &all, 100, 100, &[])), expected(&stored(9), 4, |_| true), "{subject}");
        }
    }

    #[test]
    fn what_a_filter_leaves_out_and_what_is_reserved_is_not_looked_at() {
        let mut all = stored(12);
        all[0].1 = format!("aether.{NAMESPACE}.7.=epoch");
        for message in &mut all {
            if message.1.ends_with('a') || message.1.ends_with("=epoch") {
                message.2 = b"damaged".to_vec();
            }
        }
        let mut replay =
            Replay::new(NAMESPACE, 0, 12, Filter::new(None, Some("b".to_owned()), None, Some(vec!["Odd".to_owned()])));
        let odd: Vec<_> =
            expected(&stored(12), 1, |actor| actor == "b").into_iter().filter(|(_, version)| version % 2 == 1).collect();
        assert_eq!(events(&read(&mut replay, &all, 100, 100, &[])), odd);
    }

    #[test]
    fn what_is_asked_for_and_held_has_a_bound() {
        let mut replay = Replay::new(NAMESPACE, 0, 1_000_000, Filter::default());
        let large = body(&"x".repeat(255), 2000, 2000, 0);
        let subject = subject(&"x".repeat(255));
        let (mut asked, mut open) = (replay.requests(), 0);
        while let Some(request) = asked.pop() {
            open = open.max(replay.runs.iter().filter(|run| run.open).count());
            let from = field(&request.payload, "seq").unwrap();
            for position in from..from + field(&request.payload, "batch").unwrap() {
                replay.take_answer(&Answer { token: request.token, status: 0, position, subject: &subject, body: &large });
            }
            asked.extend(replay.requests());
        }
        assert!(open <= DEPTH);
        assert!(replay.held > BUDGET_BYTES / 2, "a slow reader leaves it full");
        assert!(replay.held <= BUDGET_BYTES + DEPTH * 64 * large.len(), "{}", replay.held);
        let (events, _) = replay.take(usize::MAX).unwrap();
        assert!(!events.is_empty(), "a batch that would hold more than the budget ends early");
    }
}
