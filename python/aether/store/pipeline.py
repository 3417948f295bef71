"""Ingestion into JetStream: many commits on their way at once, at most one of each actor.

The bookkeeping is native (`rust/pending.rs`) and so is what happens to an event when all goes well: this module spends a few
calls on a chunk of acks, whatever their number. One task drives it: it is woken by what is put and by what is answered, sends
what became ready, and hands what was not plainly acked to tasks that ask the log (`doubts.py`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Self

from aether._native import Commit, Pending, actor_subject
from aether.errors import AccessDeniedError, AetherError, OutcomeUnknownError
from aether.nats.errors import NoRespondersError, UnansweredError
from aether.nats.pauses import pause
from aether.store.base import IngestStats
from aether.store.doubts import Doubt, Doubts, Ending
from aether.store.ingesting import CLOSED, FORKED, OPENED_BEFORE, Failures, Outcome, is_verdict, not_sent, note

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
    from types import TracebackType

    from aether.event import Event
    from aether.nats.connection import Connection
    from aether.nats.stream_log import StreamLog
    from aether.nats.transport import Inbox
    from aether.store.commit_writer import CommitWriter

__all__ = ["JetStreamPipeline"]

_LOG = logging.getLogger("aether.store")

PULL_S = 0.005
"""How long one pull from an iterable should take at most, in seconds."""

AT_ONCE = 4096
"""Events taken before the loop gets its turn."""

IN_FLIGHT_BYTES_MAX = 32 * 2**20
"""Half of what a server buffers for a stream before it refuses."""

DOUBTS_AT_ONCE = 64
HEADS_AT_ONCE = 256
ROUNDS = 4
"""An attempt is so many rounds of the clock; a commit not answered within it is asked about."""

ATTEMPT_S_MIN = 0.25

NOT_SENT = "not sent: the pipeline was closed before"


class JetStreamPipeline:
    """The JetStream store's `IngestPipeline`.

    Args:
        connection: the open connection.
        log: the namespace's event stream.
        writer: the store's writer, for what is in doubt.
        namespace: the namespace.
        opened: opens the store where it is not open yet.
        bounds: `pending_max`, `pending_bytes_max`, `in_flight_max` and `commit_events_max` of `EventStore.ingest`.
        on_failure: called with each event that is not stored.
    """

    def __init__(
        self,
        *,
        connection: Connection,
        log: StreamLog,
        writer: CommitWriter,
        namespace: str,
        opened: Callable[[], Awaitable[float]],
        bounds: dict[str, int],
        on_failure: Callable[[Event, AetherError], object] | None,
    ) -> None:
        self._connection, self._log, self._writer, self._namespace = connection, log, writer, namespace
        self._opened = opened
        self._attempt_s = max(ATTEMPT_S_MIN, log.timeout_s / 4)
        self._pending = Pending(namespace, log.stream, writer.heads, in_flight_bytes_max=IN_FLIGHT_BYTES_MAX, **bounds)
        self._failures = Failures(on_failure)
        self._doubts = Doubts(writer, log)
        self._waiting: deque[Doubt] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reading_heads = False
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()
        self._driver: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._inbox: Inbox | None = None
        self._lost = False
        self._halted = False
        self._process = os.getpid()
        self._closing = self._closed = False
        self._bug: BaseException | None = None
        self._complaint: Exception | None = None
        self._unyielded = 0

    # The face.

    async def __aenter__(self) -> Self:
        if self._driver is not None:
            raise AetherError(OPENED_BEFORE)
        await self._opened()
        self._process = os.getpid()
        self._driver = asyncio.create_task(self._drive(), name="aether-ingest")
        self._tick()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing = True  # who waits to put gives up; what is taken already is settled first
        self._tell_moved()
        try:
            if error is None:
                await self._drain()
                self._report()
            else:
                await self._leave(error)
        except asyncio.CancelledError as cancelled:
            if error is None:
                error = cancelled
                await self._leave(cancelled)
            raise
        finally:
            await self._close()
            if error is not None:
                error.add_note(note(self.stats()))

    async def put(self, event: Event) -> None:
        """Take one event; wait while too much is pending; see `IngestPipeline.put`."""
        self._check_open(taking=True)
        while self._halted or not self._pending.put(event):
            await self._room()
            self._check_open(taking=True)
        self._wake.set()
        self._unyielded += 1
        if self._unyielded >= AT_ONCE:
            self._unyielded = 0
            await asyncio.sleep(0)

    async def put_many(self, events: Iterable[Event]) -> None:
        """Take events, from a list or a generator of any length; see `IngestPipeline.put_many`."""
        for step in self._put_many_steps(events):
            await step

    def _put_many_steps(self, events: Iterable[Event]) -> Iterator[Coroutine[None, None, None]]:
        """Pull the events where this is called; each step waits on the loop until it can go on."""
        self._check_open(taking=True)
        iterator, ended = iter(events), False
        at_once = AT_ONCE if isinstance(events, list | tuple) else 1
        while not ended:
            self._check_open(taking=True)
            taken, began = 0, time.perf_counter()
            try:
                if not self._halted:
                    taken, ended = self._pending.pull(iterator, at_once)
                    # What a slow source gives goes out as it comes.
                    slow = time.perf_counter() - began > PULL_S
                    at_once = max(1, at_once // 2) if slow else min(AT_ONCE, 2 * at_once)
            except BaseException:
                yield self._taken(1)  # what came before it is on its way
                raise
            if self._closing:
                self._came_late()
            yield self._taken(taken)

    async def _taken(self, count: int) -> None:
        """Let what was taken go out; wait for room where nothing was."""
        if count:
            self._wake.set()
            await asyncio.sleep(0)
        else:
            # The driver is not woken: it could do nothing but wake this, and both would turn in circles.
            await self._room()

    async def flush(self) -> None:
        """Return once everything put before is stored; see `IngestPipeline.flush`."""
        self._check_open()
        await self._settled()
        self._report()

    def stats(self) -> IngestStats:
        """Say how many events became what."""
        return IngestStats(*self._pending.counts())

    def _check_open(self, *, taking: bool = False) -> None:
        if self._driver is None or self._closed or (taking and self._closing) or self._driver.done():
            raise AetherError(CLOSED) from self._bug
        if os.getpid() != self._process:
            raise AetherError(FORKED)
        if taking:
            self._raise_complaint()

    def _came_late(self) -> NoReturn:
        """Refuse what another thread pulled while the pipeline was closing: its last events may be sent, or not."""
        if self._closed:
            self._pending.drop_queued()
        raise AetherError(CLOSED)

    def _report(self) -> None:
        self._halted = False
        self._raise_complaint()
        self._failures.report()

    def _fail(self, outcome: Outcome, event: Event, error: AetherError) -> None:
        try:
            self._failures.add(outcome, event, error)
        except Exception as raised:  # noqa: BLE001 - the caller's `on_failure` raised it: the caller's next call raises it
            self._complaint = self._complaint or raised

    def _raise_complaint(self) -> None:
        complaint, self._complaint = self._complaint, None
        if complaint is not None:
            raise complaint

    # Waiting.

    async def _room(self) -> None:
        if self._halted:
            await self.flush()
        elif not self._pending.has_room():
            await self._move()

    async def _settled(self) -> None:
        mark = self._pending.mark()
        self._wake.set()
        while not self._pending.is_settled(mark):
            await self._move()

    async def _move(self) -> None:
        """Wait until something was settled, or went wrong."""
        await self._moved.wait()
        if self._bug is not None:
            raise self._bug

    def _tell_moved(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    # The driver.

    async def _drive(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._send()
                self._look_into_troubles()
                self._tell_moved()
        except Exception as error:
            self._bug = error
            self._tell_moved()
            raise

    def _woken(self) -> None:
        self._wake.set()

    def _on_lost(self, reason: Exception, subject: str | None) -> None:
        if subject is None:
            self._lost = True
        # The server took nothing of what it denies.
        self._pending.lose(subject, denied=isinstance(reason, AccessDeniedError))
        self._wake.set()

    async def _send(self) -> None:
        """Send what is ready, over an inbox of the connection that there is now."""
        loop = asyncio.get_running_loop()
        give_up_at, attempt = loop.time() + self._log.timeout_s, 0
        while self._pending.queued:
            try:
                inbox = await self._ready_inbox(give_up_at)
                await inbox.send(self._pending, loop.time() + self._log.timeout_s)
                break
            except (NoRespondersError, UnansweredError):
                # What was taken out before counts as sent.
                self._lost = True
                self._pending.lose()
                attempt += 1
            except AetherError as error:
                self._pending.lose()
                self._halt(error)
                return
            try:
                await pause(attempt, give_up_at, f"sending to {self._log.stream}", self._log.timeout_s)
            except AetherError as error:
                self._halt(error)
                return

    async def _ready_inbox(self, deadline: float) -> Inbox:
        transport = await self._connection.ready(deadline)
        if self._inbox is None or self._lost:
            await self._close_inbox()
            self._lost = False
            self._pending.set_commit_bytes_max(transport.max_payload)
            self._inbox = await transport.open_inbox(self._pending, self._woken, self._on_lost)
        return self._inbox

    async def _close_inbox(self) -> None:
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            await inbox.aclose()

    def _tick(self) -> None:
        """Let a round of the clock pass."""
        if self._pending.tick(ROUNDS):
            self._wake.set()
        self._timer = asyncio.get_running_loop().call_later(self._attempt_s / ROUNDS, self._tick)

    def _halt(self, error: AetherError) -> None:
        """Send nothing more until the caller knows: what would come next stands behind what failed."""
        self._halted = True
        reason = not_sent(error)
        for event in self._pending.drop_queued():
            self._fail("failed", event, reason)

    # Trouble.

    def _look_into_troubles(self) -> None:
        deadline = asyncio.get_running_loop().time() + self._log.timeout_s
        while troubles := self._pending.troubles(HEADS_AT_ONCE):
            # Its time runs from when it was sent, and silence has taken some of it.
            self._waiting.extend(
                Doubt(*trouble, deadline - (self._attempt_s if trouble[1] == "silent" else 0.0)) for trouble in troubles
            )
        while self._waiting and len(self._tasks) < DOUBTS_AT_ONCE:
            self._settle(self._waiting.popleft())
        if not self._reading_heads and (names := self._pending.headless(HEADS_AT_ONCE)):
            self._reading_heads = True
            self._spawn(self._read_heads(names, deadline))

    def _spawn(self, work: Coroutine[None, None, Any], then: Callable[[asyncio.Task[Any]], None] | None = None) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        if then is not None:
            task.add_done_callback(then)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._bug = task.exception()
        self._wake.set()
        self._tell_moved()

    def _settle(self, doubt: Doubt) -> None:
        """Find out what became of a commit. Its end is told to a callback: a task that is cancelled may never have begun."""
        self._log.reached = max(self._log.reached, self._pending.reached)
        self._spawn(self._doubts.settle(doubt, self._connection.max_payload), partial(self._account, doubt))

    def _account(self, doubt: Doubt, task: asyncio.Task[Ending]) -> None:
        """Account for each event of a commit that was in doubt."""
        if task.cancelled() or task.exception() is not None:
            self._give_up(doubt, may_be_stored=doubt.why != "large")  # it may have been written again
            return
        ending = task.result()
        self._pending.settle(
            doubt.ticket,
            saved=ending.saved,
            already_stored=ending.already_stored,
            conflicts=len(ending.conflicts),
            failed=len(ending.failed),
            unknown=len(ending.unknown),
        )
        for event, error in ending.conflicts:
            self._fail("conflicts", event, error)
        for event, error in ending.failed:
            self._fail("failed", event, error)
        for event, error in ending.unknown:
            self._fail("unknown", event, error)
        if ending.error is not None and not is_verdict(ending.error):
            self._halt(ending.error)

    def _give_up(self, doubt: Doubt, *, may_be_stored: bool) -> None:
        """Account for a commit whose end nobody waits for any more."""
        outcome: Outcome = "unknown" if may_be_stored else "failed"
        self._pending.settle(doubt.ticket, **{outcome: len(doubt.events)})
        for event in doubt.events:
            unknown = OutcomeUnknownError(event.actor_id, self._log.timeout_s)
            self._fail(outcome, event, unknown if may_be_stored else AetherError(NOT_SENT))

    async def _read_heads(self, names: list[str], deadline: float) -> None:
        """Read the heads of actors that go on with a later version than the first: all at once."""
        unread = set(names)
        try:
            subjects = [actor_subject(self._namespace, name) for name in names]
            latest = await self._log.last_each(subjects, deadline)
            for name, message in zip(names, latest, strict=True):
                commit = None if message is None else Commit.decode(message.body)
                if commit is not None and message is not None and commit.actor_id == name:
                    self._pending.found(name, commit.head(message.position))
                    unread.discard(name)
        except AetherError as error:
            _LOG.info("heads of %d actors: %s", len(unread), error)
        finally:
            self._reading_heads = False
            for name in unread:
                self._pending.found(name, None)  # each by itself: it is damaged, new, or cannot be read now

    # The end.

    async def _drain(self) -> None:
        """Wait for all that was taken, and for what other threads were just pulling."""
        while self.stats().pending:
            await self._settled()

    async def _leave(self, error: BaseException) -> None:
        """Finish what is on its way, and send nothing more."""
        while self.stats().pending:
            self._drop_queued(f"not sent: the pipeline was left by {type(error).__name__}")
            await self._settled()

    def _drop_queued(self, reason: str) -> None:
        error = AetherError(reason)
        for event in self._pending.drop_queued():
            self._fail("failed", event, error)

    async def _close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        tasks = [*self._tasks, *([self._driver] if self._driver is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._abandon()
        await self._close_inbox()

    def _abandon(self) -> None:
        """Account for what nobody waits for any more, and let go of who waits for it."""
        self._pending.lose()
        self._drop_queued(NOT_SENT)
        while troubles := self._pending.troubles(HEADS_AT_ONCE):
            self._waiting.extend(Doubt(*trouble, 0.0) for trouble in troubles)
        while self._waiting:
            doubt = self._waiting.popleft()
            self._give_up(doubt, may_be_stored=doubt.may_be_stored)
        self._tell_moved()
