"""Witnesses where servers ask who one is, and where nobody can witness: who is let in, and what is said instead of a proof."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import nats
import pytest
from certificates import Authority, server_tls
from feeding import due, events_of, transport_to
from witnessing import witnesses

from aether import AccessDeniedError, ConnectOptions, NATSEventBus, ServersUnreachableError
from aether.nats.portable import NatsPyTransport
from aether.testing.servers import running_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from aether.nats.transport import Transport
    from aether.testing import NatsCluster

# nats-py's call of aiohttp is of an old form; nothing here can change that.
pytestmark = pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float' is deprecated:DeprecationWarning")

PERMISSIONS = {"publish": {"deny": ["_INBOX.>"]}}

USERS = {
    "authorization": {
        "users": [{"user": "all", "password": "p"}, {"user": "mute", "password": "p", "permissions": PERMISSIONS}],
    }
}


def _as(user: str) -> Callable[[str], str]:
    return lambda url: url.replace("nats://", f"nats://{user}:p@")


@pytest.fixture(scope="module")
def strict_cluster() -> Iterator[NatsCluster]:
    """A cluster that asks who one is, with WebSocket ports."""
    with running_cluster({**USERS, "websocket": {"port": -1, "host": "127.0.0.1", "no_tls": True}}) as cluster:
        yield cluster


async def test_witnesses_log_in_as_their_connection_does(strict_cluster: NatsCluster) -> None:
    """Credentials of the URL, or of the options, are the witnesses' too."""
    for url, options in (
        (_as("all")(strict_cluster.urls[0]), None),
        (strict_cluster.urls[0], ConnectOptions(user="all", password="p")),
    ):
        async with transport_to(url, options=options) as transport, witnesses() as (proof, told):
            await proof.prove(transport, due())
            assert len(proof._of_url) == 2
        assert told == []


async def test_witnesses_speak_tls_and_check_the_name_of_the_url(tmp_path: Path) -> None:
    """Servers that are named by their addresses must have the certificate of the URL's name; another one is no witness."""
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    options = ConnectOptions(tls=authority.trusted())
    with running_cluster(server_tls(authority.issue("local", host="localhost"))) as cluster:
        url = f"tls://localhost:{cluster.servers[0].port}"
        async with transport_to(url, options=options) as transport, witnesses() as (proof, told):
            await proof.prove(transport, due())
            assert told == []
            for witness in proof._of_url.values():
                assert witness.lane is None or witness.lane._transport.get_extra_info("ssl_object") is not None
            assert [witness for witness in proof._of_url.values() if witness.lane is not None]
        client_options = ConnectOptions(tls=stranger.trusted())
        async with borrowed(url, authority) as transport, witnesses(client_options) as (proof, _):
            async with asyncio.timeout(60):
                with pytest.raises(ServersUnreachableError) as caught:
                    await proof.prove(transport, due(200))
            assert "certificate" in str(caught.value.__cause__)


@asynccontextmanager
async def borrowed(url: str, authority: Authority) -> AsyncIterator[Transport]:
    """The transport of a client over TLS that somebody else made."""
    client = await nats.connect(url, tls=authority.trusted())
    yield await NatsPyTransport.open(client)
    await client.close()


async def test_a_borrowed_client_needs_options_where_servers_ask_who_one_is(strict_cluster: NatsCluster) -> None:
    """Without options witnesses are refused soon, as unreachable, and the cause says why; with options they are let in."""
    async with transport_to(_as("all")(strict_cluster.urls[0]), "borrowed") as transport:
        async with asyncio.timeout(60), witnesses() as (proof, _):
            with pytest.raises(ServersUnreachableError, match=r"(?i)authorization violation.*options=") as caught:
                await proof.prove(transport, due(200))
            assert isinstance(caught.value.__cause__, AccessDeniedError)
        async with witnesses(ConnectOptions(user="all", password="p")) as (proof, told):
            for _ in range(3):
                await proof.prove(transport, due())
            assert told == []


async def test_a_witness_that_may_not_publish_to_an_inbox_says_so(strict_cluster: NatsCluster) -> None:
    """A user who may not publish to an inbox is told so soon: `AccessDeniedError`, with the subject."""
    async with transport_to(_as("mute")(strict_cluster.urls[0])) as transport, witnesses() as (proof, _):
        async with asyncio.timeout(60):
            with pytest.raises(AccessDeniedError, match=r'(?i)publish to "_inbox'):
                await proof.prove(transport, due(200))
        assert transport.is_open()


async def test_over_websocket_other_servers_are_out_of_reach(strict_cluster: NatsCluster) -> None:
    """Over WebSocket nobody can witness, so other servers that are named make it an error at once, whoever owns the client."""
    url = strict_cluster.servers[0].process.ports["websocket"][0].replace("ws://", "ws://all:p@")
    for kind in ("websocket", "borrowed"):
        async with transport_to(url, kind) as transport, witnesses() as (proof, _):
            with pytest.raises(ServersUnreachableError) as caught:
                await proof.prove(transport, due(200))
            assert len(caught.value.servers) == 2


async def test_an_address_of_several_servers_is_no_proof() -> None:
    """Where several servers give one address a proof is refused at once."""
    with running_cluster({"client_advertise": "127.0.0.1:9"}) as cluster:
        async with transport_to(cluster.urls[0]) as transport, witnesses() as (proof, _):
            with pytest.raises(ServersUnreachableError, match="address"):
                await proof.prove(transport, due(200))


async def test_servers_that_are_not_named_are_not_claimed(namespace: str, caplog: pytest.LogCaptureFixture) -> None:
    """Where the own server has a cluster and names nobody, as its first server does, a subscription says how far it is proven."""
    with running_cluster({"cluster": {"no_advertise": True}}) as cluster:
        async with NATSEventBus(cluster.urls[0], namespace=namespace) as bus, await bus.subscribe() as subscription:
            assert subscription.ready == "server"
            await bus.publish(*events_of("a", 1))
            assert (await anext(subscription)).actor_id == "a"
    assert [record.levelname for record in caplog.records if "names no other server" in record.getMessage()] == ["WARNING"]
