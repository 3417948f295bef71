"""Drives guarded writes over the network: the I/O around `GuardedWrite`, with deadlines, and one write at a time per actor."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple, Protocol

from aether._native import Head, HeadCache, actor_subject, encode_commit, position_of
from aether.errors import AetherError, CorruptEventError, DecodeError, OutcomeUnknownError, VersionConflictError
from aether.nats.errors import NoRespondersError, UnansweredError
from aether.nats.pauses import pause
from aether.nats.stream_log import guard_bytes
from aether.store.guarded_write import GuardedWrite, SaveRequest, Step
from aether.store.reading import ActorReader
from aether.store.turns import Turns

if TYPE_CHECKING:
    from aether.nats.connection import Connection
    from aether.nats.messages import Message
    from aether.nats.stream_log import StreamLog
    from aether.store.guarded_write import WriteRequest
    from aether.store.reading import Placed

__all__ = ["CommitWriter", "Writer", "Written", "find_stored"]


class Written(NamedTuple):
    """What a write did.

    Attributes:
        version: the actor's latest version.
        position: where the last of the events lies.
        found: they were there already.
    """

    version: int
    position: int
    found: bool


class Writer(Protocol):
    """Whoever writes a store's commits.

    Attributes:
        heads: what was seen of actors.
    """

    heads: HeadCache

    async def write(self, request: WriteRequest, deadline: float) -> Written:
        """Store the request's events as one commit."""
        ...

    async def repair(self, actor_id: str, deadline: float) -> tuple[int, ...]:
        """Make readers of this actor step over what is damaged."""
        ...


class CommitWriter:
    """Writes commits of a namespace.

    Args:
        connection: the open connection, which knows how large a message may be.
        log: the namespace's event stream.
        namespace: the namespace.
        heads_max: of how many actors the head is remembered, so that their next commit costs one round trip.
    """

    def __init__(self, connection: Connection, log: StreamLog, namespace: str, heads_max: int) -> None:
        self._connection = connection
        self._log = log
        self._namespace = namespace
        self.heads = HeadCache(heads_max)
        self._turns = Turns[str](log.timeout_s)

    async def write(self, request: WriteRequest, deadline: float) -> Written:
        """Store the request's events as one commit.

        Raises:
            VersionConflictError: the actor is elsewhere than the request expects.
            OutcomeUnknownError: sent, and the deadline passed before anybody could say what became of it.
        """
        actor_id = request.actor_id
        await self._turns.take(actor_id, deadline, f"waiting for earlier writes to {actor_id!r}")
        try:
            return await self._write(request, deadline)
        finally:
            self._turns.give_back(actor_id)

    async def _write(self, request: WriteRequest, deadline: float) -> Written:
        actor_id = request.actor_id
        subject = actor_subject(self._namespace, actor_id)
        write = GuardedWrite(request, self.heads.get(actor_id))
        repeats = 0
        try:
            while write.step not in (Step.DONE, Step.CONFLICT):
                if write.repeats > repeats:
                    repeats = write.repeats
                    await pause(repeats, deadline, f"writing to {actor_id!r}", self._log.timeout_s)
                await self._do(write, subject, deadline)
        except AetherError as error:
            # Should what is remembered be the trouble (a stream made anew), the next write starts without it.
            self.heads.forget(actor_id)
            if write.in_doubt:
                raise OutcomeUnknownError(actor_id, self._log.timeout_s) from error
            raise
        if write.head is not None and write.head.sequence:
            self.heads.put(actor_id, write.head)
        if write.step is Step.CONFLICT:
            raise VersionConflictError(actor_id, request.expected, write.actual)
        return Written(write.version, write.position, write.found)

    async def _do(self, write: GuardedWrite, subject: str, deadline: float) -> None:
        """Do the write's next step, and tell it what came of it."""
        try:
            match write.step:
                case Step.SEND:
                    await self._send(write, subject, deadline)
                case Step.READ_HEAD:
                    write.on_head(await self._log.last(subject, deadline))
                case Step.LOOK_BEHIND:
                    write.on_behind(await self._log.next(subject, _head(write).sequence + 1, deadline))
                case Step.FIND_STORED:
                    write.on_stored(await find_stored(self._log, self._namespace, write.request, write.latest, deadline))
        except DecodeError as error:
            position = write.latest.position if write.latest is not None else 0
            raise CorruptEventError(self._log.stream, position, write.request.actor_id, str(error)) from error

    async def _send(self, write: GuardedWrite, subject: str, deadline: float) -> None:
        head = _head(write)
        if not write.body:
            write.since = self._log.reached
            write.body = encode_commit(
                write.request.actor_id,
                write.events,
                head,
                header_bytes=guard_bytes(head.sequence),
                bytes_max=self._connection.max_payload,
            )
        try:
            published = await self._log.publish(subject, write.body, head.sequence, deadline)
        except NoRespondersError:
            write.on_unheard()
        except UnansweredError:
            write.on_unanswered()
        else:
            if published.refused:
                write.on_refused()
            else:
                write.on_ack(published.position)

    async def repair(self, actor_id: str, deadline: float) -> tuple[int, ...]:
        """Make readers of this actor step over what is damaged; return those positions, none where nothing is.

        Appends a commit without events that names them, on top of the last good commit, under the guard as any write.
        """
        subject = actor_subject(self._namespace, actor_id)
        attempt = 0
        in_doubt: tuple[int, ...] = ()
        try:
            while True:
                latest = await self._log.last(subject, deadline)
                if latest is None:
                    return ()
                good, damaged = await ActorReader(self._log, self._namespace, actor_id).survey(latest, deadline)
                if not damaged:
                    return in_doubt
                body = encode_commit(
                    actor_id,
                    [],
                    Head() if good is None else good.head,
                    header_bytes=guard_bytes(latest.position),
                    bytes_max=self._connection.max_payload,
                    passed=damaged,
                )
                try:
                    if not (await self._log.publish(subject, body, latest.position, deadline)).refused:
                        return tuple(damaged)
                    in_doubt = tuple(damaged)  # what became of it shows in the next survey
                except UnansweredError:
                    in_doubt = tuple(damaged)
                except NoRespondersError:
                    pass  # nothing changed: the next round tries again
                attempt += 1
                await pause(attempt, deadline, f"repairing {actor_id!r}", self._log.timeout_s)
        except AetherError as error:
            if in_doubt:
                raise OutcomeUnknownError(actor_id, self._log.timeout_s) from error
            raise


def _head(write: GuardedWrite) -> Head:
    if write.head is None:
        raise AssertionError("a write has a head before it is sent")
    return write.head


async def find_stored(
    log: StreamLog, namespace: str, request: WriteRequest, latest: Message | None, deadline: float
) -> int | None:
    """Return the position of the last of the very same events up to the actor's `latest` message, if all of them are stored."""
    if not isinstance(request, SaveRequest) or latest is None:
        return None
    reader = ActorReader(log, namespace, request.actor_id)
    tip = reader.tip_at(latest)
    stored: Placed = []
    async with aclosing(reader.windows(tip, request.first, len(request.events), lambda: deadline)) as windows:
        async for placed in windows:
            stored += placed
            if placed[-1][1].version >= request.last:
                break
    return position_of(stored, request.events)
