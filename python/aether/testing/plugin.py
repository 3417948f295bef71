"""The pytest plugin: real servers as fixtures.

pytest imports this in every run where Aether is installed, so it imports nothing that only a fixture needs.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aether.nats.server import EmbeddedServer
    from aether.testing.servers import NatsCluster

TEST_NAME_CHARACTERS = 40


@pytest.fixture(scope="session")
def nats_server() -> Iterator[EmbeddedServer]:
    """A real nats-server with JetStream in a temporary directory, one for the whole run: use `.url`, and do not kill it."""
    from aether.testing.servers import running_server  # noqa: PLC0415 - only who asks for a server pays for the import

    with running_server() as server:
        yield server


@pytest.fixture
def fresh_nats_server() -> Iterator[EmbeddedServer]:
    """A real nats-server for this test alone, which may kill and restart it."""
    from aether.testing.servers import running_server  # noqa: PLC0415

    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def nats_cluster_process() -> Iterator[NatsCluster]:
    """The cluster behind `nats_cluster`, one for the whole run."""
    from aether.testing.servers import running_cluster  # noqa: PLC0415

    # A server that is told to go hangs up when the grace is over: until then tests see whether everybody has left by himself.
    with running_cluster({"lame_duck_grace_period": "60s"}) as cluster:
        yield cluster


@pytest.fixture
def nats_cluster(nats_cluster_process: NatsCluster) -> NatsCluster:
    """Three real nats-servers with routes, whole when the test begins: use `.urls`, and kill and restart its nodes at will."""
    nats_cluster_process.heal()
    return nats_cluster_process


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    """A namespace that no other test uses, named after this one."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", request.node.name)[:TEST_NAME_CHARACTERS].strip("-")
    return f"{name}-{uuid.uuid4().hex[:8]}"
