"""One process of a race: reads what to do from its arguments, waits for the start, writes, and prints what it was told."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from typing import Any

from faults.history import History

from aether import Event, JetStreamEventStore, NewEvent


async def race(urls: str, namespace: str, worker: int, actors: int, rounds: int) -> History:
    """Write to every actor in every round, in an order of its own, half by `save_event` and half by `append`."""
    history = History()
    order = random.Random(worker)
    async with JetStreamEventStore(urls, namespace=namespace, timeout_s=60) as store:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)

        async def one(actor_id: str, round_: int) -> None:
            event_id = f"{worker}-{round_}-{actor_id}"
            if order.random() < 0.4:
                await history.write(actor_id, event_id, 0, store.append(actor_id, NewEvent("t", worker, id=event_id)))
            else:
                # The next free version as far as this process knows, or the round's: most others go for the same one.
                free = await store.get_latest_version(actor_id) + 1
                version = free if order.random() < 0.5 else min(free, round_ + 1)
                save = store.save_event(Event(actor_id, "t", version, worker, id=event_id))
                await history.write(actor_id, event_id, version, _with_version(save, version))
            if order.random() < 0.2:
                await history.read(actor_id, store.get_events(actor_id))

        for round_ in range(rounds):
            chosen = [f"actor-{number}" for number in range(actors)]
            order.shuffle(chosen)
            for start in range(0, actors, 10):
                await asyncio.gather(*(one(actor_id, round_) for actor_id in chosen[start : start + 10]))
    return history


async def _with_version(save: Any, version: int) -> tuple[int, int]:
    return version, await save


def main() -> None:
    """Run with: urls namespace worker actors rounds."""
    urls, namespace, *numbers = sys.argv[1:]
    history = asyncio.run(race(urls, namespace, *map(int, numbers)))
    reads = [(read.actor_id, read.seen, sorted(read.acked_before)) for read in history.reads]
    sys.stdout.write(json.dumps({"writes": history.writes, "reads": reads}) + "\n")


if __name__ == "__main__":
    main()
