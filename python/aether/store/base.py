"""What an event store is: its protocols, and the values that it gives back.

`aether.testing.StoreContract` says the same as tests; every store passes it unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from aether.event import Event
from aether.store.ingest_base import COMMIT_EVENTS_MAX, IN_FLIGHT_MAX, KNOWN_IDS_MAX, PENDING_BYTES_MAX, PENDING_MAX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from typing import Any

    from aether._native import ArrowBatch, ArrowTable
    from aether.errors import AetherError
    from aether.event import NewEvent, Snapshot
    from aether.store.ingest_base import IngestPipeline, OnConflict

__all__ = [
    "Appended",
    "ArrowStream",
    "EventBatch",
    "EventStore",
    "SnapshotStore",
    "StoreInfo",
]


class Appended(NamedTuple):
    """What an append did.

    Attributes:
        version: the actor's latest version now, that of the last event appended.
        position: the commit's place in its namespace.
    """

    version: int
    position: int


class EventBatch(list[Event]):
    """Events of whole commits, in position order.

    Attributes:
        position: everything up to and with this position was read: `read_all(after=batch.position)` goes on behind it.
    """

    __slots__ = {"position": "Everything up to and with this position was read."}

    def __init__(self, events: Iterable[Event], position: int) -> None:
        super().__init__(events)
        self.position = position

    def __repr__(self) -> str:
        return f"<EventBatch: {len(self)} events up to position {self.position}>"


class PlacedBatch(EventBatch):
    """An `EventBatch` that knows where each event lies; what an export reads.

    Attributes:
        positions: the position of each event, in their order.
    """

    __slots__ = {"positions": "The position of each event, in their order."}

    def __init__(self, events: Iterable[Event], positions: list[int], position: int) -> None:
        super().__init__(events, position)
        self.positions = positions


@runtime_checkable
class ArrowStream(Protocol):
    """Events as Arrow record batches; `arrow` of a store makes it. Each iteration is a read of its own.

    In `aether.sync` it is itself what Arrow's tools read, with `__arrow_c_stream__`: `polars.DataFrame(store.arrow())`,
    `pyarrow.RecordBatchReader.from_stream(store.arrow())`, or by its name in DuckDB's SQL. They ask for each batch when they
    want it, in whatever thread. An error then reaches them as text.

    Its columns: `position`, `actor_id`, `event_type`, `version`, `id`, `timestamp` (ns, UTC), `data` (msgpack, as it is stored),
    `data_json` (null where JSON cannot say it), `metadata_json` (null where there is none).
    """

    def __aiter__(self) -> AsyncIterator[ArrowBatch]:
        """Iterate over the batches, in position order and bounded memory.

        A batch has whole commits and is never empty; its `position` is where to go on from.

        Raises:
            CorruptEventError: as `EventStore.read_all` does, once everything before it has been given out.
        """
        ...

    async def collect(self) -> ArrowTable:
        """Read everything into memory, however much it is.

        Raises:
            CorruptEventError: a message that is to be read is damaged, foreign or gone.
        """
        ...

    def __arrow_c_schema__(self) -> object:
        """Return the columns, as an "arrow_schema" capsule."""
        ...


class StoreInfo(NamedTuple):
    """What a store is and what its acks mean.

    Attributes:
        store: "memory" or "jetstream".
        namespace: the namespace, "" in memory.
        transport: how messages travel: "lane"; "nats-py" over a borrowed client or WebSocket; "none" in memory.
        server_version: the server's version, "" in memory.
        storage: "file" or "memory".
        replicas: how many servers hold each acked commit.
        sync: when an acked commit is on the disk itself, in words; "unknown" where the server does not tell.
        commit_bytes_max: the largest commit in bytes, headers included.
    """

    store: str
    namespace: str
    transport: str
    server_version: str
    storage: str
    replicas: int
    sync: str
    commit_bytes_max: int

    @property
    def ack_means(self) -> str:
        """One sentence that says what survives what."""
        if self.store == "memory":
            return "held in this process's memory, gone with it"
        kept = "one server" if self.replicas == 1 else f"{self.replicas // 2 + 1} of {self.replicas} servers"
        return f"held by {kept} in {self.storage} storage; synced to disk: {self.sync}"


@runtime_checkable
class EventStore(Protocol):
    """Events by actor, in strictly increasing versions: the optimistic concurrency of Young's and Vernon's event stores.

    A *commit* is one append of 1..n events of one actor: it is stored whole or not at all.
    """

    async def save_event(self, event: Event) -> int:
        """Store one event if its version is greater than the actor's latest, and return the commit's position.

        Saving an event that is already stored (equal as a whole) succeeds and returns its position, so retries are safe for ever.

        Raises:
            VersionConflictError: the actor is already at this version or beyond.
            CommitTooLargeError: the event does not fit one message.
            OutcomeUnknownError: it was sent, and the deadline passed without an answer.
        """
        ...

    async def save_events(self, events: Iterable[Event]) -> int:
        """Store the events of one actor as one commit, all or nothing, and return its position.

        Their versions must strictly increase, and the first must be greater than the actor's latest.
        If all of them are stored already (each equal as a whole) the position of the last one is returned.

        Raises:
            ValueError: no events, several actors, or versions that do not increase.
            VersionConflictError: the actor is already at the first event's version or beyond.
        """
        ...

    async def append(
        self, actor_id: str, events: NewEvent | Sequence[NewEvent], *, expected_version: int | None = None
    ) -> Appended:
        """Number the events latest + 1, + 2, … and store them as one commit.

        An id stands for one event. The very same `NewEvent` (equal id, time and content) appended by two stores at once, on top
        of the same latest version, may be stored once, and both are told its version.

        Args:
            actor_id: whose events these are, any string of 1 to 255 UTF-8 bytes.
            events: one or more, in order.
            expected_version: the latest version must be exactly this (0: the actor must be new); None: any.

        Raises:
            VersionConflictError: `expected_version` is given and is not the latest version.
        """
        ...

    async def get_events(self, actor_id: str, from_version: int = 0, *, limit: int | None = None) -> list[Event]:
        """Return the actor's events in version order, from `from_version` (inclusive), at most `limit`."""
        ...

    def read_events(self, actor_id: str, from_version: int = 0, *, batch_size: int = 1000) -> AsyncIterator[list[Event]]:
        """Iterate over the actor's events in version order, in batches of at most `batch_size`, in bounded memory.

        What was there when iteration began is read; no batch is empty.
        """
        ...

    def read_all(
        self,
        after: int = 0,
        *,
        batch_size: int = 1000,
        actor_id: str | None = None,
        actor_prefix: str | None = None,
        shards: Iterable[int] | None = None,
        event_types: Iterable[str] | None = None,
    ) -> AsyncIterator[EventBatch]:
        """Iterate over the namespace in position order, in bounded memory, up to the last position when iteration began.

        A batch holds whole commits and is never empty; its `position` is where to go on from.

        Args:
            after: the position behind which to begin; 0: from the first.
            batch_size: how many events a batch has at most, unless one commit alone has more.
            actor_id: only events of this actor.
            actor_prefix: only events of actors whose id begins so.
            shards: only events of actors in these shards, 0 to 1020; each actor belongs to one for ever.
            event_types: only events of these types; a commit then yields those of its events.

        Raises:
            CorruptEventError: a message that is to be read is damaged, foreign or gone. All events before it have been given
                out, and `read_all(after=error.position)` goes on behind it.
        """
        ...

    async def get_latest_version(self, actor_id: str) -> int:
        """Return the actor's latest version; 0 means it has no event yet."""
        ...

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
        """Return a pipeline for many events of many actors: `async with store.ingest() as pipeline`.

        It takes events, which keep their versions, and pairs of an actor id and a `NewEvent`, which are numbered as `append`
        does when their commit is made.

        Args:
            pending_max: events put and not settled before `put` waits, at most 1,000,000.
            pending_bytes_max: their bytes before `put` waits.
            in_flight_max: commits on their way at once, each of another actor, at most 65,536.
            commit_events_max: events of one actor that waited together and become one commit.
            commit_bytes_max: the bytes of a commit that events share; one event alone may pass it. None: what the server takes.
            linger_s: how long to let events gather before they are sent, in seconds, 0 to 60: nothing is sent within this time
                of what was sent last, unless a commit is full, `put` waits for room, or somebody flushes.
            skip_known: read the ids that an actor holds before its first commit. An event whose id is there with the same
                content (type, time, data, metadata) is "already_stored", and one with other content a conflict. So new events
                may be put again, in whatever process.
            known_ids_max: how many ids are remembered for that, about 64 bytes each; the actors used longest ago are read anew.
            on_conflict: what becomes of an event whose version another event has. "fail": it is told as a failure; "skip": it
                is counted, and told to `on_failure` and as an outcome, and no `IngestError` is raised for it; "renumber": it is
                appended with a new version. An id that is known with other content is a conflict in any case.
            on_failure: called with each event that is not stored, as it was put, and its error; it must not raise.
        """
        ...


@runtime_checkable
class SnapshotStore(Protocol):
    """The latest snapshot of each actor: a shortcut that never changes what a load yields."""

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep this snapshot if none of a later version is kept.

        Raises:
            VersionConflictError: the snapshot is newer than the actor's events (a snapshot never runs ahead of the log).
        """
        ...

    async def get_latest_snapshot(self, actor_id: str) -> Snapshot | None:
        """Return the snapshot of the highest version, or None. A damaged, unknown or too new one is ignored, never trusted."""
        ...
