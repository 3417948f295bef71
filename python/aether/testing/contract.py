"""What a store is, as tests: one suite that every store passes unchanged."""

from __future__ import annotations

from aether.testing.contract_appending import AppendingContract
from aether.testing.contract_concurrency import ConcurrencyContract
from aether.testing.contract_ingest import IngestContract
from aether.testing.contract_ingest_ways import IngestWaysContract
from aether.testing.contract_reading import ReadingContract
from aether.testing.contract_replay import ReplayContract
from aether.testing.contract_saving import SavingContract
from aether.testing.contract_snapshots import SnapshotsContract
from aether.testing.contract_values import ValuesContract

__all__ = ["StoreContract"]


class StoreContract(
    SavingContract,
    AppendingContract,
    ReadingContract,
    ReplayContract,
    ValuesContract,
    SnapshotsContract,
    ConcurrencyContract,
    IngestContract,
    IngestWaysContract,
):
    """Every semantic of an `EventStore` and `SnapshotStore`, one sentence a test.

    Subclass it in a test module and say what the store is; with pytest-asyncio in its strict mode the fixture needs
    `pytest_asyncio.fixture`:

        class TestMyStore(StoreContract):
            @pytest.fixture
            async def store(self):
                async with MyStore() as store:
                    yield store

    Each test writes to actors of its own, except for `HOSTILE_IDS`, so a store may be shared between tests. Override the
    fixture `peer` where a second handle on the same data can be had (another connection): then half of the writers of the
    concurrency tests use that one. A blocking store runs through `aether.testing.as_async`.
    """
