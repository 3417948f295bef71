"""Servers that die, hang, fill up, forget or shrink while they are used: what was acked is there, and the rest is told."""

from __future__ import annotations

import asyncio
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from faults.dump import api, dump, stock_client
from faults.history import History, Write, violations
from faults.stopping import stop, stopped
from faults.waiting import LIMIT_S, hurried, in_time, until

from aether import (
    CommitTooLargeError,
    DeadlineError,
    EmbeddedServer,
    Event,
    JetStreamEventStore,
    NewEvent,
    OutcomeUnknownError,
    ServerUnavailableError,
    StoreFullError,
)
from aether._native import Head
from aether.testing.servers import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Size


async def test_a_stream_made_anew_is_written_again_after_one_failure(fresh_nats_server: EmbeddedServer) -> None:
    """A store that remembers heads of a stream which was lost with its memory fails once, then starts afresh."""
    async with JetStreamEventStore(fresh_nats_server.url, storage="memory", timeout_s=LIMIT_S) as store:
        await store.append("a", [NewEvent("t")] * 1)
        await store.append("a", NewEvent("t"))
        await fresh_nats_server.kill()
        await fresh_nats_server.start()
        async with JetStreamEventStore(fresh_nats_server.url, storage="memory") as another:
            assert await another.get_events("a") == []
            told = ""
            while "up to its position 2" not in told:  # before that, that the connection is being made anew
                with hurried(store, 0.6), pytest.raises((DeadlineError, ServerUnavailableError)) as error:
                    await store.get_events("a")
                told = str(error.value)
            assert await store.get_events("a") == []
            assert (await store.append("a", NewEvent("t"))).version == 1


async def test_a_leader_that_lags_behind_our_own_writes_is_asked_again(nats_server: EmbeddedServer, namespace: str) -> None:
    """What this store has seen of an actor it never reads less of: a shorter answer is waited out, then told."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        position = (await store.append("a", NewEvent("t"))).position
        store._writer.heads.put("a", Head().after(7, position + 1000))
        with hurried(store, 1.0), pytest.raises(DeadlineError, match=f"up to its position {position + 1000}"):
            await store.get_events("a")
        assert [event.version for event in await store.get_events("a")] == [1]


async def test_a_server_killed_and_restarted_under_load_loses_nothing(fresh_nats_server: EmbeddedServer, size: Size) -> None:
    """SIGKILL in mid-flight, again and again: calls succeed after the restart or are unknown, and acks are in the log."""
    history = History()
    stop = False

    async def writer(actor_id: str) -> None:
        while not stop:
            new = NewEvent("t")
            await history.write(actor_id, new.id, 0, store.append(actor_id, new))
            await history.read(actor_id, store.get_events(actor_id))

    async with JetStreamEventStore(fresh_nats_server.url, namespace="n") as store:
        work = [asyncio.ensure_future(writer(f"a-{number}")) for number in range(4)]
        for _ in range(size.pick(3, 8, 30)):
            seen = len(history.told("acked"))
            await until(lambda seen=seen: len(history.told("acked")) >= seen + 40)
            await fresh_nats_server.kill()
            await fresh_nats_server.start()
        stop = True
        await asyncio.gather(*work)
    assert not history.told("refused")
    assert violations(history, await dump(fresh_nats_server.url, "n"), contiguous=True) == []


async def test_a_server_that_stays_dead_makes_calls_in_flight_unknown(fresh_nats_server: EmbeddedServer) -> None:
    """A write in flight when the server dies for good is `OutcomeUnknownError` by its deadline, a load `DeadlineError` or so."""
    async with JetStreamEventStore(fresh_nats_server.url) as store:
        await store.append("a", NewEvent("t"))
        await stop(fresh_nats_server.pid)
        with hurried(store, 1.0):
            write = asyncio.ensure_future(store.append("a", NewEvent("t")))
            load = asyncio.ensure_future(store.get_events("a"))
            await asyncio.sleep(0)
            await fresh_nats_server.kill()
            with pytest.raises(OutcomeUnknownError, match="may or may not be stored"):
                await write
            with pytest.raises((DeadlineError, ServerUnavailableError)):
                await load
            with pytest.raises(ServerUnavailableError, match="aether dev"):
                await store.append("a", NewEvent("t"))


async def test_a_stopped_server_ends_calls_in_time_and_goes_on(fresh_nats_server: EmbeddedServer) -> None:
    """A server that hangs (SIGSTOP) holds no call beyond its deadline; woken, the store goes on as if nothing had been."""
    history = History()
    async with JetStreamEventStore(fresh_nats_server.url, namespace="n") as store:
        await history.write("a", (new := NewEvent("t")).id, 0, store.append("a", new))
        async with stopped(fresh_nats_server.pid):
            with hurried(store, 0.6):
                told = await in_time(history.write("a", (new := NewEvent("t")).id, 0, store.append("a", new)), 0.6)
            with hurried(store, 0.6), pytest.raises(DeadlineError, match="timeout_s="):
                await in_time(store.get_events("a"), 0.6)
        assert told.told == "unknown"
        async with asyncio.timeout(LIMIT_S):
            while (await history.write("a", (new := NewEvent("t")).id, 0, store.append("a", new))).told != "acked":
                pass
    assert violations(history, await dump(fresh_nats_server.url, "n"), contiguous=True) == []


async def fill(store: JetStreamEventStore, actor_id: str) -> tuple[int, StoreFullError]:
    """Append until the store is full; return how many were acked, and the error."""
    acked = 0
    while True:
        try:
            await store.append(actor_id, NewEvent("t", "x" * 50_000))
        except StoreFullError as error:
            return acked, error
        acked += 1
        assert acked < 1000, "it does not fill"


async def test_a_full_server_refuses_and_loses_nothing() -> None:
    """At the server's storage limit a write is `StoreFullError`; all that was acked is there, and reads go on."""
    with running_server({"jetstream": {"max_file_store": 2**20}}) as server:
        async with JetStreamEventStore(server.url, namespace="n") as store:
            acked, error = await fill(store, "a")
            assert "nothing was stored" in str(error)
            assert "free disk space or raise the limit" in str(error)
            assert await store.get_latest_version("a") == acked > 5
        assert [message.versions for message in await dump(server.url, "n")] == [[v] for v in range(1, acked + 1)]


async def test_a_full_stream_refuses_and_works_again_when_its_limit_is_raised(
    nats_server: EmbeddedServer, namespace: str
) -> None:
    """`max_bytes` is the one limit allowed: full, it refuses and drops nothing; raised, the same store goes on."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store, stock_client(nats_server.url) as client:
        await store.append("first", NewEvent("t"))
        await resize(client, namespace, 500_000)
        acked, error = await fill(store, "a")
        assert error.what == f"AETHER-EVENTS-{namespace}"
        assert [event.version for event in await store.get_events("first")] == [1], "nothing old was dropped"
        await resize(client, namespace, 10_000_000)
        async with JetStreamEventStore(nats_server.url, namespace=namespace) as second:
            assert (await second.append("a", NewEvent("t"))).version == acked + 1
        assert (await store.append("a", NewEvent("t"))).version == acked + 2


async def resize(client: Any, namespace: str, max_bytes: int) -> None:
    """Give the namespace's event stream another `max_bytes`."""
    name = f"AETHER-EVENTS-{namespace}"
    config = (await api(client, f"STREAM.INFO.{name}"))["config"]
    answer = await api(client, f"STREAM.UPDATE.{name}", **{**config, "max_bytes": max_bytes})
    assert "error" not in answer, answer


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB, 8 of them taken by a file `ballast` that can be removed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        (disk / "ballast").write_bytes(bytes(8 * 2**20))
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


async def test_a_full_disk_loses_no_ack(small_disk: Path) -> None:
    """On a disk that is really full writes fail loudly; with room again all that was acked is there, and no more."""
    history = History()

    async def append(index: int, size: int = 50_000) -> Write:
        new = NewEvent("t", os.urandom(size))
        return await history.write(f"a-{index % 3}", new.id, 0, store.append(f"a-{index % 3}", new))

    async with EmbeddedServer(small_disk / "data", settings={"jetstream": {"max_file_store": 2**30}}) as server:
        async with JetStreamEventStore(server.url, namespace="n", timeout_s=4) as store:
            for index in range(400):
                if (await append(index)).told != "acked":
                    break
            else:
                pytest.fail("the disk never filled")
        (small_disk / "ballast").unlink()
        await server.restart()
        async with JetStreamEventStore(server.url, namespace="n") as store:
            assert [(await append(index, 10)).told for index in range(3)] == ["acked"] * 3
        assert len(history.told("acked")) > 50
        assert violations(history, await dump(server.url, "n"), contiguous=True) == []


async def test_a_commit_beyond_the_server_limit_is_told_with_both_figures() -> None:
    """A commit above max_payload is `CommitTooLargeError` with its size and the server's limit, and the store stays usable."""
    with running_server({"max_payload": 4096}) as server:
        async with JetStreamEventStore(server.url) as store:
            with pytest.raises(ValueError, match="the limit is 4,096"):
                await store.save_event(Event("a", "t", 1, "x" * 4000))
            for size in range(3700, 4096):
                try:
                    await store.append("b", NewEvent("t", "x" * size))
                except ValueError:
                    break
            else:
                pytest.fail("the limit was never reached")
            assert await store.get_latest_version("b") == size - 3700, "right up to the limit the server took them"


async def test_a_server_that_takes_less_after_a_restart_is_told(tmp_path: Path) -> None:
    """A commit that fitted when it was made, and no more when it is sent, is a clear error, and the store stays usable."""
    async with EmbeddedServer(tmp_path / "data") as server, JetStreamEventStore(server.url, timeout_s=LIMIT_S) as store:
        await store.append("a", NewEvent("t"))
        await stop(server.pid)
        call = asyncio.ensure_future(store.append("a", NewEvent("t", "x" * 100_000)))
        await until(lambda: store._connection._carrier.transport._waiting)
        await server.kill()
        await server.aclose()
        async with EmbeddedServer(tmp_path / "data", port=server.port, settings={"max_payload": 4096}):
            with pytest.raises(OutcomeUnknownError) as caught:
                await call
            assert "more than the server takes" in str(caught.value.__cause__)
            assert (await store.append("a", NewEvent("t"))).version == 2
            with pytest.raises(CommitTooLargeError, match="4,096"):
                await store.append("a", NewEvent("t", "x" * 100_000))
