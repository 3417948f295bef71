"""TLS on real servers, of every kind: what is trusted works over the lane, what is not is named at once, never in cleartext."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from certificates import Authority, server_tls
from faults.waiting import until
from restarting import write_restart_write

from aether import (
    AccessDeniedError,
    AetherError,
    ConnectOptions,
    EmbeddedServer,
    JetStreamEventStore,
    NewEvent,
    ServerUnavailableError,
)
from aether.testing.servers import running_cluster, running_server

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FAST_S = 60.0
PASSWORD = {"authorization": {"user": "me", "password": "s3cret"}}


class Kit:
    """An authority, another one, and certificates for this machine."""

    def __init__(self, directory: Path) -> None:
        self.authority, self.other = Authority(directory), Authority(directory, "other-authority")
        self.server = self.authority.issue("server")
        self.named = self.authority.issue("named", host="nats.example")
        self.expired = self.authority.issue("expired", ends=-dt.timedelta(hours=1))
        self.client, self.stranger = self.authority.issue("client"), self.other.issue("stranger")
        self.stale = self.authority.issue("stale", ends=-dt.timedelta(hours=1))

    def mutual(self) -> dict[str, Any]:
        """Settings of a server that wants a client certificate."""
        return server_tls(self.server, verify=True, ca_file=str(self.authority.file))


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """Certificates for the tests of this file."""
    return Kit(tmp_path_factory.mktemp("certificates"))


def address(server: EmbeddedServer, scheme: str = "nats", who: str = "me:s3cret@") -> str:
    """The server's URL."""
    return f"{scheme}://{who}127.0.0.1:{server.port}"


async def write_encrypted(server: EmbeddedServer, url: str, options: ConnectOptions | None) -> None:
    """Save and read over an encrypted lane, before and after a restart."""
    async with JetStreamEventStore(url, options=options) as store:
        await write_restart_write(server, store)
        assert is_encrypted(store)


def is_encrypted(store: JetStreamEventStore) -> bool:
    """Whether both connections are."""
    connection = store._connection
    control, lane = connection.client._transport._io_writer.transport, connection._carrier.transport._transport
    return all(transport.get_extra_info("ssl_object") is not None for transport in (control, lane))


@pytest.mark.parametrize("scheme", ["nats", "tls"])
@pytest.mark.parametrize("kind", ["required", "verify", "first", "available", "other-name"])
async def test_tls_is_spoken_on_both_connections(kit: Kit, kind: str, scheme: str) -> None:
    """Where a server requires TLS, a client certificate, TLS first, or only offers it, both connections speak it."""
    trusted = {"tls": kit.authority.trusted()}
    settings, given = {
        "required": (server_tls(kit.server), trusted),
        "verify": (kit.mutual(), {"tls": kit.authority.trusted(kit.client)}),
        "first": (server_tls(kit.server, handshake_first=True), {**trusted, "tls_handshake_first": True}),
        "available": ({**server_tls(kit.server), "allow_non_tls": True}, trusted),
        "other-name": (server_tls(kit.named), {**trusted, "tls_hostname": "nats.example"}),
    }[kind]
    with running_server({**PASSWORD, **settings}) as server:
        await write_encrypted(server, address(server, scheme), ConnectOptions(**given))


async def test_a_certificate_may_say_who_we_are(kit: Kit) -> None:
    """A server that knows users by their certificates needs no password."""
    settings = server_tls(kit.server, verify_and_map=True, ca_file=str(kit.authority.file))
    settings |= {"authorization": {"users": [{"user": "CN=client"}]}}
    with running_server(settings) as server:
        options = ConnectOptions(tls=kit.authority.trusted(kit.client))
        await write_encrypted(server, address(server, who=""), options)


async def test_the_systems_authorities_are_trusted(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a context of ours the system's certificate authorities count, on both connections."""
    monkeypatch.setenv("SSL_CERT_FILE", str(kit.authority.file))
    with running_server({**PASSWORD, **server_tls(kit.server)}) as server:
        await write_encrypted(server, address(server, "tls"), None)


@pytest.mark.parametrize(
    ("served", "kind", "says"),
    [
        ("server", ServerUnavailableError, "not trusted.*--tls-ca"),
        ("named", ServerUnavailableError, "not trusted.*IP address mismatch.*tls_hostname"),
        ("expired", ServerUnavailableError, "not trusted.*expired.*renew"),
        ("mutual", AccessDeniedError, "wants a client certificate.*--tls-cert"),
        ("mutual-stranger", AccessDeniedError, "client certificate"),
        ("mutual-stale", AccessDeniedError, "client certificate"),
        ("cleartext", ServerUnavailableError, "offers no TLS"),
        ("cleartext-first", ServerUnavailableError, "does not begin with TLS"),
    ],
)
async def test_what_is_wrong_is_named_at_once(kit: Kit, served: str, kind: type[AetherError], says: str) -> None:
    """A certificate that is not trusted, on either side, and TLS that is not there: an error fast, that names host and reason."""
    trusted = kit.authority.trusted()
    plain: dict[str, object] = {}
    settings, given = {
        "server": (server_tls(kit.server), {"tls": kit.other.trusted()}),
        "named": (server_tls(kit.named), {"tls": trusted}),
        "expired": (server_tls(kit.expired), {"tls": trusted}),
        "mutual": (kit.mutual(), {"tls": trusted}),
        "mutual-stranger": (kit.mutual(), {"tls": kit.authority.trusted(kit.stranger)}),
        "mutual-stale": (kit.mutual(), {"tls": kit.authority.trusted(kit.stale)}),
        "cleartext": (plain, {"tls": trusted}),
        "cleartext-first": (plain, {"tls": trusted, "tls_handshake_first": True}),
    }[served]
    with running_server({**PASSWORD, **settings}) as server:
        store = JetStreamEventStore(address(server), options=ConnectOptions(**given), timeout_s=200)
        async with asyncio.timeout(FAST_S):
            with pytest.raises(kind, match=says) as caught:
                await store.append("a", NewEvent("t"))
        assert f"127.0.0.1:{server.port}" in str(caught.value)
        assert "s3cret" not in str(caught.value)
        await store.aclose()


async def test_a_server_that_begins_with_tls_is_guessed(kit: Kit) -> None:
    """Who waits for the word of a server that waits for TLS is told what to try."""
    with running_server({**PASSWORD, **server_tls(kit.server, handshake_first=True)}) as server:
        store = JetStreamEventStore(address(server), options=ConnectOptions(tls=kit.authority.trusted()), timeout_s=2)
        with pytest.raises(ServerUnavailableError, match="tls_handshake_first=True"):
            await store.get_events("a")
        await store.aclose()


async def test_tls_is_not_given_up_when_the_server_gives_it_up(kit: Kit) -> None:
    """A server that comes back without TLS gets no credentials: the open store says so, and goes on when TLS is back."""
    tls = server_tls(kit.server)
    with running_server({**PASSWORD, **tls}) as server:
        options = ConnectOptions(tls=kit.authority.trusted())
        async with JetStreamEventStore(address(server), options=options, timeout_s=200) as store:
            await store.append("a", NewEvent("t"))
            restarting(server, {"tls": None})
            await server.restart()
            async with asyncio.timeout(FAST_S):
                with pytest.raises(ServerUnavailableError, match="offers no TLS"):
                    await store.get_events("a")
            restarting(server, tls)
            await server.restart()
            await store.append("a", NewEvent("t"))
            assert await store.get_latest_version("a") == 2


async def test_one_server_with_a_bad_certificate_does_not_spoil_the_others(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two servers the one whose certificate is trusted serves, whichever is tried first."""
    monkeypatch.setattr("nats.aio.client.shuffle", lambda _: None)
    options = ConnectOptions(tls=kit.authority.trusted())
    with (
        running_server({**PASSWORD, **server_tls(kit.expired)}) as bad,
        running_server({**PASSWORD, **server_tls(kit.server)}) as good,
    ):
        for first, second in ((bad, good), (good, bad)):
            async with JetStreamEventStore(f"{address(first)},{address(second)}", options=options) as store:
                await store.append("a", NewEvent("t"))
                assert store._connection.client.connected_url.port == good.port


async def test_servers_that_the_cluster_tells_of_have_the_first_ones_name(kit: Kit) -> None:
    """A gossiped address is checked against the name that the URL has, with TLS and the same credentials."""
    local = kit.authority.issue("local", host="localhost")
    with running_cluster({**PASSWORD, **server_tls(local)}) as cluster:
        url = f"tls://me:s3cret@localhost:{cluster.servers[0].port}"
        options = ConnectOptions(tls=kit.authority.trusted())
        async with JetStreamEventStore(url, options=options, replicas=3, timeout_s=30) as store:
            await store.append("a", NewEvent("t"))
            client = store._connection.client
            await until(lambda: len(client.servers) >= 3)
            await cluster.kill(0)
            await store.append("a", NewEvent("t"))
            assert (await store.info()).transport == "lane"
            assert is_encrypted(store)


def test_a_context_that_is_a_servers_is_refused() -> None:
    """A context made for servers is a `ValueError` before anything is connected."""
    with pytest.raises(ValueError, match="a server's context"):
        ConnectOptions(tls=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


def restarting(server: EmbeddedServer, settings: Mapping[str, Any]) -> None:
    """Change what the server reads at its next start."""
    for name, value in settings.items():
        if value is None:
            server.process._settings.pop(name)
        else:
            server.process._settings[name] = value
