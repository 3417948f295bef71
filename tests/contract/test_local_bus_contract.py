"""The bus contract on the local bus."""

from __future__ import annotations

import pytest
from plain_bus import PlainBus

from aether import LocalEventBus, sync
from aether.testing import BusContract, as_async


class TestLocalBus(BusContract):
    """The async bus."""

    has_block = True

    @pytest.fixture
    async def bus(self):
        """Make a bus."""
        bus = LocalEventBus()
        yield bus
        await bus.aclose()


class TestLocalBusBlocking(BusContract):
    """The sync bus, called from many threads."""

    has_block = True

    # A blocking read cannot be given up.
    test_a_read_given_up_takes_nothing = None
    test_a_read_may_time_out = None

    @pytest.fixture
    async def bus(self):
        """Make a bus."""
        bus = as_async(sync.LocalEventBus())
        yield bus
        await bus.aclose()


class TestPlainBus(BusContract):
    """A bus whose mailboxes and exchange are plain Python, the ground of those with planted bugs."""

    has_block = True

    @pytest.fixture
    async def bus(self):
        """Make a bus."""
        bus = PlainBus(timeout_s=30.0)
        yield bus
        await bus.aclose()
