"""Ingestion into JetStream: many commits on their way at once, at most one of each actor.

The bookkeeping is native (`rust/pending.rs`) and so is what happens to an event when all goes well: this module spends a few
calls on a chunk of acks, whatever their number. One task drives it: it is woken by what is put and by what is answered, sends
what became ready, and hands what was not plainly acked to tasks that ask the log (`troubles.py`).
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any, NoReturn, Self

from aether._native import Pending
from aether.errors import AetherError
from aether.store.departing import Departures, Linger
from aether.store.ingest_base import IngestStats
from aether.store.ingesting import CLOSED, FORKED, OPENED_BEFORE, Ledger, Outcomes, caller, note
from aether.store.troubles import Troubles

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
    from types import TracebackType

    from aether._native import HeadCache
    from aether.event import Event, NewEvent
    from aether.nats.connection import Connection
    from aether.nats.stream_log import StreamLog
    from aether.nats.transport import Outbox
    from aether.store.commit_writer import Writer
    from aether.store.ingest_base import OnConflict

__all__ = ["JetStreamPipeline"]

PULL_S = 0.005
"""How long one pull from an iterable should take at most, in seconds."""

AT_ONCE = 4096
"""Events taken before the loop gets its turn."""

IN_FLIGHT_BYTES_MAX = 32 * 2**20
"""Half of what a server buffers for a stream before it refuses."""

ROUNDS = 4
"""An attempt is so many rounds of the clock; a commit not answered within it is asked about."""

ATTEMPT_S_MIN = 0.25


class JetStreamPipeline:
    """The JetStream store's `IngestPipeline`.

    Args:
        connection: the open connection.
        log: the namespace's event stream.
        writer: the store's writer, for what is in doubt.
        namespace: the namespace.
        opened: opens the store where it is not open yet.
        bounds: those of `Pending`, by their names in `EventStore.ingest`.
        linger_s, skip_known, known_ids_max, on_conflict, on_failure: of `EventStore.ingest`.
    """

    def __init__(
        self,
        *,
        connection: Connection,
        log: StreamLog,
        writer: Writer,
        namespace: str,
        opened: Callable[[], Awaitable[float]],
        bounds: dict[str, Any],
        linger_s: float,
        skip_known: bool,
        known_ids_max: int,
        on_conflict: OnConflict,
        on_failure: Callable[[Any, AetherError], object] | None,
    ) -> None:
        self._log, self._opened = log, opened
        self._attempt_s = max(ATTEMPT_S_MIN, log.timeout_s / 4)
        heads = self._heads_of(writer)
        self._pending = Pending(namespace, log.stream, heads, in_flight_bytes_max=IN_FLIGHT_BYTES_MAX, **bounds)
        self._outbox: Outbox = self._pending
        if skip_known:
            self._pending.skip_known(known_ids_max)
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()
        self._ledger = Ledger(self._pending, on_failure, on_conflict)
        self._troubles = self._troubles_of(
            writer,
            connection=connection,
            log=log,
            namespace=namespace,
            on_conflict=on_conflict,
            skip_known=skip_known,
            known_ids_max=known_ids_max,
            attempt_s=self._attempt_s,
            moved=self._on_moved,
        )
        self._departures = Departures(connection, log, self._pending, self._outbox, halt=self._ledger.halt, wake=self._wake.set)
        self._linger = Linger(linger_s, self._wake.set)
        self._driver: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._process = os.getpid()
        self._closing = self._closed = False
        self._bug: BaseException | None = None
        self._unyielded = 0
        self._flushing = 0

    def _heads_of(self, writer: Writer) -> HeadCache:
        """Return what is known of actors."""
        return writer.heads

    def _troubles_of(self, writer: Writer, **arguments: Any) -> Troubles:  # noqa: ANN401 - those of `Troubles`
        return Troubles(self._pending, self._ledger, writer=writer, **arguments)

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
                self._ledger.report(caller(), puts=False)
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

    async def put(self, event: Event | tuple[str, NewEvent]) -> None:
        """Take one event, or a new one to be numbered; wait while too much is pending; see `IngestPipeline.put`."""
        await self._put(event, caller())

    def _put_steps(self, event: Event | tuple[str, NewEvent]) -> Iterator[Coroutine[None, None, None]]:
        yield self._put(event, caller())

    async def _put(self, event: Event | tuple[str, NewEvent], who: object) -> None:
        self._check_open(taking=True)
        while self._must_learn(who) or not self._pending.put(event):
            await self._room(who)
            self._check_open(taking=True)
        self._wake.set()
        self._unyielded += 1
        if self._unyielded >= AT_ONCE:
            self._unyielded = 0
            await asyncio.sleep(0)

    async def put_many(self, events: Iterable[Event | tuple[str, NewEvent]]) -> None:
        """Take events, from a list or a generator of any length; see `IngestPipeline.put_many`."""
        for step in self._put_many_steps(events):
            await step

    def _put_many_steps(self, events: Iterable[Event | tuple[str, NewEvent]]) -> Iterator[Coroutine[None, None, None]]:
        """Pull the events where this is called; each step waits on the loop until it can go on."""
        self._check_open(taking=True)
        who, iterator, ended = caller(), iter(events), False
        at_once = AT_ONCE if isinstance(events, list | tuple) else 1
        while not ended:
            self._check_open(taking=True)
            taken, began = 0, time.perf_counter()
            try:
                if not self._must_learn(who):
                    taken, ended = self._pending.pull(iterator, at_once)
                    # What a slow source gives goes out as it comes.
                    slow = time.perf_counter() - began > PULL_S
                    at_once = max(1, at_once // 2) if slow else min(AT_ONCE, 2 * at_once)
            except BaseException:
                yield self._taken(1, who)  # what came before it is on its way
                raise
            if self._closing:
                self._came_late()
            yield self._taken(taken, who)

    async def _put_tagged(self, records: Any) -> None:  # noqa: ANN401 - native records, or what pours and shrinks as they do
        """Take records with their tags, all of them; an import's way in."""
        who = caller()
        while len(records):
            self._check_open(taking=True)
            taken = 0 if self._must_learn(who) else records.pour(self._pending)
            await self._taken(taken, who)

    async def _taken(self, count: int, who: object) -> None:
        """Let what was taken go out; wait for room where nothing was."""
        if count:
            self._wake.set()
            await asyncio.sleep(0)
        else:
            # The driver is not woken: it could do nothing but wake this, and both would turn in circles.
            await self._room(who)

    async def flush(self) -> None:
        """Return once everything put before is stored; see `IngestPipeline.flush`."""
        await self._flush(caller(), puts=False)

    def _flush_steps(self) -> Iterator[Coroutine[None, None, None]]:
        yield self._flush(caller(), puts=False)

    async def _flush(self, who: object, *, puts: bool) -> None:
        self._check_open()
        await self._settled()
        self._ledger.report(who, puts=puts)

    def outcomes(self) -> Outcomes:
        """Iterate over what becomes of each event; see `IngestPipeline.outcomes`."""
        self._ledger.tell_outcomes()
        return Outcomes(self._ledger, self._more_outcomes, self._tell_moved)

    async def _more_outcomes(self) -> bool:
        if not self._closed:
            await self._move()
        return not self._closed or self.stats().unread > 0

    def stats(self) -> IngestStats:
        """Say how many events became what."""
        return IngestStats(*self._pending.counts())

    def _check_open(self, *, taking: bool = False) -> None:
        if self._driver is None or self._closed or (taking and self._closing) or self._driver.done():
            raise AetherError(CLOSED) from self._bug
        if os.getpid() != self._process:
            raise AetherError(FORKED)
        if taking:
            self._ledger.raise_complaint()

    def _settled_tag(self) -> int:
        return self._pending.settled_tag()

    def _came_late(self) -> NoReturn:
        """Refuse what another thread pulled while the pipeline was closing: its last events may be sent, or not."""
        if self._closed:
            self._ledger.drop_queued(AetherError(CLOSED))
        raise AetherError(CLOSED)

    def _must_learn(self, who: object) -> bool:
        """Whether this caller has to be told of a halt before anything more is taken from it."""
        return self._ledger.owes(who) or self._ledger.is_halted

    # Waiting.

    async def _room(self, who: object) -> None:
        if self._must_learn(who):
            await self._flush(who, puts=True)
        elif not self._pending.has_room():
            if self._linger.is_running:
                self._wake.set()  # what lingers goes out now
            await self._move()

    async def _settled(self) -> None:
        mark = self._pending.mark()
        self._flushing += 1
        try:
            self._wake.set()
            while not self._pending.is_settled(mark):
                await self._move()
        finally:
            self._flushing -= 1

    async def _move(self) -> None:
        """Wait until something was settled, or went wrong."""
        await self._moved.wait()
        if self._bug is not None:
            raise self._bug

    def _tell_moved(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def _on_moved(self, bug: BaseException | None) -> None:
        if bug is not None:
            self._bug = bug
        self._wake.set()
        self._tell_moved()

    # The driver.

    async def _drive(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._is_due():
                    await self._send_in_turn()
                self._troubles.look()
                self._tell_moved()
        except Exception as error:
            self._bug = error
            self._tell_moved()
            raise

    async def _send_in_turn(self) -> None:
        """Send what is ready; what comes next lingers if anything was: what waits for its actor's head is not sent yet."""
        before = self.stats().put - self._pending.queued
        await self._send()
        if self._linger.linger_s and self.stats().put - self._pending.queued != before:
            self._linger.begin()

    def _is_due(self) -> bool:
        """Whether to send now; if not, the driver is woken when it is time."""
        hurried = bool(self._flushing) or self._closing or self._pending.is_full() or not self._pending.has_room()
        return self._linger.is_over(hurried=hurried, waits=self._pending.queued > 0)

    async def _send(self) -> None:
        await self._departures.send()

    def _tick(self) -> None:
        """Let a round of the clock pass."""
        if self._pending.tick(ROUNDS):
            self._wake.set()
        self._timer = asyncio.get_running_loop().call_later(self._attempt_s / ROUNDS, self._tick)

    # The end.

    async def _drain(self) -> None:
        """Wait for all that was taken, and for what other threads were just pulling."""
        while self.stats().pending:
            await self._settled()

    async def _leave(self, error: BaseException) -> None:
        """Finish what is on its way, and send nothing more."""
        while self.stats().pending:
            self._ledger.drop_queued(AetherError(f"not sent: the pipeline was left by {type(error).__name__}"))
            await self._settled()

    async def _close(self) -> None:
        self._closed = True
        self._linger.cancel()
        if self._timer is not None:
            self._timer.cancel()
        await self._troubles.close([self._driver] if self._driver is not None else [])
        self._troubles.abandon()
        self._ledger.forget_callers()
        self._tell_moved()
        await self._departures.aclose()
