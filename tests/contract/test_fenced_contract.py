"""The store contract on the store of a node that owns every shard: one server, and three with three replicas.

There can be no second owner, so `peer` is the same store. A namespace serves a whole class, and each test takes the shards that
it writes to from the test before.
"""

from __future__ import annotations

import uuid

import pytest

from aether.store.sole_owner import SoleOwnerStore
from aether.testing import StoreContract


@pytest.fixture(scope="class")
def class_namespace(request):
    """Name a namespace after the class."""
    return f"{request.cls.__name__}-{uuid.uuid4().hex[:8]}"


class Owning(StoreContract):
    """The store of an owner."""

    @pytest.fixture
    async def store(self, where):
        """Open a store."""
        async with SoleOwnerStore(**where) as store:
            yield store


class TestOneServer(Owning):
    """R1."""

    @pytest.fixture
    def where(self, nats_server, class_namespace):
        """One server."""
        return {"url_or_client": nats_server.url, "namespace": class_namespace}


class TestThreeServers(Owning):
    """R3."""

    @pytest.fixture
    def where(self, nats_cluster, class_namespace):
        """Three servers."""
        return {"url_or_client": ",".join(nats_cluster.urls), "namespace": class_namespace, "replicas": 3}
