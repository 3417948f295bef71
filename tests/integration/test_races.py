"""Many processes on the same actors, on one server and on a cluster that loses its leader: the log is what they were told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faults.dump import api, dump, stock_client
from faults.history import History, Read, Write, violations
from faults.waiting import until

from aether import AetherError, Event, JetStreamEventStore, NewEvent, VersionConflictError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conftest import Size
    from faults.dump import Stored

    from aether import EmbeddedServer
    from aether.testing import NatsCluster

PROCESSES = 8
WORKER = Path(__file__).with_name("race_worker.py")


async def run_race(urls: Sequence[str], namespace: str, actors: int, rounds: int) -> History:
    """Start all processes, let them begin at one moment, and gather what they were told."""
    workers = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            str(WORKER),
            ",".join(urls),
            namespace,
            *map(str, (worker, actors, rounds)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**28,
        )
        for worker in range(PROCESSES)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert await worker.stdout.readline() == b"ready\n"
        told = await asyncio.gather(*(worker.communicate(b"\n") for worker in workers))
    finally:
        for worker in workers:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()
    history = History()
    for out, _ in told:
        part = json.loads(out)
        history.writes += [Write(*write) for write in part["writes"]]
        history.reads += [Read(actor, tuple(map(tuple, seen)), frozenset(acked)) for actor, seen, acked in part["reads"]]
    return history


async def test_eight_processes_racing_on_the_same_actors(nats_server: EmbeddedServer, namespace: str, size: Size) -> None:
    """Versions stay contiguous, each has one winner, each loser is told a version that was there, each read is a prefix."""
    actors, rounds = size.pick(12, 50, 50), size.pick(6, 20, 100)
    async with JetStreamEventStore(nats_server.url, namespace=namespace):
        pass
    history = await run_race([nats_server.url], namespace, actors, rounds)
    assert violations(history, await dump(nats_server.url, namespace), contiguous=True) == []
    assert len(history.writes) == PROCESSES * actors * rounds
    assert not history.told("unknown")
    assert not history.told("failed")
    assert len(history.told("refused")) > actors, "it was no race"


async def test_one_winner_a_version_and_no_gap(nats_server: EmbeddedServer, namespace: str, size: Size) -> None:
    """Of many stores that save the same version at one moment exactly one succeeds, round after round, without a gap."""
    stores = [JetStreamEventStore(nats_server.url, namespace=namespace, timeout_s=60) for _ in range(PROCESSES)]
    history = History()

    async def save(number: int, version: int) -> tuple[int, int]:
        return version, await stores[number].save_event(Event("a", "t", version, number, id=f"{number}-{version}"))

    for version in range(1, size.pick(40, 200, 1000) + 1):
        told = await asyncio.gather(
            *(history.write("a", f"{number}-{version}", version, save(number, version)) for number in range(PROCESSES))
        )
        assert sorted(write.told for write in told) == ["acked", *["refused"] * (PROCESSES - 1)]
        assert {write.actual for write in told if write.told == "refused"} == {version}
    assert violations(history, await dump(nats_server.url, namespace), contiguous=True) == []
    await asyncio.gather(*(store.aclose() for store in stores))


async def test_an_expected_version_has_one_winner(nats_server: EmbeddedServer, namespace: str, size: Size) -> None:
    """Appends that expect the same version: one succeeds, the others conflict, reload, and all succeed in the end."""
    stores = [JetStreamEventStore(nats_server.url, namespace=namespace, timeout_s=60) for _ in range(6)]

    async def increment(store: JetStreamEventStore) -> None:
        while True:
            events = await store.get_events("counter")
            expected = events[-1].version if events else 0
            total = sum(event.data["add"] for event in events)
            try:
                await store.append("counter", NewEvent("t", {"add": 1, "was": total}), expected_version=expected)
            except VersionConflictError:
                continue
            return

    each = size.pick(5, 10, 30)
    await asyncio.gather(*(increment(store) for store in stores for _ in range(each)))
    events = await stores[0].get_events("counter")
    assert [event.version for event in events] == list(range(1, 6 * each + 1))
    assert [event.data["was"] for event in events] == list(range(6 * each)), "a decision was made on what was out of date"
    await asyncio.gather(*(store.aclose() for store in stores))


async def replica_dumps(cluster: NatsCluster, namespace: str) -> list[list[Stored]]:
    """The stream as each replica holds it: each is made leader in turn, and its leader's log is read."""
    name = f"AETHER-EVENTS-{namespace}"
    dumps = []
    for node in range(3):
        async with stock_client(cluster.urls) as client:
            if await cluster.leader_of(name) != node:
                answer = await api(client, f"STREAM.LEADER.STEPDOWN.{name}", placement={"preferred": str(node)})
                assert answer.get("success"), answer
        assert await cluster.leader_of(name) == node
        dumps.append(await dump(cluster.urls, namespace))
    return dumps


@pytest.mark.timeout(600)
async def test_a_cluster_that_loses_its_leader_under_load_loses_nothing(
    nats_cluster: NatsCluster, namespace: str, size: Size
) -> None:
    """Leaders killed with SIGKILL under ten writers: acked is stored, once, in order, and the same on every replica."""
    history, stop = History(), False
    stores = [JetStreamEventStore(",".join(nats_cluster.urls), namespace=namespace, replicas=3, timeout_s=20) for _ in range(5)]

    async def writer(number: int) -> None:
        store, count = stores[number % 5], 0
        while not stop:
            actor_id = f"a-{(number + count) % 6}"  # several writers an actor, from several connections
            new = NewEvent("t", count, id=f"{number}-{count}")
            await history.write(actor_id, new.id, 0, store.append(actor_id, new))
            if count % 10 == 0:
                # A load may fail while there is no leader; it may not be wrong.
                with contextlib.suppress(AetherError):
                    await history.read(actor_id, store.get_events(actor_id))
            count += 1

    work = [asyncio.ensure_future(writer(number)) for number in range(10)]
    for _ in range(size.pick(1, 4, 20)):
        seen = len(history.told("acked"))
        await until(lambda seen=seen: len(history.told("acked")) >= seen + 100, limit_s=60)
        leader = await nats_cluster.leader_of(f"AETHER-EVENTS-{namespace}")
        await nats_cluster.kill(leader)
        seen = len(history.told("acked"))
        await until(lambda seen=seen: len(history.told("acked")) >= seen + 50, limit_s=60)
        await nats_cluster.restart(leader)
    stop = True
    await asyncio.gather(*work)
    await asyncio.gather(*(store.aclose() for store in stores))
    dumps = await replica_dumps(nats_cluster, namespace)
    assert dumps[0] == dumps[1] == dumps[2]
    assert violations(history, dumps[0], contiguous=True) == []
    assert not history.told("refused"), "an append without an expected version never conflicts"
