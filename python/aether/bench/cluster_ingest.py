"""Ingestion by an owner of all shards beside a plain store's: many events of few actors, and one event of each of many.

With few actors their events share commits. With as many actors as events each is a commit of its own, and its actor's
head has to be read first, which an owner asks for with a proof. Both put the same into namespaces of their own on one server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aether.bench.cluster_append import owner
from aether.bench.measure import WALL, Side, compare
from aether.bench.setting import check
from aether.event import NewEvent

if TYPE_CHECKING:
    from aether.bench.lines import Line
    from aether.bench.setting import Setting
    from aether.store.jetstream import JetStreamEventStore

__all__ = ["lines"]

FEW = 20
DATA = {"celsius": 21.5, "battery": 0.83}


async def lines(setting: Setting) -> list[Line]:
    """Measure."""
    count = setting.count(2_000, 10_000, 50_000)
    few = await _lines(setting, count, f"{FEW} actors", [f"device-{number}" for number in range(FEW)])
    return few + await _lines(setting, count, "an event an actor", None)


async def _lines(setting: Setting, count: int, what: str, actors: list[str] | None) -> list[Line]:
    repetitions = setting.repetitions(3, 5, 7)
    setting.say(f"cluster, ingest, {what}: {count:,} events, {repetitions + 1} times on each side")
    async with setting.store() as plain, owner(setting) as fenced:
        ours, theirs = (_side(name, store, count, actors) for name, store in (("an owner", fenced), ("a plain store", plain)))
        return await compare(
            f"cluster, ingest, {what}",
            ours,
            [theirs],
            repetitions=repetitions,
            clock=WALL,
            server_cpu_ns=setting.server_cpu_ns,
        )


def _side(name: str, store: JetStreamEventStore, count: int, actors: list[str] | None) -> Side:
    runs = 0

    def events() -> list[tuple[str, NewEvent]]:
        nonlocal runs
        runs += 1  # without names given, no actor is known yet
        names = actors or [f"device-{runs}-{number}" for number in range(count)]
        return [(names[number % len(names)], NewEvent("Measured", DATA)) for number in range(count)]

    async def put(given: list[tuple[str, NewEvent]]) -> None:
        async with store.ingest() as pipeline:
            await pipeline.put_many(given)
            await pipeline.flush()
            saved = pipeline.stats().saved
        check(holds=saved == count, what=f"{saved:,} of {count:,} events were saved")

    return Side(f"aether, {name}", put, count, events)
