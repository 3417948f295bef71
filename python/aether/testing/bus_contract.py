"""What a bus is, as tests: one suite that every bus passes unchanged."""

from __future__ import annotations

from aether.testing.bus_contract_bounds import BoundsContract
from aether.testing.bus_contract_draining import DrainingContract
from aether.testing.bus_contract_failures import FailuresContract
from aether.testing.bus_contract_groups import GroupsContract
from aether.testing.bus_contract_handlers import HandlersContract
from aether.testing.bus_contract_misuse import MisuseContract
from aether.testing.bus_contract_order import OrderContract
from aether.testing.bus_contract_publishing import PublishingContract
from aether.testing.bus_contract_reading import ReadingContract
from aether.testing.bus_contract_requests import RequestsContract

__all__ = ["BusContract"]


class BusContract(
    PublishingContract,
    OrderContract,
    ReadingContract,
    BoundsContract,
    HandlersContract,
    FailuresContract,
    GroupsContract,
    DrainingContract,
    RequestsContract,
    MisuseContract,
):
    """Every semantic of an `EventBus`, one sentence a test.

    Subclass it in a test module and say what the bus is; with pytest-asyncio in its strict mode the fixture needs
    `pytest_asyncio.fixture`:

        class TestMyBus(BusContract):
            @pytest.fixture
            async def bus(self):
                bus = MyBus()
                yield bus
                await bus.aclose()

    The bus is not opened before the test, and closed after it, maybe again; each test needs one of its own. Actors and types are
    each test's own, except for `HOSTILE_IDS`, so what buses share (a server) may be shared between tests. Override the fixture
    `peer` where a second handle on the same bus can be had (another connection): then half of all is published from there.
    """
