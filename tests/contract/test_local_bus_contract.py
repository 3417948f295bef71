"""The bus contract on the local bus."""

from __future__ import annotations

import pytest

from aether import LocalEventBus
from aether.testing import BusContract


class TestLocalBus(BusContract):
    """The async bus."""

    has_block = True

    @pytest.fixture
    async def bus(self):
        """Make a bus."""
        bus = LocalEventBus()
        yield bus
        await bus.aclose()
