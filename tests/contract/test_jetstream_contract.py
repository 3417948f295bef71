"""The store contract on real servers: one, and three with three replicas; `peer` is a connection of its own.

A namespace serves a whole class, as tests keep to actors of their own: to make one takes longer than a test.
"""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager

import nats
import pytest

from aether import JetStreamEventStore, sync
from aether.testing import ArrowContract, StoreContract, as_async


@pytest.fixture(scope="class")
def class_namespace(request):
    """Name a namespace after the class."""
    return f"{request.cls.__name__}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def one_server(nats_server, class_namespace):
    """Say where one server keeps one copy."""
    return {"url_or_client": nats_server.url, "namespace": class_namespace}


@pytest.fixture
def three_servers(nats_cluster, class_namespace):
    """Say where three servers keep three copies."""
    return {"url_or_client": ",".join(nats_cluster.urls), "namespace": class_namespace, "replicas": 3}


class Awaited(StoreContract, ArrowContract):
    """The async store."""

    @pytest.fixture
    async def store(self, where):
        """Open a store."""
        async with JetStreamEventStore(**where) as store:
            yield store

    @pytest.fixture
    async def peer(self, where):
        """Open a connection of its own."""
        async with JetStreamEventStore(**where) as peer:
            yield peer


class Borrowed(StoreContract, ArrowContract):
    """The async store over a client of somebody else's: every message travels through nats-py."""

    @pytest.fixture
    async def store(self, where):
        """Open a store on a client."""
        async with borrowing(where) as store:
            assert (await store.info()).transport == "nats-py"
            yield store

    @pytest.fixture
    async def peer(self, where):
        """Open another, on a client of its own."""
        async with borrowing(where) as peer:
            yield peer


@asynccontextmanager
async def borrowing(where):
    """Open a store on a client that is closed after it."""
    client = await nats.connect(where["url_or_client"].split(","))
    try:
        async with JetStreamEventStore(**{**where, "url_or_client": client}) as store:
            yield store
    finally:
        await client.close()


class Blocking(StoreContract, ArrowContract):
    """The sync store, called from many threads."""

    @pytest.fixture
    def store(self, where):
        """Open a store."""
        with sync.JetStreamEventStore(**where) as store:
            yield as_async(store)

    @pytest.fixture
    def peer(self, where):
        """Open a connection of its own."""
        with sync.JetStreamEventStore(**where) as peer:
            yield as_async(peer)


class TestOneServer(Awaited):
    """R1, async."""

    @pytest.fixture
    def where(self, one_server):
        """One server."""
        return one_server


class TestOneServerBorrowed(Borrowed):
    """R1, async, over nats-py."""

    @pytest.fixture
    def where(self, one_server):
        """One server."""
        return one_server


class TestThreeServersBorrowed(Borrowed):
    """R3, async, over nats-py."""

    @pytest.fixture
    def where(self, three_servers):
        """Three servers."""
        return three_servers


class TestOneServerBlocking(Blocking):
    """R1, sync."""

    @pytest.fixture
    def where(self, one_server):
        """One server."""
        return one_server


class TestThreeServers(Awaited):
    """R3, async."""

    @pytest.fixture
    def where(self, three_servers):
        """Three servers."""
        return three_servers


class TestThreeServersBlocking(Blocking):
    """R3, sync."""

    @pytest.fixture
    def where(self, three_servers):
        """Three servers."""
        return three_servers
