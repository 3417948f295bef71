"""What the demo does, step by step; each step returns what it measured."""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import importlib.resources
import time
from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec

from aether.cli import audit
from aether.cli.audit import Stored
from aether.cli.flights import Aircraft, fold
from aether.errors import VersionConflictError
from aether.event import NewEvent
from aether.ingest.records import parse_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aether.cli.audit import Audit
    from aether.event import Event
    from aether.nats.server import EmbeddedServer
    from aether.store.base import StoreInfo
    from aether.store.ingest_base import IngestOutcome
    from aether.store.jetstream import JetStreamEventStore

__all__ = ["Conflict", "DemoRun", "Ingestion", "Kill", "Replay"]

SAMPLE = "flights-sample.ndjson.gz"
LOADS_MAX = 32
"""How many aircraft are loaded at a time."""

PENDING_MAX = 1000
IN_FLIGHT_MAX = 64
"""Little enough that there is something left to do when the server is killed."""

GATE_AFTER = dt.timedelta(minutes=15)

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Kill(NamedTuple):
    """A kill of the server and its return.

    Attributes:
        acked: events acknowledged when it was dead.
        pid: the process that was killed.
        new_pid: the process that came back.
        down_s: how long it took from the signal until it served again, in seconds.
    """

    acked: int
    pid: int
    new_pid: int
    down_s: float


class Ingestion(NamedTuple):
    """The ingestion.

    Attributes:
        events: events acknowledged.
        actors: aircraft that they belong to.
        commits: commits that they made.
        seconds: how long it took, the outage included.
        kill: the kill in the middle.
    """

    events: int
    actors: int
    commits: int
    seconds: float
    kill: Kill


class Conflict(NamedTuple):
    """Two writers at one version.

    Attributes:
        actor_id: the aircraft.
        version: the version both had read.
        winner: the version that the first one's event got.
        error: what the second one was told.
        loser: the version that its event got after reloading.
    """

    actor_id: str
    version: int
    winner: int
    error: str
    loser: int


class Replay(NamedTuple):
    """State derived from the stored events.

    Attributes:
        aircraft: each aircraft's state.
        events: events that were replayed.
        seconds: how long loading and folding took.
        story: the events of the aircraft with the most.
    """

    aircraft: dict[str, Aircraft]
    events: int
    seconds: float
    story: list[Event]


class DemoRun:
    """One run of the demo.

    Args:
        server: the server, which is killed.
        store: the store on it.
        namespace: the store's namespace, empty.

    Attributes:
        total: events of the sample.
        acked: for each id, the acknowledged position and the event as it was meant: the demo's own record.
        killed: whether the server is away at this moment.
    """

    def __init__(self, server: EmbeddedServer, store: JetStreamEventStore, namespace: str) -> None:
        self.server = server
        self.namespace = namespace
        self._store = store
        self._sample = _sample()
        self._meant = _as_meant(self._sample)
        self.total = len(self._meant)
        self.acked: dict[str, tuple[int, Stored]] = {}
        self.killed = False
        self._half = asyncio.Event()
        self._busiest = ""

    async def info(self) -> StoreInfo:
        """Say what an ack means here; how the server syncs is known, because it is ours."""
        return (await self._store.info())._replace(sync=self.server.sync)

    async def ingest(self) -> Ingestion:
        """Import the sample, and kill the server when half of it is acknowledged."""
        loop = asyncio.get_running_loop()
        killing, started = asyncio.create_task(self._kill_at_half()), loop.time()
        try:
            async with self._store.ingest(pending_max=PENDING_MAX, in_flight_max=IN_FLIGHT_MAX) as pipeline:
                noting = asyncio.create_task(self._note_acked(pipeline.outcomes()))
                await pipeline.put_many(_drafts(self._sample))
            await noting
            kill = await killing
        finally:
            killing.cancel()
        actors = {stored.actor_id for _, stored in self.acked.values()}
        commits = {position for position, _ in self.acked.values()}
        return Ingestion(pipeline.stats().saved, len(actors), len(commits), loop.time() - started, kill)

    async def _kill_at_half(self) -> Kill:
        await self._half.wait()
        return await self.kill()

    async def kill(self) -> Kill:
        """Kill the server with SIGKILL and let it start again on the same port."""
        pid, started = self.server.pid, time.perf_counter()
        self.killed = True
        await self.server.kill()
        acked = len(self.acked)
        await self.server.restart()
        self.killed = False
        return Kill(acked, pid, self.server.pid, time.perf_counter() - started)

    async def _note_acked(self, outcomes: AsyncIterator[IngestOutcome]) -> None:
        async for outcome in outcomes:
            # Only id, version and position are what the ack is about; the rest is as the sample has it, not as Aether read it.
            event = cast("Event", outcome.event)
            self.acked[event.id] = (outcome.position or 0, self._meant[event.id]._replace(version=event.version))
            if 2 * len(self.acked) >= self.total:
                self._half.set()

    async def conflict(self) -> Conflict:
        """Let two dispatchers assign a gate to the same aircraft, both knowing the same version."""
        actor_id = self._busiest = _busiest(self.acked)
        read = fold(await self._store.get_events(actor_id))
        winner = await self._assign(actor_id, "A7", "the day shift", read)
        try:
            await self._assign(actor_id, "C22", "the night shift", read)
        except VersionConflictError as error:
            reloaded = fold(await self._store.get_events(actor_id))
            loser = await self._assign(actor_id, "C22", "the night shift", reloaded)
            return Conflict(actor_id, read.version, winner, f"{type(error).__name__}: {error}", loser)
        raise AssertionError(f"two writers were accepted at version {read.version} of {actor_id}")

    async def _assign(self, actor_id: str, gate: str, by: str, known: Aircraft) -> int:
        """Append an event of ours, in the sample's own time, if the aircraft is still as it is known."""
        event = NewEvent("GateAssigned", {"gate": gate, "by": by}, timestamp=(known.seen or _EPOCH) + GATE_AFTER)
        appended = await self._store.append(actor_id, event, expected_version=known.version)
        stored = Stored(actor_id, appended.version, "GateAssigned", event.time_ns, {"gate": gate, "by": by})
        self.acked[event.id] = (appended.position, stored)
        return appended.version

    async def audit(self) -> Audit:
        """Compare the own record with a raw dump of the stream."""
        return audit.compare(self.acked, await audit.dump(self.server.url, self.namespace))

    async def replay(self) -> Replay:
        """Load every aircraft and derive its state."""
        started = time.perf_counter()
        actors = sorted({stored.actor_id for _, stored in self.acked.values()})
        turns = asyncio.Semaphore(LOADS_MAX)

        async def load(actor_id: str) -> Aircraft:
            async with turns:
                return fold(await self._store.get_events(actor_id))

        async with asyncio.TaskGroup() as group:
            loads = [group.create_task(load(actor_id)) for actor_id in actors]
        aircraft = {actor_id: loaded.result() for actor_id, loaded in zip(actors, loads, strict=True)}
        seconds = time.perf_counter() - started
        events = sum(state.version for state in aircraft.values())
        return Replay(aircraft, events, seconds, await self._store.get_events(self._busiest))


def _busiest(acked: dict[str, tuple[int, Stored]]) -> str:
    """Return the actor with the most events."""
    counts: dict[str, int] = {}
    for _, stored in acked.values():
        counts[stored.actor_id] = counts.get(stored.actor_id, 0) + 1
    return max(sorted(counts), key=counts.__getitem__)


def _sample() -> bytes:
    return gzip.decompress((importlib.resources.files("aether") / "data" / SAMPLE).read_bytes())


def _drafts(lines: bytes) -> Iterator[tuple[str, NewEvent]]:
    """Yield the sample's events for a pipeline, which numbers them."""
    for number, line in enumerate(lines.splitlines(), 1):
        record = parse_record(number, line, len(lines))
        yield record.actor_id, record.event


def _as_meant(lines: bytes) -> dict[str, Stored]:
    """Return the sample's events by id, read by JSON alone; their versions come with the acks."""
    meant = {}
    for line in lines.splitlines():
        record = msgspec.json.decode(line)
        since = dt.datetime.fromisoformat(record["timestamp"]) - _EPOCH
        time_ns = since // dt.timedelta(microseconds=1) * 1000
        meant[record["id"]] = Stored(record["actor_id"], 0, record["event_type"], time_ns, record["data"])
    return meant
