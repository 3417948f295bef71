"""Snapshots on JetStream: a stream of their own that keeps one message an actor, written under a guard like any other."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aether.errors import AetherError, CommitTooLargeError, DecodeError, OutcomeUnknownError, VersionConflictError
from aether.event import Snapshot
from aether.nats.errors import NoRespondersError, UnansweredError
from aether.nats.pauses import pause
from aether.nats.stream_log import guard_bytes
from aether.nats.subjects import snapshot_subject
from aether.store.reading import ActorReader

if TYPE_CHECKING:
    from aether._native import HeadCache
    from aether.nats.connection import Connection
    from aether.nats.messages import Message
    from aether.nats.stream_log import StreamLog

__all__ = ["SnapshotKeeper"]

_LOG = logging.getLogger("aether.store")


class SnapshotKeeper:
    """Reads and writes the snapshots of a namespace.

    Args:
        connection: the open connection, which knows how large a message may be.
        snapshots: the namespace's snapshot stream.
        events: its event stream: a snapshot never runs ahead of it.
        namespace: the namespace.
        heads: what the store remembers of its actors.
    """

    def __init__(self, connection: Connection, snapshots: StreamLog, events: StreamLog, namespace: str, heads: HeadCache) -> None:
        self._connection = connection
        self._snapshots = snapshots
        self._events = events
        self._namespace = namespace
        self._heads = heads

    async def save(self, snapshot: Snapshot, deadline: float) -> None:
        """Keep the snapshot unless a later one is kept; one that is ahead of the log does not count.

        Raises:
            VersionConflictError: the snapshot is ahead of the actor's events.
            CommitTooLargeError: it does not fit one message.
        """
        if not isinstance(snapshot, Snapshot):
            raise TypeError(f"save_snapshot takes a Snapshot, not {type(snapshot).__name__}")
        await self._check_not_ahead(snapshot, deadline)
        subject, body = snapshot_subject(self._namespace, snapshot.actor_id), snapshot._to_bytes()  # noqa: SLF001 - its wire form
        attempt, in_doubt = 0, False
        try:
            while True:
                kept = await self._snapshots.last(subject, deadline)
                if await self._is_kept(snapshot, self._decode(kept, snapshot.actor_id), deadline):
                    return
                guard = 0 if kept is None else kept.position
                size = len(body) + guard_bytes(guard)
                if size > self._connection.max_payload:
                    raise CommitTooLargeError(snapshot.actor_id, size, self._connection.max_payload)
                try:
                    if not (await self._snapshots.publish(subject, body, guard, deadline)).refused:
                        return
                except NoRespondersError:
                    pass  # nothing changed: the next round tries again
                except UnansweredError:
                    in_doubt = True  # the next round finds it, or tries again
                attempt += 1
                await pause(attempt, deadline, f"saving a snapshot of {snapshot.actor_id!r}", self._snapshots.timeout_s)
        except AetherError as error:
            if in_doubt:
                raise OutcomeUnknownError(snapshot.actor_id, self._snapshots.timeout_s) from error
            raise

    async def _is_kept(self, snapshot: Snapshot, current: Snapshot | None, deadline: float) -> bool:
        """Say whether this snapshot or a later one is kept, by what is kept now."""
        if current is None or current.version < snapshot.version:
            return False
        return current == snapshot or (current.version > snapshot.version and not await self._is_ahead(current, deadline))

    async def _check_not_ahead(self, snapshot: Snapshot, deadline: float) -> None:
        known = self._heads.get(snapshot.actor_id)
        if known is not None and known.version >= snapshot.version:
            return  # versions only grow, so what was seen once is enough
        version = await self._event_version(snapshot.actor_id, deadline)
        if version < snapshot.version:
            raise VersionConflictError(snapshot.actor_id, snapshot.version, version)

    async def _event_version(self, actor_id: str, deadline: float) -> int:
        tip = await ActorReader(self._events, self._namespace, actor_id).tip(deadline)
        return 0 if tip is None else tip.commit.version

    async def _is_ahead(self, snapshot: Snapshot, deadline: float) -> bool:
        version = await self._event_version(snapshot.actor_id, deadline)
        if snapshot.version > version:
            _LOG.warning(
                "%s: the snapshot of %r at version %d is ahead of its events at %d; it is ignored",
                self._snapshots.stream,
                snapshot.actor_id,
                snapshot.version,
                version,
            )
        return snapshot.version > version

    async def latest(self, actor_id: str, deadline: float) -> Snapshot | None:
        """Return the actor's snapshot; None where there is none that can be trusted."""
        kept = await self._snapshots.last(snapshot_subject(self._namespace, actor_id), deadline)
        snapshot = self._decode(kept, actor_id)
        # The log is read after the snapshot, so that one written meanwhile does not seem to be ahead.
        if snapshot is None or await self._is_ahead(snapshot, deadline):
            return None
        return snapshot

    def _decode(self, message: Message | None, actor_id: str) -> Snapshot | None:
        if message is None:
            return None
        try:
            snapshot = Snapshot._from_bytes(message.body)  # noqa: SLF001 - its wire form
            if snapshot.actor_id != actor_id:
                raise DecodeError(-1, f"it is one of {snapshot.actor_id!r}")  # noqa: TRY301 - ignored as any other damage
        except DecodeError as error:
            _LOG.warning(
                "%s: the snapshot of %r at position %d is damaged (%s); it is ignored",
                self._snapshots.stream,
                actor_id,
                message.position,
                error,
            )
            return None
        return snapshot
