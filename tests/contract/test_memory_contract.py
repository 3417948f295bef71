"""The store contract on everything that needs no server."""

from __future__ import annotations

import pytest
from third_store import ListStore

from aether import InMemoryEventStore, sync
from aether.testing import ArrowContract, StoreContract, as_async


class TestMemory(StoreContract, ArrowContract):
    """The async store."""

    @pytest.fixture
    def store(self):
        """Make a store."""
        return InMemoryEventStore()


class TestMemoryBlocking(StoreContract, ArrowContract):
    """The sync store, called inside the running event loop."""

    @pytest.fixture
    def store(self):
        """Make a store."""
        with sync.InMemoryEventStore() as store:
            yield as_async(store, in_threads=False)


class TestMemoryBlockingInThreads(StoreContract, ArrowContract):
    """The sync store, called from many threads."""

    @pytest.fixture
    def store(self):
        """Make a store."""
        with sync.InMemoryEventStore() as store:
            yield as_async(store)


class TestThirdStore(StoreContract):
    """A store that nobody of this project had in mind."""

    @pytest.fixture
    def store(self):
        """Make a store."""
        return ListStore()
