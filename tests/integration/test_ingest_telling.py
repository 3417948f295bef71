"""Who is told when an actor cannot be read, or when all stops: threads of the blocking pipeline, and neighbours of the damage."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from faults.dump import crafted, dump, events_of, stock_client
from faults.proxy import Proxy

from aether import CorruptEventError, Event, IngestError, JetStreamEventStore, NewEvent, sync
from aether._native import actor_subject

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from aether import EmbeddedServer

THREADS = 4
WAIT_S = 60.0


class Producer(threading.Thread):
    """A thread that puts events of its own actor, and waits in front of one until it may go on.

    Attributes:
        told: at which versions `put` raised an `IngestError`.
        paused: it waits.
    """

    def __init__(self, pipeline: Any, name: str, pause_at: int, go_on: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self.told: list[int] = []
        self.paused = threading.Event()
        self._pipeline, self._pause_at, self._go_on = pipeline, pause_at, go_on

    def run(self) -> None:
        """Put 30 events, whatever is told of those before."""
        for version in range(1, 31):
            if version == self._pause_at:
                self.paused.set()
                assert self._go_on.wait(WAIT_S)
            try:
                self._pipeline.put(Event(self.name, "Measured", version))
            except IngestError:
                self.told.append(version)


async def test_each_thread_that_put_learns_of_a_halt_once(nats_server: EmbeddedServer, namespace: str) -> None:
    """Of threads that put before a pipeline halted each learns of it once, though another was told first; a new one does not."""
    go_on = threading.Event()
    async with Proxy(nats_server.url) as proxy:
        with ThreadPoolExecutor(1) as pool:

            async def aside(call: Callable[..., Any], *given: Any, **named: Any) -> Any:
                """Call in the one thread that flushes."""
                async with asyncio.timeout(WAIT_S):
                    return await asyncio.wrap_future(pool.submit(call, *given, **named))

            store = await aside(sync.JetStreamEventStore, proxy.url, namespace=namespace, timeout_s=4)
            pipeline = await aside(store.ingest)
            await aside(pipeline.__enter__)
            await aside(pipeline.put, Event("x", "Measured", 1))
            await aside(pipeline.flush)
            proxy.silent = True
            producers = [Producer(pipeline, f"thread-{number}", 21, go_on) for number in range(THREADS)]
            for producer in producers:
                producer.start()
            for producer in producers:
                assert await asyncio.to_thread(producer.paused.wait, WAIT_S)
            with pytest.raises(IngestError):
                await aside(pipeline.flush)
            proxy.silent = False
            proxy.cut()
            await aside(pipeline.put, Event("x", "Measured", 2))  # this thread knows
            late = Producer(pipeline, "late", 0, go_on)
            late.start()
            go_on.set()
            for producer in [*producers, late]:
                await asyncio.to_thread(producer.join, WAIT_S)
            await aside(pipeline.flush)
            stats = pipeline.stats()
            await aside(pipeline.__exit__, None, None, None)
            await aside(store.close)
    assert [producer.told for producer in producers] == [[21]] * THREADS
    assert late.told == []
    assert stats.put == stats.saved + stats.failed + stats.unknown == 2 + 29 * THREADS + 30
    stored = await dump(nats_server.url, namespace)
    for name in ("x", "late"):
        assert [version for version, _ in events_of(stored, name)] == [*range(1, 3 if name == "x" else 31)]
    for producer in producers:
        assert [version for version, _ in events_of(stored, producer.name)][-9:] == [*range(22, 31)]


@pytest.mark.parametrize("place", ["its latest message", "a message before"])
@pytest.mark.parametrize("outcomes", [False, True], ids=["raised", "outcomes"])
async def test_an_actor_that_cannot_be_read_fails_alone(
    nats_server: EmbeddedServer, namespace: str, place: str, outcomes: bool
) -> None:
    """With `skip_known` an actor with damage fails as a `CorruptEventError` that names the position; all others go on."""
    new = [(f"actor-{index % 5}", NewEvent("Measured", index)) for index in range(50)]
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        await store.append("actor-2", NewEvent("Measured"))
        async with stock_client(nats_server.url) as client:
            stream, subject = client.jetstream(), actor_subject(namespace, "actor-2")
            position = (await stream.publish(subject, b"foreign")).seq
            if place == "a message before":
                await stream.publish(subject, crafted("actor-2", [2], None))
        pipeline = store.ingest(skip_known=True)
        reading = asyncio.ensure_future(_failed(pipeline.outcomes())) if outcomes else None
        async with pipeline:
            for pair in new:
                await pipeline.put(pair)
            if reading is None:
                with pytest.raises(IngestError) as raised:
                    await pipeline.flush()
            await pipeline.put(("actor-1", NewEvent("Measured", "behind")))
        failures = raised.value.failures if reading is None else await reading
        assert [pair for pair, _ in failures] == new[2::5]
        for _, error in failures:
            assert isinstance(error, CorruptEventError)
            assert error.position == position
            assert str(position) in str(error)
    assert pipeline.stats()[:7] == (51, 41, 0, 0, 10, 0, 0)
    stored = [message for message in await dump(nats_server.url, namespace) if message.subject != subject]
    for name in ("actor-0", "actor-1", "actor-3", "actor-4"):
        wanted = [draft.id for actor, draft in new if actor == name]
        assert [event_id for _, event_id in events_of(stored, name)][:10] == wanted


async def _failed(outcomes: Any) -> list[Any]:
    """Return what was not saved, and why."""
    return [((outcome.actor_id, outcome.event), outcome.error) async for outcome in outcomes if outcome.status != "saved"]
