"""What a pipeline's bounds make of commits, counted as messages that are stored."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from faults.dump import dump
from faults.waiting import until

from aether import JetStreamEventStore, NewEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aether import EmbeddedServer

PACED_S = 0.004
"""How often a device reports, in seconds."""


def drafts(count: int, size: int = 0) -> Iterator[tuple[str, NewEvent]]:
    """Yield new events of one actor."""
    return (("sensor", NewEvent("Measured", "x" * size)) for _ in range(count))


async def counts(url: str, namespace: str) -> list[int]:
    """Return how many events each stored message has."""
    return [len(message.ids) for message in await dump(url, namespace)]


async def test_lingering_limits_how_often_an_actor_is_sent(nats_server: EmbeddedServer, namespace: str) -> None:
    """Events that come slowly make at most one message in `linger_s`; without it, as many as come between answers."""
    loop = asyncio.get_running_loop()
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        began = loop.time()
        async with store.ingest(linger_s=0.2) as pipeline:
            for pair in drafts(100):
                await pipeline.put(pair)
                await asyncio.sleep(PACED_S)
        most = (loop.time() - began) / 0.2 + 2  # what is sent at once, and what is sent at the end
        stored = await counts(nats_server.url, namespace)
        assert sum(stored) == 100
        assert len(stored) == pipeline.stats().commits <= most
        async with store.ingest() as pipeline:
            for number, pair in enumerate(drafts(100), 1):
                await pipeline.put(pair)
                await until(lambda number=number: pipeline.stats().saved == number)
    assert await counts(nats_server.url, namespace) == [*stored, *([1] * 100)]


async def test_what_lingers_is_sent_once_somebody_cannot_wait(nats_server: EmbeddedServer, namespace: str) -> None:
    """What gathers is sent when a commit is full, when somebody flushes, when `put` finds no room, and at the end: not before."""
    async with (
        JetStreamEventStore(nats_server.url, namespace=namespace) as store,
        store.ingest(linger_s=60, commit_events_max=20, pending_max=30) as pipeline,
    ):

        async def put(count: int, stored: list[int]) -> None:
            for pair in drafts(count):
                await pipeline.put(pair)
                await asyncio.sleep(0)
            await until(lambda: pipeline.stats().saved == sum(stored))
            assert await counts(nats_server.url, namespace) == stored

        await put(1, [1])  # nothing was sent before it
        await put(7, [1])
        await pipeline.flush()
        await put(0, [1, 7])
        await put(20, [1, 7, 20])
        await put(5, [1, 7, 20])
        for number in range(26):
            await pipeline.put((f"other-{number}", NewEvent("Measured")))
        await until(lambda: pipeline.stats().saved >= 1 + 7 + 20 + 5)
        # Those of the others whose head was known by then were sent as well.
        assert sorted(await counts(nats_server.url, namespace))[-4:] == [1, 5, 7, 20]
    assert sorted(await counts(nats_server.url, namespace)) == [*([1] * 27), 5, 7, 20]


@pytest.mark.parametrize("commit_bytes_max", [2_000, 10_000])
async def test_a_commit_takes_what_fits_into_its_bytes(
    nats_server: EmbeddedServer, namespace: str, commit_bytes_max: int
) -> None:
    """No message that events share is larger than `commit_bytes_max`, and while more waits each is half full at least."""
    async with (
        JetStreamEventStore(nats_server.url, namespace=namespace) as store,
        store.ingest(commit_bytes_max=commit_bytes_max) as pipeline,
    ):
        await pipeline.put_many([*drafts(120, 100), *drafts(1, 30_000), *drafts(1, 100)])
    stored = await dump(nats_server.url, namespace)
    assert [version for message in stored for version in message.versions] == [*range(1, 123)]
    sizes = [(len(message.ids), len(message.body)) for message in stored]
    assert [size for count, size in sizes if count > 1 and size > commit_bytes_max] == []
    assert [count for count, size in sizes if size > commit_bytes_max] == [1]
    assert {message.versions[0] for message in stored if len(message.body) > 30_000} == {121}
    full = sizes[: next(place for place, (_, size) in enumerate(sizes) if size > 30_000) - 1]
    assert [size for _, size in full if size < commit_bytes_max / 2] == []
