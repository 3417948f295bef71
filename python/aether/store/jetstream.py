"""The store on NATS JetStream: one message for each commit, guarded by the actor's own subject."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Literal

from aether._native import EventFilter, check_actor_id
from aether.nats.connection import Connection
from aether.nats.stream_log import StreamLog
from aether.nats.subjects import check_namespace, events_stream, snapshots_stream
from aether.store.arguments import (
    check_after,
    check_batch_size,
    check_expected_version,
    check_from_version,
    check_ingest_bounds,
    check_ingest_ways,
    check_limit,
    check_placing,
)
from aether.store.arrow import ARROW_BATCH_SIZE, EventColumns
from aether.store.base import Appended
from aether.store.commit_writer import CommitWriter
from aether.store.guarded_write import AppendRequest, SaveRequest
from aether.store.ingest_base import COMMIT_EVENTS_MAX, IN_FLIGHT_MAX, KNOWN_IDS_MAX, PENDING_BYTES_MAX, PENDING_MAX
from aether.store.loading import ActorLoader
from aether.store.opening import Opening
from aether.store.pipeline import JetStreamPipeline
from aether.store.replaying import Replaying
from aether.store.snapshots import SnapshotKeeper

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Any, Self

    from nats.aio.client import Client

    from aether._native import ArrowRows
    from aether.errors import AetherError
    from aether.event import Event, NewEvent, Snapshot
    from aether.nats.connect_options import ConnectOptions
    from aether.store.base import ArrowStream, EventBatch, PlacedBatch, StoreInfo
    from aether.store.commit_writer import Writer
    from aether.store.ingest_base import IngestPipeline, OnConflict

__all__ = ["JetStreamEventStore"]

HEADS_MAX = 100_000


class JetStreamEventStore:
    """An `EventStore` and `SnapshotStore` on NATS JetStream.

    A plain call that connects at first use, or as an async context manager on enter. Safe for many tasks of one event loop;
    any number of processes may write to one namespace.

    Args:
        url_or_client: "nats://host:port" (several joined by commas), "embedded:DIR" for a server owned by this process, or a
            connected nats-py client, which is borrowed and stays open.
        namespace: 1 to 64 characters of A-Z, a-z, 0-9, `_` and `-`. Nothing of one is visible from another.
        timeout_s: what each call may take, in seconds, at most a day; `read_events` may take it for each batch.
        replicas: how many servers hold the namespace, 1 to 5; None: 1 for a new one, whatever it is for an existing one.
        storage: "file" or "memory"; None: file for a new one, whatever it is for an existing one.
        heads_max: of how many actors the latest version is remembered, so that an append to them takes one round trip; about
            200 bytes each.
        options: how to log in, and with which TLS, where the URL does not say it all; not beside a borrowed client or an
            embedded server.

    Raises:
        NamespaceMismatchError: on opening: the namespace's stream exists with other settings; on writing: it belongs to cluster
            nodes, and can only be read here.
        ServerUnavailableError: on opening: no server answers, or (`UnsupportedServerError`) it lacks what is needed.
    """

    def __init__(
        self,
        url_or_client: str | Client,
        *,
        namespace: str = "default",
        timeout_s: float = 10.0,
        replicas: int | None = None,
        storage: Literal["file", "memory"] | None = None,
        heads_max: int = HEADS_MAX,
        options: ConnectOptions | None = None,
    ) -> None:
        check_placing(timeout_s, replicas, storage)
        check_namespace(namespace)
        self._set_up(Connection(url_or_client, timeout_s, options), namespace, timeout_s, replicas=replicas, storage=storage)
        self._write_by(CommitWriter(self._connection, self._events, namespace, heads_max))

    def _set_up(
        self,
        connection: Connection,
        namespace: str,
        timeout_s: float,
        *,
        replicas: int | None,
        storage: Literal["file", "memory"] | None,
        guard: Literal["shard"] | None = None,
    ) -> None:
        """Begin what a store on any connection has, whoever writes; `_write_by` comes after it."""
        self._connection, self._namespace = connection, namespace
        self._events = StreamLog(connection, events_stream(namespace), timeout_s)
        self._opening = Opening(connection, self._events, namespace, replicas=replicas, storage=storage, guard=guard)

    _pipeline: type[JetStreamPipeline] = JetStreamPipeline

    def _write_by(self, writer: Writer) -> None:
        """Begin what shares the writer's memory of actors."""
        self._writer = writer
        self._actors = ActorLoader(self._events, self._namespace, writer.heads, self._opening)
        snapshots = StreamLog(self._connection, snapshots_stream(self._namespace), self._events.timeout_s)
        self._snapshots = SnapshotKeeper(self._connection, snapshots, self._events, self._namespace, writer.heads)

    async def __aenter__(self) -> Self:
        try:
            await self._opening.to_read()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the connection, and the server of an "embedded:DIR" URL; a borrowed client stays open."""
        await self._connection.aclose()

    def __repr__(self) -> str:
        return f"<JetStreamEventStore {self._namespace!r} at {self._connection.url}>"

    async def save_event(self, event: Event) -> int:
        """Store one event if its version is greater than the actor's latest; see `EventStore.save_event`."""
        return (await self._writer.write(SaveRequest([event]), await self._opening.to_write())).position

    async def save_events(self, events: Iterable[Event]) -> int:
        """Store the events of one actor as one commit, all or nothing; see `EventStore.save_events`."""
        return (await self._writer.write(SaveRequest(list(events)), await self._opening.to_write())).position

    async def append(
        self, actor_id: str, events: NewEvent | Sequence[NewEvent], *, expected_version: int | None = None
    ) -> Appended:
        """Number the events latest + 1, + 2, … and store them as one commit; see `EventStore.append`."""
        check_expected_version(expected_version)
        request = AppendRequest(actor_id, events, expected_version)
        written = await self._writer.write(request, await self._opening.to_write())
        return Appended(written.version, written.position)

    def ingest(
        self,
        *,
        pending_max: int = PENDING_MAX,
        pending_bytes_max: int = PENDING_BYTES_MAX,
        in_flight_max: int = IN_FLIGHT_MAX,
        commit_events_max: int = COMMIT_EVENTS_MAX,
        commit_bytes_max: int | None = None,
        linger_s: float = 0.0,
        skip_known: bool = False,
        known_ids_max: int = KNOWN_IDS_MAX,
        on_conflict: OnConflict = "fail",
        on_failure: Callable[[Any, AetherError], object] | None = None,
    ) -> IngestPipeline:
        """Return a pipeline for many events of many actors; see `EventStore.ingest`.

        A commit that is not answered in `timeout_s` is unknown. When the server answers none, or takes none, the pipeline
        stops: what was not sent fails, and the next call raises `IngestError`.
        """
        bounds: dict[str, Any] = {
            "pending_max": pending_max,
            "pending_bytes_max": pending_bytes_max,
            "in_flight_max": in_flight_max,
            "commit_events_max": commit_events_max,
            "commit_bytes_max": commit_bytes_max,
        }
        check_ingest_bounds(**bounds, known_ids_max=known_ids_max)
        check_ingest_ways(linger_s=linger_s, skip_known=skip_known, on_conflict=on_conflict)
        return self._pipeline(
            connection=self._connection,
            log=self._events,
            writer=self._writer,
            namespace=self._namespace,
            opened=self._opening.to_write,
            bounds=bounds,
            linger_s=linger_s,
            skip_known=skip_known,
            known_ids_max=known_ids_max,
            on_conflict=on_conflict,
            on_failure=on_failure,
        )

    async def get_events(self, actor_id: str, from_version: int = 0, *, limit: int | None = None) -> list[Event]:
        """Return the actor's events in version order, from `from_version` (inclusive), at most `limit`.

        For an actor that may not fit memory, or take longer than `timeout_s`, use `read_events`.

        Raises:
            CorruptEventError: a message of this actor is damaged or foreign.
        """
        check_from_version(from_version)
        check_limit(limit)
        if limit is not None:
            return await self._actors.first(actor_id, from_version, limit)
        return await self._actors.all(actor_id, from_version)

    async def read_events(self, actor_id: str, from_version: int = 0, *, batch_size: int = 1000) -> AsyncIterator[list[Event]]:
        """Iterate over the actor's events in batches of at most `batch_size`; see `EventStore.read_events`.

        Memory is bounded by the batch and about 8 MiB of messages; each batch may take `timeout_s`.
        """
        check_from_version(from_version)
        check_batch_size(batch_size)
        async with aclosing(self._actors.batches(actor_id, from_version, batch_size)) as batches:
            async for batch in batches:
                yield batch

    async def read_all(
        self,
        after: int = 0,
        *,
        batch_size: int = 1000,
        actor_id: str | None = None,
        actor_prefix: str | None = None,
        shards: Iterable[int] | None = None,
        event_types: Iterable[str] | None = None,
    ) -> AsyncIterator[EventBatch]:
        """Iterate over all actors' events in position order, in batches of whole commits; see `EventStore.read_all`.

        About 16 MiB of messages are asked for ahead; a batch ends early where it would hold more than 8 MiB. Each batch may take
        `timeout_s`, which begins anew whenever something arrives. What a filter by actor or shard leaves out is not read, and
        damage there is not noticed. Damage that `repair` passed is stepped over, except for a message that is gone altogether.
        """
        check_after(after)
        check_batch_size(batch_size)
        wanted = EventFilter(actor_id, actor_prefix, shards, event_types)
        replaying = await self._replaying(wanted)
        async with aclosing(replaying.batches(after, batch_size)) as batches:
            async for batch in batches:
                yield batch

    def arrow(
        self,
        after: int = 0,
        *,
        batch_size: int = ARROW_BATCH_SIZE,
        actor_id: str | None = None,
        actor_prefix: str | None = None,
        shards: Iterable[int] | None = None,
        event_types: Iterable[str] | None = None,
    ) -> ArrowStream:
        """Return what `read_all` reads as Arrow record batches; see `ArrowStream`.

        A batch has at most `batch_size` events, unless one commit alone has more, and ends with the commit that brings it to
        32 MiB. About 16 MiB of messages are asked for ahead.
        """
        check_after(after)
        check_batch_size(batch_size)
        wanted = EventFilter(actor_id, actor_prefix, shards, event_types)
        return EventColumns(lambda rows, limit: self._fill(rows, wanted, after, limit), batch_size)

    async def _fill(self, rows: ArrowRows, wanted: EventFilter, after: int, limit: int) -> AsyncGenerator[None]:
        """Put what is wanted into rows; yield after at most `limit` events, unless one commit alone has more."""
        replaying = await self._replaying(wanted)
        async with aclosing(replaying.fill(rows, after, limit)) as filling:
            async for _ in filling:
                yield

    async def _replay(
        self, wanted: EventFilter, after: int, batch_size: int, last: int | None = None
    ) -> AsyncGenerator[PlacedBatch]:
        """Yield what is wanted, as `read_all` does, and where it lies; not behind the position `last`."""
        replaying = await self._replaying(wanted)
        async with aclosing(replaying.placed(after, batch_size, last)) as batches:
            async for batch in batches:
                yield batch

    async def _replaying(self, wanted: EventFilter) -> Replaying:
        await self._opening.to_read()
        return Replaying(self._events, self._namespace, wanted, self._opening.deadline)

    async def _last_position(self) -> int:
        """Return the namespace's last position, from the leader."""
        return await self._events.last_position(await self._opening.to_read())

    async def get_latest_version(self, actor_id: str) -> int:
        """Return the actor's latest version, from the leader; 0 means it has no event yet."""
        return await self._actors.latest_version(actor_id)

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep this snapshot if none of a later version is kept; see `SnapshotStore.save_snapshot`."""
        await self._snapshots.save(snapshot, await self._opening.to_write())

    async def get_latest_snapshot(self, actor_id: str) -> Snapshot | None:
        """Return the snapshot of the highest version, or None; see `SnapshotStore.get_latest_snapshot`."""
        check_actor_id(actor_id)
        return await self._snapshots.latest(actor_id, await self._opening.to_read())

    async def repair(self, actor_id: str) -> tuple[int, ...]:
        """Make readers of this actor step over its damaged or foreign messages.

        Nothing is deleted: a commit without events is appended that names their positions.

        Returns:
            The positions that are now stepped over; none: nothing was damaged, and nothing was written.

        Raises:
            CorruptEventError: a later version of Aether wrote to this actor; upgrade, its events are whole.
        """
        check_actor_id(actor_id)
        return await self._writer.repair(actor_id, await self._opening.to_write())

    async def info(self) -> StoreInfo:
        """Say what an ack means here, and what server this is."""
        return await self._opening.info()
