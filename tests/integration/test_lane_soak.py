"""Writers and readers over connections that are cut, reset, muted, stalled and dripped at random: 5 s, 60 s or 600 s long."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import pytest
from faults.dump import dump
from faults.history import History, Write, violations
from faults.tap import Link, Plan, Tap
from faults.waiting import in_time

from aether import AetherError, Event, IngestError, JetStreamEventStore, NewEvent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conftest import Size

    from aether import EmbeddedServer

T = TypeVar("T")

TIMEOUT_S = 4.0
ACTORS = 8
ENOUGH = 100
"""As many events as each workload comes through with."""


THEN = datetime(2026, 1, 1, tzinfo=UTC)
"""The time of events that are saved again: with another they would be other events."""


class Soak:
    """What the workloads share.

    Attributes:
        store: reached through a tap that harms.
        history: what callers were told.
        dice: seeded; what a workload does next.
        calls: how many calls ended.
        ingested: the ids of events that a pipeline said are stored.
        replayed: the ids of all events in the order in which the namespace was read, by each reader.
    """

    def __init__(self, store: JetStreamEventStore, dice: random.Random) -> None:
        self.store, self.dice = store, dice
        self.history = History()
        self.calls = 0
        self.ingested: set[str] = set()
        self.replayed: dict[int, list[str]] = {}
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Let the workloads end with their present call."""
        self._stop.set()

    def least(self) -> int:
        """Return how many events each of the workloads came through with, at least."""
        replayed = [len(ids) for ids in self.replayed.values()]
        return min(len(self.history.told("acked")), len(self.ingested), *replayed) if replayed else 0

    def goes_on(self) -> bool:
        """Whether there is time for another call."""
        return not self._stop.is_set()

    async def in_time(self, call: Awaitable[T]) -> T:
        """Await a call that must end, one way or another, by its deadline and the grace."""
        told = await in_time(call, TIMEOUT_S)
        self.calls += 1
        return told


async def appends(soak: Soak, number: int) -> None:
    """Append one to three events at a time, to actors that others append to as well."""
    count = 0
    while soak.goes_on():
        new = NewEvent("t", "x" * soak.dice.choice([0, 10, 1000, 30_000]), id=f"append-{number}-{count}")
        actor_id = f"appended-{(number + count) % ACTORS}"
        await soak.in_time(soak.history.write(actor_id, new.id, 0, soak.store.append(actor_id, new)))
        count += 1


async def saves(soak: Soak, number: int) -> None:
    """Save events at versions of our own to an actor of our own; what is not acked is saved again, the very same."""
    actor_id, version = f"saved-{number}", 1
    while soak.goes_on():
        event = Event(actor_id, "t", version, id=f"save-{number}-{version}", timestamp=THEN)

        async def save(event: Event = event) -> tuple[int, int]:
            return event.version, await soak.store.save_event(event)

        write = await soak.in_time(soak.history.write(actor_id, event.id, version, save()))
        version += write.told == "acked"


async def loads(soak: Soak, number: int) -> None:
    """Load actors while they are written; a load may fail, and may not be wrong."""
    while soak.goes_on():
        actor_id = f"appended-{soak.dice.randrange(ACTORS)}" if number % 2 else f"saved-{soak.dice.randrange(3)}"
        with contextlib.suppress(AetherError):
            await soak.in_time(soak.history.read(actor_id, soak.store.get_events(actor_id)))


async def ingests(soak: Soak, number: int) -> None:
    """Put events of several actors of our own into a pipeline; what is not known to be stored is put again, the very same."""
    version = 0
    while soak.goes_on():
        versions = range(version + 1, version + 21)
        events = [
            Event(f"ingested-{number}-{actor}", "t", v, id=f"ingest-{number}-{actor}-{v}", timestamp=THEN)
            for actor in range(5)
            for v in versions
        ]
        # Whether they are there is judged by `ingested`; to the history they may be there from now on.
        soak.history.writes += [Write(event.actor_id, event.id, "unknown", event.version) for event in events]
        with contextlib.suppress(IngestError):
            async with soak.store.ingest() as pipeline:
                await pipeline.put_many(events)
                await pipeline.flush()
                soak.ingested |= {event.id for event in events}
                version = versions[-1]
        soak.calls += 1
        await asyncio.sleep(0.05)  # the log shall stay small enough for a dump


async def replays(soak: Soak, number: int) -> None:
    """Read the namespace on and on, and after a failure from where it was."""
    after, replayed = 0, soak.replayed.setdefault(number, [])
    while soak.goes_on():
        with contextlib.suppress(AetherError):
            async for batch in soak.store.read_all(after, batch_size=100):
                replayed += [event.id for event in batch]
                after = batch.position
        soak.calls += 1


WORKLOADS: list[tuple[Callable[[Soak, int], Awaitable[None]], int]] = [
    (appends, 6),
    (saves, 3),
    (loads, 3),
    (ingests, 2),
    (replays, 2),
]
"""Each with how many of it run at once."""


def harm(link: Link, dice: random.Random) -> str:
    """Do something bad to a link; return what."""
    what = dice.choice(["cut", "reset", "cut at a byte", "reset at a byte", "mute", "stall", "drip"])
    plan = link.plan
    plan.reset = what.startswith("reset")
    if what in ("cut", "reset"):
        link.cut()
    elif what == "mute":
        plan.mute = True
    elif what == "stall":
        plan.stalled = True
    elif what == "drip":
        plan.drip = True
    elif dice.randrange(2):
        plan.cut_down_at = link.sent_down + dice.randrange(1, 5_000)
    else:
        plan.cut_up_at = link.sent_up + dice.randrange(1, 50_000)
    return what


async def trouble(tap: Tap, dice: random.Random, seconds: float, soak: Soak) -> list[str]:
    """Harm a link every now and then, the lane's mostly, for so long, and until enough went well in spite of it.

    What is mute or stalled is let go after a while, or was left.
    """
    loop = asyncio.get_running_loop()
    stop_at, done = loop.time() + seconds, list[str]()
    while loop.time() < stop_at or soak.least() <= ENOUGH:
        await asyncio.sleep(dice.uniform(0.01, 0.15))
        links = tap.lanes if tap.lanes and dice.randrange(4) else tap.links
        if links:
            link = dice.choice(links)
            done.append(harm(link, dice))
            if done[-1] in ("mute", "stall"):
                await asyncio.sleep(dice.choice([0.05, 0.05, 0.3, 0.3, 2.5]))
                link.plan.mute = link.plan.stalled = False
    for link in tap.links:
        link.plan.mute = link.plan.stalled = link.plan.drip = False
    return done


@pytest.mark.timeout(900)
async def test_nothing_is_lost_or_doubled_over_a_bad_network(nats_server: EmbeddedServer, namespace: str, size: Size) -> None:
    """With connections harmed at random all the time, what is acked is stored, once; reads are prefixes; calls end in time."""
    seed = int(os.environ.get("AETHER_SEED") or secrets.randbits(32))
    logging.getLogger("soak").warning("AETHER_SEED=%d", seed)
    dice = random.Random(seed)
    async with Tap(nats_server.url) as tap, JetStreamEventStore(tap.url, namespace=namespace, timeout_s=TIMEOUT_S) as store:
        # Some of the connections that follow break while they are made.
        tap.plan = lambda: Plan(cut_down_at=dice.randrange(2_000)) if not dice.randrange(8) else Plan()
        soak = Soak(store, dice)
        async with asyncio.TaskGroup() as group:
            for work, count in WORKLOADS:
                for number in range(count):
                    group.create_task(work(soak, number))
            done = await trouble(tap, dice, size.pick(5, 60, 600), soak)
            soak.stop()
    history = soak.history
    stored = await dump(nats_server.url, namespace)
    assert violations(history, stored, contiguous=True) == []
    ids = [event_id for message in stored for event_id in message.ids]
    assert soak.ingested <= {*ids}
    assert all(replayed == ids[: len(replayed)] for replayed in soak.replayed.values())
    assert not history.told("refused"), "nobody else wrote these versions"
    told = {what: len(history.told(what)) for what in ("acked", "unknown", "failed")}
    logging.getLogger("soak").warning(
        "%d calls, %d reads, %s, %d ingested, %s replayed, %d harms, %d connections",
        *(soak.calls, len(history.reads), told, len(soak.ingested), [*map(len, soak.replayed.values())], len(done), tap.seen),
    )
    assert done
    assert soak.least() > ENOUGH
