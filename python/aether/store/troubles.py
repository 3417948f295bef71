"""What an ingestion pipeline does beside sending: it settles commits in doubt, and reads what it must know of its actors."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

from aether._native import Commit, Head, actor_subject
from aether.errors import AetherError, DecodeError, OutcomeUnknownError
from aether.store.doubts import Doubt, Doubts
from aether.store.ingesting import is_verdict, too_many_ids
from aether.store.reading import ActorReader

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from aether._native import Pending
    from aether.nats.connection import Connection
    from aether.nats.messages import Message
    from aether.nats.stream_log import StreamLog
    from aether.store.commit_writer import Writer
    from aether.store.doubts import Ending
    from aether.store.ingest_base import OnConflict
    from aether.store.ingesting import Ledger

__all__ = ["NOT_SENT", "Troubles"]

_LOG = logging.getLogger("aether.store")

DOUBTS_AT_ONCE = 64
HEADS_AT_ONCE = 256
READS_AT_ONCE = 32
WINDOW_COMMITS = 64

NOT_SENT = "not sent: the pipeline was closed before"


class Troubles:
    """Commits in doubt and heads that are not known, each settled by a task, a bounded number at once.

    Args:
        pending: the bookkeeping.
        ledger: where ends are told.
        connection, log, writer, namespace: the store's.
        on_conflict, skip_known, known_ids_max: of `EventStore.ingest`.
        attempt_s: how long an answer is waited for, in seconds.
        moved: called when something was settled.
    """

    _at_once = DOUBTS_AT_ONCE
    """How many commits in doubt are settled at a time."""
    _reads_at_once = 1
    """How many batches of heads are read at a time."""

    def __init__(
        self,
        pending: Pending,
        ledger: Ledger,
        *,
        connection: Connection,
        log: StreamLog,
        writer: Writer,
        namespace: str,
        on_conflict: OnConflict,
        skip_known: bool,
        known_ids_max: int,
        attempt_s: float,
        moved: Callable[[BaseException | None], None],
    ) -> None:
        self._pending, self._ledger = pending, ledger
        self._connection, self._log, self._namespace = connection, log, namespace
        self._skip_known, self._known_ids_max = skip_known, known_ids_max
        self._attempt_s = attempt_s
        self._moved = moved
        self._doubts = Doubts(writer, log, renumber=on_conflict == "renumber", skip_known=skip_known)
        self._waiting: deque[Doubt] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reads = 0

    def look(self) -> None:
        """Begin with what there is to do."""
        deadline = asyncio.get_running_loop().time() + self._log.timeout_s
        while troubles := self._pending.troubles(HEADS_AT_ONCE):
            # Its time runs from when it was sent, and silence has taken some of it.
            self._waiting.extend(
                Doubt(*trouble, deadline - (self._attempt_s if trouble[1] == "silent" else 0.0)) for trouble in troubles
            )
        while self._waiting and len(self._tasks) < self._at_once:
            self._settle(self._waiting.popleft())
        while self._reads < self._reads_at_once and (actors := self._pending.headless(HEADS_AT_ONCE)):
            self._reads += 1
            self._spawn(self._read_heads(dict(actors), deadline), self._read_ended)

    def _read_ended(self, _: asyncio.Task[None]) -> None:
        self._reads -= 1

    def _spawn(self, work: Coroutine[None, None, Any], then: Callable[[asyncio.Task[Any]], None] | None = None) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        if then is not None:
            task.add_done_callback(then)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._moved(None if task.cancelled() else task.exception())

    # Commits in doubt.

    def _settle(self, doubt: Doubt) -> None:
        """Find out what became of a commit. Its end is told to a callback: a task that is cancelled may never have begun."""
        self._log.reached = max(self._log.reached, self._pending.reached)
        self._spawn(self._doubts.settle(doubt, self._connection.max_payload), partial(self._account, doubt))

    def _account(self, doubt: Doubt, task: asyncio.Task[Ending | None]) -> None:
        """Account for each event of a commit that was in doubt."""
        if task.cancelled() or task.exception() is not None:
            self._give_up(doubt, may_be_stored=doubt.may_be_written)
            return
        ending = task.result()
        if ending is None:
            return  # it was accounted for
        self._ledger.settle(doubt.ticket, doubt.put(), ending.fates)
        if ending.error is not None and not is_verdict(ending.error):
            self._ledger.halt(ending.error)

    def _give_up(self, doubt: Doubt, *, may_be_stored: bool) -> None:
        """Account for a commit whose end nobody waits for any more."""
        error = OutcomeUnknownError(doubt.actor_id, self._log.timeout_s) if may_be_stored else AetherError(NOT_SENT)
        self._ledger.give_up(doubt.ticket, doubt.put(), "unknown" if may_be_stored else "failed", error)

    async def close(self, others: Sequence[asyncio.Task[Any]]) -> None:
        """End all tasks, and these others."""
        tasks = [*self._tasks, *others]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def abandon(self) -> None:
        """Account for what nobody waits for any more."""
        self._pending.lose()
        self._ledger.drop_queued(AetherError(NOT_SENT))
        while troubles := self._pending.troubles(HEADS_AT_ONCE):
            self._waiting.extend(Doubt(*trouble, 0.0) for trouble in troubles)
        while self._waiting:
            doubt = self._waiting.popleft()
            self._give_up(doubt, may_be_stored=doubt.may_be_stored)

    # Heads.

    async def _read_heads(self, actors: dict[str, int], deadline: float) -> None:
        """Read the heads of these actors, all at once; where known ids are skipped, their events too, from these versions on."""
        names = list(actors)
        try:
            subjects = [actor_subject(self._namespace, name) for name in names]
            latest = await self._log.last_each(subjects, deadline)
            stored = {name: message for name, message in zip(names, latest, strict=True) if message is not None}
            for name in names:
                if name not in stored:
                    # It is new. Should that be wrong, the guard tells.
                    del actors[name]
                    self._pending.found(name, Head())
            if self._skip_known:
                slots = asyncio.Semaphore(READS_AT_ONCE)
                reads = [self._learn(actors, name, message, slots) for name, message in stored.items()]
                self._moved(None)  # new ones need not wait
                await asyncio.gather(*reads)
            else:
                for name, message in stored.items():
                    self._take_head(actors, name, message)
        except AetherError as error:
            _LOG.info("heads of %d actors: %s", len(actors), error)
            for name in actors:
                self._doubts.unread[name] = error
        finally:
            for name in actors:
                self._pending.found(name, None)  # each by itself: it is damaged, or cannot be read now

    def _take_head(self, actors: dict[str, int], name: str, message: Message) -> None:
        try:
            commit = Commit.decode(message.body)
        except DecodeError:
            return  # the writer will say where
        if commit.actor_id == name:
            del actors[name]
            self._pending.found(name, commit.head(message.position))

    async def _learn(self, actors: dict[str, int], name: str, message: Message, slots: asyncio.Semaphore) -> None:
        """Read what an actor holds; what cannot be read is told with its next events."""
        loop = asyncio.get_running_loop()
        async with slots:
            try:
                reader = ActorReader(self._log, self._namespace, name)
                tip = reader.tip_at(message)
                if tip.commit.version >= actors[name]:
                    windows = reader.windows(tip, actors[name], WINDOW_COMMITS, lambda: loop.time() + self._log.timeout_s)
                    async with aclosing(windows):
                        async for placed in windows:
                            events = [event for _, commit in placed for event in commit.events(actors[name])]
                            if not self._pending.learn(name, events):
                                raise too_many_ids(name, self._known_ids_max)
            except AetherError as error:
                self._doubts.unread[name] = error
                return
            del actors[name]
            self._pending.found(name, tip.commit.head(tip.position))
            self._moved(None)
