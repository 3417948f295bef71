"""A process that takes a shard when it is told to, and writes to it without a rest until the store refuses, whoever has taken it.

It holds no lease, so it is a zombie from the moment another takes the shard. It reads commands, one a line: `take N` (as
incarnation N), `stop`; it prints one JSON object for each. A planted bug makes it one that the checker must see.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from faults.planted import PLANTED
from owning import fenced_store

from aether import AetherError, NewEvent, NotOwnerError, OutcomeUnknownError
from aether._native import shard_of

if TYPE_CHECKING:
    from aether.store.fenced import FencedEventStore

TAKE_S = 30.0
AT_ONCE = 3


def actors_of(shard: int, count: int) -> list[str]:
    """Name some actors of a shard."""
    names = (f"actor-{number}" for number in range(10_000_000))
    fitting = (name for name in names if shard_of(name) == shard)
    return [next(fitting) for _ in range(count)]


class Worker:
    """What one process does and was told."""

    def __init__(self, store: FencedEventStore, node: str, shard: int) -> None:
        self.store, self.node, self.shard = store, node, shard
        self.accepted: list[tuple[int, int, str]] = []
        self.refused = self.unknown = self.failed = self.count = 0
        self.writing: asyncio.Task[None] | None = None

    async def take(self, incarnation: int) -> dict[str, Any]:
        """Take the shard and begin to write."""
        began = time.perf_counter()
        epoch = await self.store.take(self.shard, incarnation, asyncio.get_running_loop().time() + TAKE_S)
        took_ms = 1000 * (time.perf_counter() - began)
        self.store.open_shard(self.shard)
        await self.rest()
        going = asyncio.Event()
        self.writing = asyncio.create_task(self.write_on(epoch, going))
        await going.wait()
        return {"epoch": epoch, "took_ms": took_ms}

    async def write_on(self, epoch: int, going: asyncio.Event) -> None:
        """Write until the store refuses; say so once something was written, or refused."""
        actors = actors_of(self.shard, AT_ONCE)
        is_owner = True
        while is_owner:
            is_owner = all(await asyncio.gather(*(self.write(epoch, actor) for actor in actors)))
            going.set()

    async def write(self, epoch: int, actor: str) -> bool:
        """Write one event; say whether to go on."""
        self.count += 1
        event_id = f"{self.node}-{self.count}"
        try:
            written = await self.store.append(actor, NewEvent("t", id=event_id))
        except NotOwnerError:
            self.refused += 1
            return False
        except OutcomeUnknownError:
            self.unknown += 1
        except AetherError:
            self.failed += 1
        else:
            self.accepted.append((epoch, written.position, event_id))
        return True

    async def rest(self) -> None:
        """End the writing."""
        if self.writing is not None:
            self.writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.writing

    async def stop(self) -> dict[str, Any]:
        """End, and tell all."""
        await self.rest()
        told = {name: getattr(self, name) for name in ("refused", "unknown", "failed")}
        return {"accepted": self.accepted, **told}


async def main() -> None:
    """Run with: urls namespace node shard replicas bug."""
    urls, namespace, node, shard, replicas, bug = sys.argv[1:]
    PLANTED[bug]()
    async with fenced_store(urls, namespace, node, replicas=int(replicas)) as store:
        worker = Worker(store, node, int(shard))
        answer: dict[str, Any] = {"ready": node}
        while True:
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
            word, _, number = (await asyncio.to_thread(sys.stdin.readline)).strip().partition(" ")
            if word != "take":
                break
            answer = await worker.take(int(number))
        sys.stdout.write(json.dumps(await worker.stop()) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
