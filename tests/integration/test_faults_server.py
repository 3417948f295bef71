"""Servers that are absent, dying, stopped, full, too old, without JetStream or unwilling: each has its error and its message."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from faults.dump import api, dump, stock_client
from faults.history import History, Write, violations
from faults.waiting import until

from aether import (
    AccessDeniedError,
    CommitTooLargeError,
    DeadlineError,
    EmbeddedServer,
    Event,
    JetStreamEventStore,
    NewEvent,
    OutcomeUnknownError,
    ServerUnavailableError,
    StoreFullError,
    UnsupportedServerError,
)
from aether._native import Head
from aether.nats.server_files import find_binary
from aether.testing.servers import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from conftest import Size

FAST_S = 5.0
"""What "fast" is here: well within the ten seconds that a call may take."""

USERS = {
    "accounts": {
        "APP": {
            "jetstream": "enabled",
            "users": [
                {"user": "all", "password": "right"},
                {"user": "reader", "password": "right", "permissions": {"publish": {"deny": ["aether.>"]}}},
                {"user": "blind", "password": "right", "permissions": {"publish": {"deny": ["$JS.API.STREAM.MSG.GET.>"]}}},
                {"user": "deaf", "password": "right", "permissions": {"subscribe": {"deny": ["_INBOX.>"]}}},
                {"user": "idle", "password": "right", "permissions": {"publish": {"deny": [">"]}}},
            ],
        },
        "BARE": {"users": [{"user": "bare", "password": "right"}]},
    }
}


def as_user(server: EmbeddedServer, user: str, password: str = "right") -> str:
    """The server's URL with these credentials."""
    return server.url.replace("nats://", f"nats://{user}:{password}@")


async def test_no_server_says_where_it_was_looked_for_and_what_to_type() -> None:
    """With nobody listening a call is `ServerUnavailableError`, with the address, the cause and the command to type."""
    store = JetStreamEventStore("nats://127.0.0.1:1", timeout_s=0.3)
    with pytest.raises(ServerUnavailableError) as caught:
        await store.get_events("a")
    assert "nats://127.0.0.1:1" in str(caught.value)
    assert "refused" in str(caught.value).lower()
    assert "aether dev" in str(caught.value)
    await store.aclose()


async def test_a_host_that_does_not_exist_is_named() -> None:
    """A misspelt host is `ServerUnavailableError` with its name, and no password of the URL."""
    store = JetStreamEventStore("nats://me:secret@no-such-host.invalid:4222", timeout_s=0.5)
    with pytest.raises(ServerUnavailableError, match=r"no-such-host\.invalid") as caught:
        await store.get_events("a")
    assert "secret" not in str(caught.value)
    await store.aclose()


async def test_wrong_credentials_are_refused_fast_and_without_the_password() -> None:
    """Wrong credentials are `AccessDeniedError` at once, and no message shows them."""
    with running_server(USERS) as server:
        async with asyncio.timeout(FAST_S):
            for url in (as_user(server, "all", "wrong"), server.url):
                store = JetStreamEventStore(url, timeout_s=60)
                with pytest.raises(AccessDeniedError, match="credentials") as caught:
                    await store.get_events("a")
                assert "wrong" not in str(caught.value)
                await store.aclose()


async def test_denied_subjects_are_refused_fast() -> None:
    """A publish or an inbox that the account may not use is `AccessDeniedError` at once, not a deadline."""
    with running_server(USERS) as server:
        async with JetStreamEventStore(as_user(server, "all")) as store:
            await store.append("A-b", NewEvent("t"))
        async with asyncio.timeout(FAST_S):
            async with JetStreamEventStore(as_user(server, "reader"), timeout_s=60) as store:
                assert [event.version for event in await store.get_events("A-b")] == [1]
                with pytest.raises(AccessDeniedError, match=r"(?i)permissions violation for publish"):
                    await store.append("A-b", NewEvent("t"))
                assert await store.get_latest_version("A-b") == 1, "the store is usable after a refusal"
            async with JetStreamEventStore(as_user(server, "blind"), timeout_s=60) as store:
                with pytest.raises(AccessDeniedError, match=r"(?i)stream.msg.get"):
                    await store.get_events("A-b")
            for user in ("deaf", "idle"):
                with pytest.raises(AccessDeniedError, match=r"(?i)permissions violation"):
                    await JetStreamEventStore(as_user(server, user), timeout_s=60).__aenter__()


async def test_credentials_revoked_in_flight_are_refused_and_work_again_when_restored() -> None:
    """A user removed while the store is open makes calls `AccessDeniedError`; restored, the same store goes on."""
    with running_server(USERS) as server:
        async with JetStreamEventStore(as_user(server, "all"), timeout_s=4) as store:
            await store.append("a", NewEvent("t"))
            without = json.loads(json.dumps(USERS))
            del without["accounts"]["APP"]["users"][0]
            reload(server, without)
            async with asyncio.timeout(FAST_S):
                while True:
                    try:
                        await store.append("a", NewEvent("t"))
                    except AccessDeniedError:
                        break
                    except (OutcomeUnknownError, ServerUnavailableError):
                        continue
            reload(server, USERS)
            async with asyncio.timeout(FAST_S):
                while True:
                    try:
                        await store.append("a", NewEvent("t"))
                        break
                    except (AccessDeniedError, ServerUnavailableError):
                        await asyncio.sleep(0.05)


def reload(server: EmbeddedServer, settings: Mapping[str, Any]) -> None:
    """Let the running server read its configuration anew, with these settings."""
    directory = server.store_dir
    assert directory is not None
    file = directory / "nats-server.conf"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    os.kill(server.pid, signal.SIGHUP)


async def test_an_account_without_jetstream_is_told_fast() -> None:
    """An account without JetStream is `UnsupportedServerError` that says what to allow."""
    with running_server(USERS) as server:
        async with asyncio.timeout(FAST_S):
            with pytest.raises(UnsupportedServerError, match="allow the account JetStream"):
                await JetStreamEventStore(as_user(server, "bare"), timeout_s=60).__aenter__()


async def test_jetstream_off_is_told_fast(tmp_path: Path) -> None:
    """A server without JetStream is `UnsupportedServerError` that says how to turn it on."""
    server = await asyncio.create_subprocess_exec(
        find_binary(), "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", tmp_path, "-l", tmp_path / "log"
    )
    try:
        await until(lambda: list(tmp_path.glob("*.ports")))
        url = ports_of(tmp_path)
        async with asyncio.timeout(FAST_S):
            with pytest.raises(UnsupportedServerError, match="JetStream is off; start the server with: nats-server -js"):
                await JetStreamEventStore(url, timeout_s=60).__aenter__()
    finally:
        server.terminate()
        await server.wait()


async def test_a_stream_made_anew_is_written_again_after_one_failure(fresh_nats_server: EmbeddedServer) -> None:
    """A store that remembers heads of a stream which was lost with its memory fails once, then starts afresh."""
    async with JetStreamEventStore(fresh_nats_server.url, storage="memory", timeout_s=0.6) as store:
        await store.append("a", [NewEvent("t")] * 1)
        await store.append("a", NewEvent("t"))
        await fresh_nats_server.kill()
        await fresh_nats_server.start()
        async with JetStreamEventStore(fresh_nats_server.url, storage="memory") as another:
            assert await another.get_events("a") == []
            with pytest.raises(DeadlineError):
                await store.get_events("a")
            assert await store.get_events("a") == []
            assert (await store.append("a", NewEvent("t"))).version == 1


async def test_a_leader_that_lags_behind_our_own_writes_is_asked_again(nats_server: EmbeddedServer, namespace: str) -> None:
    """What this store has seen of an actor it never reads less of: a shorter answer is waited out, then told."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace, timeout_s=0.3) as store:
        position = (await store.append("a", NewEvent("t"))).position
        store._writer.heads.put("a", Head().after(7, position + 1000))
        with pytest.raises(DeadlineError, match=f"up to its position {position + 1000}"):
            await store.get_events("a")
        assert [event.version for event in await store.get_events("a")] == [1]


def ports_of(directory: Path) -> str:
    """The URL that a server has written into its ports file."""
    url: str = json.loads(next(directory.glob("*.ports")).read_text())["nats"][0]
    return url


async def serve_info(info: dict[str, Any]) -> asyncio.Server:
    """A peer that greets like a nats-server, and answers PING and nothing else."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
        while line := await reader.readline():
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
        writer.close()

    return await asyncio.start_server(greet, "127.0.0.1", 0)


@pytest.mark.parametrize("version", ["2.10.0", "2.9.25", "2.14.4", "0.0.0"])
async def test_a_server_that_is_too_old_is_named(version: str) -> None:
    """An old server is `UnsupportedServerError` with its version and the one that is needed, and no connection is left."""
    server = await serve_info({"version": version, "max_payload": 1048576, "headers": True})
    port = server.sockets[0].getsockname()[1]
    store = JetStreamEventStore(f"nats://127.0.0.1:{port}", timeout_s=2)
    with pytest.raises(UnsupportedServerError, match=r"2\.14\.5 or later") as caught:
        await store.get_events("a")
    assert version in str(caught.value)
    await store.aclose()
    server.close()
    await server.wait_closed()


async def test_a_peer_that_is_no_nats_server_is_told() -> None:
    """A port where something else answers is `ServerUnavailableError` with the address."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = JetStreamEventStore(f"nats://127.0.0.1:{port}", timeout_s=0.5)
    with pytest.raises(ServerUnavailableError, match=f"127.0.0.1:{port}"):
        await store.get_events("a")
    await store.aclose()
    server.close()
    await server.wait_closed()


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
    async with JetStreamEventStore(fresh_nats_server.url, timeout_s=1) as store:
        await store.append("a", NewEvent("t"))
        await stop(fresh_nats_server)
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
    async with JetStreamEventStore(fresh_nats_server.url, namespace="n", timeout_s=0.6) as store:
        await history.write("a", (new := NewEvent("t")).id, 0, store.append("a", new))
        await stop(fresh_nats_server)
        try:
            async with asyncio.timeout(1.6):
                told = await history.write("a", (new := NewEvent("t")).id, 0, store.append("a", new))
            async with asyncio.timeout(1.6):
                with pytest.raises(DeadlineError, match="timeout_s="):
                    await store.get_events("a")
        finally:
            os.kill(fresh_nats_server.pid, signal.SIGCONT)
        assert told.told == "unknown"
        async with asyncio.timeout(10):
            while (await history.write("a", (new := NewEvent("t")).id, 0, store.append("a", new))).told != "acked":
                pass
    assert violations(history, await dump(fresh_nats_server.url, "n"), contiguous=True) == []


async def stop(server: EmbeddedServer) -> None:
    """Send SIGSTOP, and wait until every thread of the server has stopped."""
    os.kill(server.pid, signal.SIGSTOP)
    stats = Path(f"/proc/{server.pid}/task")
    await until(lambda: all(task.read_text().rpartition(")")[2].split()[0] == "T" for task in stats.glob("*/stat")))


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
        async with JetStreamEventStore(server.url, namespace="n", timeout_s=2) as store:
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
    async with EmbeddedServer(tmp_path / "data") as server, JetStreamEventStore(server.url, timeout_s=3) as store:
        await store.append("a", NewEvent("t"))
        await stop(server)
        call = asyncio.ensure_future(store.append("a", NewEvent("t", "x" * 100_000)))
        await until(lambda: store._connection._transport._waiting)
        await server.kill()
        await server.aclose()
        async with EmbeddedServer(tmp_path / "data", port=server.port, settings={"max_payload": 4096}):
            with pytest.raises(OutcomeUnknownError) as caught:
                await call
            assert "more than the server takes" in str(caught.value.__cause__)
            assert (await store.append("a", NewEvent("t"))).version == 2
            with pytest.raises(CommitTooLargeError, match="4,096"):
                await store.append("a", NewEvent("t", "x" * 100_000))
