"""The bus contract on real servers: one, and three that are reached by different ones; `peer` is a connection of its own."""

from __future__ import annotations

from contextlib import asynccontextmanager

import nats
import pytest

from aether import NATSEventBus, sync
from aether.testing import BusContract, as_async
from aether.testing.servers import free_ports, running_server


class Owned(BusContract):
    """The async bus, over lanes."""

    @pytest.fixture
    async def bus(self, urls, namespace):
        """Make a bus."""
        bus = NATSEventBus(urls[0], namespace=namespace)
        yield bus
        await bus.aclose()

    @pytest.fixture
    async def peer(self, urls, namespace):
        """Open a bus with a connection of its own."""
        async with NATSEventBus(urls[1], namespace=namespace) as peer:
            yield peer


class Borrowed(BusContract):
    """The async bus over clients of somebody else's: every message travels through nats-py."""

    @pytest.fixture
    async def bus(self, urls, namespace):
        """Make a bus on a client."""
        async with borrowing(urls[0], namespace) as bus:
            yield bus

    @pytest.fixture
    async def peer(self, urls, namespace):
        """Make another, on a client of its own."""
        async with borrowing(urls[1], namespace) as peer:
            assert (await peer.info()).transport == "nats-py"
            yield peer


@asynccontextmanager
async def borrowing(url, namespace):
    """Make a bus on a client that is closed after it."""
    client = await nats.connect(url)
    bus = NATSEventBus(client, namespace=namespace)
    try:
        yield bus
    finally:
        await bus.aclose()
        await client.close()


class TestOneServer(Owned):
    """One server."""

    @pytest.fixture
    def urls(self, nats_server):
        """Say where it is."""
        return nats_server.url, nats_server.url


class TestOneServerBorrowed(Borrowed):
    """One server, over nats-py."""

    @pytest.fixture
    def urls(self, nats_server):
        """Say where it is."""
        return nats_server.url, nats_server.url


class TestThreeServers(Owned):
    """Two nodes of a cluster."""

    @pytest.fixture
    def urls(self, nats_cluster):
        """Say where they are."""
        return nats_cluster.urls


class TestThreeServersBorrowed(Borrowed):
    """Two nodes of a cluster, over nats-py."""

    @pytest.fixture
    def urls(self, nats_cluster):
        """Say where they are."""
        return nats_cluster.urls


@pytest.fixture(scope="module")
def websocket_url():
    """Run a server with a WebSocket port; return where that is."""
    place = f"127.0.0.1:{free_ports(1)[0]}"
    with running_server({"websocket": {"listen": place, "no_tls": True}}):
        yield f"ws://{place}"


# nats-py's call of aiohttp is of an old form; nothing here can change that.
@pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float' is deprecated:DeprecationWarning")
class TestWebSocket(Owned):
    """One server, over WebSocket."""

    @pytest.fixture
    def urls(self, websocket_url):
        """Say where it is."""
        return websocket_url, websocket_url


class Blocking(BusContract):
    """The sync bus, called from many threads."""

    # A blocking read cannot be given up.
    test_a_read_given_up_takes_nothing = None
    test_a_read_may_time_out = None

    @pytest.fixture
    async def bus(self, urls, namespace):
        """Make a bus."""
        bus = as_async(sync.NATSEventBus(urls[0], namespace=namespace))
        yield bus
        await bus.aclose()

    @pytest.fixture
    async def peer(self, urls, namespace):
        """Make another, with a connection of its own."""
        peer = as_async(sync.NATSEventBus(urls[1], namespace=namespace))
        yield peer
        await peer.aclose()


class TestOneServerBlocking(Blocking):
    """One server, without await."""

    @pytest.fixture
    def urls(self, nats_server):
        """Say where it is."""
        return nats_server.url, nats_server.url
