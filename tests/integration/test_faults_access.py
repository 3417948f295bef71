"""Servers that are absent, unwilling, too old or without JetStream: each has its error, soon, with a message to act on."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from faults.reloading import reload
from faults.waiting import until

from aether import (
    AccessDeniedError,
    EmbeddedServer,
    JetStreamEventStore,
    NewEvent,
    OutcomeUnknownError,
    ServerUnavailableError,
    UnsupportedServerError,
)
from aether.nats.server_files import find_binary
from aether.testing.servers import running_server

if TYPE_CHECKING:
    from pathlib import Path


FAST_S = 60.0
"""What "fast" is here: well within the minutes that a call may take, also on a machine that others use."""

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
                store = JetStreamEventStore(url, timeout_s=200)
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
            async with JetStreamEventStore(as_user(server, "reader"), timeout_s=200) as store:
                assert [event.version for event in await store.get_events("A-b")] == [1]
                with pytest.raises(AccessDeniedError, match=r"(?i)permissions violation for publish"):
                    await store.append("A-b", NewEvent("t"))
                assert await store.get_latest_version("A-b") == 1, "the store is usable after a refusal"
            async with JetStreamEventStore(as_user(server, "blind"), timeout_s=200) as store:
                with pytest.raises(AccessDeniedError, match=r"(?i)stream.msg.get"):
                    await store.get_events("A-b")
            for user in ("deaf", "idle"):
                with pytest.raises(AccessDeniedError, match=r"(?i)permissions violation"):
                    await JetStreamEventStore(as_user(server, user), timeout_s=200).__aenter__()


async def test_credentials_revoked_in_flight_are_refused_and_work_again_when_restored() -> None:
    """A user removed while the store is open makes calls `AccessDeniedError`; restored, the same store goes on."""
    with running_server(USERS) as server:
        async with JetStreamEventStore(as_user(server, "all"), timeout_s=10) as store:
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
                        appended = await store.append("a", NewEvent("t"))
                        break
                    except (AccessDeniedError, ServerUnavailableError):
                        await asyncio.sleep(0.05)
            assert [event.version for event in await store.get_events("a")] == [*range(1, appended.version + 1)]


async def test_an_account_without_jetstream_is_told_fast() -> None:
    """An account without JetStream is `UnsupportedServerError` that says what to allow."""
    with running_server(USERS) as server:
        async with asyncio.timeout(FAST_S):
            with pytest.raises(UnsupportedServerError, match="allow the account JetStream"):
                await JetStreamEventStore(as_user(server, "bare"), timeout_s=200).__aenter__()


async def test_jetstream_off_is_told_fast(tmp_path: Path) -> None:
    """A server without JetStream is `UnsupportedServerError` that says how to turn it on."""
    server = await asyncio.create_subprocess_exec(
        find_binary(), "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", tmp_path, "-l", tmp_path / "log"
    )
    try:
        await until(lambda: any(file.read_text().endswith("}") for file in tmp_path.glob("*.ports")))
        url = ports_of(tmp_path)
        async with asyncio.timeout(FAST_S):
            with pytest.raises(UnsupportedServerError, match="JetStream is off; start the server with: nats-server -js"):
                await JetStreamEventStore(url, timeout_s=200).__aenter__()
    finally:
        server.terminate()
        await server.wait()


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
    store = JetStreamEventStore(f"nats://127.0.0.1:{port}", timeout_s=30)
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


async def test_tls_that_was_asked_for_is_not_given_up_in_silence(nats_server: EmbeddedServer) -> None:
    """With `tls://` a server that offers no TLS is refused, fast, before any credentials are sent."""
    url = nats_server.url.replace("nats://", "tls://user:secret@")
    async with asyncio.timeout(FAST_S):
        with pytest.raises(ServerUnavailableError, match="it offers no TLS") as caught:
            await JetStreamEventStore(url, timeout_s=200).get_events("a")
    assert "secret" not in str(caught.value)
