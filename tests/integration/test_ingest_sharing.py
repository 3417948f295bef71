"""Several threads put into one pipeline, several processes into one namespace, and a fork into neither."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from faults.dump import dump

from aether import Event, JetStreamEventStore, sync

if TYPE_CHECKING:
    from aether import EmbeddedServer

PROCESSES = 3


def test_closing_lets_go_of_threads_that_put(nats_server: EmbeddedServer, namespace: str) -> None:
    """Threads that put while another leaves the pipeline by an exception end with an error, and the counters add up."""
    errors: list[str] = []
    with sync.JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        pipeline = store.ingest(pending_max=100)

        def put(number: int) -> None:
            with pytest.raises(sync.AetherError) as caught:
                pipeline.put_many(Event(f"thread-{number}", "Measured", version) for version in range(1, 10**6))
            errors.append(str(caught.value))

        threads = [threading.Thread(target=put, args=(number,), daemon=True) for number in range(3)]

        def use() -> None:
            with pipeline:
                for thread in threads:
                    thread.start()
                while pipeline.stats().saved < 500:
                    pipeline.stats()
                raise LookupError

        with pytest.raises(LookupError):
            use()
        for thread in threads:
            thread.join(timeout=60)
    assert ["not open" in error for error in errors] == [True] * 3
    stats = pipeline.stats()
    assert (stats.put, stats.pending) == (stats.saved + stats.failed, 0)


def test_several_threads_put_into_one_pipeline(nats_server: EmbeddedServer, namespace: str) -> None:
    """Threads put and flush at once; generators run in the thread that gave them, and may read from another store."""
    with sync.JetStreamEventStore(nats_server.url, namespace=namespace) as store, sync.InMemoryEventStore() as source:
        source.save_events(Event("actor-0", "Measured", version) for version in range(1, 101))
        with store.ingest(pending_max=64) as pipeline:

            def put(number: int) -> None:
                events = (event for batch in source.read_events("actor-0", batch_size=9) for event in batch)
                pipeline.put_many(Event(f"thread-{number}", event.event_type, event.version) for event in events)
                pipeline.put(Event(f"thread-{number}", "Last", 101))
                pipeline.flush()

            threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert pipeline.stats().saved == 404
        for number in range(4):
            assert [event.version for event in store.get_events(f"thread-{number}")] == [*range(1, 102)]


FORKING = """
import asyncio, os, sys
from aether import AetherError, Event, InMemoryEventStore, JetStreamEventStore

async def refusal(call):
    try:
        await call
    except AetherError as error:
        return "another process" if "another process" in str(error) else str(error)

async def main():
    url, namespace = sys.argv[1:]
    async with JetStreamEventStore(url, namespace=namespace) if url else InMemoryEventStore() as store:
        async with store.ingest() as pipeline:
            await pipeline.put(Event("a", "t", 1))
            await pipeline.flush()
            child = os.fork()
            if child == 0:
                calls = pipeline.put(Event("a", "t", 2)), pipeline.put_many([Event("a", "t", 2)]), pipeline.flush()
                print("child", [await refusal(call) for call in calls], flush=True)
                os._exit(0)
            os.waitpid(child, 0)
            await pipeline.put(Event("a", "t", 2))
        print("parent", await store.get_latest_version("a"))

asyncio.run(main())
"""


@pytest.mark.parametrize("in_memory", [False, True], ids=["JetStream", "memory"])
def test_after_a_fork_the_child_is_refused(nats_server: EmbeddedServer, namespace: str, in_memory: bool) -> None:
    """A forked child can neither put nor flush through its parent's pipeline, and is told why; the parent goes on."""
    command = [sys.executable, "-c", FORKING, "" if in_memory else nats_server.url, namespace]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert answer.stdout.split("\n") == ["child ['another process', 'another process', 'another process']", "parent 2", ""], (
        answer
    )


PROGRAM = """
import asyncio, sys
from datetime import UTC, datetime
from aether import Event, IngestError, JetStreamEventStore

THEN = datetime(2024, 1, 1, tzinfo=UTC)

async def main():
    url, namespace, worker = sys.argv[1:]
    async with JetStreamEventStore(url, namespace=namespace, timeout_s=30) as store:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        pipeline = store.ingest()
        try:
            async with pipeline:
                await pipeline.put_many(
                    Event(f"actor-{n % 20}", "t", n // 20 + 1, id=f"same-{n}" if n % 2 else f"{worker}-{n}", timestamp=THEN)
                    for n in range(1000)
                )
        except IngestError as error:
            assert error.failed == error.unknown == 0, str(error)
        print(*pipeline.stats(), flush=True)

asyncio.run(main())
"""


def run_workers(url: str, namespace: str) -> list[list[int]]:
    """Let several processes begin together, and return their counters."""
    command = [sys.executable, "-c", PROGRAM, url, namespace]
    workers = [
        subprocess.Popen([*command, f"w{number}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in range(PROCESSES)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    answers = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * PROCESSES
    return [[int(number) for number in answer.split()] for answer in answers]


async def test_processes_on_the_same_actors_stay_correct(nats_server: EmbeddedServer, namespace: str) -> None:
    """Of events that several processes put, equal ones are stored once and rivals have one winner; the counters say the same."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace):
        pass
    stats = await asyncio.to_thread(run_workers, nats_server.url, namespace)
    stored = await dump(nats_server.url, namespace)
    ids = [event_id for message in stored for event_id in message.ids]
    assert len(ids) == len(set(ids))
    for number in range(20):
        versions = [version for message in stored if message.commit["actor"] == f"actor-{number}" for version in message.versions]
        assert versions == sorted(set(versions))
    for put, saved, already_stored, conflicts, failed, unknown, pending, *_ in stats:
        assert (put, saved + already_stored + conflicts, failed, unknown, pending) == (1000, 1000, 0, 0, 0)
