"""The ingestion pipeline: single events and ten of an actor at once, small and larger ones, of few and of very many actors.

Actors take turns, so with a million of them an actor's second event is a million commits behind its first. A commit of ten is
ten events that are put one after the other, which the pipeline sends together.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import msgspec

from aether._native import Event, Head, encode_commit
from aether.bench.child import finding
from aether.bench.lines import Target
from aether.bench.measure import WALL, Side, compare
from aether.bench.nats_command import publish_async
from aether.bench.setting import check
from aether.nats.stream_log import guard_bytes
from aether.nats.subjects import events_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aether.bench.lines import Line
    from aether.bench.setting import Setting
    from aether.store.jetstream import JetStreamEventStore

__all__ = ["Shape", "lines"]

MAX_BYTES = 1_048_576
AIMED_AT = (128, 10_000)
"""Payload and actors that targets are for."""

FASTER = {1: 1.0, 10: 4.0}
"""How many times the events a second of Go's publisher are wanted, by events a commit."""


@dataclass(frozen=True)
class Shape:
    """What is put.

    Attributes:
        commit: how many events of an actor follow each other, and make one commit.
        payload: bytes of an event's data.
        actors: how many take turns.
    """

    commit: int
    payload: int
    actors: int

    def __str__(self) -> str:
        events = "1 event" if self.commit == 1 else f"{self.commit} events"
        return f"{events} a commit, {self.payload} B, {self.actors:,} actors"

    def events(self, first: int, count: int) -> Iterator[Event]:
        """Make the events with these numbers, each with its actor's next version."""
        data = {"v": "x" * (self.payload - 5 - (self.payload > 255))}
        for number in range(first, first + count):
            turn, place = divmod(number, self.commit)
            turns, actor = divmod(turn, self.actors)
            yield Event(f"device-{actor}", "Measured", turns * self.commit + place + 1, data)

    def message_bytes(self) -> int:
        """Return how large a message with one event is."""
        (event,) = self.events(0, 1)
        return len(encode_commit(event.actor_id, [event], Head(), header_bytes=guard_bytes(0), bytes_max=MAX_BYTES))


SHAPES = [Shape(*each) for each in product((1, 10), (128, 1024), (100, 10_000, 1_000_000))]


class Putting:
    """Puts the events of a shape into one store, run after run."""

    def __init__(self, store: JetStreamEventStore, shape: Shape, count: int) -> None:
        self._store, self._shape, self._count, self._next = store, shape, count, 0

    def events(self) -> list[Event]:
        """Make the next events."""
        first, self._next = self._next, self._next + self._count
        return list(self._shape.events(first, self._count))

    async def put(self, events: list[Event]) -> None:
        """Put them, and wait until each is acked."""
        async with self._store.ingest(commit_events_max=self._shape.commit) as pipeline:
            await pipeline.put_many(events)
            await pipeline.flush()
            saved = pipeline.stats().saved
        check(holds=saved == len(events), what=f"{saved:,} of {len(events):,} events were saved")


async def lines(setting: Setting) -> list[Line]:
    """Measure every shape; the smallest size takes some."""
    shapes = SHAPES[::5] if setting.size == "once" else SHAPES
    return [line for shape in shapes for line in await _lines(setting, shape)]


async def _lines(setting: Setting, shape: Shape) -> list[Line]:
    count, repetitions = setting.count(20_000, 50_000, 200_000), setting.repetitions(3, 5, 5)
    setting.say(f"ingest: {shape}: {count:,} events, {repetitions + 1} times on each side")
    async with setting.bare_stream() as bare, setting.store() as store:
        putting, stream = Putting(store, shape, count), events_stream((await store.info()).namespace)
        ours = Side("aether", putting.put, count, putting.events, bytes_held=lambda: setting.stream_bytes(stream))
        sides, targets = [], []
        if setting.nats_command is not None:
            # One subject is the least work for the server, so many as there are actors the same as for ours.
            for subjects in (1, min(shape.actors, count)):
                theirs = publish_async(setting, bare, count, shape.message_bytes(), subjects=subjects)
                differs = f"no guards, {'one subject, ' if subjects == 1 else ''}one event a message"
                sides.append(replace(theirs, bytes_held=lambda: setting.stream_bytes(bare), differs=differs))
                aimed = setting.plain and (shape.payload, shape.actors) == AIMED_AT
                targets.append([Target("faster", FASTER[shape.commit])] if aimed else [])
        found = await compare(
            f"ingest, {shape}",
            ours,
            sides,
            repetitions=repetitions,
            clock=WALL,
            targets=targets,
            server_cpu_ns=setting.server_cpu_ns,
        )
    peak = await _peak_mib(setting, shape, count)
    return [replace(line, peak_mib=peak) for line in found]


async def _peak_mib(setting: Setting, shape: Shape, count: int) -> float:
    """Put as many events once more in a process of its own; return how far its memory rose above idle."""
    async with setting.store() as store:
        given = {"url": setting.url, "namespace": (await store.info()).namespace, "count": count, "shape": asdict(shape)}
        return float(await finding("aether.bench.ingest_memory", msgspec.json.encode(given).decode()))
