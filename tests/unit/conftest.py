"""A cluster in memory, for the tests of actors and their hosts."""

from __future__ import annotations

import pytest
from command_storm import Account
from memory_cluster import MemoryCluster


@pytest.fixture
def cluster() -> MemoryCluster:
    """A cluster without nodes, whose accounts have handled nothing yet."""
    Account.handled.clear()
    return MemoryCluster()
