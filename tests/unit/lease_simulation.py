"""Candidates for one lease in virtual time: clocks that differ, messages lost and late, stale reads, late expiry, deaths.

The candidates are real `Lease` machines; the server keeps one subject as JetStream does. Everything that happens is drawn from
one seeded generator, so a seed names a run. Times are true seconds; each candidate lives on a clock of its own.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aether.cluster.lease import Lease
from aether.cluster.lease_words import Record, What

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.cluster.lease_words import Action

TTL_S = 3
CANDIDATES = 3
RATE_MAX = 0.08
"""By how much a candidate's clock may run fast or slow: within the margin of a tenth."""
MARKER_S = 10.0
ATTEMPT_S = TTL_S / 6
STUCK_S = 100 * TTL_S
"""Nobody holds the lease for so long: something is stuck. Outages last a fraction of it."""


class OverlapError(AssertionError):
    """Two candidates hold the lease at one moment."""


class StuckError(AssertionError):
    """Nobody gets the lease, though all could."""


@dataclass
class Server:
    """One subject's last message."""

    guarded: bool = True
    up: bool = True
    position: int = 0
    record: Record = field(default_factory=Record)
    generation: int = 0
    before: deque[Record] = field(default_factory=lambda: deque(maxlen=4))

    def store(self, record: Record) -> Record:
        """Store a message, at the next position; other subjects' messages make positions jump."""
        self.position += 2
        self.generation += 1
        self.before.append(self.record)
        self.record = record._replace(position=self.position)
        return self.record

    def forget(self) -> None:
        """Drop a marker whose own time is over."""
        self.generation += 1
        self.record = Record()


class Candidate:
    """One process: a lease, a clock, and whether it runs, stands still or is dead."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.rate = 1 + world.random.uniform(-RATE_MAX, RATE_MAX)
        self.offset = world.random.uniform(0, 1_000)
        self.lease = world.make_lease(f"s{world.sessions}", world.random.random)
        world.sessions += 1
        self.alive = True
        self.paused_until = -math.inf
        self.asked = 0  # which request's answer is waited for
        self.timer = 0
        self.pushed_at = -math.inf
        self.watch = 0  # a number for each life of the watch
        self.lease.want()

    def clock(self) -> float:
        """Its own time."""
        return self.offset + self.world.now * self.rate

    def tell(self, act: Callable[[Lease, float], Any]) -> None:
        """Let it take something, once it runs."""
        if not self.alive:
            return
        if self.world.now < self.paused_until:
            self.world.at(self.paused_until, lambda: self.tell(act))
            return
        act(self.lease, self.clock())
        self.go_on()

    def answer(self, asked: int, act: Callable[[Lease, float], Any]) -> None:
        """Let it take an answer, if it still waits for it."""

        def once(lease: Lease, now: float) -> None:
            if asked == self.asked:
                self.asked += 1
                act(lease, now)

        self.tell(once)

    def go_on(self) -> None:
        """Do what is due, and come again when more is."""
        action = self.lease.due(self.clock())
        while self.lease.changes:
            change = self.lease.changes.popleft()
            if change.held:
                self.world.check_held(self, change.term)
        if action is not None:
            self.world.send(self, action)
        self.timer += 1
        at = self.lease.wake_at()
        if at < math.inf:
            timer, when = self.timer, max(self.world.now + 1e-6, (at - self.offset) / self.rate)
            self.world.at(when, lambda: self.wake(timer))

    def wake(self, timer: int) -> None:
        """Take it that a timer went off, if it is the last that was set."""
        if timer == self.timer and self.alive:
            if self.world.now < self.paused_until:
                self.world.at(self.paused_until, lambda: self.wake(timer))
            else:
                self.go_on()


class World:
    """Everything, and the order in which it happens.

    Args:
        seed: names the run.
        make_lease: makes a candidate's lease from its session and a source of jitter.
        guarded: whether the server looks at guards.
    """

    def __init__(
        self,
        seed: int,
        make_lease: Callable[[str, Callable[[], float]], Lease] = lambda session, jitter: Lease(session, TTL_S, jitter),
        *,
        guarded: bool = True,
    ) -> None:
        self.random = random.Random(seed)
        self.make_lease = make_lease
        self.server = Server(guarded)
        self.now = 0.0
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.count = self.sessions = self.deaths = self.terms = self.outages = 0
        self.held_at = 0.0
        self.last_term = 0
        self.candidates = [Candidate(self, number) for number in range(CANDIDATES)]
        for candidate in self.candidates:
            self.sync(candidate)
        self.at(self.random.uniform(20, 200) * TTL_S, self.begin_outage)

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Let something happen at a time."""
        self.count += 1
        heapq.heappush(self.queue, (when, self.count, act))

    def run(self, deaths: int) -> None:
        """Let time pass until so many holders have died."""
        while self.deaths < deaths:
            self.now, _, act = heapq.heappop(self.queue)
            act()
            if self.now - self.held_at > STUCK_S:
                raise StuckError(f"nobody holds the lease since {self.held_at:.3f} s, at {self.now:.3f} s")

    # What must hold, and who dies.

    def check_held(self, holder: Candidate, term: int) -> None:
        """Take it that a candidate holds the lease now, and see that nobody else does."""
        for other in self.candidates:
            if other is not holder and other.alive and other.lease.is_valid(other.clock()):
                raise OverlapError(f"at {self.now:.6f} s terms {other.lease.term} and {term} are both held")
        if term <= self.last_term:
            raise OverlapError(f"term {term} comes after term {self.last_term}")
        self.last_term, self.held_at = term, self.now
        self.terms += 1
        self.at(self.now + self.random.uniform(0, 1.2) * TTL_S, lambda: self.end(holder, term))

    def end(self, holder: Candidate, term: int) -> None:
        """End a term somehow, if it has not ended."""
        if not holder.alive or holder.lease.term != term:
            return
        if self.now < holder.paused_until:
            self.at(holder.paused_until + TTL_S, lambda: self.end(holder, term))
            return
        kind = self.random.random()
        if kind < 0.1:  # it lets go, and wants it again a little later
            holder.tell(lambda lease, now: lease.unwant(now))
            self.at(self.now + self.random.uniform(0, TTL_S), lambda: holder.tell(lambda lease, _: lease.want()))
            return
        self.deaths += 1
        if kind < 0.4:  # it stands still, and comes back as a zombie
            holder.paused_until = self.now + TTL_S * self.random.uniform(0.9, 2.5)
            self.at(holder.paused_until + TTL_S, lambda: self.end(holder, term))  # a short one may leave it the lease
            return
        holder.alive = False
        self.candidates.remove(holder)
        self.at(self.now + self.random.uniform(0, 2) * TTL_S, self.replace)

    def replace(self) -> None:
        """Start another process in the place of one that died."""
        self.candidates.append(Candidate(self, len(self.candidates)))
        self.sync(self.candidates[-1])

    # The network.

    def delay(self) -> float:
        """Draw how long a message is under way; inf: it is lost."""
        kind = self.random.random()
        if kind < 0.03:
            return math.inf
        if kind < 0.05:
            return self.random.uniform(0, 2 * TTL_S)
        if kind < 0.15:
            return self.random.uniform(0, 0.3 * TTL_S)
        return self.random.uniform(0.0001, 0.002)

    def send(self, candidate: Candidate, action: Action) -> None:
        """Carry a request to the server, and give up on its answer after a while."""
        asked = candidate.asked
        self.at(self.now + ATTEMPT_S / candidate.rate, lambda: candidate.answer(asked, lambda lease, now: lease.unanswered(now)))
        arrives = self.now + self.delay()
        if arrives < math.inf:
            session = candidate.lease.session
            self.at(arrives, lambda: self.serve(candidate, asked, action, session))

    def serve(self, candidate: Candidate, asked: int, action: Action, session: str) -> None:
        """Let the server take a request; what a dead candidate sent still comes."""
        if not self.server.up:
            return
        if action.what is What.READ:
            found = self.server.record
            if self.server.before and self.random.random() < 0.02:
                found = self.random.choice(self.server.before)  # a leader that was deposed, and does not know
            self.reply(candidate, asked, lambda lease, now: lease.read(now, found))
            return
        spurious = self.random.random() < 0.01  # another write to the subject is in flight
        if spurious or (self.server.guarded and action.guard != self.server.record.position):
            self.reply(candidate, asked, lambda lease, now: lease.refused(now))
            return
        released = action.what is What.RELEASE
        stored = self.server.store(
            Record(0, None if released else session, action.term, action.beat, released=released, ttl_s=TTL_S)
        )
        self.push(stored)
        late = self.random.choice((0.0, 0.003, 0.003, self.random.uniform(0, TTL_S)))
        generation = self.server.generation
        self.at(self.now + TTL_S + late, lambda: self.expire(generation))
        self.reply(candidate, asked, lambda lease, now: lease.acked(now, stored.position))

    def reply(self, candidate: Candidate, asked: int, act: Callable[[Lease, float], Any]) -> None:
        """Carry an answer back."""
        arrives = self.now + self.delay()
        if arrives < math.inf:
            self.at(arrives, lambda: candidate.answer(asked, act))

    def expire(self, generation: int) -> None:
        """Put a marker in the place of a message that nobody renewed, later where the server is down."""
        if generation != self.server.generation:
            return
        if not self.server.up:
            self.at(self.now + 0.1, lambda: self.expire(generation))
            return
        self.push(self.server.store(Record()))
        marker = self.server.generation
        self.at(self.now + MARKER_S, lambda: self.server.forget() if marker == self.server.generation else None)

    # The watch, and outages.

    def push(self, record: Record) -> None:
        """Send what was stored to all who watch, in order."""
        for candidate in self.candidates:
            wait_s = self.delay()
            watch = candidate.watch
            if wait_s == math.inf:
                self.break_watch(candidate, self.random.uniform(0.1, 2.0))
                continue
            candidate.pushed_at = max(candidate.pushed_at, self.now + wait_s)
            self.at(candidate.pushed_at, lambda to=candidate, life=watch: self.see(to, life, record))

    def see(self, candidate: Candidate, watch: int, record: Record) -> None:
        """Let a candidate see what was pushed, if its watch has not broken since."""
        if watch == candidate.watch:
            candidate.tell(lambda lease, now: lease.seen(now, record))

    def break_watch(self, candidate: Candidate, notice_s: float) -> None:
        """Break a watch: its candidate notices after a while, and begins it anew."""
        candidate.watch += 1
        watch = candidate.watch
        self.at(self.now + notice_s, lambda: self.notice(candidate, watch))

    def notice(self, candidate: Candidate, watch: int) -> None:
        """Let a candidate take it that its watch is broken."""
        if watch == candidate.watch:
            candidate.tell(lambda lease, now: lease.broken(now))
            self.sync(candidate)

    def sync(self, candidate: Candidate) -> None:
        """Begin a watch, as soon as the server is up; a replica that lags may begin it with what was."""
        if not candidate.alive:
            return
        if not self.server.up:
            self.at(self.now + 0.1, lambda: self.sync(candidate))
            return
        candidate.watch += 1
        watch, record = candidate.watch, self.server.record
        known = record if record.position else None
        candidate.pushed_at = self.now + self.random.uniform(0.001, 0.01)
        self.at(candidate.pushed_at, lambda: self.begin(candidate, watch, known))

    def begin(self, candidate: Candidate, watch: int, record: Record | None) -> None:
        """Let a candidate take it that its watch sees everything."""
        if watch == candidate.watch:
            candidate.tell(lambda lease, now: lease.synced(now, record))

    def begin_outage(self) -> None:
        """Stop the server for a while."""
        self.outages += 1
        self.server.up = False
        for candidate in self.candidates:
            self.break_watch(candidate, self.random.uniform(0.01, 2.0))
        self.at(self.now + self.random.choice((0.2, 1.0, 3.0)) * TTL_S, self.end_outage)

    def end_outage(self) -> None:
        """Start it again."""
        self.server.up = True
        self.at(self.now + self.random.uniform(20, 200) * TTL_S, self.begin_outage)
