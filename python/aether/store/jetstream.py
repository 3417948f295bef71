"""The store on NATS JetStream: one message for each commit, guarded by the actor's own subject."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Literal

from aether._native import EventFilter, check_actor_id, events_in
from aether.errors import DeadlineError
from aether.nats.connection import Connection
from aether.nats.pauses import pause
from aether.nats.stream_log import StreamLog
from aether.nats.streams import StreamFacts, open_streams, wrong_mode
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
from aether.store.base import (
    COMMIT_EVENTS_MAX,
    IN_FLIGHT_MAX,
    KNOWN_IDS_MAX,
    PENDING_BYTES_MAX,
    PENDING_MAX,
    Appended,
    StoreInfo,
)
from aether.store.commit_writer import CommitWriter
from aether.store.guarded_write import AppendRequest, SaveRequest
from aether.store.pipeline import JetStreamPipeline
from aether.store.reading import ActorReader
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
    from aether.store.base import ArrowStream, EventBatch, IngestPipeline, OnConflict, PlacedBatch
    from aether.store.commit_writer import Writer
    from aether.store.reading import Tip

__all__ = ["JetStreamEventStore"]

HEADS_MAX = 100_000
FIRST_WINDOW = 64
"""How many commits a read in batches begins with, before it knows their size."""


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
        self._set_up(Connection(url_or_client, timeout_s, options), namespace, timeout_s, (replicas, storage), None)
        self._writer: Writer = CommitWriter(self._connection, self._events, namespace, heads_max)
        self._snapshots = self._keeper()

    def _set_up(
        self,
        connection: Connection,
        namespace: str,
        timeout_s: float,
        asked: tuple[int | None, Literal["file", "memory"] | None],
        guard: Literal["shard"] | None,
    ) -> None:
        """Begin what a store on any connection has, whoever writes; the writer and the snapshots' keeper come after it."""
        self._connection, self._namespace, self._timeout_s = connection, namespace, timeout_s
        self._asked, self._guard = asked, guard
        self._events = StreamLog(connection, events_stream(namespace), timeout_s)
        self._facts: StreamFacts | None = None
        self._opening = asyncio.Lock()

    _pipeline: type[JetStreamPipeline] = JetStreamPipeline

    def _keeper(self) -> SnapshotKeeper:
        snapshots = StreamLog(self._connection, snapshots_stream(self._namespace), self._timeout_s)
        return SnapshotKeeper(self._connection, snapshots, self._events, self._namespace, self._writer.heads)

    async def __aenter__(self) -> Self:
        try:
            await self._open()
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

    async def _open(self) -> float:
        """Open what is not open yet; return the deadline of this call."""
        deadline = self._deadline()
        if self._facts is None:
            async with self._opening:
                if self._facts is None:
                    await self._connection.ready(deadline)
                    replicas, storage = self._asked
                    self._facts = await open_streams(
                        self._connection,
                        self._namespace,
                        replicas=replicas,
                        storage=storage,
                        guard=self._guard,
                        deadline=deadline,
                        timeout_s=self._timeout_s,
                    )
                    self._events.reached = max(self._events.reached, self._facts.reached)
        return deadline

    async def _open_to_write(self) -> float:
        """Open, and refuse to write to a namespace whose writers fence each other by shard; return the deadline of this call."""
        deadline = await self._open()
        if self._facts is not None and self._facts.guard != (self._guard or "actor"):
            raise wrong_mode(self._namespace, self._facts.guard)
        return deadline

    def _reader(self, actor_id: str) -> ActorReader:
        return ActorReader(self._events, self._namespace, actor_id)

    async def save_event(self, event: Event) -> int:
        """Store one event if its version is greater than the actor's latest; see `EventStore.save_event`."""
        return (await self._writer.write(SaveRequest([event]), await self._open_to_write())).position

    async def save_events(self, events: Iterable[Event]) -> int:
        """Store the events of one actor as one commit, all or nothing; see `EventStore.save_events`."""
        return (await self._writer.write(SaveRequest(list(events)), await self._open_to_write())).position

    async def append(
        self, actor_id: str, events: NewEvent | Sequence[NewEvent], *, expected_version: int | None = None
    ) -> Appended:
        """Number the events latest + 1, + 2, … and store them as one commit; see `EventStore.append`."""
        check_expected_version(expected_version)
        request = AppendRequest(actor_id, events, expected_version)
        written = await self._writer.write(request, await self._open_to_write())
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
            opened=self._open_to_write,
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
            return await self._limited(actor_id, from_version, limit)
        reader = self._reader(actor_id)
        deadline = await self._open()
        tip = await self._tip(reader, actor_id, deadline)
        if tip is None:
            return []
        return events_in(await reader.all(tip, from_version, deadline), from_version)

    async def _limited(self, actor_id: str, from_version: int, limit: int) -> list[Event]:
        events: list[Event] = []
        async with aclosing(self._read(actor_id, from_version, limit)) as parts:
            async for part in parts:
                events += part
                if len(events) >= limit:
                    break
        return events[:limit]

    async def read_events(self, actor_id: str, from_version: int = 0, *, batch_size: int = 1000) -> AsyncIterator[list[Event]]:
        """Iterate over the actor's events in batches of at most `batch_size`; see `EventStore.read_events`.

        Memory is bounded by the batch and about 8 MiB of messages; each batch may take `timeout_s`.
        """
        check_from_version(from_version)
        check_batch_size(batch_size)
        events: list[Event] = []
        async with aclosing(self._read(actor_id, from_version, FIRST_WINDOW)) as parts:
            async for part in parts:
                events += part
                whole = len(events) - len(events) % batch_size
                for start in range(0, whole, batch_size):
                    yield events[start : start + batch_size]
                del events[:whole]
        if events:
            yield events

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
        await self._open()
        return Replaying(self._events, self._namespace, wanted, self._deadline)

    async def _last_position(self) -> int:
        """Return the namespace's last position, from the leader."""
        return await self._events.last_position(await self._open())

    async def _read(self, actor_id: str, from_version: int, window: int) -> AsyncGenerator[list[Event]]:
        """Yield the actor's events in parts of bounded size; the first has the events of `window` commits."""
        reader = self._reader(actor_id)
        tip = await self._tip(reader, actor_id, await self._open())
        if tip is None:
            return
        async with aclosing(reader.windows(tip, from_version, window, self._deadline)) as windows:
            async for placed in windows:
                yield events_in(placed, from_version)

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._timeout_s

    async def get_latest_version(self, actor_id: str) -> int:
        """Return the actor's latest version, from the leader; 0 means it has no event yet."""
        tip = await self._tip(self._reader(actor_id), actor_id, await self._open())
        return 0 if tip is None else tip.commit.version

    async def _tip(self, reader: ActorReader, actor_id: str, deadline: float) -> Tip | None:
        """Return the actor's last commit, none in front of one that this store has seen; remember it for the next write.

        A leader that was deposed behind a partition, or has just begun, may answer with an older one: it is asked again.
        """
        heads, attempt = self._writer.heads, 0
        while True:
            tip = await reader.tip(deadline)
            known = heads.get(actor_id)
            if tip is not None and (known is None or known.sequence < tip.position):
                heads.put(actor_id, tip.commit.head(tip.position))
            if known is None or (tip is not None and known.sequence <= tip.position):
                return tip
            attempt += 1
            try:
                await pause(attempt, deadline, f"reading {actor_id!r} up to its position {known.sequence}", self._timeout_s)
            except DeadlineError:
                heads.forget(actor_id)  # should the stream have been made anew, the next call starts without it
                raise

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep this snapshot if none of a later version is kept; see `SnapshotStore.save_snapshot`."""
        await self._snapshots.save(snapshot, await self._open_to_write())

    async def get_latest_snapshot(self, actor_id: str) -> Snapshot | None:
        """Return the snapshot of the highest version, or None; see `SnapshotStore.get_latest_snapshot`."""
        check_actor_id(actor_id)
        return await self._snapshots.latest(actor_id, await self._open())

    async def repair(self, actor_id: str) -> tuple[int, ...]:
        """Make readers of this actor step over its damaged or foreign messages.

        Nothing is deleted: a commit without events is appended that names their positions.

        Returns:
            The positions that are now stepped over; none: nothing was damaged, and nothing was written.

        Raises:
            CorruptEventError: a later version of Aether wrote to this actor; upgrade, its events are whole.
        """
        check_actor_id(actor_id)
        return await self._writer.repair(actor_id, await self._open_to_write())

    async def info(self) -> StoreInfo:
        """Say what an ack means here, and what server this is."""
        await self._open()
        transport = await self._connection.ready(asyncio.get_running_loop().time() + self._timeout_s)
        facts = self._facts or StreamFacts("", 0, 0, "")
        embedded = self._connection.embedded
        return StoreInfo(
            store="jetstream",
            namespace=self._namespace,
            transport=transport.name,
            server_version=self._connection.server_version,
            storage=facts.storage,
            replicas=facts.replicas,
            sync="unknown: the server does not tell (sync_interval is 2 minutes by default)"
            if embedded is None
            else embedded.sync,
            commit_bytes_max=self._connection.max_payload,
        )
