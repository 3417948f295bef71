"""What pipelines are given in tests, and a store that reaches its server through a proxy."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from faults.proxy import Proxy
from faults.waiting import until

from aether import Event, JetStreamEventStore

if TYPE_CHECKING:
    import asyncio
    import random
    from collections.abc import AsyncIterator, Iterator

    from aether import IngestPipeline

ACTORS = 50


def feed(count: int, actors: int = ACTORS) -> Iterator[Event]:
    """Yield that many events of so many actors in turn."""
    for index in range(count):
        yield Event(f"actor-{index % actors}", "Measured", index // actors + 1, {"n": index})


@asynccontextmanager
async def through_proxy(url: str, namespace: str, timeout_s: float = 10.0) -> AsyncIterator[tuple[Proxy, JetStreamEventStore]]:
    """A store that is open and reaches its server through a proxy."""
    async with Proxy(url) as proxy, JetStreamEventStore(proxy.url, namespace=namespace, timeout_s=timeout_s) as store:
        yield proxy, store


async def while_saving(
    pipeline: IngestPipeline, work: asyncio.Future[None], times: int, chance: random.Random, apart: int
) -> AsyncIterator[None]:
    """Come so many times while events are saved, each time when up to `apart` more are; once the work is done, at once."""
    for _ in range(times):
        seen = pipeline.stats().saved + chance.randrange(apart)
        await until(lambda seen=seen: pipeline.stats().saved > seen or work.done())
        yield
