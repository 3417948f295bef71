"""WebSocket, where nats-py carries the data: a part of the contract, every setting that goes with it, and its faults."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from certificates import Authority, server_tls
from key_users import Key

from aether import AccessDeniedError, ConnectOptions, EmbeddedServer, JetStreamEventStore, NewEvent, ServerUnavailableError
from aether.testing.contract_appending import AppendingContract
from aether.testing.contract_reading import ReadingContract
from aether.testing.contract_saving import SavingContract
from aether.testing.servers import free_ports, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

# nats-py's call of aiohttp is of an old form; nothing here can change that.
pytestmark = pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float' is deprecated:DeprecationWarning")

FAST_S = 60.0
USER = Key()
BY_NKEY = {"authorization": {"users": [{"nkey": USER.public}]}}


def listening(**settings: object) -> dict[str, Any]:
    """Settings of a server with a WebSocket port, which stays the same over restarts."""
    return {"websocket": {"listen": f"127.0.0.1:{free_ports(1)[0]}", **settings}}


def url_of(server: EmbeddedServer, scheme: str = "ws", who: str = "") -> str:
    """Where it listens."""
    return f"{scheme}://{who}{server.process._settings['websocket']['listen']}"


@pytest.fixture(scope="module")
def websocket_server() -> Iterator[EmbeddedServer]:
    """A server with a WebSocket port and a password."""
    with running_server({**listening(no_tls=True), "authorization": {"user": "me", "password": "p:w"}}) as server:
        yield server


@pytest.fixture(scope="module")
def where(websocket_server: EmbeddedServer) -> tuple[str, str]:
    """The URL, and a namespace for all tests of the contract."""
    return url_of(websocket_server, who="me:p%3Aw@"), f"websocket-{uuid.uuid4().hex[:8]}"


class TestWebSocket(AppendingContract, ReadingContract, SavingContract):
    """The contract's saving, appending and reading, over WebSocket."""

    @pytest.fixture
    async def store(self, where: tuple[str, str]) -> AsyncIterator[JetStreamEventStore]:
        """Open a store."""
        async with JetStreamEventStore(where[0], namespace=where[1]) as store:
            assert (await store.info()).transport == "nats-py"
            yield store

    @pytest.fixture
    async def peer(self, where: tuple[str, str]) -> AsyncIterator[JetStreamEventStore]:
        """Open a connection of its own."""
        async with JetStreamEventStore(where[0], namespace=where[1]) as peer:
            yield peer


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_options_work_over_websocket(scheme: str, tmp_path: Path) -> None:
    """An nkey, and TLS with an authority of its own, work over WebSocket, also after a restart."""
    authority = Authority(tmp_path)
    secured = scheme == "wss"
    settings = listening(**(server_tls(authority.issue("server")) if secured else {"no_tls": True}))
    options = ConnectOptions(nkeys_seed_str=USER.seed, tls=authority.trusted() if secured else None)
    with running_server({**BY_NKEY, **settings}) as server:
        async with JetStreamEventStore(url_of(server, scheme), options=options) as store:
            await store.append("a", NewEvent("t"))
            await server.restart()
            await store.append("a", NewEvent("t"))
            assert [event.version for event in await store.get_events("a")] == [1, 2]
            assert (await store.info()).transport == "nats-py"


async def test_what_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    """A wrong login and a certificate that is not trusted are errors fast over WebSocket too, and show no secret."""
    authority, other = Authority(tmp_path), Authority(tmp_path, "other-authority")
    with running_server({**BY_NKEY, **listening(**server_tls(authority.issue("server")))}) as server:
        for options, kind, says in (
            (ConnectOptions(nkeys_seed_str=Key().seed, tls=authority.trusted()), AccessDeniedError, "credentials"),
            (ConnectOptions(nkeys_seed_str=USER.seed, tls=other.trusted()), ServerUnavailableError, "not trusted"),
        ):
            store = JetStreamEventStore(url_of(server, "wss"), options=options, timeout_s=200)
            async with asyncio.timeout(FAST_S):
                with pytest.raises(kind, match=says):
                    await store.append("a", NewEvent("t"))
            await store.aclose()


async def test_nobody_who_listens_is_told_without_the_credentials() -> None:
    """Where nobody listens the error names the address, and not the password of the URL."""
    store = JetStreamEventStore("ws://me:s3cret@127.0.0.1:1", timeout_s=0.5)
    with pytest.raises(ServerUnavailableError, match=r"ws://127\.0\.0\.1:1") as caught:
        await store.append("a", NewEvent("t"))
    assert "s3cret" not in f"{caught.value} {caught.value.__cause__!r}"
    await store.aclose()
